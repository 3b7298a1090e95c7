/* files_bucket.c - buckets, and the way from a bucket to its vault. See files.h. */
#include "service/files_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"

enum service
files_bucket_service(const char *bucket)
{
	if (strncmp(bucket, "backup", 6) == 0 && (bucket[6] == '\0' || bucket[6] == '-'))
		return SERVICE_BACKUP;
	return SERVICE_FILES;
}

static bool
is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Four numbers with dots: S3 takes it for an address, whatever the numbers are. */
static bool
looks_like_address(const char *name)
{
	unsigned dots = 0;

	for (const char *c = name; *c; c++) {
		if (*c == '.')
			dots++;
		else if (!isdigit((unsigned char)*c))
			return false;
	}
	return dots == 3;
}

int
files_bucket_check(const char *bucket, struct err *e)
{
	size_t n = strnlen(bucket, FILES_BUCKET_MAX + 1);

	if (n < 3 || n > FILES_BUCKET_MAX)
		return err_set(
		    e, ERR_BAD, "a bucket's name has 3 to %d characters", FILES_BUCKET_MAX);
	for (size_t i = 0; i < n; i++) {
		if (!is_alnum(bucket[i]) && bucket[i] != '.' && bucket[i] != '-')
			return err_set(e, ERR_BAD, "a bucket's name has only a-z 0-9 . -");
		/* Each piece between dots is a host's name. */
		if (bucket[i] == '.' && i && (!is_alnum(bucket[i - 1]) || !is_alnum(bucket[i + 1])))
			return err_set(
			    e, ERR_BAD, "a bucket's name has no dot beside another or a hyphen");
	}
	if (!is_alnum(bucket[0]) || !is_alnum(bucket[n - 1]))
		return err_set(
		    e, ERR_BAD, "a bucket's name begins and ends with a letter or a digit");
	if (looks_like_address(bucket))
		return err_set(e, ERR_BAD, "a bucket's name is not an IP address");
	if (strncmp(bucket, "xn--", 4) == 0)
		return err_set(e, ERR_BAD, "a bucket's name does not begin with xn--");
	return 0;
}

int
files_key_check(const char *key, struct err *e)
{
	size_t n = strnlen(key, FILES_KEY_MAX + 1);

	if (n == 0)
		return err_set(e, ERR_BAD, "a key has at least one byte");
	if (n > FILES_KEY_MAX)
		return err_set(e, ERR_TOO_BIG, "a key has at most %d bytes", FILES_KEY_MAX);
	return 0;
}

int
files_granted(const struct files *f, enum service s, struct err *e)
{
	if (f->services & BIT(s))
		return 0;
	return err_set(e, ERR_CONSENT,
	    "service %s was not granted at sign-up; an account that is created with the services %s "
	    "included has it",
	    service_name(s), service_name(s));
}

struct vault *
files_take(struct files *f, enum service s, struct err *e)
{
	struct vault_id id = { .account = f->account, .service = (uint8_t)s };
	struct err why = { .kind = ERR_NONE };
	struct vault *v;

	f->would_block = false;
	f->quota.is_adding = false;
	if (files_granted(f, s, e) < 0)
		return NULL;
	v = pool_take(f->node->pool, &id, f->may_block, &why);
	if (v)
		return v;
	f->would_block = !f->may_block && why.kind == ERR_BUSY;
	/* Granted, at home here and without a vault: not for the client to see as a missing key. */
	err_set(e, why.kind == ERR_MISSING ? ERR_INTERNAL : why.kind, "%s", why.text);
	return NULL;
}

int
files_check_room(const struct files *f, uint64_t bytes, struct err *e)
{
	const struct node *n = f->node;

	if (!engine_room(n->engine) || (bytes > CONTENT_INLINE && chunks_room(n->chunks) <= bytes))
		return err_set(e, ERR_FULL, "no space left for what is new");
	return 0;
}

