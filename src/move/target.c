/* The destination's side of a move: one stream, one unit at a time (DESIGN.md 7). */
#include <stdio.h>
#include <string.h>
#include <zstd.h>

#include "base/host.h"
#include "base/log.h"
#include "move/target_internal.h"
#include "service/policy.h"

#define IDLE_WAIT_MS 600000 /* between units */
#define UNIT_WAIT_MS 120000 /* within one: the source is gone, or stuck */
#define END_WAIT_MS  15000  /* until the source, which has all its answers, ends the unit */

bool
target_is_filling(const struct target *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (arrival_is_arriving(&t->arrivals[i]))
			return true;
	return false;
}

void
target_refuse(struct arrival *a, const struct err *e)
{
	a->verdict.kind = e->kind == ERR_NONE ? ERR_INTERNAL : e->kind;
	snprintf(a->verdict.text, sizeof a->verdict.text, "%.*s", (int)sizeof a->verdict.text - 1,
	    e->text);
}

void
target_close_imports(struct arrival *a)
{
	for (enum service s = SERVICE_PROFILE; s < SERVICES; s++)
		import_close(take(&a->imports[s]));
}

void
target_record_of(
    const struct target *t, const struct arrival *a, enum move_state state, struct move_record *out)
{
	*out = (struct move_record){ .state = state,
		.account = a->opening.account,
		.epoch = a->opening.epoch,
		.attempt = a->opening.attempt,
		.since_ms = host_wall_ms(),
		.lease_ms = t->lease_ms,
		.sent = a->sent,
		.received = a->received };
	snprintf(out->peer, sizeof out->peer, "%s", stream_peer(t->stream));
	snprintf(out->wave, sizeof out->wave, "%s", t->wave);
	snprintf(out->statement, sizeof out->statement, "%s", a->statement);
}

void
target_home_of(
    const struct target *t, const struct arrival *a, enum home_state state, struct home *out)
{
	*out = (struct home){ .account = a->opening.account,
		.state = state,
		.is_suspended = a->opening.is_suspended,
		.services = a->opening.services,
		.epoch = a->opening.epoch + 1,
		.attempt = a->opening.attempt };
	snprintf(out->country, sizeof out->country, "%s", a->opening.country);
	snprintf(out->peer, sizeof out->peer, "%s", stream_peer(t->stream));
}

struct arrival *
target_find(struct target *t, const struct account_id *id)
{
	for (size_t i = 0; i < t->n; i++)
		if (account_equal(&t->arrivals[i].opening.account, id))
			return &t->arrivals[i];
	return NULL;
}

/* --- memory --- */

/* WHY there is no memory for the unit: it is refused with the next verdicts, so that its source hears why. */
static void
skip_unit(struct target *t, const struct err *why)
{
	for (size_t i = 0; i < t->n; i++) {
		if (arrival_is_arriving(&t->arrivals[i]))
			target_refuse(&t->arrivals[i], why);
		target_close_imports(&t->arrivals[i]);
	}
	log_warn("move.refused", t->wave, "from=%s accounts=%zu error=\"%s\"",
	    stream_peer(t->stream), t->n, why->text);
	t->memory.import_bytes = 0;
	t->is_skipping = true;
	arriving_shrink(t->mover, &t->memory, &t->packed, &t->raw);
}

/* --- opening --- */

/* model: t_open */
static int
may_arrive(struct target *t, const struct opening *o, struct err *e)
{
	struct node *n = t->mover->node;
	struct home h;
	int r;

	if (!(o->services & BIT(SERVICE_PROFILE)))
		return err_set(e, ERR_BAD, "an account without a profile");
	if (policy_allows(n->policy, o->country, n->region, e) < 0)
		return -1;
	if (!engine_room(n->engine) || !chunks_room(n->chunks))
		return err_set(e, ERR_FULL, "%s has no space left", n->region);
	r = eraser_has(t->mover, &o->account, e);
	if (r != 0)
		return r < 0 ? -1
		             : err_set(e, ERR_BUSY, "%s has not finished erasing its former copy",
		                   n->region);
	r = homes_get(n->homes, &o->account, &h, e);
	if (r < 0)
		return -1;
	if (r == 1 && h.state != HOME_MOVED)
		return err_set(
		    e, ERR_BUSY, "its state at %s is %s", n->region, home_state_name(h.state));
	return 0;
}

