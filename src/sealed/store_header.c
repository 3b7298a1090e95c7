/* store_header.c - records and writes: see store_internal.h for the formats. */
#include "sealed/store_internal.h"
#include "base/host.h"

#include <assert.h>
#include <string.h>

/* --- keys --------------------------------------------------------------------------------- */

struct key
key_header(void)
{
	return (struct key){ .b = { 'H' }, .len = 1 };
}

struct key
key_page(uint32_t number)
{
	struct key k = { .b = { 'P' }, .len = 5 };

	be32_put(k.b + 1, number);
	return k;
}

struct key
key_redo(uint64_t version, unsigned piece)
{
	struct key k = { .b = { 'R' }, .len = piece ? 10 : 9 };

	be64_put(k.b + 1, version);
	k.b[9] = (uint8_t)piece;
	return k;
}

struct key
key_chunk(const uint8_t name[static 16])
{
	struct key k = { .b = { 'C' }, .len = 17 };

	memcpy(k.b + 1, name, 16);
	return k;
}

/* --- the header --------------------------------------------------------------------------- */

enum {
	AT_FORMAT = 0,
	AT_VAULT = 1,
	AT_EPOCH = 18,
	AT_STATE = 26,
	AT_WRAPPED = 27,
	AT_OWNER = 91,
	AT_WRITER = 99,
	AT_VERSION = 115,
	AT_BASE = 123,
	AT_NEWEST = 131,
	AT_PAGES = 139,
	AT_STORED = 143,
	AT_REDO = 147,
	AT_SWEPT = 155,
	AT_NONCE = 163,
	AT_SEALED = AT_NONCE + NONCE_BYTES,
};
_Static_assert(AT_SEALED + HEADER_SEALED + TAG_BYTES == HEADER_BYTES, "one layout");

#define FORMAT 1

int
header_seal(const struct header *h, struct aead *a, uint8_t raw[static HEADER_BYTES], struct err *e)
{
	uint8_t ad[1 + AT_NONCE], *p = ad + 1, plain[HEADER_SEALED];

	ad[0] = 'H';
	p[AT_FORMAT] = FORMAT;
	memcpy(p + AT_VAULT, &h->id, VAULT_ID_BYTES);
	be64_put(p + AT_EPOCH, h->epoch);
	p[AT_STATE] = h->is_arriving;
	memcpy(p + AT_WRAPPED, h->wrapped, WRAPPED_BYTES);
	be64_put(p + AT_OWNER, h->owner_epoch);
	memcpy(p + AT_WRITER, h->writer, sizeof(h->writer));
	be64_put(p + AT_VERSION, h->version);
	be64_put(p + AT_BASE, h->base);
	be64_put(p + AT_NEWEST, h->newest);
	be32_put(p + AT_PAGES, h->page_count);
	be32_put(p + AT_STORED, h->stored);
	be64_put(p + AT_REDO, h->redo_bytes);
	be64_put(p + AT_SWEPT, h->swept);
	memcpy(raw, p, AT_NONCE);

	memcpy(plain, h->page_set, SET_BYTES);
	memcpy(plain + SET_BYTES, h->chunk_set, SET_BYTES);
	memcpy(plain + 2 * SET_BYTES, h->chain, SHA256_BYTES);
	host_random(raw + AT_NONCE, NONCE_BYTES);
	return aead_seal(
	    a, raw + AT_NONCE, ad, sizeof(ad), plain, sizeof(plain), raw + AT_SEALED, e);
}

