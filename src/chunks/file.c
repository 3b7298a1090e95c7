/* file.c - chunks as files of their own.
 *
 *   ROOT/ab/<account as 32 hex>.<service number>/<name as 32 hex>        finished
 *   ROOT/ab/<account as 32 hex>.<service number>/<name as 32 hex>.part   being written
 *
 * The 256 folders "ab" are made when the store is, so that nobody has to wonder later whether their
 * names are durable. Every path is made of digits of ours, so none leads elsewhere.
 */
#include "base/fs.h"
#include "base/log.h"
#include "base/space.h"
#include "chunks/chunks.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define START_BYTES ((size_t)1 << 20)
#define PATH_SIZE   640
#define NAME_CHARS  (2 * CHUNK_NAME_BYTES)
#define VAULT_CHARS (ACCOUNT_TEXT_SIZE - 1)
#define PART        ".part"
#define GROUPS      256

struct file_chunks {
	struct chunks chunks;
	char *root; /* short enough for PATH_SIZE */
	struct space space;
	/* By the account's first byte, held while a name appears in a vault's folder and while the
	 * folder is dropped, so that neither spoils the other. */
	pthread_mutex_t groups[GROUPS];

	pthread_mutex_t hold_lock; /* of what follows */
	unsigned holds;
	struct buf held; /* of struct doomed: to be removed when nobody holds any more */
};

struct doomed {
	struct vault_id id;
	struct chunk_name name;
};

struct chunk_out {
	struct space *space;
	pthread_mutex_t *group;
	int fd;
	size_t bytes;
	size_t started; /* of them on their way to the disk */
	char part[PATH_SIZE];
	char path[PATH_SIZE];
};

struct chunk_in {
	int fd;
	uint64_t bytes;
};

static struct file_chunks *
file_of(struct chunks *c)
{
	return container_of(c, struct file_chunks, chunks);
}

/* Paths */

static void
group_path(const struct file_chunks *f, unsigned first_byte, char *out)
{
	snprintf(out, PATH_SIZE, "%s/%02x", f->root, first_byte);
}

static void
vault_path(const struct file_chunks *f, const struct vault_id *id, char *out)
{
	char account[ACCOUNT_TEXT_SIZE];

	account_text(&id->account, account);
	snprintf(out, PATH_SIZE, "%s/%02x/%s.%u", f->root, id->account.b[0], account, id->service);
}

static void
chunk_path(const struct file_chunks *f, const struct vault_id *id, const struct chunk_name *name,
    const char *suffix, char *out)
{
	char text[NAME_CHARS + 1];
	size_t n;

	vault_path(f, id, out);
	hex_text(name->b, sizeof(name->b), text);
	n = strlen(out);
	snprintf(out + n, PATH_SIZE - n, "/%s%s", text, suffix);
}

/* The vault that folder TEXT is of: exactly as vault_path writes it. */
static bool
parse_vault(const char *text, struct vault_id *out)
{
	char account[ACCOUNT_TEXT_SIZE], again[16];
	unsigned service;

	if (strlen(text) < VAULT_CHARS + 2 || text[VAULT_CHARS] != '.')
		return false;
	memcpy(account, text, VAULT_CHARS);
	account[VAULT_CHARS] = 0;
	if (!account_parse(account, &out->account) ||
	    sscanf(text + VAULT_CHARS + 1, "%3u", &service) != 1 || service > 255)
		return false;
	snprintf(again, sizeof(again), "%u", service);
	out->service = (uint8_t)service;
	return strcmp(again, text + VAULT_CHARS + 1) == 0;
}

static bool
parse_name(const char *text, struct chunk_name *out)
{
	return strspn(text, "0123456789abcdef") == NAME_CHARS &&
	    hex_parse(text, out->b, sizeof(out->b));
}

static bool
is_part(const char *text)
{
	return strlen(text) == NAME_CHARS + strlen(PART) && strcmp(text + NAME_CHARS, PART) == 0;
}

/* That a file may not be opened is this node's trouble: it is nobody's who asked for a chunk. */
static int
chunk_errno(struct err *e, int errnum, const char *what)
{
	err_errno(e, errnum, "%s", what);
	if (e && e->kind == ERR_DENIED)
		e->kind = ERR_IO;
	return -1;
}

/* Walking */

