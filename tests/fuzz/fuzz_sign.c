/* fuzz_sign.c - signed requests: lines of method, path, query, then "name: value". Nobody signs by
 * chance, so a good signature is a bug.
 * The request is a list here: these definitions are taken instead of the library's.
 */
#include "front/s3_sign.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define LINES_MAX 256

struct fake {
	struct {
		const char *name, *value;
	} h[LINES_MAX];
	size_t n;
};

const char *
request_header(struct request *r, const char *name)
{
	struct fake *f = r->internal;

	for (size_t i = 0; i < f->n; i++)
		if (!strcasecmp(f->h[i].name, name))
			return f->h[i].value;
	return NULL;
}

void
request_each_header(
    struct request *r, void (*fn)(void *arg, const char *name, const char *value), void *arg)
{
	struct fake *f = r->internal;

	for (size_t i = 0; i < f->n; i++)
		fn(arg, f->h[i].name, f->h[i].value);
}

static void
check_claim(const struct sign_claim *c)
{
	if (strlen(c->access_key) >= sizeof c->access_key || !c->access_key[0] ||
	    strlen(c->date) != 8 || strlen(c->time) != 16 || !c->region[0] || !c->service[0] ||
	    !c->signed_headers[0])
		abort();
	if (c->is_presigned != (c->expires_s != 0) || c->expires_s > 604800)
		abort();
}

static void
check(struct request *r)
{
	static const uint8_t key[SHA256_BYTES] = { 1 };
	struct sign_claim c;
	const char *code = NULL;
	struct err e = { 0 };
	int rc = sign_parse(r, &c, &code, &e);

	if (rc == 0)
		return;
	if (rc < 0) {
		if (!code || e.kind == ERR_NONE)
			abort();
		return;
	}
	check_claim(&c);
	if (sign_check_request(r, &c, key, c.time_ms, &code, &e) == 0 || e.kind == ERR_NONE ||
	    !code)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct fake f = { .n = 0 };
	struct request r = { .method = "", .path = "", .query = "", .internal = &f };
	char *text = malloc(n + 1), *rest = text, *line;
	const char **fixed[] = { &r.method, &r.path, &r.query };
	size_t at = 0;

	if (!text)
		abort();
	memcpy(text, data, n);
	text[n] = '\0';
	while ((line = strsep(&rest, "\n")) && f.n < LINES_MAX) {
		char *colon = strchr(line, ':');

		if (at < ARRAY_LEN(fixed)) {
			*fixed[at++] = line;
		} else if (colon) {
			*colon = '\0';
			f.h[f.n].name = line;
			f.h[f.n++].value = colon + 1 + strspn(colon + 1, " ");
		}
	}
	check(&r);
	free(text);
	return 0;
}
