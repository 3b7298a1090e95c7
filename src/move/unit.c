/* The source's side of a move: one unit of accounts over one stream, step by step (DESIGN.md 7). */
#include <stdio.h>
#include <string.h>
#include <zstd.h>

#include "base/host.h"
#include "base/log.h"
#include "move/unit_internal.h"
#include "service/policy.h"

#define OPEN_WAIT_MS       30000
#define SYNC_WAIT_MS       120000
#define RAW_TARGET         ((size_t)1 << 20)
#define ROUNDS_BEFORE_PACE 3
#define ROUNDS_MAX         14
#define TAIL_MIN           ((uint64_t)128 << 10)
#define ZSTD_LEVEL         1

static size_t
alive_count(const struct unit *u)
{
	size_t n = 0;

	for (size_t i = 0; i < u->n; i++)
		n += unit_is_alive(&u->accounts[i]);
	return n;
}

void
unit_fail(struct unit_account *a, const struct err *e)
{
	if (!unit_is_alive(a))
		return;
	a->verdict.kind = e->kind == ERR_NONE ? ERR_INTERNAL : e->kind;
	snprintf(a->verdict.text, sizeof a->verdict.text, "%.*s", (int)sizeof a->verdict.text - 1,
	    e->text);
}

static void
fail_all(struct unit *u, const struct err *e)
{
	for (size_t i = 0; i < u->n; i++)
		unit_fail(&u->accounts[i], e);
}

void
unit_log(const struct unit *u, const struct unit_account *a, const char *from, const char *to)
{
	char id[ACCOUNT_TEXT_SIZE];

	account_text(&a->opening.account, id);
	log_debug("move.state", u->wave,
	    "account=%s from=%s to=%s epoch=%" PRIu64 " bytes=%" PRIu64, id, from, to,
	    a->opening.epoch, a->bytes);
}

void
unit_record(const struct unit *u, const struct unit_account *a, enum move_state state,
    struct move_record *out)
{
	*out = (struct move_record){ .state = state,
		.account = a->opening.account,
		.epoch = a->opening.epoch,
		.attempt = a->opening.attempt,
		.since_ms = host_wall_ms(),
		.sent = a->sent,
		.received = a->received };
	snprintf(out->peer, sizeof out->peer, "%s", u->to);
	snprintf(out->wave, sizeof out->wave, "%s", u->wave);
	snprintf(out->statement, sizeof out->statement, "%s", a->statement);
}

/* --- 1: open --- */

/* Whether no other unit has the account, and no fence of it is unsettled.
 * model: s_find */
static bool
claim(struct mover *m, struct unit_account *a)
{
	_cleanup_buf_ struct buf v = BUF_INIT(16384);
	struct err e;

	if (!claim_take(m, &a->opening.account, NULL))
		return false;
	a->is_claimed = region_get(m->node->engine, REGION_MOVE, a->opening.account.b,
	                    ACCOUNT_ID_BYTES, &v, &e) == 0;
	if (!a->is_claimed) /* the resolver needs it, to settle what the record is about */
		claim_drop(m, &a->opening.account);
	return a->is_claimed;
}

/* What directory and gate say of the account; those that can't move now drop out.
 * model: s_find */
static void
open_account(struct unit *u, struct unit_account *a, const struct placement *row)
{
	struct node *n = u->mover->node;
	struct err e = { 0 };
	int r = homes_get(n->homes, &a->opening.account, &a->home, &e);

	a->is_removed = r == 0 && !row->epoch;
	a->has_left = r > 0 && a->home.state == HOME_MOVED;
	if (r == 0)
		err_set(&e, ERR_MISSING,
		    a->is_removed ? "the account was removed" : "no home record here");
	else if (r > 0 && a->home.state != HOME_HERE)
		r = err_set(&e, ERR_BUSY, "its state here is %s", home_state_name(a->home.state));
	else if (r > 0 && !claim(u->mover, a))
		r = err_set(&e, ERR_BUSY, "another move of it is under way");
	else if (r > 0 && policy_allows(n->policy, a->home.country, u->to, &e) < 0)
		r = -1;
	else if (r > 0 && (row->epoch != a->home.epoch || strcmp(row->home, n->region) != 0))
		r = err_set(&e, ERR_STALE, "the directory places it at %s, epoch %" PRIu64,
		    row->epoch ? row->home : "no region", row->epoch);
	if (r <= 0) {
		unit_fail(a, &e);
		return;
	}
	a->opening.epoch = row->epoch;
	a->opening.attempt = row->attempt;
	a->opening.services = a->home.services;
	a->opening.is_suspended = a->home.is_suspended;
	memcpy(a->opening.country, a->home.country, sizeof a->opening.country);
}

