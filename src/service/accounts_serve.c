/* accounts_serve.c - finding an account's home, asking it, and answering those who ask. See accounts.h. */
#include "service/accounts_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/rate.h"
#include "directory/peer.h"
#include "service/access.h"
#include "service/applications.h"
#include "service/files.h"
#include "service/policy.h"
#include "service/routes.h"
#include "vault/homes.h"
#include "vault/pool.h"

#define CREATE_WAIT_MS 120000
#define CALL_WAIT_MS   60000
#define HOME_TRIES     3

#define _cleanup_json_ _cleanup_(json_decrefp)

static int
made(json_t *j, json_t **out, struct err *e)
{
	if (!j)
		return err_set(e, ERR_MEMORY, "no memory for an answer");
	*out = j;
	return 0;
}

int
account_ask(struct node *n, const char *region, const char *op, json_t *arguments, uint64_t wait_ms,
    json_t **answer, struct err *e)
{
	_cleanup_json_ json_t *body = arguments;
	char path[64];

	if (!body)
		return err_set(e, ERR_MEMORY, "no memory for a call");
	snprintf(path, sizeof(path), "/peer/v1/account/%s", op);
	if (peer_call(n->peers, region, NULL, path, NULL, body, answer, wait_ms, e) < 0)
		return err_add(e, "%s", region);
	return 0;
}

bool
account_is_here(const struct node *n, const char *region)
{
	return n->engine && strcmp(n->region, region) == 0;
}

int
account_at_home(struct node *n, const struct account_id *id, const char *op, json_t *in,
    account_here_fn *here, json_t **out, struct err *e)
{
	struct placement row;
	struct err why;

	for (int i = 0; i < HOME_TRIES; i++) {
		int r;

		if (account_find(n, id, &row, e) < 0)
			return -1;
		r = account_is_here(n, row.home)
		    ? here(n, id, op, in, out, e)
		    : account_ask(n, row.home, op, json_incref(in), CALL_WAIT_MS, out, e);
		if (r == 0 || e->kind != ERR_STALE)
			return r;
	}
	why = *e;
	return err_set(e, ERR_BUSY, "tried %d times, and nothing was done: %s; try again",
	    HOME_TRIES, why.text);
}

/* --- creating --- */

static int
take_text(json_t *row, const char *name, char *out, size_t size, struct err *e)
{
	const char *text = json_string_value(json_object_get(row, name));

	if (!text || strlen(text) >= size)
		return err_set(e, ERR_PEER, "an answer without '%s'", name);
	snprintf(out, size, "%s", text);
	return 0;
}

static int
take_credentials(json_t *row, struct account_credentials *out, struct err *e)
{
	char id[ACCOUNT_TEXT_SIZE];

	if (take_text(row, "account", id, sizeof(id), e) < 0 ||
	    take_text(row, "region", out->region, sizeof(out->region), e) < 0 ||
	    take_text(row, "access_key", out->access_key, sizeof(out->access_key), e) < 0 ||
	    take_text(row, "secret_key", out->secret_key, sizeof(out->secret_key), e) < 0)
		return -1;
	return account_parse(id, &out->account) ? 0
	                                        : err_set(e, ERR_PEER, "'%s' is no account", id);
}

static int
create_there(struct node *n, const char *region, const char *country, unsigned services,
    size_t count, struct account_credentials *out, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;
	char granted[64];
	json_t *rows;

	services_text(services, granted);
	if (account_ask(n, region, "create",
	        json_pack("{s:s, s:s, s:I}", "country", country, "services",
	            services & ~BIT(SERVICE_PROFILE) ? granted : "", "count", (json_int_t)count),
	        CREATE_WAIT_MS, &answer, e) < 0)
		return -1;
	rows = json_object_get(answer, "accounts");
	if (json_array_size(rows) != count)
		return err_set(e, ERR_PEER, "%s answered %zu accounts, not %zu", region,
		    json_array_size(rows), count);
	for (size_t i = 0; i < count; i++)
		if (take_credentials(json_array_get(rows, i), &out[i], e) < 0)
			return err_add(e, "%s", region);
	return 0;
}

static bool
exists(void *arg, const char *region)
{
	struct node *n = arg;
	struct peer_region r;

	return account_is_here(n, region) || (n->peers && peers_find(n->peers, region, &r));
}

int
accounts_create(struct node *n, const char *country, unsigned services, size_t count,
    struct account_credentials *out, struct err *e)
{
	char region[REGION_NAME_SIZE];

