/* Verifies an account that arrived here, independently of the copier: pages come through SQLite's file
 * handle, chunks are read and digested, and only the hash function is shared.
 *
 * The vault is taken for its pages alone. Its chunks, which may be most of the content, are read after
 * it was given back: the content key taken with their list keeps the files of chunks dropped since.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "move/internal.h"

/* What a vault says of itself at one version; its chunks are still to be read. */
struct verification {
	uint64_t version;
	uint8_t root[SHA256_BYTES]; /* if every chunk holds what the list says */
	struct content_key *key;
	struct chunks *chunks;
	struct chunk_ref *refs;
	size_t n, room;
	uint64_t bytes; /* read so far */
};

static void
verification_free(struct verification *x)
{
	content_key_unref(x->key);
	free(x->refs);
}

static void
add_u32(struct hash *h, uint32_t v)
{
	uint8_t b[4];

	be32_put(b, v);
	hash_add(h, b, sizeof b);
}

static void
add_u64(struct hash *h, uint64_t v)
{
	uint8_t b[8];

	be64_put(b, v);
	hash_add(h, b, sizeof b);
}

static int
digest_pages(struct verification *x, struct vault *v, struct hash *root, struct err *e)
{
	uint8_t page[4096], digest[SHA256_BYTES];
	uint32_t pages = 1;

	for (uint32_t i = 1; i <= pages; i++) {
		if (vault_read_page(v, i, page, &pages, e) < 0)
			return -1;
		if (i == 1) {
			hash_add(root, "domicile root 1", 15);
			hash_add(root, &vault_id(v)->service, 1);
			add_u64(root, x->version);
			add_u32(root, pages);
		}
		sha256(page, sizeof page, digest);
		add_u32(root, i);
		hash_add(root, digest, sizeof digest);
		x->bytes += sizeof page;
	}
	return 0;
}

static int
list_chunk(void *arg, const struct chunk_ref *c, struct err *e)
{
	struct verification *x = arg;

	if (x->n == x->room) {
		size_t room = x->room ? 2 * x->room : 64;
		void *p = reallocarray(x->refs, room, sizeof *x->refs);

		if (!p)
			return err_set(e, ERR_MEMORY, "no memory for a list of chunks");
		x->refs = p;
		x->room = room;
	}
	x->refs[x->n++] = *c;
	return 0;
}

/* Everything that needs the vault, which nobody else has meanwhile. */
static int
look_at_vault(struct verification *x, struct node *n, const struct vault_id *id, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = pool_take(n->pool, id, true, e);
	_cleanup_(hash_closep) struct hash *h = v ? hash_open(HASH_SHA256, e) : NULL;

	if (!h)
		return -1;
	x->version = vault_version(v);
	x->chunks = vault_chunks(v);
	x->key = vault_content_key(v);
	if (!x->key)
		return err_set(e, ERR_MEMORY, "no memory for a key");
	if (vault_check(v, e) < 0 || digest_pages(x, v, h, e) < 0 ||
	    vault_each_chunk(v, list_chunk, x, e) < 0)
		return -1;
	add_u32(h, (uint32_t)x->n);
	for (size_t i = 0; i < x->n; i++) {
		hash_add(h, x->refs[i].name, sizeof x->refs[i].name);
		add_u64(h, x->refs[i].bytes);
		hash_add(h, x->refs[i].digest, sizeof x->refs[i].digest);
	}
	hash_end(h, x->root);
	return 0;
}

/* Read the whole chunk again and compare with what the vault says of it. */
static int
digest_chunk(struct verification *x, const struct chunk_ref *c, struct err *e)
{
	_cleanup_(content_in_closep) struct content_in *in = content_open(
	    x->chunks, x->key, c, 1, e);
	_cleanup_(hash_closep) struct hash *h = in ? hash_open(HASH_SHA256, e) : NULL;
	uint8_t piece[65536], digest[SHA256_BYTES];
	uint64_t at = 0;
	ssize_t n = -1;

	if (!h)
		return -1;
	while ((n = content_read(in, at, piece, sizeof piece, e)) > 0) {
		hash_add(h, piece, (size_t)n);
		at += (uint64_t)n;
	}
	if (n < 0)
		return -1;
	hash_end(h, digest);
	x->bytes += at;
	if (at != c->bytes || memcmp(digest, c->digest, sizeof digest) != 0) {
		char name[2 * CHUNK_NAME_BYTES + 1];

		hex_text(c->name, CHUNK_NAME_BYTES, name);
		return err_set(
		    e, ERR_FORGED, "chunk %s: its content is not what the vault says", name);
	}
	return 0;
}

struct search {
	const uint8_t *name;
	bool is_there;
};

static int
compare_name(void *arg, const struct chunk_ref *c, struct err *e)
{
	struct search *s = arg;

	(void)e;
	s->is_there = s->is_there || memcmp(c->name, s->name, CHUNK_NAME_BYTES) == 0;
	return 0;
}

/* The vault's version by now; *IS_LISTED tells whether it still has the chunk NAME, if one is given. */
static int
look_again(struct node *n, const struct vault_id *id, const uint8_t *name, uint64_t *version,
    bool *is_listed, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = pool_take(n->pool, id, true, e);
	struct search s = { .name = name };

	if (!v || (name && vault_each_chunk(v, compare_name, &s, e) < 0))
		return -1;
	*version = vault_version(v);
	*is_listed = s.is_there;
	return 0;
}

/* Read every chunk listed. One that does not hold is bad only if it is still the vault's. VERSION gets
 * the vault's after that. */
static int
digest_chunks(struct verification *x, struct node *n, const struct vault_id *id, uint64_t *version,
    struct err *e)
{
	bool is_listed;