int
header_peek(
    const struct vault_id *id, const uint8_t *raw, size_t n, struct header *h, struct err *e)
{
	if (n != HEADER_BYTES || raw[AT_FORMAT] != FORMAT || raw[AT_STATE] > 1)
		return sealed_forged(e, id, "header: not a header record");
	if (memcmp(raw + AT_VAULT, id, VAULT_ID_BYTES) != 0)
		return sealed_forged(e, id, "header: belongs to another vault");
	h->id = *id;
	h->epoch = be64_get(raw + AT_EPOCH);
	h->is_arriving = raw[AT_STATE];
	memcpy(h->wrapped, raw + AT_WRAPPED, WRAPPED_BYTES);
	h->owner_epoch = be64_get(raw + AT_OWNER);
	memcpy(h->writer, raw + AT_WRITER, sizeof(h->writer));
	h->version = be64_get(raw + AT_VERSION);
	h->base = be64_get(raw + AT_BASE);
	h->newest = be64_get(raw + AT_NEWEST);
	h->page_count = be32_get(raw + AT_PAGES);
	h->stored = be32_get(raw + AT_STORED);
	h->redo_bytes = be64_get(raw + AT_REDO);
	h->swept = be64_get(raw + AT_SWEPT);
	return 0;
}

int
header_open(const struct vault_id *id, struct aead *a, const uint8_t *raw, size_t n,
    struct header *out, struct err *e)
{
	uint8_t ad[1 + AT_NONCE], plain[HEADER_SEALED];
	struct header h;

	if (header_peek(id, raw, n, &h, e) < 0)
		return -1;
	ad[0] = 'H';
	memcpy(ad + 1, raw, AT_NONCE);
	if (aead_unseal(a, raw + AT_NONCE, ad, sizeof(ad), raw + AT_SEALED,
	        HEADER_SEALED + TAG_BYTES, plain, e) < 0)
		return sealed_forged(e, id, "header: does not open");
	memcpy(h.page_set, plain, SET_BYTES);
	memcpy(h.chunk_set, plain + SET_BYTES, SET_BYTES);
	memcpy(h.chain, plain + 2 * SET_BYTES, SHA256_BYTES);
	if (h.base > h.version || h.swept > h.base)
		return sealed_forged(e, id, "header: contradicts itself");
	*out = h;
	return 0;
}

int
set_toggle(struct sealed *s, uint8_t set[static SET_BYTES], const uint8_t nonce[static NONCE_BYTES],
    struct err *e)
{
	static const uint8_t zeros[SET_BYTES];
	uint8_t term[SET_BYTES + TAG_BYTES];

	if (aead_seal(s->set, nonce, NULL, 0, zeros, sizeof(zeros), term, e) < 0)
		return -1;
	for (unsigned i = 0; i < SET_BYTES; i++)
		set[i] ^= term[i];
	return 0;
}

void
chain_add(uint8_t chain[static SHA256_BYTES], const uint8_t *record, size_t n)
{
	uint8_t both[SHA256_BYTES + TAG_BYTES];

	assert(n >= TAG_BYTES);
	memcpy(both, chain, SHA256_BYTES);
	memcpy(both + SHA256_BYTES, record + n - TAG_BYTES, TAG_BYTES);
	sha256(both, sizeof(both), chain);
}

/* --- batches ------------------------------------------------------------------------------ */

#define KEPT_BYTES ((size_t)64 << 10) /* larger ones are given back after use */

static struct batch_slot *
batch_slot(struct batch *b)
{
	if (b->n == b->cap) {
		size_t cap = b->cap ? 2 * b->cap : 8;
		void *slots = realloc(b->slots, cap * sizeof(*b->slots)), *writes;

		if (slots)
			b->slots = slots;
		writes = realloc(b->writes, cap * sizeof(*b->writes));
		if (writes)
			b->writes = writes;
		if (!slots || !writes) {
			b->no_memory = true;
			return NULL;
		}
		b->cap = cap;
	}
	return &b->slots[b->n++];
}

static void
batch_add(struct batch *b, enum engine_op op, struct key k, const void *p, size_t n)
{
	struct batch_slot *slot = batch_slot(b);

	if (!slot)
		return;
	*slot = (struct batch_slot){ op, b->bytes.len, k.len, b->bytes.len + k.len, n };
	buf_add(&b->bytes, k.b, k.len);
	buf_add(&b->bytes, p, n);
}

void
batch_put(struct batch *b, struct key k, const void *p, size_t n)
{
	batch_add(b, ENGINE_PUT, k, p, n);
}

void
batch_delete(struct batch *b, struct key k)
{
	batch_add(b, ENGINE_DELETE, k, NULL, 0);
}

