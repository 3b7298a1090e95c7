/* pool.c - see pool.h.
 *
 * An entry (struct vault) is in the table as long as its vault is open or something refers to it.
 * Whoever sets is_taken owns everything of the entry that the pool's lock does not guard; opening
 * and closing happen in that state, outside the lock.
 */
#include "vault/pool.h"
#include "vault/vault_internal.h"

#include "base/host.h"
#include "sealed/vfs.h"
#include "vault/schema.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROOM_WAIT_MS       10000
/* Past so many times its bound, a vault is checkpointed by whoever gives it back. */
#define CHECKPOINT_OVERDUE 4

static pthread_once_t sqlite_once = PTHREAD_ONCE_INIT;
static struct err sqlite_error;

/* Page caches are not preallocated and there is no lookaside: both would cost every open vault
 * more than its data. */
static void
configure_sqlite(void)
{
	sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
	sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0);
	if (sealed_vfs_register(&sqlite_error) < 0 && sqlite_error.kind == ERR_NONE)
		sqlite_error.kind = ERR_INTERNAL;
}

static int
make_templates(struct pool *p, struct err *e)
{
	for (enum service s = 0; s < SERVICES; s++)
		if (schema_sql(s) && schema_template(s, &p->templates[s], &p->tables[s], e) < 0)
			return -1;
	return 0;
}

struct pool *
pool_open(const struct pool_config *c, struct err *e)
{
	_cleanup_(pool_closep) struct pool *p = calloc(1, sizeof(*p));

	if (!p) {
		err_set(e, ERR_MEMORY, "pool: no memory");
		return NULL;
	}
	p->c = *c;
	if (!p->c.max_vaults)
		p->c.max_vaults = 1;
	pthread_mutex_init(&p->lock, NULL);
	host_cond_init(&p->room);
	host_cond_init(&p->keeper_wake);
	TAILQ_INIT(&p->idle);
	TAILQ_INIT(&p->closed);
	STAILQ_INIT(&p->chores);
	STAILQ_INIT(&p->removals);
	STAILQ_INIT(&p->sweeps);
	pthread_once(&sqlite_once, configure_sqlite);
	if (sqlite_error.kind != ERR_NONE) {
		err_set(e, sqlite_error.kind, "%s", sqlite_error.text);
		return NULL;
	}
	if (make_templates(p, e) < 0 || keeper_start(p, e) < 0)
		return NULL;
	return take(&p);
}

static void
entry_free(struct pool *p, struct vault *v)
{
	HASH_DEL(p->vaults, v);
	content_key_unref(v->key);
	pthread_cond_destroy(&v->given);
	free(v);
}

