/* files_refs.h - which rows of a files or backup vault refer to which chunks, for those who look after
 * vaults without knowing what is in them (service/scrub.h). */
#pragma once
#include "vault/inspect.h"

/* FN for every reference of V: `row` is the id of the row of `body` that the content hangs below, `part` the
 * number of an upload's part or 0. That is how files.h's tables name content without a key. */
must_check
int files_refs(struct vault *v, inspect_ref_fn *fn, void *arg, struct err *e);
/* ERR_FORGED unless the rows of V are as many, and hold as much, as it says (files_usage). OFF, unless
 * NULL, becomes what they are more than that; zeros where it says nothing at all. */
struct files_usage_off {
	int64_t objects, bytes;
};
must_check
int files_usage_check(struct vault *v, struct files_usage_off *off, struct err *e);
/* Add OFF to what V says, as a transaction of its own: every other change keeps the difference as it is, so
 * nothing has to be counted meanwhile. The caller waits for *TICKET. */
must_check
int files_usage_mend(
    struct vault *v, const struct files_usage_off *off, uint64_t *ticket, struct err *e);
/* 1: some bucket of V has lifecycle rules; 0; -1. */
must_check
int files_rules_any(struct vault *v, struct err *e);
