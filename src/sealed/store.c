/* store.c - opening and reading; see store_internal.h for the records. */
#include "sealed/store_internal.h"
#include "base/host.h"

#include <assert.h>
#include <string.h>

#define OPEN_TRIES 8

/* --- opening and closing ------------------------------------------------------------------ */

static int
derive_set_key(struct sealed *s, struct err *e)
{
	static const char label[] = "domicile set 1";
	uint8_t key[SHA256_BYTES];

	hmac_sha256(s->data_key, KEY_BYTES, label, sizeof(label) - 1, key);
	s->set = aead_open(key, e);
	wipe(key, sizeof(key));
	return s->set ? 0 : -1;
}

static int
store_key(struct sealed *s, const uint8_t *wrapped, struct err *e)
{
	struct header *h = &s->h;
	struct err why = { 0 };

	s->data_key = secret_alloc(KEY_BYTES, e);
	if (!s->data_key)
		return -1;
	if (!wrapped) {
		host_random(s->data_key, KEY_BYTES);
		return keys_wrap(s->k, &h->id, h->epoch, s->data_key, h->wrapped, e);
	}
	memcpy(h->wrapped, wrapped, WRAPPED_BYTES);
	if (keys_unwrap(s->k, &h->id, h->epoch, wrapped, s->data_key, &why) == 0)
		return 0;
	/* Not ERR_MISSING, which would say that there is no such vault. */
	if (why.kind == ERR_FORGED || why.kind == ERR_MISSING)
		return sealed_forged(e, &h->id, "header: %s", why.text);
	return err_set(e, why.kind, "%s", why.text);
}

struct sealed *
store_alloc(struct engine *g, struct keys *k, const struct vault_id *id, uint64_t epoch,
    const uint8_t *wrapped, struct err *e)
{
	_cleanup_(sealed_closep) struct sealed *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set(e, ERR_MEMORY, "no memory for a vault");
		return NULL;
	}
	s->g = g;
	s->k = k;
	s->h.id = *id;
	s->h.epoch = epoch;
	s->plain.max = REDO_PLAIN_MAX;
	if (store_key(s, wrapped, e) < 0)
		return NULL;
	s->a = aead_open(s->data_key, e);
	if (!s->a || derive_set_key(s, e) < 0)
		return NULL;
	return take(&s);
}

void
sealed_close(struct sealed *s)
{
	if (!s)
		return;
	images_clear(s, &s->overlay);
	images_clear(s, &s->pending);
	for (struct image *i = s->spare, *next; i; i = next) {
		next = i->hh.next;
		free(i);
	}
	chunks_clear(&s->changes);
	chunks_clear(&s->chunks);
	batch_free(&s->batch);
	buf_free(&s->value);
	buf_free(&s->plain);
	buf_free(&s->record);
	free(s->digests);
	aead_close(s->a);
	aead_close(s->set);
	secret_free(s->data_key, KEY_BYTES);
	free(s);
}

int
store_usable(const struct sealed *s, struct err *e)
{
	if (s->is_broken)
		return err_set(e, ERR_IO, "the vault failed before and has to be opened again");
	return 0;
}

static int
found_one(void *arg, struct span key, struct span value, struct err *e)
{
	(void)key, (void)value, (void)e;
	*(bool *)arg = true;
	return 1;
}

int
store_is_vacant(struct engine *g, const struct vault_id *id, struct err *e)
{
	static const uint8_t first[1];
	struct span from = { first, 1 }, to = { 0 };
	bool found = false;

	if (engine_scan(g, id, from, to, found_one, &found, e) < 0)
		return -1;
	return found ? err_set(e, ERR_EXISTS, "the vault is there already") : 0;
}

static int
read_raw_header(struct engine *g, const struct vault_id *id, struct buf *raw, struct err *e)
{
	struct key k = key_header();
	int rc;

	buf_clear(raw);
	rc = engine_get(g, id, key_span(&k), raw, e);
	if (rc < 0)
		return -1;
	return rc ? 0 : err_set(e, ERR_MISSING, "no such vault");
}

