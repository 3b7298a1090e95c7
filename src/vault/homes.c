/* homes.c - the records of homes.h, and their changes: written first, then seen. */
#include "vault/homes.h"
#include "vault/homes_internal.h"

#include "base/host.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_FORMAT 1

static const struct {
	const char *name;
	unsigned next; /* states reachable from here */
} states[] = {
	[HOME_NONE] = { "none", BIT(HOME_CREATING) | BIT(HOME_ARRIVING) },
	[HOME_CREATING] = { "creating", BIT(HOME_HERE) | BIT(HOME_REMOVING) | BIT(HOME_NONE) },
	[HOME_HERE] = { "here", BIT(HOME_FENCED) | BIT(HOME_REMOVING) },
	[HOME_FENCED] = { "fenced", BIT(HOME_HERE) | BIT(HOME_MOVED) },
	[HOME_MOVED] = { "moved", BIT(HOME_ARRIVING) | BIT(HOME_NONE) },
	[HOME_ARRIVING] = { "arriving", BIT(HOME_PREPARED) | BIT(HOME_NONE) },
	[HOME_PREPARED] = { "prepared", BIT(HOME_HERE) | BIT(HOME_NONE) },
	[HOME_REMOVING] = { "removing", BIT(HOME_NONE) },
	[HOME_HELD] = { "held", BIT(HOME_HERE) | BIT(HOME_REMOVING) },
	[HOME_LOST] = { "lost", BIT(HOME_REMOVING) },
};
_Static_assert(ARRAY_LEN(states) == HOME_STATES, "a row for every state");

const char *
home_state_name(enum home_state s)
{
	return s < HOME_STATES ? states[s].name : "unknown";
}

bool
home_may_follow(enum home_state from, enum home_state to)
{
	return from < HOME_STATES && to < HOME_STATES && states[from].next & BIT(to);
}

/* --- the record --- */

static void
put_home(struct buf *b, const struct home *home)
{
	put_u8(b, RECORD_FORMAT);
	put_u8(b, (uint8_t)home->state);
	put_u8(b, home->is_suspended);
	put_u32(b, home->services);
	put_u64(b, home->epoch);
	put_u64(b, home->attempt);
	put_str(b, home->country);
	put_str(b, home->peer);
}

static int
parse_home(const struct account_id *id, struct span value, struct home *out, struct err *e)
{
	struct reader r = READER(value.data, value.len);
	struct home home = { .account = *id };
	uint8_t format = read_u8(&r), state = read_u8(&r);

	home.state = state;
	home.is_suspended = read_u8(&r);
	home.services = read_u32(&r);
	home.epoch = read_u64(&r);
	home.attempt = read_u64(&r);
	read_str(&r, home.country, sizeof(home.country));
	read_str(&r, home.peer, sizeof(home.peer));
	if (read_check(&r, "a home record", NULL) < 0 || format != RECORD_FORMAT ||
	    state == HOME_NONE || state >= HOME_STATES)
		return err_set(e, ERR_FORGED,
		    "the record of the account's home is damaged (format %u, state %u)", format,
		    state);
	*out = home;
	return 0;
}

int
home_read(struct homes *h, const struct account_id *id, struct home *out, struct err *e)
{
	_cleanup_buf_ struct buf value = BUF_INIT(4096);
	int r = region_get(h->c.engine, REGION_HOME, id, sizeof(*id), &value, e);

	if (r == 0)
		*out = (struct home){ .account = *id, .state = HOME_NONE };
	if (r == 1 && parse_home(id, (struct span){ value.data, value.len }, out, e) < 0)
		return -1;
	return r;
}

static int
write_homes(struct homes *h, const struct home *const *homes, size_t n, struct region_batch *b,
    bool is_soon, struct err *e)
{
	_cleanup_buf_ struct buf value = BUF_INIT(4096);

	for (size_t i = 0; i < n; i++) {
		const struct account_id *id = &homes[i]->account;

		buf_clear(&value);
		put_home(&value, homes[i]);
		if (buf_check(&value, e) < 0)
			return -1;
		if (homes[i]->state == HOME_NONE)
			region_delete(b, REGION_HOME, id, sizeof(*id));
		else
			region_put(b, REGION_HOME, id, sizeof(*id), value.data, value.len);
	}
	if (is_soon)
		return region_apply_soon(h->c.engine, b, e);
	return region_apply(h->c.engine, h->c.flusher, b, e);
}

