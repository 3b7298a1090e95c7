/* backup_read.c - reading a backup: verifying it, and putting it back. See backup.h. */
#include "service/backup_internal.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "base/fs.h"
#include "base/log.h"
#include "chunks/chunks.h"
#include "engine/changes.h"
#include "engine/tail.h"
#include "sealed/keys.h"
#include "vault/transfer.h"

#define READ_SIZE ((size_t)1 << 20)

struct backup_lock {
	int fd;
};

struct backup_lock *
backup_lock_shared(const char *folder, struct err *e)
{
	struct backup_lock *l = calloc(1, sizeof(*l));
	char path[BACKUP_PATH];

	if (!l) {
		err_set(e, ERR_MEMORY, "no memory");
		return NULL;
	}
	snprintf(path, sizeof(path), "%s/" BACKUP_MARK, folder);
	l->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (l->fd < 0 && errno == ENOENT)
		err_set(e, ERR_MISSING, "%s is no folder of backups", folder);
	else if (l->fd < 0)
		err_errno(e, errno, "%s", path);
	else if (flock(l->fd, LOCK_SH | LOCK_NB) < 0)
		err_set(e, ERR_BUSY, "a backup into %s is being written", folder);
	else
		return l;
	backup_lock_close(l);
	return NULL;
}

void
backup_lock_close(struct backup_lock *l)
{
	if (!l)
		return;
	if (l->fd >= 0)
		close(l->fd);
	free(l);
}

int
backup_manifest(const char *folder, uint32_t generation, struct manifest *out, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX), numbers = BUF_INIT(0);
	_cleanup_manifest_ struct manifest m = { 0 };
	char path[BACKUP_PATH];

	snprintf(path, sizeof(path), "%s/" BACKUP_MARK, folder);
	if (access(path, F_OK) < 0)
		return err_set(e, ERR_MISSING, "%s is no folder of backups", folder);
	if (backup_generations(folder, &numbers, e) < 0)
		return -1;
	if (!generation && numbers.len)
		memcpy(&generation, numbers.data + numbers.len - sizeof(generation),
		    sizeof(generation));
	if (!generation)
		return err_set(e, ERR_MISSING, "%s has no whole backup", folder);
	backup_manifest_path(folder, generation, path);
	if (fs_read(path, MANIFEST_MAX, &text, e) < 0)
		return err_add(e, "generation %u", generation);
	if (manifest_parse((struct span){ text.data, text.len }, &m, e) < 0)
		return err_add(e, "%s", path);
	if (m.generation != generation)
		return err_set(e, ERR_FORGED, "%s is the manifest of another", path);
	*out = m;
	m = (struct manifest){ 0 };
	return 0;
}

int
backup_read_object(
    const char *folder, const struct backup_object *o, size_t max, struct buf *out, struct err *e)
{
	uint8_t digest[SHA256_BYTES];
	char path[BACKUP_PATH];

	buf_clear(out);
	backup_object_path(folder, o->digest, path);
	if (fs_read(path, max, out, e) < 0)
		return err_add(e, "backup");
	sha256(out->data, out->len, digest);
	if (out->len != o->bytes || memcmp(digest, o->digest, sizeof(digest)) != 0)
		return err_set(e, ERR_FORGED, "%s is damaged", path);
	return 0;
}

/* --- going through a backup --- */

struct reading {
	const char *folder;
	const struct manifest *m;
	backup_go_on_fn *go_on;
	void *arg;
	uint64_t bytes;
	uint8_t *piece;      /* READ_SIZE */
	struct buf *damages; /* of struct backup_damage: of the backup itself. NULL: they end it */
};

/* What is to be read is not as it should be, as WHY says. 0: it is gone on without; -1. */
static int
pass_over(const struct reading *r, const struct err *why, struct err *e)
{
	bool is_damage = why->kind == ERR_FORGED || why->kind == ERR_IO ||
	    why->kind == ERR_MISSING || why->kind == ERR_TOO_BIG;

	if (!r->damages || !is_damage)
		return err_set(e, why->kind, "%s", why->text);
	log_error("backup.damaged", NULL, "%s", why->text);
	return 0;
}

/* Objects in order of accounts, some of which can't be read. */
struct gaps {
	const struct reading *r;
	struct account_id last; /* of those that were read */
	bool is_open;           /* the one before could not be */
};

/* What was read begins with account FIRST, or there is no more. */
static void
gaps_end(struct gaps *g, const struct account_id *first)
{
	const struct backup_damage d = {
		.kind = BACKUP_MISSING, .id.account = g->last, .to = *first
	};

	if (g->is_open)
		buf_add(g->r->damages, &d, sizeof(d));
	g->is_open = false;
	g->last = *first;
}

