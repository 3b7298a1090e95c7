/* marker.h - the file STORE/standby: that a store is a standby's, whom it follows, and that it is being
 * promoted. A store without it is a region's own.
 */
#pragma once
#include "directory/directory.h"

struct marker {
	/* The node that it follows; term 0: none yet. Its lease is the longest that it ever had. */
	struct region_term follows;
	/* Being promoted: from before the directory is asked to the end, it follows nobody any more. */
	bool is_promoting;
	uint8_t holder[TERM_HOLDER_BYTES]; /* of the term that it asks for */
};

/* 1; 0: there is none; -1. REGION is the region's name. */
must_check
int marker_read(const char *store, const char *region, struct marker *out, struct err *e);
/* Durable when it returns. */
must_check
int marker_write(const char *store, const struct marker *m, struct err *e);
must_check
int marker_remove(const char *store, struct err *e);
