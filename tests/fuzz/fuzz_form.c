/* fuzz_form.c - uploads from forms. The first byte is the size of the pieces they come in (0: all at
 * once). In pieces and at once they come to the same, and what was before the file, the file and what
 * is behind it are the body as it came. A form that is over is taken for its policy too.
 */
#include "front/form.h"
#include "front/post_policy.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* 1: over; 0: not yet; -1: refused. */
static int
feed(struct form *f, const uint8_t *p, size_t n, size_t piece, struct buf *file)
{
	struct err e = { 0 };
	size_t at = 0;

	while (at < n && form_at(f) != FORM_OVER) {
		size_t now = piece && piece < n - at ? piece : n - at;

		if (form_feed(f, p + at, now, file, &e) < 0)
			return e.kind == ERR_NONE || !e.text[0] ? abort(), 0 : -1;
		at += now;
	}
	while (form_at(f) == FORM_FILE) { /* until nothing more comes of it */
		size_t before = file->len;

		if (form_feed(f, NULL, 0, file, &e) < 0)
			return -1;
		if (file->len == before)
			break;
	}
	return form_at(f) == FORM_OVER;
}

static void
is_the_body(const struct form *f, const struct buf *file, const uint8_t *p, size_t n)
{
	struct span before = form_before(f), behind = form_behind(f);

	if (before.len + file->len + behind.len > n)
		abort();
	if ((before.len && memcmp(before.data, p, before.len) != 0) ||
	    (file->len && memcmp(file->data, p + before.len, file->len) != 0) ||
	    (behind.len && memcmp(behind.data, p + before.len + file->len, behind.len) != 0))
		abort();
}

static void
check_policy(const struct form *f)
{
	const char *policy = form_value(f, "policy");
	struct post_sizes sizes;
	struct err e = { 0 };
	size_t n;
	const struct request_field *fields = form_fields(f, &n);

	if (policy &&
	    post_policy_check((struct span){ (const uint8_t *)policy, strlen(policy) }, fields, n,
	        0, &sizes, &e) < 0 &&
	    (e.kind == ERR_NONE || !e.text[0]))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char type[] = "multipart/form-data; boundary=b";
	_cleanup_(form_closep) struct form *whole = form_open(type, NULL);
	_cleanup_(form_closep) struct form *pieces = form_open(type, NULL);
	_cleanup_buf_ struct buf one = BUF_INIT(0), two = BUF_INIT(0);
	int rc;

	if (!n || !whole || !pieces)
		return 0;
	rc = feed(whole, data + 1, n - 1, 0, &one);
	if (feed(pieces, data + 1, n - 1, data[0], &two) != rc)
		abort();
	if (rc < 0)
		return 0;
	if (one.len != two.len || (one.len && memcmp(one.data, two.data, one.len) != 0))
		abort();
	is_the_body(whole, &one, data + 1, n - 1);
	is_the_body(pieces, &two, data + 1, n - 1);
	if (rc == 1)
		check_policy(whole);
	return 0;
}
