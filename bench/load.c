/* load - an HTTP/1.1 load generator that signs its requests (Signature V4), on one thread.
 *
 *	load fill --url https://127.0.0.1:9000 --ca ca.pem --accounts accounts.json --bucket mail --objects 10
 *	load put  ... --seconds 5 --connections 64 --size 4096
 *	load put  ... --each (every object once, however long it takes)
 *	load get  ... (what fill or put wrote)
 *	load list ... (1,000 keys from a random one on; with --folder N and --folded, the folders)
 *
 * With --folder N the name of an object has a slash before its number, after that of N objects.
 *
 * Without --accounts nothing is signed: the same generator drives the server that we compare with. Prints
 * one JSON object. Used by ./run bench and ./run demo.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <jansson.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/host.h"
#include "base/id.h"
#include "base/stats.h"

#define PATTERN   ((size_t)1 << 20)
#define KNOWN_MAX 100000 /* heads kept */

enum verb { VERB_FILL, VERB_PUT, VERB_GET, VERB_LIST };

static const char *const verbs[] = { "fill", "put", "get", "list" };

struct account {
	const char *key, *secret;
	uint8_t signing[SHA256_BYTES];
};

struct options {
	enum verb verb;
	char host[64];
	unsigned port, connections, objects, folder;
	bool is_tls, hashes, each, folded;
	const char *ca, *bucket, *name;
	uint64_t size, rate;
	double seconds;
	struct account *accounts;
	size_t n_accounts;
};

struct connection {
	int fd;
	gnutls_session_t tls;
	bool is_ready, is_busy;
	uint64_t began_ns, due_ns;
	char head[2048];
	size_t head_len, head_sent;
	uint64_t body_left, body_at;
	char in[16384];
	size_t in_len;
	uint64_t answer_left;
	bool has_head;
	int status;
	size_t account;  /* fill: which one */
	unsigned object; /* fill: 0 is the bucket */
	unsigned serial;
};

static struct options opt = {
	.connections = 16, .objects = 10, .size = 4096, .bucket = "bench", .name = "o", .seconds = 5
};
static struct histogram latency = HISTOGRAM("load", NULL, "");
static uint64_t requests, failed, bytes, first_failures;
static size_t next_account;
static unsigned next_object;
static char date[9], stamp[17];
static uint8_t *pattern;
static gnutls_certificate_credentials_t credentials;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "load: %s: %s\n", what, why);
	exit(1);
}

/* --- signing --- */

static void
set_time(void)
{
	time_t now = (time_t)(host_wall_ms() / 1000);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm);
	strftime(date, sizeof date, "%Y%m%d", &tm);
}

static void
derive(struct account *a)
{
	static const char *const words[] = { "us-east-1", "s3", "aws4_request" };
	char first[80];

	snprintf(first, sizeof first, "AWS4%s", a->secret);
	hmac_sha256(first, strlen(first), date, strlen(date), a->signing);
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		hmac_sha256(a->signing, sizeof a->signing, words[i], strlen(words[i]), a->signing);
}

static void
put_signature(char *out, size_t size, const struct account *a, const char *method, const char *path,
    const char *query, const char *payload)
{
	char canonical[1024], to_sign[512], hex[65];
	uint8_t digest[SHA256_BYTES];

	snprintf(canonical, sizeof canonical,
	    "%s\n%s\n%s\nhost:%s:%u\nx-amz-content-sha256:%s\nx-amz-date:%s\n\n"
	    "host;x-amz-content-sha256;x-amz-date\n%s",
	    method, path, query, opt.host, opt.port, payload, stamp, payload);
	sha256(canonical, strlen(canonical), digest);
	hex_text(digest, sizeof digest, hex);
	snprintf(to_sign, sizeof to_sign, "AWS4-HMAC-SHA256\n%s\n%s/us-east-1/s3/aws4_request\n%s",
	    stamp, date, hex);
	hmac_sha256(a->signing, sizeof a->signing, to_sign, strlen(to_sign), digest);
	hex_text(digest, sizeof digest, hex);
	snprintf(out, size,
	    "x-amz-date: %s\r\nx-amz-content-sha256: %s\r\nAuthorization: AWS4-HMAC-SHA256 "
	    "Credential=%s/%s/us-east-1/s3/aws4_request, "
	    "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=%s\r\n",
	    stamp, payload, a->key, date, hex);
}

/* What making and signing requests costs is not the server's: where neither body nor path make it new, a head is
 * made once for each account and object, and again when the time has moved on. */
