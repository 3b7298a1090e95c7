/* Every kind of damage to a vault is found and named; writers and movers are never mistaken for it. */
#include "service_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "sealed_fixture.h"
#include "service/files_refs.h"
#include "vault/inspect.h"

#define CHUNKY (5 * 1000 * 1000) /* two chunks */

static struct region r;
static struct files f;
static struct vault_id files_id;
static uint64_t paced;

static int
count_bytes(void *arg, uint64_t bytes, struct err *e)
{
	(void)arg, (void)e;
	paced += bytes;
	return 0;
}

static int
setup(void **state)
{
	uint8_t *p = noise(CHUNKY, 1);

	(void)state;
	region_open(&r, false);
	f = region_account(&r, ALL_SERVICES, NULL);
	files_id = (struct vault_id){ .account = f.account, .service = SERVICE_FILES };
	CHECK_OK(files_bucket_create(&f, "things", NULL), &(struct err){ .text = "bucket" });
	put(&f, "things", "large", p, CHUNKY);
	put(&f, "things", "small", p, 1000);
	put(&f, "things", "middle", p, 100000);
	free(p);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	region_close(&r);
	return 0;
}

static int
check_usage(void *arg, struct vault *v, struct err *e)
{
	(void)arg;
	return files_usage_check(v, NULL, e);
}

static struct inspection
inspect(void)
{
	const struct inspector in = {
		.pool = r.store.pool,
		.pace = count_bytes,
		.refs = files_refs,
		.rows = check_usage,
	};
	struct inspection out;
	struct err e = { 0 };

	if (inspect_vault(&in, &files_id, &out, &e) < 0)
		fail_msg("inspect_vault: %s", e.text);
	return out;
}

/* Nothing wrong and nothing left over. */
static bool
is_whole(void)
{
	struct inspection i = inspect();
	bool whole = !i.damages.n && !i.strays && !i.unnamed.len && !i.has_leftovers;

	for (unsigned k = 0; k < i.damages.n; k++)
		print_error("%s %" PRIu64 ": %s\n", damage_word(i.damages.all[k].kind),
		    i.damages.all[k].number, i.damages.all[k].why);
	if (i.strays || i.unnamed.len || i.has_leftovers)
		print_error("%" PRIu64 " strays, %zu unnamed, leftovers: %d\n", i.strays,
		    i.unnamed.len / CHUNK_NAME_BYTES, i.has_leftovers);
	inspection_free(&i);
	return whole;
}

/* The one thing that is found. */
static struct damage
found(void)
{
	struct inspection i = inspect();
	struct damage d = i.damages.all[0];

	if (i.damages.n != 1)
		fail_msg("%u damages", i.damages.n);
	inspection_free(&i);
	return d;
}

/* Let the vault be read from what is stored. */
static void
close_vault(void)
{
	pool_evict(r.store.pool, &files_id);
}

static void
checkpoint(void)
{
	struct vault *v;
	struct sealed *s;
	struct err e;

	close_vault();
	s = sealed_open(r.store.engine, r.store.keys, &files_id, SEALED_OWN, &e);
	CHECK(s);
	CHECK_OK(sealed_checkpoint(s, &e), &e);
	sealed_close(s);
	v = store_take(&r.store, &files_id);
	pool_give(v);
}

static void
what_nobody_has_touched_is_whole(void **state)
{
	(void)state;
	paced = 0;
	CHECK(is_whole());
	CHECK(paced > CHUNKY);
	checkpoint();
	CHECK(is_whole());
	close_vault();
	CHECK(is_whole());
}

/* --- records --- */

/* Each record of KIND in turn: HOW it is damaged, and found as WANT with its number or name. */
static void
each_record(char kind, enum damage_kind want, void (*how)(const struct raw_record *))
{
	struct raw_vault all = raw_take(r.store.engine, &files_id);
	unsigned n = 0;

	for (size_t i = 0; i < all.n; i++) {
		const struct raw_record *rec = &all.all[i];
		struct damage d;

		if (rec->key[0] != kind)
			continue;
		how(rec);
		d = found();
		CHECK(d.kind == want && d.service == SERVICE_FILES && *d.why);
		if (kind == 'P')
			CHECK(d.number == be32_get(rec->key + 1));
		if (kind == 'R')
			CHECK(d.number == be64_get(rec->key + 1));
		if (kind == 'C')
			CHECK_BYTES(d.name, rec->key + 1, CHUNK_NAME_BYTES);
		raw_put(r.store.engine, &files_id, rec, rec->value, rec->len);
		n++;
	}
	CHECK(n);
	CHECK(is_whole());
	raw_free(&all);
}

