/* stats.h - counters and latency histograms, for /metrics and for progress. Any thread, no lock.
 *
 * Metrics are static objects which register themselves on first use; names and label values
 * never carry anything personal.
 */
#pragma once
#include <stdatomic.h>
#include "base/buf.h"

struct counter {
	const char *name;   /* "domicile_commits_total" */
	const char *labels; /* "state=\"home\"" or NULL */
	const char *help;
	bool is_gauge;
	_Atomic int64_t value;
	_Atomic int registered;
	struct counter *next;
};

#define COUNTER(name_, labels_, help_) \
	{ \
		.name = name_, .labels = labels_, .help = help_ \
	}
#define GAUGE(name_, labels_, help_) \
	{ \
		.name = name_, .labels = labels_, .help = help_, .is_gauge = true \
	}

/* N may be negative only in a gauge, and only a gauge is set. */
void counter_add(struct counter *c, int64_t n);
void counter_set(struct counter *c, int64_t v);
int64_t counter_get(const struct counter *c);

#define HISTOGRAM_BUCKETS 400

/* Latencies in microseconds in buckets about 5% wide, up to 1073 s. */
struct histogram {
	const char *name;
	const char *labels;
	const char *help;
	_Atomic uint64_t count, sum_us, max_us;
	_Atomic uint64_t bucket[HISTOGRAM_BUCKETS];
	_Atomic int registered;
	struct histogram *next;
};

#define HISTOGRAM(name_, labels_, help_) \
	{ \
		.name = name_, .labels = labels_, .help = help_ \
	}

/* One of US microseconds. */
void histogram_add(struct histogram *h, uint64_t us);
/* The value below which a share Q (0..1) lies, in microseconds, at most 5% off; 0 if empty. */
uint64_t histogram_quantile(const struct histogram *h, double q);

/* Prometheus text exposition format 0.0.4 of everything registered. */
void stats_write(struct buf *out);
