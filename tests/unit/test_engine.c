/* One suite for every engine, then what the two for tests promise: power cuts and faults. */
#include "base/host.h"
#include "engine/engine.h"
#include "check.h"

#include <pthread.h>

#define CACHE_BYTES  (8 << 20)
#define BUFFER_BYTES (4 << 20)

static const struct vault_id mara = { { { 0x10 } }, SERVICE_FILES };
static const struct vault_id mara_backup = { { { 0x10 } }, SERVICE_BACKUP };
static const struct vault_id theo = { { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	                                  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } },
	0xff };

static struct span
span_of(const char *text)
{
	return (struct span){ (const uint8_t *)text, strlen(text) };
}

static struct engine_write
put(const char *key, const char *value)
{
	return (struct engine_write){ ENGINE_PUT, span_of(key), span_of(value) };
}

static struct engine_write
del(const char *key)
{
	return (struct engine_write){ ENGINE_DELETE, span_of(key), { 0 } };
}

static void
must_put(struct engine *g, const struct vault_id *id, const char *key, const char *value)
{
	struct engine_write w = put(key, value);
	struct err e = { 0 };

	CHECK_OK(engine_apply(g, id, &w, 1, NULL, ENGINE_LATER, &e), &e);
}

/* Whether KEY has exactly VALUE; NULL: is absent. */
static bool
has(struct engine *g, const struct vault_id *id, const char *key, const char *value)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct err e = { 0 };
	int rc = engine_get(g, id, span_of(key), &b, &e);

	if (rc < 0)
		fail_msg("get %s: %s", key, e.text);
	return value ? rc == 1 && b.len == strlen(value) && strcmp(buf_str(&b), value) == 0
	             : rc == 0;
}

/* "key=value " for each record. */
static int
note_record(void *arg, struct span key, struct span value, struct err *e)
{
	buf_printf(arg, "%.*s=%.*s ", (int)key.len, (const char *)key.data, (int)value.len,
	    (const char *)value.data);
	return 0;
}

static const char *
scanned(struct engine *g, const struct vault_id *id, const char *from, const char *to)
{
	static struct buf b;
	struct err e = { 0 };

	buf_clear(&b);
	CHECK_OK(engine_scan(g, id, span_of(from), span_of(to), note_record, &b, &e), &e);
	return buf_str(&b);
}

/* The engines */

enum which { MEMORY, ROCKSDB, FAULTY_MEMORY, FAULTY_ROCKSDB };

struct fixture {
	struct engine *g;
	char *dir;
	bool is_disk;
};

static struct engine *
open_rocks(const char *dir)
{
	struct err e = { 0 };
	struct engine *g = engine_rocksdb(check_path(dir, "db"), CACHE_BYTES, BUFFER_BYTES, &e);

	if (!g)
		fail_msg("%s", e.text);
	return g;
}

static int
set_up(void **state, enum which which)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e;

	f->dir = check_dir_make();
	f->is_disk = which == ROCKSDB || which == FAULTY_ROCKSDB;
	f->g = f->is_disk ? open_rocks(f->dir) : engine_memory(&e);
	if (which == FAULTY_MEMORY || which == FAULTY_ROCKSDB)
		f->g = engine_fault(f->g, &e);
	*state = f;
	return f->g ? 0 : -1;
}

static int
set_up_memory(void **state)
{
	return set_up(state, MEMORY);
}

static int
set_up_rocksdb(void **state)
{
	return set_up(state, ROCKSDB);
}

static int
set_up_faulty_memory(void **state)
{
	return set_up(state, FAULTY_MEMORY);
}

static int
set_up_faulty_rocksdb(void **state)
{
	return set_up(state, FAULTY_ROCKSDB);
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	engine_close(f->g);
	check_dir_remove(f->dir);
	free(f);
	return 0;
}

/* The suite */

static void
what_was_put_is_got(void **state)
{
	struct engine *g = ((struct fixture *)*state)->g;
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct engine_write empty = put("k", "");
	struct err e = { 0 };

	CHECK(has(g, &mara, "k", NULL));
	must_put(g, &mara, "k", "one");
	CHECK(has(g, &mara, "k", "one"));
	CHECK(has(g, &mara_backup, "k", NULL) && has(g, &theo, "k", NULL));
	CHECK(has(g, &mara, "kk", NULL) && has(g, &mara, "j", NULL));
	must_put(g, &mara, "k", "two");
	must_put(g, &theo, "k", "three");
	CHECK(has(g, &mara, "k", "two") && has(g, &theo, "k", "three"));
	/* the buffer's old content is replaced, and kept when there is nothing */
	buf_add_str(&b, "old");
	CHECK(engine_get(g, &mara, span_of("none"), &b, &e) == 0);
	CHECK_STR(buf_str(&b), "old");
	CHECK(engine_get(g, &mara, span_of("k"), &b, &e) == 1);
	CHECK_STR(buf_str(&b), "two");
	/* an empty value is a value */
	CHECK_OK(engine_apply(g, &mara, &empty, 1, NULL, ENGINE_NOW, &e), &e);
	CHECK(has(g, &mara, "k", ""));
	CHECK_OK(engine_apply(g, &mara, NULL, 0, NULL, ENGINE_NOW, &e), &e);
}

