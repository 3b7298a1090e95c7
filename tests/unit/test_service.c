/* Accounts are there as a whole or not at all, and routes say where. */
#include "service_fixture.h"

#include "base/crypto.h"
#include "service/accounts_internal.h"

/* --- a directory that can be out of reach --- */

struct shaky {
	struct directory directory;
	struct directory *next;
	bool find_fails, add_fails, add_fails_late, remove_fails;
	unsigned finds;
	unsigned removes_failing; /* not 0: only so many of them */
};

static int
away(struct err *e)
{
	return err_set(e, ERR_PEER, "the directory can't be reached");
}

static struct shaky *
shaky(struct directory *d)
{
	return container_of(d, struct shaky, directory);
}

static int
shaky_find(struct directory *d, const struct account_id *ids, size_t n, struct placement *out,
    struct err *e)
{
	shaky(d)->finds++;
	return shaky(d)->find_fails ? away(e) : directory_find(shaky(d)->next, ids, n, out, e);
}

static int
shaky_add(struct directory *d, const struct placement *p, size_t n, struct err *e)
{
	if (shaky(d)->add_fails)
		return away(e);
	if (directory_add(shaky(d)->next, p, n, e) < 0)
		return -1;
	return shaky(d)->add_fails_late ? away(e) : 0;
}

static int
shaky_remove(struct directory *d, const struct placement *p, struct err *e)
{
	struct shaky *s = shaky(d);

	if (!s->remove_fails)
		return directory_remove(s->next, p, e);
	if (s->removes_failing && --s->removes_failing == 0)
		s->remove_fails = false;
	return away(e);
}

static int
shaky_suspend(struct directory *d, const struct account_id *id, bool on, struct err *e)
{
	return directory_suspend(shaky(d)->next, id, on, e);
}

static int
shaky_list(struct directory *d, const struct account_id *after, const char *home,
    const char *countries, size_t limit, directory_fn *fn, void *arg, struct err *e)
{
	return directory_list(shaky(d)->next, after, home, countries, limit, fn, arg, e);
}

static void
shaky_close(struct directory *d)
{
	directory_close(shaky(d)->next);
}

static const struct directory_ops shaky_ops = {
	.find = shaky_find,
	.add = shaky_add,
	.remove = shaky_remove,
	.suspend = shaky_suspend,
	.list = shaky_list,
	.close = shaky_close,
};

/* --- the region under test --- */

struct bench {
	struct region region;
	struct shaky shaky;
};

static void
wrap_directory(struct bench *b)
{
	b->shaky = (struct shaky){ .directory.ops = &shaky_ops, .next = b->region.node.directory };
	b->region.node.directory = &b->shaky.directory;
}

static int
setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	region_open(&b->region, false);
	wrap_directory(b);
	*state = b;
	return 0;
}

static int
teardown(void **state)
{
	region_close(&((struct bench *)*state)->region);
	free(*state);
	return 0;
}

/* A power cut, and a start after it. */
static void
restart(struct bench *b)
{
	struct store *s = &b->region.store;
	struct err e;

	engine_fault_set(s->engine, FAULT_FAIL, 1, false, true, 0);
	region_stop(&b->region);
	pool_close(s->pool);
	flusher_stop(s->flusher);
	engine_memory_cut(s->inner);
	engine_fault_set(s->engine, FAULT_NONE, 0, false, false, 0);
	s->flusher = flusher_start(s->engine, &e);
	CHECK(s->flusher);
	store_open_pool(s, 8);
	region_start(&b->region);
	region_policy(&b->region, "[policy IN]\nregions = in-mum, sg\n");
	wrap_directory(b);
}

struct census {
	struct node *node;
	size_t rows, vaults, homes;
};

