/* decoder_prefix.c: keys and values of a prefix. Attention wants those of a sequence in order, the prefix' before its
 * own: they are brought together in d->kv, one layer at a time, again in the backward pass. That is a copy of 2 K D of
 * the layer's activations; without a prefix nothing is copied. */
#include <stdlib.h>
#include "libcommon/base/mem.h"
#include "libcommon/model/decoder_internal.h"

static struct prefix_call call_of(const struct decoder *d, int l, long n)
{
    return (struct prefix_call){
        .ops = d->m->ops, .cx = &d->cx, .layer = l, .width = decoder_kv_width(d), .n = n, .id = d->dev.virtual_id};
}

int decoder_prefix_keys(struct decoder *d, const struct batch *b, int l)
{
    const struct model_config *c = &d->m->cfg;
    const struct ops *ops = d->m->ops;
    const struct prefix_call call = call_of(d, l, b->n_virtual);
    const long width = call.width, q = (long)c->H * c->D;
    const char *k = (const char *)d->layer[l].qkv + (size_t)q * (size_t)dtype_info[d->cx.act].bytes;
    int s = ops->rows_scatter(&d->cx, d->kv, width, k, q + width, d->dev.cache_row, b->T, width); /* k|v of q|k|v */
    if (!s) s = d->hooks->prefix->fwd(d->hooks->prefix, &call, d->hook_scratch);
    return s ? s
             : ops->rows_scatter(&d->cx, d->kv, width, d->hook_scratch, width, d->dev.virtual_row, b->n_virtual, width);
}

int decoder_prefix_backward(struct decoder *d, const struct batch *b, int l, void *d_k)
{
    const struct ops *ops = d->m->ops;
    const struct prefix_call call = call_of(d, l, b->n_virtual);
    const long width = call.width, ld = (long)d->m->cfg.H * d->m->cfg.D + width;
    int s = ops->rows_gather(&d->cx, d_k, ld, d->d_kv, width, d->dev.cache_row, b->T, width);
    if (s || !d->hooks->prefix->trained) return s;
    s = ops->rows_gather(&d->cx, d->hook_scratch, width, d->d_kv, width, d->dev.virtual_row, b->n_virtual, width);
    return s ? s : d->hooks->prefix->bwd(d->hooks->prefix, &call, d->hook_scratch);
}

int decoder_cache_prefix(struct decoder *d, long to, struct err *e)
{
    const long n = hooks_prefix(d->hooks), kd = decoder_kv_width(d) / 2;
    if (n > d->size.T || to + n > d->size.cache_rows)
        return err_set(e, E_BUG, "decoder: a prefix of %ld rows at cache row %ld of %ld", n, to, d->size.cache_rows);
    int32_t *at = mem_alloc((size_t)n * 2, sizeof *at);
    for (long i = 0; i < n; i++) at[i] = (int32_t)(to + i), at[n + i] = (int32_t)i;
    int s = dev_from_host(d->m->dev, d->dev.cache_row, at, (size_t)n * sizeof *at);
    if (!s) s = dev_from_host(d->m->dev, d->dev.virtual_id, at + n, (size_t)n * sizeof *at);
    free(at);
    const char *v = (const char *)d->hook_scratch + (size_t)kd * (size_t)dtype_info[d->cx.act].bytes;
    for (int l = 0; l < d->m->cfg.L && !s; l++) {
        const struct prefix_call call = call_of(d, l, n);
        s = d->hooks->prefix->fwd(d->hooks->prefix, &call, d->hook_scratch);
        if (!s)
            s = d->m->ops->rows_scatter(&d->cx, d->k_cache[l], kd, d->hook_scratch, 2 * kd, d->dev.cache_row, n, kd);
        if (!s) s = d->m->ops->rows_scatter(&d->cx, d->v_cache[l], kd, v, 2 * kd, d->dev.cache_row, n, kd);
    }
    return decoder_status(d, s, "a prefix into the cache", e);
}
