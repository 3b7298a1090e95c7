/* What is told to a client whose body stops or trickles: that it was too slow, and the connection is
 * closed.
 *
 * MHD takes no answer while a body is coming, so this one is written past it. Over TLS only the HTTP
 * thread may write: limits_sweep ends the reading, MHD's next read comes through our own (http_tls.c), and
 * that one tells. Without TLS there is no such place, and limits_sweep itself tells, holding the lock
 * that MHD's answer would need first (limits_may_answer).
 */
#include "front/http_internal.h"

#include <string.h>
#include <sys/socket.h>

#include "base/host.h"
#include "base/refused.h"

#define HTTP_LATE \
	"the connection was closed because no more of the body came in time; send it again"

/* A request of its own for the handler of errors: a worker may be at H's answer. */
static void
make_answer(struct http_request *h, struct buf *out)
{
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
	char date[30];
	struct err e;

	host_date_text(host_wall_ms(), date);
	memcpy(r.id, h->r.id, sizeof r.id);
	err_set(&e, ERR_TIMEOUT, HTTP_LATE);
	h->listener->ops->fail(&r, 408, &e);
	buf_printf(out, "HTTP/1.1 %u %s\r\n", r.status, MHD_get_reason_phrase_for(r.status));
	for (size_t i = 0; i < r.headers.len; i++) {
		if (r.headers.data[i] == '\n')
			buf_add_char(out, '\r');
		buf_add_char(out, (char)r.headers.data[i]);
	}
	buf_printf(out,
	    "x-amz-request-id: %s\r\nServer: Domicile\r\nDate: %s\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
	    r.id, date, r.body.len);
	buf_add(out, r.body.data, r.body.len);
	buf_free(&r.headers);
	buf_free(&r.body);
}

void
late_tell(struct http_request *h, int fd, struct tls_connection *tls)
{
	_cleanup_buf_ struct buf text = BUF_INIT(0);
	struct err e;

	make_answer(h, &text);
	refused_count(REFUSED_SLOW);
	/* A client that does not take so much is not told; there is no second try. */
	if (buf_check(&text, &e) < 0)
		return;
	if (tls)
		tls_send(tls, text.data, text.len);
	else
		(void)send(fd, text.data, text.len, MSG_NOSIGNAL | MSG_DONTWAIT);
}
