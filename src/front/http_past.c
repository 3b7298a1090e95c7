/* Answers that are written past MHD, which takes none while a body is coming.
 *
 * To a client whose body stops or trickles: that it was too slow, and the connection is closed. Over TLS
 * only the HTTP thread may write: limits_sweep ends the reading, MHD's next read comes through our own
 * (http_tls.c), and that one tells. Without TLS there is no such place, and limits_sweep itself tells,
 * holding the lock that MHD's answer would need first (limits_may_answer).
 *
 * To a client whose request is answered, and of whose body more comes than is waited for: the answer. To
 * close at once would reset the connection, and the answer be lost on the way; so our side of it is ended,
 * which tells a client that looks only when it can't send, and as much of the body again is thrown away.
 */
#include "front/http_internal.h"

#include <string.h>
#include <sys/socket.h>

#include "base/host.h"
#include "base/refused.h"

#define HTTP_LATE \
	"the connection was closed because no more of the body came in time; send it again"

static void
put_answer(const struct request *r, struct span body, struct buf *out)
{
	char date[30];

	host_date_text(host_wall_ms(), date);
	buf_printf(out, "HTTP/1.1 %u %s\r\n", r->status, MHD_get_reason_phrase_for(r->status));
	for (size_t i = 0; i < r->headers.len; i++) {
		if (r->headers.data[i] == '\n')
			buf_add_char(out, '\r');
		buf_add_char(out, (char)r->headers.data[i]);
	}
	buf_printf(out,
	    "x-amz-request-id: %s\r\nServer: Domicile\r\nDate: %s\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
	    r->id, date, body.len);
	buf_add(out, body.data, body.len);
}

/* What a client does not take at once is lost; there is no second try. */
static void
send_past(const struct buf *text, int fd, struct tls_connection *tls)
{
	if (buf_check(text, NULL) < 0)
		return;
	if (tls)
		tls_send(tls, text->data, text->len);
	else
		(void)send(fd, text->data, text->len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void
past_tell_late(struct http_request *h, int fd, struct tls_connection *tls)
{
	/* A request of its own for the handler of errors: a worker may be at H's answer. */
	struct request r = {
		.front = h->r.front,
		.node = h->r.node,
		.method = h->r.method,
		.target = h->r.target,
		.path = h->r.path,
		.query = h->r.query,
		.is_peer = h->r.is_peer,
		.internal = h,
	};
	_cleanup_buf_ struct buf text = BUF_INIT(0);
	struct err e;

	memcpy(r.id, h->r.id, sizeof r.id);
	err_set(&e, ERR_TIMEOUT, HTTP_LATE);
	h->listener->ops->fail(&r, 408, &e);
	put_answer(&r, (struct span){ r.body.data, r.body.len }, &text);
	buf_free(&r.headers);
	buf_free(&r.body);
	refused_count(REFUSED_SLOW);
	send_past(&text, fd, tls);
}

enum MHD_Result
past_answer(struct http_request *h)
{
	struct connection *c = connection_of(h->conn);
	_cleanup_buf_ struct buf text = BUF_INIT(0);

	if (h->phase == PHASE_TOLD || h->r.read || !c ||
	    (!c->tls && h->listener->kind != LISTEN_S3_PLAIN) || !http_answer_make(h))
		return MHD_NO;
	h->phase = PHASE_TOLD;
	h->drained = 0;
	put_answer(&h->r, http_answer_body(h), &text);
	send_past(&text, c->fd, c->tls);
	shutdown(c->fd, SHUT_WR);
	return MHD_YES;
}
