/* s3_chunked.c - bodies in chunks: signed one over the other, or unsigned; and their trailers.
 *
 *	hex-size [";chunk-signature=" 64 hex digits] CR LF  data  CR LF
 *
 * The last chunk has no data; the CR LF after it may be missing. With a trailer its line is followed by
 *
 *	name ":" value CR LF  ["x-amz-trailer-signature:" 64 hex digits CR LF]  CR LF
 *
 * where clients also end lines by LF alone, and put empty ones between. Nothing leaves before its
 * signature was checked, and after an error nothing leaves any more.
 */
#include "front/s3_sign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/id.h"

#define CHUNK_MAX    ((size_t)16 << 20)
#define SIGN_WORD    ";chunk-signature="
#define SIZE_MAX_    8  /* digits of a chunk's size */
#define BARE_MAX     16 /* likewise, unsigned */
#define HEAD_MAX     (SIZE_MAX_ + sizeof SIGN_WORD - 1 + 2 * (size_t)SHA256_BYTES + 2)
#define KEPT_BYTES   ((size_t)1 << 20) /* a larger chunk's memory is given back */

#define TRAILER_SIGN "x-amz-trailer-signature"
#define LINE_MAX_    ((size_t)160) /* of the trailer */
#define TRAILER_MAX  ((size_t)1024)

enum chunk_state { CHUNK_HEAD, CHUNK_DATA, CHUNK_END, CHUNK_LAST, CHUNK_TRAILER, CHUNK_BROKEN };

struct chunked {
	enum payload_kind kind;
	uint8_t key[SHA256_BYTES];
	char scope[160]; /* of every string to sign: time, scope */
	char previous[2 * SHA256_BYTES + 1];
	uint64_t length; /* what x-amz-decoded-content-length promised */
	uint64_t released;

	enum chunk_state state;
	char head[LINE_MAX_ + 1]; /* the line that is coming */
	size_t head_len;
	size_t size; /* of the chunk that is coming; unsigned: what is left of it */
	uint8_t signature[SHA256_BYTES];
	struct buf data; /* its part so far, if it did not come in one piece */
	unsigned ends;   /* of the CR LF after the data, what has come */

	char trailer[48]; /* its name, and its value once it has come */
	char value[LINE_MAX_];
	size_t trailer_bytes;
	bool has_value, is_signed; /* is_signed: and the signature was right */
	bool is_bad;               /* it was what broke the body */
};

static bool
is_unsigned(const struct chunked *c)
{
	return c->kind == PAYLOAD_STREAMING_UNSIGNED_TRAILER;
}

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
	n = snprintf(k->scope, sizeof k->scope, "%s\n%s/%s/%s/aws4_request\n", c->time, c->date,
	    c->region, c->service);
	if (n < 0 || (size_t)n >= sizeof k->scope) {
		err_set(e, ERR_INTERNAL, "the credential's scope is too long");
		return NULL;
	}
	hex_text(c->signature, SHA256_BYTES, k->previous);
	k->kind = c->payload;
	k->length = c->decoded_length;
	memcpy(k->trailer, c->trailer, sizeof k->trailer);
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
	if (c->released != c->length)
		return false;
	if (c->state == CHUNK_TRAILER)
		return !c->head_len && c->has_value && (is_unsigned(c) || c->is_signed);
	return c->state == CHUNK_LAST && c->ends != 1;
}

bool
chunked_lacks_trailer(const struct chunked *c)
{
	if (c->released != c->length)
		return false;
	return c->is_bad || (c->state == CHUNK_TRAILER && !chunked_is_complete(c));
}

const char *
chunked_trailer(const struct chunked *c)
{
	return c->value;
}

/* "400;chunk-signature=..." or "400" */
static int
head_parse(struct chunked *c, struct err *e)
{
	size_t digits = strspn(c->head, "0123456789abcdefABCDEF");
	const char *rest = c->head + digits;

	if (is_unsigned(c) ? !digits || digits > BARE_MAX || *rest
	                   : !digits || digits > SIZE_MAX_ ||
	            strncmp(rest, SIGN_WORD, sizeof SIGN_WORD - 1) != 0 ||
	            !hex_parse(rest + sizeof SIGN_WORD - 1, c->signature, SHA256_BYTES))
		return err_set(e, ERR_BAD, "a chunk's first line is malformed");
	c->size = strtoull(c->head, NULL, 16);
	if (c->size > CHUNK_MAX && !is_unsigned(c))
		return err_set(e, ERR_BAD, "a chunk is larger than 16 MiB");
	if (c->size > c->length - c->released)
		return err_set(
		    e, ERR_BAD, "the chunks have more than x-amz-decoded-content-length");
	return 0;
}

#define FIRST_CHUNK   "AWS4-HMAC-SHA256-PAYLOAD\n"
#define FIRST_TRAILER "AWS4-HMAC-SHA256-TRAILER\n"
#define EMPTY_SHA256  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"

