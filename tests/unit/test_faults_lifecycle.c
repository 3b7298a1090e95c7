/* Whatever call of engine or chunks fails under it, what is due goes wholly or not at all, what is not due
 * stays, and what is left goes the next time. */
#include "clock.h"
#include "fault_fixture.h"

#include "base/log.h"
#include "service/expire.h"
#include "service/lifecycle_internal.h"
#include "service/rules.h"

#define LARGE 70000

static uint8_t *old, *new;

static uint64_t
wall_ms(void)
{
	return 20000 * RULES_DAY_MS + clock_ahead_ms;
}

static void
set_rule(struct files *f, struct rule r)
{
	_cleanup_buf_ struct buf stored = BUF_INIT(0);
	struct err e = { 0 };

	r.is_enabled = true;
	rules_begin(&stored);
	rules_put(&stored, &r);
	rules_end(&stored, 1);
	CHECK_OK(files_rules_put(f, "photos", (struct span){ stored.data, stored.len }, &e), &e);
}

/* All steps of a vault. */
static int
expire_all(struct files *f, struct err *e)
{
	struct expire x = { .service = SERVICE_FILES, .day_ms = RULES_DAY_MS };
	int r;

	while ((r = expire_step(&x, f, e)) == 1)
		;
	return r;
}

/* By the thread's own round, after a failure may have put it off. */
static int
expire_later(struct files *f, struct err *e)
{
	struct lifecycle l = { .node = f->node, .day_ms = RULES_DAY_MS };
	int r;

	pthread_mutex_init(&l.lock, NULL);
	host_cond_init(&l.changed);
	clock_ahead_ms += RULES_DAY_MS;
	r = lifecycle_round(&l, e);
	pthread_cond_destroy(&l.changed);
	pthread_mutex_destroy(&l.lock);
	return r;
}

static bool
kept_is_there(struct files *f)
{
	return fault_is_it(f, "photos", "kept", new, LARGE);
}

static void
clear(struct files *f)
{
	fault_clear(f, "photos", "k");
	fault_clear(f, "photos", "kept");
}

/* --- an object --- */

static void
prepare_object(struct files *f)
{
	struct span prefix = { (const uint8_t *)"k", 1 }, tag = { (const uint8_t *)"a=b", 3 };
	struct object_info out;
	struct err e = { 0 };

	CHECK_OK(
	    put_with(f, "photos", "k", old, LARGE, FILES_TAGS_LINE "a=b\n", NULL, &out, &e), &e);
	object_info_free(&out);
	put(f, "photos", "kept", new, LARGE);
	set_rule(f, (struct rule){ .days = 1, .prefix = prefix, .tags = tag });
	clock_ahead_ms += 3 * RULES_DAY_MS;
}

static bool
object_is_gone(struct files *f)
{
	return fault_is_absent(f, "photos", "k") && kept_is_there(f);
}

static bool
object_is_there(struct files *f)
{
	return fault_is_it(f, "photos", "k", old, LARGE) && kept_is_there(f);
}

static void
an_object_goes_wholly_or_stays(void **state)
{
	fault_try(*state,
	    &(struct fault_deed){
	        prepare_object, expire_all, object_is_gone, object_is_there, expire_later, clear });
}

/* --- the rules themselves --- */

static int
put_rules(struct files *f, struct err *e)
{
	_cleanup_buf_ struct buf stored = BUF_INIT(0);

	rules_begin(&stored);
	rules_put(&stored, &(struct rule){ .is_enabled = true, .days = 1 });
	rules_end(&stored, 1);
	return files_rules_put(f, "photos", (struct span){ stored.data, stored.len }, e);
}

static bool
has_setting(struct files *f)
{
	_cleanup_buf_ struct buf value = BUF_INIT(0);
	struct err e = { 0 };
	int r = files_setting_get(f, "photos", FILES_RULES, &value, &e);

	CHECK(r >= 0);
	return r == 1;
}

static bool
has_record(struct files *f)
{
	struct vault_id id = { f->account, SERVICE_FILES };
	_cleanup_buf_ struct buf value = BUF_INIT(0);
	struct err e = { 0 };

	return region_get(f->node->engine, REGION_RULES, &id, sizeof(id), &value, &e) == 1;
}

static bool
has_rules(struct files *f)
{
	return has_setting(f) && has_record(f);
}

static bool
has_no_rules(struct files *f)
{
	return !has_setting(f);
}

/* Afterwards there is neither, a record without rules being found to be one. */
static void
clear_rules(struct files *f)
{
	struct err e = { 0 };

	CHECK_OK(files_rules_remove(f, "photos", &e), &e);
	CHECK_OK(expire_later(f, &e), &e);
	CHECK(!has_record(f));
}

static void
rules_never_come_without_their_record(void **state)
{
	fault_try(*state,
	    &(struct fault_deed){
	        NULL, put_rules, has_rules, has_no_rules, put_rules, clear_rules });
}

int
main(void)
{
	const struct host_ops clock = { wall_ms, clock_mono_ns, clock_random };
	const struct CMUnitTest tests[] = {
		FAULT_TEST(an_object_goes_wholly_or_stays),
		FAULT_TEST(rules_never_come_without_their_record),
	};
	int failed;

	fault_use_memory();
	log_set_level(LOG_ERROR_);
	host_replace(&clock);
	old = noise(LARGE, 1);
	new = noise(LARGE, 2);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(old);
	free(new);
	host_replace(NULL);
	return failed;
}
