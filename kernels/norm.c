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
    long C;
    float eps;
};

static void fwd(void *job, long first, long last)
{
    const struct job *j = job;
    j->simd->norm_fwd(j->out, j->rstd, j->x, j->w, first, last, j->C, j->eps);
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

int cpu_norm_bwd(const struct op_ctx *cx, void *d_x, const void *d_y, const void *x, const float *w, const float *rstd,
                 long T, long C)
{
    int rc = cpu_op_check(cx, "norm_bwd");
    if (rc) return rc;
    struct job j = {.simd = cx->dev->simd, .out = d_x, .rstd_in = rstd, .x = x, .d_y = d_y, .w = w, .C = C};
    parallel_rows(parallel_threads(T, 2 * C), T, bwd, &j);
    return DEV_OK;
}
