/* rules.c - see rules.h.
 *
 * Kept as: format 1 (1), number (2), { flags (2), id, prefix, tags (4 + bytes each), over (8), under (8),
 * days (4), date (8), noncurrent days (4), keep (4), abort days (4) }
 */
#include "service/rules.h"

#include <stdlib.h>
#include <string.h>

#define FORMAT     1
#define PREFIX_MAX 1024
#define TAGS_MAX   ((size_t)16 << 10)

enum {
	ENABLED = 1,
	OLD = 2,
	PREFIX = 4,
	OVER = 8,
	UNDER = 16,
	DATE = 32,
	MARKERS = 64,
};

/* --- kept --- */

void
rules_begin(struct buf *b)
{
	put_u8(b, FORMAT);
	put_u16(b, 0);
}

void
rules_put(struct buf *b, const struct rule *r)
{
	put_u16(b,
	    (uint16_t)((r->is_enabled ? ENABLED : 0) | (r->is_old ? OLD : 0) |
	        (r->has_prefix ? PREFIX : 0) | (r->has_over ? OVER : 0) |
	        (r->has_under ? UNDER : 0) | (r->has_date ? DATE : 0) |
	        (r->ends_markers ? MARKERS : 0)));
	put_span(b, r->id.data, r->id.len);
	put_span(b, r->prefix.data, r->prefix.len);
	put_span(b, r->tags.data, r->tags.len);
	put_u64(b, r->over_bytes);
	put_u64(b, r->under_bytes);
	put_u32(b, r->days);
	put_u64(b, r->date_ms);
	put_u32(b, r->noncurrent_days);
	put_u32(b, r->keep);
	put_u32(b, r->abort_days);
}

void
rules_end(struct buf *b, unsigned n)
{
	if (b->len < 3)
		return;
	b->data[1] = (uint8_t)(n >> 8);
	b->data[2] = (uint8_t)n;
}

static void
rule_read(struct reader *r, struct rule *out)
{
	uint16_t flags = read_u16(r);

	*out = (struct rule){
		.is_enabled = flags & ENABLED,
		.is_old = flags & OLD,
		.has_prefix = flags & PREFIX,
		.has_over = flags & OVER,
		.has_under = flags & UNDER,
		.has_date = flags & DATE,
		.ends_markers = flags & MARKERS,
	};
	out->id = read_span(r, RULES_ID_MAX);
	out->prefix = read_span(r, PREFIX_MAX);
	out->tags = read_span(r, TAGS_MAX);
	out->over_bytes = read_u64(r);
	out->under_bytes = read_u64(r);
	out->days = read_u32(r);
	out->date_ms = read_u64(r);
	out->noncurrent_days = read_u32(r);
	out->keep = read_u32(r);
	out->abort_days = read_u32(r);
}

void
rules_free(struct rules *r)
{
	free(r->rule);
	*r = (struct rules){ .rule = NULL };
}

int
rules_read(struct span stored, struct rules *out, struct err *e)
{
	struct reader r = READER(stored.data, stored.len);
	uint8_t format = read_u8(&r);
	unsigned n = read_u16(&r);

	*out = (struct rules){ .rule = NULL };
	if (r.failed || format != FORMAT || n > RULES_MAX)
		return err_set(e, ERR_FORGED, "lifecycle rules of format %u", format);
	out->rule = calloc(n ? n : 1, sizeof(*out->rule));
	if (!out->rule)
		return err_set(e, ERR_MEMORY, "no memory for lifecycle rules");
	for (unsigned i = 0; i < n; i++)
		rule_read(&r, &out->rule[i]);
	if (read_check(&r, "lifecycle rules", e) < 0)
		return err_set(e, ERR_FORGED, "the lifecycle rules of a bucket are damaged");
	out->n = n;
	return 0;
}

/* --- what they cover --- */

unsigned
rule_actions(const struct rule *r)
{
	unsigned actions = 0;

	if (!r->is_enabled)
		return 0;
	if (r->days || r->has_date)
		actions |= RULE_CURRENT | RULE_ASIDE;
	if (r->ends_markers || r->noncurrent_days)
		actions |= RULE_ASIDE;
	if (r->abort_days)
		actions |= RULE_UPLOADS;
	return actions;
}

static bool
begins_with(struct span s, struct span start)
{
	return s.len >= start.len && (!start.len || memcmp(s.data, start.data, start.len) == 0);
}

static int
by_bytes(const void *a, const void *b)
{
	const struct span *x = a, *y = b;
	size_t n = x->len < y->len ? x->len : y->len;
	int r = n ? memcmp(x->data, y->data, n) : 0;

	return r ? r : (x->len > y->len) - (x->len < y->len);
}

