/* cli.h - the command line: one table (commands.c) gives parsing, usage, help and dispatch.
 *
 * stdout is data, stderr is talk. The exit code is that of the error's kind (err_exit), or what the
 * command itself returned. Options are `--name value`, `--name=value` or `--flag`, anywhere after
 * the command's words; `--` ends them.
 */
#pragma once
#include "base/buf.h"
#include "base/cleanup.h"

#define OPTIONS_MAX  20
#define OPERANDS_MAX 2

struct option {
	const char *name;  /* without the dashes */
	const char *value; /* what it takes, for help: "REGION"; NULL: a flag */
	const char *help;
	bool is_needed;
};

struct args;
/* 0 or a positive exit code; -1 with *E. */
typedef int command_fn(const struct args *a, struct err *e);

struct command {
	const char *words;    /* "wave plan" */
	const char *operands; /* "ID"; "[ID]" may be left out; "" */
	command_fn *run;
	const char *summary;                /* one line */
	const char *text;                   /* more for its own help; NULL */
	struct option options[OPTIONS_MAX]; /* up to the first without a name */
};

/* Ends with an entry without words; in the order that help shows. */
extern const struct command commands[];

struct args {
	const struct command *command;
	const char *values[OPTIONS_MAX]; /* as in command->options; a flag is "" when given */
	const char *operands[OPERANDS_MAX];
	unsigned n_operands;
};

/* What to do with a command line: a command to run, or text to show (then COMMAND is NULL and OUT
 * has it). ERR_USAGE names what is wrong and the way out. ARGV is borrowed by ARGS. */
must_check
int cli_parse(int argc, const char *const *argv, struct args *args, struct buf *out, struct err *e);
/* The help of the command WORDS, of all that begin with them, or of everything ("").
 * ERR_USAGE: there is none. */
must_check
int cli_help(const char *words, struct buf *out, struct err *e);
/* Parse, run, print the error. Returns the exit code. */
int cli_main(int argc, char **argv);

/* --- values of a parsed command; args.c. Errors are ERR_USAGE and name the option. --- */

/* NULL if it was not given. Asserts that the command has an option NAME. */
const char *arg_text(const struct args *a, const char *name);
bool arg_flag(const struct args *a, const char *name);
/* The N-th operand, or NULL. */
const char *arg_operand(const struct args *a, unsigned n);
must_check
int arg_u64(const struct args *a, const char *name, uint64_t fallback, uint64_t min, uint64_t max,
    uint64_t *out, struct err *e);
/* "50MiB", "512 KiB", "1.5GiB", "1000": bytes. */
must_check
int arg_size(
    const struct args *a, const char *name, uint64_t fallback, uint64_t *out, struct err *e);
/* "2026-12-01T00:00Z" (seconds may follow) or "+2h", "+90m", "+3d": wall clock ms; 0 if absent. */
must_check
int arg_instant(
    const struct args *a, const char *name, uint64_t now_ms, uint64_t *out, struct err *e);
/* "08:00-20:00": minutes of the day, UTC; -1 and -1 if absent. */
must_check
int arg_hours(const struct args *a, const char *name, int *from, int *to, struct err *e);

/* The same of a text; false if it is not one. */
bool value_size(const char *text, uint64_t *out);
bool value_duration_ms(const char *text, uint64_t *out);
bool value_instant_ms(const char *text, uint64_t now_ms, uint64_t *out);
bool value_hours(const char *text, int *from, int *to);
