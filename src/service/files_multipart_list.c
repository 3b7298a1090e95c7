/* files_multipart_list.c - what uploads in parts are under way. See files.h. */
#include "service/files_internal.h"

#include <string.h>

/* The vault, and the upload in it; its headers are the caller's to free, also if it is not there. */
static struct vault *
take_upload(struct files *f, const char *bucket, const char *key, const char *upload_id,
    struct upload_row *out, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);

	*out = (struct upload_row){ .headers = BUF_INIT(0) };
	if (!v)
		return NULL;
	files_wait_for(f, vault_ticket(v));
	return upload_row_find(v, bucket, key, upload_id, out, e) < 0 ? NULL : take(&v);
}

int
multipart_headers(struct files *f, const char *bucket, const char *key, const char *upload_id,
    struct buf *headers, struct err *e)
{
	struct upload_row r;
	_cleanup_(pool_givep) struct vault *v = take_upload(f, bucket, key, upload_id, &r, e);

	if (v)
		buf_add(headers, r.headers.data, r.headers.len);
	buf_free(&r.headers);
	return v ? buf_check(headers, e) : -1;
}

static int
tell_about(struct files *f, struct vault *v, const char *key, const struct upload_row *r,
    struct multipart_about *out, struct err *e)
{
	if (!out)
		return 0;
	buf_add(&out->headers, r->headers.data, r->headers.len);
	if (buf_check(&out->headers, e) < 0)
		return -1;
	return rules_upload_end(f, v, r->bucket, key, r->started_ms, &out->end, e);
}

int
multipart_parts(struct files *f, const char *bucket, const char *key, const char *upload_id,
    unsigned after, unsigned max, struct part_info *out, bool *more, struct multipart_about *about,
    struct err *e)
{
	struct upload_row r;
	_cleanup_(pool_givep) struct vault *v = take_upload(f, bucket, key, upload_id, &r, e);
	struct query *q;
	unsigned n = 0;
	int step = v ? tell_about(f, v, key, &r, about, e) : -1;

	buf_free(&r.headers);
	if (step < 0)
		return -1;
	q = vault_query(v,
	    "SELECT number,size,modified_ms,etag,line FROM part WHERE body=?1 AND number>?2"
	    " ORDER BY number");
	query_int(q, 1, r.body);
	query_int(q, 2, after);
	while ((step = query_step(q, e)) == 1 && n < max)
		out[n++] = part_of_row(q, 0);
	query_end(q);
	*more = max && step == 1;
	return step < 0 ? -1 : (int)n;
}

/* Tell the row that Q stands on if its key has the prefix: 1; 2: FN wants no more; 0: past the prefix;
 * -1. */
static int
tell_upload(struct query *q, const char *prefix, multipart_fn *fn, void *arg, struct err *e)
{
	struct span key = column_blob(q, 0), id = column_blob(q, 1);
	char name[FILES_KEY_MAX + 1], text[2 * UPLOAD_ID_BYTES + 1];
	int told;

	if (key.len > FILES_KEY_MAX || id.len != UPLOAD_ID_BYTES)
		return err_set(e, ERR_FORGED, "an upload's row is damaged");
	memcpy(name, key.data, key.len);
	name[key.len] = '\0';
	if (strncmp(name, prefix, strlen(prefix)))
		return 0;
	hex_text(id.data, id.len, text);
	told = fn(arg, name, text, (uint64_t)column_int(q, 2), column_blob(q, 3), e);
	return told < 0 ? -1 : told + 1;
}

int
multipart_list(struct files *f, const char *bucket, const char *prefix, const char *after_key,
    const char *after_id, bool *more, multipart_fn *fn, void *arg, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);
	/* Behind every id unless one is named: then the uploads of AFTER_KEY itself go on. */
	uint8_t id[UPLOAD_ID_BYTES + 1];
	size_t id_len = sizeof(id);
	const char *from = strcmp(after_key, prefix) < 0 ? prefix : after_key;
	struct query *q;
	int64_t number;
	int step, told = 1;

	memset(id, 0xff, sizeof(id));
	if (from == prefix && strcmp(after_key, prefix))
		id_len = 0;
	else if (hex_parse(after_id, id, UPLOAD_ID_BYTES))
		id_len = UPLOAD_ID_BYTES;
	if (!v)
		return -1;
	files_wait_for(f, vault_ticket(v));
	if (files_bucket_id(v, bucket, &number, e) < 0)
		return -1;
	q = vault_query(v,
	    "SELECT key,id,started_ms,headers FROM upload WHERE bucket=?1 AND (key,id)>(?2,?3)"
	    " ORDER BY key,id");
	query_int(q, 1, number);
	query_blob(q, 2, from, strlen(from));
	query_blob(q, 3, id, id_len);
	while (told == 1 && (step = query_step(q, e)) == 1)
		told = tell_upload(q, prefix, fn, arg, e);
	*more = told == 2;
	query_end(q);
	return told < 0 || step < 0 ? -1 : 0;
}
