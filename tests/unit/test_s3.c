/* What an S3 request says: paths, ranges, conditions, dates, tokens. */
#include "check.h"
#include "front/s3_checksum.h"
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
		{ "bytes=3-99999999999999999999", 10, RANGE_PART, 3, 7 },
		{ "bytes=-99999999999999999999", 10, RANGE_PART, 0, 10 },
		{ "bytes=18446744073709551615-", 10, RANGE_OUTSIDE, 0, 0 },
		{ "bytes=99999999999999999999-", 10, RANGE_OUTSIDE, 0, 0 },
		/* ignored */
		{ "bytes=3-2", 10, RANGE_ALL, 0, 10 },
		{ "bytes=0-1,4-5", 10, RANGE_ALL, 0, 10 },
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
dates_come_in_three_forms(void **state)
{
	static const char *const forms[] = { "Sun, 06 Nov 1994 08:49:37 GMT",
		"Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994" };
	static const char *const none[] = { "", "Sun", "Sun, 06 Nov 1994 08:49:37", "1994-11-06",
		"Sun, 06 Nov 1994 08:49:37 GMT more", "Sun, 06 Nov 1494 08:49:37 GMT" };
	uint64_t ms;

	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		CHECK(s3_date_parse(forms[i], &ms));
		CHECK(ms == 784111777000);
	}
	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		CHECK(!s3_date_parse(none[i], &ms));
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

/* --- checksums --- */

/* As hexadecimal, computed in pieces of PIECE bytes. */
static const char *
checksum_of(enum checksum_kind kind, const void *p, size_t n, size_t piece)
{
	static char hex[2 * CHECKSUM_MAX + 1];
	_cleanup_buf_ struct buf raw = BUF_INIT(64);
	char text[CHECKSUM_TEXT], same[CHECKSUM_TEXT];
	struct checksum s;
	struct err e;

	CHECK_OK(checksum_open(&s, kind, &e), &e);
	for (size_t at = 0; at < n; at += piece)
		checksum_add(&s, (const char *)p + at, n - at < piece ? n - at : piece);
	checksum_end(&s, text);
	checksum_free(&s);
	CHECK(checksum_parse(kind, text, same));
	CHECK_STR(same, text);
	CHECK_OK(base64_parse(text, strlen(text), &raw, &e), &e);
	hex_text(raw.data, raw.len, hex);
	return hex;
}

/* The CRCs' check values; RFC 3720 B.4; NVM Command Set Specification, 64b CRC test cases;
 * FIPS 180-2's "abc". */
