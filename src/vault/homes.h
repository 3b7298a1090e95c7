/* homes.h - which accounts this region is home to, and the gate that every request passes.
 *
 * One durable record an account (REGION_HOME), from which every fence derives. In memory only the
 * accounts in use. Promise one-home rests on this: a write is carried out only between a
 * homes_enter(ENTER_WRITE) that said ENTER_GO and its homes_leave, and homes_fence returns only when
 * no such write is left and none can begin.
 *
 *   none ----> creating -> here -> fenced -> moved (forwarding address)
 *     \                     ^  <------'        |
 *      `-> arriving -> prepared                `-> arriving (coming back)
 *             `----------'--> none (given up)
 *
 * Besides: creating or here -> removing -> none; creating -> none; moved -> none. And where the store was
 * put back from a copy: held -> here (accepted), held or lost -> removing; only homes_reset leads to them.
 *
 * Any thread.
 */
#pragma once
#include "vault/region.h"

enum home_state {
	HOME_NONE,
	HOME_CREATING, /* being made; not yet in the directory */
	HOME_HERE,     /* may read and write */
	HOME_FENCED,   /* a move is past its point of waiting: reads, no writes */
	HOME_MOVED,    /* lives at `peer`; only the forwarding address is left */
	HOME_ARRIVING, /* copies come in; nothing is served */
	HOME_PREPARED, /* all is here and durable; the directory decides */
	HOME_REMOVING, /* the account is being removed altogether */
	HOME_HELD, /* a copy that the directory does not vouch for; nothing is served (move/reconcile.h) */
	HOME_LOST, /* the directory says it lives here, the store that was put back has nothing of it */
	HOME_STATES
};

struct home {
	struct account_id account;
	enum home_state state;
	bool is_suspended;
	unsigned services; /* mask of granted ones, profile included */
	uint64_t epoch;    /* of the home that `state` is about */
	uint64_t attempt;
	char country[3];
	char peer
	    [REGION_NAME_SIZE]; /* moved: where to; fenced, arriving, prepared: the other side */
};

/* "here", "fenced", ... */
const char *home_state_name(enum home_state s);
/* Whether the picture above has an arrow. */
bool home_may_follow(enum home_state from, enum home_state to);

struct homes;
struct homes_config {
	struct engine *engine; /* borrowed */
	struct flusher *flusher;
	uint64_t hold_ms;       /* a request waits at most this long at the gate (30 s) */
	uint64_t read_lease_ms; /* how long a fenced home goes on reading after homes_seal */
	uint64_t linger_ms;     /* how long who is inside may go on once the account has moved */
};
/* Restarting: fenced and prepared accounts are as they were; reads of fenced accounts wait until
 * the move is resolved (the lease is over). */
must_check
struct homes *homes_open(const struct homes_config *c, struct err *e);
void homes_close(struct homes *h); /* waiters get ERR_CANCELLED */
CLEANUP(struct homes, homes_close)

/* --- requests --- */

enum enter_how {
	ENTER_READ,
	ENTER_WRITE, /* short: held only around a transaction */
	ENTER_UPLOAD, /* a body is arriving: holds up erasure, not a fence (which new ones wait for) */
	ENTER_OPERATOR, /* a write of the operator's: of a suspended account too */
};

enum enter_answer {
	ENTER_GO,        /* PASS is to be left */
	ENTER_WAIT,      /* W->again will be called; then enter anew */
	ENTER_FORWARD,   /* lives at PASS->home.peer */
	ENTER_UNKNOWN,   /* not known here: ask the directory */
	ENTER_SUSPENDED, /* by the operator; nothing may be done */
	ENTER_HELD,      /* HOME_HELD: nothing may be done until the operator has decided */
	ENTER_LOST,      /* HOME_LOST */
};

struct home_wait {
	/* Called once, from another thread, when the gate changed or after hold_ms (then E is
	 * ERR_TIMEOUT: answer 503 with Retry-After). Must not block. */
	void (*again)(struct home_wait *w, const struct err *e);
	/* The gate's. 0 before a request's first enter; kept over the next ones, so that hold_ms
	 * bounds all its waiting together. */
	uint64_t until_ms;
	struct home_wait *next;
};

struct home_pass {
	struct home home; /* as it was on entering */
	enum enter_how how;
	void *entry; /* the gate's; NULL when there is nothing to leave */
};

