/* s3_multipart.c - uploads in parts: beginning, giving up, looking. The parts themselves are in s3_put.c. */
#include "front/s3_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "front/xml.h"

#define PAGE_MAX 1000u

static void
put_upload_name(struct s3_call *c, const char *upload_id)
{
	struct buf *b = &c->r->body;

	xml_text(b, "Bucket", c->bucket);
	xml_text(b, "Key", c->key);
	xml_text(b, "UploadId", upload_id);
}

/* --- checksums --- */

#define ALGORITHM_LINE CHECKSUM_PREFIX "algorithm: "
#define TYPE_LINE      CHECKSUM_PREFIX "type: "

/* The checksum that the upload shall have: two lines, which it keeps until it is completed. */
static int
collect_sum(struct s3_call *c, struct s3_upload_sum *out, struct buf *headers, struct err *e)
{
	const char *algorithm = request_header(c->r, CHECKSUM_PREFIX "algorithm");
	const char *type = request_header(c->r, CHECKSUM_PREFIX "type");

	*out = (struct s3_upload_sum){ .kind = CHECKSUM_NONE };
	if (type && strcmp(type, "COMPOSITE") != 0 && strcmp(type, "FULL_OBJECT") != 0)
		return s3_refuse(
		    c, e, 400, "InvalidRequest", "Value for x-amz-checksum-type is invalid.");
	if (!algorithm)
		return type ? s3_refuse(c, e, 400, "InvalidRequest",
		                  "x-amz-checksum-type lacks its x-amz-checksum-algorithm")
		            : 0;
	out->kind = checksum_of_name(algorithm);
	if (out->kind == CHECKSUM_NONE)
		return s3_refuse(
		    c, e, 400, "InvalidRequest", "Checksum algorithm provided is unsupported.");
	out->is_full = type ? !strcmp(type, "FULL_OBJECT") : out->kind == CHECKSUM_CRC64NVME;
	if (!checksum_can_join(out->kind, out->is_full))
		return s3_refuse(c, e, 400, "InvalidRequest",
		    "The %s checksum type cannot be used with the %s checksum algorithm.", type,
		    checksum_name(out->kind));
	buf_printf(headers, ALGORITHM_LINE "%s\n" TYPE_LINE "%s\n", checksum_name(out->kind),
	    out->is_full ? "FULL_OBJECT" : "COMPOSITE");
	return buf_check(headers, e);
}

static bool
begins_with(struct span line, const char *start)
{
	return line.len >= strlen(start) && !memcmp(line.data, start, strlen(start));
}

static void
read_line(struct span line, struct s3_upload_sum *out, struct buf *headers)
{
	char name[16];

	if (begins_with(line, ALGORITHM_LINE)) {
		snprintf(name, sizeof name, "%.*s", (int)(line.len - strlen(ALGORITHM_LINE)),
		    (const char *)line.data + strlen(ALGORITHM_LINE));
		out->kind = checksum_of_name(name);
	} else if (begins_with(line, TYPE_LINE)) {
		out->is_full = line.data[strlen(TYPE_LINE)] == 'F';
	} else if (headers) {
		buf_add(headers, line.data, line.len);
		buf_add_char(headers, '\n');
	}
}

static void
read_lines(struct span all, struct s3_upload_sum *out, struct buf *headers)
{
	*out = (struct s3_upload_sum){ .kind = CHECKSUM_NONE };
	for (size_t at = 0, n; at < all.len; at += n + 1) {
		const uint8_t *end = memchr(all.data + at, '\n', all.len - at);

		n = end ? (size_t)(end - all.data) - at : all.len - at;
		read_line((struct span){ all.data + at, n }, out, headers);
	}
}

int
s3_upload_sum(struct s3_call *c, struct s3_upload_sum *out, struct buf *headers, struct err *e)
{
	_cleanup_buf_ struct buf all = BUF_INIT(2 * FILES_HEADERS_MAX);
	const char *upload_id = request_arg(c->r, "uploadId");

	*out = (struct s3_upload_sum){ .kind = CHECKSUM_NONE };
	if (multipart_headers(&c->files, c->bucket, c->key, upload_id, &all, e) < 0)
		return -1;
	read_lines((struct span){ all.data, all.len }, out, headers);
	return headers ? buf_check(headers, e) : 0;
}

/* --- beginning, giving up --- */

