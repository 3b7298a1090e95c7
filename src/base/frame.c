/* frame.c - see frame.h. */
#include "base/frame.h"

#include <string.h>

void
put_u8(struct buf *b, uint8_t v)
{
	buf_add(b, &v, 1);
}

void
put_u16(struct buf *b, uint16_t v)
{
	uint8_t p[2] = { (uint8_t)(v >> 8), (uint8_t)v };

	buf_add(b, p, sizeof(p));
}

void
put_u32(struct buf *b, uint32_t v)
{
	uint8_t p[4];

	be32_put(p, v);
	buf_add(b, p, sizeof(p));
}

void
put_u64(struct buf *b, uint64_t v)
{
	uint8_t p[8];

	be64_put(p, v);
	buf_add(b, p, sizeof(p));
}

void
put_span(struct buf *b, const void *p, size_t n)
{
	if (n > UINT32_MAX) {
		buf_clear(b);
		b->failed = ERR_TOO_BIG;
		return;
	}
	put_u32(b, (uint32_t)n);
	buf_add(b, p, n);
}

void
put_str(struct buf *b, const char *s)
{
	put_span(b, s, strlen(s));
}

const uint8_t *
read_bytes(struct reader *r, size_t n)
{
	/* Never NULL when good, even for no bytes out of an empty reader. */
	static const uint8_t nothing[1];
	const uint8_t *p = r->at ? r->at : nothing;

	if (r->failed || n > r->left) {
		r->failed = true;
		return NULL;
	}
	r->at = p + n;
	r->left -= n;
	return p;
}

void
read_copy(struct reader *r, void *out, size_t n)
{
	const uint8_t *p = read_bytes(r, n);

	if (p && n)
		memcpy(out, p, n);
	else if (n)
		memset(out, 0, n);
}

uint8_t
read_u8(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 1);

	return p ? *p : 0;
}

uint16_t
read_u16(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 2);

	return p ? (uint16_t)(p[0] << 8 | p[1]) : 0;
}

uint32_t
read_u32(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 4);

	return p ? be32_get(p) : 0;
}

uint64_t
read_u64(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 8);

	return p ? be64_get(p) : 0;
}

struct span
read_span(struct reader *r, size_t max)
{
	size_t n = read_u32(r);
	const uint8_t *p;

	if (n > max)
		r->failed = true;
	p = read_bytes(r, n);
	return p ? (struct span){ p, n } : (struct span){ 0 };
}

void
read_str(struct reader *r, char *out, size_t size)
{
	struct span s = read_span(r, size - 1);

	if (s.len && memchr(s.data, 0, s.len)) {
		r->failed = true;
		s.len = 0;
	}
	if (s.len)
		memcpy(out, s.data, s.len);
	out[s.len] = 0;
}

int
read_check(const struct reader *r, const char *what, struct err *e)
{
	if (r->failed)
		return err_set(e, ERR_BAD, "%s: a field is cut short or too long", what);
	if (r->left)
		return err_set(e, ERR_BAD, "%s: %zu bytes too many", what, r->left);
	return 0;
}
