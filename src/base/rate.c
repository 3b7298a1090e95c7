/* rate.c - see rate.h. */
#include "base/rate.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"

#define WAYS      4
#define TIME_BITS 48 /* of microseconds: nine years after the machine's start */
#define TRIES     8

struct set {
	_Atomic uint64_t spent[WAYS]; /* 16 bits of the key's hash, then until when */
};

struct rate {
	uint64_t per_s, burst;
	uint64_t each_us, ahead_us; /* what one costs; how far ahead of now one may be */
	uint64_t secret[2];
	size_t sets; /* a power of two */
	struct set set[];
};

struct rate *
rate_new(uint64_t per_s, uint64_t burst, size_t places, struct err *e)
{
	struct rate *r;
	size_t sets = 16;

	while (sets * WAYS < places)
		sets *= 2;
	r = calloc(1, sizeof(*r) + sets * sizeof(struct set));
	if (!r) {
		err_set(e, ERR_MEMORY, "rates: no memory");
		return NULL;
	}
	r->per_s = per_s;
	r->burst = burst;
	r->each_us = per_s < 1000000 ? 1000000 / per_s : 1;
	r->ahead_us = (burst - 1) * r->each_us;
	r->sets = sets;
	host_random(r->secret, sizeof(r->secret));
	return r;
}

void
rate_free(struct rate *r)
{
	free(r);
}

uint64_t
rate_per_s(const struct rate *r)
{
	return r->per_s;
}

uint64_t
rate_burst(const struct rate *r)
{
	return r->burst;
}

static uint64_t
hash(const struct rate *r, const uint8_t key[static 16])
{
	uint64_t a, b;
	unsigned __int128 m;

	memcpy(&a, key, 8);
	memcpy(&b, key + 8, 8);
	m = (unsigned __int128)(a ^ r->secret[0]) * (b ^ r->secret[1] ^ 0x9e3779b97f4a7c15u);
	a = (uint64_t)m ^ (uint64_t)(m >> 64);
	m = (unsigned __int128)(a ^ r->secret[1]) * 0xbf58476d1ce4e5b9u;
	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint64_t
time_of(uint64_t word)
{
	return word & ((UINT64_C(1) << TIME_BITS) - 1);
}

/* TAG's place in S, or the one that is free first. *WORD is what is there. */
static _Atomic uint64_t *
place_of(struct set *s, uint64_t tag, uint64_t *word)
{
	_Atomic uint64_t *best = NULL;

	for (unsigned i = 0; i < WAYS; i++) {
		uint64_t w = atomic_load_explicit(&s->spent[i], memory_order_relaxed);

		if (w >> TIME_BITS != tag && best && time_of(w) >= time_of(*word))
			continue;
		best = &s->spent[i];
		*word = w;
		if (w >> TIME_BITS == tag)
			break;
	}
	return best;
}

bool
rate_take(struct rate *r, const uint8_t key[static 16])
{
	uint64_t h = hash(r, key), tag = h >> TIME_BITS, now_us = host_mono_ns() / 1000;
	struct set *s = &r->set[h & (r->sets - 1)];

	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t word, until_us = now_us;
		_Atomic uint64_t *place = place_of(s, tag, &word);

		if (word >> TIME_BITS == tag && time_of(word) > now_us)
			until_us = time_of(word);
		if (until_us - now_us > r->ahead_us)
			return false;
		if (atomic_compare_exchange_strong(
		        place, &word, tag << TIME_BITS | time_of(until_us + r->each_us)))
			return true;
	}
	return true; /* many are at this place at this instant: let one through rather than wait */
}
