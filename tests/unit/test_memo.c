/* What is kept of a vault is of its present version, shared, bounded, and nobody's once it is closed. */
#include "vault_fixture.h"

#include "vault/memo.h"

static unsigned freed;

static void
free_value(struct memo_value *m)
{
	freed++;
	free(m);
}

/* BYTES is what it says to take. */
static struct memo_value *
value_new(size_t bytes)
{
	struct memo_value *m = calloc(1, sizeof(*m));

	CHECK(m);
	*m = (struct memo_value){ .refs = 1, .bytes = bytes, .free = free_value };
	return m;
}

static struct span
name_of(unsigned i)
{
	static char text[16];

	snprintf(text, sizeof(text), "value %u", i);
	return (struct span){ (uint8_t *)text, strlen(text) };
}

static void
keep(struct vault *v, unsigned i, size_t bytes)
{
	struct memo_value *m = value_new(bytes);

	vault_memo_keep(v, name_of(i), m);
	memo_unref(m);
}

static bool
has(struct vault *v, unsigned i)
{
	struct memo_value *m = vault_memo_find(v, name_of(i));

	memo_unref(m);
	return m != NULL;
}

static void
a_commit_ends_what_was_kept(void **state)
{
	struct store s;
	struct vault_id id;
	struct vault *v;

	(void)state;
	store_open(&s, false);
	id = store_new_vault(&s, SERVICE_PROFILE);
	freed = 0;
	v = store_take(&s, &id);
	CHECK(!has(v, 1));
	keep(v, 1, 100);
	keep(v, 2, 100);
	CHECK(has(v, 1) && has(v, 2) && !has(v, 3));
	keep(v, 1, 100); /* in place of the first */
	CHECK(freed == 1 && has(v, 1));
	pool_give(v);
	v = store_take(&s, &id);
	CHECK(has(v, 1) && has(v, 2));
	pool_give(v);
	store_put(&s, &id, "a", "1");
	v = store_take(&s, &id);
	CHECK(freed == 3 && !has(v, 1) && !has(v, 2));
	keep(v, 1, 100);
	pool_give(v);
	pool_evict(s.pool, &id);
	CHECK(freed == 4);
	v = store_take(&s, &id);
	CHECK(!has(v, 1));
	keep(v, 1, 100);
	pool_give(v);
	store_close(&s);
	CHECK(freed == 5);
}

static void
what_a_transaction_sees_is_not_kept(void **state)
{
	struct store s;
	struct vault_id id;
	struct vault *v;
	struct err e;

	(void)state;
	store_open(&s, false);
	id = store_new_vault(&s, SERVICE_PROFILE);
	v = store_take(&s, &id);
	keep(v, 1, 100);
	CHECK_OK(vault_begin(v, &e), &e);
	CHECK(!has(v, 1)); /* it may have been changed */
	keep(v, 2, 100);
	vault_rollback(v);
	CHECK(has(v, 1) && !has(v, 2));
	pool_give(v);
	store_close(&s);
}

static void
a_value_outlives_its_vault_for_who_has_it(void **state)
{
	struct memo_value *m;
	struct store s;
	struct vault_id id;
	struct vault *v;

	(void)state;
	store_open(&s, false);
	id = store_new_vault(&s, SERVICE_PROFILE);
	freed = 0;
	v = store_take(&s, &id);
	keep(v, 1, 100);
	m = vault_memo_find(v, name_of(1));
	CHECK(m);
	pool_give(v);
	store_close(&s);
	CHECK(!freed && m->bytes == 100);
	memo_unref(m);
	CHECK(freed == 1);
}

static void
the_oldest_make_room_and_a_crowded_pool_keeps_nothing(void **state)
{
	const size_t bytes = 100 << 10;
	struct store s;
	struct vault_id id;
	struct vault *v;

	(void)state;
	store_open(&s, false);
	id = store_new_vault(&s, SERVICE_PROFILE);
	freed = 0;
	v = store_take(&s, &id);
	for (unsigned i = 0; i < 100; i++)
		keep(v, i, bytes);
	CHECK(freed >= 90 && !has(v, 0) && !has(v, 89) && has(v, 99));
	keep(v, 100, 1 << 20); /* too large for one value */
	CHECK(!has(v, 100) && has(v, 99));
	pool_give(v);
	pool_close(s.pool);
	CHECK(freed == 101);

	s.pool = pool_open(&(struct pool_config){ .engine = s.engine,
	                       .flusher = s.flusher,
	                       .keys = s.keys,
	                       .chunks = s.chunks,
	                       .max_vaults = 8,
	                       .max_bytes = 2 },
	    &(struct err){ 0 });
	v = store_take(&s, &id);
	keep(v, 1, 100);
	CHECK(has(v, 1)); /* it has room until the pool has counted this vault */
	pool_give(v);
	v = store_take(&s, &id);
	keep(v, 2, 100);
	CHECK(!has(v, 2));
	pool_give(v);
	store_close(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_commit_ends_what_was_kept),
		cmocka_unit_test(what_a_transaction_sees_is_not_kept),
		cmocka_unit_test(a_value_outlives_its_vault_for_who_has_it),
		cmocka_unit_test(the_oldest_make_room_and_a_crowded_pool_keeps_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
