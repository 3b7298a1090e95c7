/* cmd_account.c - `domicile account ...`. */
#include "cli/commands.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/fs.h"
#include "cli/call.h"
#include "cli/progress.h"

#define CREATE_PIECE 200
#define COUNT_MAX    10000000
#define OUTPUT_MAX   ((size_t)1 << 30)

/* --- create --- */

/* Every account of LIST as a line of text, or as one of a JSON array. */
static void
add_credentials(struct buf *out, json_t *list, bool as_json)
{
	json_t *one;
	size_t i;

	json_array_foreach(list, i, one)
	{
		char *text = as_json ? json_dumps(one, JSON_COMPACT) : NULL;

		if (as_json)
			buf_printf(out, "%s%s", out->len ? ",\n" : "[", text ? text : "");
		else
			buf_printf(out, "%s\t%s\t%s\t%s\n", get_text(one, "account"),
			    get_text(one, "region"), get_text(one, "access_key"),
			    get_text(one, "secret_key"));
		free(text);
	}
}

static int
create_all(const struct args *a, uint64_t count, struct buf *out, struct err *e)
{
	_cleanup_(call_closep) struct caller *c = call_open(a, e);
	const char *grant = arg_text(a, "grant");
	struct progress p;

	if (!c)
		return -1;
	progress_open(&p, stderr);
	for (uint64_t done = 0; done < count;) {
		uint64_t some = count - done < CREATE_PIECE ? count - done : CREATE_PIECE;
		_cleanup_json_ json_t *answer = NULL;
		json_t *in = json_pack("{s:s, s:s, s:I}", "country", arg_text(a, "country"),
		    "grant", grant ? grant : "", "count", (json_int_t)some);

		if (call_node(c, "/v1/account/create", in, &answer, e) < 0)
			return done ? err_add(e, "after %" PRIu64 " of %" PRIu64, done, count) : -1;
		add_credentials(out, json_object_get(answer, "accounts"), arg_flag(a, "json"));
		done += some;
		if (count > CREATE_PIECE)
			progress_count(&p, "made", done, count, "accounts", 0, done == count);
	}
	return buf_check(out, e);
}

/* Before anything is made: secrets that can't be written are lost, and so are those written over. */
static int
reserve_output(const char *path, struct err *e)
{
	_cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	return fd < 0 ? err_errno(e, errno, "%s", path) : 0;
}

static int
write_output(const struct args *a, struct buf *out, struct err *e)
{
	const char *path = arg_text(a, "output");

	if (!out->len) {
		if (path)
			unlink(path);
		return 0;
	}
	if (arg_flag(a, "json"))
		buf_add_str(out, "]\n");
	if (buf_check(out, e) < 0)
		return -1;
	if (path)
		return fs_write(path, out->data, out->len, 0600, e);
	if (fwrite(out->data, 1, out->len, stdout) != out->len)
		return err_errno(e, errno, "standard output");
	return 0;
}

/* What was made before an error is told all the same: its secrets are shown only once. */
int
cmd_account_create(const struct args *a, struct err *e)
{
	_cleanup_secret_buf_ struct buf out = BUF_INIT(OUTPUT_MAX);
	struct err why = { 0 };
	uint64_t count;
	int rc;

	if (arg_u64(a, "count", 1, 1, COUNT_MAX, &count, e) < 0 ||
	    (arg_text(a, "output") && reserve_output(arg_text(a, "output"), e) < 0))
		return -1;
	rc = create_all(a, count, &out, &why);
	if (write_output(a, &out, e) < 0)
		return -1;
	if (rc < 0)
		*e = why;
	return rc;
}

/* --- list --- */

static int
print_page(json_t *list, bool as_json, uint64_t *printed, struct err *e)
{
	json_t *one;
	size_t i;

	json_array_foreach(list, i, one)
	{
		(*printed)++;
		if (as_json) {
			fputs(*printed > 1 ? ",\n" : "[", stdout);
			if (json_dumpf(one, stdout, JSON_COMPACT) < 0)
				return err_errno(e, errno, "standard output");
			continue;
		}
		printf("%s\t%s\t%s\t%" PRId64 "%s\n", get_text(one, "account"),
		    get_text(one, "home"), get_text(one, "country"), get_number(one, "epoch"),
		    json_is_true(json_object_get(one, "suspended")) ? "\tsuspended" : "");
	}
	return 0;
}

static void
set_if_given(json_t *in, const struct args *a, const char *name)
{
	const char *text = arg_text(a, name);

	if (text)
		json_object_set_new(in, name, json_string(text));
}