	if (policy_home(n->policy, country, exists, n, region, e) < 0)
		return -1;
	if (account_is_here(n, region))
		return accounts_create_here(n, country, services, count, out, e);
	for (size_t done = 0; done < count;) {
		size_t some = count - done < DIRECTORY_BATCH_MAX ? count - done
		                                                 : DIRECTORY_BATCH_MAX;

		if (create_there(n, region, country, services, some, out + done, e) < 0)
			return err_add(e, "%zu of %zu accounts were made", done, count);
		done += some;
	}
	return 0;
}

/* --- at an account's home --- */

int
account_find(struct node *n, const struct account_id *id, struct placement *out, struct err *e)
{
	if (directory_find(n->directory, id, 1, out, e) < 0)
		return -1;
	return out->epoch ? 0 : err_set(e, ERR_MISSING, "no such account");
}

static json_t *
account_json(const struct account_id *id)
{
	char text[ACCOUNT_TEXT_SIZE];

	account_text(id, text);
	return json_pack("{s:s}", "account", text);
}

int
accounts_suspend(struct node *n, const struct account_id *id, bool on, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;
	struct placement row;
	json_t *j;

	if (account_find(n, id, &row, e) < 0)
		return -1;
	if (account_is_here(n, row.home))
		return accounts_suspend_here(n, id, on, e);
	j = account_json(id);
	json_object_set_new(j, "on", json_boolean(on));
	return account_ask(n, row.home, "suspend", j, CALL_WAIT_MS, &answer, e);
}

int
accounts_remove(struct node *n, const struct account_id *id, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;
	struct placement row;
	struct home home;

	if (directory_find(n->directory, id, 1, &row, e) < 0)
		return -1;
	if (!row.epoch) {
		/* A removal that got as far as the directory, and no farther. */
		int r = n->engine ? homes_get(n->homes, id, &home, e) : 0;

		if (r < 0)
			return -1;
		if (r == 0 || (home.state != HOME_REMOVING && home.state != HOME_HELD))
			return err_set(e, ERR_MISSING, "no such account");
		return accounts_remove_here(n, id, e);
	}
	if (account_is_here(n, row.home))
		return accounts_remove_here(n, id, e);
	if (account_ask(n, row.home, "remove", account_json(id), CALL_WAIT_MS, &answer, e) < 0)
		return -1;
	if (n->routes)
		routes_forget(n->routes, id);
	return 0;
}

/* --- showing --- */

static int
count_vault(
    struct node *n, const struct vault_id *id, uint32_t *pages, uint64_t *version, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = pool_take(n->pool, id, true, e);
	uint8_t page[4096];

	if (!v)
		return -1;
	*version = vault_version(v);
	return vault_read_page(v, 1, page, pages, e);
}

static json_t *
vault_json(struct node *n, const struct home *home, enum service s)
{
	struct vault_id id = { .account = home->account, .service = (uint8_t)s };
	struct files f = {
		.node = n,
		.account = home->account,
		.services = home->services,
		.may_block = true,
	};
	struct files_usage usage = { 0 };
	uint64_t version = 0;
	uint32_t pages = 0;
	struct err e = { .kind = ERR_NONE };

	if (count_vault(n, &id, &pages, &version, &e) < 0 ||
	    (s != SERVICE_PROFILE && files_usage(&f, s, &usage, &e) < 0))
		return json_pack("{s:s, s:s}", "service", service_name(s), "error", e.text);
	return json_pack("{s:s, s:I, s:I, s:I, s:I}", "service", service_name(s), "pages",
	    (json_int_t)pages, "version", (json_int_t)version, "objects", (json_int_t)usage.objects,
	    "bytes", (json_int_t)usage.bytes);
}

static bool
has_vaults(const struct home *home)
{
	return home->state == HOME_HERE || home->state == HOME_FENCED;
}

static json_t *
vaults_json(struct node *n, const struct home *home)
{
	json_t *list = json_array();

	if (!has_vaults(home))
		return list;
	for (enum service s = SERVICE_PROFILE; s < SERVICES; s++)
		if (home->services & BIT(s))
			json_array_append_new(list, vault_json(n, home, s));
	return list;
}

/* When applications acted for it; NULL: none has, or it can't be told now. */
static json_t *
applications_json(struct node *n, const struct home *home)
{
	json_t *list = NULL;

	if ((home->state != HOME_HERE && home->state != HOME_FENCED) ||
	    application_uses(n, &home->account, &list, NULL) < 0)
		return NULL;
	if (json_array_size(list))
		return list;
	json_decref(list);
	return NULL;
}

