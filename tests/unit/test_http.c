/* Requests with small bodies: what handlers see, what clients get, when, and what is refused. */
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/fs.h"
#include "http_fixture.h"

static _Atomic unsigned runs, blocking_runs;
static struct served *now_served;

static enum handle
say_request(struct request *r)
{
	const char *a = request_arg(r, "a"), *b = request_arg(r, "b b");

	r->status = 200;
	response_header(r, "X-Test", "%s", "yes");
	response_header(r, "X-Host", "%s", request_header(r, "host"));
	buf_printf(&r->body, "%s|%s|%s|%s|a=%s|b=%s|x=%s|%zu|%s", r->method, r->target, r->path,
	    r->query, a ? a : "-", b ? b : "-",
	    request_header(r, "x-THING") ? request_header(r, "x-thing") : "-", request_body(r).len,
	    r->may_block ? "may" : "not");
	return HANDLE_DONE;
}

static enum handle
again(struct request *r)
{
	if (!r->may_block) {
		buf_add_str(&r->body, "left over");
		response_header(r, "X-Left", "over");
		return HANDLE_AGAIN;
	}
	atomic_fetch_add(&blocking_runs, 1);
	r->status = 200;
	buf_add_str(&r->body, "blocked");
	return HANDLE_DONE;
}

/* An answer that has to wait for the store. */
static enum handle
put(struct request *r)
{
	r->status = 201;
	buf_printf(&r->body, "%zu", request_body(r).len);
	r->ticket = flusher_ticket(r->node->flusher);
	atomic_fetch_add(&runs, 1);
	return HANDLE_DONE;
}

static enum handle
put_blocking(struct request *r)
{
	return r->may_block ? put(r) : HANDLE_AGAIN;
}

static enum handle
inject(struct request *r)
{
	r->status = 200;
	response_header(r, "X-Bad", "%s", "a\r\nX-Evil: 1");
	response_header(r, "X-Empty", "%s", "");
	response_header(r, "X-Long", "%0600d", 7);
	return HANDLE_DONE;
}

static enum handle
head_only(struct request *r)
{
	r->status = 200;
	r->read_bytes = 123456789;
	return HANDLE_DONE;
}

static enum handle
nothing(struct request *r)
{
	(void)r;
	return HANDLE_DONE;
}

/* Of this thread, in nanoseconds; 0: this kernel does not tell. */
static uint64_t
turn_ns(void)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime_ns, deadline_ns, period_ns;
	} a = { 0 };

	return syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) ? 0 : a.runtime_ns;
}

static enum handle
turns(struct request *r)
{
	if (!r->may_block && !strcmp(r->path, "/turns-blocking"))
		return HANDLE_AGAIN;
	r->status = 200;
	buf_printf(&r->body, "%" PRIu64, turn_ns());
	return HANDLE_DONE;
}

static enum handle
handle(struct request *r)
{
	static const struct {
		const char *path;
		handler_fn *fn;
	} routes[] = { { "/again", again }, { "/put", put }, { "/put-blocking", put_blocking },
		{ "/inject", inject }, { "/head", head_only }, { "/nothing", nothing },
		{ "/turns", turns }, { "/turns-blocking", turns } };

	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (!strcmp(r->path, routes[i].path))
			return routes[i].fn(r);
	return say_request(r);
}

static const struct front_ops ops = { handle, NULL, NULL, served_fail };

static int
set_up(void **state)
{
	now_served = calloc(1, sizeof *now_served);
	served_start(now_served, &ops, NULL);
	*state = now_served;
	atomic_store(&runs, 0);
	atomic_store(&blocking_runs, 0);
	return 0;
}

static int
tear_down(void **state)
{
	struct served *s = *state;

	slow_set(&s->slow, false, false);
	served_stop(s);
	free(s);
	return 0;
}

