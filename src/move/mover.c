/* Starts and stops the parts of the mover, and recovers what was under way. */
#include <stdio.h>
#include <string.h>

#include "base/host.h"
#include "base/log.h"
#include "move/internal.h"

#define WAVES_EVERY_MS 500
#define GROUP_FIRST    64
#define STREAMS_MAX    64

#define REACHED(state) \
	COUNTER("domicile_moves_total", "state=\"" state "\"", \
	    "Accounts that reached a state of a move.")
struct counter moves_copying = REACHED("copying"), moves_fenced = REACHED("fenced"),
               moves_moved = REACHED("moved"), moves_given_up = REACHED("given-up"),
               moves_arriving = REACHED("arriving"), moves_settled = REACHED("settled"),
               moves_erased = REACHED("erased");
struct counter moves_bytes = COUNTER(
    "domicile_move_bytes_total", NULL, "Plain bytes sent by moves.");
struct histogram move_pause = HISTOGRAM(
    "domicile_move_pause_seconds", NULL, "From fence to release at the source.");

/* --- recovery --- */

struct recovery {
	struct mover *mover;
	struct erase_record *given_up; /* arrivals */
	struct home *homes;
	size_t n, cap;
	struct region_batch *stale;
	struct buf damaged; /* of struct account_id: whose record of a move can't be read */
};

static int
keep_arrival(struct recovery *r, const struct move_record *m, struct err *e)
{
	int found;

	if (r->n == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 64;
		struct erase_record *a = realloc(r->given_up, cap * sizeof *a);
		struct home *h;

		if (a)
			r->given_up = a;
		h = realloc(r->homes, cap * sizeof *h);
		if (h)
			r->homes = h;
		if (!a || !h)
			return err_set(e, ERR_MEMORY, "no memory to recover moves");
		r->cap = cap;
	}
	found = homes_get(r->mover->node->homes, &m->account, &r->homes[r->n], e);
	if (found < 0)
		return -1;
	if (found == 0)
		return 0;
	r->homes[r->n].state = HOME_NONE;
	erasure_of_arrival(m, r->homes[r->n].services, &r->given_up[r->n]);
	r->n++;
	return 0;
}

/* A record that is damaged says no more about its move than that there was one. It stays, for the scrub to
 * tell of; what its account needs follows from the home's record (recover_home). */
static void
note_damaged(struct recovery *r, struct span key, const char *what, const struct err *why)
{
	struct account_id id = { 0 };
	char account[ACCOUNT_TEXT_SIZE];

	if (key.len == sizeof(id))
		memcpy(&id, key.data, sizeof(id));
	account_text(&id, account);
	log_error(
	    "move.damaged", NULL, "account=%s record=%s error=\"%s\"", account, what, why->text);
	if (r)
		buf_add(&r->damaged, &id, sizeof(id));
}

static bool
is_damaged(const struct recovery *r, const struct account_id *id)
{
	for (size_t at = 0; at < r->damaged.len; at += sizeof(*id))
		if (memcmp(r->damaged.data + at, id, sizeof(*id)) == 0)
			return true;
	return false;
}

/* Without memory no start: what a home's record alone says of a move is less than what the move's does. */
static int
must_settle(struct mover *m, const struct move_record *r, struct err *e)
{
	return resolver_add(m, r) ? 0 : err_set(e, ERR_MEMORY, "no memory to recover moves");
}

/* model: s_crash, s_crash_and_reset, t_crash */
static int
recover_move(void *arg, struct span key, struct span value, struct err *e)
{
	struct recovery *r = arg;
	struct move_record m;
	struct err why = { 0 };

	if (move_record_read(value, &m, &why) < 0) {
		note_damaged(r, key, "move", &why);
		return 0;
	}
	switch (m.state) {
	case MOVE_COPYING:
		region_delete(r->stale, REGION_MOVE, key.data, key.len);
		return 0;
	case MOVE_ARRIVING:
		return keep_arrival(r, &m, e);
	case MOVE_SETTLED:
		/* The old home's lease, counted anew. */
		if (homes_delay_writes(
		        r->mover->node->homes, &m.account, move_lease_ms(r->mover, &m), e) < 0)
			return -1;
		return must_settle(r->mover, &m, e);
	case MOVE_FENCED:
	case MOVE_PREPARED:
		return must_settle(r->mover, &m, e);
	default:
		err_set(&why, ERR_FORGED, "its state is %s", move_state_name(m.state));
		note_damaged(r, key, "move", &why);
		return 0;
	}
}

