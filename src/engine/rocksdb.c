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
 * Failures. After a failed write or sync RocksDB's memory and disk may differ, so the next call
 * closes it and opens it again (with the gate held alone). When the disk is too full for that it
 * is opened for reading only, and a write tries again from time to time.
 *
 * Space. Puts are refused with ERR_FULL while there is little space left: deleting needs some to
 * make more. It also keeps RocksDB from meeting a full disk: built with assertions, as Debian's is,
 * it may abort the process when a log that could not be written is synced for the first time.
 *
 * Compaction. To get rid of deleted values every table and log that exists must be rewritten or
 * emptied, and be gone: compact looks at the folder itself, since the C interface keeps errors of
 * a compaction to itself. Scans that run keep old files, so it waits for those to end. Vault ids
 * and record keys, which are random and numbers, may stay in the manifest for a while.
 */
#include "base/fs.h"
#include "base/host.h"
#include "base/log.h"
#include "engine/engine_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#define STRIPES             1024
#define FULL_KEY_MAX        (VAULT_ID_BYTES + ENGINE_KEY_MAX)
#define DROP_ONE_BY_ONE_MAX 2000 /* more records than this: one range delete */
#define OPEN_FILES_MAX      512
#define REOPEN_EVERY_MS     1000
#define LOOK_EVERY_MS       50 /* for space */
#define RESERVE_BUFFERS     4  /* as much as so many write buffers is kept free */

struct rocks {
	struct engine engine;
	char *path;
	rocksdb_options_t *options;
	rocksdb_readoptions_t *reading;
	rocksdb_writeoptions_t *later, *now;

	/* Held for reading by every call, for writing to close and open the database. */
	pthread_rwlock_t gate;
	rocksdb_t *db; /* NULL while a reopen has failed */
	bool is_readonly;
	uint64_t reopened_ms;
	_Atomic bool is_broken;

	uint64_t reserve_bytes;
	_Atomic uint64_t looked_ms;
	_Atomic bool is_low;

	pthread_mutex_t stripes[STRIPES];

	pthread_mutex_t compacting; /* one at a time */
};

/* How many scans this thread is inside of: it must not wait for the gate again, because it holds
 * it. */
static _Thread_local unsigned scan_depth;

static struct rocks *
rocks_of(struct engine *g)
{
	return container_of(g, struct rocks, engine);
}

static enum err_kind
kind_of(const char *text)
{
	if (strstr(text, "No space left") || strstr(text, "NoSpace") ||
	    strstr(text, "quota exceeded"))
		return ERR_FULL;
	if (strstr(text, "While lock file") || strstr(text, "lock hold by current process"))
		return ERR_BUSY;
	return ERR_IO;
}

/* Take over RocksDB's TEXT. Returns -1. */
static int
err_rocks(struct err *e, char *text, const char *what)
{
	err_set(e, kind_of(text), "%s: %.180s", what, text);
	rocksdb_free(text);
	return -1;
}

/* Opening and closing */

static rocksdb_block_based_table_options_t *
table_options(uint64_t cache_bytes)
{
	rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
	rocksdb_cache_t *cache = rocksdb_cache_create_lru(cache_bytes);

	rocksdb_block_based_options_set_block_cache(t, cache);
	rocksdb_cache_destroy(cache); /* our reference only */
	/* Whole keys: every lookup is for one record. The table options own the filter. */
	rocksdb_block_based_options_set_filter_policy(
	    t, rocksdb_filterpolicy_create_bloom_full(10));
	/* Inside the cache, so that BLOCK_CACHE_BYTES really is the bound. */
	rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
	rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
	rocksdb_block_based_options_set_format_version(t, 5);
	rocksdb_block_based_options_set_block_size(t, 8 << 10);
	return t;
}

