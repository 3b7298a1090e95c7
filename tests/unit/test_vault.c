/* test_vault.c - the pool, queries, durability, eviction. */
#include "vault_fixture.h"
#include "vault/schema.h"

#include <pthread.h>

static void
a_new_vault_is_few_pages_and_holds_rows(void **state)
{
	struct store s;
	struct vault_id id;
	struct vault *v;
	uint8_t page[4096];
	uint32_t pages;
	struct err e;

	(void)state;
	store_open(&s, false);
	id = store_new_vault(&s, SERVICE_PROFILE);
	CHECK(pool_create(s.pool, &id, 1, &e) < 0 && e.kind == ERR_EXISTS);
	v = store_take(&s, &id);
	CHECK_OK(vault_read_page(v, 1, page, &pages, &e), &e);
	CHECK_STR((char *)page, "SQLite format 3");
	CHECK(pages == 4);
	CHECK(memcmp(page + 68, "Domi", 4) == 0);
	CHECK(vault_read_page(v, pages + 1, page, &pages, &e) < 0 && e.kind == ERR_BAD);
	CHECK_OK(vault_check(v, &e), &e);
	pool_give(v);
	store_put(&s, &id, "a", "1");
	CHECK(store_has(&s, &id, "a", "1"));

	id = store_new_vault(&s, SERVICE_FILES);
	v = store_take(&s, &id);
	CHECK_OK(vault_read_page(v, 1, page, &pages, &e), &e);
	CHECK(pages >= 6 && pages <= 11);
	pool_give(v);
	id.service = SERVICE_MESSAGES;
	CHECK(pool_create(s.pool, &id, 1, &e) < 0 && e.kind == ERR_BAD);
	id.service = SERVICE_BACKUP;
	CHECK(!pool_take(s.pool, &id, true, &e) && e.kind == ERR_MISSING);
	store_close(&s);
}

static void
tables_of_another_version_are_refused_and_kept(void **state)
{
	struct store s;
	struct vault_id id;
	struct vault *v;
	uint64_t ticket;
	struct err e;

	(void)state;
	store_open(&s, false);
	id = store_new_vault(&s, SERVICE_PROFILE);
	v = store_take(&s, &id);
	CHECK_OK(vault_begin(v, &e), &e);
	CHECK_OK(query_run(vault_query(v, "PRAGMA user_version=7"), &e), &e);
	CHECK_OK(vault_commit(v, &ticket, &e), &e);
	pool_give(v);
	pool_evict(s.pool, &id);
	for (int i = 0; i < 2; i++) {
		CHECK(!pool_take(s.pool, &id, true, &e) && e.kind == ERR_BAD);
		CHECK(strstr(e.text, "version 7"));
	}
	store_close(&s);
}

/* Regions compare the number alone before an account moves. Where this fails, SCHEMA_VERSION goes up with it. */
static void
a_change_of_the_tables_is_a_version(void **state)
{
	uint8_t digest[SHA256_BYTES];
	char hex[2 * SHA256_BYTES + 1];
	_cleanup_buf_ struct buf all = BUF_INIT(0);

	(void)state;
	for (enum service s = 0; s < SERVICES; s++)
		if (schema_sql(s))
			buf_add_str(&all, schema_sql(s));
	sha256(all.data, all.len, digest);
	hex_text(digest, sizeof(digest), hex);
	CHECK(SCHEMA_VERSION == 2);
	CHECK_STR(hex, "67ac748eb3bb6eadea15683fc218d29640f802a0953c5f1918612f782c8683cc");
}

/* As a region that was taken over might send them. */
static void
what_a_vault_brings_along_is_not_carried_out(void **state)
{
	static const char *const changes[] = {
		"CREATE TRIGGER more AFTER INSERT ON consent BEGIN DELETE FROM credential; END",
		"CREATE VIEW more AS SELECT * FROM credential",
		"CREATE INDEX more ON credential(upper(secret))",
		"ALTER TABLE consent ADD COLUMN more DEFAULT 1",
		"DROP TABLE consent",
		"ANALYZE",
	};
	struct store s;
	struct vault_id id;
	struct vault *v;
	uint64_t ticket;
	struct err e;

	(void)state;
	store_open(&s, false);
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		account_random(&id.account);
		id.service = SERVICE_PROFILE;
		CHECK_OK(pool_create(s.pool, &id, 2, &e), &e);
		v = store_take(&s, &id);
		CHECK_OK(vault_begin(v, &e), &e);
		CHECK_OK(query_run(vault_query(v, changes[i]), &e), &e);
		CHECK_OK(vault_commit(v, &ticket, &e), &e);
		pool_give(v);
		pool_evict(s.pool, &id);
		CHECK(!pool_take(s.pool, &id, true, &e) && e.kind == ERR_FORGED);
		CHECK(!pool_view(s.pool, &id, &e) && e.kind == ERR_FORGED);
	}
	store_close(&s);
}

