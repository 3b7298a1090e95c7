/* Erases what has moved away, what was given up, and what removed accounts leave in the files; looks again;
 * signs for what has moved (promise `gone`).
 *
 * Keys first (one flush for a batch), then records, then chunks, then a compaction for all that was
 * removed since the last one. Only when nothing is found any more does a record become `erased`. All of it
 * is repeated from the durable list after a restart.
 */
#include <stdio.h>
#include <string.h>

#include "base/host.h"
#include "base/log.h"
#include "move/internal.h"
#include "service/access.h"
#include "standby/standby.h"

#define BATCH    128
#define LOOK_MS  200
#define LULL_MS  400
#define MUTE_MS  5000
#define RETRY_MS 1000

enum erasing_step { ERASING_WAITS, ERASING_REMOVED };

struct erasing {
	struct erase_record record;
	enum erasing_step step;
	uint64_t next_ms;
	struct erasing *next;
};

static bool
is_same(const struct erase_record *a, const struct erase_record *b)
{
	return account_equal(&a->account, &b->account) && a->epoch == b->epoch &&
	    a->was_home == b->was_home;
}

/* 1; 0: it is listed already; -1: no memory. */
static int
enlist(struct mover *m, const struct erase_record *r)
{
	struct erasing *new = calloc(1, sizeof *new), *x;

	if (!new)
		return -1;
	new->record = *r;
	pthread_mutex_lock(&m->lock);
	for (x = m->to_erase; x && !is_same(&x->record, r); x = x->next)
		;
	if (!x) {
		new->next = m->to_erase;
		m->to_erase = new;
		m->n_to_erase++;
		pthread_cond_broadcast(&m->changed);
	}
	pthread_mutex_unlock(&m->lock);
	if (x)
		free(new);
	return !x;
}

void
eraser_add(struct mover *m, const struct erase_record *r)
{
	int listed = enlist(m, r);

	if (listed < 0)
		log_error("erase.add", r->wave, "error=\"no memory; looked for again\"");
	/* What is listed already may be an earlier one that is just being finished. */
	if (listed != 1)
		atomic_store(&m->must_rescan_erasures, true);
}

static int
relist_each(void *arg, struct span key, struct span value, struct err *e)
{
	struct erase_record x;

	(void)key;
	if (erase_record_read(value, &x, NULL) < 0) /* logged at the start */
		return 0;
	return enlist(arg, &x) < 0 ? err_set(e, ERR_MEMORY, "no memory for an erasure") : 0;
}

/* Every record is listed again where one may not be. Only this thread finishes any. */
static void
rescan(struct mover *m, uint64_t *next_ms)
{
	struct err e;

	if (!atomic_load(&m->must_rescan_erasures) || host_mono_ms() < *next_ms)
		return;
	atomic_store(&m->must_rescan_erasures, false);
	if (region_scan(m->node->engine, REGION_ERASE, relist_each, m, &e) < 0) {
		log_warn("erase.add", NULL, "error=\"%s\"", e.text);
		atomic_store(&m->must_rescan_erasures, true);
	}
	*next_ms = host_mono_ms() + RETRY_MS;
}

/* With the mover locked. */
static struct erasing *
find(struct mover *m, const struct account_id *id)
{
	struct erasing *x;

	for (x = m->to_erase; x && !account_equal(&x->record.account, id); x = x->next)
		;
	return x;
}

bool
eraser_peek(struct mover *m, const struct account_id *id, struct erase_record *out)
{
	struct erasing *x;

	pthread_mutex_lock(&m->lock);
	x = find(m, id);
	if (x)
		*out = x->record;
	pthread_mutex_unlock(&m->lock);
	return x != NULL;
}

int
eraser_has(struct mover *m, const struct account_id *id, struct err *e)
{
	_cleanup_buf_ struct buf v = BUF_INIT(4096);
	bool is_listed;

	/* Asked first: what is finished leaves the store, then the list. */
	pthread_mutex_lock(&m->lock);
	is_listed = find(m, id) != NULL;
	pthread_mutex_unlock(&m->lock);
	if (is_listed)
		return 1;
	return region_get(m->node->engine, REGION_ERASE, id->b, ACCOUNT_ID_BYTES, &v, e);
}

static void
each_vault(struct mover *m, struct erasing *x,
    int (*fn)(struct mover *, struct erasing *, const struct vault_id *, struct err *),
    struct err *e, bool *failed)
{
	for (enum service s = SERVICE_PROFILE; s < SERVICES && !*failed; s++) {
		struct vault_id id = { x->record.account, (uint8_t)s };

		if (x->record.services & BIT(s))
			*failed = fn(m, x, &id, e) < 0;
	}
}

