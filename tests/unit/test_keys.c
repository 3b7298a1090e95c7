/* Several access keys an account: what they are limited to, how long they work, and that a revoked one is dead. */
#include "clock.h"
#include "service_fixture.h"

#include "service/accounts_internal.h"
#include "service/gate.h"

static int
setup(void **state)
{
	clock_ahead_ms = 0;
	return region_setup(state);
}

/* A call; takes over what is put into IN besides the account. */
static json_t *
call(struct region *r, const char *op, const struct account_id *id, json_t *in, struct err *e)
{
	char text[ACCOUNT_TEXT_SIZE];
	json_t *out = NULL;

	account_text(id, text);
	in = in ? in : json_object();
	json_object_set_new(in, "account", json_string(text));
	e->kind = ERR_NONE;
	if (accounts_key(&r->node, op, in, &out, e) < 0)
		CHECK(e->kind != ERR_NONE && !out);
	json_decref(in);
	return out;
}

static void
make(struct region *r, const struct account_id *id, json_t *in, char access_key[static 48])
{
	struct err e;
	json_t *made = call(r, "create", id, in, &e);

	if (!made)
		fail_msg("%s", e.text);
	snprintf(access_key, 48, "%s", json_string_value(json_object_get(made, "access_key")));
	CHECK(strlen(json_string_value(json_object_get(made, "secret_key"))) == ACCOUNT_SECRET_LEN);
	json_decref(made);
}

static bool
has_expected(struct region *r, const struct account_id *id, size_t n)
{
	struct err e;
	json_t *out = call(r, "list", id, NULL, &e);
	bool same = json_array_size(json_object_get(out, "keys")) == n;

	json_decref(out);
	return same;
}

static int
use(struct region *r, const char *access_key, struct key_scope *scope, struct err *e)
{
	uint8_t key[SHA256_BYTES];

	return access_signing_key(
	    r->node.access, access_key, "20310409", "x", "s3", true, key, scope, e);
}

static void
revoke_key(struct region *r, const struct account_id *id, const char *access_key)
{
	struct err e;
	json_t *out = call(r, "revoke", id, json_pack("{s:s}", "access_key", access_key), &e);

	if (!out)
		fail_msg("%s", e.text);
	json_decref(out);
}

static void
a_key_has_the_limits_that_it_was_made_with(void **state)
{
	struct region *r = *state;
	struct account_credentials c;
	struct key_scope s;
	char key[48];
	struct err e;
	json_t *out, *one;

	region_account(r, ALL_SERVICES, &c);
	CHECK_OK(use(r, c.access_key, &s, &e), &e);
	CHECK(!key_scope_is_limited(&s) && !s.expires_ms);
	make(r, &c.account,
	    json_pack("{s:b, s:s, s:s, s:s, s:I}", "read_only", 1, "services", "files", "bucket",
	        "photos", "prefix", "2031/", "expires_ms", (json_int_t)host_wall_ms() + 60000),
	    key);
	for (int i = 0; i < 2; i++) { /* read, and remembered */
		CHECK_OK(use(r, key, &s, &e), &e);
		CHECK(s.is_read_only && s.services == BIT(SERVICE_FILES) && s.expires_ms);
		CHECK_STR(s.bucket, "photos");
		CHECK_STR(s.prefix, "2031/");
	}
	CHECK_OK(use(r, c.access_key, &s, &e), &e);
	CHECK(!key_scope_is_limited(&s) && !s.bucket[0]);

	out = call(r, "list", &c.account, NULL, &e);
	CHECK(json_array_size(json_object_get(out, "keys")) == 2);
	one = json_array_get(json_object_get(out, "keys"), 1);
	CHECK_STR(json_string_value(json_object_get(one, "access_key")), key);
	CHECK_STR(json_string_value(json_object_get(one, "prefix")), "2031/");
	CHECK(!json_object_get(one, "secret_key") && !json_object_get(one, "secret"));
	json_decref(out);
}

/* Another region's operator sees that there is a limit, and no name. */
static void
names_stay_in_the_region(void **state)
{
	struct region *r = *state;
	struct account_credentials c;
	char key[48], id[ACCOUNT_TEXT_SIZE], *text;
	struct err e;
	json_t *in, *out = NULL;

	region_account(r, ALL_SERVICES, &c);
	make(r, &c.account, json_pack("{s:s, s:s}", "bucket", "photos", "prefix", "holiday"), key);
	account_text(&c.account, id);
	in = json_pack("{s:s}", "account", id);
	CHECK_OK(accounts_serve(&r->node, "sg", "key/list", in, &out, &e), &e);
	text = json_dumps(out, 0);
	CHECK(strstr(text, "limited_to") && !strstr(text, "photos") && !strstr(text, "holiday"));
	free(text);
	json_decref(in);
	json_decref(out);
}

