/* schema.c - see schema.h; and the templates that new vaults are stamped from. */
#include "vault/schema.h"
#include "vault/vault_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "Domi" in the database header: file(1) and a person with a hex dump can tell what it is. */
#define APPLICATION_ID  0x446f6d69

#define SCHEMA_TEXT_MAX ((size_t)64 << 10)

static const char profile_sql[] =
    "CREATE TABLE meta(word TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE credential(key_id TEXT PRIMARY KEY, secret TEXT NOT NULL,"
    " created_ms INTEGER NOT NULL, is_revoked INTEGER NOT NULL DEFAULT 0,"
    " expires_ms INTEGER NOT NULL DEFAULT 0, is_read_only INTEGER NOT NULL DEFAULT 0,"
    " services INTEGER NOT NULL DEFAULT 0, bucket TEXT NOT NULL DEFAULT '',"
    " prefix TEXT NOT NULL DEFAULT '') WITHOUT ROWID;"
    "CREATE TABLE consent(service INTEGER PRIMARY KEY, receipt TEXT NOT NULL,"
    " granted_ms INTEGER NOT NULL, withdrawn_ms INTEGER);";

/* The same for files and backup; service/files_internal.h tells what is in them. What an object
 * holds sits in `body`, apart from its row, so that a listing reads no page of content. In rows
 * that may overflow a page the long columns come last, so that the others are read without them. */
static const char files_sql[] =
    "CREATE TABLE bucket(id INTEGER NOT NULL, name TEXT PRIMARY KEY, created_ms INTEGER NOT NULL,"
    " versioning INTEGER NOT NULL DEFAULT 0, has_lock INTEGER NOT NULL DEFAULT 0,"
    " has_rules INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
    "CREATE TABLE setting(bucket INTEGER, name TEXT, value BLOB NOT NULL,"
    " PRIMARY KEY(bucket, name)) WITHOUT ROWID;"
    "CREATE TABLE object(bucket INTEGER, key BLOB, size INTEGER NOT NULL, etag BLOB NOT NULL,"
    " modified_ms INTEGER NOT NULL, body INTEGER NOT NULL, kind INTEGER,"
    " seq INTEGER NOT NULL DEFAULT 0, is_null INTEGER NOT NULL DEFAULT 1, lock INTEGER,"
    " retain_ms INTEGER, headers BLOB, PRIMARY KEY(bucket, key)) WITHOUT ROWID;"
    "CREATE TABLE version(bucket INTEGER, key BLOB, seq INTEGER, is_null INTEGER NOT NULL,"
    " is_marker INTEGER NOT NULL, size INTEGER NOT NULL, etag BLOB NOT NULL,"
    " modified_ms INTEGER NOT NULL, body INTEGER NOT NULL, kind INTEGER, lock INTEGER,"
    " retain_ms INTEGER, headers BLOB, PRIMARY KEY(bucket, key, seq DESC)) WITHOUT ROWID;"
    "CREATE INDEX version_null ON version(bucket, key) WHERE is_null;"
    "CREATE TABLE body(id INTEGER PRIMARY KEY, chunks BLOB, content BLOB);"
    "CREATE TABLE upload(bucket INTEGER, key BLOB, id BLOB, body INTEGER NOT NULL,"
    " started_ms INTEGER NOT NULL, lock INTEGER, retain_ms INTEGER, headers BLOB,"
    " PRIMARY KEY(bucket, key, id)) WITHOUT ROWID;"
    "CREATE TABLE part(body INTEGER, number INTEGER, size INTEGER NOT NULL, etag BLOB NOT NULL,"
    " modified_ms INTEGER NOT NULL, line BLOB, chunks BLOB, content BLOB,"
    " PRIMARY KEY(body, number))"
    " WITHOUT ROWID;"
    "CREATE TABLE completed(seq INTEGER PRIMARY KEY, upload BLOB NOT NULL, bucket INTEGER NOT NULL,"
    " key BLOB NOT NULL, size INTEGER NOT NULL, modified_ms INTEGER NOT NULL, etag BLOB NOT NULL);"
    /* One row, kept by triggers: whoever changes rows can't forget it, and a transaction's rows and
     * their count are committed together. Content in parts (kind 2) counts by its parts alone. Nothing
     * is written with REPLACE, for which SQLite runs no trigger of what goes. */
    "CREATE TABLE usage(objects INTEGER NOT NULL, bytes INTEGER NOT NULL);"
    "INSERT INTO usage VALUES(0,0);"
    "CREATE TRIGGER object_in AFTER INSERT ON object BEGIN"
    " UPDATE usage SET objects=objects+1,bytes=bytes+iif(NEW.kind=2,0,NEW.size); END;"
    "CREATE TRIGGER object_out AFTER DELETE ON object BEGIN"
    " UPDATE usage SET objects=objects-1,bytes=bytes-iif(OLD.kind=2,0,OLD.size); END;"
    "CREATE TRIGGER object_new AFTER UPDATE OF size,kind ON object"
    " WHEN NEW.size<>OLD.size OR NEW.kind<>OLD.kind BEGIN"
    " UPDATE usage SET bytes=bytes+iif(NEW.kind=2,0,NEW.size)-iif(OLD.kind=2,0,OLD.size); END;"
    "CREATE TRIGGER version_in AFTER INSERT ON version BEGIN"
    " UPDATE usage SET objects=objects+1,bytes=bytes+iif(NEW.kind=2,0,NEW.size); END;"
    "CREATE TRIGGER version_out AFTER DELETE ON version BEGIN"
    " UPDATE usage SET objects=objects-1,bytes=bytes-iif(OLD.kind=2,0,OLD.size); END;"
    "CREATE TRIGGER upload_in AFTER INSERT ON upload BEGIN"
    " UPDATE usage SET objects=objects+1; END;"
    "CREATE TRIGGER upload_out AFTER DELETE ON upload BEGIN"
    " UPDATE usage SET objects=objects-1; END;"
    "CREATE TRIGGER part_in AFTER INSERT ON part BEGIN"
    " UPDATE usage SET bytes=bytes+NEW.size; END;"
    "CREATE TRIGGER part_out AFTER DELETE ON part BEGIN"
    " UPDATE usage SET bytes=bytes-OLD.size; END;"
    "CREATE TRIGGER setting_in AFTER INSERT ON setting BEGIN"
    " UPDATE usage SET bytes=bytes+length(NEW.value); END;"
    "CREATE TRIGGER setting_out AFTER DELETE ON setting BEGIN"
    " UPDATE usage SET bytes=bytes-length(OLD.value); END;"
    "CREATE TRIGGER setting_new AFTER UPDATE ON setting BEGIN"
    " UPDATE usage SET bytes=bytes+length(NEW.value)-length(OLD.value); END;";

