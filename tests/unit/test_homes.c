/* test_homes.c - the gate: one-home rests on what is checked here. */
#include "clock.h"

#include "vault/homes.h"

#include <pthread.h>
#include <stdatomic.h>

#define LINGER_MS 60

struct place {
	struct engine *engine;
	struct engine *inner;
	struct flusher *flusher;
	struct homes *homes;
};

static void
reopen(struct place *p, uint64_t hold_ms, uint64_t lease_ms)
{
	const struct homes_config c = {
		.engine = p->engine,
		.flusher = p->flusher,
		.hold_ms = hold_ms,
		.read_lease_ms = lease_ms,
		.linger_ms = LINGER_MS,
	};
	struct err e;

	homes_close(p->homes);
	p->homes = homes_open(&c, &e);
	CHECK(p->homes);
}

static void
place_open(struct place *p)
{
	struct err e;

	*p = (struct place){ .inner = engine_memory(&e) };
	p->engine = engine_fault(p->inner, &e);
	p->flusher = flusher_start(p->engine, &e);
	CHECK(p->engine && p->flusher);
	reopen(p, 30000, 30000);
}

static void
place_close(struct place *p)
{
	homes_close(p->homes);
	flusher_stop(p->flusher);
	engine_close(p->engine);
}

static struct home
new_home(void)
{
	struct home h = { .state = HOME_HERE, .services = 6, .epoch = 1, .country = "IN" };

	account_random(&h.account);
	return h;
}

static int
set(struct place *p, struct home *h, enum home_state state)
{
	struct err e = { 0 };

	h->state = state;
	return homes_set(p->homes, h, 1, NULL, &e) == 0 ? 0 : (int)e.kind;
}

static struct home
make_here(struct place *p)
{
	struct home h = new_home();

	CHECK(set(p, &h, HOME_CREATING) == 0);
	CHECK(set(p, &h, HOME_HERE) == 0);
	return h;
}

static int
fence(struct place *p, const struct home *h, uint64_t wait_ms)
{
	struct home fenced = *h;
	struct err e = { 0 };

	fenced.state = HOME_FENCED;
	snprintf(fenced.peer, sizeof(fenced.peer), "in-mum");
	return homes_fence(p->homes, &fenced, 1, NULL, wait_ms, &e) == 0 ? 0 : (int)e.kind;
}

static int
unfence(struct place *p, struct home *h)
{
	h->attempt++;
	return set(p, h, HOME_HERE);
}

/* What the gate says, without staying inside. */
static enum enter_answer
ask(struct place *p, const struct home *h, enum enter_how how)
{
	enum enter_answer answer;
	struct home_pass pass;
	struct err e;

	CHECK_OK(homes_enter(p->homes, &h->account, how, &answer, &pass, NULL, &e), &e);
	homes_leave(p->homes, &pass);
	return answer;
}

static enum home_state
stored_state(struct place *p, const struct home *h)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct err e;
	int r = region_get(p->engine, REGION_HOME, &h->account, sizeof(h->account), &b, &e);

	CHECK(r >= 0);
	return r ? b.data[1] : HOME_NONE;
}

