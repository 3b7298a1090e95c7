/* A record of the region that a disk has damaged costs its own account at most: the node starts, all others are
 * served, and what can be told without it is settled.
 */
#include "move_fixture.h"

static const char damaged[] = "what is this";

static struct account_id
new_account(struct side *s)
{
	struct account_credentials c;
	struct err e = { 0 };

	CHECK_OK(accounts_create(&s->node, "CN", ALL_SERVICES, 1, &c, &e), &e);
	return c.account;
}

static void
damage(struct side *s, enum region_kind kind, const struct account_id *id)
{
	struct region_batch *b = region_batch(NULL);
	struct err e = { 0 };

	CHECK(b);
	region_put(b, kind, id, sizeof(*id), damaged, sizeof(damaged));
	CHECK_OK(region_apply(s->node.engine, s->node.flusher, b, &e), &e);
	region_batch_free(b);
}

static bool
has_record(struct side *s, enum region_kind kind, const struct account_id *id)
{
	_cleanup_buf_ struct buf value = BUF_INIT(0);
	struct err e = { 0 };
	int r = region_get(s->node.engine, kind, id, sizeof(*id), &value, &e);

	CHECK(r >= 0);
	return r == 1;
}

static int
enter(struct side *s, const struct account_id *id, enum enter_how how, enum enter_answer *answer,
    struct err *e)
{
	struct home_pass pass;
	int r = homes_enter_wait(s->node.homes, id, how, answer, &pass, e);

	if (r == 0)
		homes_leave(s->node.homes, &pass);
	return r;
}

/* Perhaps only when an old home's lease is over. */
static void
must_be_served(struct side *s, const struct account_id *id)
{
	enum enter_answer answer = ENTER_WAIT;
	struct err e = { 0 };
	int r = -1;

	for (int i = 0; i < 20000 && r < 0; i++) {
		r = enter(s, id, ENTER_WRITE, &answer, &e);
		if (r < 0 && e.kind != ERR_TIMEOUT)
			break;
		usleep(1000);
	}
	CHECK_OK(r, &e);
	CHECK(answer == ENTER_GO);
}

static void
a_damaged_home_record_costs_its_own_account_alone(void **state)
{
	struct pair *p = *state;
	struct side *s = &p->sides[FROM];
	struct account_id ids[3];
	enum enter_answer answer;
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		ids[i] = new_account(s);
	damage(s, REGION_HOME, &ids[1]);
	pair_reboot(p, FROM, true);
	must_be_served(s, &ids[0]);
	must_be_served(s, &ids[2]);
	CHECK(enter(s, &ids[1], ENTER_READ, &answer, &e) < 0 && e.kind == ERR_FORGED);
	CHECK(enter(s, &ids[1], ENTER_WRITE, &answer, &e) < 0 && e.kind == ERR_FORGED);
	CHECK(has_record(s, REGION_HOME, &ids[1]));
	CHECK(pair_move(p, &ids[0], &e));
}

static void
a_damaged_record_of_an_arrival_gives_it_up(void **state)
{
	struct pair *p = *state;
	struct side *s = &p->sides[TO];
	struct home arriving = { .state = HOME_ARRIVING, .epoch = 2, .country = "CN" };
	struct err e = { 0 };

	arriving.account = new_account(&p->sides[FROM]);
	arriving.services = ALL_SERVICES | BIT(SERVICE_PROFILE);
	snprintf(arriving.peer, sizeof(arriving.peer), "%s", p->sides[FROM].node.region);
	CHECK_OK(homes_set(s->node.homes, &arriving, 1, NULL, &e), &e);
	damage(s, REGION_MOVE, &arriving.account);
	pair_reboot(p, TO, true);
	CHECK(pair_settles(p));
	CHECK(!has_record(s, REGION_HOME, &arriving.account));
	CHECK(!has_record(s, REGION_MOVE, &arriving.account));
	/* So it can come. */
	CHECK(pair_move(p, &arriving.account, &e));
	must_be_served(s, &arriving.account);
}

static void
a_damaged_record_of_a_move_keeps_nothing_from_being_served(void **state)
{
	struct pair *p = *state;
	struct side *s = &p->sides[FROM];
	struct account_id id = new_account(s), other = new_account(s);

	damage(s, REGION_MOVE, &id);
	damage(s, REGION_ERASE, &other);
	pair_reboot(p, FROM, true);
	must_be_served(s, &id);
	must_be_served(s, &other);
	CHECK(has_record(s, REGION_MOVE, &id) && has_record(s, REGION_ERASE, &other));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_damaged_home_record_costs_its_own_account_alone),
		TEST(a_damaged_record_of_an_arrival_gives_it_up),
		TEST(a_damaged_record_of_a_move_keeps_nothing_from_being_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
