/* cmd_region.c - `domicile region init`: the folder of a new region. */
#include "cli/commands.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/un.h>

#include "base/fs.h"
#include "cli/region_conf.h"
#include "cli/sign_key.h"
#include "directory/ca.h"
#include "sealed/keys.h"
#include "standby/marker.h"

#define CONF_MAX ((size_t)1 << 20)
#define PORTS    5
/* A default policy with this line in it grows with the regions; without it, it is left alone. */
#define KEPT \
	"# (region init adds every new region here; remove this line to keep the list as it is)\n"

struct plan {
	const char *dir, *ca, *region, *jurisdiction;
	const char *host, *s3_host, *s3_domain, *listen, *directory_at;
	unsigned port;
	unsigned days;
	bool has_store, serves_directory, has_plain;
	bool is_standby; /* of the region, which there is already */
	bool is_first;   /* of the regions file */
	char real_ca[PATH_MAX];
	char own_jurisdiction[3]; /* a standby's */
	uint8_t public[SIGN_PUBLIC_BYTES];
};

static bool
is_address(const char *host)
{
	uint8_t bytes[16];

	return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* HOST as it stands before a colon. */
static const char *
bracket(const char *host, char out[static 300])
{
	snprintf(out, 300, strchr(host, ':') ? "[%s]" : "%s", host);
	return out;
}

static int
path_in(const char *dir, const char *name, char out[static PATH_MAX], struct err *e)
{
	if (snprintf(out, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
		return err_set(e, ERR_BAD, "a path of %zu bytes", strlen(dir));
	return 0;
}

/* --- what is asked for --- */

static bool
is_host(const char *text)
{
	size_t n = strspn(
	    text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:");

	return n && !text[n] && n < 200;
}

static int
check_names(const struct plan *p, struct err *e)
{
	if (!p->region)
		return err_set(e, ERR_USAGE, "either --region NAME or --standby-of NAME");
	if (!region_name_valid(p->region))
		return err_set(
		    e, ERR_USAGE, "--region %.40s: expected 1 to 31 of a-z 0-9 -", p->region);
	if (!is_host(p->host) || !is_host(p->s3_host))
		return err_set(e, ERR_USAGE, "--host and --s3-host take one name or address");
	if (p->s3_domain && (p->is_standby || !region_domain_valid(p->s3_domain)))
		return err_set(e, ERR_USAGE,
		    "--s3-domain takes a name such as s3.example.com, in lower case, of a region that is made");
	if (!is_address(p->listen))
		return err_set(e, ERR_USAGE, "--listen %.40s: expected an address", p->listen);
	if (p->is_standby && (p->jurisdiction || !p->has_store || p->serves_directory))
		return err_set(e, ERR_USAGE,
		    "a standby lies where its region does, has a store, and serves no directory");
	if (!p->is_standby && !p->jurisdiction)
		return err_set(e, ERR_USAGE, "--jurisdiction CC is missing");
	if (p->is_standby)
		return 0;
	if (strlen(p->jurisdiction) != 2 || !isupper((unsigned char)p->jurisdiction[0]) ||
	    !isupper((unsigned char)p->jurisdiction[1]))
		return err_set(e, ERR_USAGE, "--jurisdiction %.40s: expected a country such as SG",
		    p->jurisdiction);
	return 0;
}

static int
read_plan(const struct args *a, struct plan *p, struct err *e)
{
	uint64_t port, days;

	p->dir = arg_operand(a, 0);
	p->ca = arg_text(a, "ca");
	p->is_standby = arg_text(a, "standby-of") != NULL;
	p->region = arg_text(a, p->is_standby ? "standby-of" : "region");
	if (p->is_standby && arg_text(a, "region"))
		return err_set(e, ERR_USAGE, "either --region NAME or --standby-of NAME");
	p->jurisdiction = arg_text(a, "jurisdiction");
	p->host = arg_text(a, "host") ? arg_text(a, "host") : "127.0.0.1";
	p->s3_host = arg_text(a, "s3-host") ? arg_text(a, "s3-host") : p->host;
	p->s3_domain = arg_text(a, "s3-domain");
	p->listen = arg_text(a, "listen") ? arg_text(a, "listen")
	    : is_address(p->host)         ? p->host
	                                  : "0.0.0.0";
	p->directory_at = arg_text(a, "directory-at");
	p->has_store = !arg_flag(a, "directory-only");
	p->serves_directory = arg_flag(a, "directory") || !p->has_store;
	p->has_plain = arg_flag(a, "s3-plain");
	if (p->serves_directory == (p->directory_at != NULL))
		return err_set(e, ERR_USAGE,
		    "either --directory (this node serves it) or --directory-at NAME=HOST:PORT");
	if (arg_u64(a, "port-base", 7400, 1, 65531, &port, e) < 0 ||
	    arg_u64(a, "days", 825, 1, 3650, &days, e) < 0)
		return -1;
	p->port = (unsigned)port;
	p->days = (unsigned)days;
	return check_names(p, e);
}

/* --- the files in its folder --- */

static void
add_paths(const struct plan *p, struct buf *out)
{
	buf_add_str(out,
	    "# Paths are relative to this file's folder. Times take ms, s, m, h or d, sizes "
	    "KiB, MiB or GiB.\n\n");
	buf_printf(out, "region = %s\njurisdiction = %s\n\n", p->region, p->jurisdiction);
	if (p->has_store)
		buf_add_str(out,
		    "# Sealed records and chunks, and the key that wraps the keys of all vaults. Without\n"
		    "# this key the store is noise: back it up apart from the store.\n"
		    "store = store\nregion_key = region.key\n\n");
	buf_add_str(out,
	    "# What this region signs certificates with; sign.pub is the other half.\n"
	    "sign_key = sign.key\n\n"
	    "# Its certificate, for users and for other regions, and the CA of all regions.\n"
	    "tls_cert = tls.pem\ntls_key = tls.key\nca = ca.pem\n\n");
	buf_printf(out,
	    "# All regions, and where accounts may live. Read again at SIGHUP.\n"
	    "regions = %s/regions.conf\n\n"
	    "# Where `domicile account`, `domicile wave` and the others ask this node.\n"
	    "admin_socket = admin.sock\n\n",
	    p->real_ca);
	if (p->serves_directory)
		buf_add_str(out,
		    "# This node serves the directory of all accounts' homes, from this file. Elsewhere:\n"
		    "# directory_at = NAME=HOST:PORT, the region id and peer address of such a node.\n"
		    "directory = directory.sqlite\n\n");
	else
		buf_printf(out,
		    "# The node that serves the directory: its region id and peer address.\n"
		    "directory_at = %s\n\n",
		    p->directory_at);
}

static void
add_listeners(const struct plan *p, struct buf *out)
{
	char listen[300];

	bracket(p->listen, listen);
	if (p->has_store)
		buf_printf(out, "# HTTPS for users.\ns3_listen = %s:%u\n\n", listen, p->port);
	buf_printf(out,
	    "# Calls of other regions, with certificates on both sides.\n"
	    "peer_listen = %s:%u\n\n",
	    listen, p->port + 1);
	if (p->has_store)
		buf_printf(out, "# Moves arrive here, likewise.\nstream_listen = %s:%u\n\n", listen,
		    p->port + 2);
	buf_printf(out,
	    "# /metrics and /healthz; a loopback address.\n"
	    "metrics_listen = 127.0.0.1:%u\n\n",
	    p->port + 3);
	if (p->has_store)
		buf_printf(out,
		    "# S3 without TLS, for a proxy on this machine; refused unless a loopback address.\n"
		    "%ss3_plain_listen = 127.0.0.1:%u\n\n",
		    p->has_plain ? "" : "# ", p->port + 4);
}

static void
add_limits(struct buf *out)
{
	buf_add_str(out,
	    "# What follows has these values unless they are changed.\n"
	    "# vaults_open = 2048         # vaults kept open, each a small database\n"
	    "# vaults_memory = 256 MiB    # and their memory, about\n"
	    "# engine_cache = 32 MiB      # of sealed records\n"
	    "# engine_write_buffer = 16 MiB\n"
	    "# hold = 30 s                # a request waits at most this long for a move to end\n"
	    "# read_lease = 2 s           # an old home goes on reading this long while the move is settled\n"
	    "# linger = 1 h               # a slow read or upload may go on this long after its account has moved\n"
	    "# scrub = 7 d                # all that is kept is read again in about that time; or off\n"
	    "# scrub_rate = 8 MiB         # and no faster than that a second\n"
	    "# threads = 2                # of HTTP; as many as there are cores\n"
	    "# workers = 512              # threads for what takes long\n"
	    "# connections = 4096\n"
	    "# standby = HOST:PORT        # follows this node (region init --standby-of)\n"
	    "# standby_wait = no          # yes: nothing is acknowledged that it does not have\n"
	    "# log_level = info           # debug, info, warn, error; read again at SIGHUP\n");
}

static int
write_conf(const struct plan *p, const char *path, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(CONF_MAX);

	buf_printf(&text, "# %s: %s of the region %s.\n", p->region,
	    p->is_standby ? "a standby" : "one node", p->region);
	add_paths(p, &text);
	add_listeners(p, &text);
	add_limits(&text);
	if (buf_check(&text, e) < 0)
		return -1;
	return fs_write(path, text.data, text.len, 0644, e);
}

static int
copy_ca(const struct plan *p, struct err *e)
{
	_cleanup_buf_ struct buf pem = BUF_INIT(CONF_MAX);
	char from[PATH_MAX], to[PATH_MAX];

	if (path_in(p->ca, "ca.pem", from, e) < 0 || path_in(p->dir, "ca.pem", to, e) < 0 ||
	    fs_read(from, CONF_MAX, &pem, e) < 0)
		return -1;
	return fs_write(to, pem.data, pem.len, 0644, e);
}

static int
make_folder(struct plan *p, struct err *e)
{
	char buckets[PATH_MAX];
	const char *hosts[4];
	size_t n = 0;
	char key[PATH_MAX], secret[PATH_MAX], public[PATH_MAX], tls_key[PATH_MAX], tls[PATH_MAX];
	const struct marker follows = { 0 };
	char store[PATH_MAX];

	if (path_in(p->dir, "region.key", key, e) < 0 ||
	    path_in(p->dir, "sign.key", secret, e) < 0 ||
	    path_in(p->dir, "sign.pub", public, e) < 0 ||
	    path_in(p->dir, "tls.key", tls_key, e) < 0 || path_in(p->dir, "tls.pem", tls, e) < 0 ||
	    path_in(p->dir, "store", store, e) < 0)
		return -1;
	if (access(secret, F_OK) == 0)
		return err_set(e, ERR_EXISTS, "%s is there already", secret);
	if (fs_mkdir(p->dir, 0700, e) < 0 || (p->has_store && fs_mkdir(store, 0700, e) < 0))
		return -1;
	/* A standby gets the region's keys when it is promoted. */
	if (p->is_standby && marker_write(store, &follows, e) < 0)
		return -1;
	if (!p->is_standby &&
	    ((p->has_store && keys_file_create(key, e) < 0) ||
	        sign_key_create(secret, public, p->public, e) < 0))
		return -1;
	hosts[n++] = p->host;
	if (strcmp(p->host, p->s3_host) != 0)
		hosts[n++] = p->s3_host;
	if (p->s3_domain) {
		snprintf(buckets, sizeof buckets, "*.%s", p->s3_domain);
		hosts[n++] = p->s3_domain;
		hosts[n++] = buckets;
	}
	if (ca_issue(p->ca, p->region, hosts, n, p->days, tls_key, tls, e) < 0)
		return -1;
	return copy_ca(p, e);
}

/* --- regions.conf --- */

/* Add NAME to the default policy in TEXT, or such a policy if there is none. */
static void
add_to_policy(struct buf *text, struct conf *c, const char *name)
{
	const char *old = buf_str(text);
	const char *kept = strstr(old, "\n" KEPT "regions = ");
	const char *end = kept ? strchr(kept + strlen("\n" KEPT), '\n') : NULL;
	_cleanup_buf_ struct buf tail = BUF_INIT(CONF_MAX);

	if (end) {
		buf_add_str(&tail, end);
		text->len = (size_t)(end - old);
		buf_printf(text, ", %s%s", name, buf_str(&tail));
	} else if (!conf_get(c, "policy *", "regions")) {
		buf_printf(text, "\n[policy *]\n" KEPT "regions = %s\ntransit = proxy\n", name);
	}
}

static void
add_region(struct buf *text, const struct plan *p)
{
	char host[300], s3_host[300];

	bracket(p->host, host);
	bracket(p->s3_host, s3_host);
	buf_printf(text,
	    "\n[region %s]\njurisdiction = %s\ns3 = https://%s:%u\npeer = %s:%u\nstream = %s:%u\nsign = ",
	    p->region, p->jurisdiction, s3_host, p->port, host, p->port + 1, host, p->port + 2);
	base64_text(text, p->public, SIGN_PUBLIC_BYTES);
	buf_add_str(text, "\n");
	if (p->s3_domain)
		buf_printf(text, "s3_domain = %s\n", p->s3_domain);
	buf_add_str(text,
	    "# operator = no             # its operators may not change others' accounts and waves\n");
}

/* The port of AT ("host:port") if its host is ours, else 0. */
static unsigned
port_here(const struct plan *p, const char *at)
{
	char host[300];
	size_t n = strlen(bracket(p->host, host));

	return strncmp(at, host, n) == 0 && at[n] == ':' ? (unsigned)atoi(at + n + 1) : 0;
}

/* Two nodes at one address would each get the other's calls, or not start: the five ports of a region lie
 * around its peer port. */
static int
check_ports(const struct plan *p, struct conf *c, const char *path, struct err *e)
{
	unsigned own = p->port + 1, last = 0, taken = 0;
	char section[REGION_NAME_SIZE + 8];
	const char *name, *whose = "";

	for (size_t i = 0; (name = conf_section(c, "region", i)); i++) {
		const char *peer;
		unsigned port;

		snprintf(section, sizeof(section), "region %s", name);
		peer = conf_get(c, section, "peer");
		port = peer ? port_here(p, peer) : 0;
		last = port > last ? port : last;
		if (port && port < own + PORTS && own < port + PORTS) {
			taken = port;
			whose = name;
		}
	}
	if (!taken)
		return 0;
	return err_set(e, ERR_EXISTS,
	    "%s: [region %s] has ports %u to %u of %s already; choose others, such as --port-base %u",
	    path, whose, taken - 1, taken + PORTS - 2, p->host, last + 9);
}

/* The regions file as text and parsed; ERR_EXISTS if our region is in it, or of a standby ERR_MISSING if it is
 * not. */
static struct conf *
read_regions(struct plan *p, const char *path, struct buf *text, struct err *e)
{
	char section[REGION_NAME_SIZE + 8];
	struct conf *c;

	if (fs_read(path, CONF_MAX, text, e) < 0) {
		err_add(e, "no regions file (domicile ca init makes it)");
		return NULL;
	}
	c = conf_parse(buf_str(text), path, e);
	snprintf(section, sizeof(section), "region %s", p->region);
	if (c && p->is_standby) {
		const char *jurisdiction = conf_get(c, section, "jurisdiction");

		if (jurisdiction) {
			snprintf(
			    p->own_jurisdiction, sizeof(p->own_jurisdiction), "%s", jurisdiction);
			p->jurisdiction = p->own_jurisdiction;
			return c;
		}
		err_set(e, ERR_MISSING, "%s has no [region %s]", path, p->region);
		conf_free(c);
		return NULL;
	}
	if (c && conf_get(c, section, "jurisdiction")) {
		err_set(e, ERR_EXISTS,
		    "%s has a [region %s] already; choose another name or remove it", path,
		    p->region);
		conf_free(c);
		return NULL;
	}
	return c;
}

static int
add_to_regions(struct plan *p, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(CONF_MAX);
	_cleanup_(conf_freep) struct conf *c = NULL;
	char path[PATH_MAX];

	if (path_in(p->ca, "regions.conf", path, e) < 0)
		return -1;
	c = read_regions(p, path, &text, e);
	p->is_first = c && !conf_section(c, "region", 0);
	if (!c || check_ports(p, c, path, e) < 0 || make_folder(p, e) < 0)
		return -1;
	/* A node that only serves the directory is no region that others would call. */
	if (!p->has_store || p->is_standby)
		return 0;
	add_region(&text, p);
	add_to_policy(&text, c, p->region);
	if (buf_check(&text, e) < 0)
		return -1;
	return fs_write(path, text.data, text.len, 0644, e);
}

static void
tell_standby(const struct plan *p, const char *conf)
{
	char host[300];

	fprintf(stderr,
	    "a standby of %s is ready: domicile serve --config %s\n"
	    "next: in the region.conf of %s: standby = %s:%u; and start its node anew\n",
	    p->region, conf, p->region, bracket(p->host, host), p->port + 2);
	if (strncmp(p->directory_at, p->region, strlen(p->region)) == 0 &&
	    p->directory_at[strlen(p->region)] == '=')
		fprintf(stderr,
		    "warning: %s serves the directory itself; a standby can't be promoted without the directory. "
		    "Let another node serve it (region init --directory-only).\n",
		    p->region);
}

int
cmd_region_init(const struct args *a, struct err *e)
{
	struct plan p = { 0 };
	char conf[PATH_MAX], lock[PATH_MAX];
	_cleanup_(fd_closep) int fd = -1;

	if (read_plan(a, &p, e) < 0 || path_in(p.dir, "region.conf", conf, e) < 0 ||
	    path_in(p.ca, "regions.lock", lock, e) < 0)
		return -1;
	if (strlen(p.dir) + strlen("/admin.sock") >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return err_set(e, ERR_USAGE, "%s: too long for a socket in it (107 bytes)", p.dir);
	if (access(conf, F_OK) == 0)
		return err_set(e, ERR_EXISTS, "%s is there already", conf);
	if (!realpath(p.ca, p.real_ca))
		return err_errno(e, errno, "%s", p.ca);
	/* Several regions may be made at once; each changes the one regions file. */
	fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return err_errno(e, errno, "%s", lock);
	if (add_to_regions(&p, e) < 0 || write_conf(&p, conf, e) < 0)
		return -1;
	if (p.is_standby) {
		tell_standby(&p, conf);
		return 0;
	}
	fprintf(
	    stderr, "region %s is ready to serve: domicile serve --config %s\n", p.region, conf);
	if (p.has_store && p.serves_directory && !p.is_first)
		fprintf(stderr,
		    "note: exactly one node keeps the directory, and %s/regions.conf has other regions. If one of "
		    "theirs does, write directory_at = NAME=HOST:PORT instead of the line directory into %s "
		    "before the node is started.\n",
		    p.ca, conf);
	return 0;
}
