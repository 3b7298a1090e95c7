/* s3_sign.h - AWS Signature Version 4, in headers and in the query (presigned).
 *
 * Source: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API Reference. Pure but for
 * the signing key, which the caller looks up. Constant-time comparison.
 */
#pragma once
#include "base/crypto.h"
#include "front/request.h"

enum payload_kind {
	PAYLOAD_HASH,     /* hash in x-amz-content-sha256 */
	PAYLOAD_UNSIGNED, /* UNSIGNED-PAYLOAD, presigned */
	/* aws-chunked, from here on: */
	PAYLOAD_STREAMING_SIGNED,           /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD */
	PAYLOAD_STREAMING_SIGNED_TRAILER,   /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER */
	PAYLOAD_STREAMING_UNSIGNED_TRAILER, /* STREAMING-UNSIGNED-PAYLOAD-TRAILER */
};

static inline bool
payload_is_chunked(enum payload_kind kind)
{
	return kind >= PAYLOAD_STREAMING_SIGNED;
}

/* A header, of which x-amz-trailer has the name, follows the last chunk. */
static inline bool
payload_has_trailer(enum payload_kind kind)
{
	return kind >= PAYLOAD_STREAMING_SIGNED_TRAILER;
}

struct sign_claim {
	char access_key[48];
	char date[9]; /* of the credential scope: yyyymmdd */
	char region[32], service[16];
	char time[17]; /* x-amz-date: yyyymmddThhmmssZ */
	uint64_t time_ms;
	uint64_t expires_s; /* presigned: X-Amz-Expires; 0: not presigned */
	bool is_presigned;
	char signed_headers[4096]; /* metadata is in names too */
	uint8_t signature[SHA256_BYTES];
	enum payload_kind payload;
	uint8_t payload_sha256[SHA256_BYTES];
	uint64_t decoded_length; /* streaming: x-amz-decoded-content-length */
	char trailer[48];        /* payload_has_trailer: x-amz-trailer, in lower case */
};

/* "KEY/yyyymmdd/REGION/SERVICE/aws4_request" into the claim. */
must_check
bool sign_credential_parse(const char *text, struct sign_claim *c);
/* "20130524T000000Z" */
must_check
bool sign_time_parse(const char *text, uint64_t *out_ms);

/* S3's code ("AuthorizationHeaderMalformed", "MissingSecurityHeader", ...) is put in *CODE on error.
 * 1: a claim; 0: the request is anonymous; -1: malformed. */
must_check
int sign_parse(struct request *r, struct sign_claim *c, const char **code, struct err *e);
/* Check time (15 minutes either way; presigned: within expiry, at most 7 days), scope, that host and
 * every x-amz-* header is signed, and the signature. *CODE: "SignatureDoesNotMatch",
 * "RequestTimeTooSkewed", "AccessDenied" (expired). */
must_check
int sign_check_request(struct request *r, const struct sign_claim *c,
    const uint8_t signing_key[static SHA256_BYTES], uint64_t now_ms, const char **code,
    struct err *e);

/* aws-chunked bodies: "size;chunk-signature=...\r\n" data "\r\n" ..., each signed over the one before,
 * or "size\r\n" data "\r\n" ... without signatures; then perhaps a trailer, "name:value\r\n", with
 * "x-amz-trailer-signature:...\r\n" if the chunks are signed.
 */
struct chunked;
must_check
struct chunked *chunked_open(
    const struct sign_claim *c, const uint8_t signing_key[static SHA256_BYTES], struct err *e);
/* Feed encoded bytes; decoded and VERIFIED bytes are appended to OUT (a signed chunk of up to 16 MiB is
 * hashed before any of it is released; larger ones are refused. Unsigned ones, of any size, pass as they
 * come). ERR_DENIED: signature. ERR_BAD. */
must_check
int chunked_feed(struct chunked *c, const void *p, size_t n, struct buf *out, struct err *e);
/* Whether the final empty chunk has come, the trailer if there is to be one, and nothing is missing. */
bool chunked_is_complete(const struct chunked *c);
/* Whether all is there but the trailer, or the trailer was malformed. */
bool chunked_lacks_trailer(const struct chunked *c);
/* The trailer's value (when complete), "" if there is none. C's. */
const char *chunked_trailer(const struct chunked *c);
void chunked_close(struct chunked *c);
CLEANUP(struct chunked, chunked_close)
