/* backup.h - a region's backup: a folder with all that its node keeps, as of one moment.
 *
 *   FOLDER/domicile-backup         the region's id: what says that the folder is one of ours
 *          generation-000003       a manifest: JSON, and its SHA-256; written last, and at once
 *          objects/ab/<sha256>     runs of records; lists of chunks; the directory
 *          chunks/ab/<account>.<service>.<name>
 *          chunks/ab/<account>.<service>.<name>.<digest>   another sealing of it, after a stay elsewhere
 *          part                    what is being written
 *
 * Records are sealed as they lie in the engine. They are read at one instant (engine_each) and written anew
 * into files of our own, rather than linking the engine's: its tables and logs may still hold what was
 * deleted, and a backup must hold no key of an erased vault (promise `gone`). Getting that out of them needs
 * a compaction, which rewrites every table, so that nothing would be left to be incremental about. Runs of
 * records end at keys whose hash says so: what did not change makes the same run, which is named by its
 * digest and so is there already. Everything is read at each backup, but only what is new is written.
 *
 * A sealed chunk never changes, but one whose account was away has come back under its name and another
 * key: its first bytes, a nonce, tell. Those that go meanwhile stay until all are copied (chunks_hold),
 * except those of vaults that are erased meanwhile: these are gone. The directory is copied last, so
 * that an account whose record was seen has its row, unless it was removed.
 *
 * Damage of the folder is not built on: a run or list that is not what its name says is written anew,
 * and where a list of the backup before can't be read, the one before that is used, or all chunks are
 * copied. The bytes of chunks that are there are looked at by backup_verify alone.
 *
 * Damage of the store ends no backup, and is named in the manifest. A vault whose header is malformed
 * is in it as it is. Records that can't be read are missing, and with them the backup is incomplete: it
 * is restored only by who says so, and does not push the newest complete one out of the folder. Chunks
 * are all in it, also those of vaults whose records are missing, except those that can't be read and
 * that the backup before does not have: with them content of a vault is missing, which no older
 * generation has either, and the backup is not incomplete. What the bytes of a chunk are worth is not
 * looked at: that takes the vault's keys, and is for the scrub.
 *
 * Region key, sign key and TLS keys are not in it. Neither is anything that was erased before it began.
 */
#pragma once
#include <jansson.h>
#include "base/crypto.h"
#include "base/frame.h"
#include "service/node.h"

#define BACKUP_KEEP 7 /* generations, unless told otherwise */

struct backup;

/* STORE: the folder of the node's store, which the backup must not lie in; NULL if there is none. */
must_check
struct backup *backup_open(struct node *n, const char *store, struct err *e);
/* One that runs is broken off. NULL is fine. */
void backup_close(struct backup *b);
/* Begin one into FOLDER, an absolute path, made if it is not there; KEEP generations stay when it is done.
 * ERR_BUSY: one is being written (or read) already; ERR_EXISTS: the folder has something else in it;
 * ERR_BAD: of another region, or in the store. */
must_check
int backup_begin(struct backup *b, const char *folder, unsigned keep, struct err *e);
/* How far it is, and what the last one came to: JSON { "state": "none" | "running" | "done" | "failed",
 * "folder", "step", "records", "record_bytes", "record_bytes_about", "chunks", "chunks_total",
 * "chunk_bytes", "new_bytes", "new_chunks", "error", "kind", "backup": backup_manifest_json }. */
must_check
int backup_status(struct backup *b, json_t **out, struct err *e);

/* --- what a folder has --- */

struct backup_object {
	uint8_t digest[SHA256_BYTES];
	uint64_t bytes;
};

/* What was damaged in the store: the header of vault ID is malformed; or records are missing, of some
 * or all accounts from that of ID to TO, both included (the region's own, vault/region.h, are those of
 * account zero); or chunks of vault ID. */
struct backup_damage {
	enum backup_damage_kind { BACKUP_HEADER, BACKUP_MISSING, BACKUP_CHUNK } kind;
	struct vault_id id;
	struct account_id to;
};
#define BACKUP_DAMAGES_MAX 1000

