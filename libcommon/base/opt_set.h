/* opt_set: the state behind opt.h, shared by its files (opt.c, opt_value.c, opt_yaml.c, opt_print.c, opt_help.c) and
 * the tests of the configuration reader. Others use opt.h. */
#ifndef PEFT_BASE_OPT_SET_H
#define PEFT_BASE_OPT_SET_H
#include "libcommon/base/mem.h"
#include "libcommon/base/opt.h"

struct opt_row {
    const struct opt *o;
    /* how a config names it: the first of o->key, else section.snake_case(name); NULL: command line only */
    char *path;
    void *dest; /* its value in the options struct; NULL for --config, --set, --help, --version */
    enum opt_source src;
    int line; /* of the config file being read, that set it; 0: none */
};

struct opt_set {
    const char *tool;
    struct opt_row *rows;
    int n;
    struct opt_set_block {
        const struct opt *rows;
        void *p;
    } * block; /* of the groups with one; n_block */
    int n_block;
    void **owned; /* strings and lists that values point to */
    size_t n_owned, cap_owned;
    struct buf notes;   /* keys of the config without effect: "key: value\1why\n" each */
    struct buf text[8]; /* results of opt_text, in turn */
    unsigned next_text;
};

extern const struct opt opt_control_rows[]; /* --config, --set, --help, --version */

/* All rows with their defaults; opts is zeroed first by the caller. */
struct opt_set *opt_set_new(const char *tool, const struct opt_group *groups, void *opts);
void *opt_set_own(struct opt_set *s, void *p);
struct opt_row *opt_row_named(const struct opt_set *s, const char *name);
/* The row that a config path binds to ("peft.lora.r", "training.lr"), or NULL. */
struct opt_row *opt_row_at(const struct opt_set *s, const char *path);
/* "training.learning_rate" for the k-th spelling of a row's path, malloc'ed; NULL after the last. */
char *opt_path(const struct opt *o, int k);

/* A config key that this tool does not bind: another tool's, or one that is accepted without effect. */
struct config_key {
    const char *path, *tools, *option, *note;
};
extern const struct config_key opt_config_keys[]; /* ended by path == NULL */
const struct config_key *opt_config_key(const char *path);
/* Is path in a method's map, such as "peft.lora.r", and this tool none that has methods? Then it is another
 * tool's to check: a method brings its keys with its options, and no table repeats them. */
bool opt_key_of_method(const struct opt_set *s, const char *path);
bool opt_key_owned(const struct config_key *k, const char *tool);

/* Value from text, stored unless a stronger source has spoken. false: *why says "found ..., expected ...". */
bool opt_value_set(struct opt_set *s, struct opt_row *r, const char *text, size_t n, enum opt_source src,
                   struct buf *why);
/* The same for an OPT_LIST or OPT_MAP whose elements are known; they are copied. */
bool opt_value_set_list(struct opt_set *s, struct opt_row *r, const struct strlist *l, enum opt_source src,
                        struct buf *why);
void opt_value_text(const struct opt_row *r, struct buf *b); /* adds the value as text; nothing when unset */
bool opt_value_is_set(const struct opt_row *r);              /* false: a string or list without value, or a
                                                                number that nobody gave and whose range excludes the 0 it holds */
void opt_value_expected(const struct opt *o, struct buf *b); /* adds "an integer from 1 to 64" */

/* Bind the text of a config file; name stands in messages. Every mistake becomes a line of one E_CONFIG error. */
int opt_config_text(struct opt_set *s, const char *name, const char *text, size_t n, struct err *e);
int opt_config_file(struct opt_set *s, const char *path, struct err *e);
/* What is ours for a key or an option of another trainer (foreign_names.def), or for a key of ours given as an option:
 * added to *answer; false: it is unknown there too. */
bool opt_foreign_key(const char *path, struct buf *answer);
bool opt_foreign_option(const struct opt_set *s, const char *name, struct buf *answer);
const char *opt_leaf(const char *path); /* its last part */
/* Path or key nearest to an unknown path, or NULL; borrowed until the next call. */
const char *opt_nearest_path(const struct opt_set *s, const char *path);
#endif
