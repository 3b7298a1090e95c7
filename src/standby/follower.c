/* follower.c - see follower.h; frames.h has the conversation. */
#include "standby/follower.h"

#include "base/host.h"
#include "base/log.h"
#include "base/stats.h"
#include "directory/stream.h"
#include "standby/marker.h"
#include "standby/replica.h"

#include <pthread.h>
#include <string.h>

#define STREAMS_MAX      4
#define HELLO_MS         10000
#define COMPACT_AGAIN_MS 5000 /* after one that failed, and for so much longer than that took: */
#define COMPACT_REST     9

struct follower {
	struct follower_config c;
	struct replica *replica;
	struct stream_listener *listener;

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	struct marker marker;
	struct stream *stream; /* that is listened to */
	struct follower_state state;
	uint64_t heard_at_ms; /* 0: never */
	uint64_t compact, compacted;
	uint64_t compact_again_ms; /* not before */
	unsigned store;            /* counts those that took each other's place */
	bool is_stopping;
	pthread_t compacter;
};

/* One stream's. */
struct session {
	struct follower *f;
	struct stream *s;
	struct buf out;     /* an answer */
	struct buf changes; /* a shipment that comes in parts */
	struct ship_head head;
	bool is_shipping;
};

static struct counter received = COUNTER("domicile_standby_received_bytes_total", NULL,
    "Bytes of changes and chunks that this standby has received, since the start");

/* --- compaction: takes long, and answers must go on --- */

/* It stays unacknowledged until it is asked for again. What failed began at BEGAN_MS. With the lock. */
static void
put_off(struct follower *f, uint64_t began_ms, const struct err *why)
{
	uint64_t now_ms = host_mono_ms();

	f->compact = f->compacted;
	f->compact_again_ms = now_ms + COMPACT_AGAIN_MS + COMPACT_REST * (now_ms - began_ms);
	log_warn("standby.compact", NULL, "later: %s", why->text);
}

