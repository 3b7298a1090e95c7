/* homes_gate.c - the gate: entering, leaving and waiting. See homes.h.
 *
 * Everything a request decides on is in one entry under one lock, so that a fence, which sets its
 * flag under the same lock, has every later write waiting and every earlier one counted.
 */
#include "vault/homes_internal.h"

#include "base/host.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define EVICT_TRIES 8

struct stripe *
gate_stripe(struct homes *h, const struct account_id *id)
{
	return &h->stripes[id->b[ACCOUNT_ID_BYTES - 1] % STRIPES];
}

/* --- entries; the stripe's lock is held --- */

static void
unlink_use(struct stripe *s, struct entry *x)
{
	*(x->newer ? &x->newer->older : &s->newest) = x->older;
	*(x->older ? &x->older->newer : &s->oldest) = x->newer;
}

static void
link_newest(struct stripe *s, struct entry *x)
{
	x->newer = NULL;
	x->older = s->newest;
	*(s->newest ? &s->newest->newer : &s->oldest) = x;
	s->newest = x;
}

static void
touch(struct stripe *s, struct entry *x)
{
	if (s->newest == x)
		return;
	unlink_use(s, x);
	link_newest(s, x);
}

void
gate_drop(struct stripe *s, struct entry *x)
{
	unlink_use(s, x);
	HASH_DEL(s->entries, x);
	s->n--;
	free(x);
}

/* Whether the entry says nothing that its record does not. */
static bool
is_evictable(const struct entry *x)
{
	if (x->is_loading || x->is_changing || x->is_fencing || x->pins || x->first)
		return false;
	if (x->inside[ENTER_READ] || x->inside[ENTER_WRITE] || x->inside[ENTER_UPLOAD])
		return false;
	if (x->home.state == HOME_FENCED || x->pace_us)
		return false;
	return !x->write_from_ms || x->write_from_ms <= host_mono_ms();
}

static void
make_room(struct stripe *s)
{
	struct entry *x = s->oldest;

	for (int i = 0; x && s->n >= STRIPE_ENTRIES && i < EVICT_TRIES; i++) {
		struct entry *newer = x->newer;

		if (is_evictable(x))
			gate_drop(s, x);
		x = newer;
	}
}

struct entry *
gate_find_or_add(struct stripe *s, const struct account_id *id)
{
	struct entry *x;

	HASH_FIND(hh, s->entries, id, sizeof(*id), x);
	if (x)
		return x;
	make_room(s);
	x = calloc(1, sizeof(*x));
	if (!x)
		return NULL;
	x->home.account = *id;
	x->last = &x->first;
	HASH_ADD(hh, s->entries, home.account, sizeof(*id), x);
	if (!x->hh.tbl) {
		free(x);
		return NULL;
	}
	link_newest(s, x);
	s->n++;
	return x;
}

void
stripe_wait(struct stripe *s, struct entry *x, uint64_t until_ns)
{
	x->pins++;
	gate_wait_until(&s->changed, &s->lock, until_ns);
	x->pins--;
}

/* Read the record while others wait for it.
 * model: s_crash, s_crash_and_reset, t_crash */
static int
load(struct homes *h, struct stripe *s, struct entry *x, struct err *e)
{
	struct account_id id = x->home.account;
	struct home home;
	int r;

	x->is_loading = true;
	pthread_mutex_unlock(&s->lock);
	r = home_read(h, &id, &home, e);
	pthread_mutex_lock(&s->lock);
	x->is_loading = false;
	pthread_cond_broadcast(&s->changed);
	if (r < 0) {
		if (is_evictable(x))
			gate_drop(s, x);
		return -1;
	}
	x->home = home;
	x->is_loaded = true;
	/* Entries of accounts that this process fenced stay in memory. This one was fenced before:
	 * its read lease counts as over. */
	x->is_read_closed = home.state == HOME_FENCED;
	return 0;
}

