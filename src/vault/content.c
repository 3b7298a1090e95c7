/* content.c - content as a row of chunks, written and read. See content.h. */
#include "vault/content.h"
#include "vault/content_internal.h"

#include "base/host.h"

#include <stdlib.h>
#include <string.h>

/* --- writing --- */

struct content_out {
	struct chunks *chunks;
	struct content_key *key;
	struct chunk_writer *writer;
	struct chunk_ref *
	    refs; /* whole chunks, the last perhaps not yet durable; the names of all were claimed */
	size_t n, room;
	struct chunk_name *taken; /* names handed over, still claimed */
	size_t n_taken;
	struct chunk_name open; /* the writer's */
	uint64_t finished_bytes;
	struct content_in *again; /* for reading what came so far; NULL when outdated */
};

struct content_out *
content_begin(struct chunks *c, struct content_key *k, struct err *e)
{
	_cleanup_(content_closep) struct content_out *o = calloc(1, sizeof(*o));

	if (!o) {
		err_set(e, ERR_MEMORY, "content: no memory");
		return NULL;
	}
	o->chunks = c;
	o->key = content_key_ref(k);
	o->writer = chunk_writer_new(c, k, e);
	if (!o->writer)
		return NULL;
	return take(&o);
}

static int
begin_chunk(struct content_out *o, struct err *e)
{
	if (o->n == o->room) {
		size_t room = o->room ? 2 * o->room : 4;
		struct chunk_ref *refs = realloc(o->refs, room * sizeof(*refs));

		if (!refs)
			return err_set(e, ERR_MEMORY, "content: no memory");
		o->refs = refs;
		o->room = room;
	}
	host_random(o->open.b, sizeof(o->open.b));
	if (content_claim(&o->open, e) < 0)
		return -1;
	if (chunk_writer_begin(o->writer, &o->open, e) < 0) {
		content_unclaim(&o->open);
		return -1;
	}
	return 0;
}

static int
end_chunk(struct content_out *o, struct err *e)
{
	struct chunk_ref *r = &o->refs[o->n];

	if (chunk_writer_finish(o->writer, r, e) < 0) {
		content_unclaim(&o->open);
		return -1;
	}
	o->n++;
	o->finished_bytes += r->bytes;
	content_in_close(o->again);
	o->again = NULL;
	return 0;
}

int
content_add(struct content_out *o, const void *p, size_t n, struct err *e)
{
	const uint8_t *at = p;

	while (n) {
		size_t now = CONTENT_CHUNK;

		if (!chunk_writer_is_open(o->writer) && begin_chunk(o, e) < 0)
			return -1;
		now -= (size_t)chunk_writer_bytes(o->writer);
		if (now > n)
			now = n;
		if (chunk_writer_add(o->writer, at, now, e) < 0)
			return -1;
		if (chunk_writer_bytes(o->writer) == CONTENT_CHUNK && end_chunk(o, e) < 0)
			return -1;
		at += now;
		n -= now;
	}
	return 0;
}

/* Their rows are not yet committed: the claims last until the caller closes O. */
static int
note_taken(struct content_out *o, struct err *e)
{
	size_t all = o->n_taken + o->n;
	struct chunk_name *names = realloc(o->taken, (all ? all : 1) * sizeof(*names));

	if (!names)
		return err_set(e, ERR_MEMORY, "content: no memory");
	for (size_t i = 0; i < o->n; i++)
		memcpy(names[o->n_taken + i].b, o->refs[i].name, CHUNK_NAME_BYTES);
	o->taken = names;
	o->n_taken = all;
	return 0;
}

int
content_finish(struct content_out *o, struct chunk_ref **refs, size_t *n, struct err *e)
{
	if (chunk_writer_is_open(o->writer) && end_chunk(o, e) < 0)
		return -1;
	if (chunk_writer_flush(o->writer, e) < 0)
		return -1;
	if (o->n && chunks_sync(o->chunks, content_key_vault(o->key), e) < 0)
		return -1;
	if (note_taken(o, e) < 0)
		return -1;
	*refs = take(&o->refs);
	*n = o->n;
	o->n = o->room = 0;
	return 0;
}

