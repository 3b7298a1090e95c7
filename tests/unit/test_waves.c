/* Waves, in a file and over mutual TLS: one suite for both. */
#include "base/host.h"
#include "directory_fixture.h"

static struct wave
a_wave(const char *from, const char *to)
{
	struct wave w = { .quiet_from_min = -1, .quiet_to_min = -1 };

	strcpy(w.from, from);
	strcpy(w.to, to);
	return w;
}

/* A wave of all of COUNTRIES, planned. */
static struct wave
plan(struct fixture *f, const char *countries, uint64_t expect)
{
	struct wave w = a_wave("cn-bj", "sg");
	struct selection s = { .home = "cn-bj", .countries = countries };
	struct err e = { 0 };
	uint64_t n = 12345;

	CHECK_OK(directory_wave_plan(f->as[BJ], &w, &s, false, &n, &e), &e);
	CHECK(n == expect);
	return w;
}

static void
check_sums(struct fixture *f, const char *id, struct wave_sums *sums)
{
	struct wave w;
	struct err e = { 0 };

	CHECK_OK(directory_wave_get(f->as[US], id, &w, sums, &e), &e);
}

static void
set_item(struct fixture *f, const char *id, unsigned n, enum item_state state, const char *reason)
{
	struct wave_item item = { .account = account(n), .state = state, .tries = 1 };
	struct err e = { 0 };

	strcpy(item.reason, reason);
	CHECK_OK(directory_wave_update(f->as[BJ], id, &item, 1, &e), &e);
}

static void
a_planned_wave_is_what_was_asked_for(void **state)
{
	struct fixture *f = *state;
	struct selection s = { .home = "cn-bj", .countries = "IN,ID" };
	struct wave w = a_wave("cn-bj", "sg"), got;
	struct wave_sums sums;
	struct err e = { 0 };
	uint64_t n, began = host_wall_ms();

	add_rows(f, 0, 30, "IN");
	add_rows(f, 100, 12, "ID");
	add_rows(f, 200, 5, "CN");
	w.deadline_ms = 1900000000000;
	w.bytes_per_s = 1000000;
	w.accounts_per_s = 50;
	w.concurrency = 7;
	w.quiet_from_min = 1380;
	w.quiet_to_min = 0;
	strcpy(w.countries, "IN,ID");

	CHECK_OK(directory_wave_plan(f->as[BJ], &w, &s, true, &n, &e), &e);
	CHECK(n == 42);
	CHECK(directory_wave_get(f->as[BJ], "0123456789abcdef", &got, NULL, &e) == -1);
	CHECK(e.kind == ERR_MISSING);

	CHECK_OK(directory_wave_plan(f->as[BJ], &w, &s, false, &n, &e), &e);
	CHECK(n == 42 && strlen(w.id) == WAVE_ID_SIZE - 1);
	CHECK_OK(directory_wave_get(f->as[US], w.id, &got, &sums, &e), &e);
	CHECK_STR(got.id, w.id);
	CHECK_STR(got.from, "cn-bj");
	CHECK_STR(got.to, "sg");
	CHECK_STR(got.countries, "IN,ID");
	CHECK(got.state == WAVE_PLANNED && got.created_ms >= began && !got.started_ms);
	CHECK(got.deadline_ms == 1900000000000 && got.bytes_per_s == 1000000);
	CHECK(got.accounts_per_s == 50 && got.concurrency == 7);
	CHECK(got.quiet_from_min == 1380 && got.quiet_to_min == 0);
	CHECK(sums.items[ITEM_WAITING] == 42 && sums.pause_max_us == 0);
}

