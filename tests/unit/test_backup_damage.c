/* Damage of the store, and of a backup: it is named, costs what it has to, and ends no backup. */
#include "backup_fixture.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>

static void
put_record(struct place *p, const struct vault_id *id, const char *key, struct span value)
{
	const struct engine_write w = { ENGINE_PUT, { (const uint8_t *)key, strlen(key) }, value };
	struct err e = { 0 };

	CHECK_OK(engine_apply(p->region.node.engine, id, &w, 1, NULL, ENGINE_NOW, &e), &e);
}

static struct buf
header_of(struct place *p, const struct vault_id *id)
{
	struct buf header = BUF_INIT(0);
	struct err e = { 0 };

	CHECK(engine_get(p->region.node.engine, id, ((struct span){ (const uint8_t *)"H", 1 }),
	          &header, &e) == 1);
	return header;
}

static int
vault_order(const void *a, const void *b)
{
	return memcmp(a, b, VAULT_ID_BYTES);
}

/* One is cut off, of one the format is unknown, and one names a generation of the region key that never was. */
static void
damage_headers(struct place *p, struct vault_id ids[static 3])
{
	for (unsigned i = 0; i < 3; i++) {
		const struct files f = region_account(&p->region, ALL_SERVICES, NULL);
		_cleanup_buf_ struct buf h = BUF_INIT(0);

		ids[i] = (struct vault_id){ f.account, SERVICE_FILES };
		h = header_of(p, &ids[i]);
		if (i == 1)
			h.data[0] = 9;
		if (i == 2)
			be32_put(h.data + 27, 0x80000001);
		put_record(p, &ids[i], "H", (struct span){ h.data, i ? h.len : 30 });
	}
	qsort(ids, 3, sizeof *ids, vault_order);
}

static void
a_malformed_header_is_kept_and_named(void **state)
{
	_cleanup_manifest_ struct manifest m = { 0 };
	struct vault_id ids[3];
	struct restored r;
	struct err e = { 0 };
	struct place p;
	int64_t n;
	json_t *j;

	(void)state;
	place_open(&p);
	(void)account_with_things(&p);
	damage_headers(&p, ids);
	back_up(&p, 1, &n);
	CHECK(verify(&p) == ERR_NONE);
	CHECK_OK(backup_manifest(p.folder, 0, &m, &e), &e);
	CHECK(m.accounts == 4 && m.key_oldest == 1 && m.key_newest == 1);
	CHECK(m.damaged == 3 && m.n_damages == 3);
	for (unsigned i = 0; i < 3; i++)
		CHECK(m.damages[i].kind == BACKUP_HEADER &&
		    memcmp(&m.damages[i].id, &ids[i], VAULT_ID_BYTES) == 0);
	j = status_of(&p);
	CHECK(json_array_size(json_object_get(json_object_get(j, "backup"), "damages")) == 3);
	json_decref(j);

	CHECK_OK(backup_check_keys(p.folder, &m, p.region.node.keys, false, &e), &e);
	restore(&p, &m, &r);
	CHECK(has_same_records(&p, &r));
	restored_close(&r);
	place_close(&p);
}

/* The first vault's wrapped key is damaged: the others show that the region key is the right one. */
static void
one_key_that_does_not_open_is_not_another_region_key(void **state)
{
	_cleanup_manifest_ struct manifest m = { 0 };
	struct vault_id first = { 0 };
	struct err e = { 0 };
	struct place p;
	int64_t n;

	(void)state;
	place_open(&p);
	for (unsigned i = 0; i < 3; i++) {
		const struct files f = region_account(&p.region, ALL_SERVICES, NULL);

		if (i == 0 || memcmp(&f.account, &first.account, ACCOUNT_ID_BYTES) < 0)
			first.account = f.account;
	}
	first.service = SERVICE_PROFILE;

	_cleanup_buf_ struct buf h = header_of(&p, &first);

	h.data[27 + 20] ^= 1;
	put_record(&p, &first, "H", (struct span){ h.data, h.len });
	back_up(&p, 1, &n);
	CHECK_OK(backup_manifest(p.folder, 0, &m, &e), &e);
	CHECK_OK(backup_check_keys(p.folder, &m, p.region.node.keys, false, &e), &e);
	place_close(&p);
}