static void
dir_closep(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* Open folder PATH. *OUT is NULL when there is none. */
static int
open_dir(const char *path, DIR **out, struct err *e)
{
	*out = opendir(path);
	if (!*out && errno != ENOENT)
		return chunk_errno(e, errno, "open a chunk folder");
	return 0;
}

/* The next entry but "." and ".."; 1, or 0 at the end. A folder that can't be read to its end is not shorter. */
static int
next_entry(DIR *d, const struct dirent **entry, struct err *e)
{
	do {
		errno = 0;
		*entry = readdir(d);
	} while (*entry && (!strcmp((*entry)->d_name, ".") || !strcmp((*entry)->d_name, "..")));
	if (!*entry && errno)
		return chunk_errno(e, errno, "read a chunk folder");
	return *entry != NULL;
}

typedef int vault_fn(struct file_chunks *f, const struct vault_id *id, void *arg, struct err *e);

/* FN for every vault of the group, until it returns something else than 0. *WHY the group's folder can't be
 * read, if so. */
static int
each_of_group(
    struct file_chunks *f, unsigned first, vault_fn *fn, void *arg, struct err *why, struct err *e)
{
	_cleanup_(dir_closep) DIR *d = NULL;
	const struct dirent *entry;
	char path[PATH_SIZE];
	struct vault_id id;
	int rc = 0, more;

	group_path(f, first, path);
	more = open_dir(path, &d, why);
	while (rc == 0 && d && (more = next_entry(d, &entry, why)) > 0)
		if (parse_vault(entry->d_name, &id) && id.account.b[0] == first)
			rc = fn(f, &id, arg, e);
	if (more < 0)
		err_add(why, "group %02x", first);
	return rc;
}

/* FN for every vault that has a folder. 1 from FN ends the walk. A group that can't be read does not, but
 * fails it in the end. */
static int
each_vault(struct file_chunks *f, vault_fn *fn, void *arg, struct err *e)
{
	struct err why = { 0 };
	int rc = 0;

	for (unsigned first = 0; first < GROUPS && rc == 0; first++)
		rc = each_of_group(f, first, fn, arg, &why, e);
	if (rc == 0 && why.kind != ERR_NONE)
		return err_set(e, why.kind, "%s", why.text);
	return rc;
}

/* Writing */

/* With the group's lock held. */
static int
open_part(struct file_chunks *f, const struct vault_id *id, const char *part)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	char vault[PATH_SIZE];
	int fd = open(part, flags, 0600);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	vault_path(f, id, vault); /* it is the vault's first chunk */
	if (mkdir(vault, 0700) < 0 && errno != EEXIST)
		return -1;
	return open(part, flags, 0600);
}

static int
check_space(struct space *s, struct err *e)
{
	return space_room(s) ? 0 : err_set(e, ERR_FULL, "no space left for chunks");
}

static struct chunk_out *
file_begin(
    struct chunks *c, const struct vault_id *id, const struct chunk_name *name, struct err *e)
{
	struct file_chunks *f = file_of(c);
	_cleanup_(freep) struct chunk_out *o = NULL;
	int why;

	if (check_space(&f->space, e) < 0)
		return NULL;
	o = calloc(1, sizeof(*o));
	if (!o) {
		err_set(e, ERR_MEMORY, "no memory for a chunk");
		return NULL;
	}
	chunk_path(f, id, name, PART, o->part);
	chunk_path(f, id, name, "", o->path);
	o->space = &f->space;
	o->group = &f->groups[id->account.b[0]];
	pthread_mutex_lock(o->group);
	o->fd = open_part(f, id, o->part);
	why = errno;
	pthread_mutex_unlock(o->group);
	if (o->fd < 0) {
		chunk_errno(e, why, "begin a chunk");
		return NULL;
	}
	return take(&o);
}

static int
file_write(struct chunk_out *o, const void *p, size_t n, struct err *e)
{
	if (n > CHUNK_MAX_BYTES - o->bytes)
		return err_set(e, ERR_TOO_BIG, "a chunk of more than %zu bytes", CHUNK_MAX_BYTES);
	if (check_space(o->space, e) < 0)
		return -1;
	if (fs_write_all(o->fd, p, n, e) < 0)
		return err_add(e, "chunk");
	o->bytes += n;
	/* The disk works while the next bytes are sealed, so that finishing has little to wait for. An
	 * error shows there. */
	if (o->bytes - o->started >= START_BYTES) {
		sync_file_range(o->fd, (off_t)o->started, (off_t)(o->bytes - o->started),
		    SYNC_FILE_RANGE_WRITE);
		o->started = o->bytes;
	}
	return 0;
}

