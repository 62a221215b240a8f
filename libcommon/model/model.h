/* model: a decoder-only language model: its configuration, its weights as the ops take them, and where an adapter
 * attaches. One file per architecture (archs.def) says how weights are named and arranged; decoder.c computes. */
#ifndef PEFT_MODEL_MODEL_H
#define PEFT_MODEL_MODEL_H
#include <stdbool.h>
#include <stdint.h>
#include "kernels/ops.h"
#include "libcommon/base/err.h"
#include "libcommon/format/weights.h"

struct model_config {
    char arch[32];           /* name in archs.def: "llama" */
    int C, L, H, K, D, F, V; /* width, layers, heads, KV heads, head width, MLP width, vocabulary */
    int max_pos;
    float norm_eps;
    double rope_theta;
    struct { /* Llama-3 frequency scaling; factor 0: none */
        double factor, low_freq_factor, high_freq_factor;
        int original_max_pos;
    } rope_scaling;
    bool tied;  /* the LM head is the embedding */
    int window; /* sliding attention, in tokens, of some or all layers; 0: none. Longer rows are refused */
};

/* The modules of a layer that an adapter can target, in the order of their numbers. */
enum module { MOD_Q, MOD_K, MOD_V, MOD_O, MOD_GATE, MOD_UP, MOD_DOWN, MOD_COUNT };
extern const char *const module_names[MOD_COUNT]; /* "q_proj" ... */
/* Full Hugging Face name: "model.layers.3.self_attn.q_proj". buf >= 96. */
const char *module_path(int layer, enum module m, char *buf);

struct layer {
    struct linear qkv, o, gate_up, down;
    const float *attn_norm, *mlp_norm; /* [C] f32, on the model's device */
};

struct model {
    struct model_config cfg;
    struct device *dev;
    const struct ops *ops;
    struct layer *layer; /* [L] */
    struct mat embed, head;
    const float *final_norm;  /* [C] */
    float *inv_freq;          /* [D/2] */
    struct weights *weights;  /* owned; quantised and mapped tensors stay where the file has them */
    unsigned char digest[32]; /* of the weight files */
    char *path;
    void *owned; /* what had to be copied (norms to f32, q and k rows of GGUF re-ordered) */
};

/* Load from a Hugging Face directory or a GGUF file. The device must outlive the model.
 * Errors: E_NOINPUT, E_MODEL, E_ARCH, E_GGUF, E_SAFETENSORS, E_NOMEM. */
struct model *model_load(const char *path, struct device *dev, struct err *e);
/* The same from tensors that are open; takes over w, also on error. */
struct model *model_from(struct weights *w, struct device *dev, struct err *e);
void model_free(struct model *m);
/* E_ARCH if rows of this many tokens need a sliding window, which is not computed. To be asked before rows are run. */
int model_check_length(const struct model_config *c, long longest, struct err *e);
struct lin_part *model_part(struct model *m, int layer, enum module mod); /* the projection, to attach an adapter to */
/* recompute the width of the low-rank tails after an adapter is attached or detached */
void model_ranks(struct model *m);
uint64_t model_weight_bytes(const struct model *m);
uint64_t model_parameters(const struct model *m);

/* An architecture: how the tensors of a file become a struct model. */
struct arch {
    const char *name;      /* "llama" */
    const char *hf_names;  /* architectures of config.json, space separated */
    const char *gguf_name; /* general.architecture */
    int (*config)(struct model_config *c, const struct weights *w, struct err *e);
    int (*bind)(struct model *m, struct err *e);
};
extern const struct arch *const archs[]; /* ended by NULL */
#endif
