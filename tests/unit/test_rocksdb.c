/* What the RocksDB engine promises beyond the common suite: kills, one owner, erasure, full disks.
 *
 * RocksDB's threads do not survive a fork, so whatever needs another process runs this program
 * again with a role as its first argument.
 */
#include "base/fs.h"
#include "base/host.h"
#include "base/log.h"
#include "engine/engine.h"
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#define CACHE_BYTES  (8 << 20)
#define BUFFER_BYTES (1 << 20)
#define STEPS        12
#define NOT_POSSIBLE 77

static const struct vault_id mara = { { { 0x10 } }, SERVICE_FILES };
static const struct vault_id theo = { { { 0x20 } }, SERVICE_FILES };

static struct span
span_of(const char *text)
{
	return (struct span){ (const uint8_t *)text, strlen(text) };
}

static struct engine *
open_db(const char *dir, struct err *e)
{
	return engine_rocksdb(check_path(dir, "db"), CACHE_BYTES, BUFFER_BYTES, e);
}

static struct engine *
must_open(const char *dir)
{
	struct err e = { 0 };
	struct engine *g = open_db(dir, &e);

	if (!g)
		fail_msg("%s", e.text);
	return g;
}

static int
put(struct engine *g, const struct vault_id *id, const char *key, const char *value, struct err *e)
{
	struct engine_write w = { ENGINE_PUT, span_of(key), span_of(value) };

	return engine_apply(g, id, &w, 1, NULL, ENGINE_LATER, e);
}

static bool
has(struct engine *g, const struct vault_id *id, const char *key, const char *value)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct err e = { 0 };
	int rc = engine_get(g, id, span_of(key), &b, &e);

	if (rc < 0)
		fail_msg("get %s: %s", key, e.text);
	return value ? rc == 1 && strcmp(buf_str(&b), value) == 0 : rc == 0;
}

/* Start this program as ROLE in DIR with number N. Its standard output goes to *OUT. */
static pid_t
start_child(const char *role, const char *dir, unsigned n, int *out)
{
	int fds[2];
	char number[16];
	pid_t child;

	snprintf(number, sizeof(number), "%u", n);
	CHECK(pipe(fds) == 0);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]), close(fds[1]);
		execl("/proc/self/exe", "child", role, dir, number, NULL);
		_exit(98);
	}
	close(fds[1]);
	*out = fds[0];
	return child;
}

/* Read to the end of what the child acknowledged, and wait for it. Returns the exit code, or minus
 * the signal. */
