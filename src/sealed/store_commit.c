/* store_commit.c - creating a vault, collecting changes, committing them, checkpoints. */
#include "sealed/store_internal.h"

#include <assert.h>
#include <string.h>

#define KEPT_BYTES ((size_t)64 << 10) /* larger buffers are given back after use */

static int
store_owned(const struct sealed *s, struct err *e)
{
	if (store_usable(s, e) < 0)
		return -1;
	if (s->mode != SEALED_OWN || s->is_import)
		return err_set(e, ERR_INTERNAL, "the vault was not opened for writing");
	return 0;
}

/* --- creating ----------------------------------------------------------------------------- */

int
sealed_create(struct engine *g, struct keys *k, const struct vault_id *id, uint64_t epoch,
    const struct page_template *t, struct err *e)
{
	_cleanup_(sealed_closep) struct sealed *s = NULL;
	struct err why = { 0 };
	struct header next;

	if (store_is_vacant(g, id, e) < 0)
		return -1;
	s = store_alloc(g, k, id, epoch, NULL, e);
	if (!s)
		return -1;
	next = s->h;
	next.version = next.base = next.swept = next.newest = 1;
	next.page_count = next.stored = t->n;
	for (uint32_t i = 1; i <= t->n; i++) {
		buf_clear(&s->record);
		if (page_seal(
		        s->a, id, i, 1, t->pages + (size_t)(i - 1) * PAGE_BYTES, &s->record, e) < 0)
			return -1;
		if (set_toggle(s, next.page_set, s->record.data + PAGE_RECORD_NONCE, e) < 0)
			return -1;
		batch_put(&s->batch, key_page(i), s->record.data, s->record.len);
	}
	if (store_apply(s, &next, true, &why) == 0)
		return 0;
	if (why.kind == ERR_STALE)
		return err_set(e, ERR_EXISTS, "the vault is there already");
	return err_set(e, why.kind, "%s", why.text);
}

/* --- collecting --------------------------------------------------------------------------- */

int
sealed_put_page(
    struct sealed *s, uint32_t number, const uint8_t plain[static PAGE_BYTES], struct err *e)
{
	struct image *i = image_find(s->pending, number);

	assert(number);
	if (store_owned(s, e) < 0)
		return -1;
	if (!i) {
		i = image_new(s, number, e);
		if (!i)
			return -1;
		if (image_add(&s->pending, i, e) < 0) {
			image_free(s, i);
			return -1;
		}
	}
	memcpy(i->bytes, plain, PAGE_BYTES);
	if (number > s->pending_count)
		s->pending_count = number;
	return 0;
}

void
sealed_put_page_count(struct sealed *s, uint32_t n)
{
	s->pending_count = n;
}

uint32_t
sealed_pending_page_count(const struct sealed *s)
{
	return s->pending_count;
}

void
sealed_forget_pending(struct sealed *s)
{
	images_clear(s, &s->pending);
	chunks_clear(&s->changes);
	s->pending_count = s->h.page_count;
}

void
sealed_use_reserve(struct sealed *s, bool may)
{
	s->uses_reserve = may;
}

/* --- committing --------------------------------------------------------------------------- */

/* Append the ranges of I to the entry, and make it the image over its P record. Owns I. */
static int
collect_page(struct sealed *s, struct image *i, uint32_t *ranges, struct err *e)
{
	struct image *over = image_find(s->overlay, i->number);
	uint8_t base[PAGE_BYTES];
	unsigned n;
	int rc = 0;

	if (i->number > s->pending_count) {
		image_free(s, i);
		return 0;
	}
	if (!over && store_base_page(s, i->number, base, i->nonce, &i->has_nonce, e) < 0) {
		image_free(s, i);
		return -1;
	}
	n = redo_diff(&s->plain, i->number, over ? over->bytes : base, i->bytes);
	*ranges += n;
	if (n && !over) {
		rc = overlay_add(s, i, e);
		if (rc == 0)
			return 0;
	} else if (n) {
		memcpy(over->bytes, i->bytes, PAGE_BYTES);
		over->has_digest = false;
	}
	image_free(s, i);
	return rc;
}

