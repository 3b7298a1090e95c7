/* The scrub of a region: a pass reaches every account, what is damaged is kept and told, what is left over
 * goes, what is under way is left alone. */
#include "service_fixture.h"

#include <fcntl.h>

#include "sealed_fixture.h"
#include "sealed/look.h"
#include "service/lifecycle_internal.h"
#include "service/scrub_internal.h"

#define CHUNKY 100000 /* one chunk */

static struct region r;
static struct files f[3];
static struct scrub *s;
static struct account_id erased;
static unsigned n_erased;
static const char *bad_record; /* what check_record says of every record */

static int
check_record(uint8_t kind, struct span key, struct span value, struct err *e)
{
	(void)kind, (void)key, (void)value;
	return bad_record ? err_set(e, ERR_FORGED, "%s", bad_record) : 0;
}

static int
erase(struct node *n, const struct account_id *id, unsigned services, struct err *e)
{
	(void)n, (void)e;
	CHECK(services == (BIT(SERVICES) - 2));
	erased = *id;
	n_erased++;
	return 0;
}

static void
start(uint64_t every_ms)
{
	const struct scrub_config c = {
		.node = &r.node,
		.every_ms = every_ms,
		.rate = (uint64_t)1 << 40,
		.check_record = check_record,
		.erase = erase,
	};
	struct err e = { 0 };

	s = scrub_start(&c, &e);
	if (!s)
		fail_msg("scrub_start: %s", e.text);
}

static int
setup(void **state)
{
	uint8_t *p = noise(CHUNKY, 1);

	(void)state;
	region_open(&r, false);
	for (unsigned i = 0; i < ARRAY_LEN(f); i++) {
		f[i] = region_account(&r, ALL_SERVICES, NULL);
		CHECK_OK(files_bucket_create(&f[i], "things", NULL), &(struct err){ .text = "" });
		put(&f[i], "things", "large", p, CHUNKY);
		put(&f[i], "things", "small", p, 1000);
	}
	free(p);
	n_erased = 0;
	bad_record = NULL;
	start(0);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	scrub_stop(s);
	region_close(&r);
	return 0;
}

static int64_t
number(json_t *it, const char *name)
{
	return json_integer_value(json_object_get(it, name));
}

/* A member of the status. */
static int64_t
status(const char *name)
{
	json_t *it = NULL;
	struct err e = { 0 };
	int64_t n;

	CHECK_OK(scrub_status(s, &it, &e), &e);
	n = json_is_boolean(json_object_get(it, name)) ? json_is_true(json_object_get(it, name))
	                                               : number(it, name);
	json_decref(it);
	return n;
}

static int64_t
mended(enum mend what)
{
	json_t *it = NULL;
	struct err e = { 0 };
	int64_t n;

	CHECK_OK(scrub_status(s, &it, &e), &e);
	n = number(json_object_get(it, "mended"), mend_words[what]);
	json_decref(it);
	return n;
}

static bool
becomes(const char *name, int64_t value)
{
	for (unsigned i = 0; i < 3000; i++) {
		if (status(name) == value)
			return true;
		usleep(10000);
	}
	return false;
}

/* A pass of all, or of one. */
static void
pass(const struct account_id *only)
{
	struct err e = { 0 };

	CHECK_OK(scrub_ask(s, only, 0, &e), &e);
	CHECK(becomes("is_asked", 0) && status("was_through"));
}

/* The only finding there is; the caller frees it. */
static json_t *
only_finding(const struct account_id *id, const char *kind)
{
	char account[ACCOUNT_TEXT_SIZE];
	json_t *list = NULL, *one;
	struct err e = { 0 };

	CHECK_OK(scrub_list(s, NULL, &list, &e), &e);
	if (json_array_size(list) != 1)
		fail_msg("%zu damages", json_array_size(list));
	one = json_incref(json_array_get(list, 0));
	json_decref(list);
	account_text(id, account);
	CHECK_STR(json_string_value(json_object_get(one, "account")), account);
	CHECK_STR(json_string_value(json_object_get(one, "kind")), kind);
	CHECK(number(one, "since_ms") > 0 && *json_string_value(json_object_get(one, "why")));
	return one;
}

static size_t
count_findings(void)
{
	json_t *list = NULL;
	struct err e = { 0 };
	size_t n;

	CHECK_OK(scrub_list(s, NULL, &list, &e), &e);
	n = json_array_size(list);
	json_decref(list);
	return n;
}

