/* stream_private.h - between stream.c and stream_listen.c. */
#pragma once
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdatomic.h>
#include "directory/stream.h"

#define STREAM_HANDSHAKE_MS ((uint64_t)10000)
#define STREAM_OUT_BYTES    ((size_t)64 << 10)
#define STREAM_RAW_BYTES    ((size_t)256 << 10)
#define STREAM_RECORD_BYTES ((size_t)16 << 10)
#define STREAM_REASON_SIZE  120

struct stream {
	struct peers *peers;
	gnutls_session_t session;
	int fd;
	char peer[REGION_NAME_SIZE];
	_Atomic bool is_aborted;
	_Atomic uint64_t sent, received; /* on the wire */

	/* the sender's */
	uint8_t *out;
	size_t out_len;
	bool is_closing; /* no more waiting */
	int send_errno;
	char send_broken[STREAM_REASON_SIZE]; /* why nothing can be sent; "" as long as it can */

	/* the receiver's */
	uint64_t deadline_ns; /* for the next byte */
	uint8_t *raw;         /* read ahead, as it came */
	size_t raw_at, raw_len;
	uint8_t *in; /* decrypted, from in_at to in_len */
	size_t in_at, in_len, in_cap;
	bool is_late; /* the deadline passed */
	int receive_errno;
	char receive_broken[STREAM_REASON_SIZE];

	/* the listener's */
	struct stream_listener *listener;
	struct stream *next;
	uint8_t from[16]; /* whom it came from: an IPv6 address or a mapped IPv4 one */
	uint64_t came_ms;
	bool is_greeting; /* has not shown a region's certificate yet */
	bool is_admitted; /* has, and has a place */
};

/* A stream on the connected socket FD, which it owns from now on, even on failure. REGION: whose
 * certificate it must be (we are the client), or NULL (we are the server). ERR_PEER. */
must_check
struct stream *stream_new(struct peers *p, int fd, const char *region, struct err *e);
/* The handshake, both certificates checked, and the greeting, at most WAIT_MS altogether. */
must_check
int stream_greet(struct stream *s, const char *region, uint64_t wait_ms, struct err *e);

/* S has shown a region's certificate: whether its listener has a place for it. */
bool stream_admit(struct stream *s);

/* Addresses of "host:port", "[v6]:port" or ":port" (any, to listen). freeaddrinfo. ERR_BAD. */
struct addrinfo;
must_check
int stream_resolve(const char *at, bool is_passive, struct addrinfo **out, struct err *e);
