/* test_transfer.c - a vault from one store to another while it is written to; erasing. */
#include "vault_fixture.h"
#include "vault/schema.h"

#include "vault/content.h"

#include <pthread.h>

static const char insert_sql[] =
    "INSERT OR REPLACE INTO test_body(id, chunks, content) VALUES(?1, ?2, ?3)";

static int
put_body(struct vault *v, int64_t id, const struct chunk_ref *refs, size_t n, const void *content,
    size_t len, struct err *e)
{
	struct query *q = vault_query(v, insert_sql);

	query_int(q, 1, id);
	query_blob(q, 2, refs, n * sizeof(*refs));
	query_blob(q, 3, content, len);
	return query_run(q, e);
}

/* A body of SIZE bytes, each the low byte of ID: inline or in chunks. With DROP that one goes. */
static void
commit_body(struct store *s, const struct vault_id *id, int64_t body, size_t size,
    const struct chunk_ref *drop)
{
	struct chunk_ref *refs = NULL;
	struct content_out *o = NULL;
	struct vault *v = store_take(s, id);
	uint8_t *p = malloc(size);
	uint64_t ticket;
	size_t n = 0;
	struct err e;

	memset(p, (int)body, size);
	if (size > CONTENT_INLINE) {
		struct content_key *k = vault_content_key(v);

		o = content_begin(s->chunks, k, &e);
		content_key_unref(k);
		CHECK_OK(content_add(o, p, size, &e), &e);
		CHECK_OK(content_finish(o, &refs, &n, &e), &e);
	}
	CHECK_OK(vault_begin(v, &e), &e);
	CHECK_OK(vault_add_chunks(v, refs, n, &e), &e);
	if (drop)
		CHECK_OK(vault_drop_chunk(v, drop->name, &e), &e);
	CHECK_OK(put_body(v, body, refs, n, p, n ? 0 : size, &e), &e);
	CHECK_OK(vault_commit(v, &ticket, &e), &e);
	pool_give(v);
	content_close(o);
	free(refs);
	free(p);
}

static struct chunk_ref
ref_of(struct store *s, const struct vault_id *id, int64_t body)
{
	struct vault *v = store_take(s, id);
	struct query *q = vault_query(v, "SELECT chunks FROM test_body WHERE id = ?1");
	struct chunk_ref ref;
	struct err e;

	query_int(q, 1, body);
	CHECK(query_step(q, &e) == 1 && column_blob(q, 0).len >= sizeof(ref));
	memcpy(&ref, column_blob(q, 0).data, sizeof(ref));
	query_end(q);
	pool_give(v);
	return ref;
}

/* Digest of every body, chunks read as content. */
static void
digest_of(struct store *s, const struct vault_id *id, int64_t *rows, uint8_t out[SHA256_BYTES])
{
	struct vault *v = store_take(s, id);
	struct content_key *k = vault_content_key(v);
	struct query *q = vault_query(v, "SELECT id, chunks, content FROM test_body ORDER BY id");
	struct hash *h;
	struct err e;
	int r;

	h = hash_open(HASH_SHA256, &e);
	CHECK_OK(vault_check(v, &e), &e);
	*rows = 0;
	while ((r = query_step(q, &e)) == 1) {
		struct span chunks = column_blob(q, 1);
		size_t n = chunks.len / sizeof(struct chunk_ref);
		struct chunk_ref refs[8];
		int64_t number = column_int(q, 0);

		hash_add(h, &number, sizeof(number));
		hash_add(h, column_blob(q, 2).data, column_blob(q, 2).len);
		CHECK(n <= ARRAY_LEN(refs));
		memcpy(refs, chunks.data, n * sizeof(*refs));
		if (n) {
			struct content_in *in = content_open(s->chunks, k, refs, n, &e);
			char *p = malloc((size_t)content_bytes(in));
			ssize_t got = content_read(in, 0, p, (size_t)content_bytes(in), &e);

			if (got < 0)
				fail_msg("%s", e.text);
			CHECK((uint64_t)got == content_bytes(in));
			hash_add(h, p, (size_t)got);
			free(p);
			content_in_close(in);
		}
		++*rows;
	}
	CHECK(r == 0);
	query_end(q);
	hash_end(h, out);
	hash_close(h);
	content_key_unref(k);
	pool_give(v);
}

