/* content_internal.h - what the pool and transfers need of content besides its face. */
#pragma once
#include "vault/content.h"

/* --- keys (content_key.c) ---
 *
 * Keys come in generations, so that whoever drops a chunk can tell when every reader that may still
 * know its name has gone: a generation lives as long as anything older than it does. */

/* The next generation of the same key; NULL without memory. The caller gets a reference. */
struct content_key *content_key_next(struct content_key *k);
/* Whether the caller's is the only reference left. */
bool content_key_is_last(const struct content_key *k);
bool content_key_matches(const struct content_key *k, const uint8_t data_key[static KEY_BYTES]);
must_check
struct aead *content_key_aead(const struct content_key *k, struct err *e);

/* Names of chunks that are being written, or finished but perhaps not yet referred to by a row. */
must_check
int content_claim(const struct chunk_name *name, struct err *e);
void content_unclaim(const struct chunk_name *name);
bool content_is_claimed(const struct chunk_name *name);

/* --- segments (content_chunk.c) --- */

#define SEGMENT_OVERHEAD (NONCE_BYTES + TAG_BYTES)
#define SEGMENT_SEALED   (CONTENT_SEGMENT + SEGMENT_OVERHEAD)

struct segment {
	const struct vault_id *vault;
	const uint8_t *chunk;
	uint32_t number;
	bool is_last;
};

/* OUT gets SEGMENT_OVERHEAD more bytes than N. */
must_check
int segment_seal(struct aead *a, const struct segment *s, const uint8_t *plain, size_t n,
    uint8_t *out, struct err *e);
must_check
int segment_open(struct aead *a, const struct segment *s, const uint8_t *sealed, size_t n,
    uint8_t *plain, struct err *e);
/* Size of a sealed chunk of BYTES of plaintext. */
uint64_t chunk_sealed_bytes(uint64_t bytes);

/* One chunk at a time, under names that the caller chooses. Borrows CHUNKS and KEY. */
struct chunk_writer;
must_check
struct chunk_writer *chunk_writer_new(struct chunks *c, const struct content_key *k, struct err *e);
void chunk_writer_free(struct chunk_writer *w); /* what is not durable is aborted; NULL is fine */
CLEANUP(struct chunk_writer, chunk_writer_free)
must_check
int chunk_writer_begin(struct chunk_writer *w, const struct chunk_name *name, struct err *e);
bool chunk_writer_is_open(const struct chunk_writer *w);
/* Plaintext bytes of the chunk that is open. */
uint64_t chunk_writer_bytes(const struct chunk_writer *w);
/* CONTENT_CHUNK in all may be added. */
must_check
int chunk_writer_add(struct chunk_writer *w, const uint8_t *p, size_t n, struct err *e);
/* The chunk is whole; none is open then, also if it fails. At least one byte was added. It becomes durable
 * one chunk behind, so that the disk writes it while the next one is received: with the next finish or
 * flush, whose failure may be its own; after one all further ones fail. Until then it can't be opened by its
 * name. */
must_check
int chunk_writer_finish(struct chunk_writer *w, struct chunk_ref *out, struct err *e);
/* Every finished chunk is durable when it returns, its name after the next chunks_sync. */
must_check
int chunk_writer_flush(struct chunk_writer *w, struct err *e);
