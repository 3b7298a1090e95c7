/* The elastic pool of threads that may block: a thread for every request that waits, up to a bound;
 * idle ones end. Beyond the bound requests queue, beyond the queue's bound they are refused.
 *
 * Streamed bodies come as slowly as their clients like, so they have a queue of their own and at most
 * three quarters of the threads: the others stay for requests that are there already.
 */
#include "front/http_internal.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/refused.h"
#include "base/host.h"
#include "base/stats.h"

#define QUEUE_MAX 4096
#define IDLE_S    10
/* Sanitizers make frames several times larger. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_BYTES ((size_t)2 << 20)
#else
#define STACK_BYTES ((size_t)256 << 10)
#endif

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t work, ended;
	struct queue {
		struct http_request *first, **last;
		unsigned n;
	} ready, streams;
	unsigned streaming, streaming_max; /* threads that are at a stream */
	unsigned threads, idle, most;
	bool is_stopping;
};

void
thread_turns(uint64_t us)
{
	/* sched_setattr(2), which glibc has no header for */
	const struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime_ns, deadline_ns, period_ns;
	} a = { .size = sizeof a,
		.policy = SCHED_OTHER,
		.nice = getpriority(PRIO_PROCESS, 0),
		.runtime_ns = us * 1000 };

	if (sched_getscheduler(0) == SCHED_OTHER)
		(void)syscall(SYS_sched_setattr, 0, &a, 0);
}

static struct counter threads_now = GAUGE("domicile_http_workers", NULL, "Worker threads.");
static struct counter queued_now = GAUGE(
    "domicile_http_queued", NULL, "Requests that wait for a worker thread.");

struct workers *
workers_start(unsigned most, struct err *e)
{
	struct workers *w = calloc(1, sizeof *w);

	if (!w) {
		err_set(e, ERR_MEMORY, "no memory for workers");
		return NULL;
	}
	w->most = most;
	w->streaming_max = most - most / 4;
	w->ready.last = &w->ready.first;
	w->streams.last = &w->streams.first;
	pthread_mutex_init(&w->lock, NULL);
	host_cond_init(&w->work);
	pthread_cond_init(&w->ended, NULL);
	return w;
}

static void
put(struct queue *q, struct http_request *h)
{
	h->next_job = NULL;
	*q->last = h;
	q->last = &h->next_job;
	q->n++;
	counter_add(&queued_now, 1);
}

static struct http_request *
get(struct queue *q)
{
	struct http_request *h = q->first;

	q->first = h->next_job;
	if (!q->first)
		q->last = &q->first;
	q->n--;
	counter_add(&queued_now, -1);
	return h;
}

/* Under the lock. How many of those that wait a thread could take on now. */
static unsigned
runnable(const struct workers *w)
{
	unsigned room = w->streaming_max - w->streaming;

	return w->ready.n + (w->streams.n < room ? w->streams.n : room);
}

/* Under the lock. NULL: the thread shall end. */
static struct http_request *
next_job(struct workers *w)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_S;
	while (!runnable(w)) {
		bool is_late;

		if (w->is_stopping)
			return NULL;
		w->idle++;
		is_late = pthread_cond_timedwait(&w->work, &w->lock, &until) == ETIMEDOUT;
		w->idle--;
		if (is_late && !runnable(w))
			return NULL;
	}
	if (w->ready.n)
		return get(&w->ready);
	w->streaming++;
	return get(&w->streams);
}

static void *
worker(void *arg)
{
	struct workers *w = arg;
	struct http_request *h;

	pthread_setname_np(pthread_self(), "worker");
	thread_turns(0); /* a thread of HTTP has started it */
	pthread_mutex_lock(&w->lock);
	while ((h = next_job(w))) {
		bool is_stream = h->is_stream; /* H is gone afterwards */

		pthread_mutex_unlock(&w->lock);
		http_work(h);
		pthread_mutex_lock(&w->lock);
		w->streaming -= is_stream;
	}
	w->threads--;
	counter_add(&threads_now, -1);
	pthread_cond_signal(&w->ended);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Under the lock. */
static int
spawn(struct workers *w)
{
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = pthread_create(&thread, &attr, worker, w);
	pthread_attr_destroy(&attr);
	if (rc)
		return -1;
	w->threads++;
	counter_add(&threads_now, 1);
	return 0;
}

/* Under the lock. Whether somebody will come for one more request. */
static bool
has_thread(struct workers *w)
{
	if (w->idle <= runnable(w) && w->threads < w->most)
		(void)spawn(w);
	return w->threads > 0;
}

int
workers_add(struct workers *w, struct http_request *h, struct err *e)
{
	struct queue *q = h->is_stream ? &w->streams : &w->ready;
	int rc = 0;

	pthread_mutex_lock(&w->lock);
	if (q->n >= QUEUE_MAX || !has_thread(w)) {
		refused_count(REFUSED_WORKERS);
		rc = err_set(e, ERR_BUSY, "too many requests wait; come back later");
	} else {
		put(q, h);
		pthread_cond_signal(&w->work);
	}
	pthread_mutex_unlock(&w->lock);
	return rc;
}

void
workers_stop(struct workers *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->is_stopping = true;
	pthread_cond_broadcast(&w->work);
	while (w->threads)
		pthread_cond_wait(&w->ended, &w->lock);
	pthread_mutex_unlock(&w->lock);
	pthread_cond_destroy(&w->work);
	pthread_cond_destroy(&w->ended);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
