/* buf.c - see buf.h. A byte past len is always kept free for buf_str's NUL. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Up to this size a buffer that moves leaves zeros behind, since it may hold a secret; keys and
 * passwords are never larger, and larger content should not pay for it. */
#define WIPED_WHEN_MOVED ((size_t)64 << 10)

static size_t
ceiling(const struct buf *b)
{
	return b->max ? b->max : BUF_MAX_DEFAULT;
}

static void
fail(struct buf *b, enum err_kind kind)
{
	b->failed = kind;
	b->len = 0;
}

static bool
resize(struct buf *b, size_t cap)
{
	uint8_t *data;

	if (b->cap > WIPED_WHEN_MOVED) {
		data = realloc(b->data, cap);
		if (!data)
			return false;
	} else {
		data = malloc(cap);
		if (!data)
			return false;
		if (b->data) {
			memcpy(data, b->data, b->len);
			explicit_bzero(b->data, b->cap);
			free(b->data);
		}
	}
	b->data = data;
	b->cap = cap;
	return true;
}

uint8_t *
buf_room(struct buf *b, size_t n)
{
	size_t max = ceiling(b), cap;

	if (b->failed)
		return NULL;
	if (n > max || b->len > max - n) {
		fail(b, ERR_TOO_BIG);
		return NULL;
	}
	if (b->len + n < b->cap)
		return b->data + b->len;

	cap = b->cap < 64 ? 64 : b->cap;
	while (cap < b->len + n + 1)
		cap *= 2;
	if (cap > max + 1)
		cap = max + 1;
	if (!resize(b, cap)) {
		fail(b, ERR_MEMORY);
		return NULL;
	}
	return b->data + b->len;
}

void
buf_free(struct buf *b)
{
	free(b->data);
	*b = BUF_INIT(b->max);
}

void
buf_wipe(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_free(b);
}

void
buf_clear(struct buf *b)
{
	b->len = 0;
	b->failed = ERR_NONE;
}

void
buf_add(struct buf *b, const void *p, size_t n)
{
	uint8_t *room = buf_room(b, n);

	if (!room || !n)
		return;
	memcpy(room, p, n);
	b->len += n;
}

void
buf_add_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void
buf_add_char(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void
buf_printf(struct buf *b, const char *format, ...)
{
	va_list args, again;
	uint8_t *room;
	int n;

	va_start(args, format);
	va_copy(again, args);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0)
		fail(b, ERR_MEMORY);
	room = n < 0 ? NULL : buf_room(b, (size_t)n);
	if (room) {
		vsnprintf((char *)room, (size_t)n + 1, format, again);
		b->len += (size_t)n;
	}
	va_end(again);
}

void
buf_drop_front(struct buf *b, size_t n)
{
	if (n > b->len)
		n = b->len;
	if (!n)
		return;
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
}

const char *
buf_str(struct buf *b)
{
	if (!buf_room(b, 0))
		return "";
	b->data[b->len] = 0;
	return (const char *)b->data;
}

int
buf_check(const struct buf *b, struct err *e)
{
	switch (b->failed) {
	case ERR_NONE:
		return 0;
	case ERR_TOO_BIG:
		return err_set(e, ERR_TOO_BIG, "more than %zu bytes", ceiling(b));
	default:
		return err_set(e, b->failed, "no memory");
	}
}
