/* replica.c - see replica.h.
 *
 * Folders of a store: engine/, chunks/, engine.copy/ (a copy that is coming in), engine.old/ (what a copy
 * is just replacing). Replacing is two renames, engine to engine.old and engine.copy to engine: a start
 * that finds engine.old finishes it.
 */
#include "standby/replica.h"

#include "base/fs.h"
#include "base/log.h"
#include "engine/tail.h"
#include "vault/region.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define POSITION_FORMAT 1
#define CHUNK_KIND      'C' /* the kind byte of a chunk entry (DESIGN.md, 5) */

struct replica {
	char *store;
	uint64_t cache_bytes, write_buffer_bytes;
	struct engine *engine;
	struct chunks *chunks;
	struct replica_position position;

	struct engine *copy; /* NULL: none is made */
	struct replica_position copy_position;

	struct chunk_out *out; /* the chunk that is coming in */
	struct ship_chunk out_chunk;
	uint64_t out_bytes;

	bool owes_sweep; /* chunks may be there that should have gone */

	pthread_rwlock_t gate; /* read: compacts; write: exchanges the engine */
};

static const struct vault_id region_vault = { .service = SERVICE_REGION };
static const uint8_t position_key[] = { REGION_POSITION };

/* --- folders --- */

static void
path_of(const struct replica *r, const char *name, char out[static PATH_MAX])
{
	snprintf(out, PATH_MAX, "%.*s/%s", PATH_MAX - 64, r->store, name);
}

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static int
remove_folder(const struct replica *r, const char *name, struct err *e)
{
	char path[PATH_MAX];

	path_of(r, name, path);
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	return nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0
	    ? 0
	    : err_errno(e, errno, "remove %s", path);
}

static int
rename_folder(const struct replica *r, const char *from, const char *to, struct err *e)
{
	char old[PATH_MAX], new[PATH_MAX];

	path_of(r, from, old);
	path_of(r, to, new);
	if (rename(old, new) < 0)
		return err_errno(e, errno, "rename %s", old);
	return fs_sync_dir(r->store, e);
}

static bool
has_folder(const struct replica *r, const char *name)
{
	char path[PATH_MAX];

	path_of(r, name, path);
	return access(path, F_OK) == 0;
}

static int
tidy_folders(struct replica *r, struct err *e)
{
	if (has_folder(r, "engine.old") && !has_folder(r, "engine") &&
	    rename_folder(r, "engine.copy", "engine", e) < 0)
		return -1;
	if (remove_folder(r, "engine.old", e) < 0)
		return -1;
	return remove_folder(r, "engine.copy", e);
}

static struct engine *
open_engine(const struct replica *r, const char *name, struct err *e)
{
	char path[PATH_MAX];

	path_of(r, name, path);
	return engine_rocksdb(path, r->cache_bytes, r->write_buffer_bytes, e);
}

/* --- position --- */

int
replica_position_read(struct engine *g, struct replica_position *out, struct err *e)
{
	_cleanup_buf_ struct buf v = BUF_INIT(256);
	struct reader r;
	int found = engine_get(
	    g, &region_vault, ((struct span){ position_key, sizeof(position_key) }), &v, e);

	memset(out, 0, sizeof(*out));
	if (found <= 0)
		return found;
	r = READER(v.data, v.len);
	if (read_u8(&r) != POSITION_FORMAT)
		r.failed = true;
	out->at.next = read_u64(&r);
	out->at.check_from = read_u64(&r);
	read_copy(&r, out->at.check, SHA256_BYTES);
	out->whole_at = read_u64(&r);
	return read_check(&r, "a standby's position", e) < 0 ? -1 : 1;
}

