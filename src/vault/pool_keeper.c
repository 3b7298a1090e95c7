/* pool_keeper.c - the pool's own thread: checkpoints, and the files of chunks that are gone.
 *
 * A dropped chunk's file is removed when the commit that dropped it is durable, nobody exports the
 * vault, and everyone who may have learned its name before has finished (see content_internal.h).
 * If a flush failed before it was durable, it has been taken back, and the file stays.
 *
 * What a crash left behind is swept when the vault is opened for the first time after it. The keeper
 * never opens a vault for that: it may be on its way to be erased.
 */
#include "vault/vault_internal.h"

#include "base/host.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define POLL_MS 20

void
keeper_add_chore(struct pool *p, struct vault *v)
{
	if (v->is_chore)
		return;
	v->is_chore = true;
	v->pins++;
	STAILQ_INSERT_TAIL(&p->chores, v, chore);
	pthread_cond_signal(&p->keeper_wake);
}

static struct vault_id *
swept_place(struct pool *p, const struct vault_id *id)
{
	const uint8_t *b = id->account.b; /* random */

	return &p->swept[(b[0] << 8 | b[1]) % SWEPT_MAX ^ id->service];
}

void
keeper_add_sweep(struct pool *p, struct vault *v)
{
	struct vault_id *place = swept_place(p, &v->id);

	if (v->is_sweep || memcmp(place, &v->id, sizeof(*place)) == 0)
		return;
	*place = v->id;
	v->is_sweep = true;
	v->pins++;
	STAILQ_INSERT_TAIL(&p->sweeps, v, sweep);
	pthread_cond_signal(&p->keeper_wake);
}

void
keeper_add_removal(struct vault *v)
{
	size_t n = v->dropped.len / CHUNK_NAME_BYTES;
	struct content_key *next;
	struct removal *r;

	/* Without memory the files stay for a sweep. */
	if (!n || buf_check(&v->dropped, NULL) < 0)
		return;
	r = malloc(sizeof(*r) + n * CHUNK_NAME_BYTES);
	if (!r)
		return;
	next = content_key_next(v->key);
	if (!next) {
		free(r);
		return;
	}
	r->vault = v;
	r->readers = v->key;
	r->ticket = v->ticket;
	r->failures = v->failures;
	r->n = n;
	memcpy(r->names, v->dropped.data, n * CHUNK_NAME_BYTES);
	v->key = next;

	pthread_mutex_lock(&v->pool->lock);
	v->pins++;
	STAILQ_INSERT_TAIL(&v->pool->removals, r, link);
	pthread_cond_signal(&v->pool->keeper_wake);
	pthread_mutex_unlock(&v->pool->lock);
}

static void
removal_free(struct removal *r)
{
	r->vault->pins--;
	content_key_unref(r->readers);
	free(r);
}

void
keeper_forget(struct pool *p, struct vault *v)
{
	struct removal *r = STAILQ_FIRST(&p->removals), *next;

	for (; r; r = next) {
		next = STAILQ_NEXT(r, link);
		if (r->vault != v)
			continue;
		STAILQ_REMOVE(&p->removals, r, removal, link);
		removal_free(r);
	}
}

static bool
is_due(const struct pool *p, const struct removal *r)
{
	return !r->vault->holds && content_key_is_last(r->readers) &&
	    flusher_is_durable(p->c.flusher, r->ticket);
}

static bool
is_taken_back(const struct pool *p, const struct removal *r)
{
	return !flusher_is_durable(p->c.flusher, r->ticket) &&
	    r->failures != flusher_failures(p->c.flusher);
}

/* LOCK held, released while files are removed. */
static void
carry_out(struct pool *p, struct removal *r)
{
	struct err e;

	pthread_mutex_unlock(&p->lock);
	for (size_t i = 0; i < r->n; i++) {
		struct chunk_name name;

		memcpy(name.b, r->names[i], sizeof(name.b));
		if (chunks_remove(p->c.chunks, &r->vault->id, &name, &e) < 0)
			log_warn("chunk.remove", NULL, "error=\"%s\"", e.text);
	}
	pthread_mutex_lock(&p->lock);
}

