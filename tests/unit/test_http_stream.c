/* Bodies that pass through: bounded, refused in time, broken off; answers that are read. */
#include "http_fixture.h"

#define MIB ((size_t)1 << 20)

static _Atomic uint64_t got_bytes, read_sum;
static _Atomic int read_failed, slow_down, begun, freed, stop_reading;
static struct served *now_served;

/* --- handlers --- */

static enum handle
swallow(struct request *r)
{
	uint8_t *p = malloc(1 << 16);
	uint64_t bytes = 0, sum = 0;
	struct err e = { 0 };
	ssize_t n;

	while ((n = request_read(r, p, 1 << 16, &e)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			sum = sum * 31 + p[i];
		bytes += (uint64_t)n;
		atomic_store(&got_bytes, bytes);
		while (atomic_load(&stop_reading))
			usleep(1000);
		if (atomic_load(&slow_down))
			usleep(2000);
	}
	free(p);
	atomic_store(&read_sum, sum);
	if (n < 0)
		atomic_store(&read_failed, (int)e.kind);
	r->status = n < 0 ? 500 : 200;
	buf_printf(&r->body, "%llu", (unsigned long long)bytes);
	if (!strcmp(r->path, "/stream-durable"))
		r->ticket = flusher_ticket(r->node->flusher);
	return HANDLE_DONE;
}

static enum handle
refuse_it(struct request *r)
{
	r->status = 403;
	buf_add_str(&r->body, "refused");
	return HANDLE_DONE;
}

/* Some of the body, then an error. */
static enum handle
refuse_late(struct request *r)
{
	char p[1000];
	struct err e;

	r->status = request_read(r, p, sizeof p, &e) > 0 ? 409 : 500;
	buf_add_str(&r->body, "refused late");
	return HANDLE_DONE;
}

/* A reader that has to wait for another thread again and again. */
struct dripping {
	struct request *r;
	pthread_mutex_t lock;
	uint64_t made, taken;
	bool is_free, is_unknown;
	unsigned breaks;
	_Atomic int refs;
};

static void
dripping_unref(struct dripping *d)
{
	if (atomic_fetch_sub(&d->refs, 1) != 1)
		return;
	pthread_mutex_destroy(&d->lock);
	free(d);
}

#define DRIP_BYTES ((uint64_t)300000)

static ssize_t
dripping_read(void *arg, uint64_t at, void *p, size_t n)
{
	struct dripping *d = arg;
	ssize_t got;

	pthread_mutex_lock(&d->lock);
	if (d->taken == DRIP_BYTES)
		got = RESPONSE_END;
	else if (d->breaks && d->taken > DRIP_BYTES / 2)
		got = d->breaks++ > 1 ? -1
		                      : 0; /* the second time it is not in the middle of sending */
	else
		got = (ssize_t)(d->made - d->taken < n ? d->made - d->taken : n);
	for (ssize_t i = 0; i < got; i++)
		((uint8_t *)p)[i] = (uint8_t)((at + (uint64_t)i) % 251);
	if (got > 0)
		d->taken += (uint64_t)got;
	pthread_mutex_unlock(&d->lock);
	return got;
}

static void
dripping_free(void *arg)
{
	struct dripping *d = arg;

	pthread_mutex_lock(&d->lock);
	d->is_free = true;
	pthread_mutex_unlock(&d->lock);
	atomic_fetch_add(&freed, 1);
	dripping_unref(d);
}

static enum handle
drip(struct request *r)
{
	struct dripping *d;
	bool is_free = false;

	if (!r->may_block)
		return HANDLE_AGAIN;
	d = calloc(1, sizeof *d);
	d->r = r;
	d->is_unknown = request_arg(r, "unknown");
	d->breaks = request_arg(r, "breaks") != NULL;
	atomic_init(&d->refs, 2);
	pthread_mutex_init(&d->lock, NULL);
	r->status = 200;
	r->read = dripping_read;
	r->read_arg = d;
	r->read_free = dripping_free;
	r->read_bytes = d->is_unknown ? UINT64_MAX : DRIP_BYTES;
	atomic_fetch_add(&begun, 1);
	response_begin(r);
	while ((d->made < DRIP_BYTES || request_arg(r, "breaks")) && !is_free) {
		pthread_mutex_lock(&d->lock);
		d->made += d->made < 3000 ? 100 : 7000;
		if (d->made > DRIP_BYTES)
			d->made = DRIP_BYTES;
		is_free = d->is_free;
		pthread_mutex_unlock(&d->lock);
		response_more(r);
		if (request_arg(r, "slowly") || d->made == DRIP_BYTES)
			usleep(5000);
	}
	response_more(r);
	/* Headers may still be asked for, though the connection may be gone. */
	if (!request_header(r, "host"))
		abort();
	dripping_unref(d);
	return HANDLE_DONE;
}

/* A large body in memory. */
static enum handle
large(struct request *r)
{
	uint8_t *p = buf_room(&r->body, 20 * MIB);

	r->status = 200;
	for (size_t i = 0; i < 20 * MIB; i++)
		p[i] = (uint8_t)(i % 249);
	r->body.len = 20 * MIB;
	return HANDLE_DONE;
}

static enum handle
never_more(struct request *r)
{
	struct dripping *d = calloc(1, sizeof *d);

	d->r = r;
	atomic_init(&d->refs, 1);
	pthread_mutex_init(&d->lock, NULL);
	r->status = 200;
	r->read = dripping_read;
	r->read_arg = d;
	r->read_free = dripping_free;
	r->read_bytes = DRIP_BYTES;
	atomic_fetch_add(&begun, 1);
	return HANDLE_DONE;
}

static ssize_t
hasty_read(void *arg, uint64_t at, void *p, size_t n)
{
	struct request *r = arg;

	(void)at;
	if (!r->ticket++) {
		response_more(r);
		return 0;
	}
	memset(p, 'x', n);
	return (ssize_t)n;
}

static enum handle
hasty(struct request *r)
{
	r->status = 200;
	r->read = hasty_read;
	r->read_arg = r;
	r->read_bytes = 100;
	return HANDLE_DONE;
}

static enum handle
handle(struct request *r)
{
	static const struct {
		const char *path;
		handler_fn *fn;
	} routes[] = { { "/stream", swallow }, { "/stream-durable", swallow },
		{ "/stream-refuse", refuse_it }, { "/stream-late", refuse_late }, { "/drip", drip },
		{ "/large", large }, { "/never", never_more }, { "/hasty", hasty } };

	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (!strcmp(r->path, routes[i].path))
			return routes[i].fn(r);
	r->status = 404;
	return HANDLE_DONE;
}

static bool
is_stream(struct request *r)
{
	return !strncmp(r->path, "/stream", 7);
}

#define FIRST 50000

static size_t
stream_after(struct request *r)
{
	return !strcmp(r->path, "/stream") && r->query[0] ? FIRST : 0;
}

static const struct front_ops ops = { handle, is_stream, stream_after, served_fail };

static int
set_up(void **state)
{
	now_served = calloc(1, sizeof *now_served);
	served_start(now_served, &ops, NULL);
	*state = now_served;
	atomic_store(&got_bytes, 0);
	atomic_store(&read_failed, 0);
	atomic_store(&slow_down, 0);
	atomic_store(&stop_reading, 0);
	atomic_store(&freed, 0);
	return 0;
}

static int
tear_down(void **state)
{
	struct served *s = *state;

	slow_set(&s->slow, false, false);
	atomic_store(&stop_reading, 0);
	served_stop(s);
	free(s);
	return 0;
}

/* --- sending --- */

static uint8_t *
pattern(size_t n, uint64_t *sum)
{
	uint8_t *p = malloc(n);

	*sum = 0;
	for (size_t i = 0; i < n; i++) {
		p[i] = (uint8_t)(i * 7 + i / 1000);
		*sum = *sum * 31 + p[i];
	}
	return p;
}

static void
say_put(struct client *c, const char *path, size_t n, const char *more)
{
	char text[300];

	snprintf(text, sizeof text, "PUT %s HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n%s\r\n",
	    path, n, more);
	client_say(c, text);
}

static void
a_streamed_body_arrives_whole_whatever_its_size(void **state)
{
	static const size_t sizes[] = { 0, 1, 100, 65536, 524288, 524289, 5 * MIB + 3, 40 * MIB };
	struct served *s = *state;
	struct client c;
	uint64_t sum;
	char text[32];

	client_open(&c, s->port);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint8_t *p = pattern(sizes[i], &sum);

		say_put(&c, "/stream", sizes[i], "");
		CHECK(client_send(&c, p, sizes[i]));
		CHECK(client_answer(&c) == 200);
		snprintf(text, sizeof text, "%zu", sizes[i]);
		CHECK_STR(buf_str(&c.body), text);
		CHECK(atomic_load(&read_sum) == sum);
		free(p);
	}
	client_close(&c);
}

