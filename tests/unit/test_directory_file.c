/* What only the directory's file has: damage, locks, full disks and the chain of statements; and
 * what a region may not ask for.
 */
#include "base/crypto.h"
#include "directory/sqlite_private.h"
#include "directory_fixture.h"

#include <sqlite3.h>
#include <sys/stat.h>

/* A number that SQL gives on the connection that writes. */
static int64_t
number(struct directory *d, const char *sql)
{
	struct conn *c = conn_lock(d, CONN_WRITE);
	sqlite3_stmt *st;
	int64_t n;

	CHECK(sqlite3_prepare_v2(c->db, sql, -1, &st, NULL) == SQLITE_OK);
	CHECK(sqlite3_step(st) == SQLITE_ROW);
	n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	conn_unlock(c);
	return n;
}

static void
reopen(struct fixture *f)
{
	f->file = open_file(f->dir);
	for (int i = 0; i < FLEET_REGIONS; i++)
		f->as[i] = f->file;
}

static void
a_directory_outlives_its_process(void **state)
{
	struct fixture *f = *state;
	struct swap s = move_of(1, 1, 0, "cn-bj", "sg");
	struct err e = { 0 };
	struct stat st;

	add_rows(f, 1, 2, "IN");
	CHECK_OK(directory_swap(f->file, &s, 1, &e), &e);
	directory_close(f->file);
	reopen(f);
	check_at(f, 1, "sg", 2, 0);
	check_at(f, 2, "cn-bj", 1, 0);
	CHECK(stat(check_path(f->dir, "directory.db"), &st) == 0 && (st.st_mode & 0777) == 0600);
}

static void
two_processes_can_not_open_it(void **state)
{
	struct fixture *f = *state;
	struct err e = { 0 };

	CHECK(!directory_sqlite(check_path(f->dir, "directory.db"), &e));
	CHECK(e.kind == ERR_BUSY);
}

/* Run SQL on a database of its own at PATH. */
static void
make_database(const char *path, const char *sql)
{
	sqlite3 *db;

	CHECK(sqlite3_open(path, &db) == SQLITE_OK);
	CHECK(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK);
	CHECK(sqlite3_close(db) == SQLITE_OK);
}

static void
what_is_no_directory_is_left_alone(void **state)
{
	static const char garbage[] = "This is no database, although it is long enough to be one."
	                              " It goes on for more than a hundred bytes, like any header.";
	_cleanup_buf_ struct buf before = BUF_INIT(1 << 20), after = BUF_INIT(1 << 20);
	const char *dir = *state;
	struct err e = { 0 };

	CHECK_OK(fs_write(check_path(dir, "garbage"), garbage, sizeof garbage, 0600, &e), &e);
	CHECK(!directory_sqlite(check_path(dir, "garbage"), &e));
	CHECK(e.kind == ERR_IO && strstr(e.text, "no database"));

	make_database(check_path(dir, "other"), "CREATE TABLE t (x); INSERT INTO t VALUES (1)");
	CHECK_OK(fs_read(check_path(dir, "other"), 1 << 19, &before, &e), &e);
	CHECK(!directory_sqlite(check_path(dir, "other"), &e));
	CHECK(e.kind == ERR_BAD && strstr(e.text, "something else"));
	CHECK_OK(fs_read(check_path(dir, "other"), 1 << 19, &after, &e), &e);
	CHECK(before.len == after.len);
	CHECK_BYTES(before.data, after.data, before.len);

	make_database(check_path(dir, "later"),
	    "CREATE TABLE t (x); PRAGMA application_id=1148153193; PRAGMA user_version=2");
	CHECK(!directory_sqlite(check_path(dir, "later"), &e));
	CHECK(e.kind == ERR_BAD && strstr(e.text, "format 2"));

	CHECK(!directory_sqlite(check_path(dir, "none/directory.db"), &e));
	CHECK(e.kind == ERR_MISSING);
}

static void
damage_is_noticed(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT(1 << 24);
	struct fixture *f = *state;
	struct account_id id = account(500);
	struct placement p;
	struct err e = { 0 };

	add_rows(f, 0, 1000, "IN");
	directory_close(f->file);
	CHECK_OK(fs_read(check_path(f->dir, "directory.db"), 1 << 23, &b, &e), &e);
	for (size_t at = 4096; at + 8 < b.len; at += 4096) /* every page but the first */
		memset(b.data + at, 0xff, 8);
	CHECK_OK(fs_write(check_path(f->dir, "directory.db"), b.data, b.len, 0600, &e), &e);
	reopen(f);
	CHECK(directory_find(f->file, &id, 1, &p, &e) == -1);
	CHECK(e.kind == ERR_IO && strstr(e.text, "damaged"));
}

