/* sealed_fixture.h - a region key, an engine and a vault for the tests of the sealed layer, and
 * hands that reach into the engine to damage what is there.
 */
#pragma once
#include "base/host.h"
#include "check.h"
#include "sealed/store.h"

#define UNUSED __attribute__((unused))

struct fixture {
	char *dir;
	struct keys *keys;
	struct engine *g;
	struct vault_id id;
	struct err e;
};

/* Reproducible: a failing run can be run again. */
static uint64_t random_state = 88172645463325252u;

static UNUSED uint32_t
random_below(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)((random_state >> 11) % n);
}

static UNUSED void
random_bytes(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)random_below(256);
}

/* Zeros, noise, or some of both. */
static UNUSED void
fill_page(uint8_t page[static PAGE_BYTES], unsigned how)
{
	memset(page, 0, PAGE_BYTES);
	if (how % 3 == 1)
		random_bytes(page, PAGE_BYTES);
	else if (how % 3 == 2)
		random_bytes(page + random_below(3000), 1 + random_below(1000));
}

static UNUSED int
fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const char *path;

	f->dir = check_dir_make();
	path = check_path(f->dir, "region.key");
	CHECK_OK(keys_file_create(path, &f->e), &f->e);
	f->keys = keys_file_open(path, &f->e);
	CHECK(f->keys);
	f->g = engine_memory(&f->e);
	CHECK(f->g);
	account_random(&f->id.account);
	f->id.service = SERVICE_FILES;
	*state = f;
	return 0;
}

static UNUSED int
fixture_teardown(void **state)
{
	struct fixture *f = *state;

	keys_close(f->keys);
	engine_close(f->g);
	check_dir_remove(f->dir);
	free(f);
	return 0;
}

/* --- records as they lie in the engine ----------------------------------------------------- */

struct raw_record {
	uint8_t key[ENGINE_KEY_MAX];
	size_t key_len;
	uint8_t *value;
	size_t len;
};

struct raw_vault {
	struct raw_record *all;
	size_t n;
};

static UNUSED int
raw_collect(void *arg, struct span key, struct span value, struct err *e)
{
	struct raw_vault *v = arg;
	struct raw_record *r;

	(void)e;
	v->all = realloc(v->all, (v->n + 1) * sizeof(*v->all));
	CHECK(v->all);
	r = &v->all[v->n++];
	memcpy(r->key, key.data, key.len);
	r->key_len = key.len;
	r->value = malloc(value.len + 1);
	CHECK(r->value);
	memcpy(r->value, value.data, value.len);
	r->len = value.len;
	return 0;
}

static UNUSED struct raw_vault
raw_take(struct engine *g, const struct vault_id *id)
{
	static const uint8_t first[1];
	struct span from = { first, 1 }, to = { 0 };
	struct raw_vault v = { 0 };
	struct err e;

	CHECK_OK(engine_scan(g, id, from, to, raw_collect, &v, &e), &e);
	return v;
}

static UNUSED void
raw_free(struct raw_vault *v)
{
	for (size_t i = 0; i < v->n; i++)
		free(v->all[i].value);
	free(v->all);
	*v = (struct raw_vault){ 0 };
}

static UNUSED struct raw_record *
raw_find(struct raw_vault *v, char kind, uint64_t number)
{
	for (size_t i = 0; i < v->n; i++) {
		struct raw_record *r = &v->all[i];

		if (r->key[0] != kind)
			continue;
		if (kind == 'H' || kind == 'C' || (kind == 'P' && be32_get(r->key + 1) == number) ||
		    (kind == 'R' && be64_get(r->key + 1) == number))
			return r;
	}
	fail_msg("no record %c %" PRIu64, kind, number);
	return NULL;
}

/* Put VALUE under R's key, or nothing if it is NULL. */
static UNUSED void
raw_put(struct engine *g, const struct vault_id *id, const struct raw_record *r,
    const uint8_t *value, size_t n)
{
	struct engine_write w = { value ? ENGINE_PUT : ENGINE_DELETE, { r->key, r->key_len },
		{ value, n } };
	struct err e;

	CHECK_OK(engine_apply(g, id, &w, 1, NULL, ENGINE_NOW, &e), &e);
}

/* Make the vault what it was when V was taken. */
static UNUSED void
raw_restore(struct engine *g, const struct vault_id *id, const struct raw_vault *v)
{
	struct err e;

	CHECK_OK(engine_drop(g, id, &e), &e);
	for (size_t i = 0; i < v->n; i++)
		raw_put(g, id, &v->all[i], v->all[i].value, v->all[i].len);
}

/* What a complete look at the vault finds: ERR_NONE if all is well. */
static UNUSED enum err_kind
look(struct engine *g, struct keys *k, const struct vault_id *id, struct err *e)
{
	_cleanup_(sealed_closep) struct sealed *s = sealed_open(g, k, id, SEALED_READ, e);

	if (!s)
		return e->kind;
	return sealed_verify(s, e) < 0 ? e->kind : ERR_NONE;
}

/* A vault of N pages, which fill_page has filled; PAGES, if not NULL, is room for them. */
static inline void
fixture_create(struct fixture *f, uint32_t n, void *pages)
{
	struct page_template t = { calloc(n + 1, PAGE_BYTES), n };

	for (uint32_t i = 0; i < n; i++)
		fill_page(t.pages + (size_t)i * PAGE_BYTES, i);
	if (pages)
		memcpy(pages, t.pages, (size_t)n * PAGE_BYTES);
	CHECK_OK(sealed_create(f->g, f->keys, &f->id, 3, &t, &f->e), &f->e);
	free(t.pages);
}

static inline struct sealed *
must_open(struct fixture *f, enum sealed_mode mode)
{
	struct sealed *s = sealed_open(f->g, f->keys, &f->id, mode, &f->e);

	if (!s)
		fail_msg("%s", f->e.text);
	return s;
}

static inline void
commit_random(struct fixture *f, struct sealed *s, uint32_t number)
{
	uint8_t page[PAGE_BYTES];

	random_bytes(page, sizeof(page));
	CHECK_OK(sealed_put_page(s, number, page, &f->e), &f->e);
	CHECK_OK(sealed_commit(s, &f->e), &f->e);
}
