/* log.c - see log.h. */
#include "base/log.h"
#include "base/host.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static const char *const words[] = {
	[LOG_DEBUG_] = "debug",
	[LOG_INFO_] = "info",
	[LOG_WARN_] = "warn",
	[LOG_ERROR_] = "error",
	[LOG_AUDIT_] = "audit",
};

static _Atomic int least_level = LOG_INFO_;

void
log_set_level(enum log_level least)
{
	atomic_store(&least_level, (int)least);
}

bool
log_level_parse(const char *word, enum log_level *out)
{
	for (unsigned i = 0; i <= LOG_ERROR_; i++) {
		if (strcmp(word, words[i]) == 0) {
			*out = (enum log_level)i;
			return true;
		}
	}
	return false;
}

/* A line stays one line whatever a peer put into a name. */
static void
replace_controls(char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			s[i] = '?';
}

/* What snprintf wrote into SPACE bytes, given what it would have liked to write. */
static size_t
written(int wanted, size_t space)
{
	if (wanted < 0)
		return 0;
	return (size_t)wanted < space ? (size_t)wanted : space - 1;
}

void
log_write(enum log_level level, const char *event, const char *id, const char *format, ...)
{
	char line[LINE_MAX_BYTES], when[25];
	int saved_errno = errno;
	size_t n;
	va_list args;

	if ((int)level < atomic_load_explicit(&least_level, memory_order_relaxed))
		return;
	host_time_text(host_wall_ms(), when);
	n = written(snprintf(line, sizeof(line), "%s %s %s%s%s ", when, words[level], event,
	                id ? " id=" : "", id ? id : ""),
	    sizeof(line));
	va_start(args, format);
	n += written(vsnprintf(line + n, sizeof(line) - n, format, args), sizeof(line) - n);
	va_end(args);

	replace_controls(line, n);
	while (n && line[n - 1] == ' ')
		n--;
	line[n++] = '\n'; /* over snprintf's NUL */
	/* One write, so that lines of several threads and processes don't mix. There is nobody to
	 * tell if it fails. */
	if (write(STDERR_FILENO, line, n) < 0)
		(void)0;
	errno = saved_errno;
}