static void
flip(const struct raw_record *rec)
{
	uint8_t *p = malloc(rec->len);

	memcpy(p, rec->value, rec->len);
	p[rec->len - 20] ^= 1;
	raw_put(r.store.engine, &files_id, rec, p, rec->len);
	free(p);
}

static void
cut(const struct raw_record *rec)
{
	raw_put(r.store.engine, &files_id, rec, rec->value, rec->len - 1);
}

static void
take_away(const struct raw_record *rec)
{
	raw_put(r.store.engine, &files_id, rec, NULL, 0);
}

static void
every_record_that_is_altered_is_found(void **state)
{
	(void)state;
	each_record('R', DAMAGE_REDO, flip);
	each_record('C', DAMAGE_ENTRY, flip);
	each_record('H', DAMAGE_HEADER, flip);
	checkpoint();
	each_record('P', DAMAGE_PAGE, flip);
}

static void
every_record_that_is_cut_off_is_found(void **state)
{
	(void)state;
	each_record('R', DAMAGE_REDO, cut);
	each_record('C', DAMAGE_ENTRY, cut);
	each_record('H', DAMAGE_HEADER, cut);
	checkpoint();
	each_record('P', DAMAGE_PAGE, cut);
}

static void
every_record_that_is_missing_is_found(void **state)
{
	struct raw_vault all;
	struct raw_record *entry;
	struct damage d;

	(void)state;
	each_record('R', DAMAGE_REDO, take_away);
	checkpoint();
	each_record('P', DAMAGE_PAGE, take_away);

	/* An entry that is not there has no name to be told by. */
	all = raw_take(r.store.engine, &files_id);
	entry = raw_find(&all, 'C', 0);
	take_away(entry);
	d = found();
	CHECK(d.kind == DAMAGE_ENTRY);
	raw_put(r.store.engine, &files_id, entry, entry->value, entry->len);
	CHECK(is_whole());
	raw_free(&all);
}

static void
an_older_valid_page_put_back_is_found(void **state)
{
	struct raw_vault before, now;
	struct raw_record *old, *new = NULL;
	uint32_t number = 0;
	struct damage d;

	(void)state;
	checkpoint();
	before = raw_take(r.store.engine, &files_id);
	put(&f, "things", "another", "x", 1);
	checkpoint();
	now = raw_take(r.store.engine, &files_id);
	for (size_t i = 0; i < before.n && !number; i++) {
		if (before.all[i].key[0] != 'P')
			continue;
		new = raw_find(&now, 'P', be32_get(before.all[i].key + 1));
		if (new->len != before.all[i].len ||
		    memcmp(new->value, before.all[i].value, new->len) != 0)
			number = be32_get(before.all[i].key + 1);
	}
	CHECK(number);
	old = raw_find(&before, 'P', number);
	raw_put(r.store.engine, &files_id, new, old->value, old->len);
	d = found();
	CHECK(d.kind == DAMAGE_PAGE && d.number == 0);
	raw_put(r.store.engine, &files_id, new, new->value, new->len);
	CHECK(is_whole());
	raw_free(&before);
	raw_free(&now);
}

static void
several_damaged_records_are_all_told(void **state)
{
	struct raw_vault all;
	struct inspection i;
	unsigned n = 0;

	(void)state;
	checkpoint();
	all = raw_take(r.store.engine, &files_id);
	for (size_t k = 0; k < all.n; k++)
		if (all.all[k].key[0] == 'P' && ++n)
			flip(&all.all[k]);
	i = inspect();
	CHECK(n > 2 && i.damages.n == n && !i.damages.more);
	CHECK(i.chunks == 3); /* those are read all the same */
	inspection_free(&i);
	raw_restore(r.store.engine, &files_id, &all);
	raw_free(&all);
}

/* --- chunks --- */

struct chunk_files {
	struct chunk_name names[16];
	size_t n;
};

