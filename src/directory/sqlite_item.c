/* sqlite_item.c - the items of a wave: reading, updating and summing them.
 *
 * Items are a report of what happened; placements are the truth. So updates are atomic but not
 * flushed: after a power cut the mover finds some items as they were a moment before, asks where
 * their accounts live and writes them again.
 */
#include "directory/sqlite_wave_private.h"

#include <sqlite3.h>
#include <string.h>

#define ITEM_COLUMNS "account, state, bytes, pause_us, tries, held, reason"

static int
column_item(struct sqlite3_stmt *st, struct wave_item *item, struct err *e)
{
	*item = (struct wave_item){ 0 };
	if (column_account(st, 0, &item->account, e) < 0 ||
	    column_text(st, 6, item->reason, sizeof(item->reason), e) < 0)
		return -1;
	if (column_u64(st, 1) >= ITEM_STATES)
		return err_set(e, ERR_IO, "the directory's file is damaged: an item's state");
	item->state = (enum item_state)column_u64(st, 1);
	item->bytes = column_u64(st, 2);
	item->pause_us = column_u64(st, 3);
	item->tries = (uint32_t)column_u64(st, 4);
	item->held = (uint32_t)column_u64(st, 5);
	return 0;
}

/* Sums */

int
tally_apply(struct conn *c, int64_t num, const struct tally_delta *delta, struct err *e)
{
	static const char sql[] =
	    "INSERT INTO tally VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET"
	    " items = items + excluded.items, bytes = bytes + excluded.bytes,"
	    " held = held + excluded.held, pauses = pauses + excluded.pauses";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);

	if (!st)
		return -1;
	for (int state = 0; state < ITEM_STATES; state++) {
		if (!delta->items[state] && !delta->bytes[state] && !delta->held[state] &&
		    !delta->pauses[state])
			continue;
		sqlite3_bind_int64(st, 1, num);
		sqlite3_bind_int(st, 2, state);
		sqlite3_bind_int64(st, 3, delta->items[state]);
		sqlite3_bind_int64(st, 4, delta->bytes[state]);
		sqlite3_bind_int64(st, 5, delta->held[state]);
		sqlite3_bind_int64(st, 6, delta->pauses[state]);
		if (db_run(c, st, e) < 0)
			return -1;
	}
	return 0;
}

static void
count_item(struct tally_delta *delta, const struct wave_item *item, int sign)
{
	delta->items[item->state] += sign;
	delta->bytes[item->state] += sign * (int64_t)item->bytes;
	delta->held[item->state] += sign * (int64_t)item->held;
	delta->pauses[item->state] += sign * (item->pause_us > 0);
}

static int
read_tally(struct conn *c, int64_t num, struct wave_sums *sums, uint64_t *pauses, struct err *e)
{
	static const char sql[] =
	    "SELECT state, items, bytes, held, pauses FROM tally WHERE wave = ?1";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);
	int rc;

	if (!st)
		return -1;
	sqlite3_bind_int64(st, 1, num);
	while ((rc = db_step(c, st, e)) == 1) {
		if (column_u64(st, 0) >= ITEM_STATES)
			return err_set(e, ERR_IO, "the directory's file is damaged: a sum");
		sums->items[column_u64(st, 0)] = column_u64(st, 1);
		sums->bytes += column_u64(st, 2);
		sums->held += column_u64(st, 3);
		*pauses += column_u64(st, 4);
	}
	return rc;
}

/* The pause that SKIP pauses exceed. Walked from the longest: the 99th percentile is near. */
static int
read_pause(struct conn *c, int64_t num, uint64_t skip, uint64_t *out, struct err *e)
{
	static const char sql[] = "SELECT pause_us FROM item WHERE wave = ?1 AND pause_us > 0"
	                          " ORDER BY pause_us DESC LIMIT 1 OFFSET ?2";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);
	int rc;

	if (!st)
		return -1;
	sqlite3_bind_int64(st, 1, num);
	bind_u64(st, 2, skip);
	rc = db_step(c, st, e);
	if (rc == 1)
		*out = column_u64(st, 0);
	return rc < 0 ? -1 : 0;
}

