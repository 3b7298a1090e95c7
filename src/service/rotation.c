/* rotation.c - see rotation.h. */
#include "service/rotation.h"

#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "base/log.h"
#include "base/stats.h"
#include "sealed/keys.h"
#include "service/applications.h"
#include "standby/standby.h"
#include "vault/pool.h"
#include "vault/region.h"
#include "vault/transfer.h"

#define RETRY_MS    5000
#define RECORD_SIZE 4 /* the generation that is to be */

enum stage { STAGE_IDLE, STAGE_WRAPPING, STAGE_DESTROYING, STAGE_COMPACTING };

static const char *const stage_words[] = {
	[STAGE_IDLE] = "idle",
	[STAGE_WRAPPING] = "wrapping",
	[STAGE_DESTROYING] = "destroying",
	[STAGE_COMPACTING] = "compacting",
};

struct rotation {
	struct rotation_config c;
	pthread_t thread;
	bool has_thread;

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t changed;
	bool is_stopping;
	bool is_beginning;
	enum stage stage;
	uint32_t generation; /* that is to be the only one */
	uint64_t done, total, wrapped;
	uint64_t began_ms; /* mono */
	struct err trouble;
};

static struct counter generation_now = GAUGE(
    "domicile_region_key_generation", NULL, "The generation of the region key that wraps now.");
static struct counter rotating = GAUGE(
    "domicile_region_key_rotating", NULL, "Whether a rotation of the region key is under way (1).");
static struct counter rewrapped = COUNTER("domicile_region_key_rewrapped_total", NULL,
    "Vaults whose key was wrapped with a newer generation of the region key.");

/* --- its record --- */

static int
put_record(struct rotation *r, uint32_t generation, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	uint8_t value[RECORD_SIZE];

	if (!b)
		return -1;
	be32_put(value, generation);
	region_put(b, REGION_KEY, "", 0, value, sizeof(value));
	return region_apply(r->c.node->engine, r->c.node->flusher, b, e);
}

static int
delete_record(struct rotation *r, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);

	if (!b)
		return -1;
	region_delete(b, REGION_KEY, "", 0);
	return region_apply(r->c.node->engine, r->c.node->flusher, b, e);
}

/* *GENERATION that is to be; 0: there is no record of a rotation. */
static int
read_record(struct engine *g, uint32_t *generation, struct err *e)
{
	_cleanup_buf_ struct buf value = BUF_INIT(64);
	int found = region_get(g, REGION_KEY, "", 0, &value, e);

	if (found < 0)
		return -1;
	if (found && value.len != RECORD_SIZE)
		return err_set(e, ERR_FORGED, "the record of a rotation has %zu bytes", value.len);
	*generation = found ? be32_get(value.data) : 0;
	return 0;
}

/* --- whether it is the right key --- */

#define TRIED_MAX 1000

struct trying {
	struct engine *engine;
	struct keys *keys;
	unsigned tried, opened;
	struct err why; /* the first one that was not opened */
};

static int
try_vault(void *arg, const struct vault_id *id, struct err *e)
{
	static const uint8_t key[] = { 'H' };
	const struct span header = { key, sizeof(key) };
	_cleanup_buf_ struct buf value = BUF_INIT(ENGINE_VALUE_MAX);
	struct trying *t = arg;
	uint32_t generation;
	struct err why;
	int rc;

	if (id->service == SERVICE_REGION)
		return 0;
	rc = engine_get(t->engine, id, header, &value, e);
	if (rc <= 0)
		return rc;
	if (transfer_key_of(
	        t->keys, id, header, (struct span){ value.data, value.len }, &generation, &why) > 0)
		t->opened++;
	else if (!t->why.kind)
		t->why = why;
	return ++t->tried == TRIED_MAX || t->opened;
}

int
rotation_check_opens(struct engine *g, struct keys *k, struct err *e)
{
	struct trying t = { .engine = g, .keys = k };

	if (engine_list(g, try_vault, &t, e) < 0)
		return -1;
	return t.opened || !t.tried ? 0 : err_set(e, t.why.kind, "%s", t.why.text);
}

int
rotation_check_keys(struct engine *g, struct keys *k, struct err *e)
{
	uint32_t generation;

	if (read_record(g, &generation, e) < 0)
		return -1;
	if (generation > keys_generation(k))
		return err_set(e, ERR_MISSING,
		    "the region key was being rotated, and this one lacks generation %" PRIu32,
		    generation);
	return rotation_check_opens(g, k, e);
}

/* --- the work, on its thread --- */

static bool
set_stage(struct rotation *r, enum stage stage)
{
	bool is_stopping;

	pthread_mutex_lock(&r->lock);
	r->stage = stage;
	is_stopping = r->is_stopping;
	pthread_mutex_unlock(&r->lock);
	counter_set(&rotating, stage != STAGE_IDLE);
	return !is_stopping;
}