static rocksdb_options_t *
db_options(uint64_t cache_bytes, uint64_t buffer_bytes)
{
	rocksdb_options_t *o = rocksdb_options_create();
	rocksdb_block_based_table_options_t *t = table_options(cache_bytes);

	rocksdb_options_set_block_based_table_factory(o, t);
	rocksdb_block_based_options_destroy(t);
	rocksdb_options_set_create_if_missing(o, 1);
	rocksdb_options_set_compression(o, rocksdb_no_compression);
	rocksdb_options_set_write_buffer_size(o, buffer_bytes);
	rocksdb_options_set_max_write_buffer_number(o, 2);
	rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
	rocksdb_options_set_max_background_jobs(o, 3);
	rocksdb_options_set_max_open_files(o, OPEN_FILES_MAX);
	rocksdb_options_set_bytes_per_sync(o, 1 << 20);

	/* The log: written at once, synced when we say so, never reused or kept, because it has
	 * old values in it. A power cut may tear what was not synced anywhere, so replay ends at
	 * the first torn record. */
	rocksdb_options_set_manual_wal_flush(o, 0);
	rocksdb_options_set_use_fsync(o, 0);
	rocksdb_options_set_recycle_log_file_num(o, 0);
	rocksdb_options_set_WAL_ttl_seconds(o, 0);
	rocksdb_options_set_WAL_size_limit_MB(o, 0);
	rocksdb_options_set_wal_recovery_mode(o, rocksdb_point_in_time_recovery);

	/* RocksDB's own log stays empty. A level above all others, since even its header aborts the
	 * process when the disk is full: 7.8 built with assertions, as Debian's is, allows no write
	 * to a file after one that failed. What matters comes back as an error of some call. */
	rocksdb_options_set_info_log_level(o, 6);
	rocksdb_options_set_keep_log_file_num(o, 2);
	rocksdb_options_set_stats_dump_period_sec(o, 0);
	rocksdb_options_set_stats_persist_period_sec(o, 0);
	rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
	return o;
}

static void
close_db(struct rocks *r)
{
	if (r->db)
		rocksdb_close(r->db);
	r->db = NULL;
}

/* Open the closed database, for reading only if there is no space to do otherwise. */
static int
open_db(struct rocks *r, struct err *e)
{
	char *text = NULL;

	r->reopened_ms = host_mono_ms();
	r->is_readonly = false;
	r->db = rocksdb_open(r->options, r->path, &text);
	if (text && kind_of(text) == ERR_FULL) {
		log_error("engine.full", NULL, "reading only, until there is space");
		rocksdb_free(text);
		text = NULL;
		r->is_readonly = true;
		r->db = rocksdb_open_for_read_only(r->options, r->path, 0, &text);
	}
	if (!text)
		return 0;
	r->db = NULL;
	return err_rocks(e, text, "open the storage");
}

/* Whether the call that begins has to open the database anew first. */
static bool
wants_reopen(const struct rocks *r, bool is_write)
{
	if (atomic_load(&r->is_broken) || !r->db)
		return true;
	return is_write && r->is_readonly && host_mono_ms() - r->reopened_ms >= REOPEN_EVERY_MS;
}

static int
reopen(struct rocks *r, bool is_write, struct err *e)
{
	int rc = 0;

	pthread_rwlock_wrlock(&r->gate);
	if (wants_reopen(r, is_write)) { /* nobody else did it meanwhile */
		close_db(r);
		rc = open_db(r, e);
		if (rc == 0) {
			atomic_store(&r->is_broken, false);
			log_warn(
			    "engine.reopened", NULL, "%s", r->is_readonly ? "reading only" : "");
		}
	}
	pthread_rwlock_unlock(&r->gate);
	return rc;
}

static void
leave(struct rocks *r)
{
	pthread_rwlock_unlock(&r->gate);
}

