/* stream_tls.c - a stream's socket, session and handshake.
 *
 * After the handshake the server sends a greeting, so that a client knows that its certificate was
 * taken (in TLS 1.3 it is done before the server has looked) and that both speak the same protocol.
 */
#include "directory/stream_private.h"
#include "directory/peer_private.h"
#include "base/host.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define GREETING "DOM1"

/* The socket. These set errno, which GnuTLS looks at. */

/* Until there is something to read, or the deadline. */
static int
wait_readable(const struct stream *s)
{
	for (;;) {
		struct pollfd p = { .fd = s->fd, .events = POLLIN };
		uint64_t now = host_mono_ns(), left_ms;
		int rc;

		left_ms = now < s->deadline_ns ? (s->deadline_ns - now + 999999) / 1000000 : 0;
		rc = poll(&p, 1, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);
		if (rc > 0)
			return 0;
		if (rc == 0 && left_ms <= INT32_MAX) {
			errno = EAGAIN;
			return -1;
		}
		if (rc < 0 && errno != EINTR)
			return -1;
	}
}

static ssize_t
socket_receive(struct stream *s, void *p, size_t n)
{
	for (;;) {
		ssize_t got;

		/* A handshake as a whole has a deadline, however steadily its bytes drip. */
		if (!*s->peer && host_mono_ns() >= s->deadline_ns) {
			errno = EAGAIN;
			return -1;
		}
		got = recv(s->fd, p, n, MSG_DONTWAIT);
		if (got >= 0) {
			atomic_fetch_add_explicit(
			    &s->received, (uint64_t)got, memory_order_relaxed);
			return got;
		}
		if (errno == EAGAIN && wait_readable(s) < 0)
			return -1;
		if (errno != EAGAIN && errno != EINTR)
			return -1;
	}
}

static ssize_t
pull(gnutls_transport_ptr_t ptr, void *p, size_t n)
{
	struct stream *s = ptr;

	if (s->raw_at == s->raw_len) {
		ssize_t got = socket_receive(s, s->raw, STREAM_RAW_BYTES);

		s->is_late = got < 0 && errno == EAGAIN;
		s->receive_errno = got < 0 ? errno : 0;
		if (got <= 0)
			return got;
		s->raw_at = 0;
		s->raw_len = (size_t)got;
	}
	n = n < s->raw_len - s->raw_at ? n : s->raw_len - s->raw_at;
	memcpy(p, s->raw + s->raw_at, n);
	s->raw_at += n;
	return (ssize_t)n;
}

/* GnuTLS asks before it reads in a handshake; pull waits by itself. */
static int
pull_timeout(gnutls_transport_ptr_t ptr, unsigned ms)
{
	struct stream *s = ptr;

	(void)ms;
	return s->raw_at < s->raw_len || wait_readable(s) == 0 ? 1 : 0;
}

static ssize_t
push(gnutls_transport_ptr_t ptr, const giovec_t *iov, int n)
{
	struct stream *s = ptr;
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n };
	ssize_t done;

	do
		done = sendmsg(s->fd, &m, MSG_NOSIGNAL | (s->is_closing ? MSG_DONTWAIT : 0));
	while (done < 0 && errno == EINTR);
	if (done < 0)
		s->send_errno = errno;
	else
		atomic_fetch_add_explicit(&s->sent, (uint64_t)done, memory_order_relaxed);
	return done;
}

/* Small frames leave at once, and a line that was cut is noticed within half a minute. The sizes of
 * the socket's buffers stay the kernel's, which grows them to what the distance takes; a size
 * that we set would be final. */
static int
tune_socket(int fd)
{
	static const struct {
		int level, option, value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 10 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 5 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 4 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, 30000 },
	};

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (setsockopt(fd, options[i].level, options[i].option, &options[i].value,
		        sizeof(options[i].value)) < 0)
			return -1;
	return 0;
}

/* Beginning and ending */

static int
start_session(struct stream *s, const char *region)
{
	unsigned flags = (region ? GNUTLS_CLIENT : GNUTLS_SERVER) | GNUTLS_NO_TICKETS;
	int rc = gnutls_init(&s->session, flags);

	if (rc >= 0)
		rc = gnutls_priority_set_direct(s->session, PEER_PRIORITIES, NULL);
	if (rc >= 0)
		rc = gnutls_credentials_set(
		    s->session, GNUTLS_CRD_CERTIFICATE, s->peers->credentials);
	if (rc >= 0 && region)
		rc = gnutls_server_name_set(s->session, GNUTLS_NAME_DNS, region, strlen(region));
	if (rc < 0)
		return rc;
	if (!region)
		gnutls_certificate_server_set_request(s->session, GNUTLS_CERT_REQUIRE);
	gnutls_transport_set_ptr(s->session, s);
	gnutls_transport_set_pull_function(s->session, pull);
	gnutls_transport_set_pull_timeout_function(s->session, pull_timeout);
	gnutls_transport_set_vec_push_function(s->session, push);
	gnutls_handshake_set_timeout(s->session, GNUTLS_INDEFINITE_TIMEOUT); /* pull has one */
	return 0;
}

