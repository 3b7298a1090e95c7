/* region_conf.c - see region_conf.h. docs/operating.md explains every word. */
#include "cli/region_conf.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define KIB    ((uint64_t)1 << 10)
#define MIB    ((uint64_t)1 << 20)
#define DAY_MS ((uint64_t)86400000)

/* VALUE as seen from the folder of FILE. */
static int
resolve(const char *file, const char *value, char out[static PATH_MAX], struct err *e)
{
	const char *slash = strrchr(file, '/');
	int folder = slash && *value != '/' ? (int)(slash - file) + 1 : 0;

	if (snprintf(out, PATH_MAX, "%.*s%s", folder, file, value) >= PATH_MAX)
		return err_set(e, ERR_BAD, "%s: a path is too long", file);
	return 0;
}

static int
read_paths(struct region_conf *c, const char *file, struct err *e)
{
	const struct {
		const char *word;
		char *out;
		bool is_needed;
	} paths[] = {
		{ "store", c->store, false },
		{ "region_key", c->region_key, conf_get(c->conf, "", "store") != NULL },
		{ "sign_key", c->sign_key, true },
		{ "tls_cert", c->tls_cert, true },
		{ "tls_key", c->tls_key, true },
		{ "ca", c->ca, true },
		{ "regions", c->regions, true },
		{ "admin_socket", c->admin_socket, true },
		{ "directory", c->directory, false },
	};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		const char *value = conf_get(c->conf, "", paths[i].word);

		if (!value && paths[i].is_needed &&
		    conf_need(c->conf, "", paths[i].word, &value, e) < 0)
			return -1;
		if (value && resolve(file, value, paths[i].out, e) < 0)
			return -1;
	}
	return 0;
}

static int
read_directory_at(struct region_conf *c, const char *file, struct err *e)
{
	const char *value = conf_get(c->conf, "", "directory_at");
	const char *equals = value ? strchr(value, '=') : NULL;
	size_t n = equals ? (size_t)(equals - value) : 0;

	if (!value && !*c->directory)
		return err_set(e, ERR_BAD,
		    "%s: needs 'directory' (this node serves it) or 'directory_at' (another does)",
		    file);
	if (!value)
		return 0;
	if (*c->directory)
		return err_set(e, ERR_BAD, "%s: either 'directory' or 'directory_at'", file);
	if (n && n < sizeof(c->directory_name))
		memcpy(c->directory_name, value, n);
	if (!region_name_valid(c->directory_name) || !endpoint_valid(equals + 1))
		return conf_refuse(c->conf, "", "directory_at", e,
		    "expected NAME=HOST:PORT, the region id and peer address of the node that serves the directory");
	c->directory_at = equals + 1;
	return 0;
}

static int
read_names(struct region_conf *c, struct err *e)
{
	const char *region, *jurisdiction;

	if (conf_need(c->conf, "", "region", &region, e) < 0 ||
	    conf_need(c->conf, "", "jurisdiction", &jurisdiction, e) < 0)
		return -1;
	if (!region_name_valid(region))
		return conf_refuse(c->conf, "", "region", e, "expected 1 to 31 of a-z 0-9 -");
	if (strlen(jurisdiction) != 2)
		return conf_refuse(c->conf, "", "jurisdiction", e, "expected a country such as SG");
	strcpy(c->region, region);
	strcpy(c->jurisdiction, jurisdiction);
	return 0;
}

