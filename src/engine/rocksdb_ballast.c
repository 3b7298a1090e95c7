/* rocksdb_ballast.c - room that is kept by keeping a file.
 *
 * What is left free is anybody's: another program may use up the whole file system, and then not even what
 * would make room can be written. So a file takes up as much again as is to be left free. What makes room
 * has it removed when it finds too little; it comes back when there is room for it beside all that is kept
 * for others. Where files can't be given room without writing them, there is none.
 */
#include "base/fs.h"
#include "base/host.h"
#include "base/log.h"
#include "engine/rocksdb_private.h"

#include <fcntl.h>
#include <sys/stat.h>

#define TAKE_EVERY_MS 1000

static uint64_t
ballast_bytes(const struct rocks *r)
{
	return ENGINE_KEPT_BUFFERS * r->buffer_bytes;
}

static bool
is_whole(const struct rocks *r, int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (uint64_t)st.st_size == ballast_bytes(r) &&
	    (uint64_t)st.st_blocks * 512 >= ballast_bytes(r);
}

/* With the lock held. */
static void
take_ballast(struct rocks *r)
{
	_cleanup_(fd_closep) int dir = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(fd_closep) int fd = openat(
	    dir, ROCKS_BALLAST, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return;
	if (is_whole(r, fd)) {
		atomic_store(&r->has_ballast, true);
		return;
	}
	/* One that was made for other buffers, or copied without its room, is no use. */
	if (space_room(&r->space) >= ballast_bytes(r) + r->space.keep_bytes / 8 &&
	    ftruncate(fd, 0) == 0 && fallocate(fd, 0, 0, (off_t)ballast_bytes(r)) == 0) {
		atomic_store(&r->has_ballast, true);
		log_info("disk.ballast", NULL, "taken=%" PRIu64, ballast_bytes(r));
	} else {
		unlinkat(dir, ROCKS_BALLAST, 0);
	}
	space_look_again(&r->space);
}

void
rocks_ballast_take(struct rocks *r)
{
	uint64_t now_ms = host_mono_ms(), tried_ms = atomic_load(&r->ballast_ms);

	/* Whoever wins the exchange does it, so that no more than one request waits for the disk. */
	if (atomic_load(&r->has_ballast) || (tried_ms && now_ms - tried_ms < TAKE_EVERY_MS) ||
	    !atomic_compare_exchange_strong(&r->ballast_ms, &tried_ms, now_ms))
		return;
	pthread_mutex_lock(&r->ballast_lock);
	take_ballast(r);
	pthread_mutex_unlock(&r->ballast_lock);
}

/* With the lock held. */
static void
give_ballast(struct rocks *r)
{
	_cleanup_(fd_closep) int dir = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (!atomic_load(&r->has_ballast) || unlinkat(dir, ROCKS_BALLAST, 0) < 0)
		return;
	atomic_store(&r->has_ballast, false);
	atomic_store(&r->ballast_ms, host_mono_ms());
	(void)!fsync(dir); /* some file systems have the room only then */
	space_look_again(&r->space);
	log_warn("disk.ballast", NULL, "given=%" PRIu64, ballast_bytes(r));
	/* Reading only for want of space? It need not wait for its time to be opened anew. */
	atomic_store(&r->reopened_ms, 0);
}

void
rocks_ballast_give(struct rocks *r)
{
	if (!atomic_load(&r->has_ballast) || space_free(&r->space) >= r->buffer_bytes)
		return;
	pthread_mutex_lock(&r->ballast_lock);
	give_ballast(r);
	pthread_mutex_unlock(&r->ballast_lock);
}
