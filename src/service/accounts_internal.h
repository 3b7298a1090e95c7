/* accounts_internal.h - what is done to accounts whose home is this region. */
#pragma once
#include "directory/directory.h"
#include "service/accounts.h"

/* As the functions without _here (accounts.h), but ERR_STALE if the account lives elsewhere. */
must_check
int accounts_suspend_here(struct node *n, const struct account_id *id, bool on, struct err *e);
must_check
int accounts_remove_here(struct node *n, const struct account_id *id, struct err *e);
/* Only what the home knows: state, services, vaults. */
must_check
int accounts_show_here(struct node *n, const struct account_id *id, json_t **out, struct err *e);

/* accounts_new.c: the vaults of a new account; *TICKET is at least their last commit's. Applied, not
 * yet durable. OUT gets the credentials. */
struct home;
must_check
int account_make_vaults(struct node *n, const struct home *home, struct account_credentials *out,
    uint64_t *ticket, struct err *e);
