/* opt: one row per option. From the table come the getopt_long arrays, --help, the binding of config.yaml, --set, the
 * PEFT_* environment, did-you-mean, the resolved set in the provenance, and the check of the manual page.
 *
 * Precedence, weakest first: default < config file < --set < environment (PEFT_LORA_R) < command line.
 * Every value passes through the same text parser, so a value means the same wherever it is given. */
#ifndef PEFT_BASE_OPT_H
#define PEFT_BASE_OPT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "libcommon/base/err.h"

enum opt_type {
    OPT_FLAG,  /* bool; long option without argument; config true/false */
    OPT_BOOL,  /* bool; yes|no as argument, true/false in config */
    OPT_INT,   /* int64_t in [lo, hi] */
    OPT_FLOAT, /* double in [lo, hi] */
    OPT_STR,   /* char *, NULL when unset */
    OPT_ENUM,  /* int: index into choices */
    OPT_LIST,  /* struct strlist: comma separated as argument, sequence or scalar in config */
    OPT_MAP,   /* struct strlist of "name=number": comma separated as argument, map or list of such texts in config */
};

struct strlist {
    int n;
    char **v;
};

struct opt {
    const char *name; /* long option, "lora-r"; its config key is the snake_case spelling */
    int ch;           /* short option or 0 */
    enum opt_type type;
    size_t off;          /* offset of the value in the options struct */
    const char *section; /* config map that it belongs to, "peft.lora", "" for the top; NULL: command line only.
                            "runtime" is for what cannot change a result (threads): not in the digest */
    const char *key;     /* other config spelling, full path ("peft.lora.r"), or NULL; several separated by spaces */
    const char *arg;     /* argument's name in --help and the manual */
    const char *def;     /* default as text, or NULL for unset/0 */
    const char *choices; /* OPT_ENUM: "linear|cosine|constant" */
    double lo, hi;       /* range of OPT_INT and OPT_FLOAT, inclusive; both 0: any */
    const char *help;    /* one line, no full stop */
    const char *bare; /* not NULL: the argument may be left out and then is this ("5" for --show[=N]). An OPT_INT also
                         takes the next word when that is an integer: --show 3 */
    bool file;        /* names a file or directory: what is written says its last part alone */
    bool free;        /* may change on --resume: decides no result, or what it stands for is compared by itself */
};
/* A row for the member `field` of struct `of`; what else it has follows by name: .arg = "N", .lo = 1, ... */
#define OPT(of, field, opt_name, opt_type, opt_section, ...)                                                \
    {                                                                                                       \
        .name = opt_name, .type = opt_type, .off = offsetof(of, field), .section = opt_section, __VA_ARGS__ \
    }
#define OPT_END      \
    {                \
        .name = NULL \
    }

/* A group of rows. Offsets count from `base` within the tool's options struct; or, where `block` is not 0, within a
 * block of that many bytes that the set allocates for the group, zeroed: a registry entry (a method, an optimizer, a
 * sink) brings its own rows and struct this way, and asks for it by opt_block. */
struct opt_group {
    const struct opt *rows;
    size_t base;
    size_t block;
};

/* Options that all six tools have; the first member of every tool's options struct. Rows: opt_common_rows. */
struct opt_common {
    char *output;      /* -o OUT, NULL: stdout */
    bool force;        /* -f */
    bool quiet;        /* -q */
    bool verbose;      /* -v */
    bool dry_run;      /* -n */
    bool print_config; /* --print-config: resolved options as YAML on stdout, then exit 0 */
    char *get;         /* --get KEY: one of them, as text, then exit 0 */
    bool json;         /* --json */
    int errors;        /* --errors text|json, enum opt_errors */
    int64_t seed;      /* --seed, default 42 */
    int64_t threads;   /* --threads, 0: one per physical core */
};
enum opt_errors { ERRORS_TEXT, ERRORS_JSON };
extern const struct opt opt_common_rows[];

/* Where a value came from. */
enum opt_source { OPT_FROM_DEFAULT, OPT_FROM_CONFIG, OPT_FROM_SET, OPT_FROM_ENV, OPT_FROM_ARGV };

/* The parser's state: strings live as long as the set. */
struct opt_set;

/* Parse argv into opts (zeroed by the caller, its first member a struct opt_common). groups: array ended by rows ==
 * NULL. Operands are left in *operands (borrowed from argv, in order; "-" kept). -h and -V are not handled here:
 * tool_main does. All errors of a config file are collected into one message (one line each) before anything else is
 * done. Errors: E_USAGE, E_CONFIG, E_NOINPUT (config file). */
struct opt_set *opt_parse(const char *tool, const struct opt_group *groups, void *opts, int argc, char **argv,
                          struct strlist *operands, struct err *e);
void opt_set_free(struct opt_set *s);
/* The struct of the group with these rows that has a block of its own, parsed; NULL: there is no such group. */
void *opt_block(const struct opt_set *s, const struct opt *rows);
/* What argv asks for before all else: 'h' (--help), 'V' (--version) or 0; *json: --errors json. Ignores mistakes. */
int opt_wants(const struct opt_group *groups, int argc, char **argv, bool *json);
/* Notes on config keys that were accepted and have no effect in this tool; call once msg_init has run. */
void opt_notes(const struct opt_set *s);
/* The option that a word of argv gives, NULL: none; *arg is its argument if that is in the same word, else NULL. */
const struct opt *opt_of_word(const struct opt_set *s, const char *word, const char **arg);
/* The option other than `but` that names this file, NULL: none. */
const struct opt *opt_of_file(const struct opt_set *s, const char *path, const char *but);
bool opt_key_is_file(const struct opt_set *s, const char *key,
                     size_t n); /* does the key of a configuration name a file? */
enum opt_source opt_given(const struct opt_set *s, const char *name);
/* The value as text, as it would be given on the command line; NULL when unset. Borrowed from a static buffer per call.
 */
const char *opt_text(const struct opt_set *s, const char *name);
/* Resolved options as YAML, each under its section, comments with their help; readable again with -c. record: as a run
 * keeps them, without section "runtime", which does not decide the result, and files as path_spelled has them. */
int opt_print_yaml(const struct opt_set *s, FILE *f, bool record); /* 0, or -E_ENCODING when a value is not UTF-8 */
/* Each option that decides the result: its key and value, NULL when unset; files are not among them. */
typedef void opt_visit(void *ctx, const char *key, enum opt_type type, const char *text);
void opt_each(const struct opt_set *s, opt_visit *visit, void *ctx);
/* The value of one key as a line of text: E_USAGE (no such key, or another tool's), E_CONFIG (it has no value). */
int opt_print_value(const struct opt_set *s, const char *key, FILE *f, struct err *e);
/* Resolved options (only those in a config section), as "name=value" lines sorted by name, files by their last part:
 * input of the config digest. */
int opt_digest(const struct opt_set *s, unsigned char sha256[32]);
/* A config names a row by section.snake_case(name) or by one of the row's keys; a sequence of maps counts as one map
 * (callbacks.early_stopping.patience). null, ~ and nothing leave a row as it is.
 * Keys of the config file that no row of this tool binds but another tool's does ("training.learning_rate" for
 * peft-tok) are no error: the whole file describes the run. libcommon/base/config_keys.def lists every key of the six
 * tools with the tool that binds it; tests/lint checks it against the tables. */

/* --help text from the rows. */
void opt_help(FILE *f, const struct opt_group *groups);
#endif
