/* Chunks as files: whole or absent, never outside their folder, gone when dropped; bare and inside the
 * wrapper that can misbehave.
 */
#include "base/fs.h"
#include "chunks/chunks.h"
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/fsuid.h>
#include <sys/stat.h>

static const struct vault_id mara = { { { 0xab, 1, 2, 3 } }, SERVICE_FILES };
static const struct vault_id mara_backup = { { { 0xab, 1, 2, 3 } }, SERVICE_BACKUP };
static const struct vault_id theo = { { { 0x00 } }, 255 };
static const struct vault_id zoe = { { { 0xfe } }, SERVICE_FILES };
static const struct chunk_name one = { { 0x11 } };
static const struct chunk_name two = { { 0x22 } };

#define MARA_FOLDER "c/ab/ab010203000000000000000000000000.2"
#define NOBODY      65534
#define ONE_FILE    "11000000000000000000000000000000"

static bool is_wrapped;

static struct chunks *
must_open(const char *dir)
{
	struct err e = { 0 };
	struct chunks *c = chunks_file(check_path(dir, "c"), 0, &e);

	if (is_wrapped)
		c = chunks_fault(c, &e);
	if (!c)
		fail_msg("%s", e.text);
	return c;
}

static struct chunk_out *
must_begin(struct chunks *c, const struct vault_id *id, const struct chunk_name *name)
{
	struct err e = { 0 };
	struct chunk_out *o = chunks_begin(c, id, name, &e);

	if (!o)
		fail_msg("%s", e.text);
	return o;
}

static void
must_put(
    struct chunks *c, const struct vault_id *id, const struct chunk_name *name, const char *text)
{
	struct chunk_out *o = must_begin(c, id, name);
	struct err e = { 0 };

	CHECK_OK(chunks_write(c, o, text, strlen(text), &e), &e);
	CHECK_OK(chunks_finish(c, o, &e), &e);
	CHECK_OK(chunks_sync(c, id, &e), &e);
}

/* Whether the chunk is there with exactly TEXT; NULL: is not there. */
static bool
has(struct chunks *c, const struct vault_id *id, const struct chunk_name *name, const char *text)
{
	struct err e = { 0 };
	struct chunk_in *i = chunks_open(c, id, name, &e);
	char got[100];
	bool same;

	if (!i)
		return !text && e.kind == ERR_MISSING;
	same = text && chunks_bytes(c, i) == strlen(text) &&
	    chunks_read(c, i, 0, got, strlen(text), &e) == 0 &&
	    memcmp(got, text, strlen(text)) == 0;
	chunks_close_in(c, i);
	return same;
}

static int
note_chunk(void *arg, const struct vault_id *id, const struct chunk_name *name, uint64_t bytes,
    struct err *e)
{
	buf_printf(
	    arg, "%02x.%u/%02x=%u ", id->account.b[0], id->service, name->b[0], (unsigned)bytes);
	return 0;
}

/* How many chunks the list has; it must have TEXT in it. */
static unsigned
listed(struct chunks *c, const struct vault_id *id, const char *text)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct err e = { 0 };
	unsigned n = 0;

	CHECK_OK(chunks_list(c, id, note_chunk, &b, &e), &e);
	CHECK(strstr(buf_str(&b), text) != NULL);
	for (const char *p = buf_str(&b); *p; p++)
		n += *p == ' ';
	return n;
}

static bool
exists(const char *dir, const char *name)
{
	return access(check_path(dir, name), F_OK) == 0;
}

