/* reconcile.c - see reconcile.h. Pages of home records: asked for, decided on, cancelled, written. */
#include "move/reconcile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "base/log.h"
#include "move/internal.h"

#define PAGE       512 /* accounts at once */
#define TRIES      4   /* of an account whose row changes meanwhile */
#define FORMAT     1
#define RECORD_MAX 1024

static const char mark_name[] = "mark", report_name[] = "reconciled";

static const char *const whys[] = {
	[RECONCILE_RESTORED] = "restored",
	[RECONCILE_COPIED] = "copied",
	[RECONCILE_PROMOTED] = "promoted",
};
_Static_assert(ARRAY_LEN(whys) == RECONCILE_WHYS, "a word for every reason");

const char *
reconcile_why_name(enum reconcile_why w)
{
	return w < RECONCILE_WHYS ? whys[w] : "unknown";
}

/* --- the mark and the report --- */

static void
put_mark(struct buf *b, const struct reconcile_mark *m)
{
	put_u8(b, FORMAT);
	put_u8(b, (uint8_t)m->why);
	put_u64(b, m->copied_ms);
	put_u8(b, m->has_directory_back);
}

static void
read_mark(struct reader *r, struct reconcile_mark *out)
{
	if (read_u8(r) != FORMAT)
		r->failed = true;
	out->why = read_u8(r);
	out->copied_ms = read_u64(r);
	out->has_directory_back = read_u8(r);
	if (out->why >= RECONCILE_WHYS)
		r->failed = true;
}

int
reconcile_mark(struct engine *g, struct flusher *f, const struct reconcile_mark *m, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	_cleanup_buf_ struct buf v = BUF_INIT(RECORD_MAX);

	if (!b)
		return -1;
	put_mark(&v, m);
	region_put(b, REGION_STORE, mark_name, strlen(mark_name), v.data, v.len);
	if (f)
		return region_apply(g, f, b, e);
	return region_apply_soon(g, b, e) < 0 ? -1 : engine_flush(g, e);
}

int
reconcile_marked(struct engine *g, struct reconcile_mark *out, struct err *e)
{
	_cleanup_buf_ struct buf v = BUF_INIT(RECORD_MAX);
	int found = region_get(g, REGION_STORE, mark_name, strlen(mark_name), &v, e);
	struct reconcile_mark m = { 0 };
	struct reader r = READER(v.data, v.len);

	if (found <= 0)
		return found;
	read_mark(&r, &m);
	if (read_check(&r, "the mark of a store that was put back", e) < 0)
		return -1;
	if (out)
		*out = m;
	return 1;
}

/* The figures in their stored order, and as JSON names them. */
static const struct {
	const char *name;
	size_t at;
} figures[] = {
	{ "records", offsetof(struct reconcile_report, records) },
	{ "here", offsetof(struct reconcile_report, here) },
	{ "moved", offsetof(struct reconcile_report, moved) },
	{ "unknown", offsetof(struct reconcile_report, unknown) },
	{ "given_up", offsetof(struct reconcile_report, given_up) },
	{ "arriving", offsetof(struct reconcile_report, arriving) },
	{ "removing", offsetof(struct reconcile_report, removing) },
	{ "forwarding", offsetof(struct reconcile_report, forwarding) },
	{ "held", offsetof(struct reconcile_report, held) },
	{ "lost", offsetof(struct reconcile_report, lost) },
	{ "ahead", offsetof(struct reconcile_report, ahead) },
};

static uint64_t *
figure(const struct reconcile_report *r, size_t i)
{
	return (uint64_t *)((char *)(uintptr_t)r + figures[i].at);
}

int
reconcile_last(struct engine *g, struct reconcile_report *out, struct err *e)
{
	_cleanup_buf_ struct buf v = BUF_INIT(RECORD_MAX);
	int found = region_get(g, REGION_STORE, report_name, strlen(report_name), &v, e);
	struct reconcile_report report = { 0 };
	struct reader r = READER(v.data, v.len);

	if (found <= 0)
		return found;
	read_mark(&r, &report.mark);
	report.finished_ms = read_u64(&r);
	for (size_t i = 0; i < ARRAY_LEN(figures); i++)
		*figure(&report, i) = read_u64(&r);
	if (read_check(&r, "the report of a store that was put back", e) < 0)
		return -1;
	*out = report;
	return 1;
}

