/* homes_internal.h - the entries of the gate, as homes.c (changes), homes_gate.c (requests) and
 * homes_wait.c (who waits) see them.
 *
 * Locks: a stripe's covers its entries. At most one stripe is locked at a time, and nothing else is
 * taken while it is, except the timer's lock. Callbacks are made without any.
 */
#pragma once
#include <pthread.h>

#include "base/table.h"
#include "vault/homes.h"

#define STRIPES        64
#define STRIPE_ENTRIES 1024 /* kept in memory per stripe, those in use besides */

struct entry {
	struct home home; /* the record, as published; account is the key */
	UT_hash_handle hh;
	struct entry *newer, *older; /* by use */

	bool is_loading;
	bool is_loaded;
	bool is_changing;    /* a record is being written: no other change may begin */
	bool is_fencing;     /* from the beginning of homes_fence to its end */
	bool is_read_closed; /* fenced, and we do not know until when we might read */
	unsigned inside[3];  /* by enum enter_how; operators' are writes */
	unsigned waited;     /* requests that had to, since homes_waited was asked */
	unsigned pins;       /* threads that wait for it on the stripe's condition */

	uint64_t read_until_ms; /* fenced: the read lease; 0: not sealed */
	uint64_t moved_ms;      /* when it was seen to have moved; 0: before it was read */
	uint64_t write_from_ms; /* 0: now */
	uint64_t pace_us;
	uint64_t pace_write_ns; /* when the next write may enter */
	uint64_t pace_wake_ns;  /* when the next waiting one is called */

	struct home_wait *first, **last; /* waiting at the gate, in order */
	struct entry *next_waited, **prev_waited;
};

struct stripe {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct entry *entries;
	struct entry *newest, *oldest;
	size_t n;
	struct entry *waited; /* those with waiters */
} __attribute__((aligned(128)));

struct homes {
	struct homes_config c;
	struct stripe stripes[STRIPES];
	_Atomic unsigned waiting;
	_Atomic unsigned busy; /* requests inside */

	pthread_t timer;
	pthread_mutex_t timer_lock;
	pthread_cond_t timer_wake;
	uint64_t timer_due_ns;
	bool is_timing;
	bool is_closing;
};

/* --- homes_gate.c --- */

struct stripe *gate_stripe(struct homes *h, const struct account_id *id);
/* The entry, its record read; NULL with *E. The stripe's lock is held, and released while reading
 * or waiting. */
must_check
struct entry *gate_entry(
    struct homes *h, struct stripe *s, const struct account_id *id, struct err *e);
/* The entry without its record. */
struct entry *gate_find_or_add(struct stripe *s, const struct account_id *id);
/* Wait on the stripe's condition until UNTIL_NS (mono, or GATE_NEVER). X stays. */
void stripe_wait(struct stripe *s, struct entry *x, uint64_t until_ns);
void gate_drop(struct stripe *s, struct entry *x);

/* --- homes_wait.c --- */

#define GATE_NEVER UINT64_MAX
void gate_wait_until(pthread_cond_t *c, pthread_mutex_t *lock, uint64_t until_ns);
/* Lock held. */
void gate_add_waiter(struct homes *h, struct stripe *s, struct entry *x, struct home_wait *w);
/* Whether it is only the pace that writes of X wait for. Lock held. */
bool gate_is_paced(const struct entry *x);
/* From when on W waits for its turn among paced writes no more: a move slows a writer down, and fails
 * no request. */
uint64_t gate_owed_ms(const struct homes *h, const struct home_wait *w);
/* Take out everyone who waits at X. Lock held; call them with gate_call afterwards. */
struct home_wait *gate_take_waiters(struct homes *h, struct entry *x);
void gate_call(struct home_wait *w, const struct err *e);
must_check
int gate_start(struct homes *h, struct err *e);
void gate_stop(struct homes *h);

/* --- homes.c --- */

/* 1, 0 (none), -1. */
must_check
int home_read(struct homes *h, const struct account_id *id, struct home *out, struct err *e);
