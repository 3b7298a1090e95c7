/* files_version.c - what a bucket with versions keeps of its keys. See files.h.
 *
 * `object` has the current object of each key and nothing else, so that reading and listing cost the
 * same with and without versions. `version` has what is aside: older objects, and delete markers,
 * also one that is the newest of its key. Of a key, the newest is the row with the highest seq, and
 *
 *   - a row of `object` is newer than all that is aside;
 *   - at most one row of both tables is the "null" version;
 *   - where the newest is aside, it is a delete marker.
 *
 * A seq is the time in microseconds or, where that would not be higher, one more than the newest's.
 */
#include "service/files_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/host.h"

#define SEQ_DIGITS (FILES_VERSION_SIZE - 1)

/* A row that is aside. */
struct aside {
	int64_t seq;
	bool is_null, is_marker;
	enum content_kind kind;
	int64_t body;
	struct files_lock lock;
};

void
version_text(int64_t seq, bool is_null, char out[static FILES_VERSION_SIZE])
{
	if (is_null)
		snprintf(out, FILES_VERSION_SIZE, "%s", FILES_VERSION_NULL);
	else
		snprintf(out, FILES_VERSION_SIZE, "%0*" PRIx64, SEQ_DIGITS, (uint64_t)seq);
}

/* *SEQ, or *IS_NULL. */
static int
version_parse(const char *text, int64_t *seq, bool *is_null, struct err *e)
{
	uint8_t bytes[8];

	*is_null = !strcmp(text, FILES_VERSION_NULL);
	*seq = 0;
	if (*is_null)
		return 0;
	if (strlen(text) != SEQ_DIGITS || !hex_parse(text, bytes, sizeof(bytes)) || bytes[0] & 0x80)
		return err_set(e, ERR_BAD, "that can't be the id of a version");
	*seq = (int64_t)be64_get(bytes);
	return 0;
}

/* --- buckets --- */

int
files_versioning(struct files *f, const char *bucket, enum files_versioning *out, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);
	struct query *q;
	int r;

	if (!v)
		return -1;
	files_wait_for(f, vault_ticket(v));
	q = vault_query(v, "SELECT versioning FROM bucket WHERE name=?1");
	query_text(q, 1, bucket, strlen(bucket));
	r = query_step(q, e);
	if (r == 1)
		*out = (enum files_versioning)column_int(q, 0);
	query_end(q);
	if (r == 0)
		return err_set(e, ERR_MISSING, NO_BUCKET);
	return r == 1 ? 0 : -1;
}

int
files_versioning_set(
    struct files *f, const char *bucket, enum files_versioning versioning, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = NULL;
	struct object_row row;
	struct query *q;

	if (versioning == VERSIONING_OFF)
		return err_set(e, ERR_BAD, "versioning can be suspended and not be taken back");
	v = files_take(f, files_bucket_service(bucket), e);
	if (!v || files_begin(f, v, e) < 0)
		return -1;
	files_wait_for(f, vault_ticket(v));
	if (object_row_find(v, bucket, "-", &row, e) < 0)
		return -1;
	if (row.has_lock && versioning != VERSIONING_ON)
		return err_set(
		    e, ERR_DENIED, "versioning of a bucket with object lock can't be suspended");
	q = vault_query(v, "UPDATE bucket SET versioning=?1 WHERE id=?2");
	query_int(q, 1, versioning);
	query_int(q, 2, row.bucket);
	return query_run(q, e) < 0 ? -1 : files_commit(f, v, e);
}

int
version_any(struct vault *v, int64_t bucket, struct err *e)
{
	struct query *q = vault_query(v, "SELECT 1 FROM version WHERE bucket=?1 LIMIT 1");
	int r;

	query_int(q, 1, bucket);
	r = query_step(q, e);
	query_end(q);
	return r;
}

/* --- rows that are aside --- */

static void
bind_key(struct query *q, int64_t bucket, const char *key)
{
	query_int(q, 1, bucket);
	query_blob(q, 2, key, strlen(key));
}

