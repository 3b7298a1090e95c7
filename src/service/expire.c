/* expire.c - see expire.h; the tables are in vault/schema.c, what is in them in files_version.c. */
#include "service/expire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/files_internal.h"
#include "service/rules.h"

#define ROWS_A_STEP 1000
#define GONE_A_STEP 64

struct due {
	enum expired kind;
	char key[FILES_KEY_MAX + 1];
	char id[2 * UPLOAD_ID_BYTES + 1]; /* of a version, an upload; "": none */
};

struct step {
	struct expire *x;
	struct vault *v;
	int64_t bucket;
	struct rules rules;
	struct buf stored; /* what the rules refer to */
	struct span *prefixes;
	bool asks_tags;
	uint64_t now_ms;
	unsigned rows, n;
	struct due due[GONE_A_STEP];
};

static void
step_free(struct step *s)
{
	if (!s)
		return;
	rules_free(&s->rules);
	buf_free(&s->stored);
	free(s->prefixes);
	free(s);
}
CLEANUP(struct step, step_free)

/* --- where it is --- */

/* Of two strings of bytes. */
static int
compare(struct span a, struct span b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int r = n ? memcmp(a.data, b.data, n) : 0;

	return r ? r : (a.len > b.len) - (a.len < b.len);
}

static bool
begins_with(struct span s, struct span start)
{
	return s.len >= start.len && (!start.len || memcmp(s.data, start.data, start.len) == 0);
}

static struct span
place(const struct expire *x)
{
	return (struct span){ x->key, x->key_len };
}

static int
keep_place(struct expire *x, struct span key, struct err *e)
{
	if (!key.len || key.len > FILES_KEY_MAX || memchr(key.data, 0, key.len))
		return err_set(e, ERR_FORGED, "a key of %zu bytes", key.len);
	memcpy(x->key, key.data, key.len);
	x->key_len = key.len;
	x->has_key = true;
	return 0;
}

/* Whether keys with PREFIX are still to be looked at, and from which on. */
static bool
is_ahead(const struct expire *x, struct span prefix, struct span *from)
{
	*from = prefix;
	if (!x->has_key)
		return true;
	if (begins_with(place(x), prefix)) {
		*from = place(x);
		return true;
	}
	return compare(prefix, place(x)) > 0;
}

static bool
is_enough(const struct step *s)
{
	return s->rows >= ROWS_A_STEP || s->n == GONE_A_STEP;
}

/* --- what is due --- */

static void
note(struct step *s, enum expired kind, struct span key, const char *id)
{
	struct due *d = &s->due[s->n++];

	d->kind = kind;
	memcpy(d->key, key.data, key.len);
	d->key[key.len] = '\0';
	memcpy(d->id, id, strlen(id) + 1);
}

/* The headers are in a row's last column, and read only where a rule asks for tags. */
static struct span
tags_of(const struct step *s, struct query *q, int column)
{
	return s->asks_tags ? line_of(column_blob(q, column), FILES_TAGS_LINE)
	                    : (struct span){ NULL, 0 };
}

/* Columns: key, size, modified_ms, headers. 1: enough for this step; 0: go on, or the prefix is over
 * (*IS_OVER); -1. */
static int
look_at_current(struct step *s, struct query *q, struct span prefix, bool *is_over, struct err *e)
{
	struct rule_subject it = {
		.key = column_blob(q, 0),
		.size = (uint64_t)column_int(q, 1),
	};

	*is_over = !begins_with(it.key, prefix);
	if (*is_over)
		return 0;
	if (keep_place(s->x, it.key, e) < 0)
		return -1;
	s->rows++;
	it.tags = tags_of(s, q, 3);
	if (rules_current_due(&s->rules, &it, (uint64_t)column_int(q, 2), s->x->day_ms, NULL) <=
	    s->now_ms)
		note(s, EXPIRED_CURRENT, it.key, "");
	return is_enough(s);
}

static int
walk_current(struct step *s, struct span prefix, struct span from, struct err *e)
{
	bool is_resumed = s->x->has_key && from.data == s->x->key, is_over = false;
	struct query *q = is_resumed ? vault_query(s->v,
	                                   "SELECT key,size,modified_ms,headers FROM object"
	                                   " WHERE bucket=?1 AND key>?2 ORDER BY key")
	                             : vault_query(s->v,
	                                   "SELECT key,size,modified_ms,headers FROM object"
	                                   " WHERE bucket=?1 AND key>=?2 ORDER BY key");
	int r, done = 0;

	query_int(q, 1, s->bucket);
	query_blob(q, 2, from.data, from.len);
	while (done == 0 && !is_over && (r = query_step(q, e)) == 1)
		done = look_at_current(s, q, prefix, &is_over, e);
	query_end(q);
	return done < 0 || r < 0 ? -1 : done;
}

