/* http_internal.h - what the files of the HTTP server share.
 *
 *   http.c          start and stop: listeners, their shards (one MHD daemon with one thread each)
 *   http_listen.c   addresses, sockets, the thread that accepts and deals out connections
 *   http_request.c  a request's life on the HTTP thread: the access handler as a table of phases
 *   http_head.c     request line and headers: what is refused, what handlers may ask for
 *   http_body.c     streamed bodies: a bounded ring between HTTP thread and worker
 *   http_answer.c   from struct request to an MHD response; readers; statistics
 *   http_tls.c      less work for small requests over TLS
 *   http_limits.c   what one client may take: places, time, memory
 *   http_past.c     what a client is told past MHD, while its body comes or does not
 *   http_workers.c  the elastic pool of threads that may block
 *
 * MHD calls us on a shard's thread only. Three facts about it decide the shape of this code:
 *
 * 1. An answer can be queued in the first call for a request (headers only: the connection is then
 *    closed) or in the last one (the whole body is in), not in between.
 * 2. A connection is suspended and its answer queued on its own thread only; any thread may resume
 *    it. Resuming one that is not suspended is undefined. So whoever suspends does it before the
 *    request can be seen by the thread that will resume it, or under the same h->lock that the
 *    other side needs for resuming. `suspended` tells which of the two sides owes a resume.
 * 3. MHD must not be stopped with suspended connections. Everything that owes a resume is counted
 *    in f->away, from before the suspending to after the resuming; once f->is_aborting nothing new
 *    goes away.
 */
#pragma once
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include "base/cleanup.h"
#include "engine/flusher.h"
#include "front/front.h"
#include "front/request.h"

/* MHD clears a connection's pool after every request, which costs more than it seems where there are many: what
 * it clears is in no cache. One read takes half of it; without TLS large uploads take four times as long
 * with 16 KiB. */
#define HTTP_POOL_BYTES ((size_t)32 << 10)
#define HTTP_LIST_BYTES \
	((size_t)8 << 10) /* of HTTP_HEADERS_MAX + HTTP_PEER_HEADERS, 64 each, and some lines */
#define HTTP_HEADERS_MAX   100
#define HTTP_PEER_HEADERS  16
#define HTTP_HEAD_BYTES    ((size_t)16 << 10) /* target and headers */
#define HTTP_PEER_BYTES    ((size_t)4 << 10)  /* and what a region adds to them */
#define HTTP_SMALL_BODY    ((size_t)64 << 10) /* up to this the handler runs on the HTTP thread */
#define HTTP_RING_BYTES    ((size_t)512 << 10)
#define HTTP_BLOCK_BYTES   ((size_t)128 << 10) /* of a body that is read */
/* What is taken in and thrown away of a body whose request is answered, before the answer; of what is larger
 * it is sent then (http_past.c), and as much again is thrown away. A body that is larger, or whose client
 * expects `100 Continue`, is held until the handler looks at it, but for a form's, whose beginning the
 * handler needs: a refusal then goes out before the body comes. */
#define HTTP_DRAIN_BYTES   ((uint64_t)64 << 20)
#define HTTP_SHARDS_MAX    64
#define HTTP_TURN_US       400
#define HTTP_SPARE_FILES   8 /* for operators when there are no others */
#define HTTP_CONNECTIONS   4096
#define HTTP_MEMORY        ((uint64_t)512 << 20)
#define HTTP_STREAM_MEMORY (HTTP_RING_BYTES + ((size_t)256 << 10)) /* what a streamed body holds */

/* What a listener's requests are given to. */
struct front_ops {
	handler_fn *handle;
	bool (*is_stream)(struct request *r); /* NULL: never */
	/* So much of a streamed body (or all) is there before a worker is taken for it: what the handler
	 * has to read before it knows who asks. NULL: nothing. */
	size_t (*stream_after)(struct request *r);
	/* STATUS 0: by E's kind. 408, 413 and 431 are our own: the body is too slow or too large, or the head. */
	void (*fail)(struct request *r, unsigned status, const struct err *e);
};

struct front_table {
	struct front_ops s3, peer, admin, metrics;
};

must_check
struct front *front_start_with(
    const struct front_config *c, const struct front_table *t, struct err *e);