static int
destroy_key(struct mover *m, struct erasing *x, const struct vault_id *id, struct err *e)
{
	/* A reader that had passed the gate may have looked its secret up again. */
	access_forget(m->node->access, &x->record.account);
	return transfer_destroy_key(m->node->pool, m->node->engine, id, e);
}

/* The record is changed with the mover locked: others look at it (eraser_peek). */
static void
set_proof(struct mover *m, struct erasing *x, bool has_proof)
{
	pthread_mutex_lock(&m->lock);
	x->record.has_proof = has_proof;
	pthread_mutex_unlock(&m->lock);
}

static int
remove_rest(struct mover *m, struct erasing *x, const struct vault_id *id, struct err *e)
{
	uint64_t records = 0, chunks = 0;
	int r = transfer_erase(m->node->pool, m->node->engine, m->node->flusher, m->node->chunks,
	    id, &records, &chunks, e);

	pthread_mutex_lock(&m->lock);
	x->record.records += records;
	x->record.chunks += chunks;
	pthread_mutex_unlock(&m->lock);
	return r;
}

static int
look_again(struct mover *m, struct erasing *x, const struct vault_id *id, struct err *e)
{
	(void)x;
	return transfer_is_gone(m->node->engine, m->node->chunks, id, e);
}

static void
try_later(struct erasing *x, const struct err *e)
{
	char account[ACCOUNT_TEXT_SIZE];

	x->next_ms = host_mono_ms() + RETRY_MS;
	account_text(&x->record.account, account);
	log_warn("erase.again", x->record.wave, "account=%s error=\"%s\"", account, e->text);
}

/* Whether the account's record says that its home is not here, as the erasure believes.
 * model: t_erase */
static bool
is_elsewhere(struct mover *m, const struct erase_record *r, struct err *e)
{
	struct home h;
	int found = homes_get(m->node->homes, &r->account, &h, e);

	if (found < 0)
		return false;
	if (found == 0 || h.state == HOME_CREATING || h.state == HOME_REMOVING ||
	    h.state == HOME_LOST || (h.state == HOME_MOVED && h.epoch >= r->epoch))
		return true;
	/* An arrival that was given up leaves the forwarding address of an earlier move as it is. */
	if (h.state == HOME_MOVED && !r->was_home)
		return true;
	err_set(e, ERR_STALE, "the account is %s here", home_state_name(h.state));
	return false;
}

/* Ask the new home for its signature; a region that does not answer is left alone for a while. */
static int
fetch_receipt(struct mover *m, struct erasing *x, struct err *e)
{
	if (strcmp(m->mute_peer, x->record.peer) == 0 && host_mono_ms() < m->mute_until_ms)
		return err_set(e, ERR_PEER, "%s did not answer a moment ago", m->mute_peer);
	if (proof_fetch(m, x->record.peer, &x->record.account, x->record.epoch, e) == 0)
		return 0;
	memcpy(m->mute_peer, x->record.peer, sizeof m->mute_peer);
	m->mute_until_ms = host_mono_ms() + MUTE_MS;
	return -1;
}

/* Nothing is erased before the destination's signature is here, and while requests are inside.
 * model: s_fetch_proof */
static bool
may_erase(struct mover *m, struct erasing *x)
{
	struct err e = { 0 };

	if (x->step != ERASING_WAITS || host_mono_ms() < x->next_ms)
		return false;
	if (homes_inside(m->node->homes, &x->record.account) > 0) {
		x->next_ms = host_mono_ms() + LOOK_MS;
		return false;
	}
	if (!is_elsewhere(m, &x->record, &e)) {
		try_later(x, &e);
		return false;
	}
	if (x->record.was_home && !x->record.has_proof) {
		if (fetch_receipt(m, x, &e) < 0) {
			try_later(x, &e);
			return false;
		}
		set_proof(m, x, true);
	}
	return true;
}

/* Keys of a batch, one flush, then everything else.
 * model: s_erase, s_erase_again, t_erase */
static void
remove_batch(struct mover *m, struct erasing **batch, size_t n)
{
	bool failed[BATCH] = { false };
	struct err e = { 0 };

	for (size_t i = 0; i < n; i++)
		each_vault(m, batch[i], destroy_key, &e, &failed[i]);
	if (flusher_wait(m->node->flusher, flusher_ticket(m->node->flusher), &e) < 0)
		for (size_t i = 0; i < n; i++)
			failed[i] = true;
	step("eraser.keys");
	for (size_t i = 0; i < n; i++) {
		each_vault(m, batch[i], remove_rest, &e, &failed[i]);
		if (failed[i])
			try_later(batch[i], &e);
		else
			batch[i]->step = ERASING_REMOVED;
	}
	step("eraser.records");
}

