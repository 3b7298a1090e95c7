/* What a bucket's lifecycle rules say goes when its day has come, nothing else, and at the home alone. */
#include "clock.h"
#include "service_fixture.h"

#include "service/lifecycle_internal.h"
#include "service/rules.h"
#include "vault/region.h"

#define DAY_MS   RULES_DAY_MS
#define HOUR_MS  (DAY_MS / 24)
/* Ten in the morning. */
#define BEGIN_MS (20000 * DAY_MS + 10 * HOUR_MS)

static struct region region;
static struct lifecycle lifecycle;
static _Atomic int64_t put_forward_ms; /* the clock, by hand */

static uint64_t
wall_ms(void)
{
	return BEGIN_MS + (uint64_t)((int64_t)clock_ahead_ms + put_forward_ms);
}

/* --- rules --- */

static struct span
text(const char *s)
{
	return (struct span){ (const uint8_t *)s, strlen(s) };
}

static void
set_rules(struct files *f, const char *bucket, const struct rule *r, unsigned n)
{
	_cleanup_buf_ struct buf stored = BUF_INIT(0);
	struct err e = { 0 };

	rules_begin(&stored);
	for (unsigned i = 0; i < n; i++) {
		struct rule one = r[i];

		one.id = text("rule");
		one.is_enabled = !one.is_old; /* so that tests need say so only where it is not */
		rules_put(&stored, &one);
	}
	rules_end(&stored, n);
	CHECK_OK(files_rules_put(f, bucket, (struct span){ stored.data, stored.len }, &e), &e);
}

static void
set_rule(struct files *f, const char *bucket, struct rule r)
{
	set_rules(f, bucket, &r, 1);
}

static void
look(void)
{
	struct err e = { 0 };

	CHECK_OK(lifecycle_round(&lifecycle, &e), &e);
}

/* At midnight, DAYS later. */
static void
pass_days(unsigned days)
{
	uint64_t now = host_wall_ms();

	clock_ahead_ms += (now / DAY_MS + days) * DAY_MS - now;
}

/* --- what is there --- */

static struct files
new_account(void)
{
	struct files f = region_account(&region, ALL_SERVICES, NULL);
	struct err e = { 0 };

	CHECK_OK(files_bucket_create(&f, "photos", &e), &e);
	CHECK_OK(files_bucket_make(&f, "backup", true, NULL, (struct span){ NULL, 0 }, &e), &e);
	return f;
}

static void
put_tagged(struct files *f, const char *key, const char *tags)
{
	struct object_info out;
	struct err e = { 0 };
	char headers[100];

	snprintf(headers, sizeof(headers), "content-type: x/y\n" FILES_TAGS_LINE "%s\n", tags);
	CHECK_OK(put_with(f, "photos", key, "data", 4, headers, NULL, &out, &e), &e);
	object_info_free(&out);
}

static bool
is_there(struct files *f, const char *bucket, const char *key)
{
	bool missing_bucket;
	struct err e = { 0 };
	struct object *o = object_open(f, bucket, key, false, &missing_bucket, &e);

	CHECK(o || (e.kind == ERR_MISSING && !missing_bucket));
	object_close(o);
	return o;
}

static int
note_version(void *arg, const char *key, const struct object_info *i, struct err *e)
{
	buf_printf(arg, "%s%s%s ", key, i->is_marker ? "-" : "", i->is_latest ? "!" : "");
	if (i->size)
		buf_printf(arg, "%u ", (unsigned)i->size);
	return 0;
}

/* "key! size key- key size ": all versions, the newest of a key first. */
static bool
versions_are(struct files *f, const char *bucket, const char *expected)
{
	const struct version_query q = { .list = { .bucket = bucket,
		                             .prefix = "",
		                             .delimiter = "",
		                             .after = "",
		                             .max = 1000 } };
	_cleanup_buf_ struct buf seen = BUF_INIT(0);
	char next[FILES_KEY_MAX + 1], next_version[FILES_VERSION_SIZE];
	struct err e = { 0 };
	bool more;

	CHECK_OK(
	    files_list_versions(f, &q, note_version, &seen, &more, next, next_version, &e), &e);
	if (strcmp(buf_str(&seen), expected) == 0)
		return true;
	print_error("%s: %s\n", bucket, buf_str(&seen));
	return false;
}

