/* applications_round.c - how a revocation gets to every region: told by who revokes, asked for by the others. */
#include "service/applications_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/host.h"
#include "base/log.h"
#include "directory/peer.h"

#define ASK_EVERY_MS   30000
#define CALL_WAIT_MS   5000
#define REGIONS_MAX    64

#define _cleanup_json_ _cleanup_(json_decrefp)

static int
call(struct node *n, const char *region, const char *op, json_t *in, json_t **out, struct err *e)
{
	_cleanup_json_ json_t *body = in;
	char path[64];

	if (!body)
		return err_set(e, ERR_MEMORY, "no memory for a call");
	snprintf(path, sizeof(path), "/peer/v1/app/%s", op);
	return peer_call(n->peers, region, NULL, path, NULL, body, out, CALL_WAIT_MS, e);
}

/* The other regions, into a list that the caller frees; *N. */
static struct peer_region *
others(struct node *n, size_t *count)
{
	struct peer_region *all = n->peers ? calloc(REGIONS_MAX, sizeof(*all)) : NULL;
	size_t found = all ? peers_list(n->peers, all, REGIONS_MAX) : 0, kept = 0;

	for (size_t i = 0; i < found && i < REGIONS_MAX; i++)
		if (strcmp(all[i].name, n->region) != 0)
			all[kept++] = all[i];
	*count = kept;
	return all;
}

/* --- asking --- */

static bool
has_live(struct applications *a)
{
	bool found = false;

	pthread_mutex_lock(&a->lock);
	for (size_t i = 0; !found && i < a->n; i++)
		found = !a->all[i].revoked_ms;
	pthread_mutex_unlock(&a->lock);
	return found;
}

static bool
is_live(struct applications *a, const char *key)
{
	struct application *x;
	bool live;

	pthread_mutex_lock(&a->lock);
	x = application_find(a, key);
	live = x && !x->revoked_ms;
	pthread_mutex_unlock(&a->lock);
	return live;
}

static void
ask_one(struct applications *a, const char *region)
{
	_cleanup_json_ json_t *answer = NULL;
	struct err e = { 0 };
	json_t *one;
	size_t i;

	/* One that can't be reached is asked again: there is nothing to say about it here. */
	if (call(a->node, region, "revoked", json_object(), &answer, &e) < 0)
		return;
	json_array_foreach(json_object_get(answer, "keys"), i, one)
	{
		const char *key = json_string_value(one);

		if (key && is_live(a, key) && application_revoke_here(a, key, &e) < 0)
			log_warn("application.trouble", NULL, "key=%s is revoked in %s: %s", key,
			    region, e.text);
	}
}

static void
ask_all(struct applications *a)
{
	_cleanup_(freep) struct peer_region *regions = NULL;
	size_t n;

	if (!has_live(a))
		return;
	regions = others(a->node, &n);
	for (size_t i = 0; i < n; i++)
		if (peers_may_operate(a->node->peers, regions[i].name))
			ask_one(a, regions[i].name);
}

/* LOCK held. Until ASK_AT, or something is to be done before. */
static void
wait_until(struct applications *a, uint64_t ask_at_ms)
{
	struct timespec until = { .tv_sec = (time_t)(ask_at_ms / 1000),
		.tv_nsec = (long)(ask_at_ms % 1000) * 1000000 };

	pthread_cond_timedwait(&a->changed, &a->lock, &until);
}