static int
count_row(void *arg, const struct placement *p, struct err *e)
{
	struct census *c = arg;
	struct home home;

	CHECK(homes_get(c->node->homes, &p->account, &home, e) == 1);
	CHECK(home.state == HOME_HERE && home.services == (ALL_SERVICES | BIT(SERVICE_PROFILE)));
	CHECK_STR(home.country, "IN");
	for (enum service s = SERVICE_PROFILE; s <= SERVICE_BACKUP; s++) {
		struct vault_id id = { .account = p->account, .service = (uint8_t)s };
		struct vault *v = pool_take(c->node->pool, &id, true, e);

		CHECK(v);
		CHECK_OK(vault_check(v, e), e);
		pool_give(v);
	}
	c->rows++;
	return 0;
}

static int
count_vault(void *arg, const struct vault_id *id, struct err *e)
{
	(void)e;
	((struct census *)arg)->vaults += id->service != SERVICE_REGION;
	return 0;
}

static int
count_home(void *arg, const struct home *home, struct err *e)
{
	(void)home, (void)e;
	((struct census *)arg)->homes++;
	return 0;
}

/* Each account in the directory is complete, and there is nothing of any other. How many there are. */
static size_t
accounts_all_whole(struct bench *b)
{
	struct census c = { .node = &b->region.node };
	struct err e = { 0 };

	CHECK_OK(directory_list(c.node->directory, NULL, "", "", 100000, count_row, &c, &e), &e);
	CHECK_OK(engine_list(c.node->engine, count_vault, &c, &e), &e);
	CHECK_OK(homes_scan_after(c.node->homes, NULL, count_home, &c, &e), &e);
	CHECK(c.vaults == 3 * c.rows);
	CHECK(c.homes == c.rows);
	return c.rows;
}

/* --- making --- */

static int
read_receipt(struct node *n, const struct account_id *id, enum service s, struct buf *out)
{
	struct vault_id vault = { .account = *id, .service = SERVICE_PROFILE };
	struct err e = { 0 };
	struct vault *v = pool_take(n->pool, &vault, true, &e);
	struct query *q = vault_query(v, "SELECT receipt FROM consent WHERE service=?1");
	int r;

	query_int(q, 1, s);
	r = query_step(q, &e);
	buf_clear(out);
	if (r == 1)
		buf_add(out, column_blob(q, 0).data, column_blob(q, 0).len);
	query_end(q);
	pool_give(v);
	return r;
}

static void
a_new_account_has_what_it_granted_and_receipts_for_it(void **state)
{
	static const char *const fields[] = { "schema", "receipt", "principal", "service",
		"purpose", "notice", "notice_version", "time", "jurisdiction", "storage_location",
		"retention", "recipients" };
	struct bench *b = *state;
	struct node *n = &b->region.node;
	struct account_credentials c;
	_cleanup_buf_ struct buf text = BUF_INIT(0);
	struct account_id id;
	struct err e = { 0 };
	json_t *j;

	CHECK_OK(accounts_create(n, "IN", BIT(SERVICE_BACKUP), 1, &c, &e), &e);
	CHECK(access_account(c.access_key, &id) && account_equal(&id, &c.account));
	CHECK(strlen(c.access_key) == 38 && strlen(c.secret_key) == 40);
	CHECK(strspn(c.secret_key,
	          "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") == 40);
	CHECK_STR(c.region, "in-mum");
	CHECK(read_receipt(n, &c.account, SERVICE_FILES, &text) == 0);
	CHECK(read_receipt(n, &c.account, SERVICE_PROFILE, &text) == 1);
	CHECK(read_receipt(n, &c.account, SERVICE_BACKUP, &text) == 1);
	j = json_loads(buf_str(&text), 0, NULL);
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		CHECK(json_object_get(j, fields[i]));
	CHECK_STR(json_string_value(json_object_get(j, "service")), "backup");
	CHECK_STR(json_string_value(json_object_get(j, "jurisdiction")), "IN");
	json_decref(j);
}

