/* fuzz_chunked.c - aws-chunked bodies. The first byte is the size of the pieces they come in (0: all
 * at once), the second says what follows:
 *
 *   even: the body as it stands; in pieces and at once it must come to the same;
 *   odd: the place (3 bytes) and the mask (1) of a byte to alter, then a list of sizes; the chunks
 *   are signed here. What comes out must be the beginning of what went in, all of it if unaltered.
 */
#include "base/id.h"
#include "front/s3_sign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const uint8_t key[SHA256_BYTES] = { 1, 2, 3 };

static struct sign_claim
claim(uint64_t length)
{
	return (struct sign_claim){
		.date = "20130524",
		.region = "r",
		.service = "s3",
		.time = "20130524T000000Z",
		.payload = PAYLOAD_STREAMING_SIGNED,
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
	return chunked_is_complete(k);
}

static void
add_chunk(struct buf *body, char previous[static 65], const uint8_t *p, size_t n)
{
	static const uint8_t nothing[1];
	uint8_t hash[SHA256_BYTES];
	char hex[65], empty[65], text[512];

	sha256(nothing, 0, hash);
	hex_text(hash, sizeof hash, empty);
	sha256(p, n, hash);
	hex_text(hash, sizeof hash, hex);
	snprintf(text, sizeof text,
	    "AWS4-HMAC-SHA256-PAYLOAD\n20130524T000000Z\n20130524/r/s3/aws4_request\n%s\n%s\n%s",
	    previous, empty, hex);
	hmac_sha256(key, sizeof key, text, strlen(text), hash);
	hex_text(hash, sizeof hash, previous);
	buf_printf(body, "%zx;chunk-signature=%s\r\n", n, previous);
	buf_add(body, p, n);
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
	if (buf_check(&body, NULL) < 0)
		abort();
	at = ((size_t)data[0] << 16 | (size_t)data[1] << 8 | data[2]) % body.len;
	body.data[at] ^= data[3];
	rc = feed(plain.len, body.data, body.len, piece, &out);
	if (out.len > plain.len || (out.len && memcmp(out.data, plain.data, out.len) != 0))
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
	if (data[1] & 1) {
		signed_chunks(data + 2, n - 2, data[0]);
		return 0;
	}
	rc = feed(n, data + 2, n - 2, 0, &whole);
	if (feed(n, data + 2, n - 2, data[0], &pieces) != rc || whole.len != pieces.len)
		abort();
	if (whole.len)
		abort(); /* nobody signs by chance */
	return 0;
}