static int
end_child(pid_t child, int out, unsigned *acknowledged)
{
	char byte;
	int status;

	*acknowledged = 0;
	while (read(out, &byte, 1) == 1)
		++*acknowledged;
	close(out);
	CHECK(waitpid(child, &status, 0) == child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void
acknowledge(void)
{
	if (write(STDOUT_FILENO, "a", 1) != 1)
		_exit(97);
}

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
	struct err e = { 0 };

	for (unsigned i = 0; i < 3; i++) {
		t[i] = (struct traffic){ g, i, &stop, &calls };
		CHECK(pthread_create(&threads[i], NULL, make_traffic, &t[i]) == 0);
	}
	for (int time = 0; time < 5; time++) {
		unsigned before;

		fill(g, &mara, "SECRET-SECRET", 4);
		CHECK_OK(engine_drop(g, &mara, &e), &e);
		CHECK(files_with(*state, "SECRET-SECRET") > 0);
		before = atomic_load(&calls);
		CHECK_OK(engine_compact(g, &e), &e);
		CHECK(files_with(*state, "SECRET-SECRET") == 0);
		CHECK(atomic_load(&calls) > before);
	}
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

/* A disk that runs full */

/* What of vault mara was put must be there: N records. */
static int
all_there(struct engine *g, unsigned n)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct err e = { 0 };
	char key[16];

	for (unsigned i = 0; i < n; i++) {
		snprintf(key, sizeof(key), "%05u", i);
		if (engine_get(g, &mara, span_of(key), &b, &e) != 1 || b.len != 4000) {
			fprintf(stderr, "record %u of %u: %s\n", i, n, e.text);
			return -1;
		}
	}
	return 0;
}

/* Put records until that fails. */
static unsigned
put_until_full(struct engine *g, unsigned n, struct err *e)
{
	static char value[4001];
	char key[16];

	memset(value, 'v', 4000);
	for (; n < 100000; n++) {
		snprintf(key, sizeof(key), "%05u", n);
		if (put(g, &mara, key, value, e) < 0)
			return n;
	}
	return n;
}

/* A disk of its own at DIR, for this process only. */
static bool
mount_small(const char *dir)
{
	return unshare(CLONE_NEWNS) == 0 &&
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	    mount("none", dir, "tmpfs", 0, "size=28m") == 0;
}

/* Role: one thread, until not a byte is left, and after there is space again. */
static int
child_full(const char *dir)
{
	struct err e = { 0 };
	static char ballast[600], eaten[512];
	struct engine *g;
	unsigned n, more;
	int fd;

	if (!mount_small(dir))
		return NOT_POSSIBLE;
	snprintf(ballast, sizeof(ballast), "%s/ballast", dir);
	fd = open(ballast, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || posix_fallocate(fd, 0, 10 << 20) != 0 || lseek(fd, 0, SEEK_END) < 0)
		return NOT_POSSIBLE;
	g = open_db(dir, &e);
	if (!g)
		return 1;
	log_set_level(LOG_ERROR_);
	n = put_until_full(g, 0, &e);
	fprintf(stderr, "full after %u records: %s\n", n, e.text);
	if (e.kind != ERR_FULL || n < 500)
		return 2;
	/* What is kept free is for deleting. */
	if (engine_apply(g, &mara, &(struct engine_write){ ENGINE_DELETE, span_of("x"), { 0 } }, 1,
	        NULL, ENGINE_NOW, &e) < 0)
		return 8;
	/* Until not a byte is left: reads go on, writes say why they can't. */
	for (int i = 0; i < 8; i++) {
		while (write(fd, eaten, sizeof(eaten)) > 0)
			;
		if (all_there(g, n) < 0)
			return 3;
		n = put_until_full(g, n, &e);
		if (e.kind != ERR_FULL)
			return 6;
		if (engine_flush(g, &e) < 0 && e.kind != ERR_FULL)
			return 7;
	}
	unlink(ballast);
	close(fd);
	usleep(1100 * 1000); /* it tries again once a second */
	more = put_until_full(g, n, &e);
	if (more == n) /* the first may only have met an old failure in the background */
		more = put_until_full(g, n, &e);
	if (more < n + 500 || e.kind != ERR_FULL || all_there(g, more) < 0)
		return 4;
	engine_close(g);
	g = open_db(dir, &e);
	return g && all_there(g, more) == 0 ? 0 : 5;
}

/* All that is left of the file system at DIR, into FD. */
static void
eat_all(int fd)
{
	static char eaten[4096];

	while (write(fd, eaten, sizeof(eaten)) > 0 || write(fd, eaten, 1) > 0)
		;
}

static int
put_reserve(struct engine *g, const char *key, struct err *e)
{
	struct engine_write w = { ENGINE_PUT, span_of(key), span_of("gone") };

	return engine_apply(g, &mara, &w, 1, NULL, ENGINE_NOW | ENGINE_RESERVE, e);
}

/* Role: something else takes every byte, before the start or while it runs. */
static int
child_eaten(const char *dir)
{
	static char other[600], ballast[600];
	struct err e = { 0 };
	struct engine *g;
	int fd;

	if (!mount_small(dir))
		return NOT_POSSIBLE;
	snprintf(other, sizeof(other), "%s/other", dir);
	snprintf(ballast, sizeof(ballast), "%s/db/ballast", dir);
	log_set_level(LOG_ERROR_ + 1);
	for (int i = 0; i < 2; i++) {
		g = open_db(dir, &e);
		fd = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
		if (!g || fd < 0 || access(ballast, F_OK) < 0)
			return 1;
		/* Some tables, and nothing that goes on in the background. */
		for (unsigned k = 0; k < 3000; k++)
			if (put(g, &mara, k % 2 ? "1" : "2", "some value that is replaced", &e) < 0)
				return 7;
		if (engine_compact(g, &e) < 0 || put(g, &mara, "3", "in the log", &e) < 0)
			return 7;
		if (i) { /* what is in the log can't be made a table at the next start */
			eat_all(fd);
			engine_close(g);
			g = open_db(dir, &e);
		}
		eat_all(fd);
		usleep(60 * 1000);
		if (!g || put(g, &mara, "new", "v", &e) == 0 || e.kind != ERR_FULL ||
		    access(ballast, F_OK) < 0)
			return 2;
		/* What makes room is carried out, and new data refused still. */
		for (unsigned k = 0; k < 50; k++)
			if (put_reserve(g, "00001", &e) < 0 || engine_flush(g, &e) < 0)
				return 3;
		if (access(ballast, F_OK) == 0 || put(g, &mara, "new", "v", &e) == 0)
			return 4;
		unlink(other);
		close(fd);
		if (engine_drop(g, &mara, &e) < 0 || engine_compact(g, &e) < 0)
			return 5;
		usleep(1100 * 1000);
		if (put(g, &mara, "new", "v", &e) < 0 || access(ballast, F_OK) < 0)
			return 6;
		engine_close(g);
	}
	return 0;
}

struct writer {
	struct engine *g;
	struct vault_id id;
	unsigned acknowledged; /* records 0 to this - 1 */
	enum err_kind unexpected;
};

/* Go on through a number of failures. */
static void *
write_on(void *arg)
{
	struct writer *w = arg;
	static const char value[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789";
	char key[16];
	struct err e = { 0 };

	for (unsigned failures = 0; failures < 2000;) {
		snprintf(key, sizeof(key), "%07u", w->acknowledged);
		if (put(w->g, &w->id, key, value, &e) == 0) {
			w->acknowledged++;
			if (w->acknowledged % 16 || engine_flush(w->g, &e) == 0)
				continue;
		}
		failures++;
		usleep(500);
		if (e.kind != ERR_FULL)
			w->unexpected = e.kind;
	}
	return NULL;
}

static int
count_all(void *arg, struct span key, struct span value, struct err *e)
{
	++*(unsigned *)arg;
	return 0;
}

/* Role: several threads on a disk that something else keeps full. */
static int
child_crowd(const char *dir)
{
	static char ballast[600], eaten[512];
	struct err e = { 0 };
	struct writer w[4] = { 0 };
	pthread_t threads[4];
	struct statvfs st;
	int fd;

	if (!mount_small(dir))
		return NOT_POSSIBLE;
	snprintf(ballast, sizeof(ballast), "%s/ballast", dir);
	fd = open(ballast, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || posix_fallocate(fd, 0, 14 << 20) != 0 || lseek(fd, 0, SEEK_END) < 0)
		return NOT_POSSIBLE;
	log_set_level(LOG_ERROR_ + 1);
	w[0].g = open_db(dir, &e);
	for (unsigned i = 0; i < 4; i++) {
		w[i].g = w[0].g;
		w[i].id.account.b[0] = (uint8_t)(i + 1);
		if (!w[i].g || pthread_create(&threads[i], NULL, write_on, &w[i]) != 0)
			return 1;
	}
	/* Far less than what is to be kept free, but never nothing. */
	for (int i = 0; i < 100; i++) {
		usleep(10 * 1000);
		while (i > 20 && statvfs(dir, &st) == 0 && st.f_bavail * st.f_bsize > 2 << 20 &&
		    write(fd, eaten, sizeof(eaten)) > 0)
			;
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	unlink(ballast);
	close(fd);
	usleep(1100 * 1000);
	for (unsigned i = 0; i < 4; i++) {
		unsigned found = 0;

		/* One more may have been carried out than was acknowledged. */
		if (engine_scan(w[i].g, &w[i].id, span_of(""), span_of(""), count_all, &found, &e) <
		        0 ||
		    found < w[i].acknowledged || found > w[i].acknowledged + 1) {
			fprintf(stderr, "%u of %u\n", found, w[i].acknowledged);
			return 2;
		}
		if (w[i].unexpected)
			return 4;
	}
	return put(w[0].g, &mara, "k", "v", &e) == 0 ? 0 : 3;
}

static void
run_on_small_disk(const char *role, const char *dir)
{
	unsigned acknowledged;
	int out, code;
	pid_t child = start_child(role, dir, 0, &out);

	code = end_child(child, out, &acknowledged);
	if (code == NOT_POSSIBLE)
		skip();
	if (code)
		fail_msg("it ended with %d", code);
}

static void
a_full_disk_loses_nothing_and_recovers(void **state)
{
	run_on_small_disk("full", *state);
}

static void
what_makes_room_has_some_where_others_took_all(void **state)
{
	run_on_small_disk("eaten", *state);
}

static void
a_full_disk_under_many_writers_loses_nothing(void **state)
{
	run_on_small_disk("crowd", *state);
}

#define TEST_IN_DIR(name) cmocka_unit_test_setup_teardown(name, check_dir_setup, check_dir_teardown)

static int
run_child(const char *role, const char *dir, unsigned n)
{
	if (strcmp(role, "early") == 0)
		return child_steps(dir, n, FAULT_CRASH);
	if (strcmp(role, "late") == 0)
		return child_steps(dir, n, FAULT_CRASH_LATE);
	if (strcmp(role, "forever") == 0)
		return child_forever(dir);
	if (strcmp(role, "holds") == 0)
		return child_holds(dir);
	if (strcmp(role, "eaten") == 0)
		return child_eaten(dir);
	if (strcmp(role, "crowd") == 0)
		return child_crowd(dir);
	return child_full(dir);
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
		TEST_IN_DIR(a_full_disk_loses_nothing_and_recovers),
		TEST_IN_DIR(what_makes_room_has_some_where_others_took_all),
		TEST_IN_DIR(a_full_disk_under_many_writers_loses_nothing),
	};

	if (argc == 4)
		_exit(run_child(argv[1], argv[2], (unsigned)atoi(argv[3])));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