static int
count_key(void *arg, const char *key, const struct object_info *i, struct err *e)
{
	(void)key, (void)i, (void)e;
	++*(unsigned *)arg;
	return 0;
}

static unsigned
count_keys(struct files *f, const char *bucket)
{
	char next[FILES_KEY_MAX + 1] = "";
	struct err e = { 0 };
	unsigned n = 0;
	bool more = true;

	while (more) {
		const struct list_query q = { bucket, "", "", next, 1000 };

		CHECK_OK(files_list(f, &q, count_key, &n, &more, next, &e), &e);
	}
	return n;
}

/* The record of a vault: 1 and when it is due, 0. */
static int
record(struct files *f, enum service s, uint64_t *due)
{
	struct vault_id id = { f->account, (uint8_t)s };
	_cleanup_buf_ struct buf value = BUF_INIT(0);
	uint64_t stamp;
	struct err e = { 0 };
	int r = region_get(region.node.engine, REGION_RULES, &id, sizeof(id), &value, &e);

	CHECK(r >= 0);
	*due = 0;
	if (r)
		rules_record_read((struct span){ value.data, value.len }, due, &stamp);
	return r;
}

/* --- tests --- */

static void
an_object_goes_at_the_midnight_after_its_days(void **state)
{
	struct files f = new_account();
	_cleanup_(freep) uint8_t *large = noise(100000, 1);

	(void)state;
	put(&f, "photos", "k", large, 100000);
	put(&f, "photos", "l", "small", 5);
	set_rule(&f, "photos", (struct rule){ .days = 2 });
	look();
	pass_days(2);
	look();
	CHECK(is_there(&f, "photos", "k") && is_there(&f, "photos", "l"));
	put(&f, "photos", "l", "new", 3);
	clock_ahead_ms += DAY_MS - 1;
	look();
	CHECK(is_there(&f, "photos", "k"));
	clock_ahead_ms += 1;
	look();
	CHECK(!is_there(&f, "photos", "k") && is_there(&f, "photos", "l"));
	CHECK(chunks_become(&f, SERVICE_FILES, 0));
	pass_days(2);
	look();
	CHECK(!is_there(&f, "photos", "l"));
}

static void
a_date_is_for_all_that_is_there_from_then_on(void **state)
{
	struct files f = new_account();

	(void)state;
	put(&f, "photos", "k", "a", 1);
	set_rule(&f, "photos",
	    (struct rule){ .has_date = true, .date_ms = (host_wall_ms() / DAY_MS + 1) * DAY_MS });
	look();
	CHECK(is_there(&f, "photos", "k"));
	pass_days(1);
	look();
	CHECK(!is_there(&f, "photos", "k"));
	put(&f, "photos", "k", "a", 1);
	look();
	CHECK(is_there(&f, "photos", "k"));
	pass_days(1);
	look();
	CHECK(!is_there(&f, "photos", "k"));
}

static void
a_rule_is_for_what_its_filter_covers(void **state)
{
	static const char *const kept[] = { "log", "logs", "logs/b", "logs/c", "logs/d", "u", "v",
		"x" };
	struct files f = new_account();
	const struct rule rules[] = {
		{ .days = 1, .prefix = text("logs/"), .tags = text("old=yes&b+c=d") },
		{ .days = 1, .prefix = text("u/") }, { .days = 1, .prefix = text("u/1") },
		{ .days = 1, .prefix = text("v"), .has_over = true, .over_bytes = 4 },
		{ .days = 1, .prefix = text("x"), .has_under = true, .under_bytes = 4 },
		{ .days = 1, .is_old = true }, /* disabled */
	};

	(void)state;
	put_tagged(&f, "log", "old=yes&b+c=d");
	put_tagged(&f, "logs", "old=yes&b+c=d");
	put_tagged(&f, "logs/a", "x=y&b+c=d&old=yes");
	put_tagged(&f, "logs/b", "old=yes");
	put_tagged(&f, "logs/c", "old=yes2&b+c=d");
	put(&f, "photos", "logs/d", "data", 4);
	put(&f, "photos", "u", "data", 4);
	put(&f, "photos", "u/1", "data", 4);
	put(&f, "photos", "u/2", "data", 4);
	put(&f, "photos", "v", "data", 4);
	put(&f, "photos", "v5", "data5", 5);
	put(&f, "photos", "x", "data", 4);
	put(&f, "photos", "x3", "dat", 3);
	set_rules(&f, "photos", rules, ARRAY_LEN(rules));
	pass_days(2);
	look();
	for (size_t i = 0; i < ARRAY_LEN(kept); i++)
		CHECK(is_there(&f, "photos", kept[i]));
	CHECK(count_keys(&f, "photos") == ARRAY_LEN(kept));
}

