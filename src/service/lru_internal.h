/* lru_internal.h - the order in a bounded cache of things that belong to accounts.
 *
 * Which of MAX places belongs to which account, and which was used longest ago; what lies in a
 * place is its user's. An account may have several places. Not for two threads at a time.
 */
#pragma once
#include "base/id.h"

#define LRU_NONE UINT32_MAX

struct lru;
must_check
struct lru *lru_new(size_t max, struct err *e);
void lru_free(struct lru *l); /* NULL is fine */

/* The places that may be ID's, one after the other, then LRU_NONE: compare what lies there. */
uint32_t lru_first(const struct lru *l, const struct account_id *id);
uint32_t lru_next(const struct lru *l, uint32_t place);
void lru_touch(struct lru *l, uint32_t place); /* used just now */
/* A place for ID: a free one, or the one used longest ago, whose former content is to be overwritten. */
uint32_t lru_add(struct lru *l, const struct account_id *id);
void lru_remove(struct lru *l, uint32_t place);
