/* redo.h - what one commit changed: byte ranges of pages, and the chunks that came and went.
 *
 * Plain entry (big-endian):  page count after (4), ranges (4), { page (4), offset (2), length (2),
 * bytes }, added chunks (4), { name (16), plain bytes (8), digest (32) }, dropped chunks (4),
 * { name (16) }.  Sealed record: format (1), nonce (12), sealed { LZ4 flag (1), plain length (4),
 * bytes }, tag; bound to "R", vault id, version.  Pure.
 */
#pragma once
#include "base/frame.h"
#include "sealed/page.h"

#define REDO_PLAIN_MAX ((size_t)64 << 20)

struct chunk_ref {
	uint8_t name[16];
	uint64_t bytes;               /* of plaintext */
	uint8_t digest[SHA256_BYTES]; /* of the plaintext */
};

/* Append the differing ranges of page NUMBER; ranges nearer than 16 bytes are joined. Returns how
 * many ranges that were (0: equal). OLD may be NULL: a page of zeros. */
unsigned redo_diff(struct buf *ranges, uint32_t number, const uint8_t *old, const uint8_t *new);

/* Visit a plain entry; both callbacks may be NULL. Refuses anything out of bounds (ERR_BAD),
 * before the first callback. */
struct redo_visit {
	int (*range)(
	    void *arg, uint32_t page, uint32_t offset, const uint8_t *p, uint32_t n, struct err *e);
	int (*chunk_added)(void *arg, const struct chunk_ref *c, struct err *e);
	int (*chunk_dropped)(void *arg, const uint8_t name[16], struct err *e);
	void *arg;
};
must_check
int redo_visit(const uint8_t *plain, size_t n, uint32_t *page_count, const struct redo_visit *v,
    struct err *e);

/* Append the sealed record of a plain entry of N bytes; and the entry of a record. ERR_TOO_BIG past
 * REDO_PLAIN_MAX, ERR_MEMORY; ERR_FORGED: it does not open, or is not of that vault and version. */
must_check
int redo_seal(struct aead *a, const struct vault_id *id, uint64_t version, const uint8_t *plain,
    size_t n, struct buf *out, struct err *e);
must_check
int redo_open(struct aead *a, const struct vault_id *id, uint64_t version, const uint8_t *record,
    size_t n, struct buf *plain, struct err *e);
