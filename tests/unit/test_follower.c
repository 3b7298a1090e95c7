/* What a standby says that it has done, it has done. The node that it follows is played here. */
#include "clock.h"
#include "fleet.h"

#include "base/host.h"
#include "directory/stream.h"
#include "engine/changes.h"
#include "standby/follower.h"
#include "standby/frames.h"
#include "standby/marker.h"

#include <limits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>

#define WAIT_MS 30000

static const struct vault_id mara = { { { 0x10 } }, SERVICE_FILES };
static bool may_mount; /* in a namespace of our own */

/* Folders, and how often they were synced. */
static struct {
	char path[700];
	atomic_uint n;
} synced[2];

/* In place of the C library's, for all of this program. */
int
fsync(int fd)
{
	char link[40], path[PATH_MAX] = "";

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (readlink(link, path, sizeof(path) - 1) > 0)
		for (size_t i = 0; i < ARRAY_LEN(synced); i++)
			synced[i].n += strcmp(path, synced[i].path) == 0;
	return (int)syscall(SYS_fsync, fd);
}

static uint64_t
wall_ms(void)
{
	return (uint64_t)time(NULL) * 1000;
}

/* A standby, and the node's end of its stream. */
struct pair {
	char store[512];
	struct peers *peers;
	struct follower *follower;
	struct stream *stream;
	uint64_t next;
	struct buf out;
};

static struct span
ask(struct pair *p, enum ship_frame type, enum ship_frame want)
{
	struct span answer;
	struct err e = { 0 };
	uint8_t got;

	CHECK_OK(stream_send(p->stream, (uint8_t)type, p->out.data, p->out.len, &e), &e);
	CHECK_OK(stream_flush(p->stream, &e), &e);
	CHECK_OK(stream_receive(p->stream, WAIT_MS, &got, &answer, &e), &e);
	if (got != (uint8_t)want)
		fail_msg("%c is answered with %c: %.*s", type, got, (int)answer.len,
		    (const char *)answer.data);
	return answer;
}

static struct ship_ack
tell(struct pair *p, enum ship_frame type)
{
	struct ship_ack a;
	struct err e = { 0 };

	CHECK_OK(ship_ack_read(ask(p, type, SHIP_ACK), &a, &e), &e);
	return a;
}

static struct ship_ack
tell_number(struct pair *p, enum ship_frame type, uint64_t n)
{
	ship_number_put(&p->out, n);
	return tell(p, type);
}

/* One change as a shipment. */
static void
ship(struct pair *p, struct change c)
{
	_cleanup_buf_ struct buf changes = BUF_INIT(0);
	struct ship_head head = { .first = p->next, .next = p->next + 1 };
	struct err e = { 0 };

	change_add(&changes, &c);
	head.bytes = (uint32_t)changes.len;
	ship_head_put(&p->out, &head);
	CHECK_OK(stream_send(p->stream, SHIP_SHIP, p->out.data, p->out.len, &e), &e);
	buf_clear(&p->out);
	buf_add(&p->out, changes.data, changes.len);
	p->next++;
	(void)tell(p, SHIP_PART);
}

static void
copy(struct pair *p, uint64_t from)
{
	static const uint8_t key[] = "Pa";
	struct ship_ack a;

	p->next = from;
	tell_number(p, SHIP_COPY, from);
	ship(p, (struct change){ CHANGE_PUT, mara, { key, 2 }, { key, 2 } });
	buf_clear(&p->out);
	a = tell(p, SHIP_COPIED);
	CHECK(a.next == p->next && a.compacted == 0);
}

/* The digest of the only key that the standby has. */
static const uint8_t known_key[SHA256_BYTES] = { 0x11, 0x22 };

static bool
has_key(void *arg, const uint8_t digest[static SHA256_BYTES])
{
	(void)arg;
	return memcmp(digest, known_key, SHA256_BYTES) == 0;
}

