/* s3.c - from a request to its operation: name the account, find its home, check the signature,
 * carry out, answer.
 *
 * A change enters the gate twice: as an upload from the beginning, so that nothing it has written
 * is erased under it, and as a write around the transaction alone, so that a move's fence waits for
 * milliseconds and not for a body. Between the two the account may have moved; then the request
 * goes on at the new home with what it has received so far.
 */
#include "front/s3_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/host.h"
#include "base/rate.h"
#include "base/refused.h"
#include "directory/directory.h"
#include "directory/peer.h"
#include "front/form.h"
#include "front/forward.h"
#include "service/access.h"
#include "service/applications.h"
#include "service/policy.h"
#include "service/routes.h"

#define HOPS_MAX 4

/* The first row that fits; so a row with a query or a copy comes before the one without. */
static const struct s3_operation operations[] = {
	{ "GET", LEVEL_ROOT, NULL, .fn = s3_list_buckets, .missing = "NoSuchBucket" },

	{ "GET", LEVEL_BUCKET, "list-type", .fn = s3_list_v2, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "uploads", .fn = s3_multipart_uploads, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "location", .fn = s3_get_location, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "acl", .fn = s3_get_bucket_acl, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "versioning", .fn = s3_get_versioning, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "versions", .fn = s3_list_versions, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "policy", .fn = s3_get_constant, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "lifecycle", .fn = s3_get_lifecycle, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "tagging", .fn = s3_get_bucket_tagging, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "cors", .fn = s3_get_cors, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "object-lock", .fn = s3_get_lock_default,
	    .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "website", .fn = s3_get_constant, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "replication", .fn = s3_get_constant, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "accelerate", .fn = s3_get_fixed, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "encryption", .fn = s3_get_fixed, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "logging", .fn = s3_get_fixed, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "notification", .fn = s3_get_fixed, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "ownershipControls", .fn = s3_get_fixed, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "policyStatus", .fn = s3_get_fixed, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "publicAccessBlock", .fn = s3_get_fixed, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, "requestPayment", .fn = s3_get_fixed, .missing = "NoSuchBucket" },
	{ "GET", LEVEL_BUCKET, NULL, .fn = s3_list_v1, .missing = "NoSuchBucket" },
	{ "HEAD", LEVEL_BUCKET, NULL, .fn = s3_head_bucket, .missing = "NoSuchBucket" },
	{ "PUT", LEVEL_BUCKET, "versioning", .changes = true, .fn = s3_put_versioning,
	    .missing = "NoSuchBucket" },
	{ "PUT", LEVEL_BUCKET, "object-lock", .changes = true, .fn = s3_put_lock_default,
	    .missing = "NoSuchBucket" },
	{ "PUT", LEVEL_BUCKET, "tagging", .changes = true, .fn = s3_put_bucket_tagging,
	    .missing = "NoSuchBucket" },
	{ "PUT", LEVEL_BUCKET, "accelerate", .fn = s3_put_fixed, .missing = "NoSuchBucket" },
	{ "PUT", LEVEL_BUCKET, "encryption", .fn = s3_put_fixed, .missing = "NoSuchBucket" },
	{ "PUT", LEVEL_BUCKET, "logging", .fn = s3_put_fixed, .missing = "NoSuchBucket" },
	{ "PUT", LEVEL_BUCKET, "notification", .fn = s3_put_fixed, .missing = "NoSuchBucket" },
	{ "PUT", LEVEL_BUCKET, "ownershipControls", .fn = s3_put_fixed, .missing = "NoSuchBucket" },
	{ "PUT", LEVEL_BUCKET, "publicAccessBlock", .fn = s3_put_fixed, .missing = "NoSuchBucket" },
	{ "PUT", LEVEL_BUCKET, "requestPayment", .fn = s3_put_fixed, .missing = "NoSuchBucket" },
	{ "PUT", LEVEL_BUCKET, "acl", .fn = s3_put_bucket_acl, .missing = "NoSuchBucket" },
	{ "PUT", LEVEL_BUCKET, "cors", .changes = true, .fn = s3_put_cors,
	    .missing = "NoSuchBucket" },
	{ "PUT", LEVEL_BUCKET, "lifecycle", .changes = true, .fn = s3_put_lifecycle,
	    .missing = "NoSuchBucket" },
	{ "PUT", LEVEL_BUCKET, NULL, .changes = true, .fn = s3_create_bucket },
	{ "DELETE", LEVEL_BUCKET, "tagging", .changes = true, .fn = s3_delete_bucket_tagging,
	    .missing = "NoSuchBucket" },
	{ "DELETE", LEVEL_BUCKET, "cors", .changes = true, .fn = s3_delete_cors,
	    .missing = "NoSuchBucket" },
	{ "DELETE", LEVEL_BUCKET, "encryption", .fn = s3_delete_fixed, .missing = "NoSuchBucket" },
	{ "DELETE", LEVEL_BUCKET, "ownershipControls", .fn = s3_delete_fixed,
	    .missing = "NoSuchBucket" },
	{ "DELETE", LEVEL_BUCKET, "policy", .fn = s3_delete_fixed, .missing = "NoSuchBucket" },
	{ "DELETE", LEVEL_BUCKET, "replication", .fn = s3_delete_fixed, .missing = "NoSuchBucket" },
	{ "DELETE", LEVEL_BUCKET, "website", .fn = s3_delete_fixed, .missing = "NoSuchBucket" },
	{ "DELETE", LEVEL_BUCKET, "lifecycle", .changes = true, .fn = s3_delete_lifecycle,
	    .missing = "NoSuchBucket" },
	{ "DELETE", LEVEL_BUCKET, NULL, .changes = true, .fn = s3_delete_bucket,
	    .missing = "NoSuchBucket" },
	{ "POST", LEVEL_BUCKET, "delete", .changes = true, .fn = s3_delete_many,
	    .missing = "NoSuchBucket" },
	{ "POST", LEVEL_BUCKET, NULL, .changes = true, .takes_body = true, .is_of_data = true,
	    .fn = s3_post_object, .missing = "NoSuchBucket" },

	{ "GET", LEVEL_KEY, "uploadId", .fn = s3_multipart_parts, .missing = "NoSuchUpload" },
	{ "GET", LEVEL_KEY, "acl", .takes_version = true, .fn = s3_get_object_acl,
	    .missing = "NoSuchKey" },
	{ "PUT", LEVEL_KEY, "acl", .takes_version = true, .fn = s3_put_object_acl,
	    .missing = "NoSuchKey" },
	{ "GET", LEVEL_KEY, "tagging", .takes_version = true, .fn = s3_get_tagging,
	    .missing = "NoSuchKey" },
	{ "PUT", LEVEL_KEY, "tagging", .changes = true, .takes_version = true, .fn = s3_put_tagging,
	    .missing = "NoSuchKey" },
	{ "DELETE", LEVEL_KEY, "tagging", .changes = true, .takes_version = true,
	    .fn = s3_delete_tagging, .missing = "NoSuchKey" },
	{ "GET", LEVEL_KEY, "retention", .takes_version = true, .fn = s3_get_retention,
	    .missing = "NoSuchKey" },
	{ "GET", LEVEL_KEY, "legal-hold", .takes_version = true, .fn = s3_get_hold,
	    .missing = "NoSuchKey" },
	{ "PUT", LEVEL_KEY, "retention", .changes = true, .takes_version = true,
	    .fn = s3_put_retention, .missing = "NoSuchKey" },
	{ "PUT", LEVEL_KEY, "legal-hold", .changes = true, .takes_version = true, .fn = s3_put_hold,
	    .missing = "NoSuchKey" },
	{ "GET", LEVEL_KEY, "attributes", .takes_version = true, .fn = s3_get_attributes,
	    .missing = "NoSuchKey" },
	{ "GET", LEVEL_KEY, NULL, .takes_version = true, .takes_part = true, .is_of_data = true,
	    .fn = s3_get_object, .missing = "NoSuchKey" },
	{ "HEAD", LEVEL_KEY, NULL, .takes_version = true, .takes_part = true, .is_of_data = true,
	    .fn = s3_get_object, .missing = "NoSuchKey" },
	{ "PUT", LEVEL_KEY, "uploadId", .is_copy = true, .changes = true, .takes_part = true,
	    .is_of_data = true, .fn = s3_copy_part, .missing = "NoSuchUpload" },
	{ "PUT", LEVEL_KEY, "uploadId", .changes = true, .takes_body = true, .takes_part = true,
	    .is_of_data = true, .fn = s3_upload_part, .missing = "NoSuchUpload" },
	{ "PUT", LEVEL_KEY, NULL, .is_copy = true, .changes = true, .is_of_data = true,
	    .fn = s3_copy_object, .missing = "NoSuchBucket" },
	{ "PUT", LEVEL_KEY, NULL, .changes = true, .takes_body = true, .is_of_data = true,
	    .fn = s3_put_object, .missing = "NoSuchBucket" },
	{ "DELETE", LEVEL_KEY, "uploadId", .changes = true, .fn = s3_multipart_abort,
	    .missing = "NoSuchUpload" },
	{ "DELETE", LEVEL_KEY, NULL, .changes = true, .takes_version = true, .fn = s3_delete_object,
	    .missing = "NoSuchBucket" },
	{ "POST", LEVEL_KEY, "uploads", .changes = true, .is_of_data = true,
	    .fn = s3_multipart_begin, .missing = "NoSuchBucket" },
	{ "POST", LEVEL_KEY, "uploadId", .changes = true, .is_of_data = true,
	    .fn = s3_multipart_complete, .missing = "NoSuchUpload" },
};