/* Of Q's row, if it has one: 1, 0, -1. */
static int
aside_read(struct query *q, struct aside *out, struct err *e)
{
	int r = query_step(q, e);

	if (r == 1)
		*out = (struct aside){
			.seq = column_int(q, 0),
			.is_null = column_int(q, 1) != 0,
			.is_marker = column_int(q, 2) != 0,
			.kind = (enum content_kind)column_int(q, 3),
			.body = column_int(q, 4),
			.lock = lock_column(q, 5),
		};
	query_end(q);
	return r;
}

/* The newest one. */
static int
aside_newest(struct vault *v, int64_t bucket, const char *key, struct aside *out, struct err *e)
{
	struct query *q = vault_query(v,
	    "SELECT seq,is_null,is_marker,kind,body,lock,retain_ms FROM version"
	    " WHERE bucket=?1 AND key=?2 ORDER BY seq DESC LIMIT 1");

	bind_key(q, bucket, key);
	return aside_read(q, out, e);
}

/* The one that VERSION names. */
static int
aside_find(struct vault *v, int64_t bucket, const char *key, int64_t seq, bool is_null,
    struct aside *out, struct err *e)
{
	struct query *q = is_null
	    ? vault_query(v,
	          "SELECT seq,is_null,is_marker,kind,body,lock,retain_ms FROM version"
	          " WHERE bucket=?1 AND key=?2 AND is_null")
	    : vault_query(v,
	          "SELECT seq,is_null,is_marker,kind,body,lock,retain_ms FROM version"
	          " WHERE bucket=?1 AND key=?2 AND seq=?3 AND NOT is_null");

	bind_key(q, bucket, key);
	if (!is_null)
		query_int(q, 3, seq);
	return aside_read(q, out, e);
}

int
version_seq(struct vault *v, int64_t bucket, const char *key, const char *version, int64_t *seq,
    struct err *e)
{
	struct query *q;
	bool is_null;
	int r;

	if (version_parse(version, seq, &is_null, e) < 0)
		return -1;
	if (!is_null)
		return 0;
	q = vault_query(v,
	    "SELECT seq FROM object WHERE bucket=?1 AND key=?2 AND is_null UNION ALL"
	    " SELECT seq FROM version WHERE bucket=?1 AND key=?2 AND is_null");
	bind_key(q, bucket, key);
	r = query_step(q, e);
	*seq = r == 1 ? column_int(q, 0) : INT64_MAX;
	query_end(q);
	return r < 0 ? -1 : 0;
}

static int
aside_forget(struct vault *v, int64_t bucket, const char *key, int64_t seq, struct err *e)
{
	struct query *q = vault_query(
	    v, "DELETE FROM version WHERE bucket=?1 AND key=?2 AND seq=?3");

	bind_key(q, bucket, key);
	query_int(q, 3, seq);
	return query_run(q, e);
}

static int
aside_remove(struct vault *v, int64_t bucket, const char *key, const struct aside *a, struct err *e)
{
	if (!a->is_marker && body_drop(v, a->kind, a->body, e) < 0)
		return -1;
	return aside_forget(v, bucket, key, a->seq, e);
}

static int
row_forget(struct vault *v, int64_t bucket, const char *key, struct err *e)
{
	struct query *q = vault_query(v, "DELETE FROM object WHERE bucket=?1 AND key=?2");

	bind_key(q, bucket, key);
	return query_run(q, e);
}

/* The current object goes aside. */
static int
put_aside(struct vault *v, struct object_row *r, const char *key, struct err *e)
{
	struct query *q = vault_query(v,
	    "INSERT INTO version(bucket,key,seq,is_null,is_marker,size,etag,modified_ms,body,kind,"
	    "lock,retain_ms,headers)"
	    " SELECT bucket,key,seq,is_null,0,size,etag,modified_ms,body,kind,lock,retain_ms,headers"
	    " FROM object WHERE bucket=?1 AND key=?2");

	bind_key(q, r->bucket, key);
	if (query_run(q, e) < 0)
		return -1;
	r->exists = false;
	return 0;
}