/* The versions of one key, the newest first. */
struct group {
	uint8_t key[FILES_KEY_MAX];
	size_t key_len;
	uint64_t since_ms; /* when the next one became noncurrent */
	uint64_t newer;    /* noncurrent ones so far */
};

/* 1: nothing else is left of the key whose newest is the delete marker SEQ, which is aside; 0; -1. */
static int
is_alone(struct step *s, struct span key, int64_t seq, struct err *e)
{
	struct query *q = vault_query(
	    s->v, "SELECT 1 FROM version WHERE bucket=?1 AND key=?2 AND seq<>?3 LIMIT 1");
	int r;

	query_int(q, 1, s->bucket);
	query_blob(q, 2, key.data, key.len);
	query_int(q, 3, seq);
	r = query_step(q, e);
	query_end(q);
	return r < 0 ? -1 : r == 0;
}

/* The row that Q stands on is due, as which kind: 1; 0; -1. */
static int
is_aside_due(struct step *s, struct query *q, const struct group *g, bool is_newest,
    enum expired *kind, struct err *e)
{
	uint64_t modified_ms = (uint64_t)column_int(q, 5), day_ms = s->x->day_ms;
	struct rule_subject it = {
		.key = column_blob(q, 0),
		.size = (uint64_t)column_int(q, 4),
		.is_marker = column_int(q, 3) != 0,
	};

	*kind = is_newest ? EXPIRED_MARKER : EXPIRED_NONCURRENT;
	if (is_newest) {
		if (!it.is_marker ||
		    rules_marker_due(&s->rules, &it, modified_ms, day_ms) > s->now_ms)
			return 0;
		return is_alone(s, it.key, column_int(q, 1), e);
	}
	it.tags = tags_of(s, q, 7);
	return rules_noncurrent_due(&s->rules, &it, g->since_ms, g->newer, day_ms) <= s->now_ms;
}

/* Columns: key, seq, is_null, is_marker, size, modified_ms, that of the current object, headers. As
 * look_at_current. */
static int
look_at_aside(struct step *s, struct query *q, struct span prefix, struct group *g, bool *is_over,
    struct err *e)
{
	struct span key = column_blob(q, 0);
	int64_t seq = column_int(q, 1);
	bool is_new, is_newest;
	enum expired kind;
	int due;

	*is_over = !begins_with(key, prefix);
	if (*is_over)
		return 0;
	is_new = compare(key, (struct span){ g->key, g->key_len }) != 0;
	is_newest = is_new && column_is_null(q, 6);
	if (keep_place(s->x, key, e) < 0)
		return -1;
	if (is_new) {
		memcpy(g->key, key.data, key.len);
		g->key_len = key.len;
		g->since_ms = (uint64_t)column_int(q, 6);
		g->newer = 0;
	}
	s->x->seq = seq;
	s->rows++;
	due = is_aside_due(s, q, g, is_newest, &kind, e);
	if (due == 1) {
		char id[FILES_VERSION_SIZE];

		version_text(seq, column_int(q, 2) != 0, id);
		note(s, kind, key, id);
	}
	g->newer += !is_newest;
	g->since_ms = (uint64_t)column_int(q, 5);
	return due < 0 ? -1 : is_enough(s);
}

static int
walk_versions(struct step *s, struct query *q, struct span prefix, struct span from,
    struct group *g, struct err *e)
{
	bool is_over = false;
	int r, done = 0;

	query_int(q, 1, s->bucket);
	query_blob(q, 2, from.data, from.len);
	while (done == 0 && !is_over && (r = query_step(q, e)) == 1)
		done = look_at_aside(s, q, prefix, g, &is_over, e);
	query_end(q);
	return done < 0 || r < 0 ? -1 : done;
}

/* In the middle of the versions of the key FROM: what those above are may have changed since, so that is read
 * again, as far as rules ask for it. None above: G stays that of no key. */
