/* vault_fixture.h - a region's store for the tests of the vault layer: engine, flusher, keys, chunks
 * and pool, under a directory that is gone afterwards.
 */
#pragma once
#include "check.h"

#include "base/host.h"
#include "sealed/store.h"
#include "vault/pool.h"
#include "vault/transfer.h"

struct store {
	char *dir;
	struct engine *engine; /* a fault engine around what is below */
	struct engine *inner;
	struct flusher *flusher;
	struct keys *keys;
	struct chunks *chunks; /* likewise a fault wrapper */
	struct pool *pool;
};

static inline void
store_open_pool(struct store *s, size_t max_vaults)
{
	const struct pool_config c = {
		.engine = s->engine,
		.flusher = s->flusher,
		.keys = s->keys,
		.chunks = s->chunks,
		.max_vaults = max_vaults,
		.max_bytes = (size_t)64 << 20,
	};
	struct err e;

	s->pool = pool_open(&c, &e);
	CHECK(s->pool);
}

static inline void
store_open(struct store *s, bool is_real)
{
	struct err e;

	s->dir = check_dir_make();
	s->inner = is_real ? engine_rocksdb(check_path(s->dir, "db"), 8 << 20, 8 << 20, &e)
	                   : engine_memory(&e);
	if (!s->inner)
		fail_msg("engine: %s", e.text);
	s->engine = engine_fault(s->inner, &e);
	CHECK(s->engine);
	s->flusher = flusher_start(s->engine, &e);
	CHECK(s->flusher);
	CHECK_OK(keys_file_create(check_path(s->dir, "key"), &e), &e);
	s->keys = keys_file_open(check_path(s->dir, "key"), &e);
	CHECK(s->keys);
	s->chunks = chunks_fault(chunks_file(check_path(s->dir, "chunks"), 0, &e), &e);
	CHECK(s->chunks);
	store_open_pool(s, 8);
}

static inline void
store_close(struct store *s)
{
	pool_close(s->pool);
	flusher_stop(s->flusher);
	chunks_close(s->chunks);
	keys_close(s->keys);
	engine_close(s->engine);
	check_dir_remove(s->dir);
	*s = (struct store){ 0 };
}

/* Another process begins; with IS_CUT without what was not durable. Whoever stood on it has stopped. */
static inline void
store_reopen(struct store *s, bool is_cut)
{
	struct err e;

	pool_close(s->pool);
	flusher_stop(s->flusher);
	chunks_close(s->chunks);
	if (is_cut)
		engine_memory_cut(s->inner);
	engine_fault_set(s->engine, FAULT_NONE, 0, false, false, 0);
	s->flusher = flusher_start(s->engine, &e);
	s->chunks = chunks_fault(chunks_file(check_path(s->dir, "chunks"), 0, &e), &e);
	CHECK(s->flusher && s->chunks);
	store_open_pool(s, 8);
}

static inline struct vault_id
store_new_vault(struct store *s, enum service service)
{
	struct vault_id id = { .service = (uint8_t)service };
	struct err e;

	account_random(&id.account);
	CHECK_OK(pool_create(s->pool, &id, 1, &e), &e);
	return id;
}

static inline struct vault *
store_take(struct store *s, const struct vault_id *id)
{
	struct err e = { 0 };
	struct vault *v = pool_take(s->pool, id, true, &e);

	if (!v)
		fail_msg("pool_take: %s", e.text);
	return v;
}

/* A vault with a table of the tests' own, so that they do not hang on a service's schema. */
static inline struct vault_id
store_new_bodies(struct store *s)
{
	struct vault_id id = store_new_vault(s, SERVICE_FILES);
	struct vault *v = store_take(s, &id);
	uint64_t ticket;
	struct err e;

	CHECK_OK(vault_begin(v, &e), &e);
	CHECK_OK(query_run(vault_query(v,
	                       "CREATE TABLE test_body(id INTEGER PRIMARY KEY, name TEXT,"
	                       " chunks BLOB, content BLOB)"),
	             &e),
	    &e);
	CHECK_OK(vault_commit(v, &ticket, &e), &e);
	pool_give(v);
	return id;
}

/* One row of the table that profile vaults have for settings. */
static inline int
put_word(struct vault *v, const char *word, const void *value, size_t n, struct err *e)
{
	struct query *q = vault_query(v, "INSERT OR REPLACE INTO meta(word, value) VALUES(?1, ?2)");

	query_text(q, 1, word, strlen(word));
	query_blob(q, 2, value, n);
	return query_run(q, e);
}

/* The length of the value of WORD, -1 if it is not there, -2 on error. */
static inline ssize_t
get_word(struct vault *v, const char *word, void *value, size_t room, struct err *e)
{
	struct query *q = vault_query(v, "SELECT value FROM meta WHERE word = ?1");
	ssize_t n = -2;
	int r;

	query_text(q, 1, word, strlen(word));
	r = query_step(q, e);
	if (r == 1) {
		struct span s = column_blob(q, 0);

		n = (ssize_t)s.len;
		memcpy(value, s.data, s.len < room ? s.len : room);
	} else if (r == 0) {
		n = -1;
	}
	query_end(q);
	return n;
}

/* Take, put, commit, give; not waiting for durability. */
static inline uint64_t
store_put(struct store *s, const struct vault_id *id, const char *word, const char *value)
{
	struct vault *v = store_take(s, id);
	uint64_t ticket;
	struct err e;

	CHECK_OK(vault_begin(v, &e), &e);
	CHECK_OK(put_word(v, word, value, strlen(value), &e), &e);
	CHECK_OK(vault_commit(v, &ticket, &e), &e);
	pool_give(v);
	return ticket;
}

static inline bool
store_has(struct store *s, const struct vault_id *id, const char *word, const char *value)
{
	struct vault *v = store_take(s, id);
	char got[256] = "";
	struct err e;
	ssize_t n = get_word(v, word, got, sizeof(got) - 1, &e);

	pool_give(v);
	return n == (ssize_t)strlen(value) && !memcmp(got, value, (size_t)n);
}

static inline int
count_chunk(void *arg, const struct vault_id *id, const struct chunk_name *name, uint64_t bytes,
    struct err *e)
{
	(void)id, (void)name, (void)bytes, (void)e;
	++*(uint64_t *)arg;
	return 0;
}

/* Of vault ID, or of all (NULL). */
static inline uint64_t
count_chunks(struct chunks *c, const struct vault_id *id)
{
	uint64_t n = 0;
	struct err e;

	CHECK_OK(chunks_list(c, id, count_chunk, &n, &e), &e);
	return n;
}
