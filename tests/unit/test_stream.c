/* Streams between regions: frames arrive as they were sent, and whoever waits is told how one ended. */
#include "base/host.h"
#include "directory/peer_private.h"
#include "directory/stream_private.h"
#include "fleet.h"

#include <gnutls/x509.h>
#include <pthread.h>

static atomic_bool may_go_on; /* whoever holds back the rest of a frame */

/* A listener of region sg that echoes, and us, which knows it. */
struct pair {
	struct peers *sg, *us;
	struct stream_listener *listener;
};

static void
serve_echo(void *arg, struct stream *s)
{
	struct span payload;
	struct err e;
	uint8_t type;

	while (stream_receive(s, 60000, &type, &payload, &e) == 0)
		if (stream_send(s, type, payload.data, payload.len, &e) < 0 ||
		    stream_flush(s, &e) < 0)
			break;
	if (arg)
		*(struct err *)arg = e;
}

static void
pair_open(struct pair *p, const char *dir, unsigned max, stream_fn *fn, void *arg)
{
	struct err e = { 0 };
	char at[32];

	p->sg = fleet_peers(dir, "ca", "sg");
	p->us = fleet_peers(dir, "ca", "us");
	p->listener = stream_listen(p->sg, "127.0.0.1:0", max, fn, arg, &e);
	if (!p->listener)
		fail_msg("%s", e.text);
	snprintf(at, sizeof at, "127.0.0.1:%u", stream_port(p->listener));
	fleet_know(p->us, "sg", "", at);
}

static void
pair_close(struct pair *p)
{
	stream_unlisten(p->listener);
	peers_close(p->sg);
	peers_close(p->us);
}

static struct stream *
reach(struct pair *p)
{
	struct err e = { 0 };
	struct stream *s = stream_connect(p->us, "sg", 5000, &e);

	if (!s)
		fail_msg("%s", e.text);
	return s;
}

/* Frame NUMBER of a sequence, N bytes. */
static void
fill(uint8_t *p, size_t n, unsigned number)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 31 + (i >> 8) + number);
}

static const size_t sizes[] = { 0, 1, 4, 11, 16379, 16384, 40000, 65526, 65530, 65531, 65532, 65536,
	65541, 81920, 1000003, STREAM_FRAME_MAX - 1, STREAM_FRAME_MAX, 5, 0, 300000 };

static void *
send_all(void *arg)
{
	struct stream *s = arg;
	uint8_t *p = malloc(STREAM_FRAME_MAX);
	struct err e;
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < ARRAY_LEN(sizes); i++) {
		fill(p, sizes[i], i);
		rc = stream_send(s, (uint8_t)(i + 100), p, sizes[i], &e);
	}
	if (rc == 0)
		rc = stream_flush(s, &e);
	free(p);
	return rc == 0 ? NULL : s;
}

static void
frames_arrive_whole_and_in_order(void **state)
{
	uint8_t *should = malloc(STREAM_FRAME_MAX);
	struct err e = { 0 };
	pthread_t thread;
	struct stream *s;
	struct pair p;
	void *failed;

	pair_open(&p, *state, 4, serve_echo, NULL);
	s = reach(&p);
	CHECK_STR(stream_peer(s), "sg");
	CHECK(pthread_create(&thread, NULL, send_all, s) == 0);
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		struct span payload;
		uint8_t type;

		CHECK_OK(stream_receive(s, 20000, &type, &payload, &e), &e);
		fill(should, sizes[i], i);
		CHECK(type == i + 100 && payload.len == sizes[i]);
		CHECK(memcmp(payload.data, should, payload.len) == 0);
	}
	CHECK(pthread_join(thread, &failed) == 0 && !failed);
	CHECK(stream_send(s, 1, should, STREAM_FRAME_MAX + 1, &e) == -1);
	CHECK(e.kind == ERR_TOO_BIG);
	CHECK(stream_sent_bytes(s) > 2 * STREAM_FRAME_MAX);
	CHECK(stream_received_bytes(s) > 2 * STREAM_FRAME_MAX);
	CHECK(stream_rtt_us(s) > 0 && stream_rtt_us(s) < 20000000);
	stream_close(s);
	pair_close(&p);
	free(should);
}

