/* vfs.c - see vfs.h. A file's name is the address of its store: nobody but us chooses names. */
#include "sealed/vfs.h"
#include "sealed/store_internal.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

struct sealed_file {
	sqlite3_file base;
	struct sealed *s;
};

static struct sealed *
store_of(sqlite3_file *f)
{
	return ((struct sealed_file *)f)->s;
}

/* Where an error is kept. What broke the store stays: what follows only says that it is broken. */
static struct err *
error_of(struct sealed *s)
{
	return s->is_broken && s->last.kind != ERR_NONE ? NULL : &s->last;
}

/* SQLite's number for what is kept in the store, or FALLBACK. */
static int
failed(const struct sealed *s, int fallback)
{
	switch (s->last.kind) {
	case ERR_MEMORY:
		return SQLITE_IOERR_NOMEM;
	case ERR_FULL:
		return SQLITE_FULL;
	case ERR_FORGED:
		return SQLITE_IOERR_DATA;
	default:
		return fallback;
	}
}

/* --- the file ----------------------------------------------------------------------------- */

static int
file_close(sqlite3_file *f)
{
	(void)f;
	return SQLITE_OK;
}

static int
file_read(sqlite3_file *f, void *out, int n, sqlite3_int64 offset)
{
	struct sealed *s = store_of(f);
	uint8_t page[PAGE_BYTES], *to = out;
	int64_t size = (int64_t)sealed_pending_page_count(s) * PAGE_BYTES;
	int64_t at = offset, end = offset + n;

	while (at < end) {
		uint32_t within = (uint32_t)(at % PAGE_BYTES);
		uint32_t part = PAGE_BYTES - within;
		bool is_whole = !within && end - at >= PAGE_BYTES;

		if (end - at < part)
			part = (uint32_t)(end - at);
		if (sealed_read_pending(
		        s, (uint32_t)(at / PAGE_BYTES) + 1, is_whole ? to : page, error_of(s)) < 0)
			return failed(s, SQLITE_IOERR_READ);
		if (!is_whole)
			memcpy(to, page + within, part);
		to += part;
		at += part;
	}
	/* What is past the end came as zeros, as SQLite wants it. */
	return end > size ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

static int
file_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 offset)
{
	struct sealed *s = store_of(f);

	if (n != PAGE_BYTES || offset % PAGE_BYTES || offset / PAGE_BYTES >= UINT32_MAX) {
		err_set(error_of(s), ERR_INTERNAL, "a write of %d bytes at %lld is not a page", n,
		    (long long)offset);
		return SQLITE_IOERR_WRITE;
	}
	if (sealed_put_page(s, (uint32_t)(offset / PAGE_BYTES) + 1, p, error_of(s)) == 0)
		return SQLITE_OK;
	/* SQLite rolls back by writing what was there and a sync, which must not commit the chunks that
	 * came and went with the pages that do not come. */
	s->is_broken = true;
	return failed(s, SQLITE_IOERR_WRITE);
}

static int
file_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	sealed_put_page_count(store_of(f), (uint32_t)((size + PAGE_BYTES - 1) / PAGE_BYTES));
	return SQLITE_OK;
}

static int
file_sync(sqlite3_file *f, int flags)
{
	struct sealed *s = store_of(f);

	(void)flags;
	return sealed_commit(s, error_of(s)) < 0 ? failed(s, SQLITE_IOERR_FSYNC) : SQLITE_OK;
}

static int
file_size(sqlite3_file *f, sqlite3_int64 *out)
{
	*out = (sqlite3_int64)sealed_pending_page_count(store_of(f)) * PAGE_BYTES;
	return SQLITE_OK;
}

/* The store has one owner, and that one connection. */
static int
file_lock(sqlite3_file *f, int level)
{
	(void)f, (void)level;
	return SQLITE_OK;
}

static int
file_check_reserved_lock(sqlite3_file *f, int *out)
{
	(void)f;
	*out = 0;
	return SQLITE_OK;
}

static int
file_control(sqlite3_file *f, int op, void *arg)
{
	(void)f, (void)op, (void)arg;
	return SQLITE_NOTFOUND;
}

