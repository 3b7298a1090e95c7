/* content.h - what is too large for the database: cut into chunks, sealed in segments.
 *
 * A chunk holds up to CONTENT_CHUNK bytes of plaintext as segments of CONTENT_SEGMENT bytes (the
 * last one shorter), each: nonce (12), ciphertext, tag (16); bound as associated data to "K", vault
 * id, chunk name, segment number (4), is last (1). So any range can be read by itself, and a chunk
 * that was cut off does not open.
 */
#pragma once
#include "chunks/chunks.h"
#include "base/crypto.h"
#include "sealed/redo.h"

#define CONTENT_INLINE  ((size_t)32 << 10) /* at most this much sits in the database */
#define CONTENT_CHUNK   ((size_t)4 << 20)
#define CONTENT_SEGMENT ((size_t)64 << 10)

/* A vault's key for its chunks; counted, so that a transfer under way outlives the vault. Any thread. */
struct content_key;
must_check
struct content_key *content_key_new(
    const struct vault_id *id, const uint8_t data_key[static KEY_BYTES], struct err *e);
struct content_key *content_key_ref(struct content_key *k);
void content_key_unref(struct content_key *k); /* NULL is fine; the last one wipes it */
const struct vault_id *content_key_vault(const struct content_key *k);

/* Writing: one thread at a time, bounded memory (about two segments). */
struct content_out;
must_check
struct content_out *content_begin(struct chunks *c, struct content_key *k, struct err *e);
must_check
int content_add(struct content_out *o, const void *p, size_t n, struct err *e);
/* All chunks are durable when it returns. REFS (malloced, *N of them, in order) become the
 * caller's. O stays to be closed: after the rows that refer to them are committed, since until then
 * it protects them from a sweep. */
must_check
int content_finish(struct content_out *o, struct chunk_ref **refs, size_t *n, struct err *e);
/* What was received so far, for carrying an upload over: the finished chunks and the plaintext of
 * the unfinished one can be read again with content_out_read at any OFFSET < content_out_bytes,
 * until content_finish (then: content_open). Reading ends the unfinished chunk, so that it gets
 * shorter than others. Returns the bytes copied (0 at the end), -1 on error. */
uint64_t content_out_bytes(const struct content_out *o);
must_check
ssize_t content_out_read(struct content_out *o, uint64_t offset, void *p, size_t n, struct err *e);
/* Chunks that were not taken by content_finish are removed. NULL is fine. */
void content_close(struct content_out *o);
CLEANUP(struct content_out, content_close)

/* Reading: a chunk kept open between calls; one thread at a time. */
struct content_in;
must_check
struct content_in *content_open(struct chunks *c, struct content_key *k,
    const struct chunk_ref *refs, size_t n, struct err *e); /* refs are copied */
uint64_t content_bytes(const struct content_in *i);
/* Up to N bytes from OFFSET of the content; 0 only at its end. ERR_FORGED names the chunk. */
must_check
ssize_t content_read(struct content_in *i, uint64_t offset, void *p, size_t n, struct err *e);
void content_in_close(struct content_in *i);
CLEANUP(struct content_in, content_in_close)