/* An account is only taken from the region that the directory places it at, and as one of the country that it
 * says, by which the policy was asked.
 * model: t_open */
static int
refuse_strays(struct target *t, struct err *e)
{
	struct account_id ids[UNIT_MAX];
	struct placement rows[UNIT_MAX];

	for (size_t i = 0; i < t->n; i++)
		ids[i] = t->arrivals[i].opening.account;
	if (directory_find(t->mover->node->directory, ids, t->n, rows, e) < 0)
		return err_add(e, "asking the directory");
	for (size_t i = 0; i < t->n; i++) {
		struct arrival *a = &t->arrivals[i];
		struct err ae;

		if (a->verdict.kind != ERR_NONE ||
		    (rows[i].epoch == a->opening.epoch && rows[i].attempt == a->opening.attempt &&
		        strcmp(rows[i].home, stream_peer(t->stream)) == 0 &&
		        strcmp(rows[i].country, a->opening.country) == 0))
			continue;
		err_set(&ae, ERR_STALE,
		    "the directory has it at %s, epoch %" PRIu64 ", attempt %" PRIu64
		    ", country %s",
		    rows[i].epoch ? rows[i].home : "no region", rows[i].epoch, rows[i].attempt,
		    rows[i].epoch ? rows[i].country : "unknown");
		target_refuse(a, &ae);
	}
	return 0;
}

/* `arriving` is durable before anything is created.
 * model: t_open */
static int
record_arriving(struct target *t, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	struct home homes[UNIT_MAX];
	size_t n = 0;
	int r;

	if (!b)
		return -1;
	for (size_t i = 0; i < t->n; i++) {
		struct move_record m;

		if (t->arrivals[i].verdict.kind != ERR_NONE)
			continue;
		target_record_of(t, &t->arrivals[i], MOVE_ARRIVING, &m);
		if (move_store(b, &m, e) < 0)
			return -1;
		target_home_of(t, &t->arrivals[i], HOME_ARRIVING, &homes[n++]);
	}
	if (n == 0)
		return 0;
	r = homes_set(t->mover->node->homes, homes, n, b, e);
	/* What a disk has failed to write may be there all the same, and has to be given up. */
	for (size_t i = 0; i < t->n && (r == 0 || e->kind == ERR_IO || e->kind == ERR_FULL); i++)
		if (t->arrivals[i].verdict.kind == ERR_NONE)
			t->arrivals[i].state = MOVE_ARRIVING;
	if (r == 0)
		counter_add(&moves_arriving, (int64_t)n);
	return r;
}

static int
open_imports(struct target *t, struct arrival *a, struct err *e)
{
	struct node *n = t->mover->node;

	for (enum service s = SERVICE_PROFILE; s < SERVICES; s++) {
		struct vault_id id = { a->opening.account, (uint8_t)s };

		if (!(a->opening.services & BIT(s)))
			continue;
		a->imports[s] = import_open(
		    n->engine, n->keys, n->chunks, &id, a->opening.epoch + 1, e);
		if (!a->imports[s])
			return -1;
		t->memory.import_bytes += import_memory(a->imports[s]);
	}
	return 0;
}

/* model: t_refuse */
int
target_send_verdicts(struct target *t, enum frame_type type, const struct verdict *v, size_t n,
    const struct note *note, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(STREAM_FRAME_MAX);

	verdicts_put(&b, t->unit, v, n);
	if (note)
		note_put(&b, note);
	if (buf_check(&b, e) < 0 || stream_send(t->stream, type, b.data, b.len, e) < 0)
		return -1;
	return stream_flush(t->stream, e);
}

