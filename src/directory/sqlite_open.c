/* sqlite_open.c - the directory's SQLite file: its tables, opening and closing it. */
#include "directory/sqlite_private.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#define APPLICATION_ID 1148153193 /* "Domi" */
#define FORMAT         1
#define BUSY_WAIT_MS   5000
#define STRING(x)      STRING_(x)
#define STRING_(x)     #x

static const char schema[] =
    "CREATE TABLE placement ("
    " account BLOB PRIMARY KEY,"
    " home TEXT NOT NULL,"
    " country TEXT NOT NULL,"
    " epoch INTEGER NOT NULL,"
    " attempt INTEGER NOT NULL,"
    " is_suspended INTEGER NOT NULL,"
    " chain BLOB NOT NULL) STRICT, WITHOUT ROWID;"
    /* covers the selection of a wave */
    "CREATE INDEX placement_home ON placement (home, account, country);"

    "CREATE TABLE wave ("
    " num INTEGER PRIMARY KEY,"
    " id TEXT NOT NULL UNIQUE,"
    " source TEXT NOT NULL,"
    " destination TEXT NOT NULL,"
    " state INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL,"
    " started_ms INTEGER NOT NULL,"
    " finished_ms INTEGER NOT NULL,"
    " deadline_ms INTEGER NOT NULL,"
    " bytes_per_s INTEGER NOT NULL,"
    " accounts_per_s INTEGER NOT NULL,"
    " concurrency INTEGER NOT NULL,"
    " quiet_from_min INTEGER NOT NULL,"
    " quiet_to_min INTEGER NOT NULL,"
    " countries TEXT NOT NULL) STRICT;"

    "CREATE TABLE item ("
    " wave INTEGER NOT NULL,"
    " account BLOB NOT NULL,"
    " state INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL,"
    " pause_us INTEGER NOT NULL,"
    " tries INTEGER NOT NULL,"
    " held INTEGER NOT NULL,"
    " reason TEXT NOT NULL,"
    " PRIMARY KEY (wave, account)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX item_state ON item (wave, state, account);"
    "CREATE INDEX item_pause ON item (wave, pause_us) WHERE pause_us > 0;"
    "CREATE INDEX item_reason ON item (wave, reason) WHERE reason <> '';"

    /* Sums by state, kept with every change: progress is asked for every second. */
    "CREATE TABLE tally ("
    " wave INTEGER NOT NULL,"
    " state INTEGER NOT NULL,"
    " items INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL,"
    " held INTEGER NOT NULL,"
    " pauses INTEGER NOT NULL,"
    " PRIMARY KEY (wave, state)) STRICT, WITHOUT ROWID;"

    "PRAGMA application_id=" STRING(APPLICATION_ID) ";"
                                                    "PRAGMA user_version=" STRING(FORMAT);

/* Came later; a directory without it is of the same format, in which no region has a term. */
static const char schema_term[] = "CREATE TABLE IF NOT EXISTS term ("
                                  " region TEXT PRIMARY KEY,"
                                  " term INTEGER NOT NULL,"
                                  " holder BLOB NOT NULL,"
                                  " lease_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID";

void
sqlite_close(struct directory *d)
{
	struct sqlite_directory *s = container_of(d, struct sqlite_directory, directory);

	/* The writer last: it empties the write-ahead log and removes it. */
	for (int i = CONNS - 1; i >= 0; i--) {
		for (size_t k = 0; k < DB_STATEMENTS_MAX; k++)
			sqlite3_finalize(s->conns[i].statements[k].st);
		sqlite3_close(s->conns[i].db);
		pthread_mutex_destroy(&s->conns[i].lock);
	}
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	free(s);
}

static int
take_lock(struct sqlite_directory *s, const char *path, struct err *e)
{
	char name[PATH_MAX];

	if (snprintf(name, sizeof(name), "%s.lock", path) >= (int)sizeof(name))
		return err_set(e, ERR_BAD, "a path of %zu bytes", strlen(path));
	s->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0)
		return err_errno(e, errno, "%s", name);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return err_set(e, ERR_BUSY, "another process has the directory open");
	return err_errno(e, errno, "%s", name);
}

static int
pragma_number(struct conn *c, const char *sql, int64_t *out, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*out = sqlite3_column_int64(st, 0);
	else
		db_fail(c, e);
	sqlite3_finalize(st);
	return rc == SQLITE_ROW ? 0 : -1;
}

/* An empty file is a new one, or ours that was cut off before its first commit. */
static int
check_format(struct conn *c, struct err *e)
{
	int64_t id, format, pages;

	if (pragma_number(c, "PRAGMA page_count", &pages, e) < 0)
		return -1;
	if (pages == 0)
		return db_begin(c, DB_DURABLE, e) < 0 ? -1 : db_end(c, db_exec(c, schema, e), e);
	if (pragma_number(c, "PRAGMA application_id", &id, e) < 0 ||
	    pragma_number(c, "PRAGMA user_version", &format, e) < 0)
		return -1;
	if (id != APPLICATION_ID)
		return err_set(e, ERR_BAD, "a database of something else");
	if (format != FORMAT)
		return err_set(e, ERR_BAD,
		    "the directory has format %" PRId64 ", and this program knows %d", format,
		    FORMAT);
	return 0;
}

static int
open_conn(struct conn *c, const char *path, struct err *e)
{
	if (sqlite3_open_v2(path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
	    SQLITE_OK)
		return db_fail(c, e);
	sqlite3_extended_result_codes(c->db, 1);
	sqlite3_busy_timeout(c->db, BUSY_WAIT_MS);
	/* Before anything that writes: it may be somebody else's file. */
	if (check_format(c, e) < 0)
		return -1;
	if (db_exec(c, schema_term, e) < 0)
		return -1;
	/* 4,000 pages: a checkpoint and its flushes every few dozen batches. */
	return db_exec(c,
	    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536;"
	    "PRAGMA wal_autocheckpoint=4000; PRAGMA temp_store=MEMORY",
	    e);
}

/* Made here, not by SQLite, for the mode: where people live is nobody else's business. */
static int
make_file(const char *path, struct err *e)
{
	_cleanup_(fd_closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 ? err_errno(e, errno, "the directory's file") : 0;
}

static int
open_all(struct sqlite_directory *s, const char *path, struct err *e)
{
	if (take_lock(s, path, e) < 0 || make_file(path, e) < 0)
		return -1;
	for (int i = 0; i < CONNS; i++)
		if (open_conn(&s->conns[i], path, e) < 0)
			return -1;
	return 0;
}

struct directory *
directory_sqlite(const char *path, struct err *e)
{
	struct sqlite_directory *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set(e, ERR_MEMORY, "no memory for a directory");
		return NULL;
	}
	s->directory.ops = &sqlite_ops;
	s->lock_fd = -1;
	for (int i = 0; i < CONNS; i++)
		pthread_mutex_init(&s->conns[i].lock, NULL);
	if (open_all(s, path, e) < 0) {
		err_add(e, "%s", path);
		sqlite_close(&s->directory);
		return NULL;
	}
	return &s->directory;
}

int
directory_sqlite_copy(struct directory *d, const char *to, struct err *e)
{
	_cleanup_(conn_unlockp) struct conn *c = conn_lock(d, CONN_SCAN);
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(c->db, "VACUUM INTO ?1", -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(st, 1, to, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc != SQLITE_DONE)
		db_fail(c, e);
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : err_add(e, "a copy of the directory");
}