static void
a_chunked_body_streams_too(void **state)
{
	struct served *s = *state;
	struct client c;
	uint64_t sum;
	uint8_t *p = pattern(3 * MIB, &sum);

	client_open(&c, s->port);
	client_say(&c, "PUT /stream HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (size_t at = 0, n = 1; at < 3 * MIB; at += n, n = n * 3 % 70001 + 1) {
		char head[32];

		if (n > 3 * MIB - at)
			n = 3 * MIB - at;
		snprintf(head, sizeof head, "%zx\r\n", n);
		CHECK(client_send(&c, head, strlen(head)) && client_send(&c, p + at, n) &&
		    client_send(&c, "\r\n", 2));
	}
	client_say(&c, "0\r\n\r\n");
	CHECK(client_answer(&c) == 200);
	CHECK(atomic_load(&got_bytes) == 3 * MIB);
	CHECK(atomic_load(&read_sum) == sum);
	client_close(&c);
	free(p);
}

static void
no_worker_is_taken_before_the_first_is_there(void **state)
{
	static const size_t sizes[] = { 0, 1, FIRST - 1, FIRST, FIRST + 1, 3 * MIB };
	const struct front_config config = { .threads = 1, .workers = 4 };
	struct served s = { 0 };
	struct client slow[8], c;

	(void)state;
	served_start(&s, &ops, &config);
	for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
		client_open(&slow[i], s.port);
		say_put(&slow[i], "/stream?first", MIB, "");
		client_say(&slow[i], "x");
	}
	CHECK_SOON(atomic_load(&s.front->inside) == ARRAY_LEN(slow));
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint64_t sum;
		uint8_t *p = pattern(sizes[i], &sum);
		char text[32];

		client_open(&c, s.port);
		say_put(&c, "/stream?first", sizes[i], "");
		CHECK(client_send(&c, p, sizes[i]));
		CHECK(client_answer(&c) == 200);
		snprintf(text, sizeof text, "%zu", sizes[i]);
		CHECK_STR(buf_str(&c.body), text);
		CHECK(atomic_load(&read_sum) == sum);
		client_close(&c);
		free(p);
	}
	CHECK_SOON(atomic_load(&s.front->memory) == ARRAY_LEN(slow) * FIRST);
	for (size_t i = 0; i < ARRAY_LEN(slow); i++)
		client_close(&slow[i]);
	CHECK_SOON(atomic_load(&s.front->memory) == 0);
	served_stop(&s);
}