static int
open_exports(struct unit *u, struct unit_account *a, uint64_t *bytes, struct err *e)
{
	struct node *n = u->mover->node;

	for (enum service s = SERVICE_PROFILE; s < SERVICES; s++) {
		struct vault_id id = { a->opening.account, (uint8_t)s };

		if (!(a->opening.services & BIT(s)))
			continue;
		a->exports[s] = export_open(n->pool, n->engine, n->keys, n->chunks, &id, e);
		if (!a->exports[s])
			return err_add(e, "vault of %s", service_name(s));
		*bytes += export_size(a->exports[s]);
	}
	return 0;
}

/* The state `copying` is durable before the destination hears of it.
 * model: s_open */
static int
record_copying(struct unit *u, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);

	if (!b)
		return -1;
	for (size_t i = 0; i < u->n; i++) {
		struct move_record m;

		if (!unit_is_alive(&u->accounts[i]))
			continue;
		u->accounts[i].state = MOVE_COPYING;
		u->accounts[i].is_recorded = true;
		unit_record(u, &u->accounts[i], MOVE_COPYING, &m);
		if (move_store(b, &m, e) < 0)
			return -1;
	}
	return region_apply(u->mover->node->engine, u->mover->node->flusher, b, e);
}

/* The accounts that are going on, packed to the front, so that both sides number them alike. */
static void
pack_alive(struct unit *u)
{
	size_t to = 0;

	for (size_t i = 0; i < u->n; i++) {
		if (!unit_is_alive(&u->accounts[i]))
			continue;
		if (to != i) {
			struct unit_account x = u->accounts[to];

			u->accounts[to] = u->accounts[i];
			u->accounts[i] = x;
		}
		to++;
	}
}

/* model: s_no_answer */
int
unit_receive(struct unit *u, enum frame_type want, uint64_t wait_ms, size_t n, struct verdict *out,
    struct note *note, struct err *e)
{
	uint8_t type;
	struct span p;
	struct reader r;

	if (stream_receive(u->stream, wait_ms, &type, &p, e) < 0)
		return err_add(e, "waiting for %s", u->to);
	r = READER(p.data, p.len);
	if (type == FRAME_FAILED) {
		char text[WAVE_REASON_SIZE];

		text_read(&r, text, sizeof text);
		return err_set(e, ERR_PEER, "%s: %s", u->to, r.failed ? "gave up" : text);
	}
	if (type != want)
		return err_set(e, ERR_PEER, "%s sent frame '%c' for '%c'", u->to, type, want);
	if (verdicts_read(&r, u->number, out, n, e) < 0)
		return -1;
	if (note)
		note_read(&r, note);
	return read_check(&r, "an answer to a move", e);
}

/* model: s_open */
static int
send_open(struct unit *u, size_t n, struct err *e)
{
	struct opening o[UNIT_MAX];
	_cleanup_buf_ struct buf b = BUF_INIT(STREAM_FRAME_MAX);

	for (size_t i = 0; i < n; i++)
		o[i] = u->accounts[i].opening;
	open_put(&b, u->number, u->wave, o, n);
	if (buf_check(&b, e) < 0 || stream_send(u->stream, FRAME_OPEN, b.data, b.len, e) < 0)
		return -1;
	return stream_flush(u->stream, e);
}

