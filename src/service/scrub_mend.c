/* scrub_mend.c - what the scrub finds and can put right, with the care that those who are at work need.
 *
 * A vault is changed only by who has passed its account's gate, so that none is opened on its way to be
 * erased. What a write may just be about to refer to is looked at again within the vault (pool_sweep,
 * inspect_drop_unnamed).
 */
#include "service/scrub_internal.h"

#include <string.h>

#include "base/log.h"
#include "directory/directory.h"
#include "service/files_refs.h"

/* Vaults of nobody that one pass takes on. */
#define NOBODYS_MAX 4096

typedef int mend_fn(
    struct scrub *s, const struct vault_id *id, const struct inspection *i, struct err *e);

/* FN within the gate; without it if the gate does not let us in now: there are more passes. */
static int
within(struct scrub *s, const struct vault_id *id, const struct inspection *i, enum enter_how how,
    mend_fn *fn, struct err *e)
{
	struct homes *homes = s->c.node->homes;
	enum enter_answer answer;
	struct home_pass pass;
	int r;

	if (homes_enter(homes, &id->account, how, &answer, &pass, NULL, e) < 0)
		return -1;
	if (answer != ENTER_GO)
		return 0;
	r = fn(s, id, i, e);
	homes_leave(homes, &pass);
	return r;
}

static int
sweep(struct scrub *s, const struct vault_id *id, const struct inspection *i, struct err *e)
{
	uint64_t removed = 0;

	(void)i;
	if (pool_sweep(s->c.node->pool, id, &removed, e) < 0)
		return -1;
	scrub_count_mended(s, &id->account, MEND_FILE, removed);
	return 0;
}

static int
drop_entries(struct scrub *s, const struct vault_id *id, const struct inspection *i, struct err *e)
{
	struct inspector in = s->inspector;
	uint64_t dropped = 0, ticket = 0;

	in.refs = files_refs;
	if (inspect_drop_unnamed(&in, id, (struct span){ i->unnamed.data, i->unnamed.len },
	        &dropped, &ticket, e) < 0 ||
	    flusher_wait(s->c.node->flusher, ticket, e) < 0)
		return -1;
	scrub_count_mended(s, &id->account, MEND_ENTRY, dropped);
	return 0;
}

/* Whoever opens the vault removes them. */
static int
open_and_close(
    struct scrub *s, const struct vault_id *id, const struct inspection *i, struct err *e)
{
	struct vault *v = pool_take(s->c.node->pool, id, true, e);

	(void)i;
	if (!v)
		return -1;
	pool_give(v);
	scrub_count_mended(s, &id->account, MEND_REDO, 1);
	return 0;
}

/* Number of damaged pages, if nothing else is damaged; else 0. */
static unsigned
damaged_pages(const struct inspection *i, uint32_t numbers[static DAMAGES_MAX])
{
	if (i->damages.more)
		return 0;
	for (unsigned k = 0; k < i->damages.n; k++) {
		if (i->damages.all[k].kind != DAMAGE_PAGE || !i->damages.all[k].number)
			return 0;
		numbers[k] = (uint32_t)i->damages.all[k].number;
	}
	return i->damages.n;
}

static int
rewrite_pages(struct scrub *s, const struct vault_id *id, const struct inspection *i, struct err *e)
{
	uint32_t numbers[DAMAGES_MAX];
	unsigned n = damaged_pages(i, numbers);
	int r = pool_rewrite_pages(s->c.node->pool, id, numbers, n, e);

	if (r == 1)
		scrub_count_mended(s, &id->account, MEND_PAGE, n);
	return r;
}

static int
mend_usage(struct scrub *s, const struct vault_id *id, const struct inspection *i, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = pool_take(s->c.node->pool, id, true, e);
	uint64_t ticket;

	(void)i;
	if (!v || files_usage_mend(v, &s->usage_off, &ticket, e) < 0 ||
	    flusher_wait(s->c.node->flusher, ticket, e) < 0)
		return -1;
	scrub_count_mended(s, &id->account, MEND_USAGE, 1);
	return 1;
}

/* Nothing is damaged but what a vault says of how much it holds, and it is known what that should be. */
static bool
is_usage_off(const struct scrub *s, const struct inspection *i)
{
	return i->rows_differ && i->damages.n == 1 && !i->damages.more &&
	    i->damages.all[0].kind == DAMAGE_DATABASE &&
	    (s->usage_off.objects || s->usage_off.bytes);
}

