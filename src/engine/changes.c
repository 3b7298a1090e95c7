/* changes.c - see changes.h. */
#include "engine/changes.h"

#include <string.h>

void
change_add(struct buf *out, const struct change *c)
{
	put_u8(out, (uint8_t)c->op);
	buf_add(out, &c->id, VAULT_ID_BYTES);
	if (c->op == CHANGE_DROP)
		return;
	put_u8(out, (uint8_t)c->key.len);
	buf_add(out, c->key.data, c->key.len);
	if (c->op == CHANGE_PUT)
		put_span(out, c->value.data, c->value.len);
}

int
change_next(struct reader *r, struct change *out, struct err *e)
{
	uint8_t op;

	if (!r->left && !r->failed)
		return 0;
	*out = (struct change){ 0 };
	op = read_u8(r);
	read_copy(r, &out->id, VAULT_ID_BYTES);
	if (op != CHANGE_DROP) {
		out->key.len = read_u8(r);
		out->key.data = read_bytes(r, out->key.len);
	}
	if (op == CHANGE_PUT)
		out->value = read_span(r, ENGINE_VALUE_MAX);
	if (r->failed || (op != CHANGE_PUT && op != CHANGE_DELETE && op != CHANGE_DROP) ||
	    (op != CHANGE_DROP && (out->key.len < 1 || out->key.len > ENGINE_KEY_MAX)))
		return err_set(e, ERR_BAD, "a malformed change of the store");
	out->op = op;
	return 1;
}
