/* Bodies in signed chunks, and the trailers that may follow them, against the examples that AWS publishes
 * ("Transferring Payload in Multiple Chunks" in the Amazon S3 API Reference).
 */
#include "sign_fixture.h"

#define SEED "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"

static struct request *
put_chunks(struct fake *f, const char *decoded_length)
{
	begin(f, "PUT", "/examplebucket/chunkObject.txt", "");
	header(f, "Host", "s3.amazonaws.com");
	header(f, "x-amz-date", WHEN);
	header(f, "x-amz-storage-class", "REDUCED_REDUNDANCY");
	header(f, "x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
	header(f, "Content-Encoding", "aws-chunked");
	header(f, "x-amz-decoded-content-length", decoded_length);
	header(f, "Content-Length", "66824");
	authorize(f,
	    "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
	    "x-amz-decoded-content-length;x-amz-storage-class",
	    SEED);
	return &f->r;
}

static struct chunked *
open_chunks(const char *decoded_length)
{
	struct fake f;
	struct sign_claim c;
	uint8_t key[SHA256_BYTES];
	const char *code;
	struct err e;

	CHECK(sign_parse(put_chunks(&f, decoded_length), &c, &code, &e) == 1);
	CHECK(c.payload == PAYLOAD_STREAMING_SIGNED);
	signing_key(key);
	struct chunked *k = chunked_open(&c, key, &e);

	CHECK(k);
	return k;
}

/* AWS's body: 65,536 and then 1,024 times 'a'. */
static void
chunks_body(struct buf *b)
{
	buf_add_str(b,
	    "10000;chunk-signature="
	    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n");
	for (unsigned i = 0; i < 65536; i++)
		buf_add_char(b, 'a');
	buf_add_str(b,
	    "\r\n400;chunk-signature="
	    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n");
	for (unsigned i = 0; i < 1024; i++)
		buf_add_char(b, 'a');
	buf_add_str(b,
	    "\r\n0;chunk-signature="
	    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n");
	CHECK(b->len == 66824);
}

static void
aws_example_chunks(void **state)
{
	static const size_t pieces[] = { 66824, 1, 2, 7, 64, 1000, 65621, 65622, 65623, 66735 };
	_cleanup_buf_ struct buf body = BUF_INIT(1 << 20);
	struct fake f;
	struct err e;

	CHECK_STR(verdict(put_chunks(&f, "66560")), "");
	chunks_body(&body);
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		_cleanup_buf_ struct buf out = BUF_INIT(1 << 20);
		struct chunked *k = open_chunks("66560");

		for (size_t at = 0; at < body.len; at += pieces[i]) {
			size_t n = body.len - at < pieces[i] ? body.len - at : pieces[i];

			/* Complete from the last chunk's line on, but for half a line end. */
			CHECK(chunked_is_complete(k) == (at == body.len - 2));
			CHECK_OK(chunked_feed(k, body.data + at, n, &out, &e), &e);
		}
		CHECK(chunked_is_complete(k));
		CHECK(out.len == 66560);
		CHECK(strspn(buf_str(&out), "a") == 66560);
		CHECK(chunked_feed(k, "\r", 1, &out, &e) == -1 && e.kind == ERR_BAD);
		CHECK(!chunked_is_complete(k));
		chunked_close(k);
	}
}

/* Feed BODY with the byte at AT altered: what comes out, and what is said. */
static enum err_kind
feed_altered(struct buf *body, size_t at, size_t *released)
{
	_cleanup_buf_ struct buf out = BUF_INIT(1 << 20);
	struct chunked *k = open_chunks("66560");
	struct err e = { 0 };

	body->data[at] ^= 3;
	CHECK(chunked_feed(k, body->data, body->len, &out, &e) == -1);
	body->data[at] ^= 3;
	CHECK(!chunked_is_complete(k));
	*released = out.len;
	CHECK(chunked_feed(k, "0", 1, &out, NULL) == -1);
	CHECK(out.len == *released);
	chunked_close(k);
	return e.kind;
}

static void
nothing_of_an_altered_chunk_is_released(void **state)
{
	_cleanup_buf_ struct buf body = BUF_INIT(1 << 20);
	size_t released;

	chunks_body(&body);
	CHECK(feed_altered(&body, 0, &released) == ERR_BAD && !released);
	CHECK(feed_altered(&body, 5, &released) == ERR_BAD && !released);
	CHECK(feed_altered(&body, 40, &released) == ERR_DENIED && !released);
	CHECK(feed_altered(&body, 100, &released) == ERR_DENIED && !released);
	CHECK(feed_altered(&body, 88 + 65536, &released) == ERR_BAD && released == 65536);
	CHECK(feed_altered(&body, 65700 + 200, &released) == ERR_DENIED && released == 65536);
	CHECK(feed_altered(&body, 66824 - 10, &released) == ERR_DENIED && released == 66560);
	CHECK(feed_altered(&body, 66824 - 1, &released) == ERR_BAD && released == 66560);
}

static void
chunks_cannot_be_left_out_or_cut_off(void **state)
{
	_cleanup_buf_ struct buf body = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
	struct chunked *k = open_chunks("66560");
	struct err e;

	chunks_body(&body);
	CHECK_OK(chunked_feed(k, body.data, 66824 - 88, &out, &e), &e);
	CHECK(!chunked_is_complete(k) && out.len == 66560);
	chunked_close(k);

	/* The second chunk first. */
	k = open_chunks("66560");
	buf_clear(&out);
	CHECK(chunked_feed(k, body.data + 65624, 66824 - 65624, &out, &e) == -1);
	CHECK(!out.len);
	chunked_close(k);

	/* More than was promised, and less. */
	k = open_chunks("66559");
	CHECK(chunked_feed(k, body.data, body.len, &out, &e) == -1 && e.kind == ERR_BAD);
	chunked_close(k);
	k = open_chunks("66561");
	buf_clear(&out);
	CHECK_OK(chunked_feed(k, body.data, body.len, &out, &e), &e);
	CHECK(!chunked_is_complete(k));
	chunked_close(k);
}

static void
malformed_chunk_lines_are_refused(void **state)
{
#define SIGNED ";chunk-signature=" NO_SIGNATURE "\r\n"
	static const char *const lines[] = {
		SIGNED,
		"1\r\n",
		"1 " SIGNED,
		"-1" SIGNED,
		"0x1" SIGNED,
		"g" SIGNED,
		"1;chunk-signature=00\r\n",
		"1;chunk-signature=" NO_SIGNATURE "\n",
		"1;chunk-signature=" NO_SIGNATURE "0\r\n",
		"1;x=y;chunk-signature=" NO_SIGNATURE "\r\n",
		"1000001" SIGNED, /* 16 MiB and a byte */
		"ffffffff" SIGNED,
		"000000001" SIGNED,
		"\n",
		"\r\n",
	};
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		_cleanup_buf_ struct buf out = BUF_INIT(1 << 20);
		struct chunked *k = open_chunks("18446744073709551615");

		CHECK(chunked_feed(k, lines[i], strlen(lines[i]), &out, &e) == -1);
		CHECK(e.kind == ERR_BAD);
		chunked_close(k);
	}
	struct chunked *k = open_chunks("0");
	_cleanup_buf_ struct buf out = BUF_INIT(1 << 20);

	CHECK_OK(chunked_feed(k, "1000000;chunk-", 14, &out, &e), &e);
	chunked_close(k);
	chunked_close(NULL);
}

/* --- trailers --- */

#define SIGNED_TRAILER   "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
#define UNSIGNED_TRAILER "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

/* AWS's example, from "Signature Calculations for the Authorization Header: Including Trailing
 * Headers". */
static struct request *
put_trailer(struct fake *f, const char *payload, const char *trailer)
{
	begin(f, "PUT", "/examplebucket/chunkObject.txt", "");
	header(f, "Host", "s3.amazonaws.com");
	header(f, "Content-Encoding", "aws-chunked");
	header(f, "x-amz-content-sha256", payload);
	header(f, "x-amz-date", WHEN);
	header(f, "x-amz-decoded-content-length", "66560");
	header(f, "x-amz-storage-class", "REDUCED_REDUNDANCY");
	if (trailer)
		header(f, "x-amz-trailer", trailer);
	authorize(f,
	    "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
	    "x-amz-storage-class;x-amz-trailer",
	    "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e");
	return &f->r;
}

static void
a_trailer_is_announced_by_one_name(void **state)
{
	struct fake f;
	struct sign_claim c;
	const char *code;
	struct err e;

	CHECK_STR(verdict(put_trailer(&f, SIGNED_TRAILER, "x-amz-checksum-crc32c")), "");
	CHECK(sign_parse(
	          put_trailer(&f, UNSIGNED_TRAILER, "X-Amz-Checksum-CRC32C"), &c, &code, &e) == 1);
	CHECK(c.payload == PAYLOAD_STREAMING_UNSIGNED_TRAILER && c.decoded_length == 66560);
	CHECK_STR(c.trailer, "x-amz-checksum-crc32c");
	CHECK_STR(verdict(put_trailer(&f, SIGNED_TRAILER, NULL)), "InvalidRequest");
	CHECK_STR(verdict(put_trailer(&f, UNSIGNED_TRAILER, "")), "InvalidRequest");
	CHECK_STR(verdict(put_trailer(&f, UNSIGNED_TRAILER, "a,b")), "InvalidRequest");
	CHECK_STR(verdict(put_trailer(
	              &f, UNSIGNED_TRAILER, "x-amz-checksum-of-a-kind-that-has-a-very-long-name")),
	    "InvalidRequest");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aws_example_chunks),
		cmocka_unit_test(nothing_of_an_altered_chunk_is_released),
		cmocka_unit_test(chunks_cannot_be_left_out_or_cut_off),
		cmocka_unit_test(malformed_chunk_lines_are_refused),
		cmocka_unit_test(a_trailer_is_announced_by_one_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
