/* Whatever allocation fails while something is read or written, the answer is that there is no memory, and
 * the next try succeeds. A leak shows under the address sanitizer.
 */
#include "alloc_fault.h"
#include "check.h"

#include "base/buf.h"
#include "base/conf.h"
#include "base/crypto.h"
#include "front/xml.h"

typedef int deed_fn(struct err *e);

/* DEED with each of its allocations failed in turn. */
static void
try_deed(deed_fn *deed, bool may_do_without)
{
	struct alloc_turn t = { 0 };

	while (alloc_next(&t)) {
		struct err e = { 0 };
		int r;

		alloc_arm(&t);
		r = deed(&e);
		alloc_disarm(&t);
		if (!t.fired && r < 0)
			fail_msg("without a fault: %s", e.text);
		if (t.fired && r < 0 && e.kind != ERR_MEMORY)
			fail_msg("allocation %u: %s: %s", t.nth, err_word(e.kind), e.text);
		if (t.fired && r == 0 && !may_do_without)
			fail_msg("allocation %u failed, and nobody noticed", t.nth);
	}
	CHECK(t.nth > 1);
}

/* --- base --- */

static int
fill_buf(struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	int r;

	for (int i = 0; i < 2000; i++)
		buf_printf(&b, "%d: a line of some length that a buffer grows by\n", i);
	r = buf_check(&b, e);
	CHECK(r < 0 || b.len > 90000);
	return r;
}

static int
read_conf(struct err *e)
{
	struct conf *c = conf_parse(
	    "a = 1\n[peer sg]\nb = 2\nb = 3\n[peer us]\nc = four # five\n", "a test", e);
	int r = c ? 0 : -1;

	CHECK(!c || strcmp(conf_get_nth(c, "peer sg", "b", 1), "3") == 0);
	conf_free(c);
	return r;
}

static int
hash_and_seal(struct err *e)
{
	static const uint8_t key[KEY_BYTES], nonce[NONCE_BYTES];
	_cleanup_(hash_closep) struct hash *h = hash_open(HASH_SHA256, e);
	_cleanup_(hash_closep) struct hash *copy = h ? hash_copy(h, e) : NULL;
	_cleanup_(aead_closep) struct aead *a = copy ? aead_open(key, e) : NULL;
	uint8_t sealed[4 + TAG_BYTES];

	return a ? aead_seal(a, nonce, "x", 1, "four", 4, sealed, e) : -1;
}

static void
base_says_that_memory_is_full(void **state)
{
	(void)state;
	try_deed(fill_buf, false);
	try_deed(read_conf, false);
	try_deed(hash_and_seal, false);
}

/* --- XML --- */

static int
note(void *arg, const char *path, const char *text, struct err *e)
{
	buf_printf(arg, "%s=%s\n", path, text);
	return buf_check(arg, e);
}

static int
read_xml(struct err *e)
{
	static const char body[] =
	    "<Delete><Quiet>true</Quiet><Object><Key>a &amp; b</Key></Object>"
	    "<Object><Key>c</Key></Object></Delete>";
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	int r = xml_read((struct span){ (const uint8_t *)body, sizeof(body) - 1 }, note, &b, e);

	CHECK(r < 0 || strstr(buf_str(&b), "Delete/Object/Key=a & b\n"));
	return r;
}

static int
write_xml(struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	xml_open(&b, "ListBucketResult");
	for (int i = 0; i < 100; i++) {
		xml_text(&b, "Key", "a<b>&\"c\" and so on");
		xml_text_url(&b, "Key", "a<b>&\"c\" and so on");
		xml_printf(&b, "Size", "%d", i);
	}
	xml_close(&b, "ListBucketResult");
	return buf_check(&b, e);
}

static void
xml_says_that_memory_is_full(void **state)
{
	(void)state;
	try_deed(read_xml, false);
	try_deed(write_xml, false);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base_says_that_memory_is_full),
		cmocka_unit_test(xml_says_that_memory_is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
