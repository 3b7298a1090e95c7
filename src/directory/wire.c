/* wire.c - see wire_private.h; and the names of states. */
#include "directory/wire_private.h"

#include <assert.h>
#include <string.h>

static const char *const wave_states[WAVE_STATES] = {
	[WAVE_PLANNED] = "planned",
	[WAVE_RUNNING] = "running",
	[WAVE_PAUSED] = "paused",
	[WAVE_CANCELLED] = "cancelled",
	[WAVE_DONE] = "done",
};

static const char *const item_states[ITEM_STATES] = {
	[ITEM_WAITING] = "waiting",
	[ITEM_MOVING] = "moving",
	[ITEM_MOVED] = "moved",
	[ITEM_ERASED] = "erased",
	[ITEM_PUT_OFF] = "put-off",
	[ITEM_FAILED] = "failed",
	[ITEM_CANCELLED] = "cancelled",
};

static bool
is_capital(char c)
{
	return c >= 'A' && c <= 'Z';
}

int
countries_check(const char *list, struct err *e)
{
	const char *at = list + (*list == '!');

	if (!*list)
		return 0;
	for (; is_capital(at[0]) && is_capital(at[1]); at += 3) {
		if (!at[2])
			return 0;
		if (at[2] != ',')
			break;
	}
	return err_set(e, ERR_BAD, "countries are written IN,ID or !CN, not '%.40s'", list);
}

const char *
wave_state_name(enum wave_state s)
{
	assert(s < WAVE_STATES);
	return wave_states[s];
}

const char *
item_state_name(enum item_state s)
{
	assert(s < ITEM_STATES);
	return item_states[s];
}

bool
wave_state_parse(const char *name, enum wave_state *out)
{
	for (unsigned s = 0; s < WAVE_STATES; s++) {
		if (strcmp(name, wave_states[s]) == 0) {
			*out = (enum wave_state)s;
			return true;
		}
	}
	return false;
}

/* Fields of an array in their order. After the first that is wrong the rest read as nothing;
 * fields_check tells. */
struct fields {
	json_t *array;
	size_t at;
	bool failed;
};
#define FIELDS(json) ((struct fields){ .array = (json), .failed = !json_is_array(json) })

static uint64_t
field_u64(struct fields *f, uint64_t max)
{
	json_t *v = json_array_get(f->array, f->at++);
	json_int_t n = json_integer_value(v);

	if (!json_is_integer(v) || n < 0 || (uint64_t)n > max) {
		f->failed = true;
		return 0;
	}
	return (uint64_t)n;
}

static void
field_text(struct fields *f, char *out, size_t size)
{
	json_t *v = json_array_get(f->array, f->at++);
	size_t n = json_string_length(v);

	*out = 0;
	if (!json_is_string(v) || n >= size)
		f->failed = true;
	else
		memcpy(out, json_string_value(v), n + 1);
}

static void
field_region(struct fields *f, char out[static REGION_NAME_SIZE])
{
	field_text(f, out, REGION_NAME_SIZE);
	f->failed |= !region_name_valid(out);
}

static void
field_hex(struct fields *f, void *out, size_t n)
{
	const char *text = json_string_value(json_array_get(f->array, f->at++));

	if (!text || !hex_parse(text, out, n))
		f->failed = true;
}

static int
fields_check(const struct fields *f, const char *what, struct err *e)
{
	if (f->failed || f->at != json_array_size(f->array))
		return err_set(e, ERR_BAD, "malformed %s", what);
	return 0;
}

/* JSON's integers are signed here. */
static json_int_t
number(uint64_t v)
{
	return v > INT64_MAX ? INT64_MAX : (json_int_t)v;
}

/* Placements */

json_t *
placement_pack(const struct placement *p)
{
	char id[ACCOUNT_TEXT_SIZE];

	account_text(&p->account, id);
	return json_pack("[sssIIi]", id, p->home, p->country, number(p->epoch), number(p->attempt),
	    (int)p->is_suspended);
}

