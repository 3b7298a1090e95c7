/* peer_routes.c - the calls that other regions make: POST /peer/v1/<noun>/<verb>.
 *
 * The same functions serve ourselves when a call happens to be about our own region.
 */
#include "front/admin_private.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/host.h"
#include "directory/peer.h"
#include "front/s3.h"
#include "move/mover.h"
#include "service/accounts.h"
#include "service/applications.h"

#define PREFIX          "/peer/v1/"
#define PING_MS         3000
#define ROUND_TRIP_KEPT 64
#define ROUND_TRIP_MS   5000
#define ESTIMATE_MAX    128
#define VERIFY_MAX      256

typedef int peer_fn(struct node *n, const char *caller, json_t *in, json_t **out, struct err *e);

/* --- round trips --- */

static struct {
	char region[REGION_NAME_SIZE];
	uint64_t measured_ms;
	uint64_t us;
} round_trips[ROUND_TRIP_KEPT];
static pthread_mutex_t round_trips_lock = PTHREAD_MUTEX_INITIALIZER;

/* The shortest of a few: the first may have to connect. */
static uint64_t
measure_round_trip(struct node *n, const char *region)
{
	json_t *in = json_object();
	uint64_t best = 0;

	for (unsigned i = 0; i < 3; i++) {
		uint64_t began = host_mono_ns(), us;
		json_t *answer = NULL;

		if (peer_call(n->peers, region, NULL, PREFIX "region/ping", NULL, in, &answer,
		        PING_MS, NULL) < 0)
			break;
		json_decref(answer);
		us = (host_mono_ns() - began) / 1000;
		if (!best || us < best)
			best = us;
	}
	json_decref(in);
	return best;
}

uint64_t
peer_round_trip_us(struct node *n, const char *region)
{
	uint64_t now = host_mono_ms(), us = 0;
	size_t at = 0;

	if (strcmp(region, n->region) == 0)
		return 0;
	pthread_mutex_lock(&round_trips_lock);
	while (at < ROUND_TRIP_KEPT - 1 && *round_trips[at].region &&
	    strcmp(round_trips[at].region, region) != 0)
		at++;
	if (strcmp(round_trips[at].region, region) == 0)
		us = round_trips[at].us;
	if (us && now - round_trips[at].measured_ms < ROUND_TRIP_MS) {
		pthread_mutex_unlock(&round_trips_lock);
		return us;
	}
	snprintf(round_trips[at].region, sizeof(round_trips[at].region), "%s", region);
	pthread_mutex_unlock(&round_trips_lock);

	us = measure_round_trip(n, region);
	pthread_mutex_lock(&round_trips_lock);
	if (us && strcmp(round_trips[at].region, region) == 0) {
		round_trips[at].us = us;
		round_trips[at].measured_ms = now;
	}
	pthread_mutex_unlock(&round_trips_lock);
	return us;
}

/* --- the calls --- */

static int
serve_ping(struct node *n, const char *caller, json_t *in, json_t **out, struct err *e)
{
	return admin_made(json_pack("{s:s}", "region", n->region), out, e);
}

static int
serve_nudge(struct node *n, const char *caller, json_t *in, json_t **out, struct err *e)
{
	mover_nudge(n->mover);
	return admin_made(json_object(), out, e);
}

static int
serve_status(struct node *n, const char *caller, json_t *in, json_t **out, struct err *e)
{
	const char *to = NULL;
	json_t *status;

	if (admin_unpack(in, e, "{s?s}", "to", &to) < 0)
		return -1;
	status = mover_status(n->mover);
	if (status && to)
		json_object_set_new(
		    status, "round_trip_us", json_integer((json_int_t)peer_round_trip_us(n, to)));
	return admin_made(status, out, e);
}

/* About what an account's vaults hold, from what accounts_show says of each: small content lies in
 * the pages, large content in chunks, and whichever is more makes the sum. */
static uint64_t
shown_bytes(json_t *shown)
{
	json_t *vaults = json_object_get(shown, "vaults"), *vault;
	uint64_t sum = 0;
	size_t i;

	json_array_foreach(vaults, i, vault)
	{
		uint64_t pages = (uint64_t)json_integer_value(json_object_get(vault, "pages"));
		uint64_t bytes = (uint64_t)json_integer_value(json_object_get(vault, "bytes"));

		sum += pages * 4096 > bytes ? pages * 4096 : bytes;
	}
	return sum;
}

