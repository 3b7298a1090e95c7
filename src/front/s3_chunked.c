/* s3_chunked.c - bodies whose chunks are signed, one over the other.
 *
 *	hex-size ";chunk-signature=" 64 hex digits CR LF  data  CR LF
 *
 * The last chunk has no data; the CR LF after it may be missing. Nothing leaves before its
 * signature was checked, and after an error nothing leaves any more.
 */
#include "front/s3_sign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/id.h"

#define CHUNK_MAX  ((size_t)16 << 20)
#define SIGN_WORD  ";chunk-signature="
#define SIZE_MAX_  8 /* digits of a chunk's size */
#define HEAD_MAX   (SIZE_MAX_ + sizeof SIGN_WORD - 1 + 2 * (size_t)SHA256_BYTES + 2)
#define KEPT_BYTES ((size_t)1 << 20) /* a larger chunk's memory is given back */

enum chunk_state { CHUNK_HEAD, CHUNK_DATA, CHUNK_END, CHUNK_LAST, CHUNK_BROKEN };

struct chunked {
	uint8_t key[SHA256_BYTES];
	char prefix[160]; /* of every string to sign: algorithm, time, scope */
	char previous[2 * SHA256_BYTES + 1];
	uint64_t length; /* what x-amz-decoded-content-length promised */
	uint64_t released;

	enum chunk_state state;
	char head[HEAD_MAX + 1];
	size_t head_len;
	size_t size; /* of the chunk that is coming */
	uint8_t signature[SHA256_BYTES];
	struct buf data; /* its part so far, if it did not come in one piece */
	unsigned ends;   /* of the CR LF after the data, what has come */
};

struct chunked *
chunked_open(
    const struct sign_claim *c, const uint8_t signing_key[static SHA256_BYTES], struct err *e)
{
	_cleanup_(chunked_closep) struct chunked *k = calloc(1, sizeof *k);
	int n;

	if (!k) {
		err_set(e, ERR_MEMORY, "no memory for a chunked body");
		return NULL;
	}
	memcpy(k->key, signing_key, sizeof k->key);
	n = snprintf(k->prefix, sizeof k->prefix,
	    "AWS4-HMAC-SHA256-PAYLOAD\n%s\n%s/%s/%s/aws4_request\n", c->time, c->date, c->region,
	    c->service);
	if (n < 0 || (size_t)n >= sizeof k->prefix) {
		err_set(e, ERR_INTERNAL, "the credential's scope is too long");
		return NULL;
	}
	hex_text(c->signature, SHA256_BYTES, k->previous);
	k->length = c->decoded_length;
	k->data.max = CHUNK_MAX;
	return take(&k);
}

void
chunked_close(struct chunked *c)
{
	if (!c)
		return;
	buf_free(&c->data);
	wipe(c->key, sizeof c->key);
	free(c);
}

bool
chunked_is_complete(const struct chunked *c)
{
	return c->state == CHUNK_LAST && c->ends != 1 && c->released == c->length;
}

/* "400;chunk-signature=..." */
static int
head_parse(struct chunked *c, struct err *e)
{
	size_t digits = strspn(c->head, "0123456789abcdefABCDEF");
	const char *rest = c->head + digits;

	if (!digits || digits > SIZE_MAX_ || strncmp(rest, SIGN_WORD, sizeof SIGN_WORD - 1) != 0 ||
	    !hex_parse(rest + sizeof SIGN_WORD - 1, c->signature, SHA256_BYTES))
		return err_set(e, ERR_BAD, "a chunk's first line is malformed");
	c->size = strtoul(c->head, NULL, 16);
	if (c->size > CHUNK_MAX)
		return err_set(e, ERR_BAD, "a chunk is larger than 16 MiB");
	if (c->size > c->length - c->released)
		return err_set(
		    e, ERR_BAD, "the chunks have more than x-amz-decoded-content-length");
	return 0;
}

