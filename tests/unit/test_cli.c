/* The command line: what it takes, what it refuses and how it says so. */
#include "check.h"

#include "base/conf.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/region_conf.h"
#include "cli/sign_key.h"
#include "cli/wave_watch.h"

#include <sys/stat.h>

#define WORDS(...) \
	{ \
		"domicile", __VA_ARGS__ \
	}
#define PARSE(argv, args, out, e) cli_parse(ARRAY_LEN(argv), argv, args, out, e)

static void
options_are_found_in_any_order_and_form(void **state)
{
	const char *argv[] = WORDS("wave", "plan", "--to=sg", "--dry-run", "--from", "cn-bj",
	    "--rate", "50MiB", "--config", "x.conf");
	_cleanup_buf_ struct buf out = BUF_INIT(1 << 16);
	struct args a;
	struct err e;
	uint64_t rate;

	CHECK_OK(PARSE(argv, &a, &out, &e), &e);
	CHECK_STR(a.command->words, "wave plan");
	CHECK_STR(arg_text(&a, "from"), "cn-bj");
	CHECK_STR(arg_text(&a, "to"), "sg");
	CHECK(arg_flag(&a, "dry-run") && !arg_flag(&a, "json"));
	CHECK_OK(arg_size(&a, "rate", 0, &rate, &e), &e);
	CHECK(rate == 50 << 20);
	CHECK(!arg_operand(&a, 0));
}

static void
operands_may_begin_with_a_dash_after_two_dashes(void **state)
{
	const char *argv[] = WORDS("verify", "--trust", "keys", "--", "--odd");
	_cleanup_buf_ struct buf out = BUF_INIT(1 << 16);
	struct args a;
	struct err e;

	CHECK_OK(PARSE(argv, &a, &out, &e), &e);
	CHECK_STR(arg_operand(&a, 0), "--odd");
	CHECK_STR(arg_text(&a, "trust"), "keys");
}

struct refusal {
	const char *words[8];
	const char *says;
};

static void
what_is_wrong_is_named_with_the_way_out(void **state)
{
	static const struct refusal refusals[] = {
		{ { "wave", "plan", "--form", "x" },
		    "unknown option --form; see: domicile wave plan --help" },
		{ { "wave", "plan", "-f", "x" },
		    "unknown option -f; see: domicile wave plan --help" },
		{ { "wave", "plan", "--from" },
		    "--from needs REGION; see: domicile wave plan --help" },
		{ { "wave", "plan", "--from", "a" },
		    "--to REGION is missing; see: domicile wave plan --help" },
		{ { "wave", "plan", "--dry-run=yes" }, "--dry-run takes no value" },
		{ { "wave", "run", "--json", "--json", "1" }, "--json is there twice" },
		{ { "wave", "run" }, "ID is missing; see: domicile wave run --help" },
		{ { "wave", "run", "1", "2" }, "'2' is too much; see: domicile wave run --help" },
		{ { "account", "key", "revoke" },
		    "ID KEY is missing; see: domicile account key revoke --help" },
		{ { "account", "key", "revoke", "1" },
		    "KEY is missing; see: domicile account key revoke --help" },
		{ { "--config", "x", "wave", "list" },
		    "--config comes after the command; see: domicile --help" },
		{ { "wave", "--json", "list" },
		    "--json comes after the command; see: domicile wave --help" },
		{ { "wave", "fly" }, "there is no command 'wave fly'; see: domicile wave --help" },
		{ { "wave" }, "which command? see: domicile wave --help" },
		{ { "fly" }, "there is no command 'fly'; see: domicile --help" },
		{ { "help", "wave", "fly" },
		    "there is no command 'wave fly'; see: domicile wave --help" },
		{ { NULL }, "which command? see: domicile --help" },
	};

	for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
		_cleanup_buf_ struct buf out = BUF_INIT(1 << 16);
		const char *argv[10] = { "domicile" };
		struct err e = { 0 };
		struct args a;
		int n = 1;

		for (; refusals[i].words[n - 1]; n++)
			argv[n] = refusals[i].words[n - 1];
		CHECK(cli_parse(n, argv, &a, &out, &e) < 0);
		CHECK_STR(e.text, refusals[i].says);
		CHECK(e.kind == ERR_USAGE && err_exit(e.kind) == 2);
	}
}

