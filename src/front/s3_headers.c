/* s3_headers.c - what an S3 request says in its path and headers, and what an answer says back.
 *
 * Sources: Amazon S3 API Reference (conditions and their precedence, metadata limits), RFC 9110
 * (ranges, dates, entity tags).
 */
#include "front/s3_private.h"

#include "base/host.h"
#include "directory/peer.h"
#include "front/s3_checksum.h"
#include "front/s3_tags.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* --- the path --- */

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Length of the UTF-8 sequence at P (at most N bytes), or 0: overlong, surrogate, past U+10FFFF. */
static size_t
utf8_length(const uint8_t *p, size_t n)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = p[0] < 0x80 ? 1
	    : p[0] >> 5 == 6     ? 2
	    : p[0] >> 4 == 14    ? 3
	    : p[0] >> 3 == 30    ? 4
	                         : 0;
	uint32_t code;

	if (!len || len > n)
		return 0;
	if (len == 1)
		return 1;
	code = p[0] & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if (p[i] >> 6 != 2)
			return 0;
		code = code << 6 | (p[i] & 0x3f);
	}
	if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	return len;
}

bool
s3_is_utf8(const char *text, size_t n)
{
	for (size_t at = 0, len; at < n; at += len) {
		len = utf8_length((const uint8_t *)text + at, n - at);
		if (!len)
			return false;
	}
	return true;
}

int
s3_decode(const char *in, size_t n, char *out, size_t size, bool *is_long)
{
	size_t used = 0;

	*is_long = false;
	for (size_t i = 0; i < n; i++) {
		int c = (uint8_t)in[i];

		if (c == '%') {
			int high = i + 2 < n ? hex_digit(in[i + 1]) : -1;
			int low = high >= 0 ? hex_digit(in[i + 2]) : -1;

			if (low < 0)
				return -1;
			c = high << 4 | low;
			i += 2;
		}
		if (!c)
			return -1;
		if (used + 1 >= size) {
			*is_long = true;
			return -1;
		}
		out[used++] = (char)c;
	}
	out[used] = '\0';
	return s3_is_utf8(out, used) ? 0 : -1;
}

/* What follows the bucket: nothing, or '/' and perhaps a key. */
static const char *
key_of_path(const char *slash, enum s3_level *level, char key[static FILES_KEY_MAX + 1])
{
	bool is_long;

	*level = LEVEL_BUCKET;
	if (!slash[0] || !slash[1])
		return NULL;
	*level = LEVEL_KEY;
	if (s3_decode(slash + 1, strlen(slash + 1), key, FILES_KEY_MAX + 1, &is_long) < 0)
		return is_long ? "KeyTooLongError" : "InvalidURI";
	return NULL;
}

const char *
s3_path(const char *path, enum s3_level *level, char bucket[static FILES_BUCKET_MAX + 1],
    char key[static FILES_KEY_MAX + 1])
{
	const char *slash;
	bool is_long;

	bucket[0] = key[0] = '\0';
	if (path[0] != '/')
		return "InvalidURI";
	*level = LEVEL_ROOT;
	if (!path[1])
		return NULL;
	slash = strchrnul(path + 1, '/');
	if (s3_decode(
	        path + 1, (size_t)(slash - path - 1), bucket, FILES_BUCKET_MAX + 1, &is_long) < 0)
		return is_long ? "InvalidBucketName" : "InvalidURI";
	if (!bucket[0] || strchr(bucket, '/'))
		return "InvalidBucketName";
	return key_of_path(slash, level, key);
}

bool
s3_is_virtual(struct request *r, char bucket[static FILES_BUCKET_MAX + 1])
{
	const char *host = request_header(r, "host");

	return host && r->node->peers &&
	    peers_bucket_of_host(r->node->peers, host, bucket, FILES_BUCKET_MAX + 1);
}

const char *
s3_place(struct request *r, enum s3_level *level, char bucket[static FILES_BUCKET_MAX + 1],
    char key[static FILES_KEY_MAX + 1])
{
	if (!s3_is_virtual(r, bucket))
		return s3_path(r->path, level, bucket, key);
	key[0] = '\0';
	*level = LEVEL_BUCKET;
	return bucket[0] ? key_of_path(r->path, level, key) : "InvalidBucketName";
}

