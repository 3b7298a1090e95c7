/* node.h - everything a serving node has, joined once by cmd_serve and borrowed by all.
 *
 * A node without a region (only `directory`) has NULL in every field from engine to homes.
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include "base/crypto.h"
#include "base/id.h"

struct engine;
struct flusher;
struct keys;
struct chunks;
struct pool;
struct homes;
struct directory;
struct peers;
struct policy;
struct access;
struct applications;
struct quota;
struct rate;
struct routes;
struct mover;
struct standby;
struct follower;
struct scrub;
struct backup;
struct rotation;
struct lifecycle;
struct home;
struct region_batch;
struct err;

struct node {
	char region[REGION_NAME_SIZE];
	char jurisdiction[3];
	struct engine *engine;
	struct flusher *flusher;
	struct keys *keys;
	struct chunks *chunks;
	struct pool *pool;
	struct homes *homes;
	struct directory *directory; /* this node's own, or a client of another's */
	bool serves_directory;       /* others may call ours */
	struct peers *peers;
	struct policy *policy;             /* service/policy.h; has its own lock */
	struct access *access;             /* service/access.h */
	struct applications *applications; /* service/applications.h */
	struct quota *quota;               /* service/quota.h; NULL in tools: nothing is limited */
	struct routes *routes;             /* service/routes.h */
	struct mover *mover;               /* move/mover.h; NULL in tools */
	struct standby *standby;           /* standby/standby.h; NULL: this node has none */
	struct follower *follower;         /* standby/follower.h; NULL: this node is none */
	struct scrub *scrub;               /* service/scrub.h; NULL in tools */
	struct backup *backup;             /* service/backup.h; NULL in tools */
	struct rotation *rotation;         /* service/rotation.h; NULL in tools */
	struct lifecycle *lifecycle;       /* service/lifecycle.h; NULL in tools */
	/* Stores that the accounts of COUNT homes H are here no more, with B, and has what is left of them in the
	 * files compacted away, here and at the standby: mover_removed of move/mover.h. NULL in tools: nothing is
	 * compacted. */
	int (*set_removed)(struct node *n, const struct home *h, size_t count,
	    struct region_batch *b, struct err *e);
	atomic_bool must_recover;  /* accounts are left half made: accounts_recover */
	struct rate *account_rate; /* base/rate.h, requests of an account; NULL: no limit */
	uint64_t buckets_max;      /* of an account, in each service; 0: any */
	uint64_t rules_day_ms; /* how long a day is for lifecycle rules; 0: as long as everywhere */
	uint8_t sign_public[SIGN_PUBLIC_BYTES];
	uint8_t *sign_secret; /* SIGN_SECRET_BYTES in locked memory */
};