static void
versions_go_once_they_are_noncurrent_for_long_enough(void **state)
{
	struct files f = new_account();
	struct err e = { 0 };

	(void)state;
	CHECK_OK(files_versioning_set(&f, "photos", VERSIONING_ON, &e), &e);
	put(&f, "photos", "k", "1", 1);
	pass_days(1);
	put(&f, "photos", "k", "22", 2);
	pass_days(1);
	put(&f, "photos", "k", "333", 3);
	put(&f, "photos", "l", "1", 1);
	CHECK_OK(files_remove(&f, "photos", "l", &e), &e);
	set_rule(&f, "photos", (struct rule){ .noncurrent_days = 3 });
	look();
	CHECK(versions_are(&f, "photos", "k! 3 k 2 k 1 l-! l 1 "));
	pass_days(3);
	look(); /* the first has been noncurrent for four days */
	CHECK(versions_are(&f, "photos", "k! 3 k 2 l-! l 1 "));
	pass_days(1);
	look();
	CHECK(versions_are(&f, "photos", "k! 3 l-! "));
	pass_days(100);
	look();
	CHECK(versions_are(&f, "photos", "k! 3 l-! "));
}

static void
the_newest_noncurrent_ones_are_kept(void **state)
{
	struct files f = new_account();
	struct err e = { 0 };

	(void)state;
	CHECK_OK(files_versioning_set(&f, "photos", VERSIONING_ON, &e), &e);
	for (unsigned i = 1; i <= 5; i++)
		put(&f, "photos", "k", "12345", i);
	CHECK_OK(files_remove(&f, "photos", "l", &e), &e);
	put(&f, "photos", "l", "1", 1);
	CHECK_OK(files_remove(&f, "photos", "l", &e), &e);
	set_rule(&f, "photos", (struct rule){ .noncurrent_days = 1, .keep = 2 });
	pass_days(2);
	look();
	CHECK(versions_are(&f, "photos", "k! 5 k 4 k 3 l-! l 1 l- "));
	put(&f, "photos", "k", "123456", 6);
	pass_days(2);
	look();
	CHECK(versions_are(&f, "photos", "k! 6 k 5 k 4 l-! l 1 l- "));
}

static void
an_expired_object_goes_behind_a_marker_and_that_when_it_is_alone(void **state)
{
	struct files f = new_account();
	struct err e = { 0 };
	const struct rule rules[] = {
		{ .days = 1, .prefix = text("a") },
		{ .noncurrent_days = 2, .prefix = text("a") },
		{ .ends_markers = true, .prefix = text("b") },
	};

	(void)state;
	CHECK_OK(files_versioning_set(&f, "photos", VERSIONING_ON, &e), &e);
	put(&f, "photos", "a", "1", 1);
	CHECK_OK(files_remove(&f, "photos", "b", &e), &e);
	put(&f, "photos", "b2", "1", 1);
	CHECK_OK(files_remove(&f, "photos", "b2", &e), &e);
	CHECK_OK(files_remove(&f, "photos", "c", &e), &e);
	set_rules(&f, "photos", rules, ARRAY_LEN(rules));
	look();
	CHECK(versions_are(&f, "photos", "a! 1 b2-! b2 1 c-! "));
	pass_days(2);
	look();
	CHECK(versions_are(&f, "photos", "a-! a 1 b2-! b2 1 c-! "));
	pass_days(3);
	look();
	CHECK(versions_are(&f, "photos", "a-! b2-! b2 1 c-! "));
	pass_days(1);
	look();
	CHECK(versions_are(&f, "photos", "b2-! b2 1 c-! "));
}

