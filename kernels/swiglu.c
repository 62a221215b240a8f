/* swiglu: h = silu(g) * u and its gradient by rows (Shazeer 2020). The loops: rows_simd.h. */
#include "kernels/ops.h"
#include "kernels/parallel.h"

int cpu_swiglu_fwd(const struct op_ctx *cx, void *h, const void *gu, long T, long F)
{
    int rc = cpu_op_check(cx, "swiglu_fwd");
    if (rc) return rc;
    const int n = parallel_threads(T, 4 * F);
#pragma omp parallel for schedule(static) num_threads(n) if (n > 1)
    for (int i = 0; i < n; i++)
        cx->dev->simd->swiglu_fwd(h, gu, parallel_first(T, i, n), parallel_first(T, i + 1, n), F);
    return DEV_OK;
}

int cpu_swiglu_bwd(const struct op_ctx *cx, void *d_gu, const void *d_h, const void *gu, long T,
                   long F)
{
    int rc = cpu_op_check(cx, "swiglu_bwd");
    if (rc) return rc;
    const int n = parallel_threads(T, 6 * F);
#pragma omp parallel for schedule(static) num_threads(n) if (n > 1)
    for (int i = 0; i < n; i++)
        cx->dev->simd->swiglu_bwd(d_gu, d_h, gu, parallel_first(T, i, n),
                                  parallel_first(T, i + 1, n), F);
    return DEV_OK;
}