static void
queries_bind_step_and_keep_their_errors(void **state)
{
	struct store s;
	struct vault_id id;
	struct query *q, *inner;
	struct vault *v;
	struct err e;

	(void)state;
	store_open(&s, false);
	id = store_new_vault(&s, SERVICE_PROFILE);
	v = store_take(&s, &id);
	CHECK_OK(vault_begin(v, &e), &e);
	for (int i = 0; i < 40; i++) {
		char word[16];

		snprintf(word, sizeof(word), "w%02d", i);
		CHECK_OK(put_word(v, word, i ? word : NULL, i ? strlen(word) : 0, &e), &e);
	}
	q = vault_query(v, "SELECT word, value, NULL, 7 FROM meta ORDER BY word");
	for (int i = 0; i < 40; i++) {
		char got[16];

		CHECK(query_step(q, &e) == 1);
		/* The same statement while it is in use is another one. */
		if (i == 3) {
			inner = vault_query(
			    v, "SELECT word, value, NULL, 7 FROM meta ORDER BY word");
			CHECK(inner != q);
			query_end(inner);
		}
		CHECK(get_word(v, "w05", got, sizeof(got), &e) == 3);
		CHECK(column_blob(q, 0).len == 3);
		CHECK(column_blob(q, 1).len == (i ? 3 : 0));
		CHECK(!column_is_null(q, 1) && column_is_null(q, 2));
		CHECK(column_int(q, 3) == 7);
	}
	CHECK(query_step(q, &e) == 0);
	query_end(q);

	q = vault_query(v, "UPDATE meta SET value = ?1 WHERE word < ?2");
	query_int(q, 1, 5);
	query_text(q, 2, "w03", 3);
	CHECK_OK(query_run(q, &e), &e);
	CHECK(query_changes(q) == 3);

	q = vault_query(v, "INSERT INTO meta(word, value) VALUES('w00', 1)");
	CHECK(query_run(q, &e) < 0 && e.kind == ERR_EXISTS);
	q = vault_query(v, "SELECT value FROM meta WHERE word = ?1");
	query_int(q, 2, 1); /* there is no second parameter */
	CHECK(query_step(q, &e) < 0);
	query_end(q);
	pool_give(v); /* rolls back */
	CHECK(!store_has(&s, &id, "w05", "w05"));

	v = store_take(&s, &id);
	q = vault_query(v, "SELEKT");
	query_int(q, 1, 1);
	CHECK(query_step(q, &e) < 0 && e.kind == ERR_INTERNAL);
	query_end(q);
	CHECK(strstr(e.text, "SELEKT") && get_word(v, "w05", &e, 0, &e) == -1);
	pool_give(v);
	CHECK(!store_has(&s, &id, "w05", "w05"));
	store_close(&s);
}

/* --- concurrency --- */

#define THREADS 6
#define VAULTS  12
#define ROUNDS  300

struct hammer {
	struct store *s;
	struct vault_id *ids;
	unsigned seed;
	unsigned done;
};

static void *
hammer(void *arg)
{
	struct hammer *h = arg;

	for (int i = 0; i < ROUNDS; i++) {
		struct vault_id *id = &h->ids[rand_r(&h->seed) % VAULTS];
		struct err e = { 0 };
		bool may_block = rand_r(&h->seed) % 4;
		struct vault *v = pool_take(h->s->pool, id, may_block, &e);
		struct query *q;
		uint64_t ticket;

		if (!v) {
			CHECK(e.kind == ERR_BUSY && !may_block);
			continue;
		}
		if (rand_r(&h->seed) % 8 == 0) {
			pool_give(v);
			pool_hold(h->s->pool, id);
			pool_unhold(h->s->pool, id);
			if (rand_r(&h->seed) % 4 == 0)
				pool_evict(h->s->pool, id);
			continue;
		}
		q = vault_query(v,
		    "INSERT INTO meta(word, value) VALUES('n', 1) "
		    "ON CONFLICT(word) DO UPDATE SET value = value + 1");
		CHECK_OK(vault_begin(v, &e), &e);
		CHECK_OK(query_run(q, &e), &e);
		CHECK_OK(vault_commit(v, &ticket, &e), &e);
		pool_give(v);
		h->done++;
	}
	return NULL;
}

