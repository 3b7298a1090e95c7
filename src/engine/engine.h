/* engine.h - where sealed records lie: THE storage interface.
 *
 * An ordered map of (vault, key) to value. A key is 1 to 40 bytes and begins with its kind byte;
 * a value has at most 4 MiB. What one apply changes belongs to one vault and is atomic. All calls
 * may come from any thread. After an ERR_IO or ERR_FULL either nothing or all of an apply may have
 * happened: read to find out. ERR_STALE means the guard did not match and nothing changed.
 *
 * The calls map onto one machine (RocksDB) and onto RADOS (a vault is an object, its omap the
 * records, an apply one guarded write operation).
 */
#pragma once
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/frame.h"
#include "base/id.h"

#define ENGINE_KEY_MAX   40
#define ENGINE_VALUE_MAX ((size_t)4 << 20)

enum engine_op { ENGINE_PUT, ENGINE_DELETE };

struct engine_write {
	enum engine_op op;
	struct span key;
	struct span value; /* ENGINE_PUT only */
};

/* Refuse the apply unless KEY has exactly VALUE now (or is absent). */
struct engine_guard {
	struct span key;
	struct span value;
	bool absent;
};

enum engine_when {
	ENGINE_LATER, /* survives a power cut after the next flush; a process kill at once */
	ENGINE_NOW,   /* apply returns when it survives a power cut */
	/* May be added (|) to either: the puts make room, or are few and keep the node going, so they
	 * may use what is kept back from all others when there is little space. */
	ENGINE_RESERVE = 2,
};

/* Called for each record in key order. 0: go on, 1: enough, -1: *E set, the scan fails. The spans
 * live until it returns. It must not call apply on the same engine. */
typedef int engine_scan_fn(void *arg, struct span key, struct span value, struct err *e);
typedef int engine_list_fn(void *arg, const struct vault_id *id, struct err *e);
typedef int engine_each_fn(
    void *arg, const struct vault_id *id, struct span key, struct span value, struct err *e);
/* Called where records can't be read: behind the last that was given, none, some or all of vaults FROM to TO,
 * both included. WHY is what was met. */
typedef int engine_gap_fn(void *arg, const struct vault_id *from, const struct vault_id *to,
    const struct err *why, struct err *e);

struct engine;
struct engine_tail_ops;

struct engine_ops {
	const char *scheme; /* the word before ':' in the configuration: "rocksdb" */

	/* 1: VALUE replaced by it; 0: no such record; -1: *E. */
	int (*get)(struct engine *g, const struct vault_id *id, struct span key, struct buf *value,
	    struct err *e);
	/* GUARD may be NULL. */
	int (*apply)(struct engine *g, const struct vault_id *id, const struct engine_write *w,
	    size_t n, const struct engine_guard *guard, enum engine_when when, struct err *e);
	/* Records of the vault with FROM <= key < TO (an empty TO: to the end), at one instant. */
	int (*scan)(struct engine *g, const struct vault_id *id, struct span from, struct span to,
	    engine_scan_fn *fn, void *arg, struct err *e);
	/* Remove every record of the vault, as one apply with ENGINE_LATER; none is fine. */
	int (*drop)(struct engine *g, const struct vault_id *id, struct err *e);
	/* Every vault that has a record, in order, at one instant. */
	int (*list)(struct engine *g, engine_list_fn *fn, void *arg, struct err *e);
	/* Every record of every vault, in order, at one instant, for a backup. No file goes meanwhile, so
	 * compact waits. It goes on behind what can't be read, unless GAP is NULL or there is nothing else.
	 * ERR_BUSY: the engine has to be reopened, which can't wait for this. */
	int (*each)(
	    struct engine *g, engine_each_fn *fn, engine_gap_fn *gap, void *arg, struct err *e);
	/* Everything applied before this call survives a power cut when it returns. */
	int (*flush)(struct engine *g, struct err *e);
	/* When it returns, no file of the engine holds bytes of records that were deleted or
	 * replaced before the call (write-ahead logs included). May take minutes. */
	int (*compact)(struct engine *g, struct err *e);
	/* Bytes on disk; 0 where that has no meaning. */
	uint64_t (*size)(struct engine *g);
	/* Bytes that puts may still take; 0: they are answered ERR_FULL. UINT64_MAX: no bound. */
	uint64_t (*room)(struct engine *g);
	/* Whether some of what had been durable was gone when it was opened: its files were damaged. NULL:
	 * it can't tell. */
	bool (*has_lost)(struct engine *g);
	void (*close)(struct engine *g);
	const struct engine_tail_ops *tail; /* tail.h; NULL: its changes can't be read */
};

struct engine {
	const struct engine_ops *ops;
};

#define engine_get(g, ...)   ((g)->ops->get((g), __VA_ARGS__))
#define engine_apply(g, ...) ((g)->ops->apply((g), __VA_ARGS__))
#define engine_scan(g, ...)  ((g)->ops->scan((g), __VA_ARGS__))
#define engine_drop(g, ...)  ((g)->ops->drop((g), __VA_ARGS__))
#define engine_list(g, ...)  ((g)->ops->list((g), __VA_ARGS__))
#define engine_each(g, ...)  ((g)->ops->each((g), __VA_ARGS__))
#define engine_flush(g, e)   ((g)->ops->flush((g), (e)))
#define engine_compact(g, e) ((g)->ops->compact((g), (e)))
#define engine_size(g)       ((g)->ops->size((g)))
#define engine_room(g)       ((g)->ops->room((g)))

static inline bool
engine_has_lost(struct engine *g)
{
	return g->ops->has_lost && g->ops->has_lost(g);
}

static inline void
engine_close(struct engine *g)
{
	if (g)
		g->ops->close(g);
}
CLEANUP(struct engine, engine_close)

/* In memory, ordered; for tests. A "power cut" is engine_memory_cut. */
must_check
struct engine *engine_memory(struct err *e);
/* For tests: forget everything that was not durable, as a power cut would. */
void engine_memory_cut(struct engine *g);

/* RocksDB in folder PATH, created if absent. No compression (values are sealed), write-ahead log
 * on; BLOCK_CACHE_BYTES and WRITE_BUFFER_BYTES bound its memory. After a failed write the engine
 * answers ERR_IO until a reopen inside the next call succeeds. ERR_BUSY if another process has it.
 * Puts answer ERR_FULL while less than ENGINE_KEPT_BUFFERS write buffers of disk space are left, and
 * those that may use the reserve while less than one is; deleting and reading go on. Without any
 * space it is reopened for reading only, until there is some. Once a compaction has met a block that can't be
 * read, only those fail who need that block (drop does not), and compact (ERR_IO); nothing is compacted any
 * more. */
#define ENGINE_KEPT_BUFFERS 4
/* Of FILES descriptors that the process may have, those that RocksDB keeps open at most. */
uint64_t engine_rocksdb_files(uint64_t files);
must_check
struct engine *engine_rocksdb(
    const char *path, uint64_t block_cache_bytes, uint64_t write_buffer_bytes, struct err *e);

/* A wrapper that misbehaves on purpose; owns and closes NEXT. */
must_check
struct engine *engine_fault(struct engine *next, struct err *e);
/* Misbehave at the NTH (1-based, counted from now) call that changes or flushes something (apply,
 * drop, flush, compact), or at the NTH get or scan if ON_READS. STICKY: at every one from then on. */
void engine_fault_set(struct engine *g, enum fault_kind kind, unsigned nth, bool on_reads,
    bool sticky, unsigned delay_ms);
/* Whether the fault has fired since it was set. */
bool engine_fault_fired(struct engine *g);
