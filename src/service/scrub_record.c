/* scrub_record.c - what the scrub keeps: where it is (one record), what is damaged (one an account).
 *
 * State:    format 2 (1); flags (1: running 1, asked 2, has after 4), after (16), rate (8), started (8),
 *           accounts (8), total (8), bytes (8), chunks (8), skipped (8), mended (8 each);
 *           last: ended (8), accounts (8), bytes (8)
 * Findings: format 1 (1), more (8), count (1), { kind (1), service (1), number (8), name (16), row (8),
 *           part (4), since (8), why (4 + bytes) }
 */
#include "service/scrub_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "base/log.h"
#include "base/stats.h"

#define FORMAT       1
#define STATE_FORMAT 2
#define VALUE_MAX    ((size_t)64 << 10)

enum { RUNNING = 1, ASKED = 2, AFTER = 4 };

static struct counter damaged_now = GAUGE(
    "domicile_scrub_damaged", NULL, "Damaged things known now, over all accounts.");

/* --- formats --- */

void
scrub_state_put(struct buf *b, const struct scrub_state *s)
{
	const struct pass *p = &s->pass;

	put_u8(b, STATE_FORMAT);
	put_u8(b,
	    (uint8_t)((p->is_running ? RUNNING : 0) | (p->is_asked ? ASKED : 0) |
	        (p->has_after ? AFTER : 0)));
	buf_add(b, &p->after, sizeof(p->after));
	put_u64(b, p->rate);
	put_u64(b, p->started_ms);
	put_u64(b, p->accounts);
	put_u64(b, p->total);
	put_u64(b, p->bytes);
	put_u64(b, p->chunks);
	put_u64(b, p->skipped);
	for (unsigned i = 0; i < MENDS; i++)
		put_u64(b, p->mended[i]);
	put_u64(b, s->last.ended_ms);
	put_u64(b, s->last.accounts);
	put_u64(b, s->last.bytes);
}

int
scrub_state_read(struct span stored, struct scrub_state *out, struct err *e)
{
	struct reader r = READER(stored.data, stored.len);
	struct scrub_state s = { .last.ended_ms = 0 };
	uint8_t format = read_u8(&r), flags = read_u8(&r);

	s.pass.is_running = flags & RUNNING;
	s.pass.is_asked = flags & ASKED;
	s.pass.has_after = flags & AFTER;
	read_copy(&r, &s.pass.after, sizeof(s.pass.after));
	s.pass.rate = read_u64(&r);
	s.pass.started_ms = read_u64(&r);
	s.pass.accounts = read_u64(&r);
	s.pass.total = read_u64(&r);
	s.pass.bytes = read_u64(&r);
	s.pass.chunks = read_u64(&r);
	s.pass.skipped = read_u64(&r);
	for (unsigned i = 0; i < MENDS; i++)
		s.pass.mended[i] = read_u64(&r);
	s.last.ended_ms = read_u64(&r);
	s.last.accounts = read_u64(&r);
	s.last.bytes = read_u64(&r);
	if (read_check(&r, "the scrub's record", e) < 0)
		return -1;
	if (format != STATE_FORMAT)
		return err_set(e, ERR_BAD, "the scrub's record has format %u", format);
	*out = s;
	return 0;
}

void
findings_put(struct buf *b, const struct findings *f)
{
	put_u8(b, FORMAT);
	put_u64(b, f->more);
	put_u8(b, (uint8_t)f->n);
	for (unsigned i = 0; i < f->n; i++) {
		const struct damage *d = &f->all[i].damage;

		put_u8(b, (uint8_t)d->kind);
		put_u8(b, (uint8_t)d->service);
		put_u64(b, d->number);
		buf_add(b, d->name, sizeof(d->name));
		put_u64(b, (uint64_t)d->row);
		put_u32(b, d->part);
		put_u64(b, f->all[i].since_ms);
		put_str(b, d->why);
	}
}

