/* query.h - SQL for the layers that must not see SQLite.
 *
 *	struct query *q = vault_query(v, "SELECT size FROM object WHERE bucket=?1 AND key=?2");
 *	query_int(q, 1, bucket); query_text(q, 2, key, key_len);
 *	int r = query_step(q, e);		 1: a row, 0: done, -1: *e
 *	if (r == 1) size = column_int(q, 0);
 *	query_end(q);				 always, also after an error
 *
 * Errors of binding are kept and come out at query_step. Columns live until the next step or end.
 */
#pragma once
#include "base/err.h"
#include "base/frame.h"

struct query;

/* Bind argument I, from 1. Bytes are copied. */
void query_int(struct query *q, int i, int64_t v);
void query_text(struct query *q, int i, const char *p, size_t n);
void query_blob(struct query *q, int i, const void *p, size_t n);
void query_null(struct query *q, int i);
/* 1, 0, -1 (ERR_FULL, ERR_IO, ERR_FORGED, ERR_EXISTS for a constraint, ERR_INTERNAL). */
must_check
int query_step(struct query *q, struct err *e);
/* Step to the end of a statement that returns nothing, and end it. */
must_check
int query_run(struct query *q, struct err *e);
void query_end(struct query *q);
/* Column I, from 0, of the row that query_step stands on. */
int64_t column_int(struct query *q, int i);
bool column_is_null(struct query *q, int i);
struct span column_blob(struct query *q, int i); /* text too */
int64_t query_changes(struct query *q);          /* rows the last run changed */