static void
what_was_written_is_read(void **state)
{
	struct chunks *c = must_open(*state);
	struct chunk_out *o;
	struct chunk_in *i;
	struct err e = { 0 };
	char got[8];

	CHECK(has(c, &mara, &one, NULL));
	o = must_begin(c, &mara, &one);
	CHECK_OK(chunks_write(c, o, "hello ", 6, &e), &e);
	CHECK_OK(chunks_write(c, o, NULL, 0, &e), &e);
	CHECK_OK(chunks_write(c, o, "there", 5, &e), &e);
	CHECK(has(c, &mara, &one, NULL)); /* nobody sees it yet */
	CHECK(listed(c, NULL, "") == 0);
	CHECK_OK(chunks_finish(c, o, &e), &e);
	CHECK(has(c, &mara, &one, "hello there"));
	CHECK(has(c, &mara, &two, NULL) && has(c, &mara_backup, &one, NULL));
	CHECK(exists(*state, MARA_FOLDER "/" ONE_FILE));
	CHECK(!exists(*state, MARA_FOLDER "/" ONE_FILE ".part"));

	i = chunks_open(c, &mara, &one, &e);
	CHECK_OK(chunks_read(c, i, 6, got, 5, &e), &e);
	CHECK_BYTES(got, "there", 5);
	CHECK_OK(chunks_read(c, i, 11, got, 0, &e), &e);
	CHECK(chunks_read(c, i, 6, got, 6, &e) == -1 && e.kind == ERR_FORGED);
	CHECK(chunks_read(c, i, 12, got, 0, &e) == -1 && e.kind == ERR_FORGED);
	CHECK(chunks_read(c, i, UINT64_MAX, got, 2, &e) == -1 && e.kind == ERR_FORGED);
	/* cut behind our back */
	CHECK(truncate(check_path(*state, MARA_FOLDER "/" ONE_FILE), 3) == 0);
	CHECK(chunks_read(c, i, 0, got, 8, &e) == -1 && e.kind == ERR_FORGED);
	chunks_close_in(c, i);
	chunks_close_in(c, NULL);
	chunks_close(c);
}

static void
an_empty_chunk_is_a_chunk(void **state)
{
	struct chunks *c = must_open(*state);

	must_put(c, &theo, &one, "");
	CHECK(has(c, &theo, &one, ""));
	CHECK(listed(c, &theo, "00.255/11=0 ") == 1);
	chunks_close(c);
}

static void
a_chunk_is_never_replaced(void **state)
{
	struct chunks *c = must_open(*state);
	struct chunk_out *o;
	struct err e = { 0 };

	must_put(c, &mara, &one, "first");
	o = must_begin(c, &mara, &one);
	CHECK(!chunks_begin(c, &mara, &one, &e) && e.kind == ERR_EXISTS);
	CHECK_OK(chunks_write(c, o, "second", 6, &e), &e);
	CHECK(chunks_finish(c, o, &e) == -1 && e.kind == ERR_EXISTS);
	CHECK(has(c, &mara, &one, "first"));
	CHECK(!exists(*state, MARA_FOLDER "/" ONE_FILE ".part"));
	chunks_close(c);
}

static void
an_aborted_chunk_leaves_nothing(void **state)
{
	struct chunks *c = must_open(*state);
	struct chunk_out *o = must_begin(c, &mara, &one);
	struct err e = { 0 };

	CHECK_OK(chunks_write(c, o, "x", 1, &e), &e);
	CHECK(exists(*state, MARA_FOLDER "/" ONE_FILE ".part"));
	chunks_abort(c, o);
	chunks_abort(c, NULL);
	CHECK(!exists(*state, MARA_FOLDER "/" ONE_FILE ".part"));
	CHECK(has(c, &mara, &one, NULL));
	chunks_close(c);
}

static void
a_chunk_has_a_ceiling(void **state)
{
	struct chunks *c = must_open(*state);
	struct chunk_out *o = must_begin(c, &mara, &one);
	char *big = calloc(1, CHUNK_MAX_BYTES);
	struct err e = { 0 };

	CHECK_OK(chunks_write(c, o, big, CHUNK_MAX_BYTES, &e), &e);
	CHECK(chunks_write(c, o, big, 1, &e) == -1 && e.kind == ERR_TOO_BIG);
	CHECK(chunks_write(c, o, big, SIZE_MAX, &e) == -1 && e.kind == ERR_TOO_BIG);
	CHECK_OK(chunks_finish(c, o, &e), &e);
	CHECK(listed(c, &mara, "ab.2/11=5242880 ") == 1);
	free(big);
	chunks_close(c);
}

