/* admin_wave.c - the operator's calls about waves that exist. Planning one is in admin_plan.c.
 *
 * Any region's node takes them: the plan lies in the directory, and the region that the accounts
 * leave is told to look at it.
 */
#include "front/admin_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "base/log.h"

#define STATUS_MS         5000
#define ITEMS_MAX         1000
#define VERIFY_ITEMS_MAX  256
#define VERIFY_BYTES      ((uint64_t)1 << 30)
#define VERIFY_BASE_MS    60000
#define VERIFY_SLOWEST_KB 4096 /* a second */

/* The wave that IN names, its only field. */
static int
find_wave(struct request *r, json_t *in, struct wave *w, struct wave_sums *sums, struct err *e)
{
	const char *id;

	if (admin_unpack(in, e, "{s:s}", "wave", &id) < 0)
		return -1;
	return directory_wave_get(r->node->directory, id, w, sums, e);
}

/* The source looks at its waves at once. It would at its next tick too, so failing is no error. */
static void
nudge(struct request *r, const struct wave *w)
{
	json_t *in = json_object(), *out = NULL;
	struct err e;

	if (region_call(r, w->from, "move/nudge", in, STATUS_MS, &out, &e) < 0)
		log_warn("wave.nudge", r->id, "wave=%s region=%s %s", w->id, w->from, e.text);
	json_decref(out);
	json_decref(in);
}

/* A wave with its sums, as it is shown: all on one level. */
static json_t *
shown(const struct wave *w, const struct wave_sums *sums)
{
	json_t *it = wave_json(w, sums), *part = json_incref(json_object_get(it, "sums"));
	uint64_t end = w->finished_ms ? w->finished_ms : host_wall_ms(), accounts = 0;

	json_object_del(it, "sums");
	json_object_update_missing(it, part);
	json_decref(part);
	json_object_del(it, "pause_p50_us");
	json_object_del(it, "pause_p99_us");
	json_object_del(it, "pause_max_us");
	json_object_set_new(it, "pause_us",
	    json_pack("{s:I, s:I, s:I}", "p50", (json_int_t)sums->pause_p50_us, "p99",
	        (json_int_t)sums->pause_p99_us, "max", (json_int_t)sums->pause_max_us));
	for (int i = 0; i < ITEM_STATES; i++)
		accounts += sums->items[i];
	json_object_set_new(it, "accounts", json_integer((json_int_t)accounts));
	if (w->started_ms && end >= w->started_ms)
		json_object_set_new(
		    it, "moving_s", json_real((double)(end - w->started_ms) / 1000));
	return it;
}

static int
answer_wave(struct request *r, const char *id, json_t **out, struct err *e)
{
	struct wave_sums sums;
	struct wave w;

	if (directory_wave_get(r->node->directory, id, &w, &sums, e) < 0)
		return -1;
	return admin_made(shown(&w, &sums), out, e);
}

static int
set_state(struct request *r, json_t *in, enum wave_state to, json_t **out, struct err *e)
{
	struct wave w;

	if (find_wave(r, in, &w, NULL, e) < 0)
		return -1;
	if (directory_wave_set(r->node->directory, w.id, to, e) < 0)
		return -1;
	log_info("wave.set", r->id, "wave=%s from=%s to=%s state=%s", w.id, w.from, w.to,
	    wave_state_name(to));
	nudge(r, &w);
	return answer_wave(r, w.id, out, e);
}

int
admin_wave_run(struct request *r, json_t *in, json_t **out, struct err *e)
{
	return set_state(r, in, WAVE_RUNNING, out, e);
}

int
admin_wave_pause(struct request *r, json_t *in, json_t **out, struct err *e)
{
	return set_state(r, in, WAVE_PAUSED, out, e);
}

int
admin_wave_resume(struct request *r, json_t *in, json_t **out, struct err *e)
{
	return set_state(r, in, WAVE_RUNNING, out, e);
}

int
admin_wave_cancel(struct request *r, json_t *in, json_t **out, struct err *e)
{
	return set_state(r, in, WAVE_CANCELLED, out, e);
}

