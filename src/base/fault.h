/* fault.h - misbehaving on purpose at a chosen call: what the wrappers of engines and of chunks share.
 * For tests. Any thread.
 */
#pragma once
#include <pthread.h>

#include "base/err.h"

enum fault_kind {
	FAULT_NONE,
	FAULT_FAIL,       /* the call does nothing and fails with ERR_IO */
	FAULT_FAIL_LATE,  /* the call is carried out and then fails with ERR_IO */
	FAULT_FULL,       /* does nothing, ERR_FULL */
	FAULT_DELAY,      /* sleeps DELAY_MS first */
	FAULT_CRASH,      /* _exit(99) before carrying it out */
	FAULT_CRASH_LATE, /* _exit(99) after */
};

/* Waits for one call of a sort. */
struct fault {
	pthread_mutex_t lock; /* of what follows */
	enum fault_kind kind;
	unsigned countdown; /* 1: the next call; 0: none */
	bool is_sticky;
	bool has_fired;
	unsigned delay_ms;
};

/* With nothing set; and its end, when no call is under way. */
void fault_init(struct fault *f);
void fault_destroy(struct fault *f);
/* Misbehave at the NTH call (1-based, counted from now). STICKY: at every one from then on. */
void fault_set(struct fault *f, enum fault_kind kind, unsigned nth, bool sticky, unsigned delay_ms);
/* Whether it has fired since it was set. */
bool fault_fired(struct fault *f);

/* Before the call: -1 with *E if it is not to be carried out. *KIND is for fault_after. */
must_check
int fault_before(struct fault *f, enum fault_kind *kind, struct err *e);
/* After the call: whether it is to fail all the same, with *E; what it made is to be undone then, and
 * only where its caller could not see it. */
bool fault_after(enum fault_kind kind, struct err *e);

/* Carry out CALL, which returns a number that is negative when it has failed, unless F forbids it. */
#define FAULT_CALL(f, e, call) \
	({ \
		enum fault_kind kind_; \
		__typeof__(call) rc_ = -1; \
		if (fault_before((f), &kind_, (e)) == 0) { \
			rc_ = (call); \
			if (fault_after(kind_, (e))) \
				rc_ = -1; \
		} \
		rc_; \
	})
