/* gate.h - the gate of the homes, for layers that may not see the vault layer.
 *
 * Every request on an account passes it: a read for as long as it reads, a change in two steps: as
 * an upload while its body arrives, then as a write around the transaction. What each of them holds
 * up is told in vault/homes.h. Any thread.
 */
#pragma once
#include "base/id.h"
#include "service/node.h"

enum gate_how {
	GATE_READ,
	GATE_WRITE,    /* short: held only around a transaction */
	GATE_UPLOAD,   /* something is arriving: holds up erasure, not a fence */
	GATE_OPERATOR, /* a write that the operator asks for: of a suspended account too */
};

enum gate_answer {
	GATE_GO,        /* the pass has to be left */
	GATE_WAIT,      /* not now; gate_wait waits */
	GATE_FORWARD,   /* lives at the pass's peer */
	GATE_UNKNOWN,   /* not known here: ask the directory (service/routes.h) */
	GATE_SUSPENDED, /* by the operator; nothing may be done */
	GATE_HELD,      /* back from a copy, and the operator has to decide; nothing may be done */
	GATE_LOST,      /* it was in a store that was lost, and not in the copy */
};

/* May be moved by assignment; all zeros is a pass that there is nothing to leave of. */
struct gate_pass {
	unsigned services;           /* granted, profile included, as it was on entering */
	uint64_t epoch;              /* of the home */
	char country[3];             /* "" if unknown */
	char peer[REGION_NAME_SIZE]; /* GATE_FORWARD: where to */
	bool is_inside;
	uint64_t opaque[16]; /* the gate's */
};

/* Try to enter, without waiting. -1 with *E if the record can't be read; ERR_BUSY if this node does not know
 * whether it is the region (standby/standby.h), or may not write without its standby. */
must_check
int gate_enter(struct node *n, const struct account_id *id, enum gate_how how,
    enum gate_answer *answer, struct gate_pass *pass, struct err *e);
/* The same, waiting in this thread while the answer is GATE_WAIT. ERR_TIMEOUT: held too long;
 * ERR_CANCELLED: shutting down. */
must_check
int gate_wait(struct node *n, const struct account_id *id, enum gate_how how,
    enum gate_answer *answer, struct gate_pass *pass, struct err *e);
/* A pass that is not inside is fine. */
void gate_leave(struct node *n, struct gate_pass *pass);
/* Whether the account ID, which the caller is inside of, is being removed, or has moved a while ago
 * (homes_is_over). Its erasure waits for who is inside, so nothing that a client may draw out goes on then. */
bool gate_is_over(struct node *n, const struct account_id *id);
