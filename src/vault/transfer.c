/* transfer.c - erasing a vault, and looking whether anything of it is left. See transfer.h. */
#include "vault/transfer.h"

#include "sealed/store.h"

#include <inttypes.h>

static int
count_record(void *arg, struct span key, struct span value, struct err *e)
{
	(void)key, (void)value, (void)e;
	++*(uint64_t *)arg;
	return 0;
}

static int
count_chunk(void *arg, const struct vault_id *id, const struct chunk_name *name, uint64_t bytes,
    struct err *e)
{
	(void)id, (void)name, (void)bytes, (void)e;
	++*(uint64_t *)arg;
	return 0;
}

static int
count(struct engine *g, struct chunks *c, const struct vault_id *id, uint64_t *records,
    uint64_t *chunk_count, struct err *e)
{
	static const uint8_t first[1];

	if (chunks_list(c, id, count_chunk, chunk_count, e) < 0)
		return -1;
	return engine_scan(g, id, ((struct span){ first, 1 }), ((struct span){ NULL, 0 }),
	    count_record, records, e);
}

int
transfer_destroy_key(struct pool *p, struct engine *g, const struct vault_id *id, struct err *e)
{
	static const uint8_t header[] = { 'H' };
	const struct engine_write w = { .op = ENGINE_DELETE, .key = { header, sizeof(header) } };

	pool_evict(p, id);
	return engine_apply(g, id, &w, 1, NULL, ENGINE_LATER, e);
}

/* 1: the header is there, 0: it is gone. */
static int
has_header(struct engine *g, const struct vault_id *id, struct err *e)
{
	static const uint8_t header[] = { 'H' };
	_cleanup_buf_ struct buf value = BUF_INIT(ENGINE_VALUE_MAX);

	return engine_get(g, id, ((struct span){ header, sizeof(header) }), &value, e);
}

int
transfer_erase(struct pool *p, struct engine *g, struct flusher *f, struct chunks *c,
    const struct vault_id *id, uint64_t *records, uint64_t *chunk_count, struct err *e)
{
	uint64_t n_records = 0, n_chunks = 0;
	struct err why = { 0 };
	int keyed = has_header(g, id, &why);

	/* What can't be read goes all the same: the engine drops it unread. It is counted as far as it was read. */
	if (keyed < 0 && why.kind != ERR_IO)
		return err_set(e, why.kind, "%s", why.text);
	if (keyed) {
		n_records += keyed > 0;
		if (transfer_destroy_key(p, g, id, e) < 0 ||
		    flusher_wait(f, flusher_ticket(f), e) < 0)
			return -1;
	}
	if (count(g, c, id, &n_records, &n_chunks, &why) < 0 && why.kind != ERR_IO)
		return err_set(e, why.kind, "%s", why.text);
	if (engine_drop(g, id, e) < 0)
		return -1;
	/* Unfinished ones are not listed but go as well. */
	if (chunks_drop(c, id, e) < 0)
		return -1;
	*records += n_records;
	*chunk_count += n_chunks;
	return 0;
}

int
transfer_is_gone(struct engine *g, struct chunks *c, const struct vault_id *id, struct err *e)
{
	uint64_t n_records = 0, n_chunks = 0;

	if (count(g, c, id, &n_records, &n_chunks, e) < 0)
		return -1;
	if (n_records || n_chunks)
		return err_set(e, ERR_STALE,
		    "%s: %" PRIu64 " records and %" PRIu64 " chunks are left",
		    service_name(id->service), n_records, n_chunks);
	return 0;
}

bool
transfer_is_chunk(const struct vault_id *id, struct span key)
{
	return id->service != SERVICE_REGION && key.len == 1 + CHUNK_NAME_BYTES &&
	    key.data[0] == 'C';
}

int
transfer_key_of(struct keys *k, const struct vault_id *id, struct span key, struct span value,
    uint32_t *generation, struct err *e)
{
	if (id->service == SERVICE_REGION || key.len != 1 || key.data[0] != 'H')
		return 0;
	return sealed_header_key(k, id, value, generation, e) < 0 ? -1 : 1;
}
