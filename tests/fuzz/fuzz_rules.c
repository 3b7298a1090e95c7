/* fuzz_rules.c - lifecycle rules as they come from outside. What is taken can be read, judged without
 * trouble, and written for S3; and that is taken as the same rules again.
 */
#include "front/s3_rules.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct rule_subject subjects[] = {
	{ { (const uint8_t *)"logs/a", 6 }, 5, { (const uint8_t *)"a=b&k=v", 7 }, false },
	{ { (const uint8_t *)"p", 1 }, 0, { NULL, 0 }, true },
};

static void
judge(struct span stored)
{
	_cleanup_(rules_free) struct rules rules = { .n = 0 };
	_cleanup_(freep) struct span *prefixes = NULL;
	struct err e = { 0 };

	if (rules_read(stored, &rules, &e) < 0 || !rules.n || rules.n > RULES_MAX)
		abort();
	prefixes = calloc(rules.n, sizeof(*prefixes));
	if (prefixes && rules_prefixes(&rules, RULE_CURRENT | RULE_ASIDE, prefixes) > rules.n)
		abort();
	for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
		const struct rule_subject *s = &subjects[i];

		if (rules_current_due(&rules, s, 0, RULES_DAY_MS, NULL) % RULES_DAY_MS &&
		    rules_current_due(&rules, s, 0, RULES_DAY_MS, NULL) != RULES_NEVER)
			abort();
		(void)rules_noncurrent_due(&rules, s, 1, i, RULES_DAY_MS);
		(void)rules_marker_due(&rules, s, 1, RULES_DAY_MS);
		(void)rules_upload_due(&rules, s->key, 1, RULES_DAY_MS, NULL);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	_cleanup_buf_ struct buf stored = BUF_INIT(0), xml = BUF_INIT(0), again = BUF_INIT(0);
	const char *code = NULL;
	struct err e = { 0 };

	_cleanup_(rules_free) struct rules any = { .n = 0 };

	(void)!rules_read((struct span){ data, n }, &any, &e);
	if (s3_rules_read((struct span){ data, n }, &stored, &code, &e) < 0) {
		if (e.kind == ERR_NONE || !e.text[0] || (!code && e.kind != ERR_MEMORY))
			abort();
		return 0;
	}
	judge((struct span){ stored.data, stored.len });
	if (s3_rules_write((struct span){ stored.data, stored.len }, &xml, &e) < 0 ||
	    s3_rules_read((struct span){ xml.data, xml.len }, &again, &code, &e) < 0)
		abort();
	if (again.len != stored.len || memcmp(again.data, stored.data, stored.len) != 0)
		abort();
	return 0;
}
