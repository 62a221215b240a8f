/* decoder_train.c: loss and gradients. The backward pass of each layer stands in the reverse order of decoder_layer; it
 * stops at the lowest trained part, below which no gradient is wanted. */
#include "libcommon/model/decoder.h"
#include "libcommon/model/decoder_internal.h"

/* What of a layer's backward pass is wanted: everything above the lowest trained part. Each says: the gradient of the
 * input of the part of that name is computed, or that of its own parameters. */
struct wanted {
    bool below, attn_norm, keys, qkv, o, mid, mlp_norm, gu; /* keys: of the prefix */
};
static bool hook_trained(const struct decoder *d, enum hook_at at, int l)
{
    const struct hook *h = decoder_hook(d, at, l);
    return h && h->trained;
}
static struct wanted wanted_of(const struct decoder *d, int l)
{
    struct wanted g = {.below = l > d->lowest};
    g.attn_norm = g.below || decoder_norm(d, l, NORM_ATTN)->d_w;
    g.keys = d->hooks && d->hooks->prefix && d->hooks->prefix->trained;
    g.qkv = g.attn_norm || g.keys || decoder_trained(decoder_lin(d, l, LIN_QKV));
    g.o = g.qkv || decoder_trained(decoder_lin(d, l, LIN_O));
    g.mid = g.o || hook_trained(d, HOOK_ATTN_OUT, l);
    g.mlp_norm = g.mid || decoder_norm(d, l, NORM_MLP)->d_w;
    g.gu = g.mlp_norm || decoder_trained(decoder_lin(d, l, LIN_GATE_UP));
    return g;
}

/* The gradient of what o or down gave: that of the residual stream itself, or what the hook makes of it. */
static int through_hook(struct decoder *d, const struct mlp_rows *r, int l, enum hook_at at, const void *res,
                        const void **d_sub)
{
    const struct hook *h = decoder_hook(d, at, l);
    *d_sub = h ? d->d_sub : r->d_res;
    if (!h) return DEV_OK;
    const struct hook_call call = decoder_hook_call(d, r, at, l);
    return h->bwd(h, &call, r->d_res, d->d_sub, d->layer[l].sub[at], res);
}

/* r->d_res: from the gradient of the layer's output to that of res_mid, which is also the residual's; then r->d_o. */
static int mlp_backward(struct decoder *d, const struct mlp_rows *r, int l, struct wanted g)
{
    const struct model *m = d->m;
    const struct model_config *c = &m->cfg;
    const struct ops *ops = m->ops;
    const struct op_ctx *cx = &d->cx;
    const struct layer_acts *a = &d->layer[l];
    const struct linear *o = decoder_lin(d, l, LIN_O), *gu = decoder_lin(d, l, LIN_GATE_UP),
                        *down = decoder_lin(d, l, LIN_DOWN);
    const struct norm_weight *norm = decoder_norm(d, l, NORM_MLP);
    const long C = c->C, F = c->F;
    const bool x_gu = decoder_reads_x(gu), x_down = decoder_reads_x(down);
    const void *d_sub;

    int s = through_hook(d, r, l, HOOK_MLP_OUT, a->res_mid, &d_sub);
    if (!s && x_down) s = ops->swiglu_fwd(cx, d->ffn, F, a->gu, 2 * F, r->T, F);
    if (!s)
        s = ops->linear_bwd(cx, g.gu ? d->d_ffn : NULL, F, 0, d_sub, C, x_down ? d->ffn : NULL, F, &a->kept[LIN_DOWN],
                            down, r->rows, r->T);
    if (s || !g.gu) return s;
    s = ops->swiglu_bwd(cx, d->d_wide, 2 * F, d->d_ffn, F, a->gu, 2 * F, r->T, F);
    if (!s && x_gu) s = ops->norm_fwd(cx, d->norm, C, NULL, a->res_mid, C, norm->w, r->T, C, c->norm_eps);
    if (!s)
        s = ops->linear_bwd(cx, g.mlp_norm ? d->d_norm : NULL, C, 0, d->d_wide, 2 * F, x_gu ? d->norm : NULL, C,
                            &a->kept[LIN_GATE_UP], gu, r->rows, r->T);
    if (s || !g.mlp_norm) return s;
    s = ops->norm_bwd(cx, r->d_res, C, norm->d_w, d->d_norm, C, a->res_mid, C, norm->w, a->rstd2, r->T, C);
    if (!s && g.mid) s = through_hook(d, r, l, HOOK_ATTN_OUT, r->res_in, &d_sub);
    if (s || !g.o) return s;
    return ops->linear_bwd(cx, g.qkv ? r->d_o : NULL, o->in, 0, d_sub, C, r->o, o->in, &a->kept[LIN_O], o, r->rows,
                           r->T);
}

