/* s3_put.c - bodies that become objects and parts.
 *
 * A body is received, checked against every claim about it and made durable before the gate is
 * passed for the row; so a body that is short, wrong or unsigned leaves nothing behind.
 */
#include "front/s3_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "front/form.h"
#include "front/s3_checksum.h"
#include "front/xml.h"

#define READ_BYTES       ((size_t)128 << 10)
#define LOOK_EVERY_BYTES ((uint64_t)1 << 20) /* whether the account has moved meanwhile */

/* --- receiving --- */

static int
check_md5(struct s3_call *c, const uint8_t md5[static MD5_BYTES], struct err *e)
{
	const char *claim = request_header(c->r, "content-md5");
	_cleanup_buf_ struct buf raw = BUF_INIT(64);

	if (!claim)
		return 0;
	if (strlen(claim) > 64 || base64_parse(claim, strlen(claim), &raw, e) < 0 ||
	    raw.len != MD5_BYTES)
		return s3_refuse(
		    c, e, 400, "InvalidDigest", "Content-MD5 is not a digest in base64");
	if (memcmp(raw.data, md5, MD5_BYTES) != 0)
		return s3_refuse(c, e, 400, "BadDigest", "the body does not have its Content-MD5");
	return 0;
}

static int
check_digests(struct s3_call *c, const uint8_t sha[static SHA256_BYTES],
    const uint8_t md5[static MD5_BYTES], struct err *e)
{
	if (c->claim.payload == PAYLOAD_HASH &&
	    memcmp(sha, c->claim.payload_sha256, SHA256_BYTES) != 0)
		return s3_refuse(c, e, 400, "XAmzContentSHA256Mismatch",
		    "the body does not have the SHA-256 that was signed");
	return check_md5(c, md5, e);
}

/* A body with a trailer is still to be decoded here, by receive, and its claims wait until then. */
static bool
is_trailed(const struct s3_call *c)
{
	return payload_has_trailer(c->claim.payload) && !c->is_decoded;
}

int
s3_check_digests(struct s3_call *c, const uint8_t sha[static SHA256_BYTES],
    const uint8_t md5[static MD5_BYTES], struct err *e)
{
	if (!is_trailed(c))
		return check_digests(c, sha, md5, e);
	return c->op->takes_body ? 0
	                         : s3_refuse(c, e, 501, "NotImplemented",
	                               "only objects and parts may come with a trailer");
}

/* A body on its way in. */
struct receiving {
	struct s3_call *c;
	struct hash *sha;        /* NULL if nobody claims one */
	struct chunked *chunked; /* NULL: the bytes as they are */
	struct checksum sum;
	const char *claim; /* of the checksum: a plain header's; NULL: none, or in the trailer */
	struct buf decoded;
	uint8_t *bytes;
	uint64_t expected, looked_at;
};

static void
receiving_free(struct receiving *g)
{
	hash_close(g->sha);
	checksum_free(&g->sum);
	chunked_close(g->chunked);
	buf_free(&g->decoded);
	free(g->bytes);
}

/* The checksum that the body is said to have, in a header or in the trailer, or else shall have. */
static int
receiving_checksum(struct receiving *g, struct s3_call *c, enum checksum_kind wanted, struct err *e)
{
	enum checksum_kind kind;

	if (checksum_claim_of_body(c->r, &kind, &g->claim, e) < 0) {
		c->status = 400;
		c->code = "InvalidRequest";
		return -1;
	}
	if (payload_has_trailer(c->claim.payload)) {
		if (kind != CHECKSUM_NONE)
			return s3_refuse(c, e, 400, "InvalidRequest",
			    "there is more than one checksum of the body");
		kind = checksum_of_header(c->claim.trailer);
		if (kind == CHECKSUM_NONE)
			return s3_refuse(c, e, 400, "InvalidRequest",
			    "x-amz-trailer names no checksum known here");
	}
	if (wanted != CHECKSUM_NONE && kind != CHECKSUM_NONE && kind != wanted)
		return s3_refuse(c, e, 400, "InvalidRequest",
		    "Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum"
		    " Type: %s",
		    checksum_name(wanted), checksum_name(kind));
	return checksum_open(&g->sum, kind != CHECKSUM_NONE ? kind : wanted, e);
}

