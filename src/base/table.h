/* table.h - uthash, but that running out of memory does not end the process: an element that HASH_ADD
 * could not take has a NULL hh.tbl and is not in the table. And chains are kept shorter than the ten
 * elements that uthash allows: each that is passed by lies somewhere else in memory.
 */
#pragma once
#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#undef HASH_BKT_CAPACITY_THRESH
#define HASH_BKT_CAPACITY_THRESH 4U
