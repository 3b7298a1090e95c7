/* s3_lock.c - object lock: the bucket's default, retention and legal hold of versions. */
#include "front/s3_private.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/host.h"
#include "front/xml.h"

#define DAYS_MAX  36500u
#define YEARS_MAX 100u
#define PREFIX    "x-amz-object-lock-"

static const char *const modes[] = {
	[LOCK_GOVERNANCE] = "GOVERNANCE",
	[LOCK_COMPLIANCE] = "COMPLIANCE",
};

static bool
mode_parse(const char *text, enum files_lock_mode *out)
{
	for (unsigned i = LOCK_GOVERNANCE; i <= LOCK_COMPLIANCE; i++)
		if (!strcmp(text, modes[i])) {
			*out = i;
			return true;
		}
	return false;
}

bool
s3_time_parse(const char *text, uint64_t *out_ms)
{
	struct tm tm = { 0 };
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	time_t t;

	if (!end)
		return false;
	if (*end == '.')
		end += 1 + strspn(end + 1, "0123456789");
	if (strcmp(end, "Z") != 0 && strcmp(end, "+00:00") != 0)
		return false;
	t = timegm(&tm);
	if (t < 0)
		return false;
	*out_ms = (uint64_t)t * 1000;
	return true;
}

static int
check_future(struct s3_call *c, uint64_t ms, struct err *e)
{
	if (ms > host_wall_ms())
		return 0;
	return s3_refuse(
	    c, e, 400, "InvalidArgument", "the retain until date must be in the future");
}

int
s3_lock_of_headers(struct s3_call *c, struct files_lock *l, bool *has_lock, struct err *e)
{
	const char *mode = request_header(c->r, PREFIX "mode");
	const char *until = request_header(c->r, PREFIX "retain-until-date");
	const char *hold = request_header(c->r, PREFIX "legal-hold");

	*l = (struct files_lock){ .mode = LOCK_NONE };
	*has_lock = mode || until || hold;
	if (!mode != !until)
		return s3_refuse(c, e, 400, "InvalidArgument",
		    PREFIX "mode and " PREFIX "retain-until-date go together");
	if (mode && !mode_parse(mode, &l->mode))
		return s3_refuse(c, e, 400, "InvalidArgument",
		    PREFIX "mode is neither GOVERNANCE nor COMPLIANCE");
	if (until && !s3_time_parse(until, &l->retain_ms))
		return s3_refuse(c, e, 400, "InvalidArgument",
		    PREFIX "retain-until-date is no time like 2031-04-09T07:52:16Z");
	if (until && check_future(c, l->retain_ms, e) < 0)
		return -1;
	if (hold && strcmp(hold, "ON") != 0 && strcmp(hold, "OFF") != 0)
		return s3_refuse(
		    c, e, 400, "InvalidArgument", PREFIX "legal-hold is neither ON nor OFF");
	l->has_hold = hold != NULL;
	l->is_held = hold && !strcmp(hold, "ON");
	return 0;
}

int
s3_refuse_lock(struct s3_call *c, bool has_lock, struct err *e)
{
	if (has_lock && e->kind == ERR_BAD && !c->code) {
		c->status = 400;
		c->code = "InvalidRequest";
	}
	return -1;
}

bool
s3_may_bypass(const struct s3_call *c)
{
	const char *value = request_header(c->r, "x-amz-bypass-governance-retention");

	return value && !strcasecmp(value, "true") && !key_scope_is_limited(&c->scope);
}

void
s3_lock_answer(struct request *r, const struct files_lock *l)
{
	char when[25];

	if (l->mode != LOCK_NONE) {
		host_time_text(l->retain_ms, when);
		response_header(r, PREFIX "mode", "%s", modes[l->mode]);
		response_header(r, PREFIX "retain-until-date", "%s", when);
	}
	if (l->has_hold)
		response_header(r, PREFIX "legal-hold", "%s", l->is_held ? "ON" : "OFF");
}

/* --- the bucket's default --- */

