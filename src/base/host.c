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

static void
two_digits(char *out, int n)
{
	out[0] = (char)('0' + n / 10 % 10);
	out[1] = (char)('0' + n % 10);
}

void
host_date_text(uint64_t wall_ms, char out[static 30])
{
	static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
		"Sep", "Oct", "Nov", "Dec" };
	time_t t = (time_t)(wall_ms / 1000);
	struct tm tm = { .tm_year = 70 };

	/* By hand: every answer has one, and strftime asks for the locale and the time zone. */
	gmtime_r(&t, &tm);
	memcpy(out, "Day, dd Mon yyyy hh:mm:ss GMT", 30);
	memcpy(out, days[tm.tm_wday], 3);
	two_digits(out + 5, tm.tm_mday);
	memcpy(out + 8, months[tm.tm_mon], 3);
	two_digits(out + 12, (tm.tm_year + 1900) / 100);
	two_digits(out + 14, tm.tm_year % 100);
	two_digits(out + 17, tm.tm_hour);
	two_digits(out + 20, tm.tm_min);
	two_digits(out + 23, tm.tm_sec);
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
