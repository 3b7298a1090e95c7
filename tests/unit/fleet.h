/* fleet.h - a few regions that know each other, in one process: a CA, certificates, peers, and an
 * HTTPS server like the one that a node has for its peers.
 */
#ifndef FLEET_H
#define FLEET_H

#include <microhttpd.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <netinet/in.h>

#include "base/fs.h"
#include "check.h"
#include "directory/ca.h"
#include "directory/directory.h"
#include "directory/peer.h"

#define FLEET_REGIONS 3
static const char *const fleet_names[FLEET_REGIONS] = { "cn-bj", "sg", "us" };

/* Carries out a call from region CALLER. */
typedef int fleet_call_fn(void *arg, const char *caller, const char *path, json_t *arguments,
    json_t **answer, struct err *e);

struct fleet_server {
	struct MHD_Daemon *daemon;
	struct peers *peers;
	fleet_call_fn *fn;
	void *arg;
	const char *_Atomic raw; /* instead of what fn answers */
	_Atomic unsigned connections;
	char at[32];
};

/* Peers for region NAME of the CA in DIR/CA, which knows the others by name. */
static inline struct peers *
fleet_peers(const char *dir, const char *ca, const char *name)
{
	char folder[512], ca_pem[600], key[600], cert[600];
	struct err e = { 0 };
	struct peer_region known[FLEET_REGIONS] = { 0 };
	struct peers *p;

	snprintf(folder, sizeof folder, "%s/%s", dir, ca);
	snprintf(ca_pem, sizeof ca_pem, "%s/ca.pem", folder);
	snprintf(key, sizeof key, "%s/%s.key", folder, name);
	snprintf(cert, sizeof cert, "%s/%s.pem", folder, name);
	if (access(ca_pem, F_OK) < 0)
		CHECK_OK(ca_create(folder, "a fleet", &e), &e);
	if (access(key, F_OK) < 0)
		CHECK_OK(ca_issue(folder, name, NULL, 0, 30, key, cert, &e), &e);
	p = peers_open(&(struct peers_config){ name, ca_pem, cert, key, NULL }, &e);
	if (!p)
		fail_msg("%s", e.text);
	for (int i = 0; i < FLEET_REGIONS; i++)
		strcpy(known[i].name, fleet_names[i]);
	CHECK_OK(peers_set_regions(p, known, FLEET_REGIONS, &e), &e);
	return p;
}

#define FLEET_PEERS(name, dir, ca, region) \
	_cleanup_(peers_closep) struct peers *name = fleet_peers(dir, ca, region)

/* NAME is where P finds it, and the only one that it knows. */
static inline void
fleet_know(struct peers *p, const char *name, const char *peer_at, const char *stream_at)
{
	struct peer_region r = { .jurisdiction = "SG" };
	struct err e = { 0 };

	strcpy(r.name, name);
	snprintf(r.peer_at, sizeof r.peer_at, "%s", peer_at);
	snprintf(r.stream_at, sizeof r.stream_at, "%s", stream_at);
	CHECK_OK(peers_set_regions(p, &r, 1, &e), &e);
}

/* HTTP */

struct fleet_request {
	struct buf body;
};

static inline enum MHD_Result
fleet_answer(struct MHD_Connection *c, unsigned status, const char *text)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(
	    strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result rc = MHD_queue_response(c, status, r);

	MHD_destroy_response(r);
	return rc;
}

static inline enum MHD_Result
fleet_problem(struct MHD_Connection *c, unsigned status, const struct err *e)
{
	json_t *problem = json_pack(
	    "{s:s, s:i, s:s}", "kind", err_word(e->kind), "status", (int)status, "detail", e->text);
	char *text = json_dumps(problem, 0);
	enum MHD_Result rc = fleet_answer(c, status, text);

	free(text);
	json_decref(problem);
	return rc;
}

static inline enum MHD_Result
fleet_carry_out(struct fleet_server *s, struct MHD_Connection *c, const char *url, struct buf *body)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
	    c, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	json_t *arguments, *answer = NULL;
	char caller[REGION_NAME_SIZE], *text;
	enum MHD_Result rc;
	struct err e = { 0 };

	if (peers_check_session(s->peers, info->tls_session, caller, &e) < 0)
		return fleet_problem(c, 403, &e);
	if (s->raw)
		return fleet_answer(c, 200, s->raw);
	arguments = json_loadb((const char *)body->data, body->len, 0, NULL);
	if (s->fn(s->arg, caller, url, arguments, &answer, &e) < 0) {
		json_decref(arguments);
		return fleet_problem(c, 400, &e);
	}
	text = json_dumps(answer, JSON_COMPACT);
	rc = fleet_answer(c, 200, text);
	free(text);
	json_decref(answer);
	json_decref(arguments);
	return rc;
}

static inline enum MHD_Result
fleet_handle(void *arg, struct MHD_Connection *c, const char *url, const char *method,
    const char *version, const char *data, size_t *n, void **state)
{
	struct fleet_request *r = *state;

	if (!r) {
		*state = calloc(1, sizeof *r);
		return *state ? MHD_YES : MHD_NO;
	}
	if (*n) {
		buf_add(&r->body, data, *n);
		*n = 0;
		return MHD_YES;
	}
	return fleet_carry_out(arg, c, url, &r->body);
}

static inline void
fleet_completed(
    void *arg, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode why)
{
	struct fleet_request *r = *state;

	if (r)
		buf_free(&r->body);
	free(r);
}

static inline void
fleet_connected(
    void *arg, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode code)
{
	struct fleet_server *s = arg;

	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		atomic_fetch_add(&s->connections, 1);
}

/* On a port of its own of the loopback address; S->at tells. */
static inline void
fleet_serve(struct fleet_server *s, struct peers *p, fleet_call_fn *fn, void *arg)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };

	s->peers = p;
	s->fn = fn;
	s->arg = arg;
	s->raw = NULL;
	atomic_store(&s->connections, 0);
	s->daemon = MHD_start_daemon(
	    MHD_USE_TLS | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION, 0, NULL,
	    NULL, fleet_handle, s, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&at,
	    MHD_OPTION_HTTPS_MEM_KEY, peers_key_pem(p), MHD_OPTION_HTTPS_MEM_CERT,
	    peers_cert_pem(p), MHD_OPTION_HTTPS_MEM_TRUST, peers_ca_pem(p),
	    MHD_OPTION_HTTPS_PRIORITIES, TLS_PRIORITIES, MHD_OPTION_NOTIFY_COMPLETED,
	    fleet_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION, fleet_connected, s,
	    MHD_OPTION_END);
	CHECK(s->daemon);
	snprintf(s->at, sizeof s->at, "127.0.0.1:%u",
	    MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
}

static inline void
fleet_unserve(struct fleet_server *s)
{
	if (s->daemon)
		MHD_stop_daemon(s->daemon);
	s->daemon = NULL;
}

#endif
