/* What one client may take: places among the connections, time, memory.
 *
 * Places. Users have `connections` of them, one address of users at most so many; regions have
 * theirs apart, and operators too, so that users can't keep either out. Connections beyond are
 * taken all the same, SURPLUS_MAX of them, for the sake of a clear answer: 503, and closed. What is
 * beyond these waits in the backlog.
 *
 * Requests. One address of users may have so many a second (base/rate.h), where that is configured.
 * Regions may ask as often as they like: what they pass on was counted where it came in.
 *
 * Time. A client owes the server something whenever the server waits for it: a handshake and a
 * head, the rest of a body, room for an answer. It has `until_ms` for that, and each byte that
 * comes or goes buys it a millisecond more, so that a byte a minute keeps nothing for long.
 * Whoever is late with a body is told so (http_past.c), and has its socket shut like all who are late;
 * MHD then ends the connection as if the client had. While the server is the one to act there is no
 * limit.
 *
 * Memory. Bodies, rings and answers are counted; beyond `memory_max` new requests are refused with
 * 503 before their body is read; of one that is collected what has come is counted. Regions may have a
 * quarter more.
 */
#include "front/http_internal.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/host.h"
#include "base/log.h"
#include "base/rate.h"
#include "base/refused.h"
#include "base/stats.h"

/* Out of memory is reported by hh.tbl staying NULL, not by exit. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define SURPLUS_MAX     64
#define SURPLUS_MS      5000 /* for a handshake, a head, and to take the answer */
#define SWEEP_EVERY_MS  500
#define FILES_PER_USER  2 /* the socket, and a chunk or a connection to another region */
#define CONNECTIONS_MIN 16
#define PEERS_SHARE     4                 /* regions: a quarter as many as users */
#define RATE_PLACES     ((size_t)1 << 16) /* 512 KiB */

struct address {
	uint8_t b[16]; /* IPv4: mapped; IPv6: the first half, which is one customer's */
	unsigned n;
	UT_hash_handle hh;
};

static struct counter memory_now = GAUGE(
    "domicile_http_memory_bytes", NULL, "Memory of bodies and answers that are on their way.");

/* --- places --- */

static unsigned
fit_files(unsigned wanted, uint64_t files)
{
	/* Users, and regions a quarter as many. */
	uint64_t each4 = 4 * FILES_PER_USER + FILES_PER_USER;
	uint64_t fit = files > SURPLUS_MAX ? (files - SURPLUS_MAX) * PEERS_SHARE / each4 : 0;

	return wanted < fit ? wanted : (unsigned)fit;
}

int
limits_init(struct front *f, const struct front_config *c, struct err *e)
{
	unsigned wanted = c->connections ? c->connections : HTTP_CONNECTIONS;
	unsigned most = c->files ? fit_files(wanted, c->files) : wanted;

	if (most < CONNECTIONS_MIN && most < wanted)
		return err_set(e, ERR_BAD,
		    "too few files may be open: %llu are left for connections, which is enough for "
		    "%u; raise the limit of the process (ulimit -n, LimitNOFILE=)",
		    (unsigned long long)c->files, most);
	if (most < wanted)
		log_warn("limits.connections", NULL,
		    "configured=%u possible=%u: more files would have to be allowed (LimitNOFILE=)",
		    wanted, most);
	f->users_max = most;
	f->peers_max = most / PEERS_SHARE > CONNECTIONS_MIN ? most / PEERS_SHARE : CONNECTIONS_MIN;
	f->address_max = c->connections_per_address ? c->connections_per_address : (most + 1) / 2;
	f->memory_max = c->memory ? c->memory : HTTP_MEMORY;
	pthread_mutex_init(&f->limits_lock, NULL);
	if (!c->address_rate)
		return 0;
	f->address_rate = rate_new(c->address_rate,
	    c->address_burst ? c->address_burst : 2 * c->address_rate, RATE_PLACES, e);
	return f->address_rate ? 0 : -1;
}

void
limits_free(struct front *f)
{
	struct address *a, *next;

	HASH_ITER (hh, f->addresses, a, next) {
		HASH_DEL(f->addresses, a);
		free(a);
	}
	rate_free(f->address_rate);
	pthread_mutex_destroy(&f->limits_lock);
}

void
front_limits(const struct front *f, struct front_limits *out)
{
	*out = (struct front_limits){
		.connections = f->users_max,
		.connections_per_address = f->address_max,
		.requests_memory = f->memory_max,
		.idle_ms = f->idle_ms,
		.head_bytes = f->head_bytes,
		.address_rate = f->address_rate ? rate_per_s(f->address_rate) : 0,
		.address_burst = f->address_rate ? rate_burst(f->address_rate) : 0,
	};
}