static int64_t
counted(struct store *s, const struct vault_id *id)
{
	struct vault *v = store_take(s, id);
	struct query *q = vault_query(v, "SELECT value FROM meta WHERE word = 'n'");
	struct err e;
	int64_t n = query_step(q, &e) == 1 ? column_int(q, 0) : 0;

	query_end(q);
	pool_give(v);
	return n;
}

static void
many_threads_lose_no_update(void **state)
{
	struct vault_id ids[VAULTS];
	struct hammer h[THREADS];
	pthread_t t[THREADS];
	int64_t sum = 0;
	struct store s;
	unsigned done = 0;

	(void)state;
	store_open(&s, false);
	pool_close(s.pool);
	store_open_pool(&s, THREADS); /* fewer than vaults: there is eviction all the time */
	for (int i = 0; i < VAULTS; i++)
		ids[i] = store_new_vault(&s, SERVICE_PROFILE);
	for (unsigned i = 0; i < THREADS; i++) {
		h[i] = (struct hammer){ .s = &s, .ids = ids, .seed = i + 1 };
		CHECK(pthread_create(&t[i], NULL, hammer, &h[i]) == 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < THREADS; i++)
		done += h[i].done;
	CHECK(pool_count(s.pool) <= THREADS);
	for (int i = 0; i < VAULTS; i++)
		sum += counted(&s, &ids[i]);
	CHECK(sum == done && done);
	store_close(&s);
}

static void
the_pool_stays_within_its_bound_and_reopens(void **state)
{
	struct vault_id ids[20];
	struct vault *v;
	struct store s;
	struct err e;

	(void)state;
	store_open(&s, false);
	for (int i = 0; i < 20; i++) {
		char value[16];

		snprintf(value, sizeof(value), "%d", i);
		ids[i] = store_new_vault(&s, SERVICE_PROFILE);
		store_put(&s, &ids[i], "own", value);
		CHECK(pool_count(s.pool) <= 8);
	}
	CHECK(pool_count(s.pool) == 8);
	CHECK(!pool_take(s.pool, &ids[0], false, &e) && e.kind == ERR_BUSY);
	v = pool_take(s.pool, &ids[19], false, &e);
	CHECK(v);
	CHECK(!pool_take(s.pool, &ids[19], false, &e) && e.kind == ERR_BUSY);
	pool_give(v);
	for (int i = 0; i < 20; i++) {
		char value[16];

		snprintf(value, sizeof(value), "%d", i);
		CHECK(store_has(&s, &ids[i], "own", value));
	}
	CHECK(pool_idle_ms(s.pool, &ids[19]) == UINT64_MAX);
	store_put(&s, &ids[19], "own", "x");
	CHECK(pool_idle_ms(s.pool, &ids[19]) < 60000);
	pool_evict(s.pool, &ids[19]);
	CHECK(pool_idle_ms(s.pool, &ids[19]) == UINT64_MAX);
	CHECK(store_has(&s, &ids[19], "own", "x"));
	store_close(&s);
}

/* --- durability --- */

static void
what_was_waited_for_survives_a_cut(void **state)
{
	struct store s;
	struct vault_id id;
	struct vault *v;
	uint64_t ticket, read_ticket;
	struct err e;

	(void)state;
	store_open(&s, false);
	id = store_new_vault(&s, SERVICE_PROFILE);
	ticket = store_put(&s, &id, "a", "kept");
	CHECK(!flusher_is_durable(s.flusher, ticket));
	/* A reader has to wait for it as well, also when the vault was opened anew meanwhile. */
	pool_evict(s.pool, &id);
	v = store_take(&s, &id);
	read_ticket = vault_ticket(v);
	pool_give(v);
	CHECK(!flusher_is_durable(s.flusher, read_ticket));
	CHECK_OK(flusher_wait(s.flusher, read_ticket, &e), &e);
	CHECK(flusher_is_durable(s.flusher, ticket));
	store_put(&s, &id, "b", "not waited for");
	pool_evict(s.pool, &id);
	engine_memory_cut(s.inner);
	CHECK(store_has(&s, &id, "a", "kept"));
	CHECK(!store_has(&s, &id, "b", "not waited for"));
	store_close(&s);
}

static void
a_failed_flush_takes_back_what_was_not_durable(void **state)
{
	struct store s;
	struct vault_id id;
	uint64_t ticket;
	struct err e;

	(void)state;
	store_open(&s, false);
	id = store_new_vault(&s, SERVICE_PROFILE);
	CHECK_OK(flusher_wait(s.flusher, store_put(&s, &id, "a", "kept"), &e), &e);
	ticket = store_put(&s, &id, "a", "lost");
	engine_fault_set(s.engine, FAULT_FAIL, 1, false, false, 0);
	CHECK(flusher_wait(s.flusher, ticket, &e) < 0);
	CHECK(engine_fault_fired(s.engine));
	engine_fault_set(s.engine, FAULT_NONE, 1, false, false, 0);
	engine_memory_cut(s.inner); /* what the failure may mean */
	CHECK(!pool_take(s.pool, &id, false, &e) && e.kind == ERR_BUSY);
	CHECK(store_has(&s, &id, "a", "kept"));
	CHECK(flusher_wait(s.flusher, ticket, &e) < 0);
	store_close(&s);
}

/* Fail each call in turn: a commit that fails leaves the old or the new state, whole. */
static void
a_failed_commit_is_all_or_nothing(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_FAIL, FAULT_FAIL_LATE, FAULT_FULL };

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		bool fired = true;

		for (unsigned nth = 1; fired; nth++) {
			struct store s;
			struct vault_id id;
			struct vault *v;
			uint64_t ticket;
			bool is_acked = false, has_b, has_c;
			struct err e;

			store_open(&s, false);
			id = store_new_vault(&s, SERVICE_PROFILE);
			store_put(&s, &id, "a", "1");
			pool_evict(s.pool, &id);
			engine_fault_set(s.engine, kinds[k], nth, false, false, 0);
			v = pool_take(s.pool, &id, true, &e);
			if (v) {
				is_acked = vault_begin(v, &e) == 0 &&
				    put_word(v, "b", "2", 1, &e) == 0 &&
				    put_word(v, "c", "3", 1, &e) == 0 &&
				    vault_commit(v, &ticket, &e) == 0;
				pool_give(v);
			}
			fired = engine_fault_fired(s.engine);
			engine_fault_set(s.engine, FAULT_NONE, 1, false, false, 0);
			CHECK(store_has(&s, &id, "a", "1"));
			has_b = store_has(&s, &id, "b", "2");
			has_c = store_has(&s, &id, "c", "3");
			CHECK(has_b == has_c && (has_b || !is_acked));
			store_close(&s);
		}
	}
}

