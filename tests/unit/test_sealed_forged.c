/* What others changed in a store is refused: bits, places, ages, histories. */
#include "sealed_fixture.h"

/* A vault with every kind of record: pages with and without redo entries, two chunks. */
static void
make_full(struct fixture *f)
{
	struct sealed *s;
	uint8_t page[PAGE_BYTES];
	struct chunk_ref c;

	fixture_create(f, 6, NULL);
	s = must_open(f, SEALED_OWN);
	for (unsigned i = 0; i < 4; i++) {
		CHECK_OK(sealed_read(s, 2 + i % 2, page, &f->e), &f->e);
		random_bytes(page + 100 * i, 20);
		CHECK_OK(sealed_put_page(s, 2 + i % 2, page, &f->e), &f->e);
		random_bytes((uint8_t *)&c, sizeof(c));
		if (i % 2)
			CHECK_OK(sealed_put_chunk(s, &c, &f->e), &f->e);
		CHECK_OK(sealed_commit(s, &f->e), &f->e);
	}
	sealed_close(s);
	CHECK(look(f->g, f->keys, &f->id, &f->e) == ERR_NONE);
}

static const char *
name_of(const struct raw_record *r)
{
	switch (r->key[0]) {
	case 'H':
		return "header";
	case 'P':
		return "page";
	case 'R':
		return "redo entr";
	default:
		return "chunk entr";
	}
}

static void
check_forged(struct fixture *f, const char *name)
{
	enum err_kind kind = look(f->g, f->keys, &f->id, &f->e);
	char text[300];

	if (kind != ERR_FORGED || !strstr(f->e.text, name) || !strstr(f->e.text, "vault files "))
		fail_msg("%s was touched, and: %s (%s)", name, err_word(kind), f->e.text);
	/* An owner sees it as well. */
	struct sealed *s = sealed_open(f->g, f->keys, &f->id, SEALED_OWN, &f->e);

	snprintf(text, sizeof(text), "%s", name);
	CHECK(!s || sealed_verify(s, &f->e) < 0);
	CHECK(f->e.kind == ERR_FORGED && strstr(f->e.text, text));
	sealed_close(s);
}

static void
a_record_with_a_flipped_bit_or_cut_short_is_refused(void **state)
{
	struct fixture *f = *state;
	struct raw_vault v;

	make_full(f);
	v = raw_take(f->g, &f->id);
	for (size_t i = 0; i < v.n; i++) {
		struct raw_record *r = &v.all[i];

		for (size_t k = 0; k<r->len; k += r->len> 500 ? 97 : 3) {
			uint8_t bit = (uint8_t)BIT(random_below(8));

			r->value[k] ^= bit;
			raw_put(f->g, &f->id, r, r->value, r->len);
			check_forged(f, name_of(r));
			r->value[k] ^= bit;
			raw_restore(f->g, &f->id, &v);
		}
		for (size_t n = 0; n < r->len; n += 1 + r->len / 4) {
			raw_put(f->g, &f->id, r, r->value, n);
			check_forged(f, name_of(r));
			raw_restore(f->g, &f->id, &v);
		}
		if (r->key[0] != 'H') {
			raw_put(f->g, &f->id, r, NULL, 0);
			check_forged(f, name_of(r));
			raw_restore(f->g, &f->id, &v);
		}
	}
	CHECK(look(f->g, f->keys, &f->id, &f->e) == ERR_NONE);
	raw_free(&v);
}

static void
records_that_changed_places_are_refused(void **state)
{
	struct fixture *f = *state;
	struct raw_vault v;

	make_full(f);
	v = raw_take(f->g, &f->id);
	for (size_t i = 0; i < v.n; i++) {
		for (size_t k = 0; k < v.n; k++) {
			struct raw_record *a = &v.all[i], *b = &v.all[k];

			if (i == k || a->key[0] != b->key[0])
				continue;
			raw_put(f->g, &f->id, a, b->value, b->len);
			raw_put(f->g, &f->id, b, a->value, a->len);
			check_forged(f, name_of(a));
			raw_restore(f->g, &f->id, &v);
		}
	}
	raw_free(&v);
}

