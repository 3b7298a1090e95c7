/* From struct request to an MHD response.
 *
 * A body in memory is sent from where it is: the request outlives its sending. A body that is read is
 * asked for block by block on the HTTP thread; when there is none yet the connection is suspended until
 * response_more.
 */
#include "front/http_internal.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/host.h"
#include "base/log.h"
#include "base/stats.h"
#include "standby/standby.h"

/* --- statistics --- */

#define ANSWERED(m, class) \
	COUNTER("domicile_http_requests_total", "method=\"" m "\",status=\"" class "\"", \
	    "Requests answered.")
#define METHOD(m) \
	{ \
		ANSWERED(m, "2xx"), ANSWERED(m, "3xx"), ANSWERED(m, "4xx"), ANSWERED(m, "5xx") \
	}
static const char *const methods[] = { "GET", "HEAD", "PUT", "POST", "DELETE", "other" };
static struct counter answered[][4] = { METHOD("GET"), METHOD("HEAD"), METHOD("PUT"),
	METHOD("POST"), METHOD("DELETE"), METHOD("other") };

static struct histogram read_time = HISTOGRAM("domicile_http_seconds", "kind=\"read\"",
    "From a request's first line to its answer, GET and HEAD.");
static struct histogram write_time = HISTOGRAM("domicile_http_seconds", "kind=\"write\"",
    "From a request's first line to its answer, others.");

static void
count_answer(const struct http_request *h)
{
	unsigned m = 0, status = h->r.status / 100;

	while (m + 1 < ARRAY_LEN(methods) && strcmp(methods[m], h->method) != 0)
		m++;
	counter_add(&answered[m][status >= 2 && status <= 5 ? status - 2 : 3], 1);
	histogram_add(m < 2 ? &read_time : &write_time, (host_mono_ns() - h->r.started_ns) / 1000);
}

/* --- what handlers call --- */

static bool
has_controls(const char *s)
{
	for (; *s; s++)
		if (((unsigned char)*s < ' ' && *s != '\t') || *s == 0x7f)
			return true;
	return false;
}

static void
add_line(struct request *r, const char *name, const char *value)
{
	if (has_controls(value))
		return;
	buf_add_str(&r->headers, name);
	buf_add(&r->headers, ": ", 2);
	buf_add_str(&r->headers, value);
	buf_add_char(&r->headers, '\n');
}

void
response_header(struct request *r, const char *name, const char *format, ...)
{
	char small[512], *value = small;
	va_list args;
	int n;

	assert(*name && !has_controls(name) && !strpbrk(name, ": \t"));
	/* Most are text as it is, and printf takes its time. */
	if (!strchr(format, '%')) {
		add_line(r, name, format);
		return;
	}
	va_start(args, format);
	if (!strcmp(format, "%s")) {
		add_line(r, name, va_arg(args, const char *));
		va_end(args);
		return;
	}
	n = vsnprintf(small, sizeof small, format, args);
	va_end(args);
	if (n >= (int)sizeof small) {
		va_start(args, format);
		n = vasprintf(&value, format, args);
		va_end(args);
	}
	if (n < 0)
		return;
	add_line(r, name, value);
	if (value != small)
		free(value);
}

void
response_begin(struct request *r)
{
	struct http_request *h = http_of(r);

	assert(r->may_block && !h->has_begun);
	/* The connection may end while the handler still looks at the headers. */
	if (http_head_own(h) < 0) {
		struct err e;

		err_set(&e, ERR_MEMORY, "no memory for an answer");
		http_answer_error(h, 0, &e);
	}
	h->has_begun = true;
	http_done(h);
}

void
response_more(struct request *r)
{
	struct http_request *h = http_of(r);
	struct front *f = r->front;
	bool was_away;

	pthread_mutex_lock(&h->lock);
	h->more++;
	was_away = h->suspended == FOR_MORE;
	if (was_away) {
		h->suspended = NOT_SUSPENDED;
		MHD_resume_connection(h->conn);
	}
	pthread_mutex_unlock(&h->lock);
	if (was_away)
		http_return(f);
}

