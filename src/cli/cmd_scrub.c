/* cmd_scrub.c - `domicile region scrub`: begin a pass, watch it, tell what is damaged. The node does the
 * work, and goes on if this is interrupted. */
#include "cli/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/host.h"
#include "cli/call.h"
#include "cli/progress.h"

#define ASK_EVERY_MS 200
#define PATIENCE_MS  30000 /* for a node that is restarting */

/* --- how it is said --- */

static void
add_damage(json_t *it, struct buf *out)
{
	char since[25];

	text_minute((uint64_t)get_number(it, "since_ms"), since);
	buf_printf(out, "%s\t%s\t%s", get_text(it, "account"), get_text(it, "service"),
	    get_text(it, "kind"));
	if (*get_text(it, "chunk"))
		buf_printf(out, " %s", get_text(it, "chunk"));
	else if (get_number(it, "number"))
		buf_printf(out, " %" PRId64, get_number(it, "number"));
	buf_add_char(out, '\t');
	if (get_number(it, "row"))
		buf_printf(out, "row %" PRId64, get_number(it, "row"));
	if (get_number(it, "part"))
		buf_printf(out, " part %" PRId64, get_number(it, "part"));
	buf_printf(out, "\tsince %s\t%s\n", since, get_text(it, "why"));
}

static int
print_damages(json_t *list, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(0);
	json_t *one;
	size_t i;

	json_array_foreach(list, i, one) add_damage(one, &text);
	if (buf_check(&text, e) < 0)
		return -1;
	fputs(buf_str(&text), stdout);
	return 0;
}

static void
add_mended(json_t *status, struct buf *out)
{
	const char *what;
	json_t *n;

	json_object_foreach(json_object_get(status, "mended"), what, n) if (json_integer_value(n))
	    buf_printf(out, ", %" PRId64 " %s mended", (int64_t)json_integer_value(n), what);
}

/* "120 of 400 accounts, 1.2 GiB, 350 chunks, 0 damaged, 2 chunk-files mended" */
static void
add_counts(json_t *status, struct buf *out)
{
	char bytes[16];

	text_bytes((uint64_t)get_number(status, "bytes"), bytes);
	buf_printf(out,
	    "%" PRId64 " of %" PRId64 " accounts, %s, %" PRId64 " chunks, %" PRId64 " damaged",
	    get_number(status, "accounts"), get_number(status, "accounts_total"), bytes,
	    get_number(status, "chunks"), get_number(status, "damaged"));
	add_mended(status, out);
	if (get_number(status, "skipped"))
		buf_printf(out, ", %" PRId64 " skipped (moving, or changing all the time)",
		    get_number(status, "skipped"));
}

/* ", 7.9 MiB/s, 3m 05s left" */
static void
add_speed(json_t *status, struct buf *out)
{
	double seconds = json_number_value(json_object_get(status, "seconds"));
	double done = (double)get_number(status, "accounts");
	double left = (double)get_number(status, "accounts_total") - done;
	char text[16];

	if (seconds <= 0)
		return;
	text_bytes((uint64_t)((double)get_number(status, "seconds_bytes") / seconds), text);
	buf_printf(out, ", %s/s", text);
	if (done < 1 || left < 1)
		return;
	text_duration((uint64_t)(left * seconds / done * 1000), text);
	buf_printf(out, ", %s left", text);
}

static void
add_status(json_t *status, struct buf *out)
{
	json_t *last = json_object_get(status, "last");
	char text[25], bytes[16];

	buf_printf(out, "scrub %s: ", get_text(status, "state"));
	add_counts(status, out);
	buf_add_char(out, '\n');
	if (json_is_object(last)) {
		text_minute((uint64_t)get_number(last, "ended_ms"), text);
		text_bytes((uint64_t)get_number(last, "bytes"), bytes);
		buf_printf(out, "last pass ended %s: %" PRId64 " accounts, %s\n", text,
		    get_number(last, "accounts"), bytes);
	} else {
		buf_add_str(out, "no pass has ended yet\n");
	}
	if (get_number(status, "every_ms")) {
		text_duration((uint64_t)get_number(status, "every_ms"), bytes);
		buf_printf(out, "a pass in about %s\n", bytes);
	}
}

/* --- asking --- */

static int
list(struct caller *c, const char *account, json_t **out, struct err *e)
{
	json_t *in = account ? json_pack("{s:s}", "account", account) : json_object();

	return call_node(c, "/v1/region/scrub/list", in, out, e);
}

static int
exit_of(json_t *damages)
{
	return json_array_size(damages) ? err_exit(ERR_FORGED) : 0;
}

