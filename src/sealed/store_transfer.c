/* store_transfer.c - taking a copy, and what both ends must agree on: the content root. */
#include "sealed/store_internal.h"

#include <inttypes.h>
#include <string.h>

/* --- digests of pages as in their P records ------------------------------------------------ */

int
page_digest_add(struct sealed *s, const uint8_t page[static PAGE_BYTES], struct err *e)
{
	if (s->digest_count == s->digest_cap) {
		uint32_t cap = s->digest_cap ? 2 * s->digest_cap : 64;
		void *bigger = realloc(s->digests, (size_t)cap * sizeof(*s->digests));

		if (!bigger)
			return err_set(e, ERR_MEMORY, "no memory for page digests");
		s->digests = bigger;
		s->digest_cap = cap;
	}
	sha256(page, PAGE_BYTES, s->digests[s->digest_count++]);
	return 0;
}

void
digests_clear(struct sealed *s)
{
	free(s->digests);
	s->digests = NULL;
	s->digest_count = s->digest_cap = 0;
}

/* --- export ------------------------------------------------------------------------------- */

struct page_scan {
	struct sealed *s;
	sealed_page_fn *fn;
	void *arg;
	uint8_t set[SET_BYTES];
	uint8_t page[PAGE_BYTES];
};

static int
scan_page(void *arg, struct span key, struct span value, struct err *e)
{
	struct page_scan *p = arg;
	struct sealed *s = p->s;
	uint32_t number = s->digest_count + 1;
	uint64_t version;

	if (key.len != 5 || be32_get(key.data + 1) != number)
		return sealed_forged(e, &s->h.id, "page %" PRIu32 ": missing", number);
	if (number > s->h.stored)
		return sealed_forged(e, &s->h.id,
		    "page %" PRIu32 ": there are no more than %" PRIu32, number, s->h.stored);
	if (page_open(s->a, &s->h.id, number, value.data, value.len, &version, p->page, e) < 0)
		return -1;
	if (version > s->h.newest)
		return sealed_forged(
		    e, &s->h.id, "page %" PRIu32 ": of a version that is not yet", number);
	if (set_toggle(s, p->set, value.data + PAGE_RECORD_NONCE, e) < 0 ||
	    page_digest_add(s, p->page, e) < 0)
		return -1;
	return p->fn ? p->fn(p->arg, number, version, p->page, e) : 0;
}

static int
scan_pages(struct page_scan *p, struct err *e)
{
	static const uint8_t first = 'P', last = 'P' + 1;
	struct sealed *s = p->s;
	struct span from = { &first, 1 }, to = { &last, 1 };

	digests_clear(s);
	if (engine_scan(s->g, &s->h.id, from, to, scan_page, p, e) < 0)
		return -1;
	if (s->digest_count != s->h.stored)
		return sealed_forged(e, &s->h.id, "page %" PRIu32 ": missing", s->digest_count + 1);
	if (memcmp(p->set, s->h.page_set, SET_BYTES) != 0)
		return sealed_forged(e, &s->h.id, "pages: one is not the newest of its number");
	return 0;
}

int
sealed_export_pages(struct sealed *s, sealed_page_fn *fn, void *arg, struct err *e)
{
	struct page_scan p = { .s = s, .fn = fn, .arg = arg };
	struct err why = { 0 };

	if (store_usable(s, e) < 0)
		return -1;
	if (scan_pages(&p, &why) == 0)
		return 0;
	digests_clear(s);
	store_explain(s, &why);
	return err_set(e, why.kind, "%s", why.text);
}

static int
follow_added(void *arg, const struct chunk_ref *c, struct err *e)
{
	struct sealed *s = arg;

	if (chunk_find(s->chunks, c->name))
		return 0;
	return chunk_add(&s->chunks, c, e) ? 0 : -1;
}

static int
follow_dropped(void *arg, const uint8_t name[16], struct err *e)
{
	struct sealed *s = arg;
	struct chunk_entry *c = chunk_find(s->chunks, name);

	(void)e;
	if (c)
		chunk_remove(&s->chunks, c);
	return 0;
}

/* Apply an entry that the owner wrote after we opened. */
static int
follow(struct sealed *s, uint64_t version, const uint8_t *record, size_t n, struct err *e)
{
	if (store_apply_entry(s, s->plain.data, s->plain.len, &s->h.page_count, follow_added,
	        follow_dropped, e) < 0) {
		s->is_broken = true;
		return -1;
	}
	chain_add(s->h.chain, record, n);
	s->h.version = version;
	s->h.redo_bytes += s->plain.len;
	return 0;
}

struct entry_sink {
	sealed_entry_fn *fn;
	void *arg;
};

static int
export_one(struct redo_scan *r, uint64_t version, const uint8_t *record, size_t n, struct err *e)
{
	struct entry_sink *sink = r->arg;
	struct sealed *s = r->s;

	buf_clear(&s->plain);
	if (redo_open(s->a, &s->h.id, version, record, n, &s->plain, e) < 0)
		return -1;
	if (version > s->h.version && follow(s, version, record, n, e) < 0)
		return -1;
	return sink->fn ? sink->fn(sink->arg, version, s->plain.data, s->plain.len, e) : 0;
}

