/* cmd_wave.c - `domicile wave ...`, but for planning (cmd_plan.c). */
#include "cli/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/wave_watch.h"

/* CALL with the wave that was named. */
static int
call_wave(struct caller *c, const char *path, const struct args *a, json_t **out, struct err *e)
{
	return call_node(c, path, json_pack("{s:s}", "wave", arg_operand(a, 0)), out, e);
}

static int
set_state(const struct args *a, const char *path, struct err *e)
{
	_cleanup_(call_closep) struct caller *c = call_open(a, e);
	_cleanup_json_ json_t *answer = NULL;

	if (!c || call_wave(c, path, a, &answer, e) < 0)
		return -1;
	fprintf(stderr, "wave %s is %s\n", arg_operand(a, 0), get_text(answer, "state"));
	return 0;
}

int
cmd_wave_pause(const struct args *a, struct err *e)
{
	return set_state(a, "/v1/wave/pause", e);
}

int
cmd_wave_resume(const struct args *a, struct err *e)
{
	return set_state(a, "/v1/wave/resume", e);
}

int
cmd_wave_cancel(const struct args *a, struct err *e)
{
	return set_state(a, "/v1/wave/cancel", e);
}

int
cmd_wave_retry(const struct args *a, struct err *e)
{
	_cleanup_(call_closep) struct caller *c = call_open(a, e);
	_cleanup_json_ json_t *answer = NULL;

	if (!c || call_wave(c, "/v1/wave/retry", a, &answer, e) < 0)
		return -1;
	fprintf(stderr, "%" PRId64 " accounts are tried again\n", get_number(answer, "accounts"));
	return 0;
}

int
cmd_wave_watch(const struct args *a, struct err *e)
{
	_cleanup_(call_closep) struct caller *c = call_open(a, e);

	return c ? wave_watch(c, arg_operand(a, 0), arg_flag(a, "json"), e) : -1;
}

int
cmd_wave_run(const struct args *a, struct err *e)
{
	_cleanup_(call_closep) struct caller *c = call_open(a, e);
	_cleanup_json_ json_t *answer = NULL;

	if (!c || call_wave(c, "/v1/wave/run", a, &answer, e) < 0)
		return -1;
	if (arg_flag(a, "watch"))
		return wave_watch(c, arg_operand(a, 0), arg_flag(a, "json"), e);
	if (arg_flag(a, "json"))
		return print_json(answer, e);
	fprintf(stderr, "wave %s runs; see: domicile wave watch %s\n", arg_operand(a, 0),
	    arg_operand(a, 0));
	return 0;
}

/* --- status, list --- */

/* The newest wave that is going on, or else the newest. */
static int
newest(struct caller *c, char *id, size_t size, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;
	json_t *one, *found = NULL;
	size_t i;

	if (call_node(c, "/v1/wave/list", json_object(), &answer, e) < 0)
		return -1;
	json_array_foreach(json_object_get(answer, "waves"), i, one)
	{
		if (!found)
			found = one;
		if (wave_is_going_on(one)) {
			found = one;
			break;
		}
	}
	if (!found)
		return err_set(e, ERR_MISSING, "there is no wave; see: domicile wave plan --help");
	snprintf(id, size, "%s", get_text(found, "id"));
	return 0;
}

int
cmd_wave_status(const struct args *a, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(1 << 16), plain = BUF_INIT(1 << 16);
	_cleanup_(call_closep) struct caller *c = call_open(a, e);
	_cleanup_json_ json_t *answer = NULL;
	struct progress p = { 0 };
	char id[40];

	if (!c)
		return -1;
	if (arg_operand(a, 0))
		snprintf(id, sizeof(id), "%s", arg_operand(a, 0));
	else if (newest(c, id, sizeof(id), e) < 0)
		return -1;
	if (call_node(c, "/v1/wave/status", json_pack("{s:s}", "wave", id), &answer, e) < 0)
		return -1;
	if (arg_flag(a, "json"))
		return print_json(answer, e);
	wave_text(answer, &p, &text, &plain);
	fputs(buf_str(&text), stdout);
	return 0;
}

/* What the wave was planned with, if anything. */
static void
print_limits(json_t *wave)
{
	uint64_t bytes = (uint64_t)get_number(wave, "bytes_per_s");
	int64_t accounts = get_number(wave, "accounts_per_s"),
	        streams = get_number(wave, "concurrency"),
	        from = get_number(wave, "quiet_from_min"), to = get_number(wave, "quiet_to_min");
	char text[16];

	text_bytes(bytes, text);
	if (bytes)
		printf("\trate %s/s", text);
	if (accounts)
		printf("\t%" PRId64 " accounts/s", accounts);
	if (streams)
		printf("\tstreams %" PRId64, streams);
	if (from >= 0)
		printf("\tquiet %02" PRId64 ":%02" PRId64 "-%02" PRId64 ":%02" PRId64, from / 60,
		    from % 60, to / 60, to % 60);
}

int
cmd_wave_list(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;
	json_t *in = json_object(), *one;
	size_t i;

	if (arg_text(a, "from"))
		json_object_set_new(in, "from", json_string(arg_text(a, "from")));
	if (call_once(a, "/v1/wave/list", in, &answer, e) < 0)
		return -1;
	if (arg_flag(a, "json"))
		return print_json(json_object_get(answer, "waves"), e);
	json_array_foreach(json_object_get(answer, "waves"), i, one)
	{
		char created[25], deadline[25];

		text_minute((uint64_t)get_number(one, "created_ms"), created);
		text_minute((uint64_t)get_number(one, "deadline_ms"), deadline);
		printf("%s\t%s\t%s -> %s\t%s\tplanned %s\tdeadline %s", get_text(one, "id"),
		    get_text(one, "state"), get_text(one, "from"), get_text(one, "to"),
		    *get_text(one, "countries") ? get_text(one, "countries") : "all", created,
		    deadline);
		print_limits(one);
		putchar('\n');
	}
	return 0;
}

