/* cmd_app_key.c - `domicile app key ...`. */
#include "cli/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/host.h"
#include "cli/call.h"
#include "cli/progress.h"

#define IMPORT_MAX 4096

/* A line as `app key create` prints it: key and secret, blank space between. */
static int
import(const char *path, json_t *in, struct err *e)
{
	_cleanup_secret_buf_ struct buf text = BUF_INIT(IMPORT_MAX);
	char *key, *secret, *rest = NULL;

	if (fs_read(path, IMPORT_MAX, &text, e) < 0)
		return -1;
	key = strtok_r((char *)buf_str(&text), " \t\r\n", &rest);
	secret = strtok_r(NULL, " \t\r\n", &rest);
	if (!key || !secret || strtok_r(NULL, " \t\r\n", &rest))
		return err_set(e, ERR_BAD, "%s is not a key and its secret", path);
	json_object_set_new(in, "key", json_string(key));
	json_object_set_new(in, "secret", json_string(secret));
	return 0;
}

int
cmd_app_key_create(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL, *in = NULL;
	uint64_t expires_ms;

	if (arg_instant(a, "expires", host_wall_ms(), &expires_ms, e) < 0)
		return -1;
	in = json_pack("{s:s, s:s, s:I}", "name", arg_operand(a, 0), "services",
	    arg_text(a, "services"), "expires_ms", (json_int_t)expires_ms);
	if (!in)
		return err_set(e, ERR_MEMORY, "no memory for a call");
	if (arg_text(a, "countries"))
		json_object_set_new(in, "countries", json_string(arg_text(a, "countries")));
	if (arg_flag(a, "read-only"))
		json_object_set_new(in, "read_only", json_true());
	if (arg_text(a, "import") && import(arg_text(a, "import"), in, e) < 0)
		return -1;
	if (call_once(a, "/v1/app/key/create", json_incref(in), &answer, e) < 0)
		return -1;
	if (arg_flag(a, "json"))
		return print_json(answer, e);
	printf("%s\t%s\n", get_text(answer, "access_key"), get_text(answer, "secret_key"));
	return 0;
}

static void
print_key(json_t *one)
{
	bool is_revoked = get_number(one, "revoked_ms") != 0;
	bool is_expired = json_is_true(json_object_get(one, "expired"));
	char when[25];

	text_minute((uint64_t)get_number(one, is_revoked ? "revoked_ms" : "expires_ms"), when);
	printf("%s\t%s\t%s\t%s %s", get_text(one, "key"), get_text(one, "name"),
	    get_text(one, "services"),
	    is_revoked       ? "revoked"
	        : is_expired ? "expired"
	                     : "expires",
	    when);
	if (*get_text(one, "countries"))
		printf("\tcountries %s", get_text(one, "countries"));
	if (json_is_true(json_object_get(one, "read_only")))
		fputs("\tread-only", stdout);
	putchar('\n');
}

int
cmd_app_key_list(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;
	json_t *one;
	size_t i;

	if (call_once(a, "/v1/app/key/list", json_object(), &answer, e) < 0)
		return -1;
	if (arg_flag(a, "json"))
		return print_json(answer, e);
	json_array_foreach(answer, i, one)
	{
		print_key(one);
	}
	return 0;
}

int
cmd_app_key_revoke(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;
	const char *region;
	json_t *result;

	if (call_once(a, "/v1/app/key/revoke", json_pack("{s:s}", "key", arg_operand(a, 0)),
	        &answer, e) < 0)
		return -1;
	if (arg_flag(a, "json"))
		return print_json(answer, e);
	json_object_foreach(json_object_get(answer, "regions"), region, result)
	    printf("%s\t%s\n", region, json_string_value(result));
	return 0;
}

int
cmd_app_key_remove(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;

	return call_once(
	    a, "/v1/app/key/remove", json_pack("{s:s}", "key", arg_operand(a, 0)), &answer, e);
}
