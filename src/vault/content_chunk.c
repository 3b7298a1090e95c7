/* content_chunk.c - the format of chunks (content.h), and writing one. */
#include "vault/content_internal.h"

#include "base/frame.h"
#include "base/host.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define AD_BYTES (1 + VAULT_ID_BYTES + CHUNK_NAME_BYTES + 4 + 1)

/* What a segment is bound to. */
static void
segment_ad(const struct segment *s, uint8_t out[static AD_BYTES])
{
	*out++ = 'K';
	memcpy(out, s->vault, VAULT_ID_BYTES);
	out += VAULT_ID_BYTES;
	memcpy(out, s->chunk, CHUNK_NAME_BYTES);
	out += CHUNK_NAME_BYTES;
	be32_put(out, s->number);
	out[4] = s->is_last;
}

int
segment_seal(struct aead *a, const struct segment *s, const uint8_t *plain, size_t n, uint8_t *out,
    struct err *e)
{
	uint8_t ad[AD_BYTES];

	segment_ad(s, ad);
	host_random(out, NONCE_BYTES);
	return aead_seal(a, out, ad, sizeof(ad), plain, n, out + NONCE_BYTES, e);
}

int
segment_open(struct aead *a, const struct segment *s, const uint8_t *sealed, size_t n,
    uint8_t *plain, struct err *e)
{
	uint8_t ad[AD_BYTES];

	segment_ad(s, ad);
	return aead_unseal(
	    a, sealed, ad, sizeof(ad), sealed + NONCE_BYTES, n - NONCE_BYTES, plain, e);
}

uint64_t
chunk_sealed_bytes(uint64_t bytes)
{
	uint64_t segments = (bytes + CONTENT_SEGMENT - 1) / CONTENT_SEGMENT;

	return bytes + segments * SEGMENT_OVERHEAD;
}

struct chunk_writer {
	struct chunks *chunks;
	const struct content_key *key;
	struct aead *aead;
	struct hash *hash;
	struct chunk_out *out;    /* NULL: none open */
	struct chunk_out *behind; /* whole, not yet durable; or NULL */
	struct chunk_name name;
	enum err_kind failed; /* why a finished chunk is not there; for good */
	uint32_t segment;     /* number of the next one */
	uint64_t bytes;       /* plaintext of this chunk */
	size_t held;          /* of it not yet sealed: whether a segment is the last shows later */
	uint8_t plain[CONTENT_SEGMENT];
	uint8_t sealed[SEGMENT_SEALED];
};

struct chunk_writer *
chunk_writer_new(struct chunks *c, const struct content_key *k, struct err *e)
{
	_cleanup_(chunk_writer_freep) struct chunk_writer *w = malloc(sizeof(*w));

	if (!w) {
		err_set(e, ERR_MEMORY, "chunk: no memory");
		return NULL;
	}
	memset(w, 0, offsetof(struct chunk_writer, plain));
	w->chunks = c;
	w->key = k;
	w->aead = content_key_aead(k, e);
	if (!w->aead)
		return NULL;
	w->hash = hash_open(HASH_SHA256, e);
	if (!w->hash)
		return NULL;
	return take(&w);
}

void
chunk_writer_free(struct chunk_writer *w)
{
	if (!w)
		return;
	chunks_abort(w->chunks, w->out);
	chunks_abort(w->chunks, w->behind);
	aead_close(w->aead);
	hash_close(w->hash);
	wipe(w->plain, sizeof(w->plain));
	free(w);
}

bool
chunk_writer_is_open(const struct chunk_writer *w)
{
	return w->out;
}

uint64_t
chunk_writer_bytes(const struct chunk_writer *w)
{
	return w->bytes;
}

int
chunk_writer_begin(struct chunk_writer *w, const struct chunk_name *name, struct err *e)
{
	uint8_t unused[SHA256_BYTES];

	assert(!w->out);
	w->out = chunks_begin(w->chunks, content_key_vault(w->key), name, e);
	if (!w->out)
		return -1;
	w->name = *name;
	w->segment = 0;
	w->bytes = 0;
	w->held = 0;
	hash_end(w->hash, unused); /* an aborted chunk may have left something in it */
	return 0;
}

static int
put_segment(struct chunk_writer *w, const uint8_t *plain, size_t n, bool is_last, struct err *e)
{
	struct segment s = {
		.vault = content_key_vault(w->key),
		.chunk = w->name.b,
		.number = w->segment++,
		.is_last = is_last,
	};

	if (segment_seal(w->aead, &s, plain, n, w->sealed, e) < 0)
		return -1;
	return chunks_write(w->chunks, w->out, w->sealed, n + SEGMENT_OVERHEAD, e);
}

int
chunk_writer_add(struct chunk_writer *w, const uint8_t *p, size_t n, struct err *e)
{
	assert(w->out && w->bytes + n <= CONTENT_CHUNK);
	hash_add(w->hash, p, n);
	w->bytes += n;
	while (n) {
		size_t now = CONTENT_SEGMENT - w->held;

		/* More follows, so what is full is not the last. */
		if (!now) {
			if (put_segment(w, w->plain, w->held, false, e) < 0)
				return -1;
			w->held = 0;
			continue;
		}
		if (!w->held && n > CONTENT_SEGMENT) {
			if (put_segment(w, p, CONTENT_SEGMENT, false, e) < 0)
				return -1;
			now = CONTENT_SEGMENT;
		} else {
			if (now > n)
				now = n;
			memcpy(w->plain + w->held, p, now);
			w->held += now;
		}
		p += now;
		n -= now;
	}
	return 0;
}

/* What was lost can't be added again. */
static int
lost(struct chunk_writer *w, const struct err *why, struct err *e)
{
	w->failed = why->kind;
	if (e)
		*e = *why;
	return -1;
}

int
chunk_writer_finish(struct chunk_writer *w, struct chunk_ref *out, struct err *e)
{
	struct err why;

	assert(w->out && w->held);
	if (put_segment(w, w->plain, w->held, true, &why) < 0 || chunk_writer_flush(w, &why) < 0) {
		chunks_abort(w->chunks, take(&w->out));
		return lost(w, &why, e);
	}
	w->behind = take(&w->out);
	memcpy(out->name, w->name.b, sizeof(out->name));
	out->bytes = w->bytes;
	hash_end(w->hash, out->digest);
	return 0;
}

int
chunk_writer_flush(struct chunk_writer *w, struct err *e)
{
	struct err why;

	if (w->failed)
		return err_set(e, w->failed, "a chunk before could not be written");
	if (w->behind && chunks_finish(w->chunks, take(&w->behind), &why) < 0)
		return lost(w, &why, e);
	return 0;
}
