/* Whatever allocation of ours fails while a region works off a wave, the wave ends, without a restart,
 * and its account is at its new home.
 */
#include "alloc_fault.h"
#include "move_account.h"

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
		    12; /* all of them take long, and what comes before the last is in test_memory_move */
	}
}

/* The wave had been told that it was moving, and the node ended before it was told more. */
static void
an_item_whose_account_was_removed_ends(void **state)
{
	struct pair *p = *state;
	struct node *n = &p->sides[FROM].node;
	struct wave_item item = { .account = new_account(p), .state = ITEM_MOVING };
	struct selection s = { .home = n->region, .accounts = &item.account, .n_accounts = 1 };
	struct wave w = { .concurrency = 1, .quiet_from_min = -1, .quiet_to_min = -1 }, now;
	struct wave_sums sums;
	struct err e = { 0 };
	uint64_t count;

	strcpy(w.from, n->region);
	strcpy(w.to, p->sides[TO].node.region);
	CHECK_OK(directory_wave_plan(p->directory, &w, &s, false, &count, &e), &e);
	CHECK_OK(directory_wave_update(p->directory, w.id, &item, 1, &e), &e);
	CHECK_OK(accounts_remove(n, &item.account, &e), &e);
	CHECK_OK(directory_wave_set(p->directory, w.id, WAVE_RUNNING, &e), &e);
	for (int i = 0; i < 20000; i++) {
		CHECK_OK(directory_wave_get(p->directory, w.id, &now, &sums, &e), &e);
		if (now.state == WAVE_DONE)
			break;
		mover_nudge(n->mover);
		usleep(1000);
	}
	CHECK(now.state == WAVE_DONE && sums.items[ITEM_CANCELLED] == 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    a_wave_without_memory_ends, pair_setup, pair_teardown),
		cmocka_unit_test_setup_teardown(
		    an_item_whose_account_was_removed_ends, pair_setup, pair_teardown),
	};
	int failed;

	fault_use_memory();
	move_content = noise(MOVE_CHUNKED + 1, 1);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(move_content);
	return failed;
}