static void
a_streamed_answer_waits_for_the_store_too(void **state)
{
	struct served *s = *state;
	struct client c;

	slow_set(&s->slow, true, false);
	client_open(&c, s->port);
	say_put(&c, "/stream-durable", 5, "");
	client_say(&c, "abcde");
	CHECK(client_more(&c, 100) < 0);
	slow_set(&s->slow, false, false);
	CHECK(client_answer(&c) == 200);
	client_close(&c);
}

struct pushing {
	struct client *c;
	_Atomic uint64_t sent;
};

static void *
push(void *arg)
{
	struct pushing *g = arg;
	char *p = calloc(1, 1 << 16);

	for (unsigned i = 0; i < 64 * 16 && client_send(g->c, p, 1 << 16); i++)
		atomic_fetch_add(&g->sent, 1 << 16);
	free(p);
	return NULL;
}

/* With a handler that does not read, what is taken in is the ring, a buffer and the kernel's. */
static void
a_slow_handler_slows_its_client_down(void **state)
{
	struct served *s = *state;
	struct client c;
	struct pushing g = { .c = &c };
	uint64_t before;
	pthread_t thread;

	atomic_store(&stop_reading, 1);
	client_open(&c, s->port);
	say_put(&c, "/stream", 64 * MIB, "");
	CHECK(pthread_create(&thread, NULL, push, &g) == 0);
	CHECK_SOON(atomic_load(&g.sent) > MIB);
	do {
		before = atomic_load(&g.sent);
		usleep(200000);
	} while (atomic_load(&g.sent) != before);
	CHECK(before < 32 * MIB); /* the rest is in socket buffers */
	atomic_store(&stop_reading, 0);
	pthread_join(thread, NULL);
	CHECK(client_answer(&c) == 200);
	CHECK(atomic_load(&got_bytes) == 64 * MIB);
	client_close(&c);
}