/* An account between two homes always asks the directory, whatever became of its move's record.
 * model: s_crash, s_crash_and_reset, t_crash */
static int
recover_home(void *arg, const struct home *h, struct err *e)
{
	struct recovery *all = arg;
	struct mover *m = all->mover;
	struct move_record r = { .account = h->account, .attempt = h->attempt };

	r.epoch = h->state == HOME_FENCED ? h->epoch : h->epoch - 1;
	memcpy(r.peer, h->peer, sizeof r.peer);
	switch (h->state) {
	case HOME_FENCED:
	case HOME_PREPARED:
		r.state = h->state == HOME_FENCED ? MOVE_FENCED : MOVE_PREPARED;
		return must_settle(m, &r, e); /* one that is there already stays */
	case HOME_ARRIVING:
		r.state = MOVE_ARRIVING;
		return is_damaged(all, &h->account) ? keep_arrival(all, &r, e) : 0;
	case HOME_HERE:
		/* It may have come just before, and the old home be reading still. */
		return is_damaged(all, &h->account)
		    ? homes_delay_writes(m->node->homes, &h->account, move_lease_ms(m, &r), e)
		    : 0;
	default:
		return 0;
	}
}

/* model: s_crash, s_crash_and_reset, t_crash */
static int
recover_erasure(void *arg, struct span key, struct span value, struct err *e)
{
	struct erase_record x;
	struct err why = { 0 };

	(void)e;
	/* What it was about, the scrub finds once more: what is nobody's (service/scrub.h). */
	if (erase_record_read(value, &x, &why) < 0)
		note_damaged(NULL, key, "erasure", &why);
	else
		eraser_add(arg, &x);
	return 0;
}

static int
recover(struct mover *m, struct err *e)
{
	struct recovery r = { .mover = m, .stale = region_batch(e), .damaged = BUF_INIT(0) };
	struct node *n = m->node;
	int result = -1;

	if (r.stale && region_scan(n->engine, REGION_ERASE, recover_erasure, m, e) == 0 &&
	    region_scan(n->engine, REGION_MOVE, recover_move, &r, e) == 0 &&
	    region_apply(n->engine, n->flusher, r.stale, e) == 0)
		result = 0;
	if (result == 0)
		result = buf_check(&r.damaged, e);
	if (result == 0)
		result = homes_scan_after(n->homes, NULL, recover_home, &r, e);
	for (size_t i = 0; i < r.n && result == 0; i += UNIT_MAX) {
		size_t some = r.n - i < UNIT_MAX ? r.n - i : UNIT_MAX;

		result = target_record_given_up(m, r.given_up + i, r.homes + i, some, e);
	}
	if (result == 0 && (r.n || m->n_to_settle || m->n_to_erase))
		log_info("move.recovered", NULL, "given_up=%zu settling=%u erasing=%u", r.n,
		    m->n_to_settle, m->n_to_erase);
	region_batch_free(r.stale);
	buf_free(&r.damaged);
	free(r.given_up);
	free(r.homes);
	return result;
}

/* --- waves --- */

static int
start_wave(void *arg, const struct wave *w, struct err *e)
{
	struct mover *m = arg;

	if (w->state != WAVE_RUNNING && w->state != WAVE_PAUSED)
		return 0;
	return jobs_start(m, w, e);
}

struct wave_list {
	struct wave *waves;
	size_t n, cap;
};

static int
keep_cancelled(void *arg, const struct wave *w, struct err *e)
{
	struct wave_list *l = arg;

	if (w->state != WAVE_CANCELLED)
		return 0;
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		struct wave *p = realloc(l->waves, cap * sizeof *p);

		if (!p)
			return err_set(e, ERR_MEMORY, "no memory for a list of waves");
		l->waves = p;
		l->cap = cap;
	}
	l->waves[l->n++] = *w;
	return 0;
}

