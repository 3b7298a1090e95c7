/* Stands in for the allocators (-Wl,--wrap): counts down to the one that fails. */
#include "alloc_fault.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>

static _Atomic unsigned left; /* 1: the next one; 0: none */
static _Atomic bool is_everywhere, has_fired;
static _Thread_local bool is_ours;

static bool
must_fail(void)
{
	unsigned n = atomic_load(&left);

	if (n == 0 || (!is_ours && !atomic_load(&is_everywhere)))
		return false;
	while (n && !atomic_compare_exchange_weak(&left, &n, n - 1))
		;
	if (n != 1)
		return false;
	atomic_store(&has_fired, true);
	return true;
}

bool
alloc_next(struct alloc_turn *t)
{
	if (t->nth++ && !t->fired)
		return false;
	t->fired = false;
	return true;
}

void
alloc_arm(const struct alloc_turn *t)
{
	atomic_store(&has_fired, false);
	atomic_store(&is_everywhere, t->is_everywhere);
	is_ours = true;
	atomic_store(&left, t->nth);
}

void
alloc_disarm(struct alloc_turn *t)
{
	atomic_store(&left, 0);
	is_ours = false;
	t->fired = atomic_load(&has_fired);
}

#define WRAPPED(name, parameters, arguments) \
	void *__real_##name parameters; \
	void *__wrap_##name parameters; \
	void *__wrap_##name parameters \
	{ \
		return must_fail() ? NULL : __real_##name arguments; \
	}

WRAPPED(malloc, (size_t n), (n))
WRAPPED(calloc, (size_t n, size_t size), (n, size))
WRAPPED(realloc, (void *p, size_t n), (p, n))
WRAPPED(reallocarray, (void *p, size_t n, size_t size), (p, n, size))
WRAPPED(aligned_alloc, (size_t align, size_t n), (align, n))
WRAPPED(strdup, (const char *s), (s))
WRAPPED(strndup, (const char *s, size_t n), (s, n))

int __real_vasprintf(char **out, const char *format, va_list ap);
int __wrap_vasprintf(char **out, const char *format, va_list ap);
int __wrap_asprintf(char **out, const char *format, ...);

int
__wrap_vasprintf(char **out, const char *format, va_list ap)
{
	return must_fail() ? -1 : __real_vasprintf(out, format, ap);
}

int
__wrap_asprintf(char **out, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = __wrap_vasprintf(out, format, ap);
	va_end(ap);
	return n;
}
