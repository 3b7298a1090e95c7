/* fault_fixture.h - every call of engine and chunks fails once in turn, in each way, under something that
 * a region does; afterwards the same process goes on, or another one starts, with or without a power cut.
 *
 *	struct fault_turn t = { 0 };
 *
 *	while (fault_next(&t)) {
 *		fault_arm(&t, &region->store);
 *		acked = put(...) == 0;
 *		fault_disarm(&t, &region->store);
 *		fault_afterwards(&t, region, &files);
 *		CHECK_TURN(&t, find(...) == WHOLE || (find(...) == ABSENT && !acked));
 *	}
 *
 * A loop is over when a turn in each way had no call left to fail.
 */
#pragma once
#include "service_fixture.h"
#include "service/files_refs.h"

enum fault_place { CHANGES, READS, CHUNKS };
enum fault_then { GO_ON, RESTART, CUT };

static const struct fault_way {
	enum fault_place place;
	enum fault_kind kind;
	enum fault_then then;
	bool is_sticky; /* from that call on, until it is disarmed */
} fault_ways[] = {
	{ CHANGES, FAULT_FAIL, GO_ON },
	{ CHANGES, FAULT_FAIL, GO_ON, true },
	{ CHANGES, FAULT_FAIL, CUT },
	{ CHANGES, FAULT_FAIL_LATE, GO_ON },
	{ CHANGES, FAULT_FAIL_LATE, RESTART },
	{ CHANGES, FAULT_FAIL_LATE, CUT },
	{ CHANGES, FAULT_FULL, GO_ON },
	{ READS, FAULT_FAIL, GO_ON },
	{ READS, FAULT_FAIL, RESTART },
	{ CHUNKS, FAULT_FAIL, GO_ON },
	{ CHUNKS, FAULT_FULL, GO_ON, true },
	{ CHUNKS, FAULT_FAIL, RESTART },
	{ CHUNKS, FAULT_FAIL_LATE, GO_ON },
	{ CHUNKS, FAULT_FAIL_LATE, CUT },
	{ CHUNKS, FAULT_FULL, GO_ON },
};

struct fault_turn {
	bool skips_restarts; /* after failed reads and chunks, where turns take long */
	bool
	    is_of_memory; /* the turns are those of alloc_fault.h, and this one only has their number */
	unsigned turns; /* how many there were */
	unsigned way;
	unsigned nth;
	bool fired;
};

static inline const struct fault_way *
fault_way(const struct fault_turn *t)
{
	return &fault_ways[t->way];
}

static inline bool
fault_skips(const struct fault_turn *t)
{
	return t->skips_restarts && t->way < ARRAY_LEN(fault_ways) &&
	    fault_ways[t->way].then == RESTART && fault_ways[t->way].place != CHANGES;
}

/* The next turn: false when no fault is left to fire. T begins as zeros. */
static inline bool
fault_next(struct fault_turn *t)
{
	if (t->turns++ && !t->fired) {
		do
			t->way++;
		while (fault_skips(t));
		t->nth = 0;
	}
	t->nth++;
	t->fired = false;
	return t->way < ARRAY_LEN(fault_ways);
}

static inline void
fault_arm(const struct fault_turn *t, struct store *s)
{
	const struct fault_way *w = fault_way(t);

	if (w->place == CHUNKS)
		chunks_fault_set(s->chunks, w->kind, t->nth, w->is_sticky);
	else
		engine_fault_set(s->engine, w->kind, t->nth, w->place == READS, w->is_sticky, 0);
}

static inline bool
fault_has_fired(const struct fault_turn *t, struct store *s)
{
	return fault_way(t)->place == CHUNKS ? chunks_fault_fired(s->chunks)
	                                     : engine_fault_fired(s->engine);
}

static inline void
fault_disarm(struct fault_turn *t, struct store *s)
{
	t->fired = fault_has_fired(t, s);
	chunks_fault_set(s->chunks, FAULT_NONE, 0, false);
	engine_fault_set(s->engine, FAULT_NONE, 0, false, false, 0);
}