/* Hold what we followed against what the owner says. */
static int
check_followed(struct sealed *s, struct err *e)
{
	struct header now;

	if (store_read_header(s, &now, e) < 0)
		return -1;
	if (now.base != s->h.base)
		return err_set(e, ERR_STALE, "the owner has written a checkpoint");
	if (now.version < s->h.version)
		return sealed_forged(e, &s->h.id, "header: older than the redo entries");
	if (now.version > s->h.version)
		return 0; /* there is more already */
	if (memcmp(now.chain, s->h.chain, SHA256_BYTES) != 0 || now.page_count != s->h.page_count)
		return sealed_forged(e, &s->h.id, "redo entries: not those that were written");
	return 0;
}

int
sealed_export_entries(
    struct sealed *s, uint64_t after, sealed_entry_fn *fn, void *arg, struct err *e)
{
	struct entry_sink sink = { fn, arg };
	struct redo_scan r = { .s = s,
		.from = after + 1,
		.to = UINT64_MAX,
		.may_end_early = true,
		.fn = export_one,
		.arg = &sink };
	struct err why = { 0 };

	if (store_usable(s, e) < 0)
		return -1;
	if (after < s->h.base || after > s->h.version)
		return err_set(e, ERR_BAD,
		    "entries after %" PRIu64 " were asked for, of %" PRIu64 " to %" PRIu64, after,
		    s->h.base, s->h.version);
	if (redo_scan(&r, &why) == 0 && check_followed(s, &why) == 0)
		return 0;
	store_explain(s, &why);
	return err_set(e, why.kind, "%s", why.text);
}

/* --- content root and verification --------------------------------------------------------- */

struct root {
	struct hash *h;
	struct buf bytes; /* not yet hashed: many small parts at once */
};

static void
root_add(struct root *r, const void *p, size_t n)
{
	buf_add(&r->bytes, p, n);
	if (r->bytes.len >= 4096) {
		hash_add(r->h, r->bytes.data, r->bytes.len);
		buf_clear(&r->bytes);
	}
}

static void
root_u32(struct root *r, uint32_t v)
{
	uint8_t b[4];

	be32_put(b, v);
	root_add(r, b, sizeof(b));
}

static void
root_u64(struct root *r, uint64_t v)
{
	root_u32(r, (uint32_t)(v >> 32));
	root_u32(r, (uint32_t)v);
}

static void
root_pages(struct root *r, struct sealed *s, const struct header *h)
{
	static const uint8_t zeros[PAGE_BYTES];
	uint8_t zero_digest[SHA256_BYTES];

	sha256(zeros, PAGE_BYTES, zero_digest);
	for (uint32_t n = 1; n <= h->page_count; n++) {
		struct image *i = image_find(s->overlay, n);

		root_u32(r, n);
		if (i && !i->has_digest) {
			sha256(i->bytes, PAGE_BYTES, i->digest);
			i->has_digest = true;
		}
		if (i)
			root_add(r, i->digest, SHA256_BYTES);
		else if (n <= s->digest_count && n <= s->floor)
			root_add(r, s->digests[n - 1], SHA256_BYTES);
		else
			root_add(r, zero_digest, SHA256_BYTES);
	}
}

static int
root_chunk(void *arg, const struct chunk_ref *c, struct err *e)
{
	struct root *r = arg;

	(void)e;
	root_add(r, c->name, sizeof(c->name));
	root_u64(r, c->bytes);
	root_add(r, c->digest, sizeof(c->digest));
	return 0;
}

static int
root_compute(
    struct sealed *s, const struct header *h, uint8_t out[static SHA256_BYTES], struct err *e)
{
	static const char label[] = "domicile root 1";
	_cleanup_(hash_closep) struct hash *hash = hash_open(HASH_SHA256, e);
	struct root r = { hash, BUF_INIT(0) };
	int rc;

	if (!hash)
		return -1;
	root_add(&r, label, sizeof(label) - 1);
	root_add(&r, &h->id.service, 1);
	root_u64(&r, h->version);
	root_u32(&r, h->page_count);
	root_pages(&r, s, h);
	root_u32(&r, HASH_COUNT(s->chunks));
	rc = chunks_visit(&s->chunks, root_chunk, &r, e);
	if (rc == 0)
		rc = buf_check(&r.bytes, e);
	if (rc == 0) {
		hash_add(hash, r.bytes.data, r.bytes.len);
		hash_end(hash, out);
	}
	buf_free(&r.bytes);
	return rc;
}

int
sealed_root(struct sealed *s, uint8_t out[static SHA256_BYTES], struct err *e)
{
	bool is_owner = s->mode == SEALED_OWN && !s->is_import;
	int rc;

	if (store_usable(s, e) < 0)
		return -1;
	if (s->is_import)
		return root_compute(s, &s->next, out, e);
	if (s->digest_count != s->h.stored && sealed_export_pages(s, NULL, NULL, e) < 0)
		return -1;
	if (is_owner && chunks_load(s, e) < 0)
		return -1;
	rc = root_compute(s, &s->h, out, e);
	if (is_owner)
		chunks_clear(&s->chunks);
	return rc;
}

int
sealed_verify(struct sealed *s, struct err *e)
{
	int rc;

	if (sealed_export_pages(s, NULL, NULL, e) < 0)
		return -1;
	if (s->mode == SEALED_READ || s->is_import)
		return 0; /* the chunk entries were held against the header when they were loaded */
	rc = chunks_load(s, e);
	chunks_clear(&s->chunks);
	return rc;
}