/* Returns what the standby has. */
static uint64_t
start(struct pair *p)
{
	struct ship_hello hello = { .term = { .region = "sg", .term = 1, .lease_ms = 1000 } };
	struct ship_welcome w;
	struct err e = { 0 };
	char at[32];

	p->follower = follower_start(&(struct follower_config){ p->peers, "sg", "127.0.0.1:0",
	                                 p->store, 8 << 20, 1 << 20, has_key, NULL },
	    &e);
	if (!p->follower)
		fail_msg("%s", e.text);
	snprintf(at, sizeof(at), "127.0.0.1:%u", follower_port(p->follower));
	p->stream = stream_connect_at(p->peers, "sg", at, WAIT_MS, &e);
	if (!p->stream)
		fail_msg("%s", e.text);
	ship_hello_put(&p->out, &hello);
	CHECK_OK(ship_welcome_read(ask(p, SHIP_HELLO, SHIP_WELCOME), &w, &e), &e);
	return w.next;
}

static void
stop(struct pair *p)
{
	stream_close(p->stream);
	follower_stop(p->follower);
}

static void
pair_open(struct pair *p, const char *dir)
{
	struct marker m = { 0 };
	struct err e = { 0 };

	*p = (struct pair){ .out = BUF_INIT(0) };
	snprintf(p->store, sizeof(p->store), "%s/store", dir);
	CHECK_OK(fs_mkdir(p->store, 0700, &e), &e);
	CHECK_OK(marker_write(p->store, &m, &e), &e);
	p->peers = fleet_peers(dir, "ca", "sg");
	CHECK(start(p) == 0);
	copy(p, 1);
}

static void
pair_close(struct pair *p)
{
	stop(p);
	peers_close(p->peers);
	buf_free(&p->out);
}

/* A chunk of vault mara with its record, and where the standby has it. */
static const char *
ship_chunk(struct pair *p, struct ship_chunk *c)
{
	static char path[800];
	struct change record = { .op = CHANGE_PUT, .id = mara };
	uint8_t key[1 + CHUNK_NAME_BYTES] = { 'C' };
	char name[2 * CHUNK_NAME_BYTES + 1], account[ACCOUNT_TEXT_SIZE];
	struct err e = { 0 };

	*c = (struct ship_chunk){ .vault = mara, .bytes = 16 };
	host_random(c->name.b, sizeof(c->name.b));
	buf_clear(&p->out);
	ship_chunk_add(&p->out, c, false);
	CHECK_OK(stream_send(p->stream, SHIP_CHUNK, p->out.data, p->out.len, &e), &e);
	CHECK_OK(stream_send(p->stream, SHIP_DATA, "sealed, sixteen!", 16, &e), &e);
	memcpy(key + 1, c->name.b, CHUNK_NAME_BYTES);
	record.key = record.value = (struct span){ key, sizeof(key) };
	ship(p, record);

	hex_text(c->name.b, sizeof(c->name.b), name);
	account_text(&mara.account, account);
	snprintf(
	    path, sizeof(path), "%s/chunks/10/%s.%u/%s", p->store, account, mara.service, name);
	CHECK(access(path, F_OK) == 0);
	return path;
}

/* Ask until it has, or not any more. */
static bool
becomes_compacted(struct pair *p, uint64_t upto)
{
	for (unsigned ms = 0; ms < WAIT_MS; ms += 5) {
		if (tell_number(p, SHIP_COMPACT, upto).compacted == upto)
			return true;
		usleep(5000);
	}
	return false;
}

/* A file on which something is mounted can't be removed. */
static void
a_chunk_that_stays_is_not_said_to_be_gone(void **state)
{
	uint8_t key[1 + CHUNK_NAME_BYTES] = { 'C' };

	if (!may_mount)
		skip();
	for (int drops = 0; drops < 2; drops++) {
		const char *dir = check_path(*state, drops ? "dropped" : "deleted"), *path;
		struct ship_chunk c;
		struct err e = { 0 };
		struct pair p;

		CHECK_OK(fs_mkdir(dir, 0700, &e), &e);
		pair_open(&p, dir);
		path = ship_chunk(&p, &c);
		memcpy(key + 1, c.name.b, CHUNK_NAME_BYTES);
		CHECK(mount(path, path, NULL, MS_BIND, NULL) == 0);
		ship(&p,
		    (struct change){
		        drops ? CHANGE_DROP : CHANGE_DELETE, mara, { key, sizeof(key) }, { 0 } });
		for (int i = 0; i < 4; i++) {
			CHECK(tell_number(&p, SHIP_COMPACT, p.next).compacted == 0);
			clock_ahead_ms += 10000;
			if (i == 1) { /* a start begins anew, and owes it again */
				stop(&p);
				CHECK(start(&p) == p.next);
			}
		}
		CHECK(umount(path) == 0 && access(path, F_OK) == 0);
		CHECK(becomes_compacted(&p, p.next));
		CHECK(access(path, F_OK) < 0);
		pair_close(&p);
	}
}