static void
what_can_not_be_made_is_refused(void **state)
{
	struct bench *b = *state;
	struct node *n = &b->region.node;
	struct account_credentials c;
	struct err e = { 0 };

	CHECK(accounts_create(n, "CN", 0, 1, &c, &e) < 0 && e.kind == ERR_DENIED);
	CHECK(accounts_create_here(n, "CN", 0, 1, &c, &e) < 0 && e.kind == ERR_DENIED);
	CHECK(accounts_create(n, "in", 0, 1, &c, &e) < 0 && e.kind == ERR_BAD);
	CHECK(accounts_create(n, "IN", BIT(SERVICE_MESSAGES), 1, &c, &e) < 0 && e.kind == ERR_BAD);
	CHECK(accounts_create(n, "IN", 1u << 20, 1, &c, &e) < 0 && e.kind == ERR_BAD);
	CHECK(accounts_all_whole(b) == 0);
}

/* More than one batch, more than the pool holds. */
static void
many_accounts_are_made_at_once(void **state)
{
	struct bench *b = *state;
	size_t n = DIRECTORY_BATCH_MAX + 20;
	struct account_credentials *c = calloc(n, sizeof(*c));
	uint8_t key[SHA256_BYTES];
	struct key_scope scope;
	struct err e = { 0 };

	CHECK_OK(accounts_create(&b->region.node, "IN", ALL_SERVICES, n, c, &e), &e);
	restart(b);
	CHECK(accounts_all_whole(b) == n);
	for (size_t i = 0; i < n; i += n - 1)
		CHECK_OK(access_signing_key(b->region.node.access, c[i].access_key, "20310409",
		             "in-mum", "s3", true, key, &scope, &e),
		    &e);
	free(c);
}

/* Fail the first call that changes something, then the second, until none is left to fail; with and
 * without going on to fail until the power is cut. */
static void
an_account_is_whole_or_absent_whatever_call_fails(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_FAIL, FAULT_FAIL_LATE };
	struct bench *b = *state;
	size_t made = 0;

	for (unsigned round = 0; round < 4; round++) {
		bool fired = true;

		for (unsigned nth = 1; fired; nth++) {
			struct account_credentials c[2];
			struct err e = { 0 };
			size_t now;
			bool acked;

			engine_fault_set(
			    b->region.store.engine, kinds[round / 2], nth, false, round % 2, 0);
			acked = accounts_create(&b->region.node, "IN", ALL_SERVICES, 2, c, &e) == 0;
			fired = engine_fault_fired(b->region.store.engine);
			restart(b);
			CHECK_OK(accounts_recover(&b->region.node, &e), &e);
			now = accounts_all_whole(b);
			CHECK(now == made + 2 || (now == made && !acked));
			made = now;
		}
	}
	CHECK(made >= 8);
}

static size_t told_removed;

static int
tell_removed(
    struct node *n, const struct home *h, size_t count, struct region_batch *b, struct err *e)
{
	told_removed += count;
	return homes_set(n->homes, h, count, b, e);
}

/* And what was undone leaves no bytes in the files. */
static void
the_directory_decides_what_was_made(void **state)
{
	struct bench *b = *state;
	struct node *n = &b->region.node;
	struct account_credentials c, two[2];
	struct err e = { 0 };

	told_removed = 0;
	n->set_removed = tell_removed;
	b->shaky.add_fails = true;
	CHECK(accounts_create(n, "IN", ALL_SERVICES, 2, two, &e) < 0 && e.kind == ERR_PEER);
	CHECK(accounts_all_whole(b) == 0 && told_removed == 2);
	/* Its yes got lost, but it can be asked. */
	b->shaky.add_fails = false;
	b->shaky.add_fails_late = true;
	CHECK_OK(accounts_create(n, "IN", ALL_SERVICES, 1, &c, &e), &e);
	CHECK(accounts_all_whole(b) == 1);
	/* It can't be asked now, and then one is there and one is not. */
	CHECK(!n->must_recover);
	b->shaky.find_fails = true;
	CHECK(accounts_create(n, "IN", ALL_SERVICES, 1, &c, &e) < 0 && e.kind == ERR_PEER);
	b->shaky.add_fails = true;
	CHECK(accounts_create(n, "IN", ALL_SERVICES, 1, &c, &e) < 0 && e.kind == ERR_PEER);
	CHECK(accounts_recover(n, &e) < 0 && e.kind == ERR_PEER);
	CHECK(n->must_recover);
	b->shaky.find_fails = b->shaky.add_fails_late = false;
	CHECK_OK(accounts_recover(n, &e), &e);
	CHECK(accounts_all_whole(b) == 2 && told_removed == 3);
}

