/* The end of a unit's move at the source: fence, tail, seal, the answer (DESIGN.md 7, steps 4 to 7). */
#include <stdio.h>
#include <string.h>

#include "base/host.h"
#include "base/log.h"
#include "move/unit_internal.h"

#define FENCE_WAIT_MS  5000
#define GROUP_PAUSE_US 50000
#define GROUP_MIN      8

/* model: s_fence, s_fence_durable, s_drained, s_put_back */
static int
fence_group(struct unit *u, size_t from, size_t to, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	struct home homes[UNIT_MAX];
	size_t n = 0;
	uint64_t now;

	if (!b)
		return -1;
	for (size_t i = from; i < to; i++) {
		struct unit_account *a = &u->accounts[i];
		struct move_record m;

		if (!unit_is_alive(a))
			continue;
		unit_record(u, a, MOVE_FENCED, &m);
		if (move_store(b, &m, e) < 0)
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
	for (size_t i = from; i < to; i++) {
		struct unit_account *a = &u->accounts[i];

		if (!unit_is_alive(a))
			continue;
		move_advance(&a->state, MOVE_FENCED);
		a->fenced_ns = now;
		unit_log(u, a, "copying", "fenced");
	}
	counter_add(&moves_fenced, (int64_t)n);
	step("source.fenced");
	return 0;
}

/* model: s_seal */
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

/* The accounts of a group that are alive, their leaves in order. */
static size_t
alive_leaves(struct unit *u, size_t from, size_t to, struct unit_account *alive[static UNIT_MAX],
    uint8_t (*leaves)[SHA256_BYTES])
{
	size_t n = 0;

	for (size_t i = from; i < to; i++) {
		if (!unit_is_alive(&u->accounts[i]))
			continue;
		memcpy(leaves[n], u->accounts[i].leaf, SHA256_BYTES);
		alive[n++] = &u->accounts[i];
	}
	return n;
}

/* model: s_seal */
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
	seal_put_count(&b, u->number, (uint32_t)u->mover->config.read_lease_ms, n);
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

/* --- the answer --- */

/* Check the destination's signature over the leaves of those that it took, and keep it as proof.
 * model: s_answered, s_refused */
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

/* model: s_learned */
static int
record_moved(struct unit *u, struct unit_account **taken, size_t n, struct err *e)
{
	struct move_record *r = calloc(n ? n : 1, sizeof *r);
	uint64_t now;
	int result;

	if (!r)
		return err_set(e, ERR_MEMORY, "no memory to record a move");
	for (size_t i = 0; i < n; i++)
		unit_record(u, taken[i], MOVE_MOVED, &r[i]);
	result = n ? source_record_moved(u->mover, r, n, NULL, e) : 0;
	free(r);
	if (result < 0)
		return -1;
	now = host_mono_ns();
	for (size_t i = 0; i < n; i++) {
		move_advance(&taken[i]->state, MOVE_MOVED);
		taken[i]->pause_us = (now - taken[i]->fenced_ns) / 1000;
		taken[i]->held = homes_waited(u->mover->node->homes, &taken[i]->opening.account);
		histogram_add(&move_pause, taken[i]->pause_us);
		unit_log(u, taken[i], "fenced", "moved");
	}
	return 0;
}

/* model: s_seal, s_learned */
static int
seal_group(struct unit *u, size_t from, size_t to, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(16);
	struct unit_account *sealed[UNIT_MAX], *taken[UNIT_MAX];
	uint8_t leaves[UNIT_MAX][SHA256_BYTES];
	struct verdict v[UNIT_MAX];
	struct note note;
	size_t n, k = 0;

	if (unit_copy_all(u, from, to, false, e) < 0)
		return -1;
	step("source.tail");
	for (size_t i = from; i < to; i++) {
		struct err ae = { 0 };

		if (unit_is_alive(&u->accounts[i]) && make_statement(u, &u->accounts[i], &ae) < 0)
			unit_fail(&u->accounts[i], &ae);
	}
	n = alive_leaves(u, from, to, sealed, leaves);
	if (n == 0)
		return 0;
	if (send_seal(u, sealed, leaves, n, e) < 0)
		return -1;
	step("source.sealed");
	if (unit_receive(u, FRAME_DONE, u->mover->config.answer_wait_ms, n, v, &note, e) < 0 ||
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

/* Twice as many at once as long as their pause stays short, half as many when it does not. */
static void
adapt_group(struct unit *u, uint64_t took_us, size_t n)
{
	uint64_t good_us = GROUP_PAUSE_US + 2 * stream_rtt_us(u->stream);
	unsigned group = atomic_load(&u->mover->group);

	if (took_us > good_us && group > GROUP_MIN)
		atomic_store(&u->mover->group, group / 2);
	else if (took_us < good_us / 2 && n == group && group < UNIT_MAX)
		atomic_store(&u->mover->group, group * 2);
}

/* Fence, tail, seal, answer: a group after the other, so that nobody waits for the whole unit. */
int
unit_hand_over(struct unit *u, size_t opened, struct err *e)
{
	size_t to;

	for (size_t from = 0; from < opened; from = to) {
		uint64_t began = host_mono_ns();

		to = from + atomic_load(&u->mover->group);
		if (to > opened)
			to = opened;
		if (from > 0 && !u->limits.go_on(u->limits.arg, 0))
			return err_set(e, ERR_CANCELLED, "the wave was paused or cancelled");
		if (fence_group(u, from, to, e) < 0) {
			/* Nothing was promised yet: these go on at home, the others move. */
			for (size_t i = from; i < to; i++) {
				u->accounts[i].has_failed_fence = true;
				unit_fail(&u->accounts[i], e);
			}
			continue;
		}
		if (seal_group(u, from, to, e) < 0)
			return -1;
		adapt_group(u, (host_mono_ns() - began) / 1000, to - from);
	}
	return 0;
}
