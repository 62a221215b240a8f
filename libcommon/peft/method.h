/* method: what a parameter-efficient method is to the rest. One file per method, one line in methods.def.
 *
 * An adapter is a list of named f32 tensors in one flat buffer (so that the optimizer, the norm, checkpoints and one
 * all-reduce see a single array) plus the method's configuration. A method brings its options, declares its tensors for
 * a model, binds them into a hook set, and, where it can, adds its effect to a base weight (merge). It never writes
 * into struct model. */
#ifndef PEFT_PEFT_METHOD_H
#define PEFT_PEFT_METHOD_H
#include "libcommon/base/opt.h"
#include "libcommon/base/out.h"
#include "libcommon/data/row_set.h"
#include "libcommon/model/hooks.h"
#include "libcommon/peft/adapter_json.h"
#include "libcommon/peft/match.h"

/* How a fresh tensor begins; random values are a pure function of (seed, the tensor's name, index). */
enum init {
    INIT_ZERO,
    INIT_ONE,
    INIT_UNIFORM, /* in +-spread */
    INIT_NORMAL   /* spread is the standard deviation */
};

struct param {
    char *name;              /* key in the tensors' file; owned */
    const struct site *site; /* that it belongs to; NULL: none */
    int layer;               /* of the site, or as the method says; -1: none */
    int role;                /* the method's: which of a site's tensors */
    int rows, cols;          /* cols == 0: a vector of `rows` */
    bool of_bias;            /* changes the site's bias, and not its weight */
    bool frozen;             /* not trained: it stands behind all that are */
    long off;                /* first element in the flat buffer */
    enum init init;
    double spread;
    bool fast; /* LoRA+ gives it a rate of its own */
};

/* Options that several methods share, a group of rows of its own: match.h says what they choose. */
extern const struct opt adapter_opt_rows[];

struct adapter {
    const struct peft_method *method;
    void *config;               /* the method's options struct; its strings are the adapter's */
    struct adapter_opts shared; /* likewise */
    struct param *param;
    int n_param;
    size_t cap_param;
    long size;          /* elements of the flat buffer */
    long n_trained;     /* of them, its first: gradients and the optimizer have no others */
    struct device *dev; /* where data lives */
    float *data;        /* [size] on the model's device; owned */
    float *grad;        /* [n_trained] or NULL: not trained; its setter's */
    char *base_name;    /* base_model_name_or_path */
    unsigned char base_digest[32];
    bool has_base_digest;
    struct row_set trained; /* rows; saved and loaded with it */
    /* Its effect is a sum of low-rank paths alone, that factor and span hold for (compose.h); declare says so. */
    bool adds;
    double factor;  /* on the effect; 1 */
    int span;       /* of the rows that it holds for, see lowrank.span; -1: all */
    char **strings; /* of config and shared; owned */
    size_t n_strings, cap_strings;
};

enum {
    PROMISE_IDENTITY = 1,    /* a fresh adapter changes nothing */
    PROMISE_MERGES_BIAS = 2, /* merge also takes biases of its sites */
};

/* A file format of adapter directories other than Hugging Face PEFT's; NULL functions are never called. */
struct adapter_format;

