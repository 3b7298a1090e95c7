/* The elastic pool of threads that may block: a thread for every request that waits, up to a bound;
 * idle ones end. Beyond the bound requests queue, beyond the queue's bound they are refused. */
#include "front/http_internal.h"

#include <time.h>

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
	struct http_request *first, **last;
	unsigned queued, threads, idle, most;
	bool is_stopping;
};

static struct counter threads_now = GAUGE("domicile_http_workers", NULL, "Worker threads.");
static struct counter queued_now = GAUGE(
    "domicile_http_queued", NULL, "Requests that wait for a worker thread.");

struct workers *
workers_start(unsigned most, struct err *e)
{
	struct workers *w = calloc(1, sizeof *w);
	pthread_condattr_t attr;

	if (!w) {
		err_set(e, ERR_MEMORY, "no memory for workers");
		return NULL;
	}
	w->most = most;
	w->last = &w->first;
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->work, &attr);
	pthread_cond_init(&w->ended, NULL);
	pthread_condattr_destroy(&attr);
	return w;
}

/* Under the lock. NULL: the thread shall end. */
static struct http_request *
next_job(struct workers *w)
{
	struct http_request *h;
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_S;
	while (!w->first) {
		bool is_late;

		if (w->is_stopping)
			return NULL;
		w->idle++;
		is_late = pthread_cond_timedwait(&w->work, &w->lock, &until) == ETIMEDOUT;
		w->idle--;
		if (is_late && !w->first)
			return NULL;
	}
	h = w->first;
	w->first = h->next_job;
	if (!w->first)
		w->last = &w->first;
	w->queued--;
	counter_add(&queued_now, -1);
	return h;
}

static void *
worker(void *arg)
{
	struct workers *w = arg;
	struct http_request *h;

	pthread_setname_np(pthread_self(), "worker");
	pthread_mutex_lock(&w->lock);
	while ((h = next_job(w))) {
		pthread_mutex_unlock(&w->lock);
		http_work(h);
		pthread_mutex_lock(&w->lock);
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
	if (w->idle <= w->queued && w->threads < w->most)
		(void)spawn(w);
	return w->threads > 0;
}

int
workers_add(struct workers *w, struct http_request *h, struct err *e)
{
	int rc = 0;

	pthread_mutex_lock(&w->lock);
	if (w->queued >= QUEUE_MAX || !has_thread(w)) {
		rc = err_set(e, ERR_BUSY, "too many requests wait");
	} else {
		h->next_job = NULL;
		*w->last = h;
		w->last = &h->next_job;
		w->queued++;
		counter_add(&queued_now, 1);
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
