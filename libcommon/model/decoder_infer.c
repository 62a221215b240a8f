/* decoder_infer.c: logits, with or without a key/value cache. */
#include "libcommon/model/decoder.h"
#include <stdlib.h>
#include "libcommon/base/mem.h"
#include "libcommon/format/finite.h"
#include "libcommon/model/decoder_internal.h"

int decoder_logits(struct decoder *d, const struct batch *b, float *logits, struct err *e)
{
    struct model *m = d->m;
    struct attn at;
    if (b->n > d->size.logits)
        return err_set(e, E_BUG, "decoder: %ld rows of logits, planned %ld", b->n, d->size.logits);
    int rc = decoder_forward(d, b, false, &at, e);
    if (rc || !b->n) return rc;
    rc = decoder_final_norm(d, b, e);
    if (rc) return rc;
    int s = m->ops->head_logits(&d->head_cx, d->logits, d->rows_norm, &d->head.w, b->n);
    const size_t bytes = (size_t)b->n * (size_t)m->cfg.V * sizeof *logits;
    if (!s) s = dev_to_host(m->dev, logits, d->logits, bytes);
    rc = decoder_status(d, s, "logits", e);
    if (rc || finite_first_not(DT_F32, logits, bytes) < 0) return rc;
    err_set(e, E_DIVERGED, "%s: logits are infinite or NaN", m->path);
    return err_hint(e, "values of the model, or of an adapter, are so large that sums overflow");
}

int decoder_cache_copy(struct decoder *d, long from, long to, long n, struct err *e)
{
    const struct model_config *c = &d->m->cfg;
    const long kd = (long)c->K * c->D;
    const size_t row = (size_t)kd * (size_t)dtype_info[d->cx.act].bytes;
    if (n > d->size.T || from + n > d->size.cache_rows || to + n > d->size.cache_rows ||
        (from < to + n && to < from + n))
        return err_set(e, E_BUG, "decoder: copy of %ld cache rows from %ld to %ld, of %ld", n, from, to,
                       d->size.cache_rows);
    int32_t *rows = mem_alloc((size_t)n, sizeof *rows);
    for (long i = 0; i < n; i++) rows[i] = (int32_t)(to + i);
    int s = dev_from_host(d->m->dev, d->dev.cache_row, rows, (size_t)n * sizeof *rows);
    void **const cache[2] = {d->k_cache, d->v_cache};
    for (int l = 0; l < 2 * c->L && !s; l++) {
        char *p = cache[l % 2][l / 2];
        s = d->m->ops->rows_scatter(&d->cx, p, kd, p + (size_t)from * row, kd, d->dev.cache_row, n, kd);
    }
    free(rows);
    return decoder_status(d, s, "copy of cached keys and values", e);
}
