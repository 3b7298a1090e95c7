/* A block of the RocksDB engine's that can't be read: those alone fail who need it. */
#define BUFFER_BYTES (64 << 10)

#include "base/fs.h"
#include "rocksdb_fixture.h"

#include <dirent.h>
#include <fcntl.h>

/* A thousand records of 1 KiB. */
static void
fill(struct engine *g, const struct vault_id *id)
{
	static char value[1024];
	struct err e = { 0 };
	char key[16];

	memset(value, 'v', sizeof(value) - 1);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "%05u", i);
		CHECK_OK(put(g, id, key, value, &e), &e);
	}
}

/* Calls FN for each file with WORD in its name. */
static unsigned
each_file(const char *dir, const char *word, void (*fn)(const char *path))
{
	DIR *d = opendir(check_path(dir, "db"));
	const struct dirent *entry;
	unsigned n = 0;

	CHECK(d != NULL);
	while ((entry = readdir(d))) {
		char path[800];

		snprintf(path, sizeof(path), "%s/%s", check_path(dir, "db"), entry->d_name);
		if (!strstr(entry->d_name, word))
			continue;
		n++;
		if (fn)
			fn(path);
	}
	closedir(d);
	return n;
}

static void
flip_needle(const char *path)
{
	static const char needle[] = "DAMAGED";
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	_cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CLOEXEC);
	const uint8_t *at;
	struct err e = { 0 };

	CHECK_OK(fs_read(path, 1 << 28, &b, &e), &e);
	at = memmem(b.data, b.len, needle, strlen(needle));
	if (at)
		CHECK(pwrite(fd, "d", 1, at - b.data) == 1);
}

/* Mara has one record that can't be read among many; the tables are at rest. */
static struct engine *
with_damage(const char *dir)
{
	struct engine *g = must_open(dir);
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct err e = { 0 };

	fill(g, &mara);
	fill(g, &theo);
	CHECK_OK(put(g, &mara, "00500", "DAMAGED", &e), &e);
	CHECK_OK(engine_compact(g, &e), &e);
	engine_close(g); /* what it has in memory goes */
	each_file(dir, ".sst", flip_needle);
	g = must_open(dir);
	CHECK(engine_get(g, &mara, span_of("00500"), &b, &e) < 0 && e.kind == ERR_IO);
	return g;
}

static int
drop_all(struct engine *g, struct err *e)
{
	return engine_drop(g, &theo, e) < 0 ? -1 : engine_drop(g, &mara, e);
}

static void
compaction_says_what_it_can_not_read(void **state)
{
	struct engine *g = with_damage(*state);
	struct err e = { 0 };

	/* When it is met, and from then on. */
	for (int i = 0; i < 3; i++) {
		CHECK(engine_compact(g, &e) < 0 && e.kind == ERR_IO);
		CHECK(i == 0 || strstr(e.text, "damaged"));
		CHECK_OK(put(g, &theo, "new", "v", &e), &e);
		CHECK(has(g, &theo, "new", "v") && has(g, &mara, "none", NULL));
	}
	engine_close(g);
}

/* All over what is damaged. RocksDB would hold writes up at 36 tables, were there to be compactions. */
static void
writes_go_on_beside_damage(void **state)
{
	static char value[BUFFER_BYTES / 4];
	struct engine *g = with_damage(*state);
	struct err e = { 0 };
	char key[16];

	memset(value, 'v', sizeof(value) - 1);
	CHECK(engine_compact(g, &e) < 0 && e.kind == ERR_IO);
	for (unsigned i = 0; i < 4 * 60; i++) {
		snprintf(key, sizeof(key), "%05u+", i * 4);
		CHECK_OK(put(g, &mara, key, value, &e), &e);
		if (i % 16 == 0)
			CHECK_OK(engine_flush(g, &e), &e);
	}
	CHECK(each_file(*state, ".sst", NULL) > 36);
	CHECK(has(g, &mara, "00000+", value) && has(g, &mara, "00956+", value));
	engine_close(g);
}

static int
count_record(void *arg, struct span key, struct span value, struct err *e)
{
	(void)key, (void)value, (void)e;
	++*(unsigned *)arg;
	return 0;
}

/* Before it was met and after: a drop needs not read what goes, and nobody has to read it later. */
static void
a_vault_with_damage_can_be_dropped(void **state)
{
	for (int is_known = 0; is_known < 2; is_known++) {
		_cleanup_(freep) char *dir = strdup(check_path(*state, is_known ? "known" : "met"));
		struct err e = { 0 };
		struct engine *g;
		unsigned n = 0;

		CHECK_OK(fs_mkdir(dir, 0700, &e), &e);
		g = with_damage(dir);
		if (is_known)
			CHECK(engine_compact(g, &e) < 0);
		CHECK_OK(drop_all(g, &e), &e);
		CHECK_OK(engine_scan(g, &mara, span_of(""), span_of(""), count_record, &n, &e), &e);
		CHECK(n == 0 && has(g, &mara, "00500", NULL) && has(g, &theo, "00000", NULL));
		CHECK_OK(put(g, &mara, "00500", "new", &e), &e);
		CHECK(has(g, &mara, "00500", "new"));
		engine_close(g);
	}
}

static void
append_noise(const char *path)
{
	_cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	uint8_t noise[300];

	memset(noise, 1, sizeof(noise)); /* an entry of 257 bytes, by its head */
	CHECK(fd >= 0 && write(fd, noise, sizeof(noise)) == (ssize_t)sizeof(noise));
}

static void
a_damaged_list_of_files_is_told_with_the_way_out(void **state)
{
	struct engine *g = must_open(*state);
	struct err e = { 0 };

	CHECK_OK(put(g, &mara, "a", "1", &e), &e);
	CHECK_OK(engine_flush(g, &e), &e);
	engine_close(g);
	CHECK(each_file(*state, "MANIFEST-", append_noise) == 1);
	g = engine_rocksdb(check_path(*state, "db"), CACHE_BYTES, BUFFER_BYTES, &e);
	CHECK(!g && e.kind == ERR_IO && strstr(e.text, "restore the newest backup"));
	CHECK(strstr(e.text, "MANIFEST-"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_IN_DIR(compaction_says_what_it_can_not_read),
		TEST_IN_DIR(writes_go_on_beside_damage),
		TEST_IN_DIR(a_vault_with_damage_can_be_dropped),
		TEST_IN_DIR(a_damaged_list_of_files_is_told_with_the_way_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
