/* store_replay.c - the pages that differ from their P records, and the redo entries that make them. */
#include "sealed/store_internal.h"

#include <inttypes.h>
#include <string.h>

#define SPARES_MAX 16

/* --- page images -------------------------------------------------------------------------- */

struct image *
image_find(struct image *set, uint32_t number)
{
	struct image *i;

	HASH_FIND(hh, set, &number, sizeof(number), i);
	return i;
}

struct image *
image_new(struct sealed *s, uint32_t number, struct err *e)
{
	struct image *i = s->spare;

	if (i) {
		s->spare = i->hh.next;
		s->spares--;
	} else {
		i = malloc(sizeof(*i));
	}
	if (!i) {
		err_set(e, ERR_MEMORY, "no memory for a page");
		return NULL;
	}
	memset(i, 0, offsetof(struct image, bytes));
	i->number = number;
	return i;
}

int
image_add(struct image **set, struct image *i, struct err *e)
{
	struct image *head = *set;

	HASH_ADD(hh, head, number, sizeof(i->number), i);
	*set = head;
	if (!i->hh.tbl)
		return err_set(e, ERR_MEMORY, "no memory for a page");
	return 0;
}

int
overlay_add(struct sealed *s, struct image *i, struct err *e)
{
	if (i->number > s->overlay_top)
		s->overlay_top = i->number;
	return image_add(&s->overlay, i, e);
}

void
image_free(struct sealed *s, struct image *i)
{
	if (s->spares == SPARES_MAX) {
		free(i);
		return;
	}
	i->hh.next = s->spare;
	s->spare = i;
	s->spares++;
}

void
images_clear(struct sealed *s, struct image **set)
{
	struct image *i = *set, *next;

	HASH_CLEAR(hh, *set);
	for (; i; i = next) {
		next = i->hh.next;
		image_free(s, i);
	}
}

static int
by_number(const struct image *a, const struct image *b)
{
	return a->number < b->number ? -1 : a->number > b->number;
}

void
image_sort(struct image **set)
{
	struct image *head = *set;

	HASH_SRT(hh, head, by_number);
	*set = head;
}

/* --- applying an entry --------------------------------------------------------------------- */

static int
range_in(void *arg, uint32_t page, uint32_t offset, const uint8_t *p, uint32_t n, struct err *e)
{
	struct sealed *s = arg;
	struct image *i = image_find(s->overlay, page);

	if (!i) {
		i = image_new(s, page, e);
		if (!i)
			return -1;
		if (store_base_page(s, page, i->bytes, i->nonce, &i->has_nonce, e) < 0 ||
		    overlay_add(s, i, e) < 0) {
			image_free(s, i);
			return -1;
		}
	}
	memcpy(i->bytes + offset, p, n);
	i->has_digest = false;
	return 0;
}

int
store_apply_entry(struct sealed *s, const uint8_t *plain, size_t n, uint32_t *page_count,
    int (*added)(void *, const struct chunk_ref *, struct err *),
    int (*dropped)(void *, const uint8_t *, struct err *), struct err *e)
{
	struct redo_visit v = { range_in, added, dropped, s };

	if (redo_visit(plain, n, page_count, &v, e) < 0)
		return -1;
	store_cut(s, *page_count);
	return 0;
}

void
store_cut(struct sealed *s, uint32_t n)
{
	struct image *i, *next;

	if (n < s->floor)
		s->floor = n;
	if (n >= s->overlay_top)
		return;
	s->overlay_top = n;
	HASH_ITER (hh, s->overlay, i, next) {
		if (i->number > n) {
			HASH_DEL(s->overlay, i);
			image_free(s, i);
		}
	}
}

/* --- visiting the R records ---------------------------------------------------------------- */

static int
scan_entry(void *arg, struct span key, struct span value, struct err *e)
{
	struct redo_scan *r = arg;
	const struct vault_id *id = &r->s->h.id;
	uint64_t version;
	unsigned piece;

	if (key.data[0] != 'R' || key.len < 9 || key.len > 10)
		return sealed_forged(e, id, "a record of no kind that there is");
	version = be64_get(key.data + 1);
	piece = key.len == 10 ? key.data[9] : 0;
	if (version > r->to) {
		if (r->may_go_on)
			return 1;
		return sealed_forged(e, id,
		    "redo entry %" PRIu64 ": the header knows of %" PRIu64 " only", version, r->to);
	}
	if (version != r->reached + 1 || piece != r->next_piece || value.len > REDO_PIECE)
		return sealed_forged(e, id, "redo entry %" PRIu64 ": missing", r->reached + 1);

	if (piece || value.len == REDO_PIECE)
		buf_add(&r->pieces, value.data, value.len);
	if (value.len == REDO_PIECE) {
		r->next_piece++;
		r->s->has_long = true;
		return 0;
	}
	if (piece) {
		value = (struct span){ r->pieces.data, r->pieces.len };
		if (buf_check(&r->pieces, e) < 0)
			return -1;
	}
	if (r->fn(r, version, value.data, value.len, e) < 0)
		return -1;
	buf_clear(&r->pieces);
	r->next_piece = 0;
	r->reached = version;
	return 0;
}

