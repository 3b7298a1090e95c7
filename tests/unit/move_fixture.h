/* move_fixture.h - two regions in one process, each with a store and a mover, over real streams and calls,
 * and one directory that can misbehave. Their clock runs ten times as fast, so that nobody waits long for
 * a second try, and stands still while the process does, so that a time-out is not met by a machine
 * that is busy elsewhere for a second.
 */
#pragma once
#include "clock.h"
#include "fault_fixture.h"
#include "fleet.h"

#include "move/internal.h"

#define CLOCK_SPEED 10

struct shaky {
	struct directory directory;
	struct directory *next; /* borrowed */
	struct fault fault;     /* of find and swap */
	void (*at_swap)(void);  /* before each; may be NULL */
};

struct side {
	struct store store;
	struct node node;
	struct fleet_server server;
	struct shaky shaky;
};

enum { FROM, TO };

struct pair {
	struct side sides[2];
	char *dir;
	struct directory *directory;
};

/* --- the clock --- */

static struct {
	pthread_t thread;
	uint64_t began_ns, began_ms;
	_Atomic uint64_t passed_ms;
	_Atomic bool ends;
} fast;

static inline void *
fast_tick(void *arg)
{
	(void)arg;
	while (!atomic_load(&fast.ends)) {
		usleep(1000);
		atomic_fetch_add(&fast.passed_ms, CLOCK_SPEED);
	}
	return NULL;
}

static inline void
fast_begin(void)
{
	fast.began_ns = host_mono_ns();
	fast.began_ms = host_wall_ms();
	atomic_store(&fast.passed_ms, 0);
	atomic_store(&fast.ends, false);
	CHECK(pthread_create(&fast.thread, NULL, fast_tick, NULL) == 0);
}

static inline void
fast_end(void)
{
	atomic_store(&fast.ends, true);
	CHECK(pthread_join(fast.thread, NULL) == 0);
}

static inline uint64_t
fast_mono_ns(void)
{
	return fast.began_ns + atomic_load(&fast.passed_ms) * 1000000;
}

static inline uint64_t
fast_wall_ms(void)
{
	return fast.began_ms + atomic_load(&fast.passed_ms);
}

static const struct host_ops fast_clock = { fast_wall_ms, fast_mono_ns, clock_random };

/* --- the directory --- */

static inline struct shaky *
shaky_of(struct directory *d)
{
	return container_of(d, struct shaky, directory);
}

static inline int
shaky_away(int r, struct err *e)
{
	if (r < 0 && e->kind == ERR_IO)
		e->kind = ERR_PEER;
	return r;
}

static inline int
shaky_find(struct directory *d, const struct account_id *ids, size_t n, struct placement *out,
    struct err *e)
{
	struct shaky *s = shaky_of(d);

	return shaky_away(FAULT_CALL(&s->fault, e, directory_find(s->next, ids, n, out, e)), e);
}

static inline int
shaky_swap(struct directory *d, struct swap *swaps, size_t n, struct err *e)
{
	struct shaky *s = shaky_of(d);

	if (s->at_swap)
		s->at_swap();
	return shaky_away(FAULT_CALL(&s->fault, e, directory_swap(s->next, swaps, n, e)), e);
}

static inline int
shaky_add(struct directory *d, const struct placement *p, size_t n, struct err *e)
{
	return directory_add(shaky_of(d)->next, p, n, e);
}

static inline int
shaky_remove(struct directory *d, const struct placement *p, struct err *e)
{
	return directory_remove(shaky_of(d)->next, p, e);
}

static inline int
shaky_wave_list(struct directory *d, const char *from, wave_fn *fn, void *arg, struct err *e)
{
	return directory_wave_list(shaky_of(d)->next, from, fn, arg, e);
}

static inline int
shaky_wave_get(
    struct directory *d, const char *id, struct wave *w, struct wave_sums *sums, struct err *e)
{
	return directory_wave_get(shaky_of(d)->next, id, w, sums, e);
}

