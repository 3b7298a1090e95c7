/* files_internal.h - what the files_*.c share: the vault of a bucket, an object's row, its content.
 *
 * The tables are in vault/schema.c. An object's content is one of three kinds:
 *   inline   the bytes themselves, at most CONTENT_INLINE, in body.content
 *   chunks   references to chunks, REF_BYTES each, in body.chunks
 *   parts    as multipart uploads leave it: the rows of `part` in order of their numbers, each of
 *            them inline or chunks likewise. Only the last of an object's parts can be inline.
 */
#pragma once
#include "base/crypto.h"
#include "service/files.h"
#include "vault/pool.h"

enum content_kind { KIND_INLINE, KIND_CHUNKS, KIND_PARTS };

#define REF_BYTES  (CHUNK_NAME_BYTES + 8 + SHA256_BYTES)
#define ETAG_BYTES (MD5_BYTES + 2) /* MD5; multipart: the number of parts too (big-endian) */
#define NO_BUCKET  "no such bucket"

/* --- files_bucket.c --- */

/* The vault of a service, or NULL: ERR_CONSENT; ERR_BUSY, then perhaps f->would_block. */
must_check
struct vault *files_take(struct files *f, enum service s, struct err *e);
/* ERR_CONSENT if S is not granted. */
must_check
int files_granted(const struct files *f, enum service s, struct err *e);
/* vault_begin for what needs room; ERR_FULL. Refused here, the vault stays open; a commit that fails
 * closes it. */
must_check
int files_begin(struct files *f, struct vault *v, struct err *e);
/* The answer has to wait for TICKET. */
void files_wait_for(struct files *f, uint64_t ticket);
/* Commit, and wait for it in F. */
must_check
int files_commit(struct files *f, struct vault *v, struct err *e);
/* 1 to FILES_KEY_MAX bytes: ERR_BAD, ERR_TOO_BIG. */
must_check
int files_key_check(const char *key, struct err *e);
/* The bucket's number in V; ERR_MISSING. */
must_check
int files_bucket_id(struct vault *v, const char *bucket, int64_t *id, struct err *e);

/* --- files_object.c --- */

/* A key as it is before a change. */
struct object_row {
	int64_t bucket;
	enum files_versioning versioning;
	bool has_lock;  /* the bucket is one for locks */
	bool has_rules; /* the bucket has lifecycle rules */
	bool exists;
	int64_t seq; /* of the current object; see files_version.c */
	bool is_null;
	struct files_lock lock;
	enum content_kind kind;
	int64_t body;
	uint8_t etag[ETAG_BYTES];
	size_t etag_len;
};

/* ERR_MISSING: no such bucket. */
must_check
int object_row_find(
    struct vault *v, const char *bucket, const char *key, struct object_row *out, struct err *e);
/* ERR_STALE unless C (NULL is fine) holds for the row. */
must_check
int object_row_meets(const struct object_row *r, const struct files_condition *c, struct err *e);
struct object_write {
	const char *key;
	uint64_t size;
	uint64_t modified_ms;
	const uint8_t *etag;
	size_t etag_len;
	enum content_kind kind;
	int64_t body; /* 0: the row of `body` that was inserted last */
	/* These four from version_make_way. */
	int64_t seq;
	bool is_null, is_versioned;
	int64_t rules_bucket;   /* the bucket if it has lifecycle rules, or 0 */
	struct files_lock lock; /* as lock_of_write says */
	const char *headers;
	size_t headers_len;
};
/* What is told of W once it is committed. */
void object_write_info(
    const struct files *f, struct vault *v, const struct object_write *w, struct object_info *out);
must_check
int object_row_write(struct vault *v, int64_t bucket, const struct object_write *w, struct err *e);
/* Remove the row of R, with all its content. */
must_check
int object_row_remove(struct vault *v, const struct object_row *r, const char *key, struct err *e);
/* The parts of O, whose content is the row BODY of KIND_PARTS. */
must_check
int object_read_parts(struct vault *v, struct object *o, int64_t body, struct err *e);
/* What a part is: columns I (number), size, modified_ms, etag, line of Q. */
struct part_info part_of_row(struct query *q, int i);
/* The object of the row that Q stands on: columns kind, size, modified_ms, etag, headers, body, and
 * with content body.content, body.chunks. */
