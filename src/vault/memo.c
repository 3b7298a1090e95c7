/* memo.c - see memo.h. */
#include "vault/memo.h"
#include "base/stats.h"
#include "vault/vault_internal.h"

#include <stdlib.h>
#include <string.h>

#define MEMO_BYTES_MAX ((size_t)1 << 20) /* of one vault */

struct memo_entry {
	struct memo_value *value;
	UT_hash_handle hh; /* oldest first */
	size_t n;
	uint8_t name[];
};

static struct counter hits = COUNTER("domicile_memo_reads_total", "found=\"yes\"",
    "Objects looked for among those that were read from the vault before.");
static struct counter misses = COUNTER("domicile_memo_reads_total", "found=\"no\"",
    "Objects looked for among those that were read from the vault before.");

void
memo_unref(struct memo_value *m)
{
	if (m && --m->refs == 0)
		m->free(m);
}

static size_t
bytes_of(const struct memo_entry *m)
{
	return sizeof(*m) + m->n + m->value->bytes;
}

static void
drop(struct vault *v, struct memo_entry *m)
{
	HASH_DEL(v->memo, m);
	v->memo_bytes -= bytes_of(m);
	memo_unref(m->value);
	free(m);
}

void
vault_memo_clear(struct vault *v)
{
	struct memo_entry *m, *next;

	HASH_ITER (hh, v->memo, m, next)
		drop(v, m);
}

/* A transaction begins with a query: without one SQLite's memory stays where it is. */
static bool
is_in_transaction(struct vault *v)
{
	return v->was_queried && !sqlite3_get_autocommit(v->db);
}

struct memo_value *
vault_memo_find(struct vault *v, struct span name)
{
	struct memo_entry *m = NULL;

	if (v->must_close || is_in_transaction(v))
		return NULL;
	HASH_FIND(hh, v->memo, name.data, name.len, m);
	counter_add(m ? &hits : &misses, 1);
	return m ? memo_ref(m->value) : NULL;
}

static struct memo_entry *
entry_new(struct span name, struct memo_value *value)
{
	struct memo_entry *m = calloc(1, sizeof(*m) + name.len);

	if (!m)
		return NULL;
	m->n = name.len;
	memcpy(m->name, name.data, name.len);
	m->value = memo_ref(value);
	return m;
}

void
vault_memo_keep(struct vault *v, struct span name, struct memo_value *value)
{
	struct memo_entry *m;

	if (!v->has_spare || v->must_close || is_in_transaction(v) ||
	    value->bytes > MEMO_BYTES_MAX / 8)
		return;
	HASH_FIND(hh, v->memo, name.data, name.len, m);
	if (m)
		drop(v, m);
	m = entry_new(name, value);
	if (!m)
		return;
	HASH_ADD(hh, v->memo, name, m->n, m);
	if (!m->hh.tbl) {
		memo_unref(value);
		free(m);
		return;
	}
	v->memo_bytes += bytes_of(m);
	while (v->memo_bytes > MEMO_BYTES_MAX)
		drop(v, v->memo);
}
