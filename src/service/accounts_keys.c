/* accounts_keys.c - access keys of an account at its home: making, listing, revoking. See accounts.h.
 *
 * A revoked key leaves its row without the secret, so that its id is never used again.
 */
#include "service/accounts_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/host.h"
#include "base/log.h"
#include "service/access.h"
#include "vault/pool.h"

#define KEYS_MAX       100 /* of an account, at once */

#define _cleanup_json_ _cleanup_(json_decrefp)

/* --- the profile, within the gate --- */

void
account_visit_end(struct account_visit *t)
{
	pool_give(t->vault);
	t->vault = NULL;
	if (t->node)
		gate_leave(t->node, &t->pass);
}

int
account_visit_begin(
    struct account_visit *t, struct node *n, const struct account_id *id, struct err *e)
{
	const struct vault_id vault = { .account = *id, .service = SERVICE_PROFILE };
	enum gate_answer answer;

	*t = (struct account_visit){ .node = n, .account = *id };
	if (gate_enter(n, id, GATE_OPERATOR, &answer, &t->pass, e) < 0)
		return -1;
	if (answer == GATE_WAIT && gate_wait(n, id, GATE_OPERATOR, &answer, &t->pass, e) < 0)
		return -1;
	if (answer == GATE_HELD || answer == GATE_LOST)
		return err_set(e, ERR_BUSY,
		    "the account is not served since the store was put back; see `account show`");
	if (answer != GATE_GO)
		return err_set(e, ERR_STALE, "the account does not live in %s", n->region);
	t->vault = pool_take(n->pool, &vault, true, e);
	return t->vault ? 0 : -1;
}

/* Commit, have the old rows forgotten, and wait for the disk. */
static int
settle(struct account_visit *t, struct err *e)
{
	struct node *n = t->node;
	uint64_t ticket;

	if (vault_commit(t->vault, &ticket, e) < 0)
		return -1;
	if (n->access)
		access_forget(n->access, &t->account);
	account_visit_end(t);
	return flusher_wait(n->flusher, ticket, e);
}

static void
tell(const struct account_visit *t, const char *access_key, const char *what)
{
	char id[ACCOUNT_TEXT_SIZE];

	account_text(&t->account, id);
	log_audit("account.key", NULL, "account=%s key=%s %s", id, access_key, what);
}

/* --- what a call says --- */

static int
bad_arguments(const json_error_t *why, struct err *e)
{
	return err_set(e, ERR_BAD, "arguments: %.120s", why->text);
}

static int
parse_account(const char *text, struct account_id *id, struct err *e)
{
	return text && account_parse(text, id)
	    ? 0
	    : err_set(e, ERR_BAD, "an account is 32 lower-case hexadecimal digits");
}

static int
take_name(const char *text, const char *what, char *out, size_t size, struct err *e)
{
	if (!*text || strlen(text) >= size)
		return err_set(e, ERR_BAD, "%s has 1 to %zu bytes", what, size - 1);
	memcpy(out, text, strlen(text) + 1);
	return 0;
}

static int
check_scope(const struct key_scope *s, struct err *e)
{
	if (s->expires_ms && s->expires_ms <= host_wall_ms())
		return err_set(e, ERR_BAD, "the key would have expired already");
	if (s->prefix[0] && !s->bucket[0])
		return err_set(e, ERR_BAD, "a prefix needs the bucket that it is in");
	if (s->bucket[0] && files_bucket_check(s->bucket, e) < 0)
		return -1;
	if (s->bucket[0] && !key_scope_has_bucket(s, s->bucket))
		return err_set(e, ERR_BAD, "the bucket belongs to another service");
	return 0;
}

static int
parse_scope(json_t *in, struct account_id *id, struct key_scope *s, struct err *e)
{
	const char *account, *services = NULL, *bucket = NULL, *prefix = NULL;
	json_int_t expires_ms = 0;
	json_error_t why;
	int read_only = 0;

	memset(s, 0, sizeof(*s));
	if (json_unpack_ex(in, &why, JSON_STRICT, "{s:s, s?I, s?b, s?s, s?s, s?s}", "account",
	        &account, "expires_ms", &expires_ms, "read_only", &read_only, "services", &services,
	        "bucket", &bucket, "prefix", &prefix) < 0)
		return bad_arguments(&why, e);
	if (parse_account(account, id, e) < 0)
		return -1;
	if (expires_ms < 0)
		return err_set(e, ERR_BAD, "a time before 1970");
	s->expires_ms = (uint64_t)expires_ms;
	s->is_read_only = read_only != 0;
	if ((services && services_parse(services, &s->services, e) < 0) ||
	    (bucket && take_name(bucket, "a bucket", s->bucket, sizeof(s->bucket), e) < 0) ||
	    (prefix && take_name(prefix, "a prefix", s->prefix, sizeof(s->prefix), e) < 0))
		return -1;
	return check_scope(s, e);
}

