/* S3's XML: what is read, what is refused, what is written. */
#include "check.h"
#include "base/cleanup.h"
#include "front/xml.h"

struct seen {
	struct buf text; /* "path=text\n" */
	unsigned n;
	unsigned fail_at;
};

static int
note(void *arg, const char *path, const char *text, struct err *e)
{
	struct seen *s = arg;

	if (++s->n == s->fail_at)
		return err_set(e, ERR_CANCELLED, "enough");
	buf_printf(&s->text, "%s=%s\n", path, text);
	return 0;
}

static enum err_kind
read_text(struct seen *s, const char *text, size_t n)
{
	struct err e = { 0 };
	int rc = xml_read((struct span){ (const uint8_t *)text, n }, note, s, &e);

	CHECK((rc == 0) == (e.kind == ERR_NONE));
	CHECK((rc == 0) == (e.text[0] == '\0'));
	return e.kind;
}

/* What reading TEXT shows, or the word of the error. */
static const char *
shown(const char *text)
{
	static char out[4096];
	struct seen s = { 0 };
	enum err_kind kind = read_text(&s, text, strlen(text));

	snprintf(out, sizeof out, "%s", kind ? err_word(kind) : buf_str(&s.text));
	buf_free(&s.text);
	return out;
}

static void
elements_come_with_path_and_text(void **state)
{
	CHECK_STR(shown("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	                "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n"
	                "  <Quiet>true</Quiet>\n"
	                "  <Object><Key>a &amp; b</Key></Object>\n"
	                "  <Object><Key> c&#10;\xc3\xa9 </Key><VersionId/></Object>\n"
	                "</Delete>\n"),
	    "Delete/Quiet=true\n"
	    "Delete/Object/Key=a & b\nDelete/Object=\n"
	    "Delete/Object/Key= c\n\xc3\xa9 \nDelete/Object/VersionId=\nDelete/Object=\n"
	    "Delete=\n");
	CHECK_STR(shown("<s3:a xmlns:s3=\"x\"><s3:b c='d'>1</s3:b></s3:a>"), "a/b=1\na=\n");
	CHECK_STR(shown("<a>one<b>two</b>three</a>"), "a/b=two\na=\n");
	CHECK_STR(shown("<a><![CDATA[<&>]]><!-- no -->x</a>"), "a=<&>x\n");
	CHECK_STR(shown("<a/>"), "a=\n");
	CHECK_STR(
	    shown("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>\xe9</a>"), "a=\xc3\xa9\n");
}

static void
what_is_not_well_formed_is_refused(void **state)
{
	static const char *const texts[] = { "", " ", "a", "<a>", "<a></b>", "<a/><b/>",
		"<a><b></a></b>", "<a>&b;</a>", "<a>&#0;</a>", "<a>\x01</a>", "<a>\xff</a>",
		"<a b=1/>", "<a b='1' b='2'/>", "<a>&amp</a>", "<a/>x",
		"<?xml version=\"1.0\" encoding=\"EBCDIC-X\"?><a/>" };
	struct seen s = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		CHECK_STR(shown(texts[i]), "bad");
	CHECK(read_text(&s, "<a>\0</a>", 8) == ERR_BAD);
	CHECK(xml_read((struct span){ NULL, 0 }, note, &s, NULL) == -1);
	buf_free(&s.text);
}

