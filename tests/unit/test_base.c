/* The base layer at its ceilings. Cryptography has a test of its own. */
#include "base/buf.h"
#include "base/conf.h"
#include "base/frame.h"
#include "base/fs.h"
#include "base/host.h"
#include "base/id.h"
#include "base/log.h"
#include "base/stats.h"
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

/* Bytes of a hexadecimal TEXT, in a ring of static buffers. */
static const uint8_t *
unhex(const char *text)
{
	static uint8_t ring[8][256];
	static unsigned turn;
	uint8_t *out = ring[turn++ % 8];

	CHECK(strlen(text) / 2 <= sizeof(ring[0]));
	CHECK(hex_parse(text, out, strlen(text) / 2));
	return out;
}

/* err */

static void
an_error_keeps_its_kind_while_callers_add_to_it(void **state)
{
	struct err e = { 0 };

	CHECK(err_set(&e, ERR_BUSY, "page %d", 7) == -1);
	CHECK(err_add(&e, "vault %s", "mara") == -1);
	CHECK(e.kind == ERR_BUSY);
	CHECK_STR(e.text, "vault mara: page 7");
	err_set(&e, ERR_IO, "again: %s", e.text);
	CHECK_STR(e.text, "again: vault mara: page 7");
	CHECK(err_set(NULL, ERR_IO, "nobody cares") == -1);
	CHECK(err_add(NULL, "nobody cares") == -1);
}

static void
an_errno_becomes_a_kind(void **state)
{
	static const struct {
		int number;
		enum err_kind kind;
	} map[] = {
		{ ENOSPC, ERR_FULL },
		{ EDQUOT, ERR_FULL },
		{ ENOMEM, ERR_MEMORY },
		{ ENOENT, ERR_MISSING },
		{ EEXIST, ERR_EXISTS },
		{ EACCES, ERR_DENIED },
		{ EMFILE, ERR_MEMORY },
		{ EPERM, ERR_DENIED },
		{ EIO, ERR_IO },
		{ EBADF, ERR_IO },
	};
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(map); i++) {
		CHECK(err_errno(&e, map[i].number, "open %s", "x") == -1);
		CHECK(e.kind == map[i].kind);
	}
	CHECK_STR(e.text, "open x: Bad file descriptor");
}

static void
a_long_error_is_cut_not_overrun(void **state)
{
	char long_text[1000];
	struct err e;

	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = 0;
	err_set(&e, ERR_IO, "%s", long_text);
	CHECK(strlen(e.text) == sizeof(e.text) - 1);
	err_add(&e, "%s", long_text);
	CHECK(strlen(e.text) == sizeof(e.text) - 1);
}

static void
every_kind_has_its_own_word_and_exit_code(void **state)
{
	for (int a = 0; a < ERR_KINDS; a++) {
		for (int b = 0; b < a; b++) {
			CHECK(strcmp(err_word(a), err_word(b)) != 0);
			CHECK(err_exit(a) != err_exit(b));
		}
	}
	CHECK(err_exit(ERR_NONE) == 0);
}

/* buf */

static void
a_buffer_grows_to_its_ceiling_and_not_past_it(void **state)
{
	struct buf b = BUF_INIT(100);
	struct err e = { 0 };

	for (int i = 0; i < 100; i++)
		buf_add_char(&b, 'a');
	CHECK_OK(buf_check(&b, &e), &e);
	CHECK(b.len == 100);
	CHECK(strlen(buf_str(&b)) == 100);
	buf_add_char(&b, 'b');
	CHECK(buf_check(&b, &e) == -1 && e.kind == ERR_TOO_BIG);
	CHECK_STR(buf_str(&b), "");
	buf_add_str(&b, "x");
	CHECK(b.len == 0 && !buf_room(&b, 0));
	buf_clear(&b);
	buf_printf(&b, "%s-%d", "n", 5);
	CHECK_OK(buf_check(&b, &e), &e);
	CHECK_STR(buf_str(&b), "n-5");
	buf_free(&b);
	CHECK(b.max == 100 && !b.data);
}

static void
a_buffer_refuses_sizes_that_would_wrap(void **state)
{
	struct buf b = BUF_INIT(0);

	buf_add_str(&b, "abc");
	CHECK(!buf_room(&b, SIZE_MAX - 1));
	CHECK(b.failed == ERR_TOO_BIG);
	buf_free(&b);
}

