/* region.c - see region.h. */
#include "vault/region.h"

#include <stdlib.h>
#include <string.h>

#define KEY_MAX 33

static const struct vault_id region_vault = { .service = SERVICE_REGION };

/* Where a write lies in the batch's bytes, which move while it grows. */
struct place {
	enum engine_op op;
	size_t key, key_len;
	size_t value, value_len;
};

struct region_batch {
	struct buf bytes;
	struct buf places; /* of struct place */
	size_t n;
};

struct region_batch *
region_batch(struct err *e)
{
	struct region_batch *b = calloc(1, sizeof(*b));

	if (!b)
		err_set(e, ERR_MEMORY, "region records: no memory");
	return b;
}

void
region_put_rules(struct region_batch *b, const struct account_id *id, unsigned services)
{
	for (enum service s = SERVICE_FILES; s < SERVICES; s++) {
		struct vault_id vault = { *id, (uint8_t)s };

		if (services & BIT(s))
			region_put(b, REGION_RULES, &vault, sizeof(vault), "", 0);
	}
}

void
region_delete_rules(struct region_batch *b, const struct account_id *id)
{
	for (enum service s = SERVICE_FILES; s < SERVICES; s++) {
		struct vault_id vault = { *id, (uint8_t)s };

		region_delete(b, REGION_RULES, &vault, sizeof(vault));
	}
}

void
region_batch_free(struct region_batch *b)
{
	if (!b)
		return;
	buf_free(&b->bytes);
	buf_free(&b->places);
	free(b);
}

static void
add(struct region_batch *b, enum engine_op op, enum region_kind k, const void *key, size_t n,
    const void *value, size_t value_len)
{
	struct place p = {
		.op = op, .key = b->bytes.len, .key_len = n + 1, .value_len = value_len
	};

	put_u8(&b->bytes, (uint8_t)k);
	buf_add(&b->bytes, key, n);
	p.value = b->bytes.len;
	if (value_len)
		buf_add(&b->bytes, value, value_len);
	buf_add(&b->places, &p, sizeof(p));
	b->n++;
}

void
region_put(struct region_batch *b, enum region_kind k, const void *key, size_t n, const void *value,
    size_t value_len)
{
	add(b, ENGINE_PUT, k, key, n, value, value_len);
}

void
region_put_buf(
    struct region_batch *b, enum region_kind k, const void *key, size_t n, const struct buf *v)
{
	if (v->failed)
		b->bytes.failed = v->failed;
	else
		region_put(b, k, key, n, v->data, v->len);
}

void
region_delete(struct region_batch *b, enum region_kind k, const void *key, size_t n)
{
	add(b, ENGINE_DELETE, k, key, n, NULL, 0);
}

static void
empty(struct region_batch *b)
{
	buf_clear(&b->bytes);
	buf_clear(&b->places);
	b->n = 0;
}

static int
apply(struct engine *g, const struct region_batch *b, struct err *e)
{
	const struct place *p = (const void *)b->places.data;
	struct engine_write *w = calloc(b->n, sizeof(*w));
	int r;

	if (!w)
		return err_set(e, ERR_MEMORY, "region records: no memory");
	for (size_t i = 0; i < b->n; i++)
		w[i] = (struct engine_write){
			.op = p[i].op,
			.key = { b->bytes.data + p[i].key, p[i].key_len },
			.value = { b->bytes.data + p[i].value, p[i].value_len },
		};
	/* Few and small, and what ends a move or an account makes room. */
	r = engine_apply(g, &region_vault, w, b->n, NULL, ENGINE_LATER | ENGINE_RESERVE, e);
	free(w);
	return r;
}

int
region_apply_soon(struct engine *g, struct region_batch *b, struct err *e)
{
	int r = 0;

	if (buf_check(&b->bytes, e) < 0 || buf_check(&b->places, e) < 0)
		r = -1;
	else if (b->n)
		r = apply(g, b, e);
	empty(b);
	return r < 0 ? err_add(e, "region records") : 0;
}

int
region_apply(struct engine *g, struct flusher *f, struct region_batch *b, struct err *e)
{
	if (region_apply_soon(g, b, e) < 0)
		return -1;
	if (flusher_wait(f, flusher_ticket(f), e) < 0)
		return err_add(e, "region records");
	return 0;
}

int
region_get(struct engine *g, enum region_kind k, const void *key, size_t n, struct buf *value,
    struct err *e)
{
	uint8_t full[KEY_MAX];

	if (n > sizeof(full) - 1)
		return err_set(e, ERR_INTERNAL, "region records: a key of %zu bytes", n);
	full[0] = (uint8_t)k;
	memcpy(full + 1, key, n);
	return engine_get(g, &region_vault, ((struct span){ full, n + 1 }), value, e);
}

struct scan {
	region_scan_fn *fn;
	void *arg;
};

static int
visit(void *arg, struct span key, struct span value, struct err *e)
{
	const struct scan *s = arg;

	return s->fn(s->arg, (struct span){ key.data + 1, key.len - 1 }, value, e);
}

int
region_scan_after(struct engine *g, enum region_kind k, const void *after, size_t n,
    region_scan_fn *fn, void *arg, struct err *e)
{
	uint8_t from[KEY_MAX + 1] = { (uint8_t)k }, to = (uint8_t)(k + 1);
	struct scan s = { fn, arg };

	if (n > KEY_MAX - 1)
		return err_set(e, ERR_INTERNAL, "region records: a key of %zu bytes", n);
	memcpy(from + 1, after, n); /* and a zero: the key after that one */
	return engine_scan(g, &region_vault, ((struct span){ from, n + 2 }),
	    ((struct span){ &to, 1 }), visit, &s, e);
}

int
region_scan(struct engine *g, enum region_kind k, region_scan_fn *fn, void *arg, struct err *e)
{
	uint8_t from = (uint8_t)k, to = (uint8_t)(k + 1);
	struct scan s = { fn, arg };

	return engine_scan(
	    g, &region_vault, ((struct span){ &from, 1 }), ((struct span){ &to, 1 }), visit, &s, e);
}
