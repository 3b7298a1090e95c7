/* lifecycle.c - see lifecycle.h: the thread, which vaults are due, one vault's walk. */
#include "service/lifecycle_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/host.h"
#include "base/log.h"
#include "base/stats.h"
#include "service/expire.h"
#include "service/files_internal.h"
#include "service/files_refs.h"
#include "service/gate.h"
#include "service/rules.h"
#include "vault/homes.h"
#include "vault/region.h"

/* Parts of a day: so often the records are looked through, and after a failure a vault again. */
#define LOOKS_A_DAY     288
#define RETRIES_A_DAY   24
#define LOOK_MS_MIN     50
#define RECORDS_AT_ONCE 4096
#define VAULTS_AT_ONCE  64
/* Requests inside from which on it stands back, before each so many rows, for how long at most. A step costs
 * as much as so many rows by itself. */
#define BUSY_REQUESTS   4
#define BUSY_ROWS       1000
#define ROWS_A_STEP     50
#define BUSY_MS         1000
#define BUSY_LOOK_MS    50

static struct counter walks = COUNTER("domicile_lifecycle_walks_total", NULL,
    "Times that a vault with lifecycle rules was looked through.");
static struct counter vaults = GAUGE("domicile_lifecycle_vaults", NULL,
    "Vaults that have lifecycle rules, or are still to be looked at for any.");
static struct counter late = GAUGE("domicile_lifecycle_late", NULL,
    "Vaults that were due in the last round and could not be looked through.");
static struct counter removed_total[EXPIRED_KINDS] = {
#define REMOVED(what) \
	COUNTER("domicile_lifecycle_removed_total", "kind=\"" what "\"", \
	    "Things that lifecycle rules have removed.")
	[EXPIRED_CURRENT] = REMOVED("current"),
	[EXPIRED_NONCURRENT] = REMOVED("noncurrent"),
	[EXPIRED_MARKER] = REMOVED("marker"),
	[EXPIRED_UPLOAD] = REMOVED("upload"),
};

/* --- waiting --- */

static int
wait_ms(struct lifecycle *l, uint64_t ms, struct err *e)
{
	struct timespec until;
	bool ends;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&l->lock);
	while (!l->is_stopping && pthread_cond_timedwait(&l->changed, &l->lock, &until) == 0)
		;
	ends = l->is_stopping;
	pthread_mutex_unlock(&l->lock);
	return ends ? err_set(e, ERR_CANCELLED, "the node is stopping") : 0;
}

/* Requests first: while many are inside, a thousand rows a second are enough. */
static int
stand_back(struct lifecycle *l, struct err *e)
{
	if (l->since_busy < BUSY_ROWS)
		return wait_ms(l, 0, e);
	l->since_busy = 0;
	for (unsigned waited = 0; waited < BUSY_MS; waited += BUSY_LOOK_MS) {
		if (homes_busy(l->node->homes) < BUSY_REQUESTS)
			return wait_ms(l, 0, e);
		if (wait_ms(l, BUSY_LOOK_MS, e) < 0)
			return -1;
	}
	return 0;
}

/* --- one vault --- */

struct candidate {
	struct vault_id id;
	uint64_t stamp;
	bool has_stamp;
};

static uint64_t
next_midnight(const struct lifecycle *l, uint64_t now_ms)
{
	return (now_ms / l->day_ms + 1) * l->day_ms;
}

/* 1: a move of the account is under way; 0; -1. */
static int
is_moving(struct lifecycle *l, const struct account_id *id, struct err *e)
{
	_cleanup_buf_ struct buf record = BUF_INIT(0);

	return region_get(l->node->engine, REGION_MOVE, id, sizeof(*id), &record, e);
}

/* 1: inside; 0: nothing may be done with it now; -1. */
static int
enter(struct lifecycle *l, const struct account_id *id, struct gate_pass *pass, struct files *f,
    struct err *e)
{
	enum gate_answer answer;

