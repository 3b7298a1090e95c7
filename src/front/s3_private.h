/* s3_private.h - what the files of the S3 operations share.
 *
 * An operation is a function of a struct s3_call. It makes the answer and returns 0; or it returns
 * -1 with *E, having changed nothing, and s3.c sees to the rest: run again where blocking is
 * allowed, pass on to the account's home, or answer with S3's form of the error. Answer headers are
 * added only once nothing can fail any more.
 */
#pragma once
#include "base/frame.h"
#include "front/s3.h"
#include "front/s3_checksum.h"
#include "front/s3_sign.h"
#include "service/access.h"
#include "service/gate.h"

/* Bodies up to this size are collected and handled on the HTTP thread; answers are read at once. */
#define S3_SMALL_BODY  ((size_t)32 << 10)
#define S3_ANSWER_MAX  ((size_t)16 << 20)
#define S3_LIST_MAX    1000u
#define S3_HEADERS_MAX ((size_t)8192) /* kept headers of one object, without its tags */
#define S3_META_MAX    ((size_t)2048) /* x-amz-meta-* names and values of one object */
#define S3_XML_ROOT(t) \
	"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<" t \
	" xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"

enum s3_level { LEVEL_ROOT, LEVEL_BUCKET, LEVEL_KEY };

struct s3_call;
typedef int s3_fn(struct s3_call *c, struct err *e);

struct s3_operation {
	const char *method;
	enum s3_level level;
	const char *query;  /* the argument that chooses it, or NULL */
	bool is_copy;       /* only with x-amz-copy-source */
	bool changes;       /* enters as an upload, then as a write; else as a read */
	bool takes_body;    /* streams the body of a large request */
	bool takes_version; /* ?versionId */
	bool takes_part;    /* ?partNumber */
	bool
	    is_of_data; /* reads or writes an object's bytes: the answer tells how they are encrypted */
	s3_fn *fn;
	const char *missing; /* S3's code for ERR_MISSING */
};

struct s3_call {
	struct request *r;
	const struct s3_operation *op;
	struct files files;
	enum s3_level level;
	char bucket[FILES_BUCKET_MAX + 1];
	char key[FILES_KEY_MAX + 1];
	struct sign_claim claim;
	uint8_t signing_key[SHA256_BYTES];
	struct key_scope scope; /* of the key that it is signed with */
	bool is_stream;         /* the body is read with request_read */
	bool is_application;    /* signed with an application key */
	bool is_granted;        /* which was granted for accounts like this one */
	bool is_used;           /* and its signature holds: the request counts as its use */
	bool is_decoded;        /* another region has taken the chunk signatures out already */
	struct buf decoded;
	struct span body; /* collected and decoded */
	struct gate_pass pass, write;
	struct upload *upload;
	struct form *form;           /* a browser's; NULL: no form */
	uint64_t form_min, form_max; /* bytes of its file */
	uint64_t carried;            /* of them: held here when it was passed on */
	struct buf cors;             /* header lines that the answer shall have besides */

	/* What becomes of it when the operation returns -1; all empty: an error answer by kind. */
	bool again;
	char to[REGION_NAME_SIZE];
	char country[3];
	unsigned status;
	const char *code;
};

/* s3.c: enter and leave the gate for the transaction. */
must_check
int s3_write_begin(struct s3_call *c, struct err *e);
void s3_write_end(struct s3_call *c);
/* Whether the account has left while its upload is arriving; then the call is set up to follow. */
bool s3_has_moved(struct s3_call *c);
/* What the call's upload holds, at AT: 0 behind it. With the last of it the upload is closed and the gate
 * left, so that the erasure here does not wait for what is still to come. */
must_check
ssize_t s3_carry(struct s3_call *c, uint64_t at, void *p, size_t n, struct err *e);

/* s3.c: the table of operations, for tests. */
const struct s3_operation *s3_operations(size_t *n);

/* s3_scope.c: what the request's key may. The first before the operation, by a table of what each
 * touches: AccessDenied. The others where an operation learns of a name itself. */
must_check
int s3_scope_check(struct s3_call *c, struct err *e);
/* The same, pure: NULL or why not. PREFIX is the argument of a listing. */
const char *s3_scope_refusal(const struct key_scope *s, const struct s3_operation *o,
    const char *bucket, const char *key, const char *prefix);
const char *s3_scope_word(const struct s3_operation *o); /* what O touches, for logs */
bool s3_scope_knows(const struct s3_operation *o);       /* whether O is in that table */
bool s3_scope_has_bucket(const struct s3_call *c, const char *bucket);
must_check
int s3_scope_key(struct s3_call *c, const char *bucket, const char *key, struct err *e);

