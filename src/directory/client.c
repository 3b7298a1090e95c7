/* client.c - the directory of another node, over the peers.
 *
 * A call whose answer was lost may have been carried out; the caller gets ERR_PEER and asks again.
 * Swaps are made for that; the rest looks (find, wave_get) before it repeats.
 */
#include "directory/peer.h"
#include "directory/wire_private.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define CALL_WAIT_MS 10000
#define PLAN_WAIT_MS 300000 /* a wave of millions is written in one transaction */

struct client {
	struct directory directory;
	struct peers *peers;
	char name[REGION_NAME_SIZE];
	char endpoint[128];
	pthread_mutex_t lock; /* of what follows */
	json_t *term;         /* sent with every call; NULL: none */
};

/* Takes over ARGUMENTS. */
static int
call(struct directory *d, const char *op, json_t *arguments, uint64_t wait_ms, json_t **answer,
    struct err *e)
{
	struct client *c = container_of(d, struct client, directory);
	_cleanup_(json_decrefp) json_t *body = arguments;
	char path[64];

	if (!body)
		return err_set(e, ERR_MEMORY, "no memory for a call to the directory");
	pthread_mutex_lock(&c->lock);
	if (c->term && !json_object_get(body, "term"))
		json_object_set_new(body, "term", json_deep_copy(c->term));
	pthread_mutex_unlock(&c->lock);
	snprintf(path, sizeof(path), DIRECTORY_PATH "%s", op);
	return peer_call(c->peers, c->name, c->endpoint, path, NULL, body, answer, wait_ms, e);
}

/* What came back can't be read: the other side's fault, not the caller's. */
static int
bad_answer(const char *op, struct err *e)
{
	return err_set(e, ERR_PEER, "the directory's answer to %s is malformed", op);
}

/* A call without an answer worth reading. */
static int
tell(struct directory *d, const char *op, json_t *arguments, struct err *e)
{
	_cleanup_(json_decrefp) json_t *answer = NULL;

	return call(d, op, arguments, CALL_WAIT_MS, &answer, e);
}

static json_t *
text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *
account_json(const struct account_id *id)
{
	char text[ACCOUNT_TEXT_SIZE];

	if (!id)
		return json_null();
	account_text(id, text);
	return json_string(text);
}

/* LIST with IT behind it; NULL: no memory, and whatever is made of that has none either. */
static json_t *
append(json_t *list, json_t *it)
{
	if (json_array_append_new(list, it) == 0)
		return list;
	json_decref(list);
	return NULL;
}

/* The array NAME of an answer, of at most MAX. */
static json_t *
rows(json_t *answer, const char *name, size_t max, size_t *n)
{
	json_t *list = json_object_get(answer, name);

	return rows_count(list, max, n, NULL) < 0 ? NULL : list;
}

/* Placements */

static int
client_find(struct directory *d, const struct account_id *ids, size_t n, struct placement *out,
    struct err *e)
{
	_cleanup_(json_decrefp) json_t *answer = NULL;
	json_t *list;
	size_t got;

	assert(n <= DIRECTORY_BATCH_MAX);
	if (call(d, "find", json_pack("{s:o}", "ids", accounts_pack(ids, n)), CALL_WAIT_MS, &answer,
	        e) < 0)
		return -1;
	list = rows(answer, "rows", n, &got);
	if (!list || got != n)
		return bad_answer("find", e);
	for (size_t i = 0; i < n; i++) {
		json_t *row = json_array_get(list, i);

		out[i] = (struct placement){ .account = ids[i] };
		if (json_is_null(row))
			continue;
		if (placement_unpack(row, &out[i], e) < 0 ||
		    !account_equal(&out[i].account, &ids[i]))
			return bad_answer("find", e);
	}
	return 0;
}

static int
client_add(struct directory *d, const struct placement *p, size_t n, struct err *e)
{
	json_t *list = json_array();

	assert(n <= DIRECTORY_BATCH_MAX);
	for (size_t i = 0; i < n; i++)
		list = append(list, placement_pack(&p[i]));
	return tell(d, "add", json_pack("{s:o}", "rows", list), e);
}

