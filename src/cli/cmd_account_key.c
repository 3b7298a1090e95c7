/* cmd_account_key.c - `domicile account key ...`. */
#include "cli/commands.h"

#include "base/host.h"
#include "cli/call.h"
#include "cli/progress.h"

static void
set_text(json_t *in, const char *name, const char *text)
{
	if (text)
		json_object_set_new(in, name, json_string(text));
}

int
cmd_account_key_create(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;
	json_t *in;
	uint64_t expires_ms;

	if (arg_instant(a, "expires", host_wall_ms(), &expires_ms, e) < 0)
		return -1;
	if (arg_text(a, "prefix") && !arg_text(a, "bucket"))
		return err_set(e, ERR_USAGE, "--prefix needs --bucket");
	in = json_pack("{s:s}", "account", arg_operand(a, 0));
	if (expires_ms)
		json_object_set_new(in, "expires_ms", json_integer((json_int_t)expires_ms));
	if (arg_flag(a, "read-only"))
		json_object_set_new(in, "read_only", json_true());
	set_text(in, "services", arg_text(a, "service"));
	set_text(in, "bucket", arg_text(a, "bucket"));
	set_text(in, "prefix", arg_text(a, "prefix"));
	if (call_once(a, "/v1/account/key/create", in, &answer, e) < 0)
		return -1;
	if (arg_flag(a, "json"))
		return print_json(answer, e);
	printf("%s\t%s\n", get_text(answer, "access_key"), get_text(answer, "secret_key"));
	return 0;
}

/* What it is limited to, as the options that would make such a key. */
static void
print_key(json_t *one)
{
	const char *services = get_text(one, "services"), *bucket = get_text(one, "bucket"),
	           *prefix = get_text(one, "prefix"), *limited_to = get_text(one, "limited_to");
	char created[25], expires[25];

	text_minute((uint64_t)get_number(one, "created_ms"), created);
	text_minute((uint64_t)get_number(one, "expires_ms"), expires);
	printf("%s\tcreated %s\t%s %s", get_text(one, "access_key"), created,
	    json_is_true(json_object_get(one, "expired")) ? "expired" : "expires", expires);
	if (json_is_true(json_object_get(one, "read_only")))
		fputs("\tread-only", stdout);
	if (*services)
		printf("\tservice %s", services);
	if (*bucket)
		printf("\tbucket %s", bucket);
	if (*prefix)
		printf("\tprefix %s", prefix);
	if (*limited_to)
		printf("\tlimited to a %s", limited_to);
	putchar('\n');
}

int
cmd_account_key_list(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;
	json_t *keys, *one;
	size_t i;

	if (call_once(a, "/v1/account/key/list", json_pack("{s:s}", "account", arg_operand(a, 0)),
	        &answer, e) < 0)
		return -1;
	keys = json_object_get(answer, "keys");
	if (arg_flag(a, "json"))
		return print_json(keys, e);
	json_array_foreach(keys, i, one)
	{
		print_key(one);
	}
	return 0;
}

int
cmd_account_key_revoke(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;

	return call_once(a, "/v1/account/key/revoke",
	    json_pack("{s:s, s:s}", "account", arg_operand(a, 0), "access_key", arg_operand(a, 1)),
	    &answer, e);
}
