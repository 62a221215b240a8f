/* decoder_layer.c: the forward pass of a layer, and of all. Without a hook the residual is the initial value of the
 * products behind attention and of the MLP; with one they are computed apart, and the hook brings them together. */
#include <string.h>
#include "libcommon/model/decoder_internal.h"

struct mlp_rows decoder_mlp_rows(const struct decoder *d, const struct batch *b, int l)
{
    const struct layer_acts *a = &d->layer[l];
    if (l + 1 < d->m->cfg.L) return (struct mlp_rows){b->T, a->res_in, a->o, &d->rows, d->d_res, d->d_norm};
    return (struct mlp_rows){b->n, d->last_res, d->last_o, &d->label_rows, d->d_rows, d->d_wide};
}

struct hook_call decoder_hook_call(const struct decoder *d, const struct mlp_rows *r, enum hook_at at, int l)
{
    return (struct hook_call){.ops = d->m->ops,
                              .cx = &d->cx,
                              .rows = r->rows,
                              .T = r->T,
                              .C = d->m->cfg.C,
                              .kept = d->layer[l].hook[at],
                              .scratch = d->hook_scratch};
}

struct embed_call decoder_embed_call(const struct decoder *d, const struct batch *b)
{
    return (struct embed_call){.ops = d->m->ops,
                               .cx = &d->cx,
                               .C = d->m->cfg.C,
                               .n = b->n_virtual,
                               .row = d->dev.virtual_row,
                               .id = d->dev.virtual_id,
                               .scratch = d->hook_scratch};
}

/* With longrope a sequence of more tokens than the model's original length has frequencies of its own. With a cache
 * that counts the tokens so far, as in transformers: keys of earlier calls stay as they were rotated then. */
int decoder_rope(struct decoder *d, const struct batch *b, void *x, long ld, int dir)
{
    const struct model *m = d->m;
    const struct model_config *c = &m->cfg;
    const size_t row = (size_t)ld * (size_t)dtype_info[d->cx.act].bytes;
    if (!m->inv_freq_long) return m->ops->rope(&d->cx, x, ld, d->dev.pos, m->inv_freq, b->T, c->H + c->K, c->D, dir);
    int s = 0;
    for (int i = 0; i < b->B && !s; i++) {
        const int n = b->cache_row ? b->kv_len[i] : b->q_len[i];
        const float *freq = n > c->rope_scaling.original_max_pos ? m->inv_freq_long : m->inv_freq;
        s = m->ops->rope(&d->cx, (char *)x + (size_t)b->q_start[i] * row, ld, d->dev.pos + b->q_start[i], freq,
                         b->q_len[i], c->H + c->K, c->D, dir);
    }
    return s;
}

static int attention_half(struct decoder *d, const struct batch *b, const struct attn *at, int l)
{
    const struct model *m = d->m;
    const struct model_config *c = &m->cfg;
    const struct ops *ops = m->ops;
    const struct op_ctx *cx = &d->cx;
    struct layer_acts *a = &d->layer[l];
    long T = b->T, ld = (long)(c->H + 2 * c->K) * c->D, kd = (long)c->K * c->D;
    size_t es = (size_t)dtype_info[cx->act].bytes;
    char *q = a->qkv, *k = q + (size_t)c->H * (size_t)c->D * es, *v = k + (size_t)kd * es;
    const void *keys = k, *values = v;

    int s = ops->norm_fwd(cx, d->norm, c->C, a->rstd1, a->res_in, c->C, decoder_norm(d, l, NORM_ATTN)->w, T, c->C,
                          c->norm_eps);
    if (!s)
        s = ops->linear_fwd(cx, q, ld, NULL, 0, d->norm, c->C, &a->kept[LIN_QKV], decoder_lin(d, l, LIN_QKV), &d->rows,
                            T);
    if (!s) s = decoder_rope(d, b, q, ld, 1);
    if (!s && decoder_prefixed(d, b)) {
        s = decoder_prefix_keys(d, b, l);
        keys = d->kv, values = (char *)d->kv + (size_t)kd * es;
    } else if (!s && b->cache_row) {
        s = ops->rows_scatter(cx, d->k_cache[l], kd, k, ld, d->dev.cache_row, T, kd);
        if (!s) s = ops->rows_scatter(cx, d->v_cache[l], kd, v, ld, d->dev.cache_row, T, kd);
        keys = d->k_cache[l], values = d->v_cache[l];
    }
    const struct attn of_layer = decoder_attn_layer(d, at, l);
    return s ? s : ops->attn_fwd(cx, a->o, a->lse, q, keys, values, &of_layer);
}