/* Some more than SEALED_CHECKPOINT_BYTES, less than would have the writer pay for the checkpoint. */
static void
write_past_the_bound(struct store *s, const struct vault_id *id, const char *prefix)
{
	char value[200];

	memset(value, 'v', sizeof(value) - 1);
	value[sizeof(value) - 1] = 0;
	for (int n = 0; n < 2600; n++) {
		char word[32];

		snprintf(word, sizeof(word), "%s%d", prefix, n);
		store_put(s, id, word, value);
	}
}

static uint64_t
base_of(struct store *s, const struct vault_id *id)
{
	struct sealed_info i = { 0 };
	struct err e;
	struct sealed *r = sealed_open(s->engine, s->keys, id, SEALED_READ, &e);

	if (r)
		sealed_get_info(r, &i);
	sealed_close(r);
	return i.base;
}

static bool
base_leaves(struct store *s, const struct vault_id *id, uint64_t base, int tries)
{
	for (; tries && base_of(s, id) <= base; tries--)
		usleep(10000);
	return base_of(s, id) > base;
}

static void
checkpoints_come_by_themselves_unless_held(void **state)
{
	struct store s;
	struct vault_id id;
	uint64_t base;

	(void)state;
	store_open(&s, false);
	id = store_new_vault(&s, SERVICE_PROFILE);
	write_past_the_bound(&s, &id, "a");
	CHECK(base_leaves(&s, &id, 1, 3000));
	pool_hold(s.pool, &id);
	base = base_of(&s, &id);
	write_past_the_bound(&s, &id, "b");
	write_past_the_bound(&s, &id, "c");
	CHECK(!base_leaves(&s, &id, base, 5));
	pool_unhold(s.pool, &id);
	CHECK(base_leaves(&s, &id, base, 3000));
	pool_evict(s.pool, &id);
	for (const char *p = "abc"; *p; p++) {
		char word[8] = { *p, '7' }, value[256];
		struct vault *v = store_take(&s, &id);
		struct err e;

		CHECK(get_word(v, word, value, sizeof(value), &e) == 199);
		CHECK_OK(vault_check(v, &e), &e);
		pool_give(v);
	}
	store_close(&s);
}