static void
do_removals(struct pool *p)
{
	struct removal *r = STAILQ_FIRST(&p->removals);

	while (r) {
		bool is_void = is_taken_back(p, r);

		if (is_void || is_due(p, r)) {
			STAILQ_REMOVE(&p->removals, r, removal, link);
			if (!is_void)
				carry_out(p, r);
			removal_free(r);
			r = STAILQ_FIRST(&p->removals);
		} else {
			r = STAILQ_NEXT(r, link);
		}
	}
}

/* The checkpoint of one vault, if it is still open and not held. LOCK held. */
static void
do_chore(struct pool *p, struct vault *v)
{
	struct err e;

	pool_grab(p, v);
	v->is_chore = false;
	v->pins--;
	if (v->db && !v->must_close && !v->holds && sealed_wants_checkpoint(v->sealed)) {
		pthread_mutex_unlock(&p->lock);
		if (sealed_checkpoint(v->sealed, &e) < 0) {
			log_warn("vault.checkpoint", NULL, "error=\"%s\"", e.text);
			v->must_close = true;
		}
		pthread_mutex_lock(&p->lock);
	}
	pool_release(p, v);
}

static void do_sweep(struct pool *p, struct vault *v);

static void
wait_for_work(struct pool *p)
{
	if (STAILQ_EMPTY(&p->removals))
		pthread_cond_wait(&p->keeper_wake, &p->lock);
	else
		host_cond_wait_ms(&p->keeper_wake, &p->lock, POLL_MS);
}