/* Change a byte in the middle of the engine's only table, which has all its records. */
static void
flip_table(struct place *p)
{
	char pattern[600];
	struct stat st;
	glob_t found;
	uint8_t byte;
	int fd;

	snprintf(pattern, sizeof pattern, "%s/db/*.sst", p->region.store.dir);
	CHECK(glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc == 1);
	fd = open(found.gl_pathv[0], O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0 && fstat(fd, &st) == 0 && pread(fd, &byte, 1, st.st_size / 2) == 1);
	byte ^= 1;
	CHECK(pwrite(fd, &byte, 1, st.st_size / 2) == 1);
	close(fd);
	globfree(&found);
}

/* Accounts enough for some blocks, and all of them in one table. */
static void
place_with_table(struct place *p)
{
	struct err e = { 0 };

	place_open(p);
	for (unsigned i = 0; i < 12; i++)
		(void)account_with_things(p);
	CHECK_OK(engine_compact(p->region.node.engine, &e), &e);
}

struct left {
	const struct backup_damage *damage; /* that there is: records are missing */
	struct engine *restored;
};

static int
check_restored(
    void *arg, const struct vault_id *id, struct span key, struct span value, struct err *e)
{
	const struct left *l = arg;
	const struct backup_damage *d = l->damage;
	_cleanup_buf_ struct buf got = BUF_INIT(0);
	int r = engine_get(l->restored, id, key, &got, e);

	if (r == 1)
		CHECK(got.len == value.len && memcmp(got.data, value.data, value.len) == 0);
	else
		CHECK(r == 0 && memcmp(&d->id.account, &id->account, ACCOUNT_ID_BYTES) <= 0 &&
		    memcmp(&id->account, &d->to, ACCOUNT_ID_BYTES) <= 0);
	return 0;
}

static void
what_cannot_be_read_is_missing_and_all_else_is_there(void **state)
{
	_cleanup_manifest_ struct manifest whole = { 0 }, m = { 0 };
	struct left left = { 0 };
	struct chunks *chunks;
	struct err e = { 0 };
	struct place p;
	int64_t n;

	(void)state;
	place_with_table(&p);
	back_up(&p, 2, &n);
	CHECK_OK(backup_manifest(p.folder, 0, &whole, &e), &e);
	flip_table(&p);
	back_up(&p, 2, &n);
	flip_table(&p);
	CHECK(verify(&p) == ERR_NONE);
	CHECK_OK(backup_manifest(p.folder, 0, &m, &e), &e);
	CHECK(whole.accounts == 12 && !whole.damaged && !whole.missing);
	CHECK(m.missing == 1 && m.damaged == 1 && m.n_damages == 1);
	CHECK(m.damages[0].kind == BACKUP_MISSING && m.generation == 2);
	CHECK(m.records < whole.records && m.records > whole.records / 2);
	CHECK(m.chunks == whole.chunks && m.chunk_bytes == whole.chunk_bytes);

	left.damage = &m.damages[0];
	left.restored = engine_rocksdb(
	    check_path(p.region.store.dir, "other"), 8 << 20, 8 << 20, &e);
	chunks = chunks_file(check_path(p.region.store.dir, "other-chunks"), 0, &e);
	CHECK(left.restored && chunks);
	CHECK_OK(backup_check_keys(p.folder, &m, p.region.node.keys, false, &e), &e);
	CHECK_OK(backup_restore(p.folder, &m, left.restored, chunks, false, NULL, NULL, &e), &e);
	CHECK_OK(engine_each(p.region.node.engine, check_restored, NULL, &left, &e), &e);
	engine_close(left.restored);
	chunks_close(chunks);
	place_close(&p);
}

/* The generations that the folder has, as a text. */
static const char *
generations(struct place *p)
{
	static char text[64];
	_cleanup_buf_ struct buf list = BUF_INIT(0);
	struct err e = { 0 };

	CHECK_OK(backup_generations(p->folder, &list, &e), &e);
	text[0] = 0;
	for (size_t at = 0; at < list.len; at += sizeof(uint32_t)) {
		size_t n = strlen(text);
		uint32_t one;

		memcpy(&one, list.data + at, sizeof one);
		snprintf(text + n, sizeof text - n, "%u ", one);
	}
	return text;
}

