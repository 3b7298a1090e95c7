/* certificate.h - one account's move, provable offline with the regions' public keys alone.
 *
 * A proof is what a region stores of a move; a certificate is its JSON form, a file that is handed out:
 *   { "type": "domicile-certificate/1",
 *     "statement": "<move statement>",
 *     "sent":     { "note": "...", "signature": base64, "index": n, "path": [hex, ...] },
 *     "received": { ... },
 *     "erasure":  "<erasure statement>" (absent until erased),
 *     "erased":   { ... } }
 */
#pragma once
#include <jansson.h>
#include "ledger/statement.h"

struct sealing { /* one signed note and where the statement is under it */
	bool is_there;
	struct note note;
	struct merkle_proof proof;
};

struct proof {
	char statement[STATEMENT_MAX];
	char erasure[STATEMENT_MAX]; /* "" until erased */
	struct sealing sent, received, erased;
};

void proof_put(struct buf *b, const struct proof *p); /* stored form */
/* ERR_FORGED: damaged, or not one. */
must_check
int proof_read(struct span stored, struct proof *out, struct err *e);

/* A new reference; NULL: no memory. */
json_t *certificate_json(const struct proof *p);

/* What a certificate says, after everything in it was checked. */
struct certificate {
	struct move_statement move;
	bool is_erased;
	struct erasure_statement erasure;
};

/* Public key of a region: false if it is not trusted. */
typedef bool certificate_key_fn(
    void *arg, const char *region, uint8_t out[static SIGN_PUBLIC_BYTES]);
/* ERR_FORGED says what does not hold: which signature, whose proof, which field contradicts. ERR_BAD:
 * not a certificate. ERR_MISSING: a region whose key is not trusted. */
must_check
int certificate_check(
    json_t *json, certificate_key_fn *key, void *arg, struct certificate *out, struct err *e);
/* Reads FILE (at most 64 KiB) and DIR/<region>.pub (the base64 of the public key on one line). */
must_check
int certificate_check_file(
    const char *file, const char *trust_dir, struct certificate *out, struct err *e);
/* DIR/<region>.pub. */
must_check
int trust_write(const char *dir, const char *region, const uint8_t public[static SIGN_PUBLIC_BYTES],
    struct err *e);
