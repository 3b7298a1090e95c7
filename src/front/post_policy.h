/* post_policy.h - what whoever signed a form's policy lets be uploaded with it.
 *
 * Sources: "Creating a POST policy" and "Creating an HTML Form" in the Amazon S3 API Reference: JSON
 * with an expiration and conditions; every field of the form needs a condition, except the policy,
 * the signature and those that begin with x-ignore-. Pure.
 */
#pragma once
#include "base/frame.h"
#include "front/form.h"

#define POST_CONDITIONS_MAX 200

/* The bytes that the file may have. */
struct post_sizes {
	uint64_t min, max;
};

/* Compare FIELDS (the form's; and "bucket", which is to be among them) with the policy TEXT at NOW_MS.
 * ERR_BAD: the text is no policy; ERR_DENIED: it does not allow this, or not any more. */
must_check
int post_policy_check(struct span text, const struct request_field *fields, size_t n,
    uint64_t now_ms, struct post_sizes *out, struct err *e);
