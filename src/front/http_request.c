/* A request's life on the HTTP thread.
 *
 * MHD calls http_access once when the headers are there, then for every piece of the body, then
 * once more when the request is complete, and again after each resuming. h->phase says what a call
 * is. The fast path: HEAD, COLLECT, the handler here, the answer at once or, if what it tells is
 * not yet durable, after the flusher has resumed the connection (READY). No other thread has a part
 * in it but the flusher.
 */
#include "front/http_internal.h"

#include <string.h>
#include <strings.h>

#include "base/host.h"
#include "base/log.h"
#include "base/refused.h"
#include "directory/peer.h"

#define HTTP_OFTEN   "there are too many requests a second from this address"
#define HTTP_LONG    "the body is too large for this request: at most 2 MiB"
#define HTTP_CROWDED "too much is on its way at once; come back later"

/* --- coming and going --- */

static void
make_id(struct front *f, char id[static REQUEST_ID_SIZE])
{
	uint64_t x = f->id_base + atomic_fetch_add(&f->ids, 1) * 0x9e3779b97f4a7c15u;
	uint8_t bytes[8];

	/* splitmix64, so that ids do not look consecutive */
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	be64_put(bytes, x ^ x >> 31);
	hex_text(bytes, sizeof bytes, id);
}

/* "http://host/path" (RFC 9112, 3.2.2): how much of it is before the path, and where in it the host begins.
 * 0: it is in another form. */
static size_t
before_path(const char *uri, size_t *host_at)
{
	*host_at = !strncasecmp(uri, "http://", 7) ? 7 : !strncasecmp(uri, "https://", 8) ? 8 : 0;
	return *host_at ? *host_at + strcspn(uri + *host_at, "/?") : 0;
}

/* The target before MHD takes it apart in place. Becomes the request's context. */
void *
http_uri_seen(void *arg, const char *uri, struct MHD_Connection *conn)
{
	struct listener *l = arg;
	size_t n, host_at, before;
	struct http_request *h;
	char *target, *path, *query;

	(void)conn;
	if (!uri)
		return NULL;
	n = strlen(uri);
	before = before_path(uri, &host_at);
	h = malloc(sizeof *h + 2 * (n + 1)); /* also with a host: its scheme is not kept */
	if (!h)
		return NULL;
	memset(h, 0, offsetof(struct http_request, headers));
	target = (char *)(h + 1);
	path = stpcpy(stpcpy(target, before && uri[before] != '/' ? "/" : ""), uri + before) + 1;
	n = (size_t)(path - target) - 1;
	memcpy(path, target, n + 1);
	if (before) {
		h->host = path + n + 1;
		snprintf(h->host, before - host_at + 1, "%s", uri + host_at);
	}
	query = strchr(path, '?');
	if (query)
		*query++ = '\0';
	h->r = (struct request){
		.front = l->front,
		.node = l->front->node,
		.method = h->method,
		.target = target,
		.path = path,
		.query = query ? query : path + n, /* "" */
		.is_peer = l->kind == LISTEN_PEER,
		.started_ns = host_mono_ns(),
		.internal = h,
	};
	h->listener = l;
	h->collected.max = BODY_COLLECT_MAX;
	atomic_init(&h->refs, 1);
	pthread_mutex_init(&h->lock, NULL);
	make_id(l->front, h->r.id);
	return h;
}

