/* accounts_accept.c - serving what a store that was put back has of an account. See accounts.h. */
#include "service/accounts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "directory/directory.h"
#include "service/routes.h"
#include "vault/homes.h"

/* The directory has never heard of it, or not any more. */
static int
tell_directory(struct node *n, const struct home *home, struct placement *row, struct err *e)
{
	*row = (struct placement){ .account = home->account,
		.epoch = home->epoch,
		.attempt = home->attempt,
		.is_suspended = home->is_suspended };
	snprintf(row->home, sizeof(row->home), "%s", n->region);
	memcpy(row->country, home->country, sizeof(row->country));
	return directory_add(n->directory, row, 1, e);
}

/* A move out of here that was under way before the store was lost must not go through. */
static int
cancel_attempt(struct node *n, struct placement *row, struct err *e)
{
	struct swap s = { .account = row->account,
		.epoch = row->epoch,
		.attempt = row->attempt,
		.to_epoch = row->epoch,
		.to_attempt = row->attempt + 1 };

	memcpy(s.from, n->region, sizeof(s.from));
	memcpy(s.to, n->region, sizeof(s.to));
	if (directory_swap(n->directory, &s, 1, e) < 0)
		return -1;
	if (!s.is_done)
		return err_set(e, ERR_STALE, "its row has just changed; look at it again");
	row->attempt = s.to_attempt;
	return 0;
}

static int
check_row(const struct node *n, const struct home *home, const struct placement *row, struct err *e)
{
	if (strcmp(row->home, n->region) != 0)
		return err_set(
		    e, ERR_STALE, "the directory says that the account lives in %s", row->home);
	if (row->epoch < home->epoch)
		return err_set(e, ERR_STALE,
		    "the directory has an older epoch (%" PRIu64 ") than the account (%" PRIu64
		    "): put its newer file back first",
		    row->epoch, home->epoch);
	return 0;
}

int
accounts_accept(struct node *n, const struct account_id *id, struct err *e)
{
	char account[ACCOUNT_TEXT_SIZE];
	struct placement row;
	struct home home;
	int found = n->engine ? homes_get(n->homes, id, &home, e) : 0;

	if (found < 0)
		return -1;
	if (!found || home.state != HOME_HELD)
		return err_set(e, ERR_STALE, "the account is not held in %s", n->region);
	if (directory_find(n->directory, id, 1, &row, e) < 0)
		return -1;
	if (!row.epoch && tell_directory(n, &home, &row, e) < 0)
		return -1;
	if (check_row(n, &home, &row, e) < 0 || cancel_attempt(n, &row, e) < 0)
		return -1;
	home.state = HOME_HERE;
	home.epoch = row.epoch;
	home.attempt = row.attempt;
	home.is_suspended = row.is_suspended;
	if (homes_set(n->homes, &home, 1, NULL, e) < 0)
		return -1;
	if (n->routes)
		routes_forget(n->routes, id);
	account_text(id, account);
	log_info("account.accepted", NULL, "account=%s epoch=%" PRIu64, account, home.epoch);
	return 0;
}
