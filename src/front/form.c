/* form.c - see form.h.
 *
 * The head is kept as it comes, up to the file; in it `at` is where reading goes on and `seen` how
 * far a search has come without finding. From the file on, `tail` holds what may be the beginning of
 * the delimiter that ends it.
 */
#include "front/form.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BOUNDARY_MAX  70          /* RFC 2046 */
#define NAME_MAX_     (2048 + 16) /* x-amz-meta- and what metadata may have */
#define FILENAME_MAX_ 1024

enum step { STEP_FIRST, STEP_BOUNDARY, STEP_HEADERS, STEP_VALUE, STEP_FILE, STEP_END, STEP_OVER };

struct form {
	enum step step;
	char delimiter[BOUNDARY_MAX + 5]; /* CR LF, two dashes, the boundary */
	size_t delimiter_len;
	struct buf head, tail;
	size_t at, seen;

	bool has_file;
	char filename[FILENAME_MAX_];
	char name[NAME_MAX_]; /* of the part that is being read */
	struct buf text;      /* names and values, each with its NUL */
	size_t n_fields;
	struct {
		size_t name, value; /* offsets in text */
	} places[FORM_FIELDS_MAX];
	struct request_field fields[FORM_FIELDS_MAX];
};

/* --- parameters of a header --- */

/* One value at P, quoted or a token, into OUT. Returns its end; NULL: malformed or too long. A
 * backslash is one, except before a quote: file names of some systems have them. */
static const char *
read_value(const char *p, const char *end, char *out, size_t size)
{
	bool is_quoted = p < end && *p == '"';
	size_t n = 0;

	for (p += is_quoted;
	     p < end && (is_quoted ? *p != '"' : *p != ';' && !isspace((uint8_t)*p)); p++) {
		if (is_quoted && *p == '\\' && end - p > 1 && p[1] == '"')
			p++;
		if (n + 1 >= size || !*p)
			return NULL;
		out[n++] = *p;
	}
	out[n] = '\0';
	if (!is_quoted)
		return p;
	return p < end ? p + 1 : NULL;
}

/* 1: the parameter NAME of "TYPE; a=b; ..." is in OUT; 0: there is none; -1: malformed. */
static int
parameter(const char *p, const char *end, const char *name, char *out, size_t size)
{
	char other[FILENAME_MAX_];

	while (p < end && *p != ';')
		p++;
	while (p < end && *p == ';') {
		const char *word;
		bool is_it;

		for (p++; p < end && (*p == ' ' || *p == '\t');)
			p++;
		for (word = p; p < end && *p != '=' && *p != ';';)
			p++;
		if (p == end || *p == ';')
			continue;
		is_it = (size_t)(p - word) == strlen(name) &&
		    !strncasecmp(word, name, strlen(name));
		p = read_value(p + 1, end, is_it ? out : other, is_it ? size : sizeof other);
		if (!p)
			return -1;
		if (is_it)
			return 1;
		while (p < end && (*p == ' ' || *p == '\t'))
			p++;
	}
	return p == end ? 0 : -1;
}

static bool
begins_with(const char *p, const char *end, const char *word)
{
	size_t n = strlen(word);

	return (size_t)(end - p) >= n && !strncasecmp(p, word, n);
}

/* --- open, close --- */

struct form *
form_open(const char *content_type, struct err *e)
{
	static const char type[] = "multipart/form-data";
	_cleanup_(form_closep) struct form *f = calloc(1, sizeof *f);
	const char *end = content_type + strlen(content_type);
	char boundary[BOUNDARY_MAX + 1];

	if (!f) {
		err_set(e, ERR_MEMORY, "no memory for a form");
		return NULL;
	}
	if (!begins_with(content_type, end, type) ||
	    parameter(content_type, end, "boundary", boundary, sizeof boundary) <= 0 ||
	    !*boundary) {
		err_set(e, ERR_BAD, "the Content-Type is not %s with a boundary", type);
		return NULL;
	}
	f->delimiter_len = (size_t)snprintf(
	    f->delimiter, sizeof f->delimiter, "\r\n--%s", boundary);
	return take(&f);
}

void
form_close(struct form *f)
{
	if (!f)
		return;
	buf_wipe(&f->head);
	buf_wipe(&f->tail);
	buf_wipe(&f->text);
	free(f);
}

/* --- the head --- */

static int
malformed(struct err *e, const char *what)
{
	return err_set(e, ERR_BAD, "the form is malformed: %s", what);
}