void
http_unref(struct http_request *h)
{
	struct front *f = h->r.front;

	if (atomic_fetch_sub(&h->refs, 1) != 1)
		return;
	if (h->is_live) {
		pthread_mutex_lock(&f->live_lock);
		*h->live_at = h->live_next;
		if (h->live_next)
			h->live_next->live_at = h->live_at;
		pthread_mutex_unlock(&f->live_lock);
	}
	if (h->is_counted)
		atomic_fetch_sub(&f->inside, 1);
	http_answer_clear(h);
	buf_free(&h->r.headers);
	buf_wipe(&h->r.body); /* people's content, or the secret key of a new account */
	buf_wipe(&h->collected);
	http_stream_free(h);
	http_head_free(h);
	limits_give_back(h);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

void
http_live(struct http_request *h)
{
	struct front *f = h->r.front;

	if (h->is_live)
		return;
	pthread_mutex_lock(&f->live_lock);
	h->live_next = f->live;
	h->live_at = &f->live;
	if (f->live)
		f->live->live_at = &h->live_next;
	f->live = h;
	h->is_live = true;
	pthread_mutex_unlock(&f->live_lock);
}

/* Counted first and looked second, front_stop the other way round: one of us sees the other. */
bool
http_leave(struct front *f)
{
	atomic_fetch_add(&f->away, 1);
	if (!atomic_load(&f->is_aborting))
		return true;
	http_return(f);
	return false;
}

void
http_completed(
    void *arg, struct MHD_Connection *conn, void **context, enum MHD_RequestTerminationCode code)
{
	struct http_request *h = *context;
	struct connection *c = connection_of(conn);

	(void)arg, (void)code;
	limits_coming(c, NULL);
	limits_owes(c, 0); /* the next head */
	if (c && c->tls)
		tls_end_answer(c->tls);
	if (!h)
		return;
	*context = NULL;
	pthread_mutex_lock(&h->lock);
	h->conn = NULL;
	if (h->ring.is_waiting)
		pthread_cond_signal(&h->ring.changed);
	pthread_mutex_unlock(&h->lock);
	http_unref(h);
}

/* --- the handler --- */

void
http_done(struct http_request *h)
{
	pthread_mutex_lock(&h->lock);
	h->is_done = true;
	if (h->conn && h->suspended != NOT_SUSPENDED && h->suspended != FOR_MORE) {
		h->suspended = NOT_SUSPENDED;
		limits_owes(connection_of(h->conn), 0); /* the rest of a body, if there is one */
		MHD_resume_connection(h->conn);
	}
	pthread_mutex_unlock(&h->lock);
}

static void
flushed(struct flush_wait *w, const struct err *e)
{
	struct http_request *h = container_of(w, struct http_request, wait);
	struct front *f = h->r.front;

	if (e)
		h->flush_error = *e;
	http_done(h);
	http_unref(h);
	http_return(f);
}

static bool
must_wait(const struct request *r)
{
	return r->ticket && !flusher_is_durable(r->node->flusher, r->ticket);
}

/* The answer leaves when its ticket is durable. Takes a reference and a count in away. */
static void
answer_when_durable(struct http_request *h)
{
	h->wait.done = flushed;
	flusher_notify(h->r.node->flusher, h->r.ticket, &h->wait);
}

void
http_work(struct http_request *h)
{
	struct front *f = h->r.front;

	h->r.may_block = true;
	if (h->listener->ops->handle(&h->r) != HANDLE_DONE) {
		struct err e;

		err_set(&e, ERR_INTERNAL, "the handler would not block");
		if (!h->has_begun)
			http_answer_error(h, 0, &e);
	}
	if (!h->has_begun) {
		if (must_wait(&h->r)) {
			answer_when_durable(h);
			return;
		}
		http_done(h);
	}
	http_unref(h);
	http_return(f);
}

static enum MHD_Result
refuse(struct http_request *h, unsigned status, enum err_kind kind, const char *why)
{
	struct err e;

	err_set(&e, kind, "%s", why);
	http_answer_error(h, status, &e);
	return http_answer_queue(h);
}

/* Under the lock that the worker needs for resuming, so that it can't come before the suspending. */
static enum MHD_Result
run_on_worker(struct http_request *h)
{
	struct front *f = h->r.front;
	struct err e;
	int rc;

	http_answer_clear(h);
	h->r.ticket = 0;
	if (!http_leave(f))
		return MHD_NO;
	h->phase = PHASE_READY;
	atomic_fetch_add(&h->refs, 1);
	pthread_mutex_lock(&h->lock);
	rc = workers_add(f->workers, h, &e);
	if (rc == 0) {
		h->suspended = FOR_ANSWER;
		MHD_suspend_connection(h->conn);
	}
	pthread_mutex_unlock(&h->lock);
	if (rc == 0)
		return MHD_YES;
	http_unref(h);
	http_return(f);
	return refuse(h, 0, e.kind, e.text);
}

static enum MHD_Result
run(struct http_request *h)
{
	struct front *f = h->r.front;

	if (h->collected.len > HTTP_SMALL_BODY)
		return run_on_worker(h);
	h->r.may_block = false;
	if (h->listener->ops->handle(&h->r) == HANDLE_AGAIN)
		return run_on_worker(h);
	if (!must_wait(&h->r))
		return http_answer_queue(h);
	if (!http_leave(f))
		return MHD_NO;
	h->phase = PHASE_READY;
	atomic_fetch_add(&h->refs, 1);
	h->suspended = FOR_ANSWER;
	MHD_suspend_connection(h->conn);
	answer_when_durable(h);
	return MHD_YES;
}

/* --- the body --- */

/* The answer has to wait until the body is in. */
static enum MHD_Result
refuse_in_body(struct http_request *h, const struct err *e, size_t *n)
{
	http_answer_error(h, 0, e);
	h->phase = PHASE_REFUSE;
	return http_drain(h, n);
}

/* No memory for what comes; it has begun to. */
static enum MHD_Result
crowded(struct http_request *h, size_t *n)
{
	struct err e;

	buf_free(&h->collected);
	err_set(&e, ERR_BUSY, HTTP_CROWDED);
	refused_count(REFUSED_MEMORY);
	return refuse_in_body(h, &e, n);
}

static enum MHD_Result
collect(struct http_request *h, const char *p, size_t *n)
{
	size_t will = h->collected.len + *n;
	struct err e;

	limits_gave(connection_of(h->conn), *n);
	if (will > h->memory && !limits_take(h, will - h->memory))
		return crowded(h, n);
	buf_add(&h->collected, p, *n);
	if (buf_check(&h->collected, &e) == 0) {
		*n = 0;
		return MHD_YES;
	}
	if (e.kind == ERR_MEMORY)
		return crowded(h, n);
	buf_free(&h->collected);
	err_set(&e, ERR_TOO_BIG, HTTP_LONG);
	http_answer_error(h, 413, &e);
	h->phase = PHASE_REFUSE;
	return http_drain(h, n);
}

/* No worker waits for what a client may never send. */
static enum MHD_Result
collect_first(struct http_request *h, const char *p, size_t *n)
{
	size_t left = h->stream_after - h->collected.len, now = *n < left ? *n : left;
	struct err e;

	limits_gave(connection_of(h->conn), now);
	buf_add(&h->collected, p, now);
	if (buf_check(&h->collected, &e) < 0)
		return crowded(h, n);
	*n -= now;
	if (now < left)
		return MHD_YES;
	if (!limits_take(h, HTTP_STREAM_MEMORY))
		return crowded(h, n);
	if (http_stream_begin(h, &e) < 0)
		return refuse_in_body(h, &e, n);
	return *n ? http_stream_feed(h, p + now, n) : MHD_YES;
}

/* --- the head --- */

static bool
is_region(struct http_request *h)
{
	struct connection *c = connection_of(h->conn);
	const union MHD_ConnectionInfo *tls = MHD_get_connection_info(
	    h->conn, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	struct peer_connection *peer;
	struct err e;

	if (!c || !c->tls || !tls)
		return false;
	peer = tls_peer(c->tls);
	if (!peer->is_checked) {
		if (peers_check_session(h->r.node->peers, tls->tls_session, peer->name, &e) < 0) {
			log_warn("http.peer", h->r.id, "refused=%s", e.text);
			return false;
		}
		peer->is_checked = true;
	} else if (!peers_admits(h->r.node->peers, peer->name)) {
		log_warn("http.peer", h->r.id, "refused=%s is not among the regions any more",
		    peer->name);
		return false;
	}
	memcpy(h->r.peer, peer->name, sizeof h->r.peer);
	return true;
}

static const char *
why_bad(unsigned status)
{
	return status == 431 ? "the headers and the query are too large"
	    : status == 501  ? "no such method"
	                     : "the request is malformed";
}

static bool
is_surplus(struct MHD_Connection *conn)
{
	const struct connection *c = connection_of(conn);

	return c && c->is_surplus;
}

static enum MHD_Result
refuse_surplus(struct http_request *h)
{
	h->must_close = true;
	refused_count(REFUSED_CONNECTIONS);
	return refuse(h, 0, ERR_BUSY, "there are too many connections; come back later");
}

static enum MHD_Result
refuse_crowded(struct http_request *h)
{
	refused_count(REFUSED_MEMORY);
	return refuse(h, 0, ERR_BUSY, HTTP_CROWDED);
}

/* Once the body is in: closing on a client that sends may mean that it never sees the answer. */
static enum MHD_Result
refuse_behind_body(struct http_request *h, unsigned status, enum err_kind kind, const char *why)
{
	struct err e;

	err_set(&e, kind, "%s", why);
	http_answer_error(h, status, &e);
	if (h->length)
		limits_owes(connection_of(h->conn), 0);
	h->phase = PHASE_REFUSE;
	return MHD_YES;
}

/* A new connection would cost more than the answer: it is kept, unless a body would have to be read. */
static enum MHD_Result
refuse_often(struct http_request *h)
{
	refused_count(REFUSED_ADDRESS_RATE);
	return h->length > HTTP_SMALL_BODY ? refuse(h, 0, ERR_BUSY, HTTP_OFTEN)
	                                   : refuse_behind_body(h, 0, ERR_BUSY, HTTP_OFTEN);
}

static enum MHD_Result
refuse_long(struct http_request *h)
{
	return h->expects || h->length > HTTP_DRAIN_BYTES
	    ? refuse(h, 413, ERR_TOO_BIG, HTTP_LONG)
	    : refuse_behind_body(h, 413, ERR_TOO_BIG, HTTP_LONG);
}

/* Room for what a body of that length may be at first. The rest is taken as it comes: nobody has shown yet who
 * asks, and to announce a body must not keep memory from others. */
static bool
take_small(struct http_request *h)
{
	size_t n = h->length < HTTP_SMALL_BODY ? (size_t)h->length : HTTP_SMALL_BODY;

	if (!limits_take(h, n))
		return false;
	buf_room(&h->collected, n);
	return true;
}

static enum MHD_Result
begin_stream(struct http_request *h)
{
	const struct front_ops *ops = h->listener->ops;
	size_t first = ops->stream_after && h->length ? ops->stream_after(&h->r) : 0;

	if (!first)
		return limits_take(h, HTTP_STREAM_MEMORY) ? http_stream_start(h)
		                                          : refuse_crowded(h);
	if (!limits_take(h, first))
		return refuse_crowded(h);
	h->stream_after = first;
	h->phase = PHASE_FIRST;
	limits_owes(connection_of(h->conn), 0);
	return MHD_YES;
}

/* A refusal here closes the connection: what follows it is not to be trusted, or not wanted. */
static enum MHD_Result
begin(struct http_request *h, struct MHD_Connection *conn, const char *method)
{
	struct front *f = h->r.front;
	const struct front_ops *ops = h->listener->ops;
	unsigned status;

	h->conn = conn;
	h->is_counted = true;
	atomic_fetch_add(&f->inside, 1);
	if (atomic_load(&f->is_aborting))
		return MHD_NO;
	limits_owes_nothing(connection_of(conn));
	status = http_head_read(h, conn, method);
	if (status == 503)
		return refuse_crowded(h);
	if (status)
		return refuse(h, status, ERR_BAD, why_bad(status));
	if (is_surplus(conn))
		return refuse_surplus(h);
	if (h->length)
		limits_coming(connection_of(conn), h);
	if (!limits_may_ask(h->listener, conn))
		return refuse_often(h);
	if (h->r.is_peer && !is_region(h))
		return refuse(h, 403, ERR_DENIED, "only regions may call here");
	if (ops->is_stream && ops->is_stream(&h->r))
		return begin_stream(h);
	if (h->length != UINT64_MAX && h->length > BODY_COLLECT_MAX)
		return refuse_long(h);
	if (h->length && h->length != UINT64_MAX && !take_small(h))
		return refuse_crowded(h);
	if (h->length)
		limits_owes(connection_of(conn), 0);
	h->phase = PHASE_COLLECT;
	return MHD_YES;
}

enum MHD_Result
http_access(void *arg, struct MHD_Connection *conn, const char *url, const char *method,
    const char *version, const char *data, size_t *size, void **context)
{
	struct http_request *h = *context;

	(void)arg, (void)url, (void)version;
	if (!h)
		return MHD_NO;
	switch (h->phase) {
	case PHASE_HEAD:
		return begin(h, conn, method);
	case PHASE_COLLECT:
		if (*size)
			return collect(h, data, size);
		limits_owes_nothing(connection_of(conn));
		return run(h);
	case PHASE_FIRST: /* a body that ends in it is no stream */
		if (*size)
			return collect_first(h, data, size);
		limits_owes_nothing(connection_of(conn));
		return run_on_worker(h);
	case PHASE_REFUSE:
		return *size ? http_drain(h, size) : http_answer_queue(h);
	case PHASE_HOLD:
		return http_stream_answered(h) ? http_answer_queue(h) : MHD_YES;
	case PHASE_STREAM:
		if (*size)
			return http_stream_feed(h, data, size);
		return http_stream_end(h) ? http_answer_queue(h) : MHD_YES;
	case PHASE_READY:
		return http_answer_queue(h);
	case PHASE_TOLD:
		return *size ? http_drain(h, size) : MHD_NO;
	case PHASE_ANSWERED:
		break;
	}
	return MHD_NO;
}