static void
an_apply_changes_all_its_records(void **state)
{
	struct engine *g = ((struct fixture *)*state)->g;
	struct engine_write first[] = { put("a", "1"), put("b", "2"), put("c", "3") };
	struct engine_write then[] = { del("a"), put("b", "4"), del("nothing"), put("d", "5"),
		put("d", "6"), put("e", "7"), del("e") };
	struct err e = { 0 };

	CHECK_OK(engine_apply(g, &mara, first, 3, NULL, ENGINE_LATER, &e), &e);
	CHECK_STR(scanned(g, &mara, "", ""), "a=1 b=2 c=3 ");
	CHECK_OK(engine_apply(g, &mara, then, ARRAY_LEN(then), NULL, ENGINE_NOW, &e), &e);
	CHECK_STR(scanned(g, &mara, "", ""), "b=4 c=3 d=6 ");
}

static void
an_apply_whose_guard_does_not_match_changes_nothing(void **state)
{
	struct engine *g = ((struct fixture *)*state)->g;
	struct engine_guard absent = { span_of("H"), { 0 }, true };
	struct engine_guard is_one = { span_of("H"), span_of("1"), false };
	struct engine_guard is_empty = { span_of("H"), { 0 }, false };
	struct engine_write one[] = { put("H", "1"), put("x", "1") };
	struct engine_write two[] = { put("H", "2"), put("x", "2") };
	struct engine_write none[] = { put("H", ""), put("x", "3") };
	struct err e = { 0 };

	CHECK(engine_apply(g, &mara, one, 2, &is_one, ENGINE_LATER, &e) == -1);
	CHECK(e.kind == ERR_STALE);
	CHECK(engine_apply(g, &mara, one, 2, &is_empty, ENGINE_LATER, &e) == -1);
	CHECK_STR(scanned(g, &mara, "", ""), "");
	CHECK_OK(engine_apply(g, &mara, one, 2, &absent, ENGINE_LATER, &e), &e);
	CHECK(engine_apply(g, &mara, two, 2, &absent, ENGINE_LATER, &e) == -1);
	CHECK(e.kind == ERR_STALE);
	CHECK(engine_apply(g, &mara_backup, two, 2, &is_one, ENGINE_LATER, &e) == -1);
	CHECK_STR(scanned(g, &mara, "", ""), "H=1 x=1 ");
	CHECK_OK(engine_apply(g, &mara, two, 2, &is_one, ENGINE_NOW, &e), &e);
	CHECK(engine_apply(g, &mara, one, 2, &is_one, ENGINE_NOW, &e) == -1);
	CHECK_STR(scanned(g, &mara, "", ""), "H=2 x=2 ");
	/* empty is not absent */
	CHECK_OK(engine_apply(g, &mara, none, 2, NULL, ENGINE_LATER, &e), &e);
	CHECK(engine_apply(g, &mara, two, 2, &absent, ENGINE_LATER, &e) == -1);
	CHECK_OK(engine_apply(g, &mara, two, 2, &is_empty, ENGINE_LATER, &e), &e);
}

static int
stop_at_once(void *arg, struct span key, struct span value, struct err *e)
{
	++*(int *)arg;
	return 1;
}

static int
fail_at_once(void *arg, struct span key, struct span value, struct err *e)
{
	++*(int *)arg;
	return err_set(e, ERR_CANCELLED, "enough of it");
}