/* As one more change. */
static void
position_add(struct buf *changes, const struct replica_position *p)
{
	_cleanup_buf_ struct buf v = BUF_INIT(256);
	struct change c = {
		.op = CHANGE_PUT,
		.id = region_vault,
		.key = { position_key, sizeof(position_key) },
	};

	put_u8(&v, POSITION_FORMAT);
	put_u64(&v, p->at.next);
	put_u64(&v, p->at.check_from);
	buf_add(&v, p->at.check, SHA256_BYTES);
	put_u64(&v, p->whole_at);
	c.value = (struct span){ v.data, v.len };
	change_add(changes, &c);
}

void
replica_position(struct replica *r, struct replica_position *out)
{
	*out = r->position;
}

uint64_t
replica_bytes(struct replica *r)
{
	uint64_t bytes;

	pthread_rwlock_rdlock(&r->gate);
	bytes = r->engine ? engine_size(r->engine) : 0;
	pthread_rwlock_unlock(&r->gate);
	return bytes;
}

struct engine *
replica_engine(struct replica *r)
{
	return r->engine;
}

/* An exchange that failed half-way. */
static int
closed(struct err *e)
{
	return err_set(e, ERR_IO, "the store could not be opened again: start the standby anew");
}

/* --- chunks --- */

/* The chunk that C puts or deletes; false if it is about something else. */
static bool
chunk_of(const struct change *c, struct chunk_name *name)
{
	if (c->op == CHANGE_DROP || c->id.service == SERVICE_REGION ||
	    c->key.len != 1 + CHUNK_NAME_BYTES || c->key.data[0] != CHUNK_KIND)
		return false;
	memcpy(name->b, c->key.data + 1, CHUNK_NAME_BYTES);
	return true;
}

struct sweep {
	struct replica *replica;
	uint64_t removed, left;
	struct err why; /* the last one was left */
};

static int
sweep_one(void *arg, const struct vault_id *id, const struct chunk_name *name, uint64_t bytes,
    struct err *e)
{
	_cleanup_buf_ struct buf v = BUF_INIT(ENGINE_VALUE_MAX);
	struct sweep *s = arg;
	uint8_t key[1 + CHUNK_NAME_BYTES] = { CHUNK_KIND };
	int found;

	(void)bytes;
	memcpy(key + 1, name->b, CHUNK_NAME_BYTES);
	found = engine_get(s->replica->engine, id, ((struct span){ key, sizeof(key) }), &v, e);
	if (found < 0)
		return -1;
	if (found)
		return 0;
	if (chunks_remove(s->replica->chunks, id, name, &s->why) == 0)
		s->removed++;
	else
		s->left++;
	return 0;
}

/* Remove the chunks that no record refers to: of shipments that did not come whole, and those whose
 * removal failed, or was kept from happening by a crash. */
static int
sweep(struct replica *r, struct err *e)
{
	struct sweep s = { .replica = r };

	r->owes_sweep = true;
	if (chunks_list(r->chunks, NULL, sweep_one, &s, e) < 0)
		return err_add(e, "chunks");
	if (s.removed)
		log_info("standby.sweep", NULL, "chunks=%" PRIu64, s.removed);
	if (s.left)
		return err_set(e, s.why.kind, "%" PRIu64 " chunks: %s", s.left, s.why.text);
	r->owes_sweep = false;
	return 0;
}

/* The same where nobody waits for it. */
static void
sweep_or_owe(struct replica *r)
{
	struct err why;

	if (sweep(r, &why) < 0)
		log_warn("standby.sweep", NULL, "later: %s", why.text);
}

int
replica_tidy(struct replica *r, struct err *e)
{
	if (r->copy)
		return err_set(e, ERR_BUSY, "a copy is made");
	if (!r->engine)
		return closed(e);
	return r->owes_sweep ? sweep(r, e) : 0;
}

