/* http_fixture.h - the HTTP server with handlers of a test's own, a store whose flushes can be held
 * and made to fail, and a client that sends what it is told, byte for byte.
 */
#ifndef HTTP_FIXTURE_H
#define HTTP_FIXTURE_H

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/host.h"
#include "check.h"
#include "front/http_internal.h"

/* --- a store --- */

struct slow_engine {
	struct engine engine;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool hold, fail;
	unsigned flushes;
};

static inline int
slow_flush(struct engine *g, struct err *e)
{
	struct slow_engine *s = container_of(g, struct slow_engine, engine);
	bool fail;

	pthread_mutex_lock(&s->lock);
	while (s->hold)
		pthread_cond_wait(&s->changed, &s->lock);
	s->flushes++;
	fail = s->fail;
	pthread_mutex_unlock(&s->lock);
	return fail ? err_set(e, ERR_IO, "the disk is broken") : 0;
}

static inline void
slow_set(struct slow_engine *s, bool hold, bool fail)
{
	pthread_mutex_lock(&s->lock);
	s->hold = hold;
	s->fail = fail;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* --- a server --- */

struct served {
	struct node node;
	struct slow_engine slow;
	struct front *front;
	unsigned port;
};

static inline void
served_fail(struct request *r, unsigned status, const struct err *e)
{
	r->status = status                                    ? status
	    : e->kind == ERR_BAD                              ? 400
	    : e->kind == ERR_TOO_BIG                          ? 413
	    : e->kind == ERR_DENIED                           ? 403
	    : e->kind == ERR_BUSY || e->kind == ERR_IO        ? 503
	    : e->kind == ERR_PEER || e->kind == ERR_CANCELLED ? 503
	                                                      : 500;
	buf_add_str(&r->body, e->text);
}

static inline void
served_start(struct served *s, const struct front_ops *ops, const struct front_config *more)
{
	static const struct engine_ops engine_ops = { .scheme = "slow", .flush = slow_flush };
	struct front_config c = more ? *more : (struct front_config){ .threads = 2 };
	struct front_table table = { *ops, *ops, *ops, *ops };
	struct err e = { 0 };

	s->slow.engine.ops = &engine_ops;
	pthread_mutex_init(&s->slow.lock, NULL);
	pthread_cond_init(&s->slow.changed, NULL);
	s->node.engine = &s->slow.engine;
	s->node.flusher = flusher_start(s->node.engine, &e);
	CHECK(s->node.flusher);
	c.node = &s->node;
	if (!c.s3_plain_at)
		c.s3_plain_at = "127.0.0.1:0";
	s->front = front_start_with(&c, &table, &e);
	if (!s->front)
		fail_msg("%s", e.text);
	s->port = front_port(s->front, "s3_plain");
	CHECK(s->port);
}

static inline void
served_stop(struct served *s)
{
	front_stop(s->front, 2000);
	flusher_stop(s->node.flusher);
	pthread_mutex_destroy(&s->slow.lock);
	pthread_cond_destroy(&s->slow.changed);
}

/* --- a client --- */

#ifndef CLIENT_WAIT_MS
#define CLIENT_WAIT_MS 20000
#endif

struct client {
	int fd;
	struct buf got; /* not yet taken */
	unsigned status;
	struct buf head, body;
};

static inline void
client_open(struct client *c, unsigned port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK) },
		.sin_port = htons((uint16_t)port) };

	*c = (struct client){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
	CHECK(c->fd >= 0);
	CHECK(connect(c->fd, (struct sockaddr *)&at, sizeof at) == 0);
}

static inline void
client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	buf_free(&c->got);
	buf_free(&c->head);
	buf_free(&c->body);
}

/* false: the server does not take it. */
static inline bool
client_send(struct client *c, const void *p, size_t n)
{
	for (const char *at = p; n;) {
		ssize_t m = send(c->fd, at, n, MSG_NOSIGNAL);

		if (m <= 0)
			return false;
		at += m;
		n -= (size_t)m;
	}
	return true;
}

