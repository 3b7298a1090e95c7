/* scrub_walk.c - one pass: every account that lives here, the region's own records, what is nobody's. */
#include "service/scrub_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "base/log.h"
#include "base/stats.h"
#include "service/files_refs.h"
#include "service/lifecycle.h"

#define ACCOUNTS_AT_ONCE 64
#define LATER_MAX        65536
/* An account that is between two homes is looked at so often again, so far apart. */
#define LATER_ROUNDS     10
#define LATER_MS         100

static struct counter accounts_read = COUNTER(
    "domicile_scrub_accounts_total", NULL, "Accounts that the scrub has read.");

/* --- one account --- */

static void
come_back(struct scrub *s, const struct account_id *id)
{
	if (s->later.len < LATER_MAX * sizeof(*id))
		buf_add(&s->later, id, sizeof(*id));
	else
		scrub_count_skipped(s, 1);
}

/* What the node itself failed at says nothing of the account. */
static bool
is_passing(enum err_kind kind)
{
	return kind == ERR_STALE || kind == ERR_BUSY || kind == ERR_MISSING ||
	    kind == ERR_TIMEOUT || kind == ERR_MEMORY;
}

static void
add_all(struct damages *to, const struct damages *from)
{
	for (unsigned i = 0; i < from->n; i++)
		damages_add(to, &from->all[i]);
	to->more += from->more;
}

static int
look_at_usage(void *arg, struct vault *v, struct err *e)
{
	struct scrub *s = arg;

	return files_usage_check(v, &s->usage_off, e);
}

static int
look_for_rules(void *arg, struct vault *v, struct err *e)
{
	struct scrub *s = arg;
	int r = files_rules_any(v, e);

	s->has_rules = r == 1;
	return r < 0 ? -1 : 0;
}

/* 1: to be come back to; 0; -1. */
static int
look_at_vault(struct scrub *s, const struct vault_id *id, struct damages *found, struct err *e)
{
	_cleanup_(inspection_free) struct inspection i = { .unnamed = BUF_INIT(0) };
	struct inspector in = s->inspector;
	int r;

	s->has_rules = false;
	if (id->service == SERVICE_FILES || id->service == SERVICE_BACKUP) {
		in.refs = files_refs;
		in.rows = look_at_usage;
		in.look = look_for_rules;
	}
	r = inspect_vault(&in, id, &i, e);
	if (r < 0 && e->kind == ERR_MISSING) {
		const struct damage d = { .kind = DAMAGE_MISSING,
			.service = id->service,
			.why = "the service was granted and has no vault here" };

		damages_add(found, &d);
		return 0;
	}
	if (r < 0)
		return is_passing(e->kind) ? 1 : -1;
	pthread_mutex_lock(&s->lock);
	s->now->chunks += i.chunks;
	pthread_mutex_unlock(&s->lock);
	r = scrub_mend(s, id, &i, e);
	/* Whether it is whole now shows when it is read again. */
	if (r == 1) {
		inspection_free(&i);
		r = inspect_vault(&in, id, &i, e);
		if (r < 0)
			return is_passing(e->kind) ? 1 : -1;
	}
	if (r < 0)
		return is_passing(e->kind) ? 1 : -1;
	add_all(found, &i.damages);
	return s->has_rules ? lifecycle_remind(s->c.node, id, e) : 0;
}

/* Whether the account lives here as it did. */
static bool
is_still(struct scrub *s, const struct home *was)
{
	struct home now;

	return homes_get(s->c.node->homes, &was->account, &now, NULL) == 1 &&
	    now.state == HOME_HERE && now.epoch == was->epoch && now.services == was->services;
}

/* 1: to be come back to; 0; -1. */
static int
look_at_home(struct scrub *s, const struct home *home, struct err *e)
{
	_cleanup_(freep) struct damages *found = calloc(1, sizeof(*found));
	int r = 0;

	if (!found)
		return err_set(e, ERR_MEMORY, "no memory for what is damaged");
	for (enum service service = SERVICE_PROFILE; service < SERVICES && r == 0; service++) {
		struct vault_id id = { home->account, (uint8_t)service };

		if (home->services & BIT(service))
			r = look_at_vault(s, &id, found, e);
	}
	if (r != 0)
		return r;
	/* While it was read it may have moved away, and all of it been erased. */
	if (!is_still(s, home))
		return 1;
	return findings_store(s, &home->account, found, e);
}

