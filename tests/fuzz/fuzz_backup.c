/* What lies in a backup's folder, which may have been anywhere: manifests, lists of chunks, runs of records.
 * What is read of a manifest is written and read again the same.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/changes.h"
#include "service/backup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* JSON with a right digest behind it, or nothing behind it would ever be looked at. */
static void
try_manifest(struct span json)
{
	_cleanup_buf_ struct buf text = BUF_INIT(0), once = BUF_INIT(0), twice = BUF_INIT(0);
	_cleanup_manifest_ struct manifest m = { 0 }, again = { 0 };
	char hex[2 * SHA256_BYTES + 1];
	uint8_t digest[SHA256_BYTES];

	sha256(json.data, json.len, digest);
	hex_text(digest, sizeof(digest), hex);
	buf_add(&text, json.data, json.len);
	buf_printf(&text, "\n%s\n", hex);
	if (manifest_parse((struct span){ text.data, text.len }, &m, NULL) < 0)
		return;
	if (manifest_text(&m, &once, NULL) < 0 ||
	    manifest_parse((struct span){ once.data, once.len }, &again, NULL) < 0 ||
	    manifest_text(&again, &twice, NULL) < 0 || once.len != twice.len ||
	    memcmp(once.data, twice.data, once.len) != 0)
		__builtin_trap();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = { data + 1, size - 1 };
	struct chunk_entry entry;
	struct change change;
	struct reader r;
	struct manifest m;

	if (size == 0)
		return 0;
	r = READER(in.data, in.len);
	switch (data[0] % 4) {
	case 0:
		try_manifest(in);
		return 0;
	case 1:
		if (manifest_parse(in, &m, NULL) == 0)
			manifest_free(&m);
		return 0;
	case 2:
		while (chunk_entry_next(&r, &entry, NULL) > 0)
			;
		return 0;
	default:
		while (change_next(&r, &change, NULL) > 0)
			;
		return 0;
	}
}