struct manifest {
	char region[REGION_NAME_SIZE];
	uint32_t generation;
	uint64_t began_ms, finished_ms; /* wall clock; all is as of BEGAN_MS or a little later */
	uint64_t accounts, vaults, records, record_bytes, chunks, chunk_bytes;
	uint32_t key_oldest, key_newest; /* generations of the region key; 0: no vault */
	bool has_directory;
	struct backup_object directory;
	struct backup_object *runs; /* changes (engine/changes.h), puts only, in order of keys */
	size_t n_runs;
	struct backup_object *lists; /* of chunk_entry, in order of vaults and names */
	size_t n_lists;
	uint64_t damaged;              /* how often */
	uint64_t missing;              /* of these BACKUP_MISSING: the backup is incomplete */
	struct backup_damage *damages; /* the first BACKUP_DAMAGES_MAX, in order */
	size_t n_damages;
};

/* What it points to. */
void manifest_free(struct manifest *m);
#define _cleanup_manifest_ __attribute__((cleanup(manifest_free)))
/* The stored form, with its digest. ERR_FORGED: damaged, or not one. ERR_BAD: of a newer program. */
must_check
int manifest_text(const struct manifest *m, struct buf *out, struct err *e);
must_check
int manifest_parse(struct span text, struct manifest *out, struct err *e);
/* Its figures, for people and programs, and "damages": [{ "kind": "header" or "chunk", "account", "service" }
 * or { "kind": "missing", "account", "to" }]. */
json_t *manifest_json(const struct manifest *m);

struct chunk_entry {
	struct vault_id id;
	uint8_t name[16];
	uint64_t bytes;
	uint8_t digest[SHA256_BYTES];
};
#define CHUNK_ENTRY_BYTES (VAULT_ID_BYTES + 16 + 8 + SHA256_BYTES)
/* Append CHUNK_ENTRY_BYTES. */
void chunk_entry_put(struct buf *b, const struct chunk_entry *c);
/* 1, 0 at the end, -1 (ERR_FORGED). */
must_check
int chunk_entry_next(struct reader *r, struct chunk_entry *out, struct err *e);

/* --- looking at a backup, and putting it back; without a node --- */

/* No backup is written into the folder while one has it. ERR_BUSY; ERR_MISSING: it is none of ours. */
struct backup_lock;
must_check
struct backup_lock *backup_lock_shared(const char *folder, struct err *e);
void backup_lock_close(struct backup_lock *l);
CLEANUP(struct backup_lock, backup_lock_close)

/* The generations that are there, oldest first, as uint32_t onto OUT. */
must_check
int backup_generations(const char *folder, struct buf *out, struct err *e);
/* The generation (0: the newest). ERR_MISSING: the folder has none, or no such. */
must_check
int backup_manifest(const char *folder, uint32_t generation, struct manifest *out, struct err *e);

/* Called now and then with what was read so far. false: stop (ERR_CANCELLED). */
typedef bool backup_go_on_fn(void *arg, uint64_t bytes);

/* Read all of M again: every object and chunk is there and has its digest. */
must_check
int backup_verify(
    const char *folder, const struct manifest *m, backup_go_on_fn *go_on, void *arg, struct err *e);
/* Whether K can unwrap the keys of M's vaults: those of each generation are tried until one opens. Headers that
 * are malformed are passed over. ERR_MISSING: a generation that K does not have any more; ERR_FORGED: another
 * region key, with which none opens. PASSES_OVER: what of the backup is damaged. */
must_check
int backup_check_keys(
    const char *folder, const struct manifest *m, struct keys *k, bool passes_over, struct err *e);
/* Into the empty ENGINE and CHUNKS, durably. What is damaged of the backup itself fails it, unless it
 * PASSES_OVER that and adds it to what M names: MISSING where a run or a list of chunks can't be read, CHUNK
 * for a chunk, of which as much is put back as there is. */
must_check
int backup_restore(const char *folder, struct manifest *m, struct engine *engine,
    struct chunks *chunks, bool passes_over, backup_go_on_fn *go_on, void *arg, struct err *e);
/* Whether the file at PATH is the copy of the directory, bit by bit. */
bool backup_is_directory(const struct manifest *m, const char *path);
/* It, into the new file TO. */
must_check
int backup_restore_directory(
    const char *folder, const struct manifest *m, const char *to, struct err *e);
