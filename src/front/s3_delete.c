/* s3_delete.c - removing objects, one or up to a thousand. */
#include "front/s3_private.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/refused.h"
#include "front/xml.h"

#define KEYS_MAX 1000

/* S3's code of one that was not removed, and the status where it is the only one. */
static const char *
removal_code(const struct removal *r, unsigned *status)
{
	*status = 400;
	switch (r->err.kind) {
	case ERR_TOO_BIG:
		return "KeyTooLongError";
	case ERR_BAD:
		return "InvalidArgument";
	case ERR_STALE:
		*status = 412;
		return "PreconditionFailed";
	case ERR_DENIED:
		*status = 403;
		return "AccessDenied";
	case ERR_FULL:
		*status = 507;
		return "InsufficientStorage";
	default:
		*status = 500;
		return "InternalError";
	}
}

/* A condition that is not looked at would remove what the client wanted kept. */
int
s3_removal_check(struct s3_call *c, struct err *e)
{
	static const char *const names[] = { "x-amz-if-match-last-modified-time",
		"x-amz-if-match-size", "x-amz-if-match-initiated-time" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (request_header(c->r, names[i]))
			return s3_refuse(c, e, 501, "NotImplemented",
			    "removing on the condition %s is not implemented", names[i]);
	}
	return 0;
}

static int
remove_within_gate(struct s3_call *c, struct removal *r, size_t n, struct err *e)
{
	int rc;

	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = files_remove_many(&c->files, c->bucket, r, n, e);
	s3_write_end(c);
	return rc;
}

int
s3_delete_object(struct s3_call *c, struct err *e)
{
	char etags[2][80];
	struct removal r = {
		.key = c->key,
		.version = request_arg(c->r, "versionId"),
		.condition.if_match = s3_write_condition(c->r, etags).if_match,
		.may_bypass = s3_may_bypass(c),
	};
	const char *code;
	unsigned status;

	if (s3_removal_check(c, e) < 0 || remove_within_gate(c, &r, 1, e) < 0)
		return -1;
	if (r.err.kind) {
		code = removal_code(&r, &status);
		if (status < 500)
			return s3_refuse(c, e, status, code, "%s", r.err.text);
		*e = r.err;
		return -1;
	}
	c->r->status = 204;
	if (r.found[0])
		response_header(c->r, "x-amz-version-id", "%s", r.found);
	if (r.is_marker)
		response_header(c->r, "x-amz-delete-marker", "true");
	return 0;
}

struct key_list {
	struct removal r[KEYS_MAX];
	size_t n;
	/* The <Object> that is open. */
	char *key, *version, *etag;
	bool is_quiet, has_condition;
};

static void
key_list_free(struct key_list *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->n; i++) {
		free((char *)l->r[i].key);
		free((char *)l->r[i].version);
		free((char *)l->r[i].condition.if_match);
	}
	free(l->key);
	free(l->version);
	free(l->etag);
	free(l);
}
CLEANUP(struct key_list, key_list_free)

static int
read_object(struct key_list *l, struct err *e)
{
	if (!l->key || !l->key[0])
		return err_set(e, ERR_BAD, "an Object lacks its Key");
	if (l->n == KEYS_MAX)
		return err_set(e, ERR_BAD, "more than %d keys", KEYS_MAX);
	l->r[l->n++] = (struct removal){ .key = take(&l->key),
		.version = take(&l->version),
		.condition.if_match = take(&l->etag) };
	return 0;
}

static int
keep_text(char **to, const char *text, struct err *e)
{
	free(*to);
	*to = strdup(text);
	return *to ? 0 : err_set(e, ERR_MEMORY, "no memory for keys");
}

static int
keep_etag(char **to, const char *text, struct err *e)
{
	char bare[80];

	s3_etag_bare(text, bare, sizeof bare);
	return keep_text(to, bare, e);
}

static int
read_element(void *arg, const char *path, const char *text, struct err *e)
{
	struct key_list *l = arg;

	if (!strcmp(path, "Delete/Object"))
		return read_object(l, e);
	if (!strcmp(path, "Delete/Quiet")) {
		l->is_quiet = !strcasecmp(text, "true");
		if (!l->is_quiet && strcasecmp(text, "false") != 0)
			return err_set(e, ERR_BAD, "Quiet is neither true nor false");
	}
	if (!strcmp(path, "Delete/Object/Size") || !strcmp(path, "Delete/Object/LastModifiedTime"))
		l->has_condition = true;
	if (!strcmp(path, "Delete/Object/Key"))
		return keep_text(&l->key, text, e);
	if (!strcmp(path, "Delete/Object/VersionId"))
		return keep_text(&l->version, text, e);
	if (!strcmp(path, "Delete/Object/ETag"))
		return keep_etag(&l->etag, text, e);
	return 0;
}

/* What was made or removed, as S3 tells it. */
static void
put_found(struct buf *b, const struct removal *r)
{
	if (r->version)
		xml_text(b, "VersionId", r->version);
	if (!r->is_marker)
		return;
	xml_text(b, "DeleteMarker", "true");
	xml_text(b, "DeleteMarkerVersionId", r->found);
}

static void
put_outcomes(struct s3_call *c, const struct key_list *l)
{
	struct buf *b = &c->r->body;

	buf_add_str(b, S3_XML_ROOT("DeleteResult"));
	for (size_t i = 0; i < l->n; i++) {
		const struct removal *r = &l->r[i];
		unsigned status;

		if (r->err.kind == ERR_NONE && l->is_quiet)
			continue;
		xml_open(b, r->err.kind ? "Error" : "Deleted");
		xml_text(b, "Key", r->key);
		if (r->err.kind) {
			if (r->version)
				xml_text(b, "VersionId", r->version);
			xml_text(b, "Code", removal_code(r, &status));
			xml_text(b, "Message", r->err.text);
			refused_count_err(&r->err);
		} else {
			put_found(b, r);
		}
		xml_close(b, r->err.kind ? "Error" : "Deleted");
	}
	xml_close(b, "DeleteResult");
}

int
s3_delete_many(struct s3_call *c, struct err *e)
{
	static const struct xml_element elements[] = { { "Delete" }, { "Delete/Quiet" },
		{ "Delete/Object", true }, { "Delete/Object/Key" }, { "Delete/Object/VersionId" },
		{ "Delete/Object/ETag" }, { "Delete/Object/LastModifiedTime" },
		{ "Delete/Object/Size" } };
	_cleanup_(key_list_freep) struct key_list *l = calloc(1, sizeof *l);

	if (!l)
		return err_set(e, ERR_MEMORY, "no memory for keys");
	if (xml_read_only(c->body, elements, ARRAY_LEN(elements), read_element, l, e) < 0 || !l->n)
		return s3_refuse(
		    c, e, 400, "MalformedXML", "the body is not a list of 1 to %d keys", KEYS_MAX);
	if (l->has_condition)
		return s3_refuse(c, e, 501, "NotImplemented",
		    "removing on the condition of size or time is not implemented");
	for (size_t i = 0; i < l->n; i++) {
		l->r[i].may_bypass = s3_may_bypass(c);
		if (!key_scope_has_key(&c->scope, c->bucket, l->r[i].key))
			err_set(&l->r[i].err, ERR_DENIED, "the access key is for other keys");
	}
	if (remove_within_gate(c, l->r, l->n, e) < 0)
		return -1;
	put_outcomes(c, l);
	s3_answer_xml(c->r, 200);
	return 0;
}