static void
only_the_arrows_of_the_picture_are_taken(void **state)
{
	struct place p;
	struct home h, got;
	struct err e;

	(void)state;
	place_open(&p);
	h = new_home();
	CHECK(homes_get(p.homes, &h.account, &got, &e) == 0);
	CHECK(set(&p, &h, HOME_HERE) == ERR_STALE);
	CHECK(set(&p, &h, HOME_CREATING) == 0);
	CHECK(set(&p, &h, HOME_MOVED) == ERR_STALE);
	CHECK(set(&p, &h, HOME_HERE) == 0);
	h.services = 14;
	CHECK(set(&p, &h, HOME_HERE) == 0);
	h.epoch = 0;
	CHECK(set(&p, &h, HOME_HERE) == ERR_STALE);
	h.epoch = 1;
	CHECK(set(&p, &h, HOME_FENCED) == ERR_INTERNAL);
	h.services = 2; /* an old copy */
	CHECK(fence(&p, &h, 1000) == ERR_STALE);
	h.services = 14;
	CHECK(fence(&p, &h, 1000) == 0);
	CHECK(set(&p, &h, HOME_HERE) == ERR_STALE); /* the attempt was not cancelled */
	CHECK(unfence(&p, &h) == 0);
	CHECK(fence(&p, &h, 1000) == 0);
	snprintf(h.peer, sizeof(h.peer), "in-mum");
	h.epoch = 2;
	CHECK(set(&p, &h, HOME_MOVED) == 0);
	CHECK(homes_get(p.homes, &h.account, &got, &e) == 1);
	CHECK(got.state == HOME_MOVED && got.services == 14 && got.epoch == 2 && got.attempt == 1);
	CHECK_STR(got.peer, "in-mum");
	CHECK_STR(got.country, "IN");
	h.epoch = 3;
	CHECK(set(&p, &h, HOME_ARRIVING) == 0);
	CHECK(set(&p, &h, HOME_HERE) == ERR_STALE);
	CHECK(set(&p, &h, HOME_PREPARED) == 0);
	CHECK(set(&p, &h, HOME_HERE) == 0);
	CHECK(set(&p, &h, HOME_REMOVING) == 0);
	CHECK(set(&p, &h, HOME_NONE) == 0);
	CHECK(stored_state(&p, &h) == HOME_NONE);
	CHECK(homes_get(p.homes, &h.account, &got, &e) == 0);
	place_close(&p);
}

static void
each_state_answers_as_it_should(void **state)
{
	static const struct {
		enum home_state state;
		enum enter_answer read, write;
	} rows[] = {
		{ HOME_CREATING, ENTER_WAIT, ENTER_WAIT },
		{ HOME_HERE, ENTER_GO, ENTER_GO },
		{ HOME_FENCED, ENTER_GO, ENTER_WAIT },
		{ HOME_MOVED, ENTER_FORWARD, ENTER_FORWARD },
		{ HOME_ARRIVING, ENTER_FORWARD, ENTER_FORWARD },
		{ HOME_PREPARED, ENTER_WAIT, ENTER_WAIT },
		{ HOME_HERE, ENTER_GO, ENTER_GO },
		{ HOME_REMOVING, ENTER_UNKNOWN, ENTER_UNKNOWN },
		{ HOME_NONE, ENTER_UNKNOWN, ENTER_UNKNOWN },
	};
	struct place p;
	struct home h = new_home();

	(void)state;
	place_open(&p);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CHECK(rows[i].state == HOME_FENCED ? fence(&p, &h, 100) == 0
		                                   : set(&p, &h, rows[i].state) == 0);
		CHECK(ask(&p, &h, ENTER_READ) == rows[i].read);
		CHECK(ask(&p, &h, ENTER_WRITE) == rows[i].write);
		CHECK(ask(&p, &h, ENTER_UPLOAD) == rows[i].write);
	}
	h = make_here(&p);
	h.is_suspended = true;
	CHECK(set(&p, &h, HOME_HERE) == 0);
	CHECK(ask(&p, &h, ENTER_READ) == ENTER_SUSPENDED);
	CHECK(fence(&p, &h, 100) == 0 && ask(&p, &h, ENTER_READ) == ENTER_SUSPENDED);
	CHECK(set(&p, &h, HOME_MOVED) == 0); /* the new home decides */
	CHECK(ask(&p, &h, ENTER_READ) == ENTER_FORWARD);
	CHECK(homes_waiting(p.homes) == 0);
	place_close(&p);
}

