/* Two regions in one process: requests that one passes on to the other. */
#include <sys/un.h>

#include "fleet.h"
#include "front/forward.h"
#include "front/s3.h"
#include "http_fixture.h"

#define MIB ((size_t)1 << 20)

static char *dir;
static struct peers *away_peers, *home_peers;
static struct served away, home;
static _Atomic uint64_t home_bytes, home_sum;
static _Atomic int home_freed, failed_kind, with_upload;

/* --- stand-ins for what the service layer and the S3 front give --- */

static uint8_t held[100000];

static ssize_t
read_held(void *arg, uint64_t offset, void *p, size_t n, struct err *e)
{
	(void)arg, (void)e;
	if (n > sizeof held - offset)
		n = sizeof held - offset;
	memcpy(p, held + offset, n);
	return (ssize_t)n;
}

void
s3_error(struct request *r, unsigned status, const char *code, const char *format, ...)
{
	(void)format;
	r->status = status;
	buf_add_str(&r->body, code);
}

/* --- the home --- */

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
	}
	free(p);
	atomic_store(&home_bytes, bytes);
	atomic_store(&home_sum, sum);
	r->status = n < 0 ? 500 : 200;
	response_header(r, "ETag", "\"%llu\"", (unsigned long long)bytes);
	return HANDLE_DONE;
}

static void
say_one(void *arg, const char *name, const char *value)
{
	struct request *r = arg;

	buf_printf(&r->body, "%s: %s\n", name, value);
}

static enum handle
say_request(struct request *r)
{
	r->status = 207;
	response_header(r, "X-Kept", "a  b");
	buf_printf(&r->body, "%s %s from %s id %s body %zu length %lld\n", r->method, r->target,
	    r->is_peer ? r->peer : "-", r->id, request_body(r).len, (long long)request_length(r));
	request_each_header(r, say_one, r);
	return HANDLE_DONE;
}

static ssize_t
pattern_read(void *arg, uint64_t at, void *p, size_t n)
{
	uint64_t *breaks_at = arg;

	if (at >= *breaks_at)
		return -1;
	for (size_t i = 0; i < n; i++)
		((uint8_t *)p)[i] = (uint8_t)((at + i) % 251);
	return (ssize_t)n;
}

static void
pattern_free(void *arg)
{
	free(arg);
	atomic_fetch_add(&home_freed, 1);
}

static enum handle
large(struct request *r)
{
	uint64_t *breaks_at = malloc(sizeof *breaks_at);

	*breaks_at = request_arg(r, "breaks") ? 3 * MIB : UINT64_MAX;
	r->status = 200;
	r->read = pattern_read;
	r->read_arg = breaks_at;
	r->read_free = pattern_free;
	r->read_bytes = request_arg(r, "huge") ? 4096 * MIB
	    : request_arg(r, "unknown")        ? UINT64_MAX
	                                       : 30 * MIB;
	return HANDLE_DONE;
}

static enum handle
refuse_it(struct request *r)
{
	r->status = 403;
	buf_add_str(&r->body, "not you");
	return HANDLE_DONE;
}

static enum handle
empty(struct request *r)
{
	r->status = 204;
	return HANDLE_DONE;
}

static enum handle
home_handle(struct request *r)
{
	static const struct {
		const char *path;
		handler_fn *fn;
	} routes[] = { { "/stream", swallow }, { "/stream-refuse", refuse_it }, { "/large", large },
		{ "/refuse", refuse_it }, { "/empty", empty } };

	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (!strcmp(r->path, routes[i].path))
			return routes[i].fn(r);
	return say_request(r);
}

static bool
is_stream(struct request *r)
{
	return !strncmp(r->path, "/stream", 7);
}

/* --- the region that was asked --- */

static enum handle
away_handle(struct request *r)
{
	const char *to = request_arg(r, "to");
	struct err e = { 0 };
	bool was_sent;

	if (!r->may_block)
		return HANDLE_AGAIN;
	if (!strcmp(r->path, "/redirect")) {
		forward_redirect(r, "https://home:9000");
		return HANDLE_DONE;
	}
	if (atomic_load(&with_upload))
		request_read_again(r, read_held, NULL);
	if (forward_request(r, to ? to : "sg", atomic_load(&with_upload), &was_sent, &e) < 0) {
		atomic_store(&failed_kind, (int)e.kind);
		served_fail(r, 0, &e);
	}
	return HANDLE_DONE;
}