static int
check_checksum(struct receiving *g, struct s3_sum *found, struct err *e)
{
	struct s3_call *c = g->c;
	const char *claim = g->chunked && payload_has_trailer(c->claim.payload)
	    ? chunked_trailer(g->chunked)
	    : g->claim;
	char text[CHECKSUM_TEXT];

	found->kind = g->sum.kind;
	checksum_end(&g->sum, found->text);
	if (!claim) /* nobody says one, or another region has compared it */
		return 0;
	if (!checksum_parse(found->kind, claim, text))
		return s3_refuse(c, e, 400, "InvalidRequest", "Value for %s header is invalid.",
		    checksum_header(found->kind));
	if (strcmp(text, found->text) != 0)
		return s3_refuse(c, e, 400, "BadDigest",
		    "The %s you specified did not match the calculated checksum.",
		    checksum_name(found->kind));
	return 0;
}

int
s3_check_quota(struct s3_call *c, uint64_t bytes, struct err *e)
{
	struct files_place to = { .bucket = c->bucket, .key = c->key };

	to.upload_id = request_arg(c->r, "uploadId");
	if (to.upload_id && s3_part_number(c, &to.part, e) < 0)
		return -1;
	return files_check_quota(&c->files, &to, bytes, e);
}

static int
refuse_form_size(struct s3_call *c, struct err *e)
{
	return s3_refuse(
	    c, e, 400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size");
}

static int
receiving_open(struct receiving *g, struct s3_call *c, struct err *e)
{
	bool is_chunked = payload_is_chunked(c->claim.payload);
	uint64_t least;

	g->expected = is_chunked ? c->claim.decoded_length
	    : c->form            ? UINT64_MAX
	                         : request_length(c->r);
	if (g->expected == UINT64_MAX && !c->is_decoded && !c->form)
		return s3_refuse(c, e, 411, "MissingContentLength", "Content-Length is missing");
	if (g->expected != UINT64_MAX && g->expected > FILES_PUT_MAX)
		return s3_refuse(
		    c, e, 400, "EntityTooLarge", "more than 5 GiB have to come in parts");
	least = c->form ? s3_form_least(c) : g->expected == UINT64_MAX ? 0 : g->expected;
	if (c->form && least > c->form_max)
		return refuse_form_size(c, e);
	if (files_check_room(&c->files, c->form ? request_length(c->r) : least, e) < 0 ||
	    s3_check_quota(c, least, e) < 0)
		return -1;
	g->bytes = c->is_stream ? malloc(READ_BYTES) : NULL;
	if (c->is_stream && !g->bytes)
		return err_set(e, ERR_MEMORY, "no memory for a body");
	if (c->claim.payload == PAYLOAD_HASH) {
		g->sha = hash_open(HASH_SHA256, e);
		if (!g->sha)
			return -1;
	}
	if (is_chunked && !c->is_decoded) {
		g->chunked = chunked_open(&c->claim, c->signing_key, e);
		if (!g->chunked)
			return -1;
	}
	return 0;
}

static int
refuse_chunks(struct receiving *g, struct err *e)
{
	if (e->kind == ERR_DENIED)
		return s3_refuse(g->c, e, 403, "SignatureDoesNotMatch",
		    "the signature of a chunk or of the trailer is wrong");
	if (e->kind != ERR_BAD)
		return -1;
	if (chunked_lacks_trailer(g->chunked))
		return s3_refuse(g->c, e, 400, "MalformedTrailerError",
		    "the trailer is not the one that x-amz-trailer announced");
	return s3_refuse(g->c, e, 400, "InvalidRequest", "the chunks of the body are malformed");
}

static int
receive_bytes(struct receiving *g, const uint8_t *p, size_t n, struct err *e)
{
	struct s3_call *c = g->c;

	if (g->chunked) {
		if (chunked_feed(g->chunked, p, n, &g->decoded, e) < 0)
			return refuse_chunks(g, e);
		if (buf_check(&g->decoded, e) < 0)
			return -1;
		p = g->decoded.data;
		n = g->decoded.len;
	}
	if (c->form) {
		if (form_feed(c->form, p, n, &g->decoded, e) < 0)
			return s3_refuse_form(c, e);
		p = g->decoded.data;
		n = g->decoded.len;
		if (upload_bytes(c->upload) + n > c->form_max)
			return refuse_form_size(c, e);
	}
	if (n > g->expected - upload_bytes(c->upload))
		return s3_refuse(c, e, 400, "IncompleteBody", "the body is longer than its length");
	if (g->sha)
		hash_add(g->sha, p, n);
	checksum_add(&g->sum, p, n);
	if (n && upload_add(c->upload, p, n, e) < 0)
		return -1;
	buf_clear(&g->decoded);
	return 0;
}

/* After a piece: whether the account is still here, or has left long enough ago that its erasure waits for
 * this body. Another region could take over in the middle of one where nothing is left to check but what
 * the home checks itself. */
static int
check_home(struct receiving *g, struct err *e)
{
	struct s3_call *c = g->c;
	bool is_over = gate_is_over(c->r->node, &c->r->account);

	if (!g->chunked &&
	    (is_over || upload_bytes(c->upload) - g->looked_at >= LOOK_EVERY_BYTES)) {
		g->looked_at = upload_bytes(c->upload);
		if (s3_has_moved(c))
			return err_set(e, ERR_STALE, "lives elsewhere");
	}
	return is_over
	    ? s3_refuse(c, e, 503, "SlowDown", "the account does not live here any more; try again")
	    : 0;
}

/* What follows a form's file does not count. */
static bool
is_over(const struct s3_call *c)
{
	return c->form && form_at(c->form) == FORM_OVER;
}

static int
receive_pieces(struct receiving *g, struct err *e)
{
	struct s3_call *c = g->c;
	ssize_t n = 0;

	/* With the fields, the first of a form's file have come. */
	if (c->form && receive_bytes(g, NULL, 0, e) < 0)
		return -1;
	while (!is_over(c) && (n = request_read(c->r, g->bytes, READ_BYTES, e)) > 0) {
		if (receive_bytes(g, g->bytes, (size_t)n, e) < 0 || check_home(g, e) < 0)
			return -1;
	}
	if (n < 0)
		return s3_refuse(c, e, 400, "IncompleteBody", "the body stopped coming");
	return 0;
}

static int
receive_all(struct receiving *g, struct err *e)
{
	struct s3_call *c = g->c;
	struct span whole;

	if (c->is_stream) {
		if (receive_pieces(g, e) < 0)
			return -1;
	} else {
		whole = request_body(c->r);
		if (receive_bytes(g, whole.data, whole.len, e) < 0)
			return -1;
	}
	if (c->form && !is_over(c))
		return s3_refuse(
		    c, e, 400, "MalformedPOSTRequest", "the form ends within its file");
	if (c->form && upload_bytes(c->upload) < c->form_min)
		return s3_refuse(c, e, 400, "EntityTooSmall",
		    "Your proposed upload is smaller than the minimum allowed size");
	if (g->chunked && chunked_lacks_trailer(g->chunked))
		return s3_refuse(
		    c, e, 400, "MalformedTrailerError", "the body ends without its trailer");
	if ((g->chunked && !chunked_is_complete(g->chunked)) ||
	    (g->expected != UINT64_MAX && upload_bytes(c->upload) != g->expected))
		return s3_refuse(
		    c, e, 400, "IncompleteBody", "the body is shorter than its length");
	return 0;
}

static int
receive_stream(struct receiving *g, struct err *e)
{
	struct s3_call *c = g->c;
	uint8_t sha[SHA256_BYTES] = { 0 }, md5[MD5_BYTES] = { 0 };

	if (receiving_open(g, c, e) < 0 || receive_all(g, e) < 0)
		return -1;
	if (g->sha)
		hash_end(g->sha, sha);
	if (request_header(c->r, "content-md5") && upload_md5(c->upload, md5, e) < 0)
		return -1;
	return check_digests(c, sha, md5, e);
}

/* The whole body into c->upload, checked and durable. WANTED: the checksum it shall have. */
static int
receive(struct s3_call *c, enum checksum_kind wanted, struct s3_sum *found, struct err *e)
{
	_cleanup_(receiving_free) struct receiving g = { .c = c };

	if (s3_headers_check(c, e) < 0 || receiving_checksum(&g, c, wanted, e) < 0)
		return -1;
	/* The row would find out too, but only after the body. */
	if (c->is_stream && files_bucket_find(&c->files, c->bucket, e) < 0) {
		if (e->kind == ERR_MISSING)
			c->code = "NoSuchBucket";
		return -1;
	}
	c->upload = upload_begin(&c->files, c->bucket, e);
	if (!c->upload)
		return -1;
	if (c->is_stream || is_trailed(c)) {
		if (receive_stream(&g, e) < 0)
			return -1;
	} else if (c->body.len) {
		checksum_add(&g.sum, c->body.data, c->body.len);
		if (upload_add(c->upload, c->body.data, c->body.len, e) < 0)
			return -1;
	}
	if (check_checksum(&g, found, e) < 0)
		return -1;
	return upload_settle(c->upload, e);
}

/* --- PutObject, UploadPart --- */

static void
answer_stored(struct s3_call *c, const struct object_info *info, const struct s3_sum *found)
{
	c->r->status = 200;
	response_header(c->r, "ETag", "\"%s\"", info->etag);
	s3_answer_version(c->r, "x-amz-version-id", info);
	s3_answer_expiry(c->r, info);
	if (found->kind != CHECKSUM_NONE)
		response_header(c->r, checksum_header(found->kind), "%s", found->text);
}

int
s3_keep_sum(struct s3_call *c, const struct s3_sum *found, struct buf *headers, struct err *e)
{
	if (found->kind == CHECKSUM_NONE)
		return 0;
	buf_printf(headers, "%s: %s\n", checksum_header(found->kind), found->text);
	if (buf_check(headers, e) < 0 || headers->len > FILES_HEADERS_MAX)
		return s3_refuse(c, e, 400, "MetadataTooLarge", "the headers are too large");
	return 0;
}

static bool
has_bucket(struct s3_call *c)
{
	struct err e;

	return files_bucket_find(&c->files, c->bucket, &e) == 0;
}

int
s3_commit_object(struct s3_call *c, const char *headers, const struct files_condition *condition,
    struct object_info *info, struct err *e)
{
	struct files_lock lock;
	bool has_lock;
	int rc;

	if (s3_lock_of_headers(c, &lock, &has_lock, e) < 0)
		return -1;
	if (has_lock)
		upload_lock(c->upload, &lock);
	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = upload_put(c->upload, &c->files, c->key, headers, condition, info, e);
	s3_write_end(c);
	if (rc < 0 && e->kind == ERR_STALE && s3_has_condition(condition))
		return s3_refuse(c, e, 412, "PreconditionFailed",
		    "the object does not meet the request's conditions");
	if (rc < 0 && e->kind == ERR_MISSING && condition->if_match && has_bucket(c))
		c->code = "NoSuchKey";
	return rc < 0 ? s3_refuse_lock(c, has_lock, e) : 0;
}

int
s3_put_stored(struct s3_call *c, struct object_info *info, struct err *e)
{
	_cleanup_buf_ struct buf headers = BUF_INIT(2 * FILES_HEADERS_MAX);
	char etags[2][80];
	struct files_condition condition = s3_write_condition(c->r, etags);
	struct s3_sum found;

	if (s3_headers_collect(c, &headers, e) < 0 || s3_tags_collect(c, &headers, e) < 0 ||
	    receive(c, CHECKSUM_NONE, &found, e) < 0)
		return -1;
	if (s3_keep_sum(c, &found, &headers, e) < 0 ||
	    s3_commit_object(c, buf_str(&headers), &condition, info, e) < 0)
		return -1;
	answer_stored(c, info, &found);
	if (found.kind != CHECKSUM_NONE)
		response_header(c->r, CHECKSUM_PREFIX "type", "FULL_OBJECT");
	return 0;
}

int
s3_put_object(struct s3_call *c, struct err *e)
{
	_cleanup_(object_info_free) struct object_info info = { 0 };

	return s3_put_stored(c, &info, e);
}

int
s3_part_number(struct s3_call *c, unsigned *out, struct err *e)
{
	const char *text = request_arg(c->r, "partNumber");

	*out = 0;
	if (s3_number(text, "partNumber", 1, FILES_PART_MAX + 1, out, e) < 0 || !*out ||
	    *out > FILES_PART_MAX)
		return s3_refuse(c, e, 400, "InvalidArgument",
		    "partNumber is not a number from 1 to %d", FILES_PART_MAX);
	return 0;
}

int
s3_commit_part(struct s3_call *c, unsigned number, const struct s3_sum *sum,
    struct object_info *info, struct err *e)
{
	char line[FILES_LINE_SIZE];
	int rc;

	if (sum->kind != CHECKSUM_NONE) {
		snprintf(line, sizeof line, "%s: %s", checksum_header(sum->kind), sum->text);
		upload_line(c->upload, line);
	}
	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = upload_part(
	    c->upload, &c->files, c->key, request_arg(c->r, "uploadId"), number, info, e);
	s3_write_end(c);
	return rc;
}

int
s3_upload_part(struct s3_call *c, struct err *e)
{
	_cleanup_(object_info_free) struct object_info info = { 0 };
	struct s3_upload_sum wanted;
	struct s3_sum found;
	unsigned number;

	if (s3_part_number(c, &number, e) < 0 || s3_upload_sum(c, &wanted, NULL, e) < 0 ||
	    receive(c, wanted.kind, &found, e) < 0)
		return -1;
	if (s3_commit_part(c, number, &found, &info, e) < 0)
		return -1;
	answer_stored(c, &info, &found);
	return 0;
}