json_t *
reconcile_report_json(const struct reconcile_report *r)
{
	char copied[25] = "", finished[25] = "";
	json_t *it;

	if (r->mark.copied_ms)
		host_time_text(r->mark.copied_ms, copied);
	host_time_text(r->finished_ms, finished);
	it = json_pack("{s:s, s:s, s:s, s:b}", "why", reconcile_why_name(r->mark.why), "copy_of",
	    copied, "finished", finished, "directory_back", (int)r->mark.has_directory_back);
	for (size_t i = 0; it && i < ARRAY_LEN(figures); i++)
		json_object_set_new(it, figures[i].name, json_integer((json_int_t)*figure(r, i)));
	return it;
}

/* The last step: the report instead of the mark. */
static int
finish(struct node *n, const struct reconcile_report *r, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	_cleanup_buf_ struct buf v = BUF_INIT(RECORD_MAX);

	if (!b)
		return -1;
	put_mark(&v, &r->mark);
	put_u64(&v, r->finished_ms);
	for (size_t i = 0; i < ARRAY_LEN(figures); i++)
		put_u64(&v, *figure(r, i));
	region_put(b, REGION_STORE, report_name, strlen(report_name), v.data, v.len);
	region_delete(b, REGION_STORE, mark_name, strlen(mark_name));
	return region_apply(n->engine, n->flusher, b, e);
}

static int
list_account(void *arg, const struct home *h, struct err *e)
{
	char account[ACCOUNT_TEXT_SIZE];

	(void)e;
	if (h->state != HOME_HELD && h->state != HOME_LOST)
		return 0;
	account_text(&h->account, account);
	json_array_append_new(arg,
	    json_pack("{s:s, s:s, s:I, s:s}", "account", account, "state",
	        home_state_name(h->state), "epoch", (json_int_t)h->epoch, "country", h->country));
	return json_array_size(arg) >= RECONCILE_LISTED;
}

int
reconcile_accounts(struct node *n, json_t **out, struct err *e)
{
	json_t *list = json_array();

	if (!list)
		return err_set(e, ERR_MEMORY, "no memory for a list");
	if (homes_scan_after(n->homes, NULL, list_account, list, e) < 0) {
		json_decref(list);
		return -1;
	}
	*out = list;
	return 0;
}

/* --- deciding --- */

/* The newest epoch that the directory had when the record was written, as far as the record tells. */
static uint64_t
known_epoch(const struct home *h)
{
	return h->state == HOME_ARRIVING || h->state == HOME_PREPARED ? h->epoch - 1 : h->epoch;
}

bool
reconcile_is_ahead(const struct home *h, const struct placement *row, const char *region)
{
	bool is_here = strcmp(row->home, region) == 0;

	if (!row->epoch || h->state == HOME_LOST)
		return false;
	if (row->epoch < known_epoch(h))
		return true;
	/* The same epoch at another home: neither has moved on, and both can't be right. */
	return row->epoch == h->epoch && (h->state == HOME_MOVED) == is_here &&
	    h->state != HOME_ARRIVING && h->state != HOME_PREPARED;
}

static enum reconcile_fate
fate_of_copy(const struct home *h, const struct placement *row, bool is_here, bool doubts)
{
	if (!row->epoch)
		return doubts ? FATE_HOLD : FATE_ERASE;
	if (is_here)
		return row->epoch == h->epoch ? FATE_HERE : FATE_HOLD;
	return row->epoch > h->epoch ? FATE_MOVED : FATE_HOLD;
}

static enum reconcile_fate
fate_of_removal(const struct home *h, const struct placement *row, bool is_here)
{
	if (row->epoch <= h->epoch)
		return FATE_KEEP;
	return is_here ? FATE_LOST : FATE_MOVED;
}

static enum reconcile_fate
fate_of_address(const struct home *h, const struct placement *row, bool is_here, bool doubts)
{
	if (!row->epoch)
		return doubts ? FATE_KEEP : FATE_FORGET;
	if (row->epoch <= h->epoch)
		return FATE_KEEP;
	return is_here ? FATE_LOST : FATE_FORWARD;
}

