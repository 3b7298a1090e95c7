/* One suite for every directory: the one in a file, and the same one asked over mutual TLS. */
#include "base/host.h"
#include "fleet.h"

#include <pthread.h>

/* The directory as each region sees it. In a file it is one and the same. */
struct fixture {
	char *dir;
	struct directory *file;
	struct directory *as[FLEET_REGIONS];
	struct peers *peers[FLEET_REGIONS];
	struct fleet_server server;
};

enum { BJ, SG, US };

static int
carry_out(void *arg, const char *caller, const char *path, json_t *arguments, json_t **answer,
    struct err *e)
{
	static const char base[] = "/peer/v1/directory/";

	if (strncmp(path, base, strlen(base)) != 0)
		return err_set(e, ERR_MISSING, "no call %s", path);
	return directory_serve(arg, caller, path + strlen(base), arguments, answer, e);
}

static struct directory *
open_file(const char *dir)
{
	struct err e = { 0 };
	struct directory *d = directory_sqlite(check_path(dir, "directory.db"), &e);

	if (!d)
		fail_msg("%s", e.text);
	return d;
}

static int
setup_file(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	f->dir = check_dir_make();
	f->file = open_file(f->dir);
	for (int i = 0; i < FLEET_REGIONS; i++)
		f->as[i] = f->file;
	*state = f;
	return 0;
}

static int
setup_remote(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct err e = { 0 };

	f->dir = check_dir_make();
	f->file = open_file(f->dir);
	for (int i = 0; i < FLEET_REGIONS; i++)
		f->peers[i] = fleet_peers(f->dir, "ca", fleet_names[i]);
	fleet_serve(&f->server, f->peers[BJ], carry_out, f->file);
	for (int i = 0; i < FLEET_REGIONS; i++) {
		f->as[i] = directory_client(f->peers[i], "cn-bj", f->server.at, &e);
		CHECK(f->as[i]);
	}
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	fleet_unserve(&f->server);
	for (int i = 0; i < FLEET_REGIONS; i++) {
		if (f->as[i] != f->file)
			directory_close(f->as[i]);
		peers_close(f->peers[i]);
	}
	directory_close(f->file);
	check_dir_remove(f->dir);
	free(f);
	return 0;
}

static struct account_id
account(unsigned n)
{
	struct account_id id = { { (uint8_t)(n >> 8), (uint8_t)n, 0xaa } };

	return id;
}

static struct placement
row(unsigned n, const char *home, const char *country)
{
	struct placement p = { .account = account(n), .epoch = 1 };

	strcpy(p.home, home);
	strcpy(p.country, country);
	return p;
}

/* N rows from number FIRST on. */
static void
add_rows(struct fixture *f, unsigned first, unsigned n, const char *country)
{
	struct placement p[DIRECTORY_BATCH_MAX];
	struct err e = { 0 };

	for (unsigned i = 0; i < n; i++)
		p[i] = row(first + i, "cn-bj", country);
	CHECK_OK(directory_add(f->as[BJ], p, n, &e), &e);
}

static struct placement
look(struct fixture *f, unsigned n)
{
	struct account_id id = account(n);
	struct placement p;
	struct err e = { 0 };

	CHECK_OK(directory_find(f->as[US], &id, 1, &p, &e), &e);
	return p;
}

static void
check_at(struct fixture *f, unsigned n, const char *home, uint64_t epoch, uint64_t attempt)
{
	struct placement p = look(f, n);

	CHECK_STR(p.home, home);
	CHECK(p.epoch == epoch);
	CHECK(p.attempt == attempt);
}

static struct swap
move_of(unsigned n, uint64_t epoch, uint64_t attempt, const char *from, const char *to)
{
	struct swap s = { .account = account(n),
		.epoch = epoch,
		.attempt = attempt,
		.to_epoch = epoch + 1,
		.to_attempt = attempt };

	strcpy(s.from, from);
	strcpy(s.to, to);
	memset(s.statement, (int)(n + epoch), sizeof s.statement);
	return s;
}

static struct swap
cancel_of(unsigned n, uint64_t epoch, uint64_t attempt, const char *home)
{
	struct swap s = move_of(n, epoch, attempt, home, home);

	s.to_epoch = epoch;
	s.to_attempt = attempt + 1;
	return s;
}

/* Placements */

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

/* Waves */

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
	struct wave_item item = { .account = account(n), .state = state };
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

#define FILE_AND_REMOTE(name) \
	{ #name ", in a file", name, setup_file, teardown, NULL }, \
	{ \
#name ", remote", name, setup_remote, teardown, NULL \
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
		FILE_AND_REMOTE(a_planned_wave_is_what_was_asked_for),
		FILE_AND_REMOTE(a_wave_may_have_a_list_of_accounts),
		FILE_AND_REMOTE(an_account_is_in_one_wave_at_a_time),
		FILE_AND_REMOTE(waves_are_listed_newest_first),
		FILE_AND_REMOTE(a_wave_goes_only_the_ways_there_are),
		FILE_AND_REMOTE(sums_follow_every_item),
		FILE_AND_REMOTE(items_are_found_by_state_and_in_order),
		FILE_AND_REMOTE(a_cancelled_wave_leaves_what_moves_alone),
		FILE_AND_REMOTE(what_failed_is_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
