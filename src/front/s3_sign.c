/* s3_sign.c - see s3_sign.h.
 *
 * What is checked is computed from the raw request: path and query are percent-decoded and encoded
 * again, so that two spellings of one request have one signature. A '+' is a plus in the path and a
 * space in the query, as request_arg has it.
 */
#include "front/s3_sign.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/id.h"
#include "front/forward.h"

#define ALGORITHM     "AWS4-HMAC-SHA256"
#define UNSIGNED      "UNSIGNED-PAYLOAD"
#define SKEW_MS       ((uint64_t)15 * 60 * 1000)
#define EXPIRES_MAX   604800u /* 7 days in seconds */
#define HEADERS_MAX   200
#define FEW_ARGS      16
#define CANONICAL_MAX ((size_t)1 << 20)

/* x-amz-content-sha256 of bodies in chunks. */
static const char *const streaming[] = {
	[PAYLOAD_STREAMING_SIGNED] = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
	[PAYLOAD_STREAMING_SIGNED_TRAILER] = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
	[PAYLOAD_STREAMING_UNSIGNED_TRAILER] = "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
};

static int
refuse(const char **code, const char *what, struct err *e, enum err_kind kind, const char *text)
{
	*code = what;
	return err_set(e, kind, "%s", text);
}

/* --- percent-encoding --- */

/* RFC 3986's unreserved characters. */
static const bool is_unreserved[256] = {
	['A' ... 'Z'] = true,
	['a' ... 'z'] = true,
	['0' ... '9'] = true,
	['-'] = true,
	['.'] = true,
	['_'] = true,
	['~'] = true,
};

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The next decoded byte of *P, which is before END; a '%' without two digits is itself. */
static uint8_t
next_byte(const char **p, const char *end)
{
	const char *s = *p;

	if (*s == '%' && end - s > 2 && hex_value(s[1]) >= 0 && hex_value(s[2]) >= 0) {
		*p = s + 3;
		return (uint8_t)(hex_value(s[1]) << 4 | hex_value(s[2]));
	}
	*p = s + 1;
	return (uint8_t)*s;
}

/* Encode what the N bytes at P decode to; OUT has 3 * N bytes. Returns the end. */
static uint8_t *
encode_again(uint8_t *out, const char *p, size_t n, bool is_path)
{
	static const char digits[] = "0123456789ABCDEF";
	const char *end = p + n;

	while (p < end) {
		bool is_space = !is_path && *p == '+';
		uint8_t c = next_byte(&p, end);

		if (is_space)
			c = ' ';
		if (is_unreserved[c] || (is_path && c == '/')) {
			*out++ = c;
		} else {
			*out++ = '%';
			*out++ = (uint8_t)digits[c >> 4];
			*out++ = (uint8_t)digits[c & 15];
		}
	}
	return out;
}

static bool
decodes_to(const char *p, size_t n, const char *text)
{
	const char *end = p + n;

	while (p < end && *text) {
		if (next_byte(&p, end) != (uint8_t)*text++)
			return false;
	}
	return p == end && !*text;
}

/* The next argument of *QUERY: its name and value as they stand; false after the last. */
static bool
next_arg(const char **query, const char **name, size_t *name_len, const char **value, size_t *n)
{
	const char *p = *query + strspn(*query, "&");
	size_t len = strcspn(p, "&");
	const char *equals = memchr(p, '=', len);

	if (!len)
		return false;
	*name = p;
	*name_len = equals ? (size_t)(equals - p) : len;
	*value = equals ? equals + 1 : p + len;
	*n = (size_t)(p + len - *value);
	*query = p + len;
	return true;
}