static int
collect_file(void *arg, const struct vault_id *id, const struct chunk_name *name, uint64_t bytes,
    struct err *e)
{
	struct chunk_files *c = arg;

	(void)id, (void)bytes, (void)e;
	CHECK(c->n < ARRAY_LEN(c->names));
	c->names[c->n++] = *name;
	return 0;
}

static struct chunk_files
chunk_files(const struct vault_id *id)
{
	struct chunk_files c = { .n = 0 };
	struct err e;

	CHECK_OK(chunks_list(r.store.chunks, id, collect_file, &c, &e), &e);
	return c;
}

static const char *
chunk_file(const struct vault_id *id, const struct chunk_name *name)
{
	static char path[4][600];
	static unsigned turn;
	char account[ACCOUNT_TEXT_SIZE], hex[2 * CHUNK_NAME_BYTES + 1];
	char *out = path[turn++ % 4];

	account_text(&id->account, account);
	hex_text(name->b, sizeof(name->b), hex);
	snprintf(out, sizeof(path[0]), "%s/chunks/%.2s/%s.%u/%s", r.store.dir, account, account,
	    id->service, hex);
	return out;
}

static void
flip_file(const char *path, off_t at)
{
	int fd = open(path, O_RDWR);
	uint8_t b;

	CHECK(fd >= 0 && pread(fd, &b, 1, at) == 1);
	b ^= 1;
	CHECK(pwrite(fd, &b, 1, at) == 1);
	close(fd);
}

/* The damage that is found is that of the chunk NAME and says which row. */
static void
is_found(const struct chunk_name *name)
{
	struct damage d = found();

	CHECK(d.kind == DAMAGE_CHUNK && d.row > 0 && *d.why);
	CHECK_BYTES(d.name, name->b, CHUNK_NAME_BYTES);
}

static void
every_chunk_that_is_damaged_is_found_and_its_row_named(void **state)
{
	struct chunk_files c = chunk_files(&files_id);

	(void)state;
	CHECK(c.n == 3);
	for (size_t i = 0; i < c.n; i++) {
		const char *path = chunk_file(&files_id, &c.names[i]);
		const char *other = chunk_file(&files_id, &c.names[(i + 1) % c.n]);
		char aside[620], away[620];
		struct stat st;

		CHECK(stat(path, &st) == 0);
		flip_file(path, st.st_size - 1);
		is_found(&c.names[i]);
		flip_file(path, st.st_size - 1);
		flip_file(path, 0);
		is_found(&c.names[i]);
		flip_file(path, 0);
		CHECK(is_whole());

		snprintf(aside, sizeof(aside), "%s.aside", path);
		CHECK(rename(path, aside) == 0);
		is_found(&c.names[i]); /* missing */
		snprintf(away, sizeof(away), "%s.away", other);
		CHECK(link(other, path) == 0);
		is_found(&c.names[i]); /* another valid one in its place */
		CHECK(rename(aside, path) == 0);
		CHECK(is_whole());
	}
}

static void
a_chunk_that_is_cut_off_or_longer_is_found(void **state)
{
	struct chunk_files c = chunk_files(&files_id);
	const char *path = chunk_file(&files_id, &c.names[0]);
	struct stat st;
	uint8_t last;
	int fd = open(path, O_RDWR);

	(void)state;
	CHECK(fd >= 0 && fstat(fd, &st) == 0 && pread(fd, &last, 1, st.st_size - 1) == 1);
	CHECK(ftruncate(fd, st.st_size - 1) == 0);
	is_found(&c.names[0]);
	CHECK(pwrite(fd, &last, 1, st.st_size - 1) == 1);
	CHECK(is_whole());
	CHECK(ftruncate(fd, st.st_size + 1) == 0);
	is_found(&c.names[0]);
	CHECK(ftruncate(fd, st.st_size) == 0);
	close(fd);
	CHECK(is_whole());
}

