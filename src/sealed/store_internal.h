/* store_internal.h - what the store's own files share; nobody else includes it.
 *
 *	store_header.c	  keys, the H record, batches of writes, the guarded apply
 *	store.c		  opening, reading
 *	store_replay.c	  page images, redo entries
 *	store_chunks.c	  the C records
 *	store_commit.c	  creating, collecting, committing, checkpoints
 *	store_transfer.c  export, content root, verification
 *	store_import.c	  receiving a copy
 *	look.c		  reading every record for what is damaged
 *
 * H record, HEADER_BYTES long, numbers big-endian:
 *	format 1 (1), account (16), service (1), home epoch (8), state (1: 0 home, 1 arriving),
 *	wrapped data key (64), owner epoch (8), writer (16, random per open), version (8), base (8),
 *	newest (8: no P record has a higher version), page count (4), stored pages (4: exactly the
 *	P records 1..stored exist), plain bytes of redo since base (8), swept (8: no R records up
 *	to it exist; those up to base are leftovers of a checkpoint), nonce (12),
 *	sealed { page set (16), chunk set (16), chain (32) }, tag (16)
 * Associated data is "H" and everything before the nonce.
 *
 * Against records that were valid once and are put back:
 *   - chain: SHA-256 (chain before, tag of the R record), zeros at base. So the R records are these
 *     very ones, in this order.
 *   - page set: XOR of one pseudorandom 16 byte term for each P record, and chunk set the same for
 *     the C records. A term is AES-256-CTR's output, under a key derived from the data key, for
 *     the record's own nonce; a nonce names one sealing, and the record's authentication binds it
 *     to its page or chunk. The sets are sealed, so nobody sees terms to combine. Changing a
 *     record costs two terms; comparing takes a scan of all of them, which every export, content
 *     root and sealed_verify does. A single read checks authenticity and version <= newest only.
 *   - A whole vault put back as it once was is not seen here: that takes a memory outside of the
 *     store (the ledger).
 *
 * A step of a long checkpoint writes P records of the present version under the old base. That is
 * sound since redo entries carry bytes and not differences: replaying entries over a page that
 * has them already changes nothing.
 */
#pragma once
#include "base/table.h"
#include "sealed/forged.h"
#include "sealed/store.h"

#define SET_BYTES          16
#define HEADER_SEALED      (2 * SET_BYTES + SHA256_BYTES)
#define HEADER_BYTES       (163 + NONCE_BYTES + HEADER_SEALED + TAG_BYTES)
#define CHUNK_RECORD_NONCE 1 /* where the nonce lies */
#define CHUNK_RECORD_BYTES (1 + NONCE_BYTES + 8 + SHA256_BYTES + TAG_BYTES)

/* A longer redo record is cut into pieces of this length; a shorter piece (it may be empty) is
 * the last. Keys: 'R' version (8), then 'R' version (8) piece (1) from 1. */
#define REDO_PIECE         ((size_t)3 << 20)

/* One apply, where that is not one commit. */
#define STEP_WRITES        256
#define STEP_BYTES         ((size_t)1 << 20)

struct header {
	struct vault_id id;
	bool is_arriving;
	uint64_t epoch;
	uint64_t owner_epoch;
	uint64_t version, base, newest, swept;
	uint64_t redo_bytes;
	uint32_t page_count, stored;
	uint8_t wrapped[WRAPPED_BYTES];
	uint8_t writer[16];
	uint8_t page_set[SET_BYTES], chunk_set[SET_BYTES];
	uint8_t chain[SHA256_BYTES];
};

struct key {
	uint8_t b[1 + 16];
	uint8_t len;
};

struct batch {
	struct buf bytes; /* keys and values, end to end */
	struct batch_slot {
		enum engine_op op;
		size_t key, key_len, value, value_len;
	} * slots;
	struct engine_write *writes;
	size_t n, cap;
	bool no_memory;
};

struct image {
	uint32_t number;
	bool has_nonce;  /* of the P record that it lies over */
	bool has_digest; /* of bytes */
	uint8_t nonce[NONCE_BYTES];
	uint8_t digest[SHA256_BYTES];
	UT_hash_handle hh;
	uint8_t bytes[PAGE_BYTES];
};

