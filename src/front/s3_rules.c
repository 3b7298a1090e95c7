/* s3_rules.c - see s3_rules.h. */
#include "front/s3_rules.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/host.h"
#include "base/id.h"
#include "front/s3_private.h"
#include "front/s3_tags.h"
#include "front/xml.h"

#define ROOT "LifecycleConfiguration"
#define RULE ROOT "/Rule"

enum element {
	ID,
	PREFIX, /* outside of a filter, as it was once */
	STATUS,
	FILTER,
	FILTER_PREFIX,
	FILTER_OVER,
	FILTER_UNDER,
	FILTER_TAG,
	FILTER_TAG_KEY,
	FILTER_TAG_VALUE,
	AND,
	AND_PREFIX,
	AND_OVER,
	AND_UNDER,
	AND_TAG,
	AND_TAG_KEY,
	AND_TAG_VALUE,
	EXPIRATION,
	DAYS,
	DATE,
	MARKERS,
	NONCURRENT,
	NONCURRENT_DAYS,
	NONCURRENT_KEEP,
	ABORT,
	ABORT_DAYS,
	ELEMENTS
};

static const struct {
	const char *path; /* below a rule */
	bool is_many;
} elements[] = {
	[ID] = { "/ID" },
	[PREFIX] = { "/Prefix" },
	[STATUS] = { "/Status" },
	[FILTER] = { "/Filter" },
	[FILTER_PREFIX] = { "/Filter/Prefix" },
	[FILTER_OVER] = { "/Filter/ObjectSizeGreaterThan" },
	[FILTER_UNDER] = { "/Filter/ObjectSizeLessThan" },
	[FILTER_TAG] = { "/Filter/Tag" },
	[FILTER_TAG_KEY] = { "/Filter/Tag/Key" },
	[FILTER_TAG_VALUE] = { "/Filter/Tag/Value" },
	[AND] = { "/Filter/And" },
	[AND_PREFIX] = { "/Filter/And/Prefix" },
	[AND_OVER] = { "/Filter/And/ObjectSizeGreaterThan" },
	[AND_UNDER] = { "/Filter/And/ObjectSizeLessThan" },
	[AND_TAG] = { "/Filter/And/Tag", true },
	[AND_TAG_KEY] = { "/Filter/And/Tag/Key", true },
	[AND_TAG_VALUE] = { "/Filter/And/Tag/Value", true },
	[EXPIRATION] = { "/Expiration" },
	[DAYS] = { "/Expiration/Days" },
	[DATE] = { "/Expiration/Date" },
	[MARKERS] = { "/Expiration/ExpiredObjectDeleteMarker" },
	[NONCURRENT] = { "/NoncurrentVersionExpiration" },
	[NONCURRENT_DAYS] = { "/NoncurrentVersionExpiration/NoncurrentDays" },
	[NONCURRENT_KEEP] = { "/NoncurrentVersionExpiration/NewerNoncurrentVersions" },
	[ABORT] = { "/AbortIncompleteMultipartUpload" },
	[ABORT_DAYS] = { "/AbortIncompleteMultipartUpload/DaysAfterInitiation" },
};

_Static_assert(ELEMENTS <= 32, "a bit each");

struct reading {
	struct buf *stored;
	unsigned n;
	bool is_root;
	/* The rule that is being read. */
	unsigned seen; /* BIT(enum element) */
	struct rule rule;
	struct buf id, prefix, key, value;
	bool has_key, has_value;
	struct tags tags;
	const char *code;
};

static void
reading_free(struct reading *r)
{
	buf_free(&r->id);
	buf_free(&r->prefix);
	buf_free(&r->key);
	buf_free(&r->value);
	tags_free(&r->tags);
}

/* --- refusing --- */

static int refuse(struct reading *r, struct err *e, const char *code, const char *format, ...)
    printf_like(4, 5);

static int
refuse(struct reading *r, struct err *e, const char *code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(e->text, sizeof(e->text), format, args);
	va_end(args);
	e->kind = ERR_BAD;
	r->code = code;
	return -1;
}

static int
malformed(struct reading *r, struct err *e, const char *what)
{
	return refuse(r, e, "MalformedXML", "the body is no LifecycleConfiguration: %s", what);
}

/* --- elements --- */

static int
read_text(struct buf *to, const char *text, struct err *e)
{
	buf_clear(to);
	buf_add_str(to, text);
	return buf_check(to, e);
}

static int
read_number(struct reading *r, const char *text, uint64_t max, uint64_t *out, struct err *e)
{
	char *end;

	if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 19)
		return malformed(r, e, "a number is none");
	*out = strtoull(text, &end, 10);
	if (*out > max)
		return refuse(r, e, "InvalidArgument", "%s is more than %" PRIu64, text, max);
	return 0;
}

