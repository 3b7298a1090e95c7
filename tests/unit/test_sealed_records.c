/* Region keys, page records and redo records: each opens as it was sealed, where it belongs. */
#include "sealed_fixture.h"

#include <sys/stat.h>

/* --- region key ---------------------------------------------------------------------------- */

static void
a_region_key_that_others_may_read_is_refused(void **state)
{
	struct fixture *f = *state;
	const char *path = check_path(f->dir, "region.key");
	static const mode_t bad[] = { 0644, 0640, 0604, 0700, 0620, 0000 };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CHECK(chmod(path, bad[i]) == 0);
		CHECK(!keys_file_open(path, &f->e));
		CHECK(f->e.kind == ERR_DENIED);
	}
	CHECK(chmod(path, 0644) == 0);
	CHECK(!keys_file_open(path, &f->e));
	CHECK(strstr(f->e.text, "chmod 600"));
	CHECK(chmod(path, 0400) == 0);
	keys_close(keys_file_open(path, &f->e));

	CHECK(!keys_file_open(f->dir, &f->e));
	CHECK(f->e.kind == ERR_DENIED);
	CHECK(!keys_file_open(check_path(f->dir, "none"), &f->e));
	CHECK(f->e.kind == ERR_MISSING);
	CHECK(keys_file_create(path, &f->e) < 0);
	CHECK(f->e.kind == ERR_EXISTS);
}

static void
write_file(const char *path, const uint8_t *p, size_t n)
{
	FILE *file = fopen(path, "w");

	CHECK(file);
	CHECK(fwrite(p, 1, n, file) == n);
	CHECK(fclose(file) == 0);
	CHECK(chmod(path, 0600) == 0);
}

static void
a_damaged_region_key_is_refused(void **state)
{
	struct fixture *f = *state;
	const char *path = check_path(f->dir, "region.key");
	uint8_t text[512];
	FILE *file = fopen(path, "r");
	size_t n;

	CHECK(file);
	n = fread(text, 1, sizeof(text), file);
	fclose(file);
	for (size_t i = 0; i < n; i++) {
		text[i] ^= 2;
		write_file(path, text, n);
		CHECK(!keys_file_open(path, &f->e));
		CHECK(f->e.kind == ERR_FORGED);
		text[i] ^= 2;
	}
	for (size_t i = 0; i < n; i++) {
		write_file(path, text, i);
		CHECK(!keys_file_open(path, &f->e));
	}
	write_file(path, text, n);
	keys_close(keys_file_open(path, &f->e));
}

static void
a_wrapped_key_opens_for_its_vault_and_epoch_only(void **state)
{
	struct fixture *f = *state;
	uint8_t key[KEY_BYTES], wrapped[WRAPPED_BYTES], out[KEY_BYTES];
	struct vault_id other = f->id;

	random_bytes(key, sizeof(key));
	CHECK_OK(keys_wrap(f->keys, &f->id, 7, key, wrapped, &f->e), &f->e);
	CHECK_OK(keys_unwrap(f->keys, &f->id, 7, wrapped, out, &f->e), &f->e);
	CHECK_BYTES(out, key, sizeof(key));
	CHECK(keys_unwrap(f->keys, &f->id, 8, wrapped, out, &f->e) < 0);
	CHECK(f->e.kind == ERR_FORGED);
	other.service = SERVICE_BACKUP;
	CHECK(keys_unwrap(f->keys, &other, 7, wrapped, out, &f->e) < 0);
	CHECK(f->e.kind == ERR_FORGED);
	wrapped[3]++;
	CHECK(keys_unwrap(f->keys, &f->id, 7, wrapped, out, &f->e) < 0);
	CHECK(f->e.kind == ERR_MISSING);
}

/* --- pages --------------------------------------------------------------------------------- */

static void
a_page_opens_as_it_was_sealed(void **state)
{
	struct fixture *f = *state;
	uint8_t key[KEY_BYTES] = { 1 }, page[PAGE_BYTES], out[PAGE_BYTES];
	_cleanup_(aead_closep) struct aead *a = aead_open(key, &f->e);
	_cleanup_buf_ struct buf record = BUF_INIT(0);
	uint64_t version;

	for (unsigned i = 0; i < 300; i++) {
		fill_page(page, i);
		buf_clear(&record);
		CHECK_OK(page_seal(a, &f->id, i + 1, i, page, &record, &f->e), &f->e);
		CHECK(record.len <= PAGE_RECORD_MAX);
		CHECK_OK(page_open(a, &f->id, i + 1, record.data, record.len, &version, out, &f->e),
		    &f->e);
		CHECK(version == i);
		CHECK_BYTES(out, page, PAGE_BYTES);
		if (i % 3 == 0)
			CHECK(record.len < 100); /* zeros shrink */
	}
}

