/* Whatever allocation fails under the sealed store, the vault is as it was or as it was to become, and the
 * next try succeeds. A leak shows under the address sanitizer.
 */
#include "alloc_fault.h"
#include "sealed_fixture.h"

#define PAGES 40

static uint8_t template_page[PAGE_BYTES];

static int
create(struct fixture *f, struct err *e)
{
	const struct page_template t = { template_page, 1 };

	return sealed_create(f->g, f->keys, &f->id, 1, &t, e);
}

/* Open, check what it says, and close; the version, or 0. */
static uint64_t
version_of(struct fixture *f, struct err *e)
{
	_cleanup_(sealed_closep) struct sealed *s = sealed_open(
	    f->g, f->keys, &f->id, SEALED_READ, e);
	struct sealed_info info;

	if (!s || sealed_verify(s, e) < 0)
		return 0;
	sealed_get_info(s, &info);
	return info.version;
}

/* The NTH commit: pages that tell it, one chunk more; and a checkpoint if asked for. */
static int
change(struct fixture *f, unsigned nth, bool checkpoint, struct err *e)
{
	_cleanup_(sealed_closep) struct sealed *s = sealed_open(
	    f->g, f->keys, &f->id, SEALED_OWN, e);
	struct chunk_ref c = { .name = { (uint8_t)nth, (uint8_t)(nth >> 8), 1 }, .bytes = 10 };
	uint8_t page[PAGE_BYTES];

	if (!s)
		return -1;
	memset(page, (int)(nth & 255), sizeof(page));
	for (uint32_t n = 1; n <= PAGES; n++)
		if (sealed_put_page(s, n, page, e) < 0)
			return -1;
	sealed_put_page_count(s, PAGES);
	if (sealed_put_chunk(s, &c, e) < 0 || sealed_commit(s, e) < 0)
		return -1;
	return checkpoint ? sealed_checkpoint(s, e) : 0;
}

static void
a_vault_is_made_wholly_or_not_at_all(void **state)
{
	struct fixture *f = *state;
	struct alloc_turn t = { 0 };

	while (alloc_next(&t)) {
		struct err e = { 0 };
		int r;

		account_random(&f->id.account);
		alloc_arm(&t);
		r = create(f, &e);
		alloc_disarm(&t);
		CHECK(r == 0 || (t.fired && e.kind == ERR_MEMORY));
		if (r < 0)
			CHECK_OK(create(f, &e), &e);
		CHECK(version_of(f, &e) == 1);
	}
}

static void
opening_says_that_memory_is_full(void **state)
{
	struct fixture *f = *state;
	struct alloc_turn t = { 0 };
	struct err e = { 0 };

	CHECK_OK(create(f, &e), &e);
	CHECK_OK(change(f, 1, false, &e), &e);
	CHECK_OK(change(f, 2, true, &e), &e);
	CHECK_OK(change(f, 3, false, &e), &e);
	while (alloc_next(&t)) {
		uint64_t version;

		alloc_arm(&t);
		version = version_of(f, &e);
		alloc_disarm(&t);
		if (version == 0 && (!t.fired || e.kind != ERR_MEMORY))
			fail_msg("allocation %u: %s: %s", t.nth, err_word(e.kind), e.text);
		CHECK(version == 4 || version == 0);
	}
	CHECK(version_of(f, &e) == 4);
}

/* The version goes up by one where the commit came through, and by none where it did not. */
static void
commits_under_faults(struct fixture *f, bool checkpoint)
{
	struct alloc_turn t = { 0 };
	struct err e = { 0 };
	unsigned nth = 0;

	account_random(&f->id.account);
	CHECK_OK(create(f, &e), &e);
	while (alloc_next(&t)) {
		uint64_t before = version_of(f, &e), after;
		int r;

		alloc_arm(&t);
		r = change(f, ++nth, checkpoint, &e);
		alloc_disarm(&t);
		if (r < 0 && (!t.fired || e.kind != ERR_MEMORY))
			fail_msg("allocation %u: %s: %s", t.nth, err_word(e.kind), e.text);
		after = version_of(f, &e);
		CHECK(after == before + 1 || (r < 0 && after == before));
		CHECK_OK(change(f, ++nth, checkpoint, &e), &e);
		CHECK(version_of(f, &e) == after + 1);
	}
}

static void
a_commit_happens_or_does_not(void **state)
{
	commits_under_faults(*state, false);
}

static void
a_checkpoint_changes_nothing(void **state)
{
	commits_under_faults(*state, true);
}

/* --- taking a copy --- */


static int
carry_page(void *arg, uint32_t number, uint64_t version, const uint8_t *plain, struct err *e)
{
	return sealed_import_page(arg, number, version, plain, e);
}

static int
carry_chunk(void *arg, const struct chunk_ref *c, struct err *e)
{
	return sealed_import_chunk(arg, c, e);
}

static int
carry_entry(void *arg, uint64_t version, const uint8_t *plain, size_t n, struct err *e)
{
	return sealed_import_entry(arg, version, plain, n, e);
}

/* All of it into engine TO; the roots must be the same. */
static int
carry(struct fixture *f, struct engine *to, struct err *e)
{
	_cleanup_(sealed_closep) struct sealed *s = sealed_open(
	    f->g, f->keys, &f->id, SEALED_READ, e);
	_cleanup_(sealed_closep) struct sealed *d = NULL;
	uint8_t here[SHA256_BYTES], there[SHA256_BYTES];
	struct sealed_info info;

	if (!s)
		return -1;
	sealed_get_info(s, &info);
	d = sealed_import(to, f->keys, &f->id, 2, info.base, info.base_page_count, e);
	if (!d || sealed_export_pages(s, carry_page, d, e) < 0 ||
	    sealed_chunks(s, carry_chunk, d, e) < 0 ||
	    sealed_export_entries(s, info.base, carry_entry, d, e) < 0 ||
	    sealed_import_write(d, e) < 0 || sealed_root(s, here, e) < 0 ||
	    sealed_root(d, there, e) < 0)
		return -1;
	CHECK_BYTES(here, there, sizeof(here));
	return sealed_import_finish(d, e);
}

static void
a_copy_is_the_same_or_not_to_be_opened(void **state)
{
	struct fixture *f = *state;
	struct alloc_turn t = { 0 };
	struct err e = { 0 };

	CHECK_OK(create(f, &e), &e);
	CHECK_OK(change(f, 1, true, &e), &e);
	CHECK_OK(change(f, 2, false, &e), &e);
	while (alloc_next(&t)) {
		struct engine *to = engine_memory(&e), *from = f->g;
		int r;

		CHECK(to);
		alloc_arm(&t);
		r = carry(f, to, &e);
		alloc_disarm(&t);
		if (r < 0 && (!t.fired || e.kind != ERR_MEMORY))
			fail_msg("allocation %u: %s: %s", t.nth, err_word(e.kind), e.text);
		f->g = to;
		CHECK(r < 0 || version_of(f, &e) == 3);
		CHECK(r == 0 || !sealed_open(to, f->keys, &f->id, SEALED_OWN, &e));
		f->g = from;
		engine_close(to);
		CHECK(version_of(f, &e) == 3);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_vault_is_made_wholly_or_not_at_all),
		TEST(opening_says_that_memory_is_full),
		TEST(a_commit_happens_or_does_not),
		TEST(a_checkpoint_changes_nothing),
		TEST(a_copy_is_the_same_or_not_to_be_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
