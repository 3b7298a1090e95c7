/* s3_checksum.h - the checksums that clients send with a body (x-amz-checksum-*).
 *
 * As text they are base64 of the digest, CRCs with the highest byte first. Source: "Checking object
 * integrity", Amazon S3 User Guide.
 */
#pragma once
#include "base/crypto.h"

struct request;

enum checksum_kind {
	CHECKSUM_NONE,
	CHECKSUM_CRC32,     /* ISO-HDLC, zlib's */
	CHECKSUM_CRC32C,    /* Castagnoli, RFC 3720 */
	CHECKSUM_CRC64NVME, /* NVM Express, 64b CRC */
	CHECKSUM_SHA1,
	CHECKSUM_SHA256,
};

#define CHECKSUM_MAX    32 /* bytes of a digest */
#define CHECKSUM_TEXT   48 /* its base64, with the NUL */
#define CHECKSUM_PREFIX "x-amz-checksum-"

/* "x-amz-checksum-crc32"; NULL for CHECKSUM_NONE. */
const char *checksum_header(enum checksum_kind kind);
/* "CRC32" */
const char *checksum_name(enum checksum_kind kind);
/* From a header's name or an algorithm's, in any case; CHECKSUM_NONE: there is no such. */
enum checksum_kind checksum_of_header(const char *name);
enum checksum_kind checksum_of_name(const char *name);

/* A checksum being computed; of CHECKSUM_NONE it does nothing. */
struct checksum {
	enum checksum_kind kind;
	uint64_t crc;
	struct hash *hash;
};
must_check
int checksum_open(struct checksum *s, enum checksum_kind kind, struct err *e);
void checksum_add(struct checksum *s, const void *p, size_t n);
/* Once: the digest as text ("" of CHECKSUM_NONE). */
void checksum_end(struct checksum *s, char out[static CHECKSUM_TEXT]);
void checksum_free(struct checksum *s); /* all zero is fine */

/* TEXT in the form that checksum_end gives. False: it is none of KIND. */
must_check
bool checksum_parse(enum checksum_kind kind, const char *text, char out[static CHECKSUM_TEXT]);

/* What a request says in plain headers of its body. -1: one that we can't compute, or several. */
must_check
int checksum_claim(struct request *r, enum checksum_kind *kind, const char **text, struct err *e);
