/* Whatever call of engine or chunks fails under it, a change of versions, markers or locks happens
 * wholly or not at all: no version is lost or comes twice, and nothing is ever there without the lock
 * that it asked for.
 */
#include "fault_fixture.h"

#include "base/host.h"

#define OLD_SIZE 40000
#define NEW_SIZE 110000
#define DAY_MS   ((uint64_t)24 * 3600 * 1000)

static uint8_t *old, *new;
static const char *bucket; /* of what is going on */

/* --- what is there --- */

struct seen {
	char shape[16]; /* of each version, the newest first: old, new, or a marker */
	char ids[16][FILES_VERSION_SIZE];
	size_t n;
};

static int
see_one(void *arg, const char *key, const struct object_info *i, struct err *e)
{
	struct seen *s = arg;

	(void)e;
	CHECK(strcmp(key, "k") == 0 && s->n < ARRAY_LEN(s->ids));
	CHECK(i->is_marker || i->size == OLD_SIZE || i->size == NEW_SIZE);
	memcpy(s->ids[s->n], i->version, FILES_VERSION_SIZE);
	s->shape[s->n++] = i->is_marker ? 'm' : i->size == OLD_SIZE ? 'o' : 'n';
	return 0;
}

static struct seen
see(struct files *f)
{
	struct version_query q = {
		.list = { .bucket = bucket,
		    .prefix = "",
		    .delimiter = "",
		    .after = "",
		    .max = 1000 },
	};
	char next[FILES_KEY_MAX + 1], next_version[FILES_VERSION_SIZE];
	struct seen s = { .n = 0 };
	struct err e = { 0 };
	bool more;

	CHECK_OK(files_list_versions(f, &q, see_one, &s, &more, next, next_version, &e), &e);
	CHECK(!more);
	return s;
}

/* The versions of "k", each of them whole. */
static bool
is_shape(struct files *f, const char *should)
{
	struct seen s = see(f);
	struct object_absence why;
	struct err e = { 0 };

	for (size_t i = 0; i < s.n; i++) {
		bool is_old = s.shape[i] == 'o';
		struct object *o;

		if (s.shape[i] == 'm')
			continue;
		o = object_open_version(f, bucket, "k", s.ids[i], true, &why, &e);
		if (!o)
			fail_msg("version %zu of %s: %s", i, s.shape, e.text);
		check_object(o, is_old ? old : new, is_old ? OLD_SIZE : NEW_SIZE, 70001);
		object_close(o);
	}
	CHECK(fault_is_absent(f, bucket, "k") == (!s.n || s.shape[0] == 'm'));
	return strcmp(s.shape, should) == 0;
}

/* Named for what they look for. */
static bool
is_none(struct files *f)
{
	return is_shape(f, "");
}
static bool
is_o(struct files *f)
{
	return is_shape(f, "o");
}
static bool
is_no(struct files *f)
{
	return is_shape(f, "no");
}
static bool
is_oo(struct files *f)
{
	return is_shape(f, "oo");
}
static bool
is_mo(struct files *f)
{
	return is_shape(f, "mo");
}

static int
remove_newest(struct files *f, struct err *e)
{
	struct seen s = see(f);
	struct removal r = { .key = "k", .version = s.ids[0], .may_bypass = true };

	if (files_remove_many(f, bucket, &r, 1, e) < 0)
		return -1;
	return r.err.kind ? err_set(e, r.err.kind, "%s", r.err.text) : 0;
}

static void
clear(struct files *f)
{
	struct object_absence why;
	struct err e = { 0 };

	while (see(f).n) {
		struct files_lock l;

		if (files_lock_get(f, bucket, "k", NULL, &l, &why, &e) == 0 && l.is_held)
			CHECK_OK(files_lock_hold(f, bucket, "k", NULL, false, true, &why, &e), &e);
		CHECK_OK(remove_newest(f, &e), &e);
	}
}

/* --- versions --- */

static void
use_bucket(struct files *f, const char *name, bool is_locking)
{
	struct err e = { 0 };
	int r;

	bucket = name;
	r = files_bucket_make(f, name, is_locking, NULL, (struct span){ NULL, 0 }, &e);
	CHECK(r == 0 || e.kind == ERR_EXISTS);
	if (!is_locking)
		CHECK_OK(files_versioning_set(f, name, VERSIONING_ON, &e), &e);
}

static void
have_o(struct files *f)
{
	use_bucket(f, "kept", false);
	put(f, bucket, "k", old, OLD_SIZE);
}

static void
have_no(struct files *f)
{
	have_o(f);
	put(f, bucket, "k", new, NEW_SIZE);
}

static void
have_mo(struct files *f)
{
	struct err e = { 0 };

	have_o(f);
	CHECK_OK(files_remove(f, bucket, "k", &e), &e);
}

