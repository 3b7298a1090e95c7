/* keys_internal.h - the generations of a region key as a file holds them. */
#pragma once
#include "sealed/keys.h"

#define KEYS_GENERATIONS_MAX 64
#define KEYS_TEXT_MAX        8192 /* the file, and a NUL */

struct keys_generations {
	unsigned n;
	struct {
		uint32_t generation; /* from 1, ascending */
		uint8_t key[KEY_BYTES];
	} all[KEYS_GENERATIONS_MAX];
};

/* TEXT gets the file's content; returns its length. */
size_t keys_text_write(char text[static KEYS_TEXT_MAX], const struct keys_generations *g);
/* G from the N bytes of TEXT, which has a NUL after them and is written in. false: it is no region key, or a
 * damaged one; G may then have a part of it. Nothing but what
 * keys_text_write writes is taken, and that with capital digits. */
must_check
bool keys_text_parse(struct keys_generations *g, char *text, size_t n);