static void
an_upload_that_nobody_completes_goes_with_its_parts(void **state)
{
	struct files f = new_account();
	_cleanup_(freep) uint8_t *large = noise(100000, 1);
	char old[33], new[33], other[33];
	struct object_info out;
	struct err e = { 0 };

	(void)state;
	CHECK_OK(multipart_begin(&f, "photos", "u/k", NULL, NULL, old, NULL, &e), &e);
	{
		_cleanup_(upload_closep) struct upload *u = upload_begin(&f, "photos", &e);

		CHECK(u);
		CHECK_OK(upload_add(u, large, 100000, &e), &e);
		CHECK_OK(upload_settle(u, &e), &e);
		CHECK_OK(upload_part(u, &f, "u/k", old, 1, &out, &e), &e);
	}
	CHECK_OK(multipart_begin(&f, "photos", "v", NULL, NULL, other, NULL, &e), &e);
	pass_days(1);
	CHECK_OK(multipart_begin(&f, "photos", "u/k", NULL, NULL, new, NULL, &e), &e);
	set_rule(&f, "photos", (struct rule){ .abort_days = 2, .prefix = text("u/") });
	look();
	pass_days(2);
	look();
	CHECK(multipart_abort(&f, "photos", "u/k", old, &e) < 0 && e.kind == ERR_MISSING);
	CHECK(chunks_become(&f, SERVICE_FILES, 0));
	CHECK_OK(multipart_abort(&f, "photos", "u/k", new, &e), &e);
	CHECK_OK(multipart_abort(&f, "photos", "v", other, &e), &e);
}

static void
what_is_locked_stays(void **state)
{
	struct files f = new_account();
	const struct files_lock l = { .mode = LOCK_GOVERNANCE,
		.retain_ms = host_wall_ms() + 10 * DAY_MS };
	struct object_absence why;
	struct err e = { 0 };
	const struct rule rules[] = { { .days = 1 }, { .noncurrent_days = 1 } };

	(void)state;
	put(&f, "backup", "held", "1", 1);
	put(&f, "backup", "kept", "1", 1);
	put(&f, "backup", "loose", "1", 1);
	CHECK_OK(files_lock_hold(&f, "backup", "held", NULL, true, true, &why, &e), &e);
	CHECK_OK(files_lock_retain(&f, "backup", "kept", NULL, &l, false, &why, &e), &e);
	set_rules(&f, "backup", rules, ARRAY_LEN(rules));
	pass_days(2);
	look();
	CHECK(versions_are(&f, "backup", "held-! held 1 kept-! kept 1 loose-! loose 1 "));
	pass_days(3);
	look();
	pass_days(1);
	look();
	CHECK(versions_are(&f, "backup", "held-! held 1 kept-! kept 1 "));
	pass_days(10);
	look();
	pass_days(1);
	look();
	CHECK(versions_are(&f, "backup", "held-! held 1 "));
}

static void
only_vaults_with_rules_have_a_record(void **state)
{
	struct files f = new_account();
	struct err e = { 0 };
	uint64_t due;

	(void)state;
	CHECK(record(&f, SERVICE_FILES, &due) == 0);
	set_rule(&f, "photos", (struct rule){ .days = 1 });
	CHECK(record(&f, SERVICE_FILES, &due) == 1 && due == 0);
	CHECK(record(&f, SERVICE_BACKUP, &due) == 0);
	look();
	CHECK(record(&f, SERVICE_FILES, &due) == 1);
	CHECK(due == (host_wall_ms() / DAY_MS + 1) * DAY_MS);
	set_rule(&f, "photos", (struct rule){ .days = 2 });
	CHECK(record(&f, SERVICE_FILES, &due) == 1 && due == 0);
	CHECK_OK(files_rules_remove(&f, "photos", &e), &e);
	look();
	CHECK(record(&f, SERVICE_FILES, &due) == 0);
	set_rule(&f, "backup", (struct rule){ .days = 1 });
	CHECK(record(&f, SERVICE_BACKUP, &due) == 1);
	CHECK_OK(accounts_remove(&region.node, &f.account, &e), &e);
	CHECK(record(&f, SERVICE_BACKUP, &due) == 0);
	look();
}

/* What arrives with a move is looked at once, and has its record from then on. */
static void
an_arrival_is_looked_at(void **state)
{
	struct files f = new_account();
	struct region_batch *b;
	struct err e = { 0 };
	uint64_t due;

	(void)state;
	put(&f, "photos", "k", "1", 1);
	set_rule(&f, "photos", (struct rule){ .days = 1 });
	pass_days(2);
	b = region_batch(&e);
	region_put_rules(b, &f.account, f.services);
	CHECK_OK(region_apply(region.node.engine, region.node.flusher, b, &e), &e);
	region_batch_free(b);
	look();
	CHECK(!is_there(&f, "photos", "k"));
	CHECK(record(&f, SERVICE_FILES, &due) == 1 && due > host_wall_ms());
	CHECK(record(&f, SERVICE_BACKUP, &due) == 0);
}

