/* files_multipart.c - uploads in parts. See files.h, files_internal.h.
 *
 * An upload has a row of `body` from its beginning, and its parts refer to that. Completing it hangs
 * that row below the object: no part is written again, however large it is.
 */
#include "service/files_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"

#define PART_MIN      ((uint64_t)5 << 20)
/* How many completed uploads a vault remembers, so that completing twice gives the same answer. */
#define COMPLETED_MAX 100
#define ID_TIME_BYTES 6 /* of an upload's id */

static int
no_upload(struct err *e)
{
	return err_set(e, ERR_MISSING, "no such upload");
}

int
upload_row_find(struct vault *v, const char *bucket, const char *key, const char *upload_id,
    struct upload_row *r, struct err *e)
{
	struct query *q;
	int step;

	if (files_bucket_id(v, bucket, &r->bucket, e) < 0)
		return -1;
	if (!hex_parse(upload_id, r->id, sizeof(r->id)))
		return no_upload(e);
	q = vault_query(v,
	    "SELECT body,headers,lock,retain_ms,started_ms FROM upload"
	    " WHERE bucket=?1 AND key=?2 AND id=?3");
	query_int(q, 1, r->bucket);
	query_blob(q, 2, key, strlen(key));
	query_blob(q, 3, r->id, sizeof(r->id));
	step = query_step(q, e);
	if (step == 1) {
		struct span headers = column_blob(q, 1);

		r->body = column_int(q, 0);
		r->has_lock = !column_is_null(q, 2);
		r->lock = lock_column(q, 2);
		r->started_ms = (uint64_t)column_int(q, 4);
		if (headers.len)
			buf_add(&r->headers, headers.data, headers.len);
	}
	query_end(q);
	if (step == 0)
		return no_upload(e);
	return step < 0 || buf_check(&r->headers, e) < 0 ? -1 : 0;
}

static int
forget_upload(struct vault *v, const struct upload_row *r, const char *key, struct err *e)
{
	struct query *q = vault_query(v, "DELETE FROM upload WHERE bucket=?1 AND key=?2 AND id=?3");

	query_int(q, 1, r->bucket);
	query_blob(q, 2, key, strlen(key));
	query_blob(q, 3, r->id, sizeof(r->id));
	return query_run(q, e);
}

/* --- beginning, parts, giving up --- */

/* S3 lists the uploads of a key in the order that they were begun: so the time comes first. */
static void
new_upload_id(uint64_t now_ms, uint8_t id[static UPLOAD_ID_BYTES])
{
	host_random(id, UPLOAD_ID_BYTES);
	for (size_t i = 0; i < ID_TIME_BYTES; i++)
		id[i] = (uint8_t)(now_ms >> 8 * (ID_TIME_BYTES - 1 - i));
}

int
multipart_begin(struct files *f, const char *bucket, const char *key, const char *headers,
    const struct files_lock *lock, char upload_id[static 33], struct multipart_end *end,
    struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = NULL;
	uint8_t id[UPLOAD_ID_BYTES];
	uint64_t now_ms = host_wall_ms();
	struct files_lock locked;
	struct object_row row;
	struct query *q;

	if (files_key_check(key, e) < 0)
		return -1;
	if (headers && strnlen(headers, FILES_HEADERS_MAX + 1) > FILES_HEADERS_MAX)
		return err_set(
		    e, ERR_TOO_BIG, "an object's headers have at most %d bytes", FILES_HEADERS_MAX);
	v = files_take(f, files_bucket_service(bucket), e);
	if (!v || files_begin(f, v, e) < 0)
		return -1;
	files_wait_for(f, vault_ticket(v));
	if (object_row_find(v, bucket, key, &row, e) < 0 ||
	    lock_of_write(v, &row, lock, &locked, e) < 0 ||
	    query_run(vault_query(v, "INSERT INTO body(content) VALUES(NULL)"), e) < 0)
		return -1;
	new_upload_id(now_ms, id);
	q = vault_query(v,
	    "INSERT INTO upload(bucket,key,id,body,started_ms,headers,lock,retain_ms)"
	    " VALUES(?1,?2,?3,last_insert_rowid(),?4,?5,?6,?7)");
	query_int(q, 1, row.bucket);
	query_blob(q, 2, key, strlen(key));
	query_blob(q, 3, id, sizeof(id));
	query_int(q, 4, (int64_t)now_ms);
	if (headers && *headers)
		query_blob(q, 5, headers, strlen(headers));
	if (lock)
		lock_bind(q, 6, lock);
	if (end) /* without it the upload is there all the same */
		(void)!rules_upload_end(f, v, row.bucket, key, now_ms, end, NULL);
	if (query_run(q, e) < 0 || files_commit(f, v, e) < 0)
		return -1;
	hex_text(id, sizeof(id), upload_id);
	return 0;
}

