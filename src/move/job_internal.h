/* job_internal.h - what a wave's job (job.c) and its workers (worker.c) share. */
#pragma once
#include "move/internal.h"

#define WORKERS_MAX 16

struct queued {
	struct account_id account;
	uint32_t tries;
};

struct queue {
	struct queued *items;
	size_t n, cap;
};

struct job {
	struct mover *mover;
	struct wave wave;
	struct job *next;
	pthread_t thread, workers[WORKERS_MAX];
	unsigned n_workers;
	atomic_uint active; /* units under way */
	atomic_bool is_held, is_cancelled, is_over;
	atomic_bool must_recover; /* of some items that have moved the directory may not know */

	atomic_uint numbered; /* workers that have taken their number */
	pthread_mutex_t lock;
	struct stream *streams[WORKERS_MAX]; /* by worker */
	struct queue cold, hot;
	struct wave_item *updates;
	size_t n_updates, cap_updates;
	char last_error[240];

	uint64_t began_ns, sent_bytes, sent_accounts;
	/* the rate limits: when what was sent so far would have been due */
	uint64_t bytes_due_ns, accounts_due_ns;

	/* the job's own thread */
	struct account_id after;
	bool has_after, waiting_read;
	uint64_t round_from, round_to; /* of the pass over what was put off that is going on */
};

/* What keeps the job from its work, for mover_status and the log. */
void job_trouble(struct job *j, const struct err *e);
/* A unit has got through, so that is over. */
void job_is_well(struct job *j);
/* An item's new state, for the directory. */
void job_update(struct job *j, const struct wave_item *item);
/* The same, with the job locked. */
void job_note(struct job *j, const struct wave_item *item);
/* An item whose account has left, so that it is told. */
void job_report_left(struct job *j, struct wave_item *item);
/* With the job locked. */
void queue_add(struct queue *q, const struct queued *x);

/* One worker's thread: its own stream, a unit after the other. */
void *worker_run(void *job);
