/* s3_fixed.c - settings that are the same of every bucket: its owner owns all objects, nothing is public,
 * everything is encrypted, and so on. They can be read, and set to what they are, which clients that
 * describe a bucket as a whole do; what would change them is refused.
 */
#include "front/s3_private.h"

#include <string.h>
#include <strings.h>

#include "front/xml.h"

#define LEAVES_MAX 4

struct leaf {
	const char *path, *value; /* value NULL: whatever it says makes no difference */
};

static const struct fixed {
	const char *query, *root;
	const char *inside; /* the answer's, within the root */
	struct leaf leaves[LEAVES_MAX];
} all[] = {
	{ "accelerate", "AccelerateConfiguration", "", { { "/Status", "Suspended" } } },
	{ "encryption", "ServerSideEncryptionConfiguration",
	    "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>"
	    "</ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule>",
	    { { "/Rule/ApplyServerSideEncryptionByDefault/SSEAlgorithm", "AES256" },
	        { "/Rule/BucketKeyEnabled", NULL } } },
	{ "logging", "BucketLoggingStatus", "", { { NULL, NULL } } },
	{ "notification", "NotificationConfiguration", "", { { NULL, NULL } } },
	{ "ownershipControls", "OwnershipControls",
	    "<Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>",
	    { { "/Rule/ObjectOwnership", "BucketOwnerEnforced" } } },
	{ "policyStatus", "PolicyStatus", "<IsPublic>false</IsPublic>", { { NULL, NULL } } },
	{ "publicAccessBlock", "PublicAccessBlockConfiguration",
	    "<BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls>"
	    "<BlockPublicPolicy>true</BlockPublicPolicy>"
	    "<RestrictPublicBuckets>true</RestrictPublicBuckets>",
	    { { "/BlockPublicAcls", "true" }, { "/IgnorePublicAcls", "true" },
	        { "/BlockPublicPolicy", "true" }, { "/RestrictPublicBuckets", "true" } } },
	{ "requestPayment", "RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>",
	    { { "/Payer", "BucketOwner" } } },
};

static const struct fixed *
fixed_of(const struct s3_call *c)
{
	const struct fixed *f = all;

	while (strcmp(f->query, c->op->query) != 0)
		f++;
	return f;
}

int
s3_get_fixed(struct s3_call *c, struct err *e)
{
	const struct fixed *f = fixed_of(c);

	if (files_bucket_find(&c->files, c->bucket, e) < 0)
		return -1;
	buf_printf(&c->r->body, S3_XML_ROOT("%s") "%s", f->root, f->inside);
	xml_close(&c->r->body, f->root);
	s3_answer_xml(c->r, 200);
	return 0;
}

struct reading {
	const struct fixed *fixed;
	unsigned seen; /* a bit a leaf */
	bool is_other; /* well-formed, and not as it is */
};

/* Elements around a leaf are told too, without a text. */
static bool
is_around(const char *path, const char *leaf)
{
	size_t n = strlen(path);

	return !strncmp(path, leaf, n) && leaf[n] == '/';
}

static int
read_leaf(void *arg, const char *path, const char *text, struct err *e)
{
	struct reading *r = arg;
	size_t n = strlen(r->fixed->root);
	bool is_known = false;

	if (strncmp(path, r->fixed->root, n) != 0 || (path[n] && path[n] != '/'))
		return err_set(e, ERR_BAD, "the body is no %s", r->fixed->root);
	path += n;
	if (!*path)
		return 0;
	for (unsigned i = 0; i < LEAVES_MAX && r->fixed->leaves[i].path; i++) {
		const struct leaf *l = &r->fixed->leaves[i];

		if (!strcmp(path, l->path)) {
			r->seen |= BIT(i);
			r->is_other |= l->value && strcasecmp(text, l->value) != 0;
			is_known = true;
		} else if (is_around(path, l->path)) {
			is_known = true;
		}
	}
	r->is_other |= !is_known;
	return 0;
}

/* Every leaf with a value has to be there: what is missing means another value to S3. */
static bool
is_as_it_is(const struct reading *r)
{
	for (unsigned i = 0; i < LEAVES_MAX && r->fixed->leaves[i].path; i++) {
		if (r->fixed->leaves[i].value && !(r->seen & BIT(i)))
			return false;
	}
	return !r->is_other;
}

int
s3_put_fixed(struct s3_call *c, struct err *e)
{
	struct reading r = { .fixed = fixed_of(c) };

	if (xml_read(c->body, read_leaf, &r, e) < 0) {
		if (e->kind == ERR_MEMORY)
			return -1;
		return s3_refuse(
		    c, e, 400, "MalformedXML", "the body is not the XML that was expected");
	}
	if (!is_as_it_is(&r))
		return s3_refuse(c, e, 501, "NotImplemented",
		    "?%s can only be set to what it is; GET tells", c->op->query);
	if (files_bucket_find(&c->files, c->bucket, e) < 0)
		return -1;
	c->r->status = 200;
	return 0;
}

/* What is taken back is what it was before. */
int
s3_delete_fixed(struct s3_call *c, struct err *e)
{
	if (files_bucket_find(&c->files, c->bucket, e) < 0)
		return -1;
	c->r->status = 204;
	return 0;
}
