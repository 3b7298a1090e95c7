/* accounts.c - accounts at their home: making, suspending, removing, and finishing what a crash left.
 *
 * A record of the homes goes before whatever it is about: `creating` before the first vault, `removing`
 * before the first erasure. So accounts_recover finds everything that was begun, and the directory
 * tells what became of it: an account exists from the moment when its row does.
 */
#include "service/accounts_internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/host.h"
#include "base/log.h"
#include "service/access.h"
#include "service/policy.h"
#include "service/routes.h"
#include "standby/standby.h"
#include "vault/homes.h"
#include "vault/pool.h"
#include "vault/schema.h"
#include "vault/transfer.h"

#define INSIDE_WAIT_MS 30000

/* Written by accounts_recover, so that it does not take what is just being made for left over. */
static pthread_rwlock_t making = PTHREAD_RWLOCK_INITIALIZER;

static void
unlock(pthread_rwlock_t **lock)
{
	if (*lock)
		pthread_rwlock_unlock(*lock);
}

static pthread_rwlock_t *
lock_making(bool alone)
{
	if (alone)
		pthread_rwlock_wrlock(&making);
	else
		pthread_rwlock_rdlock(&making);
	return &making;
}

/* What an order of the operator's changes at the home and in the directory: one order at a time an account, so that
 * both end as the last one says. */
#define ORDER_LOCKS 64
static pthread_mutex_t ordering[ORDER_LOCKS] = {
	[0 ... ORDER_LOCKS - 1] = PTHREAD_MUTEX_INITIALIZER,
};

static void
order_end(pthread_mutex_t **lock)
{
	pthread_mutex_unlock(*lock);
}

static pthread_mutex_t *
order_begin(const struct account_id *id)
{
	pthread_mutex_t *lock = &ordering[id->b[ACCOUNT_ID_BYTES - 1] % ORDER_LOCKS];

	pthread_mutex_lock(lock);
	return lock;
}

/* --- erasing --- */

static int
erase_vaults(struct node *n, const struct account_id *id, struct err *e)
{
	uint64_t records = 0, chunks = 0;

	for (enum service s = SERVICE_PROFILE; s < SERVICES; s++) {
		struct vault_id vault = { .account = *id, .service = (uint8_t)s };

		if (transfer_erase(n->pool, n->engine, n->flusher, n->chunks, &vault, &records,
		        &chunks, e) < 0 ||
		    transfer_is_gone(n->engine, n->chunks, &vault, e) < 0)
			return -1;
	}
	return 0;
}

/* They have no home any more. */
static int
set_removed(
    struct node *n, const struct home *homes, size_t count, struct region_batch *b, struct err *e)
{
	return n->set_removed ? n->set_removed(n, homes, count, b, e)
	                      : homes_set(n->homes, homes, count, b, e);
}

static void
set_states(struct home *homes, size_t count, enum home_state state)
{
	for (size_t i = 0; i < count; i++)
		homes[i].state = state;
}

/* Accounts in `creating` that the directory never got to know. */
static int
undo(struct node *n, struct home *homes, size_t count, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);

	if (!b)
		return -1;
	for (size_t i = 0; i < count; i++)
		if (erase_vaults(n, &homes[i].account, e) < 0)
			return -1;
	set_states(homes, count, HOME_NONE);
	return set_removed(n, homes, count, b, e);
}

/* The directory has the last word over accounts in `creating`: which of them are THERE. */
static int
ask_directory(struct node *n, const struct home *homes, size_t count, bool *there, struct err *e)
{
	_cleanup_(freep) struct account_id *ids = calloc(count, sizeof(*ids));
	_cleanup_(freep) struct placement *rows = calloc(count, sizeof(*rows));

	if (!ids || !rows)
		return err_set(e, ERR_MEMORY, "no memory for %zu accounts", count);
	for (size_t i = 0; i < count; i++)
		ids[i] = homes[i].account;
	if (directory_find(n->directory, ids, count, rows, e) < 0)
		return -1;
	for (size_t i = 0; i < count; i++)
		there[i] = rows[i].epoch && strcmp(rows[i].home, n->region) == 0;
	return 0;
}

