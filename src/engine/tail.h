/* tail.h - an engine's changes in the order in which they were made, for a standby.
 *
 * Changes are numbered from 1 without gaps; a group of them, which an apply or drop made, is atomic.
 * Only what is durable can be read, so that whoever follows never has what a power cut here would
 * take back. Reading all groups from a number on, on top of records that were copied after that
 * number, comes to the same state: a change says what is, not what is added.
 *
 * An engine that can't has no tail in its table (engine_tail is NULL). Any thread, one reader at a time.
 */
#pragma once
#include "engine/changes.h"

struct tail_state {
	uint64_t last;       /* number of the last change; 0: there was none */
	uint64_t durable;    /* up to here changes survive a power cut, and can be read */
	uint64_t kept_bytes; /* of logs that are kept for whoever follows */
};

struct engine_tail_ops {
	int (*state)(struct engine *g, struct tail_state *out, struct err *e);
	/* Append whole groups to OUT, the first one beginning with change FROM, until there are about
	 * WANT bytes (0: one group). *NEXT: the number after the last one that was read; FROM if there
	 * is none yet. ERR_MISSING: they are not kept any more (or FROM is not where a group begins). */
	int (*read)(struct engine *g, uint64_t from, size_t want, struct buf *out, uint64_t *next,
	    struct err *e);
	/* Changes below UPTO are safe elsewhere, and those below FROM need not be kept. To be called from
	 * time to time even if nothing has changed, since it is also when too many kept ones are thrown
	 * away. */
	int (*taken)(struct engine *g, uint64_t upto, uint64_t from, struct err *e);
	/* Append records as puts, in order, those behind *AFTER (as the last call left it; empty: from
	 * the first), until there are about WANT bytes. 1: there are more; 0: that was the last.
	 * ERR_FORGED: one can't be read. */
	int (*copy)(
	    struct engine *g, struct buf *after, size_t want, struct buf *out, struct err *e);
	/* Carry out CHANGES, of many vaults, as one atomic apply with ENGINE_LATER. ERR_BAD. */
	int (*apply)(struct engine *g, struct span changes, struct err *e);
};

static inline const struct engine_tail_ops *
engine_tail(const struct engine *g)
{
	return g->ops->tail;
}

/* engine_rocksdb whose changes can be read. Its logs are kept until they are `taken`, but no more than
 * about KEEP_BYTES of them. `compact` waits until the changes that it has to remove were taken, and
 * answers ERR_BUSY if that takes too long. (engine_rocksdb can copy and apply, too.) */
must_check
struct engine *engine_rocksdb_tailed(const char *path, uint64_t block_cache_bytes,
    uint64_t write_buffer_bytes, uint64_t keep_bytes, struct err *e);
