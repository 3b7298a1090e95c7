/* s3_tagging.c - tags of objects and buckets.
 *
 * An object's tags are one line among its stored headers, TAGGING_LINE, so that versions, copies and
 * moves carry them; that line is never an answer's header, only its count is. A bucket's are its
 * setting "tagging".
 */
#include "front/s3_private.h"

#include <string.h>

#include "front/s3_tags.h"
#include "front/xml.h"

_Static_assert(S3_HEADERS_MAX + sizeof(TAGGING_LINE) + TAGS_TEXT_MAX + 1 + 128 <= FILES_HEADERS_MAX,
    "headers, tags and a checksum fit together");

/* --- in headers --- */

int
s3_tags_collect(struct s3_call *c, struct buf *headers, struct err *e)
{
	const char *value = request_header(c->r, "x-amz-tagging");
	_cleanup_(tags_free) struct tags t = TAGS_INIT(TAGS_OF_OBJECT);

	if (!value)
		return 0;
	if (tags_parse(&t, value, e) < 0) {
		if (e->kind != ERR_MEMORY) {
			c->status = 400;
			c->code = e->kind == ERR_BAD ? "InvalidArgument" : "InvalidTag";
		}
		return -1;
	}
	if (t.n)
		buf_printf(headers, TAGGING_LINE "%s\n", buf_str(&t.text));
	return buf_check(headers, e);
}

int
s3_tags_replaced(struct s3_call *c, bool *replaced, struct err *e)
{
	const char *directive = request_header(c->r, "x-amz-tagging-directive");

	*replaced = directive && !strcmp(directive, "REPLACE");
	if (directive && !*replaced && strcmp(directive, "COPY") != 0)
		return s3_refuse(c, e, 400, "InvalidArgument",
		    "x-amz-tagging-directive is neither COPY nor REPLACE");
	return 0;
}

/* --- as XML --- */

static void
put_tag(void *arg, const char *key, const char *value)
{
	struct buf *b = arg;

	xml_open(b, "Tag");
	xml_text(b, "Key", key);
	xml_text(b, "Value", value);
	xml_close(b, "Tag");
}

static int
answer_tags(struct s3_call *c, struct span text, struct err *e)
{
	struct buf *b = &c->r->body;

	buf_add_str(b, S3_XML_ROOT("Tagging"));
	xml_open(b, "TagSet");
	if (text.len && tags_each((const char *)text.data, text.len, put_tag, b, e) < 0)
		return -1;
	xml_close(b, "TagSet");
	xml_close(b, "Tagging");
	s3_answer_xml(c->r, 200);
	return 0;
}

struct reading {
	const char *set; /* the path of what holds the tags */
	struct tags *tags;
	struct buf key, value;
	bool has_key, has_value, has_set;
	bool is_refused; /* the tag is well-formed and not allowed */
};

static void
reading_free(struct reading *r)
{
	buf_free(&r->key);
	buf_free(&r->value);
}

static int
keep_text(struct buf *to, bool *has, const char *text, struct err *e)
{
	if (*has)
		return err_set(e, ERR_BAD, "a Tag has one Key and one Value");
	*has = true;
	buf_clear(to);
	buf_add_str(to, text);
	return buf_check(to, e);
}

static int
read_tag(void *arg, const char *path, const char *text, struct err *e)
{
	struct reading *r = arg;

	if (strncmp(path, r->set, strlen(r->set)) != 0)
		return 0;
	path += strlen(r->set);
	if (!*path)
		r->has_set = true;
	if (!strcmp(path, "/Tag/Key"))
		return keep_text(&r->key, &r->has_key, text, e);
	if (!strcmp(path, "/Tag/Value"))
		return keep_text(&r->value, &r->has_value, text, e);
	if (strcmp(path, "/Tag") != 0)
		return 0;
	if (!r->has_key || !r->has_value)
		return err_set(e, ERR_BAD, "a Tag lacks its Key or its Value");
	r->has_key = r->has_value = false;
	if (tags_add(r->tags, buf_str(&r->key), buf_str(&r->value), e) < 0) {
		r->is_refused = e->kind != ERR_MEMORY;
		return -1;
	}
	return 0;
}

/* The body's tags below SET. */
static int
read_set(struct s3_call *c, const char *set, const struct xml_element *elements, size_t n,
    struct tags *out, bool *has_set, struct err *e)
{
	_cleanup_(reading_free) struct reading r = { .set = set, .tags = out };
	int rc = xml_read_only(c->body, elements, n, read_tag, &r, e);

	*has_set = r.has_set;
	if (rc < 0 && r.is_refused) {
		c->status = 400;
		c->code = "InvalidTag";
		return -1;
	}
	return rc == 0
	    ? 0
	    : s3_refuse(c, e, 400, "MalformedXML", "the body is not the XML that was expected");
}