struct listener;

/* What is kept of a connection at the peer listener. */
struct peer_connection {
	bool is_checked;
	char name[REGION_NAME_SIZE];
};

struct address;
struct tls_connection;

/* What is kept of a connection: MHD's socket context. The HTTP thread's, but for what is said. */
struct connection {
	struct listener *listener;
	struct tls_connection *tls; /* NULL: not TLS, or no memory */
	int fd;
	bool is_surplus;           /* to be told that there are too many */
	bool is_coming;            /* `coming` is set: to be asked without the lock */
	_Atomic uint64_t until_ms; /* the client's time to do what it owes; 0: it owes nothing */

	/* limits_lock guards these. */
	bool is_shut, is_told;
	struct http_request *coming; /* whose body is, and that has no answer yet; NULL: none */
	struct address *address;
	struct connection *next, **at;
};

/* One MHD daemon, one thread. */
struct shard {
	struct listener *listener;
	struct MHD_Daemon *daemon;
	_Atomic int connections;
};

enum listener_kind {
	LISTEN_S3,
	LISTEN_S3_PLAIN,
	LISTEN_PEER,
	LISTEN_ADMIN,
	LISTEN_METRICS,
	LISTENERS
};

struct listener {
	struct front *front;
	enum listener_kind kind;
	const struct front_ops *ops;
	int fd; /* -1: not configured */
	unsigned port;
	char *unix_path;
	uint64_t pause_until_ms; /* the acceptor's: not to be accepted from */
	struct shard shards[HTTP_SHARDS_MAX];
	unsigned n_shards;
};

struct workers;
struct front {
	struct node *node;
	struct front_table table;
	struct listener listeners[LISTENERS];
	struct workers *workers;
	uint64_t idle_ms;
	size_t head_bytes;
	pthread_t acceptor;
	bool has_acceptor;
	int stop_fd;       /* eventfd: the acceptor ends */
	char message[160]; /* the first one of MHD's while it starts */
	_Atomic bool is_started;

	/* http_limits.c */
	unsigned users_max, peers_max, address_max;
	uint64_t memory_max;
	struct rate *address_rate; /* NULL: no limit */
	_Atomic uint64_t memory;
	_Atomic int users, peers; /* connections accepted */
	uint64_t swept_ms;        /* the acceptor's, and so are the next three */
	uint64_t short_ms;        /* when accepting failed last */
	bool is_short;            /* of descriptors */
	int spare[HTTP_SPARE_FILES];
	pthread_mutex_t limits_lock;
	struct connection *open;
	struct address *addresses;
	int users_placed, peers_placed;

	_Atomic int inside;       /* requests from their headers to their answer's last byte */
	_Atomic int away;         /* owe a resume, or run on a worker */
	_Atomic bool is_stopping; /* every answer closes its connection */
	_Atomic bool is_aborting; /* nothing may go away any more */
	pthread_mutex_t live_lock;
	struct http_request *live; /* those that is_aborting has to wake */

	uint64_t id_base;
	_Atomic uint64_t ids;
};

/* Where a request is, seen from the HTTP thread. */
enum phase {
	PHASE_HEAD,    /* nothing but the request line is known */
	PHASE_COLLECT, /* its body is being collected */
	PHASE_REFUSE,  /* the answer is there; its body is thrown away first */
	PHASE_FIRST,   /* streamed; the first of its body is being collected */
	PHASE_HOLD,    /* streamed; MHD still asks whether to let the body come */
	PHASE_STREAM,  /* streamed; body comes or has come, the handler is at it */
	PHASE_READY,   /* to be answered at the next call */
	PHASE_TOLD,    /* answered past MHD; what still comes is thrown away */
	PHASE_ANSWERED
};

/* What a suspended connection waits for; protected by the request's lock. */
enum suspended {
	NOT_SUSPENDED,
	FOR_FIRST_READ, /* or the answer */
	FOR_ROOM,       /* in the ring, or the answer */
	FOR_ANSWER,
	FOR_MORE, /* of the answer's body */
};

struct header {
	const char *name, *value;
	size_t name_len; /* of headers; 0 in arguments */
};

