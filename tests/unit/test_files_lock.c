/* test_files_lock.c - what is locked can't be removed, by nobody's request and by no clock. */
#include "clock.h"
#include "service_fixture.h"

#define DAY_MS ((uint64_t)24 * 3600 * 1000)

static struct region region;
static _Atomic int64_t put_forward_ms; /* the clock, by hand */

static uint64_t
wall_ms(void)
{
	return (uint64_t)((int64_t)clock_wall_ms() + put_forward_ms);
}

static struct files
new_account(void)
{
	struct files f = region_account(&region, ALL_SERVICES, NULL);
	struct err e = { 0 };

	CHECK_OK(files_bucket_make(&f, "backup", true, NULL, (struct span){ NULL, 0 }, &e), &e);
	CHECK_OK(files_bucket_create(&f, "photos", &e), &e);
	return f;
}

/* Put "k", locked as L says (NULL: by the bucket); its version. */
static void
put_locked(struct files *f, const struct files_lock *l, char version[static FILES_VERSION_SIZE])
{
	_cleanup_(upload_closep) struct upload *u = NULL;
	struct object_info out;
	struct err e = { 0 };

	u = upload_begin(f, "backup", &e);
	CHECK(u);
	CHECK_OK(upload_add(u, "data", 4, &e), &e);
	CHECK_OK(upload_settle(u, &e), &e);
	if (l)
		upload_lock(u, l);
	CHECK_OK(upload_put(u, f, "k", NULL, NULL, &out, &e), &e);
	memcpy(version, out.version, FILES_VERSION_SIZE);
}

static enum err_kind
remove_version(struct files *f, const char *version, bool may_bypass)
{
	struct removal r = { .key = "k", .version = version, .may_bypass = may_bypass };
	struct err e = { 0 };

	CHECK_OK(files_remove_many(f, "backup", &r, 1, &e), &e);
	return r.err.kind;
}

static enum err_kind
retain(struct files *f, const char *version, enum files_lock_mode mode, int64_t days, bool bypass)
{
	struct files_lock l = {
		.mode = mode,
		.retain_ms = mode == LOCK_NONE
		    ? 0
		    : (uint64_t)((int64_t)host_wall_ms() + days * (int64_t)DAY_MS),
	};
	struct object_absence why;
	struct err e = { 0 };

	return files_lock_retain(f, "backup", "k", version, &l, bypass, &why, &e) < 0 ? e.kind
	                                                                              : ERR_NONE;
}

static void
retention_is_lengthened_by_anybody_and_shortened_by_few(void **state)
{
	struct files f = new_account();
	char version[FILES_VERSION_SIZE];

	(void)state;
	put_locked(&f, NULL, version);
	CHECK(retain(&f, version, LOCK_GOVERNANCE, 10, false) == ERR_NONE);
	CHECK(retain(&f, version, LOCK_GOVERNANCE, 5, false) == ERR_DENIED);
	CHECK(retain(&f, version, LOCK_NONE, 0, false) == ERR_DENIED);
	CHECK(retain(&f, version, LOCK_GOVERNANCE, 20, false) == ERR_NONE);
	CHECK(remove_version(&f, version, false) == ERR_DENIED);
	CHECK(retain(&f, version, LOCK_GOVERNANCE, 5, true) == ERR_NONE);
	CHECK(retain(&f, version, LOCK_COMPLIANCE, 6, false) == ERR_DENIED);
	CHECK(retain(&f, version, LOCK_COMPLIANCE, 6, true) == ERR_NONE);
	for (int bypass = 0; bypass < 2; bypass++) {
		CHECK(retain(&f, version, LOCK_COMPLIANCE, 5, bypass) == ERR_DENIED);
		CHECK(retain(&f, version, LOCK_GOVERNANCE, 50, bypass) == ERR_DENIED);
		CHECK(retain(&f, version, LOCK_NONE, 0, bypass) == ERR_DENIED);
		CHECK(remove_version(&f, version, bypass) == ERR_DENIED);
	}
	CHECK(retain(&f, version, LOCK_COMPLIANCE, 7, false) == ERR_NONE);
}

static void
a_lock_outlives_overwriting_removing_and_its_bucket(void **state)
{
	struct files f = new_account();
	char first[FILES_VERSION_SIZE], second[FILES_VERSION_SIZE];
	struct files_lock l = { .mode = LOCK_COMPLIANCE,
		.retain_ms = host_wall_ms() + 10 * DAY_MS };
	struct object_absence why;
	struct object *o;
	struct err e = { 0 };

	(void)state;
	put_locked(&f, &l, first);
	put_locked(&f, &(struct files_lock){ .is_held = true }, second);
	CHECK_OK(files_remove(&f, "backup", "k", &e), &e);
	CHECK(remove_version(&f, first, true) == ERR_DENIED);
	CHECK(remove_version(&f, second, true) == ERR_DENIED);
	CHECK(files_bucket_remove(&f, "backup", &e) < 0 && e.kind == ERR_BUSY);
	CHECK(files_versioning_set(&f, "backup", VERSIONING_SUSPENDED, &e) < 0 &&
	    e.kind == ERR_DENIED);
	o = object_open_version(&f, "backup", "k", first, true, &why, &e);
	CHECK(o && object_info(o)->lock.mode == LOCK_COMPLIANCE &&
	    object_info(o)->lock.retain_ms == l.retain_ms);
	check_object(o, "data", 4, 10);
	object_close(o);
	CHECK_OK(files_lock_hold(&f, "backup", "k", second, false, true, &why, &e), &e);
	CHECK(remove_version(&f, second, false) == ERR_NONE);
}