/* What was current has gone: the newest that is aside becomes so, unless that is a marker. */
static int
take_back(struct vault *v, int64_t bucket, const char *key, struct err *e)
{
	struct aside a;
	struct query *q;
	int r = aside_newest(v, bucket, key, &a, e);

	if (r <= 0 || a.is_marker)
		return r < 0 ? -1 : 0;
	q = vault_query(v,
	    "INSERT INTO object(bucket,key,size,etag,modified_ms,body,kind,seq,is_null,lock,"
	    "retain_ms,headers)"
	    " SELECT bucket,key,size,etag,modified_ms,body,kind,seq,is_null,lock,retain_ms,headers"
	    " FROM version WHERE bucket=?1 AND key=?2 AND seq=?3");
	bind_key(q, bucket, key);
	query_int(q, 3, a.seq);
	if (query_run(q, e) < 0)
		return -1;
	return aside_forget(v, bucket, key, a.seq, e);
}

/* A seq above everything the key has. */
static int
next_seq(struct vault *v, const struct object_row *r, const char *key, int64_t *out, struct err *e)
{
	int64_t now = (int64_t)host_wall_ms() * 1000;
	struct aside a = { .seq = r->seq };

	if (!r->exists && aside_newest(v, r->bucket, key, &a, e) < 0)
		return -1;
	*out = now > a.seq ? now : a.seq + 1;
	return 0;
}

/* The null version of the key goes for good, if it is aside. */
static int
drop_null(struct vault *v, int64_t bucket, const char *key, struct err *e)
{
	struct aside a;
	int r = aside_find(v, bucket, key, 0, true, &a, e);

	return r <= 0 ? r : aside_remove(v, bucket, key, &a, e);
}

bool
version_is_kept(const struct object_row *r)
{
	return r->versioning == VERSIONING_ON ||
	    (r->versioning == VERSIONING_SUSPENDED && !r->is_null);
}

int
version_make_way(struct vault *v, struct object_row *r, struct object_write *w, struct err *e)
{
	w->rules_bucket = r->has_rules ? r->bucket : 0;
	w->is_versioned = r->versioning != VERSIONING_OFF;
	w->is_null = r->versioning != VERSIONING_ON;
	w->seq = 0;
	if (!w->is_versioned)
		return 0;
	if (next_seq(v, r, w->key, &w->seq, e) < 0)
		return -1;
	if (r->exists && version_is_kept(r) && put_aside(v, r, w->key, e) < 0)
		return -1;
	return w->is_null ? drop_null(v, r->bucket, w->key, e) : 0;
}

/* --- reading --- */

#define READ_LOOK \
	"SELECT o.kind,o.size,o.modified_ms,o.etag,o.headers,o.body,NULL,NULL,o.seq,o.is_null," \
	"o.lock,o.retain_ms,"
#define READ_OPEN \
	"SELECT o.kind,o.size,o.modified_ms,o.etag,o.headers,o.body,c.content,c.chunks,o.seq," \
	"o.is_null,o.lock,o.retain_ms,"
#define FROM_OBJECT \
	"b.versioning,0,iif(b.has_rules,b.id,0) FROM bucket b LEFT JOIN object o ON o.bucket=b.id AND o.key=?2"
#define FROM_VERSION \
	"b.versioning,o.is_marker,0 FROM bucket b JOIN version o ON o.bucket=b.id AND o.key=?2"
#define WITH_BODY " LEFT JOIN body c ON c.id=o.body"
#define OF_BUCKET " WHERE b.name=?1"

