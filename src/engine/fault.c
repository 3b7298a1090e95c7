/* fault.c - an engine around another one that misbehaves on purpose, at a chosen call. */
#include "engine/engine_private.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

struct fault {
	struct engine engine;
	struct engine *next;
	pthread_mutex_t lock; /* of what follows */
	enum fault_kind kind;
	unsigned countdown; /* 1: the next call of the right sort; 0: none */
	bool on_reads;
	bool is_sticky;
	bool has_fired;
	unsigned delay_ms;
};

static struct fault *
fault_of(struct engine *g)
{
	return container_of(g, struct fault, engine);
}

/* What the call that begins now has to suffer. */
static enum fault_kind
choose(struct fault *f, bool is_read, unsigned *delay_ms)
{
	enum fault_kind kind = FAULT_NONE;

	pthread_mutex_lock(&f->lock);
	if (f->countdown > 0 && f->on_reads == is_read) {
		if (f->countdown > 1) {
			f->countdown--;
		} else {
			kind = f->kind;
			f->has_fired = true;
			f->countdown = f->is_sticky ? 1 : 0;
		}
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

/* Before the call: -1 if it is not to be carried out. *KIND is for after. */
static int
before(struct fault *f, bool is_read, enum fault_kind *kind, struct err *e)
{
	unsigned delay_ms;

	*kind = choose(f, is_read, &delay_ms);
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

/* After the call, which returned RC. */
static int
after(enum fault_kind kind, int rc, struct err *e)
{
	if (kind == FAULT_CRASH_LATE)
		_exit(99);
	if (kind == FAULT_FAIL_LATE)
		return err_set(e, ERR_IO, "injected failure, after the call");
	return rc;
}

/* Carry out CALL on the engine behind F unless a fault forbids it. */
#define WITH_FAULT(f, is_read, e, call) \
	({ \
		enum fault_kind kind_; \
		before((f), (is_read), &kind_, (e)) < 0 ? -1 : after(kind_, (call), (e)); \
	})

static int
fault_get(
    struct engine *g, const struct vault_id *id, struct span key, struct buf *value, struct err *e)
{
	struct fault *f = fault_of(g);

	return WITH_FAULT(f, true, e, engine_get(f->next, id, key, value, e));
}

static int
fault_apply(struct engine *g, const struct vault_id *id, const struct engine_write *w, size_t n,
    const struct engine_guard *guard, enum engine_when when, struct err *e)
{
	struct fault *f = fault_of(g);

	return WITH_FAULT(f, false, e, engine_apply(f->next, id, w, n, guard, when, e));
}

static int
fault_scan(struct engine *g, const struct vault_id *id, struct span from, struct span to,
    engine_scan_fn *fn, void *arg, struct err *e)
{
	struct fault *f = fault_of(g);

	return WITH_FAULT(f, true, e, engine_scan(f->next, id, from, to, fn, arg, e));
}

static int
fault_drop(struct engine *g, const struct vault_id *id, struct err *e)
{
	struct fault *f = fault_of(g);

	return WITH_FAULT(f, false, e, engine_drop(f->next, id, e));
}

static int
fault_list(struct engine *g, engine_list_fn *fn, void *arg, struct err *e)
{
	struct fault *f = fault_of(g);

	return WITH_FAULT(f, true, e, engine_list(f->next, fn, arg, e));
}

static int
fault_flush(struct engine *g, struct err *e)
{
	struct fault *f = fault_of(g);

	return WITH_FAULT(f, false, e, engine_flush(f->next, e));
}

static int
fault_compact(struct engine *g, struct err *e)
{
	struct fault *f = fault_of(g);

	return WITH_FAULT(f, false, e, engine_compact(f->next, e));
}

static uint64_t
fault_room(struct engine *g)
{
	return engine_room(fault_of(g)->next);
}

static uint64_t
fault_size(struct engine *g)
{
	return engine_size(fault_of(g)->next);
}

static void
fault_close(struct engine *g)
{
	struct fault *f = fault_of(g);

	engine_close(f->next);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static const struct engine_ops fault_ops = {
	.scheme = "fault",
	.get = fault_get,
	.apply = fault_apply,
	.scan = fault_scan,
	.drop = fault_drop,
	.list = fault_list,
	.flush = fault_flush,
	.compact = fault_compact,
	.size = fault_size,
	.room = fault_room,
	.close = fault_close,
};

struct engine *
engine_fault(struct engine *next, struct err *e)
{
	struct fault *f;

	if (!next) /* whoever failed to open it has set *E */
		return NULL;
	f = calloc(1, sizeof(*f));
	if (!f) {
		engine_close(next);
		err_set(e, ERR_MEMORY, "no memory for an engine");
		return NULL;
	}
	f->engine.ops = &fault_ops;
	f->next = next;
	pthread_mutex_init(&f->lock, NULL);
	return &f->engine;
}

void
engine_fault_set(struct engine *g, enum fault_kind kind, unsigned nth, bool on_reads, bool sticky,
    unsigned delay_ms)
{
	struct fault *f = fault_of(g);

	assert(g->ops == &fault_ops);
	pthread_mutex_lock(&f->lock);
	f->kind = kind;
	f->countdown = kind == FAULT_NONE ? 0 : nth;
	f->on_reads = on_reads;
	f->is_sticky = sticky;
	f->has_fired = false;
	f->delay_ms = delay_ms;
	pthread_mutex_unlock(&f->lock);
}

bool
engine_fault_fired(struct engine *g)
{
	struct fault *f = fault_of(g);
	bool fired;

	assert(g->ops == &fault_ops);
	pthread_mutex_lock(&f->lock);
	fired = f->has_fired;
	pthread_mutex_unlock(&f->lock);
	return fired;
}
