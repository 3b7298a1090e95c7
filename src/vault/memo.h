/* memo.h - what was read from a vault, kept with it for as long as it is still so.
 *
 * A vault that a thread has taken has a memo: values under names, each made of the vault's present
 * version and nothing else. A commit empties it and so does closing the vault, so nothing in it can be
 * old. It is bounded, and grows only while the pool has memory to spare: a value may be gone the
 * next time. Values are shared and must not change; whoever got one may use it after the vault was
 * given back.
 */
#pragma once
#include "base/frame.h"
#include "vault/pool.h"

struct memo_value {
	_Atomic unsigned refs;
	size_t bytes;                       /* of memory */
	void (*free)(struct memo_value *m); /* by the last reference, on any thread */
};

static inline struct memo_value *
memo_ref(struct memo_value *m)
{
	m->refs++;
	return m;
}

void memo_unref(struct memo_value *m); /* NULL is fine */

/* The value NAME, for the caller to unref; NULL: there is none, or a transaction is under way. */
must_check
struct memo_value *vault_memo_find(struct vault *v, struct span name);
/* Keep M, which the caller read from V since it took it, under NAME; a reference of its own. Perhaps
 * does not. Nothing that a transaction saw is kept before it is committed. */
void vault_memo_keep(struct vault *v, struct span name, struct memo_value *m);
