/* conf.h - the configuration file: `word = value` lines under `[section]` or `[section name]`.
 *
 * A '#' begins a comment where a word could begin or after blank space. Values are taken as they
 * stand, trimmed. A word may repeat (a list). The file has at most 1 MiB. Every error names file
 * and line. What was never asked for is an error too (conf_check_unused), so that a misspelt word
 * is not silently without effect.
 */
#pragma once
#include "base/err.h"
#include "base/cleanup.h"

struct conf;

/* Read the file at PATH, or TEXT, which errors call SHOWN_NAME. NULL: ERR_BAD (a line, a NUL in a
 * file), ERR_TOO_BIG, ERR_MEMORY, or what fs_read says. conf_free wipes the values; NULL is fine.
 * For one thread at a time: asking is noted. */
must_check
struct conf *conf_load(const char *path, struct err *e);
must_check
struct conf *conf_parse(const char *text, const char *shown_name, struct err *e);
void conf_free(struct conf *c);
CLEANUP(struct conf, conf_free)

/* The value of WORD in SECTION ("" before the first section; "peer sg" for [peer sg]), or NULL.
 * Borrowed from C. The last one wins if it repeats. */
const char *conf_get(struct conf *c, const char *section, const char *word);
/* The same, but ERR_BAD naming file and section if it is not there. */
must_check
int conf_need(
    struct conf *c, const char *section, const char *word, const char **out, struct err *e);
/* The N-th value of a repeated word, or NULL past the last. */
const char *conf_get_nth(struct conf *c, const char *section, const char *word, size_t n);
/* Numbers: a count has no unit, a size may have KiB MiB GiB, a time has to have ms s m h d (result in
 * ms) unless it is 0. ERR_BAD outside [MIN, MAX]. Absent: *OUT is FALLBACK. */
must_check
int conf_count(struct conf *c, const char *section, const char *word, uint64_t fallback,
    uint64_t min, uint64_t max, uint64_t *out, struct err *e);
must_check
int conf_size(struct conf *c, const char *section, const char *word, uint64_t fallback,
    uint64_t min, uint64_t max, uint64_t *out, struct err *e);
must_check
int conf_ms(struct conf *c, const char *section, const char *word, uint64_t fallback, uint64_t min,
    uint64_t max, uint64_t *out, struct err *e);
/* yes/no/on/off/true/false, else ERR_BAD. Absent: FALLBACK. */
must_check
int conf_bool(
    struct conf *c, const char *section, const char *word, bool fallback, bool *out, struct err *e);
/* HOST:PORT as it stands, borrowed from C, or NULL if it is absent. ERR_BAD: it is none. */
must_check
int conf_endpoint(
    struct conf *c, const char *section, const char *word, const char **out, struct err *e);
/* Whether AT is HOST:PORT with a port up to 65535; the host is whoever looks it up's to judge. */
bool endpoint_valid(const char *at);
/* ERR_BAD: "file:line: word = value: FORMAT", for a value that only its reader can judge; without line
 * and value if there is no such WORD, so that it may also be a "[section]". Returns -1. */
int conf_refuse(struct conf *c, const char *section, const char *word, struct err *e,
    const char *format, ...) printf_like(5, 6);
/* The N-th section whose first word is KIND ("peer"): its name ("sg"), or NULL past the last. */
const char *conf_section(struct conf *c, const char *kind, size_t n);
/* ERR_BAD naming the first line whose word nobody asked for. */
must_check
int conf_check_unused(const struct conf *c, struct err *e);
