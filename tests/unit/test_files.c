/* Objects of one account: what was put is what comes back, and nothing else stays. */
#include "service_fixture.h"

static struct files
new_account(void **state)
{
	struct files f = region_account(*state, ALL_SERVICES, NULL);
	struct err e = { 0 };

	CHECK_OK(files_bucket_create(&f, "photos", &e), &e);
	CHECK_OK(files_bucket_create(&f, "backup-phone", &e), &e);
	return f;
}

/* --- buckets --- */

static void
names_of_buckets_follow_the_rules_of_s3(void **state)
{
	static const char *const good[] = { "abc", "a-b.c", "0123456789", "a.b.c.d.e", "1.2.3" };
	static const char *const bad[] = { "", "ab", "Abc", "a_b", "-ab", "ab-", "a..b", ".ab",
		"1.2.3.4", "xn--abc", "a b", "\303\244bc",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		CHECK_OK(files_bucket_check(good[i], &e), &e);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(files_bucket_check(bad[i], &e) < 0 && e.kind == ERR_BAD);
	CHECK(files_bucket_service("backup") == SERVICE_BACKUP);
	CHECK(files_bucket_service("backup-x") == SERVICE_BACKUP);
	CHECK(files_bucket_service("backups") == SERVICE_FILES);
}

static int
join_names(void *arg, const char *name, uint64_t created_ms, struct err *e)
{
	(void)e;
	CHECK(created_ms > 1000);
	buf_printf(arg, "%s ", name);
	return 0;
}

static void
buckets_of_all_services_come_in_order(void **state)
{
	struct files f = new_account(state), other;
	_cleanup_buf_ struct buf names = BUF_INIT(0);
	struct err e = { 0 };

	CHECK_OK(files_bucket_create(&f, "aaa", &e), &e);
	CHECK(files_bucket_create(&f, "aaa", &e) < 0 && e.kind == ERR_EXISTS);
	CHECK_OK(files_buckets(&f, join_names, &names, &e), &e);
	CHECK_STR(buf_str(&names), "aaa backup-phone photos ");
	CHECK_OK(files_bucket_find(&f, "aaa", &e), &e);
	CHECK(files_bucket_find(&f, "aab", &e) < 0 && e.kind == ERR_MISSING);

	/* Another account has none of them. */
	other = region_account(*state, ALL_SERVICES, NULL);
	buf_clear(&names);
	CHECK_OK(files_buckets(&other, join_names, &names, &e), &e);
	CHECK_STR(buf_str(&names), "");

	put(&f, "aaa", "k", "v", 1);
	CHECK(files_bucket_remove(&f, "aaa", &e) < 0 && e.kind == ERR_BUSY);
	CHECK_OK(files_remove(&f, "aaa", "k", &e), &e);
	CHECK_OK(files_bucket_remove(&f, "aaa", &e), &e);
	CHECK(files_bucket_remove(&f, "aaa", &e) < 0 && e.kind == ERR_MISSING);
}

static void
a_service_that_was_not_granted_holds_nothing(void **state)
{
	struct files f = region_account(*state, BIT(SERVICE_FILES), NULL);
	_cleanup_buf_ struct buf names = BUF_INIT(0);
	struct vault_id id = { .account = f.account, .service = SERVICE_BACKUP };
	struct object_info out;
	bool missing_bucket;
	struct err e = { 0 };

	CHECK(files_bucket_create(&f, "backup", &e) < 0 && e.kind == ERR_CONSENT);
	CHECK(strncmp(e.text, "service backup was not granted at sign-up;", 42) == 0);
	CHECK(put_with(&f, "backup", "k", "v", 1, NULL, NULL, &out, &e) < 0);
	CHECK(e.kind == ERR_CONSENT);
	CHECK(!object_open(&f, "backup", "k", true, &missing_bucket, &e) && e.kind == ERR_CONSENT);
	CHECK_OK(files_buckets(&f, join_names, &names, &e), &e);
	CHECK_OK(transfer_is_gone(f.node->engine, f.node->chunks, &id, &e), &e);
}

/* --- objects --- */

static void
objects_of_all_sizes_come_back(void **state)
{
	static const size_t sizes[] = { 0, 1, 4000, 32767, 32768, 32769, 65536, 100000, 1048577,
		4194304, 4194305, 9000001 };
	struct files f = new_account(state);
	char key[32];
	uint8_t *body = noise(9000001, 5);

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		snprintf(key, sizeof(key), "size %zu", sizes[i]);
		put(&f, "photos", key, body, sizes[i]);
		put(&f, "backup-phone", key, body, sizes[i]);
	}
	pool_evict(f.node->pool, &(struct vault_id){ f.account, SERVICE_FILES });
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		snprintf(key, sizeof(key), "size %zu", sizes[i]);
		CHECK(has(&f, "photos", key, body, sizes[i]));
		CHECK(has(&f, "backup-phone", key, body, sizes[i]));
	}
	CHECK(!has(&f, "photos", "size 2", body, 2));
	free(body);
}

