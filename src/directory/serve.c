/* serve.c - the directory for other regions: JSON in, JSON out, and who may ask for what.
 *
 * A region can only speak for itself: it takes an account in by its own swap, adds and removes its
 * own rows, and reports on the waves that leave it. Any region may read: the one that accounts have
 * moved to verifies them when the old one is long gone. Any region may cancel a move: the directory
 * does not know who takes part in one, and a move that was cancelled has merely to be tried again.
 * Any region may plan and change any wave, for its operators, unless the regions file says no.
 */
#include "directory/wire_private.h"

#include "base/log.h"

#include <pthread.h>
#include <string.h>

struct call {
	struct directory *d;
	const char *caller;
	bool may_operate; /* on waves that leave other regions */
	json_t *arguments;
	json_t *answer; /* NULL after success: no memory */
};

/* A text argument; NULL if absent. */
static const char *
text(const struct call *c, const char *name)
{
	return json_string_value(json_object_get(c->arguments, name));
}

static int
must_be(const struct call *c, const char *region, const char *what, struct err *e)
{
	if (strcmp(c->caller, region) == 0)
		return 0;
	return err_set(e, ERR_DENIED, "%s: only %s may, not %s", what, region, c->caller);
}

static int
account_argument(const struct call *c, const char *name, struct account_id *out, struct err *e)
{
	const char *id = text(c, name);

	return id && account_parse(id, out) ? 0 : err_set(e, ERR_BAD, "malformed '%s'", name);
}

/* *AFTER is NULL if there is none. */
static int
after_argument(
    const struct call *c, struct account_id *room, const struct account_id **after, struct err *e)
{
	*after = NULL;
	if (!text(c, "after"))
		return 0;
	*after = room;
	return account_argument(c, "after", room, e);
}

static int
limit_argument(const struct call *c, size_t *out, struct err *e)
{
	json_t *v = json_object_get(c->arguments, "limit");
	json_int_t n = json_integer_value(v);

	if (!json_is_integer(v) || n < 0)
		return err_set(e, ERR_BAD, "malformed 'limit'");
	*out = n < DIRECTORY_BATCH_MAX ? (size_t)n : DIRECTORY_BATCH_MAX;
	return 0;
}

/* Placements */

static int
serve_find(struct call *c, struct err *e)
{
	_cleanup_(freep) struct account_id *ids = NULL;
	_cleanup_(freep) struct placement *rows = NULL;
	json_t *list;
	size_t n;

	if (accounts_unpack(
	        json_object_get(c->arguments, "ids"), DIRECTORY_BATCH_MAX, &ids, &n, e) < 0)
		return -1;
	rows = calloc(n + 1, sizeof(*rows));
	if (!rows)
		return err_set(e, ERR_MEMORY, "no memory for %zu accounts", n);
	if (directory_find(c->d, ids, n, rows, e) < 0)
		return -1;
	list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, rows[i].epoch ? placement_pack(&rows[i]) : json_null());
	c->answer = json_pack("{s:o}", "rows", list);
	return 0;
}

static int
serve_add(struct call *c, struct err *e)
{
	json_t *list = json_object_get(c->arguments, "rows");
	_cleanup_(freep) struct placement *rows = NULL;
	size_t n;

	if (rows_count(list, DIRECTORY_BATCH_MAX, &n, e) < 0)
		return -1;
	rows = calloc(n + 1, sizeof(*rows));
	if (!rows)
		return err_set(e, ERR_MEMORY, "no memory for %zu accounts", n);
	for (size_t i = 0; i < n; i++)
		if (placement_unpack(json_array_get(list, i), &rows[i], e) < 0 ||
		    must_be(c, rows[i].home, "adding accounts", e) < 0)
			return -1;
	if (directory_add(c->d, rows, n, e) < 0)
		return -1;
	c->answer = json_object();
	return 0;
}

static int
serve_swap(struct call *c, struct err *e)
{
	json_t *list = json_object_get(c->arguments, "swaps"), *done;
	_cleanup_(freep) struct swap *swaps = NULL;
	size_t n;

	if (rows_count(list, DIRECTORY_BATCH_MAX, &n, e) < 0)
		return -1;
	swaps = calloc(n + 1, sizeof(*swaps));
	if (!swaps)
		return err_set(e, ERR_MEMORY, "no memory for %zu swaps", n);
	for (size_t i = 0; i < n; i++) {
		struct swap *s = &swaps[i];

		if (swap_unpack(json_array_get(list, i), s, e) < 0)
			return -1;
		if (strcmp(s->from, s->to) != 0 && must_be(c, s->to, "a swap to it", e) < 0)
			return -1;
	}
	if (directory_swap(c->d, swaps, n, e) < 0)
		return -1;
	done = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(done, swapped_pack(&swaps[i]));
	c->answer = json_pack("{s:o}", "swaps", done);
	return 0;
}