static void
a_wave_may_have_a_list_of_accounts(void **state)
{
	struct fixture *f = *state;
	struct account_id ids[4] = { account(3), account(1), account(1), account(99) };
	struct selection s = { .home = "cn-bj", .accounts = ids, .n_accounts = 4 };
	struct wave w = a_wave("cn-bj", "sg");
	struct wave_item items[8];
	struct err e = { 0 };
	size_t room = 8;
	uint64_t n;

	add_rows(f, 0, 10, "IN");
	CHECK_OK(directory_wave_plan(f->as[BJ], &w, &s, true, &n, &e), &e);
	CHECK(n == 2);
	CHECK_OK(directory_wave_plan(f->as[BJ], &w, &s, false, &n, &e), &e);
	CHECK(n == 2);
	CHECK_OK(
	    directory_wave_items(f->as[BJ], w.id, BIT(ITEM_WAITING), NULL, items, &room, &e), &e);
	CHECK(room == 2 && items[0].account.b[1] == 1 && items[1].account.b[1] == 3);

	/* An empty list is none, not all. */
	s.n_accounts = 0;
	CHECK_OK(directory_wave_plan(f->as[BJ], &w, &s, false, &n, &e), &e);
	CHECK(n == 0);
	s.countries = "IN";
	CHECK(directory_wave_plan(f->as[BJ], &w, &s, false, &n, &e) == -1);
	CHECK(e.kind == ERR_BAD);
}

static void
an_account_is_in_one_wave_at_a_time(void **state)
{
	struct fixture *f = *state;
	struct selection s = { .home = "cn-bj" };
	struct wave first, other = a_wave("cn-bj", "us");
	struct err e = { 0 };
	uint64_t n;

	add_rows(f, 0, 10, "IN");
	add_rows(f, 100, 5, "ID");
	first = plan(f, "IN", 10);
	CHECK(directory_wave_plan(f->as[BJ], &other, &s, false, &n, &e) == -1);
	CHECK(e.kind == ERR_EXISTS && strstr(e.text, first.id));
	CHECK(!other.id[0]);
	CHECK_OK(directory_wave_plan(f->as[BJ], &other, &s, true, &n, &e), &e); /* counts */
	CHECK(n == 15);
	plan(f, "ID", 5);
	CHECK_OK(directory_wave_set(f->as[BJ], first.id, WAVE_CANCELLED, &e), &e);
	plan(f, "IN", 10);
}

static int
remember_wave(void *arg, const struct wave *w, struct err *e)
{
	strcat(arg, w->id);
	return 0;
}

static void
waves_are_listed_newest_first(void **state)
{
	struct fixture *f = *state;
	struct selection s = { .home = "us" };
	struct wave a, b, c = a_wave("us", "sg");
	char all[100] = "", bj[100] = "", should[100];
	struct err e = { 0 };
	uint64_t n;

	a = plan(f, "IN", 0);
	b = plan(f, "ID", 0);
	CHECK_OK(directory_wave_plan(f->as[US], &c, &s, false, &n, &e), &e);
	CHECK_OK(directory_wave_list(f->as[SG], NULL, remember_wave, all, &e), &e);
	snprintf(should, sizeof should, "%s%s%s", c.id, b.id, a.id);
	CHECK_STR(all, should);
	CHECK_OK(directory_wave_list(f->as[SG], "cn-bj", remember_wave, bj, &e), &e);
	snprintf(should, sizeof should, "%s%s", b.id, a.id);
	CHECK_STR(bj, should);
}

/* Bring a new wave to STATE. */
static struct wave
wave_in(struct fixture *f, enum wave_state state)
{
	struct wave w = plan(f, "IN", 0);
	struct err e = { 0 };

	if (state != WAVE_PLANNED && state != WAVE_CANCELLED)
		CHECK_OK(directory_wave_set(f->as[BJ], w.id, WAVE_RUNNING, &e), &e);
	if (state != WAVE_PLANNED && state != WAVE_RUNNING)
		CHECK_OK(directory_wave_set(f->as[BJ], w.id, state, &e), &e);
	return w;
}

static void
a_wave_goes_only_the_ways_there_are(void **state)
{
	static const char ways[WAVE_STATES][WAVE_STATES + 1] = {
		/* to planned, running, paused, cancelled, done */
		[WAVE_PLANNED] = ".y.y.",
		[WAVE_RUNNING] = "..yyy",
		[WAVE_PAUSED] = ".y.y.",
		[WAVE_CANCELLED] = ".....",
		[WAVE_DONE] = ".....",
	};
	struct fixture *f = *state;
	struct err e = { 0 };

	for (int from = 0; from < WAVE_STATES; from++) {
		for (int to = 0; to < WAVE_STATES; to++) {
			struct wave w = wave_in(f, (enum wave_state)from), got;
			int rc = directory_wave_set(f->as[BJ], w.id, (enum wave_state)to, &e);
			bool may = ways[from][to] == 'y';

			if ((rc == 0) != may)
				fail_msg("%s -> %s", wave_state_name((enum wave_state)from),
				    wave_state_name((enum wave_state)to));
			CHECK(rc == 0 || e.kind == ERR_STALE);
			CHECK_OK(directory_wave_get(f->as[BJ], w.id, &got, NULL, &e), &e);
			CHECK(got.state == (enum wave_state)(may ? to : from));
			if (got.state == WAVE_RUNNING)
				CHECK(got.started_ms && !got.finished_ms);
			CHECK((got.finished_ms != 0) ==
			    (got.state == WAVE_DONE || got.state == WAVE_CANCELLED));
		}
	}
	CHECK(directory_wave_set(f->as[BJ], "0123456789abcdef", WAVE_RUNNING, &e) == -1);
	CHECK(e.kind == ERR_MISSING);
}