static void
changes_are_durable_and_reads_of_a_fenced_home_wait_after_a_restart(void **state)
{
	struct home h, other;
	struct place p;

	(void)state;
	place_open(&p);
	h = make_here(&p);
	other = make_here(&p);
	CHECK(fence(&p, &h, 100) == 0);
	CHECK(ask(&p, &h, ENTER_READ) == ENTER_GO);
	engine_memory_cut(p.inner);
	reopen(&p, 1000, 1000);
	CHECK(ask(&p, &h, ENTER_READ) == ENTER_WAIT);
	CHECK(ask(&p, &h, ENTER_WRITE) == ENTER_WAIT);
	CHECK(ask(&p, &other, ENTER_WRITE) == ENTER_GO);
	CHECK(unfence(&p, &h) == 0);
	CHECK(ask(&p, &h, ENTER_READ) == ENTER_GO);
	place_close(&p);
}

#define LEASE_MS 3600000

static void
who_is_inside_has_a_while_after_the_move(void **state)
{
	enum enter_answer answer;
	struct home_pass read;
	uint64_t began_ms;
	struct place p;
	struct home h;
	struct err e;

	(void)state;
	place_open(&p);
	h = make_here(&p);
	CHECK_OK(homes_enter(p.homes, &h.account, ENTER_READ, &answer, &read, NULL, &e), &e);
	CHECK(fence(&p, &h, 100) == 0);
	usleep(2 * LINGER_MS * 1000);
	CHECK(!homes_is_over(p.homes, &h.account));
	began_ms = host_mono_ms();
	CHECK(set(&p, &h, HOME_MOVED) == 0);
	while (!homes_is_over(p.homes, &h.account))
		usleep(1000);
	CHECK(host_mono_ms() - began_ms >= LINGER_MS);
	homes_leave(p.homes, &read);
	place_close(&p);
}

static void
nobody_inside_outlasts_a_removal(void **state)
{
	struct place p;
	struct home h;

	(void)state;
	place_open(&p);
	h = make_here(&p);
	CHECK(ask(&p, &h, ENTER_READ) == ENTER_GO);
	CHECK(!homes_is_over(p.homes, &h.account));
	CHECK(set(&p, &h, HOME_REMOVING) == 0);
	CHECK(homes_is_over(p.homes, &h.account));
	place_close(&p);
}

static void
the_read_lease_ends(void **state)
{
	struct place p;
	struct home h;

	(void)state;
	host_replace(&clock_ahead);
	place_open(&p);
	reopen(&p, 5000, LEASE_MS);
	h = make_here(&p);
	CHECK(fence(&p, &h, 100) == 0);
	clock_ahead_ms += 2 * LEASE_MS;
	CHECK(ask(&p, &h, ENTER_READ) == ENTER_GO); /* not sealed: no lease runs */
	homes_seal(p.homes, &h.account, 1);
	CHECK(ask(&p, &h, ENTER_READ) == ENTER_GO);
	clock_ahead_ms += LEASE_MS;
	CHECK(ask(&p, &h, ENTER_READ) == ENTER_WAIT);
	place_close(&p);
	host_replace(NULL);
}

/* --- waiting --- */

struct waiter {
	struct home_wait w;
	_Atomic int called;
	_Atomic int kind;
};

static void
on_again(struct home_wait *w, const struct err *e)
{
	struct waiter *x = container_of(w, struct waiter, w);

	x->kind = e ? (int)e->kind : 0;
	x->called++;
}

static enum enter_answer
enter_waiting(struct place *p, const struct home *h, enum enter_how how, struct waiter *x)
{
	enum enter_answer answer;
	struct home_pass pass;
	struct err e;

	x->w.again = on_again;
	CHECK_OK(homes_enter(p->homes, &h->account, how, &answer, &pass, &x->w, &e), &e);
	homes_leave(p->homes, &pass);
	return answer;
}

static bool
called_within(struct waiter *x, unsigned ms)
{
	for (; ms && !x->called; ms--)
		usleep(1000);
	return x->called;
}

