/* Passing a request on: libcurl on this worker, the answer's bytes to the HTTP thread through a
 * bounded ring.
 *
 * The answer begins (response_begin) when the home's headers are there, and its reader is the
 * ring's other end. Both ends may give up: the client by going away (passing_free), the home by
 * breaking off (is_broken: the client's connection is closed, so that half an answer never looks
 * whole). The passing itself is freed by whoever lets go of it last.
 */
#include "front/forward.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/host.h"
#include "directory/peer.h"
#include "front/s3.h"

#define RING_BYTES       ((size_t)256 << 10)
#define IDLE_HANDLES     64
#define CONNECT_WAIT_MS  10000L
#define EXPECT_WAIT_MS   10000L
#define KEEP_S           45L  /* shorter than the home keeps idle connections */
#define STALLED_S        300L /* not a byte either way; a write may wait long for a move to end */
#define ANSWER_LINES_MAX ((size_t)32 << 10)

/* From here on a body waits for the home's first word: the round trip is then little beside what
 * would be sent for nothing, and lost together with the answer. */
#define EXPECT_BYTES     ((uint64_t)8 << 20)

struct passing {
	struct request *r;
	bool is_decoded; /* the body comes as it was meant, not as it was sent */
	struct curl_slist *headers;
	struct span collected;
	bool is_collected; /* the body is in memory */
	uint64_t to_send;  /* UINT64_MAX: chunked */
	uint64_t sent;
	bool client_failed;

	unsigned status;
	uint64_t length; /* of the answer */
	bool has_begun;

	_Atomic unsigned refs;
	pthread_mutex_t lock;
	pthread_cond_t has_room;
	uint8_t *ring;
	size_t size, head, len;
	bool is_ended, is_broken;
	_Atomic bool is_closed;
	bool reader_waits;
};

/* --- the ring --- */

static void
unref(struct passing *p)
{
	if (atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->has_room);
	free(p->ring);
	free(p);
}

/* response_read_fn, on the HTTP thread. */
static ssize_t
passing_read(void *arg, uint64_t at, void *to, size_t n)
{
	struct passing *p = arg;
	ssize_t got;

	(void)at;
	pthread_mutex_lock(&p->lock);
	if (p->len) {
		if (n > p->len)
			n = p->len;
		if (n > p->size - p->head)
			n = p->size - p->head;
		memcpy(to, p->ring + p->head, n);
		p->head = (p->head + n) % p->size;
		p->len -= n;
		got = (ssize_t)n;
		pthread_cond_signal(&p->has_room);
	} else {
		got = p->is_broken ? -1 : p->is_ended ? RESPONSE_END : 0;
	}
	p->reader_waits = got == 0;
	pthread_mutex_unlock(&p->lock);
	return got;
}

static void
passing_free(void *arg)
{
	struct passing *p = arg;

	pthread_mutex_lock(&p->lock);
	atomic_store(&p->is_closed, true);
	pthread_cond_signal(&p->has_room);
	pthread_mutex_unlock(&p->lock);
	unref(p);
}

/* Under the lock; waits for room. False: nobody reads any more. */
static bool
put_some(struct passing *p, const char **from, size_t *n)
{
	size_t at, m;

	while (p->len == p->size && !atomic_load(&p->is_closed))
		pthread_cond_wait(&p->has_room, &p->lock);
	if (atomic_load(&p->is_closed))
		return false;
	at = (p->head + p->len) % p->size;
	m = p->size - p->len;
	if (m > p->size - at)
		m = p->size - at;
	if (m > *n)
		m = *n;
	memcpy(p->ring + at, *from, m);
	p->len += m;
	*from += m;
	*n -= m;
	return true;
}

static void
wake_reader(struct passing *p)
{
	bool waits;

	pthread_mutex_lock(&p->lock);
	waits = p->reader_waits;
	p->reader_waits = false;
	pthread_mutex_unlock(&p->lock);
	if (waits)
		response_more(p->r);
}

