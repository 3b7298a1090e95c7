/* What both regions signed about a move: stored, fetched, shown. */
#include <string.h>

#include "base/log.h"
#include "move/internal.h"

#define PROOF_MAX 16384

int
region_key(struct node *n, const char *region, uint8_t out[static SIGN_PUBLIC_BYTES], struct err *e)
{
	struct peer_region p;

	if (strcmp(region, n->region) == 0) {
		memcpy(out, n->sign_public, SIGN_PUBLIC_BYTES);
		return 0;
	}
	if (!peers_find(n->peers, region, &p))
		return err_set(e, ERR_MISSING, "no region %s in the regions file", region);
	memcpy(out, p.sign_public, SIGN_PUBLIC_BYTES);
	return 0;
}

struct newest {
	const struct account_id *account;
	struct proof *out;
	bool is_found;
};

static int
keep_newest(void *arg, struct span key, struct span value, struct err *e)
{
	struct newest *n = arg;

	if (key.len != PROOF_KEY_BYTES || memcmp(key.data, n->account->b, ACCOUNT_ID_BYTES) != 0)
		return 0;
	n->is_found = true;
	return proof_read(value, n->out, e);
}

int
proof_load(
    struct node *n, const struct account_id *id, uint64_t epoch, struct proof *out, struct err *e)
{
	_cleanup_buf_ struct buf v = BUF_INIT(PROOF_MAX);
	uint8_t key[PROOF_KEY_BYTES];
	struct newest newest = { id, out, false };
	int r;

	if (epoch == 0) {
		if (region_scan(n->engine, REGION_PROOF, keep_newest, &newest, e) < 0)
			return -1;
		if (newest.is_found)
			return 0;
	} else {
		proof_key(id, epoch, key);
		r = region_get(n->engine, REGION_PROOF, key, sizeof key, &v, e);
		if (r < 0)
			return -1;
		if (r == 1)
			return proof_read((struct span){ v.data, v.len }, out, e);
	}
	return err_set(e, ERR_MISSING, "no proof of such a move at %s", n->region);
}

void
proof_store(
    struct region_batch *b, const struct account_id *id, uint64_t epoch, const struct proof *p)
{
	_cleanup_buf_ struct buf v = BUF_INIT(PROOF_MAX);
	uint8_t key[PROOF_KEY_BYTES];

	proof_key(id, epoch, key);
	proof_put(&v, p);
	region_put_buf(b, REGION_PROOF, key, sizeof key, &v);
}

/* What a certificate has to say before we erase by it: our move, received and signed by REGION. */
static int
check_receipt(struct mover *m, const char *region, const struct account_id *id, uint64_t epoch,
    const struct proof *p, struct err *e)
{
	uint8_t key[SIGN_PUBLIC_BYTES], leaf[SHA256_BYTES];
	struct move_statement s;
	struct note_fields f;
	struct span text = { (const uint8_t *)p->statement, strlen(p->statement) };

	if (move_statement_parse(text, &s, e) < 0 || region_key(m->node, region, key, e) < 0)
		return -1;
	if (!account_equal(&s.account, id) || s.epoch != epoch || strcmp(s.to, region) != 0 ||
	    strcmp(s.from, m->node->region) != 0 || !p->received.is_there)
		return err_set(e, ERR_FORGED, "the receipt of %s is about another move", region);
	if (note_check(&p->received.note, key, &f, e) < 0)
		return -1;
	if (f.role != NOTE_RECEIVED || strcmp(f.region, region) != 0 ||
	    f.size != p->received.proof.size)
		return err_set(e, ERR_FORGED, "the receipt of %s is not one", region);
	merkle_leaf(text.data, text.len, leaf);
	if (merkle_check(leaf, &p->received.proof, f.root, e) < 0)
		return -1;
	/* And it is what we said ourselves, not something else that looks like it. */
	if (!p->sent.is_there || note_check(&p->sent.note, m->node->sign_public, &f, e) < 0 ||
	    f.role != NOTE_SENT || f.size != p->sent.proof.size)
		return err_set(
		    e, ERR_FORGED, "the receipt of %s is for what we never sent", region);
	return merkle_check(leaf, &p->sent.proof, f.root, e);
}

/* model: s_fetch_proof */
int
proof_fetch(
    struct mover *m, const char *region, const struct account_id *id, uint64_t epoch, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	_cleanup_buf_ struct buf stored = BUF_INIT(PROOF_MAX);
	char account[ACCOUNT_TEXT_SIZE];
	json_t *answer = NULL, *ask;
	const char *text;
	struct proof p;
	int r = -1;

	if (!b)
		return -1;
	account_text(id, account);
	ask = json_pack("{s:s, s:I}", "account", account, "epoch", (json_int_t)epoch);
	if (peer_call(m->node->peers, region, NULL, "/peer/v1/move/received", NULL, ask, &answer,
	        10000, e) == 0) {
		text = json_string_value(json_object_get(answer, "proof"));
		if (!text || base64_parse(text, strlen(text), &stored, e) < 0)
			err_set(e, ERR_PEER, "%s sent no proof", region);
		else if (proof_read((struct span){ stored.data, stored.len }, &p, e) == 0 &&
		    check_receipt(m, region, id, epoch, &p, e) == 0) {
			proof_store(b, id, epoch, &p);
			r = region_apply(m->node->engine, m->node->flusher, b, e);
		}
	}
	json_decref(ask);
	json_decref(answer);
	return r;
}

int
mover_certificate(
    struct node *n, const struct account_id *id, uint64_t epoch, json_t **out, struct err *e)
{
	struct proof p;

	if (proof_load(n, id, epoch, &p, e) < 0)
		return -1;
	*out = certificate_json(&p);
	return *out ? 0 : err_set(e, ERR_MEMORY, "no memory for a certificate");
}
