/* frame.h - big-endian fields: written onto a buf, read from a span with a sticky failure.
 *
 * A reader that ran out or met a length past its ceiling returns zeros and empty spans from then
 * on; read_check at the end says so, so that a parser reads as a list of its fields.
 */
#pragma once
#include "base/buf.h"

struct span {
	const uint8_t *data;
	size_t len;
};

/* Append 1, 2, 4, 8 bytes. */
void put_u8(struct buf *b, uint8_t v);
void put_u16(struct buf *b, uint16_t v);
void put_u32(struct buf *b, uint32_t v);
void put_u64(struct buf *b, uint64_t v);
/* Append a 32-bit length, then the bytes; a string's without its NUL. */
void put_span(struct buf *b, const void *p, size_t n);
void put_str(struct buf *b, const char *s);

struct reader {
	const uint8_t *at;
	size_t left;
	bool failed;
};

#define READER(p, n) ((struct reader){ .at = (p), .left = (n) })

/* The next 1, 2, 4, 8 bytes; 0 when failed. */
uint8_t read_u8(struct reader *r);
uint16_t read_u16(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
/* N bytes where they lie (not copied), or NULL when failed. */
const uint8_t *read_bytes(struct reader *r, size_t n);
/* Copy N bytes to OUT; zeros when failed. */
void read_copy(struct reader *r, void *out, size_t n);
/* A length-prefixed span of at most MAX bytes, where it lies. */
struct span read_span(struct reader *r, size_t max);
/* The same as a C string into OUT of SIZE bytes; fails if it has a NUL or does not fit. */
void read_str(struct reader *r, char *out, size_t size);
/* 0 if every field was there and nothing is left over; else ERR_BAD naming WHAT. */
must_check
int read_check(const struct reader *r, const char *what, struct err *e);

/* In place, 4 or 8 bytes at P, aligned or not. */
static inline void
be32_put(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24), p[1] = (uint8_t)(v >> 16), p[2] = (uint8_t)(v >> 8),
	p[3] = (uint8_t)v;
}

static inline uint32_t
be32_get(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void
be64_put(uint8_t *p, uint64_t v)
{
	be32_put(p, (uint32_t)(v >> 32)), be32_put(p + 4, (uint32_t)v);
}

static inline uint64_t
be64_get(const uint8_t *p)
{
	return (uint64_t)be32_get(p) << 32 | be32_get(p + 4);
}
