/* files_list.c - the keys of a bucket in order, and their versions. See files.h.
 *
 * The rows are read through one range of (bucket, key) and never through a common prefix: once that
 * was told, the range begins anew behind the last key that could have it.
 */
#include "service/files_internal.h"

#include <stdio.h>
#include <string.h>

/* A key with one byte behind it. */
#define BOUND_MAX (FILES_KEY_MAX + 1)

struct bound {
	uint8_t bytes[BOUND_MAX];
	size_t n;
};

static void
bound_set(struct bound *b, const void *p, size_t n)
{
	b->n = n < BOUND_MAX ? n : BOUND_MAX;
	memcpy(b->bytes, p, b->n);
}

/* The first string after every one that begins with the N bytes at P. */
static void
bound_after(struct bound *b, const void *p, size_t n)
{
	bound_set(b, p, n);
	while (b->n && b->bytes[b->n - 1] == 0xff)
		b->n--;
	if (b->n) {
		b->bytes[b->n - 1]++;
		return;
	}
	/* Nothing comes after: no key is as long as this. */
	memset(b->bytes, 0xff, BOUND_MAX);
	b->n = BOUND_MAX;
}

static int
compare(const void *a, size_t an, const void *b, size_t bn)
{
	int r = memcmp(a, b, an < bn ? an : bn);

	return r ? r : (an > bn) - (an < bn);
}

struct listing {
	struct files *files;
	const struct list_query *q;
	struct vault *vault;
	int64_t bucket;
	size_t prefix_len, delimiter_len, after_len;
	struct bound from, to; /* what is still to be read: from <= key < to */
	list_fn *fn;
	void *arg;
	bool has_versions;
	bool is_resumed; /* AFTER itself goes on, below this seq */
	int64_t after_seq;
	struct buf lines;     /* of the row: its object's headers */
	struct bound row_key; /* of the row before, to tell the newest of a key */
	char last_version[FILES_VERSION_SIZE];
	unsigned n;           /* told so far */
	char last[BOUND_MAX]; /* the last of them */
	bool is_truncated;
};

static void
listing_free(struct listing *l)
{
	buf_free(&l->lines);
}

/* The length of the common prefix that KEY belongs to, or 0. */
static size_t
group_of(const struct listing *l, struct span key)
{
	const uint8_t *at;

	if (!l->delimiter_len || key.len <= l->prefix_len)
		return 0;
	at = memmem(
	    key.data + l->prefix_len, key.len - l->prefix_len, l->q->delimiter, l->delimiter_len);
	return at ? (size_t)(at - key.data) + l->delimiter_len : 0;
}

static int
tell(struct listing *l, const void *name, size_t n, const struct object_info *i, struct err *e)
{
	memcpy(l->last, name, n);
	l->last[n] = '\0';
	snprintf(l->last_version, sizeof(l->last_version), "%s", i ? i->version : "");
	l->n++;
	return l->fn(l->arg, l->last, i, e);
}

static int
tell_object(struct listing *l, struct query *q, struct span key, bool is_latest, struct err *e)
{
	struct object_info i = {
		.size = (uint64_t)column_int(q, 1),
		.modified_ms = (uint64_t)column_int(q, 2),
	};
	struct span etag = column_blob(q, 3), lines = column_blob(q, 4);

	buf_clear(&l->lines);
	if (lines.len)
		buf_add(&l->lines, lines.data, lines.len);
	if (buf_check(&l->lines, e) < 0)
		return -1;
	i.headers = l->lines;
	etag_text(etag.data, etag.len, i.etag);
	if (l->has_versions) {
		version_text(column_int(q, 5), column_int(q, 6) != 0, i.version);
		i.is_marker = column_int(q, 7) != 0;
		i.is_latest = is_latest;
	}
	return tell(l, key.data, key.len, &i, e);
}

/* Tell the row that Q stands on. 0: go on; 1: enough, or the range begins anew (FROM says where);
 * -1. */
static int
take_row(struct listing *l, struct query *q, bool *again, struct err *e)
{
	struct span key = column_blob(q, 0);
	bool is_new, is_latest;
	size_t group;

	if (!key.len || key.len > FILES_KEY_MAX)
		return err_set(e, ERR_FORGED, "a key of %zu bytes", key.len);
	is_latest = compare(key.data, key.len, l->row_key.bytes, l->row_key.n) != 0;
	if (l->has_versions)
		bound_set(&l->row_key, key.data, key.len);
	if (l->is_resumed && compare(key.data, key.len, l->q->after, l->after_len) == 0 &&
	    column_int(q, 5) >= l->after_seq)
		return 0;
	group = group_of(l, key);
	/* Told on an earlier page, and this key is one of those it stands for. */
	is_new = !group || compare(key.data, group, l->q->after, l->after_len) > 0;
	if (is_new && l->n == l->q->max) {
		l->is_truncated = true;
		return 1;
	}
	if (!group)
		return tell_object(l, q, key, is_latest, e);
	bound_after(&l->from, key.data, group);
	*again = true;
	if (is_new && tell(l, key.data, group, NULL, e) < 0)
		return -1;
	return 1;
}

