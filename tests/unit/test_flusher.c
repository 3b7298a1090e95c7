/* Group commit: who is answered when, and what a failed flush means. */
#include "base/host.h"
#include "base/log.h"
#include "engine/flusher.h"
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

static const struct vault_id mara = { { { 0x10 } }, SERVICE_FILES };

struct fixture {
	struct engine *memory;
	struct engine *g; /* fault around it */
	struct flusher *f;
};

static int
set_up(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));
	struct err e = { 0 };

	x->memory = engine_memory(&e);
	x->g = engine_fault(x->memory, &e);
	x->f = flusher_start(x->g, &e);
	*state = x;
	return x->f ? 0 : -1;
}

static int
tear_down(void **state)
{
	struct fixture *x = *state;

	flusher_stop(x->f);
	engine_close(x->g);
	free(x);
	return 0;
}

static void
must_put(struct fixture *x, const char *key)
{
	struct engine_write w = { ENGINE_PUT, { (const uint8_t *)key, strlen(key) }, { 0 } };
	struct err e = { 0 };

	CHECK_OK(engine_apply(x->g, &mara, &w, 1, NULL, ENGINE_LATER, &e), &e);
}

static bool
is_there(struct fixture *x, const char *key)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct span k = { (const uint8_t *)key, strlen(key) };

	return engine_get(x->g, &mara, k, &b, NULL) == 1;
}

static void
what_was_waited_for_survives_a_power_cut(void **state)
{
	struct fixture *x = *state;
	struct err e = { 0 };
	uint64_t ticket;

	CHECK(flusher_is_durable(x->f, 0));
	CHECK_OK(flusher_wait(x->f, 0, &e), &e);
	must_put(x, "a");
	ticket = flusher_ticket(x->f);
	CHECK(ticket != 0 && !flusher_is_durable(x->f, ticket));
	CHECK_OK(flusher_wait(x->f, ticket, &e), &e);
	CHECK(flusher_is_durable(x->f, ticket));
	must_put(x, "b");
	engine_memory_cut(x->memory);
	CHECK(is_there(x, "a") && !is_there(x, "b"));
}

struct note {
	struct flush_wait wait;
	struct fixture *x;
	uint64_t other; /* a ticket to look at when called */
	pthread_t thread;
	_Atomic bool is_done;
	bool failed, other_durable;
};

static void
note_done(struct flush_wait *w, const struct err *e)
{
	struct note *n = container_of(w, struct note, wait);

	n->failed = e != NULL;
	n->thread = pthread_self();
	n->other_durable = flusher_is_durable(n->x->f, n->other);
	atomic_store(&n->is_done, true);
}

/* A flush that runs already may have missed what was applied meanwhile. */
static void
a_flush_that_began_before_does_not_count(void **state)
{
	struct fixture *x = *state;
	struct note first = { .wait.done = note_done, .x = x };
	struct err e = { 0 };
	uint64_t before = flusher_ticket(x->f), during = before + 1;

	first.other = during;
	engine_fault_set(x->g, FAULT_DELAY, 1, false, true, 60);
	flusher_notify(x->f, before, &first.wait);
	while (flusher_ticket(x->f) == before)
		usleep(500);
	CHECK(flusher_ticket(x->f) == during);
	CHECK_OK(flusher_wait(x->f, during, &e), &e);
	CHECK(atomic_load(&first.is_done) && !first.failed && !first.other_durable);
	CHECK(flusher_is_durable(x->f, during));
}

static void
a_durable_ticket_is_answered_at_once(void **state)
{
	struct fixture *x = *state;
	struct note n = { .wait.done = note_done, .x = x };
	struct err e = { 0 };
	uint64_t ticket = flusher_ticket(x->f);

	CHECK_OK(flusher_wait(x->f, ticket, &e), &e);
	flusher_notify(x->f, ticket, &n.wait);
	CHECK(atomic_load(&n.is_done) && !n.failed && pthread_equal(n.thread, pthread_self()));
}

static void *
wait_often(void *arg)
{
	struct fixture *x = arg;
	struct err e = { 0 };
	char key[24];

	for (int i = 0; i < 20; i++) {
		snprintf(key, sizeof(key), "%lx-%d", (unsigned long)pthread_self(), i);
		must_put(x, key);
		CHECK_OK(flusher_wait(x->f, flusher_ticket(x->f), &e), &e);
	}
	return NULL;
}

static int
count_record(void *arg, struct span key, struct span value, struct err *e)
{
	++*(unsigned *)arg;
	return 0;
}

