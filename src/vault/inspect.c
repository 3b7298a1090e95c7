/* inspect.c - see inspect.h. */
#include "vault/inspect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sealed/look.h"
#include "sealed/vfs.h"
#include "vault/vault_internal.h"

/* So often a vault may change under us; the last time it is held still. */
#define TRIES      3
/* Content is read in pieces, and paced after so much of it. */
#define PIECE      ((size_t)64 << 10)
#define PACE_BYTES ((uint64_t)1 << 20)

static const char *const words[DAMAGE_KINDS] = {
	[DAMAGE_HEADER] = "header",
	[DAMAGE_PAGE] = "page",
	[DAMAGE_REDO] = "redo-entry",
	[DAMAGE_ENTRY] = "chunk-entry",
	[DAMAGE_CHUNK] = "chunk",
	[DAMAGE_DATABASE] = "database",
	[DAMAGE_REFERENCE] = "reference",
	[DAMAGE_MISSING] = "vault-missing",
	[DAMAGE_RECORD] = "region-record",
};

const char *
damage_word(enum damage_kind k)
{
	return k < DAMAGE_KINDS && words[k] ? words[k] : "unknown";
}

void
damages_add(struct damages *d, const struct damage *one)
{
	if (d->n < DAMAGES_MAX)
		d->all[d->n++] = *one;
	else
		d->more++;
}

void
inspection_free(struct inspection *i)
{
	buf_free(&i->unnamed);
}

/* A chunk that the vault lists, and the row that refers to it once that is known. */
struct known {
	struct chunk_ref ref;
	int64_t row;
	uint32_t part;
	bool is_named;
};

struct job {
	const struct inspector *in;
	const struct vault_id *id;
	struct inspection *out;
	struct buf known; /* of struct known, in name order */
	struct damages round;
	uint64_t owed;   /* bytes read and not yet paced */
	bool is_holding; /* others wait: no pauses now */
};

static void
job_free(struct job *j)
{
	buf_free(&j->known);
}

static struct known *
job_known(const struct job *j, size_t *n)
{
	*n = j->known.len / sizeof(struct known);
	return (struct known *)j->known.data;
}

static int
pace(struct job *j, uint64_t bytes, struct err *e)
{
	uint64_t owed = j->owed + bytes;

	if (j->is_holding) {
		j->owed = owed;
		return 0;
	}
	j->owed = 0;
	return j->in->pace(j->in->arg, owed, e);
}

static void
add(struct damages *d, const struct job *j, enum damage_kind kind, uint64_t number,
    const uint8_t *name, const char *why)
{
	struct damage one = { .kind = kind, .service = j->id->service, .number = number };

	if (name)
		memcpy(one.name, name, sizeof(one.name));
	snprintf(one.why, sizeof(one.why), "%.119s", why);
	damages_add(d, &one);
}

static bool
is_same(const struct damage *a, const struct damage *b)
{
	return a->kind == b->kind && a->number == b->number &&
	    memcmp(a->name, b->name, sizeof(a->name)) == 0;
}

/* What both rounds found, from the later one. */
static void
add_confirmed(struct damages *out, const struct damages *before, const struct damages *now)
{
	for (unsigned i = 0; i < now->n; i++)
		for (unsigned k = 0; k < before->n; k++)
			if (is_same(&now->all[i], &before->all[k])) {
				damages_add(out, &now->all[i]);
				break;
			}
	if (before->more && now->more)
		out->more += now->more < before->more ? now->more : before->more;
}

/* FN until the vault holds still; the last time its checkpoints are held back. */
static int
steadily(struct job *j, int (*fn)(struct job *, struct err *), struct err *e)
{
	struct err why = { 0 };
	int r = -1;

	for (int i = 0; i < TRIES && r < 0; i++) {
		j->is_holding = i + 1 == TRIES;
		if (j->is_holding)
			pool_hold(j->in->pool, j->id);
		j->round = (struct damages){ .n = 0 };
		r = fn(j, &why);
		if (j->is_holding)
			pool_unhold(j->in->pool, j->id);
		j->is_holding = false;
		if (r < 0 && why.kind != ERR_STALE)
			break;
	}
	return r < 0 ? err_set(e, why.kind, "%s", why.text) : 0;
}

/* The same; and once more if it finds something, which then counts only if it is found again. */
static int
surely(struct job *j, int (*fn)(struct job *, struct err *), struct err *e)
{
	struct damages before;

	if (steadily(j, fn, e) < 0)
		return -1;
	if (!j->round.n)
		return 0;
	before = j->round;
	if (steadily(j, fn, e) < 0)
		return -1;
	add_confirmed(&j->out->damages, &before, &j->round);
	return 0;
}

