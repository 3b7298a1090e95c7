/* directory.h - account -> home: the only global state, and nothing personal in it. And the waves,
 * which are plans over it.
 *
 * Placement changes by compare-and-swap on (epoch, attempt, home), many accounts in one
 * transaction. All calls may come from any thread and block; a remote directory that can't be
 * reached answers ERR_PEER (and then nothing, or all of the call, has happened: ask again).
 */
#pragma once
#include <jansson.h>
#include "base/cleanup.h"
#include "base/id.h"

#define DIRECTORY_BATCH_MAX 1024 /* accounts in one call */
#define WAVE_ID_SIZE        17   /* 16 hexadecimal digits and a NUL */
#define WAVE_REASON_SIZE    120

struct placement {
	struct account_id account;
	char home[REGION_NAME_SIZE];
	char country[3];  /* ISO 3166 alpha-2 */
	uint64_t epoch;   /* counts homes, from 1 */
	uint64_t attempt; /* counts given-up moves, over the account's whole life */
	bool is_suspended;
};

/* One compare-and-swap: (epoch, attempt, from) becomes (to_epoch, to_attempt, to).
 * The commit point of a move: to = destination, to_epoch = epoch + 1, to_attempt = attempt.
 * Cancelling: to = from, to_epoch = epoch, to_attempt = attempt + 1.
 * Done too if the row is already exactly what it should become. */
struct swap {
	struct account_id account;
	uint64_t epoch, attempt;
	char from[REGION_NAME_SIZE];
	uint64_t to_epoch, to_attempt;
	char to[REGION_NAME_SIZE];
	uint8_t statement[32]; /* digest of the signed statement; chained to the previous one */
	bool is_done;          /* out */
	bool is_missing;       /* out: no such account */
	struct placement now;  /* out: the row after the call */
};

enum wave_state { WAVE_PLANNED, WAVE_RUNNING, WAVE_PAUSED, WAVE_CANCELLED, WAVE_DONE, WAVE_STATES };
enum item_state {
	ITEM_WAITING,
	ITEM_MOVING,
	ITEM_MOVED,   /* committed; the old home not yet erased */
	ITEM_ERASED,  /* and looked again */
	ITEM_PUT_OFF, /* tried, will be tried again; reason */
	ITEM_FAILED,  /* given up; reason; `retry` makes it waiting */
	ITEM_CANCELLED,
	ITEM_STATES
};
/* "planned", "put-off", ...: in JSON and for people. */
const char *wave_state_name(enum wave_state s);
const char *item_state_name(enum item_state s);

struct wave {
	char id[WAVE_ID_SIZE];
	char from[REGION_NAME_SIZE], to[REGION_NAME_SIZE];
	enum wave_state state;
	uint64_t created_ms, started_ms, finished_ms; /* wall clock; 0: not yet */
	uint64_t deadline_ms;                         /* wall clock; 0: none */
	uint64_t bytes_per_s, accounts_per_s;         /* 0: no limit */
	unsigned concurrency;                         /* streams; 0: the mover's default */
	int quiet_from_min, quiet_to_min;             /* UTC minutes of the day; -1: none */
	char countries[128];                          /* "IN,ID" or "!CN" or "" (all); as planned */
};

struct wave_item {
	struct account_id account;
	enum item_state state;
	uint64_t bytes;    /* moved, plain */
	uint64_t pause_us; /* writes held at the gate, from fence to release */
	uint32_t tries;
	uint32_t held; /* requests that waited at the gate */
	char reason[WAVE_REASON_SIZE];
};

/* Sums over a wave's items, made by the directory. */
struct wave_sums {
	uint64_t items[ITEM_STATES];
	uint64_t bytes;
	uint64_t held;
	uint64_t pause_p50_us, pause_p99_us, pause_max_us;
	/* up to 5 reasons, the most frequent first */
	struct {
		char text[WAVE_REASON_SIZE];
		uint64_t n;
	} reasons[5];
};

/* Which accounts. Countries: NULL or "" all; "IN,ID" those; "!CN" all but. ACCOUNTS: explicit list if
 * not NULL, even an empty one (then countries must be empty); those that are not at HOME are left out. */