static void
a_client_that_expects_100_is_told_to_go_on_or_refused_before_its_body(void **state)
{
	struct served *s = *state;
	struct client c;

	client_open(&c, s->port);
	say_put(&c, "/stream", 3, "Expect: 100-continue\r\n");
	CHECK(client_answer(&c) == 100);
	client_say(&c, "abc");
	CHECK(client_answer(&c) == 200);
	client_close(&c);

	client_open(&c, s->port);
	say_put(&c, "/stream-refuse", 3, "Expect: 100-continue\r\n");
	CHECK(client_answer(&c) == 403);
	CHECK_STR(buf_str(&c.body), "refused");
	CHECK(client_at_end(&c));
	client_close(&c);
}

static void
a_refusal_needs_no_large_body_and_keeps_the_connection_of_a_small_one(void **state)
{
	struct served *s = *state;
	struct client c;
	char *p = calloc(1, MIB);

	client_open(&c, s->port);
	say_put(&c, "/stream-refuse", 100 * MIB, "");
	CHECK(client_answer(&c) == 403);
	CHECK(client_at_end(&c));
	client_close(&c);

	client_open(&c, s->port);
	for (unsigned i = 0; i < 3; i++) {
		say_put(&c, i == 1 ? "/stream-late" : "/stream-refuse", MIB, "");
		CHECK(client_send(&c, p, MIB));
		CHECK(client_answer(&c) == (i == 1 ? 409 : 403));
	}
	client_close(&c);
	free(p);
}

/* The answer of a handler that has seen enough comes after the rest of the body, up to a bound; then while
 * it comes. */
static void
the_rest_of_a_body_is_taken_in_up_to_a_bound(void **state)
{
	struct served *s = *state;
	struct client c;
	char *p = calloc(1, MIB);
	unsigned i;

	client_open(&c, s->port);
	say_put(&c, "/stream-late", 20 * MIB, "");
	for (i = 0; i < 20; i++)
		CHECK(client_send(&c, p, MIB));
	CHECK(client_answer(&c) == 409);
	client_close(&c);

	client_open(&c, s->port);
	say_put(&c, "/stream-late", 200 * MIB, "");
	for (i = 0; i < 200 && client_send(&c, p, MIB); i++)
		;
	CHECK(i < 200);
	CHECK(client_answer(&c) == 409);
	CHECK_STR(buf_str(&c.body), "refused late");
	CHECK_STR(client_header(&c, "Connection"), "close");
	CHECK(client_at_end(&c));
	client_close(&c);

	client_open(&c, s->port);
	say_put(&c, "/stream-late", 100 * MIB, "");
	for (i = 0; i < 100; i++)
		CHECK(client_send(&c, p, MIB));
	CHECK(client_answer(&c) == 409);
	CHECK(client_at_end(&c));
	client_close(&c);
	free(p);
}

static void
a_client_that_goes_away_fails_the_read(void **state)
{
	struct served *s = *state;
	struct client c;
	char *p = calloc(1, MIB);

	client_open(&c, s->port);
	say_put(&c, "/stream", 5 * MIB, "");
	CHECK(client_send(&c, p, MIB));
	CHECK_SOON(atomic_load(&got_bytes) == MIB);
	client_close(&c);
	CHECK_SOON(atomic_load(&read_failed) == ERR_CANCELLED);
	free(p);
}

/* --- answers that are read --- */

static void
check_drops(struct client *c)
{
	CHECK(c->body.len == DRIP_BYTES);
	for (size_t i = 0; i < DRIP_BYTES; i++)
		if (c->body.data[i] != i % 251)
			fail_msg("byte %zu is wrong", i);
}

