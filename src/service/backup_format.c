/* backup_format.c - manifests, lists of chunks, and where all lies. See backup.h. */
#include "service/backup_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/host.h"

/* One that names damages has a format of its own, so that no older program takes it for whole. */
#define FORMAT         "domicile-backup/1"
#define FORMAT_DAMAGED "domicile-backup/2"

/* --- paths --- */

void
backup_object_path(
    const char *folder, const uint8_t digest[static SHA256_BYTES], char out[static BACKUP_PATH])
{
	char hex[2 * SHA256_BYTES + 1];

	hex_text(digest, SHA256_BYTES, hex);
	snprintf(out, BACKUP_PATH, "%s/objects/%.2s/%s", folder, hex, hex);
}

static void
chunk_path(const char *folder, const struct chunk_entry *c, char out[static BACKUP_PATH])
{
	char account[ACCOUNT_TEXT_SIZE], name[33];

	account_text(&c->id.account, account);
	hex_text(c->name, sizeof(c->name), name);
	snprintf(out, BACKUP_PATH, "%s/chunks/%.2s/%s.%u.%s", folder, account, account,
	    c->id.service, name);
}

static void
second_path(const char *folder, const struct chunk_entry *c, char out[static BACKUP_PATH])
{
	char digest[17];
	size_t n;

	chunk_path(folder, c, out);
	n = strlen(out);
	hex_text(c->digest, 8, digest);
	snprintf(out + n, BACKUP_PATH - n, ".%s", digest);
}

void
backup_chunk_path(const char *folder, const struct chunk_entry *c, char out[static BACKUP_PATH])
{
	second_path(folder, c, out);
	if (access(out, F_OK) < 0)
		chunk_path(folder, c, out);
}

void
backup_chunk_new_path(const char *folder, const struct chunk_entry *c,
    const uint8_t head[static CHUNK_HEAD], char out[static BACKUP_PATH])
{
	_cleanup_(fd_closep) int fd = -1;
	uint8_t there[CHUNK_HEAD];

	chunk_path(folder, c, out);
	fd = open(out, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 &&
	    (pread(fd, there, sizeof(there), 0) != sizeof(there) ||
	        memcmp(there, head, sizeof(there)) != 0))
		second_path(folder, c, out);
}

void
backup_manifest_path(const char *folder, uint32_t generation, char out[static BACKUP_PATH])
{
	snprintf(out, BACKUP_PATH, "%s/generation-%06u", folder, generation);
}

