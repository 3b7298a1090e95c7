/* admin_region.c - the operator's calls about regions, the directory and certificates. */
#include "front/admin_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "base/rate.h"
#include "directory/peer.h"
#include "front/front.h"
#include "move/mover.h"
#include "service/gauges.h"
#include "service/policy.h"
#include "service/rotation.h"
#include "standby/follower.h"
#include "standby/standby.h"

#define REGIONS_MAX 64
#define ASK_MS      10000

/* --- status --- */

static json_t *
regions_json(struct node *n)
{
	_cleanup_(freep) struct peer_region *all = calloc(REGIONS_MAX, sizeof(*all));
	size_t count = all ? peers_list(n->peers, all, REGIONS_MAX) : 0;
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		bool is_self = strcmp(all[i].name, n->region) == 0;
		uint64_t us = is_self ? 0 : peer_round_trip_us(n, all[i].name);

		json_array_append_new(list,
		    json_pack("{s:s, s:s, s:s, s:b, s:I}", "region", all[i].name, "jurisdiction",
		        all[i].jurisdiction, "s3", all[i].s3_url, "reachable", is_self || us > 0,
		        "round_trip_us", (json_int_t)us));
	}
	return list;
}

static json_t *
standby_json(struct node *n)
{
	struct standby_state s;

	standby_state(n->standby, &s);
	return json_pack("{s:b, s:b, s:b, s:b, s:I, s:I, s:I, s:I}", "connected",
	    (int)s.is_connected, "copying", (int)s.is_copying, "serves", (int)s.may_serve, "lost",
	    (int)s.is_lost, "term", (json_int_t)s.term, "lag_versions", (json_int_t)s.lag_versions,
	    "lag_ms", (json_int_t)s.lag_ms, "kept_bytes", (json_int_t)s.kept_bytes);
}

static json_t *
follower_json(struct node *n)
{
	struct follower_state f;

	follower_state(n->follower, &f);
	return json_pack("{s:b, s:b, s:b, s:I, s:I, s:I, s:b}", "connected", (int)f.is_connected,
	    "copying", (int)f.is_copying, "has_all", (int)f.has_all, "term", (json_int_t)f.term,
	    "versions", (json_int_t)(f.next ? f.next - 1 : 0), "heard_ms",
	    f.heard_ms == UINT64_MAX ? (json_int_t)-1 : (json_int_t)f.heard_ms, "whole",
	    f.whole_at <= f.next);
}

static json_t *
limits_json(const struct request *r)
{
	const struct rate *account = r->node->account_rate;
	struct front_limits l;

	front_limits(r->front, &l);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "connections",
	    (json_int_t)l.connections, "connections_per_address",
	    (json_int_t)l.connections_per_address, "requests_memory", (json_int_t)l.requests_memory,
	    "idle_ms", (json_int_t)l.idle_ms, "headers_bytes", (json_int_t)l.head_bytes,
	    "address_rate", (json_int_t)l.address_rate, "address_burst",
	    (json_int_t)l.address_burst, "account_rate",
	    account ? (json_int_t)rate_per_s(account) : 0, "account_burst",
	    account ? (json_int_t)rate_burst(account) : 0, "account_buckets",
	    (json_int_t)r->node->buckets_max);
}

int
admin_region_status(struct request *r, json_t *in, json_t **out, struct err *e)
{
	struct node *n = r->node;
	struct gauges g;
	char unknown[200];
	json_t *status;

	if (admin_unpack(in, e, "{}") < 0)
		return -1;
	gauges_read(n, &g);
	status = json_pack("{s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:o}", "region", n->region,
	    "jurisdiction", n->jurisdiction, "has_store", n->engine != NULL, "serves_directory",
	    (int)n->serves_directory, "vaults_open", (json_int_t)g.vaults_open, "requests_waiting",
	    (json_int_t)g.requests_waiting, "store_bytes", (json_int_t)g.store_bytes, "regions",
	    regions_json(n));
	if (status)
		json_object_set_new(status, "limits", limits_json(r));
	policy_unknown(n->policy, n->peers, unknown, sizeof unknown);
	if (status && *unknown)
		json_object_set_new(status, "policy_unknown", json_string(unknown));
	if (status && n->mover)
		json_object_set_new(status, "moving", mover_status(n->mover));
	if (status && n->rotation) {
		json_t *key;

		if (rotation_status(n->rotation, &key, e) < 0) {
			json_decref(status);
			return -1;
		}
		json_object_set_new(status, "key", key);
	}
	if (status && n->standby)
		json_object_set_new(status, "standby", standby_json(n));
	if (status && n->follower)
		json_object_set_new(status, "follows", follower_json(n));
	return admin_made(status, out, e);
}

