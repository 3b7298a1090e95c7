/* Settles what a lost answer left open, with the directory's word, and writes the outcome of moves. */
#include <stdio.h>
#include <string.h>

#include "base/host.h"
#include "base/log.h"
#include "move/internal.h"
#include "service/access.h"
#include "service/routes.h"

#define RETRY_MS     200
#define RETRY_MAX_MS 3000

struct settle {
	struct move_record record;
	uint64_t next_ms, wait_ms;
	struct settle *next;
};

/* --- outcomes, each in one batch; those that the directory's row proves need no flush of their own --- */

static void
put_proof(struct region_batch *b, const struct move_record *r)
{
	struct proof p = { .sent = r->sent, .received = r->received };

	snprintf(p.statement, sizeof p.statement, "%s", r->statement);
	proof_store(b, &r->account, r->epoch + 1, &p);
}

static void
put_erase(struct region_batch *b, const struct erase_record *x)
{
	_cleanup_buf_ struct buf v = BUF_INIT(1024);

	erase_record_put(&v, x);
	region_put_buf(b, REGION_ERASE, x->account.b, ACCOUNT_ID_BYTES, &v);
}

static void
erase_of(const struct move_record *r, unsigned services, bool was_home, struct erase_record *out)
{
	*out = (struct erase_record){ .account = r->account,
		.was_home = was_home,
		.has_proof = r->received.is_there,
		.epoch = r->epoch + 1,
		.services = services,
		.since_ms = host_wall_ms() };
	memcpy(out->peer, r->peer, sizeof out->peer);
	memcpy(out->wave, r->wave, sizeof out->wave);
}

void
erasure_of_arrival(const struct move_record *r, unsigned services, struct erase_record *out)
{
	erase_of(r, services, false, out);
	out->wave[0] = 0;
}

/* model: s_learned, s_settle_moved */
int
source_record_moved(struct mover *m, const struct move_record *r, size_t n,
    const struct placement *now, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	struct home homes[UNIT_MAX];
	struct erase_record x[UNIT_MAX];

	if (!b)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (homes_get(m->node->homes, &r[i].account, &homes[i], e) != 1)
			return err_add(e, "the home record of a moved account");
		erase_of(&r[i], homes[i].services, true, &x[i]);
		if (now && !now->epoch)
			x[i].was_home = false; /* removed meanwhile: there is nobody to sign */
		homes[i].state = HOME_MOVED;
		homes[i].epoch = now && now->epoch ? now->epoch : r[i].epoch + 1;
		homes[i].attempt = r[i].attempt;
		memcpy(
		    homes[i].peer, now && now->epoch ? now->home : r[i].peer, sizeof homes[i].peer);
		region_delete(b, REGION_MOVE, r[i].account.b, ACCOUNT_ID_BYTES);
		put_erase(b, &x[i]);
		if (r[i].received.is_there)
			put_proof(b, &r[i]);
	}
	if (homes_set_soon(m->node->homes, homes, n, b, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		access_forget(m->node->access, &r[i].account);
		routes_forget(m->node->routes, &r[i].account);
		eraser_add(m, &x[i]);
	}
	counter_add(&moves_moved, (int64_t)n);
	return 0;
}

uint64_t
move_lease_ms(const struct mover *m, const struct move_record *r)
{
	return r->lease_ms > m->config.read_lease_ms ? r->lease_ms : m->config.read_lease_ms;
}

int
move_store(struct region_batch *b, const struct move_record *r, struct err *e)
{
	_cleanup_buf_ struct buf v = BUF_INIT(8192);

	move_record_put(&v, r);
	if (buf_check(&v, e) < 0)
		return -1;
	region_put(b, REGION_MOVE, r->account.b, ACCOUNT_ID_BYTES, v.data, v.len);
	return 0;
}

int
target_record_open(struct mover *m, const struct account_id *id, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);

	if (!b)
		return -1;
	region_delete(b, REGION_MOVE, id->b, ACCOUNT_ID_BYTES);
	return region_apply_soon(m->node->engine, b, e);
}

