#include "relay_flow.h"

#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES  (256u << 10)
#define QUEUE_BYTES (32u << 20)
#define NS_PER_S    1000000000ull
#define LEAD_NS     (NS_PER_S / 50) /* how far reading may run ahead of a limited line */

enum segment_kind { SEGMENT_DATA, SEGMENT_CLOSE, SEGMENT_RESET };

struct segment {
	struct segment *next;
	uint64_t due_ns;
	enum segment_kind kind;
	uint32_t sent;
	uint32_t len;
	uint8_t bytes[];
};

static int epoll_fd;
static struct source timer = { SOURCE_TIMER, -1, 0 };
static struct conn *dead_conns;
static struct segment *spare; /* the buffer that is read into */
static uint64_t now_ns;

static void
clock_read(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	now_ns = (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

void
source_watch(struct source *s, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	if (events == s->watched)
		return;
	int op = !events ? EPOLL_CTL_DEL : s->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	if (epoll_ctl(epoll_fd, op, s->fd, &ev) < 0)
		err(1, "epoll_ctl");
	s->watched = events;
}

/* The heap of flows that wait for a moment, the earliest first. */

static struct flow **heap;
static size_t heap_len, heap_room;

static void
heap_place(struct flow *f, size_t slot)
{
	heap[slot] = f;
	f->heap_slot = slot;
}

/* Put F where it belongs, starting at the empty SLOT. */
static void
heap_settle(struct flow *f, size_t slot)
{
	for (; slot > 1 && heap[slot / 2]->wake_ns > f->wake_ns; slot /= 2)
		heap_place(heap[slot / 2], slot);
	for (size_t child; (child = slot * 2) <= heap_len; slot = child) {
		if (child < heap_len && heap[child + 1]->wake_ns < heap[child]->wake_ns)
			child++;
		if (heap[child]->wake_ns >= f->wake_ns)
			break;
		heap_place(heap[child], slot);
	}
	heap_place(f, slot);
}

/* Wake F at WAKE_NS; UINT64_MAX: never. */
static void
heap_set(struct flow *f, uint64_t wake_ns)
{
	if (f->heap_slot && f->wake_ns == wake_ns)
		return;
	f->wake_ns = wake_ns;
	if (wake_ns == UINT64_MAX) {
		size_t slot = f->heap_slot;

		f->heap_slot = 0;
		if (slot && slot != heap_len--)
			heap_settle(heap[heap_len + 1], slot);
		return;
	}
	if (!f->heap_slot) {
		if (heap_len + 2 > heap_room) {
			heap_room = heap_room ? heap_room * 2 : 256;
			heap = realloc(heap, heap_room * sizeof *heap);
			if (!heap)
				err(1, "heap");
		}
		f->heap_slot = ++heap_len;
	}
	heap_settle(f, f->heap_slot);
}

static void
timer_arm(void)
{
	static uint64_t armed_ns;
	uint64_t at = heap_len ? heap[1]->wake_ns : 0;
	struct itimerspec t = { 0 };

	if (at == armed_ns)
		return;
	armed_ns = at;
	t.it_value.tv_sec = (time_t)(at / NS_PER_S);
	t.it_value.tv_nsec = (long)(at % NS_PER_S);
	timerfd_settime(timer.fd, TFD_TIMER_ABSTIME, &t, NULL);
}

/* Segments. */

static struct segment *
segment_new(size_t room)
{
	struct segment *s = malloc(sizeof *s + room);

	if (!s)
		err(1, "segment");
	memset(s, 0, sizeof *s);
	return s;
}

static void
flow_push(struct flow *f, struct segment *s)
{
	s->next = NULL;
	*f->tail = s;
	f->tail = &s->next;
	f->queued_bytes += s->len;
}

static void
flow_pop(struct flow *f)
{
	struct segment *s = f->head;

	f->head = s->next;
	if (!f->head)
		f->tail = &f->head;
	f->queued_bytes -= s->len;
	free(s);
}

static void
flow_drop_all(struct flow *f)
{
	while (f->head)
		flow_pop(f);
	f->is_ended = f->is_done = true;
}

/* When bytes that were read now, or that leave a limited line at LEAVE_NS, arrive. */
static uint64_t
flow_due(struct flow *f, uint64_t leave_ns)
{
	struct pair *p = f->conn->pair;
	uint64_t greeted_ns = f->conn->opened_ns + p->rtt_ns;
	uint64_t due = (leave_ns > greeted_ns ? leave_ns : greeted_ns) + p->rtt_ns / 2;

	if (due < f->last_due_ns)
		due = f->last_due_ns;
	return f->last_due_ns = due;
}

static void
flow_end(struct flow *f, enum segment_kind kind)
{
	struct segment *s = segment_new(0);

	s->kind = kind;
	s->due_ns = flow_due(f, now_ns);
	flow_push(f, s);
	f->is_ended = true;
}

void
conn_close(struct conn *c, bool is_reset)
{
	const struct linger reset = { .l_onoff = 1, .l_linger = 0 };

	if (c->is_dead)
		return;
	for (int i = 0; i < 2; i++) {
		flow_drop_all(&c->flows[i]);
		heap_set(&c->flows[i], UINT64_MAX);
		source_watch(&c->ends[i].source, 0);
		if (is_reset)
			setsockopt(
			    c->ends[i].source.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		close(c->ends[i].source.fd);
	}
	if (c->prev)
		c->prev->next = c->next;
	else
		c->pair->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->is_dead = true;
	c->next = dead_conns;
	dead_conns = c;
}

static struct flow *
flow_reverse(struct flow *f)
{
	return &f->conn->flows[!f->from];
}

/* F's destination is gone: what was on the way to it is lost, and its reset travels back. */
static void
flow_broken(struct flow *f)
{
	struct flow *back = flow_reverse(f);

	flow_drop_all(f);
	if (back->is_done)
		conn_close(f->conn, true);
	else
		flow_end(back, SEGMENT_RESET);
}

/* Write what is due in one call; whether there may be more to do. */
static bool
flow_write(struct flow *f, int fd)
{
	struct iovec iov[64];
	int n = 0;

	for (struct segment *s = f->head;
	     s && n < 64 && s->due_ns <= now_ns && s->kind == SEGMENT_DATA; s = s->next)
		iov[n++] = (struct iovec){ s->bytes + s->sent, s->len - s->sent };

	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)n };
	ssize_t sent = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
		f->is_blocked = true;
		return false;
	}
	if (sent < 0) {
		flow_broken(f);
		return false;
	}
	while (sent > 0) {
		struct segment *s = f->head;
		uint32_t part = s->len - s->sent;

		if ((size_t)sent < part) {
			s->sent += (uint32_t)sent;
			f->is_blocked = true;
			return false;
		}
		sent -= part;
		flow_pop(f);
	}
	return true;
}

