/* scrub_internal.h - what the scrub's own files share.
 *
 *	scrub.c		 its thread, when a pass begins, how fast it goes, what is asked of it
 *	scrub_walk.c	 one pass: accounts, the region's records, what belongs to nobody
 *	scrub_mend.c	 what can be mended
 *	scrub_record.c	 the durable records
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "service/files_refs.h"
#include "service/scrub.h"
#include "vault/homes.h"
#include "vault/inspect.h"
#include "vault/region.h"

/* What is mended. Numbers are part of the stored format. */
enum mend {
	MEND_FILE,  /* chunk files that no entry lists */
	MEND_ENTRY, /* chunk entries that no row names */
	MEND_REDO,  /* leftovers of checkpoints that were cut short */
	MEND_PAGE,  /* damaged page records, written anew from memory */
	MEND_VAULT, /* vaults of accounts that do not live here */
	MEND_USAGE, /* what a vault says of how much it holds */
	MENDS
};
extern const char *const mend_words[MENDS];

struct pass {
	bool is_running;
	bool is_asked;
	bool has_only, has_after;
	struct account_id only;  /* has_only: nothing but this account */
	struct account_id after; /* has_after: the last one that is done */
	uint64_t rate;           /* 0: as configured */
	uint64_t started_ms;     /* wall clock */
	uint64_t accounts, total, bytes, chunks, skipped;
	uint64_t mended[MENDS];
};

struct last_pass {
	uint64_t ended_ms; /* 0: none yet */
	uint64_t accounts, bytes;
};

struct finding {
	struct damage damage;
	uint64_t since_ms; /* wall clock */
};

/* All findings about one account. */
struct findings {
	struct account_id account;
	unsigned n;
	uint64_t more;
	struct finding all[DAMAGES_MAX];
};

struct scrub {
	struct scrub_config c;
	struct inspector inspector;
	pthread_t thread;
	bool has_thread;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool is_stopping;
	bool must_end;     /* the asked pass is cancelled, or another was asked for */
	struct pass pass;  /* of all accounts */
	struct pass aside; /* of one account */
	struct pass *now;  /* the one that goes on; NULL */
	bool is_waiting;   /* for its schedule */
	bool was_aside;    /* the last pass was of one account */
	bool was_through;  /* the last one that was asked for came to its end */
	struct last_pass last;
	struct {
		bool is_there, has_only;
		struct account_id only;
		uint64_t rate;
	} ask; /* to be begun */
	uint64_t damaged, damaged_accounts;

	/* The thread's own. */
	uint64_t due_ns;     /* when what was read so far would have been read at the rate */
	uint64_t since_busy; /* bytes read since it last looked how busy the node is */
	struct buf later;    /* of struct account_id: to be come back to */
	struct buf told;     /* likewise: those of which this pass has found a record damaged */
	bool has_rules;      /* the vault just read has lifecycle rules */
	struct files_usage_off usage_off; /* and holds so much more than it says */
	uint64_t began_ns;                /* of the pass, or of its going on after a start */
	uint64_t began_bytes;
};

/* --- scrub.c --- */

/* Wait until MS have passed, or the pass is to end: then -1 with ERR_CANCELLED. */
must_check
int scrub_wait(struct scrub *s, uint64_t ms, struct err *e);
/* After BYTES were read; see struct inspector. ARG is the scrub. */
int scrub_pace(void *arg, uint64_t bytes, struct err *e);
void scrub_count_skipped(struct scrub *s, uint64_t n);
void scrub_count_mended(struct scrub *s, const struct account_id *id, enum mend what, uint64_t n);
/* Store where the pass is; not flushed. */
must_check
int scrub_keep(struct scrub *s, struct err *e);

/* --- scrub_walk.c --- */

/* Everything from where the pass is to its end. ERR_CANCELLED: it was to end. */
must_check
int scrub_walk(struct scrub *s, struct err *e);

/* --- scrub_mend.c --- */

/* Mend what inspection I of vault ID has found. 1: what I tells as damaged may be whole now. */
must_check
int scrub_mend(
    struct scrub *s, const struct vault_id *id, const struct inspection *i, struct err *e);
/* Vaults and chunk folders of accounts that do not live here. */
must_check
int scrub_mend_nobodys(struct scrub *s, struct err *e);

/* --- scrub_record.c --- */

struct scrub_state {
	struct pass pass;
	struct last_pass last;
};
void scrub_state_put(struct buf *b, const struct scrub_state *s);
must_check
int scrub_state_read(struct span stored, struct scrub_state *out, struct err *e);
void findings_put(struct buf *b, const struct findings *f);
must_check
int findings_read(
    const struct account_id *id, struct span stored, struct findings *out, struct err *e);

/* Replace what is known of an account by D (none: it is whole), durably unless nothing changes. What is new
 * and what is gone is logged, and counted. */
must_check
int findings_store(
    struct scrub *s, const struct account_id *id, const struct damages *d, struct err *e);
/* The same with D beside those that are known. */
must_check
int findings_add(
    struct scrub *s, const struct account_id *id, const struct damage *d, struct err *e);
/* Count all anew; with FORGET those of accounts that do not live here go, unless they were added in this
 * pass. */
must_check
int findings_count(struct scrub *s, bool forget, struct err *e);