struct chunk_entry {
	struct chunk_ref ref;
	uint8_t nonce[NONCE_BYTES]; /* of its C record */
	bool is_drop;               /* among the changes of the next commit */
	UT_hash_handle hh;
};

struct sealed {
	struct engine *g;
	struct keys *k;
	enum sealed_mode mode;
	bool is_broken;
	bool uses_reserve; /* of the engine's space */
	uint8_t *data_key;
	struct aead *a;            /* under the data key */
	struct aead *set;          /* under the key of the set terms */
	struct header h;           /* as last written, or as last followed */
	uint8_t raw[HEADER_BYTES]; /* as last written by us */

	/* Pages that differ from their P records; those above `floor` have lost theirs: a page
	 * that was cut off begins again as zeros. */
	struct image *overlay;
	uint32_t overlay_top; /* no page in it has a higher number */
	uint32_t floor;

	/* What the next commit writes. */
	struct image *pending;
	uint32_t pending_count;
	struct chunk_entry *changes;

	struct image *spare; /* freed images to use again, through hh.next */
	unsigned spares;

	struct chunk_entry *chunks; /* all of them; SEALED_READ and imports only */
	struct header next;         /* imports: what the next write says */
	bool is_import;
	uint32_t import_pages; /* that have to come */

	uint8_t (*digests)[SHA256_BYTES]; /* of pages as in their P records */
	uint32_t digest_count, digest_cap;

	bool has_long; /* an entry since base lies in more than one piece */
	struct buf value, plain, record;
	struct batch batch;
	struct err last; /* for the VFS */
};

/* --- store_header.c --- */

struct key key_header(void);
struct key key_page(uint32_t number);
struct key key_redo(uint64_t version, unsigned piece);
struct key key_chunk(const uint8_t name[static 16]);
static inline struct span
key_span(const struct key *k)
{
	return (struct span){ k->b, k->len };
}

/* Clear fields only: what unwrapping the data key takes. */
must_check
int header_peek(
    const struct vault_id *id, const uint8_t *raw, size_t n, struct header *out, struct err *e);
must_check
int header_open(const struct vault_id *id, struct aead *a, const uint8_t *raw, size_t n,
    struct header *out, struct err *e);
must_check
int header_seal(
    const struct header *h, struct aead *a, uint8_t raw[static HEADER_BYTES], struct err *e);
/* Add or take out (the same) the record with NONCE. */
must_check
int set_toggle(struct sealed *s, uint8_t set[static SET_BYTES],
    const uint8_t nonce[static NONCE_BYTES], struct err *e);
void chain_add(uint8_t chain[static SHA256_BYTES], const uint8_t *record, size_t n);

void batch_put(struct batch *b, struct key k, const void *p, size_t n);
void batch_delete(struct batch *b, struct key k);
/* An R record, in pieces if need be. Returns how many pieces. */
unsigned batch_put_redo(struct batch *b, uint64_t version, const struct buf *record);
void batch_clear(struct batch *b);
void batch_free(struct batch *b);

/* Apply the batch and header NEXT, guarded by the header as we last wrote it (or by there being
 * none), and clear the batch. The data key stays wrapped as s->h has it, or as a rotation of the region key has
 * wrapped it meanwhile. On failure the store is broken, and *E says whether it landed. */
must_check
int store_apply(struct sealed *s, const struct header *next, bool is_new, struct err *e);

/* Whether RAW, which opened as NOW, is the header as we last wrote it, but for the region key that wraps
 * the data key: no other owner has been there. */
bool store_is_ours(const struct sealed *s, const uint8_t *raw, const struct header *now);

/* --- store.c --- */

/* With a new data key wrapped for EPOCH, where WRAPPED is NULL. */
must_check
struct sealed *store_alloc(struct engine *g, struct keys *k, const struct vault_id *id,
    uint64_t epoch, const uint8_t *wrapped, struct err *e);
must_check
int store_usable(const struct sealed *s, struct err *e);
/* ERR_EXISTS if the vault has any record. */
must_check
int store_is_vacant(struct engine *g, const struct vault_id *id, struct err *e);
/* Turn ERR_FORGED into ERR_STALE where another owner or a checkpoint explains it. Returns -1. */
int store_explain(struct sealed *s, struct err *e);
/* The engine's header now. */
must_check
int store_read_header(struct sealed *s, struct header *out, struct err *e);

