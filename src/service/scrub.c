/* scrub.c - see scrub.h: the thread, its schedule and pace, what is asked of it. */
#include "service/scrub_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "base/log.h"
#include "base/stats.h"

#define STATE_MAX     4096
#define RETRY_MS      60000 /* after an error of the node's own */
/* Requests inside from which on the scrub stands back, before each so many bytes, for how long at most. */
#define BUSY_REQUESTS 4
#define BUSY_BYTES    ((uint64_t)1 << 20)
#define BUSY_MS       1000
#define BUSY_LOOK_MS  50
/* What the rate allows may be used late by so much. */
#define BURST_NS      ((uint64_t)200 * 1000000)

const char *const mend_words[MENDS] = {
	[MEND_FILE] = "chunk-files",
	[MEND_ENTRY] = "chunk-entries",
	[MEND_REDO] = "redo-leftovers",
	[MEND_PAGE] = "pages",
	[MEND_VAULT] = "vaults",
	[MEND_USAGE] = "usage-counts",
};

static struct counter passes = COUNTER(
    "domicile_scrub_passes_total", NULL, "Passes over all accounts that were finished.");
static struct counter bytes_read = COUNTER(
    "domicile_scrub_bytes_total", NULL, "Bytes that the scrub has read.");
static struct counter last_end = GAUGE("domicile_scrub_last_pass_end_seconds", NULL,
    "When the last pass ended, seconds since 1970; 0: none yet.");
static struct counter pass_total = GAUGE(
    "domicile_scrub_pass_accounts", NULL, "Accounts that the present pass has to read.");
static struct counter pass_done = GAUGE(
    "domicile_scrub_pass_accounts_done", NULL, "Accounts that it has read.");
static struct counter mended_total[MENDS] = {
#define MENDED(what) \
	COUNTER("domicile_scrub_mended_total", "kind=\"" what "\"", "Things that the scrub mended.")
	[MEND_FILE] = MENDED("chunk-files"),
	[MEND_ENTRY] = MENDED("chunk-entries"),
	[MEND_REDO] = MENDED("redo-leftovers"),
	[MEND_PAGE] = MENDED("pages"),
	[MEND_VAULT] = MENDED("vaults"),
	[MEND_USAGE] = MENDED("usage-counts"),
};

/* --- waiting; the lock is held --- */

static bool
is_to_end(const struct scrub *s)
{
	return s->is_stopping || s->must_end;
}

static void
wait_ms(struct scrub *s, uint64_t ms)
{
	host_cond_wait_ms(&s->changed, &s->lock, ms);
}

static int
cancelled(struct err *e)
{
	return err_set(e, ERR_CANCELLED, "the scrub was told to end");
}

int
scrub_wait(struct scrub *s, uint64_t ms, struct err *e)
{
	uint64_t until = host_mono_ms() + ms, now;
	bool ends;

	pthread_mutex_lock(&s->lock);
	while (!(ends = is_to_end(s)) && (now = host_mono_ms()) < until)
		wait_ms(s, until - now);
	pthread_mutex_unlock(&s->lock);
	return ends ? cancelled(e) : 0;
}

/* --- pace --- */

static uint64_t
rate_of(struct scrub *s)
{
	uint64_t rate;

	pthread_mutex_lock(&s->lock);
	rate = s->now->rate ? s->now->rate : s->c.rate;
	pthread_mutex_unlock(&s->lock);
	return rate;
}

/* How long to wait now for what was read to fit the rate. */
static uint64_t
rate_wait_ms(struct scrub *s, uint64_t bytes)
{
	uint64_t rate = rate_of(s), now = host_mono_ns();

	if (!rate)
		return 0;
	if (s->due_ns + BURST_NS < now)
		s->due_ns = now - BURST_NS;
	s->due_ns += (uint64_t)((double)bytes / (double)rate * 1e9);
	return s->due_ns > now ? (s->due_ns - now) / 1000000 : 0;
}

/* Requests first: while many are inside, a MiB a second is enough. Who has asked for a pass has said how
 * fast it may be. */
static int
stand_back(struct scrub *s, uint64_t bytes, struct err *e)
{
	s->since_busy += bytes;
	if (s->since_busy < BUSY_BYTES)
		return 0;
	s->since_busy = 0;
	for (unsigned waited = 0; !s->now->is_asked && waited < BUSY_MS; waited += BUSY_LOOK_MS) {
		if (homes_busy(s->c.node->homes) < BUSY_REQUESTS)
			return 0;
		if (scrub_wait(s, BUSY_LOOK_MS, e) < 0)
			return -1;
	}
	return 0;
}

