/* accounts_new.c - what a new account has: vaults, a first access key, receipts for what it granted. */
#include "service/accounts_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "vault/homes.h"
#include "vault/pool.h"

#define NOTICE_VERSION "2026-01"

static const struct {
	const char *purpose, *notice, *retention;
} notices[SERVICES] = {
	[SERVICE_PROFILE] = {
		"to sign in, and to keep record of what was agreed to",
		"Access keys and these receipts are kept in the region that you live in.",
		"until the account is removed",
	},
	[SERVICE_FILES] = {
		"to store files and give them back",
		"Files, their names and headers are kept, encrypted, in the region that you live in.",
		"until they are deleted, consent is withdrawn or the account is removed",
	},
	[SERVICE_BACKUP] = {
		"to keep backups of devices and give them back",
		"Backups, their names and headers are kept, encrypted, in the region that you live in.",
		"until they are deleted, consent is withdrawn or the account is removed",
	},
	[SERVICE_MESSAGES] = {
		"to deliver messages and keep them",
		"Messages are kept, encrypted, in the region that you live in.",
		"until they are deleted, consent is withdrawn or the account is removed",
	},
};

/* A receipt with the fields of ISO/IEC TS 27560, as text; freed by the caller. */
static char *
receipt(const struct node *n, const struct home *home, enum service s, uint64_t now_ms)
{
	char time[25], id[33], principal[ACCOUNT_TEXT_SIZE];
	uint8_t random[16];
	char *text;
	json_t *j;

	host_random(random, sizeof(random));
	hex_text(random, sizeof(random), id);
	host_time_text(now_ms, time);
	account_text(&home->account, principal);
	j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:{s:s, s:s}, s:s, s:[s]}",
	    "schema", "ISO/IEC TS 27560:2023", "receipt", id, "principal", principal, "service",
	    service_name(s), "purpose", notices[s].purpose, "notice", notices[s].notice,
	    "notice_version", NOTICE_VERSION, "time", time, "jurisdiction", home->country,
	    "storage_location", "region", n->region, "jurisdiction", n->jurisdiction, "retention",
	    notices[s].retention, "recipients", "the operator of the region");
	text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	return text;
}

static int
add_receipt(struct node *n, struct vault *v, const struct home *home, enum service s,
    uint64_t now_ms, struct err *e)
{
	char *text = receipt(n, home, s, now_ms);
	struct query *q;

	if (!text)
		return err_set(e, ERR_MEMORY, "a receipt: no memory");
	q = vault_query(v, "INSERT INTO consent(service,receipt,granted_ms) VALUES(?1,?2,?3)");
	query_int(q, 1, s);
	query_text(q, 2, text, strlen(text));
	query_int(q, 3, (int64_t)now_ms);
	free(text);
	return query_run(q, e);
}

/* Letters and digits: what a shell, a URL and a configuration file take as they stand. */
void
account_secret(char out[static ACCOUNT_SECRET_LEN + 1])
{
	static const char alphabet[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	uint8_t random[2 * ACCOUNT_SECRET_LEN];
	size_t n = 0;

	while (n < ACCOUNT_SECRET_LEN) {
		host_random(random, sizeof(random));
		for (size_t i = 0; i < sizeof(random) && n < ACCOUNT_SECRET_LEN; i++)
			if (random[i] < 248) /* 4 * 62: each character as likely as any other */
				out[n++] = alphabet[random[i] % 62];
	}
	out[n] = '\0';
	wipe(random, sizeof(random));
}

unsigned
account_key_number(void)
{
	uint16_t digits;

	do
		host_random(&digits, sizeof(digits));
	while (digits >= 6 * ACCOUNT_KEYS);
	return digits % ACCOUNT_KEYS;
}

void
account_key_text(const struct account_id *id, unsigned number, char *out, size_t size)
{
	char text[ACCOUNT_TEXT_SIZE];

	account_text(id, text);
	for (char *c = text; *c; c++)
		if (*c >= 'a')
			*c = (char)(*c - 'a' + 'A');
	snprintf(out, size, "DM%s%04u", text, number);
}

void
account_credentials_make(const struct node *n, const struct account_id *id, unsigned number,
    struct account_credentials *out)
{
	*out = (struct account_credentials){ .account = *id };
	snprintf(out->region, sizeof(out->region), "%s", n->region);
	account_key_text(id, number, out->access_key, sizeof(out->access_key));
	account_secret(out->secret_key);
}

static int
write_profile(struct node *n, struct vault *v, const struct home *home,
    const struct account_credentials *c, struct err *e)
{
	uint64_t now_ms = host_wall_ms();
	struct query *q = vault_query(
	    v, "INSERT INTO credential(key_id,secret,created_ms) VALUES(?1,?2,?3)");

	query_text(q, 1, c->access_key, strlen(c->access_key));
	query_text(q, 2, c->secret_key, strlen(c->secret_key));
	query_int(q, 3, (int64_t)now_ms);
	if (query_run(q, e) < 0)
		return -1;
	for (enum service s = SERVICE_PROFILE; s < SERVICES; s++)
		if ((home->services & BIT(s)) && add_receipt(n, v, home, s, now_ms, e) < 0)
			return -1;
	return 0;
}

int
account_make_vaults(struct node *n, const struct home *home, struct account_credentials *out,
    uint64_t *ticket, struct err *e)
{
	struct vault_id id = { .account = home->account };
	_cleanup_(pool_givep) struct vault *v = NULL;

	for (enum service s = SERVICE_PROFILE; s < SERVICES; s++) {
		id.service = (uint8_t)s;
		if ((home->services & BIT(s)) && pool_create(n->pool, &id, home->epoch, e) < 0)
			return err_add(e, "service %s", service_name(s));
	}
	account_credentials_make(n, &home->account, account_key_number(), out);
	id.service = SERVICE_PROFILE;
	v = pool_take(n->pool, &id, true, e);
	if (!v || vault_begin(v, e) < 0 || write_profile(n, v, home, out, e) < 0)
		return -1;
	return vault_commit(v, ticket, e);
}
