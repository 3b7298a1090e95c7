/* Chunk files of a vault: they go when nobody refers to them, reads or exports them, and no sooner. */
#include "vault_fixture.h"

static struct chunk_ref *
write_content(struct store *s, const struct vault_id *id, size_t bytes, size_t *n)
{
	struct vault *v = store_take(s, id);
	struct content_key *k = vault_content_key(v);
	struct content_out *o;
	struct chunk_ref *refs;
	char *p = calloc(1, bytes);
	uint64_t ticket;
	struct err e;

	pool_give(v);
	o = content_begin(s->chunks, k, &e);
	CHECK(o && p);
	CHECK_OK(content_add(o, p, bytes, &e), &e);
	CHECK_OK(content_finish(o, &refs, n, &e), &e);
	v = store_take(s, id);
	CHECK_OK(vault_begin(v, &e), &e);
	CHECK_OK(vault_add_chunks(v, refs, *n, &e), &e);
	CHECK_OK(vault_commit(v, &ticket, &e), &e);
	pool_give(v);
	content_close(o);
	content_key_unref(k);
	free(p);
	CHECK_OK(flusher_wait(s->flusher, ticket, &e), &e);
	return refs;
}

static uint64_t
drop_content(struct store *s, const struct vault_id *id, const struct chunk_ref *refs, size_t n)
{
	struct vault *v = store_take(s, id);
	uint64_t ticket;
	struct err e;

	CHECK_OK(vault_begin(v, &e), &e);
	for (size_t i = 0; i < n; i++)
		CHECK_OK(vault_drop_chunk(v, refs[i].name, &e), &e);
	CHECK_OK(vault_commit(v, &ticket, &e), &e);
	pool_give(v);
	return ticket;
}

static bool
files_become(struct store *s, const struct vault_id *id, uint64_t n, int tries)
{
	for (; tries && count_chunks(s->chunks, id) != n; tries--)
		usleep(10000);
	return count_chunks(s->chunks, id) == n;
}

static void
dropped_chunks_go_when_durable_and_unread(void **state)
{
	struct store s;
	struct vault_id id;
	struct chunk_ref *refs;
	struct content_key *k;
	struct content_in *in;
	struct vault *v;
	uint64_t ticket;
	char byte;
	size_t n;
	struct err e;

	(void)state;
	store_open(&s, false);
	id = store_new_vault(&s, SERVICE_FILES);
	refs = write_content(&s, &id, 9 << 20, &n);
	CHECK(n == 3 && count_chunks(s.chunks, &id) == 3);

	v = store_take(&s, &id);
	k = vault_content_key(v);
	pool_give(v);
	in = content_open(s.chunks, k, refs, n, &e);
	CHECK(in);
	content_key_unref(k);
	ticket = drop_content(&s, &id, refs, n);
	CHECK(files_become(&s, &id, 3, 1) && !files_become(&s, &id, 0, 10)); /* not durable */
	CHECK_OK(flusher_wait(s.flusher, ticket, &e), &e);
	pool_evict(s.pool, &(struct vault_id){ .service = SERVICE_FILES });
	CHECK(!files_become(&s, &id, 0, 10)); /* being read */
	CHECK(content_read(in, (9 << 20) - 1, &byte, 1, &e) == 1);
	pool_hold(s.pool, &id);
	content_in_close(in);
	CHECK(!files_become(&s, &id, 0, 10)); /* being exported */
	pool_unhold(s.pool, &id);
	CHECK(files_become(&s, &id, 0, 3000));
	free(refs);
	store_close(&s);
}

/* The drop may have been taken back: the files stay until a sweep that knows. */
static void
a_drop_that_was_taken_back_removes_nothing(void **state)
{
	struct store s;
	struct vault_id id;
	struct chunk_ref *refs;
	uint64_t ticket, removed = 0;
	size_t n;
	struct err e;

	(void)state;
	store_open(&s, false);
	id = store_new_vault(&s, SERVICE_FILES);
	refs = write_content(&s, &id, 100000, &n);
	ticket = drop_content(&s, &id, refs, n);
	engine_fault_set(s.engine, FAULT_FAIL, 1, false, false, 0);
	CHECK(flusher_wait(s.flusher, ticket, &e) < 0);
	engine_fault_set(s.engine, FAULT_NONE, 1, false, false, 0);
	engine_memory_cut(s.inner);
	CHECK_OK(flusher_wait(s.flusher, flusher_ticket(s.flusher), &e), &e);
	CHECK(!files_become(&s, &id, 0, 10));
	CHECK_OK(pool_sweep(s.pool, &id, &removed, &e), &e);
	CHECK(removed == 0 && count_chunks(s.chunks, &id) == 1);
	free(refs);
	store_close(&s);
}