static void
a_handler_sees_the_request_as_it_was_sent(void **state)
{
	struct served *s = *state;
	struct client c;

	CHECK(client_ask(&c, s->port,
	          "GET /b/%2e./k%20+?a=1+2%2B&b%20b=%C3%A9&a=3&flag HTTP/1.1\r\nHost: h\r\n"
	          "X-Thing: some  thing \r\n\r\n") == 200);
	CHECK_STR(buf_str(&c.body),
	    "GET|/b/%2e./k%20+?a=1+2%2B&b%20b=%C3%A9&a=3&flag|/b/%2e./k%20+|"
	    "a=1+2%2B&b%20b=%C3%A9&a=3&flag|a=1 2+|b=\xc3\xa9|x=some  thing |0|not");
	CHECK_STR(client_header(&c, "server"), "Domicile");
	CHECK_STR(client_header(&c, "x-test"), "yes");
	CHECK(strlen(client_header(&c, "x-amz-request-id")) == 16);
	client_close(&c);
}

static void
threads_that_answer_have_short_turns_and_workers_the_usual(void **state)
{
	struct served *s = *state;
	struct client c;
	uint64_t usual = turn_ns();

	if (!usual)
		skip();
	CHECK(client_ask(&c, s->port, "GET /turns HTTP/1.1\r\nHost: h\r\n\r\n") == 200);
	CHECK(strtoull(buf_str(&c.body), NULL, 10) == HTTP_TURN_US * 1000);
	client_close(&c);
	CHECK(client_ask(&c, s->port, "GET /turns-blocking HTTP/1.1\r\nHost: h\r\n\r\n") == 200);
	CHECK(strtoull(buf_str(&c.body), NULL, 10) == usual);
	client_close(&c);
}

/* RFC 9112, 3.2.2: as a proxy is asked. The header's host does not count. */
static void
a_target_with_a_host_is_that_path_at_that_host(void **state)
{
	static const struct {
		const char *target, *seen, *host;
	} cases[] = {
		{ "http://h:80/b/k%20?a=1", "GET|/b/k%20?a=1|/b/k%20|a=1|", "h:80" },
		{ "HTTPS://[::1]/", "GET|/|/||", "[::1]" },
		{ "http://h", "GET|/|/||", "h" },
		{ "http://h?a=/", "GET|/?a=/|/|a=/|", "h" },
		{ "/http://h/x", "GET|/http://h/x|/http://h/x||", "other" },
		{ "//h/x", "GET|//h/x|//h/x||", "other" },
	};
	struct served *s = *state;
	struct client c;

	client_open(&c, s->port);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[200];

		snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: other\r\nX-Thing: 1\r\n\r\n",
		    cases[i].target);
		client_say(&c, text);
		CHECK(client_answer(&c) == 200);
		CHECK(!strncmp(buf_str(&c.body), cases[i].seen, strlen(cases[i].seen)));
		CHECK(strstr(buf_str(&c.body), "|x=1|0|"));
		CHECK_STR(client_header(&c, "x-host"), cases[i].host);
	}
	client_close(&c);
}