int
placement_unpack(json_t *json, struct placement *p, struct err *e)
{
	struct fields f = FIELDS(json);

	*p = (struct placement){ 0 };
	field_hex(&f, p->account.b, sizeof(p->account.b));
	field_region(&f, p->home);
	field_text(&f, p->country, sizeof(p->country));
	p->epoch = field_u64(&f, INT64_MAX);
	p->attempt = field_u64(&f, INT64_MAX);
	p->is_suspended = field_u64(&f, 1) != 0;
	f.failed |= strlen(p->country) != 2 || p->epoch == 0;
	return fields_check(&f, "placement", e);
}

/* Swaps */

json_t *
swap_pack(const struct swap *s)
{
	char id[ACCOUNT_TEXT_SIZE], statement[2 * sizeof(s->statement) + 1];

	account_text(&s->account, id);
	hex_text(s->statement, sizeof(s->statement), statement);
	return json_pack("[sIIsIIss]", id, number(s->epoch), number(s->attempt), s->from,
	    number(s->to_epoch), number(s->to_attempt), s->to, statement);
}

int
swap_unpack(json_t *json, struct swap *s, struct err *e)
{
	struct fields f = FIELDS(json);

	*s = (struct swap){ 0 };
	field_hex(&f, s->account.b, sizeof(s->account.b));
	s->epoch = field_u64(&f, INT64_MAX);
	s->attempt = field_u64(&f, INT64_MAX);
	field_region(&f, s->from);
	s->to_epoch = field_u64(&f, INT64_MAX);
	s->to_attempt = field_u64(&f, INT64_MAX);
	field_region(&f, s->to);
	field_hex(&f, s->statement, sizeof(s->statement));
	return fields_check(&f, "swap", e);
}

json_t *
swapped_pack(const struct swap *s)
{
	if (s->is_missing)
		return json_null();
	return json_pack("[io]", (int)s->is_done, placement_pack(&s->now));
}

int
swapped_unpack(json_t *json, struct swap *s, struct err *e)
{
	struct fields f = FIELDS(json);

	s->is_missing = json_is_null(json);
	s->is_done = false;
	s->now = (struct placement){ .account = s->account };
	if (s->is_missing)
		return 0;
	s->is_done = field_u64(&f, 1) != 0;
	if (placement_unpack(json_array_get(json, f.at++), &s->now, e) < 0)
		return -1;
	f.failed |= !account_equal(&s->now.account, &s->account);
	return fields_check(&f, "answer to a swap", e);
}

/* Accounts */

json_t *
accounts_pack(const struct account_id *ids, size_t n)
{
	_cleanup_(freep) char *text = malloc(n * (ACCOUNT_TEXT_SIZE - 1) + 1);

	if (!text)
		return NULL;
	hex_text(ids, n * sizeof(*ids), text);
	return json_stringn_nocheck(text, n * (ACCOUNT_TEXT_SIZE - 1));
}
_Static_assert(sizeof(struct account_id) == ACCOUNT_ID_BYTES, "ids lie side by side");

int
accounts_unpack(json_t *json, size_t max, struct account_id **ids, size_t *n, struct err *e)
{
	size_t len = json_string_length(json), count = len / (ACCOUNT_TEXT_SIZE - 1);
	_cleanup_(freep) struct account_id *out = NULL;

	if (!json_is_string(json) || len % (ACCOUNT_TEXT_SIZE - 1))
		return err_set(e, ERR_BAD, "malformed list of accounts");
	if (count > max)
		return err_set(e, ERR_TOO_BIG, "%zu accounts in one call; at most %zu", count, max);
	out = calloc(count + 1, sizeof(*out));
	if (!out)
		return err_set(e, ERR_MEMORY, "no memory for %zu accounts", count);
	if (!hex_parse(json_string_value(json), out, count * sizeof(*out)))
		return err_set(e, ERR_BAD, "malformed list of accounts");
	*ids = take(&out);
	*n = count;
	return 0;
}

int
rows_count(json_t *json, size_t max, size_t *n, struct err *e)
{
	if (!json_is_array(json))
		return err_set(e, ERR_BAD, "a list is missing");
	if (json_array_size(json) > max)
		return err_set(e, ERR_TOO_BIG, "%zu rows in one call; at most %zu",
		    json_array_size(json), max);
	*n = json_array_size(json);
	return 0;
}

