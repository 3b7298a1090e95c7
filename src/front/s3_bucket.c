/* s3_bucket.c - making, finding and removing buckets, and what clients ask about them. */
#include "front/s3_private.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/host.h"
#include "base/refused.h"
#include "front/xml.h"

#define BUCKETS_MAX 10000u /* in a page */

void
s3_put_owner(struct s3_call *c, const char *tag)
{
	struct buf *b = &c->r->body;
	char id[ACCOUNT_TEXT_SIZE];

	account_text(&c->r->account, id);
	xml_open(b, tag);
	xml_text(b, "ID", id);
	xml_text(b, "DisplayName", id);
	xml_close(b, tag);
}

/* A page of buckets. All are read for each: an account has tens of them. */
struct bucket_listing {
	const struct s3_call *c;
	struct buf *b;
	const char *prefix, *after;
	unsigned max, n;
	bool tells_region; /* as S3 does where anything is asked for */
	bool is_truncated;
	char last[FILES_BUCKET_MAX + 1];
};

static int
put_bucket(void *arg, const char *name, uint64_t created_ms, struct err *e)
{
	struct bucket_listing *l = arg;
	char when[25];

	(void)e;
	if (strncmp(name, l->prefix, strlen(l->prefix)) != 0 || strcmp(name, l->after) <= 0 ||
	    !s3_scope_has_bucket(l->c, name))
		return 0;
	if (l->n == l->max) {
		l->is_truncated = true;
		return 0;
	}
	l->n++;
	snprintf(l->last, sizeof l->last, "%s", name);
	host_time_text(created_ms, when);
	xml_open(l->b, "Bucket");
	xml_text(l->b, "Name", name);
	xml_text(l->b, "CreationDate", when);
	if (l->tells_region)
		xml_text(l->b, "BucketRegion", l->c->r->node->region);
	xml_close(l->b, "Bucket");
	return 0;
}

static int
list_buckets(struct s3_call *c, struct bucket_listing *l, struct err *e)
{
	struct buf *b = l->b;
	_cleanup_buf_ struct buf token = BUF_INIT(2 * FILES_BUCKET_MAX);
	const char *region = s3_arg(c->r, "bucket-region");

	buf_add_str(b, S3_XML_ROOT("ListAllMyBucketsResult"));
	s3_put_owner(c, "Owner");
	xml_open(b, "Buckets");
	if ((!region[0] || !strcmp(region, c->r->node->region)) &&
	    files_buckets(&c->files, put_bucket, l, e) < 0)
		return -1;
	xml_close(b, "Buckets");
	if (l->is_truncated) {
		s3_token_text(l->last, &token);
		xml_text(b, "ContinuationToken", buf_str(&token));
	}
	if (l->prefix[0])
		xml_text(b, "Prefix", l->prefix);
	xml_close(b, "ListAllMyBucketsResult");
	s3_answer_xml(c->r, 200);
	return 0;
}

int
s3_list_buckets(struct s3_call *c, struct err *e)
{
	struct request *r = c->r;
	char after[FILES_KEY_MAX + 1] = "";
	struct bucket_listing l = {
		.c = c,
		.b = &r->body,
		.prefix = s3_arg(r, "prefix"),
		.after = after,
		.max = BUCKETS_MAX,
		.tells_region = request_arg(r, "max-buckets") || request_arg(r, "prefix") ||
		    request_arg(r, "bucket-region") || request_arg(r, "continuation-token"),
	};
	const char *token = request_arg(r, "continuation-token");

	if (s3_number(request_arg(r, "max-buckets"), "max-buckets", 1, BUCKETS_MAX, &l.max, e) < 0)
		return -1;
	if (token && s3_token_parse(token, after, e) < 0)
		return -1;
	return list_buckets(c, &l, e);
}

/* What a new bucket shall be in other ways than a bucket is here. */
static int
check_creation(struct s3_call *c, struct err *e)
{
	const char *ownership = request_header(c->r, "x-amz-object-ownership");

	if (ownership && strcmp(ownership, "BucketOwnerEnforced") != 0)
		return s3_refuse(c, e, 501, "NotImplemented",
		    "x-amz-object-ownership can only be BucketOwnerEnforced");
	if (s3_headers_check(c, e) == 0)
		return 0;
	if (c->code && !strcmp(c->code, "AccessControlListNotSupported"))
		c->code = "InvalidBucketAclWithObjectOwnership";
	return -1;
}

