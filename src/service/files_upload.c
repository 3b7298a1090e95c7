/* files_upload.c - bodies on their way into a vault, and copies of objects. See files.h.
 *
 * A body is in memory up to CONTENT_INLINE; what is larger goes into chunks as it comes, and no vault
 * is taken for that but once, for its key. So a body may take hours without holding up anybody.
 */
#include "service/files_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"

#define COPY_BYTES ((size_t)256 << 10)

struct upload *
upload_begin(struct files *f, const char *bucket, struct err *e)
{
	struct upload *u;

	f->would_block = false;
	if (strnlen(bucket, FILES_BUCKET_MAX + 1) > FILES_BUCKET_MAX) {
		err_set(e, ERR_MISSING, NO_BUCKET);
		return NULL;
	}
	if (files_granted(f, files_bucket_service(bucket), e) < 0)
		return NULL;
	u = calloc(1, sizeof(*u));
	if (!u) {
		err_set(e, ERR_MEMORY, "upload: no memory");
		return NULL;
	}
	u->files = f;
	snprintf(u->bucket, sizeof(u->bucket), "%s", bucket);
	u->service = files_bucket_service(bucket);
	u->small = BUF_INIT(CONTENT_INLINE);
	return u;
}

/* From memory to chunks. Nothing has changed if it fails. */
static int
begin_chunks(struct upload *u, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(u->files, u->service, e);

	if (!v)
		return -1;
	if (!u->key)
		u->key = vault_content_key(v);
	if (!u->digest)
		u->digest = digest_open(e);
	if (!u->key || !u->digest)
		return u->key ? -1 : err_set(e, ERR_IO, "the vault's key is gone");
	u->out = content_begin(vault_chunks(v), u->key, e);
	return u->out ? 0 : -1;
}

static int
leave_memory(struct upload *u, struct err *e)
{
	if (begin_chunks(u, e) < 0)
		return -1;
	if (!u->small.len)
		return 0;
	digest_add(u->digest, u->small.data, u->small.len);
	return content_add(u->out, u->small.data, u->small.len, e);
}

int
upload_add(struct upload *u, const void *p, size_t n, struct err *e)
{
	u->files->would_block = false;
	if (upload_bytes(u) + n > FILES_PUT_MAX)
		return err_set(e, ERR_TOO_BIG, "a body has at most %llu bytes",
		    (unsigned long long)FILES_PUT_MAX);
	if (u->is_settled)
		return err_set(e, ERR_INTERNAL, "the body was said to be complete");
	if (!u->out && u->small.len + n <= CONTENT_INLINE) {
		buf_add(&u->small, p, n);
		return buf_check(&u->small, e);
	}
	if (!u->out && leave_memory(u, e) < 0)
		return -1;
	/* The digest first: it goes on by itself while this thread seals. */
	digest_add(u->digest, p, n);
	return content_add(u->out, p, n, e);
}

static uint64_t
refs_bytes(const struct upload *u)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < u->n_refs; i++)
		bytes += u->refs[i].bytes;
	return bytes;
}

uint64_t
upload_bytes(const struct upload *u)
{
	if (!u->out)
		return u->small.len;
	return u->refs ? refs_bytes(u) : content_out_bytes(u->out);
}

int
upload_md5(struct upload *u, uint8_t out[static MD5_BYTES], struct err *e)
{
	if (u->digest && u->out)
		return digest_now(u->digest, out, e);
	md5(u->small.data, u->small.len, out);
	return 0;
}

int
upload_settle(struct upload *u, struct err *e)
{
	u->files->would_block = false;
	if (u->is_settled)
		return 0;
	if (u->out && content_finish(u->out, &u->refs, &u->n_refs, e) < 0)
		return -1;
	u->is_settled = true;
	return 0;
}

ssize_t
upload_read(struct upload *u, uint64_t offset, void *p, size_t n, struct err *e)
{
	if (!u->out) {
		if (offset >= u->small.len)
			return 0;
		if (n > u->small.len - offset)
			n = u->small.len - (size_t)offset;
		memcpy(p, u->small.data + offset, n);
		return (ssize_t)n;
	}
	if (!u->refs)
		return content_out_read(u->out, offset, p, n, e);
	if (!u->in)
		u->in = content_open(u->files->node->chunks, u->key, u->refs, u->n_refs, e);
	return u->in ? content_read(u->in, offset, p, n, e) : -1;
}

/* One that can't be removed now is left for a sweep. */
static void
remove_chunks(struct upload *u)
{
	for (size_t i = 0; i < u->n_refs; i++) {
		struct chunk_name name;

		memcpy(name.b, u->refs[i].name, sizeof(name.b));
		(void)!chunks_remove(
		    u->files->node->chunks, content_key_vault(u->key), &name, NULL);
	}
}

void
upload_close(struct upload *u)
{
	if (!u)
		return;
	content_in_close(u->in);
	if (!u->is_committed)
		remove_chunks(u);
	/* Until here the names were claimed, so that no sweep took what is about to be referred to. */
	content_close(u->out);
	digest_close(u->digest);
	content_key_unref(u->key);
	buf_free(&u->small);
	free(u->refs);
	free(u);
}

/* --- into a row --- */

int
upload_content(
    struct upload *u, struct buf *text, enum content_kind *kind, struct span *data, struct err *e)
{
	if (u->is_committed)
		return err_set(e, ERR_INTERNAL, "a body is committed once");
	if (!u->out) {
		*kind = KIND_INLINE;
		*data = (struct span){ u->small.data, u->small.len };
		return 0;
	}
	if (!u->is_settled)
		return err_set(e, ERR_INTERNAL, "the body was not settled");
	refs_write(text, u->refs, u->n_refs);
	*kind = KIND_CHUNKS;
	*data = (struct span){ text->data, text->len };
	return buf_check(text, e);
}

