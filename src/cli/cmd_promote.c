/* cmd_promote.c - `domicile region promote`. */
#include "cli/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/progress.h"
#include "cli/region_conf.h"
#include "cli/sign_key.h"
#include "directory/directory.h"
#include "move/reconcile.h"
#include "sealed/keys.h"
#include "service/rotation.h"
#include "standby/promote.h"

struct promoting {
	struct keys *keys; /* borrowed */
	struct progress progress;
};

/* What the region needs to serve, and can't be found out of when it is too late. */
static int
open_keys(
    const struct region_conf *c, const struct peer_region *own, struct keys **out, struct err *e)
{
	uint8_t *secret = secret_alloc(SIGN_SECRET_BYTES, e);
	int rc = -1;

	*out = secret ? keys_file_open(c->region_key, e) : NULL;
	if (*out)
		rc = sign_key_read(c->sign_key, own->sign_public, secret, e);
	secret_free(secret, SIGN_SECRET_BYTES);
	if (rc < 0)
		return err_add(e, "put the region's keys in place first");
	return 0;
}

static int
check_store(void *arg, struct engine *g, struct err *e)
{
	struct promoting *p = arg;

	return rotation_check_keys(g, p->keys, e) < 0
	    ? err_add(e, "put the region's newest region.key in place first")
	    : 0;
}

static int
load_regions(
    const struct region_conf *c, struct peers *peers, struct peer_region *own, struct err *e)
{
	_cleanup_(freep) struct peer_region *regions = calloc(REGIONS_MAX, sizeof(*regions));
	_cleanup_(conf_freep) struct conf *file = conf_load(c->regions, e);
	size_t n = 0;

	if (!regions)
		return err_set(e, ERR_MEMORY, "no memory for the regions");
	if (!file || regions_read(file, regions, &n, e) < 0 ||
	    peers_set_regions(peers, regions, n, e) < 0)
		return -1;
	return peers_find(peers, c->region, own)
	    ? 0
	    : err_set(e, ERR_BAD, "%s: has no [region %s]", c->regions, c->region);
}

static void
show_waiting(void *arg, uint64_t left_ms)
{
	struct progress *p = &((struct promoting *)arg)->progress;
	char left[16], plain[120], text[122];

	if (!progress_is_due(p, false))
		return;
	text_duration(left_ms, left);
	snprintf(plain, sizeof(plain), "waiting until the former node has stopped serving, %s left",
	    left);
	snprintf(text, sizeof(text), "%s\n", plain);
	progress_show(p, text, plain);
}

static void
tell_done(const struct region_conf *c, const char *config, const struct promotion *p)
{
	fprintf(stderr,
	    "%s is promoted: term %" PRIu64 ", as of change %" PRIu64 ".\n"
	    "next: domicile serve --config %s\n"
	    "      and its addresses: in regions.conf of every node (then SIGHUP), or in the DNS\n",
	    c->region, p->term, p->next - 1, config);
	if (p->whole_at > p->next)
		fprintf(stderr,
		    "some objects that had been deleted at the former node after this change may be back "
		    "without their content: domicile scrub finds them\n");
}

static int
mark(struct engine *g, struct err *e)
{
	const struct reconcile_mark m = { .why = RECONCILE_PROMOTED };

	return reconcile_mark(g, NULL, &m, e);
}

static int
promote(const struct region_conf *c, const char *config, struct err *e)
{
	const struct peers_config peers_of = {
		.self = c->region,
		.ca_path = c->ca,
		.cert_path = c->tls_cert,
		.key_path = c->tls_key,
		.directory = *c->directory_name ? c->directory_name : NULL,
	};
	_cleanup_(peers_closep) struct peers *peers = peers_open(&peers_of, e);
	_cleanup_(directory_closep) struct directory *d = NULL;
	_cleanup_(keys_closep) struct keys *keys = NULL;
	struct peer_region own;
	struct promoting promoting = { 0 };
	struct promotion p = {
		.store = c->store,
		.region = c->region,
		.cache_bytes = c->engine_cache,
		.write_buffer_bytes = c->engine_write_buffer,
		.waiting = show_waiting,
		.arg = &promoting,
		.mark = mark,
		.check = check_store,
	};
	int rc;

	if (!peers || load_regions(c, peers, &own, e) < 0 || open_keys(c, &own, &keys, e) < 0)
		return -1;
	promoting.keys = keys;
	d = directory_client(peers, c->directory_name, c->directory_at, e);
	if (!d)
		return -1;
	p.directory = d;
	progress_open(&promoting.progress, stderr);
	rc = standby_promote(&p, e);
	progress_clear(&promoting.progress);
	if (rc == 0)
		tell_done(c, config, &p);
	return rc;
}

int
cmd_region_promote(const struct args *a, struct err *e)
{
	const char *config = arg_text(a, "config") ? arg_text(a, "config")
	                                           : getenv("DOMICILE_CONFIG");
	_cleanup_(freep) struct region_conf *c = calloc(1, sizeof(*c));
	int rc;

	if (!config || !*config)
		return err_set(
		    e, ERR_USAGE, "--config FILE is missing; see: domicile region promote --help");
	if (!c)
		return err_set(e, ERR_MEMORY, "no memory");
	if (region_conf_load(config, c, e) < 0)
		return -1;
	if (!*c->store)
		rc = err_set(e, ERR_BAD, "%s: has no store", config);
	else if (!c->directory_at || strcmp(c->directory_name, c->region) == 0)
		rc = err_set(e, ERR_BAD,
		    "%s: the directory is served by the region's own node, and a promotion needs another one's word",
		    config);
	else
		rc = promote(c, config, e);
	region_conf_close(c);
	return rc;
}