static void
a_buffer_drops_its_front(void **state)
{
	struct buf b = BUF_INIT(0);

	buf_add_str(&b, "0123456789");
	buf_drop_front(&b, 4);
	CHECK_STR(buf_str(&b), "456789");
	buf_drop_front(&b, 100);
	CHECK_STR(buf_str(&b), "");
	buf_wipe(&b);
	buf_drop_front(&b, 1);
}

/* frame */

static void
every_field_comes_back(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct reader r;
	struct span s;
	struct err e = { 0 };
	char str[8];
	uint8_t three[3];

	put_u8(&b, 0x12);
	put_u16(&b, 0x3456);
	put_u32(&b, 0x789abcde);
	put_u64(&b, 0xf0123456789abcdeull);
	put_span(&b, "\0a", 2);
	put_str(&b, "seven77");
	buf_add(&b, "xyz", 3);
	CHECK_BYTES(b.data, unhex("123456789abcdef0123456789abcde000000020061"), 21);

	r = READER(b.data, b.len);
	CHECK(read_u8(&r) == 0x12);
	CHECK(read_u16(&r) == 0x3456);
	CHECK(read_u32(&r) == 0x789abcde);
	CHECK(read_u64(&r) == 0xf0123456789abcdeull);
	s = read_span(&r, 2);
	CHECK(s.len == 2 && memcmp(s.data, "\0a", 2) == 0);
	read_str(&r, str, sizeof(str));
	CHECK_STR(str, "seven77");
	CHECK(read_check(&r, "frame", &e) == -1 && e.kind == ERR_BAD);
	read_copy(&r, three, 3);
	CHECK_BYTES(three, "xyz", 3);
	CHECK_OK(read_check(&r, "frame", &e), &e);
}

/* The parser that the next test cuts short at every byte. */
static int
parse_all(const uint8_t *p, size_t n, struct err *e)
{
	struct reader r = READER(p, n);
	char name[16];
	uint8_t copy[4];

	(void)read_u8(&r);
	(void)read_u16(&r);
	(void)read_u32(&r);
	(void)read_u64(&r);
	(void)read_span(&r, 10);
	read_str(&r, name, sizeof(name));
	read_copy(&r, copy, sizeof(copy));
	if (r.failed) {
		CHECK(read_u64(&r) == 0 && !read_bytes(&r, 0) && !read_span(&r, 9).data);
		CHECK(copy[0] == 0 && copy[3] == 0);
	}
	return read_check(&r, "thing", e);
}

static void
a_frame_cut_anywhere_is_refused(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct err e = { 0 };

	put_u8(&b, 1), put_u16(&b, 2), put_u32(&b, 3), put_u64(&b, 4);
	put_span(&b, "12345", 5);
	put_str(&b, "name");
	buf_add(&b, "tail", 4);
	CHECK_OK(parse_all(b.data, b.len, &e), &e);
	for (size_t n = 0; n < b.len; n++) {
		/* A copy of its own length, so that a sanitizer sees a read past it. */
		uint8_t *cut = malloc(n ? n : 1);

		memcpy(cut, b.data, n);
		CHECK(parse_all(cut, n, &e) == -1 && e.kind == ERR_BAD);
		free(cut);
	}
	buf_add_char(&b, 0);
	CHECK(parse_all(b.data, b.len, &e) == -1);
	CHECK(parse_all(NULL, 0, &e) == -1);
}

static void
a_length_past_its_ceiling_is_refused(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	struct reader r;
	char four[4];

	put_str(&b, "1234");
	r = READER(b.data, b.len);
	CHECK(read_span(&r, 3).len == 0 && r.failed);
	r = READER(b.data, b.len);
	read_str(&r, four, sizeof(four));
	CHECK(r.failed && four[0] == 0);
	buf_clear(&b);
	put_span(&b, "a\0b", 3);
	r = READER(b.data, b.len);
	read_str(&r, four, sizeof(four));
	CHECK(r.failed && four[0] == 0);
}

/* id, host */

