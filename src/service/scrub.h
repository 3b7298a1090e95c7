/* scrub.h - everything that this region keeps is read again, a little at a time, for ever.
 *
 * One thread walks over all accounts that live here (vault/inspect.h), the region's own records, and what
 * belongs to nobody. A pass takes about as long as is configured, never reads faster than its rate, and
 * stands back while requests are inside. Where it was is a record of the region: a restart goes on there.
 * An account that moves, arrives or is erased is come back to and never reported. What is damaged is a
 * record too, one an account, with ids alone; it goes when a later look finds all whole, and with the
 * account. What can be mended is.
 */
#pragma once
#include <jansson.h>
#include "base/cleanup.h"
#include "base/frame.h"
#include "service/node.h"

struct scrub_config {
	struct node *node;
	uint64_t every_ms; /* a pass in about that time; 0: only when asked for */
	uint64_t rate;     /* bytes a second at most; 0: no limit */
	/* Of records that other layers keep about an account (enum region_kind). 0: it can be read. */
	int (*check_record)(uint8_t kind, struct span key, struct span value, struct err *e);
	/* Erase the vaults SERVICES (a mask) of an account that does not live here, once nobody needs
	 * them. ERR_BUSY: something is under way with it. NULL: they are only counted. */
	int (*erase)(struct node *n, const struct account_id *id, unsigned services, struct err *e);
};

struct scrub;
/* C is copied. Reads where it was. */
must_check
struct scrub *scrub_start(const struct scrub_config *c, struct err *e);
void scrub_stop(struct scrub *s); /* NULL is fine */

/* --- any thread --- */

/* Begin a pass now, of all or of account ONLY (may be NULL), at RATE (0: as configured). One of all that
 * was asked for before and goes on is joined. A pass that goes on by itself begins anew (all) or is interrupted
 * (one account). ERR_BUSY: one that was asked for goes on. */
must_check
int scrub_ask(struct scrub *s, const struct account_id *only, uint64_t rate, struct err *e);
/* End the pass that was asked for, if it goes on. */
void scrub_cancel(struct scrub *s);
/* JSON: { "state": "running", "waiting" (for its schedule), "idle" or "off", "is_asked": a pass that was asked
 * for goes on, "was_through": the last one came to its end, "accounts", "accounts_total", "bytes", "chunks",
 * "skipped", "started_ms", "seconds", "seconds_bytes": since it began or the node did, "rate", "damaged",
 * "damaged_accounts", "mended": { what: n }, "last": { "ended_ms", "accounts", "bytes" } or null, "every_ms" }. */
must_check
int scrub_status(struct scrub *s, json_t **out, struct err *e);
/* Bring its gauges up to date. NULL is fine. */
void scrub_measure(struct scrub *s);
/* JSON list of what is damaged now: { "account", "service", "kind", "number", "chunk", "row", "part",
 * "since_ms", "why" }; of account ONLY if that is not NULL. */
must_check
int scrub_list(struct scrub *s, const struct account_id *only, json_t **out, struct err *e);
