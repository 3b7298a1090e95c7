/* What access keys that are limited may do: every row of the table of operations, under every kind of limit. */
#include "check.h"
#include "front/s3_private.h"

static const struct key_scope everything = { .expires_ms = 1 }, reading = { .is_read_only = true },
                              files = { .services = BIT(SERVICE_FILES) },
                              one_bucket = { .bucket = "photos" },
                              below = { .bucket = "photos", .prefix = "2031/" };

/* Without a place in the table nobody with a limited key may: a new operation has to be given one. */
static void
every_operation_says_what_it_touches(void **state)
{
	size_t n;
	const struct s3_operation *o = s3_operations(&n);

	(void)state;
	for (size_t i = 0; i < n; i++)
		if (!s3_scope_knows(&o[i]))
			fail_msg("%s ?%s: src/front/s3_scope.c does not say what it touches",
			    o[i].method, o[i].query ? o[i].query : "");
}

static void
an_operation_without_a_place_is_refused(void **state)
{
	static const struct s3_operation unknown = { "GET", LEVEL_KEY, "new", .fn = NULL };

	(void)state;
	CHECK(!s3_scope_refusal(&everything, &unknown, "photos", "k", ""));
	CHECK(s3_scope_refusal(&reading, &unknown, "photos", "k", ""));
	CHECK(s3_scope_refusal(&one_bucket, &unknown, "photos", "k", ""));
}

static bool
is_any(const char *word, const char *const *list)
{
	for (; *list; list++)
		if (!strcmp(word, *list))
			return true;
	return false;
}

/* The rules in other words than the program's, by method and argument alone. */
static bool
may_below(const struct s3_operation *o, const char *key, const char *prefix)
{
	static const char *const listings[] = { "", "list-type", "versions", "uploads", NULL };
	static const char *const looks[] = { "location", "versioning", "object-lock", NULL };
	const char *query = o->query ? o->query : "";
	bool is_get = !strcmp(o->method, "GET");

	if (o->level == LEVEL_ROOT)
		return true;
	/* A form names its key in its body. */
	if (o->level == LEVEL_KEY || (!strcmp(o->method, "POST") && !*query))
		return !strncmp(key, "2031/", 5);
	if (is_get && is_any(query, listings))
		return !strncmp(prefix, "2031/", 5);
	return (is_get && is_any(query, looks)) || !strcmp(o->method, "HEAD") ||
	    !strcmp(o->method, "POST");
}

static bool
may(const struct key_scope *s, const struct s3_operation *o, const char *bucket, const char *key,
    const char *prefix)
{
	return !s3_scope_refusal(s, o, bucket, key, prefix);
}

static void
each_row_keeps_to_each_limit(void **state)
{
	static const char *const keys[] = { "2031/a", "2031/", "2031", "2030/a", "" };
	size_t n;
	const struct s3_operation *o = s3_operations(&n);

	(void)state;
	for (size_t i = 0; i < n; i++, o++) {
		bool is_root = o->level == LEVEL_ROOT;
		bool reads = !strcmp(o->method, "GET") || !strcmp(o->method, "HEAD");

		CHECK(may(&everything, o, "photos", "k", ""));
		CHECK(may(&reading, o, "photos", "k", "") == reads);
		CHECK(may(&files, o, "photos", "k", ""));
		CHECK(may(&files, o, "backup-laptop", "k", "") == is_root);
		CHECK(may(&one_bucket, o, "photos", "k", ""));
		CHECK(may(&one_bucket, o, "photos2", "k", "") == is_root);
		for (size_t j = 0; j < ARRAY_LEN(keys); j++) {
			if (may(&below, o, "photos", keys[j], keys[j]) !=
			    may_below(o, keys[j], keys[j]))
				fail_msg(
				    "%s ?%s '%s'", o->method, o->query ? o->query : "", keys[j]);
			CHECK(may(&below, o, "other", keys[j], keys[j]) == is_root);
		}
	}
}

static void
scopes_know_their_names(void **state)
{
	(void)state;
	CHECK(!key_scope_is_limited(&everything) && key_scope_is_limited(&reading));
	CHECK(key_scope_is_limited(&files) && key_scope_is_limited(&one_bucket));
	CHECK(key_scope_has_bucket(&files, "x") && !key_scope_has_bucket(&files, "backup"));
	CHECK(key_scope_has_key(&below, "photos", "2031/a"));
	CHECK(!key_scope_has_key(&below, "photos", "2032/a"));
	CHECK(!key_scope_has_key(&below, "photo", "2031/a"));
	CHECK(key_scope_has_key(&everything, "any", ""));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_operation_says_what_it_touches),
		cmocka_unit_test(an_operation_without_a_place_is_refused),
		cmocka_unit_test(each_row_keeps_to_each_limit),
		cmocka_unit_test(scopes_know_their_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
