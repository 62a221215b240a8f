/* embed: rows of the embedding matrix, unpacked to f32. */
#include "kernels/ops.h"
#include "kernels/parallel.h"
#include "kernels/strides.h"

struct job {
    const struct simd *simd;
    float *y; /* [T][ldy] */
    long ldy;
    const int32_t *ids;
    const struct mat *w;
};

static void unpack(void *job, long first, long last)
{
    const struct job *j = job;
    const size_t row = dtype_row_bytes(j->w->dtype, j->w->cols);
    for (long t = first; t < last; t++)
        j->simd->f32->unpack(j->w->dtype, (const unsigned char *)j->w->data + (size_t)j->ids[t] * row, 0, j->w->cols,
                             j->y + t * j->ldy);
}

int cpu_embed_fwd(const struct op_ctx *cx, void *y, long ldy, const int32_t *ids, const struct mat *w, long T)
{
    const struct op_rows strides[] = {{"ldy", y, ldy, w->cols}};
    int rc = cpu_op_check(cx, "embed_fwd");
    if (!rc) rc = op_strides(cx, "embed_fwd", strides, 1);
    if (rc) return rc;
    for (long t = 0; t < T; t++)
        if (ids[t] < 0 || ids[t] >= w->rows)
            return dev_fail(cx->dev, DEV_FAILED, "embed_fwd: token %ld is %d, the embedding has %d rows", t, ids[t],
                            w->rows);
    struct job j = {.simd = cx->dev->simd, .y = y, .ldy = ldy, .ids = ids, .w = w};
    parallel_rows(parallel_threads(T, w->cols), T, unpack, &j);
    return DEV_OK;
}

struct bwd_job {
    float *d_w;
    long ld_dw;
    const float *d_y;
    const int32_t *ids;
    long T, C;
};

/* Columns first .. last of all tokens, in their order: two tokens of one id meet in one thread. */
static void add_columns(void *job, long first, long last)
{
    const struct bwd_job *j = job;
    for (long t = 0; t < j->T; t++) {
        float *to = j->d_w + (long)j->ids[t] * j->ld_dw;
        for (long c = first; c < last; c++) to[c] += j->d_y[t * j->C + c];
    }
}

int cpu_embed_bwd(const struct op_ctx *cx, float *d_w, long ld_dw, const void *d_y, const int32_t *ids, long T, long C)
{
    const struct op_rows strides[] = {{"ld_dw", d_w, ld_dw, C}};
    int rc = cpu_op_check(cx, "embed_bwd");
    if (!rc) rc = op_strides(cx, "embed_bwd", strides, 1);
    if (rc) return rc;
    struct bwd_job j = {d_w, ld_dw, d_y, ids, T, C};
    parallel_rows(parallel_threads(C, T), C, add_columns, &j);
    return DEV_OK;
}