static inline int
shaky_wave_set(struct directory *d, const char *id, enum wave_state to, struct err *e)
{
	return directory_wave_set(shaky_of(d)->next, id, to, e);
}

static inline int
shaky_wave_items(struct directory *d, const char *id, unsigned mask, const struct account_id *after,
    struct wave_item *items, size_t *n, struct err *e)
{
	return directory_wave_items(shaky_of(d)->next, id, mask, after, items, n, e);
}

static inline int
shaky_wave_update(
    struct directory *d, const char *id, const struct wave_item *items, size_t n, struct err *e)
{
	return directory_wave_update(shaky_of(d)->next, id, items, n, e);
}

static inline void
shaky_close(struct directory *d)
{
	fault_destroy(&shaky_of(d)->fault);
}

static inline void
shaky_open(struct side *s, struct directory *next)
{
	static const struct directory_ops ops = {
		.find = shaky_find,
		.swap = shaky_swap,
		.add = shaky_add,
		.remove = shaky_remove,
		.wave_list = shaky_wave_list,
		.wave_get = shaky_wave_get,
		.wave_set = shaky_wave_set,
		.wave_items = shaky_wave_items,
		.wave_update = shaky_wave_update,
		.close = shaky_close,
	};

	s->shaky = (struct shaky){ .directory.ops = &ops, .next = next };
	fault_init(&s->shaky.fault);
	s->node.directory = &s->shaky.directory;
}

/* --- a side --- */

static inline int
side_call(void *arg, const char *caller, const char *path, json_t *arguments, json_t **answer,
    struct err *e)
{
	static const char base[] = "/peer/v1/move/";
	struct side *s = arg;

	if (strncmp(path, base, strlen(base)) != 0 || !s->node.mover)
		return err_set(e, ERR_MISSING, "no call %s", path);
	return mover_serve(&s->node, caller, path + strlen(base), arguments, answer, e);
}

static inline void
side_policy(struct side *s)
{
	struct err e = { 0 };
	struct conf *c = conf_parse("[policy *]\nregions = cn-bj, sg\n", "regions", &e);

	CHECK(c);
	CHECK_OK(policy_load(s->node.policy, c, &e), &e);
	conf_free(c);
}

/* What lies on the store: from homes to the mover. */
static inline void
side_start(struct side *s)
{
	struct node *n = &s->node;
	const struct homes_config h = { .engine = s->store.engine,
		.flusher = s->store.flusher,
		.hold_ms = 1000,
		.read_lease_ms = 20 };
	const struct mover_config m = { .node = n,
		.stream_at = "127.0.0.1:0",
		.answer_wait_ms = 60000,
		.compact_every_ms = 1,
		.read_lease_ms = 20 };
	struct err e = { 0 };

	n->flusher = s->store.flusher;
	n->chunks = s->store.chunks;
	n->pool = s->store.pool;
	n->homes = homes_open(&h, &e);
	n->access = access_new(n, 3, &e);
	n->routes = routes_new(n, 3, &e);
	CHECK(n->homes && n->access && n->routes);
	CHECK_OK(accounts_recover(n, &e), &e);
	n->mover = mover_start(&m, &e);
	if (!n->mover)
		fail_msg("%s", e.text);
}

static inline void
side_stop(struct side *s)
{
	struct node *n = &s->node;

	mover_stop(take(&n->mover));
	routes_free(n->routes);
	access_free(n->access);
	homes_close(n->homes);
}

static inline void
side_open(struct pair *p, struct side *s, const char *name)
{
	struct node *n = &s->node;
	struct err e = { 0 };

	store_open(&s->store, false);
	*n = (struct node){ .jurisdiction = "CN",
		.engine = s->store.engine,
		.keys = s->store.keys,
		.sign_secret = malloc(SIGN_SECRET_BYTES) };
	strcpy(n->region, name);
	n->peers = fleet_peers(p->dir, "ca", name);
	n->policy = policy_new(&e);
	CHECK(n->policy && n->sign_secret);
	CHECK_OK(sign_generate(n->sign_secret, n->sign_public, &e), &e);
	side_policy(s);
	shaky_open(s, p->directory);
	side_start(s);
	fleet_serve(&s->server, n->peers, side_call, s);
}

