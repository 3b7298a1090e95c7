/* The store: what was committed is read, and a copy is the same. */
#include "sealed_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

/* --- the store against a model ------------------------------------------------------------- */

#define MODEL_PAGES  40
#define MODEL_CHUNKS 8

struct model {
	uint8_t pages[MODEL_PAGES][PAGE_BYTES];
	uint32_t count;
	struct chunk_ref chunks[MODEL_CHUNKS];
	bool has[MODEL_CHUNKS];
	uint64_t version;
};

static void
create(struct fixture *f, uint32_t n, struct model *m)
{
	memset(m, 0, sizeof(*m));
	fixture_create(f, n, m->pages);
	m->count = n;
	m->version = 1;
}

static void
change_pages(struct sealed *s, struct model *m)
{
	unsigned n = random_below(6);
	struct err e;

	if (random_below(8) == 0) { /* shorter; whatever grows again is written or zeros */
		m->count = 1 + random_below(m->count);
		memset(m->pages[m->count], 0, (MODEL_PAGES - m->count) * PAGE_BYTES);
		sealed_put_page_count(s, m->count);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		uint32_t k = random_below(m->count + 3);
		uint32_t at = random_below(PAGE_BYTES - 8);

		if (k >= MODEL_PAGES)
			continue;
		if (k >= m->count)
			m->count = k + 1;
		if (random_below(4))
			random_bytes(m->pages[k] + at, 8);
		else
			fill_page(m->pages[k], random_below(3));
		CHECK_OK(sealed_put_page(s, k + 1, m->pages[k], &e), &e);
	}
}

static void
change_chunks(struct sealed *s, struct model *m)
{
	uint32_t i = random_below(MODEL_CHUNKS);
	struct err e;

	if (m->has[i]) {
		CHECK_OK(sealed_drop_chunk(s, m->chunks[i].name, &e), &e);
	} else {
		random_bytes((uint8_t *)&m->chunks[i], sizeof(m->chunks[i]));
		CHECK_OK(sealed_put_chunk(s, &m->chunks[i], &e), &e);
	}
	m->has[i] = !m->has[i];
}

struct chunk_check {
	const struct model *m;
	unsigned n;
	uint8_t last[16];
};

static int
check_chunk(void *arg, const struct chunk_ref *c, struct err *e)
{
	struct chunk_check *k = arg;
	bool found = false;

	(void)e;
	CHECK(!k->n || memcmp(k->last, c->name, 16) < 0);
	memcpy(k->last, c->name, 16);
	k->n++;
	for (unsigned i = 0; i < MODEL_CHUNKS; i++)
		found |= k->m->has[i] && memcmp(c->name, k->m->chunks[i].name, 16) == 0 &&
		    c->bytes == k->m->chunks[i].bytes &&
		    memcmp(c->digest, k->m->chunks[i].digest, 32) == 0;
	CHECK(found);
	return 0;
}

static void
check_model(struct sealed *s, const struct model *m)
{
	struct chunk_check k = { .m = m };
	uint8_t page[PAGE_BYTES];
	struct sealed_info info;
	unsigned chunks = 0;
	struct err e;

	sealed_get_info(s, &info);
	CHECK(info.page_count == m->count);
	CHECK(info.version == m->version);
	CHECK(info.epoch == 3);
	for (uint32_t i = 0; i < MODEL_PAGES; i++) {
		CHECK_OK(sealed_read(s, i + 1, page, &e), &e);
		CHECK_BYTES(page, m->pages[i], PAGE_BYTES);
	}
	for (unsigned i = 0; i < MODEL_CHUNKS; i++)
		chunks += m->has[i];
	CHECK_OK(sealed_chunks(s, check_chunk, &k, &e), &e);
	CHECK(k.n == chunks);
}

static void
check_roots(struct fixture *f, struct sealed *s, const struct model *m)
{
	_cleanup_(sealed_closep) struct sealed *reader = must_open(f, SEALED_READ);
	uint8_t one[SHA256_BYTES], two[SHA256_BYTES];

	check_model(reader, m);
	CHECK_OK(sealed_verify(s, &f->e), &f->e);
	CHECK_OK(sealed_verify(reader, &f->e), &f->e);
	CHECK_OK(sealed_root(s, one, &f->e), &f->e);
	CHECK_OK(sealed_root(reader, two, &f->e), &f->e);
	CHECK_BYTES(one, two, sizeof(one));
}

