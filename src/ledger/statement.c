#include "ledger/statement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/host.h"

static const char *const roles[] = { "sent", "received", "erased" };

static void
put_time(struct buf *out, uint64_t ms)
{
	char text[25];

	host_time_text(ms, text);
	buf_printf(out, "time %s\n", text);
}

void
move_statement_text(const struct move_statement *s, struct buf *out)
{
	char id[ACCOUNT_TEXT_SIZE], hex[2 * SHA256_BYTES + 1];

	account_text(&s->account, id);
	buf_printf(out,
	    "domicile move 1\naccount %s\nfrom %s\nto %s\nepoch %" PRIu64 "\nattempt %" PRIu64 "\n",
	    id, s->from, s->to, s->epoch, s->attempt);
	put_time(out, s->time_ms);
	for (unsigned i = 0; i < s->n_vaults; i++) {
		hex_text(s->vaults[i].root, SHA256_BYTES, hex);
		buf_printf(out, "vault %s version %" PRIu64 " root %s\n",
		    service_name(s->vaults[i].service), s->vaults[i].version, hex);
	}
}

void
erasure_statement_text(const struct erasure_statement *s, struct buf *out)
{
	char id[ACCOUNT_TEXT_SIZE];

	account_text(&s->account, id);
	buf_printf(out,
	    "domicile erasure 1\naccount %s\nregion %s\nto %s\nepoch %" PRIu64 "\nrecords %" PRIu64
	    " chunks %" PRIu64 "\n",
	    id, s->region, s->to, s->epoch, s->records, s->chunks);
	put_time(out, s->time_ms);
}

/* --- parsing: take the fields out, write the text again, and compare --- */

struct lines {
	const char *at;
	bool failed;
};

/* The words of the next line, which must begin with PREFIX; "" when failed. */
static const char *
next_line(struct lines *l, const char *prefix, char *out, size_t size)
{
	const char *end = strchr(l->at, '\n');
	size_t skip = strlen(prefix), n;

	out[0] = 0;
	if (l->failed || !end || strncmp(l->at, prefix, skip) != 0 ||
	    (n = (size_t)(end - l->at) - skip) >= size) {
		l->failed = true;
		return out;
	}
	memcpy(out, l->at + skip, n);
	out[n] = 0;
	l->at = end + 1;
	return out;
}

static void
next_account(struct lines *l, struct account_id *out)
{
	char text[64];

	if (!account_parse(next_line(l, "account ", text, sizeof text), out))
		l->failed = true;
}

static void
next_region(struct lines *l, const char *prefix, char out[static REGION_NAME_SIZE])
{
	if (!region_name_valid(next_line(l, prefix, out, REGION_NAME_SIZE)))
		l->failed = true;
}

static uint64_t
next_number(struct lines *l, const char *prefix)
{
	char text[24];

	return strtoull(next_line(l, prefix, text, sizeof text), NULL, 10);
}

static uint64_t
next_time(struct lines *l)
{
	char text[32];
	struct tm tm = { 0 };
	unsigned ms = 0;

	next_line(l, "time ", text, sizeof text);
	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3uZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
	        &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ms) != 7) {
		l->failed = true;
		return 0;
	}
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	return (uint64_t)timegm(&tm) * 1000 + ms;
}

static void
next_vault(struct lines *l, struct vault_root *out)
{
	char text[160], name[16], hex[80];

	next_line(l, "vault ", text, sizeof text);
	if (sscanf(text, "%15s version %" SCNu64 " root %79s", name, &out->version, hex) != 3 ||
	    !service_parse(name, &out->service) || strlen(hex) != 2 * SHA256_BYTES ||
	    !hex_parse(hex, out->root, SHA256_BYTES))
		l->failed = true;
}

/* TEXT as a C string in OUT; false if it does not fit or holds a NUL. */
static bool
as_string(struct span text, char out[static STATEMENT_MAX])
{
	if (text.len == 0 || text.len >= STATEMENT_MAX || memchr(text.data, 0, text.len))
		return false;
	memcpy(out, text.data, text.len);
	out[text.len] = 0;
	return true;
}

int
move_statement_parse(struct span text, struct move_statement *out, struct err *e)
{
	_cleanup_buf_ struct buf again = BUF_INIT(STATEMENT_MAX);
	char all[STATEMENT_MAX], rest[8];
	struct lines l = { all, false };
	struct move_statement s = { 0 };

	if (!as_string(text, all))
		return err_set(e, ERR_BAD, "a move statement of impossible length");
	next_line(&l, "domicile move 1", rest, sizeof rest);
	next_account(&l, &s.account);
	next_region(&l, "from ", s.from);
	next_region(&l, "to ", s.to);
	s.epoch = next_number(&l, "epoch ");
	s.attempt = next_number(&l, "attempt ");
	s.time_ms = next_time(&l);
	while (!l.failed && *l.at && s.n_vaults < SERVICES - 1) {
		struct vault_root *v = &s.vaults[s.n_vaults];

		next_vault(&l, v);
		if (s.n_vaults && v[-1].service >= v->service)
			l.failed = true;
		s.n_vaults++;
	}
	if (!l.failed)
		move_statement_text(&s, &again);
	if (l.failed || again.len != text.len || memcmp(again.data, text.data, text.len) != 0)
		return err_set(e, ERR_BAD, "not a move statement");
	*out = s;
	return 0;
}