static int
read_tags(struct s3_call *c, struct tags *out, struct err *e)
{
	static const struct xml_element elements[] = { { "Tagging" }, { "Tagging/TagSet" },
		{ "Tagging/TagSet/Tag", true }, { "Tagging/TagSet/Tag/Key" },
		{ "Tagging/TagSet/Tag/Value" } };
	bool has_set;

	if (read_set(c, "Tagging/TagSet", elements, ARRAY_LEN(elements), out, &has_set, e) < 0)
		return -1;
	if (!has_set)
		return s3_refuse(c, e, 400, "MalformedXML", "the body is no Tagging with a TagSet");
	return 0;
}

#define CREATION "CreateBucketConfiguration"

int
s3_tags_of_new_bucket(struct s3_call *c, struct buf *text, struct err *e)
{
	static const struct xml_element elements[] = { { CREATION },
		{ CREATION "/LocationConstraint" }, { CREATION "/Location" },
		{ CREATION "/Location/Name" }, { CREATION "/Location/Type" },
		{ CREATION "/Bucket" }, { CREATION "/Bucket/DataRedundancy" },
		{ CREATION "/Bucket/Type" }, { CREATION "/Tags" }, { CREATION "/Tags/Tag", true },
		{ CREATION "/Tags/Tag/Key" }, { CREATION "/Tags/Tag/Value" } };
	_cleanup_(tags_free) struct tags t = TAGS_INIT(TAGS_OF_BUCKET);
	bool has_set;

	if (c->body.len &&
	    read_set(c, CREATION "/Tags", elements, ARRAY_LEN(elements), &t, &has_set, e) < 0)
		return -1;
	buf_add(text, t.text.data, t.text.len);
	return buf_check(text, e);
}

int
s3_tags_of_form(struct s3_call *c, const char *xml, struct buf *text, struct err *e)
{
	_cleanup_(tags_free) struct tags t = TAGS_INIT(TAGS_OF_OBJECT);

	c->body = (struct span){ (const uint8_t *)xml, strlen(xml) };
	if (read_tags(c, &t, e) < 0)
		return -1;
	buf_add(text, t.text.data, t.text.len);
	return buf_check(text, e);
}

/* --- of an object --- */

int
s3_get_tagging(struct s3_call *c, struct err *e)
{
	_cleanup_(object_closep) struct object *o = s3_object(c, false, e);
	struct span text;

	if (!o)
		return -1;
	text = s3_header_line(&object_info(o)->headers, TAGGING_LINE);
	if (answer_tags(c, text, e) < 0)
		return -1;
	s3_answer_version(c->r, "x-amz-version-id", object_info(o));
	return 0;
}

/* TEXT (NULL: none) as the object's tags, and STATUS. */
static int
write_tags(struct s3_call *c, const char *text, unsigned status, struct err *e)
{
	const char *version = request_arg(c->r, "versionId");
	char found[FILES_VERSION_SIZE];
	struct object_absence why;
	int rc;

	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = files_line_set(
	    &c->files, c->bucket, c->key, version, TAGGING_LINE, text, found, &why, e);
	s3_write_end(c);
	if (rc < 0) {
		if (e->kind == ERR_MISSING)
			c->code = why.is_bucket ? "NoSuchBucket"
			    : version           ? "NoSuchVersion"
			                        : "NoSuchKey";
		if (e->kind == ERR_STALE)
			return s3_refuse(
			    c, e, 405, "MethodNotAllowed", "a delete marker has no tags");
		return -1;
	}
	c->r->status = status;
	if (found[0])
		response_header(c->r, "x-amz-version-id", "%s", found);
	return 0;
}

int
s3_put_tagging(struct s3_call *c, struct err *e)
{
	_cleanup_(tags_free) struct tags t = TAGS_INIT(TAGS_OF_OBJECT);

	if (read_tags(c, &t, e) < 0)
		return -1;
	return write_tags(c, t.n ? buf_str(&t.text) : NULL, 200, e);
}

int
s3_delete_tagging(struct s3_call *c, struct err *e)
{
	return write_tags(c, NULL, 204, e);
}

/* --- of a bucket --- */

int
s3_get_bucket_tagging(struct s3_call *c, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(0);
	int found = files_setting_get(&c->files, c->bucket, BUCKET_TAGGING, &text, e);

	if (found < 0)
		return -1;
	if (!found)
		return s3_refuse(c, e, 404, "NoSuchTagSet", "the bucket has no tags");
	return answer_tags(c, (struct span){ text.data, text.len }, e);
}

int
s3_put_bucket_tagging(struct s3_call *c, struct err *e)
{
	_cleanup_(tags_free) struct tags t = TAGS_INIT(TAGS_OF_BUCKET);

	if (read_tags(c, &t, e) < 0)
		return -1;
	return s3_setting_put(c, BUCKET_TAGGING, (struct span){ t.text.data, t.text.len }, e);
}

int
s3_delete_bucket_tagging(struct s3_call *c, struct err *e)
{
	return s3_setting_remove(c, BUCKET_TAGGING, e);
}
