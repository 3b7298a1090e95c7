/* lru.c - see lru_internal.h. */
#include "service/lru_internal.h"

#include <stdlib.h>
#include <string.h>

/* In a ring by use, whose head is the last place of the array; free places have no chain. */
struct place {
	uint32_t older, newer;
	uint32_t next; /* in its chain */
	uint32_t chain;
};

struct lru {
	uint32_t max;
	uint32_t chains; /* a power of two */
	uint32_t *first;
	struct place *places;
};

/* Ids are random: any four bytes of one are a hash. */
static uint32_t
chain_of(const struct lru *l, const struct account_id *id)
{
	uint32_t hash;

	memcpy(&hash, id->b + 4, sizeof(hash));
	return hash & (l->chains - 1);
}

static void
ring_remove(struct lru *l, uint32_t i)
{
	struct place *p = &l->places[i];

	l->places[p->older].newer = p->newer;
	l->places[p->newer].older = p->older;
}

/* Put I into the ring so that A is older and what follows A is newer. */
static void
ring_insert(struct lru *l, uint32_t a, uint32_t i)
{
	uint32_t b = l->places[a].newer;

	l->places[i].older = a;
	l->places[i].newer = b;
	l->places[a].newer = i;
	l->places[b].older = i;
}

struct lru *
lru_new(size_t max, struct err *e)
{
	struct lru *l = calloc(1, sizeof(*l));

	if (l) {
		l->max = max < 1 ? 1 : max > (1u << 24) ? 1u << 24 : (uint32_t)max;
		for (l->chains = 16; l->chains < l->max; l->chains *= 2)
			;
		l->first = malloc(l->chains * sizeof(*l->first));
		l->places = malloc((l->max + 1) * sizeof(*l->places));
	}
	if (!l || !l->first || !l->places) {
		lru_free(l);
		err_set(e, ERR_MEMORY, "cache: no memory");
		return NULL;
	}
	for (uint32_t i = 0; i < l->chains; i++)
		l->first[i] = LRU_NONE;
	l->places[l->max] = (struct place){ .older = l->max, .newer = l->max };
	for (uint32_t i = 0; i < l->max; i++) {
		l->places[i].chain = LRU_NONE;
		ring_insert(l, l->max, i);
	}
	return l;
}

void
lru_free(struct lru *l)
{
	if (!l)
		return;
	free(l->first);
	free(l->places);
	free(l);
}

uint32_t
lru_first(const struct lru *l, const struct account_id *id)
{
	return l->first[chain_of(l, id)];
}

uint32_t
lru_next(const struct lru *l, uint32_t place)
{
	return l->places[place].next;
}

void
lru_touch(struct lru *l, uint32_t place)
{
	ring_remove(l, place);
	ring_insert(l, l->places[l->max].older, place);
}

static void
chain_remove(struct lru *l, uint32_t i)
{
	uint32_t *at;

	if (l->places[i].chain == LRU_NONE)
		return;
	for (at = &l->first[l->places[i].chain]; *at != i; at = &l->places[*at].next)
		;
	*at = l->places[i].next;
	l->places[i].chain = LRU_NONE;
}

uint32_t
lru_add(struct lru *l, const struct account_id *id)
{
	uint32_t i = l->places[l->max].newer, chain = chain_of(l, id);

	chain_remove(l, i);
	l->places[i].chain = chain;
	l->places[i].next = l->first[chain];
	l->first[chain] = i;
	lru_touch(l, i);
	return i;
}

void
lru_remove(struct lru *l, uint32_t place)
{
	chain_remove(l, place);
	ring_remove(l, place);
	ring_insert(l, l->max, place);
}
