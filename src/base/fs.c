/* fs.c - see fs.h. */
#include "base/fs.h"
#include "base/cleanup.h"
#include "base/host.h"
#include "base/id.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define PIECE_BYTES ((size_t)16 << 10)

/* Through PIECE, since OUT may have a tight ceiling of its own. */
static int
read_pieces(int fd, uint8_t *piece, size_t max, struct buf *out, struct err *e)
{
	for (size_t total = 0;;) {
		/* One byte past MAX tells a file that is too big. */
		size_t want = max - total < PIECE_BYTES ? max - total + 1 : PIECE_BYTES;
		ssize_t got = read(fd, piece, want);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_errno(e, errno, "read");
		if (got == 0)
			return buf_check(out, e);
		total += (size_t)got;
		if (total > max)
			return err_set(e, ERR_TOO_BIG, "more than %zu bytes", max);
		buf_add(out, piece, (size_t)got);
	}
}

int
fs_read(const char *path, size_t max, struct buf *out, struct err *e)
{
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t piece[PIECE_BYTES];
	int rc;

	if (fd < 0)
		return err_errno(e, errno, "%s", path);
	rc = read_pieces(fd, piece, max, out, e);
	explicit_bzero(piece, sizeof(piece)); /* it may have been a key */
	return rc < 0 ? err_add(e, "%s", path) : 0;
}

int
fs_write_all(int fd, const void *p, size_t n, struct err *e)
{
	const uint8_t *at = p;

	while (n) {
		ssize_t done = write(fd, at, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return err_errno(e, errno, "write");
		at += done;
		n -= (size_t)done;
	}
	return 0;
}

int
fs_sync_dir(const char *path, struct err *e)
{
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return err_errno(e, errno, "%s", path);
	return 0;
}

static int
sync_parent(const char *path, struct err *e)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');

	if (!slash)
		return fs_sync_dir(".", e);
	if (slash == path)
		return fs_sync_dir("/", e);
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	return fs_sync_dir(dir, e);
}

static int
write_aside(const char *aside, const void *p, size_t n, unsigned mode, struct err *e)
{
	_cleanup_(fd_closep) int fd = open(
	    aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);

	if (fd < 0)
		return err_errno(e, errno, "%s", aside);
	if (fchmod(fd, (mode_t)mode) < 0) /* whatever the umask */
		return err_errno(e, errno, "%s", aside);
	if (fs_write_all(fd, p, n, e) < 0)
		return err_add(e, "%s", aside);
	if (fsync(fd) < 0)
		return err_errno(e, errno, "%s", aside);
	return 0;
}

int
fs_write(const char *path, const void *p, size_t n, unsigned mode, struct err *e)
{
	char aside[PATH_MAX], tag[17];
	uint8_t random[8];

	/* A name of its own, so that two writers of one file can't mix their halves. */
	host_random(random, sizeof(random));
	hex_text(random, sizeof(random), tag);
	if (snprintf(aside, sizeof(aside), "%s.%s.part", path, tag) >= (int)sizeof(aside))
		return err_set(e, ERR_BAD, "a path of %zu bytes", strlen(path));

	if (write_aside(aside, p, n, mode, e) < 0) {
		unlink(aside);
		return -1;
	}
	if (rename(aside, path) < 0) {
		int why = errno;

		unlink(aside);
		return err_errno(e, why, "%s", path);
	}
	return sync_parent(path, e);
}

/* Make one folder whose parent is there. */
static int
make_one(const char *path, unsigned mode, struct err *e)
{
	struct stat st;

	if (mkdir(path, (mode_t)mode) == 0)
		return sync_parent(path, e);
	if (errno != EEXIST)
		return err_errno(e, errno, "%s", path);
	if (stat(path, &st) < 0)
		return err_errno(e, errno, "%s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_EXISTS, "%s: is there, but is no folder", path);
	return 0;
}

int
fs_mkdir(const char *path, unsigned mode, struct err *e)
{
	char part[PATH_MAX];
	size_t n = strlen(path);

	if (n >= sizeof(part))
		return err_set(e, ERR_BAD, "a path of %zu bytes", n);
	memcpy(part, path, n + 1);
	while (n > 1 && part[n - 1] == '/')
		part[--n] = 0;
	for (char *slash = n ? strchr(part + 1, '/') : NULL; slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = 0;
		if (make_one(part, mode, e) < 0)
			return -1;
		*slash = '/';
	}
	return make_one(part, mode, e);
}

uint64_t
fs_files_max(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
}
