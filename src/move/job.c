/* One wave being worked off by its source region: items in, units out, outcomes back (DESIGN.md 8).
 *
 * A job has one thread that talks to the directory and some workers, each with its own stream. The
 * coldest accounts go in big units; those that were written to lately go singly, last.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/host.h"
#include "base/log.h"
#include "move/job_internal.h"

#define UPDATES_AT_ONCE 256 /* the directory does nothing else meanwhile */
#define QUEUE_LOW       512
#define BUSY_MS         5000 /* written to within: moves singly */
#define TICK_MS         250
#define ROUND_MS        2000 /* what was put off N times is tried again once in 2^N rounds */
#define ROUNDS_SHIFT    5    /* N at most, so about once a minute */
#define TRIES_MAX       20   /* which takes a quarter of an hour */

void
job_trouble(struct job *j, const struct err *e)
{
	pthread_mutex_lock(&j->lock);
	if (strcmp(j->last_error, e->text) != 0) {
		snprintf(j->last_error, sizeof j->last_error, "%s", e->text);
		log_warn("wave.trouble", j->wave.id, "error=\"%s\"", e->text);
	}
	pthread_mutex_unlock(&j->lock);
}

void
job_is_well(struct job *j)
{
	pthread_mutex_lock(&j->lock);
	j->last_error[0] = 0;
	pthread_mutex_unlock(&j->lock);
}

/* --- updates --- */

void
job_note(struct job *j, const struct wave_item *item)
{
	for (size_t i = 0; i < j->n_updates; i++) {
		struct wave_item *u = &j->updates[i];

		if (!account_equal(&u->account, &item->account))
			continue;
		/* Only the newest state goes out, with the figures it had before. */
		u->state = item->state;
		if (item->tries)
			u->tries = item->tries;
		memcpy(u->reason, item->reason, sizeof u->reason);
		if (item->bytes || item->pause_us) {
			u->bytes = item->bytes;
			u->pause_us = item->pause_us;
			u->held = item->held;
		}
		return;
	}
	if (j->n_updates == j->cap_updates) {
		size_t cap = j->cap_updates ? j->cap_updates * 2 : 256;
		struct wave_item *p = realloc(j->updates, cap * sizeof *p);

		if (!p) {
			log_error(
			    "wave.update", j->wave.id, "error=\"no memory; recovered later\"");
			atomic_store(&j->must_recover, true);
			return;
		}
		j->updates = p;
		j->cap_updates = cap;
	}
	j->updates[j->n_updates++] = *item;
}

void
job_update(struct job *j, const struct wave_item *item)
{
	pthread_mutex_lock(&j->lock);
	job_note(j, item);
	pthread_mutex_unlock(&j->lock);
}

void
job_item(struct mover *m, const char *wave, const struct wave_item *item)
{
	struct job *j;
	struct err e;

	pthread_mutex_lock(&m->lock);
	for (j = m->jobs; j && strcmp(j->wave.id, wave) != 0; j = j->next)
		;
	if (j)
		job_update(j, item);
	pthread_mutex_unlock(&m->lock);
	if (!j && *wave && directory_wave_update(m->node->directory, wave, item, 1, &e) < 0)
		log_warn("wave.update", wave, "error=\"%s\"", e.text);
}

/* Give the directory what has piled up; whether it has all of it. What can't be delivered stays. */
static bool
send_updates(struct job *j)
{
	struct wave_item *batch = NULL;
	struct err e;
	size_t n;

	for (;;) {
		pthread_mutex_lock(&j->lock);
		n = j->n_updates < UPDATES_AT_ONCE ? j->n_updates : UPDATES_AT_ONCE;
		batch = n ? malloc(n * sizeof *batch) : NULL;
		if (batch) {
			memcpy(batch, j->updates, n * sizeof *batch);
			memmove(j->updates, j->updates + n, (j->n_updates - n) * sizeof *batch);
			j->n_updates -= n;
		}
		pthread_mutex_unlock(&j->lock);
		if (!batch)
			return n == 0;
		if (directory_wave_update(j->mover->node->directory, j->wave.id, batch, n, &e) <
		    0) {
			log_warn("wave.update", j->wave.id, "error=\"%s\"", e.text);
			/* Newer states of the same accounts win over what is put back. */
			for (size_t i = 0; i < n; i++) {
				bool has_newer = false;

				pthread_mutex_lock(&j->lock);
				for (size_t k = 0; k < j->n_updates && !has_newer; k++)
					has_newer = account_equal(
					    &j->updates[k].account, &batch[i].account);
				pthread_mutex_unlock(&j->lock);
				if (!has_newer)
					job_update(j, &batch[i]);
			}
			free(batch);
			return false;
		}
		free(batch);
	}
}