/* The first argument NAME, decoded: 1; 0: none; -1: it has a NUL or does not fit. */
static int
query_arg(const char *query, const char *name, char *out, size_t size)
{
	const char *found, *value, *end;
	size_t name_len, n;
	char *start = out;

	while (next_arg(&query, &found, &name_len, &value, &n)) {
		if (!decodes_to(found, name_len, name))
			continue;
		for (end = value + n; value < end; out++) {
			if ((size_t)(out - start) + 1 >= size)
				return -1;
			*out = (char)next_byte(&value, end);
			if (!*out)
				return -1;
		}
		*out = '\0';
		return 1;
	}
	return 0;
}

/* --- the claim's fields --- */

static bool
digits_parse(const char *p, size_t n, unsigned *out)
{
	*out = 0;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		*out = *out * 10 + (unsigned)(p[i] - '0');
	}
	return true;
}

/* "20130524T000000Z". */
bool
sign_time_parse(const char *text, uint64_t *out_ms)
{
	unsigned year, month, day, hour, minute, second;
	struct tm tm;

	if (strlen(text) != 16 || text[8] != 'T' || text[15] != 'Z' ||
	    !digits_parse(text, 4, &year) || !digits_parse(text + 4, 2, &month) ||
	    !digits_parse(text + 6, 2, &day) || !digits_parse(text + 9, 2, &hour) ||
	    !digits_parse(text + 11, 2, &minute) || !digits_parse(text + 13, 2, &second))
		return false;
	if (year < 1970 || !month || month > 12 || !day || day > 31 || hour > 23 || minute > 59 ||
	    second > 60)
		return false;
	tm = (struct tm){ .tm_year = (int)year - 1900,
		.tm_mon = (int)month - 1,
		.tm_mday = (int)day,
		.tm_hour = (int)hour,
		.tm_min = (int)minute,
		.tm_sec = (int)second };
	*out_ms = (uint64_t)timegm(&tm) * 1000;
	return true;
}

/* A Date header, in HTTP's form or in AWS's. */
static bool
date_header_parse(const char *text, struct sign_claim *c)
{
	struct tm tm = { 0 };
	const char *rest;
	time_t seconds;

	if (sign_time_parse(text, &c->time_ms)) {
		memcpy(c->time, text, sizeof c->time);
		return true;
	}
	rest = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	if (!rest || *rest)
		return false;
	seconds = timegm(&tm);
	if (seconds < 0 || tm.tm_year > 9999 - 1900)
		return false;
	c->time_ms = (uint64_t)seconds * 1000;
	return strftime(c->time, sizeof c->time, "%Y%m%dT%H%M%SZ", &tm) == sizeof c->time - 1;
}

/* One field of the credential up to STOP, of visible characters, into OUT. Returns what follows. */
static const char *
field_copy(const char *p, char stop, char *out, size_t size)
{
	size_t n = 0;

	if (!p)
		return NULL;
	for (; p[n] && p[n] != stop; n++) {
		if (p[n] <= ' ' || p[n] >= 0x7f || n + 1 >= size)
			return NULL;
		out[n] = p[n];
	}
	out[n] = '\0';
	if (!n || p[n] != stop)
		return NULL;
	return stop ? p + n + 1 : p + n;
}

/* "AKID/20130524/us-east-1/s3/aws4_request". */
bool
sign_credential_parse(const char *p, struct sign_claim *c)
{
	unsigned number;

	p = field_copy(p, '/', c->access_key, sizeof c->access_key);
	p = field_copy(p, '/', c->date, sizeof c->date);
	p = field_copy(p, '/', c->region, sizeof c->region);
	p = field_copy(p, '/', c->service, sizeof c->service);
	return p && !strcmp(p, "aws4_request") && strlen(c->date) == 8 &&
	    digits_parse(c->date, 8, &number);
}

/* Names in lower case with ';' between them. */
static bool
signed_headers_valid(const char *p)
{
	size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~;");

	return n && !p[n] && p[0] != ';' && p[n - 1] != ';' && !strstr(p, ";;");
}

