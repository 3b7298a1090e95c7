/* What an S3 request says: paths, ranges, conditions, dates, tokens. */
#include "check.h"
#include "front/s3_private.h"

/* --- paths --- */

struct path_case {
	const char *path, *code;
	enum s3_level level;
	const char *bucket, *key;
};

static void
a_path_names_bucket_and_key(void **state)
{
	static const struct path_case cases[] = {
		{ "/", NULL, LEVEL_ROOT, "", "" },
		{ "/b", NULL, LEVEL_BUCKET, "b", "" },
		{ "/b/", NULL, LEVEL_BUCKET, "b", "" },
		{ "/b/k", NULL, LEVEL_KEY, "b", "k" },
		{ "/b//k", NULL, LEVEL_KEY, "b", "/k" },
		{ "/b/../k", NULL, LEVEL_KEY, "b", "../k" },
		{ "/b/%2e%2E/k/./", NULL, LEVEL_KEY, "b", "../k/./" },
		{ "/b/a+b%2Bc%20d", NULL, LEVEL_KEY, "b", "a+b+c d" },
		{ "/b/%C3%A9", NULL, LEVEL_KEY, "b", "\xc3\xa9" },
		{ "/b/%F0%9F%8F%A0", NULL, LEVEL_KEY, "b", "\xf0\x9f\x8f\xa0" },
		{ "/b/%01%0a", NULL, LEVEL_KEY, "b", "\x01\n" },
		{ "/b/%25", NULL, LEVEL_KEY, "b", "%" },
		{ "", "InvalidURI", LEVEL_ROOT, NULL, NULL },
		{ "*", "InvalidURI", LEVEL_ROOT, NULL, NULL },
		{ "//k", "InvalidBucketName", LEVEL_ROOT, NULL, NULL },
		{ "/b%2Fc/k", "InvalidBucketName", LEVEL_ROOT, NULL, NULL },
		{ "/b/%", "InvalidURI", LEVEL_KEY, NULL, NULL },
		{ "/b/%4", "InvalidURI", LEVEL_KEY, NULL, NULL },
		{ "/b/%4g", "InvalidURI", LEVEL_KEY, NULL, NULL },
		{ "/b/%00", "InvalidURI", LEVEL_KEY, NULL, NULL },
		{ "/b/a%00b", "InvalidURI", LEVEL_KEY, NULL, NULL },
		{ "/b/%ff", "InvalidURI", LEVEL_KEY, NULL, NULL },
		{ "/b/%c0%af", "InvalidURI", LEVEL_KEY, NULL, NULL },       /* overlong '/' */
		{ "/b/%e0%80%af", "InvalidURI", LEVEL_KEY, NULL, NULL },    /* overlong '/' */
		{ "/b/%ed%a0%80", "InvalidURI", LEVEL_KEY, NULL, NULL },    /* a surrogate */
		{ "/b/%f4%90%80%80", "InvalidURI", LEVEL_KEY, NULL, NULL }, /* past U+10FFFF */
		{ "/b/%c3", "InvalidURI", LEVEL_KEY, NULL, NULL },          /* cut off */
		{ "/b/%c3a", "InvalidURI", LEVEL_KEY, NULL, NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char bucket[FILES_BUCKET_MAX + 1], key[FILES_KEY_MAX + 1];
		enum s3_level level = LEVEL_ROOT;
		const char *code = s3_path(cases[i].path, &level, bucket, key);

		CHECK_STR(code ? code : "fine", cases[i].code ? cases[i].code : "fine");
		if (code)
			continue;
		CHECK(level == cases[i].level);
		CHECK_STR(bucket, cases[i].bucket);
		CHECK_STR(key, cases[i].key);
	}
}

/* 1,024 bytes of key, however they are written, and not one more. */
static void
a_key_has_at_most_1024_bytes(void **state)
{
	char path[3 * 1100 + 16], bucket[FILES_BUCKET_MAX + 1], key[FILES_KEY_MAX + 1];
	enum s3_level level;

	for (unsigned n = 1023; n <= 1025; n++) {
		strcpy(path, "/b/");
		for (unsigned i = 0; i < n; i++)
			strcat(path, "%61");
		if (n > FILES_KEY_MAX) {
			CHECK_STR(s3_path(path, &level, bucket, key), "KeyTooLongError");
			continue;
		}
		CHECK(!s3_path(path, &level, bucket, key));
		CHECK(strlen(key) == n);
	}
	memset(path, 'b', 100);
	path[0] = '/';
	path[100] = '\0';
	CHECK_STR(s3_path(path, &level, bucket, key), "InvalidBucketName");
}

/* --- ranges --- */

static void
a_range_is_a_part_or_is_ignored_or_is_outside(void **state)
{
	static const struct {
		const char *value;
		uint64_t size;
		enum s3_range is;
		uint64_t offset, n;
	} cases[] = {
		{ NULL, 10, RANGE_ALL, 0, 10 },
		{ "bytes=0-0", 10, RANGE_PART, 0, 1 },
		{ "bytes=0-9", 10, RANGE_PART, 0, 10 },
		{ "bytes=0-10", 10, RANGE_PART, 0, 10 },
		{ "bytes=9-", 10, RANGE_PART, 9, 1 },
		{ "bytes=10-", 10, RANGE_OUTSIDE, 0, 0 },
		{ "bytes=-3", 10, RANGE_PART, 7, 3 },
		{ "bytes=-30", 10, RANGE_PART, 0, 10 },
		{ "bytes=-0", 10, RANGE_OUTSIDE, 0, 0 },
		{ "bytes=0-", 0, RANGE_OUTSIDE, 0, 0 },
		{ "bytes=-1", 0, RANGE_OUTSIDE, 0, 0 },
		{ "Bytes=2-3", 10, RANGE_PART, 2, 2 },
		{ "bytes=3-18446744073709551615", 10, RANGE_PART, 3, 7 },
		{ "bytes=18446744073709551615-", 10, RANGE_OUTSIDE, 0, 0 },
		/* ignored */
		{ "bytes=3-2", 10, RANGE_ALL, 0, 10 },
		{ "bytes=0-1,4-5", 10, RANGE_ALL, 0, 10 },
		{ "bytes=18446744073709551616-", 10, RANGE_ALL, 0, 10 },
		{ "bytes=", 10, RANGE_ALL, 0, 10 },
		{ "bytes=-", 10, RANGE_ALL, 0, 10 },
		{ "bytes=a-b", 10, RANGE_ALL, 0, 10 },
		{ "bytes=1", 10, RANGE_ALL, 0, 10 },
		{ "bytes= 1-2", 10, RANGE_ALL, 0, 10 },
		{ "bytes=+1-2", 10, RANGE_ALL, 0, 10 },
		{ "bytes=--2", 10, RANGE_ALL, 0, 10 },
		{ "lines=1-2", 10, RANGE_ALL, 0, 10 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t offset, n;
		enum s3_range is = s3_range(cases[i].value, cases[i].size, &offset, &n);

		CHECK(is == cases[i].is);
		if (is == RANGE_OUTSIDE)
			continue;
		CHECK(offset == cases[i].offset);
		CHECK(n == cases[i].n);
	}
}

static void
numbers_are_digits_within_bounds(void **state)
{
	struct err e;
	unsigned v = 7;

	CHECK_OK(s3_number(NULL, "n", 0, 1000, &v, &e), &e);
	CHECK(v == 7);
	CHECK_OK(s3_number("0", "n", 0, 1000, &v, &e), &e);
	CHECK(v == 0);
	CHECK_OK(s3_number("99999", "n", 0, 1000, &v, &e), &e);
	CHECK(v == 1000);
	CHECK(s3_number("0", "n", 1, 1000, &v, &e) < 0);
	CHECK(s3_number("-1", "n", 0, 1000, &v, &e) < 0);
	CHECK(s3_number("1x", "n", 0, 1000, &v, &e) < 0);
	CHECK(s3_number("", "n", 0, 1000, &v, &e) < 0);
	CHECK(s3_number("99999999999999999999", "n", 0, 1000, &v, &e) < 0);
}

/* --- conditions --- */

#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define AT     "Sun, 06 Nov 1994 08:49:37 GMT"
#define AFTER  "Sun, 06 Nov 1994 08:49:38 GMT"

/* The precedence of S3 and RFC 9110, 13.2.2: entity tags go before dates. */
static void
entity_tags_go_before_dates(void **state)
{
	static const struct {
		struct s3_conditions c;
		unsigned status;
	} cases[] = {
		{ { NULL, NULL, NULL, NULL }, 0 },
		{ { "\"abc\"", NULL, NULL, NULL }, 0 },
		{ { "abc", NULL, NULL, NULL }, 0 },
		{ { "*", NULL, NULL, NULL }, 0 },
		{ { "\"x\", \"abc\"", NULL, NULL, NULL }, 0 },
		{ { "\"ab\"", NULL, NULL, NULL }, 412 },
		{ { "", NULL, NULL, NULL }, 412 },
		{ { NULL, "\"abc\"", NULL, NULL }, 304 },
		{ { NULL, "W/\"abc\"", NULL, NULL }, 304 },
		{ { NULL, "*", NULL, NULL }, 304 },
		{ { NULL, "\"x\"", NULL, NULL }, 0 },
		{ { NULL, NULL, BEFORE, NULL }, 0 },
		{ { NULL, NULL, AT, NULL }, 304 },
		{ { NULL, NULL, AFTER, NULL }, 304 },
		{ { NULL, NULL, "yesterday", NULL }, 0 },
		{ { NULL, NULL, NULL, BEFORE }, 412 },
		{ { NULL, NULL, NULL, AT }, 0 },
		{ { NULL, NULL, NULL, "yesterday" }, 0 },
		{ { "\"abc\"", NULL, NULL, BEFORE }, 0 }, /* If-Match outdoes the date */
		{ { "\"x\"", NULL, NULL, AFTER }, 412 },
		{ { NULL, "\"abc\"", BEFORE, NULL }, 304 }, /* If-None-Match likewise */
		{ { NULL, "\"x\"", AFTER, NULL }, 0 },
		{ { "\"abc\"", "\"abc\"", NULL, NULL }, 304 },
		{ { "\"x\"", "\"abc\"", NULL, NULL }, 412 },
	};
	const struct object_info info = { .etag = "abc", .modified_ms = 784111777123 };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		CHECK(s3_conditions(&cases[i].c, &info) == cases[i].status);
}

/* RFC 9110, 5.6.7: all three forms. */
static void
dates_come_in_three_forms_and_go_in_one(void **state)
{
	static const char *const forms[] = { "Sun, 06 Nov 1994 08:49:37 GMT",
		"Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994" };
	static const char *const none[] = { "", "Sun", "Sun, 06 Nov 1994 08:49:37", "1994-11-06",
		"Sun, 06 Nov 1994 08:49:37 GMT more", "Sun, 06 Nov 1494 08:49:37 GMT" };
	char text[32];
	uint64_t ms;

	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		CHECK(s3_date_parse(forms[i], &ms));
		CHECK(ms == 784111777000);
	}
	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		CHECK(!s3_date_parse(none[i], &ms));
	s3_date_text(784111777999, text);
	CHECK_STR(text, forms[0]);
}

static void
etags_lose_their_quotes_and_never_overflow(void **state)
{
	char out[8], long_tag[400];

	s3_etag_bare("\"abc\"", out, sizeof out);
	CHECK_STR(out, "abc");
	s3_etag_bare("W/\"abc\"", out, sizeof out);
	CHECK_STR(out, "abc");
	s3_etag_bare("\"", out, sizeof out);
	CHECK_STR(out, "\"");
	s3_etag_bare(NULL, out, sizeof out);
	CHECK_STR(out, "");
	memset(long_tag, 'x', sizeof long_tag - 1);
	long_tag[sizeof long_tag - 1] = '\0';
	s3_etag_bare(long_tag, out, sizeof out);
	CHECK(strlen(out) == sizeof out - 1);
	CHECK(!s3_etag_in(long_tag, "abc"));
	CHECK(!s3_etag_in(",,, ,", "abc"));
}

/* --- tokens --- */

static void
a_token_gives_back_the_key_for_any_bytes(void **state)
{
	char key[FILES_KEY_MAX + 1], back[FILES_KEY_MAX + 1];
	struct err e;

	for (size_t n = 0; n <= FILES_KEY_MAX; n = n < 8 ? n + 1 : n * 2) {
		_cleanup_buf_ struct buf token = { 0 };

		for (size_t i = 0; i < n; i++)
			key[i] = (char)(0xff - (i * 7 + n) % 255);
		key[n] = '\0';
		s3_token_text(key, &token);
		CHECK(!strpbrk(buf_str(&token), "+/="));
		CHECK_OK(s3_token_parse(buf_str(&token), back, &e), &e);
		CHECK_STR(back, key);
	}
}

static void
a_token_that_is_not_ours_is_refused(void **state)
{
	static const char *const bad[] = { "!", "a", "AAAA", "YQ=x", "a b", "YWJj\n" };
	char out[FILES_KEY_MAX + 1], long_token[4000];
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(s3_token_parse(bad[i], out, &e) < 0);
	memset(long_token, 'Y', sizeof long_token - 1);
	long_token[sizeof long_token - 1] = '\0';
	CHECK(s3_token_parse(long_token, out, &e) < 0);
	long_token[1368] = '\0'; /* 1,026 bytes: one key and two */
	CHECK(s3_token_parse(long_token, out, &e) < 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_names_bucket_and_key),
		cmocka_unit_test(a_key_has_at_most_1024_bytes),
		cmocka_unit_test(a_range_is_a_part_or_is_ignored_or_is_outside),
		cmocka_unit_test(numbers_are_digits_within_bounds),
		cmocka_unit_test(entity_tags_go_before_dates),
		cmocka_unit_test(dates_come_in_three_forms_and_go_in_one),
		cmocka_unit_test(etags_lose_their_quotes_and_never_overflow),
		cmocka_unit_test(a_token_gives_back_the_key_for_any_bytes),
		cmocka_unit_test(a_token_that_is_not_ours_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
