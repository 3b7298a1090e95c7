/* move.pml - the move of one account (DESIGN.md 7) for spin. What it covers, what not, and how its steps map to
 * the C code: docs/model.md. tests/model/check runs it.
 *
 * Every step is a guarded d_step over global state; a thread's program counter is a variable of it, so a crash
 * is one assignment. What a node has in memory and what is on its disk are two sets of variables: flush() copies
 * the first to the second, a crash the second to the first. Faults are finite, and nothing is tried again
 * without a fault: so every run ends, and what has to come about in the end is asserted there (the_end).
 *
 * Content is a set of writes: bit 0 is what the account had before the move, bit i the client's i-th write. So
 * 0 means: nothing is there, and equal sets stand for equal roots.
 */

/* --- bounds; each may be given with -D --- */

#ifndef UNITS
#define UNITS 2 /* times the source sets out to move the account; each has a connection of its own */
#endif
#ifndef WRITES
#define WRITES 2
#endif
#ifndef CRASHES_S
#define CRASHES_S 1
#endif
#ifndef CRASHES_D
#define CRASHES_D 1
#endif
#ifndef LOSSES
#define LOSSES 1 /* connections broken, calls to the directory or answers lost (its crashes are these) */
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 1 /* given up, or cancelled, although the answer might still come */
#endif
#ifndef FAILURES
#define FAILURES 0 /* flushes that fail, on either side, and take back what they were to make durable */
#endif
#ifndef ONWARDS
#define ONWARDS 1 /* moves of the account from the destination to a third region */
#endif

/* --- names --- */

/* Homes (vault/homes.h). FENCED + a: for attempt a. */
#define NONE     0
#define HERE     1
#define MOVED    2
#define ARRIVING 3
#define PREPARED 4
#define FENCED   8

/* Move records (move/record.h); NONE, and PREPARED_FOR + a, FENCED + a. */
#define COPYING      1
#define PREPARED_FOR 16

/* The row's home. */
#define AT_S 0
#define AT_D 1
#define AT_X 2

/* A connection never has more than one message under way: the two sides take turns. DATA stands for DATA
 * and SYNC, SEAL for the tail and SEAL. */
mtype:message = { nothing, OPEN, OPENED, REFUSED, DATA, SYNCED, SEAL, DONE, NOT_DONE, LEARNED };
/* Source's unit. */
mtype:unit = { U_IDLE, U_FOUND, U_OPENING, U_COPYING, U_FENCING, U_DRAINING, U_PUT_BACK, U_FENCED, U_SEALED,
	U_MOVED, U_FAILED, U_FAILED_FENCED };
/* Destination's thread of one connection. */
mtype:thread = { T_NONE, T_CHECKED, T_ARRIVING, T_BAD, T_PREPARED, T_ASKED, T_SWAPPED, T_REFUSED, T_LOST,
	T_SETTLED, T_ENDED };
/* The read lease at the source, as its clock has it. */
mtype:lease = { UNSEALED, RUNNING, OVER };
/* The client's write: inside the gate, applied and out of the gate, durable (the answer is on its way). */
mtype:write = { C_IDLE, IN_S, APPLIED_S, DURABLE_S, IN_D, APPLIED_D, DURABLE_D };

/* Resolver's entry for one attempt. */
#define R_NONE      0
#define R_WAIT      1
#define R_ASKED     2
#define R_DONE      3
#define R_REFUSED   4
#define R_MOVED     5
#define R_ONWARD    6
#define R_CANCELLED 8 /* + the row's attempt */

/* Eraser's entry. */
#define E_NONE    0
#define E_WAITS   1
#define E_REMOVED 2

/* --- state --- */

/* directory: durable, changed one transaction at a time */
byte row_home = AT_S, row_attempt = 0;
byte ask_cancel = 0, ask_swap = 0; /* calls under way, a bit for each attempt */

/* network */
mtype:message msg[UNITS] = nothing;
byte carries[UNITS]; /* content that DATA or SEAL carries */
byte attempt[UNITS]; /* the one that OPEN named */
bool is_broken[UNITS];

/* source: memory, then disk */
byte s_home = HERE, s_record = NONE, s_data = 1;
bool s_erase, s_proof;
byte s_home_d = HERE, s_record_d = NONE, s_data_d = 1;
bool s_erase_d, s_proof_d;
/* only in memory */
mtype:unit s_unit = U_IDLE;
byte units = 0; /* begun; connection of the one that is going on: units - 1 */
byte s_read = 0; /* what the statement will say */
bool s_fencing, s_read_closed;
bool s_failed; /* a flush, since this unit began to export */
mtype:lease s_lease = UNSEALED;
byte s_settle[UNITS]; /* by attempt */
byte s_eraser = E_NONE;

/* destination: memory, then disk */
byte d_home = NONE, d_record = NONE, d_data = 0;
bool d_erase, d_proof;
byte d_home_d = NONE, d_record_d = NONE, d_data_d = 0;
bool d_erase_d, d_proof_d;
/* only in memory */
mtype:thread thread[UNITS] = T_NONE;
byte took[UNITS];    /* what the thread has taken and believes to be stored */
bool t_failed[UNITS]; /* a flush, since its unit was opened */
bool d_rescan;       /* the resolver has yet to look at all move records again */
bool d_open;         /* writes: no longer delayed */
byte d_settle[UNITS];
byte d_eraser = E_NONE;

