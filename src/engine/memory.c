/* memory.c - an engine in memory, for tests: it forgets like a disk would.
 *
 * One sorted array of records. Each has the value that readers see and the value that a power cut
 * would leave; the two differ from an apply until a flush. As with a write-ahead log, whatever
 * becomes durable makes everything before it durable too.
 */
#include "engine/engine_private.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Bytes that several may hold: a scan goes on with what it saw while applies replace it. */
struct blob {
	_Atomic unsigned refs;
	size_t len;
	uint8_t data[];
};

struct record {
	struct vault_id id;
	struct blob *key;
	struct blob *live;    /* NULL: absent */
	struct blob *durable; /* NULL: absent */
	bool is_dirty;        /* listed in memory.dirty */
};

struct memory {
	struct engine engine;
	pthread_mutex_t lock;
	struct record **records; /* ordered by id, key */
	size_t n, cap;
	struct record **dirty;
	size_t n_dirty, dirty_cap;
};

static struct memory *
memory_of(struct engine *g)
{
	return container_of(g, struct memory, engine);
}

static struct blob *
blob_new(const void *p, size_t n)
{
	struct blob *b = malloc(sizeof(*b) + n);

	if (!b)
		return NULL;
	atomic_init(&b->refs, 1);
	b->len = n;
	if (n)
		memcpy(b->data, p, n);
	return b;
}

static struct blob *
blob_ref(struct blob *b)
{
	if (b)
		atomic_fetch_add(&b->refs, 1);
	return b;
}

static void
blob_unref(struct blob *b)
{
	if (b && atomic_fetch_sub(&b->refs, 1) == 1)
		free(b);
}
CLEANUP(struct blob, blob_unref)

static struct span
blob_span(const struct blob *b)
{
	return (struct span){ b->data, b->len };
}

static void
record_free(struct record *r)
{
	if (!r)
		return;
	blob_unref(r->key);
	blob_unref(r->live);
	blob_unref(r->durable);
	free(r);
}

static int
compare(const struct record *r, const struct vault_id *id, struct span key)
{
	size_t shorter = r->key->len < key.len ? r->key->len : key.len;
	int c = memcmp(&r->id, id, sizeof(*id));

	if (c == 0 && shorter)
		c = memcmp(r->key->data, key.data, shorter);
	return c ? c : (r->key->len > key.len) - (r->key->len < key.len);
}

/* The index of the first record that is not before (ID, KEY). */
static size_t
find(const struct memory *m, const struct vault_id *id, struct span key)
{
	size_t low = 0, high = m->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare(m->records[middle], id, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct record *
find_exact(const struct memory *m, const struct vault_id *id, struct span key)
{
	size_t i = find(m, id, key);

	return i < m->n && compare(m->records[i], id, key) == 0 ? m->records[i] : NULL;
}

/* Room for MORE in the array *P of pointers. */
static bool
reserve(struct record ***p, size_t n, size_t *cap, size_t more)
{
	struct record **grown;
	size_t wanted = *cap ? *cap : 16;

	while (wanted < n + more)
		wanted *= 2;
	if (wanted == *cap)
		return true;
	grown = reallocarray(*p, wanted, sizeof(**p));
	if (!grown)
		return false;
	*p = grown;
	*cap = wanted;
	return true;
}

/* The record (ID, KEY), made if need be. NULL: no memory. */
static struct record *
find_or_make(struct memory *m, const struct vault_id *id, struct span key)
{
	size_t i = find(m, id, key);
	struct record *r;

	if (i < m->n && compare(m->records[i], id, key) == 0)
		return m->records[i];
	if (!reserve(&m->records, m->n, &m->cap, 1))
		return NULL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->id = *id;
	r->key = blob_new(key.data, key.len);
	if (!r->key) {
		free(r);
		return NULL;
	}
	memmove(m->records + i + 1, m->records + i, (m->n - i) * sizeof(*m->records));
	m->records[i] = r;
	m->n++;
	return r;
}

/* Let R have VALUE (taken over) from now on. Room in m->dirty was reserved. */
static void
change(struct memory *m, struct record *r, struct blob *value)
{
	blob_unref(r->live);
	r->live = value;
	if (!r->is_dirty) {
		r->is_dirty = true;
		m->dirty[m->n_dirty++] = r;
	}
}

/* Free the records that are nowhere any more. */
static void
sweep(struct memory *m)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->n; i++) {
		struct record *r = m->records[i];

		if (r->live || r->durable)
			m->records[kept++] = r;
		else
			record_free(r);
	}
	m->n = kept;
}

