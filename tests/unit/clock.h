/* clock.h - the machine's clock, which tests put forward: the monotonic one, and the wall clock by it.
 *
 * A test with a time of its own takes clock_mono_ns and clock_random into a host_ops of its own. To be
 * set (host_replace) before anything has threads.
 */
#pragma once
#include "check.h"

#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "base/host.h"

static _Atomic uint64_t clock_ahead_ms;

static inline uint64_t
clock_real_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static inline uint64_t
clock_mono_ns(void)
{
	return clock_real_ns(CLOCK_MONOTONIC) + clock_ahead_ms * 1000000;
}

static inline uint64_t
clock_wall_ms(void)
{
	return clock_real_ns(CLOCK_REALTIME) / 1000000 + clock_ahead_ms;
}

static inline void
clock_random(void *out, size_t n)
{
	CHECK(getentropy(out, n) == 0);
}

static const struct host_ops clock_ahead = { clock_wall_ms, clock_mono_ns, clock_random };
