/* Plain redo entries come from a peer region: none may reach outside of a page, and one that is
 * refused has done nothing. An input's halves as two pages check the ranges between them.
 */
#include "sealed/redo.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct seen {
	uint8_t page[PAGE_BYTES];
	unsigned calls;
	uint32_t last_page;
};

static int
range(void *arg, uint32_t page, uint32_t offset, const uint8_t *p, uint32_t n, struct err *e)
{
	struct seen *s = arg;

	(void)e;
	if (!page || !n || offset >= PAGE_BYTES || n > PAGE_BYTES - offset)
		__builtin_trap();
	memcpy(s->page + offset, p, n);
	s->last_page = page > s->last_page ? page : s->last_page;
	s->calls++;
	return 0;
}

static int
added(void *arg, const struct chunk_ref *c, struct err *e)
{
	(void)e;
	((struct seen *)arg)->page[0] ^= (uint8_t)(c->name[15] ^ c->digest[31] ^ c->bytes);
	((struct seen *)arg)->calls++;
	return 0;
}

static int
dropped(void *arg, const uint8_t name[16], struct err *e)
{
	(void)e;
	((struct seen *)arg)->page[0] ^= name[15];
	((struct seen *)arg)->calls++;
	return 0;
}

static void
visit(const uint8_t *data, size_t n)
{
	struct seen s = { .calls = 0 };
	struct redo_visit v = { range, added, dropped, &s };
	uint32_t count = 0, again = 0;
	struct err e = { 0 };

	if (redo_visit(data, n, &count, &v, &e) < 0) {
		if (e.kind != ERR_BAD || s.calls || redo_visit(data, n, &again, NULL, &e) == 0)
			__builtin_trap();
	} else if (s.last_page > count || redo_visit(data, n, &again, NULL, &e) < 0 ||
	    again != count) {
		__builtin_trap();
	}
}

static void
diff(const uint8_t *data, size_t n)
{
	uint8_t old[PAGE_BYTES] = { 0 }, new[PAGE_BYTES] = { 0 };
	struct seen s = { .calls = 0 };
	struct redo_visit v = { .range = range, .arg = &s };
	struct buf b = BUF_INIT(0);
	size_t half = n / 2 < PAGE_BYTES ? n / 2 : PAGE_BYTES;
	struct err e = { 0 };
	uint32_t count;
	unsigned ranges;

	if (half) {
		memcpy(old, data, half);
		memcpy(new, data + n - half, half);
	}
	put_u32(&b, 3);
	put_u32(&b, 0);
	ranges = redo_diff(&b, 3, old, new);
	be32_put(b.data + 4, ranges);
	put_u64(&b, 0);
	memcpy(s.page, old, PAGE_BYTES);
	if (redo_visit(b.data, b.len, &count, &v, &e) < 0 || s.calls != ranges ||
	    memcmp(s.page, new, PAGE_BYTES) != 0)
		__builtin_trap();
	buf_free(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	visit(data, n);
	diff(data, n);
	return 0;
}