/* TEXT from where the last search ended; NULL: it has not come. */
static const char *
search(struct form *f, const char *text, size_t n)
{
	size_t from = f->seen > f->at + n ? f->seen - n : f->at;
	const char *found = memmem(f->head.data + from, f->head.len - from, text, n);

	f->seen = found ? 0 : f->head.len;
	return found;
}

/* What follows a boundary: 1: the line's end, and *AT is behind it; 2: the form's end; 0: more has to
 * come; -1. */
static int
end_of_line(const struct buf *b, size_t *at)
{
	size_t i = *at;

	if (b->len - i >= 2 && b->data[i] == '-' && b->data[i + 1] == '-')
		return 2;
	while (i < b->len && (b->data[i] == ' ' || b->data[i] == '\t'))
		i++;
	if (i - *at > BOUNDARY_MAX)
		return -1;
	if (b->len - i < 2)
		return i < b->len && b->data[i] != '\r' && b->data[i] != '-' ? -1 : 0;
	if (b->data[i] != '\r' || b->data[i + 1] != '\n')
		return -1;
	*at = i + 2;
	return 1;
}

static int
read_first(struct form *f, struct err *e)
{
	size_t n = f->delimiter_len - 2;

	if (f->head.len < n)
		return 0;
	if (memcmp(f->head.data, f->delimiter + 2, n) != 0)
		return malformed(e, "it does not begin with its boundary");
	f->at = n;
	f->step = STEP_BOUNDARY;
	return 1;
}

static int
read_boundary(struct form *f, struct err *e)
{
	int rc = end_of_line(&f->head, &f->at);

	if (rc < 0)
		return malformed(e, "a boundary is followed by something else");
	if (rc == 1)
		f->step = STEP_HEADERS;
	if (rc == 2)
		f->step = STEP_OVER;
	return rc != 0;
}

/* The part's name, and perhaps its file's. */
static int
read_disposition(struct form *f, const char *line, const char *end, struct err *e)
{
	if (*f->name)
		return malformed(e, "a part has two names");
	if (!begins_with(line, end, "form-data") ||
	    parameter(line, end, "name", f->name, sizeof f->name) != 1 || !*f->name)
		return malformed(e, "a part has no name");
	if (strcasecmp(f->name, "file") != 0)
		return 0;
	f->has_file = true;
	return parameter(line, end, "filename", f->filename, sizeof f->filename) < 0
	    ? malformed(e, "a file's name is too long")
	    : 0;
}

static int
read_headers(struct form *f, struct err *e)
{
	static const char disposition[] = "Content-Disposition:";
	const char *line = (const char *)f->head.data + f->at;
	const char *end = search(f, "\r\n\r\n", 4);

	if (f->head.len - f->at >= 2 && !memcmp(line, "\r\n", 2))
		return malformed(e, "a part has no name");
	if (!end)
		return 0;
	f->name[0] = '\0';
	while (line < end) {
		const char *next = memmem(line, (size_t)(end + 2 - line), "\r\n", 2), *value;

		if (begins_with(line, next, disposition)) {
			value = line + sizeof disposition - 1;
			value += strspn(value, " \t");
			if (read_disposition(f, value, next, e) < 0)
				return -1;
		}
		line = next + 2;
	}
	if (!*f->name)
		return malformed(e, "a part has no name");
	f->at = (size_t)(end + 4 - (const char *)f->head.data);
	f->step = f->has_file ? STEP_FILE : STEP_VALUE;
	return 1;
}

static int
add_field(struct form *f, const char *value, size_t n, struct err *e)
{
	if (memchr(value, '\0', n))
		return malformed(e, "a field has a NUL in it");
	if (f->n_fields == FORM_FIELDS_MAX)
		return err_set(e, ERR_TOO_BIG, "a form has at most %d fields", FORM_FIELDS_MAX);
	f->places[f->n_fields].name = f->text.len;
	buf_add(&f->text, f->name, strlen(f->name) + 1);
	f->places[f->n_fields].value = f->text.len;
	buf_add(&f->text, value, n);
	buf_add_char(&f->text, '\0');
	f->n_fields++;
	if (buf_check(&f->text, e) < 0)
		return -1;
	for (size_t i = 0; i < f->n_fields; i++) {
		const char *text = (const char *)f->text.data;

		f->fields[i] = (struct request_field){ text + f->places[i].name,
			text + f->places[i].value };
		if (i + 1 < f->n_fields && !strcasecmp(f->fields[i].name, f->name))
			return malformed(e, "a field is there twice");
	}
	return 0;
}