int
files_begin(struct files *f, struct vault *v, struct err *e)
{
	if (files_check_room(f, 0, e) < 0 || vault_begin(v, e) < 0)
		return -1;
	f->quota.is_adding = f->quota.limits.is_limited;
	return f->quota.is_adding ? usage_read(v, &f->quota.before, e) : 0;
}

void
files_wait_for(struct files *f, uint64_t ticket)
{
	if (ticket > f->ticket)
		f->ticket = ticket;
}

int
files_commit(struct files *f, struct vault *v, struct err *e)
{
	struct err why = { .kind = ERR_NONE };
	uint64_t ticket;

	if (quota_allows(f, v, e) < 0)
		return -1;
	if (vault_commit(v, &ticket, &why) == 0) {
		files_wait_for(f, ticket);
		return 0;
	}
	/* Another node took the vault over and nothing was changed: for the client that is no failed
	 * precondition, which is what ERR_STALE says above this layer. */
	return err_set(e, why.kind == ERR_STALE ? ERR_BUSY : why.kind, "%s", why.text);
}

int
files_bucket_id(struct vault *v, const char *bucket, int64_t *id, struct err *e)
{
	struct query *q = vault_query(v, "SELECT id FROM bucket WHERE name=?1");
	int r;

	query_text(q, 1, bucket, strlen(bucket));
	r = query_step(q, e);
	if (r == 1)
		*id = column_int(q, 0);
	query_end(q);
	if (r == 0)
		return err_set(e, ERR_MISSING, NO_BUCKET);
	return r == 1 ? 0 : -1;
}

/* With the one that V has a moment since. */
static int
check_number(struct files *f, struct vault *v, struct err *e)
{
	uint64_t most = f->node->buckets_max, n;
	struct query *q;
	int r;

	if (!most)
		return 0;
	q = vault_query(v, "SELECT count(*) FROM bucket");
	r = query_step(q, e);
	n = r == 1 ? (uint64_t)column_int(q, 0) : 0;
	query_end(q);
	if (r < 0 || n <= most)
		return r < 0 ? -1 : 0;
	files_wait_for(f, vault_ticket(v));
	return err_set(e, ERR_TOO_BIG, "an account may have %llu buckets in the service %s",
	    (unsigned long long)most, service_name((enum service)vault_id(v)->service));
}

int
files_bucket_make(struct files *f, const char *bucket, bool has_lock, const char *setting,
    struct span value, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = NULL;
	struct query *q;
	int64_t id;

	if (files_bucket_check(bucket, e) < 0)
		return -1;
	v = files_take(f, files_bucket_service(bucket), e);
	if (!v || files_begin(f, v, e) < 0)
		return -1;
	q = vault_query(v,
	    "INSERT INTO bucket(name,id,created_ms,versioning,has_lock)"
	    " SELECT ?1,coalesce(max(id),0)+1,?2,?3,?4 FROM bucket");
	query_text(q, 1, bucket, strlen(bucket));
	query_int(q, 2, (int64_t)host_wall_ms());
	query_int(q, 3, has_lock ? VERSIONING_ON : VERSIONING_OFF);
	query_int(q, 4, has_lock);
	if (query_run(q, e) < 0) {
		/* It was there, and may be so only since a moment ago. */
		files_wait_for(f, vault_ticket(v));
		return e && e->kind == ERR_EXISTS
		    ? err_set(e, ERR_EXISTS, "the bucket is there already")
		    : -1;
	}
	if (check_number(f, v, e) < 0)
		return -1;
	if (setting &&
	    (files_bucket_id(v, bucket, &id, e) < 0 || setting_write(v, id, setting, value, e) < 0))
		return -1;
	return files_commit(f, v, e);
}

int
files_bucket_create(struct files *f, const char *bucket, struct err *e)
{
	return files_bucket_make(f, bucket, false, NULL, (struct span){ NULL, 0 }, e);
}