void
pool_close(struct pool *p)
{
	struct vault *v, *next;

	if (!p)
		return;
	keeper_stop(p);
	HASH_ITER (hh, p->vaults, v, next) {
		assert(!v->is_taken);
		vault_disconnect(v);
		entry_free(p, v);
	}
	for (enum service s = 0; s < SERVICES; s++)
		free(p->templates[s].pages);
	pthread_cond_destroy(&p->keeper_wake);
	pthread_cond_destroy(&p->room);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

int
pool_create(struct pool *p, const struct vault_id *id, uint64_t epoch, struct err *e)
{
	if (id->service >= SERVICES || !p->templates[id->service].pages)
		return err_set(e, ERR_BAD, "service %u has no schema", id->service);
	return sealed_create(p->c.engine, p->c.keys, id, epoch, &p->templates[id->service], e);
}

/* --- entries; the lock is held --- */

struct vault *
pool_entry(struct pool *p, const struct vault_id *id, bool may_add)
{
	struct vault *v;

	HASH_FIND(hh, p->vaults, id, sizeof(*id), v);
	if (v || !may_add)
		return v;
	v = calloc(1, sizeof(*v));
	if (!v)
		return NULL;
	v->id = *id;
	v->pool = p;
	v->dropped = BUF_INIT(0);
	host_cond_init(&v->given);
	HASH_ADD(hh, p->vaults, id, sizeof(v->id), v);
	if (!v->hh.tbl) {
		pthread_cond_destroy(&v->given);
		free(v);
		return NULL;
	}
	v->list = LIST_CLOSED;
	TAILQ_INSERT_TAIL(&p->closed, v, link);
	return v;
}

static void
unlist(struct pool *p, struct vault *v)
{
	if (v->list == LIST_IDLE)
		TAILQ_REMOVE(&p->idle, v, link);
	else if (v->list == LIST_CLOSED)
		TAILQ_REMOVE(&p->closed, v, link);
	v->list = LIST_NONE;
}

/* Whether an entry that is not open has to be remembered. */
static bool
is_needed(const struct vault *v)
{
	return v->waiting || v->watching || v->holds || v->pins ||
	    (v->key && !content_key_is_last(v->key));
}

static void
mark_taken(struct pool *p, struct vault *v)
{
	unlist(p, v);
	v->is_taken = true;
}

void
pool_grab(struct pool *p, struct vault *v)
{
	v->waiting++;
	while (v->is_taken)
		pthread_cond_wait(&v->given, &p->lock);
	v->waiting--;
	mark_taken(p, v);
}

static void
count_open(struct pool *p, struct vault *v, bool is_open)
{
	if (v->is_counted != is_open)
		p->open += is_open ? 1 : (size_t)-1;
	v->is_counted = is_open;
	if (!is_open)
		v->commit_ms = 0; /* the entry may outlive the open vault while it is pinned */
}

static void
count_bytes(struct pool *p, struct vault *v, size_t bytes)
{
	p->bytes += bytes - v->bytes;
	v->bytes = bytes;
}

void
pool_release(struct pool *p, struct vault *v)
{
	bool someone_watches = v->watching || p->room_waiting;

	v->is_taken = false;
	v->gives++;
	if (v->db) {
		v->list = LIST_IDLE;
		TAILQ_INSERT_TAIL(&p->idle, v, link);
	} else {
		count_open(p, v, false);
		count_bytes(p, v, 0);
		v->list = LIST_CLOSED;
		TAILQ_INSERT_TAIL(&p->closed, v, link);
	}
	if (v->waiting)
		pthread_cond_signal(&v->given);
	if (someone_watches)
		pthread_cond_broadcast(&p->room);
	if (!v->db && !is_needed(v)) {
		unlist(p, v);
		entry_free(p, v);
	}
}

/* Close a vault that this thread has taken; it stays taken. */
static void
close_taken(struct pool *p, struct vault *v)
{
	pthread_mutex_unlock(&p->lock);
	vault_disconnect(v);
	pthread_mutex_lock(&p->lock);
}

/* Entries whose last reader has gone meanwhile. */
static void
forget_closed(struct pool *p)
{
	struct vault *v = TAILQ_FIRST(&p->closed), *next;

	for (; v; v = next) {
		next = TAILQ_NEXT(v, link);
		if (is_needed(v))
			continue;
		unlist(p, v);
		entry_free(p, v);
	}
}

/* Wait for MAX_VAULTS to allow one more, closing idle ones. */
static int
make_room(struct pool *p, struct err *e)
{
	uint64_t until_ms = host_mono_ms() + ROOM_WAIT_MS;
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ROOM_WAIT_MS / 1000;
	for (;;) {
		bool is_full = p->open >= p->c.max_vaults;
		bool is_big = p->c.max_bytes && p->bytes >= p->c.max_bytes;
		struct vault *v = TAILQ_FIRST(&p->idle);

		if (!is_full && (!is_big || !v))
			return 0;
		if (v) {
			mark_taken(p, v);
			close_taken(p, v);
			pool_release(p, v);
			continue;
		}
		if (host_mono_ms() >= until_ms)
			return err_set(e, ERR_BUSY, "all %zu vaults are in use", p->open);
		p->room_waiting++;
		pthread_cond_timedwait(&p->room, &p->lock, &until);
		p->room_waiting--;
	}
}

/* V is taken by this thread: open it. */
static int
open_taken(struct pool *p, struct vault *v, struct err *e)
{
	int r;

	if (v->db) {
		close_taken(p, v);
		count_open(p, v, false);
		count_bytes(p, v, 0);
	}
	forget_closed(p);
	if (make_room(p, e) < 0)
		return -1;
	count_open(p, v, true);
	pthread_mutex_unlock(&p->lock);
	r = vault_connect(v, e);
	pthread_mutex_lock(&p->lock);
	if (r == 0)
		keeper_add_sweep(p, v);
	return r;
}

/* A flush that failed may have taken back what this vault shows. */
static bool
is_current(const struct pool *p, const struct vault *v)
{
	return v->db && !v->must_close && v->failures == flusher_failures(p->c.flusher);
}

static struct vault *
take_locked(struct pool *p, const struct vault_id *id, bool may_block, struct err *e)
{
	struct vault *v = pool_entry(p, id, may_block);

	if (!v && may_block) {
		err_set(e, ERR_MEMORY, "pool: no memory");
		return NULL;
	}
	if (!may_block && (!v || v->is_taken || !is_current(p, v))) {
		err_set(e, ERR_BUSY, "%s: in use or not open", service_name(id->service));
		return NULL;
	}
	if (v->is_taken)
		pool_grab(p, v);
	else
		mark_taken(p, v);
	if (!is_current(p, v) && open_taken(p, v, e) < 0) {
		pool_release(p, v);
		return NULL;
	}
	v->has_spare = !p->c.max_bytes || p->bytes < p->c.max_bytes / 2;
	return v;
}

struct vault *
pool_take(struct pool *p, const struct vault_id *id, bool may_block, struct err *e)
{
	struct vault *v;

	pthread_mutex_lock(&p->lock);
	v = take_locked(p, id, may_block, e);
	pthread_mutex_unlock(&p->lock);
	return v;
}

static bool
is_overdue(struct vault *v)
{
	struct sealed_info i;

	sealed_get_info(v->sealed, &i);
	return i.redo_pages > CHECKPOINT_OVERDUE * SEALED_CHECKPOINT_PAGES ||
	    i.redo_bytes > CHECKPOINT_OVERDUE * SEALED_CHECKPOINT_BYTES;
}

/* The keeper is late: this writer pays, which also slows it down. */
static void
checkpoint_overdue(struct pool *p, struct vault *v)
{
	bool is_held;

	pthread_mutex_lock(&p->lock);
	is_held = v->holds;
	pthread_mutex_unlock(&p->lock);
	if (!is_held && is_overdue(v) && sealed_checkpoint(v->sealed, NULL) < 0)
		v->must_close = true;
}

void
pool_give(struct vault *v)
{
	struct pool *p;
	bool wants_checkpoint = false;
	size_t bytes = 0;

	if (!v)
		return;
	p = v->pool;
	if (vault_is_untouched(v)) {
		pthread_mutex_lock(&p->lock);
		pool_release(p, v);
		pthread_mutex_unlock(&p->lock);
		return;
	}
	vault_settle(v);
	if (!v->must_close && sealed_wants_checkpoint(v->sealed)) {
		checkpoint_overdue(p, v);
		wants_checkpoint = !v->must_close && sealed_wants_checkpoint(v->sealed);
	}
	if (v->must_close)
		vault_disconnect(v);
	else
		bytes = vault_memory(v);

	pthread_mutex_lock(&p->lock);
	count_bytes(p, v, bytes);
	if (v->new_commit_ms)
		v->commit_ms = v->new_commit_ms;
	v->new_commit_ms = 0;
	if (wants_checkpoint && !v->holds)
		keeper_add_chore(p, v);
	pool_release(p, v);
	pthread_mutex_unlock(&p->lock);
}

static bool
has_in_memory(struct pool *p, struct vault *v, const uint32_t *numbers, size_t n)
{
	bool has_all = true;

	pthread_mutex_lock(&p->lock);
	has_all = !v->holds;
	pthread_mutex_unlock(&p->lock);
	for (size_t i = 0; i < n; i++)
		has_all = has_all && sealed_has_in_memory(v->sealed, numbers[i]);
	return has_all && n;
}

int
pool_rewrite_pages(
    struct pool *p, const struct vault_id *id, const uint32_t *numbers, size_t n, struct err *e)
{
	/* Not opened for this: what is on the disk is what is damaged. */
	_cleanup_(pool_givep) struct vault *v = pool_take(p, id, false, NULL);

	if (!v || !has_in_memory(p, v, numbers, n))
		return 0;
	if (sealed_checkpoint(v->sealed, e) < 0) {
		v->must_close = true;
		return -1;
	}
	return flusher_wait(p->c.flusher, flusher_ticket(p->c.flusher), e) < 0 ? -1 : 1;
}

void
pool_hold(struct pool *p, const struct vault_id *id)
{
	struct vault *v;
	uint64_t gives;

	pthread_mutex_lock(&p->lock);
	v = pool_entry(p, id, true);
	if (v) {
		v->holds++;
		v->watching++;
		/* Whoever has it now may be in a checkpoint; the next one sees the hold. */
		gives = v->gives;
		while (v->is_taken && v->gives == gives)
			pthread_cond_wait(&p->room, &p->lock);
		v->watching--;
	}
	pthread_mutex_unlock(&p->lock);
}

void
pool_unhold(struct pool *p, const struct vault_id *id)
{
	struct vault *v;

	pthread_mutex_lock(&p->lock);
	v = pool_entry(p, id, false);
	if (v && v->holds) {
		v->holds--;
		if (v->list == LIST_CLOSED && !is_needed(v)) {
			unlist(p, v);
			entry_free(p, v);
		} else {
			keeper_add_chore(p, v);
		}
	}
	pthread_mutex_unlock(&p->lock);
}

void
pool_evict(struct pool *p, const struct vault_id *id)
{
	struct vault *v;

	pthread_mutex_lock(&p->lock);
	v = pool_entry(p, id, false);
	if (v) {
		pool_grab(p, v);
		close_taken(p, v);
		keeper_forget(p, v);
		content_key_unref(v->key);
		v->key = NULL;
		v->commit_ms = 0;
		pool_release(p, v);
	}
	pthread_mutex_unlock(&p->lock);
}

uint64_t
pool_idle_ms(struct pool *p, const struct vault_id *id)
{
	uint64_t idle_ms = UINT64_MAX;
	struct vault *v;

	pthread_mutex_lock(&p->lock);
	v = pool_entry(p, id, false);
	if (v && v->is_counted && v->commit_ms)
		idle_ms = host_mono_ms() - v->commit_ms;
	pthread_mutex_unlock(&p->lock);
	return idle_ms;
}

size_t
pool_count(struct pool *p)
{
	size_t n;

	pthread_mutex_lock(&p->lock);
	n = p->open;
	pthread_mutex_unlock(&p->lock);
	return n;
}

int
pool_rewrap(struct pool *p, const struct vault_id *id, bool *changed, struct err *e)
{
	if (sealed_rewrap(p->c.engine, p->c.keys, id, changed, e) < 0) {
		char account[ACCOUNT_TEXT_SIZE];

		account_text(&id->account, account);
		return err_add(e, "account %s, %s", account, service_name(id->service));
	}
	return 0;
}
