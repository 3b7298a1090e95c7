/* files_lock.c - what keeps versions from being removed. See files.h. */
#include "service/files_internal.h"

#include <pthread.h>
#include <string.h>

#include "base/host.h"

#define DAY_MS       ((uint64_t)24 * 3600 * 1000)
#define DAYS_A_YEAR  365
#define SETTING      "object-lock"
#define DEFAULT_SIZE 6 /* mode (1), years (1), days (4) */

/* --- time --- */

static pthread_once_t clock_once = PTHREAD_ONCE_INIT;
static uint64_t wall_then, mono_then;

static void
clock_start(void)
{
	wall_then = host_wall_ms();
	mono_then = host_mono_ms();
}

/* What the clock would say if nobody had set it since we first looked. */
static uint64_t
counted_ms(void)
{
	pthread_once(&clock_once, clock_start);
	return wall_then + (host_mono_ms() - mono_then);
}

uint64_t
files_clock_ms(void)
{
	uint64_t now = host_wall_ms(), counted = counted_ms();

	return now < counted ? now : counted;
}

/* For what begins now and must not end sooner than it should. */
static uint64_t
latest_ms(void)
{
	uint64_t now = host_wall_ms(), counted = counted_ms();

	return now > counted ? now : counted;
}

/* --- columns --- */

struct files_lock
lock_column(struct query *q, int i)
{
	int64_t bits = column_int(q, i);

	return (struct files_lock){
		.mode = (enum files_lock_mode)(bits & (LOCK_HELD - 1)),
		.retain_ms = (uint64_t)column_int(q, i + 1),
		.is_held = bits & LOCK_HELD,
		.has_hold = bits & (LOCK_HELD | LOCK_SAID),
	};
}

void
lock_bind(struct query *q, int i, const struct files_lock *l)
{
	query_int(
	    q, i, (int64_t)l->mode | (l->is_held ? LOCK_HELD : 0) | (l->has_hold ? LOCK_SAID : 0));
	query_int(q, i + 1, (int64_t)l->retain_ms);
}

/* --- the bucket's default --- */

static int
no_locks(struct err *e)
{
	return err_set(e, ERR_BAD, "the bucket was not made for object lock");
}

static int
read_default(struct vault *v, int64_t bucket, struct files_lock_default *out, struct err *e)
{
	_cleanup_buf_ struct buf value = BUF_INIT(0);
	int r = setting_read(v, bucket, SETTING, &value, e);

	*out = (struct files_lock_default){ .mode = LOCK_NONE };
	if (r == 1 && value.len == DEFAULT_SIZE)
		*out = (struct files_lock_default){
			.mode = (enum files_lock_mode)value.data[0],
			.is_years = value.data[1] != 0,
			.days = be32_get(value.data + 2),
		};
	return r < 0 ? -1 : 0;
}

int
files_lock_default(
    struct files *f, const char *bucket, struct files_lock_default *out, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);
	struct object_row row;

	if (!v)
		return -1;
	files_wait_for(f, vault_ticket(v));
	if (object_row_find(v, bucket, "-", &row, e) < 0)
		return -1;
	return row.has_lock ? read_default(v, row.bucket, out, e) : no_locks(e);
}

static int
write_default(struct vault *v, int64_t bucket, const struct files_lock_default *d, struct err *e)
{
	uint8_t value[DEFAULT_SIZE] = { (uint8_t)d->mode, d->is_years };
	struct query *q;

	be32_put(value + 2, d->days);
	if (setting_write(v, bucket, SETTING, (struct span){ value, sizeof(value) }, e) < 0)
		return -1;
	q = vault_query(v, "UPDATE bucket SET has_lock=1 WHERE id=?1");
	query_int(q, 1, bucket);
	return query_run(q, e);
}

int
files_lock_default_set(
    struct files *f, const char *bucket, const struct files_lock_default *d, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);
	struct object_row row;

	if (!v || files_begin(f, v, e) < 0)
		return -1;
	files_wait_for(f, vault_ticket(v));
	if (object_row_find(v, bucket, "-", &row, e) < 0)
		return -1;
	if (row.versioning != VERSIONING_ON)
		return err_set(e, ERR_BAD, "object lock needs a bucket with versioning");
	if (write_default(v, row.bucket, d, e) < 0)
		return -1;
	return files_commit(f, v, e);
}

/* --- writing and removing --- */

int
lock_of_write(struct vault *v, const struct object_row *r, const struct files_lock *asked,
    struct files_lock *out, struct err *e)
{
	struct files_lock_default d;

	*out = (struct files_lock){ .mode = LOCK_NONE };
	if (asked && !r->has_lock)
		return no_locks(e);
	if (!r->has_lock)
		return 0;
	if (asked)
		*out = *asked;
	if (out->mode != LOCK_NONE)
		return 0;
	if (read_default(v, r->bucket, &d, e) < 0)
		return -1;
	out->mode = d.mode;
	if (d.mode != LOCK_NONE)
		out->retain_ms = latest_ms() + d.days * (d.is_years ? DAYS_A_YEAR : 1) * DAY_MS;
	return 0;
}

static bool
is_retained(const struct files_lock *l)
{
	return l->mode != LOCK_NONE && l->retain_ms > files_clock_ms();
}

