/* A backup's folder: what is written is read again, only what is new is written, what was erased is not
 * in it, and what is of another key, or in use, is refused.
 */
#include "backup_fixture.h"

#include <signal.h>
#include <sys/resource.h>

static void
only_what_is_new_is_written(void **state)
{
	int64_t first, again, more;
	struct place p;
	struct files f;

	(void)state;
	place_open(&p);
	f = account_with_things(&p);
	back_up(&p, 2, &first);
	back_up(&p, 2, &again);
	put_big(&f, "b");
	back_up(&p, 2, &more);
	CHECK(first > (int64_t)BIG && again == 0 && more > (int64_t)BIG && more < 2 * first);
	CHECK(verify(&p) == ERR_NONE);
	place_close(&p);
}

static int
add_bytes(void *arg, const struct vault_id *id, const struct chunk_name *name, uint64_t bytes,
    struct err *e)
{
	(void)id, (void)name, (void)e;
	*(uint64_t *)arg += bytes;
	return 0;
}

static void
what_is_put_back_is_what_there_was(void **state)
{
	uint64_t chunks_before = 0, chunks_after = 0;
	struct manifest m = { 0 };
	struct restored r;
	struct err e = { 0 };
	struct place p;
	int64_t n;

	(void)state;
	place_open(&p);
	(void)account_with_things(&p);
	(void)account_with_things(&p);
	back_up(&p, 1, &n);
	CHECK_OK(backup_manifest(p.folder, 0, &m, &e), &e);
	CHECK(m.accounts == 2 && m.vaults == 6 && m.chunks >= 2 && m.key_oldest == 1);
	CHECK_OK(backup_check_keys(p.folder, &m, p.region.node.keys, false, &e), &e);
	restore(&p, &m, &r);

	CHECK(has_same_records(&p, &r));
	CHECK_OK(chunks_list(p.region.node.chunks, NULL, add_bytes, &chunks_before, &e), &e);
	CHECK_OK(chunks_list(r.chunks, NULL, add_bytes, &chunks_after, &e), &e);
	CHECK(chunks_before && chunks_before == chunks_after);
	manifest_free(&m);
	restored_close(&r);
	place_close(&p);
}

static void
another_region_key_is_refused(void **state)
{
	struct manifest m = { 0 };
	struct err e = { 0 };
	struct keys *other;
	struct place p;
	char path[600];
	int64_t n;

	(void)state;
	place_open(&p);
	(void)account_with_things(&p);
	back_up(&p, 1, &n);
	snprintf(path, sizeof path, "%s/other.key", p.region.store.dir);
	CHECK_OK(keys_file_create(path, &e), &e);
	other = keys_file_open(path, &e);
	CHECK(other);
	CHECK_OK(backup_manifest(p.folder, 0, &m, &e), &e);
	CHECK(backup_check_keys(p.folder, &m, other, false, &e) < 0 && e.kind == ERR_FORGED);
	manifest_free(&m);
	keys_close(other);
	place_close(&p);
}

static void
what_was_erased_is_in_no_file(void **state)
{
	struct err e = { 0 };
	struct files f;
	struct place p;
	int64_t n;

	(void)state;
	place_open(&p);
	f = account_with_things(&p);
	back_up(&p, 1, &n);
	CHECK_OK(accounts_remove(&p.region.node, &f.account, &e), &e);
	back_up(&p, 1, &n);

	struct manifest m = { 0 };

	CHECK_OK(backup_manifest(p.folder, 0, &m, &e), &e);
	CHECK(m.generation == 2 && !m.accounts && !m.vaults && !m.chunks && !m.key_newest);
	CHECK(backup_manifest(p.folder, 1, &m, &e) < 0 && e.kind == ERR_MISSING);
	manifest_free(&m);
	place_close(&p);
}

static void
a_folder_that_is_in_use_is_busy(void **state)
{
	struct backup_lock *lock;
	struct err e = { 0 };
	struct place p;
	int64_t n;

	(void)state;
	place_open(&p);
	back_up(&p, 1, &n);
	lock = backup_lock_shared(p.folder, &e);
	CHECK(lock);
	CHECK(backup_begin(p.backup, p.folder, 1, &e) < 0 && e.kind == ERR_BUSY);
	backup_lock_close(lock);
	back_up(&p, 1, &n);
	place_close(&p);
}

struct one_chunk {
	struct vault_id id;
	struct chunk_name name;
	uint64_t bytes;
};

static int
note_chunk(void *arg, const struct vault_id *id, const struct chunk_name *name, uint64_t bytes,
    struct err *e)
{
	(void)e;
	*(struct one_chunk *)arg = (struct one_chunk){ *id, *name, bytes };
	return 0;
}

