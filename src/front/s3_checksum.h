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
#define CHECKSUM_TEXT   56 /* its base64, "-" and a number of parts, with the NUL */
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
/* ERR_MEMORY, ERR_INTERNAL; checksum_free all the same. N bytes more. */
must_check
int checksum_open(struct checksum *s, enum checksum_kind kind, struct err *e);
void checksum_add(struct checksum *s, const void *p, size_t n);
/* Once: the digest as text ("" of CHECKSUM_NONE). */
void checksum_end(struct checksum *s, char out[static CHECKSUM_TEXT]);
void checksum_free(struct checksum *s); /* all zero is fine */

/* TEXT in the form that checksum_end gives. False: it is none of KIND. */
must_check
bool checksum_parse(enum checksum_kind kind, const char *text, char out[static CHECKSUM_TEXT]);

/* --- of an object, from those of its parts ---
 *
 * COMPOSITE: the checksum of the parts' digests one after the other, and "-" with their number.
 * FULL_OBJECT: the same as of the whole in one piece, which only CRCs can be joined to.
 */
struct checksum_joint {
	enum checksum_kind kind;
	bool is_full;
	uint64_t crc;        /* of the whole */
	struct checksum sum; /* of the digests */
	unsigned n;
};
/* Whether S3 has an object's checksum of that KIND and type: no CRC64NVME of digests, of the whole
 * CRCs alone. */
bool checksum_can_join(enum checksum_kind kind, bool is_full);
/* As checksum_open. Ended once: the text with what S3 adds to it; freed whatever happened. */
must_check
int checksum_joint_open(
    struct checksum_joint *j, enum checksum_kind kind, bool is_full, struct err *e);
/* The next part: TEXT as checksum_end gives it, of SIZE bytes. False: it is none of that kind. */
must_check
bool checksum_joint_add(struct checksum_joint *j, const char *text, uint64_t size);
void checksum_joint_end(struct checksum_joint *j, char out[static CHECKSUM_TEXT]);
void checksum_joint_free(struct checksum_joint *j);
/* Of a CRC's KIND: FIRST and then SECOND, which is of BYTES. */
uint64_t checksum_crc_join(
    enum checksum_kind kind, uint64_t first, uint64_t second, uint64_t bytes);

/* What a request says in plain headers of its body. -1: one that we can't compute, or several. */
must_check
int checksum_claim(struct request *r, enum checksum_kind *kind, const char **text, struct err *e);
/* The same of a body that S3 wants a checksum of where the request names an algorithm for it. */
must_check
int checksum_claim_of_body(
    struct request *r, enum checksum_kind *kind, const char **text, struct err *e);
