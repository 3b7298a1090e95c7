/* follower.h - a standby's process: takes what its region's node ships.
 *
 * Only a peer with the region's own name is let in. One stream at a time; a new one ends the one before,
 * which may be of a line that was cut.
 */
#pragma once
#include "base/cleanup.h"
#include "directory/peer.h"

struct follower;
struct follower_config {
	struct peers *peers; /* borrowed */
	const char *region;
	const char *listen; /* "host:port" */
	const char *store;
	uint64_t cache_bytes, write_buffer_bytes;
	/* Whether the region key that is kept here has the generation of DIGEST (sealed/keys.h). NULL: none is. */
	bool (*has_key)(void *arg, const uint8_t digest[static SHA256_BYTES]);
	void *arg;
};

struct follower_state {
	bool is_connected, is_copying;
	bool has_all; /* a first copy has been completed */
	uint64_t next, whole_at, term;
	uint64_t heard_ms; /* since something was heard; UINT64_MAX: never */
	uint64_t bytes;    /* of sealed records */
};

/* ERR_STALE: the store is being promoted, or is no standby's. */
must_check
struct follower *follower_start(const struct follower_config *c, struct err *e);
void follower_stop(struct follower *f); /* NULL is fine */
unsigned follower_port(const struct follower *f);
void follower_state(struct follower *f, struct follower_state *out);