static void
batch_drop_last(struct batch *b)
{
	if (!b->n)
		return;
	b->n--;
	b->bytes.len = b->slots[b->n].key;
}

unsigned
batch_put_redo(struct batch *b, uint64_t version, const struct buf *record)
{
	unsigned piece = 0;
	size_t at = 0, n;

	do {
		n = record->len - at < REDO_PIECE ? record->len - at : REDO_PIECE;
		batch_put(b, key_redo(version, piece++), record->data + at, n);
		at += n;
	} while (n == REDO_PIECE);
	return piece;
}

void
batch_clear(struct batch *b)
{
	b->n = 0;
	b->no_memory = false;
	buf_clear(&b->bytes);
	if (b->bytes.cap > KEPT_BYTES)
		batch_free(b);
}

void
batch_free(struct batch *b)
{
	buf_free(&b->bytes);
	free(b->slots);
	free(b->writes);
	*b = (struct batch){ 0 };
}

static int
batch_apply(struct batch *b, struct sealed *s, const struct engine_guard *guard, struct err *e)
{
	if (b->no_memory)
		return err_set(e, ERR_MEMORY, "no memory for a batch of writes");
	if (buf_check(&b->bytes, e) < 0)
		return -1;
	for (size_t i = 0; i < b->n; i++) {
		const struct batch_slot *slot = &b->slots[i];

		b->writes[i] = (struct engine_write){
			.op = slot->op,
			.key = { b->bytes.data + slot->key, slot->key_len },
			.value = { b->bytes.data + slot->value, slot->value_len },
		};
	}
	return engine_apply(s->g, &s->h.id, b->writes, b->n, guard,
	    s->uses_reserve ? ENGINE_LATER | ENGINE_RESERVE : ENGINE_LATER, e);
}

bool
store_is_ours(const struct sealed *s, const uint8_t *raw, const struct header *now)
{
	return memcmp(raw, s->raw, AT_WRAPPED) == 0 &&
	    memcmp(raw + AT_OWNER, s->raw + AT_OWNER, AT_NONCE - AT_OWNER) == 0 &&
	    memcmp(now->page_set, s->h.page_set, SET_BYTES) == 0 &&
	    memcmp(now->chunk_set, s->h.chunk_set, SET_BYTES) == 0 &&
	    memcmp(now->chain, s->h.chain, SHA256_BYTES) == 0;
}

/* Take over what a rotation of the region key did to the header: its data key is wrapped anew, nothing
 * else. false: it is something else that has changed. */
static bool
adopt_rewrapped(struct sealed *s)
{
	_cleanup_buf_ struct buf value = BUF_INIT(0);
	struct key k = key_header();
	struct header now;
	struct err ignored;

	if (engine_get(s->g, &s->h.id, key_span(&k), &value, &ignored) != 1 ||
	    header_open(&s->h.id, s->a, value.data, value.len, &now, &ignored) < 0 ||
	    !store_is_ours(s, value.data, &now))
		return false;
	memcpy(s->raw, value.data, HEADER_BYTES);
	memcpy(s->h.wrapped, now.wrapped, WRAPPED_BYTES);
	return true;
}

/* An apply failed in a way that leaves open whether it happened: say so. WRITTEN is the header
 * that it carried, and its nonce makes it unlike any other. */
static void
look_again(struct sealed *s, const uint8_t written[static HEADER_BYTES], struct err *e)
{
	struct key k = key_header();
	struct err ignored;

	buf_clear(&s->value);
	if (engine_get(s->g, &s->h.id, key_span(&k), &s->value, &ignored) != 1 ||
	    s->value.len != HEADER_BYTES)
		err_add(e, "not known whether it was applied");
	else if (memcmp(s->value.data, written, HEADER_BYTES) == 0)
		err_add(e, "applied all the same");
	else if (memcmp(s->value.data, s->raw, HEADER_BYTES) == 0)
		err_add(e, "not applied");
	else if (adopt_rewrapped(s))
		err_add(e, "not applied");
	else
		err_set(e, ERR_STALE, "another owner has the vault");
}

