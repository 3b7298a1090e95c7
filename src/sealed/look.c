/* look.c - see look.h; store_internal.h has the records. */
#include "sealed/look.h"
#include "sealed/store_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Pages a step: a scan keeps files of the engine from being removed, and erasure waits for that. */
#define PAGES_A_STEP 256

enum step { STEP_ENTRIES, STEP_REDO, STEP_PAGES, STEP_DONE };

struct look {
	struct sealed *s; /* its header is that of the instant when the entries were read */
	enum step step;
	bool is_bad; /* a record of this step did not open: the whole can't be compared */
	uint8_t set[SET_BYTES];
	uint8_t chain[SHA256_BYTES];
	bool has_header;
	uint32_t pages;   /* read so far, in order */
	uint64_t bytes;   /* of this step */
	struct buf found; /* of struct look_damage: told once the header explains none of it */
	const struct look_visit *visit;
};

struct look *
look_open(struct engine *g, struct keys *k, const struct vault_id *id, struct err *e)
{
	_cleanup_(look_closep) struct look *l = calloc(1, sizeof(*l));
	_cleanup_buf_ struct buf raw = BUF_INIT(0);
	struct key key = key_header();
	struct header h;
	int rc;

	if (!l) {
		err_set(e, ERR_MEMORY, "no memory for a look at a vault");
		return NULL;
	}
	rc = engine_get(g, id, key_span(&key), &raw, e);
	if (rc == 0)
		err_set(e, ERR_MISSING, "no such vault");
	if (rc <= 0 || header_peek(id, raw.data, raw.len, &h, e) < 0)
		return NULL;
	l->s = store_alloc(g, k, id, h.epoch, h.wrapped, e);
	if (!l->s || header_open(id, l->s->a, raw.data, raw.len, &l->s->h, e) < 0)
		return NULL;
	l->s->mode = SEALED_READ;
	return take(&l);
}

void
look_close(struct look *l)
{
	if (!l)
		return;
	sealed_close(l->s);
	buf_free(&l->found);
	free(l);
}

void
look_data_key(const struct look *l, uint8_t out[static KEY_BYTES])
{
	sealed_data_key(l->s, out);
}

void
look_info(const struct look *l, struct sealed_info *out)
{
	sealed_get_info(l->s, out);
}

bool
look_has_leftovers(const struct look *l)
{
	return l->s->h.swept < l->s->h.base;
}

int
look_find(struct look *l, const uint8_t name[static 16], struct chunk_ref *out, struct err *e)
{
	struct chunk_entry c;
	int rc = chunk_get(l->s, name, &c, e);

	if (rc == 1)
		*out = c.ref;
	return rc;
}

/* --- what is found ------------------------------------------------------------------------ */

static void
note(struct look *l, enum look_at at, uint64_t number, const uint8_t *name, const char *why)
{
	struct look_damage d = { .at = at, .number = number };

	if (name)
		memcpy(d.name, name, sizeof(d.name));
	snprintf(d.why, sizeof(d.why), "%.119s", why);
	buf_add(&l->found, &d, sizeof(d));
	l->is_bad = true;
}

/* Whether the header of now still speaks of the records that were read: ERR_STALE if not. */
static int
is_still_so(struct look *l, struct err *e)
{
	struct header now;

	if (store_read_header(l->s, &now, e) < 0)
		return e->kind == ERR_FORGED
		    ? err_set(e, ERR_STALE, "the header has changed meanwhile")
		    : -1;
	if (now.base != l->s->h.base || memcmp(now.page_set, l->s->h.page_set, SET_BYTES) != 0)
		return err_set(e, ERR_STALE, "the owner has written a checkpoint");
	return 0;
}

