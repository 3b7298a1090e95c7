/* sqlite_term.c - which node is a region (struct region_term). */
#include "base/log.h"
#include "directory/sqlite_private.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <string.h>

/* 1: there is one; 0; -1. */
static int
read_term(struct conn *c, const char *region, struct region_term *out, struct err *e)
{
	static const char sql[] = "SELECT term, holder, lease_ms FROM term WHERE region = ?1";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);
	int rc;

	if (!st)
		return -1;
	bind_text(st, 1, region);
	rc = db_step(c, st, e);
	if (rc != 1)
		return rc;
	if (sqlite3_column_bytes(st, 1) != TERM_HOLDER_BYTES)
		return err_set(e, ERR_IO, "the directory's file is damaged: a term");
	memset(out, 0, sizeof(*out));
	strcpy(out->region, region);
	out->term = column_u64(st, 0);
	memcpy(out->holder, sqlite3_column_blob(st, 1), TERM_HOLDER_BYTES);
	out->lease_ms = column_u64(st, 2);
	return 1;
}

static int
write_term(struct conn *c, const struct region_term *t, struct err *e)
{
	static const char sql[] = "INSERT INTO term (region, term, holder, lease_ms)"
	                          " VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET"
	                          " term = ?2, holder = ?3, lease_ms = ?4";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);

	if (!st)
		return -1;
	bind_text(st, 1, t->region);
	bind_u64(st, 2, t->term);
	sqlite3_bind_blob(st, 3, t->holder, TERM_HOLDER_BYTES, SQLITE_STATIC);
	bind_u64(st, 4, t->lease_ms);
	return db_run(c, st, e);
}

static bool
is_same(const struct region_term *a, const struct region_term *b)
{
	return a->term == b->term && memcmp(a->holder, b->holder, TERM_HOLDER_BYTES) == 0;
}

static int
other_node(const struct region_term *now, const struct region_term *t, struct err *e)
{
	return err_set(e, ERR_STALE,
	    "the region %s is another node: it was promoted, to term %" PRIu64
	    "; this is term %" PRIu64,
	    t->region, now->term, t->term);
}

int
sqlite_term_get(struct directory *d, const char *region, struct region_term *out, struct err *e)
{
	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_FIND);
	int rc = read_term(c, region, out, e);

	if (rc == 0)
		return err_set(e, ERR_MISSING, "the region %s has no term", region);
	return rc < 0 ? -1 : 0;
}

int
sqlite_term_hold(struct directory *d, const struct region_term *t, struct err *e)
{
	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_WRITE);
	struct region_term now;
	int rc = read_term(c, t->region, &now, e);

	if (rc < 0)
		return -1;
	if (rc == 1 && !is_same(&now, t))
		return other_node(&now, t, e);
	/* Asked every few seconds: nothing is written unless it changes something. */
	if (rc == 1 && now.lease_ms >= t->lease_ms)
		return 0;
	if (db_begin(c, DB_DURABLE, e) < 0)
		return -1;
	return db_end(c, write_term(c, t, e), e);
}

/* The moves that leave REGION are given up. Its node will not remember all of them, and their
 * destinations see by the attempt that they have lost. */
static int
cancel_moves(struct conn *c, const char *region, struct err *e)
{
	static const char sql[] = "UPDATE placement SET attempt = attempt + 1 WHERE home = ?1";
	_cleanup_(db_resetp) struct sqlite3_stmt *st = db_use(c, sql, e);

	if (!st)
		return -1;
	bind_text(st, 1, region);
	return db_run(c, st, e);
}

static int
raise_term(struct conn *c, struct region_term *t, struct err *e)
{
	struct region_term now;
	int rc = read_term(c, t->region, &now, e);

	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(e, ERR_STALE, "the region %s has no term", t->region);
	if (now.lease_ms > t->lease_ms)
		t->lease_ms = now.lease_ms;
	if (is_same(&now, t))
		return 0;
	if (now.term + 1 != t->term)
		return other_node(&now, t, e);
	if (write_term(c, t, e) < 0 || cancel_moves(c, t->region, e) < 0)
		return -1;
	log_info("term.raise", NULL, "region=%s term=%" PRIu64, t->region, t->term);
	return 0;
}

int
sqlite_term_raise(struct directory *d, struct region_term *t, struct err *e)
{
	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_WRITE);

	if (db_begin(c, DB_DURABLE, e) < 0)
		return -1;
	return db_end(c, raise_term(c, t, e), e);
}
