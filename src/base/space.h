/* space.h - how much room a file system has, and whether that is too little. Any thread, no lock.
 *
 * Some bytes are kept back: deleting needs room to make more. Below them it is low, and stays so
 * until there is an eighth more, so that it does not come and go with every file. Both are logged
 * once.
 */
#pragma once
#include <stdatomic.h>
#include "base/err.h"

struct space {
	const char *path; /* borrowed: anything on the file system */
	const char *what; /* what is kept there, for the log; a constant */
	uint64_t keep_bytes;
	_Atomic uint64_t looked_ms, free_bytes;
	_Atomic bool is_low;
};

/* Nothing is looked at yet, so nothing can fail. PATH and WHAT are borrowed. */
void space_init(struct space *s, const char *path, const char *what, uint64_t keep_bytes);
/* What the file system has left, as it was some milliseconds ago; UINT64_MAX if it does not say. */
uint64_t space_free(struct space *s);
/* Don't rely on what was seen last: something was made or removed. */
void space_look_again(struct space *s);
/* How much of it may be used without touching what is kept back; 0 while it is low. */
uint64_t space_room(struct space *s);