static int
record_damaged(struct scrub *s, const struct account_id *id, const char *why, struct err *e)
{
	struct damage d = { .kind = DAMAGE_RECORD };

	snprintf(d.why, sizeof(d.why), "%.119s", why);
	return findings_add(s, id, &d, e);
}

/* 1: to be come back to; 0: done, or nothing to be done here; -1. */
static int
look_at_account(struct scrub *s, const struct account_id *id, struct err *e)
{
	struct err why = { 0 };
	struct home home;
	int r = homes_get(s->c.node->homes, id, &home, &why);

	if (r < 0 && (why.kind == ERR_BAD || why.kind == ERR_FORGED))
		return record_damaged(s, id, why.text, e);
	if (r < 0)
		return err_set(e, why.kind, "%s", why.text);
	if (r == 0 || home.state == HOME_MOVED)
		return 0;
	return home.state == HOME_HERE ? look_at_home(s, &home, e) : 1;
}

static void
count_account(struct scrub *s)
{
	counter_add(&accounts_read, 1);
	pthread_mutex_lock(&s->lock);
	s->now->accounts++;
	pthread_mutex_unlock(&s->lock);
}

static void
set_total(struct scrub *s, uint64_t total)
{
	pthread_mutex_lock(&s->lock);
	s->now->total = total;
	pthread_mutex_unlock(&s->lock);
}

/* --- all accounts --- */

struct batch {
	struct account_id ids[ACCOUNTS_AT_ONCE];
	size_t n;
};

/* A forwarding address has nothing to read. One on its way is come back to, or skipped. */
static bool
is_to_be_read(const struct home *home)
{
	return home->state != HOME_MOVED;
}

static int
collect(void *arg, const struct home *home, struct err *e)
{
	struct batch *b = arg;

	(void)e;
	if (is_to_be_read(home))
		b->ids[b->n++] = home->account;
	return b->n == ACCOUNTS_AT_ONCE;
}

static int
count_home(void *arg, const struct home *home, struct err *e)
{
	(void)e;
	*(uint64_t *)arg += is_to_be_read(home);
	return 0;
}

static void
set_waiting(struct scrub *s, bool is_waiting)
{
	pthread_mutex_lock(&s->lock);
	s->is_waiting = is_waiting;
	pthread_mutex_unlock(&s->lock);
}

/* A pass that nobody waits for is spread over the time it may take. */
static int
keep_to_schedule(struct scrub *s, struct err *e)
{
	const struct pass *p = s->now;
	uint64_t now = host_wall_ms(), due;
	int r;

	if (p->is_asked || !p->total || !s->c.every_ms)
		return 0;
	due = p->started_ms +
	    (uint64_t)((double)s->c.every_ms * (double)p->accounts / (double)p->total);
	/* A clock that jumped does not count. */
	if (due <= now || due - now > s->c.every_ms)
		return 0;
	set_waiting(s, true);
	r = scrub_wait(s, due - now, e);
	set_waiting(s, false);
	return r;
}

static int
look_at_batch(struct scrub *s, const struct batch *b, struct err *e)
{
	for (size_t i = 0; i < b->n; i++) {
		int r = keep_to_schedule(s, e);

		if (r == 0)
			r = look_at_account(s, &b->ids[i], e);
		if (r < 0)
			return -1;
		if (r == 1)
			come_back(s, &b->ids[i]);
		else
			count_account(s);
		pthread_mutex_lock(&s->lock);
		s->now->after = b->ids[i];
		s->now->has_after = true;
		pthread_mutex_unlock(&s->lock);
		if (scrub_keep(s, e) < 0)
			return -1;
	}
	return 0;
}