static int
read_listeners(struct region_conf *c, const char *file, struct err *e)
{
	struct {
		const char *word;
		const char **out;
	} listeners[] = {
		{ "s3_listen", &c->s3_listen },
		{ "s3_plain_listen", &c->s3_plain_listen },
		{ "peer_listen", &c->peer_listen },
		{ "stream_listen", &c->stream_listen },
		{ "metrics_listen", &c->metrics_listen },
	};

	for (size_t i = 0; i < ARRAY_LEN(listeners); i++) {
		const char **at = listeners[i].out;

		if (conf_endpoint(c->conf, "", listeners[i].word, at, e) < 0)
			return -1;
		for (size_t k = 0; *at && k < i; k++)
			if (*listeners[k].out && strcmp(*listeners[k].out, *at) == 0)
				return conf_refuse(c->conf, "", listeners[i].word, e,
				    "%s has it already", listeners[k].word);
	}
	if (!c->peer_listen)
		return conf_need(c->conf, "", "peer_listen", &c->peer_listen, e);
	if (*c->store && !c->stream_listen)
		return conf_need(c->conf, "", "stream_listen", &c->stream_listen, e);
	if (!*c->store && (c->s3_listen || c->s3_plain_listen || c->stream_listen))
		return err_set(e, ERR_BAD,
		    "%s: without a store there is nothing for s3_listen, s3_plain_listen and "
		    "stream_listen to serve",
		    file);
	return 0;
}

static int
read_limits(struct region_conf *c, struct err *e)
{
	struct conf *f = c->conf;

	if (conf_count(f, "", "vaults_open", 2048, 16, 1000000, &c->vaults_open, e) < 0 ||
	    conf_size(
	        f, "", "vaults_memory", 256 * MIB, 8 * MIB, UINT64_MAX, &c->vaults_memory, e) < 0 ||
	    conf_size(f, "", "engine_cache", 32 * MIB, MIB, UINT64_MAX, &c->engine_cache, e) < 0 ||
	    conf_size(f, "", "engine_write_buffer", 16 * MIB, MIB, UINT64_MAX,
	        &c->engine_write_buffer, e) < 0 ||
	    conf_ms(f, "", "hold", 30000, 100, 600000, &c->hold_ms, e) < 0 ||
	    conf_ms(f, "", "read_lease", 2000, 0, 60000, &c->read_lease_ms, e) < 0 ||
	    conf_ms(f, "", "linger", 3600000, 1000, 86400000, &c->linger_ms, e) < 0 ||
	    conf_count(f, "", "workers", 0, 4, 4096, &c->workers, e) < 0 ||
	    conf_count(f, "", "threads", 0, 1, 256, &c->threads, e) < 0 ||
	    conf_count(f, "", "connections", 0, 16, 1000000, &c->connections, e) < 0 ||
	    conf_count(f, "", "connections_per_address", 0, 4, 1000000, &c->connections_per_address,
	        e) < 0 ||
	    conf_size(f, "", "requests_memory", 0, 16 * MIB, UINT64_MAX, &c->requests_memory, e) <
	        0 ||
	    conf_ms(f, "", "client_timeout", 60000, 1000, 3600000, &c->client_timeout_ms, e) < 0 ||
	    conf_size(f, "", "headers", 16 * KIB, 8 * KIB, 256 * KIB, &c->headers, e) < 0 ||
	    /* One stream with the largest item that there can be has to find room. */
	    conf_size(
	        f, "", "moves_memory", 512 * MIB, 512 * MIB, UINT64_MAX, &c->moves_memory, e) < 0 ||
	    conf_count(f, "", "account_buckets", 1000, 0, 1000000, &c->account_buckets, e) < 0)
		return -1;
	return quota_conf(f, "", QUOTA_NONE, &c->quota, e);
}

static int
read_rates(struct region_conf *c, struct err *e)
{
	const struct {
		const char *word;
		uint64_t *out;
	} rates[] = {
		{ "account_rate", &c->account_rate },
		{ "account_burst", &c->account_burst },
		{ "address_rate", &c->address_rate },
		{ "address_burst", &c->address_burst },
	};

	for (size_t i = 0; i < ARRAY_LEN(rates); i++)
		if (conf_count(c->conf, "", rates[i].word, 0, 0, 1000000, rates[i].out, e) < 0)
			return -1;
	return 0;
}

