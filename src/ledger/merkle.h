/* merkle.h - the Merkle tree hash and inclusion proofs of RFC 6962, section 2.1. Pure. */
#pragma once
#include "base/crypto.h"

#define MERKLE_DEPTH_MAX 40
#define MERKLE_LEAF_MAX  1024 /* STATEMENT_MAX */

struct merkle_proof {
	uint64_t index, size; /* leaf number from 0, number of leaves */
	unsigned n;
	uint8_t path[MERKLE_DEPTH_MAX][SHA256_BYTES];
};

/* N is at most MERKLE_LEAF_MAX. */
void merkle_leaf(const void *p, size_t n, uint8_t out[static SHA256_BYTES]);
/* Over LEAVES leaf hashes; of none: the hash of nothing. */
void merkle_root(const uint8_t (*leaves)[SHA256_BYTES], size_t n, uint8_t out[static SHA256_BYTES]);
void merkle_prove(
    const uint8_t (*leaves)[SHA256_BYTES], size_t n, size_t index, struct merkle_proof *out);
/* ERR_FORGED if the proof does not lead from LEAF to ROOT. */
must_check
int merkle_check(const uint8_t leaf[static SHA256_BYTES], const struct merkle_proof *p,
    const uint8_t root[static SHA256_BYTES], struct err *e);
