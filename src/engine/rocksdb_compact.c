/* rocksdb_compact.c - the files of the engine, and leaving nothing old in them.
 *
 * To get rid of deleted values every table and log that exists must be rewritten or
 * emptied, and be gone: compact looks at the folder itself, since the C interface keeps errors of
 * a compaction to itself. Scans that run keep old files, so it waits for those to end. Vault ids
 * and record keys, which are random and numbers, may stay in the manifest for a while.
 */
#include "base/host.h"
#include "engine/rocksdb_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

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

static void
note_newest(void *arg, const char *name, uint64_t bytes)
{
	uint64_t number = strtoull(name, NULL, 10), *newest = arg;

	(void)bytes;
	if (number > *newest)
		*newest = number;
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

	while ((*left = count_left(r, names)) > 0 && host_mono_ms() < until &&
	    !atomic_load(&r->is_broken)) {
		char *text = NULL;

		rocksdb_disable_file_deletions(r->db, &text);
		if (!text)
			rocksdb_enable_file_deletions(r->db, 1, &text);
		if (text)
			return rocks_err(e, text, "delete old files");
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
		return rocks_broke(r, e, text, "compact"); /* it is on again once reopened */
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
	return text ? rocks_broke(r, e, text, "flush") : 0;
}

static int
rewrite_tables(struct rocks *r, struct err *e)
{
	enum { SKIP, IF_FILTERED, FORCE }; /* RocksDB's numbers, which its C header lacks */
	rocksdb_compactoptions_t *o = rocksdb_compactoptions_create();
	char *text = NULL;

	rocksdb_compactoptions_set_exclusive_manual_compaction(o, 1);
	rocksdb_compactoptions_set_bottommost_level_compaction(o, FORCE);
	rocksdb_compact_range_opt(r->db, o, NULL, 0, NULL, 0);
	rocksdb_compactoptions_destroy(o);
	/* It does not say how it went; a write does, after damage was met. */
	rocksdb_delete(r->db, r->later, "", 1, &text);
	return text ? rocks_broke(r, e, text, "compact") : 0;
}

/* Rewrite until every table and log that may hold something old is gone. */
static int
replace_files(struct rocks *r, struct err *e)
{
	_cleanup_buf_ struct buf names = BUF_INIT(0);
	/* One round nearly always does it; a table that was only moved down a level needs two. */
	static const unsigned round_wait_ms[] = { 2000, 10000, 60000 };
	size_t left = 0;
	uint64_t number, newest = 0;

	if (each_file(r, "log", add_name, &names, e) < 0 ||
	    each_file(r, "log", note_newest, &newest, e) < 0 || switch_log(r, e) < 0)
		return -1;
	number = rocksdb_get_latest_sequence_number(r->db);
	if (each_file(r, "sst", add_name, &names, e) < 0 || buf_check(&names, e) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(round_wait_ms); i++) {
		if (rewrite_tables(r, e) < 0 || purge(r, &names, round_wait_ms[i], &left, e) < 0)
			return -1;
		if (!left)
			return r->is_tailed ? rocks_tail_forget(r, number, newest, e) : 0;
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

int
rocks_compact(struct engine *g, struct err *e)
{
	struct rocks *r = rocks_of(g);
	int rc;

	assert(!rocks_scan_depth); /* it would wait for itself */
	pthread_mutex_lock(&r->compacting);
	rocks_ballast_give(r);
	rc = rocks_enter(r, true, e);
	if (rc == 0 && atomic_load(&r->is_damaged)) {
		rocks_leave(r);
		rc = err_set(e, ERR_IO, "the store is damaged, so it can't be compacted");
	}
	if (rc == 0) {
		rc = compact_inside(r, e);
		rocks_leave(r);
	}
	pthread_mutex_unlock(&r->compacting);
	return rc;
}

int
rocks_sync_logs(struct rocks *r, struct err *e)
{
	_cleanup_buf_ struct buf names = BUF_INIT(0);
	const char *name, *end;

	if (each_file(r, "log", add_name, &names, e) < 0 || buf_check(&names, e) < 0)
		return -1;
	end = (const char *)names.data + names.len;
	for (name = (const char *)names.data; name < end; name += strlen(name) + 1) {
		_cleanup_(fd_closep) int dir = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		_cleanup_(fd_closep) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);

		/* One that has gone meanwhile is in a table since. */
		if (fd < 0 ? errno != ENOENT : fdatasync(fd) < 0)
			return err_errno(e, errno, "sync the log");
	}
	return 0;
}

static void
add_bytes(void *arg, const char *name, uint64_t bytes)
{
	(void)name;
	*(uint64_t *)arg += bytes;
}

uint64_t
rocks_size(struct engine *g)
{
	uint64_t total = 0;

	if (each_file(rocks_of(g), "sst", add_bytes, &total, NULL) < 0 ||
	    each_file(rocks_of(g), "log", add_bytes, &total, NULL) < 0)
		return 0;
	return total;
}
