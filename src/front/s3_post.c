/* s3_post.c - uploads from browsers' forms (POST Object), signed by their policy.
 *
 * Who asks is said by the form's fields, so they are read before anything else, on a worker; the file
 * behind them then goes the way of every body (s3_put.c), and the fields stand for the headers of a PUT.
 * They are there before the worker is taken (s3_stream_after), since whoever sends them is not known yet.
 * What has been read can be put together again as it came, byte for byte: so the form follows its account
 * to another home at any time.
 *
 * Source: "POST Object" and "Browser-Based Uploads Using POST (AWS Signature Version 4)", Amazon S3 API
 * Reference.
 */
#include "front/s3_private.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/host.h"
#include "front/form.h"
#include "front/post_policy.h"
#include "front/xml.h"

#define PIECE_BYTES  ((size_t)8 << 10)
#define POLICY_BYTES FORM_HEAD_MAX

/* --- the fields --- */

bool
s3_is_form(struct request *r)
{
	static const char type[] = "multipart/form-data";
	const char *value;

	if (strcmp(r->method, "POST") != 0 || r->query[0])
		return false;
	value = request_header(r, "content-type");
	return value && !strncasecmp(value, type, sizeof type - 1);
}

size_t
s3_stream_after(struct request *r)
{
	return s3_is_form(r) ? FORM_HEAD_MAX + 1 : 0;
}

int
s3_refuse_form(struct s3_call *c, struct err *e)
{
	if (e->kind != ERR_BAD && e->kind != ERR_TOO_BIG)
		return -1;
	c->status = 400;
	c->code = e->kind == ERR_BAD ? "MalformedPOSTRequest" : "MaxPostPreDataLengthExceededError";
	return -1;
}

/* Until the file begins; its first bytes may have come already, and stay in the form. */
static int
read_fields(struct s3_call *c, struct err *e)
{
	_cleanup_buf_ struct buf none = BUF_INIT(0);
	char piece[PIECE_BYTES];

	while (form_at(c->form) == FORM_FIELDS) {
		ssize_t n = request_read(c->r, piece, sizeof piece, e);

		if (n <= 0)
			return s3_refuse(
			    c, e, 400, "IncompleteBody", "the form ends before its file");
		if (form_feed(c->form, piece, (size_t)n, &none, e) < 0)
			return s3_refuse_form(c, e);
	}
	return 0;
}

int
s3_form_read(struct s3_call *c, struct err *e)
{
	if (request_length(c->r) == UINT64_MAX)
		return s3_refuse(c, e, 411, "MissingContentLength", "Content-Length is missing");
	c->form = form_open(request_header(c->r, "content-type"), e);
	if (!c->form)
		return s3_refuse_form(c, e);
	if (read_fields(c, e) < 0)
		return -1;
	if (!form_has_file(c->form))
		return s3_refuse(c, e, 400, "InvalidArgument",
		    "POST requires exactly one file upload per request.");
	return 0;
}

/* --- who asks --- */

static int
lacks(struct s3_call *c, const char *name, struct err *e)
{
	return s3_refuse(c, e, 400, "InvalidArgument",
	    "Bucket POST must contain a field named '%s'.  If it is specified, please check the order of the fields.",
	    name);
}

static int
bad_field(struct s3_call *c, const char *text, struct err *e)
{
	return s3_refuse(c, e, 400, "InvalidArgument", "%s", text);
}