static const struct front_ops home_ops = { home_handle, is_stream, NULL, served_fail };
static const struct front_ops away_ops = { away_handle, is_stream, NULL, served_fail };

static int
set_up(void **state)
{
	struct front_config c = { .threads = 2, .peer_at = "127.0.0.1:0" };
	struct peer_region regions[2] = { { .name = "sg" }, { .name = "us" } };
	struct err e;

	dir = check_dir_make();
	away_peers = fleet_peers(dir, "ca", "cn-bj");
	home_peers = fleet_peers(dir, "ca", "sg");
	away = home = (struct served){ 0 };
	strcpy(home.node.region, "sg");
	strcpy(away.node.region, "cn-bj");
	home.node.peers = home_peers;
	away.node.peers = away_peers;
	served_start(&home, &home_ops, &c);
	served_start(&away, &away_ops, NULL);
	snprintf(regions[0].peer_at, sizeof regions[0].peer_at, "127.0.0.1:%u",
	    front_port(home.front, "peer"));
	strcpy(regions[1].peer_at, "127.0.0.1:1"); /* nobody */
	CHECK_OK(peers_set_regions(away_peers, regions, 2, &e), &e);
	atomic_store(&home_freed, 0);
	atomic_store(&failed_kind, 0);
	atomic_store(&with_upload, 0);
	*state = &away;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	served_stop(&away);
	served_stop(&home);
	peers_close(away_peers);
	peers_close(home_peers);
	check_dir_remove(dir);
	return 0;
}

static void
the_home_gets_the_request_as_it_was_signed(void **state)
{
	struct client c;
	char *text;

	(void)state;
	CHECK(client_ask(&c, away.port,
	          "POST /b/../%2e/k%20+?x=1&y HTTP/1.1\r\nHost: Bucket.Example:123\r\n"
	          "Authorization: AWS4-HMAC-SHA256 abc\r\nX-Amz-Meta-A: 1  2\r\nX-Amz-Meta-E:\r\n"
	          "Accept-Encoding: br\r\nUser-Agent: Tester\r\nx-domicile-decoded: 1\r\n"
	          "x-domicile-hops: 3\r\nx-domicile-length: 9\r\nContent-Length: 4\r\n\r\nbody") ==
	    207);
	text = strdup(buf_str(&c.body));
	CHECK(!strncmp(text, "POST /b/../%2e/k%20+?x=1&y from cn-bj id ", 41));
	CHECK(!strncmp(text + 41, client_header(&c, "x-amz-request-id"), 16));
	CHECK(strstr(text, " body 4 length 4\n"));
	CHECK(strstr(text, "Host: Bucket.Example:123\n"));
	CHECK(strstr(text, "Authorization: AWS4-HMAC-SHA256 abc\n"));
	CHECK(strstr(text, "X-Amz-Meta-A: 1  2\n"));
	CHECK(strstr(text, "X-Amz-Meta-E: \n"));
	CHECK(strstr(text, "Accept-Encoding: br\n"));
	CHECK(strstr(text, "User-Agent: Tester\n"));
	CHECK(strstr(text, "x-domicile-from: cn-bj\n"));
	CHECK(strstr(text, "x-domicile-hops: 1\n"));
	CHECK(!strstr(text, "decoded"));
	CHECK(!strstr(text, "x-domicile-length"));
	CHECK(!strstr(text, "Expect"));
	CHECK(!strstr(text, "Accept:"));
	CHECK_STR(client_header(&c, "x-kept"), "a  b");
	CHECK_STR(client_header(&c, "server"), "Domicile");
	free(text);
	client_close(&c);
}

static void
statuses_and_errors_come_back_as_they_are(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, away.port);
	client_say(&c, "GET /refuse HTTP/1.1\r\nHost: h\r\n\r\n");
	CHECK(client_answer(&c) == 403);
	CHECK_STR(buf_str(&c.body), "not you");
	client_say(&c, "DELETE /empty HTTP/1.1\r\nHost: h\r\n\r\n");
	CHECK(client_answer(&c) == 204);
	client_say(&c, "HEAD /large HTTP/1.1\r\nHost: h\r\n\r\n");
	CHECK(client_answer_to(&c, "HEAD") == 200);
	CHECK_STR(client_header(&c, "content-length"), "31457280");
	client_say(&c, "HEAD /refuse HTTP/1.1\r\nHost: h\r\n\r\n");
	CHECK(client_answer_to(&c, "HEAD") == 403);
	CHECK_STR(client_header(&c, "content-length"), "7");
	client_say(&c, "GET /redirect?a=1 HTTP/1.1\r\nHost: h\r\n\r\n");
	CHECK(client_answer(&c) == 307);
	CHECK_STR(client_header(&c, "location"), "https://home:9000/redirect?a=1");
	client_close(&c);
}

