/* decoder_internal: what the files of the decoder share; nobody else includes it. */
#ifndef PEFT_MODEL_DECODER_INTERNAL_H
#define PEFT_MODEL_DECODER_INTERNAL_H
#include "libcommon/model/decoder.h"

int decoder_status(struct decoder *d, int status, const char *what, struct err *e); /* enum dev_status -> err */

/* decoder_plan.c */
int decoder_plan(struct decoder *d, struct err *e);
static inline struct linear *decoder_lin(const struct decoder *d, int l, enum lin_id id)
{
    return &d->lin[l * LIN_COUNT + (int)id];
}
static inline struct norm_weight *decoder_norm(const struct decoder *d, int l, enum norm_id id)
{
    return &d->norms[2 * l + (id == NORM_MLP)];
}
static inline const struct hook *decoder_hook(const struct decoder *d, enum hook_at at, int l)
{
    return hooks_at(d->hooks, at, l);
}
bool decoder_trained(const struct linear *lin); /* does it want gradients of its own? */
bool decoder_reads_x(const struct linear *lin); /* and do they need its input? */

/* decoder_batch.c */
void decoder_block_layout(struct decoder *d, unsigned char *base); /* fills d->dev, and block_bytes */
int decoder_upload(struct decoder *d, const struct batch *b, bool dropout, struct err *e);
void decoder_attn(const struct decoder *d, const struct batch *b, struct attn *a);
/* The same of a layer. */
static inline struct attn decoder_attn_layer(const struct decoder *d, const struct attn *at, int l)
{
    struct attn a = *at;
    a.window = d->m->layer[l].window;
    return a;
}

/* From where attention has mixed the tokens, a layer works on these rows: all of the batch, in the last layer those
 * with a label or logits. d_res: the gradient of the layer's output, then of its input's part that passes by attention;
 * d_o: of o. */
struct mlp_rows {
    long T;
    void *res_in, *o;
    const struct lin_rows *rows;
    void *d_res, *d_o;
};
struct mlp_rows decoder_mlp_rows(const struct decoder *d, const struct batch *b, int l);
struct hook_call decoder_hook_call(const struct decoder *d, const struct mlp_rows *r, enum hook_at at, int l);
struct embed_call decoder_embed_call(const struct decoder *d, const struct batch *b);
/* Rotate the heads of q and k at x, forward (dir 1) or back (-1), each sequence by the frequencies for its length. */
int decoder_rope(struct decoder *d, const struct batch *b, void *x, long ld, int dir);
/* decoder_prefix.c: a call whose keys and values lie in d->kv, behind those of the prefix. */
static inline bool decoder_prefixed(const struct decoder *d, const struct batch *b)
{
    return b->n_virtual && hooks_prefix(d->hooks);
}
static inline long decoder_kv_width(const struct decoder *d) { return 2L * d->m->cfg.K * d->m->cfg.D; }
int decoder_prefix_keys(struct decoder *d, const struct batch *b, int l); /* fills d->kv */
/* From d->d_kv: the tokens' own into d_k of d_qkv, the rest to the prefix' gradient. */
int decoder_prefix_backward(struct decoder *d, const struct batch *b, int l, void *d_k);
int decoder_layer(struct decoder *d, const struct batch *b, const struct attn *at, int l, void *out, struct err *e);
/* Embedding and all layers: leaves the residual stream of the label rows in d->x_last and the attention's description
 * in *at. */
int decoder_forward(struct decoder *d, const struct batch *b, bool dropout, struct attn *at, struct err *e);
int decoder_final_norm(struct decoder *d, const struct batch *b, struct err *e);
#endif
