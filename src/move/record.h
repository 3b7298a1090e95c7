/* record.h - the durable states of a move, on either side, and of an erasure.
 *
 * Source:       copying -> fenced -> moved -> erased          (REGION_MOVE, then REGION_ERASE)
 *                  \         \
 *                   `---------`-> given up (back to serving)
 * Destination:  arriving -> prepared -> settled               (REGION_MOVE)
 *                  \           \
 *                   `-----------`-> given up (REGION_ERASE)
 *
 * A state is stored before it is acted on. After a restart: `copying` is given up at once, since no
 * statement of it was ever signed; `fenced` and `prepared` ask the directory; `arriving` is given up at
 * once, since no swap of it was ever asked for.
 */
#pragma once
#include "base/frame.h"
#include "directory/directory.h"
#include "ledger/certificate.h"

enum move_state {
	MOVE_COPYING,
	MOVE_FENCED,
	MOVE_MOVED,
	MOVE_ERASED,
	MOVE_ARRIVING,
	MOVE_PREPARED,
	MOVE_SETTLED,
	MOVE_GIVEN_UP,
	MOVE_STATES
};

/* "copying", ... */
const char *move_state_name(enum move_state s);
/* Whether the picture above has an arrow. */
bool move_may_follow(enum move_state from, enum move_state to);
/* Go to TO; asserts the arrow. */
void move_advance(enum move_state *state, enum move_state to);

struct move_record {
	enum move_state state;
	struct account_id account;
	uint64_t epoch, attempt;     /* of the row that is to be swapped */
	char peer[REGION_NAME_SIZE]; /* the other side */
	char wave[WAVE_ID_SIZE];
	uint64_t since_ms;             /* wall clock, when this state began */
	uint64_t lease_ms;             /* prepared: how long the old home may go on reading */
	char statement[STATEMENT_MAX]; /* prepared: what both sides sign */
	struct sealing sent, received; /* prepared */
};

/* The stored form, appended; read: ERR_FORGED, it is damaged or none. */
void move_record_put(struct buf *b, const struct move_record *m);
must_check
int move_record_read(struct span stored, struct move_record *out, struct err *e);

struct erase_record {
	struct account_id account;
	bool was_home;  /* moved away; else an arrival that was given up */
	bool has_proof; /* the destination's signature is in our proofs */
	uint64_t epoch; /* at the new home */
	unsigned services;
	char peer[REGION_NAME_SIZE];
	char wave[WAVE_ID_SIZE];  /* that is told; "" for an arrival: its wave is its source's */
	uint64_t records, chunks; /* removed so far */
	uint64_t since_ms;
};

/* Likewise. */
void erase_record_put(struct buf *b, const struct erase_record *r);
must_check
int erase_record_read(struct span stored, struct erase_record *out, struct err *e);

/* The key of a proof: account, epoch at the new home. */
#define PROOF_KEY_BYTES (ACCOUNT_ID_BYTES + 8)
void proof_key(const struct account_id *id, uint64_t epoch, uint8_t out[static PROOF_KEY_BYTES]);
