/* host.c - see host.h. */
#include "base/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static uint64_t
real_wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t
real_mono_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void
real_random(void *out, size_t n)
{
	uint8_t *p = out;

	while (n) {
		ssize_t got = getrandom(p, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			abort(); /* keys without randomness would be worse */
		p += got;
		n -= (size_t)got;
	}
}

static const struct host_ops real_ops = { real_wall_ms, real_mono_ns, real_random };
static const struct host_ops *host = &real_ops;

void
host_replace(const struct host_ops *ops)
{
	host = ops ? ops : &real_ops;
}

uint64_t
host_wall_ms(void)
{
	return host->wall_ms();
}

uint64_t
host_mono_ns(void)
{
	return host->mono_ns();
}

void
host_random(void *out, size_t n)
{
	host->random(out, n);
}

void
host_time_text(uint64_t wall_ms, char out[static 25])
{
	const uint64_t end_of_9999_ms = 253402300799999; /* five-digit years would not fit */
	uint64_t ms = wall_ms < end_of_9999_ms ? wall_ms : end_of_9999_ms;
	time_t seconds = (time_t)(ms / 1000);
	struct tm t;
	char text[96];

	gmtime_r(&seconds, &t);
	snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", t.tm_year + 1900,
	    t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec, (unsigned)(ms % 1000));
	memcpy(out, text, 24);
	out[24] = 0;
}

void
host_cond_init(pthread_cond_t *c)
{
	pthread_condattr_t a;

	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(c, &a);
	pthread_condattr_destroy(&a);
}

void
host_cond_wait_ms(pthread_cond_t *c, pthread_mutex_t *lock, uint64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(c, lock, &until);
}
