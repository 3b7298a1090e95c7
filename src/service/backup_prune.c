/* backup_prune.c - what no kept generation needs goes, and with it what a broken-off backup left. */
#include "service/backup_internal.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"

struct kept {
	struct manifest *m;
	size_t n;
};

static void
kept_free(struct kept *k)
{
	for (size_t i = 0; i < k->n; i++)
		manifest_free(&k->m[i]);
	free(k->m);
}

/* A set of names of one length, in order, one after the other. */
struct names {
	struct buf bytes;
	size_t size;
};

static _Thread_local size_t name_size; /* for qsort */

static int
name_order(const void *a, const void *b)
{
	return memcmp(a, b, name_size);
}

static void
names_sort(struct names *s)
{
	name_size = s->size;
	if (s->bytes.len)
		qsort(s->bytes.data, s->bytes.len / s->size, s->size, name_order);
}

static bool
names_has(const struct names *s, const void *name)
{
	name_size = s->size;
	return s->bytes.len &&
	    bsearch(name, s->bytes.data, s->bytes.len / s->size, s->size, name_order);
}

/* Remove the files of folder PATH whose names, as NAME_OF reads them, are not in S. */
static int
remove_others(const char *path, const struct names *s,
    bool (*name_of)(const char *text, uint8_t *out), struct err *e)
{
	DIR *d = opendir(path);
	const struct dirent *entry;
	uint8_t name[64];
	int rc = 0;

	if (!d)
		return err_errno(e, errno, "%s", path);
	while (rc == 0 && (entry = readdir(d))) {
		if (entry->d_name[0] == '.' || (name_of(entry->d_name, name) && names_has(s, name)))
			continue;
		if (unlinkat(dirfd(d), entry->d_name, 0) < 0)
			rc = err_errno(e, errno, "%s/%s", path, entry->d_name);
	}
	closedir(d);
	return rc;
}

static bool
digest_of(const char *text, uint8_t *out)
{
	return strlen(text) == 2 * SHA256_BYTES && hex_parse(text, out, SHA256_BYTES);
}

#define CHUNK_NAME (VAULT_ID_BYTES + 16)

static bool
chunk_of(const char *text, uint8_t *out)
{
	char account[ACCOUNT_TEXT_SIZE], name[33];
	struct vault_id id;
	unsigned service;

	if (sscanf(text, "%32[0-9a-f].%3u.%32[0-9a-f]", account, &service, name) != 3 ||
	    !account_parse(account, &id.account) || service > 255 || strlen(name) != 32 ||
	    !hex_parse(name, out + VAULT_ID_BYTES, 16))
		return false;
	id.service = (uint8_t)service;
	memcpy(out, &id, VAULT_ID_BYTES);
	return true;
}

static void
add_digest(struct names *s, const struct backup_object *o)
{
	buf_add(&s->bytes, o->digest, SHA256_BYTES);
}

static int
prune_objects(const char *folder, const struct kept *k, struct err *e)
{
	struct names s = { .bytes = BUF_INIT(0), .size = SHA256_BYTES };
	char path[BACKUP_PATH];
	int rc;

	for (size_t i = 0; i < k->n; i++) {
		const struct manifest *m = &k->m[i];

		for (size_t r = 0; r < m->n_runs; r++)
			add_digest(&s, &m->runs[r]);
		for (size_t l = 0; l < m->n_lists; l++)
			add_digest(&s, &m->lists[l]);
		if (m->has_directory)
			add_digest(&s, &m->directory);
	}
	rc = buf_check(&s.bytes, e);
	names_sort(&s);
	for (unsigned g = 0; g < BACKUP_GROUPS && rc == 0; g++) {
		snprintf(path, sizeof(path), "%s/objects/%02x", folder, g);
		rc = remove_others(path, &s, digest_of, e);
	}
	buf_free(&s.bytes);
	return rc;
}

/* The chunks of group G that M needs. Lists are in order, one a group: AT is where to look. */
static int
add_group(const char *folder, const struct manifest *m, size_t *at, unsigned g, struct names *s,
    struct err *e)
{
	_cleanup_buf_ struct buf raw = BUF_INIT(LIST_MAX);
	struct chunk_entry c;
	struct reader r;
	int rc;

