/* The destination's commit point: what was sealed is compared, prepared, swapped at the directory, and settled. */
#include <string.h>

#include "base/host.h"
#include "move/target_internal.h"

static int
check_note(struct target *t, const struct note *note, const uint8_t (*leaves)[SHA256_BYTES],
    size_t n, struct err *e)
{
	const char *from = stream_peer(t->stream);
	uint8_t key[SIGN_PUBLIC_BYTES], root[SHA256_BYTES];
	struct note_fields f;

	if (region_key(t->mover->node, from, key, e) < 0 || note_check(note, key, &f, e) < 0)
		return err_add(e, "the seal of %s", from);
	merkle_root(leaves, n, root);
	if (f.role != NOTE_SENT || f.size != n || strcmp(f.region, from) != 0 ||
	    memcmp(f.root, root, sizeof root) != 0)
		return err_set(e, ERR_FORGED, "the seal of %s is for something else", from);
	return 0;
}

/* Compare one vault with what the source says of it, computed here from what was stored. */
static int
check_vault(struct arrival *a, const struct vault_root *want, struct err *e)
{
	uint8_t root[SHA256_BYTES];
	uint64_t version;

	if (!a->imports[want->service])
		return err_set(e, ERR_BAD, "a statement about a service that was not sent");
	if (import_write(a->imports[want->service], e) < 0 ||
	    import_root(a->imports[want->service], &version, root, e) < 0)
		return -1;
	if (version != want->version)
		return err_set(e, ERR_FORGED, "%s arrived at version %" PRIu64 ", not %" PRIu64,
		    service_name(want->service), version, want->version);
	if (memcmp(root, want->root, sizeof root) != 0)
		return err_set(
		    e, ERR_FORGED, "the content root of %s differs", service_name(want->service));
	return import_finish(a->imports[want->service], e);
}

/* model: t_seal */
static int
check_statement(struct target *t, struct arrival *a, struct span text, struct err *e)
{
	struct move_statement s;
	unsigned seen = 0;

	if (move_statement_parse(text, &s, e) < 0)
		return -1;
	if (!account_equal(&s.account, &a->opening.account) || s.epoch != a->opening.epoch + 1 ||
	    s.attempt != a->opening.attempt || strcmp(s.from, stream_peer(t->stream)) != 0 ||
	    strcmp(s.to, t->mover->node->region) != 0)
		return err_set(e, ERR_FORGED, "the statement is about another move");
	for (unsigned i = 0; i < s.n_vaults; i++) {
		if (check_vault(a, &s.vaults[i], e) < 0)
			return -1;
		seen |= BIT(s.vaults[i].service);
	}
	if (seen != a->opening.services)
		return err_set(e, ERR_FORGED, "the statement leaves out a service");
	memcpy(a->statement, text.data, text.len);
	a->statement[text.len] = 0;
	return 0;
}

/* model: t_seal */
static int
record_prepared(struct target *t, struct arrival **ok, size_t n, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	struct home homes[UNIT_MAX];

	if (!b)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct move_record m;

		target_record_of(t, ok[i], MOVE_PREPARED, &m);
		if (move_store(b, &m, e) < 0)
			return -1;
		region_put_rules(b, &ok[i]->opening.account, ok[i]->opening.services);
		target_home_of(t, ok[i], HOME_PREPARED, &homes[i]);
	}
	if (homes_set(t->mover->node->homes, homes, n, b, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		move_advance(&ok[i]->state, MOVE_PREPARED);
		target_close_imports(ok[i]);
	}
	return 0;
}

/* A flush that failed since the unit was opened may have lost pages, though a later one succeeded: then
 * nothing of it is asked of the directory.
 * model: t_seal */
static int
check_flushes(struct target *t, struct arrival **ok, size_t n, struct err *e)
{
	struct err lost;

	if (flusher_failures(t->mover->node->flusher) == t->failures)
		return 0;
	err_set(&lost, ERR_STALE, "the disk of %s failed meanwhile", t->mover->node->region);
	for (size_t i = 0; i < n; i++)
		target_refuse(ok[i], &lost);
	return err_set(e, ERR_IO, "%s", lost.text);
}

/* The commit point. Those that the directory refuses get its word as their verdict.
 * model: t_ask, t_no_answer */