int
findings_read(const struct account_id *id, struct span stored, struct findings *out, struct err *e)
{
	struct reader r = READER(stored.data, stored.len);
	uint8_t format = read_u8(&r);

	*out = (struct findings){ .account = *id };
	out->more = read_u64(&r);
	out->n = read_u8(&r);
	if (format != FORMAT || out->n > DAMAGES_MAX)
		return err_set(e, ERR_BAD, "a record of damages of format %u, with %u of them",
		    format, out->n);
	for (unsigned i = 0; i < out->n; i++) {
		struct damage *d = &out->all[i].damage;

		d->kind = read_u8(&r);
		d->service = read_u8(&r);
		d->number = read_u64(&r);
		read_copy(&r, d->name, sizeof(d->name));
		d->row = (int64_t)read_u64(&r);
		d->part = read_u32(&r);
		out->all[i].since_ms = read_u64(&r);
		read_str(&r, d->why, sizeof(d->why));
		if (!r.failed && (d->kind >= DAMAGE_KINDS || d->service >= SERVICES))
			return err_set(e, ERR_BAD, "a record of damages with kind %u, service %u",
			    d->kind, d->service);
	}
	return read_check(&r, "a record of damages", e);
}

/* --- storing --- */

static bool
is_same(const struct damage *a, const struct damage *b)
{
	return a->kind == b->kind && a->service == b->service && a->number == b->number &&
	    memcmp(a->name, b->name, sizeof(a->name)) == 0;
}

static const struct finding *
find(const struct findings *f, const struct damage *d)
{
	for (unsigned i = 0; i < f->n; i++)
		if (is_same(&f->all[i].damage, d))
			return &f->all[i];
	return NULL;
}

static void
log_finding(const char *event, const struct account_id *id, const struct damage *d)
{
	char account[ACCOUNT_TEXT_SIZE], name[2 * CHUNK_NAME_BYTES + 1];
	bool is_gone = strcmp(event, "scrub.whole") == 0;

	account_text(id, account);
	hex_text(d->name, sizeof(d->name), name);
	log_write(is_gone ? LOG_INFO_ : LOG_ERROR_, event, NULL,
	    "account=%s service=%s kind=%s number=%" PRIu64 " chunk=%s row=%" PRId64
	    " part=%u why=\"%s\"",
	    account, service_name(d->service), damage_word(d->kind), d->number, name, d->row,
	    d->part, d->why);
}

/* The new ones, with when they were first seen. Returns whether anything differs from OLD. */
static bool
compare(const struct findings *old, const struct damages *d, struct findings *new)
{
	bool differs = old->n != d->n || old->more != d->more;
	uint64_t now = host_wall_ms();

	*new = (struct findings){ .account = old->account, .n = d->n, .more = d->more };
	for (unsigned i = 0; i < d->n; i++) {
		const struct finding *f = find(old, &d->all[i]);

		new->all[i] = (struct finding){ d->all[i], f ? f->since_ms : now };
		differs = differs || !f || f->damage.row != d->all[i].row;
		if (!f)
			log_finding("scrub.damaged", &old->account, &d->all[i]);
	}
	for (unsigned i = 0; i < old->n; i++)
		if (!find(new, &old->all[i].damage))
			log_finding("scrub.whole", &old->account, &old->all[i].damage);
	return differs;
}

static int
write_findings(struct scrub *s, const struct findings *f, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	_cleanup_buf_ struct buf value = BUF_INIT(VALUE_MAX);
	struct node *n = s->c.node;

	if (!b)
		return -1;
	findings_put(&value, f);
	if (buf_check(&value, e) < 0)
		return -1;
	if (f->n)
		region_put(
		    b, REGION_DAMAGE, &f->account, sizeof(f->account), value.data, value.len);
	else
		region_delete(b, REGION_DAMAGE, &f->account, sizeof(f->account));
	return region_apply(n->engine, n->flusher, b, e);
}

/* What is known of an account: 1, 0 (nothing), -1. One that can't be read is written anew. */
static int
read_findings(struct scrub *s, const struct account_id *id, struct findings *out, struct err *e)
{
	_cleanup_buf_ struct buf value = BUF_INIT(VALUE_MAX);
	int r = region_get(s->c.node->engine, REGION_DAMAGE, id, sizeof(*id), &value, e);

	if (r != 1 || findings_read(id, (struct span){ value.data, value.len }, out, NULL) < 0)
		*out = (struct findings){ .account = *id };
	return r;
}

