/* Between GnuTLS and the socket: fewer system calls and packets for small requests.
 *
 * GnuTLS reads a record's head and its rest apart, and MHD sends an answer's headers and body as two
 * records. Here one read takes what is there, and the record with the headers is kept until the one
 * with the body follows it, which MHD sends in the same breath. Nothing is kept when no body is
 * known to follow. That is two system calls for a small request instead of four, and one packet back.
 */
#include "front/http_internal.h"

#include <gnutls/gnutls.h>
#include <string.h>
#include <sys/socket.h>

#define IN_BYTES  4096
#define OUT_BYTES 2048

struct tls_connection {
	struct peer_connection peer;
	struct connection *connection;
	gnutls_session_t session;
	int fd;
	bool keep_next;
	size_t in_at, in_len, out_len;
	uint8_t in[IN_BYTES], out[OUT_BYTES];
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

static bool
keep(struct tls_connection *t, const giovec_t *v, int n, size_t bytes)
{
	if (!t->keep_next || t->out_len || bytes > OUT_BYTES)
		return false;
	for (int i = 0; i < n; i++) {
		memcpy(t->out + t->out_len, v[i].iov_base, v[i].iov_len);
		t->out_len += v[i].iov_len;
	}
	return true;
}

static ssize_t
push(gnutls_transport_ptr_t arg, const giovec_t *v, int n)
{
	struct tls_connection *t = arg;
	struct iovec all[17];
	struct msghdr m = { .msg_iov = all };
	size_t bytes = 0, kept = t->out_len;
	ssize_t sent;
	bool is_kept;

	if (n > 16)
		n = 16;
	if (kept)
		all[m.msg_iovlen++] = (struct iovec){ t->out, kept };
	for (int i = 0; i < n; i++) {
		all[m.msg_iovlen++] = (struct iovec){ v[i].iov_base, v[i].iov_len };
		bytes += v[i].iov_len;
	}
	is_kept = keep(t, v, n, bytes);
	t->keep_next = false;
	if (is_kept)
		return (ssize_t)bytes;
	sent = sendmsg(t->fd, &m, MSG_NOSIGNAL);
	if (sent < 0)
		return -1;
	if ((size_t)sent < kept) {
		memmove(t->out, t->out + sent, kept - (size_t)sent);
		t->out_len = kept - (size_t)sent;
		errno = EAGAIN;
		return -1;
	}
	t->out_len = 0;
	if ((size_t)sent == kept && bytes) {
		errno = EAGAIN;
		return -1;
	}
	return sent - (ssize_t)kept;
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
	gnutls_transport_set_ptr(tls->tls_session, t);
	gnutls_transport_set_pull_function(tls->tls_session, pull);
	gnutls_transport_set_vec_push_function(tls->tls_session, push);
	return t;
}
