/* redo.c - see redo.h. */
#include "sealed/redo.h"
#include "base/cleanup.h"
#include "base/host.h"
#include "sealed/forged.h"

#include <lz4.h>
#include <string.h>

#define FORMAT    1
#define AT_NONCE  1
#define AT_SEALED (AT_NONCE + NONCE_BYTES)
#define HEAD      5 /* LZ4 flag, plain length */
#define OVERHEAD  (AT_SEALED + HEAD + TAG_BYTES)
#define AD_BYTES  (1 + VAULT_ID_BYTES + 8)

#define JOIN_GAP  16  /* equal bytes between two ranges that are cheaper to repeat */
#define WORTH_LZ4 128 /* shorter entries hardly shrink */
#define ON_STACK  ((size_t)16 << 10)

/* --- ranges ------------------------------------------------------------------------------- */

static bool
words_equal(const uint8_t *a, const uint8_t *b)
{
	uint64_t x, y;

	memcpy(&x, a, 8);
	memcpy(&y, b, 8);
	return x == y;
}

static uint32_t
skip_equal(const uint8_t *old, const uint8_t *new, uint32_t at)
{
	while (at + 8 <= PAGE_BYTES && words_equal(old + at, new + at))
		at += 8;
	while (at < PAGE_BYTES && old[at] == new[at])
		at++;
	return at;
}

/* The end of the run of differences at AT, joined with later ones that are near. */
static uint32_t
range_end(const uint8_t *old, const uint8_t *new, uint32_t at)
{
	uint32_t end = at + 1, next;

	for (;;) {
		while (end + 8 <= PAGE_BYTES && !words_equal(old + end, new + end))
			end += 8;
		while (old[end - 1] == new[end - 1])
			end--;
		next = skip_equal(old, new, end);
		if (next == PAGE_BYTES || next - end >= JOIN_GAP)
			return end;
		end = next + 1;
	}
}

unsigned
redo_diff(struct buf *ranges, uint32_t number, const uint8_t *old, const uint8_t *new)
{
	static const uint8_t zeros[PAGE_BYTES];
	unsigned n = 0;
	uint32_t at, end = 0;

	if (!old)
		old = zeros;
	while ((at = skip_equal(old, new, end)) < PAGE_BYTES) {
		uint8_t *r;

		end = range_end(old, new, at);
		r = buf_room(ranges, 8 + (end - at));
		if (r) {
			be32_put(r, number);
			be32_put(r + 4, at << 16 | (end - at));
			memcpy(r + 8, new + at, end - at);
			ranges->len += 8 + (end - at);
		}
		n++;
	}
	return n;
}

/* --- visiting ----------------------------------------------------------------------------- */

static int
walk_ranges(struct reader *r, uint32_t page_count, const struct redo_visit *v, struct err *e)
{
	uint32_t n = read_u32(r);

	for (uint32_t i = 0; i < n && !r->failed; i++) {
		uint32_t page = read_u32(r);
		uint32_t offset = read_u16(r), len = read_u16(r);
		const uint8_t *p = read_bytes(r, len);

		if (!p || !page || page > page_count || !len || offset + len > PAGE_BYTES)
			return err_set(e, ERR_BAD, "redo entry: a range is out of bounds");
		if (v && v->range && v->range(v->arg, page, offset, p, len, e) < 0)
			return -1;
	}
	return 0;
}

static int
walk_chunks(struct reader *r, const struct redo_visit *v, struct err *e)
{
	uint32_t n = read_u32(r);
	struct chunk_ref c;

	for (uint32_t i = 0; i < n && !r->failed; i++) {
		read_copy(r, c.name, sizeof(c.name));
		c.bytes = read_u64(r);
		read_copy(r, c.digest, sizeof(c.digest));
		if (!r->failed && v && v->chunk_added && v->chunk_added(v->arg, &c, e) < 0)
			return -1;
	}
	n = read_u32(r);
	for (uint32_t i = 0; i < n && !r->failed; i++) {
		read_copy(r, c.name, sizeof(c.name));
		if (!r->failed && v && v->chunk_dropped && v->chunk_dropped(v->arg, c.name, e) < 0)
			return -1;
	}
	return 0;
}