/* --- making --- */

static int
add_rows(struct node *n, const struct home *homes, size_t count, struct err *e)
{
	_cleanup_(freep) struct placement *rows = calloc(count, sizeof(*rows));

	if (!rows)
		return err_set(e, ERR_MEMORY, "no memory for %zu accounts", count);
	for (size_t i = 0; i < count; i++) {
		rows[i].account = homes[i].account;
		rows[i].epoch = homes[i].epoch;
		memcpy(rows[i].country, homes[i].country, sizeof(rows[i].country));
		snprintf(rows[i].home, sizeof(rows[i].home), "%s", n->region);
	}
	return directory_add(n->directory, rows, count, e);
}

/* An answer that did not come may have been a yes. */
static int
register_all(struct node *n, const struct home *homes, size_t count, bool *unsure, struct err *e)
{
	_cleanup_(freep) bool *there = calloc(count, sizeof(*there));
	struct err again;

	*unsure = false;
	if (add_rows(n, homes, count, e) == 0)
		return 0;
	*unsure = true;
	if (!there || ask_directory(n, homes, count, there, &again) < 0)
		return -1;
	*unsure = false;
	return there[0] ? 0 : -1;
}

static int
make_all(struct node *n, const struct home *homes, size_t count, struct account_credentials *out,
    struct err *e)
{
	uint64_t last = 0, ticket = 0;

	for (size_t i = 0; i < count; i++) {
		if (account_make_vaults(n, &homes[i], &out[i], &ticket, e) < 0)
			return -1;
		if (ticket > last)
			last = ticket;
	}
	return flusher_wait(n->flusher, last, e);
}

static int
leave_to_recovery(struct node *n, size_t count)
{
	log_warn("accounts.create", NULL, "count=%zu left half made; looked at again", count);
	atomic_store(&n->must_recover, true);
	return -1;
}

static int
create_batch(struct node *n, const char *country, unsigned services, size_t count,
    struct account_credentials *out, struct err *e)
{
	_cleanup_(freep) struct home *homes = calloc(count, sizeof(*homes));
	bool unsure = false;
	struct err second;

	if (!homes)
		return err_set(e, ERR_MEMORY, "no memory for %zu accounts", count);
	for (size_t i = 0; i < count; i++) {
		account_random(&homes[i].account);
		homes[i].services = services;
		homes[i].epoch = 1;
		memcpy(homes[i].country, country, sizeof(homes[i].country));
	}
	set_states(homes, count, HOME_CREATING);
	if (homes_set(n->homes, homes, count, NULL, e) < 0)
		return leave_to_recovery(n, count);
	if (make_all(n, homes, count, out, e) < 0 ||
	    register_all(n, homes, count, &unsure, e) < 0) {
		if (unsure || undo(n, homes, count, &second) < 0)
			return leave_to_recovery(n, count);
		return -1;
	}
	set_states(homes, count, HOME_HERE);
	return homes_set(n->homes, homes, count, NULL, e) < 0 ? leave_to_recovery(n, count) : 0;
}

static int
check_services(unsigned services, struct err *e)
{
	for (enum service s = SERVICE_PROFILE; s < SERVICES; s++)
		if ((services & BIT(s)) && !schema_sql(s))
			return err_set(
			    e, ERR_BAD, "service %s is not offered yet", service_name(s));
	if (services & ~(BIT(SERVICES) - 1) || services & BIT(SERVICE_REGION))
		return err_set(e, ERR_BAD, "an unknown service");
	return 0;
}

int
accounts_create_here(struct node *n, const char *country, unsigned services, size_t count,
    struct account_credentials *out, struct err *e)
{
	_cleanup_(unlock) pthread_rwlock_t *lock = NULL;