/* --- numbers, ranges --- */

/* Decimal digits only; UINT64_MAX if it does not fit. */
static bool
digits(const char **p, uint64_t *out)
{
	uint64_t v = 0;
	const char *s = *p;

	if (!isdigit((uint8_t)*s))
		return false;
	for (; isdigit((uint8_t)*s); s++) {
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			v = UINT64_MAX;
	}
	*p = s;
	*out = v;
	return true;
}

int
s3_number(
    const char *text, const char *name, unsigned min, unsigned max, unsigned *out, struct err *e)
{
	uint64_t v;

	if (!text)
		return 0;
	if (!digits(&text, &v) || *text || v < min || v == UINT64_MAX)
		return err_set(e, ERR_BAD, "%s is not a number from %u to %u", name, min, max);
	*out = v > max ? max : (unsigned)v;
	return 0;
}

enum s3_range
s3_range(const char *value, uint64_t size, uint64_t *offset, uint64_t *n)
{
	uint64_t first, last = UINT64_MAX;

	*offset = 0;
	*n = size;
	if (!value || strncasecmp(value, "bytes=", 6) != 0)
		return RANGE_ALL;
	value += 6;
	if (*value == '-') {
		value++;
		if (!digits(&value, &last) || *value)
			return RANGE_ALL;
		if (!last || !size)
			return RANGE_OUTSIDE;
		*n = last < size ? last : size;
		*offset = size - *n;
		return RANGE_PART;
	}
	if (!digits(&value, &first) || *value++ != '-')
		return RANGE_ALL;
	if (*value && (!digits(&value, &last) || *value || last < first))
		return RANGE_ALL;
	if (first >= size)
		return RANGE_OUTSIDE;
	*offset = first;
	*n = (last < size - 1 ? last : size - 1) - first + 1;
	return RANGE_PART;
}

/* --- dates, entity tags, conditions --- */

bool
s3_date_parse(const char *text, uint64_t *wall_ms)
{
	static const char *const forms[] = {
		"%a, %d %b %Y %H:%M:%S GMT",
		"%A, %d-%b-%y %H:%M:%S GMT",
		"%a %b %e %H:%M:%S %Y",
	};

	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		struct tm tm = { 0 };
		const char *end = strptime(text, forms[i], &tm);
		time_t t;

		if (!end || *end)
			continue;
		t = timegm(&tm);
		if (t < 0)
			return false;
		*wall_ms = (uint64_t)t * 1000;
		return true;
	}
	return s3_time_parse(text, wall_ms);
}

void
s3_etag_bare(const char *value, char *out, size_t size)
{
	size_t n;

	if (!value)
		value = "";
	if (!strncmp(value, "W/", 2))
		value += 2;
	n = strlen(value);
	if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
		value++;
		n -= 2;
	}
	snprintf(out, size, "%.*s", (int)n, value);
}

bool
s3_etag_in(const char *list, const char *etag)
{
	while (*list) {
		size_t n = strcspn(list, ",");
		const char *end = list + n;
		char one[160], bare[80];

		while (n && isspace((uint8_t)*list))
			list++, n--;
		while (n && isspace((uint8_t)list[n - 1]))
			n--;
		snprintf(one, sizeof one, "%.*s", (int)n, list);
		s3_etag_bare(one, bare, sizeof bare);
		if (!strcmp(bare, "*") || !strcmp(bare, etag))
			return true;
		list = *end ? end + 1 : end;
	}
	return false;
}

/* Whether the object changed after the date TEXT; a date that is none does not count. */
static bool
is_newer(const struct object_info *i, const char *text, bool otherwise)
{
	uint64_t when;

	return s3_date_parse(text, &when) ? i->modified_ms / 1000 > when / 1000 : otherwise;
}

