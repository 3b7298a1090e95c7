#include "move/frames.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

void
open_put(struct buf *b, uint32_t unit, const char *wave, const struct opening *o, size_t n)
{
	put_u32(b, unit);
	put_str(b, wave);
	put_u32(b, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		buf_add(b, o[i].account.b, ACCOUNT_ID_BYTES);
		put_u64(b, o[i].epoch);
		put_u64(b, o[i].attempt);
		put_str(b, o[i].country);
		put_u32(b, o[i].services);
		put_u8(b, o[i].is_suspended);
	}
}

/* A count of things, refused if above UNIT_MAX. */
static size_t
read_count(struct reader *r)
{
	uint32_t n = read_u32(r);

	if (n > UNIT_MAX) {
		r->failed = true;
		return 0;
	}
	return n;
}

int
open_read(struct span p, uint32_t *unit, char wave[static WAVE_ID_SIZE],
    struct opening out[static UNIT_MAX], size_t *n, struct err *e)
{
	struct reader r = READER(p.data, p.len);

	*unit = read_u32(&r);
	read_str(&r, wave, WAVE_ID_SIZE);
	*n = read_count(&r);
	for (size_t i = 0; i < *n; i++) {
		struct opening *o = &out[i];

		*o = (struct opening){ 0 };
		read_copy(&r, o->account.b, ACCOUNT_ID_BYTES);
		o->epoch = read_u64(&r);
		o->attempt = read_u64(&r);
		read_str(&r, o->country, sizeof o->country);
		o->services = read_u32(&r);
		o->is_suspended = read_u8(&r);
		if (o->services & ~(BIT(SERVICES) - 2))
			r.failed = true;
	}
	if (*n == 0)
		r.failed = true;
	return read_check(&r, "OPEN", e);
}

void
text_read(struct reader *r, char *out, size_t size)
{
	read_str(r, out, size);
	for (; *out; out++)
		if (*out < ' ' || *out > '~')
			*out = '?';
}

void
verdicts_put(struct buf *b, uint32_t unit, const struct verdict *v, size_t n)
{
	put_u32(b, unit);
	put_u32(b, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		put_u8(b, (uint8_t)v[i].kind);
		put_str(b, v[i].text);
	}
}

int
verdicts_read(struct reader *r, uint32_t unit, struct verdict *out, size_t n, struct err *e)
{
	uint32_t of = read_u32(r);
	size_t got = read_count(r);

	if (r->failed || of != unit || got != n)
		return err_set(e, ERR_PEER, "verdicts on another unit");
	for (size_t i = 0; i < n; i++) {
		out[i].kind = read_u8(r);
		text_read(r, out[i].text, sizeof out[i].text);
		if (out[i].kind >= ERR_KINDS)
			r->failed = true;
	}
	return r->failed ? err_set(e, ERR_PEER, "malformed verdicts") : 0;
}

void
section_put_head(struct buf *b, const struct section *s)
{
	buf_add(b, s->account.b, ACCOUNT_ID_BYTES);
	put_u64(b, s->epoch);
	put_u64(b, s->attempt);
	put_u8(b, (uint8_t)s->service);
	put_u32(b, 0);
}

void
section_end(struct buf *b, size_t head_at)
{
	if (b->failed == ERR_NONE)
		be32_put(b->data + head_at + SECTION_HEAD - 4,
		    (uint32_t)(b->len - head_at - SECTION_HEAD));
}

int
section_read(struct reader *r, struct section *out, struct err *e)
{
	if (!r->failed && r->left == 0)
		return 0;
	read_copy(r, out->account.b, ACCOUNT_ID_BYTES);
	out->epoch = read_u64(r);
	out->attempt = read_u64(r);
	out->service = read_u8(r);
	out->items = read_span(r, DATA_RAW_MAX);
	if (r->failed || out->service == SERVICE_REGION || out->service >= SERVICES)
		return err_set(e, ERR_BAD, "a section of DATA is malformed");
	return 1;
}

void
seal_put_count(struct buf *b, uint32_t unit, uint32_t lease_ms, size_t n)
{
	put_u32(b, unit);
	put_u32(b, lease_ms);
	put_u32(b, (uint32_t)n);
}

void
seal_put_item(struct buf *b, const struct account_id *id, const char *statement)
{
	buf_add(b, id->b, ACCOUNT_ID_BYTES);
	put_str(b, statement);
}

int
seal_read(struct span p, uint32_t *unit, uint32_t *lease_ms, struct seal_item out[static UNIT_MAX],
    size_t *n, struct note *note, struct err *e)
{
	struct reader r = READER(p.data, p.len);

	*unit = read_u32(&r);
	*lease_ms = read_u32(&r);
	*n = read_count(&r);
	for (size_t i = 0; i < *n; i++) {
		read_copy(&r, out[i].account.b, ACCOUNT_ID_BYTES);
		out[i].statement = read_span(&r, STATEMENT_MAX - 1);
	}
	note_read(&r, note);
	if (*n == 0)
		r.failed = true;
	return read_check(&r, "SEAL", e);
}

void
unit_put(struct buf *b, uint32_t unit)
{
	put_u32(b, unit);
}

int
unit_read(struct span p, uint32_t *unit, struct err *e)
{
	struct reader r = READER(p.data, p.len);

	*unit = read_u32(&r);
	return read_check(&r, "a unit's number", e);
}