static int
chunk_check(struct chunked *c, const void *p, struct err *e)
{
	static const char empty[] =
	    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
	char text[sizeof c->prefix + 3 * (2 * SHA256_BYTES + 1) + 1], *end;
	uint8_t hash[SHA256_BYTES], should[SHA256_BYTES];

	sha256(p, c->size, hash);
	end = stpcpy(stpcpy(text, c->prefix), c->previous);
	*end++ = '\n';
	end = stpcpy(end, empty);
	*end++ = '\n';
	hex_text(hash, sizeof hash, end);
	end += 2 * sizeof hash;
	hmac_sha256(c->key, sizeof c->key, text, (size_t)(end - text), should);
	if (!same_secret(should, c->signature, sizeof should))
		return err_set(e, ERR_DENIED, "a chunk's signature is wrong");
	hex_text(should, sizeof should, c->previous);
	return 0;
}

/* Let the chunk go, whose data is at P. */
static int
chunk_release(struct chunked *c, const void *p, struct buf *out, struct err *e)
{
	if (chunk_check(c, p, e) < 0)
		return -1;
	buf_add(out, p, c->size);
	if (buf_check(out, e) < 0)
		return -1;
	c->released += c->size;
	c->state = c->size ? CHUNK_END : CHUNK_LAST;
	c->ends = 0;
	if (c->data.cap > KEPT_BYTES)
		buf_free(&c->data);
	else
		buf_clear(&c->data);
	return 0;
}

/* Each takes some of the N bytes at P (N > 0) and returns how many, or -1. */

static ssize_t
take_head(struct chunked *c, const uint8_t *p, size_t n, struct buf *out, struct err *e)
{
	const uint8_t *end = memchr(p, '\n', n);
	size_t len = end ? (size_t)(end - p) + 1 : n;

	if (len > HEAD_MAX - c->head_len)
		return err_set(e, ERR_BAD, "a chunk's first line is too long");
	memcpy(c->head + c->head_len, p, len);
	c->head_len += len;
	if (!end)
		return (ssize_t)len;
	if (c->head_len < 2 || c->head[c->head_len - 2] != '\r' ||
	    memchr(c->head, '\0', c->head_len))
		return err_set(e, ERR_BAD, "a chunk's first line is malformed");
	c->head[c->head_len - 2] = '\0';
	c->head_len = 0;
	if (head_parse(c, e) < 0)
		return -1;
	c->state = CHUNK_DATA;
	if (!c->size && chunk_release(c, "", out, e) < 0)
		return -1;
	return (ssize_t)len;
}

static ssize_t
take_data(struct chunked *c, const uint8_t *p, size_t n, struct buf *out, struct err *e)
{
	size_t want = c->size - c->data.len;

	if (n > want)
		n = want;
	if (n == c->size) /* all of it where it lies */
		return chunk_release(c, p, out, e) < 0 ? -1 : (ssize_t)n;
	buf_add(&c->data, p, n);
	if (buf_check(&c->data, e) < 0)
		return -1;
	if (n == want && chunk_release(c, c->data.data, out, e) < 0)
		return -1;
	return (ssize_t)n;
}

static ssize_t
take_end(struct chunked *c, const uint8_t *p, struct err *e)
{
	if (c->ends > 1 || *p != "\r\n"[c->ends])
		return err_set(e, ERR_BAD,
		    c->state == CHUNK_LAST ? "there is more after the last chunk"
		                           : "a chunk is longer than its first line says");
	c->ends++;
	if (c->ends == 2 && c->state == CHUNK_END)
		c->state = CHUNK_HEAD;
	return 1;
}

int
chunked_feed(struct chunked *c, const void *p, size_t n, struct buf *out, struct err *e)
{
	const uint8_t *at = p;

	while (n) {
		ssize_t took = -1;

		switch (c->state) {
		case CHUNK_HEAD:
			took = take_head(c, at, n, out, e);
			break;
		case CHUNK_DATA:
			took = take_data(c, at, n, out, e);
			break;
		case CHUNK_END:
		case CHUNK_LAST:
			took = take_end(c, at, e);
			break;
		case CHUNK_BROKEN:
			err_set(e, ERR_BAD, "the chunked body was broken before");
			break;
		}
		if (took < 0) {
			c->state = CHUNK_BROKEN;
			return -1;
		}
		at += took;
		n -= (size_t)took;
	}
	return 0;
}
