/* applications_record.c - application keys as they lie in the store.
 *
 * A record of the region (vault/region.h): REGION_APPLICATION and the key's 16 bytes; the value is
 * JSON: "name", "services", "countries", "read_only", "created_ms", "expires_ms", and "secret", wrapped
 * by the region key as the data key of a vault would be (sealed/keys.h), in hexadecimal; or
 * "revoked_ms" and no secret.
 */
#include "service/applications_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "sealed/keys.h"
#include "vault/region.h"

#define VALUE_MAX 2048

_Static_assert(APPLICATION_RAW_BYTES == KEY_BYTES, "a secret is wrapped like a data key");

/* What a wrapped secret is bound to: the key's id, as no vault's. */
static struct vault_id
binding(const struct application *x)
{
	struct vault_id id = { .service = SERVICE_REGION };
	bool is_hex = hex_parse(x->key + 2, &id.account, sizeof(id.account));

	(void)is_hex; /* application_key has said so */
	return id;
}

/* --- writing --- */

static int
wrapped_text(struct applications *a, const struct application *x, const uint8_t *raw,
    char out[static 2 * WRAPPED_BYTES + 1], struct err *e)
{
	struct vault_id id = binding(x);
	uint8_t wrapped[WRAPPED_BYTES];

	if (keys_wrap(a->node->keys, &id, 0, raw, wrapped, e) < 0)
		return -1;
	hex_text(wrapped, sizeof(wrapped), out);
	return 0;
}

static int
store(struct applications *a, const struct application *x, const uint8_t *raw, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	char wrapped[2 * WRAPPED_BYTES + 1] = "", *text;
	struct vault_id id = binding(x);
	json_t *j;

	if (!b || (raw && wrapped_text(a, x, raw, wrapped, e) < 0))
		return -1;
	j = json_pack("{s:s, s:I, s:s, s:b, s:I, s:I, s:I, s:s}", "name", x->grant.name, "services",
	    (json_int_t)x->grant.services, "countries", x->grant.countries, "read_only",
	    (int)x->grant.is_read_only, "created_ms", (json_int_t)x->created_ms, "expires_ms",
	    (json_int_t)x->grant.expires_ms, "revoked_ms", (json_int_t)x->revoked_ms, "secret",
	    wrapped);
	text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	if (!text)
		return err_set(e, ERR_MEMORY, "an application key: no memory");
	region_put(b, REGION_APPLICATION, &id.account, sizeof(id.account), text, strlen(text));
	free(text);
	return region_apply(a->node->engine, a->node->flusher, b, e);
}

int
application_store(
    struct applications *a, const struct application *x, const uint8_t *raw, struct err *e)
{
	int rc;

	/* So that a rotation finds it wrapped with the newest generation, or does not find it at all. */
	keys_hold(a->node->keys);
	rc = store(a, x, raw, e);
	keys_release(a->node->keys);
	return rc;
}

int
application_erase(struct applications *a, const struct application *x, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	struct vault_id id = binding(x);

	if (!b)
		return -1;
	region_delete(b, REGION_APPLICATION, &id.account, sizeof(id.account));
	return region_apply(a->node->engine, a->node->flusher, b, e);
}

/* --- reading --- */

int
application_add(
    struct applications *a, const struct application *x, const uint8_t *raw, struct err *e)
{
	struct counter *c = calloc(1, sizeof(*c));
	char *labels = NULL;

	if (a->n == APPLICATIONS_MAX || !c || asprintf(&labels, "key=\"%s\"", x->key) < 0) {
		free(c);
		return a->n == APPLICATIONS_MAX
		    ? err_set(e, ERR_TOO_BIG, "there are %d application keys", APPLICATIONS_MAX)
		    : err_set(e, ERR_MEMORY, "an application key: no memory");
	}
	/* A metric stays for as long as the process. */
	*c = (struct counter)COUNTER("domicile_application_requests_total", labels,
	    "Requests that were signed with an application key.");
	counter_add(c, 0);
	a->all[a->n] = *x;
	a->all[a->n].uses = c;
	if (raw)
		memcpy(a->secrets[a->n].raw, raw, APPLICATION_RAW_BYTES);
	a->n++;
	return 0;
}

static int
take_text(const char *text, char *out, size_t size)
{
	int n = snprintf(out, size, "%s", text);

	return n >= 0 && (size_t)n < size ? 0 : -1;
}

