/* stream.c - frames over mutual TLS 1.3.
 *
 * GnuTLS makes records of 16 KiB. What is sent is collected to 64 KiB; what is received is read ahead
 * from the socket, decrypted to where its frame is put together, and handed out there.
 */
#include "directory/stream_private.h"
#include "base/host.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define HEADER_BYTES 5

void
stream_abort(struct stream *s)
{
	atomic_store(&s->is_aborted, true);
	shutdown(s->fd, SHUT_RDWR);
}

void
stream_close(struct stream *s)
{
	if (!s)
		return;
	if (s->session) {
		/* A farewell tells an end from a cut; but nobody waits for it to leave. */
		s->is_closing = true;
		if (*s->peer && !*s->send_broken && !atomic_load(&s->is_aborted))
			gnutls_bye(s->session, GNUTLS_SHUT_WR);
		gnutls_deinit(s->session);
	}
	close(s->fd);
	free(s->out);
	free(s->raw);
	free(s->in);
	free(s);
}

/* What failed: the socket says it better than GnuTLS. */
static void
explain(char out[static STREAM_REASON_SIZE], int rc, int errnum)
{
	char text[STREAM_REASON_SIZE];
	bool is_socket = errnum && (rc == GNUTLS_E_PUSH_ERROR || rc == GNUTLS_E_PULL_ERROR);

	snprintf(out, STREAM_REASON_SIZE, "%s",
	    is_socket ? strerror_r(errnum, text, sizeof(text)) : gnutls_strerror(rc));
}

/* Sending */

static int
send_failed(struct stream *s, struct err *e)
{
	if (atomic_load(&s->is_aborted))
		return err_set(e, ERR_CANCELLED, "the stream was ended");
	return err_set(e, ERR_PEER, "stream to %s: %s", s->peer, s->send_broken);
}

