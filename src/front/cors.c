/* cors.c - see cors.h. */
#include "front/cors.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "front/xml.h"

/* --- lists of values --- */

/* The next value of LIST from *AT on; false after the last. */
static bool
next_value(const struct buf *list, size_t *at, struct span *out)
{
	const uint8_t *from, *end;

	if (*at >= list->len)
		return false;
	from = list->data + *at;
	end = memchr(from, '\n', list->len - *at);
	*out = (struct span){ from, (size_t)(end - from) };
	*at += out->len + 1;
	return true;
}

/* TEXT is PATTERN, whose '*', if it has one, stands for anything. */
static bool
fits(struct span pattern, const char *text, size_t n, bool any_case)
{
	const char *p = (const char *)pattern.data, *star = memchr(p, '*', pattern.len);
	size_t before = star ? (size_t)(star - p) : pattern.len;
	size_t after = star ? pattern.len - before - 1 : 0;
	int (*compare)(const char *, const char *, size_t) = any_case ? strncasecmp : strncmp;

	if (star ? n < before + after : n != before)
		return false;
	return !compare(p, text, before) &&
	    !compare(p + pattern.len - after, text + n - after, after);
}

static bool
any_fits(const struct buf *list, const char *text, size_t n, bool any_case)
{
	struct span one;

	for (size_t at = 0; next_value(list, &at, &one);) {
		if (fits(one, text, n, any_case))
			return true;
	}
	return false;
}

/* --- reading --- */

struct reading {
	cors_fn *fn;
	void *arg;
	struct cors_rule rule;
	unsigned rules;
	bool is_cors;
};

static void
rule_clear(struct cors_rule *r)
{
	struct buf *lists[] = { &r->id, &r->origins, &r->methods, &r->headers, &r->exposed };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		buf_clear(lists[i]);
	r->max_age_s = CORS_MAX_AGE_NO;
}

static void
reading_free(struct reading *r)
{
	buf_free(&r->rule.id);
	buf_free(&r->rule.origins);
	buf_free(&r->rule.methods);
	buf_free(&r->rule.headers);
	buf_free(&r->rule.exposed);
}

static int
add_value(struct buf *list, const char *text, struct err *e)
{
	if (!*text)
		return err_set(e, ERR_BAD, "a rule has an empty element");
	for (const uint8_t *p = (const uint8_t *)text; *p; p++) {
		if (*p < ' ' || *p == 0x7f)
			return err_set(e, ERR_BAD, "a rule has a control character in it");
	}
	buf_add_str(list, text);
	buf_add_char(list, '\n');
	return buf_check(list, e);
}

static int
add_pattern(struct buf *list, const char *what, const char *text, struct err *e)
{
	const char *star = strchr(text, '*');

	if (star && strchr(star + 1, '*'))
		return err_set(
		    e, ERR_DENIED, "%s \"%.60s\" can not have more than one wildcard.", what, text);
	return add_value(list, text, e);
}

static int
add_method(struct cors_rule *r, const char *text, struct err *e)
{
	static const char *const known[] = { "GET", "HEAD", "PUT", "POST", "DELETE" };

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (!strcmp(text, known[i]))
			return add_value(&r->methods, text, e);
	}
	return err_set(e, ERR_DENIED,
	    "Found unsupported HTTP method in CORS config. Unsupported method is %.40s", text);
}

static int
set_id(struct cors_rule *r, const char *text, struct err *e)
{
	if (r->id.len)
		return err_set(e, ERR_BAD, "a rule has two IDs");
	if (strlen(text) > CORS_ID_MAX)
		return err_set(
		    e, ERR_DENIED, "a rule's ID has more than %d characters", CORS_ID_MAX);
	return *text ? add_value(&r->id, text, e) : 0;
}

static int
set_max_age(struct cors_rule *r, const char *text, struct err *e)
{
	size_t n = strspn(text, "0123456789");

	if (!n || n > 9 || text[n] || r->max_age_s != CORS_MAX_AGE_NO)
		return err_set(e, ERR_BAD, "a rule's MaxAgeSeconds is not one number");
	r->max_age_s = (uint32_t)strtoul(text, NULL, 10);
	return 0;
}

static int
end_rule(struct reading *r, struct err *e)
{
	if (!r->rule.origins.len || !r->rule.methods.len)
		return err_set(e, ERR_BAD, "a rule lacks its AllowedOrigin or its AllowedMethod");
	if (++r->rules > CORS_RULES_MAX)
		return err_set(e, ERR_DENIED, "there can be at most %d rules", CORS_RULES_MAX);
	if (r->fn(r->arg, &r->rule, e) < 0)
		return -1;
	rule_clear(&r->rule);
	return 0;
}

