/* vault.c - one vault: SQLite over its sealed store, transactions and tickets. See pool.h. */
#include "vault/vault_internal.h"

#include "base/host.h"
#include "base/stats.h"
#include "sealed/vfs.h"
#include "vault/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* SQLite's own pages: few, since the sealed store keeps those that changed since the last checkpoint,
 * but enough for the inner nodes of a large vault. A busy vault that misses pages gets more. */
#define CACHE_PAGES_MIN   4
#define CACHE_PAGES_MAX   128
#define CACHE_PAGES_BUSY  2048
#define CACHE_SHARE       16
/* What an open connection costs besides its pages, roughly: SQLite's count is taken now and then. */
#define GIVES_PER_MEASURE 64
#define LARGE_USE         64 /* pages missed */

/* Nothing may be written that is not committed (no spilling), xSync must come (FULL), and a closed
 * account must not leave a journal anywhere. Debian's SQLite would zero deleted content, which only
 * makes commits larger here: all of it is sealed. */
static const char pragmas[] = "PRAGMA locking_mode=EXCLUSIVE;"
                              "PRAGMA journal_mode=MEMORY;"
                              "PRAGMA synchronous=FULL;"
                              "PRAGMA temp_store=MEMORY;"
                              "PRAGMA cache_spill=OFF;"
                              "PRAGMA secure_delete=OFF;"
                              "PRAGMA trusted_schema=OFF;";

static enum err_kind
kind_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_FULL:
		return ERR_FULL;
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
		return ERR_IO;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return ERR_FORGED;
	case SQLITE_CONSTRAINT:
		return ERR_EXISTS;
	case SQLITE_NOMEM:
		return ERR_MEMORY;
	case SQLITE_TOOBIG:
		return ERR_TOO_BIG;
	default:
		return ERR_INTERNAL;
	}
}

int
vault_sqlite_error(struct vault *v, int rc, struct err *e)
{
	const struct err *cause = v->sealed ? sealed_vfs_error(v->sealed) : NULL;
	enum err_kind kind = kind_of(rc);

	/* The row's or the statement's fault; no value is quoted in these texts. */
	if (kind == ERR_EXISTS || (rc & 0xff) == SQLITE_ERROR)
		return err_set(
		    e, kind, "%s: %s", service_name(v->id.service), sqlite3_errmsg(v->db));
	/* Whatever else went wrong, the next one starts from what is stored. */
	v->must_close = true;
	if (cause && cause->kind != ERR_NONE)
		return err_set(e, cause->kind, "%s: %s", service_name(v->id.service), cause->text);
	return err_set(e, kind, "%s: %s", service_name(v->id.service), sqlite3_errstr(rc));
}

static int
take_key(struct vault *v, struct err *e)
{
	uint8_t key[KEY_BYTES];

	sealed_data_key(v->sealed, key);
	if (v->key && !content_key_matches(v->key, key)) {
		content_key_unref(v->key);
		v->key = NULL;
	}
	if (!v->key)
		v->key = content_key_new(&v->id, key, e);
	wipe(key, sizeof(key));
	return v->key ? 0 : -1;
}

static int
set_cache(struct vault *v)
{
	char sql[48];

	snprintf(sql, sizeof(sql), "PRAGMA cache_size=%u;", v->cache_pages);
	return sqlite3_exec(v->db, sql, NULL, NULL, NULL);
}

static int
open_database(struct vault *v, struct err *e)
{
	struct sealed_info info;
	char name[32];
	int rc;

	sealed_vfs_name(v->sealed, name);
	rc = sqlite3_open_v2(name, &v->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, SEALED_VFS);
	if (rc == SQLITE_OK) {
		sqlite3_db_config(v->db, SQLITE_DBCONFIG_LOOKASIDE, NULL, 0, 0);
		sqlite3_extended_result_codes(v->db, 1);
		sealed_get_info(v->sealed, &info);
		v->cache_pages = CACHE_PAGES_MIN + info.page_count / CACHE_SHARE;
		if (v->cache_pages > CACHE_PAGES_MAX)
			v->cache_pages = CACHE_PAGES_MAX;
		rc = set_cache(v);
	}
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(v->db, pragmas, NULL, NULL, NULL);
	return rc == SQLITE_OK ? 0 : vault_sqlite_error(v, rc, e);
}

/* The pages of a vault that was not born here are another region's, which may have been taken over: what it
 * wrote into them is not to be carried out. */
static int
check_rows(struct vault *v, struct err *e)
{
	struct sealed_info info;
	int rc, fits;

	sealed_get_info(v->sealed, &info);
	if (info.epoch <= 1)
		return 0;
	fits = schema_fits(v->db, &v->pool->tables[v->id.service], &rc);
	if (fits < 0)
		return vault_sqlite_error(v, rc, e);
	return fits ? 0
	            : err_set(e, ERR_FORGED, "%s: its tables are not those that were made",
	                  service_name(v->id.service));
}