/* --- the queue --- */

void
queue_add(struct queue *q, const struct queued *x)
{
	if (q->n == q->cap) {
		size_t cap = q->cap ? q->cap * 2 : 1024;
		struct queued *p = realloc(q->items, cap * sizeof *p);

		if (!p)
			return; /* stays waiting in the directory; read again later */
		q->items = p;
		q->cap = cap;
	}
	q->items[q->n++] = *x;
}

static bool
is_busy(struct job *j, const struct account_id *id)
{
	for (enum service s = SERVICE_PROFILE; s < SERVICES; s++) {
		struct vault_id v = { *id, (uint8_t)s };

		if (pool_idle_ms(j->mover->node->pool, &v) < BUSY_MS)
			return true;
	}
	return false;
}

static size_t
queue_length(struct job *j)
{
	size_t n;

	pthread_mutex_lock(&j->lock);
	n = j->cold.n + j->hot.n;
	pthread_mutex_unlock(&j->lock);
	return n;
}

static void
enqueue_item(struct job *j, const struct wave_item *item)
{
	struct queued x = { item->account, item->tries };
	bool busy = is_busy(j, &item->account);

	pthread_mutex_lock(&j->lock);
	queue_add(busy ? &j->hot : &j->cold, &x);
	pthread_mutex_unlock(&j->lock);
}

/* An item whose account has left. The eraser reports it when its list has let the account go: so it is
 * told, and then looked at. */
void
job_report_left(struct job *j, struct wave_item *item)
{
	struct err e;
	int r;

	item->state = ITEM_MOVED;
	job_update(j, item);
	r = eraser_has(j->mover, &item->account, &e);
	if (r < 0) {
		job_trouble(j, &e);
		atomic_store(&j->must_recover, true);
	} else if (r == 0) {
		item->state = ITEM_ERASED;
		job_update(j, item);
	}
}

/* An item that was under way when this process last ended, or that there was no memory to tell of: what has
 * become of it? */
static void
recover_item(struct job *j, struct wave_item *item)
{
	struct home h;
	struct err e;
	int r = homes_get(j->mover->node->homes, &item->account, &h, &e);

	if (r < 0 && e.kind == ERR_MEMORY) {
		atomic_store(&j->must_recover, true);
	} else if (r == 1 && h.state == HOME_MOVED) {
		job_report_left(j, item);
	} else if (r != 1 || h.state != HOME_FENCED) { /* of a fenced one the resolver says */
		/* And is read again as such. One that is not here any more is a unit's to find out, with why. */
		item->state = ITEM_WAITING;
		job_update(j, item);
	}
}

/* Read the next page of items in MASK; false at their end. */
static bool
read_items(struct job *j, unsigned mask, void (*fn)(struct job *, struct wave_item *))
{
	struct wave_item *items = calloc(QUEUE_LOW, sizeof *items);
	size_t n = QUEUE_LOW;
	struct err e;
	bool more = true;

	if (!items)
		err_set(&e, ERR_MEMORY, "no memory for items");
	if (items &&
	    directory_wave_items(j->mover->node->directory, j->wave.id, mask,
	        j->has_after ? &j->after : NULL, items, &n, &e) == 0) {
		for (size_t i = 0; i < n; i++)
			fn(j, &items[i]);
		if (n) {
			j->after = items[n - 1].account;
			j->has_after = true;
		}
		more = n == QUEUE_LOW;
	} else {
		job_trouble(j, &e);
		usleep(TICK_MS * 1000);
	}
	free(items);
	return more;
}