/* out = res + x W^T of the product `id`, through the hook if one stands there. */
static int into_residual(struct decoder *d, const struct mlp_rows *r, int l, enum lin_id id, enum hook_at at, void *out,
                         const void *res, const void *x)
{
    const struct ops *ops = d->m->ops;
    const struct hook *h = decoder_hook(d, at, l);
    const struct linear *lin = decoder_lin(d, l, id);
    struct layer_acts *a = &d->layer[l];
    const long C = d->m->cfg.C;
    int s = ops->linear_fwd(&d->cx, h ? a->sub[at] : out, C, h ? NULL : res, C, x, lin->in, &a->kept[id], lin, r->rows,
                            r->T);
    if (s || !h) return s;
    const struct hook_call call = decoder_hook_call(d, r, at, l);
    return h->fwd(h, &call, out, a->sub[at], res);
}

static int mlp_half(struct decoder *d, const struct mlp_rows *r, int l, void *out)
{
    const struct model_config *c = &d->m->cfg;
    const struct ops *ops = d->m->ops;
    const struct op_ctx *cx = &d->cx;
    const struct linear *down = decoder_lin(d, l, LIN_DOWN);
    struct layer_acts *a = &d->layer[l];
    int s = into_residual(d, r, l, LIN_O, HOOK_ATTN_OUT, a->res_mid, r->res_in, r->o);
    if (!s)
        s = ops->norm_fwd(cx, d->norm, c->C, a->rstd2, a->res_mid, c->C, decoder_norm(d, l, NORM_MLP)->w, r->T, c->C,
                          c->norm_eps);
    if (!s)
        s = ops->linear_fwd(cx, a->gu, 2L * c->F, NULL, 0, d->norm, c->C, &a->kept[LIN_GATE_UP],
                            decoder_lin(d, l, LIN_GATE_UP), r->rows, r->T);
    const bool kept = down->rank || down->raw || decoder_hook(d, HOOK_MLP_OUT, l);
    if (s || (!out && !kept)) return s;
    s = ops->swiglu_fwd(cx, d->ffn, c->F, a->gu, 2L * c->F, r->T, c->F);
    return s ? s : into_residual(d, r, l, LIN_DOWN, HOOK_MLP_OUT, out ? out : d->norm, a->res_mid, d->ffn);
}

/* One layer: out = layer(a->res_in). out NULL: only what the backward pass needs (recomputation). */
int decoder_layer(struct decoder *d, const struct batch *b, const struct attn *at, int l, void *out, struct err *e)
{
    const struct model_config *c = &d->m->cfg;
    const struct ops *ops = d->m->ops;
    const struct layer_acts *a = &d->layer[l];
    const struct mlp_rows r = decoder_mlp_rows(d, b, l);
    const long hd = (long)c->H * c->D;
    int s = attention_half(d, b, at, l);
    if (!s && r.o != a->o) {
        s = ops->rows_gather(&d->cx, r.o, hd, a->o, hd, d->dev.row, r.T, hd);
        if (!s) s = ops->rows_gather(&d->cx, r.res_in, c->C, a->res_in, c->C, d->dev.row, r.T, c->C);
    }
    if (!s && r.T) s = mlp_half(d, &r, l, out);
    return decoder_status(d, s, "a layer", e);
}

static int embed(struct decoder *d, const struct batch *b)
{
    void *x = d->layer[0].res_in;
    int s = d->m->ops->embed_fwd(&d->cx, x, d->m->cfg.C, d->dev.ids, &d->embed.w, b->T);
    if (s || !b->n_virtual || !d->hooks->embed) return s;
    const struct embed_call call = decoder_embed_call(d, b);
    return d->hooks->embed->fwd(d->hooks->embed, &call, x);
}

int decoder_forward(struct decoder *d, const struct batch *b, bool dropout, struct attn *at, struct err *e)
{
    int L = d->m->cfg.L, rc = decoder_upload(d, b, dropout, e);
    if (rc) return rc;
    decoder_attn(d, b, at);
    rc = decoder_status(d, embed(d, b), "embedding", e);
    for (int l = 0; l < L && !rc; l++)
        rc = decoder_layer(d, b, at, l, l + 1 < L ? d->layer[l + 1].res_in : d->x_last, e);
    return rc;
}

int decoder_final_norm(struct decoder *d, const struct batch *b, struct err *e)
{
    const struct model_config *c = &d->m->cfg;
    int s = d->m->ops->norm_fwd(&d->cx, d->rows_norm, c->C, d->rows_rstd, d->x_last, c->C, d->final_norm.w, b->n, c->C,
                                c->norm_eps);
    return decoder_status(d, s, "final norm", e);
}
