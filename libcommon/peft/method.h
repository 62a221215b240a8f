/* method: what a parameter-efficient method is to the rest. One file per method, one line in methods.def.
 *
 * An adapter is a list of named f32 tensors in one flat buffer (so that the optimizer, the norm, checkpoints and one
 * all-reduce see a single array) plus the method's configuration. A method lays the tensors out for a model, gives them
 * initial values, attaches them to the model's hooks, and, where it can, adds its effect to a base weight (merge). */
#ifndef PEFT_PEFT_METHOD_H
#define PEFT_PEFT_METHOD_H
#include <jansson.h>
#include "libcommon/base/opt.h"
#include "libcommon/model/model.h"

struct param {
    char name[160]; /* key in adapter_model.safetensors */
    int rows, cols; /* cols == 0: a vector of `rows` */
    long off;       /* first element in the flat buffer */
};

struct adapter {
    const struct peft_method *method;
    void *
        /* the method's options struct (method->opts_size bytes); strings owned by the option set or the adapter */
        config;
    struct param *param;
    int n_param;
    long size;          /* elements of the flat buffer */
    struct device *dev; /* where data lives */
    float *data;        /* [size] on the model's device; owned */
    float *grad;        /* [size] or NULL: not trained; its setter's */
    float dropout;      /* on the input of low-rank paths while training; set by attach */
    char *base_path;    /* base_model_name_or_path */
    unsigned char base_digest[32];
    bool has_base_digest;
    void *strings; /* owned */
};

struct peft_method {
    const char *name;      /* "lora" */
    const char *peft_type; /* "LORA" in adapter_config.json */
    const struct opt *opts;
    size_t opts_size;
    /* Fill a->param, n_param, size from a->config and the model. E_TARGET, E_CONFIG. */
    int (*layout)(struct adapter *a, const struct model *m, struct err *e);
    /* Initial values into host[size]: a pure function of the seed. */
    void (*init)(const struct adapter *a, uint64_t seed, float *host);
    /* Point the model's hooks at a->data (and a->grad). detach undoes it. */
    int (*attach)(struct adapter *a, struct model *m, struct err *e);
    void (*detach)(struct adapter *a, struct model *m);
    /* Write and read the method's keys of adapter_config.json. */
    int (*config_write)(const struct adapter *a, json_t *out, struct err *e);
    int (*config_read)(struct adapter *a, const json_t *in, struct err *e);
    /* w[rows][cols] += factor * effect on the weight `name` (Hugging Face's tensor name); host pointers. 1: changed, 0:
     * not a target, < 0 error. NULL: the method cannot be merged. data_host [size]. */
    int (*merge)(const struct adapter *a, const float *data_host, const char *name, float *w, int rows, int cols,
                 double factor, struct err *e);
};
extern const struct peft_method *const peft_methods[]; /* ended by NULL */
const struct peft_method *peft_method_find(const char *name_or_type);

/* A fresh adapter; its data are zero until method->init's values are copied there. config is copied, its strings are
 * borrowed. */
struct adapter *adapter_new(const struct peft_method *method, const void *config, struct model *m, struct err *e);
/* PEFT directories (adapter_config.json, adapter_model.safetensors, README.md), see adapter.c.
 * adapter_load is strict: every expected tensor, none extra, every shape right, or E_ADAPTER naming the key; a recorded
 * base digest that differs from the model's is E_MISMATCH unless force. The result is attached to nothing. */
struct adapter *adapter_load(const char *dir, struct model *m, bool force, struct err *e);
/* Write the directory atomically, with f32 tensors. data_host [size] or NULL: take a->data. provenance_json: text that
 * goes into the tensors' file, or NULL. E_DIVERGED: a value is not finite; nothing is written. */
int adapter_save(const struct adapter *a, const char *dir, bool force, const float *data_host, const struct model *m,
                 const char *provenance_json, struct err *e);
void adapter_free(struct adapter *a);
#endif
