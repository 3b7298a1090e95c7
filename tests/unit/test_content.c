/* test_content.c - chunks: ranges, forged files, reading an upload that is still coming in. */
#include "vault_fixture.h"

#include "base/fs.h"

struct box {
	char *dir;
	struct chunks *chunks;
	struct content_key *key;
	struct vault_id id;
	uint8_t data_key[KEY_BYTES];
};

static void
box_open(struct box *b)
{
	struct err e;

	b->dir = check_dir_make();
	b->chunks = chunks_file(b->dir, 0, &e);
	CHECK(b->chunks);
	account_random(&b->id.account);
	b->id.service = SERVICE_FILES;
	host_random(b->data_key, sizeof(b->data_key));
	b->key = content_key_new(&b->id, b->data_key, &e);
	CHECK(b->key);
}

static void
box_close(struct box *b)
{
	content_key_unref(b->key);
	chunks_close(b->chunks);
	check_dir_remove(b->dir);
}

static uint8_t *
noise(size_t n)
{
	uint8_t *p = malloc(n + 1);
	unsigned seed = 7;

	CHECK(p);
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)rand_r(&seed);
	return p;
}

static struct chunk_ref *
write_in_pieces(struct box *b, const uint8_t *p, size_t n, size_t piece, size_t *n_refs)
{
	struct chunk_ref *refs;
	struct content_out *o;
	struct err e;

	o = content_begin(b->chunks, b->key, &e);
	CHECK(o);
	for (size_t at = 0; at < n; at += piece)
		CHECK_OK(content_add(o, p + at, n - at < piece ? n - at : piece, &e), &e);
	CHECK(content_out_bytes(o) == n);
	CHECK_OK(content_finish(o, &refs, n_refs, &e), &e);
	content_close(o);
	return refs;
}

static const char *
chunk_path(struct box *b, const struct chunk_ref *c)
{
	char account[ACCOUNT_TEXT_SIZE], name[33], path[160];

	account_text(&b->id.account, account);
	hex_text(c->name, sizeof(c->name), name);
	snprintf(path, sizeof(path), "%.2s/%s.%u/%s", account, account, b->id.service, name);
	return check_path(b->dir, path);
}

static void
what_was_written_is_read_in_any_range(void **state)
{
	static const size_t sizes[] = { 1, CONTENT_SEGMENT - 1, CONTENT_SEGMENT,
		CONTENT_SEGMENT + 1, 3 * CONTENT_SEGMENT, CONTENT_CHUNK, CONTENT_CHUNK + 1,
		2 * CONTENT_CHUNK + 100000 };
	static const size_t pieces[] = { 16384, CONTENT_SEGMENT, 100001, 3 << 20 };
	unsigned seed = 1;
	struct box b;

	(void)state;
	box_open(&b);
	for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
		size_t size = sizes[s], n;
		uint8_t *p = noise(size), *got = malloc(size + 10), digest[SHA256_BYTES];
		struct chunk_ref *refs = write_in_pieces(&b, p, size, pieces[s % 4], &n);
		struct err e;
		struct content_in *in = content_open(b.chunks, b.key, refs, n, &e);

		CHECK(n == (size + CONTENT_CHUNK - 1) / CONTENT_CHUNK);
		sha256(p, size < CONTENT_CHUNK ? size : CONTENT_CHUNK, digest);
		CHECK_BYTES(digest, refs[0].digest, sizeof(digest));
		CHECK(in && content_bytes(in) == size);
		CHECK(content_read(in, 0, got, size + 10, &e) == (ssize_t)size);
		CHECK(memcmp(got, p, size) == 0);
		CHECK(content_read(in, size, got, 10, &e) == 0);
		CHECK(content_read(in, size + 99, got, 10, &e) == 0);
		for (int i = 0; i < 200; i++) {
			size_t from = (size_t)rand_r(&seed) % size;
			size_t len = (size_t)rand_r(&seed) % (i % 2 ? 100 : 200000);
			size_t should = len < size - from ? len : size - from;

			CHECK(content_read(in, from, got, len, &e) == (ssize_t)should);
			CHECK(memcmp(got, p + from, should) == 0);
		}
		content_in_close(in);
		free(refs);
		free(p);
		free(got);
	}
	box_close(&b);
}

static void
no_content_is_no_chunk(void **state)
{
	struct chunk_ref *refs;
	struct content_in *in;
	struct box b;
	struct err e;
	size_t n;
	char c;

	(void)state;
	box_open(&b);
	refs = write_in_pieces(&b, NULL, 0, 1, &n);
	CHECK(n == 0);
	in = content_open(b.chunks, b.key, refs, n, &e);
	CHECK(in && content_bytes(in) == 0 && content_read(in, 0, &c, 1, &e) == 0);
	content_in_close(in);
	free(refs);
	box_close(&b);
}

