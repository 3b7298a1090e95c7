/* store_starts.c - see store_starts.h. */
#include "cli/store_starts.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/host.h"
#include "base/log.h"
#include "move/reconcile.h"

#define NAME    "starts"
#define ID_SIZE 16
#define MAX     256

struct starts {
	uint8_t id[ID_SIZE]; /* of the store, made at its first start */
	uint64_t count;
};

/* 1, 0: there is none, -1. */
static int
read_record(struct engine *g, struct starts *out, struct err *e)
{
	_cleanup_buf_ struct buf v = BUF_INIT(MAX);
	int found = region_get(g, REGION_STORE, NAME, strlen(NAME), &v, e);
	struct reader r = READER(v.data, v.len);

	if (found <= 0)
		return found;
	read_copy(&r, out->id, ID_SIZE);
	out->count = read_u64(&r);
	return read_check(&r, "the store's counter of starts", e) < 0 ? -1 : 1;
}

static int
write_record(struct engine *g, struct flusher *f, const struct starts *s, struct err *e)
{
	_cleanup_(region_batch_freep) struct region_batch *b = region_batch(e);
	_cleanup_buf_ struct buf v = BUF_INIT(MAX);

	if (!b)
		return -1;
	buf_add(&v, s->id, ID_SIZE);
	put_u64(&v, s->count);
	region_put(b, REGION_STORE, NAME, strlen(NAME), v.data, v.len);
	return region_apply(g, f, b, e);
}

int
store_starts_file(const char *store, char out[static PATH_MAX], struct err *e)
{
	if (snprintf(out, PATH_MAX, "%s.starts", store) >= PATH_MAX)
		return err_set(e, ERR_BAD, "a path of %zu bytes", strlen(store));
	if (access(out, F_OK) == 0 || fs_write(out, "", 0, 0600, e) == 0)
		return 0;
	return err_add(e, "a file beside the store, which the node's user has to own");
}

/* As read_record, and an empty one is none; one that says nothing counts as another store's. */
static int
read_file(const char *path, struct starts *out, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(MAX);
	char hex[2 * ID_SIZE + 1];

	if (fs_read(path, MAX, &text, e) < 0)
		return e->kind == ERR_MISSING ? 0 : -1;
	if (!text.len)
		return 0;
	memset(out, 0, sizeof(*out));
	if (sscanf(buf_str(&text), "%32s %" SCNu64, hex, &out->count) == 2 &&
	    strlen(hex) == 2 * ID_SIZE && !hex_parse(hex, out->id, ID_SIZE))
		out->count = 0;
	return 1;
}

/* Always as long, so that nothing of the one before is left. */
static int
write_file(const char *path, const struct starts *s, struct err *e)
{
	_cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	char hex[2 * ID_SIZE + 1], text[64];

	hex_text(s->id, ID_SIZE, hex);
	snprintf(text, sizeof(text), "%s %020" PRIu64 "\n", hex, s->count);
	if (fd < 0)
		return err_errno(e, errno, "%s", path);
	if (fs_write_all(fd, text, strlen(text), e) < 0)
		return err_add(e, "%s", path);
	return fdatasync(fd) < 0 ? err_errno(e, errno, "%s", path) : 0;
}

static int
mark_copied(struct engine *g, struct flusher *f, const char *why, struct err *e)
{
	const struct reconcile_mark mark = { .why = RECONCILE_COPIED };
	int marked = reconcile_marked(g, NULL, e);

	if (marked)
		return marked < 0 ? -1 : 0;
	log_warn("store.copied", NULL, "%s", why);
	return reconcile_mark(g, f, &mark, e);
}

int
store_starts(struct engine *g, struct flusher *f, const char *store, struct err *e)
{
	struct starts record = { 0 }, file = { 0 };
	int has_record, has_file;
	char path[PATH_MAX];

	if (store_starts_file(store, path, e) < 0)
		return -1;
	has_record = read_record(g, &record, e);
	has_file = has_record < 0 ? -1 : read_file(path, &file, e);
	if (has_file < 0)
		return -1;
	/* First, since the engine forgets it with the next flush. */
	if (engine_has_lost(g) &&
	    mark_copied(g, f,
	        "its last changes were lost: every account is compared with the directory", e) < 0)
		return -1;
	if ((has_record != has_file || memcmp(&record, &file, sizeof(record)) != 0) &&
	    mark_copied(
	        g, f, "this is not the store of the last start: it was put back, or is new", e) < 0)
		return -1;
	if (!has_record)
		host_random(record.id, ID_SIZE);
	record.count = (record.count > file.count ? record.count : file.count) + 1;
	if (write_record(g, f, &record, e) == 0)
		return write_file(path, &record, e);
	if (!e || e->kind != ERR_FULL)
		return -1;
	/* Reads are worth more than telling this start from the one before. */
	log_warn("store.starts", NULL, "this start is not counted: %s", e->text);
	return 0;
}

int
store_is_whole(const char *store, struct err *e)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/" STORE_RESTORING, store);
	if (access(path, F_OK) < 0)
		return 0;
	return err_set(e, ERR_BUSY,
	    "%s: a restore into it was broken off or is going on; repeat `domicile region restore`",
	    store);
}