/* While nothing is under way, so that what is not told of has come to an end. */
static void
recover_items(struct job *j)
{
	if (!atomic_load(&j->must_recover) || queue_length(j) > 0 || atomic_load(&j->active) > 0)
		return;
	atomic_store(&j->must_recover, false);
	j->has_after = false;
	while (read_items(j, BIT(ITEM_MOVING) | BIT(ITEM_MOVED), recover_item) &&
	    !atomic_load(&j->mover->is_stopping))
		;
	j->has_after = false;
}

static void
take_waiting(struct job *j, struct wave_item *item)
{
	enqueue_item(j, item);
}

/* So that the wait between two tries grows, and need not be remembered. */
static bool
is_due(const struct job *j, uint32_t tries)
{
	unsigned shift = tries < ROUNDS_SHIFT ? tries : ROUNDS_SHIFT;

	return j->round_from >> shift != j->round_to >> shift;
}

static void
take_put_off(struct job *j, struct wave_item *item)
{
	if (item->tries >= TRIES_MAX) {
		item->state = ITEM_FAILED;
		job_update(j, item);
	} else if (is_due(j, item->tries)) {
		enqueue_item(j, item);
	}
}

static void
read_waiting(struct job *j)
{
	if (!read_items(j, BIT(ITEM_WAITING), take_waiting)) {
		j->waiting_read = true;
		j->has_after = false;
	}
}

static void
read_put_off(struct job *j)
{
	if (!j->has_after)
		j->round_to = (host_mono_ns() - j->began_ns) / 1000000 / ROUND_MS;
	if (j->round_to != j->round_from && !read_items(j, BIT(ITEM_PUT_OFF), take_put_off)) {
		j->has_after = false;
		j->round_from = j->round_to;
	}
}

static void
refill(struct job *j, const struct wave_sums *sums)
{
	if (queue_length(j) >= QUEUE_LOW || atomic_load(&j->is_held))
		return;
	/* Those under way the directory must know of as such, or they would be read once more. */
	if (j->waiting_read && (queue_length(j) > 0 || !send_updates(j)))
		return;
	if (j->waiting_read && sums->items[ITEM_WAITING]) {
		/* After a pause, or a retry. */
		j->waiting_read = false;
		j->has_after = false;
	}
	if (j->waiting_read)
		read_put_off(j);
	else
		read_waiting(j);
}

/* --- the job's thread --- */

static bool
is_quiet_hour(const struct wave *w)
{
	time_t now = (time_t)(host_wall_ms() / 1000);
	struct tm tm;
	int minute;

	if (w->quiet_from_min < 0 || w->quiet_to_min < 0 || !gmtime_r(&now, &tm))
		return false;
	minute = tm.tm_hour * 60 + tm.tm_min;
	if (w->quiet_from_min <= w->quiet_to_min)
		return minute >= w->quiet_from_min && minute < w->quiet_to_min;
	return minute >= w->quiet_from_min || minute < w->quiet_to_min;
}

/* A region that was struck from the regions file gets nothing more, over open streams neither. */
static bool
is_struck(struct job *j)
{
	struct peer_region to;
	struct err e;

	if (peers_find(j->mover->node->peers, j->wave.to, &to))
		return false;
	err_set(&e, ERR_DENIED, "%s is not among the regions", j->wave.to);
	job_trouble(j, &e);
	return true;
}

static void
follow_wave(struct job *j, struct wave_sums *sums)
{
	bool struck = is_struck(j);
	struct wave w;
	struct err e;

	if (struck)
		atomic_store(&j->is_held, true);
	if (directory_wave_get(j->mover->node->directory, j->wave.id, &w, sums, &e) < 0) {
		job_trouble(j, &e);
		return;
	}
	j->wave.state = w.state;
	atomic_store(&j->is_cancelled, w.state == WAVE_CANCELLED);
	atomic_store(&j->is_held, struck || w.state == WAVE_PAUSED || is_quiet_hour(&w));
}