int
scrub_pace(void *arg, uint64_t bytes, struct err *e)
{
	struct scrub *s = arg;

	counter_add(&bytes_read, (int64_t)bytes);
	pthread_mutex_lock(&s->lock);
	s->now->bytes += bytes;
	pthread_mutex_unlock(&s->lock);
	if (scrub_wait(s, rate_wait_ms(s, bytes), e) < 0)
		return -1;
	return stand_back(s, bytes, e);
}

void
scrub_count_skipped(struct scrub *s, uint64_t n)
{
	pthread_mutex_lock(&s->lock);
	s->now->skipped += n;
	pthread_mutex_unlock(&s->lock);
}

void
scrub_count_mended(struct scrub *s, const struct account_id *id, enum mend what, uint64_t n)
{
	char account[ACCOUNT_TEXT_SIZE];

	if (!n)
		return;
	counter_add(&mended_total[what], (int64_t)n);
	pthread_mutex_lock(&s->lock);
	s->now->mended[what] += n;
	pthread_mutex_unlock(&s->lock);
	account_text(id, account);
	log_info(
	    "scrub.mended", NULL, "account=%s kind=%s n=%" PRIu64, account, mend_words[what], n);
}

/* --- the record of where it is --- */

int
scrub_keep(struct scrub *s, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	_cleanup_buf_ struct buf value = BUF_INIT(STATE_MAX);
	struct scrub_state state;

	if (!b)
		return -1;
	pthread_mutex_lock(&s->lock);
	state = (struct scrub_state){ s->pass, s->last };
	pthread_mutex_unlock(&s->lock);
	counter_set(&pass_total, (int64_t)state.pass.total);
	counter_set(&pass_done, (int64_t)state.pass.accounts);
	counter_set(&last_end, (int64_t)(state.last.ended_ms / 1000));
	scrub_state_put(&value, &state);
	if (buf_check(&value, e) < 0)
		return -1;
	region_put(b, REGION_SCRUB, "", 0, value.data, value.len);
	return region_apply_soon(s->c.node->engine, b, e);
}

/* One that can't be read only means that the pass begins anew. */
static int
recall(struct scrub *s, struct err *e)
{
	_cleanup_buf_ struct buf value = BUF_INIT(STATE_MAX);
	struct scrub_state state;
	struct err why;
	int r = region_get(s->c.node->engine, REGION_SCRUB, "", 0, &value, e);

	if (r <= 0)
		return r;
	if (scrub_state_read((struct span){ value.data, value.len }, &state, &why) < 0) {
		log_warn("scrub.record", NULL, "begins anew: %s", why.text);
		return 0;
	}
	s->pass = state.pass;
	s->last = state.last;
	counter_set(&last_end, (int64_t)(state.last.ended_ms / 1000));
	return 0;
}

/* --- passes; the lock is held --- */

static void
begin(struct pass *p, bool is_asked)
{
	*p = (struct pass){
		.is_running = true, .is_asked = is_asked, .started_ms = host_wall_ms()
	};
}

/* Whether there is something to do now; *MS until then. */
static bool
is_due(struct scrub *s, uint64_t *ms)
{
	uint64_t now = host_wall_ms(), due;

	*ms = 3600000;
	if (s->ask.is_there)
		return true;
	if (!s->c.every_ms)
		return s->pass.is_running && s->pass.is_asked;
	if (s->pass.is_running || !s->last.ended_ms)
		return true;
	/* A clock that was put back must not stop it for good. */
	due = s->pass.started_ms + s->c.every_ms;
	if (now >= due || s->pass.started_ms > now + s->c.every_ms)
		return true;
	if (due - now < *ms)
		*ms = due - now;
	return false;
}

static void
choose(struct scrub *s)
{
	s->must_end = false;
	s->was_aside = s->ask.is_there && s->ask.has_only;
	s->now = s->was_aside ? &s->aside : &s->pass;
	if (s->ask.is_there) {
		s->ask.is_there = false;
		begin(s->now, true);
		s->now->has_only = s->ask.has_only;
		s->now->only = s->ask.only;
		s->now->rate = s->ask.rate;
	} else if (!s->pass.is_running) {
		begin(&s->pass, false);
	}
	s->began_ns = host_mono_ns();
	s->began_bytes = s->now->bytes;
	s->due_ns = 0;
}