static int
serve_remove(struct call *c, struct err *e)
{
	struct placement p;

	if (placement_unpack(json_object_get(c->arguments, "row"), &p, e) < 0 ||
	    must_be(c, p.home, "removing its accounts", e) < 0 || directory_remove(c->d, &p, e) < 0)
		return -1;
	c->answer = json_object();
	return 0;
}

static int
serve_suspend(struct call *c, struct err *e)
{
	json_t *on = json_object_get(c->arguments, "on");
	struct account_id id;
	struct placement p;

	if (account_argument(c, "id", &id, e) < 0)
		return -1;
	if (!json_is_boolean(on))
		return err_set(e, ERR_BAD, "malformed 'on'");
	if (directory_find(c->d, &id, 1, &p, e) < 0)
		return -1;
	/* No row: the call itself says so. */
	if (p.epoch && must_be(c, p.home, "suspending its accounts", e) < 0)
		return -1;
	if (directory_suspend(c->d, &id, json_is_true(on), e) < 0)
		return -1;
	c->answer = json_object();
	return 0;
}

static int
append_row(void *arg, const struct placement *p, struct err *e)
{
	if (json_array_append_new(arg, placement_pack(p)) < 0)
		return err_set(e, ERR_MEMORY, "no memory for a list");
	return 0;
}

static int
serve_list(struct call *c, struct err *e)
{
	_cleanup_(json_decrefp) json_t *list = json_array();
	const struct account_id *after;
	struct account_id room;
	size_t limit;

	if (after_argument(c, &room, &after, e) < 0 || limit_argument(c, &limit, e) < 0 ||
	    directory_list(
	        c->d, after, text(c, "home"), text(c, "countries"), limit, append_row, list, e) < 0)
		return -1;
	c->answer = json_pack("{s:o}", "rows", take(&list));
	return 0;
}

static int
serve_count(struct call *c, struct err *e)
{
	json_t *count;

	if (directory_count(c->d, &count, e) < 0)
		return -1;
	c->answer = json_pack("{s:o}", "count", count);
	return 0;
}

/* Waves */

static const char *
wave_argument(const struct call *c, struct err *e)
{
	const char *id = text(c, "id");

	if (id && strlen(id) == WAVE_ID_SIZE - 1)
		return id;
	err_set(e, ERR_BAD, "malformed 'id' of a wave");
	return NULL;
}

/* A wave that leaves FROM is about to be planned or changed; ID may be "". */
static int
operate(const struct call *c, const char *what, const char *id, const char *from, struct err *e)
{
	if (strcmp(c->caller, from) == 0)
		return 0;
	log_audit("wave.operate", id, "call=%s caller=%s from=%s allowed=%d", what, c->caller, from,
	    c->may_operate);
	return c->may_operate
	    ? 0
	    : err_set(e, ERR_DENIED, "%s may not change waves that leave %s", c->caller, from);
}

static int
operate_on(const struct call *c, const char *what, const char *id, struct err *e)
{
	struct wave w;

	if (directory_wave_get(c->d, id, &w, NULL, e) < 0)
		return -1;
	return operate(c, what, w.id, w.from, e);
}

static int
serve_wave_plan(struct call *c, struct err *e)
{
	json_t *accounts = json_object_get(c->arguments, "accounts");
	_cleanup_(freep) struct account_id *ids = NULL;
	struct selection s = { text(c, "home"), text(c, "countries"), NULL, 0 };
	struct wave w;
	uint64_t n;

	if (wave_unpack(json_object_get(c->arguments, "wave"), &w, NULL, e) < 0)
		return -1;
	if (accounts && accounts_unpack(accounts, SELECTION_MAX, &ids, &s.n_accounts, e) < 0)
		return -1;
	s.accounts = ids;
	if (!region_name_valid(w.from))
		return err_set(e, ERR_BAD, "malformed 'from' of a wave");
	if (operate(c, "plan", NULL, w.from, e) < 0 ||
	    directory_wave_plan(
	        c->d, &w, &s, json_is_true(json_object_get(c->arguments, "dry")), &n, e) < 0)
		return -1;
	c->answer = json_pack("{s:o, s:I}", "wave", wave_json(&w, NULL), "n", (json_int_t)n);
	return 0;
}

