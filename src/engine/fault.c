/* fault.c - an engine around another one that misbehaves on purpose, at a chosen call. */
#include "engine/engine_private.h"

struct fault_engine {
	struct engine engine;
	struct engine *next;
	struct fault changes, reads;
};

static struct fault_engine *
fault_of(struct engine *g)
{
	return container_of(g, struct fault_engine, engine);
}

static int
fault_get(
    struct engine *g, const struct vault_id *id, struct span key, struct buf *value, struct err *e)
{
	struct fault_engine *f = fault_of(g);

	return FAULT_CALL(&f->reads, e, engine_get(f->next, id, key, value, e));
}

static int
fault_apply(struct engine *g, const struct vault_id *id, const struct engine_write *w, size_t n,
    const struct engine_guard *guard, enum engine_when when, struct err *e)
{
	struct fault_engine *f = fault_of(g);

	return FAULT_CALL(&f->changes, e, engine_apply(f->next, id, w, n, guard, when, e));
}

static int
fault_scan(struct engine *g, const struct vault_id *id, struct span from, struct span to,
    engine_scan_fn *fn, void *arg, struct err *e)
{
	struct fault_engine *f = fault_of(g);

	return FAULT_CALL(&f->reads, e, engine_scan(f->next, id, from, to, fn, arg, e));
}

static int
fault_drop(struct engine *g, const struct vault_id *id, struct err *e)
{
	struct fault_engine *f = fault_of(g);

	return FAULT_CALL(&f->changes, e, engine_drop(f->next, id, e));
}

static int
fault_list(struct engine *g, engine_list_fn *fn, void *arg, struct err *e)
{
	struct fault_engine *f = fault_of(g);

	return FAULT_CALL(&f->reads, e, engine_list(f->next, fn, arg, e));
}

static int
fault_each(struct engine *g, engine_each_fn *fn, engine_gap_fn *gap, void *arg, struct err *e)
{
	struct fault_engine *f = fault_of(g);

	return FAULT_CALL(&f->reads, e, engine_each(f->next, fn, gap, arg, e));
}

static int
fault_flush(struct engine *g, struct err *e)
{
	struct fault_engine *f = fault_of(g);

	return FAULT_CALL(&f->changes, e, engine_flush(f->next, e));
}

static int
fault_compact(struct engine *g, struct err *e)
{
	struct fault_engine *f = fault_of(g);

	return FAULT_CALL(&f->changes, e, engine_compact(f->next, e));
}

static uint64_t
fault_room(struct engine *g)
{
	return engine_room(fault_of(g)->next);
}

static uint64_t
fault_size(struct engine *g)
{
	return engine_size(fault_of(g)->next);
}

static void
fault_close(struct engine *g)
{
	struct fault_engine *f = fault_of(g);

	engine_close(f->next);
	fault_destroy(&f->changes);
	fault_destroy(&f->reads);
	free(f);
}

static const struct engine_ops fault_ops = {
	.scheme = "fault",
	.get = fault_get,
	.apply = fault_apply,
	.scan = fault_scan,
	.drop = fault_drop,
	.list = fault_list,
	.each = fault_each,
	.flush = fault_flush,
	.compact = fault_compact,
	.size = fault_size,
	.room = fault_room,
	.close = fault_close,
};

struct engine *
engine_fault(struct engine *next, struct err *e)
{
	struct fault_engine *f;

	if (!next) /* whoever failed to open it has set *E */
		return NULL;
	f = calloc(1, sizeof(*f));
	if (!f) {
		engine_close(next);
		err_set(e, ERR_MEMORY, "no memory for an engine");
		return NULL;
	}
	f->engine.ops = &fault_ops;
	f->next = next;
	fault_init(&f->changes);
	fault_init(&f->reads);
	return &f->engine;
}

void
engine_fault_set(struct engine *g, enum fault_kind kind, unsigned nth, bool on_reads, bool sticky,
    unsigned delay_ms)
{
	struct fault_engine *f = fault_of(g);

	assert(g->ops == &fault_ops);
	fault_set(&f->changes, on_reads ? FAULT_NONE : kind, nth, sticky, delay_ms);
	fault_set(&f->reads, on_reads ? kind : FAULT_NONE, nth, sticky, delay_ms);
}

bool
engine_fault_fired(struct engine *g)
{
	struct fault_engine *f = fault_of(g);

	assert(g->ops == &fault_ops);
	return fault_fired(&f->changes) || fault_fired(&f->reads);
}