static void
a_full_disk_changes_nothing(void **state)
{
	static struct swap s[DIRECTORY_BATCH_MAX];
	struct fixture *f = *state;
	struct placement p[DIRECTORY_BATCH_MAX];
	struct err e = { 0 };

	add_rows(f, 0, 1000, "IN");
	/* No page more than there are. */
	CHECK(number(f->file, "PRAGMA max_page_count=1") > 1);
	for (unsigned i = 0; i < DIRECTORY_BATCH_MAX; i++)
		p[i] = row(2000 + i, "cn-bj", "IN");
	CHECK(directory_add(f->file, p, DIRECTORY_BATCH_MAX, &e) == -1);
	CHECK(e.kind == ERR_FULL);
	CHECK(look(f, 2000).epoch == 0);
	/* A longer name of a home makes every row of the batch grow. */
	for (unsigned i = 0; i < 1000; i++)
		s[i] = move_of(i, 1, 0, "cn-bj", "a-region-with-a-very-long-name0");
	CHECK(directory_swap(f->file, s, 1000, &e) == -1);
	CHECK(e.kind == ERR_FULL);
	CHECK(!s[0].is_done && !s[999].is_done);
	check_at(f, 0, "cn-bj", 1, 0);
	/* And with room again it goes on. */
	CHECK(number(f->file, "PRAGMA max_page_count=100000") == 100000);
	CHECK_OK(directory_swap(f->file, s, 1000, &e), &e);
	CHECK(s[0].is_done && s[999].is_done);
}

static void
a_swap_is_flushed_and_an_item_is_not(void **state)
{
	struct fixture *f = *state;
	struct selection all = { .home = "cn-bj" };
	struct wave w = { .from = "cn-bj", .to = "sg", .quiet_from_min = -1, .quiet_to_min = -1 };
	struct wave_item item = { .account = account(1), .state = ITEM_MOVING };
	struct swap s = move_of(1, 1, 0, "cn-bj", "sg");
	struct err e = { 0 };
	uint64_t n;

	add_rows(f, 1, 1, "IN");
	CHECK_OK(directory_wave_plan(f->file, &w, &all, false, &n, &e), &e);
	CHECK_OK(directory_wave_update(f->file, w.id, &item, 1, &e), &e);
	CHECK(number(f->file, "PRAGMA synchronous") == 1);
	CHECK_OK(directory_swap(f->file, &s, 1, &e), &e);
	CHECK(number(f->file, "PRAGMA synchronous") == 2);
}

/* The chain of account N as it is stored. */
static void
stored_chain(struct directory *d, unsigned n, uint8_t out[static SHA256_BYTES])
{
	struct account_id id = account(n);
	struct conn *c = conn_lock(d, CONN_WRITE);
	sqlite3_stmt *st;

	CHECK(sqlite3_prepare_v2(c->db, "SELECT chain FROM placement WHERE account = ?1", -1, &st,
	          NULL) == SQLITE_OK);
	bind_account(st, 1, &id);
	CHECK(sqlite3_step(st) == SQLITE_ROW && sqlite3_column_bytes(st, 0) == SHA256_BYTES);
	memcpy(out, sqlite3_column_blob(st, 0), SHA256_BYTES);
	sqlite3_finalize(st);
	conn_unlock(c);
}

static void
every_statement_is_chained_once(void **state)
{
	struct fixture *f = *state;
	struct swap asked[] = { cancel_of(1, 1, 0, "cn-bj"), move_of(1, 1, 1, "cn-bj", "sg"),
		move_of(1, 1, 1, "cn-bj", "sg") /* again */,
		move_of(1, 1, 0, "cn-bj", "us") /* too late */ };
	uint8_t should[2 * SHA256_BYTES] = { 0 }, is[SHA256_BYTES];
	struct err e = { 0 };

	add_rows(f, 1, 1, "IN");
	for (unsigned i = 0; i < 4; i++) {
		CHECK_OK(directory_swap(f->file, &asked[i], 1, &e), &e);
		if (i < 2) {
			memcpy(should + SHA256_BYTES, asked[i].statement, SHA256_BYTES);
			sha256(should, sizeof should, is);
			memcpy(should, is, sizeof is);
		}
		stored_chain(f->file, 1, is);
		CHECK_BYTES(is, should, SHA256_BYTES);
	}
}

