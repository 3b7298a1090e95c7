/* log.h - one line an event on stderr: time, level, event, id, key=value.
 *
 *   2031-04-09T07:52:16.481Z info move.state id=9c41e0 account=a7f3 from=copying to=fenced
 *
 * The id follows one request or one move through all regions. Nothing personal, no secret, no
 * object key or bucket name may appear. Any thread.
 */
#pragma once
#include "base/err.h"

/* What an auditor has to find is written whatever the level is set to. */
enum log_level { LOG_DEBUG_, LOG_INFO_, LOG_WARN_, LOG_ERROR_, LOG_AUDIT_ };

/* Lines below LEAST are left out from now on; LOG_INFO_ until it is called. */
void log_set_level(enum log_level least);
/* false when WORD is none of debug, info, warn, error. */
bool log_level_parse(const char *word, enum log_level *out);
/* Reopen-free: the line goes to stderr in one write. ID may be NULL. Control characters and
 * newlines in the formatted text are replaced by '?'. Lines are cut at 2 KiB. */
void log_write(enum log_level level, const char *event, const char *id, const char *format, ...)
    printf_like(4, 5);

#define log_debug(...) log_write(LOG_DEBUG_, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO_, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN_, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR_, __VA_ARGS__)
#define log_audit(...) log_write(LOG_AUDIT_, __VA_ARGS__)
