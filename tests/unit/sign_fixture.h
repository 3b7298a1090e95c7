/* sign_fixture.h - requests to be signed as AWS's published examples are: by that key, at that time.
 * The request is a list here: these definitions are taken instead of the library's.
 */
#ifndef SIGN_FIXTURE_H
#define SIGN_FIXTURE_H

#include <strings.h>

#include "base/id.h"
#include "check.h"
#include "front/s3_sign.h"

#define SECRET       "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define CREDENTIAL   "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"
#define EMPTY_HASH   "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define WHEN         "20130524T000000Z"
#define WHEN_MS      1369353600000u
#define MINUTE_MS    60000u
#define NO_SIGNATURE "0000000000000000000000000000000000000000000000000000000000000000"

struct fake {
	const char *h[220][2];
	size_t n;
	struct request r;
	char authorization[1024];
};

const char *
request_header(struct request *r, const char *name)
{
	struct fake *f = r->internal;

	for (size_t i = 0; i < f->n; i++)
		if (!strcasecmp(f->h[i][0], name))
			return f->h[i][1];
	return NULL;
}

void
request_each_header(
    struct request *r, void (*fn)(void *arg, const char *name, const char *value), void *arg)
{
	struct fake *f = r->internal;

	for (size_t i = 0; i < f->n; i++)
		fn(arg, f->h[i][0], f->h[i][1]);
}

static inline struct request *
begin(struct fake *f, const char *method, const char *path, const char *query)
{
	f->n = 0;
	f->r = (struct request){ .method = method, .path = path, .query = query, .internal = f };
	return &f->r;
}

static inline void
header(struct fake *f, const char *name, const char *value)
{
	f->h[f->n][0] = name;
	f->h[f->n++][1] = value;
}

static inline void
authorize(struct fake *f, const char *names, const char *signature)
{
	snprintf(f->authorization, sizeof f->authorization,
	    "AWS4-HMAC-SHA256 Credential=" CREDENTIAL ",SignedHeaders=%s,Signature=%s", names,
	    signature);
	header(f, "Authorization", f->authorization);
}

static inline void
signing_key(uint8_t key[static SHA256_BYTES])
{
	hmac_sha256("AWS4" SECRET, strlen("AWS4" SECRET), "20130524", 8, key);
	hmac_sha256(key, SHA256_BYTES, "us-east-1", 9, key);
	hmac_sha256(key, SHA256_BYTES, "s3", 2, key);
	hmac_sha256(key, SHA256_BYTES, "aws4_request", 12, key);
}

/* "" if the request is good at NOW_MS, else S3's code. */
static const char *
verdict_at(struct request *r, uint64_t now_ms)
{
	struct sign_claim c;
	uint8_t key[SHA256_BYTES];
	const char *code = "none";
	struct err e = { 0 };
	int rc = sign_parse(r, &c, &code, &e);

	if (rc == 0)
		return "anonymous";
	signing_key(key);
	if (rc == 1)
		rc = sign_check_request(r, &c, key, now_ms, &code, &e);
	if (rc < 0) {
		CHECK(e.kind != ERR_NONE && e.text[0]);
		return code;
	}
	return "";
}

static const char *
verdict(struct request *r)
{
	return verdict_at(r, WHEN_MS);
}

#endif
