/* export.c - the sending side of transfer.h. */
#include "vault/transfer_internal.h"
#include "vault/vault_internal.h"

#include <stdlib.h>
#include <string.h>

/* A vault of more pages is read page by page as it is now, instead of in one scan as of its last
 * checkpoint: a scan can't stop half-way, so all of it would lie in memory at once. */
#define SCAN_PAGES    512
/* So much of entries is made ahead, at least one. */
#define ENTRIES_AHEAD ((size_t)1 << 20)
#define DATA_PIECE    ((size_t)256 << 10)

struct export
{
	struct pool *pool;
	struct chunks *chunks;
	struct vault_id id;
	struct sealed *s;
	struct content_key *key;
	uint64_t failures; /* the flusher's: what a failed flush took back must not travel */
	uint64_t base;     /* the import's */
	uint32_t pages;    /* to be sent */
	uint32_t pages_sent;
	bool is_begun;
	bool is_scanned;     /* the pages lie in READY */
	size_t entries_sent; /* chunk entries of TODO whose C item was made */
	size_t n_entries;
	uint64_t last;      /* version of the last R item made */
	uint64_t opened_at; /* the version of the chunk entries */
	bool is_full;       /* READY has enough for now */
	struct buf ready;   /* items made and not yet handed out, from READY_AT on */
	size_t ready_at;

	struct chunk_ref *todo; /* chunks whose data is to be sent, from TODO_AT on */
	size_t todo_n, todo_room, todo_at;
	uint64_t todo_bytes;   /* of all from TODO_AT on */
	struct content_in *in; /* TODO[TODO_AT], sent up to IN_AT */
	uint64_t in_at;
};

/* --- items --- */

static void
put_head(struct buf *out, enum item type, size_t n)
{
	put_u32(out, (uint32_t)(n + 1));
	put_u8(out, (uint8_t)type);
}

static void
put_vault(struct buf *out, uint64_t base, uint32_t pages)
{
	put_head(out, ITEM_VAULT, ITEM_VAULT_BYTES);
	put_u64(out, base);
	put_u32(out, pages);
}

static void
put_page(struct buf *out, uint32_t number, uint64_t version, const uint8_t *plain)
{
	put_head(out, ITEM_PAGE, ITEM_PAGE_BYTES);
	put_u32(out, number);
	put_u64(out, version);
	buf_add(out, plain, PAGE_BYTES);
}

static void
put_chunk(struct buf *out, const struct chunk_ref *c)
{
	put_head(out, ITEM_CHUNK, ITEM_CHUNK_BYTES);
	buf_add(out, c->name, sizeof(c->name));
	put_u64(out, c->bytes);
	buf_add(out, c->digest, sizeof(c->digest));
}

static void
put_entry(struct buf *out, uint64_t version, const uint8_t *plain, size_t n)
{
	put_head(out, ITEM_ENTRY, 8 + n);
	put_u64(out, version);
	buf_add(out, plain, n);
}

/* --- chunks to be sent --- */

static int
add_todo(struct export *x, const struct chunk_ref *c, struct err *e)
{
	if (x->todo_at == x->todo_n)
		x->todo_at = x->todo_n = 0;
	if (x->todo_n == x->todo_room) {
		size_t room = x->todo_room ? 2 * x->todo_room : 16;
		struct chunk_ref *more = realloc(x->todo, room * sizeof(*more));

		if (!more)
			return err_set(e, ERR_MEMORY, "export: no memory");
		x->todo = more;
		x->todo_room = room;
	}
	x->todo[x->todo_n++] = *c;
	x->todo_bytes += c->bytes;
	return 0;
}

static int
note_chunk(void *arg, const struct chunk_ref *c, struct err *e)
{
	return add_todo(arg, c, e);
}

/* Entries up to opened_at may add chunks that are gone since; those that are not came as C items. */
static int
note_added(void *arg, const struct chunk_ref *c, struct err *e)
{
	struct export *x = arg;

	return x->last > x->opened_at ? add_todo(x, c, e) : 0;
}

/* Added by an entry shortly before: nothing of it has been sent, nobody will want it. */
static int
note_dropped(void *arg, const uint8_t name[16], struct err *e)
{
	struct export *x = arg;

	(void)e;
	for (size_t i = x->todo_at; i < x->todo_n; i++) {
		if (memcmp(x->todo[i].name, name, CHUNK_NAME_BYTES))
			continue;
		x->todo_bytes -= x->todo[i].bytes;
		memmove(&x->todo[i], &x->todo[i + 1], (x->todo_n - i - 1) * sizeof(*x->todo));
		x->todo_n--;
		break;
	}
	return 0;
}