/* model: t_settle */
int
target_record_home(
    struct mover *m, const struct move_record *r, const struct home *h, size_t n, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);

	if (!b)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct move_record settled = r[i];

		/* The old home may still answer reads until it has learned, or its lease is over: kept
		 * until then, so that a restart delays writes as well. */
		settled.state = MOVE_SETTLED;
		settled.since_ms = host_wall_ms();
		if (move_store(b, &settled, e) < 0)
			return -1;
		put_proof(b, &r[i]);
		if (homes_delay_writes(m->node->homes, &r[i].account, move_lease_ms(m, &r[i]), e) <
		    0)
			return -1;
		routes_forget(m->node->routes, &r[i].account);
	}
	if (homes_set_soon(m->node->homes, h, n, b, e) < 0)
		return -1;
	counter_add(&moves_settled, (int64_t)n);
	return 0;
}

/* model: t_end */
int
target_record_given_up(
    struct mover *m, const struct erase_record *x, const struct home *h, size_t n, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);

	if (!b)
		return -1;
	for (size_t i = 0; i < n; i++) {
		region_delete(b, REGION_MOVE, x[i].account.b, ACCOUNT_ID_BYTES);
		put_erase(b, &x[i]);
	}
	if (homes_set(m->node->homes, h, n, b, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		eraser_add(m, &x[i]);
	counter_add(&moves_given_up, (int64_t)n);
	return 0;
}

/* --- asking the directory --- */

static void
item_of(
    const struct move_record *r, enum item_state state, const char *reason, struct wave_item *out)
{
	*out = (struct wave_item){ .account = r->account, .state = state };
	snprintf(out->reason, sizeof out->reason, "%s", reason);
}

/* The directory has recorded that this attempt is cancelled: the home opens again.
 * model: s_unfence, s_unfence_refused */
static int
unfence(struct mover *m, const struct move_record *r, uint64_t attempt, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	struct wave_item item;
	struct home h;

	if (!b || homes_get(m->node->homes, &r->account, &h, e) != 1)
		return -1;
	h.state = HOME_HERE;
	h.attempt = attempt;
	h.peer[0] = 0;
	region_delete(b, REGION_MOVE, r->account.b, ACCOUNT_ID_BYTES);
	if (homes_set(m->node->homes, &h, 1, b, e) < 0)
		return -1;
	counter_add(&moves_given_up, 1);
	item_of(r, ITEM_PUT_OFF, "the destination did not answer; taken back", &item);
	job_item(m, r->wave, &item);
	return 0;
}

/* model: s_settle_moved */
static int
settle_source(struct mover *m, const struct move_record *r, const struct swap *s, struct err *e)
{
	struct wave_item item;

	if (s->is_done)
		return unfence(m, r, s->to_attempt, e);
	if (s->now.epoch == r->epoch && strcmp(s->now.home, m->node->region) == 0)
		return unfence(m, r, s->now.attempt, e);
	/* It has moved, perhaps on from there since, or was removed there. */
	if (s->is_missing ||
	    (s->now.epoch > r->epoch && strcmp(s->now.home, m->node->region) != 0)) {
		const struct placement gone = { .account = r->account };

		/* Told before the eraser has it, whose word is the last one. */
		item_of(r, ITEM_MOVED, "", &item);
		job_item(m, r->wave, &item);
		return source_record_moved(m, r, 1, s->is_missing ? &gone : &s->now, e);
	}
	return err_set(
	    e, ERR_STALE, "the directory has it at %s, epoch %" PRIu64, s->now.home, s->now.epoch);
}

/* 1: a home now, and to be looked at again when the old one's lease is over.
 * model: t_settle_home, t_settle_given_up, t_settle_stale */
static int
settle_target(struct mover *m, struct move_record *r, const struct swap *s, struct err *e)
{
	struct node *n = m->node;
	uint8_t leaf[1][SHA256_BYTES];
	struct erase_record x;
	struct home h;

	if (homes_get(n->homes, &r->account, &h, e) != 1)
		return err_add(e, "the home record of an arrival");
	if (!s->is_done && h.state == HOME_HERE)
		return 0; /* it has gone through, and further moves have begun */
	if (!s->is_done) {
		h.state = HOME_NONE;
		erasure_of_arrival(r, h.services, &x);
		return target_record_given_up(m, &x, &h, 1, e);
	}
	merkle_leaf(r->statement, strlen(r->statement), leaf[0]);
	r->received = (struct sealing){ .is_there = true };
	if (note_sign(NOTE_RECEIVED, n->region, (const uint8_t(*)[SHA256_BYTES])leaf, 1,
	        host_wall_ms(), n->sign_secret, n->sign_public, &r->received.note, e) < 0)
		return -1;
	merkle_prove((const uint8_t(*)[SHA256_BYTES])leaf, 1, 0, &r->received.proof);
	h.state = HOME_HERE;
	if (target_record_home(m, r, &h, 1, e) < 0)
		return -1;
	r->state =
	    MOVE_SETTLED; /* nobody will tell that the old home has learned: its lease ends it */
	r->since_ms = host_wall_ms();
	return 1;
}

static bool
has_moved(const struct home *h, const struct move_record *r)
{
	return h->state == HOME_MOVED && h->epoch > r->epoch;
}

/* What memory says already, once more on its way to the disk: a failed flush may have taken it back. With the
 * account's claim, so that it does not come back meanwhile. */
static int
write_moved_again(struct mover *m, const struct move_record *r, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	struct erase_record x;
	struct home h;
	bool is_listed;

	if (!b || homes_get(m->node->homes, &r->account, &h, e) < 0)
		return -1;
	if (!has_moved(&h, r))
		return 0;
	region_delete(b, REGION_MOVE, h.account.b, ACCOUNT_ID_BYTES);
	is_listed = eraser_peek(m, &h.account, &x);
	if (is_listed)
		put_erase(b, &x);
	if (homes_set_soon(m->node->homes, &h, 1, b, e) < 0)
		return -1;
	if (is_listed)
		eraser_add(m, &x); /* it may have come to its end just before */
	return 0;
}

/* 1: the record is about what the account's home record says; 0: it is not any more, or was dealt with;
 * -1. */
static int
is_current(struct mover *m, const struct move_record *r, struct err *e)
{
	bool is_source = r->state == MOVE_FENCED;
	struct home h;
	int found = homes_get(m->node->homes, &r->account, &h, e);

	if (found <= 0)
		return found;
	if (is_source && has_moved(&h, r)) {
		if (!claim_take(m, &r->account, NULL))
			return err_set(e, ERR_BUSY, "another move of it is under way");
		found = write_moved_again(m, r, e);
		claim_drop(m, &r->account);
		return found;
	}
	if (h.attempt != r->attempt || h.epoch != r->epoch + !is_source)
		return 0;
	return is_source ? h.state == HOME_FENCED
	                 : h.state == HOME_PREPARED || h.state == HOME_HERE;
}

/* Whether a fence was put back before anybody was told of it, and only its record has stayed: the process
 * ended, or the disk failed, in between. 1, 0, -1. */
static int
is_put_back(struct mover *m, const struct move_record *r, struct err *e)
{
	struct home h;

	if (homes_get(m->node->homes, &r->account, &h, e) < 0)
		return -1;
	return h.state == HOME_HERE && h.epoch == r->epoch && h.attempt == r->attempt;
}

/* A prepared arrival of before a restart or a failed flush: are its pages what was promised? If not,
 * the directory is told that this attempt is over before the arrival is dropped. Nothing is read of one
 * that the directory has decided on: it may be large, and others, fenced among them, wait for this
 * thread. */
static int
look_at_pages(struct mover *m, const struct move_record *r, struct swap *s, struct err *e)
{
	struct placement row;
	struct err bad;

	if (directory_find(m->node->directory, &r->account, 1, &row, e) < 0)
		return -1;
	if (row.epoch != r->epoch || row.attempt != r->attempt ||
	    verify_arrival(m->node, r->statement, &bad) == 0)
		return 0;
	if (bad.kind != ERR_FORGED && bad.kind != ERR_MISSING)
		return err_set(e, bad.kind, "%s", bad.text);
	log_error("move.damaged", r->wave, "error=\"%s\"", bad.text);
	memcpy(s->to, r->peer, sizeof s->to);
	s->to_epoch = r->epoch;
	s->to_attempt = r->attempt + 1;
	if (directory_swap(m->node->directory, s, 1, e) < 0)
		return -1;
	s->is_done = false;
	return 1;
}

/* Where memory never had the home record, as it could not be written, any service may have been meant. */
static int
give_up_arrival(struct mover *m, const struct move_record *r, struct home *h, struct err *e)
{
	struct erase_record x;

	if (h->state != HOME_ARRIVING)
		*h = (struct home){ .account = r->account, .services = BIT(SERVICES) - 1 };
	h->state = HOME_NONE;
	erasure_of_arrival(r, h->services, &x);
	return target_record_given_up(m, &x, h, 1, e);
}

/* A fence that failed may have been written all the same; memory, which says that the account is here, is
 * right: nobody was told of the fence. */
static int
give_up_copying(struct mover *m, const struct move_record *r, const struct home *h, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);

	if (!b)
		return -1;
	region_delete(b, REGION_MOVE, r->account.b, ACCOUNT_ID_BYTES);
	if (h->state == HOME_HERE)
		return homes_set(m->node->homes, h, 1, b, e);
	return region_apply(m->node->engine, m->node->flusher, b, e);
}

