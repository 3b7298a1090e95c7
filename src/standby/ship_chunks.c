/* ship_chunks.c - the chunks that a shipment refers to go before it. */
#include "standby/standby_internal.h"

#include "base/log.h"

#include <string.h>

#define CHUNK_KIND 'C' /* the kind byte of a chunk entry (DESIGN.md, 5) */

static bool
is_entry(const struct change *c)
{
	return c->op != CHANGE_DROP && c->id.service != SERVICE_REGION &&
	    c->key.len == 1 + CHUNK_NAME_BYTES && c->key.data[0] == CHUNK_KIND;
}

/* Whether anything before END of the shipment has dropped the vault of C, or deleted its entry: then the
 * standby removes a chunk of that name when it has carried the shipment out. */
static int
is_removed_before(struct standby *s, size_t end, const struct change *c)
{
	struct reader r = READER(s->shipment.data, end);
	struct change old;

	while (change_next(&r, &old, NULL) > 0) {
		if (memcmp(&old.id, &c->id, VAULT_ID_BYTES) != 0)
			continue;
		if (old.op == CHANGE_DROP)
			return true;
		if (old.op == CHANGE_DELETE && is_entry(&old) &&
		    memcmp(old.key.data, c->key.data, c->key.len) == 0)
			return true;
	}
	return false;
}

int
chunks_note(struct standby *s, size_t from, struct err *e)
{
	struct reader r = READER(s->shipment.data + from, s->shipment.len - from);
	size_t noted = s->chunks.len;
	struct change c;
	int rc;

	while ((rc = change_next(&r, &c, e)) > 0) {
		struct ship_chunk chunk = { .vault = c.id };

		if (c.op != CHANGE_PUT || !is_entry(&c))
			continue;
		if (from && is_removed_before(s, from, &c)) {
			s->chunks.len = noted;
			return 0;
		}
		memcpy(chunk.name.b, c.key.data + 1, CHUNK_NAME_BYTES);
		buf_add(&s->chunks, &chunk, sizeof(chunk));
	}
	return rc < 0 || buf_check(&s->chunks, e) < 0 ? -1 : 1;
}

static int
unreadable(const struct ship_chunk *c, struct err *e)
{
	char account[ACCOUNT_TEXT_SIZE];

	account_text(&c->vault.account, account);
	return err_add(e, "content of account %s", account);
}

/* Size and first bytes. 1; 0: it is gone by now, and so is the entry that names it, a little later. */
static int
look_at(struct standby *s, struct ship_chunk *c, struct err *e)
{
	struct err why;
	struct chunk_in *in = chunks_open(s->c.chunks, &c->vault, &c->name, &why);
	int rc = 1;

	if (!in && why.kind != ERR_MISSING) {
		*e = why;
		return -1;
	}
	if (!in)
		return 0;
	c->bytes = chunks_bytes(s->c.chunks, in);
	if (c->bytes < CHUNK_HEAD_BYTES)
		rc = err_set(e, ERR_FORGED, "a chunk is shorter than it should be");
	else if (chunks_read(s->c.chunks, in, 0, c->head, CHUNK_HEAD_BYTES, e) < 0)
		rc = -1;
	chunks_close_in(s->c.chunks, in);
	return rc;
}

static int
send_one(struct standby *s, const struct ship_chunk *c, struct err *e)
{
	_cleanup_(freep) uint8_t *piece = malloc(SHIP_PIECE);
	struct chunk_in *in;
	int rc;

	if (!piece)
		return err_set(e, ERR_MEMORY, "no memory to ship a chunk");
	in = chunks_open(s->c.chunks, &c->vault, &c->name, e);
	if (!in)
		return e->kind == ERR_MISSING ? 0 : unreadable(c, e);
	buf_clear(&s->out);
	ship_chunk_add(&s->out, c, false);
	rc = stream_send(s->stream, SHIP_CHUNK, s->out.data, s->out.len, e);
	for (uint64_t at = 0; rc == 0 && at < c->bytes;) {
		size_t n = c->bytes - at < SHIP_PIECE ? (size_t)(c->bytes - at) : SHIP_PIECE;

		rc = chunks_read(s->c.chunks, in, at, piece, n, e);
		if (rc < 0)
			rc = unreadable(c, e);
		else
			rc = stream_send(s->stream, SHIP_DATA, piece, n, e);
		at += n;
	}
	chunks_close_in(s->c.chunks, in);
	return rc < 0 ? -1 : 1;
}

/* At most HAVE_MAX of them. */
static int
ship_some(struct standby *s, struct ship_chunk *c, size_t n, struct err *e)
{
	_cleanup_buf_ struct buf needs = BUF_INIT(HAVE_MAX);
	struct span answer;
	int rc;

	buf_clear(&s->out);
	for (size_t i = 0; i < n; i++)
		ship_chunk_add(&s->out, &c[i], true);
	if (ship_ask(s, SHIP_HAVE, SHIP_NEED, &answer, e) < 0)
		return -1;
	if (answer.len != n)
		return err_set(e, ERR_PEER, "the standby's answer about chunks does not fit");
	buf_add(&needs, answer.data, answer.len);
	if (buf_check(&needs, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		rc = needs.data[i] ? send_one(s, &c[i], e) : 1;
		if (rc < 0)
			return -1;
		if (rc == 0)
			s->whole_at = 1;
	}
	return 0;
}

int
chunks_ship(struct standby *s, struct err *e)
{
	struct ship_chunk *c = (void *)s->chunks.data;
	size_t n = s->chunks.len / sizeof(*c), there = 0;
	struct tail_state tail;

	s->whole_at = 0;
	for (size_t i = 0; i < n; i++) {
		int rc = look_at(s, &c[i], e);

		if (rc < 0)
			return unreadable(&c[i], e);
		if (rc)
			c[there++] = c[i];
		else
			s->whole_at = 1;
	}
	for (size_t i = 0; i < there; i += HAVE_MAX)
		if (ship_some(s, c + i, there - i < HAVE_MAX ? there - i : HAVE_MAX, e) < 0)
			return -1;
	s->chunks.len = 0;
	if (!s->whole_at)
		return 0;
	/* Whatever has removed it has happened by now. */
	if (engine_tail(s->c.engine)->state(s->c.engine, &tail, e) < 0)
		return -1;
	s->whole_at = tail.last + 1;
	return 0;
}
