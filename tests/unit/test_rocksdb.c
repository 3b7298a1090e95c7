/* What the RocksDB engine promises beyond the common suite: kills, one owner, erasure. */
#include "base/fs.h"
#include "base/host.h"
#include "rocksdb_fixture.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>

#define STEPS 12

/* Step I puts three records into its vault at once, and takes away those of the step before. */
static int
apply_step(struct engine *g, unsigned i, enum engine_when when, struct err *e)
{
	static const char *const names[] = { "a", "b", "c" };
	char keys[6][16], value[16];
	struct engine_write w[6];

	snprintf(value, sizeof(value), "%u", i);
	for (unsigned k = 0; k < 6; k++) {
		snprintf(keys[k], sizeof(keys[k]), "%s%05u", names[k % 3], k < 3 ? i : i - 1);
		w[k] = (struct engine_write){ k < 3 ? ENGINE_PUT : ENGINE_DELETE, span_of(keys[k]),
			span_of(value) };
	}
	return engine_apply(g, &mara, w, i ? 6 : 3, NULL, when, e);
}

struct counts {
	unsigned last;
	unsigned *of; /* each step */
};

static int
count_record(void *arg, struct span key, struct span value, struct err *e)
{
	struct counts *c = arg;
	unsigned step = (unsigned)atoi((const char *)key.data + 1);

	CHECK(step <= c->last);
	c->of[step]++;
	return 0;
}

/* The step whose records are there: all three of them, and of no other. -1: none at all. */
static int
step_found(struct engine *g, unsigned steps)
{
	struct counts c = { steps, calloc(steps + 1, sizeof(*c.of)) };
	struct err e = { 0 };
	int found = -1;

	CHECK_OK(engine_scan(g, &mara, span_of(""), span_of(""), count_record, &c, &e), &e);
	for (unsigned i = 0; i <= steps; i++) {
		if (c.of[i] == 0)
			continue;
		CHECK(c.of[i] == 3 && found == -1);
		found = (int)i;
	}
	free(c.of);
	return found;
}

/* Role: STEPS steps with a flush after every third, with a crash at change N (before it, or after it if
 * the role says late). */
static int
child_steps(const char *dir, unsigned n, enum fault_kind kind)
{
	struct err e;
	struct engine *g = engine_fault(open_db(dir, &e), &e);

	if (!g)
		return 96;
	engine_fault_set(g, kind, n, false, false, 0);
	for (unsigned i = 0; i < STEPS; i++) {
		if (apply_step(g, i, i % 2 ? ENGINE_NOW : ENGINE_LATER, &e) < 0)
			return 95;
		acknowledge();
		if (i % 3 == 2 && engine_flush(g, &e) < 0)
			return 94;
		if (i == STEPS / 2 && engine_compact(g, &e) < 0)
			return 93;
	}
	return 0; /* without closing: even the end is a crash */
}

static void
crash_at_every_change(char *dir, const char *role, bool late)
{
	int code = 99;

	for (unsigned n = 1; code == 99; n++) {
		char sub[16];
		char *run;
		unsigned acknowledged;
		int out, found;
		pid_t child;
		struct engine *g;

		snprintf(sub, sizeof(sub), "%s%u", role, n);
		run = strdup(check_path(dir, sub));
		child = start_child(role, run, n, &out);
		code = end_child(child, out, &acknowledged);
		CHECK(code == 99 || code == 0);
		g = must_open(run);
		found = step_found(g, STEPS);
		/* Acknowledged: there. What comes next: whole or absent; there if carried out. */
		CHECK(found == (int)acknowledged - 1 || found == (int)acknowledged);
		CHECK(late || found == (int)acknowledged - 1);
		engine_close(g);
		free(run);
		CHECK(n < 100);
	}
}

static void
a_crash_before_any_change_loses_nothing_acknowledged(void **state)
{
	crash_at_every_change(*state, "early", false);
}

static void
a_crash_after_any_change_tears_nothing(void **state)
{
	crash_at_every_change(*state, "late", true);
}

/* Role: steps until killed. */
static int
child_forever(const char *dir)
{
	struct err e;
	struct engine *g = open_db(dir, &e);

	if (!g)
		return 96;
	for (unsigned i = 0;; i++) {
		if (apply_step(g, i, i % 8 ? ENGINE_LATER : ENGINE_NOW, &e) < 0)
			return 95;
		acknowledge();
	}
}

static void
a_kill_at_any_moment_tears_and_loses_nothing(void **state)
{
	for (unsigned n = 0; n < 12; n++) {
		char sub[16];
		char *run, byte;
		unsigned acknowledged;
		int out, found;
		pid_t child;
		struct engine *g;

		snprintf(sub, sizeof(sub), "kill%u", n);
		run = strdup(check_path(*state, sub));
		child = start_child("forever", run, 0, &out);
		CHECK(read(out, &byte, 1) == 1);
		usleep(n * 1733 % 20000);
		kill(child, SIGKILL);
		CHECK(end_child(child, out, &acknowledged) == -SIGKILL);
		acknowledged++;
		g = must_open(run);
		found = step_found(g, acknowledged + 1);
		CHECK(found == (int)acknowledged - 1 || found == (int)acknowledged);
		engine_close(g);
		free(run);
	}
}