static int
count_vault(void *arg, const struct vault_id *id, struct err *e)
{
	++*(unsigned *)arg;
	return 0;
}

static void
a_removed_chunk_goes_on_for_its_readers(void **state)
{
	struct chunks *c = must_open(*state);
	struct chunk_in *i, *k;
	struct err e = { 0 };
	char got[5];

	must_put(c, &mara, &one, "first");
	must_put(c, &mara, &two, "other");
	i = chunks_open(c, &mara, &one, &e);
	k = chunks_open(c, &mara, &two, &e);
	CHECK_OK(chunks_remove(c, &mara, &one, &e), &e);
	CHECK_OK(chunks_remove(c, &mara, &one, &e), &e); /* missing is fine */
	CHECK_OK(chunks_remove(c, &theo, &one, &e), &e);
	CHECK(has(c, &mara, &one, NULL) && has(c, &mara, &two, "other"));
	CHECK_OK(chunks_drop(c, &mara, &e), &e);
	CHECK_OK(chunks_read(c, i, 0, got, 5, &e), &e);
	CHECK_BYTES(got, "first", 5);
	CHECK_OK(chunks_read(c, k, 0, got, 5, &e), &e);
	CHECK_BYTES(got, "other", 5);
	chunks_close_in(c, i);
	chunks_close_in(c, k);
	chunks_close(c);
}

static void
a_dropped_vault_leaves_no_folder(void **state)
{
	struct chunks *c = must_open(*state);
	struct chunk_out *o;
	struct err e = { 0 };

	must_put(c, &mara, &one, "1");
	must_put(c, &mara, &two, "2");
	must_put(c, &mara_backup, &one, "3");
	o = must_begin(c, &mara, &(struct chunk_name){ { 0x33 } });
	CHECK_OK(chunks_drop(c, &mara, &e), &e);
	CHECK(!exists(*state, MARA_FOLDER));
	CHECK(has(c, &mara_backup, &one, "3"));
	CHECK(listed(c, NULL, "ab.3/11=1 ") == 1);
	CHECK_OK(chunks_drop(c, &mara, &e), &e);
	CHECK_OK(chunks_drop(c, &theo, &e), &e);
	CHECK_OK(chunks_sync(c, &mara, &e), &e);
	CHECK(listed(c, &mara, "") == 0);
	/* the one in flight must not come back */
	CHECK_OK(chunks_write(c, o, "x", 1, &e), &e);
	CHECK(chunks_finish(c, o, &e) == -1 && e.kind == ERR_MISSING);
	CHECK(!exists(*state, MARA_FOLDER));
	must_put(c, &mara, &one, "again");
	CHECK(has(c, &mara, &one, "again"));
	chunks_close(c);
}

static void
unfinished_chunks_are_removed_on_opening(void **state)
{
	struct chunks *c = must_open(*state);
	struct chunk_out *o;
	struct err e = { 0 };

	must_put(c, &mara, &one, "stays");
	must_put(c, &theo, &one, "stays");
	o = must_begin(c, &mara, &two);
	CHECK_OK(chunks_write(c, o, "half", 4, &e), &e);
	chunks_close(c); /* as after a crash; O's file stays behind */
	CHECK(exists(*state, MARA_FOLDER "/22000000000000000000000000000000.part"));
	c = must_open(*state);
	CHECK(!exists(*state, MARA_FOLDER "/22000000000000000000000000000000.part"));
	CHECK(has(c, &mara, &one, "stays") && has(c, &theo, &one, "stays"));
	chunks_abort(c, o); /* frees it; its file is gone already */
	must_put(c, &mara, &two, "whole");
	CHECK(listed(c, NULL, "ab.2/22=5 ") == 3);
	chunks_close(c);
}

static int
stop_at_once(void *arg, const struct vault_id *id, const struct chunk_name *name, uint64_t bytes,
    struct err *e)
{
	++*(int *)arg;
	return 1;
}

static int
fail_at_once(void *arg, const struct vault_id *id, const struct chunk_name *name, uint64_t bytes,
    struct err *e)
{
	return err_set(e, ERR_CANCELLED, "enough");
}