static int
send_arrival_verdicts(struct target *t, enum frame_type type, struct err *e)
{
	struct verdict v[UNIT_MAX];

	for (size_t i = 0; i < t->n; i++)
		v[i] = t->arrivals[i].verdict;
	t->is_answered = !target_is_filling(t);
	return target_send_verdicts(t, type, v, t->n, NULL, e);
}

static void end_unit(struct target *t);

/* model: t_open */
static int
on_open(struct target *t, struct span p, struct err *e)
{
	struct opening o[UNIT_MAX];
	size_t n;

	end_unit(t);
	t->failures = flusher_failures(t->mover->node->flusher);
	if (open_read(p, &t->unit, t->wave, o, &n, e) < 0 ||
	    arriving_grow(t->mover, &t->memory, &t->packed, 0, &t->raw, 0, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct arrival *a = &t->arrivals[i];
		struct err ae = { 0 };

		if (target_find(t, &o[i].account))
			return err_set(e, ERR_BAD, "OPEN names an account twice");
		*a = (struct arrival){ .opening = o[i], .state = MOVE_GIVEN_UP };
		a->is_claimed = claim_take(t->mover, &o[i].account, t->stream);
		if (!a->is_claimed)
			err_set(&ae, ERR_BUSY, "another move of it is under way here");
		if (!a->is_claimed || may_arrive(t, &o[i], &ae) < 0)
			target_refuse(a, &ae);
		t->n = i + 1;
	}
	if (refuse_strays(t, e) < 0 || record_arriving(t, e) < 0)
		return -1;
	step("target.arriving");
	for (size_t i = 0; i < n; i++) {
		struct err ae = { 0 };

		if (arrival_is_arriving(&t->arrivals[i]) &&
		    open_imports(t, &t->arrivals[i], &ae) < 0)
			target_refuse(&t->arrivals[i], &ae);
	}
	return send_arrival_verdicts(t, FRAME_OPENED, e);
}

/* --- data --- */

static int
take_section(struct target *t, const struct section *s, struct err *e)
{
	struct arrival *a = target_find(t, &s->account);
	struct err ae = { 0 };

	if (!a || a->opening.epoch != s->epoch || a->opening.attempt != s->attempt)
		return err_set(
		    e, ERR_BAD, "data of an account, epoch or attempt that was not opened");
	if (!arrival_is_arriving(a))
		return 0;
	if (!a->imports[s->service])
		return err_set(e, ERR_BAD, "data of a service that was not opened");
	t->memory.import_bytes -= import_memory(a->imports[s->service]);
	if (import_take(a->imports[s->service], s->items.data, s->items.len, &ae) < 0)
		target_refuse(a, &ae);
	t->memory.import_bytes += import_memory(a->imports[s->service]);
	return 0;
}

int
target_check_unit(const struct target *t, uint32_t unit, struct err *e)
{
	if (t->n == 0 || unit != t->unit)
		return err_set(e, ERR_BAD, "a frame of unit %u where %u is open", unit, t->unit);
	return 0;
}

/* model: t_take */
static int
on_data(struct target *t, struct err *e)
{
	struct err why = { 0 };
	struct reader head = READER(t->packed.data, t->packed.len), r;
	uint32_t unit = read_u32(&head), raw_len = read_u32(&head);
	struct section s;
	uint8_t *room;
	size_t n;
	int more;

	if (buf_check(&t->packed, e) < 0)
		return -1;
	if (head.failed || raw_len > DATA_RAW_MAX)
		return err_set(e, ERR_BAD, "malformed DATA");
	if (target_check_unit(t, unit, e) < 0)
		return -1;
	buf_clear(&t->raw);
	if (arriving_grow(t->mover, &t->memory, &t->packed, t->packed.len, &t->raw, raw_len, &why) <
	    0) {
		skip_unit(t, &why);
		return 0;
	}
	room = buf_room(&t->raw, raw_len ? raw_len : 1);
	if (!room)
		return buf_check(&t->raw, e);
	n = ZSTD_decompressDCtx(t->zstd, room, raw_len, head.at, head.left);
	if (ZSTD_isError(n) || n != raw_len)
		return err_set(e, ERR_BAD, "DATA does not decompress");
	r = READER(room, n);
	while ((more = section_read(&r, &s, e)) == 1)
		if (take_section(t, &s, e) < 0)
			return -1;
	step("target.taken");
	if (more < 0)
		return -1;
	arriving_shrink(t->mover, &t->memory, &t->packed, &t->raw);
	if (arriving_grow(t->mover, &t->memory, &t->packed, 0, &t->raw, 0, &why) < 0)
		skip_unit(t, &why); /* for what the imports hold by now */
	return 0;
}

/* Bring what was taken to the engine and the disk now, so that the fence has little to wait for. */
static void
write_arrival(struct arrival *a)
{
	struct err e = { 0 };

	for (enum service s = SERVICE_PROFILE; s < SERVICES && arrival_is_arriving(a); s++)
		if (a->imports[s] && import_write(a->imports[s], &e) < 0)
			target_refuse(a, &e);
}

/* model: t_take */
static int
on_sync(struct target *t, struct span p, struct err *e)
{
	uint32_t unit;

	if (unit_read(p, &unit, e) < 0 || target_check_unit(t, unit, e) < 0)
		return -1;
	for (size_t i = 0; i < t->n; i++)
		write_arrival(&t->arrivals[i]);
	return send_arrival_verdicts(t, FRAME_SYNCED, e);
}

/* --- the rest --- */

/* model: t_learned */
static int
on_learned(struct target *t, struct span p, struct err *e)
{
	uint32_t unit;

	if (unit_read(p, &unit, e) < 0 || target_check_unit(t, unit, e) < 0)
		return -1;
	for (size_t i = 0; i < t->n; i++) {
		struct arrival *a = &t->arrivals[i];

		if (a->state != MOVE_SETTLED || a->is_learned)
			continue;
		homes_open_writes(t->mover->node->homes, &a->opening.account);
		if (target_record_open(t->mover, &a->opening.account, e) < 0)
			return -1;
		a->is_learned = true;
	}
	return 0;
}

/* What is not settled: an arrival is given up; a prepared one is the directory's to decide.
 * model: t_end */
static void
end_unit(struct target *t)
{
	struct erase_record x[UNIT_MAX];
	struct home homes[UNIT_MAX];
	struct arrival *given_up[UNIT_MAX];
	struct move_record r;
	struct err e = { 0 };
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++) {
		struct arrival *a = &t->arrivals[i];
		bool is_lost = a->state == MOVE_PREPARED && a->verdict.kind == ERR_STALE;

		target_close_imports(a);
		target_record_of(t, a, a->state, &r);
		if ((a->state == MOVE_PREPARED && !is_lost) ||
		    (a->state == MOVE_SETTLED && !a->is_learned)) {
			resolver_add(t->mover, &r);
		} else if (a->state == MOVE_ARRIVING || is_lost) {
			erasure_of_arrival(&r, a->opening.services, &x[n]);
			target_home_of(t, a, HOME_NONE, &homes[n]);
			given_up[n++] = a;
		}
	}
	if (n && target_record_given_up(t->mover, x, homes, n, &e) < 0) {
		log_error("move.give_up", t->wave, "accounts=%zu error=\"%s\"", n, e.text);
		for (size_t i = 0; i < n; i++) {
			target_record_of(t, given_up[i], given_up[i]->state, &r);
			resolver_add(t->mover, &r);
		}
	}
	for (size_t i = 0; i < t->n; i++)
		if (t->arrivals[i].is_claimed)
			claim_drop(t->mover, &t->arrivals[i].opening.account);
	t->n = 0;
	t->memory.import_bytes = 0;
	t->is_answered = false;
	t->is_skipping = false;
	buf_clear(&t->packed);
}