static void
bodies_of_any_size_go_through(void **state)
{
	static const size_t sizes[] = { 0, 1, 65537, 3 * MIB, 30 * MIB };
	struct client c;

	(void)state;
	client_open(&c, away.port);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint8_t *p = malloc(sizes[i] + 1);
		uint64_t sum = 0;
		char text[120];

		for (size_t k = 0; k < sizes[i]; k++) {
			p[k] = (uint8_t)(k * 7 + k / 1000);
			sum = sum * 31 + p[k];
		}
		snprintf(text, sizeof text,
		    "PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", sizes[i]);
		client_say(&c, text);
		CHECK(client_send(&c, p, sizes[i]));
		CHECK(client_answer(&c) == 200);
		CHECK(atomic_load(&home_bytes) == sizes[i]);
		CHECK(atomic_load(&home_sum) == sum);
		free(p);
	}
	client_say(&c,
	    "PUT /stream HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	    "5\r\nabcde\r\n4\r\nfghi\r\n0\r\n\r\n");
	CHECK(client_answer(&c) == 200);
	CHECK(atomic_load(&home_bytes) == 9);
	client_close(&c);
}

static void
large_answers_come_through(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, away.port);
	for (unsigned k = 0; k < 3; k++) {
		client_say(&c, "GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
		CHECK(client_answer(&c) == 200);
		CHECK(c.body.len == 30 * MIB);
		for (size_t i = 0; i < c.body.len; i++)
			if (c.body.data[i] != i % 251)
				fail_msg("byte %zu is wrong", i);
	}
	client_close(&c);
}

/* What was received before the account moved goes first; the length that was signed is kept. */
static void
an_upload_is_carried_over(void **state)
{
	struct client c;
	uint64_t sum = 0;

	(void)state;
	for (size_t i = 0; i < sizeof held; i++) {
		held[i] = (uint8_t)(i % 13);
		sum = sum * 31 + held[i];
	}
	for (const char *s = "rest!"; *s; s++)
		sum = sum * 31 + (uint8_t)*s;
	atomic_store(&with_upload, 1);
	client_open(&c, away.port);
	client_say(&c, "PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 100005\r\n\r\n");
	atomic_store(&with_upload, 1);
	/* The handler here reads nothing of it itself, so the stand-in is what came before. */
	client_say(&c, "rest!");
	CHECK(client_send(&c, held, sizeof held));
	CHECK(client_answer(&c) == 200);
	CHECK(atomic_load(&home_bytes) == 100005);
	CHECK(atomic_load(&home_sum) == sum);
	client_close(&c);

	CHECK(
	    client_ask(&c, away.port,
	        "PUT /x HTTP/1.1\r\nHost: h\r\nx-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\r\n"
	        "x-amz-decoded-content-length: 100000\r\nContent-Length: 0\r\n\r\n") == 207);
	CHECK(strstr(buf_str(&c.body), " body 100000 length 100000\n"));
	CHECK(strstr(buf_str(&c.body), "Content-Length: 0\n")); /* as it was signed */
	CHECK(strstr(buf_str(&c.body), "x-domicile-decoded: 1\n"));
	client_close(&c);
}

/* More than was announced would be taken for another request, by a connection that is trusted. */
static void
a_body_is_sent_in_exactly_the_length_announced(void **state)
{
	static const unsigned claims[] = { 1, 50000, 99999, 100000 };
	struct client c;
	char text[300];

	(void)state;
	atomic_store(&with_upload, 1);
	memset(held, 'x', sizeof held);
	memcpy(held + 50000, "GET /refuse HTTP/1.1\r\nHost: h\r\n\r\n", 34);
	for (size_t i = 0; i < 3 * ARRAY_LEN(claims); i++) {
		unsigned claim = claims[i % ARRAY_LEN(claims)];

		snprintf(text, sizeof text,
		    "PUT /x HTTP/1.1\r\nHost: h\r\nx-amz-content-sha256: STREAMING-X\r\n"
		    "x-amz-decoded-content-length: %u\r\nContent-Length: 0\r\n\r\n",
		    claim);
		CHECK(client_ask(&c, away.port, text) == 207);
		snprintf(text, sizeof text, " body %u length %u\n", claim, claim);
		CHECK(strstr(buf_str(&c.body), text));
		client_close(&c);
	}
	CHECK(client_ask(&c, away.port,
	          "PUT /x HTTP/1.1\r\nHost: h\r\nx-amz-content-sha256: STREAMING-X\r\n"
	          "x-amz-decoded-content-length: 100001\r\nContent-Length: 0\r\n\r\n") == 503);
	CHECK(atomic_load(&failed_kind) == ERR_CANCELLED);
	client_close(&c);
}