/* A number of days, or of versions. */
static int
read_count(struct reading *r, enum element which, const char *text, uint32_t max, uint32_t *out,
    struct err *e)
{
	uint64_t n;

	if (read_number(r, text, max, &n, e) < 0)
		return -1;
	if (!n)
		return refuse(r, e, "InvalidArgument", "%s must be a positive integer",
		    strrchr(elements[which].path, '/') + 1);
	*out = (uint32_t)n;
	return 0;
}

static int
read_date(struct reading *r, const char *text, struct err *e)
{
	if (!s3_time_parse(text, &r->rule.date_ms))
		return malformed(r, e, "a Date is no time like 2031-04-09T00:00:00Z");
	if (r->rule.date_ms % RULES_DAY_MS)
		return refuse(r, e, "InvalidArgument", "a Date must be at midnight UTC");
	r->rule.has_date = true;
	return 0;
}

static int
read_bool(struct reading *r, const char *text, bool *out, struct err *e)
{
	*out = strcmp(text, "true") == 0;
	return *out || strcmp(text, "false") == 0 ? 0 : malformed(r, e, "neither true nor false");
}

static int
read_status(struct reading *r, const char *text, struct err *e)
{
	r->rule.is_enabled = strcmp(text, "Enabled") == 0;
	if (r->rule.is_enabled || strcmp(text, "Disabled") == 0)
		return 0;
	return malformed(r, e, "a Status is neither Enabled nor Disabled");
}

static int
read_prefix(struct reading *r, const char *text, struct err *e)
{
	if (strlen(text) > FILES_KEY_MAX)
		return refuse(r, e, "InvalidRequest", "a Prefix is longer than any key");
	r->rule.has_prefix = true;
	return read_text(&r->prefix, text, e);
}

static int
read_tag_text(struct reading *r, struct buf *to, bool *has, const char *text, struct err *e)
{
	if (*has)
		return malformed(r, e, "a Tag has one Key and one Value");
	*has = true;
	return read_text(to, text, e);
}

static int
read_tag(struct reading *r, struct err *e)
{
	if (!r->has_key || !r->has_value)
		return malformed(r, e, "a Tag lacks its Key or its Value");
	r->has_key = r->has_value = false;
	if (tags_add(&r->tags, buf_str(&r->key), buf_str(&r->value), e) == 0)
		return 0;
	if (e->kind != ERR_MEMORY)
		r->code = e->kind == ERR_EXISTS ? "InvalidRequest" : "InvalidTag";
	return -1;
}

static int
read_size(struct reading *r, const char *text, bool *has, uint64_t *out, struct err *e)
{
	*has = true;
	return read_number(r, text, INT64_MAX, out, e);
}

static int
read_element(struct reading *r, enum element which, const char *text, struct err *e)
{
	struct rule *rule = &r->rule;

	switch (which) {
	case ID:
		return read_text(&r->id, text, e);
	case PREFIX:
		rule->is_old = true;
		return read_prefix(r, text, e);
	case FILTER_PREFIX:
	case AND_PREFIX:
		return read_prefix(r, text, e);
	case STATUS:
		return read_status(r, text, e);
	case FILTER_OVER:
	case AND_OVER:
		return read_size(r, text, &rule->has_over, &rule->over_bytes, e);
	case FILTER_UNDER:
	case AND_UNDER:
		return read_size(r, text, &rule->has_under, &rule->under_bytes, e);
	case FILTER_TAG_KEY:
	case AND_TAG_KEY:
		return read_tag_text(r, &r->key, &r->has_key, text, e);
	case FILTER_TAG_VALUE:
	case AND_TAG_VALUE:
		return read_tag_text(r, &r->value, &r->has_value, text, e);
	case FILTER_TAG:
	case AND_TAG:
		return read_tag(r, e);
	case DAYS:
		return read_count(r, which, text, RULES_DAYS_MAX, &rule->days, e);
	case DATE:
		return read_date(r, text, e);
	case MARKERS:
		return read_bool(r, text, &rule->ends_markers, e);
	case NONCURRENT_DAYS:
		return read_count(r, which, text, RULES_DAYS_MAX, &rule->noncurrent_days, e);
	case NONCURRENT_KEEP:
		return read_count(r, which, text, RULES_KEEP_MAX, &rule->keep, e);
	case ABORT_DAYS:
		return read_count(r, which, text, RULES_DAYS_MAX, &rule->abort_days, e);
	default:
		return 0;
	}
}

/* --- a rule as a whole --- */

static unsigned
count_seen(const struct reading *r, const enum element *which, size_t n)
{
	unsigned count = 0;

	for (size_t i = 0; i < n; i++)
		count += (r->seen & BIT(which[i])) != 0;
	return count;
}

