/* look.h - reading every record of a vault beside its owner, a few at a time, to find which are damaged.
 *
 * Each record is opened by itself, so that one that does not open hides no other; then all together are
 * held against the header: the chain over the redo entries, the sets of page records and chunk entries.
 * Nothing is changed, no page image is kept. What the owner does meanwhile is told from damage where the
 * header shows it; the rest is for the caller, who looks a second time before believing. One thread.
 */
#pragma once
#include "sealed/store.h"

enum look_at { LOOK_HEADER, LOOK_ENTRY, LOOK_REDO, LOOK_PAGE };

struct look_damage {
	enum look_at at;
	uint64_t number;  /* of the page; version of the redo entry; 0: all of them together */
	uint8_t name[16]; /* of the chunk that the entry is of; zeros: all of them together */
	char why[120];
};

/* May be called within a scan of the engine, and so must not call it. */
struct look_visit {
	int (*damaged)(void *arg, const struct look_damage *d, struct err *e);
	int (*entry)(
	    void *arg, const struct chunk_ref *c, struct err *e); /* each that opens; NULL */
	void *arg;
};

struct look;
/* Reads the header alone. ERR_MISSING: no such vault. ERR_FORGED: the header is damaged, so that nothing
 * else can be opened. G and K are borrowed. */
must_check
struct look *look_open(struct engine *g, struct keys *k, const struct vault_id *id, struct err *e);
void look_close(struct look *l);
CLEANUP(struct look, look_close)

/* The next records: 1: there are more, 0: these were the last. *BYTES (of the records) is added to.
 * ERR_STALE: the owner has written a checkpoint, or the vault was made anew: what was said may be wrong;
 * open another. ERR_MISSING: the vault is gone. */
must_check
int look_next(struct look *l, const struct look_visit *v, uint64_t *bytes, struct err *e);

/* The chunk entry NAME as it is now: 1 and *OUT, 0: there is none, -1. */
must_check
int look_find(struct look *l, const uint8_t name[static 16], struct chunk_ref *out, struct err *e);
/* Copy the data key, which the caller wipes. */
void look_data_key(const struct look *l, uint8_t out[static KEY_BYTES]);
void look_info(const struct look *l, struct sealed_info *out);
/* A checkpoint that was cut short has left redo entries behind (or one is under way). */
bool look_has_leftovers(const struct look *l);
