/* A move while every call of engine, chunks or directory fails once in turn, on either side: the account
 * has one home at any time and is whole there, the other side keeps nothing, and a further try succeeds.
 */
#include "move_account.h"

/* --- faults of a store --- */

static void
fire_or_settle(struct fault_turn *t, struct pair *p, struct store *s)
{
	/* The eraser may meet it, after the unit is through. */
	for (int i = 0; i < 20000 && !pair_is_quiet(p) && !fault_has_fired(t, s); i++)
		usleep(1000);
}

static void
move_under_faults(struct pair *p, unsigned which)
{
	struct side *s = &p->sides[which];
	struct fault_turn t = { .skips_restarts = true };

	while (fault_next(&t)) {
		struct account_id id = new_account(p);
		struct err e = { 0 };
		bool said;

		fault_arm(&t, &s->store);
		said = pair_move(p, &id, &e);
		if (fault_way(&t)->then == GO_ON && !fault_way(&t)->is_sticky)
			CHECK_TURN(&t, pair_settles(p));
		else
			fire_or_settle(&t, p, &s->store);
		fault_disarm(&t, &s->store);
		if (t.fired && fault_way(&t)->then != GO_ON)
			pair_reboot(p, which, fault_way(&t)->then == CUT);
		if (!said && !t.fired)
			fail_msg("%s: without a fault: %s", fault_text(&t), e.text);
		CHECK_TURN(&t, pair_settles(p));
		if (!check_account(&t, p, &id)) {
			CHECK_TURN(&t, !said);
			move_on(&t, p, &id);
		}
		forget(&p->sides[TO], &id);
	}
}

static void
a_move_whose_source_fails_leaves_one_whole_home(void **state)
{
	move_under_faults(*state, FROM);
}

static void
a_move_whose_destination_fails_leaves_one_whole_home(void **state)
{
	move_under_faults(*state, TO);
}

/* --- faults of the directory --- */

static void
a_move_whose_directory_is_away_leaves_one_whole_home(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_FAIL, FAULT_FAIL_LATE };
	struct pair *p = *state;
	struct fault_turn t = { .nth = 1 };

	for (unsigned i = 0; i < 4; i++) {
		struct fault *f = &p->sides[i % 2].shaky.fault;

		t.fired = true;
		for (t.nth = 1; t.fired; t.nth++) {
			struct account_id id = new_account(p);
			struct err e = { 0 };
			bool said;

			fault_set(f, kinds[i / 2], t.nth, false, 0);
			said = pair_move(p, &id, &e);
			CHECK_TURN(&t, pair_settles(p));
			t.fired = fault_fired(f);
			fault_set(f, FAULT_NONE, 0, false, 0);
			CHECK_TURN(&t, said || t.fired);
			if (!check_account(&t, p, &id)) {
				CHECK_TURN(&t, !said);
				move_on(&t, p, &id);
			}
			forget(&p->sides[TO], &id);
		}
	}
}

/* --- waves --- */

/* Its new home is the directory's word, which the old one gets after it has removed the account. */
static void
a_wave_ends_whose_account_was_removed_before_its_old_home_knew(void **state)
{
	struct pair *p = *state;
	struct fault *from = &p->sides[FROM].shaky.fault, *to = &p->sides[TO].shaky.fault;
	struct side *there = &p->sides[TO];
	struct account_id id = new_account(p);
	uint64_t epoch;
	struct wave w;

	fault_set(from, FAULT_FAIL, 2, true, 0);
	fault_set(to, FAULT_FAIL_LATE, 2, false, 0);
	pair_wave(p, &id, &w);
	for (int i = 0;
	     i < 20000 && !(side_is_quiet(there) && state_at(there, &id, &epoch) == HOME_HERE); i++)
		usleep(1000);
	forget(there, &id);
	CHECK(state_at(&p->sides[FROM], &id, &epoch) == HOME_FENCED);
	fault_set(from, FAULT_NONE, 0, false, 0);
	CHECK(pair_wave_ends(p, &w));
	check_nothing_left(&(struct fault_turn){ 0 }, &p->sides[FROM], &id);
}

/* --- what another move has written --- */

static void
store_record(struct side *s, const struct move_record *r)
{
	struct err e = { 0 };
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(&e);

	CHECK_OK(move_store(b, r, &e), &e);
	CHECK_OK(region_apply(s->node.engine, s->node.flusher, b, &e), &e);
}

static void
a_unit_that_is_refused_leaves_the_record_of_the_other_move(void **state)
{
	struct pair *p = *state;
	struct side *s = &p->sides[FROM];
	struct account_id id = new_account(p);
	struct move_record r = { .state = MOVE_SETTLED, .account = id, .epoch = 1 };
	_cleanup_(region_batch_freep) struct region_batch *b = NULL;
	struct err e = { 0 };

	store_record(s, &r);
	CHECK(!pair_move(p, &id, &e) && e.kind == ERR_BUSY);
	CHECK(!has_no_record(s, REGION_MOVE, &id));
	b = region_batch(&e);
	region_delete(b, REGION_MOVE, &id, sizeof(id));
	CHECK_OK(region_apply(s->node.engine, s->node.flusher, b, &e), &e);
	CHECK(pair_move(p, &id, &e) && pair_settles(p));
}