static int
check_filter(struct reading *r, struct err *e)
{
	static const enum element alone[] = { FILTER_PREFIX, FILTER_OVER, FILTER_UNDER, FILTER_TAG,
		AND };
	const struct rule *rule = &r->rule;

	if (!(r->seen & BIT(STATUS)))
		return malformed(r, e, "a Rule has no Status");
	if (!(r->seen & BIT(FILTER)) == !(r->seen & BIT(PREFIX)))
		return malformed(r, e, "a Rule has one Filter, or one Prefix");
	if (count_seen(r, alone, ARRAY_LEN(alone)) > 1)
		return malformed(r, e, "a Filter with several conditions has them in And");
	if (rule->has_over && rule->has_under && rule->over_bytes >= rule->under_bytes)
		return refuse(r, e, "InvalidRequest",
		    "ObjectSizeLessThan must be more than ObjectSizeGreaterThan");
	return 0;
}

static int
check_actions(struct reading *r, struct err *e)
{
	static const enum element ends[] = { DAYS, DATE };
	const struct rule *rule = &r->rule;
	bool has_sizes = rule->has_over || rule->has_under;
	unsigned n = count_seen(r, ends, ARRAY_LEN(ends)) + rule->ends_markers;

	if (n > 1 || ((r->seen & BIT(EXPIRATION)) && !n && !(r->seen & BIT(MARKERS))))
		return malformed(
		    r, e, "an Expiration has one of Days, Date and ExpiredObjectDeleteMarker");
	if ((r->seen & BIT(NONCURRENT)) && !rule->noncurrent_days)
		return malformed(r, e, "a NoncurrentVersionExpiration has NoncurrentDays");
	if ((r->seen & BIT(ABORT)) && !rule->abort_days)
		return malformed(r, e, "an AbortIncompleteMultipartUpload has DaysAfterInitiation");
	if (!n && !rule->noncurrent_days && !rule->abort_days)
		return refuse(r, e, "InvalidRequest", "a Rule has to do something");
	if ((rule->ends_markers || rule->abort_days) && (r->tags.n || has_sizes))
		return refuse(r, e, "InvalidRequest",
		    "delete markers and unfinished uploads have neither tags nor a size to choose "
		    "them by");
	return 0;
}

static int
name_rule(struct reading *r, struct err *e)
{
	uint8_t random[16];
	char text[2 * sizeof(random) + 1];

	if (r->id.len > RULES_ID_MAX)
		return refuse(
		    r, e, "InvalidArgument", "an ID is longer than %u bytes", RULES_ID_MAX);
	if (r->id.len)
		return 0;
	host_random(random, sizeof(random));
	hex_text(random, sizeof(random), text);
	return read_text(&r->id, text, e);
}

static int
end_rule(struct reading *r, struct err *e)
{
	struct rule *rule = &r->rule;

	if (r->n == RULES_MAX)
		return refuse(r, e, "InvalidRequest", "there can be at most %u rules", RULES_MAX);
	if (check_filter(r, e) < 0 || check_actions(r, e) < 0 || name_rule(r, e) < 0)
		return -1;
	rule->id = (struct span){ r->id.data, r->id.len };
	rule->prefix = (struct span){ r->prefix.data, r->prefix.len };
	rule->tags = (struct span){ r->tags.text.data, r->tags.text.len };
	rules_put(r->stored, rule);
	r->n++;
	r->seen = 0;
	r->rule = (struct rule){ .days = 0 };
	buf_clear(&r->id);
	buf_clear(&r->prefix);
	tags_free(&r->tags);
	r->tags.n = 0;
	return buf_check(r->stored, e);
}

static int
on_element(void *arg, const char *path, const char *text, struct err *e)
{
	struct reading *r = arg;
	const char *below;
	size_t i;

	if (!strcmp(path, ROOT)) {
		r->is_root = true;
		return 0;
	}
	if (!strcmp(path, RULE))
		return end_rule(r, e);
	if (strncmp(path, RULE "/", strlen(RULE "/")) != 0)
		return malformed(r, e, "something else than rules is in it");
	below = path + strlen(RULE);
	for (i = 0; i < ELEMENTS && strcmp(elements[i].path, below) != 0; i++)
		;
	if (i == ELEMENTS && strstr(below, "Transition"))
		return refuse(r, e, "NotImplemented",
		    "there is one storage class: nothing can be moved to another one");
	if (i == ELEMENTS)
		return malformed(r, e, "a Rule has something that is not known");
	if ((r->seen & BIT(i)) && !elements[i].is_many)
		return malformed(r, e, "a Rule has something twice");
	r->seen |= BIT(i);
	return read_element(r, (enum element)i, text, e);
}

/* --- all of them --- */

static bool
is_same(struct span a, struct span b)
{
	return a.len == b.len && (!a.len || memcmp(a.data, b.data, a.len) == 0);
}

