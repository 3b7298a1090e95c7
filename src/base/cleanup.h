/* cleanup.h - scoped ownership: a function owns what it declares `_cleanup_`, and hands it over
 * with `take`. Every close and free accepts NULL and a half-built object.
 */
#pragma once
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

/* Hand over what *P owns: *P becomes NULL, so that its cleanup does nothing. */
#define take(p) \
	({ \
		__auto_type take_ = *(p); \
		*(p) = NULL; \
		take_; \
	})

/* Define NAMEp(&pointer) for use with _cleanup_ out of NAME(pointer). */
#define CLEANUP(type, name) \
	static inline void name##p(type **p) \
	{ \
		if (*p) \
			name(*p); \
	}

#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))
#define ARRAY_LEN(a)                  (sizeof(a) / sizeof *(a))
#define BIT(n)                        (1u << (n))

static inline void
freep(void *p)
{
	free(*(void **)p);
}

static inline void
fd_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