struct selection {
	const char *home;
	const char *countries;
	const struct account_id *accounts;
	size_t n_accounts;
};

/* Which node is the region: of two with the region's name, the one that has its term. A region without a
 * standby has none. */
#define TERM_HOLDER_BYTES 16
#define TERM_LEASE_MAX_MS 3600000
struct region_term {
	char region[REGION_NAME_SIZE];
	uint64_t term;                     /* from 1 */
	uint8_t holder[TERM_HOLDER_BYTES]; /* random, the node's */
	/* The longest that a holder goes on serving after it has last heard that the term is its own. */
	uint64_t lease_ms;
};

typedef int directory_fn(void *arg, const struct placement *p, struct err *e);
typedef int wave_fn(void *arg, const struct wave *w, struct err *e);

struct directory;
struct directory_ops {
	/* Fill OUT[i] for IDS[i]; a row that is not there has epoch 0. N <= DIRECTORY_BATCH_MAX. */
	int (*find)(struct directory *d, const struct account_id *ids, size_t n,
	    struct placement *out, struct err *e);
	/* New rows, all or none; ERR_EXISTS. */
	int (*add)(struct directory *d, const struct placement *p, size_t n, struct err *e);
	/* Carry out those of the N swaps that match, in one transaction; see is_done of each.
	 * ERR_BAD if one is neither a move nor a cancellation. */
	int (*swap)(struct directory *d, struct swap *s, size_t n, struct err *e);
	/* Remove the row if it is at (home, epoch); ERR_STALE, ERR_MISSING. */
	int (*remove)(struct directory *d, const struct placement *p, struct err *e);
	int (*suspend)(struct directory *d, const struct account_id *id, bool on, struct err *e);
	/* Rows with account > *AFTER (NULL: from the first), at most LIMIT, of a home and countries
	 * ("" or NULL: any), in order of ids. */
	int (*list)(struct directory *d, const struct account_id *after, const char *home,
	    const char *countries, size_t limit, directory_fn *fn, void *arg, struct err *e);
	/* How many accounts, by home and country; JSON [{"home":..,"country":..,"accounts":n},...]. */
	int (*count)(struct directory *d, json_t **out, struct err *e);

	/* Store the wave (its id is made here) and one waiting item for each selected account, in one
	 * transaction; *N accounts. ERR_EXISTS naming the other wave if an account is in one that has not
	 * ended. With DRY only counts. */
	int (*wave_plan)(struct directory *d, struct wave *w, const struct selection *s, bool dry,
	    uint64_t *n, struct err *e);
	int (*wave_get)(struct directory *d, const char *id, struct wave *w, struct wave_sums *sums,
	    struct err *e);
	/* Newest first; only those of FROM if not NULL. */
	int (*wave_list)(
	    struct directory *d, const char *from, wave_fn *fn, void *arg, struct err *e);
	/* Planned|paused -> running, running -> paused, not ended -> cancelled (its waiting and
	 * put-off items too), running -> done unless some item waits; ERR_STALE otherwise. Sets started_ms,
	 * finished_ms. */
	int (*wave_set)(struct directory *d, const char *id, enum wave_state to, struct err *e);
	/* Failed and put-off items wait again, as if they had never been tried; a done wave runs again
	 * (ERR_EXISTS as for wave_plan). *N of them. ERR_STALE if it was cancelled. */
	int (*wave_retry)(struct directory *d, const char *id, uint64_t *n, struct err *e);
	/* Items in one of the states of MASK with account > *AFTER; *N in: room, out: how many. */
	int (*wave_items)(struct directory *d, const char *id, unsigned mask,
	    const struct account_id *after, struct wave_item *items, size_t *n, struct err *e);
	/* Figures (bytes, pause, tries, held) that are 0 keep their former value. */
	int (*wave_update)(struct directory *d, const char *id, const struct wave_item *items,
	    size_t n, struct err *e);