static void
a_scan_gives_its_range_in_order(void **state)
{
	struct engine *g = ((struct fixture *)*state)->g;
	struct err e = { 0 };
	int calls = 0;
	const char max_key[] =
	    "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
	    "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
	    "\xff\xff\xff\xff";

	CHECK(strlen(max_key) == ENGINE_KEY_MAX);
	must_put(g, &mara_backup, "b", "other");
	must_put(g, &theo, "b", "other");
	must_put(g, &mara, "b2", "3");
	must_put(g, &mara, "a", "1");
	must_put(g, &mara, "b", "2");
	must_put(g, &mara, "c", "4");
	CHECK_STR(scanned(g, &mara, "", ""), "a=1 b=2 b2=3 c=4 ");
	CHECK_STR(scanned(g, &mara, "b", "c"), "b=2 b2=3 ");
	CHECK_STR(scanned(g, &mara, "aa", "b2"), "b=2 ");
	CHECK_STR(scanned(g, &mara, "b2", ""), "b2=3 c=4 ");
	CHECK_STR(scanned(g, &mara, "", "b"), "a=1 ");
	CHECK_STR(scanned(g, &mara, "d", ""), "");
	CHECK_STR(scanned(g, &mara, "c", "b"), "");
	must_put(g, &theo, max_key, "last");
	CHECK_STR(scanned(g, &theo, "c", "") + ENGINE_KEY_MAX, "=last ");

	CHECK_OK(engine_scan(g, &mara, span_of(""), span_of(""), stop_at_once, &calls, &e), &e);
	CHECK(calls == 1);
	CHECK(engine_scan(g, &mara, span_of(""), span_of(""), fail_at_once, &calls, &e) == -1);
	CHECK(calls == 2 && e.kind == ERR_CANCELLED);
}

struct during {
	struct engine *g;
	unsigned seen;
};

static void *
put_a_late_one(void *arg)
{
	must_put(arg, &mara, "z", "late");
	must_put(arg, &mara, "b", "late");
	return NULL;
}

/* Another thread changes what is still to come. */
static int
change_meanwhile(void *arg, struct span key, struct span value, struct err *e)
{
	struct during *d = arg;
	pthread_t other;

	if (d->seen++ == 0) {
		CHECK(pthread_create(&other, NULL, put_a_late_one, d->g) == 0);
		pthread_join(other, NULL);
		CHECK(has(d->g, &mara, "b", "late")); /* a get inside is fine */
	}
	CHECK(value.len == 5 && memcmp(value.data, "early", 5) == 0);
	return 0;
}

static void
a_scan_sees_one_instant(void **state)
{
	struct engine *g = ((struct fixture *)*state)->g;
	struct during d = { g, 0 };
	struct err e = { 0 };

	must_put(g, &mara, "a", "early");
	must_put(g, &mara, "b", "early");
	must_put(g, &mara, "c", "early");
	CHECK_OK(engine_scan(g, &mara, span_of(""), span_of(""), change_meanwhile, &d, &e), &e);
	CHECK(d.seen == 3);
	CHECK_STR(scanned(g, &mara, "b", ""), "b=late c=early z=late ");
}

static int
note_vault(void *arg, const struct vault_id *id, struct err *e)
{
	buf_printf(arg, "%02x.%u ", id->account.b[0], id->service);
	return 0;
}

static int
stop_after_two(void *arg, const struct vault_id *id, struct err *e)
{
	return ++*(int *)arg == 2;
}

static void
a_list_names_each_vault_once(void **state)
{
	struct engine *g = ((struct fixture *)*state)->g;
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct err e = { 0 };
	int calls = 0;

	CHECK_OK(engine_list(g, note_vault, &b, &e), &e);
	CHECK_STR(buf_str(&b), "");
	must_put(g, &theo, "a", "1");
	must_put(g, &mara_backup, "a", "1");
	must_put(g, &mara_backup, "b", "1");
	must_put(g, &mara, "a", "1");
	must_put(g, &mara, "\xff\xff", "1");
	CHECK_OK(engine_list(g, note_vault, &b, &e), &e);
	CHECK_STR(buf_str(&b), "10.2 10.3 ff.255 ");
	CHECK_OK(engine_list(g, stop_after_two, &calls, &e), &e);
	CHECK(calls == 2);
	CHECK_OK(engine_drop(g, &mara, &e), &e);
	buf_clear(&b);
	CHECK_OK(engine_list(g, note_vault, &b, &e), &e);
	CHECK_STR(buf_str(&b), "10.3 ff.255 ");
}