static void
many_waiters_share_a_flush(void **state)
{
	struct fixture *x = *state;
	pthread_t threads[32];
	unsigned n = 0;
	struct err e = { 0 };

	engine_fault_set(x->g, FAULT_NONE, 0, false, false, 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		CHECK(pthread_create(&threads[i], NULL, wait_often, x) == 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	engine_memory_cut(x->memory);
	CHECK_OK(
	    engine_scan(x->g, &mara, (struct span){ 0 }, (struct span){ 0 }, count_record, &n, &e),
	    &e);
	CHECK(n == 32 * 20);
}

static void
a_slow_disk_means_fewer_flushes(void **state)
{
	struct fixture *x = *state;
	struct note notes[50];
	uint64_t before = flusher_ticket(x->f), began_ms, meanwhile;
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(notes); i++)
		notes[i] = (struct note){ .wait.done = note_done, .x = x };
	engine_fault_set(x->g, FAULT_DELAY, 1, false, true, 20);
	began_ms = host_mono_ms();
	for (size_t i = 0; i < ARRAY_LEN(notes); i++)
		flusher_notify(x->f, flusher_ticket(x->f), &notes[i].wait);
	meanwhile = (host_mono_ms() - began_ms) /
	    20; /* some, if the machine was busy with other things */
	CHECK_OK(flusher_wait(x->f, flusher_ticket(x->f), &e), &e);
	for (size_t i = 0; i < ARRAY_LEN(notes); i++)
		CHECK(atomic_load(&notes[i].is_done) && !notes[i].failed);
	CHECK(flusher_ticket(x->f) - before <= 4 + meanwhile);
}

static void
a_failed_flush_is_told_to_whoever_asks_even_late(void **state)
{
	struct fixture *x = *state;
	struct note n = { .wait.done = note_done, .x = x };
	struct err e = { 0 };
	uint64_t good = flusher_ticket(x->f), bad, later;

	CHECK_OK(flusher_wait(x->f, good, &e), &e);
	CHECK(flusher_failures(x->f) == 0);
	bad = flusher_ticket(x->f);
	engine_fault_set(x->g, FAULT_FULL, 1, false, false, 0);
	CHECK(flusher_wait(x->f, bad, &e) == -1 && e.kind == ERR_FULL);
	CHECK(flusher_failures(x->f) == 1);
	later = flusher_ticket(x->f);
	CHECK_OK(flusher_wait(x->f, later, &e), &e);
	/* each keeps its fate */
	for (int i = 0; i < 2; i++) {
		CHECK(flusher_is_durable(x->f, good) && flusher_is_durable(x->f, later));
		CHECK(!flusher_is_durable(x->f, bad));
		CHECK(flusher_wait(x->f, bad, &e) == -1 && e.kind == ERR_FULL);
		CHECK(flusher_wait(x->f, bad, NULL) == -1);
		CHECK_OK(flusher_wait(x->f, good, &e), &e);
	}
	flusher_notify(x->f, bad, &n.wait);
	CHECK(atomic_load(&n.is_done) && n.failed);

	/* More gaps between failures than are kept: the failed ones stay failed. */
	for (int i = 0; i < 100; i++) {
		uint64_t ticket = flusher_ticket(x->f);

		engine_fault_set(x->g, i % 2 ? FAULT_NONE : FAULT_FAIL, 1, false, false, 0);
		CHECK(flusher_wait(x->f, ticket, &e) == (i % 2 ? 0 : -1));
	}
	for (int i = 0; i < 100; i++) {
		uint64_t ticket = flusher_ticket(x->f);

		engine_fault_set(x->g, i % 2 ? FAULT_NONE : FAULT_FAIL, 1, false, false, 0);
		CHECK(flusher_wait(x->f, ticket, &e) == (i % 2 ? 0 : -1));
		CHECK(flusher_is_durable(x->f, ticket) == (i % 2 == 1));
	}
	CHECK(!flusher_is_durable(x->f, bad));
	CHECK(flusher_failures(x->f) == 101);
}

static void
stopping_answers_everybody(void **state)
{
	struct fixture *x = *state;
	struct note notes[3];
	struct err e;

	must_put(x, "a");
	engine_fault_set(x->g, FAULT_DELAY, 1, false, true, 50);
	for (size_t i = 0; i < ARRAY_LEN(notes); i++) {
		notes[i] = (struct note){ .wait.done = note_done, .x = x };
		flusher_notify(x->f, flusher_ticket(x->f), &notes[i].wait);
		usleep(5000);
	}
	flusher_stop(x->f);
	for (size_t i = 0; i < ARRAY_LEN(notes); i++)
		CHECK(atomic_load(&notes[i].is_done) && !notes[i].failed);
	x->f = flusher_start(x->g, &e);
}

static void
stopping_flushes_what_nobody_waits_for(void **state)
{
	struct fixture *x = *state;
	struct err e;

	must_put(x, "a");
	flusher_stop(x->f);
	engine_memory_cut(x->memory);
	CHECK(is_there(x, "a"));
	x->f = flusher_start(x->g, &e);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_waited_for_survives_a_power_cut),
		TEST(a_flush_that_began_before_does_not_count),
		TEST(a_durable_ticket_is_answered_at_once),
		TEST(many_waiters_share_a_flush),
		TEST(a_slow_disk_means_fewer_flushes),
		TEST(a_failed_flush_is_told_to_whoever_asks_even_late),
		TEST(stopping_answers_everybody),
		TEST(stopping_flushes_what_nobody_waits_for),
	};

	log_set_level(LOG_ERROR_ + 1); /* the failures are ours */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
