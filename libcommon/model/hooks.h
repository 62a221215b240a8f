/* hooks: what adapters bind to a model. A method never writes into struct model: it fills a hook set, which a decoder
 * reads (decoder_init, decoder_bind); without the set the decoder computes the base model, on today's fused path.
 *
 * Five kinds: slots of the projections (kernels/ops.h), hooks behind attention's output and the MLP's, one behind the
 * embedding, keys and values in front of every sequence, and values that stand for weights. A hook set outlives the
 * decoders that it is bound to. */
#ifndef PEFT_MODEL_HOOKS_H
#define PEFT_MODEL_HOOKS_H
#include "libcommon/model/model.h"

/* What a hook is called with. Rows are those of the call: all tokens, in the last layer those with a label or logits.
 */
struct hook_call {
    const struct ops *ops;
    const struct op_ctx *cx; /* its scratch is at least hook.op_scratch */
    const struct lin_rows *rows;
    long T, C;
    float *kept;    /* [T][hook.kept] f32: from forward to backward */
    float *scratch; /* [T][hook.scratch] f32: lost with the call */
};

/* Behind attention's output or the MLP's: out = res + sub without it, where sub is what o or down gave, and res the
 * residual stream before. All [T][C] act. Both return enum dev_status. */
struct hook {
    int (*fwd)(const struct hook *h, const struct hook_call *c, void *out, const void *sub, const void *res);
    /* d_out: the gradient of out, becomes that of res; d_sub: overwritten with that of sub. */
    int (*bwd)(const struct hook *h, const struct hook_call *c, void *d_out, void *d_sub, const void *sub,
               const void *res);
    size_t (*op_scratch)(const struct hook *h, const struct op_ctx *cx, long T); /* bytes that its ops need */
    long kept, scratch;                                                          /* f32 columns */
    double flops;                                                                /* of products, a row and pass */
    bool trained;
};
enum hook_at { HOOK_ATTN_OUT, HOOK_MLP_OUT, HOOK_PLACES };

/* Behind the embedding: gives the rows of virtual tokens, of which every sequence begins with n_virtual. row [n]: which
 * rows of x they are; id [n]: their numbers from 0. On the device. */
struct embed_call {
    const struct ops *ops;
    const struct op_ctx *cx;
    long C, n;
    const int32_t *row, *id;
    float *scratch; /* [n][C] f32 */
};
struct embed_hook {
    int n_virtual;
    int (*fwd)(const struct embed_hook *h, const struct embed_call *c, void *x);         /* x [T][C] act */
    int (*bwd)(const struct embed_hook *h, const struct embed_call *c, const void *d_x); /* adds to its gradients */
    bool trained;
};

/* Keys and values of virtual tokens in every layer, in front of those of every sequence: the row's own tokens begin at
 * position n_virtual and see them; nothing else of a layer is computed for them. n rows [2 K D] act, a key and its
 * value side by side, of the virtual tokens id [n]; keys are as RoPE would leave them. On the device. */
struct prefix_call {
    const struct ops *ops;
    const struct op_ctx *cx;
    int layer;
    long width, n; /* 2 K D */
    const int32_t *id;
};
struct prefix_hook {
    int n_virtual;
    int (*fwd)(const struct prefix_hook *h, const struct prefix_call *c, void *kv);         /* overwritten */
    int (*bwd)(const struct prefix_hook *h, const struct prefix_call *c, const void *d_kv); /* adds to its gradients */
    bool trained;
};

/* Values that an adapter computes of its parameters once per update, where a token needs them in another form (a gain
 * of norms, products of factors): hooks and slots point at them, not at the parameters. On the CPU only. */
struct derived {
    int (*refresh)(const struct derived *d); /* values of parameters; enum dev_status */
    /* Adds to the parameters' gradients what follows from those of the values, and clears the latter; NULL: none. */
    int (*fold)(const struct derived *d);
};

/* An adapter's own f32 values in the place of a weight or a bias of a site; as that, and rows in Hugging Face's order
 * where a file has another. */
struct hook_values {
    const float *data; /* NULL: the model's hold */
    float *d_data;     /* gradient, added to; NULL: not trained */
};
enum hook_weight {
    HOOK_WEIGHT, /* of a tied model's embedding: of its head too, and both gradients go into the one tensor */
    HOOK_BIAS,
    HOOK_EMBED_ALONE, /* of a tied model's embedding, and not of the head; site: the embedding's */
    HOOK_HEAD_ALONE,  /* of its head, and not of the embedding; likewise */
    HOOK_WEIGHTS
};

struct hooks {
    const struct model *m;
    struct lin_slot *slot;          /* [m->n_site] */
    struct hook_values *values;     /* [m->n_site][HOOK_WEIGHTS] */
    const struct hook **at;         /* [HOOK_PLACES][L]; NULL: none */
    const struct embed_hook *embed; /* or NULL; one of the two at most */
    const struct prefix_hook *prefix;
    const struct derived **derived; /* [n_derived], in the order in which they are refreshed; folded in reverse */
    size_t n_derived, cap_derived;
    uint64_t derived_bytes; /* of hooks_floats */
    void **owned;           /* what methods left here to be freed with the set */
    size_t n_owned, cap_owned;
};
void hooks_init(struct hooks *h, const struct model *m);
void hooks_fini(struct hooks *h);
/* Zeroed memory that lives as long as the set. */
void *hooks_alloc(struct hooks *h, size_t n, size_t size);
/* Values that are derived of an adapter's parameters, or their gradients, as hooks_alloc; --plan counts them. */
float *hooks_floats(struct hooks *h, size_t n);
/* Another low-rank path on a linear site; sums run in the order of these calls. */
void hooks_low(struct hooks *h, const struct site *s, struct lowrank low);
struct lin_slot *hooks_slot(struct hooks *h, const struct site *s);
/* v.data, on the model's device, stands for what of the site. E_BUG: something does already, or it has no such thing.
 */
int hooks_replace(struct hooks *h, const struct site *s, enum hook_weight what, struct hook_values v, struct err *e);
const struct hook_values *hooks_values(const struct hooks *h, const struct site *s, enum hook_weight what);
/* E_BUG: the place is taken. */
int hooks_layer(struct hooks *h, enum hook_at at, int layer, const struct hook *hook, struct err *e);
const struct hook *hooks_at(const struct hooks *h, enum hook_at at, int layer); /* h may be NULL */
/* E_DEVICE: not on the CPU. */
int hooks_derive(struct hooks *h, const struct derived *d, struct err *e);
/* After every change of the parameters, before the next forward pass (adapter_bind and decoder_step_begin do it). h may
 * be NULL. Both return enum dev_status. */
int hooks_refresh(const struct hooks *h);
int hooks_fold(const struct hooks *h); /* after every backward pass; decoder_loss does it */
static inline int hooks_prefix(const struct hooks *h) { return h && h->prefix ? h->prefix->n_virtual : 0; }
/* Positions in front of every row's own tokens, of either kind. */
static inline int hooks_virtual(const struct hooks *h) { return h && h->embed ? h->embed->n_virtual : hooks_prefix(h); }
#endif