/* Rows of the label tokens into [T][width], 0 elsewhere. */
static int spread_rows(struct decoder *d, const struct batch *b, void *to, const void *rows, long width)
{
    int s = dev_zero(d->m->dev, to, (size_t)b->T * (size_t)width * (size_t)dtype_info[d->cx.act].bytes);
    return s ? s : d->m->ops->rows_scatter(&d->cx, to, width, rows, width, d->dev.row, b->n, width);
}

/* From the gradient of o in d_norm to that of the layer's input, added to d_res. */
static int attention_backward(struct decoder *d, const struct batch *b, const struct attn *at, int l, struct wanted g)
{
    const struct model *m = d->m;
    const struct model_config *c = &m->cfg;
    const struct ops *ops = m->ops;
    const struct op_ctx *cx = &d->cx;
    const struct layer_acts *a = &d->layer[l];
    const struct linear *qkv = decoder_lin(d, l, LIN_QKV);
    const struct norm_weight *norm = decoder_norm(d, l, NORM_ATTN);
    const long T = b->T, C = c->C, ld = (long)(c->H + 2 * c->K) * c->D;
    size_t es = (size_t)dtype_info[cx->act].bytes;
    size_t at_k = (size_t)c->H * (size_t)c->D * es, at_v = at_k + (size_t)c->K * (size_t)c->D * es;
    char *q = a->qkv, *d_q = d->d_wide;
    char *k = q + at_k, *v = q + at_v, *d_k = d_q + at_k, *d_v = d_q + at_v;
    const bool reads_x = decoder_reads_x(qkv), prefixed = decoder_prefixed(d, b);

    const struct attn of_layer = decoder_attn_layer(d, at, l);

    int s = DEV_OK;
    if (prefixed) {
        s = decoder_prefix_keys(d, b, l);
        k = d->kv, v = k + (at_v - at_k), d_k = d->d_kv, d_v = d_k + (at_v - at_k);
    }
    if (!s) s = ops->attn_bwd(cx, d_q, d_k, d_v, d->d_norm, q, k, v, a->o, a->lse, &of_layer);
    if (!s && prefixed) s = decoder_prefix_backward(d, b, l, d_q + at_k);
    if (s || (!g.attn_norm && !decoder_trained(qkv))) return s;
    s = decoder_rope(d, b, d_q, ld, -1);
    if (!s && reads_x) s = ops->norm_fwd(cx, d->norm, C, NULL, a->res_in, C, norm->w, T, C, c->norm_eps);
    if (!s)
        s = ops->linear_bwd(cx, g.attn_norm ? d->d_norm : NULL, C, 0, d_q, ld, reads_x ? d->norm : NULL, C,
                            &a->kept[LIN_QKV], qkv, &d->rows, T);
    if (s || !g.attn_norm) return s;
    return ops->norm_bwd(cx, d->d_res, C, norm->d_w, d->d_norm, C, a->res_in, C, norm->w, a->rstd1, T, C);
}

