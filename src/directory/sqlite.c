/* sqlite.c - placements in one SQLite file.
 *
 * chain = SHA-256(previous chain || digest of the signed statement), 32 zero bytes for a new
 * account: whoever holds all statements of an account can tell that none was left out.
 */
#include "directory/sqlite_private.h"
#include "base/crypto.h"

#include <assert.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <string.h>

#define LIST_PIECE        ((size_t)1024)

#define PLACEMENT_COLUMNS "account, home, country, epoch, attempt, is_suspended"

static int
column_placement(struct sqlite3_stmt *st, struct placement *out, struct err *e)
{
	if (column_account(st, 0, &out->account, e) < 0 ||
	    column_text(st, 1, out->home, sizeof(out->home), e) < 0 ||
	    column_text(st, 2, out->country, sizeof(out->country), e) < 0)
		return -1;
	out->epoch = column_u64(st, 3);
	out->attempt = column_u64(st, 4);
	out->is_suspended = column_u64(st, 5) != 0;
	return 0;
}

/* find */

static int
find_one(struct conn *c, const struct account_id *id, struct placement *out, struct err *e)
{
	static const char sql[] = "SELECT " PLACEMENT_COLUMNS " FROM placement WHERE account = ?1";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);
	int rc;

	if (!st)
		return -1;
	*out = (struct placement){ .account = *id };
	bind_account(st, 1, id);
	rc = db_step(c, st, e);
	return rc == 1 ? column_placement(st, out, e) : rc;
}

static int
sqlite_find(struct directory *d, const struct account_id *ids, size_t n, struct placement *out,
    struct err *e)
{
	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_FIND);
	int rc;

	assert(n <= DIRECTORY_BATCH_MAX);
	/* One snapshot for all, and one read lock instead of N. */
	if (db_exec(c, "BEGIN", e) < 0)
		return -1;
	rc = 0;
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = find_one(c, &ids[i], &out[i], e);
	return db_end(c, rc, e);
}

/* add */

static int
check_placement(const struct placement *p, struct err *e)
{
	if (!region_name_valid(p->home))
		return err_set(e, ERR_BAD, "a placement without a valid home");
	if (p->country[0] < 'A' || p->country[0] > 'Z' || p->country[1] < 'A' ||
	    p->country[1] > 'Z' || p->country[2])
		return err_set(e, ERR_BAD, "a country is two capital letters");
	if (p->epoch < 1 || p->epoch > INT64_MAX || p->attempt > INT64_MAX)
		return err_set(e, ERR_BAD, "a placement's epoch counts from 1");
	return 0;
}

static int
add_one(struct conn *c, const struct placement *p, struct err *e)
{
	static const char sql[] = "INSERT INTO placement (" PLACEMENT_COLUMNS ", chain)"
	                          " VALUES (?1, ?2, ?3, ?4, ?5, ?6, zeroblob(32))"
	                          " ON CONFLICT DO NOTHING";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);
	char id[ACCOUNT_TEXT_SIZE];

	if (!st || check_placement(p, e) < 0)
		return -1;
	bind_account(st, 1, &p->account);
	bind_text(st, 2, p->home);
	bind_text(st, 3, p->country);
	bind_u64(st, 4, p->epoch);
	bind_u64(st, 5, p->attempt);
	bind_u64(st, 6, p->is_suspended);
	if (db_run(c, st, e) < 0)
		return -1;
	account_text(&p->account, id);
	if (sqlite3_changes(c->db) == 0)
		return err_set(e, ERR_EXISTS, "account %s is in the directory already", id);
	return 0;
}

static int
sqlite_add(struct directory *d, const struct placement *p, size_t n, struct err *e)
{
	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_WRITE);
	int rc = 0;

	assert(n <= DIRECTORY_BATCH_MAX);
	if (db_begin(c, DB_DURABLE, e) < 0)
		return -1;
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = add_one(c, &p[i], e);
	return db_end(c, rc, e);
}

/* swap */

/* The two that there are: a move and a cancellation. Any other would break the count of homes. */
static int
check_swap(const struct swap *s, struct err *e)
{
	bool is_move = s->to_epoch == s->epoch + 1 && s->to_attempt == s->attempt &&
	    strcmp(s->from, s->to) != 0;
	bool is_cancel = s->to_epoch == s->epoch && s->to_attempt == s->attempt + 1 &&
	    strcmp(s->from, s->to) == 0;

	if (!is_move && !is_cancel)
		return err_set(e, ERR_BAD, "a swap is either a move or a cancellation");
	if (!region_name_valid(s->from) || !region_name_valid(s->to))
		return err_set(e, ERR_BAD, "a swap between regions that have no valid name");
	if (s->epoch >= INT64_MAX || s->attempt >= INT64_MAX)
		return err_set(e, ERR_BAD, "a swap's numbers are too big");
	return 0;
}