static int
read_element(void *arg, const char *path, const char *text, struct err *e)
{
	static const char root[] = "CORSConfiguration", in[] = "CORSConfiguration/CORSRule";
	struct reading *r = arg;
	const char *name = path + sizeof in; /* behind the slash */

	if (!strcmp(path, root)) {
		r->is_cors = true;
		return 0;
	}
	if (!strcmp(path, in))
		return end_rule(r, e);
	if (strncmp(path, in, sizeof in - 1) != 0 || path[sizeof in - 1] != '/')
		return err_set(e, ERR_BAD, "%.80s is unknown", path);
	if (!strcmp(name, "ID"))
		return set_id(&r->rule, text, e);
	if (!strcmp(name, "AllowedOrigin"))
		return add_pattern(&r->rule.origins, name, text, e);
	if (!strcmp(name, "AllowedMethod"))
		return add_method(&r->rule, text, e);
	if (!strcmp(name, "AllowedHeader"))
		return add_pattern(&r->rule.headers, name, text, e);
	if (!strcmp(name, "ExposeHeader"))
		return add_value(&r->rule.exposed, text, e);
	if (!strcmp(name, "MaxAgeSeconds"))
		return set_max_age(&r->rule, text, e);
	return err_set(e, ERR_BAD, "%.80s is unknown", path);
}

int
cors_read(struct span xml, cors_fn *fn, void *arg, struct err *e)
{
	_cleanup_(reading_free) struct reading r = { .fn = fn, .arg = arg };

	rule_clear(&r.rule);
	if (xml_read(xml, read_element, &r, e) < 0)
		return -1;
	if (!r.is_cors || !r.rules)
		return err_set(e, ERR_BAD, "there is no CORSConfiguration with a CORSRule");
	return 0;
}

/* --- writing --- */

static void
write_values(struct buf *b, const char *tag, const struct buf *list)
{
	_cleanup_buf_ struct buf text = BUF_INIT(0);
	struct span one;

	for (size_t at = 0; next_value(list, &at, &one);) {
		buf_clear(&text);
		buf_add(&text, one.data, one.len);
		xml_text(b, tag, buf_str(&text));
		if (text.failed)
			b->failed = text.failed;
	}
}

void
cors_write(struct buf *b, const struct cors_rule *rule)
{
	xml_open(b, "CORSRule");
	write_values(b, "ID", &rule->id);
	write_values(b, "AllowedOrigin", &rule->origins);
	write_values(b, "AllowedMethod", &rule->methods);
	write_values(b, "AllowedHeader", &rule->headers);
	write_values(b, "ExposeHeader", &rule->exposed);
	if (rule->max_age_s != CORS_MAX_AGE_NO)
		xml_printf(b, "MaxAgeSeconds", "%u", rule->max_age_s);
	xml_close(b, "CORSRule");
}

/* --- matching --- */

bool
cors_fits(const struct cors_rule *rule, const struct cors_question *q)
{
	const char *at = q->headers ? q->headers : "";

	if (!any_fits(&rule->origins, q->origin, strlen(q->origin), false) ||
	    !any_fits(&rule->methods, q->method, strlen(q->method), false))
		return false;
	while (*(at += strspn(at, " \t,"))) {
		size_t n = strcspn(at, " \t,");

		if (!any_fits(&rule->headers, at, n, true))
			return false;
		at += n;
	}
	return true;
}

/* "NAME: a, b\n", or nothing. */
static void
add_list(struct buf *lines, const char *name, const struct buf *list)
{
	struct span one;

	if (!list->len)
		return;
	buf_printf(lines, "%s: ", name);
	for (size_t at = 0; next_value(list, &at, &one);) {
		buf_add(lines, one.data, one.len);
		buf_add_str(lines, at < list->len ? ", " : "\n");
	}
}

/* Whether the rule's origin that fits is "*" itself: then the page is not named, and comes without
 * cookies. */
static bool
is_for_all(const struct cors_rule *rule, const struct cors_question *q)
{
	struct span one;

	for (size_t at = 0; next_value(&rule->origins, &at, &one);) {
		if (fits(one, q->origin, strlen(q->origin), false))
			return one.len == 1 && *one.data == '*';
	}
	return false;
}

void
cors_answer(struct buf *lines, const struct cors_rule *rule, const struct cors_question *q)
{
	if (is_for_all(rule, q))
		buf_add_str(lines, "Access-Control-Allow-Origin: *\n");
	else
		buf_printf(lines,
		    "Access-Control-Allow-Origin: %s\nAccess-Control-Allow-Credentials: true\n",
		    q->origin);
	add_list(lines, "Access-Control-Allow-Methods", &rule->methods);
	if (q->headers && *q->headers)
		buf_printf(lines, "Access-Control-Allow-Headers: %s\n", q->headers);
	add_list(lines, "Access-Control-Expose-Headers", &rule->exposed);
	if (rule->max_age_s != CORS_MAX_AGE_NO)
		buf_printf(lines, "Access-Control-Max-Age: %u\n", rule->max_age_s);
	buf_add_str(
	    lines, "Vary: Origin, Access-Control-Request-Headers, Access-Control-Request-Method\n");
}
