/* rope: rotary position embedding in place (Su et al. 2021). The loops: rows_simd.h.
 * Cosines and sines are computed again in each call: vectorised, they cost less than a table's traffic. */
#include "kernels/ops.h"
#include "kernels/parallel.h"

int cpu_rope(const struct op_ctx *cx, void *x, long ld, const int32_t *pos, const float *inv_freq,
             long T, int n_heads, int D, int dir)
{
    int rc = cpu_op_check(cx, "rope");
    if (rc) return rc;
    if (D % 2 || D / 2 > cx->dev->simd->rope_half)
        return dev_fail(cx->dev, DEV_UNSUPPORTED,
                        "rope: head width %d, expected even and at most %d", D,
                        2 * cx->dev->simd->rope_half);
    const int n = parallel_threads(T, (long)n_heads * D + 8 * D);
#pragma omp parallel for schedule(static) num_threads(n) if (n > 1)
    for (int i = 0; i < n; i++)
        cx->dev->simd->rope(x, ld, pos, inv_freq, parallel_first(T, i, n),
                            parallel_first(T, i + 1, n), n_heads, D, dir);
    return DEV_OK;
}