/* Every byte is asked for; the first that can't be had says why. */
static enum err_kind
read_all(struct box *b, const struct chunk_ref *refs, size_t n, char *text)
{
	struct err e = { 0 };
	struct content_in *in = content_open(b->chunks, b->key, refs, n, &e);
	char *p = malloc(65536);
	uint64_t at = 0;
	ssize_t r = -1;

	while (in && (r = content_read(in, at, p, 65536, &e)) > 0)
		at += (uint64_t)r;
	content_in_close(in);
	free(p);
	if (text)
		snprintf(text, sizeof(e.text), "%s", e.text);
	return r < 0 ? e.kind : ERR_NONE;
}

enum damage { CUT_SEGMENT, CUT_BYTE, SWAP, FLIP, OTHER_CHUNK, GROWN, GONE, DAMAGES };

static void
damage(const char *path, const char *other, enum damage d)
{
	const size_t sealed = CONTENT_SEGMENT + 28;
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	uint8_t first[CONTENT_SEGMENT + 28];
	struct err e;

	CHECK_OK(fs_read(d == OTHER_CHUNK ? other : path, 8 << 20, &b, &e), &e);
	switch (d) {
	case CUT_SEGMENT:
		b.len = 2 * sealed;
		break;
	case CUT_BYTE:
		b.len--;
		break;
	case SWAP:
		memcpy(first, b.data, sealed);
		memmove(b.data, b.data + sealed, sealed);
		memcpy(b.data + sealed, first, sealed);
		break;
	case FLIP:
		b.data[b.len / 2] ^= 1;
		break;
	case GROWN:
		buf_add(&b, "x", 1);
		break;
	case GONE:
		CHECK(unlink(path) == 0);
		return;
	default:
		break;
	}
	CHECK_OK(fs_write(path, b.data, b.len, 0600, &e), &e);
}

static void
a_damaged_chunk_is_never_read_as_content(void **state)
{
	(void)state;
	for (enum damage d = 0; d < DAMAGES; d++) {
		size_t size = 3 * CONTENT_SEGMENT, n;
		uint8_t *p = noise(size);
		struct chunk_ref *refs, *other;
		char text[240], name[33];
		struct box b;

		box_open(&b);
		refs = write_in_pieces(&b, p, size, size, &n);
		other = write_in_pieces(&b, p, size, size, &n);
		CHECK(read_all(&b, refs, n, NULL) == ERR_NONE);
		damage(chunk_path(&b, refs), chunk_path(&b, other), d);
		CHECK(read_all(&b, refs, n, text) == ERR_FORGED);
		hex_text(refs->name, sizeof(refs->name), name);
		CHECK(strstr(text, name));
		free(refs);
		free(other);
		free(p);
		box_close(&b);
	}
}

/* Even when the entry is changed along with the file, since the last segment says that it is. */
static void
a_chunk_cut_at_a_segment_does_not_open_under_a_shorter_entry(void **state)
{
	size_t size = 3 * CONTENT_SEGMENT, n;
	uint8_t *p = noise(size);
	struct chunk_ref *refs;
	struct box b;

	(void)state;
	box_open(&b);
	refs = write_in_pieces(&b, p, size, size, &n);
	damage(chunk_path(&b, refs), NULL, CUT_SEGMENT);
	refs->bytes = 2 * CONTENT_SEGMENT;
	CHECK(read_all(&b, refs, n, NULL) == ERR_FORGED);
	free(refs);
	free(p);
	box_close(&b);
}

static void
another_vaults_key_or_name_does_not_open_it(void **state)
{
	struct chunk_ref *refs;
	struct content_key *key;
	struct box b;
	uint8_t *p = noise(1000);
	struct err e;
	size_t n;

	(void)state;
	box_open(&b);
	refs = write_in_pieces(&b, p, 1000, 1000, &n);
	key = b.key;
	b.data_key[0] ^= 1;
	b.key = content_key_new(&b.id, b.data_key, &e);
	CHECK(read_all(&b, refs, n, NULL) == ERR_FORGED);
	content_key_unref(b.key);
	b.key = key;
	CHECK(read_all(&b, refs, n, NULL) == ERR_NONE);
	free(refs);
	free(p);
	box_close(&b);
}

