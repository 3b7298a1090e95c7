/* pool.h - the bounded set of open vaults, and what is done to one of them.
 *
 * pool_take hands a vault to one thread at a time. Commits are applied, not yet durable, when
 * vault_commit returns: the vault may be given back at once, and the answer to the client waits for
 * the ticket it got. A reader waits for vault_ticket likewise, so that nobody is told what a power
 * cut could take back.
 */
#pragma once
#include "chunks/chunks.h"
#include "engine/flusher.h"
#include "sealed/keys.h"
#include "sealed/redo.h"
#include "vault/content.h"
#include "vault/query.h"

struct pool;
struct vault;

struct pool_config {
	struct engine *engine; /* all four borrowed */
	struct flusher *flusher;
	struct keys *keys;
	struct chunks *chunks;
	size_t max_vaults; /* open at once; the idle ones beyond it are closed */
	size_t max_bytes;  /* roughly, of memory */
};

/* NULL: ERR_MEMORY, or a thread could not be started. Any thread may use it. */
must_check
struct pool *pool_open(const struct pool_config *c, struct err *e);
/* Closes every vault; nobody may hold one. */
void pool_close(struct pool *p);
CLEANUP(struct pool, pool_close)

/* Make the vault of a service that has a schema (profile, files, backup), at home EPOCH. Applied,
 * not durable: take a ticket. ERR_EXISTS. */
must_check
int pool_create(struct pool *p, const struct vault_id *id, uint64_t epoch, struct err *e);

/* The vault, opened if need be, for this thread alone until pool_give. With MAY_BLOCK false it is
 * ERR_BUSY if another thread has it or it would have to be opened. ERR_MISSING: there is none.
 * ERR_BUSY (may block): all MAX_VAULTS are in use for 10 s. */
must_check
struct vault *pool_take(struct pool *p, const struct vault_id *id, bool may_block, struct err *e);
void pool_give(struct vault *v); /* rolls back what was not committed; NULL is fine */
CLEANUP(struct vault, pool_give)

/* While held, the vault is not checkpointed (its pages stay still for an export). Counted. Waits
 * for whoever has the vault. */
void pool_hold(struct pool *p, const struct vault_id *id);
void pool_unhold(struct pool *p, const struct vault_id *id);
/* Close the vault if it is open, waiting for whoever has it, and forget everything of it. */
void pool_evict(struct pool *p, const struct vault_id *id);
/* Milliseconds since the last commit by this process if the vault is open, else UINT64_MAX. */
uint64_t pool_idle_ms(struct pool *p, const struct vault_id *id);
size_t pool_count(struct pool *p);
/* Remove chunk files that a crash left behind, as the keeper does after a vault's first opening: no row
 * can refer to them and nobody is writing them. *REMOVED is added to. Does nothing while the vault is
 * held. ERR_MISSING: no such vault. */
must_check
int pool_sweep(struct pool *p, const struct vault_id *id, uint64_t *removed, struct err *e);

/* The records of these pages are damaged: write them anew, by a checkpoint, if the vault is open and has all
 * of them in memory. 1: done and durable; 0: can't be; -1. */
must_check
int pool_rewrite_pages(
    struct pool *p, const struct vault_id *id, const uint32_t *numbers, size_t n, struct err *e);
/* The vault as it is now, beside whoever has it, for looking only: nothing can be committed, pool_view_close
 * closes it. A later checkpoint by its owner ends the view: reading then fails with ERR_STALE. Lists all of
 * the vault's chunks in memory. ERR_MISSING; ERR_FORGED: a record of it is damaged. Borrows P. */
must_check
struct vault *pool_view(struct pool *p, const struct vault_id *id, struct err *e);
void pool_view_close(struct vault *v); /* NULL is fine */
CLEANUP(struct vault, pool_view_close)

/* Wrap the vault's data key with the newest generation of the region key; *CHANGED is set if an older one
 * wrapped it. Nobody who uses the vault is disturbed. No such vault is fine. Applied, not yet durable. */
must_check
int pool_rewrap(struct pool *p, const struct vault_id *id, bool *changed, struct err *e);

/* --- one vault, taken --- */

/* V's, as long as it is taken. */
const struct vault_id *vault_id(const struct vault *v);
/* A transaction, until vault_commit or vault_rollback. -1: as query_step. */
must_check
int vault_begin(struct vault *v, struct err *e);
/* The same for a transaction that only removes: it may use the space that the engine keeps back. */
must_check
int vault_begin_removal(struct vault *v, struct err *e);
/* *TICKET: durable when flusher says so. On error the vault is closed inside and reopened at the
 * next take; give it back all the same. */
must_check
int vault_commit(struct vault *v, uint64_t *ticket, struct err *e);
void vault_rollback(struct vault *v);
/* What a reader of the present state has to wait for. */
uint64_t vault_ticket(const struct vault *v);
uint64_t vault_version(const struct vault *v);

/* The chunk list, as part of the transaction. A dropped chunk's file is removed when the commit is
 * durable and no content that was opened before is still being read (vault_reader). */
must_check
int vault_add_chunks(struct vault *v, const struct chunk_ref *refs, size_t n, struct err *e);
must_check
int vault_drop_chunk(struct vault *v, const uint8_t name[static 16], struct err *e);

/* Every chunk the vault lists, in name order. */
typedef int vault_chunk_fn(void *arg, const struct chunk_ref *c, struct err *e);
must_check
int vault_each_chunk(struct vault *v, vault_chunk_fn *fn, void *arg, struct err *e);

/* A counted key for content_begin and content_open. */
struct content_key *vault_content_key(struct vault *v);
struct chunks *vault_chunks(struct vault *v);

/* A statement of this vault's connection: SQL is a string constant (kept prepared under its
 * address). Never NULL: an error is kept and comes out at query_step. */
struct query *vault_query(struct vault *v, const char *sql);

/* PRAGMA integrity_check: 0 and "ok", or ERR_FORGED with SQLite's first finding. */
must_check
int vault_check(struct vault *v, struct err *e);
/* Read page NUMBER (1-based) through SQLite's own file handle; PAGES gets their number. For
 * verifying independently of export. */
must_check
int vault_read_page(
    struct vault *v, uint32_t number, uint8_t out[static 4096], uint32_t *pages, struct err *e);
