/* files_usage.c - how much a vault holds, as it is kept and as it is counted. See files.h. */
#include "service/files_internal.h"
#include "service/files_refs.h"

/* The one row of Q. */
static int
read_one(struct query *q, struct files_usage *out, struct err *e)
{
	int r = query_step(q, e);

	if (r == 1)
		*out = (struct files_usage){
			.objects = (uint64_t)column_int(q, 0),
			.bytes = (uint64_t)column_int(q, 1),
		};
	query_end(q);
	if (r == 0)
		return err_set(e, ERR_FORGED, "the vault does not say how much it holds");
	return r == 1 ? 0 : -1;
}

int
usage_read(struct vault *v, struct files_usage *out, struct err *e)
{
	return read_one(vault_query(v, "SELECT objects,bytes FROM usage"), out, e);
}

int
files_usage(struct files *f, enum service s, struct files_usage *out, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, s, e);

	if (!v)
		return -1;
	files_wait_for(f, vault_ticket(v));
	return usage_read(v, out, e);
}

/* Every row is read. Content in parts (kind 2) is counted with its parts. */
static int
count(struct vault *v, struct files_usage *out, struct err *e)
{
	_Static_assert(KIND_PARTS == 2, "as here and in vault/schema.c");

	return read_one(vault_query(v,
	                    "SELECT (SELECT count(*) FROM object)+(SELECT count(*) FROM version)"
	                    "+(SELECT count(*) FROM upload),"
	                    "(SELECT coalesce(sum(size),0) FROM object WHERE kind<>2)"
	                    "+(SELECT coalesce(sum(size),0) FROM version WHERE kind<>2)"
	                    "+(SELECT coalesce(sum(size),0) FROM part)"
	                    "+(SELECT coalesce(sum(length(value)),0) FROM setting)"),
	    out, e);
}

int
files_usage_check(struct vault *v, struct files_usage_off *off, struct err *e)
{
	struct files_usage said, is;

	if (off)
		*off = (struct files_usage_off){ 0 };
	if (usage_read(v, &said, e) < 0 || count(v, &is, e) < 0)
		return -1;
	if (said.objects == is.objects && said.bytes == is.bytes)
		return 0;
	if (off)
		*off = (struct files_usage_off){ (int64_t)(is.objects - said.objects),
			(int64_t)(is.bytes - said.bytes) };
	return err_set(e, ERR_FORGED,
	    "it says %llu objects and %llu bytes, and its rows are %llu and %llu",
	    (unsigned long long)said.objects, (unsigned long long)said.bytes,
	    (unsigned long long)is.objects, (unsigned long long)is.bytes);
}

int
files_usage_mend(
    struct vault *v, const struct files_usage_off *off, uint64_t *ticket, struct err *e)
{
	struct query *q;

	if (vault_begin(v, e) < 0)
		return -1;
	q = vault_query(v, "UPDATE usage SET objects=objects+?1,bytes=bytes+?2");
	query_int(q, 1, off->objects);
	query_int(q, 2, off->bytes);
	return query_run(q, e) < 0 ? -1 : vault_commit(v, ticket, e);
}
