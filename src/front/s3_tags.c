/* s3_tags.c - see s3_tags.h. */
#include "front/s3_tags.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "front/s3_private.h"

void
tags_free(struct tags *t)
{
	buf_free(&t->text);
}

/* UTF-16 units of TEXT: two for what needs four bytes. */
static size_t
units(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += (*text & 0xc0) != 0x80 ? 1u + ((uint8_t)*text >= 0xf0) : 0;
	return n;
}

/* Letters, digits, spaces and a few signs; beyond ASCII everything but the control characters. */
static bool
has_only_allowed(const char *text)
{
	for (const uint8_t *p = (const uint8_t *)text; *p; p++) {
		if (*p < 0x80 ? !isalnum(*p) && !strchr(" +-=._:/@", *p)
		              : *p == 0xc2 && p[1] < 0xa0)
			return false;
	}
	return true;
}

static void
encode(struct buf *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '=' || *text == '+')
			buf_printf(out, "%%%02X", (unsigned)*text);
		else
			buf_add_char(out, (char)(*text == ' ' ? '+' : *text));
	}
}

/* Whether a tag of TEXT begins with START, which is "key=". */
static bool
has_key(const struct buf *text, const struct buf *start)
{
	const uint8_t *at = text->data, *end = at ? at + text->len : at;

	while (at && at < end) {
		const uint8_t *next = memchr(at, '&', (size_t)(end - at));

		if ((size_t)(end - at) >= start->len && !memcmp(at, start->data, start->len))
			return true;
		at = next ? next + 1 : NULL;
	}
	return false;
}

static int
check(const struct tags *t, const char *key, const char *value, struct err *e)
{
	size_t n = units(key);

	if (t->n == t->max)
		return err_set(e, ERR_TOO_BIG, "there can be at most %u tags", t->max);
	if (!n || n > TAG_KEY_CHARS)
		return err_set(e, ERR_TOO_BIG, "a tag's key has 1 to %u characters", TAG_KEY_CHARS);
	if (units(value) > TAG_VALUE_CHARS)
		return err_set(
		    e, ERR_TOO_BIG, "a tag's value has at most %u characters", TAG_VALUE_CHARS);
	if (!has_only_allowed(key) || !has_only_allowed(value))
		return err_set(e, ERR_BAD,
		    "a tag has letters, digits, spaces and + - = . _ : / @ and nothing else");
	if (!strncasecmp(key, "aws:", 4))
		return err_set(
		    e, ERR_DENIED, "keys of tags that begin with aws: are not for users");
	return 0;
}

int
tags_add(struct tags *t, const char *key, const char *value, struct err *e)
{
	_cleanup_buf_ struct buf one = BUF_INIT(0);

	if (check(t, key, value, e) < 0)
		return -1;
	encode(&one, key);
	buf_add_char(&one, '=');
	if (buf_check(&one, e) < 0)
		return -1;
	if (has_key(&t->text, &one))
		return err_set(e, ERR_EXISTS, "two tags have the same key");
	encode(&one, value);
	if (t->n)
		buf_add_char(&t->text, '&');
	buf_add(&t->text, one.data, one.len);
	if (buf_check(&one, e) < 0 || buf_check(&t->text, e) < 0)
		return -1;
	t->n++;
	return 0;
}

/* N bytes as a form encodes them. SIZE holds the longest there can be: longer is not read. */
static int
decode(const char *in, size_t n, char *out, size_t size, struct err *e)
{
	bool is_long;
	char plain[3 * 4 * TAG_VALUE_CHARS + 1];

	if (n >= sizeof(plain))
		return err_set(e, ERR_TOO_BIG, "a tag is too long");
	for (size_t i = 0; i < n; i++)
		plain[i] = (char)(in[i] == '+' ? ' ' : in[i]);
	if (s3_decode(plain, n, out, size, &is_long) == 0)
		return 0;
	return is_long ? err_set(e, ERR_TOO_BIG, "a tag is too long")
	               : err_set(e, ERR_BAD, "the tags are not percent-encoded UTF-8");
}

struct pair {
	char key[4 * TAG_KEY_CHARS + 1];
	char value[4 * TAG_VALUE_CHARS + 1];
};

/* One "key=value" of N bytes; without '=' the value is empty. */
static int
read_pair(const char *at, size_t n, struct pair *out, struct err *e)
{
	const char *equals = memchr(at, '=', n);
	size_t key = equals ? (size_t)(equals - at) : n;

	out->value[0] = '\0';
	if (decode(at, key, out->key, sizeof(out->key), e) < 0)
		return -1;
	if (!equals)
		return 0;
	return decode(equals + 1, n - key - 1, out->value, sizeof(out->value), e);
}

int
tags_parse(struct tags *t, const char *text, struct err *e)
{
	struct pair pair;

	while (*text) {
		size_t n = strcspn(text, "&");

		if (read_pair(text, n, &pair, e) < 0 || tags_add(t, pair.key, pair.value, e) < 0)
			return -1;
		text += n + (text[n] == '&');
	}
	return 0;
}

unsigned
tags_count(const char *text, size_t n)
{
	unsigned count = n > 0;

	for (size_t i = 0; i < n; i++)
		count += text[i] == '&';
	return count;
}

int
tags_each(const char *text, size_t n, tag_fn *fn, void *arg, struct err *e)
{
	const char *end = text + n;
	struct pair pair;

	while (text < end) {
		const char *next = memchr(text, '&', (size_t)(end - text));
		size_t len = (size_t)((next ? next : end) - text);

		if (read_pair(text, len, &pair, e) < 0)
			return err_set(e, ERR_FORGED, "stored tags are damaged");
		fn(arg, pair.key, pair.value);
		text += len + 1;
	}
	return 0;
}
