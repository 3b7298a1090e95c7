/* forward.h - passing a request on to the account's home over the peer listener, both ways streaming.
 *
 * Runs on a worker thread. The request goes with its own method, target and headers (the signature
 * stays valid), plus x-domicile-id, x-domicile-from and x-domicile-hops (at most 4, else 508). The home
 * checks the signature itself.
 */
#pragma once
#include <string.h>
#include <strings.h>
#include "front/request.h"

/* Before the names of the client's headers that are about its connection only: "x-domicile-hop-expect". */
#define FORWARD_HOP "x-domicile-hop-"

/* Whether the header of N bytes is one of these. */
static inline bool
forward_is_hop(const char *name, size_t n)
{
	static const char *const hop[] = { "connection", "keep-alive", "proxy-connection", "te",
		"trailer", "transfer-encoding", "upgrade", "expect" };

	for (size_t i = 0; i < ARRAY_LEN(hop); i++)
		if (strlen(hop[i]) == n && !strncasecmp(name, hop[i], n))
			return true;
	return false;
}

/* Sends r to REGION's peer listener and makes its answer r's. IS_DECODED: what request_read gives is the body
 * decoded. The home is told so (x-domicile-decoded: 1) and takes the streaming signature as checked;
 * x-domicile-length is then the Content-Length that the client sent and may have signed. Returns when the transfer is
 * over; the answer has begun by then (response_begin). ERR_PEER: nothing was answered; with *WAS_SENT
 * the home may have done what was asked, so it must not be asked of anyone again. */
must_check
int forward_request(
    struct request *r, const char *region, bool is_decoded, bool *was_sent, struct err *e);
/* Answer 307 with the home's S3 address. */
void forward_redirect(struct request *r, const char *s3_url);