int
s3_form_claim(struct s3_call *c, struct err *e)
{
	static const char *const needed[] = { "policy", "x-amz-algorithm", "x-amz-credential",
		"x-amz-date", "x-amz-signature" };
	const struct form *f = c->form;
	struct sign_claim *claim = &c->claim;
	const char *time = form_value(f, "x-amz-date");

	memset(claim, 0, sizeof *claim);
	claim->payload = PAYLOAD_UNSIGNED;
	if (!form_value(f, "policy"))
		return 0;
	if (form_value(f, "AWSAccessKeyId"))
		return s3_refuse(c, e, 400, "InvalidRequest",
		    "forms must be signed with Signature Version 4 (AWS4-HMAC-SHA256)");
	for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
		if (!form_value(f, needed[i]))
			return lacks(c, needed[i], e);
	}
	if (strcmp(form_value(f, "x-amz-algorithm"), "AWS4-HMAC-SHA256") != 0)
		return bad_field(c, "x-amz-algorithm must be AWS4-HMAC-SHA256", e);
	if (!sign_credential_parse(form_value(f, "x-amz-credential"), claim))
		return bad_field(
		    c, "x-amz-credential must be KEY/yyyymmdd/REGION/s3/aws4_request", e);
	if (!sign_time_parse(time, &claim->time_ms) || strncmp(time, claim->date, 8) != 0)
		return bad_field(c,
		    "x-amz-date must look like 20130524T000000Z, on the day of x-amz-credential",
		    e);
	if (!hex_parse(form_value(f, "x-amz-signature"), claim->signature, SHA256_BYTES))
		return bad_field(c, "x-amz-signature must have 64 hexadecimal digits", e);
	return 1;
}

int
s3_form_check(const struct s3_call *c, const char **code, struct err *e)
{
	const char *policy = form_value(c->form, "policy");
	uint8_t should[SHA256_BYTES];

	hmac_sha256(c->signing_key, SHA256_BYTES, policy, strlen(policy), should);
	if (same_secret(should, c->claim.signature, SHA256_BYTES))
		return 0;
	*code = "SignatureDoesNotMatch";
	return err_set(e, ERR_DENIED, "the signature is not the one that the policy should have");
}

/* --- the key --- */

/* Without the folders that some browsers name. */
static const char *
filename(const struct form *f)
{
	const char *name = form_filename(f);

	for (const char *at = name; *at; at++) {
		if (*at == '/' || *at == '\\')
			name = at + 1;
	}
	return name;
}

int
s3_form_key(struct s3_call *c, struct err *e)
{
	static const char word[] = "${filename}";
	_cleanup_buf_ struct buf key = BUF_INIT(FILES_KEY_MAX);
	const char *text = form_value(c->form, "key"), *found;

	if (!text)
		return lacks(c, "key", e);
	for (; (found = strstr(text, word)); text = found + sizeof word - 1) {
		buf_add(&key, text, (size_t)(found - text));
		buf_add_str(&key, filename(c->form));
	}
	buf_add_str(&key, text);
	if (key.failed == ERR_TOO_BIG)
		return s3_refuse(
		    c, e, 400, "KeyTooLongError", "the key is longer than 1,024 bytes");
	if (buf_check(&key, e) < 0)
		return -1;
	if (!key.len)
		return s3_refuse(c, e, 400, "UserKeyMustBeSpecified", "the key is empty");
	if (!s3_is_utf8((const char *)key.data, key.len))
		return s3_refuse(c, e, 400, "InvalidArgument", "the key is not UTF-8");
	memcpy(c->key, buf_str(&key), key.len + 1);
	c->level = LEVEL_KEY;
	return 0;
}

/* --- the policy --- */

#define ADDRESS_SIZE (ACCOUNT_TEXT_SIZE + FILES_BUCKET_MAX + 1)

/* The bucket as the form was posted to it: with an application key the account is a part of that, and what
 * the policy was signed for is one account's bucket. */
static const char *
bucket_address(struct s3_call *c, char out[static ADDRESS_SIZE])
{
	char id[ACCOUNT_TEXT_SIZE];

	account_text(&c->r->account, id);
	snprintf(out, ADDRESS_SIZE, "%s%s%s", c->is_application ? id : "",
	    c->is_application ? "." : "", c->bucket);
	return out;
}

/* The form's fields, the bucket first, and the key as it has become. */
static size_t
collect_fields(
    struct s3_call *c, const char *bucket, struct request_field out[static FORM_FIELDS_MAX + 1])
{
	size_t n, all = 1;
	const struct request_field *f = form_fields(c->form, &n);