static int
number_order(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

int
backup_generations(const char *folder, struct buf *out, struct err *e)
{
	DIR *d = opendir(folder);
	const struct dirent *entry;

	if (!d)
		return err_errno(e, errno, "%s", folder);
	while ((entry = readdir(d))) {
		char again[64];
		uint32_t n;

		if (sscanf(entry->d_name, "generation-%6u", &n) != 1)
			continue;
		snprintf(again, sizeof(again), "generation-%06u", n);
		if (strcmp(again, entry->d_name) == 0)
			buf_add(out, &n, sizeof(n));
	}
	closedir(d);
	if (buf_check(out, e) < 0)
		return -1;
	if (out->len)
		qsort(out->data, out->len / sizeof(uint32_t), sizeof(uint32_t), number_order);
	return 0;
}

/* --- chunk lists --- */

void
chunk_entry_put(struct buf *b, const struct chunk_entry *c)
{
	buf_add(b, &c->id, VAULT_ID_BYTES);
	buf_add(b, c->name, sizeof(c->name));
	put_u64(b, c->bytes);
	buf_add(b, c->digest, SHA256_BYTES);
}

int
chunk_entry_next(struct reader *r, struct chunk_entry *out, struct err *e)
{
	if (!r->left && !r->failed)
		return 0;
	read_copy(r, &out->id, VAULT_ID_BYTES);
	read_copy(r, out->name, sizeof(out->name));
	out->bytes = read_u64(r);
	read_copy(r, out->digest, SHA256_BYTES);
	return r->failed ? err_set(e, ERR_FORGED, "a malformed list of chunks") : 1;
}

/* --- the manifest --- */

void
manifest_free(struct manifest *m)
{
	free(m->runs);
	free(m->lists);
	free(m->damages);
	m->runs = m->lists = NULL;
	m->damages = NULL;
	m->n_runs = m->n_lists = m->n_damages = 0;
}

static const struct {
	const char *name;
	size_t at;
} figures[] = {
	{ "began_ms", offsetof(struct manifest, began_ms) },
	{ "finished_ms", offsetof(struct manifest, finished_ms) },
	{ "accounts", offsetof(struct manifest, accounts) },
	{ "vaults", offsetof(struct manifest, vaults) },
	{ "records", offsetof(struct manifest, records) },
	{ "record_bytes", offsetof(struct manifest, record_bytes) },
	{ "chunks", offsetof(struct manifest, chunks) },
	{ "chunk_bytes", offsetof(struct manifest, chunk_bytes) },
};

static uint64_t *
figure(const struct manifest *m, size_t i)
{
	return (uint64_t *)((char *)(uintptr_t)m + figures[i].at);
}

static json_t *
object_json(const struct backup_object *o)
{
	char hex[2 * SHA256_BYTES + 1];

	hex_text(o->digest, SHA256_BYTES, hex);
	return json_pack("[s, I]", hex, (json_int_t)o->bytes);
}

static json_t *
objects_json(const struct backup_object *o, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < n; i++)
		if (json_array_append_new(list, object_json(&o[i])) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

static json_t *
damage_json(const struct backup_damage *d)
{
	char account[ACCOUNT_TEXT_SIZE], to[ACCOUNT_TEXT_SIZE];

	account_text(&d->id.account, account);
	account_text(&d->to, to);
	if (d->kind == BACKUP_MISSING)
		return json_pack(
		    "{s:s, s:s, s:s}", "kind", "missing", "account", account, "to", to);
	return json_pack("{s:s, s:s, s:s}", "kind", d->kind == BACKUP_CHUNK ? "chunk" : "header",
	    "account", account, "service", service_name(d->id.service));
}

static json_t *
damages_json(const struct manifest *m)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < m->n_damages; i++)
		if (json_array_append_new(list, damage_json(&m->damages[i])) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

json_t *
manifest_json(const struct manifest *m)
{
	char began[25];
	json_t *j;

	host_time_text(m->began_ms, began);
	j = json_pack("{s:s, s:i, s:s, s:b, s:i, s:i, s:I, s:I, s:o}", "region", m->region,
	    "generation", (int)m->generation, "time", began, "directory", (int)m->has_directory,
	    "key_oldest", (int)m->key_oldest, "key_newest", (int)m->key_newest, "damaged",
	    (json_int_t)m->damaged, "missing", (json_int_t)m->missing, "damages", damages_json(m));
	for (size_t i = 0; j && i < ARRAY_LEN(figures); i++)
		json_object_set_new(j, figures[i].name, json_integer((json_int_t)*figure(m, i)));
	return j;
}

int
manifest_text(const struct manifest *m, struct buf *out, struct err *e)
{
	json_t *j = json_pack("{s:s, s:s, s:i, s:i, s:i, s:o, s:o}", "format",
	    m->damaged ? FORMAT_DAMAGED : FORMAT, "region", m->region, "generation",
	    (int)m->generation, "key_oldest", (int)m->key_oldest, "key_newest", (int)m->key_newest,
	    "runs", objects_json(m->runs, m->n_runs), "lists", objects_json(m->lists, m->n_lists));
	char hex[2 * SHA256_BYTES + 1];
	uint8_t digest[SHA256_BYTES];
	char *text;

	for (size_t i = 0; j && i < ARRAY_LEN(figures); i++)
		json_object_set_new(j, figures[i].name, json_integer((json_int_t)*figure(m, i)));
	if (j && m->has_directory)
		json_object_set_new(j, "directory", object_json(&m->directory));
	if (j && m->damaged &&
	    (json_object_set_new(j, "damaged", json_integer((json_int_t)m->damaged)) < 0 ||
	        json_object_set_new(j, "missing", json_integer((json_int_t)m->missing)) < 0 ||
	        json_object_set_new(j, "damages", damages_json(m)) < 0)) {
		json_decref(j);
		j = NULL;
	}
	text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	json_decref(j);
	if (!text)
		return err_set(e, ERR_MEMORY, "no memory for a manifest");
	sha256(text, strlen(text), digest);
	hex_text(digest, sizeof(digest), hex);
	buf_printf(out, "%s", text);
	buf_printf(out, "\n%s\n", hex);
	free(text);
	return buf_check(out, e);
}

static bool
object_of(json_t *j, struct backup_object *out)
{
	const char *hex = json_string_value(json_array_get(j, 0));
	json_t *bytes = json_array_get(j, 1);

	if (json_array_size(j) != 2 || !hex || strlen(hex) != 2 * SHA256_BYTES ||
	    !hex_parse(hex, out->digest, SHA256_BYTES) || !json_is_integer(bytes) ||
	    json_integer_value(bytes) < 0)
		return false;
	out->bytes = (uint64_t)json_integer_value(bytes);
	return true;
}

static bool
objects_of(json_t *list, struct backup_object **out, size_t *n)
{
	size_t count = json_array_size(list);

	if (!json_is_array(list))
		return false;
	*out = calloc(count + 1, sizeof(**out));
	if (!*out)
		return false;
	for (*n = 0; *n < count; ++*n)
		if (!object_of(json_array_get(list, *n), &(*out)[*n]))
			return false;
	return true;
}

static bool
number_of(json_t *j, const char *name, uint64_t max, uint64_t *out)
{
	json_t *n = json_object_get(j, name);

	if (!json_is_integer(n) || json_integer_value(n) < 0 ||
	    (uint64_t)json_integer_value(n) > max)
		return false;
	*out = (uint64_t)json_integer_value(n);
	return true;
}

static bool
damage_of(json_t *j, struct backup_damage *out)
{
	const char *account = json_string_value(json_object_get(j, "account"));
	const char *name = json_string_value(json_object_get(j, "service"));
	const char *to = json_string_value(json_object_get(j, "to"));
	const char *kind = json_string_value(json_object_get(j, "kind"));
	enum service service;

	if (!account || !account_parse(account, &out->id.account) || !kind)
		return false;
	if (strcmp(kind, "missing") == 0) {
		out->kind = BACKUP_MISSING;
		return to && account_parse(to, &out->to);
	}
	out->kind = strcmp(kind, "chunk") == 0 ? BACKUP_CHUNK : BACKUP_HEADER;
	if ((out->kind == BACKUP_HEADER && strcmp(kind, "header") != 0) || !name ||
	    !service_parse(name, &service))
		return false;
	out->id.service = (uint8_t)service;
	return true;
}

static bool
damages_of(json_t *j, struct manifest *m)
{
	json_t *list = json_object_get(j, "damages");
	size_t n = json_array_size(list);

	if (!number_of(j, "damaged", INT64_MAX, &m->damaged) ||
	    !number_of(j, "missing", m->damaged, &m->missing) || !n || n > BACKUP_DAMAGES_MAX ||
	    n > m->damaged)
		return false;
	m->damages = calloc(n, sizeof(*m->damages));
	if (!m->damages)
		return false;
	for (; m->n_damages < n; m->n_damages++)
		if (!damage_of(json_array_get(list, m->n_damages), &m->damages[m->n_damages]))
			return false;
	return true;
}

static bool
fill(json_t *j, bool is_damaged, struct manifest *m)
{
	const char *region = json_string_value(json_object_get(j, "region"));
	json_t *directory = json_object_get(j, "directory");
	uint64_t generation, oldest, newest;

	if (!region || !region_name_valid(region) ||
	    !number_of(j, "generation", GENERATION_MAX, &generation) || !generation ||
	    !number_of(j, "key_oldest", UINT32_MAX, &oldest) ||
	    !number_of(j, "key_newest", UINT32_MAX, &newest) || oldest > newest)
		return false;
	snprintf(m->region, sizeof(m->region), "%s", region);
	m->generation = (uint32_t)generation;
	m->key_oldest = (uint32_t)oldest;
	m->key_newest = (uint32_t)newest;
	for (size_t i = 0; i < ARRAY_LEN(figures); i++)
		if (!number_of(j, figures[i].name, INT64_MAX, figure(m, i)))
			return false;
	m->has_directory = directory != NULL;
	if (directory && !object_of(directory, &m->directory))
		return false;
	return objects_of(json_object_get(j, "runs"), &m->runs, &m->n_runs) &&
	    objects_of(json_object_get(j, "lists"), &m->lists, &m->n_lists) &&
	    (!is_damaged || damages_of(j, m));
}

/* The JSON in TEXT if its digest, on the line behind it, holds. */
static json_t *
checked(struct span text)
{
	const size_t tail = 2 * SHA256_BYTES + 2;
	uint8_t said[SHA256_BYTES], digest[SHA256_BYTES];
	char hex[2 * SHA256_BYTES + 1];
	size_t n;

	if (text.len < tail || text.data[text.len - 1] != '\n' ||
	    text.data[text.len - tail] != '\n')
		return NULL;
	n = text.len - tail;
	memcpy(hex, text.data + n + 1, 2 * SHA256_BYTES);
	hex[2 * SHA256_BYTES] = 0;
	sha256(text.data, n, digest);
	if (!hex_parse(hex, said, sizeof(said)) || memcmp(said, digest, sizeof(said)) != 0)
		return NULL;
	return json_loadb((const char *)text.data, n, JSON_REJECT_DUPLICATES, NULL);
}

int
manifest_parse(struct span text, struct manifest *out, struct err *e)
{
	_cleanup_manifest_ struct manifest m = { 0 };
	json_t *j = checked(text);
	const char *format = json_string_value(json_object_get(j, "format"));
	bool is_damaged = format && strcmp(format, FORMAT_DAMAGED) == 0;
	bool is_ours = is_damaged || (format && strcmp(format, FORMAT) == 0);
	bool is_good = is_ours && fill(j, is_damaged, &m);

	if (format && !is_ours)
		err_set(e, ERR_BAD,
		    "a backup of format '%.40s', and this program knows " FORMAT
		    " and " FORMAT_DAMAGED,
		    format);
	else if (!is_good)
		err_set(e, ERR_FORGED, "a damaged manifest");
	json_decref(j);
	if (!is_good)
		return -1;
	*out = m;
	m = (struct manifest){ 0 };
	return 0;
}
