/* gauges.h - how much of a node is in use, for layers that may not see vaults. Any thread, cheap. */
#pragma once
#include "service/node.h"

struct gauges {
	uint64_t vaults_open;
	uint64_t requests_waiting; /* at the gate, for a move to end */
	uint64_t store_bytes;      /* of sealed records; not of chunks */
	uint64_t free_bytes;       /* that may still be written; 0: the store is full */
};

/* Zeros for a node without a store. */
void gauges_read(struct node *n, struct gauges *out);
/* Whether new data is refused because a disk is full. False without a store. */
bool gauges_is_full(struct node *n);
