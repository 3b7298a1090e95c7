/* The order of the caches, against a model that keeps a list. */
#include "check.h"

#include "service/lru_internal.h"

#define PLACES 40
#define IDS    200

/* Few first bytes, so that many accounts share a chain. */
static struct account_id
id_of(unsigned i)
{
	struct account_id id = { { 0 } };

	id.b[4] = (uint8_t)(i % 5);
	id.b[15] = (uint8_t)i;
	return id;
}

struct model {
	unsigned ids[PLACES]; /* newest first */
	size_t n;
};

static void
model_remove(struct model *m, unsigned i)
{
	size_t at = 0;

	while (at < m->n && m->ids[at] != i)
		at++;
	if (at == m->n)
		return;
	m->n--;
	memmove(m->ids + at, m->ids + at + 1, (m->n - at) * sizeof(m->ids[0]));
}

static void
model_use(struct model *m, unsigned i)
{
	model_remove(m, i);
	if (m->n == PLACES)
		m->n--;
	memmove(m->ids + 1, m->ids, m->n * sizeof(m->ids[0]));
	m->ids[0] = i;
	m->n++;
}

static uint32_t
find(const struct lru *l, const unsigned *contents, unsigned i)
{
	struct account_id id = id_of(i);
	uint32_t at = lru_first(l, &id), steps = 0;

	while (at != LRU_NONE && contents[at] != i) {
		CHECK(++steps <= PLACES);
		at = lru_next(l, at);
	}
	return at;
}

static void
the_place_used_longest_ago_makes_room(void **state)
{
	struct err e;
	struct lru *l = lru_new(PLACES, &e);
	unsigned contents[PLACES];
	struct model m = { .n = 0 };
	uint64_t x = 88172645463325252u;

	(void)state;
	for (int step = 0; step < 20000; step++) {
		unsigned i, what;
		struct account_id id;
		uint32_t at;

		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		i = (unsigned)(x >> 20) % IDS;
		what = (unsigned)(x >> 40) % 8;
		id = id_of(i);
		at = find(l, contents, i);
		if (what == 0 && at != LRU_NONE) {
			lru_remove(l, at);
			model_remove(&m, i);
		} else if (what && at != LRU_NONE) {
			lru_touch(l, at);
			model_use(&m, i);
		} else if (what) {
			contents[lru_add(l, &id)] = i;
			model_use(&m, i);
		}
		for (unsigned k = 0; k < IDS; k++) {
			bool should = false;

			for (size_t j = 0; j < m.n; j++)
				should = should || m.ids[j] == k;
			CHECK((find(l, contents, k) != LRU_NONE) == should);
		}
	}
	lru_free(l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_place_used_longest_ago_makes_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
