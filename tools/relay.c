/* relay - a TCP relay that simulates distance, cuts and slow lines between two hosts.
 *
 *	relay [--control PATH] LISTEN_HOST:PORT=TARGET_HOST:PORT:RTT_MS ...
 *
 * A byte is delivered RTT/2 after it was read, in order, in each direction. A connect is answered
 * at once, so the first bytes of a connection are held for one more RTT, which the handshake would
 * have taken. The delay does not limit throughput: a direction holds up to 32 MiB before the relay
 * stops reading. End of stream and resets travel like data. One thread, epoll, one timer.
 *
 * Prints `listening HOST:PORT` for each pair (port 0 picks one), then serves until SIGTERM.
 * The control socket takes lines, each answered with `ok` or `error WHY`:
 *
 *	delay PORT RTT_MS	from now on
 *	limit PORT BYTES_PER_S	each direction, all connections together; 0: none
 *	stall PORT		keep the connections, pass nothing
 *	cut PORT		reset the connections, refuse new ones
 *	heal PORT		undo stall and cut
 */
#include "relay_flow.h"

#include <err.h>
#include <errno.h>
#include <malloc.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/un.h>
#include <unistd.h>

struct client {
	struct source source; /* the slot is free while nothing is watched */
	size_t have;
	char line[128];
};

static struct pair *pairs;
static struct client clients[16];

static void
pair_accept(struct pair *p)
{
	int fd = accept4(p->source.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	int to = socket(p->target.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (to < 0) {
		warn("socket");
		close(fd);
		return;
	}
	bool is_refused = connect(to, (struct sockaddr *)&p->target, p->target_len) < 0 &&
	    errno != EINPROGRESS;
	conn_open(p, fd, to, is_refused);
}

static void
pair_cut(struct pair *p)
{
	while (p->conns)
		conn_close(p->conns, true);
	source_watch(&p->source, 0);
	/* Not listening any more but still bound: connects are refused and nobody takes the port. */
	if (!p->is_cut)
		shutdown(p->source.fd, SHUT_RDWR);
	p->is_cut = true;
}

static void
pair_listen(struct pair *p)
{
	if (listen(p->source.fd, SOMAXCONN) < 0)
		err(1, "listen on port %u", p->port);
	source_watch(&p->source, EPOLLIN);
	p->is_cut = false;
}

static struct addrinfo *
address_of(char *host_port)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	struct addrinfo *found;
	char *host = host_port, *port = strrchr(host_port, ':');

	if (!port)
		errx(2, "%s: no port", host_port);
	*port++ = '\0';
	if (*host == '[' && port[-2] == ']') {
		host++;
		port[-2] = '\0';
	}
	int rc = getaddrinfo(host, port, &hints, &found);
	if (rc)
		errx(2, "%s port %s: %s", host, port, gai_strerror(rc));
	return found;
}

/* Milliseconds as text to nanoseconds; -1: not a number that makes sense. */
static int
parse_ms(const char *text, uint64_t *ns)
{
	char *end;
	double ms = strtod(text, &end);

	if (end == text || *end || !(ms >= 0 && ms <= 3600e3))
		return -1;
	*ns = (uint64_t)(ms * 1e6);
	return 0;
}

/* A socket bound to AT, which then says where it is. */
static int
listener_bind(struct sockaddr_storage *at, socklen_t *len)
{
	const int one = 1;
	int fd = socket(at->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)at, *len) < 0 ||
	    getsockname(fd, (struct sockaddr *)at, len) < 0)
		err(1, "bind");
	return fd;
}

static void
pair_open(const char *argument)
{
	struct pair *p = calloc(1, sizeof *p);
	char *text = strdup(argument), *target, *rtt;

	if (!p || !text)
		err(1, "pair");
	target = strchr(text, '=');
	rtt = strrchr(text, ':');
	if (!target || !rtt || rtt < target || parse_ms(rtt + 1, &p->rtt_ns) < 0)
		errx(2, "%s: not LISTEN_HOST:PORT=TARGET_HOST:PORT:RTT_MS", argument);
	*target++ = '\0';
	*rtt = '\0';

	struct addrinfo *to = address_of(target), *at = address_of(text);
	struct sockaddr_storage bound;
	socklen_t bound_len = at->ai_addrlen;
	char host[64], port[16];

	memcpy(&p->target, to->ai_addr, to->ai_addrlen);
	p->target_len = to->ai_addrlen;
	memcpy(&bound, at->ai_addr, at->ai_addrlen);
	/* Bound a second time by its number, a port that was picked stays ours while it is cut. */
	close(listener_bind(&bound, &bound_len));
	p->source = (struct source){ SOURCE_LISTENER, listener_bind(&bound, &bound_len), 0 };
	getnameinfo((struct sockaddr *)&bound, bound_len, host, sizeof host, port, sizeof port,
	    NI_NUMERICHOST | NI_NUMERICSERV);
	p->port = (unsigned)atoi(port);
	pair_listen(p);
	printf("listening %s:%s\n", host, port);
	p->next = pairs;
	pairs = p;
	freeaddrinfo(to);
	freeaddrinfo(at);
	free(text);
}

/* The control socket. */

static const char *
do_delay(struct pair *p, const char *value)
{
	return parse_ms(value, &p->rtt_ns) < 0 ? "not a number of milliseconds" : NULL;
}

static const char *
do_limit(struct pair *p, const char *value)
{
	char *end;
	uint64_t rate = strtoull(value, &end, 10);

	if (end == value || *end)
		return "not a number of bytes";
	p->limit_bytes_per_s = rate;
	return NULL;
}