/* CHECK that says which turn it was. */
#define CHECK_TURN(t, expr) \
	do { \
		if (!(expr)) \
			fail_msg("%s: %s", fault_text(t), #expr); \
	} while (0)
#define CHECK_TURN_OK(t, call, e) \
	do { \
		if ((call) != 0) \
			fail_msg("%s: %s: %s", fault_text(t), #call, (e)->text); \
	} while (0)

static inline const char *
fault_text(const struct fault_turn *t)
{
	static const char *const places[] = { "changing call", "read", "call of the chunks" };
	static const char *const kinds[] = { [FAULT_FAIL] = "failed",
		[FAULT_FAIL_LATE] = "failed late",
		[FAULT_FULL] = "was full" };
	static const char *const thens[] = { "went on", "restarted", "power cut" };
	static char text[100];
	const struct fault_way *w = fault_way(t);

	if (t->is_of_memory) {
		snprintf(text, sizeof(text), "allocation %u failed", t->nth);
		return text;
	}
	snprintf(text, sizeof(text), "%s %u%s %s, then %s", places[w->place], t->nth,
	    w->is_sticky ? " and all after" : "", kinds[w->kind], thens[w->then]);
	return text;
}

/* --- what comes after --- */

static inline void
fault_reboot(struct region *r, bool is_cut)
{
	struct err e;

	if (is_cut) /* nothing is saved on the way down */
		engine_fault_set(r->store.engine, FAULT_FAIL, 1, false, true, 0);
	region_stop(r);
	store_reopen(&r->store, is_cut);
	region_start(r);
	region_policy(r, "[policy IN]\nregions = in-mum, sg\n[policy *]\nregions = sg\n");
	CHECK_OK(accounts_recover(&r->node, &e), &e);
}

/* F may be NULL. */
static inline void
fault_afterwards(const struct fault_turn *t, struct region *r, struct files *f)
{
	if (fault_way(t)->then == GO_ON)
		return;
	fault_reboot(r, fault_way(t)->then == CUT);
	if (f)
		f->ticket = 0; /* of the flusher that was */
}

/* --- what must hold of a vault whatever has happened --- */

static inline int
fault_note_file(void *arg, const struct vault_id *id, const struct chunk_name *name, uint64_t bytes,
    struct err *e)
{
	(void)id, (void)bytes, (void)e;
	buf_add(arg, name, sizeof(*name));
	return 0;
}

static inline int
fault_note_listed(void *arg, const struct chunk_ref *c, struct err *e)
{
	(void)e;
	buf_add(arg, c->name, sizeof(c->name));
	return 0;
}

static inline int
fault_name_order(const void *a, const void *b)
{
	return memcmp(a, b, CHUNK_NAME_BYTES);
}

static inline void
fault_sort_names(struct buf *b)
{
	if (b->len)
		qsort(b->data, b->len / CHUNK_NAME_BYTES, CHUNK_NAME_BYTES, fault_name_order);
}

/* Whether the vault's chunk files are the ones that it lists. */
static inline bool
fault_no_orphan(struct store *s, const struct vault_id *id)
{
	_cleanup_buf_ struct buf files = BUF_INIT(0), listed = BUF_INIT(0);
	struct vault *v = store_take(s, id);
	struct err e = { 0 };

	CHECK_OK(vault_each_chunk(v, fault_note_listed, &listed, &e), &e);
	pool_give(v);
	CHECK_OK(chunks_list(s->chunks, id, fault_note_file, &files, &e), &e);
	fault_sort_names(&files);
	fault_sort_names(&listed);
	return files.len == listed.len &&
	    (!files.len || memcmp(files.data, listed.data, files.len) == 0);
}

/* The vault opens, every record is the newest, SQLite finds nothing wrong, and after a sweep no chunk
 * file is left that it does not list. */
static inline void
fault_check_vault(const struct fault_turn *t, struct store *s, const struct vault_id *id)
{
	struct vault *v = store_take(s, id);
	struct err e = { 0 };
	struct sealed *sealed;
	uint64_t removed = 0;
	bool is_clean = false;

	CHECK_TURN_OK(t, vault_check(v, &e), &e);
	if (id->service != SERVICE_PROFILE)
		CHECK_TURN_OK(t, files_usage_check(v, NULL, &e), &e);
	sealed = sealed_open(s->engine, s->keys, id, SEALED_READ, &e);
	CHECK_TURN_OK(t, sealed ? sealed_verify(sealed, &e) : -1, &e);
	sealed_close(sealed);
	pool_give(v);
	for (int i = 0; i < 30000 && !is_clean; i++) {
		CHECK_TURN_OK(t, pool_sweep(s->pool, id, &removed, &e), &e);
		is_clean = fault_no_orphan(s, id);
		if (!is_clean) /* the keeper removes what was dropped */
			usleep(1000);
	}
	CHECK_TURN(t, is_clean);
}

static inline void
fault_check_account(const struct fault_turn *t, struct files *f, struct store *s)
{
	for (enum service k = SERVICE_PROFILE; k < SERVICES; k++) {
		struct vault_id id = { .account = f->account, .service = (uint8_t)k };

		if (f->services & BIT(k))
			fault_check_vault(t, s, &id);
	}
}

/* Stores in memory where there is such a folder: a power cut of files can't be had either way, and thousands
 * of flushes take their time. Before the first test. */
static inline void
fault_use_memory(void)
{
	if (access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 1);
}

/* --- what one account does --- */

/* Something that either happens or does not. Each turn: prepare, RUN with the fault, look, clear up. */
struct fault_deed {
	void (*prepare)(struct files *f); /* whatever was there before is gone; may be NULL */
	int (*run)(struct files *f, struct err *e);
	bool (*is_done)(struct files *f);
	bool (*is_undone)(struct files *f);
	/* After either: done, perhaps once more, without a fault. */
	int (*again)(struct files *f, struct err *e);
	void (*clear)(struct files *f);
};

static inline bool
fault_is_durable(struct files *f, struct err *e)
{
	return flusher_wait(f->node->flusher, f->ticket, e) == 0;
}

static inline struct files
fault_account(struct region *r)
{
	struct files f = region_account(r, ALL_SERVICES, NULL);
	struct err e = { 0 };

	CHECK_OK(files_bucket_create(&f, "photos", &e), &e);
	CHECK_OK(files_bucket_create(&f, "backup-phone", &e), &e);
	return f;
}

static inline void
fault_clear(struct files *f, const char *bucket, const char *key)
{
	struct err e = { 0 };

	CHECK_OK(files_remove(f, bucket, key, &e), &e);
}

/* As `has`, but there may be another object. */
static inline bool
fault_is_it(struct files *f, const char *bucket, const char *key, const void *p, size_t n)
{
	bool missing_bucket, same;
	struct err e = { 0 };
	struct object *o = object_open(f, bucket, key, false, &missing_bucket, &e);

	same = o && object_info(o)->size == n;
	CHECK(o || e.kind == ERR_MISSING);
	object_close(o);
	return same && has(f, bucket, key, p, n);
}

static inline bool
fault_is_absent(struct files *f, const char *bucket, const char *key)
{
	bool missing_bucket;
	struct err e = { 0 };
	struct object *o = object_open(f, bucket, key, false, &missing_bucket, &e);

	CHECK(o || e.kind == ERR_MISSING);
	object_close(o);
	return !o;
}

/* The account's next request works, and its effect is there. */
static inline void
fault_goes_on(const struct fault_turn *t, struct files *f)
{
	struct object_info out;
	struct err e = { 0 };

	CHECK_TURN_OK(t, put_with(f, "photos", "next", "n", 1, NULL, NULL, &out, &e), &e);
	object_info_free(&out);
	CHECK_TURN(t, has(f, "photos", "next", "n", 1));
	CHECK_TURN_OK(t, files_remove(f, "photos", "next", &e), &e);
	CHECK_TURN(t, fault_is_durable(f, &e));
}

static inline void
fault_try(struct region *r, const struct fault_deed *d)
{
	struct files f = fault_account(r);
	struct fault_turn t = { 0 };

	while (fault_next(&t)) {
		struct err e = { 0 };
		bool acked;

		if (d->prepare)
			d->prepare(&f);
		CHECK_TURN(&t, fault_is_durable(&f, &e));
		fault_arm(&t, &r->store);
		acked = d->run(&f, &e) == 0 && fault_is_durable(&f, &e);
		fault_disarm(&t, &r->store);
		fault_afterwards(&t, r, &f);
		if (!acked && !t.fired)
			fail_msg("%s: without a fault: %s", fault_text(&t), e.text);
		fault_goes_on(&t, &f);
		CHECK_TURN(&t, d->is_done(&f) || (!acked && d->is_undone(&f)));
		fault_check_account(&t, &f, &r->store);
		if (!d->is_done(&f) && d->again)
			CHECK_TURN_OK(&t, d->again(&f, &e), &e);
		CHECK_TURN(&t, !d->again || d->is_done(&f));
		d->clear(&f);
	}
}

static inline int
fault_setup(void **state)
{
	struct region *r = calloc(1, sizeof(*r));

	region_open(r, false);
	*state = r;
	return 0;
}

static inline int
fault_teardown(void **state)
{
	region_close(*state);
	free(*state);
	return 0;
}

#define FAULT_TEST(name) cmocka_unit_test_setup_teardown(name, fault_setup, fault_teardown)