/* Remove part NUMBER of BODY if there is one. */
static int
drop_part(struct vault *v, int64_t body, unsigned number, struct err *e)
{
	struct query *q = vault_query(v, "SELECT chunks FROM part WHERE body=?1 AND number=?2");
	int r;

	query_int(q, 1, body);
	query_int(q, 2, number);
	r = query_step(q, e);
	if (r == 1 && refs_drop(v, column_blob(q, 0), e) < 0)
		r = -1;
	query_end(q);
	if (r <= 0)
		return r;
	q = vault_query(v, "DELETE FROM part WHERE body=?1 AND number=?2");
	query_int(q, 1, body);
	query_int(q, 2, number);
	return query_run(q, e);
}

static int
write_part(struct upload *u, struct files *f, struct vault *v, int64_t body, unsigned number,
    const uint8_t digest[static MD5_BYTES], uint64_t now_ms, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(0);
	enum content_kind kind;
	struct span data;
	struct query *q;

	if (upload_content(u, &text, &kind, &data, e) < 0 || drop_part(v, body, number, e) < 0)
		return -1;
	q = vault_query(v,
	    "INSERT INTO part(body,number,size,etag,modified_ms,chunks,content,line)"
	    " VALUES(?1,?2,?3,?4,?5,?6,?7,?8)");
	query_int(q, 1, body);
	query_int(q, 2, number);
	query_int(q, 3, (int64_t)upload_bytes(u));
	query_blob(q, 4, digest, MD5_BYTES);
	query_int(q, 5, (int64_t)now_ms);
	query_blob(q, kind == KIND_CHUNKS ? 6 : 7, data.data, data.len);
	if (u->line[0])
		query_blob(q, 8, u->line, strlen(u->line));
	if (query_run(q, e) < 0)
		return -1;
	return upload_hand_over(u, f, v, e);
}

int
upload_part(struct upload *u, struct files *f, const char *key, const char *upload_id,
    unsigned number, struct object_info *out, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = NULL;
	struct upload_row r = { .headers = BUF_INIT(0) };
	uint8_t digest[MD5_BYTES];
	uint64_t now_ms = host_wall_ms();
	int found;

	if (number < 1 || number > FILES_PART_MAX)
		return err_set(e, ERR_BAD, "a part's number is 1 to %d", FILES_PART_MAX);
	if (upload_md5(u, digest, e) < 0)
		return -1;
	v = files_take(f, u->service, e);
	if (!v || files_begin(f, v, e) < 0)
		return -1;
	files_wait_for(f, vault_ticket(v));
	found = upload_row_find(v, u->bucket, key, upload_id, &r, e);
	buf_free(&r.headers);
	if (found < 0 || write_part(u, f, v, r.body, number, digest, now_ms, e) < 0 ||
	    files_commit(f, v, e) < 0)
		return -1;
	*out = (struct object_info){ .size = upload_bytes(u), .modified_ms = now_ms };
	etag_text(digest, sizeof(digest), out->etag);
	return 0;
}

int
upload_remove(
    struct vault *v, const char *bucket, const char *key, const char *upload_id, struct err *e)
{
	struct upload_row r = { .headers = BUF_INIT(0) };
	int found = upload_row_find(v, bucket, key, upload_id, &r, e);

	buf_free(&r.headers);
	if (found < 0 || body_drop(v, KIND_PARTS, r.body, e) < 0)
		return -1;
	return forget_upload(v, &r, key, e);
}

int
multipart_abort(
    struct files *f, const char *bucket, const char *key, const char *upload_id, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);

	if (!v || vault_begin_removal(v, e) < 0)
		return -1;
	files_wait_for(f, vault_ticket(v));
	return upload_remove(v, bucket, key, upload_id, e) < 0 ? -1 : files_commit(f, v, e);
}

