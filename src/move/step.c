#include "move/step.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static struct {
	char name[32];
	atomic_int left;
} stop_at;

static void
read_environment(void)
{
	const char *v = getenv("DOMICILE_STOP_AT");
	size_t n;

	if (!v || !*v)
		return;
	n = strcspn(v, ":");
	if (n >= sizeof stop_at.name)
		return;
	memcpy(stop_at.name, v, n);
	atomic_store(&stop_at.left, v[n] ? atoi(v + n + 1) : 1);
}

void
step(const char *name)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, read_environment);
	if (!stop_at.name[0] || strcmp(stop_at.name, name) != 0)
		return;
	if (atomic_fetch_sub(&stop_at.left, 1) != 1)
		return;
	log_warn("step.stopped", NULL, "step=%s", name);
	raise(SIGSTOP);
}
