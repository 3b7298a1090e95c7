/* applications.c - see applications.h. */
#include "service/applications_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "base/log.h"
#include "standby/standby.h"

#define KEY_ID_BYTES 16

struct applications *
applications_open(struct node *n, struct err *e)
{
	_cleanup_(applications_closep) struct applications *a = calloc(1, sizeof(*a));

	if (!a) {
		err_set(e, ERR_MEMORY, "application keys: no memory");
		return NULL;
	}
	a->node = n;
	pthread_mutex_init(&a->writing, NULL);
	pthread_mutex_init(&a->lock, NULL);
	host_cond_init(&a->changed);
	a->all = calloc(APPLICATIONS_MAX, sizeof(*a->all));
	a->secrets = secret_alloc(APPLICATIONS_MAX * sizeof(*a->secrets), e);
	if (!a->all)
		err_set(e, ERR_MEMORY, "application keys: no memory");
	else
		a->notes = application_notes_new(e);
	if (!a->notes || !a->secrets || applications_load(a, e) < 0)
		return NULL;
	if (applications_start(a, e) < 0)
		return NULL;
	return take(&a);
}

void
applications_close(struct applications *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->is_stopping = true;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
	if (a->has_thread)
		pthread_join(a->thread, NULL);
	secret_free(a->secrets, APPLICATIONS_MAX * sizeof(*a->secrets));
	free(a->all);
	application_notes_free(a->notes);
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->lock);
	pthread_mutex_destroy(&a->writing);
	free(a);
}

bool
application_key(const char *access_key)
{
	return strnlen(access_key, APPLICATION_KEY_SIZE) == APPLICATION_KEY_SIZE - 1 &&
	    !strncmp(access_key, "DA", 2) &&
	    strspn(access_key + 2, "0123456789ABCDEF") == 2 * KEY_ID_BYTES;
}

struct application *
application_find(struct applications *a, const char *key)
{
	for (size_t i = 0; i < a->n; i++)
		if (!strcmp(a->all[i].key, key))
			return &a->all[i];
	return NULL;
}

/* --- secrets as text: base64 for URLs --- */

static int
secret_text(const uint8_t raw[static APPLICATION_RAW_BYTES],
    char out[static APPLICATION_SECRET_SIZE], struct err *e)
{
	_cleanup_secret_buf_ struct buf text = BUF_INIT(64);

	base64_text(&text, raw, APPLICATION_RAW_BYTES);
	if (buf_check(&text, e) < 0)
		return -1;
	for (size_t i = 0; i < APPLICATION_SECRET_SIZE - 1; i++) {
		char c = (char)text.data[i];

		out[i] = c == '+' ? '-' : c == '/' ? '_' : c;
	}
	out[APPLICATION_SECRET_SIZE - 1] = '\0';
	return 0;
}