static void
waiters_are_called_once_when_the_gate_opens_or_time_is_over(void **state)
{
	struct waiter a = { 0 }, b = { 0 }, late = { 0 }, stopped = { 0 };
	enum enter_answer answer;
	struct home_pass pass;
	struct place p;
	struct home h;
	struct err e;

	(void)state;
	place_open(&p);
	h = make_here(&p);
	CHECK(fence(&p, &h, 100) == 0);
	CHECK(enter_waiting(&p, &h, ENTER_WRITE, &a) == ENTER_WAIT);
	CHECK(enter_waiting(&p, &h, ENTER_WRITE, &b) == ENTER_WAIT);
	CHECK(homes_waiting(p.homes) == 2 && !called_within(&a, 30));
	CHECK(unfence(&p, &h) == 0);
	CHECK(a.called == 1 && b.called == 1 && a.kind == 0 && homes_waiting(p.homes) == 0);

	reopen(&p, 3000, 5000);
	CHECK(fence(&p, &h, 100) == 0);
	CHECK(enter_waiting(&p, &h, ENTER_WRITE, &late) == ENTER_WAIT);
	CHECK(!called_within(&late, 20) && called_within(&late, 30000));
	CHECK(late.kind == ERR_TIMEOUT && homes_waiting(p.homes) == 0);
	/* The bound is the request's: entering anew does not begin it again. */
	late.called = 0;
	CHECK(enter_waiting(&p, &h, ENTER_WRITE, &late) == ENTER_WAIT);
	CHECK(called_within(&late, 2000) && late.kind == ERR_TIMEOUT);
	CHECK(homes_enter_wait(p.homes, &h.account, ENTER_WRITE, &answer, &pass, &e) < 0);
	CHECK(e.kind == ERR_TIMEOUT);

	reopen(&p, 30000, 1000);
	CHECK(enter_waiting(&p, &h, ENTER_READ, &stopped) == ENTER_WAIT);
	homes_close(take(&p.homes));
	CHECK(stopped.called == 1 && stopped.kind == ERR_CANCELLED);
	place_close(&p);
}

static void
delayed_writes_wait_for_the_clock_or_the_word(void **state)
{
	struct waiter a = { 0 }, b = { 0 };
	struct place p;
	struct home h;
	struct err e = { 0 };

	(void)state;
	place_open(&p);
	h = new_home();
	CHECK(set(&p, &h, HOME_ARRIVING) == 0 && set(&p, &h, HOME_PREPARED) == 0);
	CHECK_OK(homes_delay_writes(p.homes, &h.account, 3000, &e), &e);
	CHECK(set(&p, &h, HOME_HERE) == 0);
	CHECK(ask(&p, &h, ENTER_READ) == ENTER_GO);
	CHECK(enter_waiting(&p, &h, ENTER_WRITE, &a) == ENTER_WAIT);
	CHECK(!called_within(&a, 25) && called_within(&a, 30000));
	CHECK(ask(&p, &h, ENTER_WRITE) == ENTER_GO);
	CHECK_OK(homes_delay_writes(p.homes, &h.account, 60000, &e), &e);
	CHECK(enter_waiting(&p, &h, ENTER_WRITE, &b) == ENTER_WAIT);
	homes_open_writes(p.homes, &h.account);
	CHECK(b.called == 1 && ask(&p, &h, ENTER_WRITE) == ENTER_GO);
	place_close(&p);
}

static void *
paced_writes(void *arg)
{
	struct place *p = ((void **)arg)[0];
	const struct home *h = ((void **)arg)[1];

	for (int i = 0; i < 5; i++) {
		enum enter_answer answer;
		struct home_pass pass;
		struct err e;

		CHECK_OK(
		    homes_enter_wait(p->homes, &h->account, ENTER_WRITE, &answer, &pass, &e), &e);
		CHECK(answer == ENTER_GO);
		homes_leave(p->homes, &pass);
	}
	return NULL;
}

static void
paced_writes_are_spaced_and_all_come_in(void **state)
{
	struct place p;
	struct home h;
	void *args[] = { &p, &h };
	pthread_t t[4];
	uint64_t start, took;

	(void)state;
	place_open(&p);
	h = make_here(&p);
	homes_pace(p.homes, &h.account, 5000);
	start = host_mono_ms();
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, paced_writes, args));
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	took = host_mono_ms() - start;
	CHECK(took >= 19 * 5 && took < 60000);
	CHECK(ask(&p, &h, ENTER_READ) == ENTER_GO);
	homes_pace(p.homes, &h.account, 0);
	for (int i = 0; i < 100; i++)
		CHECK(ask(&p, &h, ENTER_WRITE) == ENTER_GO);
	place_close(&p);
}

