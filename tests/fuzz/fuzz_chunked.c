/* fuzz_chunked.c - aws-chunked bodies. The first byte is the size of the pieces they come in (0: all
 * at once), the second says what follows, its higher bits of which kind (kinds):
 *
 *   even: the body as it stands; in pieces and at once it must come to the same;
 *   odd: the place (3 bytes) and the mask (1) of a byte to alter, then a list of sizes; the chunks
 *   are made here. What comes out must be the beginning of what went in if they are signed, and all
 *   of it if unaltered.
 */
#include "base/id.h"
#include "front/s3_sign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const uint8_t key[SHA256_BYTES] = { 1, 2, 3 };

static const enum payload_kind kinds[] = { PAYLOAD_STREAMING_SIGNED,
	PAYLOAD_STREAMING_SIGNED_TRAILER, PAYLOAD_STREAMING_UNSIGNED_TRAILER };
static enum payload_kind kind;

static struct sign_claim
claim(uint64_t length)
{
	return (struct sign_claim){
		.date = "20130524",
		.region = "r",
		.service = "s3",
		.time = "20130524T000000Z",
		.payload = kind,
		.trailer = "x-amz-checksum-crc32",
		.decoded_length = length,
	};
}

/* 1: complete; 0: not yet; -1: refused. */
static int
feed(uint64_t length, const uint8_t *p, size_t n, size_t piece, struct buf *out)
{
	struct sign_claim c = claim(length);
	struct err e = { 0 };
	_cleanup_(chunked_closep) struct chunked *k = chunked_open(&c, key, &e);

	if (!k)
		abort();
	while (n) {
		size_t now = piece && piece < n ? piece : n;

		if (chunked_feed(k, p, now, out, &e) < 0) {
			if (e.kind != ERR_BAD && e.kind != ERR_DENIED)
				abort();
			if (chunked_is_complete(k))
				abort();
			return -1;
		}
		p += now;
		n -= now;
	}
	if (chunked_is_complete(k) && (chunked_lacks_trailer(k) || out->len != length))
		abort();
	if (strlen(chunked_trailer(k)) > 200)
		abort();
	return chunked_is_complete(k);
}

/* Sign the N bytes at P after PREVIOUS, which becomes the signature. */
static void
sign_next(
    char previous[static 65], const char *first, const char *between, const uint8_t *p, size_t n)
{
	uint8_t hash[SHA256_BYTES];
	char hex[65], text[512];

	sha256(p, n, hash);
	hex_text(hash, sizeof hash, hex);
	snprintf(text, sizeof text, "%s\n20130524T000000Z\n20130524/r/s3/aws4_request\n%s\n%s%s",
	    first, previous, between, hex);
	hmac_sha256(key, sizeof key, text, strlen(text), hash);
	hex_text(hash, sizeof hash, previous);
}

static void
add_chunk(struct buf *body, char previous[static 65], const uint8_t *p, size_t n)
{
	static const char empty[] =
	    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n";

	if (kind == PAYLOAD_STREAMING_UNSIGNED_TRAILER) {
		buf_printf(body, "%zx\r\n", n);
	} else {
		sign_next(previous, "AWS4-HMAC-SHA256-PAYLOAD", empty, p, n);
		buf_printf(body, "%zx;chunk-signature=%s\r\n", n, previous);
	}
	buf_add(body, p, n);
	if (n || !payload_has_trailer(kind))
		buf_add_str(body, "\r\n");
}

static void
add_trailer(struct buf *body, char previous[static 65])
{
	static const char line[] = "x-amz-checksum-crc32:AAAAAA==";

	if (!payload_has_trailer(kind))
		return;
	buf_printf(body, "%s\r\n", line);
	if (kind == PAYLOAD_STREAMING_SIGNED_TRAILER) {
		sign_next(previous, "AWS4-HMAC-SHA256-TRAILER", "",
		    (const uint8_t *)"x-amz-checksum-crc32:AAAAAA==\n", sizeof line);
		buf_printf(body, "x-amz-trailer-signature:%s\r\n", previous);
	}
	buf_add_str(body, "\r\n");
}

static void
signed_chunks(const uint8_t *data, size_t n, size_t piece)
{
	_cleanup_buf_ struct buf plain = BUF_INIT(1 << 20), body = BUF_INIT(1 << 21),
	                         out = BUF_INIT(1 << 20);
	char previous[65];
	uint8_t fill[256];
	size_t at = 0;
	int rc;

	memset(previous, '0', 64);
	previous[64] = '\0';
	if (n < 4)
		return;
	for (size_t i = 4; i < n && i < 68; i++) {
		size_t size = data[i];

		if (!size)
			continue;
		memset(fill, (int)('a' + i % 26), sizeof fill);
		buf_add(&plain, fill, size);
		add_chunk(&body, previous, fill, size);
	}
	add_chunk(&body, previous, fill, 0);
	add_trailer(&body, previous);
	if (buf_check(&body, NULL) < 0)
		abort();
	at = ((size_t)data[0] << 16 | (size_t)data[1] << 8 | data[2]) % body.len;
	body.data[at] ^= data[3];
	rc = feed(plain.len, body.data, body.len, piece, &out);
	if (out.len > plain.len)
		abort();
	if ((kind != PAYLOAD_STREAMING_UNSIGNED_TRAILER || !data[3]) && out.len &&
	    memcmp(out.data, plain.data, out.len) != 0)
		abort();
	if (rc == 1 && out.len != plain.len)
		abort();
	if (!data[3] && rc != 1)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	_cleanup_buf_ struct buf whole = BUF_INIT(1 << 20), pieces = BUF_INIT(1 << 20);
	int rc;

	if (n < 2)
		return 0;
	kind = kinds[(data[1] >> 1) % ARRAY_LEN(kinds)];
	if (data[1] & 1) {
		signed_chunks(data + 2, n - 2, data[0]);
		return 0;
	}
	rc = feed(n, data + 2, n - 2, 0, &whole);
	if (feed(n, data + 2, n - 2, data[0], &pieces) != rc || whole.len != pieces.len)
		abort();
	if (kind != PAYLOAD_STREAMING_UNSIGNED_TRAILER && whole.len)
		abort(); /* nobody signs by chance */
	if (whole.len && memcmp(whole.data, pieces.data, whole.len) != 0)
		abort();
	return 0;
}