/* s3_application.c, for requests that are signed with an application key. */
/* Whose account it is about; the bucket's name is then without it. */
must_check
int s3_application_account(struct s3_call *c, struct err *e);
/* The same for the bucket of a copy's source. */
must_check
int s3_application_source(
    struct s3_call *c, char bucket[static FILES_BUCKET_MAX + 1], struct err *e);
/* The signing key and the scope; errors as access_signing_key. */
must_check
int s3_application_key(struct s3_call *c, struct err *e);
/* Once the signature was found to hold: whether the key is for this account. */
must_check
int s3_application_check(struct s3_call *c, struct err *e);
/* Once, when it is answered here. */
void s3_application_log(const struct s3_call *c);

/* s3_error.c: the answer shall have this status and code, and E's text, unless E says already that there
 * is no memory. Returns -1. */
int s3_refuse(struct s3_call *c, struct err *e, unsigned status, const char *code,
    const char *format, ...) printf_like(5, 6);
/* The code and status for an error kind, where the operation did not say. */
void s3_answer_error(struct s3_call *c, const struct err *e);
/* An XML answer whose body is in r->body. */
void s3_answer_xml(struct request *r, unsigned status);

/* s3_headers.c: pure, but for reading the request. */

/* N bytes of percent-encoded text into OUT of SIZE bytes; '+' stays. -1: malformed, a NUL or not
 * UTF-8 (*IS_LONG false), or too long. */
must_check
int s3_decode(const char *in, size_t n, char *out, size_t size, bool *is_long);
bool s3_is_utf8(const char *text, size_t n);
/* Into level, bucket and key. S3's code or NULL. */
must_check
const char *s3_path(const char *path, enum s3_level *level,
    char bucket[static FILES_BUCKET_MAX + 1], char key[static FILES_KEY_MAX + 1]);

/* Whether the request's Host names a bucket ("photos.s3.example.com"); "": one that can't be. */
bool s3_is_virtual(struct request *r, char bucket[static FILES_BUCKET_MAX + 1]);
/* The same as s3_path of a request, whose bucket may be in its Host. */
must_check
const char *s3_place(struct request *r, enum s3_level *level,
    char bucket[static FILES_BUCKET_MAX + 1], char key[static FILES_KEY_MAX + 1]);

enum s3_range { RANGE_ALL, RANGE_PART, RANGE_OUTSIDE };
/* One range of a Range header over SIZE bytes; what is malformed or has several is ignored, as
 * RFC 9110 wants it. */
enum s3_range s3_range(const char *value, uint64_t size, uint64_t *offset, uint64_t *n);

/* The four conditions; each may be NULL. 0: go on; 304 or 412. */
struct s3_conditions {
	const char *match, *none_match, *modified_since, *unmodified_since;
};
unsigned s3_conditions(const struct s3_conditions *c, const struct object_info *i);
/* Whether one of the etags of LIST ("*", quoted, weak or bare, by commas) is ETAG. */
bool s3_etag_in(const char *list, const char *etag);
/* VALUE without quotes into OUT; "" if VALUE is NULL. */
void s3_etag_bare(const char *value, char *out, size_t size);

/* ISO 8601, in UTC: "2031-04-09T07:52:16Z", perhaps with a fraction of a second, which is not kept. */
bool s3_time_parse(const char *text, uint64_t *out_ms);
/* In one of the three forms of RFC 9110, or in that. */
bool s3_date_parse(const char *text, uint64_t *wall_ms);
/* A number in [MIN, MAX], larger ones made MAX. Absent: *OUT stays. */
must_check
int s3_number(
    const char *text, const char *name, unsigned min, unsigned max, unsigned *out, struct err *e);

/* The headers that are kept with an object, as "name: value\n". */
must_check
int s3_headers_collect(struct s3_call *c, struct buf *out, struct err *e);
/* What no header may have: any but a tab. */
bool s3_has_controls(const char *s);
/* Refuse to read with a key of the customer's: no object has one. Of an object that is there. */
must_check
int s3_refuse_customer_key(struct s3_call *c, struct err *e);
/* Refuse headers that ask for something we would silently not do. */
must_check
int s3_headers_check(struct s3_call *c, struct err *e);
/* What follows START ("name: ") in the first of LINES that begins with it; empty: none does. */
struct span s3_header_line(const struct buf *lines, const char *start);
/* Answer headers of an object: what was kept, response-* instead where asked. */
void s3_headers_answer(struct request *r, const struct object_info *i);
/* Refuse ETags in several headers of a name, and several of them for a write: not all would be looked at. */
must_check
int s3_conditions_check(struct s3_call *c, struct err *e);
/* If-Match and If-None-Match of a write, the quotes taken off into BUFS. */
struct files_condition s3_write_condition(struct request *r, char bufs[2][80]);
bool s3_has_condition(const struct files_condition *c);