static struct vault_id
vault_of(const struct files *account)
{
	return (struct vault_id){ account->account, SERVICE_FILES };
}

static int
keep_name(void *arg, const struct vault_id *id, const struct chunk_name *name, uint64_t bytes,
    struct err *e)
{
	(void)id, (void)bytes, (void)e;
	*(struct chunk_name *)arg = *name;
	return 0;
}

/* Turn a bit of the chunk of an account's large object over. */
static struct chunk_name
flip_chunk(const struct files *account)
{
	char hex[33], text[ACCOUNT_TEXT_SIZE], path[600];
	struct vault_id id = vault_of(account);
	struct chunk_name name;
	struct err e;
	uint8_t b;
	int fd;

	CHECK_OK(chunks_list(r.store.chunks, &id, keep_name, &name, &e), &e);
	account_text(&id.account, text);
	hex_text(name.b, sizeof(name.b), hex);
	snprintf(path, sizeof(path), "%s/chunks/%.2s/%s.2/%s", r.store.dir, text, text, hex);
	fd = open(path, O_RDWR);
	CHECK(fd >= 0 && pread(fd, &b, 1, 70000) == 1);
	b ^= 1;
	CHECK(pwrite(fd, &b, 1, 70000) == 1);
	close(fd);
	return name;
}

static void
a_pass_reaches_every_account(void **state)
{
	(void)state;
	pass(NULL);
	CHECK(status("accounts") == 3 && status("accounts_total") == 3 && status("chunks") == 3);
	CHECK(status("bytes") > 3 * CHUNKY && status("damaged") == 0 && status("skipped") == 0);
	CHECK(count_findings() == 0);
	pass(&f[1].account);
	CHECK(status("accounts") == 1 && status("chunks") == 1);
}

/* A link to itself in place of the folder of the first one's chunks. */
static void
a_folder_that_cannot_be_read_ends_no_pass(void **state)
{
	char text[ACCOUNT_TEXT_SIZE], folder[600], aside[620];

	(void)state;
	account_text(&f[0].account, text);
	snprintf(
	    folder, sizeof(folder), "%s/chunks/%.2s/%s.%d", r.store.dir, text, text, SERVICE_FILES);
	snprintf(aside, sizeof(aside), "%s.aside", folder);
	CHECK(rename(folder, aside) == 0 && symlink(folder, folder) == 0);
	pass(NULL);
	json_decref(only_finding(&f[0].account, "chunk"));
	CHECK(status("accounts") == ARRAY_LEN(f));
	CHECK(unlink(folder) == 0 && rename(aside, folder) == 0);
	pass(NULL);
	CHECK(count_findings() == 0);
}

static void
damage_is_told_kept_over_a_restart_and_gone_when_whole(void **state)
{
	struct chunk_name name = flip_chunk(&f[1]);
	char hex[33];
	json_t *one;
	int64_t since;

	(void)state;
	hex_text(name.b, sizeof(name.b), hex);
	pass(NULL);
	one = only_finding(&f[1].account, "chunk");
	CHECK_STR(json_string_value(json_object_get(one, "chunk")), hex);
	CHECK_STR(json_string_value(json_object_get(one, "service")), "files");
	CHECK(number(one, "row") > 0);
	since = number(one, "since_ms");
	json_decref(one);
	CHECK(status("damaged") == 1 && status("damaged_accounts") == 1);

	scrub_stop(s);
	start(0);
	CHECK(status("damaged") == 1);
	usleep(2000);
	pass(NULL);
	one = only_finding(&f[1].account, "chunk");
	CHECK(number(one, "since_ms") == since);
	json_decref(one);

	flip_chunk(&f[1]);
	pass(&f[0].account);
	CHECK(count_findings() == 1); /* another account's pass says nothing of it */
	pass(&f[1].account);
	CHECK(count_findings() == 0 && status("damaged") == 0);
}

static void
damage_goes_with_its_account(void **state)
{
	struct err e = { 0 };

	(void)state;
	flip_chunk(&f[2]);
	pass(NULL);
	json_decref(only_finding(&f[2].account, "chunk"));
	CHECK_OK(accounts_remove(&r.node, &f[2].account, &e), &e);
	CHECK(count_findings() == 0 && status("damaged") == 0);
}

/* --- accounts that are not simply here --- */

static struct home
home_of(const struct files *account)
{
	struct home home;
	struct err e = { 0 };

	CHECK(homes_get(r.node.homes, &account->account, &home, &e) == 1);
	return home;
}

