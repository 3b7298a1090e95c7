/* The source's side of a move: one unit of accounts over one stream, step by step (DESIGN.md 7). */
#include <stdio.h>
#include <string.h>
#include <zstd.h>

#include "base/host.h"
#include "base/log.h"
#include "move/internal.h"

#define OPEN_WAIT_MS       30000
#define SYNC_WAIT_MS       120000
#define FENCE_WAIT_MS      5000
#define RAW_TARGET         ((size_t)1 << 20)
#define ROUNDS_BEFORE_PACE 3
#define ROUNDS_MAX         14
#define TAIL_MIN           ((uint64_t)128 << 10)
#define ZSTD_LEVEL         1

static bool
is_alive(const struct unit_account *a)
{
	return a->verdict.kind == ERR_NONE;
}

static size_t
alive_count(const struct unit *u)
{
	size_t n = 0;

	for (size_t i = 0; i < u->n; i++)
		n += is_alive(&u->accounts[i]);
	return n;
}

static void
fail_account(struct unit_account *a, const struct err *e)
{
	if (!is_alive(a))
		return;
	a->verdict.kind = e->kind == ERR_NONE ? ERR_INTERNAL : e->kind;
	snprintf(a->verdict.text, sizeof a->verdict.text, "%.*s", (int)sizeof a->verdict.text - 1,
	    e->text);
}

static void
fail_all(struct unit *u, const struct err *e)
{
	for (size_t i = 0; i < u->n; i++)
		fail_account(&u->accounts[i], e);
}

static void
log_state(const struct unit *u, const struct unit_account *a, const char *from, const char *to)
{
	char id[ACCOUNT_TEXT_SIZE];

	account_text(&a->opening.account, id);
	log_debug("move.state", u->wave,
	    "account=%s from=%s to=%s epoch=%" PRIu64 " bytes=%" PRIu64, id, from, to,
	    a->opening.epoch, a->bytes);
}

