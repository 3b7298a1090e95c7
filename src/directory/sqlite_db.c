/* sqlite_db.c - see sqlite_private.h: connections, statements, transactions, errors. */
#include "directory/sqlite_private.h"

#include <assert.h>
#include <sqlite3.h>
#include <string.h>

struct conn *
conn_lock(struct directory *d, enum conn_use use)
{
	struct conn *c = &container_of(d, struct sqlite_directory, directory)->conns[use];

	pthread_mutex_lock(&c->lock);
	return c;
}

void
conn_unlock(struct conn *c)
{
	pthread_mutex_unlock(&c->lock);
}

/* Errors */

static const struct {
	int code;
	enum err_kind kind;
	const char *says;
} failures[] = {
	{ SQLITE_FULL, ERR_FULL, "no space left for the directory" },
	{ SQLITE_NOMEM, ERR_MEMORY, "no memory" },
	{ SQLITE_BUSY, ERR_BUSY, "the directory is in use" },
	{ SQLITE_LOCKED, ERR_BUSY, "the directory is in use" },
	{ SQLITE_NOTADB, ERR_IO, "the directory's file is damaged or no database" },
	{ SQLITE_CORRUPT, ERR_IO, "the directory's file is damaged" },
	{ SQLITE_READONLY, ERR_DENIED, "the directory's file can't be written" },
	{ SQLITE_CANTOPEN, ERR_IO, "the directory's file can't be opened" },
	{ SQLITE_IOERR, ERR_IO, "the directory's disk failed" },
};

int
db_fail(struct conn *c, struct err *e)
{
	int code = sqlite3_errcode(c->db) & 0xff;

	for (size_t i = 0; i < ARRAY_LEN(failures); i++)
		if (failures[i].code == code)
			return err_set(
			    e, failures[i].kind, "%s: %s", failures[i].says, sqlite3_errmsg(c->db));
	return err_set(e, ERR_INTERNAL, "directory: %s", sqlite3_errmsg(c->db));
}

/* Statements */

int
db_exec(struct conn *c, const char *sql, struct err *e)
{
	return sqlite3_exec(c->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_fail(c, e);
}

struct sqlite3_stmt *
db_use(struct conn *c, const char *sql, struct err *e)
{
	size_t i = 0;

	while (c->statements[i].sql && c->statements[i].sql != sql) {
		i++;
		assert(i < DB_STATEMENTS_MAX);
	}
	if (!c->statements[i].sql) {
		if (sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT,
		        &c->statements[i].st, NULL) != SQLITE_OK) {
			db_fail(c, e);
			return NULL;
		}
		c->statements[i].sql = sql;
	}
	return c->statements[i].st;
}

void
db_reset(struct sqlite3_stmt *st)
{
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
}

int
db_step(struct conn *c, struct sqlite3_stmt *st, struct err *e)
{
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW)
		return 1;
	if (rc != SQLITE_DONE)
		db_fail(c, e); /* before the reset, which may change the message */
	sqlite3_reset(st);
	return rc == SQLITE_DONE ? 0 : -1;
}

int
db_run(struct conn *c, struct sqlite3_stmt *st, struct err *e)
{
	int rc = db_step(c, st, e);

	assert(rc != 1);
	return rc;
}

/* Transactions. Every beginning says what it is worth, so that no way through the code can leave
 * the connection at less than a placement needs. */

int
db_begin(struct conn *c, enum db_sync sync, struct err *e)
{
	return db_exec(c,
	    sync == DB_DURABLE ? "PRAGMA synchronous=FULL; BEGIN IMMEDIATE"
	                       : "PRAGMA synchronous=NORMAL; BEGIN IMMEDIATE",
	    e);
}

void
db_cancel(struct conn *c)
{
	/* Some failures roll back by themselves. */
	if (!sqlite3_get_autocommit(c->db))
		sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
}

int
db_end(struct conn *c, int rc, struct err *e)
{
	if (rc == 0 && db_exec(c, "COMMIT", e) == 0)
		return 0;
	db_cancel(c);
	return -1;
}

/* Values. Binding fails only for a wrong index or no memory; a value that was not bound is NULL,
 * which every column here refuses and no comparison matches. */

void
bind_account(struct sqlite3_stmt *st, int at, const struct account_id *id)
{
	sqlite3_bind_blob(st, at, id->b, sizeof(id->b), SQLITE_STATIC);
}

void
bind_text(struct sqlite3_stmt *st, int at, const char *text)
{
	sqlite3_bind_text(st, at, text, -1, SQLITE_STATIC);
}

/* Counts end at INT64_MAX; nothing that counts events gets there. */
void
bind_u64(struct sqlite3_stmt *st, int at, uint64_t v)
{
	sqlite3_bind_int64(st, at, v > INT64_MAX ? INT64_MAX : (int64_t)v);
}

uint64_t
column_u64(struct sqlite3_stmt *st, int at)
{
	int64_t v = sqlite3_column_int64(st, at);

	return v < 0 ? 0 : (uint64_t)v;
}

int
column_account(struct sqlite3_stmt *st, int at, struct account_id *out, struct err *e)
{
	const void *p = sqlite3_column_blob(st, at);

	if (!p || sqlite3_column_bytes(st, at) != sizeof(out->b))
		return err_set(e, ERR_IO, "the directory's file is damaged: an account id");
	memcpy(out->b, p, sizeof(out->b));
	return 0;
}

int
column_text(struct sqlite3_stmt *st, int at, char *out, size_t size, struct err *e)
{
	const char *text = (const char *)sqlite3_column_text(st, at);
	size_t n = (size_t)sqlite3_column_bytes(st, at);

	if (!text || n >= size || strlen(text) != n)
		return err_set(e, ERR_IO, "the directory's file is damaged: a text");
	memcpy(out, text, n + 1);
	return 0;
}

/* Countries */

int
bind_countries(struct sqlite3_stmt *st, int at, const char *countries, struct err *e)
{
	const char *list = countries ? countries : "";
	int mode = 1;

	if (countries_check(list, e) < 0)
		return -1;
	if (*list) {
		mode = *list == '!' ? 3 : 2;
		list += *list == '!';
	}
	sqlite3_bind_int(st, at, mode);
	bind_text(st, at + 1, list);
	return 0;
}
