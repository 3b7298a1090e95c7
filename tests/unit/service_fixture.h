/* service_fixture.h - a node for the tests of the service layer: one region over a store under a
 * directory that is gone afterwards, its own directory, and one account.
 */
#pragma once
#include "vault_fixture.h"

#include "directory/directory.h"
#include "service/access.h"
#include "service/accounts.h"
#include "service/files.h"
#include "service/policy.h"
#include "service/quota.h"
#include "service/routes.h"
#include "vault/homes.h"

#define ALL_SERVICES (BIT(SERVICE_FILES) | BIT(SERVICE_BACKUP))

struct region {
	struct store store;
	struct node node;
};

static inline void
region_start(struct region *r)
{
	const struct homes_config h = {
		.engine = r->store.engine,
		.flusher = r->store.flusher,
		.hold_ms = 1000,
		.read_lease_ms = 100,
	};
	struct node *n = &r->node;
	struct err e;

	*n = (struct node){
		.region = "in-mum",
		.jurisdiction = "IN",
		.engine = r->store.engine,
		.flusher = r->store.flusher,
		.keys = r->store.keys,
		.chunks = r->store.chunks,
		.pool = r->store.pool,
	};
	n->homes = homes_open(&h, &e);
	n->directory = directory_sqlite(check_path(r->store.dir, "directory.db"), &e);
	n->policy = policy_new(&e);
	n->access = access_new(n, 3, &e);
	n->routes = routes_new(n, 3, &e);
	CHECK(n->homes && n->directory && n->policy && n->access && n->routes);
}

static inline void
region_policy(struct region *r, const char *text)
{
	struct err e = { 0 };
	struct conf *c = conf_parse(text, "regions", &e);

	CHECK(c);
	CHECK_OK(policy_load(r->node.policy, c, &e), &e);
	CHECK_OK(conf_check_unused(c, &e), &e);
	conf_free(c);
}

static inline void
region_open(struct region *r, bool is_real)
{
	store_open(&r->store, is_real);
	region_start(r);
	region_policy(r, "[policy IN]\nregions = in-mum, sg\n[policy *]\nregions = sg\n");
}

static inline void
region_stop(struct region *r)
{
	homes_close(r->node.homes);
	directory_close(r->node.directory);
	policy_free(r->node.policy);
	access_free(r->node.access);
	routes_free(r->node.routes);
	quota_free(r->node.quota); /* a test may have made one */
}

static inline void
region_close(struct region *r)
{
	region_stop(r);
	store_close(&r->store);
}

/* A region is a test's *STATE. */
static inline int
region_setup(void **state)
{
	*state = calloc(1, sizeof(struct region));
	region_open(*state, false);
	return 0;
}

static inline int
region_teardown(void **state)
{
	region_close(*state);
	free(*state);
	return 0;
}

/* An account with SERVICES, as a request of it would see it. */
static inline struct files
region_account(struct region *r, unsigned services, struct account_credentials *c)
{
	struct account_credentials own;
	struct err e = { 0 };

	CHECK_OK(accounts_create(&r->node, "IN", services, 1, c ? c : &own, &e), &e);
	return (struct files){
		.node = &r->node,
		.account = (c ? c : &own)->account,
		.services = services | BIT(SERVICE_PROFILE),
		.may_block = true,
	};
}

/* --- short ways to put and to look --- */

static inline int
put_with(struct files *f, const char *bucket, const char *key, const void *p, size_t n,
    const char *headers, const struct files_condition *c, struct object_info *out, struct err *e)
{
	_cleanup_(upload_closep) struct upload *u = upload_begin(f, bucket, e);
	size_t piece = 100000;

	if (!u)
		return -1;
	for (size_t at = 0; at < n; at += piece)
		if (upload_add(u, (const uint8_t *)p + at, n - at < piece ? n - at : piece, e) < 0)
			return -1;
	if (upload_settle(u, e) < 0)
		return -1;
	return upload_put(u, f, key, headers, c, out, e);
}

static inline void
put(struct files *f, const char *bucket, const char *key, const void *p, size_t n)
{
	struct object_info out;
	struct err e = { 0 };

	CHECK_OK(put_with(f, bucket, key, p, n, NULL, NULL, &out, &e), &e);
	CHECK(out.size == n);
	object_info_free(&out);
}

static inline struct object *
get(struct files *f, const char *bucket, const char *key)
{
	struct err e = { 0 };
	bool missing_bucket;
	struct object *o = object_open(f, bucket, key, true, &missing_bucket, &e);

	if (!o)
		fail_msg("object_open: %s", e.text);
	return o;
}

/* The whole object in pieces of PIECE bytes is N bytes at P. */
static inline void
check_object(struct object *o, const void *p, size_t n, size_t piece)
{
	_cleanup_(freep) uint8_t *got = malloc(piece);
	struct err e = { 0 };
	size_t at = 0;
	ssize_t r;

	CHECK(object_info(o)->size == n);
	while ((r = object_read(o, at, got, piece, &e)) > 0) {
		CHECK(at + (size_t)r <= n);
		CHECK_BYTES(got, (const uint8_t *)p + at, (size_t)r);
		at += (size_t)r;
	}
	if (r < 0)
		fail_msg("object_read: %s", e.text);
	CHECK(at == n);
}

static inline bool
has(struct files *f, const char *bucket, const char *key, const void *p, size_t n)
{
	bool missing_bucket;
	struct err e = { 0 };
	struct object *o = object_open(f, bucket, key, true, &missing_bucket, &e);

	if (!o) {
		CHECK(e.kind == ERR_MISSING);
		return false;
	}
	check_object(o, p, n, 70001);
	object_close(o);
	return true;
}

/* Bytes that do not compress and differ with SEED. */
static inline uint8_t *
noise(size_t n, uint64_t seed)
{
	uint8_t *p = malloc(n + 8);
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;

	CHECK(p);
	for (size_t i = 0; i < n; i += 8) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		memcpy(p + i, &x, 8);
	}
	return p;
}

static inline int
count_one_chunk(void *arg, const struct vault_id *id, const struct chunk_name *name, uint64_t bytes,
    struct err *e)
{
	(void)id, (void)name, (void)bytes, (void)e;
	++*(size_t *)arg;
	return 0;
}

/* Chunk files of an account's vault, once those that were dropped are removed: SHOULD, within 30 s. */
static inline bool
chunks_become(struct files *f, enum service s, size_t should)
{
	struct vault_id id = { .account = f->account, .service = (uint8_t)s };
	struct err e = { 0 };
	size_t n;

	CHECK_OK(flusher_wait(f->node->flusher, f->ticket, &e), &e);
	for (int i = 0; i < 3000; i++) {
		n = 0;
		CHECK_OK(chunks_list(f->node->chunks, &id, count_one_chunk, &n, &e), &e);
		if (n == should)
			return true;
		usleep(10000);
	}
	print_error("%zu chunks, not %zu\n", n, should);
	return false;
}
