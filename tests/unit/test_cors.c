/* Rules about pages of other origins: what is taken, how it is kept, and what fits. */
#include "check.h"
#include "base/cleanup.h"
#include "front/cors.h"

#include <string.h>

#define RULE(inside) \
	"<CORSConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><CORSRule>" inside \
	"</CORSRule></CORSConfiguration>"
#define FROM(o)   "<AllowedOrigin>" o "</AllowedOrigin>"
#define BY(m)     "<AllowedMethod>" m "</AllowedMethod>"
#define HEADER(h) "<AllowedHeader>" h "</AllowedHeader>"

static int
write_again(void *arg, const struct cors_rule *rule, struct err *e)
{
	cors_write(arg, rule);
	return buf_check(arg, e);
}

static struct span
span_of(const char *text)
{
	return (struct span){ (const uint8_t *)text, strlen(text) };
}

static enum err_kind
read_all(const char *xml)
{
	_cleanup_buf_ struct buf out = BUF_INIT(0);
	struct err e = { 0 };
	int rc = cors_read(span_of(xml), write_again, &out, &e);

	CHECK((rc == 0) == (e.kind == ERR_NONE));
	return e.kind;
}

static void
what_is_taken_is_written_as_it_was(void **state)
{
	static const char inside[] = "<CORSRule><ID>a &amp; b</ID>" FROM("http://*.example.com")
	    FROM("https://two.example") BY("GET") BY("PUT") HEADER("x-amz-*") HEADER(
	        "*") "<ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>3000</MaxAgeSeconds></CORSRule>"
	             "<CORSRule>" FROM("*") BY("HEAD") "</CORSRule>";
	_cleanup_buf_ struct buf xml = BUF_INIT(0), out = BUF_INIT(0);
	struct err e = { 0 };

	buf_printf(&xml, "<CORSConfiguration>\n %s </CORSConfiguration>", inside);
	CHECK_OK(cors_read(span_of(buf_str(&xml)), write_again, &out, &e), &e);
	CHECK_STR(buf_str(&out), inside);
}

static void
what_is_no_rule_is_refused(void **state)
{
	CHECK(read_all(RULE(FROM("*") BY("GET"))) == ERR_NONE);
	CHECK(read_all("") == ERR_BAD);
	CHECK(read_all("<CORSConfiguration/>") == ERR_BAD);
	CHECK(read_all("<Tagging/>") == ERR_BAD);
	CHECK(read_all(RULE(FROM("*"))) == ERR_BAD);
	CHECK(read_all(RULE(BY("GET"))) == ERR_BAD);
	CHECK(read_all(RULE(FROM("") BY("GET"))) == ERR_BAD);
	CHECK(read_all(RULE(FROM("a\nb: c") BY("GET"))) == ERR_BAD);
	CHECK(read_all(RULE(FROM("*") BY("GET") "<Other>1</Other>")) == ERR_BAD);
	CHECK(read_all(RULE(FROM("*") BY("GET") "<MaxAgeSeconds>-1</MaxAgeSeconds>")) == ERR_BAD);
	CHECK(read_all(RULE(FROM("*") BY("PATCH"))) == ERR_DENIED);
	CHECK(read_all(RULE(FROM("*") BY("get"))) == ERR_DENIED);
	CHECK(read_all(RULE(FROM("h*p://*.org") BY("GET"))) == ERR_DENIED);
	CHECK(read_all(RULE(FROM("*") BY("GET") HEADER("*-*"))) == ERR_DENIED);
}

static void
there_are_at_most_a_hundred_rules(void **state)
{
	for (unsigned n = CORS_RULES_MAX; n <= CORS_RULES_MAX + 1; n++) {
		_cleanup_buf_ struct buf xml = BUF_INIT(0);

		buf_add_str(&xml, "<CORSConfiguration>");
		for (unsigned i = 0; i < n; i++)
			buf_add_str(&xml, "<CORSRule>" FROM("*") BY("GET") "</CORSRule>");
		buf_add_str(&xml, "</CORSConfiguration>");
		CHECK(read_all(buf_str(&xml)) == (n > CORS_RULES_MAX ? ERR_DENIED : ERR_NONE));
	}
}