static void
an_answer_may_begin_before_its_handler_ends(void **state)
{
	struct served *s = *state;
	struct client c;

	client_open(&c, s->port);
	for (int i = 1; i <= 20; i++) {
		client_say(&c,
		    i % 2 ? "GET /drip HTTP/1.1\r\nHost: h\r\n\r\n"
		          : "GET /drip?unknown HTTP/1.1\r\nHost: h\r\n\r\n");
		CHECK(client_answer(&c) == 200);
		check_drops(&c);
		CHECK_SOON(atomic_load(&freed) == i);
	}
	client_close(&c);
}

static void
a_broken_answer_never_looks_whole(void **state)
{
	struct served *s = *state;
	struct client c;

	CHECK(client_ask(&c, s->port, "GET /drip?breaks HTTP/1.1\r\nHost: h\r\n\r\n") == 0);
	client_close(&c);
	CHECK(client_ask(&c, s->port, "GET /drip?breaks&unknown HTTP/1.1\r\nHost: h\r\n\r\n") == 0);
	client_close(&c);
}

/* MHD forgets connections that a reader broke off while there is an older one, unless told. */
static void
a_broken_answer_leaves_no_connection_behind(void **state)
{
	const struct front_config one_thread = { .threads = 1 };
	struct served s = { 0 };
	struct client old, c[4];

	(void)state;
	served_start(&s, &ops, &one_thread);
	CHECK(client_ask(&old, s.port, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n") == 404);
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		CHECK(
		    client_ask(&c[i], s.port, "GET /drip?breaks HTTP/1.1\r\nHost: h\r\n\r\n") == 0);
	CHECK_SOON(atomic_load(&s.front->users) == 1);
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		client_close(&c[i]);
	client_close(&old);
	served_stop(&s);
}

/* As if there were more just before the connection is suspended. */
static void
more_that_comes_before_the_waiting_is_not_lost(void **state)
{
	struct served *s = *state;
	struct client c;

	CHECK(client_ask(&c, s->port, "GET /hasty HTTP/1.1\r\nHost: h\r\n\r\n") == 200);
	CHECK(c.body.len == 100);
	client_close(&c);
}

static void
a_reader_is_freed_when_its_client_goes_away(void **state)
{
	struct served *s = *state;
	struct client c;

	client_open(&c, s->port);
	client_say(&c, "GET /drip?slowly HTTP/1.1\r\nHost: h\r\n\r\n");
	CHECK(client_more(&c, CLIENT_WAIT_MS) > 0);
	client_close(&c);
	CHECK_SOON(atomic_load(&freed) == 1);
}

static void
a_large_answer_in_memory_is_sent_whole(void **state)
{
	struct served *s = *state;
	struct client c;

	CHECK(client_ask(&c, s->port, "GET /large HTTP/1.1\r\nHost: h\r\n\r\n") == 200);
	CHECK(c.body.len == 20 * MIB);
	for (size_t i = 0; i < 20 * MIB; i++)
		if (c.body.data[i] != i % 249)
			fail_msg("byte %zu is wrong", i);
	client_close(&c);
}

/* --- stopping --- */

static void *
stop(void *arg)
{
	struct served *s = arg;

	front_stop(s->front, 60000);
	return NULL;
}

static bool
can_connect(unsigned port)
{
	const struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK) },
		.sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	bool can = connect(fd, (const struct sockaddr *)&at, sizeof at) == 0;

	close(fd);
	return can;
}

static void
stopping_lets_requests_finish_and_takes_no_more(void **state)
{
	struct served s = { 0 };
	struct client c;
	pthread_t thread;
	char *p = calloc(1, MIB);

	(void)state;
	served_start(&s, &ops, NULL);
	client_open(&c, s.port);
	say_put(&c, "/stream", 2 * MIB, "");
	CHECK(client_send(&c, p, MIB));
	CHECK_SOON(atomic_load(&s.front->inside) == 1);
	CHECK(pthread_create(&thread, NULL, stop, &s) == 0);
	CHECK_SOON(!can_connect(s.port));
	CHECK(client_send(&c, p, MIB));
	CHECK(client_answer(&c) == 200);
	CHECK_STR(client_header(&c, "connection"), "close");
	pthread_join(thread, NULL);
	client_close(&c);
	flusher_stop(s.node.flusher);
	free(p);
}

