/* Placements, in a file and over mutual TLS: one suite for both. */
#include "directory_fixture.h"

#include <pthread.h>

static void
rows_are_added_all_or_none(void **state)
{
	struct fixture *f = *state;
	struct placement p[2] = { row(1, "cn-bj", "IN"), row(2, "cn-bj", "CN") };
	struct placement q[2] = { row(3, "cn-bj", "IN"), row(2, "cn-bj", "IN") };
	struct account_id ids[3] = { account(2), account(9), account(1) };
	struct placement out[3];
	struct err e = { 0 };

	p[1].is_suspended = true;
	p[1].attempt = 7;
	CHECK_OK(directory_add(f->as[BJ], p, 2, &e), &e);
	CHECK_OK(directory_find(f->as[SG], ids, 3, out, &e), &e);
	CHECK(out[0].epoch == 1 && out[0].attempt == 7 && out[0].is_suspended);
	CHECK_STR(out[0].country, "CN");
	CHECK(out[1].epoch == 0 && account_equal(&out[1].account, &ids[1]));
	CHECK(account_equal(&out[2].account, &ids[2]) && !out[2].is_suspended);
	CHECK_STR(out[2].home, "cn-bj");

	CHECK(directory_add(f->as[BJ], q, 2, &e) == -1);
	CHECK(e.kind == ERR_EXISTS);
	CHECK(look(f, 3).epoch == 0);
	q[1] = row(4, "cn-bj", "in");
	CHECK(directory_add(f->as[BJ], q, 2, &e) == -1);
	CHECK(e.kind == ERR_BAD);
	CHECK(look(f, 3).epoch == 0);
}

static void
a_swap_happens_only_from_what_it_expects(void **state)
{
	struct fixture *f = *state;
	struct swap s[4];
	struct err e = { 0 };

	add_rows(f, 1, 3, "IN");
	s[0] = move_of(1, 1, 0, "cn-bj", "sg");
	s[1] = move_of(2, 1, 1, "cn-bj", "sg"); /* another attempt */
	s[2] = move_of(3, 1, 0, "us", "sg");    /* not its home */
	s[3] = move_of(4, 1, 0, "cn-bj", "sg"); /* no such account */
	CHECK_OK(directory_swap(f->as[SG], s, 4, &e), &e);
	CHECK(s[0].is_done && s[0].now.epoch == 2 && !s[0].is_missing);
	CHECK_STR(s[0].now.home, "sg");
	CHECK(!s[1].is_done && s[1].now.epoch == 1 && s[1].now.attempt == 0);
	CHECK(!s[2].is_done);
	CHECK_STR(s[2].now.home, "cn-bj");
	CHECK_STR(s[2].now.country, "IN");
	CHECK(!s[3].is_done && s[3].is_missing && !s[0].is_missing);
	check_at(f, 1, "sg", 2, 0);
	check_at(f, 2, "cn-bj", 1, 0);
	check_at(f, 3, "cn-bj", 1, 0);
	CHECK(look(f, 4).epoch == 0);
}

static void
a_swap_may_be_asked_again(void **state)
{
	struct fixture *f = *state;
	struct swap s;
	struct err e = { 0 };

	add_rows(f, 1, 1, "IN");
	for (int i = 0; i < 3; i++) {
		s = move_of(1, 1, 0, "cn-bj", "sg");
		CHECK_OK(directory_swap(f->as[SG], &s, 1, &e), &e);
		CHECK(s.is_done);
		check_at(f, 1, "sg", 2, 0);
	}
	/* Gone on since: no longer what it asked for. */
	s = move_of(1, 2, 0, "sg", "us");
	CHECK_OK(directory_swap(f->as[US], &s, 1, &e), &e);
	s = move_of(1, 1, 0, "cn-bj", "sg");
	CHECK_OK(directory_swap(f->as[SG], &s, 1, &e), &e);
	CHECK(!s.is_done);
	check_at(f, 1, "us", 3, 0);
}

