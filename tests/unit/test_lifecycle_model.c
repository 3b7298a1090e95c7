/* Random rules over random histories, against a model that knows of versions, rules and midnights what S3's
 * documentation says, in the plainest form: lists, strings, the C library's calendar.
 */
#include "clock.h"
#include "service_fixture.h"

#include "base/log.h"
#include "service/lifecycle_internal.h"
#include "service/rules.h"

#define DAY_MS    RULES_DAY_MS
#define BEGIN_MS  (20000 * DAY_MS)
#define KEYS      6
#define VERSIONS  200
#define RULES     4
#define HISTORIES 60
#define TURNS     25

static struct region region;
static struct lifecycle lifecycle;
static uint64_t seed_now;

static uint64_t
wall_ms(void)
{
	return BEGIN_MS + clock_ahead_ms;
}

/* Not the one above, which other threads use as well. */
static unsigned
below(unsigned n)
{
	seed_now = seed_now * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed_now >> 33) % n;
}

/* --- the model --- */

static const char *const names[KEYS] = { "a", "a/1", "a/2", "b", "b/1/x", "c" };
static const char *const tag_sets[] = { "", "t=1", "t=1&u=2", "u=2&t=11" };
static const char *const tag_filters[] = { "", "", "", "t=1", "t=1&u=2", "u=2" };
static const char *const prefixes[] = { "", "a", "a/", "b/1/", "c", "d" };

struct version {
	bool is_marker, is_null;
	unsigned size, tags;
	time_t made_s;
	unsigned ms;
};

/* The newest last. */
struct history {
	struct version v[VERSIONS];
	unsigned n;
};

struct plain_rule {
	bool is_enabled;
	unsigned prefix, tags;
	int over, under; /* -1: not */
	unsigned days, noncurrent_days, keep;
	time_t date_s; /* 0: not */
	bool ends_markers;
};

static struct history model[KEYS];
static struct plain_rule rules[RULES];
static unsigned n_rules;
static enum files_versioning versioning;

static struct version *
newest(struct history *h)
{
	return h->n ? &h->v[h->n - 1] : NULL;
}

static void
model_remove(struct history *h, unsigned i)
{
	memmove(&h->v[i], &h->v[i + 1], (h->n - i - 1) * sizeof(h->v[0]));
	h->n--;
}

static void
model_add(struct history *h, struct version v)
{
	uint64_t now = host_wall_ms();

	v.is_null = versioning != VERSIONING_ON;
	for (unsigned i = 0; v.is_null && i < h->n; i++)
		if (h->v[i].is_null) {
			model_remove(h, i);
			break;
		}
	if (v.is_marker && versioning == VERSIONING_OFF)
		return;
	v.made_s = (time_t)(now / 1000);
	v.ms = (unsigned)(now % 1000);
	CHECK(h->n < VERSIONS);
	h->v[h->n++] = v;
}

/* The midnight that begins the day after that on which DAYS after S lie. */
static time_t
midnight_after(time_t s, unsigned days)
{
	struct tm tm;

	gmtime_r(&s, &tm);
	tm.tm_mday += (int)days + 1;
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	return timegm(&tm);
}

static bool
lists_tag(const char *list, const char *tag, size_t n)
{
	for (const char *at = list; at && *at; at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL)
		if (strcspn(at, "&") == n && !strncmp(at, tag, n))
			return true;
	return false;
}

static bool
has_tags(const char *list, const char *wanted)
{
	for (const char *at = wanted; *at;) {
		size_t n = strcspn(at, "&");

		if (!lists_tag(list, at, n))
			return false;
		at += n + (at[n] == '&');
	}
	return true;
}

static bool
is_for(const struct plain_rule *r, const char *key, const struct version *v)
{
	bool is_plain = !*tag_filters[r->tags] && r->over < 0 && r->under < 0;

	if (!r->is_enabled || strncmp(key, prefixes[r->prefix], strlen(prefixes[r->prefix])) != 0)
		return false;
	if (v->is_marker)
		return is_plain;
	return has_tags(tag_sets[v->tags], tag_filters[r->tags]) &&
	    (r->over < 0 || (int)v->size > r->over) && (r->under < 0 || (int)v->size < r->under);
}

static bool
is_old_enough(const struct plain_rule *r, const struct version *v, time_t now)
{
	if (r->date_s)
		return r->date_s <= now;
	return r->days && midnight_after(v->made_s, r->days) <= now;
}

