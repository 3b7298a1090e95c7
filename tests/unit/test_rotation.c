/* A rotation of the region key: whatever fails, every vault opens with all that it had; in the end nothing is
 * wrapped with an older generation, and whoever was writing a vault has noticed nothing. */
#include "vault_fixture.h"

#include "service/rotation.h"
#include "vault/region.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#define PATIENCE_MS 60000

static void
no_step(const char *name)
{
	(void)name;
}

static void
pause_ms(unsigned ms)
{
	struct timespec t = { .tv_nsec = (long)ms * 1000000 };

	nanosleep(&t, NULL);
}

static struct rotation *
start(struct store *s, struct node *n)
{
	const struct rotation_config c = { .node = n, .step = no_step };
	struct rotation *r;
	struct err e;

	*n = (struct node){
		.engine = s->engine, .flusher = s->flusher, .keys = s->keys, .pool = s->pool
	};
	r = rotation_start(&c, &e);
	if (!r)
		fail_msg("rotation_start: %s", e.text);
	return r;
}

/* Until it has ended (true) or an error keeps it from going on. */
static bool
wait_end(struct rotation *r)
{
	uint64_t until = host_mono_ms() + PATIENCE_MS;
	bool is_idle = false, has_trouble = false;
	struct err e;

	while (!is_idle && !has_trouble) {
		json_t *it;

		CHECK_OK(rotation_status(r, &it, &e), &e);
		is_idle = !strcmp(json_string_value(json_object_get(it, "state")), "idle");
		has_trouble = json_is_string(json_object_get(it, "trouble"));
		json_decref(it);
		CHECK(host_mono_ms() < until);
		if (!is_idle && !has_trouble)
			pause_ms(1);
	}
	return is_idle;
}

/* What a kill and a new start leave: the engine, and the key file. */
static void
restart(struct store *s)
{
	struct err e;

	engine_fault_set(s->engine, FAULT_NONE, 0, false, false, 0);
	pool_close(s->pool);
	keys_close(s->keys);
	s->keys = keys_file_open(check_path(s->dir, "key"), &e);
	if (!s->keys)
		fail_msg("%s", e.text);
	store_open_pool(s, 8);
}

static uint32_t
generation_of(struct store *s, const struct vault_id *id)
{
	_cleanup_buf_ struct buf raw = BUF_INIT(0);
	struct err e;

	CHECK(engine_get(s->engine, id, ((struct span){ (const uint8_t *)"H", 1 }), &raw, &e) == 1);
	return be32_get(raw.data + 27); /* where the wrapped key begins: store_internal.h */
}

/* An arrival with one page so far, whose stream goes on. */
static struct sealed *
arrive(struct store *s, struct vault_id *id)
{
	uint8_t page[PAGE_BYTES] = { 7 };
	struct sealed *in;
	struct err e;

	account_random(&id->account);
	id->service = SERVICE_PROFILE;
	in = sealed_import(s->engine, s->keys, id, 2, 5, 2, &e);
	if (!in)
		fail_msg("sealed_import: %s", e.text);
	CHECK_OK(sealed_import_page(in, 1, 4, page, &e), &e);
	CHECK_OK(sealed_import_write(in, &e), &e);
	return in;
}

static void
finish_arrival(struct sealed *in)
{
	uint8_t page[PAGE_BYTES] = { 9 };
	struct err e;

	CHECK_OK(sealed_import_page(in, 2, 5, page, &e), &e);
	CHECK_OK(sealed_import_write(in, &e), &e);
	CHECK_OK(sealed_import_finish(in, &e), &e);
}