static int
collect_pages(struct sealed *s, uint32_t *ranges, struct err *e)
{
	struct image *i = s->pending, *next;
	int rc = 0;

	HASH_CLEAR(hh, s->pending);
	for (; i; i = next) {
		next = i->hh.next;
		if (rc == 0)
			rc = collect_page(s, i, ranges, e);
		else
			image_free(s, i);
	}
	return rc;
}

static int
collect_chunks(struct sealed *s, struct header *next, struct err *e)
{
	struct chunk_entry *c;
	uint32_t drops = 0;

	for (c = s->changes; c; c = c->hh.next)
		drops += c->is_drop;
	put_u32(&s->plain, HASH_COUNT(s->changes) - drops);
	for (c = s->changes; c; c = c->hh.next) {
		if (c->is_drop)
			continue;
		buf_add(&s->plain, c->ref.name, sizeof(c->ref.name));
		put_u64(&s->plain, c->ref.bytes);
		buf_add(&s->plain, c->ref.digest, sizeof(c->ref.digest));
		if (chunk_write(s, c, next->chunk_set, e) < 0)
			return -1;
	}
	put_u32(&s->plain, drops);
	for (c = s->changes; c; c = c->hh.next) {
		if (!c->is_drop)
			continue;
		buf_add(&s->plain, c->ref.name, sizeof(c->ref.name));
		if (chunk_erase(s, c, next->chunk_set, e) < 0)
			return -1;
	}
	return 0;
}

/* The plain entry into s->plain, the chunk records into the batch. 1: something changed; 0; -1. */
static int
collect(struct sealed *s, struct header *next, struct err *e)
{
	bool is_changed = s->changes || s->pending_count != s->h.page_count;
	uint32_t ranges = 0;

	buf_clear(&s->plain);
	put_u32(&s->plain, s->pending_count);
	put_u32(&s->plain, 0);
	store_cut(s, s->pending_count);
	if (collect_pages(s, &ranges, e) < 0 || collect_chunks(s, next, e) < 0 ||
	    buf_check(&s->plain, e) < 0)
		return -1;
	be32_put(s->plain.data + 4, ranges);
	return ranges || is_changed;
}

static int
commit(struct sealed *s, struct err *e)
{
	struct header next = s->h;
	int rc = collect(s, &next, e);

	if (rc <= 0)
		return rc;
	next.version++;
	next.page_count = s->pending_count;
	next.redo_bytes += s->plain.len;
	buf_clear(&s->record);
	if (redo_seal(s->a, &s->h.id, next.version, s->plain.data, s->plain.len, &s->record, e) < 0)
		return -1;
	chain_add(next.chain, s->record.data, s->record.len);
	if (batch_put_redo(&s->batch, next.version, &s->record) > 1)
		s->has_long = true;
	return store_apply(s, &next, false, e);
}

int
sealed_commit(struct sealed *s, struct err *e)
{
	int rc;

	if (store_owned(s, e) < 0)
		return -1;
	if (!s->pending && !s->changes && s->pending_count == s->h.page_count)
		return 0;
	rc = commit(s, e);
	if (rc < 0)
		s->is_broken = true;
	batch_clear(&s->batch);
	sealed_forget_pending(s);
	if (s->plain.cap > KEPT_BYTES)
		buf_free(&s->plain);
	if (s->record.cap > KEPT_BYTES)
		buf_free(&s->record);
	return rc;
}

/* --- checkpoint --------------------------------------------------------------------------- */

bool
sealed_wants_checkpoint(const struct sealed *s)
{
	return HASH_COUNT(s->overlay) >= SEALED_CHECKPOINT_PAGES ||
	    s->h.redo_bytes >= SEALED_CHECKPOINT_BYTES ||
	    s->h.version - s->h.base >= SEALED_CHECKPOINT_ENTRIES;
}

bool
sealed_has_in_memory(const struct sealed *s, uint32_t number)
{
	const struct image *i = image_find(s->overlay, number);

	return i && i->has_nonce && number <= s->h.page_count;
}

