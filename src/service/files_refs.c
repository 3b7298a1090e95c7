/* files_refs.c - see files_refs.h; the tables are in files_internal.h. */
#include "service/files_refs.h"

#include "service/files_internal.h"

/* The references in the list of one row. */
static int
visit_list(
    struct span list, int64_t row, uint32_t part, inspect_ref_fn *fn, void *arg, struct err *e)
{
	_cleanup_buf_ struct buf refs = BUF_INIT(0);
	const struct chunk_ref *ref;
	uint64_t bytes = 0;

	if (list.len % REF_BYTES)
		return fn(arg, NULL, row, part, e);
	if (refs_read(list, &refs, &bytes, e) < 0)
		return -1;
	ref = (const struct chunk_ref *)refs.data;
	for (size_t i = 0; i < refs.len / sizeof(*ref); i++)
		if (fn(arg, &ref[i], row, part, e) < 0)
			return -1;
	return 0;
}

/* Columns of Q: row, part, list. */
static int
visit_rows(struct query *q, inspect_ref_fn *fn, void *arg, struct err *e)
{
	int r;

	while ((r = query_step(q, e)) == 1)
		if (visit_list(column_blob(q, 2), column_int(q, 0), (uint32_t)column_int(q, 1), fn,
		        arg, e) < 0)
			break;
	query_end(q);
	return r == 0 ? 0 : -1;
}

int
files_refs(struct vault *v, inspect_ref_fn *fn, void *arg, struct err *e)
{
	if (visit_rows(vault_query(v, "SELECT id,0,chunks FROM body WHERE chunks IS NOT NULL"), fn,
	        arg, e) < 0)
		return -1;
	return visit_rows(
	    vault_query(v, "SELECT body,number,chunks FROM part WHERE chunks IS NOT NULL"), fn, arg,
	    e);
}
