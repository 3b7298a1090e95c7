/* Who regions take each other for, and calls between them. */
#include "base/host.h"
#include "directory/peer_private.h"
#include "fleet.h"

#include <fcntl.h>
#include <gnutls/x509.h>
#include <sys/stat.h>

/* The authority */

static void
a_ca_keeps_its_keys_to_itself(void **state)
{
	const char *dir = *state, *key = check_path(dir, "ca/sg.key");
	const char *hosts[] = { "10.1.2.3", "node1.example" };
	struct err e = { 0 };
	struct stat st;

	CHECK_OK(ca_create(check_path(dir, "ca"), "a fleet", &e), &e);
	CHECK_OK(ca_issue(check_path(dir, "ca"), "sg", hosts, 2, 30, key,
	             check_path(dir, "ca/sg.pem"), &e),
	    &e);
	CHECK(stat(check_path(dir, "ca/ca.key"), &st) == 0 && (st.st_mode & 0777) == 0600);
	CHECK(stat(check_path(dir, "ca/sg.key"), &st) == 0 && (st.st_mode & 0777) == 0600);
	CHECK(stat(check_path(dir, "ca/ca.pem"), &st) == 0 && (st.st_mode & 0777) == 0644);
	CHECK(ca_create(check_path(dir, "ca"), "another", &e) == -1);
	CHECK(e.kind == ERR_EXISTS);
	CHECK(ca_issue(check_path(dir, "ca"), "Not A Region", NULL, 0, 30, check_path(dir, "x"),
	          check_path(dir, "y"), &e) == -1);
	CHECK(e.kind == ERR_BAD);
	CHECK(ca_issue(check_path(dir, "none"), "sg", NULL, 0, 30, check_path(dir, "x"),
	          check_path(dir, "y"), &e) == -1);
	CHECK(e.kind == ERR_MISSING);
}