static void
expire_current(unsigned k, time_t now)
{
	struct history *h = &model[k];
	bool is_due = false;

	if (!h->n || newest(h)->is_marker)
		return;
	for (unsigned i = 0; i < n_rules; i++)
		is_due |= is_for(&rules[i], names[k], newest(h)) &&
		    is_old_enough(&rules[i], newest(h), now);
	if (is_due)
		model_add(h, (struct version){ .is_marker = true });
}

static bool
is_noncurrent_due(unsigned k, unsigned i, time_t now)
{
	const struct history *h = &model[k];
	unsigned newer = h->n - 2 - i; /* noncurrent ones: but the newest of all */
	time_t since = h->v[i + 1].made_s;

	for (unsigned j = 0; j < n_rules; j++)
		if (is_for(&rules[j], names[k], &h->v[i]) && rules[j].noncurrent_days &&
		    newer >= rules[j].keep &&
		    midnight_after(since, rules[j].noncurrent_days) <= now)
			return true;
	return false;
}

static void
expire_aside(unsigned k, time_t now)
{
	struct history *h = &model[k];
	bool due[VERSIONS] = { false };

	for (unsigned i = 0; i + 1 < h->n; i++)
		due[i] = is_noncurrent_due(k, i, now);
	if (h->n == 1 && h->v[0].is_marker)
		for (unsigned j = 0; j < n_rules; j++)
			due[0] |= is_for(&rules[j], names[k], &h->v[0]) &&
			    (rules[j].ends_markers || is_old_enough(&rules[j], &h->v[0], now));
	for (unsigned i = h->n; i-- > 0;)
		if (due[i])
			model_remove(h, i);
}

/* --- the same to both --- */

static void
put_one(struct files *f, unsigned k)
{
	static const char bytes[16];
	struct version v = { .size = below(16), .tags = below(ARRAY_LEN(tag_sets)) };
	struct object_info out;
	struct err e = { 0 };
	char headers[100] = "";

	if (v.tags)
		snprintf(headers, sizeof(headers), FILES_TAGS_LINE "%s\n", tag_sets[v.tags]);
	CHECK_OK(put_with(f, "photos", names[k], bytes, v.size, headers, NULL, &out, &e), &e);
	object_info_free(&out);
	model_add(&model[k], v);
}

static void
remove_one(struct files *f, unsigned k)
{
	struct err e = { 0 };

	CHECK_OK(files_remove(f, "photos", names[k], &e), &e);
	model_add(&model[k], (struct version){ .is_marker = true });
}

static void
random_rule(struct plain_rule *r)
{
	*r = (struct plain_rule){
		.is_enabled = below(6) != 0,
		.prefix = below(ARRAY_LEN(prefixes)),
		.tags = below(ARRAY_LEN(tag_filters)),
		.over = below(4) ? -1 : (int)below(12),
		.under = below(4) ? -1 : (int)below(16),
		.noncurrent_days = below(2) ? 1 + below(4) : 0,
	};
	if (r->noncurrent_days && below(2))
		r->keep = 1 + below(3);
	if (below(2))
		r->days = 1 + below(5);
	else if (below(3) == 0)
		r->date_s = (time_t)(host_wall_ms() / DAY_MS + below(5)) * 86400;
	else if (below(2))
		r->ends_markers = true;
}

static struct span
text(const char *s)
{
	return (struct span){ (const uint8_t *)s, strlen(s) };
}

static void
set_rules(struct files *f)
{
	_cleanup_buf_ struct buf stored = BUF_INIT(0);
	struct err e = { 0 };

	n_rules = 1 + below(RULES);
	rules_begin(&stored);
	for (unsigned i = 0; i < n_rules; i++) {
		struct plain_rule *p = &rules[i];

		random_rule(p);
		rules_put(&stored,
		    &(struct rule){ .id = text("r"),
		        .prefix = text(prefixes[p->prefix]),
		        .tags = text(tag_filters[p->tags]),
		        .is_enabled = p->is_enabled,
		        .has_over = p->over >= 0,
		        .over_bytes = p->over >= 0 ? (uint64_t)p->over : 0,
		        .has_under = p->under >= 0,
		        .under_bytes = p->under >= 0 ? (uint64_t)p->under : 0,
		        .days = p->days,
		        .has_date = p->date_s,
		        .date_ms = (uint64_t)p->date_s * 1000,
		        .ends_markers = p->ends_markers,
		        .noncurrent_days = p->noncurrent_days,
		        .keep = p->keep });
	}
	rules_end(&stored, n_rules);
	CHECK_OK(files_rules_put(f, "photos", (struct span){ stored.data, stored.len }, &e), &e);
}