static void
what_was_applied_is_there_after_reopening(void **state)
{
	struct engine *g = must_open(*state);
	struct err e = { 0 };

	CHECK_OK(put(g, &mara, "a", "1", &e), &e);
	engine_close(g);
	g = must_open(*state);
	CHECK(has(g, &mara, "a", "1"));
	engine_close(g);
}

/* Role: opens, says so, waits for its end. */
static int
child_holds(const char *dir)
{
	struct err e;
	struct engine *g = open_db(dir, &e);

	if (!g)
		return 96;
	acknowledge();
	pause();
	return 0;
}

static void
two_owners_are_refused(void **state)
{
	struct err e = { 0 };
	unsigned acknowledged;
	char byte;
	int out;
	pid_t child = start_child("holds", *state, 0, &out);
	struct engine *g;

	CHECK(read(out, &byte, 1) == 1);
	CHECK(!open_db(*state, &e) && e.kind == ERR_BUSY);
	kill(child, SIGKILL);
	end_child(child, out, &acknowledged);
	g = must_open(*state);
	CHECK(!open_db(*state, &e) && e.kind == ERR_BUSY); /* in the same process too */
	engine_close(g);
}

/* Erasure */

/* How many files of the database hold NEEDLE. */
static unsigned
files_with(const char *dir, const char *needle)
{
	DIR *d = opendir(check_path(dir, "db"));
	const struct dirent *entry;
	unsigned n = 0;

	CHECK(d != NULL);
	while ((entry = readdir(d))) {
		_cleanup_buf_ struct buf b = BUF_INIT(0);
		char path[800];

		snprintf(path, sizeof(path), "%s/%s", check_path(dir, "db"), entry->d_name);
		if (entry->d_type == DT_REG && fs_read(path, 1 << 28, &b, NULL) == 0 && b.len)
			n += memmem(b.data, b.len, needle, strlen(needle)) != NULL;
	}
	closedir(d);
	return n;
}

/* Records of 1 KiB that hold MARK, over the whole range of keys in each of ROUNDS. */
static void
fill(struct engine *g, const struct vault_id *id, const char *mark, unsigned rounds)
{
	static char value[1024];
	char key[16];
	struct err e = { 0 };

	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < 500; i++) {
			snprintf(key, sizeof(key), "%05u", i * rounds + round);
			memset(value, 'a' + (int)(i % 26), sizeof(value) - 1);
			memcpy(value, mark, strlen(mark));
			CHECK_OK(put(g, id, key, value, &e), &e);
		}
	}
}

static void
compaction_leaves_no_deleted_bytes(void **state)
{
	struct engine *g = must_open(*state);
	struct err e = { 0 };

	for (int time = 0; time < 3; time++) {
		/* twice, so that tables and logs hold it, also those of a reopened database */
		fill(g, &theo, "STAYS-STAYS", 4);
		fill(g, &mara, "SECRET-SECRET", 8);
		if (time == 1) {
			CHECK_OK(engine_compact(g, &e), &e); /* down to the last level */
			CHECK(files_with(*state, "SECRET-SECRET") > 0);
		}
		if (time == 2) {
			engine_close(g);
			g = must_open(*state);
		}
		CHECK(files_with(*state, "SECRET-SECRET") > 0);
		CHECK_OK(engine_drop(g, &mara, &e), &e);
		CHECK_OK(put(g, &theo, "one", "REPLACED-REPLACED", &e), &e);
		CHECK_OK(put(g, &theo, "one", "new", &e), &e);
		CHECK(files_with(*state, "SECRET-SECRET") > 0);
		CHECK_OK(engine_compact(g, &e), &e);
		CHECK(files_with(*state, "SECRET-SECRET") == 0);
		CHECK(files_with(*state, "REPLACED-REPLACED") == 0);
		CHECK(files_with(*state, "STAYS-STAYS") > 0);
	}
	/* in the log alone */
	CHECK_OK(put(g, &mara, "k", "ALONE-ALONE", &e), &e);
	CHECK_OK(engine_flush(g, &e), &e);
	CHECK_OK(engine_drop(g, &mara, &e), &e);
	CHECK(files_with(*state, "ALONE-ALONE") == 1);
	CHECK_OK(engine_compact(g, &e), &e);
	CHECK(files_with(*state, "ALONE-ALONE") == 0);
	engine_close(g);
}

/* Threads that write, read and flush all the while. */
struct traffic {
	struct engine *g;
	unsigned nth;
	_Atomic bool *stop;
	_Atomic unsigned *calls;
};

