/* import.c - the receiving side of transfer.h. Items come from another region: nothing in them is
 * taken on trust, and whatever does not fit ends the import. */
#include "base/table.h"
#include "vault/schema.h"
#include "vault/transfer_internal.h"

#include <stdlib.h>
#include <string.h>

/* So many pages more than its bytes account for may an entry make: without a bound, a few bytes would
 * have us digest millions of pages of zeros. */
#define SPARE_PAGES 1024

/* A chunk that the vault will refer to, as far as is known. */
struct wanted {
	struct chunk_ref ref;
	bool is_here;
	UT_hash_handle hh;
};

struct import {
	struct engine *engine;
	struct keys *keys;
	struct chunks *chunks;
	struct vault_id id;
	uint64_t epoch;
	struct sealed *s; /* NULL before the V item */
	struct content_key *key;
	struct chunk_writer *writer; /* NULL before the first D item */
	struct wanted *writing;      /* the chunk that is coming in */
	struct wanted *wanted;
	size_t missing; /* of them, not yet here */
	uint32_t base_pages, pages;
	bool has_unsynced;
	bool is_broken;
};

struct import *
import_open(struct engine *g, struct keys *k, struct chunks *c, const struct vault_id *id,
    uint64_t epoch, struct err *e)
{
	struct import *i = calloc(1, sizeof(*i));

	if (!i) {
		err_set(e, ERR_MEMORY, "import: no memory");
		return NULL;
	}
	i->engine = g;
	i->keys = k;
	i->chunks = c;
	i->id = *id;
	i->epoch = epoch;
	return i;
}

void
import_close(struct import *i)
{
	struct wanted *w, *next;

	if (!i)
		return;
	HASH_ITER (hh, i->wanted, w, next) {
		HASH_DEL(i->wanted, w);
		free(w);
	}
	chunk_writer_free(i->writer);
	content_key_unref(i->key);
	sealed_close(i->s);
	free(i);
}

size_t
import_memory(const struct import *i)
{
	return sizeof(*i) + HASH_COUNT(i->wanted) * sizeof(struct wanted) +
	    (i->s ? sealed_memory(i->s) : 0);
}

/* --- what is wanted --- */

static struct wanted *
find(struct import *i, const uint8_t name[static CHUNK_NAME_BYTES])
{
	struct wanted *w;

	HASH_FIND(hh, i->wanted, name, CHUNK_NAME_BYTES, w);
	return w;
}

/* The same chunk may be named twice: by its entry, and by the redo entry that once added it. */
static int
want(void *arg, const struct chunk_ref *c, struct err *e)
{
	struct import *i = arg;
	struct wanted *w = find(i, c->name);

	if (!c->bytes || c->bytes > CONTENT_CHUNK)
		return err_set(e, ERR_BAD, "a chunk of %llu bytes", (unsigned long long)c->bytes);
	if (w)
		return 0;
	w = calloc(1, sizeof(*w));
	if (!w)
		return err_set(e, ERR_MEMORY, "import: no memory");
	w->ref = *c;
	HASH_ADD(hh, i->wanted, ref.name, CHUNK_NAME_BYTES, w);
	if (!w->hh.tbl) {
		free(w);
		return err_set(e, ERR_MEMORY, "import: no memory");
	}
	i->missing++;
	return 0;
}

static int
remove_chunk(struct import *i, const uint8_t name[static CHUNK_NAME_BYTES], struct err *e)
{
	struct chunk_name n;

	if (chunk_writer_flush(i->writer, e) < 0) /* or it would come up afterwards */
		return -1;
	memcpy(n.b, name, sizeof(n.b));
	return chunks_remove(i->chunks, &i->id, &n, e);
}

static int
unwant(void *arg, const uint8_t name[16], struct err *e)
{
	struct import *i = arg;
	struct wanted *w = find(i, name);

	if (!w)
		return 0;
	if (w == i->writing)
		return err_set(e, ERR_BAD, "a chunk was dropped while it was coming in");
	if (w->is_here && remove_chunk(i, name, e) < 0)
		return -1;
	if (!w->is_here)
		i->missing--;
	HASH_DEL(i->wanted, w);
	free(w);
	return 0;
}

/* --- items --- */