/* Neither its rows nor its chunk entries. */
static void
a_transaction_that_was_not_committed_leaves_nothing(void **state)
{
	struct chunk_ref ref = { .bytes = 5, .name = "not-committed" };
	struct store s;
	struct vault_id id;
	struct vault *v;
	uint64_t ticket, version;
	struct err e;

	(void)state;
	store_open(&s, false);
	id = store_new_vault(&s, SERVICE_PROFILE);
	v = store_take(&s, &id);
	version = vault_version(v);
	CHECK_OK(vault_begin(v, &e), &e);
	CHECK_OK(put_word(v, "a", "1", 1, &e), &e);
	CHECK_OK(vault_add_chunks(v, &ref, 1, &e), &e);
	vault_rollback(v);
	CHECK_OK(vault_begin(v, &e), &e);
	CHECK_OK(vault_commit(v, &ticket, &e), &e);
	CHECK(vault_version(v) == version);
	CHECK_OK(vault_begin(v, &e), &e);
	CHECK_OK(vault_add_chunks(v, &ref, 1, &e), &e);
	pool_give(v);
	store_put(&s, &id, "b", "2");
	CHECK(!store_has(&s, &id, "a", "1") && store_has(&s, &id, "b", "2"));

	/* A chunk list may change without a row. */
	v = store_take(&s, &id);
	version = vault_version(v);
	CHECK(vault_drop_chunk(v, ref.name, &e) < 0 && e.kind == ERR_MISSING);
	CHECK_OK(vault_begin(v, &e), &e);
	CHECK_OK(vault_add_chunks(v, &ref, 1, &e), &e);
	CHECK_OK(vault_commit(v, &ticket, &e), &e);
	CHECK(vault_version(v) == version + 1);
	pool_give(v);
	store_close(&s);
}

static void
a_sweep_removes_only_what_nobody_refers_to(void **state)
{
	struct store s;
	struct vault_id id;
	struct chunk_ref *refs, *pending;
	struct content_key *k;
	struct content_out *o;
	struct vault *v;
	uint64_t removed = 0;
	size_t n;
	struct err e;
	char some[1000] = "";

	(void)state;
	store_open(&s, false);
	id = store_new_vault(&s, SERVICE_FILES);
	refs = write_content(&s, &id, 5 << 20, &n);
	v = store_take(&s, &id);
	k = vault_content_key(v);
	pool_give(v);

	o = content_begin(s.chunks, k, &e);
	CHECK_OK(content_add(o, some, sizeof(some), &e), &e);
	free(refs);
	CHECK_OK(content_finish(o, &pending, &n, &e), &e);
	CHECK(count_chunks(s.chunks, &id) == 3);
	CHECK_OK(pool_sweep(s.pool, &id, &removed, &e), &e);
	CHECK(removed == 0 && count_chunks(s.chunks, &id) == 3);
	content_close(o); /* whose row was never committed */
	free(pending);
	CHECK_OK(pool_sweep(s.pool, &id, &removed, &e), &e);
	CHECK(removed == 1 && count_chunks(s.chunks, &id) == 2);

	o = content_begin(s.chunks, k, &e);
	for (int i = 0; i < 5000; i++)
		CHECK_OK(content_add(o, some, sizeof(some), &e), &e);
	content_close(o);
	CHECK(count_chunks(s.chunks, &id) == 2);
	content_key_unref(k);
	store_close(&s);
}

static void
orphans_of_a_crash_go_when_the_vault_is_opened(void **state)
{
	struct chunk_name orphan = { "left-by-a-crash" };
	struct chunk_out *o;
	struct chunk_ref *refs;
	struct vault_id id;
	struct store s;
	size_t n;
	struct err e;

	(void)state;
	store_open(&s, false);
	id = store_new_vault(&s, SERVICE_FILES);
	refs = write_content(&s, &id, 100000, &n);
	pool_close(s.pool);
	o = chunks_begin(s.chunks, &id, &orphan, &e);
	CHECK(o);
	CHECK_OK(chunks_write(s.chunks, o, "x", 1, &e), &e);
	CHECK_OK(chunks_finish(s.chunks, o, &e), &e);
	CHECK(count_chunks(s.chunks, &id) == n + 1);
	store_open_pool(&s, 8);
	pool_give(store_take(&s, &id));
	CHECK(files_become(&s, &id, n, 3000));
	free(refs);
	store_close(&s);
}
int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dropped_chunks_go_when_durable_and_unread),
		cmocka_unit_test(a_drop_that_was_taken_back_removes_nothing),
		cmocka_unit_test(a_transaction_that_was_not_committed_leaves_nothing),
		cmocka_unit_test(a_sweep_removes_only_what_nobody_refers_to),
		cmocka_unit_test(orphans_of_a_crash_go_when_the_vault_is_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
