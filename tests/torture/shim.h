/* shim.h - the page by which the monkey and the library below a node talk to each other.
 *
 * The library is loaded before all others (LD_PRELOAD) into a node and stands between it and the C
 * library: it makes writes and syncs of the node's store fail, sets its clock wrong, and notes
 * which bytes of which file have not been synced. It does nothing unless TORTURE_PAGE names a page.
 *
 * The page is a file that both map, so what the library has noted outlives a kill -9. disk.py has
 * the same layout; numbers are those of the machine.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_MAGIC 0x656b6e6fu
#define FILES_MAX  8192
#define PATH_BYTES 224

/* What the monkey wants. Times are of CLOCK_MONOTONIC. */
struct orders {
	_Atomic int64_t clock_ns;      /* added to the wall clock */
	_Atomic uint64_t errors_until; /* until then, ns, writes fail */
	_Atomic uint64_t full_until;   /* until then there is no space */
	_Atomic uint64_t slow_until;   /* until then each sync takes SLOW_US longer */
	_Atomic uint32_t slow_us;
	_Atomic uint32_t errors_one_in; /* every so many-th write fails */
	_Atomic uint32_t sync_errors;   /* so many syncs are still to fail */
	_Atomic uint32_t short_writes;  /* so many writes are still to be cut short */
	_Atomic uint32_t full_is_told;  /* while there is no space: 1 only statvfs says so */
	_Atomic uint32_t unused;
};

/* What came of it. */
struct counts {
	_Atomic uint64_t writes, syncs;
	_Atomic uint64_t failed_writes, full_writes, short_writes, failed_syncs, slow_syncs;
	_Atomic uint64_t untracked; /* files that found no slot */
	_Atomic uint64_t slots;     /* of `files` that were ever used */
};

enum { FILE_USED = 1, FILE_SCATTERED = 2, FILE_ENTRY_UNSYNCED = 4, FILE_IS_DIR = 8 };

/* A file or folder that a power cut could change. */
struct file {
	uint32_t flags;
	uint32_t hash; /* of the path */
	/* Bytes written and not synced. */
	uint64_t from, to;
	/* Bytes whose sync failed: the system has dropped them or not, and says no more of it. */
	uint64_t doubtful_from, doubtful_to;
	char path[PATH_BYTES];
};

struct page {
	uint32_t magic, files_max;
	struct orders orders;
	struct counts counts;
	struct file files[FILES_MAX];
};

/* The page, or NULL. */
extern struct page *shim_page;
/* The next function of this name below us. */
void *shim_next(const char *name, const char *version);
uint64_t shim_now_ns(void);
