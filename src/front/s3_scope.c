/* s3_scope.c - keys that may not do everything: the one place that says what they may.
 *
 * Whether an operation changes something is said in its row in s3.c, what it touches by the table here. One
 * that is not in it is refused to every limited key.
 */
#include "front/s3_private.h"

#include <string.h>

enum touch {
	TOUCH_UNSAID,
	TOUCH_BUCKETS,  /* the list of buckets, which leaves out those beyond the scope itself */
	TOUCH_BUCKET,   /* that a bucket is there, and how it works */
	TOUCH_SETTINGS, /* a bucket as a whole: not with a prefix */
	TOUCH_LISTING,  /* what is below the argument `prefix` */
	TOUCH_KEY,      /* the key in the path; a copy's source asks s3_scope_key besides */
	TOUCH_KEYS,     /* keys in the body: the operation asks for each */
};

static const struct {
	s3_fn *fn;
	enum touch touches;
} table[] = {
	{ s3_list_buckets, TOUCH_BUCKETS },

	{ s3_head_bucket, TOUCH_BUCKET },
	{ s3_get_location, TOUCH_BUCKET },
	{ s3_get_versioning, TOUCH_BUCKET },
	{ s3_get_lock_default, TOUCH_BUCKET },

	{ s3_create_bucket, TOUCH_SETTINGS },
	{ s3_delete_bucket, TOUCH_SETTINGS },
	{ s3_get_bucket_acl, TOUCH_SETTINGS },
	{ s3_put_bucket_acl, TOUCH_SETTINGS },
	{ s3_get_constant, TOUCH_SETTINGS },
	{ s3_get_fixed, TOUCH_SETTINGS },
	{ s3_put_fixed, TOUCH_SETTINGS },
	{ s3_delete_fixed, TOUCH_SETTINGS },
	{ s3_put_versioning, TOUCH_SETTINGS },
	{ s3_put_lock_default, TOUCH_SETTINGS },
	{ s3_get_bucket_tagging, TOUCH_SETTINGS },
	{ s3_put_bucket_tagging, TOUCH_SETTINGS },
	{ s3_delete_bucket_tagging, TOUCH_SETTINGS },
	{ s3_get_cors, TOUCH_SETTINGS },
	{ s3_put_cors, TOUCH_SETTINGS },
	{ s3_delete_cors, TOUCH_SETTINGS },
	{ s3_get_lifecycle, TOUCH_SETTINGS },
	{ s3_put_lifecycle, TOUCH_SETTINGS },
	{ s3_delete_lifecycle, TOUCH_SETTINGS },

	{ s3_list_v1, TOUCH_LISTING },
	{ s3_list_v2, TOUCH_LISTING },
	{ s3_list_versions, TOUCH_LISTING },
	{ s3_multipart_uploads, TOUCH_LISTING },

	{ s3_get_object, TOUCH_KEY },
	{ s3_get_attributes, TOUCH_KEY },
	{ s3_get_object_acl, TOUCH_KEY },
	{ s3_put_object_acl, TOUCH_KEY },
	{ s3_put_object, TOUCH_KEY },
	{ s3_post_object, TOUCH_KEY },
	{ s3_copy_object, TOUCH_KEY },
	{ s3_delete_object, TOUCH_KEY },
	{ s3_get_tagging, TOUCH_KEY },
	{ s3_put_tagging, TOUCH_KEY },
	{ s3_delete_tagging, TOUCH_KEY },
	{ s3_get_retention, TOUCH_KEY },
	{ s3_put_retention, TOUCH_KEY },
	{ s3_get_hold, TOUCH_KEY },
	{ s3_put_hold, TOUCH_KEY },
	{ s3_multipart_begin, TOUCH_KEY },
	{ s3_multipart_parts, TOUCH_KEY },
	{ s3_multipart_complete, TOUCH_KEY },
	{ s3_multipart_abort, TOUCH_KEY },
	{ s3_upload_part, TOUCH_KEY },
	{ s3_copy_part, TOUCH_KEY },

	{ s3_delete_many, TOUCH_KEYS },
};

static enum touch
touch_of(const struct s3_operation *o)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].fn == o->fn)
			return table[i].touches;
	return TOUCH_UNSAID;
}

const char *
s3_scope_word(const struct s3_operation *o)
{
	static const char *const words[] = {
		[TOUCH_UNSAID] = "other",
		[TOUCH_BUCKETS] = "buckets",
		[TOUCH_BUCKET] = "bucket",
		[TOUCH_SETTINGS] = "settings",
		[TOUCH_LISTING] = "listing",
		[TOUCH_KEY] = "object",
		[TOUCH_KEYS] = "objects",
	};

	return words[touch_of(o)];
}

bool
s3_scope_knows(const struct s3_operation *o)
{
	return touch_of(o) != TOUCH_UNSAID;
}

static int
refuse(struct s3_call *c, struct err *e, const char *why)
{
	return s3_refuse(c, e, 403, "AccessDenied", "the access key %s", why);
}

/* One that only compares what is asked for with what there is, is a change of the client's all the same. */
static bool
is_read(const struct s3_operation *o)
{
	return !o->changes && (!strcmp(o->method, "GET") || !strcmp(o->method, "HEAD"));
}

const char *
s3_scope_refusal(const struct key_scope *s, const struct s3_operation *o, const char *bucket,
    const char *key, const char *prefix)
{
	enum touch touches = touch_of(o);
	const char *within = touches == TOUCH_KEY ? key : touches == TOUCH_LISTING ? prefix : NULL;

	if (!key_scope_is_limited(s))
		return NULL;
	if (s->is_read_only && !is_read(o))
		return "may only read";
	if (touches == TOUCH_UNSAID)
		return "may not do this";
	if (touches == TOUCH_BUCKETS)
		return NULL;
	if (!key_scope_has_bucket(s, bucket))
		return "is for other buckets";
	if (touches == TOUCH_SETTINGS && s->prefix[0])
		return "is for a part of the bucket only";
	if (within && !key_scope_has_key(s, bucket, within))
		return touches == TOUCH_KEY ? "is for another part of the bucket"
		                            : "lists only with a prefix within its own";
	return NULL;
}

int
s3_scope_check(struct s3_call *c, struct err *e)
{
	const char *why;

	if (!key_scope_is_limited(&c->scope))
		return 0;
	why = s3_scope_refusal(&c->scope, c->op, c->bucket, c->key, s3_arg(c->r, "prefix"));
	return why ? refuse(c, e, why) : 0;
}

bool
s3_scope_has_bucket(const struct s3_call *c, const char *bucket)
{
	return key_scope_has_bucket(&c->scope, bucket);
}

int
s3_scope_key(struct s3_call *c, const char *bucket, const char *key, struct err *e)
{
	return key_scope_has_key(&c->scope, bucket, key)
	    ? 0
	    : refuse(c, e, "is for another bucket, or another part of it");
}