int
redo_scan(struct redo_scan *r, struct err *e)
{
	struct key from = key_redo(r->from, 0);
	struct span to = { 0 };
	int rc;

	r->reached = r->from - 1;
	r->pieces = BUF_INIT(0);
	rc = engine_scan(r->s->g, &r->s->h.id, key_span(&from), to, scan_entry, r, e);
	buf_free(&r->pieces);
	if (rc < 0)
		return -1;
	if (r->next_piece || (r->reached != r->to && !r->may_end_early))
		return sealed_forged(
		    e, &r->s->h.id, "redo entry %" PRIu64 ": missing", r->reached + 1);
	return 0;
}

struct leftovers {
	struct sealed *s;
	uint8_t after[11]; /* the last key collected, and a byte to make it the one after that */
	size_t after_len;
};

static int
collect_leftover(void *arg, struct span key, struct span value, struct err *e)
{
	struct leftovers *l = arg;
	struct batch *b = &l->s->batch;

	(void)value, (void)e;
	if (key.len < 9 || key.len > 10)
		return sealed_forged(e, &l->s->h.id, "a record of no kind that there is");
	batch_delete(b, key_redo(be64_get(key.data + 1), key.len == 10 ? key.data[9] : 0));
	memset(l->after, 0, sizeof(l->after));
	memcpy(l->after, key.data, key.len);
	l->after_len = key.len + 1;
	return b->n + 1 >= STEP_WRITES;
}

int
store_drop_leftovers(struct sealed *s, struct err *e)
{
	struct key first = key_redo(s->h.swept + 1, 0), end = key_redo(s->h.base + 1, 0);
	struct leftovers l = { .s = s, .after_len = first.len };
	struct header next = s->h;

	memcpy(l.after, first.b, first.len);
	while (next.swept < next.base) {
		uint8_t start[sizeof(l.after)];
		struct span from = { start, l.after_len };

		memcpy(start, l.after, sizeof(start)); /* the scan moves l.after on */
		batch_clear(&s->batch);
		if (engine_scan(s->g, &s->h.id, from, key_span(&end), collect_leftover, &l, e) <
		    0) {
			s->is_broken = true;
			return -1;
		}
		if (s->batch.n + 1 < STEP_WRITES)
			next.swept = next.base;
		if (store_apply(s, &next, false, e) < 0)
			return -1;
	}
	return 0;
}

/* --- at open ------------------------------------------------------------------------------- */

struct replay {
	uint8_t chain[SHA256_BYTES];
	uint32_t page_count;
};

static int
replay_one(struct redo_scan *r, uint64_t version, const uint8_t *record, size_t n, struct err *e)
{
	struct replay *to = r->arg;
	struct sealed *s = r->s;

	buf_clear(&s->plain);
	if (redo_open(s->a, &s->h.id, version, record, n, &s->plain, e) < 0)
		return -1;
	chain_add(to->chain, record, n);
	return store_apply_entry(s, s->plain.data, s->plain.len, &to->page_count, NULL, NULL, e);
}

int
store_replay(struct sealed *s, struct err *e)
{
	struct replay to = { .page_count = s->h.stored };
	struct redo_scan r = { .s = s,
		.from = s->h.base + 1,
		.to = s->h.version,
		.may_go_on = s->mode == SEALED_READ,
		.fn = replay_one,
		.arg = &to };

	s->floor = s->h.stored;
	if (redo_scan(&r, e) < 0)
		return -1;
	if (memcmp(to.chain, s->h.chain, SHA256_BYTES) != 0)
		return sealed_forged(e, &s->h.id, "redo entries: not those that were written");
	if (to.page_count != s->h.page_count && !s->h.is_arriving)
		return sealed_forged(e, &s->h.id, "redo entries and header differ in page count");
	s->pending_count = s->h.page_count;
	if (s->mode == SEALED_OWN && s->h.swept < s->h.base)
		return store_drop_leftovers(s, e);
	return 0;
}
