/* The wall clock is set wrong, and right again, while a region runs: nothing that a promise rests on
 * goes by it. (What is locked until a time: test_files_lock.c.)
 */
#include "move_fixture.h"

#define MINUTE_MS ((int64_t)60 * 1000)
#define YEAR_MS   (365 * 24 * 60 * MINUTE_MS)
#define LEASE_MS  3600000

static _Atomic int64_t jump_ms;

static uint64_t
jumping_wall_ms(void)
{
	return (uint64_t)((int64_t)fast_wall_ms() + jump_ms);
}

static int
setup(void **state)
{
	static const struct host_ops ops = { jumping_wall_ms, fast_mono_ns, clock_random };

	jump_ms = 0;
	*state = pair_open_with(&ops);
	return 0;
}

static int
teardown(void **state)
{
	pair_close(*state);
	return 0;
}

static enum enter_answer
enter_write(struct side *s, const struct account_id *id)
{
	enum enter_answer answer;
	struct home_pass pass;
	struct err e = { 0 };

	CHECK_OK(homes_enter(s->node.homes, id, ENTER_WRITE, &answer, &pass, NULL, &e), &e);
	if (answer == ENTER_GO)
		homes_leave(s->node.homes, &pass);
	return answer;
}

/* An account that has just come to TO, as a restart finds it: its old home may be reading. */
static struct account_id
settled(struct pair *p)
{
	struct side *s = &p->sides[TO];
	struct move_record m = { .state = MOVE_SETTLED, .epoch = 1, .lease_ms = LEASE_MS };
	struct home home = { .state = HOME_ARRIVING, .epoch = 2, .country = "CN" };
	static const enum home_state way[] = { HOME_ARRIVING, HOME_PREPARED, HOME_HERE };
	struct region_batch *b = region_batch(NULL);
	struct err e = { 0 };

	account_random(&m.account);
	m.since_ms = host_wall_ms();
	snprintf(m.peer, sizeof(m.peer), "%s", p->sides[FROM].node.region);
	home.account = m.account;
	home.services = BIT(SERVICE_PROFILE);
	memcpy(home.peer, m.peer, sizeof(home.peer));
	CHECK_OK(move_store(b, &m, &e), &e);
	for (size_t i = 0; i < ARRAY_LEN(way); i++) {
		home.state = way[i];
		CHECK_OK(homes_set(s->node.homes, &home, 1, b, &e), &e);
	}
	region_batch_free(b);
	pair_reboot(p, TO, true);
	return m.account;
}

static void
no_clock_that_jumps_ends_the_lease_of_an_old_home(void **state)
{
	static const int64_t jumps[] = { 10 * MINUTE_MS, -10 * MINUTE_MS, YEAR_MS, -YEAR_MS, 0 };
	struct pair *p = *state;
	struct side *s = &p->sides[TO];
	struct account_id id = settled(p);
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(jumps); i++) {
		jump_ms = jumps[i];
		for (int k = 0; k < 100; k++) { /* it is looked at meanwhile */
			CHECK(!side_is_quiet(s));
			CHECK(enter_write(s, &id) == ENTER_WAIT);
			usleep(2000);
		}
	}
	CHECK_OK(homes_delay_writes(s->node.homes, &id, 1, &e), &e);
	CHECK(pair_settles(p));
	CHECK(enter_write(s, &id) == ENTER_GO);
}

static void
a_move_goes_through_while_the_clock_jumps(void **state)
{
	static const int64_t jumps[] = { 10 * MINUTE_MS, -10 * MINUTE_MS, YEAR_MS, -YEAR_MS };
	struct pair *p = *state;

	for (size_t i = 0; i < ARRAY_LEN(jumps); i++) {
		struct account_credentials c;
		struct err e = { 0 };

		CHECK_OK(accounts_create(&p->sides[FROM].node, "CN", ALL_SERVICES, 1, &c, &e), &e);
		jump_ms = jumps[i];
		CHECK(pair_move(p, &c.account, &e));
		CHECK(enter_write(&p->sides[FROM], &c.account) == ENTER_FORWARD);
		jump_ms = 0;
		CHECK(pair_settles(p));
		CHECK(enter_write(&p->sides[TO], &c.account) == ENTER_GO);
	}
}

static void
put_back(void)
{
	jump_ms = -10 * MINUTE_MS;
}

static bool
key_of_pair(void *arg, const char *region, uint8_t out[static SIGN_PUBLIC_BYTES])
{
	struct pair *p = arg;

	for (int i = 0; i < 2; i++)
		if (strcmp(region, p->sides[i].node.region) == 0)
			memcpy(out, p->sides[i].node.sign_public, SIGN_PUBLIC_BYTES);
	return true;
}

static void
a_clock_that_is_put_back_after_a_move_spoils_no_certificate(void **state)
{
	struct pair *p = *state;
	struct account_credentials c;
	struct certificate certificate;
	struct err e = { 0 };
	json_t *json;

	CHECK_OK(accounts_create(&p->sides[FROM].node, "CN", ALL_SERVICES, 1, &c, &e), &e);
	p->sides[TO].shaky.at_swap = put_back; /* the move is signed then, and nothing erased */
	CHECK(pair_move(p, &c.account, &e));
	CHECK(pair_settles(p));
	CHECK_OK(mover_certificate(&p->sides[FROM].node, &c.account, 0, &json, &e), &e);
	CHECK_OK(certificate_check(json, key_of_pair, p, &certificate, &e), &e);
	CHECK(certificate.is_erased && certificate.erasure.time_ms >= certificate.move.time_ms);
	json_decref(json);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(no_clock_that_jumps_ends_the_lease_of_an_old_home),
		TEST(a_move_goes_through_while_the_clock_jumps),
		TEST(a_clock_that_is_put_back_after_a_move_spoils_no_certificate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
