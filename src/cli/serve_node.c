/* serve_node.c - joins all layers into a node. See struct node for who borrows what.
 *
 * The order below is the order of need; closing goes the other way round. Listeners come last and
 * go first, so that nobody is answered by half a node.
 */
#include "cli/serve_node.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/rate.h"
#include "cli/region_conf.h"
#include "cli/serve_confine.h"
#include "cli/sign_key.h"
#include "cli/store_starts.h"
#include "directory/directory.h"
#include "engine/tail.h"
#include "front/admin.h"
#include "front/front.h"
#include "move/mover.h"
#include "move/step.h"
#include "move/reconcile.h"
#include "sealed/keys.h"
#include "service/access.h"
#include "service/applications.h"
#include "service/accounts.h"
#include "service/backup.h"
#include "service/lifecycle.h"
#include "service/policy.h"
#include "service/quota.h"
#include "service/routes.h"
#include "standby/follower.h"
#include "standby/marker.h"
#include "standby/standby.h"
#include "service/rotation.h"
#include "service/scrub.h"
#include "vault/homes.h"
#include "vault/pool.h"

#define STOP_GRACE_MS  10000
#define RECONCILE_S    2 /* between tries while the directory is away */
#define ACCESS_ENTRIES 20000
#define FILES_OTHERS   128
#define ROUTES_ENTRIES 100000
#define RATE_PLACES    65536

struct serving {
	char *config;
	struct region_conf conf;
	struct node node;
	struct front *front;
};

/* --- regions, policy --- */

/* Our own section must say what we are: other regions and certificates rely on it. */
static int
check_own_region(const struct region_conf *c, const struct peer_region *r, size_t n,
    struct node *node, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(r[i].name, c->region) != 0)
			continue;
		if (strcmp(r[i].jurisdiction, c->jurisdiction) != 0)
			return err_set(e, ERR_BAD,
			    "%s: [region %s] has jurisdiction %s, region.conf says %s", c->regions,
			    c->region, r[i].jurisdiction, c->jurisdiction);
		memcpy(node->sign_public, r[i].sign_public, SIGN_PUBLIC_BYTES);
		return 0;
	}
	if (!*c->store)
		return 0;
	return err_set(e, ERR_BAD, "%s: has no [region %s]", c->regions, c->region);
}

/* A region may be preferred before it is there, so it is no error. */
static void
warn_of_policy(struct serving *s)
{
	char unknown[200];

	policy_unknown(s->node.policy, s->node.peers, unknown, sizeof(unknown));
	if (*unknown)
		log_warn("policy.unknown", NULL, "%s has no section for regions that it names: %s",
		    s->conf.regions, unknown);
}

/* All of it is read before anything is replaced. */
static int
load_regions(struct serving *s, struct err *e)
{
	_cleanup_(freep) struct peer_region *regions = calloc(REGIONS_MAX, sizeof(*regions));
	_cleanup_(conf_freep) struct conf *c = conf_load(s->conf.regions, e);
	_cleanup_(policy_freep) struct policy *trial = policy_new(e);
	struct node own = { 0 };
	size_t n = 0;

	if (!regions)
		return err_set(e, ERR_MEMORY, "no memory for the regions");
	if (!c || !trial)
		return -1;
	if (regions_read(c, regions, &n, e) < 0 ||
	    check_own_region(&s->conf, regions, n, &own, e) < 0 || policy_load(trial, c, e) < 0 ||
	    conf_check_unused(c, e) < 0)
		return -1;
	/* A node can't change its own key while it runs. */
	if (s->front && memcmp(own.sign_public, s->node.sign_public, SIGN_PUBLIC_BYTES) != 0)
		return err_set(e, ERR_BAD, "%s: 'sign' of [region %s] has changed", s->conf.regions,
		    s->conf.region);
	memcpy(s->node.sign_public, own.sign_public, SIGN_PUBLIC_BYTES);
	if (peers_set_regions(s->node.peers, regions, n, e) < 0)
		return -1;
	if (policy_load(s->node.policy, c, e) < 0)
		return -1;
	warn_of_policy(s);
	return 0;
}

