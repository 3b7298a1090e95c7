/* Units of a move end: what one had is free for the next, over whichever stream that comes. */
#include "move_fixture.h"

static struct account_id
new_account(struct pair *p)
{
	struct account_credentials c;
	struct err e = { 0 };

	CHECK_OK(accounts_create(&p->sides[FROM].node, "CN", ALL_SERVICES, 1, &c, &e), &e);
	return c.account;
}

/* Before the destination would lose its patience with a silent stream. */
static bool
is_free_soon(struct pair *p)
{
	for (int i = 0; i < 10000; i++) {
		if (side_is_quiet(&p->sides[TO]))
			return true;
		usleep(1000);
	}
	return false;
}

static void
a_stream_whose_account_was_refused_does_not_keep_it(void **state)
{
	struct pair *p = *state;
	struct account_id id = new_account(p);
	struct mover *m = p->sides[TO].node.mover;
	struct err e = { 0 };
	_cleanup_(stream_closep) struct stream *first = pair_stream(p, &e);
	_cleanup_(stream_closep) struct stream *second = pair_stream(p, &e);
	uint64_t others = 0;

	CHECK(first && second);
	CHECK_OK(arriving_hold(m, &others, m->config.memory - (400 << 10), &e), &e);
	CHECK(!pair_move_over(p, first, &id, pair_go_on, &e) && e.kind == ERR_MEMORY);
	CHECK_OK(arriving_hold(m, &others, 0, &e), &e);
	CHECK(is_free_soon(p));
	CHECK(pair_move_over(p, second, &id, pair_go_on, &e));
	CHECK(pair_settles(p));
}

static void
a_stream_that_carried_an_account_does_not_keep_it(void **state)
{
	struct pair *p = *state;
	struct account_id id = new_account(p);
	struct err e = { 0 };
	_cleanup_(stream_closep) struct stream *s = pair_stream(p, &e);

	CHECK(s && pair_move_over(p, s, &id, pair_go_on, &e));
	CHECK(is_free_soon(p));
}

/* An opening as the source sends it, and then nothing: its line was cut, and only it has noticed. */
static void
open_and_fall_silent(struct pair *p, struct stream *s, const struct account_id *id)
{
	struct opening o = { .account = *id, .services = ALL_SERVICES | BIT(SERVICE_PROFILE) };
	struct buf b = BUF_INIT(STREAM_FRAME_MAX);
	struct placement row;
	uint8_t type;
	struct span answer;
	struct err e = { 0 };

	CHECK_OK(directory_find(p->directory, id, 1, &row, &e), &e);
	o.epoch = row.epoch;
	o.attempt = row.attempt;
	strcpy(o.country, row.country);
	open_put(&b, 1, "", &o, 1);
	CHECK_OK(stream_send(s, FRAME_OPEN, b.data, b.len, &e), &e);
	CHECK_OK(stream_flush(s, &e), &e);
	CHECK_OK(stream_receive(s, 60000, &type, &answer, &e), &e);
	CHECK(type == FRAME_OPENED);
	buf_free(&b);
}

static void
who_opens_an_account_anew_ends_the_stream_that_had_it(void **state)
{
	struct pair *p = *state;
	struct account_id id = new_account(p);
	struct err e = { 0 };
	_cleanup_(stream_closep) struct stream *silent = pair_stream(p, &e);

	CHECK(silent);
	open_and_fall_silent(p, silent, &id);
	CHECK(!pair_move(p, &id, &e) && e.kind == ERR_BUSY);
	CHECK(pair_settles(p));
	CHECK(pair_move(p, &id, &e));
	CHECK(pair_settles(p));
}

static enum home_state
state_of(struct side *s, const struct account_id *id)
{
	struct home h = { .state = HOME_NONE };
	struct err e = { 0 };

	CHECK(homes_get(s->node.homes, id, &h, &e) >= 0);
	return h.state;
}

static bool
is_moving(struct side *s, const struct account_id *id)
{
	_cleanup_buf_ struct buf record = BUF_INIT(16384);
	struct err e = { 0 };
	int r = region_get(s->store.engine, REGION_MOVE, id, sizeof(*id), &record, &e);

	CHECK(r >= 0);
	return r;
}

static void
a_region_that_is_struck_gets_nothing_more(void **state)
{
	struct pair *p = *state;
	struct side *from = &p->sides[FROM], *to = &p->sides[TO];
	struct account_id id = new_account(p);
	struct selection s = { .home = from->node.region, .accounts = &id, .n_accounts = 1 };
	struct wave w = {
		.concurrency = 1, .quiet_from_min = -1, .quiet_to_min = -1, .bytes_per_s = 64
	};
	struct peer_region self = { 0 };
	struct err e = { 0 };
	uint64_t n;

	strcpy(w.from, from->node.region);
	strcpy(w.to, to->node.region);
	strcpy(self.name, from->node.region);
	CHECK_OK(directory_wave_plan(p->directory, &w, &s, false, &n, &e), &e);
	CHECK_OK(directory_wave_set(p->directory, w.id, WAVE_RUNNING, &e), &e);
	mover_nudge(from->node.mover);
	for (int i = 0; i < 20000 && state_of(to, &id) != HOME_ARRIVING; i++)
		usleep(1000);
	CHECK(state_of(to, &id) == HOME_ARRIVING && is_moving(from, &id));
	CHECK_OK(peers_set_regions(from->node.peers, &self, 1, &e), &e);
	for (int i = 0; i < 20000 && is_moving(from, &id); i++)
		usleep(1000);
	CHECK(!is_moving(from, &id) && state_of(from, &id) == HOME_HERE);
}

/* Its words go into the directory, as JSON: what is no text would keep the whole wave from being told of. */
static void
what_a_destination_says_is_text(void **state)
{
	struct verdict said[] = { { ERR_CANCELLED, "no\xff\xfe\n\x1b[2Jspace\x7f" } }, heard[1];
	_cleanup_buf_ struct buf b = BUF_INIT(1024);
	struct reader r;
	struct err e = { 0 };

	(void)state;
	verdicts_put(&b, 7, said, 1);
	r = READER(b.data, b.len);
	CHECK_OK(verdicts_read(&r, 7, heard, 1, &e), &e);
	CHECK(heard[0].kind == ERR_CANCELLED);
	CHECK_STR(heard[0].text, "no????[2Jspace?");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_stream_whose_account_was_refused_does_not_keep_it),
		TEST(a_stream_that_carried_an_account_does_not_keep_it),
		TEST(who_opens_an_account_anew_ends_the_stream_that_had_it),
		TEST(a_region_that_is_struck_gets_nothing_more),
		TEST(what_a_destination_says_is_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