/* In the middle of everything: a body, a held body, a reader that waits, a slow answer, a store. */
static void
stopping_ends_what_does_not_finish(void **state)
{
	static const char *const asked[] = {
		"PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\nabc",
		"PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 90\r\nExpect: 100-continue\r\n\r\n",
		"GET /never HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /large HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /drip?slowly HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /x HTTP/1.1\r\nHo",
		"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 90\r\n\r\nabc",
	};
	struct served s = { 0 };
	struct client c[ARRAY_LEN(asked)];
	uint64_t began;

	(void)state;
	atomic_store(&begun, 0);
	atomic_store(&freed, 0);
	served_start(&s, &ops, NULL);
	for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
		client_open(&c[i], s.port);
		client_say(&c[i], asked[i]);
	}
	CHECK_SOON(atomic_load(&s.front->inside) == 6 && atomic_load(&begun) == 2);
	began = host_mono_ms();
	front_stop(s.front, 100);
	CHECK(host_mono_ms() - began < 30000);
	CHECK(atomic_load(&freed) == 2);
	for (size_t i = 0; i < ARRAY_LEN(asked); i++)
		client_close(&c[i]);
	flusher_stop(s.node.flusher);
}

/* --- many at once --- */

static void *
hammer(void *arg)
{
	_Atomic unsigned *fine = arg;
	unsigned seed = (unsigned)host_mono_ns();
	char *p = calloc(1, 3 * MIB);
	struct client c;

	client_open(&c, now_served->port);
	for (unsigned i = 0; i < 30; i++) {
		size_t n = (size_t)rand_r(&seed) % (3 * MIB);
		bool ok;

		if (rand_r(&seed) % 3) {
			say_put(&c, rand_r(&seed) % 2 ? "/stream" : "/stream-durable", n, "");
			ok = client_send(&c, p, n) && client_answer(&c) == 200;
		} else {
			client_say(&c, "GET /drip?unknown HTTP/1.1\r\nHost: h\r\n\r\n");
			ok = client_answer(&c) == 200 && c.body.len == DRIP_BYTES;
		}
		if (!ok)
			break;
		atomic_fetch_add(fine, 1);
	}
	client_close(&c);
	free(p);
	return NULL;
}

static void
no_stream_is_lost_when_many_run(void **state)
{
	pthread_t threads[16];
	_Atomic unsigned fine = 0;

	(void)state;
	for (unsigned i = 0; i < 16; i++)
		CHECK(pthread_create(&threads[i], NULL, hammer, &fine) == 0);
	for (unsigned i = 0; i < 16; i++)
		pthread_join(threads[i], NULL);
	CHECK(atomic_load(&fine) == 16 * 30);
}

int
main(void)
{
#define SERVED(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		SERVED(a_streamed_body_arrives_whole_whatever_its_size),
		SERVED(a_chunked_body_streams_too),
		cmocka_unit_test(no_worker_is_taken_before_the_first_is_there),
		SERVED(a_streamed_answer_waits_for_the_store_too),
		SERVED(a_slow_handler_slows_its_client_down),
		SERVED(a_client_that_expects_100_is_told_to_go_on_or_refused_before_its_body),
		SERVED(a_refusal_needs_no_large_body_and_keeps_the_connection_of_a_small_one),
		SERVED(the_rest_of_a_body_is_taken_in_up_to_a_bound),
		SERVED(a_client_that_goes_away_fails_the_read),
		SERVED(an_answer_may_begin_before_its_handler_ends),
		SERVED(a_broken_answer_never_looks_whole),
		cmocka_unit_test(a_broken_answer_leaves_no_connection_behind),
		SERVED(more_that_comes_before_the_waiting_is_not_lost),
		SERVED(a_reader_is_freed_when_its_client_goes_away),
		SERVED(a_large_answer_in_memory_is_sent_whole),
		cmocka_unit_test(stopping_lets_requests_finish_and_takes_no_more),
		cmocka_unit_test(stopping_ends_what_does_not_finish),
		SERVED(no_stream_is_lost_when_many_run),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