	/* The region's term; ERR_MISSING if it has none. */
	int (*term_get)(
	    struct directory *d, const char *region, struct region_term *out, struct err *e);
	/* 0 if T has the region's term and holder, and its lease is known: a longer one is stored. The
	 * first of a region is taken as it is. ERR_STALE: the term is another node's. */
	int (*term_hold)(struct directory *d, const struct region_term *t, struct err *e);
	/* The region's term becomes T's, which has to be the next (ERR_STALE), and T's lease the longest
	 * there ever was. From then on the former holder changes nothing here any more, and every move
	 * that has left the region is cancelled. Done too if it is so already. */
	int (*term_raise)(struct directory *d, struct region_term *t, struct err *e);
	void (*close)(struct directory *d);
};

struct directory {
	const struct directory_ops *ops;
};

#define directory_find(d, ...)        ((d)->ops->find((d), __VA_ARGS__))
#define directory_add(d, ...)         ((d)->ops->add((d), __VA_ARGS__))
#define directory_swap(d, ...)        ((d)->ops->swap((d), __VA_ARGS__))
#define directory_remove(d, ...)      ((d)->ops->remove((d), __VA_ARGS__))
#define directory_suspend(d, ...)     ((d)->ops->suspend((d), __VA_ARGS__))
#define directory_list(d, ...)        ((d)->ops->list((d), __VA_ARGS__))
#define directory_count(d, ...)       ((d)->ops->count((d), __VA_ARGS__))
#define directory_wave_plan(d, ...)   ((d)->ops->wave_plan((d), __VA_ARGS__))
#define directory_wave_get(d, ...)    ((d)->ops->wave_get((d), __VA_ARGS__))
#define directory_wave_list(d, ...)   ((d)->ops->wave_list((d), __VA_ARGS__))
#define directory_wave_set(d, ...)    ((d)->ops->wave_set((d), __VA_ARGS__))
#define directory_wave_retry(d, ...)  ((d)->ops->wave_retry((d), __VA_ARGS__))
#define directory_wave_items(d, ...)  ((d)->ops->wave_items((d), __VA_ARGS__))
#define directory_wave_update(d, ...) ((d)->ops->wave_update((d), __VA_ARGS__))
#define directory_term_get(d, ...)    ((d)->ops->term_get((d), __VA_ARGS__))
#define directory_term_hold(d, ...)   ((d)->ops->term_hold((d), __VA_ARGS__))
#define directory_term_raise(d, ...)  ((d)->ops->term_raise((d), __VA_ARGS__))

static inline void
directory_close(struct directory *d)
{
	if (d)
		d->ops->close(d);
}
CLEANUP(struct directory, directory_close)

/* SQLite in file PATH (created if absent), WAL journal, synchronous=FULL. */
must_check
struct directory *directory_sqlite(const char *path, struct err *e);

/* A consistent copy of directory_sqlite's D in the new file TO, while it is used, without what was removed. */
must_check
int directory_sqlite_copy(struct directory *d, const char *to, struct err *e);

/* Over the peers, from the node at ENDPOINT ("host:port" of its peer listener) named NAME in its
 * certificate. PEERS is borrowed. */
struct peers;
must_check
struct directory *directory_client(
    struct peers *peers, const char *name, const char *endpoint, struct err *e);
/* From now on every call of a remote directory D says that we hold term T; nothing else has to. */
void directory_use_term(struct directory *d, const struct region_term *t);

/* The serving side: carry out call OP ("find", "swap", ...) with ARGUMENTS from region CALLER and make
 * the JSON ANSWER. A swap to a new home is only taken from that home, a cancellation from either side,
 * that is any region, since only the two know; a region that has a term is neither told nor given
 * anything without it (ERR_STALE); rows are added, removed and suspended by their home; a wave's items
 * are updated by its source (ERR_DENIED). MAY_OPERATE: CALLER may also plan and change waves that leave
 * other regions. */
must_check
int directory_serve(struct directory *d, const char *caller, bool may_operate, const char *op,
    json_t *arguments, json_t **answer, struct err *e);

/* ERR_BAD unless LIST is as in struct selection: "", "IN,ID" or "!CN". */
must_check
int countries_check(const char *list, struct err *e);

/* For everybody who shows them. */
must_check
json_t *wave_json(const struct wave *w, const struct wave_sums *sums);