int
s3_multipart_begin(struct s3_call *c, struct err *e)
{
	_cleanup_buf_ struct buf headers = BUF_INIT(2 * FILES_HEADERS_MAX);
	struct s3_upload_sum sum;
	struct files_lock lock;
	struct multipart_end end;
	bool has_lock;
	char upload_id[33];
	int rc;

	if (s3_headers_check(c, e) < 0 || collect_sum(c, &sum, &headers, e) < 0 ||
	    s3_lock_of_headers(c, &lock, &has_lock, e) < 0 ||
	    s3_headers_collect(c, &headers, e) < 0 || s3_tags_collect(c, &headers, e) < 0)
		return -1;
	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = multipart_begin(&c->files, c->bucket, c->key, buf_str(&headers),
	    has_lock ? &lock : NULL, upload_id, &end, e);
	s3_write_end(c);
	if (rc < 0)
		return s3_refuse_lock(c, has_lock, e);
	buf_add_str(&c->r->body, S3_XML_ROOT("InitiateMultipartUploadResult"));
	put_upload_name(c, upload_id);
	xml_close(&c->r->body, "InitiateMultipartUploadResult");
	s3_answer_xml(c->r, 200);
	s3_answer_upload_end(c->r, &end);
	if (sum.kind != CHECKSUM_NONE) {
		response_header(c->r, CHECKSUM_PREFIX "algorithm", "%s", checksum_name(sum.kind));
		response_header(
		    c->r, CHECKSUM_PREFIX "type", "%s", sum.is_full ? "FULL_OBJECT" : "COMPOSITE");
	}
	return 0;
}

int
s3_multipart_abort(struct s3_call *c, struct err *e)
{
	int rc;

	if (s3_removal_check(c, e) < 0 || s3_write_begin(c, e) < 0)
		return -1;
	rc = multipart_abort(&c->files, c->bucket, c->key, request_arg(c->r, "uploadId"), e);
	s3_write_end(c);
	if (rc < 0)
		return -1;
	c->r->status = 204;
	return 0;
}

/* --- looking --- */

static void
put_part(struct buf *b, const struct part_info *p)
{
	struct s3_sum sum;
	char when[25];

	host_time_text(p->modified_ms, when);
	xml_open(b, "Part");
	xml_printf(b, "PartNumber", "%u", p->number);
	xml_text(b, "LastModified", when);
	xml_printf(b, "ETag", "\"%s\"", p->etag);
	xml_printf(b, "Size", "%llu", (unsigned long long)p->size);
	if (s3_find_sum((struct span){ (const uint8_t *)p->line, strlen(p->line) }, &sum))
		s3_put_sum(b, &sum, false);
	xml_close(b, "Part");
}

static void
put_parts(struct s3_call *c, const struct s3_upload_sum *sum, const struct part_info *parts, int n,
    unsigned after, unsigned max, bool more)
{
	struct buf *b = &c->r->body;

	buf_add_str(b, S3_XML_ROOT("ListPartsResult"));
	put_upload_name(c, request_arg(c->r, "uploadId"));
	s3_put_owner(c, "Initiator");
	s3_put_owner(c, "Owner");
	xml_text(b, "StorageClass", "STANDARD");
	s3_put_sum_kind(b, sum->kind, sum->is_full);
	xml_printf(b, "PartNumberMarker", "%u", after);
	if (more && n)
		xml_printf(b, "NextPartNumberMarker", "%u", parts[n - 1].number);
	xml_printf(b, "MaxParts", "%u", max);
	xml_text(b, "IsTruncated", more ? "true" : "false");
	for (int i = 0; i < n; i++)
		put_part(b, &parts[i]);
	xml_close(b, "ListPartsResult");
}

static void
about_free(struct multipart_about *a)
{
	buf_free(&a->headers);
}

int
s3_multipart_parts(struct s3_call *c, struct err *e)
{
	struct request *r = c->r;
	unsigned after = 0, max = PAGE_MAX;
	_cleanup_(freep) struct part_info *parts = NULL;
	_cleanup_(about_free) struct multipart_about about = { .headers = BUF_INIT(0) };
	struct s3_upload_sum sum;
	bool more = false;
	int n;

	if (s3_number(request_arg(r, "part-number-marker"), "part-number-marker", 0, FILES_PART_MAX,
	        &after, e) < 0 ||
	    s3_number(request_arg(r, "max-parts"), "max-parts", 0, PAGE_MAX, &max, e) < 0)
		return -1;
	parts = calloc(max + 1, sizeof *parts);
	if (!parts)
		return err_set(e, ERR_MEMORY, "no memory for parts");
	n = multipart_parts(&c->files, c->bucket, c->key, request_arg(r, "uploadId"), after, max,
	    parts, &more, &about, e);
	if (n < 0)
		return -1;
	read_lines((struct span){ about.headers.data, about.headers.len }, &sum, NULL);
	put_parts(c, &sum, parts, n, after, max, more);
	s3_answer_xml(r, 200);
	s3_answer_upload_end(r, &about.end);
	return 0;
}

struct upload_listing {
	struct s3_call *c;
	const char *prefix, *delimiter, *after_key;
	bool is_url;
	struct buf prefixes;
	unsigned n, max;                     /* told, a common prefix counting as one */
	char key[FILES_KEY_MAX + 1], id[33]; /* the last one told; a common prefix has no id */
};

