/* test_quota.c - no account has more than it may, none is refused what it may have, and what is there
 * stays whatever is set. */
#include "fault_fixture.h"

#include <pthread.h>

#include "service/quota.h"

#define KEYS    4
#define CHANGES 600
#define ROUNDS  500

static struct region r;
static struct files f;
static uint8_t *content;
static uint64_t random_state;

static unsigned
any(unsigned n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)(random_state % n);
}

static void
limit_region(struct region *to, uint64_t bytes, uint64_t objects)
{
	struct err e = { 0 };

	quota_free(to->node.quota);
	to->node.quota = quota_new(&to->node, (struct quota_limit){ bytes, objects }, 3, &e);
	CHECK(to->node.quota);
}

static int
setup(void **state)
{
	struct err e = { 0 };

	(void)state;
	region_open(&r, false);
	limit_region(&r, QUOTA_NONE, QUOTA_NONE);
	f = region_account(&r, ALL_SERVICES, NULL);
	CHECK_OK(files_bucket_create(&f, "photos", &e), &e);
	CHECK_OK(files_bucket_create(&f, "backup-a", &e), &e);
	content = noise(200000, 1);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	free(content);
	region_close(&r);
	return 0;
}

/* As the operator: SERVICE may keep so much; -1: no limit, -2: as the region says. */
static int
set(const char *service, json_int_t bytes, json_int_t objects, struct err *e)
{
	char id[ACCOUNT_TEXT_SIZE];
	json_t *in, *out = NULL;
	int result;

	account_text(&f.account, id);
	in = json_pack("{s:s, s:[{s:s, s:o, s:o}]}", "account", id, "set", "service", service,
	    "bytes", bytes == -2 ? json_null() : json_integer(bytes), "objects",
	    objects == -2 ? json_null() : json_integer(objects));
	result = accounts_quota(&r.node, in, &out, e);
	json_decref(in);
	json_decref(out);
	return result;
}

static void
limit(const char *service, json_int_t bytes, json_int_t objects)
{
	struct err e = { 0 };

	CHECK_OK(set(service, bytes, objects, &e), &e);
}

/* As a user: with the account's limits. */
static int
try(struct files *who, const char *bucket, const char *key, size_t n, struct err *e)
{
	struct object_info out;
	int result;

	if (files_quota_begin(who, e) < 0)
		return -1;
	result = put_with(who, bucket, key, content, n, NULL, NULL, &out, e);
	files_quota_end(who);
	return result;
}

static bool
fits(const char *bucket, const char *key, size_t n)
{
	struct err e = { 0 };
	int result = try(&f, bucket, key, n, &e);

	if (result < 0 && e.kind != ERR_QUOTA)
		fail_msg("%s", e.text);
	return result == 0;
}

static void
take_away(const char *bucket, const char *key)
{
	struct err e = { 0 };

	CHECK_OK(files_quota_begin(&f, &e), &e);
	CHECK_OK(files_remove(&f, bucket, key, &e), &e);
	files_quota_end(&f);
}

static uint64_t
used(enum service s)
{
	struct files_usage u;
	struct err e = { 0 };

	CHECK_OK(files_usage(&f, s, &u, &e), &e);
	return u.bytes;
}

/* --- what may be kept --- */

static void
the_last_byte_fits_and_the_next_does_not(void **state)
{
	struct err e = { 0 };

	(void)state;
	limit("files", 100000, -1);
	CHECK(fits("photos", "a", 60000) && fits("photos", "b", 40000));
	CHECK(try(&f, "photos", "c", 1, &e) < 0 && e.kind == ERR_QUOTA);
	CHECK(strstr(e.text, "100000 bytes in files"));
	CHECK(!fits("photos", "a", 60001)); /* what it replaces is counted off, no more */
	CHECK(fits("photos", "a", 60000) && fits("photos", "c", 0));
	CHECK(fits("backup-a", "x", 150000));       /* another service */
	CHECK(chunks_become(&f, SERVICE_FILES, 2)); /* what was refused left nothing behind */
	take_away("photos", "b");
	CHECK(fits("photos", "c", 40000) && used(SERVICE_FILES) == 100000);
}

