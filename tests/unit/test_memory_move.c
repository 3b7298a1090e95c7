/* Whatever allocation of ours fails during a move, on either side, nothing of it is forgotten: without
 * a restart the account has one home again and is whole there, and the other side keeps nothing.
 */
#include "alloc_fault.h"
#include "move_account.h"

static struct alloc_turn turn;

/* MOVE arms TURN: every eleventh allocation from there on fails in turn, the erasure's that follows too. */
static void
try_moves(struct pair *p, bool (*move)(struct pair *p, const struct account_id *id, struct err *e))
{
	struct fault_turn t = { .is_of_memory = true };

	turn = (struct alloc_turn){ .is_everywhere = true };
	while (alloc_next(&turn)) {
		struct account_id id = new_account(p);
		struct err e = { 0 };
		bool said, settles;

		t.nth = turn.nth;
		said = move(p, &id, &e);
		settles = pair_settles(p);
		alloc_disarm(&turn);
		CHECK_TURN(&t, settles);
		if (!check_account(&t, p, &id)) {
			CHECK_TURN(&t, !said);
			move_on(&t, p, &id);
		}
		forget(&p->sides[TO], &id);
		turn.nth += 10; /* all of them take minutes */
	}
}

static bool
whole_move(struct pair *p, const struct account_id *id, struct err *e)
{
	alloc_arm(&turn);
	return pair_move(p, id, e);
}

static void
a_move_without_memory_leaves_one_whole_home(void **state)
{
	try_moves(*state, whole_move);
}

static bool
arm_and_stop(void *arg, uint64_t bytes)
{
	(void)arg, (void)bytes;
	alloc_arm(&turn);
	return false;
}

static bool
cancelled_move(struct pair *p, const struct account_id *id, struct err *e)
{
	return pair_move_while(p, id, arm_and_stop, e);
}

static void
a_cancelled_move_without_memory_leaves_one_whole_home(void **state)
{
	try_moves(*state, cancelled_move);
}

static atomic_bool is_armed;

static void
arm_once(void)
{
	if (!atomic_exchange(&is_armed, true))
		alloc_arm(&turn);
}

/* The directory swaps, and the destination does not hear of it; the source neither, until the destination has
 * found out. */
static bool
interrupted_move(struct pair *p, const struct account_id *id, struct err *e)
{
	struct fault *from = &p->sides[FROM].shaky.fault, *to = &p->sides[TO].shaky.fault;
	bool said;

	fault_set(from, FAULT_FAIL, 2, true, 0);
	fault_set(to, FAULT_FAIL_LATE, 2, false, 0);
	atomic_store(&is_armed, false);
	said = pair_move(p, id, e);
	for (int i = 0; i < 20000 && !side_is_quiet(&p->sides[TO]); i++)
		usleep(1000);
	fault_set(from, FAULT_NONE, 0, false, 0);
	fault_set(to, FAULT_NONE, 0, false, 0);
	return said;
}

static void
an_interrupted_move_without_memory_leaves_one_whole_home(void **state)
{
	struct pair *p = *state;

	p->sides[TO].shaky.at_swap = arm_once;
	try_moves(p, interrupted_move);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_move_without_memory_leaves_one_whole_home),
		TEST(a_cancelled_move_without_memory_leaves_one_whole_home),
		TEST(an_interrupted_move_without_memory_leaves_one_whole_home),
	};
	int failed;

	fault_use_memory();
	move_content = noise(MOVE_CHUNKED + 1, 1);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(move_content);
	return failed;
}
