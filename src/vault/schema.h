/* schema.h - the tables of each service's vault. */
#pragma once
#include "base/id.h"

/* Of the tables below, in every vault (PRAGMA user_version). A vault with another one is refused; so is
 * one that came from another region with other words in its tables, so each change of these is a
 * version. */
#define SCHEMA_VERSION    2
/* Where it is in the first page (SQLite's file format, 1.3). */
#define SCHEMA_VERSION_AT 60

/* The SQL that makes an empty vault of SERVICE, or NULL for a service that has none. */
const char *schema_sql(enum service s);