static void
end_answer(struct passing *p, bool is_broken)
{
	pthread_mutex_lock(&p->lock);
	p->is_ended = true;
	p->is_broken = is_broken;
	pthread_mutex_unlock(&p->lock);
	wake_reader(p);
}

/* --- the answer's head --- */

static bool
name_is(const char *line, size_t n, const char *name)
{
	return strlen(name) == n && !strncasecmp(line, name, n);
}

/* What concerns one connection only, and what http.c says itself. */
static bool
is_passed_back(const char *name, size_t n)
{
	static const char *const own[] = { "connection", "keep-alive", "proxy-authenticate",
		"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
		"content-length", "date", "server", "x-amz-request-id" };

	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (name_is(name, n, own[i]))
			return false;
	return strncasecmp(name, "x-domicile-", 11) != 0;
}

static void
take_header(struct passing *p, const char *line, size_t n)
{
	const char *colon = memchr(line, ':', n), *value;
	struct request *r = p->r;
	char name[2304], text[8192]; /* as long as S3 lets them be, in names of metadata too */
	size_t name_len, value_len;

	if (!colon)
		return;
	value = colon + 1;
	name_len = (size_t)(colon - line);
	value_len = n - name_len - 1;
	while (value_len && (*value == ' ' || *value == '\t'))
		value++, value_len--;
	if (name_is(line, name_len, "content-length"))
		p->length = strtoull(value, NULL, 10); /* curl has checked it */
	if (name_len >= sizeof name || value_len >= sizeof text ||
	    !is_passed_back(line, name_len) || r->headers.len > ANSWER_LINES_MAX)
		return;
	snprintf(name, sizeof name, "%.*s", (int)name_len, line);
	snprintf(text, sizeof text, "%.*s", (int)value_len, value);
	response_header(r, name, "%s", text);
}

static bool
has_body(const struct passing *p)
{
	return p->length && p->status != 204 && p->status != 304 &&
	    strcmp(p->r->method, "HEAD") != 0;
}

static int
begin_answer(struct passing *p)
{
	struct request *r = p->r;

	r->status = p->status;
	if (has_body(p)) {
		p->size = p->length < RING_BYTES ? (size_t)p->length : RING_BYTES;
		p->ring = malloc(p->size);
		if (!p->ring)
			return -1;
		atomic_fetch_add(&p->refs, 1);
		r->read = passing_read;
		r->read_arg = p;
		r->read_free = passing_free;
		r->read_bytes = p->length;
	} else if ((!strcmp(r->method, "HEAD") || p->status == 304) && p->length != UINT64_MAX) {
		r->read_bytes = p->length;
	}
	p->has_begun = true;
	response_begin(r);
	return 0;
}

/* Once for every line; an interim answer (100) comes before the one that counts. */
static size_t
header_line(char *line, size_t one, size_t n, void *arg)
{
	struct passing *p = arg;
	size_t bytes = one * n;

	n = bytes;
	while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
		n--;
	if (p->has_begun)
		return bytes; /* a trailer */
	if (n > 12 && !strncmp(line, "HTTP/", 5)) {
		const char *space = memchr(line, ' ', n);

		p->status = space ? (unsigned)strtoul(space + 1, NULL, 10) : 0;
		p->length = UINT64_MAX;
		buf_clear(&p->r->headers);
	} else if (n) {
		if (p->status >= 200)
			take_header(p, line, n);
	} else if (p->status >= 200 && begin_answer(p) < 0) {
		return 0;
	}
	return bytes;
}

static size_t
answer_bytes(char *from, size_t one, size_t n, void *arg)
{
	struct passing *p = arg;
	const char *at = from;
	size_t bytes = one * n, left = bytes;

	while (left && p->ring) {
		bool is_wanted;

		pthread_mutex_lock(&p->lock);
		is_wanted = put_some(p, &at, &left);
		pthread_mutex_unlock(&p->lock);
		if (!is_wanted)
			return 0;
		wake_reader(p);
	}
	return bytes;
}

