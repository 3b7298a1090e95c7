/* rules.h - the lifecycle rules of a bucket: how they are kept, and what is due under them when.
 *
 * Pure. A day ends at midnight UTC: what was made at some time is due, after so many days, at the next
 * midnight behind that. DAY_MS is how long a day is, RULES_DAY_MS but in tests. Several rules that cover
 * the same thing do not know of each other: it goes when the first of them says so.
 * Source: "Managing the lifecycle of objects", Amazon S3 User Guide; PutBucketLifecycleConfiguration.
 */
#pragma once
#include "base/frame.h"

#define RULES_MAX       1000u
#define RULES_ID_MAX    255u
#define RULES_TAGS_MAX  10u /* conditions of one rule */
#define RULES_DAYS_MAX  2147483647u
#define RULES_KEEP_MAX  100u
#define RULES_DAY_MS    ((uint64_t)24 * 3600 * 1000)
#define RULES_NEVER     UINT64_MAX
/* All of them as they are kept. */
#define RULES_BYTES_MAX ((size_t)4 << 20)

struct rule {
	struct span id, prefix;
	struct span tags; /* "key=value&key=value", each as it stands among an object's tags */
	bool is_enabled;
	bool is_old;     /* its prefix stood outside of a filter: it is answered as it came */
	bool has_prefix; /* even if that is empty */
	bool has_over, has_under;
	uint64_t over_bytes, under_bytes; /* more than, less than */
	/* What it does; 0: nothing of that kind. */
	uint32_t days;     /* current objects, and delete markers that are alone */
	bool has_date;     /* the same from a day on */
	uint64_t date_ms;  /* that day, a midnight */
	bool ends_markers; /* delete markers that are alone, at once */
	uint32_t noncurrent_days;
	uint32_t keep; /* but not the newest so many of the noncurrent ones */
	uint32_t abort_days;
};

/* --- kept --- */

/* A list is begun, then rules are put, then their number is. */
void rules_begin(struct buf *b);
void rules_put(struct buf *b, const struct rule *r);
void rules_end(struct buf *b, unsigned n);

struct rules {
	struct rule *rule;
	unsigned n;
};
/* Leaves none. */
void rules_free(struct rules *r);
/* Borrows STORED. ERR_FORGED: we did not write that; ERR_MEMORY. OUT is the caller's to free whatever
 * happens. */
must_check
int rules_read(struct span stored, struct rules *out, struct err *e);

/* --- what they cover --- */

enum rule_action {
	RULE_CURRENT = 1, /* current objects */
	RULE_ASIDE = 2,   /* noncurrent versions, and delete markers that are alone */
	RULE_UPLOADS = 4,
};

/* The actions of R; 0 if it is disabled. */
unsigned rule_actions(const struct rule *r);
/* The prefixes of the rules with any of ACTIONS, in order, none of them beginning with another one. OUT
 * has room for rules->n; returns how many. */
unsigned rules_prefixes(const struct rules *r, unsigned actions, struct span *out);
/* Whether any of the rules that are enabled asks for tags. */
bool rules_ask_tags(const struct rules *r);

struct rule_subject {
	struct span key;
	uint64_t size;
	struct span tags;
	bool is_marker; /* has neither tags nor a size: only rules that ask for none cover it */
};
/* When each is due, RULES_NEVER: not under these rules. */
uint64_t rules_current_due(const struct rules *r, const struct rule_subject *s,
    uint64_t modified_ms, uint64_t day_ms, const struct rule **which /* or NULL */);
/* NEWER: how many noncurrent versions of the key are newer than this one. */
uint64_t rules_noncurrent_due(const struct rules *r, const struct rule_subject *s,
    uint64_t since_ms, uint64_t newer, uint64_t day_ms);
/* A delete marker that is all there is of its key. */
uint64_t rules_marker_due(
    const struct rules *r, const struct rule_subject *s, uint64_t modified_ms, uint64_t day_ms);
uint64_t rules_upload_due(const struct rules *r, struct span key, uint64_t started_ms,
    uint64_t day_ms, const struct rule **which /* or NULL */);
