/* space.c - see space.h. */
#include "base/space.h"

#include <inttypes.h>
#include <sys/statvfs.h>

#include "base/host.h"
#include "base/log.h"

#define LOOK_EVERY_MS 50

void
space_init(struct space *s, const char *path, const char *what, uint64_t keep_bytes)
{
	*s = (struct space){ .path = path, .what = what, .keep_bytes = keep_bytes };
	atomic_store(&s->free_bytes, UINT64_MAX);
}

static void
judge(struct space *s, uint64_t left)
{
	if (left < s->keep_bytes) {
		if (!atomic_exchange(&s->is_low, true))
			log_error("disk.low", NULL, "what=%s free=%" PRIu64 " keep=%" PRIu64,
			    s->what, left, s->keep_bytes);
	} else if (left >= s->keep_bytes + s->keep_bytes / 8) {
		if (atomic_exchange(&s->is_low, false))
			log_info("disk.room", NULL, "what=%s free=%" PRIu64, s->what, left);
	}
}

uint64_t
space_free(struct space *s)
{
	uint64_t now_ms = host_mono_ms(), looked_ms = atomic_load(&s->looked_ms);
	struct statvfs st;

	/* Whoever wins the exchange looks; the others take what was seen last. */
	if ((!looked_ms || now_ms - looked_ms >= LOOK_EVERY_MS) &&
	    atomic_compare_exchange_strong(&s->looked_ms, &looked_ms, now_ms) &&
	    statvfs(s->path, &st) == 0) {
		uint64_t left = (uint64_t)st.f_bavail * st.f_frsize;

		atomic_store(&s->free_bytes, left);
		judge(s, left);
	}
	return atomic_load(&s->free_bytes);
}

void
space_look_again(struct space *s)
{
	atomic_store(&s->looked_ms, 0);
}

uint64_t
space_room(struct space *s)
{
	uint64_t left = space_free(s);

	if (atomic_load(&s->is_low) || left < s->keep_bytes)
		return 0;
	return left == UINT64_MAX ? left : left - s->keep_bytes;
}
