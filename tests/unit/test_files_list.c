/* Listings against a model that looks at every key, and uploads in parts. */
#include "service_fixture.h"

#define MIB ((size_t)1 << 20)

static struct files
new_account(void **state)
{
	struct files f = region_account(*state, ALL_SERVICES, NULL);
	struct err e = { 0 };

	CHECK_OK(files_bucket_create(&f, "photos", &e), &e);
	return f;
}

/* --- the model --- */

#define KEYS_MAX 400

struct model {
	char *keys[KEYS_MAX]; /* in order */
	size_t n;
};

/* What a listing tells: a line each, "key\n" or "prefix*\n". */
struct told {
	struct buf lines;
	bool is_truncated;
	char next[FILES_KEY_MAX + 1];
};

static bool
begins(const char *s, const char *prefix, size_t n)
{
	return strncmp(s, prefix, n) == 0;
}

static void
model_list(const struct model *m, const struct list_query *q, struct told *out)
{
	char last[FILES_KEY_MAX + 1] = "", name[FILES_KEY_MAX + 1];
	unsigned n = 0;

	buf_clear(&out->lines);
	out->is_truncated = false;
	for (size_t i = 0; i < m->n && q->max; i++) {
		const char *key = m->keys[i], *d = NULL;
		size_t len = strlen(key);

		if (!begins(key, q->prefix, strlen(q->prefix)))
			continue;
		if (*q->delimiter)
			d = strstr(key + strlen(q->prefix), q->delimiter);
		if (d)
			len = (size_t)(d - key) + strlen(q->delimiter);
		snprintf(name, sizeof(name), "%.*s", (int)len, key);
		if (strcmp(name, q->after) <= 0 || (d && n && strcmp(name, last) == 0))
			continue;
		if (n == q->max) {
			out->is_truncated = true;
			break;
		}
		buf_printf(&out->lines, "%s%s\n", name, d ? "*" : "");
		snprintf(last, sizeof(last), "%s", name);
		n++;
	}
	snprintf(out->next, sizeof(out->next), "%s", out->is_truncated ? last : "");
}

static int
tell(void *arg, const char *key, const struct object_info *i, struct err *e)
{
	struct told *t = arg;

	(void)e;
	buf_printf(&t->lines, "%s%s\n", key, i ? "" : "*");
	/* Each object holds its key. */
	if (i)
		CHECK(i->size == strlen(key) && strlen(i->etag) == 32);
	return 0;
}

/* What both say is the same; returns the answer's `next` in Q->after's room. */
static bool
compare_page(struct files *f, const struct model *m, struct list_query *q, char *after)
{
	struct told is = { .lines = BUF_INIT(0) }, should = { .lines = BUF_INIT(0) };
	struct err e = { 0 };
	bool more;

	model_list(m, q, &should);
	CHECK_OK(files_list(f, q, tell, &is, &is.is_truncated, is.next, &e), &e);
	CHECK_STR(buf_str(&is.lines), buf_str(&should.lines));
	CHECK(is.is_truncated == should.is_truncated);
	CHECK_STR(is.next, should.next);
	snprintf(after, FILES_KEY_MAX + 1, "%s", is.next);
	more = is.is_truncated;
	buf_free(&is.lines);
	buf_free(&should.lines);
	return more;
}

static uint32_t
roll(uint64_t *x, uint32_t n)
{
	*x ^= *x << 13, *x ^= *x >> 7, *x ^= *x << 17;
	return (uint32_t)(*x >> 20) % n;
}

/* Few characters, so that prefixes and common prefixes come up: odd bytes, UTF-8, both delimiters. */
static void
random_text(uint64_t *x, char *out, unsigned max)
{
	static const char *const parts[] = { "a", "b", "/", "/", "--", "\xff", "\x01", "\xc3\xa4",
		"ab", "\xff\xff", "*" };
	unsigned n = roll(x, max + 1);

	*out = '\0';
	for (unsigned i = 0; i < n; i++)
		strcat(out, parts[roll(x, ARRAY_LEN(parts))]);
}

static int
by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
fill(struct files *f, struct model *m, uint64_t *x, size_t n)
{
	char key[64];

	while (m->n < n) {
		bool is_new = true;

		random_text(x, key, 8);
		for (size_t i = 0; i < m->n; i++)
			is_new = is_new && strcmp(m->keys[i], key);
		if (!*key || !is_new)
			continue;
		put(f, "photos", key, key, strlen(key));
		m->keys[m->n++] = strdup(key);
	}
	qsort(m->keys, m->n, sizeof(m->keys[0]), by_bytes);
}

