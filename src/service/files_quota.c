/* files_quota.c - a change against what its account may keep. See files.h, quota.h.
 *
 * Of the service that a transaction is of, its own vault tells exactly what there was and will be. A
 * limit on all services together has to know what the other vaults hold as well: they are asked while the
 * transaction is open, and nobody else adds to them meanwhile, since changes of such an account hold its
 * lock from before they take a vault. Only who holds that lock ever takes a second vault, and who holds a
 * vault never waits for the lock; so nobody waits for himself.
 */
#include "service/files_internal.h"

#include <stdio.h>
#include <string.h>

static const enum service services[] = { SERVICE_FILES, SERVICE_BACKUP };

static bool
is_limit(const struct quota_limit *l)
{
	return l->bytes != QUOTA_NONE || l->objects != QUOTA_NONE;
}

/* --- a change --- */

static int
find_limits(struct files *f, struct quota_limits *out, struct err *e)
{
	struct err why = { .kind = ERR_NONE };

	f->would_block = false;
	if (!f->node->quota)
		return 0;
	if (quota_find(f->node->quota, &f->account, f->may_block, out, &why) == 0)
		return 0;
	f->would_block = !f->may_block && why.kind == ERR_BUSY;
	return err_set(e, why.kind, "%s", why.text);
}

int
files_quota_begin(struct files *f, struct err *e)
{
	f->quota = (struct quota_pass){ .lock = NULL };
	if (find_limits(f, &f->quota.limits, e) < 0)
		return -1;
	if (!f->quota.limits.is_limited || !is_limit(&f->quota.limits.of[QUOTA_ALL]))
		return 0;
	f->quota.lock = quota_lock(f->node->quota, &f->account, f->may_block);
	if (f->quota.lock)
		return 0;
	f->would_block = true;
	return err_set(e, ERR_BUSY, "another change of the account is going on");
}

void
files_quota_end(struct files *f)
{
	if (f->quota.lock)
		pthread_mutex_unlock(f->quota.lock);
	f->quota = (struct quota_pass){ .lock = NULL };
}

/* --- comparing --- */

/* From BEFORE to AFTER, where LIMIT is. */
static bool
is_past(uint64_t before, uint64_t after, uint64_t limit)
{
	return after > limit && after > before;
}

static int
compare(const struct files_usage *before, const struct files_usage *after,
    const struct quota_limit *limit, enum service s, struct err *e)
{
	const char *where = s == QUOTA_ALL ? "all services" : service_name(s);
	char unit[16] = "bytes";
	uint64_t was = before->bytes, will = after->bytes, most = limit->bytes;

	if (!is_past(was, will, most)) {
		was = before->objects, will = after->objects, most = limit->objects;
		snprintf(unit, sizeof(unit), "objects");
	}
	if (!is_past(was, will, most))
		return 0;
	return err_set(e, ERR_QUOTA,
	    "the account may keep %llu %s in %s; it has %llu, and would have %llu: remove "
	    "something, or ask the operator for more",
	    (unsigned long long)most, unit, where, (unsigned long long)was,
	    (unsigned long long)will);
}

/* What all vaults but that of S hold is added to *OUT. */
static int
add_others(struct files *f, enum service s, struct files_usage *out, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(services); i++) {
		_cleanup_(pool_givep) struct vault *v = NULL;
		struct files_usage one;

		if (services[i] == s || !(f->services & BIT(services[i])))
			continue;
		v = files_take(f, services[i], e);
		if (!v || usage_read(v, &one, e) < 0)
			return -1;
		out->objects += one.objects;
		out->bytes += one.bytes;
	}
	return 0;
}

static int
compare_all(struct files *f, const struct quota_limits *l, enum service s,
    const struct files_usage *before, const struct files_usage *after, struct err *e)
{
	struct files_usage others = { 0 }, was = *before, will = *after;

	if (compare(before, after, &l->of[s], s, e) < 0)
		return -1;
	if (!is_limit(&l->of[QUOTA_ALL]))
		return 0;
	if (add_others(f, s, &others, e) < 0)
		return -1;
	was.bytes += others.bytes;
	was.objects += others.objects;
	will.bytes += others.bytes;
	will.objects += others.objects;
	return compare(&was, &will, &l->of[QUOTA_ALL], QUOTA_ALL, e);
}

int
quota_allows(struct files *f, struct vault *v, struct err *e)
{
	const struct quota_pass q = f->quota;
	struct files_usage after;

	if (!q.is_adding)
		return 0;
	f->quota.is_adding = false;
	if (usage_read(v, &after, e) < 0)
		return -1;
	return compare_all(f, &q.limits, (enum service)vault_id(v)->service, &q.before, &after, e);
}

/* --- ahead --- */

static int
one_number(struct query *q, uint64_t *out, struct err *e)
{
	int r = query_step(q, e);

	*out = r == 1 ? (uint64_t)column_int(q, 0) : 0;
	query_end(q);
	return r < 0 ? -1 : r;
}

/* *BYTES and *OBJECTS that an object written to TO takes the place of. */
static int
replaced_object(
    struct vault *v, const struct files_place *to, struct files_usage *out, struct err *e)
{
	struct object_row row;
	struct query *q;
	int r;

	if (object_row_find(v, to->bucket, to->key, &row, e) < 0)
		return -1;
	if (!row.exists || version_is_kept(&row))
		return 0;
	q = vault_query(v, "SELECT size FROM object WHERE bucket=?1 AND key=?2");
	query_int(q, 1, row.bucket);
	query_blob(q, 2, to->key, strlen(to->key));
	r = one_number(q, &out->bytes, e);
	out->objects = r == 1;
	return r < 0 ? -1 : 0;
}

static int
replaced_part(struct vault *v, const struct files_place *to, struct files_usage *out, struct err *e)
{
	struct upload_row row = { .headers = BUF_INIT(0) };
	int found = upload_row_find(v, to->bucket, to->key, to->upload_id, &row, e);
	struct query *q;

	buf_free(&row.headers);
	if (found < 0)
		return -1;
	q = vault_query(v, "SELECT size FROM part WHERE body=?1 AND number=?2");
	query_int(q, 1, row.body);
	query_int(q, 2, to->part);
	return one_number(q, &out->bytes, e) < 0 ? -1 : 0;
}

/* What there is, and what of it would go. */
static int
look(struct files *f, const struct files_place *to, struct files_usage *there,
    struct files_usage *replaced, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(to->bucket), e);

	*replaced = (struct files_usage){ 0 };
	if (!v || usage_read(v, there, e) < 0)
		return -1;
	return to->upload_id ? replaced_part(v, to, replaced, e)
	                     : replaced_object(v, to, replaced, e);
}

int
files_check_quota(struct files *f, const struct files_place *to, uint64_t bytes, struct err *e)
{
	struct files_usage there, replaced, after;
	struct quota_limits limits = { .is_limited = false };

	if (find_limits(f, &limits, e) < 0)
		return -1;
	if (!limits.is_limited)
		return 0;
	if (look(f, to, &there, &replaced, e) < 0)
		return e->kind == ERR_MISSING ? 0 : -1;
	after.bytes = there.bytes - replaced.bytes + bytes;
	after.objects = there.objects - replaced.objects + (to->upload_id ? 0 : 1);
	return compare_all(f, &limits, files_bucket_service(to->bucket), &there, &after, e);
}
