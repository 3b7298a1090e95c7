/* What a standby follows: an engine's changes, read in order and carried out on another engine. */
#include "base/host.h"
#include "check.h"
#include "engine/tail.h"

#include <dirent.h>

#define CACHE_BYTES  (8 << 20)
#define BUFFER_BYTES (1 << 20)
#define KEEP_BYTES   (64 << 20)
#define WANT         (64 << 10)

static const struct vault_id mara = { { { 0x10 } }, SERVICE_FILES };
static const struct vault_id theo = { { { 0x20 } }, SERVICE_FILES };

struct pair {
	char *dir;
	struct engine *from, *to;
	uint64_t at; /* the next change TO wants */
};

static struct span
span_of(const char *text)
{
	return (struct span){ (const uint8_t *)text, strlen(text) };
}

static struct engine *
open_from(const char *dir, uint64_t keep)
{
	struct err e = { 0 };
	struct engine *g = engine_rocksdb_tailed(
	    check_path(dir, "from"), CACHE_BYTES, BUFFER_BYTES, keep, &e);

	if (!g)
		fail_msg("open: %s", e.text);
	return g;
}

static int
set_up(void **state)
{
	struct pair *p = calloc(1, sizeof *p);
	struct err e = { 0 };

	p->dir = check_dir_make();
	p->from = open_from(p->dir, KEEP_BYTES);
	p->to = engine_rocksdb(check_path(p->dir, "to"), CACHE_BYTES, BUFFER_BYTES, &e);
	if (!p->to)
		fail_msg("open: %s", e.text);
	p->at = 1;
	*state = p;
	return 0;
}

static int
tear_down(void **state)
{
	struct pair *p = *state;

	engine_close(p->from);
	engine_close(p->to);
	check_dir_remove(p->dir);
	free(p);
	return 0;
}

static void
put(struct engine *g, const struct vault_id *id, const char *key, const char *value)
{
	struct engine_write w = { ENGINE_PUT, span_of(key), span_of(value) };
	struct err e = { 0 };

	CHECK_OK(engine_apply(g, id, &w, 1, NULL, ENGINE_LATER, &e), &e);
}

static void
flush(struct engine *g)
{
	struct err e = { 0 };

	CHECK_OK(engine_flush(g, &e), &e);
}

/* Read what there is and carry it out. Returns 0, or the kind of the error. */
static enum err_kind
follow(struct pair *p)
{
	const struct engine_tail_ops *from = engine_tail(p->from), *to = engine_tail(p->to);
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct err e = { 0 };
	uint64_t next;

	for (;;) {
		buf_clear(&b);
		if (from->read(p->from, p->at, WANT, &b, &next, &e) < 0)
			return e.kind;
		if (next == p->at)
			return ERR_NONE;
		CHECK_OK(to->apply(p->to, ((struct span){ b.data, b.len }), &e), &e);
		p->at = next;
		CHECK_OK(from->taken(p->from, next, next, &e), &e);
	}
}

/* Everything that G has, as bytes. */
static void
all_of(struct engine *g, struct buf *out)
{
	_cleanup_buf_ struct buf after = BUF_INIT(0);
	struct err e = { 0 };
	int rc;

	buf_clear(out);
	do
		rc = engine_tail(g)->copy(g, &after, out->len + WANT, out, &e);
	while (rc == 1);
	CHECK_OK(rc, &e);
}

static void
must_be_equal(struct pair *p)
{
	_cleanup_buf_ struct buf a = BUF_INIT(0), b = BUF_INIT(0);

	all_of(p->from, &a);
	all_of(p->to, &b);
	CHECK(a.len == b.len);
	CHECK_BYTES(a.data, b.data, a.len);
}

/* A run of changes of every kind, the SEED-th. */
static void
change_a_lot(struct engine *g, unsigned seed, unsigned n)
{
	char key[20], value[400];
	struct err e = { 0 };

	for (unsigned i = 0; i < n; i++) {
		const struct vault_id *id = i & 1 ? &mara : &theo;
		unsigned r = (seed * 7919 + i) * 2654435761u >> 8;

		snprintf(key, sizeof key, "P%03u", r % 500);
		memset(value, 'a' + (int)(r % 26), sizeof value - 1);
		value[r % (sizeof value - 1)] = 0;
		if (r % 11 == 0) {
			struct engine_write w = { ENGINE_DELETE, span_of(key), { 0 } };

			CHECK_OK(engine_apply(g, id, &w, 1, NULL, ENGINE_LATER, &e), &e);
		} else {
			put(g, id, key, value);
		}
	}
}