static uint8_t
first_byte(struct chunks *c, const struct one_chunk *o)
{
	struct err e = { 0 };
	struct chunk_in *in = chunks_open(c, &o->id, &o->name, &e);
	uint8_t byte;

	CHECK(in);
	CHECK_OK(chunks_read(c, in, 0, &byte, 1, &e), &e);
	chunks_close_in(c, in);
	return byte;
}

/* A move seals a chunk anew under the name that it has: so it may come back as other bytes. */
static void
a_chunk_that_came_back_under_another_key_is_written_anew(void **state)
{
	_cleanup_manifest_ struct manifest m = { 0 };
	_cleanup_(freep) uint8_t *bytes = NULL;
	struct one_chunk one;
	struct chunk_out *out;
	struct restored r;
	struct chunks *c;
	struct err e = { 0 };
	struct place p;
	int64_t n;

	(void)state;
	place_open(&p);
	(void)account_with_things(&p);
	c = p.region.node.chunks;
	CHECK_OK(chunks_list(c, NULL, note_chunk, &one, &e), &e);
	back_up(&p, 2, &n);
	bytes = malloc(one.bytes);
	memset(bytes, (uint8_t)~first_byte(c, &one), one.bytes);
	CHECK_OK(chunks_remove(c, &one.id, &one.name, &e), &e);
	out = chunks_begin(c, &one.id, &one.name, &e);
	CHECK_OK(chunks_write(c, out, bytes, one.bytes, &e), &e);
	CHECK_OK(chunks_finish(c, out, &e), &e);
	back_up(&p, 2, &n);
	CHECK_OK(backup_manifest(p.folder, 0, &m, &e), &e);
	restore(&p, &m, &r);
	CHECK(first_byte(r.chunks, &one) == bytes[0]);
	manifest_free(&m); /* and the one before has its own still */
	CHECK_OK(backup_manifest(p.folder, 1, &m, &e), &e);
	CHECK_OK(backup_verify(p.folder, &m, NULL, NULL, &e), &e);
	CHECK(verify(&p) == ERR_NONE);
	restored_close(&r);
	place_close(&p);
}

/* No file may become larger than what the records need: the disk of the backup fails, not the store's. */
static void
a_disk_that_does_not_take_a_chunk_fails_the_backup(void **state)
{
	struct rlimit before, small;
	struct place p;
	int64_t n;

	(void)state;
	place_open(&p);
	(void)account_with_things(&p);
	CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0 && signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	small = before;
	small.rlim_cur = BIG / 2;
	CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
	CHECK(has_failed(&p));
	CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
	back_up(&p, 1, &n);
	CHECK(n > (int64_t)BIG && verify(&p) == ERR_NONE);
	place_close(&p);
}

/* Removed while a backup holds: there until it lets go. */
static void
a_chunk_that_is_removed_meanwhile_stays_until_it_is_copied(void **state)
{
	const struct vault_id id = { .service = SERVICE_FILES };
	const struct chunk_name name = { { 7 } };
	uint64_t bytes = 0;
	struct chunk_out *out;
	struct err e = { 0 };
	struct place p;
	struct chunks *c;

	(void)state;
	place_open(&p);
	c = p.region.node.chunks;
	out = chunks_begin(c, &id, &name, &e);
	CHECK(out);
	CHECK_OK(chunks_write(c, out, "chunk", 5, &e), &e);
	CHECK_OK(chunks_finish(c, out, &e), &e);
	chunks_hold(c);
	chunks_hold(c);
	CHECK_OK(chunks_remove(c, &id, &name, &e), &e);
	chunks_unhold(c);
	CHECK_OK(chunks_list(c, &id, add_bytes, &bytes, &e), &e);
	CHECK(bytes == 5);
	chunks_unhold(c);
	bytes = 0;
	CHECK_OK(chunks_list(c, &id, add_bytes, &bytes, &e), &e);
	CHECK(bytes == 0);
	place_close(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_is_new_is_written),
		cmocka_unit_test(what_is_put_back_is_what_there_was),
		cmocka_unit_test(another_region_key_is_refused),
		cmocka_unit_test(what_was_erased_is_in_no_file),
		cmocka_unit_test(a_folder_that_is_in_use_is_busy),
		cmocka_unit_test(a_chunk_that_came_back_under_another_key_is_written_anew),
		cmocka_unit_test(a_disk_that_does_not_take_a_chunk_fails_the_backup),
		cmocka_unit_test(a_chunk_that_is_removed_meanwhile_stays_until_it_is_copied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
