/* model: a decoder-only language model: its configuration, its weights as the ops take them, and where an adapter
 * attaches. One file per architecture (archs.def) says how weights are named and arranged; decoder.c computes. */
#ifndef PEFT_MODEL_MODEL_H
#define PEFT_MODEL_MODEL_H
#include <stdbool.h>
#include <stdint.h>
#include "kernels/ops.h"
#include "libcommon/base/err.h"
#include "libcommon/format/weights.h"
#include "libcommon/model/plan.h"

/* The products of a layer, in the order of their use. */
enum lin_id { LIN_QKV, LIN_O, LIN_GATE_UP, LIN_DOWN, LIN_COUNT };

enum { LAYERS_MAX = 1024 };
enum bias_rule { BIAS_AS_STORED, BIAS_NONE, BIAS_ALL };

/* Scaling of the rotary frequencies (rope.c). */
enum rope_type { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN, ROPE_LONGROPE };
enum { ROPE_HALF_MAX = 512 };
struct rope_scaling {
    enum rope_type type;
    double factor;                            /* 0: the frequencies are divided by nothing */
    double attention_factor;                  /* cosines and sines are multiplied by it */
    int original_max_pos;                     /* llama3, yarn, longrope: the length before the scaling */
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn */
    bool truncate;
    double ramp_low, ramp_high; /* yarn: below the first pairs keep their frequency, above they do not */
    float short_factor[ROPE_HALF_MAX], long_factor[ROPE_HALF_MAX]; /* longrope: divisors of each pair's frequency */
};

struct model_config {
    char arch[32];           /* name in archs.def: "llama" */
    int C, L, H, K, D, F, V; /* width, layers, heads, KV heads, head width, MLP width, vocabulary */
    int max_pos;
    float norm_eps;
    double rope_theta;
    struct rope_scaling rope_scaling;
    bool tied; /* the LM head is the embedding */
    struct {
        enum bias_rule rule;
        const char *why;
    } bias[LIN_COUNT];       /* what the configuration says, and where */
    int window;              /* sliding attention, in tokens, of some or all layers; 0: none */
    bool slides[LAYERS_MAX]; /* the layers that have it */
    bool window_unclear;     /* programs differ in whether it is used at all: longer rows are refused */
};

/* A named place of the model where an adapter may attach. The table is flat and filled by the architecture; nothing
 * else knows names of modules. */
enum site_kind { SITE_LINEAR, SITE_NORM, SITE_EMBED, SITE_HEAD };
enum norm_id { NORM_ATTN, NORM_MLP, NORM_FINAL }; /* of which input */
struct site {
    const char *path, *leaf; /* "model.layers.3.self_attn.q_proj", "q_proj"; owned by the model */
    uint64_t key; /* hash of path: names the site in every random use, so that other sites change none of its bits */
    int layer;    /* -1: outside the layers */
    enum site_kind kind;
    int lin, part;     /* SITE_LINEAR: layer[layer].lin[lin].part[part] */
    enum norm_id norm; /* SITE_NORM */
    bool rotated;      /* rows are in the order of rotary embedding: GGUF files may store them permuted */
    const struct tensor *weight, *bias; /* as stored; bias may be NULL */
};

struct layer {
    struct linear lin[LIN_COUNT];      /* without adapters: these stand in the decoder's copies */
    const float *attn_norm, *mlp_norm; /* [C] f32, on the model's device */
    int window;                        /* a token sees itself and window - 1 before it; 0: all before it */
};

enum quantize { QUANTIZE_NONE, QUANTIZE_NF4 }; /* the type that the layers' matrices are held in: as stored, ... */