static void *
one_paced_write(void *arg)
{
	struct place *p = ((void **)arg)[0];
	const struct home *h = ((void **)arg)[1];
	enum enter_answer answer;
	struct home_pass pass;
	struct err e;

	if (homes_enter_wait(p->homes, &h->account, ENTER_WRITE, &answer, &pass, &e) < 0)
		return p;
	homes_leave(p->homes, &pass);
	return NULL;
}

/* However many there are: all are slowed down, none of them fails for it. */
static void
no_write_waits_longer_for_its_turn_than_half_the_time_it_has(void **state)
{
	struct place p;
	struct home h;
	void *args[] = { &p, &h }, *failed;
	pthread_t t[8];
	uint64_t start;

	(void)state;
	place_open(&p);
	h = make_here(&p);
	reopen(&p, 4000, 1000);
	homes_pace(p.homes, &h.account, 60000000);
	start = host_mono_ms();
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		CHECK(!pthread_create(&t[i], NULL, one_paced_write, args));
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		pthread_join(t[i], &failed);
		CHECK(!failed);
	}
	CHECK(host_mono_ms() - start >= 1900);
	place_close(&p);
}

/* --- fencing --- */

static void
a_fence_waits_for_writes_and_is_put_back_when_they_do_not_end(void **state)
{
	enum enter_answer answer;
	struct home_pass pass, upload;
	struct place p;
	struct home h;
	struct err e;

	(void)state;
	place_open(&p);
	h = make_here(&p);
	CHECK_OK(homes_enter(p.homes, &h.account, ENTER_UPLOAD, &answer, &upload, NULL, &e), &e);
	CHECK_OK(homes_enter(p.homes, &h.account, ENTER_WRITE, &answer, &pass, NULL, &e), &e);
	CHECK(homes_inside(p.homes, &h.account) == 2);
	CHECK(fence(&p, &h, 50) == ERR_TIMEOUT);
	CHECK(ask(&p, &h, ENTER_WRITE) == ENTER_GO);
	CHECK(stored_state(&p, &h) == HOME_HERE);
	homes_leave(p.homes, &pass);
	CHECK(fence(&p, &h, 50) == 0); /* an upload does not hold it up */
	CHECK(homes_inside(p.homes, &h.account) == 1);
	homes_leave(p.homes, &upload);
	homes_leave(p.homes, &upload); /* twice is fine */
	CHECK(homes_inside(p.homes, &h.account) == 0);
	place_close(&p);
}

static void
a_fence_that_can_not_be_written_leaves_everything_as_it_was(void **state)
{
	struct place p;
	struct home h;

	(void)state;
	for (int late = 0; late < 2; late++) {
		for (unsigned nth = 1; nth <= 2; nth++) {
			place_open(&p);
			h = make_here(&p);
			engine_fault_set(
			    p.engine, late ? FAULT_FAIL_LATE : FAULT_FAIL, nth, false, false, 0);
			CHECK(fence(&p, &h, 1000) == ERR_IO);
			CHECK(engine_fault_fired(p.engine));
			CHECK(ask(&p, &h, ENTER_WRITE) == ENTER_GO);
			CHECK(stored_state(&p, &h) == HOME_HERE);
			CHECK(fence(&p, &h, 1000) == 0);
			place_close(&p);
		}
	}
}

static void *
fencer(void *arg)
{
	struct place *p = ((void **)arg)[0];
	struct home h = *(struct home *)((void **)arg)[1];

	CHECK(fence(p, &h, 5000) == 0);
	return NULL;
}

