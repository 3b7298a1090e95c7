/* wave_watch.h - showing how far a wave is. */
#pragma once
#include "cli/call.h"
#include "cli/progress.h"

struct wave_view {
	struct progress progress;
	double
	    moving_s; /* the wave's, when the last account that could move had; 0: some still do */
};

/* Take STATUS into the rates. While nothing moves they stay, and so does STATUS's "moving_s". */
void wave_measure(struct wave_view *v, json_t *status);
/* STATUS as lines onto OUT, and as one line onto PLAIN; rates from P. */
void wave_text(json_t *status, const struct progress *p, struct buf *out, struct buf *plain);
/* Whether the wave goes on. */
bool wave_is_going_on(json_t *status);
/* Draw until it ends. 0: all moved; 1: not all. */
must_check
int wave_watch(struct caller *c, const char *id, bool as_json, struct err *e);