	for (size_t i = 0; i < x->n; i++) {
		struct err why, later;

		if (digest_chunk(x, &x->refs[i], &why) == 0)
			continue;
		if (look_again(n, id, x->refs[i].name, version, &is_listed, &later) < 0 ||
		    is_listed) {
			*e = why;
			return -1;
		}
	}
	return look_again(n, id, NULL, version, &is_listed, e);
}

/* *CHANGED is set if the vault was written to since it arrived. -1: bad. */
static int
verify_vault(struct node *n, const struct vault_id *id, const struct vault_root *want,
    bool *changed, uint64_t *bytes, struct err *e)
{
	_cleanup_(verification_free) struct verification x = { 0 };
	uint64_t version = 0;
	int rc;

	rc = look_at_vault(&x, n, id, e);
	if (rc == 0)
		rc = digest_chunks(&x, n, id, &version, e);
	*bytes += x.bytes;
	if (rc < 0)
		return -1;
	if (x.version < want->version)
		return err_set(e, ERR_FORGED,
		    "it is at version %" PRIu64 ", older than when it arrived", x.version);
	if (x.version == want->version && memcmp(x.root, want->root, sizeof x.root) != 0)
		return err_set(e, ERR_FORGED, "the content root differs");
	if (version != want->version)
		*changed = true;
	return 0;
}

static int
verify_vaults(
    struct node *n, const struct move_statement *s, bool *changed, uint64_t *bytes, struct err *e)
{
	for (unsigned i = 0; i < s->n_vaults; i++) {
		const struct vault_root *want = &s->vaults[i];
		struct vault_id id = { s->account, (uint8_t)want->service };

		if (verify_vault(n, &id, want, changed, bytes, e) < 0)
			return err_add(e, "%s", service_name(want->service));
	}
	return 0;
}

/* Whether an error says nothing about the content: then it is not known. */
static bool
is_passing(enum err_kind kind)
{
	return kind == ERR_BUSY || kind == ERR_MEMORY || kind == ERR_TIMEOUT ||
	    kind == ERR_CANCELLED;
}

int
verify_arrival(struct node *n, const char *statement, struct err *e)
{
	struct span text = { (const uint8_t *)statement, strlen(statement) };
	struct move_statement s;
	bool changed = false;
	uint64_t bytes = 0;

	if (move_statement_parse(text, &s, e) < 0)
		return err_set(e, ERR_FORGED, "the record of the arrival has no statement");
	return verify_vaults(n, &s, &changed, &bytes, e);
}

int
mover_verify(struct node *n, const struct account_id *id, json_t **out, struct err *e)
{
	char account[ACCOUNT_TEXT_SIZE];
	struct move_statement s;
	struct home_pass pass;
	enum enter_answer answer;
	struct err found = { 0 };
	bool changed = false;
	struct proof p;
	uint64_t bytes = 0;
	int r;

	if (homes_enter_wait(n->homes, id, ENTER_READ, &answer, &pass, e) < 0)
		return -1;
	if (answer == ENTER_FORWARD)
		return err_set(e, ERR_STALE, "it lives in %s now", pass.home.peer);
	if (answer != ENTER_GO && answer != ENTER_SUSPENDED)
		return err_set(e, ERR_MISSING, "no such account at %s", n->region);
	r = proof_load(n, id, pass.home.epoch, &p, e);
	if (r == 0)
		r = move_statement_parse(
		    (struct span){ (const uint8_t *)p.statement, strlen(p.statement) }, &s, e);
	if (r == 0 && verify_vaults(n, &s, &changed, &bytes, &found) < 0)
		changed = false;
	if (answer == ENTER_GO)
		homes_leave(n->homes, &pass);
	if (r < 0)
		return -1;
	if (is_passing(found.kind)) {
		*e = found;
		return -1;
	}
	account_text(id, account);
	*out = json_pack("{s:s, s:s, s:s, s:I}", "account", account, "result",
	    found.kind != ERR_NONE ? "bad"
	        : changed          ? "changed"
	                           : "same",
	    "detail", found.text, "bytes", (json_int_t)bytes);
	return *out ? 0 : err_set(e, ERR_MEMORY, "no memory for an answer");
}

/* --- calls of other regions --- */

static int
account_of(json_t *arguments, struct account_id *id, uint64_t *epoch, struct err *e)
{
	const char *text = json_string_value(json_object_get(arguments, "account"));
	json_int_t n = json_integer_value(json_object_get(arguments, "epoch"));

	if (!text || !account_parse(text, id) || n < 0)
		return err_set(
		    e, ERR_BAD, "\"account\" is not an account id, or \"epoch\" no epoch");
	*epoch = (uint64_t)n;
	return 0;
}

static int
serve_received(
    struct node *n, const struct account_id *id, uint64_t epoch, json_t **answer, struct err *e)
{
	_cleanup_buf_ struct buf stored = BUF_INIT(16384), text = BUF_INIT(32768);
	struct proof p;

	if (proof_load(n, id, epoch, &p, e) < 0)
		return -1;
	proof_put(&stored, &p);
	if (buf_check(&stored, e) < 0)
		return -1;
	base64_text(&text, stored.data, stored.len);
	*answer = json_pack("{s:s}", "proof", buf_str(&text));
	return 0;
}

int
mover_serve(struct node *n, const char *caller, const char *op, json_t *arguments, json_t **answer,
    struct err *e)
{
	struct account_id id;
	uint64_t epoch = 0;

	(void)caller;
	if (account_of(arguments, &id, &epoch, e) < 0)
		return -1;
	if (strcmp(op, "certificate") == 0)
		return mover_certificate(n, &id, epoch, answer, e);
	if (strcmp(op, "received") == 0)
		return serve_received(n, &id, epoch, answer, e);
	return err_set(e, ERR_MISSING, "no call \"%s\"", op);
}
