/* stats.c - see stats.h.
 *
 * A histogram's buckets: one for each value below EXACT, then SLICES equal slices of every power of
 * two. A slice is between 3.6% and 7.1% wide, so its middle is at most 3.6% off.
 */
#include "base/stats.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EXACT        32
#define FIRST_OCTAVE 5  /* 2^5 is EXACT */
#define LAST_OCTAVE  29 /* ends at 1,073 s; what is longer is counted there too */
#define SLICES       14
#define BUCKETS      (EXACT + (LAST_OCTAVE - FIRST_OCTAVE + 1) * SLICES)
_Static_assert(BUCKETS <= HISTOGRAM_BUCKETS, "every value has a bucket");

/* The octaves whose ends are told to Prometheus: 127 us to 67 s. */
#define FIRST_TOLD 6
#define LAST_TOLD  25

static struct counter *_Atomic counters;
static struct histogram *_Atomic histograms;

static void
register_counter(struct counter *c)
{
	if (atomic_load_explicit(&c->registered, memory_order_relaxed) ||
	    atomic_exchange(&c->registered, 1))
		return;
	c->next = atomic_load(&counters);
	while (!atomic_compare_exchange_weak(&counters, &c->next, c))
		;
}

static void
register_histogram(struct histogram *h)
{
	if (atomic_load_explicit(&h->registered, memory_order_relaxed) ||
	    atomic_exchange(&h->registered, 1))
		return;
	h->next = atomic_load(&histograms);
	while (!atomic_compare_exchange_weak(&histograms, &h->next, h))
		;
}

void
counter_add(struct counter *c, int64_t n)
{
	register_counter(c);
	atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);
}

void
counter_set(struct counter *c, int64_t v)
{
	register_counter(c);
	atomic_store_explicit(&c->value, v, memory_order_relaxed);
}

int64_t
counter_get(const struct counter *c)
{
	return atomic_load_explicit(&c->value, memory_order_relaxed);
}

/* The first bucket of OCTAVE. */
static unsigned
octave_start(unsigned octave)
{
	return EXACT + (octave - FIRST_OCTAVE) * SLICES;
}

static unsigned
bucket_of(uint64_t us)
{
	unsigned octave;

	if (us < EXACT)
		return (unsigned)us;
	octave = 63 - (unsigned)__builtin_clzll(us);
	if (octave > LAST_OCTAVE)
		return BUCKETS - 1;
	return octave_start(octave) + (unsigned)(((us - (1ull << octave)) * SLICES) >> octave);
}

/* The middle of bucket I. */
static uint64_t
bucket_middle(unsigned i)
{
	uint64_t base, halves;

	if (i < EXACT)
		return i;
	base = 1ull << ((i - EXACT) / SLICES + FIRST_OCTAVE);
	halves = 2 * ((i - EXACT) % SLICES) + 1; /* half slices above base */
	return base + base * halves / (2 * SLICES);
}

void
histogram_add(struct histogram *h, uint64_t us)
{
	uint64_t max = atomic_load_explicit(&h->max_us, memory_order_relaxed);

	register_histogram(h);
	atomic_fetch_add_explicit(&h->bucket[bucket_of(us)], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum_us, us, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->count, 1, memory_order_relaxed);
	while (us > max &&
	    !atomic_compare_exchange_weak_explicit(
	        &h->max_us, &max, us, memory_order_relaxed, memory_order_relaxed))
		;
}

uint64_t
histogram_quantile(const struct histogram *h, double q)
{
	uint64_t total = 0, seen = 0, wanted, max = atomic_load(&h->max_us);

	for (unsigned i = 0; i < BUCKETS; i++)
		total += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
	if (!total)
		return 0;
	wanted = (uint64_t)(q * (double)total);
	if (wanted >= total)
		return max;
	for (unsigned i = 0; i < BUCKETS; i++) {
		seen += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
		if (seen > wanted) {
			uint64_t middle = bucket_middle(i);

			/* The last bucket has no upper end. */
			return middle > max || i == BUCKETS - 1 ? max : middle;
		}
	}
	return max;
}

/* "name{labels} " with EXTRA as one more label; either may be NULL. */
static void
write_name(
    struct buf *out, const char *name, const char *suffix, const char *labels, const char *extra)
{
	buf_printf(out, "%s%s", name, suffix);
	if (labels || extra)
		buf_printf(out, "{%s%s%s}", labels ? labels : "", labels && extra ? "," : "",
		    extra ? extra : "");
	buf_add_char(out, ' ');
}

static void
write_head(struct buf *out, const char *name, const char *help, const char *type)
{
	buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void
write_histogram(struct buf *out, const struct histogram *h)
{
	uint64_t below = 0;
	unsigned i = 0;
	char le[48];

	for (unsigned o = FIRST_TOLD; o <= LAST_TOLD; o++) {
		for (; i < octave_start(o + 1); i++)
			below += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
		/* "le" includes its bound; the octave ends one microsecond before the next. */
		snprintf(le, sizeof(le), "le=\"%.6f\"", ((double)(2ull << o) - 1) / 1e6);
		write_name(out, h->name, "_bucket", h->labels, le);
		buf_printf(out, "%" PRIu64 "\n", below);
	}
	for (; i < BUCKETS; i++)
		below += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
	write_name(out, h->name, "_bucket", h->labels, "le=\"+Inf\"");
	buf_printf(out, "%" PRIu64 "\n", below);
	write_name(out, h->name, "_sum", h->labels, NULL);
	buf_printf(out, "%.6f\n", (double)atomic_load(&h->sum_us) / 1e6);
	/* The buckets' own sum, so that the two agree while others count. */
	write_name(out, h->name, "_count", h->labels, NULL);
	buf_printf(out, "%" PRIu64 "\n", below);
}

/* One family (a name with all its labels) has to stay together under one head. */
static void
write_counters(struct buf *out)
{
	struct counter *all = atomic_load(&counters);

	for (struct counter *c = all; c; c = c->next) {
		struct counter *first = all;

		while (strcmp(first->name, c->name) != 0)
			first = first->next;
		if (first != c)
			continue;
		write_head(out, c->name, c->help, c->is_gauge ? "gauge" : "counter");
		for (struct counter *m = c; m; m = m->next) {
			if (strcmp(m->name, c->name) != 0)
				continue;
			write_name(out, m->name, "", m->labels, NULL);
			buf_printf(out, "%" PRId64 "\n", counter_get(m));
		}
	}
}

static void
write_histograms(struct buf *out)
{
	struct histogram *all = atomic_load(&histograms);

	for (struct histogram *h = all; h; h = h->next) {
		struct histogram *first = all;

		while (strcmp(first->name, h->name) != 0)
			first = first->next;
		if (first != h)
			continue;
		write_head(out, h->name, h->help, "histogram");
		for (struct histogram *m = h; m; m = m->next)
			if (strcmp(m->name, h->name) == 0)
				write_histogram(out, m);
	}
}

void
stats_write(struct buf *out)
{
	write_counters(out);
	write_histograms(out);
}