/* --- after the compaction --- */

/* When the erasure is said to be: NOW, unless the clock was put back since the move was signed. A certificate
 * whose erasure is older than its move proves nothing. */
static uint64_t
erasure_time(const struct proof *p, uint64_t now_ms)
{
	struct span text = { (const uint8_t *)p->statement, strlen(p->statement) };
	struct move_statement moved;

	return move_statement_parse(text, &moved, NULL) == 0 && moved.time_ms > now_ms
	    ? moved.time_ms
	    : now_ms;
}

static int
sign_erasures(struct mover *m, struct erasing **x, size_t n, struct region_batch *b, struct err *e)
{
	struct node *node = m->node;
	uint8_t leaves[BATCH][SHA256_BYTES];
	struct proof *p = calloc(n, sizeof *p);
	uint64_t now = host_wall_ms();
	struct note note;
	int r = p ? 0 : err_set(e, ERR_MEMORY, "no memory to sign erasures");

	for (size_t i = 0; i < n && r == 0; i++) {
		struct erasure_statement s = { .account = x[i]->record.account,
			.epoch = x[i]->record.epoch,
			.records = x[i]->record.records,
			.chunks = x[i]->record.chunks };
		_cleanup_buf_ struct buf text = BUF_INIT(STATEMENT_MAX - 1);

		memcpy(s.region, node->region, sizeof s.region);
		memcpy(s.to, x[i]->record.peer, sizeof s.to);
		r = proof_load(node, &s.account, s.epoch, &p[i], e);
		if (r == 0)
			s.time_ms = erasure_time(&p[i], now);
		erasure_statement_text(&s, &text);
		if (r == 0 && (r = buf_check(&text, e)) == 0)
			snprintf(p[i].erasure, sizeof p[i].erasure, "%s", buf_str(&text));
		merkle_leaf(p[i].erasure, strlen(p[i].erasure), leaves[i]);
	}
	if (r == 0)
		r = note_sign(NOTE_ERASED, node->region, (const uint8_t(*)[SHA256_BYTES])leaves, n,
		    now, node->sign_secret, node->sign_public, &note, e);
	for (size_t i = 0; i < n && r == 0; i++) {
		p[i].erased = (struct sealing){ .is_there = true, .note = note };
		merkle_prove((const uint8_t(*)[SHA256_BYTES])leaves, n, i, &p[i].erased.proof);
		proof_store(b, &x[i]->record.account, x[i]->record.epoch, &p[i]);
	}
	free(p);
	return r;
}

/* Record that these are erased.
 * model: s_erased */
static int
finish_batch(struct mover *m, struct erasing **x, size_t n, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	struct erasing *moved[BATCH];
	size_t k = 0, of_moves = 0;

	if (!b)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (x[i]->record.was_home)
			moved[k++] = x[i];
		of_moves += x[i]->record.peer[0] != 0;
		region_delete(b, REGION_ERASE, x[i]->record.account.b, ACCOUNT_ID_BYTES);
		region_delete(b, REGION_DAMAGE, x[i]->record.account.b, ACCOUNT_ID_BYTES);
		region_delete_rules(b, &x[i]->record.account);
	}
	if (k && sign_erasures(m, moved, k, b, e) < 0)
		return -1;
	if (region_apply(m->node->engine, m->node->flusher, b, e) < 0)
		return -1;
	counter_add(&moves_erased, (int64_t)of_moves);
	step("eraser.erased");
	return 0;
}

static void
unlink_done(struct mover *m, struct erasing **x, size_t n)
{
	pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < n; i++) {
		struct erasing **p = &m->to_erase;

		while (*p != x[i])
			p = &(*p)->next;
		*p = x[i]->next;
		m->n_to_erase--;
	}
	pthread_mutex_unlock(&m->lock);
}

/* Their waves are told once they are off the list: whoever still finds one there (job_report_left)
 * counts on it. */
static void
end_done(struct mover *m, struct erasing **x, size_t n)
{
	unlink_done(m, x, n);
	for (size_t i = 0; i < n; i++) {
		struct wave_item item = { .account = x[i]->record.account, .state = ITEM_ERASED };

		if (x[i]->record.wave[0])
			job_item(m, x[i]->record.wave, &item);
		free(x[i]);
	}
}

static size_t
collect(struct mover *m, struct erasing **out, size_t room,
    bool (*want)(struct mover *, struct erasing *))
{
	struct erasing *x;
	size_t n = 0;

	pthread_mutex_lock(&m->lock);
	x = m->to_erase;
	pthread_mutex_unlock(&m->lock);
	/* New ones are only put in front, and only this thread takes any out. */
	for (; x && n < room; x = x->next)
		if (want(m, x))
			out[n++] = x;
	return n;
}

