/* Uploads from forms: what their parts are, however they come, and what their policies allow. */
#include "check.h"
#include "front/form.h"
#include "front/post_policy.h"

#include <string.h>

#define TYPE        "multipart/form-data; boundary=\"a b\""
#define PART(d)     "--a b\r\nContent-Disposition: form-data; " d "\r\n"
#define FIELD(n, v) PART("name=\"" n "\"") "\r\n" v "\r\n"
#define FILE_       PART("name=\"file\"; filename=\"x\"") "Content-Type: text/plain\r\n\r\n"
#define END         "\r\n--a b--\r\n"

struct got {
	struct buf file;
	struct err e;
	enum form_at at;
};

/* Feed TEXT in pieces of so many bytes; F is closed by the caller. */
static void
feed(struct form *f, const char *text, size_t n, size_t piece, struct got *g)
{
	g->file = BUF_INIT(0);
	for (size_t at = 0; at < n && !g->e.kind && form_at(f) != FORM_OVER; at += piece) {
		size_t now = n - at < piece ? n - at : piece;

		if (form_feed(f, text + at, now, &g->file, &g->e) < 0)
			CHECK(g->e.kind != ERR_NONE);
	}
	if (!g->e.kind && form_at(f) == FORM_FILE && form_feed(f, NULL, 0, &g->file, &g->e) < 0)
		CHECK(g->e.kind != ERR_NONE);
	g->at = form_at(f);
}

static enum err_kind
refusal(const char *text)
{
	_cleanup_(form_closep) struct form *f = form_open(TYPE, NULL);
	struct got g = { .e.kind = ERR_NONE };

	feed(f, text, strlen(text), 1000, &g);
	buf_free(&g.file);
	return g.e.kind;
}

static void
a_form_is_the_same_in_pieces_of_any_size(void **state)
{
	static const char file[] = "\r\n--a \r\n--a\0 b\r\r\n--a c\r\n";
	_cleanup_buf_ struct buf text = BUF_INIT(0);

	buf_add_str(&text,
	    FIELD("key", "a/${filename}") FIELD("Empty", "") FIELD("two", "line\r\n--a\r\nline")
	        FILE_);
	buf_add(&text, file, sizeof file - 1);
	buf_add_str(&text, END);
	for (size_t piece = 1; piece <= text.len; piece++) {
		_cleanup_(form_closep) struct form *f = form_open(TYPE, NULL);
		struct got g = { .e.kind = ERR_NONE };
		size_t n;

		feed(f, buf_str(&text), text.len, piece, &g);
		CHECK_OK(g.e.kind ? -1 : 0, &g.e);
		CHECK(g.at == FORM_OVER && form_has_file(f));
		CHECK_STR(form_filename(f), "x");
		CHECK(g.file.len == sizeof file - 1 && !memcmp(g.file.data, file, g.file.len));
		CHECK(form_fields(f, &n) && n == 3);
		CHECK_STR(form_value(f, "KEY"), "a/${filename}");
		CHECK_STR(form_value(f, "empty"), "");
		CHECK_STR(form_value(f, "two"), "line\r\n--a\r\nline");
		CHECK(!form_value(f, "file"));
		buf_free(&g.file);
	}
}

static void
a_name_may_be_quoted_or_not(void **state)
{
	_cleanup_(form_closep) struct form *f = form_open(
	    "Multipart/Form-Data ; charset=x; BOUNDARY=abc", NULL);
	static const char text[] =
	    "--abc \r\ncontent-disposition: form-data; name=a\r\n\r\n1\r\n"
	    "--abc\r\nX: y\r\nContent-Disposition: form-data; x=\"; name=no\"; name=\"b\\\"c\"\r\n\r\n"
	    "2\r\n--abc\r\nContent-Disposition: form-data; name=\"file\"; "
	    "filename=\"C:\\d\\e\"\r\n\r\n";
	struct got g = { .e.kind = ERR_NONE };

	CHECK(f);
	feed(f, text, sizeof text - 1, 500, &g);
	buf_free(&g.file);
	CHECK_OK(g.e.kind ? -1 : 0, &g.e);
	CHECK_STR(form_value(f, "a"), "1");
	CHECK_STR(form_value(f, "b\"c"), "2");
	CHECK_STR(form_filename(f), "C:\\d\\e");
}