static void
a_list_has_only_finished_chunks(void **state)
{
	struct chunks *c = must_open(*state);
	struct err e = { 0 };
	int calls = 0;
	struct chunk_out *o;

	CHECK(listed(c, NULL, "") == 0);
	must_put(c, &mara, &one, "1");
	must_put(c, &mara, &two, "22");
	must_put(c, &mara_backup, &one, "333");
	must_put(c, &theo, &one, "4444");
	o = must_begin(c, &theo, &two);
	/* strangers are left alone */
	CHECK_OK(fs_write(check_path(*state, MARA_FOLDER "/README"), "x", 1, 0600, &e), &e);
	CHECK_OK(fs_mkdir(check_path(*state, "c/ab/lost+found"), 0700, &e), &e);
	CHECK_OK(
	    fs_mkdir(check_path(*state, "c/00/ab010203000000000000000000000000.2"), 0700, &e), &e);
	CHECK(listed(c, NULL, "ab.2/22=2 ") == 4 && listed(c, NULL, "00.255/11=4 ") == 4);
	CHECK(listed(c, &mara, "ab.2/11=1 ") == 2);
	CHECK(listed(c, &mara_backup, "ab.3/11=3 ") == 1);
	CHECK_OK(chunks_list(c, NULL, stop_at_once, &calls, &e), &e);
	CHECK(calls == 1);
	CHECK(chunks_list(c, NULL, fail_at_once, &calls, &e) == -1 && e.kind == ERR_CANCELLED);
	chunks_abort(c, o);
	chunks_close(c);
}

/* Whatever the bytes of ids and names are, nothing appears outside the store's folder; and links
 * that somebody laid in it are not followed. */
static void
no_path_leads_outside(void **state)
{
	struct chunks *c = must_open(*state);
	struct vault_id id = { { "../../../../../" }, '/' };
	struct chunk_name name = { "../../../../../" };
	struct err e = { 0 };
	char target[600], link[600];

	must_put(c, &id, &name, "inside");
	CHECK(has(c, &id, &name, "inside"));
	CHECK(exists(*state,
	    "c/2e/2e2e2f2e2e2f2e2e2f2e2e2f2e2e2f00.47/"
	    "2e2e2f2e2e2f2e2e2f2e2e2f2e2e2f00"));
	must_put(c, &mara, &two, "x");
	strcpy(target, check_path(*state, "target"));
	CHECK_OK(fs_write(target, "secret", 6, 0600, &e), &e);
	strcpy(link, check_path(*state, MARA_FOLDER "/" ONE_FILE));
	CHECK(symlink(target, link) == 0);
	CHECK(!chunks_open(c, &mara, &one, &e));
	CHECK(listed(c, &mara, "ab.2/22=1 ") == 1);
	CHECK_OK(chunks_drop(c, &mara, &e), &e);
	CHECK(access(target, F_OK) == 0);
	chunks_close(c);
}

struct churn {
	struct chunks *c;
	_Atomic bool *stop;
	unsigned finished;
};

static void *
write_often(void *arg)
{
	struct churn *t = arg;
	struct err e = { 0 };

	for (unsigned n = 0; !atomic_load(t->stop); n++) {
		struct chunk_name name = { { 0 } };
		struct chunk_out *o;

		memcpy(name.b, &n, sizeof(n));
		memcpy(name.b + 4, &arg, sizeof(arg));
		o = must_begin(t->c, &mara, &name);
		if (chunks_finish(t->c, o, &e) == 0)
			t->finished++;
		else
			CHECK(e.kind == ERR_MISSING);
	}
	return NULL;
}

