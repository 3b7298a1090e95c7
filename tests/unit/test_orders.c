/* test_orders.c - what an operator orders of an account that moves, or of which something else is ordered. */
#include "service_fixture.h"

#include <pthread.h>

#define LAG_MS 300

/* --- a directory that is late, or behind the accounts --- */

struct late {
	struct directory directory;
	struct directory *next;
	_Atomic unsigned suspends, resumes;
	bool suspend_lags; /* behind a resume, if one comes meanwhile */
	unsigned finds;
	unsigned arrives_at; /* with which find the account HERE has come */
	struct home here;
};

static struct region r;
static struct late late;

static void
reset(const struct home *home)
{
	struct err e = { 0 };
	struct region_batch *b = region_batch(&e);

	CHECK(b);
	CHECK_OK(homes_reset(r.node.homes, home, 1, b, &e), &e);
	region_batch_free(b);
}

static int
late_find(struct directory *d, const struct account_id *ids, size_t n, struct placement *out,
    struct err *e)
{
	(void)d;
	if (++late.finds == late.arrives_at)
		reset(&late.here);
	return directory_find(late.next, ids, n, out, e);
}

static int
late_add(struct directory *d, const struct placement *p, size_t n, struct err *e)
{
	(void)d;
	return directory_add(late.next, p, n, e);
}

static int
late_suspend(struct directory *d, const struct account_id *id, bool on, struct err *e)
{
	int rc;

	(void)d;
	if (on)
		late.suspends++;
	for (int i = 0; on && late.suspend_lags && i < LAG_MS && !late.resumes; i++)
		usleep(1000);
	rc = directory_suspend(late.next, id, on, e);
	if (!on)
		late.resumes++;
	return rc;
}

static void
late_close(struct directory *d)
{
	(void)d;
	directory_close(late.next);
}

static const struct directory_ops late_ops = {
	.find = late_find,
	.add = late_add,
	.suspend = late_suspend,
	.close = late_close,
};

static int
setup(void **state)
{
	(void)state;
	region_open(&r, false);
	late = (struct late){ .directory.ops = &late_ops, .next = r.node.directory };
	r.node.directory = &late.directory;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	region_close(&r);
	return 0;
}

/* --- two orders at once --- */

static void *
suspend_it(void *id)
{
	struct err e = { 0 };

	CHECK_OK(accounts_suspend(&r.node, id, true, &e), &e);
	return NULL;
}

static void
home_and_directory_agree_after_two_orders_at_once(void **state)
{
	struct account_credentials c;
	struct placement row;
	struct err e = { 0 };
	struct home home;
	pthread_t other;

	(void)state;
	region_account(&r, ALL_SERVICES, &c);
	late.suspend_lags = true;
	CHECK(pthread_create(&other, NULL, suspend_it, &c.account) == 0);
	while (!late.suspends)
		usleep(1000);
	CHECK_OK(accounts_suspend(&r.node, &c.account, false, &e), &e);
	CHECK(pthread_join(other, NULL) == 0);
	CHECK(homes_get(r.node.homes, &c.account, &home, &e) == 1);
	CHECK_OK(directory_find(r.node.directory, &c.account, 1, &row, &e), &e);
	CHECK(home.is_suspended == row.is_suspended);
}

/* --- while it moves --- */

/* An account that the directory places here, and that has not come yet. */
static void
make_away(struct account_id *id)
{
	struct account_credentials c;
	struct err e = { 0 };
	struct home away;

	region_account(&r, ALL_SERVICES, &c);
	*id = c.account;
	CHECK(homes_get(r.node.homes, id, &late.here, &e) == 1);
	away = late.here;
	away.state = HOME_MOVED;
	snprintf(away.peer, sizeof(away.peer), "sg");
	reset(&away);
	late.finds = 0;
}

static int
set_quota(const struct account_id *id, struct err *e)
{
	char text[ACCOUNT_TEXT_SIZE];
	json_t *in, *out = NULL;
	int rc;

	account_text(id, text);
	in = json_pack(
	    "{s:s, s:[{s:s, s:i}]}", "account", text, "set", "service", "all", "objects", 7);
	rc = accounts_quota(&r.node, in, &out, e);
	json_decref(in);
	json_decref(out);
	return rc;
}

static void
a_quota_is_set_although_the_account_is_just_moving(void **state)
{
	struct account_id id;
	struct err e = { 0 };

	(void)state;
	make_away(&id);
	late.arrives_at = 3;
	CHECK_OK(set_quota(&id, &e), &e);
	CHECK(late.finds == 3);
}

static void
a_quota_that_could_not_be_set_is_said_to_be_not(void **state)
{
	struct account_id id;
	struct err e = { 0 };

	(void)state;
	make_away(&id);
	CHECK(set_quota(&id, &e) < 0 && e.kind == ERR_BUSY);
	CHECK(strstr(e.text, "nothing was done") && strstr(e.text, "try again"));
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(home_and_directory_agree_after_two_orders_at_once),
		TEST(a_quota_is_set_although_the_account_is_just_moving),
		TEST(a_quota_that_could_not_be_set_is_said_to_be_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