static const char read_current[2][sizeof(READ_OPEN FROM_OBJECT WITH_BODY OF_BUCKET)] = {
	READ_LOOK FROM_OBJECT OF_BUCKET,
	READ_OPEN FROM_OBJECT WITH_BODY OF_BUCKET,
};
static const char read_aside[2][256 + sizeof(READ_OPEN FROM_VERSION WITH_BODY OF_BUCKET)] = {
	READ_LOOK FROM_VERSION OF_BUCKET " AND o.seq=?3",
	READ_OPEN FROM_VERSION WITH_BODY OF_BUCKET " AND o.seq=?3",
};

/* Which one is asked for. */
struct wanted {
	bool is_any; /* the current one */
	int64_t seq;
	bool is_null;
};

static bool
is_wanted(const struct wanted *w, int64_t seq, bool is_null)
{
	return w->is_any || (w->is_null ? is_null : !is_null && seq == w->seq);
}

/* The object of Q's row. */
static struct object *
open_row(struct vault *v, struct query *q, unsigned want, struct err *e)
{
	_cleanup_(object_closep) struct object *o = object_of_query(v, q, want & OBJECT_CONTENT, e);
	struct object_info *i;

	if (!o)
		return NULL;
	if (want & OBJECT_PARTS && column_int(q, 0) == KIND_PARTS &&
	    object_read_parts(v, o, column_int(q, 5), e) < 0)
		return NULL;
	i = object_info_to_fill(o);
	i->lock = lock_column(q, 10);
	i->is_marker = column_int(q, 13) != 0;
	if (column_int(q, 12) != VERSIONING_OFF)
		version_text(column_int(q, 8), column_int(q, 9) != 0, i->version);
	return take(&o);
}

/* 1: *OUT, and *RULES_BUCKET as in object_write; 0: the current object is not there or another one; -1. */
static int
open_current(struct vault *v, const char *bucket, const char *key, const struct wanted *w,
    unsigned want, struct object **out, int64_t *rules_bucket, struct object_absence *why,
    struct err *e)
{
	struct query *q = vault_query(v, read_current[want & OBJECT_CONTENT]);
	int r;

	query_text(q, 1, bucket, strlen(bucket));
	query_blob(q, 2, key, strlen(key));
	r = query_step(q, e);
	if (r == 0) {
		why->is_bucket = true;
		r = err_set(e, ERR_MISSING, NO_BUCKET);
	} else if (r == 1 &&
	    (column_is_null(q, 5) || !is_wanted(w, column_int(q, 8), column_int(q, 9) != 0))) {
		/* without versions there is nothing else to look at */
		r = column_int(q, 12) == VERSIONING_OFF
		    ? err_set(e, ERR_MISSING, w->is_any ? "no such key" : "no such version")
		    : 0;
	} else if (r == 1) {
		*rules_bucket = column_int(q, 14);
		*out = open_row(v, q, want, e);
		r = *out ? 1 : -1;
	}
	query_end(q);
	return r;
}

static int
no_object(const struct wanted *w, struct object_absence *why, const struct aside *marker,
    uint64_t modified_ms, struct err *e)
{
	if (!w->is_any)
		return err_set(e, ERR_MISSING, "no such version");
	if (marker) {
		why->is_marker = true;
		why->modified_ms = modified_ms;
		version_text(marker->seq, marker->is_null, why->version);
	}
	return err_set(e, ERR_MISSING, "no such key");
}

static struct object *
open_aside(struct vault *v, const char *bucket, const char *key, const struct wanted *w,
    unsigned want, struct object_absence *why, struct err *e)
{
	struct object *o = NULL;
	struct aside a;
	struct query *q;
	int64_t id;
	int r;

	if (files_bucket_id(v, bucket, &id, e) < 0)
		return NULL;
	r = w->is_any ? aside_newest(v, id, key, &a, e)
	              : aside_find(v, id, key, w->seq, w->is_null, &a, e);
	if (r <= 0) {
		if (r == 0)
			no_object(w, why, NULL, 0, e);
		return NULL;
	}
	if (a.is_marker)
		want = 0;
	q = vault_query(v, read_aside[want & OBJECT_CONTENT]);
	query_text(q, 1, bucket, strlen(bucket));
	query_blob(q, 2, key, strlen(key));
	query_int(q, 3, a.seq);
	r = query_step(q, e);
	if (r == 1 && w->is_any)
		no_object(w, why, &a, (uint64_t)column_int(q, 2), e);
	else if (r == 1)
		o = open_row(v, q, want, e);
	else if (r == 0)
		err_set(e, ERR_FORGED, "a version has gone while it was looked at");
	query_end(q);
	return o;
}