/* Arguments that change what a request means. One that the row found does not know makes it an
 * operation that is not there; ignoring it would do something else than was asked. */
static const char *const subresources[] = { "abac", "accelerate", "acl", "analytics", "append",
	"attributes", "cors", "delete", "encryption", "intelligent-tiering", "inventory",
	"legal-hold", "lifecycle", "location", "logging", "metadataConfiguration",
	"metadataInventoryTable", "metadataJournalTable", "metadataTable", "metrics",
	"notification", "object-lock", "ownershipControls", "policy", "policyStatus",
	"publicAccessBlock", "renameObject", "replication", "requestPayment", "restore",
	"retention", "select", "session", "tagging", "torrent", "uploadId", "uploads", "versioning",
	"versions", "website" };

const struct s3_operation *
s3_operations(size_t *n)
{
	*n = ARRAY_LEN(operations);
	return operations;
}

static const struct s3_operation *
row_for(struct request *r, enum s3_level level)
{
	bool is_copy = request_header(r, "x-amz-copy-source");

	for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
		const struct s3_operation *o = &operations[i];

		if (o->level == level && !strcmp(o->method, r->method) &&
		    (is_copy || !o->is_copy) &&
		    (!o->query || (r->query[0] && request_arg(r, o->query))))
			return o;
	}
	return NULL;
}

