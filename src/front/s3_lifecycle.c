/* s3_lifecycle.c - a bucket's lifecycle rules; what they do is service/lifecycle.h's. */
#include "front/s3_private.h"
#include "base/host.h"
#include "front/s3_rules.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define RULE_TEXT_SIZE (3 * RULES_ID_MAX + 1)

/* A rule's id may have any characters. */
static void
id_text(const char *from, char id[static RULE_TEXT_SIZE])
{
	char *to = id;

	for (const uint8_t *p = (const uint8_t *)from; *p && to < id + RULE_TEXT_SIZE - 3; p++)
		if (isalnum(*p) || strchr("-._~", *p))
			*to++ = (char)*p;
		else
			to += snprintf(to, 4, "%%%02X", (unsigned)*p);
	*to = '\0';
}

void
s3_answer_expiry(struct request *r, const struct object_info *i)
{
	char date[32], id[RULE_TEXT_SIZE];

	if (!i->expires_ms)
		return;
	id_text(i->expires_by, id);
	host_date_text(i->expires_ms, date);
	response_header(r, "x-amz-expiration", "expiry-date=\"%s\", rule-id=\"%s\"", date, id);
}

void
s3_answer_upload_end(struct request *r, const struct multipart_end *end)
{
	char date[32], id[RULE_TEXT_SIZE];

	if (!end->when_ms)
		return;
	id_text(end->by, id);
	host_date_text(end->when_ms, date);
	response_header(r, "x-amz-abort-date", "%s", date);
	response_header(r, "x-amz-abort-rule-id", "%s", id);
}

int
s3_get_lifecycle(struct s3_call *c, struct err *e)
{
	_cleanup_buf_ struct buf stored = BUF_INIT(RULES_BYTES_MAX);
	int found = files_setting_get(&c->files, c->bucket, FILES_RULES, &stored, e);

	if (found < 0)
		return -1;
	if (!found)
		return s3_refuse(c, e, 404, "NoSuchLifecycleConfiguration",
		    "the bucket has no lifecycle configuration");
	if (s3_rules_write((struct span){ stored.data, stored.len }, &c->r->body, e) < 0)
		return -1;
	s3_answer_xml(c->r, 200);
	return 0;
}

int
s3_put_lifecycle(struct s3_call *c, struct err *e)
{
	_cleanup_buf_ struct buf stored = BUF_INIT(RULES_BYTES_MAX);
	const char *code = NULL;
	int rc;

	if (s3_rules_read(c->body, &stored, &code, e) < 0) {
		if (code) {
			c->status = !strcmp(code, "NotImplemented") ? 501 : 400;
			c->code = code;
		}
		return -1;
	}
	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = files_rules_put(&c->files, c->bucket, (struct span){ stored.data, stored.len }, e);
	s3_write_end(c);
	if (rc < 0)
		return -1;
	c->r->status = 200;
	return 0;
}

int
s3_delete_lifecycle(struct s3_call *c, struct err *e)
{
	int rc;

	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = files_rules_remove(&c->files, c->bucket, e);
	s3_write_end(c);
	if (rc < 0)
		return -1;
	c->r->status = 204;
	return 0;
}