static char **heads;

/* Without accounts there is one place for all. */
static size_t
places(void)
{
	return opt.n_accounts ? opt.n_accounts : 1;
}

static void
forget_heads(void)
{
	for (size_t i = 0; heads && i < places() * (opt.objects + 1); i++) {
		free(heads[i]);
		heads[i] = NULL;
	}
}

/* --- one request --- */

static const char *
payload_hash(uint64_t at, uint64_t n)
{
	static char hex[65];
	uint8_t digest[SHA256_BYTES];

	if (!opt.hashes || n > PATTERN - at)
		return "UNSIGNED-PAYLOAD";
	sha256(pattern + at, n, digest);
	hex_text(digest, sizeof digest, hex);
	return hex;
}

/* The name of an object; SLASH as it stands in a path or a query. Zeros in front keep folders and what is
 * in them in order. */
static void
put_name(char *out, size_t size, unsigned object, const char *slash)
{
	if (opt.folder)
		snprintf(out, size, "%s%06u%s%07u", opt.name, object / opt.folder, slash, object);
	else
		snprintf(out, size, "%s%u", opt.name, object);
}

/* The arguments of a listing, in the order that a signature wants. Object 0: from the first key on. */
static void
put_query(char *out, size_t size, unsigned object)
{
	char after[96] = "";

	if (object)
		put_name(after, sizeof after, object, "%2F");
	snprintf(out, size, "%slist-type=2&max-keys=1000%s%s", opt.folded ? "delimiter=%2F&" : "",
	    *after ? "&start-after=" : "", after);
}

static void
make_head(struct connection *c, bool is_bucket)
{
	const char *method = opt.verb == VERB_GET || opt.verb == VERB_LIST ? "GET" : "PUT";
	char name[96] = "", path[160], query[192] = "", auth[1024] = "";

	if (!is_bucket)
		put_name(name, sizeof name, c->object, "/");
	if (opt.verb == VERB_LIST)
		put_query(query, sizeof query, c->object);
	snprintf(path, sizeof path, "/%s%s%s", opt.bucket, *name ? "/" : "", name);
	if (opt.n_accounts)
		put_signature(auth, sizeof auth, &opt.accounts[c->account], method, path, query,
		    payload_hash(c->body_at, c->body_left));
	c->head_len = (size_t)snprintf(c->head, sizeof c->head,
	    "%s %s%s%s HTTP/1.1\r\nHost: %s:%u\r\n%sContent-Length: %" PRIu64 "\r\n\r\n", method,
	    path, *query ? "?" : "", query, opt.host, opt.port, auth, c->body_left);
}

static void
compose(struct connection *c)
{
	bool is_bucket = opt.verb == VERB_LIST || (opt.verb == VERB_FILL && c->object == 0);
	char **known = heads ? &heads[c->account * (opt.objects + 1) + c->object] : NULL;

	c->body_left = is_bucket || opt.verb == VERB_GET ? 0 : opt.size;
	c->body_at = opt.size < PATTERN / 2 ? (uint64_t)rand() % (PATTERN / 2) : 0;
	if (known && *known)
		c->head_len = (size_t)(stpcpy(c->head, *known) - c->head);
	else
		make_head(c, is_bucket);
	if (known && !*known)
		*known = strdup(c->head);
	c->head_sent = c->in_len = 0;
	c->has_head = false;
	c->is_busy = true;
	c->began_ns = host_mono_ns();
}

static size_t
objects_in_all(void)
{
	return opt.objects * places();
}

/* What this connection asks next; false when there is nothing more. */
static bool
next_request(struct connection *c)
{
	if (opt.each) {
		if (next_object >= objects_in_all())
			return false;
		c->account = next_object / opt.objects;
		c->object = next_object++ % opt.objects + 1;
		compose(c);
		return true;
	}
	if (opt.verb != VERB_FILL) {
		c->account = opt.n_accounts ? (size_t)rand() % opt.n_accounts : 0;
		c->object = opt.verb != VERB_PUT || opt.size > PATTERN
		    ? (unsigned)rand() % opt.objects + 1
		    : c->serial++ % opt.objects + 1;
		compose(c);
		return true;
	}
	if (c->object == 0 || c->object >= opt.objects + 1) {
		if (c->object && next_account >= opt.n_accounts)
			return false;
		if (next_account >= opt.n_accounts)
			return false;
		c->account = next_account++;
		c->object = 0;
	}
	compose(c);
	return true;
}