	if (!standby_may_write(n->standby))
		return standby_refuse(n->standby, e);
	services |= BIT(SERVICE_PROFILE);
	if (!n->engine)
		return err_set(e, ERR_DENIED, "this node has no store");
	if (check_services(services, e) < 0 || policy_allows(n->policy, country, n->region, e) < 0)
		return -1;
	lock = lock_making(false);
	for (size_t done = 0; done < count;) {
		size_t some = count - done < DIRECTORY_BATCH_MAX ? count - done
		                                                 : DIRECTORY_BATCH_MAX;

		if (create_batch(n, country, services, some, out + done, e) < 0)
			return err_add(e, "%zu of %zu accounts were made", done, count);
		done += some;
	}
	return 0;
}

/* --- suspending --- */

/* The record, of an account that lives here and is not about to leave or to come. */
static int
get_settled(struct node *n, const struct account_id *id, struct home *home, struct err *e)
{
	int r = homes_get(n->homes, id, home, e);

	if (r < 0)
		return -1;
	if (r == 0)
		return err_set(e, ERR_STALE, "the account does not live in %s", n->region);
	if (home->state == HOME_MOVED)
		return err_set(e, ERR_STALE, "the account lives in %s", home->peer);
	if (home->state != HOME_HERE && home->state != HOME_REMOVING && home->state != HOME_HELD &&
	    home->state != HOME_LOST)
		return err_set(e, ERR_BUSY, "the account is %s; try again when that is over",
		    home_state_name(home->state));
	return 0;
}

int
accounts_suspend_here(struct node *n, const struct account_id *id, bool on, struct err *e)
{
	_cleanup_(order_end) pthread_mutex_t *lock = order_begin(id);
	struct home home;

	if (!standby_may_write(n->standby))
		return standby_refuse(n->standby, e);
	if (get_settled(n, id, &home, e) < 0)
		return -1;
	if (home.state != HOME_HERE)
		return err_set(e, ERR_BUSY, "the account is %s", home_state_name(home.state));
	home.is_suspended = on;
	if (homes_set(n->homes, &home, 1, NULL, e) < 0)
		return -1;
	return directory_suspend(n->directory, id, on, e);
}

/* --- removing --- */