int
replica_needs(struct replica *r, const struct ship_chunk *c, struct err *e)
{
	struct err why;
	struct chunk_in *in = chunks_open(r->chunks, &c->vault, &c->name, &why);
	uint8_t head[CHUNK_HEAD_BYTES];
	bool is_same;

	if (!in && why.kind == ERR_MISSING)
		return 1;
	if (!in) {
		*e = why;
		return -1;
	}
	is_same = chunks_bytes(r->chunks, in) == c->bytes &&
	    chunks_read(r->chunks, in, 0, head, sizeof(head), &why) == 0 &&
	    memcmp(head, c->head, sizeof(head)) == 0;
	chunks_close_in(r->chunks, in);
	/* One that was left by a stream that ended may have a name that is not durable yet. */
	if (is_same)
		return chunks_sync(r->chunks, &c->vault, e);
	/* Its account has been away meanwhile, and came back under another key. */
	return chunks_remove(r->chunks, &c->vault, &c->name, e) < 0 ? -1 : 1;
}

int
replica_chunk(struct replica *r, const struct ship_chunk *c, struct err *e)
{
	if (r->out)
		return err_set(e, ERR_BAD, "a chunk within a chunk");
	r->out = chunks_begin(r->chunks, &c->vault, &c->name, e);
	if (!r->out)
		return -1;
	r->out_chunk = *c;
	r->out_bytes = 0;
	return 0;
}

int
replica_data(struct replica *r, struct span bytes, struct err *e)
{
	if (!r->out || bytes.len > r->out_chunk.bytes - r->out_bytes)
		return err_set(e, ERR_BAD, "data that belongs to no chunk");
	if (chunks_write(r->chunks, r->out, bytes.data, bytes.len, e) < 0)
		return -1;
	r->out_bytes += bytes.len;
	if (r->out_bytes < r->out_chunk.bytes)
		return 0;
	if (chunks_finish(r->chunks, take(&r->out), e) < 0)
		return -1;
	return chunks_sync(r->chunks, &r->out_chunk.vault, e);
}

/* A stream that ended has left half a chunk. */
static void
drop_half(struct replica *r)
{
	if (r->out)
		chunks_abort(r->chunks, take(&r->out));
}

/* --- copies --- */

int
replica_no_copy(struct replica *r, struct err *e)
{
	drop_half(r);
	if (!r->copy)
		return 0;
	engine_close(take(&r->copy));
	return remove_folder(r, "engine.copy", e);
}

int
replica_copy(struct replica *r, uint64_t from, struct err *e)
{
	if (replica_no_copy(r, e) < 0)
		return -1;
	r->copy = open_engine(r, "engine.copy", e);
	memset(&r->copy_position, 0, sizeof(r->copy_position));
	r->copy_position.at.next = r->copy_position.at.check_from = from;
	return r->copy ? 0 : -1;
}

int
replica_records(struct replica *r, struct span changes, struct err *e)
{
	if (!r->copy)
		return err_set(e, ERR_BAD, "records without a copy");
	return engine_tail(r->copy)->apply(r->copy, changes, e);
}

/* Let engine.copy be the engine. */
static int
exchange(struct replica *r, struct err *e)
{
	engine_close(take(&r->copy));
	engine_close(take(&r->engine));
	if (rename_folder(r, "engine", "engine.old", e) < 0 ||
	    rename_folder(r, "engine.copy", "engine", e) < 0 ||
	    remove_folder(r, "engine.old", e) < 0)
		return -1;
	r->engine = open_engine(r, "engine", e);
	return r->engine ? 0 : -1;
}

int
replica_copied(struct replica *r, struct err *e)
{
	int rc;

	if (!r->engine)
		return closed(e);
	if (!r->copy || r->copy_position.at.check_from == r->copy_position.at.next)
		return err_set(e, ERR_BAD, "the end of a copy that there is not, or is not whole");
	if (engine_flush(r->copy, e) < 0)
		return -1;
	pthread_rwlock_wrlock(&r->gate);
	rc = exchange(r, e);
	pthread_rwlock_unlock(&r->gate);
	if (rc < 0)
		return -1;
	r->position = r->copy_position;
	sweep_or_owe(r);
	return 0;
}

/* --- shipments --- */

