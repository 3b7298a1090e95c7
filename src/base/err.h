/* err.h - what went wrong, for a program (kind) and for a person (text).
 *
 * Fallible functions end in `struct err *e` and return 0 or -1 (or NULL). The detector says what
 * happened, each caller that knows more adds it in front, only the outermost logs or answers.
 * E may be NULL where the caller does not care. No allocation on the way down.
 */
#pragma once
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define must_check        __attribute__((warn_unused_result))
#define printf_like(f, a) __attribute__((format(printf, f, a)))

/* The kind chooses the HTTP status and the exit code. */
enum err_kind {
	ERR_NONE,
	ERR_INTERNAL,  /* our bug */
	ERR_USAGE,     /* a wrong command line */
	ERR_BAD,       /* malformed input */
	ERR_TOO_BIG,   /* input past a ceiling */
	ERR_MISSING,   /* no such thing */
	ERR_EXISTS,    /* already there */
	ERR_DENIED,    /* known, but not allowed */
	ERR_CONSENT,   /* the service was not granted by the account */
	ERR_BUSY,      /* try again later */
	ERR_STALE,     /* ownership lost or compare-and-swap refused: reread, never retry blindly */
	ERR_FORGED,    /* a record failed authentication; none of it was used */
	ERR_IO,        /* a disk or system call failed */
	ERR_FULL,      /* no space left */
	ERR_MEMORY,    /* no memory left, or no file descriptors */
	ERR_PEER,      /* another region can't be reached or broke the protocol */
	ERR_TIMEOUT,   /* waited long enough */
	ERR_CANCELLED, /* by command, or by shutting down */
	ERR_QUOTA,     /* the account has as much as it may */
	ERR_KINDS
};

struct err {
	enum err_kind kind;
	char text[240];
};

/* Set *E. Always returns -1, so that `return err_set(...)` propagates. */
int err_set(struct err *e, enum err_kind kind, const char *format, ...) printf_like(3, 4);

/* Put "FORMAT: " in front of the text that is there; keeps the kind. Returns -1. */
int err_add(struct err *e, const char *format, ...) printf_like(2, 3);

/* Set *E from errno value ERRNUM: "FORMAT: strerror". ENOSPC, EDQUOT: ERR_FULL; ENOMEM, EMFILE, ENFILE:
 * ERR_MEMORY; ENOENT: ERR_MISSING; EEXIST: ERR_EXISTS; EACCES, EPERM: ERR_DENIED; EADDRINUSE:
 * ERR_BUSY; else ERR_IO.
 * Returns -1. */
int err_errno(struct err *e, int errnum, const char *format, ...) printf_like(3, 4);

/* The kind's word: "missing", "busy", ... for logs and JSON. */
const char *err_word(enum err_kind kind);

/* The kind's exit code, as documented in docs/operating.md; 0 for ERR_NONE. */
int err_exit(enum err_kind kind);
