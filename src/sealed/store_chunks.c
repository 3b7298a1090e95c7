/* store_chunks.c - C records, one for each chunk that the vault refers to.
 *
 * Record: format 1 (1), nonce (12), sealed { plain bytes (8), digest (32) }, tag (16); bound to "C",
 * vault id and name.
 */
#include "sealed/store_internal.h"
#include "base/host.h"

#include <string.h>

#define CHUNK_FORMAT 1
#define CHUNK_AD     (1 + VAULT_ID_BYTES + 16)

static void
chunk_bind(uint8_t ad[static CHUNK_AD], const struct vault_id *id, const uint8_t *name)
{
	ad[0] = 'C';
	memcpy(ad + 1, id, VAULT_ID_BYTES);
	memcpy(ad + 1 + VAULT_ID_BYTES, name, 16);
}

static int
chunk_seal(struct sealed *s, const struct chunk_ref *c, uint8_t out[static CHUNK_RECORD_BYTES],
    struct err *e)
{
	uint8_t ad[CHUNK_AD], plain[8 + SHA256_BYTES];

	out[0] = CHUNK_FORMAT;
	host_random(out + CHUNK_RECORD_NONCE, NONCE_BYTES);
	be64_put(plain, c->bytes);
	memcpy(plain + 8, c->digest, SHA256_BYTES);
	chunk_bind(ad, &s->h.id, c->name);
	return aead_seal(s->a, out + CHUNK_RECORD_NONCE, ad, sizeof(ad), plain, sizeof(plain),
	    out + CHUNK_RECORD_NONCE + NONCE_BYTES, e);
}

int
chunk_open(struct sealed *s, const uint8_t name[static 16], const uint8_t *record, size_t n,
    struct chunk_ref *out, struct err *e)
{
	uint8_t ad[CHUNK_AD], plain[8 + SHA256_BYTES];
	const uint8_t *sealed = record + CHUNK_RECORD_NONCE + NONCE_BYTES;
	char hex[33];

	hex_text(name, 16, hex);
	chunk_bind(ad, &s->h.id, name);
	if (n != CHUNK_RECORD_BYTES || record[0] != CHUNK_FORMAT)
		return sealed_forged(e, &s->h.id, "chunk entry %s: not a chunk record", hex);
	if (aead_unseal(s->a, record + CHUNK_RECORD_NONCE, ad, sizeof(ad), sealed,
	        sizeof(plain) + TAG_BYTES, plain, e) < 0)
		return sealed_forged(e, &s->h.id, "chunk entry %s: does not open", hex);
	memcpy(out->name, name, 16);
	out->bytes = be64_get(plain);
	memcpy(out->digest, plain + 8, SHA256_BYTES);
	return 0;
}

int
chunk_write(struct sealed *s, struct chunk_entry *c, uint8_t set[static SET_BYTES], struct err *e)
{
	uint8_t record[CHUNK_RECORD_BYTES];

	if (chunk_seal(s, &c->ref, record, e) < 0)
		return -1;
	memcpy(c->nonce, record + CHUNK_RECORD_NONCE, NONCE_BYTES);
	batch_put(&s->batch, key_chunk(c->ref.name), record, sizeof(record));
	return set_toggle(s, set, c->nonce, e);
}

int
chunk_erase(
    struct sealed *s, const struct chunk_entry *c, uint8_t set[static SET_BYTES], struct err *e)
{
	batch_delete(&s->batch, key_chunk(c->ref.name));
	return set_toggle(s, set, c->nonce, e);
}

/* --- sets of them in memory ---------------------------------------------------------------- */

struct chunk_entry *
chunk_find(struct chunk_entry *set, const uint8_t name[static 16])
{
	struct chunk_entry *c;

	HASH_FIND(hh, set, name, 16, c);
	return c;
}

struct chunk_entry *
chunk_add(struct chunk_entry **set, const struct chunk_ref *ref, struct err *e)
{
	struct chunk_entry *head = *set, *c = calloc(1, sizeof(*c));

	if (c) {
		c->ref = *ref;
		HASH_ADD(hh, head, ref.name, sizeof(c->ref.name), c);
		*set = head;
	}
	if (!c || !c->hh.tbl) {
		free(c);
		err_set(e, ERR_MEMORY, "no memory for a chunk entry");
		return NULL;
	}
	return c;
}

void
chunk_remove(struct chunk_entry **set, struct chunk_entry *c)
{
	struct chunk_entry *head = *set;

	HASH_DEL(head, c);
	*set = head;
	free(c);
}

void
chunks_clear(struct chunk_entry **set)
{
	struct chunk_entry *c = *set, *next;

	HASH_CLEAR(hh, *set);
	for (; c; c = next) {
		next = c->hh.next;
		free(c);
	}
}

static int
by_name(const struct chunk_entry *a, const struct chunk_entry *b)
{
	return memcmp(a->ref.name, b->ref.name, sizeof(a->ref.name));
}

int
chunks_visit(struct chunk_entry **set, sealed_chunk_fn *fn, void *arg, struct err *e)
{
	struct chunk_entry *head = *set;

	HASH_SRT(hh, head, by_name);
	*set = head;
	for (struct chunk_entry *c = head; c; c = c->hh.next)
		if (fn(arg, &c->ref, e) < 0)
			return -1;
	return 0;
}