static void
a_cancelled_move_can_not_be_completed(void **state)
{
	struct fixture *f = *state;
	struct swap s;
	struct err e = { 0 };

	add_rows(f, 1, 2, "IN");
	s = cancel_of(1, 1, 0, "cn-bj");
	CHECK_OK(directory_swap(f->as[BJ], &s, 1, &e), &e);
	CHECK(s.is_done && s.now.attempt == 1);
	s = move_of(1, 1, 0, "cn-bj", "sg");
	CHECK_OK(directory_swap(f->as[SG], &s, 1, &e), &e);
	CHECK(!s.is_done);
	check_at(f, 1, "cn-bj", 1, 1);

	/* And the other way round. */
	s = move_of(2, 1, 0, "cn-bj", "sg");
	CHECK_OK(directory_swap(f->as[SG], &s, 1, &e), &e);
	s = cancel_of(2, 1, 0, "cn-bj");
	CHECK_OK(directory_swap(f->as[BJ], &s, 1, &e), &e);
	CHECK(!s.is_done && s.now.epoch == 2);
	check_at(f, 2, "sg", 2, 0);
	/* The destination may give up, too. */
	s = cancel_of(1, 1, 1, "cn-bj");
	CHECK_OK(directory_swap(f->as[SG], &s, 1, &e), &e);
	CHECK(s.is_done);
}

static void
a_swap_of_no_known_sort_spoils_its_batch(void **state)
{
	struct fixture *f = *state;
	struct err e = { 0 };

	add_rows(f, 1, 2, "IN");
	for (int i = 0; i < 4; i++) {
		struct swap s[2] = { move_of(1, 1, 0, "cn-bj", "sg"),
			move_of(2, 1, 0, "cn-bj", "sg") };

		if (i == 0)
			s[1].to_epoch = 3; /* a home left out */
		if (i == 1)
			s[1].to_attempt = 1; /* a move and a cancellation */
		if (i == 2)
			s[1].to_epoch = 1; /* another home, the same epoch */
		if (i == 3)
			strcpy(s[1].from, "sg"); /* another epoch, the same home */
		CHECK(directory_swap(f->as[SG], s, 2, &e) == -1);
		CHECK(e.kind == ERR_BAD);
		CHECK(!s[0].is_done && !s[1].is_done);
	}
	check_at(f, 1, "cn-bj", 1, 0);
	check_at(f, 2, "cn-bj", 1, 0);
}

#define RACED  64
#define ROUNDS 5

struct racer {
	struct fixture *f;
	int region;
	uint64_t epoch;
	const char *from;
	bool won[RACED];
	pthread_barrier_t *start;
};

static void *
race(void *arg)
{
	struct racer *r = arg;
	struct swap s[RACED];
	struct err e = { 0 };
	int rc;

	for (unsigned i = 0; i < RACED; i++)
		s[i] = move_of(i, r->epoch, 0, r->from, fleet_names[r->region]);
	pthread_barrier_wait(r->start);
	/* In halves, so that each may win some. */
	rc = directory_swap(
	    r->f->as[r->region], s + (r->region == SG ? 0 : RACED / 2), RACED / 2, &e);
	if (rc == 0)
		rc = directory_swap(
		    r->f->as[r->region], s + (r->region == SG ? RACED / 2 : 0), RACED / 2, &e);
	for (unsigned i = 0; i < RACED; i++)
		r->won[i] = s[i].is_done;
	return rc == 0 ? NULL : r;
}