unsigned
rules_prefixes(const struct rules *r, unsigned actions, struct span *out)
{
	unsigned n = 0, kept = 0;

	for (unsigned i = 0; i < r->n; i++)
		if (rule_actions(&r->rule[i]) & actions)
			out[n++] = r->rule[i].prefix;
	if (n)
		qsort(out, n, sizeof(*out), by_bytes);
	for (unsigned i = 0; i < n; i++)
		if (!kept || !begins_with(out[i], out[kept - 1]))
			out[kept++] = out[i];
	return kept;
}

bool
rules_ask_tags(const struct rules *r)
{
	for (unsigned i = 0; i < r->n; i++)
		if (r->rule[i].is_enabled && r->rule[i].tags.len)
			return true;
	return false;
}

/* The first of a list of tags; LIST becomes the rest. */
static struct span
next_tag(struct span *list)
{
	const uint8_t *end = memchr(list->data, '&', list->len);
	struct span one = { list->data, end ? (size_t)(end - list->data) : list->len };

	list->data += one.len + (end != NULL);
	list->len -= one.len + (end != NULL);
	return one;
}

static bool
has_tag(struct span list, struct span tag)
{
	while (list.len) {
		struct span one = next_tag(&list);

		if (one.len == tag.len && memcmp(one.data, tag.data, tag.len) == 0)
			return true;
	}
	return false;
}

static bool
covers(const struct rule *r, const struct rule_subject *s)
{
	struct span wanted = r->tags;

	if (!begins_with(s->key, r->prefix))
		return false;
	if (s->is_marker)
		return !wanted.len && !r->has_over && !r->has_under;
	if ((r->has_over && s->size <= r->over_bytes) ||
	    (r->has_under && s->size >= r->under_bytes))
		return false;
	while (wanted.len)
		if (!has_tag(s->tags, next_tag(&wanted)))
			return false;
	return true;
}

/* --- when --- */

/* DAYS after SINCE, at the midnight that comes then. */
static uint64_t
after_days(uint64_t since_ms, uint32_t days, uint64_t day_ms)
{
	return (since_ms / day_ms + days + 1) * day_ms;
}

/* When R takes away what was made at that time, of `days` and `date`. */
static uint64_t
expiry(const struct rule *r, uint64_t modified_ms, uint64_t day_ms)
{
	if (r->has_date)
		return r->date_ms;
	return r->days ? after_days(modified_ms, r->days, day_ms) : RULES_NEVER;
}

uint64_t
rules_current_due(const struct rules *rules, const struct rule_subject *s, uint64_t modified_ms,
    uint64_t day_ms, const struct rule **which)
{
	uint64_t first = RULES_NEVER;

	for (unsigned i = 0; i < rules->n; i++) {
		const struct rule *r = &rules->rule[i];
		uint64_t due;

		if (!(rule_actions(r) & RULE_CURRENT) || !covers(r, s))
			continue;
		due = expiry(r, modified_ms, day_ms);
		if (due < first) {
			first = due;
			if (which)
				*which = r;
		}
	}
	return first;
}

uint64_t
rules_noncurrent_due(const struct rules *rules, const struct rule_subject *s, uint64_t since_ms,
    uint64_t newer, uint64_t day_ms)
{
	uint64_t first = RULES_NEVER;

	for (unsigned i = 0; i < rules->n; i++) {
		const struct rule *r = &rules->rule[i];
		uint64_t due;

		if (!r->is_enabled || !r->noncurrent_days || newer < r->keep || !covers(r, s))
			continue;
		due = after_days(since_ms, r->noncurrent_days, day_ms);
		if (due < first)
			first = due;
	}
	return first;
}

uint64_t
rules_marker_due(
    const struct rules *rules, const struct rule_subject *s, uint64_t modified_ms, uint64_t day_ms)
{
	uint64_t first = RULES_NEVER;

	for (unsigned i = 0; i < rules->n; i++) {
		const struct rule *r = &rules->rule[i];
		uint64_t due;

		if (!r->is_enabled || !covers(r, s))
			continue;
		due = r->ends_markers ? 0 : expiry(r, modified_ms, day_ms);
		if (due < first)
			first = due;
	}
	return first;
}

uint64_t
rules_upload_due(const struct rules *rules, struct span key, uint64_t started_ms, uint64_t day_ms,
    const struct rule **which)
{
	uint64_t first = RULES_NEVER;

	for (unsigned i = 0; i < rules->n; i++) {
		const struct rule *r = &rules->rule[i];
		uint64_t due;

		if (!r->is_enabled || !r->abort_days || !begins_with(key, r->prefix))
			continue;
		due = after_days(started_ms, r->abort_days, day_ms);
		if (due < first) {
			first = due;
			if (which)
				*which = r;
		}
	}
	return first;
}
