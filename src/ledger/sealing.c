#include "ledger/sealing.h"

#include <string.h>

void
sealing_put(struct buf *b, const struct sealing *s)
{
	put_u8(b, s->is_there);
	if (!s->is_there)
		return;
	note_put(b, &s->note);
	put_u64(b, s->proof.index);
	put_u64(b, s->proof.size);
	put_span(b, s->proof.path, s->proof.n * sizeof s->proof.path[0]);
}

void
sealing_read(struct reader *r, struct sealing *out)
{
	struct span path;

	*out = (struct sealing){ .is_there = read_u8(r) == 1 };
	if (!out->is_there)
		return;
	note_read(r, &out->note);
	out->proof.index = read_u64(r);
	out->proof.size = read_u64(r);
	path = read_span(r, sizeof out->proof.path);
	out->proof.n = (unsigned)(path.len / sizeof out->proof.path[0]);
	if (path.len % sizeof out->proof.path[0])
		r->failed = true;
	else if (path.len)
		memcpy(out->proof.path, path.data, path.len);
}
