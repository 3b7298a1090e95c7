/* refused.h - requests and connections that were refused for want of something, by what it is: one
 * family of metrics, whichever layer finds it out. Any thread.
 */
#pragma once
#include "base/err.h"

enum refused {
	REFUSED_DISK,
	REFUSED_MEMORY,
	REFUSED_FILES,        /* descriptors */
	REFUSED_CONNECTIONS,  /* all of them, or those of one address, are taken */
	REFUSED_WORKERS,      /* all are busy, and so many requests wait */
	REFUSED_QUOTA,        /* the account has as much as it may */
	REFUSED_BUCKETS,      /* or as many buckets */
	REFUSED_ACCOUNT_RATE, /* requests of one account, of one address: too many a second */
	REFUSED_ADDRESS_RATE,
	REFUSED_SLOW, /* a body stopped coming, or trickled */
	REFUSED_KINDS
};

/* Count one. */
void refused_count(enum refused why);
/* Count an answer that E is the reason of, if that is one of these. */
void refused_count_err(const struct err *e);
/* Count 0 of each, so that all are shown from the beginning. */
void refused_begin(void);
