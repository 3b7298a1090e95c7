/* Access keys, what is derived and remembered of them, and policy: who comes in, and who may live where. */
#include "service_fixture.h"

#include "base/crypto.h"

/* --- access --- */

static void
run_in_profile(struct node *n, const struct account_id *id, const char *sql, const char *key)
{
	struct vault_id vault = { .account = *id, .service = SERVICE_PROFILE };
	struct err e = { 0 };
	struct vault *v = pool_take(n->pool, &vault, true, &e);
	struct query *q;
	uint64_t ticket;

	CHECK_OK(vault_begin(v, &e), &e);
	q = vault_query(v, sql);
	query_text(q, 1, key, strlen(key));
	CHECK_OK(query_run(q, &e), &e);
	CHECK_OK(vault_commit(v, &ticket, &e), &e);
	pool_give(v);
}

/* The example of the AWS General Reference, "Deriving the signing key". */
static void
signing_keys_are_those_of_the_published_example(void **state)
{
	static const char should[] =
	    "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9";
	struct region *r = *state;
	struct node *n = &r->node;
	struct account_credentials c;
	uint8_t key[SHA256_BYTES];
	struct key_scope scope;
	char text[2 * SHA256_BYTES + 1];
	struct err e = { 0 };

	region_account(r, ALL_SERVICES, &c);
	run_in_profile(n, &c.account,
	    "UPDATE credential SET secret='wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'"
	    " WHERE key_id=?1",
	    c.access_key);
	for (int i = 0; i < 2; i++) {
		CHECK_OK(access_signing_key(n->access, c.access_key, "20150830", "us-east-1", "iam",
		             true, key, &scope, &e),
		    &e);
		hex_text(key, sizeof(key), text);
		CHECK_STR(text, should);
		/* Another scope in between. */
		CHECK_OK(access_signing_key(n->access, c.access_key, "20150831", "us-east-1", "iam",
		             true, key, &scope, &e),
		    &e);
		hex_text(key, sizeof(key), text);
		CHECK(strcmp(text, should));
	}
}

static void
access_keys_name_accounts(void **state)
{
	struct account_id id;
	char text[ACCOUNT_TEXT_SIZE];

	(void)state;
	CHECK(access_account("DM00112233445566778899AABBCCDDEEFF0042", &id));
	account_text(&id, text);
	CHECK_STR(text, "00112233445566778899aabbccddeeff");
	CHECK(!access_account("DM00112233445566778899aabbccddeeff0042", &id));
	CHECK(!access_account("DM00112233445566778899AABBCCDDEEFF004", &id));
	CHECK(!access_account("DM00112233445566778899AABBCCDDEEFF00421", &id));
	CHECK(!access_account("DM00112233445566778899AABBCCDDEEFF004A", &id));
	CHECK(!access_account("AK00112233445566778899AABBCCDDEEFF0042", &id));
	CHECK(!access_account("DM00112233445566778899AABBCCDDEEFG0042", &id));
	CHECK(!access_account("", &id));
}

static void
access_is_remembered_until_it_is_forgotten(void **state)
{
	struct region *r = *state;
	struct node *n = &r->node;
	struct account_credentials c[5];
	uint8_t key[SHA256_BYTES], first[SHA256_BYTES];
	struct key_scope scope;
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		region_account(r, ALL_SERVICES, &c[i]);
	pool_evict(n->pool, &(struct vault_id){ c[0].account, SERVICE_PROFILE });
#define KEY(i, may_block, out) \
	access_signing_key(n->access, c[i].access_key, "d", "r", "s3", may_block, out, &scope, &e)
	CHECK(KEY(0, false, first) < 0 && e.kind == ERR_BUSY);
	CHECK_OK(KEY(0, true, first), &e);
	pool_evict(n->pool, &(struct vault_id){ c[0].account, SERVICE_PROFILE });
	CHECK_OK(KEY(0, false, key), &e);
	CHECK_BYTES(key, first, sizeof(key));

	/* There are three places: the one used longest ago goes. */
	CHECK_OK(KEY(1, true, key), &e);
	CHECK_OK(KEY(2, true, key), &e);
	CHECK_OK(KEY(0, true, key), &e);
	CHECK_OK(KEY(3, true, key), &e);
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		pool_evict(n->pool, &(struct vault_id){ c[i].account, SERVICE_PROFILE });
	CHECK_OK(KEY(0, false, key), &e);
	CHECK_BYTES(key, first, sizeof(key));
	CHECK(KEY(1, false, key) < 0 && e.kind == ERR_BUSY);

	access_forget(n->access, &c[0].account);
	CHECK(KEY(0, false, key) < 0 && e.kind == ERR_BUSY);
	CHECK_OK(KEY(3, false, key), &e);
	run_in_profile(n, &c[0].account, "UPDATE credential SET is_revoked=1 WHERE key_id=?1",
	    c[0].access_key);
	CHECK(KEY(0, true, key) < 0 && e.kind == ERR_MISSING);
	CHECK(KEY(0, true, key) < 0 && e.kind == ERR_MISSING);
	c[1].access_key[36] ^= 1;
	CHECK(KEY(1, true, key) < 0 && e.kind == ERR_MISSING);
	memcpy(c[2].access_key + 2, "00000000000000000000000000000000", 32);
	CHECK(KEY(2, true, key) < 0 && e.kind == ERR_MISSING);
}

