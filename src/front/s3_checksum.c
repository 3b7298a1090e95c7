/* s3_checksum.c - see s3_checksum.h.
 *
 * The three CRCs are reflected, begin with ones and end inverted; so one loop does for all of them,
 * eight bytes at a time ("slicing by eight").
 */
#include "front/s3_checksum.h"

#include <endian.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "front/request.h"

#define SLICES 8

struct crc {
	uint64_t polynomial; /* its bits reversed */
	uint64_t ones;
	uint64_t table[SLICES][256];
};

static struct crc crcs[] = {
	[CHECKSUM_CRC32] = { 0xedb88320, UINT32_MAX, { { 0 } } },
	[CHECKSUM_CRC32C] = { 0x82f63b78, UINT32_MAX, { { 0 } } },
	[CHECKSUM_CRC64NVME] = { 0x9a6c9329ac4bc9b5, UINT64_MAX, { { 0 } } },
};

static const struct {
	const char *header, *name;
	size_t bytes;
} kinds[] = {
	[CHECKSUM_NONE] = { NULL, "", 0 },
	[CHECKSUM_CRC32] = { CHECKSUM_PREFIX "crc32", "CRC32", 4 },
	[CHECKSUM_CRC32C] = { CHECKSUM_PREFIX "crc32c", "CRC32C", 4 },
	[CHECKSUM_CRC64NVME] = { CHECKSUM_PREFIX "crc64nvme", "CRC64NVME", 8 },
	[CHECKSUM_SHA1] = { CHECKSUM_PREFIX "sha1", "SHA1", 20 },
	[CHECKSUM_SHA256] = { CHECKSUM_PREFIX "sha256", "SHA256", 32 },
};

/* --- names --- */

const char *
checksum_header(enum checksum_kind kind)
{
	return kinds[kind].header;
}

const char *
checksum_name(enum checksum_kind kind)
{
	return kinds[kind].name;
}

enum checksum_kind
checksum_of_name(const char *name)
{
	for (size_t i = CHECKSUM_NONE + 1; i < ARRAY_LEN(kinds); i++) {
		if (!strcasecmp(name, kinds[i].name))
			return (enum checksum_kind)i;
	}
	return CHECKSUM_NONE;
}

enum checksum_kind
checksum_of_header(const char *name)
{
	size_t n = strlen(CHECKSUM_PREFIX);

	return strncasecmp(name, CHECKSUM_PREFIX, n) ? CHECKSUM_NONE : checksum_of_name(name + n);
}

/* --- CRCs --- */

static void
crc_prepare(struct crc *c)
{
	for (unsigned i = 0; i < 256; i++) {
		uint64_t v = i;

		for (unsigned bit = 0; bit < 8; bit++)
			v = v >> 1 ^ (v & 1 ? c->polynomial : 0);
		c->table[0][i] = v;
	}
	for (unsigned slice = 1; slice < SLICES; slice++) {
		for (unsigned i = 0; i < 256; i++) {
			uint64_t v = c->table[slice - 1][i];

			c->table[slice][i] = v >> 8 ^ c->table[0][v & 0xff];
		}
	}
}

static void
prepare_all(void)
{
	crc_prepare(&crcs[CHECKSUM_CRC32]);
	crc_prepare(&crcs[CHECKSUM_CRC32C]);
	crc_prepare(&crcs[CHECKSUM_CRC64NVME]);
}

static uint64_t
crc_add(const struct crc *c, uint64_t crc, const uint8_t *p, size_t n)
{
	for (; n >= SLICES; p += SLICES, n -= SLICES) {
		uint64_t v, next = 0;

		memcpy(&v, p, sizeof v);
		v = le64toh(v) ^ crc;
		for (unsigned i = 0; i < SLICES; i++)
			next ^= c->table[SLICES - 1 - i][v >> 8 * i & 0xff];
		crc = next;
	}
	while (n--)
		crc = crc >> 8 ^ c->table[0][(crc ^ *p++) & 0xff];
	return crc;
}

/* A times B modulo the polynomial; reflected, so TOP stands for x^0. */
static uint64_t
crc_multiply(const struct crc *c, uint64_t top, uint64_t a, uint64_t b)
{
	uint64_t product = 0;

	for (uint64_t bit = top; bit; bit >>= 1) {
		if (a & bit)
			product ^= b;
		b = b >> 1 ^ (b & 1 ? c->polynomial : 0);
	}
	return product;
}

/* As many zeros behind FIRST as SECOND has bits: FIRST times x^bits. What the ones at either end add
 * cancels out. */