static void
same_content(struct store *a, struct store *b, const struct vault_id *id)
{
	uint8_t of_a[SHA256_BYTES], of_b[SHA256_BYTES];
	int64_t rows_a, rows_b;

	digest_of(a, id, &rows_a, of_a);
	digest_of(b, id, &rows_b, of_b);
	CHECK(rows_a == rows_b && rows_a > 0);
	CHECK_BYTES(of_a, of_b, sizeof(of_a));
}

/* Carry over all there is now. */
static void
pump(struct export *x, struct import *i, size_t want)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct err e;
	int r;

	do {
		buf_clear(&b);
		r = export_next(x, &b, want, &e);
		if (r < 0)
			fail_msg("export: %s", e.text);
		CHECK(r == 0 || b.len);
		CHECK_OK(import_take(i, b.data, b.len, &e), &e);
	} while (r == 1);
}

static void
finish_move(struct export *x, struct import *i, struct store *to)
{
	uint8_t root_x[SHA256_BYTES], root_i[SHA256_BYTES];
	uint64_t version_x, version_i;
	struct err e;

	CHECK_OK(export_root(x, &version_x, root_x, &e), &e);
	CHECK_OK(import_write(i, &e), &e);
	CHECK_OK(import_root(i, &version_i, root_i, &e), &e);
	CHECK(version_x == version_i);
	CHECK_BYTES(root_x, root_i, sizeof(root_x));
	CHECK_OK(import_finish(i, &e), &e);
	CHECK_OK(flusher_wait(to->flusher, flusher_ticket(to->flusher), &e), &e);
}

/* --- no record in common --- */

struct records {
	struct buf bytes;
	size_t n;
};

static int
keep_record(void *arg, struct span key, struct span value, struct err *e)
{
	struct records *r = arg;

	(void)key, (void)e;
	if (value.len >= 48) {
		/* Sealed bytes lie at the end of every kind of record. */
		buf_add(&r->bytes, value.data + value.len - 24, 24);
		r->n++;
	}
	return 0;
}

static void
nothing_sealed_in_common(struct store *a, struct store *b, const struct vault_id *id)
{
	static const uint8_t first[1];
	struct records of_a = { .bytes = BUF_INIT(0) }, of_b = { .bytes = BUF_INIT(0) };
	struct err e;

	CHECK_OK(engine_scan(a->engine, id, ((struct span){ first, 1 }), ((struct span){ 0 }),
	             keep_record, &of_a, &e),
	    &e);
	CHECK_OK(engine_scan(b->engine, id, ((struct span){ first, 1 }), ((struct span){ 0 }),
	             keep_record, &of_b, &e),
	    &e);
	CHECK(of_a.n > 5 && of_b.n > 5);
	for (size_t i = 0; i < of_a.n; i++)
		CHECK(!memmem(of_b.bytes.data, of_b.bytes.len, of_a.bytes.data + 24 * i, 24));
	buf_free(&of_a.bytes);
	buf_free(&of_b.bytes);
}

/* Neither the old home's vault key nor its region's opens what lies at the new one. */
static void
old_keys_open_nothing(struct store *a, struct store *b, const struct vault_id *id, int64_t chunked)
{
	struct vault *v = store_take(a, id);
	struct content_key *k = vault_content_key(v);
	struct chunk_ref ref = ref_of(b, id, chunked);
	struct content_in *in;
	struct err e = { 0 };
	char p[100];

	pool_give(v);
	in = content_open(b->chunks, k, &ref, 1, &e);
	CHECK(!in || content_read(in, 0, p, sizeof(p), &e) < 0);
	CHECK(e.kind == ERR_FORGED);
	content_in_close(in);
	content_key_unref(k);
	CHECK(!sealed_open(b->engine, a->keys, id, SEALED_READ, &e));
}

