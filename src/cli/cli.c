/* cli.c - parsing, help and dispatch over the table in commands.c. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#define WORDS_MAX 100 /* longer than any command's words; what is longer is no command */

/* --- finding commands --- */

/* Whether WORDS begins with PREFIX at a word's end. */
static bool
begins_with(const char *words, const char *prefix)
{
	size_t n = strlen(prefix);

	return !n || (strncmp(words, prefix, n) == 0 && (words[n] == ' ' || !words[n]));
}

static const struct command *
find_exact(const char *words)
{
	for (const struct command *c = commands; c->words; c++)
		if (strcmp(c->words, words) == 0)
			return c;
	return NULL;
}

static bool
is_group(const char *words)
{
	for (const struct command *c = commands; c->words; c++)
		if (begins_with(c->words, words))
			return true;
	return false;
}

/* Take words off ARGV as long as they lead towards a command; *N how many. WORDS gets them. */
static const struct command *
find_command(int argc, const char *const *argv, char words[static WORDS_MAX], int *n)
{
	const struct command *found = NULL;
	char tried[WORDS_MAX] = "";

	*words = 0;
	*n = 0;
	for (int i = 0; i < argc && argv[i][0] != '-'; i++) {
		size_t used = strlen(tried);

		if (used + strlen(argv[i]) + 2 > sizeof(tried))
			break;
		snprintf(tried + used, sizeof(tried) - used, "%s%s", used ? " " : "", argv[i]);
		if (!is_group(tried))
			break;
		strcpy(words, tried);
		*n = i + 1;
		found = find_exact(words);
	}
	return found;
}

/* --- help --- */

static void
add_option_usage(struct buf *out, const struct option *o)
{
	buf_printf(out, " %s--%s%s%s%s", o->is_needed ? "" : "[", o->name, o->value ? " " : "",
	    o->value ? o->value : "", o->is_needed ? "" : "]");
}

/* Lines of at most 90 columns, the later ones indented; what is needed comes first. */
static void
add_usage(struct buf *out, const struct command *c)
{
	size_t line = out->len;

	buf_printf(out, "usage: domicile %s%s%s", c->words, *c->operands ? " " : "", c->operands);
	for (int needed = 1; needed >= 0; needed--) {
		for (const struct option *o = c->options; o->name; o++) {
			size_t wanted = strlen(o->name) + (o->value ? strlen(o->value) + 1 : 0) + 5;

			if (o->is_needed != (needed == 1))
				continue;
			if (out->len - line + wanted > 90) {
				line = out->len;
				buf_add_str(out, "\n          ");
			}
			add_option_usage(out, o);
		}
	}
	buf_add_char(out, '\n');
}

static void
add_command_help(struct buf *out, const struct command *c)
{
	add_usage(out, c);
	buf_printf(out, "\n%s.\n", c->summary);
	if (c->text)
		buf_printf(out, "\n%s\n", c->text);
	if (c->options[0].name)
		buf_add_char(out, '\n');
	for (const struct option *o = c->options; o->name; o++) {
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s", o->name, o->value ? " " : "",
		    o->value ? o->value : "");
		buf_printf(out, "  %-30s %s\n", left, o->help);
	}
}

static void
add_list(struct buf *out, const char *words)
{
	for (const struct command *c = commands; c->words; c++) {
		char left[WORDS_MAX];

		if (!begins_with(c->words, words))
			continue;
		snprintf(
		    left, sizeof(left), "%s%s%s", c->words, *c->operands ? " " : "", c->operands);
		buf_printf(out, "  %-30s %s\n", left, c->summary);
	}
}

int
cli_help(const char *words, struct buf *out, struct err *e)
{
	const struct command *c = find_exact(words);

	if (c) {
		add_command_help(out, c);
		return 0;
	}
	if (!is_group(words))
		return err_set(
		    e, ERR_USAGE, "there is no command '%.60s'; see: domicile --help", words);
	if (!*words)
		buf_add_str(out,
		    "Keeps every account's data in the region where it belongs, and moves it while it is "
		    "in use.\n\n");
	buf_printf(out, "usage: domicile %s%sCOMMAND ...\n\n", words, *words ? " " : "");
	add_list(out, words);
	buf_add_str(out,
	    "\n`domicile COMMAND --help` tells all of a command. Those that talk to a running node find\n"
	    "it through --config FILE or $DOMICILE_CONFIG (its region.conf). Exit codes, and what to do\n"
	    "when something is wrong: docs/operating.md.\n");
	return 0;
}

/* --- parsing --- */

static int
unknown_option(const struct command *c, const char *given, struct err *e)
{
	return err_set(
	    e, ERR_USAGE, "unknown option %.60s; see: domicile %s --help", given, c->words);
}

