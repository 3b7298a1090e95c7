/* access.h - who may: access keys and the secrets they are checked with.
 *
 * Secrets lie in the account's profile vault at its home. A bounded cache keeps those in use, in
 * locked memory; it forgets an account when it is fenced, moved or removed. Any thread.
 */
#pragma once
#include "service/node.h"

struct access;
must_check
struct access *access_new(struct node *n, size_t max_entries, struct err *e);
void access_free(struct access *a);

/* The account an access key names; false if it is not one of ours. No look-up. */
bool access_account(const char *access_key, struct account_id *out);

/* The AWS Signature Version 4 signing key of an access key for DATE ("20310409"), REGION and SERVICE
 * ("s3"): HMAC chain over the secret. Cached. ERR_MISSING: no such key; ERR_DENIED: revoked;
 * ERR_BUSY with MAY_BLOCK false: call again where blocking is allowed. */
must_check
int access_signing_key(struct access *a, const char *access_key, const char *date,
    const char *region, const char *service, bool may_block, uint8_t out[static SHA256_BYTES],
    struct err *e);
void access_forget(struct access *a, const struct account_id *id);
