/* mover.h - moving accounts: what a node does of DESIGN.md sections 7 and 8, joined.
 *
 *   waves     a thread that follows the directory's waves out of this region and works them off
 *   source    the sending side of a stream (unit.c), one worker thread each
 *   target    the receiving side (target.c), on the stream listener's threads
 *   resolver  a thread that settles moves whose answer did not come, with the directory's word
 *   eraser    a thread that erases what has moved away or was given up, and looks again
 */
#pragma once
#include <jansson.h>
#include "base/cleanup.h"
#include "service/node.h"

struct mover;
struct stream_listener;

struct mover_config {
	struct node *node;
	const char *stream_at;    /* "host:port" that arrivals come to */
	unsigned concurrency;     /* streams a wave uses unless it says otherwise; 0: 3 */
	uint64_t pause_budget_ms; /* fence when what is left takes less than this; 0: 20 */
	uint64_t
	    answer_wait_ms; /* after sealing, how long before the directory is asked; 0: 5000 */
	uint64_t
	    compact_every_ms;   /* erased bytes are compacted away at the latest after; 0: 30 s */
	uint64_t read_lease_ms; /* as given to homes */
	uint64_t memory;        /* of arriving moves, all together; 0: 512 MiB */
};

/* Recover from what is durable, then start. */
must_check
struct mover *mover_start(const struct mover_config *c, struct err *e);
/* Moves that are not sealed are given up, others are left as they are durable. NULL is fine. */
void mover_stop(struct mover *m);
unsigned mover_stream_port(const struct mover *m);

/* Look at the waves now instead of at the next tick (a wave was started, paused, cancelled). */
void mover_nudge(struct mover *m);
/* What is under way here, for `wave status`: JSON { "sending": n, "erasing": n, "resolving": n,
 * "bytes_per_s": n, "accounts_per_s": n }. */
json_t *mover_status(struct mover *m);

/* Verify an account that arrived here, with other code than the copier's: every page read again through
 * SQLite, every chunk's content digested, the roots compared with the statement's where nothing was
 * written since, SQLite's integrity check. The account is served meanwhile: its vaults are taken for
 * their pages only. JSON { "account", "result": "same" | "changed" | "bad", "detail", "bytes" }.
 * ERR_STALE: it lives elsewhere. ERR_BUSY, ERR_MEMORY, ...: it is not known. */
must_check
int mover_verify(struct node *n, const struct account_id *id, json_t **out, struct err *e);
/* The certificate of the account's move to EPOCH (0: the newest known here). ERR_MISSING. */
must_check
int mover_certificate(
    struct node *n, const struct account_id *id, uint64_t epoch, json_t **out, struct err *e);
/* Records of the account as they lie in the store, sealed, to search for after it has moved away: JSON
 * { "records": [{ "service", "kind", "hex" }, ...] }; none if it is not here. */
must_check
int mover_sample(struct node *n, const struct account_id *id, json_t **out, struct err *e);
/* For the scrub (service/scrub.h): whether a record of kind REGION_MOVE, _ERASE or _PROOF can be read. */
must_check
int mover_check_record(uint8_t kind, struct span key, struct span value, struct err *e);
/* Erase what was left behind of an account that has no home here, in the way of every erasure: durably
 * recorded when this returns. ERR_BUSY: something is under way with it. */
must_check
int mover_erase_leftover(
    struct node *n, const struct account_id *id, unsigned services, struct err *e);
/* For whoever removes accounts (struct node, set_removed): stores COUNT of H and B, durably when this
 * returns, and with them that what the accounts have left in the files is to be compacted away, which a
 * restart goes on with. */
must_check
int mover_removed(
    struct node *n, const struct home *h, size_t count, struct region_batch *b, struct err *e);
/* The serving side of /peer/v1/move/<op>: "certificate", "received". */
must_check
int mover_serve(struct node *n, const char *caller, const char *op, json_t *arguments,
    json_t **answer, struct err *e);