static void
a_name_is_as_long_as_that_of_metadata(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT(0);

	(void)state;
	for (unsigned n = 2048; n <= 2060; n += 12) {
		buf_clear(&text);
		buf_add_str(&text, "--a b\r\nContent-Disposition: form-data; name=\"x-amz-meta-");
		for (unsigned i = 0; i < n; i++)
			buf_add_char(&text, 'n');
		buf_add_str(&text, "\"\r\n\r\nv\r\n" FILE_ "x" END);
		CHECK(refusal(buf_str(&text)) == (n == 2048 ? ERR_NONE : ERR_BAD));
	}
}

static void
what_can_be_read_in_two_ways_is_refused(void **state)
{
	CHECK(refusal(FIELD("a", "1") FILE_ "x" END) == ERR_NONE);
	CHECK(refusal(FIELD("a", "1") FIELD("A", "2") FILE_) == ERR_BAD);
	CHECK(refusal("\r\n" FIELD("a", "1")) == ERR_BAD);
	CHECK(refusal("--a bc\r\n") == ERR_BAD);
	CHECK(refusal("--a b\r\n\r\nContent-Disposition: form-data; name=a\r\n\r\n1") == ERR_BAD);
	CHECK(refusal("--a b\r\nX: Content-Disposition: form-data; name=a\r\n\r\n") == ERR_BAD);
	CHECK(refusal(PART("nam=\"a\"") "\r\n") == ERR_BAD);
	CHECK(refusal(PART("name=\"a") "\r\n") == ERR_BAD);
	CHECK(refusal(PART("name=\"\"") "\r\n") == ERR_BAD);
	CHECK(refusal(PART("name=a") "Content-Disposition: form-data; name=b\r\n\r\n") == ERR_BAD);
	CHECK(refusal(FILE_ "x\r\n--a bc\r\n") == ERR_BAD);
	CHECK(!form_open("multipart/form-data", NULL));
	CHECK(!form_open("multipart/form-data; boundary=", NULL));
	CHECK(!form_open("multipart/mixed; boundary=a", NULL));
	CHECK(!form_open("multipart/form-data; boundary=\"a", NULL));
}

static void
what_comes_before_the_file_is_bounded(void **state)
{
	_cleanup_buf_ struct buf many = BUF_INIT(0), large = BUF_INIT(0);

	for (unsigned i = 0; i <= FORM_FIELDS_MAX; i++) {
		buf_printf(&many, PART("name=\"f%u\"") "\r\nv\r\n", i);
		if (i + 1 == FORM_FIELDS_MAX)
			CHECK(refusal(buf_str(&many)) == ERR_NONE);
	}
	CHECK(refusal(buf_str(&many)) == ERR_NONE); /* its end is not there yet */
	buf_add_str(&many, "--a b");
	CHECK(refusal(buf_str(&many)) == ERR_TOO_BIG);
	buf_add_str(&large, PART("name=\"a\"") "\r\n");
	while (large.len < FORM_HEAD_MAX)
		buf_add_char(&large, 'x');
	CHECK(refusal(buf_str(&large)) == ERR_NONE);
	buf_add_char(&large, 'x');
	CHECK(refusal(buf_str(&large)) == ERR_TOO_BIG);
}

/* --- policies --- */

#define NOW      ((uint64_t)1900000000000) /* 2030-03-17T17:46:40Z */
#define UNTIL    "\"expiration\":\"2030-03-17T17:46:41.000Z\","
#define ALLOW(c) "{" UNTIL "\"conditions\":[{\"bucket\":\"b\"}," c "]}"

static enum err_kind
check(const char *text)
{
	static const struct request_field fields[] = { { "bucket", "b" }, { "Key", "a/b" },
		{ "policy", "p" }, { "X-Amz-Signature", "s" }, { "x-ignore-me", "" } };
	struct post_sizes sizes;
	struct err e = { 0 };
	int rc = post_policy_check((struct span){ (const uint8_t *)text, strlen(text) }, fields,
	    ARRAY_LEN(fields), NOW, &sizes, &e);

	CHECK((rc == 0) == (e.kind == ERR_NONE));
	return e.kind;
}

