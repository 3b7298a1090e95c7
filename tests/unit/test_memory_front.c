/* Whatever allocation of ours fails, in whatever thread, while S3 requests come in by HTTP: the client is
 * told that the node can't now, or loses its connection; a request that was refused can be repeated,
 * nothing else fails, and no other connection is lost. A leak shows under the address sanitizer.
 */
#include "alloc_fault.h"
#include "fault_fixture.h"
#include "front/front.h"
#include "http_fixture.h"

#include <time.h>

#define OBJECT 40000 /* one chunk, and more than a handler takes inline */

struct site {
	struct region *region;
	struct front *front;
	unsigned port;
	struct account_credentials who;
	uint8_t *content;
};

struct ask {
	const char *method, *path, *query, *body;
	size_t n;
	const char *range, *copy_source;
};

/* --- a client that signs --- */

static void
put_signature(const struct site *s, const struct ask *a, char *out, size_t size)
{
	static const char *const words[] = { "us-east-1", "s3", "aws4_request" };
	const char *source = a->copy_source ? "x-amz-copy-source" : "";
	char canonical[1024], text[512], line[100] = "", hex[2 * SHA256_BYTES + 1], stamp[17],
	                                 secret[80];
	time_t now = (time_t)(host_wall_ms() / 1000);
	uint8_t hash[SHA256_BYTES], key[SHA256_BYTES];
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm);
	if (a->copy_source)
		snprintf(line, sizeof line, "%s:%s\n", source, a->copy_source);
	snprintf(canonical, sizeof canonical,
	    "%s\n%s\n%s\nhost:localhost\nx-amz-content-sha256:UNSIGNED-PAYLOAD\n%sx-amz-date:%s\n\n"
	    "host;x-amz-content-sha256;%s%sx-amz-date\nUNSIGNED-PAYLOAD",
	    a->method, a->path, a->query, line, stamp, source, line[0] ? ";" : "");
	sha256(canonical, strlen(canonical), hash);
	hex_text(hash, sizeof hash, hex);
	snprintf(text, sizeof text, "AWS4-HMAC-SHA256\n%s\n%.8s/us-east-1/s3/aws4_request\n%s",
	    stamp, stamp, hex);
	snprintf(secret, sizeof secret, "AWS4%s", s->who.secret_key);
	hmac_sha256(secret, strlen(secret), stamp, 8, key);
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		hmac_sha256(key, sizeof key, words[i], strlen(words[i]), key);
	hmac_sha256(key, sizeof key, text, strlen(text), hash);
	hex_text(hash, sizeof hash, hex);
	snprintf(out, size,
	    "%.*s%sx-amz-date: %s\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\nAuthorization: "
	    "AWS4-HMAC-SHA256 Credential=%s/%.8s/us-east-1/s3/aws4_request, "
	    "SignedHeaders=host;x-amz-content-sha256;%s%sx-amz-date, Signature=%s\r\n",
	    (int)strcspn(line, "\n"), line, line[0] ? "\r\n" : "", stamp, s->who.access_key, stamp,
	    source, line[0] ? ";" : "", hex);
}

/* The status, or 0: the connection ended without an answer. T (if any) fails what is allocated until the
 * answer begins; the client's own comes after. */
static unsigned
ask(const struct site *s, const struct ask *a, struct client *c, struct alloc_turn *t)
{
	struct pollfd p = { .events = POLLIN };
	bool is_sent;
	char signature[512], head[1500];

	put_signature(s, a, signature, sizeof signature);
	snprintf(head, sizeof head,
	    "%s %s%s%s HTTP/1.1\r\nHost: localhost\r\n%s%s%s%sContent-Length: %zu\r\n\r\n",
	    a->method, a->path, a->query[0] ? "?" : "", a->query, signature,
	    a->range ? "Range: " : "", a->range ? a->range : "", a->range ? "\r\n" : "", a->n);
	client_open(c, s->port);
	p.fd = c->fd;
	if (t)
		alloc_arm(t);
	is_sent = client_send(c, head, strlen(head)) && client_send(c, a->body, a->n);
	CHECK(!is_sent || poll(&p, 1, CLIENT_WAIT_MS) == 1);
	if (t)
		alloc_disarm(t);
	return is_sent ? client_answer_to(c, a->method) : 0;
}

static void
must(const struct site *s, const struct ask *a)
{
	struct client c;
	unsigned status = ask(s, a, &c, NULL);

	if (status / 100 != 2)
		fail_msg("%s %s?%s: %u %s", a->method, a->path, a->query, status, buf_str(&c.body));
	client_close(&c);
}

/* --- each allocation in turn --- */