static void *
compacter_run(void *arg)
{
	struct follower *f = arg;

	pthread_mutex_lock(&f->lock);
	while (!f->is_stopping) {
		uint64_t upto = f->compact, began_ms;
		unsigned store = f->store;
		struct err e;
		int rc;

		if (upto <= f->compacted) {
			pthread_cond_wait(&f->changed, &f->lock);
			continue;
		}
		pthread_mutex_unlock(&f->lock);
		began_ms = host_mono_ms();
		rc = replica_compact(f->replica, &e);
		pthread_mutex_lock(&f->lock);
		if (f->store != store)
			continue; /* it was of the one before, or its number was */
		if (rc == 0)
			f->compacted = upto;
		else
			put_off(f, began_ms, &e);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

/* --- answers --- */

static int
answer(struct session *x, enum ship_frame type, struct err *e)
{
	if (buf_check(&x->out, e) < 0 ||
	    stream_send(x->s, (uint8_t)type, x->out.data, x->out.len, e) < 0)
		return -1;
	return stream_flush(x->s, e);
}

/* Tell how far we are, and remember it for whoever asks. */
static int
acknowledge(struct session *x, struct err *e)
{
	struct follower *f = x->f;
	struct replica_position p;
	struct ship_ack a;

	replica_position(f->replica, &p);
	pthread_mutex_lock(&f->lock);
	f->state.next = p.at.next;
	f->state.whole_at = p.whole_at;
	f->state.has_all = p.at.next > 0;
	a.next = p.at.next;
	a.compacted = f->compacted;
	pthread_mutex_unlock(&f->lock);
	ship_ack_put(&x->out, &a);
	return answer(x, SHIP_ACK, e);
}

static void
set_copying(struct follower *f, bool on)
{
	pthread_mutex_lock(&f->lock);
	f->state.is_copying = on;
	pthread_mutex_unlock(&f->lock);
}

/* --- what comes --- */

static int
take_copy(struct session *x, struct span p, struct err *e)
{
	uint64_t from;

	if (ship_number_read(p, &from, e) < 0 || replica_copy(x->f->replica, from, e) < 0)
		return -1;
	log_info("standby.copy", NULL, "begins at change %" PRIu64, from);
	set_copying(x->f, true);
	return acknowledge(x, e);
}

static int
take_records(struct session *x, struct span p, struct err *e)
{
	return replica_records(x->f->replica, p, e) < 0 ? -1 : acknowledge(x, e);
}

static int
take_copied(struct session *x, struct span p, struct err *e)
{
	(void)p;
	/* Before there is another one: what was compacted counts another store's changes. */
	pthread_mutex_lock(&x->f->lock);
	x->f->store++;
	x->f->compact = x->f->compacted = 0;
	pthread_mutex_unlock(&x->f->lock);
	if (replica_copied(x->f->replica, e) < 0)
		return -1;
	log_info("standby.copy", NULL, "is complete");
	set_copying(x->f, false);
	return acknowledge(x, e);
}

static int
take_have(struct session *x, struct span p, struct err *e)
{
	struct reader r = READER(p.data, p.len);

	buf_clear(&x->out);
	while (r.left) {
		struct ship_chunk c;
		int needs;

		if (ship_chunk_next(&r, true, &c, e) < 0 ||
		    (needs = replica_needs(x->f->replica, &c, e)) < 0)
			return -1;
		put_u8(&x->out, (uint8_t)needs);
	}
	return answer(x, SHIP_NEED, e);
}

static int
take_chunk(struct session *x, struct span p, struct err *e)
{
	struct reader r = READER(p.data, p.len);
	struct ship_chunk c;

	if (ship_chunk_next(&r, false, &c, e) < 0 || read_check(&r, "a chunk's name", e) < 0)
		return -1;
	return replica_chunk(x->f->replica, &c, e);
}

static int
take_data(struct session *x, struct span p, struct err *e)
{
	return replica_data(x->f->replica, p, e);
}

static int
finish_shipment(struct session *x, struct err *e)
{
	struct span changes = { x->changes.data, x->changes.len };

	x->is_shipping = false;
	if (replica_ship(x->f->replica, &x->head, changes, e) < 0)
		return -1;
	if (x->changes.cap > 4 * SHIP_PIECE)
		buf_free(&x->changes);
	return acknowledge(x, e);
}

static int
take_ship(struct session *x, struct span p, struct err *e)
{
	if (x->is_shipping)
		return err_set(e, ERR_BAD, "a shipment within a shipment");
	if (ship_head_read(p, &x->head, e) < 0)
		return -1;
	buf_clear(&x->changes);
	x->is_shipping = true;
	return x->head.bytes ? 0 : finish_shipment(x, e);
}

static int
take_part(struct session *x, struct span p, struct err *e)
{
	if (!x->is_shipping || p.len > x->head.bytes - x->changes.len)
		return err_set(e, ERR_BAD, "a part of no shipment");
	buf_add(&x->changes, p.data, p.len);
	if (buf_check(&x->changes, e) < 0)
		return -1;
	return x->changes.len < x->head.bytes ? 0 : finish_shipment(x, e);
}

/* Acknowledged with the number once everything that should have gone has: chunks here and now, records by
 * the compacter. */
static int
take_compact(struct session *x, struct span p, struct err *e)
{
	struct follower *f = x->f;
	struct err why;
	uint64_t upto, began_ms;
	bool is_due;
	int rc;

	if (ship_number_read(p, &upto, e) < 0)
		return -1;
	pthread_mutex_lock(&f->lock);
	is_due = upto > f->compact && host_mono_ms() >= f->compact_again_ms;
	pthread_mutex_unlock(&f->lock);
	if (!is_due)
		return acknowledge(x, e);
	began_ms = host_mono_ms();
	rc = replica_tidy(f->replica, &why);
	pthread_mutex_lock(&f->lock);
	if (rc == 0)
		f->compact = upto;
	else
		put_off(f, began_ms, &why);
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	return acknowledge(x, e);
}

static int
take_key(struct session *x, struct span p, struct err *e)
{
	const struct follower_config *c = &x->f->c;

	if (p.len != SHA256_BYTES)
		return err_set(e, ERR_BAD, "a malformed digest of a key");
	buf_clear(&x->out);
	put_u8(&x->out, !c->has_key || !c->has_key(c->arg, p.data));
	return answer(x, SHIP_NEED, e);
}

static int
take_ping(struct session *x, struct span p, struct err *e)
{
	(void)p;
	return acknowledge(x, e);
}

static const struct {
	enum ship_frame type;
	int (*handle)(struct session *x, struct span p, struct err *e);
} takers[] = {
	{ SHIP_COPY, take_copy },
	{ SHIP_RECORDS, take_records },
	{ SHIP_COPIED, take_copied },
	{ SHIP_HAVE, take_have },
	{ SHIP_CHUNK, take_chunk },
	{ SHIP_DATA, take_data },
	{ SHIP_SHIP, take_ship },
	{ SHIP_PART, take_part },
	{ SHIP_COMPACT, take_compact },
	{ SHIP_KEY, take_key },
	{ SHIP_PING, take_ping },
};

static int
take_frame(struct session *x, uint8_t type, struct span p, struct err *e)
{
	counter_add(&received, (int64_t)p.len);
	pthread_mutex_lock(&x->f->lock);
	x->f->heard_at_ms = host_mono_ms();
	pthread_mutex_unlock(&x->f->lock);
	for (size_t i = 0; i < ARRAY_LEN(takers); i++)
		if (takers[i].type == (enum ship_frame)type)
			return takers[i].handle(x, p, e);
	return err_set(e, ERR_BAD, "an unknown frame");
}

/* --- whom we follow --- */

/* Whether the node at the other end is the one that we follow, or a later one. */
static int
accept_term(struct follower *f, const struct region_term *t, struct err *e)
{
	struct marker m;
	bool is_same;

	pthread_mutex_lock(&f->lock);
	m = f->marker;
	pthread_mutex_unlock(&f->lock);
	is_same = t->term == m.follows.term &&
	    memcmp(t->holder, m.follows.holder, TERM_HOLDER_BYTES) == 0;
	if (!is_same && t->term <= m.follows.term)
		return err_set(e, ERR_STALE,
		    "this standby follows the node of term %" PRIu64 ", not that of term %" PRIu64,
		    m.follows.term, t->term);
	if (is_same && t->lease_ms <= m.follows.lease_ms)
		return 0;
	if (is_same || t->lease_ms > m.follows.lease_ms)
		m.follows.lease_ms = t->lease_ms;
	m.follows.term = t->term;
	memcpy(m.follows.holder, t->holder, TERM_HOLDER_BYTES);
	if (marker_write(f->c.store, &m, e) < 0)
		return -1;
	pthread_mutex_lock(&f->lock);
	f->marker = m;
	pthread_mutex_unlock(&f->lock);
	return 0;
}

static int
greet(struct session *x, struct err *e)
{
	struct replica_position at;
	struct ship_hello hello;
	struct span p;
	uint8_t type;

	if (stream_receive(x->s, HELLO_MS, &type, &p, e) < 0)
		return -1;
	if (type != SHIP_HELLO)
		return err_set(e, ERR_BAD,
		    "this is a standby, and takes what its region's node ships, nothing else");
	if (ship_hello_read(p, x->f->c.region, &hello, e) < 0 ||
	    accept_term(x->f, &hello.term, e) < 0 || replica_no_copy(x->f->replica, e) < 0)
		return -1;
	replica_position(x->f->replica, &at);
	ship_welcome_put(&x->out, &at.at);
	return answer(x, SHIP_WELCOME, e);
}

static int
converse(struct session *x, struct err *e)
{
	struct span p;
	uint8_t type;

	if (greet(x, e) < 0)
		return -1;
	log_info("standby.connected", NULL, "the region's node is here");
	for (;;)
		if (stream_receive(x->s, SILENCE_MAX_MS, &type, &p, e) < 0 ||
		    take_frame(x, type, p, e) < 0)
			return -1;
}

/* --- streams --- */

/* Be the one that is listened to, once the one before has ended. false: we are stopping. */
static bool
begin(struct follower *f, struct stream *s)
{
	bool may;

	pthread_mutex_lock(&f->lock);
	while (f->stream && !f->is_stopping) {
		stream_abort(f->stream);
		pthread_cond_wait(&f->changed, &f->lock);
	}
	may = !f->is_stopping;
	if (may) {
		f->stream = s;
		f->state.is_connected = true;
	}
	pthread_mutex_unlock(&f->lock);
	return may;
}

static void
end(struct follower *f)
{
	pthread_mutex_lock(&f->lock);
	f->stream = NULL;
	f->state.is_connected = f->state.is_copying = false;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static void
serve(void *arg, struct stream *s)
{
	struct follower *f = arg;
	struct session x = { .f = f,
		.s = s,
		.out = BUF_INIT(HAVE_MAX + 1024),
		.changes = BUF_INIT(SHIP_BYTES_MAX) };
	struct err e = { 0 };

	if (strcmp(stream_peer(s), f->c.region) != 0) {
		log_warn("standby.refused", NULL, "%s is not our region", stream_peer(s));
		return;
	}
	if (!begin(f, s))
		return;
	if (converse(&x, &e) < 0) {
		log_warn("standby.disconnected", NULL, "%s", e.text);
		if (stream_send(s, SHIP_REFUSE, e.text, strlen(e.text), NULL) == 0)
			(void)!stream_flush(s, NULL);
	}
	buf_free(&x.out);
	buf_free(&x.changes);
	end(f);
}

/* --- start and stop --- */

static int
start(struct follower *f, struct err *e)
{
	struct replica_position p;
	int rc;

	/* First, since it holds the store: a promotion does so, too, while it writes the marker. */
	f->replica = replica_open(f->c.store, f->c.cache_bytes, f->c.write_buffer_bytes, e);
	if (!f->replica)
		return -1;
	rc = marker_read(f->c.store, f->c.region, &f->marker, e);
	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(e, ERR_STALE, "%s is no standby's store", f->c.store);
	if (f->marker.is_promoting)
		return err_set(e, ERR_STALE,
		    "the promotion of this standby was begun: finish it with `domicile region promote`");
	replica_position(f->replica, &p);
	f->state.next = p.at.next;
	f->state.whole_at = p.whole_at;
	f->state.has_all = p.at.next > 0;
	rc = pthread_create(&f->compacter, NULL, compacter_run, f);
	if (rc)
		return err_errno(e, rc, "a thread to compact");
	f->listener = stream_listen(f->c.peers, f->c.listen, STREAMS_MAX, serve, f, e);
	if (f->listener)
		return 0;
	pthread_mutex_lock(&f->lock);
	f->is_stopping = true;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	pthread_join(f->compacter, NULL);
	return -1;
}

struct follower *
follower_start(const struct follower_config *c, struct err *e)
{
	struct follower *f = calloc(1, sizeof(*f));

	if (!f) {
		err_set(e, ERR_MEMORY, "no memory for a standby");
		return NULL;
	}
	f->c = *c;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	if (start(f, e) == 0)
		return f;
	replica_close(f->replica);
	free(f);
	return NULL;
}

void
follower_stop(struct follower *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	f->is_stopping = true;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	stream_unlisten(f->listener);
	pthread_join(f->compacter, NULL);
	replica_close(f->replica);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

unsigned
follower_port(const struct follower *f)
{
	return stream_port(f->listener);
}

void
follower_state(struct follower *f, struct follower_state *out)
{
	pthread_mutex_lock(&f->lock);
	*out = f->state;
	out->term = f->marker.follows.term;
	out->heard_ms = f->heard_at_ms ? host_mono_ms() - f->heard_at_ms : UINT64_MAX;
	pthread_mutex_unlock(&f->lock);
	out->bytes = replica_bytes(f->replica);
}