static void
headers_etag_and_time_are_kept(void **state)
{
	static const char headers[] = "content-type: text/plain\nx-amz-meta-colour: \xc3\xa4\n";
	struct files f = new_account(state);
	uint64_t before_ms = host_wall_ms();
	const struct object_info *i;
	struct object_info out;
	bool missing_bucket;
	struct object *o;
	struct err e = { 0 };

	CHECK_OK(put_with(&f, "photos", "k", "hello", 5, headers, NULL, &out, &e), &e);
	CHECK_STR(out.etag, "5d41402abc4b2a76b9719d911017c592");
	o = object_open(&f, "photos", "k", false, &missing_bucket, &e);
	CHECK(o);
	i = object_info(o);
	CHECK(i->size == 5 && i->modified_ms >= before_ms && i->modified_ms <= host_wall_ms());
	CHECK_STR(i->etag, out.etag);
	CHECK(
	    i->headers.len == strlen(headers) && !memcmp(i->headers.data, headers, i->headers.len));
	object_close(o);

	CHECK(!object_open(&f, "photos", "l", true, &missing_bucket, &e));
	CHECK(e.kind == ERR_MISSING && !missing_bucket);
	CHECK(!object_open(&f, "nothing", "k", true, &missing_bucket, &e));
	CHECK(e.kind == ERR_MISSING && missing_bucket);
	CHECK(put_with(&f, "nothing", "k", "v", 1, NULL, NULL, &out, &e) < 0);
	CHECK(e.kind == ERR_MISSING);
}

