/* progress.h - what is going on, how much of it is done, how fast, how long it will take.
 *
 * Drawn in place on a terminal; elsewhere plain lines, one a second at most. One thread.
 */
#pragma once
#include <stdio.h>
#include "base/buf.h"
#include "base/cleanup.h"

struct progress {
	FILE *out;
	bool is_terminal;
	unsigned lines;    /* drawn last, to be drawn over */
	uint64_t shown_ms; /* mono; 0: never */
	uint64_t bytes_was, done_was, measured_ms;
	double bytes_per_s, done_per_s; /* smoothed over some ten seconds */
};

/* OUT is borrowed. */
void progress_open(struct progress *p, FILE *out);
/* Tell how much is done by now: makes the rates. */
void progress_measure(struct progress *p, uint64_t done, uint64_t bytes);
/* Whether something new should be shown: it is time to, or IS_LAST. */
bool progress_is_due(struct progress *p, bool is_last);
/* Show TEXT (lines that end in \n) over what was shown before; on a file PLAIN, one line. */
void progress_show(struct progress *p, const char *text, const char *plain);
/* Take away what is drawn in place. */
void progress_clear(struct progress *p);
/* The same in one line for simple counts: "verifying 120 of 400 accounts, 1.2 GiB, 30/s, 9s left". */
void progress_count(struct progress *p, const char *what, uint64_t done, uint64_t total,
    const char *unit, uint64_t bytes, bool is_last);

/* A bar of WIDTH columns. */
void text_bar(struct buf *out, double share, unsigned width);
/* "812 B", "1.4 MiB". */
void text_bytes(uint64_t bytes, char out[static 16]);
/* "0.4s", "12s", "3m 05s", "2h 10m", "4d 02h". */
void text_duration(uint64_t ms, char out[static 16]);
/* "35.1ms", "420us". */
void text_us(uint64_t us, char out[static 16]);
/* "2026-12-01T00:00Z" or "-". */
void text_minute(uint64_t wall_ms, char out[static 25]);
