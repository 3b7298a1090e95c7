/* cmd_status.c - `domicile region status`, `region sample` and `directory status`. */
#include "cli/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/call.h"
#include "cli/progress.h"

/* Accounts being sent by all waves together. */
static int64_t
sending(json_t *moving)
{
	json_t *wave;
	int64_t sum = 0;
	size_t i;

	json_array_foreach(json_object_get(moving, "waves"), i, wave)
	    sum += get_number(wave, "sending");
	return sum;
}

static void
print_standby(json_t *it)
{
	json_t *own = json_object_get(it, "standby"), *follows = json_object_get(it, "follows");
	char text[16];

	if (own) {
		text_duration((uint64_t)get_number(own, "lag_ms"), text);
		printf("standby: %s, %" PRId64 " changes behind, %s; term %" PRId64 "%s\n",
		    !json_is_true(json_object_get(own, "connected"))    ? "away"
		        : json_is_true(json_object_get(own, "copying")) ? "being copied to"
		                                                        : "follows",
		    get_number(own, "lag_versions"), text, get_number(own, "term"),
		    json_is_true(json_object_get(own, "serves")) ? ""
		        : json_is_true(json_object_get(own, "lost"))
		        ? "; NOT SERVING: another node was promoted"
		        : "; NOT SERVING: neither the directory nor the standby answers");
	}
	if (follows)
		printf("this is a standby: %s, %s, at change %" PRId64 " of term %" PRId64 "\n",
		    json_is_true(json_object_get(follows, "connected")) ? "its node is here"
		                                                        : "its node is away",
		    json_is_true(json_object_get(follows, "has_all")) ? "has all"
		                                                      : "has no whole copy yet",
		    get_number(follows, "versions"), get_number(follows, "term"));
}

static void
print_key(json_t *key)
{
	const char *state = get_text(key, "state");

	if (!key)
		return;
	printf("region key: generation %" PRId64, get_number(key, "generation"));
	if (strcmp(state, "idle"))
		printf(", being rotated: %s, %" PRId64 " of %" PRId64 " vaults", state,
		    get_number(key, "done"), get_number(key, "total"));
	if (*get_text(key, "trouble"))
		printf("; tried again: %s", get_text(key, "trouble"));
	putchar('\n');
}

static void
print_limits(json_t *it)
{
	char text[16];

	text_bytes((uint64_t)get_number(it, "requests_memory"), text);
	printf("limits: %" PRId64 " connections, %" PRId64 " an address, %s of requests",
	    get_number(it, "connections"), get_number(it, "connections_per_address"), text);
	if (get_number(it, "address_rate"))
		printf(", %" PRId64 " requests/s an address", get_number(it, "address_rate"));
	if (get_number(it, "account_rate"))
		printf(", %" PRId64 " requests/s an account", get_number(it, "account_rate"));
	putchar('\n');
}

static void
print_region(json_t *it)
{
	json_t *list = json_object_get(it, "regions"), *moving = json_object_get(it, "moving"),
	       *one;
	char text[16];
	size_t i;

	text_bytes((uint64_t)get_number(it, "store_bytes"), text);
	printf("%s (%s)  vaults open %" PRId64 ", requests waiting %" PRId64 ", store %s\n",
	    get_text(it, "region"), get_text(it, "jurisdiction"), get_number(it, "vaults_open"),
	    get_number(it, "requests_waiting"), text);
	print_standby(it);
	print_key(json_object_get(it, "key"));
	print_limits(json_object_get(it, "limits"));
	if (json_object_get(it, "policy_unknown"))
		printf("regions.conf has no section for regions that it names: %s\n",
		    get_text(it, "policy_unknown"));
	if (moving)
		printf("moving: %" PRId64 " sending, %" PRId64 " erasing, %" PRId64 " resolving\n",
		    sending(moving), get_number(moving, "erasing"),
		    get_number(moving, "resolving"));
	json_array_foreach(list, i, one)
	{
		text_us((uint64_t)get_number(one, "round_trip_us"), text);
		printf("  %-20s %s  %-12s %s\n", get_text(one, "region"),
		    get_text(one, "jurisdiction"),
		    !json_is_true(json_object_get(one, "reachable")) ? "unreachable"
		        : get_number(one, "round_trip_us")           ? text
		                                                     : "here",
		    get_text(one, "s3"));
	}
}

static void
print_directory(json_t *it)
{
	json_t *accounts = json_object_get(it, "accounts"), *one, *count;
	const char *state;
	char text[16];
	size_t i;

	text_us((uint64_t)get_number(it, "answer_us"), text);
	printf("directory (%s), answered in %s\n", get_text(it, "served_by"), text);
	json_array_foreach(accounts, i, one) printf("  %-20s %s %10" PRId64 " accounts\n",
	    get_text(one, "home"), get_text(one, "country"), get_number(one, "accounts"));
	json_object_foreach(json_object_get(it, "waves"), state, count)
	    printf("  waves %-14s %10" JSON_INTEGER_FORMAT "\n", state, json_integer_value(count));
}

static int
status(const struct args *a, const char *path, void (*print)(json_t *), struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;

	if (call_once(a, path, json_object(), &answer, e) < 0)
		return -1;
	if (arg_flag(a, "json"))
		return print_json(answer, e);
	print(answer);
	return 0;
}

int
cmd_region_status(const struct args *a, struct err *e)
{
	return status(a, "/v1/region/status", print_region, e);
}

int
cmd_directory_status(const struct args *a, struct err *e)
{
	return status(a, "/v1/directory/status", print_directory, e);
}

int
cmd_region_sample(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;

	if (call_once(a, "/v1/region/sample", json_pack("{s:s}", "account", arg_operand(a, 0)),
	        &answer, e) < 0)
		return -1;
	return print_json(answer, e);
}