static void
keys_and_headers_have_ceilings(void **state)
{
	struct files f = new_account(state);
	char key[FILES_KEY_MAX + 2], headers[FILES_HEADERS_MAX + 2];
	struct object_info out;
	struct err e = { 0 };

	memset(key, '\xff', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	memset(headers, 'h', sizeof(headers) - 1);
	headers[sizeof(headers) - 1] = '\0';
	CHECK(
	    put_with(&f, "photos", key, "v", 1, NULL, NULL, &out, &e) < 0 && e.kind == ERR_TOO_BIG);
	CHECK(put_with(&f, "photos", "", "v", 1, NULL, NULL, &out, &e) < 0 && e.kind == ERR_BAD);
	CHECK(put_with(&f, "photos", "k", "v", 1, headers, NULL, &out, &e) < 0);
	CHECK(e.kind == ERR_TOO_BIG);
	key[FILES_KEY_MAX] = headers[FILES_HEADERS_MAX] = '\0';
	CHECK_OK(put_with(&f, "photos", key, "v", 1, headers, NULL, &out, &e), &e);
	CHECK(has(&f, "photos", key, "v", 1));
}

static void
overwriting_and_removing_leaves_no_chunk(void **state)
{
	struct files f = new_account(state);
	uint8_t *a = noise(5000000, 1), *b = noise(300000, 2);
	struct files_usage usage;
	struct err e = { 0 };

	put(&f, "photos", "k", a, 5000000);
	CHECK(chunks_become(&f, SERVICE_FILES, 2));
	put(&f, "photos", "k", b, 300000);
	CHECK(chunks_become(&f, SERVICE_FILES, 1));
	CHECK(has(&f, "photos", "k", b, 300000));
	put(&f, "photos", "k", "small", 5);
	CHECK(chunks_become(&f, SERVICE_FILES, 0));
	CHECK(has(&f, "photos", "k", "small", 5));
	put(&f, "photos", "k", "other", 5);
	put(&f, "photos", "k", a, 5000000);
	CHECK(has(&f, "photos", "k", a, 5000000));
	CHECK_OK(files_usage(&f, SERVICE_FILES, &usage, &e), &e);
	CHECK(usage.objects == 1 && usage.bytes == 5000000);
	CHECK_OK(files_remove(&f, "photos", "k", &e), &e);
	CHECK(!has(&f, "photos", "k", a, 1));
	CHECK(chunks_become(&f, SERVICE_FILES, 0));
	CHECK_OK(files_remove(&f, "photos", "k", &e), &e);
	CHECK(files_remove(&f, "nothing", "k", &e) < 0 && e.kind == ERR_MISSING);
	CHECK_OK(files_usage(&f, SERVICE_FILES, &usage, &e), &e);
	CHECK(usage.objects == 0 && usage.bytes == 0);
	free(a);
	free(b);
}

static void
an_object_is_a_snapshot_while_it_is_read(void **state)
{
	struct files f = new_account(state);
	uint8_t *a = noise(9000000, 1);
	struct object *large, *small;
	uint8_t first[10];
	struct err e = { 0 };

	put(&f, "photos", "large", a, 9000000);
	put(&f, "photos", "small", a, 1000);
	large = get(&f, "photos", "large");
	small = get(&f, "photos", "small");
	CHECK(object_read(large, 0, first, sizeof(first), &e) == 10);
	put(&f, "photos", "large", "other", 5);
	put(&f, "photos", "small", "other", 5);
	CHECK_OK(flusher_wait(f.node->flusher, f.ticket, &e), &e);
	usleep(100000);
	check_object(large, a, 9000000, 100001);
	check_object(small, a, 1000, 99);
	object_close(large);
	object_close(small);
	CHECK(chunks_become(&f, SERVICE_FILES, 0));
	CHECK(has(&f, "photos", "large", "other", 5));
	free(a);
}

static void
conditions_decide_within_the_transaction(void **state)
{
	const struct files_condition none = { .if_none_match = "*" }, any = { .if_match = "*" };
	struct files_condition c = { 0 };
	struct files f = new_account(state);
	struct object_info out;
	char etag[64];
	struct err e = { 0 };

	CHECK(
	    put_with(&f, "photos", "k", "a", 1, NULL, &any, &out, &e) < 0 && e.kind == ERR_MISSING);
	CHECK_OK(put_with(&f, "photos", "k", "a", 1, NULL, &none, &out, &e), &e);
	CHECK(
	    put_with(&f, "photos", "k", "b", 1, NULL, &none, &out, &e) < 0 && e.kind == ERR_STALE);
	CHECK(has(&f, "photos", "k", "a", 1));
	snprintf(etag, sizeof(etag), "%s", out.etag);
	c.if_none_match = etag;
	CHECK(put_with(&f, "photos", "k", "b", 1, NULL, &c, &out, &e) < 0 && e.kind == ERR_STALE);
	c = (struct files_condition){ .if_match = etag };
	CHECK_OK(put_with(&f, "photos", "k", "b", 1, NULL, &c, &out, &e), &e);
	CHECK(put_with(&f, "photos", "k", "c", 1, NULL, &c, &out, &e) < 0 && e.kind == ERR_STALE);
	CHECK_OK(put_with(&f, "photos", "k", "c", 1, NULL, &any, &out, &e), &e);
	CHECK(has(&f, "photos", "k", "c", 1));
}

static void
a_refused_or_abandoned_upload_leaves_nothing(void **state)
{
	const struct files_condition any = { .if_match = "*" };
	struct files f = new_account(state);
	uint8_t *a = noise(5000000, 1);
	struct object_info out;
	struct upload *u;
	struct err e = { 0 };

	CHECK(put_with(&f, "photos", "k", a, 5000000, NULL, &any, &out, &e) < 0);
	u = upload_begin(&f, "photos", &e);
	CHECK_OK(upload_add(u, a, 4500000, &e), &e);
	upload_close(u);
	u = upload_begin(&f, "photos", &e);
	CHECK_OK(upload_add(u, a, 4500000, &e), &e);
	CHECK(upload_put(u, &f, "k", NULL, NULL, &out, &e) < 0 && e.kind == ERR_INTERNAL);
	upload_close(u);
	CHECK(chunks_become(&f, SERVICE_FILES, 0));
	CHECK(!has(&f, "photos", "k", a, 1));
	free(a);
}

/* All of U so far, in odd pieces, and its digest. */
static void
check_upload(struct upload *u, const uint8_t *p, size_t n)
{
	uint8_t *got = malloc(77777), is[MD5_BYTES], should[MD5_BYTES];
	struct err e = { 0 };
	size_t at = 0;
	ssize_t r;

	CHECK(upload_bytes(u) == n);
	CHECK_OK(upload_md5(u, is, &e), &e);
	md5(p, n, should);
	CHECK_BYTES(is, should, sizeof(is));
	while ((r = upload_read(u, at, got, 77777, &e)) > 0) {
		CHECK(at + (size_t)r <= n);
		CHECK_BYTES(got, p + at, (size_t)r);
		at += (size_t)r;
	}
	CHECK(r == 0 && at == n);
	free(got);
}

static void
what_came_so_far_can_be_read_again(void **state)
{
	static const size_t steps[] = { 0, 1, 30000, 32768, 32769, 100000, 1048576, 1048577,
		1500000, 4194304, 4194305, 6000000 };
	struct files f = new_account(state);
	uint8_t *a = noise(6000000, 1);
	struct object_info out;
	struct err e = { 0 };
	struct upload *u = upload_begin(&f, "photos", &e);
	size_t at = 0;

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		CHECK_OK(upload_add(u, a + at, steps[i] - at, &e), &e);
		at = steps[i];
		check_upload(u, a, at);
	}
	CHECK_OK(upload_settle(u, &e), &e);
	check_upload(u, a, at);
	CHECK_OK(upload_put(u, &f, "k", NULL, NULL, &out, &e), &e);
	upload_close(u);
	CHECK(has(&f, "photos", "k", a, at));
	free(a);
}

