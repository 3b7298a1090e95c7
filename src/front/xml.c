/* xml.c - see xml.h. */
#include "front/xml.h"

#include <assert.h>
#include <expat.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define BODY_MAX     ((size_t)2 << 20)
#define DEPTH_MAX    8
#define ELEMENTS_MAX 100000
#define PATH_SIZE    512
#define LOST_CHAR    "\xef\xbf\xbd" /* U+FFFD */

struct reading {
	XML_Parser parser;
	xml_fn *fn;
	void *arg;
	struct err *e;
	bool is_refused; /* *e is set */

	char path[PATH_SIZE];
	size_t path_len[DEPTH_MAX + 1]; /* at each depth */
	unsigned depth;
	unsigned elements;
	bool is_leaf; /* nothing has begun since the innermost element did */
	struct buf text;
};

/* --- reading --- */

static void
refuse(struct reading *x, enum err_kind kind, const char *text)
{
	if (x->is_refused)
		return;
	err_set(x->e, kind, "%s", text);
	x->is_refused = true;
	XML_StopParser(x->parser, XML_FALSE);
}

static void XMLCALL
on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct reading *x = arg;
	const char *colon = strrchr(name, ':');
	size_t at = x->path_len[x->depth], n;

	(void)attributes;
	if (x->is_refused)
		return;
	if (x->depth == DEPTH_MAX) {
		refuse(x, ERR_TOO_BIG, "the XML is nested too deeply");
		return;
	}
	if (++x->elements > ELEMENTS_MAX) {
		refuse(x, ERR_TOO_BIG, "the XML has too many elements");
		return;
	}
	name = colon ? colon + 1 : name;
	n = strlen(name);
	if (n + 2 > PATH_SIZE - at) {
		refuse(x, ERR_BAD, "the XML has too long names");
		return;
	}
	if (x->depth)
		x->path[at++] = '/';
	memcpy(x->path + at, name, n + 1);
	x->path_len[++x->depth] = at + n;
	x->is_leaf = true;
	buf_clear(&x->text);
}

static void XMLCALL
on_end(void *arg, const XML_Char *name)
{
	struct reading *x = arg;

	(void)name;
	if (x->is_refused)
		return;
	if (buf_check(&x->text, x->e) < 0 ||
	    x->fn(x->arg, x->path, x->is_leaf ? buf_str(&x->text) : "", x->e) < 0) {
		x->is_refused = true;
		XML_StopParser(x->parser, XML_FALSE);
		return;
	}
	x->path[x->path_len[--x->depth]] = '\0';
	x->is_leaf = false;
	buf_clear(&x->text);
}

static void XMLCALL
on_text(void *arg, const XML_Char *s, int n)
{
	struct reading *x = arg;

	if (x->is_leaf && !x->is_refused)
		buf_add(&x->text, s, (size_t)n);
}

static void XMLCALL
on_doctype(
    void *arg, const XML_Char *name, const XML_Char *system, const XML_Char *public, int internal)
{
	(void)name, (void)system, (void)public, (void)internal;
	refuse(arg, ERR_BAD, "the XML has a document type, which is not allowed");
}

static void XMLCALL
on_instruction(void *arg, const XML_Char *target, const XML_Char *data)
{
	(void)target, (void)data;
	refuse(arg, ERR_BAD, "the XML has a processing instruction, which is not allowed");
}

int
xml_read(struct span body, xml_fn *fn, void *arg, struct err *e)
{
	struct reading x = { .fn = fn, .arg = arg, .e = e, .text = BUF_INIT(BODY_MAX) };
	int rc = 0;

	if (body.len > BODY_MAX)
		return err_set(e, ERR_TOO_BIG, "the XML is larger than 2 MiB");
	x.parser = XML_ParserCreate(NULL);
	if (!x.parser)
		return err_set(e, ERR_MEMORY, "no memory for an XML parser");
	XML_SetUserData(x.parser, &x);
	XML_SetElementHandler(x.parser, on_start, on_end);
	XML_SetCharacterDataHandler(x.parser, on_text);
	XML_SetStartDoctypeDeclHandler(x.parser, on_doctype);
	XML_SetProcessingInstructionHandler(x.parser, on_instruction);
	if (XML_Parse(x.parser, body.len ? (const char *)body.data : "", (int)body.len, XML_TRUE) !=
	        XML_STATUS_OK ||
	    x.is_refused)
		rc = x.is_refused ? -1
		                  : err_set(e, ERR_BAD, "the XML is not well-formed: line %lu: %s",
		                        (unsigned long)XML_GetCurrentLineNumber(x.parser),
		                        XML_ErrorString(XML_GetErrorCode(x.parser)));
	XML_ParserFree(x.parser);
	buf_free(&x.text);
	return rc;
}