static bool
is_users(const struct listener *l)
{
	return l->kind < LISTEN_PEER;
}

bool
limits_have_place(const struct listener *l)
{
	const struct front *f = l->front;

	if (l->kind > LISTEN_PEER)
		return true; /* MHD's own limit */
	if (is_users(l))
		return atomic_load(&f->users) < (int)(f->users_max + SURPLUS_MAX);
	return atomic_load(&f->peers) < (int)(f->peers_max + SURPLUS_MAX);
}

void
limits_accepted(struct listener *l, int change)
{
	if (l->kind <= LISTEN_PEER)
		atomic_fetch_add(is_users(l) ? &l->front->users : &l->front->peers, change);
}

unsigned
limits_of_mhd(const struct listener *l)
{
	const struct front *f = l->front;

	return (is_users(l) ? f->users_max : f->peers_max) + SURPLUS_MAX;
}

static bool
address_of(struct MHD_Connection *conn, uint8_t out[static 16])
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
	    conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *sa = info ? info->client_addr : NULL;

	memset(out, 0, 16);
	if (sa && sa->sa_family == AF_INET) {
		out[10] = out[11] = 0xff;
		memcpy(out + 12, &((const struct sockaddr_in *)sa)->sin_addr, 4);
		return true;
	}
	if (!sa || sa->sa_family != AF_INET6)
		return false;
	memcpy(out, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
	if (!IN6_IS_ADDR_V4MAPPED(&((const struct sockaddr_in6 *)sa)->sin6_addr))
		memset(out + 8, 0, 8);
	return true;
}

/* One more of its address. Without memory it is not counted. Under the lock. */
static struct address *
address_add(struct front *f, const uint8_t b[static 16])
{
	struct address *a;

	HASH_FIND(hh, f->addresses, b, sizeof a->b, a);
	if (!a) {
		a = calloc(1, sizeof *a);
		if (!a)
			return NULL;
		memcpy(a->b, b, sizeof a->b);
		HASH_ADD(hh, f->addresses, b, sizeof a->b, a);
		if (!a->hh.tbl) {
			free(a);
			return NULL;
		}
	}
	a->n++;
	return a;
}

static void
address_drop(struct front *f, struct address *a)
{
	if (!a || --a->n)
		return;
	HASH_DEL(f->addresses, a);
	free(a);
}

/* Under the lock. */
static bool
is_surplus(struct front *f, const struct connection *c)
{
	if (c->listener->kind > LISTEN_PEER)
		return false;
	if (!is_users(c->listener))
		return ++f->peers_placed > (int)f->peers_max;
	return ++f->users_placed > (int)f->users_max ||
	    (c->address && c->address->n > f->address_max);
}