/* The length of the common prefix that KEY belongs to, or 0. */
static size_t
group_of(const struct upload_listing *l, const char *key)
{
	const char *at = l->delimiter[0] ? strstr(key + strlen(l->prefix), l->delimiter) : NULL;

	return at ? (size_t)(at - key) + strlen(l->delimiter) : 0;
}

/* Whether the common prefix of N bytes at KEY was told, on this page or one before. */
static bool
was_told(const struct upload_listing *l, const char *key, size_t n)
{
	return (strlen(l->key) == n && !memcmp(l->key, key, n)) ||
	    strncmp(key, l->after_key, n) <= 0;
}

static void
put_upload_element(struct upload_listing *l, uint64_t started_ms, struct span headers)
{
	struct buf *b = &l->c->r->body;
	struct s3_upload_sum sum;
	char when[25];

	host_time_text(started_ms, when);
	xml_open(b, "Upload");
	s3_put_name(b, l->is_url, "Key", l->key);
	xml_text(b, "UploadId", l->id);
	read_lines(headers, &sum, NULL);
	s3_put_sum_kind(b, sum.kind, sum.is_full);
	s3_put_owner(l->c, "Initiator");
	s3_put_owner(l->c, "Owner");
	xml_text(b, "StorageClass", "STANDARD");
	xml_text(b, "Initiated", when);
	xml_close(b, "Upload");
}

static int
put_upload(void *arg, const char *key, const char *upload_id, uint64_t started_ms,
    struct span headers, struct err *e)
{
	struct upload_listing *l = arg;
	size_t n = group_of(l, key);

	(void)e;
	if (n && was_told(l, key, n))
		return 0;
	if (l->n++ == l->max)
		return 1;
	snprintf(l->key, sizeof l->key, "%.*s", n ? (int)n : FILES_KEY_MAX, key);
	snprintf(l->id, sizeof l->id, "%s", n ? "" : upload_id);
	if (!n) {
		put_upload_element(l, started_ms, headers);
		return 0;
	}
	xml_open(&l->prefixes, "CommonPrefixes");
	s3_put_name(&l->prefixes, l->is_url, "Prefix", l->key);
	xml_close(&l->prefixes, "CommonPrefixes");
	return 0;
}

static int
list_uploads(struct upload_listing *l, struct err *e)
{
	struct s3_call *c = l->c;
	struct request *r = c->r;
	struct buf *b = &r->body;
	const char *after_id = s3_arg(r, "upload-id-marker");
	bool more = false;

	if (s3_number(request_arg(r, "max-uploads"), "max-uploads", 0, PAGE_MAX, &l->max, e) < 0)
		return -1;
	buf_add_str(b, S3_XML_ROOT("ListMultipartUploadsResult"));
	xml_text(b, "Bucket", c->bucket);
	s3_put_name(b, l->is_url, "KeyMarker", l->after_key);
	xml_text(b, "UploadIdMarker", after_id);
	s3_put_name(b, l->is_url, "Prefix", l->prefix);
	if (l->delimiter[0])
		s3_put_name(b, l->is_url, "Delimiter", l->delimiter);
	if (l->is_url)
		xml_text(b, "EncodingType", "url");
	xml_printf(b, "MaxUploads", "%u", l->max);
	if (multipart_list(&c->files, c->bucket, l->prefix, l->after_key, after_id, &more,
	        put_upload, l, e) < 0)
		return -1;
	more = more && l->max;
	buf_add(b, l->prefixes.data, l->prefixes.len);
	xml_text(b, "IsTruncated", more ? "true" : "false");
	if (more) {
		s3_put_name(b, l->is_url, "NextKeyMarker", l->key);
		xml_text(b, "NextUploadIdMarker", l->id);
	}
	xml_close(b, "ListMultipartUploadsResult");
	return buf_check(&l->prefixes, e);
}

int
s3_multipart_uploads(struct s3_call *c, struct err *e)
{
	const char *encoding = request_arg(c->r, "encoding-type");
	struct upload_listing l = {
		.c = c,
		.prefix = s3_arg(c->r, "prefix"),
		.delimiter = s3_arg(c->r, "delimiter"),
		.after_key = s3_arg(c->r, "key-marker"),
		.max = PAGE_MAX,
		.is_url = encoding && !strcmp(encoding, "url"),
		.prefixes = BUF_INIT(S3_ANSWER_MAX),
	};
	int rc;

	if (encoding && !l.is_url)
		return s3_refuse(c, e, 400, "InvalidArgument", "encoding-type can only be url");
	rc = list_uploads(&l, e);
	buf_free(&l.prefixes);
	if (rc < 0)
		return -1;
	s3_answer_xml(c->r, 200);
	return 0;
}