static void
objects_are_limited_as_bytes_are(void **state)
{
	char id[33];
	struct err e = { 0 };

	(void)state;
	limit("files", -1, 2);
	CHECK(fits("photos", "a", 1) && fits("photos", "b", 1) && !fits("photos", "c", 1));
	CHECK(fits("photos", "b", 2));
	CHECK_OK(files_quota_begin(&f, &e), &e);
	CHECK(multipart_begin(&f, "photos", "c", NULL, NULL, id, NULL, &e) < 0 &&
	    e.kind == ERR_QUOTA);
	files_quota_end(&f);
	take_away("photos", "a");
	CHECK(fits("photos", "c", 1));
}

static int
try_setting(const char *bucket, size_t n, struct err *e)
{
	int result;

	CHECK_OK(files_quota_begin(&f, e), e);
	result = files_setting_put(&f, bucket, "cors", (struct span){ content, n }, e);
	files_quota_end(&f);
	return result;
}

static void
settings_of_buckets_are_limited_as_content_is(void **state)
{
	struct err e = { 0 };

	(void)state;
	limit("all", 1000, -1);
	CHECK_OK(try_setting("photos", 600, &e), &e);
	CHECK(try_setting("backup-a", 401, &e) < 0 && e.kind == ERR_QUOTA);
	CHECK(try_setting("photos", 1001, &e) < 0 && e.kind == ERR_QUOTA);
	CHECK_OK(try_setting("backup-a", 400, &e), &e);
	CHECK(!fits("photos", "a", 1));
	CHECK_OK(try_setting("photos", 500, &e), &e);
	CHECK(fits("photos", "a", 100));
	CHECK_OK(files_quota_begin(&f, &e), &e);
	CHECK_OK(files_setting_remove(&f, "backup-a", "cors", &e), &e);
	files_quota_end(&f);
	CHECK(fits("photos", "a", 500));
}

static void
below_what_is_there_only_adding_is_refused(void **state)
{
	(void)state;
	CHECK(fits("photos", "a", 50000) && fits("photos", "b", 50000));
	limit("all", 1000, -1);
	CHECK(!fits("photos", "c", 1) && !fits("photos", "b", 50001));
	CHECK(!fits("backup-a", "c", 1));
	CHECK(has(&f, "photos", "a", content, 50000) && has(&f, "photos", "b", content, 50000));
	CHECK(fits("photos", "b", 40000)); /* smaller */
	take_away("photos", "a");
	CHECK(!fits("photos", "c", 1));
	take_away("photos", "b");
	CHECK(fits("photos", "c", 1000));
	limit("all", -1, -1);
	CHECK(fits("photos", "d", 50000));
}

static void
the_accounts_own_comes_before_the_countrys_and_that_before_the_regions(void **state)
{
	(void)state;
	limit_region(&r, 100, 10);
	CHECK(!fits("photos", "a", 101) && fits("photos", "a", 100));
	region_policy(&r, "[policy IN]\nregions = in-mum\nquota_bytes = 1 KiB\n");
	quota_forget(r.node.quota, NULL);
	CHECK(!fits("photos", "a", 1025) && fits("photos", "a", 1024));
	limit("all", 5000, -2);
	CHECK(!fits("photos", "a", 5001) && fits("photos", "a", 5000));
	for (char key[2] = "b"; *key < 'k'; (*key)++)
		CHECK(fits("photos", key, 0));
	CHECK(!fits("photos", "k", 0)); /* the region's ten */
	limit("all", -1, -1);
	CHECK(fits("photos", "k", 190000));
	region_policy(&r, "[policy IN]\nregions = in-mum\nquota_bytes = none\n");
	limit("all", -2, -1);
	CHECK(fits("photos", "l", 190000));
}