static void
begin_move(struct home *home)
{
	struct err e = { 0 };

	home->state = HOME_FENCED;
	snprintf(home->peer, sizeof(home->peer), "sg");
	CHECK_OK(homes_fence(r.node.homes, home, 1, NULL, 1000, &e), &e);
}

static void
an_account_that_is_moving_is_skipped_and_not_reported(void **state)
{
	struct home home = home_of(&f[0]);
	struct err e = { 0 };

	(void)state;
	flip_chunk(&f[0]);
	begin_move(&home);
	pass(NULL);
	CHECK(count_findings() == 0 && status("skipped") == 1 && status("accounts") == 2);

	/* It moves away: nothing is left to be reported. */
	home.state = HOME_MOVED;
	CHECK_OK(homes_set(r.node.homes, &home, 1, NULL, &e), &e);
	pass(&f[0].account);
	CHECK(count_findings() == 0 && status("skipped") == 0);
}

static void
what_has_moved_away_is_not_counted(void **state)
{
	struct home home = home_of(&f[0]);
	struct err e = { 0 };

	(void)state;
	begin_move(&home);
	home.state = HOME_MOVED;
	CHECK_OK(homes_set(r.node.homes, &home, 1, NULL, &e), &e);
	pass(NULL);
	CHECK(status("accounts") == 2 && status("accounts_total") == 2 && status("skipped") == 0);
}

static void
an_account_that_comes_back_meanwhile_is_read(void **state)
{
	struct home home = home_of(&f[0]);
	struct err e = { 0 };

	(void)state;
	begin_move(&home);
	CHECK_OK(scrub_ask(s, NULL, 0, &e), &e);
	CHECK(becomes("accounts", 2));
	home.state = HOME_HERE;
	home.attempt++;
	CHECK_OK(homes_set(r.node.homes, &home, 1, NULL, &e), &e);
	CHECK(becomes("is_asked", 0));
	CHECK(status("accounts") == 3 && status("skipped") == 0);
}

static void
a_vault_that_is_missing_is_reported(void **state)
{
	struct vault_id id = { f[1].account, SERVICE_BACKUP };
	struct err e = { 0 };
	json_t *one;

	(void)state;
	CHECK_OK(engine_drop(r.store.engine, &id, &e), &e);
	pass(NULL);
	one = only_finding(&f[1].account, "vault-missing");
	CHECK_STR(json_string_value(json_object_get(one, "service")), "backup");
	json_decref(one);
}

static void
write_record(enum region_kind kind, const struct account_id *id, const char *value)
{
	struct region_batch *b;
	struct err e = { 0 };

	b = region_batch(&e);
	if (value)
		region_put(b, kind, id, sizeof(*id), value, strlen(value));
	else
		region_delete(b, kind, id, sizeof(*id));
	CHECK_OK(region_apply(r.store.engine, r.store.flusher, b, &e), &e);
	region_batch_free(b);
}

/* Open the gate anew, so that nothing of its records is in memory. */
static void
forget_homes(void)
{
	const struct homes_config h = {
		.engine = r.store.engine,
		.flusher = r.store.flusher,
		.hold_ms = 1000,
		.read_lease_ms = 100,
	};
	struct err e;

	scrub_stop(s);
	homes_close(r.node.homes);
	r.node.homes = homes_open(&h, &e);
	CHECK(r.node.homes);
	start(0);
}

static void
a_home_record_that_is_lost_is_reported_and_nothing_is_erased(void **state)
{
	(void)state;
	write_record(REGION_HOME, &f[1].account, NULL);
	forget_homes();
	pass(NULL);
	json_decref(only_finding(&f[1].account, "region-record"));
	CHECK(n_erased == 0);
	/* Found again, not twice. */
	pass(NULL);
	json_decref(only_finding(&f[1].account, "region-record"));
}

static void
a_home_record_that_can_not_be_read_is_reported(void **state)
{
	(void)state;
	write_record(REGION_HOME, &f[1].account, "what is this");
	forget_homes();
	pass(NULL);
	json_decref(only_finding(&f[1].account, "region-record"));
	CHECK(n_erased == 0 && status("accounts") == 3);
}