/* The argument that asks for what O does not do, or NULL. */
static const char *
unknown_argument(struct request *r, const struct s3_operation *o)
{
	const char *version, *query = o && o->query ? o->query : "";

	if (!r->query[0])
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(subresources); i++) {
		if (strcmp(subresources[i], query) != 0 && request_arg(r, subresources[i]))
			return subresources[i];
	}
	if (!(o && o->takes_part) && request_arg(r, "partNumber"))
		return "partNumber";
	version = o && o->takes_version ? NULL : request_arg(r, "versionId");
	return version && strcmp(version, "null") != 0 ? "versionId" : NULL;
}

static int
find_operation(struct s3_call *c, struct err *e)
{
	struct request *r = c->r;
	const char *code = s3_place(r, &c->level, c->bucket, c->key), *unknown;

	if (code)
		return s3_refuse(c, e, 400, code, "%s",
		    !strcmp(code, "KeyTooLongError")  ? "the key is longer than 1,024 bytes"
		        : !strcmp(code, "InvalidURI") ? "the path is not percent-encoded UTF-8"
		                                      : "that can't be the name of a bucket");
	c->op = row_for(r, c->level);
	unknown = unknown_argument(r, c->op);
	if (unknown)
		return s3_refuse(c, e, 501, "NotImplemented", "%s with ?%s is not implemented",
		    r->method, unknown);
	if (!c->op)
		return s3_refuse(
		    c, e, 405, "MethodNotAllowed", "%s is not allowed here", r->method);
	return 0;
}

