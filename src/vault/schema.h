/* schema.h - the tables of each service's vault. */
#pragma once
#include "base/id.h"

/* The SQL that makes an empty vault of SERVICE, or NULL for a service that has none. */
const char *schema_sql(enum service s);
