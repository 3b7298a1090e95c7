/* rocksdb_fixture.h - the RocksDB engine in a folder of a test's, and this program run again as another
 * process.
 *
 * RocksDB's threads do not survive a fork, so whatever needs another process runs the program again with a
 * role as its first argument.
 */
#ifndef ROCKSDB_FIXTURE_H
#define ROCKSDB_FIXTURE_H

#include <sys/wait.h>

#include "check.h"
#include "engine/engine.h"

#define CACHE_BYTES (8 << 20)
#ifndef BUFFER_BYTES
#define BUFFER_BYTES (1 << 20)
#endif

static const struct vault_id mara = { { { 0x10 } }, SERVICE_FILES };
static const struct vault_id theo = { { { 0x20 } }, SERVICE_FILES };

static inline struct span
span_of(const char *text)
{
	return (struct span){ (const uint8_t *)text, strlen(text) };
}

static inline struct engine *
open_db(const char *dir, struct err *e)
{
	return engine_rocksdb(check_path(dir, "db"), CACHE_BYTES, BUFFER_BYTES, e);
}

static inline struct engine *
must_open(const char *dir)
{
	struct err e = { 0 };
	struct engine *g = open_db(dir, &e);

	if (!g)
		fail_msg("%s", e.text);
	return g;
}

static inline int
put(struct engine *g, const struct vault_id *id, const char *key, const char *value, struct err *e)
{
	struct engine_write w = { ENGINE_PUT, span_of(key), span_of(value) };

	return engine_apply(g, id, &w, 1, NULL, ENGINE_LATER, e);
}

static inline bool
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
static inline pid_t
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
static inline int
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

static inline void
acknowledge(void)
{
	if (write(STDOUT_FILENO, "a", 1) != 1)
		_exit(97);
}

#define TEST_IN_DIR(name) cmocka_unit_test_setup_teardown(name, check_dir_setup, check_dir_teardown)

#endif