static void
look_at_both(struct files *f)
{
	struct vault_id id = { f->account, SERVICE_FILES };
	time_t now = (time_t)(host_wall_ms() / 1000);
	struct err e = { 0 };

	/* As if it had not been looked at today. */
	CHECK_OK(rules_record_put(&region.node, &id, 0, 0, &e), &e);
	CHECK_OK(lifecycle_round(&lifecycle, &e), &e);
	for (unsigned k = 0; k < KEYS; k++)
		expire_current(k, now);
	for (unsigned k = 0; k < KEYS; k++)
		expire_aside(k, now);
}

/* --- comparing --- */

static int
note_version(void *arg, const char *key, const struct object_info *i, struct err *e)
{
	buf_printf(arg, "%s %s%u %s%" PRIu64 "\n", key, i->is_marker ? "marker " : "",
	    (unsigned)i->size, !strcmp(i->version, "null") || !*i->version ? "null " : "",
	    i->modified_ms);
	return 0;
}

static void
compare(struct files *f, unsigned seed, unsigned turn)
{
	const struct version_query q = { .list = { .bucket = "photos",
		                             .prefix = "",
		                             .delimiter = "",
		                             .after = "",
		                             .max = 1000 } };
	_cleanup_buf_ struct buf is = BUF_INIT(0), should = BUF_INIT(0);
	char next[FILES_KEY_MAX + 1], next_version[FILES_VERSION_SIZE];
	struct err e = { 0 };
	bool more;

	CHECK_OK(files_list_versions(f, &q, note_version, &is, &more, next, next_version, &e), &e);
	for (unsigned k = 0; k < KEYS; k++)
		for (unsigned i = model[k].n; i-- > 0;) {
			const struct version *v = &model[k].v[i];

			buf_printf(&should, "%s %s%u %s%" PRIu64 "\n", names[k],
			    v->is_marker ? "marker " : "", v->size, v->is_null ? "null " : "",
			    (uint64_t)v->made_s * 1000 + v->ms);
		}
	if (strcmp(buf_str(&is), buf_str(&should)) != 0)
		fail_msg("seed %u, turn %u:\n%s\nand should be:\n%s", seed, turn, buf_str(&is),
		    buf_str(&should));
}

static void
run_history(unsigned seed)
{
	struct files f = region_account(&region, BIT(SERVICE_FILES), NULL);
	struct err e = { 0 };

	seed_now = seed;
	memset(model, 0, sizeof(model));
	versioning = below(4) ? VERSIONING_ON : VERSIONING_OFF;
	CHECK_OK(files_bucket_create(&f, "photos", &e), &e);
	if (versioning == VERSIONING_ON)
		CHECK_OK(files_versioning_set(&f, "photos", VERSIONING_ON, &e), &e);
	for (unsigned turn = 0; turn < TURNS; turn++) {
		if (turn == 0 || below(8) == 0)
			set_rules(&f);
		if (versioning != VERSIONING_OFF && below(6) == 0) {
			versioning = below(2) ? VERSIONING_ON : VERSIONING_SUSPENDED;
			CHECK_OK(files_versioning_set(&f, "photos", versioning, &e), &e);
		}
		for (unsigned n = below(6); n > 0; n--) {
			unsigned k = below(KEYS);

			if (below(4))
				put_one(&f, k);
			else
				remove_one(&f, k);
			clock_ahead_ms += 1 + below(DAY_MS / 4);
		}
		/* Sometimes to the very midnight, or just before. */
		clock_ahead_ms += below(3) ? below(2 * DAY_MS)
		                           : DAY_MS - host_wall_ms() % DAY_MS - below(2);
		look_at_both(&f);
		compare(&f, seed, turn);
	}
	CHECK_OK(accounts_remove(&region.node, &f.account, &e), &e);
}

static void
what_goes_is_what_the_rules_say(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= HISTORIES; seed++)
		run_history(seed);
}

int
main(void)
{
	const struct host_ops clock = { wall_ms, clock_mono_ns, clock_random };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_goes_is_what_the_rules_say),
	};
	int failed;

	host_replace(&clock);
	log_set_level(LOG_WARN_);
	region_open(&region, false);
	lifecycle = (struct lifecycle){ .node = &region.node, .day_ms = DAY_MS };
	pthread_mutex_init(&lifecycle.lock, NULL);
	host_cond_init(&lifecycle.changed);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	region_close(&region);
	host_replace(NULL);
	return failed;
}