static void
a_record_of_a_move_that_can_not_be_read_is_reported(void **state)
{
	struct account_id other;

	(void)state;
	account_random(&other);
	write_record(REGION_MOVE, &other, "x");
	bad_record = "a move record is damaged";
	pass(NULL);
	json_decref(only_finding(&other, "region-record"));
	bad_record = NULL;
	pass(NULL);
	CHECK(count_findings() == 0);
}

static void
what_is_nobodys_is_erased_unless_something_is_under_way(void **state)
{
	struct vault_id id = store_new_vault(&r.store, SERVICE_FILES);

	(void)state;
	write_record(REGION_ERASE, &id.account, "being erased");
	pass(NULL);
	CHECK(n_erased == 0);
	write_record(REGION_ERASE, &id.account, NULL);
	pass(NULL);
	CHECK(n_erased == 1 && account_equal(&erased, &id.account));
	CHECK(mended(MEND_VAULT) == 1 && count_findings() == 0);
}

/* --- mending --- */

static void
files_and_entries_that_are_left_over_go(void **state)
{
	struct vault_id id = vault_of(&f[0]);
	struct vault *v = store_take(&r.store, &id);
	char account[ACCOUNT_TEXT_SIZE], path[600];
	uint64_t ticket;
	struct err e;
	int fd;

	(void)state;
	CHECK_OK(vault_begin(v, &e), &e);
	CHECK_OK(query_run(vault_query(v, "UPDATE body SET chunks=NULL"), &e), &e);
	CHECK_OK(vault_commit(v, &ticket, &e), &e);
	pool_give(v);
	account_text(&id.account, account);
	snprintf(path, sizeof(path), "%s/chunks/%.2s/%s.2/%032d", r.store.dir, account, account, 7);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	CHECK(fd >= 0);
	close(fd);
	pass(NULL);
	CHECK(mended(MEND_ENTRY) == 1 && mended(MEND_FILE) >= 1);
	CHECK(access(path, F_OK) < 0);
	f[0].ticket = ticket;
	CHECK(chunks_become(&f[0], SERVICE_FILES, 0));
	pass(NULL);
	CHECK(mended(MEND_ENTRY) == 0 && mended(MEND_FILE) == 0 && count_findings() == 0);
}

/* A checkpoint of more entries than one apply removes, cut short at the NTH change. */
static bool
cut_short(const struct vault_id *id, unsigned nth)
{
	struct sealed *own;
	struct look *l;
	struct err e;
	bool has;

	pool_hold(r.store.pool, id);
	for (unsigned i = 0; i < 300; i++)
		put(&f[0], "things", "small", &i, sizeof(i));
	pool_evict(r.store.pool, id);
	pool_unhold(r.store.pool, id);
	own = sealed_open(r.store.engine, r.store.keys, id, SEALED_OWN, &e);
	CHECK(own);
	engine_fault_set(r.store.engine, FAULT_FAIL, nth, false, true, 0);
	(void)!sealed_checkpoint(own, &e);
	engine_fault_set(r.store.engine, FAULT_NONE, 0, false, false, 0);
	sealed_close(own);
	l = look_open(r.store.engine, r.store.keys, id, &e);
	CHECK(l);
	has = look_has_leftovers(l);
	look_close(l);
	return has;
}

static void
leftovers_of_a_checkpoint_go(void **state)
{
	struct vault_id id = vault_of(&f[0]);
	unsigned nth = 1;

	(void)state;
	while (!cut_short(&id, nth))
		CHECK(++nth < 10);
	pass(NULL);
	CHECK(mended(MEND_REDO) == 1 && count_findings() == 0);
	pass(NULL);
	CHECK(mended(MEND_REDO) == 0);
}

static void
flip_page(const struct vault_id *id, uint32_t page)
{
	struct raw_vault all = raw_take(r.store.engine, id);
	struct raw_record *rec = raw_find(&all, 'P', page);

	rec->value[rec->len - 1] ^= 1;
	raw_put(r.store.engine, id, rec, rec->value, rec->len);
	raw_free(&all);
}