static void
what_follows_is_equal(void **state)
{
	struct pair *p = *state;

	for (unsigned i = 0; i < 8; i++) {
		change_a_lot(p->from, i, 3000);
		flush(p->from);
		CHECK(follow(p) == ERR_NONE);
		must_be_equal(p);
	}
}

static void
a_dropped_vault_is_dropped_there(void **state)
{
	struct pair *p = *state;
	struct err e = { 0 };
	char key[20];

	for (unsigned i = 0; i < 2500; i++) { /* enough for a range delete */
		snprintf(key, sizeof key, "P%06u", i);
		put(p->from, &mara, key, "x");
	}
	put(p->from, &theo, "P1", "stays");
	flush(p->from);
	CHECK(follow(p) == ERR_NONE);
	CHECK_OK(engine_drop(p->from, &mara, &e), &e);
	flush(p->from);
	CHECK(follow(p) == ERR_NONE);
	must_be_equal(p);
}

static void
what_is_not_durable_is_not_read(void **state)
{
	struct pair *p = *state;
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct err e = { 0 };
	uint64_t next;

	put(p->from, &mara, "P1", "durable");
	flush(p->from);
	put(p->from, &mara, "P2", "not yet");
	CHECK_OK(engine_tail(p->from)->read(p->from, 1, WANT, &b, &next, &e), &e);
	CHECK(next == 2);
	buf_clear(&b);
	CHECK_OK(engine_tail(p->from)->read(p->from, 2, WANT, &b, &next, &e), &e);
	CHECK(next == 2 && b.len == 0);
	flush(p->from);
	CHECK_OK(engine_tail(p->from)->read(p->from, 2, WANT, &b, &next, &e), &e);
	CHECK(next == 3 && b.len > 0);
}

static void
an_apply_comes_whole(void **state)
{
	struct pair *p = *state;
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct engine_write w[3] = {
		{ ENGINE_PUT, span_of("P1"), span_of("one") },
		{ ENGINE_PUT, span_of("P2"), span_of("two") },
		{ ENGINE_DELETE, span_of("P3"), { 0 } },
	};
	struct err e = { 0 };
	struct change c;
	struct reader r;
	uint64_t next;
	unsigned n = 0;

	CHECK_OK(engine_apply(p->from, &mara, w, 3, NULL, ENGINE_NOW, &e), &e);
	flush(p->from);
	CHECK_OK(engine_tail(p->from)->read(p->from, 1, 1, &b, &next, &e), &e);
	CHECK(next == 4);
	r = READER(b.data, b.len);
	while (change_next(&r, &c, &e) == 1)
		n++;
	CHECK(n == 3);
	/* In the middle of it nobody can begin. */
	CHECK(engine_tail(p->from)->read(p->from, 2, WANT, &b, &next, &e) < 0);
	CHECK(e.kind == ERR_MISSING);
}

static void
it_goes_on_after_a_restart_of_either(void **state)
{
	struct pair *p = *state;
	struct err e = { 0 };

	for (unsigned i = 0; i < 4; i++) {
		change_a_lot(p->from, i, 4000);
		flush(p->from);
		if (i & 1)
			CHECK(follow(p) == ERR_NONE);
		engine_close(p->from);
		p->from = open_from(p->dir, KEEP_BYTES);
		change_a_lot(p->from, 100 + i, 50);
		flush(p->from);
	}
	engine_close(p->to);
	p->to = engine_rocksdb(check_path(p->dir, "to"), CACHE_BYTES, BUFFER_BYTES, &e);
	CHECK(p->to);
	CHECK(follow(p) == ERR_NONE);
	must_be_equal(p);
}