static void
sums_follow_every_item(void **state)
{
	struct fixture *f = *state;
	struct wave_item items[100];
	struct wave_sums sums;
	struct wave w;
	struct err e = { 0 };

	add_rows(f, 0, 120, "IN");
	w = plan(f, "IN", 120);
	for (unsigned i = 0; i < 100; i++) {
		/* pauses of 1 to 100 ms in no order */
		items[i] = (struct wave_item){ .account = account(i),
			.state = ITEM_MOVED,
			.bytes = 1000,
			.pause_us = (i * 37 % 100 + 1) * 1000,
			.tries = 1,
			.held = i % 2 };
	}
	CHECK_OK(directory_wave_update(f->as[BJ], w.id, items, 100, &e), &e);
	for (unsigned i = 0; i < 40; i++) /* again, further on */
		items[i].state = ITEM_ERASED;
	CHECK_OK(directory_wave_update(f->as[BJ], w.id, items, 40, &e), &e);
	for (unsigned i = 100; i < 110; i++)
		set_item(f, w.id, i, ITEM_PUT_OFF, i < 107 ? "a hot writer" : "the line is slow");
	set_item(f, w.id, 110, ITEM_FAILED, "the line is slow");
	set_item(f, w.id, 111, ITEM_MOVING, "");

	check_sums(f, w.id, &sums);
	CHECK(sums.items[ITEM_WAITING] == 8 && sums.items[ITEM_MOVING] == 1);
	CHECK(sums.items[ITEM_MOVED] == 60 && sums.items[ITEM_ERASED] == 40);
	CHECK(sums.items[ITEM_PUT_OFF] == 10 && sums.items[ITEM_FAILED] == 1);
	CHECK(sums.items[ITEM_CANCELLED] == 0);
	CHECK(sums.bytes == 100000 && sums.held == 50);
	CHECK(sums.pause_p50_us == 50000 && sums.pause_p99_us == 99000);
	CHECK(sums.pause_max_us == 100000);
	CHECK_STR(sums.reasons[0].text, "a hot writer");
	CHECK(sums.reasons[0].n == 7 && sums.reasons[1].n == 4 && sums.reasons[2].n == 0);
	CHECK_STR(sums.reasons[1].text, "the line is slow");

	/* One that is not in the wave spoils the call. */
	items[0].state = ITEM_FAILED;
	items[1].account = account(500);
	CHECK(directory_wave_update(f->as[BJ], w.id, items, 2, &e) == -1);
	CHECK(e.kind == ERR_MISSING);
	check_sums(f, w.id, &sums);
	CHECK(sums.items[ITEM_ERASED] == 40 && sums.items[ITEM_FAILED] == 1);
}