static void *
make_traffic(void *arg)
{
	struct traffic *t = arg;
	struct vault_id id = { { { (uint8_t)(0x80 + t->nth) } }, SERVICE_FILES };
	static const char value[] = "TRAFFIC-TRAFFIC-TRAFFIC-TRAFFIC-TRAFFIC-TRAFFIC";
	char key[16];
	struct err e = { 0 };

	for (unsigned i = 0; !atomic_load(t->stop); i++) {
		snprintf(key, sizeof(key), "%05u", i % 3000);
		CHECK_OK(put(t->g, &id, key, value, &e), &e);
		if (i % 64 == 0)
			CHECK_OK(engine_flush(t->g, &e), &e);
		CHECK(has(t->g, &id, key, value));
		atomic_fetch_add(t->calls, 1);
	}
	return NULL;
}

static void
compaction_keeps_its_word_under_traffic(void **state)
{
	struct engine *g = must_open(*state);
	struct traffic t[3];
	pthread_t threads[3];
	_Atomic bool stop = false;
	_Atomic unsigned calls = 0;
	unsigned went_on = 0;
	struct err e = { 0 };

	for (unsigned i = 0; i < 3; i++) {
		t[i] = (struct traffic){ g, i, &stop, &calls };
		CHECK(pthread_create(&threads[i], NULL, make_traffic, &t[i]) == 0);
	}
	for (int time = 0; time < 5 || (went_on < 3 && time < 30); time++) {
		unsigned before;

		fill(g, &mara, "SECRET-SECRET", 4);
		CHECK_OK(engine_drop(g, &mara, &e), &e);
		CHECK(files_with(*state, "SECRET-SECRET") > 0);
		before = atomic_load(&calls);
		CHECK_OK(engine_compact(g, &e), &e);
		CHECK(files_with(*state, "SECRET-SECRET") == 0);
		went_on += atomic_load(&calls) > before;
	}
	CHECK(went_on >= 3); /* each time, but on a busy machine */
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	engine_close(g);
}

struct slow_scan {
	struct engine *g;
	_Atomic bool is_inside, may_end, has_ended;
};

static int
linger(void *arg, struct span key, struct span value, struct err *e)
{
	struct slow_scan *s = arg;

	atomic_store(&s->is_inside, true);
	while (!atomic_load(&s->may_end))
		usleep(1000);
	return 1;
}

static void *
scan_slowly(void *arg)
{
	struct slow_scan *s = arg;
	struct err e = { 0 };

	CHECK_OK(engine_scan(s->g, &mara, span_of(""), span_of(""), linger, s, &e), &e);
	return NULL;
}

static void *
let_go_later(void *arg)
{
	struct slow_scan *s = arg;

	usleep(300 * 1000);
	atomic_store(&s->has_ended, true);
	atomic_store(&s->may_end, true);
	return NULL;
}

static void
compaction_waits_for_scans_that_keep_files(void **state)
{
	struct engine *g = must_open(*state);
	struct slow_scan s = { .g = g };
	pthread_t scanner, helper;
	struct err e = { 0 };

	fill(g, &mara, "SECRET-SECRET", 4);
	CHECK_OK(engine_compact(g, &e), &e);
	CHECK(pthread_create(&scanner, NULL, scan_slowly, &s) == 0);
	while (!atomic_load(&s.is_inside))
		usleep(1000);
	CHECK_OK(engine_drop(g, &mara, &e), &e);
	CHECK(pthread_create(&helper, NULL, let_go_later, &s) == 0);
	CHECK_OK(engine_compact(g, &e), &e);
	CHECK(atomic_load(&s.has_ended));
	CHECK(files_with(*state, "SECRET-SECRET") == 0);
	pthread_join(scanner, NULL);
	pthread_join(helper, NULL);
	engine_close(g);
}

static int
run_child(const char *role, const char *dir, unsigned n)
{
	if (strcmp(role, "early") == 0)
		return child_steps(dir, n, FAULT_CRASH);
	if (strcmp(role, "late") == 0)
		return child_steps(dir, n, FAULT_CRASH_LATE);
	if (strcmp(role, "forever") == 0)
		return child_forever(dir);
	return child_holds(dir);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST_IN_DIR(what_was_applied_is_there_after_reopening),
		TEST_IN_DIR(two_owners_are_refused),
		TEST_IN_DIR(a_crash_before_any_change_loses_nothing_acknowledged),
		TEST_IN_DIR(a_crash_after_any_change_tears_nothing),
		TEST_IN_DIR(a_kill_at_any_moment_tears_and_loses_nothing),
		TEST_IN_DIR(compaction_leaves_no_deleted_bytes),
		TEST_IN_DIR(compaction_waits_for_scans_that_keep_files),
		TEST_IN_DIR(compaction_keeps_its_word_under_traffic),
	};

	if (argc == 4)
		_exit(run_child(argv[1], argv[2], (unsigned)atoi(argv[3])));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