int
findings_store(struct scrub *s, const struct account_id *id, const struct damages *d, struct err *e)
{
	_cleanup_(freep) struct findings *both = calloc(2, sizeof(*both));
	struct findings *old = both, *new = both + 1;
	int r;

	if (!both)
		return err_set(e, ERR_MEMORY, "no memory for what is damaged");
	r = read_findings(s, id, old, e);
	if (r < 0)
		return -1;
	if (!compare(old, d, new) && (r == 1) == (new->n > 0))
		return 0;
	if (write_findings(s, new, e) < 0)
		return -1;
	return findings_count(s, false, e);
}

int
findings_add(struct scrub *s, const struct account_id *id, const struct damage *d, struct err *e)
{
	_cleanup_(freep) struct findings *old = calloc(1, sizeof(*old));
	_cleanup_(freep) struct damages *all = calloc(1, sizeof(*all));

	if (!old || !all)
		return err_set(e, ERR_MEMORY, "no memory for what is damaged");
	if (read_findings(s, id, old, e) < 0)
		return -1;
	for (unsigned i = 0; i < old->n; i++)
		if (!is_same(&old->all[i].damage, d))
			damages_add(all, &old->all[i].damage);
	damages_add(all, d);
	buf_add(&s->told, id, sizeof(*id));
	return findings_store(s, id, all, e);
}

/* --- counting --- */

struct counting {
	struct scrub *s;
	bool forget;
	uint64_t damaged, accounts;
	struct buf gone; /* of struct account_id */
};

static bool
lives_elsewhere(struct scrub *s, const struct account_id *id)
{
	struct home home;
	int r = homes_get(s->c.node->homes, id, &home, NULL);

	return r == 0 || (r == 1 && home.state == HOME_MOVED);
}

static bool
was_told(const struct scrub *s, const struct account_id *id)
{
	for (size_t at = 0; at < s->told.len; at += sizeof(*id))
		if (memcmp(s->told.data + at, id, sizeof(*id)) == 0)
			return true;
	return false;
}

static int
count_one(void *arg, struct span key, struct span value, struct err *e)
{
	struct counting *c = arg;
	struct account_id id;
	struct findings *f;

	if (key.len != sizeof(id))
		return 0;
	memcpy(&id, key.data, sizeof(id));
	if (c->forget && lives_elsewhere(c->s, &id) && !was_told(c->s, &id)) {
		buf_add(&c->gone, &id, sizeof(id));
		return 0;
	}
	f = malloc(sizeof(*f));
	if (!f)
		return err_set(e, ERR_MEMORY, "no memory for what is damaged");
	if (findings_read(&id, value, f, NULL) == 0) {
		c->damaged += f->n + f->more;
		c->accounts++;
	}
	free(f);
	return 0;
}

static int
forget(struct scrub *s, const struct buf *gone, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);

	if (!b || buf_check(gone, e) < 0)
		return -1;
	for (size_t at = 0; at < gone->len; at += sizeof(struct account_id))
		region_delete(b, REGION_DAMAGE, gone->data + at, sizeof(struct account_id));
	return region_apply_soon(s->c.node->engine, b, e);
}

int
findings_count(struct scrub *s, bool may_forget, struct err *e)
{
	struct counting c = { .s = s, .forget = may_forget, .gone = BUF_INIT(0) };
	int r = region_scan(s->c.node->engine, REGION_DAMAGE, count_one, &c, e);

	if (r == 0)
		r = forget(s, &c.gone, e);
	buf_free(&c.gone);
	if (r < 0)
		return -1;
	pthread_mutex_lock(&s->lock);
	s->damaged = c.damaged;
	s->damaged_accounts = c.accounts;
	pthread_mutex_unlock(&s->lock);
	counter_set(&damaged_now, (int64_t)c.damaged);
	return 0;
}