static void
a_quiet_vault_arrives_whole_under_another_key(void **state)
{
	struct store a, b;
	struct vault_id id;
	struct export *x;
	struct import *i;
	struct err e;

	(void)state;
	store_open(&a, false);
	store_open(&b, false);
	id = store_new_bodies(&a);
	for (int n = 1; n <= 30; n++)
		commit_body(&a, &id, n, (size_t)n * 1000, NULL);
	commit_body(&a, &id, 31, 5 << 20, NULL);
	commit_body(&a, &id, 32, 70000, NULL);
	x = export_open(a.pool, a.engine, a.keys, a.chunks, &id, &e);
	i = import_open(b.engine, b.keys, b.chunks, &id, 2, &e);
	CHECK(x && i);
	CHECK(export_size(x) > (5 << 20));
	pump(x, i, 100000);
	CHECK(!pool_take(b.pool, &id, true, &e) && e.kind == ERR_BUSY); /* arriving */
	finish_move(x, i, &b);
	export_close(x);
	import_close(i);
	same_content(&a, &b, &id);
	nothing_sealed_in_common(&a, &b, &id);
	old_keys_open_nothing(&a, &b, &id, 32);
	commit_body(&b, &id, 40, 100, NULL);
	store_close(&a);
	store_close(&b);
}

static void
a_chunk_that_is_dropped_as_soon_as_it_has_come_stays_away(void **state)
{
	struct store a, b;
	struct vault_id id;
	struct export *x;
	struct import *i;
	struct chunk_ref ref;
	struct err e;

	(void)state;
	store_open(&a, false);
	store_open(&b, false);
	id = store_new_bodies(&a);
	commit_body(&a, &id, 1, 70000, NULL);
	x = export_open(a.pool, a.engine, a.keys, a.chunks, &id, &e);
	i = import_open(b.engine, b.keys, b.chunks, &id, 2, &e);
	pump(x, i, 100000);
	ref = ref_of(&a, &id, 1);
	commit_body(&a, &id, 1, 100, &ref);
	pump(x, i, 100000);
	finish_move(x, i, &b);
	export_close(x);
	import_close(i);
	CHECK(count_chunks(b.chunks, NULL) == 0);
	same_content(&a, &b, &id);
	store_close(&a);
	store_close(&b);
}

/* --- a writer meanwhile --- */

struct writer {
	struct store *s;
	struct vault_id id;
	_Atomic bool is_over;
	_Atomic unsigned commits;
};

static void *
keep_writing(void *arg)
{
	struct writer *w = arg;
	struct chunk_ref last;
	bool has_last = false;
	unsigned seed = 3;

	while (!w->is_over) {
		int64_t body = 1000 + w->commits;
		size_t size = rand_r(&seed) % 3 ? (size_t)rand_r(&seed) % 20000 + 1 : 50000;

		if (size > CONTENT_INLINE && has_last) {
			struct vault *v = store_take(w->s, &w->id);
			struct query *q = vault_query(v, "DELETE FROM test_body WHERE chunks = ?1");
			uint64_t ticket;
			struct err e;

			/* Drop the one before, perhaps not yet exported. */
			CHECK_OK(vault_begin(v, &e), &e);
			query_blob(q, 1, &last, sizeof(last));
			CHECK_OK(query_run(q, &e), &e);
			CHECK_OK(vault_drop_chunk(v, last.name, &e), &e);
			CHECK_OK(vault_commit(v, &ticket, &e), &e);
			pool_give(v);
			CHECK_OK(flusher_wait(w->s->flusher, ticket, &e), &e);
			has_last = false;
		}
		commit_body(w->s, &w->id, body, size, NULL);
		if (size > CONTENT_INLINE) {
			last = ref_of(w->s, &w->id, body);
			has_last = true;
		}
		w->commits++;
		usleep(200);
	}
	return NULL;
}

static void
a_vault_that_is_written_to_arrives_whole(void **state)
{
	(void)state;
	/* Once of few pages, once of more than are scanned at once. */
	for (int is_large = 0; is_large < 2; is_large++) {
		struct store a, b;
		struct writer w = { 0 };
		struct export *x;
		struct import *i;
		uint64_t left;
		pthread_t t;
		struct err e;

		store_open(&a, false);
		store_open(&b, false);
		w.s = &a;
		w.id = store_new_bodies(&a);
		for (int n = 1; n <= (is_large ? 150 : 10); n++)
			commit_body(&a, &w.id, n, 30000, NULL);
		CHECK(!pthread_create(&t, NULL, keep_writing, &w));
		while (w.commits < 20)
			usleep(1000);
		x = export_open(a.pool, a.engine, a.keys, a.chunks, &w.id, &e);
		i = import_open(b.engine, b.keys, b.chunks, &w.id, 2, &e);
		CHECK(x && i);
		CHECK_OK(export_left(x, &left, &e), &e);
		CHECK(left > (is_large ? 2u << 20 : 4096u));
		for (int round = 0; round < 20; round++) {
			pump(x, i, round % 2 ? 1 : 50000);
			CHECK_OK(import_write(i, &e), &e);
			usleep(5000);
		}
		w.is_over = true;
		pthread_join(t, NULL);
		pump(x, i, 50000);
		CHECK_OK(export_left(x, &left, &e), &e);
		CHECK(left == 0);
		finish_move(x, i, &b);
		export_close(x);
		import_close(i);
		same_content(&a, &b, &w.id);
		nothing_sealed_in_common(&a, &b, &w.id);
		store_close(&a);
		store_close(&b);
	}
}

