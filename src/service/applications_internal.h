/* applications_internal.h - the keys in memory (applications.c), their records and their way round the regions. */
#pragma once
#include <pthread.h>
#include "base/stats.h"
#include "service/applications.h"

#define APPLICATION_RAW_BYTES 32

struct application {
	char key[APPLICATION_KEY_SIZE];
	struct application_grant grant;
	uint64_t created_ms;
	uint64_t revoked_ms; /* 0: it was not */
	struct counter *uses;
};

/* In locked memory, beside the application of the same number. */
struct application_secret {
	uint8_t raw[APPLICATION_RAW_BYTES];
	/* The last signing key that was made of it, and for what. */
	char made_for[64];
	uint8_t signing_key[SHA256_BYTES];
};

struct applications {
	struct node *node;
	pthread_mutex_t writing; /* one change of records at a time; taken before LOCK */
	pthread_mutex_t lock;    /* of all below */
	pthread_cond_t changed;
	struct application *all;
	struct application_secret *secrets;
	size_t n;
	struct application_notes *notes;
	bool is_stopping, is_nudged;
	pthread_t thread;
	bool has_thread;
};

/* --- applications_record.c --- */

/* Write X with the secret RAW (NULL: it was revoked). Durable. WRITING held. */
must_check
int application_store(
    struct applications *a, const struct application *x, const uint8_t *raw, struct err *e);
/* Durable too. WRITING held. */
must_check
int application_erase(struct applications *a, const struct application *x, struct err *e);
/* Every record into A. */
must_check
int applications_load(struct applications *a, struct err *e);
/* Make room for X and put it there; X's counter is made. LOCK held. ERR_TOO_BIG, ERR_MEMORY. */
must_check
int application_add(
    struct applications *a, const struct application *x, const uint8_t *raw, struct err *e);

/* --- applications.c --- */

/* LOCK held. NULL: unknown. */
struct application *application_find(struct applications *a, const char *key);
/* Here alone. 1: done, or it was; 0: unknown here. */
must_check
int application_revoke_here(struct applications *a, const char *key, struct err *e);

/* --- applications_use.c --- */

struct application_notes;
must_check
struct application_notes *application_notes_new(struct err *e);
void application_notes_free(struct application_notes *u); /* NULL is fine */
/* These with LOCK held. The first says whether something is due that was not. */
bool application_note(struct application_notes *u, const struct account_id *id, const char *key);
bool application_is_due(const struct application_notes *u);
void application_notes_forget(struct application_notes *u, const struct account_id *id);
/* Write what is due. No lock held. */
void applications_write_notes(struct applications *a);

/* --- applications_round.c --- */

/* Ask the other regions what they have revoked, every now and then and when nudged; write what is due. */
must_check
int applications_start(struct applications *a, struct err *e);
void applications_nudge(struct applications *a);
