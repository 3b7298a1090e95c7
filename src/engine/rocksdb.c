/* rocksdb.c - the embedded engine. A key is the vault's id (17 bytes), then the record's key.
 *
 * Durability. Every write goes into RocksDB's write-ahead log with one write(2), so it survives the
 * process. flush is SyncWAL: it fdatasyncs every log that has unsynced bytes, without stopping
 * writers. Reopening replays the logs and writes what they held into a synced table, so that what
 * is read after a reopen is durable.
 *
 * Guards. RocksDB has no compare-and-swap, so applies of one vault take turns at one of STRIPES
 * mutexes.
 *
 * Space. Puts are refused with ERR_FULL while there is little space left: deleting needs some to
 * make more, and may use it (ENGINE_RESERVE) down to one write buffer, and what a file keeps besides
 * (rocksdb_ballast.c). It also keeps RocksDB from meeting a full disk: built with assertions, as Debian's is,
 * it may abort the process when a log that could not be written is synced for the first time.
 */
#include "base/fs.h"
#include "base/host.h"
#include "base/log.h"
#include "engine/rocksdb_private.h"

#include <stdatomic.h>

#define DROP_ONE_BY_ONE_MAX 2000 /* more records than this: one range delete */

/* Keys */

struct full_key
rocks_key(const struct vault_id *id, struct span key)
{
	struct full_key k = { .len = VAULT_ID_BYTES + key.len };

	assert(key.len <= ENGINE_KEY_MAX);
	memcpy(k.bytes, id, VAULT_ID_BYTES);
	if (key.len)
		memcpy(k.bytes + VAULT_ID_BYTES, key.data, key.len);
	return k;
}

struct full_key
rocks_end_key(const struct vault_id *id)
{
	struct full_key k = { .len = FULL_KEY_MAX + 1 };

	memset(k.bytes, 0xff, sizeof(k.bytes));
	memcpy(k.bytes, id, VAULT_ID_BYTES);
	return k;
}

static pthread_mutex_t *
stripe_of(struct rocks *r, const struct vault_id *id)
{
	/* The id is random: any of its bytes will do. */
	return &r->stripes[(be32_get(id->account.b) ^ id->service) % STRIPES];
}

/* Reading */

static int
get_locked(struct rocks *r, const struct full_key *k, rocksdb_pinnableslice_t **out, struct err *e)
{
	char *text = NULL;

	*out = rocksdb_get_pinned(r->db, r->reading, k->bytes, k->len, &text);
	return text ? rocks_err(e, text, "read") : 0;
}

static int
rocks_get(
    struct engine *g, const struct vault_id *id, struct span key, struct buf *value, struct err *e)
{
	struct rocks *r = rocks_of(g);
	struct full_key k = rocks_key(id, key);
	rocksdb_pinnableslice_t *slice = NULL;
	int rc = -1;

	if (rocks_enter(r, false, e) < 0)
		return -1;
	if (get_locked(r, &k, &slice, e) == 0)
		rc = slice ? 1 : 0;
	if (slice) {
		size_t n;
		const char *p = rocksdb_pinnableslice_value(slice, &n);

		buf_clear(value);
		buf_add(value, p, n);
		if (buf_check(value, e) < 0)
			rc = -1;
		rocksdb_pinnableslice_destroy(slice);
	}
	rocks_leave(r);
	return rc;
}

struct walk {
	rocksdb_readoptions_t *options;
	rocksdb_iterator_t *at;
	struct full_key from, end; /* the iterator keeps pointers to these */
};

/* An iterator over FROM <= key < END, not yet at any; it sees the database as it is now. */
static void
walk_open(struct rocks *r, struct walk *w)
{
	w->options = rocksdb_readoptions_create();
	rocksdb_readoptions_set_fill_cache(w->options, 0); /* keep what lookups put there */
	if (w->end.len)
		rocksdb_readoptions_set_iterate_upper_bound(w->options, w->end.bytes, w->end.len);
	w->at = rocksdb_create_iterator(r->db, w->options);
}

static void
walk_end(struct walk *w)
{
	rocksdb_iter_destroy(w->at);
	rocksdb_readoptions_destroy(w->options);
}

