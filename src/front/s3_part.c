/* s3_part.c - the parts that an object was uploaded in: reading one (?partNumber), and GetObjectAttributes. */
#include "front/s3_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/host.h"
#include "front/xml.h"

/* --- checksums that are kept --- */

static bool
sum_of_line(const uint8_t *line, size_t n, struct s3_sum *out)
{
	const uint8_t *colon = memchr(line, ':', n);
	char name[32];

	if (!colon)
		return false;
	snprintf(name, sizeof name, "%.*s", (int)(colon - line), (const char *)line);
	out->kind = checksum_of_header(name);
	for (colon++; colon < line + n && *colon == ' ';)
		colon++;
	snprintf(out->text, sizeof out->text, "%.*s", (int)(line + n - colon), (const char *)colon);
	return out->kind != CHECKSUM_NONE;
}

bool
s3_find_sum(struct span lines, struct s3_sum *out)
{
	const uint8_t *at = lines.data, *end = at ? at + lines.len : at;

	for (const uint8_t *line_end; at < end; at = line_end + 1) {
		line_end = memchr(at, '\n', (size_t)(end - at));
		if (!line_end)
			line_end = end;
		if (sum_of_line(at, (size_t)(line_end - at), out))
			return true;
	}
	*out = (struct s3_sum){ .kind = CHECKSUM_NONE };
	return false;
}

/* Only there a number of parts follows. */
bool
s3_is_composite(const struct s3_sum *s)
{
	return strchr(s->text, '-') != NULL;
}

void
s3_put_sum(struct buf *b, const struct s3_sum *s, bool with_type)
{
	char tag[32];

	if (s->kind == CHECKSUM_NONE)
		return;
	snprintf(tag, sizeof tag, "Checksum%s", checksum_name(s->kind));
	xml_text(b, tag, s->text);
	if (with_type)
		xml_text(b, "ChecksumType", s3_is_composite(s) ? "COMPOSITE" : "FULL_OBJECT");
}

void
s3_put_sum_kind(struct buf *b, enum checksum_kind kind, bool is_full)
{
	if (kind == CHECKSUM_NONE)
		return;
	xml_text(b, "ChecksumAlgorithm", checksum_name(kind));
	xml_text(b, "ChecksumType", is_full ? "FULL_OBJECT" : "COMPOSITE");
}

void
s3_put_listed_sum(struct buf *b, const struct object_info *i)
{
	struct s3_sum sum;

	if (s3_find_sum((struct span){ i->headers.data, i->headers.len }, &sum))
		s3_put_sum_kind(b, sum.kind, !s3_is_composite(&sum));
}

static bool
part_sum(const struct part_info *p, struct s3_sum *out)
{
	return s3_find_sum((struct span){ (const uint8_t *)p->line, strlen(p->line) }, out);
}

/* --- reading one part --- */

int
s3_part_find(
    struct s3_call *c, unsigned number, const struct object *o, struct s3_part *out, struct err *e)
{
	const struct object_info *info = object_info(o);
	struct s3_part found = { .n = info->size };
	const struct part_info *parts = object_parts(o, &found.count), *p = parts;

	while (p < parts + found.count && p->number != number)
		found.offset += p++->size;
	if (found.count ? p == parts + found.count : number != 1)
		return s3_refuse(
		    c, e, 416, "InvalidPartNumber", "the object has no part %u", number);
	if (found.count) {
		found.n = p->size;
		part_sum(p, &found.sum);
	} else {
		s3_find_sum((struct span){ info->headers.data, info->headers.len }, &found.sum);
	}
	*out = found;
	return 0;
}

void
s3_part_answer(struct request *r, const struct s3_part *p)
{
	const char *mode = request_header(r, "x-amz-checksum-mode");

	if (p->count)
		response_header(r, "x-amz-mp-parts-count", "%zu", p->count);
	if (mode && !strcasecmp(mode, "ENABLED") && p->sum.kind != CHECKSUM_NONE)
		response_header(r, checksum_header(p->sum.kind), "%s", p->sum.text);
}

/* --- GetObjectAttributes --- */

static const char *const attributes[] = { "ETag", "Checksum", "ObjectParts", "StorageClass",
	"ObjectSize" };
enum { ATTR_ETAG, ATTR_CHECKSUM, ATTR_PARTS, ATTR_CLASS, ATTR_SIZE };

