/* standby_internal.h - between the files of a node that ships: standby.c (start, stop, waiting), term.c
 * (the lease), shipper.c (the conversation), ship_chunks.c.
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "directory/stream.h"
#include "engine/tail.h"
#include "standby/frames.h"
#include "standby/standby.h"

#define LAG_SAMPLES 1024

/* Changes below NEXT were durable at this time. */
struct lag_sample {
	uint64_t next, at_ms;
};

struct standby {
	struct standby_config c;
	struct region_term term;
	_Atomic uint64_t lease_until_ms; /* by lease_clock_ms */
	_Atomic bool is_lost;            /* the term is another's: for ever */
	_Atomic bool is_stopping;
	_Atomic bool is_following; /* the standby is there, and has no copy to wait for */

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	uint64_t cancel_at_ms; /* from then on nobody waits any more; 0: never */
	bool is_connected, is_copying;
	uint64_t acked;     /* the standby has everything below, durably */
	uint64_t compacted; /* its files have nothing that was deleted below */
	uint64_t want_compacted;
	bool is_poked; /* something became durable */
	enum {
		KEY_UNASKED,
		KEY_ASKED,
		KEY_THERE,
		KEY_MISSING
	} key; /* what the standby says of KEY_DIGEST */
	uint8_t key_digest[SHA256_BYTES];
	struct lag_sample lag[LAG_SAMPLES];
	size_t lag_first, lag_n;

	/* the shipper's */
	struct stream *stream;
	struct buf out;         /* a frame */
	uint64_t next;          /* what is to be sent next */
	uint64_t shipment_from; /* where the last one that was confirmed began */
	uint64_t undurable_since_ms, last_answer_ms, last_compact_ms;
	bool has_followed; /* on this connection */
	uint64_t
	    rest_ms; /* since it came to nothing the last time, until REST_UNTIL_MS; 0: it did not */
	uint64_t rest_until_ms;
	struct buf shipment;
	struct buf chunks;  /* of struct ship_chunk: those that the shipment refers to */
	uint64_t whole_at;  /* see ship_head */
	bool is_unreadable; /* since the last copy that was whole: records, and it was told */

	pthread_t term_thread, ship_thread;
	bool has_term_thread, has_ship_thread;
};

/* --- term.c --- */

/* Goes on while the machine sleeps. */
uint64_t lease_clock_ms(void);
/* Somebody who has to know has answered: we were the region at SENT_MS, and are for the lease. */
void lease_renew(struct standby *s, uint64_t sent_ms);
/* Read, make or give up the term, as standby_start says. *GOES_ON: there is something to be started. */
must_check
int term_settle(struct standby *s, bool *goes_on, struct err *e);
/* Ask the directory. */
must_check
int term_ask(struct standby *s, struct err *e);
void *term_run(void *standby);
/* Make T the term of the node whose store G is. Durable. */
must_check
int term_store(struct engine *g, const struct region_term *t, struct err *e);

/* --- shipper.c --- */
void *ship_run(void *standby);
/* Send what is in s->out as a frame and wait for the answer, which must be WANT. */
must_check
int ship_ask(struct standby *s, enum ship_frame type, enum ship_frame want, struct span *answer,
    struct err *e);

/* --- ship_chunks.c --- */

/* Note which chunks the changes from FROM to the end of s->shipment refer to. 0: these changes must not go
 * into one shipment with those before (nothing was noted); 1. */
must_check
int chunks_note(struct standby *s, size_t from, struct err *e);
/* Send those that the standby does not have. */
must_check
int chunks_ship(struct standby *s, struct err *e);
