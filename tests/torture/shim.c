/* shim.c - the page, and a wall clock that is wrong. See shim.h.
 *
 * The wall clock is what clock_gettime, gettimeofday and time say. A wait until a moment of the
 * wall clock is turned back into the true one, or a wrong clock would change how long it takes.
 */
#include "shim.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000

struct page *shim_page;

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_cond_timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
static int (*real_cond_clockwait)(
    pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
static int (*real_sem_timedwait)(sem_t *, const struct timespec *);
static int (*real_mutex_timedlock)(pthread_mutex_t *, const struct timespec *);

void *
shim_next(const char *name, const char *version)
{
	void *it = version ? dlvsym(RTLD_NEXT, name, version) : dlsym(RTLD_NEXT, name);

	if (!it)
		abort();
	return it;
}

__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("TORTURE_PAGE");
	int fd;

	if (real_cond_timedwait)
		return;

	/* The old symbol of the condition variable's first form would be found otherwise. */
	real_cond_timedwait = shim_next("pthread_cond_timedwait", "GLIBC_2.3.2");
	real_cond_clockwait = shim_next("pthread_cond_clockwait", NULL);
	real_sem_timedwait = shim_next("sem_timedwait", NULL);
	real_mutex_timedlock = shim_next("pthread_mutex_timedlock", NULL);
	if (!real_clock_gettime)
		real_clock_gettime = shim_next("clock_gettime", NULL);
	if (!path)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		abort();
	shim_page = mmap(NULL, sizeof(*shim_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (shim_page == MAP_FAILED || shim_page->magic != PAGE_MAGIC ||
	    shim_page->files_max != FILES_MAX)
		abort();
}

static int64_t
offset_ns(void)
{
	return shim_page ? atomic_load_explicit(&shim_page->orders.clock_ns, memory_order_relaxed)
	                 : 0;
}

static void
add_ns(struct timespec *t, int64_t ns)
{
	t->tv_sec += ns / NS;
	t->tv_nsec += ns % NS;
	if (t->tv_nsec >= NS) {
		t->tv_sec++;
		t->tv_nsec -= NS;
	} else if (t->tv_nsec < 0) {
		t->tv_sec--;
		t->tv_nsec += NS;
	}
}

int
clock_gettime(clockid_t clock, struct timespec *out)
{
	if (!real_clock_gettime) /* called by another library's constructor */
		real_clock_gettime = shim_next("clock_gettime", NULL);
	int rc = real_clock_gettime(clock, out);

	if (rc == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		add_ns(out, offset_ns());
	return rc;
}

int
gettimeofday(struct timeval *restrict out, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	*out = (struct timeval){ now.tv_sec, now.tv_nsec / 1000 };
	return 0;
}

time_t
time(time_t *out)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (out)
		*out = now.tv_sec;
	return now.tv_sec;
}

uint64_t
shim_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS + (uint64_t)now.tv_nsec;
}

/* UNTIL of our wall clock, as the kernel's. */
static struct timespec
truly(const struct timespec *until)
{
	struct timespec t = *until;

	add_ns(&t, -offset_ns());
	return t;
}

/* glibc keeps a condition's clock in the second bit of this word. */
static bool
is_monotonic(const pthread_cond_t *c)
{
	return c->__data.__wrefs & 2;
}

int
pthread_cond_timedwait(
    pthread_cond_t *restrict c, pthread_mutex_t *restrict m, const struct timespec *restrict until)
{
	struct timespec t = is_monotonic(c) ? *until : truly(until);

	begin();
	return real_cond_timedwait(c, m, &t);
}

int
pthread_cond_clockwait(pthread_cond_t *restrict c, pthread_mutex_t *restrict m, clockid_t clock,
    const struct timespec *restrict until)
{
	struct timespec t = clock == CLOCK_REALTIME ? truly(until) : *until;

	begin();
	return real_cond_clockwait(c, m, clock, &t);
}

int
sem_timedwait(sem_t *restrict s, const struct timespec *restrict until)
{
	struct timespec t = truly(until);

	begin();
	return real_sem_timedwait(s, &t);
}

int
pthread_mutex_timedlock(pthread_mutex_t *restrict m, const struct timespec *restrict until)
{
	struct timespec t = truly(until);

	begin();
	return real_mutex_timedlock(m, &t);
}