static void
finish(struct connection *c)
{
	uint64_t now = host_mono_ns();
	/* With a rate, lateness of a start counts too: a held request delays those behind it. */
	uint64_t from = opt.rate && c->due_ns && c->due_ns < c->began_ns ? c->due_ns : c->began_ns;

	c->is_busy = false;
	requests++;
	histogram_add(&latency, (now - from) / 1000);
	if (c->status / 100 != 2) {
		failed++;
		if (first_failures++ < 3)
			fprintf(stderr, "load: status %d: %.200s\n", c->status, c->in);
	} else {
		bytes += opt.size;
	}
	if (opt.verb == VERB_FILL)
		c->object++;
}

/* --- bytes --- */

static ssize_t
send_some(struct connection *c, const void *p, size_t n)
{
	ssize_t r = c->tls ? gnutls_record_send(c->tls, p, n) : send(c->fd, p, n, MSG_NOSIGNAL);

	if (r >= 0)
		return r;
	if (c->tls ? r == GNUTLS_E_AGAIN || r == GNUTLS_E_INTERRUPTED : errno == EAGAIN)
		return 0;
	die("sending", c->tls ? gnutls_strerror((int)r) : strerror(errno));
	return -1;
}

static ssize_t
receive_some(struct connection *c, void *p, size_t n)
{
	ssize_t r;
	char peek;

	/* GnuTLS also says "again" after a session ticket, with the answer still waiting behind it. */
	do
		r = c->tls ? gnutls_record_recv(c->tls, p, n) : recv(c->fd, p, n, 0);
	while (c->tls && r == GNUTLS_E_AGAIN && recv(c->fd, &peek, 1, MSG_PEEK | MSG_DONTWAIT) > 0);
	if (r > 0)
		return r;
	if (r == 0)
		die("receiving", "the server closed the connection");
	if (c->tls ? r == GNUTLS_E_AGAIN || r == GNUTLS_E_INTERRUPTED : errno == EAGAIN)
		return 0;
	die("receiving", c->tls ? gnutls_strerror((int)r) : strerror(errno));
	return -1;
}

/* true when all is sent. A small body leaves together with its head. */
static bool
push(struct connection *c)
{
	while (c->head_sent < c->head_len) {
		size_t n = c->head_len - c->head_sent;
		char both[sizeof c->head + 8192];
		ssize_t r;

		memcpy(both, c->head + c->head_sent, n);
		if (c->body_left && c->body_left <= 8192) {
			memcpy(both + n, pattern + c->body_at, c->body_left);
			n += c->body_left;
		}
		r = send_some(c, both, n);
		if (r <= 0)
			return false;
		if ((size_t)r > c->head_len - c->head_sent) {
			uint64_t of_body = (uint64_t)r - (c->head_len - c->head_sent);

			c->body_left -= of_body;
			c->body_at += of_body;
			c->head_sent = c->head_len;
		} else {
			c->head_sent += (size_t)r;
		}
	}
	while (c->body_left) {
		size_t at = c->body_at % PATTERN, n = PATTERN - at;
		ssize_t r = send_some(c, pattern + at, n < c->body_left ? n : c->body_left);

		if (r <= 0)
			return false;
		c->body_left -= (uint64_t)r;
		c->body_at += (uint64_t)r;
	}
	return true;
}

static void
parse_head(struct connection *c)
{
	char *end, *length;

	c->in[c->in_len] = 0;
	end = strstr(c->in, "\r\n\r\n");
	if (!end) {
		if (c->in_len == sizeof c->in - 1)
			die("answer", "its head is too long");
		return;
	}
	c->has_head = true;
	c->status = atoi(c->in + 9);
	length = strcasestr(c->in, "\ncontent-length:");
	c->answer_left = length && length < end ? strtoull(length + 16, NULL, 10) : 0;
	c->answer_left -= c->in_len - (size_t)(end + 4 - c->in);
}

/* true when the whole answer is there. */
static bool
pull(struct connection *c)
{
	static char sink[1 << 18];

	for (;;) {
		ssize_t n;

		if (c->has_head && c->answer_left == 0)
			return true;
		if (!c->has_head)
			n = receive_some(c, c->in + c->in_len, sizeof c->in - 1 - c->in_len);
		else
			n = receive_some(
			    c, sink, c->answer_left < sizeof sink ? c->answer_left : sizeof sink);
		if (n == 0)
			return false;
		if (c->has_head) {
			c->answer_left -= (uint64_t)n;
		} else {
			c->in_len += (size_t)n;
			parse_head(c);
		}
	}
}