/* A body on its way through; protected by the request's lock. */
struct ring {
	uint8_t *data;
	size_t head, len;
	bool at_end;
	pthread_cond_t changed;
	bool is_waiting; /* the worker, for bytes */
};

struct http_request {
	struct request r;
	struct listener *listener;
	_Atomic unsigned refs; /* connection, worker, response */
	enum phase phase;

	/* The head. */
	char method[16];
	char *host;  /* of the target, instead of the header's; NULL: it had none */
	char *owned; /* header strings once they must outlive the connection */
	char *args;  /* decoded query */
	struct header *arg;
	size_t n_args;
	uint64_t length; /* UINT64_MAX: it will show */
	size_t head_bytes;
	bool has_length, has_encoding, has_host, is_bad, is_too_large, expects;
	bool must_close; /* the connection, after the answer */
	size_t memory;   /* counted for it */

	struct buf collected;
	size_t collected_at; /* request_read on a collected body, or the first of a streamed one */
	size_t stream_after;
	request_again_fn *again;
	void *again_arg;
	uint64_t again_at;
	uint64_t drained;

	struct flush_wait wait;
	struct err flush_error; /* kind ERR_NONE: none */

	pthread_mutex_t lock;
	struct MHD_Connection *conn; /* NULL once it is gone */
	enum suspended suspended;
	bool is_stream;
	bool is_done;    /* the answer is there */
	bool has_begun;  /* by response_begin: the handler goes on after it */
	bool is_aborted; /* reads and the answer's reader fail */
	bool is_counted; /* in f->inside */
	bool is_live;    /* in f->live */
	unsigned more;   /* how often response_more was called */
	struct ring ring;

	struct http_request *next_job;
	struct http_request *live_next, **live_at;

	const struct request_field *shown; /* instead of the headers; NULL: nothing is */
	size_t n_shown;

	size_t n_headers;
	struct header headers[HTTP_HEADERS_MAX + HTTP_PEER_HEADERS]; /* last: not cleared */
};

static inline struct http_request *
http_of(struct request *r)
{
	return r->internal;
}

/* http_request.c */
void *http_uri_seen(void *arg, const char *uri, struct MHD_Connection *conn);
enum MHD_Result http_access(void *arg, struct MHD_Connection *conn, const char *url,
    const char *method, const char *version, const char *data, size_t *size, void **context);
void http_completed(
    void *arg, struct MHD_Connection *conn, void **context, enum MHD_RequestTerminationCode code);
void http_unref(struct http_request *h);
/* Make the request wakeable by front_stop. */
void http_live(struct http_request *h);
/* Count as away; false: too late, the node stops. */
must_check
bool http_leave(struct front *f);
static inline void
http_return(struct front *f)
{
	atomic_fetch_sub(&f->away, 1);
}
/* The answer is there: resume the connection if it waits for that. */
void http_done(struct http_request *h);
/* On a worker: run the handler, see to its ticket, answer. Owns a reference and a count in away. */
void http_work(struct http_request *h);

/* http_head.c */
/* Read method, headers and query. 0, or the status to refuse with; 503: no memory. */
must_check
unsigned http_head_read(struct http_request *h, struct MHD_Connection *conn, const char *method);
/* Copy what points into MHD's memory. -1: no memory. */
must_check
int http_head_own(struct http_request *h);
void http_head_free(struct http_request *h);

/* http_body.c */
/* The first call for a streamed request: start its worker and hold the connection. */
enum MHD_Result http_stream_start(struct http_request *h);
/* The same once the first of its body has been collected; nothing can be answered now if it fails. */
must_check
int http_stream_begin(struct http_request *h, struct err *e);
/* After the hold. True: answer now; false: let the body come. */
bool http_stream_answered(struct http_request *h);
enum MHD_Result http_stream_feed(struct http_request *h, const char *p, size_t *n);
/* N bytes come of a body that nobody reads. */
enum MHD_Result http_drain(struct http_request *h, size_t *n);
/* The body is complete. True: answer now. */
bool http_stream_end(struct http_request *h);
void http_stream_free(struct http_request *h);
/* The node stops: reads fail from now on, and the reader of the answer's body. */
void http_abort(struct http_request *h);