int
s3_get_lock_default(struct s3_call *c, struct err *e)
{
	struct files_lock_default d;
	struct buf *b = &c->r->body;

	if (files_lock_default(&c->files, c->bucket, &d, e) < 0)
		return e->kind == ERR_BAD
		    ? s3_refuse(c, e, 404, "ObjectLockConfigurationNotFoundError",
		          "object lock configuration does not exist for this bucket")
		    : -1;
	buf_add_str(b, S3_XML_ROOT("ObjectLockConfiguration"));
	xml_text(b, "ObjectLockEnabled", "Enabled");
	if (d.mode != LOCK_NONE) {
		xml_open(b, "Rule");
		xml_open(b, "DefaultRetention");
		xml_text(b, "Mode", modes[d.mode]);
		xml_printf(b, d.is_years ? "Years" : "Days", "%u", d.days);
		xml_close(b, "DefaultRetention");
		xml_close(b, "Rule");
	}
	xml_close(b, "ObjectLockConfiguration");
	s3_answer_xml(c->r, 200);
	return 0;
}

struct reading {
	struct files_lock_default d;
	struct files_lock l;
	bool is_enabled, has_days, has_years, has_mode, has_time, has_status, is_bad, is_outside;
};

static void
read_days(struct reading *r, const char *text, unsigned max)
{
	struct err e;

	r->is_bad |= !*text || s3_number(text, "days", 0, max + 1, &r->d.days, &e) < 0;
	r->is_outside |= !r->d.days || r->d.days > max;
}

static int
read_default(void *arg, const char *path, const char *text, struct err *e)
{
	struct reading *r = arg;

	(void)e;
	if (!strcmp(path, "ObjectLockConfiguration/ObjectLockEnabled"))
		r->is_enabled = !strcmp(text, "Enabled");
	if (!strcmp(path, "ObjectLockConfiguration/Rule"))
		r->is_bad |= !r->has_mode;
	if (!strcmp(path, "ObjectLockConfiguration/Rule/DefaultRetention/Mode")) {
		r->has_mode = true;
		r->is_bad |= !mode_parse(text, &r->d.mode);
	}
	if (!strcmp(path, "ObjectLockConfiguration/Rule/DefaultRetention/Days")) {
		r->has_days = true;
		read_days(r, text, DAYS_MAX);
	}
	if (!strcmp(path, "ObjectLockConfiguration/Rule/DefaultRetention/Years")) {
		r->has_years = r->d.is_years = true;
		read_days(r, text, YEARS_MAX);
	}
	return 0;
}

int
s3_put_lock_default(struct s3_call *c, struct err *e)
{
	static const struct xml_element elements[] = { { "ObjectLockConfiguration" },
		{ "ObjectLockConfiguration/ObjectLockEnabled" }, { "ObjectLockConfiguration/Rule" },
		{ "ObjectLockConfiguration/Rule/DefaultRetention" },
		{ "ObjectLockConfiguration/Rule/DefaultRetention/Mode" },
		{ "ObjectLockConfiguration/Rule/DefaultRetention/Days" },
		{ "ObjectLockConfiguration/Rule/DefaultRetention/Years" } };
	struct reading r = { .is_bad = false };
	int rc;

	if (xml_read_only(c->body, elements, ARRAY_LEN(elements), read_default, &r, e) < 0 ||
	    r.is_bad || !r.is_enabled || (r.has_days && r.has_years) ||
	    r.has_mode != (r.has_days || r.has_years))
		return s3_refuse(c, e, 400, "MalformedXML",
		    "the body is no ObjectLockConfiguration: Enabled, and a mode with days or years");
	if (r.is_outside)
		return s3_refuse(c, e, 400, "InvalidArgument",
		    "a default retention is of 1 to %u days or 1 to %u years", DAYS_MAX, YEARS_MAX);
	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = files_lock_default_set(&c->files, c->bucket, &r.d, e);
	s3_write_end(c);
	if (rc < 0)
		return e->kind == ERR_BAD
		    ? s3_refuse(c, e, 409, "InvalidBucketState",
		          "versioning must be Enabled on the bucket for object lock")
		    : -1;
	c->r->status = 200;
	return 0;
}

/* --- one version --- */

static int
refuse_version(struct s3_call *c, const struct object_absence *why, struct err *e)
{
	const char *version = request_arg(c->r, "versionId");

	if (e->kind == ERR_MISSING)
		c->code = why->is_bucket ? "NoSuchBucket" : version ? "NoSuchVersion" : "NoSuchKey";
	if (e->kind == ERR_BAD && (why->is_lockless || why->is_marker)) {
		c->status = why->is_lockless ? 400 : 405;
		c->code = why->is_lockless ? "InvalidRequest" : "MethodNotAllowed";
	}
	return -1;
}