static inline void
side_close(struct side *s)
{
	fleet_unserve(&s->server);
	side_stop(s);
	policy_free(s->node.policy);
	peers_close(s->node.peers);
	directory_close(s->node.directory);
	free(s->node.sign_secret);
	store_close(&s->store);
}

/* --- the pair --- */

/* After a start: both know where the other is. */
static inline void
pair_introduce(struct pair *p)
{
	struct peer_region known[2] = { 0 };
	struct err e = { 0 };

	for (int i = 0; i < 2; i++) {
		struct side *s = &p->sides[i];

		strcpy(known[i].name, s->node.region);
		strcpy(known[i].jurisdiction, "CN");
		strcpy(known[i].peer_at, s->server.at);
		snprintf(known[i].stream_at, sizeof(known[i].stream_at), "127.0.0.1:%u",
		    mover_stream_port(s->node.mover));
		memcpy(known[i].sign_public, s->node.sign_public, SIGN_PUBLIC_BYTES);
	}
	for (int i = 0; i < 2; i++)
		CHECK_OK(peers_set_regions(p->sides[i].node.peers, known, 2, &e), &e);
}

static inline struct pair *
pair_open_with(const struct host_ops *clock)
{
	struct pair *p = calloc(1, sizeof(*p));
	struct err e = { 0 };

	fast_begin();
	host_replace(clock);
	p->dir = check_dir_make();
	p->directory = directory_sqlite(check_path(p->dir, "directory.db"), &e);
	CHECK(p->directory);
	side_open(p, &p->sides[FROM], fleet_names[0]);
	side_open(p, &p->sides[TO], fleet_names[1]);
	pair_introduce(p);
	return p;
}

static inline struct pair *
pair_open(void)
{
	return pair_open_with(&fast_clock);
}

static inline void
pair_close(struct pair *p)
{
	side_close(&p->sides[FROM]);
	side_close(&p->sides[TO]);
	directory_close(p->directory);
	check_dir_remove(p->dir);
	free(p);
	host_replace(NULL);
	fast_end();
}

/* The pair is a test's *STATE. */
static inline int
pair_setup(void **state)
{
	*state = pair_open();
	return 0;
}

static inline int
pair_teardown(void **state)
{
	pair_close(*state);
	return 0;
}

/* One side's process ends and another begins; with IS_CUT nothing is left that was not durable. */
static inline void
pair_reboot(struct pair *p, unsigned which, bool is_cut)
{
	struct side *s = &p->sides[which];

	fleet_unserve(&s->server);
	if (is_cut)
		engine_fault_set(s->store.engine, FAULT_FAIL, 1, false, true, 0);
	side_stop(s);
	store_reopen(&s->store, is_cut);
	side_start(s);
	fleet_serve(&s->server, s->node.peers, side_call, s);
	pair_introduce(p);
}

/* --- what is under way --- */

static inline bool
side_is_quiet(struct side *s)
{
	struct mover *m = s->node.mover;
	bool quiet;

	pthread_mutex_lock(&m->lock);
	pthread_cond_broadcast(&m->changed); /* do not sleep until the next look */
	quiet = !m->n_to_settle && !m->n_to_erase && !m->moving &&
	    !atomic_load(&m->must_rescan_moves) && !atomic_load(&m->must_rescan_erasures);
	pthread_mutex_unlock(&m->lock);
	return quiet;
}

static inline bool
pair_is_quiet(struct pair *p)
{
	bool from = side_is_quiet(&p->sides[FROM]), to = side_is_quiet(&p->sides[TO]);

	return from && to;
}

