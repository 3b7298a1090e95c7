/* store_import.c - receiving a copy: pages, then chunk entries, then redo entries. */
#include "sealed/store_internal.h"
#include "base/host.h"

#include <inttypes.h>
#include <string.h>

struct sealed *
sealed_import(struct engine *g, struct keys *k, const struct vault_id *id, uint64_t epoch,
    uint64_t base, uint32_t base_page_count, struct err *e)
{
	_cleanup_(sealed_closep) struct sealed *s = NULL;
	struct err why = { 0 };

	if (store_is_vacant(g, id, e) < 0)
		return NULL;
	s = store_alloc(g, k, id, epoch, NULL, e);
	if (!s)
		return NULL;
	s->is_import = true;
	s->next = s->h;
	s->next.is_arriving = true;
	s->next.owner_epoch = 1;
	host_random(s->next.writer, sizeof(s->next.writer));
	s->next.base = s->next.version = s->next.swept = base;
	s->next.page_count = base_page_count;
	s->import_pages = s->floor = base_page_count;
	if (store_apply(s, &s->next, true, &why) == 0)
		return take(&s);
	err_set(e, why.kind == ERR_STALE ? ERR_EXISTS : why.kind, "%s", why.text);
	return NULL;
}

static int
import_broken(struct sealed *s)
{
	s->is_broken = true;
	batch_clear(&s->batch);
	return -1;
}

static int
import_usable(const struct sealed *s, bool after_pages, struct err *e)
{
	if (store_usable(s, e) < 0)
		return -1;
	if (!s->is_import || !s->next.is_arriving)
		return err_set(e, ERR_INTERNAL, "the vault is not being imported");
	if (after_pages && s->next.stored != s->import_pages)
		return err_set(e, ERR_BAD, "page %" PRIu32 " of %" PRIu32 " has not come",
		    s->next.stored + 1, s->import_pages);
	return 0;
}

static int
write_if_full(struct sealed *s, struct err *e)
{
	if (s->batch.n + 1 < STEP_WRITES && s->batch.bytes.len < STEP_BYTES)
		return 0;
	return store_apply(s, &s->next, false, e);
}

int
sealed_import_page(struct sealed *s, uint32_t number, uint64_t version,
    const uint8_t plain[static PAGE_BYTES], struct err *e)
{
	struct header *next = &s->next;

	if (import_usable(s, false, e) < 0)
		return -1;
	if (number != next->stored + 1 || number > s->import_pages || next->version != next->base)
		return err_set(e, ERR_BAD, "page %" PRIu32 " comes out of order", number);
	buf_clear(&s->record);
	if (page_seal(s->a, &s->h.id, number, version, plain, &s->record, e) < 0 ||
	    set_toggle(s, next->page_set, s->record.data + PAGE_RECORD_NONCE, e) < 0 ||
	    page_digest_add(s, plain, e) < 0)
		return import_broken(s);
	batch_put(&s->batch, key_page(number), s->record.data, s->record.len);
	next->stored = number;
	if (version > next->newest)
		next->newest = version;
	return write_if_full(s, e);
}

static int
import_added(void *arg, const struct chunk_ref *ref, struct err *e)
{
	struct sealed *s = arg;
	struct chunk_entry *c = chunk_find(s->chunks, ref->name);

	if (c &&
	    (c->ref.bytes != ref->bytes ||
	        memcmp(c->ref.digest, ref->digest, sizeof(ref->digest)) != 0))
		return err_set(e, ERR_BAD, "a chunk comes twice and differs");
	if (c)
		return 0;
	c = chunk_add(&s->chunks, ref, e);
	return c ? chunk_write(s, c, s->next.chunk_set, e) : -1;
}

static int
import_dropped(void *arg, const uint8_t name[16], struct err *e)
{
	struct sealed *s = arg;
	struct chunk_entry *c = chunk_find(s->chunks, name);

	if (!c)
		return 0;
	if (chunk_erase(s, c, s->next.chunk_set, e) < 0)
		return -1;
	chunk_remove(&s->chunks, c);
	return 0;
}

int
sealed_import_chunk(struct sealed *s, const struct chunk_ref *c, struct err *e)
{
	if (import_usable(s, true, e) < 0)
		return -1;
	if (s->next.version != s->next.base || chunk_find(s->chunks, c->name))
		return err_set(e, ERR_BAD, "a chunk entry comes out of order");
	if (import_added(s, c, e) < 0)
		return import_broken(s);
	return write_if_full(s, e);
}

static int
import_entry(struct sealed *s, uint64_t version, const uint8_t *plain, size_t n, struct err *e)
{
	struct header *next = &s->next;

	if (store_apply_entry(s, plain, n, &next->page_count, import_added, import_dropped, e) < 0)
		return -1;
	buf_clear(&s->record);
	if (redo_seal(s->a, &s->h.id, version, plain, n, &s->record, e) < 0)
		return -1;
	chain_add(next->chain, s->record.data, s->record.len);
	batch_put_redo(&s->batch, version, &s->record);
	next->version = version;
	next->redo_bytes += n;
	return write_if_full(s, e);
}

int
sealed_import_entry(
    struct sealed *s, uint64_t version, const uint8_t *plain, size_t n, struct err *e)
{
	if (import_usable(s, true, e) < 0)
		return -1;
	if (version != s->next.version + 1)
		return err_set(e, ERR_BAD, "redo entry %" PRIu64 " comes out of order", version);
	/* The entries are applied over the P records, so these must be there. */
	if (version == s->next.base + 1 && sealed_import_write(s, e) < 0)
		return -1;
	return import_entry(s, version, plain, n, e) < 0 ? import_broken(s) : 0;
}

int
sealed_import_write(struct sealed *s, struct err *e)
{
	if (import_usable(s, false, e) < 0)
		return -1;
	return s->batch.n ? store_apply(s, &s->next, false, e) : 0;
}

int
sealed_import_finish(struct sealed *s, struct err *e)
{
	if (import_usable(s, true, e) < 0)
		return -1;
	if (s->next.newest > s->next.version)
		return err_set(e, ERR_BAD,
		    "a page is of version %" PRIu64 ", but the last entry is %" PRIu64,
		    s->next.newest, s->next.version);
	s->next.is_arriving = false;
	s->uses_reserve = true; /* everything else is here */
	return store_apply(s, &s->next, false, e);
}