/* --- completing --- */

static int
refuse(const char **reason, const char *code, unsigned number, const char *why, struct err *e)
{
	*reason = code;
	return err_set(e, ERR_BAD, "part %u: %s", number, why);
}

static int
check_order(const struct part_info *parts, size_t n, const char **reason, struct err *e)
{
	if (n == 0 || n > FILES_PART_MAX) {
		*reason = "MalformedXML";
		return err_set(e, ERR_BAD, "1 to %d parts have to be named", FILES_PART_MAX);
	}
	for (size_t i = 1; i < n; i++)
		if (parts[i].number <= parts[i - 1].number)
			return refuse(reason, "InvalidPartOrder", parts[i].number,
			    "comes after a higher or equal one", e);
	return 0;
}

/* The parts there are against those that the client names, both in order of their numbers. */
struct matching {
	const struct part_info *parts;
	size_t n, at;
	uint64_t size;
	struct hash *md5; /* over the parts' */
	struct buf left;  /* numbers (unsigned) of parts that were not named */
	const char **reason;
};

/* The row that Q stands on is the next one named. */
static int
match_row(struct matching *m, struct query *q, struct err *e)
{
	const struct part_info *p = &m->parts[m->at];
	const struct part_info is = part_of_row(q, 0);
	struct span md5 = column_blob(q, 3);

	if (strcmp(is.etag, p->etag))
		return refuse(m->reason, "InvalidPart", p->number, "its ETag is another one", e);
	if (p->line[0] && strcmp(is.line, p->line))
		return refuse(m->reason, "InvalidPart", p->number, "it has changed just now", e);
	if (is.size < PART_MIN && m->at + 1 < m->n)
		return refuse(m->reason, "EntityTooSmall", p->number,
		    "only the last part may have less than 5 MiB", e);
	m->size += is.size;
	if (m->size > FILES_OBJECT_MAX)
		return refuse(
		    m->reason, "EntityTooLarge", p->number, "an object has at most 5 TiB", e);
	hash_add(m->md5, md5.data, md5.len);
	m->at++;
	return 0;
}

static int
match_parts(struct vault *v, int64_t body, struct matching *m, struct err *e)
{
	struct query *q = vault_query(
	    v, "SELECT number,size,modified_ms,etag,line FROM part WHERE body=?1 ORDER BY number");
	int r, bad = 0;

	query_int(q, 1, body);
	while (!bad && (r = query_step(q, e)) == 1) {
		unsigned number = (unsigned)column_int(q, 0);

		if (m->at < m->n && m->parts[m->at].number == number)
			bad = match_row(m, q, e);
		else if (m->at < m->n && m->parts[m->at].number < number)
			break;
		else
			buf_add(&m->left, &number, sizeof(number));
	}
	query_end(q);
	if (bad || r < 0 || buf_check(&m->left, e) < 0)
		return -1;
	if (m->at < m->n)
		return refuse(
		    m->reason, "InvalidPart", m->parts[m->at].number, "it was never uploaded", e);
	return 0;
}

static int
drop_unnamed(struct vault *v, int64_t body, const struct matching *m, struct err *e)
{
	for (size_t i = 0; i < m->left.len; i += sizeof(unsigned)) {
		unsigned number;

		memcpy(&number, m->left.data + i, sizeof(number));
		if (drop_part(v, body, number, e) < 0)
			return -1;
	}
	return 0;
}

static int
remember(struct vault *v, const struct upload_row *r, const struct object_write *w, struct err *e)
{
	struct query *q = vault_query(v,
	    "INSERT INTO completed(upload,bucket,key,size,modified_ms,etag)"
	    " VALUES(?1,?2,?3,?4,?5,?6)");

	query_blob(q, 1, r->id, sizeof(r->id));
	query_int(q, 2, r->bucket);
	query_blob(q, 3, w->key, strlen(w->key));
	query_int(q, 4, (int64_t)w->size);
	query_int(q, 5, (int64_t)w->modified_ms);
	query_blob(q, 6, w->etag, w->etag_len);
	if (query_run(q, e) < 0)
		return -1;
	q = vault_query(v, "DELETE FROM completed WHERE seq<=last_insert_rowid()-?1");
	query_int(q, 1, COMPLETED_MAX);
	return query_run(q, e);
}