static void
one_open_one_closed_one_arriving_go_on_with_the_new_generation(void **state)
{
	struct store s;
	struct node n;
	struct err e;
	struct vault_id open, closed, arriving = { 0 };
	struct rotation *r;
	struct sealed *in;

	(void)state;
	store_open(&s, false);
	open = store_new_vault(&s, SERVICE_PROFILE);
	closed = store_new_vault(&s, SERVICE_PROFILE);
	store_put(&s, &open, "a", "1");
	store_put(&s, &closed, "a", "2");
	pool_evict(s.pool, &closed);
	in = arrive(&s, &arriving);

	r = start(&s, &n);
	CHECK_OK(rotation_begin(r, &e), &e);
	CHECK(wait_end(r));
	CHECK(keys_count(s.keys) == 1 && keys_generation(s.keys) == 2);
	CHECK(generation_of(&s, &open) == 2);
	CHECK(generation_of(&s, &closed) == 2);
	CHECK(generation_of(&s, &arriving) == 2);

	store_put(&s, &open, "b", "3"); /* its owner still has it open */
	finish_arrival(in);
	sealed_close(in);
	CHECK(generation_of(&s, &open) == 2);
	CHECK(generation_of(&s, &arriving) == 2);
	CHECK(store_has(&s, &open, "a", "1") && store_has(&s, &open, "b", "3"));
	CHECK(store_has(&s, &closed, "a", "2"));

	CHECK_OK(rotation_begin(r, &e), &e);
	CHECK(wait_end(r));
	CHECK(generation_of(&s, &arriving) == 3);
	rotation_stop(r);
	store_close(&s);
}

static struct rotation *asked_twice;
static enum err_kind second;

static void
ask_again(const char *name)
{
	struct err e = { 0 };

	if (!strcmp(name, "rotate.wrapped"))
		second = rotation_begin(asked_twice, &e) < 0 ? e.kind : ERR_NONE;
}

static void
a_second_one_is_refused_while_it_goes_on(void **state)
{
	struct rotation_config c = { .step = ask_again };
	struct store s;
	struct node n;
	struct err e;

	(void)state;
	store_open(&s, false);
	store_new_vault(&s, SERVICE_PROFILE);
	rotation_stop(start(&s, &n)); /* fills in N */
	c.node = &n;
	asked_twice = rotation_start(&c, &e);
	CHECK(asked_twice);
	CHECK_OK(rotation_begin(asked_twice, &e), &e);
	CHECK(wait_end(asked_twice));
	CHECK(second == ERR_BUSY);
	CHECK(keys_generation(s.keys) == 2);
	rotation_stop(asked_twice);
	store_close(&s);
}

/* Fail the first engine call, then the second, until a rotation has none left to fail. */
static void
whatever_call_fails_nothing_is_lost_and_a_restart_ends_it(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_FAIL, FAULT_FAIL_LATE, FAULT_FULL };

	(void)state;
	for (size_t k = 0; k < 6; k++) {
		bool fired = true;

		for (unsigned nth = 1; fired; nth++) {
			struct store s;
			struct node n;
			struct err e;
			struct vault_id ids[2], arriving = { 0 };
			struct rotation *r;
			struct sealed *in;
			bool begun;

			store_open(&s, false);
			for (unsigned i = 0; i < 2; i++) {
				ids[i] = store_new_vault(&s, SERVICE_PROFILE);
				store_put(&s, &ids[i], "word", "kept");
			}
			pool_evict(s.pool, &ids[1]);
			in = arrive(&s, &arriving);
			CHECK_OK(flusher_wait(s.flusher, flusher_ticket(s.flusher), &e), &e);

			r = start(&s, &n);
			engine_fault_set(s.engine, kinds[k % 3], nth, k >= 3, false, 0);
			begun = rotation_begin(r, &e) == 0;
			if (begun)
				wait_end(r);
			rotation_stop(r);
			fired = engine_fault_fired(s.engine);
			sealed_close(in);
			restart(&s);
			CHECK(store_has(&s, &ids[0], "word", "kept"));
			CHECK(store_has(&s, &ids[1], "word", "kept"));

			r = start(&s, &n);
			CHECK(wait_end(r));
			CHECK(keys_count(s.keys) == 1);
			if (begun)
				CHECK(keys_generation(s.keys) == 2);
			CHECK(generation_of(&s, &ids[0]) == keys_generation(s.keys));
			CHECK(generation_of(&s, &ids[1]) == keys_generation(s.keys));
			CHECK(generation_of(&s, &arriving) == keys_generation(s.keys));
			restart(&s);
			CHECK(store_has(&s, &ids[0], "word", "kept"));
			CHECK(store_has(&s, &ids[1], "word", "kept"));
			rotation_stop(r);
			store_close(&s);
			CHECK(nth < 200);
		}
	}
}