static int
swap_directory(struct target *t, struct arrival **ok, size_t n, struct err *e)
{
	struct swap *s = calloc(n, sizeof *s);
	int r;

	if (!s)
		return err_set(e, ERR_MEMORY, "no memory to ask the directory");
	for (size_t i = 0; i < n; i++) {
		s[i] = (struct swap){ .account = ok[i]->opening.account,
			.epoch = ok[i]->opening.epoch,
			.attempt = ok[i]->opening.attempt,
			.to_epoch = ok[i]->opening.epoch + 1,
			.to_attempt = ok[i]->opening.attempt };
		snprintf(s[i].from, sizeof s[i].from, "%s", stream_peer(t->stream));
		snprintf(s[i].to, sizeof s[i].to, "%s", t->mover->node->region);
		sha256(ok[i]->statement, strlen(ok[i]->statement), s[i].statement);
	}
	r = directory_swap(t->mover->node->directory, s, n, e);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct err ae;

		if (s[i].is_done)
			continue;
		err_set(&ae, ERR_STALE,
		    "the directory has it at %s, epoch %" PRIu64 ", attempt %" PRIu64,
		    s[i].is_missing ? "no region" : s[i].now.home, s[i].now.epoch,
		    s[i].now.attempt);
		target_refuse(ok[i], &ae);
	}
	free(s);
	return r;
}

/* Sign for what has become ours, and serve it.
 * model: t_settle */
static int
settle(struct target *t, struct arrival **ok, size_t n, struct note *note, struct err *e)
{
	struct node *node = t->mover->node;
	uint8_t leaves[UNIT_MAX][SHA256_BYTES];
	struct move_record *r = calloc(n ? n : 1, sizeof *r);
	struct home homes[UNIT_MAX];
	int result;

	if (!r)
		return err_set(e, ERR_MEMORY, "no memory to record arrivals");
	for (size_t i = 0; i < n; i++)
		merkle_leaf(ok[i]->statement, strlen(ok[i]->statement), leaves[i]);
	result = note_sign(NOTE_RECEIVED, node->region, (const uint8_t(*)[SHA256_BYTES])leaves, n,
	    host_wall_ms(), node->sign_secret, node->sign_public, note, e);
	for (size_t i = 0; i < n && result == 0; i++) {
		ok[i]->received = (struct sealing){ .is_there = true, .note = *note };
		merkle_prove((const uint8_t(*)[SHA256_BYTES])leaves, n, i, &ok[i]->received.proof);
		target_record_of(t, ok[i], MOVE_SETTLED, &r[i]);
		target_home_of(t, ok[i], HOME_HERE, &homes[i]);
	}
	if (result == 0 && n)
		result = target_record_home(t->mover, r, homes, n, e);
	for (size_t i = 0; i < n && result == 0; i++)
		move_advance(&ok[i]->state, MOVE_SETTLED);
	free(r);
	return result;
}

/* model: t_seal */
int
target_on_seal(struct target *t, struct span p, struct err *e)
{
	struct seal_item items[UNIT_MAX];
	struct arrival *all[UNIT_MAX], *ok[UNIT_MAX];
	uint8_t leaves[UNIT_MAX][SHA256_BYTES];
	struct verdict v[UNIT_MAX];
	struct note sent, received = { 0 };
	size_t n, k = 0, done = 0;
	uint32_t unit;

	if (seal_read(p, &unit, &t->lease_ms, items, &n, &sent, e) < 0 ||
	    target_check_unit(t, unit, e) < 0)
		return -1;
	step("target.sealed");
	for (size_t i = 0; i < n; i++)
		merkle_leaf(items[i].statement.data, items[i].statement.len, leaves[i]);
	if (check_note(t, &sent, (const uint8_t(*)[SHA256_BYTES])leaves, n, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct arrival *a = all[i] = target_find(t, &items[i].account);
		struct err ae = { 0 };

		if (!a || !arrival_is_arriving(a) || a->sent.is_there)
			return err_set(
			    e, ERR_BAD, "a statement about an account that is not arriving");
		a->sent = (struct sealing){ .is_there = true, .note = sent };
		merkle_prove((const uint8_t(*)[SHA256_BYTES])leaves, n, i, &a->sent.proof);
		if (check_statement(t, a, items[i].statement, &ae) < 0)
			target_refuse(a, &ae);
		else
			ok[k++] = a;
	}
	/* Before, so that `prepared` is not written over pages that are lost; and after, for a flush that
	 * failed in between. A crash there is met by the resolver, which looks at the pages again. */
	if (check_flushes(t, ok, k, e) < 0 || (k && record_prepared(t, ok, k, e) < 0) ||
	    check_flushes(t, ok, k, e) < 0)
		return -1;
	step("target.prepared");
	if (k && swap_directory(t, ok, k, e) < 0)
		return err_add(e, "the directory's answer did not come");
	step("target.swapped");
	for (size_t i = 0; i < k; i++)
		if (ok[i]->verdict.kind == ERR_NONE)
			ok[done++] = ok[i];
	if (settle(t, ok, done, &received, e) < 0)
		return -1;
	step("target.settled");
	for (size_t i = 0; i < n; i++)
		v[i] = all[i]->verdict;
	t->is_answered = !target_is_filling(t);
	if (target_send_verdicts(t, FRAME_DONE, v, n, &received, e) < 0)
		return -1;
	step("target.answered");
	return 0;
}
