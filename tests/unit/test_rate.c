/* test_rate.c - nobody has more than the rate, nobody less, however many there are. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/host.h"
#include "base/rate.h"

static _Atomic uint64_t now_ns = 5000000000;

static uint64_t
mono(void)
{
	return atomic_load(&now_ns);
}

static void
no_secret(void *out, size_t n)
{
	memset(out, 0x5a, n);
}

static void
pass_ms(uint64_t ms)
{
	atomic_fetch_add(&now_ns, ms * 1000000);
}

static struct rate *
make(uint64_t per_s, uint64_t burst, size_t places)
{
	struct err e = { 0 };
	struct rate *r = rate_new(per_s, burst, places, &e);

	CHECK(r);
	return r;
}

static const uint8_t *
key(uint64_t i)
{
	static _Thread_local uint8_t k[16];

	memset(k, 0, sizeof(k));
	memcpy(k, &i, sizeof(i));
	return k;
}

static unsigned
taken(struct rate *r, uint64_t who, unsigned tries)
{
	unsigned n = 0;

	for (unsigned i = 0; i < tries; i++)
		n += rate_take(r, key(who));
	return n;
}

static void
a_burst_then_the_rate_and_a_burst_again_after_rest(void **state)
{
	_cleanup_(rate_freep) struct rate *r = make(10, 5, 100);

	(void)state;
	CHECK(taken(r, 1, 50) == 5);
	CHECK(taken(r, 2, 50) == 5); /* another's is its own */
	pass_ms(99);
	CHECK(taken(r, 1, 50) == 0);
	pass_ms(1);
	CHECK(taken(r, 1, 50) == 1);
	pass_ms(250);
	CHECK(taken(r, 1, 50) == 2);
	pass_ms(3600000);
	CHECK(taken(r, 1, 50) == 5); /* and no more, however long the rest was */
}

static void
over_a_long_time_exactly_the_rate_is_had(void **state)
{
	_cleanup_(rate_freep) struct rate *r = make(40, 1, 100);
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < 10000; i++) {
		n += taken(r, 7, 3);
		pass_ms(1);
	}
	CHECK(n == 400);
}

static void
a_second_after_a_refusal_there_is_one(void **state)
{
	_cleanup_(rate_freep) struct rate *r = make(1, 1, 100);

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		CHECK(rate_take(r, key(3)) && !rate_take(r, key(3)));
		pass_ms(1000);
	}
}

static void
many_keys_share_places_and_are_told_apart(void **state)
{
	_cleanup_(rate_freep) struct rate *r = make(1, 2, 65536);
	unsigned n = 0;

	(void)state;
	for (uint64_t i = 0; i < 10000; i++)
		n += taken(r, i, 4);
	CHECK(n >= 20000 && n < 20100); /* few sets have more than four of these */
	n = 0;
	for (uint64_t i = 0; i < 300000; i++) /* more than there are places: who is new gets in */
		n += rate_take(r, key(i + 20000));
	CHECK(n > 299900 && taken(r, 7, 4) <= 2);
}

#define THREADS 4

static struct rate *shared;

static void *
take_many(void *arg)
{
	(void)arg;
	return (void *)(uintptr_t)taken(shared, 9, 20000);
}

static void
threads_share_one_bucket(void **state)
{
	_cleanup_(rate_freep) struct rate *r = shared = make(1, 5000, 100);
	pthread_t threads[THREADS];
	uintptr_t n = 0;

	(void)state;
	for (unsigned i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, take_many, NULL) == 0);
	for (unsigned i = 0; i < THREADS; i++) {
		void *one;

		pthread_join(threads[i], &one);
		n += (uintptr_t)one;
	}
	CHECK(n >= 5000 && n < 5200); /* a few may pass where all meet in one instant */
}

int
main(void)
{
	const struct host_ops ops = { .mono_ns = mono, .random = no_secret };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_then_the_rate_and_a_burst_again_after_rest),
		cmocka_unit_test(over_a_long_time_exactly_the_rate_is_had),
		cmocka_unit_test(a_second_after_a_refusal_there_is_one),
		cmocka_unit_test(many_keys_share_places_and_are_told_apart),
		cmocka_unit_test(threads_share_one_bucket),
	};

	host_replace(&ops);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
