/* table.h - uthash, but that running out of memory does not end the process: an element that HASH_ADD
 * could not take has a NULL hh.tbl and is not in the table.
 */
#pragma once
#define HASH_NONFATAL_OOM 1
#include <uthash.h>
