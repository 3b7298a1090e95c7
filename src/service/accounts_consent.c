/* accounts_consent.c - what an account has agreed to: the receipts in its profile. See accounts.h. */
#include "service/accounts_internal.h"

#include <string.h>

#include "service/gate.h"
#include "vault/pool.h"

#define _cleanup_json_ _cleanup_(json_decrefp)

static json_t *
row_json(struct query *q, struct err *e)
{
	struct span text = column_blob(q, 1);
	json_error_t why;
	json_t *receipt = json_loadb((const char *)text.data, text.len, 0, &why), *one;

	if (!receipt) {
		err_set(e, ERR_FORGED, "a receipt is damaged: %.120s", why.text);
		return NULL;
	}
	one = json_pack("{s:s, s:I, s:o}", "service", service_name((enum service)column_int(q, 0)),
	    "granted_ms", (json_int_t)column_int(q, 2), "receipt", receipt);
	if (!one)
		err_set(e, ERR_MEMORY, "no memory for a receipt");
	return one;
}

static int
list_receipts(struct vault *v, json_t *list, struct err *e)
{
	struct query *q = vault_query(
	    v, "SELECT service,receipt,granted_ms FROM consent ORDER BY service");
	int r;

	while ((r = query_step(q, e)) == 1) {
		json_t *one = row_json(q, e);

		if (!one || json_array_append_new(list, one) < 0) {
			r = one ? err_set(e, ERR_MEMORY, "no memory for the list") : -1;
			break;
		}
	}
	query_end(q);
	return r;
}

int
accounts_consent_here(
    struct node *n, const struct account_id *id, json_t *in, json_t **out, struct err *e)
{
	_cleanup_(account_visit_end) struct account_visit t = { .node = NULL };
	_cleanup_json_ json_t *list = json_array();
	uint64_t ticket;

	if (!list)
		return err_set(e, ERR_MEMORY, "no memory for the list");
	if (account_visit_begin(&t, n, id, e) < 0 || list_receipts(t.vault, list, e) < 0)
		return -1;
	ticket = vault_ticket(t.vault);
	account_visit_end(&t);
	if (flusher_wait(n->flusher, ticket, e) < 0)
		return -1;
	*out = json_pack("{s:O, s:O}", "account", json_object_get(in, "account"), "consent", list);
	return *out ? 0 : err_set(e, ERR_MEMORY, "no memory for the answer");
}

static int
consent_here(struct node *n, const struct account_id *id, const char *op, json_t *in, json_t **out,
    struct err *e)
{
	(void)op;
	return accounts_consent_here(n, id, in, out, e);
}

int
accounts_consent(struct node *n, const struct account_id *id, json_t **out, struct err *e)
{
	_cleanup_json_ json_t *in = NULL;
	char text[ACCOUNT_TEXT_SIZE];

	account_text(id, text);
	in = json_pack("{s:s}", "account", text);
	if (!in)
		return err_set(e, ERR_MEMORY, "no memory for a call");
	return account_at_home(n, id, "consent", in, consent_here, out, e);
}