/* --- items --- */

static json_t *
states_json(const char *list)
{
	json_t *states = json_array();

	while (*list) {
		size_t n = strcspn(list, ",");

		json_array_append_new(states, json_stringn(list, n));
		list += n + (list[n] == ',');
	}
	return states;
}

static void
print_item(json_t *one)
{
	char bytes[16], pause[16];

	text_bytes((uint64_t)get_number(one, "bytes"), bytes);
	text_us((uint64_t)get_number(one, "pause_us"), pause);
	printf("%s\t%s\t%s\tpause %s\ttries %" PRId64 "\t%s\n", get_text(one, "account"),
	    get_text(one, "state"), bytes, pause, get_number(one, "tries"),
	    get_text(one, "reason"));
}

int
cmd_wave_items(const struct args *a, struct err *e)
{
	_cleanup_(call_closep) struct caller *c = call_open(a, e);
	_cleanup_json_ json_t *all = json_array();
	char after[64] = "";

	if (!c)
		return -1;
	do {
		_cleanup_json_ json_t *answer = NULL;
		json_t *in = json_pack("{s:s}", "wave", arg_operand(a, 0)), *one;
		size_t i;

		if (arg_text(a, "states"))
			json_object_set_new(in, "states", states_json(arg_text(a, "states")));
		if (*after)
			json_object_set_new(in, "after", json_string(after));
		if (call_node(c, "/v1/wave/items", in, &answer, e) < 0)
			return -1;
		if (arg_flag(a, "json"))
			json_array_extend(all, json_object_get(answer, "items"));
		else
			json_array_foreach(json_object_get(answer, "items"), i, one)
			    print_item(one);
		snprintf(after, sizeof(after), "%s", get_text(answer, "next"));
	} while (*after);
	return arg_flag(a, "json") ? print_json(all, e) : 0;
}

/* --- verify --- */

struct verifying {
	json_t *counts; /* result -> how many */
	json_t *items;
	uint64_t bytes, done, total;
	bool as_json;
	struct progress progress;
};

static void
take_result(struct verifying *v, json_t *one)
{
	const char *result = get_text(one, "result");

	json_object_set_new(v->counts, result, json_integer(get_number(v->counts, result) + 1));
	v->bytes += (uint64_t)get_number(one, "bytes");
	v->done++;
	if (v->as_json)
		json_array_append(v->items, one);
	else
		printf("%s\t%s\t%s\n", get_text(one, "account"), result, get_text(one, "detail"));
}

static int
verify_all(struct caller *c, const char *id, struct verifying *v, struct err *e)
{
	char after[64] = "";

	do {
		_cleanup_json_ json_t *answer = NULL;
		json_t *in = json_pack("{s:s}", "wave", id), *one;
		size_t i;

		if (*after)
			json_object_set_new(in, "after", json_string(after));
		if (call_node(c, "/v1/wave/verify", in, &answer, e) < 0)
			return -1;
		progress_clear(&v->progress);
		json_array_foreach(json_object_get(answer, "items"), i, one) take_result(v, one);
		snprintf(after, sizeof(after), "%s", get_text(answer, "next"));
		fflush(stdout);
		progress_count(
		    &v->progress, "verified", v->done, v->total, "accounts", v->bytes, !*after);
	} while (*after);
	return 0;
}

static int
verify_total(struct caller *c, const char *id, uint64_t *total, struct err *e)
{
	_cleanup_json_ json_t *status = NULL;
	json_t *items;

	if (call_node(c, "/v1/wave/status", json_pack("{s:s}", "wave", id), &status, e) < 0)
		return -1;
	items = json_object_get(status, "items");
	*total = (uint64_t)(get_number(items, "moved") + get_number(items, "erased"));
	return 0;
}

static int
tell_verified(struct verifying *v, struct err *e)
{
	json_t *n = v->counts;

	if (v->as_json) {
		json_object_set(n, "items", v->items);
		return print_json(n, e);
	}
	fprintf(stderr,
	    "%" PRId64 " the same, %" PRId64 " changed since, %" PRId64 " left since, %" PRId64
	    " bad, %" PRId64 " unknown\n",
	    get_number(n, "same"), get_number(n, "changed"), get_number(n, "left"),
	    get_number(n, "bad"), get_number(n, "unknown"));
	return 0;
}

int
cmd_wave_verify(const struct args *a, struct err *e)
{
	_cleanup_(call_closep) struct caller *c = call_open(a, e);
	_cleanup_json_ json_t *counts = json_pack("{s:i, s:i, s:i, s:i, s:i}", "same", 0, "changed",
	    0, "left", 0, "bad", 0, "unknown", 0);
	_cleanup_json_ json_t *list = json_array();
	struct verifying v = { .counts = counts, .items = list, .as_json = arg_flag(a, "json") };

	if (!c)
		return -1;
	progress_open(&v.progress, stderr);
	if (verify_total(c, arg_operand(a, 0), &v.total, e) < 0 ||
	    verify_all(c, arg_operand(a, 0), &v, e) < 0 || tell_verified(&v, e) < 0)
		return -1;
	return get_number(counts, "bad") || get_number(counts, "unknown") ? 1 : 0;
}