/* Whether nothing is left to do; then the wave is marked so. */
static bool
is_finished(struct job *j, const struct wave_sums *sums)
{
	bool is_idle;
	struct err e;

	pthread_mutex_lock(&j->lock);
	is_idle = j->cold.n + j->hot.n + atomic_load(&j->active) + j->n_updates == 0;
	pthread_mutex_unlock(&j->lock);
	if (!is_idle || sums->items[ITEM_MOVING] || sums->items[ITEM_MOVED])
		return false;
	if (j->wave.state == WAVE_DONE)
		return true;
	if (sums->items[ITEM_WAITING] || sums->items[ITEM_PUT_OFF])
		return false;
	if (j->wave.state == WAVE_CANCELLED)
		return true;
	if (j->wave.state != WAVE_RUNNING)
		return false;
	if (directory_wave_set(j->mover->node->directory, j->wave.id, WAVE_DONE, &e) < 0) {
		job_trouble(j, &e);
		return false;
	}
	log_info("wave.done", j->wave.id, "erased=%" PRIu64 " failed=%" PRIu64,
	    sums->items[ITEM_ERASED], sums->items[ITEM_FAILED]);
	return true;
}

static void
drop_queue(struct job *j)
{
	pthread_mutex_lock(&j->lock);
	j->cold.n = j->hot.n = 0;
	pthread_mutex_unlock(&j->lock);
}

static void
take_cancelled(struct job *j, struct wave_item *item)
{
	item->state = ITEM_CANCELLED;
	job_update(j, item);
}

/* The directory cancels what waits; but what was on its way just then comes back to waiting later. */
static void
cancel_left(struct job *j, const struct wave_sums *sums)
{
	drop_queue(j);
	if (atomic_load(&j->active) == 0 &&
	    (sums->items[ITEM_WAITING] || sums->items[ITEM_PUT_OFF])) {
		j->has_after = false;
		read_items(j, BIT(ITEM_WAITING) | BIT(ITEM_PUT_OFF), take_cancelled);
		j->has_after = false;
	}
}

/* Until the next tick, a nudge, or a queue that runs low. */
static void
wait_tick(struct job *j, unsigned nudges)
{
	struct mover *m = j->mover;

	for (unsigned ms = 0; ms < TICK_MS; ms += 10) {
		if (atomic_load(&m->is_stopping) || nudges != atomic_load(&m->nudges))
			return;
		if (!j->waiting_read && queue_length(j) < QUEUE_LOW / 4)
			return;
		usleep(10000);
	}
}

static void *
job_run(void *arg)
{
	struct job *j = arg;
	struct mover *m = j->mover;

	for (;;) {
		struct wave_sums sums = { 0 };

		unsigned nudges = atomic_load(&m->nudges);

		if (atomic_load(&m->is_stopping))
			break;
		send_updates(j);
		recover_items(j);
		sums.items[ITEM_MOVING] = 1; /* unless the directory answers */
		follow_wave(j, &sums);
		if (atomic_load(&j->is_cancelled))
			cancel_left(j, &sums);
		else
			refill(j, &sums);
		if (is_finished(j, &sums))
			break;
		wait_tick(j, nudges);
	}
	atomic_store(&j->is_over, true);
	for (unsigned i = 0; i < j->n_workers; i++)
		pthread_join(j->workers[i], NULL);
	send_updates(j);
	return NULL;
}

static void
job_free(struct job *j)
{
	free(j->cold.items);
	free(j->hot.items);
	free(j->updates);
	pthread_mutex_destroy(&j->lock);
	free(j);
}

