/* s3_error.c - errors in S3's form. */
#include "front/s3_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/refused.h"
#include "front/xml.h"

static const struct form {
	unsigned status;
	const char *code;
	bool is_ours; /* the text is for our log, not for the client */
} forms[ERR_KINDS] = {
	[ERR_NONE] = { 500, "InternalError", true },
	[ERR_INTERNAL] = { 500, "InternalError", true },
	[ERR_USAGE] = { 500, "InternalError", true },
	[ERR_BAD] = { 400, "InvalidArgument", false },
	[ERR_TOO_BIG] = { 400, "EntityTooLarge", false },
	[ERR_MISSING] = { 404, "NoSuchKey", false },
	[ERR_EXISTS] = { 409, "BucketAlreadyOwnedByYou", false },
	[ERR_DENIED] = { 403, "AccessDenied", false },
	[ERR_CONSENT] = { 403, "AccessDenied", false },
	[ERR_BUSY] = { 503, "SlowDown", false },
	[ERR_STALE] = { 503, "ServiceUnavailable", true },
	[ERR_FORGED] = { 500, "InternalError", true },
	[ERR_IO] = { 500, "InternalError", true },
	[ERR_FULL] = { 507, "InsufficientStorage", true },
	[ERR_MEMORY] = { 503, "ServiceUnavailable", true },
	[ERR_PEER] = { 503, "ServiceUnavailable", true },
	[ERR_TIMEOUT] = { 503, "SlowDown", false },
	[ERR_CANCELLED] = { 503, "ServiceUnavailable", false },
	[ERR_QUOTA] = { 403, "QuotaExceeded", false },
};

/* What the client reads of an error whose own text is for our log. */
static const char *
public_text(unsigned status)
{
	if (status == 507)
		return "There is no space left.";
	return status == 503 ? "The service can't do this at the moment. Try again."
	                     : "Something went wrong inside the service.";
}

void
s3_answer_xml(struct request *r, unsigned status)
{
	r->status = status;
	response_header(r, "Content-Type", "application/xml");
}

/* What S3 says besides in the errors that are about a bucket or a key. A copy's may be about its source. */
static void
put_subject(struct buf *b, struct s3_call *c, const char *code)
{
	static const char *const of_bucket[] = { "NoSuchBucket", "BucketNotEmpty",
		"BucketAlreadyOwnedByYou" };
	static const char *const of_key[] = { "NoSuchKey", "NoSuchVersion" };

	if (!c->op || c->op->is_copy)
		return;
	for (size_t i = 0; i < ARRAY_LEN(of_bucket); i++)
		if (!strcmp(code, of_bucket[i]))
			xml_text(b, "BucketName", c->bucket);
	for (size_t i = 0; i < ARRAY_LEN(of_key); i++)
		if (!strcmp(code, of_key[i]))
			xml_text(b, "Key", c->key);
	if (!strcmp(code, "NoSuchVersion"))
		xml_text(b, "VersionId", s3_arg(c->r, "versionId"));
}

/* RFC 9110, 15.5.6. Where there is such an operation it was asked about a delete marker. */
static const char *
allowed(const struct s3_call *c)
{
	if (c->op)
		return "DELETE";
	return c->level == LEVEL_ROOT ? "GET" : "GET, HEAD, PUT, POST, DELETE";
}

/* C may be NULL. */
static void
answer(struct request *r, struct s3_call *c, unsigned status, const char *code, const char *text)
{
	struct buf *b = &r->body;

	buf_clear(b);
	if (status == 503)
		response_header(r, "Retry-After", "1");
	if (status == 405 && c)
		response_header(r, "Allow", "%s", allowed(c));
	if (status == 304) {
		r->status = status;
		return;
	}
	s3_answer_xml(r, status);
	buf_add_str(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
	xml_text(b, "Code", code);
	xml_text(b, "Message", text);
	if (c)
		put_subject(b, c, code);
	xml_text(b, "Resource", r->path);
	xml_text(b, "RequestId", r->id);
	xml_text(b, "HostId", r->node->region);
	xml_close(b, "Error");
}

void
s3_error(struct request *r, unsigned status, const char *code, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	answer(r, NULL, status, code ? code : "InternalError", text);
}

static void
answer_from(struct request *r, struct s3_call *c, const struct err *e)
{
	const struct form *f = &forms[e->kind < ERR_KINDS ? e->kind : ERR_INTERNAL];

	refused_count_err(e);
	if (f->is_ours && e->kind != ERR_FULL) /* that has its own line, once */
		log_warn("s3.failed", r->id, "kind=%s text=%s", err_word(e->kind), e->text);
	answer(r, c, f->status, f->code, f->is_ours ? public_text(f->status) : e->text);
}

void
s3_error_from(struct request *r, const struct err *e)
{
	answer_from(r, NULL, e);
}

void
s3_fail(struct request *r, unsigned status, const struct err *e)
{
	static const struct {
		unsigned status;
		const char *code;
	} own[] = { { 408, "RequestTimeout" }, { 413, "MaxMessageLengthExceeded" },
		{ 431, "RequestHeaderSectionTooLarge" } };

	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		if (own[i].status == status) {
			s3_error(r, 400, own[i].code, "%s", e->text);
			return;
		}
	}
	s3_error_from(r, e);
	if (status)
		r->status = status;
}

int
s3_refuse(
    struct s3_call *c, struct err *e, unsigned status, const char *code, const char *format, ...)
{
	va_list args;

	if (e->kind == ERR_MEMORY) /* it could not be read, whatever it is */
		return -1;
	va_start(args, format);
	vsnprintf(e->text, sizeof e->text, format, args);
	va_end(args);
	e->kind = ERR_BAD;
	c->status = status;
	c->code = code;
	return -1;
}

/* Which thing is missing: an operation on a key or an upload also fails for want of the bucket. */
static const char *
missing_code(struct s3_call *c)
{
	const char *code = c->op && c->op->missing ? c->op->missing : "NoSuchKey";
	struct err e = { 0 };

	if (c->code)
		return c->code;
	if (!strcmp(code, "NoSuchUpload") && c->pass.is_inside &&
	    files_bucket_find(&c->files, c->bucket, &e) < 0 && e.kind == ERR_MISSING)
		return "NoSuchBucket";
	return code;
}

void
s3_answer_error(struct s3_call *c, const struct err *e)
{
	if (e->kind == ERR_MISSING && !c->status)
		answer(c->r, c, 404, missing_code(c), e->text);
	else if (c->status)
		answer(c->r, c, c->status, c->code ? c->code : "InternalError", e->text);
	else
		answer_from(c->r, c, e);
}
