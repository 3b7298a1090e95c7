/* admin_app.c - the operator's calls about application keys. */
#include "front/admin_private.h"

#include <stdio.h>
#include <string.h>

#include "service/applications.h"

static struct applications *
applications_of(struct request *r, struct err *e)
{
	if (!r->node->applications)
		err_set(e, ERR_MISSING, "%s has no store, so no accounts", r->node->region);
	return r->node->applications;
}

static int
take_text(const char *text, const char *what, char *out, size_t size, struct err *e)
{
	if (strlen(text) >= size)
		return err_set(e, ERR_BAD, "%s is longer than %zu bytes", what, size - 1);
	memcpy(out, text, strlen(text) + 1);
	return 0;
}

static int
unpack_grant(json_t *in, struct application_grant *g, char key[static APPLICATION_KEY_SIZE],
    char secret[static APPLICATION_SECRET_SIZE], struct err *e)
{
	const char *name, *services, *countries = "", *given_key = "", *given_secret = "";
	json_int_t expires_ms;
	int read_only = 0;

	*g = (struct application_grant){ .services = 0 };
	if (admin_unpack(in, e, "{s:s, s:s, s:I, s?s, s?b, s?s, s?s}", "name", &name, "services",
	        &services, "expires_ms", &expires_ms, "countries", &countries, "read_only",
	        &read_only, "key", &given_key, "secret", &given_secret) < 0)
		return -1;
	if (expires_ms < 0)
		return err_set(e, ERR_BAD, "a time before 1970");
	g->expires_ms = (uint64_t)expires_ms;
	g->is_read_only = read_only != 0;
	if (services_parse(services, &g->services, e) < 0 ||
	    take_text(name, "the name", g->name, sizeof(g->name), e) < 0 ||
	    take_text(countries, "the list of countries", g->countries, sizeof(g->countries), e) <
	        0 ||
	    take_text(given_key, "the key", key, APPLICATION_KEY_SIZE, e) < 0 ||
	    take_text(given_secret, "the secret", secret, APPLICATION_SECRET_SIZE, e) < 0)
		return -1;
	return 0;
}

int
admin_app_key_create(struct request *r, json_t *in, json_t **out, struct err *e)
{
	struct applications *a = applications_of(r, e);
	struct application_grant g;
	char key[APPLICATION_KEY_SIZE], secret[APPLICATION_SECRET_SIZE];
	int rc;

	if (!a || unpack_grant(in, &g, key, secret, e) < 0)
		return -1;
	rc = applications_create(a, &g, key, secret, e);
	if (rc == 0)
		rc = admin_made(json_pack("{s:s, s:s, s:s}", "region", r->node->region,
		                    "access_key", key, "secret_key", secret),
		    out, e);
	wipe(secret, sizeof(secret));
	return rc;
}

int
admin_app_key_list(struct request *r, json_t *in, json_t **out, struct err *e)
{
	struct applications *a = applications_of(r, e);

	return !a || admin_unpack(in, e, "{}") < 0 ? -1 : applications_list(a, out, e);
}

int
admin_app_key_revoke(struct request *r, json_t *in, json_t **out, struct err *e)
{
	struct applications *a = applications_of(r, e);
	const char *key;

	if (!a || admin_unpack(in, e, "{s:s}", "key", &key) < 0)
		return -1;
	return applications_revoke(a, key, out, e);
}

int
admin_app_key_remove(struct request *r, json_t *in, json_t **out, struct err *e)
{
	struct applications *a = applications_of(r, e);
	const char *key;

	if (!a || admin_unpack(in, e, "{s:s}", "key", &key) < 0 ||
	    applications_remove(a, key, e) < 0)
		return -1;
	return admin_made(json_pack("{s:s}", "removed", key), out, e);
}
