/* quota.c - see quota.h. */
#include "service/quota.h"

#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/frame.h"
#include "service/lru_internal.h"
#include "service/node.h"
#include "service/policy.h"
#include "vault/homes.h"
#include "vault/pool.h"

#define LOCKS 64

struct known {
	struct account_id account;
	struct quota_limits limits;
};

struct quota {
	struct node *node;
	struct quota_limit region;
	pthread_mutex_t lock;
	struct lru *lru;
	struct known *known;
	size_t max;
	uint64_t forgotten; /* counts quota_forget: what was read before it is not kept */
	pthread_mutex_t locks[LOCKS];
};

int
quota_conf(
    struct conf *c, const char *section, uint64_t fallback, struct quota_limit *out, struct err *e)
{
	const char *bytes = conf_get(c, section, "quota_bytes");
	const char *objects = conf_get(c, section, "quota_objects");

	out->bytes = out->objects = QUOTA_NONE;
	if ((!bytes || strcmp(bytes, "none") != 0) &&
	    conf_size(c, section, "quota_bytes", fallback, 0, INT64_MAX, &out->bytes, e) < 0)
		return conf_refuse(
		    c, section, "quota_bytes", e, "expected a size such as 50 GiB, or none");
	if ((!objects || strcmp(objects, "none") != 0) &&
	    conf_count(c, section, "quota_objects", fallback, 0, INT64_MAX, &out->objects, e) < 0)
		return conf_refuse(
		    c, section, "quota_objects", e, "expected a number such as 1000000, or none");
	return 0;
}

struct quota *
quota_new(struct node *n, struct quota_limit region, size_t max_entries, struct err *e)
{
	struct quota *q = calloc(1, sizeof(*q));

	if (!q) {
		err_set(e, ERR_MEMORY, "quota: no memory");
		return NULL;
	}
	q->node = n;
	q->region = region;
	pthread_mutex_init(&q->lock, NULL);
	for (size_t i = 0; i < LOCKS; i++)
		pthread_mutex_init(&q->locks[i], NULL);
	q->max = max_entries ? max_entries : 1;
	q->lru = lru_new(q->max, e);
	q->known = q->lru ? calloc(q->max, sizeof(*q->known)) : NULL;
	if (!q->known) {
		if (q->lru)
			err_set(e, ERR_MEMORY, "quota: no memory");
		quota_free(q);
		return NULL;
	}
	return q;
}