static int
open_peers(struct serving *s, struct err *e)
{
	struct region_conf *c = &s->conf;
	struct peers_config config = {
		.self = c->region,
		.ca_path = c->ca,
		.cert_path = c->tls_cert,
		.key_path = c->tls_key,
		.directory = *c->directory_name ? c->directory_name : NULL,
	};

	if (private_file_check(c->tls_key, e) < 0)
		return -1;
	s->node.peers = peers_open(&config, e);
	s->node.policy = s->node.peers ? policy_new(e) : NULL;
	if (!s->node.policy)
		return -1;
	return load_regions(s, e);
}

static int
open_directory(struct serving *s, struct err *e)
{
	struct region_conf *c = &s->conf;

	s->node.serves_directory = *c->directory != 0;
	if (*c->directory)
		s->node.directory = directory_sqlite(c->directory, e);
	else
		s->node.directory = directory_client(
		    s->node.peers, c->directory_name, c->directory_at, e);
	return s->node.directory ? 0 : err_add(e, "directory");
}

/* --- the store --- */

static int
open_keys(struct serving *s, struct err *e)
{
	struct node *n = &s->node;

	n->sign_secret = secret_alloc(SIGN_SECRET_BYTES, e);
	if (!n->sign_secret)
		return -1;
	if (*s->conf.store &&
	    sign_key_read(s->conf.sign_key, n->sign_public, n->sign_secret, e) < 0)
		return -1;
	if (!*s->conf.store)
		return 0;
	n->keys = keys_file_open(s->conf.region_key, e);
	return n->keys ? 0 : -1;
}

static int
open_engine(struct serving *s, struct err *e)
{
	char engine[PATH_MAX + 16], chunks[PATH_MAX + 16];
	struct node *n = &s->node;

	snprintf(engine, sizeof(engine), "%s/engine", s->conf.store);
	snprintf(chunks, sizeof(chunks), "%s/chunks", s->conf.store);
	if (fs_mkdir(s->conf.store, 0700, e) < 0 || store_is_whole(s->conf.store, e) < 0)
		return -1;
	n->engine = s->conf.standby
	    ? engine_rocksdb_tailed(engine, s->conf.engine_cache, s->conf.engine_write_buffer,
	          s->conf.standby_keep, e)
	    : engine_rocksdb(engine, s->conf.engine_cache, s->conf.engine_write_buffer, e);
	if (!n->engine)
		return err_add(e, "store");
	n->flusher = flusher_start(n->engine, e);
	if (!n->flusher)
		return -1;
	n->chunks = chunks_file(chunks, ENGINE_KEPT_BUFFERS * s->conf.engine_write_buffer, e);
	return n->chunks ? 0 : -1;
}

/* With another region's key, or an older one, it could serve nothing that is there, and would wrap what is new
 * so that no one key opens all. What can't be read says nothing about the key. */
static int
check_key(const struct serving *s, struct err *e)
{
	struct err why;

	if (rotation_check_opens(s->node.engine, s->node.keys, &why) == 0 ||
	    (why.kind != ERR_FORGED && why.kind != ERR_MISSING))
		return 0;
	err_set(e, why.kind, "%s", why.text);
	return err_add(e,
	    "region key %s: no vault of the store opens with it; put the right one in place",
	    s->conf.region_key);
}

static int
open_vaults(struct serving *s, struct err *e)
{
	struct node *n = &s->node;
	struct pool_config pool = {
		.engine = n->engine,
		.flusher = n->flusher,
		.keys = n->keys,
		.chunks = n->chunks,
		.max_vaults = s->conf.vaults_open,
		.max_bytes = s->conf.vaults_memory,
	};
	struct homes_config homes = {
		.engine = n->engine,
		.flusher = n->flusher,
		.hold_ms = s->conf.hold_ms,
		.read_lease_ms = s->conf.read_lease_ms,
		.linger_ms = s->conf.linger_ms,
	};

	n->pool = pool_open(&pool, e);
	if (!n->pool)
		return -1;
	n->homes = homes_open(&homes, e);
	return n->homes ? 0 : -1;
}