/* --- the body --- */

static ssize_t
body_next(struct passing *p, char *to, size_t n, struct err *e)
{
	size_t left = p->collected.len - (size_t)p->sent;

	if (!p->is_collected)
		return request_read(p->r, to, n, e);
	n = n < left ? n : left;
	if (n)
		memcpy(to, p->collected.data + p->sent, n);
	return (ssize_t)n;
}

/* Never more than was announced: curl would send it, and the home would take it for a request of
 * ours. Nor less, or the home would wait for the rest. */
static size_t
body_bytes(char *to, size_t one, size_t n, void *arg)
{
	struct passing *p = arg;
	ssize_t got;
	struct err e;

	n *= one;
	if (p->has_begun)
		return CURL_READFUNC_PAUSE; /* the home has answered without it */
	if (n > p->to_send - p->sent)
		n = (size_t)(p->to_send - p->sent);
	if (!n)
		return 0;
	got = body_next(p, to, n, &e);
	p->client_failed = got < 0 || (!got && p->to_send != UINT64_MAX);
	if (p->client_failed)
		return CURL_READFUNC_ABORT;
	p->sent += (uint64_t)got;
	return (size_t)got;
}

/* curl wants the body again if a kept connection ended without an answer. Once some of it was sent the
 * home may have done what was asked: done again, a write on condition would be refused though it took
 * place, and any other could undo what came after it. */
static int
body_again(void *arg, curl_off_t at, int whence)
{
	const struct passing *p = arg;

	return whence != SEEK_SET || at != 0 || p->sent ? CURL_SEEKFUNC_CANTSEEK : CURL_SEEKFUNC_OK;
}

static int
still_wanted(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	const struct passing *p = arg;

	(void)a, (void)b, (void)c, (void)d;
	return atomic_load(&p->is_closed);
}

static uint64_t
number_or_unknown(const char *text)
{
	char *end = NULL;
	uint64_t n;

	if (!text || *text < '0' || *text > '9')
		return UINT64_MAX;
	errno = 0;
	n = strtoull(text, &end, 10);
	return *end || errno ? UINT64_MAX : n;
}

static bool
has_request_body(struct request *r)
{
	return request_header(r, "content-length") || request_header(r, "transfer-encoding");
}

/* How long the body is as we send it; UINT64_MAX: chunked. */
static uint64_t
body_length(const struct passing *p)
{
	struct request *r = p->r;
	const char *sha = request_header(r, "x-amz-content-sha256");

	if (p->is_decoded && sha && !strncmp(sha, "STREAMING-", 10))
		return number_or_unknown(request_header(r, "x-amz-decoded-content-length"));
	if (p->is_collected)
		return p->collected.len;
	if (!p->is_decoded && !has_request_body(r))
		return 0;
	return request_length(r);
}

/* --- the request's head --- */

static int add_line(struct passing *p, const char *format, ...) printf_like(2, 3);

static int
add_line(struct passing *p, const char *format, ...)
{
	_cleanup_(freep) char *line = NULL;
	struct curl_slist *longer = NULL;
	va_list args;
	int n;

	va_start(args, format);
	n = vasprintf(&line, format, args);
	va_end(args);
	if (n < 0)
		line = NULL;
	else
		longer = curl_slist_append(p->headers, line);
	if (longer)
		p->headers = longer;
	return longer ? 0 : -1;
}

struct copying {
	struct passing *p;
	int failed;
	bool has_accept;
};

static bool
is_among(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcasecmp(name, names[i]))
			return true;
	return false;
}

/* As they came, the signature is over them; but what says who passes it on only from a region. What is about
 * the connection may be signed too, and comes under another name. */
