/* s3_application.c - requests that are signed with an application key: whose account they are about, whether it
 * is one that the key was granted for, and a line in the log for each.
 *
 * The account is named in the header x-domicile-account, which has to be signed; or before the bucket, as
 * ACCOUNT.BUCKET, for clients that can't send a header. Only its home knows the key, and checks it.
 */
#include "front/s3_private.h"

#include <string.h>

#include "base/log.h"
#include "service/applications.h"

#define HEADER "x-domicile-account"

/* Whether NAME is one of the list of names with ';' between. */
static bool
is_signed(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *at = list; (at = strstr(at, name)); at += n)
		if ((at == list || at[-1] == ';') && (!at[n] || at[n] == ';'))
			return true;
	return false;
}

/* "ACCOUNT.BUCKET" becomes BUCKET. */
static bool
split(char bucket[static FILES_BUCKET_MAX + 1], struct account_id *id)
{
	char text[ACCOUNT_TEXT_SIZE];
	size_t n = sizeof text - 1;

	if (strlen(bucket) <= n + 1 || bucket[n] != '.')
		return false;
	memcpy(text, bucket, n);
	text[n] = '\0';
	if (!account_parse(text, id))
		return false;
	memmove(bucket, bucket + n + 1, strlen(bucket + n + 1) + 1);
	return true;
}

int
s3_application_account(struct s3_call *c, struct err *e)
{
	struct request *r = c->r;
	const char *header = request_header(r, HEADER);

	if (header) {
		if (!is_signed(c->claim.signed_headers, HEADER))
			return s3_refuse(
			    c, e, 403, "AccessDenied", "the header " HEADER " has to be signed");
		if (!account_parse(header, &r->account))
			return s3_refuse(
			    c, e, 400, "InvalidArgument", HEADER " is not the id of an account");
	} else if (c->level == LEVEL_ROOT || !split(c->bucket, &r->account)) {
		return s3_refuse(c, e, 400, "InvalidRequest",
		    "an application names the account: header " HEADER
		    ", or bucket ACCOUNT.BUCKET");
	}
	c->files.account = r->account;
	return 0;
}

int
s3_application_source(struct s3_call *c, char bucket[static FILES_BUCKET_MAX + 1], struct err *e)
{
	struct account_id id;

	if (!c->is_application || request_header(c->r, HEADER))
		return 0;
	if (!split(bucket, &id) || !account_equal(&id, &c->r->account))
		return s3_refuse(c, e, 400, "InvalidArgument",
		    "the source of a copy has to be ACCOUNT.BUCKET/key of the same account");
	return 0;
}

int
s3_application_key(struct s3_call *c, struct err *e)
{
	const struct sign_claim *claim = &c->claim;
	struct applications *a = c->r->node->applications;
	struct application_grant grant;

	if (!a)
		return err_set(e, ERR_MISSING, "no such access key");
	if (application_signing_key(a, claim->access_key, claim->date, claim->region,
	        claim->service, c->signing_key, &grant, e) < 0)
		return -1;
	c->scope = (struct key_scope){ .is_read_only = grant.is_read_only,
		.services = grant.services };
	c->is_granted = application_has_country(&grant, c->pass.country);
	return 0;
}

int
s3_application_check(struct s3_call *c, struct err *e)
{
	if (!c->is_application)
		return 0;
	c->is_used = true;
	return c->is_granted ? 0
	                     : s3_refuse(c, e, 403, "AccessDenied",
	                           "the application is not for accounts of this country");
}

/* Ids and numbers only: what is asked for is in the path, which is personal. */
void
s3_application_log(const struct s3_call *c)
{
	struct request *r = c->r;
	char id[ACCOUNT_TEXT_SIZE];
	uint64_t in, out;

	if (!c->is_used || c->to[0])
		return;
	application_used(r->node->applications, c->claim.access_key, &r->account);
	in = request_length(r);
	out = !strcmp(r->method, "HEAD") ? 0 : r->read ? r->read_bytes : r->lent.len + r->body.len;
	account_text(&r->account, id);
	log_audit("application.use", r->id,
	    "key=%s account=%s method=%s what=%s service=%s status=%u in=%" PRIu64 " out=%" PRIu64,
	    c->claim.access_key, id, r->method, s3_scope_word(c->op),
	    c->bucket[0] ? service_name(files_bucket_service(c->bucket)) : "-", r->status,
	    in == UINT64_MAX ? 0 : in, out == UINT64_MAX ? 0 : out);
}