static int
check_tables(struct vault *v, struct err *e)
{
	sqlite3_stmt *s = NULL;
	int version = 0, rc = sqlite3_prepare_v2(v->db, "PRAGMA user_version", -1, &s, NULL);

	if (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
		version = sqlite3_column_int(s, 0);
		rc = SQLITE_OK;
	}
	sqlite3_finalize(s);
	if (rc != SQLITE_OK)
		return vault_sqlite_error(v, rc, e);
	if (version == SCHEMA_VERSION)
		return check_rows(v, e);
	return err_set(e, ERR_BAD,
	    "%s: its tables are of version %d and this program's of %d: use the one it was written "
	    "with",
	    service_name(v->id.service), version, SCHEMA_VERSION);
}

int
vault_connect(struct vault *v, struct err *e)
{
	const struct pool_config *c = &v->pool->c;
	struct sealed_info info;

	/* Before reading: a flush that fails from here on may take back what is read. */
	v->failures = flusher_failures(c->flusher);
	v->must_close = false;
	v->has_chunk_changes = false;
	v->sealed = sealed_open(c->engine, c->keys, &v->id, SEALED_OWN, e);
	if (!v->sealed)
		return -1;
	/* What is read may have been committed by us and not be durable yet. */
	v->ticket = flusher_ticket(c->flusher);
	if (take_key(v, e) < 0 || open_database(v, e) < 0 || check_tables(v, e) < 0) {
		vault_disconnect(v);
		return -1;
	}
	sealed_get_info(v->sealed, &info);
	v->version = info.version;
	v->new_commit_ms = 0;
	v->gives_measured = 0;
	return 0;
}

struct vault *
pool_view(struct pool *p, const struct vault_id *id, struct err *e)
{
	_cleanup_(pool_view_closep) struct vault *v = calloc(1, sizeof(*v));

	if (!v) {
		err_set(e, ERR_MEMORY, "no memory for a view of a vault");
		return NULL;
	}
	v->id = *id;
	v->pool = p;
	v->dropped = BUF_INIT(0);
	v->sealed = sealed_open(p->c.engine, p->c.keys, id, SEALED_READ, e);
	if (!v->sealed || take_key(v, e) < 0 || open_database(v, e) < 0 || check_rows(v, e) < 0)
		return NULL;
	return take(&v);
}

void
pool_view_close(struct vault *v)
{
	if (!v)
		return;
	vault_disconnect(v);
	content_key_unref(v->key);
	free(v);
}

void
vault_disconnect(struct vault *v)
{
	vault_memo_clear(v);
	vault_free_queries(v);
	sqlite3_close(v->db);
	v->db = NULL;
	sealed_close(v->sealed);
	v->sealed = NULL;
	buf_free(&v->dropped);
}

bool
vault_is_untouched(const struct vault *v)
{
	return v->bytes && !v->was_queried && !v->has_chunk_changes && !v->must_close;
}

void
vault_settle(struct vault *v)
{
	for (struct query *q = v->queries; q; q = q->next)
		if (q->is_in_use)
			query_end(q);
	if (!sqlite3_get_autocommit(v->db) || v->has_chunk_changes)
		vault_rollback(v);
}

/* A cache that one use of the vault ran through (a listing of folders touches a page for each), or that every
 * use in the last while missed something in, gets larger. */
static void
widen_cache(struct vault *v)
{
	struct sealed_info info;
	unsigned before = v->cache_pages, wanted = before;
	int now = 0, high = 0;

	sqlite3_db_status(v->db, SQLITE_DBSTATUS_CACHE_MISS, &now, &high, 1);
	v->missed += (unsigned)now;
	if (now > LARGE_USE && (unsigned)now > before)
		wanted = (unsigned)now + before;
	else if (v->gives_measured % GIVES_PER_MEASURE == 0 && v->missed > GIVES_PER_MEASURE)
		wanted = 2 * before;
	if (v->gives_measured % GIVES_PER_MEASURE == 0)
		v->missed = 0;
	sealed_get_info(v->sealed, &info);
	if (!v->has_spare || wanted == before || before >= info.page_count ||
	    before == CACHE_PAGES_BUSY)
		return;
	v->cache_pages = wanted < CACHE_PAGES_BUSY ? wanted : CACHE_PAGES_BUSY;
	if (set_cache(v) != SQLITE_OK)
		v->cache_pages = before;
}

size_t
vault_memory(struct vault *v)
{
	static const int counts[] = {
		SQLITE_DBSTATUS_CACHE_USED,
		SQLITE_DBSTATUS_SCHEMA_USED,
		SQLITE_DBSTATUS_STMT_USED,
	};

	if (v->was_queried)
		widen_cache(v);
	v->was_queried = false;
	if (v->gives_measured++ % GIVES_PER_MEASURE == 0) {
		v->sqlite_bytes = 8192; /* the connection itself */
		for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
			int now = 0, high = 0;

			sqlite3_db_status(v->db, counts[i], &now, &high, 0);
			v->sqlite_bytes += (size_t)now;
		}
	}
	return sizeof(*v) + v->sqlite_bytes + v->memo_bytes + sealed_memory(v->sealed);
}

const struct vault_id *
vault_id(const struct vault *v)
{
	return &v->id;
}

