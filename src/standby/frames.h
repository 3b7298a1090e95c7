/* frames.h - what a region's node and its standby say to each other, over a stream (directory/stream.h).
 *
 * The node connects and speaks; to each of the first group the standby answers with one frame.
 *
 *   HELLO    format (1), term (8), holder (16), lease ms (4)             -> WELCOME
 *   COPY     from (8): a copy begins; changes from there on follow it    -> ACK
 *   RECORDS  puts (engine/changes.h), of the copy                        -> ACK
 *   HAVE     { vault (17), chunk name (16), bytes (8), first bytes (12) }... -> NEED
 *   SHIP     first (8), next (8), whole at (8), bytes (4); then PARTs    -> ACK
 *   COPIED   from then on the copy takes the place of what was there     -> ACK
 *   COMPACT  upto (8)                                                    -> ACK
 *   KEY      digest of a generation of the region key (32)               -> NEED
 *   PING                                                                 -> ACK
 *
 *   CHUNK    vault, name, bytes (8); then DATA until there are so many   (no answer)
 *   PART     a piece of what SHIP announced                              (no answer)
 *
 *   WELCOME  next (8; 0: a copy is needed), check from (8), check (32)
 *   NEED     one byte for each chunk of HAVE, or for KEY: 1: it is not there
 *   ACK      next (8), compacted (8)
 *   REFUSE   why, as text; the stream ends
 *
 * An ACK says that everything below `next` is durable at the standby; and so does every answer say that
 * at that moment the standby had not been promoted.
 */
#pragma once
#include "base/buf.h"
#include "base/crypto.h"
#include "base/frame.h"
#include "chunks/chunks.h"
#include "directory/directory.h"

#define SHIP_FORMAT      1
#define SHIP_PIECE       ((size_t)1 << 20)   /* a RECORDS, PART or DATA is about this */
#define SHIP_BYTES_MAX   ((size_t)512 << 20) /* of one SHIP: an atomic group has to fit */
#define CHUNK_HEAD_BYTES 12                  /* a chunk's first bytes are a random nonce */
#define HAVE_MAX         1024
#define ANSWER_WAIT_MS   60000
#define SILENCE_MAX_MS   60000 /* the standby ends a stream on which nothing came for so long */

enum ship_frame {
	SHIP_HELLO = 'h',
	SHIP_COPY = 'c',
	SHIP_RECORDS = 'r',
	SHIP_HAVE = 'k',
	SHIP_SHIP = 's',
	SHIP_COPIED = 'z',
	SHIP_COMPACT = 'x',
	SHIP_KEY = 'y',
	SHIP_PING = 'i',
	SHIP_CHUNK = 'b',
	SHIP_DATA = 'd',
	SHIP_PART = 'p',
	SHIP_WELCOME = 'w',
	SHIP_NEED = 'n',
	SHIP_ACK = 'a',
	SHIP_REFUSE = 'f',
};

struct ship_hello {
	struct region_term term; /* its region is the stream's */
};

/* How far a standby has come. */
struct ship_welcome {
	uint64_t next;               /* the first change that it wants; 0: it has nothing */
	uint64_t check_from;         /* where the last shipment began, */
	uint8_t check[SHA256_BYTES]; /* and its digest */
};

struct ship_head {
	uint64_t first, next;
	/* Some chunk of this shipment was gone already: until WHOLE_AT an object may lack its content. 0: no. */
	uint64_t whole_at;
	uint32_t bytes;
};

struct ship_ack {
	uint64_t next, compacted;
};

/* A chunk that a shipment refers to. */
struct ship_chunk {
	struct vault_id vault;
	struct chunk_name name;
	uint64_t bytes;
	uint8_t head[CHUNK_HEAD_BYTES];
};

/* The PUTs clear B first. The READs are ERR_BAD for anything that does not fit. */
void ship_hello_put(struct buf *b, const struct ship_hello *h);
must_check
int ship_hello_read(struct span s, const char *region, struct ship_hello *out, struct err *e);
void ship_welcome_put(struct buf *b, const struct ship_welcome *w);
must_check
int ship_welcome_read(struct span s, struct ship_welcome *out, struct err *e);
void ship_head_put(struct buf *b, const struct ship_head *h);
must_check
int ship_head_read(struct span s, struct ship_head *out, struct err *e);
void ship_ack_put(struct buf *b, const struct ship_ack *a);
must_check
int ship_ack_read(struct span s, struct ship_ack *out, struct err *e);
void ship_number_put(struct buf *b, uint64_t n);
must_check
int ship_number_read(struct span s, uint64_t *out, struct err *e);
/* Appends; with its head for HAVE, without for CHUNK. */
void ship_chunk_add(struct buf *b, const struct ship_chunk *c, bool with_head);
/* The next one of R. */
must_check
int ship_chunk_next(struct reader *r, bool with_head, struct ship_chunk *out, struct err *e);
