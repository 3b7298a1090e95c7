/* admin.c - the frame of all JSON calls, and the table of the operator's. */
#include "front/admin_private.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/frame.h"
#include "base/log.h"
#include "base/refused.h"
#include "directory/peer.h"

static const struct admin_route routes[] = {
	{ "/v1/account/create", admin_account_create },
	{ "/v1/account/list", admin_account_list },
	{ "/v1/account/show", admin_account_show },
	{ "/v1/account/suspend", admin_account_suspend },
	{ "/v1/account/remove", admin_account_remove },
	{ "/v1/account/accept", admin_account_accept },
	{ "/v1/account/key/create", admin_account_key_create },
	{ "/v1/account/key/list", admin_account_key_list },
	{ "/v1/account/key/revoke", admin_account_key_revoke },
	{ "/v1/app/key/create", admin_app_key_create },
	{ "/v1/app/key/list", admin_app_key_list },
	{ "/v1/app/key/revoke", admin_app_key_revoke },
	{ "/v1/app/key/remove", admin_app_key_remove },
	{ "/v1/account/quota", admin_account_quota },
	{ "/v1/account/consent", admin_account_consent },
	{ "/v1/wave/plan", admin_wave_plan },
	{ "/v1/wave/list", admin_wave_list },
	{ "/v1/wave/status", admin_wave_status },
	{ "/v1/wave/run", admin_wave_run },
	{ "/v1/wave/pause", admin_wave_pause },
	{ "/v1/wave/resume", admin_wave_resume },
	{ "/v1/wave/cancel", admin_wave_cancel },
	{ "/v1/wave/retry", admin_wave_retry },
	{ "/v1/wave/items", admin_wave_items },
	{ "/v1/wave/verify", admin_wave_verify },
	{ "/v1/certificate", admin_certificate },
	{ "/v1/region/status", admin_region_status },
	{ "/v1/region/backup", admin_backup_begin },
	{ "/v1/region/backup/status", admin_backup_status },
	{ "/v1/region/reconciled", admin_reconciled },
	{ "/v1/region/sample", admin_region_sample },
	{ "/v1/region/key/rotate", admin_key_rotate },
	{ "/v1/region/key/status", admin_key_status },
	{ "/v1/region/scrub/ask", admin_scrub_ask },
	{ "/v1/region/scrub/stop", admin_scrub_stop },
	{ "/v1/region/scrub/status", admin_scrub_status },
	{ "/v1/region/scrub/list", admin_scrub_list },
	{ "/v1/directory/status", admin_directory_status },
};

/* One row a kind: the status that says the same in HTTP. */
static const unsigned statuses[ERR_KINDS] = {
	[ERR_NONE] = 500,
	[ERR_INTERNAL] = 500,
	[ERR_USAGE] = 400,
	[ERR_BAD] = 400,
	[ERR_TOO_BIG] = 413,
	[ERR_MISSING] = 404,
	[ERR_EXISTS] = 409,
	[ERR_DENIED] = 403,
	[ERR_CONSENT] = 403,
	[ERR_BUSY] = 503,
	[ERR_STALE] = 409,
	[ERR_FORGED] = 500,
	[ERR_IO] = 500,
	[ERR_FULL] = 507,
	[ERR_MEMORY] = 503,
	[ERR_PEER] = 502,
	[ERR_TIMEOUT] = 504,
	[ERR_CANCELLED] = 503,
	[ERR_QUOTA] = 403,
};

/* --- memory of JSON --- */

/* Answers are put together by hundreds of calls that each may find no memory. None of them has to look: what is
 * made for a call is made in its thread. */
static _Thread_local bool is_json_short;

static void *
json_alloc(size_t n)
{
	void *p = malloc(n);

	is_json_short |= !p;
	return p;
}

/* The secret keys of new accounts pass through JSON texts, here and between regions. */
static void
json_free_wiped(void *p)
{
	if (p)
		wipe(p, malloc_usable_size(p));
	free(p);
}

void
admin_json_begin(void)
{
	json_set_alloc_funcs(json_alloc, json_free_wiped);
}

/* --- the frame --- */

/* NULL: no memory, then or while VALUE was made. */
static char *
json_text(const json_t *value)
{
	char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	if (!is_json_short)
		return text;
	free(text); /* Jansson may have left out a part, and gone on */
	return NULL;
}

static void
answer_json(struct request *r, unsigned status, const char *type, json_t *value)
{
	char *text = json_text(value);

	buf_clear(&r->body);
	if (text) {
		r->status = status;
		response_header(r, "Content-Type", "%s", type);
		buf_add_str(&r->body, text);
		buf_add_char(&r->body, '\n');
	} else {
		r->status = 500;
	}
	free(text);
}