struct model {
    struct model_config cfg;
    enum quantize quantize;
    const struct arch *arch;
    struct device *dev;
    const struct ops *ops;
    struct site *site; /* [n_site] */
    int n_site;
    struct layer *layer; /* [L] */
    struct mat embed, head;
    const float *final_norm;  /* [C] */
    float *inv_freq;          /* [D/2] */
    float *inv_freq_long;     /* longrope: of rows longer than cfg.rope_scaling.original_max_pos; NULL: inv_freq */
    struct weights *weights;  /* owned; quantised and mapped tensors stay where the file has them */
    unsigned char digest[32]; /* of the weight files */
    char *path;
    char *name;            /* what outputs call it, see name.c */
    struct plan plan;      /* weights that are not used where the file's mapping has them */
    uint64_t mapped_bytes; /* those that are */
    void *placings;        /* place.c */
    size_t cap_site;
};

/* Load from a Hugging Face directory or a GGUF file. The device must outlive the model.
 * Errors: E_NOINPUT, E_MODEL, E_ARCH, E_GGUF, E_SAFETENSORS, E_NOMEM. */
struct model *model_load(const char *path, struct device *dev, struct err *e);
/* The same with the layers' matrices held in another type (quantize.h). E_MODEL: a matrix is quantised already;
 * E_DEVICE. */
struct model *model_load_as(const char *path, struct device *dev, enum quantize q, struct err *e);
/* The same from tensors that are open; takes over w, also on error. */
struct model *model_from(struct weights *w, struct device *dev, struct err *e);
void model_free(struct model *m);
/* name.c */
char *model_name_of(const struct weights *w);         /* malloc'ed */
char *model_card_name(const char *name);              /* for people: no place on this machine; malloc'ed */
void model_rename(struct model *m, const char *name); /* NULL: as it is */
/* E_ARCH if rows of this many tokens need a sliding window that is not computed. To be asked before rows are run. */
int model_check_length(const struct model *m, long longest, struct err *e);
/* E_MISMATCH if a row of the data has more positions than the model was made for. */
int model_check_rows(const struct model_config *c, long longest, struct err *e);
const struct site *model_site(const struct model *m, const char *path);          /* NULL: none */
const struct site *model_site_of(const struct model *m, const struct tensor *t); /* whose weight or bias; NULL: none */
const struct site *model_site_kind(const struct model *m, enum site_kind kind);  /* the first; NULL: none */
int model_projections(const struct model *m);                                    /* sites of kind SITE_LINEAR */
/* Are the rows of rotated sites stored in GGUF's order (see gguf.h)? */
bool model_rows_permuted(const struct model *m);
/* The projection of a linear site. */
struct lin_part *model_part(struct model *m, const struct site *s);
const float *model_norm(const struct model *m, const struct site *s); /* the weight of a norm's site */
static inline int site_rows(const struct site *s)
{
    return (int)s->weight->shape[0];
} /* outputs; of a norm its width */
static inline int site_cols(const struct site *s) /* inputs; of a norm 0 */
{
    return s->weight->ndim > 1 ? (int)s->weight->shape[1] : 0;
}
/* What the model computes with as f32 values, rows in Hugging Face's order: host[rows][cols] of the site's weight, or
 * host[rows] of its bias. */
int model_values(const struct model *m, const struct site *s, bool bias, float *host, struct err *e);
uint64_t model_weight_bytes(const struct model *m);
uint64_t model_parameters(const struct model *m);

/* An architecture: how the tensors of a file become a struct model. */
struct arch {
    const char *name;               /* "llama" */
    const char *hf_names;           /* architectures of config.json, space separated */
    const char *gguf_name;          /* general.architecture */
    const struct gguf_names *names; /* of tensors, GGUF's beside Hugging Face's */
    const char
        *usual_targets;      /* "METHOD:NAME,NAME ..." where PEFT's default for this architecture is not the method's */
    const char *head_weight; /* name of the head's tensor, for a model whose head is the embedding */
    bool gguf_rotated_rows;  /* GGUF files store the rows of rotated sites permuted, see gguf.h */
    bool bias_keys;          /* config.json says by attention_bias and mlp_bias which biases there are */
    int (*bind)(struct model *m, struct err *e);
};
extern const struct arch *const archs[]; /* ended by NULL */
#endif