static void
take_verdicts(struct unit *u, const struct verdict *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].kind != ERR_NONE && unit_is_alive(&u->accounts[i]))
			u->accounts[i].verdict = v[i];
}

/* model: s_open, s_open_refused */
static int
unit_open(struct unit *u, size_t *opened, struct err *e)
{
	struct account_id ids[UNIT_MAX];
	struct placement rows[UNIT_MAX];
	struct verdict v[UNIT_MAX];
	uint64_t bytes = 0;

	for (size_t i = 0; i < u->n; i++)
		ids[i] = u->accounts[i].opening.account;
	if (directory_find(u->mover->node->directory, ids, u->n, rows, e) < 0)
		return err_add(e, "asking the directory");
	for (size_t i = 0; i < u->n; i++) {
		struct err ae = { 0 };

		open_account(u, &u->accounts[i], &rows[i]);
		if (unit_is_alive(&u->accounts[i]) &&
		    open_exports(u, &u->accounts[i], &bytes, &ae) < 0)
			unit_fail(&u->accounts[i], &ae);
		if (bytes > UNIT_BYTES)
			u->n = i + 1;
	}
	if (bytes > UNIT_BYTES)
		u->limits.is_single = true;
	pack_alive(u);
	*opened = alive_count(u);
	if (*opened == 0)
		return 0;
	if (record_copying(u, e) < 0)
		return -1;
	counter_add(&moves_copying, (int64_t)*opened);
	step("source.copying");
	if (send_open(u, *opened, e) < 0 ||
	    unit_receive(u, FRAME_OPENED, OPEN_WAIT_MS, *opened, v, NULL, e) < 0)
		return -1;
	take_verdicts(u, v, *opened);
	step("source.opened");
	return 0;
}

/* --- 2: copy --- */

static int
send_packed(struct unit *u, struct err *e)
{
	const uint8_t *p = u->packed.data;
	size_t left = u->packed.len;

	while (left > DATA_PART) {
		if (stream_send(u->stream, FRAME_MORE, p, DATA_PART, e) < 0)
			return -1;
		p += DATA_PART;
		left -= DATA_PART;
	}
	return stream_send(u->stream, FRAME_DATA, p, left, e);
}

/* Send what is in RAW, compressed. */
static int
flush_data(struct unit *u, struct err *e)
{
	size_t bound = ZSTD_compressBound(u->raw.len), n;
	uint8_t *room;

	if (buf_check(&u->raw, e) < 0)
		return -1;
	if (u->raw.len == 0)
		return 0;
	buf_clear(&u->packed);
	put_u32(&u->packed, u->number);
	put_u32(&u->packed, (uint32_t)u->raw.len);
	room = buf_room(&u->packed, bound);
	if (!room)
		return buf_check(&u->packed, e);
	n = ZSTD_compressCCtx(u->zstd, room, bound, u->raw.data, u->raw.len, ZSTD_LEVEL);
	if (ZSTD_isError(n))
		return err_set(e, ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(n));
	u->packed.len += n;
	counter_add(&moves_bytes, (int64_t)u->raw.len);
	buf_clear(&u->raw);
	return send_packed(u, e);
}

/* Append what one vault has to send now. 1 there is more, 0 caught up; an error of the account alone
 * goes into its verdict. */
static int
copy_some(struct unit *u, struct unit_account *a, enum service s)
{
	struct section head = { a->opening.account, a->opening.epoch, a->opening.attempt, s,
		{ 0 } };
	size_t at = u->raw.len, before;
	struct err e = { 0 };
	int more;

	section_put_head(&u->raw, &head);
	before = u->raw.len;
	more = export_next(a->exports[s], &u->raw, RAW_TARGET, &e);
	if (more < 0) {
		unit_fail(a, &e);
		u->raw.len = at;
		return 0;
	}
	if (u->raw.len == before) {
		u->raw.len = at;
		return more;
	}
	section_end(&u->raw, at);
	a->bytes += u->raw.len - before;
	return more;
}