static void
an_incomplete_one_does_not_take_the_place_of_a_complete_one(void **state)
{
	_cleanup_manifest_ struct manifest m = { 0 };
	struct err e = { 0 };
	struct place p;
	int64_t n;

	(void)state;
	place_with_table(&p);
	back_up(&p, 2, &n);
	back_up(&p, 2, &n);
	CHECK_STR(generations(&p), "1 2 ");
	flip_table(&p);
	back_up(&p, 1, &n);
	CHECK_STR(generations(&p), "2 3 ");
	back_up(&p, 2, &n);
	CHECK_STR(generations(&p), "2 3 4 ");
	CHECK_OK(backup_manifest(p.folder, 2, &m, &e), &e);
	CHECK_OK(backup_verify(p.folder, &m, NULL, NULL, &e), &e);
	flip_table(&p);
	back_up(&p, 2, &n);
	CHECK_STR(generations(&p), "4 5 ");
	CHECK(verify(&p) == ERR_NONE);
	place_close(&p);
}

/* HAS of the two chunks of F are there, and the damage is named. */
static void
check_left_out(const struct manifest *m, const struct files *f, uint64_t has)
{
	CHECK(m->damaged == 1 && m->n_damages == 1 && !m->missing && m->chunks == has);
	CHECK(m->damages[0].kind == BACKUP_CHUNK && m->damages[0].id.service == SERVICE_FILES);
	CHECK(account_equal(&m->damages[0].id.account, &f->account));
}

/* Each call that reads chunks fails in turn: the first lists all vaults, which their records tell as well, the
 * second counts, the third lists the vault's, then they are opened and read. */
static void
a_chunk_that_cannot_be_read_is_left_out_and_named(void **state)
{
	struct err e = { 0 };
	struct place p;
	struct files f;

	(void)state;
	place_open(&p);
	f = account_with_things(&p);
	put_big(&f, "b");
	for (unsigned nth = 1; nth <= 8; nth++) {
		_cleanup_manifest_ struct manifest m = { 0 }, next = { 0 };
		int64_t n;

		snprintf(p.folder, sizeof p.folder, "%s/backups-%u", p.region.store.dir, nth);
		chunks_fault_set(p.region.node.chunks, FAULT_FAIL, nth, false);
		back_up(&p, 1, &n);
		CHECK(chunks_fault_fired(p.region.node.chunks) == (nth < 8));
		chunks_fault_set(p.region.node.chunks, FAULT_NONE, 0, false);
		CHECK(verify(&p) == ERR_NONE);
		CHECK_OK(backup_manifest(p.folder, 0, &m, &e), &e);
		if (nth < 3 || nth == 8) {
			CHECK(!m.damaged && m.chunks == 2);
			continue;
		}
		check_left_out(&m, &f, nth == 3 ? 0 : 1);
		back_up(&p, 1, &n);
		CHECK_OK(backup_manifest(p.folder, 0, &next, &e), &e);
		CHECK(!next.damaged && next.chunks == 2 && n > (int64_t)BIG);
	}
	place_close(&p);
}

enum folder { OF_VAULT, OF_GROUP, FOLDERS };

/* The folder of F's chunks, or that of its group, which can't be opened if IS_BAD: a link to itself is in its
 * place. */
static void
spoil_folder(struct place *p, const struct files *f, enum folder which, bool is_bad)
{
	char account[ACCOUNT_TEXT_SIZE], folder[700], aside[720];
	int n;

	account_text(&f->account, account);
	n = snprintf(folder, sizeof folder, "%s/chunks/%.2s", p->region.store.dir, account);
	if (which == OF_VAULT)
		snprintf(folder + n, sizeof folder - (size_t)n, "/%s.%d", account, SERVICE_FILES);
	snprintf(aside, sizeof aside, "%s.aside", folder);
	if (is_bad)
		CHECK(rename(folder, aside) == 0 && symlink(folder, folder) == 0);
	else
		CHECK(unlink(folder) == 0 && rename(aside, folder) == 0);
}

/* Of another group than F. */
static struct files
far_account(struct place *p, const struct files *f)
{
	struct files other;

	do
		other = account_with_things(p);
	while (other.account.b[0] == f->account.b[0]);
	return other;
}

static void
a_folder_that_cannot_be_opened_costs_what_is_new_of_one_account(void **state)
{
	struct err e = { 0 };

	(void)state;
	for (enum folder which = OF_VAULT; which < FOLDERS; which++) {
		struct files f, other;
		struct place p;
		int64_t n;

		place_open(&p);
		f = account_with_things(&p);
		other = far_account(&p, &f);
		back_up(&p, 3, &n);
		put_big(&f, "b");
		put_big(&other, "b");
		for (unsigned is_bad = 1; is_bad <= 1; is_bad--) {
			_cleanup_manifest_ struct manifest m = { 0 }, before = { 0 };

			CHECK_OK(backup_manifest(p.folder, 0, &before, &e), &e);
			spoil_folder(&p, &f, which, is_bad);
			back_up(&p, 3, &n);
			CHECK(verify(&p) == ERR_NONE);
			CHECK_OK(backup_manifest(p.folder, 0, &m, &e), &e);
			if (is_bad)
				check_left_out(&m, &f, before.chunks + 1);
			else
				CHECK(!m.damaged && m.chunks == before.chunks + 1);
		}
		place_close(&p);
	}
}

