/* cmd_certificate.c - `domicile certificate`, `verify` and `trust`: proofs, and checking them. */
#include "cli/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/host.h"
#include "cli/call.h"
#include "cli/region_conf.h"
#include "ledger/certificate.h"

int
cmd_certificate(const struct args *a, struct err *e)
{
	const char *path = arg_text(a, "output");
	_cleanup_(freep) char *text = NULL;
	_cleanup_json_ json_t *answer = NULL;
	uint64_t epoch;

	if (arg_u64(a, "epoch", 0, 1, INT64_MAX, &epoch, e) < 0 ||
	    call_once(a, "/v1/certificate",
	        json_pack("{s:s, s:I}", "account", arg_operand(a, 0), "epoch", (json_int_t)epoch),
	        &answer, e) < 0)
		return -1;
	if (!path)
		return print_json(answer, e);
	text = json_dumps(answer, JSON_INDENT(2));
	if (!text)
		return err_set(e, ERR_MEMORY, "no memory for the certificate");
	if (fs_write(path, text, strlen(text), 0644, e) < 0)
		return -1;
	if (!json_object_get(answer, "erasure"))
		fprintf(stderr,
		    "domicile: the old home has not erased the account yet; later the "
		    "certificate proves that too\n");
	return 0;
}

/* --- verify --- */

static json_t *
vaults_json(const struct move_statement *m)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < m->n_vaults; i++) {
		char root[2 * SHA256_BYTES + 1];

		hex_text(m->vaults[i].root, SHA256_BYTES, root);
		json_array_append_new(list,
		    json_pack("{s:s, s:I, s:s}", "service", service_name(m->vaults[i].service),
		        "version", (json_int_t)m->vaults[i].version, "root", root));
	}
	return list;
}

static json_t *
verified_json(const struct certificate *c)
{
	char id[ACCOUNT_TEXT_SIZE], time[25];
	json_t *it;

	account_text(&c->move.account, id);
	host_time_text(c->move.time_ms, time);
	it = json_pack("{s:b, s:s, s:s, s:s, s:I, s:s, s:o, s:b}", "valid", 1, "account", id,
	    "from", c->move.from, "to", c->move.to, "epoch", (json_int_t)c->move.epoch, "moved",
	    time, "vaults", vaults_json(&c->move), "is_erased", (int)c->is_erased);
	if (it && c->is_erased) {
		host_time_text(c->erasure.time_ms, time);
		json_object_set_new(it, "erased", json_string(time));
		json_object_set_new(it, "records", json_integer((json_int_t)c->erasure.records));
		json_object_set_new(it, "chunks", json_integer((json_int_t)c->erasure.chunks));
	}
	return it;
}

static void
print_verified(const struct certificate *c)
{
	const struct move_statement *m = &c->move;
	char id[ACCOUNT_TEXT_SIZE], time[25];

	account_text(&m->account, id);
	host_time_text(m->time_ms, time);
	printf("valid: account %s\n  moved    %s  from %s to %s, epoch %" PRIu64
	       ", signed by both\n  vaults  ",
	    id, time, m->from, m->to, m->epoch);
	for (unsigned i = 0; i < m->n_vaults; i++)
		printf(" %s (version %" PRIu64 ")", service_name(m->vaults[i].service),
		    m->vaults[i].version);
	if (!c->is_erased) {
		printf("\n  erased   not yet when this was drawn\n");
		return;
	}
	host_time_text(c->erasure.time_ms, time);
	printf("\n  erased   %s  at %s: %" PRIu64 " records, %" PRIu64
	       " chunks removed and looked for again\n",
	    time, c->erasure.region, c->erasure.records, c->erasure.chunks);
}

int
cmd_verify(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *it = NULL;
	struct certificate c;

	if (certificate_check_file(arg_operand(a, 0), arg_text(a, "trust"), &c, e) < 0)
		return -1;
	if (!arg_flag(a, "json")) {
		print_verified(&c);
		return 0;
	}
	it = verified_json(&c);
	return it ? print_json(it, e) : err_set(e, ERR_MEMORY, "no memory");
}

/* --- trust --- */

static int
regions_path(const struct args *a, char out[static PATH_MAX], struct err *e)
{
	const char *config = arg_text(a, "config") ? arg_text(a, "config")
	                                           : getenv("DOMICILE_CONFIG");
	_cleanup_(freep) struct region_conf *conf = calloc(1, sizeof(*conf));

	if (arg_text(a, "regions")) {
		snprintf(out, PATH_MAX, "%s", arg_text(a, "regions"));
		return 0;
	}
	if (!config || !*config)
		return err_set(e, ERR_USAGE, "give --regions FILE or --config FILE");
	if (!conf)
		return err_set(e, ERR_MEMORY, "no memory");
	if (region_conf_load(config, conf, e) < 0)
		return -1;
	memcpy(out, conf->regions, PATH_MAX);
	region_conf_close(conf);
	return 0;
}

int
cmd_trust(const struct args *a, struct err *e)
{
	_cleanup_(freep) struct peer_region *regions = calloc(REGIONS_MAX, sizeof(*regions));
	_cleanup_(conf_freep) struct conf *c = NULL;
	const char *dir = arg_operand(a, 0);
	char path[PATH_MAX];
	size_t n;

	if (!regions)
		return err_set(e, ERR_MEMORY, "no memory");
	if (regions_path(a, path, e) < 0)
		return -1;
	c = conf_load(path, e);
	if (!c || regions_read(c, regions, &n, e) < 0 || fs_mkdir(dir, 0755, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (trust_write(dir, regions[i].name, regions[i].sign_public, e) < 0)
			return -1;
		fprintf(stderr, "%s/%s.pub\n", dir, regions[i].name);
	}
	return 0;
}