static const char *
do_stall(struct pair *p, const char *value)
{
	(void)value;
	p->is_stalled = true;
	return NULL;
}

static const char *
do_cut(struct pair *p, const char *value)
{
	(void)value;
	pair_cut(p);
	return NULL;
}

static const char *
do_heal(struct pair *p, const char *value)
{
	(void)value;
	p->is_stalled = false;
	if (p->is_cut)
		pair_listen(p);
	return NULL;
}

static const struct {
	const char *name;
	int words;
	const char *(*act)(struct pair *p, const char *value); /* NULL, or why not */
} orders[] = {
	{ "delay", 3, do_delay },
	{ "limit", 3, do_limit },
	{ "stall", 2, do_stall },
	{ "cut", 2, do_cut },
	{ "heal", 2, do_heal },
};

/* Carry out LINE; NULL, or why not. */
static const char *
order_run(const char *line)
{
	char name[16], value[32] = "", more;
	unsigned port;
	int words = sscanf(line, "%15s %u %31s %c", name, &port, value, &more);
	struct pair *p = pairs;

	if (words < 2)
		return "not ORDER PORT [VALUE]";
	while (p && p->port != port)
		p = p->next;
	if (!p)
		return "nothing listens there";
	for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
		if (strcmp(name, orders[i].name))
			continue;
		if (words != orders[i].words)
			return "wrong number of words";
		const char *why = orders[i].act(p, value);
		if (!why)
			pair_settle(p);
		return why;
	}
	return "no such order";
}

static void
client_ready(struct client *k)
{
	ssize_t n = recv(
	    k->source.fd, k->line + k->have, sizeof k->line - 1 - k->have, MSG_DONTWAIT);
	char *end;

	if (n <= 0) {
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		source_watch(&k->source, 0);
		close(k->source.fd);
		return;
	}
	k->have += (size_t)n;
	k->line[k->have] = '\0';
	while ((end = strchr(k->line, '\n'))) {
		char answer[80];

		*end++ = '\0';
		const char *why = order_run(k->line);
		int len = snprintf(
		    answer, sizeof answer, "%s%s\n", why ? "error " : "ok", why ? why : "");
		send(k->source.fd, answer, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
		k->have -= (size_t)(end - k->line);
		memmove(k->line, end, k->have + 1);
	}
	if (k->have == sizeof k->line - 1)
		k->have = 0; /* no order is that long */
}

static void
control_accept(struct source *control)
{
	int fd = accept4(control->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct client *k = clients, *end = clients + sizeof clients / sizeof *clients;

	while (k < end && k->source.watched)
		k++;
	if (fd >= 0 && k < end) {
		*k = (struct client){ .source = { SOURCE_CLIENT, fd, 0 } };
		source_watch(&k->source, EPOLLIN);
	} else if (fd >= 0) {
		close(fd);
	}
}

static void
control_open(struct source *control, const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof at.sun_path)
		errx(2, "%s: too long for a socket", path);
	strcpy(at.sun_path, path);
	unlink(path);
	control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (bind(control->fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(control->fd, 16) < 0)
		err(1, "%s", path);
	source_watch(control, EPOLLIN);
}

/* Work off one event; false: asked to stop. */
static bool
dispatch(struct source *s, uint32_t events)
{
	switch (s->kind) {
	case SOURCE_LISTENER:
		pair_accept((struct pair *)s);
		break;
	case SOURCE_END:
		end_ready((struct end *)s, events);
		break;
	case SOURCE_CONTROL:
		control_accept(s);
		break;
	case SOURCE_CLIENT:
		client_ready((struct client *)s);
		break;
	case SOURCE_TIMER:
		timer_ready();
		break;
	case SOURCE_SIGNAL:
		return false;
	}
	return true;
}

static void
serve(void)
{
	struct epoll_event events[256];

	for (;;) {
		int n = loop_wait(events, 256);
		for (int i = 0; i < n; i++)
			if (!dispatch(events[i].data.ptr, events[i].events))
				return;
		loop_bury();
	}
}

static void
raise_file_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

int
main(int argc, char **argv)
{
	struct source control = { SOURCE_CONTROL, -1, 0 }, stop = { SOURCE_SIGNAL, -1, 0 };
	const char *path = NULL;
	sigset_t ends;
	int i = 1;

	if (argc > 3 && !strcmp(argv[1], "--control")) {
		path = argv[2];
		i = 3;
	}
	if (i >= argc || argv[i][0] == '-')
		errx(2,
		    "usage: relay [--control PATH] LISTEN_HOST:PORT=TARGET_HOST:PORT:RTT_MS ...");

	/* Buffers come and go all the time: keep them off mmap, and the heap from shrinking. */
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	raise_file_limit();
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	loop_open();
	stop.fd = signalfd(-1, &ends, SFD_NONBLOCK | SFD_CLOEXEC);
	if (stop.fd < 0)
		err(1, "signals");
	source_watch(&stop, EPOLLIN);
	if (path)
		control_open(&control, path);
	for (; i < argc; i++)
		pair_open(argv[i]);
	fflush(stdout);

	serve();

	for (struct pair *p = pairs; p; p = pairs) {
		while (p->conns)
			conn_close(p->conns, true);
		pairs = p->next;
		free(p);
	}
	loop_bury();
	loop_close();
	if (path)
		unlink(path);
	return 0;
}
