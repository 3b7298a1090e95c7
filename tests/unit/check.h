/* check.h - what every unit test starts with: cmocka, a check that says what it saw, and a
 * directory that is gone afterwards.
 *
 *	static void
 *	put_then_get_gives_the_same(void **state)
 *	{
 *		char *dir = check_dir_make();
 *		...
 *		CHECK(n == 5);
 *		check_dir_remove(dir);
 *	}
 *
 *	int
 *	main(void)
 *	{
 *		const struct CMUnitTest tests[] = {
 *			cmocka_unit_test(put_then_get_gives_the_same),
 *		};
 *		return cmocka_run_group_tests(tests, NULL, NULL);
 *	}
 */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Fail the running test unless EXPR holds; the message names the expression and the line. */
#define CHECK(expr) _assert_true((uintmax_t)((expr) ? 1 : 0), #expr, __FILE__, __LINE__)

/* CHECK for a call that takes the `struct err` E and returns 0: shows E's text when it fails. */
#define CHECK_OK(call, e) \
	do { \
		if ((call) != 0) \
			fail_msg("%s: %s", #call, (e)->text); \
	} while (0)

/* Compare two strings, or N bytes, and show both when they differ. */
#define CHECK_STR(is, should)      _assert_string_equal((is), (should), __FILE__, __LINE__)
#define CHECK_BYTES(is, should, n) _assert_memory_equal((is), (should), (n), __FILE__, __LINE__)

/* A new empty directory under $TMPDIR or /tmp. Owned by the caller: check_dir_remove. */
static inline char *
check_dir_make(void)
{
	const char *base = getenv("TMPDIR");
	char *dir = NULL;

	if (asprintf(&dir, "%s/domicile-test-XXXXXX", base && *base ? base : "/tmp") < 0 ||
	    !mkdtemp(dir))
		fail_msg("no temporary directory: %s", strerror(errno));
	return dir;
}

static inline int
check_dir_remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

/* Remove DIR with all in it, and free it. NULL is fine. */
static inline void
check_dir_remove(char *dir)
{
	if (dir && nftw(dir, check_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS) < 0)
		print_error("%s: not removed: %s\n", dir, strerror(errno));
	free(dir);
}

/* A path inside DIR, in one of four rotating static buffers. */
static inline const char *
check_path(const char *dir, const char *name)
{
	static char ring[4][512];
	static unsigned turn;
	char *path = ring[turn++ % 4];

	snprintf(path, sizeof ring[0], "%s/%s", dir, name);
	return path;
}

/* Fixture for cmocka_unit_test_setup_teardown: *STATE is a fresh directory. */
static inline int
check_dir_setup(void **state)
{
	*state = check_dir_make();
	return 0;
}

static inline int
check_dir_teardown(void **state)
{
	check_dir_remove(*state);
	return 0;
}

#endif