/* argv[*I] is an option; its value may be the next argument. */
static int
take_option(struct args *a, int argc, const char *const *argv, int *i, struct err *e)
{
	const char *given = argv[*i], *name = given + 2, *equals = strchr(name, '=');
	size_t n = equals ? (size_t)(equals - name) : strlen(name);
	const struct option *o = a->command->options;
	const char **value;

	while (o->name && (strlen(o->name) != n || memcmp(o->name, name, n) != 0))
		o++;
	if (!o->name || given[1] != '-')
		return unknown_option(a->command, given, e);
	value = &a->values[o - a->command->options];
	if (*value)
		return err_set(e, ERR_USAGE, "--%s is there twice", o->name);
	if (!o->value && equals)
		return err_set(e, ERR_USAGE, "--%s takes no value", o->name);
	if (!o->value)
		*value = "";
	else if (equals)
		*value = equals + 1;
	else if (*i + 1 < argc)
		*value = argv[++*i];
	if (!*value)
		return err_set(e, ERR_USAGE, "--%s needs %s; see: domicile %s --help", o->name,
		    o->value, a->command->words);
	return 0;
}

static int
take_operand(struct args *a, const char *given, struct err *e)
{
	unsigned most = *a->command->operands ? 1 : 0;

	for (const char *at = a->command->operands; *at; at++)
		most += *at == ' ';
	if (a->n_operands >= most)
		return err_set(e, ERR_USAGE, "'%.60s' is too much; see: domicile %s --help", given,
		    a->command->words);
	a->operands[a->n_operands++] = given;
	return 0;
}

static int
check_complete(const struct args *a, struct err *e)
{
	const struct command *c = a->command;

	const char *missing = c->operands;

	for (unsigned i = 0; i < a->n_operands; i++)
		missing += strcspn(missing, " ") + (missing[strcspn(missing, " ")] != '\0');
	if (*missing && *missing != '[')
		return err_set(
		    e, ERR_USAGE, "%s is missing; see: domicile %s --help", missing, c->words);
	for (unsigned i = 0; i < OPTIONS_MAX && c->options[i].name; i++)
		if (c->options[i].is_needed && !a->values[i])
			return err_set(e, ERR_USAGE, "--%s %s is missing; see: domicile %s --help",
			    c->options[i].name, c->options[i].value, c->words);
	return 0;
}

static bool
is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static bool
asks_for_help(int argc, const char *const *argv)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (is_help(argv[i]))
			return true;
	return false;
}

static int
no_command(int argc, const char *const *argv, const char *words, int used, struct err *e)
{
	const char *space = *words ? " " : "";

	if (used < argc && argv[used][0] == '-')
		return err_set(e, ERR_USAGE,
		    "%.60s comes after the command; see: domicile %s%s--help", argv[used], words,
		    space);
	if (used < argc)
		return err_set(e, ERR_USAGE,
		    "there is no command '%s%s%.60s'; see: domicile %s%s--help", words, space,
		    argv[used], words, space);
	return err_set(e, ERR_USAGE, "which command? see: domicile %s%s--help", words, space);
}

int
cli_parse(int argc, const char *const *argv, struct args *args, struct buf *out, struct err *e)
{
	char words[WORDS_MAX];
	bool operands_only = false;
	int used;

	*args = (struct args){ 0 };
	argc--, argv++;
	if (argc && strcmp(argv[0], "--version") == 0) {
		buf_add_str(out, "domicile " DOMICILE_VERSION "\n");
		return 0;
	}
	if (argc && strcmp(argv[0], "help") == 0) {
		find_command(argc - 1, argv + 1, words, &used);
		if (used < argc - 1)
			return no_command(argc - 1, argv + 1, words, used, e);
		return cli_help(words, out, e);
	}
	args->command = find_command(argc, argv, words, &used);
	if (asks_for_help(argc - used, argv + used)) {
		args->command = NULL;
		return cli_help(words, out, e);
	}
	if (!args->command)
		return no_command(argc, argv, words, used, e);
	for (int i = used; i < argc; i++) {
		int rc;

		if (!operands_only && strcmp(argv[i], "--") == 0) {
			operands_only = true;
			continue;
		}
		/* A lone '-' is a file name. */
		if (!operands_only && argv[i][0] == '-' && argv[i][1])
			rc = take_option(args, argc, argv, &i, e);
		else
			rc = take_operand(args, argv[i], e);
		if (rc < 0)
			return -1;
	}
	return check_complete(args, e);
}

int
cli_main(int argc, char **argv)
{
	_cleanup_buf_ struct buf out = BUF_INIT(1 << 20);
	struct err e = { 0 };
	struct args args;
	int rc = cli_parse(argc, (const char *const *)argv, &args, &out, &e);

	if (rc == 0 && args.command)
		rc = args.command->run(&args, &e);
	else if (rc == 0)
		fputs(buf_str(&out), stdout);
	/* A full disk or a closed pipe must not look like success. */
	if (rc == 0 && (fflush(stdout) != 0 || ferror(stdout)))
		rc = err_errno(&e, errno, "standard output");
	if (rc >= 0)
		return rc;
	fprintf(stderr, "domicile: %s\n", e.text);
	return err_exit(e.kind);
}