static int
decoded_length_parse(struct request *r, struct sign_claim *c, const char **code, struct err *e)
{
	const char *length = request_header(r, "x-amz-decoded-content-length");
	char *end;

	if (!length || !*length || strspn(length, "0123456789") != strlen(length))
		return refuse(code, "MissingContentLength", e, ERR_BAD,
		    "a streamed body needs x-amz-decoded-content-length");
	errno = 0;
	c->decoded_length = strtoull(length, &end, 10);
	if (errno || *end)
		return refuse(code, "InvalidArgument", e, ERR_BAD,
		    "x-amz-decoded-content-length is not a length");
	return 0;
}

static int
trailer_parse(struct request *r, struct sign_claim *c, const char **code, struct err *e)
{
	const char *name = request_header(r, "x-amz-trailer");
	size_t n = name ? strlen(name) : 0;

	if (!n || n >= sizeof c->trailer || strpbrk(name, " \t,:\r\n"))
		return refuse(code, "InvalidRequest", e, ERR_BAD,
		    "x-amz-trailer has to name the header that follows the body");
	for (size_t i = 0; i <= n; i++)
		c->trailer[i] = (char)tolower((uint8_t)name[i]);
	return 0;
}

/* The payload's hash or one of the words that stand for it. */
static int
payload_parse(
    struct request *r, const char *text, struct sign_claim *c, const char **code, struct err *e)
{
	if (!strcmp(text, UNSIGNED)) {
		c->payload = PAYLOAD_UNSIGNED;
		return 0;
	}
	if (hex_parse(text, c->payload_sha256, SHA256_BYTES)) {
		c->payload = PAYLOAD_HASH;
		return 0;
	}
	for (size_t i = PAYLOAD_STREAMING_SIGNED; i < ARRAY_LEN(streaming); i++) {
		if (!strcmp(text, streaming[i]))
			c->payload = (enum payload_kind)i;
	}
	if (!payload_is_chunked(c->payload))
		return !strncmp(text, "STREAMING-", 10)
		    ? refuse(code, "NotImplemented", e, ERR_BAD,
		          "this way of signing a streamed body is not implemented")
		    : refuse(code, "InvalidArgument", e, ERR_BAD,
		          "x-amz-content-sha256 must be " UNSIGNED ", one of the words that "
		          "begin with STREAMING-, or a SHA-256 in hexadecimal");
	if (decoded_length_parse(r, c, code, e) < 0)
		return -1;
	return payload_has_trailer(c->payload) ? trailer_parse(r, c, code, e) : 0;
}

/* --- the header's form --- */

static int
malformed(const char **code, struct err *e, const char *text)
{
	return refuse(code, "AuthorizationHeaderMalformed", e, ERR_BAD, text);
}

/* The value of "NAME=" in the list at P, into OUT; false if it is not there once and fits. */
static bool
authorization_field(const char *p, const char *name, char *out, size_t size)
{
	size_t name_len = strlen(name), n;
	bool found = false;

	while (*(p += strspn(p, " ,\t"))) {
		n = strcspn(p, " ,\t");
		if (n > name_len && !strncmp(p, name, name_len) && p[name_len] == '=') {
			size_t len = n - name_len - 1;

			if (found || len >= size)
				return false;
			memcpy(out, p + name_len + 1, len);
			out[len] = '\0';
			found = true;
		}
		p += n;
	}
	return found;
}

static int
header_time(struct request *r, struct sign_claim *c, const char **code, struct err *e)
{
	const char *text = request_header(r, "x-amz-date");

	if (text) {
		if (!sign_time_parse(text, &c->time_ms))
			return refuse(code, "AccessDenied", e, ERR_DENIED,
			    "x-amz-date must look like 20130524T000000Z");
		memcpy(c->time, text, sizeof c->time);
		return 0;
	}
	text = request_header(r, "date");
	if (!text || !date_header_parse(text, c))
		return refuse(code, "AccessDenied", e, ERR_DENIED,
		    "authentication requires a valid Date or x-amz-date header");
	return 0;
}