	out[0] = (struct request_field){ "bucket", bucket };
	for (size_t i = 0; i < n; i++) {
		if (!strcasecmp(f[i].name, "bucket") && !strcmp(f[i].value, bucket))
			continue;
		out[all] = f[i];
		if (!strcasecmp(f[i].name, "key"))
			out[all].value = c->key;
		all++;
	}
	return all;
}

static int
check_policy(struct s3_call *c, const struct request_field *fields, size_t n, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(POLICY_BYTES);
	const char *policy = form_value(c->form, "policy");
	struct post_sizes sizes;
	int rc = base64_parse(policy, strlen(policy), &text, e);

	if (rc < 0 && e->kind == ERR_BAD)
		return s3_refuse(c, e, 400, "InvalidPolicyDocument",
		    "Invalid Policy: it is not encoded as base64.");
	if (rc < 0 ||
	    post_policy_check(
	        (struct span){ text.data, text.len }, fields, n, host_wall_ms(), &sizes, e) < 0) {
		if (e->kind == ERR_BAD || e->kind == ERR_DENIED) {
			c->status = e->kind == ERR_BAD ? 400 : 403;
			c->code = e->kind == ERR_BAD ? "InvalidPolicyDocument" : "AccessDenied";
		}
		return -1;
	}
	c->form_min = sizes.min;
	c->form_max = sizes.max;
	return 0;
}

uint64_t
s3_form_least(const struct s3_call *c)
{
	uint64_t all = request_length(c->r), others = form_before(c->form).len + FORM_HEAD_MAX;

	return all > others ? all - others : 0;
}

/* --- the fields as headers --- */

struct shown {
	struct request_field fields[FORM_FIELDS_MAX + 1];
	size_t n;
	struct buf tags;
};

static void
shown_free(struct shown *s)
{
	buf_free(&s->tags);
}

static bool
is_header_name(const char *s)
{
	return s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")] ==
	    '\0';
}

/* What would be the headers of a PUT: all but the key. Names of other forms than a header's ask for nothing. */
static int
show_fields(struct s3_call *c, struct shown *s, struct err *e)
{
	size_t n;
	const struct request_field *f = form_fields(c->form, &n);

	for (size_t i = 0; i < n; i++) {
		struct request_field *to = &s->fields[s->n];

		if (!strcasecmp(f[i].name, "key") || !strncasecmp(f[i].name, "x-ignore-", 9) ||
		    !is_header_name(f[i].name))
			continue;
		*to = f[i];
		if (!strcasecmp(to->name, "acl"))
			to->name = "x-amz-acl";
		if (!strcasecmp(to->name, "tagging")) {
			if (s3_tags_of_form(c, to->value, &s->tags, e) < 0)
				return -1;
			*to = (struct request_field){ "x-amz-tagging", buf_str(&s->tags) };
		}
		if (s3_has_controls(to->value))
			return s3_refuse(c, e, 400, "InvalidArgument",
			    "the field '%.60s' has control characters in it", to->name);
		s->n++;
	}
	return 0;
}

/* --- the answer --- */

/* TEXT percent-encoded; what is in KEEP and letters, digits, '-', '.', '_', '~' as they are. */
static void
add_encoded(struct buf *b, const char *text, const char *keep)
{
	for (; *text; text++) {
		unsigned char ch = (unsigned char)*text;

		if (ch < 0x80 && (isalnum(ch) || strchr("-._~", ch) || strchr(keep, ch)))
			buf_add_char(b, *text);
		else
			buf_printf(b, "%%%02X", ch);
	}
}

/* Who asks came here over TLS, perhaps that of someone before us. */
void
s3_location(struct s3_call *c, struct buf *b)
{
	const char *host = request_header(c->r, "host");
	char bucket[ADDRESS_SIZE];

	buf_printf(b, "https://%s/", host ? host : "");
	if (!s3_is_virtual(c->r, bucket))
		buf_printf(b, "%s/", bucket_address(c, bucket));
	add_encoded(b, c->key, "/");
}