static void
a_stream_outlives_a_change_of_keys(void **state)
{
	struct err e = { 0 };
	struct span payload;
	struct stream *s;
	struct pair p;
	uint8_t type;

	pair_open(&p, *state, 4, serve_echo, NULL);
	s = reach(&p);
	for (int i = 0; i < 3; i++) {
		CHECK(gnutls_session_key_update(s->session, GNUTLS_KU_PEER) == 0);
		CHECK_OK(stream_send(s, 9, "again", 5, &e), &e);
		CHECK_OK(stream_flush(s, &e), &e);
		CHECK_OK(stream_receive(s, 20000, &type, &payload, &e), &e);
		CHECK(payload.len == 5);
	}
	stream_close(s);
	pair_close(&p);
}

static void
a_timeout_leaves_the_stream_usable(void **state)
{
	struct err e = { 0 };
	struct span payload;
	struct stream *s;
	struct pair p;
	uint8_t type;
	uint64_t began;

	pair_open(&p, *state, 4, serve_echo, NULL);
	s = reach(&p);
	for (int i = 0; i < 3; i++) {
		began = host_mono_ms();
		CHECK(stream_receive(s, i ? 30 : 0, &type, &payload, &e) == -1);
		CHECK(e.kind == ERR_TIMEOUT);
		CHECK(host_mono_ms() - began < 20000 && host_mono_ms() - began >= (i ? 29 : 0));
	}
	CHECK_OK(stream_send(s, 9, "late", 4, &e), &e);
	CHECK_OK(stream_flush(s, &e), &e);
	CHECK_OK(stream_receive(s, 20000, &type, &payload, &e), &e);
	CHECK(payload.len == 4 && memcmp(payload.data, "late", 4) == 0);
	stream_close(s);
	pair_close(&p);
}

/* A frame's first half, then, after a pause, its second. */
static void
serve_halves(void *arg, struct stream *s)
{
	static const uint8_t frame[] = { 0, 0, 0, 6, 42, 'h', 'e', 'l', 'l', 'o' };

	gnutls_record_send(s->session, frame, 7);
	for (int ms = 0; !atomic_load(&may_go_on) && ms < 30000; ms++)
		usleep(1000);
	gnutls_record_send(s->session, frame + 7, sizeof frame - 7);
}

static void
a_frame_may_come_in_pieces(void **state)
{
	struct err e = { 0 };
	struct span payload;
	struct stream *s;
	struct pair p;
	uint8_t type;

	atomic_store(&may_go_on, false);
	pair_open(&p, *state, 4, serve_halves, NULL);
	s = reach(&p);
	CHECK(stream_receive(s, 50, &type, &payload, &e) == -1);
	CHECK(e.kind == ERR_TIMEOUT);
	atomic_store(&may_go_on, true);
	CHECK_OK(stream_receive(s, 20000, &type, &payload, &e), &e);
	CHECK(type == 42 && payload.len == 5 && memcmp(payload.data, "hello", 5) == 0);
	stream_close(s);
	pair_close(&p);
}

/* What serve_raw sends before it ends. */
struct raw {
	uint8_t bytes[16];
	size_t n;
	bool is_cut; /* without a farewell */
};

static void
serve_raw(void *arg, struct stream *s)
{
	const struct raw *r = arg;

	if (r->n)
		gnutls_record_send(s->session, r->bytes, r->n);
	if (r->is_cut)
		stream_abort(s);
}

