/* keys.h - the region key, which wraps the data keys of vaults, and never shows itself.
 *
 * Two homes for it: a file (development, small regions) and, next, a PKCS#11 token. A region key
 * has generations, numbered from 1: the newest wraps, every one that is still there unwraps.
 * Any thread.
 */
#pragma once
#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/id.h"

/* generation (4), nonce (12), sealed data key (32), tag (16) */
#define WRAPPED_BYTES (4 + NONCE_BYTES + KEY_BYTES + TAG_BYTES)

struct keys;

/* Make generation 1 in a new file, mode 0600. ERR_EXISTS if the file is there. */
must_check
int keys_file_create(const char *path, struct err *e);
/* ERR_DENIED unless the file is a regular one of mode 0600 (or 0400), owned by us: the text says
 * what to do. ERR_FORGED if it is not a region key file or damaged (it has a checksum). */
must_check
struct keys *keys_file_open(const char *path, struct err *e);
void keys_close(struct keys *k);
CLEANUP(struct keys, keys_close)

uint32_t keys_generation(const struct keys *k);
/* Bound to the vault and its home epoch: a wrapped key moved elsewhere does not unwrap. */
must_check
int keys_wrap(struct keys *k, const struct vault_id *id, uint64_t epoch,
    const uint8_t data_key[static KEY_BYTES], uint8_t out[static WRAPPED_BYTES], struct err *e);
/* ERR_FORGED: wrong region key, or not wrapped for this vault. ERR_MISSING: that generation is
 * destroyed. */
must_check
int keys_unwrap(struct keys *k, const struct vault_id *id, uint64_t epoch,
    const uint8_t wrapped[static WRAPPED_BYTES], uint8_t out[static KEY_BYTES], struct err *e);
