/* files_list.c - the keys of a bucket in order. See files.h.
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
	unsigned n;           /* told so far */
	char last[BOUND_MAX]; /* the last of them */
	bool is_truncated;
};

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
	l->n++;
	return l->fn(l->arg, l->last, i, e);
}

static int
tell_object(struct listing *l, struct query *q, struct span key, struct err *e)
{
	struct object_info i = {
		.size = (uint64_t)column_int(q, 1),
		.modified_ms = (uint64_t)column_int(q, 2),
	};
	struct span etag = column_blob(q, 3);

	etag_text(etag.data, etag.len, i.etag);
	return tell(l, key.data, key.len, &i, e);
}

/* Tell the row that Q stands on. 0: go on; 1: enough, or the range begins anew (FROM says where);
 * -1. */
static int
take_row(struct listing *l, struct query *q, bool *again, struct err *e)
{
	struct span key = column_blob(q, 0);
	size_t group;
	bool is_new;

	if (!key.len || key.len > FILES_KEY_MAX)
		return err_set(e, ERR_FORGED, "a key of %zu bytes", key.len);
	group = group_of(l, key);
	/* Told on an earlier page, and this key is one of those it stands for. */
	is_new = !group || compare(key.data, group, l->q->after, l->after_len) > 0;
	if (is_new && l->n == l->q->max) {
		l->is_truncated = true;
		return 1;
	}
	if (!group)
		return tell_object(l, q, key, e);
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
	struct query *q = vault_query(l->vault,
	    "SELECT key,size,modified_ms,etag FROM object"
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
	/* The next string after a string is itself and a NUL. */
	bound_set(&first, q->after, l->after_len);
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

int
files_list(struct files *f, const struct list_query *q, list_fn *fn, void *arg, bool *is_truncated,
    char *next, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = NULL;
	struct listing l = { .files = f, .q = q, .fn = fn, .arg = arg };
	bool again = true;

	if (list_checked(&l, e) < 0)
		return -1;
	v = files_take(f, files_bucket_service(q->bucket), e);
	if (!v)
		return -1;
	files_wait_for(f, vault_ticket(v));
	l.vault = v;
	if (files_bucket_id(v, q->bucket, &l.bucket, e) < 0)
		return -1;
	while (again && q->max)
		if (read_range(&l, &again, e) < 0)
			return -1;
	*is_truncated = l.is_truncated;
	snprintf(next, FILES_KEY_MAX + 1, "%s", l.is_truncated ? l.last : "");
	return 0;
}
