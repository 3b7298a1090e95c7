/* shipper.c - the node's side of the conversation of frames.h. */
#include "standby/standby_internal.h"

#include "base/host.h"
#include "base/log.h"
#include "base/stats.h"
#include "vault/region.h"

#include <string.h>
#include <time.h>

#define CONNECT_MS  5000
#define AGAIN_MS    500
#define REST_MAX_MS 60000
#define PING_MAX_MS (SILENCE_MAX_MS / 4)
#define COMPACT_MS  200 /* between two questions whether it has compacted */
#define WAIT_MS     20  /* for something to ship */
#define SETTLE_MS   100 /* what nobody waits for is made durable after that */
#define MARK_BYTES  16
#define TOLD_LAG_MS 5000

static struct counter sent = COUNTER("domicile_standby_sent_bytes_total", NULL,
    "Bytes of changes and chunks that were shipped to the standby, since the start");

/* --- the conversation --- */

static int
refused(struct span why, struct err *e)
{
	return err_set(e, ERR_PEER, "the standby refuses: %.*s",
	    (int)(why.len < 160 ? why.len : 160), (const char *)why.data);
}

int
ship_ask(struct standby *s, enum ship_frame type, enum ship_frame want, struct span *answer,
    struct err *e)
{
	uint64_t sent_ms = lease_clock_ms();
	uint8_t got;

	if (buf_check(&s->out, e) < 0 ||
	    stream_send(s->stream, (uint8_t)type, s->out.data, s->out.len, e) < 0 ||
	    stream_flush(s->stream, e) < 0 ||
	    stream_receive(s->stream, ANSWER_WAIT_MS, &got, answer, e) < 0)
		return -1;
	if (got == SHIP_REFUSE)
		return refused(*answer, e);
	if (got != (uint8_t)want)
		return err_set(e, ERR_PEER, "the standby's answer is none to what was said");
	/* A standby answers only while it follows. */
	lease_renew(s, sent_ms);
	s->last_answer_ms = host_mono_ms();
	return 0;
}

/* With the lock. */
static void
forget_samples(struct standby *s)
{
	while (s->lag_n && s->lag[s->lag_first].next <= s->acked) {
		s->lag_first = (s->lag_first + 1) % LAG_SAMPLES;
		s->lag_n--;
	}
}

