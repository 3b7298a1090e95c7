/* Claims: an account is in one unit at a time, sent or received, and in none while the resolver has it. */
#include <string.h>

#include "base/table.h"
#include "move/internal.h"

struct moving {
	struct account_id account;
	struct stream *stream; /* the unit's that it arrives in, or NULL */
	UT_hash_handle hh;
};

bool
claim_take(struct mover *m, const struct account_id *id, struct stream *s)
{
	struct moving *x = NULL, *new = calloc(1, sizeof *new);
	bool is_taken;

	if (!new)
		return false;
	new->account = *id;
	new->stream = s;
	pthread_mutex_lock(&m->lock);
	HASH_FIND(hh, m->moving, id, sizeof *id, x);
	if (x && x->stream && s && strcmp(stream_peer(x->stream), stream_peer(s)) == 0)
		stream_abort(x->stream);
	if (!x)
		HASH_ADD(hh, m->moving, account, sizeof *id, new);
	is_taken = !x && new->hh.tbl;
	pthread_mutex_unlock(&m->lock);
	if (!is_taken)
		free(new);
	return is_taken;
}

void
claim_drop(struct mover *m, const struct account_id *id)
{
	struct moving *x;

	pthread_mutex_lock(&m->lock);
	HASH_FIND(hh, m->moving, id, sizeof *id, x);
	if (x)
		HASH_DEL(m->moving, x);
	pthread_mutex_unlock(&m->lock);
	free(x);
}