/* --- making it --- */

void
http_answer_clear(struct http_request *h)
{
	struct request *r = &h->r;

	if (r->read && r->read_free)
		r->read_free(r->read_arg);
	r->read = NULL;
	r->read_arg = NULL;
	r->read_free = NULL;
	r->read_bytes = 0;
	if (r->lent_free)
		r->lent_free(r->lent_arg);
	r->lent = (struct span){ NULL, 0 };
	r->lent_free = NULL;
	r->status = 0;
	buf_clear(&r->headers);
	buf_clear(&r->body);
}

void
http_answer_error(struct http_request *h, unsigned status, const struct err *e)
{
	http_answer_clear(h);
	h->listener->ops->fail(&h->r, status, e);
}

/* Suspend, unless there is more since it was SEEN. */
static bool
wait_for_more(struct http_request *h, unsigned seen, bool *may_wait)
{
	bool is_over;

	pthread_mutex_lock(&h->lock);
	is_over = h->more == seen && !h->is_aborted;
	*may_wait = is_over && http_leave(h->r.front);
	if (*may_wait) {
		h->suspended = FOR_MORE;
		limits_owes_nothing(connection_of(h->conn));
		MHD_suspend_connection(h->conn);
	}
	pthread_mutex_unlock(&h->lock);
	return is_over;
}

/* MHD closes its side at once, but looks again at a connection that was closed inside a reader only
 * when it is the oldest one of those with the usual time-out, or has another. */