static void
an_account_has_one_spelling(void **state)
{
	struct account_id a, b;
	char text[ACCOUNT_TEXT_SIZE];

	account_random(&a);
	account_text(&a, text);
	CHECK(strlen(text) == 32);
	CHECK(account_parse(text, &b) && account_equal(&a, &b));
	CHECK(account_parse("00112233445566778899aabbccddeeff", &b));
	CHECK(b.b[0] == 0 && b.b[1] == 0x11 && b.b[15] == 0xff);
	CHECK(!account_parse("00112233445566778899AABBCCDDEEFF", &b));
	CHECK(!account_parse("00112233445566778899aabbccddeef", &b));
	CHECK(!account_parse("00112233445566778899aabbccddeeff0", &b));
	CHECK(!account_parse("00112233445566778899aabbccddee/f", &b));
	CHECK(!account_parse("", &b));
}

static void
services_have_names(void **state)
{
	struct err e = { 0 };
	enum service s;
	unsigned mask = 77;
	char text[64];

	CHECK(service_parse("backup", &s) && s == SERVICE_BACKUP);
	CHECK(service_parse("profile", &s) && s == SERVICE_PROFILE);
	CHECK(!service_parse("region", &s) && !service_parse("file", &s) &&
	    !service_parse("filess", &s));
	CHECK_OK(services_parse("files, messages", &mask, &e), &e);
	CHECK(mask == (BIT(SERVICE_FILES) | BIT(SERVICE_MESSAGES)));
	services_text(mask | BIT(SERVICE_PROFILE), text);
	CHECK_STR(text, "files,messages");
	services_text(~0u, text);
	CHECK_STR(text, "files,backup,messages");
	services_text(0, text);
	CHECK_STR(text, "none");
	CHECK_OK(services_parse("none", &mask, &e), &e);
	CHECK(mask == 0);
	CHECK(services_parse("files,pictures", &mask, &e) == -1 && e.kind == ERR_BAD);
	CHECK(strstr(e.text, "pictures") != NULL);
	CHECK(services_parse("files,", &mask, &e) == -1);
	CHECK(services_parse("files backup", &mask, &e) == -1);
	CHECK(services_parse("profile", &mask, &e) == -1);
	CHECK(mask == 0);
}

static void
region_names_are_plain(void **state)
{
	CHECK(region_name_valid("cn-bj") && region_name_valid("a"));
	CHECK(region_name_valid("1234567890123456789012345678901"));
	CHECK(!region_name_valid("12345678901234567890123456789012"));
	CHECK(!region_name_valid("") && !region_name_valid("A") && !region_name_valid("a/b") &&
	    !region_name_valid("a b"));
}

static void
times_are_written_in_utc(void **state)
{
	char text[25], date[30];

	host_time_text(1932969136481, text);
	CHECK_STR(text, "2031-04-03T07:52:16.481Z");
	host_time_text(0, text);
	CHECK_STR(text, "1970-01-01T00:00:00.000Z");
	host_date_text(784111777999, date);
	CHECK_STR(date, "Sun, 06 Nov 1994 08:49:37 GMT");
	host_time_text(UINT64_MAX, text);
	CHECK_STR(text, "9999-12-31T23:59:59.999Z");
}

static uint64_t
fixed_ms(void)
{
	return 1932969136481;
}

static uint64_t
fixed_ns(void)
{
	return 5000000;
}

static void
fixed_random(void *out, size_t n)
{
	memset(out, 0x5a, n);
}

static void
the_host_can_be_replaced(void **state)
{
	static const struct host_ops fixed = { fixed_ms, fixed_ns, fixed_random };
	struct account_id a;

	host_replace(&fixed);
	account_random(&a);
	CHECK(a.b[3] == 0x5a && host_mono_ms() == 5 && host_wall_ms() == 1932969136481);
	host_replace(NULL);
	CHECK(host_wall_ms() != 1932969136481);
}

/* conf */

static const char good_conf[] = "# a comment\n"
                                "name = Aunt  Mara's #1  # said so\r\n"
                                "hash=a#b\n"
                                "\n"
                                "[limits]   # none yet\n"
                                "\tbuffer = 64 MiB\n"
                                "small = 12\n"
                                "wait = 3 s\n"
                                "  loud = yes\n"
                                "[ peer   sg ]\n"
                                "url = https://sg\n"
                                "url = https://sg2\n"
                                "[peer us]\n"
                                "url = https://us";

