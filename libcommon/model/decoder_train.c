/* decoder_train.c: loss and gradients. The backward pass of each layer stands in the reverse order of decoder_layer; it stops
 * at the lowest trained module, below which no gradient is wanted. */
#include "libcommon/model/decoder.h"
#include "libcommon/model/decoder_internal.h"

/* d_res holds the gradient of the layer's output on entry, of its input on return (unless the walk ends in this layer). */
static int layer_backward(struct decoder *d, const struct batch *b, const struct attn *at, int l, struct err *e)
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
    bool below = l > d->lowest;
    bool to_qkv = below || decoder_trained(&w->qkv);
    bool to_o = to_qkv || decoder_trained(&w->o);
    bool to_gu = to_o || decoder_trained(&w->gate_up);
    bool t_gu = decoder_trained(&w->gate_up), t_qkv = decoder_trained(&w->qkv), t_down = decoder_trained(&w->down);

    int s = t_down ? ops->swiglu_fwd(cx, d->ffn, a->gu, T, c->F) : 0;
    if (!s) s = ops->linear_bwd(cx, to_gu ? d->d_ffn : NULL, 0, d->d_res, t_down ? d->ffn : NULL, a->h_down, &w->down, &d->drop, T);
    if (!s && to_gu) {
        s = ops->swiglu_bwd(cx, d->d_wide, d->d_ffn, a->gu, T, c->F);
        if (!s && t_gu) s = ops->norm_fwd(cx, d->norm, NULL, a->res_mid, w->mlp_norm, T, c->C, c->norm_eps);
        if (!s) s = ops->linear_bwd(cx, to_o ? d->d_norm : NULL, 0, d->d_wide, t_gu ? d->norm : NULL, a->h_gu, &w->gate_up, &d->drop, T);
    }
    if (!s && to_o) {
        s = ops->norm_bwd(cx, d->d_res, d->d_norm, a->res_mid, w->mlp_norm, a->rstd2, T, c->C);
        if (!s) s = ops->linear_bwd(cx, to_qkv ? d->d_norm : NULL, 0, d->d_res, a->o, a->h_o, &w->o, &d->drop, T);
    }
    if (!s && to_qkv) {
        s = ops->attn_bwd(cx, d_q, d_q + at_k, d_q + at_v, d->d_norm, q, q + at_k, q + at_v, a->o, a->lse, at);
        if (!s) s = ops->rope(cx, d_q, ld, d->dev.pos, m->inv_freq, T, c->H + c->K, c->D, -1);
        if (!s && t_qkv) s = ops->norm_fwd(cx, d->norm, NULL, a->res_in, w->attn_norm, T, c->C, c->norm_eps);
        if (!s) s = ops->linear_bwd(cx, below ? d->d_norm : NULL, 0, d_q, t_qkv ? d->norm : NULL, a->h_qkv, &w->qkv, &d->drop, T);
        if (!s && below) s = ops->norm_bwd(cx, d->d_res, d->d_norm, a->res_in, w->attn_norm, a->rstd1, T, c->C);
    }
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
    rc = decoder_rows(d, b, e);
    if (rc) return rc;
    void *d_normed = backward ? d->d_rows : NULL;
    int s = ops->head_loss(&d->cx, d->nll, best ? d->best : NULL, d_normed, d->rows_norm, &m->head, d->dev.label, b->n,
                           gscale, d->size.chunk);
    if (!s) s = dev_to_host(m->dev, nll, d->nll, (size_t)b->n * 4);
    if (!s && best) s = dev_to_host(m->dev, best, d->best, (size_t)b->n * 4);
    if (s || !backward || d->lowest == c->L) return decoder_status(d, s, "loss", e);

    size_t es = (size_t)dtype_info[d->cx.act].bytes;
    s = dev_zero(m->dev, d->rows_norm, (size_t)b->n * (size_t)c->C * es);
    if (!s) s = ops->norm_bwd(&d->cx, d->rows_norm, d->d_rows, d->rows, m->final_norm, d->rows_rstd, b->n, c->C);
    if (!s) s = dev_zero(m->dev, d->d_res, (size_t)b->T * (size_t)c->C * es);
    if (!s) s = ops->rows_scatter(&d->cx, d->d_res, c->C, d->rows_norm, c->C, d->dev.row, b->n, c->C);
    rc = decoder_status(d, s, "gradient of the loss", e);
    for (int l = c->L; l-- > d->lowest && !rc;) {
        if (d->size.recompute) rc = decoder_layer(d, b, &at, l, NULL, e);
        if (!rc) rc = layer_backward(d, b, &at, l, e);
    }
    return rc;
}