/* --- what works on it --- */

/* Neither a directory that is away nor one account in trouble must keep the others from being served:
 * only those that were just being made or removed wait. */
static int
recover_accounts(struct serving *s, struct err *e)
{
	bool again = atomic_exchange(&s->node.must_recover, false);

	if (accounts_recover(&s->node, e) == 0) {
		if (again)
			log_info("accounts.recover", NULL, "done");
		return 0;
	}
	if (e->kind != ERR_PEER && e->kind != ERR_TIMEOUT && e->kind != ERR_BUSY)
		return -1;
	if (!again)
		log_warn("accounts.recover", NULL, "later: %s", e->text);
	atomic_store(&s->node.must_recover, true);
	return 0;
}

/* A signal that ends the process, which are all blocked here, ends the waiting too. */
static int
wait_to_reconcile(struct err *e)
{
	const struct timespec pause = { .tv_sec = RECONCILE_S };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigtimedwait(&set, NULL, &pause) > 0)
		return err_set(e, ERR_CANCELLED, "stopped while waiting for the directory");
	return 0;
}

/* A store that was put back is no one's home before the directory has been asked for every account. */
static int
reconcile_store(struct serving *s, struct err *e)
{
	struct reconcile_report report;
	struct reconcile_mark mark;
	int marked;

	if (store_starts(s->node.engine, s->node.flusher, s->conf.store, e) < 0)
		return err_add(e, "store");
	marked = reconcile_marked(s->node.engine, &mark, e);
	if (marked <= 0)
		return marked;
	log_warn("reconcile.begin", NULL,
	    "why=%s nothing is served before every account has been compared with the directory",
	    reconcile_why_name(mark.why));
	while (reconcile(&s->node, &report, e) < 0) {
		if (e->kind != ERR_PEER && e->kind != ERR_TIMEOUT && e->kind != ERR_BUSY)
			return -1;
		log_warn("reconcile.wait", NULL, "nothing is served; again in %d s: %s",
		    RECONCILE_S, e->text);
		if (wait_to_reconcile(e) < 0)
			return -1;
	}
	return 0;
}

/* Before anything that serves, or speaks for the region. */
static int
start_standby(struct serving *s, struct err *e)
{
	struct node *n = &s->node;
	struct standby_config c = {
		.engine = n->engine,
		.flusher = n->flusher,
		.chunks = n->chunks,
		.peers = n->peers,
		.directory = n->directory,
		.region = n->region,
		.at = s->conf.standby,
		.lease_ms = s->conf.standby_lease_ms,
		.waits = s->conf.standby_waits,
	};

	return standby_start(&c, &n->standby, e);
}

static int
start_services(struct serving *s, struct err *e)
{
	struct node *n = &s->node;
	struct mover_config mover = {
		.node = n,
		.stream_at = s->conf.stream_listen,
		.read_lease_ms = s->conf.read_lease_ms,
		.memory = s->conf.moves_memory,
	};
	const struct rotation_config rotation = { .node = n, .step = step };
	struct scrub_config scrub = {
		.node = n,
		.every_ms = s->conf.scrub_every_ms,
		.rate = s->conf.scrub_rate,
		.check_record = mover_check_record,
		.erase = mover_erase_leftover,
	};

	n->set_removed = mover_removed;
	n->access = access_new(n, ACCESS_ENTRIES, e);
	if (s->conf.account_rate) {
		n->account_rate = rate_new(s->conf.account_rate,
		    s->conf.account_burst ? s->conf.account_burst : 2 * s->conf.account_rate,
		    RATE_PLACES, e);
		if (!n->account_rate)
			return -1;
	}
	n->quota = n->access ? quota_new(n, s->conf.quota, ACCESS_ENTRIES, e) : NULL;
	if (!n->quota || reconcile_store(s, e) < 0 || recover_accounts(s, e) < 0)
		return -1;
	n->applications = applications_open(n, e);
	if (!n->applications)
		return -1;
	n->mover = mover_start(&mover, e);
	n->scrub = n->mover ? scrub_start(&scrub, e) : NULL;
	n->rotation = n->scrub ? rotation_start(&rotation, e) : NULL;
	n->buckets_max = s->conf.account_buckets;
	n->rules_day_ms = s->conf.lifecycle_day_ms;
	n->lifecycle = n->rotation ? lifecycle_start(n, e) : NULL;
	return n->lifecycle ? 0 : -1;
}

