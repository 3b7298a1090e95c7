/* vfs.h - a sqlite3_vfs whose one file is a sealed store, so that no plaintext page reaches a disk.
 *
 * xSync is the commit: it writes one redo entry. Journals and temporary files are refused: the
 * connection must have journal_mode=MEMORY, locking_mode=EXCLUSIVE, temp_store=MEMORY and
 * cache_spill=OFF before its first write, so that nothing is written that is not committed.
 */
#pragma once
#include "sealed/store.h"

#define SEALED_VFS "domicile"

/* Register the VFS, once a process; the calls of SQLite reach the store that sealed_vfs_name names. */
must_check
int sealed_vfs_register(struct err *e);
/* The file name under which S is opened: pass it with SEALED_VFS to sqlite3_open_v2. S must outlive
 * the connection. */
void sealed_vfs_name(const struct sealed *s, char out[static 32]);
/* Why the last call on this store failed: SQLite itself only keeps a number. */
const struct err *sealed_vfs_error(const struct sealed *s);
