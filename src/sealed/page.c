/* page.c - see page.h. A stored length of PAGE_BYTES means that the bytes are not compressed. */
#include "sealed/page.h"
#include "base/frame.h"
#include "base/host.h"
#include "sealed/forged.h"

#include <lz4.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FORMAT     1
#define AT_VERSION 1
#define AT_NONCE   9
#define AT_SEALED  (AT_NONCE + NONCE_BYTES)
#define OVERHEAD   (AT_SEALED + 2 + TAG_BYTES)
#define AD_BYTES   (1 + VAULT_ID_BYTES + 4 + 8)

_Static_assert(OVERHEAD + PAGE_BYTES == PAGE_RECORD_MAX, "page.h describes this layout");
_Static_assert(AT_NONCE == PAGE_RECORD_NONCE, "page.h describes this layout");

int
sealed_forged(struct err *e, const struct vault_id *id, const char *format, ...)
{
	char account[ACCOUNT_TEXT_SIZE], text[120];
	va_list args;

	account_text(&id->account, account);
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return err_set(e, ERR_FORGED, "vault %s %s: %s",
	    id->service < SERVICES ? service_name(id->service) : "?", account, text);
}

static void
bind(uint8_t ad[static AD_BYTES], const struct vault_id *id, uint32_t number, uint64_t version)
{
	ad[0] = 'P';
	memcpy(ad + 1, id, VAULT_ID_BYTES);
	be32_put(ad + 1 + VAULT_ID_BYTES, number);
	be64_put(ad + 1 + VAULT_ID_BYTES + 4, version);
}

int
page_seal(struct aead *a, const struct vault_id *id, uint32_t number, uint64_t version,
    const uint8_t plain[static PAGE_BYTES], struct buf *out, struct err *e)
{
	uint8_t ad[AD_BYTES], stored[2 + PAGE_BYTES], *r;
	int n = LZ4_compress_default(
	    (const char *)plain, (char *)stored + 2, PAGE_BYTES, PAGE_BYTES - 1);

	if (n <= 0) {
		memcpy(stored + 2, plain, PAGE_BYTES);
		n = PAGE_BYTES;
	}
	stored[0] = (uint8_t)(n >> 8);
	stored[1] = (uint8_t)n;

	r = buf_room(out, OVERHEAD + (size_t)n);
	if (!r)
		return buf_check(out, e);
	r[0] = FORMAT;
	be64_put(r + AT_VERSION, version);
	host_random(r + AT_NONCE, NONCE_BYTES);
	bind(ad, id, number, version);
	if (aead_seal(a, r + AT_NONCE, ad, sizeof(ad), stored, 2 + (size_t)n, r + AT_SEALED, e) < 0)
		return -1;
	out->len += OVERHEAD + (size_t)n;
	return 0;
}

int
page_open(struct aead *a, const struct vault_id *id, uint32_t number, const uint8_t *record,
    size_t n, uint64_t *version, uint8_t plain[static PAGE_BYTES], struct err *e)
{
	uint8_t ad[AD_BYTES], stored[2 + PAGE_BYTES];
	uint64_t v;
	size_t bytes;

	if (n <= OVERHEAD || n > PAGE_RECORD_MAX || record[0] != FORMAT)
		return sealed_forged(e, id, "page %u: not a page record", number);
	v = be64_get(record + AT_VERSION);
	bind(ad, id, number, v);
	if (aead_unseal(a, record + AT_NONCE, ad, sizeof(ad), record + AT_SEALED, n - AT_SEALED,
	        stored, e) < 0)
		return sealed_forged(
		    e, id, "page %u: does not open as version %llu", number, (unsigned long long)v);

	bytes = (size_t)stored[0] << 8 | stored[1];
	if (bytes != n - OVERHEAD)
		return sealed_forged(e, id, "page %u: its length is wrong", number);
	if (bytes == PAGE_BYTES)
		memcpy(plain, stored + 2, PAGE_BYTES);
	else if (LZ4_decompress_safe(
	             (const char *)stored + 2, (char *)plain, (int)bytes, PAGE_BYTES) != PAGE_BYTES)
		return sealed_forged(e, id, "page %u: does not decompress", number);
	*version = v;
	return 0;
}
