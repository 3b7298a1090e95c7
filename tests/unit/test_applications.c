/* Application keys: what they were granted for, and that a revoked one is dead, also after a start and
 * a rotation. */
#include "clock.h"
#include "service_fixture.h"

#include "service/accounts_internal.h"
#include "service/applications_internal.h"
#include "vault/region.h"

struct bench {
	struct region region;
	struct applications *apps;
};

static void
apps_open(struct bench *b)
{
	struct err e = { 0 };

	b->apps = applications_open(&b->region.node, &e);
	if (!b->apps)
		fail_msg("%s", e.text);
	b->region.node.applications = b->apps;
}

static void
apps_restart(struct bench *b)
{
	applications_close(b->apps);
	apps_open(b);
}

static int
setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	clock_ahead_ms = 0;
	region_open(&b->region, false);
	apps_open(b);
	*state = b;
	return 0;
}

static int
teardown(void **state)
{
	struct bench *b = *state;

	applications_close(b->apps);
	region_close(&b->region);
	free(b);
	return 0;
}

static struct application_grant
grant(void)
{
	return (struct application_grant){
		.name = "mail",
		.services = BIT(SERVICE_FILES),
		.countries = "IN,ID",
		.is_read_only = true,
		.expires_ms = host_wall_ms() + 60000,
	};
}

static void
make(struct bench *b, char key[static APPLICATION_KEY_SIZE],
    char secret[static APPLICATION_SECRET_SIZE])
{
	struct application_grant g = grant();
	struct err e = { 0 };

	key[0] = secret[0] = '\0';
	CHECK_OK(applications_create(b->apps, &g, key, secret, &e), &e);
	CHECK(application_key(key) && strlen(secret) == APPLICATION_SECRET_SIZE - 1);
}

static int
use(struct bench *b, const char *key, uint8_t out[static SHA256_BYTES], struct application_grant *g,
    struct err *e)
{
	return application_signing_key(b->apps, key, "20310409", "x", "s3", out, g, e);
}

/* The same by the book, from the secret as it was shown. */
static void
sign_by_hand(const char *secret, uint8_t key[static SHA256_BYTES])
{
	char first[64];

	snprintf(first, sizeof(first), "AWS4%s", secret);
	hmac_sha256(first, strlen(first), "20310409", 8, key);
	hmac_sha256(key, SHA256_BYTES, "x", 1, key);
	hmac_sha256(key, SHA256_BYTES, "s3", 2, key);
	hmac_sha256(key, SHA256_BYTES, "aws4_request", 12, key);
}

static void
check_works(struct bench *b, const char *key, const char *secret)
{
	uint8_t is[SHA256_BYTES], should[SHA256_BYTES];
	struct application_grant g;
	struct err e = { 0 };

	sign_by_hand(secret, should);
	for (int i = 0; i < 2; i++) {
		CHECK_OK(use(b, key, is, &g, &e), &e);
		CHECK_BYTES(is, should, sizeof(is));
	}
	CHECK(g.is_read_only && g.services == BIT(SERVICE_FILES));
	CHECK_STR(g.countries, "IN,ID");
}

static void
check_dead(struct bench *b, const char *key, enum err_kind kind)
{
	uint8_t out[SHA256_BYTES];
	struct application_grant g;
	struct err e = { 0 };

	CHECK(use(b, key, out, &g, &e) < 0 && e.kind == kind);
}

static void
a_key_is_what_it_was_granted_for_also_after_a_start(void **state)
{
	struct bench *b = *state;
	char key[APPLICATION_KEY_SIZE], secret[APPLICATION_SECRET_SIZE];
	struct account_credentials c;
	struct err e = { 0 };
	json_t *list;
	char *text;

	make(b, key, secret);
	check_works(b, key, secret);
	apps_restart(b);
	check_works(b, key, secret);
	region_account(&b->region, BIT(SERVICE_FILES), &c);
	application_used(b->apps, key, &c.account);
	CHECK_OK(applications_list(b->apps, &list, &e), &e);
	text = json_dumps(list, 0);
	CHECK(strstr(text, key) && strstr(text, "mail") && !strstr(text, secret));
	CHECK(json_integer_value(json_object_get(json_array_get(list, 0), "uses")) == 1);
	free(text);
	json_decref(list);
}