/* Also tells whether the iterator ended for a reason other than the last record. */
static int
walk_close(struct walk *w, int rc, struct err *e)
{
	char *text = NULL;

	rocksdb_iter_get_error(w->at, &text);
	walk_end(w);
	if (text && rc < 0)
		rocksdb_free(text);
	else if (text)
		return rocks_err(e, text, "read");
	return rc < 0 ? -1 : 0;
}

static struct span
walk_key(const struct walk *w)
{
	struct span s;

	s.data = (const uint8_t *)rocksdb_iter_key(w->at, &s.len);
	return s;
}

static int
rocks_scan(struct engine *g, const struct vault_id *id, struct span from, struct span to,
    engine_scan_fn *fn, void *arg, struct err *e)
{
	struct rocks *r = rocks_of(g);
	struct walk w = { .from = rocks_key(id, from) };
	int rc = 0;

	w.end = to.len ? rocks_key(id, to) : rocks_end_key(id);
	if (rocks_enter(r, false, e) < 0)
		return -1;
	rocks_scan_depth++;
	walk_open(r, &w);
	rocksdb_iter_seek(w.at, w.from.bytes, w.from.len);
	for (; rc == 0 && rocksdb_iter_valid(w.at); rocksdb_iter_next(w.at)) {
		struct span key = walk_key(&w), value;

		value.data = (const uint8_t *)rocksdb_iter_value(w.at, &value.len);
		key.data += VAULT_ID_BYTES;
		key.len -= VAULT_ID_BYTES;
		rc = fn(arg, key, value, e);
		if (rc)
			break;
	}
	rc = walk_close(&w, rc, e);
	rocks_scan_depth--;
	rocks_leave(r);
	return rc;
}

static int
rocks_list(struct engine *g, engine_list_fn *fn, void *arg, struct err *e)
{
	struct rocks *r = rocks_of(g);
	struct walk w = { 0 };
	int rc = 0;

	if (rocks_enter(r, false, e) < 0)
		return -1;
	rocks_scan_depth++;
	walk_open(r, &w);
	rocksdb_iter_seek_to_first(w.at);
	while (rc == 0 && rocksdb_iter_valid(w.at)) {
		struct span key = walk_key(&w);
		struct vault_id id;

		assert(key.len > VAULT_ID_BYTES);
		memcpy(&id, key.data, sizeof(id));
		rc = fn(arg, &id, e);
		if (rc)
			break;
		w.from = rocks_end_key(&id);
		rocksdb_iter_seek(w.at, w.from.bytes, w.from.len);
	}
	rc = walk_close(&w, rc, e);
	rocks_scan_depth--;
	rocks_leave(r);
	return rc;
}

/* Up to the end, or to what can't be read: w->from is the last record then. */
static int
each_up_to_gap(struct rocks *r, struct walk *w, engine_each_fn *fn, void *arg, struct err *e)
{
	for (; rocksdb_iter_valid(w->at); rocksdb_iter_next(w->at)) {
		struct span key = walk_key(w), value;
		struct vault_id id;
		int rc;

		if (atomic_load(&r->is_broken) || atomic_load(&r->reopening))
			return err_set(e, ERR_BUSY, "the store has to be reopened; try again");
		if (key.len <= VAULT_ID_BYTES)
			continue; /* none of ours: see switch_log */
		value.data = (const uint8_t *)rocksdb_iter_value(w->at, &value.len);
		memcpy(&id, key.data, sizeof(id));
		key.data += VAULT_ID_BYTES;
		key.len -= VAULT_ID_BYTES;
		rc = fn(arg, &id, key, value, e);
		if (rc)
			return rc;
		w->from = rocks_key(&id, key);
	}
	return 0;
}

