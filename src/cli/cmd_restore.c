/* cmd_restore.c - `domicile region restore`, `region reconcile`, `region reconciled`, `account accept`.
 *
 * A store is gathered in STORE/restoring and takes its place at the end, engine last: a node does not start
 * on one that was broken off, and repeating the command begins anew.
 */
#include "cli/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "chunks/chunks.h"
#include "cli/backup_damages.h"
#include "cli/call.h"
#include "cli/progress.h"
#include "cli/region_conf.h"
#include "cli/store_starts.h"
#include "move/reconcile.h"
#include "move/step.h"
#include "sealed/keys.h"
#include "service/backup.h"

static int
load_conf(const struct args *a, struct region_conf *c, struct err *e)
{
	const char *path = arg_text(a, "config") ? arg_text(a, "config")
	                                         : getenv("DOMICILE_CONFIG");

	if (!path || !*path)
		return err_set(
		    e, ERR_USAGE, "--config FILE is missing: the region.conf of the node");
	if (region_conf_load(path, c, e) < 0)
		return -1;
	return *c->store ? 0 : err_set(e, ERR_BAD, "%s has no store", path);
}

static int
path_in(const char *folder, const char *name, char out[static PATH_MAX], struct err *e)
{
	if (snprintf(out, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX)
		return err_set(e, ERR_BAD, "a path of %zu bytes", strlen(folder));
	return 0;
}

/* --- restore --- */

struct restoring {
	const struct args *args;
	struct region_conf *conf;
	struct manifest m;
	char part[PATH_MAX]; /* STORE/restoring */
	struct progress progress;
	bool brings_directory,
	    has_directory; /* the second: one that was broken off has brought it */
};

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
	(void)st, (void)flag, (void)at;
	return remove(path);
}