/* Begin a call: when it returns 0, the database is open until leave. */
static int
enter(struct rocks *r, bool is_write, struct err *e)
{
	for (;;) {
		pthread_rwlock_rdlock(&r->gate);
		if (!wants_reopen(r, is_write))
			break;
		leave(r);
		if (scan_depth)
			return err_set(e, ERR_IO, "the storage has to be opened anew");
		if (reopen(r, is_write, e) < 0)
			return -1;
	}
	if (is_write && r->is_readonly) {
		leave(r);
		return err_set(e, ERR_FULL, "no space left: reading only");
	}
	return 0;
}

/* A change failed: RocksDB refuses more of them from now on, and so do we until it is reopened. */
static int
broke(struct rocks *r, struct err *e, char *text, const char *what)
{
	atomic_store(&r->is_broken, true);
	return err_rocks(e, text, what);
}

/* Keys */

struct full_key {
	size_t len;
	char bytes[FULL_KEY_MAX + 1];
};

static struct full_key
full_key(const struct vault_id *id, struct span key)
{
	struct full_key k = { .len = VAULT_ID_BYTES + key.len };

	assert(key.len <= ENGINE_KEY_MAX);
	memcpy(k.bytes, id, VAULT_ID_BYTES);
	if (key.len)
		memcpy(k.bytes + VAULT_ID_BYTES, key.data, key.len);
	return k;
}

/* After every key of the vault, and before the next vault: longer than any key. */
static struct full_key
end_key(const struct vault_id *id)
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
	return text ? err_rocks(e, text, "read") : 0;
}

static int
rocks_get(
    struct engine *g, const struct vault_id *id, struct span key, struct buf *value, struct err *e)
{
	struct rocks *r = rocks_of(g);
	struct full_key k = full_key(id, key);
	rocksdb_pinnableslice_t *slice = NULL;
	int rc = -1;

	if (enter(r, false, e) < 0)
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
	leave(r);
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

/* Also tells whether the iterator ended for a reason other than the last record. */
static int
walk_close(struct walk *w, int rc, struct err *e)
{
	char *text = NULL;

	rocksdb_iter_get_error(w->at, &text);
	rocksdb_iter_destroy(w->at);
	rocksdb_readoptions_destroy(w->options);
	if (text && rc < 0)
		rocksdb_free(text);
	else if (text)
		return err_rocks(e, text, "read");
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
	struct walk w = { .from = full_key(id, from) };
	int rc = 0;

	w.end = to.len ? full_key(id, to) : end_key(id);
	if (enter(r, false, e) < 0)
		return -1;
	scan_depth++;
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
	scan_depth--;
	leave(r);
	return rc;
}

static int
rocks_list(struct engine *g, engine_list_fn *fn, void *arg, struct err *e)
{
	struct rocks *r = rocks_of(g);
	struct walk w = { 0 };
	int rc = 0;

	if (enter(r, false, e) < 0)
		return -1;
	scan_depth++;
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
		w.from = end_key(&id);
		rocksdb_iter_seek(w.at, w.from.bytes, w.from.len);
	}
	rc = walk_close(&w, rc, e);
	scan_depth--;
	leave(r);
	return rc;
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
	k = full_key(id, guard->key);
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
		struct full_key k = full_key(id, w[i].key);

		if (w[i].op == ENGINE_PUT)
			rocksdb_writebatch_put(
			    batch, k.bytes, k.len, (const char *)w[i].value.data, w[i].value.len);
		else
			rocksdb_writebatch_delete(batch, k.bytes, k.len);
	}
	return batch;
}

/* Write BATCH unless it is empty, and destroy it. */
static int
write_batch(struct rocks *r, rocksdb_writebatch_t *batch, enum engine_when when, struct err *e)
{
	char *text = NULL;

	if (rocksdb_writebatch_count(batch) > 0)
		rocksdb_write(r->db, when == ENGINE_NOW ? r->now : r->later, batch, &text);
	rocksdb_writebatch_destroy(batch);
	return text ? broke(r, e, text, "write") : 0;
}

