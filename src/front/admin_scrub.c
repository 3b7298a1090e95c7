/* admin_scrub.c - the operator's calls about the scrub: begin, end, how far it is, what is damaged. */
#include "front/admin_private.h"

#include "service/scrub.h"

static int
scrub_of(struct request *r, struct scrub **out, struct err *e)
{
	*out = r->node->scrub;
	return *out ? 0 : err_set(e, ERR_MISSING, "%s has no store", r->node->region);
}

int
admin_scrub_ask(struct request *r, json_t *in, json_t **out, struct err *e)
{
	const char *account = NULL;
	json_int_t rate = 0;
	struct account_id id;
	struct scrub *s;

	if (scrub_of(r, &s, e) < 0 ||
	    admin_unpack(in, e, "{s?s, s?I}", "account", &account, "rate", &rate) < 0 ||
	    (account && admin_account(account, &id, e) < 0))
		return -1;
	if (rate < 0)
		return err_set(e, ERR_BAD, "a rate can't be negative");
	if (scrub_ask(s, account ? &id : NULL, (uint64_t)rate, e) < 0)
		return -1;
	return scrub_status(s, out, e);
}

int
admin_scrub_stop(struct request *r, json_t *in, json_t **out, struct err *e)
{
	struct scrub *s;

	if (scrub_of(r, &s, e) < 0 || admin_unpack(in, e, "{}") < 0)
		return -1;
	scrub_cancel(s);
	return scrub_status(s, out, e);
}

int
admin_scrub_status(struct request *r, json_t *in, json_t **out, struct err *e)
{
	struct scrub *s;

	if (scrub_of(r, &s, e) < 0 || admin_unpack(in, e, "{}") < 0)
		return -1;
	return scrub_status(s, out, e);
}

int
admin_scrub_list(struct request *r, json_t *in, json_t **out, struct err *e)
{
	const char *account = NULL;
	struct account_id id;
	struct scrub *s;

	if (scrub_of(r, &s, e) < 0 || admin_unpack(in, e, "{s?s}", "account", &account) < 0 ||
	    (account && admin_account(account, &id, e) < 0))
		return -1;
	return scrub_list(s, account ? &id : NULL, out, e);
}