int
redo_visit(
    const uint8_t *plain, size_t n, uint32_t *page_count, const struct redo_visit *v, struct err *e)
{
	/* Once to check everything, once to call. */
	for (int pass = 0; pass < 2; pass++) {
		const struct redo_visit *calls = pass ? v : NULL;
		struct reader r = READER(plain, n);
		uint32_t count = read_u32(&r);

		if (walk_ranges(&r, count, calls, e) < 0 || walk_chunks(&r, calls, e) < 0)
			return -1;
		if (read_check(&r, "redo entry", e) < 0)
			return -1;
		*page_count = count;
		if (!v)
			break;
	}
	return 0;
}

/* --- sealing ------------------------------------------------------------------------------ */

static void
bind(uint8_t ad[static AD_BYTES], const struct vault_id *id, uint64_t version)
{
	ad[0] = 'R';
	memcpy(ad + 1, id, VAULT_ID_BYTES);
	be64_put(ad + 1 + VAULT_ID_BYTES, version);
}

/* What is sealed, into STORED, which has room for HEAD + N bytes. Returns its length. */
static size_t
pack(const uint8_t *plain, size_t n, uint8_t *stored)
{
	int packed = 0;

	if (n >= WORTH_LZ4)
		packed = LZ4_compress_default(
		    (const char *)plain, (char *)stored + HEAD, (int)n, (int)n - 1);
	stored[0] = packed > 0;
	be32_put(stored + 1, (uint32_t)n);
	if (packed > 0)
		return HEAD + (size_t)packed;
	memcpy(stored + HEAD, plain, n);
	return HEAD + n;
}

int
redo_seal(struct aead *a, const struct vault_id *id, uint64_t version, const uint8_t *plain,
    size_t n, struct buf *out, struct err *e)
{
	uint8_t ad[AD_BYTES], near[HEAD + ON_STACK], *r, *stored = near;
	_cleanup_(freep) uint8_t *far = NULL;
	size_t bytes;

	if (n > REDO_PLAIN_MAX)
		return err_set(e, ERR_TOO_BIG, "one commit changes %zu bytes", n);
	if (n > ON_STACK) {
		stored = far = malloc(HEAD + n);
		if (!far)
			return err_set(e, ERR_MEMORY, "no memory for a redo entry");
	}
	bytes = pack(plain, n, stored);

	r = buf_room(out, AT_SEALED + bytes + TAG_BYTES);
	if (!r)
		return buf_check(out, e);
	r[0] = FORMAT;
	host_random(r + AT_NONCE, NONCE_BYTES);
	bind(ad, id, version);
	if (aead_seal(a, r + AT_NONCE, ad, sizeof(ad), stored, bytes, r + AT_SEALED, e) < 0)
		return -1;
	out->len += AT_SEALED + bytes + TAG_BYTES;
	return 0;
}

/* The reverse of pack; false if it does not fit together. */
static bool
unpack(const uint8_t *stored, size_t n, struct buf *plain)
{
	size_t bytes = be32_get(stored + 1);
	uint8_t *out;

	if (stored[0] > 1 || bytes > REDO_PLAIN_MAX)
		return false;
	out = buf_room(plain, bytes);
	if (!out)
		return true; /* buf_check tells */
	if (stored[0]) {
		if (LZ4_decompress_safe((const char *)stored + HEAD, (char *)out, (int)(n - HEAD),
		        (int)bytes) != (int)bytes)
			return false;
	} else {
		if (bytes != n - HEAD)
			return false;
		memcpy(out, stored + HEAD, bytes);
	}
	plain->len += bytes;
	return true;
}

int
redo_open(struct aead *a, const struct vault_id *id, uint64_t version, const uint8_t *record,
    size_t n, struct buf *plain, struct err *e)
{
	uint8_t ad[AD_BYTES], near[HEAD + ON_STACK + TAG_BYTES], *stored = near;
	_cleanup_(freep) uint8_t *far = NULL;
	unsigned long long v = version;

	if (n < OVERHEAD || n > OVERHEAD + REDO_PLAIN_MAX || record[0] != FORMAT)
		return sealed_forged(e, id, "redo entry %llu: not a redo record", v);
	if (n > sizeof(near)) {
		stored = far = malloc(n);
		if (!far)
			return err_set(e, ERR_MEMORY, "no memory for a redo entry");
	}
	bind(ad, id, version);
	if (aead_unseal(a, record + AT_NONCE, ad, sizeof(ad), record + AT_SEALED, n - AT_SEALED,
	        stored, e) < 0)
		return sealed_forged(e, id, "redo entry %llu: does not open", v);
	if (!unpack(stored, n - AT_SEALED - TAG_BYTES, plain))
		return sealed_forged(e, id, "redo entry %llu: does not unpack", v);
	return buf_check(plain, e);
}
