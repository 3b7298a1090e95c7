/* s3_tags.h - the tags of an object or a bucket, as one line of text.
 *
 * Text is "key=value&key=value", percent-encoded, '+' for a space: what x-amz-tagging carries. As we
 * write it every tag has one form only, so that a set can be searched without reading it.
 * Source: "Categorizing your objects using tags", Amazon S3 User Guide (limits, characters).
 */
#pragma once
#include "base/buf.h"

#define TAGS_OF_OBJECT  10u
#define TAGS_OF_BUCKET  50u
#define TAG_KEY_CHARS   128u /* UTF-16 units, as S3 counts */
#define TAG_VALUE_CHARS 256u
/* The text of an object's tags: three bytes for a UTF-16 unit at most, and "=&" for each tag. */
#define TAGS_TEXT_MAX   ((size_t)TAGS_OF_OBJECT * (3 * (TAG_KEY_CHARS + TAG_VALUE_CHARS) + 2))

struct tags {
	unsigned max, n;
	struct buf text; /* as we write it */
};
#define TAGS_INIT(max_tags) ((struct tags){ .max = (max_tags), .text = BUF_INIT(0) })
/* Leaves an empty one with the same ceiling. */
void tags_free(struct tags *t);

/* KEY and VALUE are UTF-8. ERR_BAD: characters that no tag has; ERR_TOO_BIG: too many tags, a key that
 * is empty or too long, a value too long; ERR_EXISTS: the key is there; ERR_DENIED: it begins with
 * "aws:"; ERR_MEMORY. */
must_check
int tags_add(struct tags *t, const char *key, const char *value, struct err *e);
/* Add those of TEXT, from a client. As tags_add; ERR_BAD too if TEXT is not in the form above. */
must_check
int tags_parse(struct tags *t, const char *text, struct err *e);
/* How many there are in text that we wrote. */
unsigned tags_count(const char *text, size_t n);
typedef void tag_fn(void *arg, const char *key, const char *value);
/* Of text that we wrote. */
must_check
int tags_each(const char *text, size_t n, tag_fn *fn, void *arg, struct err *e);