static void
commit_model(struct fixture *f, struct sealed *s, struct model *m)
{
	struct sealed_info before, after;

	sealed_get_info(s, &before);
	CHECK_OK(sealed_commit(s, &f->e), &f->e);
	sealed_get_info(s, &after);
	CHECK(after.version == before.version || after.version == before.version + 1);
	m->version = after.version;
}

static void
a_store_reads_what_was_committed(void **state)
{
	struct fixture *f = *state;
	static struct model m;
	uint8_t before[SHA256_BYTES], after[SHA256_BYTES];
	struct sealed *s;

	create(f, 5, &m);
	s = must_open(f, SEALED_OWN);
	check_model(s, &m);
	for (unsigned i = 0; i < 400; i++) {
		change_pages(s, &m);
		if (random_below(3) == 0)
			change_chunks(s, &m);
		commit_model(f, s, &m);
		if (random_below(10) == 0) {
			CHECK_OK(sealed_root(s, before, &f->e), &f->e);
			CHECK_OK(sealed_checkpoint(s, &f->e), &f->e);
			CHECK_OK(sealed_root(s, after, &f->e), &f->e);
			CHECK_BYTES(before, after, sizeof(before));
		}
		if (random_below(10) == 0) {
			sealed_close(s);
			s = must_open(f, SEALED_OWN);
		}
		if (i % 5 == 0) {
			check_model(s, &m);
			check_roots(f, s, &m);
		}
	}
	sealed_close(s);
}

static void
pending_pages_are_seen_until_they_are_forgotten(void **state)
{
	struct fixture *f = *state;
	static struct model m;
	_cleanup_(sealed_closep) struct sealed *s = NULL;
	uint8_t page[PAGE_BYTES], out[PAGE_BYTES];
	struct chunk_ref c = { .bytes = 1 };

	create(f, 3, &m);
	s = must_open(f, SEALED_OWN);
	fill_page(page, 1);
	CHECK_OK(sealed_put_page(s, 6, page, &f->e), &f->e);
	CHECK_OK(sealed_put_chunk(s, &c, &f->e), &f->e);
	CHECK(sealed_put_chunk(s, &c, &f->e) < 0 && f->e.kind == ERR_EXISTS);
	CHECK(sealed_pending_page_count(s) == 6);
	CHECK_OK(sealed_read_pending(s, 6, out, &f->e), &f->e);
	CHECK_BYTES(out, page, PAGE_BYTES);
	CHECK_OK(sealed_read_pending(s, 5, out, &f->e), &f->e);
	CHECK_BYTES(out, m.pages[10], PAGE_BYTES);
	sealed_forget_pending(s);
	CHECK(sealed_pending_page_count(s) == 3);
	CHECK_OK(sealed_commit(s, &f->e), &f->e);
	check_model(s, &m);
	CHECK(sealed_drop_chunk(s, c.name, &f->e) < 0 && f->e.kind == ERR_MISSING);
}

static void
there_is_one_vault_or_none(void **state)
{
	struct fixture *f = *state;
	struct page_template t = { 0 };

	CHECK(!sealed_open(f->g, f->keys, &f->id, SEALED_OWN, &f->e));
	CHECK(f->e.kind == ERR_MISSING);
	fixture_create(f, 2, NULL);
	CHECK(sealed_create(f->g, f->keys, &f->id, 3, &t, &f->e) < 0);
	CHECK(f->e.kind == ERR_EXISTS);
	CHECK(!sealed_import(f->g, f->keys, &f->id, 4, 1, 1, &f->e));
	CHECK(f->e.kind == ERR_EXISTS);
}

static void
a_former_owner_can_not_commit(void **state)
{
	struct fixture *f = *state;
	static struct model m;
	_cleanup_(sealed_closep) struct sealed *old = NULL, *new = NULL, *reader = NULL;
	uint8_t page[PAGE_BYTES];

	create(f, 3, &m);
	old = must_open(f, SEALED_OWN);
	new = must_open(f, SEALED_OWN);
	random_bytes(page, sizeof(page));
	CHECK_OK(sealed_put_page(old, 1, page, &f->e), &f->e);
	CHECK(sealed_commit(old, &f->e) < 0);
	CHECK(f->e.kind == ERR_STALE);
	CHECK(sealed_read(old, 1, page, &f->e) < 0);
	CHECK(f->e.kind == ERR_IO); /* broken from then on */
	CHECK(sealed_commit(old, &f->e) < 0 && f->e.kind == ERR_IO);
	check_model(new, &m);
	CHECK_OK(sealed_put_page(new, 1, page, &f->e), &f->e);
	CHECK_OK(sealed_commit(new, &f->e), &f->e);
	reader = must_open(f, SEALED_READ);
	CHECK(sealed_put_page(reader, 1, page, &f->e) < 0);
	CHECK(sealed_commit(reader, &f->e) < 0);
}