const char *
schema_sql(enum service s)
{
	switch (s) {
	case SERVICE_PROFILE:
		return profile_sql;
	case SERVICE_FILES:
	case SERVICE_BACKUP:
		return files_sql;
	default:
		return NULL;
	}
}

static int
run_sql(sqlite3 *db, const char *sql, struct err *e)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return err_set(e, ERR_INTERNAL, "schema: %s", sqlite3_errmsg(db));
	return 0;
}

static int
serialize(sqlite3 *db, struct page_template *out, struct err *e)
{
	sqlite3_int64 size = 0;
	unsigned char *image = sqlite3_serialize(db, "main", &size, 0);

	if (!image || size % PAGE_BYTES) {
		sqlite3_free(image);
		return err_set(e, ERR_MEMORY, "schema: the empty vault can't be made");
	}
	out->pages = malloc((size_t)size);
	if (!out->pages) {
		sqlite3_free(image);
		return err_set(e, ERR_MEMORY, "schema: no memory");
	}
	memcpy(out->pages, image, (size_t)size);
	out->n = (uint32_t)(size / PAGE_BYTES);
	sqlite3_free(image);
	return 0;
}

static void
add_row(struct buf *b, sqlite3_stmt *row)
{
	for (int i = 0; i < 4; i++) {
		const void *text = sqlite3_column_blob(row, i);
		size_t n = (size_t)sqlite3_column_bytes(row, i);

		put_u32(b, (uint32_t)n);
		if (n)
			buf_add(b, text, n);
	}
}

/* The first rows->n rows into rows->digest, how many there are into rows->n. SQLite's number. */
static int
read_rows(sqlite3 *db, struct schema_rows *rows, bool *has_foreign)
{
	/* Not where they lie: that is SQLite's to choose, and regions may have another version of it. */
	static const char sql[] = "SELECT type,name,tbl_name,sql FROM sqlite_schema ORDER BY rowid";
	_cleanup_buf_ struct buf b = BUF_INIT(SCHEMA_TEXT_MAX);
	sqlite3_stmt *s = NULL;
	size_t n = 0;
	int rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);

	*has_foreign = false;
	while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
		const char *type = (const char *)sqlite3_column_text(s, 0);
		const char *name = (const char *)sqlite3_column_text(s, 1);

		if (n < rows->n)
			add_row(&b, s);
		else
			*has_foreign |= !type || !name || strcmp(type, "table") != 0 ||
			    sqlite3_strnicmp(name, "sqlite_", 7) == 0;
		n++;
		rc = SQLITE_OK;
	}
	sqlite3_finalize(s);
	if (n < rows->n)
		rows->n = n;
	if (b.failed == ERR_MEMORY)
		return SQLITE_NOMEM;
	sha256(b.data, b.len, rows->digest);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int
schema_fits(sqlite3 *db, const struct schema_rows *rows, int *rc)
{
	struct schema_rows found = { .n = rows->n };
	bool has_foreign;

	*rc = read_rows(db, &found, &has_foreign);
	if (*rc != SQLITE_OK)
		return -1;
	return !has_foreign && found.n == rows->n &&
	    memcmp(found.digest, rows->digest, sizeof(found.digest)) == 0;
}

int
schema_template(enum service s, struct page_template *out, struct schema_rows *rows, struct err *e)
{
	sqlite3 *db = NULL;
	char head[160];
	bool has_foreign;
	int r = -1;

	*rows = (struct schema_rows){ .n = SIZE_MAX };

	snprintf(head, sizeof(head),
	    "PRAGMA page_size=%d; PRAGMA auto_vacuum=NONE; PRAGMA encoding='UTF-8';"
	    "PRAGMA application_id=%d; PRAGMA user_version=%d;",
	    PAGE_BYTES, APPLICATION_ID, SCHEMA_VERSION);
	if (sqlite3_open_v2(":memory:", &db,
	        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
	        NULL) != SQLITE_OK)
		err_set(e, ERR_MEMORY, "schema: no database in memory");
	else if (run_sql(db, head, e) == 0 && run_sql(db, schema_sql(s), e) == 0)
		r = read_rows(db, rows, &has_foreign) == SQLITE_OK
		    ? serialize(db, out, e)
		    : err_set(e, ERR_MEMORY, "schema: no memory");
	sqlite3_close(db);
	return r;
}