struct reading_only {
	const struct xml_element *elements;
	size_t n;
	uint32_t seen; /* a bit each */
	xml_fn *fn;
	void *arg;
};

static bool
is_below(const char *path, const char *parent)
{
	size_t n = strlen(parent);

	return !strncmp(path, parent, n) && path[n] == '/';
}

static int
on_known(void *arg, const char *path, const char *text, struct err *e)
{
	struct reading_only *r = arg;
	size_t at = 0;

	while (at < r->n && strcmp(r->elements[at].path, path) != 0)
		at++;
	if (at == r->n)
		return err_set(e, ERR_BAD, "%s does not belong there", path);
	if (r->seen & BIT(at) && !r->elements[at].is_many)
		return err_set(e, ERR_BAD, "%s comes twice", path);
	r->seen |= BIT(at);
	for (size_t i = 0; i < r->n; i++)
		if (is_below(r->elements[i].path, path))
			r->seen &= ~BIT(i);
	return r->fn(r->arg, path, text, e);
}

int
xml_read_only(struct span body, const struct xml_element *elements, size_t n, xml_fn *fn, void *arg,
    struct err *e)
{
	struct reading_only r = { elements, n, 0, fn, arg };

	assert(n <= XML_ELEMENTS_MAX);
	return xml_read(body, on_known, &r, e);
}

/* --- writing --- */

void
xml_open(struct buf *b, const char *tag)
{
	buf_add_char(b, '<');
	buf_add_str(b, tag);
	buf_add_char(b, '>');
}

void
xml_close(struct buf *b, const char *tag)
{
	buf_add(b, "</", 2);
	buf_add_str(b, tag);
	buf_add_char(b, '>');
}

/* How many bytes the character at S has, and its code; 0: it is not UTF-8. */
static size_t
char_bytes(const unsigned char *s, unsigned *code)
{
	unsigned c = s[0], n, least;

	*code = c;
	if (c < 0x80)
		return 1;
	if (c >= 0xc2 && c <= 0xdf)
		n = 1, least = 0x80, *code = c & 0x1f;
	else if (c >= 0xe0 && c <= 0xef)
		n = 2, least = 0x800, *code = c & 0x0f;
	else if (c >= 0xf0 && c <= 0xf4)
		n = 3, least = 0x10000, *code = c & 0x07;
	else
		return 0;
	for (unsigned i = 1; i <= n; i++) {
		if ((s[i] & 0xc0) != 0x80) /* a NUL too, so nothing past it is read */
			return 0;
		*code = *code << 6 | (s[i] & 0x3f);
	}
	if (*code < least || *code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff))
		return 0;
	return n + 1;
}

/* XML 1.0, 2.2. */
static bool
is_xml_char(unsigned code)
{
	return code >= 0x20 ? code != 0xfffe && code != 0xffff : code == '\t' || code == '\n';
}

/* What stands for C, or NULL. */
static const char *
escape_of(char c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\'':
		return "&apos;";
	case '\r':
		return "&#13;"; /* a bare one would be read as a newline */
	default:
		return NULL;
	}
}

static void
add_escaped(struct buf *b, const char *text, bool is_exact)
{
	const char *plain = text, *instead;
	unsigned code;
	size_t n;

	for (; *text; text += n) {
		instead = escape_of(*text);
		n = char_bytes((const unsigned char *)text, &code);
		if (!instead && n && is_xml_char(code))
			continue;
		buf_add(b, plain, (size_t)(text - plain));
		if (instead)
			buf_add_str(b, instead);
		else if (n && is_exact)
			buf_printf(b, "&#x%x;", code);
		else
			buf_add_str(b, LOST_CHAR);
		n += !n;
		plain = text + n;
	}
	buf_add(b, plain, (size_t)(text - plain));
}

void
xml_text(struct buf *b, const char *tag, const char *text)
{
	xml_open(b, tag);
	add_escaped(b, text, false);
	xml_close(b, tag);
}

void
xml_name(struct buf *b, const char *tag, const char *name)
{
	xml_open(b, tag);
	add_escaped(b, name, true);
	xml_close(b, tag);
}

void
xml_printf(struct buf *b, const char *tag, const char *format, ...)
{
	_cleanup_(freep) char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	if (text)
		xml_text(b, tag, text);
	else
		b->failed = ERR_MEMORY;
}

void
xml_text_url(struct buf *b, const char *tag, const char *text)
{
	static const char digits[] = "0123456789ABCDEF";

	xml_open(b, tag);
	for (; *text; text++) {
		unsigned c = (unsigned char)*text;

		if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		    strchr("-._~/", (int)c)) {
			buf_add_char(b, (char)c);
		} else {
			const char code[3] = { '%', digits[c >> 4], digits[c & 15] };

			buf_add(b, code, sizeof code);
		}
	}
	xml_close(b, tag);
}
