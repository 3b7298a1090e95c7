/* Arriving moves have a bound of memory: past it a move is refused, given up and counted; the account is served
 * where it was, and moves once there is memory again, without a restart.
 */
#include "move_fixture.h"

#include "base/refused.h"

static struct files
new_account(struct pair *p, const uint8_t *content, size_t n)
{
	struct account_credentials c;
	struct files f;
	struct err e = { 0 };

	CHECK_OK(accounts_create(&p->sides[FROM].node, "CN", ALL_SERVICES, 1, &c, &e), &e);
	f = (struct files){ .node = &p->sides[FROM].node,
		.account = c.account,
		.services = ALL_SERVICES | BIT(SERVICE_PROFILE),
		.may_block = true };
	CHECK_OK(files_bucket_create(&f, "photos", &e), &e);
	put(&f, "photos", "k", content, n);
	CHECK_OK(flusher_wait(f.node->flusher, f.ticket, &e), &e);
	return f;
}

static bool
is_at(struct side *s, const struct account_id *id)
{
	struct home h;
	struct err e = { 0 };

	return homes_get(s->node.homes, id, &h, &e) == 1 && h.state == HOME_HERE;
}

/* Once the streams that have ended are through: nothing is held but HELD. */
static bool
holds(struct mover *m, uint64_t held)
{
	for (int i = 0; i < 30000; i++) {
		if (atomic_load(&m->arriving_bytes) == held)
			return true;
		usleep(1000);
	}
	return false;
}

static void
a_move_past_the_bound_is_put_off_and_goes_through_later(void **state)
{
	/* Left for the move: not even for its stream; for that, and not for what it brings. */
	static const uint64_t left[] = { 1000, 400 << 10 };
	struct pair *p = *state;
	size_t n = 3 << 20;
	uint8_t *content = noise(n, 1);
	struct mover *m = p->sides[TO].node.mover;
	struct files f = new_account(p, content, n);
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(left); i++) {
		uint64_t others = 0;

		CHECK_OK(arriving_hold(m, &others, m->config.memory - left[i], &e), &e);
		CHECK(!pair_move(p, &f.account, &e));
		CHECK(strstr(e.text, "no memory"));
		CHECK(pair_settles(p) && holds(m, others));
		CHECK(is_at(&p->sides[FROM], &f.account) && !is_at(&p->sides[TO], &f.account));
		CHECK(has(&f, "photos", "k", content, n));
		CHECK_OK(arriving_hold(m, &others, 0, &e), &e);
	}
	CHECK(pair_move(p, &f.account, &e));
	CHECK(pair_settles(p) && holds(m, 0));
	f.node = &p->sides[TO].node;
	CHECK(has(&f, "photos", "k", content, n));
	free(content);
}

static void
what_is_held_is_all_streams_together(void **state)
{
	struct pair *p = *state;
	struct mover *m = p->sides[TO].node.mover;
	uint64_t one = 0, two = 0, max = m->config.memory;
	struct err e = { 0 };

	CHECK_OK(arriving_hold(m, &one, max - 10, &e), &e);
	CHECK_OK(arriving_hold(m, &two, 10, &e), &e);
	CHECK(arriving_hold(m, &two, 11, &e) < 0 && e.kind == ERR_MEMORY && two == 10);
	CHECK_OK(arriving_hold(m, &one, max - 20, &e), &e);
	CHECK_OK(arriving_hold(m, &two, 20, &e), &e);
	CHECK_OK(arriving_hold(m, &one, 0, &e), &e);
	CHECK_OK(arriving_hold(m, &two, 0, &e), &e);
	CHECK(holds(m, 0));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_move_past_the_bound_is_put_off_and_goes_through_later),
		TEST(what_is_held_is_all_streams_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
