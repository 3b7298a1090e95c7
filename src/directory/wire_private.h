/* wire_private.h - the directory's structures as JSON, both ways.
 *
 * What is sent by the hundred is an array of values in a fixed order, ids and digests in
 * hexadecimal; a wave is an object. Parsers check every field and leave nothing over: ERR_BAD.
 */
#pragma once
#include "directory/directory.h"

#define DIRECTORY_PATH "/peer/v1/directory/"
#define SELECTION_MAX  50000 /* accounts in one plan over the wire */

json_t *placement_pack(const struct placement *p);
must_check
int placement_unpack(json_t *json, struct placement *p, struct err *e);

/* What is asked, and what became of it (unpacked into the swap that was asked). */
json_t *swap_pack(const struct swap *s);
must_check
int swap_unpack(json_t *json, struct swap *s, struct err *e);
json_t *swapped_pack(const struct swap *s);
must_check
int swapped_unpack(json_t *json, struct swap *s, struct err *e);

json_t *item_pack(const struct wave_item *item);
must_check
int item_unpack(json_t *json, struct wave_item *item, struct err *e);

/* A term; the region is not in it. */
json_t *term_pack(const struct region_term *t);
must_check
int term_unpack(json_t *json, const char *region, struct region_term *t, struct err *e);

/* wave_json's other direction. SUMS may be NULL. */
must_check
int wave_unpack(json_t *json, struct wave *w, struct wave_sums *sums, struct err *e);
bool wave_state_parse(const char *name, enum wave_state *out);

/* N ids as one string. */
json_t *accounts_pack(const struct account_id *ids, size_t n);
/* At most MAX; *IDS is the caller's to free. */
must_check
int accounts_unpack(json_t *json, size_t max, struct account_id **ids, size_t *n, struct err *e);

/* The length of an array of at most MAX. */
must_check
int rows_count(json_t *json, size_t max, size_t *n, struct err *e);