/* Waves */

json_t *
item_pack(const struct wave_item *item)
{
	char id[ACCOUNT_TEXT_SIZE];

	account_text(&item->account, id);
	return json_pack("[siIIIIs]", id, (int)item->state, number(item->bytes),
	    number(item->pause_us), (json_int_t)item->tries, (json_int_t)item->held, item->reason);
}

int
item_unpack(json_t *json, struct wave_item *item, struct err *e)
{
	struct fields f = FIELDS(json);

	*item = (struct wave_item){ 0 };
	field_hex(&f, item->account.b, sizeof(item->account.b));
	item->state = (enum item_state)field_u64(&f, ITEM_STATES - 1);
	item->bytes = field_u64(&f, INT64_MAX);
	item->pause_us = field_u64(&f, INT64_MAX);
	item->tries = (uint32_t)field_u64(&f, UINT32_MAX);
	item->held = (uint32_t)field_u64(&f, UINT32_MAX);
	field_text(&f, item->reason, sizeof(item->reason));
	return fields_check(&f, "item of a wave", e);
}

static json_t *
reasons_json(const struct wave_sums *sums)
{
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_LEN(sums->reasons) && sums->reasons[i].n; i++)
		json_array_append_new(list,
		    json_pack("{s:s, s:I}", "reason", sums->reasons[i].text, "items",
		        number(sums->reasons[i].n)));
	return list;
}

static json_t *
sums_json(const struct wave_sums *sums)
{
	json_t *items = json_object();

	for (int i = 0; i < ITEM_STATES; i++)
		json_object_set_new(items, item_states[i], json_integer(number(sums->items[i])));
	return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:o}", "items", items, "bytes",
	    number(sums->bytes), "held", number(sums->held), "pause_p50_us",
	    number(sums->pause_p50_us), "pause_p99_us", number(sums->pause_p99_us), "pause_max_us",
	    number(sums->pause_max_us), "reasons", reasons_json(sums));
}

json_t *
wave_json(const struct wave *w, const struct wave_sums *sums)
{
	json_t *json = json_pack(
	    "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:s}", "id", w->id,
	    "from", w->from, "to", w->to, "state", wave_state_name(w->state), "created_ms",
	    number(w->created_ms), "started_ms", number(w->started_ms), "finished_ms",
	    number(w->finished_ms), "deadline_ms", number(w->deadline_ms), "bytes_per_s",
	    number(w->bytes_per_s), "accounts_per_s", number(w->accounts_per_s), "concurrency",
	    (json_int_t)w->concurrency, "quiet_from_min", w->quiet_from_min, "quiet_to_min",
	    w->quiet_to_min, "countries", w->countries);

	if (sums)
		json_object_set_new(json, "sums", sums_json(sums));
	return json;
}

/* A member's number; -1 sets *FAILED. */
static uint64_t
member_u64(json_t *json, const char *name, uint64_t max, bool *failed)
{
	json_t *v = json_object_get(json, name);
	json_int_t n = json_integer_value(v);

	if (json_is_integer(v) && n >= 0 && (uint64_t)n <= max)
		return (uint64_t)n;
	*failed = true;
	return 0;
}

static void
member_text(json_t *json, const char *name, char *out, size_t size, bool *failed)
{
	json_t *v = json_object_get(json, name);

	if (json_is_string(v) && json_string_length(v) < size)
		memcpy(out, json_string_value(v), json_string_length(v) + 1);
	else
		*failed = true;
}

static int
member_minute(json_t *json, const char *name, bool *failed)
{
	json_t *v = json_object_get(json, name);
	json_int_t n = json_integer_value(v);

	if (json_is_integer(v) && n >= -1 && n < 24 * 60)
		return (int)n;
	*failed = true;
	return -1;
}

