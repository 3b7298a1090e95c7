#include "ledger/certificate.h"

#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "ledger/sealing.h"

#define PROOF_FORMAT     1
#define CERTIFICATE_TYPE "domicile-certificate/1"
#define CERTIFICATE_MAX  ((size_t)64 << 10)

void
proof_put(struct buf *b, const struct proof *p)
{
	put_u8(b, PROOF_FORMAT);
	put_str(b, p->statement);
	put_str(b, p->erasure);
	sealing_put(b, &p->sent);
	sealing_put(b, &p->received);
	sealing_put(b, &p->erased);
}

int
proof_read(struct span stored, struct proof *out, struct err *e)
{
	struct reader r = READER(stored.data, stored.len);

	if (read_u8(&r) != PROOF_FORMAT)
		return err_set(e, ERR_FORGED, "a stored proof has an unknown format");
	read_str(&r, out->statement, sizeof out->statement);
	read_str(&r, out->erasure, sizeof out->erasure);
	sealing_read(&r, &out->sent);
	sealing_read(&r, &out->received);
	sealing_read(&r, &out->erased);
	if (read_check(&r, "a stored proof", e) < 0)
		return err_set(e, ERR_FORGED, "a stored proof is damaged");
	return 0;
}

/* --- to JSON --- */

static json_t *
sealing_json(const struct sealing *s)
{
	_cleanup_buf_ struct buf b = BUF_INIT(256);
	json_t *path = json_array();
	char hex[2 * SHA256_BYTES + 1];

	base64_text(&b, s->note.signature, SIGNATURE_BYTES);
	for (unsigned i = 0; i < s->proof.n; i++) {
		hex_text(s->proof.path[i], SHA256_BYTES, hex);
		json_array_append_new(path, json_string(hex));
	}
	return json_pack("{s:s, s:s, s:I, s:o}", "note", s->note.text, "signature", buf_str(&b),
	    "index", (json_int_t)s->proof.index, "path", path);
}

json_t *
certificate_json(const struct proof *p)
{
	json_t *c = json_pack("{s:s, s:s, s:o, s:o}", "type", CERTIFICATE_TYPE, "statement",
	    p->statement, "sent", sealing_json(&p->sent), "received", sealing_json(&p->received));

	if (c && p->erased.is_there) {
		json_object_set_new(c, "erasure", json_string(p->erasure));
		json_object_set_new(c, "erased", sealing_json(&p->erased));
	}
	return c;
}

/* --- from JSON, believing nothing --- */

static int
read_sealing(json_t *certificate, const char *name, struct sealing *out, struct err *e)
{
	_cleanup_buf_ struct buf signature = BUF_INIT(256);
	json_t *o = json_object_get(certificate, name), *path = json_object_get(o, "path");
	const char *note = json_string_value(json_object_get(o, "note"));
	const char *text = json_string_value(json_object_get(o, "signature"));
	json_int_t index = json_integer_value(json_object_get(o, "index"));

	memset(out, 0, sizeof *out);
	if (!note || strlen(note) >= NOTE_MAX || !text || index < 0 || !json_is_array(path) ||
	    json_array_size(path) > MERKLE_DEPTH_MAX)
		return err_set(
		    e, ERR_BAD, "the certificate's \"%s\" is missing or malformed", name);
	if (base64_parse(text, strlen(text), &signature, e) < 0 || signature.len != SIGNATURE_BYTES)
		return err_set(e, ERR_BAD, "the signature of \"%s\" is not one", name);
	snprintf(out->note.text, sizeof out->note.text, "%s", note);
	memcpy(out->note.signature, signature.data, SIGNATURE_BYTES);
	out->is_there = true;
	out->proof.index = (uint64_t)index;
	out->proof.n = (unsigned)json_array_size(path);
	for (unsigned i = 0; i < out->proof.n; i++) {
		const char *hex = json_string_value(json_array_get(path, i));

		if (!hex || strlen(hex) != 2 * SHA256_BYTES ||
		    !hex_parse(hex, out->proof.path[i], SHA256_BYTES))
			return err_set(e, ERR_BAD, "the path of \"%s\" is malformed", name);
	}
	return 0;
}

/* The note is REGION's, in that role, and has TEXT under its root. */
static int
check_sealing(json_t *certificate, const char *name, enum note_role role, const char *region,
    const char *text, certificate_key_fn *key, void *arg, struct err *e)
{
	uint8_t public[SIGN_PUBLIC_BYTES], leaf[SHA256_BYTES];
	struct note_fields f;
	struct sealing s;

	if (read_sealing(certificate, name, &s, e) < 0)
		return -1;
	if (!key(arg, region, public))
		return err_set(e, ERR_MISSING, "no trusted key of region %s", region);
	if (note_check(&s.note, public, &f, e) < 0)
		return err_add(e, "\"%s\" by %s", name, region);
	if (f.role != role || strcmp(f.region, region) != 0)
		return err_set(
		    e, ERR_FORGED, "\"%s\" was signed by %s for something else", name, f.region);
	s.proof.size = f.size;
	merkle_leaf(text, strlen(text), leaf);
	if (merkle_check(leaf, &s.proof, f.root, e) < 0)
		return err_add(e, "\"%s\" by %s", name, region);
	return 0;
}