struct stream *
stream_new(struct peers *p, int fd, const char *region, struct err *e)
{
	_cleanup_(stream_closep) struct stream *s = calloc(1, sizeof(*s));
	int rc;

	if (!s) {
		close(fd);
		err_set(e, ERR_MEMORY, "no memory for a stream");
		return NULL;
	}
	s->peers = p;
	s->fd = fd;
	s->in_cap = STREAM_OUT_BYTES;
	s->out = malloc(STREAM_OUT_BYTES);
	s->raw = malloc(STREAM_RAW_BYTES);
	s->in = malloc(s->in_cap);
	if (!s->out || !s->raw || !s->in) {
		err_set(e, ERR_MEMORY, "no memory for a stream");
		return NULL;
	}
	if (tune_socket(fd) < 0) {
		err_errno(e, errno, "a stream's socket");
		return NULL;
	}
	rc = start_session(s, region);
	if (rc < 0) {
		err_set(e, ERR_INTERNAL, "a stream's session: %s", gnutls_strerror(rc));
		return NULL;
	}
	return take(&s);
}

static int
shake_hands(struct stream *s, struct err *e)
{
	int rc;

	do
		rc = gnutls_handshake(s->session);
	while (rc < 0 && !gnutls_error_is_fatal(rc) && rc != GNUTLS_E_AGAIN &&
	    rc != GNUTLS_E_TIMEDOUT);
	if (rc >= 0)
		return 0;
	if (atomic_load(&s->is_aborted))
		return err_set(e, ERR_CANCELLED, "the stream was ended");
	if (rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_TIMEDOUT)
		return err_set(e, ERR_PEER, "no handshake in time");
	if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED)
		return err_set(e, ERR_PEER, "refused by the other side: %s",
		    gnutls_alert_get_name(gnutls_alert_get(s->session)));
	return err_set(e, ERR_PEER, "handshake: %s", gnutls_strerror(rc));
}

/* The server's word that it took our certificate. */
static int
read_greeting(struct stream *s, struct err *e)
{
	char got[sizeof(GREETING) - 1];
	ssize_t n = gnutls_record_recv(s->session, got, sizeof(got));

	if (n == sizeof(got) && memcmp(got, GREETING, sizeof(got)) == 0)
		return 0;
	if (atomic_load(&s->is_aborted))
		return err_set(e, ERR_CANCELLED, "the stream was ended");
	if (n == GNUTLS_E_AGAIN)
		return err_set(e, ERR_PEER, "no greeting in time");
	if (n == GNUTLS_E_FATAL_ALERT_RECEIVED)
		return err_set(e, ERR_PEER, "refused by the other side: %s",
		    gnutls_alert_get_name(gnutls_alert_get(s->session)));
	if (n <= 0)
		return err_set(e, ERR_PEER, "refused by the other side");
	return err_set(e, ERR_PEER, "the other side speaks another protocol");
}

/* A certificate of our CA is not enough: a region that was struck from the file is none. */
static int
check_peer(struct stream *s, const char *region, struct err *e)
{
	struct peer_region known;

	if (peers_verify(s->peers, s->session,
	        region ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT, region, s->peer,
	        e) < 0)
		return -1;
	if (!peers_find(s->peers, s->peer, &known))
		return err_set(e, ERR_DENIED, "%s is not among the regions", s->peer);
	return 0;
}

int
stream_greet(struct stream *s, const char *region, uint64_t wait_ms, struct err *e)
{
	s->deadline_ns = host_mono_ns() + wait_ms * 1000000;
	if (shake_hands(s, e) < 0)
		return -1;
	if (check_peer(s, region, e) < 0) {
		gnutls_alert_send(s->session, GNUTLS_AL_FATAL, GNUTLS_A_BAD_CERTIFICATE);
		if (e)
			e->kind = ERR_PEER;
		return -1;
	}
	if (region)
		return read_greeting(s, e);
	if (!stream_admit(s))
		return err_set(e, ERR_BUSY, "there are as many streams as there may be");
	if (gnutls_record_send(s->session, GREETING, sizeof(GREETING) - 1) < 0)
		return err_set(e, ERR_PEER, "the connection ended in the handshake");
	return 0;
}

uint64_t
stream_rtt_us(const struct stream *s)
{
	struct tcp_info info = { 0 };
	socklen_t n = sizeof(info);

	return getsockopt(s->fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0 ? 0 : info.tcpi_rtt;
}