static void
listings_are_what_looking_at_every_key_would_give(void **state)
{
	static const char *const delimiters[] = { "", "/", "/", "--", "\xff", "a/" };
	struct files f = new_account(state);
	struct model m = { .n = 0 };
	uint64_t x = 88172645463325252u;
	char prefix[64], after[FILES_KEY_MAX + 1];

	fill(&f, &m, &x, 300);
	for (int round = 0; round < 3000; round++) {
		struct list_query q = {
			.bucket = "photos",
			.prefix = prefix,
			.delimiter = delimiters[roll(&x, ARRAY_LEN(delimiters))],
			.after = after,
			.max = roll(&x, 3) ? roll(&x, 8) : 1000,
		};

		random_text(&x, prefix, roll(&x, 2) ? 0 : 3);
		random_text(&x, after, roll(&x, 2) ? 0 : 6);
		/* To the end, page by page. */
		while (compare_page(&f, &m, &q, after))
			;
	}
	while (m.n)
		free(m.keys[--m.n]);
}

static void
listings_refuse_what_no_key_can_be(void **state)
{
	struct files f = new_account(state);
	struct list_query q = { "nothing", "", "", "", 10 };
	char next[FILES_KEY_MAX + 1], longest[FILES_KEY_MAX + 2];
	struct told t = { .lines = BUF_INIT(0) };
	bool is_truncated;
	struct err e = { 0 };

	CHECK(files_list(&f, &q, tell, &t, &is_truncated, next, &e) < 0 && e.kind == ERR_MISSING);
	q.bucket = "photos";
	q.max = 1001;
	CHECK(files_list(&f, &q, tell, &t, &is_truncated, next, &e) < 0 && e.kind == ERR_BAD);
	memset(longest, '\xff', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	q.max = 1;
	q.prefix = longest;
	CHECK(files_list(&f, &q, tell, &t, &is_truncated, next, &e) < 0 && e.kind == ERR_TOO_BIG);
	longest[FILES_KEY_MAX] = '\0';
	q.after = longest;
	CHECK_OK(files_list(&f, &q, tell, &t, &is_truncated, next, &e), &e);
	CHECK(!is_truncated && !t.lines.len);
}

/* --- multipart --- */

static struct part_info
put_part(struct files *f, const char *key, const char *id, unsigned number, const void *p, size_t n)
{
	struct part_info part = { .number = number };
	struct object_info out;
	struct err e = { 0 };
	struct upload *u = upload_begin(f, "photos", &e);

	CHECK(u);
	CHECK_OK(upload_add(u, p, n, &e), &e);
	CHECK_OK(upload_settle(u, &e), &e);
	CHECK_OK(upload_part(u, f, key, id, number, &out, &e), &e);
	upload_close(u);
	part.size = out.size;
	snprintf(part.etag, sizeof(part.etag), "%s", out.etag);
	return part;
}

static void
begin(struct files *f, const char *key, char id[static 33])
{
	struct err e = { 0 };

	CHECK_OK(multipart_begin(f, "photos", key, "content-type: a/b\n", NULL, id, NULL, &e), &e);
	CHECK(strlen(id) == 32);
}

/* "<md5 of the parts' md5s>-<n>" */
static void
etag_of(const struct part_info *parts, size_t n, char *out)
{
	uint8_t all[64 * MD5_BYTES], whole[MD5_BYTES];

	CHECK(n <= 64);
	for (size_t i = 0; i < n; i++)
		CHECK(hex_parse(parts[i].etag, all + i * MD5_BYTES, MD5_BYTES));
	md5(all, n * MD5_BYTES, whole);
	hex_text(whole, MD5_BYTES, out);
	sprintf(out + 32, "-%zu", n);
}

static void
parts_become_one_object_and_twice_gives_the_same(void **state)
{
	struct files f = new_account(state);
	size_t n = 5 * MIB + 6 * MIB + 100;
	uint8_t *a = noise(n, 1), *old = noise(100000, 2);
	struct object_info out, again;
	struct part_info parts[3];
	const char *reason;
	char id[33], etag[64];
	struct object *o;
	struct err e = { 0 };

	put(&f, "photos", "k", old, 100000);
	begin(&f, "k", id);
	/* Out of order, one twice, one that is not named in the end. */
	parts[2] = put_part(&f, "k", id, 9999, a + 11 * MIB, 100);
	parts[0] = put_part(&f, "k", id, 2, old, 100000);
	parts[0] = put_part(&f, "k", id, 2, a, 5 * MIB);
	parts[1] = put_part(&f, "k", id, 7, a + 5 * MIB, 6 * MIB);
	put_part(&f, "k", id, 8, old, 70000);
	CHECK(has(&f, "photos", "k", old, 100000));
	CHECK_OK(
	    multipart_complete(&f, "photos", "k", id, parts, 3, NULL, NULL, &out, &reason, &e), &e);
	etag_of(parts, 3, etag);
	CHECK_STR(out.etag, etag);
	CHECK(out.size == n);
	CHECK(has(&f, "photos", "k", a, n));
	CHECK(chunks_become(&f, SERVICE_FILES, 4));
	CHECK_OK(
	    multipart_complete(&f, "photos", "k", id, parts, 3, NULL, NULL, &again, &reason, &e),
	    &e);
	CHECK_STR(again.etag, out.etag);
	CHECK(again.size == out.size && again.modified_ms == out.modified_ms);
	object_info_free(&again);
	CHECK(multipart_complete(&f, "photos", "l", id, parts, 3, NULL, NULL, &again, &reason, &e) <
	    0);
	CHECK(e.kind == ERR_MISSING);
	o = get(&f, "photos", "k");
	CHECK_STR(object_info(o)->etag, etag);
	CHECK(object_info(o)->headers.len == 18);
	put(&f, "photos", "k", "small", 5);
	check_object(o, a, n, 999999);
	object_close(o);
	CHECK(chunks_become(&f, SERVICE_FILES, 0));
	CHECK(has(&f, "photos", "k", "small", 5));
	free(a);
	free(old);
}

static void
small_single_parts_and_removal_work(void **state)
{
	struct files f = new_account(state);
	uint8_t *a = noise(6 * MIB, 1);
	struct part_info parts[2];
	struct object_info out;
	const char *reason;
	char id[33];
	struct err e = { 0 };

	begin(&f, "small", id);
	parts[0] = put_part(&f, "small", id, 1, a, 10);
	CHECK_OK(
	    multipart_complete(&f, "photos", "small", id, parts, 1, NULL, NULL, &out, &reason, &e),
	    &e);
	CHECK(has(&f, "photos", "small", a, 10));
	begin(&f, "k", id);
	parts[0] = put_part(&f, "k", id, 1, a, 6 * MIB);
	parts[1] = put_part(&f, "k", id, 2, a, 0);
	CHECK_OK(
	    multipart_complete(&f, "photos", "k", id, parts, 2, NULL, NULL, &out, &reason, &e), &e);
	CHECK(has(&f, "photos", "k", a, 6 * MIB));
	CHECK_OK(files_remove(&f, "photos", "k", &e), &e);
	CHECK_OK(files_remove(&f, "photos", "small", &e), &e);
	CHECK(chunks_become(&f, SERVICE_FILES, 0));
	CHECK_OK(files_bucket_remove(&f, "photos", &e), &e);
	free(a);
}

static void
check_refused(
    struct files *f, const char *id, const struct part_info *parts, size_t n, const char *code)
{
	struct object_info out;
	const char *reason = NULL;
	struct err e = { 0 };

	CHECK(
	    multipart_complete(f, "photos", "k", id, parts, n, NULL, NULL, &out, &reason, &e) < 0);
	CHECK(e.kind == ERR_BAD);
	CHECK_STR(reason, code);
}

static void
completing_names_what_is_wrong(void **state)
{
	const struct files_condition none = { .if_none_match = "*" };
	struct files f = new_account(state);
	uint8_t *a = noise(5 * MIB, 1);
	struct part_info parts[3], bad[3];
	struct object_info out;
	const char *reason;
	char id[33];
	struct err e = { 0 };

	begin(&f, "k", id);
	parts[0] = put_part(&f, "k", id, 1, a, 5 * MIB);
	parts[1] = put_part(&f, "k", id, 3, a, 5 * MIB - 1);
	parts[2] = put_part(&f, "k", id, 5, a, 10);
	check_refused(&f, id, parts, 0, "MalformedXML");
	memcpy(bad, (struct part_info[]){ parts[1], parts[0] }, 2 * sizeof(*bad));
	check_refused(&f, id, bad, 2, "InvalidPartOrder");
	memcpy(bad, (struct part_info[]){ parts[0], parts[0] }, 2 * sizeof(*bad));
	check_refused(&f, id, bad, 2, "InvalidPartOrder");
	check_refused(&f, id, parts, 3, "EntityTooSmall");
	memcpy(bad, parts, sizeof(bad));
	bad[1].number = 2;
	check_refused(&f, id, bad, 2, "InvalidPart");
	bad[1].number = 6;
	check_refused(&f, id, bad, 2, "InvalidPart");
	memcpy(bad, parts, sizeof(bad));
	bad[1].etag[5] ^= 1;
	check_refused(&f, id, bad, 2, "InvalidPart");
	CHECK(!has(&f, "photos", "k", a, 1));

	put(&f, "photos", "k", "v", 1);
	CHECK(multipart_complete(&f, "photos", "k", id, parts, 2, &none, NULL, &out, &reason, &e) <
	    0);
	CHECK(e.kind == ERR_STALE);
	CHECK(has(&f, "photos", "k", "v", 1));
	/* Nothing of that was carried out. */
	CHECK_OK(
	    multipart_complete(&f, "photos", "k", id, parts, 2, NULL, NULL, &out, &reason, &e), &e);
	CHECK(out.size == 10 * MIB - 1);
	free(a);
}

static void
an_aborted_upload_leaves_nothing(void **state)
{
	struct files f = new_account(state);
	uint8_t *a = noise(5 * MIB, 1);
	struct part_info part;
	struct object_info out;
	struct upload *u;
	const char *reason;
	char id[33];
	struct err e = { 0 };

	begin(&f, "k", id);
	part = put_part(&f, "k", id, 1, a, 5 * MIB);
	put_part(&f, "k", id, 2, a, 10);
	CHECK(multipart_abort(&f, "photos", "other", id, &e) < 0 && e.kind == ERR_MISSING);
	CHECK_OK(multipart_abort(&f, "photos", "k", id, &e), &e);
	CHECK(chunks_become(&f, SERVICE_FILES, 0));
	CHECK(multipart_abort(&f, "photos", "k", id, &e) < 0 && e.kind == ERR_MISSING);
	CHECK(
	    multipart_complete(&f, "photos", "k", id, &part, 1, NULL, NULL, &out, &reason, &e) < 0);
	CHECK(e.kind == ERR_MISSING);
	u = upload_begin(&f, "photos", &e);
	CHECK_OK(upload_add(u, a, MIB, &e), &e);
	CHECK_OK(upload_settle(u, &e), &e);
	CHECK(upload_part(u, &f, "k", id, 1, &out, &e) < 0 && e.kind == ERR_MISSING);
	CHECK(upload_part(u, &f, "k", "nonsense", 1, &out, &e) < 0 && e.kind == ERR_MISSING);
	CHECK(upload_part(u, &f, "k", id, 0, &out, &e) < 0 && e.kind == ERR_BAD);
	CHECK(upload_part(u, &f, "k", id, FILES_PART_MAX + 1, &out, &e) < 0 && e.kind == ERR_BAD);
	upload_close(u);
	CHECK(chunks_become(&f, SERVICE_FILES, 0));

	/* A bucket takes its unfinished uploads with it. */
	begin(&f, "k", id);
	put_part(&f, "k", id, 1, a, 5 * MIB);
	begin(&f, "l", id);
	CHECK_OK(files_bucket_remove(&f, "photos", &e), &e);
	CHECK(chunks_become(&f, SERVICE_FILES, 0));
	free(a);
}

static void
parts_are_told_in_pages(void **state)
{
	struct files f = new_account(state);
	struct part_info out[4];
	char id[33];
	bool more;
	struct err e = { 0 };

	begin(&f, "k", id);
	for (unsigned i = 1; i <= 7; i++)
		put_part(&f, "k", id, 10 * i, "abcdefg", i);
	CHECK(multipart_parts(&f, "photos", "k", id, 0, 4, out, &more, NULL, &e) == 4);
	CHECK(more && out[0].number == 10 && out[3].number == 40 && out[3].size == 4);
	CHECK(strlen(out[3].etag) == 32 && out[3].modified_ms);
	CHECK(multipart_parts(&f, "photos", "k", id, 40, 4, out, &more, NULL, &e) == 3);
	CHECK(!more && out[2].number == 70);
	CHECK(multipart_parts(&f, "photos", "k", id, 30, 4, out, &more, NULL, &e) == 4 && !more);
	CHECK(multipart_parts(&f, "photos", "k", id, 0, 0, out, &more, NULL, &e) == 0 && !more);
	CHECK(multipart_parts(&f, "photos", "l", id, 0, 4, out, &more, NULL, &e) < 0);
	CHECK(e.kind == ERR_MISSING);
}

struct seen {
	struct buf keys;
	unsigned max;
	char key[FILES_KEY_MAX + 1], id[33];
};

static int
see(void *arg, const char *key, const char *upload_id, uint64_t started_ms, struct span headers,
    struct err *e)
{
	struct seen *s = arg;

	(void)headers, (void)e;
	CHECK(started_ms > 1000 && strlen(upload_id) == 32);
	if (!s->max--)
		return 1;
	buf_printf(&s->keys, "%s ", key);
	snprintf(s->key, sizeof(s->key), "%s", key);
	snprintf(s->id, sizeof(s->id), "%s", upload_id);
	return 0;
}

static void
uploads_are_told_in_pages(void **state)
{
	static const char *const keys[] = { "a", "b", "b", "b", "ba", "c" };
	struct seen s = { .keys = BUF_INIT(0), .max = 10 };
	struct files f = new_account(state);
	bool more;
	char id[33];
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		begin(&f, keys[i], id);
	CHECK_OK(multipart_list(&f, "photos", "", "", "", &more, see, &s, &e), &e);
	CHECK_STR(buf_str(&s.keys), "a b b b ba c ");
	CHECK(!more);
	buf_clear(&s.keys);
	s.max = 4;
	CHECK_OK(multipart_list(&f, "photos", "b", "", "", &more, see, &s, &e), &e);
	CHECK_STR(buf_str(&s.keys), "b b b ba ");
	CHECK(!more);
	buf_clear(&s.keys);
	s.max = 10;
	CHECK_OK(multipart_list(&f, "photos", "", "b", "", &more, see, &s, &e), &e);
	CHECK_STR(buf_str(&s.keys), "ba c ");
	buf_clear(&s.keys);
	s.key[0] = s.id[0] = '\0';
	do {
		s.max = 2;
		CHECK_OK(multipart_list(&f, "photos", "", s.key, s.id, &more, see, &s, &e), &e);
	} while (more);
	CHECK_STR(buf_str(&s.keys), "a b b b ba c ");
	buf_free(&s.keys);
}

static void
only_the_last_completed_uploads_are_remembered(void **state)
{
	struct files f = new_account(state);
	struct part_info first, part;
	struct object_info out;
	const char *reason;
	char first_id[33], id[33];
	struct err e = { 0 };

	begin(&f, "k", first_id);
	first = put_part(&f, "k", first_id, 1, "a", 1);
	CHECK_OK(multipart_complete(
	             &f, "photos", "k", first_id, &first, 1, NULL, NULL, &out, &reason, &e),
	    &e);
	for (int i = 0; i < 100; i++) {
		CHECK_OK(multipart_complete(
		             &f, "photos", "k", first_id, &first, 1, NULL, NULL, &out, &reason, &e),
		    &e);
		object_info_free(&out);
		begin(&f, "l", id);
		part = put_part(&f, "l", id, 1, "a", 1);
		CHECK_OK(multipart_complete(
		             &f, "photos", "l", id, &part, 1, NULL, NULL, &out, &reason, &e),
		    &e);
	}
	CHECK(multipart_complete(
	          &f, "photos", "k", first_id, &first, 1, NULL, NULL, &out, &reason, &e) < 0);
	CHECK(e.kind == ERR_MISSING);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, region_setup, region_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(listings_are_what_looking_at_every_key_would_give),
		TEST(listings_refuse_what_no_key_can_be),
		TEST(parts_become_one_object_and_twice_gives_the_same),
		TEST(small_single_parts_and_removal_work),
		TEST(completing_names_what_is_wrong),
		TEST(an_aborted_upload_leaves_nothing),
		TEST(parts_are_told_in_pages),
		TEST(uploads_are_told_in_pages),
		TEST(only_the_last_completed_uploads_are_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