/* Whether c->signature is over the N bytes at P and all before. */
static bool
signature_fits(struct chunked *c, const char *first, const char *between, const void *p, size_t n)
{
	char text[sizeof FIRST_CHUNK + sizeof c->scope + 3 * (2 * SHA256_BYTES + 1) + 1], *end;
	uint8_t hash[SHA256_BYTES], should[SHA256_BYTES];

	sha256(p, n, hash);
	end = stpcpy(stpcpy(stpcpy(text, first), c->scope), c->previous);
	*end++ = '\n';
	end = stpcpy(end, between);
	hex_text(hash, sizeof hash, end);
	end += 2 * sizeof hash;
	hmac_sha256(c->key, sizeof c->key, text, (size_t)(end - text), should);
	if (!same_secret(should, c->signature, sizeof should))
		return false;
	hex_text(should, sizeof should, c->previous);
	return true;
}

/* The data of a chunk is through. */
static void
chunk_end(struct chunked *c, bool is_last)
{
	c->state = !is_last ? CHUNK_END : payload_has_trailer(c->kind) ? CHUNK_TRAILER : CHUNK_LAST;
	c->ends = 0;
}

/* Let the chunk go, whose data is at P. */
static int
chunk_release(struct chunked *c, const void *p, struct buf *out, struct err *e)
{
	if (!signature_fits(c, FIRST_CHUNK, EMPTY_SHA256, p, c->size))
		return err_set(e, ERR_DENIED, "a chunk's signature is wrong");
	buf_add(out, p, c->size);
	if (buf_check(out, e) < 0)
		return -1;
	c->released += c->size;
	chunk_end(c, !c->size);
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
	if (!c->size && is_unsigned(c))
		chunk_end(c, true);
	else if (!c->size && chunk_release(c, "", out, e) < 0)
		return -1;
	return (ssize_t)len;
}

/* Unsigned: it goes on as it comes. */
static ssize_t
take_unsigned(struct chunked *c, const uint8_t *p, size_t n, struct buf *out, struct err *e)
{
	if (n > c->size)
		n = c->size;
	buf_add(out, p, n);
	if (buf_check(out, e) < 0)
		return -1;
	c->released += n;
	c->size -= n;
	if (!c->size)
		chunk_end(c, false);
	return (ssize_t)n;
}

static ssize_t
take_data(struct chunked *c, const uint8_t *p, size_t n, struct buf *out, struct err *e)
{
	size_t want = c->size - c->data.len;

	if (is_unsigned(c))
		return take_unsigned(c, p, n, out, e);
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

static int
trailer_check(struct chunked *c, const char *signature, struct err *e)
{
	char text[sizeof c->trailer + sizeof c->value + 2];
	int n = snprintf(text, sizeof text, "%s:%s\n", c->trailer, c->value);

	if (!c->has_value || !hex_parse(signature, c->signature, SHA256_BYTES))
		return err_set(e, ERR_BAD, "the trailer's signature is malformed");
	if (!signature_fits(c, FIRST_TRAILER, "", text, (size_t)n))
		return err_set(e, ERR_DENIED, "the trailer's signature is wrong");
	c->is_signed = true;
	return 0;
}

/* "x-amz-checksum-crc32:...", once, then its signature if there is to be one. */
static int
trailer_line(struct chunked *c, struct err *e)
{
	char *value = strchr(c->head, ':');
	size_t n;

	if (!value)
		return err_set(e, ERR_BAD, "the trailer is malformed");
	*value++ = '\0';
	value += strspn(value, " \t");
	n = strlen(value);
	while (n && (value[n - 1] == ' ' || value[n - 1] == '\t'))
		value[--n] = '\0';
	if (!is_unsigned(c) && !c->is_signed && !strcasecmp(c->head, TRAILER_SIGN))
		return trailer_check(c, value, e);
	if (c->has_value || strcasecmp(c->head, c->trailer) != 0)
		return err_set(e, ERR_BAD, "the trailer is not what was announced");
	memcpy(c->value, value, n + 1);
	c->has_value = true;
	return 0;
}

static ssize_t
take_trailer(struct chunked *c, const uint8_t *p, size_t n, struct err *e)
{
	const uint8_t *end = memchr(p, '\n', n);
	size_t len = end ? (size_t)(end - p) + 1 : n;

	if (len >= LINE_MAX_ - c->head_len || len > TRAILER_MAX - c->trailer_bytes)
		return err_set(e, ERR_BAD, "the trailer is too long");
	memcpy(c->head + c->head_len, p, len);
	c->head_len += len;
	c->trailer_bytes += len;
	if (!end)
		return (ssize_t)len;
	if (memchr(c->head, '\0', c->head_len))
		return err_set(e, ERR_BAD, "the trailer is malformed");
	c->head_len--;
	if (c->head_len && c->head[c->head_len - 1] == '\r')
		c->head_len--;
	c->head[c->head_len] = '\0';
	if (c->head_len && trailer_line(c, e) < 0)
		return -1;
	c->head_len = 0;
	return (ssize_t)len;
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
		case CHUNK_TRAILER:
			took = take_trailer(c, at, n, e);
			break;
		case CHUNK_BROKEN:
			err_set(e, ERR_BAD, "the chunked body was broken before");
			break;
		}
		if (took < 0) {
			c->is_bad |= c->state == CHUNK_TRAILER;
			c->state = CHUNK_BROKEN;
			return -1;
		}
		at += took;
		n -= (size_t)took;
	}
	return 0;
}