/* PREPARE (if any) comes without faults ahead of each turn, and may change what is asked. */
static void
try_request(
    const struct site *s, struct ask a, void (*prepare)(const struct site *s, struct ask *a))
{
	static const struct ask alive = { "GET", "/", "", "", 0, NULL, NULL };
	struct alloc_turn t = { .is_everywhere = true };
	struct client idle;

	client_open(&idle, s->port);
	while (alloc_next(&t)) {
		struct client c;
		unsigned status;

		if (prepare)
			prepare(s, &a);
		status = ask(s, &a, &c, &t);
		if (status / 100 != 2 && (!t.fired || (status && status / 100 != 5)))
			fail_msg("%s %s?%s, allocation %u: %u %s", a.method, a.path, a.query, t.nth,
			    status, buf_str(&c.body));
		client_close(&c);
		if (prepare)
			prepare(s, &a);
		must(s, &a);
	}
	CHECK(t.nth > 3);
	must(s, &alive);
	client_say(&idle, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
	CHECK(client_answer(&idle) == 403);
	client_close(&idle);
}

static void
put_it(const struct site *s, struct ask *a)
{
	must(s, &(struct ask){ "PUT", a->path, "", (char *)s->content, 100, NULL, NULL });
}

static void
put_copy(const struct site *s, struct ask *a)
{
	(void)a;
	must(s, &(struct ask){ "PUT", "/photos/copy", "", "", 0, NULL, "/photos/large" });
}

/* An upload of one part, to be completed or given up. */
static void
upload(const struct site *s, struct ask *a)
{
	static char part[300], query[200], list[1200];
	struct ask ask_part = { "PUT", a->path, part, (char *)s->content, OBJECT, NULL, NULL };
	struct client c;
	char *id;

	CHECK(ask(s, &(struct ask){ "POST", a->path, "uploads=", "", 0, NULL, NULL }, &c, NULL) ==
	    200);
	id = strstr(buf_str(&c.body), "<UploadId>") + strlen("<UploadId>");
	snprintf(query, sizeof query, "uploadId=%.*s", (int)strcspn(id, "<"), id);
	snprintf(part, sizeof part, "partNumber=1&%s", query);
	client_close(&c);
	CHECK(ask(s, &ask_part, &c, NULL) == 200);
	snprintf(list, sizeof list,
	    "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part>"
	    "</CompleteMultipartUpload>",
	    client_header(&c, "etag"));
	client_close(&c);
	a->query = query;
	if (!strcmp(a->method, "POST")) {
		a->body = list;
		a->n = strlen(list);
	}
}

static void
requests_fail_alone(void **state)
{
	static const char
	    gone[] = "<Delete><Object><Key>copy</Key></Object></Delete>",
	    tags[] = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
	    versioning[] =
	        "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
	struct site *s = *state;
	char *content = (char *)s->content;
	const struct ask put_large = { "PUT", "/photos/large", "", content, OBJECT, NULL, NULL };
	const struct ask asks[] = {
		{ "PUT", "/photos/small", "", content, 100, NULL, NULL },
		put_large,
		{ "GET", "/photos/small", "", "", 0, NULL, NULL },
		{ "GET", "/photos/large", "", "", 0, NULL, NULL },
		{ "HEAD", "/photos/large", "", "", 0, NULL, NULL },
		{ "GET", "/photos/large", "", "", 0, "bytes=5-9", NULL },
		{ "PUT", "/photos/large", "tagging=", tags, sizeof tags - 1, NULL, NULL },
		{ "GET", "/photos/large", "tagging=", "", 0, NULL, NULL },
		{ "GET", "/photos", "list-type=2", "", 0, NULL, NULL },
		{ "GET", "/photos", "versions=", "", 0, NULL, NULL },
		{ "GET", "/photos", "uploads=", "", 0, NULL, NULL },
		{ "GET", "/", "", "", 0, NULL, NULL },
		{ "PUT", "/photos/copy", "", "", 0, NULL, "/photos/large" },
		{ "POST", "/photos/large", "uploads=", "", 0, NULL, NULL },
		{ "PUT", "/photos", "versioning=", versioning, sizeof versioning - 1, NULL, NULL },
		{ "PUT", "/photos/small", "", content, 100, NULL, NULL },
	};
	struct client c;

	must(s, &(struct ask){ "PUT", "/photos", "", "", 0, NULL, NULL });
	must(s, &asks[0]);
	must(s, &put_large);
	for (size_t i = 0; i < ARRAY_LEN(asks); i++)
		try_request(s, asks[i], NULL);
	try_request(s,
	    (struct ask){ "POST", "/photos", "delete=", gone, sizeof gone - 1, NULL, NULL },
	    put_copy);
	try_request(s, (struct ask){ "DELETE", "/photos/small", "", "", 0, NULL, NULL }, put_it);
	try_request(s, (struct ask){ "DELETE", "/photos/part", "", "", 0, NULL, NULL }, upload);
	try_request(s, (struct ask){ "POST", "/photos/part", "", "", 0, NULL, NULL }, upload);
	must(s, &(struct ask){ "GET", "/photos/part", "", "", 0, NULL, NULL });
	CHECK(ask(s, &(struct ask){ "GET", "/photos/large", "", "", 0, NULL, NULL }, &c, NULL) ==
	    200);
	CHECK(c.body.len == OBJECT);
	CHECK_BYTES(c.body.data, s->content, OBJECT);
	client_close(&c);
}

/* --- */

static int
set_up(void **state)
{
	static struct region region;
	static struct site site;
	struct front_config c = {
		.s3_plain_at = "127.0.0.1:0", .threads = 2, .node = &region.node
	};
	struct err e = { 0 };

	region_open(&region, false);
	region_account(&region, ALL_SERVICES, &site.who);
	site.region = &region;
	site.content = noise(OBJECT, 1);
	site.front = front_start(&c, &e);
	if (!site.front)
		fail_msg("%s", e.text);
	site.port = front_port(site.front, "s3_plain");
	*state = &site;
	return 0;
}

static int
tear_down(void **state)
{
	struct site *s = *state;

	front_stop(s->front, 2000);
	region_close(s->region);
	free(s->content);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(requests_fail_alone, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
