/* serve_confine.c - see serve_confine.h.
 *
 * Files are allowed by their folders: those that are replaced while the node runs (regions.conf,
 * certificates) are other files afterwards, and SQLite and sockets make files beside theirs.
 */
#include "cli/serve_confine.h"

#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "cli/confine.h"
#include "cli/store_starts.h"
#include "sealed/keys.h"

#define LOW_PORT_END 1024

struct allowed {
	struct confine_path path[CONFINE_PATHS_MAX];
	char text[CONFINE_PATHS_MAX][PATH_MAX];
	size_t n;
};

static int
add(struct allowed *a, const char *path, enum confine_may may, struct err *e)
{
	if (a->n == CONFINE_PATHS_MAX)
		return err_set(e, ERR_TOO_BIG, "more than %d folders", CONFINE_PATHS_MAX);
	strcpy(a->text[a->n], path);
	a->path[a->n] = (struct confine_path){ a->text[a->n], may };
	a->n++;
	return 0;
}

/* The folder that PATH lies in, as it is written and where it leads. */
static int
add_folder_of(struct allowed *a, const char *path, enum confine_may may, struct err *e)
{
	char folder[PATH_MAX], real[PATH_MAX];

	if (!*path)
		return 0;
	snprintf(folder, sizeof(folder), "%s", path);
	if (add(a, dirname(folder), may, e) < 0)
		return -1;
	if (!realpath(path, real) || add(a, dirname(real), may, e) == 0)
		return 0;
	return -1;
}

/* The region key is rotated in two files that are there before: nothing else in their folder may be changed.
 * Where the second can't be made, rotating says so. */
static int
allow_region_key(struct allowed *a, const char *path, struct err *e)
{
	char aside[PATH_MAX];
	struct err why = { 0 };

	if (keys_file_aside(path, aside, e) < 0)
		return -1;
	if (access(aside, F_OK) < 0 && fs_write(aside, "", 0, 0600, &why) < 0)
		log_warn("confine.files", NULL, "the region key can't be rotated: %s", why.text);
	return add(a, path, CONFINE_WRITE, e) < 0 ? -1 : add(a, aside, CONFINE_WRITE, e);
}

static int
allow_files(struct allowed *a, const char *config, const struct region_conf *c, struct err *e)
{
	const char *const read[] = { config, c->regions, c->tls_cert, c->tls_key, c->ca,
		c->sign_key, c->region_key };
	char starts[PATH_MAX];

	for (size_t i = 0; i < ARRAY_LEN(read); i++)
		if (add_folder_of(a, read[i], CONFINE_READ, e) < 0)
			return -1;
	if (*c->store &&
	    (store_starts_file(c->store, starts, e) < 0 || add(a, c->store, CONFINE_WRITE, e) < 0 ||
	        add(a, starts, CONFINE_WRITE, e) < 0 || allow_region_key(a, c->region_key, e) < 0))
		return -1;
	for (size_t i = 0; i < c->n_may_write; i++) {
		if (access(c->may_write[i], F_OK) < 0)
			log_warn("confine.may_write", NULL,
			    "%s is not there, and the node can't write in it before it is started again",
			    c->may_write[i]);
		if (add(a, c->may_write[i], CONFINE_WRITE, e) < 0)
			return -1;
	}
	if (add_folder_of(a, c->directory, CONFINE_WRITE, e) < 0)
		return -1;
	return add_folder_of(a, c->admin_socket, CONFINE_SOCKET, e);
}

static bool
has_low_port(const struct region_conf *c)
{
	const char *const at[] = { c->s3_listen, c->s3_plain_listen, c->peer_listen,
		c->stream_listen, c->metrics_listen };

	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		const char *colon = at[i] ? strrchr(at[i], ':') : NULL;
		unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : 0;

		if (port && port < LOW_PORT_END)
			return true;
	}
	return false;
}

int
serve_confine(const char *config, const struct region_conf *c, struct err *e)
{
	_cleanup_(freep) struct allowed *a = calloc(1, sizeof(*a));

	if (!a)
		return err_set(e, ERR_MEMORY, "no memory");
	if (confine_memory(e) < 0 || confine_user(c->user, has_low_port(c), e) < 0)
		return -1;
	/* As that user, so that it is the user's; and there, so that it can be allowed. */
	if (*c->store && fs_mkdir(c->store, 0700, e) < 0)
		return -1;
	if (allow_files(a, config, c, e) < 0 || confine_files(a->path, a->n, e) < 0)
		return -1;
	return confine_calls(e);
}