/* What confines the process. */
static int
read_confinement(struct region_conf *c, const char *file, struct err *e)
{
	const char *folder;

	c->user = conf_get(c->conf, "", "user");
	for (size_t i = 0; (folder = conf_get_nth(c->conf, "", "may_write", i)); i++) {
		if (i == MAY_WRITE_MAX)
			return err_set(e, ERR_TOO_BIG, "%s: more than %d times 'may_write'", file,
			    MAY_WRITE_MAX);
		if (resolve(file, folder, c->may_write[i], e) < 0)
			return -1;
		c->n_may_write++;
	}
	return 0;
}

static int
read_scrub(struct region_conf *c, struct err *e)
{
	const char *every = conf_get(c->conf, "", "scrub");

	c->scrub_every_ms = 0;
	if ((!every || strcmp(every, "off") != 0) &&
	    conf_ms(c->conf, "", "scrub", 7 * DAY_MS, 60000, 400 * DAY_MS, &c->scrub_every_ms, e) <
	        0)
		return conf_refuse(c->conf, "", "scrub", e,
		    "expected a time with its unit from 1 m to 400 d, such as 7 d, or off");
	return conf_size(c->conf, "", "scrub_rate", 8 * MIB, 0, UINT64_MAX, &c->scrub_rate, e);
}

static int
read_lifecycle(struct region_conf *c, struct err *e)
{
	return conf_ms(c->conf, "", "lifecycle_day", DAY_MS, 1000, DAY_MS, &c->lifecycle_day_ms, e);
}

static int
read_standby(struct region_conf *c, struct err *e)
{
	if (conf_endpoint(c->conf, "", "standby", &c->standby, e) < 0)
		return -1;
	if (c->standby && !*c->store)
		return conf_refuse(c->conf, "", "standby", e,
		    "there is no 'store' that it could be the standby of");
	if (conf_bool(c->conf, "", "standby_wait", false, &c->standby_waits, e) < 0 ||
	    conf_ms(c->conf, "", "standby_lease", 10000, 500, 600000, &c->standby_lease_ms, e) <
	        0 ||
	    conf_size(
	        c->conf, "", "standby_keep", 1024 * MIB, MIB, UINT64_MAX, &c->standby_keep, e) < 0)
		return -1;
	return 0;
}

static int
read_all(struct region_conf *c, const char *file, struct err *e)
{
	const char *level = conf_get(c->conf, "", "log_level");

	if (!log_level_parse(level ? level : "info", &c->log_level))
		return conf_refuse(
		    c->conf, "", "log_level", e, "expected debug, info, warn or error");
	if (read_names(c, e) < 0 || read_paths(c, file, e) < 0 ||
	    read_directory_at(c, file, e) < 0 || read_listeners(c, file, e) < 0 ||
	    read_limits(c, e) < 0 || read_rates(c, e) < 0 || read_scrub(c, e) < 0 ||
	    read_lifecycle(c, e) < 0 || read_standby(c, e) < 0 || read_confinement(c, file, e) < 0)
		return -1;
	if (!*c->store && !*c->directory)
		return err_set(e, ERR_BAD, "%s: needs 'store', 'directory' or both", file);
	return conf_check_unused(c->conf, e);
}

int
region_conf_load(const char *path, struct region_conf *out, struct err *e)
{
	memset(out, 0, sizeof(*out));
	out->conf = conf_load(path, e);
	if (!out->conf || read_all(out, path, e) < 0) {
		region_conf_close(out);
		return -1;
	}
	return 0;
}

void
region_conf_close(struct region_conf *c)
{
	conf_free(c->conf);
	c->conf = NULL;
}

/* --- regions.conf --- */

static int
copy(struct conf *c, const char *section, const char *word, char *out, size_t size, struct err *e)
{
	const char *value;

	if (conf_need(c, section, word, &value, e) < 0)
		return -1;
	if (strlen(value) >= size)
		return conf_refuse(c, section, word, e, "is too long");
	strcpy(out, value);
	return 0;
}

/* An address of the region's, as other regions reach it. */
static int
copy_endpoint(
    struct conf *c, const char *section, const char *word, char *out, size_t size, struct err *e)
{
	const char *at;

