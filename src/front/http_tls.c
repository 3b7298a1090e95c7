/* Around GnuTLS: less work for small requests.
 *
 * Below it: GnuTLS reads a record's head and its rest apart. Here one read takes what is there.
 *
 * Above it: MHD copies each of an answer's headers three times, into memory of a connection that it clears
 * afterwards, and sends them and the body by a call of gnutls_record_send each, so in a record each, and
 * every record costs the server one more pass of the cipher and the client two more reads. It can't be told to
 * do otherwise, but the call is ours: a program's own symbols come before those of its libraries. So MHD is given
 * an answer without headers, and sends what it adds itself: the status, Date, the length and whether the connection
 * stays. Ours are put behind these, and the body, which MHD sends in the same breath, behind them in
 * one record. Every other session is GnuTLS's alone.
 */
#include "front/http_internal.h"

#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define IN_BYTES     4096
#define RECORD_BYTES 16384 /* of plaintext, at most */

struct tls_connection {
	struct peer_connection peer;
	struct connection *connection;
	gnutls_session_t session;
	int fd;
	bool is_expected,
	    has_body;      /* what MHD sends next is the head of an answer; its body follows */
	struct span lines; /* to be put behind that head */
	struct buf head;   /* with them; empty: nothing of it is left to be sent */
	size_t head_at;
	size_t in_at, in_len;
	uint8_t in[IN_BYTES];
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
tls_expect_answer(struct tls_connection *t, struct span lines, bool has_body)
{
	t->is_expected = true;
	t->has_body = has_body;
	t->lines = lines;
}

void
tls_end_answer(struct tls_connection *t)
{
	t->is_expected = false;
	buf_free(&t->head);
}

/* What MHD sends of a head ends with an empty line. */
static int
make_head(struct tls_connection *t, const void *p, size_t n)
{
	const uint8_t *at = t->lines.data, *end = at + t->lines.len, *next;

	buf_room(&t->head, n + t->lines.len + 64);
	buf_add(&t->head, p, n - 2);
	for (; at < end && (next = memchr(at, '\n', (size_t)(end - at))); at = next + 1) {
		buf_add(&t->head, at, (size_t)(next - at));
		buf_add(&t->head, "\r\n", 2);
	}
	buf_add(&t->head, "\r\n", 2);
	t->head_at = 0;
	return buf_check(&t->head, NULL);
}

/* N bytes of P, or as many as fit, behind what is left of the head. What GnuTLS could not send at once it keeps,
 * and a later call with the same bytes ends it, whatever is made of them here. */
static ssize_t
send_behind_head(struct tls_connection *t, const void *p, size_t n)
{
	uint8_t both[RECORD_BYTES];
	size_t head = t->head.len - t->head_at;
	ssize_t sent;

	if (head > sizeof both)
		head = sizeof both;
	if (n > sizeof both - head)
		n = sizeof both - head;
	memcpy(both, t->head.data + t->head_at, head);
	memcpy(both + head, p, n);
	sent = gnutls_record_send2(t->session, both, head + n, 0, 0);
	explicit_bzero(both + head, n);
	return sent;
}

ssize_t
gnutls_record_send(gnutls_session_t session, const void *p, size_t n)
{
	struct tls_connection *t = gnutls_db_get_ptr(session); /* nobody else's */

	if (t && t->is_expected) {
		t->is_expected = false;
		if (make_head(t, p, n) < 0)
			return GNUTLS_E_MEMORY_ERROR;
		if (t->has_body)
			return (ssize_t)n;
	}
	while (t && t->head.len) {
		size_t left = t->head.len - t->head_at;
		ssize_t sent = send_behind_head(t, p, t->has_body ? n : 0);

		if (sent < 0)
			return sent;
		t->head_at += (size_t)sent;
		if ((size_t)sent < left)
			continue; /* a record may be smaller */
		buf_free(&t->head);
		if (!t->has_body)
			return (ssize_t)n;
		if ((size_t)sent > left)
			return sent - (ssize_t)left;
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

void
tls_detach(struct tls_connection *t)
{
	if (t)
		buf_free(&t->head);
	free(t);
}
