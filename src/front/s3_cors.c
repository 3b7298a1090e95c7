/* s3_cors.c - a bucket's rules about pages of other origins, and what its answers say by them.
 *
 * The rules are the bucket's setting "cors", as XML. They are looked at before an operation is
 * carried out, since an operation that had to be done again would be done twice, and their lines wait
 * in c->cors for the answer, whatever it is: a page shall be able to read an error too.
 *
 * A preflight has the address of the request that it is about, and no signature. If that is a presigned
 * URL it names the account, and the bucket's rules decide; but for an application's, which may name it in
 * a header. Else nothing tells whose bucket it is, and
 * any page may send: only who holds a key can sign, a browser adds nothing by itself that would count
 * here, and whether the page may read the answer is decided by the rules then.
 */
#include "front/s3_private.h"

#include <string.h>

#include "front/cors.h"
#include "service/access.h"
#include "service/applications.h"

#define SETTING "cors"

/* --- the rules --- */

static int
keep_rule(void *arg, const struct cors_rule *rule, struct err *e)
{
	struct buf *b = arg;

	cors_write(b, rule);
	return buf_check(b, e);
}

static int
read_rules(struct s3_call *c, struct buf *out, struct err *e)
{
	if (c->body.len > CORS_BYTES_MAX)
		return s3_refuse(c, e, 400, "MaxMessageLengthExceeded",
		    "the rules are larger than %zu KiB", CORS_BYTES_MAX >> 10);
	buf_add_str(out, S3_XML_ROOT("CORSConfiguration"));
	if (cors_read(c->body, keep_rule, out, e) == 0) {
		buf_add_str(out, "</CORSConfiguration>");
		return buf_check(out, e);
	}
	if (e->kind != ERR_MEMORY) {
		c->status = 400;
		c->code = e->kind == ERR_DENIED ? "InvalidRequest" : "MalformedXML";
	}
	return -1;
}

int
s3_put_cors(struct s3_call *c, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(8 * CORS_BYTES_MAX);

	if (read_rules(c, &text, e) < 0)
		return -1;
	return s3_setting_put(c, SETTING, (struct span){ text.data, text.len }, e);
}

int
s3_get_cors(struct s3_call *c, struct err *e)
{
	int found = files_setting_get(&c->files, c->bucket, SETTING, &c->r->body, e);

	if (found < 0)
		return -1;
	if (!found)
		return s3_refuse(
		    c, e, 404, "NoSuchCORSConfiguration", "The CORS configuration does not exist");
	s3_answer_xml(c->r, 200);
	return 0;
}

int
s3_delete_cors(struct s3_call *c, struct err *e)
{
	return s3_setting_remove(c, SETTING, e);
}

/* --- what answers say --- */

struct looking {
	struct cors_question q;
	struct buf *lines;
};

static int
take_first(void *arg, const struct cors_rule *rule, struct err *e)
{
	struct looking *l = arg;

	if (!l->lines->len && cors_fits(rule, &l->q))
		cors_answer(l->lines, rule, &l->q);
	return buf_check(l->lines, e);
}

int
s3_cors_look(struct s3_call *c, struct err *e)
{
	_cleanup_buf_ struct buf xml = BUF_INIT(0);
	struct request *r = c->r;
	const char *origin = request_header(r, "origin");
	const char *method = request_header(r, "access-control-request-method");
	struct looking l = { .lines = &c->cors };

	if (!origin || !c->bucket[0])
		return 0;
	l.q = (struct cors_question){ origin, method ? method : r->method,
		request_header(r, "access-control-request-headers") };
	if (files_setting_get(&c->files, c->bucket, SETTING, &xml, e) <= 0)
		return c->files.would_block ? -1 : 0; /* what is wrong, the operation will say */
	if (cors_read((struct span){ xml.data, xml.len }, take_first, &l, e) == 0)
		return 0;
	return e->kind == ERR_MEMORY ? -1 : err_set(e, ERR_FORGED, "stored rules are damaged");
}

void
s3_cors_answer(struct s3_call *c)
{
	if (c->cors.len)
		buf_add(&c->r->headers, c->cors.data, c->cors.len);
}

/* --- preflights --- */

/* Who can sign may send; see above. Not for long, since rules may come that say more. */
static int
answer_for_nobody(struct s3_call *c, const char *origin, const char *method)
{
	struct request *r = c->r;
	const char *headers = request_header(r, "access-control-request-headers");

	r->status = 200;
	response_header(r, "Access-Control-Allow-Origin", "%s", origin);
	response_header(r, "Access-Control-Allow-Methods", "%s", method);
	if (headers)
		response_header(r, "Access-Control-Allow-Headers", "%s", headers);
	response_header(r, "Access-Control-Max-Age", "60");
	response_header(
	    r, "Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method");
	return 0;
}

/* The access key of the presigned URL that is asked about; "" if it is none. */
static void
key_asked_about(struct request *r, char *out, size_t size)
{
	const char *credential = request_arg(r, "X-Amz-Credential");
	size_t n = credential ? strcspn(credential, "/") : 0;

	out[0] = '\0';
	if (n && n < size) {
		memcpy(out, credential, n);
		out[n] = '\0';
	}
}

int
s3_preflight_begin(struct s3_call *c, bool *is_answered, struct err *e)
{
	struct request *r = c->r;
	const char *origin = request_header(r, "origin");
	const char *method = request_header(r, "access-control-request-method");
	char key[sizeof r->access_key];
	const char *code;

	*is_answered = false;
	if (!origin)
		return s3_refuse(c, e, 400, "BadRequest",
		    "Insufficient information. Origin request header needed.");
	if (!method || !*method)
		return s3_refuse(c, e, 400, "BadRequest",
		    "Insufficient information. Access-Control-Request-Method header needed.");
	if (!request_arg(r, "X-Amz-Credential")) {
		*is_answered = true;
		return answer_for_nobody(c, origin, method);
	}
	key_asked_about(r, key, sizeof key);
	code = s3_place(r, &c->level, c->bucket, c->key);
	if (code || c->level == LEVEL_ROOT)
		return s3_preflight_refuse(c, e);
	memcpy(r->access_key, key, sizeof key);
	c->is_application = application_key(key);
	if (c->is_application && s3_application_account(c, e) == 0)
		return 0;
	if (c->is_application) { /* its account is in a header, of which a preflight has the name alone */
		*is_answered = true;
		return answer_for_nobody(c, origin, method);
	}
	if (!access_account(key, &r->account))
		return s3_preflight_refuse(c, e);
	c->files.account = r->account;
	return 0;
}

int
s3_preflight_refuse(struct s3_call *c, struct err *e)
{
	return s3_refuse(c, e, 403, "AccessForbidden",
	    "CORSResponse: this bucket has no rule that allows this request from there.");
}