static void
file_abort(struct chunk_out *o)
{
	if (!o)
		return;
	close(o->fd);
	unlink(o->part);
	free(o);
}
CLEANUP(struct chunk_out, file_abort)

/* Rename, but never over a chunk that is there: chunks are immutable. */
static int
rename_new(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	/* A file system that can't. With the group's lock held nobody is between these two. */
	if (access(to, F_OK) == 0) {
		errno = EEXIST;
		return -1;
	}
	return rename(from, to);
}

static int
file_finish(struct chunk_out *o, struct err *e)
{
	_cleanup_(file_abortp) struct chunk_out *unfinished = o;
	int rc, why;

	if (fdatasync(o->fd) < 0)
		return chunk_errno(e, errno, "finish a chunk");
	pthread_mutex_lock(o->group);
	rc = rename_new(o->part, o->path);
	why = errno;
	pthread_mutex_unlock(o->group);
	if (rc < 0)
		return chunk_errno(e, why, "finish a chunk");
	close(o->fd);
	free(take(&unfinished));
	return 0;
}

static int
sync_if_there(const char *path, struct err *e)
{
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fsync(fd) < 0)
		return chunk_errno(e, errno, "sync a chunk folder");
	return 0;
}

static int
file_sync(struct chunks *c, const struct vault_id *id, struct err *e)
{
	struct file_chunks *f = file_of(c);
	char path[PATH_SIZE];

	vault_path(f, id, path);
	if (sync_if_there(path, e) < 0)
		return -1;
	group_path(f, id->account.b[0], path);
	return sync_if_there(path, e);
}

/* Reading */

static void
file_close_in(struct chunk_in *i)
{
	if (!i)
		return;
	if (i->fd >= 0)
		close(i->fd);
	free(i);
}
CLEANUP(struct chunk_in, file_close_in)

static struct chunk_in *
file_open(struct chunks *c, const struct vault_id *id, const struct chunk_name *name, struct err *e)
{
	_cleanup_(file_close_inp) struct chunk_in *i = calloc(1, sizeof(*i));
	char path[PATH_SIZE];
	struct stat st;

	if (!i) {
		err_set(e, ERR_MEMORY, "no memory for a chunk");
		return NULL;
	}
	chunk_path(file_of(c), id, name, "", path);
	i->fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (i->fd < 0 || fstat(i->fd, &st) < 0) {
		chunk_errno(e, errno, "open a chunk");
		return NULL;
	}
	i->bytes = (uint64_t)st.st_size;
	return take(&i);
}