int
store_read_header(struct sealed *s, struct header *out, struct err *e)
{
	if (read_raw_header(s->g, &s->h.id, &s->value, e) < 0)
		return -1;
	return header_open(&s->h.id, s->a, s->value.data, s->value.len, out, e);
}

int
store_explain(struct sealed *s, struct err *e)
{
	struct header now;
	struct err ignored;

	if (!e || e->kind != ERR_FORGED || s->is_import)
		return -1;
	if (store_read_header(s, &now, &ignored) < 0)
		return -1;
	if (s->mode == SEALED_OWN && !store_is_ours(s, s->value.data, &now))
		return err_set(e, ERR_STALE, "another owner has the vault");
	if (s->mode == SEALED_READ &&
	    (now.base != s->h.base || memcmp(now.page_set, s->h.page_set, SET_BYTES) != 0))
		return err_set(e, ERR_STALE, "the owner has written a checkpoint");
	return -1;
}

/* Be the owner from the next apply on, which swaps the header that is there now, RAW, for ours. */
static void
claim(struct sealed *s, const struct buf *raw)
{
	memcpy(s->raw, raw->data, HEADER_BYTES);
	s->h.owner_epoch++;
	host_random(s->h.writer, sizeof(s->h.writer));
}

/* Become the owner: a compare-and-swap that every former owner's next one will fail. Without space
 * for it, the first commit is that swap. */
static int
take_over(struct sealed *s, struct buf *raw, struct err *e)
{
	struct header next;
	struct err why;

	if (s->h.is_arriving)
		return err_set(e, ERR_BUSY, "the vault is still arriving");
	claim(s, raw);
	next = s->h;
	if (store_apply(s, &next, false, &why) == 0)
		return 0;
	if (why.kind != ERR_FULL)
		return err_set(e, why.kind, "%s", why.text);
	/* It may have happened all the same. */
	if (read_raw_header(s->g, &s->h.id, raw, e) < 0 ||
	    header_open(&s->h.id, s->a, raw->data, raw->len, &s->h, e) < 0)
		return -1;
	s->is_broken = false;
	claim(s, raw);
	return 0;
}

/* Whether the header is another one than RAW by now: the region key may have been rotated. */
static bool
has_changed(struct engine *g, const struct vault_id *id, const struct buf *raw)
{
	_cleanup_buf_ struct buf now = BUF_INIT(0);
	struct err ignored;

	return read_raw_header(g, id, &now, &ignored) == 0 &&
	    (now.len != raw->len || memcmp(now.data, raw->data, now.len) != 0);
}

/* One try; *AGAIN if it failed for what another process may have done meanwhile. */
static struct sealed *
open_once(struct engine *g, struct keys *k, const struct vault_id *id, enum sealed_mode mode,
    struct buf *raw, bool *again, struct err *e)
{
	_cleanup_(sealed_closep) struct sealed *s = NULL;
	struct header h;
	int rc;

	*again = false;
	if (read_raw_header(g, id, raw, e) < 0 || header_peek(id, raw->data, raw->len, &h, e) < 0)
		return NULL;
	s = store_alloc(g, k, id, h.epoch, h.wrapped, e);
	if (!s) {
		*again = has_changed(g, id, raw);
		return NULL;
	}
	s->mode = mode;
	rc = header_open(id, s->a, raw->data, raw->len, &s->h, e);
	if (rc == 0)
		rc = mode == SEALED_OWN ? take_over(s, raw, e) : chunks_load(s, e);
	if (rc == 0)
		rc = store_replay(s, e);
	if (rc == 0)
		return take(&s);
	store_explain(s, e);
	*again = e->kind == ERR_STALE;
	return NULL;
}

struct sealed *
sealed_open(struct engine *g, struct keys *k, const struct vault_id *id, enum sealed_mode mode,
    struct err *e)
{
	_cleanup_buf_ struct buf raw = BUF_INIT(0);
	struct err why = { 0 };
	bool again = true;

	for (unsigned i = 0; again && i < OPEN_TRIES; i++) {
		struct sealed *s = open_once(g, k, id, mode, &raw, &again, &why);

		if (s)
			return s;
	}
	err_set(e, why.kind, "%s", why.text);
	return NULL;
}

