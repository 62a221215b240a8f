/* adapter_json: the keys of an adapter_config.json, one table for reading and writing. */
#ifndef PEFT_PEFT_ADAPTER_JSON_H
#define PEFT_PEFT_ADAPTER_JSON_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include "libcommon/base/err.h"

enum json_kind {
    KEY_INT,     /* int64_t in [lo, hi] */
    KEY_REAL,    /* double in [lo, hi] */
    KEY_WHOLE,   /* double, written as an integer when it is one (PEFT's type is int) */
    KEY_BOOL,    /* bool */
    KEY_MARK,    /* bool: written where it is true alone, a key of ours that others do not know */
    KEY_ENUM,    /* int: index into choices */
    KEY_STR,     /* char * or NULL */
    KEY_TARGETS, /* struct strlist: written as the list of names that it matches, or as one expression */
    KEY_EXCLUDE, /* struct strlist of names, or one expression; none: not written, as older readers have no such key */
    KEY_LIST,    /* struct strlist as it is */
    KEY_NAMES,   /* struct strlist: a name or a list of them, none is null */
    KEY_LAYERS,  /* struct strlist of layers (match_layers): a number or a list of them, none is null */
    KEY_MAP,     /* struct strlist of "name=number", in the order of the file, each in [lo, hi] */
    KEY_NEUTRAL, /* written as `text`; another value changes the arithmetic and is refused by name */
    KEY_ACCEPT,  /* written as `text`; of strings one of choices is read too, all else is refused by name */
    KEY_INFO,    /* written as `text` if it has one; any value is read and changes nothing here */
};
struct json_key {
    const char *name;
    enum json_kind kind;
    size_t off; /* within the method's options struct, or struct adapter_opts if shared */
    bool shared;
    const char *text;    /* values: the default of an absent key, NULL: it must be there; others: see kind */
    const char *choices; /* KEY_ENUM, KEY_ACCEPT: separated by | */
    double lo, hi;
};

/* Which modules are adapted, as all methods of PEFT that adapt modules have it; and those that can also be told layers.
 * Where the latter are missing, target_modules are written as the paths of what is chosen. */
#define ADAPTER_KEYS_TARGETS                                                                                   \
    {"target_modules", KEY_TARGETS, offsetof(struct adapter_opts, target), .shared = true},                    \
    {                                                                                                          \
        "exclude_modules", KEY_EXCLUDE, offsetof(struct adapter_opts, exclude), .shared = true, .text = "null" \
    }
#define ADAPTER_KEYS_LAYERS                                                                                        \
    {"layers_to_transform", KEY_LAYERS, offsetof(struct adapter_opts, layers), .shared = true, .text = "null"},    \
    {                                                                                                              \
        "layers_pattern", KEY_NAMES, offsetof(struct adapter_opts, layers_pattern), .shared = true, .text = "null" \
    }

/* Keys of all of PEFT's methods that change nothing here. */
#define ADAPTER_KEYS_INFO                                              \
    {.name = "auto_mapping", .kind = KEY_INFO, .text = "null"},        \
        {.name = "revision", .kind = KEY_INFO, .text = "null"},        \
    {                                                                  \
        .name = "task_type", .kind = KEY_INFO, .text = "\"CAUSAL_LM\"" \
    }

struct adapter;
struct model;
/* Values of all keys of the table into out. m NULL: targets are names. */
int adapter_json_write(const struct adapter *a, const struct json_key *keys, const struct model *m, json_t *out,
                       struct err *e);
/* From in; strings become the adapter's. common: keys that the format has whatever the method, ended by NULL.
 * E_ADAPTER: a value is out of range; E_VERSION: a key, known or not, says something that is not computed. */
int adapter_json_read(struct adapter *a, const struct json_key *keys, const char *const *common, const struct model *m,
                      const json_t *in, struct err *e);
#endif
