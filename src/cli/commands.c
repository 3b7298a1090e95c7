/* commands.c - the table of all commands. Parsing, help and the manual follow from it. */
#include "cli/commands.h"

#define CONFIG \
	{ \
		"config", "FILE", "region.conf of the node to ask (or $DOMICILE_CONFIG)" \
	}
#define JSON \
	{ \
		"json", NULL, "print JSON" \
	}

const struct command commands[] = {
	{
	    "serve",
	    "",
	    cmd_serve,
	    "run a node in the foreground",
	    "Logs to stderr; the line `ready` says that it serves and on which ports. SIGTERM and SIGINT\n"
	    "stop it once the requests that are inside have ended, SIGHUP reads regions.conf and the log\n"
	    "level again.",
	    {
	        { "config", "FILE", "its region.conf (or $DOMICILE_CONFIG)" },
	    },
	},
	{
	    "ca init",
	    "DIR",
	    cmd_ca_init,
	    "make the certificate authority and regions.conf that the regions share",
	    NULL,
	    {
	        { "name", "NAME", "common name of the CA (domicile CA)" },
	    },
	},
	{
	    "region init",
	    "DIR",
	    cmd_region_init,
	    "make a region's folder: keys, certificate, configuration",
	    "Writes region.key, sign.key, sign.pub, tls.key, tls.pem, ca.pem, region.conf and store/ into\n"
	    "DIR, and adds the region to CADIR/regions.conf. What is there already is never overwritten.\n"
	    "From the port base on, five ports are used: S3, peer, stream, metrics, plain S3. Those of a\n"
	    "region of the same host in that file are refused.",
	    {
	        { "region", "NAME", "its id, such as sg or cn-bj" },
	        { "jurisdiction", "CC", "the country it lies in, such as SG" },
	        { "standby-of", "NAME", "make a standby of this region instead" },
	        { "ca", "CADIR", "folder of `ca init`", true },
	        { "directory", NULL, "this node serves the directory" },
	        { "directory-at", "NAME=HOST:PORT", "peer address of the node that does" },
	        { "directory-only", NULL, "serve the directory and hold no accounts" },
	        { "host", "HOST",
	            "name or address that the other regions reach it by (127.0.0.1)" },
	        { "listen", "ADDRESS", "address to listen on (HOST if that is one, else 0.0.0.0)" },
	        { "port-base", "N", "the first of its five ports (7400)" },
	        { "s3-host", "HOST", "name that users reach it by (HOST)" },
	        { "s3-domain", "DOMAIN", "its buckets are also names below this one" },
	        { "s3-plain", NULL, "also S3 without TLS, on 127.0.0.1" },
	        { "days", "N", "how long the certificate is valid (825)" },
	    },
	},
	{
	    "region promote",
	    "",
	    cmd_region_promote,
	    "make a standby the region, when its node is lost",
	    "Run it where the standby is, with its process stopped and the region's region.key and sign.key in\n"
	    "place. The directory has to agree. The former node, if it is alive, has stopped serving when this\n"
	    "ends. If it is cut off, run it again.",
	    {
	        { "config", "FILE", "region.conf of the standby (or $DOMICILE_CONFIG)" },
	    },
	},
	{
	    "region status",
	    "",
	    cmd_region_status,
	    "what a node has open, and how far the other regions are",
	    NULL,
	    { CONFIG, JSON },
	},
	{
	    "region sample",
	    "ID",
	    cmd_region_sample,
	    "some sealed records of an account as they lie in this node's store, as JSON",
	    "For auditors: search the store's files for them after the account has moved away.",
	    { CONFIG, JSON },
	},
	{
	    "region rotate-key",
	    "",
	    cmd_region_rotate_key,
	    "make the region key anew and destroy the old one, while the node serves",
	    "Wraps every vault's key anew. Afterwards a copy of the store from before opens for nobody: make a\n"
	    "new backup of store and region.key. The node goes on if this is interrupted; `region status`\n"
	    "tells how far it is. With a standby it is refused until region.key.new was copied there, as its\n"
	    "region.key.",
	    { CONFIG, JSON },
	},
	{
	    "region scrub",
	    "",
	    cmd_region_scrub,
	    "read again all that a node keeps, and tell what is damaged",
	    "Without an option: how far the pass is that goes on by itself, when the last one ended, and what\n"
	    "is damaged now. Damages are told one a line: account, service, what, where, since, why. Interrupting\n"
	    "--now does not end the pass. Exits with 11 if anything is damaged.",
	    {
	        CONFIG,
	        { "now", NULL, "begin a pass over all accounts and watch it" },
	        { "account", "ID", "only this account, now" },
	        { "rate", "SIZE", "bytes a second at most (scrub_rate of region.conf)" },
	        { "list", NULL, "only what is damaged" },
	        { "stop", NULL, "end the pass that --now or --account began" },
	        JSON,
	    },
	},
	{
	    "region backup",
	    "FOLDER",
	    cmd_region_backup,
	    "write a backup of all that a node keeps into a folder, while it serves",
	    "FOLDER is on the node's machine, best on another disk: empty, or one of earlier backups, of which\n"
	    "only what has changed is written. No key is in it: keep region.key, sign.key and tls.key apart.\n"
	    "Interrupting the command does not end the backup. With --verify nothing is written: every\n"
	    "generation in FOLDER is read again, no node is needed, and damage makes it exit with 11.\n"
	    "It also exits with 11 when it is done and names what was damaged, or is missing, in the store.",
	    {
	        CONFIG,
	        { "keep", "N", "generations that stay in the folder (7)" },
	        { "verify", NULL, "only check what the folder has" },
	        JSON,
	    },
	},
	{
	    "region restore",
	    "FOLDER",
	    cmd_region_restore,
	    "put a backup back into the empty store of a node that is stopped",
	    "At its next start the node serves nothing before it has compared every account with the\n"
	    "directory: what has moved away or was removed since does not come back to life. See\n"
	    "`region reconciled` then. It exits with 11 when it is done and the backup names what was damaged\n"
	    "in the store already.",
	    {
	        { "config", "FILE", "region.conf of the node (or $DOMICILE_CONFIG)" },
	        { "generation", "N", "which of the folder's (the newest)" },
	        { "with-directory", NULL, "also the directory, where its file is lost too" },
	        { "incomplete", NULL,
	            "even if records are missing in it, or it is damaged itself" },
	        JSON,
	    },
	},
	{
	    "region reconcile",
	    "",
	    cmd_region_reconcile,
	    "have a stopped node compare its accounts with the directory at its next start",
	    "For a store whose files were put back in another way, such as a snapshot of its file system.",
	    {
	        { "config", "FILE", "region.conf of the node (or $DOMICILE_CONFIG)" },
	    },
	},
	{
	    "region reconciled",
	    "",
	    cmd_region_reconciled,
	    "what became of the accounts of a store that was put back; which are held or lost now",
	    NULL,
	    { CONFIG, JSON },
	},
	{
	    "directory status",
	    "",
	    cmd_directory_status,
	    "accounts by home and country, waves by state",
	    NULL,
	    { CONFIG, JSON },
	},
	{
	    "account create",
	    "",
	    cmd_account_create,
	    "make accounts in the region that policy picks",
	    "Prints account, region, access key and secret key, one account a line. The secret is shown\n"
	    "only now.",
	    {
	        CONFIG,
	        { "country", "CC", "where the person lives, such as IN", true },
	        { "grant", "LIST", "services granted: files,backup (none)" },
	        { "count", "N", "how many (1)" },
	        { "output", "FILE", "write into this new file instead, readable by you only" },
	        JSON,
	    },
	},
	{
	    "account list",
	    "",
	    cmd_account_list,
	    "accounts, where they live and from which country they are",
	    NULL,
	    {
	        CONFIG,
	        { "home", "REGION", "only those that live there" },
	        { "country", "CC", "only those of this country" },
	        JSON,
	    },
	},
	{
	    "account show",
	    "ID",
	    cmd_account_show,
	    "an account's placement, state and vaults, as JSON",
	    NULL,
	    { CONFIG, JSON },
	},
	{
	    "account consent",
	    "ID",
	    cmd_account_consent,
	    "what the account has agreed to, and when",
	    "The receipts that lie in its profile; --json has all of their fields, those of ISO/IEC TS 27560.",
	    { CONFIG, JSON },
	},
	{
	    "account quota",
	    "ID",
	    cmd_account_quota,
	    "what an account may keep: content and objects; sets it if something is given",
	    "Refuses what adds beyond it; what is there stays. What is not given stays as it is. It goes with the\n"
	    "account when it moves. A version that is kept, a delete marker and an upload under way count as\n"
	    "objects, the parts of unfinished uploads as content.",
	    {
	        CONFIG,
	        { "service", "NAME", "files or backup: only there (all together)" },
	        { "bytes", "SIZE", "content, such as 50GiB; `none`: as much as there is room for" },
	        { "objects", "N", "how many; `none`: any number" },
	        { "none", NULL, "no limits, whatever the region or the country has" },
	        { "default", NULL, "as the country's policy or the region says" },
	        JSON,
	    },
	},
	{
	    "account suspend",
	    "ID",
	    cmd_account_suspend,
	    "refuse every request of an account; its data stays",
	    NULL,
	    { CONFIG },
	},
	{
	    "account resume",
	    "ID",
	    cmd_account_resume,
	    "let a suspended account work again",
	    NULL,
	    { CONFIG },
	},
	{
	    "account accept",
	    "ID",
	    cmd_account_accept,
	    "serve an account that is held since its region's store was put back",
	    "Asked of a node of its region. It has what the copy had; what came later is lost.",
	    {
	        CONFIG,
	        { "yes", NULL, "confirm: the older copy is what it has from now on" },
	    },
	},
	{
	    "account remove",
	    "ID",
	    cmd_account_remove,
	    "erase an account with everything it has",
	    NULL,
	    {
	        CONFIG,
	        { "yes", NULL, "confirm: there is no way back" },
	    },
	},
	{
	    "account key create",
	    "ID",
	    cmd_account_key_create,
	    "make another access key for an account, which may be limited",
	    "Prints access key and secret key. The secret is shown only now. A key with a prefix lists only with\n"
	    "a prefix within it, and neither makes, removes nor changes buckets.",
	    {
	        CONFIG,
	        { "expires", "TIME", "2026-12-01T00:00Z or +90d (never)" },
	        { "read-only", NULL, "it reads and lists, and changes nothing" },
	        { "service", "LIST", "only files, or only backup" },
	        { "bucket", "NAME", "only this bucket" },
	        { "prefix", "TEXT", "and in it only keys that begin so" },
	        JSON,
	    },
	},
	{
	    "account key list",
	    "ID",
	    cmd_account_key_list,
	    "the access keys of an account and what they are limited to, without secrets",
	    "Names of buckets and prefixes are told by the nodes of the account's own region only.",
	    { CONFIG, JSON },
	},
	{
	    "account key revoke",
	    "ID KEY",
	    cmd_account_key_revoke,
	    "have an access key refused from now on, for good",
	    "Links that were signed with it end, too. Its id is never used again.",
	    { CONFIG },
	},
	{
	    "app key create",
	    "NAME",
	    cmd_app_key_create,
	    "grant a key with which an application acts for the accounts of this node's region",
	    "For accounts that live there and have granted the service. Prints key and secret, once. For further\n"
	    "regions give that line to --import at a node of each. The application names the account in the\n"
	    "header x-domicile-account, or as ACCOUNT.BUCKET.",
	    {
	        CONFIG,
	        { "services", "LIST", "files, backup or both", true },
	        { "expires", "TIME", "2026-12-01T00:00Z or +90d", true },
	        { "countries", "LIST", "only accounts of these: IN,ID (all)" },
	        { "read-only", NULL, "it reads and lists, and changes nothing" },
	        { "import", "FILE", "a key that another region has made, and its secret" },
	        JSON,
	    },
	},
	{
	    "app key list",
	    "",
	    cmd_app_key_list,
	    "the application keys of this node's region, without secrets",
	    NULL,
	    { CONFIG, JSON },
	},
	{
	    "app key revoke",
	    "KEY",
	    cmd_app_key_revoke,
	    "have an application key refused, here at once and in every other region",
	    "Prints what each region said. One that could not be reached asks by itself when it can.",
	    { CONFIG, JSON },
	},
	{
	    "app key remove",
	    "KEY",
	    cmd_app_key_remove,
	    "take an application key off this region's list",
	    "One that has expired, or was revoked 30 days ago. A region may have 1,000 keys on it.",
	    { CONFIG },
	},
	{
	    "wave plan",
	    "",
	    cmd_wave_plan,
	    "plan the move of many accounts; prints the wave's id",
	    "Without --countries and --accounts all that live in --from are meant. Nothing moves before\n"
	    "`wave run`.",
	    {
	        CONFIG,
	        { "from", "REGION", "where they live", true },
	        { "to", "REGION", "where they shall live", true },
	        { "countries", "LIST", "IN,ID: only these; '!CN': all but these" },
	        { "accounts", "FILE", "only these: an account id a line; - is stdin" },
	        { "deadline", "TIME", "2026-12-01T00:00Z or +2h; shown against the time left" },
	        { "rate", "SIZE", "bytes a second at most, such as 50MiB" },
	        { "accounts-per-second", "N", "accounts a second at most" },
	        { "streams", "N", "connections used at once" },
	        { "quiet", "HH:MM-HH:MM", "hours (UTC) in which nothing is begun" },
	        { "dry-run", NULL, "only tell how many, how much and how long" },
	        JSON,
	    },
	},
	{
	    "wave list",
	    "",
	    cmd_wave_list,
	    "all waves, the newest first",
	    NULL,
	    {
	        CONFIG,
	        { "from", "REGION", "only those that leave this region" },
	        JSON,
	    },
	},
	{
	    "wave run",
	    "ID",
	    cmd_wave_run,
	    "begin a planned wave",
	    NULL,
	    {
	        CONFIG,
	        { "watch", NULL, "and watch it until it ends" },
	        JSON,
	    },
	},
	{
	    "wave status",
	    "[ID]",
	    cmd_wave_status,
	    "how far a wave is (the newest one that runs)",
	    NULL,
	    { CONFIG, JSON },
	},
	{
	    "wave watch",
	    "ID",
	    cmd_wave_watch,
	    "draw a wave's progress until it ends",
	    "Exits with 0 if every account was moved, with 1 if some were not. Not on a terminal: a line\n"
	    "a second; with --json each is an object.",
	    { CONFIG, JSON },
	},
	{
	    "wave pause",
	    "ID",
	    cmd_wave_pause,
	    "begin no further account until `wave resume`",
	    NULL,
	    { CONFIG },
	},
	{ "wave resume", "ID", cmd_wave_resume, "go on with a paused wave", NULL, { CONFIG } },
	{
	    "wave cancel",
	    "ID",
	    cmd_wave_cancel,
	    "move no further account; those that moved stay where they are",
	    NULL,
	    { CONFIG },
	},
	{
	    "wave retry",
	    "ID",
	    cmd_wave_retry,
	    "try the failed and put-off accounts of a wave again",
	    NULL,
	    { CONFIG },
	},
	{
	    "wave items",
	    "ID",
	    cmd_wave_items,
	    "a wave's accounts, each with its state and reason",
	    NULL,
	    {
	        CONFIG,
	        { "states", "LIST",
	            "only these: waiting,moving,moved,erased,put-off,failed,cancelled" },
	        JSON,
	    },
	},
	{
	    "wave verify",
	    "ID",
	    cmd_wave_verify,
	    "read again all that a wave has moved and compare it with what was signed",
	    "Prints account, result and detail a line: same; changed (written to since, intact); left\n"
	    "(lives elsewhere by now); bad; unknown (could not be verified). Exits with 1 if any is bad\n"
	    "or unknown.",
	    { CONFIG, JSON },
	},
	{
	    "certificate",
	    "ID",
	    cmd_certificate,
	    "the proof of an account's move, as a JSON file to hand out",
	    NULL,
	    {
	        CONFIG,
	        { "epoch", "N", "of the move to this epoch (the last)" },
	        { "output", "FILE", "write there instead of stdout" },
	    },
	},
	{
	    "trust",
	    "DIR",
	    cmd_trust,
	    "write every region's public key into a folder, for `verify --trust`",
	    NULL,
	    {
	        CONFIG,
	        { "regions", "FILE", "regions.conf to take them from, instead of the config's" },
	    },
	},
	{
	    "verify",
	    "FILE",
	    cmd_verify,
	    "check a certificate offline, with the regions' public keys alone",
	    NULL,
	    {
	        { "trust", "DIR", "folder of <region>.pub files; see `domicile trust`", true },
	        JSON,
	    },
	},
	{ 0 },
};
