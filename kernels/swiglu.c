/* swiglu: h = silu(g) * u and its gradient by rows (Shazeer 2020). The loops: rows_simd.h. */
#include "kernels/ops.h"
#include "kernels/parallel.h"

struct job {
    const struct simd *simd;
    void *out; /* h or d_gu */
    const void *d_h, *gu;
    long F;
};

static void fwd(void *job, long first, long last)
{
    const struct job *j = job;
    j->simd->swiglu_fwd(j->out, j->gu, first, last, j->F);
}

static void bwd(void *job, long first, long last)
{
    const struct job *j = job;
    j->simd->swiglu_bwd(j->out, j->d_h, j->gu, first, last, j->F);
}

int cpu_swiglu_fwd(const struct op_ctx *cx, void *h, const void *gu, long T, long F)
{
    int rc = cpu_op_check(cx, "swiglu_fwd");
    if (rc) return rc;
    struct job j = {.simd = cx->dev->simd, .out = h, .gu = gu, .F = F};
    parallel_rows(parallel_threads(T, 4 * F), T, fwd, &j);
    return DEV_OK;
}

int cpu_swiglu_bwd(const struct op_ctx *cx, void *d_gu, const void *d_h, const void *gu, long T, long F)
{
    int rc = cpu_op_check(cx, "swiglu_bwd");
    if (rc) return rc;
    struct job j = {.simd = cx->dev->simd, .out = d_gu, .d_h = d_h, .gu = gu, .F = F};
    parallel_rows(parallel_threads(T, 6 * F), T, bwd, &j);
    return DEV_OK;
}