static void
what_is_ahead_is_told_before_it_comes(void **state)
{
	struct files_place to = { .bucket = "photos", .key = "a" };
	struct err e = { 0 };

	(void)state;
	limit("files", 1000, 1);
	CHECK_OK(files_check_quota(&f, &to, 1000, &e), &e);
	CHECK(files_check_quota(&f, &to, 1001, &e) < 0 && e.kind == ERR_QUOTA);
	CHECK(fits("photos", "a", 900));
	CHECK_OK(files_check_quota(&f, &to, 1000, &e), &e); /* in place of the 900 */
	to.key = "b";
	CHECK(files_check_quota(&f, &to, 1, &e) < 0 && e.kind == ERR_QUOTA);
	to.bucket = "nothing-there";
	CHECK_OK(files_check_quota(&f, &to, 1, &e), &e); /* the write says it */
}

static void
a_wrong_order_is_refused_and_sets_nothing(void **state)
{
	struct err e = { 0 };

	(void)state;
	CHECK(set("profile", 1, 1, &e) < 0 && e.kind == ERR_BAD);
	CHECK(set("everything", 1, 1, &e) < 0 && e.kind == ERR_BAD);
	CHECK(set("files", -3, 1, &e) < 0 && e.kind == ERR_BAD);
	CHECK(fits("photos", "a", 100000));
}

/* --- buckets --- */

static bool
makes(const char *bucket)
{
	struct err e = { 0 };
	int result = files_bucket_create(&f, bucket, &e);

	if (result < 0 && e.kind != ERR_TOO_BIG)
		fail_msg("%s", e.text);
	return result == 0;
}

static void
a_service_has_no_more_buckets_than_the_region_lets_it(void **state)
{
	struct err e = { 0 };

	(void)state;
	r.node.buckets_max = 3;
	CHECK(makes("b-1") && makes("b-2") && !makes("b-3"));
	CHECK(files_bucket_find(&f, "b-3", &e) < 0 && e.kind == ERR_MISSING);
	CHECK(files_bucket_create(&f, "b-1", &e) < 0 && e.kind == ERR_EXISTS);
	CHECK(makes("backup-b")); /* another service */
	CHECK_OK(files_bucket_remove(&f, "b-1", &e), &e);
	CHECK(makes("b-3") && !makes("b-4"));
	r.node.buckets_max = 1; /* as where it arrives with more */
	CHECK(fits("b-2", "k", 10));
	CHECK_OK(files_bucket_remove(&f, "b-3", &e), &e);
	CHECK(!makes("b-3"));
	r.node.buckets_max = 0;
	CHECK(makes("b-3") && makes("b-4"));
}

/* --- at random --- */

struct model {
	size_t size[2][KEYS];
	bool is_there[2][KEYS];
};

static uint64_t
model_bytes(const struct model *m, unsigned b)
{
	uint64_t n = 0;

	for (unsigned k = 0; k < KEYS; k++)
		n += m->is_there[b][k] ? m->size[b][k] : 0;
	return n;
}

static bool
model_allows(uint64_t before, uint64_t after, uint64_t most)
{
	return after <= most || after <= before;
}

static void
exactly_what_a_simple_model_allows_is_done(void **state)
{
	static const char *const buckets[] = { "photos", "backup-a" };
	const uint64_t files = 150000, all = 220000;
	struct model m = { 0 };
	unsigned refused = 0;

	(void)state;
	random_state = 0x9007a;
	limit("files", (json_int_t)files, -1);
	limit("all", (json_int_t)all, -1);
	for (unsigned i = 0; i < CHANGES; i++) {
		unsigned b = any(2), k = any(KEYS);
		size_t n = any(2) ? any(90000) : any(2000);
		char key[2] = { (char)('a' + k), '\0' };
		uint64_t was[2] = { model_bytes(&m, 0), model_bytes(&m, 1) }, will[2];
		struct model next = m;
		bool may, done;

		if (any(4) == 0) {
			take_away(buckets[b], key);
			m.is_there[b][k] = false;
			continue;
		}
		next.is_there[b][k] = true;
		next.size[b][k] = n;
		will[0] = model_bytes(&next, 0);
		will[1] = model_bytes(&next, 1);
		may = model_allows(was[0], will[0], files) &&
		    model_allows(was[0] + was[1], will[0] + will[1], all);
		done = fits(buckets[b], key, n);
		if (done != may)
			fail_msg("change %u: %zu bytes over %llu and %llu", i, n,
			    (unsigned long long)was[0], (unsigned long long)was[1]);
		refused += !done;
		if (done)
			m = next;
		CHECK(used(SERVICE_FILES) == model_bytes(&m, 0));
		CHECK(used(SERVICE_BACKUP) == model_bytes(&m, 1));
	}
	CHECK(refused > CHANGES / 20);
}