static void
an_export_of_commits_that_were_taken_back_ends(void **state)
{
	_cleanup_buf_ struct buf items = BUF_INIT(0);
	struct store a;
	struct vault_id id;
	struct export *x;
	struct err e;
	int r;

	(void)state;
	store_open(&a, false);
	id = store_new_bodies(&a);
	CHECK_OK(flusher_wait(a.flusher, flusher_ticket(a.flusher), &e), &e);
	x = export_open(a.pool, a.engine, a.keys, a.chunks, &id, &e);
	CHECK(x);
	commit_body(&a, &id, 1, 100, NULL);
	engine_fault_set(a.engine, FAULT_FAIL, 1, false, false, 0);
	CHECK(flusher_wait(a.flusher, flusher_ticket(a.flusher), &e) < 0);
	do
		r = export_next(x, &items, 1 << 20, &e);
	while (r == 1);
	CHECK(r < 0 && e.kind == ERR_STALE);
	export_close(x);
	store_close(&a);
}

/* --- what does not fit --- */

struct item {
	size_t at, len;
	uint8_t type;
};

static size_t
split(const struct buf *b, struct item *items, size_t max)
{
	size_t n = 0;

	for (size_t at = 0; at < b->len && n < max; n++) {
		items[n] = (struct item){ at, 4 + be32_get(b->data + at), b->data[at + 4] };
		at += items[n].len;
	}
	return n;
}

/* A whole export with the items in another order, left out or changed: never both accepted and
 * different. */
static bool
is_accepted(struct store *b, const struct vault_id *id, const struct buf *items,
    const uint8_t expected[static SHA256_BYTES])
{
	uint8_t root[SHA256_BYTES] = { 0 };
	uint64_t version, records = 0, chunks = 0;
	struct err e = { 0 };
	struct import *i = import_open(b->engine, b->keys, b->chunks, id, 2, &e);
	bool ok = import_take(i, items->data, items->len, &e) == 0 && import_write(i, &e) == 0 &&
	    import_root(i, &version, root, &e) == 0;

	/* The destination compares the root with what the source has signed. */
	ok = ok && !memcmp(root, expected, sizeof(root));
	if (!ok && e.kind)
		CHECK(e.kind == ERR_BAD || e.kind == ERR_FORGED || e.kind == ERR_TOO_BIG);
	import_close(i);
	CHECK_OK(
	    transfer_erase(b->pool, b->engine, b->flusher, b->chunks, id, &records, &chunks, &e),
	    &e);
	CHECK_OK(transfer_is_gone(b->engine, b->chunks, id, &e), &e);
	return ok;
}

static void
tables_of_another_version_are_not_taken(void **state)
{
	_cleanup_buf_ struct buf all = BUF_INIT(0);
	struct item items[64] = { 0 };
	struct store a, b;
	struct vault_id id;
	struct export *x;
	struct import *i;
	struct err e;

	(void)state;
	store_open(&a, false);
	store_open(&b, false);
	id = store_new_bodies(&a);
	x = export_open(a.pool, a.engine, a.keys, a.chunks, &id, &e);
	CHECK(x && export_next(x, &all, 1 << 20, &e) >= 0);
	export_close(x);
	CHECK(split(&all, items, 64) > 2 && items[1].type == 'P');
	be32_put(all.data + items[1].at + 5 + 4 + 8 + SCHEMA_VERSION_AT, SCHEMA_VERSION + 1);
	i = import_open(b.engine, b.keys, b.chunks, &id, 2, &e);
	CHECK(import_take(i, all.data, all.len, &e) < 0 && e.kind == ERR_BAD);
	CHECK(strstr(e.text, "version"));
	import_close(i);
	store_close(&a);
	store_close(&b);
}

