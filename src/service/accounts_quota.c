/* accounts_quota.c - the operator looks at and sets what an account may keep. See accounts.h, quota.h. */
#include "service/accounts_internal.h"

#include <string.h>

#include "service/gate.h"
#include "service/quota.h"
#include "vault/pool.h"

static const char *
shown_name(enum service s)
{
	return s == QUOTA_ALL ? "all" : service_name(s);
}

/* What a vault of content, or all together, may be limited to. */
static int
parse_service(const char *name, enum service *out, struct err *e)
{
	static const enum service limited[] = { QUOTA_ALL, SERVICE_FILES, SERVICE_BACKUP };

	for (size_t i = 0; i < ARRAY_LEN(limited); i++)
		if (strcmp(name, shown_name(limited[i])) == 0) {
			*out = limited[i];
			return 0;
		}
	return err_set(e, ERR_BAD, "'%.40s' has no quota: all, files or backup", name);
}

static json_t *
limit_json(uint64_t limit)
{
	return limit == QUOTA_NONE ? json_null() : json_integer((json_int_t)limit);
}

json_t *
accounts_quota_json(struct node *n, const struct account_id *id, struct err *e)
{
	struct quota_limits l = { .is_limited = false };
	json_t *list;

	if (n->quota && quota_find(n->quota, id, true, &l, e) < 0)
		return NULL;
	list = json_array();
	for (enum service s = QUOTA_ALL; list && l.is_limited && s < SERVICES; s++) {
		const struct quota_limit *of = &l.of[s];

		if (of->bytes != QUOTA_NONE || of->objects != QUOTA_NONE)
			json_array_append_new(list,
			    json_pack("{s:s, s:o, s:o}", "service", shown_name(s), "bytes",
			        limit_json(of->bytes), "objects", limit_json(of->objects)));
	}
	if (!list)
		err_set(e, ERR_MEMORY, "no memory for an answer");
	return list;
}

/* --- setting --- */

int
accounts_quota_unpack(json_t *in, struct account_id *id, json_t **set, struct err *e)
{
	const char *text;
	json_error_t why;

	*set = NULL;
	if (json_unpack_ex(in, &why, JSON_STRICT, "{s:s, s?o}", "account", &text, "set", set) < 0)
		return err_set(e, ERR_BAD, "arguments: %.120s", why.text);
	if (!account_parse(text, id))
		return err_set(e, ERR_BAD, "an account is 32 lower-case hexadecimal digits");
	if (*set && !json_is_array(*set))
		return err_set(e, ERR_BAD, "'set' is no list");
	return 0;
}

/* A number, -1, null; without a VALUE it stays. */
static int
parse_limit(json_t *value, uint64_t *out, struct err *e)
{
	if (!value)
		return 0;
	if (json_is_null(value))
		*out = QUOTA_DEFAULT;
	else if (json_is_integer(value) && json_integer_value(value) == -1)
		*out = QUOTA_NONE;
	else if (json_is_integer(value) && json_integer_value(value) >= 0)
		*out = (uint64_t)json_integer_value(value);
	else
		return err_set(e, ERR_BAD, "a limit is a number, -1 for none, or null");
	return 0;
}

static int
set_one(struct quota_limit own[static SERVICES], json_t *one, struct err *e)
{
	json_t *bytes = NULL, *objects = NULL;
	enum service s = QUOTA_ALL;
	const char *name;
	json_error_t why;

	if (json_unpack_ex(one, &why, JSON_STRICT, "{s:s, s?o, s?o}", "service", &name, "bytes",
	        &bytes, "objects", &objects) < 0)
		return err_set(e, ERR_BAD, "set: %.120s", why.text);
	if (parse_service(name, &s, e) < 0 || parse_limit(bytes, &own[s].bytes, e) < 0 ||
	    parse_limit(objects, &own[s].objects, e) < 0)
		return -1;
	return 0;
}

/* Within the gate. */
static int
write_all(struct node *n, const struct account_id *id, json_t *set, uint64_t *ticket, struct err *e)
{
	const struct vault_id profile = { .account = *id, .service = SERVICE_PROFILE };
	_cleanup_(pool_givep) struct vault *v = pool_take(n->pool, &profile, true, e);
	struct quota_limit own[SERVICES];
	json_t *one;
	size_t i;

	if (!v || vault_begin(v, e) < 0 || quota_read(v, own, e) < 0)
		return -1;
	json_array_foreach(set, i, one)
	{
		if (set_one(own, one, e) < 0)
			return -1;
	}
	return quota_write(v, own, e) < 0 ? -1 : vault_commit(v, ticket, e);
}

static int
enter(struct node *n, const struct account_id *id, struct gate_pass *pass, struct err *e)
{
	enum gate_answer answer;

	if (gate_enter(n, id, GATE_OPERATOR, &answer, pass, e) < 0 ||
	    (answer == GATE_WAIT && gate_wait(n, id, GATE_OPERATOR, &answer, pass, e) < 0))
		return -1;
	if (answer == GATE_HELD || answer == GATE_LOST)
		return err_set(e, ERR_BUSY,
		    "the account is not served since the store was put back; see `account show`");
	return answer == GATE_GO
	    ? 0
	    : err_set(e, ERR_STALE, "the account does not live in %s", n->region);
}

int
accounts_quota_here(
    struct node *n, const struct account_id *id, json_t *set, json_t **out, struct err *e)
{
	char text[ACCOUNT_TEXT_SIZE];
	struct gate_pass pass = { 0 };
	uint64_t ticket = 0;
	json_t *list;
	int r;

	if (json_array_size(set)) {
		if (enter(n, id, &pass, e) < 0)
			return -1;
		r = write_all(n, id, set, &ticket, e);
		if (n->quota)
			quota_forget(n->quota, id);
		gate_leave(n, &pass);
		if (r < 0 || flusher_wait(n->flusher, ticket, e) < 0)
			return -1;
	}
	list = accounts_quota_json(n, id, e);
	if (!list)
		return -1;
	account_text(id, text);
	*out = json_pack("{s:s, s:o}", "account", text, "quota", list);
	return *out ? 0 : err_set(e, ERR_MEMORY, "no memory for an answer");
}

static int
quota_here(struct node *n, const struct account_id *id, const char *op, json_t *in, json_t **out,
    struct err *e)
{
	(void)op;
	return accounts_quota_here(n, id, json_object_get(in, "set"), out, e);
}

int
accounts_quota(struct node *n, json_t *arguments, json_t **out, struct err *e)
{
	struct account_id id;
	json_t *set;

	if (accounts_quota_unpack(arguments, &id, &set, e) < 0)
		return -1;
	return account_at_home(n, &id, "quota", arguments, quota_here, out, e);
}