static void
an_account_that_is_being_fenced_takes_no_other_change(void **state)
{
	enum enter_answer answer;
	struct home_pass pass;
	struct place p;
	struct home h;
	void *args[] = { &p, &h };
	pthread_t t;
	struct err e;

	(void)state;
	place_open(&p);
	h = make_here(&p);
	CHECK_OK(homes_enter(p.homes, &h.account, ENTER_WRITE, &answer, &pass, NULL, &e), &e);
	CHECK(!pthread_create(&t, NULL, fencer, args));
	while (ask(&p, &h, ENTER_WRITE) == ENTER_GO)
		usleep(100);
	/* From inside a write: at once, or the two would wait for each other. */
	CHECK(set(&p, &h, HOME_HERE) == ERR_STALE);
	homes_leave(p.homes, &pass);
	pthread_join(t, NULL);
	CHECK(ask(&p, &h, ENTER_WRITE) == ENTER_WAIT);
	place_close(&p);
}

static void
writes_wait_from_the_beginning_of_a_fence(void **state)
{
	struct place p;
	struct home h;
	void *args[] = { &p, &h };
	pthread_t t;

	(void)state;
	place_open(&p);
	h = make_here(&p);
	engine_fault_set(p.engine, FAULT_DELAY, 1, false, false, 2000);
	CHECK(!pthread_create(&t, NULL, fencer, args));
	while (ask(&p, &h, ENTER_WRITE) == ENTER_GO)
		usleep(1000);
	CHECK(pthread_tryjoin_np(t, NULL) == EBUSY); /* long before it is durable */
	CHECK(ask(&p, &h, ENTER_UPLOAD) == ENTER_WAIT && ask(&p, &h, ENTER_READ) == ENTER_GO);
	pthread_join(t, NULL);
	place_close(&p);
}

/* --- the promise --- */

#define ACCOUNTS 5
#define WRITERS  5
#define FENCES   150

struct account {
	struct home home;
	_Atomic bool is_fenced;
	_Atomic int writing;
};

static struct account accounts[ACCOUNTS];
static struct place shared;
static _Atomic bool is_over;
static _Atomic unsigned writes, violations;

static void *
write_again_and_again(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	while (!is_over) {
		struct account *a = &accounts[rand_r(&seed) % ACCOUNTS];
		enum enter_how how = rand_r(&seed) % 3 ? ENTER_WRITE : ENTER_READ;
		enum enter_answer answer;
		struct home_pass pass;
		struct err e;

		CHECK_OK(
		    homes_enter_wait(shared.homes, &a->home.account, how, &answer, &pass, &e), &e);
		CHECK(answer == ENTER_GO);
		if (how == ENTER_WRITE) {
			a->writing++;
			if (a->is_fenced)
				violations++;
			if (rand_r(&seed) % 16 == 0)
				usleep(50);
			if (a->is_fenced)
				violations++;
			a->writing--;
			writes++;
		}
		homes_leave(shared.homes, &pass);
	}
	return NULL;
}

static void
fence_all(void)
{
	struct home homes[ACCOUNTS];
	struct err e;

	for (int i = 0; i < ACCOUNTS; i++) {
		homes[ACCOUNTS - 1 - i] = accounts[i].home;
		homes[ACCOUNTS - 1 - i].state = HOME_FENCED;
	}
	CHECK_OK(homes_fence(shared.homes, homes, ACCOUNTS, NULL, 10000, &e), &e);
}

static void
unfence_all(void)
{
	struct home homes[ACCOUNTS];
	struct err e;

	for (int i = 0; i < ACCOUNTS; i++) {
		accounts[i].home.attempt++;
		homes[i] = accounts[i].home;
	}
	CHECK_OK(homes_set(shared.homes, homes, ACCOUNTS, NULL, &e), &e);
}

