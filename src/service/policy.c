/* policy.c - see policy.h. */
#include "service/policy.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "directory/peer.h"

#define REGIONS_MAX   16 /* of one country */
#define COUNTRIES_MAX 300

struct rule {
	char country[3]; /* "*": all others */
	enum transit transit;
	struct quota_limit quota;
	size_t n;
	char regions[REGIONS_MAX][REGION_NAME_SIZE];
};

struct policy {
	pthread_rwlock_t lock;
	struct rule *rules;
	size_t n;
};

struct policy *
policy_new(struct err *e)
{
	struct policy *p = calloc(1, sizeof(*p));

	if (!p) {
		err_set(e, ERR_MEMORY, "policy: no memory");
		return NULL;
	}
	pthread_rwlock_init(&p->lock, NULL);
	return p;
}

void
policy_free(struct policy *p)
{
	if (!p)
		return;
	pthread_rwlock_destroy(&p->lock);
	free(p->rules);
	free(p);
}

static bool
country_valid(const char *c)
{
	return c[0] >= 'A' && c[0] <= 'Z' && c[1] >= 'A' && c[1] <= 'Z' && !c[2];
}

/* --- loading --- */

/* One region id of N bytes, with the blanks around it. */
static int
add_region(struct rule *r, const char *text, size_t n)
{
	char name[REGION_NAME_SIZE];

	while (n && (*text == ' ' || *text == '\t'))
		text++, n--;
	while (n && (text[n - 1] == ' ' || text[n - 1] == '\t'))
		n--;
	if (n >= sizeof(name) || n == 0 || r->n == REGIONS_MAX)
		return -1;
	memcpy(name, text, n);
	name[n] = '\0';
	if (!region_name_valid(name))
		return -1;
	memcpy(r->regions[r->n++], name, n + 1);
	return 0;
}

static int
load_regions(struct rule *r, const char *list)
{
	for (;;) {
		size_t n = strcspn(list, ",");

		if (add_region(r, list, n) < 0)
			return -1;
		if (!list[n])
			return 0;
		list += n + 1;
	}
}

static int
load_rule(struct conf *c, const char *country, struct rule *r, struct err *e)
{
	char section[32];
	const char *regions, *transit;

	snprintf(section, sizeof(section), "[policy %.20s]", country);
	if (strcmp(country, "*") && !country_valid(country))
		return conf_refuse(
		    c, "", section, e, "a country is two capital letters, or * for all others");
	snprintf(section, sizeof(section), "policy %s", country);
	snprintf(r->country, sizeof(r->country), "%s", country);
	if (conf_need(c, section, "regions", &regions, e) < 0)
		return -1;
	if (load_regions(r, regions) < 0)
		return conf_refuse(c, section, "regions", e,
		    "expected up to %d region ids such as in-mum, sg", REGIONS_MAX);
	if (quota_conf(c, section, QUOTA_DEFAULT, &r->quota, e) < 0)
		return -1;
	transit = conf_get(c, section, "transit");
	if (!transit || strcmp(transit, "proxy") == 0)
		r->transit = TRANSIT_PROXY;
	else if (strcmp(transit, "redirect") == 0)
		r->transit = TRANSIT_REDIRECT;
	else
		return conf_refuse(c, section, "transit", e, "expected proxy or redirect");
	return 0;
}

int
policy_load(struct policy *p, struct conf *c, struct err *e)
{
	_cleanup_(freep) struct rule *rules = NULL;
	struct rule *old;
	const char *country;
	size_t n = 0;

	while (conf_section(c, "policy", n))
		n++;
	if (n > COUNTRIES_MAX)
		return err_set(e, ERR_BAD, "more than %d sections [policy ...]", COUNTRIES_MAX);
	rules = calloc(n ? n : 1, sizeof(*rules));
	if (!rules)
		return err_set(e, ERR_MEMORY, "policy: no memory");
	for (size_t i = 0; (country = conf_section(c, "policy", i)); i++)
		if (load_rule(c, country, &rules[i], e) < 0)
			return -1;
	pthread_rwlock_wrlock(&p->lock);
	old = p->rules;
	p->rules = take(&rules);
	p->n = n;
	pthread_rwlock_unlock(&p->lock);
	free(old);
	return 0;
}

/* --- asking --- */

