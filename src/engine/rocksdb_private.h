/* rocksdb_private.h - the embedded engine, as its own files see it. */
#pragma once
#include "engine/engine_private.h"

#include <pthread.h>
#include <rocksdb/c.h>

#define STRIPES 1024

struct rocks {
	struct engine engine;
	char *path;
	rocksdb_options_t *options;
	rocksdb_readoptions_t *reading;
	rocksdb_writeoptions_t *later, *now;

	/* Held for reading by every call, for writing to close and open the database. */
	pthread_rwlock_t gate;
	rocksdb_t *db; /* NULL while a reopen has failed */
	bool is_readonly;
	uint64_t reopened_ms;
	_Atomic bool is_broken;

	uint64_t reserve_bytes;
	_Atomic uint64_t looked_ms;
	_Atomic bool is_low;

	pthread_mutex_t stripes[STRIPES];

	pthread_mutex_t compacting; /* one at a time */
};

/* How many scans this thread is inside of: it must not wait for the gate again, because it holds
 * it. */
extern _Thread_local unsigned rocks_scan_depth;

static inline struct rocks *
rocks_of(struct engine *g)
{
	return container_of(g, struct rocks, engine);
}

/* --- rocksdb_open.c --- */

/* Take over RocksDB's TEXT. Returns -1. */
int rocks_err(struct err *e, char *text, const char *what);
/* The same for a change that failed: RocksDB refuses more of them from now on, and so do we until it
 * is reopened. */
int rocks_broke(struct rocks *r, struct err *e, char *text, const char *what);
rocksdb_options_t *rocks_options(uint64_t cache_bytes, uint64_t buffer_bytes);
/* Open the closed database, for reading only if there is no space to do otherwise. */
must_check
int rocks_open(struct rocks *r, struct err *e);
void rocks_shut(struct rocks *r);
/* Begin a call: when it returns 0, the database is open until rocks_leave. */
must_check
int rocks_enter(struct rocks *r, bool is_write, struct err *e);
void rocks_leave(struct rocks *r);

/* --- rocksdb_compact.c --- */

int rocks_compact(struct engine *g, struct err *e);
uint64_t rocks_size(struct engine *g);