static void
nothing_blocks_where_it_must_not(void **state)
{
	struct files f = new_account(state);
	struct vault_id id = { f.account, SERVICE_FILES };
	struct object_info out;
	bool missing_bucket;
	struct object *o;
	struct err e = { 0 };
	uint8_t *a = noise(40000, 1);
	struct upload *u;

	put(&f, "photos", "k", "v", 1);
	f.may_block = false;
	CHECK(has(&f, "photos", "k", "v", 1));
	CHECK(put_with(&f, "photos", "k", "w", 1, NULL, NULL, &out, &e) == 0);
	pool_evict(f.node->pool, &id);
	CHECK(!object_open(&f, "photos", "k", true, &missing_bucket, &e));
	CHECK(e.kind == ERR_BUSY && f.would_block);
	CHECK(put_with(&f, "photos", "k", "x", 1, NULL, NULL, &out, &e) < 0);
	CHECK(e.kind == ERR_BUSY && f.would_block);

	/* The same bytes once more, where it may. */
	u = upload_begin(&f, "photos", &e);
	CHECK_OK(upload_add(u, a, 30000, &e), &e);
	CHECK(upload_add(u, a + 30000, 10000, &e) < 0 && e.kind == ERR_BUSY && f.would_block);
	f.may_block = true;
	CHECK_OK(upload_add(u, a + 30000, 10000, &e), &e);
	CHECK_OK(upload_settle(u, &e), &e);
	CHECK_OK(upload_put(u, &f, "k", NULL, NULL, &out, &e), &e);
	upload_close(u);
	o = get(&f, "photos", "k");
	check_object(o, a, 40000, 40000);
	object_close(o);
	free(a);
}

