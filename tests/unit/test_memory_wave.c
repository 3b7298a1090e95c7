/* Whatever allocation of ours fails while a region works off a wave, the wave ends, without a restart, and its account is
 * at its new home.
 */
#include "alloc_fault.h"
#include "move_account.h"

static int
setup(void **state)
{
	*state = pair_open();
	return 0;
}

static int
teardown(void **state)
{
	pair_close(*state);
	return 0;
}

static void
a_wave_without_memory_ends(void **state)
{
	struct alloc_turn a = { .is_everywhere = true };
	struct fault_turn t = { .is_of_memory = true };
	struct pair *p = *state;

	while (alloc_next(&a)) {
		struct account_id id = new_account(p);
		struct wave w;
		bool ends;

		t.nth = a.nth;
		pair_wave(p, &id, &w);
		alloc_arm(&a);
		ends = pair_wave_ends(p, &w);
		alloc_disarm(&a);
		CHECK_TURN(&t, ends);
		CHECK_TURN(&t, pair_settles(p) && check_account(&t, p, &id));
		forget(&p->sides[TO], &id);
		a.nth +=
		    3; /* all of them take long, and what comes before the last is in test_memory_move */
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_wave_without_memory_ends, setup, teardown),
	};
	int failed;

	fault_use_memory();
	move_content = noise(MOVE_CHUNKED + 1, 1);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(move_content);
	return failed;
}