int
lock_allows_removal(const struct files_lock *l, bool may_bypass, struct err *e)
{
	if (l->is_held)
		return err_set(e, ERR_DENIED, "the version is under a legal hold");
	if (!is_retained(l) || (may_bypass && l->mode == LOCK_GOVERNANCE))
		return 0;
	return err_set(e, ERR_DENIED, "the version is locked until its retention ends");
}

/* --- one version's lock --- */

static int
read_lock(struct vault *v, const struct version_place *p, const char *key, struct files_lock *out,
    struct err *e)
{
	struct query *q = p->is_aside
	    ? vault_query(
	          v, "SELECT lock,retain_ms FROM version WHERE bucket=?1 AND key=?2 AND seq=?3")
	    : vault_query(
	          v, "SELECT lock,retain_ms FROM object WHERE bucket=?1 AND key=?2 AND seq=?3");
	int r;

	query_int(q, 1, p->bucket);
	query_blob(q, 2, key, strlen(key));
	query_int(q, 3, p->seq);
	r = query_step(q, e);
	if (r == 1)
		*out = lock_column(q, 0);
	query_end(q);
	if (r == 0)
		return err_set(e, ERR_FORGED, "a version has gone while it was looked at");
	return r < 0 ? -1 : 0;
}

static int
write_lock(struct vault *v, const struct version_place *p, const char *key,
    const struct files_lock *l, struct err *e)
{
	struct query *q = p->is_aside
	    ? vault_query(v,
	          "UPDATE version SET lock=?4,retain_ms=?5 WHERE bucket=?1 AND key=?2 AND seq=?3")
	    : vault_query(v,
	          "UPDATE object SET lock=?4,retain_ms=?5 WHERE bucket=?1 AND key=?2 AND seq=?3");

	query_int(q, 1, p->bucket);
	query_blob(q, 2, key, strlen(key));
	query_int(q, 3, p->seq);
	lock_bind(q, 4, l);
	return query_run(q, e);
}

/* The place and the lock of a version in a bucket for locks. */
static int
find_lock(struct vault *v, const char *bucket, const char *key, const char *version,
    struct version_place *p, struct files_lock *out, struct object_absence *why, struct err *e)
{
	struct object_row row;

	if (version_place(v, bucket, key, version, p, why, e) < 0 ||
	    object_row_find(v, bucket, key, &row, e) < 0)
		return -1;
	why->is_lockless = !row.has_lock;
	why->is_marker = p->is_marker;
	if (why->is_lockless)
		return no_locks(e);
	if (why->is_marker)
		return err_set(e, ERR_BAD, "a delete marker has no lock");
	return read_lock(v, p, key, out, e);
}

int
files_lock_get(struct files *f, const char *bucket, const char *key, const char *version,
    struct files_lock *out, struct object_absence *why, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);
	struct version_place p;

	*why = (struct object_absence){ .is_bucket = false };
	if (!v)
		return -1;
	files_wait_for(f, vault_ticket(v));
	return find_lock(v, bucket, key, version, &p, out, why, e);
}

/* Whether the retention in TO may take the place of what OLD has. */
static int
may_follow(
    const struct files_lock *old, const struct files_lock *to, bool may_bypass, struct err *e)
{
	bool is_longer = to->mode == old->mode && to->retain_ms >= old->retain_ms;

	if (!is_retained(old) || is_longer)
		return 0;
	if (old->mode == LOCK_GOVERNANCE && may_bypass)
		return 0;
	return err_set(e, ERR_DENIED, "the retention that is there can only be made longer");
}

/* Begin a change: the vault taken and the lock as it is. */
static struct vault *
change_begin(struct files *f, const char *bucket, const char *key, const char *version,
    struct version_place *p, struct files_lock *l, struct object_absence *why, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);

	*why = (struct object_absence){ .is_bucket = false };
	if (!v || files_begin(f, v, e) < 0)
		return NULL;
	files_wait_for(f, vault_ticket(v));
	return find_lock(v, bucket, key, version, p, l, why, e) < 0 ? NULL : take(&v);
}

int
files_lock_retain(struct files *f, const char *bucket, const char *key, const char *version,
    const struct files_lock *to, bool may_bypass, struct object_absence *why, struct err *e)
{
	struct version_place p;
	struct files_lock l;
	_cleanup_(pool_givep) struct vault *v = change_begin(
	    f, bucket, key, version, &p, &l, why, e);

	if (!v || may_follow(&l, to, may_bypass, e) < 0)
		return -1;
	l.mode = to->mode;
	l.retain_ms = to->retain_ms;
	return write_lock(v, &p, key, &l, e) < 0 ? -1 : files_commit(f, v, e);
}

int
files_lock_hold(struct files *f, const char *bucket, const char *key, const char *version, bool on,
    bool may_release, struct object_absence *why, struct err *e)
{
	struct version_place p;
	struct files_lock l;
	_cleanup_(pool_givep) struct vault *v = change_begin(
	    f, bucket, key, version, &p, &l, why, e);

	if (!v)
		return -1;
	if (l.is_held && !on && !may_release)
		return err_set(e, ERR_DENIED, "this access key can't take a legal hold away");
	l.is_held = on;
	l.has_hold = true;
	return write_lock(v, &p, key, &l, e) < 0 ? -1 : files_commit(f, v, e);
}