/* Both ways of dropping in the RocksDB engine: one by one, and by range. */
static void
a_dropped_vault_is_empty_and_its_neighbours_are_not(void **state)
{
	struct engine *g = ((struct fixture *)*state)->g;
	struct err e = { 0 };
	char key[16];

	for (unsigned n = 10; n <= 3000; n *= 300) {
		must_put(g, &mara, "k", "stays");
		must_put(g, &theo, "k", "stays");
		for (unsigned i = 0; i < n; i++) {
			snprintf(key, sizeof(key), "%05u", i);
			must_put(g, &mara_backup, key, "goes");
		}
		CHECK_OK(engine_drop(g, &mara_backup, &e), &e);
		CHECK_STR(scanned(g, &mara_backup, "", ""), "");
		CHECK(has(g, &mara_backup, "00000", NULL));
		CHECK(has(g, &mara, "k", "stays") && has(g, &theo, "k", "stays"));
		CHECK_OK(engine_drop(g, &mara_backup, &e), &e); /* none is fine */
		must_put(g, &mara_backup, "00001", "back");
		CHECK_STR(scanned(g, &mara_backup, "", ""), "00001=back ");
	}
	CHECK_OK(engine_drop(g, &theo, &e), &e);
	CHECK(has(g, &theo, "k", NULL));
}

static void
values_have_a_ceiling(void **state)
{
	struct engine *g = ((struct fixture *)*state)->g;
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	_cleanup_buf_ struct buf small = BUF_INIT(10);
	uint8_t *big = calloc(1, ENGINE_VALUE_MAX + 1);
	struct engine_write w = { ENGINE_PUT, span_of("k"), { big, ENGINE_VALUE_MAX } };
	struct err e = { 0 };

	big[ENGINE_VALUE_MAX - 1] = 7;
	CHECK_OK(engine_apply(g, &mara, &w, 1, NULL, ENGINE_NOW, &e), &e);
	CHECK(engine_get(g, &mara, w.key, &b, &e) == 1);
	CHECK(b.len == ENGINE_VALUE_MAX && memcmp(b.data, big, b.len) == 0);
	CHECK(engine_get(g, &mara, w.key, &small, &e) == -1 && e.kind == ERR_TOO_BIG);
	w.value.len++;
	CHECK(engine_apply(g, &mara, &w, 1, NULL, ENGINE_NOW, &e) == -1);
	CHECK(e.kind == ERR_TOO_BIG);
	free(big);
}

struct racer {
	struct engine *g;
	unsigned won;
};

/* Add one to the counter by compare-and-swap, 100 times. */
static void *
race(void *arg)
{
	struct racer *r = arg;
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct err e;

	while (r->won < 100) {
		struct engine_guard guard = { .key = span_of("n") };
		char next[16];
		struct engine_write w;

		CHECK(engine_get(r->g, &mara, guard.key, &b, &e) == 1);
		guard.value = span_of(buf_str(&b));
		snprintf(next, sizeof(next), "%d", atoi(buf_str(&b)) + 1);
		w = put("n", next);
		if (engine_apply(r->g, &mara, &w, 1, &guard, ENGINE_LATER, &e) == 0)
			r->won++;
		else
			CHECK(e.kind == ERR_STALE);
	}
	return NULL;
}

static void
guarded_applies_never_lose_an_update(void **state)
{
	struct engine *g = ((struct fixture *)*state)->g;
	struct racer racers[4];
	pthread_t threads[4];

	must_put(g, &mara, "n", "0");
	for (size_t i = 0; i < 4; i++) {
		racers[i] = (struct racer){ g, 0 };
		CHECK(pthread_create(&threads[i], NULL, race, &racers[i]) == 0);
	}
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK(has(g, &mara, "n", "400"));
}

static void
flush_and_compact_change_nothing_readable(void **state)
{
	struct fixture *f = *state;
	struct engine *g = f->g;
	struct err e = { 0 };

	CHECK_OK(engine_compact(g, &e), &e);
	must_put(g, &mara, "a", "1");
	must_put(g, &mara, "b", "2");
	must_put(g, &theo, "a", "3");
	CHECK_OK(engine_flush(g, &e), &e);
	must_put(g, &mara, "a", "4");
	CHECK_OK(engine_drop(g, &theo, &e), &e);
	for (int i = 0; i < 3; i++) {
		CHECK_OK(engine_compact(g, &e), &e);
		CHECK_STR(scanned(g, &mara, "", ""), "a=4 b=2 ");
		CHECK_STR(scanned(g, &theo, "", ""), "");
	}
	CHECK(f->is_disk ? engine_size(g) > 0 : engine_size(g) == 0);
}

/* Memory: power cuts */

