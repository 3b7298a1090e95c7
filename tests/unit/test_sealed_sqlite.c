/* SQLite over sealed pages: it behaves as over a file, nothing of it lies open, and whatever call
 * fails, a commit is there whole or not at all.
 */
#include "sealed/vfs.h"
#include "sealed_fixture.h"

#include <sqlite3.h>

/* --- a vault with a connection ------------------------------------------------------------- */

struct base {
	struct sealed *s;
	sqlite3 *db;
};

static int
exec(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static void
must_exec(sqlite3 *db, const char *sql)
{
	if (exec(db, sql) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
}

/* The first column of the first row as text, in a static buffer. */
static const char *
ask(sqlite3 *db, const char *sql)
{
	static char text[256];
	sqlite3_stmt *q;

	*text = 0;
	if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK &&
	    sqlite3_step(q) == SQLITE_ROW && sqlite3_column_text(q, 0))
		snprintf(text, sizeof(text), "%s", (const char *)sqlite3_column_text(q, 0));
	sqlite3_finalize(q);
	return text;
}

static void
base_close(struct base *b)
{
	sqlite3_close(b->db);
	sealed_close(b->s);
	*b = (struct base){ 0 };
}

/* false if the engine failed. */
static bool
base_open(struct base *b, struct fixture *f)
{
	char name[32];

	*b = (struct base){ 0 };
	b->s = sealed_open(f->g, f->keys, &f->id, SEALED_OWN, &f->e);
	if (!b->s)
		return false;
	sealed_vfs_name(b->s, name);
	CHECK(sqlite3_open_v2(name, &b->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
	          SEALED_VFS) == SQLITE_OK);
	if (exec(b->db,
	        "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=MEMORY;"
	        "PRAGMA temp_store=MEMORY; PRAGMA cache_spill=OFF;"
	        "PRAGMA secure_delete=OFF") != SQLITE_OK) {
		base_close(b);
		return false;
	}
	return true;
}

static void
base_must_open(struct base *b, struct fixture *f)
{
	if (!base_open(b, f))
		fail_msg("%s", f->e.text);
}

static void
create_empty(struct fixture *f)
{
	struct page_template t = { 0 };

	CHECK_OK(sealed_vfs_register(&f->e), &f->e);
	CHECK_OK(sealed_create(f->g, f->keys, &f->id, 1, &t, &f->e), &f->e);
}

/* --- it behaves as SQLite does elsewhere --------------------------------------------------- */

#define SCHEMA \
	"CREATE TABLE object(id INTEGER PRIMARY KEY, key TEXT UNIQUE, body BLOB, size INT);" \
	"CREATE INDEX object_size ON object(size);" \
	"CREATE VIRTUAL TABLE word USING fts5(text)"

#define FILL \
	"WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)" \
	" INSERT OR IGNORE INTO object SELECT i, 'key/' || i, zeroblob(i % 700), i % 700 FROM n"

static const char *const script[] = {
	"INSERT OR IGNORE INTO object VALUES(1, 'first', zeroblob(20), 20)",
	"INSERT INTO word VALUES('the quick brown fox'), ('jumps over the lazy dog')",
	FILL,
	"UPDATE object SET body = zeroblob(size + 3), size = size + 3 WHERE id % 7 = 0",
	"DELETE FROM object WHERE id % 3 = 0",
	"BEGIN; DELETE FROM object; INSERT INTO word VALUES('never'); ROLLBACK",
	"CREATE TABLE extra AS SELECT * FROM object",
	"INSERT OR IGNORE INTO object(key, body, size) SELECT 'copy/' || id, body, size FROM object",
	"DROP TABLE extra",
	"VACUUM",
	"INSERT INTO word SELECT key || ' has ' || size FROM object",
	"DELETE FROM object WHERE size > 100",
	"VACUUM",
	"UPDATE OR IGNORE object SET key = key || '!' WHERE id % 2",
};

static const char *const questions[] = {
	"SELECT count(*) || ' ' || sum(size) || ' ' || total(id) FROM object",
	"SELECT group_concat(key) FROM (SELECT key FROM object ORDER BY size, key LIMIT 9)",
	"SELECT count(*) FROM word WHERE word MATCH 'the OR has'",
	"SELECT sum(length(body)) FROM object",
	"SELECT count(*) FROM sqlite_master",
	"PRAGMA integrity_check",
};

static void
check_same(sqlite3 *db, sqlite3 *reference)
{
	char should[256];

	for (size_t i = 0; i < ARRAY_LEN(questions); i++) {
		snprintf(should, sizeof(should), "%s", ask(reference, questions[i]));
		CHECK(*should);
		CHECK_STR(ask(db, questions[i]), should);
	}
}

static void
run_script(struct fixture *f)
{
	struct base b;
	sqlite3 *reference;

	create_empty(f);
	CHECK(sqlite3_open(":memory:", &reference) == SQLITE_OK);
	base_must_open(&b, f);
	must_exec(b.db, SCHEMA);
	must_exec(reference, SCHEMA);
	for (size_t i = 0; i < 3 * ARRAY_LEN(script); i++) {
		const char *sql = script[i % ARRAY_LEN(script)];

		must_exec(b.db, sql);
		must_exec(reference, sql);
		check_same(b.db, reference);
		if (sealed_wants_checkpoint(b.s))
			CHECK_OK(sealed_checkpoint(b.s, &f->e), &f->e);
		if (i % 4 == 3) {
			CHECK_OK(sealed_verify(b.s, &f->e), &f->e);
			base_close(&b);
			base_must_open(&b, f);
			check_same(b.db, reference);
		}
	}
	base_close(&b);
	sqlite3_close(reference);
	CHECK(look(f->g, f->keys, &f->id, &f->e) == ERR_NONE);
}

static void
sqlite_answers_as_it_does_in_memory(void **state)
{
	run_script(*state);
}

static void
sqlite_answers_the_same_over_rocksdb(void **state)
{
	struct fixture *f = *state;

	engine_close(f->g);
	f->g = engine_rocksdb(check_path(f->dir, "rocks"), 8 << 20, 8 << 20, &f->e);
	CHECK(f->g);
	run_script(f);
}

static void
a_vault_from_a_template_is_a_database(void **state)
{
	struct fixture *f = *state;
	struct page_template t;
	sqlite3_int64 n;
	struct base b;
	sqlite3 *db;

	CHECK_OK(sealed_vfs_register(&f->e), &f->e);
	CHECK(sqlite3_open(":memory:", &db) == SQLITE_OK);
	must_exec(db, SCHEMA);
	t.pages = sqlite3_serialize(db, "main", &n, 0);
	t.n = (uint32_t)(n / PAGE_BYTES);
	CHECK(t.pages && t.n > 3);
	CHECK_OK(sealed_create(f->g, f->keys, &f->id, 1, &t, &f->e), &f->e);
	sqlite3_free(t.pages);
	sqlite3_close(db);

	base_must_open(&b, f);
	must_exec(b.db, script[0]);
	CHECK_STR(ask(b.db, "SELECT key FROM object"), "first");
	CHECK_STR(ask(b.db, "PRAGMA integrity_check"), "ok");
	base_close(&b);
}

/* Larger than one value of an engine may be, so the entry lies in pieces. */
static void
a_transaction_of_many_megabytes_is_one_commit(void **state)
{
	struct fixture *f = *state;
	struct sealed_info before, after;
	struct base b;

	create_empty(f);
	base_must_open(&b, f);
	must_exec(b.db, SCHEMA);
	sealed_get_info(b.s, &before);
	must_exec(b.db, "INSERT INTO object VALUES(1, 'large', randomblob(11000000), 0)");
	must_exec(b.db, "UPDATE object SET size = 5");
	sealed_get_info(b.s, &after);
	CHECK(after.version == before.version + 2);
	base_close(&b);
	base_must_open(&b, f);
	CHECK_STR(ask(b.db, "SELECT length(body) + size FROM object"), "11000005");
	CHECK_OK(sealed_checkpoint(b.s, &f->e), &f->e);
	CHECK_OK(sealed_verify(b.s, &f->e), &f->e);
	base_close(&b);
	base_must_open(&b, f);
	CHECK_STR(ask(b.db, "PRAGMA integrity_check"), "ok");
	sealed_get_info(b.s, &after);
	CHECK(after.base == after.version && !after.redo_pages);
	/* What would be too large for one entry is refused as a whole. */
	CHECK(exec(b.db, "INSERT INTO object VALUES(2, 'huge', randomblob(80000000), 0)") !=
	    SQLITE_OK);
	CHECK(sealed_vfs_error(b.s)->kind == ERR_TOO_BIG); /* not that it is broken since */
	base_close(&b);
	base_must_open(&b, f);
	CHECK_STR(ask(b.db, "SELECT group_concat(id) FROM object"), "1");
	base_close(&b);
}

static void
nothing_but_the_main_file_is_ever_opened(void **state)
{
	struct fixture *f = *state;
	sqlite3_vfs *v;
	struct base b;
	sqlite3 *db;

	create_empty(f);
	CHECK(sqlite3_open_v2("/etc/passwd", &db, SQLITE_OPEN_READWRITE, SEALED_VFS) != SQLITE_OK);
	sqlite3_close(db);
	base_must_open(&b, f);
	v = sqlite3_vfs_find(SEALED_VFS);
	sqlite3_file *file = calloc(1, (size_t)v->szOsFile);
	char name[32];

	sealed_vfs_name(b.s, name);
	CHECK(v->xOpen(v, name, file, SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_READWRITE, NULL) !=
	    SQLITE_OK);
	CHECK(v->xOpen(v, NULL, file, SQLITE_OPEN_TEMP_DB | SQLITE_OPEN_READWRITE, NULL) !=
	    SQLITE_OK);
	free(file);
	base_close(&b);
}

/* --- nothing lies open --------------------------------------------------------------------- */

static void
check_absent(const struct raw_vault *v, const char *text)
{
	for (size_t i = 0; i < v->n; i++) {
		CHECK(!memmem(v->all[i].value, v->all[i].len, text, strlen(text)));
		CHECK(!memmem(v->all[i].key, v->all[i].key_len, text, strlen(text)));
	}
}

static void
no_plaintext_reaches_the_engine(void **state)
{
	static const char *const secrets[] = { "holiday/", "Kovalam", "SQLite format 3", "CREATE",
		"abcdefgh" };
	struct fixture *f = *state;
	struct chunk_ref c = { .bytes = 1 };
	struct base b;

	create_empty(f);
	base_must_open(&b, f);
	must_exec(b.db, SCHEMA);
	memcpy(c.digest, "abcdefghabcdefghabcdefghabcdefgh", 32);
	random_bytes(c.name, sizeof(c.name));
	CHECK_OK(sealed_put_chunk(b.s, &c, &f->e), &f->e);
	for (unsigned i = 0; i < 4; i++) {
		struct raw_vault v;

		must_exec(b.db,
		    "INSERT INTO object(key, body) VALUES"
		    "('holiday/' || random(), 'Kovalam beach')");
		if (i % 2)
			CHECK_OK(sealed_checkpoint(b.s, &f->e), &f->e);
		v = raw_take(f->g, &f->id);
		CHECK(v.n > 3);
		for (size_t k = 0; k < ARRAY_LEN(secrets); k++)
			check_absent(&v, secrets[k]);
		raw_free(&v);
	}
	base_close(&b);
}

/* --- fail every call in turn --------------------------------------------------------------- */

struct run {
	enum fault_kind kind;
	bool on_reads;
	bool cut; /* lose what was not flushed: then only flushed commits count as acknowledged */
};

/* A step each: small commits, a large one (several applies to checkpoint), checkpoints, a VACUUM.
 * Returns how many steps were acknowledged; stops at the first failure, as the pool does. */
static unsigned
work(struct fixture *f, bool flush)
{
	struct base b;
	unsigned acked = 0;

	if (!base_open(&b, f))
		return 0;
	for (unsigned step = 1; step <= 9; step++) {
		char sql[300];
		struct chunk_ref c = { .bytes = step };

		memset(c.name, (int)step, sizeof(c.name));
		if (sealed_put_chunk(b.s, &c, &f->e) < 0)
			break;
		snprintf(sql, sizeof(sql),
		    "BEGIN; UPDATE step SET n = %u;"
		    "INSERT INTO filler SELECT randomblob(%u) FROM many LIMIT %u;"
		    "DELETE FROM filler WHERE rowid %% 5 = %u; COMMIT",
		    step, step == 4 ? 3000 : 50, step == 4 ? 400 : 2, step % 5);
		if (exec(b.db, sql) != SQLITE_OK)
			break;
		if (flush && engine_flush(f->g, &f->e) < 0)
			break;
		acked = step;
		if (step == 6 &&
		    exec(b.db, "DELETE FROM filler WHERE rowid > 20; VACUUM") != SQLITE_OK)
			break;
		if (step % 2 && sealed_checkpoint(b.s, &f->e) < 0)
			break;
	}
	base_close(&b);
	return acked;
}

static int
count_chunk(void *arg, const struct chunk_ref *c, struct err *e)
{
	(void)c, (void)e;
	++*(unsigned *)arg;
	return 0;
}

/* The vault is whole, and at step ACKED or at the one after it. */
static void
check_after(struct fixture *f, unsigned acked)
{
	struct base b;
	unsigned found, chunks = 0;

	CHECK(look(f->g, f->keys, &f->id, &f->e) == ERR_NONE);
	base_must_open(&b, f);
	CHECK_STR(ask(b.db, "PRAGMA integrity_check"), "ok");
	found = (unsigned)atoi(ask(b.db, "SELECT n FROM step"));
	CHECK(found == acked || found == acked + 1);
	CHECK_OK(sealed_chunks(b.s, count_chunk, &chunks, &f->e), &f->e);
	CHECK(chunks == found);
	CHECK_OK(sealed_checkpoint(b.s, &f->e), &f->e);
	CHECK_OK(sealed_verify(b.s, &f->e), &f->e);
	must_exec(b.db, "UPDATE step SET n = n + 1");
	base_close(&b);
	CHECK(look(f->g, f->keys, &f->id, &f->e) == ERR_NONE);
}

/* One run in which the NTH call fails; false when none was left to fail. */
static bool
run_with_fault(const struct run *r, unsigned nth)
{
	void *state;
	struct fixture *f;
	struct engine *memory;
	unsigned acked;
	struct base b;
	bool fired;

	fixture_setup(&state);
	f = state;
	memory = f->g;
	create_empty(f);
	base_must_open(&b, f);
	must_exec(b.db,
	    "CREATE TABLE step(n); INSERT INTO step VALUES(0); CREATE TABLE filler(b);"
	    "CREATE TABLE many(i); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT"
	    " i + 1 FROM n WHERE i < 400) INSERT INTO many SELECT i FROM n");
	base_close(&b);
	CHECK_OK(engine_flush(f->g, &f->e), &f->e);

	f->g = engine_fault(memory, &f->e);
	CHECK(f->g);
	engine_fault_set(f->g, r->kind, nth, r->on_reads, false, 0);
	acked = work(f, r->cut);
	fired = engine_fault_fired(f->g);
	engine_fault_set(f->g, FAULT_NONE, 0, false, false, 0);
	CHECK(fired || acked == 9);
	if (r->cut)
		engine_memory_cut(memory);
	check_after(f, acked);
	fixture_teardown(&state);
	return fired;
}

static void
run_all_faults(struct run r)
{
	unsigned nth = 1;

	/* Every apply is tried; of the many reads every fifth, after the first ones. */
	while (run_with_fault(&r, nth))
		nth += r.on_reads && nth > 20 ? 5 : 1;
	CHECK(nth > 15);
}

static void
a_commit_is_whole_or_absent_when_an_apply_fails(void **state)
{
	(void)state;
	run_all_faults((struct run){ FAULT_FAIL, false, false });
	run_all_faults((struct run){ FAULT_FULL, false, false });
}

static void
a_commit_is_whole_or_absent_when_an_apply_fails_after_it_was_done(void **state)
{
	(void)state;
	run_all_faults((struct run){ FAULT_FAIL_LATE, false, false });
}

static void
a_commit_is_whole_or_absent_when_a_read_fails(void **state)
{
	(void)state;
	run_all_faults((struct run){ FAULT_FAIL, true, false });
}

static void
a_flushed_commit_survives_a_power_cut(void **state)
{
	(void)state;
	run_all_faults((struct run){ FAULT_FAIL, false, true });
	run_all_faults((struct run){ FAULT_FAIL_LATE, false, true });
}

/* --- taking a copy of what a cut short checkpoint left ------------------------------------- */

struct copy {
	struct sealed *to;
};

static int
copy_page(void *arg, uint32_t number, uint64_t version, const uint8_t *plain, struct err *e)
{
	return sealed_import_page(((struct copy *)arg)->to, number, version, plain, e);
}

static int
copy_entry(void *arg, uint64_t version, const uint8_t *plain, size_t n, struct err *e)
{
	return sealed_import_entry(((struct copy *)arg)->to, version, plain, n, e);
}

static void
check_copy(struct fixture *f)
{
	_cleanup_(sealed_closep) struct sealed *from = NULL, *to = NULL;
	uint8_t one[SHA256_BYTES], two[SHA256_BYTES];
	struct engine *there = engine_memory(&f->e);
	struct sealed_info info;
	struct fixture g = *f;
	struct copy c;
	struct base b;

	from = sealed_open(f->g, f->keys, &f->id, SEALED_READ, &f->e);
	CHECK(from);
	sealed_get_info(from, &info);
	to = sealed_import(there, f->keys, &f->id, 2, info.base, info.base_page_count, &f->e);
	CHECK(to);
	c.to = to;
	CHECK_OK(sealed_export_pages(from, copy_page, &c, &f->e), &f->e);
	CHECK_OK(sealed_export_entries(from, info.base, copy_entry, &c, &f->e), &f->e);
	CHECK_OK(sealed_import_finish(to, &f->e), &f->e);
	CHECK_OK(sealed_root(from, one, &f->e), &f->e);
	CHECK_OK(sealed_root(to, two, &f->e), &f->e);
	CHECK_BYTES(one, two, sizeof(one));
	g.g = there;
	base_must_open(&b, &g);
	CHECK_STR(ask(b.db, "PRAGMA integrity_check"), "ok");
	CHECK_OK(sealed_root(b.s, two, &f->e), &f->e);
	CHECK_BYTES(one, two, sizeof(one));
	base_close(&b);
	engine_close(there);
}

/* No redo entry is left that the pages contain already. */
static void
check_swept(struct fixture *f, struct sealed *s)
{
	struct raw_vault v = raw_take(f->g, &f->id);
	struct sealed_info info;

	sealed_get_info(s, &info);
	for (size_t i = 0; i < v.n; i++)
		CHECK(v.all[i].key[0] != 'R' || be64_get(v.all[i].key + 1) > info.base);
	raw_free(&v);
}

static void
a_checkpoint_cut_short_loses_nothing_and_can_be_copied(void **state)
{
	struct fixture *f = *state;
	unsigned steps = 0;
	struct base b;

	create_empty(f);
	f->g = engine_fault(f->g, &f->e);
	CHECK(f->g);
	base_must_open(&b, f);
	must_exec(b.db, "CREATE TABLE t(b); BEGIN");
	for (unsigned i = 0; i < 1000; i++)
		must_exec(b.db, "INSERT INTO t VALUES(randomblob(3000))");
	must_exec(b.db, "COMMIT");
	for (unsigned nth = 1;; nth++) {
		int rc;

		must_exec(b.db,
		    "UPDATE t SET b = randomblob(3000) WHERE rowid % 3 = 0;"
		    "DELETE FROM t WHERE rowid > 900; VACUUM");
		for (unsigned i = 0; i < 300; i++)
			must_exec(b.db, "INSERT INTO t VALUES(randomblob(10))");
		engine_fault_set(f->g, FAULT_FAIL, nth, false, false, 0);
		rc = sealed_checkpoint(b.s, &f->e);
		base_close(&b);
		engine_fault_set(f->g, FAULT_NONE, 0, false, false, 0);
		CHECK(look(f->g, f->keys, &f->id, &f->e) == ERR_NONE);
		check_copy(f);
		base_must_open(&b, f);
		CHECK_STR(ask(b.db, "PRAGMA integrity_check"), "ok");
		check_swept(f, b.s);
		steps = nth;
		if (rc == 0)
			break;
	}
	CHECK(steps > 5); /* it really goes in steps */
	base_close(&b);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_vault_from_a_template_is_a_database),
		T(sqlite_answers_as_it_does_in_memory),
		T(sqlite_answers_the_same_over_rocksdb),
		T(a_transaction_of_many_megabytes_is_one_commit),
		T(nothing_but_the_main_file_is_ever_opened),
		T(no_plaintext_reaches_the_engine),
		cmocka_unit_test(a_commit_is_whole_or_absent_when_an_apply_fails),
		cmocka_unit_test(a_commit_is_whole_or_absent_when_an_apply_fails_after_it_was_done),
		cmocka_unit_test(a_commit_is_whole_or_absent_when_a_read_fails),
		cmocka_unit_test(a_flushed_commit_survives_a_power_cut),
		T(a_checkpoint_cut_short_loses_nothing_and_can_be_copied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