static void
another_accounts_chunk_in_its_place_is_found(void **state)
{
	struct files other = region_account(&r, ALL_SERVICES, NULL);
	struct vault_id other_id = { .account = other.account, .service = SERVICE_FILES };
	struct chunk_files mine = chunk_files(&files_id), theirs;
	uint8_t *p = noise(100000, 1);
	char aside[620];
	const char *path;

	(void)state;
	CHECK_OK(files_bucket_create(&other, "things", NULL), &(struct err){ .text = "bucket" });
	put(&other, "things", "same", p, 100000);
	free(p);
	theirs = chunk_files(&other_id);
	CHECK(theirs.n == 1);
	path = chunk_file(&files_id, &mine.names[0]);
	snprintf(aside, sizeof(aside), "%s.aside", path);
	CHECK(rename(path, aside) == 0);
	CHECK(link(chunk_file(&other_id, &theirs.names[0]), path) == 0);
	is_found(&mine.names[0]);
	CHECK(rename(aside, path) == 0);
	CHECK(is_whole());
}

/* --- references and leftovers --- */

static void
run_sql(const char *sql)
{
	struct vault *v = store_take(&r.store, &files_id);
	uint64_t ticket;
	struct err e;

	CHECK_OK(vault_begin(v, &e), &e);
	CHECK_OK(query_run(vault_query(v, sql), &e), &e);
	CHECK_OK(vault_commit(v, &ticket, &e), &e);
	pool_give(v);
}

static void
a_row_that_names_a_chunk_without_an_entry_is_found(void **state)
{
	struct damage d;

	(void)state;
	run_sql("INSERT INTO body(id,chunks) VALUES(777, zeroblob(56))");
	d = found();
	CHECK(d.kind == DAMAGE_REFERENCE && d.row == 777);
	run_sql("UPDATE body SET chunks=zeroblob(55) WHERE id=777");
	d = found();
	CHECK(d.kind == DAMAGE_REFERENCE && d.row == 777);
	run_sql("DELETE FROM body WHERE id=777");
	CHECK(is_whole());
	run_sql("INSERT INTO body(id,chunks) SELECT 778,chunks FROM body"
	        " WHERE length(chunks)=56 LIMIT 1");
	d = found();
	CHECK(d.kind == DAMAGE_REFERENCE);
	run_sql("DELETE FROM body WHERE id=778");
	CHECK(is_whole());
}

static void
entries_that_no_row_names_are_told_and_dropped(void **state)
{
	const struct inspector in = {
		.pool = r.store.pool, .pace = count_bytes, .refs = files_refs
	};
	uint64_t dropped = 0, ticket = 0;
	struct inspection i;
	struct err e;

	(void)state;
	run_sql("UPDATE body SET chunks=NULL WHERE length(chunks)=56");
	i = inspect();
	CHECK(!i.damages.n && i.unnamed.len == CHUNK_NAME_BYTES);
	CHECK_OK(inspect_drop_unnamed(&in, &files_id,
	             (struct span){ i.unnamed.data, i.unnamed.len }, &dropped, &ticket, &e),
	    &e);
	CHECK(dropped == 1);
	inspection_free(&i);
	f.ticket = ticket;
	CHECK(chunks_become(&f, SERVICE_FILES, 2));
	CHECK(is_whole());
}

static void
what_a_row_names_again_is_not_dropped(void **state)
{
	const struct inspector in = {
		.pool = r.store.pool, .pace = count_bytes, .refs = files_refs
	};
	struct chunk_files c = chunk_files(&files_id);
	uint64_t dropped = 0, ticket = 0;
	struct err e;

	(void)state;
	CHECK_OK(inspect_drop_unnamed(&in, &files_id,
	             (struct span){ (const uint8_t *)c.names, c.n * CHUNK_NAME_BYTES }, &dropped,
	             &ticket, &e),
	    &e);
	CHECK(dropped == 0);
	CHECK(is_whole());
}

static void
files_without_an_entry_are_strays_unless_they_are_being_written(void **state)
{
	struct vault *v = store_take(&r.store, &files_id);
	struct content_key *key = vault_content_key(v);
	uint8_t *p = noise(CHUNKY, 2);
	struct chunk_ref *refs = NULL;
	struct content_out *o;
	struct inspection i;
	struct upload *u;
	struct err e;
	size_t n = 0;

	(void)state;
	pool_give(v);
	u = upload_begin(&f, "things", &e);
	CHECK(u);
	CHECK_OK(upload_add(u, p, CHUNKY, &e), &e);
	CHECK(is_whole());
	CHECK_OK(upload_settle(u, &e), &e);
	CHECK(is_whole());
	upload_close(u);
	CHECK(is_whole());

	/* As a crash leaves them: nobody claims them any more. */
	o = content_begin(r.store.chunks, key, &e);
	CHECK(o);
	CHECK_OK(content_add(o, p, CHUNKY, &e), &e);
	CHECK_OK(content_finish(o, &refs, &n, &e), &e);
	CHECK(n == 2);
	free(refs);
	content_close(o);
	content_key_unref(key);
	i = inspect();
	CHECK(!i.damages.n && i.strays == 2);
	inspection_free(&i);
	free(p);
}

