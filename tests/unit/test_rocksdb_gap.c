/* Bytes of the RocksDB engine's tables are changed, and all its records are read: what the damaged
 * blocks did not have is given, and the rest lies in the gaps that are told.
 */
#include "base/frame.h"
#include "engine/engine.h"
#include "check.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>

#define VAULTS    60
#define RECORDS   60
#define ALL       (VAULTS * RECORDS)
#define PER_BLOCK 100 /* at most: a block has 8 KiB, a record 100 bytes */
#define FLIPS_MAX 4
#define CACHE     (8 << 20)
#define BUFFER    (1 << 20)

/* The first half of the vaults is one account's neighbours, the other half lies far from each other. */
static struct vault_id
vault_of(unsigned i)
{
	struct vault_id id = { .service = SERVICE_FILES };

	if (i < VAULTS / 2)
		id.account.b[15] = (uint8_t)i;
	else
		id.account.b[0] = (uint8_t)(4 * i);
	return id;
}

static void
put_all(struct engine *g, unsigned from, unsigned step)
{
	uint8_t key[5] = { 'P' }, value[100] = { 0 };
	struct err e = { 0 };

	for (unsigned i = from; i < ALL; i += step) {
		const struct vault_id id = vault_of(i / RECORDS);
		const struct engine_write w = { ENGINE_PUT, { key, sizeof(key) },
			{ value, sizeof(value) } };

		be32_put(key + 1, i % RECORDS);
		CHECK_OK(engine_apply(g, &id, &w, 1, NULL, ENGINE_LATER, &e), &e);
	}
}

struct seen {
	bool has[ALL];
	unsigned n;
	int last;
	struct vault_id from[FLIPS_MAX], to[FLIPS_MAX];
	unsigned gaps;
};

static int
see(void *arg, const struct vault_id *id, struct span key, struct span value, struct err *e)
{
	struct seen *s = arg;
	unsigned v = 0;
	int i;

	(void)value, (void)e;
	while (v < VAULTS) {
		const struct vault_id one = vault_of(v);

		if (memcmp(&one, id, sizeof(one)) == 0)
			break;
		v++;
	}
	CHECK(v < VAULTS && key.len == 5);
	i = (int)(v * RECORDS + be32_get(key.data + 1));
	CHECK(i > s->last); /* in order, and none twice */
	s->last = i;
	s->has[i] = true;
	s->n++;
	return 0;
}

static int
see_gap(void *arg, const struct vault_id *from, const struct vault_id *to, const struct err *why,
    struct err *e)
{
	struct seen *s = arg;

	(void)e;
	CHECK(s->gaps < FLIPS_MAX && why->kind == ERR_IO);
	CHECK(memcmp(from, to, sizeof(*from)) <= 0);
	s->from[s->gaps] = *from;
	s->to[s->gaps++] = *to;
	return 0;
}

static bool
is_in_gap(const struct seen *s, unsigned i)
{
	const struct vault_id id = vault_of(i / RECORDS);

	for (unsigned g = 0; g < s->gaps; g++)
		if (memcmp(&s->from[g], &id, sizeof(id)) <= 0 &&
		    memcmp(&id, &s->to[g], sizeof(id)) <= 0)
			return true;
	return false;
}

static void
flip(const char *path, off_t at)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	CHECK(fd >= 0 && pread(fd, &byte, 1, at) == 1);
	byte ^= 1;
	CHECK(pwrite(fd, &byte, 1, at) == 1);
	close(fd);
}

/* Read all, with N bytes of the table changed meanwhile. Returns how many records are missing. */
static unsigned
read_with(struct engine *g, const char *table, const off_t *at, unsigned n)
{
	struct seen s = { .last = -1 };
	struct err e = { 0 };
	unsigned missing;

	for (unsigned i = 0; i < n; i++)
		flip(table, at[i]);
	CHECK_OK(engine_each(g, see, see_gap, &s, &e), &e);
	missing = ALL - s.n;
	CHECK(s.gaps <= n && (missing == 0 || s.gaps));
	for (unsigned i = 0; i < ALL; i++)
		CHECK(s.has[i] || is_in_gap(&s, i));
	if (s.gaps) {
		s = (struct seen){ .last = -1 };
		CHECK(engine_each(g, see, NULL, &s, &e) < 0 && e.kind == ERR_IO);
	}
	for (unsigned i = 0; i < n; i++)
		flip(table, at[i]);
	return missing;
}

