/* Whatever allocation of ours fails under what an account asks for, it happens wholly or not at all, says
 * that there is no memory, and the next try succeeds. A leak shows under the address sanitizer.
 */
#include "alloc_fault.h"
#include "fault_fixture.h"

#define CHUNKED 70000

static uint8_t *content;

static int
put_small(struct files *f, struct err *e)
{
	struct object_info out;

	return put_with(f, "photos", "k", content, 500, NULL, NULL, &out, e);
}

static int
put_chunked(struct files *f, struct err *e)
{
	struct object_info out;

	return put_with(f, "photos", "k", content, CHUNKED, NULL, NULL, &out, e);
}

static int
read_whole(struct files *f, struct err *e)
{
	_cleanup_(object_closep) struct object *o = NULL;
	static uint8_t got[CHUNKED];
	bool missing_bucket;

	o = object_open(f, "photos", "there", true, &missing_bucket, e);
	if (!o || object_read(o, 0, got, CHUNKED, e) < 0)
		return -1;
	CHECK_BYTES(got, content, CHUNKED);
	return 0;
}

static int
count_key(void *arg, const char *key, const struct object_info *i, struct err *e)
{
	(void)key, (void)i, (void)e;
	++*(unsigned *)arg;
	return 0;
}

static int
list(struct files *f, struct err *e)
{
	const struct list_query q = { "photos", "", "", "", 1000 };
	char next[FILES_KEY_MAX + 1];
	unsigned n = 0;
	bool more;
	int r = files_list(f, &q, count_key, &n, &more, next, e);

	CHECK(r < 0 || n > 0);
	return r;
}

static int
remove_it(struct files *f, struct err *e)
{
	return files_remove(f, "photos", "k", e);
}

/* DEED with each allocation failed in turn, in a pool that has the vault open, and in one that has not. */
static void
try_deed(
    struct region *r, struct files *f, int (*deed)(struct files *f, struct err *e), bool is_open)
{
	struct vault_id id = { f->account, SERVICE_FILES };
	struct alloc_turn t = { 0 };

	while (alloc_next(&t)) {
		struct err e = { 0 };
		int rc;

		if (!is_open)
			pool_evict(r->store.pool, &id);
		alloc_arm(&t);
		rc = deed(f, &e);
		alloc_disarm(&t);
		if (rc < 0 && (!t.fired || e.kind != ERR_MEMORY))
			fail_msg("allocation %u: %s: %s", t.nth, err_word(e.kind), e.text);
		if (deed(f, &e) < 0)
			fail_msg("after allocation %u: %s", t.nth, e.text);
		CHECK_OK(flusher_wait(f->node->flusher, f->ticket, &e), &e);
	}
}

static void
requests_say_that_memory_is_full(void **state)
{
	struct region *r = *state;
	struct files f = fault_account(r);
	struct fault_turn none = { 0 };

	put(&f, "photos", "there", content, CHUNKED);
	for (int is_open = 0; is_open < 2; is_open++) {
		try_deed(r, &f, put_small, is_open);
		CHECK(fault_is_it(&f, "photos", "k", content, 500));
		try_deed(r, &f, put_chunked, is_open);
		CHECK(fault_is_it(&f, "photos", "k", content, CHUNKED));
		try_deed(r, &f, read_whole, is_open);
		try_deed(r, &f, list, is_open);
		try_deed(r, &f, remove_it, is_open);
	}
	fault_check_account(&none, &f, &r->store);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		FAULT_TEST(requests_say_that_memory_is_full),
	};
	int failed;

	fault_use_memory();
	content = noise(CHUNKED, 1);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(content);
	return failed;
}
