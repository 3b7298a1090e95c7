/* keys_text.c - what is in a file with a region key.
 *
 *	domicile region key 1
 *	1 <64 hexadecimal digits>		a generation and its key, ascending
 *	...
 *	sha256 <64 hexadecimal digits>		of everything above this line
 *
 * The checksum tells a damaged file from a wrong one; it keeps nobody out. Generations may be
 * missing: those are destroyed.
 */
#include "sealed/keys_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_LINE "domicile region key 1\n"
#define SUM_WORD   "sha256 "
#define SUM_BYTES  (sizeof(SUM_WORD) - 1 + 64 + 1)

size_t
keys_text_write(char text[static KEYS_TEXT_MAX], const struct keys_generations *g)
{
	uint8_t sum[SHA256_BYTES];
	char hex[2 * KEY_BYTES + 1];
	int n = snprintf(text, KEYS_TEXT_MAX, FIRST_LINE);

	for (unsigned i = 0; i < g->n; i++) {
		hex_text(g->all[i].key, KEY_BYTES, hex);
		n += snprintf(text + n, KEYS_TEXT_MAX - (size_t)n, "%" PRIu32 " %s\n",
		    g->all[i].generation, hex);
	}
	sha256(text, (size_t)n, sum);
	hex_text(sum, sizeof(sum), hex);
	n += snprintf(text + n, KEYS_TEXT_MAX - (size_t)n, SUM_WORD "%s\n", hex);
	wipe(hex, sizeof(hex));
	return (size_t)n;
}

/* false if the checksum at the end of TEXT is not that of what is before; cuts it off. */
static bool
take_sum(char *text, size_t n)
{
	uint8_t sum[SHA256_BYTES], should[SHA256_BYTES];
	char *line;

	if (n < SUM_BYTES || strlen(text) != n || text[n - 1] != '\n')
		return false;
	line = text + n - SUM_BYTES;
	text[n - 1] = 0;
	if (memcmp(line, SUM_WORD, sizeof(SUM_WORD) - 1) != 0 ||
	    !hex_parse(line + sizeof(SUM_WORD) - 1, should, sizeof(should)))
		return false;
	sha256(text, n - SUM_BYTES, sum);
	*line = 0;
	return memcmp(sum, should, sizeof(sum)) == 0;
}

/* One generation's line; false if it is not one. */
static bool
take_generation(struct keys_generations *g, const char *line)
{
	char *end;
	unsigned long number;

	if (g->n == KEYS_GENERATIONS_MAX || *line < '1' || *line > '9')
		return false;
	number = strtoul(line, &end, 10);
	if (*end != ' ' || number > UINT32_MAX)
		return false;
	if (g->n && number <= g->all[g->n - 1].generation)
		return false;
	if (!hex_parse(end + 1, g->all[g->n].key, KEY_BYTES))
		return false;
	g->all[g->n++].generation = (uint32_t)number;
	return true;
}

bool
keys_text_parse(struct keys_generations *g, char *text, size_t n)
{
	char *line, *next;

	g->n = 0;
	if (!take_sum(text, n) || strncmp(text, FIRST_LINE, sizeof(FIRST_LINE) - 1) != 0)
		return false;
	for (line = text + sizeof(FIRST_LINE) - 1; *line; line = next) {
		next = strchr(line, '\n');
		if (!next)
			return false;
		*next++ = 0;
		if (!take_generation(g, line))
			return false;
	}
	return g->n > 0;
}