static void
open_connection(struct connection *c)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port) };
	int one = 1, r;

	if (inet_pton(AF_INET, opt.host, &a.sin_addr) != 1)
		die(opt.host, "not an IPv4 address");
	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof a) < 0)
		die("connecting", strerror(errno));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (opt.is_tls) {
		gnutls_init(&c->tls, GNUTLS_CLIENT);
		gnutls_set_default_priority(c->tls);
		gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, credentials);
		if (opt.ca)
			gnutls_session_set_verify_cert(c->tls, "localhost", 0);
		gnutls_transport_set_int(c->tls, c->fd);
		while ((r = gnutls_handshake(c->tls)) < 0)
			if (gnutls_error_is_fatal(r))
				die("TLS", gnutls_strerror(r));
	}
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

/* --- the run --- */

static bool
is_time_over(uint64_t began)
{
	return opt.verb != VERB_FILL && !opt.each &&
	    (double)(host_mono_ns() - began) / 1e9 >= opt.seconds;
}

/* Start whatever may start now; returns the milliseconds until the next start is due. */
static int
start_requests(struct connection *all, uint64_t began, uint64_t *started, bool *more)
{
	for (unsigned i = 0; i < opt.connections && *more; i++) {
		struct connection *c = &all[i];
		uint64_t now;

		if (c->is_busy)
			continue;
		if (is_time_over(began)) {
			*more = false;
			break;
		}
		c->due_ns = opt.rate ? began + *started * 1000000000 / opt.rate : 0;
		now = host_mono_ns();
		if (opt.rate && c->due_ns > now)
			return (int)((c->due_ns - now) / 1000000);
		if (!next_request(c))
			continue;
		++*started;
		push(c);
	}
	return 100;
}

static unsigned
busy_count(const struct connection *all)
{
	unsigned n = 0;

	for (unsigned i = 0; i < opt.connections; i++)
		n += all[i].is_busy;
	return n;
}

static void
run(struct connection *all, int ep)
{
	uint64_t began = host_mono_ns(), started = 0, last_stamp = began;
	struct epoll_event ev[64];
	bool more = true;

	for (;;) {
		int wait_ms = start_requests(all, began, &started, &more);
		int n;

		if (opt.verb == VERB_FILL && next_account >= opt.n_accounts && busy_count(all) == 0)
			break;
		if (opt.each && next_object >= objects_in_all() && busy_count(all) == 0)
			break;
		if (!more && busy_count(all) == 0)
			break;
		n = epoll_wait(ep, ev, ARRAY_LEN(ev), wait_ms);
		for (int i = 0; i < n; i++) {
			struct connection *c = ev[i].data.ptr;

			if (!c->is_busy || !push(c) || !pull(c))
				continue;
			finish(c);
			if (!opt.rate && !is_time_over(began) && next_request(c)) {
				started++;
				push(c);
			}
		}
		if (host_mono_ns() - last_stamp > 60000000000) {
			last_stamp = host_mono_ns();
			set_time();
			forget_heads();
		}
	}
}

static void
read_accounts(const char *path)
{
	json_error_t where;
	json_t *list = json_load_file(path, 0, &where);

	if (!json_is_array(list))
		die(path, list ? "not a list" : where.text);
	opt.n_accounts = json_array_size(list);
	opt.accounts = calloc(opt.n_accounts, sizeof *opt.accounts);
	for (size_t i = 0; i < opt.n_accounts; i++) {
		json_t *a = json_array_get(list, i);

		opt.accounts[i].key = json_string_value(json_object_get(a, "access_key"));
		opt.accounts[i].secret = json_string_value(json_object_get(a, "secret_key"));
		if (!opt.accounts[i].key || !opt.accounts[i].secret)
			die(path, "an account without keys");
		derive(&opt.accounts[i]);
	}
}

static void
parse_url(const char *url)
{
	if (sscanf(url, "https://%63[^:]:%u", opt.host, &opt.port) == 2)
		opt.is_tls = true;
	else if (sscanf(url, "http://%63[^:]:%u", opt.host, &opt.port) != 2)
		die(url, "not http(s)://ADDRESS:PORT");
}

static bool
read_flag(const char *o)
{
	const struct {
		const char *name;
		bool *flag;
	} flags[] = { { "--hashes", &opt.hashes }, { "--each", &opt.each },
		{ "--folded", &opt.folded } };

	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if (strcmp(o, flags[i].name) == 0)
			return *flags[i].flag = true;
	return false;
}

