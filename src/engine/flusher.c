/* flusher.c - see flusher.h.
 *
 * Rounds are numbered from 1; a round is one flush. A ticket is the number of the first round that
 * begins after it was taken, so one round answers everybody who came while the last one ran, and
 * the slower the disk is, the more that are. Nothing is flushed unless somebody waits.
 */
#include "engine/flusher.h"
#include "base/host.h"
#include "base/log.h"
#include "base/stats.h"

#include <assert.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define FAILED_MAX 64

/* Consecutive rounds that failed. */
struct range {
	uint64_t first, last;
};

struct flusher {
	struct engine *engine;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows, except to read what is atomic */
	pthread_cond_t work;
	bool is_stopping;
	flusher_also_fn *also;
	void *also_arg;
	struct flush_wait *first, **last; /* who waits, in order of arrival */
	_Atomic uint64_t begun;           /* rounds */
	_Atomic uint64_t ended;
	_Atomic uint64_t failures;

	/* Tickets of these rounds never become durable, however late their owners ask. */
	struct range failed[FAILED_MAX];
	unsigned n_failed;
	struct err last_failure;
};

static struct histogram flush_time = HISTOGRAM(
    "domicile_flush_seconds", NULL, "Time to make applied records durable.");
static struct counter flush_failures = COUNTER(
    "domicile_flush_failures_total", NULL, "Flushes that failed.");

/* With the lock held.
 * model: s_flush_fails, t_flush_fails */
static void
note_failed(struct flusher *f, uint64_t round, const struct err *e)
{
	struct range *newest = f->n_failed ? &f->failed[f->n_failed - 1] : NULL;

	f->last_failure = *e;
	atomic_fetch_add(&f->failures, 1);
	if (newest && newest->last + 1 == round) {
		newest->last = round;
		return;
	}
	if (f->n_failed == FAILED_MAX) {
		/* Forgetting would turn a failure into a success. Taking what lay between two
		 * old failures for failed as well only costs somebody very late a reread. */
		f->failed[1].first = f->failed[0].first;
		memmove(f->failed, f->failed + 1, (FAILED_MAX - 1) * sizeof(*f->failed));
		f->n_failed--;
	}
	f->failed[f->n_failed++] = (struct range){ round, round };
}

/* With the lock held. */
static bool
has_failed(const struct flusher *f, uint64_t ticket)
{
	for (unsigned i = 0; i < f->n_failed; i++)
		if (ticket >= f->failed[i].first && ticket <= f->failed[i].last)
			return true;
	return false;
}

/* Take out of the list whoever waits for ROUND or less. With the lock held. */
static struct flush_wait *
take_waiters(struct flusher *f, uint64_t round)
{
	struct flush_wait *taken = NULL, **end = &taken, **at = &f->first;

	while (*at) {
		struct flush_wait *w = *at;

		if (w->ticket > round) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		*end = w;
		end = &w->next;
	}
	*end = NULL;
	f->last = at;
	return taken;
}

static void
answer(struct flush_wait *w, const struct err *e)
{
	while (w) {
		struct flush_wait *next = w->next; /* W may be gone after the call */

		w->done(w, e);
		w = next;
	}
}

/* One round. Called and returns with the lock held; it is free meanwhile.
 * model: s_flush, t_flush */
static void
flush_once(struct flusher *f)
{
	uint64_t round = atomic_load(&f->begun) + 1, started_ns;
	struct flush_wait *waiters;
	flusher_also_fn *also = f->also;
	void *also_arg = f->also_arg;
	struct err e = { 0 };
	int rc;

	atomic_store(&f->begun, round);
	pthread_mutex_unlock(&f->lock);
	started_ns = host_mono_ns();
	rc = engine_flush(f->engine, &e);
	if (rc == 0 && also)
		rc = also(also_arg, &e);
	histogram_add(&flush_time, (host_mono_ns() - started_ns) / 1000);
	if (rc < 0) {
		counter_add(&flush_failures, 1);
		log_error("flush.failed", NULL, "%s", e.text);
	}
	pthread_mutex_lock(&f->lock);
	if (rc < 0)
		note_failed(f, round, &e);
	atomic_store(&f->ended, round);
	waiters = take_waiters(f, round);
	pthread_mutex_unlock(&f->lock);
	answer(waiters, rc < 0 ? &e : NULL);
	pthread_mutex_lock(&f->lock);
}