/* What lies in the store does not have it. */
static int
look_for(void *arg, struct span key, struct span value, struct err *e)
{
	const char *secret = arg;

	(void)key, (void)e;
	CHECK(value.len && !memmem(value.data, value.len, secret, strlen(secret)));
	return 0;
}

static void
the_secret_is_stored_wrapped_and_not_after_it_was_revoked(void **state)
{
	struct bench *b = *state;
	char key[APPLICATION_KEY_SIZE], secret[APPLICATION_SECRET_SIZE];
	_cleanup_buf_ struct buf before = BUF_INIT(4096), after = BUF_INIT(4096);
	uint8_t id[ACCOUNT_ID_BYTES];
	struct err e = { 0 };
	json_t *out;

	make(b, key, secret);
	CHECK(hex_parse(key + 2, id, sizeof(id)));
	CHECK_OK(region_scan(b->region.node.engine, REGION_APPLICATION, look_for, secret, &e), &e);
	CHECK(region_get(b->region.node.engine, REGION_APPLICATION, id, sizeof(id), &before, &e) ==
	    1);
	CHECK_OK(applications_revoke(b->apps, key, &out, &e), &e);
	json_decref(out);
	CHECK(
	    region_get(b->region.node.engine, REGION_APPLICATION, id, sizeof(id), &after, &e) == 1);
	CHECK(strstr(buf_str(&after), "\"secret\":\"\"") &&
	    !strstr(buf_str(&before), "\"secret\":\"\""));
}

static void
a_revoked_key_is_dead_for_good(void **state)
{
	struct bench *b = *state;
	char key[APPLICATION_KEY_SIZE], secret[APPLICATION_SECRET_SIZE];
	struct application_grant g = grant();
	struct err e = { 0 };
	json_t *out;

	make(b, key, secret);
	CHECK_OK(applications_revoke(b->apps, key, &out, &e), &e);
	json_decref(out);
	check_dead(b, key, ERR_MISSING);
	apps_restart(b);
	check_dead(b, key, ERR_MISSING);
	CHECK(applications_create(b->apps, &g, key, secret, &e) < 0 && e.kind == ERR_EXISTS);
	CHECK_OK(applications_revoke(b->apps, key, &out, &e), &e); /* again is fine */
	json_decref(out);
	key[5] = key[5] == 'A' ? 'B' : 'A';
	CHECK(applications_revoke(b->apps, key, &out, &e) < 0 && e.kind == ERR_MISSING);
	CHECK(applications_revoke(b->apps, "x", &out, &e) < 0 && e.kind == ERR_BAD);
}

static void
a_key_of_another_region_is_the_same_here(void **state)
{
	struct bench *b = *state, *other;
	char key[APPLICATION_KEY_SIZE], secret[APPLICATION_SECRET_SIZE], last;
	struct application_grant g = grant();
	void *second;
	struct err e = { 0 };

	setup(&second);
	other = second;
	make(b, key, secret);
	check_dead(other, key, ERR_MISSING);
	last = secret[42];
	secret[42] = '~';
	CHECK(applications_create(other->apps, &g, key, secret, &e) < 0 && e.kind == ERR_BAD);
	secret[42] = '\0';
	CHECK(applications_create(other->apps, &g, key, secret, &e) < 0 && e.kind == ERR_BAD);
	secret[42] = last;
	CHECK_OK(applications_create(other->apps, &g, key, secret, &e), &e);
	check_works(other, key, secret);
	CHECK(applications_create(other->apps, &g, key, secret, &e) < 0 && e.kind == ERR_EXISTS);
	teardown(&second);
}

