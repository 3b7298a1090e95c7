#include "ledger/merkle.h"

#include <assert.h>
#include <string.h>

/* RFC 6962, 2.1: leaves and inner nodes are told apart by their first byte. */
void
merkle_leaf(const void *p, size_t n, uint8_t out[static SHA256_BYTES])
{
	uint8_t b[1 + MERKLE_LEAF_MAX] = { 0 };

	assert(n <= MERKLE_LEAF_MAX);
	memcpy(b + 1, p, n);
	sha256(b, 1 + n, out);
}

static void
inner(const uint8_t *left, const uint8_t *right, uint8_t out[static SHA256_BYTES])
{
	uint8_t b[1 + 2 * SHA256_BYTES] = { 1 };

	memcpy(b + 1, left, SHA256_BYTES);
	memcpy(b + 1 + SHA256_BYTES, right, SHA256_BYTES);
	sha256(b, sizeof b, out);
}

/* The largest power of two below N, for N > 1. */
static size_t
split(size_t n)
{
	size_t k = 1;

	while (k * 2 < n)
		k *= 2;
	return k;
}

void
merkle_root(const uint8_t (*leaves)[SHA256_BYTES], size_t n, uint8_t out[static SHA256_BYTES])
{
	uint8_t left[SHA256_BYTES], right[SHA256_BYTES];

	if (n == 0) {
		sha256("", 0, out);
		return;
	}
	if (n == 1) {
		memcpy(out, leaves[0], SHA256_BYTES);
		return;
	}
	merkle_root(leaves, split(n), left);
	merkle_root(leaves + split(n), n - split(n), right);
	inner(left, right, out);
}

/* PATH(m, D[n]) of RFC 6962, 2.1.1: from the leaf upwards. */
static unsigned
path(const uint8_t (*leaves)[SHA256_BYTES], size_t n, size_t index, uint8_t (*out)[SHA256_BYTES])
{
	size_t k;
	unsigned depth;

	if (n <= 1)
		return 0;
	k = split(n);
	if (index < k) {
		depth = path(leaves, k, index, out);
		merkle_root(leaves + k, n - k, out[depth]);
	} else {
		depth = path(leaves + k, n - k, index - k, out);
		merkle_root(leaves, k, out[depth]);
	}
	return depth + 1;
}

void
merkle_prove(
    const uint8_t (*leaves)[SHA256_BYTES], size_t n, size_t index, struct merkle_proof *out)
{
	assert(index < n);
	memset(out, 0, sizeof *out);
	out->index = index;
	out->size = n;
	out->n = path(leaves, n, index, out->path);
}

/* The verification of RFC 9162, 2.1.3.2. */
int
merkle_check(const uint8_t leaf[static SHA256_BYTES], const struct merkle_proof *p,
    const uint8_t root[static SHA256_BYTES], struct err *e)
{
	uint8_t at[SHA256_BYTES];
	uint64_t fn = p->index, sn = p->size - 1;

	if (p->size == 0 || p->index >= p->size || p->n > MERKLE_DEPTH_MAX)
		return err_set(e, ERR_FORGED, "the inclusion proof is impossible");
	memcpy(at, leaf, sizeof at);
	for (unsigned i = 0; i < p->n; i++) {
		if (sn == 0)
			return err_set(e, ERR_FORGED, "the inclusion proof is too long");
		if ((fn & 1) || fn == sn) {
			inner(p->path[i], at, at);
			while (!(fn & 1) && fn != 0)
				fn >>= 1, sn >>= 1;
		} else {
			inner(at, p->path[i], at);
		}
		fn >>= 1;
		sn >>= 1;
	}
	if (sn != 0 || memcmp(at, root, sizeof at) != 0)
		return err_set(
		    e, ERR_FORGED, "the inclusion proof does not lead to the signed root");
	return 0;
}
