/* lifecycle_internal.h - what lifecycle.c shares with files_rules.c and with tests.
 *
 * REGION_RULES + vault id: nothing (look at it), or format 1 (1), when to look at it next (8, wall clock),
 * stamp (8): random, another one whenever rules are put, so that who has looked at the rules as they were
 * does not put off those that came meanwhile.
 */
#pragma once
#include <pthread.h>

#include "service/lifecycle.h"

struct lifecycle {
	struct node *node;
	uint64_t day_ms;
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool is_stopping;
	uint64_t since_busy; /* the thread's own: rows looked at since it last stood back */
};

/* Look at every vault that is due. ERR_CANCELLED: stopping. */
must_check
int lifecycle_round(struct lifecycle *l, struct err *e);

/* --- files_rules.c --- */

/* Note that the vault is to be looked at; not flushed. */
must_check
int rules_record_put(
    struct node *n, const struct vault_id *id, uint64_t due_ms, uint64_t stamp, struct err *e);
must_check
int rules_record_forget(struct node *n, const struct vault_id *id, struct err *e);
/* False: nothing is known but that there is a record. */
bool rules_record_read(struct span value, uint64_t *due_ms, uint64_t *stamp);