/* Paths, SQL and peers' words come by here; JSON takes valid UTF-8 only. */
static json_t *
text_json(const char *text)
{
	json_t *it = json_string(text);

	return it ? it : json_string("(not UTF-8)");
}

void
admin_fail(struct request *r, unsigned status, const struct err *e)
{
	json_t *it;

	is_json_short = false;
	if (!status)
		status = statuses[e->kind];
	it = json_pack("{s:s, s:i, s:s, s:o, s:s}", "type", "about:blank", "status", (int)status,
	    "kind", err_word(e->kind), "detail", text_json(e->text), "id", r->id);
	refused_count_err(e);
	answer_json(r, status, "application/problem+json", it);
	json_decref(it);
}

void
problem(struct request *r, const struct err *e)
{
	admin_fail(r, 0, e);
}

int
admin_made(json_t *it, json_t **out, struct err *e)
{
	if (!it)
		return err_set(e, ERR_MEMORY, "no memory for the answer");
	*out = it;
	return 0;
}

int
admin_unpack(json_t *in, struct err *e, const char *format, ...)
{
	json_error_t why;
	va_list args;
	int rc;

	va_start(args, format);
	rc = json_vunpack_ex(in, &why, JSON_STRICT, format, args);
	va_end(args);
	return rc < 0 ? err_set(e, ERR_BAD, "the request: %s", why.text) : 0;
}

int
admin_account(const char *text, struct account_id *out, struct err *e)
{
	if (!account_parse(text, out))
		return err_set(
		    e, ERR_BAD, "'%.40s' is no account id (32 hexadecimal digits)", text);
	return 0;
}

int
admin_accounts(json_t *ids, size_t max, struct account_id **out, size_t *n, struct err *e)
{
	size_t count = json_array_size(ids);
	_cleanup_(freep) struct account_id *list = calloc(count + 1, sizeof(*list));

	if (!json_is_array(ids))
		return err_set(e, ERR_BAD, "'accounts' is no list");
	if (count > max)
		return err_set(e, ERR_TOO_BIG, "%zu accounts; at most %zu at once", count, max);
	if (!list)
		return err_set(e, ERR_MEMORY, "no memory for %zu accounts", count);
	for (size_t i = 0; i < count; i++) {
		const char *text = json_string_value(json_array_get(ids, i));

		if (admin_account(text ? text : "", &list[i], e) < 0)
			return -1;
	}
	*out = take(&list);
	*n = count;
	return 0;
}

int
admin_region(struct node *n, const char *name, struct err *e)
{
	struct peer_region known;

	return peers_find(n->peers, name, &known)
	    ? 0
	    : err_set(e, ERR_MISSING, "there is no region %.40s in regions.conf", name);
}

static json_t *
parse_body(struct request *r, struct err *e)
{
	struct span body = request_body(r);
	json_error_t why;
	json_t *in;

	if (!body.len)
		return json_object();
	in = json_loadb((const char *)body.data, body.len, JSON_REJECT_DUPLICATES, &why);
	if (!in)
		err_set(e, ERR_BAD, "the request is not JSON: %s", why.text);
	else if (!json_is_object(in))
		err_set(e, ERR_BAD, "the request is not a JSON object");
	if (json_is_object(in))
		return in;
	json_decref(in);
	return NULL;
}

enum handle
admin_answer(struct request *r, admin_fn *fn)
{
	json_t *in = NULL, *out = NULL;
	struct err e = { 0 };
	int rc = -1;

	if (!r->may_block)
		return HANDLE_AGAIN;
	is_json_short = false;
	if (strcmp(r->method, "POST") != 0)
		err_set(&e, ERR_BAD, "%s: this is to be called with POST", r->method);
	else if ((in = parse_body(r, &e)))
		rc = fn(r, in, &out, &e);
	if (rc == 0)
		answer_json(r, 200, "application/json", out);
	if (is_json_short || (rc == 0 && !out))
		rc = err_set(
		    &e, ERR_MEMORY, "no memory for the answer; what was asked may have been done");
	if (rc < 0) {
		if (e.kind == ERR_INTERNAL || e.kind == ERR_IO || e.kind == ERR_FORGED)
			log_error("call.failed", r->id, "path=%s %s", r->path, e.text);
		problem(r, &e);
	}
	json_decref(in);
	json_decref(out);
	return HANDLE_DONE;
}

enum handle
admin_handle(struct request *r)
{
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (strcmp(r->path, routes[i].path) == 0)
			return admin_answer(r, routes[i].fn);
	err_set(&e, ERR_MISSING, "there is no call %.80s", r->path);
	problem(r, &e);
	return HANDLE_DONE;
}
