/* The file with the region key, which a disk may have damaged or somebody edited: whatever is in it, what is
 * taken for a region key is one, and would be written again just so, but for capital digits.
 */
#include "sealed/keys_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The last line, which capital digits above it change. */
#define SUM_BYTES (sizeof("sha256 \n") - 1 + 2 * SHA256_BYTES)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
try_text(const char *text, size_t n)
{
	static struct keys_generations g;
	static char again[KEYS_TEXT_MAX];
	char *copy = malloc(n + 1); /* so that a byte too far is seen */

	memcpy(copy, text, n);
	copy[n] = 0;
	if (keys_text_parse(&g, copy, n)) {
		if (g.n < 1 || g.n > KEYS_GENERATIONS_MAX || !g.all[0].generation)
			__builtin_trap();
		for (unsigned i = 1; i < g.n; i++)
			if (g.all[i].generation <= g.all[i - 1].generation)
				__builtin_trap();
		if (keys_text_write(again, &g) != n || strncasecmp(again, text, n - SUM_BYTES) != 0)
			__builtin_trap();
	}
	free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[KEYS_TEXT_MAX];
	uint8_t sum[SHA256_BYTES];
	char hex[2 * SHA256_BYTES + 1];
	size_t n = size;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	try_text(text, size);
	/* The same with a right checksum behind it, or nothing before it would ever be looked at. */
	sha256(data, size, sum);
	hex_text(sum, sizeof(sum), hex);
	n += (size_t)snprintf(text + n, sizeof(text) - n, "sha256 %s\n", hex);
	if (n < sizeof(text))
		try_text(text, n);
	return 0;
}
