/* norm: RMSNorm and its gradient by rows (Zhang & Sennrich 2019). The loops: rows_simd.h. */
#include "kernels/ops.h"
#include "kernels/parallel.h"

struct job {
    const struct simd *simd;
    void *out; /* y or d_x */
    float *rstd;
    const float *rstd_in;
    const void *x, *d_y;
    const float *w;
    float *d_w;
    long T, C;
    float eps;
};

static void fwd(void *job, long first, long last)
{
    const struct job *j = job;
    j->simd->norm_fwd(j->out, j->rstd, j->x, j->w, first, last, j->C, j->eps);
}

/* d_w of columns first .. last: rows in their order. */
static void bwd_weight(void *job, long first, long last)
{
    const struct job *j = job;
    const float *x = j->x, *d_y = j->d_y;
    for (long t = 0; t < j->T; t++)
        for (long c = first; c < last; c++) j->d_w[c] += d_y[t * j->C + c] * x[t * j->C + c] * j->rstd_in[t];
}

static void bwd(void *job, long first, long last)
{
    const struct job *j = job;
    j->simd->norm_bwd(j->out, j->d_y, j->x, j->w, j->rstd_in, first, last, j->C);
}

int cpu_norm_fwd(const struct op_ctx *cx, void *y, float *rstd, const void *x, const float *w, long T, long C,
                 float eps)
{
    int rc = cpu_op_check(cx, "norm_fwd");
    if (rc) return rc;
    struct job j = {.simd = cx->dev->simd, .out = y, .rstd = rstd, .x = x, .w = w, .C = C, .eps = eps};
    parallel_rows(parallel_threads(T, C), T, fwd, &j);
    return DEV_OK;
}

int cpu_norm_bwd(const struct op_ctx *cx, void *d_x, float *d_w, const void *d_y, const void *x, const float *w,
                 const float *rstd, long T, long C)
{
    int rc = cpu_op_check(cx, "norm_bwd");
    if (rc) return rc;
    struct job j = {
        .simd = cx->dev->simd, .out = d_x, .rstd_in = rstd, .x = x, .d_y = d_y, .w = w, .d_w = d_w, .T = T, .C = C};
    parallel_rows(parallel_threads(T, 2 * C), T, bwd, &j);
    if (d_w) parallel_rows(parallel_threads(C, 2 * T), C, bwd_weight, &j);
    return DEV_OK;
}