static int
send_records(struct stream *s, const uint8_t *p, size_t n, struct err *e)
{
	while (n) {
		ssize_t done = gnutls_record_send(s->session, p, n);

		if (done == GNUTLS_E_INTERRUPTED)
			continue;
		if (done < 0) {
			explain(s->send_broken, (int)done, s->send_errno);
			return send_failed(s, e);
		}
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

int
stream_flush(struct stream *s, struct err *e)
{
	size_t n = s->out_len;

	if (*s->send_broken || atomic_load(&s->is_aborted))
		return send_failed(s, e);
	s->out_len = 0;
	return send_records(s, s->out, n, e);
}

int
stream_send(struct stream *s, uint8_t type, const void *p, size_t n, struct err *e)
{
	const uint8_t *at = p;
	uint8_t header[HEADER_BYTES];
	size_t part;

	if (n > STREAM_FRAME_MAX)
		return err_set(e, ERR_TOO_BIG, "a frame of %zu bytes", n);
	if (*s->send_broken || atomic_load(&s->is_aborted))
		return send_failed(s, e);
	be32_put(header, (uint32_t)n + 1);
	header[4] = type;
	if (STREAM_OUT_BYTES - s->out_len < sizeof(header) && stream_flush(s, e) < 0)
		return -1;
	memcpy(s->out + s->out_len, header, sizeof(header));
	s->out_len += sizeof(header);

	part = n < STREAM_OUT_BYTES - s->out_len ? n : STREAM_OUT_BYTES - s->out_len;
	if (part)
		memcpy(s->out + s->out_len, at, part);
	s->out_len += part;
	if (s->out_len < STREAM_OUT_BYTES)
		return 0;
	if (stream_flush(s, e) < 0)
		return -1;
	/* Whole records of what is left go from where they are. */
	at += part;
	n -= part;
	part = n - n % STREAM_RECORD_BYTES;
	if (send_records(s, at, part, e) < 0)
		return -1;
	if (n - part)
		memcpy(s->out, at + part, n - part);
	s->out_len = n - part;
	return 0;
}

/* Receiving */

static int
receive_failed(struct stream *s, struct err *e)
{
	if (atomic_load(&s->is_aborted))
		return err_set(e, ERR_CANCELLED, "the stream was ended");
	return err_set(e, ERR_PEER, "stream from %s: %s", s->peer, s->receive_broken);
}

static int
broken(struct stream *s, struct err *e, const char *why)
{
	snprintf(s->receive_broken, sizeof(s->receive_broken), "%s", why);
	return receive_failed(s, e);
}

/* Bytes of the frame that begins at in_at, header included; 4 if not even its length is there; 0 if
 * it is malformed. */
static size_t
frame_bytes(const struct stream *s)
{
	uint32_t n;

	if (s->in_len - s->in_at < 4)
		return 4;
	n = be32_get(s->in + s->in_at);
	return n < 1 || n > STREAM_FRAME_MAX + 1 ? 0 : 4 + (size_t)n;
}

/* Room for NEED bytes from in_at on, and to read a record into. */
static int
make_room(struct stream *s, size_t need, struct err *e)
{
	size_t have = s->in_len - s->in_at;

	if (have == 0)
		s->in_at = s->in_len = 0;
	if (s->in_cap - s->in_at >= need + STREAM_RECORD_BYTES)
		return 0;
	if (s->in_at) {
		memmove(s->in, s->in + s->in_at, have);
		s->in_at = 0;
		s->in_len = have;
	}
	if (s->in_cap < need + STREAM_RECORD_BYTES) {
		uint8_t *bigger = realloc(s->in, need + STREAM_RECORD_BYTES);

		if (!bigger)
			return err_set(e, ERR_MEMORY, "no memory for a frame of %zu bytes", need);
		s->in = bigger;
		s->in_cap = need + STREAM_RECORD_BYTES;
	}
	return 0;
}

/* One record more. */
static int
receive_record(struct stream *s, struct err *e)
{
	ssize_t n = gnutls_record_recv(s->session, s->in + s->in_len, s->in_cap - s->in_len);
	bool is_within = s->in_len > s->in_at;

	if (n > 0) {
		s->in_len += (size_t)n;
		return 0;
	}
	if (n == GNUTLS_E_INTERRUPTED || (n == GNUTLS_E_AGAIN && !s->is_late))
		return 0; /* no data, but a change of keys, for example */
	if (n == GNUTLS_E_AGAIN)
		return err_set(e, ERR_TIMEOUT, "nothing came from %s in time", s->peer);
	if (n == 0)
		return broken(s, e, is_within ? "it ended within a frame" : "it ended");
	if (n == GNUTLS_E_PREMATURE_TERMINATION)
		return broken(s, e, "it was cut off");
	explain(s->receive_broken, (int)n, s->receive_errno);
	return receive_failed(s, e);
}

int
stream_receive(
    struct stream *s, uint64_t timeout_ms, uint8_t *type, struct span *payload, struct err *e)
{
	uint64_t wait_ns = timeout_ms < UINT32_MAX ? timeout_ms * 1000000 : UINT64_MAX / 2;

	if (*s->receive_broken || atomic_load(&s->is_aborted))
		return receive_failed(s, e);
	for (;;) {
		size_t need = frame_bytes(s), have = s->in_len - s->in_at;

		if (need == 0)
			return broken(s, e, "a frame has an impossible length");
		if (need > 4 && have >= need) {
			*type = s->in[s->in_at + 4];
			*payload = (struct span){ s->in + s->in_at + HEADER_BYTES,
				need - HEADER_BYTES };
			s->in_at += need;
			return 0;
		}
		if (make_room(s, need, e) < 0)
			return -1;
		s->deadline_ns = host_mono_ns() + wait_ns;
		if (receive_record(s, e) < 0)
			return -1;
	}
}

/* Telling */

const char *
stream_peer(const struct stream *s)
{
	return s->peer;
}

uint64_t
stream_sent_bytes(const struct stream *s)
{
	return atomic_load_explicit(&s->sent, memory_order_relaxed);
}

uint64_t
stream_received_bytes(const struct stream *s)
{
	return atomic_load_explicit(&s->received, memory_order_relaxed);
}