static void
a_broken_stream_says_how_it_ended(void **state)
{
	static const struct {
		struct raw raw;
		const char *says;
	} cases[] = {
		{ { { 0 }, 0, false }, "it ended" },
		{ { { 0 }, 0, true }, "cut off" },
		{ { { 0, 0, 0, 6, 1, 'h' }, 6, false }, "within a frame" },
		{ { { 0, 0 }, 2, false }, "within a frame" },
		{ { { 0, 0, 0, 0, 1, 1 }, 6, false }, "impossible length" },
		{ { { 0xff, 0xff, 0xff, 0xff, 1 }, 5, false }, "impossible length" },
		{ { { 0, 0x80, 0, 2, 1 }, 5, false }, "impossible length" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct raw raw = cases[i].raw;
		struct err e = { 0 };
		struct span payload;
		struct stream *s;
		struct pair p;
		uint8_t type;

		pair_open(&p, *state, 4, serve_raw, &raw);
		s = reach(&p);
		for (int again = 0; again < 2; again++) {
			CHECK(stream_receive(s, 20000, &type, &payload, &e) == -1);
			CHECK(e.kind == ERR_PEER);
			if (!strstr(e.text, cases[i].says))
				fail_msg("%zu: %s", i, e.text);
		}
		stream_close(s);
		pair_close(&p);
	}
}

static void
serve_nothing(void *arg, struct stream *s)
{
	while (!atomic_load(&s->is_aborted))
		usleep(2000);
}

static void *
abort_soon(void *arg)
{
	usleep(50 * 1000);
	stream_abort(arg);
	return NULL;
}

static void
an_abort_wakes_who_waits(void **state)
{
	uint8_t *much = calloc(1, STREAM_FRAME_MAX);

	for (int sending = 0; sending < 2; sending++) {
		struct err e = { 0 };
		struct span payload;
		pthread_t thread;
		struct stream *s;
		struct pair p;
		uint8_t type;
		int rc = 0;

		pair_open(&p, *state, 4, serve_nothing, NULL);
		s = reach(&p);
		CHECK(pthread_create(&thread, NULL, abort_soon, s) == 0);
		/* The other side reads nothing: soon no more fits. */
		for (int i = 0; sending && rc == 0 && i < 20; i++)
			rc = stream_send(s, 1, much, STREAM_FRAME_MAX, &e);
		if (!sending)
			rc = stream_receive(s, 20000, &type, &payload, &e);
		CHECK(rc == -1 && e.kind == ERR_CANCELLED);
		CHECK(stream_send(s, 1, "x", 1, &e) == -1 && e.kind == ERR_CANCELLED);
		CHECK(stream_receive(s, 0, &type, &payload, &e) == -1 && e.kind == ERR_CANCELLED);
		pthread_join(thread, NULL);
		stream_close(s);
		pair_close(&p);
	}
	free(much);
}

static void
unlistening_ends_every_stream(void **state)
{
	struct err why = { 0 };
	struct span payload;
	struct stream *s;
	struct pair p;
	uint8_t type;
	struct err e = { 0 };

	pair_open(&p, *state, 4, serve_echo, &why);
	s = reach(&p);
	stream_unlisten(p.listener);
	p.listener = NULL;
	CHECK(why.kind == ERR_CANCELLED);
	CHECK(stream_receive(s, 20000, &type, &payload, &e) == -1);
	CHECK(e.kind == ERR_PEER);
	CHECK(!stream_connect(p.us, "sg", 1000, &e));
	CHECK(e.kind == ERR_PEER);
	stream_close(s);
	pair_close(&p);
}

static void
more_streams_than_agreed_are_refused(void **state)
{
	struct err e = { 0 };
	struct stream *a, *b, *c = NULL;
	struct pair p;

	pair_open(&p, *state, 2, serve_echo, NULL);
	a = reach(&p);
	b = reach(&p);
	CHECK(!stream_connect(p.us, "sg", 1000, &e));
	CHECK(e.kind == ERR_PEER);
	stream_close(a);
	for (int i = 0; !c && i < 100; i++) {
		c = stream_connect(p.us, "sg", 1000, &e);
		usleep(c ? 0 : 10000);
	}
	CHECK(c);
	stream_close(b);
	stream_close(c);
	pair_close(&p);
}

static void
a_stream_goes_only_to_who_it_is_for(void **state)
{
	FLEET_PEERS(false_sg, *state, "other", "sg");
	FLEET_PEERS(false_us, *state, "other", "us");
	struct err e = { 0 };
	struct pair p;
	char at[32];

	pair_open(&p, *state, 4, serve_echo, NULL);
	snprintf(at, sizeof at, "127.0.0.1:%u", stream_port(p.listener));
	/* Taken for another region. */
	fleet_know(p.us, "cn-bj", "", at);
	CHECK(!stream_connect(p.us, "cn-bj", 5000, &e));
	CHECK(e.kind == ERR_PEER && strstr(e.text, "for sg, not for cn-bj"));
	/* Of another CA, from either side. */
	fleet_know(false_us, "sg", "", at);
	CHECK(!stream_connect(false_us, "sg", 5000, &e));
	CHECK(e.kind == ERR_PEER);
	gnutls_x509_trust_list_deinit(false_us->trust, 1);
	gnutls_x509_trust_list_init(&false_us->trust, 0);
	CHECK(gnutls_x509_trust_list_add_trust_file(false_us->trust,
	          check_path(*state, "ca/ca.pem"), NULL, GNUTLS_X509_FMT_PEM, 0, 0) == 1);
	CHECK(!stream_connect(false_us, "sg", 5000, &e)); /* it trusts us; we don't trust it */
	CHECK(e.kind == ERR_PEER && strstr(e.text, "refused by the other side"));
	CHECK(!stream_connect(p.us, "nowhere", 5000, &e));
	CHECK(e.kind == ERR_PEER);
	pair_close(&p);

	pair_open(&p, *state, 4, serve_echo, NULL);
	snprintf(at, sizeof at, "127.0.0.1:%u", stream_port(p.listener));
	stream_unlisten(p.listener);
	p.listener = stream_listen(false_sg, at, 4, serve_echo, NULL, &e);
	CHECK(p.listener);
	CHECK(!stream_connect(p.us, "sg", 5000, &e));
	CHECK(e.kind == ERR_PEER);
	pair_close(&p);
}

static void
a_stream_of_a_region_that_is_not_in_the_file_is_refused(void **state)
{
	struct err e = { 0 };
	struct pair p;

	pair_open(&p, *state, 4, serve_echo, NULL);
	stream_close(reach(&p));
	fleet_know(p.sg, "cn-bj", "", "");
	strcpy(p.sg->directory, "us"); /* this is not enough for a move */
	CHECK(!stream_connect(p.us, "sg", 5000, &e));
	CHECK(e.kind == ERR_PEER && strstr(e.text, "refused by the other side"));
	pair_close(&p);
}

/* Two connected sockets of the loopback address. */
static void
socket_pair(int out[2])
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof at;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, (struct sockaddr *)&at, &n) == 0);
	out[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(connect(out[0], (struct sockaddr *)&at, sizeof at) == 0);
	out[1] = accept(listener, NULL, NULL);
	CHECK(out[1] >= 0);
	close(listener);
}

