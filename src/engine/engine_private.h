/* engine_private.h - what the engines share. */
#pragma once
#include "engine/engine.h"

#include <assert.h>
#include <string.h>

/* Wrong keys are bugs of ours; a value that is too big may come from outside. */
static inline int
engine_check_writes(const struct engine_write *w, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		assert(w[i].key.len >= 1 && w[i].key.len <= ENGINE_KEY_MAX);
		if (w[i].op == ENGINE_PUT && w[i].value.len > ENGINE_VALUE_MAX)
			return err_set(e, ERR_TOO_BIG, "a record of %zu bytes", w[i].value.len);
	}
	return 0;
}

/* Whether GUARD allows an apply when its key has VALUE, or is absent when VALUE is NULL. */
static inline bool
engine_guard_holds(const struct engine_guard *guard, const struct span *value)
{
	if (!value || guard->absent)
		return !value && guard->absent;
	return value->len == guard->value.len &&
	    (!value->len || memcmp(value->data, guard->value.data, value->len) == 0);
}

static inline int
engine_stale(struct err *e)
{
	return err_set(e, ERR_STALE, "the guarded record has changed");
}