/* Deliver what is due, as far as the destination takes it. */
static void
flow_deliver(struct flow *f)
{
	struct conn *c = f->conn;
	int fd = c->ends[!f->from].source.fd;

	while (f->head && !f->is_blocked && f->head->due_ns <= now_ns && !c->pair->is_stalled) {
		switch (f->head->kind) {
		case SEGMENT_DATA:
			if (!flow_write(f, fd))
				return;
			break;
		case SEGMENT_CLOSE:
			flow_drop_all(f);
			shutdown(fd, SHUT_WR);
			if (flow_reverse(f)->is_done)
				conn_close(c, false);
			return;
		case SEGMENT_RESET:
			conn_close(c, true);
			return;
		}
	}
}

/* How much may be read from F's source now; 0 when the limited line is busy. */
static size_t
flow_room(struct flow *f)
{
	struct pair *p = f->conn->pair;
	uint64_t free_ns = p->line_free_ns[f->from];
	uint64_t part = p->limit_bytes_per_s / 50;

	if (!p->limit_bytes_per_s)
		return READ_BYTES;
	if (free_ns > now_ns + LEAD_NS) {
		f->resume_ns = free_ns - LEAD_NS;
		return 0;
	}
	return part < 512 ? 512 : part > READ_BYTES ? READ_BYTES : part;
}

/* When N bytes that were read now have left over the pair's line. */
static uint64_t
flow_leave(struct flow *f, size_t n)
{
	struct pair *p = f->conn->pair;
	uint64_t *free_ns = &p->line_free_ns[f->from];

	if (!p->limit_bytes_per_s)
		return now_ns;
	if (*free_ns < now_ns)
		*free_ns = now_ns;
	return *free_ns += n * NS_PER_S / p->limit_bytes_per_s;
}