/* 1: there is more behind a gap, which GAP was told of; 0: that was the end; -1. */
static int
pass_gap(struct walk *w, engine_gap_fn *gap, void *arg, struct err *e)
{
	struct vault_id from = { 0 }, to;
	struct err why = { 0 };
	char *text = NULL;
	bool is_gap, is_end;
	int rc;

	rocksdb_iter_get_error(w->at, &text);
	if (!text)
		return 0;
	is_gap = gap && rocks_is_unreadable(text);
	rocks_err(&why, text, "read");
	if (!is_gap)
		return err_set(e, why.kind, "%s", why.text);
	rc = rocks_pass_gap(w->at, &w->from, &to, &is_end, &why);
	if (rc == 0)
		return 1;
	if (rc < 0 || (is_end && !w->from.len))
		return err_set(e, why.kind, "%s", why.text);
	if (w->from.len)
		memcpy(&from, w->from.bytes, sizeof(from));
	return gap(arg, &from, &to, &why, e) < 0 ? -1 : !is_end;
}

static int
rocks_each(struct engine *g, engine_each_fn *fn, engine_gap_fn *gap, void *arg, struct err *e)
{
	struct rocks *r = rocks_of(g);
	struct walk w = { 0 };
	int rc;

	if (rocks_enter(r, false, e) < 0)
		return -1;
	rocks_scan_depth++;
	walk_open(r, &w);
	rocksdb_iter_seek_to_first(w.at);
	do {
		rc = each_up_to_gap(r, &w, fn, arg, e);
		if (rc)
			break;
		rc = pass_gap(&w, gap, arg, e);
	} while (rc > 0);
	walk_end(&w);
	rocks_scan_depth--;
	rocks_leave(r);
	return rc < 0 ? -1 : 0;
}

/* Changing */

/* 0 if GUARD (or none) holds. With the vault's stripe held. */
static int
check_guard(
    struct rocks *r, const struct vault_id *id, const struct engine_guard *guard, struct err *e)
{
	rocksdb_pinnableslice_t *slice = NULL;
	struct full_key k;
	struct span value;
	bool holds;

	if (!guard)
		return 0;
	k = rocks_key(id, guard->key);
	if (get_locked(r, &k, &slice, e) < 0)
		return -1;
	if (slice)
		value.data = (const uint8_t *)rocksdb_pinnableslice_value(slice, &value.len);
	holds = engine_guard_holds(guard, slice ? &value : NULL);
	if (slice)
		rocksdb_pinnableslice_destroy(slice);
	return holds ? 0 : engine_stale(e);
}

static rocksdb_writebatch_t *
batch_of(const struct vault_id *id, const struct engine_write *w, size_t n)
{
	rocksdb_writebatch_t *batch = rocksdb_writebatch_create();

	for (size_t i = 0; i < n; i++) {
		struct full_key k = rocks_key(id, w[i].key);

		if (w[i].op == ENGINE_PUT)
			rocksdb_writebatch_put(
			    batch, k.bytes, k.len, (const char *)w[i].value.data, w[i].value.len);
		else
			rocksdb_writebatch_delete(batch, k.bytes, k.len);
	}
	return batch;
}

int
rocks_write(struct rocks *r, rocksdb_writebatch_t *batch, enum engine_when when, struct err *e)
{
	char *text = NULL;

	if (rocksdb_writebatch_count(batch) > 0)
		rocksdb_write(r->db, when & ENGINE_NOW ? r->now : r->later, batch, &text);
	rocksdb_writebatch_destroy(batch);
	return text ? rocks_broke(r, e, text, "write") : 0;
}

static bool
has_put(const struct engine_write *w, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (w[i].op == ENGINE_PUT)
			return true;
	return false;
}

int
rocks_check_space(struct rocks *r, enum engine_when when, struct err *e)
{
	if (!(when & ENGINE_RESERVE))
		rocks_ballast_take(r);
	if (when & ENGINE_RESERVE ? space_free(&r->space) >= r->buffer_bytes
	                          : space_room(&r->space) > 0)
		return 0;
	return err_set(e, ERR_FULL, "no space left but for deleting");
}

static int
apply_once(struct rocks *r, const struct vault_id *id, const struct engine_write *w, size_t n,
    const struct engine_guard *guard, enum engine_when when, struct err *e)
{
	rocksdb_writebatch_t *batch;
	int rc;

	if (rocks_enter(r, true, e) < 0)
		return -1;
	batch = batch_of(id, w, n);
	pthread_mutex_lock(stripe_of(r, id));
	rc = check_guard(r, id, guard, e);
	if (rc == 0)
		rc = rocks_write(r, batch, when, e);
	else
		rocksdb_writebatch_destroy(batch);
	pthread_mutex_unlock(stripe_of(r, id));
	rocks_leave(r);
	return rc;
}