static int
take_vault(struct import *i, struct reader *r, struct err *e)
{
	uint64_t base = read_u64(r);
	uint32_t pages = read_u32(r);
	uint8_t key[KEY_BYTES];

	if (read_check(r, "a vault item", e) < 0)
		return -1;
	if (i->s)
		return err_set(e, ERR_BAD, "a second vault item");
	i->s = sealed_import(i->engine, i->keys, &i->id, i->epoch, base, pages, e);
	if (!i->s)
		return -1;
	i->base_pages = i->pages = pages;
	sealed_data_key(i->s, key);
	i->key = content_key_new(&i->id, key, e);
	wipe(key, sizeof(key));
	return i->key ? 0 : -1;
}

/* The first page says of which version its tables are: of another one it would not be opened here, and it is
 * better off where it is. */
static int
check_version(const uint8_t *page, struct err *e)
{
	uint32_t version = be32_get(page + SCHEMA_VERSION_AT);

	if (version == SCHEMA_VERSION)
		return 0;
	return err_set(e, ERR_BAD,
	    "its tables are of version %u and those here of %d: both regions need the same version of "
	    "the program",
	    version, SCHEMA_VERSION);
}

static int
take_page(struct import *i, struct reader *r, struct err *e)
{
	uint32_t number = read_u32(r);
	uint64_t version = read_u64(r);
	const uint8_t *plain = read_bytes(r, PAGE_BYTES);

	if (read_check(r, "a page item", e) < 0)
		return -1;
	if (number == 1 && check_version(plain, e) < 0)
		return -1;
	return sealed_import_page(i->s, number, version, plain, e);
}

static int
take_chunk(struct import *i, struct reader *r, struct err *e)
{
	struct chunk_ref c;

	read_copy(r, c.name, sizeof(c.name));
	c.bytes = read_u64(r);
	read_copy(r, c.digest, sizeof(c.digest));
	if (read_check(r, "a chunk item", e) < 0)
		return -1;
	if (sealed_import_chunk(i->s, &c, e) < 0)
		return -1;
	return want(i, &c, e);
}

static int
take_entry(struct import *i, struct reader *r, struct err *e)
{
	const struct redo_visit v = { .chunk_added = want, .chunk_dropped = unwant, .arg = i };
	uint64_t version = read_u64(r);
	size_t n = r->left;
	const uint8_t *plain = read_bytes(r, n);
	uint32_t pages;

	if (read_check(r, "an entry item", e) < 0)
		return -1;
	if (redo_visit(plain, n, &pages, &v, e) < 0)
		return -1;
	/* A page that is new has bytes in the entry, or its number has, in SQLite's list of free ones. */
	if (pages > (uint64_t)i->pages + n + SPARE_PAGES)
		return err_set(e, ERR_BAD, "an entry of %zu bytes makes %u pages", n, pages);
	i->pages = pages;
	return sealed_import_entry(i->s, version, plain, n, e);
}

/* The chunk that a D or E item is about. */
static struct wanted *
chunk_of(struct import *i, const uint8_t name[static CHUNK_NAME_BYTES], struct err *e)
{
	struct wanted *w = find(i, name);

	if (w && !w->is_here && (!i->writing || i->writing == w))
		return w;
	err_set(e, ERR_BAD, "data of a chunk that is not expected");
	return NULL;
}

static int
begin_chunk(struct import *i, struct wanted *w, struct err *e)
{
	struct chunk_name name;

	if (!i->writer)
		i->writer = chunk_writer_new(i->chunks, i->key, e);
	if (!i->writer)
		return -1;
	memcpy(name.b, w->ref.name, sizeof(name.b));
	if (chunk_writer_begin(i->writer, &name, e) < 0)
		return -1;
	i->writing = w;
	return 0;
}

static int
take_data(struct import *i, struct reader *r, struct err *e)
{
	uint8_t name[CHUNK_NAME_BYTES];
	struct wanted *w;
	uint64_t offset, so_far;
	const uint8_t *data;
	size_t n;

	read_copy(r, name, sizeof(name));
	offset = read_u64(r);
	n = r->left;
	data = read_bytes(r, n);
	if (read_check(r, "a data item", e) < 0)
		return -1;
	w = chunk_of(i, name, e);
	if (!w)
		return -1;
	so_far = i->writing ? chunk_writer_bytes(i->writer) : 0;
	if (offset != so_far || !n || n > w->ref.bytes - so_far)
		return err_set(e, ERR_BAD, "a piece of a chunk out of order");
	if (!i->writing && begin_chunk(i, w, e) < 0)
		return -1;
	return chunk_writer_add(i->writer, data, n, e);
}