/* Make both values of what changed the live one (a flush) or the durable one (a power cut). */
static void
settle(struct memory *m, bool to_live)
{
	bool any_gone = false;

	for (size_t i = 0; i < m->n_dirty; i++) {
		struct record *r = m->dirty[i];
		struct blob **from = to_live ? &r->live : &r->durable;
		struct blob **to = to_live ? &r->durable : &r->live;

		blob_unref(*to);
		*to = blob_ref(*from);
		r->is_dirty = false;
		any_gone |= !*to;
	}
	m->n_dirty = 0;
	if (any_gone)
		sweep(m);
}

static int
memory_get(
    struct engine *g, const struct vault_id *id, struct span key, struct buf *value, struct err *e)
{
	struct memory *m = memory_of(g);
	_cleanup_(blob_unrefp) struct blob *b = NULL;
	const struct record *r;

	pthread_mutex_lock(&m->lock);
	r = find_exact(m, id, key);
	b = blob_ref(r ? r->live : NULL);
	pthread_mutex_unlock(&m->lock);
	if (!b)
		return 0;
	buf_clear(value);
	buf_add(value, b->data, b->len);
	return buf_check(value, e) < 0 ? -1 : 1;
}

static bool
guard_allows(const struct memory *m, const struct vault_id *id, const struct engine_guard *guard)
{
	const struct record *r = find_exact(m, id, guard->key);
	struct span value;

	if (!r || !r->live)
		return engine_guard_holds(guard, NULL);
	value = blob_span(r->live);
	return engine_guard_holds(guard, &value);
}

/* All or nothing, also when memory runs out: VALUES and records are made before any change. */
static int
apply_locked(struct memory *m, const struct vault_id *id, const struct engine_write *w, size_t n,
    struct blob **values, struct err *e)
{
	if (!reserve(&m->dirty, m->n_dirty, &m->dirty_cap, n))
		return err_set(e, ERR_MEMORY, "no memory for %zu records", n);
	for (size_t i = 0; i < n; i++)
		if (!find_or_make(m, id, w[i].key))
			return err_set(e, ERR_MEMORY, "no memory for %zu records", n);
	for (size_t i = 0; i < n; i++)
		change(m, find_exact(m, id, w[i].key), take(&values[i]));
	return 0;
}

static void
free_values(struct blob **values, size_t n)
{
	for (size_t i = 0; values && i < n; i++)
		blob_unref(values[i]);
	free(values);
}

static int
memory_apply(struct engine *g, const struct vault_id *id, const struct engine_write *w, size_t n,
    const struct engine_guard *guard, enum engine_when when, struct err *e)
{
	struct memory *m = memory_of(g);
	struct blob **values;
	int rc = 0;

	if (engine_check_writes(w, n, e) < 0)
		return -1;
	values = calloc(n + 1, sizeof(*values));
	for (size_t i = 0; i < n && values && rc == 0; i++) {
		if (w[i].op != ENGINE_PUT)
			continue;
		values[i] = blob_new(w[i].value.data, w[i].value.len);
		rc = values[i] ? 0 : -1;
	}
	if (!values || rc < 0) {
		free_values(values, n);
		return err_set(e, ERR_MEMORY, "no memory for %zu records", n);
	}

	pthread_mutex_lock(&m->lock);
	if (guard && !guard_allows(m, id, guard))
		rc = engine_stale(e);
	else
		rc = apply_locked(m, id, w, n, values, e);
	if (rc == 0 && when & ENGINE_NOW)
		settle(m, true);
	pthread_mutex_unlock(&m->lock);
	free_values(values, n);
	return rc;
}

/* What a scan saw: key and value by turns. */
struct sight {
	struct blob **blobs;
	size_t n;
};

static void
sight_free(struct sight *s)
{
	for (size_t i = 0; i < s->n; i++)
		blob_unref(s->blobs[i]);
	free(s->blobs);
}

static int
look(struct memory *m, const struct vault_id *id, struct span from, struct span to, struct sight *s,
    struct err *e)
{
	size_t first = find(m, id, from), last = first;

	while (last < m->n && memcmp(&m->records[last]->id, id, sizeof(*id)) == 0 &&
	    (!to.len || compare(m->records[last], id, to) < 0))
		last++;
	s->blobs = calloc(2 * (last - first) + 1, sizeof(*s->blobs));
	if (!s->blobs)
		return err_set(e, ERR_MEMORY, "no memory for a scan");
	for (size_t i = first; i < last; i++) {
		const struct record *r = m->records[i];

		if (!r->live)
			continue;
		s->blobs[s->n++] = blob_ref(r->key);
		s->blobs[s->n++] = blob_ref(r->live);
	}
	return 0;
}

static int
memory_scan(struct engine *g, const struct vault_id *id, struct span from, struct span to,
    engine_scan_fn *fn, void *arg, struct err *e)
{
	struct memory *m = memory_of(g);
	_cleanup_(sight_free) struct sight s = { 0 };
	int rc;

	pthread_mutex_lock(&m->lock);
	rc = look(m, id, from, to, &s, e);
	pthread_mutex_unlock(&m->lock);
	for (size_t i = 0; i < s.n && rc == 0; i += 2)
		rc = fn(arg, blob_span(s.blobs[i]), blob_span(s.blobs[i + 1]), e);
	return rc < 0 ? -1 : 0;
}