static int
check_erasure(
    json_t *json, certificate_key_fn *key, void *arg, struct certificate *c, struct err *e)
{
	const char *text = json_string_value(json_object_get(json, "erasure"));
	const struct erasure_statement *x = &c->erasure;

	if (!json_object_get(json, "erasure") && !json_object_get(json, "erased"))
		return 0;
	if (!text ||
	    erasure_statement_parse(
	        (struct span){ (const uint8_t *)text, strlen(text) }, &c->erasure, e) < 0)
		return err_set(e, ERR_BAD, "the certificate's \"erasure\" is malformed");
	if (!account_equal(&x->account, &c->move.account) || x->epoch != c->move.epoch ||
	    strcmp(x->region, c->move.from) != 0 || strcmp(x->to, c->move.to) != 0)
		return err_set(e, ERR_FORGED, "the erasure is about another move");
	if (x->time_ms < c->move.time_ms)
		return err_set(e, ERR_FORGED, "the erasure is older than the move");
	c->is_erased = true;
	return check_sealing(json, "erased", NOTE_ERASED, c->move.from, text, key, arg, e);
}

int
certificate_check(
    json_t *json, certificate_key_fn *key, void *arg, struct certificate *out, struct err *e)
{
	const char *type = json_string_value(json_object_get(json, "type"));
	const char *text = json_string_value(json_object_get(json, "statement"));
	struct certificate c = { 0 };
	const char *name;
	json_t *value;

	if (!type || strcmp(type, CERTIFICATE_TYPE) != 0 || !text)
		return err_set(e, ERR_BAD, "not a certificate of type " CERTIFICATE_TYPE);
	json_object_foreach(json, name, value) if (strcmp(name, "type") &&
	    strcmp(name, "statement") && strcmp(name, "sent") && strcmp(name, "received") &&
	    strcmp(name, "erasure") && strcmp(name, "erased")) return err_set(e, ERR_BAD,
	    "the certificate has an unknown part");
	if (move_statement_parse((struct span){ (const uint8_t *)text, strlen(text) }, &c.move, e) <
	    0)
		return -1;
	if (check_sealing(json, "sent", NOTE_SENT, c.move.from, text, key, arg, e) < 0 ||
	    check_sealing(json, "received", NOTE_RECEIVED, c.move.to, text, key, arg, e) < 0 ||
	    check_erasure(json, key, arg, &c, e) < 0)
		return -1;
	*out = c;
	return 0;
}

static bool
key_from_dir(void *arg, const char *region, uint8_t out[static SIGN_PUBLIC_BYTES])
{
	_cleanup_buf_ struct buf text = BUF_INIT(256), key = BUF_INIT(256);
	char path[4096];

	if (snprintf(path, sizeof path, "%s/%s.pub", (const char *)arg, region) >=
	        (int)sizeof path ||
	    fs_read(path, 200, &text, NULL) < 0)
		return false;
	while (text.len && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == ' '))
		text.len--;
	if (base64_parse((const char *)text.data, text.len, &key, NULL) < 0 ||
	    key.len != SIGN_PUBLIC_BYTES)
		return false;
	memcpy(out, key.data, SIGN_PUBLIC_BYTES);
	return true;
}

int
certificate_check_file(
    const char *file, const char *trust_dir, struct certificate *out, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(CERTIFICATE_MAX + 1);
	json_error_t where;
	json_t *json;
	int r;

	if (fs_read(file, CERTIFICATE_MAX, &text, e) < 0)
		return -1;
	json = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &where);
	if (!json)
		return err_set(
		    e, ERR_BAD, "%s: not JSON, line %d: %s", file, where.line, where.text);
	r = certificate_check(json, key_from_dir, (void *)(uintptr_t)trust_dir, out, e);
	json_decref(json);
	return r < 0 ? err_add(e, "%s", file) : 0;
}

int
trust_write(const char *dir, const char *region, const uint8_t public[static SIGN_PUBLIC_BYTES],
    struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(256);
	char path[4096];

	if (!region_name_valid(region))
		return err_set(e, ERR_BAD, "not a region id");
	if (snprintf(path, sizeof path, "%s/%s.pub", dir, region) >= (int)sizeof path)
		return err_set(e, ERR_TOO_BIG, "the folder's path is too long");
	base64_text(&text, public, SIGN_PUBLIC_BYTES);
	buf_add_char(&text, '\n');
	if (buf_check(&text, e) < 0)
		return -1;
	return fs_write(path, text.data, text.len, 0644, e);
}
