/* decoder_train.c: loss and gradients. The backward pass of each layer stands in the reverse order of decoder_layer; it
 * stops at the lowest trained module, below which no gradient is wanted. */
#include "libcommon/model/decoder.h"
#include "libcommon/model/decoder_internal.h"

/* What of a layer's backward pass is wanted: everything above the lowest trained part. */
struct wanted {
    bool below, qkv, o, gu;
};
static struct wanted wanted_of(const struct decoder *d, int l)
{
    const struct layer *w = &d->m->layer[l];
    struct wanted g = {.below = l > d->lowest};
    g.qkv = g.below || decoder_trained(&w->qkv);
    g.o = g.qkv || decoder_trained(&w->o);
    g.gu = g.o || decoder_trained(&w->gate_up);
    return g;
}

/* r->d_res: from the gradient of the layer's output to that of res_mid, which is also the residual's; then r->d_o. */
static int mlp_backward(struct decoder *d, const struct mlp_rows *r, int l, struct wanted g)
{
    const struct model *m = d->m;
    const struct model_config *c = &m->cfg;
    const struct layer *w = &m->layer[l];
    const struct ops *ops = m->ops;
    const struct op_ctx *cx = &d->cx;
    const struct layer_acts *a = &d->layer[l];
    bool t_gu = decoder_trained(&w->gate_up), t_down = decoder_trained(&w->down);

    int s = t_down ? ops->swiglu_fwd(cx, d->ffn, a->gu, r->T, c->F) : 0;
    if (!s)
        s = ops->linear_bwd(cx, g.gu ? d->d_ffn : NULL, 0, r->d_res, t_down ? d->ffn : NULL, a->h_down, &w->down,
                            &r->drop, r->T);
    if (s || !g.gu) return s;
    s = ops->swiglu_bwd(cx, d->d_wide, d->d_ffn, a->gu, r->T, c->F);
    if (!s && t_gu) s = ops->norm_fwd(cx, d->norm, NULL, a->res_mid, w->mlp_norm, r->T, c->C, c->norm_eps);
    if (!s)
        s = ops->linear_bwd(cx, g.o ? d->d_norm : NULL, 0, d->d_wide, t_gu ? d->norm : NULL, a->h_gu, &w->gate_up,
                            &r->drop, r->T);
    if (s || !g.o) return s;
    s = ops->norm_bwd(cx, r->d_res, d->d_norm, a->res_mid, w->mlp_norm, a->rstd2, r->T, c->C);
    return s ? s : ops->linear_bwd(cx, g.qkv ? r->d_o : NULL, 0, r->d_res, r->o, a->h_o, &w->o, &r->drop, r->T);
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
    const struct layer *w = &m->layer[l];
    const struct ops *ops = m->ops;
    const struct op_ctx *cx = &d->cx;
    const struct layer_acts *a = &d->layer[l];
    long T = b->T, ld = (long)(c->H + 2 * c->K) * c->D;
    size_t es = (size_t)dtype_info[cx->act].bytes;
    size_t at_k = (size_t)c->H * (size_t)c->D * es, at_v = at_k + (size_t)c->K * (size_t)c->D * es;
    char *q = a->qkv, *d_q = d->d_wide;
    bool trained = decoder_trained(&w->qkv);

    int s = ops->attn_bwd(cx, d_q, d_q + at_k, d_q + at_v, d->d_norm, q, q + at_k, q + at_v, a->o, a->lse, at);
    if (!s) s = ops->rope(cx, d_q, ld, d->dev.pos, m->inv_freq, T, c->H + c->K, c->D, -1);
    if (!s && trained) s = ops->norm_fwd(cx, d->norm, NULL, a->res_in, w->attn_norm, T, c->C, c->norm_eps);
    if (!s)
        s = ops->linear_bwd(cx, g.below ? d->d_norm : NULL, 0, d_q, trained ? d->norm : NULL, a->h_qkv, &w->qkv,
                            &d->drop, T);
    return s || !g.below ? s : ops->norm_bwd(cx, d->d_res, d->d_norm, a->res_in, w->attn_norm, a->rstd1, T, c->C);
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

int decoder_loss(struct decoder *d, const struct batch *b, bool backward, float gscale, float *nll, int32_t *best,
                 struct err *e)
{
    const struct model *m = d->m;
    const struct model_config *c = &m->cfg;
    const struct ops *ops = m->ops;
    struct attn at;
    int rc = decoder_forward(d, b, &at, e);
    if (rc || !b->n) return rc;
    rc = decoder_final_norm(d, b, e);
    if (rc) return rc;
    void *d_normed = backward ? d->d_norm : NULL;
    int s = ops->head_loss(&d->head_cx, d->nll, best ? d->best : NULL, d_normed, d->rows_norm, &m->head, d->dev.label,
                           b->n, gscale, d->size.chunk);
    if (!s) s = dev_to_host(m->dev, nll, d->nll, (size_t)b->n * 4);
    if (!s && best) s = dev_to_host(m->dev, best, d->best, (size_t)b->n * 4);
    if (s || !backward || d->lowest == c->L) return decoder_status(d, s, "loss", e);

    s = dev_zero(m->dev, d->d_rows, (size_t)b->n * (size_t)c->C * (size_t)dtype_info[d->cx.act].bytes);
    if (!s) s = ops->norm_bwd(&d->cx, d->d_rows, d_normed, d->x_last, m->final_norm, d->rows_rstd, b->n, c->C);
    rc = decoder_status(d, s, "gradient of the loss", e);
    for (int l = c->L; l-- > d->lowest && !rc;) {
        if (d->size.recompute) rc = decoder_layer(d, b, &at, l, NULL, e);
        if (!rc) rc = layer_backward(d, b, &at, l, e);
    }
    return rc;
}