/* Here goes on; fenced reads until its lease is over; creating and prepared wait; moved and arriving
 * are served by the other side; none and removing are unknown. W may be NULL: then ENTER_WAIT comes
 * without a call. -1 with *E only if the record can't be read (ERR_FORGED: it is damaged). */
must_check
int homes_enter(struct homes *h, const struct account_id *id, enum enter_how how,
    enum enter_answer *answer, struct home_pass *pass, struct home_wait *w, struct err *e);
void homes_leave(struct homes *h, struct home_pass *pass);
/* Wait for the gate in this thread: enters when it may; ENTER_WAIT never comes out, ERR_TIMEOUT may. */
must_check
int homes_enter_wait(struct homes *h, const struct account_id *id, enum enter_how how,
    enum enter_answer *answer, struct home_pass *pass, struct err *e);

/* --- changes; durable when they return, and only then visible --- */

/* The record as it is: 1, 0 (none), -1 (ERR_FORGED: damaged). */
must_check
int homes_get(struct homes *h, const struct account_id *id, struct home *out, struct err *e);
/* Store N records together with what else B holds (B may be NULL; consumed and emptied). Each must
 * follow from the present state (ERR_STALE names the one that does not) or keep it; the epoch must
 * not fall, fenced becomes here again only with a higher attempt (the directory has cancelled the one
 * it was fenced for), and an account that is being fenced is ERR_STALE at once, since a write may be
 * asking that the fence waits for. Going to HOME_NONE deletes the record. Waiters are called. */
must_check
int homes_set(
    struct homes *h, const struct home *homes, size_t n, struct region_batch *b, struct err *e);
/* The same without waiting for the disk: for states that the directory's row proves, so that a restart
 * which finds the former state comes to the same one (prepared -> here, fenced -> moved once the swap is
 * done). */
must_check
int homes_set_soon(
    struct homes *h, const struct home *homes, size_t n, struct region_batch *b, struct err *e);
/* As homes_set with state HOME_FENCED (services and suspension as they are, or ERR_STALE: the record
 * has changed since it was read), and returns when every write that had entered has left
 * (ERR_TIMEOUT after WAIT_MS: then the accounts are put back to HOME_HERE, durably). From its
 * beginning on writes wait. */
must_check
int homes_fence(struct homes *h, const struct home *homes, size_t n, struct region_batch *b,
    uint64_t wait_ms, struct err *e);
/* The statement that lets the destination take over is about to be sent: reads of these fenced
 * accounts go on for read_lease_ms from now and then wait. */
void homes_seal(struct homes *h, const struct account_id *ids, size_t n);
/* At the new home: writes wait for DELAY_MS or until homes_open_writes, while the old home may still
 * be answering reads. ERR_MEMORY. */
must_check
int homes_delay_writes(
    struct homes *h, const struct account_id *id, uint64_t delay_ms, struct err *e);
void homes_open_writes(struct homes *h, const struct account_id *id);
/* Whether that delay is not over yet. */
bool homes_is_delaying(struct homes *h, const struct account_id *id);
/* Space writes of an account at least PACE_US apart (0: none); for a writer that outruns its move. One that
 * has waited for half of hold_ms goes in at once: it may meet a fence next. */
void homes_pace(struct homes *h, const struct account_id *id, uint64_t pace_us);
/* Requests of any kind that are inside: erasure waits until it is 0. */
unsigned homes_inside(struct homes *h, const struct account_id *id);
/* Whether who is inside has to break off what a client may draw out: the account is being removed, or has
 * moved linger_ms ago. */
bool homes_is_over(struct homes *h, const struct account_id *id);
/* How many requests had to wait at this account's gate since this was last asked. */
unsigned homes_waited(struct homes *h, const struct account_id *id);
/* Requests inside, over all accounts: a cheap measure of how busy the node is. */
unsigned homes_busy(struct homes *h);
/* Requests waiting at the gate, over all accounts. */
unsigned homes_waiting(struct homes *h);
/* Every record after AFTER (NULL: all), in order of ids. One that is damaged comes with its id and state
 * HOME_STATES: it must not keep the others from being served. 0 go on, 1 enough, -1. */
typedef int homes_scan_fn(void *arg, const struct home *home, struct err *e);
must_check
int homes_scan_after(
    struct homes *h, const struct account_id *after, homes_scan_fn *fn, void *arg, struct err *e);

/* For a store that was put back from a copy, before any request is let in: as homes_set, but whatever
 * the states are. No one else may use these accounts meanwhile. */
must_check
int homes_reset(
    struct homes *h, const struct home *homes, size_t n, struct region_batch *b, struct err *e);
