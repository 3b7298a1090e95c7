/* commands.h - the handlers that the table in commands.c names. */
#pragma once
#include "cli/cli.h"

command_fn cmd_serve;
command_fn cmd_ca_init;
command_fn cmd_region_promote;
command_fn cmd_region_init, cmd_region_status, cmd_region_sample, cmd_region_scrub,
    cmd_region_rotate_key, cmd_directory_status, cmd_trust;
command_fn cmd_region_backup, cmd_region_restore, cmd_region_reconcile, cmd_region_reconciled,
    cmd_account_accept;
command_fn cmd_account_create, cmd_account_list, cmd_account_show, cmd_account_suspend,
    cmd_account_resume, cmd_account_remove, cmd_account_quota, cmd_account_consent;
command_fn cmd_account_key_create, cmd_account_key_list, cmd_account_key_revoke;
command_fn cmd_app_key_create, cmd_app_key_list, cmd_app_key_revoke, cmd_app_key_remove;
command_fn cmd_wave_plan, cmd_wave_list, cmd_wave_run, cmd_wave_status, cmd_wave_watch,
    cmd_wave_pause, cmd_wave_resume, cmd_wave_cancel, cmd_wave_retry, cmd_wave_items,
    cmd_wave_verify;
command_fn cmd_certificate, cmd_verify;
