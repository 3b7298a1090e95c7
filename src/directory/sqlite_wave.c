/* sqlite_wave.c - waves in the SQLite directory: planning them and their states.
 *
 * What items do is in sqlite_item.c.
 */
#include "directory/sqlite_wave_private.h"
#include "base/host.h"

#include <sqlite3.h>
#include <string.h>

#define WAVE_COLUMNS \
	"num, id, source, destination, state, created_ms, started_ms, finished_ms, deadline_ms," \
	" bytes_per_s, accounts_per_s, concurrency, quiet_from_min, quiet_to_min, countries"

#define SQL_LIVE "(0, 1, 2)" /* states of a wave that has not ended */
_Static_assert(WAVE_PLANNED == 0 && WAVE_RUNNING == 1 && WAVE_PAUSED == 2, "SQL_LIVE");

static const struct {
	unsigned from; /* states from which this one is reached */
	bool starts, ends;
} steps[WAVE_STATES] = {
	[WAVE_PLANNED] = { .from = 0 },
	[WAVE_RUNNING] = { .from = BIT(WAVE_PLANNED) | BIT(WAVE_PAUSED), .starts = true },
	[WAVE_PAUSED] = { .from = BIT(WAVE_RUNNING) },
	[WAVE_CANCELLED] = { .from = BIT(WAVE_PLANNED) | BIT(WAVE_RUNNING) | BIT(WAVE_PAUSED),
	    .ends = true },
	[WAVE_DONE] = { .from = BIT(WAVE_RUNNING), .ends = true },
};

/* Reading a wave */

static int
column_wave(struct sqlite3_stmt *st, struct wave *w, struct err *e)
{
	*w = (struct wave){ 0 };
	if (column_text(st, 1, w->id, sizeof(w->id), e) < 0 ||
	    column_text(st, 2, w->from, sizeof(w->from), e) < 0 ||
	    column_text(st, 3, w->to, sizeof(w->to), e) < 0 ||
	    column_text(st, 14, w->countries, sizeof(w->countries), e) < 0)
		return -1;
	if (column_u64(st, 4) >= WAVE_STATES)
		return err_set(e, ERR_IO, "the directory's file is damaged: a wave's state");
	w->state = (enum wave_state)column_u64(st, 4);
	w->created_ms = column_u64(st, 5);
	w->started_ms = column_u64(st, 6);
	w->finished_ms = column_u64(st, 7);
	w->deadline_ms = column_u64(st, 8);
	w->bytes_per_s = column_u64(st, 9);
	w->accounts_per_s = column_u64(st, 10);
	w->concurrency = (unsigned)column_u64(st, 11);
	w->quiet_from_min = sqlite3_column_int(st, 12);
	w->quiet_to_min = sqlite3_column_int(st, 13);
	return 0;
}

int
wave_read(struct conn *c, const char *id, struct wave *w, int64_t *num, struct err *e)
{
	static const char sql[] = "SELECT " WAVE_COLUMNS " FROM wave WHERE id = ?1";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);
	int rc;

	if (!st)
		return -1;
	bind_text(st, 1, id);
	rc = db_step(c, st, e);
	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(e, ERR_MISSING, "no wave %.16s", id);
	*num = sqlite3_column_int64(st, 0);
	return column_wave(st, w, e);
}

int
sqlite_wave_list(struct directory *d, const char *from, wave_fn *fn, void *arg, struct err *e)
{
	static const char sql[] = "SELECT " WAVE_COLUMNS " FROM wave"
	                          " WHERE (?1 IS NULL OR source = ?1) AND num < ?2"
	                          " ORDER BY num DESC LIMIT 1";
	int64_t before = INT64_MAX;

	/* One at a time, so that FN runs without a lock: there are few. */
	for (;;) {
		struct wave w;
		int rc;

		{
			_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_SCAN);
			_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);

			if (!st)
				return -1;
			if (from)
				bind_text(st, 1, from);
			sqlite3_bind_int64(st, 2, before);
			rc = db_step(c, st, e);
			if (rc <= 0)
				return rc;
			before = sqlite3_column_int64(st, 0);
			if (column_wave(st, &w, e) < 0)
				return -1;
		}
		if (fn(arg, &w, e) < 0)
			return -1;
	}
}

/* Planning */

static bool
minute_valid(int m)
{
	return m >= -1 && m < 24 * 60;
}

static int
check_plan(const struct wave *w, const struct selection *s, struct err *e)
{
	if (!region_name_valid(w->from) || !region_name_valid(w->to))
		return err_set(e, ERR_BAD, "a wave goes from a region to a region");
	if (strcmp(w->from, w->to) == 0)
		return err_set(e, ERR_BAD, "a wave from %s to itself", w->from);
	if (!s->home || strcmp(s->home, w->from) != 0)
		return err_set(
		    e, ERR_BAD, "a wave from %s selects accounts at home there", w->from);
	if (s->accounts && s->countries && *s->countries)
		return err_set(e, ERR_BAD, "a wave has either a list of accounts or of countries");
	if (!minute_valid(w->quiet_from_min) || !minute_valid(w->quiet_to_min) ||
	    (w->quiet_from_min < 0) != (w->quiet_to_min < 0))
		return err_set(e, ERR_BAD, "quiet hours are two minutes of the day");
	return 0;
}

