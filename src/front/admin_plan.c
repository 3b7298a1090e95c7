/* admin_plan.c - planning a wave: is it allowed, how much is it, how long will it take. */
#include "front/admin_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "base/log.h"
#include "service/policy.h"

#define ACCOUNTS_MAX 50000
#define STREAMS_MAX  64
#define SAMPLE       64
#define SAMPLE_MS    20000

struct plan {
	struct wave wave;
	struct selection selection;
	struct account_id *accounts; /* owned */
	json_t *by_country;          /* owned */
	json_t *absent; /* owned: countries that were named and that nobody in FROM is of */
	uint64_t n;
	bool is_dry;
};

/* --- what was asked for --- */

static int
unpack_plan(json_t *in, struct plan *p, struct err *e)
{
	json_int_t deadline = 0, bytes = 0, per_s = 0;
	const char *from, *to, *countries = "";
	int streams = 0, quiet_from = -1, quiet_to = -1, dry = 0;
	json_t *accounts = NULL;

	if (admin_unpack(in, e, "{s:s, s:s, s?s, s?o, s?I, s?I, s?I, s?i, s?i, s?i, s?b}", "from",
	        &from, "to", &to, "countries", &countries, "accounts", &accounts, "deadline_ms",
	        &deadline, "bytes_per_s", &bytes, "accounts_per_s", &per_s, "streams", &streams,
	        "quiet_from_min", &quiet_from, "quiet_to_min", &quiet_to, "dry_run", &dry) < 0)
		return -1;
	if (!region_name_valid(from) || !region_name_valid(to))
		return err_set(e, ERR_BAD, "'from' and 'to' are to be regions");
	if (deadline < 0 || bytes < 0 || per_s < 0)
		return err_set(e, ERR_BAD, "limits and deadline can't be negative");
	if (streams < 0 || streams > STREAMS_MAX)
		return err_set(e, ERR_BAD, "streams must lie between 1 and %d", STREAMS_MAX);
	if ((quiet_from < 0) != (quiet_to < 0) || quiet_from >= 1440 || quiet_to >= 1440)
		return err_set(e, ERR_BAD, "quiet hours are two times of the day");
	if (strlen(countries) >= sizeof(p->wave.countries))
		return err_set(e, ERR_TOO_BIG, "the list of countries is too long");
	if (accounts &&
	    admin_accounts(accounts, ACCOUNTS_MAX, &p->accounts, &p->selection.n_accounts, e) < 0)
		return -1;
	if (accounts && (*countries || !p->selection.n_accounts))
		return err_set(e, ERR_BAD, "either countries or a list of accounts");
	if (countries_check(countries, e) < 0)
		return -1;
	strcpy(p->wave.from, from);
	strcpy(p->wave.to, to);
	strcpy(p->wave.countries, countries);
	p->wave.deadline_ms = (uint64_t)deadline;
	p->wave.bytes_per_s = (uint64_t)bytes;
	p->wave.accounts_per_s = (uint64_t)per_s;
	p->wave.concurrency = (unsigned)streams;
	p->wave.quiet_from_min = quiet_from;
	p->wave.quiet_to_min = quiet_to;
	p->is_dry = dry != 0;
	p->selection.home = p->wave.from;
	p->selection.countries = p->wave.countries;
	p->selection.accounts = p->accounts;
	return 0;
}

static int
check_regions(struct node *n, const struct wave *w, struct err *e)
{
	if (strcmp(w->from, w->to) == 0)
		return err_set(e, ERR_BAD, "from and to are both %s", w->from);
	if (admin_region(n, w->from, e) < 0 || admin_region(n, w->to, e) < 0)
		return -1;
	if (w->deadline_ms && w->deadline_ms <= host_wall_ms())
		return err_set(e, ERR_BAD, "the deadline is past");
	return 0;
}

/* --- which countries that concerns --- */

static void
count_country(json_t *counts, const char *country, json_int_t n)
{
	json_int_t had = json_integer_value(json_object_get(counts, country));

	json_object_set_new(counts, country, json_integer(had + n));
}

/* LIST as in struct selection. */
static bool
is_selected(const char *list, const char *country)
{
	return !*list || (strstr(list, country) != NULL) == (*list != '!');
}

/* FOUND has the countries of those that live there. A misspelt one after '!' would move everyone. */
static void
find_absent(struct plan *p, json_t *found)
{
	for (const char *at = p->wave.countries; *at; at += 2) {
		char country[3];

		at += strspn(at, ",!");
		memcpy(country, at, 2);
		country[2] = '\0';
		if (!json_object_get(found, country))
			json_array_append_new(p->absent, json_string(country));
	}
}