static void
records_of_another_vault_or_region_are_refused(void **state)
{
	struct fixture *f = *state;
	struct vault_id first = f->id;
	struct raw_vault mine, other;
	struct keys *k;
	const char *path = check_path(f->dir, "other.key");

	make_full(f);
	other = raw_take(f->g, &f->id);
	f->id.account.b[0] ^= 1;
	make_full(f);
	mine = raw_take(f->g, &f->id);
	for (size_t i = 0; i < mine.n; i++) {
		struct raw_record *r = &mine.all[i], *from = r;

		if (r->key[0] == 'C')
			continue; /* the names differ */
		from = raw_find(&other, (char)r->key[0],
		    r->key[0] == 'P'       ? be32_get(r->key + 1)
		        : r->key[0] == 'R' ? be64_get(r->key + 1)
		                           : 0);
		raw_put(f->g, &f->id, r, from->value, from->len);
		check_forged(f, name_of(r));
		raw_restore(f->g, &f->id, &mine);
	}
	raw_restore(f->g, &f->id, &other); /* all of it, under my id */
	check_forged(f, "header");

	CHECK_OK(keys_file_create(path, &f->e), &f->e);
	k = keys_file_open(path, &f->e);
	CHECK(look(f->g, k, &first, &f->e) == ERR_FORGED);
	keys_close(k);
	raw_free(&mine);
	raw_free(&other);
}

static void
an_older_page_put_back_is_found(void **state)
{
	struct fixture *f = *state;
	struct raw_vault old, now;
	struct sealed *s;
	uint8_t page[PAGE_BYTES];

	fixture_create(f, 6, NULL);
	old = raw_take(f->g, &f->id);
	s = must_open(f, SEALED_OWN);
	for (uint32_t n = 2; n <= 8; n += 2) {
		random_bytes(page, sizeof(page));
		CHECK_OK(sealed_put_page(s, n, page, &f->e), &f->e);
	}
	CHECK_OK(sealed_commit(s, &f->e), &f->e);
	CHECK_OK(sealed_checkpoint(s, &f->e), &f->e);
	sealed_close(s);
	now = raw_take(f->g, &f->id);
	CHECK(look(f->g, f->keys, &f->id, &f->e) == ERR_NONE);

	for (uint32_t n = 2; n <= 6; n += 2) {
		struct raw_record *r = raw_find(&old, 'P', n);

		raw_put(f->g, &f->id, r, r->value, r->len);
		check_forged(f, "pages: one is not the newest");
		raw_restore(f->g, &f->id, &now);
	}
	/* All of them at once, and the two that came later removed. */
	for (uint32_t n = 1; n <= 8; n++) {
		struct raw_record *r = raw_find(n > 6 ? &now : &old, 'P', n);

		raw_put(f->g, &f->id, r, n > 6 ? NULL : r->value, r->len);
	}
	check_forged(f, "page");
	raw_restore(f->g, &f->id, &now);

	/* A newer page under an older header is seen when it is read. */
	raw_restore(f->g, &f->id, &old);
	raw_put(f->g, &f->id, raw_find(&now, 'P', 2), raw_find(&now, 'P', 2)->value,
	    raw_find(&now, 'P', 2)->len);
	s = must_open(f, SEALED_READ);
	CHECK(sealed_read(s, 2, page, &f->e) < 0);
	CHECK(f->e.kind == ERR_FORGED && strstr(f->e.text, "page 2"));
	sealed_close(s);
	raw_free(&old);
	raw_free(&now);
}

/* A commit that a power cut took back was valid once, and another one has its version now. */
static void
an_entry_of_a_lost_history_is_refused(void **state)
{
	struct fixture *f = *state;
	struct raw_vault start, lost, now;
	struct raw_record *r;
	struct sealed *s;

	fixture_create(f, 3, NULL);
	start = raw_take(f->g, &f->id);
	s = must_open(f, SEALED_OWN);
	commit_random(f, s, 1);
	commit_random(f, s, 2);
	sealed_close(s);
	lost = raw_take(f->g, &f->id);
	raw_restore(f->g, &f->id, &start);
	s = must_open(f, SEALED_OWN);
	commit_random(f, s, 1);
	commit_random(f, s, 2);
	sealed_close(s);
	now = raw_take(f->g, &f->id);

	for (uint64_t v = 2; v <= 3; v++) {
		r = raw_find(&lost, 'R', v);
		raw_put(f->g, &f->id, r, r->value, r->len);
		check_forged(f, "redo entries: not those that were written");
		raw_restore(f->g, &f->id, &now);
	}
	/* An older header than the entries: its owner is told, a reader takes it for a live owner. */
	r = raw_find(&start, 'H', 0);
	raw_put(f->g, &f->id, r, r->value, r->len);
	CHECK(!sealed_open(f->g, f->keys, &f->id, SEALED_OWN, &f->e));
	CHECK(f->e.kind == ERR_FORGED && strstr(f->e.text, "redo entry 2"));
	raw_free(&start);
	raw_free(&lost);
	raw_free(&now);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_record_with_a_flipped_bit_or_cut_short_is_refused),
		T(records_that_changed_places_are_refused),
		T(records_of_another_vault_or_region_are_refused),
		T(an_older_page_put_back_is_found),
		T(an_entry_of_a_lost_history_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