static void
a_key_ends(void **state)
{
	struct bench *b = *state;
	char key[APPLICATION_KEY_SIZE], secret[APPLICATION_SECRET_SIZE];

	make(b, key, secret);
	check_works(b, key, secret);
	clock_ahead_ms = 61000;
	check_dead(b, key, ERR_DENIED);
}

static void
a_key_that_is_over_may_be_removed(void **state)
{
	struct bench *b = *state;
	char keys[3][APPLICATION_KEY_SIZE], secrets[3][APPLICATION_SECRET_SIZE];
	struct application_grant g = grant();
	struct err e = { 0 };
	json_t *out;

	for (unsigned i = 0; i < 3; i++) {
		keys[i][0] = secrets[i][0] = '\0';
		g.expires_ms = host_wall_ms() + (i == 1 ? 60000 : 100 * APPLICATION_KEPT_MS);
		CHECK_OK(applications_create(b->apps, &g, keys[i], secrets[i], &e), &e);
	}
	CHECK_OK(applications_revoke(b->apps, keys[0], &out, &e), &e);
	json_decref(out);
	for (unsigned i = 0; i < 3; i++)
		CHECK(applications_remove(b->apps, keys[i], &e) < 0 && e.kind == ERR_STALE);
	clock_ahead_ms = 61000;
	CHECK_OK(applications_remove(b->apps, keys[1], &e), &e);
	CHECK(applications_remove(b->apps, keys[1], &e) < 0 && e.kind == ERR_MISSING);
	CHECK(applications_remove(b->apps, keys[0], &e) < 0 && e.kind == ERR_STALE);
	clock_ahead_ms = APPLICATION_KEPT_MS;
	CHECK_OK(applications_remove(b->apps, keys[0], &e), &e);
	for (unsigned round = 0; round < 2; round++) {
		check_dead(b, keys[0], ERR_MISSING);
		check_dead(b, keys[1], ERR_MISSING);
		check_works(b, keys[2], secrets[2]);
		CHECK_OK(applications_list(b->apps, &out, &e), &e);
		CHECK(json_array_size(out) == 1);
		json_decref(out);
		apps_restart(b);
	}
}

static void
a_rotated_region_key_opens_them_and_the_old_one_is_not_needed(void **state)
{
	struct bench *b = *state;
	struct node *n = &b->region.node;
	char key[3][APPLICATION_KEY_SIZE], secret[3][APPLICATION_SECRET_SIZE];
	uint64_t changed = 0;
	struct err e = { 0 };
	json_t *out;

	for (int i = 0; i < 3; i++)
		make(b, key[i], secret[i]);
	CHECK_OK(applications_revoke(b->apps, key[2], &out, &e), &e);
	json_decref(out);
	CHECK_OK(keys_add(n->keys, keys_generation(n->keys) + 1, &e), &e);
	CHECK_OK(applications_rewrap(b->apps, &changed, &e), &e);
	CHECK(changed == 2);
	CHECK_OK(applications_rewrap(b->apps, &changed, &e), &e);
	CHECK(changed == 2);
	CHECK_OK(keys_destroy_old(n->keys, &e), &e);
	apps_restart(b);
	for (int i = 0; i < 2; i++)
		check_works(b, key[i], secret[i]);
	check_dead(b, key[2], ERR_MISSING);
}

static void
what_can_not_be_granted_is_refused(void **state)
{
	struct bench *b = *state;
	static const char *const countries[] = { "I", "IN,", "in", "IN ID", "IN,IDN", ",IN" };
	char key[APPLICATION_KEY_SIZE] = "", secret[APPLICATION_SECRET_SIZE] = "";
	struct application_grant g;
	struct err e = { 0 };

#define REFUSED(change) \
	do { \
		g = grant(); \
		change; \
		CHECK(applications_create(b->apps, &g, key, secret, &e) < 0 && e.kind == ERR_BAD); \
	} while (0)
	REFUSED(g.name[0] = '\0');
	REFUSED(g.services = 0);
	REFUSED(g.services = BIT(SERVICE_PROFILE));
	REFUSED(g.expires_ms = 0);
	for (size_t i = 0; i < ARRAY_LEN(countries); i++)
		REFUSED(snprintf(g.countries, sizeof(g.countries), "%s", countries[i]));
	g = grant();
	CHECK(application_has_country(&g, "IN") && application_has_country(&g, "ID"));
	CHECK(!application_has_country(&g, "DE") && !application_has_country(&g, ""));
	g.countries[0] = '\0';
	CHECK(application_has_country(&g, "DE"));
	CHECK(!application_key("DA0123") && !application_key(""));
	CHECK(!application_key("DM0123456789ABCDEF0123456789ABCDEF"));
	CHECK(application_key("DA0123456789ABCDEF0123456789ABCDEF"));
	CHECK(!application_key("DA0123456789abcdef0123456789ABCDEF"));
}