static void *
keep(void *arg)
{
	struct pool *p = arg;

	pthread_mutex_lock(&p->lock);
	while (!p->is_closing) {
		struct vault *v = STAILQ_FIRST(&p->chores);

		if (v) {
			STAILQ_REMOVE_HEAD(&p->chores, chore);
			do_chore(p, v);
			continue;
		}
		do_removals(p);
		v = STAILQ_FIRST(&p->sweeps);
		if (v && !p->is_closing) {
			STAILQ_REMOVE_HEAD(&p->sweeps, sweep);
			do_sweep(p, v);
		} else if (!p->is_closing && STAILQ_EMPTY(&p->chores)) {
			wait_for_work(p);
		}
	}
	do_removals(p);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

int
keeper_start(struct pool *p, struct err *e)
{
	int r = pthread_create(&p->keeper, NULL, keep, p);

	if (r)
		return err_errno(e, r, "pool: no thread");
	p->is_keeping = true;
	return 0;
}

void
keeper_stop(struct pool *p)
{
	struct removal *r;

	if (!p->is_keeping)
		return;
	pthread_mutex_lock(&p->lock);
	p->is_closing = true;
	pthread_cond_signal(&p->keeper_wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->keeper, NULL);
	while ((r = STAILQ_FIRST(&p->removals))) {
		STAILQ_REMOVE_HEAD(&p->removals, link);
		removal_free(r);
	}
}

/* --- the sweep --- */

struct sweep {
	struct buf files; /* names of those on disk that nobody claims */
	struct buf known; /* names that must stay */
};

static void
sweep_free(struct sweep *s)
{
	buf_free(&s->files);
	buf_free(&s->known);
}

static int
note_file(void *arg, const struct vault_id *id, const struct chunk_name *name, uint64_t bytes,
    struct err *e)
{
	struct sweep *s = arg;

	(void)id, (void)bytes, (void)e;
	/* Claimed before the file appears, given up only after a row may refer to it: whoever asks in
	 * this order (file, claim, row) misses none. */
	if (!content_is_claimed(name))
		buf_add(&s->files, name->b, sizeof(name->b));
	return 0;
}

static int
note_known(void *arg, const struct chunk_ref *c, struct err *e)
{
	struct sweep *s = arg;

	(void)e;
	buf_add(&s->known, c->name, sizeof(c->name));
	return 0;
}

static int
name_order(const void *a, const void *b)
{
	return memcmp(a, b, CHUNK_NAME_BYTES);
}

/* What a pending removal names may still be read. */
static void
note_removals(struct pool *p, struct vault *v, struct sweep *s)
{
	struct removal *r;

	pthread_mutex_lock(&p->lock);
	STAILQ_FOREACH(r, &p->removals, link)
	if (r->vault == v)
		buf_add(&s->known, r->names, r->n * CHUNK_NAME_BYTES);
	pthread_mutex_unlock(&p->lock);
}

static int
remove_unknown(
    struct pool *p, const struct vault_id *id, struct sweep *s, uint64_t *removed, struct err *e)
{
	size_t n = s->known.len / CHUNK_NAME_BYTES;

	if (n)
		qsort(s->known.data, n, CHUNK_NAME_BYTES, name_order);
	for (size_t at = 0; at < s->files.len; at += CHUNK_NAME_BYTES) {
		struct chunk_name name;

		memcpy(name.b, s->files.data + at, sizeof(name.b));
		if (n && bsearch(name.b, s->known.data, n, CHUNK_NAME_BYTES, name_order))
			continue;
		if (chunks_remove(p->c.chunks, id, &name, e) < 0)
			return -1;
		++*removed;
	}
	return 0;
}

static bool
is_held(struct pool *p, const struct vault *v)
{
	bool held;

	pthread_mutex_lock(&p->lock);
	held = v->holds;
	pthread_mutex_unlock(&p->lock);
	return held;
}

/* V is taken, S has its files. */
static int
sweep_taken(struct pool *p, struct vault *v, struct sweep *s, uint64_t *removed, struct err *e)
{
	/* A drop that is not durable may be taken back, with the files being needed again. */
	if (flusher_wait(p->c.flusher, vault_ticket(v), e) < 0)
		return -1;
	if (is_held(p, v))
		return 0;
	if (sealed_chunks(v->sealed, note_known, s, e) < 0)
		return -1;
	note_removals(p, v, s);
	if (buf_check(&s->files, e) < 0 || buf_check(&s->known, e) < 0)
		return -1;
	return remove_unknown(p, &v->id, s, removed, e);
}

/* LOCK held. */
static void
do_sweep(struct pool *p, struct vault *v)
{
	_cleanup_(sweep_free) struct sweep s = { .files = BUF_INIT(0), .known = BUF_INIT(0) };
	struct err e = { 0 };
	uint64_t removed = 0;
	int r;

	pthread_mutex_unlock(&p->lock);
	r = chunks_list(p->c.chunks, &v->id, note_file, &s, &e);
	pthread_mutex_lock(&p->lock);
	pool_grab(p, v);
	v->is_sweep = false;
	v->pins--;
	if (r == 0 && s.files.len) {
		if (v->db && !v->must_close && !v->holds) {
			pthread_mutex_unlock(&p->lock);
			r = sweep_taken(p, v, &s, &removed, &e);
			pthread_mutex_lock(&p->lock);
		} else { /* at its next opening */
			memset(swept_place(p, &v->id), 0, sizeof(struct vault_id));
		}
	}
	pool_release(p, v);
	if (r < 0)
		log_warn("chunk.sweep", NULL, "error=\"%s\"", e.text);
	else if (removed)
		log_info("chunk.sweep", NULL, "removed=%llu", (unsigned long long)removed);
}

int
pool_sweep(struct pool *p, const struct vault_id *id, uint64_t *removed, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = NULL;
	_cleanup_(sweep_free) struct sweep s = { .files = BUF_INIT(0), .known = BUF_INIT(0) };
	int r = chunks_list(p->c.chunks, id, note_file, &s, e);

	if (r == 0) {
		v = pool_take(p, id, true, e);
		r = v ? 0 : -1;
	}
	if (r == 0 && s.files.len)
		r = sweep_taken(p, v, &s, removed, e);
	return r < 0 ? err_add(e, "sweeping chunks") : 0;
}
