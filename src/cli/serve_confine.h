/* serve_confine.h - a node's user, and the files that its region.conf names. */
#pragma once
#include "cli/region_conf.h"

/* Before any thread starts. ERR_BAD, ERR_DENIED: see confine.h. */
must_check
int serve_confine(const char *config, const struct region_conf *c, struct err *e);
