/* norm: RMSNorm and its gradient by rows (Zhang & Sennrich 2019). The loops: rows_simd.h. */
#include "kernels/ops.h"
#include "kernels/parallel.h"

int cpu_norm_fwd(const struct op_ctx *cx, void *y, float *rstd, const void *x, const float *w,
                 long T, long C, float eps)
{
    int rc = cpu_op_check(cx, "norm_fwd");
    if (rc) return rc;
    const int n = parallel_threads(T, C);
#pragma omp parallel for schedule(static) num_threads(n) if (n > 1)
    for (int i = 0; i < n; i++)
        cx->dev->simd->norm_fwd(y, rstd, x, w, parallel_first(T, i, n), parallel_first(T, i + 1, n),
                                C, eps);
    return DEV_OK;
}

int cpu_norm_bwd(const struct op_ctx *cx, void *d_x, const void *d_y, const void *x, const float *w,
                 const float *rstd, long T, long C)
{
    int rc = cpu_op_check(cx, "norm_bwd");
    if (rc) return rc;
    const int n = parallel_threads(T, 2 * C);
#pragma omp parallel for schedule(static) num_threads(n) if (n > 1)
    for (int i = 0; i < n; i++)
        cx->dev->simd->norm_bwd(d_x, d_y, x, w, rstd, parallel_first(T, i, n),
                                parallel_first(T, i + 1, n), C);
    return DEV_OK;
}