static int
resume_group(struct step *s, struct span from, struct group *g, struct err *e)
{
	struct query *q = vault_query(s->v,
	    "SELECT v.modified_ms,o.modified_ms FROM version v"
	    " LEFT JOIN object o ON o.bucket=v.bucket AND o.key=v.key"
	    " WHERE v.bucket=?1 AND v.key=?2 AND v.seq>=?3 ORDER BY v.seq LIMIT ?4");
	int r;

	query_int(q, 1, s->bucket);
	query_blob(q, 2, from.data, from.len);
	query_int(q, 3, s->x->seq);
	query_int(q, 4, RULES_KEEP_MAX + 1);
	while ((r = query_step(q, e)) == 1) {
		if (!g->key_len) {
			memcpy(g->key, from.data, from.len);
			g->key_len = from.len;
			g->since_ms = (uint64_t)column_int(q, 0);
			g->newer = column_is_null(q, 1) ? 0 : 1;
		} else {
			g->newer++;
		}
	}
	query_end(q);
	return r;
}

#define VERSIONS_WHERE(which) \
	"SELECT v.key,v.seq,v.is_null,v.is_marker,v.size,v.modified_ms,o.modified_ms,v.headers" \
	" FROM version v LEFT JOIN object o ON o.bucket=v.bucket AND o.key=v.key" \
	" WHERE v.bucket=?1 AND " which " ORDER BY v.key,v.seq DESC"

static int
walk_aside(struct step *s, struct span prefix, struct span from, struct err *e)
{
	bool is_resumed = s->x->has_key && from.data == s->x->key;
	struct group g = { .key_len = 0 };
	struct query *q;
	int r;

	if (!is_resumed)
		return walk_versions(
		    s, vault_query(s->v, VERSIONS_WHERE("v.key>=?2")), prefix, from, &g, e);
	if (resume_group(s, from, &g, e) < 0)
		return -1;
	q = vault_query(s->v, VERSIONS_WHERE("v.key=?2 AND v.seq<?3"));
	query_int(q, 3, s->x->seq);
	r = walk_versions(s, q, prefix, from, &g, e);
	if (r)
		return r;
	return walk_versions(s, vault_query(s->v, VERSIONS_WHERE("v.key>?2")), prefix, from, &g, e);
}

/* Columns: key, id, started_ms. As look_at_current. */
static int
look_at_upload(struct step *s, struct query *q, struct span prefix, bool *is_over, struct err *e)
{
	struct span key = column_blob(q, 0), id = column_blob(q, 1);
	char text[2 * UPLOAD_ID_BYTES + 1];

	*is_over = !begins_with(key, prefix);
	if (*is_over)
		return 0;
	if (id.len != UPLOAD_ID_BYTES)
		return err_set(e, ERR_FORGED, "an upload's row is damaged");
	if (keep_place(s->x, key, e) < 0)
		return -1;
	memcpy(s->x->upload, id.data, UPLOAD_ID_BYTES);
	s->rows++;
	hex_text(id.data, id.len, text);
	if (rules_upload_due(&s->rules, key, (uint64_t)column_int(q, 2), s->x->day_ms, NULL) <=
	    s->now_ms)
		note(s, EXPIRED_UPLOAD, key, text);
	return is_enough(s);
}

static int
walk_uploads(struct step *s, struct span prefix, struct span from, struct err *e)
{
	bool is_resumed = s->x->has_key && from.data == s->x->key, is_over = false;
	struct query *q = vault_query(s->v,
	    "SELECT key,id,started_ms FROM upload WHERE bucket=?1 AND (key,id)>(?2,?3)"
	    " ORDER BY key,id");
	int r, done = 0;

	query_int(q, 1, s->bucket);
	query_blob(q, 2, from.data, from.len);
	query_blob(q, 3, s->x->upload, is_resumed ? UPLOAD_ID_BYTES : 0);
	while (done == 0 && !is_over && (r = query_step(q, e)) == 1)
		done = look_at_upload(s, q, prefix, &is_over, e);
	query_end(q);
	return done < 0 || r < 0 ? -1 : done;
}

/* --- one step --- */

static const struct {
	unsigned action;
	int (*walk)(struct step *s, struct span prefix, struct span from, struct err *e);
} stages[] = {
	[STAGE_CURRENT] = { RULE_CURRENT, walk_current },
	[STAGE_ASIDE] = { RULE_ASIDE, walk_aside },
	[STAGE_UPLOADS] = { RULE_UPLOADS, walk_uploads },
};

/* 1: the stage has more; 0; -1. */
static int
walk_stage(struct step *s, struct err *e)
{
	unsigned n = rules_prefixes(&s->rules, stages[s->x->stage].action, s->prefixes);

	for (unsigned i = 0; i < n; i++) {
		struct span from;
		int r;

		if (!is_ahead(s->x, s->prefixes[i], &from))
			continue;
		r = stages[s->x->stage].walk(s, s->prefixes[i], from, e);
		if (r)
			return r;
	}
	return 0;
}

