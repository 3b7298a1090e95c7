/* Addresses and sockets, and the one thread that accepts connections.
 *
 * MHD's own accepting is not used: its thread pool wakes every thread for a connection and leaves
 * them unevenly filled, and taking the listening socket away from a running pool can abort the
 * process (MHD_quiesce_daemon against the epoll loop). Here a connection goes to the shard that has
 * the fewest, and stopping is closing the socket.
 */
#include "front/http_internal.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/host.h"
#include "base/log.h"
#include "base/refused.h"

#define BACKLOG  1024
#define PAUSE_MS 50
#define CALM_MS  5000
#define SWEEP_MS 500

/* "host:port", "[::1]:port", ":port" and "*:port" into two strings. */
static int
split_address(const char *at, char host[static 256], char port[static 16], struct err *e)
{
	const char *colon = strrchr(at, ':');
	size_t n = colon ? (size_t)(colon - at) : 0;

	if (!colon || strlen(colon + 1) > 5 || !colon[1] || n >= 256)
		return err_set(e, ERR_BAD, "%s: an address is host:port", at);
	if (n >= 2 && at[0] == '[' && at[n - 1] == ']')
		at++, n -= 2;
	if (n == 1 && *at == '*')
		n = 0;
	memcpy(host, at, n);
	host[n] = '\0';
	strcpy(port, colon + 1);
	return 0;
}

static bool
is_loopback(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr) >> 24 == 127;
	return sa->sa_family == AF_INET6 &&
	    IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}

static int
open_one(const struct addrinfo *a)
{
	const int on = 1;
	_cleanup_(fd_closep) int fd = socket(
	    a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int given;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
		return -1;
	given = fd;
	fd = -1;
	return given;
}

static unsigned
port_of(int fd)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t n = sizeof ss;

	if (getsockname(fd, (struct sockaddr *)&ss, &n) < 0)
		return 0;
	return ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
	                                      : ((struct sockaddr_in *)&ss)->sin_port);
}

int
listener_open_tcp(struct listener *l, const char *at, bool loopback_only, struct err *e)
{
	const struct addrinfo hints = { .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM };
	struct addrinfo *found = NULL;
	char host[256], port[16];
	int rc;

	if (split_address(at, host, port, e) < 0)
		return -1;
	rc = getaddrinfo(*host ? host : NULL, port, &hints, &found);
	if (rc)
		return err_set(e, ERR_BAD, "%s: %s", at, gai_strerror(rc));
	if (loopback_only && !is_loopback(found->ai_addr)) {
		freeaddrinfo(found);
		return err_set(e, ERR_BAD, "%s: without TLS only on a loopback address", at);
	}
	l->fd = open_one(found);
	rc = errno;
	freeaddrinfo(found);
	if (l->fd < 0)
		return err_errno(e, rc, "%s", at);
	l->port = port_of(l->fd);
	return 0;
}

/* A socket that nobody listens at was left by a crash; another is somebody's. */
static int
remove_stale(const struct sockaddr_un *sa, struct err *e)
{
	_cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;

	if (lstat(sa->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : err_errno(e, errno, "%s", sa->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, ERR_EXISTS, "%s: is not a socket", sa->sun_path);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)sa, sizeof *sa) == 0)
		return err_set(e, ERR_EXISTS, "%s: another node listens there", sa->sun_path);
	if (unlink(sa->sun_path) < 0 && errno != ENOENT)
		return err_errno(e, errno, "%s", sa->sun_path);
	return 0;
}

int
listener_open_unix(struct listener *l, const char *path, struct err *e)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof sa.sun_path)
		return err_set(e, ERR_BAD, "%s: too long for a socket's path", path);
	strcpy(sa.sun_path, path);
	if (remove_stale(&sa, e) < 0)
		return -1;
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	l->unix_path = strdup(path);
	if (l->fd < 0 || !l->unix_path)
		return err_errno(e, errno, "%s", path);
	/* Before bind, so that the path never has another mode. */
	if (fchmod(l->fd, 0600) < 0 || bind(l->fd, (struct sockaddr *)&sa, sizeof sa) < 0 ||
	    chmod(path, 0600) < 0 || listen(l->fd, 64) < 0)
		return err_errno(e, errno, "%s", path);
	return 0;
}

