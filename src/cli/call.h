/* call.h - asking a running node over its admin socket. */
#pragma once
#include <jansson.h>
#include "cli/cli.h"

struct caller;

/* The node of --config FILE or $DOMICILE_CONFIG. ERR_USAGE: neither is given. */
must_check
struct caller *call_open(const struct args *a, struct err *e);
void call_close(struct caller *c);
CLEANUP(struct caller, call_close)

/* POST IN (taken over; NULL is ERR_MEMORY) to PATH and wait for the JSON in *OUT. What the node
 * says is wrong comes out as the same kind. ERR_PEER: no node answers. */
must_check
int call_node(struct caller *c, const char *path, json_t *in, json_t **out, struct err *e);
/* Open, call once, close. */
must_check
int call_once(const struct args *a, const char *path, json_t *in, json_t **out, struct err *e);

#define _cleanup_json_ __attribute__((cleanup(json_decrefp)))
/* A member's text or number; "" or 0 if it is not there. */
const char *get_text(json_t *object, const char *name);
int64_t get_number(json_t *object, const char *name);
/* Print VALUE to stdout as indented JSON. */
must_check
int print_json(json_t *value, struct err *e);