/* Over the wire */

static void
a_region_speaks_only_for_itself(void **state)
{
	struct fixture *f = *state;
	struct placement p = row(7, "cn-bj", "IN");
	struct account_id id = account(1);
	struct swap s[2] = { move_of(2, 1, 0, "cn-bj", "us"), move_of(1, 1, 0, "cn-bj", "sg") };
	struct selection all = { .home = "cn-bj" };
	struct wave w = { .from = "cn-bj", .to = "sg", .quiet_from_min = -1, .quiet_to_min = -1 };
	struct wave_item item = { .account = account(1), .state = ITEM_ERASED };
	struct err e = { 0 };
	uint64_t n;
	size_t room = 1;

	add_rows(f, 1, 2, "IN");
	CHECK_OK(directory_wave_plan(f->as[SG], &w, &all, false, &n, &e), &e);
	CHECK(directory_add(f->as[SG], &p, 1, &e) == -1 && e.kind == ERR_DENIED);
	CHECK(directory_swap(f->as[US], s, 2, &e) == -1 && e.kind == ERR_DENIED);
	CHECK(directory_swap(f->as[BJ], s, 1, &e) == -1 && e.kind == ERR_DENIED);
	p = row(1, "cn-bj", "IN");
	CHECK(directory_remove(f->as[SG], &p, &e) == -1 && e.kind == ERR_DENIED);
	CHECK(directory_suspend(f->as[SG], &id, true, &e) == -1 && e.kind == ERR_DENIED);
	CHECK(directory_wave_update(f->as[SG], w.id, &item, 1, &e) == -1 && e.kind == ERR_DENIED);
	/* Reading is for all. */
	CHECK_OK(directory_wave_items(f->as[SG], w.id, ~0u, NULL, &item, &room, &e), &e);
	CHECK(room == 1 && item.state == ITEM_WAITING);
	check_at(f, 1, "cn-bj", 1, 0);
	check_at(f, 2, "cn-bj", 1, 0);
	CHECK(!look(f, 1).is_suspended && look(f, 7).epoch == 0);
}

#define ID   "00000000000000000000000000000001"
#define HASH ID ID

static void
a_malformed_call_is_refused(void **state)
{
	static const struct {
		const char *op, *arguments;
		enum err_kind kind;
	} calls[] = {
		{ "nothing", "{}", ERR_MISSING },
		{ "find", "{}", ERR_BAD },
		{ "find", "null", ERR_BAD },
		{ "find", "[]", ERR_BAD },
		{ "find", "{\"ids\":\"00\"}", ERR_BAD },
		{ "find", "{\"ids\":\"0000000000000000000000000000000g\"}", ERR_BAD },
		{ "add", "{\"rows\":7}", ERR_BAD },
		{ "add", "{\"rows\":[7]}", ERR_BAD },
		{ "add", "{\"rows\":[[\"" ID "\",\"cn-bj\",\"IN\",1,0]]}", ERR_BAD },
		{ "add", "{\"rows\":[[\"" ID "\",\"cn-bj\",\"IN\",1,0,0,0]]}", ERR_BAD },
		{ "add", "{\"rows\":[[\"" ID "\",\"CN BJ\",\"IN\",1,0,0]]}", ERR_BAD },
		{ "add", "{\"rows\":[[\"" ID "\",\"cn-bj\",\"I\",1,0,0]]}", ERR_BAD },
		{ "add", "{\"rows\":[[\"" ID "\",\"cn-bj\",\"IND\",1,0,0]]}", ERR_BAD },
		{ "add", "{\"rows\":[[\"" ID "\",\"cn-bj\",\"IN\",-1,0,0]]}", ERR_BAD },
		{ "add", "{\"rows\":[[\"" ID "\",\"cn-bj\",\"IN\",0,0,0]]}", ERR_BAD },
		{ "add", "{\"rows\":[[\"" ID "\",\"cn-bj\",\"IN\",1.5,0,0]]}", ERR_BAD },
		{ "swap", "{\"swaps\":[[\"" ID "\",1,0,\"cn-bj\",2,0,\"cn-bj\",\"00\"]]}",
		    ERR_BAD },
		{ "swap", "{\"swaps\":[[\"" ID "\",1,0,\"sg\",3,0,\"cn-bj\",\"" HASH "\"]]}",
		    ERR_BAD },
		{ "suspend", "{\"id\":\"" ID "\",\"on\":1}", ERR_BAD },
		{ "suspend", "{\"id\":\"" ID "\",\"on\":true}", ERR_MISSING },
		{ "list", "{}", ERR_BAD },
		{ "list", "{\"limit\":-1}", ERR_BAD },
		{ "list", "{\"limit\":1,\"after\":\"x\"}", ERR_BAD },
		{ "wave_get", "{\"id\":\"1\"}", ERR_BAD },
		{ "wave_set", "{\"id\":\"0000000000000000\",\"to\":\"gone\"}", ERR_BAD },
		{ "wave_set", "{\"id\":\"0000000000000000\",\"to\":\"done\"}", ERR_MISSING },
		{ "wave_plan", "{\"wave\":{}}", ERR_BAD },
		{ "wave_update", "{\"id\":\"0000000000000000\",\"items\":[]}", ERR_MISSING },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		json_t *arguments = json_loads(calls[i].arguments, JSON_DECODE_ANY, NULL);
		json_t *answer = NULL;
		struct err e = { 0 };

		CHECK(arguments);
		if (directory_serve(f->file, "cn-bj", true, calls[i].op, arguments, &answer, &e) ==
		        0 ||
		    e.kind != calls[i].kind)
			fail_msg("%s %s: %s", calls[i].op, calls[i].arguments, e.text);
		json_decref(arguments);
	}
}

