/* backup_internal.h - the folder of a backup, as its writer (backup.c) and reader (backup_read.c) see it. */
#pragma once
#include <limits.h>

#include "service/backup.h"

#define BACKUP_PATH    (PATH_MAX + 160)
#define BACKUP_MARK    "domicile-backup"
#define BACKUP_GROUPS  256
#define RUN_MAX        ((size_t)16 << 20)
#define LIST_MAX       ((size_t)256 << 20)
#define MANIFEST_MAX   ((size_t)256 << 20)
#define GENERATION_MAX 999999
#define CHUNK_HEAD     12 /* a chunk's first bytes are a random nonce */

void backup_object_path(
    const char *folder, const uint8_t digest[static SHA256_BYTES], char out[static BACKUP_PATH]);
/* A chunk that has been away comes back under its name and another key: the second of a name has its
 * digest there. */
void backup_chunk_path(
    const char *folder, const struct chunk_entry *c, char out[static BACKUP_PATH]);
/* For C, which begins with HEAD and is in no list: beside another sealing of it, in place of what a broken-off
 * backup left. */
void backup_chunk_new_path(const char *folder, const struct chunk_entry *c,
    const uint8_t head[static CHUNK_HEAD], char out[static BACKUP_PATH]);
void backup_manifest_path(const char *folder, uint32_t generation, char out[static BACKUP_PATH]);
/* An object, whose digest holds, in place of what OUT had. ERR_MISSING, ERR_FORGED. */
must_check
int backup_read_object(
    const char *folder, const struct backup_object *o, size_t max, struct buf *out, struct err *e);

/* --- backup_folder.c --- */

/* FOLDER is ours, of REGION, or is empty and becomes it. ERR_EXISTS, ERR_BAD. */
must_check
int backup_folder_take(const char *folder, const char *region, struct err *e);
/* The folders in it. */
must_check
int backup_folder_fill(const char *folder, struct err *e);

/* --- backup_prune.c --- */

/* Keep the newest KEEP manifests, the newest complete one if it is not among them, and what they need;
 * remove all else of ours. */
must_check
int backup_prune(const char *folder, unsigned keep, struct err *e);
