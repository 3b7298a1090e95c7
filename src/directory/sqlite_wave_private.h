/* sqlite_wave_private.h - between sqlite_wave.c (waves) and sqlite_item.c (their items). */
#pragma once
#include "directory/sqlite_private.h"

/* What a transaction changes in a wave's sums. */
struct tally_delta {
	int64_t items[ITEM_STATES], bytes[ITEM_STATES], held[ITEM_STATES], pauses[ITEM_STATES];
};

/* ERR_MISSING. NUM is the wave's number in the item table. */
must_check
int wave_read(struct conn *c, const char *id, struct wave *w, int64_t *num, struct err *e);
must_check
int tally_apply(struct conn *c, int64_t num, const struct tally_delta *delta, struct err *e);
/* Turn all items in a state of MASK to state TO; *N of them. Those that wait again lose their reason, and their
 * tries are counted anew. */
must_check
int items_turn(
    struct conn *c, int64_t num, unsigned mask, enum item_state to, uint64_t *n, struct err *e);
