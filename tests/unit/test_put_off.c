/* What a wave puts off is tried again after a wait that grows, at once when its operator says so, and
 * given up in the end: no wave stays open for ever.
 */
#include "move_account.h"

#define REFUSES "[policy *]\nregions = cn-bj\n"
#define TAKES   "[policy *]\nregions = cn-bj, sg\n"

/* Whether the destination takes accounts; it answers at once either way. */
static void
set_policy(struct pair *p, const char *text)
{
	struct err e = { 0 };
	struct conf *c = conf_parse(text, "regions", &e);

	CHECK(c);
	CHECK_OK(policy_load(p->sides[TO].node.policy, c, &e), &e);
	conf_free(c);
}

static struct wave_item
item_of(struct pair *p, const struct wave *w)
{
	struct wave_item item = { 0 };
	struct err e = { 0 };
	size_t n = 1;

	CHECK_OK(
	    directory_wave_items(p->directory, w->id, BIT(ITEM_STATES) - 1, NULL, &item, &n, &e),
	    &e);
	CHECK(n == 1);
	return item;
}

static void
tried_so_often(struct pair *p, const struct wave *w, const struct account_id *id, uint32_t tries)
{
	struct wave_item item = { .account = *id, .state = ITEM_PUT_OFF, .tries = tries };
	struct err e = { 0 };

	CHECK_OK(directory_wave_update(p->directory, w->id, &item, 1, &e), &e);
}

static void
retry(struct pair *p, const struct wave *w)
{
	struct err e = { 0 };
	uint64_t n;

	CHECK_OK(directory_wave_retry(p->directory, w->id, &n, &e), &e);
	CHECK(n == 1);
	mover_nudge(p->sides[FROM].node.mover);
}

static void
tries_are_counted_however_short_they_are(void **state)
{
	struct pair *p = *state;
	struct account_id id = new_account(p);
	struct wave w;

	set_policy(p, REFUSES);
	pair_wave(p, &id, &w);
	for (int i = 0; i < 20000 && item_of(p, &w).tries < 3; i++)
		usleep(1000);
	CHECK(item_of(p, &w).tries >= 3 && strstr(item_of(p, &w).reason, "CN"));
	set_policy(p, TAKES);
	retry(p, &w);
	CHECK(pair_wave_ends(p, &w));
}

static void
what_is_refused_for_ever_fails_and_can_be_retried(void **state)
{
	struct pair *p = *state;
	struct account_id id = new_account(p);
	struct wave_sums sums;
	struct wave w;
	struct err e = { 0 };

	set_policy(p, REFUSES);
	pair_plan(p, &id, 1, &w);
	tried_so_often(p, &w, &id, 19);
	pair_run(p, &w);
	CHECK(!pair_wave_ends(p, &w));
	CHECK_OK(directory_wave_get(p->directory, w.id, &w, &sums, &e), &e);
	CHECK(w.state == WAVE_DONE && sums.items[ITEM_FAILED] == 1);
	CHECK(strstr(item_of(p, &w).reason, "CN"));
	set_policy(p, TAKES);
	retry(p, &w);
	CHECK(pair_wave_ends(p, &w));
}

/* The destination would end it at some time, and what is tried first when the wave goes on would be put off. */
static void
a_wave_that_is_paused_keeps_no_stream(void **state)
{
	struct pair *p = *state;
	struct mover *there = p->sides[TO].node.mover;
	struct account_id id = new_account(p);
	struct wave w;
	struct err e = { 0 };

	set_policy(p, REFUSES);
	pair_wave(p, &id, &w);
	for (int i = 0; i < 20000 && item_of(p, &w).state != ITEM_PUT_OFF; i++)
		usleep(1000);
	CHECK(atomic_load(&there->arriving_bytes) > 0);
	CHECK_OK(directory_wave_set(p->directory, w.id, WAVE_PAUSED, &e), &e);
	for (int i = 0; i < 20000 && atomic_load(&there->arriving_bytes) > 0; i++)
		usleep(1000);
	CHECK(atomic_load(&there->arriving_bytes) == 0);
	set_policy(p, TAKES);
	CHECK_OK(directory_wave_set(p->directory, w.id, WAVE_RUNNING, &e), &e);
	CHECK(pair_wave_ends(p, &w));
}

/* --- beside one that takes long --- */

static atomic_bool is_stuck, may_go;

static void
stay(void)
{
	if (!atomic_exchange(&is_stuck, true))
		while (!atomic_load(&may_go))
			usleep(1000);
}

static bool
comes_home(struct side *s, const struct account_id *id)
{
	uint64_t epoch;

	for (int i = 0; i < 20000 && state_at(s, id, &epoch) != HOME_HERE; i++)
		usleep(1000);
	return state_at(s, id, &epoch) == HOME_HERE;
}

static void
what_was_put_off_does_not_wait_for_what_still_moves(void **state)
{
	struct pair *p = *state;
	struct account_id ids[] = { new_account(p), new_account(p) };
	struct wave_sums sums;
	struct wave w;
	struct err e = { 0 };
	bool came;

	atomic_store(&is_stuck, false);
	atomic_store(&may_go, false);
	p->sides[TO].shaky.at_swap = stay;
	pair_plan(p, ids, 2, &w);
	tried_so_often(p, &w, &ids[1], 19);
	pair_run(p, &w);
	for (int i = 0; i < 20000 && !atomic_load(&is_stuck); i++)
		usleep(1000);
	came = atomic_load(&is_stuck) && comes_home(&p->sides[TO], &ids[1]);
	atomic_store(&may_go, true);
	CHECK(came && comes_home(&p->sides[TO], &ids[0]));
	for (int i = 0; i < 20000; i++) {
		CHECK_OK(directory_wave_get(p->directory, w.id, &w, &sums, &e), &e);
		if (w.state == WAVE_DONE)
			break;
		usleep(1000);
	}
	CHECK(w.state == WAVE_DONE && sums.items[ITEM_ERASED] == 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(tries_are_counted_however_short_they_are),
		TEST(what_is_refused_for_ever_fails_and_can_be_retried),
		TEST(a_wave_that_is_paused_keeps_no_stream),
		TEST(what_was_put_off_does_not_wait_for_what_still_moves),
	};
	int failed;

	fault_use_memory();
	move_content = noise(MOVE_CHUNKED + 1, 1);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(move_content);
	return failed;
}
