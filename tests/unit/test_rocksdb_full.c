/* The RocksDB engine on a disk that runs full. */
#include "base/log.h"
#include "rocksdb_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#define NOT_POSSIBLE 77

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

/* A backup, which takes its time over each record. */
struct copier {
	struct engine *g;
	_Atomic bool has_begun, must_end, has_ended;
	int rc;
	struct err e;
};

static int
take_long(void *arg, const struct vault_id *id, struct span key, struct span value, struct err *e)
{
	struct copier *c = arg;

	c->has_begun = true;
	usleep(20 * 1000);
	return c->must_end;
}

static void *
copy_slowly(void *arg)
{
	struct copier *c = arg;

	c->rc = engine_each(c->g, take_long, NULL, c, &c->e);
	c->has_ended = true;
	return NULL;
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
	static struct copier c;
	struct err e = { 0 };
	pthread_t copier;
	struct engine *g;
	char key[16];
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
		for (unsigned k = 0; k < 3000; k++) {
			snprintf(key, sizeof(key), "%03u", k % 500);
			if (put(g, &mara, key, "some value that is replaced", &e) < 0)
				return 7;
		}
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
		/* What makes room is carried out, whoever reads meanwhile, and new data refused still. */
		c = (struct copier){ .g = g };
		if (pthread_create(&copier, NULL, copy_slowly, &c) != 0)
			return 8;
		while (!c.has_begun)
			usleep(1000);
		if (put_reserve(g, "00001", &e) < 0 || (c.has_ended && c.e.kind != ERR_BUSY))
			return 9;
		c.must_end = true;
		pthread_join(copier, NULL);
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

static int
run_child(const char *role, const char *dir)
{
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
		TEST_IN_DIR(a_full_disk_loses_nothing_and_recovers),
		TEST_IN_DIR(what_makes_room_has_some_where_others_took_all),
		TEST_IN_DIR(a_full_disk_under_many_writers_loses_nothing),
	};

	if (argc == 4)
		_exit(run_child(argv[1], argv[2]));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