static void
parse_options(int argc, char **argv)
{
	size_t verb = 0;

	while (argc > 1 && verb < ARRAY_LEN(verbs) && strcmp(argv[1], verbs[verb]) != 0)
		verb++;
	if (argc < 2 || verb == ARRAY_LEN(verbs))
		die("usage",
		    "load fill|put|get|list --url URL [--ca FILE] [--accounts FILE] [--bucket B] "
		    "[--name P] [--objects N] [--folder N] [--size BYTES] [--connections N] [--seconds S] "
		    "[--rate N] [--hashes] [--each] [--folded]");
	opt.verb = (enum verb)verb;
	set_time();
	for (int i = 2; i < argc; i++) {
		const char *o = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";

		if (read_flag(o))
			continue;
		if (strcmp(o, "--url") == 0)
			parse_url(v);
		else if (strcmp(o, "--ca") == 0)
			opt.ca = v;
		else if (strcmp(o, "--accounts") == 0)
			read_accounts(v);
		else if (strcmp(o, "--bucket") == 0)
			opt.bucket = v;
		else if (strcmp(o, "--name") == 0)
			opt.name = v;
		else if (strcmp(o, "--objects") == 0)
			opt.objects = (unsigned)atoi(v);
		else if (strcmp(o, "--folder") == 0)
			opt.folder = (unsigned)atoi(v);
		else if (strcmp(o, "--size") == 0)
			opt.size = strtoull(v, NULL, 10);
		else if (strcmp(o, "--connections") == 0)
			opt.connections = (unsigned)atoi(v);
		else if (strcmp(o, "--seconds") == 0)
			opt.seconds = atof(v);
		else if (strcmp(o, "--rate") == 0)
			opt.rate = strtoull(v, NULL, 10);
		else
			die(o, "unknown option");
		i++;
	}
	if (!opt.port || !opt.connections || !opt.objects)
		die("usage", "--url is missing, or a number is 0");
	if (opt.verb != VERB_FILL && opt.verb != VERB_LIST && !opt.each && !opt.hashes &&
	    objects_in_all() < KNOWN_MAX)
		heads = calloc(places() * (opt.objects + 1), sizeof *heads);
}

/* Half noise, half text: what mail and photographs' databases look like to a compressor. */
static void
make_pattern(void)
{
	static const char words[] =
	    "the quick brown fox jumps over the lazy dog and goes on to the river ";

	pattern = malloc(PATTERN + 8192);
	if (!pattern)
		die("memory", "none");
	host_random(pattern, PATTERN);
	for (size_t at = 0; at < PATTERN; at += 1024)
		for (size_t i = 0; i < 512; i++)
			pattern[at + i] = (uint8_t)words[(i + at / 512 * 7) % (sizeof words - 1)];
}

int
main(int argc, char **argv)
{
	struct connection *all;
	uint64_t began;
	double seconds;
	int ep = epoll_create1(0);

	parse_options(argc, argv);
	make_pattern();
	gnutls_certificate_allocate_credentials(&credentials);
	if (opt.ca &&
	    gnutls_certificate_set_x509_trust_file(credentials, opt.ca, GNUTLS_X509_FMT_PEM) < 1)
		die(opt.ca, "no certificate in it");
	all = calloc(opt.connections, sizeof *all);
	for (unsigned i = 0; i < opt.connections; i++) {
		struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET,
			.data.ptr = &all[i] };

		open_connection(&all[i]);
		all[i].serial = i * 7919;
		epoll_ctl(ep, EPOLL_CTL_ADD, all[i].fd, &ev);
	}
	began = host_mono_ns();
	run(all, ep);
	seconds = (double)(host_mono_ns() - began) / 1e9;
	printf("{\"requests\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"bytes\": %" PRIu64
	       ", \"seconds\": %.3f, "
	       "\"per_s\": %.1f, \"mb_per_s\": %.1f, \"p50_us\": %" PRIu64 ", \"p99_us\": %" PRIu64
	       ", \"max_us\": %" PRIu64 "}\n",
	    requests, failed, bytes, seconds, (double)requests / seconds,
	    (double)bytes / seconds / 1e6, histogram_quantile(&latency, 0.5),
	    histogram_quantile(&latency, 0.99), (uint64_t)latency.max_us);
	return failed ? 1 : 0;
}
