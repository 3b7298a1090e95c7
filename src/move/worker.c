/* One worker of a wave's job: takes accounts from its queue within the wave's rates, and moves them in
 * units over a stream of its own (DESIGN.md 8).
 */
#include <string.h>
#include <unistd.h>

#include "base/host.h"
#include "move/job_internal.h"

#define CONNECT_MS 5000
#define AGAIN_US   500000 /* after what kept us from beginning at all */
#define IDLE_MS    60000 /* a stream that nothing goes over is closed, before the other side does */
#define BURST_NS   1000000000 /* of a rate not used, at most so much is made up for */

/* --- the rate limit --- */

/* *DUE later by what N take at PER_S a second. Time that passed unused, as in a pause, is lost. */
static void
spend(uint64_t *due_ns, uint64_t n, uint64_t per_s)
{
	uint64_t now = host_mono_ns();

	if (*due_ns + BURST_NS < now)
		*due_ns = now - BURST_NS;
	*due_ns += (uint64_t)((double)n * 1e9 / (double)per_s);
}

static uint64_t
spend_bytes(struct job *j, uint64_t bytes)
{
	uint64_t due_ns;

	pthread_mutex_lock(&j->lock);
	j->sent_bytes += bytes;
	if (j->wave.bytes_per_s)
		spend(&j->bytes_due_ns, bytes, j->wave.bytes_per_s);
	due_ns = j->bytes_due_ns;
	pthread_mutex_unlock(&j->lock);
	return due_ns;
}

static bool
may_go_on(const struct job *j)
{
	return !atomic_load(&j->is_cancelled) && !atomic_load(&j->is_held) &&
	    !atomic_load(&j->mover->is_stopping);
}

static bool
go_on(void *arg, uint64_t bytes)
{
	struct job *j = arg;
	uint64_t due_ns = spend_bytes(j, bytes);

	while (j->wave.bytes_per_s && may_go_on(j)) {
		uint64_t now = host_mono_ns();

		if (due_ns <= now + 20000000)
			break;
		usleep(due_ns - now > 100000000 ? 100000 : (useconds_t)((due_ns - now) / 1000));
	}
	return may_go_on(j);
}

/* With the job locked. */
static bool
may_take_account(const struct job *j)
{
	return !atomic_load(&j->is_held) && !atomic_load(&j->is_cancelled) &&
	    (!j->wave.accounts_per_s || j->accounts_due_ns <= host_mono_ns());
}

static void
take_account(struct job *j)
{
	j->sent_accounts++;
	if (j->wave.accounts_per_s)
		spend(&j->accounts_due_ns, 1, j->wave.accounts_per_s);
}

/* --- units --- */

static bool
has_work(struct job *j)
{
	bool has;

	pthread_mutex_lock(&j->lock);
	has = j->cold.n + j->hot.n > 0 && may_take_account(j);
	pthread_mutex_unlock(&j->lock);
	return has;
}

/* With the job locked. */
static void
note_state(struct job *j, const struct queued *x, enum item_state state)
{
	const struct wave_item item = { .account = x->account, .state = state, .tries = x->tries };

	job_note(j, &item);
}

/* The next unit's accounts: up to UNIT_MAX cold ones or a single busy one. At no time is one neither in
 * the queue nor told to be moving, so that the job does not read it again. */
static size_t
take_unit(struct job *j, struct queued out[static UNIT_MAX], bool *is_single)
{
	struct queue *q;
	size_t n = 0, fair;

	pthread_mutex_lock(&j->lock);
	*is_single = j->cold.n == 0;
	q = *is_single ? &j->hot : &j->cold;
	/* Towards the end the rest is shared out between the workers. */
	fair = *is_single ? 1 : q->n / j->n_workers + 1;
	while (q->n && n < UNIT_MAX && n < fair && may_take_account(j)) {
		out[n] = q->items[--q->n];
		note_state(j, &out[n++], ITEM_MOVING);
		take_account(j);
	}
	if (n)
		atomic_fetch_add(&j->active, 1);
	pthread_mutex_unlock(&j->lock);
	return n;
}

