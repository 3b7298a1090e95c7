/* fuzz_items.c - items of another region, as import_take meets them: nothing but refusal or a whole
 * vault may come of them. Chunks go nowhere, so that the speed is the parser's.
 *
 * The input is a list of items in a shorter form, so that mutations get past the framing: a type
 * byte and a 16-bit length, then that many bytes; what is missing to the type's length is zeros, but for
 * the version of its tables that a page may say.
 * Input that begins with 0xff is taken as it stands.
 */
#include "engine/engine.h"
#include "sealed/store.h"
#include "vault/schema.h"
#include "vault/transfer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* --- chunks that are only counted --- */

struct chunk_out {
	size_t bytes;
};

static struct chunk_out *
null_begin(
    struct chunks *c, const struct vault_id *id, const struct chunk_name *name, struct err *e)
{
	(void)c, (void)id, (void)name, (void)e;
	return calloc(1, sizeof(struct chunk_out));
}

static int
null_write(struct chunk_out *o, const void *p, size_t n, struct err *e)
{
	(void)p, (void)e;
	o->bytes += n;
	if (o->bytes > CHUNK_MAX_BYTES)
		abort();
	return 0;
}

static int
null_finish(struct chunk_out *o, struct err *e)
{
	(void)e;
	free(o);
	return 0;
}

static void
null_abort(struct chunk_out *o)
{
	free(o);
}

static int
null_vault(struct chunks *c, const struct vault_id *id, struct err *e)
{
	(void)c, (void)id, (void)e;
	return 0;
}

static struct chunk_in *
null_open(struct chunks *c, const struct vault_id *id, const struct chunk_name *name, struct err *e)
{
	(void)c, (void)id, (void)name;
	err_set(e, ERR_MISSING, "no such chunk");
	return NULL;
}

static int
null_remove(
    struct chunks *c, const struct vault_id *id, const struct chunk_name *name, struct err *e)
{
	(void)c, (void)id, (void)name, (void)e;
	return 0;
}

static const struct chunks_ops null_ops = {
	.scheme = "null",
	.begin = null_begin,
	.write = null_write,
	.finish = null_finish,
	.abort = null_abort,
	.sync = null_vault,
	.open = null_open,
	.remove = null_remove,
	.drop = null_vault,
};

/* --- the input --- */

static size_t
fixed_bytes(uint8_t type)
{
	switch (type) {
	case 'V':
		return 12;
	case 'P':
		return 12 + 4096;
	case 'C':
		return 56;
	case 'E':
		return 16;
	default:
		return 0;
	}
}

static void
expand(const uint8_t *data, size_t n, struct buf *out)
{
	static const uint8_t zeros[4200];

	while (n >= 3) {
		uint8_t type = data[0];
		size_t len = (size_t)data[1] | (size_t)(data[2] & 0x1f) << 8, want;

		data += 3;
		n -= 3;
		if (len > n)
			len = n;
		want = fixed_bytes(type) > len ? fixed_bytes(type) : len;
		put_u32(out, (uint32_t)(want + 1));
		put_u8(out, type);
		buf_add(out, data, len);
		buf_add(out, zeros, want - len);
		if (type == 'P' && len < 12 + SCHEMA_VERSION_AT && out->failed == ERR_NONE)
			be32_put(out->data + out->len - 4096 + SCHEMA_VERSION_AT, SCHEMA_VERSION);
		data += len;
		n -= len;
	}
}

static struct keys *
open_keys(void)
{
	char path[] = "/dev/shm/fuzz-items-XXXXXX";
	struct keys *k;
	struct err e;

	if (!mkdtemp(path))
		abort();
	char file[sizeof(path) + 8];

	memcpy(file, path, sizeof(path) - 1);
	memcpy(file + sizeof(path) - 1, "/key", 5);
	if (keys_file_create(file, &e) < 0)
		abort();
	k = keys_file_open(file, &e);
	if (!k)
		abort();
	unlink(file);
	rmdir(path);
	return k;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct keys *keys;
	struct chunks chunks = { .ops = &null_ops };
	const struct vault_id id = { .service = SERVICE_FILES };
	_cleanup_buf_ struct buf items = BUF_INIT(1 << 24);
	_cleanup_(engine_closep) struct engine *g = NULL;
	_cleanup_(import_closep) struct import *i = NULL;
	uint8_t root[SHA256_BYTES];
	uint64_t version;
	struct err e;

	if (!keys)
		keys = open_keys();
	if (n && data[0] == 0xff)
		buf_add(&items, data + 1, n - 1);
	else
		expand(data, n, &items);
	if (buf_check(&items, &e) < 0)
		return 0;
	g = engine_memory(&e);
	i = import_open(g, keys, &chunks, &id, 2, &e);
	if (!g || !i)
		abort();
	if (import_take(i, items.data, items.len, &e) < 0)
		return 0;
	if (import_write(i, &e) < 0 || import_root(i, &version, root, &e) < 0 ||
	    import_finish(i, &e) < 0)
		return 0;
	/* What was taken as whole must open. */
	struct sealed *s = sealed_open(g, keys, &id, SEALED_OWN, &e);

	if (!s)
		abort();
	sealed_close(s);
	return 0;
}