static void
the_table_holds_together(void **state)
{
	for (const struct command *c = commands; c->words; c++) {
		_cleanup_buf_ struct buf out = BUF_INIT(1 << 16);
		struct err e;

		CHECK(c->run && c->summary && c->operands);
		CHECK(!c->options[OPTIONS_MAX - 1].name);
		CHECK_OK(cli_help(c->words, &out, &e), &e);
		for (const char *line = buf_str(&out); *line; line += strcspn(line, "\n") + 1)
			CHECK(strcspn(line, "\n") <= 110);
		for (const struct option *o = c->options; o->name; o++) {
			char form[64];

			snprintf(form, sizeof(form), "\n  --%s", o->name);
			CHECK(strstr(buf_str(&out), form));
			CHECK(o->help && (o->value || !o->is_needed));
		}
		for (const struct command *d = commands; d < c; d++)
			CHECK(strcmp(c->words, d->words) != 0);
	}
}

static void
help_is_there_for_all_for_a_group_and_for_one(void **state)
{
	const char *const all[] = WORDS("--help"), *const group[] = WORDS("wave", "--help");
	const char *const one[] = WORDS("help", "wave", "plan"),
	                  *const two[] = WORDS("wave", "plan", "-h");
	const char *const version[] = WORDS("--version");
	struct buf out[5] = { BUF_INIT(1 << 16), BUF_INIT(1 << 16), BUF_INIT(1 << 16),
		BUF_INIT(1 << 16), BUF_INIT(1 << 16) };
	struct args a;
	struct err e;

	CHECK_OK(PARSE(all, &a, &out[0], &e), &e);
	CHECK(!a.command && strstr(buf_str(&out[0]), "\n  serve ") &&
	    strstr(buf_str(&out[0]), "\n  wave plan "));
	CHECK_OK(PARSE(group, &a, &out[1], &e), &e);
	CHECK(!a.command && !strstr(buf_str(&out[1]), "  serve ") &&
	    strstr(buf_str(&out[1]), "\n  wave plan "));
	CHECK_OK(PARSE(one, &a, &out[2], &e), &e);
	CHECK(strstr(buf_str(&out[2]), "usage: domicile wave plan --from REGION --to REGION"));
	CHECK_OK(PARSE(two, &a, &out[3], &e), &e);
	CHECK_STR(buf_str(&out[2]), buf_str(&out[3]));
	CHECK_OK(PARSE(version, &a, &out[4], &e), &e);
	CHECK_STR(buf_str(&out[4]), "domicile " DOMICILE_VERSION "\n");
	for (size_t i = 0; i < ARRAY_LEN(out); i++)
		buf_free(&out[i]);
}

static void
sizes_durations_and_hours_are_read_or_refused(void **state)
{
	static const char *const no_sizes[] = { "", "MiB", "-1", "5 MB", "0x10", "1e3", "inf",
		"1..2", "9999999999999999999", "99999999TiB" };
	static const char *const no_hours[] = { "8-20", "08:00", "08:00-08:00", "24:00-01:00",
		"08:60-09:00", "08:00-20:00 ", "08:00-20:00x" };
	uint64_t v = 0;
	int from = 0, to = 0;

	CHECK(value_size("1000", &v) && v == 1000);
	CHECK(value_size("512 KiB", &v) && v == 512 << 10);
	CHECK(value_size("1.5GiB", &v) && v == 3ull << 29);
	for (size_t i = 0; i < ARRAY_LEN(no_sizes); i++)
		CHECK(!value_size(no_sizes[i], &v));
	CHECK(value_duration_ms("90m", &v) && v == 90 * 60000);
	CHECK(value_duration_ms("250ms", &v) && v == 250);
	CHECK(value_duration_ms("3d", &v) && v == 3 * 86400000ull);
	CHECK(!value_duration_ms("3", &v) && !value_duration_ms("3 weeks", &v));
	CHECK(value_hours("08:00-20:30", &from, &to) && from == 480 && to == 1230);
	CHECK(value_hours("22:00-06:00", &from, &to) && from == 1320 && to == 360);
	for (size_t i = 0; i < ARRAY_LEN(no_hours); i++)
		CHECK(!value_hours(no_hours[i], &from, &to));
}