static int
read_swapped(json_t *answer, struct swap *s, size_t n, struct err *e)
{
	size_t got;
	json_t *list = rows(answer, "swaps", n, &got);

	if (!list || got != n)
		return bad_answer("swap", e);
	for (size_t i = 0; i < n; i++)
		if (swapped_unpack(json_array_get(list, i), &s[i], e) < 0)
			return bad_answer("swap", e);
	return 0;
}

/* model: r_cancel_lost, r_cancel_answer_lost, r_swap_lost, r_swap_answer_lost */
static int
client_swap(struct directory *d, struct swap *s, size_t n, struct err *e)
{
	_cleanup_(json_decrefp) json_t *answer = NULL;
	json_t *list = json_array();
	int rc;

	assert(n <= DIRECTORY_BATCH_MAX);
	for (size_t i = 0; i < n; i++)
		list = append(list, swap_pack(&s[i]));
	rc = call(d, "swap", json_pack("{s:o}", "swaps", list), CALL_WAIT_MS, &answer, e);
	if (rc == 0)
		rc = read_swapped(answer, s, n, e);
	/* Nobody may believe in part of an answer. */
	for (size_t i = 0; rc < 0 && i < n; i++)
		s[i].is_done = s[i].is_missing = false;
	return rc;
}

static int
client_remove(struct directory *d, const struct placement *p, struct err *e)
{
	return tell(d, "remove", json_pack("{s:o}", "row", placement_pack(p)), e);
}

static int
client_suspend(struct directory *d, const struct account_id *id, bool on, struct err *e)
{
	return tell(
	    d, "suspend", json_pack("{s:o, s:b}", "id", account_json(id), "on", (int)on), e);
}

/* One call's worth: *N rows, fewer than asked for at the end. */
static int
list_piece(struct directory *d, const struct account_id *after, const char *home,
    const char *countries, struct placement *out, size_t *n, struct err *e)
{
	_cleanup_(json_decrefp) json_t *answer = NULL;
	json_t *list;

	if (call(d, "list",
	        json_pack("{s:o, s:o, s:o, s:I}", "after", account_json(after), "home",
	            text_or_null(home), "countries", text_or_null(countries), "limit",
	            (json_int_t)*n),
	        CALL_WAIT_MS, &answer, e) < 0)
		return -1;
	list = rows(answer, "rows", *n, n);
	if (!list)
		return bad_answer("list", e);
	for (size_t i = 0; i < *n; i++)
		if (placement_unpack(json_array_get(list, i), &out[i], e) < 0)
			return bad_answer("list", e);
	return 0;
}

static int
client_list(struct directory *d, const struct account_id *after, const char *home,
    const char *countries, size_t limit, directory_fn *fn, void *arg, struct err *e)
{
	_cleanup_(freep) struct placement *got = calloc(DIRECTORY_BATCH_MAX, sizeof(*got));
	struct account_id last;

	if (!got)
		return err_set(e, ERR_MEMORY, "no memory for a list of accounts");
	while (limit) {
		size_t want = limit < DIRECTORY_BATCH_MAX ? limit : DIRECTORY_BATCH_MAX, n = want;

		if (list_piece(d, after, home, countries, got, &n, e) < 0)
			return -1;
		for (size_t i = 0; i < n; i++)
			if (fn(arg, &got[i], e) < 0)
				return -1;
		if (n < want)
			return 0;
		limit -= n;
		last = got[n - 1].account;
		after = &last;
	}
	return 0;
}

static int
client_count(struct directory *d, json_t **out, struct err *e)
{
	_cleanup_(json_decrefp) json_t *answer = NULL;
	json_t *count;

	if (call(d, "count", json_object(), CALL_WAIT_MS, &answer, e) < 0)
		return -1;
	count = json_object_get(answer, "count");
	if (!json_is_array(count))
		return bad_answer("count", e);
	*out = json_incref(count);
	return 0;
}

/* Waves */

