/* term.c - the region's term, and the lease on it (standby.h).
 *
 * Why no two nodes serve at one instant. The promoter first makes the standby's refusal durable (marker.h),
 * at t1: no answer of the standby's is given after that. Then it raises the term in the directory, at t2:
 * no answer of the directory's says our term after that. Each answer that renews our lease was given before
 * max(t1, t2), so it was asked for before that, and the lease counts from the asking. The promoter counts
 * from after max(t1, t2), and longer than the lease: at the end of it ours is over. The longest lease that
 * we ever count with is known to whoever answers before it answers: the standby stores it with the
 * greeting, the directory with the asking.
 */
#include "standby/standby_internal.h"

#include "base/host.h"
#include "base/log.h"
#include "vault/region.h"

#include <string.h>
#include <time.h>

#define TERM_FORMAT 1

/* The node's own record. */
struct term_record {
	uint64_t term; /* 0: there is none */
	uint8_t holder[TERM_HOLDER_BYTES];
	/* The region can be nobody else: there is no standby, and the directory knows that. */
	bool is_free;
};

uint64_t
lease_clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void
lease_renew(struct standby *s, uint64_t sent_ms)
{
	uint64_t until = sent_ms + s->c.lease_ms, now = atomic_load(&s->lease_until_ms);

	while (now < until && !atomic_compare_exchange_weak(&s->lease_until_ms, &now, until))
		;
}

bool
standby_may_serve(const struct standby *s)
{
	return !s ||
	    (!atomic_load(&s->is_lost) && lease_clock_ms() < atomic_load(&s->lease_until_ms));
}

bool
standby_may_write(const struct standby *s)
{
	return standby_may_serve(s) && (!s || !s->c.waits || atomic_load(&s->is_following));
}

int
standby_refuse(const struct standby *s, struct err *e)
{
	if (standby_may_serve(s))
		return err_set(
		    e, ERR_BUSY, "the standby is away, and nothing is written without it");
	if (atomic_load(&s->is_lost))
		return err_set(e, ERR_BUSY, "the region is another node by now");
	return err_set(e, ERR_BUSY,
	    "this node can't tell whether its standby was promoted: neither the directory nor the "
	    "standby answers");
}

/* --- the record --- */

static int
record_read(struct engine *g, struct term_record *out, struct err *e)
{
	_cleanup_buf_ struct buf v = BUF_INIT(256);
	struct reader r;
	int found = region_get(g, REGION_TERM, "", 0, &v, e);

	memset(out, 0, sizeof(*out));
	if (found <= 0)
		return found;
	r = READER(v.data, v.len);
	if (read_u8(&r) != TERM_FORMAT)
		r.failed = true;
	out->term = read_u64(&r);
	read_copy(&r, out->holder, TERM_HOLDER_BYTES);
	out->is_free = read_u8(&r) != 0;
	return read_check(&r, "the region's term", e);
}

static int
record_write(struct engine *g, const struct term_record *t, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	_cleanup_buf_ struct buf v = BUF_INIT(256);

	if (!b)
		return -1;
	put_u8(&v, TERM_FORMAT);
	put_u64(&v, t->term);
	buf_add(&v, t->holder, TERM_HOLDER_BYTES);
	put_u8(&v, t->is_free);
	region_put(b, REGION_TERM, "", 0, v.data, v.len);
	if (region_apply_soon(g, b, e) < 0)
		return -1;
	return engine_flush(g, e);
}

int
term_store(struct engine *g, const struct region_term *t, struct err *e)
{
	struct term_record own = { .term = t->term };

	memcpy(own.holder, t->holder, TERM_HOLDER_BYTES);
	return record_write(g, &own, e);
}

static void
use_record(struct standby *s, const struct term_record *own)
{
	strcpy(s->term.region, s->c.region);
	s->term.term = own->term;
	memcpy(s->term.holder, own->holder, TERM_HOLDER_BYTES);
	s->term.lease_ms = s->c.lease_ms;
	directory_use_term(s->c.directory, &s->term);
}

/* --- settling it at the start --- */

/* There was a standby, and now there is none: the next term is ours as well, so that the standby, which
 * knows of the one before, can't be promoted any more. Repeatable: the holder follows from the last one. */
static int
give_up(struct standby *s, struct term_record *own, struct err *e)
{
	uint8_t digest[SHA256_BYTES];
	struct region_term next = { .term = own->term + 1 };

	use_record(s, own);
	sha256(own->holder, TERM_HOLDER_BYTES, digest);
	strcpy(next.region, s->c.region);
	memcpy(next.holder, digest, TERM_HOLDER_BYTES);
	if (directory_term_raise(s->c.directory, &next, e) < 0)
		return err_add(e, "giving the standby up");
	own->term = next.term;
	memcpy(own->holder, next.holder, TERM_HOLDER_BYTES);
	own->is_free = true;
	log_info("standby.gone", NULL, "term=%" PRIu64, own->term);
	return record_write(s->c.engine, own, e);
}

int
term_settle(struct standby *s, bool *goes_on, struct err *e)
{
	struct term_record own;

	if (record_read(s->c.engine, &own, e) < 0)
		return -1;
	*goes_on = s->c.at != NULL;
	if (!s->c.at) {
		if (!own.term)
			return 0;
		if (!own.is_free && give_up(s, &own, e) < 0)
			return -1;
		use_record(s, &own);
		return 0;
	}
	if (!own.term) {
		own.term = 1;
		host_random(own.holder, TERM_HOLDER_BYTES);
		own.is_free = true;
	}
	/* Before a standby hears of it. */
	if (own.is_free) {
		own.is_free = false;
		if (record_write(s->c.engine, &own, e) < 0)
			return -1;
	}
	use_record(s, &own);
	return 0;
}

/* --- keeping it --- */

int
term_ask(struct standby *s, struct err *e)
{
	uint64_t sent_ms = lease_clock_ms();
	struct err why;

	if (directory_term_hold(s->c.directory, &s->term, &why) == 0) {
		lease_renew(s, sent_ms);
		return 0;
	}
	if (why.kind == ERR_STALE && !atomic_exchange(&s->is_lost, true))
		log_error(
		    "standby.promoted", NULL, "nothing is served here any more: %s", why.text);
	if (e)
		*e = why;
	return -1;
}

void *
term_run(void *standby)
{
	struct standby *s = standby;
	bool was_well = true;

	while (!atomic_load(&s->is_stopping) && !atomic_load(&s->is_lost)) {
		uint64_t until_ms = host_mono_ms() + s->c.lease_ms / 4;
		struct err e;
		bool is_well = term_ask(s, &e) == 0;

		if (was_well && !is_well)
			log_warn("standby.term", NULL, "the directory does not answer: %s", e.text);
		was_well = is_well;
		while (host_mono_ms() < until_ms && !atomic_load(&s->is_stopping))
			nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	}
	return NULL;
}
