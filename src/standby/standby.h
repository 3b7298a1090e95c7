/* standby.h - a region's node that has a standby, or had one: ships to it, and serves only as long as no
 * other node can have become the region.
 *
 * Shipping. A thread sends durable changes, sealed as they are, with the chunks that they refer to. It
 * resumes where the standby is, or begins with a full copy. With `waits` a flush is only over when the
 * standby has it too.
 *
 * Serving. The directory keeps a term for the region (directory.h); to promote the standby is to raise it,
 * after the standby has durably ceased to follow. So this node may serve for `lease_ms` from the moment at
 * which it asked the directory or the standby, whichever answered that nothing has changed; and the
 * promoter waits that long once both have changed. The clock is one that goes on while a machine sleeps.
 *
 * Any thread. A NULL standby is a node without one: it may always serve.
 */
#pragma once
#include "base/cleanup.h"
#include "base/crypto.h"
#include "directory/directory.h"

struct engine;
struct flusher;
struct chunks;
struct peers;

struct standby;
struct standby_config {
	struct engine *engine; /* all borrowed; tailed, if AT is set */
	struct flusher *flusher;
	struct chunks *chunks;
	struct peers *peers;
	struct directory *directory;
	const char *region;
	const char
	    *at; /* "host:port" of the standby's stream listener; NULL: there is none (any more) */
	uint64_t lease_ms;
	bool waits;
};

struct standby_state {
	bool is_connected, is_copying, may_serve;
	bool is_lost; /* the region is another node by now, for ever */
	uint64_t term;
	uint64_t lag_versions; /* durable changes that the standby has not confirmed */
	uint64_t lag_ms;       /* how long the oldest of them has been durable */
	uint64_t kept_bytes;   /* of logs that wait for it */
};

/* *OUT stays NULL if there is no standby and nothing has to be done about a former one. ERR_STALE: the
 * region is another node by now. ERR_PEER: there was a standby, and the directory, which has to hear that
 * it is given up, can't be reached. */
must_check
int standby_start(const struct standby_config *c, struct standby **out, struct err *e);
/* With `waits`: from now on. */
void standby_begin_waiting(struct standby *s);
/* In GRACE_MS and from then on who waits for the standby gets ERR_CANCELLED. Before anything that may wait
 * is stopped. NULL is fine. */
void standby_cancel(struct standby *s, uint64_t grace_ms);
/* After the flusher. NULL is fine. */
void standby_stop(struct standby *s);

/* Whether this node is the region now. Cheap. To be asked before something is done for a user or a region
 * and again before it is answered. */
bool standby_may_serve(const struct standby *s);
/* Whether it may change anything now: with `waits` not while the standby is away. */
bool standby_may_write(const struct standby *s);
/* What to answer if not. Returns -1. */
int standby_refuse(const struct standby *s, struct err *e);
/* Wait until whatever is deleted here before this call is gone at the standby too, records, chunks and the
 * files that they were in. ERR_BUSY if it takes too long: ask again. Nothing to wait for without one. */
must_check
int standby_gone(struct standby *s, struct err *e);
/* Whether the standby keeps the generation of the region key with DIGEST (sealed/keys.h), so that,
 * promoted, it could open what is wrapped with it. ERR_DENIED: it does not; ERR_BUSY: it does not say.
 * One caller at a time. Nothing to be asked without one. */
must_check
int standby_has_key(struct standby *s, const uint8_t digest[static SHA256_BYTES], struct err *e);
void standby_state(struct standby *s, struct standby_state *out);