static int
nobody_selected(const struct plan *p, json_t *found, struct err *e)
{
	char there[100] = "";
	const char *country;
	size_t len = 0;
	json_t *count;

	if (!json_object_size(found))
		return err_set(e, ERR_MISSING, "no account lives in %s", p->wave.from);
	json_object_foreach(found, country, count)
	{
		if (len < sizeof(there) - 8)
			len += (size_t)snprintf(
			    there + len, sizeof(there) - len, "%s%s", len ? "," : "", country);
	}
	return err_set(e, ERR_MISSING, "countries %s: nobody in %s, whose accounts are of %s",
	    p->wave.countries, p->wave.from, there);
}

static int
count_by_selection(struct node *n, struct plan *p, struct err *e)
{
	json_t *rows = NULL, *row, *found = json_object();
	size_t i;
	int rc = 0;

	if (directory_count(n->directory, &rows, e) < 0) {
		json_decref(found);
		return -1;
	}
	json_array_foreach(rows, i, row)
	{
		const char *home = json_string_value(json_object_get(row, "home"));
		const char *country = json_string_value(json_object_get(row, "country"));

		if (!home || !country || strcmp(home, p->wave.from) != 0)
			continue;
		json_object_set_new(found, country, json_true());
		if (is_selected(p->wave.countries, country))
			count_country(p->by_country, country,
			    json_integer_value(json_object_get(row, "accounts")));
	}
	find_absent(p, found);
	if (!json_object_size(p->by_country))
		rc = nobody_selected(p, found, e);
	json_decref(found);
	json_decref(rows);
	return rc;
}

/* The first account of a list that is not at home in FROM is told: a list with a mistake in it is
 * refused as a whole. */
static int
count_by_list(struct node *n, struct plan *p, struct err *e)
{
	_cleanup_(freep) struct placement *found = calloc(DIRECTORY_BATCH_MAX, sizeof(*found));

	if (!found)
		return err_set(e, ERR_MEMORY, "no memory");
	for (size_t at = 0; at < p->selection.n_accounts; at += DIRECTORY_BATCH_MAX) {
		size_t left = p->selection.n_accounts - at;
		size_t some = left < DIRECTORY_BATCH_MAX ? left : DIRECTORY_BATCH_MAX;
		char id[ACCOUNT_TEXT_SIZE];

		if (directory_find(n->directory, p->accounts + at, some, found, e) < 0)
			return -1;
		for (size_t i = 0; i < some; i++) {
			account_text(&p->accounts[at + i], id);
			if (!found[i].epoch)
				return err_set(e, ERR_MISSING, "no account %s", id);
			if (strcmp(found[i].home, p->wave.from) != 0)
				return err_set(e, ERR_BAD, "account %s lives in %s, not in %s", id,
				    found[i].home, p->wave.from);
			count_country(p->by_country, found[i].country, 1);
		}
	}
	return 0;
}

static int
check_policy(struct node *n, const struct plan *p, struct err *e)
{
	const char *country;
	json_t *count;

	json_object_foreach(p->by_country, country, count)
	{
		if (policy_allows(n->policy, country, p->wave.to, e) < 0)
			return err_add(e, "%lld accounts of %s",
			    (long long)json_integer_value(count), country);
	}
	return 0;
}

/* --- how much and how long --- */

static int
add_id(void *arg, const struct placement *p, struct err *e)
{
	char id[ACCOUNT_TEXT_SIZE];

	account_text(&p->account, id);
	json_array_append_new(arg, json_string(id));
	return 0;
}

/* Ids are random, so the first ones of a selection are a fair sample; of a list, every n-th. */
static json_t *
take_sample(struct node *n, const struct plan *p, struct err *e)
{
	size_t count = p->selection.n_accounts;
	size_t every = count > SAMPLE ? count / SAMPLE : 1;
	json_t *ids = json_array();
	struct placement one = { 0 };

	for (size_t i = 0; i < count && json_array_size(ids) < SAMPLE; i += every) {
		one.account = p->accounts[i];
		if (add_id(ids, &one, e) < 0)
			break;
	}
	if (count ||
	    directory_list(
	        n->directory, NULL, p->wave.from, p->wave.countries, SAMPLE, add_id, ids, e) == 0)
		return ids;
	json_decref(ids);
	return NULL;
}

static int
estimate_bytes(struct request *r, const struct plan *p, uint64_t *bytes, struct err *e)
{
	json_t *ids = take_sample(r->node, p, e), *in, *out = NULL;
	json_int_t seen, sum;
	int rc;

	if (!ids)
		return -1;
	in = json_pack("{s:o}", "accounts", ids);
	rc = region_call(r, p->wave.from, "move/estimate", in, SAMPLE_MS, &out, e);
	json_decref(in);
	if (rc < 0)
		return -1;
	seen = json_integer_value(json_object_get(out, "accounts"));
	sum = json_integer_value(json_object_get(out, "bytes"));
	json_decref(out);
	*bytes = seen > 0 && sum > 0 ? (uint64_t)((double)sum / (double)seen * (double)p->n) : 0;
	return 0;
}