/* --- export and import --------------------------------------------------------------------- */

struct carry {
	struct sealed *to;
	uint64_t last;
	unsigned pages, entries;
};

static int
carry_page(void *arg, uint32_t number, uint64_t version, const uint8_t *plain, struct err *e)
{
	struct carry *c = arg;

	c->pages++;
	return sealed_import_page(c->to, number, version, plain, e);
}

static int
carry_chunk(void *arg, const struct chunk_ref *ref, struct err *e)
{
	return sealed_import_chunk(((struct carry *)arg)->to, ref, e);
}

static int
carry_entry(void *arg, uint64_t version, const uint8_t *plain, size_t n, struct err *e)
{
	struct carry *c = arg;

	CHECK(version == c->last + 1);
	c->last = version;
	c->entries++;
	return sealed_import_entry(c->to, version, plain, n, e);
}

static void
check_same_root(struct fixture *f, struct sealed *a, struct sealed *b)
{
	uint8_t one[SHA256_BYTES], two[SHA256_BYTES];

	CHECK_OK(sealed_root(a, one, &f->e), &f->e);
	CHECK_OK(sealed_root(b, two, &f->e), &f->e);
	CHECK_BYTES(one, two, sizeof(one));
}

/* Everything of the owner's vault, which goes on changing. Returns the importing store. */
static void
carry_all(struct fixture *f, struct sealed *owner, struct model *m, struct fixture *there)
{
	_cleanup_(sealed_closep) struct sealed *from = must_open(f, SEALED_READ);
	_cleanup_(sealed_closep) struct sealed *to = NULL;
	struct carry c = { 0 };
	struct sealed_info info;

	sealed_get_info(from, &info);
	to = sealed_import(
	    there->g, there->keys, &f->id, 3, info.base, info.base_page_count, &f->e);
	CHECK(to);
	c.to = to;
	c.last = info.base;
	CHECK_OK(sealed_export_pages(from, carry_page, &c, &f->e), &f->e);
	CHECK(c.pages == info.base_page_count);
	CHECK_OK(sealed_chunks(from, carry_chunk, &c, &f->e), &f->e);
	for (unsigned round = 0; round < 6; round++) {
		CHECK_OK(sealed_export_entries(from, c.last, carry_entry, &c, &f->e), &f->e);
		CHECK_OK(sealed_import_write(to, &f->e), &f->e);
		check_model(from, m);
		check_model(to, m);
		check_same_root(f, from, to);
		check_same_root(f, owner, to);
		for (unsigned i = 0; i < round * 3 && round < 5; i++) {
			change_pages(owner, m);
			change_chunks(owner, m);
			commit_model(f, owner, m);
		}
	}
	CHECK(!sealed_open(there->g, there->keys, &f->id, SEALED_OWN, &f->e));
	CHECK(f->e.kind == ERR_BUSY);
	CHECK_OK(sealed_import_finish(to, &f->e), &f->e);
	check_same_root(f, owner, to);
}

static void
an_import_has_the_root_of_its_export_while_commits_go_on(void **state)
{
	struct fixture *f = *state;
	static struct model m;
	struct sealed *owner, *s;

	create(f, 7, &m);
	for (unsigned i = 0; i < 12; i++) {
		void *there_state;
		struct fixture *there;

		fixture_setup(&there_state);
		there = there_state;
		there->id = f->id;
		owner = must_open(f, SEALED_OWN);
		for (unsigned k = 0; k < i; k++) {
			change_pages(owner, &m);
			change_chunks(owner, &m);
			commit_model(f, owner, &m);
		}
		if (i % 2)
			CHECK_OK(sealed_checkpoint(owner, &f->e), &f->e);
		carry_all(f, owner, &m, there);
		s = must_open(there, SEALED_OWN);
		check_model(s, &m);
		CHECK_OK(sealed_verify(s, &f->e), &f->e);
		check_same_root(f, owner, s);
		CHECK_OK(sealed_checkpoint(s, &f->e), &f->e);
		check_same_root(f, owner, s);
		sealed_close(s);
		sealed_close(owner);
		fixture_teardown(&there_state);
	}
}

