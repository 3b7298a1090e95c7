/* homes_wait.c - who waits at the gate, and the thread that calls them when their time has come. */
#include "vault/homes_internal.h"

#include "base/host.h"

#include <stdatomic.h>
#include <time.h>

void
gate_wait_until(pthread_cond_t *c, pthread_mutex_t *lock, uint64_t until_ns)
{
	struct timespec t = {
		.tv_sec = (time_t)(until_ns / 1000000000),
		.tv_nsec = (long)(until_ns % 1000000000),
	};

	if (until_ns == GATE_NEVER)
		pthread_cond_wait(c, lock);
	else
		pthread_cond_timedwait(c, lock, &t);
}

/* When the gate may open for those who wait at X, if nothing else happens. */
static uint64_t
opens_ns(const struct entry *x)
{
	if (x->home.state != HOME_HERE || x->is_fencing)
		return GATE_NEVER;
	if (x->write_from_ms)
		return x->write_from_ms * 1000000;
	if (x->pace_us)
		return x->pace_write_ns > x->pace_wake_ns ? x->pace_write_ns : x->pace_wake_ns;
	return 0;
}

bool
gate_is_paced(const struct entry *x)
{
	return x->home.state == HOME_HERE && !x->is_fencing && !x->write_from_ms && x->pace_us;
}

uint64_t
gate_owed_ms(const struct homes *h, const struct home_wait *w)
{
	return w->until_ms - h->c.hold_ms / 2;
}

static void
timer_poke(struct homes *h, uint64_t due_ns)
{
	pthread_mutex_lock(&h->timer_lock);
	if (due_ns < h->timer_due_ns) {
		h->timer_due_ns = due_ns;
		pthread_cond_signal(&h->timer_wake);
	}
	pthread_mutex_unlock(&h->timer_lock);
}

void
gate_add_waiter(struct homes *h, struct stripe *s, struct entry *x, struct home_wait *w)
{
	uint64_t due_ns = opens_ns(x), call_ms;

	if (!w->until_ms)
		w->until_ms = host_mono_ms() + h->c.hold_ms;
	call_ms = gate_is_paced(x) ? gate_owed_ms(h, w) : w->until_ms;
	if (call_ms * 1000000 < due_ns)
		due_ns = call_ms * 1000000;
	if (!x->first) {
		x->next_waited = s->waited;
		x->prev_waited = &s->waited;
		if (s->waited)
			s->waited->prev_waited = &x->next_waited;
		s->waited = x;
	}
	w->next = NULL;
	*x->last = w;
	x->last = &w->next;
	atomic_fetch_add(&h->waiting, 1);
	timer_poke(h, due_ns);
}

/* After the last waiter of X was taken out. */
static void
unlist_waited(struct entry *x)
{
	x->last = &x->first;
	*x->prev_waited = x->next_waited;
	if (x->next_waited)
		x->next_waited->prev_waited = x->prev_waited;
}

struct home_wait *
gate_take_waiters(struct homes *h, struct entry *x)
{
	struct home_wait *all = x->first;
	unsigned n = 0;

	if (!all)
		return NULL;
	for (struct home_wait *w = all; w; w = w->next)
		n++;
	x->first = NULL;
	unlist_waited(x);
	atomic_fetch_sub(&h->waiting, n);
	return all;
}

void
gate_call(struct home_wait *w, const struct err *e)
{
	while (w) {
		struct home_wait *next = w->next; /* W is gone once it was called */

		w->again(w, e);
		w = next;
	}
}

unsigned
homes_waiting(struct homes *h)
{
	return atomic_load(&h->waiting);
}

struct thread_wait {
	struct home_wait w;
	pthread_mutex_t lock;
	pthread_cond_t called;
	bool is_called;
	struct err e;
};

static void
wake_thread(struct home_wait *w, const struct err *e)
{
	struct thread_wait *t = container_of(w, struct thread_wait, w);

	pthread_mutex_lock(&t->lock);
	t->is_called = true;
	t->e.kind = ERR_NONE;
	if (e)
		t->e = *e;
	pthread_cond_signal(&t->called);
	pthread_mutex_unlock(&t->lock);
}

int
homes_enter_wait(struct homes *h, const struct account_id *id, enum enter_how how,
    enum enter_answer *answer, struct home_pass *pass, struct err *e)
{
	struct thread_wait t = {
		.w = { .again = wake_thread },
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.called = PTHREAD_COND_INITIALIZER,
	};

	for (;;) {
		t.is_called = false;
		if (homes_enter(h, id, how, answer, pass, &t.w, e) < 0)
			return -1;
		if (*answer != ENTER_WAIT)
			return 0;
		pthread_mutex_lock(&t.lock);
		while (!t.is_called)
			pthread_cond_wait(&t.called, &t.lock);
		pthread_mutex_unlock(&t.lock);
		if (t.e.kind != ERR_NONE)
			return err_set(e, t.e.kind, "%s", t.e.text);
	}
}

/* --- the timer --- */

/* Those at X whose time is over, or will be within EARLY_MS, onto LATE. */
static void
take_late(struct homes *h, struct entry *x, uint64_t now_ms, uint64_t early_ms,
    struct home_wait **late, uint64_t *due_ns)
{
	struct home_wait **at = &x->first, *w;

