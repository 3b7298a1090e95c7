/* replica.h - the store of a standby: a region's sealed records and chunks as they were at some moment.
 *
 * Its position is stored in the same batch as the records, so that after a crash at any instant it is what
 * a power cut of the region's node at that position would have left. A full copy is made in a folder of
 * its own beside it and takes its place when it is complete. Nothing here can be opened or read: the
 * region's key is not needed.
 *
 * One thread at a time, but for replica_compact and replica_bytes.
 */
#pragma once
#include "standby/frames.h"

struct engine;
struct replica;

struct replica_position {
	struct ship_welcome at;
	uint64_t whole_at; /* see ship_head; 0: no content is missing */
};

/* STORE/engine and STORE/chunks. What a crash left of a copy is removed, and chunks that no record
 * refers to. */
must_check
struct replica *replica_open(
    const char *store, uint64_t cache_bytes, uint64_t write_buffer_bytes, struct err *e);
void replica_close(struct replica *r);
CLEANUP(struct replica, replica_close)
void replica_position(struct replica *r, struct replica_position *out);
/* The same of an engine, for a promotion. 1, 0 (it has none), -1. */
must_check
int replica_position_read(struct engine *g, struct replica_position *out, struct err *e);
uint64_t replica_bytes(struct replica *r);
struct engine *replica_engine(struct replica *r); /* borrowed, until there is another */

/* What comes from now on is a copy's, until replica_copied or the next replica_copy. */
must_check
int replica_copy(struct replica *r, uint64_t from, struct err *e);
must_check
int replica_records(struct replica *r, struct span changes, struct err *e);
/* ERR_BAD unless there is a copy. */
must_check
int replica_copied(struct replica *r, struct err *e);
/* Give up a copy, if there is one. */
must_check
int replica_no_copy(struct replica *r, struct err *e);

/* Carry out a shipment; it is durable when this returns, and chunks that are not needed any more are gone
 * or owed. ERR_STALE: it does not follow what is there. */
must_check
int replica_ship(struct replica *r, const struct ship_head *h, struct span changes, struct err *e);

/* 1: the chunk has to be sent. One of the same name with other content is removed. */
must_check
int replica_needs(struct replica *r, const struct ship_chunk *c, struct err *e);
must_check
int replica_chunk(struct replica *r, const struct ship_chunk *c, struct err *e);
/* Bytes of the chunk that was begun last; durable once there are as many as it should have. */
must_check
int replica_data(struct replica *r, struct span bytes, struct err *e);

/* Chunks that could not be removed when they should have gone are tried again: none is owed when this
 * returns 0. Not between a chunk and the shipment that it belongs to. */
must_check
int replica_tidy(struct replica *r, struct err *e);
/* No file of records holds bytes of what was replaced or deleted before. Any thread. */
must_check
int replica_compact(struct replica *r, struct err *e);
