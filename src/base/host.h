/* host.h - what the machine gives: clocks and randomness, replaceable in tests. Any thread. */
#pragma once
#include <pthread.h>
#include "base/err.h"

struct host_ops {
	uint64_t (*wall_ms)(void); /* since 1970, UTC; may jump */
	uint64_t (*mono_ns)(void); /* never goes back */
	void (*random)(void *out, size_t n);
};

/* As in host_ops. */
uint64_t host_wall_ms(void);
uint64_t host_mono_ns(void);
static inline uint64_t
host_mono_ms(void)
{
	return host_mono_ns() / 1000000;
}
/* Cryptographically random bytes (getrandom); aborts if the system has none. */
void host_random(void *out, size_t n);
/* A condition whose timed waits go by the monotonic clock. */
void host_cond_init(pthread_cond_t *c);
/* Wait at C, which host_cond_init made, for at most MS: also if the wall clock is set meanwhile. LOCK is held. */
void host_cond_wait_ms(pthread_cond_t *c, pthread_mutex_t *lock, uint64_t ms);
/* For tests, before any thread starts. NULL restores the real ones; OPS is borrowed. */
void host_replace(const struct host_ops *ops);

/* WALL_MS as "2031-04-09T07:52:16.481Z" (24 characters and a NUL). */
void host_time_text(uint64_t wall_ms, char out[static 25]);
/* Likewise as an HTTP header has it, to the second: "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7). */
void host_date_text(uint64_t wall_ms, char out[static 30]);