/* A wave that was cancelled while this node was away may have items whose fate only we know. */
static int
start_cancelled(struct mover *m, struct err *e)
{
	struct wave_list l = { 0 };
	int r = directory_wave_list(m->node->directory, m->node->region, keep_cancelled, &l, e);

	for (size_t i = 0; i < l.n && r == 0; i++) {
		struct wave_sums sums;
		struct wave w;

		r = directory_wave_get(m->node->directory, l.waves[i].id, &w, &sums, e);
		if (r == 0 &&
		    sums.items[ITEM_WAITING] + sums.items[ITEM_PUT_OFF] + sums.items[ITEM_MOVING] +
		            sums.items[ITEM_MOVED] >
		        0)
			r = jobs_start(m, &w, e);
	}
	free(l.waves);
	return r;
}

static void *
waves_run(void *arg)
{
	struct mover *m = arg;
	bool was_well = true, has_cancelled = false;

	while (!atomic_load(&m->is_stopping)) {
		struct err e = { 0 };
		unsigned nudges = atomic_load(&m->nudges);
		bool is_well = directory_wave_list(
		                   m->node->directory, m->node->region, start_wave, m, &e) == 0;

		if (is_well && !has_cancelled)
			is_well = has_cancelled = start_cancelled(m, &e) == 0;
		if (was_well && !is_well)
			log_warn("wave.list", NULL, "error=\"%s\"", e.text);
		was_well = is_well;
		for (unsigned ms = 0; ms < WAVES_EVERY_MS && !atomic_load(&m->is_stopping) &&
		     nudges == atomic_load(&m->nudges);
		     ms += 10)
			usleep(10000);
	}
	return NULL;
}

void
mover_nudge(struct mover *m)
{
	atomic_fetch_add(&m->nudges, 1);
}

/* --- start and stop --- */

static void
set_defaults(struct mover_config *c)
{
	if (!c->concurrency)
		c->concurrency = 3;
	if (!c->pause_budget_ms)
		c->pause_budget_ms = 20;
	if (!c->answer_wait_ms)
		c->answer_wait_ms = 5000;
	if (!c->compact_every_ms)
		c->compact_every_ms = 30000;
	if (!c->memory)
		c->memory = (uint64_t)512 << 20;
}

static int
start_threads(struct mover *m, struct err *e)
{
	if (pthread_create(&m->resolver_thread, NULL, resolver_run, m) != 0)
		return err_set(e, ERR_MEMORY, "no threads for the mover");
	if (pthread_create(&m->eraser_thread, NULL, eraser_run, m) != 0) {
		atomic_store(&m->is_stopping, true);
		pthread_join(m->resolver_thread, NULL);
		return err_set(e, ERR_MEMORY, "no threads for the mover");
	}
	if (pthread_create(&m->waves_thread, NULL, waves_run, m) != 0) {
		atomic_store(&m->is_stopping, true);
		pthread_join(m->resolver_thread, NULL);
		pthread_join(m->eraser_thread, NULL);
		return err_set(e, ERR_MEMORY, "no threads for the mover");
	}
	m->has_threads = true;
	return 0;
}

struct mover *
mover_start(const struct mover_config *c, struct err *e)
{
	struct mover *m = calloc(1, sizeof *m);

	if (!m) {
		err_set(e, ERR_MEMORY, "no memory for the mover");
		return NULL;
	}
	m->config = *c;
	m->node = c->node;
	atomic_store(&m->group, GROUP_FIRST);
	set_defaults(&m->config);
	pthread_mutex_init(&m->lock, NULL);
	host_cond_init(&m->changed);
	if (recover(m, e) < 0) {
		err_add(e, "recovering moves");
		goto fail;
	}
	if (start_threads(m, e) < 0)
		goto fail;
	m->listener = stream_listen(m->node->peers, c->stream_at, STREAMS_MAX, target_serve, m, e);
	if (m->listener)
		return m;
fail:
	mover_stop(m);
	return NULL;
}

void
mover_stop(struct mover *m)
{
	if (!m)
		return;
	atomic_store(&m->is_stopping, true);
	pthread_mutex_lock(&m->lock);
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
	stream_unlisten(m->listener);
	if (m->has_threads)
		pthread_join(m->waves_thread, NULL);
	jobs_stop(m);
	if (m->has_threads) {
		pthread_join(m->resolver_thread, NULL);
		pthread_join(m->eraser_thread, NULL);
	}
	/* Not before: an arrival that ends with its stream adds to either. */
	resolver_free(m);
	eraser_free(m);
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

unsigned
mover_stream_port(const struct mover *m)
{
	return stream_port(m->listener);
}
