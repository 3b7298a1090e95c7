/* move_account.h - an account to be moved, and what must hold of it and of the side that does not have it. */
#pragma once
#include "move_fixture.h"

#define MOVE_CHUNKED 100000

static uint8_t *move_content; /* MOVE_CHUNKED + 1 bytes, of main */

static inline struct files
files_at(struct side *s, const struct account_id *id)
{
	return (struct files){ .node = &s->node,
		.account = *id,
		.services = ALL_SERVICES | BIT(SERVICE_PROFILE),
		.may_block = true };
}

/* An account with something small, something in chunks, and something in another service. */
static inline struct account_id
new_account(struct pair *p)
{
	struct account_credentials c;
	struct files f;
	struct err e = { 0 };

	CHECK_OK(accounts_create(&p->sides[FROM].node, "CN", ALL_SERVICES, 1, &c, &e), &e);
	f = files_at(&p->sides[FROM], &c.account);
	CHECK_OK(files_bucket_create(&f, "photos", &e), &e);
	CHECK_OK(files_bucket_create(&f, "backup-phone", &e), &e);
	put(&f, "photos", "small", move_content, 100);
	put(&f, "photos", "large", move_content, MOVE_CHUNKED);
	put(&f, "backup-phone", "large", move_content + 1, MOVE_CHUNKED);
	CHECK_OK(flusher_wait(f.node->flusher, f.ticket, &e), &e);
	return c.account;
}

/* --- what must hold --- */

static inline enum home_state
state_at(struct side *s, const struct account_id *id, uint64_t *epoch)
{
	struct home h;
	struct err e = { 0 };
	int r = homes_get(s->node.homes, id, &h, &e);

	CHECK(r >= 0);
	*epoch = r ? h.epoch : 0;
	return r ? h.state : HOME_NONE;
}

static inline bool
has_no_record(struct side *s, enum region_kind k, const struct account_id *id)
{
	_cleanup_buf_ struct buf v = BUF_INIT(0);
	struct err e = { 0 };

	return region_get(s->node.engine, k, id->b, ACCOUNT_ID_BYTES, &v, &e) == 0;
}

static inline void
check_home(const struct fault_turn *t, struct side *s, const struct account_id *id)
{
	struct files f = files_at(s, id);

	CHECK_TURN(t, has(&f, "photos", "small", move_content, 100));
	CHECK_TURN(t, has(&f, "photos", "large", move_content, MOVE_CHUNKED));
	CHECK_TURN(t, has(&f, "backup-phone", "large", move_content + 1, MOVE_CHUNKED));
	fault_check_account(t, &f, &s->store);
	fault_goes_on(t, &f);
	CHECK_TURN(t, has_no_record(s, REGION_MOVE, id));
}

static inline void
check_nothing_left(const struct fault_turn *t, struct side *s, const struct account_id *id)
{
	struct err e = { 0 };

	CHECK_TURN(t, has_no_record(s, REGION_ERASE, id) && has_no_record(s, REGION_MOVE, id));
	for (enum service k = SERVICE_PROFILE; k < SERVICES; k++) {
		struct vault_id v = { *id, (uint8_t)k };

		CHECK_TURN_OK(t, transfer_is_gone(s->node.engine, s->node.chunks, &v, &e), &e);
	}
}

/* Exactly one home, and it is the directory's; whether that is the new one. */
static inline bool
check_account(const struct fault_turn *t, struct pair *p, const struct account_id *id)
{
	uint64_t epochs[2];
	enum home_state from = state_at(&p->sides[FROM], id, &epochs[FROM]);
	enum home_state to = state_at(&p->sides[TO], id, &epochs[TO]);
	struct placement row;
	struct err e = { 0 };
	bool moved;

	CHECK_TURN_OK(t, directory_find(p->directory, id, 1, &row, &e), &e);
	moved = strcmp(row.home, p->sides[TO].node.region) == 0;
	CHECK_TURN(t, row.epoch == (moved ? 2 : 1) && epochs[moved ? TO : FROM] == row.epoch);
	CHECK_TURN(t, from == (moved ? HOME_MOVED : HOME_HERE));
	CHECK_TURN(t, to == (moved ? HOME_HERE : HOME_NONE));
	check_home(t, &p->sides[moved ? TO : FROM], id);
	check_nothing_left(t, &p->sides[moved ? FROM : TO], id);
	return moved;
}

/* With no further fault it gets there at once. */
static inline void
move_on(const struct fault_turn *t, struct pair *p, const struct account_id *id)
{
	struct err e = { 0 };

	if (!pair_move(p, id, &e))
		fail_msg("%s: again: %s", fault_text(t), e.text);
	CHECK_TURN(t, pair_settles(p));
	CHECK_TURN(t, check_account(t, p, id));
}

static inline void
forget(struct side *s, const struct account_id *id)
{
	struct err e = { 0 };

	CHECK_OK(accounts_remove(&s->node, id, &e), &e);
}
