/* A move while every call of engine, chunks or directory fails once in turn, on either side: the account
 * has one home at any time and is whole there, the other side keeps nothing, and a further try succeeds.
 */
#include "move_fixture.h"

#define CHUNKED 100000

static uint8_t *content;

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

static struct files
files_at(struct side *s, const struct account_id *id)
{
	return (struct files){ .node = &s->node,
		.account = *id,
		.services = ALL_SERVICES | BIT(SERVICE_PROFILE),
		.may_block = true };
}

/* An account with something small, something in chunks, and something in another service. */
static struct account_id
new_account(struct pair *p)
{
	struct account_credentials c;
	struct files f;
	struct err e = { 0 };

	CHECK_OK(accounts_create(&p->sides[FROM].node, "CN", ALL_SERVICES, 1, &c, &e), &e);
	f = files_at(&p->sides[FROM], &c.account);
	CHECK_OK(files_bucket_create(&f, "photos", &e), &e);
	CHECK_OK(files_bucket_create(&f, "backup-phone", &e), &e);
	put(&f, "photos", "small", content, 100);
	put(&f, "photos", "large", content, CHUNKED);
	put(&f, "backup-phone", "large", content + 1, CHUNKED);
	CHECK_OK(flusher_wait(f.node->flusher, f.ticket, &e), &e);
	return c.account;
}

/* --- what must hold --- */

static enum home_state
state_at(struct side *s, const struct account_id *id, uint64_t *epoch)
{
	struct home h;
	struct err e = { 0 };
	int r = homes_get(s->node.homes, id, &h, &e);

	CHECK(r >= 0);
	*epoch = r ? h.epoch : 0;
	return r ? h.state : HOME_NONE;
}

static bool
has_no_record(struct side *s, enum region_kind k, const struct account_id *id)
{
	_cleanup_buf_ struct buf v = BUF_INIT(0);
	struct err e = { 0 };

	return region_get(s->node.engine, k, id->b, ACCOUNT_ID_BYTES, &v, &e) == 0;
}

static void
check_home(const struct fault_turn *t, struct side *s, const struct account_id *id)
{
	struct files f = files_at(s, id);

	CHECK_TURN(t, has(&f, "photos", "small", content, 100));
	CHECK_TURN(t, has(&f, "photos", "large", content, CHUNKED));
	CHECK_TURN(t, has(&f, "backup-phone", "large", content + 1, CHUNKED));
	fault_check_account(t, &f, &s->store);
	fault_goes_on(t, &f);
	CHECK_TURN(t, has_no_record(s, REGION_MOVE, id));
}

static void
check_nothing_left(const struct fault_turn *t, struct side *s, const struct account_id *id)
{
	struct err e = { 0 };

	CHECK_TURN(t, has_no_record(s, REGION_ERASE, id) && has_no_record(s, REGION_MOVE, id));
	for (enum service k = SERVICE_PROFILE; k < SERVICES; k++) {
		struct vault_id v = { *id, (uint8_t)k };

		CHECK_TURN_OK(t, transfer_is_gone(s->node.engine, s->node.chunks, &v, &e), &e);
	}
}

/* Exactly one home, and it is the directory's; whether that is the new one. */
static bool
check_account(const struct fault_turn *t, struct pair *p, const struct account_id *id)
{
	uint64_t epochs[2];
	enum home_state from = state_at(&p->sides[FROM], id, &epochs[FROM]);
	enum home_state to = state_at(&p->sides[TO], id, &epochs[TO]);
	struct placement row;
	struct err e = { 0 };
	bool moved;

	CHECK_TURN_OK(t, directory_find(p->directory, id, 1, &row, &e), &e);
	moved = strcmp(row.home, p->sides[TO].node.region) == 0;
	CHECK_TURN(t, row.epoch == (moved ? 2 : 1) && epochs[moved ? TO : FROM] == row.epoch);
	CHECK_TURN(t, from == (moved ? HOME_MOVED : HOME_HERE));
	CHECK_TURN(t, to == (moved ? HOME_HERE : HOME_NONE));
	check_home(t, &p->sides[moved ? TO : FROM], id);
	check_nothing_left(t, &p->sides[moved ? FROM : TO], id);
	return moved;
}

/* With no further fault it gets there at once. */
static void
move_on(const struct fault_turn *t, struct pair *p, const struct account_id *id)
{
	struct err e = { 0 };

	if (!pair_move(p, id, &e))
		fail_msg("%s: again: %s", fault_text(t), e.text);
	CHECK_TURN(t, pair_settles(p));
	CHECK_TURN(t, check_account(t, p, id));
}

static void
forget(struct side *s, const struct account_id *id)
{
	struct err e = { 0 };

	CHECK_OK(accounts_remove(&s->node, id, &e), &e);
}

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

/* --- what another move has written --- */

static void
a_unit_that_is_refused_leaves_the_record_of_the_other_move(void **state)
{
	struct pair *p = *state;
	struct side *s = &p->sides[FROM];
	struct account_id id = new_account(p);
	struct move_record r = { .state = MOVE_SETTLED, .account = id, .epoch = 1 };
	struct region_batch *b;
	struct err e = { 0 };

	b = region_batch(&e);
	CHECK_OK(move_store(b, &r, &e), &e);
	CHECK_OK(region_apply(s->node.engine, s->node.flusher, b, &e), &e);
	CHECK(!pair_move(p, &id, &e) && e.kind == ERR_BUSY);
	CHECK(!has_no_record(s, REGION_MOVE, &id));
	region_delete(b, REGION_MOVE, &id, sizeof(id));
	CHECK_OK(region_apply(s->node.engine, s->node.flusher, b, &e), &e);
	region_batch_free(b);
	CHECK(pair_move(p, &id, &e) && pair_settles(p));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_move_whose_source_fails_leaves_one_whole_home),
		TEST(a_move_whose_destination_fails_leaves_one_whole_home),
		TEST(a_move_whose_directory_is_away_leaves_one_whole_home),
		TEST(a_unit_that_is_refused_leaves_the_record_of_the_other_move),
	};
	int failed;

	fault_use_memory();
	content = noise(CHUNKED + 1, 1);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(content);
	return failed;
}