static void
one_that_cannot_be_recovered_does_not_hold_up_the_others(void **state)
{
	struct bench *b = *state;
	struct node *n = &b->region.node;
	struct account_credentials c[3];
	struct err e = { 0 };
	struct home home;

	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		CHECK_OK(accounts_create(n, "IN", ALL_SERVICES, 1, &c[i], &e), &e);
		b->shaky.remove_fails = true;
		CHECK(accounts_remove(n, &c[i].account, &e) < 0);
	}
	b->shaky.removes_failing = 1;
	CHECK(accounts_recover(n, &e) < 0 && e.kind == ERR_BUSY && strstr(e.text, "1 accounts"));
	b->shaky.remove_fails = false;
	CHECK_OK(accounts_recover(n, &e), &e);
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		CHECK(homes_get(n->homes, &c[i].account, &home, &e) == 0);
}

/* --- removing, suspending --- */

static void
a_removed_account_leaves_nothing(void **state)
{
	struct bench *b = *state;
	struct node *n = &b->region.node;
	struct account_credentials c;
	struct files f = region_account(&b->region, ALL_SERVICES, &c);
	uint8_t *a = noise(5000000, 1), key[SHA256_BYTES];
	struct key_scope scope;
	struct placement row;
	struct home home;
	struct err e = { 0 };

	CHECK_OK(files_bucket_create(&f, "photos", &e), &e);
	put(&f, "photos", "large", a, 5000000);
	CHECK_OK(
	    access_signing_key(n->access, c.access_key, "d", "r", "s3", true, key, &scope, &e), &e);
	CHECK_OK(routes_find(n->routes, &c.account, true, &row, &e), &e);
	CHECK_OK(accounts_remove(n, &c.account, &e), &e);
	for (enum service s = SERVICE_PROFILE; s < SERVICES; s++) {
		struct vault_id id = { .account = c.account, .service = (uint8_t)s };

		CHECK_OK(transfer_is_gone(n->engine, n->chunks, &id, &e), &e);
	}
	CHECK(homes_get(n->homes, &c.account, &home, &e) == 0);
	CHECK(
	    access_signing_key(n->access, c.access_key, "d", "r", "s3", true, key, &scope, &e) < 0);
	CHECK(e.kind == ERR_MISSING);
	CHECK(routes_find(n->routes, &c.account, true, &row, &e) < 0 && e.kind == ERR_MISSING);
	CHECK(accounts_remove(n, &c.account, &e) < 0 && e.kind == ERR_MISSING);
	CHECK(accounts_all_whole(b) == 0);
	free(a);
}

static void
a_removal_is_finished_or_never_was_whatever_call_fails(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_FAIL, FAULT_FAIL_LATE };
	struct bench *b = *state;
	size_t made = 0;

	for (unsigned round = 0; round < 4; round++) {
		bool fired = true;

		for (unsigned nth = 1; fired; nth++) {
			struct account_credentials c;
			struct err e = { 0 };
			size_t now;
			bool acked;

			region_account(&b->region, ALL_SERVICES, &c);
			engine_fault_set(
			    b->region.store.engine, kinds[round / 2], nth, false, round % 2, 0);
			acked = accounts_remove(&b->region.node, &c.account, &e) == 0;
			fired = engine_fault_fired(b->region.store.engine);
			restart(b);
			CHECK_OK(accounts_recover(&b->region.node, &e), &e);
			now = accounts_all_whole(b);
			CHECK(now == made || (now == made + 1 && !acked));
			made = now;
		}
	}
}

