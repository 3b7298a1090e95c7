/* promote.h - making a standby the region. */
#pragma once
#include "directory/directory.h"

struct engine;
struct promotion {
	const char *store, *region;
	uint64_t cache_bytes, write_buffer_bytes;
	struct directory *directory;
	/* Called while the former node's lease is waited for. May be NULL. */
	void (*waiting)(void *arg, uint64_t left_ms);
	void *arg;
	/* Mark the store, durably, as one that has to be compared with the directory before it serves: it may
	 * lack what was acknowledged last. */
	int (*mark)(struct engine *g, struct err *e);
	/* Whether the region's keys open what is in the store: else nothing changes. */
	int (*check)(void *arg, struct engine *g, struct err *e);

	/* out */
	uint64_t term, next, whole_at;
};

/* The store must not be in use (ERR_BUSY). Repeatable from wherever it was cut off. ERR_STALE: the store
 * has no whole copy, or the region's term is not the one that it followed: nothing has changed then, unless
 * a promotion had been begun. */
must_check
int standby_promote(struct promotion *p, struct err *e);