uint64_t
checksum_crc_join(enum checksum_kind kind, uint64_t first, uint64_t second, uint64_t bytes)
{
	const struct crc *c = &crcs[kind];
	uint64_t top = c->ones ^ c->ones >> 1, power = top >> 8, factor = top;

	for (; bytes; bytes >>= 1) {
		if (bytes & 1)
			factor = crc_multiply(c, top, factor, power);
		power = crc_multiply(c, top, power, power);
	}
	return crc_multiply(c, top, factor, first) ^ second;
}

/* --- all kinds --- */

int
checksum_open(struct checksum *s, enum checksum_kind kind, struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	*s = (struct checksum){ .kind = kind };
	switch (kind) {
	case CHECKSUM_NONE:
		return 0;
	case CHECKSUM_CRC32:
	case CHECKSUM_CRC32C:
	case CHECKSUM_CRC64NVME:
		pthread_once(&once, prepare_all);
		s->crc = crcs[kind].ones;
		return 0;
	case CHECKSUM_SHA1:
		s->hash = hash_open(HASH_SHA1, e);
		break;
	case CHECKSUM_SHA256:
		s->hash = hash_open(HASH_SHA256, e);
		break;
	}
	return s->hash ? 0 : -1;
}

void
checksum_add(struct checksum *s, const void *p, size_t n)
{
	if (s->hash)
		hash_add(s->hash, p, n);
	else if (s->kind != CHECKSUM_NONE)
		s->crc = crc_add(&crcs[s->kind], s->crc, p, n);
}

static void
digest_text(const uint8_t *digest, size_t n, char out[static CHECKSUM_TEXT])
{
	_cleanup_buf_ struct buf b = BUF_INIT(CHECKSUM_TEXT);

	base64_text(&b, digest, n);
	strncpy(out, buf_str(&b), CHECKSUM_TEXT - 1);
	out[CHECKSUM_TEXT - 1] = '\0';
}

void
checksum_end(struct checksum *s, char out[static CHECKSUM_TEXT])
{
	uint8_t digest[CHECKSUM_MAX];
	size_t n = kinds[s->kind].bytes;

	if (s->hash) {
		hash_end(s->hash, digest);
	} else {
		uint64_t crc = s->kind == CHECKSUM_NONE ? 0 : s->crc ^ crcs[s->kind].ones;

		for (size_t i = 0; i < n; i++)
			digest[i] = (uint8_t)(crc >> 8 * (n - 1 - i));
	}
	digest_text(digest, n, out);
}

void
checksum_free(struct checksum *s)
{
	hash_close(s->hash);
	s->hash = NULL;
}

bool
checksum_parse(enum checksum_kind kind, const char *text, char out[static CHECKSUM_TEXT])
{
	_cleanup_buf_ struct buf raw = BUF_INIT(CHECKSUM_TEXT);
	struct err e;

	if (kind == CHECKSUM_NONE || strlen(text) >= CHECKSUM_TEXT ||
	    base64_parse(text, strlen(text), &raw, &e) < 0 || raw.len != kinds[kind].bytes)
		return false;
	digest_text(raw.data, raw.len, out);
	return true;
}

/* --- claims --- */

struct claim {
	enum checksum_kind kind;
	const char *text, *unknown;
	unsigned n;
};

static void
find_claim(void *arg, const char *name, const char *value)
{
	static const char *const others[] = { "algorithm", "mode", "type" };
	struct claim *c = arg;
	size_t n = strlen(CHECKSUM_PREFIX);
	enum checksum_kind kind;

	if (strncasecmp(name, CHECKSUM_PREFIX, n) != 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		if (!strcasecmp(name + n, others[i]))
			return;
	}
	kind = checksum_of_header(name);
	if (kind == CHECKSUM_NONE)
		c->unknown = name;
	c->kind = kind;
	c->text = value ? value : "";
	c->n++;
}

int
checksum_claim(struct request *r, enum checksum_kind *kind, const char **text, struct err *e)
{
	struct claim c = { 0 };

	request_each_header(r, find_claim, &c);
	if (c.unknown)
		return err_set(
		    e, ERR_BAD, "the checksum %.40s is not one of those known here", c.unknown);
	if (c.n > 1)
		return err_set(e, ERR_BAD, "there is more than one checksum of the body");
	*kind = c.kind;
	*text = c.text;
	return 0;
}

int
checksum_claim_of_body(
    struct request *r, enum checksum_kind *kind, const char **text, struct err *e)
{
	if (checksum_claim(r, kind, text, e) < 0)
		return -1;
	if (*kind == CHECKSUM_NONE && request_header(r, "x-amz-sdk-checksum-algorithm") &&
	    !request_header(r, "x-amz-trailer"))
		return err_set(e, ERR_BAD,
		    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.");
	return 0;
}