static int
insert_wave(struct conn *c, const struct wave *w, int64_t *num, struct err *e)
{
	static const char sql[] =
	    "INSERT INTO wave (" WAVE_COLUMNS ") VALUES"
	    " (NULL, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);

	if (!st)
		return -1;
	bind_text(st, 2, w->id);
	bind_text(st, 3, w->from);
	bind_text(st, 4, w->to);
	bind_u64(st, 5, w->state);
	bind_u64(st, 6, w->created_ms);
	bind_u64(st, 7, w->deadline_ms);
	bind_u64(st, 8, w->bytes_per_s);
	bind_u64(st, 9, w->accounts_per_s);
	bind_u64(st, 10, w->concurrency);
	sqlite3_bind_int(st, 11, w->quiet_from_min);
	sqlite3_bind_int(st, 12, w->quiet_to_min);
	bind_text(st, 13, w->countries);
	if (db_run(c, st, e) < 0)
		return -1;
	*num = sqlite3_last_insert_rowid(c->db);
	return 0;
}

#define ITEM_VALUES "?1, account, 0, 0, 0, 0, 0, ''"
_Static_assert(ITEM_WAITING == 0, "ITEM_VALUES");

/* All of a home and countries; COUNT_ONLY inserts nothing. */
static int
select_countries(struct conn *c, int64_t num, const struct selection *s, bool count_only,
    uint64_t *n, struct err *e)
{
	static const char sql_insert[] = "INSERT INTO item SELECT " ITEM_VALUES " FROM placement"
	                                 " WHERE home = ?2 AND " SQL_COUNTRIES("?3", "?4");
	static const char sql_count[] = "SELECT count(*) FROM placement"
	                                " WHERE home = ?2 AND " SQL_COUNTRIES("?3", "?4");
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(
	    c, count_only ? sql_count : sql_insert, e);
	int rc;

	if (!st || bind_countries(st, 3, s->countries, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, num);
	bind_text(st, 2, s->home);
	rc = db_step(c, st, e);
	if (rc < 0)
		return -1;
	*n = count_only ? column_u64(st, 0) : (uint64_t)sqlite3_changes64(c->db);
	return 0;
}

/* Those of an explicit list that are at home there. Named twice is meant once. */
static int
select_accounts(struct conn *c, int64_t num, const struct selection *s, uint64_t *n, struct err *e)
{
	static const char sql[] = "INSERT INTO item SELECT " ITEM_VALUES " FROM placement"
	                          " WHERE account = ?2 AND home = ?3 ON CONFLICT DO NOTHING";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);

	if (!st)
		return -1;
	*n = 0;
	for (size_t i = 0; i < s->n_accounts; i++) {
		sqlite3_bind_int64(st, 1, num);
		bind_account(st, 2, &s->accounts[i]);
		bind_text(st, 3, s->home);
		if (db_run(c, st, e) < 0)
			return -1;
		*n += (uint64_t)sqlite3_changes(c->db);
	}
	return 0;
}

/* ERR_EXISTS if a waiting account of wave NUM is in another wave that has not ended. */
static int
check_overlap(struct conn *c, int64_t num, struct err *e)
{
	static const char sql[] =
	    "SELECT other.id, mine.account FROM wave AS other CROSS JOIN item AS mine CROSS JOIN item"
	    " AS theirs WHERE other.state IN " SQL_LIVE " AND other.num <> ?1"
	    " AND mine.wave = ?1 AND mine.state = ?2"
	    " AND theirs.wave = other.num AND theirs.account = mine.account LIMIT 1";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);
	struct account_id account;
	char text[ACCOUNT_TEXT_SIZE], other[WAVE_ID_SIZE];
	int rc;

	if (!st)
		return -1;
	sqlite3_bind_int64(st, 1, num);
	sqlite3_bind_int(st, 2, ITEM_WAITING);
	rc = db_step(c, st, e);
	if (rc <= 0)
		return rc;
	if (column_text(st, 0, other, sizeof(other), e) < 0 ||
	    column_account(st, 1, &account, e) < 0)
		return -1;
	account_text(&account, text);
	return err_set(e, ERR_EXISTS, "account %s is in wave %s, which has not ended", text, other);
}

static int
plan_in_transaction(struct conn *c, const struct wave *w, const struct selection *s, bool dry,
    uint64_t *n, struct err *e)
{
	struct tally_delta delta = { 0 };
	int64_t num;

	if (dry && !s->accounts)
		return select_countries(c, 0, s, true, n, e);
	if (insert_wave(c, w, &num, e) < 0)
		return -1;
	if (s->accounts ? select_accounts(c, num, s, n, e) < 0
	                : select_countries(c, num, s, false, n, e) < 0)
		return -1;
	if (dry)
		return 0;
	delta.items[ITEM_WAITING] = (int64_t)*n;
	if (tally_apply(c, num, &delta, e) < 0)
		return -1;
	return check_overlap(c, num, e);
}