static int
file_read(struct chunk_in *i, uint64_t offset, void *out, size_t n, struct err *e)
{
	uint8_t *at = out;

	if (offset > i->bytes || n > i->bytes - offset)
		return err_set(e, ERR_FORGED, "a chunk is shorter than it should be");
	while (n) {
		ssize_t got = pread(i->fd, at, n, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return chunk_errno(e, errno, "read a chunk");
		if (got == 0) /* it shrank meanwhile: not by us */
			return err_set(e, ERR_FORGED, "a chunk is shorter than it should be");
		at += got;
		offset += (uint64_t)got;
		n -= (size_t)got;
	}
	return 0;
}

static uint64_t
file_bytes(struct chunk_in *i)
{
	return i->bytes;
}

/* Removing and listing */

/* Keep the chunk for now if somebody holds. One that can't be remembered is swept some day. */
static bool
is_held(struct file_chunks *f, const struct vault_id *id, const struct chunk_name *name)
{
	const struct doomed d = { *id, *name };
	bool held;

	pthread_mutex_lock(&f->hold_lock);
	held = f->holds > 0;
	if (held)
		buf_add(&f->held, &d, sizeof(d));
	pthread_mutex_unlock(&f->hold_lock);
	return held;
}

static int
file_remove(
    struct chunks *c, const struct vault_id *id, const struct chunk_name *name, struct err *e)
{
	char path[PATH_SIZE];

	if (is_held(file_of(c), id, name))
		return 0;
	chunk_path(file_of(c), id, name, "", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return chunk_errno(e, errno, "remove a chunk");
	return 0;
}

static void
file_hold(struct chunks *c)
{
	struct file_chunks *f = file_of(c);

	pthread_mutex_lock(&f->hold_lock);
	f->holds++;
	pthread_mutex_unlock(&f->hold_lock);
}

static void
file_unhold(struct chunks *c)
{
	struct file_chunks *f = file_of(c);
	_cleanup_buf_ struct buf held = BUF_INIT(0);

	pthread_mutex_lock(&f->hold_lock);
	if (--f->holds == 0) {
		held = f->held;
		f->held = BUF_INIT(0);
	}
	pthread_mutex_unlock(&f->hold_lock);
	if (buf_check(&held, NULL) < 0)
		return;
	for (size_t at = 0; at + sizeof(struct doomed) <= held.len; at += sizeof(struct doomed)) {
		struct doomed d;
		char path[PATH_SIZE];

		memcpy(&d, held.data + at, sizeof(d));
		chunk_path(f, &d.id, &d.name, "", path);
		unlink(path);
	}
}

/* What is held of vault ID goes at once. A chunk of the same name that comes later is another one. */
static void
forget_held(struct file_chunks *f, const struct vault_id *id)
{
	struct doomed *d;
	size_t n = 0, all;

	pthread_mutex_lock(&f->hold_lock);
	d = (void *)f->held.data;
	all = f->held.len / sizeof(*d);
	for (size_t i = 0; i < all; i++)
		if (memcmp(&d[i].id, id, sizeof(*id)) != 0)
			d[n++] = d[i];
	f->held.len = n * sizeof(*d);
	pthread_mutex_unlock(&f->hold_lock);
}

/* Remove every file in D, or only the unfinished chunks. */
static int
empty_dir(DIR *d, bool only_parts, struct err *e)
{
	const struct dirent *entry;
	int more;

	while ((more = next_entry(d, &entry, e)) > 0) {
		if (only_parts && !is_part(entry->d_name))
			continue;
		if (unlinkat(dirfd(d), entry->d_name, 0) < 0 && errno != ENOENT)
			return chunk_errno(e, errno, "remove a chunk");
	}
	return more;
}

/* With the group's lock held. */
static int
drop_folder(const char *path, struct err *e)
{
	_cleanup_(dir_closep) DIR *d = NULL;

	if (open_dir(path, &d, e) < 0)
		return -1;
	if (!d)
		return 0;
	if (empty_dir(d, false, e) < 0)
		return -1;
	if (fsync(dirfd(d)) < 0 || rmdir(path) < 0)
		return chunk_errno(e, errno, "remove chunks");
	return 0;
}

static int
file_drop(struct chunks *c, const struct vault_id *id, struct err *e)
{
	struct file_chunks *f = file_of(c);
	pthread_mutex_t *group = &f->groups[id->account.b[0]];
	char path[PATH_SIZE];
	int rc;

	vault_path(f, id, path);
	forget_held(f, id);
	pthread_mutex_lock(group);
	rc = drop_folder(path, e);
	pthread_mutex_unlock(group);
	if (rc < 0)
		return -1;
	group_path(f, id->account.b[0], path);
	return sync_if_there(path, e);
}

struct listing {
	chunks_list_fn *fn;
	void *arg;
};

static int
list_vault(struct file_chunks *f, const struct vault_id *id, void *arg, struct err *e)
{
	const struct listing *l = arg;
	_cleanup_(dir_closep) DIR *d = NULL;
	const struct dirent *entry;
	struct chunk_name name;
	struct stat st;
	char path[PATH_SIZE];
	int rc = 0, more = 0;

	vault_path(f, id, path);
	if (open_dir(path, &d, e) < 0)
		return -1;
	while (rc == 0 && d && (more = next_entry(d, &entry, e)) > 0) {
		if (!parse_name(entry->d_name, &name))
			continue;
		if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			if (errno != ENOENT) /* it was removed meanwhile */
				return chunk_errno(e, errno, "look at a chunk");
			continue;
		}
		if (S_ISREG(st.st_mode))
			rc = l->fn(l->arg, id, &name, (uint64_t)st.st_size, e);
	}
	return d && more < 0 ? -1 : rc;
}

static int
file_list(struct chunks *c, const struct vault_id *id, chunks_list_fn *fn, void *arg, struct err *e)
{
	struct file_chunks *f = file_of(c);
	struct listing l = { fn, arg };
	int rc = id ? list_vault(f, id, &l, e) : each_vault(f, list_vault, &l, e);

	return rc < 0 ? -1 : 0;
}

static uint64_t
file_room(struct chunks *c)
{
	return space_room(&file_of(c)->space);
}

struct vault_listing {
	chunks_vault_fn *fn;
	void *arg;
};

static int
list_folder(struct file_chunks *f, const struct vault_id *id, void *arg, struct err *e)
{
	const struct vault_listing *l = arg;

	(void)f;
	return l->fn(l->arg, id, e);
}

static int
file_vaults(struct chunks *c, chunks_vault_fn *fn, void *arg, struct err *e)
{
	struct vault_listing l = { fn, arg };

	return each_vault(file_of(c), list_folder, &l, e) < 0 ? -1 : 0;
}

static void
file_close(struct chunks *c)
{
	struct file_chunks *f = file_of(c);

	for (unsigned i = 0; i < GROUPS; i++)
		pthread_mutex_destroy(&f->groups[i]);
	pthread_mutex_destroy(&f->hold_lock);
	buf_free(&f->held);
	free(f->root);
	free(f);
}

static const struct chunks_ops file_ops = {
	.scheme = "file",
	.begin = file_begin,
	.write = file_write,
	.finish = file_finish,
	.abort = file_abort,
	.sync = file_sync,
	.open = file_open,
	.read = file_read,
	.bytes = file_bytes,
	.close_in = file_close_in,
	.remove = file_remove,
	.hold = file_hold,
	.unhold = file_unhold,
	.drop = file_drop,
	.list = file_list,
	.room = file_room,
	.vaults = file_vaults,
	.close = file_close,
};

/* Opening */

static int
make_groups(struct file_chunks *f, struct err *e)
{
	char path[PATH_SIZE];
	bool any_new = false;

	for (unsigned first = 0; first < GROUPS; first++) {
		group_path(f, first, path);
		if (mkdir(path, 0700) == 0)
			any_new = true;
		else if (errno != EEXIST)
			return err_errno(e, errno, "%s", path);
	}
	return any_new ? fs_sync_dir(f->root, e) : 0;
}

/* Nobody writes yet: what is unfinished is left from a crash. A folder that can't be read costs its own vaults. */
static int
remove_parts(struct file_chunks *f, const struct vault_id *id, void *arg, struct err *e)
{
	_cleanup_(dir_closep) DIR *d = NULL;
	char path[PATH_SIZE], account[ACCOUNT_TEXT_SIZE];
	struct err why;

	(void)arg, (void)e;
	vault_path(f, id, path);
	if (open_dir(path, &d, &why) == 0 && (!d || empty_dir(d, true, &why) == 0))
		return 0;
	account_text(&id->account, account);
	log_error("chunk.folder", NULL, "account=%s service=%u %s", account, id->service, why.text);
	return 0;
}

struct chunks *
chunks_file(const char *path, uint64_t keep_bytes, struct err *e)
{
	_cleanup_(chunks_closep) struct chunks *c = NULL;
	struct file_chunks *f;
	struct err why;

	if (strlen(path) > PATH_SIZE - 128) {
		err_set(e, ERR_BAD, "the chunk folder's path is too long");
		return NULL;
	}
	if (fs_mkdir(path, 0700, e) < 0)
		return NULL;
	f = calloc(1, sizeof(*f));
	if (f)
		f->root = strdup(path);
	if (!f || !f->root) {
		free(f);
		err_set(e, ERR_MEMORY, "no memory for chunks");
		return NULL;
	}
	f->chunks.ops = &file_ops;
	space_init(&f->space, f->root, "chunks", keep_bytes);
	for (unsigned i = 0; i < GROUPS; i++)
		pthread_mutex_init(&f->groups[i], NULL);
	pthread_mutex_init(&f->hold_lock, NULL);
	c = &f->chunks;
	if (make_groups(f, e) < 0)
		return NULL;
	if (each_vault(f, remove_parts, NULL, &why) < 0)
		log_error("chunk.folder", NULL, "%s", why.text);
	return take(&c);
}