static void
items_that_do_not_fit_are_refused(void **state)
{
	_cleanup_buf_ struct buf all = BUF_INIT(0), changed = BUF_INIT(0);
	struct item items[64] = { 0 };
	uint8_t root[SHA256_BYTES];
	uint64_t version;
	struct store a, b;
	struct vault_id id;
	struct export *x;
	size_t n;
	struct err e;
	int r;

	(void)state;
	store_open(&a, false);
	store_open(&b, false);
	id = store_new_bodies(&a);
	commit_body(&a, &id, 1, 50000, NULL);
	x = export_open(a.pool, a.engine, a.keys, a.chunks, &id, &e);
	commit_body(&a, &id, 2, 60000, NULL);
	commit_body(&a, &id, 3, 100, NULL);
	do
		r = export_next(x, &all, 1 << 20, &e);
	while (r == 1);
	CHECK(r == 0);
	CHECK_OK(export_root(x, &version, root, &e), &e);
	export_close(x);
	n = split(&all, items, 64);
	/* V, pages, C, D, E, R of the table, R of the first body, R, R, D, E */
	CHECK(n >= 13 && items[0].type == 'V' && items[1].type == 'P');
	CHECK(items[n - 9].type == 'C' && items[n - 7].type == 'E' && items[n - 6].type == 'R');
	CHECK(items[n - 3].type == 'R' && items[n - 1].type == 'E');
	CHECK(is_accepted(&b, &id, &all, root));

	/* Each left out. */
	for (size_t i = 0; i < n; i++) {
		buf_clear(&changed);
		buf_add(&changed, all.data, items[i].at);
		buf_add(&changed, all.data + items[i].at + items[i].len,
		    all.len - items[i].at - items[i].len);
		CHECK(!is_accepted(&b, &id, &changed, root));
	}
	/* Each twice. */
	for (size_t i = 0; i < n; i++) {
		buf_clear(&changed);
		buf_add(&changed, all.data, items[i].at + items[i].len);
		buf_add(&changed, all.data + items[i].at, all.len - items[i].at);
		CHECK(!is_accepted(&b, &id, &changed, root));
	}
	/* Neighbours swapped. */
	for (size_t i = 0; i + 1 < n; i++) {
		buf_clear(&changed);
		buf_add(&changed, all.data, items[i].at);
		buf_add(&changed, all.data + items[i + 1].at, items[i + 1].len);
		buf_add(&changed, all.data + items[i].at, items[i].len);
		buf_add(&changed, all.data + items[i + 1].at + items[i + 1].len,
		    all.len - items[i + 1].at - items[i + 1].len);
		/* Data of a chunk that was named before: the result is the same. */
		if ((items[i].type == 'E' && items[i + 1].type == 'R') ||
		    (items[i].type == 'R' && items[i + 1].type == 'D'))
			continue;
		if (is_accepted(&b, &id, &changed, root))
			fail_msg("items %zu (%c) and %zu (%c) swapped", i, items[i].type, i + 1,
			    items[i + 1].type);
	}
	/* Cut off. */
	for (size_t cut = 1; cut < all.len; cut += 4999) {
		buf_clear(&changed);
		buf_add(&changed, all.data, all.len - cut);
		CHECK(!is_accepted(&b, &id, &changed, root));
	}
	/* A changed byte of chunk data. */
	for (size_t i = 0; i < n; i++) {
		if (items[i].type != 'D')
			continue;
		all.data[items[i].at + items[i].len - 1] ^= 1;
		CHECK(!is_accepted(&b, &id, &all, root));
		all.data[items[i].at + items[i].len - 1] ^= 1;
	}
	CHECK(is_accepted(&b, &id, &all, root));
	store_close(&a);
	store_close(&b);
}

/* --- erasing --- */