static bool
is_at(const struct placement *p, uint64_t epoch, uint64_t attempt, const char *home)
{
	return p->epoch == epoch && p->attempt == attempt && strcmp(p->home, home) == 0;
}

/* S->now and the row's chain. 1: there is a row. */
static int
read_for_swap(struct conn *c, struct swap *s, uint8_t chain[static SHA256_BYTES], struct err *e)
{
	static const char sql[] = "SELECT " PLACEMENT_COLUMNS
	                          ", chain FROM placement WHERE account = ?1";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);
	int rc;

	if (!st)
		return -1;
	s->now = (struct placement){ .account = s->account };
	bind_account(st, 1, &s->account);
	rc = db_step(c, st, e);
	if (rc != 1)
		return rc;
	if (column_placement(st, &s->now, e) < 0)
		return -1;
	if (sqlite3_column_bytes(st, 6) != SHA256_BYTES)
		return err_set(e, ERR_IO, "the directory's file is damaged: a chain");
	memcpy(chain, sqlite3_column_blob(st, 6), SHA256_BYTES);
	return 1;
}

static int
write_swap(
    struct conn *c, const struct swap *s, const uint8_t chain[static SHA256_BYTES], struct err *e)
{
	static const char sql[] = "UPDATE placement SET home = ?2, epoch = ?3, attempt = ?4,"
	                          " chain = ?5 WHERE account = ?1";
	/* A cancellation leaves the home, and with it the index, alone. */
	static const char sql_same_home[] = "UPDATE placement SET epoch = ?3, attempt = ?4,"
	                                    " chain = ?5 WHERE account = ?1 AND home = ?2";
	bool is_same = strcmp(s->from, s->to) == 0;
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, is_same ? sql_same_home : sql, e);

	if (!st)
		return -1;
	bind_account(st, 1, &s->account);
	bind_text(st, 2, s->to);
	bind_u64(st, 3, s->to_epoch);
	bind_u64(st, 4, s->to_attempt);
	sqlite3_bind_blob(st, 5, chain, SHA256_BYTES, SQLITE_STATIC);
	if (db_run(c, st, e) < 0)
		return -1;
	if (sqlite3_changes(c->db) != 1)
		return err_set(e, ERR_INTERNAL, "directory: a swap changed no row");
	return 0;
}

/* model: r_cancel, r_swap */
static int
swap_one(struct conn *c, struct swap *s, struct err *e)
{
	uint8_t chained[2 * SHA256_BYTES];
	uint8_t chain[SHA256_BYTES];
	int rc = check_swap(s, e) < 0 ? -1 : read_for_swap(c, s, chained, e);

	if (rc < 0)
		return -1;
	s->is_missing = rc == 0;
	/* Done before, and asked again because the answer was lost. */
	s->is_done = is_at(&s->now, s->to_epoch, s->to_attempt, s->to);
	if (s->is_done || !is_at(&s->now, s->epoch, s->attempt, s->from))
		return 0;

	memcpy(chained + SHA256_BYTES, s->statement, SHA256_BYTES);
	sha256(chained, sizeof(chained), chain);
	if (write_swap(c, s, chain, e) < 0)
		return -1;
	s->is_done = true;
	s->now.epoch = s->to_epoch;
	s->now.attempt = s->to_attempt;
	memcpy(s->now.home, s->to, sizeof(s->now.home));
	return 0;
}

static int
sqlite_swap(struct directory *d, struct swap *s, size_t n, struct err *e)
{
	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_WRITE);
	int rc = 0;

	assert(n <= DIRECTORY_BATCH_MAX);
	if (db_begin(c, DB_DURABLE, e) < 0)
		return -1;
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = swap_one(c, &s[i], e);
	rc = db_end(c, rc, e);
	/* Nobody may believe in a swap whose commit failed. */
	for (size_t i = 0; rc < 0 && i < n; i++)
		s[i].is_done = s[i].is_missing = false;
	return rc;
}

/* remove, suspend */

static int
remove_one(struct conn *c, const struct placement *p, struct err *e)
{
	static const char sql[] = "DELETE FROM placement WHERE account = ?1";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);
	struct placement now;
	char id[ACCOUNT_TEXT_SIZE];

	if (!st || find_one(c, &p->account, &now, e) < 0)
		return -1;
	account_text(&p->account, id);
	if (!now.epoch)
		return err_set(e, ERR_MISSING, "account %s is not in the directory", id);
	if (now.epoch != p->epoch || strcmp(now.home, p->home) != 0)
		return err_set(
		    e, ERR_STALE, "account %s is at %s, epoch %" PRIu64, id, now.home, now.epoch);
	bind_account(st, 1, &p->account);
	return db_run(c, st, e);
}

static int
sqlite_remove(struct directory *d, const struct placement *p, struct err *e)
{
	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_WRITE);

	if (db_begin(c, DB_DURABLE, e) < 0)
		return -1;
	return db_end(c, remove_one(c, p, e), e);
}

