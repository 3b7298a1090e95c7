/* post_policy.c - see post_policy.h. */
#include "front/post_policy.h"

#include <jansson.h>
#include <string.h>
#include <strings.h>

#include "front/s3_private.h"

#define FIELDS_MAX (FORM_FIELDS_MAX + 1)

_Static_assert(FIELDS_MAX <= 128, "the fields fit the set");

struct checking {
	const struct request_field *fields;
	size_t n;
	uint64_t covered[2]; /* a bit for each field that a condition is about */
	struct post_sizes sizes;
};

static void
json_freep(json_t **j)
{
	json_decref(*j);
}

static int
no_policy(struct err *e, const char *why)
{
	return err_set(e, ERR_BAD, "Invalid Policy: %s", why);
}

/* The field's value, which counts as covered from now on; "" if it is not there. */
static const char *
take_field(struct checking *c, const char *name)
{
	for (size_t i = 0; i < c->n; i++) {
		if (!strcasecmp(c->fields[i].name, name)) {
			c->covered[i / 64] |= (uint64_t)1 << (i % 64);
			return c->fields[i].value;
		}
	}
	return "";
}

static int
match(struct checking *c, const char *how, const char *name, const char *text, struct err *e)
{
	bool is_start = !strcasecmp(how, "starts-with");
	const char *value = take_field(c, name);

	if (is_start ? !strncmp(value, text, strlen(text)) : !strcmp(value, text))
		return 0;
	return err_set(e, ERR_DENIED,
	    "Invalid according to Policy: Policy Condition failed: [\"%s\", \"$%.60s\", \"%.80s\"]",
	    is_start ? "starts-with" : "eq", name, text);
}

/* {"name": "value", ...} */
static int
check_object(struct checking *c, json_t *condition, struct err *e)
{
	const char *name;
	json_t *value;

	json_object_foreach(condition, name, value)
	{
		if (!json_is_string(value))
			return no_policy(e, "Invalid Simple-Condition: the value is not a string.");
		if (match(c, "eq", name, json_string_value(value), e) < 0)
			return -1;
	}
	return 0;
}

static int
check_range(struct checking *c, json_t *condition, struct err *e)
{
	json_t *min = json_array_get(condition, 1), *max = json_array_get(condition, 2);

	if (!json_is_integer(min) || !json_is_integer(max) || json_integer_value(min) < 0 ||
	    json_integer_value(max) < 0)
		return no_policy(e, "Invalid content-length-range: two numbers are expected.");
	if (c->sizes.min < (uint64_t)json_integer_value(min))
		c->sizes.min = (uint64_t)json_integer_value(min);
	if (c->sizes.max > (uint64_t)json_integer_value(max))
		c->sizes.max = (uint64_t)json_integer_value(max);
	return 0;
}

/* ["eq", "$name", "value"], ["starts-with", "$name", "value"], ["content-length-range", 1, 10] */
static int
check_array(struct checking *c, json_t *condition, struct err *e)
{
	const char *how = json_string_value(json_array_get(condition, 0));
	const char *name = json_string_value(json_array_get(condition, 1));
	const char *text = json_string_value(json_array_get(condition, 2));

	if (json_array_size(condition) != 3 || !how)
		return no_policy(e, "Invalid condition: three elements are expected.");
	if (!strcasecmp(how, "content-length-range"))
		return check_range(c, condition, e);
	if (strcasecmp(how, "eq") != 0 && strcasecmp(how, "starts-with") != 0)
		return no_policy(e, "Invalid condition: its kind is unknown.");
	if (!name || name[0] != '$' || !text)
		return no_policy(e, "Invalid condition: \"$name\" and a string are expected.");
	return match(c, how, name + 1, text, e);
}

static int
check_conditions(struct checking *c, json_t *conditions, struct err *e)
{
	size_t i;
	json_t *one;

	if (!json_is_array(conditions))
		return no_policy(e, "Invalid or missing conditions.");
	if (json_array_size(conditions) > POST_CONDITIONS_MAX)
		return no_policy(e, "there are too many conditions.");
	json_array_foreach(conditions, i, one)
	{
		int rc = json_is_object(one) ? check_object(c, one, e)
		    : json_is_array(one)     ? check_array(c, one, e)
		                             : no_policy(e, "Invalid condition.");

		if (rc < 0)
			return -1;
	}
	return 0;
}

static bool
needs_none(const char *name)
{
	return !strcasecmp(name, "policy") || !strcasecmp(name, "x-amz-signature") ||
	    !strncasecmp(name, "x-ignore-", 9);
}

static int
check_covered(const struct checking *c, struct err *e)
{
	for (size_t i = 0; i < c->n; i++) {
		if (!(c->covered[i / 64] >> (i % 64) & 1) && !needs_none(c->fields[i].name))
			return err_set(e, ERR_DENIED,
			    "Invalid according to Policy: Extra input fields: %.80s",
			    c->fields[i].name);
	}
	return 0;
}

static int
check_time(json_t *policy, uint64_t now_ms, struct err *e)
{
	const char *text = json_string_value(json_object_get(policy, "expiration"));
	uint64_t until_ms;

	if (!text || !s3_time_parse(text, &until_ms))
		return no_policy(e, "Invalid or missing expiration.");
	if (now_ms >= until_ms)
		return err_set(e, ERR_DENIED, "Invalid according to Policy: Policy expired.");
	return 0;
}

int
post_policy_check(struct span text, const struct request_field *fields, size_t n, uint64_t now_ms,
    struct post_sizes *out, struct err *e)
{
	_cleanup_(json_freep) json_t *policy = json_loadb(
	    text.len ? (const char *)text.data : "", text.len, JSON_REJECT_DUPLICATES, NULL);
	struct checking c = { .fields = fields, .n = n, .sizes = { 0, UINT64_MAX } };

	if (n > FIELDS_MAX)
		return err_set(e, ERR_TOO_BIG, "a form has at most %d fields", FORM_FIELDS_MAX);
	if (!json_is_object(policy))
		return no_policy(e, "Invalid JSON.");
	if (check_time(policy, now_ms, e) < 0 ||
	    check_conditions(&c, json_object_get(policy, "conditions"), e) < 0 ||
	    check_covered(&c, e) < 0)
		return -1;
	*out = c.sizes;
	return 0;
}