/* Whether there is less space than what is to be kept free. */
static bool
is_low(struct rocks *r)
{
	uint64_t now_ms = host_mono_ms();
	struct statvfs st;

	if (now_ms - atomic_load(&r->looked_ms) >= LOOK_EVERY_MS && statvfs(r->path, &st) == 0) {
		bool low = (uint64_t)st.f_bavail * st.f_frsize < r->reserve_bytes;

		atomic_store(&r->looked_ms, now_ms);
		if (low && !atomic_exchange(&r->is_low, true))
			log_error("engine.low", NULL, "no space left but for deleting");
		else if (!low)
			atomic_store(&r->is_low, false);
	}
	return atomic_load(&r->is_low);
}

static bool
has_put(const struct engine_write *w, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (w[i].op == ENGINE_PUT)
			return true;
	return false;
}

static int
rocks_apply(struct engine *g, const struct vault_id *id, const struct engine_write *w, size_t n,
    const struct engine_guard *guard, enum engine_when when, struct err *e)
{
	struct rocks *r = rocks_of(g);
	rocksdb_writebatch_t *batch;
	int rc;

	if (engine_check_writes(w, n, e) < 0)
		return -1;
	if (has_put(w, n) && is_low(r))
		return err_set(e, ERR_FULL, "no space left but for deleting");
	if (enter(r, true, e) < 0)
		return -1;
	batch = batch_of(id, w, n);
	pthread_mutex_lock(stripe_of(r, id));
	rc = check_guard(r, id, guard, e);
	if (rc == 0)
		rc = write_batch(r, batch, when, e);
	else
		rocksdb_writebatch_destroy(batch);
	pthread_mutex_unlock(stripe_of(r, id));
	leave(r);
	return rc;
}

/* Deletes of every record of the vault, or one of the whole range if there are many: a range
 * delete costs every later read of its neighbours a little. With the vault's stripe held. */
static int
batch_drop(struct rocks *r, const struct vault_id *id, rocksdb_writebatch_t *batch, struct err *e)
{
	struct walk w = { .from = full_key(id, (struct span){ 0 }), .end = end_key(id) };
	unsigned n = 0;

	walk_open(r, &w);
	rocksdb_iter_seek(w.at, w.from.bytes, w.from.len);
	for (; n < DROP_ONE_BY_ONE_MAX && rocksdb_iter_valid(w.at); n++) {
		struct span key = walk_key(&w);

		rocksdb_writebatch_delete(batch, (const char *)key.data, key.len);
		rocksdb_iter_next(w.at);
	}
	if (rocksdb_iter_valid(w.at)) {
		rocksdb_writebatch_clear(batch);
		rocksdb_writebatch_delete_range(
		    batch, w.from.bytes, w.from.len, w.end.bytes, w.end.len);
	}
	return walk_close(&w, 0, e);
}

static int
rocks_drop(struct engine *g, const struct vault_id *id, struct err *e)
{
	struct rocks *r = rocks_of(g);
	rocksdb_writebatch_t *batch;
	int rc;

	if (enter(r, true, e) < 0)
		return -1;
	batch = rocksdb_writebatch_create();
	pthread_mutex_lock(stripe_of(r, id));
	rc = batch_drop(r, id, batch, e);
	if (rc == 0)
		rc = write_batch(r, batch, ENGINE_LATER, e);
	else
		rocksdb_writebatch_destroy(batch);
	pthread_mutex_unlock(stripe_of(r, id));
	leave(r);
	return rc;
}

static int
rocks_flush(struct engine *g, struct err *e)
{
	struct rocks *r = rocks_of(g);
	char *text = NULL;
	int rc = 0;

	if (enter(r, true, e) < 0)
		return -1;
	rocksdb_flush_wal(r->db, 1, &text);
	if (text)
		rc = broke(r, e, text, "flush");
	leave(r);
	return rc;
}

/* Compaction */