/* The newer one is the null version. */
static void
have_oo(struct files *f)
{
	struct err e = { 0 };

	have_o(f);
	CHECK_OK(files_versioning_set(f, bucket, VERSIONING_SUSPENDED, &e), &e);
	put(f, bucket, "k", old, OLD_SIZE);
}

static int
put_new(struct files *f, struct err *e)
{
	struct object_info out;

	return put_with(f, bucket, "k", new, NEW_SIZE, NULL, NULL, &out, e);
}

static int
put_marker(struct files *f, struct err *e)
{
	return files_remove(f, bucket, "k", e);
}

static void
a_put_sets_the_former_version_aside_or_changes_nothing(void **state)
{
	fault_try(*state, &(struct fault_deed){ have_o, put_new, is_no, is_o, put_new, clear });
	fault_try(*state, &(struct fault_deed){ have_oo, put_new, is_no, is_oo, put_new, clear });
}

static void
a_delete_marker_comes_and_goes_wholly(void **state)
{
	fault_try(
	    *state, &(struct fault_deed){ have_o, put_marker, is_mo, is_o, put_marker, clear });
	fault_try(*state,
	    &(struct fault_deed){ have_mo, remove_newest, is_o, is_mo, remove_newest, clear });
	fault_try(
	    *state, &(struct fault_deed){ have_oo, put_marker, is_mo, is_oo, put_marker, clear });
}

static void
a_removed_version_gives_way_to_the_one_before(void **state)
{
	fault_try(*state,
	    &(struct fault_deed){ have_no, remove_newest, is_o, is_no, remove_newest, clear });
}

/* --- locks --- */

static void
have_nothing(struct files *f)
{
	use_bucket(f, "locked", true);
}

static void
have_unlocked(struct files *f)
{
	have_nothing(f);
	put(f, bucket, "k", new, NEW_SIZE);
}

static const struct files_lock *
tomorrow(void)
{
	static struct files_lock l;

	l = (struct files_lock){ LOCK_GOVERNANCE, host_wall_ms() + DAY_MS, false };
	return &l;
}

static int
put_locked(struct files *f, struct err *e)
{
	_cleanup_(upload_closep) struct upload *u = upload_begin(f, bucket, e);
	struct object_info out;

	if (!u || upload_add(u, new, NEW_SIZE, e) < 0 || upload_settle(u, e) < 0)
		return -1;
	upload_lock(u, tomorrow());
	return upload_put(u, f, "k", NULL, NULL, &out, e);
}

static int
retain(struct files *f, struct err *e)
{
	struct object_absence why;

	return files_lock_retain(f, bucket, "k", NULL, tomorrow(), true, &why, e);
}

static int
hold(struct files *f, struct err *e)
{
	struct object_absence why;

	return files_lock_hold(f, bucket, "k", NULL, true, true, &why, e);
}

/* Whether "k" is locked so, and then whether it can't be removed. */
static bool
is_locked(struct files *f, enum files_lock_mode mode, bool is_held)
{
	struct object_absence why;
	struct files_lock l;
	struct err e = { 0 };
	struct removal r = { .key = "k" };
	struct seen s = see(f);

	if (!is_shape(f, "n"))
		return false;
	CHECK_OK(files_lock_get(f, bucket, "k", NULL, &l, &why, &e), &e);
	if (l.mode != mode || l.is_held != is_held)
		return false;
	if (mode == LOCK_NONE && !is_held)
		return true;
	r.version = s.ids[0];
	CHECK_OK(files_remove_many(f, bucket, &r, 1, &e), &e);
	return r.err.kind == ERR_DENIED;
}

static bool
is_retained(struct files *f)
{
	return is_locked(f, LOCK_GOVERNANCE, false);
}
static bool
is_held(struct files *f)
{
	return is_locked(f, LOCK_NONE, true);
}
static bool
is_unlocked(struct files *f)
{
	return is_locked(f, LOCK_NONE, false);
}

static void
what_asks_for_a_lock_is_never_there_without(void **state)
{
	fault_try(*state,
	    &(struct fault_deed){
	        have_nothing, put_locked, is_retained, is_none, put_locked, clear });
}

static void
a_lock_is_set_or_is_not(void **state)
{
	fault_try(*state,
	    &(struct fault_deed){ have_unlocked, retain, is_retained, is_unlocked, retain, clear });
	fault_try(
	    *state, &(struct fault_deed){ have_unlocked, hold, is_held, is_unlocked, hold, clear });
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		FAULT_TEST(a_put_sets_the_former_version_aside_or_changes_nothing),
		FAULT_TEST(a_delete_marker_comes_and_goes_wholly),
		FAULT_TEST(a_removed_version_gives_way_to_the_one_before),
		FAULT_TEST(what_asks_for_a_lock_is_never_there_without),
		FAULT_TEST(a_lock_is_set_or_is_not),
	};
	int failed;

	fault_use_memory();
	old = noise(OLD_SIZE, 1);
	new = noise(NEW_SIZE, 2);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(old);
	free(new);
	return failed;
}
