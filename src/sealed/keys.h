/* keys.h - the region key, which wraps the data keys of vaults, and never shows itself.
 *
 * Two homes for it: a file (development, small regions) and, next, a PKCS#11 token. A region key
 * has generations, numbered from 1: the newest wraps, every one that is still there unwraps. They are
 * rotated by adding one, wrapping every data key anew (sealed_rewrap) and destroying the old one.
 * Any thread.
 */
#pragma once
#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/id.h"

#include <limits.h>

/* generation (4), nonce (12), sealed data key (32), tag (16) */
#define WRAPPED_BYTES (4 + NONCE_BYTES + KEY_BYTES + TAG_BYTES)

struct keys;

/* Make generation 1 in a new file, mode 0600. ERR_EXISTS if the file is there. */
must_check
int keys_file_create(const char *path, struct err *e);
/* The file beside PATH that a change is written to first. Empty between changes; it may be made beforehand,
 * with mode 0600, for a process that may not make files there. */
must_check
int keys_file_aside(const char *path, char out[static PATH_MAX], struct err *e);
/* ERR_DENIED unless the file is a regular one of mode 0600 (or 0400), owned by us: the text says
 * what to do. ERR_FORGED if it is not a region key file or damaged (it has a checksum). One
 * whose change was interrupted is completed. */
must_check
struct keys *keys_file_open(const char *path, struct err *e);
void keys_close(struct keys *k);
CLEANUP(struct keys, keys_close)

/* The newest. */
uint32_t keys_generation(struct keys *k);
/* Of those that there are: what is wrapped with one before it opens no more. */
uint32_t keys_oldest(struct keys *k);
/* How many generations there are: more than one while vaults are wrapped anew. */
unsigned keys_count(struct keys *k);

/* Choose GENERATION, unless it is there, without using it: it lies beside the file (keys_file_aside),
 * together with all others, until keys_add. DIGEST tells it from any other, and nothing of it. Again:
 * the same. */
must_check
int keys_plan(
    struct keys *k, uint32_t generation, uint8_t digest[static SHA256_BYTES], struct err *e);
/* Whether that generation is there. */
bool keys_has(struct keys *k, const uint8_t digest[static SHA256_BYTES]);
/* Make GENERATION, as it was planned if it was, unless the newest is that already. It is durable in the
 * file before anything is wrapped with it; when this returns, nothing is wrapped with an older one any
 * more (keys_hold). ERR_FULL, ERR_IO, ERR_DENIED, ...: the file and the keys are as they were. */
must_check
int keys_add(struct keys *k, uint32_t generation, struct err *e);
/* Destroy every generation but the newest: in the file, whose old bytes are overwritten in place, and in
 * memory. On error the keys are as they were; call it again. What overwriting does not reach (file systems
 * that write elsewhere, flash) is said in docs/operating.md. */
must_check
int keys_destroy_old(struct keys *k, struct err *e);
/* Between these no generation is made: what is wrapped with the newest meanwhile can be stored before it
 * is an old one. Not to be nested. */
void keys_hold(struct keys *k);
void keys_release(struct keys *k);

/* Bound to the vault and its home epoch: a wrapped key moved elsewhere does not unwrap. */
must_check
int keys_wrap(struct keys *k, const struct vault_id *id, uint64_t epoch,
    const uint8_t data_key[static KEY_BYTES], uint8_t out[static WRAPPED_BYTES], struct err *e);
/* ERR_FORGED: wrong region key, or not wrapped for this vault. ERR_MISSING: that generation is
 * destroyed. */
must_check
int keys_unwrap(struct keys *k, const struct vault_id *id, uint64_t epoch,
    const uint8_t wrapped[static WRAPPED_BYTES], uint8_t out[static KEY_BYTES], struct err *e);
