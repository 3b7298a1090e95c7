/* Whatever call of engine or chunks fails under it, what an account asks for happens wholly or not at all,
 * and for good once it was acknowledged; what it leaves behind goes with a sweep, and the next request
 * succeeds.
 */
#include "fault_fixture.h"

static uint8_t *old, *new; /* content of what was there, and of what comes */

#define SMALL   500
#define CHUNKED 110000
#define REPLACE 40000

/* N bytes in chunks of 50000: what is read again while it is still arriving ends a chunk. */
static int
put_pieces(struct files *f, const uint8_t *p, size_t n, struct err *e)
{
	_cleanup_(upload_closep) struct upload *u = upload_begin(f, "photos", e);
	const size_t piece = 50000;
	struct object_info out;
	uint8_t byte;

	if (!u)
		return -1;
	for (size_t at = 0; at < n; at += piece)
		if (upload_add(u, p + at, n - at < piece ? n - at : piece, e) < 0 ||
		    upload_read(u, at, &byte, 1, e) < 0)
			return -1;
	if (upload_settle(u, e) < 0)
		return -1;
	return upload_put(u, f, "k", NULL, NULL, &out, e);
}

static bool
is_nothing(struct files *f)
{
	return fault_is_absent(f, "photos", "k");
}

static void
clear(struct files *f)
{
	fault_clear(f, "photos", "k");
}

/* --- puts --- */

static int
put_small(struct files *f, struct err *e)
{
	return put_pieces(f, new, SMALL, e);
}

static bool
is_small(struct files *f)
{
	return fault_is_it(f, "photos", "k", new, SMALL);
}

static void
a_small_put_is_whole_or_absent(void **state)
{
	fault_try(*state,
	    &(struct fault_deed){ NULL, put_small, is_small, is_nothing, put_small, clear });
}

static int
put_chunked(struct files *f, struct err *e)
{
	return put_pieces(f, new, CHUNKED, e);
}

static bool
is_chunked(struct files *f)
{
	return fault_is_it(f, "photos", "k", new, CHUNKED);
}

static void
a_put_of_several_chunks_is_whole_or_absent(void **state)
{
	fault_try(*state,
	    &(struct fault_deed){ NULL, put_chunked, is_chunked, is_nothing, put_chunked, clear });
}

static void
put_old(struct files *f)
{
	put(f, "photos", "k", old, REPLACE);
}

static bool
is_old(struct files *f)
{
	return fault_is_it(f, "photos", "k", old, REPLACE);
}

static void
a_put_replaces_wholly_or_not_at_all(void **state)
{
	fault_try(*state,
	    &(struct fault_deed){ put_old, put_chunked, is_chunked, is_old, put_chunked, clear });
	fault_try(
	    *state, &(struct fault_deed){ put_old, put_small, is_small, is_old, put_small, clear });
}

/* --- copies --- */

static void
put_source(struct files *f)
{
	put(f, "backup-phone", "source", new, CHUNKED);
}

static int
copy(struct files *f, struct err *e)
{
	struct object_info out;
	bool missing_bucket;
	_cleanup_(object_closep) struct object *source = object_open(
	    f, "backup-phone", "source", true, &missing_bucket, e);
	_cleanup_(upload_closep) struct upload *u = source
	    ? files_copy_begin(f, source, 0, UINT64_MAX, "photos", e)
	    : NULL;

	return u ? upload_put(u, f, "k", NULL, NULL, &out, e) : -1;
}

static void
clear_copy(struct files *f)
{
	CHECK(has(f, "backup-phone", "source", new, CHUNKED));
	fault_clear(f, "backup-phone", "source");
	clear(f);
}

static void
a_copy_is_whole_or_absent(void **state)
{
	fault_try(*state,
	    &(struct fault_deed){ put_source, copy, is_chunked, is_nothing, copy, clear_copy });
}

/* --- removals --- */

static void
put_new(struct files *f)
{
	put(f, "photos", "k", new, CHUNKED);
}

static int
remove_object(struct files *f, struct err *e)
{
	return files_remove(f, "photos", "k", e);
}

static void
a_removal_happens_or_does_not(void **state)
{
	fault_try(*state,
	    &(struct fault_deed){
	        put_new, remove_object, is_nothing, is_chunked, remove_object, clear });
}

static void
make_bucket(struct files *f)
{
	struct err e = { 0 };

	CHECK_OK(files_bucket_create(f, "empty", &e), &e);
}

static int
remove_bucket(struct files *f, struct err *e)
{
	return files_bucket_remove(f, "empty", e);
}

static bool
has_bucket(struct files *f)
{
	struct err e = { 0 };
	int r = files_bucket_find(f, "empty", &e);

	CHECK(r == 0 || e.kind == ERR_MISSING);
	return r == 0;
}

static bool
has_no_bucket(struct files *f)
{
	return !has_bucket(f);
}

static int
create_bucket(struct files *f, struct err *e)
{
	return files_bucket_create(f, "empty", e);
}

static void
clear_bucket(struct files *f)
{
	struct err e = { 0 };

	if (has_bucket(f))
		CHECK_OK(files_bucket_remove(f, "empty", &e), &e);
}

static void
a_bucket_comes_and_goes_wholly(void **state)
{
	fault_try(*state,
	    &(struct fault_deed){
	        NULL, create_bucket, has_bucket, has_no_bucket, create_bucket, clear_bucket });
	fault_try(*state,
	    &(struct fault_deed){ make_bucket, remove_bucket, has_no_bucket, has_bucket,
	        remove_bucket, clear_bucket });
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		FAULT_TEST(a_small_put_is_whole_or_absent),
		FAULT_TEST(a_put_of_several_chunks_is_whole_or_absent),
		FAULT_TEST(a_put_replaces_wholly_or_not_at_all),
		FAULT_TEST(a_copy_is_whole_or_absent),
		FAULT_TEST(a_removal_happens_or_does_not),
		FAULT_TEST(a_bucket_comes_and_goes_wholly),
	};
	int failed;

	fault_use_memory();
	old = noise(REPLACE, 1);
	new = noise(CHUNKED, 2);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(old);
	free(new);
	return failed;
}
