/* fault.c - counting down to a call, and what becomes of it. */
#include "base/fault.h"

#include <time.h>
#include <unistd.h>

void
fault_init(struct fault *f)
{
	*f = (struct fault){ .kind = FAULT_NONE };
	pthread_mutex_init(&f->lock, NULL);
}

void
fault_destroy(struct fault *f)
{
	pthread_mutex_destroy(&f->lock);
}

void
fault_set(struct fault *f, enum fault_kind kind, unsigned nth, bool sticky, unsigned delay_ms)
{
	pthread_mutex_lock(&f->lock);
	f->kind = kind;
	f->countdown = kind == FAULT_NONE ? 0 : nth;
	f->is_sticky = sticky;
	f->has_fired = false;
	f->delay_ms = delay_ms;
	pthread_mutex_unlock(&f->lock);
}

bool
fault_fired(struct fault *f)
{
	bool fired;

	pthread_mutex_lock(&f->lock);
	fired = f->has_fired;
	pthread_mutex_unlock(&f->lock);
	return fired;
}

/* What the call that begins now has to suffer. */
static enum fault_kind
choose(struct fault *f, unsigned *delay_ms)
{
	enum fault_kind kind = FAULT_NONE;

	pthread_mutex_lock(&f->lock);
	if (f->countdown > 1) {
		f->countdown--;
	} else if (f->countdown == 1) {
		kind = f->kind;
		f->has_fired = true;
		f->countdown = f->is_sticky ? 1 : 0;
	}
	*delay_ms = f->delay_ms;
	pthread_mutex_unlock(&f->lock);
	return kind;
}

static void
sleep_ms(unsigned ms)
{
	struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

int
fault_before(struct fault *f, enum fault_kind *kind, struct err *e)
{
	unsigned delay_ms;

	*kind = choose(f, &delay_ms);
	switch (*kind) {
	case FAULT_FAIL:
		return err_set(e, ERR_IO, "injected failure");
	case FAULT_FULL:
		return err_set(e, ERR_FULL, "injected: no space left");
	case FAULT_DELAY:
		sleep_ms(delay_ms);
		return 0;
	case FAULT_CRASH:
		_exit(99);
	case FAULT_NONE:
	case FAULT_FAIL_LATE:
	case FAULT_CRASH_LATE:
		return 0;
	}
	return 0;
}

bool
fault_after(enum fault_kind kind, struct err *e)
{
	if (kind == FAULT_CRASH_LATE)
		_exit(99);
	if (kind != FAULT_FAIL_LATE)
		return false;
	err_set(e, ERR_IO, "injected failure, after the call");
	return true;
}
