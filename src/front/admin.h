/* admin.h - JSON calls of the operator (Unix socket) and of other regions (peer listener).
 *
 * POST /v1/<noun>/<verb> with a JSON object; answers 200 with JSON, or problem+json (RFC 9457) with
 * "kind", "detail" and the request's id.
 */
#pragma once
#include "front/request.h"

enum handle admin_handle(struct request *r);   /* Unix socket */
enum handle peer_handle(struct request *r);    /* peer listener: /peer/v1/...; else s3_handle */
enum handle metrics_handle(struct request *r); /* /metrics, /healthz */
/* Once, before there is any JSON: its texts are wiped when they are freed, and a call of whose answer a part found
 * no memory fails. */
void admin_json_begin(void);
/* The node begins to serve: what /healthz calls `since`. */
void metrics_begin(void);
/* problem+json from an error. */
void problem(struct request *r, const struct err *e);
/* The same with another status, unless it is 0. */
void admin_fail(struct request *r, unsigned status, const struct err *e);