static void *
run(void *arg)
{
	struct flusher *f = arg;

	pthread_mutex_lock(&f->lock);
	while (!f->is_stopping) {
		if (f->first)
			flush_once(f);
		else
			pthread_cond_wait(&f->work, &f->lock);
	}
	flush_once(f);
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

struct flusher *
flusher_start(struct engine *g, struct err *e)
{
	struct flusher *f = calloc(1, sizeof(*f));
	int why;

	if (!f) {
		err_set(e, ERR_MEMORY, "no memory for a flusher");
		return NULL;
	}
	f->engine = g;
	f->last = &f->first;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->work, NULL);
	why = pthread_create(&f->thread, NULL, run, f);
	if (why) {
		free(f);
		err_errno(e, why, "start the flusher");
		return NULL;
	}
	pthread_setname_np(f->thread, "flusher");
	counter_add(&flush_failures, 0); /* so that it is shown from the beginning */
	return f;
}

void
flusher_stop(struct flusher *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	f->is_stopping = true;
	pthread_cond_signal(&f->work);
	pthread_mutex_unlock(&f->lock);
	pthread_join(f->thread, NULL);
	assert(!f->first);
	pthread_cond_destroy(&f->work);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

uint64_t
flusher_ticket(struct flusher *f)
{
	return atomic_load(&f->begun) + 1;
}

bool
flusher_is_durable(const struct flusher *f, uint64_t ticket)
{
	/* Only the lock inside changes. */
	struct flusher *locked = (struct flusher *)(uintptr_t)f;
	bool failed;

	if (ticket > atomic_load(&f->ended))
		return false;
	if (atomic_load(&f->failures) == 0)
		return true;
	pthread_mutex_lock(&locked->lock);
	failed = has_failed(f, ticket);
	pthread_mutex_unlock(&locked->lock);
	return !failed;
}

void
flusher_notify(struct flusher *f, uint64_t ticket, struct flush_wait *w)
{
	struct err e;
	bool failed;

	pthread_mutex_lock(&f->lock);
	assert(ticket <= f->begun + 1);
	if (ticket > f->ended) {
		w->ticket = ticket;
		w->next = NULL;
		*f->last = w;
		f->last = &w->next;
		pthread_cond_signal(&f->work);
		pthread_mutex_unlock(&f->lock);
		return;
	}
	failed = has_failed(f, ticket);
	e = f->last_failure;
	pthread_mutex_unlock(&f->lock);
	w->done(w, failed ? &e : NULL);
}

struct sleeper {
	struct flush_wait wait;
	sem_t awake;
	bool failed;
	struct err err;
};

static void
wake(struct flush_wait *w, const struct err *e)
{
	struct sleeper *s = container_of(w, struct sleeper, wait);

	if (e) {
		s->failed = true;
		s->err = *e;
	}
	sem_post(&s->awake);
}

int
flusher_wait(struct flusher *f, uint64_t ticket, struct err *e)
{
	struct sleeper s = { .wait.done = wake };

	if (flusher_is_durable(f, ticket))
		return 0;
	sem_init(&s.awake, 0, 0);
	flusher_notify(f, ticket, &s.wait);
	while (sem_wait(&s.awake) < 0)
		;
	sem_destroy(&s.awake);
	if (!s.failed)
		return 0;
	if (e)
		*e = s.err;
	return -1;
}

void
flusher_also(struct flusher *f, flusher_also_fn *fn, void *arg)
{
	pthread_mutex_lock(&f->lock);
	f->also = fn;
	f->also_arg = arg;
	pthread_mutex_unlock(&f->lock);
}

uint64_t
flusher_failures(const struct flusher *f)
{
	return atomic_load(&f->failures);
}
