/* Streamed bodies: a bounded ring between the HTTP thread, which fills it, and the worker, which
 * reads from it.
 *
 * When the ring is full the connection is suspended, so that TCP slows the client down: a request
 * holds HTTP_RING_BYTES whatever its size. It is resumed when half of the ring is free, so that
 * the two sides do not change hands for every few bytes. Everything here is under h->lock.
 */
#include "front/http_internal.h"

#include <string.h>

static void
suspend(struct http_request *h, enum suspended why)
{
	h->suspended = why;
	limits_owes_nothing(connection_of(h->conn));
	MHD_suspend_connection(h->conn);
}

static void
resume(struct http_request *h, enum suspended why)
{
	if (h->suspended != why || !h->conn)
		return;
	h->suspended = NOT_SUSPENDED;
	limits_owes(connection_of(h->conn), 0);
	MHD_resume_connection(h->conn);
}

static void
wake_worker(struct http_request *h)
{
	if (h->ring.is_waiting)
		pthread_cond_signal(&h->ring.changed);
}

/* --- the HTTP thread's side --- */

static int
open_ring(struct http_request *h, struct err *e)
{
	h->ring.data = malloc(HTTP_RING_BYTES);
	if (!h->ring.data || http_head_own(h) < 0)
		return err_set(e, ERR_MEMORY, "no memory for a body");
	pthread_cond_init(&h->ring.changed, NULL);
	h->is_stream = true;
	http_live(h);
	return 0;
}

/* With the connection held, a refusal is answered before `100 Continue` or the body's first bytes.
 * Otherwise not: that means closing on a client that sends, which may then never see the answer. */
static int
start_worker(struct http_request *h, struct err *e)
{
	bool hold = h->length && !h->stream_after && (h->expects || h->length > HTTP_DRAIN_BYTES);
	int rc;

	h->phase = hold ? PHASE_HOLD : PHASE_STREAM;
	atomic_fetch_add(&h->refs, 1);
	pthread_mutex_lock(&h->lock);
	rc = workers_add(h->r.front->workers, h, e);
	if (rc == 0 && hold)
		suspend(h, FOR_FIRST_READ);
	pthread_mutex_unlock(&h->lock);
	if (rc < 0)
		http_unref(h);
	else if (!hold)
		limits_owes(connection_of(h->conn), 0);
	return rc;
}

int
http_stream_begin(struct http_request *h, struct err *e)
{
	struct front *f = h->r.front;

	if (!http_leave(f))
		return err_set(e, ERR_CANCELLED, "the node stops");
	if (open_ring(h, e) == 0 && start_worker(h, e) == 0)
		return 0;
	http_return(f);
	return -1;
}

enum MHD_Result
http_stream_start(struct http_request *h)
{
	struct err e;

	if (http_stream_begin(h, &e) == 0)
		return MHD_YES;
	http_answer_error(h, 0, &e);
	return http_answer_queue(h);
}

bool
http_stream_answered(struct http_request *h)
{
	bool is_done;

	pthread_mutex_lock(&h->lock);
	is_done = h->is_done;
	pthread_mutex_unlock(&h->lock);
	h->phase = PHASE_STREAM;
	return is_done;
}

static size_t
ring_put(struct ring *g, const char *p, size_t n)
{
	size_t at = (g->head + g->len) % HTTP_RING_BYTES, first = HTTP_RING_BYTES - at;

	if (n > HTTP_RING_BYTES - g->len)
		n = HTTP_RING_BYTES - g->len;
	if (first > n)
		first = n;
	memcpy(g->data + at, p, first);
	memcpy(g->data, p + first, n - first);
	g->len += n;
	return n;
}

enum MHD_Result
http_stream_feed(struct http_request *h, const char *p, size_t *n)
{
	bool is_done;

	pthread_mutex_lock(&h->lock);
	is_done = h->is_done;
	if (!is_done) {
		limits_gave(connection_of(h->conn), *n);
		*n -= ring_put(&h->ring, p, *n);
		wake_worker(h);
		if (*n)
			suspend(h, FOR_ROOM);
	}
	pthread_mutex_unlock(&h->lock);
	return is_done ? http_drain(h, n) : MHD_YES;
}