	if (gate_enter(l->node, id, GATE_WRITE, &answer, pass, e) < 0)
		return -1;
	*f = (struct files){
		.node = l->node, .account = *id, .services = pass->services, .may_block = true
	};
	return answer == GATE_GO;
}

/* All was looked at: the record says when next, or goes. Within the gate, and the vault is held, so that no
 * rules are put meanwhile. */
static int
settle(struct lifecycle *l, const struct candidate *c, struct files *f, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, (enum service)c->id.service, e);
	_cleanup_buf_ struct buf value = BUF_INIT(0);
	uint64_t due, stamp;
	bool has_stamp;
	int any;

	if (!v)
		return -1;
	any = files_rules_any(v, e);
	if (any < 0 ||
	    region_get(l->node->engine, REGION_RULES, &c->id, sizeof(c->id), &value, e) < 0)
		return -1;
	if (!any)
		return rules_record_forget(l->node, &c->id, e);
	has_stamp = rules_record_read((struct span){ value.data, value.len }, &due, &stamp);
	if (has_stamp && (!c->has_stamp || stamp != c->stamp))
		return 0;
	return rules_record_put(l->node, &c->id, next_midnight(l, files_clock_ms()), c->stamp, e);
}

/* One step. 1: there is more; 0: through; 2: later; -1. */
static int
step(struct lifecycle *l, const struct candidate *c, struct expire *x, struct err *e)
{
	uint64_t rows = x->rows;
	struct gate_pass pass;
	struct files f;
	int r;

	if (stand_back(l, e) < 0)
		return -1;
	r = is_moving(l, &c->id.account, e);
	if (r)
		return r < 0 ? -1 : 2;
	r = enter(l, &c->id.account, &pass, &f, e);
	if (r <= 0)
		return r < 0 ? -1 : 2;
	if (!(f.services & BIT(c->id.service))) {
		r = rules_record_forget(l->node, &c->id, e);
	} else {
		r = expire_step(x, &f, e);
		if (r == 0)
			r = settle(l, c, &f, e);
	}
	gate_leave(l->node, &pass);
	l->since_busy += ROWS_A_STEP + x->rows - rows;
	if (r >= 0 && f.ticket && flusher_wait(l->node->flusher, f.ticket, e) < 0)
		return -1;
	return r;
}

static void
count(const struct candidate *c, const struct expire *x)
{
	const uint64_t *n = x->removed;
	char account[ACCOUNT_TEXT_SIZE];
	uint64_t all = 0;

	for (unsigned i = 0; i < EXPIRED_KINDS; i++) {
		counter_add(&removed_total[i], (int64_t)n[i]);
		all += n[i];
	}
	if (!all)
		return;
	account_text(&c->id.account, account);
	log_info("lifecycle.removed", NULL,
	    "account=%s service=%s current=%" PRIu64 " noncurrent=%" PRIu64 " markers=%" PRIu64
	    " uploads=%" PRIu64,
	    account, service_name((enum service)c->id.service), n[EXPIRED_CURRENT],
	    n[EXPIRED_NONCURRENT], n[EXPIRED_MARKER], n[EXPIRED_UPLOAD]);
}

/* What the next round will see to by itself. */
static bool
is_passing(enum err_kind kind)
{
	return kind == ERR_BUSY || kind == ERR_TIMEOUT || kind == ERR_CANCELLED;
}

/* The vault is come back to a while later, so that one in trouble does not fill the log. */
static void
put_off(struct lifecycle *l, const struct candidate *c, const struct err *why)
{
	uint64_t due = files_clock_ms() + l->day_ms / RETRIES_A_DAY;
	char account[ACCOUNT_TEXT_SIZE];
	struct err e = { 0 };

	account_text(&c->id.account, account);
	log_warn("lifecycle.trouble", NULL, "later: account=%s service=%s kind=%s text=%s", account,
	    service_name((enum service)c->id.service), err_word(why->kind), why->text);
	if (rules_record_put(l->node, &c->id, due, c->stamp, &e) < 0)
		log_warn("lifecycle.record", NULL, "%s", e.text);
}