static void
of_two_swaps_of_one_account_one_wins(void **state)
{
	struct fixture *f = *state;
	pthread_barrier_t start;
	struct err e = { 0 };

	add_rows(f, 0, RACED, "IN");
	pthread_barrier_init(&start, NULL, 2);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct racer a = { f, SG, 2 * round + 1, "cn-bj", { 0 }, &start };
		struct racer b = { f, US, 2 * round + 1, "cn-bj", { 0 }, &start };
		pthread_t thread;
		void *failed;

		CHECK(pthread_create(&thread, NULL, race, &a) == 0);
		CHECK(!race(&b));
		CHECK(pthread_join(thread, &failed) == 0 && !failed);
		for (unsigned i = 0; i < RACED; i++) {
			struct swap back;

			CHECK(a.won[i] != b.won[i]);
			check_at(f, i, a.won[i] ? "sg" : "us", 2 * round + 2, 0);
			back = move_of(i, 2 * round + 2, 0, a.won[i] ? "sg" : "us", "cn-bj");
			CHECK_OK(directory_swap(f->as[BJ], &back, 1, &e), &e);
			CHECK(back.is_done);
		}
	}
	pthread_barrier_destroy(&start);
}

static void
a_row_is_removed_only_where_it_is(void **state)
{
	struct fixture *f = *state;
	struct placement p = row(1, "cn-bj", "IN");
	struct swap s = move_of(1, 1, 0, "cn-bj", "sg");
	struct err e = { 0 };

	add_rows(f, 1, 1, "IN");
	CHECK_OK(directory_swap(f->as[SG], &s, 1, &e), &e);
	CHECK(directory_remove(f->as[BJ], &p, &e) == -1);
	CHECK(e.kind == ERR_STALE);
	p = row(1, "sg", "IN");
	CHECK(directory_remove(f->as[SG], &p, &e) == -1);
	CHECK(e.kind == ERR_STALE);
	p.epoch = 2;
	CHECK_OK(directory_remove(f->as[SG], &p, &e), &e);
	CHECK(look(f, 1).epoch == 0);
	CHECK(directory_remove(f->as[SG], &p, &e) == -1);
	CHECK(e.kind == ERR_MISSING);
}

static void
an_account_is_suspended_and_back(void **state)
{
	struct fixture *f = *state;
	struct account_id id = account(1), other = account(2);
	struct swap s = move_of(1, 1, 0, "cn-bj", "sg");
	struct err e = { 0 };

	add_rows(f, 1, 1, "IN");
	CHECK_OK(directory_suspend(f->as[BJ], &id, true, &e), &e);
	CHECK(look(f, 1).is_suspended);
	CHECK_OK(directory_swap(f->as[SG], &s, 1, &e), &e);
	CHECK(s.is_done && s.now.is_suspended);
	CHECK_OK(directory_suspend(f->as[SG], &id, false, &e), &e);
	CHECK(!look(f, 1).is_suspended);
	CHECK(directory_suspend(f->as[SG], &other, true, &e) == -1);
	CHECK(e.kind == ERR_MISSING);
}

struct seen {
	struct fixture *f;
	size_t n, stop_at;
	struct account_id last;
};

static int
see(void *arg, const struct placement *p, struct err *e)
{
	struct seen *s = arg;

	CHECK(s->n == 0 || memcmp(s->last.b, p->account.b, ACCOUNT_ID_BYTES) < 0);
	s->last = p->account;
	if (++s->n == s->stop_at)
		return err_set(e, ERR_CANCELLED, "seen enough");
	if (s->n % 500 == 1) /* a callback may ask the directory */
		CHECK(look(s->f, (unsigned)(p->account.b[0] << 8 | p->account.b[1])).epoch == 1);
	return 0;
}

static size_t
count_list(struct fixture *f, const struct account_id *after, const char *home,
    const char *countries, size_t limit)
{
	struct seen s = { .f = f };
	struct err e = { 0 };

	CHECK_OK(directory_list(f->as[SG], after, home, countries, limit, see, &s, &e), &e);
	return s.n;
}