/* --- nothing readable on disk --- */

static const char *const secrets[] = { "Zebra-Bucket-Name", "Quokka/Key/Name", "Wombat-Metadata",
	"Numbat-Small-Content", "Bilby-Large-Content" };

static bool found_secret;

static int
search_file(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	FILE *f;
	int c;

	(void)st, (void)ftw;
	for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
		if (strstr(path, secrets[i]))
			found_secret = true;
	if (flag != FTW_F || !(f = fopen(path, "rb")))
		return 0;
	while ((c = getc(f)) != EOF)
		buf_add_char(&b, (char)c);
	fclose(f);
	for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
		if (b.len && memmem(b.data, b.len, secrets[i], strlen(secrets[i])))
			found_secret = true;
	return 0;
}

static void
no_plaintext_reaches_the_disk(void **state)
{
	struct store s;
	struct vault_id id;
	struct content_key *k;
	struct content_out *o;
	struct chunk_ref *refs;
	struct vault *v;
	struct query *q;
	uint64_t ticket;
	char small[20000], *path;
	size_t n;
	FILE *f;
	struct err e;

	(void)state;
	store_open(&s, true);
	id = store_new_bodies(&s);
	for (size_t i = 0; i + 32 < sizeof(small); i += 32)
		memcpy(small + i, "Numbat-Small-Content............", 32);
	v = store_take(&s, &id);
	k = vault_content_key(v);
	o = content_begin(s.chunks, k, &e);
	for (int i = 0; i < 20000; i++)
		CHECK_OK(content_add(o, "Bilby-Large-Content.............", 32, &e), &e);
	CHECK_OK(content_finish(o, &refs, &n, &e), &e);
	for (int round = 0; round < 300; round++) {
		CHECK_OK(vault_begin(v, &e), &e);
		if (!round) {
			CHECK_OK(vault_add_chunks(v, refs, n, &e), &e);
			CHECK_OK(query_run(vault_query(v,
			                       "INSERT INTO test_body(name) "
			                       "VALUES('Zebra-Bucket-Name')"),
			             &e),
			    &e);
		}
		q = vault_query(v,
		    "INSERT INTO test_body(name, chunks, content) "
		    "VALUES('Quokka/Key/Name' || ?1, 'Wombat-Metadata', ?2)");
		query_int(q, 1, round);
		query_blob(q, 2, small, sizeof(small));
		CHECK_OK(query_run(q, &e), &e);
		CHECK_OK(vault_commit(v, &ticket, &e), &e);
	}
	pool_give(v);
	content_close(o);
	content_key_unref(k);
	free(refs);
	CHECK_OK(flusher_wait(s.flusher, ticket, &e), &e);
	CHECK_OK(engine_compact(s.engine, &e), &e);
	nftw(s.dir, search_file, 16, FTW_PHYS);
	CHECK(!found_secret);
	/* The search would find it. */
	path = strdup(check_path(s.dir, "plain"));
	f = fopen(path, "w");
	fputs("xx Bilby-Large-Content", f);
	fclose(f);
	nftw(s.dir, search_file, 16, FTW_PHYS);
	CHECK(found_secret);
	free(path);
	store_close(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_vault_is_few_pages_and_holds_rows),
		cmocka_unit_test(tables_of_another_version_are_refused_and_kept),
		cmocka_unit_test(a_change_of_the_tables_is_a_version),
		cmocka_unit_test(what_a_vault_brings_along_is_not_carried_out),
		cmocka_unit_test(queries_bind_step_and_keep_their_errors),
		cmocka_unit_test(the_pool_stays_within_its_bound_and_reopens),
		cmocka_unit_test(many_threads_lose_no_update),
		cmocka_unit_test(what_was_waited_for_survives_a_cut),
		cmocka_unit_test(a_failed_flush_takes_back_what_was_not_durable),
		cmocka_unit_test(a_failed_commit_is_all_or_nothing),
		cmocka_unit_test(checkpoints_come_by_themselves_unless_held),
		cmocka_unit_test(no_plaintext_reaches_the_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
