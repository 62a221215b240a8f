/* optim: what ends a step: the sums of loss and squares, clipping, and one AdamW step (Loshchilov & Hutter 2019). */
#include <math.h>
#include "kernels/ops.h"
#include "kernels/parallel.h"

int cpu_loss_add(const struct op_ctx *cx, struct step_dev *s, const float *nll, long n)
{
    (void)cx;
    for (long i = 0; i < n; i++) s->loss += nll[i];
    return DEV_OK;
}

int cpu_sumsq(const struct op_ctx *cx, struct step_dev *s, const float *g, long n)
{
    s->sumsq = 0;
    for (long i = 0; i < n; i += 1024) s->sumsq += cx->dev->simd->sumsq_block(g + i, n - i < 1024 ? n - i : 1024);
    return DEV_OK;
}

int cpu_step_clip(const struct op_ctx *cx, struct step_dev *s)
{
    (void)cx;
    const double norm = sqrt(s->sumsq), clip = s->max_norm > 0 ? s->max_norm / (norm + 1e-6) : 1;
    s->skip = !isfinite(norm) || !isfinite(s->loss);
    s->grad_scale = clip < 1 ? (float)clip : 1.0f;
    return DEV_OK;
}

struct job {
    const struct simd *simd;
    float *p, *m, *v;
    const float *g;
    const struct adamw *hp;
    const struct step_dev *s;
};

static void adamw(void *job, long first, long last)
{
    const struct job *j = job;
    j->simd->adamw(j->p + first, j->m + first, j->v + first, j->g + first, last - first, j->hp, j->s);
}

int cpu_adamw(const struct op_ctx *cx, float *p, float *m, float *v, const float *g, long n, const struct adamw *hp,
              const struct step_dev *s)
{
    struct job j = {.simd = cx->dev->simd, .p = p, .m = m, .v = v, .g = g, .hp = hp, .s = s};
    if (!s->skip) parallel_rows(parallel_threads(n, 8), n, adamw, &j);
    return DEV_OK;
}

static void add(void *job, long first, long last)
{
    const struct job *j = job;
    for (long i = first; i < last; i++) j->p[i] += j->g[i];
}

int cpu_grad_add(const struct op_ctx *cx, float *y, const float *x, long n)
{
    (void)cx;
    struct job j = {.p = y, .g = x};
    parallel_rows(parallel_threads(n, 2), n, add, &j);
    return DEV_OK;
}