static void
a_revoked_key_is_dead_at_once_and_its_id_never_comes_back(void **state)
{
	struct region *r = *state;
	struct account_credentials c;
	struct key_scope s;
	char key[48];
	struct err e;

	region_account(r, ALL_SERVICES, &c);
	make(r, &c.account, NULL, key);
	CHECK(strcmp(key, c.access_key) != 0);
	CHECK_OK(use(r, key, &s, &e), &e);
	revoke_key(r, &c.account, key);
	CHECK(use(r, key, &s, &e) < 0 && e.kind == ERR_MISSING);
	CHECK_OK(use(r, c.access_key, &s, &e), &e);
	CHECK(has_expected(r, &c.account, 1));
	CHECK(!call(r, "revoke", &c.account, json_pack("{s:s}", "access_key", key), &e));
	CHECK(e.kind == ERR_MISSING);

	/* The last one too; and the operator can make another. */
	revoke_key(r, &c.account, c.access_key);
	CHECK(use(r, c.access_key, &s, &e) < 0 && e.kind == ERR_MISSING);
	CHECK(has_expected(r, &c.account, 0));
	make(r, &c.account, NULL, key);
	CHECK_OK(use(r, key, &s, &e), &e);
}

/* Every id but one is used up: that one is found, and then there is none. */
static void
ids_are_never_used_again(void **state)
{
	struct region *r = *state;
	struct account_credentials c;
	struct vault_id id;
	struct vault *v;
	uint64_t ticket;
	char key[48], left[48];
	struct err e;

	region_account(r, 0, &c);
	id = (struct vault_id){ .account = c.account, .service = SERVICE_PROFILE };
	v = pool_take(r->node.pool, &id, true, &e);
	CHECK_OK(vault_begin(v, &e), &e);
	account_key_text(&c.account, 4242, left, sizeof(left));
	for (unsigned i = 0; i < ACCOUNT_KEYS; i++) {
		struct query *q = vault_query(v,
		    "INSERT OR IGNORE INTO credential(key_id,secret,created_ms,is_revoked)"
		    " VALUES(?1,'',0,1)");

		account_key_text(&c.account, i, key, sizeof(key));
		if (i == 4242)
			continue;
		query_text(q, 1, key, strlen(key));
		CHECK_OK(query_run(q, &e), &e);
	}
	CHECK_OK(vault_commit(v, &ticket, &e), &e);
	pool_give(v);
	if (strcmp(left, c.access_key) != 0) {
		make(r, &c.account, NULL, key);
		CHECK_STR(key, left);
	}
	CHECK(!call(r, "create", &c.account, NULL, &e) && e.kind == ERR_TOO_BIG);
}

static void
there_is_a_ceiling_of_keys(void **state)
{
	struct region *r = *state;
	struct account_credentials c;
	char key[48];
	struct err e;

	region_account(r, 0, &c);
	for (int i = 1; i < 100; i++)
		make(r, &c.account, NULL, key);
	CHECK(!call(r, "create", &c.account, NULL, &e) && e.kind == ERR_TOO_BIG);
	revoke_key(r, &c.account, key);
	make(r, &c.account, NULL, key);
	CHECK(has_expected(r, &c.account, 100));
}

static void
an_expired_key_is_refused_and_listed(void **state)
{
	struct region *r = *state;
	struct account_credentials c;
	struct key_scope s;
	char key[48];
	struct err e;
	json_t *out;

	region_account(r, ALL_SERVICES, &c);
	make(r, &c.account, json_pack("{s:I}", "expires_ms", (json_int_t)clock_wall_ms() + 60000),
	    key);
	CHECK_OK(use(r, key, &s, &e), &e);
	CHECK(!key_scope_is_limited(&s) && s.expires_ms);
	clock_ahead_ms = 61000;
	CHECK(use(r, key, &s, &e) < 0 && e.kind == ERR_DENIED);
	access_forget(r->node.access, &c.account);
	CHECK(use(r, key, &s, &e) < 0 && e.kind == ERR_DENIED);
	out = call(r, "list", &c.account, NULL, &e);
	CHECK(json_is_true(
	    json_object_get(json_array_get(json_object_get(out, "keys"), 1), "expired")));
	json_decref(out);
}