enum MHD_Result
http_drain(struct http_request *h, size_t *n)
{
	limits_gave(connection_of(h->conn), *n);
	h->drained += *n;
	*n = 0;
	return h->drained > HTTP_DRAIN_BYTES ? past_answer(h) : MHD_YES;
}

bool
http_stream_end(struct http_request *h)
{
	bool is_done;

	pthread_mutex_lock(&h->lock);
	h->ring.at_end = true;
	wake_worker(h);
	is_done = h->is_done;
	if (!is_done)
		suspend(h, FOR_ANSWER);
	pthread_mutex_unlock(&h->lock);
	return is_done;
}

void
http_stream_free(struct http_request *h)
{
	free(h->ring.data);
	if (h->is_stream)
		pthread_cond_destroy(&h->ring.changed);
}

void
http_abort(struct http_request *h)
{
	bool was_away;

	pthread_mutex_lock(&h->lock);
	h->is_aborted = true;
	wake_worker(h);
	was_away = h->suspended == FOR_MORE;
	resume(h, FOR_MORE);
	pthread_mutex_unlock(&h->lock);
	if (was_away)
		http_return(h->r.front);
}

/* --- the worker's side --- */

static size_t
ring_get(struct ring *g, uint8_t *p, size_t n)
{
	size_t first = HTTP_RING_BYTES - g->head;

	if (n > g->len)
		n = g->len;
	if (first > n)
		first = n;
	memcpy(p, g->data + g->head, first);
	memcpy(p + first, g->data, n - first);
	g->head = (g->head + n) % HTTP_RING_BYTES;
	g->len -= n;
	return n;
}

static ssize_t
read_ring(struct http_request *h, void *p, size_t n, struct err *e)
{
	struct ring *g = &h->ring;
	ssize_t got = 0;

	pthread_mutex_lock(&h->lock);
	resume(h, FOR_FIRST_READ);
	while (!g->len && !g->at_end && h->conn && !h->is_aborted) {
		g->is_waiting = true;
		pthread_cond_wait(&g->changed, &h->lock);
		g->is_waiting = false;
	}
	if (h->is_aborted)
		got = err_set(e, ERR_CANCELLED, "the node stops");
	else if (!g->len && !g->at_end)
		got = err_set(e, ERR_CANCELLED, "the client went away in its body");
	else
		got = (ssize_t)ring_get(g, p, n);
	if (g->len <= HTTP_RING_BYTES / 2)
		resume(h, FOR_ROOM);
	pthread_mutex_unlock(&h->lock);
	return got;
}

void
request_read_again(struct request *r, request_again_fn *fn, void *arg)
{
	struct http_request *h = http_of(r);

	h->again = fn;
	h->again_arg = arg;
	h->again_at = 0;
}

static ssize_t
read_again(struct http_request *h, void *p, size_t n, struct err *e)
{
	ssize_t got = h->again(h->again_arg, h->again_at, p, n, e);

	if (got > 0)
		h->again_at += (uint64_t)got;
	else if (got == 0)
		h->again = NULL;
	return got;
}

ssize_t
request_read(struct request *r, void *p, size_t n, struct err *e)
{
	struct http_request *h = http_of(r);
	size_t left = h->collected.len - h->collected_at;
	ssize_t got = h->again ? read_again(h, p, n, e) : 0;

	if (got)
		return got;
	if (h->is_stream && !left)
		return read_ring(h, p, n, e);
	if (n > left)
		n = left;
	if (n)
		memcpy(p, h->collected.data + h->collected_at, n);
	h->collected_at += n;
	return (ssize_t)n;
}

struct span
request_body(struct request *r)
{
	const struct http_request *h = http_of(r);

	return h->is_stream ? (struct span){ NULL, 0 }
	                    : (struct span){ h->collected.data, h->collected.len };
}