static int layer_backward(struct decoder *d, const struct batch *b, const struct attn *at, int l, struct err *e)
{
    const struct model_config *c = &d->m->cfg;
    const struct wanted g = wanted_of(d, l);
    const struct mlp_rows r = decoder_mlp_rows(d, b, l);
    int s = mlp_backward(d, &r, l, g);
    if (!s && g.qkv && r.d_res != d->d_res) {
        s = spread_rows(d, b, d->d_norm, r.d_o, (long)c->H * c->D);
        if (!s) s = spread_rows(d, b, d->d_res, r.d_res, c->C);
    }
    if (!s && g.qkv) s = attention_backward(d, b, at, l, g);
    return decoder_status(d, s, "backward pass of a layer", e);
}

/* From d_res, the gradient of what the layers read. */
static int embed_backward(struct decoder *d, const struct batch *b, struct err *e)
{
    const struct ops *ops = d->m->ops;
    const long C = d->m->cfg.C;
    int s = DEV_OK;
    if (b->n_virtual && d->hooks->embed) {
        const struct embed_hook *h = d->hooks->embed;
        const struct embed_call call = decoder_embed_call(d, b);
        if (h->trained) s = h->bwd(h, &call, d->d_res);
        /* those rows were no tokens of the vocabulary */
        if (!s && d->embed.d_w)
            s = dev_zero(d->m->dev, call.scratch, (size_t)call.n * (size_t)C * (size_t)dtype_info[d->cx.act].bytes);
        if (!s && d->embed.d_w) s = ops->rows_scatter(&d->cx, d->d_res, C, call.scratch, C, call.row, call.n, C);
    }
    if (!s && d->embed.d_w) s = ops->embed_bwd(&d->cx, d->embed.d_w, C, d->d_res, d->dev.ids, b->T, C);
    return decoder_status(d, s, "gradient of the embedding", e);
}

static int backward(struct decoder *d, const struct batch *b, const struct attn *at, struct err *e)
{
    const struct model_config *c = &d->m->cfg;
    const int lowest = d->lowest < 0 ? 0 : d->lowest;
    int s = dev_zero(d->m->dev, d->d_rows, (size_t)b->n * (size_t)c->C * (size_t)dtype_info[d->cx.act].bytes);
    if (!s)
        s = d->m->ops->norm_bwd(&d->cx, d->d_rows, c->C, d->final_norm.d_w, d->d_norm, c->C, d->x_last, c->C,
                                d->final_norm.w, d->rows_rstd, b->n, c->C);
    int rc = decoder_status(d, s, "gradient of the loss", e);
    for (int l = c->L; l-- > lowest && !rc;) {
        if (d->size.recompute) rc = decoder_layer(d, b, at, l, NULL, e);
        if (!rc) rc = layer_backward(d, b, at, l, e);
    }
    if (!rc && d->lowest < 0) rc = embed_backward(d, b, e);
    return rc ? rc : decoder_status(d, hooks_fold(d->hooks), "gradient of derived values", e);
}

int decoder_loss(struct decoder *d, const struct batch *b, bool with_backward, struct err *e)
{
    const struct model *m = d->m;
    struct attn at;
    int rc = decoder_forward(d, b, with_backward, &at, e);
    if (rc || !b->n) return rc;
    rc = decoder_final_norm(d, b, e);
    if (rc) return rc;
    int s = m->ops->head_loss(&d->head_cx, d->nll, d->best, with_backward ? d->d_norm : NULL,
                              with_backward ? d->head.d_w : NULL, d->rows_norm, &d->head.w, d->dev.label, b->n,
                              d->dev.weight, d->size.chunk);
    if (!s) s = m->ops->loss_add(&d->cx, d->step, d->nll, b->n);
    if (s || !with_backward || (d->lowest == m->cfg.L && !d->final_norm.d_w && !d->head.d_w))
        return decoder_status(d, s, "loss", e);
    return backward(d, b, &at, e);
}

int decoder_nll(struct decoder *d, long n, float *nll, int32_t *best, struct err *e)
{
    int s = dev_to_host(d->m->dev, nll, d->nll, (size_t)n * sizeof *nll);
    if (!s && best) s = dev_to_host(d->m->dev, best, d->best, (size_t)n * sizeof *best);
    return decoder_status(d, s, "copy of the losses", e);
}
