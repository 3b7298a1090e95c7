/* backup.c - writes a backup while the node serves. See backup.h. */
#include "service/backup_writing_internal.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/host.h"
#include "base/log.h"
#include "chunks/chunks.h"
#include "directory/directory.h"
#include "engine/changes.h"
#include "sealed/keys.h"
#include "vault/region.h"
#include "vault/transfer.h"

#define RUN_CUT   512 /* records in a run, on average */
#define RUN_BYTES ((size_t)8 << 20)

enum step { STEP_RECORDS, STEP_CHUNKS, STEP_DIRECTORY, STEP_END, STEPS };
static const char *const step_names[STEPS] = { "records", "chunks", "directory", "end" };

/* --- files --- */

int
writing_stopped(const struct backup *b, struct err *e)
{
	return atomic_load(&b->is_stopping) ? err_set(e, ERR_CANCELLED, "the node is stopping") : 0;
}

bool
backup_is_there(const char *path, uint64_t bytes)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == bytes;
}

static void
part_path(const struct writing *w, char out[static BACKUP_PATH])
{
	snprintf(out, BACKUP_PATH, "%s/part", w->folder);
}

int
writing_begin_part(struct writing *w, struct err *e)
{
	char part[BACKUP_PATH];
	int fd;

	part_path(w, part);
	fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? err_errno(e, errno, "%s", part) : fd;
}

int
writing_put_part(struct writing *w, int fd, const char *path, struct err *e)
{
	char part[BACKUP_PATH];

	part_path(w, part);
	if (fdatasync(fd) < 0 || rename(part, path) < 0)
		return err_errno(e, errno, "%s", path);
	return 0;
}

/* Whether the folder has object O, and as it should be: what has become damaged there is written anew. */
static bool
has_content(const char *folder, const struct backup_object *o)
{
	_cleanup_buf_ struct buf there = BUF_INIT(0);

	return backup_read_object(folder, o, o->bytes, &there, NULL) == 0;
}

int
writing_put_object(
    struct writing *w, const void *p, size_t n, struct backup_object *out, struct err *e)
{
	char path[BACKUP_PATH];
	_cleanup_(fd_closep) int fd = -1;

	sha256(p, n, out->digest);
	out->bytes = n;
	backup_object_path(w->folder, out->digest, path);
	if (has_content(w->folder, out))
		return 0;
	fd = writing_begin_part(w, e);
	if (fd < 0 || fs_write_all(fd, p, n, e) < 0 || writing_put_part(w, fd, path, e) < 0)
		return err_add(e, "backup");
	atomic_fetch_add(&w->b->new_bytes, n);
	return 0;
}

/* --- records --- */

/* Whether a run ends before this key: its hash alone decides (FNV-1a), so that runs stay as they are when
 * their neighbours change. */
static bool
is_cut(const struct vault_id *id, struct span key)
{
	const uint8_t *p = (const void *)id;
	uint64_t hash = 0xcbf29ce484222325;

	for (size_t i = 0; i < sizeof(*id); i++)
		hash = (hash ^ p[i]) * 0x100000001b3;
	for (size_t i = 0; i < key.len; i++)
		hash = (hash ^ key.data[i]) * 0x100000001b3;
	return (hash >> 32) % RUN_CUT == 0;
}

static int
end_run(struct writing *w, struct err *e)
{
	struct backup_object o;

	if (!w->run.len)
		return 0;
	if (buf_check(&w->run, e) < 0 || writing_put_object(w, w->run.data, w->run.len, &o, e) < 0)
		return -1;
	buf_add(&w->runs, &o, sizeof(o));
	buf_clear(&w->run);
	return 0;
}

bool
writing_note_damage(struct writing *w, const struct backup_damage *d)
{
	if (w->m.damaged++ >= BACKUP_DAMAGES_MAX)
		return false;
	buf_add(&w->damages, d, sizeof(*d));
	return true;
}

/* The oldest and newest generation of the region key that the vaults need. A malformed header says
 * nothing of that, and is its own account's trouble. */
static int
note_key(
    struct writing *w, const struct vault_id *id, struct span key, struct span value, struct err *e)
{
	struct manifest *m = &w->m;
	struct err why = { 0 };
	uint32_t generation;
	int r = transfer_key_of(NULL, id, key, value, &generation, &why);

	if (r < 0 && (why.kind != ERR_FORGED || id->service >= SERVICES))
		return err_set(e, why.kind, "%s", why.text);
	if (r < 0 ||
	    (r > 0 &&
	        (generation < w->key_oldest || generation > keys_generation(w->b->node->keys)))) {
		writing_note_damage(w, &(struct backup_damage){ .kind = BACKUP_HEADER, .id = *id });
		return 0;
	}
	if (r == 0)
		return 0;
	if (!m->key_oldest || generation < m->key_oldest)
		m->key_oldest = generation;
	if (generation > m->key_newest)
		m->key_newest = generation;
	return 0;
}