/* A change that failed so may be tried again: the damage is a compaction's, so RocksDB refused this before
 * it wrote any of it, and won't when opened anew. Else a node that starts would fail there each time. */
static bool
is_refused_for_damage(const struct err *why)
{
	return why->kind == ERR_IO && rocks_says_damage(why->text);
}

static int
rocks_apply(struct engine *g, const struct vault_id *id, const struct engine_write *w, size_t n,
    const struct engine_guard *guard, enum engine_when when, struct err *e)
{
	struct rocks *r = rocks_of(g);
	struct err why = { 0 };

	if (engine_check_writes(w, n, e) < 0)
		return -1;
	if (when & ENGINE_RESERVE || !has_put(w, n))
		rocks_ballast_give(r);
	if (has_put(w, n) && rocks_check_space(r, when, e) < 0)
		return -1;
	if (apply_once(r, id, w, n, guard, when, &why) == 0)
		return 0;
	if (is_refused_for_damage(&why))
		return apply_once(r, id, w, n, guard, when, e);
	return err_set(e, why.kind, "%s", why.text);
}

/* Deletes of every record of the vault, or one of the whole range if there are many, or can't be read: a
 * range delete costs every later read of its neighbours a little. With the vault's stripe held. */
static int
batch_drop(struct rocks *r, const struct vault_id *id, rocksdb_writebatch_t *batch, struct err *e)
{
	struct walk w = { .from = rocks_key(id, (struct span){ 0 }), .end = rocks_end_key(id) };
	struct err why = { 0 };
	unsigned n = 0;
	bool is_long;

	walk_open(r, &w);
	rocksdb_iter_seek(w.at, w.from.bytes, w.from.len);
	for (; n < DROP_ONE_BY_ONE_MAX && rocksdb_iter_valid(w.at); n++) {
		struct span key = walk_key(&w);

		rocksdb_writebatch_delete(batch, (const char *)key.data, key.len);
		rocksdb_iter_next(w.at);
	}
	is_long = rocksdb_iter_valid(w.at);
	if (walk_close(&w, 0, &why) < 0 && !rocks_is_unreadable(why.text))
		return err_set(e, why.kind, "%s", why.text);
	if (is_long || why.kind) {
		rocksdb_writebatch_clear(batch);
		rocksdb_writebatch_delete_range(
		    batch, w.from.bytes, w.from.len, w.end.bytes, w.end.len);
	}
	return 0;
}

static int
drop_once(struct rocks *r, const struct vault_id *id, struct err *e)
{
	rocksdb_writebatch_t *batch;
	int rc;

	if (rocks_enter(r, true, e) < 0)
		return -1;
	batch = rocksdb_writebatch_create();
	pthread_mutex_lock(stripe_of(r, id));
	rc = batch_drop(r, id, batch, e);
	if (rc == 0)
		rc = rocks_write(r, batch, ENGINE_LATER, e);
	else
		rocksdb_writebatch_destroy(batch);
	pthread_mutex_unlock(stripe_of(r, id));
	rocks_leave(r);
	return rc;
}

static int
rocks_drop(struct engine *g, const struct vault_id *id, struct err *e)
{
	struct rocks *r = rocks_of(g);
	struct err why = { 0 };

	rocks_ballast_give(r);
	if (drop_once(r, id, &why) == 0)
		return 0;
	if (is_refused_for_damage(&why))
		return drop_once(r, id, e);
	return err_set(e, why.kind, "%s", why.text);
}

static int
rocks_flush(struct engine *g, struct err *e)
{
	struct rocks *r = rocks_of(g);
	char *text = NULL;
	uint64_t before;
	struct err why;
	int rc = 0;

	if (rocks_enter(r, true, &why) < 0) {
		/* What is read meanwhile has to wait for this, too. */
		if (why.kind == ERR_FULL)
			return rocks_sync_logs(r, e);
		return err_set(e, why.kind, "%s", why.text);
	}
	before = rocksdb_get_latest_sequence_number(r->db);
	rocksdb_flush_wal(r->db, 1, &text);
	if (text) {
		rc = rocks_broke(r, e, text, "flush");
	} else {
		rocks_raise(&r->durable, before);
		rocks_mark_put(r, before);
	}
	rocks_leave(r);
	return rc;
}