/* --- records --- */

static int
record_damaged(void *arg, const struct look_damage *d, struct err *e)
{
	static const enum damage_kind kinds[] = {
		[LOOK_HEADER] = DAMAGE_HEADER,
		[LOOK_ENTRY] = DAMAGE_ENTRY,
		[LOOK_REDO] = DAMAGE_REDO,
		[LOOK_PAGE] = DAMAGE_PAGE,
	};
	struct job *j = arg;

	(void)e;
	add(&j->round, j, kinds[d->at], d->number, d->name, d->why);
	return 0;
}

static int
record_entry(void *arg, const struct chunk_ref *c, struct err *e)
{
	struct job *j = arg;
	struct known k = { .ref = *c };

	(void)e;
	buf_add(&j->known, &k, sizeof(k));
	return 0;
}

static struct look *
open_look(struct job *j, struct err *e)
{
	const struct pool_config *c = &j->in->pool->c;

	return look_open(c->engine, c->keys, j->id, e);
}

/* A look that could not begin: a damaged header, or one that can't be read. */
static int
no_look(struct job *j, struct err *e)
{
	if (e->kind != ERR_FORGED && e->kind != ERR_IO)
		return -1;
	add(&j->round, j, DAMAGE_HEADER, 0, NULL, e->text);
	return 0;
}

static int
look_at_records(struct job *j, struct err *e)
{
	const struct look_visit visit = { record_damaged, record_entry, j };
	struct err why = { 0 };
	_cleanup_(look_closep) struct look *l = open_look(j, &why);
	struct sealed_info info;
	int r = 1;

	buf_clear(&j->known);
	if (!l) {
		*e = why;
		return no_look(j, e);
	}
	while (r == 1) {
		uint64_t bytes = 0;

		r = look_next(l, &visit, &bytes, e);
		if (pace(j, bytes, r < 0 ? NULL : e) < 0)
			return -1;
	}
	if (r < 0)
		return -1;
	look_info(l, &info);
	if (info.is_arriving)
		add(&j->round, j, DAMAGE_HEADER, 0, NULL, "it says that the vault is arriving");
	j->out->epoch = info.epoch;
	j->out->has_leftovers = look_has_leftovers(l);
	return buf_check(&j->known, e);
}

/* --- the database, its rows against the entries --- */

static int
name_order(const void *a, const void *b)
{
	return memcmp(a, b, CHUNK_NAME_BYTES);
}

static struct known *
find_known(const struct job *j, const uint8_t *name)
{
	size_t n;
	struct known *k = job_known(j, &n);

	return n ? bsearch(name, k, n, sizeof(*k), name_order) : NULL;
}

static void
reference_damaged(
    struct job *j, const struct chunk_ref *ref, int64_t row, uint32_t part, const char *why)
{
	struct damage d = {
		.kind = DAMAGE_REFERENCE, .service = j->id->service, .row = row, .part = part
	};

	/* Without a name the row stands for it. */
	if (ref)
		memcpy(d.name, ref->name, sizeof(d.name));
	else
		d.number = (uint64_t)row;
	snprintf(d.why, sizeof(d.why), "%.119s", why);
	damages_add(&j->round, &d);
}

static int
row_names(void *arg, const struct chunk_ref *ref, int64_t row, uint32_t part, struct err *e)
{
	struct job *j = arg;
	struct known *k = ref ? find_known(j, ref->name) : NULL;

	(void)e;
	if (!ref)
		reference_damaged(j, NULL, row, part, "its list of chunks can't be read");
	else if (!k)
		reference_damaged(j, ref, row, part, "it names a chunk that has no entry");
	else if (k->is_named)
		reference_damaged(j, ref, row, part, "two rows name the same chunk");
	else if (k->ref.bytes != ref->bytes ||
	    memcmp(k->ref.digest, ref->digest, sizeof(ref->digest)) != 0)
		reference_damaged(j, ref, row, part, "row and entry differ about the chunk");
	if (k) {
		k->is_named = true;
		k->row = row;
		k->part = part;
	}
	return 0;
}

static void
collect_unnamed(struct job *j)
{
	size_t n;
	struct known *k = job_known(j, &n);

	buf_clear(&j->out->unnamed);
	for (size_t i = 0; i < n; i++)
		if (!k[i].is_named)
			buf_add(&j->out->unnamed, k[i].ref.name, CHUNK_NAME_BYTES);
}

