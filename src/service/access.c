/* access.c - see access.h. */
#include "service/access.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/lru_internal.h"
#include "vault/pool.h"

#define ACCESS_KEY_LEN (2 + 2 * ACCOUNT_ID_BYTES + 4)
#define SECRET_SIZE    64
#define SCOPE_SIZE     64

/* In locked memory. */
struct secret {
	struct account_id account;
	char access_key[ACCESS_KEY_LEN + 1];
	char text[SECRET_SIZE];
	size_t len;
	bool is_revoked;
	/* The last signing key that was made of it, and for what. */
	char scope[SCOPE_SIZE];
	uint8_t signing_key[SHA256_BYTES];
};

struct access {
	struct node *node;
	pthread_mutex_t lock;
	struct lru *lru;
	struct secret *secrets;
	size_t max;
	uint64_t forgotten; /* counts access_forget: what was read before it is not kept */
};

struct access *
access_new(struct node *n, size_t max_entries, struct err *e)
{
	struct access *a = calloc(1, sizeof(*a));

	if (!a) {
		err_set(e, ERR_MEMORY, "access: no memory");
		return NULL;
	}
	a->node = n;
	a->max = max_entries ? max_entries : 1;
	pthread_mutex_init(&a->lock, NULL);
	a->lru = lru_new(a->max, e);
	if (a->lru)
		a->secrets = secret_alloc(a->max * sizeof(*a->secrets), e);
	if (!a->secrets) {
		access_free(a);
		return NULL;
	}
	return a;
}

