/* Page and redo records: whatever the bytes, a record opens to what was sealed or is refused. The
 * input is tried as a record as it stands, and as what a record with a good seal contains, since a
 * fuzzer never guesses a tag.
 */
#include "base/host.h"
#include "sealed/page.h"
#include "sealed/redo.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct vault_id id = { .account = { { 1, 2, 3 } }, .service = SERVICE_FILES };

/* A record of FORMAT 1 around the input, bound like the real ones. */
static size_t
reseal(struct aead *a, char kind, size_t head, const uint8_t *data, size_t n, uint8_t *record)
{
	uint8_t ad[30] = { 0 };
	size_t ad_len = 18;
	struct err e;

	memset(record, 0, head + NONCE_BYTES);
	record[0] = 1;
	ad[0] = (uint8_t)kind;
	memcpy(ad + 1, &id, VAULT_ID_BYTES);
	if (kind == 'P') {
		ad[ad_len + 3] = 5; /* page 5, version 0 */
		ad_len += 4;
	}
	ad_len += 8;
	if (aead_seal(a, record + head, ad, ad_len, data, n, record + head + NONCE_BYTES, &e) < 0)
		__builtin_trap();
	return head + NONCE_BYTES + n + TAG_BYTES;
}

static void
try_page(struct aead *a, const uint8_t *record, size_t n)
{
	uint8_t page[PAGE_BYTES], again[PAGE_BYTES];
	struct buf b = BUF_INIT(0);
	uint64_t version = 77;
	struct err e = { 0 };

	if (page_open(a, &id, 5, record, n, &version, page, &e) < 0) {
		if (e.kind != ERR_FORGED || version != 77)
			__builtin_trap();
		return;
	}
	if (page_seal(a, &id, 5, version, page, &b, &e) < 0 ||
	    page_open(a, &id, 5, b.data, b.len, &version, again, &e) < 0 ||
	    memcmp(page, again, PAGE_BYTES) != 0)
		__builtin_trap();
	buf_free(&b);
}

static void
try_redo(struct aead *a, const uint8_t *record, size_t n)
{
	struct buf plain = BUF_INIT(0), again = BUF_INIT(0), sealed = BUF_INIT(0);
	struct err e = { 0 };

	if (redo_open(a, &id, 0, record, n, &plain, &e) < 0) {
		if (e.kind != ERR_FORGED)
			__builtin_trap();
	} else if (redo_seal(a, &id, 0, plain.data, plain.len, &sealed, &e) < 0 ||
	    redo_open(a, &id, 0, sealed.data, sealed.len, &again, &e) < 0 ||
	    again.len != plain.len ||
	    (plain.len && memcmp(again.data, plain.data, plain.len) != 0)) {
		__builtin_trap();
	}
	buf_free(&plain);
	buf_free(&again);
	buf_free(&sealed);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const uint8_t key[KEY_BYTES] = { 7 };
	static uint8_t record[32768];
	static struct aead *a;
	struct err e;

	if (!a)
		a = aead_open(key, &e);
	if (!a || n > sizeof(record) - 64)
		return 0;
	try_page(a, data, n);
	try_redo(a, data, n);
	try_page(a, record, reseal(a, 'P', 9, data, n, record));
	try_redo(a, record, reseal(a, 'R', 1, data, n, record));
	return 0;
}