/* The same where the answer is an ACK. COUNTS: it speaks of what the standby is, not of a copy. */
static int
tell(struct standby *s, enum ship_frame type, struct err *e)
{
	struct span answer;
	struct ship_ack a;

	if (ship_ask(s, type, SHIP_ACK, &answer, e) < 0 || ship_ack_read(answer, &a, e) < 0)
		return -1;
	pthread_mutex_lock(&s->lock);
	if (!s->is_copying) {
		s->acked = a.next;
		s->compacted = a.compacted;
		forget_samples(s);
	}
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* --- shipping --- */

/* Whole groups into the shipment. *NEXT: the first change that is not in it. */
static int
collect(struct standby *s, uint64_t *next, struct err *e)
{
	const struct engine_tail_ops *tail = engine_tail(s->c.engine);

	buf_clear(&s->shipment);
	buf_clear(&s->chunks);
	*next = s->next;
	while (s->shipment.len < SHIP_PIECE) {
		size_t before = s->shipment.len;
		uint64_t after;
		int rc;

		if (tail->read(s->c.engine, *next, 0, &s->shipment, &after, e) < 0)
			return -1;
		if (after == *next)
			break;
		rc = chunks_note(s, before, e);
		if (rc < 0)
			return -1;
		if (rc == 0) {
			s->shipment.len = before;
			break;
		}
		*next = after;
	}
	return 0;
}

static int
send_parts(struct standby *s, struct err *e)
{
	size_t at = 0;

	/* The last one is what the answer is waited for. */
	for (; s->shipment.len - at > SHIP_PIECE; at += SHIP_PIECE)
		if (stream_send(s->stream, SHIP_PART, s->shipment.data + at, SHIP_PIECE, e) < 0)
			return -1;
	buf_clear(&s->out);
	buf_add(&s->out, s->shipment.data + at, s->shipment.len - at);
	return 0;
}

static int
send_shipment(struct standby *s, uint64_t next, struct err *e)
{
	struct ship_head head = {
		.first = s->next, .next = next, .bytes = (uint32_t)s->shipment.len
	};

	if (s->shipment.len > SHIP_BYTES_MAX)
		return err_set(e, ERR_TOO_BIG, "a change of %zu bytes", s->shipment.len);
	if (chunks_ship(s, e) < 0)
		return -1;
	head.whole_at = s->whole_at;
	ship_head_put(&s->out, &head);
	if (!head.bytes)
		return tell(s, SHIP_SHIP, e);
	if (buf_check(&s->out, e) < 0 ||
	    stream_send(s->stream, SHIP_SHIP, s->out.data, s->out.len, e) < 0 ||
	    send_parts(s, e) < 0)
		return -1;
	return tell(s, SHIP_PART, e);
}

/* Make durable what was applied without anybody waiting for it. */
static int
settle(struct standby *s, const struct tail_state *t, struct err *e)
{
	uint64_t now_ms = host_mono_ms();

	if (t->last <= t->durable) {
		s->undurable_since_ms = 0;
		return 0;
	}
	if (!s->undurable_since_ms)
		s->undurable_since_ms = now_ms;
	if (now_ms - s->undurable_since_ms < SETTLE_MS)
		return 0;
	s->undurable_since_ms = 0;
	return engine_flush(s->c.engine, e);
}

static void
note_lag(struct standby *s, uint64_t durable)
{
	struct lag_sample *newest;

	pthread_mutex_lock(&s->lock);
	newest = s->lag_n ? &s->lag[(s->lag_first + s->lag_n - 1) % LAG_SAMPLES] : NULL;
	if (durable + 1 > s->acked && (!newest || newest->next < durable + 1)) {
		/* When there is no room the newest stands for more: too long a lag rather than too short. */
		if (s->lag_n < LAG_SAMPLES) {
			newest = &s->lag[(s->lag_first + s->lag_n++) % LAG_SAMPLES];
			newest->at_ms = host_mono_ms();
		}
		newest->next = durable + 1;
	}
	pthread_mutex_unlock(&s->lock);
}

/* One shipment. 1; 0: there is nothing to ship. */
static int
ship_once(struct standby *s, struct err *e)
{
	const struct engine_tail_ops *tail = engine_tail(s->c.engine);
	struct tail_state t;
	uint64_t next, bytes;

	if (tail->state(s->c.engine, &t, e) < 0 || settle(s, &t, e) < 0)
		return -1;
	note_lag(s, t.durable);
	if (collect(s, &next, e) < 0)
		return -1;
	if (next == s->next)
		return 0;
	bytes = stream_sent_bytes(s->stream);
	if (send_shipment(s, next, e) < 0)
		return -1;
	counter_add(&sent, (int64_t)(stream_sent_bytes(s->stream) - bytes));
	s->shipment_from = s->next;
	s->next = next;
	/* A copy's are not the standby's yet; but if the copy is cut off, it begins anew. */
	return tail->taken(s->c.engine, s->is_copying ? 0 : next, s->shipment_from, e) < 0 ? -1 : 1;
}

/* --- the beginning --- */

/* Whether the standby's last shipment was of this store's changes: it may have been put back from an
 * older copy since, and gone on to other ones. */
static int
is_ours(struct standby *s, const struct ship_welcome *w, struct err *e)
{
	const struct engine_tail_ops *tail = engine_tail(s->c.engine);
	uint8_t digest[SHA256_BYTES];
	uint64_t at = w->check_from;
	struct err why;

	buf_clear(&s->shipment);
	while (at < w->next) {
		uint64_t before = at;

		if (tail->read(s->c.engine, at, 0, &s->shipment, &at, &why) < 0) {
			if (why.kind == ERR_MISSING)
				return 0;
			*e = why;
			return -1;
		}
		if (at == before)
			return 0;
	}
	sha256(s->shipment.data, s->shipment.len, digest);
	return at == w->next && memcmp(digest, w->check, sizeof(digest)) == 0;
}

static int
greet(struct standby *s, struct ship_welcome *w, struct err *e)
{
	struct ship_hello hello = { .term = s->term };
	struct span answer;

	ship_hello_put(&s->out, &hello);
	if (ship_ask(s, SHIP_HELLO, SHIP_WELCOME, &answer, e) < 0)
		return -1;
	return ship_welcome_read(answer, w, e);
}

/* --- a full copy --- */

/* A change that no other store has, so that every copy is followed by one that tells them apart. */
static int
write_mark(struct standby *s, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	uint8_t mark[MARK_BYTES];

	if (!b)
		return -1;
	host_random(mark, sizeof(mark));
	region_put(b, REGION_MARK, "", 0, mark, sizeof(mark));
	if (region_apply_soon(s->c.engine, b, e) < 0)
		return -1;
	return engine_flush(s->c.engine, e);
}

/* A copy: whatever the standby has confirmed before is another store's. */
static void
set_copying(struct standby *s, bool on)
{
	pthread_mutex_lock(&s->lock);
	s->is_copying = on;
	if (on)
		s->acked = 0;
	pthread_mutex_unlock(&s->lock);
}

/* Behind what can't be read there may be anything: a standby gets all records, or no copy. Told once. */
static int
unreadable(struct standby *s, struct err *e)
{
	if (!s->is_unreadable)
		log_error("standby.unreadable", NULL,
		    "the standby gets no copy before this store is whole or restored: %s", e->text);
	s->is_unreadable = true;
	return -1;
}

/* A piece of the records, as they are now, with their chunks. */
static int
copy_piece(struct standby *s, struct buf *after, struct err *e)
{
	int more;

	buf_clear(&s->shipment);
	buf_clear(&s->chunks);
	more = engine_tail(s->c.engine)->copy(s->c.engine, after, SHIP_PIECE, &s->shipment, e);
	if (more < 0 && e->kind == ERR_FORGED)
		return unreadable(s, e);
	if (more < 0 || chunks_note(s, 0, e) < 0 || chunks_ship(s, e) < 0)
		return -1;
	buf_clear(&s->out);
	buf_add(&s->out, s->shipment.data, s->shipment.len);
	counter_add(&sent, (int64_t)s->shipment.len);
	return tell(s, SHIP_RECORDS, e) < 0 ? -1 : more;
}

/* Records piece by piece, and between them the changes that were made meanwhile: a change always comes
 * after what was read before it, so that in the end all is as it is here. The copy is whole when every
 * change that a piece may have seen was shipped. */
static int
copy_all(struct standby *s, struct err *e)
{
	const struct engine_tail_ops *tail = engine_tail(s->c.engine);
	_cleanup_buf_ struct buf after = BUF_INIT(256);
	uint64_t started_ms = host_mono_ms();
	struct tail_state t;
	int more, rc;

	if (tail->state(s->c.engine, &t, e) < 0)
		return -1;
	s->next = t.last + 1;
	ship_number_put(&s->out, s->next);
	if (write_mark(s, e) < 0 || tell(s, SHIP_COPY, e) < 0)
		return -1;
	log_info("standby.copy", NULL, "begins at change %" PRIu64, s->next);
	do {
		more = copy_piece(s, &after, e);
		rc = more < 0 ? -1 : ship_once(s, e);
	} while (more > 0 && rc >= 0 && !atomic_load(&s->is_stopping));
	if (rc < 0 || more < 0 || tail->state(s->c.engine, &t, e) < 0 ||
	    engine_flush(s->c.engine, e) < 0)
		return -1;
	while (s->next <= t.last)
		if (atomic_load(&s->is_stopping) || ship_once(s, e) < 0)
			return atomic_load(&s->is_stopping)
			    ? err_set(e, ERR_CANCELLED, "shutting down")
			    : -1;
	buf_clear(&s->out);
	s->is_unreadable = false;
	set_copying(s, false); /* what this answers counts */
	if (tell(s, SHIP_COPIED, e) < 0)
		return -1;
	log_info("standby.copy", NULL, "is complete, seconds=%" PRIu64,
	    (host_mono_ms() - started_ms) / 1000);
	return 0;
}

static int
copy(struct standby *s, struct err *e)
{
	int rc;

	set_copying(s, true);
	rc = copy_all(s, e);
	set_copying(s, false);
	return rc;
}

/* --- following --- */

/* The lease has to be renewed, and the line known to be there. */
static bool
is_ping_due(const struct standby *s)
{
	uint64_t every_ms = s->c.lease_ms / 4 < PING_MAX_MS ? s->c.lease_ms / 4 : PING_MAX_MS;

	return host_mono_ms() - s->last_answer_ms >= every_ms;
}

static void
wait_for_work(struct standby *s)
{
	pthread_mutex_lock(&s->lock);
	if (!s->is_poked && !atomic_load(&s->is_stopping))
		host_cond_wait_ms(&s->changed, &s->lock, WAIT_MS);
	s->is_poked = false;
	pthread_mutex_unlock(&s->lock);
}

static int
ask_compacted(struct standby *s, uint64_t upto, struct err *e)
{
	uint64_t now_ms = host_mono_ms();

	if (now_ms - s->last_compact_ms < COMPACT_MS)
		return 0;
	s->last_compact_ms = now_ms;
	ship_number_put(&s->out, upto);
	return tell(s, SHIP_COMPACT, e);
}

static int
ask_key(struct standby *s, const uint8_t digest[static SHA256_BYTES], struct err *e)
{
	struct span answer;

	buf_clear(&s->out);
	buf_add(&s->out, digest, SHA256_BYTES);
	if (ship_ask(s, SHIP_KEY, SHIP_NEED, &answer, e) < 0)
		return -1;
	if (answer.len != 1)
		return err_set(e, ERR_PEER, "the standby's answer about a key does not fit");
	pthread_mutex_lock(&s->lock);
	if (s->key == KEY_ASKED && memcmp(digest, s->key_digest, SHA256_BYTES) == 0)
		s->key = answer.data[0] ? KEY_MISSING : KEY_THERE;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* What somebody waits for, however much there is to be shipped. */
static int
ask_wanted(struct standby *s, struct err *e)
{
	uint8_t digest[SHA256_BYTES];
	uint64_t want, has;
	bool wants_key;

	pthread_mutex_lock(&s->lock);
	want = s->want_compacted;
	has = s->compacted;
	wants_key = s->key == KEY_ASKED;
	memcpy(digest, s->key_digest, sizeof(digest));
	pthread_mutex_unlock(&s->lock);
	if (wants_key && ask_key(s, digest, e) < 0)
		return -1;
	return has < want && s->next >= want ? ask_compacted(s, want, e) : 0;
}

/* Nothing is to be shipped. */
static int
idle(struct standby *s, struct err *e)
{
	if (is_ping_due(s)) {
		buf_clear(&s->out);
		if (tell(s, SHIP_PING, e) < 0)
			return -1;
	}
	wait_for_work(s);
	return 0;
}

static int
follow_changes(struct standby *s, struct err *e)
{
	while (!atomic_load(&s->is_stopping)) {
		int rc = ship_once(s, e);

		if (rc < 0 || ask_wanted(s, e) < 0 || (rc == 0 && idle(s, e) < 0))
			return -1;
		s->has_followed = true;
		s->rest_ms = 0;
	}
	return err_set(e, ERR_CANCELLED, "shutting down");
}

/* Where the standby is becomes where we go on. */
static int
resume(struct standby *s, const struct ship_welcome *w, struct err *e)
{
	s->next = w->next;
	s->shipment_from = w->check_from;
	log_info("standby.resumes", NULL, "at change %" PRIu64, w->next);
	buf_clear(&s->out);
	return tell(s, SHIP_PING, e);
}

static int
follow(struct standby *s, const struct ship_welcome *w, struct err *e)
{
	int ours = w->next ? is_ours(s, w, e) : 0;

	if (ours < 0 || (ours ? resume(s, w, e) : copy(s, e)) < 0)
		return -1;
	atomic_store(&s->is_following, true);
	return follow_changes(s, e);
}

/* --- not again at once --- */

/* Also while nobody takes anything: how far it falls behind is to be seen. */
static void
look_at_tail(struct standby *s)
{
	const struct engine_tail_ops *tail = engine_tail(s->c.engine);
	struct tail_state t;

	if (tail->state(s->c.engine, &t, NULL) == 0)
		note_lag(s, t.durable);
	(void)!tail->taken(s->c.engine, 0, 0, NULL);
}

static void
pause_a_little(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
}

/* A copy, or going on, that began at BEGAN_MS and came to nothing: what keeps it from that, such as
 * damage of this store, is seldom over in a moment. */
static void
put_off(struct standby *s, uint64_t began_ms, const struct err *why)
{
	uint64_t now_ms = host_mono_ms();
	bool is_ours = why->kind != ERR_PEER && why->kind != ERR_TIMEOUT;

	s->rest_ms = s->rest_ms ? 2 * s->rest_ms : AGAIN_MS;
	if (s->rest_ms > REST_MAX_MS)
		s->rest_ms = REST_MAX_MS;
	s->rest_until_ms = now_ms + s->rest_ms;
	/* It costs a machine that has trouble enough half of its time at most. */
	if (is_ours && s->rest_until_ms - now_ms < now_ms - began_ms)
		s->rest_until_ms = now_ms + (now_ms - began_ms);
}

/* The standby goes on saying that nothing was promoted. What it has is not looked at: it may be of
 * another store. */
static int
rest(struct standby *s, struct err *e)
{
	struct span answer;

	while (s->rest_ms && host_mono_ms() < s->rest_until_ms) {
		if (atomic_load(&s->is_stopping))
			return err_set(e, ERR_CANCELLED, "shutting down");
		buf_clear(&s->out);
		if (is_ping_due(s) && ship_ask(s, SHIP_PING, SHIP_ACK, &answer, e) < 0)
			return -1;
		look_at_tail(s);
		pause_a_little();
	}
	return 0;
}

/* --- a connection's life --- */

static int
connected(struct standby *s, struct err *e)
{
	struct ship_welcome w;
	uint64_t began_ms;
	int rc;

	if (greet(s, &w, e) < 0)
		return -1;
	if (!s->rest_ms)
		log_info("standby.connected", NULL, "at %s", s->c.at);
	pthread_mutex_lock(&s->lock);
	s->is_connected = true;
	s->compacted = 0;
	pthread_mutex_unlock(&s->lock);
	if (rest(s, e) < 0)
		return -1;
	began_ms = host_mono_ms();
	rc = follow(s, &w, e);
	if (!s->has_followed)
		put_off(s, began_ms, e);
	return rc;
}

static void
disconnected(struct standby *s)
{
	pthread_mutex_lock(&s->lock);
	s->is_connected = false;
	pthread_mutex_unlock(&s->lock);
	atomic_store(&s->is_following, false);
	stream_close(take(&s->stream));
}

void *
ship_run(void *standby)
{
	struct standby *s = standby;
	struct err told = { 0 };

	while (!atomic_load(&s->is_stopping) && !atomic_load(&s->is_lost)) {
		struct err e = { 0 };

		s->has_followed = false;
		s->stream = stream_connect_at(s->c.peers, s->c.region, s->c.at, CONNECT_MS, &e);
		if (s->stream) {
			(void)!connected(s, &e);
			disconnected(s);
		}
		if (!atomic_load(&s->is_stopping) &&
		    (s->has_followed || strcmp(told.text, e.text) != 0))
			log_warn("standby.disconnected", NULL, "%s", e.text);
		told = e;
		for (unsigned ms = 0; ms < AGAIN_MS && !atomic_load(&s->is_stopping); ms += 20)
			pause_a_little();
		look_at_tail(s);
	}
	return NULL;
}
