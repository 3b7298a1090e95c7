/* shim_disk.c - a disk that fails, and a note of what it has not been asked to keep.
 *
 * Only files below TORTURE_FOLDER whose names begin with one of `kept` count. For each the page has
 * the one range of bytes written since its last sync; a file written to here and there is marked as
 * scattered instead, and is left alone until it is synced. A file's name is not durable until its
 * folder has been synced. Both are noted before the write and forgotten only after a sync that
 * succeeded, so whatever a power cut takes by this page, nobody was told that it is safe.
 */
#include "shim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FDS_MAX 65536

/* What the node keeps, below its folder. */
static const char *const kept[] = { "store/", "directory.sqlite" };

static const char *node_folder = "";
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the page's files, and of: */
static uint16_t slots[FDS_MAX];                          /* by descriptor: 1 + index of its file */
static char *folders[FDS_MAX];                           /* paths of open folders */

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_open)(const char *, int, ...);
static int (*real_close)(int);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);
static int (*real_fallocate)(int, int, off_t, off_t);
static int (*real_rename)(const char *, const char *);
static int (*real_renameat2)(int, const char *, int, const char *, unsigned);
static int (*real_unlink)(const char *);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_mkdir)(const char *, mode_t);
static int (*real_statvfs)(const char *, struct statvfs *);
static DIR *(*real_opendir)(const char *);
static int (*real_closedir)(DIR *);

/* Find all of them. Other libraries' constructors may call us before ours. */
__attribute__((constructor)) static void
begin(void)
{
	const char *folder = getenv("TORTURE_FOLDER");

	if (real_write)
		return;
	if (folder)
		node_folder = folder;
	real_pwrite = shim_next("pwrite64", NULL);
	real_open = shim_next("open64", NULL);
	real_close = shim_next("close", NULL);
	real_fsync = shim_next("fsync", NULL);
	real_fdatasync = shim_next("fdatasync", NULL);
	real_ftruncate = shim_next("ftruncate64", NULL);
	real_fallocate = shim_next("fallocate64", NULL);
	real_rename = shim_next("rename", NULL);
	real_renameat2 = shim_next("renameat2", NULL);
	real_unlink = shim_next("unlink", NULL);
	real_unlinkat = shim_next("unlinkat", NULL);
	real_mkdir = shim_next("mkdir", NULL);
	real_statvfs = shim_next("statvfs64", NULL);
	real_opendir = shim_next("opendir", NULL);
	real_closedir = shim_next("closedir", NULL);
	real_write = shim_next("write", NULL);
}

#define NEXT(name) (begin(), real_##name)

/* --- the page's files; with the lock held --- */

/* The node's folder or something in it. */
static bool
is_below(const char *path)
{
	size_t n = strlen(node_folder);

	return shim_page && n && !strncmp(path, node_folder, n) && (path[n] == '/' || !path[n]);
}

static bool
is_kept(const char *path)
{
	size_t n = strlen(node_folder);

	if (!is_below(path) || path[n] != '/' || strlen(path) >= PATH_BYTES)
		return false;
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		if (!strncmp(path + n + 1, kept[i], strlen(kept[i])))
			return true;
	return false;
}

static uint32_t
hash_of(const char *path)
{
	uint32_t h = 2166136261u;

	for (; *path; path++)
		h = (h ^ (uint8_t)*path) * 16777619u;
	return h;
}

static struct file *
files_end(void)
{
	return shim_page->files + shim_page->counts.slots;
}

static struct file *
file_find(const char *path)
{
	uint32_t h = hash_of(path);

	for (struct file *f = shim_page->files; f < files_end(); f++)
		if ((f->flags & FILE_USED) && f->hash == h && !strcmp(f->path, path))
			return f;
	return NULL;
}

static struct file *
file_make(const char *path)
{
	struct file *f = shim_page->files;

	while (f < files_end() && (f->flags & FILE_USED))
		f++;
	if (f == shim_page->files + FILES_MAX) {
		shim_page->counts.untracked++;
		return NULL;
	}
	if (f == files_end())
		shim_page->counts.slots++;
	*f = (struct file){ .hash = hash_of(path) };
	strcpy(f->path, path);
	atomic_thread_fence(memory_order_seq_cst); /* whole before it is used, if we are killed */
	f->flags = FILE_USED;
	return f;
}

static bool
file_is_safe(const struct file *f)
{
	return f->from == f->to && f->doubtful_from == f->doubtful_to &&
	    !(f->flags & (FILE_SCATTERED | FILE_ENTRY_UNSYNCED));
}

