/* s3.h - the S3 operations: route, gate, signature, operation, error form.
 *
 * s3_handle is the handler of every request on the S3 listeners and of forwarded ones on the peer
 * listener. Its steps: name the account (from the access key in the Authorization header or the query),
 * pass the gate or forward, check the signature, carry out the operation, leave the gate.
 */
#pragma once
#include "front/request.h"
#include "service/files.h"

/* HANDLE_AGAIN: it would have to block, and is to be called again where it may. */
enum handle s3_handle(struct request *r);
/* Whether the request has to be handled as a stream on a worker (decided from method, target and
 * headers alone, before the body). */
bool s3_is_stream(struct request *r);
/* Of a form's body: what has its fields in it, or is too much for them. Else 0. */
size_t s3_stream_after(struct request *r);

/* S3's error code and status for an error of ours; the XML body with code, message, resource and
 * request id. Code NULL: from the kind. */
void s3_error(struct request *r, unsigned status, const char *code, const char *format, ...)
    printf_like(4, 5);
void s3_error_from(struct request *r, const struct err *e);
/* What the HTTP server refuses, of itself: STATUS as in struct front_ops. */
void s3_fail(struct request *r, unsigned status, const struct err *e);