unsigned
s3_conditions(const struct s3_conditions *c, const struct object_info *i)
{
	if (c->match) {
		if (!s3_etag_in(c->match, i->etag))
			return 412;
	} else if (c->unmodified_since && is_newer(i, c->unmodified_since, false)) {
		return 412;
	}
	if (c->none_match)
		return s3_etag_in(c->none_match, i->etag) ? 304 : 0;
	return c->modified_since && !is_newer(i, c->modified_since, true) ? 304 : 0;
}

static const char *const etag_headers[] = { "if-match", "if-none-match",
	"x-amz-copy-source-if-match", "x-amz-copy-source-if-none-match" };

static void
count_etags(void *arg, const char *name, const char *value)
{
	unsigned *n = arg;

	(void)value;
	for (size_t i = 0; i < ARRAY_LEN(etag_headers); i++)
		n[i] += !strcasecmp(name, etag_headers[i]);
}

int
s3_conditions_check(struct s3_call *c, struct err *e)
{
	unsigned n[ARRAY_LEN(etag_headers)] = { 0 };

	request_each_header(c->r, count_etags, n);
	for (size_t i = 0; i < ARRAY_LEN(etag_headers); i++) {
		bool is_of_write = c->op->changes && i < 2;

		if (n[i] > 1)
			return s3_refuse(c, e, 400, "InvalidArgument",
			    "the header %s may be there once, with all ETags", etag_headers[i]);
		if (n[i] && is_of_write && strchr(request_header(c->r, etag_headers[i]), ','))
			return s3_refuse(c, e, 400, "InvalidArgument",
			    "the header %s has one ETag on writing", etag_headers[i]);
	}
	return 0;
}

struct files_condition
s3_write_condition(struct request *r, char bufs[2][80])
{
	const char *match = request_header(r, "if-match");
	const char *none_match = request_header(r, "if-none-match");

	s3_etag_bare(match, bufs[0], sizeof bufs[0]);
	s3_etag_bare(none_match, bufs[1], sizeof bufs[1]);
	return (struct files_condition){
		.if_match = match ? bufs[0] : NULL,
		.if_none_match = none_match ? bufs[1] : NULL,
	};
}

bool
s3_has_condition(const struct files_condition *c)
{
	return c->if_match || c->if_none_match;
}

/* --- headers of an object --- */

/* Kept with an object; each may be replaced in one answer by its argument. */
static const struct {
	const char *name, *argument, *shown;
} kept[] = {
	{ "content-type", "response-content-type", "Content-Type" },
	{ "cache-control", "response-cache-control", "Cache-Control" },
	{ "content-disposition", "response-content-disposition", "Content-Disposition" },
	{ "content-encoding", "response-content-encoding", "Content-Encoding" },
	{ "content-language", "response-content-language", "Content-Language" },
	{ "expires", "response-expires", "Expires" },
};

static int
kept_index(const char *name, size_t n)
{
	for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
		if (strlen(kept[i].name) == n && !strncasecmp(name, kept[i].name, n))
			return (int)i;
	}
	return -1;
}

struct collecting {
	struct buf *out;
	size_t meta_bytes;
	bool is_broken;
	struct request *r;
};

/* RFC 9110, 5.6.2. */
#define TOKEN "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"

/* "aws-chunked" is about the transfer and not about the object. */
static void
keep_encoding(struct buf *out, const char *value)
{
	size_t start = out->len;

	buf_add_str(out, "content-encoding: ");
	while (*value) {
		size_t n = strcspn(value, ",");
		const char *word = value;

		value += n + (value[n] == ',');
		while (n && isspace((uint8_t)*word))
			word++, n--;
		while (n && isspace((uint8_t)word[n - 1]))
			n--;
		if (!n || (n == 11 && !strncasecmp(word, "aws-chunked", 11)))
			continue;
		if (out->len > start + strlen("content-encoding: "))
			buf_add_char(out, ',');
		buf_add(out, word, n);
	}
	if (out->len == start + strlen("content-encoding: "))
		out->len = start;
	else
		buf_add_char(out, '\n');
}

bool
s3_has_controls(const char *s)
{
	for (; *s; s++) {
		if (iscntrl((uint8_t)*s) && *s != '\t')
			return true;
	}
	return false;
}

