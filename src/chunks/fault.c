/* fault.c - chunks around other chunks that misbehave on purpose, at a chosen call. */
#include "chunks/chunks.h"

#include <assert.h>
#include <stdlib.h>

struct fault_chunks {
	struct chunks chunks;
	struct chunks *next;
	struct fault fault;
};

struct chunk_out {
	struct fault_chunks *store;
	const struct chunks_ops *ops; /* of next: it may be aborted after its store was closed */
	struct chunk_out *next;
};

struct chunk_in {
	struct fault_chunks *store;
	struct chunk_in *next;
};

static struct fault_chunks *
fault_of(struct chunks *c)
{
	return container_of(c, struct fault_chunks, chunks);
}

/* Writing */

static void
fault_abort(struct chunk_out *o)
{
	if (!o)
		return;
	o->ops->abort(o->next);
	free(o);
}
CLEANUP(struct chunk_out, fault_abort)

static struct chunk_out *
fault_begin(
    struct chunks *c, const struct vault_id *id, const struct chunk_name *name, struct err *e)
{
	_cleanup_(fault_abortp) struct chunk_out *o = calloc(1, sizeof(*o));
	struct fault_chunks *f = fault_of(c);
	enum fault_kind kind;

	if (!o) {
		err_set(e, ERR_MEMORY, "no memory for a chunk");
		return NULL;
	}
	o->store = f;
	o->ops = f->next->ops;
	if (fault_before(&f->fault, &kind, e) < 0)
		return NULL;
	o->next = chunks_begin(f->next, id, name, e);
	if (fault_after(kind, e) || !o->next)
		return NULL;
	return take(&o);
}

static int
fault_write(struct chunk_out *o, const void *p, size_t n, struct err *e)
{
	struct fault_chunks *f = o->store;

	return FAULT_CALL(&f->fault, e, chunks_write(f->next, o->next, p, n, e));
}

static int
fault_finish(struct chunk_out *o, struct err *e)
{
	_cleanup_(fault_abortp) struct chunk_out *unfinished = o;
	struct fault_chunks *f = o->store;

	return FAULT_CALL(&f->fault, e, chunks_finish(f->next, take(&o->next), e));
}

static int
fault_sync(struct chunks *c, const struct vault_id *id, struct err *e)
{
	struct fault_chunks *f = fault_of(c);

	return FAULT_CALL(&f->fault, e, chunks_sync(f->next, id, e));
}

/* Reading */

static void
fault_close_in(struct chunk_in *i)
{
	if (!i)
		return;
	chunks_close_in(i->store->next, i->next);
	free(i);
}
CLEANUP(struct chunk_in, fault_close_in)

static struct chunk_in *
fault_open(
    struct chunks *c, const struct vault_id *id, const struct chunk_name *name, struct err *e)
{
	_cleanup_(fault_close_inp) struct chunk_in *i = calloc(1, sizeof(*i));
	struct fault_chunks *f = fault_of(c);
	enum fault_kind kind;

	if (!i) {
		err_set(e, ERR_MEMORY, "no memory for a chunk");
		return NULL;
	}
	i->store = f;
	if (fault_before(&f->fault, &kind, e) < 0)
		return NULL;
	i->next = chunks_open(f->next, id, name, e);
	if (fault_after(kind, e) || !i->next)
		return NULL;
	return take(&i);
}

static int
fault_read(struct chunk_in *i, uint64_t offset, void *out, size_t n, struct err *e)
{
	struct fault_chunks *f = i->store;

	return FAULT_CALL(&f->fault, e, chunks_read(f->next, i->next, offset, out, n, e));
}

static uint64_t
fault_bytes(struct chunk_in *i)
{
	return chunks_bytes(i->store->next, i->next);
}

/* Removing and listing */

static int
fault_remove(
    struct chunks *c, const struct vault_id *id, const struct chunk_name *name, struct err *e)
{
	struct fault_chunks *f = fault_of(c);

	return FAULT_CALL(&f->fault, e, chunks_remove(f->next, id, name, e));
}

static int
fault_drop(struct chunks *c, const struct vault_id *id, struct err *e)
{
	struct fault_chunks *f = fault_of(c);

	return FAULT_CALL(&f->fault, e, chunks_drop(f->next, id, e));
}

static int
fault_list(
    struct chunks *c, const struct vault_id *id, chunks_list_fn *fn, void *arg, struct err *e)
{
	struct fault_chunks *f = fault_of(c);

	return FAULT_CALL(&f->fault, e, chunks_list(f->next, id, fn, arg, e));
}

static void
fault_hold(struct chunks *c)
{
	chunks_hold(fault_of(c)->next);
}

static void
fault_unhold(struct chunks *c)
{
	chunks_unhold(fault_of(c)->next);
}

static uint64_t
fault_room(struct chunks *c)
{
	return chunks_room(fault_of(c)->next);
}

static int
fault_vaults(struct chunks *c, chunks_vault_fn *fn, void *arg, struct err *e)
{
	struct fault_chunks *f = fault_of(c);

	return FAULT_CALL(&f->fault, e, chunks_vaults(f->next, fn, arg, e));
}

static void
fault_close(struct chunks *c)
{
	struct fault_chunks *f = fault_of(c);

	chunks_close(f->next);
	fault_destroy(&f->fault);
	free(f);
}

static const struct chunks_ops fault_ops = {
	.scheme = "fault",
	.begin = fault_begin,
	.write = fault_write,
	.finish = fault_finish,
	.abort = fault_abort,
	.sync = fault_sync,
	.open = fault_open,
	.read = fault_read,
	.bytes = fault_bytes,
	.close_in = fault_close_in,
	.remove = fault_remove,
	.drop = fault_drop,
	.list = fault_list,
	.room = fault_room,
	.hold = fault_hold,
	.unhold = fault_unhold,
	.vaults = fault_vaults,
	.close = fault_close,
};

struct chunks *
chunks_fault(struct chunks *next, struct err *e)
{
	struct fault_chunks *f;

	if (!next) /* whoever failed to open it has set *E */
		return NULL;
	f = calloc(1, sizeof(*f));
	if (!f) {
		chunks_close(next);
		err_set(e, ERR_MEMORY, "no memory for chunks");
		return NULL;
	}
	f->chunks.ops = &fault_ops;
	f->next = next;
	fault_init(&f->fault);
	return &f->chunks;
}

void
chunks_fault_set(struct chunks *c, enum fault_kind kind, unsigned nth, bool sticky)
{
	assert(c->ops == &fault_ops);
	fault_set(&fault_of(c)->fault, kind, nth, sticky, 0);
}

bool
chunks_fault_fired(struct chunks *c)
{
	assert(c->ops == &fault_ops);
	return fault_fired(&fault_of(c)->fault);
}