static void
a_removal_goes_on_where_the_directory_stopped_it(void **state)
{
	struct bench *b = *state;
	struct node *n = &b->region.node;
	struct account_credentials c;
	struct err e = { 0 };

	region_account(&b->region, ALL_SERVICES, &c);
	b->shaky.remove_fails = true;
	CHECK(accounts_remove(n, &c.account, &e) < 0 && e.kind == ERR_PEER);
	b->shaky.remove_fails = false;
	CHECK_OK(accounts_remove(n, &c.account, &e), &e);
	CHECK(accounts_all_whole(b) == 0);
}

static void
an_account_that_moves_is_not_removed(void **state)
{
	struct bench *b = *state;
	struct node *n = &b->region.node;
	struct region_batch *batch;
	struct account_credentials c;
	struct home home;
	struct err e = { 0 };

	region_account(&b->region, ALL_SERVICES, &c);
	batch = region_batch(&e);
	region_put(batch, REGION_MOVE, &c.account, sizeof(c.account), "x", 1);
	CHECK_OK(region_apply(n->engine, n->flusher, batch, &e), &e);
	CHECK(accounts_remove(n, &c.account, &e) < 0 && e.kind == ERR_BUSY);
	region_delete(batch, REGION_MOVE, &c.account, sizeof(c.account));
	CHECK_OK(region_apply(n->engine, n->flusher, batch, &e), &e);
	region_batch_free(batch);
	CHECK(homes_get(n->homes, &c.account, &home, &e) == 1);
	home.state = HOME_FENCED;
	snprintf(home.peer, sizeof(home.peer), "sg");
	CHECK_OK(homes_fence(n->homes, &home, 1, NULL, 1000, &e), &e);
	CHECK(accounts_remove(n, &c.account, &e) < 0 && e.kind == ERR_BUSY);
	CHECK(accounts_suspend(n, &c.account, true, &e) < 0 && e.kind == ERR_BUSY);
	home.state = HOME_MOVED;
	CHECK_OK(homes_set(n->homes, &home, 1, NULL, &e), &e);
	CHECK(accounts_remove_here(n, &c.account, &e) < 0 && e.kind == ERR_STALE);
}

static void
a_suspended_account_is_shut_and_keeps_its_data(void **state)
{
	struct bench *b = *state;
	struct node *n = &b->region.node;
	enum enter_answer answer;
	struct home_pass pass;
	struct placement row;
	struct account_credentials c;
	struct err e = { 0 };

	region_account(&b->region, ALL_SERVICES, &c);
	CHECK_OK(accounts_suspend(n, &c.account, true, &e), &e);
	CHECK_OK(homes_enter(n->homes, &c.account, ENTER_READ, &answer, &pass, NULL, &e), &e);
	CHECK(answer == ENTER_SUSPENDED);
	homes_leave(n->homes, &pass);
	CHECK_OK(directory_find(n->directory, &c.account, 1, &row, &e), &e);
	CHECK(row.is_suspended);
	CHECK_OK(accounts_suspend(n, &c.account, false, &e), &e);
	CHECK_OK(homes_enter(n->homes, &c.account, ENTER_READ, &answer, &pass, NULL, &e), &e);
	CHECK(answer == ENTER_GO);
	homes_leave(n->homes, &pass);
	CHECK(accounts_all_whole(b) == 1);
}

/* --- showing and serving --- */

static json_int_t
number_of(json_t *vaults, size_t i, const char *name)
{
	return json_integer_value(json_object_get(json_array_get(vaults, i), name));
}

