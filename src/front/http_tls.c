/* Around GnuTLS: fewer system calls, packets and records for small requests.
 *
 * Below it: GnuTLS reads a record's head and its rest apart. Here one read takes what is there.
 *
 * Above it: MHD sends an answer's headers and its body by a call of gnutls_record_send each, so in a record
 * each, and every record costs the server one more pass of the cipher and the client two more reads. It
 * can't be told to do otherwise, but the call is ours: a program's own symbols come before those of its
 * libraries. The headers are kept, and what is sent next, the body in the same breath, goes out
 * behind them in one record. Nothing is kept when no body is known to follow, and every other session
 * is GnuTLS's alone.
 */
#include "front/http_internal.h"

#include <gnutls/gnutls.h>
#include <string.h>
#include <sys/socket.h>

#define IN_BYTES     4096
#define HEAD_BYTES   2048
#define RECORD_BYTES 16384 /* of plaintext, at most */

struct tls_connection {
	struct peer_connection peer;
	struct connection *connection;
	gnutls_session_t session;
	int fd;
	bool keep_next;
	size_t in_at, in_len, head_at, head_len;
	uint8_t in[IN_BYTES], head[HEAD_BYTES];
};

struct peer_connection *
tls_peer(struct tls_connection *t)
{
	return &t->peer;
}

void
tls_send(struct tls_connection *t, const void *p, size_t n)
{
	(void)gnutls_record_send(t->session, p, n);
}

void
tls_expect_body(struct tls_connection *t)
{
	t->keep_next = true;
}

/* N bytes of P behind what is kept. What GnuTLS could not send at once it keeps, and a later call with the
 * same bytes ends it, whatever is made of them here. */
static ssize_t
send_behind_head(struct tls_connection *t, const void *p, size_t n)
{
	uint8_t both[RECORD_BYTES];
	size_t room = sizeof both - t->head_len;
	ssize_t sent;

	if (n > room)
		n = room;
	memcpy(both, t->head + t->head_at, t->head_len);
	memcpy(both + t->head_len, p, n);
	sent = gnutls_record_send2(t->session, both, t->head_len + n, 0, 0);
	explicit_bzero(both + t->head_len, n);
	return sent;
}

ssize_t
gnutls_record_send(gnutls_session_t session, const void *p, size_t n)
{
	struct tls_connection *t = gnutls_db_get_ptr(session); /* nobody else's */

	if (t && t->keep_next) {
		t->keep_next = false;
		if (n <= HEAD_BYTES) {
			memcpy(t->head, p, n);
			t->head_at = 0;
			t->head_len = n;
			return (ssize_t)n;
		}
	}
	while (t && t->head_len) {
		ssize_t sent = send_behind_head(t, p, n);

		if (sent < 0)
			return sent;
		if ((size_t)sent > t->head_len) {
			sent -= (ssize_t)t->head_len;
			t->head_len = 0;
			return sent;
		}
		/* A client may ask for records that are smaller than the headers. */
		t->head_at += (size_t)sent;
		t->head_len -= (size_t)sent;
	}
	return gnutls_record_send2(session, p, n, 0, 0);
}

/* Large reads go straight through. MHD reads until EAGAIN, so that nothing stays here unseen. */
static ssize_t
pull(gnutls_transport_ptr_t arg, void *to, size_t n)
{
	struct tls_connection *t = arg;

	if (!t->in_len) {
		bool is_large = n >= IN_BYTES;
		ssize_t got = recv(t->fd, is_large ? to : t->in, is_large ? n : IN_BYTES, 0);

		if (!got)
			limits_read_ended(t->connection);
		if (got <= 0 || is_large)
			return got;
		t->in_at = 0;
		t->in_len = (size_t)got;
	}
	if (n > t->in_len)
		n = t->in_len;
	memcpy(to, t->in + t->in_at, n);
	t->in_at += n;
	t->in_len -= n;
	return (ssize_t)n;
}

static ssize_t
push(gnutls_transport_ptr_t arg, const giovec_t *v, int n)
{
	struct tls_connection *t = arg;
	struct msghdr m = { .msg_iov = (struct iovec *)v, .msg_iovlen = (size_t)n };

	return sendmsg(t->fd, &m, MSG_NOSIGNAL);
}

struct tls_connection *
tls_attach(struct MHD_Connection *conn, struct connection *c)
{
	const union MHD_ConnectionInfo *tls = MHD_get_connection_info(
	    conn, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	const union MHD_ConnectionInfo *fd = MHD_get_connection_info(
	    conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct tls_connection *t = tls && fd ? malloc(sizeof *t) : NULL;

	if (!t)
		return NULL; /* MHD's own way works too */
	memset(t, 0, offsetof(struct tls_connection, in));
	t->connection = c;
	t->session = tls->tls_session;
	t->fd = fd->connect_fd;
	gnutls_db_set_ptr(tls->tls_session, t);
	gnutls_transport_set_ptr(tls->tls_session, t);
	gnutls_transport_set_pull_function(tls->tls_session, pull);
	gnutls_transport_set_vec_push_function(tls->tls_session, push);
	return t;
}