static int
on_end(struct target *t, struct span p, struct err *e)
{
	uint32_t unit;

	if (unit_read(p, &unit, e) < 0 || target_check_unit(t, unit, e) < 0)
		return -1;
	end_unit(t);
	return 0;
}

static int
on_piece(struct target *t, uint8_t type, struct span p, struct err *e)
{
	struct err why = { 0 };

	if (t->n == 0)
		return err_set(e, ERR_BAD, "data before a unit was opened");
	if (t->is_skipping)
		return 0;
	if (arriving_grow(
	        t->mover, &t->memory, &t->packed, t->packed.len + p.len, &t->raw, 0, &why) < 0) {
		skip_unit(t, &why);
		return 0;
	}
	buf_add(&t->packed, p.data, p.len);
	return type == FRAME_DATA ? on_data(t, e) : buf_check(&t->packed, e);
}

static int
on_frame(struct target *t, uint8_t type, struct span p, struct err *e)
{
	switch (type) {
	case FRAME_OPEN:
		return on_open(t, p, e);
	case FRAME_MORE:
	case FRAME_DATA:
		return on_piece(t, type, p, e);
	case FRAME_SYNC:
		return on_sync(t, p, e);
	case FRAME_SEAL:
		return target_on_seal(t, p, e);
	case FRAME_LEARNED:
		return on_learned(t, p, e);
	case FRAME_END:
		return on_end(t, p, e);
	default:
		return err_set(e, ERR_BAD, "unknown frame %u", type);
	}
}