struct entry *
gate_entry(struct homes *h, struct stripe *s, const struct account_id *id, struct err *e)
{
	for (;;) {
		struct entry *x = gate_find_or_add(s, id);

		if (!x) {
			err_set(e, ERR_MEMORY, "the gate: no memory");
			return NULL;
		}
		if (x->is_loaded)
			return x;
		if (x->is_loading)
			stripe_wait(s, x, GATE_NEVER);
		else if (load(h, s, x, e) < 0)
			return NULL;
	}
}

/* --- who may enter --- */

/* model: s_lease_over */
static bool
may_read_fenced(const struct entry *x)
{
	if (x->is_read_closed)
		return false;
	return !x->read_until_ms || host_mono_ms() < x->read_until_ms;
}

/* model: t_delay_over */
static bool
may_write(struct entry *x, bool is_owed)
{
	uint64_t now_ns;

	if (x->is_fencing)
		return false;
	if (!x->write_from_ms && !x->pace_us)
		return true;
	now_ns = host_mono_ns();
	if (x->write_from_ms > now_ns / 1000000)
		return false;
	x->write_from_ms = 0;
	if (!x->pace_us)
		return true;
	if (now_ns < x->pace_write_ns && !is_owed)
		return false;
	x->pace_write_ns = now_ns + x->pace_us * 1000;
	return true;
}

/* model: c_enter_s, c_enter_d */
static enum enter_answer
decide(struct entry *x, enum enter_how how, bool is_owed)
{
	/* Elsewhere it may be resumed without our hearing of it: the home decides. */
	if (x->home.is_suspended && how != ENTER_OPERATOR && x->home.state != HOME_MOVED &&
	    x->home.state != HOME_ARRIVING)
		return ENTER_SUSPENDED;
	switch (x->home.state) {
	case HOME_HERE:
		if (how == ENTER_READ)
			return ENTER_GO;
		if (how == ENTER_UPLOAD)
			return x->is_fencing ? ENTER_WAIT : ENTER_GO;
		return may_write(x, is_owed) ? ENTER_GO : ENTER_WAIT;
	case HOME_FENCED:
		return how == ENTER_READ && may_read_fenced(x) ? ENTER_GO : ENTER_WAIT;
	case HOME_CREATING:
	case HOME_PREPARED:
		return ENTER_WAIT;
	case HOME_MOVED:
	case HOME_ARRIVING: /* until it is prepared, the other side still serves it */
		return ENTER_FORWARD;
	case HOME_HELD:
		return ENTER_HELD;
	case HOME_LOST:
		return ENTER_LOST;
	default:
		return ENTER_UNKNOWN;
	}
}

/* --- the face --- */

/* model: c_enter_s, c_enter_d */
int
homes_enter(struct homes *h, const struct account_id *id, enum enter_how how,
    enum enter_answer *answer, struct home_pass *pass, struct home_wait *w, struct err *e)
{
	struct stripe *s = gate_stripe(h, id);
	struct entry *x;