static int
read_field(struct form *f, struct err *e)
{
	const char *value, *end = search(f, f->delimiter, f->delimiter_len);

	if (!end)
		return 0;
	value = (const char *)f->head.data + f->at;
	if (add_field(f, value, (size_t)(end - value), e) < 0)
		return -1;
	f->at += (size_t)(end - value) + f->delimiter_len;
	f->step = STEP_BOUNDARY;
	return 1;
}

/* 1: there may be more to read; 0: not before more comes; -1. */
static int
read_step(struct form *f, struct err *e)
{
	switch (f->step) {
	case STEP_FIRST:
		return read_first(f, e);
	case STEP_BOUNDARY:
		return read_boundary(f, e);
	case STEP_HEADERS:
		return read_headers(f, e);
	case STEP_VALUE:
		return read_field(f, e);
	case STEP_FILE:
	case STEP_END:
	case STEP_OVER:
		break;
	}
	return 0;
}

/* Take at most what a head may have; *N becomes what is left of the bytes. */
static int
feed_head(struct form *f, const char **p, size_t *n, struct err *e)
{
	size_t room = FORM_HEAD_MAX - f->head.len, now = *n < room ? *n : room;
	int rc;

	if (!now)
		return err_set(e, ERR_TOO_BIG, "there are more than %zu KiB before the file",
		    FORM_HEAD_MAX >> 10);
	buf_add(&f->head, *p, now);
	*p += now;
	*n -= now;
	if (buf_check(&f->head, e) < 0)
		return -1;
	while ((rc = read_step(f, e)) > 0)
		;
	if (rc < 0 || f->step < STEP_FILE)
		return rc;
	buf_add(&f->tail, f->head.data + f->at, f->head.len - f->at);
	f->head.len = f->at;
	return buf_check(&f->tail, e);
}

/* --- the file --- */

/* Put out what can't be the beginning of the delimiter. */
static int
read_file(struct form *f, struct buf *out, struct err *e)
{
	struct buf *t = &f->tail;
	const uint8_t *end = t->len ? memmem(t->data, t->len, f->delimiter, f->delimiter_len)
	                            : NULL;
	size_t keep = f->delimiter_len - 1, n = t->len > keep ? t->len - keep : 0;

	if (end) {
		n = (size_t)(end - t->data);
		f->step = STEP_END;
	}
	if (n) {
		buf_add(out, t->data, n);
		buf_drop_front(t, n);
	}
	return buf_check(out, e);
}

static int
read_end(struct form *f, struct err *e)
{
	size_t at = f->delimiter_len;
	int rc = end_of_line(&f->tail, &at);

	if (rc < 0)
		return malformed(e, "the boundary behind the file is followed by something else");
	if (rc)
		f->step = STEP_OVER;
	return 0;
}

int
form_feed(struct form *f, const void *p, size_t n, struct buf *out, struct err *e)
{
	const char *at = p;
	bool is_file = f->step == STEP_FILE;

	while (f->step < STEP_FILE && n) {
		if (feed_head(f, &at, &n, e) < 0)
			return -1;
	}
	if (n)
		buf_add(&f->tail, at, n);
	if (buf_check(&f->tail, e) < 0 || (is_file && read_file(f, out, e) < 0))
		return -1;
	return f->step == STEP_END ? read_end(f, e) : 0;
}

/* --- what is known --- */

enum form_at
form_at(const struct form *f)
{
	return f->step < STEP_FILE ? FORM_FIELDS : f->step < STEP_OVER ? FORM_FILE : FORM_OVER;
}

const struct request_field *
form_fields(const struct form *f, size_t *n)
{
	*n = f->n_fields;
	return f->fields;
}

const char *
form_value(const struct form *f, const char *name)
{
	for (size_t i = 0; i < f->n_fields; i++) {
		if (!strcasecmp(f->fields[i].name, name))
			return f->fields[i].value;
	}
	return NULL;
}

bool
form_has_file(const struct form *f)
{
	return f->has_file;
}

const char *
form_filename(const struct form *f)
{
	return f->filename;
}

struct span
form_before(const struct form *f)
{
	return (struct span){ f->head.data, f->head.len };
}

struct span
form_behind(const struct form *f)
{
	return (struct span){ f->tail.data, f->tail.len };
}