static int
read_reasons(struct conn *c, int64_t num, struct wave_sums *sums, struct err *e)
{
	static const char sql[] = "SELECT reason, count(*) FROM item"
	                          " WHERE wave = ?1 AND reason <> ''"
	                          " GROUP BY reason ORDER BY 2 DESC, 1 LIMIT 5";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);
	int rc;

	if (!st)
		return -1;
	sqlite3_bind_int64(st, 1, num);
	for (size_t i = 0; (rc = db_step(c, st, e)) == 1 && i < ARRAY_LEN(sums->reasons); i++) {
		if (column_text(st, 0, sums->reasons[i].text, WAVE_REASON_SIZE, e) < 0)
			return -1;
		sums->reasons[i].n = column_u64(st, 1);
	}
	return rc < 0 ? -1 : 0;
}

static int
read_sums(struct conn *c, int64_t num, struct wave_sums *sums, struct err *e)
{
	uint64_t pauses = 0;

	*sums = (struct wave_sums){ 0 };
	if (read_tally(c, num, sums, &pauses, e) < 0 || read_reasons(c, num, sums, e) < 0)
		return -1;
	/* The smallest value that at least the share lies at or below. */
	if (read_pause(c, num, pauses / 2, &sums->pause_p50_us, e) < 0 ||
	    read_pause(c, num, pauses / 100, &sums->pause_p99_us, e) < 0 ||
	    read_pause(c, num, 0, &sums->pause_max_us, e) < 0)
		return -1;
	return 0;
}

int
sqlite_wave_get(
    struct directory *d, const char *id, struct wave *w, struct wave_sums *sums, struct err *e)
{
	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, sums ? CONN_SCAN : CONN_FIND);
	int64_t num;
	int rc;

	if (db_exec(c, "BEGIN", e) < 0) /* one snapshot */
		return -1;
	rc = wave_read(c, id, w, &num, e);
	if (rc == 0 && sums)
		rc = read_sums(c, num, sums, e);
	return db_end(c, rc, e);
}

/* Items */

/* Up to ROOM items of one state, added behind the *N that OUT has. */
static int
read_state(struct conn *c, int64_t num, enum item_state state, const struct account_id *after,
    size_t room, struct wave_item *out, size_t *n, struct err *e)
{
	static const char sql[] = "SELECT " ITEM_COLUMNS " FROM item"
	                          " WHERE wave = ?1 AND state = ?2 AND account > ?3"
	                          " ORDER BY account LIMIT ?4";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);
	int rc;

	if (!st)
		return -1;
	sqlite3_bind_int64(st, 1, num);
	bind_u64(st, 2, state);
	if (after)
		bind_account(st, 3, after);
	else
		sqlite3_bind_zeroblob(st, 3, 0);
	bind_u64(st, 4, room);
	while ((rc = db_step(c, st, e)) == 1)
		if (column_item(st, &out[(*n)++], e) < 0)
			return -1;
	return rc;
}

static int
compare_items(const void *a, const void *b)
{
	const struct wave_item *x = a, *y = b;

	return memcmp(x->account.b, y->account.b, sizeof(x->account.b));
}

/* Each state apart, by its index, and merged: a scan of the whole wave would pass a million moved
 * ones on the way to a few that wait. */
static int
read_mask(struct conn *c, const char *id, unsigned mask, const struct account_id *after,
    struct wave_item *items, size_t *n, struct err *e)
{
	size_t room = *n, found = 0;
	struct wave w;
	int64_t num;

	if (wave_read(c, id, &w, &num, e) < 0)
		return -1;
	for (unsigned state = 0; state < ITEM_STATES; state++) {
		_cleanup_(freep) struct wave_item *both = NULL;

		if (!(mask & BIT(state)))
			continue;
		both = calloc(found + room, sizeof(*both));
		if (!both)
			return err_set(e, ERR_MEMORY, "no memory for a wave's items");
		memcpy(both, items, found * sizeof(*both));
		if (read_state(c, num, (enum item_state)state, after, room, both, &found, e) < 0)
			return -1;
		qsort(both, found, sizeof(*both), compare_items);
		found = found < room ? found : room;
		memcpy(items, both, found * sizeof(*both));
	}
	*n = found;
	return 0;
}

int
sqlite_wave_items(struct directory *d, const char *id, unsigned mask,
    const struct account_id *after, struct wave_item *items, size_t *n, struct err *e)
{
	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_SCAN);

	if (!*n)
		return 0;
	if (db_exec(c, "BEGIN", e) < 0)
		return -1;
	return db_end(c, read_mask(c, id, mask, after, items, n, e), e);
}