/* Where the form wants the browser to go then. False: nowhere. */
static bool
add_redirect(struct s3_call *c, const char *etag, struct buf *b)
{
	const char *url = form_value(c->form, "success_action_redirect");
	char bucket[ADDRESS_SIZE];

	if (!url)
		url = form_value(c->form, "redirect");
	if (!url || (strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0) ||
	    s3_has_controls(url) || strchr(url, ' '))
		return false;
	buf_printf(b, "%s%sbucket=", url, strchr(url, '?') ? "&" : "?");
	add_encoded(b, bucket_address(c, bucket), "");
	buf_add_str(b, "&key=");
	add_encoded(b, c->key, "");
	buf_printf(b, "&etag=%%22%s%%22", etag);
	return true;
}

static void
answer_xml(struct s3_call *c, const char *location, const char *etag)
{
	struct buf *b = &c->r->body;
	char bucket[ADDRESS_SIZE];

	buf_add_str(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse>");
	xml_text(b, "Location", location);
	xml_text(b, "Bucket", bucket_address(c, bucket));
	xml_text(b, "Key", c->key);
	xml_printf(b, "ETag", "\"%s\"", etag);
	xml_close(b, "PostResponse");
	s3_answer_xml(c->r, 201);
}

/* The object is there by now: what there is no memory for is left out. */
static void
answer(struct s3_call *c, const char *etag)
{
	_cleanup_buf_ struct buf to = BUF_INIT(0);
	const char *status = form_value(c->form, "success_action_status");

	if (add_redirect(c, etag, &to)) {
		c->r->status = 303;
		response_header(c->r, "Location", "%s", buf_str(&to));
		return;
	}
	buf_clear(&to);
	s3_location(c, &to);
	response_header(c->r, "Location", "%s", buf_str(&to));
	c->r->status = status && !strcmp(status, "200") ? 200 : 204;
	if (status && !strcmp(status, "201"))
		answer_xml(c, buf_str(&to), etag);
}

/* --- all together --- */

int
s3_post_object(struct s3_call *c, struct err *e)
{
	_cleanup_(object_info_free) struct object_info info = { 0 };
	_cleanup_(shown_free) struct shown shown = { .tags = BUF_INIT(0) };
	struct request_field fields[FORM_FIELDS_MAX + 1];
	char bucket[ADDRESS_SIZE];
	int rc;

	if (!c->form)
		return s3_refuse(c, e, 412, "PreconditionFailed",
		    "Bucket POST must be of the enclosure-type multipart/form-data");
	if (check_policy(c, fields, collect_fields(c, bucket_address(c, bucket), fields), e) < 0 ||
	    show_fields(c, &shown, e) < 0)
		return -1;
	request_show(c->r, shown.fields, shown.n);
	rc = s3_put_stored(c, &info, e);
	request_show(c->r, NULL, 0);
	if (rc == 0)
		answer(c, info.etag);
	return rc;
}

/* --- passing it on --- */

static ssize_t
from_span(struct span s, uint64_t at, void *p, size_t n)
{
	size_t left = at < s.len ? s.len - (size_t)at : 0;

	n = n < left ? n : left;
	if (n)
		memcpy(p, s.data + at, n);
	return (ssize_t)n;
}

static ssize_t
read_again(void *arg, uint64_t at, void *p, size_t n, struct err *e)
{
	struct s3_call *c = arg;
	struct span before = form_before(c->form);

	if (at < before.len)
		return from_span(before, at, p, n);
	at -= before.len;
	if (c->upload)
		c->carried = upload_bytes(c->upload);
	if (at < c->carried)
		return s3_carry(c, at, p, n, e);
	return from_span(form_behind(c->form), at - c->carried, p, n);
}

void
s3_form_again(struct s3_call *c)
{
	request_read_again(c->r, read_again, c);
}
