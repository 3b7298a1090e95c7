/* The listeners' start and stop; MHD's options. */
#include "front/http_internal.h"

#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/host.h"
#include "base/log.h"
#include "base/stats.h"
#include "directory/peer.h"

#define WORKERS_DEFAULT   512
#define CONNECTIONS_ADMIN 256
#define IDLE_DEFAULT_MS   60000
#define PEM_MAX           ((size_t)1 << 20)

static struct counter connections_now = GAUGE(
    "domicile_http_connections", NULL, "Connections of users and regions.");

/* --- MHD's callbacks --- */

/* Escapes stay: the signature is over what was sent. */
static size_t
leave_escapes(void *arg, struct MHD_Connection *conn, char *s)
{
	(void)arg, (void)conn;
	return strlen(s);
}

static void
notify_connection(void *arg, struct MHD_Connection *conn, void **context,
    enum MHD_ConnectionNotificationCode code)
{
	struct shard *s = arg;
	struct listener *l = s->listener;
	int change = code == MHD_CONNECTION_NOTIFY_STARTED ? 1 : -1;

	if (change > 0) {
		struct connection *c = limits_enter(l, conn);

		if (c && (l->kind == LISTEN_PEER || l->kind == LISTEN_S3))
			c->tls = tls_attach(conn, c);
		*context = c;
	} else {
		limits_leave(*context);
		*context = NULL;
		atomic_fetch_sub(&s->connections, 1); /* the acceptor added it */
		limits_accepted(l, -1);
	}
	if (l->kind <= LISTEN_PEER)
		counter_add(&connections_now, change);
}

/* What MHD has to say about a daemon that it does not start. Later it tells of clients that went
 * away. */
static void
keep_message(void *arg, const char *format, va_list args)
{
	struct front *f = arg;

	if (atomic_load(&f->is_started) || *f->message)
		return;
	vsnprintf(f->message, sizeof f->message, format, args);
	f->message[strcspn(f->message, "\r\n")] = '\0';
}

/* --- a listener --- */

struct tls {
	const char *cert, *key, *trust; /* PEM; NULL: none */
};

/* What a head is refused for by ourselves, with a better answer, has to fit, and MHD's list of its headers. Without
 * TLS the head of an answer, too, which may be as large as one; with it that is not MHD's (http_tls.c). */
static size_t
pool_bytes(const struct listener *l, bool over_tls)
{
	size_t head = l->front->head_bytes + (l->kind == LISTEN_PEER ? HTTP_PEER_BYTES : 0);

	if (over_tls)
		return head + HTTP_LIST_BYTES;
	return 2 * head > HTTP_POOL_BYTES ? 2 * head : HTTP_POOL_BYTES;
}

/* Whoever is late was told before, and shut (http_limits.c); that takes twice the time at most. */
static unsigned
mhd_timeout_s(const struct front *f)
{
	return (unsigned)(f->idle_ms / 500) + 2;
}

static int
start_shard(struct listener *l, struct shard *s, const struct tls *tls, struct err *e)
{
	struct front *f = l->front;
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
	    MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG;
	struct MHD_OptionItem o[8];
	unsigned n = 0;

	if (tls->cert) {
		flags |= MHD_USE_TLS;
		o[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)tls->cert };
		o[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)tls->key };
		o[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_PRIORITIES, 0,
			(void *)(l->kind == LISTEN_PEER ? PEER_PRIORITIES : TLS_PRIORITIES) };
	}
	if (tls->trust)
		o[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_TRUST, 0,
			(void *)tls->trust };
	o[n] = (struct MHD_OptionItem){ MHD_OPTION_END, 0, NULL };
	s->listener = l;
	s->daemon = MHD_start_daemon(flags, 0, NULL, NULL, http_access, l,
	    MHD_OPTION_EXTERNAL_LOGGER, keep_message, f, MHD_OPTION_NOTIFY_COMPLETED,
	    http_completed, l, MHD_OPTION_NOTIFY_CONNECTION, notify_connection, s,
	    MHD_OPTION_URI_LOG_CALLBACK, http_uri_seen, l, MHD_OPTION_UNESCAPE_CALLBACK,
	    leave_escapes, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT, pool_bytes(l, tls->cert),
	    MHD_OPTION_CONNECTION_LIMIT,
	    l->kind <= LISTEN_PEER ? limits_of_mhd(l) : CONNECTIONS_ADMIN,
	    MHD_OPTION_CONNECTION_TIMEOUT, mhd_timeout_s(f), MHD_OPTION_STRICT_FOR_CLIENT, 1,
	    MHD_OPTION_ARRAY, o, MHD_OPTION_END);
	if (!s->daemon)
		return err_set(e, ERR_BAD, "the HTTP server does not start: %s",
		    *f->message ? f->message : strerror(errno));
	return 0;
}