static int
print_line(json_t *it, struct err *e)
{
	if (json_dumpf(it, stdout, JSON_COMPACT) < 0 || putchar('\n') == EOF)
		return err_errno(e, errno, "standard output");
	fflush(stdout);
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
status_of(struct caller *c, json_t **status, struct err *e)
{
	for (uint64_t until = host_mono_ms() + PATIENCE_MS;;) {
		if (call_node(c, "/v1/region/scrub/status", json_object(), status, e) == 0)
			return 0;
		if ((e->kind != ERR_PEER && e->kind != ERR_BUSY) || host_mono_ms() > until)
			return -1;
		sleep_ms(500);
	}
}

static int
show(json_t *status, struct progress *p, bool as_json, bool is_last, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(0), plain = BUF_INIT(0);
	double total = (double)get_number(status, "accounts_total");

	if (!progress_is_due(p, is_last))
		return 0;
	if (as_json)
		return is_last ? 0 : print_line(status, e);
	add_counts(status, &plain);
	add_speed(status, &plain);
	text_bar(&text, total > 0 ? (double)get_number(status, "accounts") / total : 0, 30);
	buf_printf(&text, " %s\n", buf_str(&plain));
	progress_show(p, buf_str(&text), buf_str(&plain));
	return buf_check(&text, e);
}

static int
watch(struct caller *c, bool as_json, json_t **last, struct err *e)
{
	struct progress p;
	bool goes_on = true;

	progress_open(&p, as_json ? stdout : stderr);
	while (goes_on) {
		_cleanup_json_ json_t *status = NULL;

		if (status_of(c, &status, e) < 0)
			return -1;
		goes_on = json_is_true(json_object_get(status, "is_asked"));
		if (show(status, &p, as_json, !goes_on, e) < 0)
			return -1;
		if (goes_on)
			sleep_ms(ASK_EVERY_MS);
		else
			*last = json_incref(status);
	}
	return 0;
}

static int
begin_and_watch(const struct args *a, struct caller *c, const char *account, struct err *e)
{
	_cleanup_json_ json_t *begun = NULL, *last = NULL, *damages = NULL;
	json_t *in = json_object();
	uint64_t rate;

	if (account && in)
		json_object_set_new(in, "account", json_string(account));
	if (arg_size(a, "rate", 0, &rate, e) < 0) {
		json_decref(in);
		return -1;
	}
	if (rate && in)
		json_object_set_new(in, "rate", json_integer((json_int_t)rate));
	if (call_node(c, "/v1/region/scrub/ask", in, &begun, e) < 0 ||
	    watch(c, arg_flag(a, "json"), &last, e) < 0 || list(c, account, &damages, e) < 0)
		return -1;
	if (arg_flag(a, "json"))
		json_object_set(last, "damages", damages);
	if ((arg_flag(a, "json") ? print_line(last, e) : print_damages(damages, e)) < 0)
		return -1;
	if (!json_is_true(json_object_get(last, "was_through")))
		return err_set(e, ERR_CANCELLED, "the pass was ended before it was through");
	return exit_of(damages);
}

static int
print_state(const struct args *a, struct caller *c, struct err *e)
{
	_cleanup_json_ json_t *status = NULL, *damages = NULL;
	_cleanup_buf_ struct buf text = BUF_INIT(0);

	if (list(c, NULL, &damages, e) < 0)
		return -1;
	if (arg_flag(a, "list")) {
		if ((arg_flag(a, "json") ? print_json(damages, e) : print_damages(damages, e)) < 0)
			return -1;
		return exit_of(damages);
	}
	if (status_of(c, &status, e) < 0)
		return -1;
	json_object_set(status, "damages", damages);
	if (arg_flag(a, "json"))
		return print_json(status, e) < 0 ? -1 : exit_of(damages);
	add_status(status, &text);
	if (buf_check(&text, e) < 0)
		return -1;
	fputs(buf_str(&text), stdout);
	return print_damages(damages, e) < 0 ? -1 : exit_of(damages);
}

int
cmd_region_scrub(const struct args *a, struct err *e)
{
	_cleanup_(call_closep) struct caller *c = call_open(a, e);
	_cleanup_json_ json_t *answer = NULL;
	const char *account = arg_text(a, "account");

	if (!c)
		return -1;
	if (arg_flag(a, "stop"))
		return call_node(c, "/v1/region/scrub/stop", json_object(), &answer, e);
	if (arg_flag(a, "now") || account)
		return begin_and_watch(a, c, account, e);
	if (arg_text(a, "rate"))
		return err_set(e, ERR_USAGE, "--rate is for a pass that --now or --account begins");
	return print_state(a, c, e);
}