static void
copy_header(void *arg, const char *name, const char *value)
{
	static const char *const ours[] = { "content-length", "x-domicile-id", "x-domicile-from",
		"x-domicile-hops", "x-domicile-counted" };
	struct copying *c = arg;
	struct request *r = c->p->r;
	bool is_hop = forward_is_hop(name, strlen(name));
	const char *before = is_hop ? FORWARD_HOP : "";
	bool is_of_hop = !strncasecmp(name, FORWARD_HOP, strlen(FORWARD_HOP));

	if (is_among(name, ours, ARRAY_LEN(ours)) || (is_hop && r->is_peer))
		return;
	if (!strncasecmp(name, "x-domicile-", 11) && strcasecmp(name, "x-domicile-account") != 0 &&
	    (!r->is_peer || (c->p->is_decoded && !is_of_hop)))
		return;
	c->has_accept |= !strcasecmp(name, "accept");
	c->failed |= *value ? add_line(c->p, "%s%s: %s", before, name, value)
	                    : add_line(c->p, "%s%s;", before, name);
}

static int
make_headers(struct passing *p, struct err *e)
{
	struct request *r = p->r;
	struct copying c = { p, 0, false };
	const char *hops = r->is_peer ? request_header(r, "x-domicile-hops") : NULL;
	const char *length = request_header(r, "content-length");

	request_each_header(r, copy_header, &c);
	if (!c.has_accept)
		c.failed |= add_line(p, "Accept:"); /* else curl sends its own */
	c.failed |= add_line(p,
	    p->to_send > EXPECT_BYTES && has_request_body(r) ? "Expect: 100-continue" : "Expect:");
	c.failed |= add_line(p, "x-domicile-id: %s", r->id);
	c.failed |= add_line(p, "x-domicile-from: %s", r->node->region);
	c.failed |= add_line(p, "x-domicile-hops: %d", (hops ? atoi(hops) : 0) + 1);
	if (r->is_counted)
		c.failed |= add_line(p, "x-domicile-counted: 1");
	if (p->is_decoded) {
		c.failed |= add_line(p, "x-domicile-decoded: 1");
		if (length) /* it may be signed, and what we send may be shorter */
			c.failed |= add_line(p, "x-domicile-length: %s", length);
	}
	return c.failed ? err_set(e, ERR_MEMORY, "no memory for a request") : 0;
}

static void
set_method(struct passing *p, CURL *easy)
{
	struct request *r = p->r;
	bool has_body = p->is_decoded || has_request_body(r);

	if (!strcmp(r->method, "HEAD")) {
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
		return;
	}
	curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
	if (has_body) { /* else no length is sent, as none came */
		curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE,
		    p->to_send == UINT64_MAX ? (curl_off_t)-1 : (curl_off_t)p->to_send);
		curl_easy_setopt(easy, CURLOPT_READFUNCTION, body_bytes);
		curl_easy_setopt(easy, CURLOPT_READDATA, p);
		curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, body_again);
		curl_easy_setopt(easy, CURLOPT_SEEKDATA, p);
		curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 128L << 10);
		curl_easy_setopt(easy, CURLOPT_EXPECT_100_TIMEOUT_MS, EXPECT_WAIT_MS);
	}
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
	/* With nothing to send there is no other way to keep curl from sending it twice; see body_again. */
	curl_easy_setopt(
	    easy, CURLOPT_FRESH_CONNECT, !p->to_send && strcmp(r->method, "GET") != 0 ? 1L : 0L);
}

static void
set_request(struct passing *p, CURL *easy, const char *region)
{
	char url[REGION_NAME_SIZE + 16];

	/* peers_prepare_curl knows the address; the name is what the certificate must have. */
	snprintf(url, sizeof url, "https://%s/", region);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_REQUEST_TARGET, p->r->target);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, p->headers);
	set_method(p, easy);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_line);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, p);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, answer_bytes);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, p);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 128L << 10);
	curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, still_wanted);
	curl_easy_setopt(easy, CURLOPT_XFERINFODATA, p);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_WAIT_MS);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, STALLED_S);
	curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, KEEP_S);
}