uint64_t
content_out_bytes(const struct content_out *o)
{
	uint64_t open = chunk_writer_is_open(o->writer) ? chunk_writer_bytes(o->writer) : 0;

	return o->finished_bytes + open;
}

ssize_t
content_out_read(struct content_out *o, uint64_t offset, void *p, size_t n, struct err *e)
{
	/* What is not sealed as a whole chunk can't be read: it becomes a shorter chunk than usual, and
	 * whatever is added later begins another. */
	if (offset >= o->finished_bytes && chunk_writer_is_open(o->writer) && end_chunk(o, e) < 0)
		return -1;
	if (chunk_writer_flush(o->writer, e) < 0)
		return -1;
	if (!o->again)
		o->again = content_open(o->chunks, o->key, o->refs, o->n, e);
	return o->again ? content_read(o->again, offset, p, n, e) : -1;
}

void
content_close(struct content_out *o)
{
	if (!o)
		return;
	content_in_close(o->again);
	if (o->writer && chunk_writer_is_open(o->writer))
		content_unclaim(&o->open);
	chunk_writer_free(o->writer);
	for (size_t i = 0; i < o->n; i++) {
		struct chunk_name name;

		memcpy(name.b, o->refs[i].name, sizeof(name.b));
		/* One that can't be removed now is left for a sweep. */
		(void)!chunks_remove(o->chunks, content_key_vault(o->key), &name, NULL);
		content_unclaim(&name);
	}
	for (size_t i = 0; i < o->n_taken; i++)
		content_unclaim(&o->taken[i]);
	free(o->refs);
	free(o->taken);
	content_key_unref(o->key);
	free(o);
}

/* --- reading --- */

#define NO_SEGMENT UINT32_MAX

struct content_in {
	struct chunks *chunks;
	struct content_key *key;
	struct aead *aead;
	struct chunk_ref *refs;
	uint64_t *ends; /* where each chunk ends in the content */
	size_t n;
	size_t at;           /* the chunk that is open */
	struct chunk_in *in; /* NULL: none is */
	uint32_t cached;     /* the segment in `plain`, of the open chunk */
	uint8_t plain[CONTENT_SEGMENT];
	uint8_t sealed[SEGMENT_SEALED];
};

static int
copy_refs(struct content_in *i, const struct chunk_ref *refs, size_t n, struct err *e)
{
	uint64_t end = 0;

	i->refs = calloc(n ? n : 1, sizeof(*i->refs));
	i->ends = calloc(n ? n : 1, sizeof(*i->ends));
	if (!i->refs || !i->ends)
		return err_set(e, ERR_MEMORY, "content: no memory");
	for (; i->n < n; i->n++) {
		if (!refs[i->n].bytes || refs[i->n].bytes > CONTENT_CHUNK)
			return err_set(e, ERR_FORGED, "a chunk of %llu bytes",
			    (unsigned long long)refs[i->n].bytes);
		i->refs[i->n] = refs[i->n];
		end += refs[i->n].bytes;
		i->ends[i->n] = end;
	}
	return 0;
}

struct content_in *
content_open(
    struct chunks *c, struct content_key *k, const struct chunk_ref *refs, size_t n, struct err *e)
{
	_cleanup_(content_in_closep) struct content_in *i = malloc(sizeof(*i));

	if (!i) {
		err_set(e, ERR_MEMORY, "content: no memory");
		return NULL;
	}
	memset(i, 0, offsetof(struct content_in, plain));
	i->chunks = c;
	i->key = content_key_ref(k);
	i->aead = content_key_aead(k, e);
	if (!i->aead || copy_refs(i, refs, n, e) < 0)
		return NULL;
	return take(&i);
}

void
content_in_close(struct content_in *i)
{
	if (!i)
		return;
	chunks_close_in(i->chunks, i->in);
	aead_close(i->aead);
	content_key_unref(i->key);
	free(i->refs);
	free(i->ends);
	wipe(i->plain, sizeof(i->plain));
	free(i);
}

uint64_t
content_bytes(const struct content_in *i)
{
	return i->n ? i->ends[i->n - 1] : 0;
}

