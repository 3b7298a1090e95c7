/* cmd_serve.c - `domicile serve`: the process around a node. */
#include "cli/commands.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/host.h"
#include "base/log.h"
#include "cli/serve_node.h"
#include "front/admin.h"

#define ARENAS        4 /* for malloc, and two a core */
#define FILES_WANTED  1048576
#define EARLIEST_MS   1704067200000ull /* 2024-01-01: signatures and certificates need a clock */
#define RETRY_EVERY_S 5

static void
raise_limit(int what, rlim_t wanted, const char *name)
{
	struct rlimit limit;

	if (getrlimit(what, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	if (setrlimit(what, &limit) < 0)
		log_warn("limit", NULL, "%s could not be raised: %s", name, strerror(errno));
}

/* Before any thread starts: all inherit it, and only this one takes the signals. */
static void
block_signals(sigset_t *set)
{
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, set, NULL);
}

static void
reload(struct serving *s)
{
	struct err e;

	if (serving_reload(s, &e) == 0)
		log_info("reload", NULL, "done");
	else
		log_error("reload", NULL, "nothing has changed: %s", e.text);
}

/* Until a signal ends it. */
static void
attend(struct serving *s, const sigset_t *set)
{
	const struct timespec retry = { .tv_sec = RETRY_EVERY_S };

	for (;;) {
		int got = sigtimedwait(set, NULL, &retry);

		if (got == SIGHUP)
			reload(s);
		else if (got == SIGTERM || got == SIGINT)
			return;
		else if (got < 0 && errno == EAGAIN)
			serving_retry(s);
	}
}

int
cmd_serve(const struct args *a, struct err *e)
{
	const char *config = arg_text(a, "config") ? arg_text(a, "config")
	                                           : getenv("DOMICILE_CONFIG");
	struct serving *s;
	sigset_t set;

	if (!config || !*config)
		return err_set(
		    e, ERR_USAGE, "--config FILE is missing; see: domicile serve --help");
	if (host_wall_ms() < EARLIEST_MS) {
		char now[25];

		host_time_text(host_wall_ms(), now);
		return err_set(e, ERR_BAD, "the clock says %s; set it first", now);
	}
	raise_limit(RLIMIT_NOFILE, FILES_WANTED, "the number of open files");
	/* Many threads each allocate a little: an arena each would hold on to hundreds of megabytes. Those
	 * that run at the same time should not wait for each other, though. */
	mallopt(M_ARENA_MAX, (int)(ARENAS + 2 * sysconf(_SC_NPROCESSORS_ONLN)));
	raise_limit(RLIMIT_MEMLOCK, RLIM_INFINITY, "locked memory");
	admin_json_begin();
	block_signals(&set);
	s = serving_open(config, e);
	if (!s)
		return -1;
	attend(s, &set);
	log_info("stopping", NULL, "requests that are inside may end");
	serving_close(s);
	log_info("stopped", NULL, "all is closed");
	return 0;
}