static void
drops_and_writers_get_along(void **state)
{
	struct chunks *c = must_open(*state);
	_Atomic bool stop = false;
	struct churn t[2] = { { c, &stop, 0 }, { c, &stop, 0 } };
	pthread_t threads[2];
	struct err e = { 0 };

	for (size_t i = 0; i < 2; i++)
		CHECK(pthread_create(&threads[i], NULL, write_often, &t[i]) == 0);
	for (int i = 0; i < 100; i++)
		CHECK_OK(chunks_drop(c, &mara, &e), &e);
	atomic_store(&stop, true);
	for (size_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	CHECK_OK(chunks_drop(c, &mara, &e), &e);
	CHECK(listed(c, NULL, "") == 0 && !exists(*state, MARA_FOLDER));
	chunks_close(c);
}

/* --- the wrapper --- */

/* Every sort of call once; how far it came. */
static unsigned
run_all_calls(struct chunks *c, struct err *e)
{
	struct chunk_out *o = chunks_begin(c, &mara, &one, e);
	struct chunk_in *i = NULL;
	unsigned came = 0;
	char got[5];

	if (o && ++came && chunks_write(c, o, "hello", 5, e) == 0 && ++came &&
	    chunks_finish(c, take(&o), e) == 0 && ++came && chunks_sync(c, &mara, e) == 0 &&
	    ++came && (i = chunks_open(c, &mara, &one, e)) && ++came &&
	    chunks_read(c, i, 0, got, 5, e) == 0 && ++came &&
	    chunks_list(c, &mara, stop_at_once, &(int){ 0 }, e) == 0 && ++came &&
	    chunks_remove(c, &mara, &one, e) == 0 && ++came && chunks_drop(c, &mara, e) == 0)
		came++;
	chunks_abort(c, o);
	chunks_close_in(c, i);
	return came;
}

#define ALL_CALLS 9

static void
a_fault_fires_at_its_call_and_once(void **state)
{
	static const struct {
		enum fault_kind kind;
		enum err_kind err;
	} faults[] = { { FAULT_FAIL, ERR_IO }, { FAULT_FAIL_LATE, ERR_IO },
		{ FAULT_FULL, ERR_FULL } };
	struct chunks *c;
	struct err e = { 0 };

	is_wrapped = true;
	c = must_open(*state);
	for (size_t k = 0; k < ARRAY_LEN(faults); k++)
		for (unsigned nth = 1; nth <= ALL_CALLS; nth++) {
			chunks_fault_set(c, faults[k].kind, nth, false);
			CHECK(run_all_calls(c, &e) == nth - 1 && e.kind == faults[k].err);
			CHECK(chunks_fault_fired(c));
			/* Seen to have happened, or not: a finished chunk, a removed one. */
			if (nth == 3)
				CHECK(has(c, &mara, &one,
				    faults[k].kind == FAULT_FAIL_LATE ? "hello" : NULL));
			if (nth == 8)
				CHECK(has(c, &mara, &one,
				    faults[k].kind == FAULT_FAIL_LATE ? NULL : "hello"));
			CHECK_OK(chunks_drop(c, &mara, &e), &e);
			CHECK(!exists(*state, MARA_FOLDER));
		}
	chunks_fault_set(c, FAULT_FAIL, ALL_CALLS + 1, true);
	CHECK(run_all_calls(c, &e) == ALL_CALLS && !chunks_fault_fired(c));
	CHECK(run_all_calls(c, &e) == 0 && run_all_calls(c, &e) == 0);
	chunks_fault_set(c, FAULT_NONE, 0, false);
	CHECK(run_all_calls(c, &e) == ALL_CALLS && !chunks_fault_fired(c));
	chunks_close(c);
	is_wrapped = false;
}

/* As when an account's arrival is given up, and tried again, while a backup holds. */
static void
what_was_held_before_a_drop_is_not_what_comes_after(void **state)
{
	struct chunks *c = must_open(*state);
	struct err e = { 0 };

	must_put(c, &mara, &one, "first");
	must_put(c, &theo, &two, "other");
	chunks_hold(c);
	CHECK_OK(chunks_remove(c, &mara, &one, &e), &e);
	CHECK_OK(chunks_remove(c, &theo, &two, &e), &e);
	CHECK(has(c, &mara, &one, "first") && has(c, &theo, &two, "other"));
	CHECK_OK(chunks_drop(c, &mara, &e), &e);
	must_put(c, &mara, &one, "second");
	chunks_unhold(c);
	CHECK(has(c, &mara, &one, "second") && has(c, &theo, &two, NULL));
	chunks_close(c);
}

/* A link to itself in place of a folder, of a vault or of a group: opening it fails, whoever asks. */
static void
a_folder_that_cannot_be_read_costs_its_own_vaults(void **state)
{
	static const char *const spoiled[] = { MARA_FOLDER, "c/ab" };
	struct err e = { 0 };

	for (unsigned i = 0; i < ARRAY_LEN(spoiled); i++) {
		_cleanup_buf_ struct buf found = BUF_INIT(0);
		struct chunks *c = must_open(*state);
		char folder[600], aside[600];

		if (!i) {
			must_put(c, &mara, &one, "hello");
			must_put(c, &theo, &two, "world");
			must_put(c, &zoe, &two, "there");
		}
		chunks_close(c);
		snprintf(folder, sizeof folder, "%s", check_path(*state, spoiled[i]));
		snprintf(aside, sizeof aside, "%s", check_path(*state, "aside"));
		CHECK(rename(folder, aside) == 0 && symlink(folder, folder) == 0);

		c = must_open(*state);
		CHECK(has(c, &theo, &two, "world") && has(c, &zoe, &two, "there"));
		CHECK(listed(c, &theo, "/22=5 ") == 1);
		CHECK(chunks_list(c, &mara, note_chunk, &found, &e) < 0 && e.kind == ERR_IO);
		CHECK(chunks_drop(c, &mara, &e) < 0 && e.kind == ERR_IO);
		if (i) {
			unsigned n = 0;

			CHECK(chunks_vaults(c, count_vault, &n, &e) < 0 && e.kind == ERR_IO &&
			    n == 2);
		}
		chunks_close(c);
		CHECK(unlink(folder) == 0 && rename(aside, folder) == 0);
	}
}

/* Whoever asks is not told that it is not his. */
static void
a_folder_that_may_not_be_read_is_this_nodes_trouble(void **state)
{
	struct chunks *c = must_open(*state);
	struct err e = { 0 };

	must_put(c, &mara, &one, "hello");
	CHECK(chmod(check_path(*state, MARA_FOLDER), 0) == 0);
	if (getuid() == 0) /* of this thread alone */
		setfsuid(NOBODY);
	CHECK(!chunks_open(c, &mara, &one, &e) && e.kind == ERR_IO);
	CHECK(!chunks_begin(c, &mara, &two, &e) && e.kind == ERR_IO);
	if (getuid() == 0)
		setfsuid(0);
	CHECK(chmod(check_path(*state, MARA_FOLDER), 0700) == 0);
	CHECK(has(c, &mara, &one, "hello"));
	chunks_close(c);
}

static int
wrapped_setup(void **state)
{
	is_wrapped = true;
	return check_dir_setup(state);
}

static int
teardown(void **state)
{
	is_wrapped = false;
	return check_dir_teardown(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, check_dir_setup, teardown)
/* In the wrapper too. */
#define TWICE(name) \
	TEST(name), \
	{ \
#name ", wrapped", name, wrapped_setup, teardown, NULL \
	}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TWICE(what_was_written_is_read),
		TWICE(an_empty_chunk_is_a_chunk),
		TWICE(a_chunk_is_never_replaced),
		TWICE(an_aborted_chunk_leaves_nothing),
		TWICE(a_chunk_has_a_ceiling),
		TWICE(a_removed_chunk_goes_on_for_its_readers),
		TWICE(a_dropped_vault_leaves_no_folder),
		TWICE(unfinished_chunks_are_removed_on_opening),
		TWICE(what_was_held_before_a_drop_is_not_what_comes_after),
		TEST(a_folder_that_cannot_be_read_costs_its_own_vaults),
		TEST(a_folder_that_may_not_be_read_is_this_nodes_trouble),
		TWICE(a_list_has_only_finished_chunks),
		TWICE(no_path_leads_outside),
		TWICE(drops_and_writers_get_along),
		TEST(a_fault_fires_at_its_call_and_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
