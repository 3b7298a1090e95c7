/* args.c - the values of a parsed command line. */
#include "cli/cli.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct unit {
	const char *word;
	double times;
};

static const struct unit size_units[] = {
	{ "", 1 },
	{ "B", 1 },
	{ "KiB", 1024.0 },
	{ "MiB", 1024.0 * 1024 },
	{ "GiB", 1024.0 * 1024 * 1024 },
	{ "TiB", 1024.0 * 1024 * 1024 * 1024 },
	{ NULL, 0 },
};

static const struct unit time_units[] = {
	{ "ms", 1 },
	{ "s", 1000 },
	{ "m", 60e3 },
	{ "h", 3600e3 },
	{ "d", 86400e3 },
	{ NULL, 0 },
};

static int
index_of(const struct args *a, const char *name)
{
	for (int i = 0; i < OPTIONS_MAX && a->command->options[i].name; i++)
		if (strcmp(a->command->options[i].name, name) == 0)
			return i;
	assert(!"the table has every option that a command asks for");
	return 0;
}

const char *
arg_text(const struct args *a, const char *name)
{
	return a->values[index_of(a, name)];
}

bool
arg_flag(const struct args *a, const char *name)
{
	return arg_text(a, name) != NULL;
}

const char *
arg_operand(const struct args *a, unsigned n)
{
	return n < a->n_operands ? a->operands[n] : NULL;
}

/* --- texts --- */

/* Digits, perhaps with a fraction, and a unit; strtod would take "0x1p3" and "inf" too. */
static bool
parse_number(const char *text, const struct unit *units, uint64_t *out)
{
	size_t whole = strspn(text, "0123456789"), n = whole;
	double v;

	if (text[n] == '.')
		n += 1 + strspn(text + n + 1, "0123456789");
	if (!whole || n > 18)
		return false;
	v = strtod(text, NULL);
	text += n + strspn(text + n, " ");
	for (; units->word; units++)
		if (strcmp(units->word, text) == 0) {
			*out = (uint64_t)llround(v * units->times);
			return v * units->times < 9e18;
		}
	return false;
}

bool
value_size(const char *text, uint64_t *out)
{
	return parse_number(text, size_units, out);
}

bool
value_duration_ms(const char *text, uint64_t *out)
{
	return parse_number(text, time_units, out);
}

/* ISO 8601 in UTC, to the minute or to the second. */
static bool
parse_date(const char *text, uint64_t *out)
{
	static const char *const forms[] = { "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%SZ" };

	for (unsigned i = 0; i < ARRAY_LEN(forms); i++) {
		struct tm tm = { 0 }, again;
		const char *end = strptime(text, forms[i], &tm);
		time_t t;

		if (!end || *end)
			continue;
		again = tm;
		t = timegm(&again);
		/* 2026-02-31 would become the 3rd of March. */
		if (t < 0 || again.tm_mday != tm.tm_mday || again.tm_mon != tm.tm_mon)
			return false;
		*out = (uint64_t)t * 1000;
		return true;
	}
	return false;
}

bool
value_instant_ms(const char *text, uint64_t now_ms, uint64_t *out)
{
	uint64_t ms;

	if (*text != '+')
		return parse_date(text, out);
	if (!value_duration_ms(text + 1, &ms))
		return false;
	*out = now_ms + ms;
	return true;
}

bool
value_hours(const char *text, int *from, int *to)
{
	unsigned h1, m1, h2, m2;
	int end = 0;

	if (sscanf(text, "%2u:%2u-%2u:%2u%n", &h1, &m1, &h2, &m2, &end) != 4 || text[end])
		return false;
	if (h1 > 23 || m1 > 59 || h2 > 23 || m2 > 59 || (h1 == h2 && m1 == m2))
		return false;
	*from = (int)(h1 * 60 + m1);
	*to = (int)(h2 * 60 + m2);
	return true;
}

/* --- options --- */

static int
not_a(struct err *e, const char *name, const char *text, const char *what)
{
	return err_set(e, ERR_USAGE, "--%s %.60s: expected %s", name, text, what);
}

int
arg_u64(const struct args *a, const char *name, uint64_t fallback, uint64_t min, uint64_t max,
    uint64_t *out, struct err *e)
{
	static const struct unit none[] = { { "", 1 }, { NULL, 0 } };
	const char *text = arg_text(a, name);
	uint64_t v;

	if (!text) {
		*out = fallback;
		return 0;
	}
	if (strchr(text, '.') || !parse_number(text, none, &v))
		return not_a(e, name, text, "a number");
	if (v < min || v > max)
		return err_set(e, ERR_USAGE, "--%s %.60s: must lie between %llu and %llu", name,
		    text, (unsigned long long)min, (unsigned long long)max);
	*out = v;
	return 0;
}

int
arg_size(const struct args *a, const char *name, uint64_t fallback, uint64_t *out, struct err *e)
{
	const char *text = arg_text(a, name);

	if (!text)
		*out = fallback;
	else if (!value_size(text, out))
		return not_a(e, name, text, "a size such as 50MiB");
	return 0;
}

int
arg_instant(const struct args *a, const char *name, uint64_t now_ms, uint64_t *out, struct err *e)
{
	const char *text = arg_text(a, name);

	if (!text)
		*out = 0;
	else if (!value_instant_ms(text, now_ms, out))
		return not_a(e, name, text, "a time such as 2026-12-01T00:00Z or +2h");
	return 0;
}

int
arg_hours(const struct args *a, const char *name, int *from, int *to, struct err *e)
{
	const char *text = arg_text(a, name);

	if (!text)
		*from = *to = -1;
	else if (!value_hours(text, from, to))
		return not_a(e, name, text, "hours in UTC such as 08:00-20:00");
	return 0;
}