/* Everything of one account that is in the engine now. */
static int
copy_account(struct unit *u, struct unit_account *a, bool is_limited, struct err *e)
{
	for (enum service s = SERVICE_PROFILE; s < SERVICES; s++) {
		int more = a->exports[s] != NULL;

		while (more && unit_is_alive(a)) {
			size_t before = u->raw.len;

			more = copy_some(u, a, s);
			if (is_limited && !u->limits.go_on(u->limits.arg, u->raw.len - before))
				return err_set(
				    e, ERR_CANCELLED, "the wave was paused or cancelled");
			if (u->raw.len >= RAW_TARGET && flush_data(u, e) < 0)
				return -1;
		}
	}
	return 0;
}

/* model: s_copy */
int
unit_copy_all(struct unit *u, size_t from, size_t to, bool is_limited, struct err *e)
{
	for (size_t i = from; i < to; i++)
		if (unit_is_alive(&u->accounts[i]) &&
		    copy_account(u, &u->accounts[i], is_limited, e) < 0)
			return -1;
	return flush_data(u, e);
}

/* Wait until the destination has taken everything sent so far.
 * model: s_copy */
static int
sync_unit(struct unit *u, size_t opened, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(16);
	struct verdict v[UNIT_MAX];

	unit_put(&b, u->number);
	if (stream_send(u->stream, FRAME_SYNC, b.data, b.len, e) < 0 ||
	    stream_flush(u->stream, e) < 0)
		return -1;
	if (unit_receive(u, FRAME_SYNCED, SYNC_WAIT_MS, opened, v, NULL, e) < 0)
		return -1;
	take_verdicts(u, v, opened);
	return 0;
}

static uint64_t
bytes_left(struct unit *u)
{
	uint64_t all = 0;

	for (size_t i = 0; i < u->n; i++) {
		struct unit_account *a = &u->accounts[i];

		for (enum service s = SERVICE_PROFILE; s < SERVICES && unit_is_alive(a); s++) {
			struct err e = { 0 };
			uint64_t left = 0;

			if (a->exports[s] && export_left(a->exports[s], &left, &e) < 0)
				unit_fail(a, &e);
			all += left;
		}
	}
	return all;
}

/* Rounds of what was written meanwhile, until what is left fits the pause budget. A writer that
 * outruns them is slowed down; after ROUNDS_MAX the move is put off. */
static int
unit_rounds(struct unit *u, size_t opened, struct err *e)
{
	struct homes *homes = u->mover->node->homes;
	uint64_t budget = u->rate * u->mover->config.pause_budget_ms / 1000 / 2;
	unsigned round = 0;
	int result = 0;

	if (budget < TAIL_MIN)
		budget = TAIL_MIN;
	while (alive_count(u) && bytes_left(u) > budget) {
		if (++round > ROUNDS_MAX) {
			struct err busy;

			err_set(&busy, ERR_BUSY, "it is written to faster than it can be copied");
			fail_all(u, &busy);
			break;
		}
		if (round > ROUNDS_BEFORE_PACE)
			for (size_t i = 0; i < u->n; i++)
				homes_pace(homes, &u->accounts[i].opening.account,
				    (uint64_t)1000 << (round - ROUNDS_BEFORE_PACE));
		result = unit_copy_all(u, 0, u->n, true, e);
		if (result < 0 || (result = sync_unit(u, opened, e)) < 0)
			break;
	}
	if (round > ROUNDS_BEFORE_PACE)
		for (size_t i = 0; i < u->n; i++)
			homes_pace(homes, &u->accounts[i].opening.account, 0);
	return result;
}

/* model: s_copy */
static int
unit_copy(struct unit *u, size_t opened, struct err *e)
{
	uint64_t began = host_mono_ns(), bytes = 0, took;

	if (unit_copy_all(u, 0, u->n, true, e) < 0 || sync_unit(u, opened, e) < 0)
		return -1;
	took = host_mono_ns() - began + 1;
	for (size_t i = 0; i < u->n; i++)
		bytes += u->accounts[i].bytes;
	u->rate = (uint64_t)((double)bytes * 1e9 / (double)took);
	step("source.copied");
	return u->limits.is_single ? unit_rounds(u, opened, e) : 0;
}