static int
read_item(struct conn *c, int64_t num, const struct account_id *account, struct wave_item *out,
    struct err *e)
{
	static const char sql[] = "SELECT " ITEM_COLUMNS " FROM item"
	                          " WHERE wave = ?1 AND account = ?2";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);
	int rc;

	if (!st)
		return -1;
	sqlite3_bind_int64(st, 1, num);
	bind_account(st, 2, account);
	rc = db_step(c, st, e);
	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(e, ERR_MISSING, "the account is not in this wave");
	return column_item(st, out, e);
}

static int
write_item(struct conn *c, int64_t num, const struct wave_item *item, struct err *e)
{
	static const char sql[] = "UPDATE item SET state = ?3, bytes = ?4, pause_us = ?5,"
	                          " tries = ?6, held = ?7, reason = ?8"
	                          " WHERE wave = ?1 AND account = ?2";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);

	if (!st)
		return -1;
	sqlite3_bind_int64(st, 1, num);
	bind_account(st, 2, &item->account);
	bind_u64(st, 3, item->state);
	bind_u64(st, 4, item->bytes);
	bind_u64(st, 5, item->pause_us);
	bind_u64(st, 6, item->tries);
	bind_u64(st, 7, item->held);
	bind_text(st, 8, item->reason);
	return db_run(c, st, e);
}

/* A figure of 0 says nothing new: an erasure knows nothing of the move's bytes. */
static void
keep_figures(struct wave_item *new, const struct wave_item *old)
{
	if (!new->bytes)
		new->bytes = old->bytes;
	if (!new->pause_us)
		new->pause_us = old->pause_us;
	if (!new->tries)
		new->tries = old->tries;
	if (!new->held)
		new->held = old->held;
}

static int
update_in_transaction(
    struct conn *c, const char *id, const struct wave_item *items, size_t n, struct err *e)
{
	struct tally_delta delta = { 0 };
	struct wave w;
	int64_t num;

	if (wave_read(c, id, &w, &num, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct wave_item old, new = items[i];

		if (items[i].state >= ITEM_STATES ||
		    items[i].bytes > INT64_MAX / DIRECTORY_BATCH_MAX)
			return err_set(e, ERR_BAD, "an item that can't be");
		if (read_item(c, num, &new.account, &old, e) < 0)
			return -1;
		keep_figures(&new, &old);
		if (write_item(c, num, &new, e) < 0)
			return -1;
		count_item(&delta, &old, -1);
		count_item(&delta, &new, 1);
	}
	return tally_apply(c, num, &delta, e);
}

int
sqlite_wave_update(
    struct directory *d, const char *id, const struct wave_item *items, size_t n, struct err *e)
{
	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_WRITE);

	if (db_begin(c, DB_LAZY, e) < 0)
		return -1;
	return db_end(c, update_in_transaction(c, id, items, n, e), e);
}

int
items_turn(
    struct conn *c, int64_t num, unsigned mask, enum item_state to, uint64_t *n, struct err *e)
{
	static const char sql[] = "UPDATE item SET state = ?3, tries = iif(?3 = 0, 0, tries),"
	                          " reason = iif(?3 = 0, '', reason)"
	                          " WHERE wave = ?1 AND state = ?2"
	                          " RETURNING bytes, held, pause_us > 0";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);
	struct tally_delta delta = { 0 };

	if (!st)
		return -1;
	*n = 0;
	for (unsigned state = 0; state < ITEM_STATES; state++) {
		struct wave_item item = { .state = (enum item_state)state };
		int rc;

		if (!(mask & BIT(state)))
			continue;
		sqlite3_bind_int64(st, 1, num);
		bind_u64(st, 2, state);
		bind_u64(st, 3, to);
		while ((rc = db_step(c, st, e)) == 1) {
			item.state = (enum item_state)state;
			item.bytes = column_u64(st, 0);
			item.held = (uint32_t)column_u64(st, 1);
			item.pause_us = column_u64(st, 2);
			count_item(&delta, &item, -1);
			item.state = to;
			count_item(&delta, &item, 1);
			++*n;
		}
		if (rc < 0)
			return -1;
	}
	return tally_apply(c, num, &delta, e);
}