/* Read one range. *AGAIN: there is another. */
static int
read_range(struct listing *l, bool *again, struct err *e)
{
	struct query *q = l->has_versions
	    ? vault_query(l->vault,
	          "SELECT key,size,modified_ms,etag,headers,seq,is_null,0 FROM object"
	          " WHERE bucket=?1 AND key>=?2 AND key<?3 UNION ALL"
	          " SELECT key,size,modified_ms,etag,headers,seq,is_null,is_marker FROM version"
	          " WHERE bucket=?1 AND key>=?2 AND key<?3 ORDER BY key,seq DESC")
	    : vault_query(l->vault,
	          "SELECT key,size,modified_ms,etag,headers FROM object"
	          " WHERE bucket=?1 AND key>=?2 AND key<?3 ORDER BY key");
	int r, done = 0;

	*again = false;
	query_int(q, 1, l->bucket);
	query_blob(q, 2, l->from.bytes, l->from.n);
	query_blob(q, 3, l->to.bytes, l->to.n);
	while (done == 0 && (r = query_step(q, e)) == 1)
		done = take_row(l, q, again, e);
	query_end(q);
	return done < 0 || r < 0 ? -1 : 0;
}

/* From behind `after` or from the prefix on, to the end of the prefix. */
static void
set_range(struct listing *l)
{
	const struct list_query *q = l->q;
	struct bound first;

	bound_set(&l->from, q->prefix, l->prefix_len);
	bound_after(&l->to, q->prefix, l->prefix_len);
	if (!l->after_len)
		return;
	bound_set(&first, q->after, l->after_len);
	/* The next string after a string is itself and a NUL. */
	if (!l->is_resumed)
		first.bytes[first.n++] = 0;
	if (compare(first.bytes, first.n, l->from.bytes, l->from.n) > 0)
		l->from = first;
}

static int
list_checked(struct listing *l, struct err *e)
{
	const struct list_query *q = l->q;

	l->prefix_len = strnlen(q->prefix, BOUND_MAX);
	l->delimiter_len = strnlen(q->delimiter, BOUND_MAX);
	l->after_len = strnlen(q->after, BOUND_MAX);
	if (l->prefix_len > FILES_KEY_MAX || l->delimiter_len > FILES_KEY_MAX ||
	    l->after_len > FILES_KEY_MAX)
		return err_set(e, ERR_TOO_BIG, "no key is as long as that");
	if (q->max > 1000)
		return err_set(e, ERR_BAD, "at most 1000 keys at a time");
	set_range(l);
	return 0;
}

/* All of it but the version to go on after. */
static int
list_taken(struct listing *l, struct err *e)
{
	bool again = true;

	while (again && l->q->max)
		if (read_range(l, &again, e) < 0)
			return -1;
	return 0;
}

/* Take the vault into *V, to be given back by the caller whatever happens. */
static int
list_begin(struct listing *l, struct vault **v, struct err *e)
{
	struct files *f = l->files;

	if (list_checked(l, e) < 0)
		return -1;
	*v = l->vault = files_take(f, files_bucket_service(l->q->bucket), e);
	if (!*v)
		return -1;
	files_wait_for(f, vault_ticket(*v));
	return files_bucket_id(*v, l->q->bucket, &l->bucket, e);
}

static void
list_end(const struct listing *l, bool *is_truncated, char *next)
{
	*is_truncated = l->is_truncated;
	snprintf(next, FILES_KEY_MAX + 1, "%s", l->is_truncated ? l->last : "");
}

int
files_list(struct files *f, const struct list_query *q, list_fn *fn, void *arg, bool *is_truncated,
    char *next, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = NULL;
	_cleanup_(listing_free) struct listing l = { .files = f, .q = q, .fn = fn, .arg = arg };

	if (list_begin(&l, &v, e) < 0 || list_taken(&l, e) < 0)
		return -1;
	list_end(&l, is_truncated, next);
	return 0;
}

int
files_list_versions(struct files *f, const struct version_query *q, list_fn *fn, void *arg,
    bool *is_truncated, char next[static FILES_KEY_MAX + 1],
    char next_version[static FILES_VERSION_SIZE], struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = NULL;
	_cleanup_(listing_free) struct listing l = {
		.files = f, .q = &q->list, .fn = fn, .arg = arg, .has_versions = true
	};

	if (list_begin(&l, &v, e) < 0)
		return -1;
	if (q->after_version) {
		if (version_seq(v, l.bucket, q->list.after, q->after_version, &l.after_seq, e) < 0)
			return -1;
		l.is_resumed = true;
		set_range(&l);
	}
	if (list_taken(&l, e) < 0)
		return -1;
	list_end(&l, is_truncated, next);
	snprintf(next_version, FILES_VERSION_SIZE, "%s", l.is_truncated ? l.last_version : "");
	return 0;
}
