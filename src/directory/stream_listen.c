/* stream_listen.c - making the connections of streams: to a region, and from any.
 *
 * A listener has one thread that accepts and one for each connection. A connection counts from its
 * first byte, so that half-open ones can't add up: first among those that greet, and once it has shown a
 * region's certificate among the streams.
 *
 * Who has not shown one gives way to who comes: when all places of those that greet are taken, one of the
 * address that has the most of them ends, the oldest. Each has some time first: a little to say
 * something, and who has, enough to finish from far away. Where all came just now, the next one waits in
 * the kernel's queue, which is first come, first served. So a region gets in within seconds, even where
 * strangers come from its own address, as long as they don't fill that queue.
 */
#include "directory/stream_private.h"
#include "base/host.h"
#include "base/log.h"
#include "base/refused.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define GREETING_MAX 64
#define ENDING_MAX   64   /* that were told to give way, and have not ended yet */
#define SILENT_MS    200  /* who has said nothing has a place for so long at least, */
#define SPEAKING_MS  2000 /* and who has */
#define LOOK_MS      5    /* for a place, while there is none */
#define TOLD_MAX     10   /* both are anybody's to cause: so many lines of each in */
#define TELL_MS      60000

/* Lines of a kind in the log. */
struct telling {
	uint64_t since_ms;
	unsigned told, untold;
};

struct stream_listener {
	struct peers *peers;
	stream_fn *fn;
	void *arg;
	unsigned max_streams;
	int fd, stop_fd;
	pthread_t thread;
	bool has_thread;

	pthread_mutex_t lock; /* of all that follows */
	pthread_cond_t fewer;
	unsigned n_threads, n_streams; /* those past their greeting are streams */
	struct stream *streams;
	struct telling refused, ended;
};

/* Addresses */

int
stream_resolve(const char *at, bool is_passive, struct addrinfo **out, struct err *e)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = is_passive ? AI_PASSIVE : 0 };
	const char *colon = strrchr(at, ':');
	char host[256];
	size_t n;
	int rc;

	if (!colon || !colon[1] || (size_t)(colon - at) >= sizeof(host))
		return err_set(e, ERR_BAD, "'%.80s' is no host:port", at);
	n = (size_t)(colon - at);
	if (n >= 2 && at[0] == '[' && at[n - 1] == ']') {
		at++;
		n -= 2;
	}
	memcpy(host, at, n);
	host[n] = 0;
	rc = getaddrinfo(n ? host : NULL, colon + 1, &hints, out);
	if (rc != 0)
		return err_set(e, ERR_BAD, "%.80s: %s", at, gai_strerror(rc));
	return 0;
}

/* Connecting */

static int
wait_connected(int fd, uint64_t deadline_ns, struct err *e)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	uint64_t now = host_mono_ns();
	int why = 0, rc;
	socklen_t n = sizeof(why);

	do
		rc = poll(&p, 1, now < deadline_ns ? (int)((deadline_ns - now) / 1000000) : 0);
	while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return err_set(e, ERR_PEER, "no connection in time");
	if (rc < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &n) < 0)
		why = errno;
	if (!why)
		return 0;
	err_errno(e, why, "connecting");
	if (e)
		e->kind = ERR_PEER;
	return -1;
}

/* A connected, blocking socket, or -1. */
static int
connect_one(const struct addrinfo *a, uint64_t deadline_ns, struct err *e)
{
	_cleanup_(fd_closep) int fd = socket(
	    a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
	int rc;

	if (fd < 0)
		return err_errno(e, errno, "a socket");
	if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
		if (errno != EINPROGRESS) {
			err_errno(e, errno, "connecting");
			if (e)
				e->kind = ERR_PEER;
			return -1;
		}
		if (wait_connected(fd, deadline_ns, e) < 0)
			return -1;
	}
	if (fcntl(fd, F_SETFL, 0) < 0)
		return err_errno(e, errno, "a socket");
	rc = fd;
	fd = -1;
	return rc;
}

