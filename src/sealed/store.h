/* store.h - one vault's sealed records: header, pages, redo entries, chunk entries.
 *
 * Keys of a vault's records: 'H'; 'P' number (4); 'R' version (8), and where the record is longer
 * than a piece (3 MiB) 'R' version (8) piece (1); 'C' chunk name (16).
 *
 * Invariants:
 *   - the pages as of version V are the P records, changed by the R records up to V in order;
 *   - H names the version and how many P records there are: 1, 2, ... without a gap;
 *   - exactly the R records (base version, version] exist; a checkpoint that was cut short may have
 *     left older ones behind, which the next owner removes;
 *   - a C record exists for each chunk that the pages of `version` may refer to;
 *   - every apply is guarded by the H record as this owner last wrote it.
 *
 * A sealed store is used by one thread at a time.
 */
#pragma once
#include "base/cleanup.h"
#include "engine/engine.h"
#include "sealed/keys.h"
#include "sealed/page.h"
#include "sealed/redo.h"

struct sealed;

/* The pages of a new vault of one service, made once at start: N pages of PAGE_BYTES. */
struct page_template {
	uint8_t *pages;
	uint32_t n;
};

struct sealed_info {
	uint64_t epoch;   /* of the home this vault was made in */
	uint64_t version; /* of the last commit */
	uint64_t base;    /* P records are as of this version */
	uint32_t page_count;
	uint32_t base_page_count; /* P records there are: 1 to this */
	uint64_t redo_bytes;      /* plain bytes of the redo entries since base */
	uint32_t redo_pages;      /* pages that differ from their P record */
	bool is_arriving;         /* being imported: not yet to be opened as a vault */
};

/* Make a new data key, wrapped, and the records of a vault at version 1: one apply, not yet
 * durable. ERR_EXISTS if the vault has a header. */
must_check
int sealed_create(struct engine *g, struct keys *k, const struct vault_id *id, uint64_t epoch,
    const struct page_template *t, struct err *e);

/* Wrap the vault's data key with the newest generation of the region key, if an older one wraps it; *CHANGED
 * is set then. Whoever has the vault, its owner or an import, is not disturbed: its next write finds
 * that nothing else has changed, and goes on. No vault is fine. Applied, not yet durable. */
must_check
int sealed_rewrap(
    struct engine *g, struct keys *k, const struct vault_id *id, bool *changed, struct err *e);

enum sealed_mode {
	/* Raises the owner epoch: every commit of a former owner then fails (ERR_STALE). Without space
	 * for that it is raised with the first commit, and until then the vault can be read. */
	SEALED_OWN,
	SEALED_READ, /* leaves the header alone; may follow a live owner; can't commit */
};

/* Open and replay the redo entries. ERR_MISSING: no such vault. ERR_FORGED: a record does not
 * open or the records contradict each other. G and K are borrowed. OWN refuses an arriving vault
 * (ERR_BUSY). */
must_check
struct sealed *sealed_open(struct engine *g, struct keys *k, const struct vault_id *id,
    enum sealed_mode mode, struct err *e);
void sealed_close(struct sealed *s);
CLEANUP(struct sealed, sealed_close)

/* As this store knows it; nothing is read. */
void sealed_get_info(const struct sealed *s, struct sealed_info *out);
const struct vault_id *sealed_vault(const struct sealed *s);
/* Bytes of memory in use, roughly, for the pool's bound. */
size_t sealed_memory(const struct sealed *s);
/* Copy the data key, for the chunks' segments. The caller wipes it. */
void sealed_data_key(const struct sealed *s, uint8_t out[static KEY_BYTES]);

/* The page as of `version`; a page past the end, or never written, is zeros. ERR_FORGED also for a
 * record that is missing. That a record is the newest of its page is checked by whatever scans all
 * of them: sealed_verify, sealed_export_pages, sealed_root. */
must_check
int sealed_read(struct sealed *s, uint32_t number, uint8_t out[static PAGE_BYTES], struct err *e);

/* Collect for the next commit. Page images are copied. */
must_check
int sealed_put_page(
    struct sealed *s, uint32_t number, const uint8_t plain[static PAGE_BYTES], struct err *e);
/* Pages above N are gone. Those that come back within the same commit and are not collected again
 * keep what they had. */
void sealed_put_page_count(struct sealed *s, uint32_t n);
uint32_t sealed_pending_page_count(const struct sealed *s);
/* ERR_EXISTS, ERR_MISSING: names are never used twice. */
must_check
int sealed_put_chunk(struct sealed *s, const struct chunk_ref *c, struct err *e);
must_check
int sealed_drop_chunk(struct sealed *s, const uint8_t name[static 16], struct err *e);
/* A page as collected, or as of `version`: what SQLite must see when it reads. */
must_check
int sealed_read_pending(
    struct sealed *s, uint32_t number, uint8_t out[static PAGE_BYTES], struct err *e);