struct object *
object_open_version(struct files *f, const char *bucket, const char *key, const char *version,
    unsigned want, struct object_absence *why, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = NULL;
	_cleanup_(object_closep) struct object *o = NULL;
	struct wanted w = { .is_any = !version };
	struct object_info *i;
	int64_t rules_bucket = 0;
	int r;

	*why = (struct object_absence){ .is_bucket = false };
	f->would_block = false;
	if (version && version_parse(version, &w.seq, &w.is_null, e) < 0)
		return NULL;
	v = files_take(f, files_bucket_service(bucket), e);
	if (!v)
		return NULL;
	files_wait_for(f, vault_ticket(v));
	o = version || want & OBJECT_PARTS ? NULL : object_kept(v, bucket, key);
	if (o)
		return take(&o);
	r = open_current(v, bucket, key, &w, want, &o, &rules_bucket, why, e);
	if (r == 0)
		return open_aside(v, bucket, key, &w, want, why, e);
	if (r < 0)
		return NULL;
	i = object_info_to_fill(o);
	if (rules_bucket &&
	    rules_expiry(f, v, rules_bucket, key, (struct span){ i->headers.data, i->headers.len },
	        i, e) < 0)
		return NULL;
	if (!version && want == OBJECT_CONTENT)
		object_keep(v, bucket, key, o);
	return take(&o);
}

struct object *
object_open(struct files *f, const char *bucket, const char *key, bool with_content,
    bool *missing_bucket, struct err *e)
{
	struct object_absence why;
	struct object *o = object_open_version(
	    f, bucket, key, NULL, with_content ? OBJECT_CONTENT : 0, &why, e);

	*missing_bucket = why.is_bucket;
	return o;
}

int
version_place(struct vault *v, const char *bucket, const char *key, const char *version,
    struct version_place *out, struct object_absence *why, struct err *e)
{
	struct wanted w = { .is_any = !version };
	struct object_row row;
	struct aside a;
	int r;

	*why = (struct object_absence){ .is_bucket = false };
	if (version && version_parse(version, &w.seq, &w.is_null, e) < 0)
		return -1;
	if (object_row_find(v, bucket, key, &row, e) < 0) {
		why->is_bucket = true;
		return -1;
	}
	*out = (struct version_place){ .bucket = row.bucket, .seq = row.seq };
	if (row.versioning != VERSIONING_OFF)
		version_text(row.seq, row.is_null, out->version);
	if (row.exists && is_wanted(&w, row.seq, row.is_null))
		return 0;
	r = w.is_any ? aside_newest(v, row.bucket, key, &a, e)
	             : aside_find(v, row.bucket, key, w.seq, w.is_null, &a, e);
	if (r < 0)
		return -1;
	if (r == 0 || w.is_any)
		return no_object(&w, why, r ? &a : NULL, 0, e);
	out->seq = a.seq;
	out->is_aside = true;
	out->is_marker = a.is_marker;
	version_text(a.seq, a.is_null, out->version);
	return 0;
}

/* --- removing --- */

/* Without a version named, in a bucket that has them: a marker comes on top. It makes no room, so unless an
 * object goes for it, it has to leave what is kept back to removals that do. */