static bool
count_one(struct rotation *r, bool changed)
{
	bool is_stopping;

	if (changed)
		counter_add(&rewrapped, 1);
	pthread_mutex_lock(&r->lock);
	r->done++;
	r->wrapped += changed;
	is_stopping = r->is_stopping;
	pthread_mutex_unlock(&r->lock);
	return !is_stopping;
}

static int
note_vault(void *arg, const struct vault_id *id, struct err *e)
{
	(void)e;
	if (id->service != SERVICE_REGION)
		buf_add(arg, id, sizeof(*id));
	return 0;
}

static int
cancelled(struct err *e)
{
	return err_set(e, ERR_CANCELLED, "the node is stopping");
}

/* Every vault once. *FOUND: how many were wrapped with an older generation. One that fails keeps none of the
 * others waiting; the first error is told at the end. */
static int
walk(struct rotation *r, uint64_t *found, struct err *e)
{
	_cleanup_buf_ struct buf ids = BUF_INIT(0);
	struct node *n = r->c.node;
	struct err why;
	int rc = 0;

	if (engine_list(n->engine, note_vault, &ids, e) < 0 || buf_check(&ids, e) < 0)
		return -1;
	pthread_mutex_lock(&r->lock);
	r->done = 0;
	r->total = ids.len / sizeof(struct vault_id);
	pthread_mutex_unlock(&r->lock);
	*found = 0;
	for (size_t at = 0; at < ids.len; at += sizeof(struct vault_id)) {
		struct vault_id id;
		bool changed = false;

		memcpy(&id, ids.data + at, sizeof(id));
		if (pool_rewrap(n->pool, &id, &changed, &why) < 0 && rc == 0) {
			rc = -1;
			*e = why;
		}
		*found += changed;
		if (changed)
			r->c.step("rotate.vault");
		if (!count_one(r, changed))
			return cancelled(e);
	}
	if (n->applications && applications_rewrap(n->applications, found, &why) < 0 && rc == 0) {
		rc = -1;
		*e = why;
	}
	return rc;
}

/* Until a walk finds none, with all that the walks before it wrote durable: a flush that failed may have
 * taken something back, and then the next walk finds it. */
static int
wrap_all(struct rotation *r, struct err *e)
{
	struct node *n = r->c.node;
	uint64_t found;

	do {
		if (walk(r, &found, e) < 0 ||
		    flusher_wait(n->flusher, flusher_ticket(n->flusher), e) < 0)
			return -1;
	} while (found);
	return 0;
}

/* What is wrapped with GENERATION may have to be opened at the standby. */
static int
check_standby(struct rotation *r, uint32_t generation, struct err *e)
{
	struct keys *keys = r->c.node->keys;
	bool is_used = keys_generation(keys) >= generation;
	uint8_t digest[SHA256_BYTES];

	if (!r->c.node->standby)
		return 0;
	if (keys_plan(keys, generation, digest, e) < 0)
		return -1;
	r->c.step("rotate.planned");
	if (standby_has_key(r->c.node->standby, digest, e) == 0)
		return 0;
	return e->kind != ERR_DENIED
	    ? -1
	    : err_set(e, ERR_DENIED,
	          "the standby's region key lacks generation %" PRIu32
	          ": copy region.key%s to the standby as its region.key, and try again",
	          generation, is_used ? "" : ".new");
}

/* All of it, or what is left to do. */
static int
carry_out(struct rotation *r, struct err *e)
{
	struct node *n = r->c.node;

	if (!set_stage(r, STAGE_WRAPPING))
		return cancelled(e);
	if (check_standby(r, r->generation, e) < 0 || keys_add(n->keys, r->generation, e) < 0)
		return -1;
	counter_set(&generation_now, keys_generation(n->keys));
	if (wrap_all(r, e) < 0)
		return -1;
	r->c.step("rotate.wrapped");
	/* Every header is there as it is here, and in none of its files as it was. */
	if (standby_gone(n->standby, e) < 0 || check_standby(r, r->generation, e) < 0)
		return -1;
	r->c.step("rotate.followed");
	if (!set_stage(r, STAGE_DESTROYING))
		return cancelled(e);
	if (keys_destroy_old(n->keys, e) < 0)
		return -1;
	r->c.step("rotate.destroyed");
	if (!set_stage(r, STAGE_COMPACTING))
		return cancelled(e);
	if (engine_compact(n->engine, e) < 0)
		return -1;
	r->c.step("rotate.compacted");
	return delete_record(r, e);
}

/* LOCK held. */
static void
wait_ms(struct rotation *r, uint64_t ms)
{
	host_cond_wait_ms(&r->changed, &r->lock, ms);
}

