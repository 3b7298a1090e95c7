/* What arriving moves hold in memory, over all streams: a bound of its own, so that moves and users
 * can't starve each other. Nobody waits for it: a stream that finds it used up ends, what it brought is
 * given up, and its source puts these accounts off and tries again.
 */
#include <assert.h>

#include "base/refused.h"
#include "move/internal.h"

#define BUFFER_KEPT  ((size_t)1 << 20)
#define STREAM_BYTES ((uint64_t)256 << 10) /* of TLS, zstd and the table of arrivals */

static struct counter arriving_bytes = GAUGE("domicile_moves_memory_bytes", NULL,
    "Memory that arriving moves hold: frames, what they unpack to, and what is not written yet.");

int
arriving_hold(struct mover *m, uint64_t *held, uint64_t want, struct err *e)
{
	uint64_t all = atomic_load(&m->arriving_bytes), next;

	do {
		next = all - *held + want;
		if (want > *held && next > m->config.memory) {
			refused_count(REFUSED_MEMORY);
			return err_set(e, ERR_MEMORY,
			    "%s has no memory for more arrivals at once (moves_memory)",
			    m->node->region);
		}
	} while (!atomic_compare_exchange_weak(&m->arriving_bytes, &all, next));
	*held = want;
	counter_set(&arriving_bytes, (int64_t)next);
	return 0;
}

static uint64_t
grown(const struct buf *b, size_t len)
{
	return len > b->cap ? 2 * (uint64_t)len : b->cap; /* it doubles */
}

static uint64_t
bytes_of(const struct arriving_share *s)
{
	return STREAM_BYTES + s->frame_bytes + s->import_bytes;
}

int
arriving_grow(struct mover *m, struct arriving_share *s, const struct buf *packed,
    size_t packed_len, const struct buf *raw, size_t raw_len, struct err *e)
{
	return arriving_hold(
	    m, &s->held, bytes_of(s) + grown(packed, packed_len) + grown(raw, raw_len), e);
}

static void
hold_less(struct mover *m, struct arriving_share *s, uint64_t bytes)
{
	if (bytes < s->held && arriving_hold(m, &s->held, bytes, NULL) < 0)
		assert(!"less is always granted");
}

void
arriving_shrink(struct mover *m, struct arriving_share *s, struct buf *packed, struct buf *raw)
{
	buf_clear(packed);
	if (packed->cap > BUFFER_KEPT)
		buf_wipe(packed);
	if (raw->cap > BUFFER_KEPT)
		buf_wipe(raw);
	hold_less(m, s, bytes_of(s) + packed->cap + raw->cap);
}

void
arriving_let_go(struct mover *m, struct arriving_share *s)
{
	hold_less(m, s, 0);
}