/* By hand and from the description in the header, so that a change of format does not go unseen. */
static void
a_page_record_is_laid_out_as_documented(void **state)
{
	struct fixture *f = *state;
	uint8_t key[KEY_BYTES] = { 1 }, page[PAGE_BYTES], ad[30] = { 'P' }, out[2 + PAGE_BYTES];
	_cleanup_(aead_closep) struct aead *a = aead_open(key, &f->e);
	_cleanup_buf_ struct buf r = BUF_INIT(0);

	fill_page(page, 1);
	CHECK_OK(page_seal(a, &f->id, 0x01020304, 0x0506070809, page, &r, &f->e), &f->e);
	memcpy(ad + 1, &f->id, 17);
	memcpy(ad + 18, "\1\2\3\4\0\0\0\5\6\7\10\11", 12);
	CHECK(r.len == 1 + 8 + 12 + 2 + PAGE_BYTES + 16);
	CHECK(r.data[0] == 1);
	CHECK_BYTES(r.data + 1, ad + 22, 8);
	CHECK_OK(aead_unseal(a, r.data + 9, ad, 30, r.data + 21, r.len - 21, out, &f->e), &f->e);
	CHECK(out[0] == 0x10 && out[1] == 0);
	CHECK_BYTES(out + 2, page, PAGE_BYTES);
}

static void
a_page_that_was_touched_does_not_open(void **state)
{
	struct fixture *f = *state;
	uint8_t key[KEY_BYTES] = { 1 }, page[PAGE_BYTES], out[PAGE_BYTES];
	_cleanup_(aead_closep) struct aead *a = aead_open(key, &f->e);
	_cleanup_buf_ struct buf r = BUF_INIT(0);
	struct vault_id other = f->id;
	uint64_t version = 99;

	fill_page(page, 2);
	CHECK_OK(page_seal(a, &f->id, 5, 3, page, &r, &f->e), &f->e);
	for (size_t i = 0; i < r.len * 8; i++) {
		r.data[i / 8] ^= (uint8_t)BIT(i % 8);
		CHECK(page_open(a, &f->id, 5, r.data, r.len, &version, out, &f->e) < 0);
		CHECK(f->e.kind == ERR_FORGED && strstr(f->e.text, "page 5"));
		CHECK(strstr(f->e.text, "vault files "));
		r.data[i / 8] ^= (uint8_t)BIT(i % 8);
	}
	for (size_t n = 0; n < r.len; n++)
		CHECK(page_open(a, &f->id, 5, r.data, n, &version, out, &f->e) < 0);
	CHECK(page_open(a, &f->id, 6, r.data, r.len, &version, out, &f->e) < 0);
	other.account.b[3] ^= 1;
	CHECK(page_open(a, &other, 5, r.data, r.len, &version, out, &f->e) < 0);
	CHECK(version == 99);
	CHECK_OK(page_open(a, &f->id, 5, r.data, r.len, &version, out, &f->e), &f->e);
}

/* --- redo entries -------------------------------------------------------------------------- */

struct patch {
	uint8_t page[PAGE_BYTES];
	uint32_t last_end;
	unsigned n;
};

static int
patch_in(void *arg, uint32_t page, uint32_t offset, const uint8_t *p, uint32_t n, struct err *e)
{
	struct patch *to = arg;

	(void)e;
	CHECK(page == 9);
	CHECK(!to->n || offset >= to->last_end + 16); /* nearer ones are joined */
	memcpy(to->page + offset, p, n);
	to->last_end = offset + n;
	to->n++;
	return 0;
}

static void
the_ranges_turn_the_old_page_into_the_new(void **state)
{
	struct fixture *f = *state;
	struct redo_visit v = { .range = patch_in };
	_cleanup_buf_ struct buf plain = BUF_INIT(0);
	uint8_t old[PAGE_BYTES], new[PAGE_BYTES];
	uint32_t pages;

	for (unsigned i = 0; i < 2000; i++) {
		unsigned edits = random_below(6), ranges;
		struct patch to = { .n = 0 };

		fill_page(old, i);
		memcpy(new, old, PAGE_BYTES);
		for (unsigned k = 0; k < edits; k++) {
			uint32_t at = random_below(PAGE_BYTES);
			uint32_t n = 1 + random_below(random_below(2) ? 4 : 200);

			random_bytes(new + at, at + n > PAGE_BYTES ? PAGE_BYTES - at : n);
		}
		if (i % 7 == 0) /* both ends */
			new[0] ^= 1, new[PAGE_BYTES - 1] ^= 1;
		buf_clear(&plain);
		put_u32(&plain, 9);
		put_u32(&plain, 0);
		ranges = redo_diff(&plain, 9, i % 5 ? old : NULL, new);
		be32_put(plain.data + 4, ranges);
		put_u32(&plain, 0);
		put_u32(&plain, 0);
		if (i % 5)
			memcpy(to.page, old, PAGE_BYTES);
		CHECK(ranges || memcmp(new, to.page, PAGE_BYTES) == 0);
		v.arg = &to;
		CHECK_OK(redo_visit(plain.data, plain.len, &pages, &v, &f->e), &f->e);
		CHECK(to.n == ranges && pages == 9);
		CHECK_BYTES(to.page, new, PAGE_BYTES);
	}
}