static void
a_store_that_takes_anothers_place_is_not_compacted(void **state)
{
	struct pair p;

	pair_open(&p, *state);
	for (int i = 0; i < 10; i++) {
		uint64_t upto = p.next;

		tell_number(&p, SHIP_COMPACT, upto);
		copy(&p, p.next + 1);
		for (int n = 0; n < 500; n++) {
			buf_clear(&p.out);
			CHECK(tell(&p, SHIP_PING).compacted == 0);
		}
	}
	CHECK(becomes_compacted(&p, p.next));
	pair_close(&p);
}

static bool
lacks_key(struct pair *p, uint8_t first)
{
	uint8_t digest[SHA256_BYTES] = { first, 0x22 };
	struct span answer;

	buf_clear(&p->out);
	buf_add(&p->out, digest, sizeof(digest));
	answer = ask(p, SHIP_KEY, SHIP_NEED);
	CHECK(answer.len == 1 && answer.data[0] <= 1);
	return answer.data[0];
}

static void
a_key_is_said_to_be_there_when_it_is(void **state)
{
	struct pair p;

	pair_open(&p, *state);
	CHECK(lacks_key(&p, 0x10) && !lacks_key(&p, 0x11) && lacks_key(&p, 0x12));
	buf_clear(&p.out);
	buf_add(&p.out, known_key, SHA256_BYTES - 1);
	(void)ask(&p, SHIP_KEY, SHIP_REFUSE);
	pair_close(&p);
}

/* A stream that ended between a chunk's last byte and the syncing of its folders has left it like this. */
static void
a_chunk_that_is_there_is_said_to_be_so_when_its_name_is_durable(void **state)
{
	struct ship_chunk c = { .vault = mara, .bytes = 16 };
	char account[ACCOUNT_TEXT_SIZE], name[2 * CHUNK_NAME_BYTES + 1], path[800];
	struct err e = { 0 };
	struct span needs;
	struct pair p;

	account_text(&mara.account, account);
	snprintf(synced[0].path, sizeof(synced[0].path), "%s/store/chunks/10", (char *)*state);
	snprintf(synced[1].path, sizeof(synced[1].path), "%s/store/chunks/10/%s.%u", (char *)*state,
	    account, mara.service);
	pair_open(&p, *state);
	memcpy(c.head, "sealed, sixteen!", CHUNK_HEAD_BYTES);
	host_random(c.name.b, sizeof(c.name.b));
	hex_text(c.name.b, sizeof(c.name.b), name);
	snprintf(path, sizeof(path), "%s/%s", synced[1].path, name);
	CHECK_OK(fs_mkdir(synced[1].path, 0700, &e), &e);
	CHECK_OK(fs_write(path, "sealed, sixteen!", 16, 0600, &e), &e);
	for (size_t i = 0; i < ARRAY_LEN(synced); i++)
		synced[i].n = 0;

	buf_clear(&p.out);
	ship_chunk_add(&p.out, &c, true);
	needs = ask(&p, SHIP_HAVE, SHIP_NEED);
	CHECK(needs.len == 1 && needs.data[0] == 0);
	CHECK(synced[0].n && synced[1].n);
	pair_close(&p);
}

#define TEST_IN_DIR(name) cmocka_unit_test_setup_teardown(name, check_dir_setup, check_dir_teardown)

int
main(void)
{
	const struct host_ops clock = { wall_ms, clock_mono_ns, clock_random };
	const struct CMUnitTest tests[] = {
		TEST_IN_DIR(a_chunk_that_stays_is_not_said_to_be_gone),
		TEST_IN_DIR(a_store_that_takes_anothers_place_is_not_compacted),
		TEST_IN_DIR(a_key_is_said_to_be_there_when_it_is),
		TEST_IN_DIR(a_chunk_that_is_there_is_said_to_be_so_when_its_name_is_durable),
	};
	int failed;

	may_mount = unshare(CLONE_NEWNS) == 0 &&
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
	host_replace(&clock);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	host_replace(NULL);
	return failed;
}