static void
items_are_found_by_state_and_in_order(void **state)
{
	struct fixture *f = *state;
	struct wave_item items[2200], one;
	struct account_id after = account(1500);
	struct wave w;
	struct err e = { 0 };
	size_t n = 2200;

	add_rows(f, 0, 1000, "IN");
	add_rows(f, 1000, 1000, "IN");
	w = plan(f, "IN", 2000);
	for (unsigned i = 0; i < 2000; i += 100)
		set_item(f, w.id, i, ITEM_PUT_OFF, "later");
	CHECK_OK(directory_wave_items(
	             f->as[BJ], w.id, BIT(ITEM_WAITING) | BIT(ITEM_PUT_OFF), NULL, items, &n, &e),
	    &e);
	CHECK(n == 2000);
	for (unsigned i = 0; i < 2000; i++) {
		struct account_id id = account(i);

		CHECK(account_equal(&items[i].account, &id));
		CHECK(items[i].state == (i % 100 ? ITEM_WAITING : ITEM_PUT_OFF));
	}
	CHECK_STR(items[100].reason, "later");

	n = 3;
	CHECK_OK(
	    directory_wave_items(f->as[BJ], w.id, BIT(ITEM_PUT_OFF), &after, items, &n, &e), &e);
	after = account(1600);
	CHECK(n == 3 && account_equal(&items[0].account, &after));
	n = 10;
	CHECK_OK(directory_wave_items(f->as[BJ], w.id, BIT(ITEM_ERASED), NULL, items, &n, &e), &e);
	CHECK(n == 0);

	one = (struct wave_item){ .account = account(7),
		.state = ITEM_ERASED,
		.bytes = 1,
		.pause_us = 2,
		.tries = 3,
		.held = 4,
		.reason = "five" };
	CHECK_OK(directory_wave_update(f->as[BJ], w.id, &one, 1, &e), &e);
	n = 10;
	CHECK_OK(directory_wave_items(f->as[BJ], w.id, BIT(ITEM_ERASED), NULL, items, &n, &e), &e);
	CHECK(n == 1 && items[0].bytes == 1 && items[0].pause_us == 2 && items[0].tries == 3 &&
	    items[0].held == 4);
	CHECK_STR(items[0].reason, "five");
}

static void
a_cancelled_wave_leaves_what_moves_alone(void **state)
{
	struct fixture *f = *state;
	struct wave_sums sums;
	struct wave w;
	struct err e = { 0 };
	uint64_t n;

	add_rows(f, 0, 10, "IN");
	w = plan(f, "IN", 10);
	CHECK_OK(directory_wave_set(f->as[BJ], w.id, WAVE_RUNNING, &e), &e);
	set_item(f, w.id, 0, ITEM_MOVING, "");
	set_item(f, w.id, 1, ITEM_ERASED, "");
	set_item(f, w.id, 2, ITEM_PUT_OFF, "later");
	set_item(f, w.id, 3, ITEM_FAILED, "never");
	CHECK_OK(directory_wave_set(f->as[BJ], w.id, WAVE_CANCELLED, &e), &e);
	set_item(f, w.id, 0, ITEM_MOVED, "");
	check_sums(f, w.id, &sums);
	CHECK(sums.items[ITEM_CANCELLED] == 7 && sums.items[ITEM_WAITING] == 0);
	CHECK(sums.items[ITEM_MOVED] == 1 && sums.items[ITEM_ERASED] == 1);
	CHECK(sums.items[ITEM_FAILED] == 1);
	CHECK(directory_wave_retry(f->as[BJ], w.id, &n, &e) == -1);
	CHECK(e.kind == ERR_STALE);
}

static void
what_failed_is_tried_again(void **state)
{
	struct fixture *f = *state;
	struct wave_item items[4];
	struct wave_sums sums;
	struct wave w, got;
	struct err e = { 0 };
	uint64_t n;

	add_rows(f, 0, 4, "IN");
	w = plan(f, "IN", 4);
	CHECK_OK(directory_wave_set(f->as[BJ], w.id, WAVE_RUNNING, &e), &e);
	set_item(f, w.id, 0, ITEM_ERASED, "");
	set_item(f, w.id, 1, ITEM_ERASED, "");
	set_item(f, w.id, 2, ITEM_FAILED, "never");
	set_item(f, w.id, 3, ITEM_PUT_OFF, "later");
	CHECK_OK(directory_wave_set(f->as[BJ], w.id, WAVE_DONE, &e), &e);
	CHECK_OK(directory_wave_retry(f->as[BJ], w.id, &n, &e), &e);
	CHECK(n == 2);
	n = ARRAY_LEN(items);
	CHECK_OK(directory_wave_items(f->as[BJ], w.id, BIT(ITEM_WAITING), NULL, items, &n, &e), &e);
	CHECK(n == 2 && items[0].tries == 0 && items[1].tries == 0);
	CHECK_OK(directory_wave_get(f->as[BJ], w.id, &got, &sums, &e), &e);
	CHECK(got.state == WAVE_RUNNING && got.finished_ms == 0);
	CHECK(sums.items[ITEM_WAITING] == 2 && sums.items[ITEM_FAILED] == 0);
	CHECK(sums.reasons[0].n == 0);

	/* Nothing to retry: a wave that is done stays so. */
	set_item(f, w.id, 2, ITEM_ERASED, "");
	set_item(f, w.id, 3, ITEM_FAILED, "never");
	CHECK_OK(directory_wave_set(f->as[BJ], w.id, WAVE_DONE, &e), &e);
	plan(f, "IN", 4); /* another takes its accounts over */
	CHECK(directory_wave_retry(f->as[BJ], w.id, &n, &e) == -1);
	CHECK(e.kind == ERR_EXISTS);
	check_sums(f, w.id, &sums);
	CHECK(sums.items[ITEM_FAILED] == 1 && sums.items[ITEM_WAITING] == 0);
}

