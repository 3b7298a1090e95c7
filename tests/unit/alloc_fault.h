/* alloc_fault.h - one allocation of our own code fails, in turn.
 *
 *	struct alloc_turn t = { 0 };
 *
 *	while (alloc_next(&t)) {
 *		alloc_arm(&t);
 *		r = parse(...);
 *		alloc_disarm(&t);
 *		CHECK(r == 0 || (t.fired && e.kind == ERR_MEMORY));
 *	}
 *
 * A loop is over when a turn had no allocation left to fail. Only tests named test_memory_* are linked so
 * that these stand in for malloc and its kin, and only where our objects call them: libraries, the
 * sanitizers' too, go on with theirs.
 */
#pragma once
#include <stdbool.h>

struct alloc_turn {
	unsigned nth;
	bool fired;
	bool is_everywhere; /* any thread's count, not only those of the one that arms */
};

/* The next turn: false when none is left. T begins as zeros, but for is_everywhere. */
bool alloc_next(struct alloc_turn *t);
void alloc_arm(const struct alloc_turn *t);
void alloc_disarm(struct alloc_turn *t);