/* client */
mtype:write c_write = C_IDLE;
byte writes = 0;
byte acked = 1;

/* faults left */
byte crashes_s = CRASHES_S, crashes_d = CRASHES_D, losses = LOSSES, timeouts = TIMEOUTS, onwards = ONWARDS,
     failures = FAILURES;

/* what assertions need to know */
bool d_signed; /* a receipt exists */

/* Named, so that an error says which promise it breaks. -DONLY=<name> looks for one alone. */
#define EVERY              0
#define ONE_HOME           1
#define NO_LOSS            2
#define NO_STALE_READ      3
#define RECEIPT_FIRST      4
#define ERASED_ONCE        5
#define EVERY_FENCE_ENDS   6
#define EVERY_ARRIVAL_ENDS 7
#define ERASED_IN_THE_END  8
#define SERVED_IN_THE_END  9
#ifndef ONLY
#define ONLY EVERY
#endif
#define LOOKS_FOR(promise) (ONLY == EVERY || ONLY == promise)

bool one_home = true, no_loss = true, no_stale_read = true, receipt_first = true, erased_once = true,
     every_fence_ends = true, every_arrival_ends = true, erased_in_the_end = true,
     served_in_the_end = true;

/* --- promises that are states --- */

#define IS_FENCED (s_home >= FENCED)
#define S_READS                                                                                                      \
	(s_home == HERE || (IS_FENCED && !s_read_closed && s_lease != OVER))
#define S_WRITES  ((s_home == HERE && !s_fencing) || c_write == IN_S)
#define D_READS   (d_home == HERE)
#define D_WRITES  ((d_home == HERE && d_open) || c_write == IN_D)

#define TWO_HOMES (S_WRITES && D_WRITES)
/* What was acknowledged is on the disk of the region that the directory names. (Where the account moved on
 * to a third region, the copy that it was made from stands for it.) */
#define LOST      ((row_home == AT_S && (acked & ~s_data_d)) || (row_home != AT_S && (acked & ~d_data_d)))
/* A read could be answered now that does not show what was acknowledged before it began. */
#define STALE     ((S_READS && (acked & ~s_data)) || (D_READS && (acked & ~d_data)))

/* --- breaks: each must be found --- */

#ifdef BREAK_UNFENCE_WITHOUT_CANCEL
#define ASKS_BEFORE_UNFENCING false
#else
#define ASKS_BEFORE_UNFENCING true
#endif
#ifdef BREAK_READ_BEFORE_DRAIN
#define READS_AFTER_DRAIN false
#else
#define READS_AFTER_DRAIN true
#endif
#ifdef BREAK_ERASE_EARLY
#define ERASES_EARLY true
#else
#define ERASES_EARLY false
#endif
#ifdef BREAK_NO_LEASE
#define DELAYS_WRITES false
#else
#define DELAYS_WRITES true
#endif
#ifdef BREAK_DROP_PREPARED
#define ASKS_BEFORE_DROPPING false
#else
#define ASKS_BEFORE_DROPPING true
#endif
#ifdef BREAK_FENCE_SOON /* the fence rides on a later flush */
#define FLUSHES_FENCE false
#else
#define FLUSHES_FENCE true
#endif
#ifdef BREAK_PREPARED_SOON /* so does `prepared` */
#define FLUSHES_PREPARED false
#else
#define FLUSHES_PREPARED true
#endif
#ifdef BREAK_RESTART_READS /* a fenced home that was restarted goes on reading */
#define CLOSES_READS false
#else
#define CLOSES_READS true
#endif
#ifdef BREAK_RESTART_OPENS /* a new home that was restarted takes writes at once */
#define DELAYS_AFTER_RESTART false
#else
#define DELAYS_AFTER_RESTART true
#endif
#ifdef BREAK_ONWARD_UNKNOWN /* a fenced home knows only the epoch after its own */
#define KNOWS_ONWARD false
#else
#define KNOWS_ONWARD true
#endif
#ifdef BREAK_ARRIVE_UNLOCKED /* between looking whether an account may arrive and `arriving` others may run */
#define ARRIVES_AT_ONCE false
#else
#define ARRIVES_AT_ONCE true
#endif
#ifdef BREAK_UNCLAIMED /* a unit begins while an earlier fence is unsettled */
#define CLAIMS false
#else
#define CLAIMS true
#endif
#ifdef BREAK_STALE_ENTRY_S /* who settles or gives up does not look whether the records still say what he knows */
#define KNOWS_STALE_S false
#else
#define KNOWS_STALE_S true
#endif
#ifdef BREAK_STALE_ENTRY_D
#define KNOWS_STALE_D false
#else
#define KNOWS_STALE_D true
#endif
#ifdef BREAK_PREPARE_UNCHECKED /* whether a flush has failed is asked after `prepared` was written */
#define CHECKS_BEFORE_PREPARED false
#else
#define CHECKS_BEFORE_PREPARED true
#endif