void
access_free(struct access *a)
{
	if (!a)
		return;
	secret_free(a->secrets, a->max * sizeof(*a->secrets));
	lru_free(a->lru);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

bool
access_account(const char *access_key, struct account_id *out)
{
	char text[ACCOUNT_TEXT_SIZE];

	if (strnlen(access_key, ACCESS_KEY_LEN + 1) != ACCESS_KEY_LEN ||
	    strncmp(access_key, "DM", 2) || strspn(access_key + 34, "0123456789") != 4)
		return false;
	for (size_t i = 0; i < 2 * ACCOUNT_ID_BYTES; i++) {
		char c = access_key[2 + i];

		if (c >= 'A' && c <= 'F')
			c = (char)(c - 'A' + 'a');
		else if (c < '0' || c > '9')
			return false;
		text[i] = c;
	}
	text[2 * ACCOUNT_ID_BYTES] = '\0';
	return account_parse(text, out);
}

/* --- signing keys --- */

static void
make_signing_key(struct secret *s, const char *date, const char *region, const char *service)
{
	char first[4 + SECRET_SIZE] = "AWS4";
	uint8_t key[SHA256_BYTES];

	memcpy(first + 4, s->text, s->len);
	hmac_sha256(first, 4 + s->len, date, strlen(date), key);
	hmac_sha256(key, sizeof(key), region, strlen(region), key);
	hmac_sha256(key, sizeof(key), service, strlen(service), key);
	hmac_sha256(key, sizeof(key), "aws4_request", 12, s->signing_key);
	wipe(first, sizeof(first));
	wipe(key, sizeof(key));
}

/* The key for a scope, which is made again only if it is another one than the last time. */
static int
sign_with(struct secret *s, const char *date, const char *region, const char *service,
    uint8_t out[static SHA256_BYTES], struct err *e)
{
	char scope[SCOPE_SIZE];
	int n = snprintf(scope, sizeof(scope), "%s/%s/%s", date, region, service);

	if (n < 0 || (size_t)n >= sizeof(scope))
		return err_set(e, ERR_BAD, "the credential's scope is too long");
	if (s->is_revoked)
		return err_set(e, ERR_DENIED, "the access key was revoked");
	if (strcmp(scope, s->scope)) {
		make_signing_key(s, date, region, service);
		memcpy(s->scope, scope, sizeof(scope));
	}
	memcpy(out, s->signing_key, SHA256_BYTES);
	return 0;
}

/* --- the cache; locked --- */

static struct secret *
find(struct access *a, const struct account_id *id, const char *access_key)
{
	uint32_t i = lru_first(a->lru, id);

	while (i != LRU_NONE && strcmp(a->secrets[i].access_key, access_key))
		i = lru_next(a->lru, i);
	if (i == LRU_NONE)
		return NULL;
	lru_touch(a->lru, i);
	return &a->secrets[i];
}

static void
keep(struct access *a, const struct secret *s, uint64_t forgotten)
{
	if (forgotten == a->forgotten && !find(a, &s->account, s->access_key))
		a->secrets[lru_add(a->lru, &s->account)] = *s;
}

/* --- the vault --- */

static int
read_row(struct vault *v, struct secret *s, struct err *e)
{
	struct query *q = vault_query(
	    v, "SELECT secret,is_revoked FROM credential WHERE key_id=?1");
	int r;

	query_text(q, 1, s->access_key, strlen(s->access_key));
	r = query_step(q, e);
	if (r == 1) {
		struct span text = column_blob(q, 0);

		if (text.len && text.len < sizeof(s->text)) {
			memcpy(s->text, text.data, text.len);
			s->len = text.len;
		}
		s->is_revoked = column_int(q, 1) != 0;
	}
	query_end(q);
	if (r == 0)
		return err_set(e, ERR_MISSING, "no such access key");
	if (r == 1 && !s->len)
		return err_set(e, ERR_FORGED, "an access key's row is damaged");
	return r == 1 ? 0 : -1;
}

static int
read_secret(struct access *a, struct secret *s, bool may_block, struct err *e)
{
	struct vault_id id = { .account = s->account, .service = SERVICE_PROFILE };
	struct vault *v;
	int r;

	if (!a->node->pool)
		return err_set(e, ERR_MISSING, "no such access key");
	v = pool_take(a->node->pool, &id, may_block, e);
	if (!v) {
		if (e && e->kind == ERR_MISSING)
			err_set(e, ERR_MISSING, "no such access key");
		return -1;
	}
	r = read_row(v, s, e);
	pool_give(v);
	/* The secret is kept here; an open profile would cost more memory than opening it again. */
	pool_evict(a->node->pool, &id);
	return r;
}

static bool
sign_cached(struct access *a, const struct account_id *id, const char *access_key,
    const char *const scope[3], uint8_t *out, uint64_t *forgotten, int *result, struct err *e)
{
	struct secret *s;

	pthread_mutex_lock(&a->lock);
	*forgotten = a->forgotten;
	s = find(a, id, access_key);
	if (s)
		*result = sign_with(s, scope[0], scope[1], scope[2], out, e);
	pthread_mutex_unlock(&a->lock);
	return s != NULL;
}

int
access_signing_key(struct access *a, const char *access_key, const char *date, const char *region,
    const char *service, bool may_block, uint8_t out[static SHA256_BYTES], struct err *e)
{
	struct secret s = { .len = 0 };
	uint64_t forgotten;
	int result = -1;

	if (!access_account(access_key, &s.account))
		return err_set(e, ERR_MISSING, "no such access key");
	if (sign_cached(a, &s.account, access_key, (const char *const[]){ date, region, service },
	        out, &forgotten, &result, e))
		return result;
	memcpy(s.access_key, access_key, sizeof(s.access_key));
	if (read_secret(a, &s, may_block, e) == 0) {
		result = sign_with(&s, date, region, service, out, e);
		pthread_mutex_lock(&a->lock);
		keep(a, &s, forgotten);
		pthread_mutex_unlock(&a->lock);
	}
	wipe(&s, sizeof(s));
	return result;
}

void
access_forget(struct access *a, const struct account_id *id)
{
	uint32_t i, next;

	pthread_mutex_lock(&a->lock);
	a->forgotten++;
	for (i = lru_first(a->lru, id); i != LRU_NONE; i = next) {
		next = lru_next(a->lru, i);
		if (!account_equal(&a->secrets[i].account, id))
			continue;
		lru_remove(a->lru, i);
		wipe(&a->secrets[i], sizeof(a->secrets[i]));
	}
	pthread_mutex_unlock(&a->lock);
}