int
s3_create_bucket(struct s3_call *c, struct err *e)
{
	_cleanup_buf_ struct buf tags = BUF_INIT(0);
	const char *locking = request_header(c->r, "x-amz-bucket-object-lock-enabled");
	int rc;

	if (check_creation(c, e) < 0)
		return -1;
	if (files_bucket_check(c->bucket, e) < 0)
		return s3_refuse(
		    c, e, 400, "InvalidBucketName", "that can't be the name of a bucket");
	if (locking && strcasecmp(locking, "true") != 0 && strcasecmp(locking, "false") != 0)
		return s3_refuse(c, e, 400, "InvalidArgument",
		    "x-amz-bucket-object-lock-enabled is neither true nor false");
	if (s3_tags_of_new_bucket(c, &tags, e) < 0)
		return -1;
	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = files_bucket_make(&c->files, c->bucket, locking && !strcasecmp(locking, "true"),
	    tags.len ? BUCKET_TAGGING : NULL, (struct span){ tags.data, tags.len }, e);
	s3_write_end(c);
	if (rc < 0 && e->kind == ERR_TOO_BIG) {
		refused_count(REFUSED_BUCKETS);
		return s3_refuse(c, e, 400, "TooManyBuckets",
		    "the account has as many buckets as it may: remove one, or ask the operator for more");
	}
	if (rc < 0)
		return -1;
	c->r->status = 200;
	response_header(c->r, "Location", "/%s", c->bucket);
	return 0;
}

int
s3_head_bucket(struct s3_call *c, struct err *e)
{
	if (files_bucket_find(&c->files, c->bucket, e) < 0)
		return -1;
	c->r->status = 200;
	response_header(c->r, "x-amz-bucket-region", "%s", c->r->node->region);
	return 0;
}

int
s3_delete_bucket(struct s3_call *c, struct err *e)
{
	int rc;

	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = files_bucket_remove(&c->files, c->bucket, e);
	s3_write_end(c);
	if (rc < 0) {
		if (e->kind == ERR_BUSY && !c->files.would_block)
			return s3_refuse(c, e, 409, "BucketNotEmpty", "the bucket is not empty");
		return -1;
	}
	c->r->status = 204;
	return 0;
}

int
s3_get_location(struct s3_call *c, struct err *e)
{
	struct buf *b = &c->r->body;

	if (files_bucket_find(&c->files, c->bucket, e) < 0)
		return -1;
	buf_printf(
	    b, S3_XML_ROOT("LocationConstraint") "%s</LocationConstraint>", c->r->node->region);
	s3_answer_xml(c->r, 200);
	return 0;
}

/* Settings that no bucket has: how S3 says so. */
static const struct {
	const char *query, *code;
} constants[] = {
	{ "policy", "NoSuchBucketPolicy" },
	{ "website", "NoSuchWebsiteConfiguration" },
	{ "replication", "ReplicationConfigurationNotFoundError" },
};

int
s3_get_constant(struct s3_call *c, struct err *e)
{
	size_t i = 0;

	if (files_bucket_find(&c->files, c->bucket, e) < 0)
		return -1;
	while (strcmp(constants[i].query, c->op->query) != 0)
		i++;
	return s3_refuse(c, e, 404, constants[i].code, "the bucket has no such setting");
}

/* --- what is set for a bucket --- */

int
s3_setting_put(struct s3_call *c, const char *name, struct span value, struct err *e)
{
	int rc;

	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = files_setting_put(&c->files, c->bucket, name, value, e);
	s3_write_end(c);
	if (rc == 0)
		c->r->status = 200;
	return rc;
}

int
s3_setting_remove(struct s3_call *c, const char *name, struct err *e)
{
	int rc;

	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = files_setting_remove(&c->files, c->bucket, name, e);
	s3_write_end(c);
	if (rc == 0)
		c->r->status = 204;
	return rc;
}
