/* optim: the sum of squares (for clipping) and one AdamW step (Loshchilov & Hutter 2019). */
#include "kernels/ops.h"
#include "kernels/parallel.h"

int cpu_sumsq(const struct op_ctx *cx, double *out, const float *g, long n)
{
    double total = 0;
    for (long i = 0; i < n; i += 1024)
        total += cx->dev->simd->sumsq_block(g + i, n - i < 1024 ? n - i : 1024);
    *out = total;
    return DEV_OK;
}

int cpu_adamw(const struct op_ctx *cx, float *p, float *m, float *v, const float *g, long n,
              const struct adamw *hp)
{
    const int nt = parallel_threads(n, 8);
#pragma omp parallel for schedule(static) num_threads(nt) if (nt > 1)
    for (int i = 0; i < nt; i++) {
        long first = parallel_first(n, i, nt), last = parallel_first(n, i + 1, nt);
        cx->dev->simd->adamw(p + first, m + first, v + first, g + first, last - first, hp);
    }
    return DEV_OK;
}