/* Accounts that did not get their turn. */
static void
give_back(struct job *j, const struct queued *x, size_t n)
{
	pthread_mutex_lock(&j->lock);
	for (size_t i = 0; i < n; i++) {
		note_state(j, &x[i], ITEM_WAITING);
		queue_add(&j->cold, &x[i]);
	}
	j->sent_accounts -= n;
	if (j->wave.accounts_per_s)
		j->accounts_due_ns -= n * 1000000000 / j->wave.accounts_per_s;
	pthread_mutex_unlock(&j->lock);
}

static uint32_t
tries_of(const struct queued *x, size_t n, const struct account_id *id)
{
	for (size_t i = 0; i < n; i++)
		if (account_equal(&x[i].account, id))
			return x[i].tries;
	return 0;
}

static void
report_unit(struct job *j, struct unit *u, const struct queued *x)
{
	for (size_t i = 0; i < u->n; i++) {
		struct unit_account *a = &u->accounts[i];
		/* A pause is no try. What the other side calls its refusal does not matter. */
		bool is_held_back = a->verdict.kind == ERR_CANCELLED && !may_go_on(j);
		struct wave_item item = { .account = a->opening.account,
			.bytes = a->bytes,
			.pause_us = a->pause_us,
			.held = a->held };

		item.tries = tries_of(x, u->n, &item.account) + !is_held_back;
		if (a->has_left || a->state == MOVE_MOVED) {
			job_report_left(j, &item);
			continue;
		}
		if (a->state == MOVE_FENCED)
			item.state = ITEM_MOVING; /* the resolver reports */
		else if (is_held_back)
			item.state = atomic_load(&j->is_cancelled) ? ITEM_CANCELLED : ITEM_WAITING;
		else if (a->is_removed)
			item.state = ITEM_CANCELLED;
		else
			item.state = ITEM_PUT_OFF;
		item.bytes = 0;
		memcpy(item.reason, a->verdict.text, sizeof item.reason);
		job_update(j, &item);
	}
}

/* So that stopping can end what waits for the other side. */
static void
show_stream(struct job *j, unsigned number, struct stream *s)
{
	pthread_mutex_lock(&j->lock);
	j->streams[number] = s;
	pthread_mutex_unlock(&j->lock);
}

/* Move one unit; the stream is closed if it is not to be used again. */
static void
run_unit(
    struct job *j, unsigned number, struct stream **s, struct queued *x, size_t n, bool is_single)
{
	struct unit u = {
		.mover = j->mover, .stream = *s, .n = n, .limits = { is_single, go_on, j }
	};
	struct err e = { 0 };

	u.accounts = calloc(n, sizeof *u.accounts);
	if (!u.accounts) {
		give_back(j, x, n);
		usleep(AGAIN_US);
		return;
	}
	memcpy(u.wave, j->wave.id, sizeof u.wave);
	memcpy(u.to, j->wave.to, sizeof u.to);
	for (size_t i = 0; i < u.n; i++)
		u.accounts[i].opening.account = x[i].account;
	if (unit_run(&u, &e) < 0) {
		job_trouble(j, &e);
		show_stream(j, number, NULL);
		stream_close(take(s));
	} else {
		job_is_well(j);
	}
	give_back(j, x + u.n, n - u.n);
	report_unit(j, &u, x);
	unit_release(&u);
	free(u.accounts);
}

void *
worker_run(void *arg)
{
	struct job *j = arg;
	unsigned number = atomic_fetch_add(&j->numbered, 1);
	struct stream *s = NULL;
	struct queued x[UNIT_MAX];
	uint64_t used_ms = 0;

	while (!atomic_load(&j->is_over) && !atomic_load(&j->mover->is_stopping)) {
		struct err e = { 0 };
		bool is_single;
		size_t n;

		if (!has_work(j)) {
			if (s && host_mono_ms() - used_ms > IDLE_MS) {
				show_stream(j, number, NULL);
				stream_close(take(&s));
			}
			usleep(20000);
			continue;
		}
		if (!s) {
			s = stream_connect(j->mover->node->peers, j->wave.to, CONNECT_MS, &e);
			used_ms = host_mono_ms();
			show_stream(j, number, s);
		}
		if (!s) {
			job_trouble(j, &e);
			usleep(AGAIN_US);
			continue;
		}
		n = take_unit(j, x, &is_single);
		if (n) {
			run_unit(j, number, &s, x, n, is_single);
			used_ms = host_mono_ms();
			atomic_fetch_sub(&j->active, 1);
		}
	}
	show_stream(j, number, NULL);
	stream_close(s);
	return NULL;
}
