/* front.h - the listeners: S3 for users, peer for regions, admin for the operator. */
#pragma once
#include "base/cleanup.h"
#include "service/node.h"

struct front;
struct front_config {
	struct node *node;
	/* "host:port"; NULL: no such listener. Port 0: any. */
	const char *s3_tls_at;            /* HTTPS */
	const char *s3_plain_at;          /* HTTP; refused unless a loopback address */
	const char *peer_at;              /* HTTPS with client certificates */
	const char *admin_socket;         /* path of a Unix socket, mode 0600 */
	const char *metrics_at;           /* HTTP /metrics and /healthz; loopback only */
	const char *cert_path, *key_path; /* of the S3 listener */
	unsigned threads;                 /* HTTP threads; 0: as many as cores */
	unsigned workers;                 /* most worker threads; 0: 512 */
	unsigned connections;             /* most of users; 0: 4096. Regions: a quarter more */
	unsigned connections_per_address; /* of users; 0: half of all */
	uint64_t address_rate;            /* requests a second of one address of users; 0: any */
	uint64_t address_burst;           /* and so many at once; 0: of two seconds */
	uint64_t files;                   /* descriptors that connections may use; 0: enough */
	uint64_t memory;                  /* of bodies and answers on their way; 0: 512 MiB */
	uint64_t idle_ms;                 /* a client's time to do what it owes; 0: 60 s */
	uint64_t head_bytes;              /* of a request's target and headers; 0: 16 KiB */
};
/* Listen and serve. C is borrowed until it returns, its node until front_stop. NULL: ERR_BAD (an
 * address, the certificate), ERR_BUSY and ERR_EXISTS (an address or a socket's path is taken),
 * ERR_MEMORY, ERR_IO. */
must_check
struct front *front_start(const struct front_config *c, struct err *e);
/* Stop accepting, let requests that are inside finish (at most GRACE_MS), close. NULL is fine. */
void front_stop(struct front *f, uint64_t grace_ms);
/* What it was started with, with its own defaults put in. */
struct front_limits {
	unsigned connections, connections_per_address;
	uint64_t requests_memory, idle_ms, head_bytes;
	uint64_t address_rate, address_burst; /* 0: any */
};
/* Any thread. */
void front_limits(const struct front *f, struct front_limits *out);
unsigned front_port(
    const struct front *f, const char *which); /* "s3", "s3_plain", "peer", "metrics" */
