/* admin_backup.c - the operator's calls about backups, and about a store that was put back. */
#include "front/admin_private.h"

#include "move/reconcile.h"
#include "service/accounts.h"
#include "service/backup.h"

int
admin_backup_begin(struct request *r, json_t *in, json_t **out, struct err *e)
{
	const char *folder;
	int keep = BACKUP_KEEP;

	if (admin_unpack(in, e, "{s:s, s?i}", "folder", &folder, "keep", &keep) < 0)
		return -1;
	if (keep < 1)
		return err_set(e, ERR_BAD, "at least one generation has to be kept");
	if (backup_begin(r->node->backup, folder, (unsigned)keep, e) < 0)
		return -1;
	return backup_status(r->node->backup, out, e);
}

int
admin_backup_status(struct request *r, json_t *in, json_t **out, struct err *e)
{
	if (admin_unpack(in, e, "{}") < 0)
		return -1;
	return backup_status(r->node->backup, out, e);
}

int
admin_reconciled(struct request *r, json_t *in, json_t **out, struct err *e)
{
	json_t *accounts = NULL;
	struct reconcile_report report;
	int found;

	if (admin_unpack(in, e, "{}") < 0)
		return -1;
	if (!r->node->engine)
		return err_set(e, ERR_MISSING, "%s has no store", r->node->region);
	found = reconcile_last(r->node->engine, &report, e);
	if (found < 0)
		return -1;
	if (!found)
		return err_set(
		    e, ERR_MISSING, "the store of %s was never put back", r->node->region);
	if (reconcile_accounts(r->node, &accounts, e) < 0)
		return -1;
	*out = reconcile_report_json(&report);
	if (*out)
		json_object_set_new(*out, "accounts", accounts);
	else
		json_decref(accounts);
	return *out ? 0 : err_set(e, ERR_MEMORY, "no memory for the answer");
}

int
admin_account_accept(struct request *r, json_t *in, json_t **out, struct err *e)
{
	const char *text;
	struct account_id id;

	if (admin_unpack(in, e, "{s:s}", "account", &text) < 0 || admin_account(text, &id, e) < 0 ||
	    accounts_accept(r->node, &id, e) < 0)
		return -1;
	return admin_made(json_pack("{s:b}", "accepted", 1), out, e);
}
