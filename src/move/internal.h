/* internal.h - what the parts of the mover share. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "base/cleanup.h"
#include "base/stats.h"
#include "directory/directory.h"
#include "directory/stream.h"
#include "move/frames.h"
#include "move/mover.h"
#include "move/record.h"
#include "move/step.h"
#include "vault/homes.h"
#include "vault/pool.h"
#include "vault/transfer.h"

struct job;

struct mover {
	struct mover_config config;
	struct node *node;
	struct stream_listener *listener;
	atomic_bool is_stopping;
	atomic_uint next_unit;
	atomic_uint group;  /* accounts that are fenced and sealed together */
	atomic_uint nudges; /* counts mover_nudge, for those who wait */

	_Atomic uint64_t arriving_bytes; /* arriving.c */

	pthread_mutex_t lock;   /* of all below */
	pthread_cond_t changed; /* something to do, or stopping */
	struct job *jobs;

	struct moving *moving; /* accounts of units under way here */
	/* Fenced accounts of ours and arrivals whose stream is gone. */
	struct settle *to_settle;
	unsigned n_to_settle;
	atomic_bool
	    must_rescan_moves; /* one may have been left out: the records are looked through again */

	/* Accounts to erase. */
	struct erasing *to_erase;
	unsigned n_to_erase;
	atomic_bool must_rescan_erasures;

	char mute_peer[REGION_NAME_SIZE]; /* did not answer for a proof; the eraser's own */
	uint64_t mute_until_ms;

	pthread_t waves_thread, resolver_thread, eraser_thread;
	bool has_threads;
};

/* One wave being worked off; job.c. */
int jobs_start(struct mover *m, const struct wave *w, struct err *e);
void jobs_stop(struct mover *m);
/* A wave's item has a new state; kept until the directory has it. WAVE "" is fine (no wave). */
void job_item(struct mover *m, const char *wave, const struct wave_item *item);

/* --- arriving.c --- */

/* One stream's. The stream itself keeps room for the largest frame that came. */
struct arriving_share {
	uint64_t held;
	size_t frame_bytes, import_bytes;
};
/* WANT bytes instead of the *HELD ones; fewer are always granted. ERR_MEMORY, counted as refused: *HELD stays. */
must_check
int arriving_hold(struct mover *m, uint64_t *held, uint64_t want, struct err *e);
/* Before the two buffers grow to so many bytes, if they do; also counts anew what else the stream holds. */
must_check
int arriving_grow(struct mover *m, struct arriving_share *s, const struct buf *packed,
    size_t packed_len, const struct buf *raw, size_t raw_len, struct err *e);
/* Both are done with: empty, and what one large item needed is not kept for all that follow. */
void arriving_shrink(
    struct mover *m, struct arriving_share *s, struct buf *packed, struct buf *raw);
void arriving_let_go(struct mover *m, struct arriving_share *s);

/* --- claims.c --- */

/* false: some unit has the account (or there is no memory). S: the stream it arrives on, borrowed until
 * the claim is dropped, or NULL. An earlier stream of the same region with the account is ended, as a source
 * has an account in one unit at a time: the claim is free as soon as that stream's thread has seen it. */
bool claim_take(struct mover *m, const struct account_id *id, struct stream *s);
void claim_drop(struct mover *m, const struct account_id *id);

/* --- unit.c: the sending side --- */

struct unit_account {
	struct opening opening;
	struct home home;      /* as it was when opened */
	bool has_failed_fence; /* it may have been written all the same */
	struct export *exports[SERVICES];
	bool is_claimed;
	bool is_removed;        /* there is no such account any more */
	bool has_left;          /* it has moved: the wave was not told before the process ended */
	bool is_recorded;       /* a move record of this unit may be in the store */
	struct verdict verdict; /* kind ERR_NONE while it is going on */
	enum move_state state;
	uint64_t bytes;
	uint64_t fenced_ns;
	unsigned held;
	char statement[STATEMENT_MAX];
	uint8_t leaf[SHA256_BYTES];
	struct sealing sent, received;
	uint64_t pause_us;
};

/* What a unit asks of its job while it runs. */
struct unit_limits {
	bool is_single; /* rounds until the tail is short */
	/* Called between pieces with the bytes just sent: sleeps for the rate limit; false: give up. */
	bool (*go_on)(void *arg, uint64_t bytes);
	void *arg;
};

