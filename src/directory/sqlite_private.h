/* sqlite_private.h - the connections that the SQLite directory's files share.
 *
 * One connection writes; one answers the short lookups that serving waits for; one scans, so that
 * a long listing holds up neither. Each has its lock; a callback never runs under one.
 */
#pragma once
#include <pthread.h>
#include "directory/directory.h"

#define DB_STATEMENTS_MAX 40

struct sqlite3;
struct sqlite3_stmt;

struct conn {
	pthread_mutex_t lock;
	struct sqlite3 *db;
	/* Prepared once, found again by the address of their text. */
	struct {
		const char *sql;
		struct sqlite3_stmt *st;
	} statements[DB_STATEMENTS_MAX];
};

enum conn_use { CONN_WRITE, CONN_FIND, CONN_SCAN, CONNS };

struct sqlite_directory {
	struct directory directory;
	int lock_fd; /* of PATH.lock; one process at a time */
	struct conn conns[CONNS];
};

struct conn *conn_lock(struct directory *d, enum conn_use use);
void conn_unlock(struct conn *c);
CLEANUP(struct conn, conn_unlock)

/* Set *E from what SQLite last said on C; -1. */
int db_fail(struct conn *c, struct err *e);
must_check
int db_exec(struct conn *c, const char *sql, struct err *e);
/* The statement SQL (a string constant: its address is its name), ready to bind, or NULL. Reset it
 * when done with its rows (db_resetp): an open read would hold back the write-ahead log. */
must_check
struct sqlite3_stmt *db_use(struct conn *c, const char *sql, struct err *e);
void db_reset(struct sqlite3_stmt *st);
CLEANUP(struct sqlite3_stmt, db_reset)
/* 1: a row; 0: done (and reset); -1. */
must_check
int db_step(struct conn *c, struct sqlite3_stmt *st, struct err *e);
/* A statement without rows. */
must_check
int db_run(struct conn *c, struct sqlite3_stmt *st, struct err *e);

/* What a transaction is worth: DB_LAZY may be lost by a power cut, but not torn. */
enum db_sync { DB_DURABLE, DB_LAZY };
must_check
int db_begin(struct conn *c, enum db_sync sync, struct err *e);
/* Commit if RC is 0, else roll back; returns RC, or -1 if the commit failed. */
must_check
int db_end(struct conn *c, int rc, struct err *e);
void db_cancel(struct conn *c); /* roll back, if there is a transaction */

void bind_account(struct sqlite3_stmt *st, int at, const struct account_id *id);
void bind_text(struct sqlite3_stmt *st, int at, const char *text); /* borrowed until reset */
void bind_u64(struct sqlite3_stmt *st, int at, uint64_t v);
/* ERR_IO if the column is not what we store there. */
must_check
int column_account(struct sqlite3_stmt *st, int at, struct account_id *out, struct err *e);
must_check
int column_text(struct sqlite3_stmt *st, int at, char *out, size_t size, struct err *e);
uint64_t column_u64(struct sqlite3_stmt *st, int at);

/* "IN,ID", "!CN", "" or NULL, bound to two parameters AT and AT + 1 for SQL_COUNTRIES. ERR_BAD. */
must_check
int bind_countries(struct sqlite3_stmt *st, int at, const char *countries, struct err *e);
/* CONDITION with the two parameters' numbers; 1: all, 2: those, 3: all but. */
#define SQL_COUNTRIES(mode, list) \
	"(" mode " = 1 OR (instr(" list ", country) > 0) = (" mode " = 2))"

extern const struct directory_ops sqlite_ops;
void sqlite_close(struct directory *d);
int sqlite_term_get(
    struct directory *d, const char *region, struct region_term *out, struct err *e);
int sqlite_term_hold(struct directory *d, const struct region_term *t, struct err *e);
int sqlite_term_raise(struct directory *d, struct region_term *t, struct err *e);
int sqlite_wave_plan(struct directory *d, struct wave *w, const struct selection *s, bool dry,
    uint64_t *n, struct err *e);
int sqlite_wave_get(
    struct directory *d, const char *id, struct wave *w, struct wave_sums *sums, struct err *e);
int sqlite_wave_list(struct directory *d, const char *from, wave_fn *fn, void *arg, struct err *e);
int sqlite_wave_set(struct directory *d, const char *id, enum wave_state to, struct err *e);
int sqlite_wave_retry(struct directory *d, const char *id, uint64_t *n, struct err *e);
int sqlite_wave_items(struct directory *d, const char *id, unsigned mask,
    const struct account_id *after, struct wave_item *items, size_t *n, struct err *e);
int sqlite_wave_update(
    struct directory *d, const char *id, const struct wave_item *items, size_t n, struct err *e);