static bool
is_removed(struct mover *m, struct erasing *x)
{
	(void)m;
	return x->step == ERASING_REMOVED;
}

/* One that is damaged or lost is fetched again instead of holding up the others. */
static bool
has_receipt(struct mover *m, const struct erasing *x, struct err *e)
{
	struct proof p;

	return !x->record.was_home ||
	    proof_load(m->node, &x->record.account, x->record.epoch, &p, e) == 0;
}

/* Those removed before this compaction are looked for once more, then done. -1: for some it has to be
 * done again, since the disk or the standby failed.
 * model: t_erased */
static int
compact_and_finish(struct mover *m, struct erasing **removed, size_t n)
{
	struct err e = { 0 };
	int result = 0;

	/* The standby's copy is the region's, too. */
	if (standby_gone(m->node->standby, &e) < 0) {
		log_warn("erase.standby", NULL, "error=\"%s\"", e.text);
		return -1;
	}
	if (engine_compact(m->node->engine, &e) < 0) {
		log_warn("erase.compact", NULL, "error=\"%s\"", e.text);
		return -1;
	}
	step("eraser.compacted");
	while (n > 0) {
		struct erasing *good[BATCH];
		size_t k = 0, some = n < BATCH ? n : BATCH;

		for (size_t i = 0; i < some; i++) {
			bool failed = false;

			each_vault(m, removed[i], look_again, &e, &failed);
			if (!failed && !has_receipt(m, removed[i], &e)) {
				set_proof(m, removed[i], false);
				failed = true;
			}
			if (failed) {
				removed[i]->step = ERASING_WAITS;
				try_later(removed[i], &e);
			} else {
				good[k++] = removed[i];
			}
		}
		if (k && finish_batch(m, good, k, &e) < 0) {
			log_warn("erase.finish", NULL, "error=\"%s\"", e.text);
			result = -1;
		} else {
			end_done(m, good, k);
		}
		removed += some;
		n -= some;
	}
	return result;
}

static void
wait_for_work(struct mover *m)
{
	pthread_mutex_lock(&m->lock);
	if (!atomic_load(&m->is_stopping))
		host_cond_wait_ms(&m->changed, &m->lock, LOOK_MS);
	pthread_mutex_unlock(&m->lock);
}

#define FINISH_MAX          4096
#define REST_MS             500
#define REST_MAX_MS         10000
/* A compaction rewrites the store: where that takes long it is not done for every account that is removed. */
#define COMPACT_SHARE       10
#define COMPACT_REST_MAX_MS 60000

/* How long not to compact after one that took TOOK_MS. */
static uint64_t
rest_of(uint64_t took_ms)
{
	uint64_t rest = took_ms * (COMPACT_SHARE - 1);

	return rest < COMPACT_REST_MAX_MS ? rest : COMPACT_REST_MAX_MS;
}

void *
eraser_run(void *mover)
{
	struct mover *m = mover;
	struct erasing *removed[FINISH_MAX], *batch[BATCH];
	uint64_t last_removed = 0, last_compacted = host_mono_ms(), rescan_ms = 0;
	uint64_t again_ms = 0, rest_ms = 0; /* the latter after the disk has failed */

	while (!atomic_load(&m->is_stopping)) {
		size_t n, done;
		uint64_t now;

		rescan(m, &rescan_ms);
		n = collect(m, batch, BATCH, may_erase);
		if (n) {
			remove_batch(m, batch, n);
			last_removed = host_mono_ms();
		}
		now = host_mono_ms();
		/* One compaction serves a whole run of removals: wait for a lull, but not for long. */
		if (n == 0 && now - last_removed < LULL_MS &&
		    now - last_compacted < m->config.compact_every_ms) {
			wait_for_work(m);
			continue;
		}
		if (n && now - last_compacted < m->config.compact_every_ms)
			continue;
		done = now < again_ms ? 0 : collect(m, removed, FINISH_MAX, is_removed);
		if (done) {
			int result = compact_and_finish(m, removed, done);
			uint64_t took = host_mono_ms() - now;

			last_compacted = now + took;
			rest_ms = result == 0 ? 0 : rest_ms * 2 + REST_MS;
			if (rest_ms > REST_MAX_MS)
				rest_ms = REST_MAX_MS;
			again_ms = last_compacted + (result == 0 ? rest_of(took) : rest_ms);
		} else if (n == 0) {
			wait_for_work(m);
		}
	}
	return NULL;
}

void
eraser_free(struct mover *m)
{
	while (m->to_erase) {
		struct erasing *x = m->to_erase;

		m->to_erase = x->next;
		free(x);
	}
}
