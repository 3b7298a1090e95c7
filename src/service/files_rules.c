/* files_rules.c - a bucket's lifecycle rules, and the record that some vault has any. See files.h,
 * lifecycle_internal.h. */
#include <stdio.h>
#include <string.h>

#include "base/host.h"
#include "service/files_internal.h"
#include "service/files_refs.h"
#include "service/lifecycle_internal.h"
#include "service/rules.h"
#include "vault/region.h"

#define FORMAT 1

uint64_t
rules_day_ms(const struct node *n)
{
	return n->rules_day_ms ? n->rules_day_ms : RULES_DAY_MS;
}

int
rules_record_put(
    struct node *n, const struct vault_id *id, uint64_t due_ms, uint64_t stamp, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	uint8_t value[1 + 8 + 8] = { FORMAT };

	if (!b)
		return -1;
	be64_put(value + 1, due_ms);
	be64_put(value + 9, stamp);
	region_put(b, REGION_RULES, id, sizeof(*id), value, sizeof(value));
	return region_apply_soon(n->engine, b, e);
}

int
rules_record_forget(struct node *n, const struct vault_id *id, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);

	if (!b)
		return -1;
	region_delete(b, REGION_RULES, id, sizeof(*id));
	return region_apply_soon(n->engine, b, e);
}

bool
rules_record_read(struct span value, uint64_t *due_ms, uint64_t *stamp)
{
	*due_ms = *stamp = 0;
	if (value.len != 1 + 8 + 8 || value.data[0] != FORMAT)
		return false;
	*due_ms = be64_get(value.data + 1);
	*stamp = be64_get(value.data + 9);
	return true;
}

int
lifecycle_remind(struct node *n, const struct vault_id *id, struct err *e)
{
	_cleanup_buf_ struct buf value = BUF_INIT(0);
	int r = region_get(n->engine, REGION_RULES, id, sizeof(*id), &value, e);

	return r == 0 ? rules_record_put(n, id, 0, 0, e) : r < 0 ? -1 : 0;
}

static int
mark_bucket(struct vault *v, int64_t id, bool has_rules, struct err *e)
{
	struct query *q = vault_query(v, "UPDATE bucket SET has_rules=?2 WHERE id=?1");

	query_int(q, 1, id);
	query_int(q, 2, has_rules);
	return query_run(q, e);
}

/* The record comes first: a crash in between leaves one too many. The vault is held meanwhile, as by who
 * finds that it has no rules and removes the record. */
int
files_rules_put(struct files *f, const char *bucket, struct span rules, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);
	uint64_t stamp;
	int64_t id;

	if (!v || files_begin(f, v, e) < 0)
		return -1;
	files_wait_for(f, vault_ticket(v));
	host_random(&stamp, sizeof(stamp));
	if (files_bucket_id(v, bucket, &id, e) < 0 ||
	    rules_record_put(f->node, vault_id(v), 0, stamp, e) < 0 ||
	    setting_write(v, id, FILES_RULES, rules, e) < 0 || mark_bucket(v, id, true, e) < 0)
		return -1;
	return files_commit(f, v, e);
}

int
files_rules_remove(struct files *f, const char *bucket, struct err *e)
{
	_cleanup_(pool_givep) struct vault *v = files_take(f, files_bucket_service(bucket), e);
	int64_t id;

	if (!v || vault_begin_removal(v, e) < 0)
		return -1;
	files_wait_for(f, vault_ticket(v));
	if (files_bucket_id(v, bucket, &id, e) < 0 || setting_forget(v, id, FILES_RULES, e) < 0 ||
	    mark_bucket(v, id, false, e) < 0)
		return -1;
	return files_commit(f, v, e);
}

int
rules_expiry(const struct files *f, struct vault *v, int64_t bucket, const char *key,
    struct span headers, struct object_info *i, struct err *e)
{
	_cleanup_buf_ struct buf stored = BUF_INIT(RULES_BYTES_MAX);
	_cleanup_(rules_free) struct rules rules = { .n = 0 };
	const struct rule_subject it = { .key = { (const uint8_t *)key, strlen(key) },
		.size = i->size,
		.tags = line_of(headers, FILES_TAGS_LINE) };
	const struct rule *by = NULL;
	uint64_t due;

	if (setting_read(v, bucket, FILES_RULES, &stored, e) < 0 ||
	    rules_read((struct span){ stored.data, stored.len }, &rules, e) < 0)
		return -1;
	due = rules_current_due(&rules, &it, i->modified_ms, rules_day_ms(f->node), &by);
	if (!by)
		return 0;
	i->expires_by = strndup((const char *)by->id.data, by->id.len);
	if (!i->expires_by)
		return err_set(e, ERR_MEMORY, "no memory for an answer");
	i->expires_ms = due;
	return 0;
}

int
rules_upload_end(const struct files *f, struct vault *v, int64_t bucket, const char *key,
    uint64_t started_ms, struct multipart_end *out, struct err *e)
{
	_cleanup_buf_ struct buf stored = BUF_INIT(RULES_BYTES_MAX);
	_cleanup_(rules_free) struct rules rules = { .n = 0 };
	const struct rule *by = NULL;
	uint64_t due;
	int found = setting_read(v, bucket, FILES_RULES, &stored, e);

	*out = (struct multipart_end){ 0 };
	if (found <= 0)
		return found;
	if (rules_read((struct span){ stored.data, stored.len }, &rules, e) < 0)
		return -1;
	due = rules_upload_due(&rules, (struct span){ (const uint8_t *)key, strlen(key) },
	    started_ms, rules_day_ms(f->node), &by);
	if (!by)
		return 0;
	out->when_ms = due;
	snprintf(out->by, sizeof(out->by), "%.*s", (int)by->id.len, (const char *)by->id.data);
	return 0;
}

int
files_rules_any(struct vault *v, struct err *e)
{
	struct query *q = vault_query(
	    v, "SELECT 1 FROM setting WHERE name='" FILES_RULES "' LIMIT 1");
	int r = query_step(q, e);

	query_end(q);
	return r;
}