static void
note_chunks(struct writing *w, const struct vault_id *id)
{
	struct buf *all = &w->with_chunks;

	if (all->len < sizeof(*id) || memcmp(all->data + all->len - sizeof(*id), id, sizeof(*id)))
		buf_add(all, id, sizeof(*id));
}

static int
keep_record(void *arg, const struct vault_id *id, struct span key, struct span value, struct err *e)
{
	const struct change c = { .op = CHANGE_PUT, .id = *id, .key = key, .value = value };
	struct writing *w = arg;

	if (writing_stopped(w->b, e) < 0 || note_key(w, id, key, value, e) < 0)
		return -1;
	if ((is_cut(id, key) || w->run.len >= RUN_BYTES) && end_run(w, e) < 0)
		return -1;
	if (id->service != SERVICE_REGION && memcmp(id, &w->last, sizeof(*id)) != 0)
		w->m.vaults++;
	if (transfer_is_chunk(id, key))
		note_chunks(w, id);
	w->last = *id;
	w->m.accounts += id->service == SERVICE_REGION && key.data[0] == REGION_HOME;
	change_add(&w->run, &c);
	w->m.records++;
	w->m.record_bytes += key.len + value.len;
	atomic_store(&w->b->records, w->m.records);
	atomic_store(&w->b->record_bytes, w->m.record_bytes);
	return 0;
}

static int
note_gap(void *arg, const struct vault_id *from, const struct vault_id *to, const struct err *why,
    struct err *e)
{
	const struct backup_damage d = {
		.kind = BACKUP_MISSING, .id.account = from->account, .to = to->account
	};
	char first[ACCOUNT_TEXT_SIZE], last[ACCOUNT_TEXT_SIZE];
	struct writing *w = arg;

	w->m.missing++;
	if (writing_note_damage(w, &d)) {
		account_text(&d.id.account, first);
		account_text(&d.to, last);
		log_error("backup.missing", NULL, "from=%s to=%s %s", first, last, why->text);
	}
	return writing_stopped(w->b, e);
}

static int
write_records(struct writing *w, struct err *e)
{
	atomic_store(&w->b->about, engine_size(w->b->node->engine));
	if (engine_each(w->b->node->engine, keep_record, note_gap, w, e) < 0)
		return -1;
	return end_run(w, e);
}

/* --- the directory --- */

static int
write_directory(struct writing *w, struct err *e)
{
	char part[BACKUP_PATH], copy[BACKUP_PATH + 16];
	_cleanup_buf_ struct buf all = BUF_INIT(0);
	int rc;

	if (!w->b->node->serves_directory)
		return 0;
	part_path(w, part);
	snprintf(copy, sizeof(copy), "%s.sqlite", part);
	unlink(copy);
	rc = directory_sqlite_copy(w->b->node->directory, copy, e);
	if (rc == 0)
		rc = fs_read(copy, SIZE_MAX / 4, &all, e);
	unlink(copy);
	if (rc < 0 || buf_check(&all, e) < 0 ||
	    writing_put_object(w, all.data, all.len, &w->m.directory, e) < 0)
		return -1;
	w->m.has_directory = true;
	return 0;
}

/* --- the whole --- */

static int
write_manifest(struct writing *w, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX);
	_cleanup_(fd_closep) int fd = open(w->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char path[BACKUP_PATH];

	if (buf_check(&w->runs, e) < 0 || buf_check(&w->lists, e) < 0 ||
	    buf_check(&w->damages, e) < 0)
		return -1;
	w->m.runs = (void *)w->runs.data;
	w->m.n_runs = w->runs.len / sizeof(*w->m.runs);
	w->m.lists = (void *)w->lists.data;
	w->m.n_lists = w->lists.len / sizeof(*w->m.lists);
	w->m.damages = (void *)w->damages.data;
	w->m.n_damages = w->damages.len / sizeof(*w->m.damages);
	w->m.finished_ms = host_wall_ms();
	if (manifest_text(&w->m, &text, e) < 0)
		return -1;
	/* The names of all that it speaks of, before it. */
	if (fd < 0 || syncfs(fd) < 0)
		return err_errno(e, errno, "%s", w->folder);
	backup_manifest_path(w->folder, w->m.generation, path);
	return fs_write(path, text.data, text.len, 0600, e);
}