static void
record_of(const struct unit *u, const struct unit_account *a, enum move_state state,
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

static int
put_record(struct region_batch *b, const struct move_record *m, struct err *e)
{
	_cleanup_buf_ struct buf v = BUF_INIT(8192);

	move_record_put(&v, m);
	if (buf_check(&v, e) < 0)
		return -1;
	region_put(b, REGION_MOVE, m->account.b, ACCOUNT_ID_BYTES, v.data, v.len);
	return 0;
}

/* --- 1: open --- */

/* What directory and gate say of the account; those that can't move now drop out. */
static void
open_account(struct unit *u, struct unit_account *a, const struct placement *row)
{
	struct node *n = u->mover->node;
	struct err e = { 0 };
	int r = homes_get(n->homes, &a->opening.account, &a->home, &e);

	if (r == 0)
		err_set(&e, ERR_MISSING, "no home record here");
	else if (r > 0 && a->home.state != HOME_HERE)
		r = err_set(&e, ERR_BUSY, "its state here is %s", home_state_name(a->home.state));
	else if (r > 0 && (row->epoch != a->home.epoch || strcmp(row->home, n->region) != 0))
		r = err_set(&e, ERR_STALE, "the directory places it at %s, epoch %" PRIu64,
		    row->epoch ? row->home : "no region", row->epoch);
	if (r <= 0) {
		fail_account(a, &e);
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

/* The state `copying` is durable before the destination hears of it. */
static int
record_copying(struct unit *u, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);

	if (!b)
		return -1;
	for (size_t i = 0; i < u->n; i++) {
		struct move_record m;

		if (!is_alive(&u->accounts[i]))
			continue;
		u->accounts[i].state = MOVE_COPYING;
		record_of(u, &u->accounts[i], MOVE_COPYING, &m);
		if (put_record(b, &m, e) < 0)
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
		if (!is_alive(&u->accounts[i]))
			continue;
		if (to != i) {
			struct unit_account x = u->accounts[to];

			u->accounts[to] = u->accounts[i];
			u->accounts[i] = x;
		}
		to++;
	}
}

static int
receive_verdicts(struct unit *u, enum frame_type want, uint64_t wait_ms, size_t n,
    struct verdict *out, struct note *note, struct err *e)
{
	uint8_t type;
	struct span p;
	struct reader r;

	if (stream_receive(u->stream, wait_ms, &type, &p, e) < 0)
		return err_add(e, "waiting for %s", u->to);
	r = READER(p.data, p.len);
	if (type == FRAME_FAILED) {
		char text[WAVE_REASON_SIZE];

		read_str(&r, text, sizeof text);
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
		if (v[i].kind != ERR_NONE && is_alive(&u->accounts[i]))
			u->accounts[i].verdict = v[i];
}

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
		if (is_alive(&u->accounts[i]) && open_exports(u, &u->accounts[i], &bytes, &ae) < 0)
			fail_account(&u->accounts[i], &ae);
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
	    receive_verdicts(u, FRAME_OPENED, OPEN_WAIT_MS, *opened, v, NULL, e) < 0)
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
		fail_account(a, &e);
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

		while (more && is_alive(a)) {
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

static int
copy_all(struct unit *u, bool is_limited, struct err *e)
{
	for (size_t i = 0; i < u->n; i++)
		if (is_alive(&u->accounts[i]) &&
		    copy_account(u, &u->accounts[i], is_limited, e) < 0)
			return -1;
	return flush_data(u, e);
}

/* Wait until the destination has taken everything sent so far. */
static int
sync_unit(struct unit *u, size_t opened, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(16);
	struct verdict v[UNIT_MAX];

	unit_put(&b, u->number);
	if (stream_send(u->stream, FRAME_SYNC, b.data, b.len, e) < 0 ||
	    stream_flush(u->stream, e) < 0)
		return -1;
	if (receive_verdicts(u, FRAME_SYNCED, SYNC_WAIT_MS, opened, v, NULL, e) < 0)
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

		for (enum service s = SERVICE_PROFILE; s < SERVICES && is_alive(a); s++) {
			struct err e = { 0 };
			uint64_t left = 0;

			if (a->exports[s] && export_left(a->exports[s], &left, &e) < 0)
				fail_account(a, &e);
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
		result = copy_all(u, true, e);
		if (result < 0 || (result = sync_unit(u, opened, e)) < 0)
			break;
	}
	if (round > ROUNDS_BEFORE_PACE)
		for (size_t i = 0; i < u->n; i++)
			homes_pace(homes, &u->accounts[i].opening.account, 0);
	return result;
}

static int
unit_copy(struct unit *u, size_t opened, struct err *e)
{
	uint64_t began = host_mono_ns(), bytes = 0, took;

	if (copy_all(u, true, e) < 0 || sync_unit(u, opened, e) < 0)
		return -1;
	took = host_mono_ns() - began + 1;
	for (size_t i = 0; i < u->n; i++)
		bytes += u->accounts[i].bytes;
	u->rate = (uint64_t)((double)bytes * 1e9 / (double)took);
	step("source.copied");
	return u->limits.is_single ? unit_rounds(u, opened, e) : 0;
}

/* --- 3: fence, tail, seal --- */

static int
unit_fence(struct unit *u, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	struct home homes[UNIT_MAX];
	size_t n = 0;
	uint64_t now;

	if (!b)
		return -1;
	for (size_t i = 0; i < u->n; i++) {
		struct unit_account *a = &u->accounts[i];
		struct move_record m;

		if (!is_alive(a))
			continue;
		record_of(u, a, MOVE_FENCED, &m);
		if (put_record(b, &m, e) < 0)
			return -1;
		homes[n] = a->home;
		homes[n].state = HOME_FENCED;
		homes[n].attempt = a->opening.attempt;
		snprintf(homes[n].peer, sizeof homes[n].peer, "%s", u->to);
		n++;
	}
	for (size_t i = 0; i < n; i++)
		homes_waited(u->mover->node->homes, &homes[i].account); /* counted from here */
	now = host_mono_ns();
	if (homes_fence(u->mover->node->homes, homes, n, b, FENCE_WAIT_MS, e) < 0)
		return err_add(e, "fencing");
	for (size_t i = 0; i < u->n; i++) {
		struct unit_account *a = &u->accounts[i];

		if (!is_alive(a))
			continue;
		a->state = MOVE_FENCED;
		a->fenced_ns = now;
		log_state(u, a, "copying", "fenced");
	}
	counter_add(&moves_fenced, (int64_t)n);
	step("source.fenced");
	return 0;
}

static int
make_statement(struct unit *u, struct unit_account *a, struct err *e)
{
	struct move_statement s = { .account = a->opening.account,
		.epoch = a->opening.epoch + 1,
		.attempt = a->opening.attempt,
		.time_ms = host_wall_ms() };
	_cleanup_buf_ struct buf text = BUF_INIT(STATEMENT_MAX - 1);

	snprintf(s.from, sizeof s.from, "%s", u->mover->node->region);
	snprintf(s.to, sizeof s.to, "%s", u->to);
	for (enum service k = SERVICE_PROFILE; k < SERVICES; k++) {
		struct vault_root *r = &s.vaults[s.n_vaults];

		if (!a->exports[k])
			continue;
		r->service = k;
		if (export_root(a->exports[k], &r->version, r->root, e) < 0)
			return -1;
		s.n_vaults++;
	}
	move_statement_text(&s, &text);
	if (buf_check(&text, e) < 0)
		return -1;
	snprintf(a->statement, sizeof a->statement, "%s", buf_str(&text));
	merkle_leaf(a->statement, strlen(a->statement), a->leaf);
	return 0;
}

/* The accounts of U that are alive, their leaves in order. */
static size_t
alive_leaves(
    struct unit *u, struct unit_account *alive[static UNIT_MAX], uint8_t (*leaves)[SHA256_BYTES])
{
	size_t n = 0;

	for (size_t i = 0; i < u->n; i++) {
		if (!is_alive(&u->accounts[i]))
			continue;
		memcpy(leaves[n], u->accounts[i].leaf, SHA256_BYTES);
		alive[n++] = &u->accounts[i];
	}
	return n;
}

static int
send_seal(struct unit *u, struct unit_account **alive, uint8_t (*leaves)[SHA256_BYTES], size_t n,
    struct err *e)
{
	struct node *node = u->mover->node;
	_cleanup_buf_ struct buf b = BUF_INIT(STREAM_FRAME_MAX);
	struct account_id ids[UNIT_MAX];
	struct note note;

	if (note_sign(NOTE_SENT, node->region, (const uint8_t(*)[SHA256_BYTES])leaves, n,
	        host_wall_ms(), node->sign_secret, node->sign_public, &note, e) < 0)
		return err_add(e, "signing");
	seal_put_count(&b, u->number, n);
	for (size_t i = 0; i < n; i++) {
		alive[i]->sent.is_there = true;
		alive[i]->sent.note = note;
		merkle_prove((const uint8_t(*)[SHA256_BYTES])leaves, n, i, &alive[i]->sent.proof);
		seal_put_item(&b, &alive[i]->opening.account, alive[i]->statement);
		ids[i] = alive[i]->opening.account;
	}
	note_put(&b, &note);
	if (buf_check(&b, e) < 0)
		return -1;
	homes_seal(node->homes, ids, n);
	if (stream_send(u->stream, FRAME_SEAL, b.data, b.len, e) < 0)
		return -1;
	return stream_flush(u->stream, e);
}

/* --- 4: the answer --- */

/* Check the destination's signature over the leaves of those that it took, and keep it as proof. */
static int
take_receipt(struct unit *u, struct unit_account **sealed, size_t n, const struct verdict *v,
    const struct note *note, struct err *e)
{
	uint8_t leaves[UNIT_MAX][SHA256_BYTES], root[SHA256_BYTES], key[SIGN_PUBLIC_BYTES];
	struct unit_account *taken[UNIT_MAX];
	struct note_fields f;
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		if (v[i].kind != ERR_NONE)
			continue;
		memcpy(leaves[k], sealed[i]->leaf, SHA256_BYTES);
		taken[k++] = sealed[i];
	}
	if (k == 0)
		return 0;
	merkle_root((const uint8_t(*)[SHA256_BYTES])leaves, k, root);
	if (region_key(u->mover->node, u->to, key, e) < 0 || note_check(note, key, &f, e) < 0)
		return err_add(e, "the receipt of %s", u->to);
	if (f.role != NOTE_RECEIVED || f.size != k || strcmp(f.region, u->to) != 0 ||
	    memcmp(f.root, root, sizeof root) != 0)
		return err_set(e, ERR_FORGED, "the receipt of %s is for something else", u->to);
	for (size_t i = 0; i < k; i++) {
		taken[i]->received.is_there = true;
		taken[i]->received.note = *note;
		merkle_prove(
		    (const uint8_t(*)[SHA256_BYTES])leaves, k, i, &taken[i]->received.proof);
	}
	return 0;
}

static int
record_moved(struct unit *u, struct unit_account **taken, size_t n, struct err *e)
{
	struct move_record *r = calloc(n ? n : 1, sizeof *r);
	uint64_t now;
	int result;

	if (!r)
		return err_set(e, ERR_MEMORY, "no memory to record a move");
	for (size_t i = 0; i < n; i++)
		record_of(u, taken[i], MOVE_MOVED, &r[i]);
	result = n ? source_record_moved(u->mover, r, n, e) : 0;
	free(r);
	if (result < 0)
		return -1;
	now = host_mono_ns();
	for (size_t i = 0; i < n; i++) {
		taken[i]->state = MOVE_MOVED;
		taken[i]->pause_us = (now - taken[i]->fenced_ns) / 1000;
		taken[i]->held = homes_waited(u->mover->node->homes, &taken[i]->opening.account);
		histogram_add(&move_pause, taken[i]->pause_us);
		log_state(u, taken[i], "fenced", "moved");
	}
	return 0;
}

static int
unit_seal(struct unit *u, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(16);
	struct unit_account *sealed[UNIT_MAX], *taken[UNIT_MAX];
	uint8_t leaves[UNIT_MAX][SHA256_BYTES];
	struct verdict v[UNIT_MAX];
	struct note note;
	size_t n, k = 0;

	if (copy_all(u, false, e) < 0)
		return -1;
	step("source.tail");
	for (size_t i = 0; i < u->n; i++) {
		struct err ae = { 0 };

		if (is_alive(&u->accounts[i]) && make_statement(u, &u->accounts[i], &ae) < 0)
			fail_account(&u->accounts[i], &ae);
	}
	n = alive_leaves(u, sealed, leaves);
	if (n == 0)
		return 0;
	if (send_seal(u, sealed, leaves, n, e) < 0)
		return -1;
	step("source.sealed");
	if (receive_verdicts(u, FRAME_DONE, u->mover->config.answer_wait_ms, n, v, &note, e) < 0 ||
	    take_receipt(u, sealed, n, v, &note, e) < 0)
		return -1;
	step("source.answered");
	for (size_t i = 0; i < n; i++) {
		if (v[i].kind == ERR_NONE)
			taken[k++] = sealed[i];
		else
			sealed[i]->verdict = v[i];
	}
	if (record_moved(u, taken, k, e) < 0)
		return -1;
	step("source.moved");
	unit_put(&b, u->number);
	if (stream_send(u->stream, FRAME_LEARNED, b.data, b.len, e) < 0)
		return -1;
	if (stream_flush(u->stream, e) < 0)
		return -1;
	step("source.learned");
	return 0;
}

/* --- the end --- */

/* Accounts that were never fenced go on as if nothing had been; fenced ones need the directory's word. */
static void
give_up(struct unit *u)
{
	struct node *n = u->mover->node;
	struct region_batch *b = region_batch(NULL);
	struct err e = { 0 };
	bool any = false;

	for (size_t i = 0; i < u->n; i++) {
		struct unit_account *a = &u->accounts[i];
		struct move_record m;

		if (a->state == MOVE_FENCED && !is_alive(a)) {
			record_of(u, a, MOVE_FENCED, &m);
			resolver_add(u->mover, &m);
		} else if (a->state == MOVE_COPYING && b) {
			region_delete(b, REGION_MOVE, a->opening.account.b, ACCOUNT_ID_BYTES);
			a->state = MOVE_GIVEN_UP;
			counter_add(&moves_given_up, 1);
			any = true;
		}
	}
	if (any && region_apply(n->engine, n->flusher, b, &e) < 0)
		log_warn("move.give_up", u->wave, "error=\"%s\"", e.text);
	region_batch_free(b);
}

/* Tell the destination to drop arrivals that dropped out here, before anything was sealed. */
static int
send_drops(struct unit *u, size_t opened, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(STREAM_FRAME_MAX);
	struct account_id ids[UNIT_MAX];
	size_t n = 0;

	for (size_t i = 0; i < opened; i++)
		if (!is_alive(&u->accounts[i]))
			ids[n++] = u->accounts[i].opening.account;
	if (n == 0)
		return 0;
	drop_put(&b, u->number, ids, n);
	if (buf_check(&b, e) < 0)
		return -1;
	return stream_send(u->stream, FRAME_DROP, b.data, b.len, e);
}

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
	if (r == 0 && alive_count(u))
		r = unit_fence(u, e);
	if (r == 0 && alive_count(u))
		r = unit_seal(u, e);
	if (r < 0)
		for (size_t i = 0; i < u->n; i++)
			if (u->accounts[i].state != MOVE_MOVED)
				fail_account(&u->accounts[i], e);
	if (r == 0 && opened)
		r = send_drops(u, opened, e);
	give_up(u);
	return r;
}

void
unit_release(struct unit *u)
{
	for (size_t i = 0; i < u->n; i++)
		for (enum service s = SERVICE_PROFILE; s < SERVICES; s++)
			export_close(take(&u->accounts[i].exports[s]));
	buf_wipe(&u->raw);
	buf_free(&u->packed);
	ZSTD_freeCCtx(u->zstd);
	u->zstd = NULL;
}
