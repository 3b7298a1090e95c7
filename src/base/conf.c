/* conf.c - see conf.h. Lines are few, so everything is a walk along a list. */
#include "base/conf.h"
#include "base/buf.h"
#include "base/fs.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES ((size_t)1 << 20)

struct section {
	char *name; /* "" before the first; one space between its words */
	unsigned line;
	bool asked_for;
};

struct entry {
	size_t section; /* an index: the array of sections moves as it grows */
	char *word;
	char *value;
	unsigned line;
	bool asked_for;
};

struct conf {
	char *shown_name;
	struct section *sections;
	size_t n_sections;
	struct entry *entries;
	size_t n_entries;
};

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* A copy of N bytes at P without the blanks at both ends. */
static char *
trimmed(const char *p, size_t n)
{
	while (n && is_blank(*p))
		p++, n--;
	while (n && is_blank(p[n - 1]))
		n--;
	return strndup(p, n);
}

static int
no_memory(const struct conf *c, struct err *e)
{
	return err_set(e, ERR_MEMORY, "%s: no memory", c->shown_name);
}

static struct section *
find_section(const struct conf *c, const char *name)
{
	for (size_t i = 0; i < c->n_sections; i++)
		if (strcmp(c->sections[i].name, name) == 0)
			return &c->sections[i];
	return NULL;
}

/* NAME is taken over. */
static int
add_section(struct conf *c, char *name, unsigned line, struct err *e)
{
	struct section *grown = reallocarray(c->sections, c->n_sections + 1, sizeof(*c->sections));

	if (!grown) {
		free(name);
		return no_memory(c, e);
	}
	c->sections = grown;
	grown[c->n_sections++] = (struct section){ .name = name, .line = line };
	return 0;
}

/* WORD and VALUE are taken over. */
static int
add_entry(struct conf *c, char *word, char *value, unsigned line, struct err *e)
{
	struct entry *grown = reallocarray(c->entries, c->n_entries + 1, sizeof(*c->entries));

	if (!grown) {
		free(word);
		free(value);
		return no_memory(c, e);
	}
	c->entries = grown;
	grown[c->n_entries++] = (struct entry){
		.section = c->n_sections - 1,
		.word = word,
		.value = value,
		.line = line,
	};
	return 0;
}

/* Make each run of blanks in NAME one space. Returns the number of words. */
static unsigned
squeeze(char *name)
{
	unsigned words = *name ? 1 : 0;
	char *to = name;

	for (const char *from = name; *from; from++) {
		if (!is_blank(*from)) {
			*to++ = *from;
		} else if (!is_blank(from[1])) {
			*to++ = ' ';
			words++;
		}
	}
	*to = 0;
	return words;
}

static int
parse_section(struct conf *c, const char *p, size_t n, unsigned line, struct err *e)
{
	_cleanup_(freep) char *name = NULL;
	unsigned words;

	if (n < 2 || p[n - 1] != ']')
		return err_set(e, ERR_BAD, "%s:%u: expected ']' at the end", c->shown_name, line);
	name = trimmed(p + 1, n - 2);
	if (!name)
		return no_memory(c, e);
	words = squeeze(name);
	if (words < 1 || words > 2 || strpbrk(name, "[]="))
		return err_set(
		    e, ERR_BAD, "%s:%u: expected [section] or [section name]", c->shown_name, line);
	if (find_section(c, name))
		return err_set(e, ERR_BAD, "%s:%u: [%s] is there twice", c->shown_name, line, name);
	return add_section(c, take(&name), line, e);
}

static int
parse_entry(struct conf *c, const char *p, size_t n, unsigned line, struct err *e)
{
	const char *equals = memchr(p, '=', n);
	_cleanup_(freep) char *word = NULL;
	_cleanup_(freep) char *value = NULL;

	if (!equals)
		return err_set(e, ERR_BAD, "%s:%u: expected word = value", c->shown_name, line);
	word = trimmed(p, (size_t)(equals - p));
	value = trimmed(equals + 1, n - (size_t)(equals - p) - 1);
	if (!word || !value)
		return no_memory(c, e);
	if (!*word ||
	    word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")])
		return err_set(e, ERR_BAD, "%s:%u: expected word = value", c->shown_name, line);
	if (!*value)
		return err_set(e, ERR_BAD, "%s:%u: '%s' has no value", c->shown_name, line, word);
	return add_entry(c, take(&word), take(&value), line, e);
}

/* The length of the N bytes at P up to a comment, without blanks at the end. */
static size_t
without_comment(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '#' && (i == 0 || is_blank(p[i - 1]))) {
			n = i;
			break;
		}
	}
	while (n && is_blank(p[n - 1]))
		n--;
	return n;
}

static int
parse_line(struct conf *c, const char *p, size_t n, unsigned line, struct err *e)
{
	while (n && is_blank(*p))
		p++, n--;
	n = without_comment(p, n);
	if (!n)
		return 0;
	if (*p == '[')
		return parse_section(c, p, n, line, e);
	return parse_entry(c, p, n, line, e);
}

