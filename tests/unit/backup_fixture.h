/* backup_fixture.h - a region and a folder for its backups. */
#pragma once
#include "service_fixture.h"

#include "service/backup.h"

#include <time.h>

#define BIG ((size_t)100 << 10)

struct place {
	struct region region;
	struct backup *backup;
	char folder[600];
};

static inline void
place_open(struct place *p)
{
	struct err e = { 0 };

	region_open(&p->region, true);
	snprintf(p->folder, sizeof p->folder, "%s/backups", p->region.store.dir);
	p->backup = backup_open(&p->region.node, NULL, &e);
	if (!p->backup)
		fail_msg("%s", e.text);
}

static inline void
place_close(struct place *p)
{
	backup_close(p->backup);
	region_close(&p->region);
}

static inline json_t *
status_of(struct place *p)
{
	struct err e = { 0 };
	json_t *j;

	CHECK_OK(backup_status(p->backup, &j, &e), &e);
	return j;
}

/* Begin one and wait for it: its status. */
static inline json_t *
back_up_somehow(struct place *p, unsigned keep)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	struct err e = { 0 };
	json_t *j = NULL;

	CHECK_OK(backup_begin(p->backup, p->folder, keep, &e), &e);
	for (int i = 0; i < 4000; i++) {
		json_decref(j);
		j = status_of(p);
		if (strcmp(json_string_value(json_object_get(j, "state")), "running") != 0)
			break;
		nanosleep(&pause, NULL);
	}
	return j;
}

/* Make one; *NEW_BYTES is what it wrote. */
static inline void
back_up(struct place *p, unsigned keep, int64_t *new_bytes)
{
	json_t *j = back_up_somehow(p, keep);

	CHECK_STR(json_string_value(json_object_get(j, "state")), "done");
	*new_bytes = json_integer_value(json_object_get(j, "new_bytes"));
	json_decref(j);
}

static inline bool
has_failed(struct place *p)
{
	json_t *j = back_up_somehow(p, 1);
	bool failed = strcmp(json_string_value(json_object_get(j, "state")), "failed") == 0;

	json_decref(j);
	return failed;
}

static inline enum err_kind
verify(struct place *p)
{
	struct manifest m = { 0 };
	struct err e = { 0 };

	if (backup_manifest(p->folder, 0, &m, &e) == 0 &&
	    backup_verify(p->folder, &m, NULL, NULL, &e) == 0)
		e.kind = ERR_NONE;
	manifest_free(&m);
	return e.kind;
}

static inline void
put_big(struct files *f, const char *key)
{
	_cleanup_(freep) char *bytes = malloc(BIG);

	CHECK(bytes);
	memset(bytes, key[0], BIG);
	put(f, "things", key, bytes, BIG);
}

static inline struct files
account_with_things(struct place *p)
{
	struct files f = region_account(&p->region, ALL_SERVICES, NULL);
	struct err e = { 0 };

	CHECK_OK(files_bucket_create(&f, "things", &e), &e);
	put_big(&f, "a");
	return f;
}

static inline int
add_record(void *arg, const struct vault_id *id, struct span key, struct span value, struct err *e)
{
	(void)e;
	buf_add(arg, id, sizeof *id);
	buf_add(arg, key.data, key.len);
	buf_add(arg, value.data, value.len);
	return 0;
}

/* A backup, in a store of its own. */
struct restored {
	struct engine *engine;
	struct chunks *chunks;
};

static inline void
restore(struct place *p, struct manifest *m, struct restored *r)
{
	struct err e = { 0 };

	r->engine = engine_rocksdb(check_path(p->region.store.dir, "other"), 8 << 20, 8 << 20, &e);
	r->chunks = chunks_file(check_path(p->region.store.dir, "other-chunks"), 0, &e);
	CHECK(r->engine && r->chunks);
	CHECK_OK(backup_restore(p->folder, m, r->engine, r->chunks, false, NULL, NULL, &e), &e);
}

/* Whether it has the records that the region has. */
static inline bool
has_same_records(struct place *p, struct restored *r)
{
	_cleanup_buf_ struct buf before = BUF_INIT(0), after = BUF_INIT(0);
	struct err e = { 0 };

	CHECK_OK(engine_each(p->region.node.engine, add_record, NULL, &before, &e), &e);
	CHECK_OK(engine_each(r->engine, add_record, NULL, &after, &e), &e);
	return before.len == after.len && memcmp(before.data, after.data, after.len) == 0;
}

static inline void
restored_close(struct restored *r)
{
	engine_close(r->engine);
	chunks_close(r->chunks);
}
