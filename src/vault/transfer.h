/* transfer.h - taking a whole vault elsewhere without knowing what is in it.
 *
 * An export yields items, an import takes them; between the two anything may carry the bytes. Plain
 * content is inside, so they travel only within TLS and never touch a disk.
 *
 * Items (type (1), then):
 *   'V' base version (8), page count at base (4)                    first, once
 *   'P' page number (4), version (8), page (4096)                   each, in order
 *   'C' chunk name (16), bytes (8), digest (32)                     a chunk entry
 *   'R' version (8), plain redo entry                               base + 1, base + 2, ...
 *   'D' chunk name (16), offset (8), bytes                          a piece of a chunk, in order
 *   'E' chunk name (16)                                             the chunk is complete
 * Pages come first, then the chunk entries as of the export's opening, then these chunks' data, then
 * redo entries and the data of the chunks that they add: so data always follows the C or R item
 * that names the chunk, one chunk at a time. An early entry may name a chunk that a later one drops
 * and whose data never comes; at the end of an import none may be missing. Pages are plain, since
 * whatever carries the items compresses them together.
 */
#pragma once
#include "vault/pool.h"

#define TRANSFER_ITEM_MAX ((size_t)65 << 20)

struct export;
struct import;

/* All calls on one export or import come from one thread at a time.
 *
 * POOL is told to hold the vault's checkpoints until the export is closed. ERR_MISSING: the account
 * has no such vault. */
must_check
struct export *export_open(struct pool *p, struct engine *g, struct keys *k, struct chunks *c,
    const struct vault_id *id, struct err *e);
/* Append whole items (each a 32-bit length and the item) to OUT until it holds about WANT bytes.
 * 1: there is more; 0: caught up with what is in the engine now; call again later for what came
 * after. After homes_fence, 0 means all of it. ERR_STALE: a failed flush took commits back, or the
 * owner wrote a checkpoint: close it and begin again. */
must_check
int export_next(struct export *x, struct buf *out, size_t want, struct err *e);
/* Roughly how many bytes of items are left now. */
must_check
int export_left(struct export *x, uint64_t *bytes, struct err *e);
/* How many bytes a full copy has, about: pages and chunks, read from counts alone. */
uint64_t export_size(struct export *x);
/* Version and content root of what has been exported; ERR_BUSY unless export_next last said 0. */
must_check
int export_root(
    struct export *x, uint64_t *version, uint8_t root[static SHA256_BYTES], struct err *e);
void export_close(struct export *x);
CLEANUP(struct export, export_close)

/* Of a vault that its first item makes: arriving, at home EPOCH, under a new data key; import_take
 * is ERR_EXISTS if there is one. G, K and C are borrowed. NULL: ERR_MEMORY. */
must_check
struct import *import_open(struct engine *g, struct keys *k, struct chunks *c,
    const struct vault_id *id, uint64_t epoch, struct err *e);
/* Take whole items as export_next wrote them. ERR_BAD for anything that does not fit; a chunk whose
 * digest differs is ERR_FORGED. */
must_check
int import_take(struct import *i, const uint8_t *items, size_t n, struct err *e);
/* Everything taken is applied (chunks: on disk and their names synced); not yet flushed. */
must_check
int import_write(struct import *i, struct err *e);
/* Recomputed here from what was stored. ERR_BAD if chunks are still to come. */
must_check
int import_root(
    struct import *i, uint64_t *version, uint8_t root[static SHA256_BYTES], struct err *e);
/* The vault may be opened from now on. Not yet flushed. */
must_check
int import_finish(struct import *i, struct err *e);
size_t import_memory(const struct import *i); /* bytes in use, roughly */
void import_close(struct import *i);          /* leaves what is stored; transfer_erase removes it */
CLEANUP(struct import, import_close)

/* Evict the vault and delete its header, the only copy of its wrapped key: once that is flushed, the rest
 * is noise. Not flushed here, so that one flush serves a batch. Nothing there is fine. */
must_check
int transfer_destroy_key(
    struct pool *p, struct engine *g, const struct vault_id *id, struct err *e);
/* Erase a vault: destroy its key and flush (unless that was done), then every record, then every chunk.
 * *RECORDS and *CHUNKS are added to, as far as they could be read. The caller flushes. Repeatable;
 * nothing there is fine. */
must_check
int transfer_erase(struct pool *p, struct engine *g, struct flusher *f, struct chunks *c,
    const struct vault_id *id, uint64_t *records, uint64_t *chunk_count, struct err *e);
/* Look again: 0 if no record and no chunk is left, else ERR_STALE saying what. */
must_check
int transfer_is_gone(struct engine *g, struct chunks *c, const struct vault_id *id, struct err *e);

/* Whether a record as it lies in the engine is the entry of a chunk that its vault has. */
bool transfer_is_chunk(const struct vault_id *id, struct span key);
/* Of a record as it lies in the engine: 1 if it is a vault's header, and then which generation of the region
 * key wraps its key, and, if K is not NULL, that K unwraps it; 0 if it is another record. ERR_FORGED: it is of
 * another region key, or damaged. ERR_MISSING: that generation is destroyed. */
must_check
int transfer_key_of(struct keys *k, const struct vault_id *id, struct span key, struct span value,
    uint32_t *generation, struct err *e);
