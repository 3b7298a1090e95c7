/* Tags: the text that clients send, its limits, and the one form that is kept. */
#include "check.h"
#include "base/cleanup.h"
#include "front/s3_tags.h"

#include <string.h>

static enum err_kind
parse(struct tags *t, const char *text)
{
	struct err e = { 0 };
	int rc = tags_parse(t, text, &e);

	CHECK((rc == 0) == (e.kind == ERR_NONE));
	return e.kind;
}

static enum err_kind
parse_alone(const char *text)
{
	_cleanup_(tags_free) struct tags t = TAGS_INIT(TAGS_OF_OBJECT);

	return parse(&t, text);
}

static void
note(void *arg, const char *key, const char *value)
{
	buf_printf(arg, "[%s|%s]", key, value);
}

static void
what_a_form_encodes_comes_back(void **state)
{
	_cleanup_(tags_free) struct tags t = TAGS_INIT(TAGS_OF_OBJECT);
	_cleanup_buf_ struct buf seen = BUF_INIT(0);
	struct err e = { 0 };

	CHECK(parse(&t, "a=1&b+c=d%20e&f&g=&%C3%A9=x%3Dy%2Bz=") == ERR_NONE);
	CHECK(t.n == 5);
	CHECK_STR(buf_str(&t.text), "a=1&b+c=d+e&f=&g=&\xc3\xa9=x%3Dy%2Bz%3D");
	CHECK(tags_count(buf_str(&t.text), t.text.len) == 5);
	CHECK_OK(tags_each(buf_str(&t.text), t.text.len, note, &seen, &e), &e);
	CHECK_STR(buf_str(&seen), "[a|1][b c|d e][f|][g|][\xc3\xa9|x=y+z=]");
	CHECK(tags_count("", 0) == 0);
}

static void
a_key_is_there_once(void **state)
{
	CHECK(parse_alone("a=1&a=2") == ERR_EXISTS);
	CHECK(parse_alone("a%20b=1&c=2&a+b=1") == ERR_EXISTS);
	CHECK(parse_alone("a=1&aa=1&A=1") == ERR_NONE);
	CHECK(parse_alone("x=a&a=x") == ERR_NONE);
}

static void
what_is_no_tag_is_refused(void **state)
{
	CHECK(parse_alone("%zz=1") == ERR_BAD);
	CHECK(parse_alone("a=%ff") == ERR_BAD);
	CHECK(parse_alone("a=%00") == ERR_BAD);
	CHECK(parse_alone("a=b%0A") == ERR_BAD);
	CHECK(parse_alone("a=%C2%85") == ERR_BAD);
	CHECK(parse_alone("a=<b>") == ERR_BAD);
	CHECK(parse_alone("a=b%26c") == ERR_BAD);
	CHECK(parse_alone("=1") == ERR_TOO_BIG);
	CHECK(parse_alone("a=1&&b=2") == ERR_TOO_BIG);
	CHECK(parse_alone("AWS:x=1") == ERR_DENIED);
	CHECK(parse_alone("awsx=1") == ERR_NONE);
}

static enum err_kind
add_long(size_t key_bytes, size_t value_bytes, const char *unit)
{
	_cleanup_(tags_free) struct tags t = TAGS_INIT(TAGS_OF_OBJECT);
	char key[1024] = "", value[2048] = "";
	struct err e = { 0 };
	size_t n = strlen(unit);

	for (size_t i = 0; i + n <= key_bytes; i += n)
		strcat(key, unit);
	for (size_t i = 0; i + n <= value_bytes; i += n)
		strcat(value, unit);
	return tags_add(&t, key, value, &e) < 0 ? e.kind : ERR_NONE;
}

static void
characters_are_counted_as_s3_does(void **state)
{
	static const char euro[] = "\xe2\x82\xac", face[] = "\xf0\x9f\x98\x80";

	CHECK(add_long(128, 256, "x") == ERR_NONE);
	CHECK(add_long(129, 256, "x") == ERR_TOO_BIG);
	CHECK(add_long(128, 257, "x") == ERR_TOO_BIG);
	CHECK(add_long(128 * 3, 256 * 3, euro) == ERR_NONE);
	CHECK(add_long(129 * 3, 0, euro) == ERR_TOO_BIG);
	CHECK(add_long(64 * 4, 128 * 4, face) == ERR_NONE); /* two units each */
	CHECK(add_long(65 * 4, 0, face) == ERR_TOO_BIG);
}

/* The largest set there can be has a place among the stored headers. */
static void
the_longest_text_is_within_its_ceiling(void **state)
{
	_cleanup_(tags_free) struct tags t = TAGS_INIT(TAGS_OF_OBJECT);
	char key[TAG_KEY_CHARS + 1], value[TAG_VALUE_CHARS + 1];
	struct err e = { 0 };

	memset(key, '=', sizeof(key));
	memset(value, '=', sizeof(value));
	key[TAG_KEY_CHARS] = value[TAG_VALUE_CHARS] = '\0';
	for (unsigned i = 0; i < TAGS_OF_OBJECT; i++) {
		key[0] = "+=0123456789"[i];
		CHECK_OK(tags_add(&t, key, value, &e), &e);
	}
	CHECK(t.text.len <= TAGS_TEXT_MAX && t.text.len > TAGS_TEXT_MAX - 64);
	CHECK(tags_add(&t, "one", "more", &e) < 0 && e.kind == ERR_TOO_BIG);
	CHECK(parse_alone(buf_str(&t.text)) == ERR_NONE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_form_encodes_comes_back),
		cmocka_unit_test(a_key_is_there_once),
		cmocka_unit_test(what_is_no_tag_is_refused),
		cmocka_unit_test(characters_are_counted_as_s3_does),
		cmocka_unit_test(the_longest_text_is_within_its_ceiling),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