/* LOCK held, released meanwhile. */
static void
go(struct rotation *r)
{
	uint64_t until;
	struct err e = { 0 };
	int rc;

	pthread_mutex_unlock(&r->lock);
	rc = carry_out(r, &e);
	if (rc == 0) {
		log_info("key.rotated", NULL, "generation=%" PRIu32 " wrapped=%" PRIu64,
		    r->generation, r->wrapped);
		set_stage(r, STAGE_IDLE);
	} else if (e.kind != ERR_CANCELLED) {
		log_warn("key.trouble", NULL, "generation=%" PRIu32 " again in %d ms: %s",
		    r->generation, RETRY_MS, e.text);
	}
	pthread_mutex_lock(&r->lock);
	r->trouble = e;
	until = host_mono_ms() + RETRY_MS;
	while (rc < 0 && !r->is_stopping && host_mono_ms() < until)
		wait_ms(r, RETRY_MS);
}

static void *
run(void *arg)
{
	struct rotation *r = arg;

	pthread_mutex_lock(&r->lock);
	while (!r->is_stopping)
		if (r->stage == STAGE_IDLE)
			pthread_cond_wait(&r->changed, &r->lock);
		else
			go(r);
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* --- starting, stopping --- */

/* LOCK held. */
static void
set_off(struct rotation *r, uint32_t generation)
{
	r->generation = generation;
	r->done = r->total = r->wrapped = 0;
	r->began_ms = host_mono_ms();
	r->trouble = (struct err){ 0 };
	r->stage = STAGE_WRAPPING;
	pthread_cond_broadcast(&r->changed);
}

struct rotation *
rotation_start(const struct rotation_config *c, struct err *e)
{
	struct rotation *r = calloc(1, sizeof(*r));
	uint32_t generation = 0;
	int why;

	if (!r) {
		err_set(e, ERR_MEMORY, "no memory for rotations");
		return NULL;
	}
	r->c = *c;
	pthread_mutex_init(&r->lock, NULL);
	host_cond_init(&r->changed);
	counter_set(&generation_now, keys_generation(c->node->keys));
	if (read_record(c->node->engine, &generation, e) < 0) {
		rotation_stop(r);
		return NULL;
	}
	if (!generation &&
	    keys_count(c->node->keys) > 1) /* the store may be older than the key file */
		generation = keys_generation(c->node->keys);
	if (generation) {
		log_info("key.resume", NULL, "generation=%" PRIu32, generation);
		set_off(r, generation);
	}
	why = pthread_create(&r->thread, NULL, run, r);
	if (why) {
		err_errno(e, why, "rotation: no thread");
		rotation_stop(r);
		return NULL;
	}
	r->has_thread = true;
	return r;
}

void
rotation_stop(struct rotation *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->is_stopping = true;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	if (r->has_thread)
		pthread_join(r->thread, NULL);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* The record first: a new generation that nobody knew of would stay beside the old one for ever. */
static int
make_generation(struct rotation *r, uint32_t generation, struct err *e)
{
	struct err why;

	if (put_record(r, generation, e) < 0)
		return -1;
	r->c.step("rotate.recorded");
	if (keys_add(r->c.node->keys, generation, e) == 0) {
		r->c.step("rotate.added");
		return 0;
	}
	if (delete_record(r, &why) < 0)
		log_warn("key.record", NULL, "rotates after the next start: %s", why.text);
	return -1;
}

int
rotation_begin(struct rotation *r, struct err *e)
{
	uint32_t generation = keys_generation(r->c.node->keys) + 1;
	bool is_busy;
	int rc;

	pthread_mutex_lock(&r->lock);
	is_busy = r->is_beginning || r->stage != STAGE_IDLE;
	r->is_beginning |= !is_busy;
	pthread_mutex_unlock(&r->lock);
	if (is_busy)
		return err_set(
		    e, ERR_BUSY, "a rotation is under way; `region status` tells how far it is");
	rc = check_standby(r, generation, e);
	if (rc == 0)
		rc = make_generation(r, generation, e);
	pthread_mutex_lock(&r->lock);
	r->is_beginning = false;
	if (rc == 0)
		set_off(r, generation);
	pthread_mutex_unlock(&r->lock);
	if (rc == 0)
		log_info("key.rotate", NULL, "generation=%" PRIu32, generation);
	return rc;
}

int
rotation_status(struct rotation *r, json_t **out, struct err *e)
{
	struct keys *keys = r->c.node->keys;
	json_int_t generation = keys_generation(keys), generations = keys_count(keys);
	json_t *it;

	pthread_mutex_lock(&r->lock);
	it = json_pack("{s:I, s:I, s:s, s:I, s:I, s:I, s:f, s:s?}", "generation", generation,
	    "generations", generations, "state", stage_words[r->stage], "done", (json_int_t)r->done,
	    "total", (json_int_t)r->total, "wrapped", (json_int_t)r->wrapped, "seconds",
	    r->began_ms ? (double)(host_mono_ms() - r->began_ms) / 1000 : 0.0, "trouble",
	    r->trouble.kind != ERR_NONE ? r->trouble.text : NULL);
	pthread_mutex_unlock(&r->lock);
	if (!it)
		return err_set(e, ERR_MEMORY, "no memory for the answer");
	*out = it;
	return 0;
}