static void
a_configuration_gives_its_values(void **state)
{
	struct err e = { 0 };
	struct conf *c = conf_parse(good_conf, "my.conf", &e);
	const char *s;
	uint64_t v;
	bool on;

	CHECK(c != NULL);
	CHECK_STR(conf_get(c, "", "name"), "Aunt  Mara's");
	CHECK_STR(conf_get(c, "", "hash"), "a#b");
	CHECK(!conf_get(c, "", "buffer") && !conf_get(c, "limits", "none") &&
	    !conf_get(c, "nowhere", "none"));
	CHECK_OK(conf_size(c, "limits", "buffer", 1, 0, UINT64_MAX, &v, &e), &e);
	CHECK(v == 64 << 20);
	CHECK_OK(conf_size(c, "limits", "small", 1, 12, 12, &v, &e), &e);
	CHECK(v == 12);
	CHECK_OK(conf_size(c, "limits", "absent", 7, 12, 12, &v, &e), &e);
	CHECK(v == 7);
	CHECK_OK(conf_ms(c, "limits", "wait", 1, 0, 5000, &v, &e), &e);
	CHECK(v == 3000);
	CHECK_OK(conf_bool(c, "limits", "loud", false, &on, &e), &e);
	CHECK(on);
	CHECK_OK(conf_bool(c, "limits", "quiet", true, &on, &e), &e);
	CHECK(on);
	CHECK_STR(conf_section(c, "peer", 0), "sg");
	CHECK_STR(conf_section(c, "peer", 1), "us");
	CHECK(!conf_section(c, "peer", 2) && !conf_section(c, "pee", 0));
	CHECK_STR(conf_get_nth(c, "peer sg", "url", 0), "https://sg");
	CHECK_STR(conf_get_nth(c, "peer sg", "url", 1), "https://sg2");
	CHECK(!conf_get_nth(c, "peer sg", "url", 2));
	CHECK_STR(conf_get(c, "peer sg", "url"), "https://sg2");
	CHECK_OK(conf_need(c, "peer us", "url", &s, &e), &e);
	CHECK_STR(s, "https://us");
	CHECK_OK(conf_check_unused(c, &e), &e);
	conf_free(c);
}

static void
a_malformed_configuration_names_its_line(void **state)
{
	static const struct {
		const char *text, *where;
	} bad[] = {
		{ "a = 1\njust words\n", "my.conf:2: expected word = value" },
		{ "= 1", "my.conf:1: expected word = value" },
		{ "two words = 1", "my.conf:1: expected word = value" },
		{ "\n\na =", "my.conf:3: 'a' has no value" },
		{ "a = #x", "my.conf:1: 'a' has no value" },
		{ "[limits", "my.conf:1: expected ']'" },
		{ "[limits] x = 1", "my.conf:1: expected ']'" },
		{ "[]", "my.conf:1: expected [section]" },
		{ "[a b c]", "my.conf:1: expected [section]" },
		{ "[a b]\n[a  b]", "my.conf:2: [a b] is there twice" },
	};
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CHECK(!conf_parse(bad[i].text, "my.conf", &e));
		CHECK(e.kind == ERR_BAD);
		if (!strstr(e.text, bad[i].where))
			fail_msg("%s: %s", bad[i].where, e.text);
	}
}