/* Call FN with the name and size of every file called NUMBER.SUFFIX. */
static int
each_file(struct rocks *r, const char *suffix,
    void (*fn)(void *arg, const char *name, uint64_t bytes), void *arg, struct err *e)
{
	DIR *d = opendir(r->path);
	const struct dirent *entry;
	struct stat st;

	if (!d)
		return err_errno(e, errno, "%s", r->path);
	while ((entry = readdir(d))) {
		const char *dot = strchr(entry->d_name, '.');

		if (dot && strspn(entry->d_name, "0123456789") == (size_t)(dot - entry->d_name) &&
		    strcmp(dot + 1, suffix) == 0 &&
		    fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			fn(arg, entry->d_name, (uint64_t)st.st_size);
	}
	closedir(d);
	return 0;
}

static void
add_name(void *arg, const char *name, uint64_t bytes)
{
	(void)bytes;
	buf_add(arg, name, strlen(name) + 1);
}

/* How many of NAMES, each with its NUL, are still there. */
static size_t
count_left(struct rocks *r, const struct buf *names)
{
	const char *end = (const char *)names->data + names->len;
	_cleanup_(fd_closep) int dir = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t left = 0;

	for (const char *name = (const char *)names->data; name < end; name += strlen(name) + 1)
		if (dir < 0 || faccessat(dir, name, F_OK, 0) == 0)
			left++;
	return left;
}

static void
sleep_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000L }, NULL);
}

/* RocksDB unlinks files in the background, and not before the last scan that reads them has ended:
 * have it look for those it forgot, and wait up to WAIT_MS until none of NAMES is left. */
static int
purge(struct rocks *r, const struct buf *names, unsigned wait_ms, size_t *left, struct err *e)
{
	uint64_t until = host_mono_ms() + wait_ms;

	while ((*left = count_left(r, names)) > 0 && host_mono_ms() < until) {
		char *text = NULL;

		rocksdb_disable_file_deletions(r->db, &text);
		if (!text)
			rocksdb_enable_file_deletions(r->db, 1, &text);
		if (text)
			return err_rocks(e, text, "delete old files");
		sleep_ms(5);
	}
	return 0;
}

/* Let RocksDB compact by itself, or stop it and wait until it has: a compaction that runs may be
 * copying a value, whose deletion it does not see, into a file that we do not know of. */
static int
set_automatic(struct rocks *r, bool on, struct err *e)
{
	static const char *const key[] = { "disable_auto_compactions" };
	const char *const value[] = { on ? "false" : "true" };
	char *text = NULL;
	uint64_t running = 0;

	rocksdb_set_options(r->db, 1, key, value, &text);
	if (text)
		return broke(r, e, text, "compact"); /* it is on again once reopened */
	while (!on &&
	    rocksdb_property_int(r->db, "rocksdb.num-running-compactions", &running) == 0 &&
	    running > 0)
		sleep_ms(5);
	return 0;
}

/* Move what is in memory into a table, with which the log that holds it ends. */
static int
switch_log(struct rocks *r, struct err *e)
{
	rocksdb_flushoptions_t *o = rocksdb_flushoptions_create();
	char *text = NULL;

	rocksdb_flushoptions_set_wait(o, 1);
	/* A deletion of what never was: without any record in memory nothing would be switched. */
	rocksdb_delete(r->db, r->later, "", 1, &text);
	if (!text)
		rocksdb_flush(r->db, o, &text);
	rocksdb_flushoptions_destroy(o);
	return text ? broke(r, e, text, "flush") : 0;
}

static void
rewrite_tables(struct rocks *r)
{
	enum { SKIP, IF_FILTERED, FORCE }; /* RocksDB's numbers, which its C header lacks */
	rocksdb_compactoptions_t *o = rocksdb_compactoptions_create();

	rocksdb_compactoptions_set_exclusive_manual_compaction(o, 1);
	rocksdb_compactoptions_set_bottommost_level_compaction(o, FORCE);
	rocksdb_compact_range_opt(r->db, o, NULL, 0, NULL, 0);
	rocksdb_compactoptions_destroy(o);
}