#ifdef BREAK_FORGET_ARRIVAL /* a restart overlooks `arriving` */
#define REMEMBERS_ARRIVAL false
#else
#define REMEMBERS_ARRIVAL true
#endif
#ifdef BREAK_FORGET_ERASURE /* what was given up is not written down for the eraser */
#define REMEMBERS_ERASURE false
#else
#define REMEMBERS_ERASURE true
#endif

/* --- pieces --- */

inline s_flush()
{
	s_home_d = s_home;
	s_record_d = s_record;
	s_data_d = s_data;
	s_erase_d = s_erase;
	s_proof_d = s_proof;
	if
	:: c_write == APPLIED_S -> c_write = DURABLE_S
	:: else
	fi
}

inline d_flush()
{
	d_home_d = d_home;
	d_record_d = d_record;
	d_data_d = d_data;
	d_erase_d = d_erase;
	d_proof_d = d_proof;
	if
	:: c_write == APPLIED_D -> c_write = DURABLE_D
	:: else
	fi
}

/* source_record_moved: not flushed. */
inline s_moved()
{
	s_home = MOVED;
	s_record = NONE;
	s_erase = true;
	s_lease = UNSEALED;
	s_read_closed = false;
	if
	:: LOOKS_FOR(ERASED_ONCE) && (s_eraser != E_NONE || s_data == 0) ->
		erased_once = false;
		assert(erased_once)
	:: else
	fi;
	s_eraser = E_WAITS
}

/* unfence, put_back */
inline s_here()
{
	s_home = HERE;
	s_lease = UNSEALED;
	s_read_closed = false
}

/* target_record_home: not flushed. */
inline d_here()
{
	d_home = HERE;
	d_record = NONE;
	d_proof = true;
	d_signed = true;
	d_open = !DELAYS_WRITES
}

/* target_record_given_up; a home that is HERE can't become none. */
inline d_give_up()
{
	if
	:: d_home == ARRIVING || d_home == PREPARED || d_home == NONE ->
		d_home = NONE;
		d_record = NONE;
		d_erase = REMEMBERS_ERASURE;
		d_eraser = E_WAITS;
		d_flush()
	:: else
	fi
}

#define BIT(a) (1 << (a))
#define CONN   (units - 1)
/* Not, or no longer, prepared for attempt a. */
#define IS_STALE(a) (KNOWS_STALE_D && d_record != PREPARED_FOR + (a))
/* The source is done with connection c. */
#define S_LEFT(c) (s_unit == U_IDLE || c != CONN)
/* Nothing can come any more from the destination's side. */
#define D_LEFT(c)                                                                                                    \
	((is_broken[c] || thread[c] == T_ENDED) &&                                                                    \
	    !(msg[c] == OPENED || msg[c] == REFUSED || msg[c] == SYNCED || msg[c] == DONE || msg[c] == NOT_DONE))

/* --- the source --- */

proctype source_unit()
{
end:
	do
	:: d_step {
		s_unit == U_IDLE && units < UNITS && s_home == HERE && row_home == AT_S &&
		    (s_record == NONE || !CLAIMS) ->
		printf("s_find\n");
		attempt[units] = row_attempt;
		units++;
		s_unit = U_FOUND
	   }
	:: d_step {
		s_unit == U_FOUND ->
		printf("s_open\n");
		s_record = COPYING;
		s_flush();
		msg[CONN] = OPEN;
		s_unit = U_OPENING
	   }
	:: d_step {
		s_unit == U_OPENING && msg[CONN] == OPENED ->
		printf("s_copy\n");
		msg[CONN] = DATA;
		carries[CONN] = s_data;
		s_failed = false;
		s_unit = U_COPYING
	   }
	:: d_step {
		s_unit == U_OPENING && msg[CONN] == REFUSED ->
		printf("s_open_refused\n");
		msg[CONN] = nothing;
		s_unit = U_FAILED
	   }
	:: d_step {
		s_unit == U_COPYING && msg[CONN] == SYNCED ->
		printf("s_fence\n");
		msg[CONN] = nothing;
		s_fencing = true;
		s_unit = U_FENCING
	   }
	:: d_step {
		s_unit == U_FENCING ->
		printf("s_fence_durable\n");
		s_home = FENCED + attempt[CONN];
		s_record = FENCED + attempt[CONN];
		s_lease = UNSEALED;
		s_read_closed = false;
		s_read = s_data;
		if
		:: FLUSHES_FENCE -> s_flush()
		:: else
		fi;
		s_unit = U_DRAINING
	   }
	:: d_step {
		s_unit == U_DRAINING && c_write != IN_S ->
		printf("s_drained\n");
		s_fencing = false;
		s_unit = U_FENCED
	   }
	:: d_step {
		s_unit == U_DRAINING && c_write == IN_S && timeouts > 0 ->
		printf("s_put_back\n");
		timeouts--;
		s_here();
		s_flush();
		s_fencing = false;
		s_unit = U_PUT_BACK
	   }
	:: d_step {
		s_unit == U_FENCED && s_failed -> /* what was taken back must not travel */
		printf("s_export_stale\n");
		s_failed = false;
		s_unit = U_FAILED_FENCED
	   }
	:: d_step {
		s_unit == U_FENCED && !s_failed ->
		printf("s_seal\n");
		if
		:: READS_AFTER_DRAIN -> s_read = s_data
		:: else
		fi;
		if
		:: IS_FENCED -> s_lease = RUNNING
		:: else
		fi;
		if
		:: !is_broken[CONN] && thread[CONN] != T_ENDED ->
			msg[CONN] = SEAL;
			carries[CONN] = s_read
		:: else
		fi;
		s_read = 0;
		s_unit = U_SEALED
	   }
	:: d_step {
		s_unit == U_SEALED && msg[CONN] == DONE && IS_FENCED ->
		printf("s_answered\n");
		msg[CONN] = nothing;
		s_proof = true;
		s_moved();
		s_unit = U_MOVED
	   }
	:: d_step {
		s_unit == U_SEALED && (msg[CONN] == NOT_DONE || (msg[CONN] == DONE && !IS_FENCED)) ->
		printf("s_refused\n");
		msg[CONN] = nothing;
		s_unit = U_FAILED_FENCED
	   }
	:: d_step {
		s_unit == U_MOVED ->
		printf("s_learned\n");
		if
		:: !is_broken[CONN] && thread[CONN] != T_ENDED -> msg[CONN] = LEARNED
		:: else
		fi;
		s_unit = U_IDLE
	   }
	/* The stream ended, or nothing came in time, or the wave was cancelled. */
	:: d_step {
		(s_unit == U_OPENING || s_unit == U_COPYING) && (D_LEFT(CONN) || timeouts > 0) ->
		printf("s_gives_up_copying\n");
		if
		:: D_LEFT(CONN)
		:: else -> timeouts--
		fi;
		s_unit = U_FAILED
	   }
	:: d_step {
		s_unit == U_SEALED && (D_LEFT(CONN) || timeouts > 0) ->
		printf("s_no_answer\n");
		if
		:: D_LEFT(CONN)
		:: else -> timeouts--
		fi;
		s_unit = U_FAILED_FENCED
	   }
	:: d_step {
		s_unit == U_FAILED || s_unit == U_PUT_BACK ->
		printf("s_give_up\n");
		s_record = NONE;
		s_flush();
		s_unit = U_IDLE
	   }
	:: d_step {
		s_unit == U_FAILED_FENCED ->
		printf("s_leave_to_resolver\n");
		if
		:: ASKS_BEFORE_UNFENCING -> s_settle[attempt[CONN]] = R_WAIT
		:: else ->
			s_here();
			s_record = NONE;
			s_flush()
		fi;
		s_unit = U_IDLE
	   }
	od
}