static int
serve_estimate(struct node *n, const char *caller, json_t *in, json_t **out, struct err *e)
{
	_cleanup_(freep) struct account_id *ids = NULL;
	uint64_t bytes = 0;
	json_int_t seen = 0;
	json_t *list;
	size_t count;

	if (admin_unpack(in, e, "{s:o}", "accounts", &list) < 0 ||
	    admin_accounts(list, ESTIMATE_MAX, &ids, &count, e) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		json_t *shown = NULL;

		/* One that is just moving or gone does not spoil an estimate. */
		if (accounts_show(n, &ids[i], &shown, NULL) < 0)
			continue;
		bytes += shown_bytes(shown);
		seen++;
		json_decref(shown);
	}
	return admin_made(
	    json_pack("{s:I, s:I}", "accounts", seen, "bytes", (json_int_t)bytes), out, e);
}

/* An account that can't be verified is a result too: the others still are. */
static json_t *
verify_one(struct node *n, const struct account_id *id)
{
	char text[ACCOUNT_TEXT_SIZE];
	json_t *result = NULL;
	struct err why = { 0 };

	if (mover_verify(n, id, &result, &why) == 0)
		return result;
	account_text(id, text);
	return json_pack("{s:s, s:s, s:s, s:i}", "account", text, "result",
	    why.kind == ERR_STALE        ? "left"
	        : why.kind == ERR_FORGED ? "bad"
	                                 : "unknown",
	    "detail", why.text, "bytes", 0);
}

static int
serve_verify(struct node *n, const char *caller, json_t *in, json_t **out, struct err *e)
{
	_cleanup_(freep) struct account_id *ids = NULL;
	json_t *list, *results;
	size_t count;

	if (admin_unpack(in, e, "{s:o}", "accounts", &list) < 0 ||
	    admin_accounts(list, VERIFY_MAX, &ids, &count, e) < 0)
		return -1;
	results = json_array();
	for (size_t i = 0; i < count; i++) {
		if (json_array_append_new(results, verify_one(n, &ids[i])) < 0) {
			json_decref(results);
			return err_set(e, ERR_MEMORY, "no memory for the results");
		}
	}
	return admin_made(json_pack("{s:o}", "results", results), out, e);
}

static const struct {
	const char *op;
	peer_fn *fn;
	bool needs_store;
} calls[] = {
	{ "region/ping", serve_ping, false },
	{ "move/nudge", serve_nudge, true },
	{ "move/status", serve_status, true },
	{ "move/estimate", serve_estimate, true },
	{ "move/verify", serve_verify, true },
};

static int
no_store(struct node *n, struct err *e)
{
	return err_set(e, ERR_MISSING, "%s has no store, so no accounts", n->region);
}

int
peer_serve(struct node *n, const char *id, const char *caller, const char *op, json_t *in,
    json_t **out, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		if (strcmp(op, calls[i].op) == 0) {
			if (calls[i].needs_store && !n->mover)
				return no_store(n, e);
			return calls[i].fn(n, caller, in, out, e);
		}
	if (strncmp(op, "directory/", 10) == 0) {
		if (!n->serves_directory)
			return err_set(e, ERR_DENIED, "%s serves no directory", n->region);
		return directory_serve(
		    n->directory, caller, peers_may_operate(n->peers, caller), op + 10, in, out, e);
	}
	if (strncmp(op, "account/", 8) == 0)
		return n->engine ? accounts_serve(n, caller, op + 8, in, out, e) : no_store(n, e);
	if (strncmp(op, "app/", 4) == 0)
		return n->applications ? applications_serve(n, caller, op + 4, in, out, e)
		                       : no_store(n, e);
	if (strncmp(op, "move/", 5) == 0)
		return n->mover ? mover_serve(n, caller, op + 5, in, out, e) : no_store(n, e);
	return err_set(e, ERR_MISSING, "there is no call %.60s", op);
}

int
region_call(struct request *r, const char *region, const char *op, json_t *in, uint64_t timeout_ms,
    json_t **out, struct err *e)
{
	struct node *n = r->node;
	char path[80];

	if (strcmp(region, n->region) == 0)
		return peer_serve(n, r->id, n->region, op, in, out, e);
	snprintf(path, sizeof(path), PREFIX "%s", op);
	return peer_call(n->peers, region, NULL, path, r->id, in, out, timeout_ms, e);
}

static int
call_from_peer(struct request *r, json_t *in, json_t **out, struct err *e)
{
	return peer_serve(r->node, r->id, r->peer, r->path + strlen(PREFIX), in, out, e);
}

/* A forwarded user's request is never a call, whatever its path: a bucket may be named "peer". */
enum handle
peer_handle(struct request *r)
{
	struct err e;

	if (!request_header(r, "x-domicile-hops") && strncmp(r->path, PREFIX, strlen(PREFIX)) == 0)
		return admin_answer(r, call_from_peer);
	if (r->node->engine)
		return s3_handle(r);
	no_store(r->node, &e);
	problem(r, &e);
	return HANDLE_DONE;
}
