/* Strangers at the listener of streams keep no region out, however many of them there are and wherever
 * they are. */
#include "fleet.h"

#include "base/host.h"
#include "base/log.h"
#include "directory/stream.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>

#define STRANGERS 64
#define WAIT_MS   60000

struct crowd {
	unsigned n, addresses; /* from 127.0.0.1 on */
	bool speaks;           /* the beginning of a handshake */
	struct sockaddr_in at;
	_Atomic bool is_over;
	_Atomic unsigned came;
	pthread_t threads[STRANGERS];
	struct stranger {
		struct crowd *crowd;
		unsigned number;
	} strangers[STRANGERS];
};

/* One connection, until the other side ends it. */
static void
stand_around(struct stranger *me)
{
	static const uint8_t start[5] = { 22, 3, 1, 2, 0 };
	struct crowd *c = me->crowd;
	struct sockaddr_in from = { .sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK + me->number % c->addresses) } };
	_cleanup_(fd_closep) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0 ||
	    connect(fd, (struct sockaddr *)&c->at, sizeof(c->at)) < 0)
		return;
	if (c->speaks && send(fd, start, sizeof(start), MSG_NOSIGNAL) < 0)
		return;
	atomic_fetch_add(&c->came, 1);
	while (!atomic_load(&c->is_over) && poll(&p, 1, 50) == 0)
		;
}

/* And the next one at once. */
static void *
stand_around_always(void *arg)
{
	struct stranger *me = arg;

	while (!atomic_load(&me->crowd->is_over))
		stand_around(me);
	return NULL;
}

static void
crowd_begin(struct crowd *c, unsigned port)
{
	c->at = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr = { htonl(INADDR_LOOPBACK) } };
	for (unsigned i = 0; i < c->n; i++) {
		c->strangers[i] = (struct stranger){ c, i };
		CHECK(pthread_create(&c->threads[i], NULL, stand_around_always, &c->strangers[i]) ==
		    0);
	}
	for (unsigned ms = 0; atomic_load(&c->came) < c->n && ms < WAIT_MS; ms++)
		usleep(1000);
	CHECK(atomic_load(&c->came) >= c->n);
}

static void
crowd_end(struct crowd *c)
{
	atomic_store(&c->is_over, true);
	for (unsigned i = 0; i < c->n; i++)
		pthread_join(c->threads[i], NULL);
}

static void
serve_nothing(void *arg, struct stream *s)
{
	struct span payload;
	struct err e;
	uint8_t type;

	while (stream_receive(s, 60000, &type, &payload, &e) == 0)
		;
}

static void
a_region_gets_in(const char *dir, struct crowd c)
{
	_cleanup_(peers_closep) struct peers *sg = fleet_peers(dir, "ca", "sg");
	_cleanup_(peers_closep) struct peers *us = fleet_peers(dir, "ca", "us");
	struct err e = { 0 };
	struct stream_listener *l = stream_listen(sg, "127.0.0.1:0", 4, serve_nothing, NULL, &e);
	char at[32];

	if (!l)
		fail_msg("%s", e.text);
	snprintf(at, sizeof(at), "127.0.0.1:%u", stream_port(l));
	crowd_begin(&c, stream_port(l));
	for (int i = 0; i < 3; i++) {
		struct stream *s = stream_connect_at(us, "sg", at, WAIT_MS, &e);

		if (!s)
			fail_msg("%u strangers from %u addresses: %s", c.n, c.addresses, e.text);
		stream_close(s);
	}
	crowd_end(&c);
	stream_unlisten(l);
}

static void
strangers_keep_no_region_out(void **state)
{
	static const unsigned crowds[][2] = { { 16, 1 }, { 64, 1 }, { 64, 4 }, { 64, 64 } };

	for (size_t i = 0; i < ARRAY_LEN(crowds); i++)
		a_region_gets_in(
		    *state, (struct crowd){ .n = crowds[i][0], .addresses = crowds[i][1] });
}

static void
strangers_that_speak_keep_no_region_out(void **state)
{
	a_region_gets_in(*state, (struct crowd){ .n = 64, .addresses = 1, .speaks = true });
	a_region_gets_in(*state, (struct crowd){ .n = 64, .addresses = 64, .speaks = true });
}

#define TEST_IN_DIR(name) cmocka_unit_test_setup_teardown(name, check_dir_setup, check_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_IN_DIR(strangers_keep_no_region_out),
		TEST_IN_DIR(strangers_that_speak_keep_no_region_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