/* Whatever the resolver had to do when this began it has looked at once. */
static void
go_round(struct side *s)
{
	for (int i = 0; i < 2; i++) {
		struct move_record r = { .state = MOVE_SETTLED, .account = { { (uint8_t)i } } };

		store_record(s, &r);
		resolver_add(s->node.mover, &r);
		for (int k = 0; k < 20000 && !has_no_record(s, REGION_MOVE, &r.account); k++)
			usleep(1000);
		CHECK(has_no_record(s, REGION_MOVE, &r.account));
	}
}

static void
the_end_of_a_lease_leaves_the_record_of_another_move(void **state)
{
	struct pair *p = *state;
	struct side *s = &p->sides[FROM];
	struct mover *m = s->node.mover;
	struct account_id id = new_account(p);
	struct move_record r = { .state = MOVE_SETTLED, .account = id, .epoch = 1 };
	struct move_record next = { .state = MOVE_COPYING, .account = id, .epoch = 1 };

	CHECK(claim_take(m, &id, NULL));
	store_record(s, &next);
	resolver_add(m, &r); /* its own was deleted, and the disk said that it was not */
	go_round(s);
	CHECK(!has_no_record(s, REGION_MOVE, &id));
	claim_drop(m, &id);
	CHECK(pair_settles(p) && has_no_record(s, REGION_MOVE, &id));
}

/* Its old home has taken it back while this region was away. */
static void
an_arrival_that_the_directory_has_decided_on_is_not_read(void **state)
{
	struct pair *p = *state;
	struct fault *to = &p->sides[TO].shaky.fault;
	struct chunks *chunks = p->sides[TO].store.chunks;
	struct account_id id = new_account(p);
	struct err e = { 0 };
	uint64_t epoch;
	bool is_decided;

	fault_set(to, FAULT_FAIL, 2, true, 0); /* from the swap on */
	CHECK(!pair_move(p, &id, &e));
	for (int i = 0; i < 20000 && state_at(&p->sides[FROM], &id, &epoch) != HOME_HERE; i++)
		usleep(1000);
	CHECK(state_at(&p->sides[TO], &id, &epoch) == HOME_PREPARED);
	chunks_fault_set(chunks, FAULT_FAIL, 1, true);
	fault_set(to, FAULT_NONE, 0, false, 0);
	for (int i = 0; i < 20000 && state_at(&p->sides[TO], &id, &epoch) != HOME_NONE; i++)
		usleep(1000);
	is_decided = state_at(&p->sides[TO], &id, &epoch) == HOME_NONE;
	chunks_fault_set(chunks, FAULT_NONE, 0, false);
	CHECK(is_decided && pair_settles(p));
	CHECK(!check_account(&(struct fault_turn){ 0 }, p, &id));
}

/* A flush that failed may have left the record of the fence, and the account comes back meanwhile. */
static void
a_move_that_is_written_again_leaves_the_record_of_another_move(void **state)
{
	struct pair *p = *state;
	struct side *s = &p->sides[FROM];
	struct account_id id = new_account(p);
	struct move_record r = { .state = MOVE_FENCED, .account = id, .epoch = 1 };
	struct move_record next = { .state = MOVE_ARRIVING, .account = id, .epoch = 2 };
	struct err e = { 0 };

	CHECK(pair_move(p, &id, &e) && pair_settles(p));
	CHECK(claim_take(s->node.mover, &id, NULL));
	store_record(s, &next);
	resolver_add(s->node.mover, &r);
	go_round(s);
	CHECK(!has_no_record(s, REGION_MOVE, &id));
	claim_drop(s->node.mover, &id);
	CHECK(pair_settles(p) && has_no_record(s, REGION_MOVE, &id));
}

/* A flush that failed may have taken the record back out of the store. */
static void
what_is_still_being_erased_does_not_arrive(void **state)
{
	struct pair *p = *state;
	struct account_id id = new_account(p);
	/* That waits for a signature, and nobody gives it. */
	struct erase_record x = {
		.account = id, .was_home = true, .epoch = 1, .services = 1, .peer = "us"
	};
	struct err e = { 0 };

	eraser_add(p->sides[TO].node.mover, &x);
	CHECK(!pair_move(p, &id, &e) && strstr(e.text, "erasing"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_move_whose_source_fails_leaves_one_whole_home),
		TEST(a_move_whose_destination_fails_leaves_one_whole_home),
		TEST(a_move_whose_directory_is_away_leaves_one_whole_home),
		TEST(a_wave_ends_whose_account_was_removed_before_its_old_home_knew),
		TEST(a_unit_that_is_refused_leaves_the_record_of_the_other_move),
		TEST(the_end_of_a_lease_leaves_the_record_of_another_move),
		TEST(an_arrival_that_the_directory_has_decided_on_is_not_read),
		TEST(a_move_that_is_written_again_leaves_the_record_of_another_move),
		TEST(what_is_still_being_erased_does_not_arrive),
	};
	int failed;

	fault_use_memory();
	move_content = noise(MOVE_CHUNKED + 1, 1);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(move_content);
	return failed;
}
