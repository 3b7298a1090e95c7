/* files.h - buckets and objects of one account, in its vaults of the services files and backup.
 *
 * What S3 (and later WebDAV) share. The caller has passed the gate (homes_enter). Every call says
 * whether it may block: if not, ERR_BUSY with `would_block` set means "do it again on a thread that
 * may". Answers must wait for TICKET to be durable (flusher.h): reads too.
 *
 * Buckets `backup` and `backup-*` belong to the service backup, all others to files; a service that
 * the account has not granted is ERR_CONSENT and the text says how to grant it.
 */
#pragma once
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/frame.h"
#include "service/node.h"
#include "service/quota.h"
#include "service/rules.h"

#define FILES_KEY_MAX     1024
#define FILES_BUCKET_MAX  63
#define FILES_HEADERS_MAX 20480 /* stored headers of an object, all together, its tags too */
#define FILES_PART_MAX    10000
#define FILES_LINE_SIZE   96 /* what is kept with a part, with its NUL */
#define FILES_OBJECT_MAX  ((uint64_t)5 << 40)
#define FILES_PUT_MAX     ((uint64_t)5 << 30)

/* --- how much there is ---
 *
 * Objects are current objects, versions that are kept, delete markers, and uploads under way. Bytes are
 * those of content, parts of unfinished uploads too, and of what is set for buckets. Kept in the vault
 * with each change (vault/schema.c).
 */
struct files_usage {
	uint64_t objects, bytes;
};

/* A change of an account with limits; see files_quota_begin. */
struct quota_pass {
	struct quota_limits limits;
	struct files_usage before; /* of the vault that the transaction is of */
	bool is_adding;            /* it is still to be compared with the limits */
	pthread_mutex_t *lock;
};

struct files {
	struct node *node;
	struct account_id account;
	unsigned services; /* granted mask, from the home record */
	bool may_block;
	bool would_block; /* out */
	uint64_t ticket;  /* out: the highest that the answer must wait for */
	struct quota_pass quota;
};

/* Around what changes an account as its user asks: until files_quota_end what adds is ERR_QUOTA past the
 * account's limits. Without it there are none. Before any of its vaults is taken. */
must_check
int files_quota_begin(struct files *f, struct err *e);
void files_quota_end(struct files *f); /* what was not begun is fine */

/* A place where BYTES are about to be written. */
struct files_place {
	const char *bucket, *key;
	const char *upload_id; /* NULL: an object */
	unsigned part;         /* of the upload */
};
/* ERR_QUOTA if they are more than the account may keep, when what they replace has gone: asked before
 * anything of them is taken; what counts is what the commit finds. What is missing is not told here. */
must_check
int files_check_quota(struct files *f, const struct files_place *to, uint64_t bytes, struct err *e);

/* ERR_FULL if BYTES of content, and what goes with them, are more than there is room for: asked
 * before anything of them is taken. */
must_check
int files_check_room(const struct files *f, uint64_t bytes, struct err *e);

/* SERVICE_BACKUP of "backup" and "backup-*", else SERVICE_FILES; of no name, too. */
enum service files_bucket_service(const char *bucket);
/* S3's rules for names (3-63 of a-z 0-9 . -, ...): ERR_BAD. */
must_check
int files_bucket_check(const char *bucket, struct err *e);

must_check
int files_bucket_create(
    struct files *f, const char *bucket, struct err *e); /* ERR_EXISTS; ERR_TOO_BIG: one too many */
/* The same, made for locks or not, and with VALUE under SETTING (NULL: none). */
must_check
int files_bucket_make(struct files *f, const char *bucket, bool has_lock, const char *setting,
    struct span value, struct err *e);
must_check
int files_bucket_remove(
    struct files *f, const char *bucket, struct err *e); /* ERR_MISSING; ERR_BUSY: not empty */
