/* rocksdb_private.h - the embedded engine, as its own files see it. */
#pragma once
#include "base/space.h"
#include "engine/engine_private.h"
#include "engine/tail.h"

#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>

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
	_Atomic uint64_t reopened_ms;
	_Atomic unsigned
	    reopening; /* threads that want to: who holds the gate for long leaves it */
	_Atomic bool is_broken;
	int mark_fd; /* -1: not there */
	bool has_lost;
	_Atomic bool is_damaged; /* a compaction met what it can't read: none until the node ends */

	struct space space;
	uint64_t buffer_bytes; /* less than this is for deletes alone */
	pthread_mutex_t ballast_lock;
	_Atomic bool has_ballast;
	_Atomic uint64_t ballast_ms; /* when it was last tried to take it, or given up; 0: never */

	pthread_mutex_t stripes[STRIPES];

	pthread_mutex_t compacting; /* one at a time */

	bool is_tailed; /* logs are kept for a standby */
	uint64_t keep_bytes;
	/* Numbers of changes, as RocksDB counts them: up to the first, below the others. */
	_Atomic uint64_t durable, taken, unneeded;
	pthread_mutex_t tail_lock; /* of what follows */
	rocksdb_wal_iterator_t *wal;
	uint64_t wal_next;              /* the change that WAL comes to next */
	rocksdb_writebatch_t *waiting;  /* read from WAL, but not yet durable */
	uint64_t mark_number, mark_log; /* old logs up to MARK_LOG have nothing above MARK_NUMBER */
	uint64_t trimmed_ms;
};

/* How many scans this thread is inside of: it must not wait for the gate again, because it holds
 * it. */
extern _Thread_local unsigned rocks_scan_depth;

/* Never lower. */
static inline void
rocks_raise(_Atomic uint64_t *number, uint64_t to)
{
	uint64_t now = atomic_load(number);

	while (now < to && !atomic_compare_exchange_weak(number, &now, to))
		;
}

static inline struct rocks *
rocks_of(struct engine *g)
{
	return container_of(g, struct rocks, engine);
}

/* --- rocksdb_mark.c --- */

#define ROCKS_MARK "DURABLE"
/* Have the file at hand, if it can be made; it was not until the first flush. */
void rocks_mark_open(struct rocks *r);
/* Whether the open database ends before what is known to have been durable. It is logged and counted. */
bool rocks_mark_is_beyond(struct rocks *r);
/* Everything up to change NUMBER is durable. One thread at a time. */
void rocks_mark_put(struct rocks *r, uint64_t number);

/* --- rocksdb.c --- */

/* ERR_FULL if puts that are applied so have to leave the space that is left to others. */
must_check
int rocks_check_space(struct rocks *r, enum engine_when when, struct err *e);

/* --- rocksdb_open.c --- */

/* Take over RocksDB's TEXT. Returns -1. */
int rocks_err(struct err *e, char *text, const char *what);
/* The same for a change that failed: RocksDB refuses more of them from now on, and so do we until it
 * is reopened; after damage without compactions. */
int rocks_broke(struct rocks *r, struct err *e, char *text, const char *what);
rocksdb_options_t *rocks_options(uint64_t cache_bytes, uint64_t buffer_bytes, bool is_tailed);
/* Whether RocksDB's TEXT, or an error made of it, says that what it read is damaged. */
bool rocks_says_damage(const char *text);
/* Open the closed database, for reading only if there is no space to do otherwise. */
must_check
int rocks_open(struct rocks *r, struct err *e);
void rocks_shut(struct rocks *r);
/* Begin a call: when it returns 0, the database is open until rocks_leave. */
must_check
int rocks_enter(struct rocks *r, bool is_write, struct err *e);
void rocks_leave(struct rocks *r);

/* --- rocksdb.c: a record's key as RocksDB has it --- */

#define FULL_KEY_MAX (VAULT_ID_BYTES + ENGINE_KEY_MAX)

struct full_key {
	size_t len;
	char bytes[FULL_KEY_MAX + 1];
};

struct full_key rocks_key(const struct vault_id *id, struct span key);
/* After every key of the vault, and before the next vault: longer than any key. */
struct full_key rocks_end_key(const struct vault_id *id);
/* Write BATCH unless it is empty, and destroy it. */
must_check
int rocks_write(struct rocks *r, rocksdb_writebatch_t *batch, enum engine_when when, struct err *e);

/* --- rocksdb_gap.c --- */

/* Whether RocksDB's TEXT says that what is stored can't be read, rather than that this could not be done now. */
bool rocks_is_unreadable(const char *text);
/* The iterator AT has met, behind the record LAST (length 0: before the first), what can't be read. 0:
 * now it can, and AT is at the record behind; 1: records of vaults up to TO were passed over, and AT is
 * at the first behind them, or *IS_END: there is none. Either way *E says what was met. */
must_check
int rocks_pass_gap(rocksdb_iterator_t *at, const struct full_key *last, struct vault_id *to,
    bool *is_end, struct err *e);

/* --- rocksdb_ballast.c --- */

#define ROCKS_BALLAST "ballast" /* in the database's folder */

/* Before new data is written: take the ballast if it is not there and there is enough room. */
void rocks_ballast_take(struct rocks *r);
/* Before something is written that makes room, or keeps the node going, and that has not entered yet: give the
 * ballast up if there is too little room. */
void rocks_ballast_give(struct rocks *r);

/* --- rocksdb_tail.c --- */

extern const struct engine_tail_ops rocks_tail_ops;
/* Before the database is closed. */
void rocks_tail_shut(struct rocks *r);
/* With a database that was just opened. */
void rocks_tail_begin(struct rocks *r);
/* Old logs up to NEWEST have nothing above change NUMBER and hold what has to go: wait until that was
 * taken, and remove them. */
must_check
int rocks_tail_forget(struct rocks *r, uint64_t number, uint64_t newest, struct err *e);

/* --- rocksdb_compact.c --- */

int rocks_compact(struct engine *g, struct err *e);
/* Make what the logs hold durable without RocksDB, which is open for reading only. */
must_check
int rocks_sync_logs(struct rocks *r, struct err *e);
uint64_t rocks_size(struct engine *g);