static int
connect_any(const char *at, uint64_t deadline_ns, struct err *e)
{
	struct addrinfo *list = NULL;
	int fd = -1;

	if (stream_resolve(at, false, &list, e) < 0) {
		if (e)
			e->kind = ERR_PEER;
		return -1;
	}
	for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
		fd = connect_one(a, deadline_ns, e);
	freeaddrinfo(list);
	return fd;
}

struct stream *
stream_connect_at(
    struct peers *p, const char *region, const char *endpoint, uint64_t timeout_ms, struct err *e)
{
	_cleanup_(stream_closep) struct stream *s = NULL;
	uint64_t wait_ms = timeout_ms < STREAM_HANDSHAKE_MS ? timeout_ms : STREAM_HANDSHAKE_MS;
	uint64_t deadline_ns = host_mono_ns() + wait_ms * 1000000, now;
	int fd = connect_any(endpoint, deadline_ns, e);

	s = fd < 0 ? NULL : stream_new(p, fd, region, e);
	now = host_mono_ns();
	if (!s ||
	    stream_greet(s, region, now < deadline_ns ? (deadline_ns - now) / 1000000 : 0, e) < 0) {
		err_add(e, "stream to %s", region);
		return NULL;
	}
	return take(&s);
}

struct stream *
stream_connect(struct peers *p, const char *region, uint64_t timeout_ms, struct err *e)
{
	struct peer_region r;

	if (!peers_find(p, region, &r) || !*r.stream_at) {
		err_set(e, ERR_PEER, "no stream address of region %.31s is known", region);
		return NULL;
	}
	return stream_connect_at(p, r.name, r.stream_at, timeout_ms, e);
}

/* Listening */

/* Whether one more of T may be told; *MORE: how many before it were not. With the lock. */
static bool
may_tell(struct telling *t, unsigned *more)
{
	uint64_t now_ms = host_mono_ms();
	bool may;

	if (now_ms - t->since_ms >= TELL_MS) {
		t->since_ms = now_ms;
		t->told = 0;
	}
	may = t->told++ < TOLD_MAX;
	*more = t->untold;
	t->untold = may ? 0 : t->untold + 1;
	return may;
}

static void
tell_refused(struct stream_listener *l, const char *why)
{
	unsigned more;
	bool is_told;

	pthread_mutex_lock(&l->lock);
	is_told = may_tell(&l->refused, &more);
	pthread_mutex_unlock(&l->lock);
	if (is_told)
		log_warn("stream.refused", NULL, "%s untold=%u", why, more);
}

static void
address_of(int fd, uint8_t out[static 16])
{
	struct sockaddr_storage a = { 0 };
	socklen_t n = sizeof(a);

	memset(out, 0, 16);
	if (getpeername(fd, (struct sockaddr *)&a, &n) < 0)
		return;
	if (a.ss_family == AF_INET6) {
		memcpy(out, &((struct sockaddr_in6 *)&a)->sin6_addr, 16);
	} else {
		memset(out + 10, 0xff, 2);
		memcpy(out + 12, &((struct sockaddr_in *)&a)->sin_addr, 4);
	}
}

static bool
is_near(const uint8_t a[static 16], const uint8_t b[static 16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, 0xff };

	return memcmp(a, b, memcmp(a, mapped, sizeof(mapped)) == 0 ? 16 : 8) == 0;
}

static bool
is_greeting(const struct stream *s)
{
	return s->is_greeting && !atomic_load(&s->is_aborted);
}

/* How many greet from where S does. */
static unsigned
count_near(const struct stream_listener *l, const struct stream *s)
{
	unsigned n = 0;

	for (const struct stream *o = l->streams; o; o = o->next)
		n += is_greeting(o) && is_near(o->from, s->from);
	return n;
}