	if (*at == m->n_lists)
		return 0;
	if (backup_read_object(folder, &m->lists[*at], LIST_MAX, &raw, e) < 0)
		return err_add(e, "generation %u", m->generation);
	r = READER(raw.data, raw.len);
	while ((rc = chunk_entry_next(&r, &c, e)) > 0 && c.id.account.b[0] == g) {
		buf_add(&s->bytes, &c.id, VAULT_ID_BYTES);
		buf_add(&s->bytes, c.name, sizeof(c.name));
	}
	if (rc == 0)
		++*at;
	return rc < 0 ? -1 : 0;
}

/* Those of group G that any of K needs. */
static int
gather_group(const char *folder, const struct kept *k, size_t *at, unsigned g, struct names *s,
    struct err *e)
{
	buf_clear(&s->bytes);
	for (size_t i = 0; i < k->n; i++)
		if (add_group(folder, &k->m[i], &at[i], g, s, e) < 0)
			return -1;
	if (buf_check(&s->bytes, e) < 0)
		return -1;
	names_sort(s);
	return 0;
}

/* What a generation with a damaged list needs is not known: until it goes in its turn, chunks stay. */
static int
prune_chunks(const char *folder, const struct kept *k, struct err *e)
{
	_cleanup_(freep) size_t *at = calloc(k->n + 1, sizeof(*at));
	struct names s = { .bytes = BUF_INIT(0), .size = CHUNK_NAME };
	char path[BACKUP_PATH];
	struct err why;
	int rc = at ? 0 : err_set(e, ERR_MEMORY, "no memory to prune a backup");

	for (unsigned g = 0; g < BACKUP_GROUPS && rc == 0; g++) {
		if (gather_group(folder, k, at, g, &s, &why) < 0) {
			log_warn("backup.prune", NULL, "chunks stay: %s", why.text);
			break;
		}
		snprintf(path, sizeof(path), "%s/chunks/%02x", folder, g);
		rc = remove_others(path, &s, chunk_of, e);
	}
	buf_free(&s.bytes);
	return rc;
}

/* The last N, and with them, if none is complete, the newest of the OLD ones before that is: *SPARED. */
static int
load_kept(const char *folder, const uint32_t *numbers, size_t old, size_t n, struct kept *k,
    uint32_t *spared, struct err *e)
{
	bool has_complete = false;

	k->m = calloc(n + 1, sizeof(*k->m));
	if (!k->m)
		return err_set(e, ERR_MEMORY, "no memory to prune a backup");
	for (; k->n < n; k->n++) {
		if (backup_manifest(folder, numbers[old + k->n], &k->m[k->n], e) < 0)
			return -1;
		has_complete |= !k->m[k->n].missing;
	}
	while (!has_complete && old-- > 0) {
		struct manifest *m = &k->m[k->n];

		if (backup_manifest(folder, numbers[old], m, NULL) < 0)
			continue; /* nobody can restore it */
		if (m->missing) {
			manifest_free(m);
			continue;
		}
		*spared = numbers[old];
		k->n++;
		has_complete = true;
	}
	return 0;
}

int
backup_prune(const char *folder, unsigned keep, struct err *e)
{
	_cleanup_buf_ struct buf list = BUF_INIT(0);
	_cleanup_(kept_free) struct kept k = { 0 };
	const uint32_t *numbers;
	char path[BACKUP_PATH];
	uint32_t spared = 0;
	size_t n, old;

	if (backup_generations(folder, &list, e) < 0)
		return -1;
	numbers = (const void *)list.data;
	n = list.len / sizeof(*numbers);
	old = n > keep ? n - keep : 0;
	/* A damaged manifest that stays would let what it needs go: that is said before anything goes. */
	if (load_kept(folder, numbers, old, n - old, &k, &spared, e) < 0)
		return err_add(e, "written, but nothing old was removed");
	for (size_t i = 0; i < old; i++) {
		if (numbers[i] == spared)
			continue;
		backup_manifest_path(folder, numbers[i], path);
		if (unlink(path) < 0)
			return err_errno(e, errno, "%s", path);
	}
	/* No manifest may come back without what it needs. */
	if (fs_sync_dir(folder, e) < 0)
		return -1;
	return prune_objects(folder, &k, e) < 0 ? -1 : prune_chunks(folder, &k, e);
}