struct busy_owner {
	struct sealed *s;
	unsigned commits;
	bool checkpoints;
	_Atomic bool is_done;
};

static void *
keep_committing(void *arg)
{
	struct busy_owner *o = arg;
	uint8_t page[PAGE_BYTES] = { 0 };
	struct chunk_ref c = { .bytes = 1 };
	struct err e;

	for (unsigned i = 0; i < o->commits; i++) {
		be32_put(page + i * 8 % 4000, i);
		be32_put(c.name, i);
		CHECK_OK(sealed_put_page(o->s, 1 + i % 30, page, &e), &e);
		if (i % 50 == 0)
			CHECK_OK(sealed_put_chunk(o->s, &c, &e), &e);
		CHECK_OK(sealed_commit(o->s, &e), &e);
		if (o->checkpoints && i % 20 == 0)
			CHECK_OK(sealed_checkpoint(o->s, &e), &e);
	}
	o->is_done = true;
	return NULL;
}

static void
an_export_follows_an_owner_in_another_thread(void **state)
{
	struct fixture *f = *state;
	struct busy_owner o = { .commits = 3000 };
	_cleanup_(sealed_closep) struct sealed *from = NULL, *to = NULL;
	struct fixture *there;
	void *there_state;
	struct sealed_info info;
	struct carry c = { 0 };
	pthread_t thread;
	bool is_last;

	fixture_setup(&there_state);
	there = there_state;
	fixture_create(f, 4, NULL);
	o.s = must_open(f, SEALED_OWN);
	CHECK(pthread_create(&thread, NULL, keep_committing, &o) == 0);
	from = must_open(f, SEALED_READ);
	sealed_get_info(from, &info);
	to = sealed_import(
	    there->g, there->keys, &f->id, 3, info.base, info.base_page_count, &f->e);
	CHECK(to);
	c = (struct carry){ .to = to, .last = info.base };
	CHECK_OK(sealed_export_pages(from, carry_page, &c, &f->e), &f->e);
	CHECK_OK(sealed_chunks(from, carry_chunk, &c, &f->e), &f->e);
	do {
		is_last = o.is_done;
		CHECK_OK(sealed_export_entries(from, c.last, carry_entry, &c, &f->e), &f->e);
	} while (!is_last);
	pthread_join(thread, NULL);
	CHECK(c.last == 3001);
	CHECK_OK(sealed_import_finish(to, &f->e), &f->e);
	check_same_root(f, from, to);
	check_same_root(f, o.s, to);
	sealed_close(o.s);
	sealed_close(take(&to));
	fixture_teardown(&there_state);
}

static void
a_reader_opens_while_the_owner_writes_checkpoints(void **state)
{
	struct fixture *f = *state;
	struct busy_owner o = { .commits = 3000, .checkpoints = true };
	pthread_t thread;

	fixture_create(f, 4, NULL);
	o.s = must_open(f, SEALED_OWN);
	CHECK(pthread_create(&thread, NULL, keep_committing, &o) == 0);
	while (!o.is_done) {
		struct sealed *s = sealed_open(f->g, f->keys, &f->id, SEALED_READ, &f->e);

		/* After many tries it may give up, but it never cries forgery. */
		CHECK(s || f->e.kind == ERR_STALE);
		CHECK(!s || sealed_verify(s, &f->e) == 0 || f->e.kind == ERR_STALE);
		sealed_close(s);
	}
	pthread_join(thread, NULL);
	sealed_close(o.s);
}

static void
an_export_says_so_when_the_owner_wrote_a_checkpoint(void **state)
{
	struct fixture *f = *state;
	static struct model m;
	_cleanup_(sealed_closep) struct sealed *owner = NULL, *from = NULL;

	create(f, 7, &m);
	owner = must_open(f, SEALED_OWN);
	commit_random(f, owner, 1);
	from = must_open(f, SEALED_READ);
	CHECK_OK(sealed_checkpoint(owner, &f->e), &f->e);
	CHECK(sealed_export_pages(from, NULL, NULL, &f->e) < 0);
	CHECK(f->e.kind == ERR_STALE);
	CHECK(sealed_export_entries(from, 1, NULL, NULL, &f->e) < 0);
	CHECK(f->e.kind == ERR_STALE);
	CHECK(sealed_export_entries(from, 9, NULL, NULL, &f->e) < 0);
	CHECK(f->e.kind == ERR_BAD);
}