/* What the store has of the account's move; state MOVE_STATES if it has nothing. */
static int
stored_record(struct mover *m, const struct account_id *id, struct move_record *out, struct err *e)
{
	_cleanup_buf_ struct buf v = BUF_INIT(16384);
	int found = region_get(m->node->engine, REGION_MOVE, id->b, ACCOUNT_ID_BYTES, &v, e);

	if (found < 0)
		return -1;
	if (found)
		return move_record_read((struct span){ v.data, v.len }, out, e);
	*out = (struct move_record){ .state = MOVE_STATES, .account = *id };
	return 0;
}

/* 1: what the store has is about another move than R, which has it now. With the account's claim. */
static int
end_lease(struct mover *m, struct move_record *r, struct err *e)
{
	struct move_record now;

	if (stored_record(m, &r->account, &now, e) < 0)
		return -1;
	if (now.state == MOVE_STATES)
		return 0;
	if (now.state == MOVE_SETTLED && now.epoch == r->epoch && now.attempt == r->attempt)
		return target_record_open(m, &r->account, e);
	*r = now;
	return 1;
}

/* 1: the move has come further than R, which says so too now. With the account's claim. */
static int
give_up(struct mover *m, struct move_record *r, struct err *e)
{
	struct move_record now;
	struct home h;

	if (stored_record(m, &r->account, &now, e) < 0 ||
	    homes_get(m->node->homes, &r->account, &h, e) < 0)
		return -1;
	if (r->state == MOVE_ARRIVING && (h.state == HOME_ARRIVING || now.state == MOVE_ARRIVING))
		return give_up_arrival(m, r, &h, e);
	if (r->state == MOVE_COPYING && h.state == HOME_FENCED) {
		r->state = MOVE_FENCED;
		r->attempt = h.attempt;
		return 1;
	}
	if (r->state == MOVE_COPYING &&
	    (now.state == MOVE_COPYING || now.state == MOVE_FENCED || now.state == MOVE_STATES))
		return give_up_copying(m, r, &h, e);
	if (now.state == MOVE_STATES)
		return 0;
	*r = now;
	return 1;
}

