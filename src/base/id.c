/* id.c - see id.h. */
#include "base/id.h"
#include "base/cleanup.h"
#include "base/host.h"

#include <assert.h>
#include <string.h>

static const char *const service_names[] = {
	[SERVICE_REGION] = "region",
	[SERVICE_PROFILE] = "profile",
	[SERVICE_FILES] = "files",
	[SERVICE_BACKUP] = "backup",
	[SERVICE_MESSAGES] = "messages",
};
_Static_assert(ARRAY_LEN(service_names) == SERVICES, "a name for every service");

void
account_random(struct account_id *out)
{
	host_random(out->b, sizeof(out->b));
}

void
account_text(const struct account_id *id, char out[static ACCOUNT_TEXT_SIZE])
{
	hex_text(id->b, sizeof(id->b), out);
}

bool
account_parse(const char *text, struct account_id *out)
{
	if (strspn(text, "0123456789abcdef") != ACCOUNT_TEXT_SIZE - 1)
		return false;
	return hex_parse(text, out->b, sizeof(out->b));
}

bool
account_equal(const struct account_id *a, const struct account_id *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

const char *
service_name(enum service s)
{
	assert(s < SERVICES);
	return service_names[s];
}

/* The service after FIRST - 1 that is named by the N bytes at NAME. */
static bool
find_service(const char *name, size_t n, unsigned first, enum service *out)
{
	for (unsigned i = first; i < SERVICES; i++) {
		if (strlen(service_names[i]) == n && memcmp(service_names[i], name, n) == 0) {
			*out = (enum service)i;
			return true;
		}
	}
	return false;
}

bool
service_parse(const char *name, enum service *out)
{
	return find_service(name, strlen(name), SERVICE_PROFILE, out);
}

int
services_parse(const char *list, unsigned *mask, struct err *e)
{
	unsigned found = 0;

	if (*list && strcmp(list, "none") != 0) {
		for (const char *word = list;; word++) {
			size_t n;
			enum service s;

			word += strspn(word, " ");
			n = strcspn(word, ", ");
			if (!find_service(word, n, SERVICE_FILES, &s))
				return err_set(e, ERR_BAD,
				    "no such service: '%.*s'; there are files and backup",
				    (int)(n < 40 ? n : 40), word);
			found |= BIT(s);
			word += n;
			word += strspn(word, " ");
			if (!*word)
				break;
			if (*word != ',')
				return err_set(e, ERR_BAD, "services are separated by commas");
		}
	}
	*mask = found;
	return 0;
}

void
services_text(unsigned mask, char out[static 64])
{
	char *p = out;

	for (unsigned s = SERVICE_FILES; s < SERVICES; s++) {
		if (!(mask & BIT(s)))
			continue;
		if (p != out)
			*p++ = ',';
		p = stpcpy(p, service_names[s]);
	}
	if (p == out)
		p = stpcpy(p, "none");
}

void
hex_text(const void *p, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++) {
		*out++ = digits[b[i] >> 4];
		*out++ = digits[b[i] & 15];
	}
	*out = 0;
}

/* The digits' values + 1, so that 0 is none. */
static const uint8_t hex_digits[256] = {
	['0'] = 1,
	2,
	3,
	4,
	5,
	6,
	7,
	8,
	9,
	10,
	['A'] = 11,
	12,
	13,
	14,
	15,
	16,
	['a'] = 11,
	12,
	13,
	14,
	15,
	16,
};

bool
hex_parse(const char *text, void *out, size_t n)
{
	const uint8_t *t = (const uint8_t *)text;
	uint8_t *b = out;

	for (size_t i = 0; i < 2 * n; i++)
		if (!hex_digits[t[i]]) /* a NUL too, so nothing past it is read */
			return false;
	if (text[2 * n])
		return false;
	for (size_t i = 0; i < n; i++)
		b[i] = (uint8_t)((hex_digits[t[2 * i]] - 1) << 4 | (hex_digits[t[2 * i + 1]] - 1));
	return true;
}

bool
region_name_valid(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n && n < REGION_NAME_SIZE && !name[n];
}