static void
end(struct scrub *s, bool is_through)
{
	struct pass *p = s->now;

	s->now = NULL;
	if (is_through && p == &s->pass) {
		s->last = (struct last_pass){ host_wall_ms(), p->accounts, p->bytes };
		counter_add(&passes, 1);
	}
	/* Stopping interrupts a pass; one that was cancelled is not gone on with. */
	if (p->is_asked)
		s->was_through = is_through;
	if (is_through || (p->is_asked && s->must_end))
		p->is_running = p->is_asked = false;
}

static void
log_end(const struct pass *p, bool is_through, uint64_t damaged)
{
	log_info("scrub.pass", NULL,
	    "%s accounts=%" PRIu64 "/%" PRIu64 " bytes=%" PRIu64 " chunks=%" PRIu64
	    " skipped=%" PRIu64 " damaged=%" PRIu64,
	    is_through ? "through" : "interrupted", p->accounts, p->total, p->bytes, p->chunks,
	    p->skipped, damaged);
}

/* One pass, or the rest of it. The lock is held, and released meanwhile. */
static void
go(struct scrub *s)
{
	struct err e = { 0 };
	struct pass was;
	uint64_t damaged;
	bool is_through;
	int r;

	choose(s);
	pthread_mutex_unlock(&s->lock);
	r = scrub_walk(s, &e);
	if (r < 0 && e.kind != ERR_CANCELLED) {
		log_warn("scrub.trouble", NULL, "later: %s", e.text);
		/* Who has asked is not told "whole" by a node in trouble: it goes on afterwards. */
		while (r < 0 && e.kind != ERR_CANCELLED && scrub_wait(s, RETRY_MS, &e) == 0)
			r = scrub_walk(s, &e);
	}
	is_through = r == 0;
	pthread_mutex_lock(&s->lock);
	was = *s->now;
	damaged = s->damaged;
	end(s, is_through);
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	log_end(&was, is_through, damaged);
	if (scrub_keep(s, &e) < 0)
		log_warn("scrub.record", NULL, "%s", e.text);
	pthread_mutex_lock(&s->lock);
}

