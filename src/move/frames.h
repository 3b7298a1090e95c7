/* frames.h - what the two sides of a move say to each other, over stream.h.
 *
 * A unit is the accounts that move together on one stream: many small ones, or one large or busy one.
 * Every frame names the unit; every account in it is named with epoch and attempt, and D refuses what
 * differs from what was opened.
 *
 *   S -> D                                    D -> S
 *   OPEN  unit, wave, accounts
 *                                             OPENED  unit, a verdict an account
 *   DATA  unit, sections (zstd)
 *   SYNC  unit                                SYNCED  unit, a verdict an account
 *   SEAL  unit, statements, signed note
 *                                             DONE    unit, a verdict an account, signed note
 *   LEARNED unit
 *   END   unit
 *
 * END is the last of a unit: arrivals that are neither prepared nor settled by then are given up, and D
 * holds nothing for the unit any longer. A stream that ends, or the next OPEN, ends a unit as well.
 *
 * A section of DATA: account (16), epoch (8), attempt (8), service (1), length (4), whole transfer
 * items (vault/transfer.h). DATA whose compressed form is larger than a frame goes in parts: MORE,
 * MORE, ..., DATA. After a malformed frame D answers FAILED and ends the stream.
 */
#pragma once
#include "base/frame.h"
#include "directory/directory.h"
#include "ledger/statement.h"

enum frame_type {
	FRAME_OPEN = 'O',
	FRAME_OPENED = 'o',
	FRAME_MORE = 'm',
	FRAME_DATA = 'Z',
	FRAME_SYNC = 'Q',
	FRAME_SYNCED = 'q',
	FRAME_SEAL = 'S',
	FRAME_DONE = 'd',
	FRAME_LEARNED = 'L',
	FRAME_END = 'E',
	FRAME_FAILED = 'f',
};

#define UNIT_MAX     128                /* accounts */
#define DATA_RAW_MAX ((size_t)80 << 20) /* sections of one DATA, decompressed */
#define DATA_PART    ((size_t)4 << 20)  /* of compressed bytes in one frame */

/* What OPEN says of an account. */
struct opening {
	struct account_id account;
	uint64_t epoch, attempt;
	char country[3];
	unsigned services;
	bool is_suspended;
};

/* What is put is appended to B; what is read of a malformed frame is ERR_BAD, of verdicts ERR_PEER.
 * Spans point into what is read. N: at most UNIT_MAX accounts. */
void open_put(struct buf *b, uint32_t unit, const char *wave, const struct opening *o, size_t n);
must_check
int open_read(struct span p, uint32_t *unit, char wave[static WAVE_ID_SIZE],
    struct opening out[static UNIT_MAX], size_t *n, struct err *e);

/* The other region's words for a person: what is not printable ASCII becomes '?', since they go into
 * the directory as text. */
void text_read(struct reader *r, char *out, size_t size);

/* Verdicts, in the order of the accounts of OPEN (or of SEAL's statements). */
struct verdict {
	enum err_kind kind; /* ERR_NONE: good */
	char text[WAVE_REASON_SIZE];
};
void verdicts_put(struct buf *b, uint32_t unit, const struct verdict *v, size_t n);
must_check
int verdicts_read(struct reader *r, uint32_t unit, struct verdict *out, size_t n, struct err *e);

/* A section's head; the items follow. */
struct section {
	struct account_id account;
	uint64_t epoch, attempt;
	enum service service;
	struct span items;
};
#define SECTION_HEAD (ACCOUNT_ID_BYTES + 8 + 8 + 1 + 4)
void section_put_head(struct buf *b, const struct section *s); /* length 0: patched at the end */
/* The section that began at HEAD_AT of B is whole: its length. */
void section_end(struct buf *b, size_t head_at);
/* 1: a section, 0: the end, -1. */
must_check
int section_read(struct reader *r, struct section *out, struct err *e);

struct seal_item {
	struct account_id account;
	struct span statement;
};
/* LEASE_MS: how long the source goes on reading from now. */
void seal_put_count(struct buf *b, uint32_t unit, uint32_t lease_ms, size_t n);
void seal_put_item(struct buf *b, const struct account_id *id, const char *statement);
must_check
int seal_read(struct span p, uint32_t *unit, uint32_t *lease_ms,
    struct seal_item out[static UNIT_MAX], size_t *n, struct note *note, struct err *e);

/* SYNC, LEARNED, END: just the unit. */
void unit_put(struct buf *b, uint32_t unit);
must_check
int unit_read(struct span p, uint32_t *unit, struct err *e);
