/* buf.h - a byte buffer that grows up to a ceiling.
 *
 * Appending never reports failure itself: a failed buffer (ceiling or memory) stays failed and
 * empty of meaning, and buf_check says so once at the end. Not for use by two threads at a time.
 */
#pragma once
#include "base/err.h"

struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t max;           /* ceiling in bytes; 0 means BUF_MAX_DEFAULT */
	enum err_kind failed; /* ERR_NONE, ERR_TOO_BIG or ERR_MEMORY */
};

#define BUF_MAX_DEFAULT     ((size_t)1 << 30)

/* An empty buffer that holds at most MAX bytes. */
#define BUF_INIT(max_bytes) ((struct buf){ .max = (max_bytes) })

void buf_free(struct buf *b);  /* frees, leaves an empty buffer with the same ceiling */
void buf_wipe(struct buf *b);  /* the same for secrets: zeroed first */
void buf_clear(struct buf *b); /* len = 0, not failed; memory kept */
/* Append N bytes, a string without its NUL, a character, what printf would write; whole or, when it
 * fails, nothing. */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_add_str(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *format, ...) printf_like(2, 3);
/* Room for N more bytes, or NULL when failed; the caller writes them and adds to len. */
uint8_t *buf_room(struct buf *b, size_t n);
/* Drop the first N bytes, or all there are; the rest is moved. */
void buf_drop_front(struct buf *b, size_t n);
/* The content as a C string (a NUL is put after it, not counted), or "" when failed. */
const char *buf_str(struct buf *b);
/* 0, or -1 with ERR_TOO_BIG or ERR_MEMORY if any append failed since the last clear. */
must_check
int buf_check(const struct buf *b, struct err *e);

#define _cleanup_buf_        __attribute__((cleanup(buf_free)))
#define _cleanup_secret_buf_ __attribute__((cleanup(buf_wipe)))
