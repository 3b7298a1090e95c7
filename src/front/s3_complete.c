/* s3_complete.c - making one object of the parts of an upload.
 *
 * Its checksum comes from those of its parts, which were found when they came; no content is read again.
 */
#include "front/s3_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "front/xml.h"

/* --- the list --- */

struct part_list {
	struct part_info *parts;
	size_t n, room;
	struct part_info now; /* the <Part> that is open */
};

static int
add_part(struct part_list *l, struct err *e)
{
	if (!l->now.number || !l->now.etag[0])
		return err_set(e, ERR_BAD, "a Part lacks its number or its ETag");
	if (l->n == FILES_PART_MAX)
		return err_set(e, ERR_TOO_BIG, "more than %d parts", FILES_PART_MAX);
	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		void *p = reallocarray(l->parts, room, sizeof *l->parts);

		if (!p)
			return err_set(e, ERR_MEMORY, "no memory for parts");
		l->parts = p;
		l->room = room;
	}
	l->parts[l->n++] = l->now;
	l->now = (struct part_info){ 0 };
	return 0;
}

/* It has to be the one that was found when the part came. */
static int
read_part_sum(struct part_info *p, const char *tag, const char *text, struct err *e)
{
	enum checksum_kind kind;
	char same[CHECKSUM_TEXT];

	if (strncmp(tag, "Checksum", 8) != 0)
		return 0;
	kind = checksum_of_name(tag + 8);
	if (kind == CHECKSUM_NONE)
		return err_set(e, ERR_BAD, "a part's checksum is none of those known here");
	if (!checksum_parse(kind, text, same))
		return err_set(e, ERR_BAD, "a part's checksum is malformed");
	snprintf(p->line, sizeof p->line, "%s: %s", checksum_header(kind), same);
	return 0;
}

static int
read_part(void *arg, const char *path, const char *text, struct err *e)
{
	static const char part[] = "CompleteMultipartUpload/Part/";
	struct part_list *l = arg;

	if (!strcmp(path, "CompleteMultipartUpload/Part"))
		return add_part(l, e);
	if (!strcmp(path, "CompleteMultipartUpload/Part/PartNumber"))
		return s3_number(text, "PartNumber", 1, UINT32_MAX, &l->now.number, e);
	if (!strcmp(path, "CompleteMultipartUpload/Part/ETag"))
		s3_etag_bare(text, l->now.etag, sizeof l->now.etag);
	if (!strncmp(path, part, sizeof part - 1))
		return read_part_sum(&l->now, path + sizeof part - 1, text, e);
	return 0;
}

/* --- the checksum of the whole --- */

struct completing {
	struct s3_call *c;
	struct part_list list;
	bool is_known;               /* the upload is under way */
	struct s3_upload_sum wanted; /* as it was begun */
	struct buf headers;          /* the object's */
	struct s3_sum sum;           /* the object's */
	/* While the parts are read. */
	struct checksum_joint joint;
	uint64_t size;
	size_t at;
};

static void
completing_free(struct completing *g)
{
	free(g->list.parts);
	buf_free(&g->headers);
	checksum_joint_free(&g->joint);
}

static void
add_uploaded(struct completing *g, const struct part_info *p)
{
	struct part_info *named = &g->list.parts[g->at];
	struct s3_sum sum;

	if (g->at == g->list.n || p->number != named->number)
		return;
	s3_find_sum((struct span){ (const uint8_t *)p->line, strlen(p->line) }, &sum);
	if (g->wanted.kind != CHECKSUM_NONE && !checksum_joint_add(&g->joint, sum.text, p->size))
		return;
	if (!named->line[0]) /* so that the part is still this one when the row is written */
		memcpy(named->line, p->line, sizeof named->line);
	g->size += p->size;
	g->at++;
}

/* The parts that are there, as far as they are named. Those that are not found are refused later, for
 * what they are. */
static int
read_uploaded(struct completing *g, struct err *e)
{
	struct s3_call *c = g->c;
	_cleanup_(freep) struct part_info *parts = calloc(S3_LIST_MAX, sizeof *parts);
	unsigned after = 0;
	bool more = true;

	if (!parts)
		return err_set(e, ERR_MEMORY, "no memory for parts");
	if (checksum_joint_open(&g->joint, g->wanted.kind, g->wanted.is_full, e) < 0)
		return -1;
	while (more) {
		int n = multipart_parts(&c->files, c->bucket, c->key, request_arg(c->r, "uploadId"),
		    after, S3_LIST_MAX, parts, &more, NULL, e);

		if (n < 0)
			return -1;
		for (int i = 0; i < n; i++)
			add_uploaded(g, &parts[i]);
		after = n ? parts[n - 1].number : after;
	}
	return 0;
}

static int
check_size(struct s3_call *c, uint64_t size_bytes, struct err *e)
{
	const char *claim = request_header(c->r, "x-amz-mp-object-size");
	char size[24];

	snprintf(size, sizeof size, "%llu", (unsigned long long)size_bytes);
	if (claim && strcmp(claim, size) != 0)
		return s3_refuse(c, e, 400, "InvalidRequest",
		    "the parts have %s bytes, other than x-amz-mp-object-size says", size);
	return 0;
}