static inline void
client_say(struct client *c, const char *text)
{
	CHECK(client_send(c, text, strlen(text)));
}

/* Whether bytes come within WAIT_MS; they are in c->got. 0: the end. -1: nothing came. */
static inline int
client_more(struct client *c, int wait_ms)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	uint8_t *room;
	ssize_t n;

	if (poll(&p, 1, wait_ms) <= 0)
		return -1;
	room = buf_room(&c->got, 1 << 16);
	CHECK(room);
	n = recv(c->fd, room, 1 << 16, 0);
	if (n <= 0)
		return 0;
	c->got.len += (size_t)n;
	return 1;
}

static inline bool
client_need(struct client *c, size_t n)
{
	while (c->got.len < n) {
		int rc = client_more(c, CLIENT_WAIT_MS);

		if (rc < 0)
			fail_msg("no answer within %d ms", CLIENT_WAIT_MS);
		if (rc == 0)
			return false;
	}
	return true;
}

static inline const char *
client_header(struct client *c, const char *name)
{
	static _Thread_local char value[1024];
	size_t n = strlen(name);

	for (const char *line = buf_str(&c->head); line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncasecmp(line, name, n) && line[n] == ':') {
			snprintf(value, sizeof value, "%.*s", (int)strcspn(line + n + 2, "\r\n"),
			    line + n + 2);
			return value;
		}
	}
	return NULL;
}

static inline bool
client_take(struct client *c, size_t n, struct buf *to)
{
	if (!client_need(c, n))
		return false;
	if (to)
		buf_add(to, c->got.data, n);
	buf_drop_front(&c->got, n);
	return true;
}

static inline char *
client_find(struct client *c, const char *text)
{
	return c->got.len ? memmem(c->got.data, c->got.len, text, strlen(text)) : NULL;
}

static inline bool
client_chunks(struct client *c)
{
	for (;;) {
		char *end;
		size_t n, line;

		while (!(end = client_find(c, "\r\n")))
			if (!client_need(c, c->got.len + 1))
				return false;
		line = (size_t)(end - (char *)c->got.data) + 2;
		n = strtoul((const char *)buf_str(&c->got), NULL, 16);
		if (!client_take(c, line, NULL) || !client_take(c, n, &c->body) ||
		    !client_take(c, 2, NULL))
			return false;
		if (!n)
			return true;
	}
}

/* The next answer into status, head and body. 0: the connection ended before it was whole. */
static inline unsigned
client_answer_to(struct client *c, const char *method)
{
	const char *length;
	char *end;

	buf_clear(&c->head);
	buf_clear(&c->body);
	while (!(end = client_find(c, "\r\n\r\n")))
		if (!client_need(c, c->got.len + 1))
			return 0;
	client_take(c, (size_t)(end - (char *)c->got.data) + 4, &c->head);
	c->status = (unsigned)strtoul((const char *)buf_str(&c->head) + 9, NULL, 10);
	length = client_header(c, "content-length");
	if (c->status == 100 || !strcmp(method, "HEAD"))
		return c->status;
	if (length)
		return client_take(c, strtoul(length, NULL, 10), &c->body) ? c->status : 0;
	if (client_header(c, "transfer-encoding"))
		return client_chunks(c) ? c->status : 0;
	return c->status;
}

static inline unsigned
client_answer(struct client *c)
{
	return client_answer_to(c, "GET");
}

/* A connection of its own for one request; the client is left open. */
static inline unsigned
client_ask(struct client *c, unsigned port, const char *text)
{
	client_open(c, port);
	client_say(c, text);
	return client_answer(c);
}

static inline bool
client_at_end(struct client *c)
{
	int rc;

	while ((rc = client_more(c, CLIENT_WAIT_MS)) > 0)
		;
	return rc == 0;
}

/* Wait until EXPR holds. */
#define CHECK_SOON(expr) \
	do { \
		uint64_t until_ = host_mono_ms() + CLIENT_WAIT_MS; \
		while (!(expr) && host_mono_ms() < until_) \
			usleep(1000); \
		CHECK(expr); \
	} while (0)

#endif
