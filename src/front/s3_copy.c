/* s3_copy.c - copies of objects, and parts that are copied. Everything is copied outside the gate, and the
 * row is written within it.
 */
#include "front/s3_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "front/xml.h"

#define READ_BYTES ((size_t)128 << 10)

struct source {
	char bucket[FILES_BUCKET_MAX + 1];
	char key[FILES_KEY_MAX + 1];
	char named[FILES_VERSION_SIZE]; /* by ?versionId, or "" */
	/* As it was when it was looked at, which is what is copied. */
	struct object *object;
};

static void
source_free(struct source *s)
{
	object_close(s->object);
}

/* Some clients encode the whole, with the slash behind the bucket. */
static void
show_slash(char *path)
{
	char *slash = strcasestr(path, "%2f");

	if (!slash)
		return;
	*slash = '/';
	memmove(slash + 1, slash + 3, strlen(slash + 3) + 1);
}

/* "/bucket/key" or "bucket/key", percent-encoded, perhaps with ?versionId=. */
static int
source_name(struct s3_call *c, struct source *s, struct err *e)
{
	const char *value = request_header(c->r, "x-amz-copy-source"), *code;
	static const char word[] = "?versionId=";
	const char *version = strchr(value, '?');
	_cleanup_(freep) char *path = NULL;
	enum s3_level level;

	s->named[0] = '\0';
	if (version &&
	    (strncmp(version, word, sizeof word - 1) != 0 ||
	        (size_t)snprintf(s->named, sizeof s->named, "%s", version + sizeof word - 1) >=
	            sizeof s->named))
		return s3_refuse(c, e, 400, "InvalidArgument",
		    "x-amz-copy-source has something else behind its key than a version's id");
	value += *value == '/' ? 1 : !strncasecmp(value, "%2f", 3) ? 3 : 0;
	if (asprintf(&path, "/%.*s", (int)(strchrnul(value, '?') - value), value) < 0)
		return err_set(e, ERR_MEMORY, "no memory");
	if (!strchr(path + 1, '/'))
		show_slash(path + 1);
	code = s3_path(path, &level, s->bucket, s->key);
	if (code || level != LEVEL_KEY)
		return s3_refuse(
		    c, e, 400, "InvalidArgument", "x-amz-copy-source is not bucket/key");
	if (s3_application_source(c, s->bucket, e) < 0)
		return -1;
	return s3_scope_key(c, s->bucket, s->key, e);
}

/* The source as it is now, if it meets the copy's conditions. */
static int
source_open(struct s3_call *c, struct source *s, struct err *e)
{
	struct request *r = c->r;
	const struct s3_conditions conditions = {
		request_header(r, "x-amz-copy-source-if-match"),
		request_header(r, "x-amz-copy-source-if-none-match"),
		request_header(r, "x-amz-copy-source-if-modified-since"),
		request_header(r, "x-amz-copy-source-if-unmodified-since"),
	};
	struct object_absence why;

	s->object = object_open_version(
	    &c->files, s->bucket, s->key, s->named[0] ? s->named : NULL, OBJECT_CONTENT, &why, e);
	if (!s->object) {
		if (e->kind == ERR_MISSING)
			c->code = why.is_bucket ? "NoSuchBucket"
			    : s->named[0]       ? "NoSuchVersion"
			                        : "NoSuchKey";
		return -1;
	}
	if (object_info(s->object)->is_marker)
		return s3_refuse(
		    c, e, 400, "InvalidRequest", "the source of a copy may not be a delete marker");
	if (s3_conditions(&conditions, object_info(s->object)))
		return s3_refuse(c, e, 412, "PreconditionFailed",
		    "the source does not meet the request's conditions");
	return 0;
}

/* The source's N bytes from OFFSET into c->upload, outside the gate. */
static int
copy_content(struct s3_call *c, const struct source *s, uint64_t offset, uint64_t n, struct err *e)
{
	uint64_t bytes = n == UINT64_MAX ? object_info(s->object)->size : n;

	if (bytes > FILES_PUT_MAX)
		return s3_refuse(
		    c, e, 400, "InvalidRequest", "more than 5 GiB have to be copied in parts");
	if (s3_check_quota(c, bytes, e) < 0)
		return -1;
	c->upload = files_copy_begin(&c->files, s->object, offset, n, c->bucket, e);
	return c->upload ? upload_settle(c->upload, e) : -1;
}