static void
gaps_end_all(struct gaps *g)
{
	struct account_id highest;

	memset(&highest, 0xff, sizeof(highest));
	gaps_end(g, &highest);
}

/* 1: the object is in OUT; 0: it is passed over; -1. */
static int
read_or_pass(
    struct gaps *g, const struct backup_object *o, size_t max, struct buf *out, struct err *e)
{
	struct err why = { 0 };

	if (backup_read_object(g->r->folder, o, max, out, &why) == 0)
		return 1;
	g->is_open = true;
	return pass_over(g->r, &why, e);
}

static int
went(struct reading *r, uint64_t bytes, struct err *e)
{
	r->bytes += bytes;
	if (r->go_on && !r->go_on(r->arg, r->bytes))
		return err_set(e, ERR_CANCELLED, "stopped");
	return 0;
}

/* RUN was read. */
static void
gaps_run(struct gaps *g, struct span run)
{
	struct reader in = READER(run.data, run.len);
	struct change c;

	while (change_next(&in, &c, NULL) > 0)
		gaps_end(g, &c.id.account);
}

/* Each run of records. */
static int
each_run(struct reading *r, int (*fn)(void *arg, struct span run, struct err *e), void *arg,
    struct err *e)
{
	_cleanup_buf_ struct buf run = BUF_INIT(RUN_MAX);
	struct gaps g = { .r = r };

	for (size_t i = 0; i < r->m->n_runs; i++) {
		int rc = read_or_pass(&g, &r->m->runs[i], RUN_MAX, &run, e);
		struct span got = { run.data, run.len };

		if (rc < 0)
			return -1;
		if (rc == 0)
			continue;
		gaps_run(&g, got);
		if (fn(arg, got, e) < 0 || went(r, run.len, e) < 0)
			return -1;
	}
	gaps_end_all(&g);
	return 0;
}

typedef int piece_fn(void *arg, const void *p, size_t n, struct err *e);

/* The bytes of a chunk to FN; whether they are right is known at the end. 1; 0: they are not, *WHY; -1. */
static int
read_chunk(struct reading *r, const struct chunk_entry *c, piece_fn *fn, void *arg, struct err *why,
    struct err *e)
{
	_cleanup_(hash_closep) struct hash *h = hash_open(HASH_SHA256, e);
	uint8_t digest[SHA256_BYTES];
	char path[BACKUP_PATH];
	uint64_t left = c->bytes;
	_cleanup_(fd_closep) int fd = -1;
	ssize_t n = 0;

	if (!h)
		return -1;
	backup_chunk_path(r->folder, c, path);
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		err_errno(why, errno, "%s", path);
		return 0;
	}
	while ((n = read(fd, r->piece, READ_SIZE)) > 0 && (uint64_t)n <= left) {
		hash_add(h, r->piece, (size_t)n);
		left -= (uint64_t)n;
		if ((fn && fn(arg, r->piece, (size_t)n, e) < 0) || went(r, (uint64_t)n, e) < 0)
			return -1;
	}
	if (n < 0) {
		err_errno(why, errno, "%s", path);
		return 0;
	}
	hash_end(h, digest);
	if (!n && !left && memcmp(digest, c->digest, sizeof(digest)) == 0)
		return 1;
	err_set(why, ERR_FORGED, "%s is damaged", path);
	return 0;
}

typedef int entry_fn(struct reading *r, const struct chunk_entry *c, void *arg, struct err *e);

static int
each_chunk(struct reading *r, entry_fn *fn, void *arg, struct err *e)
{
	_cleanup_buf_ struct buf list = BUF_INIT(LIST_MAX);
	struct gaps g = { .r = r };

	for (size_t i = 0; i < r->m->n_lists; i++) {
		int rc = read_or_pass(&g, &r->m->lists[i], LIST_MAX, &list, e);
		struct reader in = READER(list.data, list.len);
		struct chunk_entry c;

		if (rc < 0)
			return -1;
		if (rc == 0)
			continue;
		while ((rc = chunk_entry_next(&in, &c, e)) > 0) {
			gaps_end(&g, &c.id.account);
			if (fn(r, &c, arg, e) < 0)
				return -1;
		}
		if (rc < 0)
			return -1;
	}
	gaps_end_all(&g);
	return 0;
}

static int
begin(struct reading *r, struct err *e)
{
	r->piece = malloc(READ_SIZE);
	return r->piece ? 0 : err_set(e, ERR_MEMORY, "no memory to read a backup");
}

/* --- verifying --- */

struct counts {
	uint64_t records, chunks;
};