static void
a_wrong_value_names_its_line(void **state)
{
	static const char text[] = "[n]\na = 12 parsec\nb = 5\nc = 99999999999999999999\n"
	                           "d = 18446744073709551615 KiB\ne = maybe\nf = -1\ng =  KiB\n";
	static const char *const numbers[] = { "a", "c", "d", "e", "f", "g" };
	struct err e;
	struct conf *c = conf_parse(text, "my.conf", &e);
	const char *s;
	uint64_t v = 77;
	bool on;

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		CHECK(conf_size(c, "n", numbers[i], 0, 0, UINT64_MAX, &v, &e) == -1);
		CHECK(e.kind == ERR_BAD);
		CHECK(conf_ms(c, "n", numbers[i], 0, 0, UINT64_MAX, &v, &e) == -1);
	}
	CHECK(strncmp(e.text, "my.conf:8: ", 11) == 0);
	CHECK(conf_ms(c, "n", "b", 0, 0, 9, &v, &e) == -1); /* 5 of what? */
	CHECK(conf_count(c, "n", "d", 0, 0, UINT64_MAX, &v, &e) == -1);
	CHECK(conf_size(c, "n", "b", 0, 6, 9, &v, &e) == -1);
	CHECK(conf_size(c, "n", "b", 0, 1, 4, &v, &e) == -1);
	CHECK(v == 77);
	CHECK(conf_bool(c, "n", "e", true, &on, &e) == -1 && e.kind == ERR_BAD);
	CHECK(strncmp(e.text, "my.conf:6: ", 11) == 0);
	CHECK(conf_need(c, "n", "z", &s, &e) == -1 && e.kind == ERR_BAD);
	CHECK(strncmp(e.text, "my.conf:1: [n] needs 'z'", 24) == 0);
	CHECK(conf_need(c, "m", "z", &s, &e) == -1 && e.kind == ERR_BAD);
	CHECK(conf_need(c, "", "z", &s, &e) == -1 && e.kind == ERR_BAD);
	conf_free(c);
}

static void
what_nobody_asked_for_is_an_error(void **state)
{
	struct err e;
	struct conf *c = conf_parse("a = 1\n[s]\nb = 1\nmisspelt = 2\n[t]\n", "my.conf", &e);

	CHECK(conf_check_unused(c, &e) == -1 && e.kind == ERR_BAD);
	CHECK_STR(e.text, "my.conf:1: unknown word 'a'");
	CHECK(conf_get(c, "", "a") != NULL);
	CHECK(conf_check_unused(c, &e) == -1);
	CHECK_STR(e.text, "my.conf:2: unknown section [s]");
	CHECK(conf_get(c, "s", "b") != NULL);
	CHECK(conf_check_unused(c, &e) == -1);
	CHECK_STR(e.text, "my.conf:4: unknown word 'misspelt'");
	CHECK(conf_get(c, "s", "misspelt") != NULL);
	CHECK(conf_check_unused(c, &e) == -1);
	CHECK_STR(e.text, "my.conf:5: unknown section [t]");
	CHECK(conf_get(c, "t", "x") == NULL);
	CHECK_OK(conf_check_unused(c, &e), &e);
	conf_free(c);
}

/* fs */

static void
a_configuration_file_is_loaded(void **state)
{
	char *dir = *state;
	struct err e = { 0 };
	const char *path = check_path(dir, "c");
	struct conf *c;
	char *big = malloc(2 << 20);

	CHECK(!conf_load(path, &e) && e.kind == ERR_MISSING);
	CHECK_OK(fs_write(path, "a = 5\n", 6, 0600, &e), &e);
	c = conf_load(path, &e);
	CHECK(c != NULL);
	CHECK_STR(conf_get(c, "", "a"), "5");
	conf_free(c);
	CHECK_OK(fs_write(path, "a = 5\0\n", 7, 0600, &e), &e);
	CHECK(!conf_load(path, &e) && e.kind == ERR_BAD);
	memset(big, '\n', 2 << 20);
	CHECK_OK(fs_write(path, big, 1 << 20, 0600, &e), &e);
	c = conf_load(path, &e);
	CHECK(c != NULL);
	conf_free(c);
	CHECK_OK(fs_write(path, big, (1 << 20) + 1, 0600, &e), &e);
	CHECK(!conf_load(path, &e) && e.kind == ERR_TOO_BIG);
	free(big);
}

static void
a_file_is_replaced_as_a_whole(void **state)
{
	char *dir = *state;
	struct err e = { 0 };
	char path[512]; /* check_path's own is used again below */
	_cleanup_buf_ struct buf b = BUF_INIT(5);
	struct stat st;

	strcpy(path, check_path(dir, "f"));
	CHECK_OK(fs_write(path, "first", 5, 0600, &e), &e);
	CHECK_OK(fs_write(path, "later", 5, 0640, &e), &e);
	CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0640);
	CHECK_OK(fs_read(path, 5, &b, &e), &e);
	CHECK_STR(buf_str(&b), "later");
	buf_clear(&b);
	CHECK(fs_read(path, 4, &b, &e) == -1 && e.kind == ERR_TOO_BIG);
	CHECK(fs_read(check_path(dir, "g"), 4, &b, &e) == -1 && e.kind == ERR_MISSING);
	CHECK(
	    fs_write(check_path(dir, "no/such"), "x", 1, 0600, &e) == -1 && e.kind == ERR_MISSING);
	/* it fails, and leaves nothing aside */
	CHECK(mkdir(check_path(dir, "taken"), 0700) == 0);
	CHECK(fs_write(check_path(dir, "taken"), "x", 1, 0600, &e) == -1);
	CHECK(rmdir(check_path(dir, "taken")) == 0 && unlink(path) == 0 && rmdir(dir) == 0);
	CHECK(mkdir(dir, 0700) == 0);
}

