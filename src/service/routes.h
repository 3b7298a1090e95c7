/* routes.h - where an account lives, for nodes that are not its home: a bounded cache of the
 * directory. A stale entry is harmless: the old home forwards, and after a minute it is asked for
 * again, and kept if nobody answers. Any thread. */
#pragma once
#include "service/node.h"

struct placement;
struct routes;
/* At most MAX_ENTRIES are kept. N is borrowed. NULL: ERR_MEMORY. */
must_check
struct routes *routes_new(struct node *n, size_t max_entries, struct err *e);
void routes_free(struct routes *r);
/* ERR_MISSING: the directory knows no such account (remembered for a second). ERR_BUSY with MAY_BLOCK
 * false and not in the cache. */
must_check
int routes_find(struct routes *r, const struct account_id *id, bool may_block,
    struct placement *out, struct err *e);
/* Ask the directory the next time. */
void routes_forget(struct routes *r, const struct account_id *id);