/* What the engine, the directory, moves and everything that is open once leave of the descriptors; never
 * 0, which would mean that there are enough. */
static uint64_t
files_for_connections(void)
{
	uint64_t files = fs_files_max(), others = engine_rocksdb_files(files) + FILES_OTHERS;

	return files > others ? files - others : 1;
}

static int
start_front(struct serving *s, struct err *e)
{
	struct region_conf *c = &s->conf;
	struct front_config front = {
		.node = &s->node,
		.s3_tls_at = c->s3_listen,
		.s3_plain_at = c->s3_plain_listen,
		.peer_at = c->peer_listen,
		.admin_socket = c->admin_socket,
		.metrics_at = c->metrics_listen,
		.cert_path = c->tls_cert,
		.key_path = c->tls_key,
		.threads = (unsigned)c->threads,
		.workers = (unsigned)c->workers,
		.connections = (unsigned)c->connections,
		.connections_per_address = (unsigned)c->connections_per_address,
		.address_rate = c->address_rate,
		.address_burst = c->address_burst,
		.files = files_for_connections(),
		.memory = c->requests_memory,
		.idle_ms = c->client_timeout_ms,
		.head_bytes = c->headers,
	};

	metrics_begin();
	s->front = front_start(&front, e);
	return s->front ? 0 : -1;
}

/* Whether this standby, promoted, could open what is wrapped with that generation of the region key. */
static bool
has_key(void *conf, const uint8_t digest[static SHA256_BYTES])
{
	const struct region_conf *c = conf;
	_cleanup_(keys_closep) struct keys *keys = NULL;
	struct err why;
	bool has;

	keys = keys_file_open(c->region_key, &why);
	has = keys && keys_has(keys, digest);
	if (!has)
		log_warn("standby.key", NULL,
		    "the region's node rotates its key, and the new one is not here: %s",
		    keys ? "there is an older one" : why.text);
	return has;
}

/* A node whose store is a standby's: it takes what is shipped, and tells how far it is. */
static int
open_follower(struct serving *s, struct err *e)
{
	struct region_conf *c = &s->conf;
	struct follower_config follower = {
		.peers = s->node.peers,
		.region = c->region,
		.listen = c->stream_listen,
		.store = c->store,
		.cache_bytes = c->engine_cache,
		.write_buffer_bytes = c->engine_write_buffer,
		.has_key = has_key,
		.arg = c,
	};

	if (open_directory(s, e) < 0)
		return -1;
	s->node.routes = routes_new(&s->node, ROUTES_ENTRIES, e);
	s->node.follower = s->node.routes ? follower_start(&follower, e) : NULL;
	if (!s->node.follower)
		return -1;
	c->s3_listen = c->s3_plain_listen = c->peer_listen = NULL;
	return start_front(s, e);
}