/* The source's clock and disk. */
proctype source_clock()
{
end:
	do
	:: d_step {
		s_lease == RUNNING ->
		printf("s_lease_over\n");
		s_lease = OVER
	   }
	:: d_step {
		s_home != s_home_d || s_record != s_record_d || s_data != s_data_d || s_erase != s_erase_d ||
		    s_proof != s_proof_d || c_write == APPLIED_S ->
		printf("s_flush\n");
		s_flush()
	   }
	od
}

/* A flush at the source fails while commits wait for it: they are gone, and the client gets an error. (One that
 * fails under a record is as a crash there.) The resolver looks at all fences again, also at one that a unit
 * is still busy with. */
proctype source_failure()
{
end:
	do
	:: d_step {
		failures > 0 && s_data != s_data_d && s_home == s_home_d && s_record == s_record_d ->
		printf("s_flush_fails\n");
		failures--;
		s_data = s_data_d;
		s_failed = (s_unit == U_COPYING || s_unit == U_FENCING || s_unit == U_DRAINING ||
		    s_unit == U_FENCED);
		if
		:: c_write == APPLIED_S -> c_write = C_IDLE
		:: else
		fi;
		if
		:: IS_FENCED && s_record == s_home && s_settle[s_home - FENCED] == R_NONE ->
			s_settle[s_home - FENCED] = R_WAIT
		:: else
		fi
	   }
	od
}

/* One entry, for the move of attempt a. */
proctype source_resolver(byte a)
{
end:
	do
	:: d_step {
		s_settle[a] == R_WAIT ->
		printf("s_ask\n");
		ask_cancel = ask_cancel | BIT(a);
		s_settle[a] = R_ASKED
	   }
	:: d_step {
		s_settle[a] == R_ASKED && (!(ask_cancel & BIT(a)) || timeouts > 0) ->
		printf("s_ask_again\n");
		if
		:: ask_cancel & BIT(a) -> timeouts--
		:: else
		fi;
		s_settle[a] = R_WAIT
	   }
	/* The gate refuses while another fence is going on, and for one of this attempt or a later one. */
	:: d_step {
		s_settle[a] >= R_CANCELLED && !s_fencing && s_home != MOVED &&
		    !(IS_FENCED && s_settle[a] - R_CANCELLED <= s_home - FENCED) ->
		printf("s_unfence\n");
		s_here();
		s_record = NONE;
		s_flush();
		s_settle[a] = R_NONE
	   }
	:: d_step {
		s_settle[a] >= R_CANCELLED && s_home == MOVED ->
		printf("s_unfence_refused\n");
		s_settle[a] = R_WAIT
	   }
	:: d_step {
		(s_settle[a] == R_MOVED || (s_settle[a] == R_ONWARD && KNOWS_ONWARD)) && !s_fencing &&
		    (IS_FENCED || s_home == MOVED) ->
		printf("s_settle_moved\n");
		if
		:: IS_FENCED || !KNOWS_STALE_S -> s_moved()
		:: else
		fi;
		s_settle[a] = R_NONE
	   }
	od
}