static void
erased_means_nothing_is_left(void **state)
{
	uint64_t records = 0, chunks = 0;
	struct store a;
	struct vault_id id, other;
	struct err e;

	(void)state;
	store_open(&a, true);
	id = store_new_bodies(&a);
	other = id;
	other.service = SERVICE_PROFILE;
	CHECK_OK(pool_create(a.pool, &other, 1, &e), &e);
	commit_body(&a, &id, 1, 100, NULL);
	commit_body(&a, &id, 2, 9 << 20, NULL);
	CHECK(transfer_is_gone(a.engine, a.chunks, &id, &e) < 0 && e.kind == ERR_STALE);
	CHECK_OK(
	    transfer_erase(a.pool, a.engine, a.flusher, a.chunks, &id, &records, &chunks, &e), &e);
	CHECK(records >= 10 && chunks == 3);
	CHECK_OK(transfer_is_gone(a.engine, a.chunks, &id, &e), &e);
	CHECK(!pool_take(a.pool, &id, true, &e) && e.kind == ERR_MISSING);
	CHECK_OK(
	    transfer_erase(a.pool, a.engine, a.flusher, a.chunks, &id, &records, &chunks, &e), &e);
	CHECK(store_has(&a, &other, "x", "") == false);
	CHECK_OK(pool_create(a.pool, &id, 3, &e), &e);
	pool_give(store_take(&a, &id));
	store_close(&a);
}

/* Fail each call in turn: as long as anything can be read, erasing again ends it. */
static void
an_erasure_that_failed_is_repeated(void **state)
{
	bool fired = true;

	(void)state;
	for (unsigned nth = 1; fired; nth++) {
		uint64_t records = 0, chunks = 0;
		struct store a;
		struct vault_id id;
		struct err e;
		int r;

		store_open(&a, false);
		id = store_new_bodies(&a);
		commit_body(&a, &id, 2, 50000, NULL);
		engine_fault_set(a.engine, FAULT_FAIL, nth, false, false, 0);
		r = transfer_erase(
		    a.pool, a.engine, a.flusher, a.chunks, &id, &records, &chunks, &e);
		if (r == 0)
			r = flusher_wait(a.flusher, flusher_ticket(a.flusher), &e);
		fired = engine_fault_fired(a.engine);
		CHECK((r < 0) == fired);
		engine_fault_set(a.engine, FAULT_NONE, 1, false, false, 0);
		if (r < 0)
			CHECK_OK(transfer_erase(a.pool, a.engine, a.flusher, a.chunks, &id,
			             &records, &chunks, &e),
			    &e);
		CHECK_OK(transfer_is_gone(a.engine, a.chunks, &id, &e), &e);
		CHECK_OK(flusher_wait(a.flusher, flusher_ticket(a.flusher), &e), &e);
		engine_memory_cut(a.inner);
		CHECK_OK(transfer_is_gone(a.engine, a.chunks, &id, &e), &e);
		store_close(&a);
	}
}

/* Its header, its records, or both. */
static void
what_cannot_be_read_is_erased_all_the_same(void **state)
{
	(void)state;
	for (unsigned nth = 1; nth <= 2; nth++) {
		uint64_t records = 0, chunks = 0;
		struct store a;
		struct vault_id id;
		struct err e;

		store_open(&a, false);
		id = store_new_bodies(&a);
		commit_body(&a, &id, 2, 50000, NULL);
		engine_fault_set(a.engine, FAULT_FAIL, nth, true, true, 0);
		CHECK_OK(transfer_erase(
		             a.pool, a.engine, a.flusher, a.chunks, &id, &records, &chunks, &e),
		    &e);
		CHECK(engine_fault_fired(a.engine) && chunks == 1);
		engine_fault_set(a.engine, FAULT_NONE, 1, true, false, 0);
		CHECK_OK(transfer_is_gone(a.engine, a.chunks, &id, &e), &e);
		store_close(&a);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_quiet_vault_arrives_whole_under_another_key),
		cmocka_unit_test(a_chunk_that_is_dropped_as_soon_as_it_has_come_stays_away),
		cmocka_unit_test(a_vault_that_is_written_to_arrives_whole),
		cmocka_unit_test(an_export_of_commits_that_were_taken_back_ends),
		cmocka_unit_test(tables_of_another_version_are_not_taken),
		cmocka_unit_test(items_that_do_not_fit_are_refused),
		cmocka_unit_test(erased_means_nothing_is_left),
		cmocka_unit_test(an_erasure_that_failed_is_repeated),
		cmocka_unit_test(what_cannot_be_read_is_erased_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