must_check
struct object *object_of_query(struct vault *v, struct query *q, bool with_content, struct err *e);
struct object_info *object_info_to_fill(struct object *o);
/* What object_keep was told of the current object of KEY in this version of the vault, for the caller to
 * close; or NULL. */
must_check
struct object *object_kept(struct vault *v, const char *bucket, const char *key);
/* O, with its content, is read from V just now: spare the next ones the reading. It must not change any
 * more. */
void object_keep(struct vault *v, const char *bucket, const char *key, struct object *o);

/* Remove a row of `body` with its parts; their chunks go with it. */
must_check
int body_drop(struct vault *v, enum content_kind kind, int64_t body, struct err *e);
/* Only what it refers to: chunks and parts; the row stays, to be written anew. */
must_check
int body_empty(struct vault *v, enum content_kind kind, int64_t body, struct err *e);
/* Drop the chunks of a list of references. */
must_check
int refs_drop(struct vault *v, struct span refs, struct err *e);

void refs_write(struct buf *out, const struct chunk_ref *refs, size_t n);
/* Append the references in DATA to OUT (of struct chunk_ref), adding their bytes to *BYTES. */
must_check
int refs_read(struct span data, struct buf *out, uint64_t *bytes, struct err *e);

/* "<32 hex>" or "<32 hex>-<parts>"; nothing for a length that is neither. */
void etag_text(const uint8_t *etag, size_t n, char out[static 64]);

/* --- files_version.c --- */

/* The id's text: of SEQ, or "null". */
void version_text(int64_t seq, bool is_null, char out[static FILES_VERSION_SIZE]);
/* Before KEY's row is written anew: what the bucket keeps goes aside, and R says that it is gone
 * (or, without versions, is as it was: then its row of `body` may be used again). W gets the
 * four below. */
must_check
int version_make_way(struct vault *v, struct object_row *r, struct object_write *w, struct err *e);
/* Whether the bucket keeps what R is about when its key is written anew. */
bool version_is_kept(const struct object_row *r);
/* The seq of VERSION, for what comes after it. A null version that has gone meanwhile tells nothing: then
 * the highest there is, so that nothing is left out. ERR_BAD. */
must_check
int version_seq(struct vault *v, int64_t bucket, const char *key, const char *version, int64_t *seq,
    struct err *e);
/* 1: some version or marker of the bucket is aside; 0; -1. */
must_check
int version_any(struct vault *v, int64_t bucket, struct err *e);

/* One of files_remove_many, within a transaction; *CHANGED is set if something is different now. */
must_check
int removal_run(struct files *f, struct vault *v, const char *bucket, struct removal *r,
    bool *changed, struct err *e);

/* --- files_setting.c: within a transaction, or for reading --- */

/* 1: the setting NAME of BUCKET is appended to OUT; 0: there is none; -1. */
must_check
int setting_read(struct vault *v, int64_t bucket, const char *name, struct buf *out, struct err *e);
must_check
int setting_write(
    struct vault *v, int64_t bucket, const char *name, struct span value, struct err *e);

must_check
int setting_forget(struct vault *v, int64_t bucket, const char *name, struct err *e);

/* --- files_rules.c --- */

/* How long a day of lifecycle rules is. */
uint64_t rules_day_ms(const struct node *n);
/* When the rules of BUCKET remove the current object KEY, with HEADERS, as things are: into I, which has its
 * size and time. */
must_check
int rules_expiry(const struct files *f, struct vault *v, int64_t bucket, const char *key,
    struct span headers, struct object_info *i, struct err *e);
/* The same of an upload of KEY that began at that time. */
must_check
int rules_upload_end(const struct files *f, struct vault *v, int64_t bucket, const char *key,
    uint64_t started_ms, struct multipart_end *out, struct err *e);
/* What follows START in the first of LINES that begins with it. */
struct span line_of(struct span lines, const char *start);

/* --- files_lock.c --- */

/* Beside the mode in the column `lock`. */
#define LOCK_HELD 4
#define LOCK_SAID 8 /* has_hold */