static void
an_account_is_shown_by_numbers_only(void **state)
{
	struct bench *b = *state;
	struct node *n = &b->region.node;
	struct account_credentials c;
	struct files f = region_account(&b->region, ALL_SERVICES, &c);
	struct err e = { 0 };
	json_t *shown, *vaults;
	char *text;

	CHECK_OK(files_bucket_create(&f, "secret-bucket", &e), &e);
	put(&f, "secret-bucket", "secret-key", "hello", 5);
	put(&f, "secret-bucket", "secret-key2", "hello", 5);
	CHECK_OK(accounts_show(n, &c.account, &shown, &e), &e);
	vaults = json_object_get(shown, "vaults");
	CHECK(json_array_size(vaults) == 3);
	CHECK(number_of(vaults, 1, "objects") == 2 && number_of(vaults, 1, "bytes") == 10);
	CHECK(number_of(vaults, 1, "pages") >= 5 && number_of(vaults, 1, "version") >= 4);
	CHECK(number_of(vaults, 2, "objects") == 0);
	CHECK_STR(json_string_value(json_object_get(shown, "home")), "in-mum");
	CHECK_STR(json_string_value(json_object_get(shown, "state")), "here");
	CHECK_STR(json_string_value(json_object_get(shown, "services")), "files,backup");
	CHECK(!json_object_get(shown, "home_error"));
	text = json_dumps(shown, 0);
	CHECK(
	    !strstr(text, "secret") && !strstr(text, c.secret_key) && !strstr(text, c.access_key));
	free(text);
	json_decref(shown);
}

static int
serve(struct node *n, const char *op, json_t *in, json_t **out, struct err *e)
{
	int r;

	*out = NULL;
	r = accounts_serve(n, "sg", op, in, out, e);
	json_decref(in);
	return r;
}

static void
peers_make_show_suspend_and_remove(void **state)
{
	struct bench *b = *state;
	struct node *n = &b->region.node;
	struct err e = { 0 };
	char id[ACCOUNT_TEXT_SIZE];
	json_t *out;

	CHECK_OK(serve(n, "create",
	             json_pack("{s:s, s:s, s:i}", "country", "IN", "services", "files,backup",
	                 "count", 2),
	             &out, &e),
	    &e);
	CHECK(json_array_size(json_object_get(out, "accounts")) == 2);
	snprintf(id, sizeof(id), "%s",
	    json_string_value(
	        json_object_get(json_array_get(json_object_get(out, "accounts"), 1), "account")));
	json_decref(out);
	CHECK(accounts_all_whole(b) == 2);
	CHECK_OK(serve(n, "show", json_pack("{s:s}", "account", id), &out, &e), &e);
	CHECK_STR(json_string_value(json_object_get(out, "services")), "files,backup");
	json_decref(out);
	CHECK_OK(
	    serve(n, "suspend", json_pack("{s:s, s:b}", "account", id, "on", 1), &out, &e), &e);
	json_decref(out);
	CHECK_OK(serve(n, "remove", json_pack("{s:s}", "account", id), &out, &e), &e);
	json_decref(out);
	CHECK(accounts_all_whole(b) == 1);
	CHECK(serve(n, "remove", json_pack("{s:s}", "account", id), &out, &e) < 0);
	CHECK(e.kind == ERR_STALE);
}

static void
arguments_of_peers_are_not_believed(void **state)
{
	static const struct {
		const char *op, *in;
		enum err_kind kind;
	} cases[] = {
		{ "nonsense", "{}", ERR_MISSING },
		{ "create", "{}", ERR_BAD },
		{ "create", "[]", ERR_BAD },
		{ "create", "{\"country\":\"IN\",\"services\":\"\",\"count\":0}", ERR_BAD },
		{ "create", "{\"country\":\"IN\",\"services\":\"\",\"count\":1025}", ERR_BAD },
		{ "create", "{\"country\":\"IN\",\"services\":\"\",\"count\":1,\"x\":1}", ERR_BAD },
		{ "create", "{\"country\":\"IN\",\"services\":\"region\",\"count\":1}", ERR_BAD },
		{ "create", "{\"country\":\"in\",\"services\":\"\",\"count\":1}", ERR_BAD },
		{ "create", "{\"country\":\"DE\",\"services\":\"\",\"count\":1}", ERR_DENIED },
		{ "show", "{\"account\":\"xyz\"}", ERR_BAD },
		{ "show", "{\"account\":5}", ERR_BAD },
		{ "show", "{\"account\":\"00000000000000000000000000000000\"}", ERR_MISSING },
		{ "remove", "{\"account\":\"00000000000000000000000000000000\"}", ERR_STALE },
		{ "suspend", "{\"account\":\"00000000000000000000000000000000\"}", ERR_BAD },
	};
	struct bench *b = *state;
	struct err e = { 0 };
	json_t *out;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CHECK(serve(&b->region.node, cases[i].op, json_loads(cases[i].in, 0, NULL), &out,
		          &e) < 0);
		if (e.kind != cases[i].kind)
			fail_msg("%s %s: %s", cases[i].op, cases[i].in, e.text);
	}
	CHECK(accounts_all_whole(b) == 0);
}

