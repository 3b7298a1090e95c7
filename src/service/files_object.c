/* files_object.c - objects: their rows, reading and removing them. See files.h, files_internal.h. */
#include "service/files_internal.h"
#include "vault/memo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct object {
	struct memo_value memo; /* counts who has it: what lies in the vault is shared */
	struct object_info info;
	struct content_in *in; /* what lies in chunks; NULL: nothing does */
	uint64_t chunked;      /* bytes of it */
	struct buf parts;      /* of struct part_info */
	size_t tail_len;
	uint8_t tail[]; /* what lies in the vault, copied: comes after the chunks */
};

/* --- etags and references --- */

void
etag_text(const uint8_t *etag, size_t n, char out[static 64])
{
	*out = '\0';
	if (n != MD5_BYTES && n != ETAG_BYTES)
		return;
	hex_text(etag, MD5_BYTES, out);
	if (n == ETAG_BYTES)
		snprintf(out + 2 * MD5_BYTES, 64 - 2 * MD5_BYTES, "-%u",
		    (unsigned)etag[MD5_BYTES] << 8 | etag[MD5_BYTES + 1]);
}

void
refs_write(struct buf *out, const struct chunk_ref *refs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		buf_add(out, refs[i].name, sizeof(refs[i].name));
		put_u64(out, refs[i].bytes);
		buf_add(out, refs[i].digest, sizeof(refs[i].digest));
	}
}

int
refs_read(struct span data, struct buf *out, uint64_t *bytes, struct err *e)
{
	struct reader r = READER(data.data, data.len);

	if (data.len % REF_BYTES)
		return err_set(e, ERR_FORGED, "a list of chunks is damaged");
	while (r.left) {
		struct chunk_ref ref;

		read_copy(&r, ref.name, sizeof(ref.name));
		ref.bytes = read_u64(&r);
		read_copy(&r, ref.digest, sizeof(ref.digest));
		buf_add(out, &ref, sizeof(ref));
		*bytes += ref.bytes;
	}
	return buf_check(out, e);
}

int
refs_drop(struct vault *v, struct span refs, struct err *e)
{
	for (; refs.len >= REF_BYTES; refs.data += REF_BYTES, refs.len -= REF_BYTES)
		if (vault_drop_chunk(v, refs.data, e) < 0)
			return -1;
	return 0;
}

/* --- rows --- */

int
object_row_find(
    struct vault *v, const char *bucket, const char *key, struct object_row *out, struct err *e)
{
	struct query *q = vault_query(v,
	    "SELECT b.id,o.kind,o.body,o.etag,b.versioning,o.seq,o.is_null,b.has_lock,"
	    "o.lock,o.retain_ms,b.has_rules FROM bucket b"
	    " LEFT JOIN object o ON o.bucket=b.id AND o.key=?2 WHERE b.name=?1");
	struct object_row row = { .bucket = 0 };
	int r;

	query_text(q, 1, bucket, strlen(bucket));
	query_blob(q, 2, key, strlen(key));
	r = query_step(q, e);
	if (r == 1) {
		struct span etag = column_blob(q, 3);

		row.bucket = column_int(q, 0);
		row.exists = !column_is_null(q, 2);
		row.kind = (enum content_kind)column_int(q, 1);
		row.body = column_int(q, 2);
		row.versioning = (enum files_versioning)column_int(q, 4);
		row.seq = column_int(q, 5);
		row.is_null = column_int(q, 6) != 0;
		row.has_lock = column_int(q, 7) != 0;
		row.lock = lock_column(q, 8);
		row.has_rules = column_int(q, 10) != 0;
		row.etag_len = etag.len <= ETAG_BYTES ? etag.len : 0;
		if (row.etag_len)
			memcpy(row.etag, etag.data, row.etag_len);
		*out = row;
	}
	query_end(q);
	if (r == 0)
		return err_set(e, ERR_MISSING, NO_BUCKET);
	return r == 1 ? 0 : -1;
}

static bool
names_etag(const char *wanted, const char *etag)
{
	return strcmp(wanted, "*") == 0 || strcmp(wanted, etag) == 0;
}