/* SQLite tells a page that it could not get as a finding; what our own file said decides. */
static int
check_database(struct job *j, struct vault *v, struct err *e)
{
	const struct err *cause;
	bool is_whole = vault_check(v, e) == 0;

	j->out->rows_differ = false;
	if (is_whole && (!j->in->rows || j->in->rows(j->in->arg, v, e) == 0))
		return 0;
	cause = sealed_vfs_error(v->sealed);
	j->out->rows_differ = is_whole && cause->kind == ERR_NONE && e->kind == ERR_FORGED;
	if (cause->kind != ERR_NONE)
		*e = *cause;
	if (e->kind != ERR_FORGED && e->kind != ERR_IO)
		return -1;
	add(&j->round, j, DAMAGE_DATABASE, 0, NULL, e->text);
	return 1;
}

static int
look_at_rows(struct job *j, struct vault *v, struct err *e)
{
	buf_clear(&j->known);
	if (vault_each_chunk(v, record_entry, j, e) < 0 || buf_check(&j->known, e) < 0)
		return -1;
	if (!j->in->refs)
		return 0;
	if (j->in->refs(v, row_names, j, e) < 0)
		return -1;
	if (j->in->look && j->in->look(j->in->arg, v, e) < 0)
		return -1;
	collect_unnamed(j);
	return buf_check(&j->out->unnamed, e);
}

static int
look_at_database(struct job *j, struct err *e)
{
	_cleanup_(pool_view_closep) struct vault *v = pool_view(j->in->pool, j->id, e);
	struct sealed_info info;
	int r;

	if (!v && e->kind == ERR_FORGED && j->is_holding) {
		add(&j->round, j, DAMAGE_DATABASE, 0, NULL, e->text);
		return 0;
	}
	/* Its records were whole a moment ago: first of all they may have changed since. */
	if (!v && e->kind == ERR_FORGED)
		e->kind = ERR_STALE;
	if (!v)
		return -1;
	sealed_get_info(v->sealed, &info);
	r = check_database(j, v, e);
	if (r == 0)
		r = look_at_rows(j, v, e);
	if (r < 0)
		return -1;
	return pace(j, (uint64_t)info.page_count * PAGE_BYTES, e);
}

/* --- chunks --- */

static int
read_chunk(struct job *j, struct content_key *key, const struct chunk_ref *c, struct err *e)
{
	_cleanup_(content_in_closep) struct content_in *in = content_open(
	    j->in->pool->c.chunks, key, c, 1, e);
	_cleanup_(hash_closep) struct hash *h = in ? hash_open(HASH_SHA256, e) : NULL;
	uint8_t piece[PIECE], digest[SHA256_BYTES];
	uint64_t at = 0, unpaced = 0;
	ssize_t n;

	if (!h)
		return -1;
	while ((n = content_read(in, at, piece, sizeof(piece), e)) > 0) {
		hash_add(h, piece, (size_t)n);
		at += (uint64_t)n;
		unpaced += (uint64_t)n;
		if (unpaced < PACE_BYTES)
			continue;
		if (pace(j, unpaced, e) < 0)
			return -1;
		unpaced = 0;
	}
	hash_end(h, digest);
	if (n < 0 || pace(j, unpaced, e) < 0)
		return -1;
	if (memcmp(digest, c->digest, sizeof(digest)) != 0)
		return err_set(e, ERR_FORGED, "its content is not what its entry says");
	return 0;
}

static struct content_key *
key_of(struct job *j, struct look *l, struct err *e)
{
	uint8_t data_key[KEY_BYTES];
	struct content_key *key;

	look_data_key(l, data_key);
	key = content_key_new(j->id, data_key, e);
	wipe(data_key, sizeof(data_key));
	return key;
}

/* Looked at again as the vault is now. 1: it is damaged, as *E says; 0: whole, or not the vault's any
 * more. */
static int
is_chunk_damaged(struct job *j, const struct chunk_ref *was, struct err *e)
{
	_cleanup_(look_closep) struct look *l = open_look(j, e);
	struct content_key *key;
	struct chunk_ref now;
	int r = l ? look_find(l, was->name, &now, e) : -1;

	if (r <= 0)
		return r;
	key = key_of(j, l, e);
	r = key ? read_chunk(j, key, &now, e) : -1;
	content_key_unref(key);
	if (r == 0)
		return 0;
	return e->kind == ERR_FORGED || e->kind == ERR_IO ? 1 : -1;
}

static int
look_at_chunk(struct job *j, struct content_key *key, const struct known *k, struct err *e)
{
	struct damage d = {
		.kind = DAMAGE_CHUNK, .service = j->id->service, .row = k->row, .part = k->part
	};
	int r;

	if (read_chunk(j, key, &k->ref, e) == 0)
		return 0;
	if (e->kind != ERR_FORGED && e->kind != ERR_IO)
		return -1;
	r = is_chunk_damaged(j, &k->ref, e);
	if (r <= 0)
		return r;
	memcpy(d.name, k->ref.name, sizeof(d.name));
	snprintf(d.why, sizeof(d.why), "%.119s", e->text);
	damages_add(&j->out->damages, &d);
	return 0;
}