/* Nothing is left to settle or to erase, within 20 seconds. */
static inline bool
pair_settles(struct pair *p)
{
	for (int i = 0; i < 20000; i++) {
		if (pair_is_quiet(p))
			return true;
		usleep(1000);
	}
	return false;
}

/* A wave of N accounts, each on a stream of its own. */
static inline void
pair_plan(struct pair *p, const struct account_id *ids, size_t n, struct wave *out)
{
	const char *from = p->sides[FROM].node.region;
	struct selection s = { .home = from, .accounts = ids, .n_accounts = n };
	struct wave w = { .concurrency = (unsigned)n, .quiet_from_min = -1, .quiet_to_min = -1 };
	struct err e = { 0 };
	uint64_t count;

	strcpy(w.from, from);
	strcpy(w.to, p->sides[TO].node.region);
	CHECK_OK(directory_wave_plan(p->directory, &w, &s, false, &count, &e), &e);
	CHECK(count == n);
	*out = w;
}

static inline void
pair_run(struct pair *p, const struct wave *w)
{
	struct err e = { 0 };

	CHECK_OK(directory_wave_set(p->directory, w->id, WAVE_RUNNING, &e), &e);
	mover_nudge(p->sides[FROM].node.mover);
}

/* A wave of one account, which the source begins. */
static inline void
pair_wave(struct pair *p, const struct account_id *id, struct wave *out)
{
	pair_plan(p, id, 1, out);
	pair_run(p, out);
}

/* The wave is done, and its account erased at the old home, within 20 seconds. */
static inline bool
pair_wave_ends(struct pair *p, const struct wave *w)
{
	struct wave_sums sums;
	struct wave now;
	struct err e = { 0 };

	for (int i = 0; i < 20000; i++) {
		if (directory_wave_get(p->directory, w->id, &now, &sums, &e) == 0 &&
		    now.state == WAVE_DONE)
			return sums.items[ITEM_ERASED] == 1;
		mover_nudge(p->sides[FROM].node.mover);
		side_is_quiet(&p->sides[FROM]);
		side_is_quiet(&p->sides[TO]);
		usleep(1000);
	}
	return false;
}

static inline bool
pair_go_on(void *arg, uint64_t bytes)
{
	(void)arg, (void)bytes;
	return true;
}

static inline struct stream *
pair_stream(struct pair *p, struct err *e)
{
	return stream_connect(p->sides[FROM].node.peers, p->sides[TO].node.region, 60000, e);
}

/* Move one account over S; whether it got there at once. It is cancelled when GO_ON says so. */
static inline bool
pair_move_over(struct pair *p, struct stream *s, const struct account_id *id,
    bool (*go_on)(void *arg, uint64_t bytes), struct err *e)
{
	struct unit_account a = { .opening.account = *id };
	struct unit u = { .mover = p->sides[FROM].node.mover,
		.stream = s,
		.accounts = &a,
		.n = 1,
		.limits = { .is_single = true, .go_on = go_on } };
	bool moved;

	strcpy(u.to, p->sides[TO].node.region);
	if (unit_run(&u, e) == 0 && a.verdict.kind != ERR_NONE)
		err_set(e, a.verdict.kind, "%s", a.verdict.text);
	moved = a.state == MOVE_MOVED;
	unit_release(&u);
	return moved;
}

/* Over a stream of its own, so that the other side is through with it when it has ended. */
static inline bool
pair_move_while(struct pair *p, const struct account_id *id,
    bool (*go_on)(void *arg, uint64_t bytes), struct err *e)
{
	_cleanup_(stream_closep) struct stream *s = pair_stream(p, e);

	return s && pair_move_over(p, s, id, go_on, e);
}

static inline bool
pair_move(struct pair *p, const struct account_id *id, struct err *e)
{
	return pair_move_while(p, id, pair_go_on, e);
}