int
admin_wave_retry(struct request *r, json_t *in, json_t **out, struct err *e)
{
	struct wave w;
	uint64_t n = 0;

	if (find_wave(r, in, &w, NULL, e) < 0 ||
	    directory_wave_retry(r->node->directory, w.id, &n, e) < 0)
		return -1;
	nudge(r, &w);
	return admin_made(json_pack("{s:I}", "accounts", (json_int_t)n), out, e);
}

static int
add_wave(void *arg, const struct wave *w, struct err *e)
{
	if (json_array_append_new(arg, wave_json(w, NULL)) < 0)
		return err_set(e, ERR_MEMORY, "no memory for the list");
	return 0;
}

int
admin_wave_list(struct request *r, json_t *in, json_t **out, struct err *e)
{
	const char *from = NULL;
	json_t *list;

	if (admin_unpack(in, e, "{s?s}", "from", &from) < 0)
		return -1;
	list = json_array();
	if (directory_wave_list(r->node->directory, from, add_wave, list, e) < 0 ||
	    (from && !json_array_size(list) && admin_region(r->node, from, e) < 0)) {
		json_decref(list);
		return -1;
	}
	return admin_made(json_pack("{s:o}", "waves", list), out, e);
}

/* What the source is doing now and how far it is from the destination. That it can't be asked is
 * worth showing, and no reason to show nothing. */
static void
add_moving(struct request *r, const struct wave *w, json_t *status)
{
	json_t *in = json_pack("{s:s}", "to", w->to), *moving = NULL;
	struct err e = { 0 };

	if (region_call(r, w->from, "move/status", in, STATUS_MS, &moving, &e) == 0) {
		json_object_set(status, "round_trip_us", json_object_get(moving, "round_trip_us"));
		json_object_set_new(status, "moving", moving);
	} else {
		json_object_set_new(status, "unreachable", json_string(e.text));
	}
	json_decref(in);
}

int
admin_wave_status(struct request *r, json_t *in, json_t **out, struct err *e)
{
	struct wave_sums sums;
	struct wave w;
	json_t *status;

	if (find_wave(r, in, &w, &sums, e) < 0)
		return -1;
	status = shown(&w, &sums);
	if (status)
		add_moving(r, &w, status);
	return admin_made(status, out, e);
}

static int
parse_states(json_t *states, unsigned *mask, struct err *e)
{
	json_t *state;
	size_t at;

	json_array_foreach(states, at, state)
	{
		const char *word = json_string_value(state);
		unsigned i = 0;

		while (i < ITEM_STATES && (!word || strcmp(word, item_state_name(i)) != 0))
			i++;
		if (i == ITEM_STATES)
			return err_set(e, ERR_BAD,
			    "'%.40s' is no state; see: domicile wave items --help",
			    word ? word : "?");
		*mask |= BIT(i);
	}
	return 0;
}

static json_t *
item_json(const struct wave_item *i)
{
	char id[ACCOUNT_TEXT_SIZE];

	account_text(&i->account, id);
	return json_pack("{s:s, s:s, s:I, s:I, s:i, s:i, s:s}", "account", id, "state",
	    item_state_name(i->state), "bytes", (json_int_t)i->bytes, "pause_us",
	    (json_int_t)i->pause_us, "tries", (int)i->tries, "held", (int)i->held, "reason",
	    i->reason);
}

/* ITEMS of a page that had room for MAX, and where the next page begins. */
static json_t *
page_json(json_t *items, const struct wave_item *read, size_t n, size_t max)
{
	char id[ACCOUNT_TEXT_SIZE];

	if (n < max)
		return json_pack("{s:o, s:n}", "items", items, "next");
	account_text(&read[n - 1].account, id);
	return json_pack("{s:o, s:s}", "items", items, "next", id);
}

int
admin_wave_items(struct request *r, json_t *in, json_t **out, struct err *e)
{
	_cleanup_(freep) struct wave_item *items = calloc(ITEMS_MAX, sizeof(*items));
	const char *wave, *after = NULL;
	json_t *states = NULL, *list;
	struct account_id from;
	size_t n = ITEMS_MAX;
	unsigned mask = 0;

	if (!items)
		return err_set(e, ERR_MEMORY, "no memory for the items");
	if (admin_unpack(
	        in, e, "{s:s, s?o, s?s}", "wave", &wave, "states", &states, "after", &after) < 0 ||
	    (after && admin_account(after, &from, e) < 0) || parse_states(states, &mask, e) < 0 ||
	    directory_wave_items(r->node->directory, wave, mask ? mask : BIT(ITEM_STATES) - 1,
	        after ? &from : NULL, items, &n, e) < 0)
		return -1;
	list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, item_json(&items[i]));
	return admin_made(page_json(list, items, n, ITEMS_MAX), out, e);
}

