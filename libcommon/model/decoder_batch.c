/* decoder_batch.c: a batch on its way to the device: one block, packed on the host, copied once. */
#include <math.h>
#include <string.h>
#include "libcommon/model/decoder_internal.h"

static void *take(unsigned char *base, size_t *at, size_t bytes)
{
    void *p = base ? base + *at : NULL;
    *at += (bytes + 63) / 64 * 64;
    return p;
}

/* Offsets depend on the planned sizes alone: a captured graph finds the same addresses in each call. */
void decoder_block_layout(struct decoder *d, unsigned char *base)
{
    const size_t T = (size_t)d->size.T, n = (size_t)d->size.n, B = (size_t)d->size.B, S = (size_t)d->size.spans;
    size_t at = 0;
    d->dev.uid = take(base, &at, T * 8);
    d->dev.row_uid = take(base, &at, n * 8);
    d->dev.ids = take(base, &at, T * 4);
    d->dev.pos = take(base, &at, T * 4);
    d->dev.cache_row = take(base, &at, T * 4);
    d->dev.row = take(base, &at, n * 4);
    d->dev.label = take(base, &at, n * 4);
    d->dev.weight = take(base, &at, n * 4);
    d->dev.q_start = take(base, &at, B * 4);
    d->dev.q_len = take(base, &at, B * 4);
    d->dev.kv_start = take(base, &at, B * 4);
    d->dev.kv_len = take(base, &at, B * 4);
    d->dev.span = take(base, &at, S * sizeof(struct span));
    d->dev.label_span = take(base, &at, S * sizeof(struct span));
    const size_t virtual_rows = hooks_virtual(d->hooks) ? T : 0;
    d->dev.virtual_row = take(base, &at, virtual_rows * 4);
    d->dev.virtual_id = take(base, &at, virtual_rows * 4);
    d->block_bytes = at;
}

static int check(const struct decoder *d, const struct batch *b, struct err *e)
{
    if (b->T < 1 || b->T > d->size.T || b->n > d->size.n || b->n > b->T || b->B < 1 || b->B > d->size.B ||
        b->n_span > d->size.spans)
        return err_set(e, E_BUG, "decoder: batch of %ld tokens, %d sequences, %ld rows; planned %ld, %d, %ld", b->T,
                       b->B, b->n, d->size.T, d->size.B, d->size.n);
    if (b->n_virtual && !hooks_virtual(d->hooks))
        return err_set(e, E_BUG, "decoder: a batch with virtual tokens, and no adapter that has some");
    if (decoder_prefixed(d, b) && b->T + b->n_virtual > d->size.T)
        return err_set(e, E_BUG, "decoder: keys of %ld tokens and %ld virtual ones; planned %ld", b->T, b->n_virtual,
                       d->size.T);
    return 0;
}

/* Host twin of a place in the block. */
static void fill(struct decoder *d, void *place, const void *src, long n, size_t size)
{
    if (src && n) memcpy(d->block_host + ((unsigned char *)place - d->block), src, (size_t)n * size);
}

int decoder_upload(struct decoder *d, const struct batch *b, bool dropout, struct err *e)
{
    int rc = check(d, b, e);
    if (rc) return rc;
    struct device *dev = d->m->dev;
    int s = d->block_host == d->block ? 0 : dev_upload_wait(dev); /* the last batch has left the host's block */
    fill(d, d->dev.ids, b->ids, b->T, 4);
    fill(d, d->dev.pos, b->pos, b->T, 4);
    fill(d, d->dev.uid, b->uid, b->T, 8);
    fill(d, d->dev.q_start, b->q_start, b->B, 4);
    fill(d, d->dev.q_len, b->q_len, b->B, 4);
    fill(d, d->dev.cache_row, b->cache_row, b->T, 4);
    if (b->cache_row) fill(d, d->dev.kv_start, b->kv_start, b->B, 4);
    if (b->cache_row) fill(d, d->dev.kv_len, b->kv_len, b->B, 4);
    fill(d, d->dev.row, b->row, b->n, 4);
    fill(d, d->dev.label, b->label, b->n, 4);
    fill(d, d->dev.weight, b->weight, b->n, 4);
    fill(d, d->dev.span, b->span, b->n_span, sizeof(struct span));
    fill(d, d->dev.label_span, b->label_span, b->n_span, sizeof(struct span));
    fill(d, d->dev.virtual_row, b->virtual_row, b->n_virtual, 4);
    fill(d, d->dev.virtual_id, b->virtual_id, b->n_virtual, 4);
    for (long i = 0; b->uid && i < b->n; i++) fill(d, d->dev.row_uid + i, &b->uid[b->row[i]], 1, 8);
    if (!s && d->block_host != d->block) s = dev_upload(dev, d->block, d->block_host, d->block_bytes);
    d->rows.seed = d->label_rows.seed = d->seed;
    d->rows.uid = dropout && b->uid ? d->dev.uid : NULL;
    d->label_rows.uid = dropout && b->uid ? d->dev.row_uid : NULL;
    d->rows.span = b->n_span ? d->dev.span : NULL;
    d->label_rows.span = b->n_span ? d->dev.label_span : NULL;
    return decoder_status(d, s, "copy of the batch", e);
}

void decoder_attn(const struct decoder *d, const struct batch *b, struct attn *a)
{
    const struct model_config *c = &d->m->cfg;
    long ld = (long)(c->H + 2 * c->K) * c->D;
    const float turned = (float)c->rope_scaling.attention_factor; /* of q and of k: their products have it twice */
    const bool apart = b->cache_row != NULL, prefixed = decoder_prefixed(d, b);
    const long ldk = prefixed ? decoder_kv_width(d) : apart ? (long)c->K * c->D : ld;
    *a = (struct attn){.B = b->B,
                       .H = c->H,
                       .K = c->K,
                       .D = c->D,
                       .scale = turned * turned / sqrtf((float)c->D),
                       .q_start = d->dev.q_start,
                       .q_len = d->dev.q_len,
                       .kv_start = apart ? d->dev.kv_start : d->dev.q_start,
                       .kv_len = apart ? d->dev.kv_len : d->dev.q_len,
                       .ldq = ld,
                       .ldk = ldk,
                       .ldv = ldk,
                       .ldo = (long)c->H * c->D};
    for (int i = 0; i < b->B; i++) {
        int kv = apart ? b->kv_len[i] : b->q_len[i];
        if (b->q_len[i] > a->max_q) a->max_q = b->q_len[i];
        if (kv > a->max_kv) a->max_kv = kv;
    }
}
