/* metrics.c - /metrics for Prometheus, /healthz for whoever restarts or balances. */
#include "front/admin.h"

#include <stdatomic.h>
#include <string.h>

#include "base/host.h"
#include "base/refused.h"
#include "base/stats.h"
#include "service/gauges.h"
#include "standby/follower.h"
#include "standby/standby.h"

static struct counter vaults_open = GAUGE("domicile_vaults_open", NULL, "Vaults open in memory.");
static struct counter requests_waiting = GAUGE(
    "domicile_requests_waiting", NULL, "Requests waiting at the gate for a move to end.");
static struct counter store_bytes = GAUGE(
    "domicile_store_bytes", NULL, "Bytes of sealed records on disk, chunks not counted.");
static struct counter free_bytes = GAUGE("domicile_store_free_bytes", NULL,
    "Bytes that may still be written to the store, less what is kept for deleting.");
static struct counter since_s = GAUGE(
    "domicile_start_time_seconds", NULL, "When the node began to serve, seconds since 1970.");

static struct counter standby_connected = GAUGE(
    "domicile_standby_connected", NULL, "Whether this node and its standby are in touch (1).");
static struct counter standby_lag_versions = GAUGE(
    "domicile_standby_lag_versions", NULL, "Durable changes that the standby has not confirmed.");
static struct counter standby_lag_seconds = GAUGE("domicile_standby_lag_seconds", NULL,
    "How long the oldest of them has been durable. At a standby: since it last heard of its region's node.");
static struct counter standby_kept_bytes = GAUGE(
    "domicile_standby_kept_bytes", NULL, "Bytes of logs that are kept until the standby has them.");
static struct counter standby_serves = GAUGE("domicile_standby_serves", NULL,
    "Whether this node knows that its standby was not promoted, and so serves (1).");

void
metrics_begin(void)
{
	counter_set(&since_s, (int64_t)(host_wall_ms() / 1000));
	refused_begin();
}

static void
measure_standby(struct node *n)
{
	struct standby_state s;
	struct follower_state f;

	if (n->standby) {
		standby_state(n->standby, &s);
		counter_set(&standby_connected, s.is_connected);
		counter_set(&standby_lag_versions, (int64_t)s.lag_versions);
		counter_set(&standby_lag_seconds, (int64_t)(s.lag_ms + 999) / 1000);
		counter_set(&standby_kept_bytes, (int64_t)s.kept_bytes);
		counter_set(&standby_serves, s.may_serve);
	}
	if (n->follower) {
		follower_state(n->follower, &f);
		counter_set(&standby_connected, f.is_connected);
		counter_set(&standby_lag_seconds,
		    f.heard_ms == UINT64_MAX ? -1 : (int64_t)(f.heard_ms / 1000));
		counter_set(&store_bytes, (int64_t)f.bytes);
	}
}

static void
answer_metrics(struct request *r)
{
	struct gauges g;

	gauges_read(r->node, &g);
	counter_set(&vaults_open, (int64_t)g.vaults_open);
	counter_set(&requests_waiting, (int64_t)g.requests_waiting);
	counter_set(&store_bytes, (int64_t)g.store_bytes);
	counter_set(&free_bytes, g.free_bytes < INT64_MAX ? (int64_t)g.free_bytes : INT64_MAX);
	measure_standby(r->node);
	r->status = 200;
	response_header(r, "Content-Type", "text/plain; version=0.0.4");
	stats_write(&r->body);
}

/* Says that the node serves. Not that the directory or other regions can be reached: a node is of
 * use without them, and must not be restarted for their sake. Nor for a full disk: it serves reads. */
static void
answer_health(struct request *r)
{
	char since[25];

	host_time_text((uint64_t)counter_get(&since_s) * 1000, since);
	r->status = 200;
	response_header(r, "Content-Type", "application/json");
	buf_printf(&r->body,
	    "{\"status\":\"ok\",\"region\":\"%s\",\"since\":\"%s\",\"store\":%s,"
	    "\"full\":%s,\"directory\":\"%s\"}\n",
	    r->node->region, since, r->node->engine ? "true" : "false",
	    gauges_is_full(r->node) ? "true" : "false",
	    r->node->serves_directory ? "here" : "remote");
}

enum handle
metrics_handle(struct request *r)
{
	bool is_get = strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;

	if (is_get && strcmp(r->path, "/metrics") == 0)
		answer_metrics(r);
	else if (is_get && strcmp(r->path, "/healthz") == 0)
		answer_health(r);
	else
		problem(r, &(struct err){ ERR_MISSING, "here are /metrics and /healthz" });
	return HANDLE_DONE;
}