static void
an_upload_in_progress_can_be_read_again(void **state)
{
	size_t size = CONTENT_CHUNK + 300000, first = CONTENT_CHUNK + 150000, n;
	uint8_t *p = noise(size), *got = malloc(size);
	struct content_out *o;
	struct chunk_ref *refs;
	struct content_in *in;
	struct box b;
	struct err e;

	(void)state;
	box_open(&b);
	o = content_begin(b.chunks, b.key, &e);
	CHECK_OK(content_add(o, p, first, &e), &e);
	CHECK(content_out_read(o, 1000, got, 5000, &e) == 5000 && !memcmp(got, p + 1000, 5000));
	CHECK(content_out_read(o, 0, got, size, &e) >= (ssize_t)CONTENT_CHUNK);
	CHECK(content_out_read(o, CONTENT_CHUNK, got, size, &e) == 150000);
	CHECK(!memcmp(got, p + CONTENT_CHUNK, 150000));
	CHECK(content_out_read(o, first, got, 1, &e) == 0);
	CHECK_OK(content_add(o, p + first, size - first, &e), &e);
	CHECK(content_out_bytes(o) == size);
	CHECK(content_out_read(o, first - 10, got, 20, &e) >= 10);
	CHECK(!memcmp(got, p + first - 10, 10));
	CHECK_OK(content_finish(o, &refs, &n, &e), &e);
	content_close(o);
	in = content_open(b.chunks, b.key, refs, n, &e);
	CHECK(in && content_read(in, 0, got, size, &e) == (ssize_t)size);
	CHECK(!memcmp(got, p, size));
	content_in_close(in);
	free(refs);
	free(p);
	free(got);
	box_close(&b);
}

static void
an_upload_that_is_given_up_leaves_nothing(void **state)
{
	uint8_t *p = noise(CONTENT_CHUNK + 1);
	struct content_out *o;
	struct box b;
	struct err e;

	(void)state;
	box_open(&b);
	o = content_begin(b.chunks, b.key, &e);
	CHECK_OK(content_add(o, p, CONTENT_CHUNK + 1, &e), &e);
	content_close(o);
	CHECK(count_chunks(b.chunks, NULL) == 0);
	content_close(NULL);
	content_in_close(NULL);
	content_key_unref(NULL);
	free(p);
	box_close(&b);
}

/* Each of its calls fails once, as a whole or in its answer alone. */
static void
an_upload_with_a_chunk_that_failed_is_never_finished(void **state)
{
	const enum fault_kind kinds[] = { FAULT_FAIL, FAULT_FAIL_LATE };
	uint8_t *p = noise(2 * CONTENT_CHUNK + 1);
	struct box b;
	struct err e;

	(void)state;
	box_open(&b);
	b.chunks = chunks_fault(b.chunks, &e);
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		bool fired = true;

		/* Those that seal segments are all alike. */
		for (unsigned nth = 1; fired; nth += nth % 32 == 5 ? 28 : 1) {
			struct content_out *o = content_begin(b.chunks, b.key, &e);
			struct chunk_ref *refs = NULL;
			size_t n = 0;
			int r;

			chunks_fault_set(b.chunks, kinds[k], nth, false);
			r = content_add(o, p, 2 * CONTENT_CHUNK + 1, &e);
			if (r == 0)
				r = content_finish(o, &refs, &n, &e);
			fired = chunks_fault_fired(b.chunks);
			CHECK((r < 0) == fired && (r < 0) == !refs);
			chunks_fault_set(b.chunks, FAULT_NONE, 1, false);
			content_close(o);
			for (size_t i = 0; i < n; i++) {
				struct chunk_name name;

				memcpy(name.b, refs[i].name, sizeof(name.b));
				CHECK_OK(chunks_remove(b.chunks, &b.id, &name, &e), &e);
			}
			free(refs);
			CHECK(count_chunks(b.chunks, NULL) == 0);
		}
	}
	free(p);
	box_close(&b);
}

static void
what_failed_once_stays_so(void **state)
{
	uint8_t *p = noise(CONTENT_CHUNK);
	struct chunk_ref *refs;
	struct content_out *o;
	struct box b;
	struct err e;
	size_t n;

	(void)state;
	box_open(&b);
	b.chunks = chunks_fault(b.chunks, &e);
	o = content_begin(b.chunks, b.key, &e);
	CHECK_OK(content_add(o, p, CONTENT_CHUNK, &e), &e);
	chunks_fault_set(b.chunks, FAULT_FULL, 1, false);
	for (int i = 0; i < 2; i++)
		CHECK(content_finish(o, &refs, &n, &e) < 0 && e.kind == ERR_FULL);
	content_close(o);
	free(p);
	box_close(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_written_is_read_in_any_range),
		cmocka_unit_test(no_content_is_no_chunk),
		cmocka_unit_test(a_damaged_chunk_is_never_read_as_content),
		cmocka_unit_test(a_chunk_cut_at_a_segment_does_not_open_under_a_shorter_entry),
		cmocka_unit_test(another_vaults_key_or_name_does_not_open_it),
		cmocka_unit_test(an_upload_in_progress_can_be_read_again),
		cmocka_unit_test(an_upload_that_is_given_up_leaves_nothing),
		cmocka_unit_test(an_upload_with_a_chunk_that_failed_is_never_finished),
		cmocka_unit_test(what_failed_once_stays_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