static void
a_power_cut_takes_what_was_not_flushed(void **state)
{
	struct engine *g = ((struct fixture *)*state)->g;
	struct engine_write w[] = { put("a", "lost"), put("new", "lost"), del("b") };
	struct engine_write now = put("now", "kept");
	struct err e = { 0 };

	must_put(g, &mara, "a", "kept");
	must_put(g, &mara, "b", "kept");
	must_put(g, &theo, "c", "kept");
	CHECK_OK(engine_flush(g, &e), &e);
	CHECK_OK(engine_apply(g, &mara, w, 3, NULL, ENGINE_LATER, &e), &e);
	CHECK_OK(engine_drop(g, &theo, &e), &e);
	CHECK_STR(scanned(g, &mara, "", ""), "a=lost new=lost ");
	engine_memory_cut(g);
	CHECK_STR(scanned(g, &mara, "", ""), "a=kept b=kept ");
	CHECK_STR(scanned(g, &theo, "", ""), "c=kept ");

	CHECK_OK(engine_apply(g, &mara, &now, 1, NULL, ENGINE_NOW, &e), &e);
	engine_memory_cut(g);
	CHECK(has(g, &mara, "now", "kept"));
	CHECK_OK(engine_drop(g, &mara, &e), &e);
	CHECK_OK(engine_compact(g, &e), &e);
	engine_memory_cut(g);
	CHECK_STR(scanned(g, &mara, "", ""), "");
}

/* Faults */

static void
a_fault_fires_at_its_call_and_once(void **state)
{
	struct engine *g = ((struct fixture *)*state)->g;
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct engine_write w = put("k", "new");
	struct err e = { 0 };
	uint64_t started;

	must_put(g, &mara, "k", "old");
	engine_fault_set(g, FAULT_FAIL, 2, false, false, 0);
	CHECK_OK(engine_flush(g, &e), &e);
	CHECK(has(g, &mara, "k", "old")); /* reads don't count */
	CHECK(!engine_fault_fired(g));
	CHECK(engine_apply(g, &mara, &w, 1, NULL, ENGINE_NOW, &e) == -1 && e.kind == ERR_IO);
	CHECK(engine_fault_fired(g) && has(g, &mara, "k", "old"));
	CHECK_OK(engine_drop(g, &mara, &e), &e);
	CHECK_OK(engine_flush(g, &e), &e);

	engine_fault_set(g, FAULT_FAIL_LATE, 1, false, false, 0);
	CHECK(!engine_fault_fired(g));
	CHECK(engine_apply(g, &mara, &w, 1, NULL, ENGINE_NOW, &e) == -1 && e.kind == ERR_IO);
	CHECK(has(g, &mara, "k", "new"));

	engine_fault_set(g, FAULT_FULL, 1, false, true, 0);
	for (int i = 0; i < 3; i++)
		CHECK(engine_drop(g, &mara, &e) == -1 && e.kind == ERR_FULL);
	CHECK(engine_compact(g, &e) == -1);
	CHECK(has(g, &mara, "k", "new"));

	engine_fault_set(g, FAULT_FAIL, 2, true, false, 0);
	CHECK(engine_get(g, &mara, span_of("k"), &b, &e) == 1);
	CHECK_OK(engine_flush(g, &e), &e);
	CHECK(engine_scan(g, &mara, span_of(""), span_of(""), note_record, &b, &e) == -1);
	CHECK(engine_get(g, &mara, span_of("k"), &b, &e) == 1);

	engine_fault_set(g, FAULT_DELAY, 1, false, false, 30);
	started = host_mono_ms();
	CHECK_OK(engine_flush(g, &e), &e);
	CHECK(host_mono_ms() - started >= 29);
	engine_fault_set(g, FAULT_NONE, 1, false, true, 0);
	CHECK_OK(engine_flush(g, &e), &e);
	CHECK(!engine_fault_fired(g));
}

#define SUITE(set_up) \
	T(what_was_put_is_got, set_up), T(an_apply_changes_all_its_records, set_up), \
	    T(an_apply_whose_guard_does_not_match_changes_nothing, set_up), \
	    T(a_scan_gives_its_range_in_order, set_up), T(a_scan_sees_one_instant, set_up), \
	    T(a_list_names_each_vault_once, set_up), \
	    T(a_dropped_vault_is_empty_and_its_neighbours_are_not, set_up), \
	    T(values_have_a_ceiling, set_up), T(guarded_applies_never_lose_an_update, set_up), \
	    T(flush_and_compact_change_nothing_readable, set_up)

#define T(test, set_up) \
	{ \
#test " (" #set_up ")", test, set_up, tear_down, NULL \
	}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		SUITE(set_up_memory),
		SUITE(set_up_rocksdb),
		SUITE(set_up_faulty_memory),
		SUITE(set_up_faulty_rocksdb),
		T(a_power_cut_takes_what_was_not_flushed, set_up_memory),
		T(a_fault_fires_at_its_call_and_once, set_up_faulty_memory),
		T(a_fault_fires_at_its_call_and_once, set_up_faulty_rocksdb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
