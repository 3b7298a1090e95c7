/* rotation.h - the region key is made anew, every vault's data key wrapped with it, the old one destroyed.
 *
 *   planned    with a standby: generation n + 1 lies beside the key file, and the standby's key file has it already
 *   added      generation n + 1 is in the key file: from now on nothing is wrapped with an older one
 *   wrapped    every header was wrapped anew, and a walk over all of them found none that was not
 *   followed   the standby has all of it, in no file what was before, and has the key still
 *   destroyed  the older generations are gone from the key file and from memory
 *   compacted  no file of the engine has bytes of the headers as they were
 *
 * Requests and moves go on meanwhile. That a rotation is under way is a record of the region: after a restart
 * it goes on by itself, and so it does after an error, again and again, with the old generations kept until
 * every vault is wrapped. A vault whose header does not open therefore keeps it from ending.
 */
#pragma once
#include <jansson.h>
#include "base/cleanup.h"
#include "service/node.h"

struct rotation_config {
	struct node *node;
	void (*step)(const char *name); /* "rotate.recorded", ... ; for tests */
};

struct rotation;
/* C is copied. Goes on with one that a restart interrupted. */
must_check
struct rotation *rotation_start(const struct rotation_config *c, struct err *e);
void rotation_stop(struct rotation *r); /* NULL is fine */

/* Whether K is a region key that opens the store of G, which nobody serves: vaults are tried until one opens,
 * so one that is damaged is passed over. ERR_MISSING: a generation that K does not have; ERR_FORGED:
 * another region key. */
must_check
int rotation_check_opens(struct engine *g, struct keys *k, struct err *e);
/* Likewise, and whether K has the generation of a rotation that was under way. */
must_check
int rotation_check_keys(struct engine *g, struct keys *k, struct err *e);

/* --- any thread --- */

/* Begin one: when this returns, new vaults have the new generation. ERR_BUSY: one is under way. ERR_DENIED: the
 * standby's key file does not have the new generation yet: the operator has to copy it. ERR_FULL, ERR_IO, ...:
 * there is no new generation, and all is as it was. */
must_check
int rotation_begin(struct rotation *r, struct err *e);
/* JSON: { "generation", "generations": that there are, "state": "idle", "wrapping", "destroying" or
 * "compacting", "done", "total": vaults looked at in this walk, "wrapped": anew by this node since it began,
 * "seconds": since then, "trouble": what keeps it from going on, or null }. */
must_check
int rotation_status(struct rotation *r, json_t **out, struct err *e);
