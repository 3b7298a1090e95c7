/* cmd_key.c - `domicile region rotate-key`: begin and watch. The node does the work, and goes on if this is
 * interrupted. */
#include "cli/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/call.h"
#include "cli/progress.h"

#define ASK_EVERY_MS 200

static void
sleep_ms(unsigned ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

static bool
is_idle(json_t *status)
{
	return strcmp(get_text(status, "state"), "idle") == 0;
}

/* What is worth a line beside the counts: the later steps, which have none, and what is wrong. */
static void
show_state(json_t *status, struct progress *p)
{
	_cleanup_buf_ struct buf text = BUF_INIT(0);

	buf_printf(&text, "%s", get_text(status, "state"));
	if (*get_text(status, "trouble"))
		buf_printf(&text, ", tried again: %s", get_text(status, "trouble"));
	buf_add_char(&text, '\n');
	if (progress_is_due(p, false) && !buf_check(&text, NULL))
		progress_show(p, buf_str(&text), buf_str(&text));
}

static int
show(json_t *status, struct progress *p, bool as_json, struct err *e)
{
	if (as_json) {
		if (!progress_is_due(p, is_idle(status)))
			return 0;
		if (json_dumpf(status, stdout, JSON_COMPACT) < 0 || putchar('\n') == EOF)
			return err_errno(e, errno, "standard output");
		fflush(stdout);
		return 0;
	}
	if (strcmp(get_text(status, "state"), "wrapping") || *get_text(status, "trouble"))
		show_state(status, p);
	else
		progress_count(p, "wrapping", (uint64_t)get_number(status, "done"),
		    (uint64_t)get_number(status, "total"), "vaults", 0, false);
	return 0;
}

int
cmd_region_rotate_key(const struct args *a, struct err *e)
{
	_cleanup_(call_closep) struct caller *c = call_open(a, e);
	_cleanup_json_ json_t *status = NULL;
	bool as_json = arg_flag(a, "json");
	struct progress p;

	if (!c || call_node(c, "/v1/region/key/rotate", json_object(), &status, e) < 0)
		return -1;
	progress_open(&p, as_json ? stdout : stderr);
	while (!is_idle(status)) {
		if (show(status, &p, as_json, e) < 0)
			return -1;
		sleep_ms(ASK_EVERY_MS);
		json_decref(status);
		status = NULL;
		if (call_node(c, "/v1/region/key/status", json_object(), &status, e) < 0)
			return err_add(e, "the rotation goes on by itself, `region status` tells");
	}
	if (as_json)
		return show(status, &p, true, e);
	progress_clear(&p);
	printf("generation %" PRId64 " of the region key wraps all; %" PRId64
	       " vaults were wrapped anew, the old generation is destroyed\n",
	    get_number(status, "generation"), get_number(status, "wrapped"));
	return 0;
}