static void
what_is_not_kept_is_missing_and_a_copy_makes_up_for_it(void **state)
{
	struct pair *p = *state;
	const struct engine_tail_ops *from = engine_tail(p->from);
	_cleanup_buf_ struct buf after = BUF_INIT(0), b = BUF_INIT(0);
	struct tail_state s;
	struct err e = { 0 };
	int rc;

	engine_close(p->from);
	p->from = open_from(p->dir, 1 << 20);
	for (unsigned i = 0; i < 100 && follow(p) != ERR_MISSING; i++) {
		p->at = 1;
		change_a_lot(p->from, i, 20000);
		flush(p->from);
		CHECK_OK(from->taken(p->from, 0, 0, &e), &e);
		usleep(100000);
	}
	CHECK(follow(p) == ERR_MISSING);
	/* Piece by piece, while it goes on being changed. */
	CHECK_OK(from->state(p->from, &s, &e), &e);
	p->at = s.last + 1;
	do {
		buf_clear(&b);
		rc = from->copy(p->from, &after, 4096, &b, &e);
		CHECK(rc >= 0);
		CHECK_OK(
		    engine_tail(p->to)->apply(p->to, ((struct span){ b.data, b.len }), &e), &e);
		change_a_lot(p->from, 1000 + (unsigned)b.len, 3);
	} while (rc == 1);
	flush(p->from);
	CHECK(follow(p) == ERR_NONE);
	must_be_equal(p);
}

/* Whether any file below DIR has the bytes of TEXT. */
static bool
is_in_files(const char *dir, const char *text)
{
	char command[700];

	snprintf(command, sizeof command, "grep -rqaF -- '%s' '%s'", text, dir);
	return system(command) == 0;
}

static void
compaction_waits_until_it_was_taken_and_leaves_nothing(void **state)
{
	struct pair *p = *state;
	const char *secret = "sealed-bytes-of-somebody-who-left";
	struct err e = { 0 };

	put(p->from, &mara, "P1", secret);
	flush(p->from);
	CHECK(follow(p) == ERR_NONE);
	CHECK(is_in_files(check_path(p->dir, "from"), secret));
	CHECK_OK(engine_drop(p->from, &mara, &e), &e);
	flush(p->from);
	/* The switch of logs makes one more change, which nobody takes here. */
	CHECK(engine_compact(p->from, &e) < 0 && e.kind == ERR_BUSY);
	CHECK(follow(p) == ERR_NONE);
	CHECK_OK(engine_tail(p->from)->taken(p->from, p->at + 100, p->at + 100, &e), &e);
	CHECK_OK(engine_compact(p->from, &e), &e);
	CHECK(!is_in_files(check_path(p->dir, "from"), secret));
	CHECK_OK(engine_compact(p->to, &e), &e);
	CHECK(!is_in_files(check_path(p->dir, "to"), secret));
}

static void
without_a_standby_old_logs_go(void **state)
{
	struct pair *p = *state;
	const char *secret = "sealed-bytes-in-an-old-log";
	struct err e = { 0 };

	put(p->from, &mara, "P1", secret);
	flush(p->from);
	CHECK_OK(engine_drop(p->from, &mara, &e), &e);
	flush(p->from);
	engine_close(p->from);
	p->from = open_from(p->dir, KEEP_BYTES);
	engine_close(p->from); /* the secret is in the archive now */
	CHECK(is_in_files(check_path(p->dir, "from/archive"), secret));
	p->from = engine_rocksdb(check_path(p->dir, "from"), CACHE_BYTES, BUFFER_BYTES, &e);
	CHECK(p->from);
	CHECK_OK(engine_compact(p->from, &e), &e);
	CHECK(!is_in_files(check_path(p->dir, "from"), secret));
}

static void
malformed_changes_are_refused_whole(void **state)
{
	struct pair *p = *state;
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct change c = {
		.op = CHANGE_PUT, .id = mara, .key = span_of("P1"), .value = span_of("v")
	};
	struct err e = { 0 };

	change_add(&b, &c);
	for (size_t n = 1; n < b.len; n++) {
		CHECK(engine_tail(p->to)->apply(p->to, ((struct span){ b.data, n }), &e) < 0);
		CHECK(e.kind == ERR_BAD);
	}
	b.data[0] = 'Z';
	CHECK(engine_tail(p->to)->apply(p->to, ((struct span){ b.data, b.len }), &e) < 0);
	all_of(p->to, &b);
	CHECK(b.len == 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_follows_is_equal),
		T(a_dropped_vault_is_dropped_there),
		T(what_is_not_durable_is_not_read),
		T(an_apply_comes_whole),
		T(it_goes_on_after_a_restart_of_either),
		T(what_is_not_kept_is_missing_and_a_copy_makes_up_for_it),
		T(compaction_waits_until_it_was_taken_and_leaves_nothing),
		T(without_a_standby_old_logs_go),
		T(malformed_changes_are_refused_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