/* --- at once --- */

struct writer {
	const char *bucket;
	bool done[ROUNDS];
};

static pthread_barrier_t barrier;

/* Each round there is room for one more object. */
static void *
write_many(void *arg)
{
	struct writer *w = arg;
	struct files own = f;

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct err e = { 0 };

		pthread_barrier_wait(&barrier);
		w->done[i] = try(&own, w->bucket, "k", 1000, &e) == 0;
		if (!w->done[i] && e.kind != ERR_QUOTA)
			fail_msg("%s", e.text);
		pthread_barrier_wait(&barrier);
		if (w->done[i])
			CHECK_OK(files_remove(&own, w->bucket, "k", &e), &e);
	}
	return NULL;
}

static void
of_two_writers_for_the_last_place_exactly_one_gets_it(void **state)
{
	struct writer w[2] = { { .bucket = "photos" }, { .bucket = "backup-a" } };
	pthread_t threads[2];

	(void)state;
	CHECK(fits("photos", "first", 99500));
	limit("all", 100500, -1);
	CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
	for (unsigned i = 0; i < 2; i++)
		CHECK(pthread_create(&threads[i], NULL, write_many, &w[i]) == 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
	for (unsigned i = 0; i < ROUNDS; i++)
		CHECK(w[0].done[i] != w[1].done[i]);
	CHECK(used(SERVICE_FILES) + used(SERVICE_BACKUP) == 99500);
}

/* --- faults --- */

static int
run_put(struct files *who, struct err *e)
{
	return try(who, "photos", "k", 100000, e);
}

static bool
put_is_done(struct files *who)
{
	return fault_is_it(who, "photos", "k", content, 100000);
}

static bool
put_is_undone(struct files *who)
{
	return fault_is_absent(who, "photos", "k");
}

static void
clear_put(struct files *who)
{
	fault_clear(who, "photos", "k");
}

static int
fault_begin(void **state)
{
	fault_setup(state);
	content = noise(200000, 1);
	return 0;
}

static int
fault_end(void **state)
{
	free(content);
	return fault_teardown(state);
}

/* region_start makes a new node: the quota of the former one goes on. */
static void
with_limits(struct files *who)
{
	struct region *own = container_of(who->node, struct region, node);

	limit_region(own, 150000, QUOTA_NONE);
}

static void
a_put_within_limits_is_whole_or_not_there_and_counted(void **state)
{
	const struct fault_deed deed = {
		.prepare = with_limits,
		.run = run_put,
		.is_done = put_is_done,
		.is_undone = put_is_undone,
		.again = run_put,
		.clear = clear_put,
	};

	fault_try(*state, &deed);
}

#define WITH_REGION(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_REGION(the_last_byte_fits_and_the_next_does_not),
		WITH_REGION(objects_are_limited_as_bytes_are),
		WITH_REGION(settings_of_buckets_are_limited_as_content_is),
		WITH_REGION(below_what_is_there_only_adding_is_refused),
		WITH_REGION(the_accounts_own_comes_before_the_countrys_and_that_before_the_regions),
		WITH_REGION(what_is_ahead_is_told_before_it_comes),
		WITH_REGION(a_wrong_order_is_refused_and_sets_nothing),
		WITH_REGION(a_service_has_no_more_buckets_than_the_region_lets_it),
		WITH_REGION(exactly_what_a_simple_model_allows_is_done),
		WITH_REGION(of_two_writers_for_the_last_place_exactly_one_gets_it),
		cmocka_unit_test_setup_teardown(
		    a_put_within_limits_is_whole_or_not_there_and_counted, fault_begin, fault_end),
	};

	fault_use_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
