/* admin_private.h - what the JSON calls of operators and regions share.
 *
 * A call is a function from a JSON object to a JSON value. It runs where blocking is allowed, finds
 * its fields with admin_unpack (a field that it does not know is an error), and says what went wrong
 * with an err; the frame around it makes the HTTP of both.
 */
#pragma once
#include <jansson.h>
#include "directory/directory.h"
#include "front/admin.h"

typedef int admin_fn(struct request *r, json_t *in, json_t **out, struct err *e);

struct admin_route {
	const char *path;
	admin_fn *fn;
};

/* Read the body, call FN, answer. HANDLE_AGAIN where blocking is not allowed. */
enum handle admin_answer(struct request *r, admin_fn *fn);

/* json_unpack with every field of IN accounted for; ERR_BAD says which is wrong. */
must_check
int admin_unpack(json_t *in, struct err *e, const char *format, ...);
must_check
int admin_account(const char *text, struct account_id *out, struct err *e);
/* IDS, an array of account ids of at most MAX, as *OUT (owned by the caller) of *N. */
must_check
int admin_accounts(json_t *ids, size_t max, struct account_id **out, size_t *n, struct err *e);
/* ERR_MISSING unless regions.conf has region NAME. */
must_check
int admin_region(struct node *n, const char *name, struct err *e);
/* A value of our own making; ERR_MEMORY if IT is NULL. */
must_check
int admin_made(json_t *it, json_t **out, struct err *e);

/* --- peer_routes.c --- */

/* Carry out OP ("move/verify") for region CALLER, which may be ourselves. */
must_check
int peer_serve(struct node *n, const char *id, const char *caller, const char *op, json_t *in,
    json_t **out, struct err *e);
/* The same at REGION: here if that is us, else by a call. */
must_check
int region_call(struct request *r, const char *region, const char *op, json_t *in,
    uint64_t timeout_ms, json_t **out, struct err *e);
/* The round trip from here to REGION, measured at most every few seconds; 0 if it can't be. */
uint64_t peer_round_trip_us(struct node *n, const char *region);

/* --- admin_account.c, admin_wave.c, admin_plan.c --- */

admin_fn admin_account_create, admin_account_list, admin_account_show, admin_account_suspend,
    admin_account_remove, admin_account_quota, admin_account_consent, admin_account_key_create,
    admin_account_key_list, admin_account_key_revoke;
admin_fn admin_wave_plan, admin_wave_list, admin_wave_status, admin_wave_run, admin_wave_pause,
    admin_wave_resume, admin_wave_cancel, admin_wave_retry, admin_wave_items, admin_wave_verify;
/* admin_app.c */
admin_fn admin_app_key_create, admin_app_key_list, admin_app_key_revoke, admin_app_key_remove;
admin_fn admin_key_rotate, admin_key_status; /* admin_key.c */
admin_fn admin_scrub_ask, admin_scrub_stop, admin_scrub_status,
    admin_scrub_list; /* admin_scrub.c */
admin_fn admin_backup_begin, admin_backup_status, admin_reconciled,
    admin_account_accept; /* admin_backup.c */
admin_fn admin_certificate, admin_region_status, admin_region_sample, admin_directory_status;