static void
published_checksums_come_out(void **state)
{
	static const struct {
		enum checksum_kind kind;
		const char *text, *hex;
	} words[] = {
		{ CHECKSUM_CRC32, "123456789", "cbf43926" },
		{ CHECKSUM_CRC32C, "123456789", "e3069283" },
		{ CHECKSUM_CRC64NVME, "123456789", "ae8b14860a799888" },
		{ CHECKSUM_CRC32, "", "00000000" },
		{ CHECKSUM_CRC64NVME, "", "0000000000000000" },
		{ CHECKSUM_SHA1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d" },
		{ CHECKSUM_SHA256, "abc",
		    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	};
	static const struct {
		enum checksum_kind kind;
		size_t n;
		const char *zeros, *ones, *up, *down;
	} fills[] = {
		{ CHECKSUM_CRC32C, 32, "8a9136aa", "62a8ab43", "46dd794e", "113fdb5c" },
		{ CHECKSUM_CRC64NVME, 4096, "6482d367eb22b64e", "c0ddba7302eca3ac",
		    "3e729f5f6750449c", "9a2df64b8e9e517e" },
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		size_t n = strlen(words[i].text);

		for (size_t piece = 1; piece < 12; piece++)
			CHECK_STR(
			    checksum_of(words[i].kind, words[i].text, n, piece), words[i].hex);
	}
	for (size_t i = 0; i < ARRAY_LEN(fills); i++) {
		size_t n = fills[i].n;
		uint8_t bytes[4096];

		memset(bytes, 0, n);
		CHECK_STR(checksum_of(fills[i].kind, bytes, n, 7), fills[i].zeros);
		memset(bytes, 0xff, n);
		CHECK_STR(checksum_of(fills[i].kind, bytes, n, n), fills[i].ones);
		for (size_t k = 0; k < n; k++)
			bytes[k] = (uint8_t)k;
		CHECK_STR(checksum_of(fills[i].kind, bytes, n, 9), fills[i].up);
		for (size_t k = 0; k < n; k++)
			bytes[k] = (uint8_t)(n - 1 - k);
		CHECK_STR(checksum_of(fills[i].kind, bytes, n, 100), fills[i].down);
	}
}

/* Of N bytes in pieces of PIECE. */
static void
joint_of(enum checksum_kind kind, bool is_full, const uint8_t *p, size_t n, size_t piece,
    char out[static CHECKSUM_TEXT])
{
	struct checksum_joint j;
	char text[CHECKSUM_TEXT];
	struct err e;

	CHECK_OK(checksum_joint_open(&j, kind, is_full, &e), &e);
	for (size_t at = 0; at < n; at += piece) {
		size_t len = n - at < piece ? n - at : piece;
		struct checksum s;

		CHECK_OK(checksum_open(&s, kind, &e), &e);
		checksum_add(&s, p + at, len);
		checksum_end(&s, text);
		checksum_free(&s);
		CHECK(checksum_joint_add(&j, text, len));
	}
	CHECK(!checksum_joint_add(&j, "", 0) && !checksum_joint_add(&j, "nonsense", 1));
	checksum_joint_end(&j, out);
	checksum_joint_free(&j);
}

static void
checksums_of_parts_join_to_that_of_the_whole(void **state)
{
	static const enum checksum_kind crcs[] = { CHECKSUM_CRC32, CHECKSUM_CRC32C,
		CHECKSUM_CRC64NVME };
	char whole[CHECKSUM_TEXT], joint[CHECKSUM_TEXT];
	uint8_t bytes[3000];

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * i >> 3);
	for (size_t i = 0; i < ARRAY_LEN(crcs); i++) {
		joint_of(crcs[i], true, bytes, sizeof bytes, sizeof bytes, whole);
		for (size_t piece = 1; piece < sizeof bytes; piece += 1 + piece) {
			joint_of(crcs[i], true, bytes, sizeof bytes, piece, joint);
			CHECK_STR(joint, whole);
		}
		CHECK(checksum_can_join(crcs[i], true));
	}
	/* SHA-256 of SHA-256("a"), SHA-256("b"). */
	joint_of(CHECKSUM_SHA256, false, (const uint8_t *)"ab", 2, 1, joint);
	CHECK_STR(joint, "5aAf7hTg7VxIcU8iGA8lrYNltT+XefedxKPX6Tlj+Uo=-2");
	CHECK(checksum_can_join(CHECKSUM_SHA1, false) && !checksum_can_join(CHECKSUM_SHA1, true));
	CHECK(!checksum_can_join(CHECKSUM_CRC64NVME, false));
	CHECK(!checksum_can_join(CHECKSUM_NONE, false) && !checksum_can_join(CHECKSUM_NONE, true));
}

static void
checksums_have_names_and_a_form(void **state)
{
	char out[CHECKSUM_TEXT];
	struct checksum none;
	struct err e;

	for (int kind = CHECKSUM_CRC32; kind <= CHECKSUM_SHA256; kind++) {
		CHECK(checksum_of_header(checksum_header(kind)) == (enum checksum_kind)kind);
		CHECK(checksum_of_name(checksum_name(kind)) == (enum checksum_kind)kind);
	}
	CHECK(checksum_of_header("X-Amz-Checksum-CRC32C") == CHECKSUM_CRC32C);
	CHECK(checksum_of_header("x-amz-checksum-") == CHECKSUM_NONE);
	CHECK(checksum_of_header("x-amz-meta-crc32") == CHECKSUM_NONE);
	CHECK(checksum_of_name("") == CHECKSUM_NONE);
	CHECK(checksum_of_name("CRC64") == CHECKSUM_NONE);

	CHECK(checksum_parse(CHECKSUM_CRC32C, "sOO8/Q==", out));
	CHECK_STR(out, "sOO8/Q==");
	CHECK(!checksum_parse(CHECKSUM_CRC32C, "", out));
	CHECK(!checksum_parse(CHECKSUM_CRC32C, "sOO8", out));
	CHECK(!checksum_parse(CHECKSUM_CRC32C, "sOO8/Q==sOO8/Q==", out));
	CHECK(!checksum_parse(CHECKSUM_CRC32C, "!OO8/Q==", out));
	CHECK(!checksum_parse(CHECKSUM_CRC64NVME, "sOO8/Q==", out));
	CHECK(!checksum_parse(CHECKSUM_NONE, "", out));

	CHECK_OK(checksum_open(&none, CHECKSUM_NONE, &e), &e);
	checksum_add(&none, "abc", 3);
	checksum_end(&none, out);
	CHECK_STR(out, "");
	checksum_free(&none);
}

/* --- trailers --- */

#define SIGNED_TRAILER   PAYLOAD_STREAMING_SIGNED_TRAILER
#define UNSIGNED_TRAILER PAYLOAD_STREAMING_UNSIGNED_TRAILER
#define NO_SIGNATURE     "0000000000000000000000000000000000000000000000000000000000000000"
#define TRAILER_LINE     "x-amz-checksum-crc32c:sOO8/Q==\r\n"
#define TRAILER_SIGN \
	"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n"

/* The body of AWS's example ("Including Trailing Headers", Amazon S3 API Reference). */
static struct chunked *
open_trailer(enum payload_kind kind)
{
	static const char secret[] = "AWS4wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
	struct sign_claim c = {
		.date = "20130524",
		.region = "us-east-1",
		.service = "s3",
		.time = "20130524T000000Z",
		.payload = kind,
		.decoded_length = 66560,
		.trailer = "x-amz-checksum-crc32c",
	};
	uint8_t key[SHA256_BYTES];
	struct err e;

	CHECK(hex_parse("106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
	    c.signature, SHA256_BYTES));
	hmac_sha256(secret, sizeof secret - 1, c.date, 8, key);
	hmac_sha256(key, SHA256_BYTES, c.region, 9, key);
	hmac_sha256(key, SHA256_BYTES, "s3", 2, key);
	hmac_sha256(key, SHA256_BYTES, "aws4_request", 12, key);
	struct chunked *k = chunked_open(&c, key, &e);

	CHECK(k);
	return k;
}

static void
add_bytes(struct buf *b, unsigned n)
{
	while (n--)
		buf_add_char(b, 'a');
}

static void
trailer_body(struct buf *b, bool is_signed, const char *trailer)
{
	buf_clear(b);
	buf_add_str(b, "10000");
	if (is_signed)
		buf_add_str(b,
		    ";chunk-signature="
		    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2");
	buf_add_str(b, "\r\n");
	add_bytes(b, 65536);
	buf_add_str(b, "\r\n400");
	if (is_signed)
		buf_add_str(b,
		    ";chunk-signature="
		    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7");
	buf_add_str(b, "\r\n");
	add_bytes(b, 1024);
	buf_add_str(b, "\r\n0");
	if (is_signed)
		buf_add_str(b,
		    ";chunk-signature="
		    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992");
	buf_add_str(b, "\r\n");
	buf_add_str(b, trailer);
}

static void
aws_example_trailer(void **state)
{
	static const size_t pieces[] = { 1 << 20, 1, 3, 64, 1000, 65621 };
	_cleanup_buf_ struct buf body = BUF_INIT(1 << 20);
	struct err e;

	trailer_body(&body, true, TRAILER_LINE TRAILER_SIGN "\r\n");
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		_cleanup_buf_ struct buf out = BUF_INIT(1 << 20);
		struct chunked *k = open_trailer(SIGNED_TRAILER);

		for (size_t at = 0; at < body.len; at += pieces[i]) {
			size_t n = body.len - at < pieces[i] ? body.len - at : pieces[i];

			CHECK(at >= body.len - 2 || !chunked_is_complete(k));
			CHECK_OK(chunked_feed(k, body.data + at, n, &out, &e), &e);
		}
		CHECK(chunked_is_complete(k) && !chunked_lacks_trailer(k));
		CHECK_STR(chunked_trailer(k), "sOO8/Q==");
		CHECK(out.len == 66560 && strspn(buf_str(&out), "a") == 66560);
		chunked_close(k);
	}
}

/* What becomes of a body with this trailer: ERR_NONE, and whether that was all. */
static enum err_kind
feed_trailer(enum payload_kind kind, const char *trailer, bool *is_complete)
{
	_cleanup_buf_ struct buf body = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
	struct chunked *k = open_trailer(kind);
	struct err e = { 0 };

	trailer_body(&body, kind == SIGNED_TRAILER, trailer);
	if (chunked_feed(k, body.data, body.len, &out, &e) == 0)
		e.kind = ERR_NONE;
	*is_complete = chunked_is_complete(k);
	CHECK(*is_complete || e.kind != ERR_NONE || chunked_lacks_trailer(k));
	CHECK(out.len == 66560);
	chunked_close(k);
	return e.kind;
}

static void
trailers_are_taken_as_clients_write_them(void **state)
{
	static const char *const good[] = {
		TRAILER_LINE "\r\n",
		TRAILER_LINE,
		"X-Amz-Checksum-Crc32c: \t sOO8/Q== \r\n\r\n",
		"x-amz-checksum-crc32c:sOO8/Q==\n\r\n\r\n",
		"\r\n" TRAILER_LINE "\r\n",
	};
	bool is_complete;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		CHECK(feed_trailer(UNSIGNED_TRAILER, good[i], &is_complete) == ERR_NONE);
		CHECK(is_complete);
	}
	CHECK(feed_trailer(SIGNED_TRAILER,
	          "x-amz-checksum-crc32c:sOO8/Q==\n\r\n" TRAILER_SIGN "\r\n\r\n",
	          &is_complete) == ERR_NONE);
	CHECK(is_complete);
}

static void
trailers_that_are_missing_wrong_or_too_long_are_refused(void **state)
{
	static const char *const less[] = { "", "\r\n", "x-amz-checksum-crc32c:sOO8/Q==\r" };
	static const char *const bad[] = {
		"x-amz-checksum-crc32:sOO8/Q==\r\n",
		"x-amz-checksum-crc32c sOO8/Q==\r\n",
		TRAILER_LINE TRAILER_LINE,
		TRAILER_LINE TRAILER_SIGN,
		TRAILER_LINE "more",
	};
	char text[2048];
	bool is_complete;

	for (size_t i = 0; i < ARRAY_LEN(less); i++) {
		CHECK(feed_trailer(UNSIGNED_TRAILER, less[i], &is_complete) == ERR_NONE);
		CHECK(!is_complete);
	}
	for (size_t i = 0; i + 1 < ARRAY_LEN(bad); i++) {
		CHECK(feed_trailer(UNSIGNED_TRAILER, bad[i], &is_complete) == ERR_BAD);
		CHECK(!is_complete);
	}
	CHECK(feed_trailer(UNSIGNED_TRAILER, bad[4], &is_complete) == ERR_NONE && !is_complete);

	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = '\0';
	CHECK(feed_trailer(UNSIGNED_TRAILER, text, &is_complete) == ERR_BAD);
	memset(text, '\n', sizeof text - 1);
	CHECK(feed_trailer(UNSIGNED_TRAILER, text, &is_complete) == ERR_BAD);

	/* Its signature: none, another, of another value, before the value, twice. */
	CHECK(feed_trailer(SIGNED_TRAILER, TRAILER_LINE "\r\n", &is_complete) == ERR_NONE);
	CHECK(!is_complete);
	CHECK(feed_trailer(SIGNED_TRAILER,
	          TRAILER_LINE "x-amz-trailer-signature:" NO_SIGNATURE "\r\n",
	          &is_complete) == ERR_DENIED);
	CHECK(feed_trailer(SIGNED_TRAILER, "x-amz-checksum-crc32c:sOO8/g==\r\n" TRAILER_SIGN,
	          &is_complete) == ERR_DENIED);
	CHECK(feed_trailer(SIGNED_TRAILER, TRAILER_SIGN TRAILER_LINE, &is_complete) == ERR_BAD);
	CHECK(feed_trailer(SIGNED_TRAILER, TRAILER_LINE TRAILER_SIGN TRAILER_SIGN, &is_complete) ==
	    ERR_BAD);
	CHECK(feed_trailer(SIGNED_TRAILER, TRAILER_LINE "x-amz-trailer-signature:00\r\n",
	          &is_complete) == ERR_BAD);
}

/* Of any size, as they come; but with a first line that is a number and not more than was promised. */
static void
unsigned_chunks_pass_as_they_come(void **state)
{
	static const char *const bad[] = { "\r\n", "g\r\n", "1;a=b\r\n", "1\n", "10401\r\n",
		"00000000000000001\r\n" };
	_cleanup_buf_ struct buf out = BUF_INIT(1 << 20);
	struct chunked *k = open_trailer(UNSIGNED_TRAILER);
	struct err e;

	CHECK_OK(chunked_feed(k, "0000000000010400\r\naaa", 21, &out, &e), &e);
	CHECK_STR(buf_str(&out), "aaa");
	CHECK(!chunked_is_complete(k) && !chunked_lacks_trailer(k));
	chunked_close(k);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		k = open_trailer(UNSIGNED_TRAILER);
		CHECK(chunked_feed(k, bad[i], strlen(bad[i]), &out, &e) == -1);
		CHECK(e.kind == ERR_BAD);
		chunked_close(k);
	}
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
		cmocka_unit_test(dates_come_in_three_forms),
		cmocka_unit_test(etags_lose_their_quotes_and_never_overflow),
		cmocka_unit_test(a_token_gives_back_the_key_for_any_bytes),
		cmocka_unit_test(a_token_that_is_not_ours_is_refused),
		cmocka_unit_test(published_checksums_come_out),
		cmocka_unit_test(checksums_of_parts_join_to_that_of_the_whole),
		cmocka_unit_test(checksums_have_names_and_a_form),
		cmocka_unit_test(aws_example_trailer),
		cmocka_unit_test(trailers_are_taken_as_clients_write_them),
		cmocka_unit_test(trailers_that_are_missing_wrong_or_too_long_are_refused),
		cmocka_unit_test(unsigned_chunks_pass_as_they_come),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