static void
a_clock_that_jumps_removes_nothing_early(void **state)
{
	struct files f = new_account();

	(void)state;
	put(&f, "photos", "k", "1", 1);
	set_rule(&f, "photos", (struct rule){ .days = 10 });
	look();
	put_forward_ms += (int64_t)(400 * DAY_MS);
	look();
	CHECK(is_there(&f, "photos", "k"));
	put_forward_ms -= (int64_t)(400 * DAY_MS);
	pass_days(5);
	look();
	/* Put back by so much that the record says "not for a long time". */
	put_forward_ms -= (int64_t)(4 * DAY_MS);
	pass_days(6 + 4);
	look();
	CHECK(!is_there(&f, "photos", "k"));
	put_forward_ms = 0;
}

static void
set_state(struct files *f, enum home_state state, bool is_suspended)
{
	struct home home;
	struct err e = { 0 };

	CHECK(homes_get(region.node.homes, &f->account, &home, &e) == 1);
	home.is_suspended = is_suspended;
	if (home.state == HOME_FENCED && state == HOME_HERE)
		home.attempt++;
	home.state = state;
	if (state == HOME_FENCED)
		CHECK_OK(homes_fence(region.node.homes, &home, 1, NULL, 1000, &e), &e);
	else
		CHECK_OK(homes_set(region.node.homes, &home, 1, NULL, &e), &e);
}

/* A record of a move as the mover leaves it, or none any more. */
static void
set_moving(struct files *f, bool on)
{
	struct region_batch *b;
	struct err e = { 0 };

	b = region_batch(&e);
	if (on)
		region_put(b, REGION_MOVE, &f->account, sizeof(f->account), "x", 1);
	else
		region_delete(b, REGION_MOVE, &f->account, sizeof(f->account));
	CHECK_OK(region_apply(region.node.engine, region.node.flusher, b, &e), &e);
	region_batch_free(b);
}

static void
nothing_goes_where_the_gate_is_closed(void **state)
{
	struct files f = new_account();
	uint64_t due;

	(void)state;
	put(&f, "photos", "k", "1", 1);
	set_rule(&f, "photos", (struct rule){ .days = 1 });
	pass_days(2);
	set_state(&f, HOME_FENCED, false);
	look();
	CHECK(is_there(&f, "photos", "k"));
	set_state(&f, HOME_HERE, false);
	set_state(&f, HOME_HERE, true);
	look();
	CHECK(is_there(&f, "photos", "k"));
	set_state(&f, HOME_HERE, false);
	set_moving(&f, true);
	look();
	CHECK(is_there(&f, "photos", "k"));
	CHECK(record(&f, SERVICE_FILES, &due) == 1 && due == 0);
	set_moving(&f, false);
	look();
	CHECK(!is_there(&f, "photos", "k"));
}

/* More than a step looks at, more than it removes, and a key with more versions than that. */
static void
large_buckets_are_gone_through_in_steps(void **state)
{
	struct files f = new_account();
	const struct rule rules[] = {
		{ .days = 1, .prefix = text("old/") },
		{ .noncurrent_days = 1, .keep = 3 },
	};
	struct err e = { 0 };
	char key[32];

	(void)state;
	for (unsigned i = 0; i < 2500; i++) {
		snprintf(key, sizeof(key), "%s/%04u", i % 10 ? "new" : "old", i);
		put(&f, "photos", key, "1", 1);
	}
	CHECK_OK(files_versioning_set(&f, "photos", VERSIONING_ON, &e), &e);
	for (unsigned i = 0; i < 1200; i++)
		put(&f, "photos", "new/9999", "12345", i % 5 + 1);
	for (unsigned i = 0; i < 5; i++)
		put(&f, "photos", "new/9999x", "12345", i + 1);
	set_rules(&f, "photos", rules, ARRAY_LEN(rules));
	pass_days(2);
	look();
	CHECK(count_keys(&f, "photos") == 2250 + 2);
	pass_days(2);
	look();
	for (unsigned i = 0; i < 2500; i++) {
		snprintf(key, sizeof(key), "%s/%04u", i % 10 ? "new" : "old", i);
		if (i % 10)
			CHECK_OK(files_remove_many(&f, "photos",
			             &(struct removal){ .key = key, .version = "null" }, 1, &e),
			    &e);
	}
	set_rule(&f, "photos", (struct rule){ .ends_markers = true });
	look();
	/* one null version below each marker was kept: three would have been */
	set_rule(&f, "photos", (struct rule){ .noncurrent_days = 1, .prefix = text("old/") });
	look();
	set_rule(&f, "photos", (struct rule){ .ends_markers = true });
	look();
	CHECK(versions_are(&f, "photos",
	    "new/9999! 5 new/9999 4 new/9999 3 new/9999 2 "
	    "new/9999x! 5 new/9999x 4 new/9999x 3 new/9999x 2 "));
}

