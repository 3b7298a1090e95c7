/* s3_delete.c - removing objects, one or up to a thousand. */
#include "front/s3_private.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "front/xml.h"

#define KEYS_MAX 1000

/* A condition that is not looked at would remove what the client wanted kept. */
static int
refuse_conditions(struct s3_call *c, struct err *e)
{
	static const char *const names[] = { "if-match", "x-amz-if-match-last-modified-time",
		"x-amz-if-match-size" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (request_header(c->r, names[i]))
			return s3_refuse(c, e, 501, "NotImplemented",
			    "removing on condition is not implemented");
	}
	return 0;
}

int
s3_delete_object(struct s3_call *c, struct err *e)
{
	int rc;

	if (refuse_conditions(c, e) < 0 || s3_write_begin(c, e) < 0)
		return -1;
	rc = files_remove(&c->files, c->bucket, c->key, e);
	s3_write_end(c);
	if (rc < 0)
		return -1;
	c->r->status = 204;
	return 0;
}

struct key_list {
	char *keys[KEYS_MAX];
	struct err errs[KEYS_MAX];
	size_t n;
	char *now; /* the <Object> that is open */
	bool is_quiet, has_version, has_condition;
};

static void
key_list_free(struct key_list *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->n; i++)
		free(l->keys[i]);
	free(l->now);
	free(l);
}
CLEANUP(struct key_list, key_list_free)

static int
read_object(struct key_list *l, struct err *e)
{
	if (!l->now || !l->now[0])
		return err_set(e, ERR_BAD, "an Object lacks its Key");
	if (l->n == KEYS_MAX)
		return err_set(e, ERR_BAD, "more than %d keys", KEYS_MAX);
	l->keys[l->n++] = take(&l->now);
	return 0;
}

static int
read_element(void *arg, const char *path, const char *text, struct err *e)
{
	struct key_list *l = arg;

	if (!strcmp(path, "Delete/Object"))
		return read_object(l, e);
	if (!strcmp(path, "Delete/Quiet"))
		l->is_quiet = !strcasecmp(text, "true");
	if (!strcmp(path, "Delete/Object/VersionId") && strcmp(text, "null") != 0)
		l->has_version = true;
	if (!strcmp(path, "Delete/Object/ETag") || !strcmp(path, "Delete/Object/Size") ||
	    !strcmp(path, "Delete/Object/LastModifiedTime"))
		l->has_condition = true;
	if (!strcmp(path, "Delete/Object/Key")) {
		free(l->now);
		l->now = strdup(text);
		if (!l->now)
			return err_set(e, ERR_MEMORY, "no memory for keys");
	}
	return 0;
}

static void
put_outcomes(struct s3_call *c, const struct key_list *l)
{
	struct buf *b = &c->r->body;

	buf_add_str(b, S3_XML_ROOT("DeleteResult"));
	for (size_t i = 0; i < l->n; i++) {
		const struct err *e = &l->errs[i];

		if (e->kind == ERR_NONE && l->is_quiet)
			continue;
		xml_open(b, e->kind ? "Error" : "Deleted");
		xml_text(b, "Key", l->keys[i]);
		if (e->kind) {
			xml_text(b, "Code",
			    strlen(l->keys[i]) > FILES_KEY_MAX ? "KeyTooLongError"
			                                       : "InternalError");
			xml_text(b, "Message", "the object was not removed");
		}
		xml_close(b, e->kind ? "Error" : "Deleted");
	}
	xml_close(b, "DeleteResult");
}

int
s3_delete_many(struct s3_call *c, struct err *e)
{
	_cleanup_(key_list_freep) struct key_list *l = calloc(1, sizeof *l);
	int rc;

	if (!l)
		return err_set(e, ERR_MEMORY, "no memory for keys");
	if (xml_read(c->body, read_element, l, e) < 0 || !l->n)
		return s3_refuse(
		    c, e, 400, "MalformedXML", "the body is not a list of 1 to %d keys", KEYS_MAX);
	if (l->has_version || l->has_condition)
		return s3_refuse(c, e, 501, "NotImplemented",
		    "removing versions or on condition is not implemented");
	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = files_remove_many(
	    &c->files, c->bucket, (const char *const *)l->keys, l->n, l->errs, e);
	s3_write_end(c);
	if (rc < 0)
		return -1;
	put_outcomes(c, l);
	s3_answer_xml(c->r, 200);
	return 0;
}