/* One stage after the other, until there is something to remove or it is enough. 0; -1. */
static int
walk_bucket(struct step *s, struct err *e)
{
	struct expire *x = s->x;
	int r;

	while ((r = walk_stage(s, e)) == 0) {
		x->has_key = false;
		x->stage = (x->stage + 1) % STAGES;
		x->is_past = x->stage == STAGE_CURRENT;
		if (s->n || x->is_past)
			break;
	}
	x->rows += s->rows;
	return r < 0 ? -1 : 0;
}

/* The next bucket with rules, and these. 1; 0: there is none; -1. */
static int
find_bucket(struct step *s, struct err *e)
{
	struct query *q = vault_query(s->v,
	    "SELECT b.id,b.name,s.value FROM bucket b"
	    " JOIN setting s ON s.bucket=b.id AND s.name='" FILES_RULES "'"
	    " WHERE b.name>=?1 AND (b.name>?1 OR NOT ?2) ORDER BY b.name LIMIT 1");
	struct expire *x = s->x;
	int r;

	query_text(q, 1, x->bucket, strlen(x->bucket));
	query_int(q, 2, x->is_past);
	r = query_step(q, e);
	if (r == 1) {
		struct span name = column_blob(q, 1), value = column_blob(q, 2);

		s->bucket = column_int(q, 0);
		if (name.len != strlen(x->bucket) || memcmp(name.data, x->bucket, name.len) != 0) {
			x->has_key = false;
			x->stage = STAGE_CURRENT;
		}
		x->is_past = false;
		snprintf(
		    x->bucket, sizeof(x->bucket), "%.*s", (int)name.len, (const char *)name.data);
		buf_add(&s->stored, value.data, value.len);
	}
	query_end(q);
	return r == 1 && buf_check(&s->stored, e) < 0 ? -1 : r;
}

static int
read_rules(struct step *s, struct err *e)
{
	if (rules_read((struct span){ s->stored.data, s->stored.len }, &s->rules, e) < 0)
		return -1;
	s->asks_tags = rules_ask_tags(&s->rules);
	s->prefixes = calloc(s->rules.n ? s->rules.n : 1, sizeof(*s->prefixes));
	return s->prefixes ? 0 : err_set(e, ERR_MEMORY, "no memory for lifecycle rules");
}

/* Remove what was noted. What is locked says so in its own outcome. */
static int
remove_due(struct step *s, struct files *f, struct due *d, bool *changed, struct err *e)
{
	struct removal r = { .key = d->key, .version = d->id[0] ? d->id : NULL };
	bool is_gone = false;

	if (d->kind == EXPIRED_UPLOAD) {
		if (upload_remove(s->v, s->x->bucket, d->key, d->id, e) < 0)
			return -1;
		is_gone = true;
	} else if (removal_run(f, s->v, s->x->bucket, &r, &is_gone, e) < 0) {
		return -1;
	}
	if (r.err.kind == ERR_FULL) /* a marker has to wait for room */
		return err_set(e, ERR_FULL, "%s", r.err.text);
	*changed |= is_gone;
	if (!is_gone)
		d->kind = EXPIRED_KINDS;
	return 0;
}

static int
finish(struct step *s, struct files *f, struct err *e)
{
	bool changed = false;

	for (unsigned i = 0; i < s->n; i++)
		if (remove_due(s, f, &s->due[i], &changed, e) < 0)
			return -1;
	if (!changed)
		return 0;
	if (files_commit(f, s->v, e) < 0)
		return -1;
	for (unsigned i = 0; i < s->n; i++)
		if (s->due[i].kind < EXPIRED_KINDS)
			s->x->removed[s->due[i].kind]++;
	return 0;
}

int
expire_step(struct expire *x, struct files *f, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, x->service, e);
	_cleanup_(step_freep) struct step *s = calloc(1, sizeof(*s));
	int r;

	if (!v || vault_begin_removal(v, e) < 0)
		return -1;
	if (!s)
		return err_set(e, ERR_MEMORY, "no memory for what is due");
	s->x = x;
	s->v = v;
	s->stored = BUF_INIT(RULES_BYTES_MAX);
	s->now_ms = files_clock_ms();
	r = find_bucket(s, e);
	if (r <= 0)
		return r;
	if (read_rules(s, e) < 0 || walk_bucket(s, e) < 0 || finish(s, f, e) < 0)
		return -1;
	return 1;
}
