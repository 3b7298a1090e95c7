/* backup_damages.h - what a backup says was damaged in the store already: how commands tell it. */
#pragma once
#include <jansson.h>

/* IT is a manifest_json. A line each to stdout: account, service, "header" or "chunk"; or account, "to"
 * and another, "missing". */
void backup_damages_print(json_t *it);
/* The exit code of a command that is done: 0, or that of damage. */
int backup_damages_exit(json_t *it);