/* --- verifying --- */

/* How many of the N items one call verifies: not more bytes than it can read in its time. */
static size_t
portion(const struct wave_item *items, size_t n)
{
	uint64_t bytes = 0;
	size_t i = 0;

	while (i < n && (i == 0 || bytes + items[i].bytes <= VERIFY_BYTES))
		bytes += items[i++].bytes;
	return i;
}

/* Those of the N placements that are at REGION, as a list of ids; the others as results. */
static json_t *
sort_out(const struct placement *p, size_t n, const char *region, json_t *results)
{
	json_t *ids = json_array();
	char id[ACCOUNT_TEXT_SIZE];

	for (size_t i = 0; i < n; i++) {
		account_text(&p[i].account, id);
		if (p[i].epoch && strcmp(p[i].home, region) == 0)
			json_array_append_new(ids, json_string(id));
		else
			json_array_append_new(results,
			    json_pack("{s:s, s:s, s:s, s:i}", "account", id, "result", "left",
			        "detail",
			        p[i].epoch ? "lives elsewhere by now" : "was removed by now",
			        "bytes", 0));
	}
	return ids;
}

static int
verify_items(struct request *r, const struct wave *w, const struct wave_item *items, size_t n,
    json_t *results, struct err *e)
{
	_cleanup_(freep) struct account_id *ids = calloc(n + 1, sizeof(*ids));
	_cleanup_(freep) struct placement *placed = calloc(n + 1, sizeof(*placed));
	json_t *in, *answer = NULL;
	uint64_t bytes = 0;
	int rc = 0;

	if (!ids || !placed)
		return err_set(e, ERR_MEMORY, "no memory for %zu accounts", n);
	for (size_t i = 0; i < n; i++) {
		ids[i] = items[i].account;
		bytes += items[i].bytes;
	}
	if (n && directory_find(r->node->directory, ids, n, placed, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		placed[i].account = ids[i]; /* a missing row is not filled in */
	in = json_pack("{s:o}", "accounts", sort_out(placed, n, w->to, results));
	if (json_array_size(json_object_get(in, "accounts")) > 0) {
		rc = region_call(r, w->to, "move/verify", in,
		    VERIFY_BASE_MS + bytes / VERIFY_SLOWEST_KB, &answer, e);
		if (rc == 0)
			json_array_extend(results, json_object_get(answer, "results"));
	}
	json_decref(answer);
	json_decref(in);
	return rc;
}

int
admin_wave_verify(struct request *r, json_t *in, json_t **out, struct err *e)
{
	_cleanup_(freep) struct wave_item *items = calloc(VERIFY_ITEMS_MAX, sizeof(*items));
	const char *wave, *after = NULL;
	struct account_id from;
	size_t n = VERIFY_ITEMS_MAX, some;
	json_t *results;
	struct wave w;
	int limit = 64;

	if (!items)
		return err_set(e, ERR_MEMORY, "no memory for the items");
	if (admin_unpack(
	        in, e, "{s:s, s?s, s?i}", "wave", &wave, "after", &after, "limit", &limit) < 0 ||
	    (after && admin_account(after, &from, e) < 0))
		return -1;
	if (limit < 1 || limit > VERIFY_ITEMS_MAX)
		return err_set(e, ERR_BAD, "limit must lie between 1 and %d", VERIFY_ITEMS_MAX);
	n = (size_t)limit;
	if (directory_wave_get(r->node->directory, wave, &w, NULL, e) < 0 ||
	    directory_wave_items(r->node->directory, wave, BIT(ITEM_MOVED) | BIT(ITEM_ERASED),
	        after ? &from : NULL, items, &n, e) < 0)
		return -1;
	some = portion(items, n);
	results = json_array();
	if (verify_items(r, &w, items, some, results, e) < 0) {
		json_decref(results);
		return -1;
	}
	/* A portion that is not all of the page goes on like a full page. */
	return admin_made(page_json(results, items, some, some < n ? some : (size_t)limit), out, e);
}
