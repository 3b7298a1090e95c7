/* keys_file.c - the region key in a file. What is in it is in keys_text.c.
 *
 * A change is written to <path>.new and synced, then over the file itself and synced, then <path>.new is
 * emptied, each in place: so the bytes that go are overwritten, a node needs no right to its folder, and at
 * any crash one of the two is whole. One that is not is never looked into further.
 */
#include "sealed/keys_internal.h"
#include "base/frame.h"
#include "base/fs.h"
#include "base/host.h"

#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct keys {
	struct keys_generations g;
	pthread_mutex_t lock;   /* of g */
	pthread_mutex_t change; /* of the file */
	pthread_rwlock_t hold;
	char path[PATH_MAX - 8]; /* with a suffix it is one still */
};

/* --- making a file ------------------------------------------------------------------------ */

static int
write_new(const char *path, const char *text, size_t n, struct err *e)
{
	_cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	char folder[PATH_MAX];

	if (fd < 0)
		return err_errno(e, errno, "region key %s", path);
	if (fchmod(fd, 0600) < 0 || fsync(fd) < 0) {
		err_errno(e, errno, "region key %s", path);
		unlink(path);
		return -1;
	}
	if (fs_write_all(fd, text, n, e) < 0) {
		unlink(path);
		return err_add(e, "region key %s", path);
	}
	if (fsync(fd) < 0)
		return err_errno(e, errno, "region key %s", path);
	snprintf(folder, sizeof(folder), "%s", path);
	return fs_sync_dir(dirname(folder), e);
}

int
keys_file_create(const char *path, struct err *e)
{
	char *text = secret_alloc(KEYS_TEXT_MAX, e);
	struct keys_generations *g = text ? secret_alloc(sizeof(*g), e) : NULL;
	int rc = -1;

	if (g) {
		g->n = 1;
		g->all[0].generation = 1;
		host_random(g->all[0].key, KEY_BYTES);
		rc = write_new(path, text, keys_text_write(text, g), e);
	}
	secret_free(g, sizeof(*g));
	secret_free(text, KEYS_TEXT_MAX);
	return rc;
}

int
keys_file_aside(const char *path, char out[static PATH_MAX], struct err *e)
{
	if (snprintf(out, PATH_MAX, "%s.new", path) >= PATH_MAX)
		return err_set(e, ERR_BAD, "a path of %zu bytes", strlen(path));
	return 0;
}

/* N bytes of TEXT in place of what PATH has, whose remaining bytes become zeros before it is cut. */
static int
overwrite(const char *path, const char *text, size_t n, struct err *e)
{
	_cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	static const char zeros[KEYS_TEXT_MAX];
	struct stat st;
	size_t rest;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, errno, "%s", path);
	rest = st.st_size > (off_t)n ? (size_t)st.st_size - n : 0;
	if (rest > sizeof(zeros))
		return err_set(e, ERR_TOO_BIG, "%s: more than %d bytes", path, KEYS_TEXT_MAX);
	if (fs_write_all(fd, text, n, e) < 0 || fs_write_all(fd, zeros, rest, e) < 0)
		return err_add(e, "%s", path);
	if (fsync(fd) < 0 || (rest && ftruncate(fd, (off_t)n) < 0) || fsync(fd) < 0)
		return err_errno(e, errno, "%s", path);
	return 0;
}

/* The file at PATH, which is one of the two, says G. */
static int
write_one(const char *path, const struct keys_generations *g, struct err *e)
{
	char *text = secret_alloc(KEYS_TEXT_MAX, e);
	char folder[PATH_MAX];
	int rc = -1;

	if (!text)
		return -1;
	snprintf(folder, sizeof(folder), "%s", path);
	if (overwrite(path, text, keys_text_write(text, g), e) == 0)
		rc = fs_sync_dir(dirname(folder), e);
	secret_free(text, KEYS_TEXT_MAX);
	return rc;
}

/* The file at PATH says G from now on. */
static int
write_both(const char *path, const struct keys_generations *g, struct err *e)
{
	char aside[PATH_MAX];

	if (keys_file_aside(path, aside, e) < 0 || write_one(aside, g, e) < 0 ||
	    write_one(path, g, e) < 0)
		return -1;
	return overwrite(aside, "", 0, e);
}