static uint64_t
rocks_room(struct engine *g)
{
	return space_room(&rocks_of(g)->space);
}

static bool
rocks_has_lost(struct engine *g)
{
	return rocks_of(g)->has_lost;
}

static void
rocks_close(struct engine *g)
{
	struct rocks *r = rocks_of(g);

	rocks_shut(r);
	if (r->mark_fd >= 0)
		close(r->mark_fd);
	rocksdb_writeoptions_destroy(r->later);
	rocksdb_writeoptions_destroy(r->now);
	rocksdb_readoptions_destroy(r->reading);
	rocksdb_options_destroy(r->options);
	for (size_t i = 0; i < STRIPES; i++)
		pthread_mutex_destroy(&r->stripes[i]);
	pthread_rwlock_destroy(&r->gate);
	pthread_mutex_destroy(&r->compacting);
	pthread_mutex_destroy(&r->ballast_lock);
	pthread_mutex_destroy(&r->tail_lock);
	free(r->path);
	free(r);
}

static const struct engine_ops rocks_ops = {
	.scheme = "rocksdb",
	.get = rocks_get,
	.apply = rocks_apply,
	.scan = rocks_scan,
	.drop = rocks_drop,
	.list = rocks_list,
	.each = rocks_each,
	.flush = rocks_flush,
	.compact = rocks_compact,
	.size = rocks_size,
	.room = rocks_room,
	.has_lost = rocks_has_lost,
	.close = rocks_close,
	.tail = &rocks_tail_ops,
};

static struct engine *
open_engine(const char *path, uint64_t block_cache_bytes, uint64_t write_buffer_bytes,
    const uint64_t *keep_bytes, struct err *e)
{
	struct rocks *r;

	if (fs_mkdir(path, 0700, e) < 0)
		return NULL;
	r = calloc(1, sizeof(*r));
	if (r)
		r->path = strdup(path);
	if (!r || !r->path) {
		free(r);
		err_set(e, ERR_MEMORY, "no memory for an engine");
		return NULL;
	}
	r->engine.ops = &rocks_ops;
	r->mark_fd = -1;
	r->buffer_bytes = write_buffer_bytes;
	space_init(&r->space, r->path, "records", ENGINE_KEPT_BUFFERS * write_buffer_bytes);
	r->options = rocks_options(block_cache_bytes, write_buffer_bytes, keep_bytes != NULL);
	r->reading = rocksdb_readoptions_create();
	r->later = rocksdb_writeoptions_create();
	r->now = rocksdb_writeoptions_create();
	rocksdb_writeoptions_set_sync(r->now, 1);
	pthread_rwlock_init(&r->gate, NULL);
	for (size_t i = 0; i < STRIPES; i++)
		pthread_mutex_init(&r->stripes[i], NULL);
	pthread_mutex_init(&r->compacting, NULL);
	pthread_mutex_init(&r->ballast_lock, NULL);
	pthread_mutex_init(&r->tail_lock, NULL);
	r->is_tailed = keep_bytes != NULL;
	r->keep_bytes = keep_bytes ? *keep_bytes : 0;
	rocks_ballast_take(r);
	if (rocks_open(r, e) < 0) {
		rocks_close(&r->engine);
		return NULL;
	}
	return &r->engine;
}

struct engine *
engine_rocksdb(
    const char *path, uint64_t block_cache_bytes, uint64_t write_buffer_bytes, struct err *e)
{
	return open_engine(path, block_cache_bytes, write_buffer_bytes, NULL, e);
}

struct engine *
engine_rocksdb_tailed(const char *path, uint64_t block_cache_bytes, uint64_t write_buffer_bytes,
    uint64_t keep_bytes, struct err *e)
{
	return open_engine(path, block_cache_bytes, write_buffer_bytes, &keep_bytes, e);
}