struct conf *
conf_parse(const char *text, const char *shown_name, struct err *e)
{
	_cleanup_(conf_freep) struct conf *c = calloc(1, sizeof(*c));
	char *no_name = strdup("");
	unsigned line = 0;

	if (c)
		c->shown_name = strdup(shown_name);
	if (!c || !c->shown_name || !no_name) {
		free(no_name);
		err_set(e, ERR_MEMORY, "%s: no memory", shown_name);
		return NULL;
	}
	if (add_section(c, no_name, 0, e) < 0)
		return NULL;
	c->sections[0].asked_for = true;
	if (strlen(text) > FILE_MAX_BYTES) {
		err_set(e, ERR_TOO_BIG, "%s: more than 1 MiB", shown_name);
		return NULL;
	}
	while (*text) {
		size_t n = strcspn(text, "\n");

		if (parse_line(c, text, n, ++line, e) < 0)
			return NULL;
		text += n + (text[n] == '\n');
	}
	return take(&c);
}

struct conf *
conf_load(const char *path, struct err *e)
{
	_cleanup_secret_buf_ struct buf text = BUF_INIT(FILE_MAX_BYTES);

	if (fs_read(path, FILE_MAX_BYTES, &text, e) < 0)
		return NULL;
	if (text.len && memchr(text.data, 0, text.len)) {
		err_set(e, ERR_BAD, "%s: not a text file", path);
		return NULL;
	}
	return conf_parse(buf_str(&text), path, e);
}

void
conf_free(struct conf *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_sections; i++)
		free(c->sections[i].name);
	for (size_t i = 0; i < c->n_entries; i++) {
		free(c->entries[i].word);
		/* Some values are secrets. */
		explicit_bzero(c->entries[i].value, strlen(c->entries[i].value));
		free(c->entries[i].value);
	}
	free(c->sections);
	free(c->entries);
	free(c->shown_name);
	free(c);
}

/* The N-th entry of WORD in SECTION, or NULL. *COUNT, if not NULL: how many there are. Marks all
 * of them as asked for. */
static const struct entry *
find_entry(struct conf *c, const char *section, const char *word, size_t n, size_t *count)
{
	struct section *s = find_section(c, section);
	const struct entry *found = NULL;
	size_t seen = 0;

	if (s) {
		s->asked_for = true;
		for (size_t i = 0; i < c->n_entries; i++) {
			struct entry *entry = &c->entries[i];

			if (entry->section != (size_t)(s - c->sections) ||
			    strcmp(entry->word, word) != 0)
				continue;
			entry->asked_for = true;
			if (seen++ == n)
				found = entry;
		}
	}
	if (count)
		*count = seen;
	return found;
}

static const struct entry *
last_entry(struct conf *c, const char *section, const char *word)
{
	size_t count;

	find_entry(c, section, word, 0, &count);
	return count ? find_entry(c, section, word, count - 1, NULL) : NULL;
}

const char *
conf_get(struct conf *c, const char *section, const char *word)
{
	const struct entry *found = last_entry(c, section, word);

	return found ? found->value : NULL;
}

const char *
conf_get_nth(struct conf *c, const char *section, const char *word, size_t n)
{
	const struct entry *found = find_entry(c, section, word, n, NULL);

	return found ? found->value : NULL;
}

int
conf_need(struct conf *c, const char *section, const char *word, const char **out, struct err *e)
{
	const char *value = conf_get(c, section, word);
	const struct section *s = find_section(c, section);

	if (!value && !s)
		return err_set(
		    e, ERR_BAD, "%s: needs a section [%s] with '%s'", c->shown_name, section, word);
	if (!value && !*section)
		return err_set(
		    e, ERR_BAD, "%s: needs '%s' before the first section", c->shown_name, word);
	if (!value)
		return err_set(
		    e, ERR_BAD, "%s:%u: [%s] needs '%s'", c->shown_name, s->line, section, word);
	*out = value;
	return 0;
}

struct unit {
	const char *word;
	uint64_t times;
};

/* From small to large: an amount is told in the largest that leaves no rest. */
static const struct unit count_units[] = {
	{ "", 1 },
	{ NULL, 0 },
};

static const struct unit size_units[] = {
	{ "", 1 },
	{ "KiB", 1 << 10 },
	{ "MiB", 1 << 20 },
	{ "GiB", 1 << 30 },
	{ NULL, 0 },
};

static const struct unit time_units[] = {
	{ "ms", 1 },
	{ "s", 1000 },
	{ "m", 60 * 1000 },
	{ "h", 60 * 60 * 1000 },
	{ "d", 24 * 60 * 60 * 1000 },
	{ NULL, 0 },
};

/* false when TEXT is no number with one of UNITS, or past 64 bits. Nothing needs no unit. */
static bool
parse_number(const char *text, const struct unit *units, uint64_t *out)
{
	const char *digits = text;
	uint64_t v = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*text - '0'), &v))
			return false;
	if (text == digits)
		return false;
	while (is_blank(*text))
		text++;
	for (; units->word; units++)
		if (strcmp(units->word, text) == 0)
			return !__builtin_mul_overflow(v, units->times, out);
	*out = 0;
	return !v && !*text;
}

