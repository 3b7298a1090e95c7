/* call.c - see call.h. */
#include "cli/call.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/region_conf.h"

#define ANSWER_MAX ((size_t)256 << 20)

struct caller {
	CURL *curl;
	struct curl_slist *headers;
	char config[PATH_MAX];
	char socket[PATH_MAX];
};

static int
read_config(struct caller *c, const struct args *a, struct err *e)
{
	const char *path = arg_text(a, "config") ? arg_text(a, "config")
	                                         : getenv("DOMICILE_CONFIG");
	_cleanup_(freep) struct region_conf *conf = calloc(1, sizeof(*conf));

	if (!path || !*path)
		return err_set(e, ERR_USAGE,
		    "which node? give --config FILE (its region.conf) or set DOMICILE_CONFIG");
	if (!conf)
		return err_set(e, ERR_MEMORY, "no memory");
	if (region_conf_load(path, conf, e) < 0)
		return -1;
	snprintf(c->config, sizeof(c->config), "%s", path);
	memcpy(c->socket, conf->admin_socket, sizeof(c->socket));
	region_conf_close(conf);
	return 0;
}

struct caller *
call_open(const struct args *a, struct err *e)
{
	_cleanup_(call_closep) struct caller *c = calloc(1, sizeof(*c));

	if (!c || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
		err_set(e, ERR_MEMORY, "no memory");
		return NULL;
	}
	if (read_config(c, a, e) < 0)
		return NULL;
	c->curl = curl_easy_init();
	c->headers = curl_slist_append(NULL, "Content-Type: application/json");
	/* Without this curl waits a second for a "100 Continue". */
	c->headers = curl_slist_append(c->headers, "Expect:");
	if (!c->curl || !c->headers) {
		err_set(e, ERR_MEMORY, "no memory");
		return NULL;
	}
	return take(&c);
}

void
call_close(struct caller *c)
{
	if (!c)
		return;
	curl_slist_free_all(c->headers);
	curl_easy_cleanup(c->curl);
	free(c);
}

static size_t
take_answer(char *p, size_t size, size_t n, void *arg)
{
	buf_add(arg, p, size * n);
	return buf_check(arg, NULL) < 0 ? 0 : size * n;
}

/* What the node says is wrong, as it was wrong there. */
static int
take_problem(json_t *problem, long status, struct err *e)
{
	const char *kind = get_text(problem, "kind"), *detail = get_text(problem, "detail");

	for (unsigned k = ERR_NONE + 1; k < ERR_KINDS; k++)
		if (strcmp(kind, err_word(k)) == 0)
			return err_set(e, k, "%s", detail);
	return err_set(e, ERR_PEER, "the node answered %ld without saying why", status);
}

static int
perform(struct caller *c, const char *path, const char *body, struct buf *answer, long *status,
    struct err *e)
{
	char url[200];
	CURLcode rc;

	snprintf(url, sizeof(url), "http://node%s", path);
	curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, c->socket);
	curl_easy_setopt(c->curl, CURLOPT_URL, url);
	curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
	curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
	curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, answer);
	rc = curl_easy_perform(c->curl);
	if (rc == CURLE_COULDNT_CONNECT)
		return err_set(e, ERR_PEER,
		    "no node answers at %s; start it: domicile serve --config %s", c->socket,
		    c->config);
	if (rc != CURLE_OK)
		return err_set(e, ERR_PEER, "%s: %s", c->socket, curl_easy_strerror(rc));
	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, status);
	return 0;
}

int
call_node(struct caller *c, const char *path, json_t *in, json_t **out, struct err *e)
{
	_cleanup_buf_ struct buf answer = BUF_INIT(ANSWER_MAX);
	_cleanup_(freep) char *body = in ? json_dumps(in, JSON_COMPACT) : NULL;
	json_t *parsed;
	long status = 0;

	json_decref(in);
	if (!body)
		return err_set(e, ERR_MEMORY, "no memory for the request");
	if (perform(c, path, body, &answer, &status, e) < 0)
		return -1;
	parsed = json_loadb((const char *)answer.data, answer.len, JSON_DECODE_ANY, NULL);
	if (status == 200 && parsed) {
		*out = parsed;
		return 0;
	}
	take_problem(parsed, status, e);
	json_decref(parsed);
	return -1;
}

int
call_once(const struct args *a, const char *path, json_t *in, json_t **out, struct err *e)
{
	_cleanup_(call_closep) struct caller *c = call_open(a, e);

	if (!c) {
		json_decref(in);
		return -1;
	}
	return call_node(c, path, in, out, e);
}

const char *
get_text(json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

int64_t
get_number(json_t *object, const char *name)
{
	return (int64_t)json_number_value(json_object_get(object, name));
}

int
print_json(json_t *value, struct err *e)
{
	if (json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY) < 0 || putchar('\n') == EOF)
		return err_errno(e, errno, "standard output");
	return 0;
}