proctype source_eraser()
{
end:
	do
	:: d_step {
		s_eraser == E_WAITS && !s_proof && d_proof ->
		printf("s_fetch_proof\n");
		s_proof = true;
		s_flush()
	   }
	:: d_step {
		(s_eraser == E_WAITS && s_proof && s_data != 0 && s_home == MOVED) ||
		    (ERASES_EARLY && s_unit == U_SEALED && s_data != 0) ->
		printf("s_erase\n");
		if
		:: LOOKS_FOR(RECEIPT_FIRST) && (!d_signed || !s_proof) ->
			receipt_first = false;
			assert(receipt_first)
		:: else
		fi;
		s_data = 0;
		s_flush();
		s_eraser = E_REMOVED
	   }
	:: d_step {
		s_eraser == E_WAITS && s_proof && s_data == 0 && s_home == MOVED ->
		printf("s_erase_again\n");
		s_eraser = E_REMOVED
	   }
	:: d_step {
		s_eraser == E_REMOVED ->
		printf("s_erased\n");
		s_erase = false;
		s_flush();
		s_eraser = E_NONE
	   }
	od
}

/* --- the destination --- */

proctype target(byte c)
{
end:
	do
	:: d_step {
		thread[c] == T_NONE && msg[c] == OPEN ->
		printf("t_open\n");
		if
		:: d_home == NONE && !d_erase && row_home == AT_S && row_attempt == attempt[c] ->
			msg[c] = nothing;
			thread[c] = T_CHECKED
		:: else ->
			msg[c] = REFUSED;
			thread[c] = T_ENDED
		fi;
		if
		:: thread[c] == T_CHECKED && ARRIVES_AT_ONCE ->
			d_home = ARRIVING;
			d_record = ARRIVING;
			d_flush();
			msg[c] = OPENED;
			thread[c] = T_ARRIVING
		:: else
		fi
	   }
	/* Only without the lock: homes_set takes `arriving` after `arriving`. */
	:: d_step {
		thread[c] == T_CHECKED ->
		printf("t_arriving\n");
		if
		:: d_home == NONE || d_home == ARRIVING ->
			d_home = ARRIVING;
			d_record = ARRIVING;
			d_flush();
			msg[c] = (is_broken[c] -> nothing : OPENED);
			thread[c] = T_ARRIVING
		:: else ->
			msg[c] = (is_broken[c] -> nothing : REFUSED);
			thread[c] = T_ENDED
		fi
	   }
	:: d_step {
		thread[c] == T_ARRIVING && msg[c] == DATA ->
		printf("t_take\n");
		d_data = d_data | carries[c];
		took[c] = carries[c];
		carries[c] = 0;
		msg[c] = SYNCED
	   }
	:: d_step {
		thread[c] == T_ARRIVING && msg[c] == SEAL ->
		printf("t_seal\n");
		if
		:: (d_home != ARRIVING && d_home != PREPARED) -> /* the gate refuses: the stream ends */
			msg[c] = nothing;
			is_broken[c] = true;
			thread[c] = T_BAD
		:: (d_home == ARRIVING || d_home == PREPARED) &&
		    (took[c] == 0 || (took[c] | carries[c]) != carries[c] || /* another root */
		        (t_failed[c] && CHECKS_BEFORE_PREPARED)) ->
			msg[c] = NOT_DONE;
			thread[c] = T_BAD
		:: else ->
			d_data = d_data | (carries[c] & ~took[c]);
			d_home = PREPARED;
			d_record = PREPARED_FOR + attempt[c];
			if
			:: FLUSHES_PREPARED -> d_flush()
			:: else
			fi;
			msg[c] = nothing;
			thread[c] = T_PREPARED
		fi;
		took[c] = 0;
		carries[c] = 0
	   }
	:: d_step {
		thread[c] == T_PREPARED && t_failed[c] -> /* only if it is asked too late */
		printf("t_drop_failed\n");
		d_give_up();
		is_broken[c] = true;
		thread[c] = T_ENDED
	   }
	:: d_step {
		thread[c] == T_PREPARED && !t_failed[c] ->
		printf("t_ask\n");
		ask_swap = ask_swap | BIT(attempt[c]);
		thread[c] = T_ASKED
	   }
	:: d_step {
		thread[c] == T_ASKED && (!(ask_swap & BIT(attempt[c])) || timeouts > 0) ->
		printf("t_no_answer\n");
		if
		:: ask_swap & BIT(attempt[c]) -> timeouts--
		:: else
		fi;
		if
		:: ASKS_BEFORE_DROPPING -> d_settle[attempt[c]] = R_WAIT
		:: else -> d_give_up()
		fi;
		thread[c] = T_ENDED
	   }
	:: d_step {
		thread[c] == T_SWAPPED ->
		printf("t_settle\n");
		if
		:: d_home == PREPARED || d_home == HERE -> /* the resolver may have been faster */
			if
			:: d_home == PREPARED -> d_here()
			:: else
			fi;
			msg[c] = (is_broken[c] -> nothing : DONE);
			thread[c] = T_SETTLED
		:: else ->
			d_settle[attempt[c]] = R_WAIT;
			thread[c] = T_ENDED
		fi
	   }
	:: d_step {
		thread[c] == T_REFUSED ->
		printf("t_refuse\n");
		msg[c] = (is_broken[c] -> nothing : NOT_DONE);
		thread[c] = T_LOST
	   }
	:: d_step {
		thread[c] == T_SETTLED && msg[c] == LEARNED ->
		printf("t_learned\n");
		msg[c] = nothing;
		if
		:: d_home == HERE -> d_open = true
		:: else
		fi
	   }
	/* The stream ended: what was sent before may have been read or not. Or nothing came in time. */
	:: d_step {
		(thread[c] == T_ARRIVING || thread[c] == T_BAD || thread[c] == T_LOST || thread[c] == T_SETTLED) &&
		    (S_LEFT(c) || is_broken[c] || timeouts > 0) ->
		printf("t_end\n");
		if
		:: S_LEFT(c) || is_broken[c]
		:: else -> timeouts--
		fi;
		if
		:: thread[c] == T_LOST && !IS_STALE(attempt[c]) -> d_give_up()
		:: (thread[c] == T_ARRIVING || thread[c] == T_BAD) && (d_home == ARRIVING || !KNOWS_STALE_D) ->
			d_give_up()
		:: else
		fi;
		if
		:: msg[c] == DATA || msg[c] == SEAL || msg[c] == LEARNED ->
			msg[c] = nothing;
			carries[c] = 0
		:: else
		fi;
		took[c] = 0;
		thread[c] = T_ENDED
	   }
	od
}