#define AMOUNT_SIZE 32

static const char *
amount_text(uint64_t v, const struct unit *units, char out[static AMOUNT_SIZE])
{
	const struct unit *best = units;

	for (; v && units->word; units++)
		if (v % units->times == 0)
			best = units;
	snprintf(out, AMOUNT_SIZE, "%" PRIu64 "%s%s", v / best->times, v && *best->word ? " " : "",
	    v ? best->word : "");
	return out;
}

int
conf_refuse(
    struct conf *c, const char *section, const char *word, struct err *e, const char *format, ...)
{
	const struct entry *found = last_entry(c, section, word);
	char why[160];
	va_list ap;

	va_start(ap, format);
	vsnprintf(why, sizeof(why), format, ap);
	va_end(ap);
	if (!found)
		return err_set(e, ERR_BAD, "%s: %s: %s", c->shown_name, word, why);
	return err_set(e, ERR_BAD, "%s:%u: %s = %.60s: %s", c->shown_name, found->line, word,
	    found->value, why);
}

static int
get_number(struct conf *c, const char *section, const char *word, const struct unit *units,
    const char *expected, uint64_t fallback, uint64_t min, uint64_t max, uint64_t *out,
    struct err *e)
{
	const char *value = conf_get(c, section, word);
	char least[AMOUNT_SIZE], most[AMOUNT_SIZE];
	uint64_t v;

	if (!value) {
		*out = fallback;
		return 0;
	}
	if (!parse_number(value, units, &v))
		return conf_refuse(c, section, word, e, "expected %s", expected);
	if (v < min && max == UINT64_MAX)
		return conf_refuse(
		    c, section, word, e, "must be at least %s", amount_text(min, units, least));
	if (v < min || v > max)
		return conf_refuse(c, section, word, e, "must lie between %s and %s",
		    amount_text(min, units, least), amount_text(max, units, most));
	*out = v;
	return 0;
}

int
conf_count(struct conf *c, const char *section, const char *word, uint64_t fallback, uint64_t min,
    uint64_t max, uint64_t *out, struct err *e)
{
	return get_number(
	    c, section, word, count_units, "a number without a unit", fallback, min, max, out, e);
}

int
conf_size(struct conf *c, const char *section, const char *word, uint64_t fallback, uint64_t min,
    uint64_t max, uint64_t *out, struct err *e)
{
	return get_number(c, section, word, size_units, "bytes, or a size in KiB, MiB or GiB",
	    fallback, min, max, out, e);
}

int
conf_ms(struct conf *c, const char *section, const char *word, uint64_t fallback, uint64_t min,
    uint64_t max, uint64_t *out, struct err *e)
{
	return get_number(c, section, word, time_units,
	    "a time with its unit (ms, s, m, h or d), such as 30 s", fallback, min, max, out, e);
}

int
conf_bool(
    struct conf *c, const char *section, const char *word, bool fallback, bool *out, struct err *e)
{
	static const struct {
		const char *word;
		bool value;
	} words[] = {
		{ "yes", true },
		{ "on", true },
		{ "true", true },
		{ "no", false },
		{ "off", false },
		{ "false", false },
	};
	const char *value = conf_get(c, section, word);

	if (!value) {
		*out = fallback;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcmp(value, words[i].word) == 0) {
			*out = words[i].value;
			return 0;
		}
	}
	return conf_refuse(c, section, word, e, "expected yes or no");
}

bool
endpoint_valid(const char *at)
{
	const char *colon = strrchr(at, ':');
	size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;

	return digits && digits < 6 && !colon[1 + digits] && atoi(colon + 1) <= 65535;
}

int
conf_endpoint(
    struct conf *c, const char *section, const char *word, const char **out, struct err *e)
{
	const char *value = conf_get(c, section, word);

	if (value && !endpoint_valid(value))
		return conf_refuse(
		    c, section, word, e, "expected HOST:PORT with a port up to 65535");
	*out = value;
	return 0;
}

const char *
conf_section(struct conf *c, const char *kind, size_t n)
{
	size_t len = strlen(kind);

	for (size_t i = 0; i < c->n_sections; i++) {
		struct section *s = &c->sections[i];

		if (strncmp(s->name, kind, len) != 0 || s->name[len] != ' ')
			continue;
		s->asked_for = true;
		if (n-- == 0)
			return s->name + len + 1;
	}
	return NULL;
}

int
conf_check_unused(const struct conf *c, struct err *e)
{
	const struct entry *entry = NULL;

	for (size_t i = 0; i < c->n_entries && !entry; i++)
		if (!c->entries[i].asked_for)
			entry = &c->entries[i];
	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i];

		if (!s->asked_for && (!entry || s->line < entry->line))
			return err_set(e, ERR_BAD, "%s:%u: unknown section [%s]", c->shown_name,
			    s->line, s->name);
	}
	if (entry)
		return err_set(e, ERR_BAD, "%s:%u: unknown word '%s'", c->shown_name, entry->line,
		    entry->word);
	return 0;
}