static void
many_keys_are_removed_at_once(void **state)
{
	struct files f = new_account(state);
	char text[100][16], longest[FILES_KEY_MAX + 2];
	struct removal r[102] = { 0 };
	uint8_t *a = noise(40000, 1);
	struct err e = { 0 };
	struct files_usage usage;

	memset(longest, 'k', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	for (size_t i = 0; i < 100; i++) {
		snprintf(text[i], sizeof(text[i]), "%zu", i);
		r[i].key = text[i];
		put(&f, "photos", text[i], a, i % 2 ? 40000 : 10);
	}
	put(&f, "photos", "stays", a, 10);
	r[100].key = "never there";
	r[101].key = longest;
	CHECK_OK(files_remove_many(&f, "photos", r, 102, &e), &e);
	for (size_t i = 0; i < 101; i++)
		CHECK(r[i].err.kind == ERR_NONE);
	CHECK(r[101].err.kind == ERR_TOO_BIG);
	CHECK_OK(files_usage(&f, SERVICE_FILES, &usage, &e), &e);
	CHECK(usage.objects == 1 && usage.bytes == 10);
	CHECK(chunks_become(&f, SERVICE_FILES, 0));
	free(a);
}

/* --- copies --- */

static void
copy(struct files *f, const char *from, const char *to, uint64_t offset, uint64_t n)
{
	_cleanup_(object_closep) struct object *source = get(f, from, "k");
	struct object_info out;
	struct err e = { 0 };
	struct upload *u = files_copy_begin(f, source, offset, n, to, &e);

	if (!u)
		fail_msg("copy: %s", e.text);
	CHECK_OK(upload_put(u, f, "copy", "content-type: a/b\n", NULL, &out, &e), &e);
	upload_close(u);
}

static void
copies_are_the_same_within_and_across_services(void **state)
{
	struct files f = new_account(state);
	uint8_t *a = noise(5000000, 1);
	struct object_info out;
	struct object *o;
	struct err e = { 0 };

	CHECK_OK(
	    put_with(&f, "photos", "k", a, 5000000, "content-type: a/b\n", NULL, &out, &e), &e);
	copy(&f, "photos", "photos", 0, UINT64_MAX);
	copy(&f, "photos", "backup-phone", 0, UINT64_MAX);
	CHECK_OK(files_remove(&f, "photos", "k", &e), &e);
	CHECK(chunks_become(&f, SERVICE_FILES, 2));
	CHECK(has(&f, "photos", "copy", a, 5000000));
	CHECK(has(&f, "backup-phone", "copy", a, 5000000));
	o = get(&f, "backup-phone", "copy");
	CHECK(object_info(o)->headers.len == 18);
	object_close(o);
	put(&f, "backup-phone", "k", a, 5000000);
	copy(&f, "backup-phone", "photos", 1000, 4200000);
	CHECK(has(&f, "photos", "copy", a + 1000, 4200000));
	copy(&f, "backup-phone", "photos", 4999999, UINT64_MAX);
	CHECK(has(&f, "photos", "copy", a + 4999999, 1));
	free(a);
}

static void
a_copy_is_of_the_source_that_was_opened(void **state)
{
	struct files f = new_account(state);
	_cleanup_(object_closep) struct object *source = NULL;
	uint8_t *a = noise(5000000, 1);
	struct object_info out;
	struct upload *u;
	struct err e = { 0 };

	put(&f, "photos", "k", a, 5000000);
	source = get(&f, "photos", "k");
	put(&f, "photos", "k", "another", 7);
	CHECK_OK(files_remove(&f, "photos", "k", &e), &e);
	u = files_copy_begin(&f, source, 0, UINT64_MAX, "photos", &e);
	if (!u)
		fail_msg("copy: %s", e.text);
	CHECK_OK(upload_put(u, &f, "copy", NULL, NULL, &out, &e), &e);
	upload_close(u);
	CHECK(has(&f, "photos", "copy", a, 5000000));
	free(a);
}

static void
copies_are_within_their_source_and_what_was_granted(void **state)
{
	struct files f = new_account(state),
	             lean = region_account(*state, BIT(SERVICE_FILES), NULL);
	_cleanup_(object_closep) struct object *source = NULL, *leans = NULL;
	struct err e = { 0 };

	put(&f, "photos", "k", "a", 1);
	source = get(&f, "photos", "k");
	CHECK(!files_copy_begin(&f, source, 0, 2, "photos", &e) && e.kind == ERR_BAD);
	CHECK(!files_copy_begin(&f, source, 2, UINT64_MAX, "photos", &e) && e.kind == ERR_BAD);
	CHECK_OK(files_bucket_create(&lean, "photos", &e), &e);
	put(&lean, "photos", "k", "a", 1);
	leans = get(&lean, "photos", "k");
	CHECK(!files_copy_begin(&lean, leans, 0, 1, "backup", &e) && e.kind == ERR_CONSENT);
}

/* --- faults --- */

/* Fail the first call that changes something, then the second, until a put has none left to fail. */
static void
a_put_is_whole_or_absent_whatever_call_fails(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_FAIL, FAULT_FAIL_LATE, FAULT_FULL };
	struct region *r = *state;
	struct files f = new_account(state);
	uint8_t *a = noise(100000, 1);
	unsigned nth = 1, at = 0;
	char key[32];

	for (size_t size = 10; size <= 100000; size *= 10000)
		for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
			for (bool fired = true; fired; nth = fired ? nth + 1 : 1) {
				struct object_info out;
				struct err e = { 0 };
				bool acked;

				snprintf(key, sizeof(key), "k%u", at++);
				engine_fault_set(r->store.engine, kinds[k], nth, false, false, 0);
				acked = put_with(&f, "photos", key, a, size, NULL, NULL, &out,
				            &e) == 0 &&
				    flusher_wait(f.node->flusher, f.ticket, &e) == 0;
				fired = engine_fault_fired(r->store.engine);
				engine_fault_set(r->store.engine, FAULT_NONE, 0, false, false, 0);
				CHECK(acked || fired);
				CHECK(has(&f, "photos", key, a, size) || !acked);
			}
	free(a);
}