/* The destination's clock and disk. Its delay began after the source's lease and is as long: when it is over,
 * so is the lease. */
proctype target_clock()
{
end:
	do
	:: d_step {
		d_home == HERE && !d_open && s_lease != RUNNING ->
		printf("t_delay_over\n");
		d_open = true
	   }
	:: d_step {
		d_home != d_home_d || d_record != d_record_d || d_data != d_data_d || d_erase != d_erase_d ||
		    d_proof != d_proof_d || c_write == APPLIED_D ->
		printf("t_flush\n");
		d_flush()
	   }
	od
}

/* A flush at the destination fails, while pages of an arrival wait for it, or after it is prepared (then it was
 * some other account's). The resolver looks at all arrivals again, some time later, also at one that a thread
 * is still busy with. */
proctype target_failure()
{
	byte i = 0;
end:
	do
	:: d_step {
		failures > 0 && ((d_home == ARRIVING && d_data != d_data_d) || d_home == PREPARED) ->
		printf("t_flush_fails\n");
		failures--;
		if
		:: d_home == ARRIVING -> d_data = d_data_d
		:: else
		fi;
		d_rescan = true;
		i = 0;
		do
		:: i < UNITS ->
			t_failed[i] = (thread[i] == T_ARRIVING || thread[i] == T_BAD);
			i++
		:: else -> break
		od;
		i = 0
	   }
	:: d_step {
		d_rescan ->
		printf("t_rescan\n");
		d_rescan = false;
		if
		:: d_record >= PREPARED_FOR && d_settle[d_record - PREPARED_FOR] == R_NONE ->
			d_settle[d_record - PREPARED_FOR] = R_WAIT
		:: else
		fi
	   }
	od
}

proctype target_resolver(byte a)
{
end:
	do
	:: d_step {
		(d_settle[a] == R_WAIT || d_settle[a] == R_DONE || d_settle[a] == R_REFUSED) && IS_STALE(a) ->
		printf("t_settle_stale\n");
		d_settle[a] = R_NONE
	   }
	:: d_step {
		d_settle[a] == R_WAIT && !IS_STALE(a) ->
		printf("t_settle_ask\n");
		ask_swap = ask_swap | BIT(a);
		d_settle[a] = R_ASKED
	   }
	:: d_step {
		d_settle[a] == R_ASKED && (!(ask_swap & BIT(a)) || timeouts > 0) ->
		printf("t_settle_ask_again\n");
		if
		:: ask_swap & BIT(a) -> timeouts--
		:: else
		fi;
		d_settle[a] = R_WAIT
	   }
	:: d_step {
		d_settle[a] == R_DONE && d_home == PREPARED && !IS_STALE(a) ->
		printf("t_settle_home\n");
		d_here();
		d_settle[a] = R_NONE
	   }
	:: d_step {
		d_settle[a] == R_REFUSED && !IS_STALE(a) ->
		printf("t_settle_given_up\n");
		d_give_up();
		d_settle[a] = R_NONE
	   }
	od
}