static void *
run(void *arg)
{
	struct applications *a = arg;
	uint64_t ask_at_ms = 0;

	pthread_mutex_lock(&a->lock);
	while (!a->is_stopping) {
		bool asks = a->is_nudged || host_mono_ms() >= ask_at_ms;

		a->is_nudged = false;
		pthread_mutex_unlock(&a->lock);
		applications_write_notes(a);
		if (asks) {
			ask_all(a);
			ask_at_ms = host_mono_ms() + ASK_EVERY_MS;
		}
		pthread_mutex_lock(&a->lock);
		if (!a->is_stopping && !a->is_nudged && !application_is_due(a->notes))
			wait_until(a, ask_at_ms);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

int
applications_start(struct applications *a, struct err *e)
{
	int rc = pthread_create(&a->thread, NULL, run, a);

	if (rc)
		return err_errno(e, rc, "application keys: no thread");
	a->has_thread = true;
	return 0;
}

void
applications_nudge(struct applications *a)
{
	pthread_mutex_lock(&a->lock);
	a->is_nudged = true;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
}

/* --- telling --- */

/* *KNOWN counts regions that know the key. */
static json_t *
tell_all(struct applications *a, const char *key, unsigned *known)
{
	_cleanup_(freep) struct peer_region *regions = NULL;
	json_t *results = json_object();
	size_t n;

	regions = others(a->node, &n);
	for (size_t i = 0; i < n; i++) {
		_cleanup_json_ json_t *answer = NULL;
		struct err e = { 0 };
		const char *said = e.text;

		if (call(a->node, regions[i].name, "revoke", json_pack("{s:s}", "key", key),
		        &answer, &e) == 0) {
			bool has_it = json_is_true(json_object_get(answer, "known"));

			*known += has_it;
			said = has_it ? "revoked" : "unknown";
		}
		json_object_set_new(results, regions[i].name, json_string(said));
	}
	return results;
}

int
applications_revoke(struct applications *a, const char *key, json_t **out, struct err *e)
{
	_cleanup_json_ json_t *results = NULL;
	unsigned known = 0;
	int here;

	if (!application_key(key))
		return err_set(e, ERR_BAD, "'%.40s' is no application key", key);
	here = application_revoke_here(a, key, e);
	if (here < 0)
		return -1;
	results = tell_all(a, key, &known);
	if (!here && !known)
		return err_set(e, ERR_MISSING, "no region that could be asked has the key %s", key);
	json_object_set_new(results, a->node->region, json_string(here ? "revoked" : "unknown"));
	*out = json_pack("{s:s, s:O}", "revoked", key, "regions", results);
	return *out ? 0 : err_set(e, ERR_MEMORY, "no memory for the answer");
}

/* --- answering --- */

static int
serve_revoked(struct applications *a, json_t *in, json_t **out, struct err *e)
{
	_cleanup_json_ json_t *keys = json_array();

	if (json_object_size(in))
		return err_set(e, ERR_BAD, "arguments: there are none");
	pthread_mutex_lock(&a->lock);
	for (size_t i = 0; i < a->n; i++)
		if (a->all[i].revoked_ms)
			json_array_append_new(keys, json_string(a->all[i].key));
	pthread_mutex_unlock(&a->lock);
	*out = json_pack("{s:O}", "keys", keys);
	return *out ? 0 : err_set(e, ERR_MEMORY, "no memory for the answer");
}

static int
serve_revoke(struct applications *a, const char *caller, json_t *in, json_t **out, struct err *e)
{
	bool may = !a->node->peers || peers_may_operate(a->node->peers, caller);
	const char *key;
	json_error_t why;
	int known;

	if (json_unpack_ex(in, &why, JSON_STRICT, "{s:s}", "key", &key) < 0)
		return err_set(e, ERR_BAD, "arguments: %.120s", why.text);
	if (!application_key(key))
		return err_set(e, ERR_BAD, "'%.40s' is no application key", key);
	log_audit("application.operate", NULL, "call=revoke caller=%s key=%s allowed=%d", caller,
	    key, may);
	if (!may)
		return err_set(
		    e, ERR_DENIED, "%s may not revoke keys of %s", caller, a->node->region);
	known = application_revoke_here(a, key, e);
	if (known < 0)
		return -1;
	*out = json_pack("{s:b}", "known", known);
	return *out ? 0 : err_set(e, ERR_MEMORY, "no memory for the answer");
}

int
applications_serve(struct node *n, const char *caller, const char *op, json_t *arguments,
    json_t **answer, struct err *e)
{
	if (!strcmp(op, "revoked"))
		return serve_revoked(n->applications, arguments, answer, e);
	if (!strcmp(op, "revoke"))
		return serve_revoke(n->applications, caller, arguments, answer, e);
	return err_set(e, ERR_MISSING, "no call app/%.40s", op);
}
