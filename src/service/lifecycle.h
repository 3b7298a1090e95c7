/* lifecycle.h - the thread that removes what is due under buckets' lifecycle rules, at the account's
 * home alone.
 *
 * Which vaults have rules is a record of the region each (REGION_RULES): written before the rules are,
 * and by a move's destination for whatever arrives, so that nobody else need know what is in a vault.
 * One that is too many is looked at and goes; where one were missing, what is due would only go later:
 * the scrub, which reads every vault, writes it again. A vault is looked at once a day, after midnight
 * UTC, a step at a time (expire.h), each of which passes the gate like a request's write; while its
 * account is being moved it is let be, and what is due goes at the new home. Steps stand back while
 * requests are inside.
 *
 * Time is files_clock_ms: a clock that is put forward removes nothing while the node runs, one that is put
 * back only delays.
 */
#pragma once
#include "base/cleanup.h"
#include "base/frame.h"
#include "service/node.h"

struct lifecycle;
/* Start the thread; N is borrowed until it has stopped. NULL: ERR_MEMORY. */
must_check
struct lifecycle *lifecycle_start(struct node *n, struct err *e);
void lifecycle_stop(struct lifecycle *l); /* NULL is fine */

/* A vault has rules: where its record is missing, it is written again. Any thread. */
must_check
int lifecycle_remind(struct node *n, const struct vault_id *id, struct err *e);
