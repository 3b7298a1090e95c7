/* s3_list.c - ListObjects, both versions.
 *
 * The second version's continuation token is what the next page comes after, as base64 for URLs:
 * opaque to clients, and nothing has to be remembered between pages.
 */
#include "front/s3_private.h"

#include <string.h>

#include "base/host.h"
#include "front/xml.h"

void
s3_token_text(const char *next, struct buf *out)
{
	size_t start = out->len;

	base64_text(out, next, strlen(next));
	for (size_t i = start; i < out->len; i++) {
		if (out->data[i] == '+')
			out->data[i] = '-';
		else if (out->data[i] == '/')
			out->data[i] = '_';
	}
	while (out->len > start && out->data[out->len - 1] == '=')
		out->len--;
}

int
s3_token_parse(const char *token, char out[static FILES_KEY_MAX + 1], struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(2 * FILES_KEY_MAX);
	_cleanup_buf_ struct buf raw = BUF_INIT(FILES_KEY_MAX);

	for (; *token; token++)
		buf_add_char(&text, *token == '-' ? '+' : *token == '_' ? '/' : *token);
	while (text.len % 4)
		buf_add_char(&text, '=');
	if (buf_check(&text, NULL) < 0 ||
	    base64_parse((const char *)text.data, text.len, &raw, NULL) < 0 ||
	    buf_check(&raw, NULL) < 0 || (raw.len && memchr(raw.data, 0, raw.len)))
		return err_set(e, ERR_BAD, "the continuation token is not one of ours");
	if (raw.len)
		memcpy(out, raw.data, raw.len);
	out[raw.len] = '\0';
	return 0;
}

const char *
s3_arg(struct request *r, const char *name)
{
	const char *value = request_arg(r, name);

	return value ? value : "";
}

void
s3_put_name(struct buf *b, bool is_url, const char *tag, const char *text)
{
	if (is_url)
		xml_text_url(b, tag, text);
	else
		xml_name(b, tag, text);
}

struct listing {
	struct s3_call *c;
	struct buf prefixes;
	bool is_url, has_owner;
	unsigned n;
};


static int
put_one(void *arg, const char *key, const struct object_info *i, struct err *e)
{
	struct listing *l = arg;
	struct buf *b = &l->c->r->body;
	char when[25];

	(void)e;
	l->n++;
	if (!i) {
		xml_open(&l->prefixes, "CommonPrefixes");
		s3_put_name(&l->prefixes, l->is_url, "Prefix", key);
		xml_close(&l->prefixes, "CommonPrefixes");
		return 0;
	}
	host_time_text(i->modified_ms, when);
	xml_open(b, "Contents");
	s3_put_name(b, l->is_url, "Key", key);
	xml_text(b, "LastModified", when);
	xml_printf(b, "ETag", "\"%s\"", i->etag);
	s3_put_listed_sum(b, i);
	xml_printf(b, "Size", "%llu", (unsigned long long)i->size);
	if (l->has_owner)
		s3_put_owner(l->c, "Owner");
	xml_text(b, "StorageClass", "STANDARD");
	xml_close(b, "Contents");
	return 0;
}

static int
listing_open(struct listing *l, struct s3_call *c, struct list_query *q, struct err *e)
{
	struct request *r = c->r;
	const char *encoding = request_arg(r, "encoding-type");
	struct buf *b = &r->body;

	*l = (struct listing){ .c = c,
		.prefixes = BUF_INIT(S3_ANSWER_MAX),
		.is_url = encoding && !strcmp(encoding, "url") };
	if (encoding && !l->is_url)
		return s3_refuse(c, e, 400, "InvalidArgument", "encoding-type can only be url");
	*q = (struct list_query){ .bucket = c->bucket,
		.prefix = s3_arg(r, "prefix"),
		.delimiter = s3_arg(r, "delimiter"),
		.after = "",
		.max = S3_LIST_MAX };
	if (s3_number(request_arg(r, "max-keys"), "max-keys", 0, S3_LIST_MAX, &q->max, e) < 0)
		return -1;
	buf_add_str(b, S3_XML_ROOT("ListBucketResult"));
	xml_text(b, "Name", c->bucket);
	s3_put_name(b, l->is_url, "Prefix", q->prefix);
	if (q->delimiter[0])
		s3_put_name(b, l->is_url, "Delimiter", q->delimiter);
	xml_printf(b, "MaxKeys", "%u", q->max);
	if (encoding)
		xml_text(b, "EncodingType", "url");
	return 0;
}

/* The page itself; *NEXT is "" unless there is more. */
static int
put_page(struct listing *l, const struct list_query *q, char next[static FILES_KEY_MAX + 1],
    struct err *e)
{
	struct s3_call *c = l->c;
	struct buf *b = &c->r->body;
	bool is_truncated = false;

	next[0] = '\0';
	if (files_list(&c->files, q, put_one, l, &is_truncated, next, e) < 0)
		return -1;
	if (!is_truncated)
		next[0] = '\0';
	buf_add(b, l->prefixes.data, l->prefixes.len);
	xml_text(b, "IsTruncated", is_truncated ? "true" : "false");
	return buf_check(&l->prefixes, e);
}

static int
list_v1(struct listing *l, struct list_query *q, struct err *e)
{
	struct request *r = l->c->r;
	char next[FILES_KEY_MAX + 1];

	l->has_owner = true;
	q->after = s3_arg(r, "marker");
	s3_put_name(&r->body, l->is_url, "Marker", q->after);
	if (put_page(l, q, next, e) < 0)
		return -1;
	if (next[0])
		s3_put_name(&r->body, l->is_url, "NextMarker", next);
	return 0;
}

static int
list_v2(struct listing *l, struct list_query *q, struct err *e)
{
	struct request *r = l->c->r;
	struct buf *b = &r->body;
	const char *token = request_arg(r, "continuation-token");
	const char *start = s3_arg(r, "start-after");
	_cleanup_buf_ struct buf out = BUF_INIT(2 * FILES_KEY_MAX);
	char after[FILES_KEY_MAX + 1], next[FILES_KEY_MAX + 1];

	l->has_owner = !strcmp(s3_arg(r, "fetch-owner"), "true");
	if (start[0])
		s3_put_name(b, l->is_url, "StartAfter", start);
	q->after = start;
	if (token) {
		if (s3_token_parse(token, after, e) < 0)
			return -1;
		xml_text(b, "ContinuationToken", token);
		q->after = after;
	}
	if (put_page(l, q, next, e) < 0)
		return -1;
	xml_printf(b, "KeyCount", "%u", l->n);
	if (next[0]) {
		s3_token_text(next, &out);
		xml_text(b, "NextContinuationToken", buf_str(&out));
	}
	return 0;
}

static int
list(struct s3_call *c, int (*version)(struct listing *l, struct list_query *q, struct err *e),
    struct err *e)
{
	struct listing l;
	struct list_query q;
	int rc;

	rc = listing_open(&l, c, &q, e);
	if (!rc)
		rc = version(&l, &q, e);
	buf_free(&l.prefixes);
	if (rc < 0)
		return -1;
	xml_close(&c->r->body, "ListBucketResult");
	s3_answer_xml(c->r, 200);
	return 0;
}

int
s3_list_v1(struct s3_call *c, struct err *e)
{
	return list(c, list_v1, e);
}

int
s3_list_v2(struct s3_call *c, struct err *e)
{
	const char *type = request_arg(c->r, "list-type");

	if (strcmp(type, "2") != 0)
		return s3_refuse(c, e, 400, "InvalidArgument", "list-type can only be 2");
	return list(c, list_v2, e);
}
