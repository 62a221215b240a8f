/* norm: RMSNorm and its gradient by rows (Zhang & Sennrich 2019). The loops: rows_simd.h. */
#include "kernels/ops.h"
#include "kernels/parallel.h"
#include "kernels/strides.h"

struct job {
    const struct simd *simd;
    void *out; /* y or d_x */
    float *rstd;
    const float *rstd_in;
    const void *x, *d_y;
    const float *w;
    float *d_w;
    long out_row, ldx, ld_dy, T, C;
    float eps;
};

static void fwd(void *job, long first, long last)
{
    const struct job *j = job;
    j->simd->norm_fwd(j->out, j->out_row, j->rstd, j->x, j->ldx, j->w, first, last, j->C, j->eps);
}

/* d_w of columns first .. last: rows in their order. */
static void bwd_weight(void *job, long first, long last)
{
    const struct job *j = job;
    const float *x = j->x, *d_y = j->d_y;
    for (long t = 0; t < j->T; t++)
        for (long c = first; c < last; c++) j->d_w[c] += d_y[t * j->ld_dy + c] * x[t * j->ldx + c] * j->rstd_in[t];
}

static void bwd(void *job, long first, long last)
{
    const struct job *j = job;
    j->simd->norm_bwd(j->out, j->out_row, j->d_y, j->ld_dy, j->x, j->ldx, j->w, j->rstd_in, first, last, j->C);
}

int cpu_norm_fwd(const struct op_ctx *cx, void *y, long ldy, float *rstd, const void *x, long ldx, const float *w,
                 long T, long C, float eps)
{
    const struct op_rows strides[] = {{"ldy", y, ldy, C}, {"ldx", x, ldx, C}};
    int rc = cpu_op_check(cx, "norm_fwd");
    if (!rc) rc = op_strides(cx, "norm_fwd", strides, 2);
    if (rc) return rc;
    struct job j = {
        .simd = cx->dev->simd, .out = y, .rstd = rstd, .x = x, .w = w, .out_row = ldy, .ldx = ldx, .C = C, .eps = eps};
    parallel_rows(parallel_threads(T, C), T, fwd, &j);
    return DEV_OK;
}

int cpu_norm_bwd(const struct op_ctx *cx, void *d_x, long ld_dx, float *d_w, const void *d_y, long ld_dy, const void *x,
                 long ldx, const float *w, const float *rstd, long T, long C)
{
    const struct op_rows strides[] = {{"ld_dx", d_x, ld_dx, C}, {"ld_dy", d_y, ld_dy, C}, {"ldx", x, ldx, C}};
    int rc = cpu_op_check(cx, "norm_bwd");
    if (!rc) rc = op_strides(cx, "norm_bwd", strides, 3);
    if (rc) return rc;
    struct job j = {.simd = cx->dev->simd,
                    .out = d_x,
                    .rstd_in = rstd,
                    .x = x,
                    .d_y = d_y,
                    .w = w,
                    .d_w = d_w,
                    .out_row = ld_dx,
                    .ldx = ldx,
                    .ld_dy = ld_dy,
                    .T = T,
                    .C = C};
    parallel_rows(parallel_threads(T, 2 * C), T, bwd, &j);
    if (d_w) parallel_rows(parallel_threads(C, 2 * T), C, bwd_weight, &j);
    return DEV_OK;
}