int
object_row_meets(const struct object_row *r, const struct files_condition *c, struct err *e)
{
	char etag[64] = "";

	if (!c)
		return 0;
	if (r->exists)
		etag_text(r->etag, r->etag_len, etag);
	if (c->if_match && !r->exists)
		return err_set(e, ERR_MISSING, "there is no object for If-Match");
	if (c->if_match && !names_etag(c->if_match, etag))
		return err_set(e, ERR_STALE, "the object is not the one that If-Match names");
	if (c->if_none_match && r->exists && names_etag(c->if_none_match, etag))
		return err_set(e, ERR_STALE, "the object is one that If-None-Match excludes");
	return 0;
}

int
object_row_write(struct vault *v, int64_t bucket, const struct object_write *w, struct err *e)
{
	struct query *q = vault_query(v,
	    "INSERT INTO object(bucket,key,size,etag,modified_ms,body,kind,headers,seq,is_null,"
	    "lock,retain_ms) VALUES(?1,?2,?3,?4,?5,coalesce(?6,last_insert_rowid()),?7,?8,?9,?10,"
	    "?11,?12) ON CONFLICT(bucket,key) DO UPDATE SET size=excluded.size,etag=excluded.etag,"
	    "modified_ms=excluded.modified_ms,body=excluded.body,kind=excluded.kind,"
	    "headers=excluded.headers,seq=excluded.seq,is_null=excluded.is_null,"
	    "lock=excluded.lock,retain_ms=excluded.retain_ms");

	query_int(q, 1, bucket);
	query_blob(q, 2, w->key, strlen(w->key));
	query_int(q, 3, (int64_t)w->size);
	query_blob(q, 4, w->etag, w->etag_len);
	query_int(q, 5, (int64_t)w->modified_ms);
	if (w->body)
		query_int(q, 6, w->body);
	query_int(q, 7, w->kind);
	if (w->headers_len)
		query_blob(q, 8, w->headers, w->headers_len);
	query_int(q, 9, w->seq);
	query_int(q, 10, w->is_null);
	lock_bind(q, 11, &w->lock);
	return query_run(q, e);
}

void
object_write_info(
    const struct files *f, struct vault *v, const struct object_write *w, struct object_info *out)
{
	*out = (struct object_info){ .size = w->size, .modified_ms = w->modified_ms };
	etag_text(w->etag, w->etag_len, out->etag);
	if (w->is_versioned)
		version_text(w->seq, w->is_null, out->version);
	/* Without it the object is there all the same. */
	if (w->rules_bucket)
		(void)!rules_expiry(f, v, w->rules_bucket, w->key,
		    (struct span){ (const uint8_t *)w->headers, w->headers_len }, out, NULL);
}

int
object_row_remove(struct vault *v, const struct object_row *r, const char *key, struct err *e)
{
	struct query *q;

	if (body_drop(v, r->kind, r->body, e) < 0)
		return -1;
	q = vault_query(v, "DELETE FROM object WHERE bucket=?1 AND key=?2");
	query_int(q, 1, r->bucket);
	query_blob(q, 2, key, strlen(key));
	return query_run(q, e);
}

/* Drop the chunks that the rows refer to. */
static int
drop_listed(struct vault *v, struct query *q, struct err *e)
{
	int r;

	while ((r = query_step(q, e)) == 1)
		if (refs_drop(v, column_blob(q, 0), e) < 0)
			break;
	query_end(q);
	return r == 0 ? 0 : -1;
}

int
body_empty(struct vault *v, enum content_kind kind, int64_t body, struct err *e)
{
	struct query *q;

	if (kind == KIND_INLINE)
		return 0;
	q = kind == KIND_PARTS ? vault_query(v, "SELECT chunks FROM part WHERE body=?1")
	                       : vault_query(v, "SELECT chunks FROM body WHERE id=?1");
	query_int(q, 1, body);
	if (drop_listed(v, q, e) < 0)
		return -1;
	if (kind != KIND_PARTS)
		return 0;
	q = vault_query(v, "DELETE FROM part WHERE body=?1");
	query_int(q, 1, body);
	return query_run(q, e);
}

int
body_drop(struct vault *v, enum content_kind kind, int64_t body, struct err *e)
{
	struct query *q;

	if (body_empty(v, kind, body, e) < 0)
		return -1;
	q = vault_query(v, "DELETE FROM body WHERE id=?1");
	query_int(q, 1, body);
	return query_run(q, e);
}