static enum reconcile_fate
fate_of_prepared(const struct home *h, const struct placement *row, bool is_here, bool doubts)
{
	if (!row->epoch)
		return doubts ? FATE_HOLD : FATE_ERASE;
	if (is_here && row->epoch >= h->epoch)
		return row->epoch == h->epoch ? FATE_SETTLE : FATE_HOLD;
	if (!is_here && row->epoch == h->epoch - 1)
		return FATE_KEEP;
	return row->epoch >= h->epoch ? FATE_ERASE : FATE_HOLD;
}

enum reconcile_fate
reconcile_fate(const struct home *h, const struct placement *row, const char *region, bool doubts)
{
	bool is_here = row->epoch && strcmp(row->home, region) == 0;

	switch (h->state) {
	case HOME_HERE:
	case HOME_FENCED:
	case HOME_HELD:
		return fate_of_copy(h, row, is_here, doubts);
	case HOME_REMOVING:
		return fate_of_removal(h, row, is_here);
	case HOME_MOVED:
		return fate_of_address(h, row, is_here, doubts);
	case HOME_CREATING:
	case HOME_ARRIVING:
		return is_here && row->epoch >= h->epoch ? FATE_LOST : FATE_ERASE;
	case HOME_PREPARED:
		return fate_of_prepared(h, row, is_here, doubts);
	case HOME_LOST:
		return is_here || (doubts && !row->epoch) ? FATE_KEEP : FATE_FORGET;
	default:
		return is_here ? FATE_LOST : FATE_KEEP;
	}
}

/* --- a page of accounts --- */

struct page {
	struct home homes[PAGE];
	struct placement rows[PAGE];
	enum reconcile_fate fates[PAGE];
	bool is_cancelled[PAGE];
	struct account_id ids[PAGE];
	size_t n;
};

struct work {
	struct node *node;
	struct reconcile_report report;
	bool doubts;
	struct page page;
	struct swap swaps[PAGE];
	struct home changed[PAGE];
};

static int
keep_record(void *arg, const struct home *h, struct err *e)
{
	struct page *p = arg;

	(void)e;
	/* A damaged one has nothing to compare; it is refused at the gate, and logged by accounts_recover. */
	if (h->state != HOME_STATES)
		p->homes[p->n++] = *h;
	return p->n == PAGE;
}

/* The next page of home records, with the directory's rows. 1, 0: there are no more, -1. */
static int
next_page(struct work *w, bool is_first, struct err *e)
{
	struct page *p = &w->page;
	struct account_id last = { 0 };

	if (!is_first)
		last = p->homes[p->n - 1].account;
	p->n = 0;
	if (homes_scan_after(w->node->homes, is_first ? NULL : &last, keep_record, p, e) < 0)
		return -1;
	for (size_t i = 0; i < p->n; i++)
		p->ids[i] = p->homes[i].account;
	if (p->n && directory_find(w->node->directory, p->ids, p->n, p->rows, e) < 0)
		return -1;
	return p->n > 0;
}

/* How far the directory can be believed is known only after all have been looked at. */
static int
look_for_doubts(struct work *w, struct err *e)
{
	uint64_t rows = 0;
	int r;

	w->report.ahead = 0;
	for (bool is_first = true; (r = next_page(w, is_first, e)) > 0; is_first = false)
		for (size_t i = 0; i < w->page.n; i++) {
			rows += w->page.rows[i].epoch != 0;
			w->report.ahead += reconcile_is_ahead(
			    &w->page.homes[i], &w->page.rows[i], w->node->region);
		}
	if (r < 0)
		return -1;
	/* One that knows none of them is a new and empty one. */
	w->doubts = w->report.ahead || !rows || w->report.mark.has_directory_back;
	if (w->report.ahead)
		log_error("reconcile.directory", NULL,
		    "accounts=%" PRIu64 " the directory is older than this region: "
		    "nothing is erased by its word, put its newer file back",
		    w->report.ahead);
	return 0;
}

static bool
has_to_cancel(enum reconcile_fate f)
{
	return f == FATE_HERE || f == FATE_SETTLE;
}

static void
swap_to_cancel(const struct node *n, const struct placement *row, struct swap *out)
{
	*out = (struct swap){ .account = row->account,
		.epoch = row->epoch,
		.attempt = row->attempt,
		.to_epoch = row->epoch,
		.to_attempt = row->attempt + 1 };
	memcpy(out->from, n->region, sizeof out->from);
	memcpy(out->to, n->region, sizeof out->to);
}