static void
a_page_that_is_in_memory_is_written_anew(void **state)
{
	struct vault_id id = vault_of(&f[0]);
	struct err e;

	(void)state;
	put(&f[0], "things", "new", "x", 1); /* changes the first page */
	flip_page(&id, 1);
	pass(NULL);
	CHECK(mended(MEND_PAGE) == 1 && count_findings() == 0);
	pool_evict(r.store.pool, &id);
	CHECK(has(&f[0], "things", "new", "x", 1));

	/* It is in nobody's memory: told, and left as it is. */
	flip_page(&id, 1);
	pool_evict(r.store.pool, &id);
	pass(NULL);
	CHECK(mended(MEND_PAGE) == 0);
	json_decref(only_finding(&f[0].account, "page"));

	/* And not while the vault is held for a move. */
	flip_page(&id, 1);
	put(&f[0], "things", "new", "y", 1);
	flip_page(&id, 1);
	pool_hold(r.store.pool, &id);
	pass(&f[0].account);
	CHECK(mended(MEND_PAGE) == 0);
	json_decref(only_finding(&f[0].account, "page"));
	pool_unhold(r.store.pool, &id);
	pass(&f[0].account);
	CHECK(mended(MEND_PAGE) == 1 && count_findings() == 0);
	CHECK_OK(files_remove(&f[0], "things", "new", &e), &e);
}

static void
spoil_usage(const struct vault_id *id, const char *how)
{
	struct vault *v = store_take(&r.store, id);
	uint64_t ticket;
	struct err e;

	CHECK_OK(vault_begin(v, &e), &e);
	CHECK_OK(query_run(vault_query(v, how), &e), &e);
	CHECK_OK(vault_commit(v, &ticket, &e), &e);
	pool_give(v);
	CHECK_OK(flusher_wait(r.node.flusher, ticket, &e), &e);
}

static void
what_a_vault_says_it_holds_is_put_right(void **state)
{
	struct vault_id id = vault_of(&f[0]);
	struct files_usage usage;
	struct err e;

	(void)state;
	spoil_usage(&id, "UPDATE usage SET objects=objects+7,bytes=bytes-100");
	pass(NULL);
	CHECK(mended(MEND_USAGE) == 1 && count_findings() == 0);
	CHECK_OK(files_usage(&f[0], SERVICE_FILES, &usage, &e), &e);
	CHECK(usage.objects == 2 && usage.bytes == CHUNKY + 1000);
	pass(NULL);
	CHECK(mended(MEND_USAGE) == 0 && count_findings() == 0);

	/* One that says nothing is told of. */
	spoil_usage(&id, "DELETE FROM usage");
	pass(NULL);
	CHECK(mended(MEND_USAGE) == 0);
	json_decref(only_finding(&f[0].account, "database"));
}

/* --- passes --- */

static void
a_pass_goes_on_where_it_was(void **state)
{
	struct err e = { 0 };

	(void)state;
	/* 1.5 s an account. */
	CHECK_OK(scrub_ask(s, NULL, 2 * CHUNKY / 3, &e), &e);
	CHECK(becomes("accounts", 1));
	scrub_stop(s);
	start(0);
	CHECK(status("is_asked") && status("accounts") == 1);
	CHECK_OK(scrub_ask(s, NULL, (uint64_t)1 << 40, &e), &e); /* joins it, faster */
	CHECK(becomes("is_asked", 0));
	CHECK(status("accounts") == 3 && status("was_through"));
}

static void
a_pass_is_ended_when_asked(void **state)
{
	struct err e = { 0 };

	(void)state;
	CHECK_OK(scrub_ask(s, NULL, 1000, &e), &e);
	CHECK(becomes("is_asked", 1));
	CHECK(scrub_ask(s, &f[0].account, 0, &e) < 0 && e.kind == ERR_BUSY);
	scrub_cancel(s);
	CHECK(becomes("is_asked", 0) && !status("was_through"));
	pass(&f[0].account);
}

static void
passes_begin_by_themselves_and_one_account_is_read_in_between(void **state)
{
	(void)state;
	scrub_stop(s);
	start((uint64_t)7 * 86400000);
	/* The first account at once, the next after a third of a week. */
	CHECK(becomes("accounts", 1));
	pass(&f[2].account);
	CHECK(status("accounts_total") == 1 || status("accounts") == 1);
	CHECK(becomes("accounts_total", 3) && status("accounts") == 1);
	CHECK(!status("is_asked"));
	pass(NULL);
	CHECK(status("accounts") == 3);
}

