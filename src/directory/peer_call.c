/* peer_call.c - JSON calls to other regions, by libcurl.
 *
 * The URL has the region's name, and libcurl is told at which address to find it, so that the
 * certificate is checked for the name whatever the address. Handles are kept with their open
 * connections: a TLS handshake costs two round trips, which may be 700 ms.
 */
#include "directory/peer_private.h"
#include "base/log.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_BYTES_MAX ((size_t)16 << 20)
#define CONNECT_WAIT_MS  10000

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void
curl_start(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* Routes */

static struct peer_route *
route_new(struct peers *p, const char *name, const char *endpoint)
{
	struct peer_route *r = calloc(1, sizeof(*r));
	char text[REGION_NAME_SIZE + sizeof(r->endpoint) + 8];

	if (!r)
		return NULL;
	r->peers = p;
	strcpy(r->name, name);
	strcpy(r->endpoint, endpoint);
	snprintf(text, sizeof(text), "%s:443:%s", name, endpoint);
	r->list = curl_slist_append(NULL, text);
	if (!r->list) {
		free(r);
		return NULL;
	}
	r->next = p->routes;
	p->routes = r;
	return r;
}

/* ENDPOINT NULL: the region's own. */
static const struct peer_route *
route_find(struct peers *p, const char *name, const char *endpoint, struct err *e)
{
	struct peer_region region;
	struct peer_route *r;

	if (!endpoint && peers_find(p, name, &region))
		endpoint = region.peer_at;
	if (!endpoint || !*endpoint) {
		err_set(e, ERR_PEER, "no address of region %.31s is known", name);
		return NULL;
	}
	if (!region_name_valid(name) || strlen(endpoint) >= sizeof(r->endpoint)) {
		err_set(e, ERR_PEER, "the region's name or address is not valid");
		return NULL;
	}
	pthread_mutex_lock(&p->lock);
	for (r = p->routes; r; r = r->next)
		if (strcmp(r->name, name) == 0 && strcmp(r->endpoint, endpoint) == 0)
			break;
	if (!r)
		r = route_new(p, name, endpoint);
	pthread_mutex_unlock(&p->lock);
	if (!r)
		err_set(e, ERR_MEMORY, "no memory for a call");
	return r;
}

/* Handles */

static CURL *
easy_take(struct peers *p, const struct peer_route *route)
{
	CURL *easy = NULL;

	pthread_once(&curl_once, curl_start);
	pthread_mutex_lock(&p->lock);
	for (size_t i = p->n_idle; !easy && i-- > 0;) {
		if (p->idle[i].route != route)
			continue;
		easy = p->idle[i].easy;
		p->idle[i] = p->idle[--p->n_idle];
	}
	pthread_mutex_unlock(&p->lock);
	return easy ? easy : curl_easy_init();
}

static void
easy_give(struct peers *p, const struct peer_route *route, CURL *easy)
{
	curl_easy_reset(easy); /* keeps the connection */
	pthread_mutex_lock(&p->lock);
	if (p->n_idle < PEER_CALLS_IDLE) {
		p->idle[p->n_idle++] = (struct peer_idle){ easy, route };
		easy = NULL;
	}
	pthread_mutex_unlock(&p->lock);
	curl_easy_cleanup(easy);
}

void
peer_calls_free(struct peers *p)
{
	struct peer_route *next;

	while (p->n_idle)
		curl_easy_cleanup(p->idle[--p->n_idle].easy);
	for (struct peer_route *r = p->routes; r; r = next) {
		next = r->next;
		curl_slist_free_all(r->list);
		free(r);
	}
	p->routes = NULL;
}

/* Before a request goes out. libcurl has checked chain and name, but not what the certificate is for,
 * nor its common name. */
static int
check_server(void *arg, char *their_ip, char *our_ip, int their_port, int our_port)
{
	const struct peer_route *route = NULL;
	struct curl_tlssessioninfo *tls = NULL;
	char name[REGION_NAME_SIZE];
	CURL *easy = arg;
	long is_new = 0;
	struct err e;

	(void)their_ip, (void)our_ip, (void)their_port, (void)our_port;
	curl_easy_getinfo(easy, CURLINFO_PRIVATE, &route);
	curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &is_new);
	curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &tls);
	if (!route || !tls || tls->backend != CURLSSLBACKEND_GNUTLS || !tls->internals)
		return CURL_PREREQFUNC_ABORT;
	if (!is_new ||
	    peers_verify(
	        route->peers, tls->internals, GNUTLS_KP_TLS_WWW_SERVER, route->name, name, &e) == 0)
		return CURL_PREREQFUNC_OK;
	log_warn("peer.certificate", NULL, "region=%s refused=%s", route->name, e.text);
	return CURL_PREREQFUNC_ABORT;
}