bool
s3_is_stream(struct request *r)
{
	char bucket[FILES_BUCKET_MAX + 1], key[FILES_KEY_MAX + 1];
	const struct s3_operation *o;
	enum s3_level level;

	if (s3_is_form(r))
		return true;
	if (strcmp(r->method, "PUT") != 0 || request_length(r) <= S3_SMALL_BODY)
		return false;
	if (s3_place(r, &level, bucket, key))
		return false;
	o = row_for(r, level);
	return o && o->takes_body;
}

/* --- the gate --- */

/* The account is not known here: whoever is its home shall have the request. */
static int
find_home(struct s3_call *c, struct err *e)
{
	struct request *r = c->r;
	struct placement p;

	if (routes_find(r->node->routes, &r->account, r->may_block, &p, e) < 0) {
		if (e->kind == ERR_BUSY && !r->may_block)
			c->again = true;
		if (e->kind == ERR_MISSING && c->is_application)
			return s3_refuse(c, e, 403, "AccessDenied", "there is no such account");
		if (e->kind == ERR_MISSING)
			return s3_refuse(
			    c, e, 403, "InvalidAccessKeyId", "there is no such access key");
		return -1;
	}
	if (!strcmp(p.home, r->node->region)) {
		/* Between two states of a move, or our copy of the directory is old. */
		routes_forget(r->node->routes, &r->account);
		return s3_refuse(c, e, 503, "SlowDown", "the account is on its way; try again");
	}
	memcpy(c->to, p.home, sizeof c->to);
	memcpy(c->country, p.country, sizeof c->country);
	return err_set(e, ERR_STALE, "lives elsewhere");
}

static int
follow(struct s3_call *c, const struct gate_pass *pass, struct err *e)
{
	struct request *r = c->r;
	struct placement p;

	/* It may have moved on since, and someone had to ask already (pass_on). */
	if (routes_find(r->node->routes, &r->account, false, &p, NULL) == 0 &&
	    p.epoch > pass->epoch && strcmp(p.home, r->node->region) != 0)
		memcpy(c->to, p.home, sizeof c->to);
	else
		memcpy(c->to, pass->peer, sizeof c->to);
	memcpy(c->country, pass->country, sizeof c->country);
	return err_set(e, ERR_STALE, "lives elsewhere");
}

static int
pass_gate(struct s3_call *c, enum gate_how how, struct gate_pass *pass, struct err *e)
{
	struct request *r = c->r;
	enum gate_answer answer;

	if (gate_enter(r->node, &r->account, how, &answer, pass, e) < 0)
		return -1;
	if (answer == GATE_WAIT) {
		if (!r->may_block) {
			c->again = true;
			return err_set(e, ERR_BUSY, "has to wait");
		}
		if (gate_wait(r->node, &r->account, how, &answer, pass, e) < 0)
			return -1;
	}
	switch (answer) {
	case GATE_GO:
		c->files.services = pass->services;
		return 0;
	case GATE_FORWARD:
		return follow(c, pass, e);
	case GATE_UNKNOWN:
		return find_home(c, e);
	case GATE_SUSPENDED:
		return s3_refuse(c, e, 403, "AccessDenied", "the account is suspended");
	case GATE_HELD:
		return s3_refuse(c, e, 403, "AccessDenied",
		    "the account's region was restored and holds an older copy of it; ask the operator");
	case GATE_LOST:
		return s3_refuse(c, e, 403, "AccessDenied",
		    "the account's data was lost with its region's store; ask the operator");
	case GATE_WAIT:
		break;
	}
	return err_set(e, ERR_TIMEOUT, "the account is being moved; try again");
}

