/* wave_watch.c - see wave_watch.h. The node is asked again and again; the wave goes on without us. */
#include "cli/wave_watch.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/host.h"

#define ASK_EVERY_MS 250
#define PATIENCE_MS  30000 /* for a node that is restarting */

static int64_t
items(json_t *status, const char *state)
{
	return get_number(json_object_get(status, "items"), state);
}

static int64_t
moved(json_t *status)
{
	return items(status, "moved") + items(status, "erased");
}

/* Whether accounts are on their way or begin at once; neither erasing nor waiting for another try is. */
static bool
is_moving(json_t *status)
{
	return items(status, "waiting") + items(status, "moving") > 0;
}

bool
wave_is_going_on(json_t *status)
{
	const char *state = get_text(status, "state");

	return strcmp(state, "done") != 0 && strcmp(state, "cancelled") != 0;
}

/* Milliseconds that the rest will take at the present rate; 0: nothing left or not known. */
static uint64_t
time_left(json_t *status, const struct progress *p)
{
	int64_t left = get_number(status, "accounts") - moved(status) - items(status, "failed") -
	    items(status, "cancelled");

	if (left <= 0 || !is_moving(status) || p->done_per_s < 0.01)
		return 0;
	return (uint64_t)((double)left / p->done_per_s * 1000);
}

/* "; 1h 10m left; deadline 2026-12-01T00:00Z, 2h 03m to spare" */
static void
add_times(json_t *status, const struct progress *p, struct buf *out)
{
	uint64_t left = time_left(status, p), now = host_wall_ms();
	uint64_t deadline = (uint64_t)get_number(status, "deadline_ms");
	char text[16], minute[25];
	int64_t spare;

	if (left) {
		text_duration(left, text);
		buf_printf(out, ", %s left", text);
	}
	if (!deadline || !wave_is_going_on(status))
		return;
	text_minute(deadline, minute);
	spare = (int64_t)deadline - (int64_t)now - (int64_t)left;
	text_duration((uint64_t)(spare < 0 ? -spare : spare), text);
	buf_printf(out, "; deadline %s, %s %s", minute, text,
	    !left && spare >= 0 ? "away"
	        : spare < 0     ? "too late"
	                        : "to spare");
}

/* "; 3 put off, 1 failed" for those that there are. */
static void
add_counts(json_t *status, struct buf *out)
{
	static const char *const states[][2] = {
		{ "erased", "erased" },
		{ "moving", "moving" },
		{ "put-off", "put off" },
		{ "failed", "failed" },
		{ "cancelled", "cancelled" },
	};

	buf_printf(out, "%" PRId64 " of %" PRId64 " accounts moved", moved(status),
	    get_number(status, "accounts"));
	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		if (items(status, states[i][0]))
			buf_printf(
			    out, ", %" PRId64 " %s", items(status, states[i][0]), states[i][1]);
}

/* Why nothing moves although the wave goes on. */
static void
add_waiting(json_t *status, struct buf *out)
{
	int64_t erasing = items(status, "moved"), put_off = items(status, "put-off");

	if (!wave_is_going_on(status) || is_moving(status))
		return;
	if (put_off)
		buf_printf(out, ", waiting to try %" PRId64 " again", put_off);
	else if (erasing)
		buf_printf(out, ", waiting for %" PRId64 " erasures", erasing);
}

static void
add_rates(json_t *status, const struct progress *p, struct buf *out)
{
	double seconds = json_number_value(json_object_get(status, "moving_s"));
	double bytes_per_s = p->bytes_per_s, done_per_s = p->done_per_s;
	char bytes[16], rate[16];

	/* Once nothing moves any more, and on the first look: how it went as a whole. */
	if (seconds > 0 && (!is_moving(status) || (bytes_per_s == 0 && done_per_s == 0))) {
		bytes_per_s = (double)get_number(status, "bytes") / seconds;
		done_per_s = (double)moved(status) / seconds;
	}
	text_bytes((uint64_t)get_number(status, "bytes"), bytes);
	text_bytes((uint64_t)bytes_per_s, rate);
	buf_printf(out, "%s, %s/s, %.1f accounts/s", bytes, rate, done_per_s);
}

static void
add_pause(json_t *status, struct buf *out)
{
	json_t *pause = json_object_get(status, "pause_us");
	uint64_t round_trip = (uint64_t)get_number(status, "round_trip_us");
	char p50[16], p99[16], max[16], text[16];

	text_us((uint64_t)get_number(pause, "p50"), p50);
	text_us((uint64_t)get_number(pause, "p99"), p99);
	text_us((uint64_t)get_number(pause, "max"), max);
	buf_printf(out, "pause p50 %s, p99 %s, max %s", p50, p99, max);
	if (round_trip) {
		text_us(round_trip, text);
		buf_printf(out, " (round trip %s)", text);
	}
	buf_printf(out, ", %" PRId64 " requests waited", get_number(status, "held"));
}