/* The names in x-amz-object-attributes, a bit each. */
static int
read_attributes(struct s3_call *c, unsigned *out, struct err *e)
{
	const char *list = request_header(c->r, "x-amz-object-attributes");

	*out = 0;
	while (list && *list) {
		size_t n, i = 0;

		list += strspn(list, ", \t");
		n = strcspn(list, ", \t");
		if (!n)
			break;
		while (i < ARRAY_LEN(attributes) &&
		    (strlen(attributes[i]) != n || strncmp(list, attributes[i], n) != 0))
			i++;
		if (i == ARRAY_LEN(attributes))
			return s3_refuse(
			    c, e, 400, "InvalidArgument", "Invalid attribute name specified.");
		*out |= BIT(i);
		list += n;
	}
	if (!*out)
		return s3_refuse(c, e, 400, "InvalidRequest",
		    "x-amz-object-attributes does not say which attributes are asked for");
	return 0;
}

static void
put_part(struct buf *b, const struct part_info *p)
{
	struct s3_sum sum;

	xml_open(b, "Part");
	if (part_sum(p, &sum))
		s3_put_sum(b, &sum, false);
	xml_printf(b, "PartNumber", "%u", p->number);
	xml_printf(b, "Size", "%" PRIu64, p->size);
	xml_close(b, "Part");
}

static void
put_parts(struct buf *b, const struct object *o, unsigned after, unsigned max)
{
	size_t n, shown = 0, i = 0;
	const struct part_info *parts = object_parts(o, &n);

	if (!n)
		return;
	while (i < n && parts[i].number <= after)
		i++;
	shown = n - i < max ? n - i : max;
	xml_open(b, "ObjectParts");
	xml_text(b, "IsTruncated", i + shown < n ? "true" : "false");
	xml_printf(b, "MaxParts", "%u", max);
	if (i + shown < n)
		xml_printf(
		    b, "NextPartNumberMarker", "%u", shown ? parts[i + shown - 1].number : after);
	xml_printf(b, "PartNumberMarker", "%u", after);
	for (size_t k = i; k < i + shown; k++)
		put_part(b, &parts[k]);
	xml_printf(b, "PartsCount", "%zu", n);
	xml_close(b, "ObjectParts");
}

static void
put_attributes(struct buf *b, const struct object *o, unsigned wanted, unsigned after, unsigned max)
{
	const struct object_info *info = object_info(o);
	struct s3_sum sum;

	buf_add_str(b, S3_XML_ROOT("GetObjectAttributesResponse"));
	if (wanted & BIT(ATTR_ETAG))
		xml_text(b, "ETag", info->etag);
	if (wanted & BIT(ATTR_CHECKSUM) &&
	    s3_find_sum((struct span){ info->headers.data, info->headers.len }, &sum)) {
		xml_open(b, "Checksum");
		s3_put_sum(b, &sum, true);
		xml_close(b, "Checksum");
	}
	if (wanted & BIT(ATTR_PARTS))
		put_parts(b, o, after, max);
	if (wanted & BIT(ATTR_CLASS))
		xml_text(b, "StorageClass", "STANDARD");
	if (wanted & BIT(ATTR_SIZE))
		xml_printf(b, "ObjectSize", "%" PRIu64, info->size);
	xml_close(b, "GetObjectAttributesResponse");
}

int
s3_get_attributes(struct s3_call *c, struct err *e)
{
	struct request *r = c->r;
	unsigned wanted, after = 0, max = S3_LIST_MAX;
	_cleanup_(object_closep) struct object *o = NULL;
	char date[32];

	if (read_attributes(c, &wanted, e) < 0 ||
	    s3_number(request_header(r, "x-amz-max-parts"), "x-amz-max-parts", 0, S3_LIST_MAX, &max,
	        e) < 0 ||
	    s3_number(request_header(r, "x-amz-part-number-marker"), "x-amz-part-number-marker", 0,
	        FILES_PART_MAX, &after, e) < 0)
		return -1;
	o = s3_object(c, OBJECT_PARTS, e);
	if (!o || s3_refuse_customer_key(c, e) < 0)
		return -1;
	put_attributes(&r->body, o, wanted, after, max);
	s3_answer_xml(r, 200);
	host_date_text(object_info(o)->modified_ms, date);
	response_header(r, "Last-Modified", "%s", date);
	s3_answer_version(r, "x-amz-version-id", object_info(o));
	return 0;
}