static int
write_all(struct writing *w, struct err *e)
{
	struct node *n = w->b->node;
	int rc = 0;

	w->m.began_ms = host_wall_ms();
	if (n->engine) {
		/* Before the records are read: what they speak of stays until it is copied, and a rotation may
		 * end meanwhile. */
		w->key_oldest = keys_oldest(n->keys);
		chunks_hold(n->chunks);
		rc = write_records(w, e);
		atomic_store(&w->b->step, STEP_CHUNKS);
		if (rc == 0)
			rc = writing_chunks(w, e);
		chunks_unhold(n->chunks);
	}
	atomic_store(&w->b->step, STEP_DIRECTORY);
	if (rc < 0 || write_directory(w, e) < 0)
		return -1;
	atomic_store(&w->b->step, STEP_END);
	if (write_manifest(w, e) < 0)
		return -1;
	return backup_prune(w->folder, w->keep, e);
}

static void
writing_free(struct writing *w)
{
	if (!w)
		return;
	manifest_free(&w->before);
	buf_free(&w->runs);
	buf_free(&w->lists);
	buf_free(&w->damages);
	buf_free(&w->run);
	buf_free(&w->known);
	buf_free(&w->list);
	buf_free(&w->names);
	buf_free(&w->with_chunks);
	free(w->copying);
	if (w->lock_fd >= 0)
		close(w->lock_fd);
	free(w);
}

