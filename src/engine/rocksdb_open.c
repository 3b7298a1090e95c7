/* rocksdb_open.c - opening the database, and opening it anew.
 *
 * Failures. After a failed write or sync RocksDB's memory and disk may differ, so the next call
 * closes it and opens it again (with the gate held alone). When the disk is too full for that it
 * is opened for reading only, and a write tries again from time to time.
 *
 * Damage. A compaction that meets a block whose checksum is wrong makes RocksDB refuse every write, and
 * so would the next one after a reopen. Without compactions nothing needs that block but those who ask
 * for what it holds, so from then on there are none: writes and all other reads go on, no record that
 * can be read is given up, and tables pile up (RocksDB does not hold writes up for their number while
 * compactions are off).
 */
#include "base/fs.h"
#include "base/host.h"
#include "base/log.h"
#include "base/stats.h"
#include "engine/rocksdb_private.h"

#include <stdatomic.h>

#define OPEN_FILES_MAX   512
#define OPEN_FILES_SHARE 4 /* not more than this part of those that the process may have */
#define REOPEN_EVERY_MS  1000
#define KEEP_S           (10ull * 365 * 86400)

_Thread_local unsigned rocks_scan_depth;

static struct counter damages = COUNTER("domicile_store_damaged_total", NULL,
    "Stores in which a compaction met damage; they are not compacted any more");

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

int
rocks_err(struct err *e, char *text, const char *what)
{
	err_set(e, kind_of(text), "%s: %.180s", what, text);
	rocksdb_free(text);
	return -1;
}

bool
rocks_says_damage(const char *text)
{
	return strstr(text, "Corruption") != NULL;
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

uint64_t
engine_rocksdb_files(uint64_t files)
{
	return files / OPEN_FILES_SHARE < OPEN_FILES_MAX ? files / OPEN_FILES_SHARE
	                                                 : OPEN_FILES_MAX;
}

rocksdb_options_t *
rocks_options(uint64_t cache_bytes, uint64_t buffer_bytes, bool is_tailed)
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
	rocksdb_options_set_max_open_files(o, (int)engine_rocksdb_files(fs_files_max()));
	rocksdb_options_set_bytes_per_sync(o, 1 << 20);

	/* The log: written at once, synced when we say so, never reused or kept, because it has
	 * old values in it. A power cut may tear what was not synced anywhere, so replay ends at
	 * the first torn record. */
	rocksdb_options_set_manual_wal_flush(o, 0);
	rocksdb_options_set_use_fsync(o, 0);
	rocksdb_options_set_recycle_log_file_num(o, 0);
	/* Unless a standby has to read it: then we remove it ourselves (rocksdb_tail.c). */
	rocksdb_options_set_WAL_ttl_seconds(o, is_tailed ? KEEP_S : 0);
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

void
rocks_shut(struct rocks *r)
{
	rocks_tail_shut(r);
	if (r->db)
		rocksdb_close(r->db);
	r->db = NULL;
}

/* RocksDB syncs each entry of its MANIFEST before it acts on it, so one that a power cut tore in
 * unsynced bytes was never acted on. But such a one can't be told from one that rotted later: without
 * that, what was flushed since is missing and what a compaction dropped is back. RocksDB's own way
 * (best_efforts_recovery) leaves the log unread, and with it what was acknowledged. So nothing is
 * guessed. */
static int
cant_open(const struct rocks *r, struct err *e, char *text)
{
	bool is_list = rocks_says_damage(text) && strstr(text, "MANIFEST");

	rocks_err(e, text, "open the storage");
	if (e->kind == ERR_BUSY)
		return err_set(e, ERR_BUSY,
		    "%s: another process has it, such as the node that runs already", r->path);
	return is_list
	    ? err_add(e,
	          "the list of the store's files is damaged: keep the store as it is, and promote "
	          "the standby or restore the newest backup")
	    : -1;
}

int
rocks_open(struct rocks *r, struct err *e)
{
	char *text = NULL;

	atomic_store(&r->reopened_ms, host_mono_ms());
	r->is_readonly = false;
	if (atomic_load(&r->is_damaged))
		rocksdb_options_set_disable_auto_compactions(r->options, 1);
	r->db = rocksdb_open(r->options, r->path, &text);
	if (text && kind_of(text) == ERR_FULL) {
		log_error("engine.full", NULL, "reading only, until there is space");
		rocksdb_free(text);
		text = NULL;
		r->is_readonly = true;
		r->db = rocksdb_open_for_read_only(r->options, r->path, 0, &text);
	}
	if (text) {
		r->db = NULL;
		return cant_open(r, e, text);
	}
	rocks_mark_open(r);
	if (!r->is_readonly && rocks_mark_is_beyond(r))
		r->has_lost = true;
	rocks_tail_begin(r);
	return 0;
}

/* Whether the call that begins has to open the database anew first. */
static bool
wants_reopen(const struct rocks *r, bool is_write)
{
	if (atomic_load(&r->is_broken) || !r->db)
		return true;
	return is_write && r->is_readonly &&
	    host_mono_ms() - atomic_load(&r->reopened_ms) >= REOPEN_EVERY_MS;
}

static int
reopen(struct rocks *r, bool is_write, struct err *e)
{
	int rc = 0;

	atomic_fetch_add(&r->reopening, 1);
	pthread_rwlock_wrlock(&r->gate);
	atomic_fetch_sub(&r->reopening, 1);
	if (wants_reopen(r, is_write)) { /* nobody else did it meanwhile */
		rocks_shut(r);
		rc = rocks_open(r, e);
		if (rc == 0) {
			atomic_store(&r->is_broken, false);
			log_warn(
			    "engine.reopened", NULL, "%s", r->is_readonly ? "reading only" : "");
		}
	}
	pthread_rwlock_unlock(&r->gate);
	return rc;
}

void
rocks_leave(struct rocks *r)
{
	pthread_rwlock_unlock(&r->gate);
}

int
rocks_enter(struct rocks *r, bool is_write, struct err *e)
{
	for (;;) {
		pthread_rwlock_rdlock(&r->gate);
		if (!wants_reopen(r, is_write))
			break;
		rocks_leave(r);
		if (rocks_scan_depth)
			return err_set(e, ERR_IO, "the storage has to be opened anew");
		if (reopen(r, is_write, e) < 0)
			return -1;
	}
	if (is_write && r->is_readonly) {
		rocks_leave(r);
		return err_set(e, ERR_FULL, "no space left: reading only");
	}
	return 0;
}

int
rocks_broke(struct rocks *r, struct err *e, char *text, const char *what)
{
	/* Before is_broken, which has it opened anew. */
	if (rocks_says_damage(text) && !atomic_exchange(&r->is_damaged, true)) {
		counter_add(&damages, 1);
		log_error("engine.damaged", NULL, "no compactions from now on: %.180s", text);
	}
	atomic_store(&r->is_broken, true);
	return rocks_err(e, text, what);
}