static void
a_list_has_all_in_order(void **state)
{
	struct fixture *f = *state;
	struct seen s = { .f = f, .stop_at = 5 };
	struct placement away = row(5000, "sg", "SG");
	struct account_id after = account(2000);
	struct err e = { 0 };

	add_rows(f, 0, 1000, "IN");
	add_rows(f, 1000, 1000, "CN");
	add_rows(f, 2000, 600, "IN");
	CHECK_OK(directory_add(f->as[SG], &away, 1, &e), &e);

	CHECK(count_list(f, NULL, NULL, NULL, 100000) == 2601);
	CHECK(count_list(f, NULL, "", "", 100000) == 2601);
	CHECK(count_list(f, NULL, "cn-bj", NULL, 100000) == 2600);
	CHECK(count_list(f, NULL, "cn-bj", "IN", 100000) == 1600);
	CHECK(count_list(f, NULL, NULL, "!IN", 100000) == 1001);
	CHECK(count_list(f, NULL, NULL, "CN,SG", 100000) == 1001);
	CHECK(count_list(f, NULL, "us", NULL, 100000) == 0);
	CHECK(count_list(f, &after, "cn-bj", NULL, 100000) == 599);
	CHECK(count_list(f, NULL, NULL, NULL, 2048) == 2048);
	CHECK(count_list(f, NULL, NULL, NULL, 0) == 0);

	CHECK(directory_list(f->as[SG], NULL, NULL, NULL, 100, see, &s, &e) == -1);
	CHECK(e.kind == ERR_CANCELLED && s.n == 5);
	CHECK(directory_list(f->as[SG], NULL, NULL, "IN;CN", 100, see, &s, &e) == -1);
	CHECK(e.kind == ERR_BAD);
}

static void
accounts_are_counted_by_home_and_country(void **state)
{
	struct fixture *f = *state;
	struct placement away = row(5000, "sg", "IN");
	json_t *is, *should;
	struct err e = { 0 };

	add_rows(f, 0, 3, "IN");
	add_rows(f, 10, 2, "CN");
	CHECK_OK(directory_add(f->as[SG], &away, 1, &e), &e);
	CHECK_OK(directory_count(f->as[US], &is, &e), &e);
	should = json_loads("[{\"home\":\"cn-bj\",\"country\":\"CN\",\"accounts\":2},"
	                    "{\"home\":\"cn-bj\",\"country\":\"IN\",\"accounts\":3},"
	                    "{\"home\":\"sg\",\"country\":\"IN\",\"accounts\":1}]",
	    0, NULL);
	CHECK(should && json_equal(is, should));
	json_decref(is);
	json_decref(should);
}

static _Thread_local unsigned until_no_memory;

static void *
malloc_or_not(size_t n)
{
	return until_no_memory && --until_no_memory == 0 ? NULL : malloc(n);
}

static void
want_of_memory_adds_all_rows_or_says_so(void **state)
{
	struct fixture *f = *state;
	struct err e = { 0 };
	bool fired = true;

	json_set_alloc_funcs(malloc_or_not, free);
	for (unsigned nth = 1; fired; nth++) {
		struct placement p[] = { row(10 * nth, "sg", "IN"), row(10 * nth + 1, "sg", "IN") };
		int rc;

		until_no_memory = nth;
		rc = directory_add(f->as[SG], p, 2, &e);
		fired = until_no_memory == 0;
		until_no_memory = 0;
		for (unsigned i = 0; rc == 0 && i < 2; i++)
			check_at(f, 10 * nth + i, "sg", 1, 0);
	}
	json_set_alloc_funcs(malloc, free);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		FILE_AND_REMOTE(rows_are_added_all_or_none),
		FILE_AND_REMOTE(a_swap_happens_only_from_what_it_expects),
		FILE_AND_REMOTE(a_swap_may_be_asked_again),
		FILE_AND_REMOTE(a_cancelled_move_can_not_be_completed),
		FILE_AND_REMOTE(a_swap_of_no_known_sort_spoils_its_batch),
		FILE_AND_REMOTE(of_two_swaps_of_one_account_one_wins),
		FILE_AND_REMOTE(a_row_is_removed_only_where_it_is),
		FILE_AND_REMOTE(an_account_is_suspended_and_back),
		FILE_AND_REMOTE(a_list_has_all_in_order),
		FILE_AND_REMOTE(accounts_are_counted_by_home_and_country),
		FILE_AND_REMOTE(want_of_memory_adds_all_rows_or_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
