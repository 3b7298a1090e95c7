/* files_setting.c - what is kept about a bucket by name, and lines kept with an object. See files.h. */
#include "service/files_internal.h"

#include <string.h>

/* --- settings --- */

int
setting_read(struct vault *v, int64_t bucket, const char *name, struct buf *out, struct err *e)
{
	struct query *q = vault_query(v, "SELECT value FROM setting WHERE bucket=?1 AND name=?2");
	int r;

	query_int(q, 1, bucket);
	query_text(q, 2, name, strlen(name));
	r = query_step(q, e);
	if (r == 1)
		buf_add(out, column_blob(q, 0).data, column_blob(q, 0).len);
	query_end(q);
	return r == 1 && buf_check(out, e) < 0 ? -1 : r;
}

int
setting_write(struct vault *v, int64_t bucket, const char *name, struct span value, struct err *e)
{
	struct query *q = vault_query(v,
	    "INSERT INTO setting(bucket,name,value) VALUES(?1,?2,?3)"
	    " ON CONFLICT DO UPDATE SET value=excluded.value");

	query_int(q, 1, bucket);
	query_text(q, 2, name, strlen(name));
	query_blob(q, 3, value.len ? (const void *)value.data : "", value.len);
	return query_run(q, e);
}

int
files_setting_get(
    struct files *f, const char *bucket, const char *name, struct buf *out, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);
	int64_t id;

	if (!v)
		return -1;
	files_wait_for(f, vault_ticket(v));
	return files_bucket_id(v, bucket, &id, e) < 0 ? -1 : setting_read(v, id, name, out, e);
}

int
files_setting_put(
    struct files *f, const char *bucket, const char *name, struct span value, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);
	int64_t id;

	if (!v || files_begin(f, v, e) < 0)
		return -1;
	files_wait_for(f, vault_ticket(v));
	if (files_bucket_id(v, bucket, &id, e) < 0 || setting_write(v, id, name, value, e) < 0)
		return -1;
	return files_commit(f, v, e);
}

int
setting_forget(struct vault *v, int64_t bucket, const char *name, struct err *e)
{
	struct query *q = vault_query(v, "DELETE FROM setting WHERE bucket=?1 AND name=?2");

	query_int(q, 1, bucket);
	query_text(q, 2, name, strlen(name));
	return query_run(q, e);
}

int
files_setting_remove(struct files *f, const char *bucket, const char *name, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);
	int64_t id;

	if (!v || vault_begin_removal(v, e) < 0)
		return -1;
	files_wait_for(f, vault_ticket(v));
	if (files_bucket_id(v, bucket, &id, e) < 0)
		return -1;
	return setting_forget(v, id, name, e) < 0 ? -1 : files_commit(f, v, e);
}

/* --- a line of an object's headers --- */

static void
bind_place(struct query *q, const struct version_place *p, const char *key)
{
	query_int(q, 1, p->bucket);
	query_blob(q, 2, key, strlen(key));
	query_int(q, 3, p->seq);
}

struct span
line_of(struct span lines, const char *start)
{
	size_t n = strlen(start);

	while (lines.len) {
		const uint8_t *end = memchr(lines.data, '\n', lines.len);
		size_t len = end ? (size_t)(end - lines.data) : lines.len;

		if (len >= n && memcmp(lines.data, start, n) == 0)
			return (struct span){ lines.data + n, len - n };
		len += end != NULL;
		lines.data += len;
		lines.len -= len;
	}
	return (struct span){ NULL, 0 };
}

/* All lines but those that begin with NAME. */
static void
add_other_lines(struct buf *out, struct span lines, const char *name)
{
	const uint8_t *at = lines.data, *end = at ? at + lines.len : at;

	for (const uint8_t *next; at < end; at = next) {
		next = memchr(at, '\n', (size_t)(end - at));
		next = next ? next + 1 : end;
		if ((size_t)(next - at) < strlen(name) || memcmp(at, name, strlen(name)) != 0)
			buf_add(out, at, (size_t)(next - at));
	}
}

static int
read_other_lines(struct vault *v, const struct version_place *p, const char *key, const char *name,
    struct buf *out, struct err *e)
{
	struct query *q = p->is_aside
	    ? vault_query(v, "SELECT headers FROM version WHERE bucket=?1 AND key=?2 AND seq=?3")
	    : vault_query(v, "SELECT headers FROM object WHERE bucket=?1 AND key=?2 AND seq=?3");
	int r;

	bind_place(q, p, key);
	r = query_step(q, e);
	if (r == 1)
		add_other_lines(out, column_blob(q, 0), name);
	query_end(q);
	if (r == 0)
		return err_set(e, ERR_FORGED, "a version has gone while it was looked at");
	return r < 0 ? -1 : buf_check(out, e);
}

static int
write_lines(struct vault *v, const struct version_place *p, const char *key,
    const struct buf *lines, struct err *e)
{
	struct query *q = p->is_aside
	    ? vault_query(v, "UPDATE version SET headers=?4 WHERE bucket=?1 AND key=?2 AND seq=?3")
	    : vault_query(v, "UPDATE object SET headers=?4 WHERE bucket=?1 AND key=?2 AND seq=?3");

	bind_place(q, p, key);
	if (lines->len)
		query_blob(q, 4, lines->data, lines->len);
	return query_run(q, e);
}

int
files_line_set(struct files *f, const char *bucket, const char *key, const char *version,
    const char *name, const char *value, char found[static FILES_VERSION_SIZE],
    struct object_absence *why, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);
	_cleanup_buf_ struct buf lines = BUF_INIT(FILES_HEADERS_MAX);
	struct version_place p;

	*why = (struct object_absence){ .is_bucket = false };
	if (!v || (value ? files_begin(f, v, e) : vault_begin_removal(v, e)) < 0)
		return -1;
	files_wait_for(f, vault_ticket(v));
	if (version_place(v, bucket, key, version, &p, why, e) < 0)
		return -1;
	if (p.is_marker)
		return err_set(e, ERR_STALE, "a delete marker keeps nothing");
	if (read_other_lines(v, &p, key, name, &lines, e) < 0)
		return -1;
	if (value)
		buf_printf(&lines, "%s%s\n", name, value);
	if (buf_check(&lines, e) < 0 || write_lines(v, &p, key, &lines, e) < 0 ||
	    files_commit(f, v, e) < 0)
		return -1;
	memcpy(found, p.version, FILES_VERSION_SIZE);
	return 0;
}
