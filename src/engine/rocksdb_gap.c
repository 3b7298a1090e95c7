/* rocksdb_gap.c - going on behind records that can't be read.
 *
 * A block that can't be read ends an iteration, and every seek that needs it fails. Only the block
 * knows which keys it has, so the first key behind it is searched for: by steps that double until a
 * seek succeeds, then by halving. Where several such blocks lie near each other, readable records
 * between them may be passed over: they are part of the gap. The iterator sees the same instant all the
 * time.
 */
#include "engine/rocksdb_private.h"

#include <string.h>

/* Keys as numbers: as many bytes as the longest of our numbered ones has. */
#define PLACE_BYTES (VAULT_ID_BYTES + 10)

struct place {
	uint8_t b[PLACE_BYTES];
};

static struct place
place_of(const struct full_key *k)
{
	struct place p = { 0 };

	memcpy(p.b, k->bytes, k->len < PLACE_BYTES ? k->len : PLACE_BYTES);
	return p;
}

static bool
place_equal(const struct place *a, const struct place *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* FROM and 2 to the power of EXPONENT, or the last place. */
static struct place
place_behind(struct place from, unsigned exponent)
{
	unsigned carry = 1u << exponent % 8;

	for (size_t i = PLACE_BYTES - exponent / 8; i-- > 0 && carry; carry >>= 8) {
		carry += from.b[i];
		from.b[i] = (uint8_t)carry;
	}
	if (carry)
		memset(&from, 0xff, sizeof(from));
	return from;
}

/* Half-way from A to B; A if there is nothing between. */
static struct place
place_between(const struct place *a, const struct place *b)
{
	struct place sum;
	unsigned carry = 0;

	for (size_t i = PLACE_BYTES; i-- > 0;) {
		carry += a->b[i] + b->b[i];
		sum.b[i] = (uint8_t)carry;
		carry >>= 8;
	}
	for (size_t i = 0; i < PLACE_BYTES; i++) {
		unsigned both = carry << 8 | sum.b[i];

		sum.b[i] = (uint8_t)(both >> 1);
		carry = both & 1;
	}
	return sum;
}

/* 1: the iterator is at the first key from there on, or behind the last one; 0: it can't be read; -1. */
static int
seek(rocksdb_iterator_t *at, const void *key, size_t n, struct err *e)
{
	char *text = NULL;
	struct full_key end;
	bool is_gap;

	/* RocksDB 7.8 takes the block that it could not read for the one that it had before, and then says that
	 * this one can't be read either. Behind the last key it lets go of both. */
	memset(end.bytes, 0xff, sizeof(end.bytes));
	rocksdb_iter_seek(at, end.bytes, sizeof(end.bytes));
	rocksdb_iter_seek(at, key, n);
	rocksdb_iter_get_error(at, &text);
	if (!text)
		return 1;
	is_gap = rocks_is_unreadable(text);
	rocks_err(e, text, "read");
	return is_gap ? 0 : -1;
}

static int
seek_place(rocksdb_iterator_t *at, const struct place *p, struct err *e)
{
	return seek(at, p->b, PLACE_BYTES, e);
}

bool
rocks_is_unreadable(const char *text)
{
	return rocks_says_damage(text) || strstr(text, "Input/output error");
}

int
rocks_pass_gap(rocksdb_iterator_t *at, const struct full_key *last, struct vault_id *to,
    bool *is_end, struct err *e)
{
	struct full_key next = *last;
	struct place from = place_of(last), bad = from, good, end;
	unsigned exponent = 0;
	int r;

	/* It may have been a block that was read ahead. */
	next.bytes[next.len++] = 0;
	r = seek(at, next.bytes, next.len, e);
	if (r)
		return r < 0 ? -1 : 0;
	memset(&end, 0xff, sizeof(end));
	for (;; bad = good) {
		good = exponent < 8 * PLACE_BYTES ? place_behind(from, exponent++) : end;
		if (place_equal(&good, &end))
			break;
		r = seek_place(at, &good, e);
		if (r < 0)
			return -1;
		if (r)
			break;
	}
	for (;;) {
		struct place middle = place_between(&bad, &good);

		if (place_equal(&middle, &bad))
			break;
		r = seek_place(at, &middle, e);
		if (r < 0)
			return -1;
		*(r ? &good : &bad) = middle;
	}
	if (place_equal(&good, &end)) {
		*is_end = true;
		bad = end;
	} else if (seek_place(at, &good, e) > 0) {
		*is_end = !rocksdb_iter_valid(at);
	} else {
		return -1;
	}
	memcpy(to, bad.b, sizeof(*to));
	return 1;
}