void sealed_forget_pending(struct sealed *s); /* a rollback */
/* Whether the next commits may use what the engine keeps back (ENGINE_RESERVE). At first not. */
void sealed_use_reserve(struct sealed *s, bool may);

/* Write one redo entry with what was collected (none if nothing differs): version + 1. Applied,
 * not yet durable: take a flusher ticket after it. After any error the store is broken: every
 * later call fails with ERR_IO, and it has to be closed and opened again. ERR_STALE: another owner. */
must_check
int sealed_commit(struct sealed *s, struct err *e);
/* Write the pages that differ, drop the redo entries, in one apply (in steps of at most 256
 * writes or 4 MiB, the header last, where there are more). */
must_check
int sealed_checkpoint(struct sealed *s, struct err *e);
/* Whether it is past its bound (SEALED_CHECKPOINT_PAGES pages, _BYTES of redo or _ENTRIES). */
#define SEALED_CHECKPOINT_PAGES   96
#define SEALED_CHECKPOINT_BYTES   ((uint64_t)512 << 10)
#define SEALED_CHECKPOINT_ENTRIES 1024
bool sealed_wants_checkpoint(const struct sealed *s);
/* Whether the next checkpoint writes page NUMBER from memory, without reading its record. */
bool sealed_has_in_memory(const struct sealed *s, uint32_t number);

/* Read every page and chunk entry and hold them against the header: ERR_FORGED if any of them is not
 * the one last written, an older one for instance. */
must_check
int sealed_verify(struct sealed *s, struct err *e);

/* Chunks in name order, as of `version`. FN must not change the vault. */
typedef int sealed_chunk_fn(void *arg, const struct chunk_ref *c, struct err *e);
must_check
int sealed_chunks(struct sealed *s, sealed_chunk_fn *fn, void *arg, struct err *e);

/* --- taking a copy elsewhere (SEALED_READ; the owner must not checkpoint meanwhile) --- */

/* Every page as of `base` (or, after a checkpoint that was cut short, as of a version since; the
 * entries lead to the same), in order, and remember its digest. FN may be NULL. */
typedef int sealed_page_fn(
    void *arg, uint32_t number, uint64_t version, const uint8_t *plain, struct err *e);
must_check
int sealed_export_pages(struct sealed *s, sealed_page_fn *fn, void *arg, struct err *e);
/* Redo entries that are in the engine, from AFTER + 1 on, in order; those past `version` are also
 * applied to this store, whose `version` follows the owner's. ERR_BAD unless base <= AFTER <=
 * version. ERR_STALE: the owner has written a checkpoint, begin again. */
typedef int sealed_entry_fn(
    void *arg, uint64_t version, const uint8_t *plain, size_t n, struct err *e);
must_check
int sealed_export_entries(
    struct sealed *s, uint64_t after, sealed_entry_fn *fn, void *arg, struct err *e);

/* --- receiving a copy --- */

/* Make a header in state arriving, with a new data key; nothing may be there (ERR_EXISTS). */
must_check
struct sealed *sealed_import(struct engine *g, struct keys *k, const struct vault_id *id,
    uint64_t epoch, uint64_t base, uint32_t base_page_count, struct err *e);
/* All pages, then chunk entries (of base or of any version since), then entries base + 1,
 * base + 2, ... Batched inside; out-of-order input is refused (ERR_BAD). Digests are kept for the
 * root. An entry may add a chunk that is there already, and drop one that is not: the chunk entries
 * may have been taken later. After an error the store is broken. */
must_check
int sealed_import_page(struct sealed *s, uint32_t number, uint64_t version,
    const uint8_t plain[static PAGE_BYTES], struct err *e);
must_check
int sealed_import_chunk(struct sealed *s, const struct chunk_ref *c, struct err *e);
must_check
int sealed_import_entry(
    struct sealed *s, uint64_t version, const uint8_t *plain, size_t n, struct err *e);
/* Write what is batched, and the header with the version reached (still arriving). */
must_check
int sealed_import_write(struct sealed *s, struct err *e);
/* The header leaves the state arriving: the vault may be opened. Not yet durable. */
must_check
int sealed_import_finish(struct sealed *s, struct err *e);

/* The vault's content root, over the store as of `version`, exported or imported:
 *   SHA-256 ( "domicile root 1" , service (1), version (8), page count (4),
 *             { page number (4), SHA-256 of the page }  in order,
 *             chunk count (4), { name (16), bytes (8), digest (32) }  in name order )
 * All pages count, zeros too. Pages that changed since base are digested now, the others were
 * when they were copied. */
must_check
int sealed_root(struct sealed *s, uint8_t out[static SHA256_BYTES], struct err *e);

/* Of a header record as it lies in the engine: which generation of the region key wraps its key, and, if K
 * is not NULL, that K unwraps it. ERR_FORGED: it is none, or of another region key. ERR_MISSING: that
 * generation is destroyed. */
must_check
int sealed_header_key(struct keys *k, const struct vault_id *id, struct span header,
    uint32_t *generation, struct err *e);
