/* fs.h - whole files, written so that a power cut leaves the old or the new one. */
#pragma once
#include "base/buf.h"

/* Read PATH of at most MAX bytes onto OUT. ERR_MISSING, ERR_TOO_BIG, ERR_IO. */
must_check
int fs_read(const char *path, size_t max, struct buf *out, struct err *e);
/* Write aside, sync, rename, sync the directory. MODE such as 0600. */
must_check
int fs_write(const char *path, const void *p, size_t n, unsigned mode, struct err *e);
must_check
int fs_mkdir(const char *path, unsigned mode, struct err *e); /* parents too; may exist */
must_check
int fs_sync_dir(const char *path, struct err *e);
/* How many descriptors this process may have open. */
uint64_t fs_files_max(void);
/* All N bytes to FD, through short writes and EINTR. */
must_check
int fs_write_all(int fd, const void *p, size_t n, struct err *e);