/* --- opening --- */

static int
open_source(struct export *x, struct engine *g, struct keys *k, struct err *e)
{
	uint8_t key[KEY_BYTES];
	struct sealed_info i;

	x->s = sealed_open(g, k, &x->id, SEALED_READ, e);
	if (!x->s)
		return -1;
	sealed_get_info(x->s, &i);
	if (i.is_arriving)
		return err_set(e, ERR_BUSY, "the vault is itself arriving");
	x->is_scanned = i.base_page_count <= SCAN_PAGES;
	x->base = x->is_scanned ? i.base : i.version;
	x->pages = x->is_scanned ? i.base_page_count : i.page_count;
	x->last = x->base;
	x->opened_at = i.version;
	if (sealed_chunks(x->s, note_chunk, x, e) < 0)
		return -1;
	x->n_entries = x->todo_n;
	sealed_data_key(x->s, key);
	x->key = content_key_new(&x->id, key, e);
	wipe(key, sizeof(key));
	return x->key ? 0 : -1;
}

struct export *
export_open(struct pool *p, struct engine *g, struct keys *k, struct chunks *c,
    const struct vault_id *id, struct err *e)
{
	_cleanup_(export_closep) struct export *x = calloc(1, sizeof(*x));

	if (!x) {
		err_set(e, ERR_MEMORY, "export: no memory");
		return NULL;
	}
	x->pool = p;
	x->chunks = c;
	x->id = *id;
	x->ready = BUF_INIT(0);
	pool_hold(p, id);
	x->failures = flusher_failures(p->c.flusher);
	if (open_source(x, g, k, e) < 0)
		return NULL;
	return take(&x);
}

void
export_close(struct export *x)
{
	if (!x)
		return;
	content_in_close(x->in);
	content_key_unref(x->key);
	sealed_close(x->s);
	pool_unhold(x->pool, &x->id);
	buf_wipe(&x->ready);
	free(x->todo);
	free(x);
}

/* --- making items --- */

static int
visit_page(void *arg, uint32_t number, uint64_t version, const uint8_t *plain, struct err *e)
{
	struct export *x = arg;

	put_page(&x->ready, number, version, plain);
	x->pages_sent = number;
	return buf_check(&x->ready, e);
}

static int
visit_entry(void *arg, uint64_t version, const uint8_t *plain, size_t n, struct err *e)
{
	const struct redo_visit v = {
		.chunk_added = note_added,
		.chunk_dropped = note_dropped,
		.arg = arg,
	};
	struct export *x = arg;
	uint32_t pages;

	/* The scan has no other way to stop; where it stopped shows in x->last. */
	if (x->ready.len - x->ready_at >= ENTRIES_AHEAD) {
		x->is_full = true;
		return err_set(e, ERR_CANCELLED, "enough");
	}
	put_entry(&x->ready, version, plain, n);
	x->last = version;
	if (redo_visit(plain, n, &pages, &v, e) < 0)
		return -1;
	return buf_check(&x->ready, e);
}

/* model: s_export_stale */
static int
make_entries(struct export *x, struct err *e)
{
	x->is_full = false;
	if (sealed_export_entries(x->s, x->last, visit_entry, x, e) < 0 && !x->is_full)
		return -1;
	/* Asked after reading: whatever a failed flush took back was read before it failed, or not
	 * at all. */
	if (x->failures != flusher_failures(x->pool->c.flusher))
		return err_set(
		    e, ERR_STALE, "commits were taken back; the export has to begin again");
	return 0;
}

static int
begin(struct export *x, struct err *e)
{
	x->is_begun = true;
	put_vault(&x->ready, x->base, x->pages);
	if (!x->is_scanned)
		return buf_check(&x->ready, e);
	return sealed_export_pages(x->s, visit_page, x, e);
}

static bool
has_pages(const struct export *x)
{
	return !x->is_scanned && x->pages_sent < x->pages;
}

static int
make_page(struct export *x, struct buf *out, struct err *e)
{
	uint8_t page[PAGE_BYTES];

	if (sealed_read(x->s, x->pages_sent + 1, page, e) < 0)
		return -1;
	put_page(out, ++x->pages_sent, x->base, page);
	return 0;
}

