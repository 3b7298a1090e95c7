/* store_starts.h - tells whether a store is the one that was here at the last start.
 *
 * At each start a counter grows, in the store and in a small file beside it. When someone puts back an
 * older copy of the store's files without `domicile region restore`, the two differ: the store is marked
 * (move/reconcile.h), and its accounts are compared with the directory before any is served. A crash
 * between the two writes looks the same, and costs the same comparison. A copy of both together, as a
 * snapshot of the whole file system is, can't be told: `domicile region reconcile` is for that.
 */
#pragma once
#include <limits.h>
#include "vault/region.h"

/* The file of the store in folder STORE, beside it: STORE.starts. Made empty if it is not there, before the
 * node confines itself to writing what is there. It is written in place: torn, it differs, and costs a
 * comparison. */
must_check
int store_starts_file(const char *store, char out[static PATH_MAX], struct err *e);
must_check
int store_starts(struct engine *g, struct flusher *f, const char *store, struct err *e);

/* Where `domicile region restore` gathers a store before it becomes STORE. */
#define STORE_RESTORING "restoring"
/* ERR_BUSY: a restore into it was broken off. */
must_check
int store_is_whole(const char *store, struct err *e);