/* The beginning of a long record, a byte at a time and without end. */
static void *
drip(void *arg)
{
	static const uint8_t start[5] = { 22, 3, 1, 0x30, 0 };
	int fd = *(int *)arg;

	for (unsigned i = 0; i < 2000; i++) {
		if (send(fd, i < 5 ? &start[i] : (const uint8_t *)"", 1, MSG_NOSIGNAL) < 0)
			return NULL;
		usleep(2000);
	}
	return arg;
}

static void
a_half_open_handshake_ends(void **state)
{
	FLEET_PEERS(sg, *state, "ca", "sg");

	for (int dripping = 0; dripping < 2; dripping++) {
		struct err e = { 0 };
		struct stream *s;
		pthread_t thread;
		void *lasted = NULL;
		uint64_t began;
		int fd[2];

		socket_pair(fd);
		s = stream_new(sg, fd[1], NULL, &e);
		CHECK(s);
		if (dripping)
			CHECK(pthread_create(&thread, NULL, drip, &fd[0]) == 0);
		began = host_mono_ms();
		CHECK(stream_greet(s, NULL, 200, &e) == -1);
		CHECK(e.kind == ERR_PEER);
		CHECK(host_mono_ms() - began >= 199 && host_mono_ms() - began < 20000);
		stream_close(s);
		if (dripping)
			CHECK(pthread_join(thread, &lasted) == 0 && !lasted);
		close(fd[0]);
	}
}

#define TEST_IN_DIR(name) cmocka_unit_test_setup_teardown(name, check_dir_setup, check_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_IN_DIR(frames_arrive_whole_and_in_order),
		TEST_IN_DIR(a_stream_outlives_a_change_of_keys),
		TEST_IN_DIR(a_timeout_leaves_the_stream_usable),
		TEST_IN_DIR(a_frame_may_come_in_pieces),
		TEST_IN_DIR(a_broken_stream_says_how_it_ended),
		TEST_IN_DIR(an_abort_wakes_who_waits),
		TEST_IN_DIR(unlistening_ends_every_stream),
		TEST_IN_DIR(more_streams_than_agreed_are_refused),
		TEST_IN_DIR(a_stream_goes_only_to_who_it_is_for),
		TEST_IN_DIR(a_stream_of_a_region_that_is_not_in_the_file_is_refused),
		TEST_IN_DIR(a_half_open_handshake_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
