/* chunks.h - where immutable sealed pieces of content lie: THE chunk interface.
 *
 * A chunk belongs to a vault, is named by 16 random bytes, and is opaque here. Format, sealing and
 * ranges are vault/content.c's. Any thread.
 */
#pragma once
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/id.h"

#define CHUNK_NAME_BYTES 16
#define CHUNK_MAX_BYTES  ((size_t)5 << 20) /* sealed, with its overhead */

struct chunk_name {
	uint8_t b[CHUNK_NAME_BYTES];
};

struct chunks;
struct chunk_out; /* a chunk being written */
struct chunk_in;  /* a chunk open for reading; keeps its bytes even if it is removed meanwhile */

typedef int chunks_list_fn(void *arg, const struct vault_id *id, const struct chunk_name *name,
    uint64_t bytes, struct err *e);

typedef int chunks_vault_fn(void *arg, const struct vault_id *id, struct err *e);

struct chunks_ops {
	const char *scheme;

	/* Begin a chunk; nobody sees it until finish. */
	struct chunk_out *(*begin)(struct chunks *c, const struct vault_id *id,
	    const struct chunk_name *name, struct err *e);
	int (*write)(struct chunk_out *o, const void *p, size_t n, struct err *e);
	/* Make it durable under its name and visible; O is consumed whatever happens. Its directory
	 * entry is durable after the next `sync` of the vault. */
	int (*finish)(struct chunk_out *o, struct err *e);
	void (*abort)(struct chunk_out *o); /* NULL is fine */
	/* Make the names of every finished chunk of the vault durable. */
	int (*sync)(struct chunks *c, const struct vault_id *id, struct err *e);

	/* NULL with ERR_MISSING if there is none. */
	struct chunk_in *(*open)(struct chunks *c, const struct vault_id *id,
	    const struct chunk_name *name, struct err *e);
	/* Exactly N bytes at OFFSET; ERR_FORGED if the chunk is shorter than that. */
	int (*read)(struct chunk_in *i, uint64_t offset, void *out, size_t n, struct err *e);
	uint64_t (*bytes)(struct chunk_in *i);
	void (*close_in)(struct chunk_in *i); /* NULL is fine */

	/* Missing is fine. */
	int (*remove)(struct chunks *c, const struct vault_id *id, const struct chunk_name *name,
	    struct err *e);
	/* From here to unhold (counted) no chunk goes by `remove`: those that should, go with the last
	 * unhold, or are swept after a crash. `drop` removes as ever. For a backup. */
	void (*hold)(struct chunks *c);
	void (*unhold)(struct chunks *c);
	/* Remove every chunk of the vault, unfinished ones included, durably. None is fine. */
	int (*drop)(struct chunks *c, const struct vault_id *id, struct err *e);
	/* The chunks of one vault, or of all if ID is NULL, in no order. Unfinished ones left by a
	 * crash are removed when the store is opened, but in a folder that can't be read. Of all, a folder
	 * of several vaults that can't be read fails it only when those of the others are through. */
	int (*list)(struct chunks *c, const struct vault_id *id, chunks_list_fn *fn, void *arg,
	    struct err *e);
	/* Bytes that chunks may still take; 0: they are answered ERR_FULL. UINT64_MAX: no bound. */
	uint64_t (*room)(struct chunks *c);
	/* Every vault that may have chunks, unfinished ones included, in no order; fails like list of all. */
	int (*vaults)(struct chunks *c, chunks_vault_fn *fn, void *arg, struct err *e);
	void (*close)(struct chunks *c);
};

struct chunks {
	const struct chunks_ops *ops;
};

#define chunks_begin(c, ...)  ((c)->ops->begin((c), __VA_ARGS__))
#define chunks_write(c, ...)  ((c)->ops->write(__VA_ARGS__))
#define chunks_finish(c, ...) ((c)->ops->finish(__VA_ARGS__))
#define chunks_abort(c, o)    ((c)->ops->abort(o))
#define chunks_sync(c, ...)   ((c)->ops->sync((c), __VA_ARGS__))
#define chunks_open(c, ...)   ((c)->ops->open((c), __VA_ARGS__))
#define chunks_read(c, ...)   ((c)->ops->read(__VA_ARGS__))
#define chunks_bytes(c, i)    ((c)->ops->bytes(i))
#define chunks_close_in(c, i) ((c)->ops->close_in(i))
#define chunks_remove(c, ...) ((c)->ops->remove((c), __VA_ARGS__))
#define chunks_drop(c, ...)   ((c)->ops->drop((c), __VA_ARGS__))
#define chunks_room(c)        ((c)->ops->room((c)))
#define chunks_hold(c)        ((c)->ops->hold(c))
#define chunks_unhold(c)      ((c)->ops->unhold(c))
#define chunks_list(c, ...)   ((c)->ops->list((c), __VA_ARGS__))
#define chunks_vaults(c, ...) ((c)->ops->vaults((c), __VA_ARGS__))

static inline void
chunks_close(struct chunks *c)
{
	if (c)
		c->ops->close(c);
}
CLEANUP(struct chunks, chunks_close)

/* Files under folder PATH, created if absent:
 *   PATH/ab/<account as 32 hex>.<service number>/<name as 32 hex>      finished
 *   .../<name>.part                                                  being written
 * (ab: the account's first byte). Written aside, fdatasynced, renamed; directories synced by sync.
 * An empty vault folder is removed by drop. KEEP_BYTES of the disk are left alone: begin and write
 * answer ERR_FULL then. */
must_check
struct chunks *chunks_file(const char *path, uint64_t keep_bytes, struct err *e);

/* A wrapper that misbehaves on purpose; owns and closes NEXT. */
must_check
struct chunks *chunks_fault(struct chunks *next, struct err *e);
/* Misbehave at the NTH call from now on of any kind but abort, bytes, room and the two closes (see
 * base/fault.h). A chunk whose begin or open fails late is aborted or closed; what a finish, a remove or
 * a drop did before it failed late stays done. */
void chunks_fault_set(struct chunks *c, enum fault_kind kind, unsigned nth, bool sticky);
/* Whether the fault has fired since it was set. */
bool chunks_fault_fired(struct chunks *c);
