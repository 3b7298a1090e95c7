/* test_files_usage.c - what a vault says it holds is what its rows hold, after whatever changes. */
#include "service_fixture.h"

#include "service/files_refs.h"
#include "vault/pool.h"

#define KEYS    5
#define BIG     (5u << 20) /* of a part that is not the last */
#define CHANGES 400

static struct region r;
static struct files f;
static uint8_t *bytes;
static uint64_t random_state;

static unsigned
any(unsigned n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)(random_state % n);
}

static int
setup(void **state)
{
	struct err e = { 0 };

	(void)state;
	region_open(&r, false);
	f = region_account(&r, ALL_SERVICES, NULL);
	CHECK_OK(files_bucket_create(&f, "plain", &e), &e);
	CHECK_OK(files_bucket_create(&f, "kept", &e), &e);
	CHECK_OK(files_versioning_set(&f, "kept", VERSIONING_ON, &e), &e);
	bytes = noise(2 * BIG, 1);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	free(bytes);
	region_close(&r);
	return 0;
}

static bool
holds(uint64_t objects, uint64_t size)
{
	struct vault_id id = { .account = f.account, .service = SERVICE_FILES };
	struct vault *v = store_take(&r.store, &id);
	struct files_usage usage;
	struct err e = { 0 };

	CHECK_OK(files_usage_check(v, NULL, &e), &e);
	pool_give(v);
	CHECK_OK(files_usage(&f, SERVICE_FILES, &usage, &e), &e);
	if (usage.objects == objects && usage.bytes == size)
		return true;
	print_error("%llu objects, %llu bytes\n", (unsigned long long)usage.objects,
	    (unsigned long long)usage.bytes);
	return false;
}

static void
begin(const char *bucket, const char *key, char id[static 33])
{
	struct err e = { 0 };

	CHECK_OK(multipart_begin(&f, bucket, key, NULL, NULL, id, NULL, &e), &e);
}

static struct part_info
part(const char *bucket, const char *key, const char *id, unsigned number, size_t n)
{
	_cleanup_(upload_closep) struct upload *u = NULL;
	struct object_info out;
	struct err e = { 0 };
	struct part_info p = { .number = number };

	u = upload_begin(&f, bucket, &e);
	CHECK(u);
	CHECK_OK(upload_add(u, bytes, n, &e), &e);
	CHECK_OK(upload_settle(u, &e), &e);
	CHECK_OK(upload_part(u, &f, key, id, number, &out, &e), &e);
	memcpy(p.etag, out.etag, sizeof(p.etag));
	return p;
}

static void
complete(const char *bucket, const char *key, const char *id, const struct part_info *p, size_t n)
{
	struct object_info out;
	struct err e = { 0 };
	const char *reason;

	CHECK_OK(multipart_complete(&f, bucket, key, id, p, n, NULL, NULL, &out, &reason, &e), &e);
}

/* --- by hand --- */

static void
an_overwrite_frees_what_it_replaces_and_a_version_does_not(void **state)
{
	struct err e = { 0 };

	(void)state;
	CHECK(holds(0, 0));
	put(&f, "plain", "k", bytes, 100000);
	put(&f, "plain", "k", bytes, 10);
	put(&f, "plain", "l", bytes, 0);
	CHECK(holds(2, 10));
	put(&f, "kept", "k", bytes, 7);
	put(&f, "kept", "k", bytes, 50000);
	CHECK(holds(4, 50017));
	CHECK_OK(files_remove(&f, "kept", "k", &e), &e); /* a marker */
	CHECK(holds(5, 50017));
	CHECK_OK(files_remove(&f, "plain", "k", &e), &e);
	CHECK_OK(files_remove(&f, "plain", "k", &e), &e);
	CHECK(holds(4, 50007));
}

static void
parts_count_while_they_are_there_and_once(void **state)
{
	struct part_info p[3];
	char id[33], other[33];
	struct err e = { 0 };

	(void)state;
	put(&f, "plain", "k", bytes, 1000);
	begin("plain", "k", id);
	begin("plain", "k", other);
	CHECK(holds(3, 1000));
	p[0] = part("plain", "k", id, 1, 100);
	p[0] = part("plain", "k", id, 1, BIG);
	p[1] = part("plain", "k", id, 2, 20000);
	part("plain", "k", id, 3, 40000);
	part("plain", "k", other, 1, 5);
	CHECK(holds(3, 1000 + BIG + 20000 + 40000 + 5));
	complete("plain", "k", id, p, 2); /* the third part and the old object go */
	CHECK(holds(2, BIG + 20000 + 5));
	CHECK_OK(multipart_abort(&f, "plain", "k", other, &e), &e);
	CHECK(holds(1, BIG + 20000));
	put(&f, "plain", "k", bytes, 3);
	CHECK(holds(1, 3));
	begin("kept", "k", id);
	p[0] = part("kept", "k", id, 1, 70000);
	complete("kept", "k", id, p, 1);
	put(&f, "kept", "k", bytes, 1); /* the one in parts goes aside */
	CHECK(holds(3, 3 + 70000 + 1));
	begin("plain", "gone", id);
	part("plain", "gone", id, 1, 9);
	CHECK_OK(files_remove(&f, "plain", "k", &e), &e);
	CHECK_OK(files_bucket_remove(&f, "plain", &e), &e); /* the upload goes with it */
	CHECK(holds(2, 70001));
}