static void
small_bodies_run_here_and_larger_ones_on_a_worker(void **state)
{
	struct served *s = *state;
	struct client c;
	char *body = calloc(1, 1 << 20);

	client_open(&c, s->port);
	client_say(&c, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 65536\r\n\r\n");
	CHECK(client_send(&c, body, 65536));
	CHECK(client_answer(&c) == 200);
	CHECK(strstr(buf_str(&c.body), "|65536|not"));
	client_say(&c, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n");
	CHECK(client_send(&c, body, 1 << 20));
	CHECK(client_answer(&c) == 200);
	CHECK(strstr(buf_str(&c.body), "|1048576|may"));
	client_say(&c,
	    "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	    "5\r\nabcde\r\n3\r\nfgh\r\n0\r\n\r\n");
	CHECK(client_answer(&c) == 200);
	CHECK(strstr(buf_str(&c.body), "|8|not"));
	client_close(&c);
	free(body);
}

static void
a_handler_that_would_block_runs_again_on_a_worker(void **state)
{
	struct served *s = *state;
	struct client c;

	client_open(&c, s->port);
	for (unsigned i = 1; i <= 3; i++) {
		client_say(&c, "GET /again HTTP/1.1\r\nHost: h\r\n\r\n");
		CHECK(client_answer(&c) == 200);
		CHECK_STR(buf_str(&c.body), "blocked");
		CHECK(!client_header(&c, "x-left"));
		CHECK(atomic_load(&blocking_runs) == i);
	}
	client_close(&c);
}

static void
an_answer_leaves_only_when_it_is_durable(void **state)
{
	static const char *const paths[] = { "/put", "/put-blocking" };
	struct served *s = *state;
	struct client c;
	char text[200];

	client_open(&c, s->port);
	for (unsigned i = 0; i < 2; i++) {
		slow_set(&s->slow, true, false);
		snprintf(text, sizeof text,
		    "PUT %s HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", paths[i]);
		client_say(&c, text);
		CHECK_SOON(atomic_load(&runs) == i + 1);
		CHECK(client_more(&c, 50) < 0);
		slow_set(&s->slow, false, false);
		CHECK(client_answer(&c) == 201);
		CHECK_STR(buf_str(&c.body), "3");
	}
	client_close(&c);
}

static void
a_failed_flush_is_told_instead_of_the_answer(void **state)
{
	static const char *const paths[] = { "/put", "/put-blocking" };
	struct served *s = *state;
	struct client c;
	char text[200];

	client_open(&c, s->port);
	slow_set(&s->slow, false, true);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(text, sizeof text, "PUT %s HTTP/1.1\r\nHost: h\r\n\r\n", paths[i]);
		client_say(&c, text);
		CHECK(client_answer(&c) == 503);
		CHECK(strstr(buf_str(&c.body), "the disk is broken"));
	}
	slow_set(&s->slow, false, false);
	client_say(&c, "PUT /put HTTP/1.1\r\nHost: h\r\n\r\n");
	CHECK(client_answer(&c) == 201);
	client_close(&c);
}

static void
pipelined_requests_are_answered_in_order(void **state)
{
	struct served *s = *state;
	struct client c;

	client_open(&c, s->port);
	client_say(&c,
	    "GET /again HTTP/1.1\r\nHost: h\r\n\r\nPUT /put HTTP/1.1\r\nHost: h\r\n"
	    "Content-Length: 2\r\n\r\nabGET /again HTTP/1.1\r\nHost: h\r\n\r\n"
	    "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
	CHECK(client_answer(&c) == 200);
	CHECK_STR(buf_str(&c.body), "blocked");
	CHECK(client_answer(&c) == 201);
	CHECK(client_answer(&c) == 200);
	CHECK(client_answer(&c) == 200);
	CHECK(!strncmp(buf_str(&c.body), "GET|/x|", 7));
	client_close(&c);
}

/* What could be read in two ways is refused, and nothing after it is read as a request. */
static void
ambiguous_requests_are_refused_and_the_connection_closed(void **state)
{
	static const struct {
		unsigned status;
		const char *text;
	} cases[] = {
		{ 400,
		    "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc" },
		{ 400,
		    "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\ncontent-length: 4\r\n\r\nabc" },
		{ 400,
		    "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n"
		    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
		{ 400,
		    "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" },
		{ 400,
		    "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
		    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
		{ 400, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc" },
		{ 400, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc" },
		{ 400, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n" },
		{ 400, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc" },
		{ 400, "GET /x HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n" },
		{ 400, "GET /x HTTP/1.1\r\n\r\n" },
		{ 400, "GET /x HTTP/1.1\r\nHost: h\r\nX y: 1\r\n\r\n" },
		{ 400,
		    "GET /x HTTP/1.1\r\nHost: h\r\nX: a\x01"
		    "b\r\n\r\n" },
		{ 400, "GET /x HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n" },
		{ 400, "GET /x%00y HTTP/1.1\r\nHost: h\r\n\r\n" },
		{ 400, "GET /x?a=%00 HTTP/1.1\r\nHost: h\r\n\r\n" },
		{ 400, "GET /x%4 HTTP/1.1\r\nHost: h\r\n\r\n" },
		{ 400, "GET /x%zz HTTP/1.1\r\nHost: h\r\n\r\n" },
		{ 400, "GET http://h/x HTTP/1.1\r\n\r\n" },
		{ 400, "GET http://h/x HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n" },
		{ 400, "GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n" },
		{ 400, "GET http://:80/x HTTP/1.1\r\nHost: h\r\n\r\n" },
		{ 400, "GET http://me@h/x HTTP/1.1\r\nHost: h\r\n\r\n" },
		{ 400, "GET http://h%2e/x HTTP/1.1\r\nHost: h\r\n\r\n" },
		{ 400, "GET http://h#/x HTTP/1.1\r\nHost: h\r\n\r\n" },
		{ 400, "GET http://h\\/x HTTP/1.1\r\nHost: h\r\n\r\n" },
		{ 400, "GET http://h/%4 HTTP/1.1\r\nHost: h\r\n\r\n" },
		{ 400, "GET http:/h/x HTTP/1.1\r\nHost: h\r\n\r\n" },
		{ 400, "GET ftp://h/x HTTP/1.1\r\nHost: h\r\n\r\n" },
		{ 400, "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n" },
		{ 501, "ABCDEFGHIJKLMNOPQRSTUVWXYZ /x HTTP/1.1\r\nHost: h\r\n\r\n" },
		{ 413, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n" },
	};
	struct served *s = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct client c;
		unsigned status = client_ask(&c, s->port, cases[i].text);

		if (status != cases[i].status)
			fail_msg("%u for %s", status, cases[i].text);
		CHECK(client_at_end(&c));
		client_close(&c);
	}
}

static void
too_many_or_too_large_headers_are_refused(void **state)
{
	struct served *s = *state;
	struct buf text = BUF_INIT(0);
	struct client c;

	buf_add_str(&text, "GET /x HTTP/1.1\r\nHost: h\r\n");
	for (unsigned i = 0; i < 120; i++)
		buf_printf(&text, "X-%u: 1\r\n", i);
	buf_add_str(&text, "\r\n");
	CHECK(client_ask(&c, s->port, buf_str(&text)) == 431);
	client_close(&c);
	for (unsigned kib = 17; kib <= 200; kib += 61) {
		buf_clear(&text);
		buf_add_str(&text, "GET /x HTTP/1.1\r\nHost: h\r\nX: ");
		for (unsigned i = 0; i < kib * 1024; i++)
			buf_add_char(&text, 'a');
		buf_add_str(&text, "\r\n\r\n");
		client_open(&c, s->port);
		client_send(&c, text.data, text.len);
		CHECK(client_answer(&c) == 431);
		client_close(&c);
	}
	buf_free(&text);
}

/* Both ceilings at once: what MHD has for a connection holds the head, the list of it and the answer's head. */
static void
as_many_and_as_large_headers_as_may_be_are_taken(void **state)
{
	struct served *s = *state;
	struct buf text = BUF_INIT(0);
	struct client c;

	buf_add_str(&text, "GET /x HTTP/1.1\r\nHost: h\r\n");
	for (unsigned i = 1; i < 100; i++)
		buf_printf(&text, "X-%02u: %0157u\r\n", i, i);
	buf_add_str(&text, "\r\n");
	CHECK(client_ask(&c, s->port, buf_str(&text)) == 200);
	client_close(&c);
	buf_free(&text);
}

/* Of the target and the headers together; another ceiling needs more memory a connection. */
static void
the_ceiling_of_a_head_is_the_configured_one(void **state)
{
	const struct front_config config = { .threads = 1, .head_bytes = 64 << 10 };
	static const struct {
		unsigned target, header, status;
	} cases[] = { { 10, 60 << 10, 200 }, { 60 << 10, 10, 200 }, { 40 << 10, 30 << 10, 431 } };
	struct served s = { 0 };

	(void)state;
	served_start(&s, &ops, &config);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf text = BUF_INIT(0);
		struct client c;

		buf_printf(&text, "GET /%0*u HTTP/1.1\r\nHost: h\r\nX: %0*u\r\n\r\n",
		    (int)cases[i].target, 1, (int)cases[i].header, 1);
		CHECK(client_ask(&c, s.port, buf_str(&text)) == cases[i].status);
		if (cases[i].status == 431)
			CHECK(strstr(buf_str(&c.body), "headers and the query"));
		client_close(&c);
		buf_free(&text);
	}
	served_stop(&s);
}

static void
a_body_that_is_too_large_is_answered_once_it_is_in(void **state)
{
	struct served *s = *state;
	struct client c;
	char *body = calloc(1, 3 << 20);

	client_open(&c, s->port);
	client_say(&c, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3145728\r\n\r\n");
	CHECK(client_send(&c, body, 3 << 20));
	CHECK(client_answer(&c) == 413);
	client_say(&c, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
	CHECK(client_answer(&c) == 200);
	client_close(&c);
	free(body);
}

static void
header_values_can_not_add_headers(void **state)
{
	struct served *s = *state;
	struct client c;

	CHECK(client_ask(&c, s->port, "GET /inject HTTP/1.1\r\nHost: h\r\n\r\n") == 200);
	CHECK(!client_header(&c, "x-evil"));
	CHECK(!client_header(&c, "x-bad"));
	CHECK(strlen(client_header(&c, "x-long")) == 600);
	client_close(&c);
}

static void
head_has_the_length_and_no_body(void **state)
{
	struct served *s = *state;
	struct client c;

	client_open(&c, s->port);
	client_say(&c, "HEAD /head HTTP/1.1\r\nHost: h\r\n\r\n");
	CHECK(client_answer_to(&c, "HEAD") == 200);
	CHECK_STR(client_header(&c, "content-length"), "123456789");
	client_say(&c, "HEAD /x HTTP/1.1\r\nHost: h\r\n\r\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n");
	CHECK(client_answer_to(&c, "HEAD") == 200);
	CHECK(client_answer(&c) == 200);
	CHECK(!strncmp(buf_str(&c.body), "GET|", 4));
	client_close(&c);
}

static void
a_handler_without_an_answer_is_an_error(void **state)
{
	struct served *s = *state;
	struct client c;

	CHECK(client_ask(&c, s->port, "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n") == 500);
	client_close(&c);
}

/* --- many at once --- */

static void *
hammer(void *arg)
{
	static const char *const asked[] = {
		"PUT /put HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nabcd",
		"GET /again HTTP/1.1\r\nHost: h\r\n\r\n", "GET /x HTTP/1.1\r\nHost: h\r\n\r\n",
		"PUT /put-blocking HTTP/1.1\r\nHost: h\r\n\r\n"
	};
	static const unsigned answered[] = { 201, 200, 200, 201 };
	_Atomic unsigned *fine = arg;
	struct client c;
	unsigned seed = (unsigned)host_mono_ns();

	client_open(&c, now_served->port);
	for (unsigned i = 0; i < 200; i++) {
		unsigned k = (unsigned)rand_r(&seed) % 4;

		if (!client_send(&c, asked[k], strlen(asked[k])) ||
		    client_answer(&c) != answered[k])
			break;
		atomic_fetch_add(fine, 1);
	}
	client_close(&c);
	return NULL;
}

static void
no_answer_is_lost_when_many_wait(void **state)
{
	pthread_t threads[32];
	_Atomic unsigned fine = 0;

	(void)state;
	for (unsigned i = 0; i < 32; i++)
		CHECK(pthread_create(&threads[i], NULL, hammer, &fine) == 0);
	for (unsigned i = 0; i < 32; i++)
		pthread_join(threads[i], NULL);
	CHECK(atomic_load(&fine) == 32 * 200);
}

/* --- listeners --- */

static void
listeners_are_where_they_should_be(void **state)
{
	struct served s = { 0 };
	char *dir = check_dir_make();
	struct front_config c = { .node = &s.node, .s3_plain_at = "0.0.0.0:0" };
	struct front_table table = { ops, ops, ops, ops };
	struct sockaddr_un {
		sa_family_t family;
		char path[108];
	} at = { .family = AF_UNIX };
	struct stat st;
	struct client client = { .fd = -1 };
	struct err e;

	(void)state;
	CHECK(!front_start_with(&c, &table, &e));
	CHECK(e.kind == ERR_BAD);
	c.s3_plain_at = "localhost";
	CHECK(!front_start_with(&c, &table, &e));
	c.s3_plain_at = NULL;
	c.s3_tls_at = "127.0.0.1:0";
	CHECK(!front_start_with(&c, &table, &e));
	c.cert_path = c.key_path = check_path(dir, "cert");
	CHECK_OK(fs_write(c.cert_path, "nonsense", 8, 0600, &e), &e);
	CHECK(!front_start_with(&c, &table, &e));
	c = (struct front_config){ .admin_socket = check_path(dir, "socket"), .threads = 1 };
	/* Left by a crash. */
	client.fd = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(at.path, sizeof at.path, "%s", c.admin_socket);
	CHECK(bind(client.fd, (struct sockaddr *)&at, sizeof at) == 0);
	close(client.fd);
	served_start(&s, &ops, &c);
	CHECK(stat(c.admin_socket, &st) == 0 && (st.st_mode & 0777) == 0600);
	client.fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(connect(client.fd, (struct sockaddr *)&at, sizeof at) == 0);
	client_say(&client, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
	CHECK(client_answer(&client) == 200);
	client_close(&client);
	/* Not a second one beside it. */
	c.node = &s.node;
	CHECK(!front_start_with(&c, &table, &e));
	CHECK(e.kind == ERR_EXISTS);
	CHECK(stat(c.admin_socket, &st) == 0);
	served_stop(&s);
	CHECK(stat(c.admin_socket, &st) < 0);
	check_dir_remove(dir);
}

static void
connections_beyond_the_limit_are_told_so(void **state)
{
	struct served s = { 0 };
	struct client c[6];
	const struct front_config config = { .threads = 2, .connections = 4 };

	(void)state;
	served_start(&s, &ops, &config);
	for (unsigned i = 0; i < 4; i++)
		CHECK(client_ask(&c[i], s.port, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n") == 200);
	for (unsigned i = 4; i < 6; i++) {
		CHECK(client_ask(&c[i], s.port, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n") == 503);
		CHECK(client_at_end(&c[i]));
		client_close(&c[i]);
	}
	client_close(&c[0]);
	CHECK_SOON(atomic_load(&s.front->users) == 3);
	CHECK(client_ask(&c[0], s.port, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n") == 200);
	for (unsigned i = 0; i < 4; i++)
		client_close(&c[i]);
	served_stop(&s);
}

static void
idle_connections_are_closed(void **state)
{
	struct served s = { 0 };
	struct client c;
	const struct front_config config = { .threads = 1, .idle_ms = 1000 };

	(void)state;
	served_start(&s, &ops, &config);
	CHECK(client_ask(&c, s.port, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n") == 200);
	CHECK(client_at_end(&c));
	client_close(&c);
	client_open(&c, s.port);
	client_say(&c, "GET /x HTTP/1.1\r\nHo");
	CHECK(client_at_end(&c));
	client_close(&c);
	served_stop(&s);
}

/* SAY, then bytes of MORE one by one until the server has enough of it. */
static uint64_t
drip(const struct served *s, const char *say, char more)
{
	uint64_t began_ms = host_mono_ms();
	struct client c;

	client_open(&c, s->port);
	client_say(&c, say);
	while (host_mono_ms() - began_ms < 60000) {
		struct pollfd p = { .fd = c.fd, .events = POLLIN | POLLRDHUP };

		if (poll(&p, 1, 100) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)))
			break;
		if (send(c.fd, &more, 1, MSG_NOSIGNAL) < 0)
			break;
	}
	client_close(&c);
	return host_mono_ms() - began_ms;
}

static void
a_byte_now_and_then_keeps_nothing_for_long(void **state)
{
	struct served s = { 0 };
	const struct front_config config = { .threads = 1, .idle_ms = 1000 };

	(void)state;
	served_start(&s, &ops, &config);
	CHECK(drip(&s, "GET /x HTTP/1.1\r\nHost: h\r\nX: ", 'x') < 50000);
	CHECK(drip(&s, "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n", 'x') < 50000);
	CHECK(drip(&s, "PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\n", 'x') <
	    50000);
	CHECK_SOON(atomic_load(&s.front->users) == 0);
	CHECK_SOON(atomic_load(&s.front->inside) == 0);
	served_stop(&s);
}

/* Small ones and streamed ones are told apart by nothing that a client sees. */
static void
a_body_that_stops_is_told_so(void **state)
{
	static const char *const heads[] = {
		"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\nsome",
		"PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\nsome",
		"PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nsome"
	};
	const struct front_config config = { .threads = 1, .idle_ms = 1000 };
	struct served s = { 0 };

	(void)state;
	served_start(&s, &ops, &config);
	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		struct client c;

		CHECK(client_ask(&c, s.port, heads[i]) == 408);
		CHECK(strstr(buf_str(&c.body), "in time"));
		CHECK_STR(client_header(&c, "connection"), "close");
		CHECK(strlen(client_header(&c, "x-amz-request-id")) == 16);
		CHECK(client_at_end(&c));
		client_close(&c);
	}
	CHECK_SOON(atomic_load(&s.front->inside) == 0);
	served_stop(&s);
}

static void
bodies_that_would_take_too_much_memory_are_refused(void **state)
{
	struct served s = { 0 };
	struct client c[3];
	const struct front_config config = { .threads = 1, .memory = 1100000 };
	char *body = calloc(1, 500000);

	(void)state;
	served_start(&s, &ops, &config);
	for (unsigned i = 0; i < 2; i++) {
		client_open(&c[i], s.port);
		client_say(&c[i], "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\n");
		CHECK_SOON(atomic_load(&s.front->memory) == i * 499999 + HTTP_SMALL_BODY);
		CHECK(client_send(&c[i], body, 499999));
		CHECK_SOON(atomic_load(&s.front->memory) == (i + 1) * 499999);
	}
	client_open(&c[2], s.port);
	client_say(&c[2], "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\n");
	CHECK(client_send(&c[2], body, 500000));
	CHECK(client_answer(&c[2]) == 503);
	client_close(&c[2]);
	CHECK(client_ask(&c[2], s.port, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n") == 200);
	for (unsigned i = 0; i < 3; i++)
		client_close(&c[i]);
	CHECK_SOON(atomic_load(&s.front->memory) == 0);
	served_stop(&s);
	free(body);
}

int
main(void)
{
#define SERVED(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		SERVED(a_handler_sees_the_request_as_it_was_sent),
		SERVED(threads_that_answer_have_short_turns_and_workers_the_usual),
		SERVED(a_target_with_a_host_is_that_path_at_that_host),
		SERVED(small_bodies_run_here_and_larger_ones_on_a_worker),
		SERVED(a_handler_that_would_block_runs_again_on_a_worker),
		SERVED(an_answer_leaves_only_when_it_is_durable),
		SERVED(a_failed_flush_is_told_instead_of_the_answer),
		SERVED(pipelined_requests_are_answered_in_order),
		SERVED(ambiguous_requests_are_refused_and_the_connection_closed),
		SERVED(too_many_or_too_large_headers_are_refused),
		SERVED(as_many_and_as_large_headers_as_may_be_are_taken),
		cmocka_unit_test(the_ceiling_of_a_head_is_the_configured_one),
		SERVED(a_body_that_is_too_large_is_answered_once_it_is_in),
		SERVED(header_values_can_not_add_headers),
		SERVED(head_has_the_length_and_no_body),
		SERVED(a_handler_without_an_answer_is_an_error),
		SERVED(no_answer_is_lost_when_many_wait),
		cmocka_unit_test(listeners_are_where_they_should_be),
		cmocka_unit_test(connections_beyond_the_limit_are_told_so),
		cmocka_unit_test(idle_connections_are_closed),
		cmocka_unit_test(a_byte_now_and_then_keeps_nothing_for_long),
		cmocka_unit_test(a_body_that_stops_is_told_so),
		cmocka_unit_test(bodies_that_would_take_too_much_memory_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
