/* serve_node.h - a whole node: opened, reloaded and closed in the right order. */
#pragma once
#include "base/err.h"

struct serving;

/* Everything up to the listeners; confines the process (confine.h) before the first thread. When it
 * returns, requests are answered. ERR_BAD: configuration; ERR_DENIED: keys that others can read;
 * ERR_BUSY: another process has the store. */
must_check
struct serving *serving_open(const char *config, struct err *e);
/* Requests that are inside may end, then all is closed. NULL is fine. */
void serving_close(struct serving *s);
/* Read the regions file and the log level again. On error everything stays as it was. */
must_check
int serving_reload(struct serving *s, struct err *e);
/* What could not be done because another node was away, if there is something. To be called now and then. */
void serving_retry(struct serving *s);