/* Someone has the keys of an account: the operator suspends it, takes them back, and lets it work again. */
static void
a_suspended_account_can_have_its_keys_revoked(void **state)
{
	struct region *r = *state;
	struct account_credentials c;
	struct gate_pass pass;
	enum gate_answer answer;
	struct key_scope s;
	char key[48];
	struct err e;

	region_account(r, ALL_SERVICES, &c);
	CHECK_OK(accounts_suspend(&r->node, &c.account, true, &e), &e);
	make(r, &c.account, NULL, key);
	revoke_key(r, &c.account, c.access_key);
	CHECK_OK(gate_enter(&r->node, &c.account, GATE_WRITE, &answer, &pass, &e), &e);
	CHECK(answer == GATE_SUSPENDED);
	CHECK_OK(accounts_suspend(&r->node, &c.account, false, &e), &e);
	CHECK(use(r, c.access_key, &s, &e) < 0);
	CHECK_OK(use(r, key, &s, &e), &e);
}

/* A fence waits for a change of keys as for any write, and one that comes later waits for the move. */
static void
keys_change_within_the_gate_only(void **state)
{
	struct region *r = *state;
	struct account_credentials c;
	struct home home;
	char key[48];
	struct err e;

	region_account(r, ALL_SERVICES, &c);
	CHECK(homes_get(r->node.homes, &c.account, &home, &e) == 1);
	home.state = HOME_FENCED;
	snprintf(home.peer, sizeof(home.peer), "sg");
	CHECK_OK(homes_fence(r->node.homes, &home, 1, NULL, 1000, &e), &e);
	CHECK(!call(r, "create", &c.account, NULL, &e) && e.kind == ERR_TIMEOUT);
	CHECK(!call(r, "revoke", &c.account, json_pack("{s:s}", "access_key", c.access_key), &e));
	CHECK(e.kind == ERR_TIMEOUT);
	home.state = HOME_HERE;
	home.attempt++;
	CHECK_OK(homes_set(r->node.homes, &home, 1, NULL, &e), &e);
	CHECK(has_expected(r, &c.account, 1));
	make(r, &c.account, NULL, key);
}

static void
what_can_not_be_a_key_is_refused(void **state)
{
	static const struct {
		const char *op, *in;
		enum err_kind kind;
	} cases[] = {
		{ "nonsense", "{}", ERR_MISSING },
		{ "create", "{\"x\":1}", ERR_BAD },
		{ "create", "{\"expires_ms\":1}", ERR_BAD },
		{ "create", "{\"expires_ms\":-1}", ERR_BAD },
		{ "create", "{\"read_only\":1}", ERR_BAD },
		{ "create", "{\"services\":\"x\"}", ERR_BAD },
		{ "create", "{\"bucket\":\"\"}", ERR_BAD },
		{ "create", "{\"bucket\":\"A\"}", ERR_BAD },
		{ "create", "{\"prefix\":\"a\"}", ERR_BAD },
		{ "create", "{\"bucket\":\"backup\",\"services\":\"files\"}", ERR_BAD },
		{ "create", "{\"bucket\":\"abc\",\"prefix\":\"\"}", ERR_BAD },
		{ "list", "{\"x\":1}", ERR_BAD },
		{ "revoke", "{}", ERR_BAD },
		{ "revoke", "{\"access_key\":\"\"}", ERR_MISSING },
		{ "revoke", "{\"access_key\":\"DM000000000000000000000000000000000000\"}",
		    ERR_MISSING },
	};
	struct region *r = *state;
	struct account_credentials c;
	struct account_id nobody;
	struct err e;

	region_account(r, ALL_SERVICES, &c);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CHECK(!call(r, cases[i].op, &c.account, json_loads(cases[i].in, 0, NULL), &e));
		if (e.kind != cases[i].kind)
			fail_msg("%s %s: %s", cases[i].op, cases[i].in, e.text);
	}
	account_random(&nobody);
	CHECK(!call(r, "create", &nobody, NULL, &e) && e.kind == ERR_MISSING);
	CHECK(has_expected(r, &c.account, 1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, region_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_key_has_the_limits_that_it_was_made_with),
		TEST(names_stay_in_the_region),
		TEST(a_revoked_key_is_dead_at_once_and_its_id_never_comes_back),
		TEST(ids_are_never_used_again),
		TEST(there_is_a_ceiling_of_keys),
		TEST(an_expired_key_is_refused_and_listed),
		TEST(a_suspended_account_can_have_its_keys_revoked),
		TEST(keys_change_within_the_gate_only),
		TEST(what_can_not_be_a_key_is_refused),
	};

	host_replace(&clock_ahead);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
