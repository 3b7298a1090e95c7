/* changes.h - what applies and drops did to an engine, as bytes: how it travels to a standby.
 *
 * One after the other: 'P' vault (17), length (1) and key, length (4) and value: a put;
 * 'D' vault, length (1) and key: a delete; 'X' vault: the whole vault was dropped.
 * Values are what the engine has: sealed.
 */
#pragma once
#include "engine/engine.h"

enum change_op { CHANGE_PUT = 'P', CHANGE_DELETE = 'D', CHANGE_DROP = 'X' };

struct change {
	enum change_op op;
	struct vault_id id;
	struct span key;   /* put and delete */
	struct span value; /* put */
};

/* Append it. */
void change_add(struct buf *out, const struct change *c);
/* The next change of R. Its spans point into what R reads. 1: there is one; 0: the end; ERR_BAD. */
must_check
int change_next(struct reader *r, struct change *out, struct err *e);