static void *
run(void *arg)
{
	struct scrub *s = arg;
	uint64_t ms;

	pthread_mutex_lock(&s->lock);
	while (!s->is_stopping) {
		if (is_due(s, &ms))
			go(s);
		else
			wait_ms(s, ms);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* --- starting and stopping --- */

struct scrub *
scrub_start(const struct scrub_config *c, struct err *e)
{
	struct scrub *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		err_set(e, ERR_MEMORY, "the scrub: no memory");
		return NULL;
	}
	s->c = *c;
	s->inspector = (struct inspector){ .pool = c->node->pool, .pace = scrub_pace, .arg = s };
	s->later = BUF_INIT(0);
	s->told = BUF_INIT(0);
	pthread_mutex_init(&s->lock, NULL);
	host_cond_init(&s->changed);
	if (recall(s, e) < 0 || findings_count(s, false, e) < 0) {
		scrub_stop(s);
		return NULL;
	}
	r = pthread_create(&s->thread, NULL, run, s);
	if (r) {
		err_errno(e, r, "the scrub: no thread");
		scrub_stop(s);
		return NULL;
	}
	s->has_thread = true;
	return s;
}

void
scrub_stop(struct scrub *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->is_stopping = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	if (s->has_thread)
		pthread_join(s->thread, NULL);
	buf_free(&s->later);
	buf_free(&s->told);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* --- what is asked --- */

int
scrub_ask(struct scrub *s, const struct account_id *only, uint64_t rate, struct err *e)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (!only && s->now && s->now->is_asked && !s->now->has_only && !s->must_end) {
		if (rate)
			s->now->rate = rate;
	} else if (s->ask.is_there || (s->now && s->now->is_asked)) {
		r = err_set(e, ERR_BUSY,
		    "another pass that was asked for goes on; wait for it, or end it with --stop");
	} else {
		s->ask.is_there = true;
		s->ask.has_only = only;
		if (only)
			s->ask.only = *only;
		s->ask.rate = rate;
		s->must_end = s->now;
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

void
scrub_cancel(struct scrub *s)
{
	pthread_mutex_lock(&s->lock);
	s->ask.is_there = false;
	if (s->now && s->now->is_asked)
		s->must_end = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static json_t *
mended_json(const struct pass *p)
{
	json_t *it = json_object();

	for (unsigned i = 0; i < MENDS; i++)
		json_object_set_new(it, mend_words[i], json_integer((json_int_t)p->mended[i]));
	return it;
}

/* A pass that was asked for, before its beginning and after a start too. */
static bool
is_asked(const struct scrub *s)
{
	return s->ask.is_there || (s->now ? s->now : &s->pass)->is_asked;
}

static json_t *
last_json(const struct last_pass *l)
{
	if (!l->ended_ms)
		return json_null();
	return json_pack("{s:I, s:I, s:I}", "ended_ms", (json_int_t)l->ended_ms, "accounts",
	    (json_int_t)l->accounts, "bytes", (json_int_t)l->bytes);
}

void
scrub_measure(struct scrub *s)
{
	if (s)
		(void)!findings_count(s, false, NULL);
}

int
scrub_status(struct scrub *s, json_t **out, struct err *e)
{
	struct pass asked = { .is_running = false };
	const struct pass *p;
	const char *state;
	double seconds = 0;

	if (findings_count(s, false, e) < 0)
		return -1;
	pthread_mutex_lock(&s->lock);
	asked.rate = s->ask.rate;
	p = s->ask.is_there ? &asked : s->now ? s->now : s->was_aside ? &s->aside : &s->pass;
	state = s->now ? (s->is_waiting ? "waiting" : "running") : s->c.every_ms ? "idle" : "off";
	if (s->now)
		seconds = (double)(host_mono_ns() - s->began_ns) / 1e9;
	*out = json_pack(
	    "{s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:o, s:o, "
	    "s:I, s:I}",
	    "state", state, "is_asked", (int)is_asked(s), "was_through", (int)s->was_through,
	    "accounts", (json_int_t)p->accounts, "accounts_total", (json_int_t)p->total, "bytes",
	    (json_int_t)p->bytes, "chunks", (json_int_t)p->chunks, "skipped",
	    (json_int_t)p->skipped, "seconds", seconds, "seconds_bytes",
	    (json_int_t)(p == s->now ? p->bytes - s->began_bytes : 0), "rate",
	    (json_int_t)(p->rate ? p->rate : s->c.rate), "damaged", (json_int_t)s->damaged,
	    "damaged_accounts", (json_int_t)s->damaged_accounts, "mended", mended_json(p), "last",
	    last_json(&s->last), "every_ms", (json_int_t)s->c.every_ms, "started_ms",
	    (json_int_t)p->started_ms);
	pthread_mutex_unlock(&s->lock);
	return *out ? 0 : err_set(e, ERR_MEMORY, "no memory for an answer");
}

/* --- the list --- */

static json_t *
finding_json(const struct account_id *id, const struct finding *f)
{
	char account[ACCOUNT_TEXT_SIZE], name[2 * CHUNK_NAME_BYTES + 1];
	const struct damage *d = &f->damage;
	static const uint8_t none[CHUNK_NAME_BYTES];

	account_text(id, account);
	hex_text(d->name, sizeof(d->name), name);
	return json_pack("{s:s, s:s, s:s, s:I, s:s, s:I, s:I, s:I, s:s}", "account", account,
	    "service", service_name(d->service), "kind", damage_word(d->kind), "number",
	    (json_int_t)d->number, "chunk", memcmp(d->name, none, sizeof(none)) ? name : "", "row",
	    (json_int_t)d->row, "part", (json_int_t)d->part, "since_ms", (json_int_t)f->since_ms,
	    "why", d->why);
}

struct listing {
	const struct account_id *only;
	json_t *list;
};

static int
list_one(void *arg, struct span key, struct span value, struct err *e)
{
	struct listing *l = arg;
	struct account_id id;
	struct findings *f;

	if (key.len != sizeof(id))
		return 0;
	memcpy(&id, key.data, sizeof(id));
	if (l->only && !account_equal(l->only, &id))
		return 0;
	f = malloc(sizeof(*f));
	if (!f)
		return err_set(e, ERR_MEMORY, "no memory for an answer");
	if (findings_read(&id, value, f, NULL) < 0)
		f->n = 0;
	for (unsigned i = 0; i < f->n; i++)
		json_array_append_new(l->list, finding_json(&id, &f->all[i]));
	free(f);
	return 0;
}

int
scrub_list(struct scrub *s, const struct account_id *only, json_t **out, struct err *e)
{
	struct listing l = { only, json_array() };

	if (!l.list)
		return err_set(e, ERR_MEMORY, "no memory for an answer");
	if (region_scan(s->c.node->engine, REGION_DAMAGE, list_one, &l, e) < 0) {
		json_decref(l.list);
		return -1;
	}
	*out = l.list;
	return 0;
}
