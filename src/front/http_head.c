/* The request line and headers: what is refused, and what handlers may ask for.
 *
 * What could be read in two ways is refused, or somebody before us or behind us would read it in
 * the other way: two lengths, a length and an encoding, names that are no tokens, control
 * characters, broken escapes, a NUL.
 */
#include "front/http_internal.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/host.h"
#include "base/log.h"

/* --- reading --- */

/* RFC 9110, 5.6.2. */
static const bool in_tokens[256] = {
	['0' ... '9'] = true,
	['A' ... 'Z'] = true,
	['a' ... 'z'] = true,
	['!'] = true,
	['#' ... '\''] = true,
	['*'] = true,
	['+'] = true,
	['-'] = true,
	['.'] = true,
	['^' ... '`'] = true,
	['|'] = true,
	['~'] = true,
};

static bool
is_token(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!in_tokens[(unsigned char)s[i]])
			return false;
	return n > 0;
}

static bool
has_controls(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (((unsigned char)s[i] < ' ' && s[i] != '\t') || s[i] == 0x7f)
			return true;
	return false;
}

/* The first of its kind; a second one is bad. */
static void
only_one(struct http_request *h, bool *seen)
{
	h->is_bad |= *seen;
	*seen = true;
}

static void
read_length(struct http_request *h, const char *value, size_t n)
{
	only_one(h, &h->has_length);
	h->length = 0;
	h->is_bad |= !n || n > 18;
	for (size_t i = 0; i < n && !h->is_bad; i++) {
		h->is_bad |= !isdigit((unsigned char)value[i]);
		h->length = h->length * 10 + (uint64_t)(value[i] - '0');
	}
}

static void
read_special(struct http_request *h, const char *name, size_t name_len, const char *value, size_t n)
{
	if (name_len == 14 && !strcasecmp(name, "Content-Length")) {
		read_length(h, value, n);
	} else if (name_len == 17 && !strcasecmp(name, "Transfer-Encoding")) {
		only_one(h, &h->has_encoding);
		h->is_bad |= strcasecmp(value, "chunked") != 0;
	} else if (name_len == 4 && !strcasecmp(name, "Host")) {
		only_one(h, &h->has_host);
	} else if (name_len == 6 && !strcasecmp(name, "Expect")) {
		h->expects |= !strcasecmp(value, "100-continue");
	}
}

/* A header whose value goes on in the next line (RFC 9112, 5.2: to be refused). MHD 0.9.75 appends that
 * line to the name instead, which it moves for it: a folded Content-Length would be none, and the
 * body another request. So the value must lie where its name ends. */
static bool
is_folded(const char *name, size_t name_len, const char *value)
{
	const char *at = name + name_len + 1;

	while (at < value && (*at == ' ' || *at == '\t'))
		at++;
	return at != value;
}

/* One header more. A region adds some, and is no user. */
static bool
is_too_large(const struct http_request *h)
{
	size_t n = HTTP_HEADERS_MAX, bytes = h->r.front->head_bytes;

	if (h->r.is_peer) {
		n += HTTP_PEER_HEADERS;
		bytes += HTTP_PEER_BYTES;
	}
	return h->n_headers >= n || h->head_bytes > bytes;
}

static enum MHD_Result
see_header(void *arg, enum MHD_ValueKind kind, const char *name, size_t name_len, const char *value,
    size_t n)
{
	struct http_request *h = arg;

	(void)kind;
	h->head_bytes += name_len + n + 4;
	h->is_too_large = is_too_large(h);
	if (h->is_too_large)
		return MHD_NO;
	h->is_bad |= value && is_folded(name, name_len, value);
	if (!value)
		value = "";
	h->is_bad |= !is_token(name, name_len) || has_controls(value, n);
	read_special(h, name, name_len, value, n);
	h->headers[h->n_headers++] = (struct header){ name, value, name_len };
	return h->is_bad ? MHD_NO : MHD_YES;
}

/* Visible ASCII with whole escapes and no NUL, however written. */
static bool
is_good_target(const char *s)
{
	if (*s != '/')
		return false;
	for (; *s; s++) {
		uint8_t byte;
		char digits[3] = { 0 };

		if ((unsigned char)*s <= ' ' || *s == 0x7f)
			return false;
		if (*s != '%')
			continue;
		digits[0] = s[1];
		digits[1] = s[1] ? s[2] : '\0';
		if (!hex_parse(digits, &byte, 1) || !byte)
			return false;
		s += 2;
	}
	return true;
}