/* --- no false alarm --- */

struct busy {
	_Atomic bool stop;
	_Atomic unsigned rounds;
};

static void *
write_and_drop(void *arg)
{
	struct busy *b = arg;
	uint8_t *p = noise(300000, 3);
	struct files own = f;
	char key[16];

	for (unsigned i = 0; !b->stop; i++) {
		struct err e = { 0 };

		snprintf(key, sizeof(key), "k%u", i % 5);
		put(&own, "things", key, p, i % 3 ? 1000 : 300000);
		if (i % 4 == 0)
			CHECK_OK(files_remove(&own, "things", key, &e), &e);
		b->rounds++;
	}
	free(p);
	return NULL;
}

static bool
has_strays(void)
{
	struct inspection i = inspect();

	inspection_free(&i);
	return i.strays;
}

static void
writers_are_not_taken_for_damage(void **state)
{
	struct busy b = { .stop = false };
	pthread_t thread;
	struct err e;

	(void)state;
	CHECK(pthread_create(&thread, NULL, write_and_drop, &b) == 0);
	for (unsigned i = 0; i < 40 || b.rounds < 3000; i++) {
		struct inspection found_here = inspect();

		for (unsigned k = 0; k < found_here.damages.n; k++)
			print_error("%s: %s\n", damage_word(found_here.damages.all[k].kind),
			    found_here.damages.all[k].why);
		CHECK(!found_here.damages.n && !found_here.unnamed.len);
		inspection_free(&found_here);
	}
	b.stop = true;
	CHECK(pthread_join(thread, NULL) == 0);
	/* What it dropped last is removed when the disk has it. */
	CHECK_OK(flusher_wait(r.store.flusher, flusher_ticket(r.store.flusher), &e), &e);
	for (unsigned i = 0; i < 3000 && has_strays(); i++)
		usleep(10000);
	CHECK(is_whole());
}

/* The engine can't read a record: told as damage of that kind, and the rest is read. */
static void
what_the_engine_can_not_read_is_told(void **state)
{
	const struct inspector in = {
		.pool = r.store.pool, .pace = count_bytes, .refs = files_refs
	};
	struct inspection i;
	struct err e = { 0 };
	int rc;

	(void)state;
	for (unsigned nth = 1; nth < 12; nth++) {
		bool fired;

		engine_fault_set(r.store.engine, FAULT_FAIL, nth, true, true, 0);
		rc = inspect_vault(&in, &files_id, &i, &e);
		fired = engine_fault_fired(r.store.engine);
		engine_fault_set(r.store.engine, FAULT_NONE, 0, true, false, 0);
		CHECK(!fired || rc < 0 || i.damages.n);
		inspection_free(&i);
		CHECK(is_whole());
	}
}

int
main(void)
{
#define IT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		IT(what_nobody_has_touched_is_whole),
		IT(every_record_that_is_altered_is_found),
		IT(every_record_that_is_cut_off_is_found),
		IT(every_record_that_is_missing_is_found),
		IT(an_older_valid_page_put_back_is_found),
		IT(several_damaged_records_are_all_told),
		IT(every_chunk_that_is_damaged_is_found_and_its_row_named),
		IT(a_chunk_that_is_cut_off_or_longer_is_found),
		IT(another_accounts_chunk_in_its_place_is_found),
		IT(a_row_that_names_a_chunk_without_an_entry_is_found),
		IT(entries_that_no_row_names_are_told_and_dropped),
		IT(what_a_row_names_again_is_not_dropped),
		IT(files_without_an_entry_are_strays_unless_they_are_being_written),
		IT(writers_are_not_taken_for_damage),
		IT(what_the_engine_can_not_read_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
