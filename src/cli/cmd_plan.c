/* cmd_plan.c - `domicile wave plan`. */
#include "cli/commands.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "base/id.h"
#include "cli/call.h"
#include "cli/progress.h"

#define ACCOUNTS_MAX 50000

/* --- the list of accounts --- */

/* The id at the beginning of LINE, so that the output of `account create` and `list` will do. */
static int
add_line(json_t *list, char *line, unsigned number, struct err *e)
{
	struct account_id id;

	while (isspace((unsigned char)*line))
		line++;
	line[strcspn(line, " \t\r\n")] = 0;
	if (!*line || *line == '#')
		return 0;
	if (!account_parse(line, &id))
		return err_set(e, ERR_BAD, "line %u: '%.40s' is no account id", number, line);
	if (json_array_size(list) == ACCOUNTS_MAX)
		return err_set(
		    e, ERR_TOO_BIG, "more than %d accounts; plan several waves", ACCOUNTS_MAX);
	json_array_append_new(list, json_string(line));
	return 0;
}

static int
read_accounts(const char *path, json_t **out, struct err *e)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	json_t *list = json_array();
	char *line = NULL;
	size_t room = 0;
	unsigned number = 0;
	int rc = 0;

	if (!f)
		rc = err_errno(e, errno, "%s", path);
	while (rc == 0 && getline(&line, &room, f) >= 0)
		rc = add_line(list, line, ++number, e);
	if (rc == 0 && ferror(f))
		rc = err_errno(e, errno, "%s", path);
	else if (rc < 0 && f)
		err_add(e, "%s", path);
	if (f && f != stdin)
		fclose(f);
	free(line);
	if (rc == 0)
		*out = list;
	else
		json_decref(list);
	return rc;
}

/* --- the request --- */

static void
set_number(json_t *in, const char *name, uint64_t v)
{
	if (v)
		json_object_set_new(in, name, json_integer((json_int_t)v));
}

static int
fill_limits(const struct args *a, json_t *in, struct err *e)
{
	uint64_t deadline, rate, per_s, streams;
	int from, to;

	if (arg_instant(a, "deadline", host_wall_ms(), &deadline, e) < 0 ||
	    arg_size(a, "rate", 0, &rate, e) < 0 ||
	    arg_u64(a, "accounts-per-second", 0, 1, 1000000, &per_s, e) < 0 ||
	    arg_u64(a, "streams", 0, 1, 64, &streams, e) < 0 ||
	    arg_hours(a, "quiet", &from, &to, e) < 0)
		return -1;
	if (arg_text(a, "rate") && (!rate || rate > INT64_MAX))
		return err_set(e, ERR_USAGE, "--rate %s: nothing would move", arg_text(a, "rate"));
	set_number(in, "deadline_ms", deadline);
	set_number(in, "bytes_per_s", rate);
	set_number(in, "accounts_per_s", per_s);
	set_number(in, "streams", streams);
	if (from >= 0) {
		json_object_set_new(in, "quiet_from_min", json_integer(from));
		json_object_set_new(in, "quiet_to_min", json_integer(to));
	}
	return 0;
}

static int
fill(const struct args *a, json_t *in, struct err *e)
{
	const char *countries = arg_text(a, "countries"), *file = arg_text(a, "accounts");
	json_t *list = NULL;

	if (countries && file)
		return err_set(e, ERR_USAGE, "either --countries or --accounts");
	json_object_set_new(in, "from", json_string(arg_text(a, "from")));
	json_object_set_new(in, "to", json_string(arg_text(a, "to")));
	json_object_set_new(in, "dry_run", json_boolean(arg_flag(a, "dry-run")));
	if (countries)
		json_object_set_new(in, "countries", json_string(countries));
	if (file && read_accounts(file, &list, e) < 0)
		return -1;
	if (file)
		json_object_set_new(in, "accounts", list);
	return fill_limits(a, in, e);
}

/* --- the answer --- */

static void
add_time(json_t *answer, const struct args *a, FILE *out)
{
	double low = json_number_value(json_object_get(answer, "estimated_seconds_low"));
	double high = json_number_value(json_object_get(answer, "estimated_seconds_high"));
	uint64_t deadline = (uint64_t)get_number(json_object_get(answer, "wave"), "deadline_ms");
	uint64_t now = host_wall_ms();
	char from[16], to[16];

	if (high <= 0) {
		fprintf(out,
		    "time      unknown: there is no limit and no earlier wave between the two to go by\n");
		return;
	}
	text_duration((uint64_t)(low * 1000), from);
	text_duration((uint64_t)(high * 1000), to);
	fprintf(out, "time      %s%s%s\n", from, strcmp(from, to) ? " to " : "",
	    strcmp(from, to) ? to : "");
	if (deadline > now)
		fprintf(out, "deadline  %s\n",
		    now + (uint64_t)(high * 1000) <= deadline      ? "will be met"
		        : now + (uint64_t)(low * 1000) <= deadline ? "may be missed"
		                                                   : "will be missed");
}

static void
tell(json_t *answer, const struct args *a, FILE *out)
{
	json_t *wave = json_object_get(answer, "wave"), *count;
	const char *country;
	char bytes[16];

	fprintf(out, "%s -> %s\n", get_text(wave, "from"), get_text(wave, "to"));
	fprintf(out, "accounts  %" PRId64 "\n", get_number(answer, "accounts"));
	json_object_foreach(json_object_get(answer, "by_country"), country, count) fprintf(
	    out, "  %s      %" JSON_INTEGER_FORMAT "\n", country, json_integer_value(count));
	if (!arg_flag(a, "dry-run"))
		return;
	text_bytes((uint64_t)get_number(answer, "estimated_bytes"), bytes);
	fprintf(out, "bytes     about %s\n", bytes);
	add_time(answer, a, out);
}

int
cmd_wave_plan(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *in = json_object();
	_cleanup_json_ json_t *answer = NULL;
	json_t *country;
	const char *id;
	size_t i;

	if (!in)
		return err_set(e, ERR_MEMORY, "no memory");
	if (fill(a, in, e) < 0 || call_once(a, "/v1/wave/plan", json_incref(in), &answer, e) < 0)
		return -1;
	json_array_foreach(json_object_get(answer, "absent_countries"), i, country) fprintf(stderr,
	    "note: no account in %s is of %s\n", arg_text(a, "from"), json_string_value(country));
	if (arg_flag(a, "json"))
		return print_json(answer, e);
	if (arg_flag(a, "dry-run")) {
		tell(answer, a, stdout);
		return 0;
	}
	id = get_text(json_object_get(answer, "wave"), "id");
	tell(answer, a, stderr);
	fprintf(stderr, "nothing moves yet; start it: domicile wave run %s\n", id);
	puts(id);
	return 0;
}