static struct stream *
who_gives_way(const struct stream_listener *l)
{
	uint64_t now_ms = host_mono_ms();
	struct stream *found = NULL;
	unsigned most = 0;

	/* From the newest on, so that of equals the oldest remains. */
	for (struct stream *s = l->streams; s; s = s->next) {
		uint64_t may_ms = atomic_load(&s->received) ? SPEAKING_MS : SILENT_MS;
		unsigned n;

		if (!is_greeting(s) || now_ms - s->came_ms < may_ms)
			continue;
		n = count_near(l, s);
		if (n >= most) {
			found = s;
			most = n;
		}
	}
	return found;
}

/* Whether there is a place for one more: if need be, another one ends for it. */
static bool
make_room(struct stream_listener *l)
{
	unsigned greeting = 0, ending = 0, more = 0;
	struct stream *other = NULL;
	bool is_told = false;

	pthread_mutex_lock(&l->lock);
	for (const struct stream *s = l->streams; s; s = s->next) {
		greeting += is_greeting(s);
		ending += s->is_greeting && !is_greeting(s);
	}
	if (greeting >= GREETING_MAX && ending < ENDING_MAX)
		other = who_gives_way(l);
	if (other) {
		stream_abort(other);
		is_told = may_tell(&l->ended, &more);
	}
	pthread_mutex_unlock(&l->lock);
	if (other)
		refused_count(REFUSED_CONNECTIONS);
	if (is_told)
		log_warn("stream.crowded", NULL,
		    "connections that have not shown who they are end for others untold=%u", more);
	return other || greeting < GREETING_MAX;
}

/* Into the list, so that stopping reaches it. */
static void
enlist(struct stream_listener *l, struct stream *s)
{
	pthread_mutex_lock(&l->lock);
	s->is_greeting = true;
	s->came_ms = host_mono_ms();
	s->next = l->streams;
	l->streams = s;
	l->n_threads++;
	pthread_mutex_unlock(&l->lock);
}

bool
stream_admit(struct stream *s)
{
	struct stream_listener *l = s->listener;
	bool is_aborted;

	pthread_mutex_lock(&l->lock);
	is_aborted = atomic_load(&s->is_aborted);
	s->is_greeting = is_aborted;
	s->is_admitted = !is_aborted && l->n_streams < l->max_streams;
	l->n_streams += s->is_admitted;
	pthread_mutex_unlock(&l->lock);
	if (!s->is_admitted && !is_aborted)
		refused_count(REFUSED_CONNECTIONS);
	return s->is_admitted;
}

/* Its thread ends, or has not begun. */
static void
leave(struct stream_listener *l, struct stream *s)
{
	bool was_stream = s->is_admitted;

	pthread_mutex_lock(&l->lock);
	for (struct stream **at = &l->streams; *at; at = &(*at)->next) {
		if (*at == s) {
			*at = s->next;
			break;
		}
	}
	pthread_mutex_unlock(&l->lock);
	stream_close(s);
	pthread_mutex_lock(&l->lock);
	l->n_streams -= was_stream;
	l->n_threads--;
	pthread_cond_signal(&l->fewer);
	pthread_mutex_unlock(&l->lock);
}

static void *
serve_one(void *arg)
{
	struct stream *s = arg;
	struct stream_listener *l = s->listener;
	struct err e = { 0 };

	if (stream_greet(s, NULL, STREAM_HANDSHAKE_MS, &e) == 0)
		l->fn(l->arg, s);
	else if (!atomic_load(&s->is_aborted))
		tell_refused(l, e.text);
	leave(l, s);
	return NULL;
}

static int
start_thread(struct stream *s, struct err *e)
{
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = pthread_create(&thread, &attr, serve_one, s);
	pthread_attr_destroy(&attr);
	return rc ? err_errno(e, rc, "a thread for a stream") : 0;
}