void
quota_free(struct quota *q)
{
	if (!q)
		return;
	lru_free(q->lru);
	free(q->known);
	for (size_t i = 0; i < LOCKS; i++)
		pthread_mutex_destroy(&q->locks[i]);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

/* --- in the profile --- */

/* In the row `quota` of `meta`: of each service bytes and objects, the numbers of quota.h as they are. What
 * lies behind the services known here is of a later version, and is not kept if one is set. */
static void
read_limits(struct span value, struct quota_limit out[static SERVICES])
{
	struct reader r = READER(value.data, value.len);

	for (size_t i = 0; i < SERVICES; i++) {
		out[i] = (struct quota_limit){ QUOTA_DEFAULT, QUOTA_DEFAULT };
		if (r.left < 16)
			continue;
		out[i].bytes = read_u64(&r);
		out[i].objects = read_u64(&r);
	}
}

int
quota_read(struct vault *profile, struct quota_limit out[static SERVICES], struct err *e)
{
	struct query *q = vault_query(profile, "SELECT value FROM meta WHERE word='quota'");
	int r = query_step(q, e);

	if (r >= 0)
		read_limits(r ? column_blob(q, 0) : (struct span){ NULL, 0 }, out);
	query_end(q);
	return r < 0 ? -1 : 0;
}

int
quota_write(struct vault *profile, const struct quota_limit limits[static SERVICES], struct err *e)
{
	_cleanup_buf_ struct buf value = BUF_INIT(SERVICES * 16);
	struct query *q;

	for (size_t i = 0; i < SERVICES; i++) {
		put_u64(&value, limits[i].bytes);
		put_u64(&value, limits[i].objects);
	}
	if (buf_check(&value, e) < 0)
		return -1;
	q = vault_query(profile, "REPLACE INTO meta(word,value) VALUES('quota',?1)");
	query_blob(q, 1, value.data, value.len);
	return query_run(q, e);
}

/* --- the cache --- */

static uint32_t
find(const struct quota *q, const struct account_id *id)
{
	uint32_t i = lru_first(q->lru, id);

	while (i != LRU_NONE && !account_equal(&q->known[i].account, id))
		i = lru_next(q->lru, i);
	return i;
}

static bool
look(struct quota *q, const struct account_id *id, struct quota_limits *out, uint64_t *forgotten)
{
	uint32_t i;

	pthread_mutex_lock(&q->lock);
	*forgotten = q->forgotten;
	i = find(q, id);
	if (i != LRU_NONE) {
		lru_touch(q->lru, i);
		*out = q->known[i].limits;
	}
	pthread_mutex_unlock(&q->lock);
	return i != LRU_NONE;
}

static void
keep(struct quota *q, const struct account_id *id, const struct quota_limits *l, uint64_t forgotten)
{
	uint32_t i;

	pthread_mutex_lock(&q->lock);
	if (forgotten == q->forgotten && find(q, id) == LRU_NONE) {
		i = lru_add(q->lru, id);
		q->known[i] = (struct known){ *id, *l };
	}
	pthread_mutex_unlock(&q->lock);
}

void
quota_forget(struct quota *q, const struct account_id *id)
{
	uint32_t i;

	pthread_mutex_lock(&q->lock);
	q->forgotten++;
	if (id && (i = find(q, id)) != LRU_NONE)
		lru_remove(q->lru, i);
	for (i = 0; !id && i < q->max; i++)
		lru_remove(q->lru, i);
	pthread_mutex_unlock(&q->lock);
}

/* --- limits --- */

static uint64_t
first_said(uint64_t own, uint64_t policy, uint64_t region)
{
	if (own != QUOTA_DEFAULT)
		return own;
	return policy != QUOTA_DEFAULT ? policy : region;
}

/* What holds, of what was set for the account. */
static void
settle(struct quota *q, const struct account_id *id, const struct quota_limit own[static SERVICES],
    struct quota_limits *out)
{
	struct quota_limit policy = { QUOTA_DEFAULT, QUOTA_DEFAULT };
	struct home home;

	if (homes_get(q->node->homes, id, &home, NULL) == 1)
		policy_quota(q->node->policy, home.country, &policy);
	out->is_limited = false;
	for (enum service s = QUOTA_ALL; s < SERVICES; s++) {
		const struct quota_limit none = { QUOTA_NONE, QUOTA_NONE };
		const struct quota_limit *p = s == QUOTA_ALL ? &policy : &none;
		const struct quota_limit *r = s == QUOTA_ALL ? &q->region : &none;

		out->of[s].bytes = first_said(own[s].bytes, p->bytes, r->bytes);
		out->of[s].objects = first_said(own[s].objects, p->objects, r->objects);
		if (out->of[s].bytes != QUOTA_NONE || out->of[s].objects != QUOTA_NONE)
			out->is_limited = true;
	}
}

void
quota_learn(struct quota *q, const struct account_id *id, struct vault *v)
{
	struct quota_limit own[SERVICES];
	struct quota_limits limits;
	uint64_t forgotten;

	if (look(q, id, &limits, &forgotten) || quota_read(v, own, NULL) < 0)
		return;
	settle(q, id, own, &limits);
	keep(q, id, &limits, forgotten);
}

int
quota_find(struct quota *q, const struct account_id *id, bool may_block, struct quota_limits *out,
    struct err *e)
{
	struct vault_id profile = { .account = *id, .service = SERVICE_PROFILE };
	struct quota_limit own[SERVICES];
	uint64_t forgotten;
	struct vault *v;
	int r;

	if (look(q, id, out, &forgotten))
		return 0;
	v = pool_take(q->node->pool, &profile, may_block, e);
	if (!v)
		return -1;
	r = quota_read(v, own, e);
	pool_give(v);
	pool_evict(q->node->pool, &profile);
	if (r < 0)
		return -1;
	settle(q, id, own, out);
	keep(q, id, out, forgotten);
	return 0;
}

pthread_mutex_t *
quota_lock(struct quota *q, const struct account_id *id, bool may_block)
{
	pthread_mutex_t *lock = &q->locks[id->b[0] % LOCKS];

	if (may_block)
		pthread_mutex_lock(lock);
	else if (pthread_mutex_trylock(lock) != 0)
		return NULL;
	return lock;
}