int
scrub_mend(struct scrub *s, const struct vault_id *id, const struct inspection *i, struct err *e)
{
	bool is_open = pool_idle_ms(s->c.node->pool, id) != UINT64_MAX;
	uint32_t numbers[DAMAGES_MAX];

	if (damaged_pages(i, numbers))
		return within(s, id, i, ENTER_WRITE, rewrite_pages, e);
	if (is_usage_off(s, i))
		return within(s, id, i, ENTER_WRITE, mend_usage, e);
	/* A vault that can't be opened is left as it is, for whoever restores it. */
	if (i->damages.n && i->damages.all[0].kind != DAMAGE_CHUNK)
		return 0;
	if (i->unnamed.len && within(s, id, i, ENTER_WRITE, drop_entries, e) < 0)
		return -1;
	if (i->strays && within(s, id, i, ENTER_READ, sweep, e) < 0)
		return -1;
	if (i->has_leftovers && !is_open && within(s, id, i, ENTER_READ, open_and_close, e) < 0)
		return -1;
	return 0;
}

/* --- what is nobody's --- */

struct nobodys {
	struct scrub *s;
	struct buf ids; /* of struct account_id, each once */
	struct account_id last;
	bool has_last;
};

/* An account with a vault or a chunk folder, and no home record but a forwarding address. */
static int
note_nobodys(void *arg, const struct vault_id *id, struct err *e)
{
	struct nobodys *n = arg;
	struct home home;
	int r;

	if (id->service == SERVICE_REGION || n->ids.len >= NOBODYS_MAX * sizeof(id->account) ||
	    (n->has_last && account_equal(&n->last, &id->account)))
		return 0;
	n->last = id->account;
	n->has_last = true;
	(void)e;
	r = homes_get(n->s->c.node->homes, &id->account, &home, NULL);
	if (r == 0 || (r == 1 && home.state == HOME_MOVED))
		buf_add(&n->ids, &id->account, sizeof(id->account));
	return 0;
}

static int
has_record(struct scrub *s, enum region_kind kind, const struct account_id *id, struct err *e)
{
	_cleanup_buf_ struct buf value = BUF_INIT(0);

	return region_get(s->c.node->engine, kind, id, sizeof(*id), &value, e);
}

/* The last word is the directory's: a home record may itself be what was lost. */
static int
is_placed_here(struct scrub *s, const struct account_id *id, struct err *e)
{
	struct placement p;

	if (directory_find(s->c.node->directory, id, 1, &p, e) < 0)
		return -1;
	return p.epoch && strcmp(p.home, s->c.node->region) == 0;
}

static int
home_is_lost(struct scrub *s, const struct account_id *id, struct err *e)
{
	const struct damage d = { .kind = DAMAGE_RECORD,
		.why = "the directory says that it lives here, and there is no record of it" };

	return findings_add(s, id, &d, e);
}

static int
erase_nobodys(struct scrub *s, const struct account_id *id, struct err *e)
{
	unsigned all = BIT(SERVICES) - 1 - BIT(SERVICE_REGION);
	struct err why = { 0 };
	int here;

	/* Being erased already, or between two homes. */
	if (has_record(s, REGION_ERASE, id, e) || has_record(s, REGION_MOVE, id, e))
		return 0;
	here = is_placed_here(s, id, &why);
	if (here < 0) {
		scrub_count_skipped(s, 1);
		return 0;
	}
	if (here)
		return home_is_lost(s, id, e);
	if (!s->c.erase || s->c.erase(s->c.node, id, all, &why) < 0) {
		scrub_count_skipped(s, 1);
		return 0;
	}
	scrub_count_mended(s, id, MEND_VAULT, 1);
	return 0;
}

int
scrub_mend_nobodys(struct scrub *s, struct err *e)
{
	struct nobodys n = { .s = s, .ids = BUF_INIT(0) };
	struct node *node = s->c.node;
	int r = engine_list(node->engine, note_nobodys, &n, e);

	n.has_last = false;
	if (r == 0)
		r = chunks_vaults(node->chunks, note_nobodys, &n, e);
	if (r == 0)
		r = buf_check(&n.ids, e);
	for (size_t at = 0; r == 0 && at < n.ids.len; at += sizeof(struct account_id))
		r = erase_nobodys(s, (const struct account_id *)(n.ids.data + at), e);
	buf_free(&n.ids);
	return r;
}