proctype target_eraser()
{
end:
	do
	:: d_step {
		d_eraser == E_WAITS && (d_home == NONE || d_home == MOVED) ->
		printf("t_erase\n");
		d_data = 0;
		d_flush();
		d_eraser = E_REMOVED
	   }
	:: d_step {
		d_eraser == E_REMOVED ->
		printf("t_erased\n");
		if
		:: d_data == 0 ->
			d_erase = false;
			d_flush();
			d_eraser = E_NONE
		:: else -> d_eraser = E_WAITS /* it looked again and found something */
		fi
	   }
	/* The same account moves on from here: its further move is one step, and not looked into. */
	:: d_step {
		onwards > 0 && d_home == HERE && d_eraser == E_NONE && c_write != IN_D && c_write != APPLIED_D ->
		printf("t_moves_onward\n");
		onwards--;
		d_home = MOVED;
		d_open = false;
		d_flush();
		row_home = AT_X
	   }
	od
}

/* --- the directory --- */

inline answer_cancel(a)
{
	if
	:: s_settle[a] == R_ASKED && row_home == AT_S -> s_settle[a] = R_CANCELLED + row_attempt
	:: s_settle[a] == R_ASKED && row_home == AT_D -> s_settle[a] = R_MOVED
	:: s_settle[a] == R_ASKED && row_home == AT_X -> s_settle[a] = R_ONWARD
	:: else
	fi
}

inline answer_swap(a)
{
	byte i;

	i = 0;
	do
	:: i < UNITS ->
		if
		:: thread[i] == T_ASKED && attempt[i] == a && row_home == AT_D && row_attempt == a ->
			thread[i] = T_SWAPPED
		:: thread[i] == T_ASKED && attempt[i] == a && !(row_home == AT_D && row_attempt == a) ->
			thread[i] = T_REFUSED
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0;
	if
	:: d_settle[a] == R_ASKED && row_home == AT_D && row_attempt == a -> d_settle[a] = R_DONE
	:: d_settle[a] == R_ASKED && !(row_home == AT_D && row_attempt == a) -> d_settle[a] = R_REFUSED
	:: else
	fi
}

inline cancel(a)
{
	ask_cancel = ask_cancel & ~BIT(a);
	if
	:: row_home == AT_S && row_attempt == a -> row_attempt = a + 1
	:: else
	fi
}

inline swap(a)
{
	ask_swap = ask_swap & ~BIT(a);
	if
	:: row_home == AT_S && row_attempt == a -> row_home = AT_D
	:: else
	fi
}

proctype directory(byte a)
{
end:
	do
	:: d_step {
		ask_cancel & BIT(a) ->
		printf("r_cancel\n");
		cancel(a);
		answer_cancel(a)
	   }
	:: d_step {
		ask_swap & BIT(a) ->
		printf("r_swap\n");
		swap(a);
		answer_swap(a)
	   }
	/* The call is lost, or its answer; a crash of the directory is one or the other. */
	:: d_step {
		(ask_cancel & BIT(a)) && losses > 0 ->
		printf("r_cancel_lost\n");
		losses--;
		ask_cancel = ask_cancel & ~BIT(a)
	   }
	:: d_step {
		(ask_cancel & BIT(a)) && losses > 0 ->
		printf("r_cancel_answer_lost\n");
		losses--;
		cancel(a)
	   }
	:: d_step {
		(ask_swap & BIT(a)) && losses > 0 ->
		printf("r_swap_lost\n");
		losses--;
		ask_swap = ask_swap & ~BIT(a)
	   }
	:: d_step {
		(ask_swap & BIT(a)) && losses > 0 ->
		printf("r_swap_answer_lost\n");
		losses--;
		swap(a)
	   }
	od
}

/* --- the client: reads at any instant, wherever it may (STALE above); writes one after the other --- */

proctype client()
{
end:
	do
	:: d_step {
		c_write == C_IDLE && writes < WRITES && s_home == HERE && !s_fencing ->
		printf("c_enter_s\n");
		writes++;
		c_write = IN_S
	   }
	:: d_step {
		c_write == IN_S ->
		printf("c_commit_s\n");
		s_data = s_data | BIT(writes);
		c_write = APPLIED_S
	   }
	:: d_step {
		c_write == C_IDLE && writes < WRITES && d_home == HERE && d_open ->
		printf("c_enter_d\n");
		writes++;
		c_write = IN_D
	   }
	:: d_step {
		c_write == IN_D ->
		printf("c_commit_d\n");
		d_data = d_data | BIT(writes);
		c_write = APPLIED_D
	   }
	:: d_step {
		c_write == DURABLE_S || c_write == DURABLE_D ->
		printf("c_acknowledged\n");
		acked = acked | BIT(writes);
		c_write = C_IDLE
	   }
	od
}

/* --- faults --- */

inline s_restart()
{
	s_home = s_home_d;
	s_record = s_record_d;
	s_data = s_data_d;
	s_erase = s_erase_d;
	s_proof = s_proof_d;
	s_unit = U_IDLE;
	s_read = 0;
	s_fencing = false;
	s_failed = false;
	s_lease = UNSEALED;
	s_read_closed = IS_FENCED && CLOSES_READS;
	s_eraser = (s_erase -> E_WAITS : E_NONE);
	i = 0;
	do
	:: i < UNITS ->
		s_settle[i] = (s_record == FENCED + i -> R_WAIT : R_NONE);
		i++
	:: else -> break
	od;
	i = 0;
	if
	:: s_record == COPYING ->
		s_record = NONE;
		s_flush()
	:: else
	fi;
	if
	:: c_write == IN_S || c_write == APPLIED_S || c_write == DURABLE_S -> c_write = C_IDLE
	:: else
	fi
}

