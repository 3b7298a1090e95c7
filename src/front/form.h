/* form.h - an upload from a browser's form: multipart/form-data, its fields up to one file and that
 * file's bytes as they come.
 *
 * Sources: RFC 7578, RFC 2046 section 5.1 (boundaries), and "Creating an HTML Form" in the Amazon S3
 * API Reference (fields behind the file don't count). What could be read in two ways is refused: a
 * field twice, a NUL, a part without a name. Pure.
 */
#pragma once
#include "base/buf.h"
#include "base/cleanup.h"
#include "front/request.h"

#define FORM_HEAD_MAX   ((size_t)32 << 10) /* all that comes before the file's first byte */
#define FORM_FIELDS_MAX 100

enum form_at {
	FORM_FIELDS, /* fields are still coming */
	FORM_FILE,   /* the fields are known, the file is coming */
	FORM_OVER,   /* the file has ended, or the form has, without one */
};

struct form;
/* From a Content-Type. ERR_BAD: it is no multipart/form-data with a boundary. */
must_check
struct form *form_open(const char *content_type, struct err *e);
void form_close(struct form *f); /* NULL is fine */
CLEANUP(struct form, form_close)

/* Feed N bytes; those that are known to be the file's are appended to OUT, and none of them before
 * the first call that begins at FORM_FILE. ERR_TOO_BIG: past FORM_HEAD_MAX or FORM_FIELDS_MAX;
 * ERR_BAD; ERR_MEMORY. */
must_check
int form_feed(struct form *f, const void *p, size_t n, struct buf *out, struct err *e);
enum form_at form_at(const struct form *f);

/* The fields in their order, without the file; F's, until it is fed or closed. */
const struct request_field *form_fields(const struct form *f, size_t *n);
/* NAME in any case; NULL: there is none. */
const char *form_value(const struct form *f, const char *name);
/* Whether there was a file, and its name as the browser has it ("" if it has none). */
bool form_has_file(const struct form *f);
const char *form_filename(const struct form *f);

/* The body so far is these bytes, then what was put out, then the others: for sending it again. */
struct span form_before(const struct form *f);
struct span form_behind(const struct form *f);