/* The ETag that an object of the parts that M names has. */
static int
etag_of_list(struct matching *m, char out[static 64], struct err *e)
{
	uint8_t etag[ETAG_BYTES], md5[MD5_BYTES];

	for (size_t i = 0; i < m->n; i++) {
		if (!hex_parse(m->parts[i].etag, md5, sizeof(md5)))
			return refuse(m->reason, "InvalidPart", m->parts[i].number,
			    "that can't be its ETag", e);
		hash_add(m->md5, md5, sizeof(md5));
	}
	hash_end(m->md5, etag);
	etag[MD5_BYTES] = (uint8_t)(m->n >> 8);
	etag[MD5_BYTES + 1] = (uint8_t)m->n;
	etag_text(etag, sizeof(etag), out);
	return 0;
}

/* 1 and *OUT with size, time and ETAG: the upload was completed before; 0: never heard of; -1. */
static int
recall(struct vault *v, const struct upload_row *r, const char *key, struct object_info *out,
    struct buf *etag, struct err *e)
{
	struct query *q = vault_query(v,
	    "SELECT size,modified_ms,etag FROM completed WHERE upload=?1 AND bucket=?2 AND key=?3");
	int step;

	query_blob(q, 1, r->id, sizeof(r->id));
	query_int(q, 2, r->bucket);
	query_blob(q, 3, key, strlen(key));
	step = query_step(q, e);
	if (step == 1) {
		struct span s = column_blob(q, 2);

		*out = (struct object_info){
			.size = (uint64_t)column_int(q, 0),
			.modified_ms = (uint64_t)column_int(q, 1),
		};
		etag_text(s.data, s.len, out->etag);
		buf_add(etag, s.data, s.len);
	}
	query_end(q);
	return step;
}

/* What the object still is that Q looks for by its key, its time and its ETag: 1; 0: not there; -1. */
static int
recall_row(struct query *q, const struct object_row *now, const char *key, struct span etag,
    struct object_info *out, struct err *e)
{
	int step;

	query_int(q, 1, now->bucket);
	query_blob(q, 2, key, strlen(key));
	query_int(q, 3, (int64_t)out->modified_ms);
	query_blob(q, 4, etag.data, etag.len);
	step = query_step(q, e);
	if (step == 1) {
		struct span headers = column_blob(q, 2);

		if (now->versioning != VERSIONING_OFF)
			version_text(column_int(q, 0), column_int(q, 1) != 0, out->version);
		if (headers.len)
			buf_add(&out->headers, headers.data, headers.len);
	}
	query_end(q);
	return step == 1 && buf_check(&out->headers, e) < 0 ? -1 : step;
}

/* Its version, headers and expiry, into OUT; nothing if it has gone since. */
static int
recall_object(struct files *f, struct vault *v, const char *bucket, const char *key,
    struct span etag, struct object_info *out, struct err *e)
{
	struct object_row now;
	int found;

	if (object_row_find(v, bucket, key, &now, e) < 0)
		return -1;
	found = recall_row(vault_query(v,
	                       "SELECT seq,is_null,headers FROM object"
	                       " WHERE bucket=?1 AND key=?2 AND modified_ms=?3 AND etag=?4"),
	    &now, key, etag, out, e);
	if (found == 1 && now.has_rules)
		return rules_expiry(f, v, now.bucket, key,
		    (struct span){ out->headers.data, out->headers.len }, out, e);
	if (found != 0)
		return found;
	return recall_row(vault_query(v,
	                      "SELECT seq,is_null,headers FROM version"
	                      " WHERE bucket=?1 AND key=?2 AND modified_ms=?3 AND etag=?4"
	                      " ORDER BY seq DESC LIMIT 1"),
	    &now, key, etag, out, e);
}

/* Everything within the transaction; W has the key, and perhaps headers. */
static int
complete(struct vault *v, const char *bucket, struct upload_row *r, struct matching *m,
    const struct files_condition *c, struct object_write *w, uint8_t etag[static ETAG_BYTES],
    struct err *e)
{
	struct object_row old;

