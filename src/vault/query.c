/* query.c - see query.h. */
#include "vault/vault_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void
query_free(struct query *q)
{
	sqlite3_finalize(q->stmt);
	free(q);
}

void
vault_free_queries(struct vault *v)
{
	while (v->queries) {
		struct query *q = v->queries;

		v->queries = q->next;
		query_free(q);
	}
	v->n_queries = 0;
}

/* Drop the statement that was not used for longest, if there are too many. */
static void
make_room(struct vault *v)
{
	struct query **oldest = NULL;

	if (v->n_queries < STATEMENTS_MAX)
		return;
	for (struct query **at = &v->queries; *at; at = &(*at)->next)
		if (!(*at)->is_in_use)
			oldest = at;
	if (!oldest)
		return;

	struct query *q = *oldest;

	*oldest = q->next;
	query_free(q);
	v->n_queries--;
}

static struct query *
prepare(struct vault *v, const char *sql)
{
	struct query *q;

	make_room(v);
	q = calloc(1, sizeof(*q));
	if (!q)
		return NULL;
	q->sql = sql;
	q->vault = v;
	q->rc = sqlite3_prepare_v3(v->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &q->stmt, NULL);
	q->next = v->queries;
	v->queries = q;
	v->n_queries++;
	return q;
}

/* The idle statement prepared from SQL, moved to the front; NULL if there is none. */
static struct query *
find(struct vault *v, const char *sql)
{
	for (struct query **at = &v->queries; *at; at = &(*at)->next) {
		struct query *q = *at;

		if (q->sql != sql || q->is_in_use || !q->stmt)
			continue;
		*at = q->next;
		q->next = v->queries;
		v->queries = q;
		return q;
	}
	return NULL;
}

struct query *
vault_query(struct vault *v, const char *sql)
{
	struct query *q = NULL;

	if (!v->must_close) {
		q = find(v, sql);
		if (!q)
			q = prepare(v, sql);
	}
	if (!q) {
		v->broken = (struct query){
			.vault = v,
			.rc = v->must_close ? SQLITE_IOERR : SQLITE_NOMEM,
		};
		q = &v->broken;
	}
	q->is_in_use = v->was_queried = true;
	return q;
}

static void
bound(struct query *q, int rc)
{
	if (q->rc == SQLITE_OK)
		q->rc = rc;
}

void
query_int(struct query *q, int i, int64_t v)
{
	if (q->stmt)
		bound(q, sqlite3_bind_int64(q->stmt, i, v));
}

/* Values are copied: statements outlive what callers bind to them. */
void
query_text(struct query *q, int i, const char *p, size_t n)
{
	if (q->stmt)
		bound(q,
		    sqlite3_bind_text64(q->stmt, i, p ? p : "", n, SQLITE_TRANSIENT, SQLITE_UTF8));
}

void
query_blob(struct query *q, int i, const void *p, size_t n)
{
	if (q->stmt)
		bound(q, sqlite3_bind_blob64(q->stmt, i, p ? p : "", n, SQLITE_TRANSIENT));
}

void
query_null(struct query *q, int i)
{
	if (q->stmt)
		bound(q, sqlite3_bind_null(q->stmt, i));
}

int
query_step(struct query *q, struct err *e)
{
	int rc = q->rc;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(q->stmt);
	if (rc == SQLITE_ROW)
		return 1;
	if (rc == SQLITE_DONE)
		return 0;
	return vault_sqlite_error(q->vault, rc, e);
}

int
query_run(struct query *q, struct err *e)
{
	int r;

	do
		r = query_step(q, e);
	while (r == 1);
	query_end(q);
	return r;
}

void
query_end(struct query *q)
{
	if (q->stmt) {
		/* Its result is the last step's, which was reported then. */
		(void)sqlite3_reset(q->stmt);
		(void)sqlite3_clear_bindings(q->stmt);
		q->rc = SQLITE_OK;
	}
	q->is_in_use = false;
}

int64_t
column_int(struct query *q, int i)
{
	return q->stmt ? sqlite3_column_int64(q->stmt, i) : 0;
}

bool
column_is_null(struct query *q, int i)
{
	return !q->stmt || sqlite3_column_type(q->stmt, i) == SQLITE_NULL;
}

struct span
column_blob(struct query *q, int i)
{
	const void *p = q->stmt ? sqlite3_column_blob(q->stmt, i) : NULL;

	/* What is empty has an address as well: it may be copied. */
	if (!p)
		return (struct span){ (const uint8_t *)"", 0 };
	return (struct span){ p, (size_t)sqlite3_column_bytes(q->stmt, i) };
}

int64_t
query_changes(struct query *q)
{
	return q->stmt ? sqlite3_changes64(q->vault->db) : 0;
}