int
s3_write_begin(struct s3_call *c, struct err *e)
{
	if (pass_gate(c, GATE_WRITE, &c->write, e) < 0)
		return -1;
	return files_quota_begin(&c->files, e);
}

void
s3_write_end(struct s3_call *c)
{
	files_quota_end(&c->files);
	gate_leave(c->r->node, &c->write);
}

bool
s3_has_moved(struct s3_call *c)
{
	struct gate_pass pass;
	enum gate_answer answer;
	struct err e;

	if (gate_enter(c->r->node, &c->r->account, GATE_UPLOAD, &answer, &pass, &e) < 0)
		return false; /* the write will say so */
	gate_leave(c->r->node, &pass);
	return answer == GATE_FORWARD && follow(c, &pass, &e) < 0;
}

/* --- who asks --- */

static int
name_account(struct s3_call *c, struct err *e)
{
	struct request *r = c->r;
	const char *code = NULL;
	int rc = c->form ? s3_form_claim(c, e) : sign_parse(r, &c->claim, &code, e);

	if (rc < 0 && !code)
		return -1;
	if (rc < 0) {
		c->code = code;
		c->status = !strcmp(c->code, "AccessDenied")   ? 403
		    : !strcmp(c->code, "NotImplemented")       ? 501
		    : !strcmp(c->code, "MissingContentLength") ? 411
		                                               : 400;
		return -1;
	}
	if (!rc)
		return s3_refuse(
		    c, e, 403, "AccessDenied", "there is nothing here without a signature");
	memcpy(r->access_key, c->claim.access_key, sizeof r->access_key);
	c->is_application = application_key(c->claim.access_key);
	if (c->is_application)
		return 0; /* it says of which account when the bucket is known */
	if (!access_account(c->claim.access_key, &r->account))
		return s3_refuse(c, e, 403, "InvalidAccessKeyId", "there is no such access key");
	c->files.account = r->account;
	return 0;
}

static int
find_signing_key(struct s3_call *c, struct err *e)
{
	const struct sign_claim *claim = &c->claim;

	if (c->is_application)
		return s3_application_key(c, e);
	return access_signing_key(c->r->node->access, claim->access_key, claim->date, claim->region,
	    claim->service, c->r->may_block, c->signing_key, &c->scope, e);
}

/* The region in the scope may be any: clients think of one and the home may change under them. It
 * enters the signing key all the same. */
static int
check_signature(struct s3_call *c, struct err *e)
{
	struct request *r = c->r;
	const struct sign_claim *claim = &c->claim;
	const char *code = NULL;

	if (strcmp(claim->service, "s3") != 0)
		return s3_refuse(c, e, 400, "AuthorizationHeaderMalformed",
		    "the scope is for another service than s3");
	if (find_signing_key(c, e) < 0) {
		if (e->kind == ERR_BUSY && !r->may_block)
			c->again = true;
		if (e->kind == ERR_MISSING)
			return s3_refuse(
			    c, e, 403, "InvalidAccessKeyId", "there is no such access key");
		if (e->kind == ERR_DENIED)
			return s3_refuse(c, e, 400, "ExpiredToken", "the access key has expired");
		return -1;
	}
	if ((c->form
	            ? s3_form_check(c, &code, e)
	            : sign_check_request(r, claim, c->signing_key, host_wall_ms(), &code, e)) < 0) {
		c->code = code; /* none: it could not be checked */
		c->status = code ? 403 : 0;
		return -1;
	}
	return 0;
}