static int
client_wave_plan(struct directory *d, struct wave *w, const struct selection *s, bool dry,
    uint64_t *n, struct err *e)
{
	_cleanup_(json_decrefp) json_t *answer = NULL;
	json_t *accounts = s->accounts ? accounts_pack(s->accounts, s->n_accounts) : NULL;
	struct wave planned = *w;
	json_t *arguments, *count;

	if (s->n_accounts > SELECTION_MAX) {
		json_decref(accounts);
		return err_set(e, ERR_TOO_BIG, "a list of %zu accounts; at most %d", s->n_accounts,
		    SELECTION_MAX);
	}
	planned.id[0] = 0; /* made there */
	planned.state = WAVE_PLANNED;
	arguments = json_pack("{s:o, s:o, s:o, s:b, s:o*}", "wave", wave_json(&planned, NULL),
	    "home", text_or_null(s->home), "countries", text_or_null(s->countries), "dry", (int)dry,
	    "accounts", accounts);
	if (call(d, "wave_plan", arguments, PLAN_WAIT_MS, &answer, e) < 0)
		return -1;
	count = json_object_get(answer, "n");
	if (!json_is_integer(count) || json_integer_value(count) < 0 ||
	    wave_unpack(json_object_get(answer, "wave"), &planned, NULL, e) < 0)
		return bad_answer("wave_plan", e);
	*n = (uint64_t)json_integer_value(count);
	*w = planned;
	return 0;
}

static int
client_wave_get(
    struct directory *d, const char *id, struct wave *w, struct wave_sums *sums, struct err *e)
{
	_cleanup_(json_decrefp) json_t *answer = NULL;

	if (call(d, "wave_get", json_pack("{s:s, s:b}", "id", id, "sums", sums ? 1 : 0),
	        CALL_WAIT_MS, &answer, e) < 0)
		return -1;
	if (wave_unpack(json_object_get(answer, "wave"), w, sums, e) < 0)
		return bad_answer("wave_get", e);
	return 0;
}

static int
client_wave_list(struct directory *d, const char *from, wave_fn *fn, void *arg, struct err *e)
{
	_cleanup_(json_decrefp) json_t *answer = NULL;
	json_t *list, *one;
	size_t i;

	if (call(d, "wave_list", json_pack("{s:o}", "from", text_or_null(from)), CALL_WAIT_MS,
	        &answer, e) < 0)
		return -1;
	list = json_object_get(answer, "waves");
	if (!json_is_array(list))
		return bad_answer("wave_list", e);
	json_array_foreach(list, i, one)
	{
		struct wave w;

		if (wave_unpack(one, &w, NULL, e) < 0)
			return bad_answer("wave_list", e);
		if (fn(arg, &w, e) < 0)
			return -1;
	}
	return 0;
}

static int
client_wave_set(struct directory *d, const char *id, enum wave_state to, struct err *e)
{
	return tell(d, "wave_set", json_pack("{s:s, s:s}", "id", id, "to", wave_state_name(to)), e);
}

static int
client_wave_retry(struct directory *d, const char *id, uint64_t *n, struct err *e)
{
	_cleanup_(json_decrefp) json_t *answer = NULL;
	json_t *count;

	if (call(d, "wave_retry", json_pack("{s:s}", "id", id), CALL_WAIT_MS, &answer, e) < 0)
		return -1;
	count = json_object_get(answer, "n");
	if (!json_is_integer(count) || json_integer_value(count) < 0)
		return bad_answer("wave_retry", e);
	*n = (uint64_t)json_integer_value(count);
	return 0;
}

static int
items_piece(struct directory *d, const char *id, unsigned mask, const struct account_id *after,
    struct wave_item *items, size_t *n, struct err *e)
{
	_cleanup_(json_decrefp) json_t *answer = NULL;
	json_t *list;

	if (call(d, "wave_items",
	        json_pack("{s:s, s:I, s:o, s:I}", "id", id, "mask", (json_int_t)mask, "after",
	            account_json(after), "limit", (json_int_t)*n),
	        CALL_WAIT_MS, &answer, e) < 0)
		return -1;
	list = rows(answer, "items", *n, n);
	if (!list)
		return bad_answer("wave_items", e);
	for (size_t i = 0; i < *n; i++)
		if (item_unpack(json_array_get(list, i), &items[i], e) < 0)
			return bad_answer("wave_items", e);
	return 0;
}