static int
file_sector_size(sqlite3_file *f)
{
	(void)f;
	return PAGE_BYTES;
}

static int
file_characteristics(sqlite3_file *f)
{
	(void)f;
	return SQLITE_IOCAP_ATOMIC4K | SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_SAFE_APPEND;
}

static const sqlite3_io_methods methods = {
	.iVersion = 1,
	.xClose = file_close,
	.xRead = file_read,
	.xWrite = file_write,
	.xTruncate = file_truncate,
	.xSync = file_sync,
	.xFileSize = file_size,
	.xLock = file_lock,
	.xUnlock = file_lock,
	.xCheckReservedLock = file_check_reserved_lock,
	.xFileControl = file_control,
	.xSectorSize = file_sector_size,
	.xDeviceCharacteristics = file_characteristics,
};

/* --- the file system ---------------------------------------------------------------------- */

#define NAME_FORMAT "/sealed-%" PRIxPTR

static sqlite3_vfs *
system_vfs(sqlite3_vfs *v)
{
	return v->pAppData;
}

static int
vfs_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out_flags)
{
	struct sealed_file *file = (struct sealed_file *)f;
	uintptr_t address;

	(void)v;
	*file = (struct sealed_file){ 0 }; /* no methods: xClose is not called */
	if (!(flags & SQLITE_OPEN_MAIN_DB) || !name || sscanf(name, NAME_FORMAT, &address) != 1)
		return SQLITE_CANTOPEN;
	file->s = (struct sealed *)address;
	file->base.pMethods = &methods;
	if (out_flags)
		*out_flags = flags;
	return SQLITE_OK;
}

static int
vfs_delete(sqlite3_vfs *v, const char *name, int sync_dir)
{
	(void)v, (void)name, (void)sync_dir;
	return SQLITE_IOERR_DELETE_NOENT;
}

static int
vfs_access(sqlite3_vfs *v, const char *name, int flags, int *out)
{
	(void)v, (void)name, (void)flags;
	*out = 0; /* there is never a journal */
	return SQLITE_OK;
}

static int
vfs_full_pathname(sqlite3_vfs *v, const char *name, int n, char *out)
{
	(void)v;
	return snprintf(out, (size_t)n, "%s", name) < n ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int
vfs_randomness(sqlite3_vfs *v, int n, char *out)
{
	return system_vfs(v)->xRandomness(system_vfs(v), n, out);
}

static int
vfs_sleep(sqlite3_vfs *v, int microseconds)
{
	return system_vfs(v)->xSleep(system_vfs(v), microseconds);
}

static int
vfs_current_time(sqlite3_vfs *v, double *out)
{
	return system_vfs(v)->xCurrentTime(system_vfs(v), out);
}

static int
vfs_last_error(sqlite3_vfs *v, int n, char *out)
{
	return system_vfs(v)->xGetLastError(system_vfs(v), n, out);
}

static sqlite3_vfs vfs = {
	.iVersion = 1,
	.szOsFile = sizeof(struct sealed_file),
	.mxPathname = 64,
	.zName = SEALED_VFS,
	.xOpen = vfs_open,
	.xDelete = vfs_delete,
	.xAccess = vfs_access,
	.xFullPathname = vfs_full_pathname,
	.xRandomness = vfs_randomness,
	.xSleep = vfs_sleep,
	.xCurrentTime = vfs_current_time,
	.xGetLastError = vfs_last_error,
};

int
sealed_vfs_register(struct err *e)
{
	int rc = sqlite3_initialize();

	vfs.pAppData = sqlite3_vfs_find("unix");
	if (rc == SQLITE_OK && vfs.pAppData)
		rc = sqlite3_vfs_register(&vfs, 0);
	if (rc != SQLITE_OK || !vfs.pAppData)
		return err_set(e, ERR_INTERNAL, "SQLite: %s", sqlite3_errstr(rc));
	return 0;
}

void
sealed_vfs_name(const struct sealed *s, char out[static 32])
{
	snprintf(out, 32, NAME_FORMAT, (uintptr_t)s);
}

const struct err *
sealed_vfs_error(const struct sealed *s)
{
	return &s->last;
}
