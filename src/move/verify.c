/* Verifies an account that arrived here, independently of the copier: pages come through SQLite's file
 * handle, chunks are read and digested, and only the hash function is shared.
 */
#include <stdio.h>
#include <string.h>

#include "base/host.h"
#include "move/internal.h"

struct verification {
	struct vault *vault;
	struct hash *root;
	uint64_t bytes, chunks;
};

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
digest_pages(struct verification *x, struct err *e)
{
	uint8_t page[4096], digest[SHA256_BYTES];
	uint32_t pages = 1;

	for (uint32_t i = 1; i <= pages; i++) {
		if (vault_read_page(x->vault, i, page, &pages, e) < 0)
			return -1;
		if (i == 1) {
			hash_add(x->root, "domicile root 1", 15);
			hash_add(x->root, &vault_id(x->vault)->service, 1);
			add_u64(x->root, vault_version(x->vault));
			add_u32(x->root, pages);
		}
		sha256(page, sizeof page, digest);
		add_u32(x->root, i);
		hash_add(x->root, digest, sizeof digest);
		x->bytes += sizeof page;
	}
	return 0;
}

static int
count_chunk(void *arg, const struct chunk_ref *c, struct err *e)
{
	struct verification *x = arg;

	(void)c, (void)e;
	x->chunks++;
	return 0;
}

/* Read the whole chunk again and compare with what the vault says of it. */
static int
digest_chunk(void *arg, const struct chunk_ref *c, struct err *e)
{
	struct verification *x = arg;
	struct content_key *key = vault_content_key(x->vault);
	_cleanup_(content_in_closep) struct content_in *in = key
	    ? content_open(vault_chunks(x->vault), key, c, 1, e)
	    : NULL;
	_cleanup_(hash_closep) struct hash *h = hash_open(HASH_SHA256, e);
	uint8_t piece[65536], digest[SHA256_BYTES];
	uint64_t at = 0;
	ssize_t n = -1;

	content_key_unref(key);
	if (!in || !h)
		return -1;
	while ((n = content_read(in, at, piece, sizeof piece, e)) > 0) {
		hash_add(h, piece, (size_t)n);
		at += (uint64_t)n;
	}
	if (n < 0)
		return -1;
	hash_end(h, digest);
	if (at != c->bytes || memcmp(digest, c->digest, sizeof digest) != 0)
		return err_set(e, ERR_FORGED, "a chunk's content is not what the vault says");
	hash_add(x->root, c->name, sizeof c->name);
	add_u64(x->root, at);
	hash_add(x->root, digest, sizeof digest);
	x->bytes += at;
	return 0;
}

/* 0 with the vault's root as of now, and its version. */
static int
verify_vault(struct node *n, const struct vault_id *id, uint64_t *version,
    uint8_t root[static SHA256_BYTES], uint64_t *bytes, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = pool_take(n->pool, id, true, e);
	_cleanup_(hash_closep) struct hash *h = hash_open(HASH_SHA256, e);
	struct verification x = { .vault = v, .root = h };

	if (!v || !h)
		return -1;
	if (vault_check(v, e) < 0 || digest_pages(&x, e) < 0 ||
	    vault_each_chunk(v, count_chunk, &x, e) < 0)
		return -1;
	add_u32(h, (uint32_t)x.chunks);
	if (vault_each_chunk(v, digest_chunk, &x, e) < 0)
		return -1;
	hash_end(h, root);
	*version = vault_version(v);
	*bytes += x.bytes;
	return 0;
}

/* "same" or "changed", or -1: bad. */
static int
verify_vaults(
    struct node *n, const struct move_statement *s, bool *changed, uint64_t *bytes, struct err *e)
{
	for (unsigned i = 0; i < s->n_vaults; i++) {
		const struct vault_root *want = &s->vaults[i];
		struct vault_id id = { s->account, (uint8_t)want->service };
		uint8_t root[SHA256_BYTES];
		uint64_t version;

		if (verify_vault(n, &id, &version, root, bytes, e) < 0)
			return err_add(e, "%s", service_name(want->service));
		if (version < want->version)
			return err_set(e, ERR_FORGED,
			    "%s is at version %" PRIu64 ", older than when it arrived",
			    service_name(want->service), version);
		if (version > want->version)
			*changed = true;
		else if (memcmp(root, want->root, sizeof root) != 0)
			return err_set(e, ERR_FORGED, "%s: the content root differs",
			    service_name(want->service));
	}
	return 0;
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
	if (strcmp(op, "verify") == 0)
		return mover_verify(n, &id, answer, e);
	if (strcmp(op, "certificate") == 0)
		return mover_certificate(n, &id, epoch, answer, e);
	if (strcmp(op, "received") == 0)
		return serve_received(n, &id, epoch, answer, e);
	return err_set(e, ERR_MISSING, "no call \"%s\"", op);
}