/* The rule of COUNTRY, or the one for all others, or NULL. Locked. */
static const struct rule *
find(const struct policy *p, const char *country)
{
	const struct rule *others = NULL;

	for (size_t i = 0; i < p->n; i++) {
		if (strcmp(p->rules[i].country, country) == 0)
			return &p->rules[i];
		if (strcmp(p->rules[i].country, "*") == 0)
			others = &p->rules[i];
	}
	return others;
}

/* "a, b or c", as far as it fits. */
static void
regions_text(const struct rule *r, char *out, size_t size)
{
	size_t len = 0;

	*out = '\0';
	for (size_t i = 0; i < r->n && len < size; i++) {
		const char *before = i == 0 ? "" : i + 1 == r->n ? " or " : ", ";

		len += (size_t)snprintf(out + len, size - len, "%s%s", before, r->regions[i]);
	}
}

static int
check_country(const char *country, struct err *e)
{
	if (!country_valid(country))
		return err_set(e, ERR_BAD, "'%.8s': a country is two capital letters", country);
	return 0;
}

static int
no_rule(const char *country, struct err *e)
{
	return err_set(e, ERR_DENIED,
	    "no policy says where accounts of %s may live: add [policy %s] or [policy *]", country,
	    country);
}

int
policy_home(struct policy *p, const char *country, bool (*exists)(void *arg, const char *region),
    void *arg, char out[static REGION_NAME_SIZE], struct err *e)
{
	struct rule rule;
	const struct rule *r;
	char regions[160];

	if (check_country(country, e) < 0)
		return -1;
	/* EXISTS is someone else's code: not under our lock. */
	pthread_rwlock_rdlock(&p->lock);
	r = find(p, country);
	if (r)
		rule = *r;
	pthread_rwlock_unlock(&p->lock);
	if (!r)
		return no_rule(country, e);
	for (size_t i = 0; i < rule.n; i++) {
		if (!exists(arg, rule.regions[i]))
			continue;
		memcpy(out, rule.regions[i], REGION_NAME_SIZE);
		return 0;
	}
	regions_text(&rule, regions, sizeof(regions));
	return err_set(e, ERR_DENIED,
	    "accounts of %s may live in %s, and none of that is known here", country, regions);
}

void
policy_unknown(struct policy *p, struct peers *peers, char *out, size_t size)
{
	struct peer_region region;
	size_t len = 0;

	*out = '\0';
	pthread_rwlock_rdlock(&p->lock);
	for (size_t i = 0; i < p->n; i++)
		for (size_t k = 0; k < p->rules[i].n && len < size; k++)
			if (!peers_find(peers, p->rules[i].regions[k], &region))
				len += (size_t)snprintf(out + len, size - len, "%s%s [policy %s]",
				    len ? ", " : "", p->rules[i].regions[k], p->rules[i].country);
	pthread_rwlock_unlock(&p->lock);
}

int
policy_allows(struct policy *p, const char *country, const char *region, struct err *e)
{
	const struct rule *r;
	bool is_known, allowed = false;
	char regions[160] = "";

	if (check_country(country, e) < 0)
		return -1;
	pthread_rwlock_rdlock(&p->lock);
	r = find(p, country);
	is_known = r != NULL;
	for (size_t i = 0; r && i < r->n; i++)
		allowed = allowed || strcmp(r->regions[i], region) == 0;
	if (r)
		regions_text(r, regions, sizeof(regions));
	pthread_rwlock_unlock(&p->lock);
	if (!is_known)
		return no_rule(country, e);
	return allowed ? 0
	               : err_set(e, ERR_DENIED, "accounts of %s may not live in %s, only in %s",
	                     country, region, regions);
}

void
policy_quota(struct policy *p, const char *country, struct quota_limit *out)
{
	const struct rule *r;

	pthread_rwlock_rdlock(&p->lock);
	r = find(p, country);
	if (r && r->quota.bytes != QUOTA_DEFAULT)
		out->bytes = r->quota.bytes;
	if (r && r->quota.objects != QUOTA_DEFAULT)
		out->objects = r->quota.objects;
	pthread_rwlock_unlock(&p->lock);
}

enum transit
policy_transit(struct policy *p, const char *country)
{
	enum transit transit = TRANSIT_PROXY;
	const struct rule *r;

	pthread_rwlock_rdlock(&p->lock);
	r = find(p, country);
	if (r)
		transit = r->transit;
	pthread_rwlock_unlock(&p->lock);
	return transit;
}