/* --- policy --- */

static bool
is_listed(void *arg, const char *region)
{
	return strstr(arg, region) != NULL;
}

static void
policy_picks_the_first_region_that_exists(void **state)
{
	static const char text[] =
	    "[policy IN]\nregions = in-mum, sg\ntransit = redirect\n"
	    "[policy CN]\nregions = cn-bj\n[policy *]\nregions = us-va ,sg\n";
	struct region *r = *state;
	struct policy *p = r->node.policy;
	char home[REGION_NAME_SIZE], all[] = "cn-bj sg in-mum us-va", two[] = "cn-bj sg";
	struct err e = { 0 };

	region_policy(r, text);
	CHECK_OK(policy_home(p, "IN", is_listed, all, home, &e), &e);
	CHECK_STR(home, "in-mum");
	CHECK_OK(policy_home(p, "IN", is_listed, two, home, &e), &e);
	CHECK_STR(home, "sg");
	CHECK_OK(policy_home(p, "DE", is_listed, all, home, &e), &e);
	CHECK_STR(home, "us-va");
	CHECK(
	    policy_home(p, "IN", is_listed, (char[]){ "x" }, home, &e) < 0 && e.kind == ERR_DENIED);
	CHECK_OK(policy_allows(p, "IN", "sg", &e), &e);
	CHECK(policy_allows(p, "IN", "cn-bj", &e) < 0 && e.kind == ERR_DENIED);
	CHECK_STR(e.text, "accounts of IN may not live in cn-bj, only in in-mum or sg");
	CHECK(policy_allows(p, "CN", "sg", &e) < 0 && e.kind == ERR_DENIED);
	CHECK(policy_transit(p, "IN") == TRANSIT_REDIRECT);
	CHECK(policy_transit(p, "CN") == TRANSIT_PROXY);

	/* Replaced as a whole. */
	region_policy(r, "[policy CN]\nregions = cn-bj\n");
	CHECK(policy_allows(p, "IN", "sg", &e) < 0 && e.kind == ERR_DENIED);
	CHECK(policy_transit(p, "IN") == TRANSIT_PROXY);
}

static void
a_wrong_policy_changes_nothing(void **state)
{
	static const char *const wrong[] = {
		"[policy in]\nregions = sg\n",
		"[policy IND]\nregions = sg\n",
		"[policy IN]\n",
		"[policy IN]\nregions = \n",
		"[policy IN]\nregions = sg,,cn\n",
		"[policy IN]\nregions = Sg\n",
		"[policy IN]\nregions = sg\ntransit = tunnel\n",
		"[policy IN]\nregions = abcdefghijklmnopqrstuvwxyz-0123456789\n",
	};
	struct region *r = *state;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct err e = { 0 };
		struct conf *c = conf_parse(wrong[i], "regions", &e);

		if (c && policy_load(r->node.policy, c, &e) == 0)
			fail_msg("taken: %s", wrong[i]);
		CHECK(e.kind == ERR_BAD);
		conf_free(c);
		CHECK_OK(policy_allows(r->node.policy, "IN", "in-mum", &e), &e);
	}
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, region_setup, region_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(access_keys_name_accounts),
		TEST(signing_keys_are_those_of_the_published_example),
		TEST(access_is_remembered_until_it_is_forgotten),
		TEST(policy_picks_the_first_region_that_exists),
		TEST(a_wrong_policy_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