/* Everything there is here is the account's; a client that takes it for someone else's shall know. */
static int
check_owner(struct s3_call *c, struct err *e)
{
	static const char *const names[] = { "x-amz-expected-bucket-owner",
		"x-amz-source-expected-bucket-owner" };
	char id[ACCOUNT_TEXT_SIZE];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *owner = request_header(c->r, names[i]);

		if (!owner)
			continue;
		account_text(&c->r->account, id);
		if (strcmp(owner, id) != 0)
			return s3_refuse(c, e, 403, "AccessDenied",
			    "the owner is another one than %s says", names[i]);
	}
	return 0;
}

/* Once, at the home, and only of who has shown that it is the account that asks. */
static int
check_rate(struct s3_call *c, struct err *e)
{
	struct request *r = c->r;
	struct rate *rate = r->node->account_rate;

	if (!rate || r->is_counted)
		return 0;
	r->is_counted = true;
	if (rate_take(rate, r->account.b))
		return 0;
	refused_count(REFUSED_ACCOUNT_RATE);
	return s3_refuse(c, e, 503, "SlowDown",
	    "the account asks too often: more than %llu requests a second",
	    (unsigned long long)rate_per_s(rate));
}

/* --- collected bodies --- */

static int
decode_collected(struct s3_call *c, struct span raw, struct err *e)
{
	_cleanup_(chunked_closep) struct chunked *chunked = chunked_open(
	    &c->claim, c->signing_key, e);

	if (!chunked)
		return -1;
	c->decoded.max = BODY_COLLECT_MAX;
	if (chunked_feed(chunked, raw.data, raw.len, &c->decoded, e) < 0)
		return e->kind == ERR_DENIED
		    ? s3_refuse(c, e, 403, "SignatureDoesNotMatch", "a chunk's signature is wrong")
		    : s3_refuse(
		          c, e, 400, "InvalidRequest", "the chunks of the body are malformed");
	if (buf_check(&c->decoded, e) < 0)
		return -1;
	if (!chunked_is_complete(chunked) || c->decoded.len != c->claim.decoded_length)
		return s3_refuse(
		    c, e, 400, "IncompleteBody", "the body ends before its last chunk");
	c->body = (struct span){ c->decoded.data, c->decoded.len };
	return 0;
}

/* What x-amz-checksum-* says of a body that is XML. Of one that is content s3_put.c sees to it, and
 * completing an upload it says something of the object. */
static int
check_sum(struct s3_call *c, struct err *e)
{
	_cleanup_(checksum_free) struct checksum sum = { .kind = CHECKSUM_NONE };
	char found[CHECKSUM_TEXT], claimed[CHECKSUM_TEXT];
	enum checksum_kind kind;
	const char *text;

	if (!c->body.len || c->op->takes_body || c->op->fn == s3_multipart_complete)
		return 0;
	if (checksum_claim_of_body(c->r, &kind, &text, e) < 0) {
		c->status = 400;
		c->code = "InvalidRequest";
		return -1;
	}
	if (kind == CHECKSUM_NONE)
		return 0;
	if (!checksum_parse(kind, text, claimed))
		return s3_refuse(c, e, 400, "InvalidRequest", "Value for %s header is invalid.",
		    checksum_header(kind));
	if (checksum_open(&sum, kind, e) < 0)
		return -1;
	checksum_add(&sum, c->body.data, c->body.len);
	checksum_end(&sum, found);
	if (strcmp(found, claimed) != 0)
		return s3_refuse(c, e, 400, "BadDigest",
		    "The %s you specified did not match the calculated checksum.",
		    checksum_name(kind));
	return 0;
}

