/* promote.c - see promote.h, and term.c for why the order of the steps is as it is. */
#include "standby/promote.h"

#include "base/host.h"
#include "base/log.h"
#include "engine/tail.h"
#include "standby/marker.h"
#include "standby/replica.h"
#include "standby/standby_internal.h"
#include "vault/region.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Two clocks may count a lease differently. */
#define MARGIN_MS     1000
#define MARGIN_SHARE  50 /* and one in so many ms */
#define TELL_EVERY_MS 1000

static int
check_position(struct promotion *p, struct replica *r, struct err *e)
{
	struct replica_position at;

	replica_position(r, &at);
	if (!at.at.next)
		return err_set(e, ERR_STALE,
		    "%s has no whole copy of the region: there is nothing to promote", p->store);
	p->next = at.at.next;
	p->whole_at = at.whole_at;
	return 0;
}

/* Before anything changes: whether it can come to an end at all. */
static int
check_directory(struct promotion *p, const struct marker *m, struct err *e)
{
	struct region_term now;

	if (directory_term_get(p->directory, p->region, &now, e) < 0)
		return err_add(e, "the directory has to agree");
	if (now.term == m->follows.term &&
	    memcmp(now.holder, m->follows.holder, TERM_HOLDER_BYTES) == 0)
		return 0;
	if (m->is_promoting && now.term == m->follows.term + 1 &&
	    memcmp(now.holder, m->holder, TERM_HOLDER_BYTES) == 0)
		return 0;
	return err_set(e, ERR_STALE,
	    "this standby has followed the node of term %" PRIu64
	    ", and the region is at term %" PRIu64,
	    m->follows.term, now.term);
}

static void
wait_lease(struct promotion *p, uint64_t lease_ms)
{
	uint64_t wait_ms = lease_ms + lease_ms / MARGIN_SHARE + MARGIN_MS;
	uint64_t until_ms = host_mono_ms() + wait_ms, now;

	while ((now = host_mono_ms()) < until_ms) {
		uint64_t left_ms = until_ms - now;

		if (p->waiting)
			p->waiting(p->arg, left_ms);
		if (left_ms > TELL_EVERY_MS)
			left_ms = TELL_EVERY_MS;
		nanosleep(&(struct timespec){ .tv_sec = (time_t)(left_ms / 1000),
		              .tv_nsec = (long)(left_ms % 1000) * 1000000 },
		    NULL);
	}
}

/* The store becomes a region's own. */
static int
take_over(struct promotion *p, const struct region_term *t, struct err *e)
{
	static const struct vault_id region_vault = { .service = SERVICE_REGION };
	static const uint8_t position[] = { REGION_POSITION };
	const struct engine_write w = { .op = ENGINE_DELETE, .key = { position, 1 } };
	_cleanup_(engine_closep) struct engine *g = NULL;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%.*s/engine", PATH_MAX - 16, p->store);
	g = engine_rocksdb(path, p->cache_bytes, p->write_buffer_bytes, e);
	if (!g || p->mark(g, e) < 0 || term_store(g, t, e) < 0)
		return -1;
	/* The marker goes first: with a marker and no position it would be taken for an empty standby. */
	if (marker_remove(p->store, e) < 0)
		return -1;
	return engine_apply(g, &region_vault, &w, 1, NULL, ENGINE_NOW, e);
}

/* From here on the standby follows nobody. The store is held meanwhile, so that nobody who has read the
 * marker before can be following. */
static int
refuse_shipments(struct promotion *p, struct marker *m, struct err *e)
{
	_cleanup_(replica_closep) struct replica *r = replica_open(
	    p->store, p->cache_bytes, p->write_buffer_bytes, e);
	int rc;

	if (!r)
		return -1;
	rc = marker_read(p->store, p->region, m, e);
	if (rc == 0)
		err_set(e, ERR_STALE, "%s is no standby's store", p->store);
	if (rc <= 0 || check_position(p, r, e) < 0 || p->check(p->arg, replica_engine(r), e) < 0 ||
	    check_directory(p, m, e) < 0)
		return -1;
	if (m->is_promoting)
		return 0;
	m->is_promoting = true;
	host_random(m->holder, TERM_HOLDER_BYTES);
	return marker_write(p->store, m, e);
}

int
standby_promote(struct promotion *p, struct err *e)
{
	struct region_term next = { 0 };
	struct marker m;
	int rc = marker_read(p->store, p->region, &m, e);

	if (rc == 0)
		err_set(e, ERR_STALE, "%s is no standby's store", p->store);
	if (rc <= 0 || refuse_shipments(p, &m, e) < 0)
		return -1;
	strcpy(next.region, p->region);
	next.term = m.follows.term + 1;
	memcpy(next.holder, m.holder, TERM_HOLDER_BYTES);
	next.lease_ms = m.follows.lease_ms;
	if (directory_term_raise(p->directory, &next, e) < 0)
		return err_add(
		    e, "the promotion was begun, and has to be finished with this command");
	wait_lease(p, next.lease_ms);
	p->term = next.term;
	return take_over(p, &next, e);
}