static int
look_at_run(void *arg, struct span run, struct err *e)
{
	struct reader r = READER(run.data, run.len);
	struct counts *n = arg;
	struct change c;
	int rc;

	while ((rc = change_next(&r, &c, e)) > 0) {
		if (c.op != CHANGE_PUT)
			return err_set(e, ERR_FORGED, "a backup that deletes");
		n->records++;
	}
	return rc;
}

static int
look_at_chunk(struct reading *r, const struct chunk_entry *c, void *arg, struct err *e)
{
	struct counts *n = arg;
	struct err why = { 0 };
	int rc = read_chunk(r, c, NULL, NULL, &why, e);

	n->chunks++;
	if (rc == 0)
		return err_set(e, why.kind, "%s", why.text);
	return rc < 0 ? -1 : 0;
}

static int
look_at_directory(struct reading *r, struct err *e)
{
	_cleanup_buf_ struct buf all = BUF_INIT(0);

	if (!r->m->has_directory)
		return 0;
	if (backup_read_object(r->folder, &r->m->directory, SIZE_MAX / 4, &all, e) < 0)
		return -1;
	return went(r, all.len, e);
}

int
backup_verify(
    const char *folder, const struct manifest *m, backup_go_on_fn *go_on, void *arg, struct err *e)
{
	struct reading r = { folder, m, go_on, arg, 0, NULL, NULL };
	struct counts n = { 0 };
	int rc = begin(&r, e);

	if (rc == 0 &&
	    (each_run(&r, look_at_run, &n, e) < 0 || each_chunk(&r, look_at_chunk, &n, e) < 0 ||
	        look_at_directory(&r, e) < 0))
		rc = -1;
	if (rc == 0 && (n.records != m->records || n.chunks != m->chunks))
		rc = err_set(e, ERR_FORGED,
		    "%" PRIu64 " records and %" PRIu64 " chunks are there, "
		    "%" PRIu64 " and %" PRIu64 " should be",
		    n.records, n.chunks, m->records, m->chunks);
	free(r.piece);
	return rc < 0 ? err_add(e, "generation %u", m->generation) : 0;
}

/* --- keys --- */

struct trying {
	struct keys *keys;
	uint32_t oldest,
	    newest;          /* that the backup speaks of: a header with any other is malformed */
	uint32_t opened[16]; /* generations of which a key was unwrapped */
	size_t n;
	struct err why; /* the first that was not */
};

static bool
has_opened(const struct trying *t, uint32_t generation)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->opened[i] == generation)
			return true;
	return false;
}

static int
try_key(struct trying *t, const struct change *c, struct err *e)
{
	struct err why = { 0 };
	uint32_t generation;
	int is_header = transfer_key_of(NULL, &c->id, c->key, c->value, &generation, &why);

	if (is_header <= 0 || generation < t->oldest || generation > t->newest ||
	    has_opened(t, generation))
		return 0;
	if (transfer_key_of(t->keys, &c->id, c->key, c->value, &generation, &why) >= 0) {
		if (t->n < ARRAY_LEN(t->opened))
			t->opened[t->n++] = generation;
		return 0;
	}
	if (why.kind == ERR_MISSING)
		return err_set(e, ERR_MISSING,
		    "it needs generation %u of the region key, which was destroyed when the key "
		    "was rotated: restore a newer backup, or with the region key of its time",
		    generation);
	if (why.kind != ERR_FORGED)
		return err_set(e, why.kind, "%s", why.text);
	if (!t->why.kind)
		t->why = why;
	return 0;
}

static int
try_keys(void *arg, struct span run, struct err *e)
{
	struct reader r = READER(run.data, run.len);
	struct change c;
	int rc;

	while ((rc = change_next(&r, &c, e)) > 0)
		if (try_key(arg, &c, e) < 0)
			return -1;
	return rc;
}

int
backup_check_keys(
    const char *folder, const struct manifest *m, struct keys *k, bool passes_over, struct err *e)
{
	_cleanup_buf_ struct buf damages = BUF_INIT(0);
	struct reading r = { .folder = folder, .m = m, .damages = passes_over ? &damages : NULL };
	struct trying t = { .keys = k, .oldest = m->key_oldest, .newest = m->key_newest };

	if (each_run(&r, try_keys, &t, e) < 0)
		return -1;
	return t.why.kind && !t.n
	    ? err_set(e, t.why.kind, "the region key is not the one of this backup: %s", t.why.text)
	    : 0;
}

/* --- putting back --- */

static int
apply_run(void *arg, struct span run, struct err *e)
{
	struct engine *g = arg;

	return engine_tail(g)->apply(g, run, e);
}