static void
set_rules(const char *bucket, size_t n)
{
	struct err e = { 0 };

	CHECK_OK(files_rules_put(&f, bucket, (struct span){ bytes, n }, &e), &e);
}

static void
settings_of_buckets_count_as_long_as_they_are_there(void **state)
{
	struct err e = { 0 };

	(void)state;
	set_rules("plain", 70000);
	set_rules("kept", 40);
	CHECK_OK(files_setting_put(&f, "plain", "cors", (struct span){ bytes, 200 }, &e), &e);
	CHECK(holds(0, 70240));
	set_rules("plain", 30);
	CHECK(holds(0, 270));
	set_rules("plain", 5000);
	CHECK(holds(0, 5240));
	CHECK_OK(files_setting_remove(&f, "plain", "cors", &e), &e);
	CHECK_OK(files_setting_remove(&f, "plain", "cors", &e), &e);
	CHECK(holds(0, 5040));
	CHECK_OK(files_bucket_remove(&f, "plain", &e), &e);
	CHECK(holds(0, 40));
	CHECK_OK(files_rules_remove(&f, "kept", &e), &e);
	CHECK(holds(0, 0));
}

/* --- at random --- */

static void
change_setting(const char *bucket)
{
	static const char *const names[] = { "cors", "tags" };
	const char *name = names[any(2)];
	struct err e = { 0 };

	if (any(3) == 0)
		CHECK_OK(files_setting_remove(&f, bucket, name, &e), &e);
	else
		CHECK_OK(
		    files_setting_put(&f, bucket, name, (struct span){ bytes, any(9000) }, &e), &e);
}

static int
remember(void *arg, const char *key, const struct object_info *i, struct err *e)
{
	(void)e;
	if (!*(char *)arg || any(3) == 0)
		snprintf(arg, 64, "%s%s", key, i->version);
	return 0;
}

/* Some version or marker goes for good. */
static void
remove_version(void)
{
	struct version_query q = { .list = { .bucket = "kept",
		                       .prefix = "",
		                       .delimiter = "",
		                       .after = "",
		                       .max = 1000 } };
	char found[64] = "", key[2], next[FILES_KEY_MAX + 1], next_version[FILES_VERSION_SIZE];
	struct removal one = { .key = key, .version = found + 1 };
	struct err e = { 0 };
	bool more;

	CHECK_OK(files_list_versions(&f, &q, remember, found, &more, next, next_version, &e), &e);
	snprintf(key, sizeof(key), "%.1s", found);
	if (*found)
		CHECK_OK(files_remove_many(&f, "kept", &one, 1, &e), &e);
}

static void
upload_something(const char *bucket, const char *key)
{
	struct part_info p[2];
	struct err e = { 0 };
	char id[33];

	begin(bucket, key, id);
	p[0] = part(bucket, key, id, 1, any(60000));
	p[1] = part(bucket, key, id, 2 + any(3), any(60000));
	if (any(4) == 0)
		return; /* it stays as it is */
	if (any(3) == 0)
		CHECK_OK(multipart_abort(&f, bucket, key, id, &e), &e);
	else
		complete(bucket, key, id, p + any(2), 1);
}

static void
whatever_is_changed_the_count_is_that_of_the_rows(void **state)
{
	struct vault_id id;

	(void)state;
	id = (struct vault_id){ .account = f.account, .service = SERVICE_FILES };
	random_state = 0x5eed;
	for (unsigned i = 0; i < CHANGES; i++) {
		const char *bucket = any(2) ? "plain" : "kept";
		char key[2] = { (char)('a' + any(KEYS)), '\0' };
		struct err e = { 0 };
		struct vault *v;

		switch (any(7)) {
		case 0:
			CHECK_OK(files_remove(&f, bucket, key, &e), &e);
			break;
		case 1:
			remove_version();
			break;
		case 2:
			upload_something(bucket, key);
			break;
		case 3:
			CHECK_OK(files_versioning_set(
			             &f, "kept", any(2) ? VERSIONING_ON : VERSIONING_SUSPENDED, &e),
			    &e);
			break;
		case 4:
			change_setting(bucket);
			break;
		default:
			put(&f, bucket, key, bytes, any(3) ? any(100) : any(100000));
		}
		v = store_take(&r.store, &id);
		if (files_usage_check(v, NULL, &e) < 0)
			fail_msg("change %u: %s", i, e.text);
		pool_give(v);
	}
}

static void
a_count_that_is_wrong_is_found(void **state)
{
	struct vault_id id = { .account = f.account, .service = SERVICE_FILES };
	struct vault *v;
	struct err e = { 0 };
	uint64_t ticket;

	(void)state;
	put(&f, "plain", "k", bytes, 10);
	v = store_take(&r.store, &id);
	CHECK_OK(vault_begin(v, &e), &e);
	CHECK_OK(query_run(vault_query(v, "UPDATE usage SET bytes=bytes+1"), &e), &e);
	CHECK_OK(vault_commit(v, &ticket, &e), &e);
	CHECK(files_usage_check(v, NULL, &e) < 0 && e.kind == ERR_FORGED);
	pool_give(v);
}

#define WITH_REGION(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_REGION(an_overwrite_frees_what_it_replaces_and_a_version_does_not),
		WITH_REGION(parts_count_while_they_are_there_and_once),
		WITH_REGION(settings_of_buckets_count_as_long_as_they_are_there),
		WITH_REGION(whatever_is_changed_the_count_is_that_of_the_rows),
		WITH_REGION(a_count_that_is_wrong_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