static void
document_types_entities_and_instructions_are_refused(void **state)
{
	static const char *const texts[] = {
		"<!DOCTYPE a><a/>",
		"<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>",
		"<!DOCTYPE a PUBLIC \"x\" \"http://example.org/\"><a/>",
		"<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
		"<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>",
		"<!DOCTYPE a [<!ENTITY % b SYSTEM \"file:///etc/passwd\"> %b;]><a/>",
		"<!DOCTYPE z [<!ENTITY a \"aaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><z>&b;</z>",
		"<?stylesheet href='x'?><a/>",
		"<a><?php x?></a>",
		"<a/><?x?>",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		CHECK_STR(shown(texts[i]), "bad");
}

static void
depth_is_limited_to_eight(void **state)
{
	const char *ok = "<a><a><a><a><a><a><a><a>x</a></a></a></a></a></a></a></a>";
	const char *deep = "<a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a>";

	CHECK(strstr(shown(ok), "a/a/a/a/a/a/a/a=x\n") == shown(ok));
	CHECK_STR(shown(deep), err_word(ERR_TOO_BIG));
}

static enum err_kind
read_buf(struct buf *b)
{
	struct seen s = { .text = BUF_INIT((size_t)16 << 20) };
	enum err_kind kind = read_text(&s, buf_str(b), b->len);

	buf_free(&s.text);
	return kind;
}

static void
elements_are_limited_to_a_hundred_thousand(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT(1 << 20);

	for (unsigned n = 100000; n <= 100001; n++) {
		buf_clear(&b);
		buf_add_str(&b, "<a>");
		for (unsigned i = 1; i < n; i++)
			buf_add_str(&b, "<b/>");
		buf_add_str(&b, "</a>");
		CHECK(read_buf(&b) == (n > 100000 ? ERR_TOO_BIG : ERR_NONE));
	}
}

static void
size_is_limited_to_two_mebibytes(void **state)
{
	const size_t max = (size_t)2 << 20;
	_cleanup_buf_ struct buf b = BUF_INIT(max + 1);

	for (size_t n = max; n <= max + 1; n++) {
		buf_clear(&b);
		buf_add_str(&b, "<a>");
		while (b.len < n - 4)
			buf_add_char(&b, 'x');
		buf_add_str(&b, "</a>");
		CHECK(read_buf(&b) == (n > max ? ERR_TOO_BIG : ERR_NONE));
	}
}

static void
names_are_limited(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT(1 << 20);

	buf_add_char(&b, '<');
	for (unsigned i = 0; i < 600; i++)
		buf_add_char(&b, 'n');
	buf_add_str(&b, "/>");
	CHECK(read_buf(&b) == ERR_BAD);
}

static void
an_error_of_the_callback_stops_the_reading(void **state)
{
	struct seen s = { .fail_at = 2 };
	const char *text = "<a><b>1</b><b>2</b><b>3</b></a>";

	CHECK(read_text(&s, text, strlen(text)) == ERR_CANCELLED);
	CHECK(s.n == 2);
	buf_free(&s.text);
}

static const char *
written(const char *text)
{
	static struct buf b;

	buf_free(&b);
	xml_text(&b, "t", text);
	return buf_str(&b);
}

static void
text_is_escaped(void **state)
{
#define LOST "\xef\xbf\xbd"
	CHECK_STR(written(""), "<t></t>");
	CHECK_STR(
	    written("plain \xc3\xa9 \xf0\x9f\x8f\xa0"), "<t>plain \xc3\xa9 \xf0\x9f\x8f\xa0</t>");
	CHECK_STR(written("<a b=\"c\">&'"), "<t>&lt;a b=&quot;c&quot;&gt;&amp;&apos;</t>");
	CHECK_STR(written("]]>"), "<t>]]&gt;</t>");
	CHECK_STR(written("\t\n\r"), "<t>\t\n&#13;</t>");
	CHECK_STR(written("a\x01z\x1f\x7f"), "<t>a" LOST "z" LOST "\x7f</t>");
	CHECK_STR(written("\xef\xbf\xbe\xef\xbf\xbf"), "<t>" LOST LOST "</t>");
	CHECK_STR(written("\xed\xa0\x80"), "<t>" LOST LOST LOST "</t>");
	CHECK_STR(written("\xc0\xaf"), "<t>" LOST LOST "</t>");
	CHECK_STR(written("\xe2\x82"), "<t>" LOST LOST "</t>");
	CHECK_STR(written("\xf4\x90\x80\x80!"), "<t>" LOST LOST LOST LOST "!</t>");
}

static void
a_name_stays_what_it_is(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	xml_name(&b, "t", "a\x01\x1f\x7f\t\r&\xef\xbf\xbf\xef\xbf\xbe\xef\xbf\xbd\xed\xa0\x80");
	CHECK_STR(buf_str(&b),
	    "<t>a&#x1;&#x1f;\x7f\t&#13;&amp;&#xffff;&#xfffe;" LOST LOST LOST LOST "</t>");
}

/* Every byte, before an ASCII character, comes back as itself or as U+FFFD. */
static void
what_was_written_can_be_read(void **state)
{
	for (unsigned c = 1; c < 256; c++) {
		const char text[] = { (char)c, 'x', '\0' };
		char should[16];
		bool lost = c >= 0x80 || (c < 0x20 && c != '\t' && c != '\n' && c != '\r');

		snprintf(should, sizeof should, "t=%sx\n", lost ? LOST : (char[]){ (char)c, 0 });
		CHECK_STR(shown(written(text)), should);
	}
}

static void
tags_and_formats(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	xml_open(&b, "a");
	xml_printf(&b, "n", "%d<%s>", 5, "x");
	xml_text_url(&b, "k", "a/b c+d%&\xc3\xa9~-._");
	xml_close(&b, "a");
	CHECK_STR(buf_str(&b), "<a><n>5&lt;x&gt;</n><k>a/b%20c%2Bd%25%26%C3%A9~-._</k></a>");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elements_come_with_path_and_text),
		cmocka_unit_test(what_is_not_well_formed_is_refused),
		cmocka_unit_test(document_types_entities_and_instructions_are_refused),
		cmocka_unit_test(depth_is_limited_to_eight),
		cmocka_unit_test(elements_are_limited_to_a_hundred_thousand),
		cmocka_unit_test(size_is_limited_to_two_mebibytes),
		cmocka_unit_test(names_are_limited),
		cmocka_unit_test(an_error_of_the_callback_stops_the_reading),
		cmocka_unit_test(text_is_escaped),
		cmocka_unit_test(a_name_stays_what_it_is),
		cmocka_unit_test(what_was_written_can_be_read),
		cmocka_unit_test(tags_and_formats),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