static int
wait_until_empty(struct node *n, const struct account_id *id, struct err *e)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	uint64_t until_ms = host_mono_ms() + INSIDE_WAIT_MS;

	while (homes_inside(n->homes, id)) {
		if (host_mono_ms() > until_ms)
			return err_set(e, ERR_BUSY,
			    "%u requests of the account did not end; it will not be used any more, "
			    "remove it again",
			    homes_inside(n->homes, id));
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* Of an account in `removing`; may be repeated from any point. */
static int
finish_removal(struct node *n, struct home *home, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	struct placement row = { .account = home->account, .epoch = home->epoch };
	struct err why = { .kind = ERR_NONE };

	if (!b)
		return -1;
	if (wait_until_empty(n, &home->account, e) < 0)
		return -1;
	if (n->access)
		access_forget(n->access, &home->account);
	if (erase_vaults(n, &home->account, e) < 0)
		return -1;
	snprintf(row.home, sizeof(row.home), "%s", n->region);
	memcpy(row.country, home->country, sizeof(row.country));
	if (directory_remove(n->directory, &row, &why) < 0 && why.kind != ERR_MISSING)
		return err_set(e, why.kind, "%s", why.text);
	if (n->routes)
		routes_forget(n->routes, &home->account);
	home->state = HOME_NONE;
	region_delete(b, REGION_DAMAGE, &home->account, sizeof(home->account));
	region_delete_rules(b, &home->account);
	return set_removed(n, home, 1, b, e);
}

/* A copy under way has a record of its own, while the home's still says `here`. */
static int
is_moving(struct node *n, const struct account_id *id, struct err *e)
{
	_cleanup_buf_ struct buf record = BUF_INIT(0);

	return region_get(n->engine, REGION_MOVE, id, sizeof(*id), &record, e);
}

/* The directory's row of an account that is held may be of a later epoch than the copy. */
static int
take_epoch(struct node *n, struct home *home, struct err *e)
{
	struct placement row;

	if (home->state != HOME_HELD)
		return 0;
	if (directory_find(n->directory, &home->account, 1, &row, e) < 0)
		return -1;
	if (row.epoch > home->epoch)
		home->epoch = row.epoch;
	return 0;
}

int
accounts_remove_here(struct node *n, const struct account_id *id, struct err *e)
{
	_cleanup_(unlock) pthread_rwlock_t *lock = NULL;
	struct home home;
	int moving;

	if (!standby_may_write(n->standby))
		return standby_refuse(n->standby, e);
	lock = lock_making(false);
	if (get_settled(n, id, &home, e) < 0)
		return -1;
	moving = home.state == HOME_HERE ? is_moving(n, id, e) : 0;
	if (moving)
		return moving < 0 ? -1 : err_set(e, ERR_BUSY, "the account is moving");
	if (home.state != HOME_REMOVING) {
		if (take_epoch(n, &home, e) < 0)
			return -1;
		home.state = HOME_REMOVING;
		if (homes_set(n->homes, &home, 1, NULL, e) < 0)
			return -1;
	}
	return finish_removal(n, &home, e);
}

/* --- after a start --- */

static int
collect(void *arg, const struct home *home, struct err *e)
{
	char account[ACCOUNT_TEXT_SIZE];

	(void)e;
	if (home->state == HOME_STATES) {
		account_text(&home->account, account);
		log_error("account.damaged", NULL,
		    "account=%s the record of its home can't be read: it is refused", account);
	}
	if (home->state == HOME_CREATING || home->state == HOME_REMOVING)
		buf_add(arg, home, sizeof(*home));
	return 0;
}

/* One account that was being made, of which the directory knows (THERE) or not. */
static int
settle_creating(struct node *n, struct home *home, bool there, struct err *e)
{
	if (!there)
		return undo(n, home, 1, e);
	home->state = HOME_HERE;
	return homes_set(n->homes, home, 1, NULL, e);
}

/* What can't be finished or undone now must not keep the others waiting: it is counted in *LEFT, and
 * *WHY says why of the first. */
static int
recover_batch(
    struct node *n, struct home *homes, size_t count, size_t *left, struct err *why, struct err *e)
{
	_cleanup_(freep) bool *there = calloc(count, sizeof(*there));

	if (!there)
		return err_set(e, ERR_MEMORY, "no memory for %zu accounts", count);
	if (ask_directory(n, homes, count, there, e) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		struct err *one = *left ? NULL : why;
		int r = homes[i].state == HOME_CREATING
		    ? settle_creating(n, &homes[i], there[i], one)
		    : finish_removal(n, &homes[i], one);

		*left += r < 0;
	}
	return 0;
}

int
accounts_recover(struct node *n, struct err *e)
{
	_cleanup_(unlock) pthread_rwlock_t *lock = NULL;
	_cleanup_buf_ struct buf found = BUF_INIT(0);
	struct err why = { 0 };
	struct home *homes;
	size_t count, left = 0;

	if (!n->engine)
		return 0;
	lock = lock_making(true);
	if (homes_scan_after(n->homes, NULL, collect, &found, e) < 0 || buf_check(&found, e) < 0)
		return -1;
	homes = (struct home *)found.data;
	count = found.len / sizeof(*homes);
	for (size_t done = 0; done < count;) {
		size_t some = count - done < DIRECTORY_BATCH_MAX ? count - done
		                                                 : DIRECTORY_BATCH_MAX;

		if (recover_batch(n, homes + done, some, &left, &why, e) < 0)
			return -1;
		done += some;
	}
	return left ? err_set(e, ERR_BUSY, "%zu accounts are left as they are: %s", left, why.text)
	            : 0;
}
