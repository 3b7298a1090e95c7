/* quota.h - how much an account may keep: content and objects, in each service and in all together.
 *
 * What was set for an account lies in its profile vault, and moves with it; what was not is as the
 * country's policy says (service/policy.h), or else the region. A bounded cache keeps the limits of
 * accounts in use, and forgets an account with its access keys (access_forget). How much there is lies
 * in the vaults themselves (struct files_usage).
 *
 * Enforced where a change is committed, in its transaction, and only of one that adds: what is there
 * already stays, can be read and removed, and be replaced by something smaller, however low a quota
 * is set and wherever the account came from. Any thread.
 */
#pragma once
#include <pthread.h>
#include "base/id.h"

#define QUOTA_NONE UINT64_MAX

struct quota_limit {
	uint64_t bytes, objects; /* QUOTA_NONE: as many as there is room for */
};

#define QUOTA_ALL SERVICE_REGION /* stands for all services together */

struct quota_limits {
	struct quota_limit of[SERVICES]; /* by service, and QUOTA_ALL */
	bool is_limited;                 /* there is one at all */
};

struct conf;
/* `quota_bytes` and `quota_objects` of a configuration file: a number, or `none`; FALLBACK without the
 * word. ERR_BAD. */
must_check
int quota_conf(
    struct conf *c, const char *section, uint64_t fallback, struct quota_limit *out, struct err *e);

struct node;
struct quota;
/* REGION: what holds for accounts of whom nothing else is said. At most MAX_ENTRIES are kept. N is
 * borrowed. NULL: ERR_MEMORY. */
must_check
struct quota *quota_new(
    struct node *n, struct quota_limit region, size_t max_entries, struct err *e);
void quota_free(struct quota *q);

/* The limits of ID, which lives here. With MAY_BLOCK false ERR_BUSY if the profile has to be read. */
must_check
int quota_find(struct quota *q, const struct account_id *id, bool may_block,
    struct quota_limits *out, struct err *e);
/* NULL: of all, because the policy may have changed. */
void quota_forget(struct quota *q, const struct account_id *id);

/* --- what was set for one account, in its profile vault --- */

#define QUOTA_DEFAULT (UINT64_MAX - 1) /* nothing was set */

struct vault;
/* By service and QUOTA_ALL; QUOTA_DEFAULT where nothing was set. PROFILE is taken; what is written
 * is part of its transaction. -1: as query_step. */
must_check
int quota_read(struct vault *profile, struct quota_limit out[static SERVICES], struct err *e);
must_check
int quota_write(
    struct vault *profile, const struct quota_limit limits[static SERVICES], struct err *e);
/* V is the profile of ID, open: so that it needs not be opened again for this. */
void quota_learn(struct quota *q, const struct account_id *id, struct vault *v);

/* --- a change; see files_quota_begin in service/files.h --- */

/* Changes of an account that has a limit on all services together go one after the other: each has to
 * see what the others have added. NULL: MAY_BLOCK is false and there is one going on. */
pthread_mutex_t *quota_lock(struct quota *q, const struct account_id *id, bool may_block);