static void
deadlines_are_dates_in_utc_or_from_now_on(void **state)
{
	static const char *const no_dates[] = { "", "+", "2026-12-01", "2026-02-31T00:00Z",
		"2026-12-01T00:00", "2026-12-01T00:00Zx", "tomorrow", "+2", "1969-01-01T00:00Z" };
	uint64_t v = 0;

	CHECK(value_instant_ms("2026-12-01T00:00Z", 0, &v) && v == 1796083200000);
	CHECK(value_instant_ms("2026-12-01T00:00:07Z", 0, &v) && v == 1796083207000);
	CHECK(value_instant_ms("2028-02-29T12:30Z", 0, &v) && v == 1835440200000);
	CHECK(value_instant_ms("+2h", 1000, &v) && v == 7201000);
	for (size_t i = 0; i < ARRAY_LEN(no_dates); i++)
		CHECK(!value_instant_ms(no_dates[i], 0, &v));
}

static void
amounts_are_told_for_people(void **state)
{
	char t[25];

	text_bytes(0, t), CHECK_STR(t, "0 B");
	text_bytes(1023, t), CHECK_STR(t, "1023 B");
	text_bytes(1536, t), CHECK_STR(t, "1.5 KiB");
	text_bytes((1 << 20) - 1, t), CHECK_STR(t, "1.0 MiB");
	text_bytes(UINT64_MAX, t), CHECK_STR(t, "16.0 EiB");
	text_duration(420, t), CHECK_STR(t, "0.4s");
	text_duration(59400, t), CHECK_STR(t, "59s");
	text_duration(185000, t), CHECK_STR(t, "3m 05s");
	text_duration(7800000, t), CHECK_STR(t, "2h 10m");
	text_duration(352800000, t), CHECK_STR(t, "4d 02h");
	text_us(420, t), CHECK_STR(t, "420us");
	text_us(35100, t), CHECK_STR(t, "35.1ms");
	text_minute(1796083200000, t), CHECK_STR(t, "2026-12-01T00:00Z");
	text_minute(0, t), CHECK_STR(t, "-");
}

static void
a_wave_is_told_with_counts_rates_deadline_and_pause(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT(1 << 16), plain = BUF_INIT(1 << 16);
	struct progress p = { .bytes_per_s = 2 << 20, .done_per_s = 4 };
	json_t *status = json_pack(
	    "{s:s, s:s, s:s, s:s, s:{s:i, s:i, s:i, s:i}, s:i, s:i, s:{s:i, s:i, s:i}, s:i, s:i, s:[{s:s, s:i}]}",
	    "id", "00aa", "from", "cn-bj", "to", "sg", "state", "running", "items", "waiting", 60,
	    "moved", 10, "erased", 30, "put-off", 1, "accounts", 101, "bytes", 5 << 20, "pause_us",
	    "p50", 36000, "p99", 61000, "max", 80000, "round_trip_us", 35100, "held", 7, "reasons",
	    "reason", "too busy", "items", 1);

	CHECK(wave_is_going_on(status));
	wave_text(status, &p, &text, &plain);
	CHECK_STR(buf_str(&plain),
	    "running: 40 of 101 accounts moved, 30 erased, 1 put off; 5.0 MiB, 2.0 MiB/s, 4.0 accounts/s, "
	    "15s left; pause p50 36.0ms, p99 61.0ms, max 80.0ms (round trip 35.1ms), 7 requests waited");
	CHECK(strstr(buf_str(&text), "wave 00aa  cn-bj -> sg  running\n[###########....."));
	CHECK(strstr(buf_str(&text), "  1 x too busy\n"));
	json_decref(status);
}