must_check
int files_bucket_find(struct files *f, const char *bucket, struct err *e); /* ERR_MISSING */
typedef int files_bucket_fn(void *arg, const char *name, uint64_t created_ms, struct err *e);
must_check
int files_buckets(
    struct files *f, files_bucket_fn *fn, void *arg, struct err *e); /* all services, by name */

/* --- versions ---
 *
 * A bucket that was ever VERSIONING_ON keeps what is replaced and removed. A version's id is opaque,
 * 16 hex digits that grow with time within a key; or "null" for what was written without versioning,
 * of which a key has one at most. Removing a key without naming a version puts a delete marker on it.
 */
enum files_versioning { VERSIONING_OFF, VERSIONING_ON, VERSIONING_SUSPENDED };
#define FILES_VERSION_SIZE 17
#define FILES_VERSION_NULL "null"

/* ERR_MISSING: the bucket. */
must_check
int files_versioning(
    struct files *f, const char *bucket, enum files_versioning *out, struct err *e);
/* Never back to VERSIONING_OFF (ERR_BAD). */
must_check
int files_versioning_set(
    struct files *f, const char *bucket, enum files_versioning v, struct err *e);

/* Why there is nothing to open. */
struct object_absence {
	bool is_bucket;                   /* there is no such bucket */
	bool is_marker;                   /* a delete marker stands there */
	bool is_lockless;                 /* of a lock: the bucket was not made for locks */
	char version[FILES_VERSION_SIZE]; /* the marker's */
	uint64_t modified_ms;
};
/* --- locks ---
 *
 * In a bucket made for locks every version may be kept from removal: until a time (retention), or as
 * long as someone holds it (legal hold). Governance may be cut short by who says so expressly,
 * compliance by nobody. Overwriting and delete markers go on: they remove nothing. Erasing an account,
 * or a service whose consent is withdrawn, erases what is locked too.
 *
 * Time is the clock's, but while the process runs it goes forward no faster than the machine's own
 * count: a clock that is put forward unlocks nothing.
 */
enum files_lock_mode { LOCK_NONE, LOCK_GOVERNANCE, LOCK_COMPLIANCE };

struct files_lock {
	enum files_lock_mode mode;
	uint64_t retain_ms; /* until, wall clock; 0 with LOCK_NONE */
	bool is_held;
	bool has_hold; /* it was said once whether it is held; implied by is_held */
};

/* What a new object gets that asks for nothing: LOCK_NONE, or a mode for so many days. */
struct files_lock_default {
	enum files_lock_mode mode;
	unsigned days;
	bool is_years; /* S3 tells 365 days from one year */
};

/* As the bucket is: ERR_BAD if it was not made for locks. */
must_check
int files_lock_default(
    struct files *f, const char *bucket, struct files_lock_default *out, struct err *e);
/* Makes a bucket with versioning one for locks, for ever. ERR_BAD without versioning. */
must_check
int files_lock_default_set(
    struct files *f, const char *bucket, const struct files_lock_default *d, struct err *e);
/* Of one version (NULL: the current one). ERR_BAD: not a bucket for locks, or a delete marker.
 * ERR_MISSING: *WHY tells. */
must_check
int files_lock_get(struct files *f, const char *bucket, const char *key, const char *version,
    struct files_lock *out, struct object_absence *why, struct err *e);
/* The retention in L. ERR_DENIED if that is not the same mode for longer and MAY_BYPASS does not help. */
must_check
int files_lock_retain(struct files *f, const char *bucket, const char *key, const char *version,
    const struct files_lock *l, bool may_bypass, struct object_absence *why, struct err *e);
/* ERR_DENIED: it would be taken away, and MAY_RELEASE is false. */
must_check
int files_lock_hold(struct files *f, const char *bucket, const char *key, const char *version,
    bool on, bool may_release, struct object_absence *why, struct err *e);

/* --- settings of a bucket, lines of an object --- */

/* 1: the setting NAME is appended to OUT; 0: there is none; -1. ERR_MISSING: the bucket. */
must_check
int files_setting_get(
    struct files *f, const char *bucket, const char *name, struct buf *out, struct err *e);