/* Why it is not served, where that is not an order of the operator; NULL. */
static const char *
reason_of(const struct home *home, char out[static 160])
{
	if (home->state == HOME_LOST)
		return "lost with the store: it came after the backup that was put back";
	if (home->state != HOME_HELD)
		return NULL;
	snprintf(out, 160,
	    "the store was put back, and has it of epoch %" PRIu64
	    ": see `domicile account accept`",
	    home->epoch);
	return out;
}

/* Of each account here; NULL: any. */
static json_t *
rate_json(const struct node *n)
{
	if (!n->account_rate)
		return NULL;
	return json_pack("{s:I, s:I}", "requests_per_s", (json_int_t)rate_per_s(n->account_rate),
	    "burst", (json_int_t)rate_burst(n->account_rate));
}

int
accounts_show_here(struct node *n, const struct account_id *id, json_t **out, struct err *e)
{
	char services[64], reason[160];
	struct home home;
	int r = homes_get(n->homes, id, &home, e);

	if (r < 0)
		return -1;
	if (r == 0)
		return err_set(e, ERR_MISSING, "%s knows no such account", n->region);
	services_text(home.services, services);
	return made(json_pack("{s:s, s:s, s:o, s:o*, s:o*, s:s*, s:o*}", "state",
	                home_state_name(home.state), "services", services, "vaults",
	                vaults_json(n, &home), "rate", rate_json(n), "quota",
	                has_vaults(&home) ? accounts_quota_json(n, id, NULL) : NULL, "reason",
	                reason_of(&home, reason), "applications", applications_json(n, &home)),
	    out, e);
}

int
accounts_show(struct node *n, const struct account_id *id, json_t **out, struct err *e)
{
	_cleanup_json_ json_t *at_home = NULL, *shown = NULL;
	char text[ACCOUNT_TEXT_SIZE];
	struct placement row;
	struct err why = { .kind = ERR_NONE };
	int r;

	if (account_find(n, id, &row, e) < 0)
		return -1;
	account_text(id, text);
	shown = json_pack("{s:s, s:s, s:s, s:I, s:I, s:b}", "account", text, "country", row.country,
	    "home", row.home, "epoch", (json_int_t)row.epoch, "attempt", (json_int_t)row.attempt,
	    "suspended", (int)row.is_suspended);
	if (!shown)
		return err_set(e, ERR_MEMORY, "no memory for an answer");
	if (account_is_here(n, row.home))
		r = accounts_show_here(n, id, &at_home, &why);
	else
		r = account_ask(
		    n, row.home, "show", account_json(id), CALL_WAIT_MS, &at_home, &why);
	/* What the directory says is worth telling by itself. */
	if (r < 0)
		json_object_set_new(shown, "home_error", json_string(why.text));
	else
		json_object_update_missing(shown, at_home);
	return made(take(&shown), out, e);
}

/* --- serving --- */

json_t *
account_credentials_json(const struct account_credentials *c)
{
	char id[ACCOUNT_TEXT_SIZE];

	account_text(&c->account, id);
	return json_pack("{s:s, s:s, s:s, s:s}", "account", id, "region", c->region, "access_key",
	    c->access_key, "secret_key", c->secret_key);
}

static int
bad_arguments(const json_error_t *why, struct err *e)
{
	return err_set(e, ERR_BAD, "arguments: %.120s", why->text);
}

static int
serve_create(struct node *n, json_t *in, json_t **out, struct err *e)
{
	_cleanup_(freep) struct account_credentials *list = NULL;
	_cleanup_json_ json_t *rows = NULL;
	const char *country, *granted;
	unsigned services = 0;
	json_int_t count;
	json_error_t why;
	int r;

	if (json_unpack_ex(in, &why, JSON_STRICT, "{s:s, s:s, s:I}", "country", &country,
	        "services", &granted, "count", &count) < 0)
		return bad_arguments(&why, e);
	if (count < 1 || count > DIRECTORY_BATCH_MAX)
		return err_set(e, ERR_BAD, "count is 1 to %d", DIRECTORY_BATCH_MAX);
	if (*granted && services_parse(granted, &services, e) < 0)
		return -1;
	list = calloc((size_t)count, sizeof(*list));
	rows = json_array();
	if (!list || !rows)
		return err_set(e, ERR_MEMORY, "no memory for %d accounts", (int)count);
	r = accounts_create_here(n, country, services, (size_t)count, list, e);
	for (json_int_t i = 0; r == 0 && i < count; i++)
		json_array_append_new(rows, account_credentials_json(&list[i]));
	wipe(list, (size_t)count * sizeof(*list));
	return r < 0 ? -1 : made(json_pack("{s:O}", "accounts", rows), out, e);
}