/* 1: some object, version or delete marker is in the bucket. */
static int
has_objects(struct vault *v, int64_t id, struct err *e)
{
	struct query *q = vault_query(v, "SELECT 1 FROM object WHERE bucket=?1 LIMIT 1");
	int r;

	query_int(q, 1, id);
	r = query_step(q, e);
	query_end(q);
	return r ? r : version_any(v, id, e);
}

/* The parts of uploads that were never completed go with their bucket. */
static int
remove_uploads(struct vault *v, int64_t id, struct err *e)
{
	static const char *const rest[] = {
		"DELETE FROM upload WHERE bucket=?1",
		"DELETE FROM setting WHERE bucket=?1",
		"DELETE FROM completed WHERE bucket=?1",
		"DELETE FROM bucket WHERE id=?1",
	};

	for (;;) {
		struct query *q = vault_query(v,
		    "SELECT body FROM upload WHERE bucket=?1"
		    " AND body IN (SELECT id FROM body) LIMIT 1");
		int64_t body;
		int r;

		query_int(q, 1, id);
		r = query_step(q, e);
		body = column_int(q, 0);
		query_end(q);
		if (r < 0 || (r == 1 && body_drop(v, KIND_PARTS, body, e) < 0))
			return -1;
		if (r == 0)
			break;
	}
	for (size_t i = 0; i < ARRAY_LEN(rest); i++) {
		struct query *q = vault_query(v, rest[i]);

		query_int(q, 1, id);
		if (query_run(q, e) < 0)
			return -1;
	}
	return 0;
}

int
files_bucket_remove(struct files *f, const char *bucket, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);
	int64_t id = 0;
	int r;

	if (!v || vault_begin_removal(v, e) < 0)
		return -1;
	files_wait_for(f, vault_ticket(v));
	if (files_bucket_id(v, bucket, &id, e) < 0)
		return -1;
	r = has_objects(v, id, e);
	if (r)
		return r < 0 ? -1 : err_set(e, ERR_BUSY, "the bucket is not empty");
	if (remove_uploads(v, id, e) < 0)
		return -1;
	return files_commit(f, v, e);
}

int
files_bucket_find(struct files *f, const char *bucket, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);
	int64_t id;

	if (!v)
		return -1;
	files_wait_for(f, vault_ticket(v));
	return files_bucket_id(v, bucket, &id, e);
}

/* --- all of them --- */

struct bucket_line {
	char name[FILES_BUCKET_MAX + 1];
	uint64_t created_ms;
};

static int
collect(struct files *f, enum service s, struct buf *lines, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, s, e);
	struct query *q;
	int r;

	if (!v)
		return -1;
	files_wait_for(f, vault_ticket(v));
	q = vault_query(v, "SELECT name,created_ms FROM bucket");
	while ((r = query_step(q, e)) == 1) {
		struct span name = column_blob(q, 0);
		struct bucket_line line = { .created_ms = (uint64_t)column_int(q, 1) };

		snprintf(
		    line.name, sizeof(line.name), "%.*s", (int)name.len, (const char *)name.data);
		buf_add(lines, &line, sizeof(line));
	}
	query_end(q);
	return r;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct bucket_line *)a)->name, ((const struct bucket_line *)b)->name);
}

int
files_buckets(struct files *f, files_bucket_fn *fn, void *arg, struct err *e)
{
	static const enum service services[] = { SERVICE_FILES, SERVICE_BACKUP };
	_cleanup_buf_ struct buf lines = BUF_INIT(0);
	const struct bucket_line *line;
	size_t n;

	for (size_t i = 0; i < ARRAY_LEN(services); i++)
		if ((f->services & BIT(services[i])) && collect(f, services[i], &lines, e) < 0)
			return -1;
	if (buf_check(&lines, e) < 0)
		return -1;
	n = lines.len / sizeof(*line);
	if (n)
		qsort(lines.data, n, sizeof(*line), by_name);
	line = (const struct bucket_line *)lines.data;
	for (size_t i = 0; i < n; i++)
		if (fn(arg, line[i].name, line[i].created_ms, e) < 0)
			return -1;
	return 0;
}