static uint64_t
patience_ms(const struct target *t)
{
	if (t->n == 0)
		return IDLE_WAIT_MS;
	return t->is_answered ? END_WAIT_MS : UNIT_WAIT_MS;
}

static void
say_failed(struct target *t, const struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(1024);
	char text[WAVE_REASON_SIZE];
	struct err ignored;

	snprintf(text, sizeof text, "%.*s", (int)sizeof text - 1, e->text);
	put_str(&b, text);
	if (stream_send(t->stream, FRAME_FAILED, b.data, b.len, &ignored) == 0 &&
	    stream_flush(t->stream, &ignored) < 0)
		log_debug("move.stream", t->wave, "error=\"%s\"", ignored.text);
}

/* model: t_end */
void
target_serve(void *mover, struct stream *s)
{
	struct target t = { .mover = mover, .stream = s };
	struct err e = { 0 };
	int r = 0;

	t.packed = BUF_INIT(DATA_RAW_MAX * 2);
	t.raw = BUF_INIT(DATA_RAW_MAX);
	t.zstd = ZSTD_createDCtx();
	t.arrivals = calloc(UNIT_MAX, sizeof *t.arrivals);
	if (!t.zstd || !t.arrivals)
		r = err_set(&e, ERR_MEMORY, "no memory for an arriving stream");
	while (r == 0) {
		uint8_t type;
		struct span p;

		r = stream_receive(s, patience_ms(&t), &type, &p, &e);
		if (r < 0)
			log_info("move.stream", t.wave, "%s", e.text);
		else if (p.len > t.memory.frame_bytes)
			t.memory.frame_bytes = p.len; /* the stream keeps the room for it */
		if (r == 0 && on_frame(&t, type, p, &e) < 0) {
			log_warn("move.refused", t.wave, "from=%s frame=%c error=\"%s\"",
			    stream_peer(s), type >= 32 && type < 127 ? type : '?', e.text);
			say_failed(&t, &e);
			r = -1;
		}
	}
	if (t.arrivals)
		end_unit(&t);
	free(t.arrivals);
	buf_wipe(&t.raw);
	buf_wipe(&t.packed);
	arriving_let_go(t.mover, &t.memory);
	ZSTD_freeDCtx(t.zstd);
}