static struct file *
file_of(int fd)
{
	if (fd < 0 || fd >= FDS_MAX || !slots[fd])
		return NULL;
	return &shim_page->files[slots[fd] - 1];
}

static bool
file_is_open(const struct file *f)
{
	uint16_t slot = (uint16_t)(f - shim_page->files + 1);

	for (int fd = 0; fd < FDS_MAX; fd++)
		if (slots[fd] == slot)
			return true;
	return false;
}

/* Slots of files that are gone; a descriptor still open on one is forgotten with it. */
static void
file_drop(const char *path)
{
	struct file *f = file_find(path);

	if (!f)
		return;
	for (int fd = 0; fd < FDS_MAX; fd++)
		if (slots[fd] == f - shim_page->files + 1)
			slots[fd] = 0;
	f->flags = 0;
}

/* Bytes written anew are no longer doubtful: the next sync is about what they are now. Of a doubtful
 * range that is hit in its middle only the rest stays so. */
static void
file_rewritten(struct file *f, uint64_t from, uint64_t to)
{
	if (to <= f->doubtful_from || from >= f->doubtful_to)
		return;
	if (from > f->doubtful_from && to >= f->doubtful_to)
		f->doubtful_to = from;
	else
		f->doubtful_from = to < f->doubtful_to ? to : f->doubtful_to;
}

static void
file_written(struct file *f, uint64_t from, uint64_t to)
{
	file_rewritten(f, from, to);
	if (f->from == f->to) {
		f->from = from;
		f->to = to;
	} else if (from == f->to) {
		f->to = to;
	} else if (from < f->from || to > f->to) {
		f->flags |= FILE_SCATTERED;
		if (to > f->to)
			f->to = to;
		if (from < f->from)
			f->from = from;
	}
}

/* --- failing --- */

enum fate { GOES, FAILS };

static enum fate
write_fate(size_t *n)
{
	struct orders *o = &shim_page->orders;
	struct counts *c = &shim_page->counts;
	uint64_t now = shim_now_ns(), count = atomic_fetch_add(&c->writes, 1);
	uint32_t one_in = o->errors_one_in ? o->errors_one_in : 1, left = o->short_writes;

	if (now < o->full_until && !o->full_is_told) {
		c->full_writes++;
		errno = ENOSPC;
		return FAILS;
	}
	if (now < o->errors_until && count % one_in == 0) {
		c->failed_writes++;
		errno = EIO;
		return FAILS;
	}
	if (*n > 1 && left && atomic_compare_exchange_strong(&o->short_writes, &left, left - 1)) {
		c->short_writes++;
		*n /= 2;
	}
	return GOES;
}

/* Note that [FROM, FROM + N) of FD is written to; false: it must not be. N may shrink. */
static enum fate
before_write(int fd, int64_t from, size_t *n)
{
	enum fate fate = GOES;
	struct file *f;

	pthread_mutex_lock(&lock);
	f = file_of(fd);
	if (f) {
		fate = write_fate(n);
		if (fate == GOES)
			file_written(f, (uint64_t)from, (uint64_t)from + *n);
	}
	pthread_mutex_unlock(&lock);
	return fate;
}

static bool
is_watched(int fd)
{
	return shim_page && fd >= 0 && fd < FDS_MAX && slots[fd];
}

ssize_t
write(int fd, const void *p, size_t n)
{
	if (is_watched(fd) && before_write(fd, lseek(fd, 0, SEEK_CUR), &n) == FAILS)
		return -1;
	return NEXT(write)(fd, p, n);
}

ssize_t
pwrite64(int fd, const void *p, size_t n, off_t at)
{
	if (is_watched(fd) && before_write(fd, at, &n) == FAILS)
		return -1;
	return NEXT(pwrite)(fd, p, n, at);
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t at)
{
	return pwrite64(fd, p, n, at);
}

static int
truncate_watched(int fd, off_t size)
{
	if (is_watched(fd)) {
		pthread_mutex_lock(&lock);
		struct file *f = file_of(fd);
		if (f) {
			f->flags |= FILE_SCATTERED;
			f->doubtful_from = f->doubtful_to = 0;
		}
		pthread_mutex_unlock(&lock);
	}
	return NEXT(ftruncate)(fd, size);
}

int
ftruncate(int fd, off_t size)
{
	return truncate_watched(fd, size);
}

int
ftruncate64(int fd, off_t size)
{
	return truncate_watched(fd, size);
}

static int
allocate_watched(int fd, int mode, off_t from, off_t n)
{
	struct orders *o = shim_page ? &shim_page->orders : NULL;

	if (is_watched(fd) && shim_now_ns() < o->full_until && !o->full_is_told) {
		errno = ENOSPC;
		return -1;
	}
	return NEXT(fallocate)(fd, mode, from, n);
}