static int
walk_accounts(struct scrub *s, struct err *e)
{
	struct homes *homes = s->c.node->homes;
	uint64_t total = 0;
	struct batch b;

	if (homes_scan_after(homes, NULL, count_home, &total, e) < 0)
		return -1;
	set_total(s, total);
	do {
		b.n = 0;
		if (homes_scan_after(
		        homes, s->now->has_after ? &s->now->after : NULL, collect, &b, e) < 0 ||
		    look_at_batch(s, &b, e) < 0)
			return -1;
	} while (b.n == ACCOUNTS_AT_ONCE);
	return 0;
}

/* Those that were between two homes. */
static int
walk_later(struct scrub *s, struct err *e)
{
	for (unsigned round = 0; round < LATER_ROUNDS && s->later.len; round++) {
		size_t n = s->later.len / sizeof(struct account_id), left = 0;
		struct account_id *ids = (struct account_id *)s->later.data;

		if (scrub_wait(s, LATER_MS, e) < 0)
			return -1;
		for (size_t i = 0; i < n; i++) {
			int r = look_at_account(s, &ids[i], e);

			if (r < 0)
				return -1;
			if (r == 1)
				ids[left++] = ids[i];
			else
				count_account(s);
		}
		s->later.len = left * sizeof(*ids);
	}
	scrub_count_skipped(s, s->later.len / sizeof(struct account_id));
	buf_clear(&s->later);
	return 0;
}

/* --- the region's other records --- */

struct record_scan {
	struct scrub *s;
	uint8_t kind;
	struct buf bad; /* of struct bad_record */
};

struct bad_record {
	struct account_id account;
	char why[120];
};

static int
check_record(void *arg, struct span key, struct span value, struct err *e)
{
	struct record_scan *r = arg;
	struct bad_record bad = { .why = "" };
	struct err why = { 0 };

	(void)e;
	if (r->s->c.check_record(r->kind, key, value, &why) == 0)
		return 0;
	if (key.len >= sizeof(bad.account))
		memcpy(&bad.account, key.data, sizeof(bad.account));
	snprintf(bad.why, sizeof(bad.why), "%.119s", why.text);
	buf_add(&r->bad, &bad, sizeof(bad));
	return 0;
}

static int
check_kind(struct scrub *s, enum region_kind kind, struct err *e)
{
	struct record_scan r = { .s = s, .kind = (uint8_t)kind, .bad = BUF_INIT(0) };
	int rc = region_scan(s->c.node->engine, kind, check_record, &r, e);

	if (rc == 0)
		rc = buf_check(&r.bad, e);
	for (size_t at = 0; rc == 0 && at < r.bad.len; at += sizeof(struct bad_record)) {
		const struct bad_record *bad = (const struct bad_record *)(r.bad.data + at);

		rc = record_damaged(s, &bad->account, bad->why, e);
	}
	buf_free(&r.bad);
	return rc;
}

static int
check_records(struct scrub *s, struct err *e)
{
	static const enum region_kind kinds[] = { REGION_MOVE, REGION_ERASE, REGION_PROOF };

	for (size_t i = 0; s->c.check_record && i < ARRAY_LEN(kinds); i++)
		if (check_kind(s, kinds[i], e) < 0)
			return -1;
	return 0;
}

/* --- a pass --- */

static int
walk_one(struct scrub *s, struct err *e)
{
	int r = look_at_account(s, &s->now->only, e);

	set_total(s, 1);
	if (r == 1)
		come_back(s, &s->now->only);
	else if (r == 0)
		count_account(s);
	return r < 0 ? -1 : walk_later(s, e);
}

int
scrub_walk(struct scrub *s, struct err *e)
{
	buf_clear(&s->later);
	buf_clear(&s->told);
	if (s->now->has_only)
		return walk_one(s, e);
	if (walk_accounts(s, e) < 0 || walk_later(s, e) < 0 || check_records(s, e) < 0 ||
	    scrub_mend_nobodys(s, e) < 0)
		return -1;
	return findings_count(s, true, e);
}