must_check
int files_setting_put(
    struct files *f, const char *bucket, const char *name, struct span value, struct err *e);
/* What is not there is fine. */
must_check
int files_setting_remove(struct files *f, const char *bucket, const char *name, struct err *e);
/* The line NAME ("name: ") of what is kept with one version (NULL: the current one) becomes VALUE;
 * NULL: there is none any more. ETag and time of the object stay. FOUND: its version, or "" if the
 * bucket never had any. ERR_MISSING: *WHY tells; ERR_STALE: a delete marker; ERR_BAD: VERSION can't be
 * the id of one; ERR_TOO_BIG: past FILES_HEADERS_MAX. */
must_check
int files_line_set(struct files *f, const char *bucket, const char *key, const char *version,
    const char *name, const char *value, char found[static FILES_VERSION_SIZE],
    struct object_absence *why, struct err *e);

/* A bucket's lifecycle rules (service/rules.h) are the setting FILES_RULES. Putting them also leaves a record
 * of the region, so that the vault is looked at (service/lifecycle.h). */
#define FILES_RULES     "lifecycle"
/* The line of an object's headers with its tags. */
#define FILES_TAGS_LINE "x-amz-tagging: "
must_check
int files_rules_put(struct files *f, const char *bucket, struct span rules, struct err *e);
must_check
int files_rules_remove(struct files *f, const char *bucket, struct err *e);

struct object_info {
	uint64_t size;
	uint64_t modified_ms;
	char etag[64];                    /* without quotes: hex MD5, or "<md5>-<parts>" */
	char version[FILES_VERSION_SIZE]; /* "" if the bucket never had versions */
	bool is_marker;                   /* a delete marker: no content */
	bool is_latest;                   /* in listings of versions */
	struct files_lock lock;
	uint64_t expires_ms; /* the current object, under a lifecycle rule; 0: none is for it */
	char *expires_by;    /* that rule's id */
	struct buf headers;  /* "name: value\n" lines kept with it: content-type, cache-control,
				 * content-*, expires, x-amz-meta-*, x-amz-tagging; lower-case
				 * names */
};
/* What it points to; all zeros is fine. */
void object_info_free(struct object_info *i);

/* --- reading --- */

struct object; /* an object open for reading: a snapshot, whatever happens to its key meanwhile */
/* ERR_MISSING with text "no such key" or "no such bucket" (missing_bucket tells which). */
must_check
struct object *object_open(struct files *f, const char *bucket, const char *key, bool with_content,
    bool *missing_bucket, struct err *e);
const struct object_info *object_info(const struct object *o);
/* Up to N bytes at OFFSET; 0 only at the end. One thread at a time. */
must_check
ssize_t object_read(struct object *o, uint64_t offset, void *p, size_t n, struct err *e);
/* Those N bytes where they lie, for as long as the object is open; NULL: they have to be read. */
const uint8_t *object_bytes(const struct object *o, uint64_t offset, size_t n);
void object_close(struct object *o);
CLEANUP(struct object, object_close)

/* The same of VERSION (NULL: the current one); WANT: bits of what is asked for beside the info. *WHY
 * is set with ERR_MISSING. ERR_BAD: VERSION can't be the id of one. */
#define OBJECT_CONTENT BIT(0)
#define OBJECT_PARTS   BIT(1)
must_check
struct object *object_open_version(struct files *f, const char *bucket, const char *key,
    const char *version, unsigned want, struct object_absence *why, struct err *e);
struct part_info;
/* With OBJECT_PARTS: what it was uploaded in, in order, *N of them; none: in one piece. O's. */
const struct part_info *object_parts(const struct object *o, size_t *n);

/* --- writing --- */

/* What must hold of the key's present object, or nothing is changed and it is ERR_STALE
 * (PreconditionFailed): etags without quotes, "*" any; NULL: no condition. A write with if_match where
 * no object is: ERR_MISSING. */
struct files_condition {
	const char *if_match;
	const char *if_none_match;
};

