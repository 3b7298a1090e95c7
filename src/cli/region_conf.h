/* region_conf.h - a node's region.conf, and the regions.conf that all nodes share.
 *
 * Paths in region.conf may be relative to the folder it lies in.
 */
#pragma once
#include <limits.h>
#include "base/conf.h"
#include "base/id.h"
#include "base/log.h"
#include "directory/peer.h"
#include "service/quota.h"

#define REGIONS_MAX   64
#define MAY_WRITE_MAX 16

struct region_conf {
	struct conf *conf; /* what the plain pointers below point into */
	char region[REGION_NAME_SIZE];
	char jurisdiction[3];
	/* "" if not there */
	char store[PATH_MAX], region_key[PATH_MAX], sign_key[PATH_MAX];
	char tls_cert[PATH_MAX], tls_key[PATH_MAX], ca[PATH_MAX], regions[PATH_MAX];
	char admin_socket[PATH_MAX];
	char directory[PATH_MAX];
	char directory_name[REGION_NAME_SIZE]; /* of another node's, and where it is */
	const char *directory_at;
	char may_write[MAY_WRITE_MAX][PATH_MAX]; /* further folders that the node may write in */
	size_t n_may_write;
	const char *user; /* whom to become; NULL: nobody else */
	/* NULL if not there */
	const char *s3_listen, *s3_plain_listen, *peer_listen, *stream_listen, *metrics_listen;
	uint64_t vaults_open, vaults_memory, engine_cache, engine_write_buffer;
	struct quota_limit quota; /* of accounts that have none of their own */
	uint64_t account_buckets; /* in each service; 0: any */
	uint64_t hold_ms, read_lease_ms, linger_ms;
	const char *standby; /* HOST:PORT of the standby's stream listener; NULL: none */
	bool standby_waits;
	uint64_t standby_lease_ms, standby_keep;
	uint64_t scrub_every_ms, scrub_rate; /* 0: off; 0: no limit */
	uint64_t lifecycle_day_ms;
	/* 0: the front's own default */
	uint64_t workers, threads, connections, connections_per_address, requests_memory,
	    moves_memory, client_timeout_ms, headers;
	/* requests a second, and at once; 0: no limit, of two seconds */
	uint64_t account_rate, account_burst, address_rate, address_burst;
	enum log_level log_level;
};

/* ERR_BAD: an unknown word, one that is missing, a value that can't be. */
must_check
int region_conf_load(const char *path, struct region_conf *out, struct err *e);
void region_conf_close(struct region_conf *c);
#define _cleanup_region_conf_ __attribute__((cleanup(region_conf_close)))

/* Whether DOMAIN may be an s3_domain: a name in lower case, with a dot in it. */
bool region_domain_valid(const char *domain);
/* The [region NAME] sections; at most REGIONS_MAX. *N. [policy XX] is policy_load's. */
must_check
int regions_read(struct conf *c, struct peer_region *out, size_t *n, struct err *e);
