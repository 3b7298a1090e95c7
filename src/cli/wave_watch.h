/* wave_watch.h - showing how far a wave is. */
#pragma once
#include "cli/call.h"
#include "cli/progress.h"

/* STATUS as lines onto OUT, and as one line onto PLAIN; rates from P. */
void wave_text(json_t *status, const struct progress *p, struct buf *out, struct buf *plain);
/* Whether the wave goes on. */
bool wave_is_going_on(json_t *status);
/* Draw until it ends. 0: all moved; 1: not all. */
must_check
int wave_watch(struct caller *c, const char *id, bool as_json, struct err *e);