static int
check_collected(struct s3_call *c, struct err *e)
{
	uint8_t sha[SHA256_BYTES] = { 0 }, sum[MD5_BYTES] = { 0 };

	c->body = request_body(c->r);
	if (c->claim.payload == PAYLOAD_STREAMING_SIGNED && !c->is_decoded &&
	    decode_collected(c, c->body, e) < 0)
		return -1;
	if (c->claim.payload == PAYLOAD_HASH)
		sha256(c->body.data, c->body.len, sha);
	if (request_header(c->r, "content-md5"))
		md5(c->body.data, c->body.len, sum);
	return s3_check_digests(c, sha, sum, e) < 0 ? -1 : check_sum(c, e);
}

/* --- all together --- */

/* A browser asks whether a page may send a request. */
static int
preflight(struct s3_call *c, struct err *e)
{
	bool is_answered;

	if (s3_preflight_begin(c, &is_answered, e) < 0)
		return -1;
	if (is_answered)
		return 0;
	if (pass_gate(c, GATE_READ, &c->pass, e) < 0 || s3_cors_look(c, e) < 0)
		return -1;
	if (!c->cors.len)
		return s3_preflight_refuse(c, e);
	c->r->status = 200;
	return 0;
}

static int
carry_out(struct s3_call *c, struct err *e)
{
	struct request *r = c->r;

	if (!strcmp(r->method, "OPTIONS"))
		return preflight(c, e);
	if (s3_is_form(r) && s3_form_read(c, e) < 0)
		return -1;
	if (name_account(c, e) < 0 || find_operation(c, e) < 0 ||
	    (c->form && s3_form_key(c, e) < 0))
		return -1;
	if (c->is_application && s3_application_account(c, e) < 0)
		return -1;
	if (pass_gate(c, c->op->changes ? GATE_UPLOAD : GATE_READ, &c->pass, e) < 0)
		return -1;
	if (s3_cors_look(c, e) < 0 || check_signature(c, e) < 0 || s3_application_check(c, e) < 0 ||
	    s3_scope_check(c, e) < 0 || check_owner(c, e) < 0 || check_rate(c, e) < 0 ||
	    s3_conditions_check(c, e) < 0)
		return -1;
	c->is_stream = s3_is_stream(r);
	if (!c->is_stream && check_collected(c, e) < 0)
		return -1;
	if (c->op->fn(c, e) < 0)
		return -1;
	if (c->op->is_of_data && r->status < 300)
		response_header(r, "x-amz-server-side-encryption", "AES256");
	return 0;
}

/* After A -> B -> C, A's forwarding address is B, which may be gone: the directory knows C. */
static bool
find_newer_home(struct s3_call *c)
{
	struct node *n = c->r->node;
	struct placement p;
	struct err e;

	if (routes_find(n->routes, &c->r->account, true, &p, &e) < 0 || !strcmp(p.home, c->to) ||
	    !strcmp(p.home, n->region))
		return false;
	memcpy(c->to, p.home, sizeof c->to);
	return true;
}

ssize_t
s3_carry(struct s3_call *c, uint64_t at, void *p, size_t n, struct err *e)
{
	uint64_t held = c->upload ? upload_bytes(c->upload) : 0;
	ssize_t got = at < held ? upload_read(c->upload, at, p, n, e) : 0;

	if (!c->upload || got < 0 || at + (uint64_t)got < held)
		return got;
	upload_close(take(&c->upload));
	gate_leave(c->r->node, &c->pass);
	return got;
}

/* request_again_fn */
static ssize_t
upload_again(void *arg, uint64_t at, void *p, size_t n, struct err *e)
{
	return s3_carry(arg, at, p, n, e);
}

/* A body that was streamed is gone; the client sends it again, and follow knows where to then. So does
 * one whose write may have been carried out: it may have moved on with the account since, and would be
 * carried out twice. */
