/* refused.c - see refused.h. */
#include "base/refused.h"
#include "base/stats.h"

#define REFUSED(why) \
	COUNTER("domicile_refused_total", "why=\"" why "\"", "Refused for want of something.")

static struct counter counters[REFUSED_KINDS] = {
	[REFUSED_DISK] = REFUSED("disk"),
	[REFUSED_MEMORY] = REFUSED("memory"),
	[REFUSED_FILES] = REFUSED("files"),
	[REFUSED_CONNECTIONS] = REFUSED("connections"),
	[REFUSED_WORKERS] = REFUSED("workers"),
	[REFUSED_QUOTA] = REFUSED("quota"),
	[REFUSED_BUCKETS] = REFUSED("buckets"),
	[REFUSED_ACCOUNT_RATE] = REFUSED("account-rate"),
	[REFUSED_ADDRESS_RATE] = REFUSED("address-rate"),
	[REFUSED_SLOW] = REFUSED("slow"),
};

void
refused_count(enum refused why)
{
	counter_add(&counters[why], 1);
}

void
refused_count_err(const struct err *e)
{
	if (e->kind == ERR_FULL)
		refused_count(REFUSED_DISK);
	else if (e->kind == ERR_MEMORY)
		refused_count(REFUSED_MEMORY);
	else if (e->kind == ERR_QUOTA)
		refused_count(REFUSED_QUOTA);
}

void
refused_begin(void)
{
	for (unsigned i = 0; i < REFUSED_KINDS; i++)
		counter_add(&counters[i], 0);
}