/* What lies under the overlay: the P record's content and nonce, or zeros. */
must_check
int store_base_page(struct sealed *s, uint32_t number, uint8_t out[static PAGE_BYTES],
    uint8_t nonce[static NONCE_BYTES], bool *has_nonce, struct err *e);
/* The same from the P record that is there, whatever the floor. */
must_check
int store_page_record(struct sealed *s, uint32_t number, uint8_t out[static PAGE_BYTES],
    uint8_t nonce[static NONCE_BYTES], struct err *e);

/* --- store_replay.c --- */

struct image *image_find(struct image *set, uint32_t number);
must_check
struct image *image_new(struct sealed *s, uint32_t number, struct err *e);
must_check
int image_add(struct image **set, struct image *i, struct err *e);
must_check
int overlay_add(struct sealed *s, struct image *i, struct err *e);
void image_free(struct sealed *s, struct image *i);
void images_clear(struct sealed *s, struct image **set);
void image_sort(struct image **set);

/* The page count becomes N: what was above is gone. */
void store_cut(struct sealed *s, uint32_t n);
/* Delete the R records up to base that a checkpoint left behind. */
must_check
int store_drop_leftovers(struct sealed *s, struct err *e);
/* Apply an entry to the overlay; with chunks, to the chunk set in memory as well. */
must_check
int store_apply_entry(struct sealed *s, const uint8_t *plain, size_t n, uint32_t *page_count,
    int (*added)(void *, const struct chunk_ref *, struct err *),
    int (*dropped)(void *, const uint8_t *, struct err *), struct err *e);

/* Visit whole R records from FROM to TO (both included); ERR_FORGED unless each is there, in order. */
struct redo_scan {
	struct sealed *s;
	uint64_t from, to;
	bool may_end_early; /* TO is only a bound */
	bool may_go_on;     /* entries after TO are a live owner's */
	int (*fn)(
	    struct redo_scan *r, uint64_t version, const uint8_t *record, size_t n, struct err *e);
	void *arg;
	uint64_t reached; /* the last one visited, or FROM - 1 */
	struct buf pieces;
	unsigned next_piece;
};
must_check
int redo_scan(struct redo_scan *r, struct err *e);
/* Apply every entry that the header names. */
must_check
int store_replay(struct sealed *s, struct err *e);

/* --- store_chunks.c --- */

struct chunk_entry *chunk_find(struct chunk_entry *set, const uint8_t name[static 16]);
must_check
struct chunk_entry *chunk_add(struct chunk_entry **set, const struct chunk_ref *c, struct err *e);
void chunk_remove(struct chunk_entry **set, struct chunk_entry *c);
void chunks_clear(struct chunk_entry **set);
/* Open a C record. */
must_check
int chunk_open(struct sealed *s, const uint8_t name[static 16], const uint8_t *record, size_t n,
    struct chunk_ref *out, struct err *e);
/* 1: there is C record NAME, opened into OUT; 0: none; -1. */
must_check
int chunk_get(
    struct sealed *s, const uint8_t name[static 16], struct chunk_entry *out, struct err *e);
/* In name order. */
must_check
int chunks_visit(struct chunk_entry **set, sealed_chunk_fn *fn, void *arg, struct err *e);
/* Fill s->chunks from the C records. SEALED_READ: and s->h from the header of the same instant. */
must_check
int chunks_load(struct sealed *s, struct err *e);
/* Write or delete C's record in the batch and in SET; C->nonce is that of the record. */
must_check
int chunk_write(
    struct sealed *s, struct chunk_entry *c, uint8_t set[static SET_BYTES], struct err *e);
must_check
int chunk_erase(
    struct sealed *s, const struct chunk_entry *c, uint8_t set[static SET_BYTES], struct err *e);

/* --- store_transfer.c --- */

must_check
int page_digest_add(struct sealed *s, const uint8_t page[static PAGE_BYTES], struct err *e);
void digests_clear(struct sealed *s);