/* 0: looked through, or put off; 1: left as it is, for the next round; -1: stopping. */
static int
walk(struct lifecycle *l, const struct candidate *c, struct err *e)
{
	struct expire x = { .service = (enum service)c->id.service, .day_ms = l->day_ms };
	int r;

	while ((r = step(l, c, &x, e)) == 1)
		;
	count(c, &x);
	if (r == 0)
		counter_add(&walks, 1);
	if (r >= 0)
		return r == 2;
	if (e->kind == ERR_CANCELLED)
		return -1;
	if (is_passing(e->kind))
		return 1;
	put_off(l, c, e);
	return 0;
}

/* --- all of them --- */

struct batch {
	struct lifecycle *l;
	uint64_t now_ms;
	bool has_after, is_full;
	struct vault_id after;
	uint64_t seen; /* in the whole round */
	unsigned records, n;
	struct candidate c[VAULTS_AT_ONCE];
};

/* A clock that was put back must not put anything off for longer than a day. */
static bool
is_due(const struct batch *b, uint64_t due_ms)
{
	return due_ms <= b->now_ms || due_ms > b->now_ms + b->l->day_ms;
}

static int
collect(void *arg, struct span key, struct span value, struct err *e)
{
	struct batch *b = arg;
	uint64_t due;

	(void)e;
	if (key.len != sizeof(b->after))
		return 0;
	memcpy(&b->after, key.data, sizeof(b->after));
	b->has_after = true;
	b->seen++;
	b->c[b->n] = (struct candidate){ .id = b->after };
	b->c[b->n].has_stamp = rules_record_read(value, &due, &b->c[b->n].stamp);
	b->n += is_due(b, due);
	b->is_full = b->n == VAULTS_AT_ONCE || ++b->records == RECORDS_AT_ONCE;
	return b->is_full;
}

int
lifecycle_round(struct lifecycle *l, struct err *e)
{
	struct batch b = { .l = l, .now_ms = files_clock_ms() };
	uint64_t left = 0;

	do {
		b.records = b.n = 0;
		b.is_full = false;
		if (region_scan_after(l->node->engine, REGION_RULES, &b.after,
		        b.has_after ? sizeof(b.after) : 0, collect, &b, e) < 0)
			return -1;
		for (unsigned i = 0; i < b.n; i++) {
			int r = walk(l, &b.c[i], e);

			if (r < 0)
				return -1;
			left += (uint64_t)r;
		}
	} while (b.is_full);
	counter_set(&vaults, (int64_t)b.seen);
	counter_set(&late, (int64_t)left);
	return 0;
}

static void *
run(void *arg)
{
	struct lifecycle *l = arg;
	uint64_t ms = l->day_ms / LOOKS_A_DAY;
	struct err e = { 0 };

	do {
		if (lifecycle_round(l, &e) < 0 && e.kind != ERR_CANCELLED)
			log_warn("lifecycle.trouble", NULL, "later: %s", e.text);
	} while (wait_ms(l, ms > LOOK_MS_MIN ? ms : LOOK_MS_MIN, &e) == 0);
	return NULL;
}

/* --- starting and stopping --- */

struct lifecycle *
lifecycle_start(struct node *n, struct err *e)
{
	struct lifecycle *l = calloc(1, sizeof(*l));
	int r;

	if (!l) {
		err_set(e, ERR_MEMORY, "lifecycle: no memory");
		return NULL;
	}
	l->node = n;
	l->day_ms = rules_day_ms(n);
	pthread_mutex_init(&l->lock, NULL);
	host_cond_init(&l->changed);
	r = pthread_create(&l->thread, NULL, run, l);
	if (r) {
		err_errno(e, r, "lifecycle: no thread");
		lifecycle_stop(l);
		return NULL;
	}
	l->has_thread = true;
	return l;
}

void
lifecycle_stop(struct lifecycle *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->is_stopping = true;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	if (l->has_thread)
		pthread_join(l->thread, NULL);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free(l);
}