/* 40 accounts and 5 MiB in ten seconds; then for AGE_S the old home is not through with erasing. */
static json_t *
a_wave_that_erases(double age_s)
{
	return json_pack("{s:s, s:s, s:{s:i, s:i}, s:i, s:i, s:f}", "id", "00aa", "state",
	    "running", "items", "moved", 10, "erased", 30, "accounts", 40, "bytes", 5 << 20,
	    "moving_s", 10 + age_s);
}

static void
a_wave_that_only_erases_keeps_the_rate_of_its_moves(void **state)
{
	struct wave_view v = { 0 };

	for (double age_s = 0; age_s < 100; age_s += 30) {
		_cleanup_buf_ struct buf text = BUF_INIT(1 << 16), plain = BUF_INIT(1 << 16);
		json_t *status = a_wave_that_erases(age_s);

		wave_measure(&v, status);
		wave_text(status, &v.progress, &text, &plain);
		CHECK(strstr(buf_str(&plain),
		    "5.0 MiB, 512.0 KiB/s, 4.0 accounts/s, waiting for 10 erasures; pause"));
		json_decref(status);
	}
}

static void
a_wave_that_does_not_get_on_says_why(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT(1 << 16), plain = BUF_INIT(1 << 16);
	struct progress p = { .done_per_s = 0.02 };
	json_t *status = json_pack(
	    "{s:s, s:s, s:s, s:{s:i, s:i}, s:i, s:{s:[{s:s, s:s}, {s:s, s:s}]}}", "id", "00aa",
	    "from", "cn-bj", "state", "running", "items", "put-off", 3, "erased", 1, "accounts", 4,
	    "moving", "waves", "wave", "00aa", "trouble", "sg: no way there", "wave", "00bb",
	    "trouble", "another's");

	wave_text(status, &p, &text, &plain);
	CHECK(strstr(buf_str(&plain), "accounts/s, waiting to try 3 again; pause"));
	CHECK(strstr(buf_str(&plain), " requests waited; cn-bj is in trouble: sg: no way there"));
	CHECK(strstr(buf_str(&text), "  cn-bj is in trouble: sg: no way there\n"));
	CHECK(!strstr(buf_str(&text), "another's"));
	json_decref(status);
}

static const char minimal[] =
    "region = sg\njurisdiction = SG\nstore = store\nregion_key = k\nsign_key = s\ntls_cert = /t/c\n"
    "tls_key = tk\nca = ca\nregions = r\nadmin_socket = a\ndirectory = d\npeer_listen = 127.0.0.1:1\n"
    "stream_listen = 127.0.0.1:2\n";

static int
load(const char *dir, const char *more, struct region_conf *c, struct err *e)
{
	const char *path = check_path(dir, "region.conf");
	FILE *f = fopen(path, "w");

	CHECK(f);
	fputs(minimal, f);
	fputs(more, f);
	fclose(f);
	return region_conf_load(path, c, e);
}

static void
a_region_conf_has_defaults_and_paths_from_its_folder(void **state)
{
	const char *dir = *state;
	struct region_conf c;
	struct err e;

	CHECK_OK(load(dir, "hold = 5 s\n", &c, &e), &e);
	CHECK_STR(c.region, "sg");
	CHECK_STR(c.store, check_path(dir, "store"));
	CHECK_STR(c.tls_cert, "/t/c");
	CHECK(c.hold_ms == 5000 && c.read_lease_ms == 2000 && !c.s3_listen);
	CHECK(c.scrub_every_ms == 7 * 86400000ull && c.scrub_rate == 8 << 20);
	region_conf_close(&c);
	CHECK_OK(load(dir, "scrub = 12d\nscrub_rate = 1 GiB\n", &c, &e), &e);
	CHECK(c.scrub_every_ms == 12 * 86400000ull && c.scrub_rate == 1 << 30);
	region_conf_close(&c);
	CHECK_OK(load(dir, "scrub = off\n", &c, &e), &e);
	CHECK(c.scrub_every_ms == 0);
	region_conf_close(&c);
}