int
erasure_statement_parse(struct span text, struct erasure_statement *out, struct err *e)
{
	_cleanup_buf_ struct buf again = BUF_INIT(STATEMENT_MAX);
	char all[STATEMENT_MAX], rest[64];
	struct lines l = { all, false };
	struct erasure_statement s = { 0 };

	if (!as_string(text, all))
		return err_set(e, ERR_BAD, "an erasure statement of impossible length");
	next_line(&l, "domicile erasure 1", rest, sizeof rest);
	next_account(&l, &s.account);
	next_region(&l, "region ", s.region);
	next_region(&l, "to ", s.to);
	s.epoch = next_number(&l, "epoch ");
	next_line(&l, "records ", rest, sizeof rest);
	if (sscanf(rest, "%" SCNu64 " chunks %" SCNu64, &s.records, &s.chunks) != 2)
		l.failed = true;
	s.time_ms = next_time(&l);
	if (!l.failed)
		erasure_statement_text(&s, &again);
	if (l.failed || again.len != text.len || memcmp(again.data, text.data, text.len) != 0)
		return err_set(e, ERR_BAD, "not an erasure statement");
	*out = s;
	return 0;
}

/* --- notes --- */

static int
note_text(const struct note_fields *f, struct buf *out, struct err *e)
{
	char hex[2 * SHA256_BYTES + 1];

	hex_text(f->root, SHA256_BYTES, hex);
	buf_printf(out, "domicile batch 1\n%s\nregion %s\nsize %" PRIu64 "\nroot %s\n",
	    roles[f->role], f->region, f->size, hex);
	put_time(out, f->time_ms);
	return buf_check(out, e);
}

int
note_sign(enum note_role role, const char *region, const uint8_t (*leaves)[SHA256_BYTES], size_t n,
    uint64_t time_ms, const uint8_t secret[static SIGN_SECRET_BYTES],
    const uint8_t public[static SIGN_PUBLIC_BYTES], struct note *out, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(NOTE_MAX - 1);
	struct note_fields f = { .role = role, .size = n, .time_ms = time_ms };

	snprintf(f.region, sizeof f.region, "%s", region);
	merkle_root(leaves, n, f.root);
	if (note_text(&f, &text, e) < 0)
		return -1;
	snprintf(out->text, sizeof out->text, "%s", buf_str(&text));
	return sign(secret, public, out->text, strlen(out->text), out->signature, e);
}

int
note_check(const struct note *n, const uint8_t public[static SIGN_PUBLIC_BYTES],
    struct note_fields *out, struct err *e)
{
	_cleanup_buf_ struct buf again = BUF_INIT(NOTE_MAX);
	struct lines l = { n->text, false };
	struct note_fields f = { 0 };
	char word[80];

	if (strnlen(n->text, NOTE_MAX) == NOTE_MAX)
		return err_set(e, ERR_BAD, "a signed note of impossible length");
	if (sign_check(public, n->text, strlen(n->text), n->signature, e) < 0)
		return err_add(e, "a signed note");
	next_line(&l, "domicile batch 1", word, sizeof word);
	next_line(&l, "", word, sizeof word);
	for (f.role = 0; f.role < ARRAY_LEN(roles) && strcmp(word, roles[f.role]) != 0; f.role++)
		;
	next_region(&l, "region ", f.region);
	f.size = next_number(&l, "size ");
	next_line(&l, "root ", word, sizeof word);
	if (f.role == ARRAY_LEN(roles) || strlen(word) != 2 * SHA256_BYTES ||
	    !hex_parse(word, f.root, SHA256_BYTES))
		l.failed = true;
	f.time_ms = next_time(&l);
	if (l.failed || note_text(&f, &again, e) < 0 || strcmp(buf_str(&again), n->text) != 0)
		return err_set(e, ERR_BAD, "not a signed note");
	*out = f;
	return 0;
}

void
note_put(struct buf *b, const struct note *n)
{
	put_str(b, n->text);
	buf_add(b, n->signature, SIGNATURE_BYTES);
}

void
note_read(struct reader *r, struct note *out)
{
	read_str(r, out->text, sizeof out->text);
	read_copy(r, out->signature, SIGNATURE_BYTES);
}
