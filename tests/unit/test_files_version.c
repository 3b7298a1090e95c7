/* test_files_version.c - buckets that keep versions: random changes against a simple model. */
#include "service_fixture.h"

#define KEYS         4
#define VERSIONS_MAX 64
#define ROUNDS       400

struct version {
	char id[FILES_VERSION_SIZE];
	bool is_marker;
	uint64_t seed;
	size_t size;
};

/* Of each key, the newest last. */
struct model {
	enum files_versioning state;
	struct {
		struct version v[VERSIONS_MAX];
		size_t n;
	} key[KEYS];
};

static const char *const names[KEYS] = { "a", "a/b", "c", "\xc3\xa9" };
static const size_t sizes[] = { 0, 10, 33000, 200 };

static struct region region;
static uint64_t random_state;

static unsigned
any(unsigned n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)(random_state % n);
}

static struct files
new_account(void)
{
	struct files f = region_account(&region, ALL_SERVICES, NULL);
	struct err e = { 0 };

	CHECK_OK(files_bucket_create(&f, "photos", &e), &e);
	return f;
}

/* --- the model --- */

static void
model_drop(struct model *m, unsigned k, const char *id)
{
	for (size_t i = 0; i < m->key[k].n; i++)
		if (!strcmp(m->key[k].v[i].id, id)) {
			memmove(&m->key[k].v[i], &m->key[k].v[i + 1],
			    (m->key[k].n - i - 1) * sizeof(struct version));
			m->key[k].n--;
			return;
		}
}

static void
model_add(struct model *m, unsigned k, struct version v)
{
	if (!strcmp(v.id, FILES_VERSION_NULL))
		model_drop(m, k, v.id);
	CHECK(m->key[k].n < VERSIONS_MAX);
	m->key[k].v[m->key[k].n++] = v;
}

/* The id that a new version has to have: the null one, or one that is new. */
static void
check_id(const struct model *m, unsigned k, const char *id)
{
	if (m->state != VERSIONING_ON) {
		CHECK_STR(id, FILES_VERSION_NULL);
		return;
	}
	CHECK(strlen(id) == FILES_VERSION_SIZE - 1);
	for (size_t i = 0; i < m->key[k].n; i++)
		CHECK(strcmp(m->key[k].v[i].id, id) != 0);
}

/* --- one change of both --- */

static void
change_put(struct files *f, struct model *m, unsigned k)
{
	struct version v = { .seed = random_state, .size = sizes[any(ARRAY_LEN(sizes))] };
	uint8_t *p = noise(v.size, v.seed);
	struct object_info out;
	struct err e = { 0 };

	CHECK_OK(put_with(f, "photos", names[k], p, v.size, NULL, NULL, &out, &e), &e);
	if (m->state == VERSIONING_OFF) {
		CHECK_STR(out.version, "");
		snprintf(out.version, sizeof(out.version), FILES_VERSION_NULL);
	}
	check_id(m, k, out.version);
	memcpy(v.id, out.version, sizeof(v.id));
	model_add(m, k, v);
	free(p);
}

static void
change_remove(struct files *f, struct model *m, unsigned k)
{
	struct removal r = { .key = names[k] };
	struct version v = { .is_marker = true };
	struct err e = { 0 };

	CHECK_OK(files_remove_many(f, "photos", &r, 1, &e), &e);
	CHECK(r.err.kind == ERR_NONE);
	if (m->state == VERSIONING_OFF) {
		CHECK(!r.is_marker && !r.found[0]);
		model_drop(m, k, FILES_VERSION_NULL);
		return;
	}
	CHECK(r.is_marker);
	check_id(m, k, r.found);
	memcpy(v.id, r.found, sizeof(v.id));
	model_add(m, k, v);
}