/* The mover has counted that nothing is left, and the operator has it tried again meanwhile. */
static void
a_wave_whose_accounts_wait_again_is_not_done(void **state)
{
	struct fixture *f = *state;
	struct wave_sums sums;
	struct wave w, got;
	struct err e = { 0 };
	uint64_t n;

	add_rows(f, 0, 2, "IN");
	w = plan(f, "IN", 2);
	CHECK_OK(directory_wave_set(f->as[BJ], w.id, WAVE_RUNNING, &e), &e);
	set_item(f, w.id, 0, ITEM_ERASED, "");
	set_item(f, w.id, 1, ITEM_FAILED, "never");
	CHECK_OK(directory_wave_retry(f->as[SG], w.id, &n, &e), &e);
	CHECK(n == 1);
	CHECK(directory_wave_set(f->as[BJ], w.id, WAVE_DONE, &e) == -1 && e.kind == ERR_STALE);
	CHECK_OK(directory_wave_get(f->as[BJ], w.id, &got, &sums, &e), &e);
	CHECK(got.state == WAVE_RUNNING && sums.items[ITEM_WAITING] == 1);
	set_item(f, w.id, 1, ITEM_ERASED, "");
	CHECK_OK(directory_wave_set(f->as[BJ], w.id, WAVE_DONE, &e), &e);
}

static void
a_region_without_operators_changes_its_own_waves_only(void **state)
{
	struct fixture *f = *state;
	struct selection s = { .home = "cn-bj", .countries = "IN" };
	struct wave w = a_wave("cn-bj", "us"), own = a_wave("us", "sg");
	struct err e = { 0 };
	uint64_t n;

	add_rows(f, 0, 3, "IN");
	CHECK(directory_wave_plan(f->as[US], &w, &s, false, &n, &e) == -1 && e.kind == ERR_DENIED);
	w = plan(f, "IN", 3);
	CHECK(directory_wave_set(f->as[US], w.id, WAVE_RUNNING, &e) == -1);
	CHECK(e.kind == ERR_DENIED);
	CHECK(directory_wave_retry(f->as[US], w.id, &n, &e) == -1 && e.kind == ERR_DENIED);
	CHECK_OK(directory_wave_set(f->as[SG], w.id, WAVE_RUNNING, &e), &e);
	s = (struct selection){ .home = "us", .countries = "IN" };
	if (directory_wave_plan(f->as[US], &own, &s, true, &n, &e) < 0)
		CHECK(e.kind != ERR_DENIED);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		FILE_AND_REMOTE(a_planned_wave_is_what_was_asked_for),
		FILE_AND_REMOTE(a_wave_may_have_a_list_of_accounts),
		FILE_AND_REMOTE(an_account_is_in_one_wave_at_a_time),
		FILE_AND_REMOTE(waves_are_listed_newest_first),
		FILE_AND_REMOTE(a_wave_goes_only_the_ways_there_are),
		FILE_AND_REMOTE(sums_follow_every_item),
		FILE_AND_REMOTE(items_are_found_by_state_and_in_order),
		FILE_AND_REMOTE(a_cancelled_wave_leaves_what_moves_alone),
		FILE_AND_REMOTE(what_failed_is_tried_again),
		FILE_AND_REMOTE(a_wave_whose_accounts_wait_again_is_not_done),
		cmocka_unit_test_setup_teardown(
		    a_region_without_operators_changes_its_own_waves_only, setup_remote, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