static int
serve_wave_get(struct call *c, struct err *e)
{
	const char *id = wave_argument(c, e);
	bool is_summed = json_is_true(json_object_get(c->arguments, "sums"));
	struct wave_sums sums;
	struct wave w;

	if (!id || directory_wave_get(c->d, id, &w, is_summed ? &sums : NULL, e) < 0)
		return -1;
	c->answer = json_pack("{s:o}", "wave", wave_json(&w, is_summed ? &sums : NULL));
	return 0;
}

static int
append_wave(void *arg, const struct wave *w, struct err *e)
{
	if (json_array_append_new(arg, wave_json(w, NULL)) < 0)
		return err_set(e, ERR_MEMORY, "no memory for a list");
	return 0;
}

static int
serve_wave_list(struct call *c, struct err *e)
{
	_cleanup_(json_decrefp) json_t *list = json_array();

	if (directory_wave_list(c->d, text(c, "from"), append_wave, list, e) < 0)
		return -1;
	c->answer = json_pack("{s:o}", "waves", take(&list));
	return 0;
}

static int
serve_wave_set(struct call *c, struct err *e)
{
	const char *id = wave_argument(c, e), *to = text(c, "to");
	enum wave_state state;

	if (!id)
		return -1;
	if (!to || !wave_state_parse(to, &state))
		return err_set(e, ERR_BAD, "malformed 'to'");
	if (operate_on(c, wave_state_name(state), id, e) < 0 ||
	    directory_wave_set(c->d, id, state, e) < 0)
		return -1;
	c->answer = json_object();
	return 0;
}

static int
serve_wave_retry(struct call *c, struct err *e)
{
	const char *id = wave_argument(c, e);
	uint64_t n;

	if (!id || operate_on(c, "retry", id, e) < 0 || directory_wave_retry(c->d, id, &n, e) < 0)
		return -1;
	c->answer = json_pack("{s:I}", "n", (json_int_t)n);
	return 0;
}

/* The wave's id, if its items are the caller's. */
static const char *
source_argument(const struct call *c, struct err *e)
{
	const char *id = wave_argument(c, e);
	struct wave w;

	if (!id || directory_wave_get(c->d, id, &w, NULL, e) < 0 ||
	    must_be(c, w.from, "the items of its waves", e) < 0)
		return NULL;
	return id;
}

static int
serve_wave_items(struct call *c, struct err *e)
{
	const char *id = wave_argument(c, e);
	json_t *mask = json_object_get(c->arguments, "mask"), *list;
	_cleanup_(freep) struct wave_item *items = NULL;
	const struct account_id *after;
	struct account_id room;
	size_t n;

	if (!id || after_argument(c, &room, &after, e) < 0 || limit_argument(c, &n, e) < 0)
		return -1;
	if (!json_is_integer(mask))
		return err_set(e, ERR_BAD, "malformed 'mask'");
	items = calloc(n + 1, sizeof(*items));
	if (!items)
		return err_set(e, ERR_MEMORY, "no memory for %zu items", n);
	if (directory_wave_items(
	        c->d, id, (unsigned)json_integer_value(mask), after, items, &n, e) < 0)
		return -1;
	list = json_array();
	for (size_t i = 0; i < n; i++) {
		if (json_array_append_new(list, item_pack(&items[i])) == 0)
			continue;
		/* A shorter list would say that there are no more. */
		json_decref(list);
		return err_set(e, ERR_MEMORY, "no memory for a list");
	}
	c->answer = json_pack("{s:o}", "items", list);
	return 0;
}

static int
serve_wave_update(struct call *c, struct err *e)
{
	const char *id = source_argument(c, e);
	json_t *list = json_object_get(c->arguments, "items");
	_cleanup_(freep) struct wave_item *items = NULL;
	size_t n;

	if (!id || rows_count(list, DIRECTORY_BATCH_MAX, &n, e) < 0)
		return -1;
	items = calloc(n + 1, sizeof(*items));
	if (!items)
		return err_set(e, ERR_MEMORY, "no memory for %zu items", n);
	for (size_t i = 0; i < n; i++)
		if (item_unpack(json_array_get(list, i), &items[i], e) < 0)
			return -1;
	if (directory_wave_update(c->d, id, items, n, e) < 0)
		return -1;
	c->answer = json_object();
	return 0;
}