static void
collect_one(void *arg, const char *name, const char *value)
{
	struct collecting *c = arg;
	bool is_meta = !strncasecmp(name, "x-amz-meta-", 11);

	if (!is_meta && kept_index(name, strlen(name)) < 0)
		return;
	c->is_broken |= s3_has_controls(value);
	if (is_meta)
		c->meta_bytes += strlen(name) - 11 + strlen(value);
	if (!strcasecmp(name, "content-encoding")) {
		keep_encoding(c->out, value);
		return;
	}
	for (; *name; name++)
		buf_add_char(c->out, (char)tolower((uint8_t)*name));
	buf_printf(c->out, ": %s\n", value);
}

/* Some SDKs move the metadata of a request that they presign into its query, and S3 looks there. */
static void
collect_arg(void *arg, const char *name, const char *value)
{
	struct collecting *c = arg;

	if (strncasecmp(name, "x-amz-meta-", 11) != 0 || request_header(c->r, name))
		return;
	c->is_broken |= name[strspn(name, TOKEN)] != '\0';
	collect_one(c, name, value);
}

int
s3_headers_collect(struct s3_call *c, struct buf *out, struct err *e)
{
	struct collecting collecting = { .out = out, .r = c->r };

	request_each_header(c->r, collect_one, &collecting);
	if (c->claim.is_presigned)
		request_each_arg(c->r, collect_arg, &collecting);
	if (collecting.is_broken)
		return s3_refuse(c, e, 400, "InvalidArgument",
		    "a header to be kept has control characters in it");
	if (collecting.meta_bytes > S3_META_MAX || buf_check(out, e) < 0 ||
	    out->len > S3_HEADERS_MAX)
		return s3_refuse(c, e, 400, "MetadataTooLarge",
		    "the metadata headers are larger than %zu bytes", S3_META_MAX);
	return 0;
}

/* A header that asks for something that is not done here, and S3's code for that. */
struct refused_header {
	const char *name, *code;
};

static void
find_refused(void *arg, const char *name, const char *value)
{
	static const char *const prefixes[] = {
		"x-amz-website-redirect-location",
		"x-amz-server-side-encryption-",
		"x-amz-copy-source-server-side-encryption-",
		"x-amz-write-offset-bytes",
		CHECKSUM_PREFIX "md5",
		CHECKSUM_PREFIX "sha512",
		CHECKSUM_PREFIX "xxhash",
	};
	static const char *const acls[] = { "private", "bucket-owner-read",
		"bucket-owner-full-control" };
	static const char *const classes[] = { "STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA",
		"ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE", "GLACIER_IR" };
	struct refused_header *found = arg;
	bool is_acl = !strcasecmp(name, "x-amz-acl");
	bool is_class = !strcasecmp(name, "x-amz-storage-class");

	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		if (!strncasecmp(name, prefixes[i], strlen(prefixes[i])))
			*found = (struct refused_header){ name, "NotImplemented" };
	}
	if ((!strcasecmp(name, "x-amz-server-side-encryption") && strcmp(value, "AES256") != 0) ||
	    (!strcasecmp(name, "x-amz-bucket-namespace") && strcmp(value, "global") != 0))
		*found = (struct refused_header){ name, "NotImplemented" };
	for (size_t i = 0; is_acl && i < ARRAY_LEN(acls); i++)
		is_acl = strcmp(value, acls[i]) != 0;
	for (size_t i = 0; is_class && i < ARRAY_LEN(classes); i++)
		is_class = strcmp(value, classes[i]) != 0;
	if (is_class)
		*found = (struct refused_header){ name, "InvalidStorageClass" };
	if (is_acl || !strncasecmp(name, "x-amz-grant-", 12))
		*found = (struct refused_header){ name, "AccessControlListNotSupported" };
}

int
s3_headers_check(struct s3_call *c, struct err *e)
{
	struct refused_header found = { NULL, NULL };

	request_each_header(c->r, find_refused, &found);
	if (!found.name)
		return 0;
	return s3_refuse(c, e, strcmp(found.code, "NotImplemented") ? 400 : 501, found.code,
	    "the header %s asks for something that is not done here", found.name);
}