/* --- routes --- */

static void
routes_ask_the_directory_once(void **state)
{
	struct bench *b = *state;
	struct node *n = &b->region.node;
	struct account_credentials c[5];
	struct placement p;
	struct account_id nobody;
	uint64_t began_ms;
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		region_account(&b->region, ALL_SERVICES, &c[i]);
	CHECK(routes_find(n->routes, &c[0].account, false, &p, &e) < 0 && e.kind == ERR_BUSY);
	CHECK_OK(routes_find(n->routes, &c[0].account, true, &p, &e), &e);
	CHECK_STR(p.home, "in-mum");
	CHECK(account_equal(&p.account, &c[0].account));
	b->shaky.finds = 0;
	CHECK_OK(routes_find(n->routes, &c[0].account, true, &p, &e), &e);
	CHECK_OK(routes_find(n->routes, &c[0].account, false, &p, &e), &e);
	CHECK(b->shaky.finds == 0);
	routes_forget(n->routes, &c[0].account);
	CHECK_OK(routes_find(n->routes, &c[0].account, true, &p, &e), &e);
	CHECK(b->shaky.finds == 1);
	for (size_t i = 1; i < ARRAY_LEN(c); i++)
		CHECK_OK(routes_find(n->routes, &c[i].account, true, &p, &e), &e);
	CHECK(routes_find(n->routes, &c[0].account, false, &p, &e) < 0);

	do { /* known for a second; so once more if this machine took that long */
		account_random(&nobody);
		b->shaky.finds = 0;
		began_ms = host_mono_ms();
		CHECK(routes_find(n->routes, &nobody, true, &p, &e) < 0 && e.kind == ERR_MISSING);
		CHECK(routes_find(n->routes, &nobody, false, &p, &e) < 0);
	} while (e.kind == ERR_BUSY && host_mono_ms() - began_ms >= 1000);
	CHECK(e.kind == ERR_MISSING && b->shaky.finds == 1);
	usleep(1100000);
	CHECK(routes_find(n->routes, &nobody, false, &p, &e) < 0 && e.kind == ERR_BUSY);
	b->shaky.find_fails = true;
	CHECK(routes_find(n->routes, &nobody, true, &p, &e) < 0 && e.kind == ERR_PEER);
	CHECK_OK(routes_find(n->routes, &c[4].account, true, &p, &e), &e);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_new_account_has_what_it_granted_and_receipts_for_it),
		TEST(what_can_not_be_made_is_refused),
		TEST(many_accounts_are_made_at_once),
		TEST(an_account_is_whole_or_absent_whatever_call_fails),
		TEST(the_directory_decides_what_was_made),
		TEST(one_that_cannot_be_recovered_does_not_hold_up_the_others),
		TEST(a_removed_account_leaves_nothing),
		TEST(a_removal_is_finished_or_never_was_whatever_call_fails),
		TEST(a_removal_goes_on_where_the_directory_stopped_it),
		TEST(an_account_that_moves_is_not_removed),
		TEST(a_suspended_account_is_shut_and_keeps_its_data),
		TEST(an_account_is_shown_by_numbers_only),
		TEST(peers_make_show_suspend_and_remove),
		TEST(arguments_of_peers_are_not_believed),
		TEST(routes_ask_the_directory_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