static void
add_reasons(json_t *status, struct buf *out)
{
	json_t *one;
	size_t i;

	json_array_foreach(json_object_get(status, "reasons"), i, one) buf_printf(
	    out, "  %" PRId64 " x %s\n", get_number(one, "items"), get_text(one, "reason"));
}

/* What keeps the source from its work, each between BEFORE and AFTER. */
static void
add_trouble(json_t *status, const char *before, const char *after, struct buf *out)
{
	const char *from = get_text(status, "from");
	json_t *one;
	size_t i;

	if (*get_text(status, "unreachable"))
		buf_printf(out, "%s%s can't be asked: %s%s", before, from,
		    get_text(status, "unreachable"), after);
	json_array_foreach(json_object_get(json_object_get(status, "moving"), "waves"), i, one)
	{
		if (strcmp(get_text(one, "wave"), get_text(status, "id")) == 0 &&
		    *get_text(one, "trouble"))
			buf_printf(out, "%s%s is in trouble: %s%s", before, from,
			    get_text(one, "trouble"), after);
	}
}

void
wave_text(json_t *status, const struct progress *p, struct buf *out, struct buf *plain)
{
	double accounts = (double)get_number(status, "accounts");

	buf_printf(out, "wave %s  %s -> %s  %s\n", get_text(status, "id"), get_text(status, "from"),
	    get_text(status, "to"), get_text(status, "state"));
	text_bar(out, accounts > 0 ? (double)moved(status) / accounts : 1, 30);
	buf_add_char(out, ' ');
	add_counts(status, out);
	buf_add_str(out, "\n");
	add_rates(status, p, out);
	add_waiting(status, out);
	add_times(status, p, out);
	buf_add_str(out, "\n");
	add_pause(status, out);
	buf_add_str(out, "\n");
	add_reasons(status, out);
	add_trouble(status, "  ", "\n", out);

	buf_printf(plain, "%s: ", get_text(status, "state"));
	add_counts(status, plain);
	buf_add_str(plain, "; ");
	add_rates(status, p, plain);
	add_waiting(status, plain);
	add_times(status, p, plain);
	buf_add_str(plain, "; ");
	add_pause(status, plain);
	add_trouble(status, "; ", "", plain);
}

void
wave_measure(struct wave_view *v, json_t *status)
{
	if (is_moving(status)) {
		progress_measure(
		    &v->progress, (uint64_t)moved(status), (uint64_t)get_number(status, "bytes"));
		v->moving_s = 0;
		return;
	}
	if (v->moving_s == 0)
		v->moving_s = json_number_value(json_object_get(status, "moving_s"));
	json_object_set_new(status, "moving_s", json_real(v->moving_s));
}

/* --- watching --- */

static int
show_json(json_t *status, const struct progress *p, struct err *e)
{
	json_object_set_new(status, "now_bytes_per_s", json_real(p->bytes_per_s));
	json_object_set_new(status, "now_accounts_per_s", json_real(p->done_per_s));
	json_object_set_new(status, "left_s", json_real((double)time_left(status, p) / 1000));
	if (json_dumpf(status, stdout, JSON_COMPACT) < 0)
		return err_errno(e, errno, "standard output");
	putchar('\n');
	fflush(stdout);
	return 0;
}

static int
show(json_t *status, struct wave_view *v, bool as_json, bool is_last, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(1 << 16), plain = BUF_INIT(1 << 16);
	struct progress *p = &v->progress;

	wave_measure(v, status);
	if (!progress_is_due(p, is_last))
		return 0;
	if (as_json)
		return show_json(status, p, e);
	wave_text(status, p, &text, &plain);
	/* Everywhere the end is told in full, with the reasons. */
	if (is_last && !p->is_terminal)
		fputs(buf_str(&text), p->out);
	else
		progress_show(p, buf_str(&text), buf_str(&plain));
	return 0;
}

static void
sleep_ms(unsigned ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

/* The status, waiting for a node that is away for a moment. */
static int
ask(struct caller *c, const char *id, json_t **status, struct err *e)
{
	for (uint64_t until = host_mono_ms() + PATIENCE_MS;;) {
		if (call_node(c, "/v1/wave/status", json_pack("{s:s}", "wave", id), status, e) == 0)
			return 0;
		if ((e->kind != ERR_PEER && e->kind != ERR_BUSY && e->kind != ERR_TIMEOUT) ||
		    host_mono_ms() > until)
			return -1;
		sleep_ms(500);
	}
}

int
wave_watch(struct caller *c, const char *id, bool as_json, struct err *e)
{
	struct wave_view v = { 0 };

	progress_open(&v.progress, stdout);
	if (as_json)
		v.progress.is_terminal = false;
	for (;;) {
		_cleanup_json_ json_t *status = NULL;
		bool is_last;

		if (ask(c, id, &status, e) < 0)
			return -1;
		is_last = !wave_is_going_on(status);
		if (show(status, &v, as_json, is_last, e) < 0)
			return -1;
		if (is_last)
			return moved(status) == get_number(status, "accounts") ? 0 : 1;
		sleep_ms(ASK_EVERY_MS);
	}
}