static void
a_clock_put_forward_unlocks_nothing_and_time_does(void **state)
{
	struct files f = new_account();
	const struct files_lock_default d = { .mode = LOCK_COMPLIANCE, .days = 3 };
	struct files_lock_default got;
	char version[FILES_VERSION_SIZE];
	struct err e = { 0 };

	(void)state;
	CHECK_OK(files_lock_default_set(&f, "backup", &d, &e), &e);
	CHECK_OK(files_lock_default(&f, "backup", &got, &e), &e);
	CHECK(got.mode == d.mode && got.days == 3 && !got.is_years);
	put_locked(&f, NULL, version);
	put_forward_ms += (int64_t)(400 * DAY_MS);
	CHECK(remove_version(&f, version, false) == ERR_DENIED);
	put_forward_ms -= (int64_t)(400 * DAY_MS);
	clock_ahead_ms += 2 * DAY_MS;
	CHECK(remove_version(&f, version, false) == ERR_DENIED);
	clock_ahead_ms += 2 * DAY_MS;
	CHECK(remove_version(&f, version, false) == ERR_NONE);
}

static void
a_clock_put_back_shortens_no_retention(void **state)
{
	struct files f = new_account();
	const struct files_lock_default d = { .mode = LOCK_COMPLIANCE, .days = 3 };
	char version[FILES_VERSION_SIZE];
	struct err e = { 0 };

	(void)state;
	CHECK_OK(files_lock_default_set(&f, "backup", &d, &e), &e);
	put_forward_ms -= (int64_t)(400 * DAY_MS);
	put_locked(&f, NULL, version);
	put_forward_ms += (int64_t)(400 * DAY_MS); /* set right */
	clock_ahead_ms += 2 * DAY_MS;
	CHECK(remove_version(&f, version, false) == ERR_DENIED);
	clock_ahead_ms += 2 * DAY_MS;
	CHECK(remove_version(&f, version, false) == ERR_NONE);
}

static void
other_buckets_have_no_locks(void **state)
{
	struct files f = new_account();
	const struct files_lock l = { .is_held = true };
	struct files_lock_default d = { .mode = LOCK_NONE };
	struct object_absence why;
	struct files_lock got;
	char id[33];
	struct err e = { 0 };

	(void)state;
	put(&f, "photos", "k", "a", 1);
	CHECK(files_lock_get(&f, "photos", "k", NULL, &got, &why, &e) < 0 && e.kind == ERR_BAD);
	CHECK(files_lock_hold(&f, "photos", "k", NULL, true, true, &why, &e) < 0 &&
	    e.kind == ERR_BAD);
	CHECK(files_lock_get(&f, "photos", "l", NULL, &got, &why, &e) < 0 &&
	    e.kind == ERR_MISSING && !why.is_bucket);
	CHECK(files_lock_get(&f, "nothing", "l", NULL, &got, &why, &e) < 0 &&
	    e.kind == ERR_MISSING && why.is_bucket);
	CHECK(multipart_begin(&f, "photos", "k", NULL, &l, id, NULL, &e) < 0 && e.kind == ERR_BAD);
	CHECK(files_lock_default(&f, "photos", &d, &e) < 0 && e.kind == ERR_BAD);
	CHECK(files_lock_default_set(&f, "photos", &d, &e) < 0 && e.kind == ERR_BAD);
	CHECK_OK(files_versioning_set(&f, "photos", VERSIONING_ON, &e), &e);
	CHECK_OK(files_lock_default_set(&f, "photos", &d, &e), &e);
	CHECK_OK(files_lock_hold(&f, "photos", "k", "null", true, true, &why, &e), &e);
	CHECK_OK(files_lock_get(&f, "photos", "k", NULL, &got, &why, &e), &e);
	CHECK(got.is_held && got.has_hold && got.mode == LOCK_NONE);
	CHECK_OK(files_lock_hold(&f, "photos", "k", "null", false, true, &why, &e), &e);
	CHECK_OK(files_lock_get(&f, "photos", "k", NULL, &got, &why, &e), &e);
	CHECK(!got.is_held && got.has_hold);
}

int
main(void)
{
	const struct host_ops clock = { wall_ms, clock_mono_ns, clock_random };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(retention_is_lengthened_by_anybody_and_shortened_by_few),
		cmocka_unit_test(a_lock_outlives_overwriting_removing_and_its_bucket),
		cmocka_unit_test(a_clock_put_forward_unlocks_nothing_and_time_does),
		cmocka_unit_test(a_clock_put_back_shortens_no_retention),
		cmocka_unit_test(other_buckets_have_no_locks),
	};
	int failed;

	host_replace(&clock);
	region_open(&region, false);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	region_close(&region);
	host_replace(NULL);
	return failed;
}
