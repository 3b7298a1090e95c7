/* vault_internal.h - a vault as the pool, its queries and its keeper see it. */
#pragma once
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/table.h"
#include "sealed/store.h"
#include "vault/content_internal.h"
#include "vault/pool.h"

/* Prepared statements kept per vault; the one unused for longest goes first. */
#define STATEMENTS_MAX 24
#define SWEPT_MAX      16384

struct query {
	sqlite3_stmt *stmt;
	const char *sql; /* its address is the name */
	struct vault *vault;
	struct query *next; /* most recently used first */
	int rc;             /* what binding or preparing met: comes out at query_step */
	bool is_in_use;
};

enum vault_list {
	LIST_NONE,  /* taken */
	LIST_IDLE,  /* open, nobody has it; least recently given first */
	LIST_CLOSED /* not open, but something still refers to it: see is_needed in pool.c */
};

struct vault {
	struct vault_id id;
	enum vault_list list;
	struct pool *pool;
	UT_hash_handle hh;
	TAILQ_ENTRY(vault) link;   /* in `list` */
	STAILQ_ENTRY(vault) chore; /* waiting for the keeper */
	STAILQ_ENTRY(vault) sweep; /* likewise */

	/* The pool's lock guards these. */
	bool is_taken;
	bool is_chore;
	bool is_sweep;
	bool is_counted;   /* among the open ones */
	unsigned waiting;  /* threads that want it */
	unsigned watching; /* threads in pool_hold */
	unsigned holds;
	unsigned pins; /* pending removals, chores and sweeps */
	uint64_t gives;
	uint64_t commit_ms; /* mono; 0: none yet */
	size_t bytes;
	pthread_cond_t given;

	/* The taker's. */
	struct sealed *sealed;
	sqlite3 *db;
	struct content_key *key; /* outlives the connection while a transfer uses it */
	struct query *queries;
	unsigned n_queries;
	struct query broken; /* what vault_query gives when there is no memory */
	uint64_t failures;   /* the flusher's when it was opened */
	uint64_t ticket;
	uint64_t version;
	uint64_t new_commit_ms;
	unsigned gives_measured;
	size_t sqlite_bytes;
	unsigned cache_pages; /* SQLite's */
	unsigned missed;      /* pages, since it was measured last */
	bool has_spare;       /* the pool has memory for more than what it needs */
	struct memo_entry *memo;
	size_t memo_bytes;
	bool must_close;
	bool has_chunk_changes;
	bool was_queried;   /* since it was taken */
	struct buf dropped; /* names, 16 bytes each, of this transaction */
};

/* Files of dropped chunks, to be removed once nobody can need them. */
struct removal {
	STAILQ_ENTRY(removal) link;
	struct vault *vault;         /* pinned */
	struct content_key *readers; /* everyone who may know the names holds this one */
	uint64_t ticket;
	uint64_t failures;
	size_t n;
	uint8_t names[][CHUNK_NAME_BYTES];
};

TAILQ_HEAD(vault_tailq, vault);

/* The first N rows of sqlite_schema. */
struct schema_rows {
	size_t n;
	uint8_t digest[SHA256_BYTES];
};

struct pool {
	struct pool_config c;
	pthread_mutex_t lock;
	pthread_cond_t room; /* a vault was given back or closed, for whoever counts or watches */
	unsigned room_waiting;
	struct vault *vaults;
	struct vault_tailq idle, closed;
	size_t open;
	size_t bytes;
	struct page_template templates[SERVICES];
	struct schema_rows tables[SERVICES];

	pthread_t keeper;
	pthread_cond_t keeper_wake;
	bool is_keeping;
	bool is_closing;
	STAILQ_HEAD(, vault) chores;
	STAILQ_HEAD(, removal) removals;
	STAILQ_HEAD(, vault) sweeps;
	/* Swept by this process, each at one place; one that was pushed out is swept again. */
	struct vault_id swept[SWEPT_MAX];
};

must_check
int schema_template(
    enum service s, struct page_template *out, struct schema_rows *rows, struct err *e);
/* Whether DB has these rows first, and behind them tables alone, none of SQLite's own: no trigger, index or
 * statistics that our statements would go by. -1: it could not be read, *RC is SQLite's number. */
must_check
int schema_fits(sqlite3 *db, const struct schema_rows *rows, int *rc);

/* --- vault.c: a vault that the caller has taken; no lock held --- */

must_check
int vault_connect(struct vault *v, struct err *e);
void vault_disconnect(struct vault *v);
/* Whether V is as it was when it was given back last: what was asked of it was in the memo. Then there
 * is nothing to settle, checkpoint or measure, and none of that memory has to be fetched. */
bool vault_is_untouched(const struct vault *v);
/* Back to no transaction, no statement in use. */
void vault_settle(struct vault *v);
size_t vault_memory(struct vault *v);
/* *E from SQLite's RC and what the sealed store knows about it; marks the vault if it is broken. */
int vault_sqlite_error(struct vault *v, int rc, struct err *e);
void vault_free_queries(struct vault *v);

/* --- memo.c --- */

void vault_memo_clear(struct vault *v);

/* --- pool.c --- */

/* Take V for this thread without opening it. LOCK held; it is released while waiting. */
void pool_grab(struct pool *p, struct vault *v);
/* The other half: on a list, or freed if nothing needs it. LOCK held. */
void pool_release(struct pool *p, struct vault *v);
struct vault *pool_entry(struct pool *p, const struct vault_id *id, bool may_add);

/* --- pool_keeper.c: the thread that checkpoints and removes, so that no request pays for it --- */

must_check
int keeper_start(struct pool *p, struct err *e);
void keeper_stop(struct pool *p);
/* LOCK held. */
void keeper_add_chore(struct pool *p, struct vault *v);
/* Remove V's orphaned chunk files in the background, unless that was done. LOCK held, V just opened. */
void keeper_add_sweep(struct pool *p, struct vault *v);
/* After a durable-to-be commit at V->ticket that dropped V->dropped. No lock held. */
void keeper_add_removal(struct vault *v);
/* LOCK held: V is being evicted, its chunks are someone else's business now. */
void keeper_forget(struct pool *p, struct vault *v);