/* --- reading --- */

void
object_info_free(struct object_info *i)
{
	buf_free(&i->headers);
	free(i->expires_by);
	i->expires_by = NULL;
}

static void
object_free(struct memo_value *m)
{
	struct object *o = container_of(m, struct object, memo);

	content_in_close(o->in);
	object_info_free(&o->info);
	buf_free(&o->parts);
	free(o);
}

void
object_close(struct object *o)
{
	if (o)
		memo_unref(&o->memo);
}

/* The name of an object among what is kept of its vault: a bucket's name has no NUL. */
struct kept_name {
	size_t n;
	char text[FILES_BUCKET_MAX + 1 + FILES_KEY_MAX];
};

static bool
kept_name(struct kept_name *name, const char *bucket, const char *key)
{
	size_t bucket_len = strnlen(bucket, FILES_BUCKET_MAX + 1);
	size_t key_len = strnlen(key, FILES_KEY_MAX + 1);

	if (bucket_len > FILES_BUCKET_MAX || key_len > FILES_KEY_MAX)
		return false;
	memcpy(name->text, bucket, bucket_len + 1);
	memcpy(name->text + bucket_len + 1, key, key_len);
	name->n = bucket_len + 1 + key_len;
	return true;
}

struct object *
object_kept(struct vault *v, const char *bucket, const char *key)
{
	struct memo_value *m;
	struct kept_name name;

	if (!kept_name(&name, bucket, key))
		return NULL;
	m = vault_memo_find(v, (struct span){ (uint8_t *)name.text, name.n });
	return m ? container_of(m, struct object, memo) : NULL;
}

void
object_keep(struct vault *v, const char *bucket, const char *key, struct object *o)
{
	struct kept_name name;

	/* What lies in chunks is read on and on, by one thread at a time. */
	if (o->in || !kept_name(&name, bucket, key))
		return;
	o->memo.bytes = sizeof(*o) + o->tail_len + o->info.headers.cap;
	vault_memo_keep(v, (struct span){ (uint8_t *)name.text, name.n }, &o->memo);
}

/* An object of the present row of Q, with its inline content if it has CONTENT in a column. */
static struct object *
object_of_row(struct query *q, struct span content, struct err *e)
{
	_cleanup_(object_closep) struct object *o = calloc(1, sizeof(*o) + content.len);
	struct span etag = column_blob(q, 3), headers = column_blob(q, 4);

	if (!o) {
		err_set(e, ERR_MEMORY, "object: no memory");
		return NULL;
	}
	o->memo.refs = 1;
	o->memo.free = object_free;
	o->info.size = (uint64_t)column_int(q, 1);
	o->info.modified_ms = (uint64_t)column_int(q, 2);
	etag_text(etag.data, etag.len, o->info.etag);
	o->info.headers = BUF_INIT(FILES_HEADERS_MAX + 1);
	o->parts = BUF_INIT(FILES_PART_MAX * sizeof(struct part_info));
	if (headers.len)
		buf_add(&o->info.headers, headers.data, headers.len);
	o->tail_len = content.len;
	if (content.len)
		memcpy(o->tail, content.data, content.len);
	if (buf_check(&o->info.headers, e) < 0)
		return NULL;
	return take(&o);
}

static int
open_refs(struct vault *v, struct object *o, const struct buf *refs, struct err *e)
{
	struct content_key *key = vault_content_key(v);

	if (!key)
		return err_set(e, ERR_IO, "the vault's key is gone");
	o->in = content_open(vault_chunks(v), key, (const struct chunk_ref *)refs->data,
	    refs->len / sizeof(struct chunk_ref), e);
	content_key_unref(key);
	return o->in ? 0 : -1;
}