/* --- reading ------------------------------------------------------------------------------ */

int
store_page_record(struct sealed *s, uint32_t number, uint8_t out[static PAGE_BYTES],
    uint8_t nonce[static NONCE_BYTES], struct err *e)
{
	struct key k = key_page(number);
	uint64_t version;
	int rc;

	buf_clear(&s->value);
	rc = engine_get(s->g, &s->h.id, key_span(&k), &s->value, e);
	if (rc < 0)
		return -1;
	if (!rc)
		return sealed_forged(e, &s->h.id, "page %u: missing", number);
	if (page_open(s->a, &s->h.id, number, s->value.data, s->value.len, &version, out, e) < 0)
		return -1;
	if (version > s->h.newest)
		return sealed_forged(e, &s->h.id, "page %u: of a version that is not yet", number);
	memcpy(nonce, s->value.data + PAGE_RECORD_NONCE, NONCE_BYTES);
	return 0;
}

int
store_base_page(struct sealed *s, uint32_t number, uint8_t out[static PAGE_BYTES],
    uint8_t nonce[static NONCE_BYTES], bool *has_nonce, struct err *e)
{
	*has_nonce = number <= s->h.stored && number <= s->floor;
	if (*has_nonce)
		return store_page_record(s, number, out, nonce, e);
	memset(out, 0, PAGE_BYTES);
	return 0;
}

int
sealed_read(struct sealed *s, uint32_t number, uint8_t out[static PAGE_BYTES], struct err *e)
{
	const struct image *i;
	uint8_t nonce[NONCE_BYTES];
	struct err why = { 0 };
	bool has_nonce;

	assert(number);
	if (store_usable(s, e) < 0)
		return -1;
	if (number > s->h.page_count) {
		memset(out, 0, PAGE_BYTES);
		return 0;
	}
	i = image_find(s->overlay, number);
	if (i) {
		memcpy(out, i->bytes, PAGE_BYTES);
		return 0;
	}
	if (store_base_page(s, number, out, nonce, &has_nonce, &why) == 0)
		return 0;
	store_explain(s, &why);
	return err_set(e, why.kind, "%s", why.text);
}

int
sealed_read_pending(
    struct sealed *s, uint32_t number, uint8_t out[static PAGE_BYTES], struct err *e)
{
	const struct image *i = image_find(s->pending, number);

	if (store_usable(s, e) < 0)
		return -1;
	if (number > s->pending_count)
		memset(out, 0, PAGE_BYTES);
	else if (i)
		memcpy(out, i->bytes, PAGE_BYTES);
	else
		return sealed_read(s, number, out, e);
	return 0;
}

void
sealed_get_info(const struct sealed *s, struct sealed_info *out)
{
	const struct header *h = s->is_import ? &s->next : &s->h;

	*out = (struct sealed_info){
		.epoch = h->epoch,
		.version = h->version,
		.base = h->base,
		.page_count = h->page_count,
		.base_page_count = h->stored,
		.redo_bytes = h->redo_bytes,
		.redo_pages = HASH_COUNT(s->overlay),
		.is_arriving = h->is_arriving,
	};
}

const struct vault_id *
sealed_vault(const struct sealed *s)
{
	return &s->h.id;
}

size_t
sealed_memory(const struct sealed *s)
{
	size_t images = HASH_COUNT(s->overlay) + HASH_COUNT(s->pending) + s->spares;
	size_t chunks = HASH_COUNT(s->chunks) + HASH_COUNT(s->changes);

	return sizeof(*s) + 4096 /* the key's page */ + images * sizeof(struct image) +
	    chunks * sizeof(struct chunk_entry) + s->digest_cap * SHA256_BYTES + s->value.cap +
	    s->plain.cap + s->record.cap + s->batch.bytes.cap +
	    s->batch.cap * (sizeof(struct batch_slot) + sizeof(struct engine_write));
}

void
sealed_data_key(const struct sealed *s, uint8_t out[static KEY_BYTES])
{
	memcpy(out, s->data_key, KEY_BYTES);
}