static int
name_chunk(const struct content_in *i, size_t c, struct err *e)
{
	char name[2 * CHUNK_NAME_BYTES + 1];

	hex_text(i->refs[c].name, CHUNK_NAME_BYTES, name);
	return err_add(e, "chunk %s", name);
}

static int
open_chunk(struct content_in *i, size_t c, struct err *e)
{
	struct chunk_name name;

	if (i->in && i->at == c)
		return 0;
	chunks_close_in(i->chunks, i->in);
	i->cached = NO_SEGMENT;
	memcpy(name.b, i->refs[c].name, sizeof(name.b));
	i->in = chunks_open(i->chunks, content_key_vault(i->key), &name, e);
	i->at = c;
	if (!i->in) {
		/* For whoever asks for the content it is damaged, not missing. */
		if (e && e->kind == ERR_MISSING)
			e->kind = ERR_FORGED;
		return -1;
	}
	if (chunks_bytes(i->chunks, i->in) != chunk_sealed_bytes(i->refs[c].bytes)) {
		chunks_close_in(i->chunks, i->in);
		i->in = NULL;
		return err_set(e, ERR_FORGED, "its length is not what its entry says");
	}
	return 0;
}

/* Segment NUMBER of the open chunk into PLAIN. */
static int
read_segment(struct content_in *i, uint32_t number, uint8_t *plain, struct err *e)
{
	uint64_t at = (uint64_t)number * CONTENT_SEGMENT;
	uint64_t left = i->refs[i->at].bytes - at;
	size_t n = left < CONTENT_SEGMENT ? (size_t)left : CONTENT_SEGMENT;
	struct segment s = {
		.vault = content_key_vault(i->key),
		.chunk = i->refs[i->at].name,
		.number = number,
		.is_last = n == left,
	};

	if (chunks_read(i->chunks, i->in, (uint64_t)number * SEGMENT_SEALED, i->sealed,
	        n + SEGMENT_OVERHEAD, e) < 0)
		return -1;
	return segment_open(i->aead, &s, i->sealed, n + SEGMENT_OVERHEAD, plain, e);
}

/* As much as one segment of the open chunk has from OFFSET (of the chunk) on; at most N bytes. */
static ssize_t
read_some(struct content_in *i, uint64_t offset, uint8_t *p, size_t n, struct err *e)
{
	uint32_t number = (uint32_t)(offset / CONTENT_SEGMENT);
	size_t skip = (size_t)(offset % CONTENT_SEGMENT);
	uint64_t left = i->refs[i->at].bytes - offset;
	size_t there = CONTENT_SEGMENT - skip < left ? CONTENT_SEGMENT - skip : (size_t)left;

	if (!skip && n >= there && i->cached != number)
		return read_segment(i, number, p, e) < 0 ? -1 : (ssize_t)there;
	if (i->cached != number) {
		i->cached = NO_SEGMENT;
		if (read_segment(i, number, i->plain, e) < 0)
			return -1;
		i->cached = number;
	}
	if (n > there)
		n = there;
	memcpy(p, i->plain + skip, n);
	return (ssize_t)n;
}

/* The chunk that OFFSET lies in, which is below the end of the last one. */
static size_t
find_chunk(const struct content_in *i, uint64_t offset)
{
	size_t low = 0, high = i->n - 1;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (offset < i->ends[middle])
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

ssize_t
content_read(struct content_in *i, uint64_t offset, void *p, size_t n, struct err *e)
{
	uint64_t end = content_bytes(i);
	size_t done = 0;

	while (done < n && offset < end) {
		size_t c = i->in && offset >= i->ends[i->at] - i->refs[i->at].bytes &&
		        offset < i->ends[i->at]
		    ? i->at
		    : find_chunk(i, offset);
		uint64_t start = i->ends[c] - i->refs[c].bytes;
		ssize_t r = -1;

		if (open_chunk(i, c, e) == 0)
			r = read_some(i, offset - start, (uint8_t *)p + done, n - done, e);
		if (r < 0)
			return name_chunk(i, c, e);
		done += (size_t)r;
		offset += (uint64_t)r;
	}
	return (ssize_t)done;
}