/* --- create --- */

static int
count_keys(struct vault *v, int64_t *out, struct err *e)
{
	struct query *q = vault_query(v, "SELECT count(*) FROM credential WHERE is_revoked=0");
	int r = query_step(q, e);

	if (r == 1)
		*out = column_int(q, 0);
	query_end(q);
	return r < 0 ? -1 : 0;
}

/* 1: the id has its row; *IS_REVOKED. */
static int
find_key(struct vault *v, const char *access_key, bool *is_revoked, struct err *e)
{
	struct query *q = vault_query(v, "SELECT is_revoked FROM credential WHERE key_id=?1");
	int r;

	query_text(q, 1, access_key, strlen(access_key));
	r = query_step(q, e);
	if (r == 1)
		*is_revoked = column_int(q, 0) != 0;
	query_end(q);
	return r;
}

static int
free_number(struct vault *v, const struct account_id *id, unsigned *out, struct err *e)
{
	unsigned first = account_key_number();
	char text[48];
	bool is_revoked;

	for (unsigned i = 0; i < ACCOUNT_KEYS; i++) {
		unsigned number = (first + i) % ACCOUNT_KEYS;
		int r;

		account_key_text(id, number, text, sizeof(text));
		r = find_key(v, text, &is_revoked, e);
		if (r < 0)
			return -1;
		if (r == 0) {
			*out = number;
			return 0;
		}
	}
	return err_set(e, ERR_TOO_BIG, "the account has used up its %u key ids", ACCOUNT_KEYS);
}

static int
insert(
    struct vault *v, const struct account_credentials *c, const struct key_scope *s, struct err *e)
{
	struct query *q = vault_query(v,
	    "INSERT INTO credential(key_id,secret,created_ms,expires_ms,is_read_only,services,"
	    "bucket,prefix) VALUES(?1,?2,?3,?4,?5,?6,?7,?8)");

	query_text(q, 1, c->access_key, strlen(c->access_key));
	query_text(q, 2, c->secret_key, strlen(c->secret_key));
	query_int(q, 3, (int64_t)host_wall_ms());
	query_int(q, 4, (int64_t)s->expires_ms);
	query_int(q, 5, s->is_read_only);
	query_int(q, 6, s->services);
	query_text(q, 7, s->bucket, strlen(s->bucket));
	query_text(q, 8, s->prefix, strlen(s->prefix));
	return query_run(q, e);
}

static int
make_key(struct account_visit *t, const struct key_scope *s, struct account_credentials *c,
    struct err *e)
{
	int64_t keys = 0;
	unsigned number = 0;

	if (vault_begin(t->vault, e) < 0 || count_keys(t->vault, &keys, e) < 0)
		return -1;
	if (keys >= KEYS_MAX)
		return err_set(
		    e, ERR_TOO_BIG, "the account has %d keys; revoke one first", KEYS_MAX);
	if (free_number(t->vault, &t->account, &number, e) < 0)
		return -1;
	account_credentials_make(t->node, &t->account, number, c);
	if (insert(t->vault, c, s, e) < 0 || settle(t, e) < 0)
		return -1;
	tell(t, c->access_key, "created");
	return 0;
}

static int
serve_create(struct node *n, bool with_names, json_t *in, json_t **out, struct err *e)
{
	_cleanup_(account_visit_end) struct account_visit t = { .node = NULL };
	struct account_credentials c;
	struct account_id id;
	struct key_scope s;

	if (parse_scope(in, &id, &s, e) < 0 || account_visit_begin(&t, n, &id, e) < 0 ||
	    make_key(&t, &s, &c, e) < 0)
		return -1;
	*out = account_credentials_json(&c);
	wipe(&c, sizeof(c));
	return *out ? 0 : err_set(e, ERR_MEMORY, "no memory for the answer");
}

/* --- list --- */

static json_t *
column_string(struct query *q, int i)
{
	struct span text = column_blob(q, i);

	return text.len ? json_stringn((const char *)text.data, text.len) : NULL;
}

static void
add_names(json_t *one, json_t *bucket, json_t *prefix, bool with_names)
{
	if (with_names) {
		if (bucket)
			json_object_set(one, "bucket", bucket);
		if (prefix)
			json_object_set(one, "prefix", prefix);
	} else if (bucket) {
		json_object_set_new(one, "limited_to", json_string(prefix ? "prefix" : "bucket"));
	}
}

static json_t *
key_json(struct query *q, bool with_names)
{
	_cleanup_json_ json_t *id = column_string(q, 0), *bucket = column_string(q, 5),
	                      *prefix = column_string(q, 6);
	unsigned services = (unsigned)column_int(q, 4);
	json_t *one = json_pack("{s:O, s:I}", "access_key", id, "created_ms", column_int(q, 1));
	char text[64];

	if (!one)
		return NULL;
	if (column_int(q, 2)) {
		json_object_set_new(one, "expires_ms", json_integer(column_int(q, 2)));
		json_object_set_new(
		    one, "expired", json_boolean((uint64_t)column_int(q, 2) <= host_wall_ms()));
	}
	if (column_int(q, 3))
		json_object_set_new(one, "read_only", json_true());
	if (services) {
		services_text(services, text);
		json_object_set_new(one, "services", json_string(text));
	}
	add_names(one, bucket, prefix, with_names);
	return one;
}