int
admin_region_sample(struct request *r, json_t *in, json_t **out, struct err *e)
{
	const char *account;
	struct account_id id;

	if (admin_unpack(in, e, "{s:s}", "account", &account) < 0 ||
	    admin_account(account, &id, e) < 0)
		return -1;
	if (!r->node->engine)
		return err_set(e, ERR_MISSING, "%s has no store", r->node->region);
	return mover_sample(r->node, &id, out, e);
}

static int
count_wave(void *arg, const struct wave *w, struct err *e)
{
	const char *state = wave_state_name(w->state);
	json_int_t had = json_integer_value(json_object_get(arg, state));

	json_object_set_new(arg, state, json_integer(had + 1));
	return 0;
}

int
admin_directory_status(struct request *r, json_t *in, json_t **out, struct err *e)
{
	json_t *counts = NULL, *waves = json_object();
	struct node *n = r->node;
	uint64_t began = host_mono_ns();

	if (admin_unpack(in, e, "{}") < 0 || directory_count(n->directory, &counts, e) < 0 ||
	    directory_wave_list(n->directory, NULL, count_wave, waves, e) < 0) {
		json_decref(counts);
		json_decref(waves);
		return -1;
	}
	return admin_made(
	    json_pack("{s:s, s:I, s:o, s:o}", "served_by",
	        n->serves_directory ? "this node" : "remote", "answer_us",
	        (json_int_t)((host_mono_ns() - began) / 1000), "accounts", counts, "waves", waves),
	    out, e);
}

/* --- certificates --- */

/* A later move first; of the same move, the certificate that has the erasure. -1: none. */
static long long
worth(json_t *certificate)
{
	const char *text = json_string_value(json_object_get(certificate, "statement"));
	const char *epoch = text ? strstr(text, "\nepoch ") : NULL;

	if (!epoch)
		return -1;
	return atoll(epoch + 7) * 2 + (json_object_get(certificate, "erasure") != NULL);
}

static void
keep_better(json_t **best, json_t *other)
{
	if (worth(other) > worth(*best)) {
		json_decref(*best);
		*best = json_incref(other);
	}
	json_decref(other);
}

/* Both regions of a move have its proof, the one that was left has its erasure too: ask all, since
 * the account may have moved on since. One that can't be reached is told only if no other knows. */
int
admin_certificate(struct request *r, json_t *in, json_t **out, struct err *e)
{
	_cleanup_(freep) struct peer_region *all = calloc(REGIONS_MAX, sizeof(*all));
	struct node *n = r->node;
	json_t *best = NULL;
	const char *account;
	json_int_t epoch = 0;
	struct account_id id;
	size_t count;

	if (!all)
		return err_set(e, ERR_MEMORY, "no memory");
	if (admin_unpack(in, e, "{s:s, s?I}", "account", &account, "epoch", &epoch) < 0 ||
	    admin_account(account, &id, e) < 0)
		return -1;
	if (epoch < 0)
		return err_set(e, ERR_BAD, "an epoch can't be negative");
	err_set(e, ERR_MISSING, "no certificate of account %s is known", account);
	count = peers_list(n->peers, all, REGIONS_MAX);
	for (size_t i = 0; i < count; i++) {
		json_t *body = json_pack("{s:s, s:I}", "account", account, "epoch", epoch);
		json_t *one = NULL;
		struct err why = { 0 };

		if (region_call(r, all[i].name, "move/certificate", body, ASK_MS, &one, &why) == 0)
			keep_better(&best, one);
		else if (why.kind != ERR_MISSING)
			*e = why;
		json_decref(body);
	}
	if (!best)
		return -1;
	*out = best;
	return 0;
}
