/* files_refs.h - which rows of a files or backup vault refer to which chunks, for those who look after
 * vaults without knowing what is in them (service/scrub.h). */
#pragma once
#include "vault/inspect.h"

/* FN for every reference of V: `row` is the id of the row of `body` that the content hangs below, `part` the
 * number of an upload's part or 0. That is how files.h's tables name content without a key. */
must_check
int files_refs(struct vault *v, inspect_ref_fn *fn, void *arg, struct err *e);
/* ERR_FORGED unless the rows of V are as many, and hold as much, as it says (files_usage). */
must_check
int files_usage_check(struct vault *v, struct err *e);
/* 1: some bucket of V has lifecycle rules; 0; -1. */
must_check
int files_rules_any(struct vault *v, struct err *e);
