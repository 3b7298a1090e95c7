/* id.h - names that say nothing about a person: account and vault ids.
 *
 * An account id is 128 random bits, written as 32 lower-case hexadecimal digits. A vault is one
 * account's data of one service. Ids order as bytes.
 */
#pragma once
#include "base/err.h"

#define ACCOUNT_ID_BYTES  16
#define ACCOUNT_TEXT_SIZE 33 /* with the NUL */
#define VAULT_ID_BYTES    17

struct account_id {
	uint8_t b[ACCOUNT_ID_BYTES];
};

/* What data is for. Numbers are part of the stored format. */
enum service {
	SERVICE_REGION = 0,  /* not an account's: the region's own records */
	SERVICE_PROFILE = 1, /* always there: credentials, consent, salts */
	SERVICE_FILES = 2,
	SERVICE_BACKUP = 3,
	SERVICE_MESSAGES = 4,
	SERVICES
};

/* Sets of services are bit masks: BIT(SERVICE_FILES) | ... */

struct vault_id {
	struct account_id account;
	uint8_t service;
};
_Static_assert(sizeof(struct vault_id) == VAULT_ID_BYTES, "vault ids are keys as they stand");

/* A new id; and its 32 digits with a NUL. */
void account_random(struct account_id *out);
void account_text(const struct account_id *id, char out[static ACCOUNT_TEXT_SIZE]);
/* false unless TEXT is exactly 32 lower-case hexadecimal digits. */
bool account_parse(const char *text, struct account_id *out);
bool account_equal(const struct account_id *a, const struct account_id *b);

const char *service_name(enum service s);                /* "files" */
bool service_parse(const char *name, enum service *out); /* no "region" */
/* "files,backup" to a mask without profile; ERR_BAD names the unknown word. */
must_check
int services_parse(const char *list, unsigned *mask, struct err *e);
/* The mask as "files,backup", profile left out; "none" if empty. */
void services_text(unsigned mask, char out[static 64]);

/* Lower-case hexadecimal; OUT has 2 * N + 1 bytes. */
void hex_text(const void *p, size_t n, char *out);
/* Exactly 2 * N hexadecimal digits of either case. */
bool hex_parse(const char *text, void *out, size_t n);

#define REGION_NAME_SIZE 32 /* a region id with its NUL: [a-z0-9-]{1,31} */
/* Whether NAME is one. */
bool region_name_valid(const char *name);