	if (object_row_find(v, bucket, w->key, &old, e) < 0)
		return -1;
	if (object_row_meets(&old, c, e) < 0) {
		*m->reason = e->kind == ERR_MISSING ? "NoSuchKey" : NULL;
		return -1;
	}
	if (match_parts(v, r->body, m, e) < 0 || drop_unnamed(v, r->body, m, e) < 0 ||
	    lock_of_write(v, &old, r->has_lock ? &r->lock : NULL, &w->lock, e) < 0 ||
	    version_make_way(v, &old, w, e) < 0)
		return -1;
	if (old.exists && body_drop(v, old.kind, old.body, e) < 0)
		return -1;
	hash_end(m->md5, etag);
	etag[MD5_BYTES] = (uint8_t)(m->n >> 8);
	etag[MD5_BYTES + 1] = (uint8_t)m->n;
	w->size = m->size;
	w->modified_ms = host_wall_ms();
	w->etag = etag;
	w->etag_len = ETAG_BYTES;
	w->kind = KIND_PARTS;
	w->body = r->body;
	if (!w->headers) {
		w->headers = (const char *)r->headers.data;
		w->headers_len = r->headers.len;
	}
	if (object_row_write(v, r->bucket, w, e) < 0 || forget_upload(v, r, w->key, e) < 0)
		return -1;
	return remember(v, r, w, e);
}

/* UPLOAD_ID is not under way. *OUT if it was completed before, with these parts; else what WHY says. */
static int
complete_again(struct files *f, struct vault *v, const char *bucket, const struct upload_row *r,
    struct matching *m, const char *key, const struct err *why, struct object_info *out,
    struct err *e)
{
	_cleanup_buf_ struct buf etag = BUF_INIT(ETAG_BYTES);
	struct object_info info = { 0 };
	char named[64];
	int known = why->kind == ERR_MISSING && r->bucket ? recall(v, r, key, &info, &etag, e) : 0;

	files_wait_for(f, vault_ticket(v));
	if (known < 0)
		return -1;
	if (known == 0)
		return err_set(e, why->kind, "%s", why->text);
	if (buf_check(&etag, e) < 0 || etag_of_list(m, named, e) < 0)
		return -1;
	if (strcmp(named, info.etag) != 0)
		return refuse(m->reason, "InvalidPart", m->parts[0].number,
		    "the upload was completed with other parts", e);
	if (recall_object(f, v, bucket, key, (struct span){ etag.data, etag.len }, &info, e) < 0) {
		object_info_free(&info);
		return -1;
	}
	*out = info;
	return 0;
}

static int
complete_taken(struct files *f, struct vault *v, const char *bucket, struct upload_row *r,
    struct matching *m, const char *key, const struct files_condition *c, const char *headers,
    struct object_info *out, struct err *e)
{
	struct object_write w = { .key = key, .headers = headers };
	uint8_t etag[ETAG_BYTES];

	w.headers_len = headers ? strlen(headers) : 0;
	if (complete(v, bucket, r, m, c, &w, etag, e) < 0 || files_commit(f, v, e) < 0)
		return -1;
	object_write_info(f, v, &w, out);
	return 0;
}

int
multipart_complete(struct files *f, const char *bucket, const char *key, const char *upload_id,
    const struct part_info *parts, size_t n, const struct files_condition *c, const char *headers,
    struct object_info *out, const char **reason, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = NULL;
	_cleanup_(hash_closep) struct hash *md5 = NULL;
	struct upload_row r = { .headers = BUF_INIT(0) };
	struct matching m = { .parts = parts, .n = n, .left = BUF_INIT(0), .reason = reason };
	struct err why = { .kind = ERR_NONE };
	int result;

	*reason = NULL;
	if (check_order(parts, n, reason, e) < 0)
		return -1;
	m.md5 = md5 = hash_open(HASH_MD5, e);
	if (!md5)
		return -1;
	v = files_take(f, files_bucket_service(bucket), e);
	if (!v || files_begin(f, v, e) < 0)
		return -1;
	files_wait_for(f, vault_ticket(v));
	if (upload_row_find(v, bucket, key, upload_id, &r, &why) < 0)
		result = complete_again(f, v, bucket, &r, &m, key, &why, out, e);
	else
		result = complete_taken(f, v, bucket, &r, &m, key, c, headers, out, e);
	buf_free(&r.headers);
	buf_free(&m.left);
	return result;
}