static int
take_end(struct import *i, struct reader *r, struct err *e)
{
	uint8_t name[CHUNK_NAME_BYTES];
	struct chunk_ref came;
	struct wanted *w;

	read_copy(r, name, sizeof(name));
	if (read_check(r, "an end item", e) < 0)
		return -1;
	w = chunk_of(i, name, e);
	if (!w)
		return -1;
	if (!i->writing || chunk_writer_bytes(i->writer) != w->ref.bytes)
		return err_set(e, ERR_BAD, "a chunk ends early");
	if (chunk_writer_finish(i->writer, &came, e) < 0)
		return -1;
	i->writing = NULL;
	if (memcmp(came.digest, w->ref.digest, sizeof(came.digest))) {
		if (remove_chunk(i, name, e) < 0)
			return -1;
		return err_set(e, ERR_FORGED, "a chunk arrived with another content");
	}
	w->is_here = true;
	i->missing--;
	i->has_unsynced = true;
	return 0;
}

static int
take_item(struct import *i, const uint8_t *item, size_t n, struct err *e)
{
	struct reader r = READER(item, n);
	uint8_t type = read_u8(&r);

	if (!i->s && type != ITEM_VAULT)
		return err_set(e, ERR_BAD, "an item before the vault item");
	switch (type) {
	case ITEM_VAULT:
		return take_vault(i, &r, e);
	case ITEM_PAGE:
		return take_page(i, &r, e);
	case ITEM_CHUNK:
		return take_chunk(i, &r, e);
	case ITEM_ENTRY:
		return take_entry(i, &r, e);
	case ITEM_DATA:
		return take_data(i, &r, e);
	case ITEM_END:
		return take_end(i, &r, e);
	default:
		return err_set(e, ERR_BAD, "an item of type %u", type);
	}
}

static int
usable(const struct import *i, struct err *e)
{
	if (i->is_broken)
		return err_set(e, ERR_BAD, "the import has failed before");
	return 0;
}

int
import_take(struct import *i, const uint8_t *items, size_t n, struct err *e)
{
	struct reader r = READER(items, n);

	if (usable(i, e) < 0)
		return -1;
	while (r.left) {
		struct span item = read_span(&r, TRANSFER_ITEM_MAX);

		if (r.failed || take_item(i, item.data, item.len, e) < 0) {
			i->is_broken = true;
			return r.failed ? err_set(e, ERR_BAD, "items are cut off") : -1;
		}
	}
	return 0;
}

int
import_write(struct import *i, struct err *e)
{
	if (usable(i, e) < 0)
		return -1;
	if (!i->s)
		return 0;
	if (i->has_unsynced &&
	    (chunk_writer_flush(i->writer, e) < 0 || chunks_sync(i->chunks, &i->id, e) < 0))
		return -1;
	i->has_unsynced = false;
	return sealed_import_write(i->s, e);
}

/* Nothing that the vault refers to may be missing. */
static int
complete(const struct import *i, struct err *e)
{
	struct sealed_info info;

	if (usable(i, e) < 0)
		return -1;
	if (!i->s)
		return err_set(e, ERR_BAD, "nothing has arrived");
	sealed_get_info(i->s, &info);
	if (info.base_page_count != i->base_pages)
		return err_set(
		    e, ERR_BAD, "%u of %u pages have arrived", info.base_page_count, i->base_pages);
	if (i->missing)
		return err_set(e, ERR_BAD, "%zu chunks have not arrived", i->missing);
	return 0;
}

int
import_root(struct import *i, uint64_t *version, uint8_t root[static SHA256_BYTES], struct err *e)
{
	struct sealed_info info;

	if (complete(i, e) < 0 || sealed_root(i->s, root, e) < 0)
		return -1;
	sealed_get_info(i->s, &info);
	*version = info.version;
	return 0;
}

int
import_finish(struct import *i, struct err *e)
{
	if (complete(i, e) < 0 || import_write(i, e) < 0)
		return -1;
	return sealed_import_finish(i->s, e);
}
