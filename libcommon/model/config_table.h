/* config_table: the keys of a model file's configuration. Each format has a table (config_hf.c, config_gguf.c) that
 * says of every key it knows what becomes of it: read, required to have the value that changes nothing, or ignored,
 * with the reason. A key of no table is refused by name: it may change the arithmetic. Both formats read into one
 * struct config_raw, and config_finish makes a struct model_config of it, so that what may be computed is decided once.
 */
#ifndef PEFT_MODEL_CONFIG_TABLE_H
#define PEFT_MODEL_CONFIG_TABLE_H
#include <stddef.h>
#include "libcommon/base/mem.h"
#include "libcommon/model/model.h"

/* What a file says, before anything is made of it. NAN and "": the file does not say. */
struct config_raw {
    double C, L, H, K, D, Dv, F, V, max_pos; /* as in struct model_config; Dv: width of a head's values */
    double norm_eps, rope_theta, rope_dims;  /* rope_dims: how much of a head is rotated */
    double factor, low_freq_factor, high_freq_factor, original_max_pos;
    double original_outside; /* original_max_position_embeddings beside rope_scaling, not in it */
    double attention_factor, beta_fast, beta_slow, mscale, mscale_all_dim, truncate, ext_factor;
    double attn_scale;                       /* what scores are multiplied by */
    double window, use_window, window_layer; /* sliding attention: its width, whether, from which layer on */
    double attention_bias, mlp_bias, tied;   /* 0 or 1 */
    char rope_type[24];                      /* from here on: no numbers that NAN may stand for */
    bool transformers5;                      /* the scaling stands in rope_parameters */
    int n_short, n_long;                     /* values of longrope's lists */
    float short_factor[ROPE_HALF_MAX], long_factor[ROPE_HALF_MAX];
};

enum row_kind {
    ROW_NUMBER,  /* into the double at off */
    ROW_FLAG,    /* the same, of true and false */
    ROW_TEXT,    /* into the string at off; arg: the values that are computed, space separated */
    ROW_HANDLED, /* read by code of its own, which says so */
    ROW_NEUTRAL, /* has to be absent, say nothing, or have one of the values of arg: the others are not computed */
    ROW_IGNORED  /* arg: why it does not matter */
};
struct config_row {
    const char *key; /* a '*' at the end stands for any rest */
    enum row_kind kind;
    size_t off;
    const char *arg;
    const char *only; /* the families that the row is for, space separated; NULL: all */
};
#define NUMBER(key, field)                                              \
    {                                                                   \
        key, ROW_NUMBER, offsetof(struct config_raw, field), NULL, NULL \
    }
#define FLAG(key, field)                                              \
    {                                                                 \
        key, ROW_FLAG, offsetof(struct config_raw, field), NULL, NULL \
    }
#define TEXT(key, field, arg)                                        \
    {                                                                \
        key, ROW_TEXT, offsetof(struct config_raw, field), arg, NULL \
    }
#define HANDLED(key, by)              \
    {                                 \
        key, ROW_HANDLED, 0, by, NULL \
    }
#define NEUTRAL(key, values)              \
    {                                     \
        key, ROW_NEUTRAL, 0, values, NULL \
    }
#define IGNORED(key, reason)              \
    {                                     \
        key, ROW_IGNORED, 0, reason, NULL \
    }

/* A value of either format. */
struct config_value {
    /* NOTHING: null; EMPTY: "", [], {}, which say nothing but where a value of another type is read */
    enum { VALUE_NOTHING, VALUE_EMPTY, VALUE_BOOL, VALUE_NUMBER, VALUE_TEXT, VALUE_OTHER } kind;
    double number;   /* of a bool: 0 or 1 */
    struct str text; /* of a text; OTHER: what it is, for messages */
};

struct config_file {
    enum weights_kind kind;
    const char *path;   /* in messages, before place, prefix and key: "DIR: config.json: rope_scaling.type" */
    const char *place;  /* "config.json: ", "" */
    const char *prefix; /* "llama.", "rope_scaling.", "" */
    const char *family; /* "llama", "mistral": what `only` names */
    const struct config_row *row;
    int n;
};

void config_raw_init(struct config_raw *r);
/* One key, without the prefix. E_ARCH: not known, or a value that is not computed; E_MODEL or E_GGUF: another type, or
 * two keys for one thing that contradict each other. */
int config_key(const struct config_file *f, struct config_raw *r, const char *key, struct config_value v,
               struct err *e);
/* The row of a key, NULL if no table row is for it. */
const struct config_row *config_row_of(const struct config_file *f, const char *key);
/* A file that contradicts itself or lacks something: E_MODEL or E_GGUF. */
enum err_id config_malformed(const struct config_file *f);
/* All of *c but arch and tied. f's rows give fields their names in messages. */
int config_finish(struct model_config *c, const struct config_file *f, const struct config_raw *r, struct err *e);
/* The part of that about rotation: types of scaling, their factors (rope.c). */
int rope_configure(struct model_config *c, const struct config_file *f, const struct config_raw *r, struct err *e);

int config_read_hf(struct model_config *c, const struct weights *w, const char *family, struct err *e);
int config_read_gguf(struct model_config *c, const struct weights *w, const char *gguf_name, struct err *e);
/* The architecture that config.json means, and the family within it ("llama", "mistral"); E_MODEL, E_ARCH. */
enum { FAMILY_MAX = 48 };
const struct arch *config_arch_hf(const struct weights *w, char family[FAMILY_MAX], struct err *e);

/* The tables. */
struct config_table {
    const char *name;
    const struct config_row *row;
    int n;
};
extern const struct config_table config_table_hf, config_table_rope, config_table_gguf, config_table_sections;
#endif
