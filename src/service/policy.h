/* policy.h - for each jurisdiction, where its accounts may live, and how requests from elsewhere go.
 *
 * From the regions file, sections [policy XX]:  regions = in-mum, sg   (in order of preference)
 * transit = proxy | redirect,  quota_bytes, quota_objects = a number or none.  [policy *] is for the
 * countries that have none of their own.
 * Replaced as a whole on reload. Any thread.
 */
#pragma once
#include "base/cleanup.h"
#include "base/conf.h"
#include "base/id.h"
#include "service/quota.h"

enum transit { TRANSIT_PROXY, TRANSIT_REDIRECT };

struct peers;
struct policy;
/* Without any policy. NULL: ERR_MEMORY. */
must_check
struct policy *policy_new(struct err *e);
/* ERR_BAD: an unknown word, a country that is not two capital letters, an invalid region. */
must_check
int policy_load(struct policy *p, struct conf *c, struct err *e);
void policy_free(struct policy *p);
CLEANUP(struct policy, policy_free)

/* The most preferred region of COUNTRY for which EXISTS says true. ERR_DENIED: none. */
must_check
int policy_home(struct policy *p, const char *country,
    bool (*exists)(void *arg, const char *region), void *arg, char out[static REGION_NAME_SIZE],
    struct err *e);
/* "in-mum [policy IN], sgg [policy *]": regions that a policy names and PEERS does not know, which come later or
 * are misspelt; as far as it fits into OUT, "" if there is none. */
void policy_unknown(struct policy *p, struct peers *peers, char *out, size_t size);
/* 0, or ERR_DENIED saying which regions are allowed. */
must_check
int policy_allows(struct policy *p, const char *country, const char *region, struct err *e);
/* What [policy XX] says an account of COUNTRY may keep; what it does not say stays as it is in *OUT. */
void policy_quota(struct policy *p, const char *country, struct quota_limit *out);
/* TRANSIT_PROXY where nothing is said. */
enum transit policy_transit(struct policy *p, const char *country);