/* The lines after MINIMAL's begin at 14. */
static void
a_wrong_region_conf_is_refused_and_explained(void **state)
{
	static const struct {
		const char *more, *says;
	} wrong[] = {
		{ "hodl = 5 s\n", ":14: unknown word 'hodl'" },
		{ "hold = soon\n",
		    ":14: hold = soon: expected a time with its unit (ms, s, m, h or d), such as 30 s" },
		{ "hold = 30000\n", "hold = 30000: expected a time with its unit" },
		{ "hold = 1 h\n", ":14: hold = 1 h: must lie between 100 ms and 10 m" },
		{ "scrub = 7\n",
		    ":14: scrub = 7: expected a time with its unit from 1 m to 400 d, such as 7 d, or off" },
		{ "scrub = 1 s\n", "scrub = 1 s: expected" },
		{ "workers = many\n", ":14: workers = many: expected a number without a unit" },
		{ "workers = 2\n", "workers = 2: must lie between 4 and 4096" },
		{ "workers = 1 KiB\n", "workers = 1 KiB: expected a number without a unit" },
		{ "vaults_memory = 256 MB\n",
		    "vaults_memory = 256 MB: expected bytes, or a size in KiB, MiB or GiB" },
		{ "vaults_memory = 1 KiB\n", "must be at least 8 MiB" },
		{ "headers = 1 GiB\n", "must lie between 8 KiB and 256 KiB" },
		{ "quota_bytes = lots\n", "expected a size such as 50 GiB, or none" },
		{ "quota_objects = lots\n", "expected a number such as 1000000, or none" },
		{ "standby_wait = maybe\n", ":14: standby_wait = maybe: expected yes or no" },
		{ "standby = 10.0.0.1\n", ":14: standby = 10.0.0.1: expected HOST:PORT" },
		{ "s3_listen = 7400\n", ":14: s3_listen = 7400: expected HOST:PORT" },
		{ "s3_listen = 127.0.0.1:74000\n",
		    "s3_listen = 127.0.0.1:74000: expected HOST:PORT" },
		{ "metrics_listen = 127.0.0.1:1\n",
		    ":14: metrics_listen = 127.0.0.1:1: peer_listen has it already" },
		{ "jurisdiction = China\n", ":14: jurisdiction = China: expected a country" },
		{ "[extra]\nword = 1\n", "extra" },
		{ "directory_at = bj=127.0.0.1:5\n", "either 'directory' or 'directory_at'" },
		{ "log_level = loud\n", ":14: log_level = loud: expected debug" },
		{ "region = Not Good\n", ":14: region = Not Good: expected" },
	};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct region_conf c;
		struct err e = { 0 };

		CHECK(load(*state, wrong[i].more, &c, &e) < 0);
		CHECK(e.kind == ERR_BAD);
		if (!strstr(e.text, wrong[i].says))
			fail_msg("%s: %s", wrong[i].says, e.text);
	}
}

static enum err_kind
read_region(const char *s3, const char *domain)
{
	static struct peer_region r[REGIONS_MAX];
	_cleanup_(freep) char *text = NULL;
	_cleanup_(conf_freep) struct conf *c = NULL;
	struct err e = { 0 };
	size_t n;

	CHECK(
	    asprintf(&text,
	        "[region sg]\njurisdiction = SG\ns3 = %s\ns3_domain = %s\npeer = y:2\nstream = z:3\n"
	        "sign = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
	        s3, domain) > 0);
	c = conf_parse(text, "r", &e);
	CHECK(c);
	if (regions_read(c, r, &n, &e) == 0)
		CHECK_STR(r[0].s3_domain, domain);
	return e.kind;
}

static void
a_domain_of_buckets_has_no_region_below_it(void **state)
{
	CHECK(read_region("https://sg.example.com:7400", "s3.example.com") == ERR_NONE);
	CHECK(read_region("https://s3.example.com", "s3.example.com") == ERR_NONE);
	CHECK(read_region("https://sg.s3.example.com:7400", "s3.example.com") == ERR_BAD);
	CHECK(read_region("https://SG.S3.example.com", "s3.example.com") == ERR_BAD);
	CHECK(read_region("https://sg", "S3.example.com") == ERR_BAD);
	CHECK(read_region("https://sg", "example") == ERR_BAD);
	CHECK(read_region("https://sg", ".example.com") == ERR_BAD);
	CHECK(read_region("https://sg", "s3..com") == ERR_BAD);
}