/* --- the end --- */

/* The resolver goes on: until the record is deleted, nobody can move or remove the account. */
static void
give_up_later(struct unit *u, const struct unit_account *a)
{
	struct move_record m;

	unit_record(u, a, MOVE_COPYING, &m);
	resolver_add(u->mover, &m);
}

/* The records of moves that nothing was fenced for. */
static void
delete_records(struct unit *u)
{
	struct node *n = u->mover->node;
	struct err e = { 0 };
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(&e);

	for (size_t i = 0; i < u->n && b; i++)
		if (u->accounts[i].state == MOVE_GIVEN_UP)
			region_delete(
			    b, REGION_MOVE, u->accounts[i].opening.account.b, ACCOUNT_ID_BYTES);
	if (b && region_apply(n->engine, n->flusher, b, &e) == 0)
		return;
	log_warn("move.give_up", u->wave, "error=\"%s\"", e.text);
	for (size_t i = 0; i < u->n; i++)
		if (u->accounts[i].state == MOVE_GIVEN_UP)
			give_up_later(u, &u->accounts[i]);
}

/* Accounts that were never fenced go on as if nothing had been.
 * model: s_give_up */
static void
give_up(struct unit *u)
{
	bool any = false;

	for (size_t i = 0; i < u->n; i++) {
		struct unit_account *a = &u->accounts[i];

		if (!a->is_recorded) {
			continue; /* a record that is there is another move's */
		} else if (a->state == MOVE_COPYING && a->has_failed_fence) {
			give_up_later(u, a);
		} else if (a->state == MOVE_COPYING) {
			move_advance(&a->state, MOVE_GIVEN_UP);
			counter_add(&moves_given_up, 1);
			any = true;
		}
	}
	if (any)
		delete_records(u);
}

/* The destination gives up arrivals that dropped out here, and lets go of all of them. */
static int
send_end(struct unit *u, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(16);

	unit_put(&b, u->number);
	if (buf_check(&b, e) < 0 || stream_send(u->stream, FRAME_END, b.data, b.len, e) < 0)
		return -1;
	return stream_flush(u->stream, e);
}

/* model: s_gives_up_copying */
int
unit_run(struct unit *u, struct err *e)
{
	size_t opened = 0;
	int r = -1;

	u->number = atomic_fetch_add(&u->mover->next_unit, 1) + 1;
	u->raw = BUF_INIT(DATA_RAW_MAX + ((size_t)1 << 20));
	u->packed = BUF_INIT(DATA_RAW_MAX * 2);
	u->zstd = ZSTD_createCCtx();
	if (!u->zstd)
		err_set(e, ERR_MEMORY, "no memory to compress with");
	else
		r = unit_open(u, &opened, e);
	if (r == 0 && alive_count(u))
		r = unit_copy(u, opened, e);
	if (r == 0)
		r = unit_hand_over(u, opened, e);
	if (r < 0)
		for (size_t i = 0; i < u->n; i++)
			if (u->accounts[i].state != MOVE_MOVED)
				unit_fail(&u->accounts[i], e);
	if (r == 0 && opened)
		r = send_end(u, e);
	give_up(u);
	return r;
}

/* model: s_leave_to_resolver */
void
unit_release(struct unit *u)
{
	for (size_t i = 0; i < u->n; i++) {
		struct unit_account *a = &u->accounts[i];
		struct move_record m;

		if (a->is_recorded && a->state == MOVE_FENCED) {
			unit_record(u, a, MOVE_FENCED, &m);
			resolver_add(u->mover, &m);
		}
		if (a->is_claimed)
			claim_drop(u->mover, &a->opening.account);
		for (enum service s = SERVICE_PROFILE; s < SERVICES; s++)
			export_close(take(&a->exports[s]));
	}
	buf_wipe(&u->raw);
	buf_wipe(&u->packed);
	ZSTD_freeCCtx(u->zstd);
	u->zstd = NULL;
}
