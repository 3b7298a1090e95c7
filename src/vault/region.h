/* region.h - the region's own records: which accounts live here, moves under way, certificates.
 *
 * They carry random ids and signatures only, so they are not sealed; the secrets of application keys are
 * wrapped by the region key. All lie in one vault of the
 * engine (zero account, SERVICE_REGION), so a batch over many accounts is one apply. A key is a
 * kind byte and then up to 32 bytes. Any thread.
 */
#pragma once
#include "engine/engine.h"
#include "engine/flusher.h"

enum region_kind {
	REGION_HOME = 'A',  /* + account: struct home (homes.h) */
	REGION_MOVE = 'M',  /* + account: a move under way, either side (move/) */
	REGION_ERASE = 'E', /* + account: an erasure not yet finished (move/) */
	REGION_PROOF = 'P', /* + account, epoch (8): signed statements for certificates (move/) */
	REGION_SCRUB = 'S', /* where the scrub is (service/scrub.h) */
	REGION_DAMAGE =
	    'D', /* + account: what the scrub found damaged of it; goes with the account */
	REGION_RULES = 'L', /* + vault: it may have lifecycle rules (service/lifecycle.h) */
	REGION_STORE = 'R', /* + name: of the store itself (move/reconcile.h) */
	REGION_KEY = 'K',   /* a rotation of the region key under way (service/rotation.h) */
	REGION_APPLICATION =
	    'B',           /* + key id (16): an application key (service/applications_record.c) */
	REGION_TERM = 'T', /* the node's term (standby/) */
	REGION_MARK = 'Y', /* random: tells one store's changes from another's (standby/) */
	REGION_POSITION = 'Z', /* in a standby's store: how far it has come (standby/) */
};

struct region_batch;
/* An empty one. NULL: ERR_MEMORY. What can't be put for want of memory fails the apply. */
must_check
struct region_batch *region_batch(struct err *e);
/* Copied. */
void region_put(struct region_batch *b, enum region_kind k, const void *key, size_t n,
    const void *value, size_t value_len);
/* The same of what V has. If that has failed, so has the batch. */
void region_put_buf(
    struct region_batch *b, enum region_kind k, const void *key, size_t n, const struct buf *v);
void region_delete(struct region_batch *b, enum region_kind k, const void *key, size_t n);
/* A record of REGION_RULES for each vault of an account with SERVICES, but its profile: whoever has just
 * taken the account in does not know what is in them. And for none of them any more. */
void region_put_rules(struct region_batch *b, const struct account_id *id, unsigned services);
void region_delete_rules(struct region_batch *b, const struct account_id *id);
void region_batch_free(struct region_batch *b);
CLEANUP(struct region_batch, region_batch_free)

/* Apply the batch and wait until it is durable (through F). The batch is empty afterwards. */
must_check
int region_apply(struct engine *g, struct flusher *f, struct region_batch *b, struct err *e);
/* The same without waiting: it survives a power cut after the next flush, and never without everything
 * that was applied before it. */
must_check
int region_apply_soon(struct engine *g, struct region_batch *b, struct err *e);
/* 1, 0, -1. */
must_check
int region_get(struct engine *g, enum region_kind k, const void *key, size_t n, struct buf *value,
    struct err *e);
/* KEY is without the kind byte. 0 go on, 1 enough, -1. */
typedef int region_scan_fn(void *arg, struct span key, struct span value, struct err *e);
must_check
int region_scan_after(struct engine *g, enum region_kind k, const void *after, size_t n,
    region_scan_fn *fn, void *arg, struct err *e); /* keys > AFTER (without the kind byte) only */
must_check
int region_scan(struct engine *g, enum region_kind k, region_scan_fn *fn, void *arg, struct err *e);
