/* directory_fixture.h - a directory in a file, and the same one as other regions see it: asked over
 * mutual TLS, each with its own certificate.
 */
#ifndef DIRECTORY_FIXTURE_H
#define DIRECTORY_FIXTURE_H

#include "fleet.h"

/* The directory as each region sees it. In a file it is one and the same. */
struct fixture {
	char *dir;
	struct directory *file;
	struct directory *as[FLEET_REGIONS];
	struct peers *peers[FLEET_REGIONS];
	struct fleet_server server;
};

enum { BJ, SG, US };

static inline int
carry_out(void *arg, const char *caller, const char *path, json_t *arguments, json_t **answer,
    struct err *e)
{
	static const char base[] = "/peer/v1/directory/";

	if (strncmp(path, base, strlen(base)) != 0)
		return err_set(e, ERR_MISSING, "no call %s", path);
	/* us is not trusted with the waves of others. */
	return directory_serve(
	    arg, caller, strcmp(caller, "us") != 0, path + strlen(base), arguments, answer, e);
}

static inline struct directory *
open_file(const char *dir)
{
	struct err e = { 0 };
	struct directory *d = directory_sqlite(check_path(dir, "directory.db"), &e);

	if (!d)
		fail_msg("%s", e.text);
	return d;
}

static inline int
setup_file(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	f->dir = check_dir_make();
	f->file = open_file(f->dir);
	for (int i = 0; i < FLEET_REGIONS; i++)
		f->as[i] = f->file;
	*state = f;
	return 0;
}

static inline int
setup_remote(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct err e = { 0 };

	f->dir = check_dir_make();
	f->file = open_file(f->dir);
	for (int i = 0; i < FLEET_REGIONS; i++)
		f->peers[i] = fleet_peers(f->dir, "ca", fleet_names[i]);
	fleet_serve(&f->server, f->peers[BJ], carry_out, f->file);
	for (int i = 0; i < FLEET_REGIONS; i++) {
		f->as[i] = directory_client(f->peers[i], "cn-bj", f->server.at, &e);
		CHECK(f->as[i]);
	}
	*state = f;
	return 0;
}

static inline int
teardown(void **state)
{
	struct fixture *f = *state;

	fleet_unserve(&f->server);
	for (int i = 0; i < FLEET_REGIONS; i++) {
		if (f->as[i] != f->file)
			directory_close(f->as[i]);
		peers_close(f->peers[i]);
	}
	directory_close(f->file);
	check_dir_remove(f->dir);
	free(f);
	return 0;
}

static inline struct account_id
account(unsigned n)
{
	struct account_id id = { { (uint8_t)(n >> 8), (uint8_t)n, 0xaa } };

	return id;
}

static inline struct placement
row(unsigned n, const char *home, const char *country)
{
	struct placement p = { .account = account(n), .epoch = 1 };

	strcpy(p.home, home);
	strcpy(p.country, country);
	return p;
}

/* N rows from number FIRST on. */
static inline void
add_rows(struct fixture *f, unsigned first, unsigned n, const char *country)
{
	struct placement p[DIRECTORY_BATCH_MAX];
	struct err e = { 0 };

	for (unsigned i = 0; i < n; i++)
		p[i] = row(first + i, "cn-bj", country);
	CHECK_OK(directory_add(f->as[BJ], p, n, &e), &e);
}

static inline struct placement
look(struct fixture *f, unsigned n)
{
	struct account_id id = account(n);
	struct placement p;
	struct err e = { 0 };

	CHECK_OK(directory_find(f->as[US], &id, 1, &p, &e), &e);
	return p;
}

static inline void
check_at(struct fixture *f, unsigned n, const char *home, uint64_t epoch, uint64_t attempt)
{
	struct placement p = look(f, n);

	CHECK_STR(p.home, home);
	CHECK(p.epoch == epoch);
	CHECK(p.attempt == attempt);
}

static inline struct swap
move_of(unsigned n, uint64_t epoch, uint64_t attempt, const char *from, const char *to)
{
	struct swap s = { .account = account(n),
		.epoch = epoch,
		.attempt = attempt,
		.to_epoch = epoch + 1,
		.to_attempt = attempt };

	strcpy(s.from, from);
	strcpy(s.to, to);
	memset(s.statement, (int)(n + epoch), sizeof s.statement);
	return s;
}

static inline struct swap
cancel_of(unsigned n, uint64_t epoch, uint64_t attempt, const char *home)
{
	struct swap s = move_of(n, epoch, attempt, home, home);

	s.to_epoch = epoch;
	s.to_attempt = attempt + 1;
	return s;
}

/* A test in CMUnitTest, on either. */
#define FILE_AND_REMOTE(name) \
	{ #name ", in a file", name, setup_file, teardown, NULL }, \
	{ \
#name ", remote", name, setup_remote, teardown, NULL \
	}

#endif