static void
an_unreachable_home_is_told(void **state)
{
	struct client c;

	(void)state;
	CHECK(client_ask(&c, away.port, "GET /x?to=us HTTP/1.1\r\nHost: h\r\n\r\n") == 503);
	CHECK(atomic_load(&failed_kind) == ERR_PEER);
	client_close(&c);
	atomic_store(&failed_kind, 0);
	CHECK(client_ask(&c, away.port, "GET /x?to=nowhere HTTP/1.1\r\nHost: h\r\n\r\n") == 503);
	CHECK(atomic_load(&failed_kind) == ERR_PEER);
	client_close(&c);
}

static void
a_home_that_breaks_off_breaks_the_answer_off(void **state)
{
	struct client c;

	(void)state;
	CHECK(client_ask(&c, away.port, "GET /large?breaks HTTP/1.1\r\nHost: h\r\n\r\n") == 0);
	client_close(&c);
	/* Where no length would tell. */
	CHECK(client_ask(&c, away.port, "GET /large?breaks&unknown HTTP/1.1\r\nHost: h\r\n\r\n") ==
	    0);
	client_close(&c);
}

static void
a_client_that_goes_away_ends_the_transfer(void **state)
{
	struct client c;

	(void)state;
	client_open(&c, away.port);
	client_say(&c, "GET /large?huge HTTP/1.1\r\nHost: h\r\n\r\n");
	CHECK(client_more(&c, CLIENT_WAIT_MS) > 0);
	client_close(&c);
	CHECK_SOON(atomic_load(&home_freed) == 1);
	CHECK_SOON(atomic_load(&away.front->away) == 0);
	client_open(&c, away.port);
	client_say(&c, "PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\nabc");
	CHECK_SOON(atomic_load(&home.front->inside) == 1);
	client_close(&c);
	CHECK_SOON(atomic_load(&failed_kind) == ERR_CANCELLED);
	CHECK_SOON(atomic_load(&home.front->inside) == 0);
}

/* Whether the home lets the body come first or is asked for its first word. */
static void
a_refusal_of_a_large_body_comes_back(void **state)
{
	static const unsigned sizes[] = { 1, 7, 20 };
	struct client c;
	char *p = calloc(1, MIB), text[120];

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
		client_open(&c, away.port);
		snprintf(text, sizeof text,
		    "PUT /stream-refuse HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n",
		    sizes[k] * MIB);
		client_say(&c, text);
		for (unsigned i = 0; i < sizes[k]; i++)
			CHECK(client_send(&c, p, MIB));
		CHECK(client_answer(&c) == 403);
		CHECK_STR(buf_str(&c.body), "not you");
		client_close(&c);
	}
	free(p);
}

static void
only_regions_may_call_the_peer_listener(void **state)
{
	char command[1024];

	(void)state;
	snprintf(command, sizeof command,
	    "test \"$(curl -sk -o /dev/null -w %%{http_code} https://127.0.0.1:%u/x)\" = 403",
	    front_port(home.front, "peer"));
	CHECK(system(command) == 0);
}

int
main(void)
{
#define SERVED(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		SERVED(the_home_gets_the_request_as_it_was_signed),
		SERVED(statuses_and_errors_come_back_as_they_are),
		SERVED(bodies_of_any_size_go_through),
		SERVED(large_answers_come_through),
		SERVED(an_upload_is_carried_over),
		SERVED(a_body_is_sent_in_exactly_the_length_announced),
		SERVED(an_unreachable_home_is_told),
		SERVED(a_home_that_breaks_off_breaks_the_answer_off),
		SERVED(a_client_that_goes_away_ends_the_transfer),
		SERVED(a_refusal_of_a_large_body_comes_back),
		SERVED(only_regions_may_call_the_peer_listener),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