static void
no_write_is_inside_once_a_fence_has_returned(void **state)
{
	pthread_t t[WRITERS];

	(void)state;
	place_open(&shared);
	for (int i = 0; i < ACCOUNTS; i++)
		accounts[i].home = make_here(&shared);
	for (uintptr_t i = 0; i < WRITERS; i++)
		CHECK(!pthread_create(&t[i], NULL, write_again_and_again, (void *)(i + 1)));
	for (int n = 0; n < FENCES || (writes <= FENCES && n < 100 * FENCES); n++) {
		fence_all();
		for (int i = 0; i < ACCOUNTS; i++) {
			accounts[i].is_fenced = true;
			if (accounts[i].writing)
				violations++;
		}
		usleep(200);
		for (int i = 0; i < ACCOUNTS; i++)
			accounts[i].is_fenced = false;
		unfence_all();
		usleep(200);
	}
	is_over = true;
	for (int i = 0; i < WRITERS; i++)
		pthread_join(t[i], NULL);
	CHECK(violations == 0);
	CHECK(writes > FENCES);
	place_close(&shared);
}

/* More accounts than are kept: what is forgotten is read again. */
static void
forgotten_accounts_are_read_again(void **state)
{
	enum { MANY = 70000 };
	struct home *h = calloc(MANY, sizeof(*h));
	enum enter_answer answer;
	struct home_pass pass;
	struct place p;
	struct err e;

	(void)state;
	place_open(&p);
	for (int i = 0; i < MANY; i++) {
		h[i] = new_home();
		h[i].state = HOME_CREATING;
	}
	for (int i = 0; i < MANY; i += MANY / 100)
		CHECK_OK(homes_set(p.homes, h + i, MANY / 100, NULL, &e), &e);
	for (int i = 0; i < MANY; i++)
		h[i].state = HOME_HERE;
	for (int i = 0; i < MANY; i += MANY / 100)
		CHECK_OK(homes_set(p.homes, h + i, MANY / 100, NULL, &e), &e);
	CHECK_OK(homes_enter(p.homes, &h[0].account, ENTER_WRITE, &answer, &pass, NULL, &e), &e);
	for (int i = 1; i < MANY; i++)
		CHECK(ask(&p, &h[i], ENTER_WRITE) == ENTER_GO);
	CHECK(homes_inside(p.homes, &h[0].account) == 1);
	homes_leave(p.homes, &pass);
	place_close(&p);
	free(h);
}

static int
count_homes(void *arg, const struct home *home, struct err *e)
{
	(void)e;
	CHECK(home->state == HOME_HERE);
	return ++*(int *)arg == 7;
}

static void
records_are_scanned_in_order(void **state)
{
	struct place p;
	struct err e;
	int n = 0;

	(void)state;
	place_open(&p);
	for (int i = 0; i < 20; i++)
		make_here(&p);
	CHECK(homes_scan_after(p.homes, NULL, count_homes, &n, &e) >= 0 && n == 7);
	place_close(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_arrows_of_the_picture_are_taken),
		cmocka_unit_test(each_state_answers_as_it_should),
		cmocka_unit_test(
		    changes_are_durable_and_reads_of_a_fenced_home_wait_after_a_restart),
		cmocka_unit_test(the_read_lease_ends),
		cmocka_unit_test(who_is_inside_has_a_while_after_the_move),
		cmocka_unit_test(nobody_inside_outlasts_a_removal),
		cmocka_unit_test(waiters_are_called_once_when_the_gate_opens_or_time_is_over),
		cmocka_unit_test(delayed_writes_wait_for_the_clock_or_the_word),
		cmocka_unit_test(paced_writes_are_spaced_and_all_come_in),
		cmocka_unit_test(no_write_waits_longer_for_its_turn_than_half_the_time_it_has),
		cmocka_unit_test(a_fence_waits_for_writes_and_is_put_back_when_they_do_not_end),
		cmocka_unit_test(a_fence_that_can_not_be_written_leaves_everything_as_it_was),
		cmocka_unit_test(an_account_that_is_being_fenced_takes_no_other_change),
		cmocka_unit_test(writes_wait_from_the_beginning_of_a_fence),
		cmocka_unit_test(no_write_is_inside_once_a_fence_has_returned),
		cmocka_unit_test(forgotten_accounts_are_read_again),
		cmocka_unit_test(records_are_scanned_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