/* Whether TEXT may be an object's checksum of that KIND: behind that of parts is their number. */
static bool
may_be_sum(enum checksum_kind kind, const char *text)
{
	char bare[2 * CHECKSUM_TEXT], same[CHECKSUM_TEXT];

	snprintf(bare, sizeof bare, "%.*s", (int)strcspn(text, "-"), text);
	return checksum_parse(kind, bare, same);
}

/* What the request says about the whole object's checksum, against SUM. */
static int
check_sum(struct s3_call *c, const struct s3_sum *sum, bool is_full, struct err *e)
{
	const char *type = request_header(c->r, CHECKSUM_PREFIX "type"), *text;
	enum checksum_kind kind;

	if (checksum_claim(c->r, &kind, &text, e) < 0)
		return s3_refuse(c, e, 400, "InvalidRequest", "there is more than one checksum");
	if ((kind != CHECKSUM_NONE && kind != sum->kind) ||
	    (type && strcmp(type, is_full ? "FULL_OBJECT" : "COMPOSITE") != 0))
		return s3_refuse(c, e, 400, "InvalidRequest",
		    "the upload was begun with another checksum, or with none");
	if (kind != CHECKSUM_NONE && !may_be_sum(kind, text))
		return s3_refuse(c, e, 400, "InvalidRequest", "Value for %s header is invalid.",
		    checksum_header(kind));
	if (kind != CHECKSUM_NONE && strcmp(text, sum->text) != 0)
		return s3_refuse(c, e, 400, "BadDigest",
		    "The %s you specified did not match the calculated checksum.",
		    checksum_name(kind));
	return 0;
}

/* An upload that is not under way may have been completed before; then there are no parts to look at. */
static int
prepare(struct completing *g, struct err *e)
{
	struct s3_call *c = g->c;

	if (s3_upload_sum(c, &g->wanted, &g->headers, e) < 0)
		return e->kind == ERR_MISSING ? 0 : -1;
	g->is_known = true;
	if (g->wanted.kind == CHECKSUM_NONE && !request_header(c->r, "x-amz-mp-object-size"))
		return 0;
	if (read_uploaded(g, e) < 0)
		return -1;
	if (g->at != g->list.n)
		return 0;
	g->sum.kind = g->wanted.kind;
	if (g->sum.kind != CHECKSUM_NONE)
		checksum_joint_end(&g->joint, g->sum.text);
	if (check_size(c, g->size, e) < 0 || check_sum(c, &g->sum, g->wanted.is_full, e) < 0)
		return -1;
	return s3_keep_sum(c, &g->sum, &g->headers, e);
}

/* It was completed before: what INFO still tells of the object. */
static int
recall(struct completing *g, const struct object_info *info, struct err *e)
{
	struct span headers = { info->headers.data, info->headers.len };

	if (check_size(g->c, info->size, e) < 0)
		return -1;
	return s3_find_sum(headers, &g->sum)
	    ? check_sum(g->c, &g->sum, !s3_is_composite(&g->sum), e)
	    : 0;
}

/* --- completing --- */

static int
complete(struct completing *g, struct object_info *info, struct err *e)
{
	struct s3_call *c = g->c;
	char etags[2][80];
	struct files_condition condition = s3_write_condition(c->r, etags);
	const char *reason = NULL;
	int rc;

	if (s3_write_begin(c, e) < 0)
		return -1;
	rc = multipart_complete(&c->files, c->bucket, c->key, request_arg(c->r, "uploadId"),
	    g->list.parts, g->list.n, &condition, g->is_known ? buf_str(&g->headers) : NULL, info,
	    &reason, e);
	s3_write_end(c);
	if (rc == 0)
		return 0;
	if (reason) {
		c->status = e->kind == ERR_MISSING ? 404 : 400;
		c->code = reason;
	}
	if (e->kind == ERR_STALE && s3_has_condition(&condition))
		return s3_refuse(c, e, 412, "PreconditionFailed",
		    "the object does not meet the request's conditions");
	return -1;
}

int
s3_multipart_complete(struct s3_call *c, struct err *e)
{
	_cleanup_(object_info_free) struct object_info info = { 0 };
	_cleanup_(completing_free) struct completing g = { .c = c,
		.headers = BUF_INIT(2 * FILES_HEADERS_MAX) };
	_cleanup_buf_ struct buf location = BUF_INIT(0);
	struct buf *b = &c->r->body;

	if (xml_read(c->body, read_part, &g.list, e) < 0 || !g.list.n)
		return e->kind == ERR_MEMORY
		    ? -1
		    : s3_refuse(c, e, 400, "MalformedXML", "the body is not a list of parts");
	if (prepare(&g, e) < 0 || complete(&g, &info, e) < 0)
		return -1;
	if (!g.is_known && recall(&g, &info, e) < 0)
		return -1;
	buf_add_str(b, S3_XML_ROOT("CompleteMultipartUploadResult"));
	s3_location(c, &location);
	xml_text(b, "Location", buf_str(&location));
	xml_text(b, "Bucket", c->bucket);
	xml_text(b, "Key", c->key);
	xml_printf(b, "ETag", "\"%s\"", info.etag);
	s3_put_sum(b, &g.sum, true);
	xml_close(b, "CompleteMultipartUploadResult");
	s3_answer_xml(c->r, 200);
	s3_answer_version(c->r, "x-amz-version-id", &info);
	s3_answer_expiry(c->r, &info);
	return 0;
}