static void
folders_are_made_with_their_parents(void **state)
{
	char *dir = *state;
	struct err e = { 0 };
	struct stat st;

	CHECK_OK(fs_mkdir(check_path(dir, "a/b//c/"), 0700, &e), &e);
	CHECK_OK(fs_mkdir(check_path(dir, "a/b/c"), 0700, &e), &e);
	CHECK(stat(check_path(dir, "a/b/c"), &st) == 0 && (st.st_mode & 0777) == 0700);
	CHECK_OK(fs_sync_dir(check_path(dir, "a/b/c"), &e), &e);
	CHECK_OK(fs_write(check_path(dir, "a/f"), "x", 1, 0600, &e), &e);
	CHECK(fs_mkdir(check_path(dir, "a/f"), 0700, &e) == -1 && e.kind == ERR_EXISTS);
	CHECK(fs_mkdir(check_path(dir, "a/f/g"), 0700, &e) == -1);
	CHECK(fs_mkdir("", 0700, &e) == -1);
	CHECK(fs_sync_dir(check_path(dir, "nowhere"), &e) == -1 && e.kind == ERR_MISSING);
}

/* log */

static void
a_log_line_stays_one_line(void **state)
{
	char *dir = *state, big[4000];
	struct err e = { 0 };
	const char *path = check_path(dir, "log");
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	int kept = dup(STDERR_FILENO), fd = open(path, O_RDWR | O_CREAT, 0600);
	enum log_level level;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	dup2(fd, STDERR_FILENO);
	errno = EBUSY;
	log_debug("test.quiet", NULL, "below the level");
	log_info("test.one", "9c41e0", "key=%s", "a\nb\x1b[31m");
	log_error("test.two", NULL, "%s", "");
	log_warn("test.big", NULL, "%s", big);
	CHECK(errno == EBUSY);
	dup2(kept, STDERR_FILENO);
	close(kept), close(fd);

	CHECK_OK(fs_read(path, 10000, &b, &e), &e);
	CHECK(strncmp(buf_str(&b) + 23, "Z info test.one id=9c41e0 key=a?b?[31m\n", 39) == 0);
	CHECK(strncmp(buf_str(&b) + 62 + 23, "Z error test.two\n", 17) == 0);
	CHECK(b.len == 62 + 40 + 2048 && b.data[b.len - 1] == '\n');
	CHECK(log_level_parse("warn", &level) && level == LOG_WARN_);
	CHECK(!log_level_parse("loud", &level) && !log_level_parse("audit", &level));
}

/* stats */

static struct counter tests_home = COUNTER("test_moves_total", "state=\"home\"", "Moves.");
static struct counter tests_gone = COUNTER("test_moves_total", "state=\"gone\"", "Moves.");
static struct counter tests_open = GAUGE("test_open", NULL, "Open vaults.");
static struct histogram tests_wait = HISTOGRAM("test_wait_seconds", NULL, "Waits.");

static void *
count_much(void *arg)
{
	for (int i = 0; i < 100000; i++) {
		counter_add(&tests_home, 1);
		histogram_add(&tests_wait, (uint64_t)i);
	}
	return NULL;
}