static int
header_parse(struct request *r, const char *authorization, struct sign_claim *c, const char **code,
    struct err *e)
{
	char credential[160], signature[2 * SHA256_BYTES + 1];
	const char *payload;

	if (strncmp(authorization, ALGORITHM, sizeof ALGORITHM - 1) != 0 ||
	    authorization[sizeof ALGORITHM - 1] != ' ')
		return refuse(code, "InvalidRequest", e, ERR_BAD,
		    "requests must be signed with Signature Version 4 (" ALGORITHM ")");
	authorization += sizeof ALGORITHM;
	if (!authorization_field(authorization, "Credential", credential, sizeof credential) ||
	    !sign_credential_parse(credential, c))
		return malformed(code, e, "Credential must be KEY/yyyymmdd/REGION/s3/aws4_request");
	if (!authorization_field(
	        authorization, "SignedHeaders", c->signed_headers, sizeof c->signed_headers) ||
	    !signed_headers_valid(c->signed_headers))
		return malformed(
		    code, e, "SignedHeaders must be names in lower case, with ';' between");
	if (!authorization_field(authorization, "Signature", signature, sizeof signature) ||
	    !hex_parse(signature, c->signature, SHA256_BYTES))
		return malformed(code, e, "Signature must have 64 hexadecimal digits");
	if (header_time(r, c, code, e) < 0)
		return -1;
	payload = request_header(r, "x-amz-content-sha256");
	if (!payload)
		return refuse(code, "MissingSecurityHeader", e, ERR_BAD,
		    "the request needs the header x-amz-content-sha256");
	return payload_parse(r, payload, c, code, e) < 0 ? -1 : 1;
}

/* --- the query's form --- */

static int
bad_query(const char **code, struct err *e, const char *text)
{
	return refuse(code, "AuthorizationQueryParametersError", e, ERR_BAD, text);
}

static int
presigned_parse(struct request *r, struct sign_claim *c, const char **code, struct err *e)
{
	char text[160];
	const char *payload = request_header(r, "x-amz-content-sha256"), *q = r->query;
	unsigned expires;

	c->is_presigned = true;
	if (query_arg(q, "X-Amz-Signature", text, sizeof text) <= 0 ||
	    !hex_parse(text, c->signature, SHA256_BYTES))
		return bad_query(code, e, "X-Amz-Signature must have 64 hexadecimal digits");
	if (query_arg(q, "X-Amz-Algorithm", text, sizeof text) <= 0 || strcmp(text, ALGORITHM) != 0)
		return bad_query(code, e, "X-Amz-Algorithm must be " ALGORITHM);
	if (query_arg(q, "X-Amz-Credential", text, sizeof text) <= 0 ||
	    !sign_credential_parse(text, c))
		return bad_query(
		    code, e, "X-Amz-Credential must be KEY/yyyymmdd/REGION/s3/aws4_request");
	if (query_arg(q, "X-Amz-Date", c->time, sizeof c->time) <= 0 ||
	    !sign_time_parse(c->time, &c->time_ms))
		return bad_query(code, e, "X-Amz-Date must look like 20130524T000000Z");
	if (query_arg(q, "X-Amz-Expires", text, sizeof text) <= 0 || !*text || strlen(text) > 6 ||
	    !digits_parse(text, strlen(text), &expires) || !expires || expires > EXPIRES_MAX)
		return bad_query(code, e, "X-Amz-Expires must be between 1 and 604800 seconds");
	c->expires_s = expires;
	if (query_arg(q, "X-Amz-SignedHeaders", c->signed_headers, sizeof c->signed_headers) <= 0 ||
	    !signed_headers_valid(c->signed_headers))
		return bad_query(
		    code, e, "X-Amz-SignedHeaders must be names in lower case, with ';' between");
	if (!payload) {
		int rc = query_arg(q, "X-Amz-Content-Sha256", text, sizeof text);

		if (rc < 0)
			return bad_query(code, e, "X-Amz-Content-Sha256 is malformed");
		payload = rc ? text : UNSIGNED;
	}
	return payload_parse(r, payload, c, code, e) < 0 ? -1 : 1;
}