static int
remove_chunk(struct replica *r, const struct change *c, struct err *e)
{
	struct chunk_name name;

	if (c->op == CHANGE_DROP)
		return chunks_drop(r->chunks, &c->id, e);
	if (c->op == CHANGE_DELETE && chunk_of(c, &name))
		return chunks_remove(r->chunks, &c->id, &name, e);
	return 0;
}

/* Chunks that CHANGES have made needless. These are carried out: one that can't be removed now is owed. */
static int
remove_chunks(struct replica *r, struct span changes, struct err *e)
{
	struct reader in = READER(changes.data, changes.len);
	struct change c;
	struct err why;
	int rc;

	while ((rc = change_next(&in, &c, e)) > 0) {
		if (remove_chunk(r, &c, &why) == 0)
			continue;
		if (!r->owes_sweep)
			log_warn("standby.chunk", NULL, "stays for now: %s", why.text);
		r->owes_sweep = true;
	}
	return rc;
}

int
replica_ship(struct replica *r, const struct ship_head *h, struct span changes, struct err *e)
{
	struct engine *g = r->copy ? r->copy : r->engine;
	struct replica_position *now = r->copy ? &r->copy_position : &r->position;
	struct replica_position after = { .at = { .next = h->next, .check_from = h->first } };
	_cleanup_buf_ struct buf all = BUF_INIT(SHIP_BYTES_MAX + 512);

	if (!g)
		return closed(e);
	if (h->first != now->at.next)
		return err_set(e, ERR_STALE,
		    "a shipment from change %" PRIu64 ", where %" PRIu64 " is next", h->first,
		    now->at.next);
	sha256(changes.data, changes.len, after.at.check);
	after.whole_at = now->whole_at > h->next ? now->whole_at : 0;
	if (h->whole_at > after.whole_at)
		after.whole_at = h->whole_at;
	buf_add(&all, changes.data, changes.len);
	position_add(&all, &after);
	if (buf_check(&all, e) < 0 ||
	    engine_tail(g)->apply(g, ((struct span){ all.data, all.len }), e) < 0 ||
	    engine_flush(g, e) < 0)
		return -1;
	*now = after;
	/* While a copy is made, what it will replace goes on needing them. */
	return r->copy ? 0 : remove_chunks(r, changes, e);
}

int
replica_compact(struct replica *r, struct err *e)
{
	int rc;

	pthread_rwlock_rdlock(&r->gate);
	rc = r->engine ? engine_compact(r->engine, e) : closed(e);
	pthread_rwlock_unlock(&r->gate);
	return rc;
}

/* --- opening --- */

struct replica *
replica_open(const char *store, uint64_t cache_bytes, uint64_t write_buffer_bytes, struct err *e)
{
	_cleanup_(replica_closep) struct replica *r = calloc(1, sizeof(*r));
	char chunks[PATH_MAX];

	if (r)
		r->store = strdup(store);
	if (!r || !r->store) {
		err_set(e, ERR_MEMORY, "no memory for a standby's store");
		return NULL;
	}
	r->cache_bytes = cache_bytes;
	r->write_buffer_bytes = write_buffer_bytes;
	pthread_rwlock_init(&r->gate, NULL);
	path_of(r, "chunks", chunks);
	if (fs_mkdir(store, 0700, e) < 0 || tidy_folders(r, e) < 0)
		return NULL;
	r->engine = open_engine(r, "engine", e);
	if (!r->engine)
		return NULL;
	r->chunks = chunks_file(chunks, ENGINE_KEPT_BUFFERS * write_buffer_bytes, e);
	if (!r->chunks || replica_position_read(r->engine, &r->position, e) < 0)
		return NULL;
	sweep_or_owe(r);
	return take(&r);
}

void
replica_close(struct replica *r)
{
	if (!r)
		return;
	drop_half(r);
	engine_close(r->copy);
	engine_close(r->engine);
	chunks_close(r->chunks);
	pthread_rwlock_destroy(&r->gate);
	free(r->store);
	free(r);
}