static void
chunks_of_one_vault_are_named_once_and_a_failure_of_another_kind_is_none(void **state)
{
	_cleanup_manifest_ struct manifest m = { 0 };
	struct err e = { 0 };
	struct place p;
	struct files f;
	int64_t n;

	(void)state;
	place_open(&p);
	f = account_with_things(&p);
	put_big(&f, "b");
	chunks_fault_set(p.region.node.chunks, FAULT_FULL, 4, true);
	CHECK(has_failed(&p));
	chunks_fault_set(p.region.node.chunks, FAULT_FAIL, 4, true);
	back_up(&p, 1, &n);
	CHECK_OK(backup_manifest(p.folder, 0, &m, &e), &e);
	CHECK(m.damaged == 1 && m.n_damages == 1 && !m.chunks && verify(&p) == ERR_NONE);
	place_close(&p);
}

/* A byte behind the nonce of the store's only chunk is changed, and CUT bytes at its end are cut off. */
static void
damage_chunk(struct place *p, off_t cut)
{
	char pattern[600];
	glob_t found;
	struct stat st;
	uint8_t byte;
	int fd;

	snprintf(pattern, sizeof pattern, "%s/chunks/*/*/*", p->region.store.dir);
	CHECK(glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc == 1);
	fd = open(found.gl_pathv[0], O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0 && fstat(fd, &st) == 0 && pread(fd, &byte, 1, 20) == 1);
	byte ^= 1;
	CHECK(pwrite(fd, &byte, 1, 20) == 1 && ftruncate(fd, st.st_size - cut) == 0);
	close(fd);
	globfree(&found);
}

/* Whether the generation is as it was written; *CHUNK_BYTES of it. */
static bool
is_whole(struct place *p, uint32_t generation, uint64_t *chunk_bytes)
{
	_cleanup_manifest_ struct manifest m = { 0 };
	struct err e = { 0 };

	CHECK_OK(backup_manifest(p->folder, generation, &m, &e), &e);
	*chunk_bytes = m.chunk_bytes;
	return backup_verify(p->folder, &m, NULL, NULL, &e) == 0;
}

static void
a_chunk_that_a_backup_has_outlives_damage_of_the_store(void **state)
{
	uint64_t first, second;
	char path[700];
	struct place p;
	int64_t n;

	(void)state;
	place_open(&p);
	(void)account_with_things(&p);
	back_up(&p, 2, &n);
	damage_chunk(&p, 0);
	back_up(&p, 2, &n);
	CHECK(n < (int64_t)BIG && is_whole(&p, 1, &first) && is_whole(&p, 2, &second));
	CHECK(first == second);
	damage_chunk(&p, BIG / 2);
	back_up(&p, 2, &n);
	CHECK(n < (int64_t)BIG / 2 && is_whole(&p, 2, &first) && is_whole(&p, 3, &second));
	CHECK(first == second);
	/* The newest manifest is damaged: what the one before has is as good. */
	snprintf(path, sizeof path, "%s/generation-000003", p.folder);
	CHECK(truncate(path, 10) == 0);
	back_up(&p, 1, &n);
	CHECK(n < (int64_t)BIG / 2 && is_whole(&p, 4, &second) && first == second);
	place_close(&p);
}

/* Generation 1 of the region key is destroyed; the header of one vault says it all the same. */
static void
a_header_that_names_a_key_before_all_is_malformed(void **state)
{
	_cleanup_manifest_ struct manifest m = { 0 };
	struct vault_id id = { .service = SERVICE_FILES };
	_cleanup_buf_ struct buf h = BUF_INIT(0);
	struct err e = { 0 };
	struct place p;
	int64_t n;

	(void)state;
	place_open(&p);
	CHECK_OK(keys_add(p.region.node.keys, 2, &e), &e);
	CHECK_OK(keys_destroy_old(p.region.node.keys, &e), &e);
	(void)account_with_things(&p);
	id.account = account_with_things(&p).account;
	h = header_of(&p, &id);
	be32_put(h.data + 27, 1);
	put_record(&p, &id, "H", (struct span){ h.data, h.len });
	back_up(&p, 1, &n);
	CHECK_OK(backup_manifest(p.folder, 0, &m, &e), &e);
	CHECK(m.key_oldest == 2 && m.key_newest == 2 && m.damaged == 1 && m.n_damages == 1);
	CHECK(m.damages[0].kind == BACKUP_HEADER && !memcmp(&m.damages[0].id, &id, VAULT_ID_BYTES));
	CHECK_OK(backup_check_keys(p.folder, &m, p.region.node.keys, false, &e), &e);
	place_close(&p);
}

