/* s3_bucket.c - making, finding and removing buckets, and what clients ask about them. */
#include "front/s3_private.h"

#include <string.h>
#include <strings.h>

#include "base/host.h"
#include "front/xml.h"

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

static int
put_bucket(void *arg, const char *name, uint64_t created_ms, struct err *e)
{
	struct buf *b = arg;
	char when[25];

	(void)e;
	host_time_text(created_ms, when);
	xml_open(b, "Bucket");
	xml_text(b, "Name", name);
	xml_text(b, "CreationDate", when);
	xml_close(b, "Bucket");
	return 0;
}

int
s3_list_buckets(struct s3_call *c, struct err *e)
{
	struct buf *b = &c->r->body;

	buf_add_str(b, S3_XML_ROOT("ListAllMyBucketsResult"));
	s3_put_owner(c, "Owner");
	xml_open(b, "Buckets");
	if (files_buckets(&c->files, put_bucket, b, e) < 0)
		return -1;
	xml_close(b, "Buckets");
	xml_close(b, "ListAllMyBucketsResult");
	s3_answer_xml(c->r, 200);
	return 0;
}

/* Whatever place it names: where an account's buckets are is a matter of the account's home. */
static int
ignore_element(void *arg, const char *path, const char *text, struct err *e)
{
	(void)arg, (void)path, (void)text, (void)e;
	return 0;
}

int
s3_create_bucket(struct s3_call *c, struct err *e)
{
	const char *locking = request_header(c->r, "x-amz-bucket-object-lock-enabled");
	int rc;

	if (s3_headers_check(c, e) < 0)
		return -1;
	if (files_bucket_check(c->bucket, e) < 0)
		return s3_refuse(
		    c, e, 400, "InvalidBucketName", "that can't be the name of a bucket");
	if (c->body.len && xml_read(c->body, ignore_element, NULL, e) < 0)
		return s3_refuse(
		    c, e, 400, "MalformedXML", "the body is not the XML that was expected");
	if (s3_write_begin(c, e) < 0)
		return -1;
	if (locking && !strcasecmp(locking, "true"))
		rc = files_bucket_create_locking(&c->files, c->bucket, e);
	else
		rc = files_bucket_create(&c->files, c->bucket, e);
	s3_write_end(c);
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

int
s3_get_bucket_acl(struct s3_call *c, struct err *e)
{
	struct buf *b = &c->r->body;
	char id[ACCOUNT_TEXT_SIZE];

	if (c->level == LEVEL_BUCKET && files_bucket_find(&c->files, c->bucket, e) < 0)
		return -1;
	account_text(&c->r->account, id);
	buf_add_str(b, S3_XML_ROOT("AccessControlPolicy"));
	s3_put_owner(c, "Owner");
	buf_printf(b,
	    "<AccessControlList><Grant>"
	    "<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\""
	    " xsi:type=\"CanonicalUser\"><ID>%s</ID><DisplayName>%s</DisplayName></Grantee>"
	    "<Permission>FULL_CONTROL</Permission></Grant></AccessControlList>"
	    "</AccessControlPolicy>",
	    id, id);
	s3_answer_xml(c->r, 200);
	return 0;
}

/* Settings that no bucket has: how S3 says so. With a code an error 404, else an empty element. */
static const struct {
	const char *query, *code, *element;
} constants[] = {
	{ "logging", NULL, "BucketLoggingStatus" },
	{ "notification", NULL, "NotificationConfiguration" },
	{ "requestPayment", NULL, "RequestPaymentConfiguration" },
	{ "policy", "NoSuchBucketPolicy", NULL },
	{ "lifecycle", "NoSuchLifecycleConfiguration", NULL },
	{ "encryption", "ServerSideEncryptionConfigurationNotFoundError", NULL },
	{ "cors", "NoSuchCORSConfiguration", NULL },
	{ "website", "NoSuchWebsiteConfiguration", NULL },
	{ "replication", "ReplicationConfigurationNotFoundError", NULL },
	{ "ownershipControls", "OwnershipControlsNotFoundError", NULL },
	{ "publicAccessBlock", "NoSuchPublicAccessBlockConfiguration", NULL },
};

int
s3_get_constant(struct s3_call *c, struct err *e)
{
	struct buf *b = &c->r->body;
	size_t i = 0;

	if (files_bucket_find(&c->files, c->bucket, e) < 0)
		return -1;
	while (strcmp(constants[i].query, c->op->query) != 0)
		i++;
	if (constants[i].code)
		return s3_refuse(c, e, 404, constants[i].code, "the bucket has no such setting");
	buf_printf(b, S3_XML_ROOT("%s"), constants[i].element);
	if (!strcmp(constants[i].query, "requestPayment"))
		xml_text(b, "Payer", "BucketOwner");
	xml_close(b, constants[i].element);
	s3_answer_xml(c->r, 200);
	return 0;
}