static int
secret_parse(const char *text, uint8_t out[static APPLICATION_RAW_BYTES], struct err *e)
{
	_cleanup_secret_buf_ struct buf raw = BUF_INIT(64);
	char padded[APPLICATION_SECRET_SIZE + 1], again[APPLICATION_SECRET_SIZE];
	bool is_good = strlen(text) == APPLICATION_SECRET_SIZE - 1;

	for (size_t i = 0; is_good && i < APPLICATION_SECRET_SIZE - 1; i++)
		padded[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
	strcpy(padded + APPLICATION_SECRET_SIZE - 1, "=");
	is_good = is_good && base64_parse(padded, strlen(padded), &raw, NULL) == 0 &&
	    buf_check(&raw, NULL) == 0 && raw.len == APPLICATION_RAW_BYTES &&
	    secret_text(raw.data, again, NULL) == 0 && !strcmp(again, text);
	if (is_good)
		memcpy(out, raw.data, APPLICATION_RAW_BYTES);
	wipe(padded, sizeof(padded));
	wipe(again, sizeof(again));
	return is_good ? 0 : err_set(e, ERR_BAD, "that is not the secret of an application key");
}

/* --- use --- */

static int
make_signing_key(struct application_secret *s, const char *const made_for[3], struct err *e)
{
	char first[4 + APPLICATION_SECRET_SIZE] = "AWS4", text[sizeof(s->made_for)];
	uint8_t key[SHA256_BYTES];
	int n = snprintf(text, sizeof(text), "%s/%s/%s", made_for[0], made_for[1], made_for[2]);

	if (n < 0 || (size_t)n >= sizeof(text))
		return err_set(e, ERR_BAD, "the credential's scope is too long");
	if (!strcmp(text, s->made_for))
		return 0;
	if (secret_text(s->raw, first + 4, e) < 0)
		return -1;
	hmac_sha256(first, strlen(first), made_for[0], strlen(made_for[0]), key);
	hmac_sha256(key, sizeof(key), made_for[1], strlen(made_for[1]), key);
	hmac_sha256(key, sizeof(key), made_for[2], strlen(made_for[2]), key);
	hmac_sha256(key, sizeof(key), "aws4_request", 12, s->signing_key);
	memcpy(s->made_for, text, sizeof(text));
	wipe(first, sizeof(first));
	wipe(key, sizeof(key));
	return 0;
}

static int
sign_with(struct applications *a, const char *access_key, const char *const made_for[3],
    uint8_t out[static SHA256_BYTES], struct application_grant *grant, struct err *e)
{
	struct application *x = application_find(a, access_key);
	struct application_secret *s;

	if (!x || x->revoked_ms)
		return err_set(e, ERR_MISSING, "no such access key");
	if (host_wall_ms() >= x->grant.expires_ms)
		return err_set(e, ERR_DENIED, "the access key has expired");
	s = &a->secrets[x - a->all];
	if (make_signing_key(s, made_for, e) < 0)
		return -1;
	memcpy(out, s->signing_key, SHA256_BYTES);
	*grant = x->grant;
	return 0;
}

int
application_signing_key(struct applications *a, const char *access_key, const char *date,
    const char *region, const char *service, uint8_t out[static SHA256_BYTES],
    struct application_grant *grant, struct err *e)
{
	int rc;

	pthread_mutex_lock(&a->lock);
	rc = sign_with(
	    a, access_key, (const char *const[]){ date, region, service }, out, grant, e);
	pthread_mutex_unlock(&a->lock);
	return rc;
}

bool
application_has_country(const struct application_grant *g, const char *country)
{
	for (const char *at = g->countries; *at; at += at[2] == ',' ? 3 : 2)
		if (!strncmp(at, country, 2))
			return true;
	return !g->countries[0];
}

void
application_used(struct applications *a, const char *access_key, const struct account_id *id)
{
	struct application *x;

	pthread_mutex_lock(&a->lock);
	x = application_find(a, access_key);
	if (x)
		counter_add(x->uses, 1);
	if (x && application_note(a->notes, id, access_key))
		pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
}

void
applications_forget(struct applications *a, const struct account_id *id)
{
	pthread_mutex_lock(&a->lock);
	application_notes_forget(a->notes, id);
	pthread_mutex_unlock(&a->lock);
}

/* --- changes --- */

static int
check_grant(const struct application_grant *g, struct err *e)
{
	size_t n = strlen(g->countries);

	if (!g->name[0])
		return err_set(e, ERR_BAD, "an application needs a name");
	if (!(g->services & (BIT(SERVICE_FILES) | BIT(SERVICE_BACKUP))))
		return err_set(
		    e, ERR_BAD, "an application is for the services files, backup or both");
	if (g->expires_ms <= host_wall_ms())
		return err_set(e, ERR_BAD, "the key would have expired already");
	for (size_t i = 0; i < n; i++)
		if (i % 3 == 2 ? g->countries[i] != ','
		               : g->countries[i] < 'A' || g->countries[i] > 'Z')
			return err_set(e, ERR_BAD, "countries are two capital letters each: IN,ID");
	return n && n % 3 != 2
	    ? err_set(e, ERR_BAD, "countries are two capital letters each: IN,ID")
	    : 0;
}

static void
random_key(char out[static APPLICATION_KEY_SIZE])
{
	uint8_t id[KEY_ID_BYTES];

	host_random(id, sizeof(id));
	memcpy(out, "DA", 2);
	hex_text(id, sizeof(id), out + 2);
	for (char *c = out; *c; c++)
		if (*c >= 'a')
			*c = (char)(*c - 'a' + 'A');
}

/* WRITING held. */
static int
create(struct applications *a, const struct application *x, const uint8_t *raw, struct err *e)
{
	bool is_there, is_full;
	int rc;

	pthread_mutex_lock(&a->lock);
	is_there = application_find(a, x->key) != NULL;
	is_full = a->n == APPLICATIONS_MAX;
	pthread_mutex_unlock(&a->lock);
	if (is_there)
		return err_set(e, ERR_EXISTS, "the key %s is here already, or was revoked", x->key);
	if (is_full)
		return err_set(e, ERR_TOO_BIG,
		    "there are %d application keys: remove some that have expired",
		    APPLICATIONS_MAX);
	if (application_store(a, x, raw, e) < 0)
		return -1;
	pthread_mutex_lock(&a->lock);
	rc = application_add(a, x, raw, e);
	pthread_mutex_unlock(&a->lock);
	return rc;
}

static int
may_change(struct node *n, struct err *e)
{
	return standby_may_write(n->standby) ? 0 : standby_refuse(n->standby, e);
}

int
applications_create(struct applications *a, const struct application_grant *g,
    char key[static APPLICATION_KEY_SIZE], char secret[static APPLICATION_SECRET_SIZE],
    struct err *e)
{
	struct application x = { .grant = *g, .created_ms = host_wall_ms() };
	uint8_t raw[APPLICATION_RAW_BYTES];
	int rc;

	if (may_change(a->node, e) < 0 || check_grant(g, e) < 0)
		return -1;
	if (key[0]) {
		if (!application_key(key))
			return err_set(e, ERR_BAD, "'%.40s' is no application key", key);
		if (secret_parse(secret, raw, e) < 0)
			return -1;
	} else {
		random_key(key);
		host_random(raw, sizeof(raw));
		if (secret_text(raw, secret, e) < 0)
			return -1;
	}
	memcpy(x.key, key, sizeof(x.key));
	pthread_mutex_lock(&a->writing);
	rc = create(a, &x, raw, e);
	pthread_mutex_unlock(&a->writing);
	wipe(raw, sizeof(raw));
	if (rc < 0)
		return -1;
	log_audit("application.granted", NULL, "key=%s", key);
	applications_nudge(a); /* another region may have revoked it meanwhile */
	return 0;
}

/* At once in memory, and durable when it returns. WRITING held. */
static int
revoke_known(struct applications *a, const char *key, struct err *e)
{
	struct application x, *at;

	pthread_mutex_lock(&a->lock);
	at = application_find(a, key);
	if (at && !at->revoked_ms) {
		at->revoked_ms = host_wall_ms();
		wipe(&a->secrets[at - a->all], sizeof(a->secrets[0]));
	}
	if (at)
		x = *at;
	pthread_mutex_unlock(&a->lock);
	if (!at)
		return 0;
	if (application_store(a, &x, NULL, e) < 0)
		return -1;
	log_audit("application.revoked", NULL, "key=%s", key);
	return 1;
}

int
application_revoke_here(struct applications *a, const char *key, struct err *e)
{
	int rc;

	if (may_change(a->node, e) < 0)
		return -1;
	pthread_mutex_lock(&a->writing);
	rc = revoke_known(a, key, e);
	pthread_mutex_unlock(&a->writing);
	return rc;
}

/* Whether X may go. WRITING held: nobody else changes it. */
static int
may_remove(const struct application *x, const char *key, struct err *e)
{
	uint64_t now_ms = host_wall_ms();

	if (!x)
		return err_set(e, ERR_MISSING, "there is no application key %.40s here", key);
	if (x->revoked_ms && now_ms < x->revoked_ms + APPLICATION_KEPT_MS)
		return err_set(e, ERR_STALE,
		    "the key was revoked less than %d days ago: regions that are away learn that here",
		    (int)(APPLICATION_KEPT_MS / 86400000));
	if (!x->revoked_ms && now_ms < x->grant.expires_ms)
		return err_set(e, ERR_STALE, "the key has not expired: revoke it");
	return 0;
}

/* WRITING held. The last one takes its place. */
static int
remove_key(struct applications *a, const char *key, struct err *e)
{
	struct application x, *at;
	size_t last;

	pthread_mutex_lock(&a->lock);
	at = application_find(a, key);
	if (at)
		x = *at;
	pthread_mutex_unlock(&a->lock);
	if (may_remove(at ? &x : NULL, key, e) < 0 || application_erase(a, &x, e) < 0)
		return -1;
	pthread_mutex_lock(&a->lock);
	at = application_find(a, key);
	last = --a->n;
	a->secrets[at - a->all] = a->secrets[last];
	*at = a->all[last];
	wipe(&a->secrets[last], sizeof(a->secrets[last]));
	pthread_mutex_unlock(&a->lock);
	log_audit("application.removed", NULL, "key=%s", key);
	return 0;
}

int
applications_remove(struct applications *a, const char *key, struct err *e)
{
	int rc;

	if (may_change(a->node, e) < 0)
		return -1;
	pthread_mutex_lock(&a->writing);
	rc = remove_key(a, key, e);
	pthread_mutex_unlock(&a->writing);
	return rc;
}

/* --- looking --- */

static json_t *
application_json(const struct application *x)
{
	char services[64];
	json_t *one;

	services_text(x->grant.services, services);
	one = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "key", x->key, "name", x->grant.name,
	    "services", services, "created_ms", (json_int_t)x->created_ms, "expires_ms",
	    (json_int_t)x->grant.expires_ms, "uses", (json_int_t)counter_get(x->uses));
	if (!one)
		return NULL;
	if (x->grant.countries[0])
		json_object_set_new(one, "countries", json_string(x->grant.countries));
	if (x->grant.is_read_only)
		json_object_set_new(one, "read_only", json_true());
	if (x->grant.expires_ms <= host_wall_ms())
		json_object_set_new(one, "expired", json_true());
	if (x->revoked_ms)
		json_object_set_new(one, "revoked_ms", json_integer((json_int_t)x->revoked_ms));
	return one;
}

int
applications_list(struct applications *a, json_t **out, struct err *e)
{
	json_t *list = json_array();
	int rc = list ? 0 : -1;

	pthread_mutex_lock(&a->lock);
	for (size_t i = 0; rc == 0 && i < a->n; i++)
		rc = json_array_append_new(list, application_json(&a->all[i]));
	pthread_mutex_unlock(&a->lock);
	if (rc < 0) {
		json_decref(list);
		return err_set(e, ERR_MEMORY, "no memory for the list");
	}
	*out = list;
	return 0;
}