enum harm { CHANGED, CUT, REMOVED, HARMS };

static void
harm_object(struct place *p, const struct backup_object *o, enum harm how)
{
	char digest[2 * SHA256_BYTES + 1], path[800];
	uint8_t byte;
	int fd;

	hex_text(o->digest, SHA256_BYTES, digest);
	snprintf(path, sizeof path, "%s/objects/%.2s/%s", p->folder, digest, digest);
	fd = open(path, O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0 && pread(fd, &byte, 1, 20) == 1);
	byte ^= 1;
	if (how == CHANGED)
		CHECK(pwrite(fd, &byte, 1, 20) == 1);
	else if (how == CUT)
		CHECK(ftruncate(fd, 20) == 0);
	else
		CHECK(unlink(path) == 0);
	close(fd);
}

/* The newest one's list can't be trusted: the one before has the first chunk, and the second is copied anew. */
static void
a_damaged_list_of_the_backup_before_costs_a_copy_of_what_it_had(void **state)
{
	struct err e = { 0 };

	(void)state;
	for (enum harm how = CHANGED; how < HARMS; how++) {
		_cleanup_manifest_ struct manifest m = { 0 };
		struct place p;
		struct files f;
		int64_t n;

		place_open(&p);
		f = account_with_things(&p);
		back_up(&p, 3, &n);
		put_big(&f, "b");
		back_up(&p, 3, &n);
		CHECK_OK(backup_manifest(p.folder, 0, &m, &e), &e);
		CHECK(m.n_lists == 1);
		harm_object(&p, &m.lists[0], how);
		put_big(&f, "c");
		back_up(&p, 2, &n);
		CHECK(n > 2 * (int64_t)BIG && n < 3 * (int64_t)BIG);
		CHECK(verify(&p) == ERR_NONE);
		CHECK(backup_verify(p.folder, &m, NULL, NULL, &e) < 0);
		CHECK_STR(generations(&p), "2 3 ");
		back_up(&p, 1, &n);
		CHECK(n == 0 && verify(&p) == ERR_NONE);
		CHECK_STR(generations(&p), "4 ");
		place_close(&p);
	}
}

/* Nothing has changed in the store: each object would be as it was, and is written again. */
static void
a_damaged_object_of_a_backup_is_written_anew(void **state)
{
	_cleanup_manifest_ struct manifest m = { 0 };
	struct err e = { 0 };
	struct place p;
	int64_t n;

	(void)state;
	place_open(&p);
	(void)account_with_things(&p);
	back_up(&p, 3, &n);
	CHECK_OK(backup_manifest(p.folder, 0, &m, &e), &e);
	for (enum harm how = CHANGED; how < HARMS; how++) {
		harm_object(&p, &m.lists[0], how);
		harm_object(&p, &m.runs[m.n_runs - 1], how);
		CHECK(verify(&p) != ERR_NONE);
		back_up(&p, 3, &n);
		CHECK(n > 0 && verify(&p) == ERR_NONE);
		CHECK_OK(backup_verify(p.folder, &m, NULL, NULL, &e), &e);
	}
	place_close(&p);
}

static void
harm_chunk(struct place *p, enum harm how)
{
	char pattern[700];
	glob_t found;
	uint8_t byte;
	int fd;

	snprintf(pattern, sizeof pattern, "%s/chunks/*/*", p->folder);
	CHECK(glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc == 2);
	fd = open(found.gl_pathv[0], O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0 && pread(fd, &byte, 1, 70000) == 1);
	byte ^= 1;
	if (how == CHANGED)
		CHECK(pwrite(fd, &byte, 1, 70000) == 1);
	else if (how == CUT)
		CHECK(ftruncate(fd, 70000) == 0);
	else
		CHECK(unlink(found.gl_pathv[0]) == 0);
	close(fd);
	globfree(&found);
}