static int
suspend_one(struct conn *c, const struct account_id *account, bool on, struct err *e)
{
	static const char sql[] = "UPDATE placement SET is_suspended = ?2 WHERE account = ?1";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);
	char id[ACCOUNT_TEXT_SIZE];

	if (!st)
		return -1;
	bind_account(st, 1, account);
	bind_u64(st, 2, on);
	if (db_run(c, st, e) < 0)
		return -1;
	account_text(account, id);
	if (sqlite3_changes(c->db) == 0)
		return err_set(e, ERR_MISSING, "account %s is not in the directory", id);
	return 0;
}

static int
sqlite_suspend(struct directory *d, const struct account_id *id, bool on, struct err *e)
{
	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_WRITE);

	if (db_begin(c, DB_DURABLE, e) < 0)
		return -1;
	return db_end(c, suspend_one(c, id, on, e), e);
}

/* list, count */

static int
list_piece(struct directory *d, const struct account_id *after, const char *home,
    const char *countries, struct placement *out, size_t *n, struct err *e)
{
	static const char sql_all[] = "SELECT " PLACEMENT_COLUMNS " FROM placement"
	                              " WHERE account > ?1 AND " SQL_COUNTRIES(
	                                  "?2", "?3") " ORDER BY account LIMIT ?4";
	static const char sql_home[] = "SELECT " PLACEMENT_COLUMNS " FROM placement"
	                               " WHERE home = ?5 AND account > ?1"
	                               " AND " SQL_COUNTRIES(
	                                   "?2", "?3") " ORDER BY account LIMIT ?4";
	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_SCAN);
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(
	    c, home && *home ? sql_home : sql_all, e);
	size_t room = *n;
	int rc;

	if (!st || bind_countries(st, 2, countries, e) < 0)
		return -1;
	if (after)
		bind_account(st, 1, after);
	else
		sqlite3_bind_zeroblob(st, 1, 0); /* less than any id */
	bind_u64(st, 4, room);
	if (home && *home)
		bind_text(st, 5, home);
	*n = 0;
	while ((rc = db_step(c, st, e)) == 1 && *n < room)
		if (column_placement(st, &out[(*n)++], e) < 0)
			return -1;
	return rc;
}

/* In pieces, so that FN runs without a lock and may call the directory. */
static int
sqlite_list(struct directory *d, const struct account_id *after, const char *home,
    const char *countries, size_t limit, directory_fn *fn, void *arg, struct err *e)
{
	_cleanup_(freep) struct placement *rows = calloc(LIST_PIECE, sizeof(*rows));
	struct account_id last;

	if (!rows)
		return err_set(e, ERR_MEMORY, "no memory for a list of accounts");
	while (limit) {
		size_t want = limit < LIST_PIECE ? limit : LIST_PIECE, n = want;

		if (list_piece(d, after, home, countries, rows, &n, e) < 0)
			return -1;
		for (size_t i = 0; i < n; i++)
			if (fn(arg, &rows[i], e) < 0)
				return -1;
		if (n < want)
			return 0;
		limit -= n;
		last = rows[n - 1].account;
		after = &last;
	}
	return 0;
}

static int
sqlite_count(struct directory *d, json_t **out, struct err *e)
{
	static const char sql[] = "SELECT home, country, count(*) FROM placement"
	                          " GROUP BY home, country ORDER BY home, country";
	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_SCAN);
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);
	_cleanup_(json_decrefp) json_t *list = json_array();
	int rc;

	if (!st)
		return -1;
	while ((rc = db_step(c, st, e)) == 1)
		if (json_array_append_new(list,
		        json_pack("{s:s, s:s, s:I}", "home", sqlite3_column_text(st, 0), "country",
		            sqlite3_column_text(st, 1), "accounts",
		            (json_int_t)sqlite3_column_int64(st, 2))) < 0)
			return err_set(e, ERR_MEMORY, "no memory for the count");
	if (rc < 0)
		return -1;
	*out = take(&list);
	return 0;
}

/* The rows of directory_ops are in two files; the table is in the first. */
const struct directory_ops sqlite_ops = {
	.find = sqlite_find,
	.add = sqlite_add,
	.swap = sqlite_swap,
	.remove = sqlite_remove,
	.suspend = sqlite_suspend,
	.list = sqlite_list,
	.count = sqlite_count,
	.wave_plan = sqlite_wave_plan,
	.wave_get = sqlite_wave_get,
	.wave_list = sqlite_wave_list,
	.wave_set = sqlite_wave_set,
	.wave_retry = sqlite_wave_retry,
	.wave_items = sqlite_wave_items,
	.wave_update = sqlite_wave_update,
	.term_get = sqlite_term_get,
	.term_hold = sqlite_term_hold,
	.term_raise = sqlite_term_raise,
	.close = sqlite_close,
};
