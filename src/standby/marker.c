/* marker.c - see marker.h. */
#include "standby/marker.h"

#include "base/conf.h"
#include "base/fs.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static void
path_of(const char *store, char out[static PATH_MAX])
{
	snprintf(out, PATH_MAX, "%.*s/standby", PATH_MAX - 16, store);
}

static int
read_holder(struct conf *c, const char *word, uint8_t out[static TERM_HOLDER_BYTES], struct err *e)
{
	const char *text;

	if (conf_need(c, "", word, &text, e) < 0)
		return -1;
	return hex_parse(text, out, TERM_HOLDER_BYTES)
	    ? 0
	    : err_set(e, ERR_BAD, "%s: expected 32 hexadecimal digits", word);
}

static int
read_words(struct conf *c, struct marker *m, struct err *e)
{
	if (conf_count(c, "", "term", 0, 0, INT64_MAX, &m->follows.term, e) < 0 ||
	    conf_ms(c, "", "lease", 0, 0, TERM_LEASE_MAX_MS, &m->follows.lease_ms, e) < 0 ||
	    conf_bool(c, "", "promoting", false, &m->is_promoting, e) < 0 ||
	    read_holder(c, "holder", m->follows.holder, e) < 0 ||
	    read_holder(c, "next_holder", m->holder, e) < 0)
		return -1;
	return conf_check_unused(c, e);
}

int
marker_read(const char *store, const char *region, struct marker *out, struct err *e)
{
	_cleanup_(conf_freep) struct conf *c = NULL;
	struct marker m = { 0 };
	char path[PATH_MAX];

	path_of(store, path);
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	c = conf_load(path, e);
	if (!c)
		return -1;
	if (read_words(c, &m, e) < 0)
		return err_add(e, "%s", path);
	snprintf(m.follows.region, sizeof(m.follows.region), "%s", region);
	*out = m;
	return 1;
}

int
marker_write(const char *store, const struct marker *m, struct err *e)
{
	char path[PATH_MAX], holder[2 * TERM_HOLDER_BYTES + 1], next[2 * TERM_HOLDER_BYTES + 1];
	_cleanup_buf_ struct buf text = BUF_INIT(4096);

	path_of(store, path);
	hex_text(m->follows.holder, TERM_HOLDER_BYTES, holder);
	hex_text(m->holder, TERM_HOLDER_BYTES, next);
	buf_printf(&text,
	    "# This store is a standby's: `domicile serve` follows, until `domicile region promote`.\n"
	    "# Not to be edited.\n"
	    "term = %" PRIu64 "\nholder = %s\nlease = %" PRIu64
	    "ms\npromoting = %s\nnext_holder = %s\n",
	    m->follows.term, holder, m->follows.lease_ms, m->is_promoting ? "yes" : "no", next);
	if (buf_check(&text, e) < 0)
		return -1;
	return fs_write(path, text.data, text.len, 0600, e);
}

int
marker_remove(const char *store, struct err *e)
{
	char path[PATH_MAX];

	path_of(store, path);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_errno(e, errno, "%s", path);
	return fs_sync_dir(store, e);
}