static int
check_ids(struct reading *r, struct err *e)
{
	struct rules rules;
	int rc = rules_read((struct span){ r->stored->data, r->stored->len }, &rules, e);

	for (unsigned i = 0; rc == 0 && i < rules.n; i++)
		for (unsigned j = 0; rc == 0 && j < i; j++)
			if (is_same(rules.rule[i].id, rules.rule[j].id))
				rc = refuse(r, e, "InvalidArgument",
				    "two rules have the same ID: %.*s", (int)rules.rule[i].id.len,
				    (const char *)rules.rule[i].id.data);
	rules_free(&rules);
	return rc;
}

int
s3_rules_read(struct span body, struct buf *stored, const char **code, struct err *e)
{
	_cleanup_(reading_free) struct reading r = { .stored = stored,
		.tags = TAGS_INIT(RULES_TAGS_MAX) };
	int rc;

	rules_begin(stored);
	rc = xml_read(body, on_element, &r, e);
	if (rc < 0 && !r.code && e->kind != ERR_MEMORY)
		rc = malformed(&r, e, "it is not the XML that was expected");
	if (rc == 0 && (!r.is_root || !r.n))
		rc = malformed(&r, e, "it has no rules");
	if (rc == 0) {
		rules_end(stored, r.n);
		rc = check_ids(&r, e);
	}
	*code = r.code;
	return rc;
}

/* --- back --- */

static void
put_span_text(struct buf *b, const char *tag, struct span s)
{
	char text[FILES_KEY_MAX + 1];

	snprintf(text, sizeof(text), "%.*s", (int)s.len, s.len ? (const char *)s.data : "");
	xml_text(b, tag, text);
}

static void
put_tag(void *arg, const char *key, const char *value)
{
	xml_open(arg, "Tag");
	xml_text(arg, "Key", key);
	xml_text(arg, "Value", value);
	xml_close(arg, "Tag");
}

static int
put_filter(struct buf *b, const struct rule *r, struct err *e)
{
	unsigned n = tags_count((const char *)r->tags.data, r->tags.len) + r->has_prefix +
	    r->has_over + r->has_under;

	if (r->is_old) {
		put_span_text(b, "Prefix", r->prefix);
		return 0;
	}
	xml_open(b, "Filter");
	if (n > 1)
		xml_open(b, "And");
	if (r->has_prefix)
		put_span_text(b, "Prefix", r->prefix);
	if (r->tags.len && tags_each((const char *)r->tags.data, r->tags.len, put_tag, b, e) < 0)
		return -1;
	if (r->has_over)
		xml_printf(b, "ObjectSizeGreaterThan", "%" PRIu64, r->over_bytes);
	if (r->has_under)
		xml_printf(b, "ObjectSizeLessThan", "%" PRIu64, r->under_bytes);
	if (n > 1)
		xml_close(b, "And");
	xml_close(b, "Filter");
	return 0;
}

static void
put_expiration(struct buf *b, const struct rule *r)
{
	char when[25];

	if (!r->days && !r->has_date && !r->ends_markers)
		return;
	xml_open(b, "Expiration");
	if (r->days)
		xml_printf(b, "Days", "%u", r->days);
	if (r->has_date) {
		host_time_text(r->date_ms, when);
		xml_text(b, "Date", when);
	}
	if (r->ends_markers)
		xml_text(b, "ExpiredObjectDeleteMarker", "true");
	xml_close(b, "Expiration");
}

static void
put_rest(struct buf *b, const struct rule *r)
{
	if (r->noncurrent_days) {
		xml_open(b, "NoncurrentVersionExpiration");
		xml_printf(b, "NoncurrentDays", "%u", r->noncurrent_days);
		if (r->keep)
			xml_printf(b, "NewerNoncurrentVersions", "%u", r->keep);
		xml_close(b, "NoncurrentVersionExpiration");
	}
	if (r->abort_days) {
		xml_open(b, "AbortIncompleteMultipartUpload");
		xml_printf(b, "DaysAfterInitiation", "%u", r->abort_days);
		xml_close(b, "AbortIncompleteMultipartUpload");
	}
}

int
s3_rules_write(struct span stored, struct buf *b, struct err *e)
{
	_cleanup_(rules_free) struct rules rules = { .n = 0 };

	if (rules_read(stored, &rules, e) < 0)
		return -1;
	buf_add_str(b, S3_XML_ROOT(ROOT));
	for (unsigned i = 0; i < rules.n; i++) {
		const struct rule *r = &rules.rule[i];

		xml_open(b, "Rule");
		put_span_text(b, "ID", r->id);
		if (put_filter(b, r, e) < 0)
			return -1;
		xml_text(b, "Status", r->is_enabled ? "Enabled" : "Disabled");
		put_expiration(b, r);
		put_rest(b, r);
		xml_close(b, "Rule");
	}
	xml_close(b, ROOT);
	return buf_check(b, e);
}