static void
change_remove_version(struct files *f, struct model *m, unsigned k)
{
	size_t n = m->key[k].n, i = n ? any((unsigned)n) : 0;
	struct version *v = &m->key[k].v[i];
	struct removal r = { .key = names[k], .version = n ? v->id : "0123456789abcdef" };
	struct err e = { 0 };

	CHECK_OK(files_remove_many(f, "photos", &r, 1, &e), &e);
	CHECK(r.err.kind == ERR_NONE);
	CHECK_STR(r.found, r.version);
	CHECK(r.is_marker == (n && v->is_marker));
	if (n)
		model_drop(m, k, v->id);
}

static void
change_state(struct files *f, struct model *m)
{
	struct err e = { 0 };

	m->state = any(3) ? VERSIONING_ON : VERSIONING_SUSPENDED;
	CHECK_OK(files_versioning_set(f, "photos", m->state, &e), &e);
}

/* --- comparing --- */

static void
check_version(
    struct files *f, const struct model *m, unsigned k, const struct version *v, const char *asked)
{
	struct object_absence why;
	struct err e = { 0 };
	struct object *o = object_open_version(f, "photos", names[k], asked, true, &why, &e);
	uint8_t *p;

	if (v->is_marker && !asked) {
		CHECK(!o && e.kind == ERR_MISSING && why.is_marker);
		CHECK_STR(why.version, v->id);
		return;
	}
	CHECK_OK(o ? 0 : -1, &e);
	CHECK(object_info(o)->is_marker == v->is_marker);
	CHECK_STR(object_info(o)->version, m->state == VERSIONING_OFF ? "" : v->id);
	if (!v->is_marker) {
		p = noise(v->size, v->seed);
		check_object(o, p, v->size, 9999);
		free(p);
	}
	object_close(o);
}

static void
check_key(struct files *f, const struct model *m, unsigned k)
{
	size_t n = m->key[k].n;
	bool missing_bucket;
	struct err e = { 0 };

	for (size_t i = 0; i < n; i++)
		check_version(f, m, k, &m->key[k].v[i], m->key[k].v[i].id);
	if (n)
		check_version(f, m, k, &m->key[k].v[n - 1], NULL);
	else
		CHECK(!object_open(f, "photos", names[k], true, &missing_bucket, &e) &&
		    e.kind == ERR_MISSING && !missing_bucket);
}

struct walk {
	const struct model *m;
	unsigned k; /* the next that is expected */
	size_t i;   /* versions of it told already */
	unsigned told;
};

static int
walk_one(void *arg, const char *key, const struct object_info *i, struct err *e)
{
	struct walk *w = arg;
	const struct version *v;

	(void)e;
	while (w->k < KEYS && w->i == w->m->key[w->k].n) {
		w->k++;
		w->i = 0;
	}
	CHECK(w->k < KEYS);
	v = &w->m->key[w->k].v[w->m->key[w->k].n - 1 - w->i];
	CHECK_STR(key, names[w->k]);
	CHECK_STR(i->version, v->id);
	CHECK(i->is_marker == v->is_marker && i->size == v->size);
	CHECK(i->is_latest == (w->i == 0));
	w->i++;
	w->told++;
	return 0;
}

/* All versions, in pages of MAX. */
static void
check_list(struct files *f, const struct model *m, unsigned max)
{
	char next[FILES_KEY_MAX + 1] = "", after[FILES_KEY_MAX + 1];
	char version[FILES_VERSION_SIZE] = "", after_version[FILES_VERSION_SIZE];
	struct walk w = { .m = m };
	unsigned all = 0;
	bool more = true;
	struct err e = { 0 };

	for (unsigned k = 0; k < KEYS; k++)
		all += (unsigned)m->key[k].n;
	while (more) {
		struct version_query q = {
			.list = { .bucket = "photos", .prefix = "", .delimiter = "", .max = max },
			.after_version = version[0] ? after_version : NULL,
		};

		memcpy(after, next, sizeof(after));
		memcpy(after_version, version, sizeof(version));
		q.list.after = after;
		CHECK_OK(files_list_versions(f, &q, walk_one, &w, &more, next, version, &e), &e);
		CHECK(w.told <= all);
	}
	CHECK(w.told == all);
}

