/* s3_version.c - buckets that keep versions: the setting, and listing them. */
#include "front/s3_private.h"

#include <string.h>

#include "base/host.h"
#include "front/xml.h"

/* --- the setting --- */

static const char *const states[] = {
	[VERSIONING_ON] = "Enabled",
	[VERSIONING_SUSPENDED] = "Suspended",
};

int
s3_get_versioning(struct s3_call *c, struct err *e)
{
	enum files_versioning v;
	struct buf *b = &c->r->body;

	if (files_versioning(&c->files, c->bucket, &v, e) < 0)
		return -1;
	buf_add_str(b, S3_XML_ROOT("VersioningConfiguration"));
	if (states[v])
		xml_text(b, "Status", states[v]);
	xml_close(b, "VersioningConfiguration");
	s3_answer_xml(c->r, 200);
	return 0;
}

struct setting {
	enum files_versioning v;
	bool is_bad, wants_mfa;
};

static int
read_setting(void *arg, const char *path, const char *text, struct err *e)
{
	struct setting *s = arg;

	(void)e;
	if (!strcmp(path, "VersioningConfiguration/MfaDelete"))
		s->wants_mfa = strcmp(text, "Disabled") != 0;
	if (strcmp(path, "VersioningConfiguration/Status") != 0)
		return 0;
	s->is_bad = true;
	for (unsigned i = VERSIONING_ON; i <= VERSIONING_SUSPENDED; i++)
		if (!strcmp(text, states[i])) {
			s->v = i;
			s->is_bad = false;
		}
	return 0;
}

int
s3_put_versioning(struct s3_call *c, struct err *e)
{
	static const struct xml_element elements[] = { { "VersioningConfiguration" },
		{ "VersioningConfiguration/Status" }, { "VersioningConfiguration/MfaDelete" } };
	struct setting s = { .v = VERSIONING_OFF };
	int rc;

	if (xml_read_only(c->body, elements, ARRAY_LEN(elements), read_setting, &s, e) < 0 ||
	    s.is_bad || s.v == VERSIONING_OFF)
		return s3_refuse(c, e, 400, "MalformedXML",
		    "the body is no VersioningConfiguration with the Status Enabled or Suspended");
	if (s.wants_mfa)
		return s3_refuse(c, e, 501, "NotImplemented", "MFA delete is not implemented");
	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = files_versioning_set(&c->files, c->bucket, s.v, e);
	s3_write_end(c);
	if (rc < 0)
		return e->kind == ERR_DENIED
		    ? s3_refuse(c, e, 409, "InvalidBucketState",
		          "versioning of a bucket with object lock can't be suspended")
		    : -1;
	c->r->status = 200;
	return 0;
}

/* --- listing --- */

struct versions {
	struct s3_call *c;
	struct buf prefixes;
	bool is_url;
};

static void
put_prefix(struct versions *l, const char *prefix)
{
	xml_open(&l->prefixes, "CommonPrefixes");
	s3_put_name(&l->prefixes, l->is_url, "Prefix", prefix);
	xml_close(&l->prefixes, "CommonPrefixes");
}

static int
put_version(void *arg, const char *key, const struct object_info *i, struct err *e)
{
	struct versions *l = arg;
	struct buf *b = &l->c->r->body;
	const char *tag;
	char when[25];

	(void)e;
	if (!i) {
		put_prefix(l, key);
		return 0;
	}
	tag = i->is_marker ? "DeleteMarker" : "Version";
	host_time_text(i->modified_ms, when);
	xml_open(b, tag);
	s3_put_name(b, l->is_url, "Key", key);
	xml_text(b, "VersionId", i->version);
	xml_text(b, "IsLatest", i->is_latest ? "true" : "false");
	xml_text(b, "LastModified", when);
	if (!i->is_marker) {
		xml_printf(b, "ETag", "\"%s\"", i->etag);
		s3_put_listed_sum(b, i);
		xml_printf(b, "Size", "%llu", (unsigned long long)i->size);
		xml_text(b, "StorageClass", "STANDARD");
	}
	s3_put_owner(l->c, "Owner");
	xml_close(b, tag);
	return 0;
}

static int
versions_query(struct versions *l, struct version_query *q, struct err *e)
{
	struct s3_call *c = l->c;
	struct request *r = c->r;
	const char *encoding = request_arg(r, "encoding-type");
	const char *after = s3_arg(r, "version-id-marker");

	l->is_url = encoding && !strcmp(encoding, "url");
	if (encoding && !l->is_url)
		return s3_refuse(c, e, 400, "InvalidArgument", "encoding-type can only be url");
	*q = (struct version_query){
		.list = { .bucket = c->bucket,
		    .prefix = s3_arg(r, "prefix"),
		    .delimiter = s3_arg(r, "delimiter"),
		    .after = s3_arg(r, "key-marker"),
		    .max = S3_LIST_MAX },
		.after_version = *after ? after : NULL,
	};
	if (q->after_version && !q->list.after[0])
		return s3_refuse(c, e, 400, "InvalidArgument",
		    "version-id-marker means nothing without key-marker");
	return s3_number(request_arg(r, "max-keys"), "max-keys", 0, S3_LIST_MAX, &q->list.max, e);
}

static int
put_versions(struct versions *l, const struct version_query *q, struct err *e)
{
	struct buf *b = &l->c->r->body;
	char next[FILES_KEY_MAX + 1], next_version[FILES_VERSION_SIZE];
	bool is_truncated;

	buf_add_str(b, S3_XML_ROOT("ListVersionsResult"));
	xml_text(b, "Name", l->c->bucket);
	s3_put_name(b, l->is_url, "Prefix", q->list.prefix);
	s3_put_name(b, l->is_url, "KeyMarker", q->list.after);
	xml_text(b, "VersionIdMarker", q->after_version ? q->after_version : "");
	if (q->list.delimiter[0])
		s3_put_name(b, l->is_url, "Delimiter", q->list.delimiter);
	xml_printf(b, "MaxKeys", "%u", q->list.max);
	if (l->is_url)
		xml_text(b, "EncodingType", "url");
	if (files_list_versions(
	        &l->c->files, q, put_version, l, &is_truncated, next, next_version, e) < 0)
		return -1;
	buf_add(b, l->prefixes.data, l->prefixes.len);
	xml_text(b, "IsTruncated", is_truncated ? "true" : "false");
	if (is_truncated) {
		s3_put_name(b, l->is_url, "NextKeyMarker", next);
		if (next_version[0])
			xml_text(b, "NextVersionIdMarker", next_version);
	}
	xml_close(b, "ListVersionsResult");
	return buf_check(&l->prefixes, e);
}

int
s3_list_versions(struct s3_call *c, struct err *e)
{
	struct versions l = { .c = c, .prefixes = BUF_INIT(S3_ANSWER_MAX) };
	struct version_query q;
	int rc = versions_query(&l, &q, e);

	if (rc == 0)
		rc = put_versions(&l, &q, e);
	buf_free(&l.prefixes);
	if (rc < 0)
		return -1;
	s3_answer_xml(c->r, 200);
	return 0;
}
