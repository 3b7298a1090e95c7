/* page.h - one page, compressed (LZ4 block format) and sealed (AES-256-GCM).
 *
 * Record:  format (1), version (8), nonce (12), sealed { stored length (2), LZ4 or raw bytes }, tag.
 * Bound as associated data to: "P", vault id (17), page number (4), version (8). So a page that is
 * swapped with another, or taken from another vault or an older version, does not open where the
 * version is known. Pure; a thread's own aead.
 */
#pragma once
#include "base/crypto.h"
#include "base/buf.h"
#include "base/id.h"

#define PAGE_BYTES        4096
#define PAGE_RECORD_NONCE 9 /* where the nonce lies: it names this one sealing of the page */
#define PAGE_RECORD_MAX   (1 + 8 + NONCE_BYTES + 2 + PAGE_BYTES + TAG_BYTES)

/* Append the record of page NUMBER (1-based) to OUT. */
must_check
int page_seal(struct aead *a, const struct vault_id *id, uint32_t number, uint64_t version,
    const uint8_t plain[static PAGE_BYTES], struct buf *out, struct err *e);
/* ERR_FORGED names vault (its service and account), page and what did not fit. */
must_check
int page_open(struct aead *a, const struct vault_id *id, uint32_t number, const uint8_t *record,
    size_t n, uint64_t *version, uint8_t plain[static PAGE_BYTES], struct err *e);
