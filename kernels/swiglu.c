/* swiglu: h = silu(g) * u and its gradient by rows (Shazeer 2020). The loops: rows_simd.h. */
#include "kernels/ops.h"
#include "kernels/parallel.h"
#include "kernels/strides.h"

struct job {
    const struct simd *simd;
    void *out; /* h or d_gu */
    const void *d_h, *gu;
    long out_row, ld_dh, ldgu, F;
};

static void fwd(void *job, long first, long last)
{
    const struct job *j = job;
    j->simd->swiglu_fwd(j->out, j->out_row, j->gu, j->ldgu, first, last, j->F);
}

static void bwd(void *job, long first, long last)
{
    const struct job *j = job;
    j->simd->swiglu_bwd(j->out, j->out_row, j->d_h, j->ld_dh, j->gu, j->ldgu, first, last, j->F);
}

int cpu_swiglu_fwd(const struct op_ctx *cx, void *h, long ldh, const void *gu, long ldgu, long T, long F)
{
    const struct op_rows strides[] = {{"ldh", h, ldh, F}, {"ldgu", gu, ldgu, 2 * F}};
    int rc = cpu_op_check(cx, "swiglu_fwd");
    if (!rc) rc = op_strides(cx, "swiglu_fwd", strides, 2);
    if (rc) return rc;
    struct job j = {.simd = cx->dev->simd, .out = h, .gu = gu, .out_row = ldh, .ldgu = ldgu, .F = F};
    parallel_rows(parallel_threads(T, 4 * F), T, fwd, &j);
    return DEV_OK;
}

int cpu_swiglu_bwd(const struct op_ctx *cx, void *d_gu, long ld_dgu, const void *d_h, long ld_dh, const void *gu,
                   long ldgu, long T, long F)
{
    const struct op_rows strides[] = {
        {"ld_dgu", d_gu, ld_dgu, 2 * F}, {"ld_dh", d_h, ld_dh, F}, {"ldgu", gu, ldgu, 2 * F}};
    int rc = cpu_op_check(cx, "swiglu_bwd");
    if (!rc) rc = op_strides(cx, "swiglu_bwd", strides, 3);
    if (rc) return rc;
    struct job j = {.simd = cx->dev->simd,
                    .out = d_gu,
                    .d_h = d_h,
                    .gu = gu,
                    .out_row = ld_dgu,
                    .ld_dh = ld_dh,
                    .ldgu = ldgu,
                    .F = F};
    parallel_rows(parallel_threads(T, 6 * F), T, bwd, &j);
    return DEV_OK;
}