/* A body on its way: in memory up to CONTENT_INLINE, then chunks; its MD5 is computed beside it. One
 * thread at a time. */
struct upload;
/* F is borrowed until upload_close: upload_add looks at its may_block and sets its would_block.
 * ERR_CONSENT. That there is such a bucket is found out with the row. */
must_check
struct upload *upload_begin(struct files *f, const char *bucket, struct err *e);
/* Needs a vault once the body is larger than CONTENT_INLINE (then may_block must be true; after
 * ERR_BUSY the same bytes may be added again). ERR_TOO_BIG past FILES_PUT_MAX. */
must_check
int upload_add(struct upload *u, const void *p, size_t n, struct err *e);
uint64_t upload_bytes(const struct upload *u);
/* Of what came so far. ERR_MEMORY. */
must_check
int upload_md5(struct upload *u, uint8_t out[static MD5_BYTES], struct err *e);
/* Read again what came so far: for carrying the upload over to the new home. */
must_check
ssize_t upload_read(struct upload *u, uint64_t offset, void *p, size_t n, struct err *e);
/* Chunks durable (blocks if there are any); before passing the gate for the row. */
must_check
int upload_settle(struct upload *u, struct err *e);
/* What upload_part shall keep beside the part: see part_info. */
void upload_line(struct upload *u, const char *line);
/* What upload_put shall lock the object with, instead of the bucket's default. */
void upload_lock(struct upload *u, const struct files_lock *l);
/* Commit the row; within ENTER_WRITE. HEADERS as in object_info. Replaces the key's former object. */
must_check
int upload_put(struct upload *u, struct files *f, const char *key, const char *headers,
    const struct files_condition *c, struct object_info *out, struct err *e);
/* Commit as a part of a multipart upload. ERR_MISSING: no such upload. */
must_check
int upload_part(struct upload *u, struct files *f, const char *key, const char *upload_id,
    unsigned number, struct object_info *out, struct err *e);
void upload_close(struct upload *u); /* what was not committed is removed; NULL is fine */
CLEANUP(struct upload, upload_close)

/* One key, or one version of it, to be removed. What is not there is fine. */
struct removal {
	const char *key;
	const char *version;              /* NULL: none was named */
	struct files_condition condition; /* on the current object */
	bool may_bypass;                  /* governance */
	/* in: anything but ERR_NONE leaves this one out; out: */
	/* ERR_NONE: done; ERR_STALE: the condition; ERR_BAD: no such id can be; ERR_DENIED: locked;
	 * ERR_FULL: no space for a delete marker */
	struct err err;
	char found
	    [FILES_VERSION_SIZE]; /* the version that is gone, or the marker that was put; or "" */
	bool is_marker;           /* that one is a delete marker */
};
/* One transaction; each one's outcome in R. ERR_MISSING: the bucket. */
must_check
int files_remove_many(
    struct files *f, const char *bucket, struct removal *r, size_t n, struct err *e);
/* Of one KEY, no version named. */
must_check
int files_remove(struct files *f, const char *bucket, const char *key, struct err *e);
/* N bytes of FROM from OFFSET, for a copy of it within the account; across services they are sealed anew.
 * FROM is opened with its content and stays the caller's. Blocks. Split in two because copying content must
 * not happen inside the gate: prepare, then commit within ENTER_WRITE. ERR_BAD: not within the source. */
must_check
struct upload *files_copy_begin(struct files *f, struct object *from, uint64_t offset,
    uint64_t n /* UINT64_MAX: to the end */, const char *to_bucket, struct err *e);

/* --- listing --- */

struct list_query {
	const char *bucket;
	const char *prefix;    /* "" for none */
	const char *delimiter; /* "" for none */
	const char
	    *after;   /* keys > this; "" from the start; common prefixes <= it are skipped too */
	unsigned max; /* at most 1000 */
};
/* I and its headers last for the call; NULL: a common prefix. */
typedef int list_fn(void *arg, const char *key, const struct object_info *i, struct err *e);
/* In key order (bytes); seeks past a common prefix instead of reading through it. IS_TRUNCATED tells
 * that there is more, NEXT (FILES_KEY_MAX + 1) is then the `after` to go on with. */