struct asking {
	struct cors_question q;
	struct buf lines;
	bool fits;
};

static int
ask(void *arg, const struct cors_rule *rule, struct err *e)
{
	struct asking *a = arg;

	a->fits = cors_fits(rule, &a->q);
	if (a->fits)
		cors_answer(&a->lines, rule, &a->q);
	return buf_check(&a->lines, e);
}

static bool
fits(const char *xml, const char *origin, const char *method, const char *headers)
{
	struct asking a = { .q = { origin, method, headers }, .lines = BUF_INIT(0) };
	struct err e = { 0 };

	CHECK_OK(cors_read(span_of(xml), ask, &a, &e), &e);
	buf_free(&a.lines);
	return a.fits;
}

static void
a_star_stands_for_anything_and_nothing_else_does(void **state)
{
	static const char one[] = RULE(FROM("https://*.example.com") BY("GET"));
	static const char all[] = RULE(FROM("*") BY("GET") HEADER("x-amz-*") HEADER("Range"));

	CHECK(fits(one, "https://a.example.com", "GET", NULL));
	CHECK(fits(one, "https://.example.com", "GET", NULL));
	CHECK(!fits(one, "https://example.com", "GET", NULL));
	CHECK(!fits(one, "https://a.example.com.evil", "GET", NULL));
	CHECK(!fits(one, "HTTPS://a.example.com", "GET", NULL));
	CHECK(!fits(one, "https://a.example.com", "PUT", NULL));
	CHECK(!fits(RULE(FROM("aba") BY("GET")), "ab", "GET", NULL));
	CHECK(!fits(RULE(FROM("ab*ba") BY("GET")), "aba", "GET", NULL)); /* no byte serves twice */
	CHECK(fits(one, "https://a.example.com", "GET", ""));
	CHECK(!fits(one, "https://a.example.com", "GET", "range"));
	CHECK(fits(all, "null", "GET", "X-Amz-Date, range ,x-amz-"));
	CHECK(!fits(all, "null", "GET", "X-Amz-Date,authorization"));
}

static void
an_answer_names_the_page_unless_all_may(void **state)
{
	struct asking a = { .q = { "https://page", "PUT", "x-a" }, .lines = BUF_INIT(0) };
	struct err e = { 0 };

	CHECK_OK(cors_read(span_of(RULE(FROM("https://*") BY("GET") BY("PUT")
	                           HEADER("*") "<ExposeHeader>ETag</ExposeHeader>"
	                                       "<MaxAgeSeconds>60</MaxAgeSeconds>")),
	             ask, &a, &e),
	    &e);
	CHECK_STR(buf_str(&a.lines),
	    "Access-Control-Allow-Origin: https://page\n"
	    "Access-Control-Allow-Credentials: true\n"
	    "Access-Control-Allow-Methods: GET, PUT\n"
	    "Access-Control-Allow-Headers: x-a\n"
	    "Access-Control-Expose-Headers: ETag\n"
	    "Access-Control-Max-Age: 60\n"
	    "Vary: Origin, Access-Control-Request-Headers, Access-Control-Request-Method\n");
	buf_clear(&a.lines);
	a.q.headers = NULL;
	CHECK_OK(cors_read(span_of(RULE(FROM("*") BY("PUT"))), ask, &a, &e), &e);
	CHECK_STR(buf_str(&a.lines),
	    "Access-Control-Allow-Origin: *\n"
	    "Access-Control-Allow-Methods: PUT\n"
	    "Vary: Origin, Access-Control-Request-Headers, Access-Control-Request-Method\n");
	buf_free(&a.lines);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_taken_is_written_as_it_was),
		cmocka_unit_test(what_is_no_rule_is_refused),
		cmocka_unit_test(there_are_at_most_a_hundred_rules),
		cmocka_unit_test(a_star_stands_for_anything_and_nothing_else_does),
		cmocka_unit_test(an_answer_names_the_page_unless_all_may),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
