#include "move/record.h"

#include <assert.h>
#include <string.h>

#include "base/cleanup.h"
#include "ledger/sealing.h"

#define RECORD_FORMAT 1

static const struct {
	const char *name;
	unsigned next;
} states[MOVE_STATES] = {
	[MOVE_COPYING] = { "copying", BIT(MOVE_FENCED) | BIT(MOVE_GIVEN_UP) },
	[MOVE_FENCED] = { "fenced", BIT(MOVE_MOVED) | BIT(MOVE_GIVEN_UP) },
	[MOVE_MOVED] = { "moved", BIT(MOVE_ERASED) },
	[MOVE_ERASED] = { "erased", 0 },
	[MOVE_ARRIVING] = { "arriving", BIT(MOVE_PREPARED) | BIT(MOVE_GIVEN_UP) },
	[MOVE_PREPARED] = { "prepared", BIT(MOVE_SETTLED) | BIT(MOVE_GIVEN_UP) },
	[MOVE_SETTLED] = { "settled", 0 },
	[MOVE_GIVEN_UP] = { "given-up", 0 },
};

const char *
move_state_name(enum move_state s)
{
	return s < MOVE_STATES ? states[s].name : "unknown";
}

bool
move_may_follow(enum move_state from, enum move_state to)
{
	return from < MOVE_STATES && (states[from].next & BIT(to));
}

void
move_advance(enum move_state *state, enum move_state to)
{
	assert(move_may_follow(*state, to));
	*state = to;
}

void
move_record_put(struct buf *b, const struct move_record *m)
{
	put_u8(b, RECORD_FORMAT);
	put_u8(b, (uint8_t)m->state);
	buf_add(b, m->account.b, ACCOUNT_ID_BYTES);
	put_u64(b, m->epoch);
	put_u64(b, m->attempt);
	put_str(b, m->peer);
	put_str(b, m->wave);
	put_u64(b, m->since_ms);
	put_u64(b, m->lease_ms);
	put_str(b, m->statement);
	sealing_put(b, &m->sent);
	sealing_put(b, &m->received);
}

int
move_record_read(struct span stored, struct move_record *out, struct err *e)
{
	struct reader r = READER(stored.data, stored.len);
	struct move_record m = { 0 };

	if (read_u8(&r) != RECORD_FORMAT)
		return err_set(e, ERR_FORGED, "a move record has an unknown format");
	m.state = read_u8(&r);
	read_copy(&r, m.account.b, ACCOUNT_ID_BYTES);
	m.epoch = read_u64(&r);
	m.attempt = read_u64(&r);
	read_str(&r, m.peer, sizeof m.peer);
	read_str(&r, m.wave, sizeof m.wave);
	m.since_ms = read_u64(&r);
	m.lease_ms = read_u64(&r);
	read_str(&r, m.statement, sizeof m.statement);
	sealing_read(&r, &m.sent);
	sealing_read(&r, &m.received);
	if (read_check(&r, "a move record", e) < 0 || m.state >= MOVE_STATES)
		return err_set(e, ERR_FORGED, "a move record is damaged");
	*out = m;
	return 0;
}

void
erase_record_put(struct buf *b, const struct erase_record *r)
{
	put_u8(b, RECORD_FORMAT);
	put_u8(b, r->was_home);
	put_u8(b, r->has_proof);
	buf_add(b, r->account.b, ACCOUNT_ID_BYTES);
	put_u64(b, r->epoch);
	put_u32(b, r->services);
	put_str(b, r->peer);
	put_str(b, r->wave);
	put_u64(b, r->records);
	put_u64(b, r->chunks);
	put_u64(b, r->since_ms);
}

int
erase_record_read(struct span stored, struct erase_record *out, struct err *e)
{
	struct reader r = READER(stored.data, stored.len);
	struct erase_record x = { 0 };

	if (read_u8(&r) != RECORD_FORMAT)
		return err_set(e, ERR_FORGED, "an erasure record has an unknown format");
	x.was_home = read_u8(&r);
	x.has_proof = read_u8(&r);
	read_copy(&r, x.account.b, ACCOUNT_ID_BYTES);
	x.epoch = read_u64(&r);
	x.services = read_u32(&r);
	read_str(&r, x.peer, sizeof x.peer);
	read_str(&r, x.wave, sizeof x.wave);
	x.records = read_u64(&r);
	x.chunks = read_u64(&r);
	x.since_ms = read_u64(&r);
	if (read_check(&r, "an erasure record", e) < 0)
		return err_set(e, ERR_FORGED, "an erasure record is damaged");
	*out = x;
	return 0;
}

void
proof_key(const struct account_id *id, uint64_t epoch, uint8_t out[static PROOF_KEY_BYTES])
{
	memcpy(out, id->b, ACCOUNT_ID_BYTES);
	be64_put(out + ACCOUNT_ID_BYTES, epoch);
}