static void
requests_come_first_unless_a_pass_was_asked_for(void **state)
{
	struct home_pass passes[4];
	uint8_t *p = noise(3 << 20, 5);
	enum enter_answer answer;
	uint64_t began;
	struct err e;

	(void)state;
	scrub_stop(s);
	for (unsigned i = 0; i < ARRAY_LEN(f); i++)
		put(&f[i], "things", "huge", p, 3 << 20);
	free(p);
	for (unsigned i = 0; i < ARRAY_LEN(passes); i++)
		CHECK_OK(homes_enter(r.node.homes, &f[0].account, ENTER_READ, &answer, &passes[i],
		             NULL, &e),
		    &e);
	CHECK(homes_busy(r.node.homes) == ARRAY_LEN(passes));
	began = host_mono_ms();
	start((uint64_t)7 * 86400000);
	CHECK(becomes("accounts", 1));
	CHECK(host_mono_ms() - began >= 2000); /* 3 MiB, a MiB a second */
	pass(NULL);                            /* this one is not held up */
	for (unsigned i = 0; i < ARRAY_LEN(passes); i++)
		homes_leave(r.node.homes, &passes[i]);
	CHECK(homes_busy(r.node.homes) == 0);
}

/* --- records --- */

static void
records_are_read_as_they_were_written(void **state)
{
	struct findings *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	_cleanup_buf_ struct buf text = BUF_INIT(0), again = BUF_INIT(0);
	struct err e = { 0 };

	(void)state;
	account_random(&a->account);
	a->n = DAMAGES_MAX;
	a->more = 5;
	for (unsigned i = 0; i < a->n; i++) {
		a->all[i] = (struct finding){
			.damage = { .kind = 1 + i % 9,
			    .service = 1 + i % 4,
			    .number = i * 1000,
			    .row = -1,
			    .part = i },
			.since_ms = i,
		};
		memset(a->all[i].damage.why, 'x', sizeof(a->all[i].damage.why) - 1);
		random_bytes(a->all[i].damage.name, sizeof(a->all[i].damage.name));
	}
	findings_put(&text, a);
	CHECK_OK(findings_read(&a->account, (struct span){ text.data, text.len }, b, &e), &e);
	findings_put(&again, b);
	CHECK(again.len == text.len && memcmp(again.data, text.data, text.len) == 0);
	CHECK(b->n == a->n && b->more == 5 && b->all[63].damage.row == -1);
	for (size_t n = 0; n < text.len; n += 7)
		CHECK(findings_read(&a->account, (struct span){ text.data, n }, b, &e) < 0);
	free(a);
	free(b);
}

/* Of a vault with lifecycle rules; the others get none. */
static void
the_record_of_rules_that_is_lost_is_written_again(void **state)
{
	struct vault_id ids[] = { vault_of(&f[0]), vault_of(&f[1]) };
	struct err e = { 0 };

	(void)state;
	CHECK_OK(
	    files_rules_put(&f[1], "things", (struct span){ (const uint8_t *)"x", 1 }, &e), &e);
	CHECK_OK(rules_record_forget(&r.node, &ids[1], &e), &e);
	pass(NULL);
	for (unsigned i = 0; i < ARRAY_LEN(ids); i++) {
		_cleanup_buf_ struct buf value = BUF_INIT(0);

		CHECK(region_get(r.node.engine, REGION_RULES, &ids[i], sizeof(ids[i]), &value,
		          &e) == (int)i);
	}
}

int
main(void)
{
#define IT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		IT(a_pass_reaches_every_account),
		IT(a_folder_that_cannot_be_read_ends_no_pass),
		IT(damage_is_told_kept_over_a_restart_and_gone_when_whole),
		IT(damage_goes_with_its_account),
		IT(an_account_that_is_moving_is_skipped_and_not_reported),
		IT(what_has_moved_away_is_not_counted),
		IT(an_account_that_comes_back_meanwhile_is_read),
		IT(a_vault_that_is_missing_is_reported),
		IT(a_home_record_that_is_lost_is_reported_and_nothing_is_erased),
		IT(a_home_record_that_can_not_be_read_is_reported),
		IT(a_record_of_a_move_that_can_not_be_read_is_reported),
		IT(what_is_nobodys_is_erased_unless_something_is_under_way),
		IT(files_and_entries_that_are_left_over_go),
		IT(leftovers_of_a_checkpoint_go),
		IT(a_page_that_is_in_memory_is_written_anew),
		IT(what_a_vault_says_it_holds_is_put_right),
		IT(a_pass_goes_on_where_it_was),
		IT(a_pass_is_ended_when_asked),
		IT(passes_begin_by_themselves_and_one_account_is_read_in_between),
		IT(requests_come_first_unless_a_pass_was_asked_for),
		IT(the_record_of_rules_that_is_lost_is_written_again),
		cmocka_unit_test(records_are_read_as_they_were_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