static int
open_all(struct serving *s, struct err *e)
{
	struct node *n = &s->node;
	struct marker marker;
	int follows;

	log_set_level(s->conf.log_level);
	memcpy(n->region, s->conf.region, sizeof(n->region));
	memcpy(n->jurisdiction, s->conf.jurisdiction, sizeof(n->jurisdiction));
	follows = *s->conf.store ? marker_read(s->conf.store, s->conf.region, &marker, e) : 0;
	if (follows < 0 || open_peers(s, e) < 0)
		return -1;
	if (follows)
		return open_follower(s, e);
	if (open_keys(s, e) < 0)
		return -1;
	if (*s->conf.store &&
	    (open_engine(s, e) < 0 || check_key(s, e) < 0 || open_vaults(s, e) < 0))
		return -1;
	if (open_directory(s, e) < 0)
		return -1;
	n->routes = routes_new(n, ROUTES_ENTRIES, e);
	if (*s->conf.store && start_standby(s, e) < 0)
		return -1;
	if (!n->routes || (*s->conf.store && start_services(s, e) < 0))
		return -1;
	n->backup = backup_open(n, *s->conf.store ? s->conf.store : NULL, e);
	if (!n->backup)
		return -1;
	standby_begin_waiting(n->standby);
	return start_front(s, e);
}

static void
log_ready(const struct serving *s)
{
	const struct front *f = s->front;

	if (s->node.follower) {
		log_info("ready", NULL, "region=%s standby stream=%u metrics=%u version=%s",
		    s->node.region, follower_port(s->node.follower), front_port(f, "metrics"),
		    DOMICILE_VERSION);
		return;
	}
	log_info("ready", NULL,
	    "region=%s s3=%u s3_plain=%u peer=%u stream=%u metrics=%u directory=%s version=%s",
	    s->node.region, front_port(f, "s3"), front_port(f, "s3_plain"), front_port(f, "peer"),
	    s->node.mover ? mover_stream_port(s->node.mover) : 0, front_port(f, "metrics"),
	    s->node.serves_directory ? "here" : s->conf.directory_name, DOMICILE_VERSION);
}

struct serving *
serving_open(const char *config, struct err *e)
{
	struct serving *s = calloc(1, sizeof(*s));

	if (s)
		s->config = strdup(config);
	if (!s || !s->config) {
		free(s);
		err_set(e, ERR_MEMORY, "no memory");
		return NULL;
	}
	if (region_conf_load(config, &s->conf, e) < 0 || serve_confine(config, &s->conf, e) < 0 ||
	    open_all(s, e) < 0) {
		serving_close(s);
		return NULL;
	}
	log_ready(s);
	return s;
}

void
serving_close(struct serving *s)
{
	struct node *n;

	if (!s)
		return;
	n = &s->node;
	standby_cancel(n->standby, STOP_GRACE_MS);
	front_stop(s->front, STOP_GRACE_MS);
	standby_cancel(n->standby, 0);
	follower_stop(n->follower);
	backup_close(n->backup);
	lifecycle_stop(n->lifecycle);
	rotation_stop(n->rotation);
	scrub_stop(n->scrub);
	mover_stop(n->mover);
	routes_free(n->routes);
	applications_close(n->applications);
	access_free(n->access);
	quota_free(n->quota);
	rate_free(n->account_rate);
	homes_close(n->homes);
	pool_close(n->pool);
	flusher_stop(n->flusher);
	standby_stop(n->standby);
	chunks_close(n->chunks);
	engine_close(n->engine);
	keys_close(n->keys);
	secret_free(n->sign_secret, SIGN_SECRET_BYTES);
	directory_close(n->directory);
	policy_free(n->policy);
	peers_close(n->peers);
	region_conf_close(&s->conf);
	free(s->config);
	free(s);
}

int
serving_reload(struct serving *s, struct err *e)
{
	_cleanup_(freep) struct region_conf *fresh = calloc(1, sizeof(*fresh));
	enum log_level level;

	if (!fresh)
		return err_set(e, ERR_MEMORY, "no memory");
	if (region_conf_load(s->config, fresh, e) < 0)
		return -1;
	level = fresh->log_level;
	region_conf_close(fresh);
	if (load_regions(s, e) < 0)
		return -1;
	/* The policy may say something else about it. */
	if (s->node.quota)
		quota_forget(s->node.quota, NULL);
	log_set_level(level);
	return 0;
}

void
serving_retry(struct serving *s)
{
	struct err e = { 0 };

	if (atomic_load(&s->node.must_recover) && recover_accounts(s, &e) < 0)
		log_error("accounts.recover", NULL, "%s", e.text);
}
