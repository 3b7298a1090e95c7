/* backup_writing_internal.h - a backup that is being written: backup.c has its records and the whole,
 * backup_chunks.c its chunks. One thread; what is atomic is read by others.
 */
#pragma once
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "service/backup_internal.h"

#define WRITING_COPY ((size_t)1 << 20)

struct backup {
	struct node *node;
	char store[PATH_MAX]; /* real path, or "" */

	pthread_mutex_t lock; /* of what follows */
	enum { IDLE, RUNNING, DONE, FAILED } state;
	bool has_thread; /* to be joined */
	pthread_t thread;
	char folder[PATH_MAX];
	struct err why;
	json_t *last; /* what was written */

	atomic_bool is_stopping;
	_Atomic int step;
	_Atomic uint64_t records, record_bytes, about, chunks, chunks_total, chunk_bytes;
	_Atomic uint64_t new_bytes, new_chunks;
};

/* One that is being written. */
struct writing {
	struct backup *b;
	const char *folder;
	unsigned keep;
	int lock_fd;
	struct manifest m;
	struct buf runs, lists; /* of struct backup_object, as long as they grow */
	struct buf damages;     /* of struct backup_damage, likewise */
	struct buf run;         /* the records of the next run */
	struct vault_id last;   /* of the vault before */
	struct buf with_chunks; /* of struct vault_id: those whose records say so */
	uint32_t key_oldest;    /* generation of the region key that a header may name */

	/* The chunks of one group: what there was before, and what there is. */
	struct manifest before;
	size_t before_next; /* the next of its lists */
	struct buf known, list;
	struct buf names; /* of struct chunk_entry, of one vault */
	unsigned group;
	uint8_t *copying;         /* WRITING_COPY */
	uint8_t head[CHUNK_HEAD]; /* of the chunk copied last */
	bool has_left_out;
	struct vault_id left_out; /* the last one with content that can't be read */
};

/* ERR_CANCELLED: the node stops. */
must_check
int writing_stopped(const struct backup *b, struct err *e);
/* Whether PATH is there with so many bytes: files appear whole and durable, see writing_put_part. */
bool backup_is_there(const char *path, uint64_t bytes);
/* The file that becomes the next one of the folder; its descriptor. */
must_check
int writing_begin_part(struct writing *w, struct err *e);
/* It, durable, under its name. */
must_check
int writing_put_part(struct writing *w, int fd, const char *path, struct err *e);
/* N bytes under their digest, if they are not there yet. */
must_check
int writing_put_object(
    struct writing *w, const void *p, size_t n, struct backup_object *out, struct err *e);
/* Counts it. Whether there was still room for it in the list. */
bool writing_note_damage(struct writing *w, const struct backup_damage *d);
/* Every chunk of the store, and their lists. */
must_check
int writing_chunks(struct writing *w, struct err *e);
