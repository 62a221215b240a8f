/* optim: the sum of squares (for clipping) and one AdamW step (Loshchilov & Hutter 2019). */
#include "kernels/ops.h"
#include "kernels/parallel.h"

int cpu_sumsq(const struct op_ctx *cx, double *out, const float *g, long n)
{
    double total = 0;
    for (long i = 0; i < n; i += 1024) total += cx->dev->simd->sumsq_block(g + i, n - i < 1024 ? n - i : 1024);
    *out = total;
    return DEV_OK;
}

struct job {
    const struct simd *simd;
    float *p, *m, *v;
    const float *g;
    const struct adamw *hp;
};

static void adamw(void *job, long first, long last)
{
    const struct job *j = job;
    j->simd->adamw(j->p + first, j->m + first, j->v + first, j->g + first, last - first, j->hp);
}

int cpu_adamw(const struct op_ctx *cx, float *p, float *m, float *v, const float *g, long n, const struct adamw *hp)
{
    struct job j = {.simd = cx->dev->simd, .p = p, .m = m, .v = v, .g = g, .hp = hp};
    parallel_rows(parallel_threads(n, 8), n, adamw, &j);
    return DEV_OK;
}
