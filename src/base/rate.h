/* rate.h - how many a second for each of very many, in a fixed amount of memory and without locks.
 *
 * A token bucket a key: BURST at once, then PER_S a second. Each is one word, the time until which it is
 * spent (the "virtual scheduling" form of the generic cell rate algorithm, ITU-T I.371), kept in sets of
 * four; where more keys are busy than there are places, the one that would be free next begins anew.
 * Keys are spread by a hash with a secret, so that nobody can choose which others share his place. Any
 * thread.
 */
#pragma once
#include "base/cleanup.h"
#include "base/err.h"

struct rate;
/* PER_S and BURST are at least 1. PLACES: about how many keys may be busy at once. */
must_check
struct rate *rate_new(uint64_t per_s, uint64_t burst, size_t places, struct err *e);
void rate_free(struct rate *r);
CLEANUP(struct rate, rate_free)

/* Take one of KEY; false: there is none now, and one within a second. Being refused costs nothing. */
bool rate_take(struct rate *r, const uint8_t key[static 16]);
uint64_t rate_per_s(const struct rate *r);
uint64_t rate_burst(const struct rate *r);