/* As many calls as the caller's room takes: fewer items than room means that there are no more. */
static int
client_wave_items(struct directory *d, const char *id, unsigned mask,
    const struct account_id *after, struct wave_item *items, size_t *n, struct err *e)
{
	size_t found = 0;

	while (found < *n) {
		size_t left = *n - found;
		size_t want = left < DIRECTORY_BATCH_MAX ? left : DIRECTORY_BATCH_MAX, got = want;

		if (items_piece(d, id, mask, after, items + found, &got, e) < 0)
			return -1;
		found += got;
		if (got < want)
			break;
		after = &items[found - 1].account;
	}
	*n = found;
	return 0;
}

static int
client_wave_update(
    struct directory *d, const char *id, const struct wave_item *items, size_t n, struct err *e)
{
	json_t *list = json_array();

	assert(n <= DIRECTORY_BATCH_MAX);
	for (size_t i = 0; i < n; i++)
		list = append(list, item_pack(&items[i]));
	return tell(d, "wave_update", json_pack("{s:s, s:o}", "id", id, "items", list), e);
}

/* Terms */

static int
client_term_get(struct directory *d, const char *region, struct region_term *out, struct err *e)
{
	_cleanup_(json_decrefp) json_t *answer = NULL;

	if (call(d, "term_get", json_pack("{s:s}", "region", region), CALL_WAIT_MS, &answer, e) < 0)
		return -1;
	if (term_unpack(json_object_get(answer, "term"), region, out, NULL) < 0)
		return bad_answer("term_get", e);
	return 0;
}

static int
client_term_hold(struct directory *d, const struct region_term *t, struct err *e)
{
	return tell(
	    d, "term_hold", json_pack("{s:s, s:o}", "region", t->region, "term", term_pack(t)), e);
}

static int
client_term_raise(struct directory *d, struct region_term *t, struct err *e)
{
	_cleanup_(json_decrefp) json_t *answer = NULL;
	char region[REGION_NAME_SIZE];

	strcpy(region, t->region);
	if (call(d, "term_raise", json_pack("{s:s, s:o}", "region", region, "term", term_pack(t)),
	        PLAN_WAIT_MS, &answer, e) < 0)
		return -1;
	if (term_unpack(json_object_get(answer, "term"), region, t, NULL) < 0)
		return bad_answer("term_raise", e);
	return 0;
}

static void
client_close(struct directory *d)
{
	struct client *c = container_of(d, struct client, directory);

	json_decref(c->term);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static const struct directory_ops client_ops = {
	.find = client_find,
	.add = client_add,
	.swap = client_swap,
	.remove = client_remove,
	.suspend = client_suspend,
	.list = client_list,
	.count = client_count,
	.wave_plan = client_wave_plan,
	.wave_get = client_wave_get,
	.wave_list = client_wave_list,
	.wave_set = client_wave_set,
	.wave_retry = client_wave_retry,
	.wave_items = client_wave_items,
	.wave_update = client_wave_update,
	.term_get = client_term_get,
	.term_hold = client_term_hold,
	.term_raise = client_term_raise,
	.close = client_close,
};

struct directory *
directory_client(struct peers *peers, const char *name, const char *endpoint, struct err *e)
{
	struct client *c;

	if (!region_name_valid(name) || !*endpoint || strlen(endpoint) >= sizeof(c->endpoint)) {
		err_set(e, ERR_BAD, "the directory's name or address is not valid");
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		err_set(e, ERR_MEMORY, "no memory for a directory client");
		return NULL;
	}
	c->directory.ops = &client_ops;
	pthread_mutex_init(&c->lock, NULL);
	c->peers = peers;
	strcpy(c->name, name);
	strcpy(c->endpoint, endpoint);
	return &c->directory;
}

void
directory_use_term(struct directory *d, const struct region_term *t)
{
	struct client *c = container_of(d, struct client, directory);

	/* Our own: whoever takes the region over does so elsewhere. */
	if (d->ops != &client_ops)
		return;
	pthread_mutex_lock(&c->lock);
	json_decref(c->term);
	c->term = term_pack(t);
	pthread_mutex_unlock(&c->lock);
}