static void
a_key_file_that_cant_be_written_leaves_the_old_generation(void **state)
{
	struct store s;
	struct node n;
	struct err e;
	struct vault_id id;
	struct rotation *r;

	(void)state;
	store_open(&s, false);
	id = store_new_vault(&s, SERVICE_PROFILE);
	store_put(&s, &id, "word", "kept");
	CHECK(mkdir(check_path(s.dir, "key.new"), 0700) == 0); /* in the way */
	r = start(&s, &n);
	CHECK(rotation_begin(r, &e) < 0);
	CHECK(strstr(e.text, "key.new"));
	rotation_stop(r);
	restart(&s);
	CHECK(keys_count(s.keys) == 1 && keys_generation(s.keys) == 1);
	CHECK(store_has(&s, &id, "word", "kept"));
	r = start(&s, &n);
	CHECK(wait_end(r)); /* there is nothing to go on with */
	CHECK(keys_generation(s.keys) == 1);
	rotation_stop(r);
	store_close(&s);
}

static void
write_file(const char *path, const char *text, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	CHECK(fd >= 0 && write(fd, text, n) == (ssize_t)n);
	close(fd);
}

static size_t
read_file(const char *path, char text[static 4096])
{
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, 4095);

	CHECK(n >= 0);
	close(fd);
	text[n] = 0;
	return (size_t)n;
}

/* Crashes while the file beside is written, and while the file itself is. */
static void
a_torn_key_file_is_never_used_and_the_other_is_whole(void **state)
{
	char one[4096], both[4096], torn[4096], is[4096];
	struct store s;
	struct err e;
	size_t n;

	(void)state;
	store_open(&s, false);
	read_file(check_path(s.dir, "key"), one);
	CHECK_OK(keys_add(s.keys, 2, &e), &e);
	n = read_file(check_path(s.dir, "key"), both);
	for (size_t cut = 0; cut <= n; cut++) {
		size_t len = cut > strlen(one) ? cut : strlen(one);
		bool is_whole = cut == n || !memcmp(one, both, cut);

		write_file(check_path(s.dir, "key"), one, strlen(one));
		write_file(check_path(s.dir, "key.new"), both, cut);
		restart(&s);
		CHECK(keys_count(s.keys) == 1);

		memcpy(torn, one, sizeof(torn));
		memcpy(torn, both, cut);
		write_file(check_path(s.dir, "key"), torn, len);
		write_file(check_path(s.dir, "key.new"), both, n);
		restart(&s);
		CHECK(keys_count(s.keys) == 2 || (is_whole && cut < n));
		if (is_whole)
			continue;
		CHECK(read_file(check_path(s.dir, "key"), is) == n && !memcmp(is, both, n));
		CHECK(read_file(check_path(s.dir, "key.new"), is) == 0);
	}
	store_close(&s);
}

/* What a standby's operator copies before it is used is what is used, also after a restart and with
 * another try. */
static void
a_planned_key_is_used_for_nothing_and_then_is_the_one(void **state)
{
	uint8_t digest[SHA256_BYTES], again[SHA256_BYTES];
	char was[4096], is[4096], planned[4096];
	struct store s;
	struct keys *copy;
	struct err e;
	size_t n;

	(void)state;
	store_open(&s, false);
	read_file(check_path(s.dir, "key"), was);
	CHECK_OK(keys_plan(s.keys, 2, digest, &e), &e);
	CHECK(keys_count(s.keys) == 1 && keys_generation(s.keys) == 1 && !keys_has(s.keys, digest));
	n = read_file(check_path(s.dir, "key.new"), planned);
	restart(&s);
	CHECK_OK(keys_plan(s.keys, 2, again, &e), &e);
	CHECK(memcmp(digest, again, sizeof(digest)) == 0);
	read_file(check_path(s.dir, "key"), is);
	CHECK_STR(is, was);
	write_file(check_path(s.dir, "copy"), planned, n);
	copy = keys_file_open(check_path(s.dir, "copy"), &e);
	CHECK(copy && keys_has(copy, digest) && keys_oldest(copy) == 1);
	keys_close(copy);

	CHECK_OK(keys_add(s.keys, 2, &e), &e);
	CHECK(keys_has(s.keys, digest) && keys_count(s.keys) == 2);
	CHECK(read_file(check_path(s.dir, "key.new"), is) == 0);
	CHECK_OK(keys_plan(s.keys, 2, again, &e), &e); /* it is there */
	CHECK(memcmp(digest, again, sizeof(digest)) == 0);
	CHECK(keys_plan(s.keys, 1, again, &e) < 0 && e.kind == ERR_STALE);
	store_close(&s);
}

