/* A store that was put back: what becomes of each account, by the directory's word. */
#include "service_fixture.h"

#include "move/reconcile.h"
#include "move/record.h"

#define ELSEWHERE "sg"
#define HERE      "in-mum"

static void
each_record_and_row_have_one_fate(void **state)
{
	static const struct {
		enum home_state state;
		uint64_t epoch;
		const char *home; /* the directory's; NULL: unknown */
		uint64_t row_epoch;
		enum reconcile_fate fate, doubtful;
		bool is_ahead;
	} rows[] = {
		{ HOME_HERE, 3, HERE, 3, FATE_HERE, FATE_HERE, false },
		{ HOME_HERE, 3, HERE, 5, FATE_HOLD, FATE_HOLD, false },
		{ HOME_HERE, 3, ELSEWHERE, 4, FATE_MOVED, FATE_MOVED, false },
		{ HOME_HERE, 3, NULL, 0, FATE_ERASE, FATE_HOLD, false },
		{ HOME_HERE, 3, ELSEWHERE, 2, FATE_HOLD, FATE_HOLD, true },
		{ HOME_HERE, 3, ELSEWHERE, 3, FATE_HOLD, FATE_HOLD, true },
		{ HOME_HERE, 3, HERE, 1, FATE_HOLD, FATE_HOLD, true },
		{ HOME_FENCED, 3, HERE, 3, FATE_HERE, FATE_HERE, false },
		{ HOME_FENCED, 3, ELSEWHERE, 4, FATE_MOVED, FATE_MOVED, false },
		{ HOME_FENCED, 3, HERE, 5, FATE_HOLD, FATE_HOLD, false },
		{ HOME_HELD, 3, HERE, 3, FATE_HERE, FATE_HERE, false },
		{ HOME_HELD, 3, HERE, 5, FATE_HOLD, FATE_HOLD, false },
		{ HOME_CREATING, 1, NULL, 0, FATE_ERASE, FATE_ERASE, false },
		{ HOME_CREATING, 1, HERE, 1, FATE_LOST, FATE_LOST, false },
		{ HOME_CREATING, 1, ELSEWHERE, 2, FATE_ERASE, FATE_ERASE, false },
		{ HOME_REMOVING, 3, HERE, 3, FATE_KEEP, FATE_KEEP, false },
		{ HOME_REMOVING, 3, NULL, 0, FATE_KEEP, FATE_KEEP, false },
		{ HOME_REMOVING, 3, ELSEWHERE, 4, FATE_MOVED, FATE_MOVED, false },
		{ HOME_REMOVING, 3, HERE, 5, FATE_LOST, FATE_LOST, false },
		{ HOME_MOVED, 4, ELSEWHERE, 4, FATE_KEEP, FATE_KEEP, false },
		{ HOME_MOVED, 4, "us", 5, FATE_FORWARD, FATE_FORWARD, false },
		{ HOME_MOVED, 4, HERE, 5, FATE_LOST, FATE_LOST, false },
		{ HOME_MOVED, 4, HERE, 3, FATE_KEEP, FATE_KEEP, true },
		{ HOME_MOVED, 4, HERE, 4, FATE_KEEP, FATE_KEEP, true },
		{ HOME_MOVED, 4, NULL, 0, FATE_FORGET, FATE_KEEP, false },
		{ HOME_ARRIVING, 4, ELSEWHERE, 3, FATE_ERASE, FATE_ERASE, false },
		{ HOME_ARRIVING, 4, HERE, 4, FATE_LOST, FATE_LOST, false },
		{ HOME_ARRIVING, 4, HERE, 6, FATE_LOST, FATE_LOST, false },
		{ HOME_ARRIVING, 4, NULL, 0, FATE_ERASE, FATE_ERASE, false },
		{ HOME_ARRIVING, 4, ELSEWHERE, 2, FATE_ERASE, FATE_ERASE, true },
		{ HOME_PREPARED, 4, HERE, 4, FATE_SETTLE, FATE_SETTLE, false },
		{ HOME_PREPARED, 4, ELSEWHERE, 3, FATE_KEEP, FATE_KEEP, false },
		{ HOME_PREPARED, 4, ELSEWHERE, 4, FATE_ERASE, FATE_ERASE, false },
		{ HOME_PREPARED, 4, ELSEWHERE, 5, FATE_ERASE, FATE_ERASE, false },
		{ HOME_PREPARED, 4, HERE, 6, FATE_HOLD, FATE_HOLD, false },
		{ HOME_PREPARED, 4, NULL, 0, FATE_ERASE, FATE_HOLD, false },
		{ HOME_PREPARED, 4, ELSEWHERE, 2, FATE_HOLD, FATE_HOLD, true },
		{ HOME_LOST, 4, HERE, 4, FATE_KEEP, FATE_KEEP, false },
		{ HOME_LOST, 4, ELSEWHERE, 5, FATE_FORGET, FATE_FORGET, false },
		{ HOME_LOST, 4, NULL, 0, FATE_FORGET, FATE_KEEP, false },
		{ HOME_NONE, 0, HERE, 2, FATE_LOST, FATE_LOST, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct home h = { .state = rows[i].state, .epoch = rows[i].epoch };
		struct placement p = { .epoch = rows[i].row_epoch };

		if (rows[i].home)
			snprintf(p.home, sizeof p.home, "%s", rows[i].home);
		if (reconcile_fate(&h, &p, HERE, false) != rows[i].fate ||
		    reconcile_fate(&h, &p, HERE, true) != rows[i].doubtful ||
		    reconcile_is_ahead(&h, &p, HERE) != rows[i].is_ahead)
			fail_msg("row %zu", i);
	}
}

static enum home_state
state_of(struct region *r, const struct account_id *id, struct home *out)
{
	struct err e;
	int found = homes_get(r->node.homes, id, out, &e);

	CHECK(found >= 0);
	return found ? out->state : HOME_NONE;
}

static bool
has_erasure(struct region *r, const struct account_id *id, struct erase_record *out)
{
	_cleanup_buf_ struct buf v = BUF_INIT(4096);
	struct err e;
	int found = region_get(r->node.engine, REGION_ERASE, id, sizeof *id, &v, &e);

	CHECK(found >= 0);
	if (found)
		CHECK_OK(erase_record_read((struct span){ v.data, v.len }, out, &e), &e);
	return found;
}

/* Move the row of ID from HOME at EPOCH to TO, as a destination would. */
static void
swap_row(struct region *r, const struct account_id *id, uint64_t epoch, uint64_t attempt,
    const char *from, const char *to, bool expect)
{
	struct swap s = { .account = *id,
		.epoch = epoch,
		.attempt = attempt,
		.to_epoch = epoch + 1,
		.to_attempt = attempt };
	struct err e;

	snprintf(s.from, sizeof s.from, "%s", from);
	snprintf(s.to, sizeof s.to, "%s", to);
	CHECK_OK(directory_swap(r->node.directory, &s, 1, &e), &e);
	CHECK(s.is_done == expect);
}

static void
a_restored_region_serves_only_what_the_directory_says(void **state)
{
	const struct reconcile_mark mark = { .why = RECONCILE_RESTORED, .copied_ms = 1 };
	struct files here, moved, removed, returned;
	struct account_id unheard;
	struct reconcile_report report;
	struct erase_record x;
	struct placement row;
	struct region r;
	struct home h;
	struct err e;

	(void)state;
	region_open(&r, false);
	here = region_account(&r, ALL_SERVICES, NULL);
	moved = region_account(&r, ALL_SERVICES, NULL);
	removed = region_account(&r, ALL_SERVICES, NULL);
	returned = region_account(&r, ALL_SERVICES, NULL);
	account_random(&unheard);
	CHECK_OK(directory_suspend(r.node.directory, &here.account, true, &e), &e);
	swap_row(&r, &moved.account, 1, 0, HERE, ELSEWHERE, true);
	swap_row(&r, &returned.account, 1, 0, HERE, ELSEWHERE, true);
	swap_row(&r, &returned.account, 2, 0, ELSEWHERE, HERE, true);
	row = (struct placement){
		.account = removed.account, .home = HERE, .country = "IN", .epoch = 1
	};
	CHECK_OK(directory_remove(r.node.directory, &row, &e), &e);
	row = (struct placement){
		.account = unheard, .home = HERE, .country = "ID", .epoch = 7, .attempt = 2
	};
	CHECK_OK(directory_add(r.node.directory, &row, 1, &e), &e);

	CHECK(reconcile_marked(r.node.engine, NULL, &e) == 0);
	CHECK_OK(reconcile_mark(r.node.engine, r.node.flusher, &mark, &e), &e);
	CHECK(reconcile_marked(r.node.engine, NULL, &e) == 1);
	CHECK_OK(reconcile(&r.node, &report, &e), &e);
	CHECK(reconcile_marked(r.node.engine, NULL, &e) == 0);
	CHECK(report.records == 4 && report.here == 1 && report.moved == 1 && report.unknown == 1);
	CHECK(report.held == 1 && report.lost == 1 && report.ahead == 0 && report.given_up == 0);
	CHECK(reconcile_last(r.node.engine, &report, &e) == 1 && report.lost == 1);

	/* A move that was sealed before the store was lost can't go through any more. */
	CHECK(state_of(&r, &here.account, &h) == HOME_HERE && h.attempt == 1 && h.is_suspended);
	swap_row(&r, &here.account, 1, 0, HERE, ELSEWHERE, false);
	CHECK(state_of(&r, &moved.account, &h) == HOME_MOVED && h.epoch == 2);
	CHECK_STR(h.peer, ELSEWHERE);
	CHECK(has_erasure(&r, &moved.account, &x) && x.was_home && !x.has_proof && x.epoch == 2);
	CHECK(state_of(&r, &removed.account, &h) == HOME_NONE);
	CHECK(has_erasure(&r, &removed.account, &x) && !x.was_home);
	CHECK(state_of(&r, &returned.account, &h) == HOME_HELD && h.epoch == 1);
	CHECK(!has_erasure(&r, &returned.account, &x));
	CHECK(state_of(&r, &unheard, &h) == HOME_LOST && h.epoch == 7);

	/* Once more: what was settled stays as it is. */
	CHECK_OK(reconcile(&r.node, &report, &e), &e);
	CHECK(report.here == 1 && report.held == 1 && report.lost == 1 && report.moved == 0);
	region_close(&r);
}

static void
nothing_is_erased_by_the_word_of_an_older_directory(void **state)
{
	struct files newer, unknown;
	struct reconcile_report report;
	struct erase_record x;
	struct placement row;
	struct region r;
	struct home h;
	struct err e;

	(void)state;
	region_open(&r, false);
	newer = region_account(&r, ALL_SERVICES, NULL);
	unknown = region_account(&r, ALL_SERVICES, NULL);
	CHECK(state_of(&r, &newer.account, &h) == HOME_HERE);
	h.epoch = 3; /* it has left and come back; the directory's file is of before */
	CHECK_OK(homes_set(r.node.homes, &h, 1, NULL, &e), &e);
	swap_row(&r, &newer.account, 1, 0, HERE, ELSEWHERE, true);
	row = (struct placement){
		.account = unknown.account, .home = HERE, .country = "IN", .epoch = 1
	};
	CHECK_OK(directory_remove(r.node.directory, &row, &e), &e);

	CHECK_OK(reconcile(&r.node, &report, &e), &e);
	CHECK(report.ahead == 1 && report.held == 2 && !report.unknown && !report.moved);
	CHECK(state_of(&r, &newer.account, &h) == HOME_HELD && h.epoch == 3);
	CHECK(state_of(&r, &unknown.account, &h) == HOME_HELD);
	CHECK(!has_erasure(&r, &newer.account, &x) && !has_erasure(&r, &unknown.account, &x));

	/* The right file is there again: both are served, after another comparison. */
	swap_row(&r, &newer.account, 2, 0, ELSEWHERE, HERE, true);
	CHECK_OK(directory_add(r.node.directory, &row, 1, &e), &e);
	CHECK_OK(reconcile(&r.node, &report, &e), &e);
	CHECK(report.ahead == 0 && report.here == 2 && report.held == 0);
	region_close(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_record_and_row_have_one_fate),
		cmocka_unit_test(a_restored_region_serves_only_what_the_directory_says),
		cmocka_unit_test(nothing_is_erased_by_the_word_of_an_older_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