static void
an_import_refuses_what_comes_out_of_order(void **state)
{
	struct fixture *f = *state;
	struct sealed *to = sealed_import(f->g, f->keys, &f->id, 3, 10, 2, &f->e);
	static const uint8_t entry[16] = { 0, 0, 0, 2 }, page[PAGE_BYTES];
	struct chunk_ref c = { .bytes = 1 };

	CHECK(to);
	CHECK(sealed_import_page(to, 2, 1, page, &f->e) < 0 && f->e.kind == ERR_BAD);
	CHECK(sealed_import_chunk(to, &c, &f->e) < 0 && f->e.kind == ERR_BAD);
	CHECK(sealed_import_entry(to, 11, entry, 16, &f->e) < 0 && f->e.kind == ERR_BAD);
	CHECK(sealed_import_finish(to, &f->e) < 0 && f->e.kind == ERR_BAD);
	CHECK_OK(sealed_import_page(to, 1, 1, page, &f->e), &f->e);
	CHECK(sealed_import_page(to, 1, 1, page, &f->e) < 0 && f->e.kind == ERR_BAD);
	CHECK_OK(sealed_import_page(to, 2, 9, page, &f->e), &f->e);
	CHECK(sealed_import_page(to, 3, 1, page, &f->e) < 0 && f->e.kind == ERR_BAD);
	CHECK_OK(sealed_import_chunk(to, &c, &f->e), &f->e);
	CHECK(sealed_import_chunk(to, &c, &f->e) < 0 && f->e.kind == ERR_BAD);
	CHECK(sealed_import_entry(to, 12, entry, 16, &f->e) < 0 && f->e.kind == ERR_BAD);
	CHECK_OK(sealed_import_entry(to, 11, entry, 16, &f->e), &f->e);
	CHECK(sealed_import_entry(to, 11, entry, 16, &f->e) < 0 && f->e.kind == ERR_BAD);
	CHECK(sealed_import_page(to, 3, 1, page, &f->e) < 0 && f->e.kind == ERR_BAD);
	CHECK_OK(sealed_import_finish(to, &f->e), &f->e);
	sealed_close(to);
	CHECK(look(f->g, f->keys, &f->id, &f->e) == ERR_NONE);
}

static void
an_import_that_failed_has_to_begin_again(void **state)
{
	struct fixture *f = *state;
	static const uint8_t page[PAGE_BYTES];
	struct sealed *to;

	f->g = engine_fault(f->g, &f->e);
	to = sealed_import(f->g, f->keys, &f->id, 3, 10, 1, &f->e);
	CHECK(to);
	CHECK_OK(sealed_import_page(to, 1, 1, page, &f->e), &f->e);
	engine_fault_set(f->g, FAULT_FAIL, 1, false, false, 0);
	CHECK(sealed_import_write(to, &f->e) < 0 && f->e.kind == ERR_IO);
	CHECK(strstr(f->e.text, "not applied"));
	CHECK(sealed_import_write(to, &f->e) < 0 && f->e.kind == ERR_IO);
	CHECK(sealed_import_finish(to, &f->e) < 0 && f->e.kind == ERR_IO);
	sealed_close(to);
	CHECK(!sealed_import(f->g, f->keys, &f->id, 3, 10, 1, &f->e));
	CHECK(f->e.kind == ERR_EXISTS);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(there_is_one_vault_or_none),
		T(a_store_reads_what_was_committed),
		T(pending_pages_are_seen_until_they_are_forgotten),
		T(a_former_owner_can_not_commit),
		T(an_import_has_the_root_of_its_export_while_commits_go_on),
		T(an_export_follows_an_owner_in_another_thread),
		T(a_reader_opens_while_the_owner_writes_checkpoints),
		T(an_export_says_so_when_the_owner_wrote_a_checkpoint),
		T(an_import_refuses_what_comes_out_of_order),
		T(an_import_that_failed_has_to_begin_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