/* Torn, or of other keys than there are by now: a new one. */
static void
a_plan_that_does_not_fit_is_made_anew(void **state)
{
	uint8_t digest[SHA256_BYTES], again[SHA256_BYTES], third[SHA256_BYTES];
	char planned[4096];
	struct store s;
	struct err e;
	size_t n;

	(void)state;
	store_open(&s, false);
	CHECK_OK(keys_plan(s.keys, 2, digest, &e), &e);
	n = read_file(check_path(s.dir, "key.new"), planned);
	write_file(check_path(s.dir, "key.new"), planned, n - 1);
	CHECK_OK(keys_plan(s.keys, 2, again, &e), &e);
	CHECK(memcmp(digest, again, sizeof(digest)) != 0);
	CHECK_OK(keys_add(s.keys, 2, &e), &e);
	CHECK_OK(keys_destroy_old(s.keys, &e), &e);
	CHECK(keys_has(s.keys, again) && keys_count(s.keys) == 1);
	write_file(check_path(s.dir, "key.new"), planned, n); /* as a crash might have left it */
	CHECK_OK(keys_plan(s.keys, 3, third, &e), &e);
	CHECK_OK(keys_add(s.keys, 3, &e), &e);
	CHECK(keys_has(s.keys, third) && keys_has(s.keys, again) && !keys_has(s.keys, digest));
	store_close(&s);
}

/* The same file has other bytes, and the one beside it none. */
static void
what_is_replaced_is_overwritten_in_place(void **state)
{
	char was[4096], both[4096], is[4096];
	struct stat before, after;
	struct store s;
	struct err e;

	(void)state;
	store_open(&s, false);
	read_file(check_path(s.dir, "key"), was);
	CHECK(stat(check_path(s.dir, "key"), &before) == 0);
	CHECK_OK(keys_add(s.keys, 2, &e), &e);
	read_file(check_path(s.dir, "key"), both);
	was[strcspn(was, "\n") + 1 + 2 + 64] = 0; /* the line of generation 1 */
	CHECK(strstr(both, strchr(was, '\n')));
	CHECK_OK(keys_destroy_old(s.keys, &e), &e);
	read_file(check_path(s.dir, "key"), is);
	CHECK(!strstr(is, strchr(was, '\n')));
	CHECK(stat(check_path(s.dir, "key"), &after) == 0);
	CHECK(before.st_ino == after.st_ino);
	CHECK(stat(check_path(s.dir, "key.new"), &after) == 0 && after.st_size == 0);
	store_close(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_open_one_closed_one_arriving_go_on_with_the_new_generation),
		cmocka_unit_test(a_second_one_is_refused_while_it_goes_on),
		cmocka_unit_test(whatever_call_fails_nothing_is_lost_and_a_restart_ends_it),
		cmocka_unit_test(a_key_file_that_cant_be_written_leaves_the_old_generation),
		cmocka_unit_test(a_torn_key_file_is_never_used_and_the_other_is_whole),
		cmocka_unit_test(a_planned_key_is_used_for_nothing_and_then_is_the_one),
		cmocka_unit_test(a_plan_that_does_not_fit_is_made_anew),
		cmocka_unit_test(what_is_replaced_is_overwritten_in_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