static void
nothing_is_counted_twice_or_lost(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	pthread_t threads[4];
	char *text;

	counter_set(&tests_open, -3);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		CHECK(pthread_create(&threads[i], NULL, count_much, NULL) == 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	counter_add(&tests_gone, 2);
	CHECK(counter_get(&tests_home) == 400000);
	CHECK(atomic_load(&tests_wait.count) == 400000);
	CHECK(atomic_load(&tests_wait.max_us) == 99999);

	stats_write(&b);
	text = (char *)(uintptr_t)buf_str(&b);
	CHECK(strstr(text,
	          "# HELP test_moves_total Moves.\n# TYPE test_moves_total counter\n"
	          "test_moves_total{state=\"gone\"} 2\n"
	          "test_moves_total{state=\"home\"} 400000\n") != NULL);
	CHECK(strstr(text, "# TYPE test_open gauge\ntest_open -3\n") != NULL);
	CHECK(strstr(text, "# TYPE test_wait_seconds histogram\n") != NULL);
	/* values up to 127 us, by four threads */
	CHECK(strstr(text, "test_wait_seconds_bucket{le=\"0.000127\"} 512\n") != NULL);
	CHECK(strstr(text, "test_wait_seconds_bucket{le=\"+Inf\"} 400000\n") != NULL);
	CHECK(strstr(text, "test_wait_seconds_count 400000\n") != NULL);
	CHECK(strstr(text, "test_wait_seconds_sum 19999.800000\n") != NULL);
}

static void
a_quantile_is_at_most_five_percent_off(void **state)
{
	static const double qs[] = { 0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0 };
	struct histogram one = HISTOGRAM("one", NULL, "");
	struct histogram *h = calloc(1, sizeof(*h));

	CHECK(histogram_quantile(h, 0.5) == 0);
	h->registered = 1; /* it will be freed */
	for (uint64_t us = 1; us <= 1000000; us += 3)
		histogram_add(h, us);
	for (size_t i = 0; i < ARRAY_LEN(qs); i++) {
		double should = qs[i] * 1e6 < 1 ? 1 : qs[i] * 1e6;
		double is = (double)histogram_quantile(h, qs[i]);

		if (is < should * 0.95 || is > should * 1.05)
			fail_msg("q %f: %f, not %f", qs[i], is, should);
	}
	free(h);
	/* each value alone, of all sizes */
	one.registered = 1;
	for (double x = 1; x < 1e9; x *= 1.01) {
		uint64_t us = (uint64_t)x;
		double is;

		memset((void *)(uintptr_t)one.bucket, 0, sizeof(one.bucket));
		one.max_us = 0;
		histogram_add(&one, us);
		atomic_store(&one.max_us, UINT64_MAX); /* so that it does not help */
		is = (double)histogram_quantile(&one, 0.5);
		if (is < (double)us * 0.95 || is > (double)us * 1.05)
			fail_msg("%f, not %f", is, (double)us);
	}
	histogram_add(&one, UINT64_MAX);
	CHECK(histogram_quantile(&one, 1) == UINT64_MAX);
	histogram_add(&one, 0);
	CHECK(histogram_quantile(&one, 0) == 0);
}

#define TEST(name)        cmocka_unit_test(name)
#define TEST_IN_DIR(name) cmocka_unit_test_setup_teardown(name, check_dir_setup, check_dir_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_error_keeps_its_kind_while_callers_add_to_it),
		TEST(an_errno_becomes_a_kind),
		TEST(a_long_error_is_cut_not_overrun),
		TEST(every_kind_has_its_own_word_and_exit_code),
		TEST(a_buffer_grows_to_its_ceiling_and_not_past_it),
		TEST(a_buffer_refuses_sizes_that_would_wrap),
		TEST(a_buffer_drops_its_front),
		TEST(every_field_comes_back),
		TEST(a_frame_cut_anywhere_is_refused),
		TEST(a_length_past_its_ceiling_is_refused),
		TEST(an_account_has_one_spelling),
		TEST(services_have_names),
		TEST(region_names_are_plain),
		TEST(times_are_written_in_utc),
		TEST(the_host_can_be_replaced),
		TEST(a_configuration_gives_its_values),
		TEST(a_malformed_configuration_names_its_line),
		TEST(a_wrong_value_names_its_line),
		TEST(what_nobody_asked_for_is_an_error),
		TEST_IN_DIR(a_configuration_file_is_loaded),
		TEST_IN_DIR(a_file_is_replaced_as_a_whole),
		TEST_IN_DIR(folders_are_made_with_their_parents),
		TEST_IN_DIR(a_log_line_stays_one_line),
		TEST(nothing_is_counted_twice_or_lost),
		TEST(a_quantile_is_at_most_five_percent_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