void
listener_close(struct listener *l)
{
	if (l->fd >= 0 && l->unix_path)
		unlink(l->unix_path);
	free(l->unix_path);
	l->unix_path = NULL;
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

static struct shard *
emptiest(struct listener *l)
{
	struct shard *best = &l->shards[0];

	for (unsigned i = 1; i < l->n_shards; i++)
		if (atomic_load(&l->shards[i].connections) < atomic_load(&best->connections))
			best = &l->shards[i];
	return best;
}

/* --- accepting --- */

/* Descriptors that are kept for operators: closing one makes room for a connection of theirs. */
static void
fill_spare(struct front *f)
{
	for (unsigned i = 0; i < HTTP_SPARE_FILES; i++)
		if (f->spare[i] < 0)
			f->spare[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void
close_spare(struct front *f)
{
	for (unsigned i = 0; i < HTTP_SPARE_FILES; i++) {
		if (f->spare[i] >= 0)
			close(f->spare[i]);
		f->spare[i] = -1;
	}
}

static bool
give_spare(struct front *f)
{
	for (unsigned i = 0; i < HTTP_SPARE_FILES; i++) {
		if (f->spare[i] < 0)
			continue;
		close(f->spare[i]);
		f->spare[i] = -1;
		return true;
	}
	return false;
}

/* Accepting failed. 0: try again. -1: those who wait stay in the backlog, and are not looked at for a
 * moment. */
static int
accept_failed(struct front *f, struct listener *l, int why)
{
	if (why == EAGAIN || why == EINTR || why == ECONNABORTED)
		return -1;
	if ((why == EMFILE || why == ENFILE) && l->kind > LISTEN_PEER && give_spare(f))
		return 0;
	l->pause_until_ms = host_mono_ms() + PAUSE_MS;
	refused_count(why == EMFILE || why == ENFILE ? REFUSED_FILES : REFUSED_MEMORY);
	f->short_ms = host_mono_ms();
	if (!f->is_short)
		log_error("limits.accept", NULL, "connections have to wait: %s", strerror(why));
	f->is_short = true;
	return -1;
}

static void
accept_succeeded(struct front *f, const struct listener *l)
{
	/* One that came free now and then is no end of it. */
	if (l->kind > LISTEN_PEER || !f->is_short || host_mono_ms() - f->short_ms < CALM_MS)
		return;
	f->is_short = false;
	log_info("limits.accept", NULL, "connections are accepted again");
}

/* -1: nothing more to accept now. */
static int
accept_one(struct front *f, struct listener *l)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof ss;
	struct shard *shard = emptiest(l);
	int fd;

	if (!limits_have_place(l))
		return -1;
	fd = accept4(l->fd, (struct sockaddr *)&ss, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return accept_failed(f, l, errno);
	accept_succeeded(f, l);
	/* Counted here and not when MHD reports it, or a burst would go to one shard. */
	atomic_fetch_add(&shard->connections, 1);
	limits_accepted(l, 1);
	if (MHD_add_connection(shard->daemon, fd, (struct sockaddr *)&ss, n) != MHD_YES) {
		/* fd is closed */
		atomic_fetch_sub(&shard->connections, 1);
		limits_accepted(l, -1);
		refused_count(REFUSED_MEMORY);
	}
	return 0;
}

/* Whom to look at: not those who have to wait for a place or a descriptor. Returns for how long. */
static int
choose(struct front *f, struct pollfd *p)
{
	uint64_t now_ms = host_mono_ms();
	int wait_ms = SWEEP_MS;

	for (unsigned i = 0; i < LISTENERS; i++) {
		struct listener *l = &f->listeners[i];
		bool waits = now_ms < l->pause_until_ms || !limits_have_place(l);

		p[i].fd = waits ? -1 : l->fd;
		if (waits)
			wait_ms = PAUSE_MS;
	}
	return wait_ms;
}

static void *
acceptor(void *arg)
{
	struct front *f = arg;
	struct pollfd p[LISTENERS + 1];

	pthread_setname_np(pthread_self(), "accept");
	for (unsigned i = 0; i <= LISTENERS; i++)
		p[i] = (struct pollfd){ .fd = f->stop_fd, .events = POLLIN };
	for (;;) {
		int wait_ms = choose(f, p);

		if (poll(p, LISTENERS + 1, wait_ms) < 0)
			continue;
		if (p[LISTENERS].revents)
			return NULL;
		for (unsigned i = 0; i < LISTENERS; i++)
			for (unsigned n = 0; p[i].fd >= 0 && p[i].revents && n < 16; n++)
				if (accept_one(f, &f->listeners[i]) < 0)
					break;
		limits_sweep(f);
		fill_spare(f);
	}
}

int
acceptor_start(struct front *f, struct err *e)
{
	int rc;

	f->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (f->stop_fd < 0)
		return err_errno(e, errno, "eventfd");
	fill_spare(f);
	rc = pthread_create(&f->acceptor, NULL, acceptor, f);
	if (rc)
		return err_errno(e, rc, "starting a thread");
	f->has_acceptor = true;
	return 0;
}

void
acceptor_stop(struct front *f)
{
	const uint64_t one = 1;

	if (!f->has_acceptor)
		return;
	if (write(f->stop_fd, &one, sizeof one) != sizeof one)
		log_error("http.stop", NULL, "errno=%d", errno);
	pthread_join(f->acceptor, NULL);
	f->has_acceptor = false;
	close_spare(f);
}