/* The next round of cancellations; *LEFT of them were refused, since the row had just changed: those are
 * decided on anew. */
static int
cancel_once(struct work *w, size_t *left, struct err *e)
{
	struct page *p = &w->page;
	size_t at[PAGE], n = 0;

	*left = 0;
	for (size_t i = 0; i < p->n; i++)
		if (has_to_cancel(p->fates[i]) && !p->is_cancelled[i]) {
			swap_to_cancel(w->node, &p->rows[i], &w->swaps[n]);
			at[n++] = i;
		}
	if (n && directory_swap(w->node->directory, w->swaps, n, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		size_t k = at[i];

		p->is_cancelled[k] = w->swaps[i].is_done;
		if (w->swaps[i].is_done) {
			p->rows[k].attempt = w->swaps[i].to_attempt;
			continue;
		}
		++*left;
		p->rows[k] = w->swaps[i].now;
		p->fates[k] = reconcile_fate(&p->homes[k], &p->rows[k], w->node->region, w->doubts);
	}
	return 0;
}

/* From now on no swap of an earlier attempt goes through. */
static int
cancel_attempts(struct work *w, struct err *e)
{
	size_t left = 1;

	memset(w->page.is_cancelled, 0, sizeof w->page.is_cancelled);
	for (unsigned tries = 0; left && tries < TRIES; tries++)
		if (cancel_once(w, &left, e) < 0)
			return -1;
	return left ? err_set(e, ERR_BUSY, "%zu accounts are just changing in the directory", left)
	            : 0;
}

/* --- writing --- */

static void
put_erasure(struct region_batch *b, const struct home *h, const struct placement *row)
{
	_cleanup_buf_ struct buf v = BUF_INIT(RECORD_MAX);
	/* Any service: one that was granted after the copy was made has left nothing, and costs nothing. */
	struct erase_record x = { .account = h->account,
		.epoch = h->epoch,
		.services = BIT(SERVICES) - 1 - BIT(SERVICE_REGION),
		.since_ms = host_wall_ms() };

	if (row) {
		/* The next home signs for what it got from here; of a later one there is no such word. */
		x.was_home = row->epoch == h->epoch + 1;
		x.epoch = row->epoch;
		memcpy(x.peer, row->home, sizeof x.peer);
	}
	erase_record_put(&v, &x);
	region_put(b, REGION_ERASE, h->account.b, ACCOUNT_ID_BYTES, v.data, v.len);
}

/* What the resolver does with an arrival whose swap has gone through. */
static int
settle(struct work *w, struct region_batch *b, const struct account_id *id, struct err *e)
{
	_cleanup_buf_ struct buf v = BUF_INIT(0);
	uint8_t leaf[1][SHA256_BYTES];
	struct node *n = w->node;
	struct move_record r;
	struct proof p = { 0 };
	int found = region_get(n->engine, REGION_MOVE, id->b, ACCOUNT_ID_BYTES, &v, e);

	if (found < 0)
		return -1;
	if (found == 0)
		return 0; /* it has been settled before */
	if (move_record_read((struct span){ v.data, v.len }, &r, e) < 0)
		return -1;
	if (r.state != MOVE_PREPARED)
		return 0;
	merkle_leaf(r.statement, strlen(r.statement), leaf[0]);
	r.received = (struct sealing){ .is_there = true };
	if (note_sign(NOTE_RECEIVED, n->region, (const uint8_t(*)[SHA256_BYTES])leaf, 1,
	        host_wall_ms(), n->sign_secret, n->sign_public, &r.received.note, e) < 0)
		return -1;
	merkle_prove((const uint8_t(*)[SHA256_BYTES])leaf, 1, 0, &r.received.proof);
	snprintf(p.statement, sizeof p.statement, "%s", r.statement);
	p.sent = r.sent;
	p.received = r.received;
	proof_store(b, id, r.epoch + 1, &p);
	r.state = MOVE_SETTLED;
	r.since_ms = host_wall_ms();
	return move_store(b, &r, e);
}

/* A settled arrival's lease is counted on by the mover's recovery; any other record of a move is over. */
static int
end_move(struct work *w, struct region_batch *b, const struct account_id *id, bool keeps_lease,
    struct err *e)
{
	_cleanup_buf_ struct buf v = BUF_INIT(0);
	struct move_record r;
	int found = region_get(w->node->engine, REGION_MOVE, id->b, ACCOUNT_ID_BYTES, &v, e);

	if (found <= 0)
		return found;
	if (move_record_read((struct span){ v.data, v.len }, &r, e) < 0)
		return -1;
	if (!keeps_lease || r.state != MOVE_SETTLED)
		region_delete(b, REGION_MOVE, id->b, ACCOUNT_ID_BYTES);
	return 0;
}

/* An erasure that waits for the signature of a home which the account was removed from would wait for ever. */
static int
end_waiting(struct work *w, struct region_batch *b, const struct account_id *id, struct err *e)
{
	_cleanup_buf_ struct buf v = BUF_INIT(0), out = BUF_INIT(RECORD_MAX);
	struct erase_record x;
	int found = region_get(w->node->engine, REGION_ERASE, id->b, ACCOUNT_ID_BYTES, &v, e);

	if (found <= 0)
		return found;
	if (erase_record_read((struct span){ v.data, v.len }, &x, e) < 0)
		return -1;
	x.was_home = x.was_home && x.has_proof;
	erase_record_put(&out, &x);
	region_put(b, REGION_ERASE, id->b, ACCOUNT_ID_BYTES, out.data, out.len);
	return 0;
}

static void
log_account(const char *event, const struct home *h, const struct placement *row)
{
	char account[ACCOUNT_TEXT_SIZE];

	account_text(&h->account, account);
	log_warn(event, NULL,
	    "account=%s was=%s epoch=%" PRIu64 " directory=%s directory_epoch=%" PRIu64, account,
	    home_state_name(h->state), h->epoch, row->epoch ? row->home : "unknown", row->epoch);
}

static void
take_row(struct home *h, enum home_state state, const struct placement *row)
{
	h->state = state;
	h->epoch = row->epoch;
	h->attempt = row->attempt;
	memcpy(h->country, row->country, sizeof h->country);
	memset(h->peer, 0, sizeof h->peer);
}

static void
count_kept(struct reconcile_report *r, enum home_state state)
{
	r->removing += state == HOME_REMOVING;
	r->forwarding += state == HOME_MOVED;
	r->arriving += state == HOME_PREPARED;
	r->lost += state == HOME_LOST;
}

/* What becomes of one account, into B; H is its new record. 1: it has changed, 0: not, -1. */
static int
carry_out(struct work *w, struct region_batch *b, enum reconcile_fate fate, struct home *h,
    const struct placement *row, struct err *e)
{
	struct reconcile_report *r = &w->report;
	const struct home old = *h;

	if (fate == FATE_SETTLE
	        ? settle(w, b, &old.account, e) < 0
	        : fate != FATE_KEEP && end_move(w, b, &old.account, fate == FATE_HERE, e) < 0)
		return -1;
	switch (fate) {
	case FATE_KEEP:
		count_kept(r, old.state);
		return 0;
	case FATE_HERE:
	case FATE_SETTLE:
		r->here++;
		take_row(h, HOME_HERE, row);
		h->is_suspended = row->is_suspended; /* an order that is newer than the copy */
		return 1;
	case FATE_MOVED:
	case FATE_FORWARD:
		r->moved += fate == FATE_MOVED;
		r->forwarding += fate == FATE_FORWARD;
		take_row(h, HOME_MOVED, row);
		memcpy(h->peer, row->home, sizeof h->peer);
		if (fate == FATE_MOVED)
			put_erasure(b, &old, row);
		return 1;
	case FATE_ERASE:
		r->unknown += !row->epoch;
		r->given_up += row->epoch != 0;
		h->state = HOME_NONE;
		put_erasure(b, &old, NULL);
		return 1;
	case FATE_FORGET:
		h->state = HOME_NONE;
		return end_waiting(w, b, &old.account, e) < 0 ? -1 : 1;
	case FATE_HOLD:
		r->held++;
		h->state = HOME_HELD;
		memset(h->peer, 0, sizeof h->peer);
		log_account("reconcile.held", &old, row);
		return 1;
	case FATE_LOST:
		r->lost++;
		take_row(h, HOME_LOST, row);
		h->services = 0;
		h->is_suspended = row->is_suspended;
		if (old.state != HOME_NONE && old.state != HOME_MOVED)
			put_erasure(b, &old, NULL);
		log_account("reconcile.lost", &old, row);
		return 1;
	}
	return err_set(e, ERR_INTERNAL, "an account of no fate");
}

static int
settle_page(struct work *w, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	struct page *p = &w->page;
	size_t n = 0;

	if (!b)
		return -1;
	for (size_t i = 0; i < p->n; i++)
		p->fates[i] = reconcile_fate(&p->homes[i], &p->rows[i], w->node->region, w->doubts);
	if (cancel_attempts(w, e) < 0)
		return -1;
	for (size_t i = 0; i < p->n; i++) {
		struct home *h = &w->changed[n];
		int r;

		*h = p->homes[i];
		r = carry_out(w, b, p->fates[i], h, &p->rows[i], e);
		if (r < 0)
			return -1;
		n += r > 0;
	}
	step("reconcile.page");
	return homes_reset(w->node->homes, w->changed, n, b, e);
}

static int
settle_records(struct work *w, struct err *e)
{
	int r;

	for (bool is_first = true; (r = next_page(w, is_first, e)) > 0; is_first = false) {
		if (settle_page(w, e) < 0)
			return -1;
		w->report.records += w->page.n;
		log_info("reconcile.page", NULL, "records=%" PRIu64 " here=%" PRIu64,
		    w->report.records, w->report.here);
	}
	return r;
}

/* --- rows without a record --- */

static int
keep_row(void *arg, const struct placement *row, struct err *e)
{
	struct page *p = arg;

	(void)e;
	p->ids[p->n] = row->account;
	p->rows[p->n++] = *row;
	return 0;
}

/* Those of the page of which there is no record. */
static int
leave_out_known(struct work *w, struct err *e)
{
	struct page *p = &w->page;
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++) {
		struct home h;
		int r = homes_get(w->node->homes, &p->ids[i], &h, e);

		if (r < 0)
			return -1;
		if (r)
			continue;
		p->homes[n] = h;
		p->rows[n++] = p->rows[i];
	}
	p->n = n;
	for (size_t i = 0; i < n; i++)
		p->ids[i] = p->homes[i].account;
	return 0;
}