static int
memory_drop(struct engine *g, const struct vault_id *id, struct err *e)
{
	struct memory *m = memory_of(g);
	int rc = 0;

	pthread_mutex_lock(&m->lock);
	if (!reserve(&m->dirty, m->n_dirty, &m->dirty_cap, m->n))
		rc = err_set(e, ERR_MEMORY, "no memory to drop a vault");
	for (size_t i = find(m, id, (struct span){ 0 }); rc == 0 && i < m->n; i++) {
		if (memcmp(&m->records[i]->id, id, sizeof(*id)) != 0)
			break;
		change(m, m->records[i], NULL);
	}
	pthread_mutex_unlock(&m->lock);
	return rc;
}

static int
memory_list(struct engine *g, engine_list_fn *fn, void *arg, struct err *e)
{
	struct memory *m = memory_of(g);
	_cleanup_(freep) struct vault_id *ids = NULL;
	size_t n = 0;
	int rc = 0;

	pthread_mutex_lock(&m->lock);
	ids = calloc(m->n + 1, sizeof(*ids));
	for (size_t i = 0; ids && i < m->n; i++) {
		const struct record *r = m->records[i];

		if (r->live && (!n || memcmp(&ids[n - 1], &r->id, sizeof(r->id)) != 0))
			ids[n++] = r->id;
	}
	pthread_mutex_unlock(&m->lock);
	if (!ids)
		return err_set(e, ERR_MEMORY, "no memory for a list");
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = fn(arg, &ids[i], e);
	return rc < 0 ? -1 : 0;
}

static int
see_all(struct memory *m, struct sight *s, struct vault_id **ids, struct err *e)
{
	s->blobs = calloc(2 * m->n + 1, sizeof(*s->blobs));
	*ids = calloc(m->n + 1, sizeof(**ids));
	if (!s->blobs || !*ids)
		return err_set(e, ERR_MEMORY, "no memory for a scan");
	for (size_t i = 0; i < m->n; i++) {
		const struct record *r = m->records[i];

		if (!r->live)
			continue;
		(*ids)[s->n / 2] = r->id;
		s->blobs[s->n++] = blob_ref(r->key);
		s->blobs[s->n++] = blob_ref(r->live);
	}
	return 0;
}

static int
memory_each(struct engine *g, engine_each_fn *fn, engine_gap_fn *gap, void *arg, struct err *e)
{
	struct memory *m = memory_of(g);
	_cleanup_(freep) struct vault_id *ids = NULL;
	_cleanup_(sight_free) struct sight s = { 0 };
	int rc;

	(void)gap;
	pthread_mutex_lock(&m->lock);
	rc = see_all(m, &s, &ids, e);
	pthread_mutex_unlock(&m->lock);
	for (size_t i = 0; i < s.n && rc == 0; i += 2)
		rc = fn(arg, &ids[i / 2], blob_span(s.blobs[i]), blob_span(s.blobs[i + 1]), e);
	return rc < 0 ? -1 : 0;
}

static int
memory_flush(struct engine *g, struct err *e)
{
	struct memory *m = memory_of(g);

	(void)e;
	pthread_mutex_lock(&m->lock);
	settle(m, true);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static uint64_t
memory_room(struct engine *g)
{
	(void)g;
	return UINT64_MAX;
}

static uint64_t
memory_size(struct engine *g)
{
	(void)g;
	return 0;
}

static void
memory_close(struct engine *g)
{
	struct memory *m = memory_of(g);

	for (size_t i = 0; i < m->n; i++)
		record_free(m->records[i]);
	free(m->records);
	free(m->dirty);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static const struct engine_ops memory_ops = {
	.scheme = "memory",
	.get = memory_get,
	.apply = memory_apply,
	.scan = memory_scan,
	.drop = memory_drop,
	.list = memory_list,
	.each = memory_each,
	.flush = memory_flush,
	.compact = memory_flush, /* after which the old values are gone */
	.size = memory_size,
	.room = memory_room,
	.close = memory_close,
};

struct engine *
engine_memory(struct err *e)
{
	struct memory *m = calloc(1, sizeof(*m));

	if (!m) {
		err_set(e, ERR_MEMORY, "no memory for an engine");
		return NULL;
	}
	m->engine.ops = &memory_ops;
	pthread_mutex_init(&m->lock, NULL);
	return &m->engine;
}

void
engine_memory_cut(struct engine *g)
{
	struct memory *m = memory_of(g);

	assert(g->ops == &memory_ops);
	pthread_mutex_lock(&m->lock);
	settle(m, false);
	pthread_mutex_unlock(&m->lock);
}