/* Terms */

static int
term_arguments(const struct call *c, struct region_term *t, struct err *e)
{
	const char *region = text(c, "region");

	if (!region || !region_name_valid(region))
		return err_set(e, ERR_BAD, "malformed 'region'");
	if (must_be(c, region, "its term", e) < 0)
		return -1;
	return term_unpack(json_object_get(c->arguments, "term"), region, t, e);
}

static int
serve_term_get(struct call *c, struct err *e)
{
	const char *region = text(c, "region");
	struct region_term t;

	if (!region || !region_name_valid(region))
		return err_set(e, ERR_BAD, "malformed 'region'");
	if (directory_term_get(c->d, region, &t, e) < 0)
		return -1;
	c->answer = json_pack("{s:o}", "term", term_pack(&t));
	return 0;
}

static int
serve_term_hold(struct call *c, struct err *e)
{
	struct region_term t;

	if (term_arguments(c, &t, e) < 0 || directory_term_hold(c->d, &t, e) < 0)
		return -1;
	c->answer = json_object();
	return 0;
}

static int
serve_term_raise(struct call *c, struct err *e)
{
	struct region_term t;

	if (term_arguments(c, &t, e) < 0 || directory_term_raise(c->d, &t, e) < 0)
		return -1;
	c->answer = json_pack("{s:o}", "term", term_pack(&t));
	return 0;
}

/* A node that has lost its region to its standby may not know yet. */
static int
check_term(const struct call *c, struct err *e)
{
	json_t *said = json_object_get(c->arguments, "term");
	struct region_term now, t = { 0 };
	struct err why;

	if (directory_term_get(c->d, c->caller, &now, &why) < 0) {
		if (why.kind == ERR_MISSING)
			return 0;
		if (e)
			*e = why;
		return -1;
	}
	if (said && term_unpack(said, c->caller, &t, e) < 0)
		return -1;
	if (t.term == now.term && memcmp(t.holder, now.holder, TERM_HOLDER_BYTES) == 0)
		return 0;
	return err_set(e, ERR_STALE,
	    "the region %s is another node: the one that asks is its standby, or its standby was promoted",
	    c->caller);
}

/* While a call is looked at and carried out no term is raised: what its former holder asked for is either
 * done before, or refused. Rows are not even told to it: it could begin a move with the attempt that
 * was raised with the term, which then nothing would cancel. */
static pthread_rwlock_t terms = PTHREAD_RWLOCK_INITIALIZER;

static int
carry_out(
    struct call *c, int (*serve)(struct call *c, struct err *e), bool needs_term, struct err *e)
{
	int rc;

	if (serve == serve_term_raise)
		pthread_rwlock_wrlock(&terms);
	else
		pthread_rwlock_rdlock(&terms);
	rc = needs_term && check_term(c, e) < 0 ? -1 : serve(c, e);
	pthread_rwlock_unlock(&terms);
	return rc;
}

static const struct {
	const char *op;
	int (*serve)(struct call *c, struct err *e);
	bool needs_term; /* if the caller's region has one */
} calls[] = {
	{ "find", serve_find, true },
	{ "add", serve_add, true },
	{ "swap", serve_swap, true },
	{ "remove", serve_remove, true },
	{ "suspend", serve_suspend, true },
	{ "list", serve_list, true },
	{ "count", serve_count, true },
	{ "wave_plan", serve_wave_plan, true },
	{ "wave_get", serve_wave_get, true },
	{ "wave_list", serve_wave_list, true },
	{ "wave_set", serve_wave_set, true },
	{ "wave_retry", serve_wave_retry, true },
	{ "wave_items", serve_wave_items, true },
	{ "wave_update", serve_wave_update, true },
	{ "term_get", serve_term_get, false },
	{ "term_hold", serve_term_hold, false },
	{ "term_raise", serve_term_raise, false },
};

int
directory_serve(struct directory *d, const char *caller, bool may_operate, const char *op,
    json_t *arguments, json_t **answer, struct err *e)
{
	struct call c = { d, caller, may_operate, arguments, NULL };

	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		if (strcmp(calls[i].op, op) != 0)
			continue;
		if (carry_out(&c, calls[i].serve, calls[i].needs_term, e) < 0)
			return -1;
		if (!c.answer)
			return err_set(e, ERR_MEMORY, "no memory for an answer");
		*answer = c.answer;
		return 0;
	}
	return err_set(e, ERR_MISSING, "no directory call '%.32s'", op);
}
