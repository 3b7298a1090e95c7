/* s3_object.c - reading objects: whole, in part, on condition. */
#include "front/s3_private.h"

#include <inttypes.h>
#include <string.h>

#include "base/host.h"
#include "base/log.h"
#include "front/xml.h"

/* A large answer under way. The account is not erased here before it is through; where that takes too long,
 * or the account is removed altogether, the answer breaks off. */
struct reading {
	struct node *node;
	struct account_id account;
	struct object *object;
	struct gate_pass pass;
	uint64_t offset, n;
	char id[REQUEST_ID_SIZE];
};

static ssize_t
reading_read(void *arg, uint64_t at, void *p, size_t n)
{
	struct reading *g = arg;
	struct err e = { 0 };
	ssize_t got;

	if (at >= g->n || gate_is_over(g->node, &g->account))
		return -1;
	if (n > g->n - at)
		n = g->n - at;
	got = object_read(g->object, g->offset + at, p, n, &e);
	if (got > 0)
		return got;
	log_error("s3.read", g->id, "kind=%s text=%s", err_word(e.kind),
	    got < 0 ? e.text : "content is shorter than its object");
	return -1;
}

static void
reading_free(void *arg)
{
	struct reading *g = arg;

	object_close(g->object);
	gate_leave(g->node, &g->pass);
	free(g);
}

/* A HEAD answer has the length of a body that nobody reads. */
static ssize_t
nothing_read(void *arg, uint64_t at, void *p, size_t n)
{
	(void)arg, (void)at, (void)p, (void)n;
	return -1;
}

static int
read_small(struct object *o, uint64_t offset, size_t n, struct buf *out, struct err *e)
{
	uint8_t *p = buf_room(out, n);

	if (!p)
		return buf_check(out, e);
	for (size_t done = 0; done < n;) {
		ssize_t got = object_read(o, offset + done, p + done, n - done, e);

		if (got < 0)
			return -1;
		if (!got)
			return err_set(e, ERR_INTERNAL, "content is shorter than its object");
		done += (size_t)got;
	}
	out->len += n;
	return 0;
}

static void
lent_free(void *arg)
{
	object_close(arg);
}

/* The object goes over to the answer if its bytes lie in memory, else they are read into it. */
static int
give_small(struct s3_call *c, struct object **o, uint64_t offset, size_t n, struct err *e)
{
	struct request *r = c->r;
	const uint8_t *p = object_bytes(*o, offset, n);

	if (!p)
		return read_small(*o, offset, n, &r->body, e);
	r->lent = (struct span){ p, n };
	r->lent_arg = take(o);
	r->lent_free = lent_free;
	return 0;
}

/* The object and the pass go over to the answer. */
static void
give_large(struct s3_call *c, struct reading *g, struct object **o, uint64_t offset, uint64_t n)
{
	struct request *r = c->r;

	*g = (struct reading){ .node = r->node,
		.account = r->account,
		.object = take(o),
		.pass = c->pass,
		.offset = offset,
		.n = n };
	memcpy(g->id, r->id, sizeof g->id);
	c->pass.is_inside = false;
	r->read = reading_read;
	r->read_arg = g;
	r->read_free = reading_free;
	r->read_bytes = n;
}

/* N bytes from OFFSET become the body. What can fail comes before the first header. */
static int
give(struct s3_call *c, struct object **o, uint64_t offset, uint64_t n, struct err *e)
{
	const struct object_info *info = object_info(*o); /* whoever has the object */
	struct reading *g = NULL;

	if (n > S3_SMALL_BODY) {
		g = malloc(sizeof *g);
		if (!g)
			return err_set(e, ERR_MEMORY, "no memory for an answer");
	} else if (give_small(c, o, offset, (size_t)n, e) < 0) {
		return -1;
	}
	s3_headers_answer(c->r, info);
	if (g)
		give_large(c, g, o, offset, n);
	return 0;
}

static void
give_head(struct s3_call *c, struct object *o, uint64_t n)
{
	s3_headers_answer(c->r, object_info(o));
	c->r->read = nothing_read;
	c->r->read_bytes = n;
}

/* With If-Range a part is only asked for of this very object. */
static const char *
wanted_range(struct request *r, const struct object_info *i)
{
	const char *range = request_header(r, "range"), *only = request_header(r, "if-range");
	uint64_t when;

	if (!range || !only || s3_etag_in(only, i->etag))
		return range;
	return s3_date_parse(only, &when) && when / 1000 == i->modified_ms / 1000 ? range : NULL;
}

