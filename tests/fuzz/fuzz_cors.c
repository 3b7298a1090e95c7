/* fuzz_cors.c - a bucket's CORS rules as they come from outside. What is taken is written, and what is
 * written is read as the same rules again; nothing in an answer's lines ends a line early.
 */
#include "front/cors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int
write_again(void *arg, const struct cors_rule *rule, struct err *e)
{
	static const struct cors_question q = { "https://a.example", "GET", "x-a,x-b" };
	_cleanup_buf_ struct buf lines = BUF_INIT(0);
	const char *text;

	cors_write(arg, rule);
	if (cors_fits(rule, &q)) {
		cors_answer(&lines, rule, &q);
		text = buf_str(&lines);
		for (const char *at = text; *at; at = strchr(at, '\n') + 1) {
			if (strncmp(at, "Access-Control-", 15) != 0 &&
			    strncmp(at, "Vary: ", 6) != 0)
				abort();
		}
	}
	return buf_check(arg, e);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	_cleanup_buf_ struct buf first = BUF_INIT(0), second = BUF_INIT(0);
	struct err e = { 0 };

	if (n > CORS_BYTES_MAX)
		return 0;
	buf_add_str(&first, "<CORSConfiguration>");
	buf_add_str(&second, "<CORSConfiguration>");
	if (cors_read((struct span){ data, n }, write_again, &first, &e) < 0) {
		if (e.kind == ERR_NONE || !e.text[0])
			abort();
		return 0;
	}
	buf_add_str(&first, "</CORSConfiguration>");
	if (cors_read((struct span){ first.data, first.len }, write_again, &second, &e) < 0)
		abort();
	buf_add_str(&second, "</CORSConfiguration>");
	if (first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
		abort();
	return 0;
}