static void
peers_revoke_and_ask(void **state)
{
	struct bench *b = *state;
	struct node *n = &b->region.node;
	char key[APPLICATION_KEY_SIZE], secret[APPLICATION_SECRET_SIZE];
	struct err e = { 0 };
	json_t *in = json_object(), *out = NULL;

	make(b, key, secret);
	CHECK_OK(applications_serve(n, "sg", "revoked", in, &out, &e), &e);
	CHECK(!json_array_size(json_object_get(out, "keys")));
	json_decref(out);
	CHECK(applications_serve(n, "sg", "revoke", in, &out, &e) < 0 && e.kind == ERR_BAD);
	CHECK(applications_serve(n, "sg", "keys", in, &out, &e) < 0 && e.kind == ERR_MISSING);
	json_object_set_new(in, "key", json_string("../../x"));
	CHECK(applications_serve(n, "sg", "revoke", in, &out, &e) < 0 && e.kind == ERR_BAD);
	json_object_set_new(in, "key", json_string(key));
	CHECK_OK(applications_serve(n, "sg", "revoke", in, &out, &e), &e);
	CHECK(json_is_true(json_object_get(out, "known")));
	json_decref(out);
	check_dead(b, key, ERR_MISSING);
	json_object_clear(in);
	CHECK_OK(applications_serve(n, "sg", "revoked", in, &out, &e), &e);
	CHECK_STR(json_string_value(json_array_get(json_object_get(out, "keys"), 0)), key);
	json_decref(out);
	json_decref(in);
}

/* Of KEY for the account, once it is there; 0: none within 5 s. */
static uint64_t
last_used(struct bench *b, const struct account_id *id, const char *key)
{
	struct err e = { 0 };
	uint64_t found = 0;

	for (int i = 0; !found && i < 3000; i++) {
		json_t *shown = NULL, *one;
		size_t at;

		CHECK_OK(accounts_show_here(&b->region.node, id, &shown, &e), &e);
		json_array_foreach(json_object_get(shown, "applications"), at,
		    one) if (!strcmp(json_string_value(json_object_get(one, "key")), key))
		    found = (uint64_t)json_integer_value(json_object_get(one, "last_used_ms"));
		json_decref(shown);
		if (!found)
			usleep(10000);
	}
	return found;
}

static uint64_t
version_of(struct bench *b, const struct account_id *id)
{
	const struct vault_id profile = { .account = *id, .service = SERVICE_PROFILE };
	struct err e = { 0 };
	struct vault *v = pool_take(b->region.node.pool, &profile, true, &e);
	uint64_t version;

	CHECK(v);
	version = vault_version(v);
	pool_give(v);
	return version;
}

