/* flusher.h - one thread that makes applied records durable, many waiters at a time (group commit).
 *
 * A ticket stands for "everything applied before I asked". A waiter is called back when a flush
 * that began after its ticket has ended. Any thread.
 *
 * If a flush fails, every waiter of that round gets the error, and `failures` goes up: whoever
 * holds state that was not yet durable (open vaults) must then drop it and read again.
 */
#pragma once
#include "engine/engine.h"

struct flusher;

struct flush_wait {
	/* Called once, on the flusher's thread (or at once by flusher_notify when already durable).
	 * E is NULL on success. It must not block. */
	void (*done)(struct flush_wait *w, const struct err *e);
	uint64_t ticket; /* the flusher's */
	struct flush_wait *next;
};

/* G is borrowed. */
must_check
struct flusher *flusher_start(struct engine *g, struct err *e);
/* Flushes once more, answers all waiters, ends the thread. NULL is fine. */
void flusher_stop(struct flusher *f);

/* A ticket that covers every apply that returned before this call. Never 0. */
uint64_t flusher_ticket(struct flusher *f);
/* Whether TICKET is durable. 0 always is. */
bool flusher_is_durable(const struct flusher *f, uint64_t ticket);
/* Wait until TICKET is durable; the flush's error if that failed. */
must_check
int flusher_wait(struct flusher *f, uint64_t ticket, struct err *e);
/* Call W->done when TICKET is durable. W is borrowed until then. */
void flusher_notify(struct flusher *f, uint64_t ticket, struct flush_wait *w);
/* Have FN called after each flush that succeeded, on the flusher's thread, before anybody is answered: it
 * may wait for more, such as a standby. -1 fails the round. NULL: nothing more. */
typedef int flusher_also_fn(void *arg, struct err *e);
void flusher_also(struct flusher *f, flusher_also_fn *fn, void *arg);
/* How many flushes have failed since the start. */
uint64_t flusher_failures(const struct flusher *f);
