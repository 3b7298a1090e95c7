/* s3_acl.c - access control lists, as S3 has them where the bucket's owner owns everything
 * (BucketOwnerEnforced): they can be read, say that the owner may do everything, and can be set to that.
 */
#include "front/s3_private.h"

#include <string.h>

#include "front/xml.h"

static void
answer_acl(struct s3_call *c)
{
	struct buf *b = &c->r->body;
	char id[ACCOUNT_TEXT_SIZE];

	account_text(&c->r->account, id);
	buf_add_str(b, S3_XML_ROOT("AccessControlPolicy"));
	s3_put_owner(c, "Owner");
	buf_printf(b,
	    "<AccessControlList><Grant>"
	    "<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\""
	    " xsi:type=\"CanonicalUser\"><ID>%s</ID><DisplayName>%s</DisplayName></Grantee>"
	    "<Permission>FULL_CONTROL</Permission></Grant></AccessControlList>"
	    "</AccessControlPolicy>",
	    id, id);
	s3_answer_xml(c->r, 200);
}

int
s3_get_bucket_acl(struct s3_call *c, struct err *e)
{
	if (files_bucket_find(&c->files, c->bucket, e) < 0)
		return -1;
	answer_acl(c);
	return 0;
}

int
s3_get_object_acl(struct s3_call *c, struct err *e)
{
	_cleanup_(object_closep) struct object *o = s3_object(c, false, e);

	if (!o)
		return -1;
	answer_acl(c);
	s3_answer_version(c->r, "x-amz-version-id", object_info(o));
	return 0;
}

/* --- setting them to what they are --- */

struct policy {
	char owner[ACCOUNT_TEXT_SIZE]; /* the account, as everything has to be */
	unsigned grants, owners;
	bool is_other;
};

static int
read_policy(void *arg, const char *path, const char *text, struct err *e)
{
	static const char grant[] = "AccessControlPolicy/AccessControlList/Grant";
	struct policy *p = arg;
	const char *leaf = !strncmp(path, grant, sizeof grant - 1) ? path + sizeof grant - 1 : NULL;

	if (strncmp(path, "AccessControlPolicy", 19) != 0)
		return err_set(e, ERR_BAD, "the body is no AccessControlPolicy");
	if (leaf && !*leaf)
		p->grants++;
	if (!strcmp(path, "AccessControlPolicy/Owner"))
		p->owners++;
	if (!strcmp(path, "AccessControlPolicy/Owner/ID") || (leaf && !strcmp(leaf, "/Grantee/ID")))
		p->is_other |= strcmp(text, p->owner) != 0;
	else if (leaf && !strcmp(leaf, "/Permission"))
		p->is_other |= strcmp(text, "FULL_CONTROL") != 0;
	else if (leaf && (!strcmp(leaf, "/Grantee/URI") || !strcmp(leaf, "/Grantee/EmailAddress")))
		p->is_other = true;
	return 0;
}

/* Of the request's two ways to say an ACL, the one that is used says what is so anyway. */
static int
check_acl(struct s3_call *c, struct err *e)
{
	struct policy p = { .grants = 0 };

	if (s3_headers_check(c, e) < 0)
		return -1;
	if (!c->body.len)
		return request_header(c->r, "x-amz-acl")
		    ? 0
		    : s3_refuse(c, e, 400, "MissingSecurityHeader",
		          "neither x-amz-acl nor a body says which ACL it shall be");
	account_text(&c->r->account, p.owner);
	if (xml_read(c->body, read_policy, &p, e) < 0) {
		if (e->kind == ERR_MEMORY)
			return -1;
		return s3_refuse(c, e, 400, "MalformedACLError", "the body is no ACL");
	}
	if (p.owners != 1)
		return s3_refuse(c, e, 400, "MalformedACLError", "the ACL lacks its Owner");
	if (p.is_other || p.grants != 1)
		return s3_refuse(c, e, 400, "AccessControlListNotSupported",
		    "the only ACL here is that the owner has full control");
	return 0;
}

int
s3_put_bucket_acl(struct s3_call *c, struct err *e)
{
	if (check_acl(c, e) < 0 || files_bucket_find(&c->files, c->bucket, e) < 0)
		return -1;
	c->r->status = 200;
	return 0;
}

int
s3_put_object_acl(struct s3_call *c, struct err *e)
{
	_cleanup_(object_closep) struct object *o = NULL;

	if (check_acl(c, e) < 0)
		return -1;
	o = s3_object(c, false, e);
	if (!o)
		return -1;
	c->r->status = 200;
	s3_answer_version(c->r, "x-amz-version-id", object_info(o));
	return 0;
}
