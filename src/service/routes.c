/* routes.c - see routes.h. */
#include "service/routes.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/host.h"
#include "directory/directory.h"
#include "service/lru_internal.h"

/* How long it is remembered that there is no such account. */
#define UNKNOWN_MS 1000
/* And where one lives: the old home forwards as long as it is there. */
#define KNOWN_MS   60000

struct route {
	struct placement placement; /* epoch 0: no such account */
	uint64_t until_ms;
};

struct routes {
	struct node *node;
	pthread_mutex_t lock;
	struct lru *lru;
	struct route *routes;
	uint64_t forgotten; /* counts routes_forget: what was asked before it is not remembered */
};

struct routes *
routes_new(struct node *n, size_t max_entries, struct err *e)
{
	struct routes *r = calloc(1, sizeof(*r));

	if (!r) {
		err_set(e, ERR_MEMORY, "routes: no memory");
		return NULL;
	}
	r->node = n;
	pthread_mutex_init(&r->lock, NULL);
	r->lru = lru_new(max_entries, e);
	r->routes = r->lru ? calloc(max_entries ? max_entries : 1, sizeof(*r->routes)) : NULL;
	if (!r->routes) {
		if (r->lru)
			err_set(e, ERR_MEMORY, "routes: no memory");
		routes_free(r);
		return NULL;
	}
	return r;
}

void
routes_free(struct routes *r)
{
	if (!r)
		return;
	lru_free(r->lru);
	free(r->routes);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* Locked. */
static uint32_t
find(const struct routes *r, const struct account_id *id)
{
	uint32_t i = lru_first(r->lru, id);

	while (i != LRU_NONE && !account_equal(&r->routes[i].placement.account, id))
		i = lru_next(r->lru, i);
	return i;
}

/* Whether the cache knows; *OUT has epoch 0 if there is no such account. What was known longer ago is
 * in *OUT too. */
static bool
look(struct routes *r, const struct account_id *id, struct placement *out, uint64_t *forgotten)
{
	bool found = false;
	uint32_t i;

	pthread_mutex_lock(&r->lock);
	*forgotten = r->forgotten;
	i = find(r, id);
	if (i != LRU_NONE) {
		const struct route *route = &r->routes[i];

		*out = route->placement;
		found = host_mono_ms() < route->until_ms;
		if (found)
			lru_touch(r->lru, i);
	}
	pthread_mutex_unlock(&r->lock);
	return found;
}

static void
store(struct routes *r, const struct placement *p, uint64_t forgotten)
{
	uint32_t i;

	pthread_mutex_lock(&r->lock);
	if (forgotten == r->forgotten) {
		i = find(r, &p->account);
		if (i == LRU_NONE)
			i = lru_add(r->lru, &p->account);
		else
			lru_touch(r->lru, i);
		r->routes[i].placement = *p;
		r->routes[i].until_ms = host_mono_ms() + (p->epoch ? KNOWN_MS : UNKNOWN_MS);
	}
	pthread_mutex_unlock(&r->lock);
}

int
routes_find(struct routes *r, const struct account_id *id, bool may_block, struct placement *out,
    struct err *e)
{
	struct placement p = { .epoch = 0 }, fresh;
	uint64_t forgotten;

	if (!look(r, id, &p, &forgotten)) {
		if (!may_block)
			return err_set(e, ERR_BUSY, "the directory has to be asked");
		if (directory_find(r->node->directory, id, 1, &fresh, e) == 0)
			p = fresh;
		else if (!p.epoch) /* else it has to do for another minute */
			return -1;
		p.account = *id;
		store(r, &p, forgotten);
	}
	if (!p.epoch)
		return err_set(e, ERR_MISSING, "no such account");
	*out = p;
	return 0;
}

void
routes_forget(struct routes *r, const struct account_id *id)
{
	uint32_t i;

	pthread_mutex_lock(&r->lock);
	r->forgotten++;
	i = find(r, id);
	if (i != LRU_NONE)
		lru_remove(r->lru, i);
	pthread_mutex_unlock(&r->lock);
}
