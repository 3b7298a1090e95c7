/* standby.c - starting, stopping, and waiting for the standby. See standby.h. */
#include "standby/standby_internal.h"

#include "base/host.h"
#include "base/log.h"
#include "engine/flusher.h"

#include <errno.h>
#include <string.h>

#define FIRST_ASK_MS 5000
#define GONE_WAIT_MS 120000
#define KEY_WAIT_MS  10000
#define CHUNKS_MAX   ((size_t)64 << 20) /* names of chunks of one shipment */

/* --- what a flush waits for --- */

static void
wait_changed(struct standby *s)
{
	host_cond_wait_ms(&s->changed, &s->lock, 1000);
}

static bool
is_cancelled(const struct standby *s)
{
	return s->cancel_at_ms && host_mono_ms() >= s->cancel_at_ms;
}

/* After every flush: there is something to ship. */
static int
flushed(void *standby, struct err *e)
{
	struct standby *s = standby;

	(void)e;
	pthread_mutex_lock(&s->lock);
	s->is_poked = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* The same, and nobody is answered before the standby has it. */
static int
flushed_there(void *standby, struct err *e)
{
	struct standby *s = standby;
	struct tail_state t;
	int rc = 0;

	if (engine_tail(s->c.engine)->state(s->c.engine, &t, e) < 0)
		return -1;
	pthread_mutex_lock(&s->lock);
	s->is_poked = true;
	pthread_cond_broadcast(&s->changed);
	while (s->acked <= t.durable && !is_cancelled(s))
		wait_changed(s);
	if (s->acked <= t.durable)
		rc = err_set(e, ERR_CANCELLED, "shutting down; the standby does not have it");
	pthread_mutex_unlock(&s->lock);
	return rc;
}

void
standby_begin_waiting(struct standby *s)
{
	if (s && s->c.waits)
		flusher_also(s->c.flusher, flushed_there, s);
}

int
standby_gone(struct standby *s, struct err *e)
{
	uint64_t until_ms = host_mono_ms() + GONE_WAIT_MS, target;
	struct tail_state t;
	int rc = 0;

	if (!s)
		return 0;
	if (engine_flush(s->c.engine, e) < 0 ||
	    engine_tail(s->c.engine)->state(s->c.engine, &t, e) < 0)
		return -1;
	target = t.durable + 1;
	pthread_mutex_lock(&s->lock);
	if (target > s->want_compacted)
		s->want_compacted = target;
	while (s->compacted < target && !is_cancelled(s) && host_mono_ms() < until_ms)
		wait_changed(s);
	if (s->compacted < target)
		rc = err_set(e, is_cancelled(s) ? ERR_CANCELLED : ERR_BUSY,
		    "the standby has not erased it yet");
	pthread_mutex_unlock(&s->lock);
	return rc;
}

int
standby_has_key(struct standby *s, const uint8_t digest[static SHA256_BYTES], struct err *e)
{
	uint64_t until_ms = host_mono_ms() + KEY_WAIT_MS;
	int rc = 0;

	if (!s)
		return 0;
	pthread_mutex_lock(&s->lock);
	memcpy(s->key_digest, digest, sizeof(s->key_digest));
	s->key = KEY_ASKED;
	while (s->key == KEY_ASKED && !is_cancelled(s) && host_mono_ms() < until_ms)
		wait_changed(s);
	if (s->key == KEY_MISSING)
		rc = err_set(e, ERR_DENIED, "the standby does not have it");
	else if (s->key != KEY_THERE)
		rc = err_set(e, is_cancelled(s) ? ERR_CANCELLED : ERR_BUSY,
		    "the standby does not say whether it has the region key: it is away, or has to be copied first");
	s->key = KEY_UNASKED;
	pthread_mutex_unlock(&s->lock);
	return rc;
}

/* --- telling --- */

void
standby_state(struct standby *s, struct standby_state *out)
{
	struct tail_state t = { 0 };

	*out = (struct standby_state){
		.may_serve = standby_may_serve(s),
		.is_lost = atomic_load(&s->is_lost),
		.term = s->term.term,
	};
	if (engine_tail(s->c.engine)->state(s->c.engine, &t, NULL) < 0)
		t.durable = 0;
	out->kept_bytes = t.kept_bytes;
	pthread_mutex_lock(&s->lock);
	out->is_connected = s->is_connected;
	out->is_copying = s->is_copying;
	if (t.durable + 1 > s->acked)
		out->lag_versions = t.durable + 1 - s->acked;
	if (out->lag_versions && s->lag_n)
		out->lag_ms = host_mono_ms() - s->lag[s->lag_first].at_ms;
	pthread_mutex_unlock(&s->lock);
}

/* --- start and stop --- */

static int
start_threads(struct standby *s, struct err *e)
{
	int rc = pthread_create(&s->term_thread, NULL, term_run, s);

	s->has_term_thread = rc == 0;
	if (rc == 0) {
		rc = pthread_create(&s->ship_thread, NULL, ship_run, s);
		s->has_ship_thread = rc == 0;
	}
	return rc ? err_errno(e, rc, "threads for the standby") : 0;
}

static int
start(struct standby *s, bool *goes_on, struct err *e)
{
	struct err why = { 0 };

	if (term_settle(s, goes_on, e) < 0)
		return -1;
	if (!*goes_on)
		return 0;
	/* A node that has lost its region must not begin; one that can't ask may wait for an answer. */
	if (term_ask(s, &why) < 0 && why.kind == ERR_STALE)
		return err_set(e, ERR_STALE,
		    "%s. Nothing is served from this store any more; a new standby is made with "
		    "`domicile region init --standby-of`",
		    why.text);
	if (start_threads(s, e) < 0)
		return -1;
	flusher_also(s->c.flusher, flushed, s);
	return 0;
}

int
standby_start(const struct standby_config *c, struct standby **out, struct err *e)
{
	_cleanup_(freep) struct standby *s = calloc(1, sizeof(*s));
	bool goes_on = false;

	if (!s)
		return err_set(e, ERR_MEMORY, "no memory for the standby");
	s->c = *c;
	s->out = BUF_INIT(STREAM_FRAME_MAX);
	s->shipment = BUF_INIT(SHIP_BYTES_MAX + SHIP_PIECE);
	s->chunks = BUF_INIT(CHUNKS_MAX);
	pthread_mutex_init(&s->lock, NULL);
	host_cond_init(&s->changed);
	if (start(s, &goes_on, e) < 0) {
		standby_stop(take(&s));
		return -1;
	}
	if (goes_on)
		*out = take(&s);
	return 0;
}

void
standby_cancel(struct standby *s, uint64_t grace_ms)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->cancel_at_ms = host_mono_ms() + grace_ms;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

void
standby_stop(struct standby *s)
{
	if (!s)
		return;
	atomic_store(&s->is_stopping, true);
	if (s->has_ship_thread)
		pthread_join(s->ship_thread, NULL);
	if (s->has_term_thread)
		pthread_join(s->term_thread, NULL);
	buf_free(&s->out);
	buf_free(&s->shipment);
	buf_free(&s->chunks);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