static void
a_certificate_has_all_its_names(void **state)
{
	static const char *const names[] = { "sg", "localhost", "127.0.0.1", "::1", "10.1.2.3",
		"node1.example" };
	const char *dir = *state, *hosts[] = { "10.1.2.3", "node1.example" };
	_cleanup_buf_ struct buf pem = BUF_INIT(1 << 16);
	gnutls_x509_crt_t crt;
	gnutls_datum_t data;
	struct err e = { 0 };

	CHECK_OK(ca_create(check_path(dir, "ca"), "a fleet", &e), &e);
	CHECK_OK(ca_issue(check_path(dir, "ca"), "sg", hosts, 2, 30, check_path(dir, "k"),
	             check_path(dir, "c"), &e),
	    &e);
	CHECK_OK(fs_read(check_path(dir, "c"), 1 << 15, &pem, &e), &e);
	data = (gnutls_datum_t){ pem.data, (unsigned)pem.len };
	CHECK(gnutls_x509_crt_init(&crt) == 0);
	CHECK(gnutls_x509_crt_import(crt, &data, GNUTLS_X509_FMT_PEM) == 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		CHECK(gnutls_x509_crt_check_hostname(crt, names[i]));
	CHECK(!gnutls_x509_crt_check_hostname(crt, "us"));
	CHECK(gnutls_x509_crt_get_ca_status(crt, NULL) == 0);
	gnutls_x509_crt_deinit(crt);
}

static void
a_region_refuses_to_be_another(void **state)
{
	const char *dir = *state;
	struct peers_config c = { "us", NULL, NULL, NULL, NULL };
	char ca[512], cert[512], key[512], other_key[512];
	struct err e = { 0 };

	peers_close(fleet_peers(dir, "ca", "sg"));
	peers_close(fleet_peers(dir, "ca", "us"));
	snprintf(ca, sizeof ca, "%s/ca/ca.pem", dir);
	snprintf(cert, sizeof cert, "%s/ca/sg.pem", dir);
	snprintf(key, sizeof key, "%s/ca/sg.key", dir);
	snprintf(other_key, sizeof other_key, "%s/ca/us.key", dir);
	c.ca_path = ca, c.cert_path = cert, c.key_path = key;
	CHECK(!peers_open(&c, &e));
	CHECK(e.kind == ERR_BAD && strstr(e.text, "us"));
	c.self = "sg";
	c.key_path = other_key;
	CHECK(!peers_open(&c, &e));
	CHECK(e.kind == ERR_BAD);
	c.key_path = check_path(dir, "none");
	CHECK(!peers_open(&c, &e));
	CHECK(e.kind == ERR_MISSING);
	c.key_path = key;
	c.ca_path = key;
	CHECK(!peers_open(&c, &e));
	CHECK(e.kind == ERR_BAD);
}

/* Calls */

static atomic_bool may_answer; /* what is slow */

static int
echo(void *arg, const char *caller, const char *path, json_t *arguments, json_t **answer,
    struct err *e)
{
	for (int ms = 0; strcmp(path, "/slow") == 0 && !atomic_load(&may_answer) && ms < 30000;
	     ms++)
		usleep(1000);
	if (strcmp(path, "/fail") == 0)
		return err_set(e,
		    (enum err_kind)json_integer_value(json_object_get(arguments, "kind")),
		    "as you wish");
	*answer = json_pack(
	    "{s:s, s:s, s:O}", "caller", caller, "path", path, "arguments", arguments);
	return 0;
}

static int
ask(struct peers *p, const char *name, const char *at, const char *path, uint64_t wait_ms,
    struct err *e)
{
	json_t *body = json_pack("{s:i}", "n", 5), *answer = NULL;
	int rc = peer_call(p, name, at, path, "1234567890abcdef", body, &answer, wait_ms, e);

	json_decref(answer);
	json_decref(body);
	return rc;
}

static void
a_call_comes_from_the_caller(void **state)
{
	FLEET_PEERS(sg, *state, "ca", "sg");
	FLEET_PEERS(us, *state, "ca", "us");
	struct fleet_server s;
	json_t *body = json_pack("{s:s}", "word", "\xc3\xa4"), *answer, *should;
	struct err e = { 0 };

	fleet_serve(&s, sg, echo, NULL);
	fleet_know(us, "sg", s.at, "");
	for (int i = 0; i < 3; i++) {
		CHECK_OK(
		    peer_call(us, "sg", i ? s.at : NULL, "/a/b", NULL, body, &answer, 20000, &e),
		    &e);
		should = json_pack(
		    "{s:s, s:s, s:O}", "caller", "us", "path", "/a/b", "arguments", body);
		CHECK(json_equal(answer, should));
		json_decref(should);
		json_decref(answer);
	}
	CHECK(atomic_load(&s.connections) == 1); /* kept open */
	json_decref(body);
	fleet_unserve(&s);
}

static void
an_error_crosses_as_it_is(void **state)
{
	FLEET_PEERS(sg, *state, "ca", "sg");
	struct fleet_server s;

	fleet_serve(&s, sg, echo, NULL);
	for (int kind = 1; kind < ERR_KINDS; kind++) {
		json_t *body = json_pack("{s:i}", "kind", kind), *answer = NULL;
		struct err e = { 0 };

		CHECK(peer_call(sg, "sg", s.at, "/fail", NULL, body, &answer, 20000, &e) == -1);
		CHECK(e.kind == (enum err_kind)kind && !answer);
		CHECK_STR(e.text, "sg: as you wish");
		json_decref(body);
	}
	fleet_unserve(&s);
}

static void
no_answer_is_an_error_of_the_peer(void **state)
{
	FLEET_PEERS(sg, *state, "ca", "sg");
	struct fleet_server s;
	struct err e = { 0 };

	CHECK(ask(sg, "us", NULL, "/", 1000, &e) == -1); /* unknown */
	CHECK(e.kind == ERR_PEER);
	fleet_serve(&s, sg, echo, NULL);
	atomic_store(&may_answer, false);
	CHECK(ask(sg, "sg", s.at, "/slow", 100, &e) == -1);
	CHECK(e.kind == ERR_PEER);
	atomic_store(&may_answer, true);
	s.raw = "no JSON";
	CHECK(ask(sg, "sg", s.at, "/", 20000, &e) == -1);
	CHECK(e.kind == ERR_PEER);
	fleet_unserve(&s);
	CHECK(ask(sg, "sg", s.at, "/", 1000, &e) == -1);
	CHECK(e.kind == ERR_PEER);
}

static void
a_region_is_known_by_its_name_and_its_ca(void **state)
{
	FLEET_PEERS(sg, *state, "ca", "sg");
	FLEET_PEERS(us, *state, "ca", "us");
	FLEET_PEERS(false_sg, *state, "other", "sg");
	FLEET_PEERS(false_us, *state, "other", "us");
	struct fleet_server s;
	struct err e = { 0 };

	/* Our CA, another region: its certificate is good for 127.0.0.1, but not for sg. */
	fleet_serve(&s, us, echo, NULL);
	CHECK_OK(ask(us, "us", s.at, "/", 20000, &e), &e);
	CHECK(ask(us, "sg", s.at, "/", 20000, &e) == -1);
	CHECK(e.kind == ERR_PEER);
	fleet_unserve(&s);
	/* The name, of another CA. */
	fleet_serve(&s, false_sg, echo, NULL);
	CHECK_OK(ask(false_us, "sg", s.at, "/", 20000, &e), &e);
	CHECK(ask(us, "sg", s.at, "/", 20000, &e) == -1);
	CHECK(e.kind == ERR_PEER);
	fleet_unserve(&s);
	/* A caller of another CA, which trusts ours. */
	fleet_serve(&s, sg, echo, NULL);
	free(false_us->ca_path);
	false_us->ca_path = strdup(check_path(*state, "ca/ca.pem"));
	CHECK(ask(false_us, "sg", s.at, "/", 20000, &e) == -1);
	CHECK(e.kind == ERR_DENIED || e.kind == ERR_PEER);
	fleet_unserve(&s);
}

static void
a_region_that_is_not_in_the_file_is_refused(void **state)
{
	FLEET_PEERS(sg, *state, "ca", "sg");
	FLEET_PEERS(us, *state, "ca", "us");
	struct peer_region r = { .name = "cn-bj" };
	struct fleet_server s;
	struct err e = { 0 };

	fleet_serve(&s, sg, echo, NULL);
	CHECK_OK(ask(us, "sg", s.at, "/", 20000, &e), &e);
	fleet_know(sg, "cn-bj", "", "");
	CHECK(ask(us, "sg", s.at, "/", 20000, &e) == -1);
	CHECK(e.kind == ERR_DENIED && strstr(e.text, "us is not among the regions"));
	CHECK(peers_may_operate(sg, "cn-bj"));
	r.may_not_operate = true;
	CHECK_OK(peers_set_regions(sg, &r, 1, &e), &e);
	CHECK(!peers_may_operate(sg, "cn-bj") && peers_may_operate(sg, "sg"));
	/* Who serves the directory need not be a region. */
	strcpy(sg->directory, "us");
	CHECK_OK(ask(us, "sg", s.at, "/", 20000, &e), &e);
	fleet_unserve(&s);
}

static void
a_host_below_a_domain_is_a_bucket(void **state)
{
	FLEET_PEERS(sg, *state, "ca", "sg");
	const struct peer_region r[] = { { .name = "sg", .s3_domain = "s3.example.com" },
		{ .name = "us" }, { .name = "in", .s3_domain = "in.s3.example.com" } };
	static const struct {
		const char *host, *bucket;
	} cases[] = {
		{ "photos.s3.example.com", "photos" },
		{ "photos.S3.Example.com:7400", "photos" },
		{ "PHOTOS.s3.example.com", "photos" },
		{ "photos.s3.example.com.", "photos" },
		{ "photos.s3.example.com.:7400", "photos" },
		{ "a.b.s3.example.com", "a.b" },
		{ "photos.in.s3.example.com", "photos" },
		{ "far-too-long.s3.example.com", "" },
		{ "s3.example.com", NULL },
		{ "in.s3.example.com:1", NULL }, /* a domain itself, not a bucket of the other */
		{ ".s3.example.com", NULL },
		{ "s3.example.com.", NULL },
		{ ".", NULL },
		{ "photoss3.example.com", NULL },
		{ "photos.s3.example.com.evil", NULL },
		{ "127.0.0.1:7400", NULL },
		{ "", NULL },
	};
	struct err e = { 0 };
	char bucket[8];

	CHECK(!peers_bucket_of_host(sg, cases[0].host, bucket, sizeof bucket));
	CHECK_OK(peers_set_regions(sg, r, ARRAY_LEN(r), &e), &e);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		bool is = peers_bucket_of_host(sg, cases[i].host, bucket, sizeof bucket);

		CHECK(is == (cases[i].bucket != NULL));
		if (is)
			CHECK_STR(bucket, cases[i].bucket);
	}
}

static void
every_listener_speaks_only_sound_tls(void **state)
{
	gnutls_priority_t p;

	CHECK(gnutls_priority_init(&p, TLS_PRIORITIES, NULL) == 0);
	gnutls_priority_deinit(p);
}

#define TEST_IN_DIR(name) cmocka_unit_test_setup_teardown(name, check_dir_setup, check_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_IN_DIR(a_ca_keeps_its_keys_to_itself),
		TEST_IN_DIR(a_certificate_has_all_its_names),
		TEST_IN_DIR(a_region_refuses_to_be_another),
		TEST_IN_DIR(a_call_comes_from_the_caller),
		TEST_IN_DIR(an_error_crosses_as_it_is),
		TEST_IN_DIR(no_answer_is_an_error_of_the_peer),
		TEST_IN_DIR(a_region_is_known_by_its_name_and_its_ca),
		TEST_IN_DIR(a_region_that_is_not_in_the_file_is_refused),
		TEST_IN_DIR(a_host_below_a_domain_is_a_bucket),
		cmocka_unit_test(every_listener_speaks_only_sound_tls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
