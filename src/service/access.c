/* access.c - see access.h. */
#include "service/access.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "service/applications.h"
#include "service/lru_internal.h"
#include "service/quota.h"
#include "vault/pool.h"

#define ACCESS_KEY_LEN (2 + 2 * ACCOUNT_ID_BYTES + 4)
#define SECRET_SIZE    64
#define FOR_SIZE       64

/* In locked memory. */
struct secret {
	struct account_id account;
	char access_key[ACCESS_KEY_LEN + 1];
	char text[SECRET_SIZE];
	size_t len;
	bool is_revoked;
	/* NULL: it may all that its account may, for ever. Not in locked memory, which is scarce. */
	struct key_scope *scope;
	/* The last signing key that was made of it, and for what. */
	char made_for[FOR_SIZE];
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

/* The names in a scope are personal. */
static void
drop_scope(struct secret *s)
{
	if (s->scope)
		wipe(s->scope, sizeof(*s->scope));
	free(s->scope);
	s->scope = NULL;
}

void
access_free(struct access *a)
{
	if (!a)
		return;
	for (size_t i = 0; a->secrets && i < a->max; i++)
		drop_scope(&a->secrets[i]);
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

/* --- scopes --- */

bool
key_scope_is_limited(const struct key_scope *s)
{
	return s->is_read_only || s->services || s->bucket[0];
}

bool
key_scope_has_bucket(const struct key_scope *s, const char *bucket)
{
	if (s->services && !(s->services & BIT(files_bucket_service(bucket))))
		return false;
	return !s->bucket[0] || !strcmp(s->bucket, bucket);
}

bool
key_scope_has_key(const struct key_scope *s, const char *bucket, const char *key)
{
	return key_scope_has_bucket(s, bucket) && !strncmp(key, s->prefix, strlen(s->prefix));
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

/* The key for what is to be signed, which is made again only if that is something else than the last time. */
static int
sign_with(struct secret *s, const char *const made_for[3], uint8_t out[static SHA256_BYTES],
    struct key_scope *scope, struct err *e)
{
	char text[FOR_SIZE];
	int n = snprintf(text, sizeof(text), "%s/%s/%s", made_for[0], made_for[1], made_for[2]);

	if (n < 0 || (size_t)n >= sizeof(text))
		return err_set(e, ERR_BAD, "the credential's scope is too long");
	if (s->is_revoked)
		return err_set(e, ERR_MISSING, "the access key was revoked");
	if (s->scope && s->scope->expires_ms && host_wall_ms() >= s->scope->expires_ms)
		return err_set(e, ERR_DENIED, "the access key has expired");
	if (strcmp(text, s->made_for)) {
		make_signing_key(s, made_for[0], made_for[1], made_for[2]);
		memcpy(s->made_for, text, sizeof(text));
	}
	memcpy(out, s->signing_key, SHA256_BYTES);
	if (s->scope)
		*scope = *s->scope;
	else
		memset(scope, 0, sizeof(*scope));
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

/* Takes over the scope of what it keeps. */
static void
keep(struct access *a, struct secret *s, uint64_t forgotten)
{
	uint32_t i;

	if (forgotten != a->forgotten || find(a, &s->account, s->access_key))
		return;
	i = lru_add(a->lru, &s->account);
	drop_scope(&a->secrets[i]);
	a->secrets[i] = *s;
	s->scope = NULL;
}

/* --- the vault --- */

/* False: it is longer than what was ever stored. */
static bool
column_name(struct query *q, int i, char *out, size_t size)
{
	struct span text = column_blob(q, i);

	if (text.len >= size)
		return false;
	if (text.len)
		memcpy(out, text.data, text.len);
	out[text.len] = '\0';
	return true;
}

/* Columns 2 to 6. */
static int
read_scope(struct query *q, struct secret *s, struct err *e)
{
	struct key_scope scope = {
		.expires_ms = (uint64_t)column_int(q, 2),
		.is_read_only = column_int(q, 3) != 0,
		.services = (unsigned)column_int(q, 4),
	};

	if (!column_name(q, 5, scope.bucket, sizeof(scope.bucket)) ||
	    !column_name(q, 6, scope.prefix, sizeof(scope.prefix)))
		return err_set(e, ERR_FORGED, "an access key's row is damaged");
	if (!scope.expires_ms && !key_scope_is_limited(&scope))
		return 0;
	s->scope = malloc(sizeof(*s->scope));
	if (!s->scope)
		return err_set(e, ERR_MEMORY, "an access key: no memory");
	*s->scope = scope;
	return 0;
}

static int
read_row(struct vault *v, struct secret *s, struct err *e)
{
	struct query *q = vault_query(v,
	    "SELECT secret,is_revoked,expires_ms,is_read_only,services,bucket,prefix"
	    " FROM credential WHERE key_id=?1");
	int r;

	query_text(q, 1, s->access_key, strlen(s->access_key));
	r = query_step(q, e);
	if (r == 1) {
		struct span text = column_blob(q, 0);

		s->is_revoked = column_int(q, 1) != 0;
		if (text.len && text.len < sizeof(s->text)) {
			memcpy(s->text, text.data, text.len);
			s->len = text.len;
		}
		if (!s->len && !s->is_revoked)
			r = err_set(e, ERR_FORGED, "an access key's row is damaged");
		else if (read_scope(q, s, e) < 0)
			r = -1;
	} else if (r == 0) {
		r = err_set(e, ERR_MISSING, "no such access key");
	}
	query_end(q);
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
	if (r == 0 && a->node->quota)
		quota_learn(a->node->quota, &s->account, v);
	pool_give(v);
	/* The secret is kept here; an open profile would cost more memory than opening it again. */
	pool_evict(a->node->pool, &id);
	return r;
}

static bool
sign_cached(struct access *a, const struct account_id *id, const char *access_key,
    const char *const made_for[3], uint8_t *out, struct key_scope *scope, uint64_t *forgotten,
    int *result, struct err *e)
{
	struct secret *s;

	pthread_mutex_lock(&a->lock);
	*forgotten = a->forgotten;
	s = find(a, id, access_key);
	if (s)
		*result = sign_with(s, made_for, out, scope, e);
	pthread_mutex_unlock(&a->lock);
	return s != NULL;
}

int
access_signing_key(struct access *a, const char *access_key, const char *date, const char *region,
    const char *service, bool may_block, uint8_t out[static SHA256_BYTES], struct key_scope *scope,
    struct err *e)
{
	const char *const made_for[] = { date, region, service };
	struct secret s = { .len = 0 };
	uint64_t forgotten;
	int result = -1;

	if (!access_account(access_key, &s.account))
		return err_set(e, ERR_MISSING, "no such access key");
	if (sign_cached(a, &s.account, access_key, made_for, out, scope, &forgotten, &result, e))
		return result;
	memcpy(s.access_key, access_key, sizeof(s.access_key));
	if (read_secret(a, &s, may_block, e) == 0) {
		result = sign_with(&s, made_for, out, scope, e);
		pthread_mutex_lock(&a->lock);
		keep(a, &s, forgotten);
		pthread_mutex_unlock(&a->lock);
	}
	drop_scope(&s);
	wipe(&s, sizeof(s));
	return result;
}

void
access_forget(struct access *a, const struct account_id *id)
{
	uint32_t i, next;

	if (a->node->applications)
		applications_forget(a->node->applications, id);
	pthread_mutex_lock(&a->lock);
	a->forgotten++;
	for (i = lru_first(a->lru, id); i != LRU_NONE; i = next) {
		next = lru_next(a->lru, i);
		if (!account_equal(&a->secrets[i].account, id))
			continue;
		lru_remove(a->lru, i);
		drop_scope(&a->secrets[i]);
		wipe(&a->secrets[i], sizeof(a->secrets[i]));
	}
	pthread_mutex_unlock(&a->lock);
	if (a->node->quota)
		quota_forget(a->node->quota, id);
}