static int
tell(struct look *l, bool is_instant, struct err *e)
{
	const struct look_damage *d = (const struct look_damage *)l->found.data;
	size_t n = l->found.len / sizeof(*d);

	if (buf_check(&l->found, e) < 0 || (n && !is_instant && is_still_so(l, e) < 0))
		return -1;
	for (size_t i = 0; i < n; i++)
		if (l->visit->damaged(l->visit->arg, &d[i], e) < 0)
			return -1;
	buf_clear(&l->found);
	return 0;
}

/* The engine could not read on: its own checksums, or the disk. Everything else is passed on. */
static bool
is_unreadable(const struct err *e)
{
	return e->kind == ERR_IO || e->kind == ERR_FORGED;
}

/* --- chunk entries, and the header of the same instant ------------------------------------- */

static int
take_header(struct look *l, struct span value, struct err *e)
{
	struct sealed *s = l->s;
	struct header now;

	if (header_open(&s->h.id, s->a, value.data, value.len, &now, e) == 0) {
		s->h = now;
		return 0;
	}
	/* The same vault made anew has another key. */
	if (header_peek(&s->h.id, value.data, value.len, &now, NULL) == 0 &&
	    memcmp(now.wrapped, s->h.wrapped, WRAPPED_BYTES) != 0)
		return err_set(e, ERR_STALE, "the vault was made anew");
	note(l, LOOK_HEADER, 0, NULL, e->text);
	return 0;
}

static int
entry_in(void *arg, struct span key, struct span value, struct err *e)
{
	struct look *l = arg;
	struct chunk_ref ref;
	struct err why;

	l->bytes += value.len;
	if (key.len == 1 && key.data[0] == 'H') {
		l->has_header = true;
		return take_header(l, value, e);
	}
	if (key.len != 17 || key.data[0] != 'C') {
		note(l, LOOK_ENTRY, 0, NULL, "a record of no kind that there is");
		return 0;
	}
	if (chunk_open(l->s, key.data + 1, value.data, value.len, &ref, &why) < 0) {
		note(l, LOOK_ENTRY, 0, key.data + 1, why.text);
		return 0;
	}
	if (set_toggle(l->s, l->set, value.data + CHUNK_RECORD_NONCE, e) < 0)
		return -1;
	return l->visit->entry ? l->visit->entry(l->visit->arg, &ref, e) : 0;
}

static int
read_entries(struct look *l, struct err *e)
{
	static const uint8_t first = 'C', last = 'H' + 1;
	struct sealed *s = l->s;
	struct err why = { 0 };

	if (engine_scan(s->g, &s->h.id, ((struct span){ &first, 1 }), ((struct span){ &last, 1 }),
	        entry_in, l, &why) < 0) {
		if (!is_unreadable(&why))
			return err_set(e, why.kind, "%s", why.text);
		note(l, LOOK_ENTRY, 0, NULL, why.text);
	} else if (!l->has_header) {
		return err_set(e, ERR_MISSING, "no such vault");
	}
	if (!l->is_bad && memcmp(l->set, s->h.chunk_set, SET_BYTES) != 0)
		note(l, LOOK_ENTRY, 0, NULL, "one is missing, or not the one last written");
	return tell(l, true, e);
}

/* --- redo entries ------------------------------------------------------------------------- */

static int
redo_in(struct redo_scan *r, uint64_t version, const uint8_t *record, size_t n, struct err *e)
{
	struct look *l = r->arg;
	struct sealed *s = l->s;
	uint32_t pages;
	struct err why;

	(void)e;
	l->bytes += n;
	buf_clear(&s->plain);
	if (redo_open(s->a, &s->h.id, version, record, n, &s->plain, &why) < 0 ||
	    redo_visit(s->plain.data, s->plain.len, &pages, NULL, &why) < 0)
		note(l, LOOK_REDO, version, NULL, why.text);
	else
		chain_add(l->chain, record, n);
	return 0;
}