/* The query names the argument: it may be there and still be malformed. */
static bool
has_arg(const char *query, const char *name)
{
	char c[2];

	return *query && query_arg(query, name, c, sizeof c) != 0;
}

int
sign_parse(struct request *r, struct sign_claim *c, const char **code, struct err *e)
{
	const char *authorization = request_header(r, "authorization");
	bool is_presigned = has_arg(r->query, "X-Amz-Signature");

	memset(c, 0, sizeof *c);
	if (authorization && is_presigned)
		return refuse(code, "InvalidArgument", e, ERR_BAD,
		    "a request is signed in its headers or in its query, not in both");
	if (authorization)
		return header_parse(r, authorization, c, code, e);
	if (is_presigned)
		return presigned_parse(r, c, code, e);
	if (has_arg(r->query, "AWSAccessKeyId"))
		return refuse(code, "InvalidRequest", e, ERR_BAD,
		    "requests must be signed with Signature Version 4 (" ALGORITHM ")");
	return 0;
}

/* --- the canonical request --- */

struct arg {
	const uint8_t *name, *value;
	size_t name_len, value_len;
};

static int
compare_bytes(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return order ? order : (a_len > b_len) - (a_len < b_len);
}

static int
compare_args(const void *a, const void *b)
{
	const struct arg *x = a, *y = b;
	int order = compare_bytes(x->name, x->name_len, y->name, y->name_len);

	return order ? order : compare_bytes(x->value, x->value_len, y->value, y->value_len);
}

static size_t
encode_args(const char *query, bool is_presigned, uint8_t *text, struct arg *args)
{
	const char *name, *value;
	size_t name_len, value_len, n = 0;

	while (next_arg(&query, &name, &name_len, &value, &value_len)) {
		struct arg *a = &args[n];

		if (is_presigned && decodes_to(name, name_len, "X-Amz-Signature"))
			continue;
		a->name = text;
		text = encode_again(text, name, name_len, false);
		a->name_len = (size_t)(text - a->name);
		a->value = text;
		text = encode_again(text, value, value_len, false);
		a->value_len = (size_t)(text - a->value);
		n++;
	}
	return n;
}

static int
add_query(struct buf *b, const char *query, bool is_presigned, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(CANONICAL_MAX);
	_cleanup_(freep) struct arg *many = NULL;
	struct arg few[FEW_ARGS], *args = few;
	size_t n = 1;
	uint8_t *room;

	if (!*query)
		return 0;
	for (const char *p = query; (p = strchr(p, '&')); p++)
		n++;
	if (n > FEW_ARGS)
		args = many = malloc(n * sizeof *args);
	room = buf_room(&text, 3 * strlen(query));
	if (!room || !args)
		return room ? err_set(e, ERR_MEMORY, "no memory") : buf_check(&text, e);
	n = encode_args(query, is_presigned, room, args);
	if (n > 1)
		qsort(args, n, sizeof *args, compare_args);
	for (size_t i = 0; i < n; i++) {
		if (i)
			buf_add_char(b, '&');
		buf_add(b, args[i].name, args[i].name_len);
		buf_add_char(b, '=');
		buf_add(b, args[i].value, args[i].value_len);
	}
	return 0;
}

/* The request's headers; names and values belong to the request. */
struct header {
	const char *name, *value;
	size_t name_len;
	bool is_signed;
};

struct headers {
	size_t n;
	size_t bytes; /* of the values */
	bool is_over;
	struct header h[HEADERS_MAX];
};

static void
collect_header(void *arg, const char *name, const char *value)
{
	struct headers *all = arg;

	if (all->n == HEADERS_MAX) {
		all->is_over = true;
		return;
	}
	all->h[all->n++] = (struct header){ name, value ? value : "", strlen(name), false };
	all->bytes += value ? strlen(value) : 0;
}