static void
prepare(const struct peers *p, const struct peer_route *route, CURL *easy)
{
	if (route)
		curl_easy_setopt(easy, CURLOPT_CONNECT_TO, route->list);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, (void *)(uintptr_t)route);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, check_server);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, easy);
	curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* whatever the environment says */
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(easy, CURLOPT_CAINFO, p->ca_path);
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* none of the system's */
	curl_easy_setopt(easy, CURLOPT_SSLCERT, p->cert_path);
	curl_easy_setopt(easy, CURLOPT_SSLKEY, p->key_path);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
}

void
peers_prepare_curl(struct peers *p, const char *name, void *easy)
{
	prepare(p, route_find(p, name, NULL, NULL), easy);
}

/* Calling */

static size_t
take_answer(char *data, size_t size, size_t n, void *arg)
{
	struct buf *b = arg;

	buf_add(b, data, size * n);
	return b->failed ? 0 : size * n;
}

static enum err_kind
kind_of_word(const char *word)
{
	for (int k = ERR_NONE + 1; word && k < ERR_KINDS; k++)
		if (strcmp(err_word((enum err_kind)k), word) == 0)
			return (enum err_kind)k;
	return ERR_PEER;
}

/* *E from an answer that is not 2xx: problem+json, or whatever somebody in between says. */
static int
read_problem(const char *name, long status, json_t *json, struct err *e)
{
	const char *kind = json_string_value(json_object_get(json, "kind"));
	const char *detail = json_string_value(json_object_get(json, "detail"));

	if (!kind || !detail)
		return err_set(e, ERR_PEER, "region %s answered with status %ld", name, status);
	return err_set(e, kind_of_word(kind), "%s: %s", name, detail);
}

static int
read_answer(const char *name, long status, struct buf *body, json_t **answer, struct err *e)
{
	_cleanup_(json_decrefp) json_t *json = NULL;

	if (body->len)
		json = json_loadb((const char *)body->data, body->len, 0, NULL);
	if (status < 200 || status > 299)
		return read_problem(name, status, json, e);
	if (!json)
		return err_set(e, ERR_PEER, "region %s did not answer in JSON", name);
	*answer = take(&json);
	return 0;
}

struct headers {
	struct curl_slist *list;
	bool failed;
};

static void
headers_free(struct headers *h)
{
	curl_slist_free_all(h->list);
}

static void
header_add(struct headers *h, const char *line)
{
	struct curl_slist *longer = curl_slist_append(h->list, line);

	h->failed |= !longer;
	h->list = longer ? longer : h->list;
}

static int
perform(CURL *easy, const char *name, const char *url, const char *id, const char *text,
    uint64_t timeout_ms, struct buf *body, long *status, struct err *e)
{
	_cleanup_(headers_free) struct headers headers = { NULL, false };
	char why[CURL_ERROR_SIZE] = "", line[80];
	long wait = timeout_ms > LONG_MAX ? LONG_MAX : (long)timeout_ms;
	CURLcode rc;

	header_add(&headers, "content-type: application/json");
	header_add(&headers, "expect:"); /* a round trip for nothing */
	if (id) {
		snprintf(line, sizeof(line), "x-domicile-id: %.40s", id);
		header_add(&headers, line);
	}
	if (headers.failed)
		return err_set(e, ERR_MEMORY, "no memory for a call");
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers.list);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(text));
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, text);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, wait);
	curl_easy_setopt(
	    easy, CURLOPT_CONNECTTIMEOUT_MS, wait < CONNECT_WAIT_MS ? wait : (long)CONNECT_WAIT_MS);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, body);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, why);
	rc = curl_easy_perform(easy);
	if (rc != CURLE_OK)
		return err_set(e, ERR_PEER, "region %s: %s", name,
		    body->failed ? "too long an answer" : (*why ? why : curl_easy_strerror(rc)));
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, status);
	return 0;
}

int
peer_call(struct peers *p, const char *name, const char *endpoint, const char *path, const char *id,
    json_t *body, json_t **answer, uint64_t timeout_ms, struct err *e)
{
	_cleanup_buf_ struct buf got = BUF_INIT(ANSWER_BYTES_MAX);
	const struct peer_route *route = route_find(p, name, endpoint, e);
	_cleanup_(freep) char *text = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
	char url[512];
	long status = 0;
	CURL *easy;
	int rc;

	if (!route)
		return -1;
	if (snprintf(url, sizeof(url), "https://%s%s", name, path) >= (int)sizeof(url))
		return err_set(e, ERR_BAD, "too long a path of a call");
	easy = easy_take(p, route);
	if (!text || !easy) {
		curl_easy_cleanup(easy);
		return err_set(e, ERR_MEMORY, "no memory for a call");
	}
	prepare(p, route, easy);
	rc = perform(easy, name, url, id, text, timeout_ms ? timeout_ms : 1, &got, &status, e);
	easy_give(p, route, easy);
	return rc < 0 ? -1 : read_answer(name, status, &got, answer, e);
}
