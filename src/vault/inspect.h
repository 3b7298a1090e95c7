/* inspect.h - everything of one vault read again, beside whoever uses it: what is damaged, what is left over.
 *
 * Records (seals, chain, sets), the database (SQLite's integrity check), the references of its rows against
 * its chunk entries, and every chunk (each segment opened, its length and digest as the entry says). The
 * vault is not taken: writers and moves go on. Only where its owner writes one checkpoint after another are
 * these held back (pool_hold) for as long as its records are read once without pauses.
 *
 * Whatever looks damaged is looked at once more, from a newer state, before it is said to be. Blocking; any
 * thread. Memory: about 250 bytes a chunk of the vault.
 */
#pragma once
#include "vault/pool.h"

/* Numbers are part of the stored format. */
enum damage_kind {
	DAMAGE_HEADER = 1,   /* the vault's header; nothing of it can be opened */
	DAMAGE_PAGE = 2,     /* `number`: the page; 0: they are not those last written */
	DAMAGE_REDO = 3,     /* `number`: version of the redo entry; 0: all of them */
	DAMAGE_ENTRY = 4,    /* `name`: the chunk that it lists; zeros: all of them */
	DAMAGE_CHUNK = 5,    /* `name`: content that is lost, cut off or altered */
	DAMAGE_DATABASE = 6, /* SQLite's integrity check */
	DAMAGE_REFERENCE =
	    7, /* a row names chunk `name`, and there is no such entry or another one */
	DAMAGE_MISSING = 8, /* a service that was granted has no vault */
	DAMAGE_RECORD = 9,  /* one of the region's own records about the account */
	DAMAGE_KINDS
};

/* "page", "chunk", ... */
const char *damage_word(enum damage_kind k);

/* What it touches is told by numbers alone: no key, no name of a person. */
struct damage {
	enum damage_kind kind;
	enum service service;
	uint64_t number;
	uint8_t name[CHUNK_NAME_BYTES];
	int64_t row;   /* that refers to the chunk: the service's number of it; 0: not known */
	uint32_t part; /* of the row; 0: none */
	char why[120];
};

#define DAMAGES_MAX 64

struct damages {
	struct damage all[DAMAGES_MAX];
	unsigned n;
	uint64_t more; /* that there was no room for */
};

/* Copied, or counted where there is no room. */
void damages_add(struct damages *d, const struct damage *one);

/* One reference that a row has to a chunk; REF is NULL where the row's own list can't be read. */
typedef int inspect_ref_fn(
    void *arg, const struct chunk_ref *ref, int64_t row, uint32_t part, struct err *e);

struct inspector {
	struct pool *pool;
	/* After BYTES were read: wait if they were too fast. -1 ends the inspection with that error. */
	int (*pace)(void *arg, uint64_t bytes, struct err *e);
	/* FN for every reference of the vault V; NULL: not for this service. */
	int (*refs)(struct vault *v, inspect_ref_fn *fn, void *arg, struct err *e);
	/* ERR_FORGED if its rows contradict each other where SQLite sees nothing; NULL: not for this
	 * service. */
	int (*rows)(void *arg, struct vault *v, struct err *e);
	/* Something else that the service wants to know of its database, while it is open; or NULL. May be
	 * asked more than once. */
	int (*look)(void *arg, struct vault *v, struct err *e);
	void *arg;
};

struct inspection {
	struct damages damages;
	uint64_t epoch;  /* of the home that the vault was made in */
	uint64_t chunks; /* read */
	/* What can be mended: */
	uint64_t strays;    /* chunk files without an entry, unless they are just being written */
	struct buf unnamed; /* names of chunks that have an entry and no row */
	bool has_leftovers; /* redo entries of a checkpoint that was cut short */
	bool rows_differ;   /* the database is damaged in nothing but what `rows` said last */
};

/* What it points to. */
void inspection_free(struct inspection *i);

/* ERR_MISSING: there is no such vault. ERR_STALE: it kept changing. Else -1 is about this node, and says
 * nothing of the vault. OUT is the caller's to free whatever happens. */
must_check
int inspect_vault(
    const struct inspector *in, const struct vault_id *id, struct inspection *out, struct err *e);

/* Drop the entries NAMES (of inspection.unnamed) that REFS still does not name, as one transaction of the
 * vault, which is taken for it. *DROPPED is added to. The caller has passed the gate for a write and waits
 * for *TICKET. */
must_check
int inspect_drop_unnamed(const struct inspector *in, const struct vault_id *id, struct span names,
    uint64_t *dropped, uint64_t *ticket, struct err *e);