int
fallocate(int fd, int mode, off_t from, off_t n)
{
	return allocate_watched(fd, mode, from, n);
}

int
fallocate64(int fd, int mode, off_t from, off_t n)
{
	return allocate_watched(fd, mode, from, n);
}

static int
statvfs_watched(const char *path, struct statvfs *out)
{
	int rc = NEXT(statvfs)(path, out);

	if (rc == 0 && shim_page && shim_now_ns() < shim_page->orders.full_until)
		out->f_bavail = out->f_bfree = 0;
	return rc;
}

int
statvfs(const char *restrict path, struct statvfs *restrict out)
{
	return statvfs_watched(path, out);
}

int
statvfs64(const char *restrict path, struct statvfs64 *restrict out)
{
	return statvfs_watched(path, (struct statvfs *)out);
}

/* --- syncing --- */

static bool
sync_fails(void)
{
	struct orders *o = &shim_page->orders;
	uint32_t left = o->sync_errors;

	shim_page->counts.syncs++;
	while (left)
		if (atomic_compare_exchange_weak(&o->sync_errors, &left, left - 1)) {
			shim_page->counts.failed_syncs++;
			return true;
		}
	if (shim_now_ns() < o->slow_until) {
		shim_page->counts.slow_syncs++;
		usleep(o->slow_us);
	}
	return false;
}

/* A folder was synced: the names in it are durable. */
static void
names_synced(const char *folder)
{
	size_t n = strlen(folder);

	for (struct file *f = shim_page->files; f < files_end(); f++) {
		if (!(f->flags & FILE_ENTRY_UNSYNCED) || strncmp(f->path, folder, n) ||
		    f->path[n] != '/' || strchr(f->path + n + 1, '/'))
			continue;
		f->flags &= ~(uint32_t)FILE_ENTRY_UNSYNCED;
		if (file_is_safe(f) && !file_is_open(f))
			f->flags = 0;
	}
}

static int
sync_watched(int fd, int (*sync)(int))
{
	struct file *f, was = { 0 };
	char *folder = NULL;
	int rc;

	if (!shim_page || fd < 0 || fd >= FDS_MAX || (!slots[fd] && !folders[fd]))
		return sync(fd);
	pthread_mutex_lock(&lock);
	f = file_of(fd);
	if (f)
		was = *f;
	if (folders[fd])
		folder = strdup(folders[fd]);
	pthread_mutex_unlock(&lock);

	if (sync_fails()) {
		pthread_mutex_lock(&lock);
		if (f && f == file_of(fd) && was.from < was.to) {
			if (f->doubtful_from == f->doubtful_to || was.from < f->doubtful_from)
				f->doubtful_from = was.from;
			if (was.to > f->doubtful_to)
				f->doubtful_to = was.to;
		}
		pthread_mutex_unlock(&lock);
		free(folder);
		errno = EIO;
		return -1;
	}
	rc = sync(fd);
	pthread_mutex_lock(&lock);
	/* What was written while the sync ran is not covered by it. */
	if (rc == 0 && f && f == file_of(fd)) {
		if (f->to == was.to && f->from == was.from) {
			f->from = f->to;
			f->flags &= ~(uint32_t)FILE_SCATTERED;
		} else if (!(f->flags & FILE_SCATTERED) && f->from == was.from) {
			f->from = was.to;
		}
	}
	if (rc == 0 && folder)
		names_synced(folder);
	pthread_mutex_unlock(&lock);
	free(folder);
	return rc;
}

int
fsync(int fd)
{
	return sync_watched(fd, NEXT(fsync));
}

int
fdatasync(int fd)
{
	return sync_watched(fd, NEXT(fdatasync));
}

/* --- names --- */

/* PATH without slashes at its end. */
static char *
folder_name(const char *path)
{
	char *it = strdup(path);

	for (size_t n = it ? strlen(it) : 0; n > 1 && it[n - 1] == '/'; n--)
		it[n - 1] = 0;
	return it;
}

static void
opened(int fd, const char *path, int flags, bool is_new)
{
	struct stat about;
	struct file *f;

	if (fd < 0 || fd >= FDS_MAX)
		return;
	pthread_mutex_lock(&lock);
	slots[fd] = 0;
	free(folders[fd]);
	folders[fd] = NULL;
	if (fstat(fd, &about) == 0 && S_ISDIR(about.st_mode)) {
		folders[fd] = folder_name(path);
	} else if ((flags & O_ACCMODE) != O_RDONLY && is_kept(path)) {
		f = file_find(path);
		if (!f)
			f = file_make(path);
		if (f && is_new)
			f->flags |= FILE_ENTRY_UNSYNCED;
		if (f && (flags & O_TRUNC))
			f->flags |= FILE_SCATTERED;
		if (f)
			slots[fd] = (uint16_t)(f - shim_page->files + 1);
	}
	pthread_mutex_unlock(&lock);
}

