/* access.h - who may: access keys and the secrets they are checked with.
 *
 * Secrets lie in the account's profile vault at its home. A bounded cache keeps those in use, in
 * locked memory; it forgets an account when it is fenced, moved or removed, and when one of its keys is
 * revoked. Any thread.
 */
#pragma once
#include "service/files.h"

/* What a key may do; all zeros: everything that its account may. */
struct key_scope {
	uint64_t expires_ms; /* wall clock; 0: never */
	bool is_read_only;
	unsigned services;                 /* mask; 0: all */
	char bucket[FILES_BUCKET_MAX + 1]; /* this one alone; "": all */
	char prefix[FILES_KEY_MAX + 1];    /* in it, keys that begin so */
};

/* Whether the key may less than its account. */
bool key_scope_is_limited(const struct key_scope *s);
/* Whether BUCKET, or some of what is in it, is within the scope. */
bool key_scope_has_bucket(const struct key_scope *s, const char *bucket);
/* Whether KEY of BUCKET is; a prefix that is asked for, likewise. */
bool key_scope_has_key(const struct key_scope *s, const char *bucket, const char *key);

struct access;
/* At most MAX_ENTRIES are kept. N is borrowed. NULL: ERR_MEMORY. */
must_check
struct access *access_new(struct node *n, size_t max_entries, struct err *e);
void access_free(struct access *a);

/* The account an access key names; false if it is not one of ours. No look-up. */
bool access_account(const char *access_key, struct account_id *out);

/* The AWS Signature Version 4 signing key of an access key for DATE ("20310409"), REGION and SERVICE
 * ("s3"): HMAC chain over the secret. Cached. And the key's scope, to which the caller has to keep.
 * ERR_MISSING: no such key, or it was revoked; ERR_DENIED: it has expired; ERR_BUSY with MAY_BLOCK
 * false: call again where blocking is allowed. */
must_check
int access_signing_key(struct access *a, const char *access_key, const char *date,
    const char *region, const char *service, bool may_block, uint8_t out[static SHA256_BYTES],
    struct key_scope *scope, struct err *e);
/* All that is kept of its profile: also its quota (service/quota.h). */
void access_forget(struct access *a, const struct account_id *id);
