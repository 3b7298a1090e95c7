/* fuzz_tags.c - x-amz-tagging as it comes from outside. What is taken is within its limits, and what
 * is written for it is read as the same tags again.
 */
#include "front/s3_tags.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
add_again(void *arg, const char *key, const char *value)
{
	struct err e = { 0 };

	if (tags_add(arg, key, value, &e) < 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	_cleanup_(tags_free) struct tags t = TAGS_INIT(TAGS_OF_OBJECT);
	_cleanup_(tags_free) struct tags same = TAGS_INIT(TAGS_OF_OBJECT);
	_cleanup_(freep) char *text = strndup((const char *)data, n);
	struct err e = { 0 };

	if (!text)
		return 0;
	if (tags_parse(&t, text, &e) < 0) {
		if (e.kind == ERR_NONE || !e.text[0])
			abort();
		return 0;
	}
	if (t.text.len > TAGS_TEXT_MAX || tags_count((const char *)t.text.data, t.text.len) != t.n)
		abort();
	if (t.n && tags_each((const char *)t.text.data, t.text.len, add_again, &same, &e) < 0)
		abort();
	if (same.text.len != t.text.len || (t.n && memcmp(same.text.data, t.text.data, t.text.len)))
		abort();
	return 0;
}