/* The references of every part, then the bytes of the last if it is inline (*O grows by them). */
static int
read_parts(struct vault *v, int64_t body, struct buf *refs, struct object **o, struct err *e)
{
	struct query *q = vault_query(
	    v, "SELECT chunks,content FROM part WHERE body=?1 ORDER BY number");
	int r, bad = 0;

	query_int(q, 1, body);
	while (!bad && (r = query_step(q, e)) == 1) {
		struct span chunks = column_blob(q, 0), data = column_blob(q, 1);

		if ((*o)->tail_len) {
			bad = err_set(e, ERR_FORGED, "a part follows the last one");
		} else if (chunks.len) {
			bad = refs_read(chunks, refs, &(*o)->chunked, e);
		} else if (data.len) {
			struct object *larger = realloc(*o, sizeof(**o) + data.len);

			if (!larger) {
				bad = err_set(e, ERR_MEMORY, "object: no memory");
				continue;
			}
			*o = larger;
			memcpy(larger->tail, data.data, data.len);
			larger->tail_len = data.len;
		}
	}
	query_end(q);
	return bad || r < 0 ? -1 : 0;
}

/* O's content as its row says: of KIND, in row BODY, CHUNKS as that has them. */
static int
open_content(struct vault *v, struct object **o, enum content_kind kind, int64_t body,
    struct span chunks, struct buf *refs, struct err *e)
{
	if (kind == KIND_PARTS && read_parts(v, body, refs, o, e) < 0)
		return -1;
	if (kind == KIND_CHUNKS && refs_read(chunks, refs, &(*o)->chunked, e) < 0)
		return -1;
	if ((*o)->chunked + (*o)->tail_len != (*o)->info.size)
		return err_set(e, ERR_FORGED, "an object's size and content differ");
	return refs->len ? open_refs(v, *o, refs, e) : 0;
}

struct object *
object_of_query(struct vault *v, struct query *q, bool with_content, struct err *e)
{
	_cleanup_(object_closep) struct object *o = NULL;
	_cleanup_buf_ struct buf refs = BUF_INIT(0);
	struct span inside = { NULL, 0 };
	enum content_kind kind = (enum content_kind)column_int(q, 0);

	if (with_content)
		inside = column_blob(q, 6);
	o = object_of_row(q, inside, e);
	if (!o)
		return NULL;
	if (with_content &&
	    open_content(v, &o, kind, column_int(q, 5), column_blob(q, 7), &refs, e) < 0)
		return NULL;
	return take(&o);
}

struct part_info
part_of_row(struct query *q, int i)
{
	struct part_info p = {
		.number = (unsigned)column_int(q, i),
		.size = (uint64_t)column_int(q, i + 1),
		.modified_ms = (uint64_t)column_int(q, i + 2),
	};
	struct span etag = column_blob(q, i + 3), line = column_blob(q, i + 4);

	etag_text(etag.data, etag.len, p.etag);
	if (line.len && line.len < sizeof(p.line))
		memcpy(p.line, line.data, line.len);
	return p;
}

int
object_read_parts(struct vault *v, struct object *o, int64_t body, struct err *e)
{
	struct query *q = vault_query(
	    v, "SELECT number,size,modified_ms,etag,line FROM part WHERE body=?1 ORDER BY number");
	int r;

	query_int(q, 1, body);
	while ((r = query_step(q, e)) == 1) {
		struct part_info p = part_of_row(q, 0);

		buf_add(&o->parts, &p, sizeof(p));
	}
	query_end(q);
	return r < 0 ? -1 : buf_check(&o->parts, e);
}

const struct part_info *
object_parts(const struct object *o, size_t *n)
{
	*n = o->parts.len / sizeof(struct part_info);
	return (const struct part_info *)o->parts.data;
}

struct object_info *
object_info_to_fill(struct object *o)
{
	return &o->info;
}

const struct object_info *
object_info(const struct object *o)
{
	return &o->info;
}

const uint8_t *
object_bytes(const struct object *o, uint64_t offset, size_t n)
{
	if (o->in || offset > o->tail_len || n > o->tail_len - offset)
		return NULL;
	return o->tail + offset;
}

ssize_t
object_read(struct object *o, uint64_t offset, void *p, size_t n, struct err *e)
{
	if (offset >= o->chunked + o->tail_len)
		return 0;
	if (offset < o->chunked)
		return content_read(o->in, offset, p, n, e);
	offset -= o->chunked;
	if (n > o->tail_len - offset)
		n = o->tail_len - offset;
	memcpy(p, o->tail + offset, n);
	return (ssize_t)n;
}