static int
count_range(void *arg, uint32_t page, uint32_t offset, const uint8_t *p, uint32_t n, struct err *e)
{
	(void)page, (void)offset, (void)p, (void)n, (void)e;
	++*(unsigned *)arg;
	return 0;
}

static void
check_bad_entry(const struct buf *plain)
{
	unsigned calls = 0;
	struct redo_visit v = { .range = count_range, .arg = &calls };
	uint32_t pages;
	struct err e;

	CHECK(redo_visit(plain->data, plain->len, &pages, &v, &e) < 0);
	CHECK(e.kind == ERR_BAD);
	CHECK(!calls); /* refused before anything is done */
}

static void
an_entry_out_of_bounds_is_refused_before_it_does_anything(void **state)
{
	static const struct {
		uint32_t page, at, n;
	} bad[] = { { 0, 0, 1 }, { 6, 0, 1 }, { 2, 4096, 1 }, { 2, 4000, 97 }, { 2, 5, 0 } };
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		buf_clear(&b);
		put_u32(&b, 5);
		put_u32(&b, 2);
		for (unsigned k = 0; k < 2; k++) { /* a good one, then the bad one */
			put_u32(&b, k ? bad[i].page : 1);
			put_u16(&b, (uint16_t)(k ? bad[i].at : 0));
			put_u16(&b, (uint16_t)(k ? bad[i].n : 1));
			for (uint32_t n = k ? bad[i].n : 1; n; n--)
				put_u8(&b, 1);
		}
		put_u64(&b, 0);
		check_bad_entry(&b);
	}
	for (size_t n = 0; n < b.len; n++) {
		struct buf part = { .data = b.data, .len = n };

		check_bad_entry(&part);
	}
	put_u8(&b, 0);
	check_bad_entry(&b);
}

static void
a_redo_record_opens_as_it_was_sealed_or_not_at_all(void **state)
{
	static const size_t sizes[] = { 0, 1, 127, 128, 5000, 16384, 16385, 300000, 5 << 20 };
	struct fixture *f = *state;
	uint8_t key[KEY_BYTES] = { 2 };
	_cleanup_(aead_closep) struct aead *a = aead_open(key, &f->e);
	_cleanup_buf_ struct buf record = BUF_INIT(0), out = BUF_INIT(0);
	_cleanup_(freep) uint8_t *plain = calloc(1, 5 << 20);

	for (unsigned i = 0; i < 2 * ARRAY_LEN(sizes); i++) {
		size_t n = sizes[i / 2];

		if (i % 2)
			random_bytes(plain, n);
		buf_clear(&record);
		buf_clear(&out);
		CHECK_OK(redo_seal(a, &f->id, 8, plain, n, &record, &f->e), &f->e);
		CHECK_OK(redo_open(a, &f->id, 8, record.data, record.len, &out, &f->e), &f->e);
		CHECK(out.len == n);
		if (n)
			CHECK_BYTES(out.data, plain, n);
		CHECK(redo_open(a, &f->id, 9, record.data, record.len, &out, &f->e) < 0);
		CHECK(f->e.kind == ERR_FORGED && strstr(f->e.text, "redo entry 9"));
		for (size_t k = 0; k < record.len; k += 1 + record.len / 50) {
			record.data[k] ^= 4;
			CHECK(redo_open(a, &f->id, 8, record.data, record.len, &out, &f->e) < 0);
			CHECK(f->e.kind == ERR_FORGED);
			record.data[k] ^= 4;
			CHECK(redo_open(a, &f->id, 8, record.data, k, &out, &f->e) < 0);
		}
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_region_key_that_others_may_read_is_refused),
		T(a_damaged_region_key_is_refused),
		T(a_wrapped_key_opens_for_its_vault_and_epoch_only),
		T(a_page_opens_as_it_was_sealed),
		T(a_page_record_is_laid_out_as_documented),
		T(a_page_that_was_touched_does_not_open),
		T(the_ranges_turn_the_old_page_into_the_new),
		T(an_entry_out_of_bounds_is_refused_before_it_does_anything),
		T(a_redo_record_opens_as_it_was_sealed_or_not_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
