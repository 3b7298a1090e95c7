/* backup_chunks.c - the chunks of a backup: copied once, listed by groups. See backup_writing_internal.h. */
#include "service/backup_writing_internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "chunks/chunks.h"

static int
entry_order(const void *a, const void *b)
{
	const struct chunk_entry *x = a, *y = b;
	int r = memcmp(&x->id, &y->id, sizeof(x->id));

	return r ? r : memcmp(x->name, y->name, sizeof(x->name));
}

/* What the backup before has of this group, parsed and in order, in w->known. */
static int
load_known(struct writing *w, struct err *e)
{
	_cleanup_buf_ struct buf raw = BUF_INIT(LIST_MAX);
	struct chunk_entry c;

	buf_clear(&w->known);
	while (w->before_next < w->before.n_lists) {
		struct reader r;
		int rc;

		if (backup_read_object(
		        w->folder, &w->before.lists[w->before_next], LIST_MAX, &raw, e) < 0)
			return -1;
		r = READER(raw.data, raw.len);
		rc = chunk_entry_next(&r, &c, e);
		if (rc < 0)
			return -1;
		if (rc && c.id.account.b[0] > w->group)
			return 0;
		w->before_next++;
		if (!rc || c.id.account.b[0] < w->group)
			continue;
		do
			buf_add(&w->known, &c, sizeof(c));
		while ((rc = chunk_entry_next(&r, &c, e)) > 0);
		return rc < 0 ? -1 : buf_check(&w->known, e);
	}
	return 0;
}

/* Whether PATH has another sealing of C than the store: of a stay of its account before. */
static bool
is_other(struct writing *w, const struct chunk_entry *c, const char *path)
{
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct chunks *chunks = w->b->node->chunks;
	uint8_t here[CHUNK_HEAD], there[CHUNK_HEAD];
	struct chunk_name name;
	struct chunk_in *in;
	bool is;

	memcpy(name.b, c->name, sizeof(name.b));
	in = chunks_open(chunks, &c->id, &name, NULL);
	is = in && chunks_read(chunks, in, 0, here, sizeof(here), NULL) == 0 &&
	    (pread(fd, there, sizeof(there), 0) != sizeof(there) ||
	        memcmp(here, there, sizeof(here)) != 0);
	chunks_close_in(chunks, in);
	return is;
}

/* A sealed chunk never changes: one that the backup before has stays as it is there, and C becomes
 * that, even if the store's is of another length by now. */
static bool
is_known(struct writing *w, struct chunk_entry *c)
{
	size_t n = w->known.len / sizeof(*c);
	const struct chunk_entry *old = n ? bsearch(c, w->known.data, n, sizeof(*c), entry_order)
	                                  : NULL;
	char path[BACKUP_PATH];

	if (!old)
		return false;
	backup_chunk_path(w->folder, old, path);
	if (!backup_is_there(path, old->bytes) || is_other(w, c, path))
		return false;
	*c = *old;
	return true;
}

/* 1: all of it is in the part; 0: the store does not give it, *WHY; -1: the part does not take it. */
static int
copy_bytes(struct writing *w, struct chunk_in *in, int fd, struct chunk_entry *c, struct err *why,
    struct err *e)
{
	struct chunks *chunks = w->b->node->chunks;
	_cleanup_(hash_closep) struct hash *h = hash_open(HASH_SHA256, e);

	if (!h)
		return -1;
	c->bytes = chunks_bytes(chunks, in);
	for (uint64_t at = 0; at < c->bytes;) {
		size_t n = c->bytes - at < WRITING_COPY ? (size_t)(c->bytes - at) : WRITING_COPY;

		if (chunks_read(chunks, in, at, w->copying, n, why) < 0)
			return 0;
		if (!at)
			memcpy(w->head, w->copying, n < CHUNK_HEAD ? n : CHUNK_HEAD);
		if (fs_write_all(fd, w->copying, n, e) < 0)
			return -1;
		hash_add(h, w->copying, n);
		at += n;
	}
	hash_end(h, c->digest);
	return 1;
}

/* The store does not give C: its vault was erased meanwhile, or it is damaged, which is told once a vault. */
static int
leave_out(struct writing *w, const struct chunk_entry *c, const struct err *why, struct err *e)
{
	const struct backup_damage d = { .kind = BACKUP_CHUNK, .id = c->id };
	char account[ACCOUNT_TEXT_SIZE];

	if (why->kind == ERR_MISSING)
		return 0;
	account_text(&c->id.account, account);
	if ((why->kind != ERR_IO && why->kind != ERR_FORGED) || !c->id.service ||
	    c->id.service >= SERVICES)
		return err_set(e, why->kind, "account %s: %s", account, why->text);
	if (w->has_left_out && memcmp(&w->left_out, &c->id, sizeof(c->id)) == 0)
		return 0;
	w->left_out = c->id;
	w->has_left_out = true;
	if (writing_note_damage(w, &d))
		log_error("backup.chunk", NULL, "account=%s service=%s %s", account,
		    service_name(c->id.service), why->text);
	return 0;
}

/* 1: it is in the backup; 0: it was left out; -1. */
static int
copy_chunk(struct writing *w, struct chunk_entry *c, struct err *e)
{
	struct chunks *chunks = w->b->node->chunks;
	struct err why = { 0 };
	struct chunk_name name;
	struct chunk_in *in;
	_cleanup_(fd_closep) int fd = writing_begin_part(w, e);
	char path[BACKUP_PATH];
	int r;

	if (fd < 0)
		return -1;
	memcpy(name.b, c->name, sizeof(name.b));
	in = chunks_open(chunks, &c->id, &name, &why);
	r = in ? copy_bytes(w, in, fd, c, &why, e) : 0;
	chunks_close_in(chunks, in);
	if (r == 0)
		return leave_out(w, c, &why, e);
	backup_chunk_new_path(w->folder, c, w->head, path);
	if (r < 0 || writing_put_part(w, fd, path, e) < 0)
		return -1;
	atomic_fetch_add(&w->b->new_bytes, c->bytes);
	atomic_fetch_add(&w->b->new_chunks, 1);
	return 1;
}