must_check
int files_list(struct files *f, const struct list_query *q, list_fn *fn, void *arg,
    bool *is_truncated, char *next, struct err *e);

/* Versions and delete markers, the newest of a key first; `after` may be followed by a version of that
 * key: then the versions of it that are older come first. NEXT_VERSION is "" where the next page begins
 * with another key. */
struct version_query {
	struct list_query list;
	const char *after_version; /* or NULL */
};
must_check
int files_list_versions(struct files *f, const struct version_query *q, list_fn *fn, void *arg,
    bool *is_truncated, char next[static FILES_KEY_MAX + 1],
    char next_version[static FILES_VERSION_SIZE], struct err *e);

/* --- multipart --- */

/* When a lifecycle rule gives an upload up that nobody completes. */
struct multipart_end {
	uint64_t when_ms; /* 0: no rule is for it */
	char by[RULES_ID_MAX + 1];
};
/* LOCK as in upload_lock, or NULL. END: told if it can be, or NULL. */
must_check
int multipart_begin(struct files *f, const char *bucket, const char *key, const char *headers,
    const struct files_lock *lock, char upload_id[static 33], struct multipart_end *end,
    struct err *e);
/* The HEADERS that it began with are appended. ERR_MISSING: no such bucket, or upload. */
must_check
int multipart_headers(struct files *f, const char *bucket, const char *key, const char *upload_id,
    struct buf *headers, struct err *e);
struct part_info {
	unsigned number;
	uint64_t size;
	uint64_t modified_ms;
	char etag[64];
	char line[FILES_LINE_SIZE]; /* "name: value" as upload_line said, or "" */
};
/* PARTS as the client lists them (ascending, etags without quotes; a line, if there is one, has to be
 * the part's). HEADERS: what the object shall have, NULL: those that the upload began with. ERR_BAD: an
 * order or a part that is not there, or too small (5 MiB but the last): text says which, REASON gets
 * S3's code ("InvalidPartOrder", "InvalidPart", "EntityTooSmall"; "NoSuchKey" with ERR_MISSING for
 * if_match). Completing again with the same parts gives the same answer and looks at no condition; the
 * version and the headers of *OUT (that are not told the first time) are of the object if it is still
 * there. The caller frees *OUT with object_info_free. */
must_check
int multipart_complete(struct files *f, const char *bucket, const char *key, const char *upload_id,
    const struct part_info *parts, size_t n, const struct files_condition *c, const char *headers,
    struct object_info *out, const char **reason, struct err *e);
must_check
int multipart_abort(
    struct files *f, const char *bucket, const char *key, const char *upload_id, struct err *e);
struct multipart_about {
	struct buf headers;       /* those that it began with are appended */
	struct multipart_end end; /* as things are now */
};
/* Parts > AFTER in order, at most MAX; returns how many, -1. *MORE: there are others, never with a MAX
 * of 0. ABOUT may be NULL. ERR_MISSING: no such bucket, or upload. */
must_check
int multipart_parts(struct files *f, const char *bucket, const char *key, const char *upload_id,
    unsigned after, unsigned max, struct part_info *out, bool *more, struct multipart_about *about,
    struct err *e);
typedef int multipart_fn(void *arg, const char *key, const char *upload_id, uint64_t started_ms,
    struct span headers, struct err *e);
/* In the order of keys, and of one key as they were begun. FN returns 0, 1 if this one is not told any
 * more (*MORE, and it ends), or -1. */
must_check
int multipart_list(struct files *f, const char *bucket, const char *prefix, const char *after_key,
    const char *after_id, bool *more, multipart_fn *fn, void *arg, struct err *e);

/* In the vault of one service. */
must_check
int files_usage(struct files *f, enum service s, struct files_usage *out, struct err *e);