/* http_answer.c */
/* Empty the answer, so that a handler can be run again or another answer made. */
void http_answer_clear(struct http_request *h);
/* Make the answer an error one. STATUS 0: what the handler of errors says. */
void http_answer_error(struct http_request *h, unsigned status, const struct err *e);
/* What is to be sent is what H says from now on; false: nothing is, since it was told that it is late. */
must_check
bool http_answer_make(struct http_request *h);
/* Its body, if it lies in memory. */
struct span http_answer_body(const struct http_request *h);
enum MHD_Result http_answer_queue(struct http_request *h);

/* http_tls.c */
/* Put ourselves between for C; NULL: not a TLS connection, or no memory. Owned until the connection is closed. */
struct tls_connection *tls_attach(struct MHD_Connection *conn, struct connection *c);
/* Past MHD, on the connection's HTTP thread; what does not fit is lost. */
void tls_send(struct tls_connection *t, const void *p, size_t n);
struct peer_connection *tls_peer(struct tls_connection *t);
void tls_detach(struct tls_connection *t); /* NULL is fine */
/* What MHD sends next is the head of an answer, behind which LINES ("Name: value\n") are put; they stay where they
 * are until the answer ends. has_body: MHD sends its body at once after that. */
void tls_expect_answer(struct tls_connection *t, struct span lines, bool has_body);
void tls_end_answer(struct tls_connection *t);

/* http_limits.c */
must_check
int limits_init(struct front *f, const struct front_config *c, struct err *e);
void limits_free(struct front *f);
/* Whether one more connection may be accepted now. */
bool limits_have_place(const struct listener *l);
void limits_accepted(struct listener *l, int change);
unsigned limits_of_mhd(const struct listener *l);
/* A connection begins and ends, on its HTTP thread. NULL: no memory, it has no limits. */
struct connection *limits_enter(struct listener *l, struct MHD_Connection *conn);
void limits_leave(struct connection *c);
/* Whether its address may ask once more now. */
must_check
bool limits_may_ask(const struct listener *l, struct MHD_Connection *conn);
/* The client has to do something now, of about so many bytes; has done so many; has nothing to do. */
void limits_owes(struct connection *c, uint64_t bytes);
void limits_gave(struct connection *c, uint64_t bytes);
void limits_owes_nothing(struct connection *c);
/* H has a body that may be late, until it may be answered. False: it was late, and was told. */
void limits_coming(struct connection *c, struct http_request *h);
must_check
bool limits_may_answer(struct connection *c);
/* The reading of a connection over TLS has ended, on its HTTP thread: tell the client if it was late. */
void limits_read_ended(struct connection *c);
/* Tell or shut those who are late; by the acceptor, often. */
void limits_sweep(struct front *f);
/* Count memory of a request, unless that is too much; count it all the same; no more of it. */
must_check
bool limits_take(struct http_request *h, size_t bytes);
void limits_have(struct http_request *h, size_t bytes);
void limits_give_back(struct http_request *h);
static inline struct connection *
connection_of(struct MHD_Connection *conn)
{
	const union MHD_ConnectionInfo *kept = MHD_get_connection_info(
	    conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return kept ? kept->socket_context : NULL;
}

/* http_past.c */
/* Tell that H's body is late. TLS NULL: to FD as it is. */
void past_tell_late(struct http_request *h, int fd, struct tls_connection *tls);
/* Send H's answer, which is there, and end our side. MHD_NO: it can't be, or has been. */
enum MHD_Result past_answer(struct http_request *h);

/* http_workers.c */
/* How long the turns of this thread at the processor are, and of those that it starts: shorter ones come sooner.
 * 0: the usual. Linux takes notice of it from 6.12 on. */
void thread_turns(uint64_t us);
must_check
struct workers *workers_start(unsigned most, struct err *e);
/* Queue H; ERR_BUSY: the queue is full. */
must_check
int workers_add(struct workers *w, struct http_request *h, struct err *e);
void workers_stop(struct workers *w); /* nothing is queued or running any more; NULL is fine */

/* http_listen.c */
must_check
int listener_open_tcp(struct listener *l, const char *at, bool loopback_only, struct err *e);
must_check
int listener_open_unix(struct listener *l, const char *path, struct err *e);
void listener_close(struct listener *l);
must_check
int acceptor_start(struct front *f, struct err *e);
void acceptor_stop(struct front *f);
