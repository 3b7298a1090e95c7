/* Promotion (DESIGN.md, section 12): a region's node N, its standby S, the directory D, one account of theirs.
 *
 * Time is a counter that goes on whenever it likes: so every message takes as long as it likes, and every process
 * stands still as long as it likes. Questions and answers are lost; N is killed and started again; the
 * promoter is cut off at any step and begun anew. One write is acknowledged when S has it (standby_wait). N may
 * send the account away at any time after D told it the attempt, and the destination may swap at any time
 * after that.
 *
 * -DBREAK_<name> leaves out what a promise rests on; tests/model/check wants spin to find the promise broken
 * then. docs/model.md says what is checked, and which functions do what the processes do here.
 */
#ifndef LEASE
#define LEASE 2
#endif
#ifndef TIMES
#define TIMES 6
#endif
#ifndef WRITES
#define WRITES 1
#endif

#ifdef BREAK_SHORT
#define WAIT (LEASE - 1)
#else
#ifdef BREAK_NO_WAIT
#define WAIT 0
#else
#define WAIT LEASE
#endif
#endif

/* Named, so that an error says which promise it breaks. -DONLY=<name> looks for one alone. */
#define EVERY    0
#define ONE_NODE 1
#define ONE_HOME 2
#define NO_LOSS  3
#ifndef ONLY
#define ONLY EVERY
#endif
#define LOOKS_FOR(promise) (ONLY == EVERY || ONLY == promise)

bool one_node = true, one_home = true, no_loss = true;

byte now;

#define NOTHING 255

/* N: serves while now < n_until. Its writes are on its disk; what was acknowledged, a client remembers. */
byte n_until, n_has, n_acked;
bool n_moving;          /* its statement is out, with this attempt */
byte n_attempt, n_read = NOTHING; /* what D told */


/* S, on its disk */
bool s_refuses, s_serves;
byte s_has;

/* D, on its disk */
byte d_term = 1, d_attempt;
bool d_moved;

/* One question and one answer under way at a time, each with the moment of asking, plus one. 0: none. */
byte d_question, d_answer, s_question, s_answer, s_answer_has;

#define N_SERVES (now < n_until)

inline check() {
	if
	:: LOOKS_FOR(ONE_NODE) && s_serves && N_SERVES -> one_node = false; assert(one_node)
	:: else
	fi;
	if
	:: LOOKS_FOR(ONE_HOME) && s_serves && d_moved -> one_home = false; assert(one_home)
	:: else
	fi;
	if
	:: LOOKS_FOR(NO_LOSS) && s_serves && s_has < n_acked -> no_loss = false; assert(no_loss)
	:: else
	fi
}

/* Once no lease can come of it any more, it does not matter when a question was asked: so that there are fewer
 * states. */
inline age(asked) {
	if
	:: asked && asked - 1 + LEASE <= now -> asked = 1
	:: else
	fi
}

active proctype clock() {
	do
	:: atomic { now < TIMES ->
		now++;
		if
		:: n_until <= now -> n_until = 0
		:: else
		fi;
		age(d_question); age(d_answer); age(s_question); age(s_answer); check() }
	:: now == TIMES -> break
	od
}

inline renew(asked) {
#ifdef BREAK_FROM_ANSWER
	n_until = now + LEASE;
#else
	if
	:: asked - 1 + LEASE > n_until -> n_until = asked - 1 + LEASE
	:: else
	fi
#endif
}

active proctype node() {
end:	do
	:: atomic { !d_question && !d_answer -> d_question = now + 1 }
	:: atomic { d_answer -> renew(d_answer); d_answer = 0; check() }
	:: atomic { !s_question && !s_answer -> s_question = now + 1 }
	:: atomic { s_answer ->
		renew(s_answer);
		/* What S has is acknowledged, if this is the region still. */
		if
		:: N_SERVES && s_answer_has > n_acked -> n_acked = s_answer_has
		:: else
		fi;
		s_answer = 0; check() }
	:: atomic { N_SERVES && n_has < WRITES -> n_has++ }
#ifdef BREAK_ASYNCHRONOUS
	:: atomic { N_SERVES && n_acked < n_has -> n_acked = n_has; check() }
#endif
	/* A move. D tells the row to whoever it takes for the region; the statement may leave much later. */
#ifdef BREAK_FIND_UNFENCED
	:: atomic { n_read == NOTHING -> n_read = d_attempt }
#else
	:: atomic { n_read == NOTHING && d_term == 1 -> n_read = d_attempt }
#endif
	:: atomic { n_read != NOTHING && !n_moving -> n_moving = true; n_attempt = n_read }
	/* Lost. */
	:: atomic { d_question -> d_question = 0 }
	:: atomic { d_answer -> d_answer = 0 }
	:: atomic { s_question -> s_question = 0 }
	:: atomic { s_answer -> s_answer = 0 }
	/* Killed and started again. */
	:: atomic { n_until || n_read != NOTHING ->
		n_until = 0; d_question = 0; d_answer = 0; s_question = 0; s_answer = 0; n_read = NOTHING }
	od
}

active proctype directory() {
end:	do
	:: atomic { d_question ->
		if
		:: d_term == 1 -> d_answer = d_question
		:: else
		fi;
		d_question = 0 }
	/* The destination's swap. */
	:: atomic { n_moving && n_attempt == d_attempt && !d_moved -> d_moved = true; check() }
	od
}

active proctype standby() {
end:	do
	:: atomic { s_question && !s_serves ->
		if
		:: !s_refuses -> s_has = n_has; s_answer = s_question; s_answer_has = s_has
		:: else
		fi;
		s_question = 0 }
	od
}

/* What is done is durable, and done again without harm: the term is raised once. */
active proctype promoter() {
	byte from;

again:
#ifndef BREAK_NO_REFUSAL
	s_refuses = true;
#endif
#ifndef BREAK_NO_RAISE
	atomic {
		if
		:: d_term == 1 ->
			d_term = 2;
#ifndef BREAK_NO_CANCEL
			d_attempt++
#endif
		:: else
		fi
	};
#endif
	from = now;
end:	if
	/* Then it is compared with the directory, and serves what has not moved away. */
	:: atomic { now >= from + WAIT && !d_moved -> s_refuses = true; s_serves = true; check() }
	:: atomic { from < now -> from = 0 } goto again
	fi
}
