/* reconcile.h - brings a store that was put back, or that a standby kept, to one word with the directory.
 *
 * Such a store is a copy of an earlier moment: of accounts that have moved away, or were removed, or came
 * back since, it says what is not true any more. So it is marked, and a node with a marked store serves
 * nothing, reads included, before every home record has been compared with the directory's row:
 *
 *   record               directory                          then
 *   here, fenced, held   here, same epoch                   here; the attempt is cancelled first
 *                        here, higher epoch (left and       held: the copy is of an earlier stay
 *                          came back)
 *                        elsewhere, higher epoch            moved; erased by the eraser
 *                        unknown                            erased by the eraser (*)
 *                        lower epoch, or the same elsewhere held: the directory is older than the store
 *   removing             elsewhere, higher epoch            moved; erased
 *                        here, higher epoch                 lost; what is left is erased
 *                        else                               the removal goes on
 *   moved                here, higher epoch                 lost
 *                        elsewhere, higher epoch            the forwarding address is renewed
 *                        unknown                            forgotten (*)
 *   creating, arriving   here                               lost; the parts are erased
 *                        else                               given up, erased
 *   prepared             here, same epoch                   here; signed for, as the resolver would have
 *                        still at its old home              prepared: the resolver asks
 *                        here, higher epoch                 held
 *                        else                               given up, erased (*)
 *   lost                 elsewhere or unknown               forgotten (*)
 *   none                 here                               lost
 *
 *   (*) not if any record shows that the directory is older than the store, or the mark says that the
 *   directory was put back too: then what it does not know may be what it has not heard of yet. Held, or
 *   left as it is. Nothing is ever erased by the word of an older epoch.
 *
 * Before an account is `here`, its attempt is cancelled in the directory (a swap): a move that had been
 * sealed just before the store was lost may be prepared at its destination, and its swap must fail from
 * now on (promise one-home).
 *
 * Any step may be repeated: after a crash all of it begins again. The mark goes last.
 */
#pragma once
#include <jansson.h>
#include "service/node.h"
#include "vault/region.h"

enum reconcile_why {
	RECONCILE_RESTORED, /* by `domicile region restore` */
	RECONCILE_COPIED,   /* its files were copied back without a word */
	RECONCILE_PROMOTED, /* a standby takes over */
	RECONCILE_WHYS
};
/* "restored", "copied", "promoted". */
const char *reconcile_why_name(enum reconcile_why w);

struct reconcile_mark {
	enum reconcile_why why;
	uint64_t copied_ms; /* wall clock: of what moment the store is; 0: not known */
	bool
	    has_directory_back; /* the directory was put back as well: it is no witness of what is gone */
};

/* Mark the store, durably. From the next start on it has to be reconciled. F may be NULL: then the engine
 * is flushed. */
must_check
int reconcile_mark(
    struct engine *g, struct flusher *f, const struct reconcile_mark *m, struct err *e);
/* 1: it is marked, 0, -1. OUT may be NULL. */
must_check
int reconcile_marked(struct engine *g, struct reconcile_mark *out, struct err *e);

struct reconcile_report {
	struct reconcile_mark mark;
	uint64_t finished_ms; /* wall clock */
	uint64_t records;     /* home records that were compared */
	uint64_t here;        /* served, as of the moment of the copy */
	uint64_t moved;       /* live elsewhere; being erased here */
	uint64_t unknown;     /* unknown to the directory; being erased */
	uint64_t given_up;    /* arrivals that did not become homes here; being erased */
	uint64_t arriving;    /* prepared: the resolver asks for them */
	uint64_t removing;    /* their removal goes on */
	uint64_t forwarding;  /* forwarding addresses */
	uint64_t held;        /* not served until the operator has decided */
	uint64_t lost;        /* live here, and nothing of them is here */
	uint64_t ahead;       /* records that show that the directory is older than this store */
};

/* Compare and settle every account, then take the mark away. The node has engine, homes and directory, and
 * has let nobody in; recovery of accounts and moves comes after it. ERR_PEER, ERR_TIMEOUT: the directory
 * can't be reached; ERR_BUSY: an account is just changing there: to be called again. */
must_check
int reconcile(struct node *n, struct reconcile_report *out, struct err *e);
/* What the last one found: 1, 0 (there was none), -1. */
must_check
int reconcile_last(struct engine *g, struct reconcile_report *out, struct err *e);
/* NULL: no memory. */
json_t *reconcile_report_json(const struct reconcile_report *r);
/* The accounts that are held or lost now, of these the first RECONCILE_LISTED: JSON [{ "account", "state",
 * "epoch", "country" }, ...]. */
#define RECONCILE_LISTED 100000
must_check
int reconcile_accounts(struct node *n, json_t **out, struct err *e);

/* --- what an account's fate is; for the tests --- */

struct home;
struct placement;
enum reconcile_fate {
	FATE_KEEP,    /* as it is */
	FATE_HERE,    /* becomes `here` once the directory has cancelled its attempt */
	FATE_SETTLE,  /* the same, of a prepared arrival */
	FATE_MOVED,   /* becomes `moved`, is erased */
	FATE_ERASE,   /* no record stays, what there is is erased */
	FATE_FORWARD, /* the forwarding address is renewed */
	FATE_FORGET,  /* no record stays, and there is nothing to erase */
	FATE_HOLD,
	FATE_LOST,
};
/* H: the record. ROW: the directory's, epoch 0: none. DOUBTS: the directory is no witness of what is gone. */
enum reconcile_fate reconcile_fate(
    const struct home *h, const struct placement *row, const char *region, bool doubts);
/* Whether the two show that the directory is older than the record. */
bool reconcile_is_ahead(const struct home *h, const struct placement *row, const char *region);