/* s3_bucket.c */
s3_fn s3_list_buckets, s3_create_bucket, s3_head_bucket, s3_delete_bucket, s3_get_location,
    s3_get_constant;
void s3_put_owner(struct s3_call *c, const char *tag);
/* Keep or drop what is set under NAME for the bucket as a whole: an answer without a body. */
must_check
int s3_setting_put(struct s3_call *c, const char *name, struct span value, struct err *e);
must_check
int s3_setting_remove(struct s3_call *c, const char *name, struct err *e);
/* s3_acl.c */
s3_fn s3_get_bucket_acl, s3_put_bucket_acl, s3_get_object_acl, s3_put_object_acl;
/* s3_fixed.c */
s3_fn s3_get_fixed, s3_put_fixed, s3_delete_fixed;
/* s3_object.c */
s3_fn s3_get_object;
/* The object that the request names, perhaps with a version; or NULL, what S3 says then being
 * prepared. */
must_check
struct object *s3_object(struct s3_call *c, unsigned want, struct err *e);
void s3_answer_version(struct request *r, const char *name, const struct object_info *i);
/* s3_version.c */
s3_fn s3_get_versioning, s3_put_versioning, s3_list_versions;
/* s3_lock.c */
s3_fn s3_get_lock_default, s3_put_lock_default, s3_get_retention, s3_put_retention, s3_get_hold,
    s3_put_hold;
/* What a request that writes an object asks for. */
must_check
int s3_lock_of_headers(struct s3_call *c, struct files_lock *l, bool *has_lock, struct err *e);
/* A write with E failed: S3's code where that is because of the lock it asked for. Returns -1. */
int s3_refuse_lock(struct s3_call *c, bool has_lock, struct err *e);
/* Whether governance may be cut short: it is asked for, and with a key that may do everything. */
bool s3_may_bypass(const struct s3_call *c);
void s3_lock_answer(struct request *r, const struct files_lock *l);
/* s3_tagging.c */
#define TAGGING_LINE FILES_TAGS_LINE
/* The tags that a form asks for in XML, as x-amz-tagging has them. */
must_check
int s3_tags_of_form(struct s3_call *c, const char *xml, struct buf *text, struct err *e);
/* Those that a bucket shall be made with; the rest of the body says where, which is a matter of the account's
 * home. */
must_check
int s3_tags_of_new_bucket(struct s3_call *c, struct buf *text, struct err *e);
#define BUCKET_TAGGING "tagging" /* the setting */
s3_fn s3_get_tagging, s3_put_tagging, s3_delete_tagging, s3_get_bucket_tagging,
    s3_put_bucket_tagging, s3_delete_bucket_tagging;
/* The tags that the request's x-amz-tagging asks for, as a line after HEADERS. */
must_check
int s3_tags_collect(struct s3_call *c, struct buf *headers, struct err *e);
/* Whether a copy has its own tags and not its source's. */
must_check
int s3_tags_replaced(struct s3_call *c, bool *replaced, struct err *e);
/* s3_cors.c */
s3_fn s3_get_cors, s3_put_cors, s3_delete_cors;
/* For a request of a page (Origin): what the bucket's rules have the answer say, into c->cors. Within
 * the gate, before anything is changed. -1: it has to be run again, or the rules are damaged. */
must_check
int s3_cors_look(struct s3_call *c, struct err *e);
void s3_cors_answer(struct s3_call *c);
/* OPTIONS: account, bucket and key of the request that is asked about; or, if nothing in it tells whose
 * it is, the answer. */
must_check
int s3_preflight_begin(struct s3_call *c, bool *is_answered, struct err *e);
int s3_preflight_refuse(struct s3_call *c, struct err *e);
/* s3_lifecycle.c */
s3_fn s3_get_lifecycle, s3_put_lifecycle, s3_delete_lifecycle;
/* x-amz-expiration, if some rule is for the object. */
void s3_answer_expiry(struct request *r, const struct object_info *i);
/* x-amz-abort-date and x-amz-abort-rule-id, if some rule is for the upload. */
void s3_answer_upload_end(struct request *r, const struct multipart_end *end);
/* s3_post.c */
s3_fn s3_post_object;
bool s3_is_form(struct request *r);
/* On a worker, in this order: the fields, with which the call goes on; who asks (as sign_parse); which
 * key; whether the policy has the signature. */