/* Those that the backup before has of vault ID, whatever has become of them. */
static void
add_known(struct writing *w, const struct vault_id *id)
{
	const struct chunk_entry *c = (void *)w->known.data;

	for (size_t n = w->known.len / sizeof(*c); n > 0; n--, c++)
		if (memcmp(&c->id, id, sizeof(*id)) == 0)
			buf_add(&w->names, c, sizeof(*c));
}

static int
note_name(void *arg, const struct vault_id *id, const struct chunk_name *name, uint64_t bytes,
    struct err *e)
{
	struct chunk_entry c = { .id = *id, .bytes = bytes };
	struct writing *w = arg;

	(void)e;
	memcpy(c.name, name->b, sizeof(c.name));
	buf_add(&w->names, &c, sizeof(c));
	return 0;
}

/* The names of vault ID into w->names. Where its folder can't be read to the end, some may be there twice. */
static int
list_names(struct writing *w, const struct vault_id *id, struct err *e)
{
	const struct chunk_entry whole = { .id = *id };
	struct err why = { 0 };

	buf_clear(&w->names);
	if (chunks_list(w->b->node->chunks, id, note_name, w, &why) < 0) {
		if (leave_out(w, &whole, &why, e) < 0)
			return -1;
		add_known(w, id);
	}
	return buf_check(&w->names, e);
}

/* 1: it is in the backup; 0: it was left out; -1. */
static int
keep_chunk(struct writing *w, struct chunk_entry *c, struct err *e)
{
	if (writing_stopped(w->b, e) < 0)
		return -1;
	return is_known(w, c) ? 1 : copy_chunk(w, c, e);
}

static int
keep_vault(struct writing *w, const struct vault_id *id, struct err *e)
{
	struct chunk_entry *c;
	size_t n;

	if (list_names(w, id, e) < 0)
		return -1;
	c = (void *)w->names.data;
	n = w->names.len / sizeof(*c);
	if (n)
		qsort(c, n, sizeof(*c), entry_order);
	for (size_t i = 0; i < n; i++) {
		int r = i && entry_order(&c[i - 1], &c[i]) == 0 ? 0 : keep_chunk(w, &c[i], e);

		if (r < 0)
			return err_add(e, "chunks");
		if (r == 0)
			continue;
		chunk_entry_put(&w->list, &c[i]);
		w->m.chunks++;
		w->m.chunk_bytes += c[i].bytes;
		atomic_store(&w->b->chunks, w->m.chunks);
		atomic_store(&w->b->chunk_bytes, w->m.chunk_bytes);
	}
	return 0;
}

static int
end_group(struct writing *w, struct err *e)
{
	struct backup_object o;

	if (!w->list.len)
		return 0;
	if (buf_check(&w->list, e) < 0 ||
	    writing_put_object(w, w->list.data, w->list.len, &o, e) < 0)
		return -1;
	buf_clear(&w->list);
	buf_add(&w->lists, &o, sizeof(o));
	return 0;
}

static int
begin_group(struct writing *w, unsigned group, struct err *e)
{
	if (end_group(w, e) < 0)
		return -1;
	w->group = group;
	return load_known(w, e);
}

static int
note_vault(void *arg, const struct vault_id *id, struct err *e)
{
	(void)e;
	buf_add(arg, id, sizeof(*id));
	return 0;
}

static int
vault_order(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct vault_id));
}

static int
count_chunk(void *arg, const struct vault_id *id, const struct chunk_name *name, uint64_t bytes,
    struct err *e)
{
	(void)id, (void)name, (void)bytes, (void)e;
	++*(uint64_t *)arg;
	return 0;
}

/* About, for those who watch. */
static void
count_all(struct writing *w, const struct vault_id *ids, size_t n)
{
	uint64_t total = 0;

	for (size_t i = 0; i < n; i++)
		(void)!chunks_list(w->b->node->chunks, &ids[i], count_chunk, &total, NULL);
	atomic_store(&w->b->chunks_total, total);
}

/* Of folders that can't be read, those vaults whose records say that they have chunks. */
static int
list_vaults(struct writing *w, struct buf *all, struct err *e)
{
	struct err why = { 0 };

	if (chunks_vaults(w->b->node->chunks, note_vault, all, &why) < 0) {
		if (why.kind != ERR_IO)
			return err_set(e, why.kind, "%s", why.text);
		log_error("backup.chunks", NULL, "%s", why.text);
		if (buf_check(&w->with_chunks, e) < 0)
			return -1;
		buf_add(all, w->with_chunks.data, w->with_chunks.len);
	}
	return buf_check(all, e);
}

int
writing_chunks(struct writing *w, struct err *e)
{
	_cleanup_buf_ struct buf all = BUF_INIT(0);
	struct vault_id *ids;
	size_t n;

	if (list_vaults(w, &all, e) < 0)
		return -1;
	ids = (void *)all.data;
	n = all.len / sizeof(*ids);
	if (n)
		qsort(ids, n, sizeof(*ids), vault_order);
	count_all(w, ids, n);
	for (size_t i = 0; i < n; i++) {
		unsigned group = ids[i].account.b[0];

		if (i && vault_order(&ids[i - 1], &ids[i]) == 0)
			continue;
		if (((!i || group != w->group) && begin_group(w, group, e) < 0) ||
		    keep_vault(w, &ids[i], e) < 0)
			return -1;
	}
	return end_group(w, e);
}