static int
refuse_condition(struct s3_call *c, const struct object_info *i, unsigned status, struct err *e)
{
	if (status == 304) {
		char date[32];

		host_date_text(i->modified_ms, date);
		response_header(c->r, "ETag", "\"%s\"", i->etag);
		response_header(c->r, "Last-Modified", "%s", date);
		c->r->read_bytes = i->size;
	}
	return s3_refuse(c, e, status, status == 304 ? "NotModified" : "PreconditionFailed",
	    "the object does not meet the request's conditions");
}

void
s3_answer_version(struct request *r, const char *name, const struct object_info *i)
{
	if (i->version[0])
		response_header(r, name, "%s", i->version);
}

/* A delete marker can't be had, only its being there. */
static int
refuse_marker(struct s3_call *c, const struct object_info *i, struct err *e)
{
	char date[32];

	host_date_text(i->modified_ms, date);
	response_header(c->r, "x-amz-delete-marker", "true");
	s3_answer_version(c->r, "x-amz-version-id", i);
	response_header(c->r, "Last-Modified", "%s", date);
	return s3_refuse(c, e, 405, "MethodNotAllowed", "that version is a delete marker");
}

struct object *
s3_object(struct s3_call *c, unsigned want, struct err *e)
{
	const char *version = request_arg(c->r, "versionId");
	struct object_absence why;
	_cleanup_(object_closep) struct object *o = object_open_version(
	    &c->files, c->bucket, c->key, version, want, &why, e);

	if (o && object_info(o)->is_marker) {
		refuse_marker(c, object_info(o), e);
		return NULL;
	}
	if (o)
		return take(&o);
	if (why.is_marker) {
		response_header(c->r, "x-amz-delete-marker", "true");
		response_header(c->r, "x-amz-version-id", "%s", why.version);
	}
	if (e->kind == ERR_MISSING)
		c->code = why.is_bucket ? "NoSuchBucket" : version ? "NoSuchVersion" : "NoSuchKey";
	return NULL;
}

/* What of the object is asked for: all, a range or a part. */
struct wanted {
	enum s3_range range;
	uint64_t offset, n;
	unsigned number; /* of the part, or 0 */
	struct s3_part part;
};

static int
want_part(struct s3_call *c, struct wanted *w, struct err *e)
{
	w->number = 0;
	if (!c->r->query[0] || !request_arg(c->r, "partNumber"))
		return 0;
	if (request_header(c->r, "range"))
		return s3_refuse(c, e, 400, "InvalidRequest",
		    "Cannot specify both Range header and partNumber query parameter");
	return s3_part_number(c, &w->number, e);
}

static int
find_wanted(struct s3_call *c, const struct object *o, struct wanted *w, struct err *e)
{
	const struct object_info *info = object_info(o);

	if (w->number) {
		if (s3_part_find(c, w->number, o, &w->part, e) < 0)
			return -1;
		w->offset = w->part.offset;
		w->n = w->part.n;
		w->range = w->n ? RANGE_PART : RANGE_ALL;
		return 0;
	}
	w->range = s3_range(wanted_range(c->r, info), info->size, &w->offset, &w->n);
	if (w->range != RANGE_OUTSIDE)
		return 0;
	response_header(c->r, "Content-Range", "bytes */%" PRIu64, info->size);
	return s3_refuse(c, e, 416, "InvalidRange",
	    "the range is not within the object's %" PRIu64 " bytes", info->size);
}

int
s3_get_object(struct s3_call *c, struct err *e)
{
	struct request *r = c->r;
	bool is_head = !strcmp(r->method, "HEAD");
	_cleanup_(object_closep) struct object *o = NULL;
	const struct s3_conditions conditions = { request_header(r, "if-match"),
		request_header(r, "if-none-match"), request_header(r, "if-modified-since"),
		request_header(r, "if-unmodified-since") };
	struct wanted w;
	uint64_t size;
	unsigned status;

	if (want_part(c, &w, e) < 0)
		return -1;
	o = s3_object(c, (is_head ? 0 : OBJECT_CONTENT) | (w.number ? OBJECT_PARTS : 0), e);
	if (!o)
		return -1;
	if (s3_refuse_customer_key(c, e) < 0)
		return -1;
	status = s3_conditions(&conditions, object_info(o));
	if (status)
		return refuse_condition(c, object_info(o), status, e);
	if (find_wanted(c, o, &w, e) < 0)
		return -1;
	size = object_info(o)->size; /* the object may go over to the answer */
	if (is_head)
		give_head(c, o, w.n);
	else if (give(c, &o, w.offset, w.n, e) < 0)
		return -1;
	if (w.number)
		s3_part_answer(r, &w.part);
	r->status = w.range == RANGE_PART ? 206 : 200;
	if (w.range == RANGE_PART)
		response_header(r, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
		    w.offset, w.offset + w.n - 1, size);
	return 0;
}