must_check
int s3_form_read(struct s3_call *c, struct err *e);
must_check
int s3_form_claim(struct s3_call *c, struct err *e);
must_check
int s3_form_key(struct s3_call *c, struct err *e);
must_check
int s3_form_check(const struct s3_call *c, const char **code, struct err *e);
/* The body once more from its beginning, for passing it on. */
void s3_form_again(struct s3_call *c);
/* The URL of the object, as whoever asks has addressed it. */
void s3_location(struct s3_call *c, struct buf *b);
int s3_refuse_form(struct s3_call *c, struct err *e);
/* Bytes that its file has at least, before it has come; what follows one has 32 KiB at most. */
uint64_t s3_form_least(const struct s3_call *c);
/* s3_part.c */
s3_fn s3_get_attributes;
/* A checksum of an object or a part, kept as the line "x-amz-checksum-sha256: text". */
struct s3_sum {
	enum checksum_kind kind;
	char text[CHECKSUM_TEXT];
};
/* The first among LINES; false, and CHECKSUM_NONE: there is none. */
bool s3_find_sum(struct span lines, struct s3_sum *out);
bool s3_is_composite(const struct s3_sum *s);
/* Its element, and one for its type. Nothing of CHECKSUM_NONE. */
void s3_put_sum(struct buf *b, const struct s3_sum *s, bool with_type);
/* Which checksum there is, without its value; in a listing, of an object. */
void s3_put_sum_kind(struct buf *b, enum checksum_kind kind, bool is_full);
void s3_put_listed_sum(struct buf *b, const struct object_info *i);
/* What ?partNumber asks for: N bytes from OFFSET. */
struct s3_part {
	uint64_t offset, n;
	size_t count; /* of parts; 0: the object came in one piece, which is its first part */
	struct s3_sum sum;
};
must_check
int s3_part_find(
    struct s3_call *c, unsigned number, const struct object *o, struct s3_part *out, struct err *e);
void s3_part_answer(struct request *r, const struct s3_part *p);
/* s3_copy.c */
s3_fn s3_copy_object, s3_copy_part;
/* s3_put.c */
s3_fn s3_put_object, s3_upload_part;
/* As s3_put_object, and tells what the object is. */
must_check
int s3_put_stored(struct s3_call *c, struct object_info *info, struct err *e);
/* SUM as a line after HEADERS. */
must_check
int s3_keep_sum(struct s3_call *c, const struct s3_sum *sum, struct buf *headers, struct err *e);
/* The row of c->upload, within the gate. */
must_check
int s3_commit_object(struct s3_call *c, const char *headers,
    const struct files_condition *condition, struct object_info *info, struct err *e);
must_check
int s3_commit_part(struct s3_call *c, unsigned number, const struct s3_sum *sum,
    struct object_info *info, struct err *e);
/* The claims about a body: its SHA-256 and Content-MD5. */
must_check
int s3_check_digests(struct s3_call *c, const uint8_t sha[static SHA256_BYTES],
    const uint8_t md5[static MD5_BYTES], struct err *e);
/* ERR_QUOTA if BYTES more of the object or part that C names are more than the account may keep; before they
 * are received. */
must_check
int s3_check_quota(struct s3_call *c, uint64_t bytes, struct err *e);
must_check
int s3_part_number(struct s3_call *c, unsigned *out, struct err *e);
/* s3_list.c */
s3_fn s3_list_v1, s3_list_v2;
/* A query argument, "" if it is not there. */
const char *s3_arg(struct request *r, const char *name);
/* A key or a prefix as an element; IS_URL: encoding-type=url was asked for. */
void s3_put_name(struct buf *b, bool is_url, const char *tag, const char *text);
/* The token of a page: what comes next, as base64 for URLs. */
void s3_token_text(const char *next, struct buf *out);
must_check
int s3_token_parse(const char *token, char out[static FILES_KEY_MAX + 1], struct err *e);
/* s3_multipart.c */
s3_fn s3_multipart_begin, s3_multipart_abort, s3_multipart_parts, s3_multipart_uploads;
/* The checksum that an upload was begun with; of its parts too. CHECKSUM_NONE: none. */
struct s3_upload_sum {
	enum checksum_kind kind;
	bool is_full; /* FULL_OBJECT, not COMPOSITE */
};
/* Of the upload that the request names; HEADERS, unless NULL: what else was kept, is appended. */
must_check
int s3_upload_sum(struct s3_call *c, struct s3_upload_sum *out, struct buf *headers, struct err *e);
/* s3_complete.c */
s3_fn s3_multipart_complete;
/* s3_delete.c */
s3_fn s3_delete_object, s3_delete_many;
/* Refuse conditions on removing that are not looked at. */
must_check
int s3_removal_check(struct s3_call *c, struct err *e);