/* --- handles, kept with their connections --- */

static struct {
	pthread_mutex_t lock;
	struct idle {
		CURL *easy;
		const struct peers *peers;
		char region[REGION_NAME_SIZE];
	} idle[IDLE_HANDLES];
	size_t n;
} handles = { .lock = PTHREAD_MUTEX_INITIALIZER };

static CURL *
handle_take(const struct peers *peers, const char *region)
{
	CURL *easy = NULL;

	pthread_mutex_lock(&handles.lock);
	for (size_t i = handles.n; !easy && i-- > 0;) {
		if (handles.idle[i].peers != peers || strcmp(handles.idle[i].region, region) != 0)
			continue;
		easy = handles.idle[i].easy;
		handles.idle[i] = handles.idle[--handles.n];
	}
	pthread_mutex_unlock(&handles.lock);
	return easy ? easy : curl_easy_init();
}

static void
handle_give(const struct peers *peers, const char *region, CURL *easy)
{
	curl_easy_reset(easy); /* keeps the connection */
	pthread_mutex_lock(&handles.lock);
	if (handles.n < IDLE_HANDLES) {
		struct idle *i = &handles.idle[handles.n++];

		i->easy = easy;
		i->peers = peers;
		snprintf(i->region, sizeof i->region, "%s", region);
		easy = NULL;
	}
	pthread_mutex_unlock(&handles.lock);
	curl_easy_cleanup(easy);
}

/* --- all together --- */

static struct passing *
passing_new(struct request *r, bool is_decoded, struct err *e)
{
	struct passing *p = calloc(1, sizeof *p);

	if (!p) {
		err_set(e, ERR_MEMORY, "no memory for a request");
		return NULL;
	}
	p->r = r;
	p->is_decoded = is_decoded;
	p->collected = request_body(r);
	p->is_collected = !is_decoded && p->collected.len;
	p->to_send = body_length(p);
	atomic_init(&p->refs, 1);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->has_room, NULL);
	return p;
}

static int
perform(struct passing *p, const char *region, bool *was_sent, struct err *e)
{
	struct peers *peers = p->r->node->peers;
	char why[CURL_ERROR_SIZE] = "";
	CURL *easy = handle_take(peers, region);
	long request_bytes = 0;
	CURLcode rc;

	if (!easy)
		return err_set(e, ERR_MEMORY, "no memory for a request");
	peers_prepare_curl(peers, region, easy);
	set_request(p, easy, region);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, why);
	rc = curl_easy_perform(easy);
	curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &request_bytes);
	*was_sent = request_bytes > 0;
	handle_give(peers, region, easy);
	if (p->has_begun) {
		end_answer(p, rc != CURLE_OK);
		return 0;
	}
	if (p->client_failed)
		return err_set(e, ERR_CANCELLED, "the body ended before its length");
	return err_set(e, ERR_PEER, "region %s: %s", region, *why ? why : curl_easy_strerror(rc));
}

int
forward_request(
    struct request *r, const char *region, bool is_decoded, bool *was_sent, struct err *e)
{
	struct peer_region known;
	struct passing *p;
	int rc;

	*was_sent = false;
	if (!r->node->peers || !peers_find(r->node->peers, region, &known))
		return err_set(e, ERR_PEER, "region %s is not known", region);
	p = passing_new(r, is_decoded, e);
	if (!p)
		return -1;
	rc = make_headers(p, e);
	if (rc == 0)
		rc = perform(p, region, was_sent, e);
	curl_slist_free_all(p->headers);
	if (rc < 0)
		buf_clear(&r->headers);
	unref(p);
	return rc;
}

void
forward_redirect(struct request *r, const char *s3_url)
{
	s3_error(r, 307, "TemporaryRedirect", "the account lives in another region");
	response_header(r, "Location", "%s%s", s3_url, r->target);
}
