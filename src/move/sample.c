/* Samples of what is stored of an account, sealed as it lies there, so that an auditor can search the old
 * home's files for them after the move.
 */
#include <string.h>

#include "move/internal.h"

#define SAMPLE_MAX       256 /* bytes of one record */
#define SAMPLES_PER_KIND 8

struct sampling {
	json_t *out;
	enum service service;
	char kind;
	unsigned n;
};

static int
take_sample(void *arg, struct span key, struct span value, struct err *e)
{
	struct sampling *s = arg;
	char hex[2 * SAMPLE_MAX + 1], kind[2] = { (char)key.data[0], 0 };
	size_t n = value.len < SAMPLE_MAX ? value.len : SAMPLE_MAX;

	(void)e;
	if (kind[0] != s->kind)
		s->n = 0;
	s->kind = kind[0];
	if (s->n++ >= SAMPLES_PER_KIND)
		return 0;
	/* The end of a record is ciphertext and tag; its beginning would be the same in others. */
	hex_text(value.data + value.len - n, n, hex);
	json_array_append_new(s->out,
	    json_pack(
	        "{s:s, s:s, s:s}", "service", service_name(s->service), "kind", kind, "hex", hex));
	return 0;
}

int
mover_sample(struct node *n, const struct account_id *id, json_t **out, struct err *e)
{
	static const uint8_t first[1];
	struct sampling s = { .out = json_array() };

	for (s.service = SERVICE_PROFILE; s.service < SERVICES; s.service++) {
		struct vault_id v = { *id, (uint8_t)s.service };

		if (engine_scan(n->engine, &v, ((struct span){ first, 1 }),
		        ((struct span){ NULL, 0 }), take_sample, &s, e) < 0) {
			json_decref(s.out);
			return -1;
		}
	}
	*out = json_pack("{s:o}", "records", s.out);
	return *out ? 0 : err_set(e, ERR_MEMORY, "no memory for samples");
}