/* One piece of the chunk that is next, or its end. */
static int
make_data(struct export *x, struct buf *out, struct err *e)
{
	const struct chunk_ref *c = &x->todo[x->todo_at];
	size_t n = c->bytes - x->in_at < DATA_PIECE ? (size_t)(c->bytes - x->in_at) : DATA_PIECE;
	uint8_t *room;

	if (!x->in)
		x->in = content_open(x->chunks, x->key, c, 1, e);
	if (!x->in)
		return -1;
	if (!n) {
		put_head(out, ITEM_END, CHUNK_NAME_BYTES);
		buf_add(out, c->name, CHUNK_NAME_BYTES);
		content_in_close(take(&x->in));
		x->in_at = 0;
		x->todo_bytes -= c->bytes;
		x->todo_at++;
		return 0;
	}
	put_head(out, ITEM_DATA, CHUNK_NAME_BYTES + 8 + n);
	buf_add(out, c->name, CHUNK_NAME_BYTES);
	put_u64(out, x->in_at);
	room = buf_room(out, n);
	if (!room)
		return buf_check(out, e);
	if (content_read(x->in, x->in_at, room, n, e) < 0)
		return -1;
	out->len += n;
	x->in_at += n;
	return 0;
}

/* Whole items from what is ready, about WANT bytes. */
static void
hand_out(struct export *x, struct buf *out, size_t want)
{
	size_t from = x->ready_at, to = from;

	while (to < x->ready.len && to - from < want)
		to += 4 + be32_get(x->ready.data + to);
	buf_add(out, x->ready.data + from, to - from);
	x->ready_at = to;
	if (to == x->ready.len) {
		x->ready_at = 0;
		buf_wipe(
		    &x->ready); /* a unit has many exports, and one of them is read at a time */
	}
}

/* Append something; 0 if there is nothing more now. */
static int
step(struct export *x, struct buf *out, size_t want, struct err *e)
{
	if (!x->is_begun && begin(x, e) < 0)
		return -1;
	if (x->ready.len) {
		hand_out(x, out, want);
		return 1;
	}
	if (has_pages(x))
		return make_page(x, out, e) < 0 ? -1 : 1;
	if (x->entries_sent < x->n_entries) {
		put_chunk(out, &x->todo[x->entries_sent++]);
		return 1;
	}
	if (x->todo_at < x->todo_n)
		return make_data(x, out, e) < 0 ? -1 : 1;
	if (make_entries(x, e) < 0)
		return -1;
	return x->ready.len || x->todo_at < x->todo_n;
}

int
export_next(struct export *x, struct buf *out, size_t want, struct err *e)
{
	size_t start = out->len;
	int r = 1;

	while (r == 1 && out->len - start < want) {
		r = step(x, out, want - (out->len - start), e);
		if (r >= 0 && buf_check(out, e) < 0)
			return -1;
	}
	return r;
}

int
export_left(struct export *x, uint64_t *bytes, struct err *e)
{
	uint64_t pages = x->is_begun && x->is_scanned ? 0 : x->pages - x->pages_sent;

	/* New entries only count once the chunks before them have been sent: see visit_entry. */
	if (x->is_begun && !has_pages(x) && x->entries_sent == x->n_entries &&
	    x->todo_at == x->todo_n && make_entries(x, e) < 0)
		return -1;
	*bytes = pages * (5 + ITEM_PAGE_BYTES) +
	    (x->n_entries - x->entries_sent) * (uint64_t)(5 + ITEM_CHUNK_BYTES) +
	    (x->ready.len - x->ready_at) + x->todo_bytes - x->in_at;
	return 0;
}

uint64_t
export_size(struct export *x)
{
	struct sealed_info i;

	sealed_get_info(x->s, &i);
	return (uint64_t)i.page_count * (5 + ITEM_PAGE_BYTES) + x->todo_bytes;
}

int
export_root(struct export *x, uint64_t *version, uint8_t root[static SHA256_BYTES], struct err *e)
{
	struct sealed_info i;

	sealed_get_info(x->s, &i);
	if (!x->is_begun || x->ready.len || x->todo_at < x->todo_n || i.version != x->last)
		return err_set(e, ERR_BUSY, "not all of it has been exported");
	if (sealed_root(x->s, root, e) < 0)
		return -1;
	*version = i.version;
	return 0;
}