static int
serve_list(struct node *n, bool with_names, json_t *in, json_t **out, struct err *e)
{
	_cleanup_(account_visit_end) struct account_visit t = { .node = NULL };
	_cleanup_json_ json_t *list = json_array();
	const char *account;
	struct account_id id;
	json_error_t why;
	struct query *q;
	uint64_t ticket;
	int r;

	if (json_unpack_ex(in, &why, JSON_STRICT, "{s:s}", "account", &account) < 0)
		return bad_arguments(&why, e);
	if (parse_account(account, &id, e) < 0 || account_visit_begin(&t, n, &id, e) < 0)
		return -1;
	q = vault_query(t.vault,
	    "SELECT key_id,created_ms,expires_ms,is_read_only,services,bucket,prefix"
	    " FROM credential WHERE is_revoked=0 ORDER BY created_ms,key_id");
	while ((r = query_step(q, e)) == 1)
		if (json_array_append_new(list, key_json(q, with_names)) < 0) {
			r = err_set(e, ERR_MEMORY, "no memory for the list");
			break;
		}
	query_end(q);
	ticket = vault_ticket(t.vault);
	account_visit_end(&t);
	if (r < 0 || flusher_wait(n->flusher, ticket, e) < 0)
		return -1;
	*out = json_pack("{s:O}", "keys", list);
	return *out ? 0 : err_set(e, ERR_MEMORY, "no memory for the answer");
}

/* --- revoke --- */

static int
revoke_key(struct account_visit *t, const char *access_key, struct err *e)
{
	bool is_revoked = false;
	struct query *q;
	int r;

	if (vault_begin_removal(t->vault, e) < 0)
		return -1;
	r = find_key(t->vault, access_key, &is_revoked, e);
	if (r < 0)
		return -1;
	if (r == 0 || is_revoked)
		return err_set(e, ERR_MISSING,
		    r ? "the key is revoked already" : "the account has no such key");
	q = vault_query(t->vault,
	    "UPDATE credential SET is_revoked=1,secret='',bucket='',prefix='' WHERE key_id=?1");
	query_text(q, 1, access_key, strlen(access_key));
	if (query_run(q, e) < 0 || settle(t, e) < 0)
		return -1;
	tell(t, access_key, "revoked");
	return 0;
}

static int
serve_revoke(struct node *n, bool with_names, json_t *in, json_t **out, struct err *e)
{
	_cleanup_(account_visit_end) struct account_visit t = { .node = NULL };
	const char *account, *access_key;
	struct account_id id, named;
	json_error_t why;

	if (json_unpack_ex(in, &why, JSON_STRICT, "{s:s, s:s}", "account", &account, "access_key",
	        &access_key) < 0)
		return bad_arguments(&why, e);
	if (parse_account(account, &id, e) < 0)
		return -1;
	if (!access_account(access_key, &named) || !account_equal(&named, &id))
		return err_set(e, ERR_MISSING, "the account has no such key");
	if (account_visit_begin(&t, n, &id, e) < 0 || revoke_key(&t, access_key, e) < 0)
		return -1;
	*out = json_pack("{s:s}", "revoked", access_key);
	return *out ? 0 : err_set(e, ERR_MEMORY, "no memory for the answer");
}

/* --- here and elsewhere --- */

static const struct {
	const char *op;
	int (*serve)(struct node *n, bool with_names, json_t *in, json_t **out, struct err *e);
} calls[] = {
	{ "create", serve_create },
	{ "list", serve_list },
	{ "revoke", serve_revoke },
};

int
accounts_key_here(
    struct node *n, const char *op, bool with_names, json_t *in, json_t **out, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		if (strcmp(calls[i].op, op) == 0)
			return calls[i].serve(n, with_names, in, out, e);
	return err_set(e, ERR_MISSING, "no call account/key/%.40s", op);
}

static int
key_here(struct node *n, const struct account_id *id, const char *call, json_t *in, json_t **out,
    struct err *e)
{
	(void)id;
	return accounts_key_here(n, call + strlen("key/"), true, in, out, e);
}

int
accounts_key(struct node *n, const char *op, json_t *in, json_t **out, struct err *e)
{
	struct account_id id;
	char call[32];

	if (parse_account(json_string_value(json_object_get(in, "account")), &id, e) < 0)
		return -1;
	snprintf(call, sizeof(call), "key/%s", op);
	return account_at_home(n, &id, call, in, key_here, out, e);
}