/* FD is a new connection, owned. */
static void
welcome(struct stream_listener *l, int fd)
{
	struct err e;
	struct stream *s = stream_new(l->peers, fd, NULL, &e);

	if (!s) {
		tell_refused(l, e.text);
		return;
	}
	s->listener = l;
	address_of(s->fd, s->from);
	enlist(l, s);
	if (start_thread(s, &e) < 0) {
		tell_refused(l, e.text);
		leave(l, s);
	}
}

static void *
accept_all(void *arg)
{
	struct stream_listener *l = arg;

	for (;;) {
		struct pollfd p[2] = { { .fd = l->fd, .events = POLLIN },
			{ .fd = l->stop_fd, .events = POLLIN } };
		int fd;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (p[1].revents)
			return NULL;
		if (!make_room(l)) {
			poll(p + 1, 1, LOOK_MS);
			continue;
		}
		fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			welcome(l, fd);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
			poll(p + 1, 1, 100); /* the connection stays; don't spin on it */
	}
}

static int
listen_one(struct stream_listener *l, const char *at, const struct addrinfo *a, struct err *e)
{
	const int on = 1;

	if (l->fd >= 0)
		close(l->fd);
	l->fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
	if (l->fd < 0 || setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(l->fd, a->ai_addr, a->ai_addrlen) < 0 || listen(l->fd, 128) < 0)
		return err_errno(e, errno, "%s", at);
	return 0;
}

static int
listen_any(struct stream_listener *l, const char *at, struct err *e)
{
	struct addrinfo *list = NULL;
	int rc = -1;

	if (stream_resolve(at, true, &list, e) < 0)
		return err_add(e, "stream_listen");
	for (struct addrinfo *a = list; a && rc < 0; a = a->ai_next)
		rc = listen_one(l, at, a, e);
	freeaddrinfo(list);
	return rc < 0 ? err_add(e, "stream_listen") : 0;
}

struct stream_listener *
stream_listen(
    struct peers *p, const char *at, unsigned max_streams, stream_fn *fn, void *arg, struct err *e)
{
	struct stream_listener *l = calloc(1, sizeof(*l));
	int rc;

	if (!l) {
		err_set(e, ERR_MEMORY, "no memory for a listener");
		return NULL;
	}
	*l = (struct stream_listener){
		.peers = p, .fn = fn, .arg = arg, .max_streams = max_streams, .fd = -1
	};
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->fewer, NULL);
	l->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (l->stop_fd < 0)
		rc = err_errno(e, errno, "a listener");
	else
		rc = listen_any(l, at, e);
	if (rc == 0) {
		rc = pthread_create(&l->thread, NULL, accept_all, l);
		l->has_thread = rc == 0;
		if (rc)
			err_errno(e, rc, "a listener's thread");
	}
	if (rc == 0)
		return l;
	stream_unlisten(l);
	return NULL;
}

unsigned
stream_port(const struct stream_listener *l)
{
	struct sockaddr_storage a = { 0 };
	socklen_t n = sizeof(a);

	if (getsockname(l->fd, (struct sockaddr *)&a, &n) < 0)
		return 0;
	if (a.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&a)->sin6_port);
	return ntohs(((struct sockaddr_in *)&a)->sin_port);
}

static void
end_streams(struct stream_listener *l)
{
	pthread_mutex_lock(&l->lock);
	for (struct stream *s = l->streams; s; s = s->next)
		stream_abort(s);
	while (l->n_threads)
		pthread_cond_wait(&l->fewer, &l->lock);
	pthread_mutex_unlock(&l->lock);
}

void
stream_unlisten(struct stream_listener *l)
{
	const uint64_t one = 1;

	if (!l)
		return;
	if (l->has_thread) {
		while (write(l->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
			;
		pthread_join(l->thread, NULL);
	}
	end_streams(l);
	if (l->fd >= 0)
		close(l->fd);
	if (l->stop_fd >= 0)
		close(l->stop_fd);
	pthread_cond_destroy(&l->fewer);
	pthread_mutex_destroy(&l->lock);
	free(l);
}