static void
a_policy_allows_what_it_says_and_no_more(void **state)
{
	CHECK(check(ALLOW("{\"key\":\"a/b\"}")) == ERR_NONE);
	CHECK(check(ALLOW("[\"eq\",\"$KEY\",\"a/b\"]")) == ERR_NONE);
	CHECK(check(ALLOW("[\"starts-with\",\"$key\",\"a/\"]")) == ERR_NONE);
	CHECK(check(ALLOW("[\"starts-with\",\"$key\",\"\"],[\"content-length-range\",0,9]")) ==
	    ERR_NONE);
	CHECK(check(ALLOW("{\"key\":\"a\"}")) == ERR_DENIED);
	CHECK(check(ALLOW("[\"eq\",\"$key\",\"a/\"]")) == ERR_DENIED);
	CHECK(check(ALLOW("[\"starts-with\",\"$key\",\"b\"]")) == ERR_DENIED);
	CHECK(check(ALLOW("{\"acl\":\"\"}")) == ERR_DENIED); /* the key is not covered */
	CHECK(check("{" UNTIL "\"conditions\":[{\"key\":\"a/b\"}]}") == ERR_DENIED);
	CHECK(check("{" UNTIL "\"conditions\":[]}") == ERR_DENIED);
	CHECK(check("{\"expiration\":\"2030-03-17T17:46:40Z\",\"conditions\":"
	            "[{\"bucket\":\"b\",\"key\":\"a/b\"}]}") == ERR_DENIED);
}

static void
what_is_no_policy_is_refused(void **state)
{
	CHECK(check("") == ERR_BAD);
	CHECK(check("[]") == ERR_BAD);
	CHECK(check("{" UNTIL "\"conditions\":{}}") == ERR_BAD);
	CHECK(check("{\"conditions\":[]}") == ERR_BAD);
	CHECK(check("{" UNTIL UNTIL "\"conditions\":[]}") == ERR_BAD);
	CHECK(check(ALLOW("1")) == ERR_BAD);
	CHECK(check(ALLOW("{\"key\":1}")) == ERR_BAD);
	CHECK(check(ALLOW("[]")) == ERR_BAD);
	CHECK(check(ALLOW("[\"eq\",\"key\",\"a/b\"]")) == ERR_BAD);
	CHECK(check(ALLOW("[\"eq\",\"$key\"]")) == ERR_BAD);
	CHECK(check(ALLOW("[\"like\",\"$key\",\"a/b\"]")) == ERR_BAD);
	CHECK(check(ALLOW("[\"content-length-range\",1]")) == ERR_BAD);
	CHECK(check(ALLOW("[\"content-length-range\",-1,1]")) == ERR_BAD);
	CHECK(check(ALLOW("[\"content-length-range\",\"1\",\"2\"]")) == ERR_BAD);
}

static void
the_narrowest_sizes_hold(void **state)
{
	static const char text[] = "{" UNTIL "\"conditions\":[[\"content-length-range\",1,9],"
	                           "[\"content-length-range\",3,20]]}";
	struct post_sizes sizes;
	struct err e;

	CHECK_OK(post_policy_check((struct span){ (const uint8_t *)text, sizeof text - 1 }, NULL, 0,
	             NOW, &sizes, &e),
	    &e);
	CHECK(sizes.min == 3 && sizes.max == 9);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_form_is_the_same_in_pieces_of_any_size),
		cmocka_unit_test(a_name_may_be_quoted_or_not),
		cmocka_unit_test(a_name_is_as_long_as_that_of_metadata),
		cmocka_unit_test(what_can_be_read_in_two_ways_is_refused),
		cmocka_unit_test(what_comes_before_the_file_is_bounded),
		cmocka_unit_test(a_policy_allows_what_it_says_and_no_more),
		cmocka_unit_test(what_is_no_policy_is_refused),
		cmocka_unit_test(the_narrowest_sizes_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