static void
regions_are_read_with_their_keys(void **state)
{
	static const char good[] =
	    "[region sg]\njurisdiction = SG\ns3 = https://sg:1\npeer = sg:2\nstream = sg:3\n"
	    "sign = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
	_cleanup_(conf_freep) struct conf *c = NULL, *bad = NULL;
	static struct peer_region r[REGIONS_MAX];
	struct err e;
	size_t n;

	c = conf_parse(good, "regions.conf", &e);
	CHECK(c);
	CHECK_OK(regions_read(c, r, &n, &e), &e);
	CHECK(n == 1 && r[0].sign_public[31] == 31);
	CHECK_STR(r[0].peer_at, "sg:2");
	CHECK(!r[0].may_not_operate);
	CHECK_OK(conf_check_unused(c, &e), &e);
	conf_free(c);
	c = conf_parse(
	    "[region sg]\njurisdiction = SG\ns3 = x\npeer = y:2\nstream = z:3\noperator = no\n"
	    "sign = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
	    "r", &e);
	CHECK_OK(regions_read(c, r, &n, &e), &e);
	CHECK(r[0].may_not_operate);
	bad = conf_parse(
	    "[region sg]\njurisdiction = SG\ns3 = x\npeer = y:2\nstream = z:3\nsign = AAEC\n", "r",
	    &e);
	CHECK(bad && regions_read(bad, r, &n, &e) < 0 && e.kind == ERR_BAD);
}

static void
a_signing_key_that_others_can_read_is_refused(void **state)
{
	const char *secret = check_path(*state, "sign.key"),
	           *public = check_path(*state, "sign.pub");
	uint8_t key[SIGN_PUBLIC_BYTES], other[SIGN_PUBLIC_BYTES] = { 1 }, out[SIGN_SECRET_BYTES];
	struct err e;

	CHECK_OK(sign_key_create(secret, public, key, &e), &e);
	CHECK_OK(sign_key_read(secret, key, out, &e), &e);
	CHECK(sign_key_read(secret, other, out, &e) < 0 && e.kind == ERR_FORGED);
	CHECK(chmod(secret, 0640) == 0);
	CHECK(sign_key_read(secret, key, out, &e) < 0 && e.kind == ERR_DENIED);
	CHECK(strstr(e.text, "chmod 600"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_are_found_in_any_order_and_form),
		cmocka_unit_test(operands_may_begin_with_a_dash_after_two_dashes),
		cmocka_unit_test(what_is_wrong_is_named_with_the_way_out),
		cmocka_unit_test(the_table_holds_together),
		cmocka_unit_test(help_is_there_for_all_for_a_group_and_for_one),
		cmocka_unit_test(sizes_durations_and_hours_are_read_or_refused),
		cmocka_unit_test(deadlines_are_dates_in_utc_or_from_now_on),
		cmocka_unit_test(amounts_are_told_for_people),
		cmocka_unit_test(a_wave_is_told_with_counts_rates_deadline_and_pause),
		cmocka_unit_test(a_wave_that_only_erases_keeps_the_rate_of_its_moves),
		cmocka_unit_test(a_wave_that_does_not_get_on_says_why),
		cmocka_unit_test_setup_teardown(
		    a_region_conf_has_defaults_and_paths_from_its_folder, check_dir_setup,
		    check_dir_teardown),
		cmocka_unit_test_setup_teardown(a_wrong_region_conf_is_refused_and_explained,
		    check_dir_setup, check_dir_teardown),
		cmocka_unit_test(regions_are_read_with_their_keys),
		cmocka_unit_test(a_domain_of_buckets_has_no_region_below_it),
		cmocka_unit_test_setup_teardown(a_signing_key_that_others_can_read_is_refused,
		    check_dir_setup, check_dir_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
