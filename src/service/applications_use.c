/* applications_use.c - when an application last acted for an account, so that its owner can be told.
 *
 * It lies in the account's profile, in `meta` under "application:KEY", and moves with it: the wall
 * clock's milliseconds, written at most once an hour for an account and a key, soon after the use and
 * without keeping the request. What could not be written (the account is moving, the disk is full) is
 * written after the next use.
 */
#include "service/applications_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "base/log.h"
#include "service/gate.h"
#include "service/lru_internal.h"
#include "vault/pool.h"

#define NOTES_MAX 4096
#define HOUR_MS   3600000u
#define WORD      "application:"

struct note {
	struct account_id account;
	char key[APPLICATION_KEY_SIZE];
	uint64_t used_ms;
	uint64_t written_ms; /* 0: not by this process */
	bool is_due;
};

struct application_notes {
	struct lru *lru;
	struct note *notes;
	size_t n_due;
};

struct application_notes *
application_notes_new(struct err *e)
{
	struct application_notes *u = calloc(1, sizeof(*u));

	if (u) {
		u->lru = lru_new(NOTES_MAX, e);
		u->notes = calloc(NOTES_MAX, sizeof(*u->notes));
	}
	if (!u || !u->lru || !u->notes) {
		application_notes_free(u);
		err_set(e, ERR_MEMORY, "application keys: no memory");
		return NULL;
	}
	return u;
}

void
application_notes_free(struct application_notes *u)
{
	if (!u)
		return;
	lru_free(u->lru);
	free(u->notes);
	free(u);
}

/* --- noting; the applications' lock is held --- */

static struct note *
find(struct application_notes *u, const struct account_id *id, const char *key)
{
	uint32_t i = lru_first(u->lru, id);

	while (i != LRU_NONE &&
	    (!account_equal(&u->notes[i].account, id) || strcmp(u->notes[i].key, key) != 0))
		i = lru_next(u->lru, i);
	if (i != LRU_NONE) {
		lru_touch(u->lru, i);
		return &u->notes[i];
	}
	i = lru_add(u->lru, id);
	u->n_due -= u->notes[i].is_due;
	u->notes[i] = (struct note){ .account = *id };
	memcpy(u->notes[i].key, key, sizeof(u->notes[i].key));
	return &u->notes[i];
}

bool
application_note(struct application_notes *u, const struct account_id *id, const char *key)
{
	struct note *x = find(u, id, key);
	uint64_t now = host_wall_ms();
	bool is_old = !x->written_ms || now < x->written_ms || now - x->written_ms >= HOUR_MS;

	x->used_ms = now;
	if (!is_old || x->is_due)
		return false;
	x->is_due = true;
	u->n_due++;
	return true;
}

bool
application_is_due(const struct application_notes *u)
{
	return u->n_due;
}

void
application_notes_forget(struct application_notes *u, const struct account_id *id)
{
	uint32_t i, next;

	for (i = lru_first(u->lru, id); i != LRU_NONE; i = next) {
		next = lru_next(u->lru, i);
		if (!account_equal(&u->notes[i].account, id))
			continue;
		u->n_due -= u->notes[i].is_due;
		lru_remove(u->lru, i);
		u->notes[i] = (struct note){ .used_ms = 0 };
	}
}

/* --- writing, on the applications' thread --- */

static int
put_row(struct vault *v, const struct note *x, uint64_t *ticket, struct err *e)
{
	char word[sizeof(WORD) + APPLICATION_KEY_SIZE] = WORD;
	struct query *q;

	memcpy(word + strlen(WORD), x->key, sizeof(x->key));
	if (vault_begin(v, e) < 0)
		return -1;
	q = vault_query(v, "INSERT OR REPLACE INTO meta(word,value) VALUES(?1,?2)");
	query_text(q, 1, word, strlen(word));
	query_int(q, 2, (int64_t)x->used_ms);
	return query_run(q, e) < 0 ? -1 : vault_commit(v, ticket, e);
}

/* Like any write of the account: within the gate, or not at all now. */
static int
write_note(struct node *n, const struct note *x, struct err *e)
{
	const struct vault_id id = { .account = x->account, .service = SERVICE_PROFILE };
	enum gate_answer answer;
	struct gate_pass pass;
	uint64_t ticket;
	int rc = -1;

	if (gate_enter(n, &x->account, GATE_WRITE, &answer, &pass, e) < 0)
		return -1;
	if (answer == GATE_GO) {
		_cleanup_(pool_givep) struct vault *v = pool_take(n->pool, &id, true, e);

		rc = v ? put_row(v, x, &ticket, e) : -1;
	}
	gate_leave(n, &pass);
	return rc;
}

/* LOCK held. */
static bool
take_due(struct application_notes *u, struct note *out)
{
	for (size_t i = 0; u->n_due && i < NOTES_MAX; i++) {
		if (!u->notes[i].is_due)
			continue;
		u->notes[i].is_due = false;
		u->notes[i].written_ms = u->notes[i].used_ms;
		u->n_due--;
		*out = u->notes[i];
		return true;
	}
	return false;
}

void
applications_write_notes(struct applications *a)
{
	struct note one;
	bool is_one;

	for (;;) {
		pthread_mutex_lock(&a->lock);
		is_one = !a->is_stopping && take_due(a->notes, &one);
		pthread_mutex_unlock(&a->lock);
		if (!is_one)
			return;
		if (write_note(a->node, &one, NULL) == 0)
			continue;
		pthread_mutex_lock(&a->lock);
		find(a->notes, &one.account, one.key)->written_ms = 0;
		pthread_mutex_unlock(&a->lock);
	}
}

/* --- telling --- */

static json_t *
row_json(struct query *q)
{
	struct span word = column_blob(q, 0);
	size_t n = strlen(WORD);

	return json_pack("{s:s%, s:I}", "key", (const char *)word.data + n, word.len - n,
	    "last_used_ms", (json_int_t)column_int(q, 1));
}

int
application_uses(struct node *n, const struct account_id *id, json_t **out, struct err *e)
{
	const struct vault_id profile = { .account = *id, .service = SERVICE_PROFILE };
	_cleanup_(pool_givep) struct vault *v = pool_take(n->pool, &profile, true, e);
	json_t *list = json_array();
	struct query *q;
	int r = -1;

	if (v && list) {
		q = vault_query(v,
		    "SELECT word,value FROM meta WHERE word>='" WORD "' AND word<'application;'");
		while ((r = query_step(q, e)) == 1)
			json_array_append_new(list, row_json(q));
		query_end(q);
	}
	if (r < 0) {
		json_decref(list);
		return -1;
	}
	*out = list;
	return 0;
}