static void
open_other(struct place *p, struct restored *r, unsigned n)
{
	char engine[40], chunks[40];
	struct err e = { 0 };

	snprintf(engine, sizeof engine, "engine-%u", n);
	snprintf(chunks, sizeof chunks, "chunks-%u", n);
	r->engine = engine_rocksdb(check_path(p->region.store.dir, engine), 8 << 20, 8 << 20, &e);
	r->chunks = chunks_file(check_path(p->region.store.dir, chunks), 0, &e);
	CHECK(r->engine && r->chunks);
}

/* All that is not damaged is put back, if that is said; else nothing is begun with it. */
static void
damage_of_the_backup_itself_costs_what_is_damaged(void **state)
{
	(void)state;
	for (enum harm how = CHANGED; how < HARMS; how++) {
		_cleanup_manifest_ struct manifest m = { 0 };
		struct err e = { 0 };
		struct left left = { 0 };
		struct restored r;
		struct place p;
		int64_t bytes;
		struct files f;

		place_open(&p);
		f = account_with_things(&p);
		put_big(&f, "b");
		back_up(&p, 1, &bytes);
		CHECK_OK(backup_manifest(p.folder, 0, &m, &e), &e);
		harm_chunk(&p, how);
		open_other(&p, &r, 0);
		CHECK(backup_restore(p.folder, &m, r.engine, r.chunks, false, NULL, NULL, &e) < 0);
		restored_close(&r);
		open_other(&p, &r, 1);
		CHECK_OK(
		    backup_restore(p.folder, &m, r.engine, r.chunks, true, NULL, NULL, &e), &e);
		CHECK(has_same_records(&p, &r));
		CHECK(count_chunks(r.chunks, NULL) == (how == CHANGED ? 2 : 1));
		CHECK(m.damaged == 1 && !m.missing && m.n_damages == 1);
		CHECK(m.damages[0].kind == BACKUP_CHUNK &&
		    account_equal(&m.damages[0].id.account, &f.account));
		restored_close(&r);

		/* The list, too, and a run of records. */
		manifest_free(&m);
		CHECK_OK(backup_manifest(p.folder, 0, &m, &e), &e);
		harm_object(&p, &m.lists[0], how);
		open_other(&p, &r, 2);
		CHECK_OK(
		    backup_restore(p.folder, &m, r.engine, r.chunks, true, NULL, NULL, &e), &e);
		CHECK(has_same_records(&p, &r));
		CHECK(m.damaged == 1 && m.missing == 1 && m.damages[0].kind == BACKUP_MISSING);
		restored_close(&r);
		manifest_free(&m);
		CHECK_OK(backup_manifest(p.folder, 0, &m, &e), &e);
		harm_object(&p, &m.runs[0], how);
		open_other(&p, &r, 3);
		CHECK(backup_check_keys(p.folder, &m, p.region.node.keys, false, &e) < 0);
		CHECK_OK(backup_check_keys(p.folder, &m, p.region.node.keys, true, &e), &e);
		CHECK_OK(
		    backup_restore(p.folder, &m, r.engine, r.chunks, true, NULL, NULL, &e), &e);
		CHECK(m.damaged == 2 && m.missing == 2 && m.damages[1].kind == BACKUP_MISSING);
		left.damage = &m.damages[1];
		left.restored = r.engine;
		CHECK_OK(engine_each(p.region.node.engine, check_restored, NULL, &left, &e), &e);
		restored_close(&r);
		place_close(&p);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_malformed_header_is_kept_and_named),
		cmocka_unit_test(one_key_that_does_not_open_is_not_another_region_key),
		cmocka_unit_test(what_cannot_be_read_is_missing_and_all_else_is_there),
		cmocka_unit_test(an_incomplete_one_does_not_take_the_place_of_a_complete_one),
		cmocka_unit_test(a_chunk_that_cannot_be_read_is_left_out_and_named),
		cmocka_unit_test(a_folder_that_cannot_be_opened_costs_what_is_new_of_one_account),
		cmocka_unit_test(
		    chunks_of_one_vault_are_named_once_and_a_failure_of_another_kind_is_none),
		cmocka_unit_test(a_chunk_that_a_backup_has_outlives_damage_of_the_store),
		cmocka_unit_test(a_header_that_names_a_key_before_all_is_malformed),
		cmocka_unit_test(a_damaged_list_of_the_backup_before_costs_a_copy_of_what_it_had),
		cmocka_unit_test(a_damaged_object_of_a_backup_is_written_anew),
		cmocka_unit_test(damage_of_the_backup_itself_costs_what_is_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