inline d_restart()
{
	d_home = d_home_d;
	d_record = d_record_d;
	d_data = d_data_d;
	d_erase = d_erase_d;
	d_proof = d_proof_d;
	d_rescan = false;
	d_open = (d_home == HERE && !DELAYS_AFTER_RESTART);
	d_eraser = (d_erase -> E_WAITS : E_NONE);
	i = 0;
	do
	:: i < UNITS ->
		d_settle[i] = (d_record == PREPARED_FOR + i -> R_WAIT : R_NONE);
		if
		:: i < units ->
			took[i] = 0;
			t_failed[i] = false;
			thread[i] = T_ENDED;
			if
			:: msg[i] == OPEN || msg[i] == DATA || msg[i] == SEAL || msg[i] == LEARNED ->
				msg[i] = nothing;
				carries[i] = 0
			:: else
			fi
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0;
	if
	:: d_record == ARRIVING && REMEMBERS_ARRIVAL -> d_give_up()
	:: else
	fi;
	if
	:: c_write == IN_D || c_write == APPLIED_D || c_write == DURABLE_D -> c_write = C_IDLE
	:: else
	fi
}

/* A crash and the restart are one step: while a node is down nothing of it happens, and its not doing anything
 * for a while is in every interleaving. */
proctype faults()
{
	byte i = 0;
end:
	do
	/* What it had sent may still come. */
	:: d_step {
		crashes_s > 0 ->
		printf("s_crash\n");
		crashes_s--;
		s_restart()
	   }
	/* Or not. */
	:: d_step {
		crashes_s > 0 && s_unit != U_IDLE && s_unit != U_FOUND && msg[CONN] != nothing ->
		printf("s_crash_and_reset\n");
		crashes_s--;
		msg[CONN] = nothing;
		carries[CONN] = 0;
		is_broken[CONN] = true;
		if
		:: thread[CONN] == T_NONE -> thread[CONN] = T_ENDED
		:: else
		fi;
		s_restart()
	   }
	:: d_step {
		crashes_d > 0 && units > 0 ->
		printf("t_crash\n");
		crashes_d--;
		d_restart()
	   }
	:: d_step {
		losses > 0 && s_unit != U_IDLE && s_unit != U_FOUND && !is_broken[CONN] &&
		    thread[CONN] != T_ENDED ->
		printf("n_break\n");
		losses--;
		msg[CONN] = nothing;
		carries[CONN] = 0;
		is_broken[CONN] = true;
		if
		:: thread[CONN] == T_NONE -> thread[CONN] = T_ENDED
		:: else
		fi
	   }
	od
}

/* --- what must hold --- */

/* Enabled only where a promise is broken, so it costs no states. */
proctype monitor()
{
end:
	do
	:: d_step {
		LOOKS_FOR(ONE_HOME) && TWO_HOMES ->
		one_home = false;
		assert(one_home)
	   }
	:: d_step {
		LOOKS_FOR(NO_LOSS) && LOST ->
		no_loss = false;
		assert(no_loss)
	   }
	:: d_step {
		LOOKS_FOR(NO_STALE_READ) && STALE ->
		no_stale_read = false;
		assert(no_stale_read)
	   }
	od
}

/* Nothing can happen any more. */
proctype the_end()
{
	timeout;
	d_step {
		every_fence_ends = !LOOKS_FOR(EVERY_FENCE_ENDS) ||
		    (!IS_FENCED && !s_fencing);
		assert(every_fence_ends);
		every_arrival_ends = !LOOKS_FOR(EVERY_ARRIVAL_ENDS) ||
		    (d_home != ARRIVING && d_home != PREPARED);
		assert(every_arrival_ends);
		erased_in_the_end = !LOOKS_FOR(ERASED_IN_THE_END) ||
		    (!(s_home == MOVED && (s_data_d != 0 || s_erase_d)) &&
		        !(d_home == NONE && (d_data_d != 0 || d_erase_d)));
		assert(erased_in_the_end);
		served_in_the_end = !LOOKS_FOR(SERVED_IN_THE_END) ||
		    (row_home == AT_S -> (s_home == HERE && d_home == NONE) :
		        (s_home == MOVED &&
		            (row_home == AT_D -> (d_home == HERE && d_open) : d_home == MOVED)));
		assert(served_in_the_end)
	}
}

init
{
	byte n;

	atomic {
		n = 0;
		run source_unit();
		run source_clock();
		run source_failure();
		run source_eraser();
		run target_clock();
		run target_failure();
		run target_eraser();
		run client();
		run faults();
		do
		:: n < UNITS ->
			run target(n);
			run source_resolver(n);
			run target_resolver(n);
			run directory(n);
			n++
		:: else -> break
		od;
		n = 0;
		run monitor();
		run the_end()
	}
}

#ifdef LTL
ltl fence_ends { [] (IS_FENCED -> <> (!IS_FENCED)) }
ltl arrival_ends { [] ((d_home == ARRIVING || d_home == PREPARED) -> <> (d_home == HERE || d_home == NONE || d_home == MOVED)) }
ltl moved_is_erased { [] (s_home == MOVED -> <> (s_data_d == 0)) }
#endif