static int
look(struct s3_call *c, struct files_lock *l, struct err *e)
{
	struct object_absence why;

	if (files_lock_get(
	        &c->files, c->bucket, c->key, request_arg(c->r, "versionId"), l, &why, e) < 0)
		return refuse_version(c, &why, e);
	return 0;
}

static int
refuse_unset(struct s3_call *c, const char *text, struct err *e)
{
	return s3_refuse(c, e, 404, "NoSuchObjectLockConfiguration", "%s", text);
}

int
s3_get_retention(struct s3_call *c, struct err *e)
{
	struct buf *b = &c->r->body;
	struct files_lock l;
	char when[25];

	if (look(c, &l, e) < 0)
		return -1;
	if (l.mode == LOCK_NONE)
		return refuse_unset(c, "the object has no retention", e);
	host_time_text(l.retain_ms, when);
	buf_add_str(b, S3_XML_ROOT("Retention"));
	xml_text(b, "Mode", modes[l.mode]);
	xml_text(b, "RetainUntilDate", when);
	xml_close(b, "Retention");
	s3_answer_xml(c->r, 200);
	return 0;
}

int
s3_get_hold(struct s3_call *c, struct err *e)
{
	struct buf *b = &c->r->body;
	struct files_lock l;

	if (look(c, &l, e) < 0)
		return -1;
	if (!l.has_hold)
		return refuse_unset(c, "the object never had a legal hold", e);
	buf_add_str(b, S3_XML_ROOT("LegalHold"));
	xml_text(b, "Status", l.is_held ? "ON" : "OFF");
	xml_close(b, "LegalHold");
	s3_answer_xml(c->r, 200);
	return 0;
}

static int
read_one(void *arg, const char *path, const char *text, struct err *e)
{
	struct reading *r = arg;

	(void)e;
	if (!strcmp(path, "Retention/Mode")) {
		r->has_mode = true;
		r->is_bad |= !mode_parse(text, &r->l.mode);
	}
	if (!strcmp(path, "Retention/RetainUntilDate")) {
		r->has_time = true;
		r->is_bad |= !s3_time_parse(text, &r->l.retain_ms);
	}
	if (!strcmp(path, "LegalHold/Status")) {
		r->has_status = true;
		r->l.is_held = !strcmp(text, "ON");
		r->is_bad |= !r->l.is_held && strcmp(text, "OFF") != 0;
	}
	return 0;
}

int
s3_put_retention(struct s3_call *c, struct err *e)
{
	static const struct xml_element elements[] = { { "Retention" }, { "Retention/Mode" },
		{ "Retention/RetainUntilDate" } };
	struct reading r = { .is_bad = false };
	struct object_absence why;
	int rc;

	/* An empty one takes governance away. */
	if (xml_read_only(c->body, elements, ARRAY_LEN(elements), read_one, &r, e) < 0 ||
	    r.is_bad || r.has_mode != r.has_time)
		return s3_refuse(
		    c, e, 400, "MalformedXML", "the body is no Retention with a mode and a time");
	if (r.has_time && check_future(c, r.l.retain_ms, e) < 0)
		return -1;
	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = files_lock_retain(&c->files, c->bucket, c->key, request_arg(c->r, "versionId"), &r.l,
	    s3_may_bypass(c), &why, e);
	s3_write_end(c);
	if (rc < 0)
		return refuse_version(c, &why, e);
	c->r->status = 200;
	return 0;
}

int
s3_put_hold(struct s3_call *c, struct err *e)
{
	static const struct xml_element elements[] = { { "LegalHold" }, { "LegalHold/Status" } };
	struct reading r = { .is_bad = false };
	struct object_absence why;
	int rc;

	if (xml_read_only(c->body, elements, ARRAY_LEN(elements), read_one, &r, e) < 0 ||
	    r.is_bad || !r.has_status)
		return s3_refuse(c, e, 400, "MalformedXML",
		    "the body is no LegalHold with the Status ON or OFF");
	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = files_lock_hold(&c->files, c->bucket, c->key, request_arg(c->r, "versionId"),
	    r.l.is_held, !key_scope_is_limited(&c->scope), &why, e);
	s3_write_end(c);
	if (rc < 0)
		return refuse_version(c, &why, e);
	c->r->status = 200;
	return 0;
}