/* VALUE trimmed, runs of spaces made one. */
static void
add_value(struct buf *b, const char *value)
{
	size_t n, run;

	value += strspn(value, " \t");
	n = strlen(value);
	while (n && (value[n - 1] == ' ' || value[n - 1] == '\t'))
		n--;
	while (n) {
		const char *gap = memmem(value, n, "  ", 2);

		run = gap ? (size_t)(gap - value) + 1 : n;
		buf_add(b, value, run);
		value += run;
		n -= run;
		while (n && gap && *value == ' ')
			value++, n--;
	}
}

/* Whether H is PREFIX and NAME. */
static bool
is_header(const struct header *h, const char *prefix, const char *name, size_t n)
{
	size_t before = strlen(prefix);

	return h->name_len == before + n && !strncasecmp(h->name, prefix, before) &&
	    !strncasecmp(h->name + before, name, n);
}

/* FORWARD_HOP if NAME was about the connection to the region that passed the request on; else "". Of no
 * other header, and from nobody else, or what was signed could be shown beside what is carried out. */
static const char *
prefix_of(const struct request *r, const struct headers *all, const char *name, size_t n)
{
	if (!r->is_peer || !forward_is_hop(name, n))
		return "";
	for (size_t i = 0; i < all->n; i++)
		if (is_header(&all->h[i], FORWARD_HOP, name, n))
			return FORWARD_HOP;
	return "";
}

/* Each signed header's line, in the order of the claim. */
static int
add_headers(const struct request *r, struct buf *b, struct headers *all, const struct sign_claim *c,
    const char **code, struct err *e)
{
	const char *name = c->signed_headers;

	for (;;) {
		size_t n = strcspn(name, ";");
		const char *prefix = prefix_of(r, all, name, n);
		bool found = false;

		buf_add(b, name, n);
		buf_add_char(b, ':');
		for (size_t i = 0; i < all->n; i++) {
			struct header *h = &all->h[i];

			if (!is_header(h, prefix, name, n))
				continue;
			if (found)
				buf_add_char(b, ',');
			add_value(b, h->value);
			h->is_signed = found = true;
		}
		buf_add_char(b, '\n');
		if (!found) {
			*code = "SignatureDoesNotMatch";
			return err_set(e, ERR_DENIED, "the signed header '%.*s' is not there",
			    (int)(n < 60 ? n : 60), name);
		}
		if (!name[n])
			return 0;
		name += n + 1;
	}
}

static int
check_all_signed(const struct headers *all, const char **code, struct err *e)
{
	bool has_host = false;

	for (size_t i = 0; i < all->n; i++) {
		const struct header *h = &all->h[i];

		if (h->is_signed)
			has_host |= !strcasecmp(h->name, "host");
		else if (!strncasecmp(h->name, "x-amz-", 6))
			return refuse(code, "AccessDenied", e, ERR_DENIED,
			    "a header that begins with x-amz- was sent but not signed");
	}
	if (!has_host)
		return refuse(
		    code, "AccessDenied", e, ERR_DENIED, "the header host must be signed");
	return 0;
}

static void
add_payload(struct buf *b, const struct sign_claim *c)
{
	char hex[2 * SHA256_BYTES + 1];

	switch (c->payload) {
	case PAYLOAD_HASH:
		hex_text(c->payload_sha256, SHA256_BYTES, hex);
		buf_add(b, hex, sizeof hex - 1);
		break;
	case PAYLOAD_UNSIGNED:
		buf_add_str(b, UNSIGNED);
		break;
	case PAYLOAD_STREAMING_SIGNED:
	case PAYLOAD_STREAMING_SIGNED_TRAILER:
	case PAYLOAD_STREAMING_UNSIGNED_TRAILER:
		buf_add_str(b, streaming[c->payload]);
		break;
	}
}

