/* expire.h - what is due under the lifecycle rules of one vault goes, a piece at a time.
 *
 * A step looks at one bucket and a thousand rows at most, within one transaction that reads the rules,
 * finds what is due and removes it: a rule that was taken back removes nothing any more, and what was
 * written a moment ago is judged as it is. What is locked stays. Where it is lives in memory: who
 * begins anew finds the rest.
 */
#pragma once
#include "service/files.h"

enum expired {
	EXPIRED_CURRENT,    /* objects: gone, or in a bucket with versions behind a delete marker */
	EXPIRED_NONCURRENT, /* versions */
	EXPIRED_MARKER,     /* delete markers that were all there was of a key */
	EXPIRED_UPLOAD,     /* that nobody completed */
	EXPIRED_KINDS
};

enum expire_stage { STAGE_CURRENT, STAGE_ASIDE, STAGE_UPLOADS, STAGES };

struct expire {
	enum service service;
	uint64_t day_ms;
	uint64_t removed[EXPIRED_KINDS]; /* out: so far */
	uint64_t rows;                   /* out: looked at so far */
	/* Where it is; zeros at the beginning. */
	char bucket[FILES_BUCKET_MAX + 1];
	bool is_past; /* that bucket is done */
	enum expire_stage stage;
	bool has_key; /* everything up to the place below is done */
	size_t key_len;
	uint8_t key[FILES_KEY_MAX + 1];
	int64_t seq;
	uint8_t upload[16];
};

/* 1: there is more; 0: that was all; -1: begin anew, later. Within ENTER_WRITE. */
must_check
int expire_step(struct expire *x, struct files *f, struct err *e);