	while ((w = *at)) {
		uint64_t call_ms = w->until_ms - early_ms;

		if (call_ms > now_ms) {
			if (call_ms * 1000000 < *due_ns)
				*due_ns = call_ms * 1000000;
			at = &w->next;
			continue;
		}
		*at = w->next;
		w->next = *late;
		*late = w;
		atomic_fetch_sub(&h->waiting, 1);
	}
	x->last = at;
	if (!x->first)
		unlist_waited(x);
}

/* The gate at X is open by the clock: call everyone, or one where writes are paced. */
static void
take_ready(
    struct homes *h, struct entry *x, uint64_t now_ns, struct home_wait **ready, uint64_t *due_ns)
{
	uint64_t opens = opens_ns(x);
	struct home_wait *w = NULL;

	if (opens <= now_ns && x->pace_us) {
		w = x->first;
		x->first = w->next;
		w->next = NULL;
		atomic_fetch_sub(&h->waiting, 1);
		if (!x->first)
			unlist_waited(x);
		x->write_from_ms = 0;
		x->pace_wake_ns = now_ns + x->pace_us * 1000;
		opens = x->pace_wake_ns;
	} else if (opens <= now_ns) {
		w = gate_take_waiters(h, x);
	}
	while (w) {
		struct home_wait *next = w->next;

		w->next = *ready;
		*ready = w;
		w = next;
	}
	if (x->first && opens < *due_ns)
		*due_ns = opens;
}

/* One look at everyone who waits; returns when to look again. */
static uint64_t
timer_pass(struct homes *h)
{
	struct err timeout;
	uint64_t due_ns = GATE_NEVER;

	err_set(&timeout, ERR_TIMEOUT, "the account is being moved; waited %llu ms",
	    (unsigned long long)h->c.hold_ms);
	for (size_t i = 0; i < STRIPES; i++) {
		struct stripe *s = &h->stripes[i];
		struct home_wait *late = NULL, *ready = NULL;
		uint64_t now_ns = host_mono_ns();

		pthread_mutex_lock(&s->lock);
		for (struct entry *x = s->waited, *next; x; x = next) {
			next = x->next_waited;
			take_late(h, x, now_ns / 1000000, 0, &late, &due_ns);
			if (x->first && gate_is_paced(x))
				take_late(
				    h, x, now_ns / 1000000, h->c.hold_ms / 2, &ready, &due_ns);
			if (x->first)
				take_ready(h, x, now_ns, &ready, &due_ns);
		}
		pthread_mutex_unlock(&s->lock);
		gate_call(late, &timeout);
		gate_call(ready, NULL);
	}
	return due_ns;
}

static void *
run_timer(void *arg)
{
	struct homes *h = arg;

	pthread_mutex_lock(&h->timer_lock);
	while (!h->is_closing) {
		uint64_t due_ns;

		if (host_mono_ns() < h->timer_due_ns) {
			gate_wait_until(&h->timer_wake, &h->timer_lock, h->timer_due_ns);
			continue;
		}
		h->timer_due_ns = GATE_NEVER; /* whoever comes from now on lowers it again */
		pthread_mutex_unlock(&h->timer_lock);
		due_ns = timer_pass(h);
		pthread_mutex_lock(&h->timer_lock);
		if (due_ns < h->timer_due_ns)
			h->timer_due_ns = due_ns;
	}
	pthread_mutex_unlock(&h->timer_lock);
	return NULL;
}

int
gate_start(struct homes *h, struct err *e)
{
	int r;

	for (size_t i = 0; i < STRIPES; i++) {
		pthread_mutex_init(&h->stripes[i].lock, NULL);
		host_cond_init(&h->stripes[i].changed);
	}
	pthread_mutex_init(&h->timer_lock, NULL);
	host_cond_init(&h->timer_wake);
	h->timer_due_ns = GATE_NEVER;
	r = pthread_create(&h->timer, NULL, run_timer, h);
	if (r)
		return err_errno(e, r, "the gate: no thread");
	h->is_timing = true;
	return 0;
}

void
gate_stop(struct homes *h)
{
	struct err closing;

	err_set(&closing, ERR_CANCELLED, "shutting down");
	if (h->is_timing) {
		pthread_mutex_lock(&h->timer_lock);
		h->is_closing = true;
		pthread_cond_signal(&h->timer_wake);
		pthread_mutex_unlock(&h->timer_lock);
		pthread_join(h->timer, NULL);
	}
	for (size_t i = 0; i < STRIPES; i++) {
		struct stripe *s = &h->stripes[i];

		while (s->oldest) {
			struct home_wait *w;

			pthread_mutex_lock(&s->lock);
			w = gate_take_waiters(h, s->oldest);
			gate_drop(s, s->oldest);
			pthread_mutex_unlock(&s->lock);
			gate_call(w, &closing);
		}
		pthread_cond_destroy(&s->changed);
		pthread_mutex_destroy(&s->lock);
	}
	pthread_cond_destroy(&h->timer_wake);
	pthread_mutex_destroy(&h->timer_lock);
}