/* What a unit was to give up when the disk did not take it, and the old home's lease of a settled arrival.
 * Another unit may have the account by now. */
static int
settle_claimed(struct mover *m, struct move_record *r, struct err *e)
{
	int result;

	/* The gate counts it, by a clock that does not jump. */
	if (r->state == MOVE_SETTLED && homes_is_delaying(m->node->homes, &r->account))
		return err_set(e, ERR_BUSY, "the old home may still be reading");
	if (!claim_take(m, &r->account, NULL))
		return err_set(e, ERR_BUSY, "another move of it is under way");
	result = r->state == MOVE_SETTLED ? end_lease(m, r, e) : give_up(m, r, e);
	claim_drop(m, &r->account);
	return result;
}

/* 0: settled; 1: to be looked at again; -1: likewise, for the reason in *E.
 * model: s_ask, t_settle_ask */
static int
settle_one(struct mover *m, struct move_record *r, struct err *e)
{
	enum move_state was = r->state;
	bool is_source = r->state == MOVE_FENCED;
	struct swap s = { .account = r->account, .epoch = r->epoch, .attempt = r->attempt };
	char account[ACCOUNT_TEXT_SIZE];
	int current, looked = 0, settled;

	if (r->state == MOVE_SETTLED || r->state == MOVE_COPYING || r->state == MOVE_ARRIVING)
		return settle_claimed(m, r, e);
	if (is_source) {
		current = is_put_back(m, r, e);
		if (current > 0)
			r->state = MOVE_COPYING;
		if (current != 0)
			return current;
	}
	current = is_current(m, r, e);
	if (current <= 0)
		return current;

	memcpy(s.from, is_source ? m->node->region : r->peer, sizeof s.from);
	memcpy(s.to, m->node->region, sizeof s.to);
	s.to_epoch = is_source ? r->epoch : r->epoch + 1;
	s.to_attempt = is_source ? r->attempt + 1 : r->attempt;
	sha256(r->statement, strlen(r->statement), s.statement);
	if (!is_source)
		looked = look_at_pages(m, r, &s, e);
	if (looked < 0 || (looked == 0 && directory_swap(m->node->directory, &s, 1, e) < 0))
		return -1;
	settled = is_source ? settle_source(m, r, &s, e) : settle_target(m, r, &s, e);
	if (settled < 0)
		return -1;
	account_text(&r->account, account);
	log_info("move.settled", r->wave, "account=%s was=%s home=%s epoch=%" PRIu64, account,
	    move_state_name(was), s.now.home, s.now.epoch);
	return settled;
}