/* --- reading the records ------------------------------------------------------------------- */

struct chunk_scan {
	struct sealed *s;
	sealed_chunk_fn *fn; /* or NULL: into s->chunks */
	void *arg;
	uint8_t set[SET_BYTES];
	struct header now;
	uint8_t raw[HEADER_BYTES];
	bool has_header;
};

static int
scan_header(struct chunk_scan *c, struct span value, struct err *e)
{
	struct sealed *s = c->s;

	if (header_open(&s->h.id, s->a, value.data, value.len, &c->now, e) < 0)
		return -1;
	memcpy(c->raw, value.data, HEADER_BYTES);
	c->has_header = true;
	return 0;
}

static int
scan_chunk(void *arg, struct span key, struct span value, struct err *e)
{
	struct chunk_scan *c = arg;
	struct sealed *s = c->s;
	const uint8_t *nonce = value.data + CHUNK_RECORD_NONCE;
	struct chunk_entry *entry;
	struct chunk_ref ref;

	if (key.len == 1 && key.data[0] == 'H')
		return scan_header(c, value, e);
	if (key.len != 17 || key.data[0] != 'C')
		return sealed_forged(e, &s->h.id, "a record of no kind that there is");
	if (chunk_open(s, key.data + 1, value.data, value.len, &ref, e) < 0 ||
	    set_toggle(s, c->set, nonce, e) < 0)
		return -1;
	if (c->fn)
		return c->fn(c->arg, &ref, e);
	entry = chunk_add(&s->chunks, &ref, e);
	if (!entry)
		return -1;
	memcpy(entry->nonce, nonce, NONCE_BYTES);
	return 0;
}

/* Header and C records at one instant. */
static int
chunk_scan(struct chunk_scan *c, struct err *e)
{
	static const uint8_t first = 'C', last = 'H' + 1;
	struct sealed *s = c->s;
	struct span from = { &first, 1 }, to = { &last, 1 };

	if (engine_scan(s->g, &s->h.id, from, to, scan_chunk, c, e) < 0)
		return -1;
	if (!c->has_header)
		return err_set(e, ERR_MISSING, "no such vault");
	if (s->mode == SEALED_OWN && !store_is_ours(s, c->raw, &c->now))
		return err_set(e, ERR_STALE, "another owner has the vault");
	if (memcmp(c->set, c->now.chunk_set, SET_BYTES) != 0)
		return sealed_forged(e, &s->h.id, "chunk entries: not those that were written");
	return 0;
}

int
chunks_load(struct sealed *s, struct err *e)
{
	struct chunk_scan c = { .s = s };

	chunks_clear(&s->chunks);
	if (chunk_scan(&c, e) < 0)
		return -1;
	if (s->mode == SEALED_READ) {
		s->h = c.now;
		memcpy(s->raw, c.raw, HEADER_BYTES);
	}
	return 0;
}

int
sealed_chunks(struct sealed *s, sealed_chunk_fn *fn, void *arg, struct err *e)
{
	struct chunk_scan c = { .s = s, .fn = fn, .arg = arg };

	if (store_usable(s, e) < 0)
		return -1;
	if (s->is_import || s->mode == SEALED_READ)
		return chunks_visit(&s->chunks, fn, arg, e);
	return chunk_scan(&c, e);
}

/* --- changing them ------------------------------------------------------------------------- */

int
chunk_get(struct sealed *s, const uint8_t name[static 16], struct chunk_entry *out, struct err *e)
{
	struct key k = key_chunk(name);
	int rc;

	buf_clear(&s->value);
	rc = engine_get(s->g, &s->h.id, key_span(&k), &s->value, e);
	if (rc <= 0)
		return rc;
	if (chunk_open(s, name, s->value.data, s->value.len, &out->ref, e) < 0)
		return -1;
	memcpy(out->nonce, s->value.data + CHUNK_RECORD_NONCE, NONCE_BYTES);
	return 1;
}

int
sealed_put_chunk(struct sealed *s, const struct chunk_ref *c, struct err *e)
{
	struct chunk_entry there;
	int rc;

	if (store_usable(s, e) < 0)
		return -1;
	rc = chunk_find(s->changes, c->name) ? 1 : chunk_get(s, c->name, &there, e);
	if (rc < 0)
		return -1;
	if (rc)
		return err_set(e, ERR_EXISTS, "the vault has that chunk already");
	return chunk_add(&s->changes, c, e) ? 0 : -1;
}

int
sealed_drop_chunk(struct sealed *s, const uint8_t name[static 16], struct err *e)
{
	struct chunk_entry *change, there;
	int rc;

	if (store_usable(s, e) < 0)
		return -1;
	change = chunk_find(s->changes, name);
	if (change && !change->is_drop) {
		chunk_remove(&s->changes, change);
		return 0;
	}
	rc = change ? 0 : chunk_get(s, name, &there, e);
	if (rc < 0)
		return -1;
	if (!rc)
		return err_set(e, ERR_MISSING, "the vault has no such chunk");
	change = chunk_add(&s->changes, &there.ref, e);
	if (!change)
		return -1;
	memcpy(change->nonce, there.nonce, NONCE_BYTES);
	change->is_drop = true;
	return 0;
}
