/* gauges.c - see gauges.h. */
#include "service/gauges.h"

#include "service/scrub.h"
#include "vault/homes.h"
#include "vault/pool.h"
#include "vault/region.h"

static uint64_t
free_bytes(struct node *n)
{
	uint64_t records = engine_room(n->engine), chunks = chunks_room(n->chunks);

	return records < chunks ? records : chunks;
}

bool
gauges_is_full(struct node *n)
{
	return n->engine && free_bytes(n) == 0;
}

void
gauges_read(struct node *n, struct gauges *out)
{
	*out = (struct gauges){ 0 };
	if (!n->engine)
		return;
	out->vaults_open = pool_count(n->pool);
	out->requests_waiting = homes_waiting(n->homes);
	out->store_bytes = engine_size(n->engine);
	out->free_bytes = free_bytes(n);
	scrub_measure(n->scrub);
}