static void
flow_read(struct flow *f)
{
	struct end *from = &f->conn->ends[f->from];
	size_t room = flow_room(f);

	if (!room)
		return;
	if (!spare)
		spare = segment_new(READ_BYTES);
	ssize_t n = recv(from->source.fd, spare->bytes, room, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		struct flow *back = flow_reverse(f);

		flow_drop_all(back);
		flow_end(f, SEGMENT_RESET);
	} else if (n == 0) {
		flow_end(f, SEGMENT_CLOSE);
	} else {
		struct segment *s = spare;
		uint64_t due = flow_due(f, flow_leave(f, (size_t)n));

		/* Straight through, from the one buffer, if nothing is before it. */
		if (due <= now_ns && !f->head) {
			ssize_t sent = send(f->conn->ends[!f->from].source.fd, s->bytes, (size_t)n,
			    MSG_NOSIGNAL | MSG_DONTWAIT);
			if (sent == n)
				return;
			s->sent = sent > 0 ? (uint32_t)sent : 0;
		}
		/* The tail of the buffer goes back to the heap, in place. */
		s = realloc(s, sizeof *s + (size_t)n);
		if (!s)
			err(1, "segment");
		spare = NULL;
		s->kind = SEGMENT_DATA;
		s->len = (uint32_t)n;
		s->due_ns = due;
		flow_push(f, s);
	}
	flow_deliver(f);
}

/* Bring C's epoll interests and timers in line with its state. */
static void
conn_settle(struct conn *c)
{
	bool is_stalled = c->pair->is_stalled;

	for (int i = 0; i < 2 && !c->is_dead; i++) {
		struct flow *out = &c->flows[i], *in = &c->flows[!i];
		uint64_t wake_ns = UINT64_MAX;
		uint32_t events = 0;

		if (!is_stalled && !out->is_ended && !out->resume_ns &&
		    out->queued_bytes < QUEUE_BYTES)
			events |= EPOLLIN;
		if (!is_stalled && in->is_blocked && !in->is_done)
			events |= EPOLLOUT;
		source_watch(&c->ends[i].source, events);

		if (!is_stalled && out->head && !out->is_blocked)
			wake_ns = out->head->due_ns;
		if (!is_stalled && out->resume_ns && out->resume_ns < wake_ns)
			wake_ns = out->resume_ns;
		heap_set(out, wake_ns);
	}
}

void
end_ready(struct end *e, uint32_t events)
{
	struct conn *c = e->conn;
	struct flow *out = &c->flows[e->side], *in = &c->flows[!e->side];
	uint32_t watched = e->source.watched;

	if (c->is_dead)
		return;
	if ((watched & EPOLLOUT) && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
		in->is_blocked = false;
		flow_deliver(in);
	}
	if (!c->is_dead && !out->is_ended && (watched & EPOLLIN) &&
	    (events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
		flow_read(out);
	conn_settle(c);
}

void
timer_ready(void)
{
	uint64_t count;

	if (read(timer.fd, &count, sizeof count) < 0 && errno != EAGAIN)
		err(1, "timer");
	clock_read();
	while (heap_len && heap[1]->wake_ns <= now_ns) {
		struct flow *f = heap[1];

		if (f->resume_ns <= now_ns)
			f->resume_ns = 0;
		flow_deliver(f);
		conn_settle(f->conn);
	}
}

static void
end_open(struct conn *c, int side, int fd)
{
	const int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	c->ends[side] = (struct end){ { SOURCE_END, fd, 0 }, c, side };
	c->flows[side].conn = c;
	c->flows[side].from = side;
	c->flows[side].tail = &c->flows[side].head;
}

void
conn_open(struct pair *p, int client_fd, int target_fd, bool is_refused)
{
	struct conn *c = calloc(1, sizeof *c);

	if (!c)
		err(1, "connection");
	c->pair = p;
	c->opened_ns = now_ns;
	c->next = p->conns;
	if (c->next)
		c->next->prev = c;
	p->conns = c;
	end_open(c, 0, client_fd);
	end_open(c, 1, target_fd);
	if (is_refused) {
		flow_drop_all(&c->flows[0]);
		flow_end(&c->flows[1], SEGMENT_RESET);
	}
	conn_settle(c);
}

void
pair_settle(struct pair *p)
{
	p->line_free_ns[0] = p->line_free_ns[1] = 0;
	for (struct conn *c = p->conns; c; c = c->next) {
		c->flows[0].resume_ns = c->flows[1].resume_ns = 0;
		conn_settle(c);
	}
}

void
loop_open(void)
{
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (epoll_fd < 0 || timer.fd < 0)
		err(1, "event loop");
	source_watch(&timer, EPOLLIN);
}

int
loop_wait(struct epoll_event *events, int max)
{
	timer_arm();
	int n = epoll_wait(epoll_fd, events, max, -1);
	if (n < 0 && errno != EINTR)
		err(1, "epoll_wait");
	clock_read();
	return n;
}

void
loop_bury(void)
{
	while (dead_conns) {
		struct conn *c = dead_conns;

		dead_conns = c->next;
		free(c);
	}
}

void
loop_close(void)
{
	close(timer.fd);
	close(epoll_fd);
	free(spare);
	free(heap);
}