/* Of a target: no user, no escapes. */
static bool
is_good_host(const char *s)
{
	static const char bytes[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:[]";

	return *s && *s != ':' && !s[strspn(s, bytes)];
}

/* The id follows a request from region to region. */
static void
take_over_id(struct http_request *h)
{
	const char *id = request_header(&h->r, "x-domicile-id");
	uint8_t bytes[(REQUEST_ID_SIZE - 1) / 2];

	if (id && strlen(id) == REQUEST_ID_SIZE - 1 && hex_parse(id, bytes, sizeof bytes))
		memcpy(h->r.id, id, REQUEST_ID_SIZE);
}

/* VALUE instead of the header's own; NULL: leave it. */
static void
set_header(struct http_request *h, const char *name, const char *value)
{
	if (!value)
		return;
	for (size_t i = 0; i < h->n_headers; i++)
		if (!strcasecmp(h->headers[i].name, name)) {
			h->headers[i].value = value;
			return;
		}
	if (h->n_headers < ARRAY_LEN(h->headers))
		h->headers[h->n_headers++] = (struct header){ name, value, strlen(name) };
}

/* In place; '+' is a space, as in forms. The escapes were checked. */
static void
decode(char *s)
{
	char *to = s;

	for (; *s; s++) {
		char digits[3] = { 0 };

		if (*s != '%') {
			*to++ = *s == '+' ? ' ' : *s;
			continue;
		}
		memcpy(digits, s + 1, 2);
		hex_parse(digits, to++, 1);
		s += 2;
	}
	*to = '\0';
}

/* Cut the query into names and values. -1: no memory; without them another thing would be asked. */
static int
read_args(struct http_request *h)
{
	size_t n = 1;
	char *part, *rest;

	if (!*h->r.query)
		return 0;
	h->args = strdup(h->r.query);
	for (const char *s = h->r.query; *s; s++)
		n += *s == '&';
	h->arg = calloc(n, sizeof *h->arg);
	if (!h->args || !h->arg)
		return -1;
	rest = h->args;
	while ((part = strsep(&rest, "&"))) {
		char *value = strchr(part, '=');

		if (!*part)
			continue;
		if (value)
			*value++ = '\0', decode(value);
		decode(part);
		h->arg[h->n_args++] = (struct header){ part, value ? value : "", 0 };
	}
	return 0;
}

unsigned
http_head_read(struct http_request *h, struct MHD_Connection *conn, const char *method)
{
	size_t n = strlen(method);

	h->r.method = "";
	if (n >= sizeof h->method)
		return 501;
	memcpy(h->method, method, n + 1);
	h->r.method = h->method;
	h->length = UINT64_MAX;
	h->head_bytes = strlen(h->r.target) + (h->host ? strlen(h->host) : 0);
	MHD_get_connection_values_n(conn, MHD_HEADER_KIND, see_header, h);
	if (h->is_too_large)
		return 431;
	if (h->is_bad || (h->has_length && h->has_encoding) || !is_token(method, n) ||
	    !is_good_target(h->r.target) || (h->host && !is_good_host(h->host)))
		return 400;
	set_header(h, "Host", h->host);
	if (!h->has_length && !h->has_encoding)
		h->length = 0;
	if (h->listener->kind == LISTEN_PEER) {
		take_over_id(h);
		/* A body that another region has decoded has another length than the one that may be signed. */
		set_header(h, "Content-Length", request_header(&h->r, "x-domicile-length"));
	}
	return read_args(h) < 0 ? 503 : 0;
}

int
http_head_own(struct http_request *h)
{
	size_t bytes = 1;
	char *to;

	if (h->owned)
		return 0;
	for (size_t i = 0; i < h->n_headers; i++)
		bytes += strlen(h->headers[i].name) + strlen(h->headers[i].value) + 2;
	to = h->owned = malloc(bytes);
	if (!to)
		return -1;
	for (size_t i = 0; i < h->n_headers; i++) {
		struct header *at = &h->headers[i];
		char *name = to, *value = stpcpy(name, at->name) + 1;

		to = stpcpy(value, at->value) + 1;
		*at = (struct header){ name, value, at->name_len };
	}
	return 0;
}

void
http_head_free(struct http_request *h)
{
	free(h->owned);
	free(h->args);
	free(h->arg);
}

/* --- asking --- */

void
request_show(struct request *r, const struct request_field *fields, size_t n)
{
	struct http_request *h = http_of(r);

	h->shown = fields;
	h->n_shown = n;
}

const char *
request_header(struct request *r, const char *name)
{
	const struct http_request *h = http_of(r);
	size_t n = strlen(name);

	if (h->shown) {
		for (size_t i = 0; i < h->n_shown; i++)
			if (!strcasecmp(h->shown[i].name, name))
				return h->shown[i].value;
		return NULL;
	}
	for (size_t i = 0; i < h->n_headers; i++)
		if (h->headers[i].name_len == n && !strcasecmp(h->headers[i].name, name))
			return h->headers[i].value;
	return NULL;
}

void
request_each_header(
    struct request *r, void (*fn)(void *arg, const char *name, const char *value), void *arg)
{
	const struct http_request *h = http_of(r);

	for (size_t i = 0; i < h->n_shown; i++)
		fn(arg, h->shown[i].name, h->shown[i].value);
	for (size_t i = 0; !h->shown && i < h->n_headers; i++)
		fn(arg, h->headers[i].name, h->headers[i].value);
}

const char *
request_arg(struct request *r, const char *name)
{
	const struct http_request *h = http_of(r);

	for (size_t i = 0; i < h->n_args; i++)
		if (!strcmp(h->arg[i].name, name))
			return h->arg[i].value;
	return NULL;
}

void
request_each_arg(
    struct request *r, void (*fn)(void *arg, const char *name, const char *value), void *arg)
{
	const struct http_request *h = http_of(r);

	for (size_t i = 0; i < h->n_args; i++)
		fn(arg, h->arg[i].name, h->arg[i].value);
}

uint64_t
request_length(struct request *r)
{
	const struct http_request *h = http_of(r);

	return h->has_length ? h->length : UINT64_MAX;
}
