/* target_internal.h - what taking a unit (target.c) and sealing it (target_seal.c) share. A stream's thread has
 * its target to itself.
 */
#pragma once
#include <zstd.h>

#include "move/internal.h"

struct arrival {
	struct opening opening;
	enum move_state state; /* arriving, prepared, settled, given up */
	struct import *imports[SERVICES];
	struct verdict verdict;
	bool is_claimed, is_learned;
	char statement[STATEMENT_MAX];
	struct sealing sent, received;
};

struct target {
	struct mover *mover;
	struct stream *stream;
	uint32_t unit, lease_ms;
	uint64_t failures; /* of flushes, when the unit was opened */
	char wave[WAVE_ID_SIZE];
	struct arrival *arrivals; /* UNIT_MAX of them */
	size_t n;
	struct buf packed, raw;
	ZSTD_DCtx *zstd;
	struct arriving_share memory;
	bool is_answered; /* the source knows of each arrival that it is here or refused */
	bool is_skipping; /* there was no memory for the unit: its data is not looked at */
};

static bool
arrival_is_arriving(const struct arrival *a)
{
	return a->state == MOVE_ARRIVING && a->verdict.kind == ERR_NONE;
}

/* Whether something of the unit is still to come. */
bool target_is_filling(const struct target *t);
/* The arrival drops out; its source hears why with the next verdicts. */
void target_refuse(struct arrival *a, const struct err *e);
/* The arrival that the unit has of the account, or NULL. */
struct arrival *target_find(struct target *t, const struct account_id *id);
void target_close_imports(struct arrival *a);
void target_record_of(const struct target *t, const struct arrival *a, enum move_state state,
    struct move_record *out);
void target_home_of(
    const struct target *t, const struct arrival *a, enum home_state state, struct home *out);
/* ERR_BAD unless UNIT is the one that is open. */
must_check
int target_check_unit(const struct target *t, uint32_t unit, struct err *e);
/* A frame with N verdicts, and the note if NOTE is not NULL, at once. */
must_check
int target_send_verdicts(struct target *t, enum frame_type type, const struct verdict *v, size_t n,
    const struct note *note, struct err *e);
/* The frame SEAL. A failure ends the stream: the unit's prepared arrivals are the resolver's then. */
must_check
int target_on_seal(struct target *t, struct span p, struct err *e);