int
upload_hand_over(struct upload *u, struct files *f, struct vault *v, struct err *e)
{
	if (quota_allows(f, v, e) < 0 || vault_add_chunks(v, u->refs, u->n_refs, e) < 0)
		return -1;
	/* From here on the row may be there even if the commit fails: never remove its chunks. */
	u->is_committed = true;
	return 0;
}

/* The row of the content: the one that the key has, emptied, or a new one (*BODY is 0 then). */
static int
write_body(struct vault *v, const struct object_row *old, enum content_kind kind, struct span data,
    int64_t *body, struct err *e)
{
	bool reuse = old->exists && old->kind != KIND_PARTS;
	struct query *q;

	if (reuse && body_empty(v, old->kind, old->body, e) < 0)
		return -1;
	if (old->exists && !reuse && body_drop(v, old->kind, old->body, e) < 0)
		return -1;
	*body = reuse ? old->body : 0;
	q = reuse ? vault_query(v, "UPDATE body SET chunks=?1,content=?2 WHERE id=?3")
	          : vault_query(v, "INSERT INTO body(chunks,content) VALUES(?1,?2)");
	query_blob(q, kind == KIND_CHUNKS ? 1 : 2, data.data, data.len);
	if (reuse)
		query_int(q, 3, old->body);
	return query_run(q, e);
}

static int
write_object(struct upload *u, struct files *f, struct vault *v, struct object_row *old,
    struct object_write *w, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(0);
	struct span data;

	if (upload_content(u, &text, &w->kind, &data, e) < 0 ||
	    lock_of_write(v, old, u->has_lock ? &u->lock : NULL, &w->lock, e) < 0 ||
	    version_make_way(v, old, w, e) < 0 ||
	    write_body(v, old, w->kind, data, &w->body, e) < 0 ||
	    object_row_write(v, old->bucket, w, e) < 0)
		return -1;
	return upload_hand_over(u, f, v, e);
}

void
upload_line(struct upload *u, const char *line)
{
	snprintf(u->line, sizeof(u->line), "%s", line);
}

void
upload_lock(struct upload *u, const struct files_lock *l)
{
	u->lock = *l;
	u->has_lock = true;
}

static int
put_checked(struct upload *u, const char *key, const char *headers, struct err *e)
{
	if (files_key_check(key, e) < 0)
		return -1;
	if (headers && strnlen(headers, FILES_HEADERS_MAX + 1) > FILES_HEADERS_MAX)
		return err_set(
		    e, ERR_TOO_BIG, "an object's headers have at most %d bytes", FILES_HEADERS_MAX);
	return u->out && !u->is_settled ? err_set(e, ERR_INTERNAL, "the body was not settled") : 0;
}

int
upload_put(struct upload *u, struct files *f, const char *key, const char *headers,
    const struct files_condition *c, struct object_info *out, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = NULL;
	struct object_row old;
	struct object_write w = { .key = key, .size = upload_bytes(u), .etag_len = MD5_BYTES };
	uint8_t digest[MD5_BYTES];

	if (put_checked(u, key, headers, e) < 0)
		return -1;
	if (upload_md5(u, digest, e) < 0)
		return -1;
	w.etag = digest;
	w.headers = headers;
	w.headers_len = headers ? strlen(headers) : 0;
	v = files_take(f, u->service, e);
	if (!v || files_begin(f, v, e) < 0)
		return -1;
	files_wait_for(f, vault_ticket(v));
	if (object_row_find(v, u->bucket, key, &old, e) < 0 || object_row_meets(&old, c, e) < 0)
		return -1;
	w.modified_ms = host_wall_ms();
	if (write_object(u, f, v, &old, &w, e) < 0 || files_commit(f, v, e) < 0)
		return -1;
	object_write_info(f, v, &w, out);
	return 0;
}

/* --- copies --- */

static int
copy_bytes(struct upload *u, struct object *from, uint64_t offset, uint64_t n, struct err *e)
{
	_cleanup_(freep) uint8_t *piece = malloc(COPY_BYTES);

	if (!piece)
		return err_set(e, ERR_MEMORY, "copy: no memory");
	while (n) {
		ssize_t r = object_read(
		    from, offset, piece, n < COPY_BYTES ? (size_t)n : COPY_BYTES, e);

		if (r < 0)
			return -1;
		if (r == 0)
			return err_set(e, ERR_FORGED, "an object is shorter than its row says");
		if (upload_add(u, piece, (size_t)r, e) < 0)
			return -1;
		offset += (uint64_t)r;
		n -= (uint64_t)r;
	}
	return upload_settle(u, e);
}

struct upload *
files_copy_begin(struct files *f, struct object *from, uint64_t offset, uint64_t n,
    const char *to_bucket, struct err *e)
{
	_cleanup_(upload_closep) struct upload *u = upload_begin(f, to_bucket, e);
	uint64_t size = object_info(from)->size;

	if (!u)
		return NULL;
	if (n == UINT64_MAX && offset <= size)
		n = size - offset;
	if (offset > size || n > size - offset) {
		err_set(e, ERR_BAD, "the range is not within the source's %llu bytes",
		    (unsigned long long)size);
		return NULL;
	}
	if (files_check_room(f, n, e) < 0)
		return NULL;
	return copy_bytes(u, from, offset, n, e) < 0 ? NULL : take(&u);
}