struct filling {
	struct chunks *chunks;
	struct chunk_out *out;
	uint64_t filled;      /* bytes of it */
	struct vault_id last; /* to be synced */
	bool has_last;
};

static int
fill_piece(void *arg, const void *p, size_t n, struct err *e)
{
	struct filling *f = arg;

	f->filled += n;
	return chunks_write(f->chunks, f->out, p, n, e);
}

static int
sync_last(struct filling *f, struct err *e)
{
	return f->has_last ? chunks_sync(f->chunks, &f->last, e) : 0;
}

/* Told once a vault. */
static void
note_chunk(struct buf *damages, const struct vault_id *id)
{
	const struct backup_damage d = { .kind = BACKUP_CHUNK, .id = *id };

	if (damages->len < sizeof(d) ||
	    memcmp(damages->data + damages->len - sizeof(d), &d, sizeof(d)) != 0)
		buf_add(damages, &d, sizeof(d));
}

/* Of one that is damaged what is there: each of its segments is sealed, and those that are whole can be read. */
static int
fill_chunk(struct reading *r, const struct chunk_entry *c, void *arg, struct err *e)
{
	struct filling *f = arg;
	struct chunk_name name;
	struct err why = { 0 };
	int rc;

	if (memcmp(&f->last, &c->id, sizeof(c->id)) != 0 && sync_last(f, e) < 0)
		return -1;
	f->last = c->id;
	f->has_last = true;
	memcpy(name.b, c->name, sizeof(name.b));
	f->out = chunks_begin(f->chunks, &c->id, &name, e);
	if (!f->out)
		return -1;
	f->filled = 0;
	rc = read_chunk(r, c, fill_piece, f, &why, e);
	if (rc == 0 && pass_over(r, &why, e) < 0)
		rc = -1;
	if (rc == 0)
		note_chunk(r->damages, &c->id);
	if (rc > 0 || (rc == 0 && f->filled == c->bytes))
		return chunks_finish(f->chunks, f->out, e);
	chunks_abort(f->chunks, f->out);
	return rc;
}

/* To those that M names. */
static int
add_damages(struct manifest *m, struct buf *damages, struct err *e)
{
	const struct backup_damage *d = (void *)damages->data;
	size_t n = damages->len / sizeof(*d);
	struct backup_damage *all;

	if (buf_check(damages, e) < 0)
		return -1;
	if (!n)
		return 0;
	all = realloc(m->damages, (m->n_damages + n) * sizeof(*all));
	if (!all)
		return err_set(e, ERR_MEMORY, "no memory for what is damaged");
	m->damages = all;
	m->damaged += n;
	for (size_t i = 0; i < n; i++) {
		m->missing += d[i].kind == BACKUP_MISSING;
		if (m->n_damages < BACKUP_DAMAGES_MAX)
			m->damages[m->n_damages++] = d[i];
	}
	return 0;
}

int
backup_restore(const char *folder, struct manifest *m, struct engine *engine, struct chunks *chunks,
    bool passes_over, backup_go_on_fn *go_on, void *arg, struct err *e)
{
	_cleanup_buf_ struct buf damages = BUF_INIT(0);
	struct reading r = { folder, m, go_on, arg, 0, NULL, passes_over ? &damages : NULL };
	struct filling f = { .chunks = chunks };
	int rc = begin(&r, e);

	/* Chunks before the records that speak of them, as ever. */
	if (rc == 0 &&
	    (each_chunk(&r, fill_chunk, &f, e) < 0 || sync_last(&f, e) < 0 ||
	        each_run(&r, apply_run, engine, e) < 0 || engine_flush(engine, e) < 0 ||
	        add_damages(m, &damages, e) < 0))
		rc = -1;
	free(r.piece);
	return rc;
}

bool
backup_is_directory(const struct manifest *m, const char *path)
{
	_cleanup_buf_ struct buf all = BUF_INIT(0);
	uint8_t digest[SHA256_BYTES];

	if (!m->has_directory || fs_read(path, m->directory.bytes, &all, NULL) < 0)
		return false;
	sha256(all.data, all.len, digest);
	return memcmp(digest, m->directory.digest, sizeof(digest)) == 0;
}

int
backup_restore_directory(
    const char *folder, const struct manifest *m, const char *to, struct err *e)
{
	_cleanup_buf_ struct buf all = BUF_INIT(0);

	if (!m->has_directory)
		return err_set(e, ERR_MISSING, "generation %u has no directory", m->generation);
	if (access(to, F_OK) == 0)
		return err_set(e, ERR_EXISTS, "%s is there already", to);
	if (backup_read_object(folder, &m->directory, SIZE_MAX / 4, &all, e) < 0)
		return -1;
	return fs_write(to, all.data, all.len, 0600, e);
}