static int
read_redo(struct look *l, struct err *e)
{
	struct sealed *s = l->s;
	struct redo_scan r = { .s = s,
		.from = s->h.base + 1,
		.to = s->h.version,
		.may_go_on = true,
		.fn = redo_in,
		.arg = l };
	struct err why = { 0 };

	if (redo_scan(&r, &why) < 0) {
		if (!is_unreadable(&why))
			return err_set(e, why.kind, "%s", why.text);
		note(l, LOOK_REDO, r.reached + 1, NULL, why.text);
	}
	if (!l->is_bad && memcmp(l->chain, s->h.chain, SHA256_BYTES) != 0)
		note(l, LOOK_REDO, 0, NULL, "they are not those that were written");
	buf_free(&s->plain);
	return tell(l, false, e);
}

/* --- pages -------------------------------------------------------------------------------- */

static void
note_missing(struct look *l, uint32_t up_to)
{
	while (l->pages < up_to)
		note(l, LOOK_PAGE, ++l->pages, NULL, "it is missing");
}

static int
page_in(void *arg, struct span key, struct span value, struct err *e)
{
	struct look *l = arg;
	struct sealed *s = l->s;
	uint8_t page[PAGE_BYTES];
	uint64_t version;
	uint32_t number;
	struct err why;

	l->bytes += value.len;
	number = key.len == 5 ? be32_get(key.data + 1) : 0;
	if (!number || number > s->h.stored) {
		note(l, LOOK_PAGE, number, NULL, "there are not so many");
		return 0;
	}
	note_missing(l, number - 1);
	l->pages = number;
	if (page_open(s->a, &s->h.id, number, value.data, value.len, &version, page, &why) < 0)
		note(l, LOOK_PAGE, number, NULL, why.text);
	else if (version > s->h.newest)
		note(l, LOOK_PAGE, number, NULL, "it is of a version that is not yet");
	else
		return set_toggle(s, l->set, value.data + PAGE_RECORD_NONCE, e);
	return 0;
}

/* Some pages; with the last of them whatever lies behind. 1: there are more. */
static int
read_pages(struct look *l, struct err *e)
{
	static const uint8_t end = 'P' + 1;
	struct sealed *s = l->s;
	uint32_t left = s->h.stored - l->pages;
	bool is_last = left <= PAGES_A_STEP;
	uint32_t up_to = is_last ? s->h.stored : l->pages + PAGES_A_STEP;
	struct key from = key_page(l->pages + 1), to = key_page(up_to + 1);
	struct span stop = is_last ? (struct span){ &end, 1 } : key_span(&to);
	struct err why = { 0 };

	if (engine_scan(s->g, &s->h.id, key_span(&from), stop, page_in, l, &why) < 0) {
		if (!is_unreadable(&why))
			return err_set(e, why.kind, "%s", why.text);
		note(l, LOOK_PAGE, l->pages + 1, NULL, why.text);
		l->pages = up_to; /* the rest of this step can't be read */
	}
	note_missing(l, up_to);
	if (is_last && !l->is_bad && memcmp(l->set, s->h.page_set, SET_BYTES) != 0)
		note(l, LOOK_PAGE, 0, NULL, "one is not the one last written of its number");
	if (tell(l, false, e) < 0)
		return -1;
	return !is_last;
}

/* --- all of it ---------------------------------------------------------------------------- */

int
look_next(struct look *l, const struct look_visit *v, uint64_t *bytes, struct err *e)
{
	int rc = 0;

	l->visit = v;
	l->bytes = 0;
	if (l->step == STEP_ENTRIES)
		rc = read_entries(l, e);
	else if (l->step == STEP_REDO)
		rc = read_redo(l, e);
	else if (l->step == STEP_PAGES)
		rc = read_pages(l, e);
	*bytes += l->bytes;
	if (rc < 0)
		return -1;
	if (rc == 0 && l->step != STEP_DONE) {
		l->step++;
		l->is_bad = false;
		memset(l->set, 0, sizeof(l->set));
	}
	return l->step != STEP_DONE;
}
