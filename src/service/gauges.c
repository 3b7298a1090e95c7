/* gauges.c - see gauges.h. */
#include "service/gauges.h"

#include "vault/homes.h"
#include "vault/pool.h"
#include "vault/region.h"

void
gauges_read(struct node *n, struct gauges *out)
{
	*out = (struct gauges){ 0 };
	if (!n->engine)
		return;
	out->vaults_open = pool_count(n->pool);
	out->requests_waiting = homes_waiting(n->homes);
	out->store_bytes = engine_size(n->engine);
}