/* The header goes last, and again if its guard was changed by a rotation meanwhile. */
static int
apply_with_header(struct sealed *s, const struct header *next, bool is_new,
    uint8_t raw[static HEADER_BYTES], struct err *e)
{
	struct key k = key_header();
	struct header h = *next;

	for (;;) {
		struct engine_guard guard = { key_span(&k), { s->raw, HEADER_BYTES }, is_new };
		struct err why = { 0 };

		memcpy(h.wrapped, s->h.wrapped, WRAPPED_BYTES);
		if (header_seal(&h, s->a, raw, e) < 0)
			return -1;
		batch_put(&s->batch, k, raw, HEADER_BYTES);
		if (batch_apply(&s->batch, s, &guard, &why) == 0)
			return 0;
		if (is_new || why.kind != ERR_STALE || !adopt_rewrapped(s)) {
			if (why.kind != ERR_STALE && !is_new)
				look_again(s, raw, &why);
			return err_set(e, why.kind, "%s", why.text);
		}
		batch_drop_last(&s->batch);
	}
}

/* With the newest generation of the region key, which stays the newest until the vault is there. */
static int
apply_new(
    struct sealed *s, const struct header *next, uint8_t raw[static HEADER_BYTES], struct err *e)
{
	int rc = 0;

	keys_hold(s->k);
	if (be32_get(s->h.wrapped) != keys_generation(s->k))
		rc = keys_wrap(s->k, &s->h.id, s->h.epoch, s->data_key, s->h.wrapped, e);
	if (rc == 0)
		rc = apply_with_header(s, next, true, raw, e);
	keys_release(s->k);
	return rc;
}

int
store_apply(struct sealed *s, const struct header *next, bool is_new, struct err *e)
{
	uint8_t raw[HEADER_BYTES], wrapped[WRAPPED_BYTES];
	int rc = is_new ? apply_new(s, next, raw, e) : apply_with_header(s, next, false, raw, e);

	batch_clear(&s->batch);
	if (rc < 0) {
		s->is_broken = true;
		return -1;
	}
	memcpy(s->raw, raw, sizeof(raw));
	memcpy(wrapped, s->h.wrapped, sizeof(wrapped));
	s->h = *next;
	memcpy(s->h.wrapped, wrapped, sizeof(wrapped));
	return 0;
}

int
sealed_header_key(struct keys *k, const struct vault_id *id, struct span header,
    uint32_t *generation, struct err *e)
{
	uint8_t key[KEY_BYTES];
	struct header h;
	int rc = 0;

	if (header_peek(id, header.data, header.len, &h, e) < 0)
		return -1;
	if (k)
		rc = keys_unwrap(k, id, h.epoch, h.wrapped, key, e);
	wipe(key, sizeof(key));
	if (rc == 0)
		*generation = be32_get(h.wrapped);
	return rc;
}

int
sealed_rewrap(
    struct engine *g, struct keys *k, const struct vault_id *id, bool *changed, struct err *e)
{
	_cleanup_buf_ struct buf raw = BUF_INIT(0);
	struct key key = key_header();
	struct err why = { 0 };

	for (;;) {
		_cleanup_(sealed_closep) struct sealed *s = NULL;
		struct header h;
		int rc;

		buf_clear(&raw);
		rc = engine_get(g, id, key_span(&key), &raw, e);
		if (rc <= 0)
			return rc;
		if (header_peek(id, raw.data, raw.len, &h, e) < 0)
			return -1;
		if (be32_get(h.wrapped) == keys_generation(k))
			return 0;
		s = store_alloc(g, k, id, h.epoch, h.wrapped, e);
		if (!s || header_open(id, s->a, raw.data, raw.len, &s->h, e) < 0)
			return -1;
		memcpy(s->raw, raw.data, HEADER_BYTES);
		if (keys_wrap(k, id, h.epoch, s->data_key, s->h.wrapped, e) < 0)
			return -1;
		if (store_apply(s, &s->h, false, &why) == 0) {
			*changed = true;
			return 0;
		}
		if (why.kind != ERR_STALE)
			return err_set(e, why.kind, "%s", why.text);
	}
}