	pthread_mutex_lock(&s->lock);
	x = gate_entry(h, s, id, e);
	if (!x) {
		pthread_mutex_unlock(&s->lock);
		return -1;
	}
	touch(s, x);
	*answer = decide(x, how, w && w->until_ms && gate_owed_ms(h, w) <= host_mono_ms());
	pass->home = x->home;
	pass->how = how == ENTER_OPERATOR ? ENTER_WRITE : how; /* a fence waits for it, too */
	pass->entry = NULL;
	if (*answer == ENTER_GO) {
		x->inside[pass->how]++;
		h->busy++;
		pass->entry = x;
	} else if (*answer == ENTER_WAIT && w) {
		x->waited++;
		gate_add_waiter(h, s, x, w);
	}
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* model: c_acknowledged */
void
homes_leave(struct homes *h, struct home_pass *pass)
{
	struct entry *x = pass->entry;
	struct stripe *s;

	if (!x)
		return;
	pass->entry = NULL;
	s = gate_stripe(h, &pass->home.account);
	pthread_mutex_lock(&s->lock);
	assert(x->inside[pass->how]);
	x->inside[pass->how]--;
	h->busy--;
	if (x->is_fencing && !x->inside[ENTER_WRITE])
		pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

unsigned
homes_busy(struct homes *h)
{
	return h->busy;
}

/* model: s_seal */
void
homes_seal(struct homes *h, const struct account_id *ids, size_t n)
{
	uint64_t until_ms = host_mono_ms() + h->c.read_lease_ms;

	for (size_t i = 0; i < n; i++) {
		struct stripe *s = gate_stripe(h, &ids[i]);
		struct entry *x;

		pthread_mutex_lock(&s->lock);
		HASH_FIND(hh, s->entries, &ids[i], sizeof(ids[i]), x);
		if (x && x->home.state == HOME_FENCED && !x->read_until_ms)
			x->read_until_ms = until_ms;
		pthread_mutex_unlock(&s->lock);
	}
}

/* Change how writes of ID are spaced, and have everyone who waits try again. */
/* -1: no memory. */
static int
set_writes(
    struct homes *h, const struct account_id *id, const uint64_t *from_ms, const uint64_t *pace_us)
{
	struct stripe *s = gate_stripe(h, id);
	struct home_wait *waiters = NULL;
	struct entry *x;

	pthread_mutex_lock(&s->lock);
	x = gate_find_or_add(s, id);
	if (x) {
		if (from_ms)
			x->write_from_ms = *from_ms;
		if (pace_us) {
			x->pace_us = *pace_us;
			x->pace_write_ns = x->pace_wake_ns = 0;
		}
		waiters = gate_take_waiters(h, x);
	}
	pthread_mutex_unlock(&s->lock);
	gate_call(waiters, NULL);
	return x ? 0 : -1;
}

int
homes_delay_writes(struct homes *h, const struct account_id *id, uint64_t delay_ms, struct err *e)
{
	uint64_t from_ms = host_mono_ms() + delay_ms;

	return set_writes(h, id, &from_ms, NULL) < 0 ? err_set(e, ERR_MEMORY, "the gate: no memory")
	                                             : 0;
}

/* model: t_learned, t_delay_over */
void
homes_open_writes(struct homes *h, const struct account_id *id)
{
	uint64_t from_ms = 0;

	set_writes(h, id, &from_ms, NULL);
}

bool
homes_is_delaying(struct homes *h, const struct account_id *id)
{
	struct stripe *s = gate_stripe(h, id);
	bool is_delaying;
	struct entry *x;

	pthread_mutex_lock(&s->lock);
	HASH_FIND(hh, s->entries, id, sizeof(*id), x);
	is_delaying = x && x->write_from_ms > host_mono_ms();
	pthread_mutex_unlock(&s->lock);
	return is_delaying;
}

void
homes_pace(struct homes *h, const struct account_id *id, uint64_t pace_us)
{
	set_writes(h, id, NULL, &pace_us);
}

unsigned
homes_inside(struct homes *h, const struct account_id *id)
{
	struct stripe *s = gate_stripe(h, id);
	unsigned n = 0;
	struct entry *x;

	pthread_mutex_lock(&s->lock);
	HASH_FIND(hh, s->entries, id, sizeof(*id), x);
	if (x)
		n = x->inside[ENTER_READ] + x->inside[ENTER_WRITE] + x->inside[ENTER_UPLOAD];
	pthread_mutex_unlock(&s->lock);
	return n;
}

bool
homes_is_over(struct homes *h, const struct account_id *id)
{
	struct stripe *s = gate_stripe(h, id);
	bool is_over = false;
	struct entry *x;

	pthread_mutex_lock(&s->lock);
	HASH_FIND(hh, s->entries, id, sizeof(*id), x);
	if (x && x->home.state == HOME_MOVED)
		is_over = host_mono_ms() - x->moved_ms >= h->c.linger_ms;
	else if (x)
		is_over = x->home.state == HOME_REMOVING;
	pthread_mutex_unlock(&s->lock);
	return is_over;
}

unsigned
homes_waited(struct homes *h, const struct account_id *id)
{
	struct stripe *s = gate_stripe(h, id);
	unsigned n = 0;
	struct entry *x;

	pthread_mutex_lock(&s->lock);
	HASH_FIND(hh, s->entries, id, sizeof(*id), x);
	if (x) {
		n = x->waited;
		x->waited = 0;
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}