static int
put_marker(struct files *f, struct vault *v, struct object_row *row, struct removal *r,
    bool *changed, struct err *e)
{
	bool is_null = row->versioning == VERSIONING_SUSPENDED;
	bool frees = row->exists && is_null && row->is_null;
	struct query *q;
	int64_t seq;

	if (!frees && files_check_room(f, 0, &r->err) < 0)
		return 0;
	if (next_seq(v, row, r->key, &seq, e) < 0)
		return -1;
	if (frees) {
		if (object_row_remove(v, row, r->key, e) < 0)
			return -1;
	} else if (row->exists) {
		if (put_aside(v, row, r->key, e) < 0 || row_forget(v, row->bucket, r->key, e) < 0)
			return -1;
	}
	if (is_null && drop_null(v, row->bucket, r->key, e) < 0)
		return -1;
	q = vault_query(v,
	    "INSERT INTO version(bucket,key,seq,is_null,is_marker,size,etag,modified_ms,body)"
	    " VALUES(?1,?2,?3,?4,1,0,x'',?5,0)");
	bind_key(q, row->bucket, r->key);
	query_int(q, 3, seq);
	query_int(q, 4, is_null);
	query_int(q, 5, (int64_t)host_wall_ms());
	if (query_run(q, e) < 0)
		return -1;
	version_text(seq, is_null, r->found);
	r->is_marker = *changed = true;
	return 0;
}

/* The version that R names, for good. */
static int
remove_version(
    struct vault *v, struct object_row *row, struct removal *r, bool *changed, struct err *e)
{
	struct wanted w = { .is_any = false };
	struct aside a;
	int found;

	if (version_parse(r->version, &w.seq, &w.is_null, &r->err) < 0)
		return 0;
	snprintf(r->found, sizeof(r->found), "%s", r->version);
	if (row->exists && is_wanted(&w, row->seq, row->is_null)) {
		if (lock_allows_removal(&row->lock, r->may_bypass, &r->err) < 0)
			return 0;
		*changed = true;
		if (object_row_remove(v, row, r->key, e) < 0)
			return -1;
		return take_back(v, row->bucket, r->key, e);
	}
	found = aside_find(v, row->bucket, r->key, w.seq, w.is_null, &a, e);
	if (found <= 0)
		return found;
	if (lock_allows_removal(&a.lock, r->may_bypass, &r->err) < 0)
		return 0;
	r->is_marker = a.is_marker;
	*changed = true;
	if (aside_remove(v, row->bucket, r->key, &a, e) < 0)
		return -1;
	return row->exists ? 0 : take_back(v, row->bucket, r->key, e);
}

int
removal_run(struct files *f, struct vault *v, const char *bucket, struct removal *r, bool *changed,
    struct err *e)
{
	struct object_row row;

	r->err.kind = ERR_NONE;
	r->found[0] = '\0';
	r->is_marker = false;
	if (files_key_check(r->key, &r->err) < 0)
		return 0;
	if (object_row_find(v, bucket, r->key, &row, e) < 0)
		return -1;
	if (object_row_meets(&row, &r->condition, &r->err) < 0) {
		r->err.kind = ERR_STALE; /* a removal's condition has one way to fail */
		return 0;
	}
	if (r->version)
		return remove_version(v, &row, r, changed, e);
	if (row.versioning != VERSIONING_OFF)
		return put_marker(f, v, &row, r, changed, e);
	*changed |= row.exists;
	return row.exists ? object_row_remove(v, &row, r->key, e) : 0;
}

int
files_remove_many(struct files *f, const char *bucket, struct removal *r, size_t n, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);
	bool changed = false;
	int64_t id;

	if (!v || vault_begin_removal(v, e) < 0)
		return -1;
	files_wait_for(f, vault_ticket(v));
	if (files_bucket_id(v, bucket, &id, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (!r[i].err.kind && removal_run(f, v, bucket, &r[i], &changed, e) < 0)
			return -1;
	return changed ? files_commit(f, v, e) : 0;
}

int
files_remove(struct files *f, const char *bucket, const char *key, struct err *e)
{
	struct removal r = { .key = key };

	if (files_remove_many(f, bucket, &r, 1, e) < 0)
		return -1;
	return r.err.kind ? err_set(e, r.err.kind, "%s", r.err.text) : 0;
}