static ssize_t
break_off(struct http_request *h)
{
	MHD_set_connection_option(h->conn, MHD_CONNECTION_OPTION_TIMEOUT, 1U);
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static ssize_t
give_block(void *arg, uint64_t at, char *p, size_t n)
{
	struct http_request *h = arg;
	struct request *r = &h->r;

	for (;;) {
		unsigned seen;
		bool is_aborted, may_wait;
		ssize_t got;

		pthread_mutex_lock(&h->lock);
		seen = h->more;
		is_aborted = h->is_aborted;
		pthread_mutex_unlock(&h->lock);
		got = is_aborted ? -1 : r->read(r->read_arg, at, p, n);
		if (got > 0) {
			limits_owes(connection_of(h->conn), (uint64_t)got); /* to take it */
			return got;
		}
		if (got < 0)
			return got == RESPONSE_END ? MHD_CONTENT_READER_END_OF_STREAM
			                           : break_off(h);
		if (wait_for_more(h, seen, &may_wait))
			return may_wait ? 0 : break_off(h);
	}
}

static void
end_blocks(void *arg)
{
	struct http_request *h = arg;

	if (h->r.read_free)
		h->r.read_free(h->r.read_arg);
	h->r.read_free = NULL;
	h->r.read = NULL;
	http_unref(h);
}

static ssize_t
give_nothing(void *arg, uint64_t at, char *p, size_t n)
{
	(void)arg, (void)at, (void)p, (void)n;
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static struct MHD_Response *
make_read(struct http_request *h)
{
	uint64_t n = h->r.read_bytes == UINT64_MAX ? MHD_SIZE_UNKNOWN : h->r.read_bytes;
	size_t block = n < HTTP_BLOCK_BYTES ? (size_t)n + !n : HTTP_BLOCK_BYTES;
	struct MHD_Response *m;

	http_live(h);
	atomic_fetch_add(&h->refs, 1);
	m = MHD_create_response_from_callback(n, block, give_block, h, end_blocks);
	if (!m)
		http_unref(h);
	return m;
}

struct span
http_answer_body(const struct http_request *h)
{
	const struct request *r = &h->r;

	return r->lent.len ? r->lent : (struct span){ r->body.data, r->body.len };
}

static struct MHD_Response *
make_body(struct http_request *h)
{
	struct request *r = &h->r;
	struct span body = http_answer_body(h);

	if (r->read)
		return make_read(h);
	if (!body.len && r->read_bytes && (!strcmp(h->method, "HEAD") || r->status == 304))
		return MHD_create_response_from_callback(
		    r->read_bytes, 1, give_nothing, NULL, NULL);
	return MHD_create_response_from_buffer(
	    body.len, body.len ? (void *)body.data : NULL, MHD_RESPMEM_PERSISTENT);
}

/* Of every answer. */
static int
add_lines(struct request *r)
{
	add_line(r, "x-amz-request-id", r->id);
	add_line(r, "Server", "Domicile");
	return buf_check(&r->headers, NULL);
}

/* Lines of "Name: value", cut apart in place. */
static int
add_headers(struct MHD_Response *m, struct http_request *h)
{
	struct request *r = &h->r;
	char *line = (char *)r->headers.data, *end = line + r->headers.len;

	while (line < end) {
		char *next = memchr(line, '\n', (size_t)(end - line));
		char *colon = memchr(line, ':', (size_t)(end - line));

		if (!next || !colon || colon > next)
			return -1;
		*next = '\0';
		*colon = '\0';
		/* MHD refuses an empty value; spaces around one are no part of it. */
		if (MHD_add_response_header(m, line, colon[2] ? colon + 2 : " ") != MHD_YES)
			return -1;
		line = next + 1;
	}
	return 0;
}

static bool
is_for_others(const struct http_request *h)
{
	enum listener_kind k = h->listener->kind;

	return k == LISTEN_S3 || k == LISTEN_S3_PLAIN || k == LISTEN_PEER;
}

static void
check_answer(struct http_request *h)
{
	struct request *r = &h->r;
	struct err e;

	if (h->flush_error.kind)
		http_answer_error(h, 0, &h->flush_error);
	else if (buf_check(&r->headers, &e) < 0 || (!r->read && buf_check(&r->body, &e) < 0))
		http_answer_error(h, 0, &e);
	/* What was done inside may have been done by a node that is not the region any more: it may have
	 * stood still meanwhile. */
	if (is_for_others(h) && r->status < 400 && !standby_may_serve(r->node->standby)) {
		standby_refuse(r->node->standby, &e);
		http_answer_error(h, 0, &e);
	}
	if (r->status < 200 || r->status > 599) {
		err_set(&e, ERR_INTERNAL, "the handler gave no answer");
		http_answer_error(h, 500, &e);
	}
}

/* Whether MHD sends a body, and at once after the headers. */
static bool
has_body_at_once(const struct http_request *h)
{
	const struct request *r = &h->r;

	return !r->read && http_answer_body(h).len && r->status != 204 && r->status != 304 &&
	    strcmp(h->method, "HEAD") != 0;
}

bool
http_answer_make(struct http_request *h)
{
	if (!limits_may_answer(connection_of(h->conn)))
		return false;
	check_answer(h);
	count_answer(h);
	return true;
}

enum MHD_Result
http_answer_queue(struct http_request *h)
{
	struct connection *c = connection_of(h->conn);
	struct tls_connection *tls = c ? c->tls : NULL;
	struct MHD_Response *m;
	enum MHD_Result result = MHD_NO;

	h->phase = PHASE_ANSWERED;
	if (!http_answer_make(h))
		return MHD_NO;
	m = make_body(h);
	if (!m)
		return MHD_NO;
	if (atomic_load(&h->r.front->is_stopping) || h->must_close)
		MHD_add_response_header(m, "Connection", "close");
	if (add_lines(&h->r) == 0 && (tls || add_headers(m, h) == 0))
		result = MHD_queue_response(h->conn, h->r.status, m);
	else
		log_error("http.header", h->r.id, "a header of the answer can't be sent");
	if (result == MHD_YES && tls)
		tls_expect_answer(
		    tls, (struct span){ h->r.headers.data, h->r.headers.len }, has_body_at_once(h));
	/* What is read owes nothing until there is some of it. */
	if (!h->r.read) {
		size_t n = http_answer_body(h).len;

		limits_have(h, n);
		limits_owes(connection_of(h->conn), n);
	}
	MHD_destroy_response(m);
	return result;
}