/* Versions of each size. */
struct sizes {
	unsigned n[3];
};

static int
count_size(void *arg, const char *key, const struct object_info *i, struct err *e)
{
	(void)key, (void)e;
	((struct sizes *)arg)->n[i->size]++;
	return 0;
}

static struct sizes
count_versions(struct files *f, const char *bucket)
{
	char next[FILES_KEY_MAX + 1] = "", next_version[FILES_VERSION_SIZE] = "";
	struct sizes sizes = { { 0 } };
	struct err e = { 0 };
	bool more = true;

	while (more) {
		const struct version_query q = {
			.list = { bucket, "", "", next, 1000 },
			.after_version = *next_version ? next_version : NULL,
		};

		CHECK_OK(
		    files_list_versions(f, &q, count_size, &sizes, &more, next, next_version, &e),
		    &e);
	}
	return sizes;
}

/* Half of those that are old enough go, some in each of hundreds of steps, and the other half is between them. */
static void
a_key_may_have_any_number_of_versions(void **state)
{
	struct files f = new_account();
	struct sizes left;
	struct err e = { 0 };

	(void)state;
	CHECK_OK(files_versioning_set(&f, "photos", VERSIONING_ON, &e), &e);
	for (unsigned i = 0; i < 20000; i++) {
		if (i == 10000)
			pass_days(5);
		put(&f, "photos", "k", "12", i % 2 ? 1 : 2);
	}
	set_rule(&f, "photos",
	    (struct rule){ .noncurrent_days = 3, .keep = 100, .has_over = true, .over_bytes = 1 });
	look();
	left = count_versions(&f, "photos");
	CHECK(left.n[1] == 10000 && left.n[2] == 5000);
	for (int i = 0; i < 2; i++) {
		pass_days(4);
		look();
		left = count_versions(&f, "photos");
		CHECK(left.n[1] == 10000 && left.n[2] == 50);
	}
	CHECK(is_there(&f, "photos", "k"));
}

int
main(void)
{
	const struct host_ops clock = { wall_ms, clock_mono_ns, clock_random };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_object_goes_at_the_midnight_after_its_days),
		cmocka_unit_test(a_date_is_for_all_that_is_there_from_then_on),
		cmocka_unit_test(a_rule_is_for_what_its_filter_covers),
		cmocka_unit_test(versions_go_once_they_are_noncurrent_for_long_enough),
		cmocka_unit_test(the_newest_noncurrent_ones_are_kept),
		cmocka_unit_test(an_expired_object_goes_behind_a_marker_and_that_when_it_is_alone),
		cmocka_unit_test(an_upload_that_nobody_completes_goes_with_its_parts),
		cmocka_unit_test(what_is_locked_stays),
		cmocka_unit_test(only_vaults_with_rules_have_a_record),
		cmocka_unit_test(an_arrival_is_looked_at),
		cmocka_unit_test(a_clock_that_jumps_removes_nothing_early),
		cmocka_unit_test(nothing_goes_where_the_gate_is_closed),
		cmocka_unit_test(large_buckets_are_gone_through_in_steps),
		cmocka_unit_test(a_key_may_have_any_number_of_versions),
	};
	int failed;

	host_replace(&clock);
	region_open(&region, false);
	lifecycle = (struct lifecycle){ .node = &region.node, .day_ms = DAY_MS };
	pthread_mutex_init(&lifecycle.lock, NULL);
	host_cond_init(&lifecycle.changed);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	region_close(&region);
	host_replace(NULL);
	return failed;
}