static void
more_than_a_batch_is_refused(void **state)
{
	struct fixture *f = *state;
	json_t *rows = json_array(), *arguments, *answer = NULL;
	struct err e = { 0 };

	for (int i = 0; i <= DIRECTORY_BATCH_MAX; i++)
		json_array_append_new(rows, json_null());
	arguments = json_pack("{s:O, s:O}", "rows", rows, "swaps", rows);
	CHECK(directory_serve(f->file, "cn-bj", true, "add", arguments, &answer, &e) == -1);
	CHECK(e.kind == ERR_TOO_BIG);
	CHECK(directory_serve(f->file, "cn-bj", true, "swap", arguments, &answer, &e) == -1);
	CHECK(e.kind == ERR_TOO_BIG);
	json_decref(arguments);
	json_decref(rows);
}

static void
a_malformed_answer_is_the_peers_error(void **state)
{
	static const char *const answers[] = { "[]", "{}", "{\"rows\":[]}", "{\"rows\":[7]}",
		"{\"swaps\":[]}", "{\"swaps\":[[1]]}", "{\"rows\":[null,null]}",
		"{\"rows\":[[\"" ID "\",\"cn-bj\",\"IN\",1,0,0]]}",
		"{\"swaps\":[[1,[\"" ID "\",\"cn-bj\",\"IN\",1,0,0]]]}" };
	struct fixture *f = *state;
	struct account_id id = account(1);

	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		struct swap s = move_of(1, 1, 0, "cn-bj", "sg");
		struct placement p;
		struct err e = { 0 };

		f->server.raw = answers[i];
		CHECK(directory_find(f->as[SG], &id, 1, &p, &e) == -1 && e.kind == ERR_PEER);
		CHECK(directory_swap(f->as[SG], &s, 1, &e) == -1 && e.kind == ERR_PEER);
		CHECK(!s.is_done);
	}
}

#define IN_FILE(name) cmocka_unit_test_setup_teardown(name, setup_file, teardown)
#define REMOTE(name)  cmocka_unit_test_setup_teardown(name, setup_remote, teardown)
#define IN_DIR(name)  cmocka_unit_test_setup_teardown(name, check_dir_setup, check_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		IN_FILE(a_directory_outlives_its_process),
		IN_FILE(two_processes_can_not_open_it),
		IN_DIR(what_is_no_directory_is_left_alone),
		IN_FILE(damage_is_noticed),
		IN_FILE(a_full_disk_changes_nothing),
		IN_FILE(a_swap_is_flushed_and_an_item_is_not),
		IN_FILE(every_statement_is_chained_once),
		REMOTE(a_region_speaks_only_for_itself),
		IN_FILE(a_malformed_call_is_refused),
		IN_FILE(more_than_a_batch_is_refused),
		REMOTE(a_malformed_answer_is_the_peers_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