/* --- the thread --- */

/* 1; 0: one of the account is listed already; -1: no memory. */
static int
enlist(struct mover *m, const struct move_record *r)
{
	struct settle *s = calloc(1, sizeof *s), *x;

	if (!s)
		return -1;
	s->record = *r;
	s->wait_ms = RETRY_MS;
	pthread_mutex_lock(&m->lock);
	for (x = m->to_settle; x && !account_equal(&x->record.account, &r->account); x = x->next)
		;
	if (!x) {
		s->next = m->to_settle;
		m->to_settle = s;
		m->n_to_settle++;
		pthread_cond_broadcast(&m->changed);
	}
	pthread_mutex_unlock(&m->lock);
	if (x)
		free(s);
	return !x;
}

bool
resolver_add(struct mover *m, const struct move_record *r)
{
	int listed = enlist(m, r);

	if (listed < 0)
		log_error("move.settle", r->wave, "error=\"no memory; looked for again\"");
	/* What is listed already may be about an earlier attempt, and be dropped as such. */
	if (listed != 1)
		atomic_store(&m->must_rescan_moves, true);
	return listed >= 0;
}

unsigned
resolver_count(struct mover *m)
{
	unsigned n;

	pthread_mutex_lock(&m->lock);
	n = m->n_to_settle;
	pthread_mutex_unlock(&m->lock);
	return n;
}

/* Take out everything that is due; last, those that may have to be read first (look_at_pages). */
static struct settle *
take_due(struct mover *m)
{
	struct settle *due = NULL, *prepared = NULL, **end = &due, **p = &m->to_settle;
	uint64_t now = host_mono_ms();

	while (*p) {
		struct settle *s = *p;

		if (s->next_ms > now) {
			p = &s->next;
			continue;
		}
		*p = s->next;
		if (s->record.state == MOVE_PREPARED) {
			s->next = prepared;
			prepared = s;
		} else {
			*end = s;
			end = &s->next;
		}
	}
	*end = prepared;
	return due;
}