int
cmd_account_list(const struct args *a, struct err *e)
{
	_cleanup_(call_closep) struct caller *c = call_open(a, e);
	char after[64] = "";
	uint64_t printed = 0;

	if (!c)
		return -1;
	do {
		_cleanup_json_ json_t *answer = NULL;
		json_t *in = json_object();

		set_if_given(in, a, "home");
		set_if_given(in, a, "country");
		if (*after)
			json_object_set_new(in, "after", json_string(after));
		if (call_node(c, "/v1/account/list", in, &answer, e) < 0 ||
		    print_page(
		        json_object_get(answer, "accounts"), arg_flag(a, "json"), &printed, e) < 0)
			return -1;
		snprintf(after, sizeof(after), "%s", get_text(answer, "next"));
	} while (*after);
	if (arg_flag(a, "json"))
		puts(printed ? "]" : "[]");
	if (!printed)
		fprintf(stderr, "no accounts%s%s%s%s\n", arg_text(a, "home") ? " in " : "",
		    arg_text(a, "home") ? arg_text(a, "home") : "",
		    arg_text(a, "country") ? " of " : "",
		    arg_text(a, "country") ? arg_text(a, "country") : "");
	return 0;
}

/* --- one account --- */

int
cmd_account_show(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;

	if (call_once(a, "/v1/account/show", json_pack("{s:s}", "account", arg_operand(a, 0)),
	        &answer, e) < 0)
		return -1;
	return print_json(answer, e);
}

static int
suspend(const struct args *a, bool on, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;

	return call_once(a, "/v1/account/suspend",
	    json_pack("{s:s, s:b}", "account", arg_operand(a, 0), "on", (int)on), &answer, e);
}

int
cmd_account_suspend(const struct args *a, struct err *e)
{
	return suspend(a, true, e);
}

int
cmd_account_resume(const struct args *a, struct err *e)
{
	return suspend(a, false, e);
}

int
cmd_account_remove(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;

	if (!arg_flag(a, "yes"))
		return err_set(e, ERR_USAGE,
		    "this erases all that the account has, for good; add --yes if that is meant");
	return call_once(
	    a, "/v1/account/remove", json_pack("{s:s}", "account", arg_operand(a, 0)), &answer, e);
}

int
cmd_account_consent(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;
	json_t *list, *one;
	size_t i;

	if (call_once(a, "/v1/account/consent", json_pack("{s:s}", "account", arg_operand(a, 0)),
	        &answer, e) < 0)
		return -1;
	list = json_object_get(answer, "consent");
	if (arg_flag(a, "json"))
		return print_json(list, e);
	json_array_foreach(list, i, one)
	{
		json_t *receipt = json_object_get(one, "receipt");
		char granted[25];

		text_minute((uint64_t)get_number(one, "granted_ms"), granted);
		printf("%s\tgranted %s\tnotice %s\t%s\n", get_text(one, "service"), granted,
		    get_text(receipt, "notice_version"), get_text(receipt, "purpose"));
	}
	return 0;
}

/* --- quota --- */

/* What --bytes and --objects say, as the call has it. */
static int
set_limit(const struct args *a, const char *name, json_t *set, struct err *e)
{
	const char *text = arg_text(a, name);
	uint64_t n = 0;
	json_t *value;

	if (arg_flag(a, "none") || (text && strcmp(text, "none") == 0)) {
		value = json_integer(-1);
	} else if (arg_flag(a, "default")) {
		value = json_null();
	} else if (text) {
		if ((strcmp(name, "bytes") == 0 ? arg_size(a, name, 0, &n, e)
		                                : arg_u64(a, name, 0, 0, INT64_MAX, &n, e)) < 0)
			return -1;
		value = json_integer((json_int_t)n);
	} else {
		return 0;
	}
	json_object_set_new(set, name, value);
	return 0;
}

static int
quota_arguments(const struct args *a, json_t *in, struct err *e)
{
	const char *service = arg_text(a, "service");
	bool has_number = arg_text(a, "bytes") || arg_text(a, "objects");
	json_t *set;

	if (has_number + arg_flag(a, "none") + arg_flag(a, "default") > 1)
		return err_set(
		    e, ERR_USAGE, "either limits (--bytes, --objects), or --none, or --default");
	if (!has_number && !arg_flag(a, "none") && !arg_flag(a, "default"))
		return service ? err_set(e, ERR_USAGE, "--service without what to set there") : 0;
	set = json_pack("{s:s}", "service", service ? service : "all");
	json_object_set_new(in, "set", json_pack("[o]", set));
	return set_limit(a, "bytes", set, e) < 0 ? -1 : set_limit(a, "objects", set, e);
}

static void
print_quota(json_t *list)
{
	json_t *one;
	size_t i;

	json_array_foreach(list, i, one)
	{
		char bytes[16] = "any", objects[24] = "any";

		if (!json_is_null(json_object_get(one, "bytes")))
			text_bytes((uint64_t)get_number(one, "bytes"), bytes);
		if (!json_is_null(json_object_get(one, "objects")))
			snprintf(objects, sizeof(objects), "%" PRId64, get_number(one, "objects"));
		printf("%s\tcontent %s\tobjects %s\n", get_text(one, "service"), bytes, objects);
	}
	if (!i)
		puts("no limits");
}

int
cmd_account_quota(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *in = json_pack("{s:s}", "account", arg_operand(a, 0)),
	                      *answer = NULL;

	if (quota_arguments(a, in, e) < 0 ||
	    call_once(a, "/v1/account/quota", json_incref(in), &answer, e) < 0)
		return -1;
	if (arg_flag(a, "json"))
		return print_json(answer, e);
	print_quota(json_object_get(answer, "quota"));
	return 0;
}