static int
look_at_chunks(struct job *j, struct err *e)
{
	_cleanup_(look_closep) struct look *l = open_look(j, e);
	struct content_key *key = l ? key_of(j, l, e) : NULL;
	size_t n;
	const struct known *k = job_known(j, &n);
	int r = key ? 0 : -1;

	for (size_t i = 0; i < n && r == 0; i++) {
		r = look_at_chunk(j, key, &k[i], e);
		j->out->chunks++;
	}
	content_key_unref(key);
	return r;
}

static int
file_in(void *arg, const struct vault_id *id, const struct chunk_name *name, uint64_t bytes,
    struct err *e)
{
	struct job *j = arg;

	(void)id, (void)bytes, (void)e;
	/* In this order none that is being written is taken for a stray: see pool_keeper.c. */
	if (!content_is_claimed(name) && !find_known(j, name->b))
		j->out->strays++;
	return 0;
}

/* --- all of it --- */

static bool
has_kind(const struct damages *d, enum damage_kind kind)
{
	for (unsigned i = 0; i < d->n; i++)
		if (d->all[i].kind == kind)
			return true;
	return false;
}

int
inspect_vault(
    const struct inspector *in, const struct vault_id *id, struct inspection *out, struct err *e)
{
	_cleanup_(job_free) struct job j = { .in = in, .id = id, .out = out, .known = BUF_INIT(0) };
	struct err why = { 0 };

	*out = (struct inspection){ .unnamed = BUF_INIT(0) };
	if (surely(&j, look_at_records, e) < 0)
		return -1;
	/* Without its key there is nothing more to be seen. */
	if (has_kind(&out->damages, DAMAGE_HEADER))
		return 0;
	if (!out->damages.n && surely(&j, look_at_database, e) < 0)
		return -1;
	if (look_at_chunks(&j, e) < 0)
		return -1;
	/* With entries missing, files would look like strays that are not. */
	if (has_kind(&out->damages, DAMAGE_ENTRY))
		return 0;
	/* A folder that can't be read: what should be in it is damaged already. */
	if (chunks_list(in->pool->c.chunks, id, file_in, &j, &why) < 0 && why.kind != ERR_IO)
		return err_set(e, why.kind, "%s", why.text);
	return 0;
}

/* --- entries that no row names --- */

struct named {
	struct buf names;
};

static int
keep_name(void *arg, const struct chunk_ref *ref, int64_t row, uint32_t part, struct err *e)
{
	struct named *named = arg;

	(void)part;
	/* A list that can't be read may name any of them. */
	if (!ref)
		return err_set(
		    e, ERR_FORGED, "row %lld: its list of chunks can't be read", (long long)row);
	buf_add(&named->names, ref->name, CHUNK_NAME_BYTES);
	return 0;
}

static int
drop_unnamed(
    struct vault *v, const struct named *named, struct span names, uint64_t *dropped, struct err *e)
{
	size_t n = named->names.len / CHUNK_NAME_BYTES;

	for (; names.len; names.data += CHUNK_NAME_BYTES, names.len -= CHUNK_NAME_BYTES) {
		const uint8_t *name = names.data;

		if (n && bsearch(name, named->names.data, n, CHUNK_NAME_BYTES, name_order))
			continue;
		if (vault_drop_chunk(v, name, e) == 0)
			++*dropped;
		else if (e->kind != ERR_MISSING)
			return -1;
	}
	return 0;
}

int
inspect_drop_unnamed(const struct inspector *in, const struct vault_id *id, struct span names,
    uint64_t *dropped, uint64_t *ticket, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = pool_take(in->pool, id, true, e);
	struct named named = { .names = BUF_INIT(0) };
	uint64_t n = 0;
	int r = v ? vault_begin(v, e) : -1;

	if (r == 0)
		r = in->refs(v, keep_name, &named, e);
	if (r == 0)
		r = buf_check(&named.names, e);
	if (r == 0) {
		if (named.names.len)
			qsort(named.names.data, named.names.len / CHUNK_NAME_BYTES,
			    CHUNK_NAME_BYTES, name_order);
		r = drop_unnamed(v, &named, names, &n, e);
	}
	buf_free(&named.names);
	if (r < 0 || vault_commit(v, ticket, e) < 0)
		return -1;
	*dropped += n;
	return 0;
}
