/* cors.h - a bucket's rules about pages of other origins: read from XML, written as XML, matched.
 *
 * Sources: PutBucketCors in the Amazon S3 API Reference and "Elements of a CORS configuration" in the
 * User Guide (the elements, one '*' in an origin or a header's name, the first rule that fits); the
 * Fetch standard, "CORS protocol". Pure.
 */
#pragma once
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/frame.h"

#define CORS_RULES_MAX  100
#define CORS_BYTES_MAX  ((size_t)64 << 10) /* of the XML as it comes */
#define CORS_ID_MAX     255
#define CORS_MAX_AGE_NO UINT32_MAX

/* Each text: every value followed by a newline; none has a control character in it. */
struct cors_rule {
	struct buf id, origins, methods, headers, exposed;
	uint32_t max_age_s; /* CORS_MAX_AGE_NO: it does not say */
};

/* Called for every rule in their order, which stays the caller's. 0 or -1. */
typedef int cors_fn(void *arg, const struct cors_rule *rule, struct err *e);
/* ERR_BAD: no CORSConfiguration, or not well-formed; ERR_DENIED: a rule that S3 does not take;
 * ERR_TOO_BIG. Nothing is known to be right before it has returned 0. */
must_check
int cors_read(struct span xml, cors_fn *fn, void *arg, struct err *e);
/* Append the rule's element. */
void cors_write(struct buf *b, const struct cors_rule *rule);

/* What a page asks for. */
struct cors_question {
	const char *origin;
	const char *method;
	const char *headers; /* names with commas between, or NULL */
};
/* Whether the rule lets a page ask that: its origin, its method and all of its headers. */
bool cors_fits(const struct cors_rule *rule, const struct cors_question *q);
/* The answer's header lines ("Name: value\n") by a rule that fits. */
void cors_answer(struct buf *lines, const struct cors_rule *rule, const struct cors_question *q);
