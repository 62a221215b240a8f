/* extract: see extract.h. */
#include "libcommon/merge/extract.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/msg.h"
#include "libcommon/format/gguf.h"
#include "libcommon/merge/combine.h"

/* Row i, in Hugging Face's order. */
static void row_of(const struct model *m, const struct site *s, const struct tensor *t, long i, long cols, float *row)
{
    const bool permuted = s->rotated && model_rows_permuted(m);
    const long at = permuted ? gguf_row_of_hf(i, m->cfg.D) : i;
    dtype_to_f32(t->dtype, (const char *)t->data + (size_t)at * dtype_row_bytes(t->dtype, cols), row, cols);
}

/* delta [rows][cols] and its squared size; of a vector rows is 1. */
static double difference(const struct model *a, const struct model *b, const struct site *s, const struct site *u,
                         long rows, long cols, double *delta)
{
    float *x = mem_alloc((size_t)cols, sizeof *x), *y = mem_alloc((size_t)cols, sizeof *y);
    double size = 0;
    for (long i = 0; i < rows; i++) {
        row_of(a, s, s->weight, i, cols, x);
        row_of(b, u, u->weight, i, cols, y);
        for (long k = 0; k < cols; k++) {
            const double d = (double)y[k] - x[k];
            delta[i * cols + k] = d;
            size += d * d;
        }
    }
    free(x);
    free(y);
    return size;
}

static int of_site(struct extract *x, const struct model *base, const struct model *tuned, const struct site *s,
                   double *all, struct lora_set *out, struct err *e)
{
    const struct site *u = model_site(tuned, s->path);
    if (!u || site_rows(s) != site_rows(u) || site_cols(s) != site_cols(u))
        return err_set(e, E_MISMATCH, "%s: %s is not there or has another shape than in %s", tuned->path, s->path,
                       base->path);
    const bool matrix = s->weight->ndim > 1;
    const long rows = matrix ? site_rows(s) : 1, cols = matrix ? site_cols(s) : site_rows(s);
    double *delta = mem_alloc((size_t)rows * (size_t)cols, sizeof *delta);
    const double size = difference(base, tuned, s, u, rows, cols, delta);
    int rc = 0;
    if (s->kind != SITE_LINEAR) {
        x->unsaid += size > 0;
    } else if (size > 0) {
        struct lora_pair *p = lora_set_add(out, s->path, x->rank, (int)cols, (int)rows, 1);
        double kept = 0;
        rc = combine_decompose(delta, p, e);
        /* the rows of A are orthonormal: what B holds is what was kept */
        for (long i = 0; i < rows * p->r; i++) kept += (double)p->b[i] * p->b[i];
        *all += size;
        x->left_out += size > kept ? size - kept : 0;
    }
    free(delta);
    return rc;
}

int extract(struct extract *x, const struct model *base, const struct model *tuned, struct lora_set *out, struct err *e)
{
    double all = 0;
    int rc = 0;
    *out = (struct lora_set){.from = mem_dupz(tuned->path), .base_name = mem_dupz(base->name), .has_base_digest = true};
    memcpy(out->base_digest, base->digest, sizeof out->base_digest);
    if (base->arch != tuned->arch || base->n_site != tuned->n_site)
        return err_set(e, E_MISMATCH, "%s and %s are not of one architecture and size", base->path, tuned->path);
    for (int i = 0; i < base->n_site && !rc; i++) {
        msg_progress("comparing %s", base->site[i].path);
        rc = of_site(x, base, tuned, &base->site[i], &all, out, e);
    }
    msg_progress(NULL);
    if (!rc && !out->n)
        rc = err_set(e, E_ADAPTER_NOOP, "no projection of %s differs from that of %s", tuned->path, base->path);
    if (rc) return rc;
    x->left_out /= all;
    lora_set_sort(out);
    lora_set_name_targets(out, base);
    return 0;
}
