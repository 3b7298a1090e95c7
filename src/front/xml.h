/* xml.h - reading S3's small XML bodies (expat) and writing answers.
 *
 * Ceilings: 2 MiB, depth 8, 100,000 elements; DTDs, entities and processing instructions are refused.
 */
#pragma once
#include <stdbool.h>

#include "base/buf.h"
#include "base/frame.h"

/* Called at each element's end with its slash-separated path without the root's namespace
 * ("Delete/Object/Key") and its text (only of leaves; else ""). 0 or -1. */
typedef int xml_fn(void *arg, const char *path, const char *text, struct err *e);
/* ERR_BAD: not well-formed or refused; ERR_TOO_BIG. */
must_check
int xml_read(struct span body, xml_fn *fn, void *arg, struct err *e);

/* What a body may have: the path of each element, and whether it may come more than once in the one around
 * it. Anything else, or a second one, is ERR_BAD: who misspells a lock must not think it is there. */
struct xml_element {
	const char *path;
	bool is_many;
};
#define XML_ELEMENTS_MAX 32
/* As xml_read, of at most XML_ELEMENTS_MAX ELEMENTS. */
must_check
int xml_read_only(struct span body, const struct xml_element *elements, size_t n, xml_fn *fn,
    void *arg, struct err *e);

/* <tag>, </tag>. TAG is a constant. */
void xml_open(struct buf *b, const char *tag);
void xml_close(struct buf *b, const char *tag);
/* <tag>escaped text</tag>; what XML 1.0 can't carry (2.2, "Characters") becomes U+FFFD, one for a character
 * or, where it is not UTF-8, for a byte. */
void xml_text(struct buf *b, const char *tag, const char *text);
/* Likewise, but such characters become references (&#x1;), as S3 writes them: two names stay two, and a
 * reader that is strict refuses the whole rather than learn a name that is another. */
void xml_name(struct buf *b, const char *tag, const char *name);
/* As xml_text, of what printf would write. */
void xml_printf(struct buf *b, const char *tag, const char *format, ...) printf_like(3, 4);
/* As encoding-type=url wants it: percent-encoded. */
void xml_text_url(struct buf *b, const char *tag, const char *text);