/* From the columns I (lock) and I + 1 (retain_ms) of Q, and back. */
struct files_lock lock_column(struct query *q, int i);
void lock_bind(struct query *q, int i, const struct files_lock *l);
/* What the object being written is locked with: ASKED, or without it what the bucket says. ERR_BAD. */
must_check
int lock_of_write(struct vault *v, const struct object_row *r, const struct files_lock *asked,
    struct files_lock *out, struct err *e);
/* The clock's time, unless it was put forward since we first looked: what goes when its time has come
 * asks this. */
uint64_t files_clock_ms(void);
/* ERR_DENIED while L keeps a version from being removed. */
must_check
int lock_allows_removal(const struct files_lock *l, bool may_bypass, struct err *e);

/* Where VERSION (NULL: the current one) of KEY lies: in `object` or aside, with which seq. */
struct version_place {
	int64_t bucket;
	int64_t seq;
	bool is_aside, is_marker;
	char version[FILES_VERSION_SIZE]; /* "" if the bucket never had versions */
};
/* In files_version.c. ERR_MISSING and *WHY; ERR_BAD. */
must_check
int version_place(struct vault *v, const char *bucket, const char *key, const char *version,
    struct version_place *out, struct object_absence *why, struct err *e);

/* --- files_usage.c: within a transaction, or for reading --- */

must_check
int usage_read(struct vault *v, struct files_usage *out, struct err *e);

/* --- files_quota.c --- */

/* ERR_QUOTA if the transaction of V, begun with files_begin, adds and is past a limit. Once: files_commit
 * does not look again. */
must_check
int quota_allows(struct files *f, struct vault *v, struct err *e);

/* --- files_digest.c: MD5 of a body, beside the caller's thread once the body is large --- */

struct digest;
must_check
struct digest *digest_open(struct err *e);
void digest_add(struct digest *d, const void *p, size_t n);
/* Of what came so far. ERR_MEMORY. */
must_check
int digest_now(struct digest *d, uint8_t out[static MD5_BYTES], struct err *e);
void digest_close(struct digest *d);
CLEANUP(struct digest, digest_close)

/* --- files_upload.c --- */

struct upload {
	struct files *files; /* borrowed from upload_begin */
	char bucket[FILES_BUCKET_MAX + 1];
	enum service service;
	struct buf small; /* the body while it is at most CONTENT_INLINE */
	/* From then on: */
	struct digest *digest;
	struct content_out *out;
	struct content_key *key;
	struct chunk_ref *refs; /* once settled */
	size_t n_refs;
	struct content_in *in; /* for upload_read once settled */
	struct files_lock lock;
	bool has_lock;              /* it was asked for */
	char line[FILES_LINE_SIZE]; /* of a part */
	bool is_settled;
	bool is_committed; /* the chunks are the vault's, or may be */
};

/* The kind of the body's content, and what belongs into its row; DATA lives as long as
 * TEXT. ERR_INTERNAL: it was not settled. */
must_check
int upload_content(
    struct upload *u, struct buf *text, enum content_kind *kind, struct span *data, struct err *e);
/* Put the chunks into the transaction, just before its end. ERR_QUOTA: they are not. */
must_check
int upload_hand_over(struct upload *u, struct files *f, struct vault *v, struct err *e);

/* --- files_multipart.c --- */

#define UPLOAD_ID_BYTES 16

struct upload_row {
	int64_t bucket;
	uint8_t id[UPLOAD_ID_BYTES];
	int64_t body;
	uint64_t started_ms;
	struct files_lock lock;
	bool has_lock;
	struct buf headers; /* the caller's to free, whatever happens */
};

/* ERR_MISSING: no such bucket, or upload; R->bucket is set in the second case. */
must_check
int upload_row_find(struct vault *v, const char *bucket, const char *key, const char *upload_id,
    struct upload_row *r, struct err *e);
/* Remove an upload with its parts, within a transaction. ERR_MISSING: no such bucket, or upload. */
must_check
int upload_remove(
    struct vault *v, const char *bucket, const char *key, const char *upload_id, struct err *e);
