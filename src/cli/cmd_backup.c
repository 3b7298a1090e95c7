/* cmd_backup.c - `domicile region backup`: ask the node for one and watch it, or verify a folder of them. */
#include "cli/commands.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/host.h"
#include "cli/backup_damages.h"
#include "cli/call.h"
#include "cli/progress.h"
#include "service/backup.h"

#define ASK_EVERY_MS 100
#define KEEP_MAX     100000

static void
sleep_ms(unsigned ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

/* --- progress --- */

static bool
is_copying(json_t *status)
{
	return strcmp(get_text(status, "step"), "chunks") == 0;
}

static void
add_step(json_t *status, const struct progress *p, struct buf *out)
{
	char bytes[16], fresh[16], rate[16];

	text_bytes(
	    (uint64_t)get_number(status, is_copying(status) ? "chunk_bytes" : "record_bytes"),
	    bytes);
	text_bytes((uint64_t)get_number(status, "new_bytes"), fresh);
	text_bytes((uint64_t)p->bytes_per_s, rate);
	if (is_copying(status))
		buf_printf(out, "chunks: %" PRId64 " of %" PRId64, get_number(status, "chunks"),
		    get_number(status, "chunks_total"));
	else
		buf_printf(out, "records: %" PRId64, get_number(status, "records"));
	buf_printf(out, ", %s, %s/s, %s new", bytes, rate, fresh);
}

static double
share_done(json_t *status)
{
	double all = (double)get_number(
	    status, is_copying(status) ? "chunks_total" : "record_bytes_about");
	double done = (double)get_number(status, is_copying(status) ? "chunks" : "record_bytes");

	return all <= 0 ? 0 : done > all ? 1 : done / all;
}

static int
show(json_t *status, struct progress *p, bool as_json, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(0), plain = BUF_INIT(0);
	double share = share_done(status), left;
	char duration[16];

	progress_measure(p, (uint64_t)get_number(status, "chunks"),
	    (uint64_t)(get_number(status, "record_bytes") + get_number(status, "chunk_bytes")));
	if (!progress_is_due(p, false))
		return 0;
	if (as_json) {
		if (json_dumpf(status, stdout, JSON_COMPACT) < 0 || putchar('\n') == EOF)
			return err_errno(e, errno, "standard output");
		return 0;
	}
	add_step(status, p, &plain);
	left = is_copying(status) && p->done_per_s > 0
	    ? (double)(get_number(status, "chunks_total") - get_number(status, "chunks")) /
	        p->done_per_s
	    : 0;
	if (left > 0) {
		text_duration((uint64_t)(left * 1000), duration);
		buf_printf(&plain, ", %s left", duration);
	}
	text_bar(&text, share, 30);
	buf_printf(&text, " %s\n", buf_str(&plain));
	progress_show(p, buf_str(&text), buf_str(&plain));
	return buf_check(&text, e);
}

/* --- making one --- */

static int
fail_like_node(json_t *status, struct err *e)
{
	const char *kind = get_text(status, "kind");

	for (int k = ERR_NONE + 1; k < ERR_KINDS; k++)
		if (strcmp(err_word((enum err_kind)k), kind) == 0)
			return err_set(e, (enum err_kind)k, "%s", get_text(status, "error"));
	return err_set(e, ERR_INTERNAL, "%s", get_text(status, "error"));
}

static void
print_backup(json_t *it, json_t *status)
{
	char records[16], chunks[16], fresh[16];

	text_bytes((uint64_t)get_number(it, "record_bytes"), records);
	text_bytes((uint64_t)get_number(it, "chunk_bytes"), chunks);
	printf("generation %" PRId64 " of %s, %s: %" PRId64 " accounts, %" PRId64 " records (%s), "
	       "%" PRId64 " chunks (%s)%s",
	    get_number(it, "generation"), get_text(it, "region"), get_text(it, "time"),
	    get_number(it, "accounts"), get_number(it, "records"), records,
	    get_number(it, "chunks"), chunks,
	    json_is_true(json_object_get(it, "directory")) ? ", the directory" : "");
	if (get_number(it, "missing"))
		printf("; INCOMPLETE");
	if (status) {
		text_bytes((uint64_t)get_number(status, "new_bytes"), fresh);
		printf("; %s new", fresh);
	}
	putchar('\n');
	backup_damages_print(it);
}

static int
watch(struct caller *c, bool as_json, json_t **last, struct err *e)
{
	struct progress p;

	progress_open(&p, as_json ? stdout : stderr);
	for (;;) {
		_cleanup_json_ json_t *status = NULL;

		if (call_node(c, "/v1/region/backup/status", json_object(), &status, e) < 0)
			return -1;
		if (strcmp(get_text(status, "state"), "running") != 0) {
			*last = json_incref(status);
			return 0;
		}
		if (show(status, &p, as_json, e) < 0)
			return -1;
		sleep_ms(ASK_EVERY_MS);
	}
}

/* As the node, which may run elsewhere in the tree of folders, understands it. */
static int
absolute(const char *folder, char out[static PATH_MAX], struct err *e)
{
	char here[PATH_MAX];

	if (folder[0] == '/') {
		if (snprintf(out, PATH_MAX, "%s", folder) < PATH_MAX)
			return 0;
	} else if (!getcwd(here, sizeof(here))) {
		return err_errno(e, errno, "the current folder");
	} else if (snprintf(out, PATH_MAX, "%s/%s", here, folder) < PATH_MAX) {
		return 0;
	}
	return err_set(e, ERR_USAGE, "a path of %zu bytes", strlen(folder));
}

static int
make(const struct args *a, struct err *e)
{
	_cleanup_(call_closep) struct caller *c = call_open(a, e);
	_cleanup_json_ json_t *begun = NULL, *last = NULL;
	char folder[PATH_MAX];
	uint64_t keep;
	json_t *it;

	if (!c || arg_u64(a, "keep", BACKUP_KEEP, 1, KEEP_MAX, &keep, e) < 0 ||
	    absolute(arg_operand(a, 0), folder, e) < 0 ||
	    call_node(c, "/v1/region/backup",
	        json_pack("{s:s, s:i}", "folder", folder, "keep", (int)keep), &begun, e) < 0 ||
	    watch(c, arg_flag(a, "json"), &last, e) < 0)
		return -1;
	if (strcmp(get_text(last, "state"), "done") != 0)
		return fail_like_node(last, e);
	it = json_object_get(last, "backup");
	if (!arg_flag(a, "json"))
		print_backup(it, last);
	else if (json_dumpf(last, stdout, JSON_COMPACT) < 0 || putchar('\n') == EOF)
		return err_errno(e, errno, "standard output");
	return backup_damages_exit(it);
}

/* --- verifying --- */

struct watching {
	struct progress p;
	uint64_t total;
};

static bool
go_on(void *arg, uint64_t bytes)
{
	struct watching *w = arg;
	_cleanup_buf_ struct buf text = BUF_INIT(0), plain = BUF_INIT(0);
	char done[16], total[16], rate[16];

	progress_measure(&w->p, 0, bytes);
	if (!progress_is_due(&w->p, false))
		return true;
	text_bytes(bytes, done);
	text_bytes(w->total, total);
	text_bytes((uint64_t)w->p.bytes_per_s, rate);
	buf_printf(&plain, "reading: %s of about %s, %s/s", done, total, rate);
	text_bar(&text, w->total ? (double)bytes / (double)w->total : 0, 30);
	buf_printf(&text, " %s\n", buf_str(&plain));
	progress_show(&w->p, buf_str(&text), buf_str(&plain));
	return true;
}

/* 0, the exit code of damage that it names, or -1. */
static int
verify_one(const struct args *a, uint32_t generation, json_t *list, struct err *e)
{
	_cleanup_manifest_ struct manifest m = { 0 };
	const char *folder = arg_operand(a, 0);
	struct watching w = { 0 };
	json_t *it;

	progress_open(&w.p, stderr);
	if (backup_manifest(folder, generation, &m, e) < 0)
		return -1;
	w.total = m.record_bytes + m.chunk_bytes;
	if (backup_verify(folder, &m, go_on, &w, e) < 0)
		return -1;
	it = manifest_json(&m);
	if (!it)
		return err_set(e, ERR_MEMORY, "no memory");
	progress_clear(&w.p);
	if (!arg_flag(a, "json"))
		print_backup(it, NULL);
	json_array_append_new(list, it);
	return backup_damages_exit(it);
}

static int
verify(const struct args *a, struct err *e)
{
	_cleanup_(backup_lock_closep) struct backup_lock *lock = backup_lock_shared(
	    arg_operand(a, 0), e);
	_cleanup_json_ json_t *list = json_array();
	_cleanup_buf_ struct buf numbers = BUF_INIT(0);
	uint32_t generation;
	int code = 0;

	if (!lock || !list)
		return -1;
	if (backup_generations(arg_operand(a, 0), &numbers, e) < 0)
		return -1;
	if (!numbers.len)
		return err_set(e, ERR_MISSING, "%s has no whole backup", arg_operand(a, 0));
	for (size_t at = 0; at < numbers.len; at += sizeof(generation)) {
		int r;

		memcpy(&generation, numbers.data + at, sizeof(generation));
		r = verify_one(a, generation, list, e);
		if (r < 0)
			return -1;
		code = r ? r : code;
	}
	return arg_flag(a, "json") && print_json(list, e) < 0 ? -1 : code;
}

int
cmd_region_backup(const struct args *a, struct err *e)
{
	return arg_flag(a, "verify") ? verify(a, e) : make(a, e);
}
