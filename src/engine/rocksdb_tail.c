/* rocksdb_tail.c - RocksDB's changes, read from its write-ahead log (tail.h).
 *
 * A change's number is RocksDB's sequence number, and a group is what one record of the log holds: one
 * write, or several that were written together. The iterator stays open between two calls, because a
 * new one reads its log from the beginning; it goes on when the log has grown, and has to be made anew
 * when RocksDB has begun another log.
 *
 * Logs. Opened for a tail, RocksDB moves logs that it does not need into the folder archive/ instead of
 * removing them, and we remove them once they were taken. Which changes a log has is not told, so what
 * is there at some moment is noted together with the number of the last change then.
 */
#include "base/host.h"
#include "base/log.h"
#include "engine/rocksdb_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define TRIM_EVERY_MS  500
#define FORGET_WAIT_MS 2000
#define BATCH_HEAD     12 /* of a batch's bytes: its number (8) and how many changes (4) */

/* What a batch's bytes may have of ours; RocksDB's db/write_batch.cc tells the format. */
enum batch_tag { TAG_DELETE = 0, TAG_PUT = 1, TAG_NOTE = 3, TAG_NOTHING = 13, TAG_RANGE = 15 };

/* --- a batch's bytes --- */

static uint32_t
read_varint32(struct reader *r)
{
	uint32_t v = 0;

	for (unsigned shift = 0; shift < 35; shift += 7) {
		uint8_t b = read_u8(r);

		v |= (uint32_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return v;
	}
	r->failed = true;
	return 0;
}

static struct span
read_slice(struct reader *r)
{
	struct span s = { .len = read_varint32(r) };

	s.data = read_bytes(r, s.len);
	return s;
}

static void
add_change(struct buf *out, enum change_op op, struct span full, struct span value)
{
	struct change c = { .op = op, .value = value };

	/* The shorter one is switch_log's, which is nobody's record. */
	if (full.len < VAULT_ID_BYTES + (op != CHANGE_DROP))
		return;
	memcpy(&c.id, full.data, VAULT_ID_BYTES);
	c.key = (struct span){ full.data + VAULT_ID_BYTES, full.len - VAULT_ID_BYTES };
	change_add(out, &c);
}

static int
add_batch(rocksdb_writebatch_t *batch, struct buf *out, struct err *e)
{
	size_t n;
	const char *rep = rocksdb_writebatch_data(batch, &n);
	struct reader r = READER((const uint8_t *)rep, n);
	bool is_known = true;

	read_bytes(&r, BATCH_HEAD);
	while (is_known && !r.failed && r.left) {
		uint8_t tag = read_u8(&r);
		struct span none = { 0 }, key, value;

		is_known = tag == TAG_DELETE || tag == TAG_PUT || tag == TAG_NOTE ||
		    tag == TAG_NOTHING || tag == TAG_RANGE;
		if (!is_known || tag == TAG_NOTHING)
			continue;
		key = read_slice(&r);
		value = tag == TAG_PUT || tag == TAG_RANGE ? read_slice(&r) : none;
		if (r.failed || tag == TAG_NOTE)
			continue;
		/* The only range that is ever deleted is a whole vault. */
		add_change(out,
		    tag == TAG_PUT         ? CHANGE_PUT
		        : tag == TAG_RANGE ? CHANGE_DROP
		                           : CHANGE_DELETE,
		    key, value);
	}
	if (r.failed || !is_known)
		return err_set(e, ERR_IO, "the storage's log has what is not ours");
	return buf_check(out, e);
}

/* --- reading --- */

static void
drop_waiting(struct rocks *r)
{
	if (r->waiting)
		rocksdb_writebatch_destroy(r->waiting);
	r->waiting = NULL;
}

void
rocks_tail_shut(struct rocks *r)
{
	drop_waiting(r);
	if (r->wal)
		rocksdb_wal_iter_destroy(r->wal);
	r->wal = NULL;
}

static int
not_kept(struct err *e)
{
	return err_set(e, ERR_MISSING, "the changes that were asked for are not kept any more");
}

/* A new iterator at change FROM. */
static int
seek(struct rocks *r, uint64_t from, struct err *e)
{
	char *text = NULL;

	rocks_tail_shut(r);
	r->wal = rocksdb_get_updates_since(r->db, from, NULL, &text);
	if (text) {
		/* Whatever it is, these logs are of no use. */
		log_warn("tail.seek", NULL, "%.100s", text);
		rocksdb_free(text);
		r->wal = NULL;
		return not_kept(e);
	}
	r->wal_next = from;
	return 0;
}

/* The group that begins with change FROM into r->waiting. 1; 0: it can't be seen yet; -1. */
static int
fetch(struct rocks *r, uint64_t from, struct err *e)
{
	bool is_new = !r->wal || r->wal_next != from;
	char *text = NULL;
	uint64_t number;

	if (r->waiting && !is_new)
		return 1;
	if (is_new && seek(r, from, e) < 0)
		return -1;
	if (!is_new)
		rocksdb_wal_iter_next(r->wal);
	if (!rocksdb_wal_iter_valid(r->wal)) {
		rocksdb_wal_iter_status(r->wal, &text);
		if (text) { /* another log has begun, or this one is damaged: look anew */
			rocksdb_free(text);
			rocks_tail_shut(r);
		}
		return 0;
	}
	r->waiting = rocksdb_wal_iter_get_batch(r->wal, &number);
	if (number == from)
		return 1;
	rocks_tail_shut(r);
	return not_kept(e);
}

/* As rocks_read's, with everything locked. */
static int
read_groups(struct rocks *r, size_t want, struct buf *out, uint64_t *next, struct err *e)
{
	uint64_t durable = atomic_load(&r->durable);
	bool has_looked_anew = false;

	while (*next <= durable) {
		int n, rc = fetch(r, *next, e);

		if (rc < 0)
			return -1;
		if (rc == 0) {
			/* It is durable, so it is in some log. */
			if (has_looked_anew)
				return not_kept(e);
			has_looked_anew = true;
			rocks_tail_shut(r);
			continue;
		}
		has_looked_anew = false;
		n = rocksdb_writebatch_count(r->waiting);
		if (*next + (uint64_t)n - 1 > durable)
			return 0;
		if (add_batch(r->waiting, out, e) < 0)
			return -1;
		drop_waiting(r);
		*next += (uint64_t)n;
		r->wal_next = *next;
		if (out->len >= want)
			break;
	}
	return 0;
}

static int
tail_read(
    struct engine *g, uint64_t from, size_t want, struct buf *out, uint64_t *next, struct err *e)
{
	struct rocks *r = rocks_of(g);
	uint64_t at = from;
	int rc;

	if (!r->is_tailed)
		return not_kept(e);
	if (rocks_enter(r, false, e) < 0)
		return -1;
	pthread_mutex_lock(&r->tail_lock);
	/* What a store that was put back from a copy has never heard of. */
	if (from > rocksdb_get_latest_sequence_number(r->db) + 1)
		rc = not_kept(e);
	else
		rc = read_groups(r, want, out, &at, e);
	pthread_mutex_unlock(&r->tail_lock);
	rocks_leave(r);
	if (rc == 0)
		*next = at;
	return rc;
}

static int
tail_copy(struct engine *g, struct buf *after, size_t want, struct buf *out, struct err *e)
{
	struct rocks *r = rocks_of(g);
	rocksdb_readoptions_t *options;
	rocksdb_iterator_t *at;
	char *text = NULL;
	int rc;

	if (rocks_enter(r, false, e) < 0)
		return -1;
	options = rocksdb_readoptions_create();
	rocksdb_readoptions_set_fill_cache(options, 0);
	at = rocksdb_create_iterator(r->db, options);
	buf_add_char(after, 0); /* the first key that is greater */
	if (after->len > 1 && buf_check(after, NULL) == 0)
		rocksdb_iter_seek(at, (const char *)after->data, after->len);
	else
		rocksdb_iter_seek_to_first(at);
	for (; rocksdb_iter_valid(at) && out->len < want; rocksdb_iter_next(at)) {
		struct span key, value;

		key.data = (const uint8_t *)rocksdb_iter_key(at, &key.len);
		value.data = (const uint8_t *)rocksdb_iter_value(at, &value.len);
		add_change(out, CHANGE_PUT, key, value);
		buf_clear(after);
		buf_add(after, key.data, key.len);
	}
	rc = rocksdb_iter_valid(at) ? 1 : 0;
	rocksdb_iter_get_error(at, &text);
	rocksdb_iter_destroy(at);
	rocksdb_readoptions_destroy(options);
	rocks_leave(r);
	if (text) {
		bool is_unreadable = rocks_is_unreadable(text);

		rocks_err(e, text, "read");
		if (is_unreadable && e)
			e->kind = ERR_FORGED;
		return -1;
	}
	return buf_check(out, e) < 0 || buf_check(after, e) < 0 ? -1 : rc;
}

/* --- applying --- */

static int
batch_changes(rocksdb_writebatch_t *batch, struct span changes, bool *has_put, struct err *e)
{
	struct reader in = READER(changes.data, changes.len);
	struct change c;
	int rc;

	while ((rc = change_next(&in, &c, e)) > 0) {
		struct full_key k = rocks_key(&c.id, c.key), end = rocks_end_key(&c.id);

		*has_put |= c.op == CHANGE_PUT;
		if (c.op == CHANGE_PUT)
			rocksdb_writebatch_put(
			    batch, k.bytes, k.len, (const char *)c.value.data, c.value.len);
		else if (c.op == CHANGE_DELETE)
			rocksdb_writebatch_delete(batch, k.bytes, k.len);
		else
			rocksdb_writebatch_delete_range(batch, k.bytes, k.len, end.bytes, end.len);
	}
	return rc;
}

static int
tail_apply(struct engine *g, struct span changes, struct err *e)
{
	struct rocks *r = rocks_of(g);
	rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
	bool has_put = false;
	int rc = batch_changes(batch, changes, &has_put, e);

	/* Changes come in their order: what makes room behind what took it. So all may use the reserve. */
	if (space_room(&r->space) > 0)
		rocks_ballast_take(r);
	else
		rocks_ballast_give(r);
	if (rc == 0 && has_put)
		rc = rocks_check_space(r, ENGINE_RESERVE, e);
	if (rc == 0)
		rc = rocks_enter(r, true, e);
	if (rc < 0) {
		rocksdb_writebatch_destroy(batch);
		return -1;
	}
	rc = rocks_write(r, batch, ENGINE_LATER, e);
	rocks_leave(r);
	return rc;
}

/* --- old logs --- */

static void
archive_path(const struct rocks *r, char out[static 4200])
{
	snprintf(out, 4200, "%.4000s/archive", r->path);
}

/* The oldest of the old logs (0: there is none), the newest, and their bytes. */
static void
look_at_logs(struct rocks *r, uint64_t *oldest, uint64_t *newest, uint64_t *bytes)
{
	char path[4200];
	const struct dirent *entry;
	struct stat st;
	DIR *d;

	*oldest = *newest = *bytes = 0;
	archive_path(r, path);
	d = opendir(path);
	if (!d)
		return;
	while ((entry = readdir(d))) {
		uint64_t number = strtoull(entry->d_name, NULL, 10);

		if (!number || !strstr(entry->d_name, ".log"))
			continue;
		if (!*oldest || number < *oldest)
			*oldest = number;
		if (number > *newest)
			*newest = number;
		if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			*bytes += (uint64_t)st.st_size;
	}
	closedir(d);
}

static bool
remove_log(struct rocks *r, uint64_t number)
{
	char path[4200], name[4300];

	archive_path(r, path);
	snprintf(name, sizeof(name), "%s/%06" PRIu64 ".log", path, number);
	if (unlink(name) == 0)
		return true;
	log_warn("tail.log", NULL, "an old log can't be removed: %s", strerror(errno));
	return false;
}

/* Remove the old logs up to NUMBER. */
static void
remove_logs(struct rocks *r, uint64_t number)
{
	uint64_t oldest, newest, bytes;

	do
		look_at_logs(r, &oldest, &newest, &bytes);
	while (oldest && oldest <= number && remove_log(r, oldest));
}

/* With the tail's lock. */
static void
trim(struct rocks *r)
{
	uint64_t oldest, newest, bytes;

	if (r->mark_log && atomic_load(&r->unneeded) > r->mark_number) {
		remove_logs(r, r->mark_log);
		r->mark_log = 0;
	}
	look_at_logs(r, &oldest, &newest, &bytes);
	if (oldest && bytes > r->keep_bytes) {
		log_warn("tail.full", NULL,
		    "logs=%" PRIu64
		    " bytes: the oldest are given up; a standby that had not come so far "
		    "needs a full copy",
		    bytes);
		while (oldest && bytes > r->keep_bytes && remove_log(r, oldest))
			look_at_logs(r, &oldest, &newest, &bytes);
	}
	if (!r->mark_log && newest) {
		r->mark_log = newest;
		r->mark_number = rocksdb_get_latest_sequence_number(r->db);
	}
}

static int
tail_taken(struct engine *g, uint64_t upto, uint64_t from, struct err *e)
{
	struct rocks *r = rocks_of(g);
	uint64_t now_ms = host_mono_ms();

	rocks_raise(&r->taken, upto);
	rocks_raise(&r->unneeded, from);
	if (rocks_enter(r, false, e) < 0)
		return -1;
	pthread_mutex_lock(&r->tail_lock);
	if (r->is_tailed && now_ms - r->trimmed_ms >= TRIM_EVERY_MS) {
		r->trimmed_ms = now_ms;
		trim(r);
	}
	pthread_mutex_unlock(&r->tail_lock);
	rocks_leave(r);
	return 0;
}

int
rocks_tail_forget(struct rocks *r, uint64_t number, uint64_t newest, struct err *e)
{
	uint64_t until_ms = host_mono_ms() + FORGET_WAIT_MS, oldest, last, bytes;

	while (atomic_load(&r->taken) <= number) {
		if (host_mono_ms() >= until_ms)
			return err_set(e, ERR_BUSY,
			    "the standby has not taken what is to be gone: its logs are still there");
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
	}
	pthread_mutex_lock(&r->tail_lock);
	rocks_tail_shut(r); /* it may have one of them open */
	remove_logs(r, newest);
	look_at_logs(r, &oldest, &last, &bytes);
	pthread_mutex_unlock(&r->tail_lock);
	if (oldest && oldest <= newest)
		return err_set(e, ERR_IO, "old logs of the storage can't be removed");
	return 0;
}

void
rocks_tail_begin(struct rocks *r)
{
	/* What was opened is what is on disk. */
	rocks_raise(&r->durable, rocksdb_get_latest_sequence_number(r->db));
	if (!r->is_tailed && !r->is_readonly)
		remove_logs(r, UINT64_MAX);
}

static int
tail_state(struct engine *g, struct tail_state *out, struct err *e)
{
	struct rocks *r = rocks_of(g);
	uint64_t oldest, newest;

	if (rocks_enter(r, false, e) < 0)
		return -1;
	out->last = rocksdb_get_latest_sequence_number(r->db);
	out->durable = atomic_load(&r->durable);
	look_at_logs(r, &oldest, &newest, &out->kept_bytes);
	rocks_leave(r);
	return 0;
}

const struct engine_tail_ops rocks_tail_ops = {
	.state = tail_state,
	.read = tail_read,
	.taken = tail_taken,
	.copy = tail_copy,
	.apply = tail_apply,
};
