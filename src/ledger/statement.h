/* statement.h - what regions sign: short texts that a person can read and a program can parse.
 *
 * A move statement, one an account (every line ends in \n):
 *	domicile move 1
 *	account <32 hex>
 *	from <region>
 *	to <region>
 *	epoch <new epoch>
 *	attempt <attempt>
 *	time <when the source sealed it, ISO 8601>
 *	vault <service> version <n> root <64 hex>		one a vault, in order of service numbers
 *
 * An erasure statement:
 *	domicile erasure 1
 *	account <32 hex>
 *	region <region that erased>
 *	to <region where the account lives>
 *	epoch <its epoch there>
 *	records <n> chunks <n>					removed and looked for again
 *	time <ISO 8601>
 *
 * Many statements are signed at once: the signed note names the RFC 6962 root over them.
 *	domicile batch 1
 *	<role: sent | received | erased>
 *	region <signing region>
 *	size <n>
 *	root <64 hex>
 *	time <ISO 8601>
 * and an Ed25519 signature over exactly these bytes. Pure; parsing refuses everything that statement_text
 * would not have written.
 */
#pragma once
#include "base/frame.h"
#include "base/id.h"
#include "ledger/merkle.h"

#define STATEMENT_MAX 1024
#define NOTE_MAX      320

struct vault_root {
	enum service service;
	uint64_t version;
	uint8_t root[SHA256_BYTES];
};

struct move_statement {
	struct account_id account;
	char from[REGION_NAME_SIZE], to[REGION_NAME_SIZE];
	uint64_t epoch, attempt, time_ms;
	unsigned n_vaults;
	struct vault_root vaults[SERVICES];
};

struct erasure_statement {
	struct account_id account;
	char region[REGION_NAME_SIZE], to[REGION_NAME_SIZE];
	uint64_t epoch, records, chunks, time_ms;
};

/* Append the text; and take it apart: ERR_BAD unless it is what the former would write. */
void move_statement_text(const struct move_statement *s, struct buf *out);
must_check
int move_statement_parse(struct span text, struct move_statement *out, struct err *e);
void erasure_statement_text(const struct erasure_statement *s, struct buf *out);
must_check
int erasure_statement_parse(struct span text, struct erasure_statement *out, struct err *e);

/* A signed note over a batch of statements. */
struct note {
	char text[NOTE_MAX];
	uint8_t signature[SIGNATURE_BYTES];
};

enum note_role { NOTE_SENT, NOTE_RECEIVED, NOTE_ERASED };
struct note_fields {
	enum note_role role;
	char region[REGION_NAME_SIZE];
	uint64_t size, time_ms;
	uint8_t root[SHA256_BYTES];
};

/* Sign the root over N leaf hashes. */
must_check
int note_sign(enum note_role role, const char *region, const uint8_t (*leaves)[SHA256_BYTES],
    size_t n, uint64_t time_ms, const uint8_t secret[static SIGN_SECRET_BYTES],
    const uint8_t public[static SIGN_PUBLIC_BYTES], struct note *out, struct err *e);
/* Check the signature and take the note apart; ERR_FORGED, ERR_BAD. */
must_check
int note_check(const struct note *n, const uint8_t public[static SIGN_PUBLIC_BYTES],
    struct note_fields *out, struct err *e);
void note_put(struct buf *b, const struct note *n); /* frame form */
void note_read(struct reader *r, struct note *out);
