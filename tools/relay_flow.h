/* The moving part of the relay: connections, what is under way on them, and the event loop that
 * wakes them. One thread; nothing here blocks but loop_wait. Out of memory ends the process.
 */
#ifndef RELAY_FLOW_H
#define RELAY_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>

struct segment;

/* Every descriptor in epoll points to one of these, as the first member of what it belongs to. */
enum source_kind {
	SOURCE_LISTENER,
	SOURCE_END,
	SOURCE_CONTROL,
	SOURCE_CLIENT,
	SOURCE_TIMER,
	SOURCE_SIGNAL
};

struct source {
	enum source_kind kind;
	int fd;
	uint32_t watched; /* epoll events; 0: not in epoll at all, so that a hang-up cannot spin */
};

/* Side 0 is the client that connected to us, side 1 the target. Flow i carries what end i sends. */
struct end {
	struct source source;
	struct conn *conn;
	int side;
};

struct flow {
	struct conn *conn;
	int from;
	struct segment *head, **tail;
	size_t queued_bytes;
	uint64_t last_due_ns;
	uint64_t resume_ns; /* reading is paused until then, for the limit; 0: it is not */
	bool is_ended;      /* nothing more is read from its source */
	bool is_done;       /* everything, the end included, was delivered or dropped */
	bool is_blocked;    /* the destination's socket is full */
	size_t heap_slot;   /* 1-based; 0: not in the heap */
	uint64_t wake_ns;
};

struct conn {
	struct conn *next, *prev;
	struct pair *pair;
	uint64_t opened_ns;
	bool is_dead;
	struct end ends[2];
	struct flow flows[2];
};

struct pair {
	struct source source;
	struct pair *next;
	unsigned port;
	struct sockaddr_storage target;
	socklen_t target_len;
	uint64_t rtt_ns;
	uint64_t limit_bytes_per_s;
	uint64_t line_free_ns[2];
	bool is_cut, is_stalled;
	struct conn *conns;
};

/* Make the epoll set and its timer. */
void loop_open(void);

/* Wait for events and give up to MAX of them, as epoll_wait does; their data.ptr is a source. */
int loop_wait(struct epoll_event *events, int max);

/* Free what connections left behind that died since loop_wait. No event may point to them then. */
void loop_bury(void);

/* Close what loop_open made; all connections are closed and buried before. */
void loop_close(void);

/* Want EVENTS of S; 0: none, and S may be closed. */
void source_watch(struct source *s, uint32_t events);

/* Relay between CLIENT_FD and TARGET_FD, both owned from now on. IS_REFUSED: the target is known
 * to be away, and the client hears of it when it would from that far. */
void conn_open(struct pair *p, int client_fd, int target_fd, bool is_refused);

/* Close C now, with a reset to both sides if IS_RESET. Its memory goes with loop_bury. */
void conn_close(struct conn *c, bool is_reset);

/* Work off EVENTS of one end of a connection. */
void end_ready(struct end *e, uint32_t events);

/* Deliver what has become due: for events of a SOURCE_TIMER. */
void timer_ready(void);

/* Make P's connections follow a change of P. */
void pair_settle(struct pair *p);

#endif
