/* applications.h - application keys: with one a service operator's own backend acts for many accounts.
 *
 * A key counts in the region whose operator granted it, for accounts that live there and have granted the
 * service. It is never handed from region to region: whoever could have one accepted elsewhere would act for
 * accounts elsewhere. For several regions their operators grant the same key each (create with a SECRET). A
 * revocation does go round: the command tells every region, and each asks the others now and then, so that one
 * which could not be reached, or whose store was put back, learns of it by itself. Every key ends, which
 * bounds how long one that learns of nothing can go on.
 *
 * One record a key (REGION_APPLICATION), its secret wrapped by the region key; a revoked one stays without the
 * secret, until it is removed. All are in memory, secrets in locked memory. Any thread.
 */
#pragma once
#include <jansson.h>
#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/id.h"
#include "service/node.h"

#define APPLICATIONS_MAX        1000 /* keys of a region, revoked and expired ones too */
#define APPLICATION_KEY_SIZE    35   /* "DA", 32 hexadecimal digits in capitals, a NUL */
#define APPLICATION_SECRET_SIZE 44   /* 43 letters, digits, '-' and '_', a NUL */

struct application_grant {
	char name[64];       /* for operators */
	unsigned services;   /* mask; not 0 */
	char countries[128]; /* of the accounts: "IN,ID"; "": all */
	bool is_read_only;
	uint64_t expires_ms; /* wall clock; not 0 */
};

struct applications;
/* Reads all keys, and begins to ask the other regions. A record that does not hold is logged and left out. */
must_check
struct applications *applications_open(struct node *n, struct err *e);
void applications_close(struct applications *a); /* NULL is fine */
CLEANUP(struct applications, applications_close)

/* Whether it has the form of an application key. No look-up. */
bool application_key(const char *access_key);
/* As access_signing_key (access.h), and what was granted. ERR_MISSING: no such key here, or it was revoked;
 * ERR_DENIED: it has expired. */
must_check
int application_signing_key(struct applications *a, const char *access_key, const char *date,
    const char *region, const char *service, uint8_t out[static SHA256_BYTES],
    struct application_grant *grant, struct err *e);
/* Whether accounts of COUNTRY are among those it was granted for. */
bool application_has_country(const struct application_grant *g, const char *country);
/* Count a request, in a metric of the key's; and have the account's profile say when that was, about:
 * written soon, at most once an hour. */
void application_used(struct applications *a, const char *access_key, const struct account_id *id);
/* [{ "key", "last_used_ms" }] of an account that lives here. */
must_check
int application_uses(struct node *n, const struct account_id *id, json_t **out, struct err *e);
/* What is in memory of an account that leaves. */
void applications_forget(struct applications *a, const struct account_id *id);

/* Grant a new key; or, with KEY and SECRET not empty, one that another region has made. Durable when it
 * returns. ERR_BAD names what is wrong; ERR_EXISTS: the key is here already, or was revoked; ERR_TOO_BIG. */
must_check
int applications_create(struct applications *a, const struct application_grant *g,
    char key[static APPLICATION_KEY_SIZE], char secret[static APPLICATION_SECRET_SIZE],
    struct err *e);
/* [{ "key", "name", "services", "created_ms", "expires_ms", "uses" since the start, and if so "countries",
 * "read_only", "expired", "revoked_ms" }], no secrets. */
must_check
int applications_list(struct applications *a, json_t **out, struct err *e);
/* Here, durably and at once, and at every other region. OUT: { "revoked", "regions": { name: "revoked",
 * "unknown" or why it could not be told } }; those ask by themselves later. A key that is unknown here
 * is revoked elsewhere all the same; ERR_MISSING: no region that answered knows it. */
must_check
int applications_revoke(struct applications *a, const char *key, json_t **out, struct err *e);

/* Take a key out of this region's list that has expired, or was revoked APPLICATION_KEPT_MS ago: until
 * then other regions may still have to learn of that here. Durable when it returns. ERR_MISSING;
 * ERR_STALE: it is too early. */
#define APPLICATION_KEPT_MS ((uint64_t)30 * 86400000)
must_check
int applications_remove(struct applications *a, const char *key, struct err *e);

/* Wrap every secret with the newest generation of the region key; *CHANGED is added to. */
must_check
int applications_rewrap(struct applications *a, uint64_t *changed, struct err *e);

/* The serving side of the peer calls /peer/v1/app/<op>. */
must_check
int applications_serve(struct node *n, const char *caller, const char *op, json_t *arguments,
    json_t **answer, struct err *e);