/* The copy's checksum, of a KIND that its source does not have: what came is read again. */
static int
sum_copy(struct s3_call *c, enum checksum_kind kind, struct s3_sum *out, struct err *e)
{
	_cleanup_(checksum_free) struct checksum sum = { .kind = CHECKSUM_NONE };
	_cleanup_(freep) uint8_t *bytes = malloc(READ_BYTES);
	uint64_t at = 0;
	ssize_t n;

	*out = (struct s3_sum){ .kind = kind };
	if (kind == CHECKSUM_NONE)
		return 0;
	if (!bytes)
		return err_set(e, ERR_MEMORY, "no memory for a checksum");
	if (checksum_open(&sum, kind, e) < 0)
		return -1;
	while ((n = upload_read(c->upload, at, bytes, READ_BYTES, e)) > 0) {
		checksum_add(&sum, bytes, (size_t)n);
		at += (uint64_t)n;
	}
	checksum_end(&sum, out->text);
	return n < 0 ? -1 : 0;
}

static void
answer_copy(struct s3_call *c, const char *root, const struct source *s,
    const struct object_info *info, const struct s3_sum *sum)
{
	struct buf *b = &c->r->body;
	char when[25];

	s3_answer_version(c->r, "x-amz-copy-source-version-id", object_info(s->object));
	s3_answer_version(c->r, "x-amz-version-id", info);
	s3_answer_expiry(c->r, info);

	host_time_text(info->modified_ms, when);
	buf_printf(b, S3_XML_ROOT("%s"), root);
	xml_text(b, "LastModified", when);
	xml_printf(b, "ETag", "\"%s\"", info->etag);
	s3_put_sum(b, sum, c->op->fn == s3_copy_object);
	xml_close(b, root);
	s3_answer_xml(c->r, 200);
}

/* A copy that moved on is made anew at the new home: the source is there too. */
static void
drop_if_moved(struct s3_call *c)
{
	if (c->to[0]) {
		upload_close(c->upload);
		c->upload = NULL;
	}
}

/* x-amz-metadata-directive: whether the request's headers replace the source's. */
static int
copy_replaces(struct s3_call *c, const struct source *s, bool *replaces, struct err *e)
{
	const char *directive = request_header(c->r, "x-amz-metadata-directive");

	*replaces = directive && !strcmp(directive, "REPLACE");
	if (directive && !*replaces && strcmp(directive, "COPY") != 0)
		return s3_refuse(c, e, 400, "InvalidArgument",
		    "x-amz-metadata-directive is neither COPY nor REPLACE");
	if (!*replaces && !s->named[0] && !strcmp(s->bucket, c->bucket) &&
	    !strcmp(s->key, c->key) && !request_header(c->r, "x-amz-storage-class") &&
	    !request_header(c->r, "x-amz-server-side-encryption"))
		return s3_refuse(c, e, 400, "InvalidRequest",
		    "copying an object onto itself has to replace its metadata, or to name a storage "
		    "class or an encryption");
	return 0;
}

static bool
begins_with(struct span line, const char *start)
{
	return line.len >= strlen(start) && !memcmp(line.data, start, strlen(start));
}

/* Of a copy: its source's tags and other headers unless it has its own. */
static void
carry_lines(struct span theirs, bool has_headers, bool has_tags, struct buf *headers)
{
	for (size_t at = 0; at < theirs.len;) {
		struct span line = { theirs.data + at, theirs.len - at };
		const uint8_t *end = memchr(line.data, '\n', line.len);

		line.len = end ? (size_t)(end - line.data) + 1 : line.len;
		at += line.len;
		if (!begins_with(line, CHECKSUM_PREFIX) &&
		    (begins_with(line, TAGGING_LINE) ? !has_tags : !has_headers))
			buf_add(headers, line.data, line.len);
	}
}

/* A copy has its source's checksum, or one of the algorithm that it asks for. The composite one of parts
 * is not that of a copy, which is in one piece. */