/* model: s_ask_again, t_settle_ask_again */
static void
put_back(struct mover *m, struct settle *s, const struct err *e)
{
	if (s->wait_ms == RETRY_MS && e->kind != ERR_NONE && s->record.state != MOVE_SETTLED)
		log_warn("move.settle", s->record.wave, "error=\"%s\"", e->text);
	s->wait_ms = s->wait_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : s->wait_ms * 2;
	s->next_ms = host_mono_ms() + s->wait_ms;
	pthread_mutex_lock(&m->lock);
	s->next = m->to_settle;
	m->to_settle = s;
	pthread_mutex_unlock(&m->lock);
}

static void
settle_due(struct mover *m, struct settle *due)
{
	while (due) {
		struct settle *s = due;
		struct err e = { 0 };

		due = s->next;
		if (settle_one(m, &s->record, &e) != 0) {
			put_back(m, s, &e);
			continue;
		}
		pthread_mutex_lock(&m->lock);
		m->n_to_settle--;
		pthread_mutex_unlock(&m->lock);
		free(s);
	}
}

struct rescan {
	struct mover *mover;
	bool is_partial; /* some were units' that may leave them to us yet */
};

/* With the account's claim: while nobody works on the move its record says where that is. */
static int
relist(struct mover *m, const struct account_id *id, struct err *e)
{
	struct move_record r;

	if (stored_record(m, id, &r, e) < 0)
		return e->kind == ERR_FORGED ? 0 : -1; /* logged at the start */
	if (r.state != MOVE_STATES && enlist(m, &r) < 0)
		return err_set(e, ERR_MEMORY, "no memory for a move to be settled");
	return 0;
}

static int
relist_each(void *arg, struct span key, struct span value, struct err *e)
{
	struct rescan *x = arg;
	struct account_id id;
	int result;

	(void)value;
	if (key.len != sizeof(id))
		return 0;
	memcpy(&id, key.data, sizeof(id));
	if (!claim_take(x->mover, &id, NULL)) {
		x->is_partial = true;
		return 0;
	}
	result = relist(x->mover, &id, e);
	claim_drop(x->mover, &id);
	return result;
}

/* Every record that nobody works on is listed again, after a flush failed, which may have taken back what was
 * published before it, and where there was no memory to list one. SEEN and NEXT_MS are the caller's to keep.
 * model: t_rescan */
static void
rescan(struct mover *m, uint64_t *seen, uint64_t *next_ms)
{
	uint64_t failures = flusher_failures(m->node->flusher);
	struct rescan x = { .mover = m };
	struct err e;

	if (failures != *seen) {
		*seen = failures;
		*next_ms = 0;
		atomic_store(&m->must_rescan_moves, true);
	}
	if (!atomic_load(&m->must_rescan_moves) || host_mono_ms() < *next_ms)
		return;
	atomic_store(&m->must_rescan_moves, false);
	if (region_scan(m->node->engine, REGION_MOVE, relist_each, &x, &e) < 0) {
		log_warn("move.settle", NULL, "error=\"%s\"", e.text);
		x.is_partial = true;
	}
	if (x.is_partial)
		atomic_store(&m->must_rescan_moves, true);
	*next_ms = host_mono_ms() + RETRY_MAX_MS;
}

void *
resolver_run(void *mover)
{
	struct mover *m = mover;
	uint64_t failures = flusher_failures(m->node->flusher), next_ms = 0;

	while (!atomic_load(&m->is_stopping)) {
		struct settle *due;

		rescan(m, &failures, &next_ms);

		pthread_mutex_lock(&m->lock);
		due = take_due(m);
		if (!due && !atomic_load(&m->is_stopping))
			host_cond_wait_ms(&m->changed, &m->lock, RETRY_MS / 2);
		pthread_mutex_unlock(&m->lock);
		settle_due(m, due);
	}
	return NULL;
}

void
resolver_free(struct mover *m)
{
	while (m->to_settle) {
		struct settle *s = m->to_settle;

		m->to_settle = s->next;
		free(s);
	}
}