struct earlier {
	const char *to;
	char id[WAVE_ID_SIZE];
	uint64_t ms;
};

/* Newest first, so the first one that fits is the best guide. */
static int
find_earlier(void *arg, const struct wave *w, struct err *e)
{
	struct earlier *earlier = arg;

	if (*earlier->id || w->state != WAVE_DONE || strcmp(w->to, earlier->to) != 0 ||
	    w->finished_ms <= w->started_ms)
		return 0;
	strcpy(earlier->id, w->id);
	earlier->ms = w->finished_ms - w->started_ms;
	return 0;
}

/* *LOW and *HIGH in seconds, 0 if nothing is known: the limits, and how fast the last wave between
 * the two regions went, by accounts and by bytes. */
static void
estimate_time(struct node *n, const struct plan *p, uint64_t bytes, double *low, double *high)
{
	struct earlier earlier = { .to = p->wave.to };
	struct wave_sums sums;
	double limit = 0, moved;
	struct wave w;

	if (p->wave.bytes_per_s)
		limit = (double)bytes / (double)p->wave.bytes_per_s;
	if (p->wave.accounts_per_s && (double)p->n / (double)p->wave.accounts_per_s > limit)
		limit = (double)p->n / (double)p->wave.accounts_per_s;
	*low = *high = limit;
	if (directory_wave_list(n->directory, p->wave.from, find_earlier, &earlier, NULL) < 0 ||
	    !*earlier.id || directory_wave_get(n->directory, earlier.id, &w, &sums, NULL) < 0)
		return;
	moved = (double)(sums.items[ITEM_MOVED] + sums.items[ITEM_ERASED]);
	if (moved > 0 && sums.bytes) {
		double seconds = (double)earlier.ms / 1000;
		double by_count = (double)p->n / moved * seconds;
		double by_bytes = (double)bytes / (double)sums.bytes * seconds;

		*low = by_count < by_bytes ? by_count : by_bytes;
		*high = by_count < by_bytes ? by_bytes : by_count;
		*low = *low < limit ? limit : *low;
		*high = *high < limit ? limit : *high;
	}
}

static int
add_estimate(struct request *r, const struct plan *p, json_t *answer, struct err *e)
{
	uint64_t bytes = 0;
	double low, high;

	if (p->n && estimate_bytes(r, p, &bytes, e) < 0)
		return err_add(e, "estimate by %s", p->wave.from);
	estimate_time(r->node, p, bytes, &low, &high);
	json_object_set_new(answer, "estimated_bytes", json_integer((json_int_t)bytes));
	if (high > 0) {
		json_object_set_new(answer, "estimated_seconds_low", json_real(low));
		json_object_set_new(answer, "estimated_seconds_high", json_real(high));
	}
	return 0;
}

/* --- joined --- */

static int
make_plan(struct request *r, struct plan *p, json_t **out, struct err *e)
{
	struct node *n = r->node;
	json_t *answer;

	if (check_regions(n, &p->wave, e) < 0 ||
	    (p->accounts ? count_by_list(n, p, e) : count_by_selection(n, p, e)) < 0 ||
	    check_policy(n, p, e) < 0 ||
	    directory_wave_plan(n->directory, &p->wave, &p->selection, p->is_dry, &p->n, e) < 0)
		return -1;
	answer = json_pack("{s:o, s:I, s:O, s:O, s:b}", "wave", wave_json(&p->wave, NULL),
	    "accounts", (json_int_t)p->n, "by_country", p->by_country, "absent_countries",
	    p->absent, "dry_run", (int)p->is_dry);
	if (!answer)
		return err_set(e, ERR_MEMORY, "no memory for the answer");
	if (p->is_dry && add_estimate(r, p, answer, e) < 0) {
		json_decref(answer);
		return -1;
	}
	if (!p->is_dry)
		log_info("wave.planned", r->id, "wave=%s from=%s to=%s accounts=%llu", p->wave.id,
		    p->wave.from, p->wave.to, (unsigned long long)p->n);
	*out = answer;
	return 0;
}

int
admin_wave_plan(struct request *r, json_t *in, json_t **out, struct err *e)
{
	struct plan p = { .by_country = json_object(), .absent = json_array() };
	int rc = unpack_plan(in, &p, e);

	if (rc == 0)
		rc = make_plan(r, &p, out, e);
	json_decref(p.by_country);
	json_decref(p.absent);
	free(p.accounts);
	return rc;
}