static int
count_key(void *arg, const char *key, const struct object_info *i, struct err *e)
{
	(void)key, (void)i, (void)e;
	++*(unsigned *)arg;
	return 0;
}

/* A plain listing shows the keys whose newest is an object. */
static void
check_plain(struct files *f, const struct model *m)
{
	struct list_query q = {
		.bucket = "photos", .prefix = "", .delimiter = "", .after = "", .max = 1000
	};
	char next[FILES_KEY_MAX + 1];
	unsigned n = 0, should = 0;
	bool more;
	struct err e = { 0 };

	for (unsigned k = 0; k < KEYS; k++)
		should += m->key[k].n && !m->key[k].v[m->key[k].n - 1].is_marker;
	CHECK_OK(files_list(f, &q, count_key, &n, &more, next, &e), &e);
	CHECK(n == should);
}

static void
remove_all(struct files *f, struct model *m)
{
	struct err e = { 0 };

	for (unsigned k = 0; k < KEYS; k++)
		while (m->key[k].n)
			change_remove_version(f, m, k);
	CHECK(chunks_become(f, SERVICE_FILES, 0));
	CHECK_OK(files_bucket_remove(f, "photos", &e), &e);
}

static void
versions_are_what_a_simple_model_has(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct files f = new_account();
		struct model m = { .state = VERSIONING_OFF };
		struct err e = { 0 };

		random_state = seed * 0x9e3779b97f4a7c15u;
		for (unsigned i = 0; i < ROUNDS; i++) {
			unsigned k = any(KEYS), what = any(20);

			if (what == 0 || (i == 20 && m.state == VERSIONING_OFF))
				change_state(&f, &m);
			else if (what < 9 && m.key[k].n < VERSIONS_MAX - 1)
				change_put(&f, &m, k);
			else if (what < 13 && m.key[k].n < VERSIONS_MAX - 1)
				change_remove(&f, &m, k);
			else
				change_remove_version(&f, &m, k);
			check_key(&f, &m, k);
			check_list(&f, &m, 1 + any(5));
			check_plain(&f, &m);
			if (m.key[k].n)
				CHECK(files_bucket_remove(&f, "photos", &e) < 0 &&
				    e.kind == ERR_BUSY);
		}
		remove_all(&f, &m);
	}
}

static void
versioning_is_never_taken_back_and_ids_are_checked(void **state)
{
	struct files f = new_account();
	enum files_versioning v = VERSIONING_ON;
	struct removal r = { .key = "k", .version = "../../etc" };
	struct object_absence why;
	struct err e = { 0 };

	(void)state;
	CHECK_OK(files_versioning(&f, "photos", &v, &e), &e);
	CHECK(v == VERSIONING_OFF);
	CHECK(files_versioning_set(&f, "photos", VERSIONING_OFF, &e) < 0 && e.kind == ERR_BAD);
	CHECK(files_versioning_set(&f, "nothing", VERSIONING_ON, &e) < 0 && e.kind == ERR_MISSING);
	CHECK(files_versioning(&f, "nothing", &v, &e) < 0 && e.kind == ERR_MISSING);
	CHECK(!object_open_version(&f, "photos", "k", "f123456789abcdef", true, &why, &e) &&
	    e.kind == ERR_BAD);
	CHECK(!object_open_version(&f, "photos", "k", "", true, &why, &e) && e.kind == ERR_BAD);
	CHECK(!object_open_version(&f, "photos", "k", "null", true, &why, &e) &&
	    e.kind == ERR_MISSING && !why.is_bucket);
	CHECK_OK(files_remove_many(&f, "photos", &r, 1, &e), &e);
	CHECK(r.err.kind == ERR_BAD);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(versions_are_what_a_simple_model_has),
		cmocka_unit_test(versioning_is_never_taken_back_and_ids_are_checked),
	};
	int failed;

	region_open(&region, false);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	region_close(&region);
	return failed;
}