static int
open_watched(const char *path, int flags, mode_t mode)
{
	bool is_ours = is_below(path);
	bool is_new = is_ours && (flags & O_CREAT) && access(path, F_OK) < 0;
	int fd = NEXT(open)(path, flags, mode);

	if (is_ours)
		opened(fd, path, flags, is_new);
	return fd;
}

#define MODE_OF(flags, mode) \
	mode_t mode = 0; \
	if ((flags) & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) { \
		va_list args; \
		va_start(args, flags); \
		mode = va_arg(args, mode_t); \
		va_end(args); \
	}

int
open(const char *path, int flags, ...)
{
	MODE_OF(flags, mode)
	return open_watched(path, flags, mode);
}

int
open64(const char *path, int flags, ...)
{
	MODE_OF(flags, mode)
	return open_watched(path, flags, mode);
}

static void
closed(int fd)
{
	if (!shim_page || fd < 0 || fd >= FDS_MAX || (!slots[fd] && !folders[fd]))
		return;
	pthread_mutex_lock(&lock);
	struct file *f = file_of(fd);
	slots[fd] = 0;
	free(folders[fd]);
	folders[fd] = NULL;
	if (f && file_is_safe(f) && !file_is_open(f))
		f->flags = 0;
	pthread_mutex_unlock(&lock);
}

int
close(int fd)
{
	closed(fd);
	return NEXT(close)(fd);
}

DIR *
opendir(const char *path)
{
	DIR *d = NEXT(opendir)(path);

	if (d && is_below(path))
		opened(dirfd(d), path, O_RDONLY, false);
	return d;
}

int
closedir(DIR *d)
{
	closed(dirfd(d));
	return NEXT(closedir)(d);
}

/* FROM is called TO now. */
static void
renamed(const char *from, const char *to, bool replaced)
{
	struct file *f;

	pthread_mutex_lock(&lock);
	file_drop(to);
	f = file_find(from);
	if (f && strlen(to) < PATH_BYTES) {
		strcpy(f->path, to);
		f->hash = hash_of(to);
		/* Undone, it would bring back the one that it replaced, which nobody kept. */
		if (replaced)
			f->flags &= ~(uint32_t)FILE_ENTRY_UNSYNCED;
	}
	pthread_mutex_unlock(&lock);
}

int
rename(const char *from, const char *to)
{
	bool is_ours = is_kept(from), replaces = is_ours && access(to, F_OK) == 0;
	int rc = NEXT(rename)(from, to);

	if (rc == 0 && is_ours)
		renamed(from, to, replaces);
	return rc;
}

int
renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	bool is_ours = is_kept(from), replaces = is_ours && access(to, F_OK) == 0;
	int rc = NEXT(renameat2)(from_dir, from, to_dir, to, flags);

	if (rc == 0 && is_ours)
		renamed(from, to, replaces);
	return rc;
}

static void
removed(const char *path)
{
	pthread_mutex_lock(&lock);
	file_drop(path);
	pthread_mutex_unlock(&lock);
}

int
unlink(const char *path)
{
	int rc = NEXT(unlink)(path);

	if (rc == 0 && is_kept(path))
		removed(path);
	return rc;
}

int
unlinkat(int dir, const char *path, int flags)
{
	char whole[2 * PATH_BYTES];
	const char *folder = dir >= 0 && dir < FDS_MAX ? folders[dir] : NULL;

	if (folder)
		snprintf(whole, sizeof whole, "%s/%s", folder, path);
	int rc = NEXT(unlinkat)(dir, path, flags);
	if (rc == 0 && shim_page && (*path == '/' || folder))
		removed(*path == '/' ? path : whole);
	return rc;
}

int
mkdir(const char *path, mode_t mode)
{
	int rc = NEXT(mkdir)(path, mode);

	if (rc == 0 && is_kept(path)) {
		pthread_mutex_lock(&lock);
		struct file *f = file_find(path);
		if (!f)
			f = file_make(path);
		if (f)
			f->flags |= FILE_ENTRY_UNSYNCED | FILE_IS_DIR;
		pthread_mutex_unlock(&lock);
	}
	return rc;
}