struct peft_method {
    const char *name;      /* "lora" */
    const char *peft_type; /* "LORA" in adapter_config.json; "" if the method has a format of its own */
    const struct opt *opts;
    size_t opts_size;
    const struct json_key *keys; /* of adapter_config.json, read and written by one table; ended by name == NULL */
    const struct adapter_format *format; /* NULL: PEFT's */
    const char *layout;                  /* of its tensors, for the model card; NULL: the format's */
    const char *targets; /* what --target-modules auto means; NULL: the method has no use for that option */
    unsigned promises;
    /* What only the method can say of its configuration, after keys or options are read; or NULL. E_CONFIG, E_VERSION.
     */
    int (*check)(struct adapter *a, const struct model *m, struct err *e);
    /* Declare all tensors, in their order, by param_add. E_TARGET, E_CONFIG. */
    int (*declare)(struct adapter *a, const struct model *m, struct err *e);
    /* Values that init cannot say (text, rows of the vocabulary) into host[size], after the others; or NULL. */
    int (*start)(const struct adapter *a, const struct model *m, uint64_t seed, float *host, struct err *e);
    /* Bind a->data (and a->grad) into the set. */
    int (*bind)(const struct adapter *a, struct hooks *h, struct err *e);
    /* By its options, do others read another form than the one that is trained? NULL: there is one form alone. */
    bool (*has_other_form)(const void *config);
    /* The other form: *config is made to say so; returns its values, which the set h, bound with the adapter, holds. */
    const float *(*exported)(void *config, struct hooks *h);
    /* The site's weight w[rows][cols], or its bias (cols == 1), with factor times the adapter's effect; host pointers,
     * data [a->size]. 1: changed, 0: not a target, < 0 error. NULL: the method cannot be merged. */
    int (*merge)(const struct adapter *a, const float *data, const struct site *s, bool bias, float *w, int rows,
                 int cols, double factor, struct err *e);
};
extern const struct peft_method *const peft_methods[]; /* ended by NULL */
const struct peft_method *peft_method_find(const char *name_or_type);
const char *peft_method_names(void); /* "lora, ia3, ..." */
int peft_method_count(void);
/* The option groups of all methods, each with a block of its own, and the shared group; `from` must have room for
 * peft_method_count() + 1 more. Returns how many were added. */
int peft_method_groups(struct opt_group *from);

/* Append a tensor; the name is printed. Its offset is the size so far. */
struct param *param_add(struct adapter *a, const struct site *site, int role, int rows, int cols, enum init init,
                        double spread, const char *name, ...) __attribute__((format(printf, 8, 9)));
static inline long param_size(const struct param *p) { return (long)p->rows * (p->cols ? p->cols : 1); }
/* The last tensor is not trained; only such ones may follow. */
void param_freeze(struct adapter *a, struct param *p);
/* The tensor of a site and role; NULL: none. */
const struct param *param_of(const struct adapter *a, const struct site *s, int role);
int adapter_projections(const struct adapter *a); /* how many of the model's have tensors of it */
static inline float *param_grad(const struct adapter *a, const struct param *p)
{
    return a->grad && !p->frozen ? a->grad + p->off : NULL;
}

char *adapter_keep(struct adapter *a, const char *s); /* a copy that lives with the adapter */

/* A fresh adapter; its data are zero until adapter_start. config and shared are copied, strings too. */
struct adapter *adapter_new(const struct peft_method *method, const void *config, const struct adapter_opts *shared,
                            const struct model *m, struct err *e);
/* Bind into a set that may have others; whose hooks_refresh is the caller's. */
int adapter_add(const struct adapter *a, struct hooks *h, struct err *e);
/* A fresh hook set with the adapter's effect; hooks_fini ends it. */
int adapter_bind(const struct adapter *a, struct hooks *h, const struct model *m, struct err *e);
/* Initial values: a pure function of the seed, tensor by tensor. */
int adapter_start(struct adapter *a, const struct model *m, uint64_t seed, struct err *e);
/* Adapter directories, see adapter.c and adapterhub.c. adapter_load takes a run or a checkpoint for the adapter in it,
 * and refuses one that is not what they wrote (run_manifest.h). It is strict: every expected tensor, none extra, every
 * shape right, or E_ADAPTER naming the key; a recorded base digest that differs from the model's is E_MISMATCH unless
 * force. The result is bound to nothing. */
struct adapter *adapter_load(const char *dir, struct model *m, bool force, struct err *e);
/* Write the directory atomically, with f32 tensors, in the form that others read. data_host [size] or NULL: take
 * a->data. provenance_json: text that goes into the tensors' file, or NULL. One that stands alone gets a MANIFEST.
 * E_DIVERGED: a value is not finite; nothing is written. */
int adapter_save(const struct adapter *a, const char *dir, enum outdir_old old, const float *data_host,
                 const struct model *m, const char *provenance_json, struct err *e);
/* The same in the form that is trained, for checkpoints: loaded, it is the adapter to the last bit. */
int adapter_save_trained(const struct adapter *a, const char *dir, enum outdir_old old, const struct model *m,
                         struct err *e);
void adapter_free(struct adapter *a);
#endif
