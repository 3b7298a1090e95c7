/* err.c - see err.h. */
#include "base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* One row a kind. Exit codes are documented: never renumber them. */
static const struct {
	const char *word;
	int exit;
} kinds[] = {
	[ERR_NONE] = { "none", 0 },
	[ERR_INTERNAL] = { "internal", 1 },
	[ERR_USAGE] = { "usage", 2 },
	[ERR_BAD] = { "bad", 3 },
	[ERR_TOO_BIG] = { "too-big", 4 },
	[ERR_MISSING] = { "missing", 5 },
	[ERR_EXISTS] = { "exists", 6 },
	[ERR_DENIED] = { "denied", 7 },
	[ERR_CONSENT] = { "consent", 8 },
	[ERR_BUSY] = { "busy", 9 },
	[ERR_STALE] = { "stale", 10 },
	[ERR_FORGED] = { "forged", 11 },
	[ERR_IO] = { "io", 12 },
	[ERR_FULL] = { "full", 13 },
	[ERR_MEMORY] = { "memory", 14 },
	[ERR_PEER] = { "peer", 15 },
	[ERR_TIMEOUT] = { "timeout", 16 },
	[ERR_CANCELLED] = { "cancelled", 17 },
	[ERR_QUOTA] = { "quota", 18 },
};
_Static_assert(sizeof(kinds) / sizeof *kinds == ERR_KINDS, "a row for every kind");

/* Formatted aside first, because an argument may be e->text itself. */
__attribute__((format(printf, 2, 0))) static void
set_text(struct err *e, const char *format, va_list args)
{
	char text[sizeof(e->text)];

	vsnprintf(text, sizeof(text), format, args);
	memcpy(e->text, text, sizeof(text));
}

int
err_set(struct err *e, enum err_kind kind, const char *format, ...)
{
	va_list args;

	if (!e)
		return -1;
	va_start(args, format);
	set_text(e, format, args);
	va_end(args);
	e->kind = kind;
	return -1;
}

/* Put PREFIX in front of the text of E, or of LAST if that is not NULL. What does not fit is cut
 * at the end. */
static void
prepend(struct err *e, const char *prefix, const char *last)
{
	char text[sizeof(e->text)];

	/* The cut is meant. */
	if (snprintf(text, sizeof(text), "%s: %s", prefix, last ? last : e->text) < 0)
		return;
	memcpy(e->text, text, sizeof(text));
}

int
err_add(struct err *e, const char *format, ...)
{
	char prefix[sizeof(e->text)];
	va_list args;

	if (!e)
		return -1;
	va_start(args, format);
	vsnprintf(prefix, sizeof(prefix), format, args);
	va_end(args);
	prepend(e, prefix, NULL);
	return -1;
}

static enum err_kind
kind_of_errno(int errnum)
{
	switch (errnum) {
	case ENOSPC:
	case EDQUOT:
		return ERR_FULL;
	case ENOMEM:
	case EMFILE:
	case ENFILE:
		return ERR_MEMORY;
	case ENOENT:
		return ERR_MISSING;
	case EEXIST:
		return ERR_EXISTS;
	case EACCES:
	case EPERM:
		return ERR_DENIED;
	case EADDRINUSE:
		return ERR_BUSY;
	default:
		return ERR_IO;
	}
}

int
err_errno(struct err *e, int errnum, const char *format, ...)
{
	char prefix[sizeof(e->text)], reason[128];
	const char *why = errnum == EADDRINUSE
	    ? "another process has this port; `ss -ltnp` tells which"
	    : strerror_r(errnum, reason, sizeof(reason));
	va_list args;

	if (!e)
		return -1;
	va_start(args, format);
	vsnprintf(prefix, sizeof(prefix), format, args);
	va_end(args);
	prepend(e, prefix, why);
	e->kind = kind_of_errno(errnum);
	return -1;
}

const char *
err_word(enum err_kind kind)
{
	assert(kind < ERR_KINDS);
	return kinds[kind].word;
}

int
err_exit(enum err_kind kind)
{
	assert(kind < ERR_KINDS);
	return kinds[kind].exit;
}