/* --- reading it --------------------------------------------------------------------------- */

static int
check_file(int fd, const char *path, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(e, errno, "region key %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_DENIED, "region key %s: not a regular file", path);
	if (st.st_uid != geteuid())
		return err_set(e, ERR_DENIED,
		    "region key %s: belongs to user %u; give it to user %u with chown", path,
		    (unsigned)st.st_uid, (unsigned)geteuid());
	if ((st.st_mode & 07777) != 0600 && (st.st_mode & 07777) != 0400)
		return err_set(e, ERR_DENIED,
		    "region key %s: its mode is %04o; others may have read it. If not: chmod 600",
		    path, (unsigned)st.st_mode & 07777);
	return 0;
}

/* The whole file into TEXT with a NUL after it; returns its length or -1. */
static ssize_t
read_text(const char *path, char text[static KEYS_TEXT_MAX], struct err *e)
{
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	size_t n = 0;

	if (fd < 0)
		return err_errno(e, errno, "region key %s", path);
	if (check_file(fd, path, e) < 0)
		return -1;
	while (n < KEYS_TEXT_MAX - 1) {
		ssize_t got = read(fd, text + n, KEYS_TEXT_MAX - 1 - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_errno(e, errno, "region key %s", path);
		if (!got)
			break;
		n += (size_t)got;
	}
	text[n] = 0;
	return (ssize_t)n;
}

static struct keys *
keys_alloc(const char *path, struct err *e)
{
	struct keys *k = secret_alloc(sizeof(*k), e);
	pthread_rwlockattr_t a;

	if (!k)
		return NULL;
	pthread_mutex_init(&k->lock, NULL);
	pthread_mutex_init(&k->change, NULL);
	/* New vaults come all the time: who adds a generation must get its turn. */
	pthread_rwlockattr_init(&a);
	pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&k->hold, &a);
	pthread_rwlockattr_destroy(&a);
	if (snprintf(k->path, sizeof(k->path), "%s", path) < (int)sizeof(k->path))
		return k;
	keys_close(k);
	err_set(e, ERR_BAD, "a path of %zu bytes", strlen(path));
	return NULL;
}

/* 0: *G read; -1, with ERR_FORGED if it is damaged or something else. */
static int
read_generations(const char *path, struct keys_generations *g, struct err *e)
{
	char *text = secret_alloc(KEYS_TEXT_MAX, e);
	ssize_t n;
	int rc = -1;

	if (!text)
		return -1;
	n = read_text(path, text, e);
	g->n = 0;
	if (n >= 0)
		rc = keys_text_parse(g, text, (size_t)n)
		    ? 0
		    : err_set(e, ERR_FORGED, "region key %s: damaged, or not a region key", path);
	secret_free(text, KEYS_TEXT_MAX);
	return rc;
}

/* The file was being written over when the machine stopped: what was to be in it is beside it. */
static int
complete(struct keys *k, struct err *e)
{
	char aside[PATH_MAX];
	struct err ignored;

	if (keys_file_aside(k->path, aside, e) < 0 || read_generations(aside, &k->g, &ignored) < 0)
		return -1;
	return write_both(k->path, &k->g, e);
}

struct keys *
keys_file_open(const char *path, struct err *e)
{
	_cleanup_(keys_closep) struct keys *k = keys_alloc(path, e);

	if (!k)
		return NULL;
	if (read_generations(path, &k->g, e) < 0 && (e->kind != ERR_FORGED || complete(k, e) < 0))
		return NULL;
	return take(&k);
}

void
keys_close(struct keys *k)
{
	if (!k)
		return;
	pthread_mutex_destroy(&k->lock);
	pthread_mutex_destroy(&k->change);
	pthread_rwlock_destroy(&k->hold);
	secret_free(k, sizeof(*k));
}

/* --- rotating it -------------------------------------------------------------------------- */

/* G with one generation more. */
static void
extend(struct keys_generations *g, uint32_t generation)
{
	g->all[g->n].generation = generation;
	host_random(g->all[g->n].key, KEY_BYTES);
	g->n++;
}

static void
publish(struct keys *k, const struct keys_generations *g)
{
	pthread_mutex_lock(&k->lock);
	wipe(&k->g, sizeof(k->g));
	k->g = *g;
	pthread_mutex_unlock(&k->lock);
}

/* G becomes what the file and we have; on error, what they had. */
static int
change(struct keys *k, const struct keys_generations *g, struct err *e)
{
	struct err ignored;

	if (write_both(k->path, g, e) < 0) {
		/* If this fails too, the next to open the file takes whichever is whole: both will do. */
		if (write_both(k->path, &k->g, &ignored) < 0)
			err_add(e, "not put back");
		return err_add(e, "region key");
	}
	pthread_rwlock_wrlock(&k->hold);
	publish(k, g);
	pthread_rwlock_unlock(&k->hold);
	return 0;
}

/* Whether what is beside the file is K with GENERATION: *NEXT then. */
static bool
is_planned(const struct keys *k, uint32_t generation, struct keys_generations *next)
{
	char aside[PATH_MAX];
	struct err ignored;

	return keys_file_aside(k->path, aside, &ignored) == 0 &&
	    read_generations(aside, next, &ignored) == 0 && next->n == k->g.n + 1 &&
	    next->all[k->g.n].generation == generation &&
	    memcmp(next->all, k->g.all, k->g.n * sizeof(next->all[0])) == 0;
}

static void
digest_of(const struct keys_generations *g, unsigned i, uint8_t out[static SHA256_BYTES])
{
	static const char what[] = "domicile region key";
	uint8_t all[sizeof(what) + 4 + KEY_BYTES];

	memcpy(all, what, sizeof(what));
	be32_put(all + sizeof(what), g->all[i].generation);
	memcpy(all + sizeof(what) + 4, g->all[i].key, KEY_BYTES);
	sha256(all, sizeof(all), out);
	wipe(all, sizeof(all));
}

static int
plan(struct keys *k, uint32_t generation, struct keys_generations *next, struct err *e)
{
	char aside[PATH_MAX];

	*next = k->g;
	if (next->all[next->n - 1].generation > generation)
		return err_set(
		    e, ERR_STALE, "the region key has a generation after %" PRIu32, generation);
	if (next->all[next->n - 1].generation == generation || is_planned(k, generation, next))
		return 0;
	*next = k->g;
	if (next->n == KEYS_GENERATIONS_MAX)
		return err_set(e, ERR_TOO_BIG, "the region key has %u generations", next->n);
	extend(next, generation);
	return keys_file_aside(k->path, aside, e) < 0 ? -1 : write_one(aside, next, e);
}

int
keys_plan(struct keys *k, uint32_t generation, uint8_t digest[static SHA256_BYTES], struct err *e)
{
	struct keys_generations *next = secret_alloc(sizeof(*next), e);
	int rc;

	if (!next)
		return -1;
	pthread_mutex_lock(&k->change);
	rc = plan(k, generation, next, e);
	pthread_mutex_unlock(&k->change);
	if (rc == 0)
		digest_of(next, next->n - 1, digest);
	secret_free(next, sizeof(*next));
	return rc < 0 ? err_add(e, "region key") : 0;
}

bool
keys_has(struct keys *k, const uint8_t digest[static SHA256_BYTES])
{
	uint8_t one[SHA256_BYTES];
	bool has = false;

	pthread_mutex_lock(&k->lock);
	for (unsigned i = 0; i < k->g.n && !has; i++) {
		digest_of(&k->g, i, one);
		has = memcmp(one, digest, sizeof(one)) == 0;
	}
	pthread_mutex_unlock(&k->lock);
	return has;
}

int
keys_add(struct keys *k, uint32_t generation, struct err *e)
{
	struct keys_generations *next = secret_alloc(sizeof(*next), e);
	uint32_t newest;
	int rc = 0;

	if (!next)
		return -1;
	pthread_mutex_lock(&k->change);
	*next = k->g; /* nobody else changes it */
	newest = next->all[next->n - 1].generation;
	if (newest > generation) {
		rc = err_set(
		    e, ERR_STALE, "the region key has a generation after %" PRIu32, generation);
	} else if (newest < generation && next->n == KEYS_GENERATIONS_MAX) {
		rc = err_set(e, ERR_TOO_BIG, "the region key has %u generations", next->n);
	} else if (newest < generation) {
		if (!is_planned(k, generation, next)) {
			*next = k->g;
			extend(next, generation);
		}
		rc = change(k, next, e);
	}
	pthread_mutex_unlock(&k->change);
	secret_free(next, sizeof(*next));
	return rc;
}

int
keys_destroy_old(struct keys *k, struct err *e)
{
	struct keys_generations *next = secret_alloc(sizeof(*next), e);
	int rc;

	if (!next)
		return -1;
	pthread_mutex_lock(&k->change);
	next->n = 1;
	next->all[0] = k->g.all[k->g.n - 1];
	/* Also if it is so already: a crash may have left more beside the file. */
	rc = change(k, next, e);
	pthread_mutex_unlock(&k->change);
	secret_free(next, sizeof(*next));
	return rc;
}

void
keys_hold(struct keys *k)
{
	pthread_rwlock_rdlock(&k->hold);
}

void
keys_release(struct keys *k)
{
	pthread_rwlock_unlock(&k->hold);
}

/* --- wrapping ----------------------------------------------------------------------------- */

#define AD_BYTES (1 + VAULT_ID_BYTES + 8)

static void
bind(uint8_t ad[static AD_BYTES], const struct vault_id *id, uint64_t epoch)
{
	ad[0] = 'W';
	memcpy(ad + 1, id, VAULT_ID_BYTES);
	be64_put(ad + 1 + VAULT_ID_BYTES, epoch);
}

uint32_t
keys_generation(struct keys *k)
{
	uint32_t generation;

	pthread_mutex_lock(&k->lock);
	generation = k->g.all[k->g.n - 1].generation;
	pthread_mutex_unlock(&k->lock);
	return generation;
}

uint32_t
keys_oldest(struct keys *k)
{
	uint32_t generation;

	pthread_mutex_lock(&k->lock);
	generation = k->g.all[0].generation;
	pthread_mutex_unlock(&k->lock);
	return generation;
}

unsigned
keys_count(struct keys *k)
{
	unsigned n;

	pthread_mutex_lock(&k->lock);
	n = k->g.n;
	pthread_mutex_unlock(&k->lock);
	return n;
}

/* An aead serves one thread at a time, so each call opens its own. */
static struct aead *
open_generation(struct keys *k, uint32_t generation, struct err *e)
{
	struct aead *a = NULL;
	bool found = false;

	pthread_mutex_lock(&k->lock);
	for (unsigned i = 0; i < k->g.n && !found; i++) {
		found = k->g.all[i].generation == generation;
		if (found)
			a = aead_open(k->g.all[i].key, e);
	}
	pthread_mutex_unlock(&k->lock);
	if (!found)
		err_set(e, ERR_MISSING, "generation %" PRIu32 " of the region key is destroyed",
		    generation);
	return a;
}

int
keys_wrap(struct keys *k, const struct vault_id *id, uint64_t epoch,
    const uint8_t data_key[static KEY_BYTES], uint8_t out[static WRAPPED_BYTES], struct err *e)
{
	uint32_t generation = keys_generation(k);
	_cleanup_(aead_closep) struct aead *a = open_generation(k, generation, e);
	uint8_t ad[AD_BYTES];

	if (!a)
		return -1;
	be32_put(out, generation);
	host_random(out + 4, NONCE_BYTES);
	bind(ad, id, epoch);
	return aead_seal(a, out + 4, ad, sizeof(ad), data_key, KEY_BYTES, out + 4 + NONCE_BYTES, e);
}

int
keys_unwrap(struct keys *k, const struct vault_id *id, uint64_t epoch,
    const uint8_t wrapped[static WRAPPED_BYTES], uint8_t out[static KEY_BYTES], struct err *e)
{
	_cleanup_(aead_closep) struct aead *a = open_generation(k, be32_get(wrapped), e);
	uint8_t ad[AD_BYTES];

	if (!a)
		return -1;
	bind(ad, id, epoch);
	if (aead_unseal(a, wrapped + 4, ad, sizeof(ad), wrapped + 4 + NONCE_BYTES,
	        KEY_BYTES + TAG_BYTES, out, e) < 0)
		return err_set(e, ERR_FORGED,
		    "the data key was not wrapped for this vault by this region's key");
	return 0;
}
