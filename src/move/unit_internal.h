/* unit_internal.h - what copying (unit.c) and handing over (handover.c) share. */
#pragma once
#include "move/internal.h"

static inline bool
unit_is_alive(const struct unit_account *a)
{
	return a->verdict.kind == ERR_NONE;
}

/* The account drops out, for this reason; what it had before stays. */
void unit_fail(struct unit_account *a, const struct err *e);
void unit_log(const struct unit *u, const struct unit_account *a, const char *from, const char *to);
void unit_record(const struct unit *u, const struct unit_account *a, enum move_state state,
    struct move_record *out);
/* Send everything that the engine has of accounts FROM to TO - 1 now. */
must_check
int unit_copy_all(struct unit *u, size_t from, size_t to, bool is_limited, struct err *e);
/* Wait for an answer of this kind: N verdicts, and the note if NOTE is not NULL. */
must_check
int unit_receive(struct unit *u, enum frame_type want, uint64_t wait_ms, size_t n,
    struct verdict *out, struct note *note, struct err *e);
/* Make the first OPENED accounts the destination's, a group after the other. */
must_check
int unit_hand_over(struct unit *u, size_t opened, struct err *e);