/* Rewrite until every table and log that may hold something old is gone. */
static int
replace_files(struct rocks *r, struct err *e)
{
	_cleanup_buf_ struct buf names = BUF_INIT(0);
	/* One round nearly always does it; a table that was only moved down a level needs two. */
	static const unsigned round_wait_ms[] = { 2000, 10000, 60000 };
	size_t left = 0;

	if (each_file(r, "log", add_name, &names, e) < 0 || switch_log(r, e) < 0 ||
	    each_file(r, "sst", add_name, &names, e) < 0 || buf_check(&names, e) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(round_wait_ms); i++) {
		rewrite_tables(r);
		if (purge(r, &names, round_wait_ms[i], &left, e) < 0)
			return -1;
		if (!left)
			return 0;
	}
	return err_set(e, ERR_BUSY, "%zu files of before the compaction are still there", left);
}

static int
compact_inside(struct rocks *r, struct err *e)
{
	int rc;

	if (set_automatic(r, false, e) < 0)
		return -1;
	rc = replace_files(r, e);
	/* *E stays that of the first failure. */
	if (set_automatic(r, true, rc < 0 ? NULL : e) < 0)
		rc = -1;
	return rc;
}

static int
rocks_compact(struct engine *g, struct err *e)
{
	struct rocks *r = rocks_of(g);
	int rc;

	assert(!scan_depth); /* it would wait for itself */
	pthread_mutex_lock(&r->compacting);
	rc = enter(r, true, e);
	if (rc == 0) {
		rc = compact_inside(r, e);
		leave(r);
	}
	pthread_mutex_unlock(&r->compacting);
	return rc;
}

static void
add_bytes(void *arg, const char *name, uint64_t bytes)
{
	(void)name;
	*(uint64_t *)arg += bytes;
}

static uint64_t
rocks_size(struct engine *g)
{
	uint64_t total = 0;

	if (each_file(rocks_of(g), "sst", add_bytes, &total, NULL) < 0 ||
	    each_file(rocks_of(g), "log", add_bytes, &total, NULL) < 0)
		return 0;
	return total;
}

static void
rocks_close(struct engine *g)
{
	struct rocks *r = rocks_of(g);

	close_db(r);
	rocksdb_writeoptions_destroy(r->later);
	rocksdb_writeoptions_destroy(r->now);
	rocksdb_readoptions_destroy(r->reading);
	rocksdb_options_destroy(r->options);
	for (size_t i = 0; i < STRIPES; i++)
		pthread_mutex_destroy(&r->stripes[i]);
	pthread_rwlock_destroy(&r->gate);
	pthread_mutex_destroy(&r->compacting);
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
	.flush = rocks_flush,
	.compact = rocks_compact,
	.size = rocks_size,
	.close = rocks_close,
};

struct engine *
engine_rocksdb(
    const char *path, uint64_t block_cache_bytes, uint64_t write_buffer_bytes, struct err *e)
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
	r->reserve_bytes = RESERVE_BUFFERS * write_buffer_bytes;
	r->options = db_options(block_cache_bytes, write_buffer_bytes);
	r->reading = rocksdb_readoptions_create();
	r->later = rocksdb_writeoptions_create();
	r->now = rocksdb_writeoptions_create();
	rocksdb_writeoptions_set_sync(r->now, 1);
	pthread_rwlock_init(&r->gate, NULL);
	for (size_t i = 0; i < STRIPES; i++)
		pthread_mutex_init(&r->stripes[i], NULL);
	pthread_mutex_init(&r->compacting, NULL);
	if (open_db(r, e) < 0) {
		rocks_close(&r->engine);
		return NULL;
	}
	return &r->engine;
}