/* --- opening --- */

struct homes *
homes_open(const struct homes_config *c, struct err *e)
{
	struct homes *h = aligned_alloc(_Alignof(struct homes), sizeof(*h));

	if (!h) {
		err_set(e, ERR_MEMORY, "the gate: no memory");
		return NULL;
	}
	memset(h, 0, sizeof(*h));
	h->c = *c;
	if (gate_start(h, e) < 0) {
		homes_close(h);
		return NULL;
	}
	return h;
}

void
homes_close(struct homes *h)
{
	if (!h)
		return;
	gate_stop(h);
	free(h);
}

/* --- changes --- */

/* A change of several accounts: their entries are marked in order of ids, so that two changes of
 * the same accounts can't wait for each other. */
struct change {
	size_t n;
	struct item {
		const struct home *new;
		struct home old;
		struct entry *x; /* marked is_changing */
	} * items;
};

static void
change_free(struct change *c)
{
	free(c->items);
}

static int
item_order(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	return memcmp(&x->new->account, &y->new->account, sizeof(x->new->account));
}

static int
not_following(const struct home *old, const struct home *new, struct err *e)
{
	char account[ACCOUNT_TEXT_SIZE];

	account_text(&new->account, account);
	return err_set(e, ERR_STALE,
	    "account %s is %s (epoch %llu, attempt %llu) and can't become %s (epoch %llu, attempt %llu)",
	    account, home_state_name(old->state), (unsigned long long)old->epoch,
	    (unsigned long long)old->attempt, home_state_name(new->state),
	    (unsigned long long)new->epoch, (unsigned long long)new->attempt);
}

/* model: s_unfence, s_settle_moved */
static int
check_following(const struct home *old, const struct home *new, bool is_fence, struct err *e)
{
	bool is_same = old->state == new->state;

	if (!is_same && !home_may_follow(old->state, new->state))
		return not_following(old, new, e);
	if (old->state != HOME_NONE && new->state != HOME_NONE &&new->epoch < old->epoch)
		return not_following(old, new, e);
	/* The mover read the record a while ago: a service granted since must not get lost. */
	if (is_fence && (new->services != old->services || new->is_suspended != old->is_suspended))
		return not_following(old, new, e);
	/* A fence belongs to one move. */
	if (is_same && new->state == HOME_FENCED && is_fence)
		return not_following(old, new, e);
	/* Only homes_fence sees to it that no write is left inside. */
	if (!is_same && new->state == HOME_FENCED && !is_fence)
		return err_set(e, ERR_INTERNAL, "fenced without a fence");
	/* The directory has to have cancelled the attempt that this is fenced for. */
	if (old->state == HOME_FENCED && new->state == HOME_HERE &&new->attempt <= old->attempt)
		return not_following(old, new, e);
	return 0;
}

/* Mark one entry for the change, once nobody else changes it.
 * model: s_fence */