static int
pass_on(struct s3_call *c, struct err *e)
{
	struct request *r = c->r;
	bool is_decoded = c->is_stream && !c->form && c->upload;
	bool is_read = !strcmp(r->method, "GET") || !strcmp(r->method, "HEAD"), was_sent;

	if (is_decoded)
		request_read_again(r, upload_again, c);
	if (forward_request(r, c->to, is_decoded, &was_sent, e) == 0)
		return 0;
	routes_forget(r->node->routes, &r->account);
	if (e->kind != ERR_PEER || (was_sent && !is_read) || !find_newer_home(c) || s3_is_stream(r))
		return -1;
	return forward_request(r, c->to, is_decoded, &was_sent, e);
}

/* A name below the other region's domain, if it has one; else the bucket goes into the path. */
static void
redirect(struct request *r, const struct peer_region *to)
{
	char bucket[FILES_BUCKET_MAX + 1], url[sizeof to->s3_url + FILES_BUCKET_MAX + 16];
	const char *host = strstr(to->s3_url, "://"), *port = host ? strchr(host + 3, ':') : NULL;

	if (!s3_is_virtual(r, bucket))
		snprintf(url, sizeof url, "%s", to->s3_url);
	else if (*to->s3_domain)
		snprintf(
		    url, sizeof url, "https://%s.%s%s", bucket, to->s3_domain, port ? port : "");
	else
		snprintf(url, sizeof url, "%s/%s", to->s3_url, bucket);
	forward_redirect(r, url);
}

static enum handle
go_to_home(struct s3_call *c)
{
	struct request *r = c->r;
	struct node *n = r->node;
	const char *hops = request_header(r, "x-domicile-hops");
	struct peer_region region;
	struct err e = { 0 };

	if (!r->may_block)
		return HANDLE_AGAIN;
	if (r->is_peer && hops && atoi(hops) >= HOPS_MAX) {
		s3_error(r, 508, "LoopDetected", "the request was passed on too often");
		return HANDLE_DONE;
	}
	if (!r->is_peer && policy_transit(n->policy, c->country) == TRANSIT_REDIRECT &&
	    peers_find(n->peers, c->to, &region)) {
		redirect(r, &region);
		return HANDLE_DONE;
	}
	/* What the upload holds has to stay until it is sent. */
	if (!c->upload)
		gate_leave(n, &c->pass);
	if (c->form)
		s3_form_again(c);
	if (pass_on(c, &e) < 0)
		s3_error_from(r, &e);
	return HANDLE_DONE;
}

static enum handle
answer(struct s3_call *c, int rc, struct err *e)
{
	struct request *r = c->r;

	/* A refusal too tells what was seen. */
	if (c->files.ticket > r->ticket)
		r->ticket = c->files.ticket;
	if (rc < 0) {
		if (!r->may_block && (c->again || c->files.would_block)) {
			buf_clear(&r->body);
			return HANDLE_AGAIN;
		}
		if (c->to[0])
			return go_to_home(c);
		s3_answer_error(c, e);
	} else if (buf_check(&r->body, e) < 0) {
		s3_error_from(r, e);
	}
	s3_cors_answer(c);
	return HANDLE_DONE;
}

enum handle
s3_handle(struct request *r)
{
	const char *decoded = r->is_peer ? request_header(r, "x-domicile-decoded") : NULL;
	struct s3_call c = {
		.r = r,
		.files = { .node = r->node, .may_block = r->may_block },
		.is_decoded = decoded && !strcmp(decoded, "1"),
	};
	struct err e = { 0 };
	enum handle handle;
	int rc;

	/* By the region that was the home when it began. */
	if (r->is_peer && request_header(r, "x-domicile-counted"))
		r->is_counted = true;
	rc = carry_out(&c, &e);
	s3_write_end(&c);
	handle = answer(&c, rc, &e);
	if (handle == HANDLE_DONE)
		s3_application_log(&c);
	upload_close(c.upload);
	gate_leave(r->node, &c.pass);
	form_close(c.form);
	buf_free(&c.decoded);
	buf_free(&c.cors);
	wipe(c.signing_key, sizeof c.signing_key);
	return handle;
}
