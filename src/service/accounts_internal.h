/* accounts_internal.h - what is done to accounts whose home is this region. */
#pragma once
#include "directory/directory.h"
#include "service/accounts.h"
#include "service/gate.h"

/* As the functions without _here (accounts.h), but ERR_STALE if the account lives elsewhere. */
must_check
int accounts_suspend_here(struct node *n, const struct account_id *id, bool on, struct err *e);
must_check
int accounts_remove_here(struct node *n, const struct account_id *id, struct err *e);
/* Only what the home knows: state, services, vaults. */
must_check
int accounts_show_here(struct node *n, const struct account_id *id, json_t **out, struct err *e);

#define ACCOUNT_KEYS       10000u /* ids that an account can have, ever: the four digits */
#define ACCOUNT_SECRET_LEN 40

/* accounts_new.c: a random one of the numbers, the id it makes, and a new secret with its NUL. */
unsigned account_key_number(void);
void account_key_text(const struct account_id *id, unsigned number, char *out, size_t size);
void account_secret(char out[static ACCOUNT_SECRET_LEN + 1]);
void account_credentials_make(const struct node *n, const struct account_id *id, unsigned number,
    struct account_credentials *out);

/* accounts_keys.c: inside the gate of an account whose home is here, with its profile. ERR_STALE: it lives elsewhere.
 * Ends once; all zeros is one that there is nothing to end of. */
struct account_visit {
	struct node *node;
	struct account_id account;
	struct gate_pass pass;
	struct vault *vault;
};
must_check
int account_visit_begin(
    struct account_visit *t, struct node *n, const struct account_id *id, struct err *e);
void account_visit_end(struct account_visit *t);

/* accounts_consent.c: as accounts_consent (accounts.h). IN names the account. */
must_check
int accounts_consent_here(
    struct node *n, const struct account_id *id, json_t *in, json_t **out, struct err *e);

/* accounts_keys.c: as accounts_key (accounts.h), but ERR_STALE if the account lives elsewhere. */
must_check
int accounts_key_here(
    struct node *n, const char *op, bool with_names, json_t *in, json_t **out, struct err *e);

/* accounts_serve.c: find the account's row, ERR_MISSING; ask its home. ARGUMENTS are taken over. */
must_check
int account_find(struct node *n, const struct account_id *id, struct placement *out, struct err *e);
must_check
int account_ask(struct node *n, const char *region, const char *op, json_t *arguments,
    uint64_t wait_ms, json_t **answer, struct err *e);
bool account_is_here(const struct node *n, const char *region);
/* OP with arguments IN, by the account's home: HERE, or the one that is asked. It may move between the directory's
 * answer and that: then again. ERR_BUSY: it went on moving, and nothing was done. */
typedef int account_here_fn(struct node *n, const struct account_id *id, const char *op, json_t *in,
    json_t **out, struct err *e);
must_check
int account_at_home(struct node *n, const struct account_id *id, const char *op, json_t *in,
    account_here_fn *here, json_t **out, struct err *e);
must_check
int accounts_quota_here(
    struct node *n, const struct account_id *id, json_t *set, json_t **out, struct err *e);
/* The arguments of accounts_quota. *SET is theirs, or NULL. */
must_check
int accounts_quota_unpack(json_t *in, struct account_id *id, json_t **set, struct err *e);
/* The limits that there are, as a list; NULL with *E. */
json_t *accounts_quota_json(struct node *n, const struct account_id *id, struct err *e);

/* accounts_new.c: the vaults of a new account; *TICKET is at least their last commit's. Applied, not
 * yet durable. OUT gets the credentials. */
struct home;
must_check
int account_make_vaults(struct node *n, const struct home *home, struct account_credentials *out,
    uint64_t *ticket, struct err *e);