int
s3_refuse_customer_key(struct s3_call *c, struct err *e)
{
	static const char *const names[] = { "x-amz-server-side-encryption-customer-algorithm",
		"x-amz-server-side-encryption-customer-key",
		"x-amz-server-side-encryption-customer-key-md5" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (request_header(c->r, names[i]))
			return s3_refuse(c, e, 400, "InvalidRequest",
			    "The encryption parameters are not applicable to this object.");
	}
	return 0;
}

/* A checksum is of the whole, and only for those who ask. */
static bool
wants_checksum(struct request *r)
{
	const char *mode = request_header(r, "x-amz-checksum-mode");

	return mode && !strcasecmp(mode, "ENABLED") && !request_header(r, "range") &&
	    !(r->query[0] && request_arg(r, "partNumber"));
}

static void
answer_line(struct request *r, const char *line, size_t n, bool *has_type)
{
	const char *colon = memchr(line, ':', n);
	char name[S3_META_MAX + 32];
	size_t len;
	int known;

	if (!colon)
		return;
	if (n >= strlen(TAGGING_LINE) && !strncmp(line, TAGGING_LINE, strlen(TAGGING_LINE))) {
		response_header(r, "x-amz-tagging-count", "%u",
		    tags_count(line + strlen(TAGGING_LINE), n - strlen(TAGGING_LINE)));
		return;
	}
	len = (size_t)(colon - line);
	if (len > strlen(CHECKSUM_PREFIX) &&
	    !strncmp(line, CHECKSUM_PREFIX, strlen(CHECKSUM_PREFIX))) {
		if (!wants_checksum(r))
			return;
		response_header(r, CHECKSUM_PREFIX "type",
		    memchr(colon, '-', (size_t)(line + n - colon)) ? "COMPOSITE" : "FULL_OBJECT");
	}
	known = kept_index(line, len);
	if (known >= 0 && request_arg(r, kept[known].argument))
		return;
	*has_type |= known == 0;
	snprintf(name, sizeof name, "%.*s", (int)len, line);
	for (colon++; colon < line + n && *colon == ' ';)
		colon++;
	response_header(
	    r, known >= 0 ? kept[known].shown : name, "%.*s", (int)(line + n - colon), colon);
}

struct span
s3_header_line(const struct buf *lines, const char *start)
{
	const uint8_t *at = lines->data, *end = at ? at + lines->len : at, *line_end;
	size_t n = strlen(start);

	for (; at < end; at = line_end + 1) {
		line_end = memchr(at, '\n', (size_t)(end - at));
		if (!line_end)
			line_end = end;
		if ((size_t)(line_end - at) >= n && !memcmp(at, start, n))
			return (struct span){ at + n, (size_t)(line_end - at) - n };
	}
	return (struct span){ NULL, 0 };
}

void
s3_headers_answer(struct request *r, const struct object_info *i)
{
	const char *at = (const char *)i->headers.data, *end = at ? at + i->headers.len : at;
	bool has_type = false;
	char date[32];

	/* Room for all of them at once, in nearly every case. */
	buf_room(&r->headers, 400);
	host_date_text(i->modified_ms, date);
	response_header(r, "ETag", "\"%s\"", i->etag);
	response_header(r, "Last-Modified", "%s", date);
	response_header(r, "Accept-Ranges", "bytes");
	s3_answer_version(r, "x-amz-version-id", i);
	s3_lock_answer(r, &i->lock);
	s3_answer_expiry(r, i);
	while (at < end) {
		const char *line_end = memchr(at, '\n', (size_t)(end - at));

		if (!line_end)
			line_end = end;
		answer_line(r, at, (size_t)(line_end - at), &has_type);
		at = line_end + 1;
	}
	for (size_t k = 0; r->query[0] && k < ARRAY_LEN(kept); k++) {
		const char *value = request_arg(r, kept[k].argument);

		if (value)
			response_header(r, kept[k].shown, "%s", value);
		has_type |= value && k == 0;
	}
	if (!has_type)
		response_header(r, "Content-Type", "binary/octet-stream");
}