static int
step_if_full(struct sealed *s, const struct header *next, struct err *e)
{
	if (s->batch.n + 1 < STEP_WRITES && s->batch.bytes.len < STEP_BYTES)
		return 0;
	return store_apply(s, next, false, e);
}

/* Page NUMBER's record is about to go: take it out of the set. */
static int
retire_page(
    struct sealed *s, struct header *next, uint32_t number, const struct image *i, struct err *e)
{
	uint8_t page[PAGE_BYTES], nonce[NONCE_BYTES];

	if (number > next->stored)
		return 0;
	if (i && i->has_nonce)
		return set_toggle(s, next->page_set, i->nonce, e);
	if (store_page_record(s, number, page, nonce, e) < 0)
		return -1;
	return set_toggle(s, next->page_set, nonce, e);
}

static int
delete_pages(struct sealed *s, struct header *next, struct err *e)
{
	while (next->stored > next->page_count) {
		if (retire_page(s, next, next->stored, NULL, e) < 0)
			return -1;
		batch_delete(&s->batch, key_page(next->stored--));
		if (step_if_full(s, next, e) < 0)
			return -1;
	}
	return 0;
}

/* The image I, or zeros if there is none, becomes the P record. */
static int
write_page(
    struct sealed *s, struct header *next, uint32_t number, const struct image *i, struct err *e)
{
	static const uint8_t zeros[PAGE_BYTES];

	if (retire_page(s, next, number, i, e) < 0)
		return -1;
	buf_clear(&s->record);
	if (page_seal(s->a, &s->h.id, number, next->version, i ? i->bytes : zeros, &s->record, e) <
	    0)
		return -1;
	if (set_toggle(s, next->page_set, s->record.data + PAGE_RECORD_NONCE, e) < 0)
		return -1;
	batch_put(&s->batch, key_page(number), s->record.data, s->record.len);
	next->newest = next->version;
	if (number > next->stored)
		next->stored = number; /* in order, so by one */
	return step_if_full(s, next, e);
}

static int
write_pages(struct sealed *s, struct header *next, struct err *e)
{
	image_sort(&s->overlay);
	for (struct image *i = s->overlay; i && i->number <= s->floor; i = i->hh.next)
		if (write_page(s, next, i->number, i, e) < 0)
			return -1;
	/* Above it every page is new, those that nobody wrote since too. */
	for (uint32_t n = s->floor + 1; n <= next->page_count; n++)
		if (write_page(s, next, n, image_find(s->overlay, n), e) < 0)
			return -1;
	return 0;
}

/* From here on the pages are as of `version`. Entries that do not fit are swept afterwards. */
static int
switch_base(struct sealed *s, struct header *next, struct err *e)
{
	uint64_t first = next->base + 1, entries = next->version - next->base;

	next->base = next->version;
	next->redo_bytes = 0;
	memset(next->chain, 0, sizeof(next->chain));
	if (!s->has_long && s->batch.n + entries + 1 <= STEP_WRITES) {
		for (uint64_t v = first; v <= next->version; v++)
			batch_delete(&s->batch, key_redo(v, 0));
		next->swept = next->base;
	}
	if (store_apply(s, next, false, e) < 0)
		return -1;
	s->has_long = false;
	return next->swept < next->base ? store_drop_leftovers(s, e) : 0;
}

int
sealed_checkpoint(struct sealed *s, struct err *e)
{
	struct header next;
	struct err why = { 0 };

	if (store_owned(s, e) < 0)
		return -1;
	if (s->h.version == s->h.base)
		return 0;
	next = s->h;
	if (delete_pages(s, &next, &why) < 0 || write_pages(s, &next, &why) < 0 ||
	    switch_base(s, &next, &why) < 0) {
		store_explain(s, &why);
		s->is_broken = true;
		batch_clear(&s->batch);
		return err_set(e, why.kind, "%s", why.text);
	}
	assert(s->h.stored == s->h.page_count);
	images_clear(s, &s->overlay);
	s->overlay_top = 0;
	s->floor = s->h.stored;
	digests_clear(s);
	return 0;
}