static int
remove_part(struct restoring *r, struct err *e)
{
	if (access(r->part, F_OK) == 0 &&
	    nftw(r->part, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0)
		return err_errno(e, errno, "%s", r->part);
	return 0;
}

static int
check_empty(struct restoring *r, struct err *e)
{
	char path[PATH_MAX];

	if (path_in(r->conf->store, "engine", path, e) < 0)
		return -1;
	if (access(path, F_OK) == 0)
		return err_set(e, ERR_EXISTS,
		    "%s is not empty: move it away first, if it is really to be replaced",
		    r->conf->store);
	return 0;
}

static int
check_keys(struct restoring *r, struct err *e)
{
	_cleanup_(keys_closep) struct keys *k = keys_file_open(r->conf->region_key, e);

	return k ? backup_check_keys(
	               arg_operand(r->args, 0), &r->m, k, arg_flag(r->args, "incomplete"), e)
	         : -1;
}

static int
check_directory(struct restoring *r, struct err *e)
{
	const char *path = r->conf->directory;
	bool is_asked = arg_flag(r->args, "with-directory");

	if (is_asked && !*path)
		return err_set(e, ERR_USAGE, "--with-directory: this node does not serve it");
	r->has_directory = is_asked && backup_is_directory(&r->m, path);
	if (is_asked && !r->has_directory && access(path, F_OK) == 0)
		return err_set(e, ERR_EXISTS,
		    "%s is there: it is newer than the backup's, go without --with-directory",
		    path);
	if (is_asked && !r->m.has_directory)
		return err_set(e, ERR_MISSING, "there is no directory in this backup");
	if (!is_asked && *path && access(path, F_OK) < 0)
		return err_set(e, ERR_MISSING,
		    "%s, the directory, is gone too: put back its newest copy, or add "
		    "--with-directory for that of the backup",
		    path);
	r->brings_directory = is_asked;
	return 0;
}

/* Two at once would each remove what the other gathers, and put it in place. */
static int
lock_store(const struct restoring *r, int *fd, struct err *e)
{
	*fd = open(r->conf->store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0)
		return err_errno(e, errno, "%s", r->conf->store);
	if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return errno == EWOULDBLOCK
	    ? err_set(e, ERR_BUSY, "another restore into %s is under way", r->conf->store)
	    : err_errno(e, errno, "%s", r->conf->store);
}

/* All that can be known before anything is touched. */
static int
check_all(struct restoring *r, struct err *e)
{
	const char *folder = arg_operand(r->args, 0);
	uint64_t generation;

	if (arg_u64(r->args, "generation", 0, 1, UINT32_MAX, &generation, e) < 0 ||
	    check_empty(r, e) < 0 || backup_manifest(folder, (uint32_t)generation, &r->m, e) < 0)
		return -1;
	if (r->m.missing && !arg_flag(r->args, "incomplete"))
		return err_set(e, ERR_STALE,
		    "generation %u is incomplete, records could not be read: take one that is not "
		    "(--generation; `region backup --verify` tells them apart), or add --incomplete",
		    r->m.generation);
	if (strcmp(r->m.region, r->conf->region) != 0)
		return err_set(e, ERR_BAD, "%s is a backup of %s, and this is %s", folder,
		    r->m.region, r->conf->region);
	if (check_directory(r, e) < 0)
		return -1;
	return check_keys(r, e);
}

static bool
go_on(void *arg, uint64_t bytes)
{
	struct restoring *r = arg;
	uint64_t total = r->m.record_bytes + r->m.chunk_bytes;
	_cleanup_buf_ struct buf text = BUF_INIT(0), plain = BUF_INIT(0);
	char done[16], all[16], rate[16];

	progress_measure(&r->progress, 0, bytes);
	if (!progress_is_due(&r->progress, false))
		return true;
	text_bytes(bytes, done);
	text_bytes(total, all);
	text_bytes((uint64_t)r->progress.bytes_per_s, rate);
	buf_printf(&plain, "restoring: %s of about %s, %s/s", done, all, rate);
	text_bar(&text, total ? (double)bytes / (double)total : 0, 30);
	buf_printf(&text, " %s\n", buf_str(&plain));
	progress_show(&r->progress, buf_str(&text), buf_str(&plain));
	return true;
}

/* Into the part, all of it durable, and marked. */
static int
gather(struct restoring *r, struct err *e)
{
	const struct reconcile_mark mark = { .why = RECONCILE_RESTORED,
		.copied_ms = r->m.began_ms,
		.has_directory_back = r->brings_directory };
	_cleanup_(engine_closep) struct engine *engine = NULL;
	_cleanup_(chunks_closep) struct chunks *chunks = NULL;
	char path[PATH_MAX];

	if (fs_mkdir(r->part, 0700, e) < 0 || path_in(r->part, "engine", path, e) < 0)
		return -1;
	engine = engine_rocksdb(path, r->conf->engine_cache, r->conf->engine_write_buffer, e);
	if (!engine || path_in(r->part, "chunks", path, e) < 0)
		return -1;
	chunks = chunks_file(path, 0, e);
	if (!chunks ||
	    backup_restore(arg_operand(r->args, 0), &r->m, engine, chunks,
	        arg_flag(r->args, "incomplete"), go_on, r, e) < 0)
		return -1;
	step("restore.gathered");
	return reconcile_mark(engine, NULL, &mark, e);
}

static int
put_in_place(struct restoring *r, const char *name, struct err *e)
{
	char from[PATH_MAX], to[PATH_MAX];

	if (path_in(r->part, name, from, e) < 0 || path_in(r->conf->store, name, to, e) < 0)
		return -1;
	/* What a restore that was broken off right here has left. */
	if (strcmp(name, "chunks") == 0 && access(to, F_OK) == 0 &&
	    nftw(to, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0)
		return err_errno(e, errno, "%s", to);
	if (rename(from, to) < 0)
		return err_errno(e, errno, "%s", to);
	return fs_sync_dir(r->conf->store, e);
}

static int
restore(struct restoring *r, struct err *e)
{
	_cleanup_(fd_closep) int lock = -1;

	if (check_all(r, e) < 0 || fs_mkdir(r->conf->store, 0700, e) < 0 ||
	    lock_store(r, &lock, e) < 0 || check_empty(r, e) < 0 || /* one may have ended since */
	    path_in(r->conf->store, STORE_RESTORING, r->part, e) < 0 || remove_part(r, e) < 0 ||
	    gather(r, e) < 0)
		return -1;
	if (r->brings_directory && !r->has_directory &&
	    backup_restore_directory(arg_operand(r->args, 0), &r->m, r->conf->directory, e) < 0)
		return -1;
	if (put_in_place(r, "chunks", e) < 0)
		return -1;
	step("restore.chunks");
	if (put_in_place(r, "engine", e) < 0)
		return -1;
	return remove_part(r, e);
}

static int
print_restored(struct restoring *r, struct err *e)
{
	_cleanup_json_ json_t *it = manifest_json(&r->m);

	if (!it)
		return err_set(e, ERR_MEMORY, "no memory");
	progress_clear(&r->progress);
	if (arg_flag(r->args, "json"))
		return print_json(it, e) < 0 ? -1 : backup_damages_exit(it);
	printf("restored generation %u of %s, of %s: %" PRIu64 " accounts%s\n", r->m.generation,
	    r->m.region, get_text(it, "time"), r->m.accounts, r->m.missing ? "; INCOMPLETE" : "");
	backup_damages_print(it);
	fprintf(stderr,
	    "At its start the node compares every account with the directory before it "
	    "serves any;\nthen `domicile region reconciled` tells what became of them.\n");
	return backup_damages_exit(it);
}

int
cmd_region_restore(const struct args *a, struct err *e)
{
	_cleanup_(backup_lock_closep) struct backup_lock *lock = NULL;
	_cleanup_(freep) struct restoring *r = calloc(1, sizeof(*r));
	_cleanup_(freep) struct region_conf *conf = calloc(1, sizeof(*conf));
	int rc = -1;

	if (!r || !conf)
		return err_set(e, ERR_MEMORY, "no memory");
	r->args = a;
	r->conf = conf;
	progress_open(&r->progress, stderr);
	if (load_conf(a, conf, e) < 0)
		return -1;
	lock = backup_lock_shared(arg_operand(a, 0), e);
	if (lock && restore(r, e) == 0)
		rc = print_restored(r, e);
	manifest_free(&r->m);
	region_conf_close(conf);
	return rc;
}

/* --- marking by hand --- */

int
cmd_region_reconcile(const struct args *a, struct err *e)
{
	const struct reconcile_mark mark = { .why = RECONCILE_COPIED };
	_cleanup_(freep) struct region_conf *conf = calloc(1, sizeof(*conf));
	_cleanup_(engine_closep) struct engine *engine = NULL;
	char path[PATH_MAX];
	int rc = -1;

	if (!conf)
		return err_set(e, ERR_MEMORY, "no memory");
	if (load_conf(a, conf, e) < 0)
		return -1;
	if (path_in(conf->store, "engine", path, e) == 0 && access(path, F_OK) < 0)
		err_set(e, ERR_MISSING, "%s: there is no store", conf->store);
	else if ((engine = engine_rocksdb(path, conf->engine_cache, conf->engine_write_buffer, e)))
		rc = reconcile_mark(engine, NULL, &mark, e);
	region_conf_close(conf);
	return rc;
}

/* --- what became of the accounts --- */

static const struct {
	const char *name, *means;
} figures[] = {
	{ "here", "served, as of the moment of the copy" },
	{ "moved", "live elsewhere; being erased here" },
	{ "unknown", "removed meanwhile; being erased" },
	{ "given_up", "arrivals that did not become homes here; being erased" },
	{ "arriving", "arrivals that the directory is asked for" },
	{ "removing", "their removal goes on" },
	{ "forwarding", "forwarding addresses" },
	{ "held", "not served until you decide (account accept, account remove)" },
	{ "lost", "live here, and nothing of them is here (account remove)" },
	{ "ahead", "newer here than in the directory: PUT ITS NEWER FILE BACK" },
};

int
cmd_region_reconciled(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;
	json_t *one;
	size_t i;

	if (call_once(a, "/v1/region/reconciled", json_object(), &answer, e) < 0)
		return -1;
	if (arg_flag(a, "json"))
		return print_json(answer, e);
	printf("%s, compared with the directory %s\n", get_text(answer, "why"),
	    get_text(answer, "finished"));
	for (i = 0; i < ARRAY_LEN(figures); i++)
		if (get_number(answer, figures[i].name))
			printf("%10" PRId64 " %-11s %s\n", get_number(answer, figures[i].name),
			    figures[i].name, figures[i].means);
	json_array_foreach(json_object_get(answer, "accounts"), i, one)
	    printf("%s\t%s\t%s\t%" PRId64 "\n", get_text(one, "account"), get_text(one, "state"),
	        get_text(one, "country"), get_number(one, "epoch"));
	return 0;
}

int
cmd_account_accept(const struct args *a, struct err *e)
{
	_cleanup_json_ json_t *answer = NULL;

	if (!arg_flag(a, "yes"))
		return err_set(e, ERR_USAGE,
		    "this serves an older copy of the account than it had; add --yes if that is meant");
	return call_once(
	    a, "/v1/account/accept", json_pack("{s:s}", "account", arg_operand(a, 0)), &answer, e);
}