uint64_t
vault_ticket(const struct vault *v)
{
	return v->ticket;
}

uint64_t
vault_version(const struct vault *v)
{
	return v->version;
}

struct content_key *
vault_content_key(struct vault *v)
{
	return content_key_ref(v->key);
}

struct chunks *
vault_chunks(struct vault *v)
{
	return v->pool->c.chunks;
}

int
vault_begin(struct vault *v, struct err *e)
{
	sealed_use_reserve(v->sealed, false);
	return query_run(vault_query(v, "BEGIN IMMEDIATE"), e);
}

int
vault_begin_removal(struct vault *v, struct err *e)
{
	if (vault_begin(v, e) < 0)
		return -1;
	sealed_use_reserve(v->sealed, true);
	return 0;
}

void
vault_rollback(struct vault *v)
{
	struct err ignored;

	for (struct query *q = v->queries; q; q = q->next)
		if (q->is_in_use)
			query_end(q);
	/* SQLite ends the transaction by itself after some errors. */
	if (!v->must_close && !sqlite3_get_autocommit(v->db) &&
	    query_run(vault_query(v, "ROLLBACK"), &ignored) < 0)
		v->must_close = true;
	sealed_forget_pending(v->sealed);
	buf_clear(&v->dropped);
	v->has_chunk_changes = false;
}

/* A transaction that changed the chunk list and no page has not reached xSync. */
static int
commit_chunks(struct vault *v, struct err *e)
{
	struct sealed_info info;

	sealed_get_info(v->sealed, &info);
	if (info.version != v->version || !v->has_chunk_changes)
		return 0;
	if (sealed_commit(v->sealed, e) < 0) {
		v->must_close = true;
		return -1;
	}
	return 0;
}

static struct counter commits = COUNTER(
    "domicile_commits_total", NULL, "Changes of vaults that were committed.");

/* model: c_commit_s, c_commit_d */
int
vault_commit(struct vault *v, uint64_t *ticket, struct err *e)
{
	struct sealed_info info;

	if (query_run(vault_query(v, "COMMIT"), e) < 0 || commit_chunks(v, e) < 0) {
		v->must_close = true;
		return -1;
	}
	sealed_get_info(v->sealed, &info);
	if (info.version != v->version) {
		counter_add(&commits, 1);
		vault_memo_clear(v);
		v->version = info.version;
		v->ticket = flusher_ticket(v->pool->c.flusher);
		v->new_commit_ms = host_mono_ms();
		keeper_add_removal(v);
	}
	buf_clear(&v->dropped);
	v->has_chunk_changes = false;
	*ticket = v->ticket;
	return 0;
}

int
vault_add_chunks(struct vault *v, const struct chunk_ref *refs, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (sealed_put_chunk(v->sealed, &refs[i], e) < 0)
			return -1;
	if (n)
		v->has_chunk_changes = true;
	return 0;
}

int
vault_drop_chunk(struct vault *v, const uint8_t name[static 16], struct err *e)
{
	if (sealed_drop_chunk(v->sealed, name, e) < 0)
		return -1;
	buf_add(&v->dropped, name, CHUNK_NAME_BYTES);
	v->has_chunk_changes = true;
	return 0;
}

int
vault_check(struct vault *v, struct err *e)
{
	struct query *q = vault_query(v, "PRAGMA integrity_check(1)");
	int r = query_step(q, e);

	if (r == 1) {
		struct span s = column_blob(q, 0);

		r = 0;
		if (s.len != 2 || memcmp(s.data, "ok", 2))
			r = err_set(e, ERR_FORGED, "%s: %.*s", service_name(v->id.service),
			    (int)s.len, (const char *)s.data);
	} else if (r == 0) {
		r = err_set(e, ERR_INTERNAL, "no answer from the integrity check");
	}
	query_end(q);
	return r;
}

int
vault_read_page(
    struct vault *v, uint32_t number, uint8_t out[static 4096], uint32_t *pages, struct err *e)
{
	sqlite3_file *file = NULL;
	sqlite3_int64 size = 0;
	int rc = sqlite3_file_control(v->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);

	if (rc == SQLITE_OK && (!file || !file->pMethods))
		rc = SQLITE_CANTOPEN;
	if (rc == SQLITE_OK)
		rc = file->pMethods->xFileSize(file, &size);
	if (rc == SQLITE_OK && (!number || number > size / PAGE_BYTES))
		return err_set(e, ERR_BAD, "page %u of %lld", number, size / PAGE_BYTES);
	if (rc == SQLITE_OK)
		rc = file->pMethods->xRead(
		    file, out, PAGE_BYTES, (sqlite3_int64)(number - 1) * PAGE_BYTES);
	if (rc != SQLITE_OK)
		return vault_sqlite_error(v, rc, e);
	*pages = (uint32_t)(size / PAGE_BYTES);
	return 0;
}

int
vault_each_chunk(struct vault *v, vault_chunk_fn *fn, void *arg, struct err *e)
{
	return sealed_chunks(v->sealed, fn, arg, e);
}