static int
mark(struct homes *h, struct item *i, bool is_fence, struct err *e)
{
	struct stripe *s = gate_stripe(h, &i->new->account);
	struct entry *x;
	int r = -1;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		x = gate_entry(h, s, &i->new->account, e);
		if (!x)
			break;
		/* Not to be waited for: a write that is inside may be asking, and the fence waits for
		 * that to leave. */
		if (x->is_fencing && !is_fence) {
			err_set(e, ERR_STALE, "the account is being fenced");
			break;
		}
		if (x->is_changing) {
			stripe_wait(s, x, GATE_NEVER);
			continue;
		}
		r = check_following(&x->home, i->new, is_fence, e);
		break;
	}
	if (r == 0) {
		x->is_changing = true;
		x->is_fencing = is_fence && x->home.state == HOME_HERE;
		i->x = x;
		i->old = x->home;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* Show HOME (NULL: leave what is there) in the marked entry. The mark and the fence go. */
static void
publish(struct homes *h, struct item *i, const struct home *home)
{
	struct stripe *s = gate_stripe(h, &i->new->account);
	struct entry *x = i->x;
	struct home_wait *waiters;

	if (!x)
		return;
	pthread_mutex_lock(&s->lock);
	if (home) {
		if (home->state != HOME_FENCED || x->home.state != HOME_FENCED) {
			x->read_until_ms = 0;
			x->is_read_closed = false;
		}
		if (home->state == HOME_MOVED && x->home.state != HOME_MOVED)
			x->moved_ms = host_mono_ms();
		if (home->state != HOME_HERE)
			x->pace_us = 0;
		/* The delay is set before the state that it is about. */
		if (home->state != HOME_HERE && home->state != HOME_PREPARED)
			x->write_from_ms = 0;
		x->home = *home;
	}
	x->is_changing = false;
	x->is_fencing = false;
	i->x = NULL;
	waiters = gate_take_waiters(h, x);
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	gate_call(waiters, NULL);
}

static void
publish_all(struct homes *h, struct change *c, bool is_done)
{
	for (size_t i = 0; i < c->n; i++)
		publish(h, &c->items[i], is_done ? c->items[i].new : NULL);
}

static int
change_begin(struct homes *h, const struct home *homes, size_t n, bool is_fence, struct change *c,
    struct err *e)
{
	c->items = calloc(n ? n : 1, sizeof(*c->items));
	if (!c->items)
		return err_set(e, ERR_MEMORY, "the gate: no memory");
	for (c->n = 0; c->n < n; c->n++)
		c->items[c->n].new = &homes[c->n];
	qsort(c->items, n, sizeof(*c->items), item_order);
	for (size_t i = 1; i < n; i++)
		if (item_order(&c->items[i - 1], &c->items[i]) == 0)
			return err_set(e, ERR_INTERNAL, "an account twice in one change");
	for (size_t i = 0; i < n; i++) {
		if (mark(h, &c->items[i], is_fence, e) == 0)
			continue;
		publish_all(h, c, false);
		return -1;
	}
	return 0;
}

/* The new states, or with OLD the former ones, together with B.
 * model: s_fence */
static int
change_write(struct homes *h, const struct change *c, bool old, struct region_batch *b,
    bool is_soon, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *own = NULL;
	const struct home **homes = calloc(c->n ? c->n : 1, sizeof(*homes));
	int r;

	if (!b)
		b = own = region_batch(e);
	if (!homes || !b) {
		free(homes);
		return err_set(e, ERR_MEMORY, "the gate: no memory");
	}
	for (size_t i = 0; i < c->n; i++)
		homes[i] = old ? &c->items[i].old : c->items[i].new;
	r = write_homes(h, homes, c->n, b, is_soon, e);
	free(homes);
	return r;
}

static int
set_homes(struct homes *h, const struct home *homes, size_t n, struct region_batch *b, bool is_soon,
    struct err *e)
{
	_cleanup_(change_free) struct change c = { 0 };
	int r;

	if (change_begin(h, homes, n, false, &c, e) < 0)
		return -1;
	r = change_write(h, &c, false, b, is_soon, e);
	publish_all(h, &c, r == 0);
	return r;
}

int
homes_set(
    struct homes *h, const struct home *homes, size_t n, struct region_batch *b, struct err *e)
{
	return set_homes(h, homes, n, b, false, e);
}

int
homes_set_soon(
    struct homes *h, const struct home *homes, size_t n, struct region_batch *b, struct err *e)
{
	return set_homes(h, homes, n, b, true, e);
}

/* The entry of an account that nobody uses: read anew when it is asked for. */
static void
forget(struct homes *h, const struct account_id *id)
{
	struct stripe *s = gate_stripe(h, id);
	struct entry *x;

	pthread_mutex_lock(&s->lock);
	HASH_FIND(hh, s->entries, id, sizeof(*id), x);
	if (x) {
		assert(!x->pins && !x->first && !x->is_changing && !x->is_loading);
		gate_drop(s, x);
	}
	pthread_mutex_unlock(&s->lock);
}

int
homes_reset(
    struct homes *h, const struct home *homes, size_t n, struct region_batch *b, struct err *e)
{
	const struct home **list = calloc(n ? n : 1, sizeof(*list));
	int r;

	if (!list)
		return err_set(e, ERR_MEMORY, "the gate: no memory");
	for (size_t i = 0; i < n; i++)
		list[i] = &homes[i];
	r = write_homes(h, list, n, b, false, e);
	for (size_t i = 0; i < n; i++)
		forget(h, &homes[i].account);
	free(list);
	return r;
}

/* The fenced state is durable: reads may see it. Writes wait already, those inside go on.
 * model: s_fence_durable */
static void
show_fenced(struct homes *h, struct change *c)
{
	for (size_t i = 0; i < c->n; i++) {
		struct item *it = &c->items[i];
		struct stripe *s = gate_stripe(h, &it->new->account);

		pthread_mutex_lock(&s->lock);
		if (it->x->home.state != HOME_FENCED) {
			it->x->read_until_ms = 0;
			it->x->is_read_closed = false;
		}
		it->x->home = *it->new;
		pthread_mutex_unlock(&s->lock);
	}
}

/* Until every write has left.
 * model: s_drained */
static int
drain(struct homes *h, struct change *c, uint64_t until_ns, struct err *e)
{
	for (size_t i = 0; i < c->n; i++) {
		struct entry *x = c->items[i].x;
		struct stripe *s = gate_stripe(h, &c->items[i].new->account);
		unsigned left;

		pthread_mutex_lock(&s->lock);
		while (x->inside[ENTER_WRITE] && host_mono_ns() < until_ns)
			stripe_wait(s, x, until_ns);
		left = x->inside[ENTER_WRITE];
		pthread_mutex_unlock(&s->lock);
		if (left)
			return err_set(e, ERR_TIMEOUT, "%u writes did not end", left);
	}
	return 0;
}

/* A fence that failed. The record may say either now; HERE in memory is true all the same, because
 * whoever would act on the fence has not been told of it.
 * model: s_put_back */
static void
put_back(struct homes *h, struct change *c, struct err *e)
{
	struct err second;

	if (change_write(h, c, true, NULL, false, &second) < 0)
		err_add(e, "put back, but not durably (%s)", second.text);
	for (size_t i = 0; i < c->n; i++)
		publish(h, &c->items[i], &c->items[i].old);
}

int
homes_fence(struct homes *h, const struct home *homes, size_t n, struct region_batch *b,
    uint64_t wait_ms, struct err *e)
{
	_cleanup_(change_free) struct change c = { 0 };
	uint64_t until_ns = host_mono_ns() + wait_ms * 1000000;

	for (size_t i = 0; i < n; i++)
		if (homes[i].state != HOME_FENCED)
			return err_set(e, ERR_INTERNAL, "a fence that does not fence");
	if (change_begin(h, homes, n, true, &c, e) < 0)
		return -1;
	if (change_write(h, &c, false, b, false, e) < 0) {
		put_back(h, &c, e);
		return -1;
	}
	show_fenced(h, &c);
	if (drain(h, &c, until_ns, e) < 0) {
		put_back(h, &c, e);
		return -1;
	}
	publish_all(h, &c, true);
	return 0;
}

/* --- reading --- */

int
homes_get(struct homes *h, const struct account_id *id, struct home *out, struct err *e)
{
	struct stripe *s = gate_stripe(h, id);
	struct entry *x;
	int r = -1;

	pthread_mutex_lock(&s->lock);
	x = gate_entry(h, s, id, e);
	if (x) {
		*out = x->home;
		r = x->home.state != HOME_NONE;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

struct scan {
	homes_scan_fn *fn;
	void *arg;
};

static int
visit(void *arg, struct span key, struct span value, struct err *e)
{
	struct home home = { .state = HOME_STATES };
	struct scan *s = arg;

	if (key.len != sizeof(home.account))
		return 0;
	memcpy(&home.account, key.data, sizeof(home.account));
	if (parse_home(&home.account, value, &home, NULL) < 0)
		home.state = HOME_STATES;
	return s->fn(s->arg, &home, e);
}

int
homes_scan_after(
    struct homes *h, const struct account_id *after, homes_scan_fn *fn, void *arg, struct err *e)
{
	struct scan s = { fn, arg };

	if (!after)
		return region_scan(h->c.engine, REGION_HOME, visit, &s, e);
	return region_scan_after(h->c.engine, REGION_HOME, after, sizeof(*after), visit, &s, e);
}
