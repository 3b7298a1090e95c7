/* admin_account.c - the operator's calls about accounts. */
#include "front/admin_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "service/accounts.h"

#define CREATE_MAX 1000
#define LIST_MAX   5000

int
admin_account_create(struct request *r, json_t *in, json_t **out, struct err *e)
{
	const char *country, *grant = "";
	struct account_credentials *made;
	json_t *list = json_array();
	unsigned services = 0;
	int count = 1, rc = -1;

	if (admin_unpack(in, e, "{s:s, s?s, s?i}", "country", &country, "grant", &grant, "count",
	        &count) < 0 ||
	    (*grant && services_parse(grant, &services, e) < 0))
		goto out;
	if (count < 1 || count > CREATE_MAX) {
		err_set(e, ERR_BAD, "count must lie between 1 and %d", CREATE_MAX);
		goto out;
	}
	/* Locked memory is scarce: it holds secrets only until the answer is made, and is wiped. */
	made = calloc((size_t)count, sizeof(*made));
	if (!made) {
		err_set(e, ERR_MEMORY, "no memory for %d accounts", count);
		goto out;
	}
	rc = accounts_create(r->node, country, services, (size_t)count, made, e);
	for (int i = 0; rc == 0 && i < count; i++)
		json_array_append_new(list, account_credentials_json(&made[i]));
	wipe(made, (size_t)count * sizeof(*made));
	free(made);
	if (rc == 0)
		rc = admin_made(json_pack("{s:O}", "accounts", list), out, e);
out:
	json_decref(list);
	return rc;
}

static int
add_placement(void *arg, const struct placement *p, struct err *e)
{
	char id[ACCOUNT_TEXT_SIZE];
	json_t *row;

	account_text(&p->account, id);
	row = json_pack("{s:s, s:s, s:s, s:I, s:I, s:b}", "account", id, "home", p->home, "country",
	    p->country, "epoch", (json_int_t)p->epoch, "attempt", (json_int_t)p->attempt,
	    "suspended", (int)p->is_suspended);
	if (json_array_append_new(arg, row) < 0)
		return err_set(e, ERR_MEMORY, "no memory for the list");
	return 0;
}

int
admin_account_list(struct request *r, json_t *in, json_t **out, struct err *e)
{
	const char *home = NULL, *country = NULL, *after = NULL;
	struct account_id from;
	json_t *list, *last, *next;
	int limit = LIST_MAX, rc;

	if (admin_unpack(in, e, "{s?s, s?s, s?s, s?i}", "home", &home, "country", &country, "after",
	        &after, "limit", &limit) < 0 ||
	    (after && admin_account(after, &from, e) < 0))
		return -1;
	if (limit < 1 || limit > LIST_MAX)
		return err_set(e, ERR_BAD, "limit must lie between 1 and %d", LIST_MAX);
	list = json_array();
	rc = directory_list(r->node->directory, after ? &from : NULL, home, country, (size_t)limit,
	    add_placement, list, e);
	/* A region that was taken out of regions.conf may have accounts; one that never was has none. */
	if (rc == 0 && home && !after && !json_array_size(list))
		rc = admin_region(r->node, home, e);
	if (rc == 0) {
		last = json_array_get(list, (size_t)limit - 1);
		next = last ? json_object_get(last, "account") : json_null();
		rc = admin_made(json_pack("{s:O, s:O}", "accounts", list, "next", next), out, e);
	}
	json_decref(list);
	return rc;
}

/* The one field that most calls have. */
static int
unpack_account(json_t *in, struct account_id *id, struct err *e)
{
	const char *text;

	if (admin_unpack(in, e, "{s:s}", "account", &text) < 0)
		return -1;
	return admin_account(text, id, e);
}

int
admin_account_show(struct request *r, json_t *in, json_t **out, struct err *e)
{
	struct account_id id;

	if (unpack_account(in, &id, e) < 0)
		return -1;
	return accounts_show(r->node, &id, out, e);
}

int
admin_account_suspend(struct request *r, json_t *in, json_t **out, struct err *e)
{
	struct account_id id;
	const char *text;
	int on;

	if (admin_unpack(in, e, "{s:s, s:b}", "account", &text, "on", &on) < 0 ||
	    admin_account(text, &id, e) < 0 || accounts_suspend(r->node, &id, on != 0, e) < 0)
		return -1;
	return admin_made(json_pack("{s:s, s:b}", "account", text, "suspended", on), out, e);
}

int
admin_account_quota(struct request *r, json_t *in, json_t **out, struct err *e)
{
	return accounts_quota(r->node, in, out, e);
}

int
admin_account_consent(struct request *r, json_t *in, json_t **out, struct err *e)
{
	struct account_id id;

	return unpack_account(in, &id, e) < 0 ? -1 : accounts_consent(r->node, &id, out, e);
}

int
admin_account_remove(struct request *r, json_t *in, json_t **out, struct err *e)
{
	struct account_id id;

	if (unpack_account(in, &id, e) < 0 || accounts_remove(r->node, &id, e) < 0)
		return -1;
	return admin_made(json_pack("{s:b}", "removed", 1), out, e);
}

int
admin_account_key_create(struct request *r, json_t *in, json_t **out, struct err *e)
{
	return accounts_key(r->node, "create", in, out, e);
}

int
admin_account_key_list(struct request *r, json_t *in, json_t **out, struct err *e)
{
	return accounts_key(r->node, "list", in, out, e);
}

int
admin_account_key_revoke(struct request *r, json_t *in, json_t **out, struct err *e)
{
	return accounts_key(r->node, "revoke", in, out, e);
}