static int
copy_sum(struct s3_call *c, const struct buf *theirs, struct s3_sum *out, struct err *e)
{
	const char *name = request_header(c->r, CHECKSUM_PREFIX "algorithm");
	enum checksum_kind kind = name ? checksum_of_name(name) : CHECKSUM_NONE;

	if (name && kind == CHECKSUM_NONE)
		return s3_refuse(
		    c, e, 400, "InvalidRequest", "Checksum algorithm provided is unsupported.");
	if (s3_find_sum((struct span){ theirs->data, theirs->len }, out) && !s3_is_composite(out) &&
	    (!name || out->kind == kind))
		return 0;
	return sum_copy(c, name ? kind : out->kind, out, e);
}

int
s3_copy_object(struct s3_call *c, struct err *e)
{
	_cleanup_buf_ struct buf headers = BUF_INIT(2 * FILES_HEADERS_MAX);
	_cleanup_(object_info_free) struct object_info info = { 0 };
	_cleanup_(source_free) struct source s = { .object = NULL };
	const struct buf *theirs;
	struct s3_sum sum;
	char etags[2][80];
	struct files_condition condition = s3_write_condition(c->r, etags);
	bool replaces, retags;

	if (s3_headers_check(c, e) < 0 || s3_tags_replaced(c, &retags, e) < 0)
		return -1;
	if (source_name(c, &s, e) < 0 || copy_replaces(c, &s, &replaces, e) < 0)
		return -1;
	if ((replaces && s3_headers_collect(c, &headers, e) < 0) ||
	    (retags && s3_tags_collect(c, &headers, e) < 0))
		return -1;
	if (source_open(c, &s, e) < 0 || copy_content(c, &s, 0, UINT64_MAX, e) < 0)
		return -1;
	theirs = &object_info(s.object)->headers;
	if (copy_sum(c, theirs, &sum, e) < 0)
		return -1;
	carry_lines((struct span){ theirs->data, theirs->len }, replaces, retags, &headers);
	if (s3_keep_sum(c, &sum, &headers, e) < 0 || buf_check(&headers, e) < 0 ||
	    s3_commit_object(c, buf_str(&headers), &condition, &info, e) < 0) {
		drop_if_moved(c);
		return -1;
	}
	answer_copy(c, "CopyObjectResult", &s, &info, &sum);
	return 0;
}

/* x-amz-copy-source-range: unlike Range it has to be well-formed, and within the source (which
 * files_copy_begin sees to). */
static int
copy_range(struct s3_call *c, uint64_t *offset, uint64_t *n, struct err *e)
{
	const char *value = request_header(c->r, "x-amz-copy-source-range");
	unsigned long long first, last;
	int end = 0;

	*offset = 0;
	*n = UINT64_MAX;
	if (!value)
		return 0;
	if (sscanf(value, "bytes=%llu-%llu%n", &first, &last, &end) != 2 || value[end] ||
	    strpbrk(value, "+ \t") || last < first)
		return s3_refuse(c, e, 400, "InvalidArgument",
		    "x-amz-copy-source-range is not bytes=first-last");
	*offset = first;
	*n = last - first + 1;
	return 0;
}

int
s3_copy_part(struct s3_call *c, struct err *e)
{
	_cleanup_(object_info_free) struct object_info info = { 0 };
	_cleanup_(source_free) struct source s = { .object = NULL };
	struct s3_upload_sum wanted;
	struct s3_sum sum;
	unsigned number;
	uint64_t offset, n;

	if (s3_part_number(c, &number, e) < 0 || source_name(c, &s, e) < 0)
		return -1;
	if (source_open(c, &s, e) < 0 || copy_range(c, &offset, &n, e) < 0)
		return -1;
	if (copy_content(c, &s, offset, n, e) < 0 || s3_upload_sum(c, &wanted, NULL, e) < 0 ||
	    sum_copy(c, wanted.kind, &sum, e) < 0)
		return -1;
	if (s3_commit_part(c, number, &sum, &info, e) < 0) {
		drop_if_moved(c);
		return -1;
	}
	answer_copy(c, "CopyPartResult", &s, &info, &sum);
	return 0;
}