static void
reasons_unpack(json_t *json, struct wave_sums *sums, bool *failed)
{
	if (!json_is_array(json) || json_array_size(json) > ARRAY_LEN(sums->reasons)) {
		*failed = true;
		return;
	}
	for (size_t i = 0; i < json_array_size(json); i++) {
		json_t *one = json_array_get(json, i);

		member_text(one, "reason", sums->reasons[i].text, WAVE_REASON_SIZE, failed);
		sums->reasons[i].n = member_u64(one, "items", INT64_MAX, failed);
	}
}

static void
sums_unpack(json_t *json, struct wave_sums *sums, bool *failed)
{
	json_t *items = json_object_get(json, "items");

	*sums = (struct wave_sums){ 0 };
	for (int i = 0; i < ITEM_STATES; i++)
		sums->items[i] = member_u64(items, item_states[i], INT64_MAX, failed);
	sums->bytes = member_u64(json, "bytes", INT64_MAX, failed);
	sums->held = member_u64(json, "held", INT64_MAX, failed);
	sums->pause_p50_us = member_u64(json, "pause_p50_us", INT64_MAX, failed);
	sums->pause_p99_us = member_u64(json, "pause_p99_us", INT64_MAX, failed);
	sums->pause_max_us = member_u64(json, "pause_max_us", INT64_MAX, failed);
	reasons_unpack(json_object_get(json, "reasons"), sums, failed);
}

int
wave_unpack(json_t *json, struct wave *w, struct wave_sums *sums, struct err *e)
{
	bool failed = false;
	char state[16] = "";

	*w = (struct wave){ 0 };
	member_text(json, "id", w->id, sizeof(w->id), &failed);
	member_text(json, "from", w->from, sizeof(w->from), &failed);
	member_text(json, "to", w->to, sizeof(w->to), &failed);
	member_text(json, "state", state, sizeof(state), &failed);
	w->created_ms = member_u64(json, "created_ms", INT64_MAX, &failed);
	w->started_ms = member_u64(json, "started_ms", INT64_MAX, &failed);
	w->finished_ms = member_u64(json, "finished_ms", INT64_MAX, &failed);
	w->deadline_ms = member_u64(json, "deadline_ms", INT64_MAX, &failed);
	w->bytes_per_s = member_u64(json, "bytes_per_s", INT64_MAX, &failed);
	w->accounts_per_s = member_u64(json, "accounts_per_s", INT64_MAX, &failed);
	w->concurrency = (unsigned)member_u64(json, "concurrency", UINT32_MAX, &failed);
	w->quiet_from_min = member_minute(json, "quiet_from_min", &failed);
	w->quiet_to_min = member_minute(json, "quiet_to_min", &failed);
	member_text(json, "countries", w->countries, sizeof(w->countries), &failed);
	if (sums)
		sums_unpack(json_object_get(json, "sums"), sums, &failed);
	if (failed || !wave_state_parse(state, &w->state))
		return err_set(e, ERR_BAD, "malformed wave");
	return 0;
}

/* Terms */

json_t *
term_pack(const struct region_term *t)
{
	char holder[2 * TERM_HOLDER_BYTES + 1];

	hex_text(t->holder, TERM_HOLDER_BYTES, holder);
	return json_pack("{s:I, s:s, s:I}", "term", (json_int_t)t->term, "holder", holder,
	    "lease_ms", (json_int_t)t->lease_ms);
}

int
term_unpack(json_t *json, const char *region, struct region_term *t, struct err *e)
{
	json_int_t term, lease_ms;
	const char *holder;
	struct region_term read = { 0 };

	if (json_unpack_ex(json, NULL, JSON_STRICT, "{s:I, s:s, s:I}", "term", &term, "holder",
	        &holder, "lease_ms", &lease_ms) < 0 ||
	    term < 1 || lease_ms < 0 || lease_ms > TERM_LEASE_MAX_MS ||
	    !hex_parse(holder, read.holder, TERM_HOLDER_BYTES))
		return err_set(e, ERR_BAD, "a malformed term");
	strcpy(read.region, region);
	read.term = (uint64_t)term;
	read.lease_ms = (uint64_t)lease_ms;
	*t = read;
	return 0;
}