/* Many requests wait for each of these threads, beside others that compute for long. */
static int
start_shards(struct listener *l, unsigned n, const struct tls *tls, struct err *e)
{
	int rc = 0;

	thread_turns(HTTP_TURN_US);
	while (rc == 0 && l->n_shards < n) {
		rc = start_shard(l, &l->shards[l->n_shards], tls, e);
		l->n_shards += rc == 0;
	}
	thread_turns(0);
	return rc;
}

static const char *const listener_names[] = {
	[LISTEN_S3] = "s3",
	[LISTEN_S3_PLAIN] = "s3_plain",
	[LISTEN_PEER] = "peer",
	[LISTEN_ADMIN] = "admin",
	[LISTEN_METRICS] = "metrics",
};

/* An error names the word of region.conf. */
static int
open_tcp(struct front *f, unsigned which, const char *at, bool loopback_only, struct err *e)
{
	if (listener_open_tcp(&f->listeners[which], at, loopback_only, e) < 0)
		return err_add(e, "%s_listen", listener_names[which]);
	return 0;
}

static int
start_s3_tls(struct front *f, const struct front_config *c, unsigned threads, struct err *e)
{
	struct listener *l = &f->listeners[LISTEN_S3];
	_cleanup_buf_ struct buf cert = BUF_INIT(PEM_MAX);
	_cleanup_secret_buf_ struct buf key = BUF_INIT(PEM_MAX);
	struct tls tls;

	if (!c->cert_path || !c->key_path)
		return err_set(e, ERR_BAD, "the S3 listener needs a certificate and its key");
	if (fs_read(c->cert_path, PEM_MAX, &cert, e) < 0 ||
	    fs_read(c->key_path, PEM_MAX, &key, e) < 0)
		return -1;
	tls = (struct tls){ buf_str(&cert), buf_str(&key), NULL };
	if (open_tcp(f, LISTEN_S3, c->s3_tls_at, false, e) < 0)
		return -1;
	return start_shards(l, threads, &tls, e);
}

static int
start_peer(struct front *f, const struct front_config *c, unsigned threads, struct err *e)
{
	struct listener *l = &f->listeners[LISTEN_PEER];
	struct peers *p = f->node->peers;
	struct tls tls;

	if (!p)
		return err_set(e, ERR_BAD, "a peer listener needs the regions' certificates");
	tls = (struct tls){ peers_cert_pem(p), peers_key_pem(p), peers_ca_pem(p) };
	if (open_tcp(f, LISTEN_PEER, c->peer_at, false, e) < 0)
		return -1;
	return start_shards(l, threads, &tls, e);
}

static int
start_listeners(struct front *f, const struct front_config *c, unsigned threads, struct err *e)
{
	const struct tls none = { NULL, NULL, NULL };
	struct listener *l = f->listeners;

	if (c->s3_tls_at && start_s3_tls(f, c, threads, e) < 0)
		return -1;
	if (c->s3_plain_at &&
	    (open_tcp(f, LISTEN_S3_PLAIN, c->s3_plain_at, true, e) < 0 ||
	        start_shards(&l[LISTEN_S3_PLAIN], threads, &none, e) < 0))
		return -1;
	/* Half of a user's requests may come here: those that other regions pass on. */
	if (c->peer_at && start_peer(f, c, threads, e) < 0)
		return -1;
	if (c->admin_socket &&
	    (listener_open_unix(&l[LISTEN_ADMIN], c->admin_socket, e) < 0 ||
	        start_shards(&l[LISTEN_ADMIN], 1, &none, e) < 0))
		return -1;
	if (c->metrics_at &&
	    (open_tcp(f, LISTEN_METRICS, c->metrics_at, true, e) < 0 ||
	        start_shards(&l[LISTEN_METRICS], 1, &none, e) < 0))
		return -1;
	return acceptor_start(f, e);
}

