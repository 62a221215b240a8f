/* decoder_infer.c: logits, with or without a key/value cache. */
#include "libcommon/model/decoder.h"
#include "libcommon/model/decoder_internal.h"

int decoder_logits(struct decoder *d, const struct batch *b, float *logits, struct err *e)
{
    struct model *m = d->m;
    struct attn at;
    if (b->n > d->size.logits)
        return err_set(e, E_BUG, "decoder: %ld rows of logits, planned %ld", b->n, d->size.logits);
    int rc = decoder_forward(d, b, &at, e);
    if (rc || !b->n) return rc;
    rc = decoder_final_norm(d, b, e);
    if (rc) return rc;
    struct linear head = {.n = 1, .in = m->cfg.C, .out = m->cfg.V, .part = {{.w = m->head}}};
    int s = m->ops->linear_fwd(&d->head_cx, d->logits, NULL, d->rows_norm, NULL, &head, NULL, b->n);
    if (!s) s = dev_to_host(m->dev, logits, d->logits, (size_t)b->n * (size_t)m->cfg.V * sizeof *logits);
    return decoder_status(d, s, "logits", e);
}
