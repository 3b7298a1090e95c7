/* fuzz_xml.c - bodies of XML as they come from outside. What was read is written and read again:
 * the same text has to come back.
 */
#include "front/xml.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct leaf {
	const char *text;
	unsigned n;
};

static int
same(void *arg, const char *path, const char *text, struct err *e)
{
	struct leaf *l = arg;

	(void)e;
	if (strcmp(path, "t") != 0 || strcmp(text, l->text) != 0)
		abort();
	l->n++;
	return 0;
}

static int
again(void *arg, const char *path, const char *text, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT((size_t)16 << 20);
	struct leaf l = { text, 0 };
	unsigned *n = arg, depth = 1;

	for (const char *p = path; *p; p++)
		depth += *p == '/';
	if (depth > 8 || ++*n > 100000)
		abort();
	xml_text(&b, "t", text);
	if (buf_check(&b, e) < 0)
		abort();
	/* Escapes make it longer, so it may be too much now. */
	if (b.len < (size_t)2 << 20 &&
	    (xml_read((struct span){ b.data, b.len }, same, &l, e) < 0 || l.n != 1))
		abort();
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	unsigned count = 0;
	struct err e = { 0 };

	if (xml_read((struct span){ data, n }, again, &count, &e) < 0 &&
	    (e.kind == ERR_NONE || !e.text[0]))
		abort();
	return 0;
}
