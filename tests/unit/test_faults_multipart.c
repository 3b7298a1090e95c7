/* Multipart uploads while every call of engine or chunks fails once in turn: a part, the completion, the
 * giving up each happen wholly or not at all, and can be asked for again.
 */
#include "fault_fixture.h"

#define FIRST  ((size_t)5 << 20) /* the least that a part that is not the last may have */
#define SECOND ((size_t)60000)

static uint8_t *content;
static char upload_id[33];
static struct part_info parts[2];

static int
put_part(struct files *f, unsigned number, const uint8_t *p, size_t n, struct err *e)
{
	_cleanup_(upload_closep) struct upload *u = upload_begin(f, "photos", e);
	struct object_info out;

	if (!u || upload_add(u, p, n, e) < 0 || upload_settle(u, e) < 0 ||
	    upload_part(u, f, "k", upload_id, number, &out, e) < 0)
		return -1;
	parts[number - 1] = (struct part_info){ .number = number };
	strcpy(parts[number - 1].etag, out.etag);
	return 0;
}

static unsigned
count_parts(struct files *f)
{
	struct part_info found[4];
	struct err e = { 0 };
	bool more;
	int n = multipart_parts(f, "photos", "k", upload_id, 0, 4, found, &more, NULL, &e);

	CHECK(n >= 0 || e.kind == ERR_MISSING);
	return n < 0 ? 0 : (unsigned)n;
}

static void
begin(struct files *f)
{
	struct err e = { 0 };

	CHECK_OK(multipart_begin(f, "photos", "k", "", NULL, upload_id, NULL, &e), &e);
}

/* Abort if it is still there; and the object. */
static void
clear(struct files *f)
{
	struct err e = { 0 };

	if (multipart_abort(f, "photos", "k", upload_id, &e) < 0)
		CHECK(e.kind == ERR_MISSING);
	fault_clear(f, "photos", "k");
}

/* --- a part --- */

static int
put_second(struct files *f, struct err *e)
{
	return put_part(f, 2, content + FIRST, SECOND, e);
}

static bool
has_part(struct files *f)
{
	return count_parts(f) == 1;
}

static bool
has_no_part(struct files *f)
{
	return count_parts(f) == 0;
}

static void
a_part_is_whole_or_absent(void **state)
{
	fault_try(*state,
	    &(struct fault_deed){ begin, put_second, has_part, has_no_part, put_second, clear });
}

static void
begin_with_part(struct files *f)
{
	struct err e = { 0 };

	begin(f);
	CHECK_OK(put_second(f, &e), &e);
}

/* A part that is put again has one content, the former or the new one: both are the same here. */
static void
a_part_that_is_put_again_stays_one(void **state)
{
	fault_try(*state,
	    &(struct fault_deed){
	        begin_with_part, put_second, has_part, has_no_part, put_second, clear });
}

/* --- the end --- */

static void
begin_with_parts(struct files *f)
{
	struct err e = { 0 };

	begin(f);
	CHECK_OK(put_part(f, 1, content, FIRST, &e), &e);
	CHECK_OK(put_second(f, &e), &e);
}

static int
complete(struct files *f, struct err *e)
{
	struct object_info out;
	const char *reason;

	return multipart_complete(
	    f, "photos", "k", upload_id, parts, 2, NULL, NULL, &out, &reason, e);
}

static bool
is_object(struct files *f)
{
	return fault_is_it(f, "photos", "k", content, FIRST + SECOND);
}

static bool
is_upload(struct files *f)
{
	return count_parts(f) == 2;
}

static void
a_completion_happens_or_can_be_asked_for_again(void **state)
{
	fault_try(*state,
	    &(struct fault_deed){
	        begin_with_parts, complete, is_object, is_upload, complete, clear });
}

static int
give_up(struct files *f, struct err *e)
{
	return multipart_abort(f, "photos", "k", upload_id, e);
}

static bool
is_given_up(struct files *f)
{
	struct err e = { 0 };
	struct part_info found[4];
	bool more;

	return multipart_parts(f, "photos", "k", upload_id, 0, 4, found, &more, NULL, &e) < 0 &&
	    e.kind == ERR_MISSING;
}

static void
giving_up_happens_or_can_be_asked_for_again(void **state)
{
	fault_try(*state,
	    &(struct fault_deed){
	        begin_with_part, give_up, is_given_up, has_part, give_up, clear });
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		FAULT_TEST(a_part_is_whole_or_absent),
		FAULT_TEST(a_part_that_is_put_again_stays_one),
		FAULT_TEST(a_completion_happens_or_can_be_asked_for_again),
		FAULT_TEST(giving_up_happens_or_can_be_asked_for_again),
	};
	int failed;

	fault_use_memory();
	content = noise(FIRST + SECOND, 3);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(content);
	return failed;
}