	if (conf_endpoint(c, section, word, &at, e) < 0)
		return -1;
	return copy(c, section, word, out, size, e);
}

static int
read_sign(struct conf *c, const char *section, struct peer_region *r, struct err *e)
{
	_cleanup_buf_ struct buf key = BUF_INIT(64);
	const char *text;

	if (conf_need(c, section, "sign", &text, e) < 0)
		return -1;
	if (base64_parse(text, strlen(text), &key, NULL) < 0 || key.len != SIGN_PUBLIC_BYTES)
		return conf_refuse(
		    c, section, "sign", e, "expected the line in the region's sign.pub");
	memcpy(r->sign_public, key.data, SIGN_PUBLIC_BYTES);
	return 0;
}

/* A domain has room for a bucket's label before it. */
static int
read_domain(struct conf *c, const char *section, struct peer_region *r, struct err *e)
{
	const char *domain = conf_get(c, section, "s3_domain");

	if (!domain)
		return 0;
	if (!region_domain_valid(domain) || strlen(domain) >= sizeof(r->s3_domain))
		return conf_refuse(c, section, "s3_domain", e,
		    "expected a name such as s3.example.com, in lower case");
	strcpy(r->s3_domain, domain);
	return 0;
}

/* A region's own address would be taken for a bucket's. */
static int
check_domains(struct conf *c, const struct peer_region *r, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		const char *host = strstr(r[i].s3_url, "://");
		size_t len = host ? strcspn(host + 3, ":/") : 0;

		for (size_t k = 0; k < n; k++) {
			size_t below = strlen(r[k].s3_domain);

			char section[REGION_NAME_SIZE + 8];

			snprintf(section, sizeof(section), "region %s", r[i].name);
			if (below && len > below && host[3 + len - below - 1] == '.' &&
			    !strncasecmp(host + 3 + len - below, r[k].s3_domain, below))
				return conf_refuse(c, section, "s3", e,
				    "lies below the s3_domain of %s, where names are buckets",
				    r[k].name);
		}
	}
	return 0;
}

bool
region_domain_valid(const char *domain)
{
	size_t n = strspn(domain, "abcdefghijklmnopqrstuvwxyz0123456789.-");

	return n && !domain[n] && domain[0] != '.' && domain[n - 1] != '.' && strchr(domain, '.') &&
	    !strstr(domain, "..");
}

int
regions_read(struct conf *c, struct peer_region *out, size_t *n, struct err *e)
{
	const char *name;
	size_t i;

	for (i = 0; (name = conf_section(c, "region", i)); i++) {
		struct peer_region *r = &out[i];
		char section[64];
		bool may_operate = true;

		if (i == REGIONS_MAX)
			return err_set(e, ERR_TOO_BIG, "more than %d regions", REGIONS_MAX);
		snprintf(section, sizeof(section), "[region %.40s]", name);
		if (!region_name_valid(name))
			return conf_refuse(c, "", section, e, "expected 1 to 31 of a-z 0-9 -");
		memset(r, 0, sizeof(*r));
		strcpy(r->name, name);
		snprintf(section, sizeof(section), "region %s", name);
		if (copy(c, section, "jurisdiction", r->jurisdiction, sizeof(r->jurisdiction), e) <
		        0 ||
		    copy(c, section, "s3", r->s3_url, sizeof(r->s3_url), e) < 0 ||
		    copy_endpoint(c, section, "peer", r->peer_at, sizeof(r->peer_at), e) < 0 ||
		    copy_endpoint(c, section, "stream", r->stream_at, sizeof(r->stream_at), e) <
		        0 ||
		    read_sign(c, section, r, e) < 0 || read_domain(c, section, r, e) < 0 ||
		    conf_bool(c, section, "operator", true, &may_operate, e) < 0)
			return -1;
		r->may_not_operate = !may_operate;
	}
	if (check_domains(c, out, i, e) < 0)
		return -1;
	*n = i;
	return 0;
}
