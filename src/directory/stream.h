/* stream.h - frames over mutual TLS: what moves travel on.
 *
 * A frame is: length (4, big-endian, of what follows), type (1), payload. Any malformed or oversized
 * frame ends the stream. One sender thread and one receiver thread at a time.
 */
#pragma once
#include "base/buf.h"
#include "base/frame.h"
#include "directory/peer.h"

#define STREAM_FRAME_MAX ((size_t)8 << 20)

struct stream;
struct stream_listener;

/* Called on a thread of its own for each authenticated connection; the stream is closed when it
 * returns. */
typedef void stream_fn(void *arg, struct stream *s);

/* AT is "host:port" (port 0: any; stream_port tells). At most MAX_STREAMS connections of regions; more
 * are refused. Those that have not shown a region's certificate yet have a bound of their own, and give
 * way to whoever comes, so that they keep no region out. */
must_check
struct stream_listener *stream_listen(
    struct peers *p, const char *at, unsigned max_streams, stream_fn *fn, void *arg, struct err *e);
unsigned stream_port(const struct stream_listener *l);
/* Stops accepting, ends every stream (their receives fail with ERR_CANCELLED), waits for the
 * threads. NULL is fine. */
void stream_unlisten(struct stream_listener *l);

/* Connect to a region; ERR_PEER with the reason. Closed by the caller. */
must_check
struct stream *stream_connect(
    struct peers *p, const char *region, uint64_t timeout_ms, struct err *e);
/* The same to the node at ENDPOINT ("host:port"), whose certificate must be REGION's. */
must_check
struct stream *stream_connect_at(
    struct peers *p, const char *region, const char *endpoint, uint64_t timeout_ms, struct err *e);
void stream_close(struct stream *s);
CLEANUP(struct stream, stream_close)
/* From another thread: receives and sends fail from now on (ERR_CANCELLED). */
void stream_abort(struct stream *s);

const char *stream_peer(const struct stream *s); /* the other side's region id */
/* Queue a frame; bytes leave at the latest with stream_flush or when 64 KiB are there. */
must_check
int stream_send(struct stream *s, uint8_t type, const void *p, size_t n, struct err *e);
must_check
int stream_flush(struct stream *s, struct err *e);
/* Wait for a frame; PAYLOAD lives until the next receive. ERR_TIMEOUT after TIMEOUT_MS without a
 * byte (the stream may go on being used); ERR_PEER when it ended (text says how). */
must_check
int stream_receive(
    struct stream *s, uint64_t timeout_ms, uint8_t *type, struct span *payload, struct err *e);
uint64_t stream_sent_bytes(const struct stream *s);
uint64_t stream_received_bytes(const struct stream *s);
/* The smoothed round trip of the connection as the kernel knows it (TCP_INFO), in microseconds. */
uint64_t stream_rtt_us(const struct stream *s);