static void
an_account_is_told_of_its_applications_and_written_to_once_an_hour(void **state)
{
	struct bench *b = *state;
	char key[2][APPLICATION_KEY_SIZE], secret[APPLICATION_SECRET_SIZE];
	struct account_credentials c[2];
	uint64_t first, version;

	for (int i = 0; i < 2; i++) {
		make(b, key[i], secret);
		region_account(&b->region, BIT(SERVICE_FILES), &c[i]);
	}
	application_used(b->apps, key[0], &c[0].account);
	first = last_used(b, &c[0].account, key[0]);
	CHECK(first && first <= clock_wall_ms());
	version = version_of(b, &c[0].account);
	clock_ahead_ms = 50 * 60000;
	for (int i = 0; i < 100; i++)
		application_used(b->apps, key[0], &c[0].account);
	application_used(b->apps, key[1], &c[1].account);
	CHECK(last_used(b, &c[1].account, key[1])); /* so the thread has been round */
	CHECK(last_used(b, &c[0].account, key[0]) == first);
	CHECK(version_of(b, &c[0].account) == version);
	clock_ahead_ms = 61 * 60000;
	application_used(b->apps, key[0], &c[0].account);
	for (int i = 0; i < 3000 && last_used(b, &c[0].account, key[0]) == first; i++)
		usleep(10000);
	CHECK(last_used(b, &c[0].account, key[0]) > first);
}

/* What an account that leaves had in memory goes with it, and a use that could not be written comes later. */
static void
a_use_that_could_not_be_written_is_written_after_the_next(void **state)
{
	struct bench *b = *state;
	char key[APPLICATION_KEY_SIZE], secret[APPLICATION_SECRET_SIZE];
	struct account_credentials c;
	struct err e = { 0 };
	bool is_due = true;

	make(b, key, secret);
	region_account(&b->region, BIT(SERVICE_FILES), &c);
	CHECK_OK(accounts_suspend(&b->region.node, &c.account, true, &e), &e);
	application_used(b->apps, key, &c.account);
	for (int i = 0; is_due && i < 3000; i++) {
		usleep(10000);
		pthread_mutex_lock(&b->apps->lock);
		is_due = application_is_due(b->apps->notes);
		pthread_mutex_unlock(&b->apps->lock);
	}
	CHECK(!is_due);
	CHECK_OK(accounts_suspend(&b->region.node, &c.account, false, &e), &e);
	applications_forget(b->apps, &c.account);
	application_used(b->apps, key, &c.account);
	CHECK(last_used(b, &c.account, key));
}

/* A record that a disk has spoilt costs that key, and not the region. */
static void
a_damaged_record_is_left_out(void **state)
{
	static const char *const bad[] = { "", "{", "[]", "{\"name\":\"x\"}",
		"{\"name\":\"x\",\"services\":2,\"countries\":\"\",\"read_only\":false,\"created_ms\":1,"
		"\"expires_ms\":99999999999999,\"revoked_ms\":0,\"secret\":\"00\"}" };
	struct bench *b = *state;
	char key[APPLICATION_KEY_SIZE], secret[APPLICATION_SECRET_SIZE];
	struct err e = { 0 };
	json_t *list;

	make(b, key, secret);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct region_batch *batch = region_batch(&e);
		uint8_t id[ACCOUNT_ID_BYTES] = { (uint8_t)i };

		region_put(
		    batch, REGION_APPLICATION, id, i ? sizeof(id) : 3, bad[i], strlen(bad[i]));
		CHECK_OK(
		    region_apply(b->region.node.engine, b->region.node.flusher, batch, &e), &e);
		region_batch_free(batch);
	}
	apps_restart(b);
	check_works(b, key, secret);
	CHECK_OK(applications_list(b->apps, &list, &e), &e);
	CHECK(json_array_size(list) == 1);
	json_decref(list);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_key_is_what_it_was_granted_for_also_after_a_start),
		TEST(the_secret_is_stored_wrapped_and_not_after_it_was_revoked),
		TEST(a_revoked_key_is_dead_for_good),
		TEST(a_key_of_another_region_is_the_same_here),
		TEST(a_key_ends),
		TEST(a_key_that_is_over_may_be_removed),
		TEST(a_rotated_region_key_opens_them_and_the_old_one_is_not_needed),
		TEST(what_can_not_be_granted_is_refused),
		TEST(peers_revoke_and_ask),
		TEST(an_account_is_told_of_its_applications_and_written_to_once_an_hour),
		TEST(a_use_that_could_not_be_written_is_written_after_the_next),
		TEST(a_damaged_record_is_left_out),
	};

	host_replace(&clock_ahead);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
