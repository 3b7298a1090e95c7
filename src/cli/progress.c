/* progress.c - see progress.h. */
#include "cli/progress.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/host.h"

#define TERMINAL_MS 100
#define FILE_MS     1000
#define SMOOTH_MS   10000.0

void
progress_open(struct progress *p, FILE *out)
{
	*p = (struct progress){ .out = out, .is_terminal = isatty(fileno(out)) };
}

/* The weight of what is old fades with time, however often it is called. */
static double
smooth(double was, double now, double elapsed_ms, bool is_first)
{
	double fade = is_first ? 0 : exp(-elapsed_ms / SMOOTH_MS);

	return was * fade + now * (1 - fade);
}

void
progress_measure(struct progress *p, uint64_t done, uint64_t bytes)
{
	uint64_t now = host_mono_ms(), since = now - p->measured_ms;
	bool is_first = p->bytes_per_s == 0 && p->done_per_s == 0;

	if (!p->measured_ms || done < p->done_was || bytes < p->bytes_was) {
		p->measured_ms = now;
		p->done_was = done;
		p->bytes_was = bytes;
		return;
	}
	if (since < TERMINAL_MS)
		return;
	p->done_per_s = smooth(p->done_per_s, (double)(done - p->done_was) * 1000 / (double)since,
	    (double)since, is_first);
	p->bytes_per_s = smooth(p->bytes_per_s,
	    (double)(bytes - p->bytes_was) * 1000 / (double)since, (double)since, is_first);
	p->measured_ms = now;
	p->done_was = done;
	p->bytes_was = bytes;
}

bool
progress_is_due(struct progress *p, bool is_last)
{
	uint64_t now = host_mono_ms(), every = p->is_terminal ? TERMINAL_MS : FILE_MS;

	if (!is_last && p->shown_ms && now - p->shown_ms < every)
		return false;
	p->shown_ms = now;
	return true;
}

void
progress_clear(struct progress *p)
{
	/* Up, and erase all below. */
	if (p->lines)
		fprintf(p->out, "\033[%uA\r\033[J", p->lines);
	p->lines = 0;
}

void
progress_show(struct progress *p, const char *text, const char *plain)
{
	if (!p->is_terminal) {
		fprintf(p->out, "%s\n", plain);
	} else {
		progress_clear(p);
		fputs(text, p->out);
		for (; *text; text++)
			p->lines += *text == '\n';
	}
	fflush(p->out);
}

void
progress_count(struct progress *p, const char *what, uint64_t done, uint64_t total,
    const char *unit, uint64_t bytes, bool is_last)
{
	_cleanup_buf_ struct buf line = BUF_INIT(1024), drawn = BUF_INIT(1024);
	char amount[16], left[16];

	progress_measure(p, done, bytes);
	if (!progress_is_due(p, is_last))
		return;
	text_bytes(bytes, amount);
	buf_printf(&line, "%s %" PRIu64 " of %" PRIu64 " %s", what, done, total, unit);
	if (bytes)
		buf_printf(&line, ", %s", amount);
	if (p->done_per_s >= 0.05)
		buf_printf(&line, ", %.1f/s", p->done_per_s);
	if (p->done_per_s >= 0.05 && done < total) {
		text_duration((uint64_t)((double)(total - done) / p->done_per_s * 1000), left);
		buf_printf(&line, ", %s left", left);
	}
	text_bar(&drawn, total ? (double)done / (double)total : 1, 24);
	buf_printf(&drawn, " %s\n", buf_str(&line));
	progress_show(p, buf_str(&drawn), buf_str(&line));
}

void
text_bar(struct buf *out, double share, unsigned width)
{
	unsigned full = share >= 1 ? width : share > 0 ? (unsigned)(share * width) : 0;

	buf_add_char(out, '[');
	for (unsigned i = 0; i < width; i++)
		buf_add_char(out, i < full ? '#' : '.');
	buf_add_char(out, ']');
}

void
text_bytes(uint64_t bytes, char out[static 16])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes;
	unsigned u = 0;

	while (v >= 1023.95 && u + 1 < ARRAY_LEN(units))
		v /= 1024, u++;
	snprintf(out, 16, u ? "%.1f %s" : "%.0f %s", v, units[u]);
}

void
text_duration(uint64_t ms, char out[static 16])
{
	uint64_t s = (ms + 500) / 1000;

	if (ms < 9950)
		snprintf(out, 16, "%.1fs", (double)ms / 1000);
	else if (s < 60)
		snprintf(out, 16, "%us", (unsigned)s);
	else if (s < 3600)
		snprintf(out, 16, "%um %02us", (unsigned)(s / 60), (unsigned)(s % 60));
	else if (s < 86400)
		snprintf(out, 16, "%uh %02um", (unsigned)(s / 3600), (unsigned)(s / 60 % 60));
	else
		snprintf(out, 16, "%ud %02uh", (unsigned)(s / 86400 % 100000),
		    (unsigned)(s / 3600 % 24));
}

void
text_us(uint64_t us, char out[static 16])
{
	if (us < 1000)
		snprintf(out, 16, "%uus", (unsigned)us);
	else if (us < 10000000)
		snprintf(out, 16, "%.1fms", (double)us / 1000);
	else
		text_duration(us / 1000, out);
}

void
text_minute(uint64_t wall_ms, char out[static 25])
{
	if (!wall_ms) {
		strcpy(out, "-");
		return;
	}
	host_time_text(wall_ms, out);
	strcpy(out + 16, "Z");
}