/* --- start --- */

static struct front *
front_new(const struct front_config *c, const struct front_table *t)
{
	struct front *f = calloc(1, sizeof *f);

	if (!f)
		return NULL;
	f->node = c->node;
	f->table = *t;
	f->idle_ms = c->idle_ms ? c->idle_ms : IDLE_DEFAULT_MS;
	f->head_bytes = c->head_bytes ? (size_t)c->head_bytes : HTTP_HEAD_BYTES;
	f->stop_fd = -1;
	for (unsigned i = 0; i < HTTP_SPARE_FILES; i++)
		f->spare[i] = -1;
	pthread_mutex_init(&f->live_lock, NULL);
	host_random(&f->id_base, sizeof f->id_base);
	for (unsigned i = 0; i < LISTENERS; i++) {
		struct listener *l = &f->listeners[i];

		l->front = f;
		l->kind = i;
		l->fd = -1;
		l->ops = i == LISTEN_PEER ? &f->table.peer
		    : i == LISTEN_ADMIN   ? &f->table.admin
		    : i == LISTEN_METRICS ? &f->table.metrics
		                          : &f->table.s3;
	}
	return f;
}

struct front *
front_start_with(const struct front_config *c, const struct front_table *t, struct err *e)
{
	struct front *f = front_new(c, t);
	unsigned threads = c->threads ? c->threads : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);

	if (!f) {
		err_set(e, ERR_MEMORY, "no memory for the HTTP server");
		return NULL;
	}
	if (limits_init(f, c, e) < 0) {
		pthread_mutex_destroy(&f->live_lock);
		free(f);
		return NULL;
	}
	if (threads > HTTP_SHARDS_MAX)
		threads = HTTP_SHARDS_MAX;
	f->workers = workers_start(c->workers ? c->workers : WORKERS_DEFAULT, e);
	if (!f->workers || start_listeners(f, c, threads, e) < 0) {
		front_stop(f, 0);
		return NULL;
	}
	atomic_store(&f->is_started, true);
	return f;
}

unsigned
front_port(const struct front *f, const char *which)
{
	for (unsigned i = 0; i < LISTENERS; i++)
		if (!strcmp(listener_names[i], which))
			return f->listeners[i].port;
	return 0;
}

/* --- stop --- */

static void
wait_for(_Atomic int *count, uint64_t until_ms)
{
	while (atomic_load(count) > 0 && host_mono_ms() < until_ms)
		usleep(2000);
}

static void
abort_live(struct front *f)
{
	pthread_mutex_lock(&f->live_lock);
	for (struct http_request *h = f->live; h; h = h->live_next)
		http_abort(h);
	pthread_mutex_unlock(&f->live_lock);
}

/* MHD can't be stopped before everything is back: handlers that wait for a move or a disk are let
 * finish. What they can wait for is bounded elsewhere. */
static void
bring_home(struct front *f)
{
	uint64_t began = host_mono_ms(), said = began;

	atomic_store(&f->is_aborting, true);
	while (atomic_load(&f->away) > 0) {
		abort_live(f);
		wait_for(&f->away, host_mono_ms() + 50);
		if (host_mono_ms() - said > 5000) {
			said = host_mono_ms();
			log_warn("http.stop", NULL, "requests=%d waited_ms=%llu",
			    atomic_load(&f->away), (unsigned long long)(said - began));
		}
	}
}

void
front_stop(struct front *f, uint64_t grace_ms)
{
	if (!f)
		return;
	atomic_store(&f->is_stopping, true);
	acceptor_stop(f);
	for (unsigned i = 0; i < LISTENERS; i++)
		listener_close(&f->listeners[i]);
	wait_for(&f->inside, host_mono_ms() + grace_ms);
	bring_home(f);
	for (unsigned i = 0; i < LISTENERS; i++)
		for (unsigned k = 0; k < f->listeners[i].n_shards; k++)
			MHD_stop_daemon(f->listeners[i].shards[k].daemon);
	workers_stop(f->workers);
	if (f->stop_fd >= 0)
		close(f->stop_fd);
	limits_free(f);
	pthread_mutex_destroy(&f->live_lock);
	free(f);
}