static int
parse_account(const char *text, struct account_id *id, struct err *e)
{
	return account_parse(text, id)
	    ? 0
	    : err_set(e, ERR_BAD, "an account is 32 lower-case hexadecimal digits");
}

static int
unpack_account(json_t *in, struct account_id *id, struct err *e)
{
	const char *text;
	json_error_t why;

	if (json_unpack_ex(in, &why, JSON_STRICT, "{s:s}", "account", &text) < 0)
		return bad_arguments(&why, e);
	return parse_account(text, id, e);
}

static int
serve_show(struct node *n, json_t *in, json_t **out, struct err *e)
{
	struct account_id id;

	return unpack_account(in, &id, e) < 0 ? -1 : accounts_show_here(n, &id, out, e);
}

static int
serve_suspend(struct node *n, json_t *in, json_t **out, struct err *e)
{
	struct account_id id;
	const char *text;
	json_error_t why;
	int on;

	if (json_unpack_ex(in, &why, JSON_STRICT, "{s:s, s:b}", "account", &text, "on", &on) < 0)
		return bad_arguments(&why, e);
	if (parse_account(text, &id, e) < 0 || accounts_suspend_here(n, &id, on != 0, e) < 0)
		return -1;
	return made(json_object(), out, e);
}

static int
serve_remove(struct node *n, json_t *in, json_t **out, struct err *e)
{
	struct account_id id;

	if (unpack_account(in, &id, e) < 0 || accounts_remove_here(n, &id, e) < 0)
		return -1;
	return made(json_object(), out, e);
}

static int
serve_key_create(struct node *n, json_t *in, json_t **out, struct err *e)
{
	return accounts_key_here(n, "create", false, in, out, e);
}

static int
serve_key_list(struct node *n, json_t *in, json_t **out, struct err *e)
{
	return accounts_key_here(n, "list", false, in, out, e);
}

static int
serve_key_revoke(struct node *n, json_t *in, json_t **out, struct err *e)
{
	return accounts_key_here(n, "revoke", false, in, out, e);
}

static int
serve_quota(struct node *n, json_t *in, json_t **out, struct err *e)
{
	struct account_id id;
	json_t *set;

	return accounts_quota_unpack(in, &id, &set, e) < 0
	    ? -1
	    : accounts_quota_here(n, &id, set, out, e);
}

static int
serve_consent(struct node *n, json_t *in, json_t **out, struct err *e)
{
	struct account_id id;

	return unpack_account(in, &id, e) < 0 ? -1 : accounts_consent_here(n, &id, in, out, e);
}

static const struct {
	const char *op;
	int (*serve)(struct node *n, json_t *in, json_t **out, struct err *e);
	bool is_operator; /* it changes something */
} calls[] = {
	{ "create", serve_create, true },
	{ "show", serve_show, false },
	{ "suspend", serve_suspend, true },
	{ "remove", serve_remove, true },
	{ "key/create", serve_key_create, true },
	{ "key/list", serve_key_list, false },
	{ "key/revoke", serve_key_revoke, true },
	{ "quota", serve_quota, true },
	{ "consent", serve_consent, false },
};

static int
operate(struct node *n, const char *caller, const char *op, json_t *in, struct err *e)
{
	bool may = !n->peers || peers_may_operate(n->peers, caller);
	const char *text = json_string_value(json_object_get(in, "account"));
	struct account_id id;

	/* What is no account's id stays out of the log. */
	log_audit("account.operate", NULL, "call=%s caller=%s account=%s allowed=%d", op, caller,
	    text && account_parse(text, &id) ? text : "-", may);
	return may ? 0
	           : err_set(e, ERR_DENIED, "%s may not change accounts of %s", caller, n->region);
}

int
accounts_serve(struct node *n, const char *caller, const char *op, json_t *arguments,
    json_t **answer, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		if (strcmp(calls[i].op, op) != 0)
			continue;
		if (calls[i].is_operator && operate(n, caller, op, arguments, e) < 0)
			return -1;
		return calls[i].serve(n, arguments, answer, e);
	}
	return err_set(e, ERR_MISSING, "no call account/%.40s", op);
}