static struct engine *
open_db(const char *dir)
{
	struct err e = { 0 };
	struct engine *g = engine_rocksdb(check_path(dir, "db"), CACHE, BUFFER, &e);

	if (!g)
		fail_msg("%s", e.text);
	return g;
}

/* The table that was written last. */
static char *
newest_table(const char *dir, off_t *bytes)
{
	char pattern[600], *path;
	struct stat st;
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/*.sst", check_path(dir, "db"));
	CHECK(glob(pattern, 0, NULL, &found) == 0);
	path = strdup(found.gl_pathv[found.gl_pathc - 1]);
	globfree(&found);
	CHECK(path && stat(path, &st) == 0);
	*bytes = st.st_size;
	return path;
}

/* One block of the only table, whichever it is. */
static void
what_a_damaged_block_did_not_have_is_given(void **state)
{
	_cleanup_(freep) char *table = NULL;
	struct err e = { 0 };
	struct engine *g = open_db(*state);
	unsigned damaged = 0;
	off_t bytes;

	put_all(g, 0, 1);
	CHECK_OK(engine_compact(g, &e), &e);
	table = newest_table(*state, &bytes);
	CHECK(bytes > ALL * 100);
	for (off_t at = 0; at < ALL * 100; at += 7001) {
		unsigned missing = read_with(g, table, &at, 1);

		CHECK(missing <= PER_BLOCK);
		damaged += missing > 0;
	}
	CHECK(damaged > ALL * 100 / 7001 - 2);
	CHECK(read_with(g, table, NULL, 0) == 0);
	engine_close(g);
}

static void
behind_each_of_several_damaged_blocks_it_goes_on(void **state)
{
	_cleanup_(freep) char *table = NULL;
	struct err e = { 0 };
	struct engine *g = open_db(*state);
	unsigned missing;
	off_t bytes;

	put_all(g, 0, 1);
	CHECK_OK(engine_compact(g, &e), &e);
	table = newest_table(*state, &bytes);

	const off_t apart[] = { 10, bytes / 4, bytes / 2, ALL * 100 },
	            together[] = { 100000, 108400, 116800 };

	missing = read_with(g, table, apart, 4);
	CHECK(missing > 3 * PER_BLOCK / 2 && missing <= 4 * PER_BLOCK);
	missing = read_with(g, table, together, 3);
	CHECK(missing > 3 * PER_BLOCK / 2 && missing <= 3 * PER_BLOCK);
	engine_close(g);
}

/* The damaged block has newer values of records that another table has, too: an older one is none. */
static void
what_was_replaced_is_not_given_in_its_place(void **state)
{
	_cleanup_(freep) char *table = NULL;
	struct err e = { 0 };
	struct engine *g = open_db(*state);
	off_t bytes, at = 4000;
	unsigned missing;

	put_all(g, 0, 1);
	CHECK_OK(engine_compact(g, &e), &e);
	put_all(g, 0, 10);
	engine_close(g);
	g = open_db(*state); /* writes a table of what the log has */
	table = newest_table(*state, &bytes);
	CHECK(bytes < ALL * 50);
	missing = read_with(g, table, &at, 1);
	CHECK(missing > PER_BLOCK / 2 && missing <= 11 * PER_BLOCK);
	engine_close(g);
}

static void
where_nothing_can_be_read_it_fails(void **state)
{
	_cleanup_(freep) char *table = NULL;
	struct seen s = { .last = -1 };
	struct err e = { 0 };
	struct engine *g = open_db(*state);
	struct vault_id id = vault_of(0);
	const struct engine_write w = { ENGINE_PUT, { (const uint8_t *)"P0000", 5 }, { 0 } };
	off_t bytes;

	CHECK_OK(engine_apply(g, &id, &w, 1, NULL, ENGINE_LATER, &e), &e);
	CHECK_OK(engine_compact(g, &e), &e);
	table = newest_table(*state, &bytes);
	flip(table, 1);
	CHECK(engine_each(g, see, see_gap, &s, &e) < 0 && e.kind == ERR_IO && !s.gaps);
	engine_close(g);
}

static int
set_up(void **state)
{
	*state = check_dir_make();
	return 0;
}

static int
tear_down(void **state)
{
	check_dir_remove(*state);
	return 0;
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_a_damaged_block_did_not_have_is_given),
		T(behind_each_of_several_damaged_blocks_it_goes_on),
		T(what_was_replaced_is_not_given_in_its_place),
		T(where_nothing_can_be_read_it_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