struct unit {
	struct mover *mover;
	struct stream *stream;
	uint32_t number;
	char wave[WAVE_ID_SIZE];
	char to[REGION_NAME_SIZE];
	struct unit_account *accounts;
	size_t n;
	struct unit_limits limits;
	struct buf raw, packed; /* DATA being made */
	void *zstd;             /* ZSTD_CCtx */
	uint64_t rate;          /* bytes a second, as measured while copying */
};

/* Move the accounts U->accounts (openings filled in by account id only); each ends in moved, given up
 * (verdict says why; nothing has changed for it), or fenced. If they are more than UNIT_BYTES, U->n is
 * lowered to as many of the first as fit. Returns -1 if the stream is not to be used again. */
#define UNIT_BYTES ((uint64_t)24 << 20)
int unit_run(struct unit *u, struct err *e);
/* Exports and buffers go, and the resolver has what is fenced. After the unit's wave was told of that,
 * since the resolver tells it how that ends. */
void unit_release(struct unit *u);

/* --- target.c: the receiving side --- */
void target_serve(void *mover, struct stream *s);

/* --- resolver.c --- */

/* Put the record of a move into a batch, in place of the one before. */
must_check
int move_store(struct region_batch *b, const struct move_record *r, struct err *e);
/* How long writes of an arrival wait for its old home: the longer of the two regions' leases. */
uint64_t move_lease_ms(const struct mover *m, const struct move_record *r);
/* Let the resolver settle the account: a fenced one of ours, a prepared arrival, or (copying, arriving)
 * a move whose giving up could not be written. False: there is no memory; it finds the record in the
 * store, later. */
bool resolver_add(struct mover *m, const struct move_record *r);
void *resolver_run(void *mover);
void resolver_free(struct mover *m); /* what was not settled; every thread has ended */
unsigned resolver_count(struct mover *m);
/* Record that N fenced accounts have moved: homes, erase records, proofs (where IS_THERE), in one batch.
 * NOW is the directory's row if the account has gone on from there since (epoch 0: removed), or NULL. */
must_check
int source_record_moved(struct mover *m, const struct move_record *r, size_t n,
    const struct placement *now, struct err *e);
/* The record of a prepared arrival becomes a home: homes, proofs, in one batch. */
must_check
int target_record_home(
    struct mover *m, const struct move_record *r, const struct home *h, size_t n, struct err *e);
/* The old home has learned, or its lease is over: the move's record goes. */
must_check
int target_record_open(struct mover *m, const struct account_id *id, struct err *e);
/* The erasure of an arrival that is given up. */
void erasure_of_arrival(const struct move_record *r, unsigned services, struct erase_record *out);
/* Give up arrivals (arriving or prepared after a lost swap): from now on they are the eraser's. */
must_check
int target_record_given_up(
    struct mover *m, const struct erase_record *x, const struct home *h, size_t n, struct err *e);

/* --- eraser.c --- */
/* After its record is in the store. Where there is no memory the eraser finds that, later. */
void eraser_add(struct mover *m, const struct erase_record *r);
void *eraser_run(void *mover);
void eraser_free(struct mover *m); /* what was not erased; every thread has ended */
/* Whether the account still has an erasure to be finished here, also where the store has lost its
 * record for now: it can't arrive before. While there is one, the wave that it names is told of its end
 * later. 1, 0, -1. */
must_check
int eraser_has(struct mover *m, const struct account_id *id, struct err *e);

/* The erasure under way of the account, if there is one. */
bool eraser_peek(struct mover *m, const struct account_id *id, struct erase_record *out);

/* --- proof.c --- */
must_check
int proof_load(struct node *n, const struct account_id *id, uint64_t epoch, struct proof *out,
    struct err *e); /* ERR_MISSING */
void proof_store(
    struct region_batch *b, const struct account_id *id, uint64_t epoch, const struct proof *p);
/* Ask REGION for its proof of the account's arrival at EPOCH, check its signature, store it. */
must_check
int proof_fetch(struct mover *m, const char *region, const struct account_id *id, uint64_t epoch,
    struct err *e);
/* The public key of a region; ERR_MISSING. */
must_check
int region_key(
    struct node *n, const char *region, uint8_t out[static SIGN_PUBLIC_BYTES], struct err *e);

/* --- verify.c --- */

/* 0 if everything that the statement says of its vaults is here, or newer; ERR_FORGED. */
must_check
int verify_arrival(struct node *n, const char *statement, struct err *e);

extern struct counter moves_copying, moves_fenced, moves_moved, moves_given_up, moves_arriving,
    moves_settled, moves_erased, moves_bytes;
extern struct histogram move_pause;