static int
read_json(json_t *j, struct application *x, const char **wrapped, struct err *e)
{
	const char *name, *countries;
	json_int_t services, created_ms, expires_ms, revoked_ms;
	int read_only;

	if (json_unpack(j, "{s:s, s:I, s:s, s:b, s:I, s:I, s:I, s:s}", "name", &name, "services",
	        &services, "countries", &countries, "read_only", &read_only, "created_ms",
	        &created_ms, "expires_ms", &expires_ms, "revoked_ms", &revoked_ms, "secret",
	        wrapped) < 0 ||
	    take_text(name, x->grant.name, sizeof(x->grant.name)) < 0 ||
	    take_text(countries, x->grant.countries, sizeof(x->grant.countries)) < 0)
		return err_set(e, ERR_FORGED, "it is not one");
	x->grant.services = (unsigned)services;
	x->grant.is_read_only = read_only != 0;
	x->grant.expires_ms = (uint64_t)expires_ms;
	x->created_ms = (uint64_t)created_ms;
	x->revoked_ms = (uint64_t)revoked_ms;
	return 0;
}

static int
unwrap(struct applications *a, const struct application *x, const char *text,
    uint8_t raw[static APPLICATION_RAW_BYTES], struct err *e)
{
	struct vault_id id = binding(x);
	uint8_t wrapped[WRAPPED_BYTES];

	if (!hex_parse(text, wrapped, sizeof(wrapped)))
		return err_set(e, ERR_FORGED, "its secret is damaged");
	return keys_unwrap(a->node->keys, &id, 0, wrapped, raw, e);
}

static int
load_json(struct applications *a, struct application *x, json_t *j, struct err *e)
{
	uint8_t raw[APPLICATION_RAW_BYTES] = { 0 };
	const char *wrapped;
	int rc;

	if (read_json(j, x, &wrapped, e) < 0)
		return -1;
	if (!x->revoked_ms && unwrap(a, x, wrapped, raw, e) < 0)
		return -1;
	rc = application_add(a, x, raw, e);
	wipe(raw, sizeof(raw));
	return rc;
}

/* One that does not hold must not keep the region from serving. */
static int
load_one(void *arg, struct span key, struct span value, struct err *e)
{
	struct application x = { .key = "DA" };
	struct err why = { 0 };
	json_t *j = NULL;

	if (key.len == ACCOUNT_ID_BYTES && value.len <= VALUE_MAX) {
		hex_text(key.data, key.len, x.key + 2);
		for (char *c = x.key; *c; c++)
			if (*c >= 'a')
				*c = (char)(*c - 'a' + 'A');
		j = json_loadb((const char *)value.data, value.len, 0, NULL);
	}
	if (load_json(arg, &x, j, &why) < 0)
		log_warn("application.damaged", NULL, "key=%s is left out: %s", x.key, why.text);
	json_decref(j);
	return why.kind == ERR_MEMORY ? err_set(e, ERR_MEMORY, "%s", why.text) : 0;
}

int
applications_load(struct applications *a, struct err *e)
{
	return region_scan(a->node->engine, REGION_APPLICATION, load_one, a, e);
}

/* --- when the region key is rotated --- */

/* 1: it was wrapped with an older generation; 0; -1. */
static int
is_old(struct applications *a, const struct application *x, struct err *e)
{
	_cleanup_buf_ struct buf value = BUF_INIT(VALUE_MAX);
	struct vault_id id = binding(x);
	uint8_t wrapped[WRAPPED_BYTES] = { 0 };
	const char *text;
	json_t *j;
	int rc = region_get(
	    a->node->engine, REGION_APPLICATION, &id.account, sizeof(id.account), &value, e);

	if (rc <= 0)
		return rc;
	j = json_loadb((const char *)value.data, value.len, 0, NULL);
	text = json_string_value(json_object_get(j, "secret"));
	rc = text && hex_parse(text, wrapped, sizeof(wrapped)) &&
	    be32_get(wrapped) != keys_generation(a->node->keys);
	json_decref(j);
	return rc;
}

int
applications_rewrap(struct applications *a, uint64_t *changed, struct err *e)
{
	int rc = 0;

	pthread_mutex_lock(
	    &a->writing); /* only its holder adds or revokes, so that LOCK need not be held */
	for (size_t i = 0; rc >= 0 && i < a->n; i++) {
		if (a->all[i].revoked_ms)
			continue;
		rc = is_old(a, &a->all[i], e);
		if (rc == 1) {
			rc = application_store(a, &a->all[i], a->secrets[i].raw, e);
			*changed += rc == 0;
		}
	}
	pthread_mutex_unlock(&a->writing);
	return rc < 0 ? -1 : 0;
}
