/* What the scrub asks of moves: whether their records can be read, and to erase what was left behind of
 * accounts that live elsewhere; and of accounts that were removed. */
#include <string.h>

#include "base/host.h"
#include "move/internal.h"
#include "vault/homes.h"

int
mover_check_record(uint8_t kind, struct span key, struct span value, struct err *e)
{
	size_t want = kind == REGION_PROOF ? PROOF_KEY_BYTES : ACCOUNT_ID_BYTES;
	struct erase_record erase;
	struct move_record move;
	struct proof proof;

	if (key.len != want)
		return err_set(e, ERR_FORGED, "a record with a key of %zu bytes", key.len);
	switch (kind) {
	case REGION_MOVE:
		return move_record_read(value, &move, e);
	case REGION_ERASE:
		return erase_record_read(value, &erase, e);
	case REGION_PROOF:
		return proof_read(value, &proof, e);
	default:
		return 0;
	}
}

/* The claim keeps arrivals of the account away until the record does (may_arrive in target.c). */
static int
record_erasure(struct mover *m, const struct erase_record *x, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	_cleanup_buf_ struct buf v = BUF_INIT(4096);
	struct home h;
	int r = b ? homes_get(m->node->homes, &x->account, &h, e) : -1;

	if (r < 0)
		return -1;
	if (r == 1 && h.state != HOME_MOVED)
		return err_set(e, ERR_BUSY, "the account is %s here", home_state_name(h.state));
	r = eraser_has(m, &x->account, e);
	if (r != 0)
		return r < 0 ? -1 : err_set(e, ERR_BUSY, "it is being erased already");
	erase_record_put(&v, x);
	if (buf_check(&v, e) < 0)
		return -1;
	region_put(b, REGION_ERASE, x->account.b, ACCOUNT_ID_BYTES, v.data, v.len);
	return region_apply(m->node->engine, m->node->flusher, b, e);
}

int
mover_erase_leftover(struct node *n, const struct account_id *id, unsigned services, struct err *e)
{
	struct erase_record x = {
		.account = *id, .services = services, .since_ms = host_wall_ms()
	};
	struct mover *m = n->mover;
	int r;

	if (!claim_take(m, id, NULL))
		return err_set(e, ERR_BUSY, "a move of the account is under way here");
	r = record_erasure(m, &x, e);
	if (r == 0)
		eraser_add(m, &x);
	claim_drop(m, id);
	return r;
}

/* Whatever it ever had; a service that it withdrew from may have left something in the files, too. */
static struct erase_record
erasure_of_removed(const struct home *h)
{
	return (struct erase_record){ .account = h->account,
		.epoch = h->epoch,
		.services = (BIT(SERVICES) - 1) & ~BIT(SERVICE_REGION),
		.since_ms = host_wall_ms() };
}

int
mover_removed(
    struct node *n, const struct home *h, size_t count, struct region_batch *b, struct err *e)
{
	_cleanup_buf_ struct buf v = BUF_INIT(4096);
	struct erase_record x;
	int r;

	for (size_t i = 0; i < count; i++) {
		x = erasure_of_removed(&h[i]);
		buf_clear(&v);
		erase_record_put(&v, &x);
		region_put_buf(b, REGION_ERASE, x.account.b, ACCOUNT_ID_BYTES, &v);
	}
	r = homes_set(n->homes, h, count, b, e);
	step("remove.recorded");
	/* What has failed may be durable all the same. Before the mover starts the record is enough for it. */
	for (size_t i = 0; i < count && n->mover; i++) {
		x = erasure_of_removed(&h[i]);
		eraser_add(n->mover, &x);
	}
	return r;
}
