/* accounts.h - signing up, looking, suspending, removing. Blocking; any thread. */
#pragma once
#include <jansson.h>
#include "service/node.h"

struct account_credentials {
	struct account_id account;
	char region[REGION_NAME_SIZE];
	char access_key[48]; /* "DM" + account id in capitals + 4 digits: names the account */
	char secret_key[48]; /* 40 letters and digits; shown once */
};

/* Make N accounts of COUNTRY with SERVICES (profile is always added) at the home that policy picks; if
 * that is another region, it is asked to (peer call /peer/v1/account/create). Each: record
 * `creating`, vaults, directory row, record `here`; leftovers of a crash, or of a directory that did not answer, are swept by accounts_recover.
 * OUT has N entries. */
must_check
int accounts_create(struct node *n, const char *country, unsigned services, size_t count,
    struct account_credentials *out, struct err *e);
/* The same, here and now: what the peer call does. ERR_DENIED if policy does not allow it. */
must_check
int accounts_create_here(struct node *n, const char *country, unsigned services, size_t count,
    struct account_credentials *out, struct err *e);

/* What the directory knows and what the home knows, which is asked if it is another region. Nothing
 * personal. JSON { "account", "country", "home", "epoch", "attempt", "suspended", and from the home
 * "state", "reason" (held and lost ones), "services": "files,backup", "vaults": [{ "service", "pages",
 * "version", "objects", "bytes" }], "quota": [{ "service" ("all": together), "bytes", "objects" (null:
 * no limit) }], "rate": { "requests_per_s", "burst" } if there is one, "applications": [{ "key",
 * "last_used_ms" }] if any has acted for it; or "home_error" }. Objects and bytes as in struct
 * files_usage. ERR_MISSING. */
must_check
int accounts_show(struct node *n, const struct account_id *id, json_t **out, struct err *e);
/* A suspended account is refused every request; its data stays and can be moved. Asks the home. */
must_check
int accounts_suspend(struct node *n, const struct account_id *id, bool on, struct err *e);
/* What the account may keep (service/quota.h). Asks the home. ARGUMENTS { "account", "set": [{ "service":
 * "all" or one, "bytes", "objects": a number, -1 no limit, null as the region says; without the word as it
 * is }] }; nothing is set without "set". JSON { "account", "quota": as in accounts_show }. ERR_BUSY, ERR_TIMEOUT: it
 * is moving, and nothing was set. */
must_check
int accounts_quota(struct node *n, json_t *arguments, json_t **out, struct err *e);
/* What it agreed to: the receipts in its profile. Asks the home. JSON { "account", "consent": [{ "service",
 * "granted_ms", "receipt": with the fields of ISO/IEC TS 27560 }] }. ERR_BUSY, ERR_TIMEOUT: it is moving. */
must_check
int accounts_consent(struct node *n, const struct account_id *id, json_t **out, struct err *e);
/* Erase everything of the account and its directory row. Asks the home. ERR_BUSY while it moves. */
must_check
int accounts_remove(struct node *n, const struct account_id *id, struct err *e);
/* Of an account that is held since the store was put back: serve what the copy has. The directory has to say
 * that it lives here, or not to know it (then it is told so). ERR_STALE: it is not held, or lives elsewhere. */
must_check
int accounts_accept(struct node *n, const struct account_id *id, struct err *e);
/* Access keys of an account. OP is "create", "list" or "revoke"; asks the home. IN is
 *   create  { "account", and if it is to be limited: "expires_ms" (wall clock), "read_only", "services"
 *           ("files,backup"), "bucket", "prefix" (needs a bucket) }; OUT as account_credentials_json, the
 *           secret's only showing. Ids are never used again: ERR_TOO_BIG if there are too many keys.
 *   list    { "account" }; OUT { "keys": [{ "access_key", "created_ms", and its limits }] }. Names of buckets
 *           and prefixes stay in the region: another one is told "limited_to": "bucket" or "prefix".
 *   revoke  { "account", "access_key" }; the home refuses it from then on. ERR_MISSING: no such key.
 * ERR_BAD names what is wrong with IN. ERR_BUSY, ERR_TIMEOUT: it is moving. */
must_check
int accounts_key(struct node *n, const char *op, json_t *in, json_t **out, struct err *e);
/* With the secret: for whoever asked for the account alone. NULL: no memory. */
json_t *account_credentials_json(const struct account_credentials *c);
/* After a start, and when the node's must_recover says so: accounts in `creating` or `removing` are finished or
 * undone. ERR_BUSY: all but some, which the error counts; to be tried again, like ERR_PEER. */
must_check
int accounts_recover(struct node *n, struct err *e);
/* The serving side of the peer calls /peer/v1/account/<op>. */
must_check
int accounts_serve(struct node *n, const char *caller, const char *op, json_t *arguments,
    json_t **answer, struct err *e);
