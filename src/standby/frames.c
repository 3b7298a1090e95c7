/* frames.c - see frames.h. */
#include "standby/frames.h"

#include <string.h>

void
ship_hello_put(struct buf *b, const struct ship_hello *h)
{
	buf_clear(b);
	put_u8(b, SHIP_FORMAT);
	put_u64(b, h->term.term);
	buf_add(b, h->term.holder, TERM_HOLDER_BYTES);
	put_u32(b, (uint32_t)h->term.lease_ms);
}

int
ship_hello_read(struct span s, const char *region, struct ship_hello *out, struct err *e)
{
	struct reader r = READER(s.data, s.len);
	uint8_t format = read_u8(&r);

	if (s.len && format != SHIP_FORMAT)
		return err_set(e, ERR_BAD, "format %u of shipping; this program knows %d", format,
		    SHIP_FORMAT);
	memset(out, 0, sizeof(*out));
	strcpy(out->term.region, region);
	out->term.term = read_u64(&r);
	read_copy(&r, out->term.holder, TERM_HOLDER_BYTES);
	out->term.lease_ms = read_u32(&r);
	if (out->term.lease_ms > TERM_LEASE_MAX_MS)
		r.failed = true;
	return read_check(&r, "a greeting", e);
}

void
ship_welcome_put(struct buf *b, const struct ship_welcome *w)
{
	buf_clear(b);
	put_u64(b, w->next);
	put_u64(b, w->check_from);
	buf_add(b, w->check, SHA256_BYTES);
}

int
ship_welcome_read(struct span s, struct ship_welcome *out, struct err *e)
{
	struct reader r = READER(s.data, s.len);

	out->next = read_u64(&r);
	out->check_from = read_u64(&r);
	read_copy(&r, out->check, SHA256_BYTES);
	if (out->check_from > out->next)
		r.failed = true;
	return read_check(&r, "a standby's position", e);
}

void
ship_head_put(struct buf *b, const struct ship_head *h)
{
	buf_clear(b);
	put_u64(b, h->first);
	put_u64(b, h->next);
	put_u64(b, h->whole_at);
	put_u32(b, h->bytes);
}

int
ship_head_read(struct span s, struct ship_head *out, struct err *e)
{
	struct reader r = READER(s.data, s.len);

	out->first = read_u64(&r);
	out->next = read_u64(&r);
	out->whole_at = read_u64(&r);
	out->bytes = read_u32(&r);
	if (out->first >= out->next || out->bytes > SHIP_BYTES_MAX)
		r.failed = true;
	return read_check(&r, "a shipment's head", e);
}

void
ship_ack_put(struct buf *b, const struct ship_ack *a)
{
	buf_clear(b);
	put_u64(b, a->next);
	put_u64(b, a->compacted);
}

int
ship_ack_read(struct span s, struct ship_ack *out, struct err *e)
{
	struct reader r = READER(s.data, s.len);

	out->next = read_u64(&r);
	out->compacted = read_u64(&r);
	return read_check(&r, "a standby's answer", e);
}

void
ship_number_put(struct buf *b, uint64_t n)
{
	buf_clear(b);
	put_u64(b, n);
}

int
ship_number_read(struct span s, uint64_t *out, struct err *e)
{
	struct reader r = READER(s.data, s.len);

	*out = read_u64(&r);
	return read_check(&r, "a number", e);
}

void
ship_chunk_add(struct buf *b, const struct ship_chunk *c, bool with_head)
{
	buf_add(b, &c->vault, VAULT_ID_BYTES);
	buf_add(b, c->name.b, CHUNK_NAME_BYTES);
	put_u64(b, c->bytes);
	if (with_head)
		buf_add(b, c->head, CHUNK_HEAD_BYTES);
}

int
ship_chunk_next(struct reader *r, bool with_head, struct ship_chunk *out, struct err *e)
{
	memset(out, 0, sizeof(*out));
	read_copy(r, &out->vault, VAULT_ID_BYTES);
	read_copy(r, out->name.b, CHUNK_NAME_BYTES);
	out->bytes = read_u64(r);
	if (with_head)
		read_copy(r, out->head, CHUNK_HEAD_BYTES);
	if (r->failed || out->bytes < CHUNK_HEAD_BYTES || out->bytes > CHUNK_MAX_BYTES)
		return err_set(e, ERR_BAD, "a malformed chunk's name");
	return 0;
}