/* Join jobs that are over. With ALL, every one. */
static void
reap(struct mover *m, bool all)
{
	struct job **p, *over = NULL;

	pthread_mutex_lock(&m->lock);
	for (p = &m->jobs; *p;) {
		struct job *j = *p;

		if (!all && !atomic_load(&j->is_over)) {
			p = &j->next;
			continue;
		}
		*p = j->next;
		j->next = over;
		over = j;
	}
	pthread_mutex_unlock(&m->lock);
	while (over) {
		struct job *j = over;

		over = j->next;
		pthread_join(j->thread, NULL);
		job_free(j);
	}
}

int
jobs_start(struct mover *m, const struct wave *w, struct err *e)
{
	struct job *j;

	reap(m, false);
	pthread_mutex_lock(&m->lock);
	for (j = m->jobs; j && strcmp(j->wave.id, w->id) != 0; j = j->next)
		;
	pthread_mutex_unlock(&m->lock);
	if (j)
		return 0;
	j = calloc(1, sizeof *j);
	if (!j)
		return err_set(e, ERR_MEMORY, "no memory for a wave");
	j->mover = m;
	j->wave = *w;
	j->began_ns = j->bytes_due_ns = j->accounts_due_ns = host_mono_ns();
	j->round_from = UINT64_MAX; /* everything is due at first */
	atomic_store(&j->is_held, w->state == WAVE_PAUSED || is_quiet_hour(w));
	atomic_store(&j->must_recover, true);
	pthread_mutex_init(&j->lock, NULL);
	j->n_workers = w->concurrency ? w->concurrency : m->config.concurrency;
	if (j->n_workers > WORKERS_MAX)
		j->n_workers = WORKERS_MAX;
	for (unsigned i = 0; i < j->n_workers; i++)
		if (pthread_create(&j->workers[i], NULL, worker_run, j) != 0)
			j->n_workers = i;
	if (j->n_workers == 0 || pthread_create(&j->thread, NULL, job_run, j) != 0) {
		atomic_store(&j->is_over, true);
		for (unsigned i = 0; i < j->n_workers; i++)
			pthread_join(j->workers[i], NULL);
		job_free(j);
		return err_set(e, ERR_MEMORY, "no threads for a wave");
	}
	log_info("wave.run", w->id, "from=%s to=%s streams=%u", w->from, w->to, j->n_workers);
	pthread_mutex_lock(&m->lock);
	j->next = m->jobs;
	m->jobs = j;
	pthread_mutex_unlock(&m->lock);
	return 0;
}

void
jobs_stop(struct mover *m)
{
	pthread_mutex_lock(&m->lock);
	for (struct job *j = m->jobs; j; j = j->next) {
		pthread_mutex_lock(&j->lock);
		for (unsigned i = 0; i < WORKERS_MAX; i++)
			if (j->streams[i])
				stream_abort(j->streams[i]);
		pthread_mutex_unlock(&j->lock);
	}
	pthread_mutex_unlock(&m->lock);
	reap(m, true);
}

json_t *
mover_status(struct mover *m)
{
	json_t *list = json_array(), *out;
	unsigned erasing, resolving;

	pthread_mutex_lock(&m->lock);
	erasing = m->n_to_erase;
	resolving = m->n_to_settle;
	for (struct job *j = m->jobs; j; j = j->next) {
		double s = (double)(host_mono_ns() - j->began_ns) / 1e9;

		pthread_mutex_lock(&j->lock);
		json_array_append_new(list,
		    json_pack("{s:s, s:I, s:I, s:f, s:f, s:s}", "wave", j->wave.id, "queued",
		        (json_int_t)(j->cold.n + j->hot.n), "sending",
		        (json_int_t)atomic_load(&j->active), "bytes_per_s",
		        s > 0 ? (double)j->sent_bytes / s : 0.0, "accounts_per_s",
		        s > 0 ? (double)j->sent_accounts / s : 0.0, "trouble", j->last_error));
		pthread_mutex_unlock(&j->lock);
	}
	pthread_mutex_unlock(&m->lock);
	out = json_pack("{s:o, s:i, s:i, s:I}", "waves", list, "erasing", (int)erasing, "resolving",
	    (int)resolving, "waiting", (json_int_t)homes_waiting(m->node->homes));
	return out;
}