struct connection *
limits_enter(struct listener *l, struct MHD_Connection *conn)
{
	const union MHD_ConnectionInfo *fd = MHD_get_connection_info(
	    conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct connection *c = fd ? calloc(1, sizeof *c) : NULL;
	struct front *f = l->front;
	uint8_t address[16];

	if (!c)
		return NULL;
	c->listener = l;
	c->fd = fd->connect_fd;
	c->until_ms = host_mono_ms() + f->idle_ms;
	pthread_mutex_lock(&f->limits_lock);
	/* Not at the plain listener: whoever comes there has come through some proxy of this host. */
	if (l->kind == LISTEN_S3 && address_of(conn, address))
		c->address = address_add(f, address);
	c->is_surplus = is_surplus(f, c);
	if (c->is_surplus)
		c->until_ms = host_mono_ms() + SURPLUS_MS;
	c->next = f->open;
	c->at = &f->open;
	if (f->open)
		f->open->at = &c->next;
	f->open = c;
	pthread_mutex_unlock(&f->limits_lock);
	return c;
}

void
limits_leave(struct connection *c)
{
	struct front *f;

	if (!c)
		return;
	f = c->listener->front;
	pthread_mutex_lock(&f->limits_lock);
	*c->at = c->next;
	if (c->next)
		c->next->at = c->at;
	if (is_users(c->listener))
		f->users_placed--;
	else if (c->listener->kind == LISTEN_PEER)
		f->peers_placed--;
	address_drop(f, c->address);
	pthread_mutex_unlock(&f->limits_lock);
	tls_detach(c->tls);
	free(c);
}

/* Not at the plain listener: whoever comes there has come through some proxy of this host. */
bool
limits_may_ask(const struct listener *l, struct MHD_Connection *conn)
{
	uint8_t address[16];

	if (l->kind != LISTEN_S3 || !l->front->address_rate || !address_of(conn, address))
		return true;
	return rate_take(l->front->address_rate, address);
}

/* --- time --- */

void
limits_owes(struct connection *c, uint64_t bytes)
{
	uint64_t now_ms, idle_ms;

	if (!c || c->is_surplus)
		return; /* has its own time */
	now_ms = host_mono_ms();
	idle_ms = c->listener->front->idle_ms;
	atomic_store(&c->until_ms, now_ms + idle_ms + bytes);
}

void
limits_gave(struct connection *c, uint64_t bytes)
{
	uint64_t until_ms = c ? atomic_load(&c->until_ms) : 0, most_ms;

	if (!until_ms || c->is_surplus)
		return;
	most_ms = host_mono_ms() + 2 * c->listener->front->idle_ms;
	until_ms += bytes;
	atomic_store(&c->until_ms, until_ms < most_ms ? until_ms : most_ms);
}

void
limits_owes_nothing(struct connection *c)
{
	if (c && !c->is_surplus)
		atomic_store(&c->until_ms, 0);
}

void
limits_coming(struct connection *c, struct http_request *h)
{
	struct front *f;

	if (!c || (!h && !c->is_coming))
		return;
	f = c->listener->front;
	c->is_coming = h != NULL;
	pthread_mutex_lock(&f->limits_lock);
	c->coming = h;
	pthread_mutex_unlock(&f->limits_lock);
}

bool
limits_may_answer(struct connection *c)
{
	struct front *f;
	bool is_told;

	if (!c || !c->is_coming)
		return true;
	f = c->listener->front;
	c->is_coming = false;
	pthread_mutex_lock(&f->limits_lock);
	is_told = c->is_told;
	c->coming = NULL;
	pthread_mutex_unlock(&f->limits_lock);
	return !is_told;
}

void
limits_read_ended(struct connection *c)
{
	struct front *f = c->listener->front;
	struct http_request *late;

	pthread_mutex_lock(&f->limits_lock);
	late = c->is_shut ? c->coming : NULL;
	c->is_told |= late != NULL;
	c->coming = NULL;
	pthread_mutex_unlock(&f->limits_lock);
	if (late)
		past_tell_late(late, c->fd, c->tls);
}

/* Under the lock. */
static void
shut(struct connection *c)
{
	c->is_shut = true;
	if (c->coming && c->tls) {
		shutdown(c->fd, SHUT_RD);
		return;
	}
	c->is_told = c->coming && c->listener->kind == LISTEN_S3_PLAIN;
	if (c->is_told)
		past_tell_late(c->coming, c->fd, NULL);
	shutdown(c->fd, SHUT_RDWR);
}

/* The socket can't be another's by now: it is closed after limits_leave. */
void
limits_sweep(struct front *f)
{
	uint64_t now_ms = host_mono_ms();

	if (now_ms - f->swept_ms < SWEEP_EVERY_MS)
		return;
	f->swept_ms = now_ms;
	pthread_mutex_lock(&f->limits_lock);
	for (struct connection *c = f->open; c; c = c->next) {
		uint64_t until_ms = atomic_load(&c->until_ms);

		if (until_ms && now_ms > until_ms && !c->is_shut)
			shut(c);
	}
	pthread_mutex_unlock(&f->limits_lock);
}

/* --- memory --- */

bool
limits_take(struct http_request *h, size_t bytes)
{
	struct front *f = h->r.front;
	uint64_t most = f->memory_max + (h->r.is_peer ? f->memory_max / 4 : 0);

	if (atomic_fetch_add(&f->memory, bytes) + bytes > most &&
	    h->listener->kind <= LISTEN_PEER) {
		atomic_fetch_sub(&f->memory, bytes);
		return false;
	}
	h->memory += bytes;
	counter_add(&memory_now, (int64_t)bytes);
	return true;
}

void
limits_have(struct http_request *h, size_t bytes)
{
	atomic_fetch_add(&h->r.front->memory, bytes);
	h->memory += bytes;
	counter_add(&memory_now, (int64_t)bytes);
}

void
limits_give_back(struct http_request *h)
{
	atomic_fetch_sub(&h->r.front->memory, h->memory);
	counter_add(&memory_now, -(int64_t)h->memory);
	h->memory = 0;
}
