/* rocksdb_mark.c - how far the database is known to have been durable.
 *
 * A power cut may tear whatever was not synced, so replay of the log ends at its first torn record, without a
 * word. Were a record torn that had been synced, because the disk lost or changed it, everything after it would
 * go as quietly, and with it what had been acknowledged. So after every flush the number of the last change
 * that is durable goes into a file beside. The file is not synced: after a power cut it may tell less than is
 * true, or be torn itself and tell nothing, but never more than was durable.
 */
#include "base/buf.h"
#include "base/log.h"
#include "base/stats.h"
#include "engine/rocksdb_private.h"

#include <fcntl.h>
#include <unistd.h>

#define MARK_BYTES 16 /* the number, and the number inverted */

static struct counter losses = COUNTER("domicile_engine_losses_total", NULL,
    "Openings of the storage that found less than had been durable.");

void
rocks_mark_open(struct rocks *r)
{
	_cleanup_(fd_closep) int dir = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (r->mark_fd < 0)
		r->mark_fd = openat(
		    dir, ROCKS_MARK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static uint64_t
read_mark(const struct rocks *r)
{
	uint64_t mark[2];

	if (r->mark_fd < 0 || pread(r->mark_fd, mark, MARK_BYTES, 0) != MARK_BYTES ||
	    mark[0] != ~mark[1])
		return 0;
	return mark[0];
}

bool
rocks_mark_is_beyond(struct rocks *r)
{
	uint64_t is = rocksdb_get_latest_sequence_number(r->db), was = read_mark(r);

	if (is >= was)
		return false;
	counter_add(&losses, 1);
	log_error("engine.lost", NULL,
	    "changes=%" PRIu64 "-%" PRIu64 " which were durable are not in %s any more", is + 1,
	    was, r->path);
	return true;
}

void
rocks_mark_put(struct rocks *r, uint64_t number)
{
	const uint64_t mark[2] = { number, ~number };

	/* One that was not written tells less, and nothing hangs on that. */
	if (r->mark_fd >= 0)
		(void)!pwrite(r->mark_fd, mark, MARK_BYTES, 0);
}