static int
canonical_hash(struct request *r, const struct sign_claim *c, uint8_t out[static SHA256_BYTES],
    const char **code, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(CANONICAL_MAX);
	size_t path_len = strlen(r->path), query_len = strlen(r->query);
	struct headers all;
	uint8_t *room;

	all.n = all.bytes = 0;
	all.is_over = false;
	request_each_header(r, collect_header, &all);
	if (all.is_over)
		return refuse(code, "InvalidRequest", e, ERR_TOO_BIG, "too many headers");

	/* Room for all of it at once, in nearly every case. */
	buf_room(&b, 3 * (path_len + query_len) + all.bytes + 2 * strlen(c->signed_headers));
	buf_add_str(&b, r->method);
	buf_add_char(&b, '\n');
	room = buf_room(&b, 3 * path_len);
	if (room)
		b.len += (size_t)(encode_again(room, r->path, path_len, true) - room);
	if (!path_len)
		buf_add_char(&b, '/');
	buf_add_char(&b, '\n');
	if (add_query(&b, r->query, c->is_presigned, e) < 0)
		return -1;
	buf_add_char(&b, '\n');
	if (add_headers(r, &b, &all, c, code, e) < 0 || check_all_signed(&all, code, e) < 0)
		return -1;
	buf_add_char(&b, '\n');
	buf_add_str(&b, c->signed_headers);
	buf_add_char(&b, '\n');
	add_payload(&b, c);
	if (buf_check(&b, e) < 0)
		return -1;
	sha256(b.data, b.len, out);
	return 0;
}

/* --- all together --- */

static int
check_time(const struct sign_claim *c, uint64_t now_ms, const char **code, struct err *e)
{
	bool is_early = c->time_ms > now_ms && c->time_ms - now_ms > SKEW_MS;

	if (c->is_presigned) {
		if (is_early)
			return refuse(
			    code, "AccessDenied", e, ERR_DENIED, "Request is not valid yet");
		if (now_ms > c->time_ms && now_ms - c->time_ms > c->expires_s * 1000)
			return refuse(code, "AccessDenied", e, ERR_DENIED, "Request has expired");
		return 0;
	}
	if (is_early || (now_ms > c->time_ms && now_ms - c->time_ms > SKEW_MS))
		return refuse(code, "RequestTimeTooSkewed", e, ERR_DENIED,
		    "the request's time and ours are more than 15 minutes apart");
	return 0;
}

int
sign_check_request(struct request *r, const struct sign_claim *c,
    const uint8_t signing_key[static SHA256_BYTES], uint64_t now_ms, const char **code,
    struct err *e)
{
	uint8_t hash[SHA256_BYTES], should[SHA256_BYTES];
	char text[sizeof ALGORITHM "\n\n///aws4_request\n" + sizeof c->time + sizeof c->date +
	    sizeof c->region + sizeof c->service + (size_t)2 * SHA256_BYTES];
	char *end = text;

	if (check_time(c, now_ms, code, e) < 0)
		return -1;
	if (memcmp(c->date, c->time, 8) != 0)
		return refuse(code, "SignatureDoesNotMatch", e, ERR_DENIED,
		    "the credential's date is not the request's");
	if (canonical_hash(r, c, hash, code, e) < 0)
		return -1;
	end = stpcpy(stpcpy(stpcpy(end, ALGORITHM "\n"), c->time), "\n");
	end = stpcpy(stpcpy(stpcpy(end, c->date), "/"), c->region);
	end = stpcpy(stpcpy(stpcpy(end, "/"), c->service), "/aws4_request\n");
	hex_text(hash, sizeof hash, end);
	hmac_sha256(signing_key, SHA256_BYTES, text, strlen(text), should);
	if (!same_secret(should, c->signature, SHA256_BYTES))
		return refuse(code, "SignatureDoesNotMatch", e, ERR_DENIED,
		    "the signature is not the one that the request should have");
	return 0;
}