static void *
run(void *arg)
{
	struct writing *w = arg;
	struct backup *b = w->b;
	struct err e = { 0 };
	int rc = write_all(w, &e);
	json_t *last = rc == 0 ? manifest_json(&w->m) : NULL;

	if (rc == 0)
		log_info("backup.done", NULL,
		    "generation=%u accounts=%" PRIu64 " records=%" PRIu64 " chunks=%" PRIu64
		    " new_bytes=%" PRIu64 " damaged=%" PRIu64 " missing=%" PRIu64,
		    w->m.generation, w->m.accounts, w->m.records, w->m.chunks,
		    atomic_load(&b->new_bytes), w->m.damaged, w->m.missing);
	else
		log_error("backup.failed", NULL, "%s", e.text);
	writing_free(w); /* who hears that it is done finds the folder free */
	pthread_mutex_lock(&b->lock);
	json_decref(b->last);
	b->last = last;
	b->state = rc == 0 ? DONE : FAILED;
	b->why = e;
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

/* --- beginning --- */

static bool
is_inside(const char *path, const char *of)
{
	size_t n = strlen(of);

	return n && strncmp(path, of, n) == 0 && (path[n] == '/' || !path[n]);
}

static int
lock_folder(struct writing *w, struct err *e)
{
	char path[BACKUP_PATH];

	snprintf(path, sizeof(path), "%s/" BACKUP_MARK, w->folder);
	w->lock_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (w->lock_fd < 0)
		return err_errno(e, errno, "%s", path);
	if (flock(w->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(
		    e, ERR_BUSY, "%s is in use by another backup, verify or restore", w->folder);
	return 0;
}

/* With its lists of chunks: what is not known to be there is copied anew. */
static int
load_generation(struct writing *w, uint32_t number, struct err *e)
{
	_cleanup_manifest_ struct manifest m = { 0 };
	_cleanup_buf_ struct buf list = BUF_INIT(LIST_MAX);

	if (backup_manifest(w->folder, number, &m, e) < 0)
		return -1;
	for (size_t i = 0; i < m.n_lists; i++)
		if (backup_read_object(w->folder, &m.lists[i], LIST_MAX, &list, e) < 0)
			return err_add(e, "generation %u", number);
	w->before = m;
	m = (struct manifest){ 0 };
	return 0;
}

static int
load_before(struct writing *w, struct err *e)
{
	_cleanup_buf_ struct buf numbers = BUF_INIT(0);
	struct err why;
	uint32_t number;

	if (backup_generations(w->folder, &numbers, e) < 0)
		return -1;
	w->m.generation = 1;
	if (!numbers.len)
		return 0;
	memcpy(&w->m.generation, numbers.data + numbers.len - sizeof(uint32_t), sizeof(uint32_t));
	if (++w->m.generation > GENERATION_MAX)
		return err_set(e, ERR_FULL, "%s is used up; begin another folder", w->folder);
	/* One that can't be read is of no help, and is no hindrance: what an older one has is as good. */
	for (size_t at = numbers.len; at > 0; at -= sizeof(number)) {
		memcpy(&number, numbers.data + at - sizeof(number), sizeof(number));
		if (load_generation(w, number, &why) == 0)
			break;
		log_warn("backup.before", NULL, "is not built on: %s", why.text);
	}
	return 0;
}

static struct writing *
prepare(struct backup *b, const char *folder, unsigned keep, struct err *e)
{
	struct writing *w = calloc(1, sizeof(*w));

	if (w)
		w->copying = malloc(WRITING_COPY);
	if (!w || !w->copying) {
		free(w);
		err_set(e, ERR_MEMORY, "no memory for a backup");
		return NULL;
	}
	w->b = b;
	w->folder = b->folder;
	w->keep = keep;
	w->lock_fd = -1;
	w->run = BUF_INIT(RUN_MAX);
	w->list = BUF_INIT(LIST_MAX);
	snprintf(w->m.region, sizeof(w->m.region), "%s", b->node->region);
	if (fs_mkdir(folder, 0700, e) == 0 && realpath(folder, b->folder)) {
		if (is_inside(b->folder, b->store) || is_inside(b->store, b->folder))
			err_set(e, ERR_BAD, "%s: a backup can't lie in the store, or around it",
			    folder);
		else if (backup_folder_take(b->folder, b->node->region, e) == 0 &&
		    lock_folder(w, e) == 0 && backup_folder_fill(b->folder, e) == 0 &&
		    load_before(w, e) == 0)
			return w;
	} else if (!e->text[0]) {
		err_errno(e, errno, "%s", folder);
	}
	if (e && e->kind == ERR_DENIED)
		err_set(e, ERR_DENIED,
		    "%s: the node may not write there; add to its region.conf 'may_write = ' and that "
		    "folder, or one around it that is there, and restart it",
		    folder);
	writing_free(w);
	return NULL;
}

static void
reset_figures(struct backup *b)
{
	atomic_store(&b->step, STEP_RECORDS);
	atomic_store(&b->records, 0);
	atomic_store(&b->record_bytes, 0);
	atomic_store(&b->about, 0);
	atomic_store(&b->chunks, 0);
	atomic_store(&b->chunks_total, 0);
	atomic_store(&b->chunk_bytes, 0);
	atomic_store(&b->new_bytes, 0);
	atomic_store(&b->new_chunks, 0);
}

static int
begin_locked(struct backup *b, const char *folder, unsigned keep, struct err *e)
{
	struct writing *w;

	if (b->state == RUNNING)
		return err_set(e, ERR_BUSY, "a backup into %s is being written", b->folder);
	if (folder[0] != '/')
		return err_set(e, ERR_BAD, "%s: expected an absolute path", folder);
	if (b->has_thread)
		pthread_join(b->thread, NULL);
	b->has_thread = false;
	e->text[0] = 0;
	w = prepare(b, folder, keep, e);
	if (!w)
		return -1;
	reset_figures(b);
	if (pthread_create(&b->thread, NULL, run, w) != 0) {
		writing_free(w);
		return err_set(e, ERR_MEMORY, "no thread for a backup");
	}
	b->has_thread = true;
	b->state = RUNNING;
	return 0;
}

int
backup_begin(struct backup *b, const char *folder, unsigned keep, struct err *e)
{
	int r;

	pthread_mutex_lock(&b->lock);
	r = begin_locked(b, folder, keep, e);
	pthread_mutex_unlock(&b->lock);
	return r;
}

int
backup_status(struct backup *b, json_t **out, struct err *e)
{
	static const char *const states[] = {
		[IDLE] = "none", [RUNNING] = "running", [DONE] = "done", [FAILED] = "failed"
	};
	json_t *j;

	pthread_mutex_lock(&b->lock);
	j = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "state",
	    states[b->state], "folder", b->folder, "step", step_names[atomic_load(&b->step)],
	    "records", (json_int_t)atomic_load(&b->records), "record_bytes",
	    (json_int_t)atomic_load(&b->record_bytes), "record_bytes_about",
	    (json_int_t)atomic_load(&b->about), "chunks", (json_int_t)atomic_load(&b->chunks),
	    "chunks_total", (json_int_t)atomic_load(&b->chunks_total), "chunk_bytes",
	    (json_int_t)atomic_load(&b->chunk_bytes), "new_bytes",
	    (json_int_t)atomic_load(&b->new_bytes), "new_chunks",
	    (json_int_t)atomic_load(&b->new_chunks));
	if (j && b->state == FAILED) {
		json_object_set_new(j, "error", json_string(b->why.text));
		json_object_set_new(j, "kind", json_string(err_word(b->why.kind)));
	}
	if (j && b->state == DONE)
		json_object_set(j, "backup", b->last);
	pthread_mutex_unlock(&b->lock);
	if (!j)
		return err_set(e, ERR_MEMORY, "no memory for the answer");
	*out = j;
	return 0;
}

struct backup *
backup_open(struct node *n, const char *store, struct err *e)
{
	struct backup *b = calloc(1, sizeof(*b));

	if (!b) {
		err_set(e, ERR_MEMORY, "no memory for backups");
		return NULL;
	}
	b->node = n;
	if (store && !realpath(store, b->store)) {
		err_errno(e, errno, "%s", store);
		free(b);
		return NULL;
	}
	pthread_mutex_init(&b->lock, NULL);
	return b;
}

void
backup_close(struct backup *b)
{
	if (!b)
		return;
	atomic_store(&b->is_stopping, true);
	if (b->has_thread)
		pthread_join(b->thread, NULL);
	json_decref(b->last);
	pthread_mutex_destroy(&b->lock);
	free(b);
}