static int
settle_rows(struct work *w, struct err *e)
{
	struct page *p = &w->page;
	struct account_id last;

	for (bool is_first = true;; is_first = false) {
		p->n = 0;
		if (directory_list(w->node->directory, is_first ? NULL : &last, w->node->region,
		        NULL, PAGE, keep_row, p, e) < 0)
			return -1;
		if (p->n == 0)
			return 0;
		last = p->ids[p->n - 1];
		if (leave_out_known(w, e) < 0 || settle_page(w, e) < 0)
			return -1;
	}
}

/* --- all of it --- */

static int
run(struct work *w, struct err *e)
{
	struct reconcile_report *r = &w->report;

	if (reconcile_marked(w->node->engine, &r->mark, e) < 0 || look_for_doubts(w, e) < 0 ||
	    settle_records(w, e) < 0 || settle_rows(w, e) < 0)
		return -1;
	step("reconcile.settled");
	r->finished_ms = host_wall_ms();
	return finish(w->node, r, e);
}

int
reconcile(struct node *n, struct reconcile_report *out, struct err *e)
{
	struct work *w = calloc(1, sizeof *w);
	int r;

	if (!w)
		return err_set(e, ERR_MEMORY, "no memory to compare accounts with the directory");
	w->node = n;
	r = run(w, e);
	if (r == 0) {
		*out = w->report;
		log_info("reconcile.done", NULL,
		    "why=%s records=%" PRIu64 " here=%" PRIu64 " moved=%" PRIu64 " unknown=%" PRIu64
		    " given_up=%" PRIu64 " arriving=%" PRIu64 " removing=%" PRIu64 " held=%" PRIu64
		    " lost=%" PRIu64 " ahead=%" PRIu64,
		    reconcile_why_name(out->mark.why), out->records, out->here, out->moved,
		    out->unknown, out->given_up, out->arriving, out->removing, out->held, out->lost,
		    out->ahead);
	}
	free(w);
	return r < 0 ? err_add(e, "comparing accounts with the directory") : 0;
}
