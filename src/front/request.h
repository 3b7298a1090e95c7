/* request.h - one HTTP request, as handlers see it; what http.c gives and takes.
 *
 * A handler runs first on the HTTP thread with may_block false, if its body is small and complete.
 * When it would have to block it returns HANDLE_AGAIN without having changed anything, and is run once
 * more on a worker thread with may_block true. A request whose body is streamed (a large PUT, or one
 * that is forwarded) runs on a worker from the start and reads its body with request_read.
 */
#pragma once
#include "base/buf.h"
#include "base/frame.h"
#include "base/id.h"
#include "service/node.h"

#define REQUEST_ID_SIZE  17
#define BODY_COLLECT_MAX ((size_t)2 << 20) /* XML bodies; 1,000 keys of DeleteObjects fit */

struct front;
struct request;

struct request_field {
	const char *name, *value;
};

enum handle { HANDLE_DONE, HANDLE_AGAIN };
typedef enum handle handler_fn(struct request *r);

/* Produces response body bytes on the HTTP thread: > 0 bytes, 0: wait (call response_more later), -1:
 * broken (the connection is closed), RESPONSE_END: that was all (of an unknown length). */
#define RESPONSE_END (-2)
typedef ssize_t response_read_fn(void *arg, uint64_t offset, void *p, size_t n);

struct request {
	struct front *front;
	struct node *node;
	char id[REQUEST_ID_SIZE];    /* x-amz-request-id; taken over from the forwarding region */
	const char *method;          /* "GET" */
	const char *target;          /* path and query, as they were sent (without a host) */
	const char *path;            /* the raw path part, still percent-encoded */
	const char *query;           /* the raw query, without '?', or "" */
	bool is_peer;                /* came over the mutual TLS listener */
	char peer[REGION_NAME_SIZE]; /* then: whose certificate */
	bool may_block;
	uint64_t started_ns;
	uint64_t ticket; /* a handler sets it: the answer leaves when this is durable */

	/* the answer */
	unsigned status;
	struct buf headers; /* "Name: value\n" lines */
	struct buf body;
	struct span lent; /* instead of body: bytes that stay as they are until lent_free */
	void *lent_arg;
	void (*lent_free)(void *arg);
	response_read_fn *read; /* instead of body and lent */
	void *read_arg;
	void (*read_free)(void *arg);
	uint64_t read_bytes; /* its length; UINT64_MAX: unknown (chunked). For HEAD and 304
					 * the length alone is enough: nothing is read then */

	/* set by the router for S3 requests */
	struct account_id account;
	char access_key[48];
	bool is_counted; /* against its account's rate; a handler may run twice */
	void *internal;  /* http.c's */
};

/* A request header or NULL; NAME in any case. */
const char *request_header(struct request *r, const char *name);
/* Visit all headers in the order they came. */
void request_each_header(
    struct request *r, void (*fn)(void *arg, const char *name, const char *value), void *arg);
/* N other fields in place of the headers that came, for the two calls above; FIELDS NULL: those that
 * came again. They stay the caller's, who takes them back before it returns. */
void request_show(struct request *r, const struct request_field *fields, size_t n);
/* A query argument, percent-decoded, or NULL; "" if it has no value. */
const char *request_arg(struct request *r, const char *name);
/* Visit all of them in the order they came, decoded. */
void request_each_arg(
    struct request *r, void (*fn)(void *arg, const char *name, const char *value), void *arg);
/* Content-Length, or UINT64_MAX if there is none. */
uint64_t request_length(struct request *r);

/* The collected body (complete), for handlers of small bodies; empty if it is streamed. */
struct span request_body(struct request *r);
/* Streamed bodies, on a worker: up to N bytes, 0 at the end, -1: the client is gone or too slow
 * (ERR_CANCELLED). Reads a collected body as well, then on any thread. */
must_check
ssize_t request_read(struct request *r, void *p, size_t n, struct err *e);
/* A streamed body from its beginning again, once: request_read gives what FN gives, at its offset, until
 * that is nothing, and then what has not been read yet. */
typedef ssize_t request_again_fn(void *arg, uint64_t offset, void *p, size_t n, struct err *e);
void request_read_again(struct request *r, request_again_fn *fn, void *arg);

/* Add an answer header. One with control characters but tabs in VALUE is left out (asserted in NAME). */
void response_header(struct request *r, const char *name, const char *format, ...)
    printf_like(3, 4);
/* On a worker: the answer (status, headers, r->read) leaves now, while the handler goes on, usually
 * producing what r->read gives. It must not touch the answer afterwards. */
void response_begin(struct request *r);
/* After a read callback returned 0: there is more now. Any thread; while the handler runs, or until
 * read_free was called. */
void response_more(struct request *r);