int
sqlite_wave_plan(struct directory *d, struct wave *w, const struct selection *s, bool dry,
    uint64_t *n, struct err *e)
{
	struct wave planned = *w;
	uint8_t id[(WAVE_ID_SIZE - 1) / 2];
	uint64_t found = 0;
	int rc;

	if (check_plan(w, s, e) < 0)
		return -1;
	host_random(id, sizeof(id));
	hex_text(id, sizeof(id), planned.id);
	planned.state = WAVE_PLANNED;
	planned.created_ms = host_wall_ms();
	planned.started_ms = planned.finished_ms = 0;

	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_WRITE);

	if (db_begin(c, DB_DURABLE, e) < 0)
		return -1;
	rc = plan_in_transaction(c, &planned, s, dry, &found, e);
	if (dry)
		db_cancel(c);
	else
		rc = db_end(c, rc, e);
	if (rc < 0)
		return -1;
	*n = found;
	if (!dry)
		*w = planned;
	return 0;
}

/* States */

static int
write_state(struct conn *c, int64_t num, enum wave_state to, struct err *e)
{
	static const char sql[] = "UPDATE wave SET state = ?2,"
	                          " started_ms = iif(?3 AND started_ms = 0, ?5, started_ms),"
	                          " finished_ms = iif(?4, ?5, 0) WHERE num = ?1";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);

	if (!st)
		return -1;
	sqlite3_bind_int64(st, 1, num);
	bind_u64(st, 2, to);
	sqlite3_bind_int(st, 3, steps[to].starts);
	sqlite3_bind_int(st, 4, steps[to].ends);
	bind_u64(st, 5, host_wall_ms());
	return db_run(c, st, e);
}

/* 1: some item of the wave waits; 0; -1. */
static int
has_waiting(struct conn *c, int64_t num, struct err *e)
{
	static const char sql[] =
	    "SELECT 1 FROM tally WHERE wave = ?1 AND state = ?2 AND items > 0";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);

	if (!st)
		return -1;
	sqlite3_bind_int64(st, 1, num);
	sqlite3_bind_int(st, 2, ITEM_WAITING);
	return db_step(c, st, e);
}

static int
set_in_transaction(struct conn *c, const char *id, enum wave_state to, struct err *e)
{
	struct wave w;
	int64_t num;
	uint64_t n;
	int waits;

	if (wave_read(c, id, &w, &num, e) < 0)
		return -1;
	if (to == w.state)
		return err_set(e, ERR_STALE, "wave %s is %s already", w.id, wave_state_name(to));
	if (!(steps[to].from & BIT(w.state)))
		return err_set(e, ERR_STALE, "wave %s is %s and can't be %s", w.id,
		    wave_state_name(w.state), wave_state_name(to));
	/* What failed may have been told to wait again since its mover looked. */
	waits = to == WAVE_DONE ? has_waiting(c, num, e) : 0;
	if (waits)
		return waits < 0 ? -1
		                 : err_set(e, ERR_STALE, "accounts of wave %s wait again", w.id);
	if (to == WAVE_CANCELLED &&
	    items_turn(c, num, BIT(ITEM_WAITING) | BIT(ITEM_PUT_OFF), ITEM_CANCELLED, &n, e) < 0)
		return -1;
	return write_state(c, num, to, e);
}

int
sqlite_wave_set(struct directory *d, const char *id, enum wave_state to, struct err *e)
{
	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_WRITE);

	if (db_begin(c, DB_DURABLE, e) < 0)
		return -1;
	return db_end(c, set_in_transaction(c, id, to, e), e);
}

static int
retry_in_transaction(struct conn *c, const char *id, uint64_t *n, struct err *e)
{
	struct wave w;
	int64_t num;

	if (wave_read(c, id, &w, &num, e) < 0)
		return -1;
	if (w.state == WAVE_CANCELLED)
		return err_set(e, ERR_STALE, "wave %s was cancelled; plan another", w.id);
	if (items_turn(c, num, BIT(ITEM_FAILED) | BIT(ITEM_PUT_OFF), ITEM_WAITING, n, e) < 0)
		return -1;
	if (w.state != WAVE_DONE || !*n)
		return 0;
	/* Since it ended, another may have taken its accounts. */
	if (check_overlap(c, num, e) < 0)
		return -1;
	return write_state(c, num, WAVE_RUNNING, e);
}

int
sqlite_wave_retry(struct directory *d, const char *id, uint64_t *n, struct err *e)
{
	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_WRITE);
	uint64_t turned = 0;

	if (db_begin(c, DB_DURABLE, e) < 0)
		return -1;
	if (db_end(c, retry_in_transaction(c, id, &turned, e), e) < 0)
		return -1;
	*n = turned;
	return 0;
}