static void
a_vault_that_was_taken_over_is_no_failed_precondition(void **state)
{
	struct region *r = *state;
	struct files f = new_account(state);
	struct vault_id id = { f.account, SERVICE_FILES };
	struct pool *own = r->store.pool;
	struct object_info out;
	struct err e = { 0 };

	put(&f, "photos", "k", "v", 1);
	store_open_pool(&r->store, 8);
	pool_give(store_take(&r->store, &id));
	CHECK(put_with(&f, "photos", "k", "w", 1, NULL, NULL, &out, &e) < 0);
	CHECK((e.kind == ERR_BUSY || e.kind == ERR_IO) && !f.would_block);
	CHECK(has(&f, "photos", "k", "v", 1));
	pool_close(r->store.pool);
	r->store.pool = own;
}

/* A repeated read does not ask the database: it must see every change all the same. */
static void
an_object_that_was_just_read_is_never_an_old_one(void **state)
{
	struct files f = new_account(state);
	struct object_absence why;
	struct object *o, *again;
	bool missing_bucket;
	struct err e = { 0 };

	for (unsigned i = 0; i < 3; i++) {
		const char *text = i % 2 ? "second" : "first";

		put(&f, "photos", "k", text, strlen(text));
		CHECK(has(&f, "photos", "k", text, strlen(text)));
		CHECK(has(&f, "photos", "k", text, strlen(text)));
		CHECK(!has(&f, "photos", "other", text, strlen(text)));
	}
	o = object_open_version(&f, "photos", "k", NULL, true, &why, &e);
	again = object_open_version(&f, "photos", "k", NULL, false, &why, &e);
	CHECK(o && again && o == again);
	object_close(again);
	CHECK_OK(files_remove(&f, "photos", "k", &e), &e);
	CHECK(!object_open(&f, "photos", "k", true, &missing_bucket, &e) && e.kind == ERR_MISSING);
	CHECK(object_info(o)->size == 5); /* a snapshot */
	object_close(o);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, region_setup, region_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_of_buckets_follow_the_rules_of_s3),
		TEST(buckets_of_all_services_come_in_order),
		TEST(a_service_that_was_not_granted_holds_nothing),
		TEST(objects_of_all_sizes_come_back),
		TEST(headers_etag_and_time_are_kept),
		TEST(keys_and_headers_have_ceilings),
		TEST(overwriting_and_removing_leaves_no_chunk),
		TEST(an_object_is_a_snapshot_while_it_is_read),
		TEST(an_object_that_was_just_read_is_never_an_old_one),
		TEST(conditions_decide_within_the_transaction),
		TEST(a_refused_or_abandoned_upload_leaves_nothing),
		TEST(what_came_so_far_can_be_read_again),
		TEST(nothing_blocks_where_it_must_not),
		TEST(many_keys_are_removed_at_once),
		TEST(copies_are_the_same_within_and_across_services),
		TEST(a_copy_is_of_the_source_that_was_opened),
		TEST(copies_are_within_their_source_and_what_was_granted),
		TEST(a_put_is_whole_or_absent_whatever_call_fails),
		TEST(a_vault_that_was_taken_over_is_no_failed_precondition),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
