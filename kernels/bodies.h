/* bodies: the arithmetic of one element or one pair, shared by the CUDA kernels and by the tests that hold them against
 * the CPU twins on machines without a GPU. No loops over rows, no memory layout: those are the kernels'.
 *
 * Sources: the contracts in ops.def. */
#ifndef KERNELS_BODIES_H
#define KERNELS_BODIES_H
#include <float.h>
#include <math.h>
#include <stdint.h>
#include "kernels/ops.h"

#ifdef __CUDACC__
#define BODY_FN static __host__ __device__ __forceinline__
#else
#define BODY_FN static inline
#endif

/* RMSNorm backward of one element; k = rstd^2 * mean over the row of (d_y w x). */
BODY_FN float body_norm_bwd(float d_y, float w, float x, float rstd, float k) { return rstd * (d_y * w - x * k); }

/* Rotate the pair (a, b) by the angle with cosine c and sine s. */
BODY_FN void body_rope(float *a, float *b, float c, float s)
{
    const float x = *a, y = *b;
    *a = x * c - y * s;
    *b = y * c + x * s;
}

BODY_FN float body_sigmoid(float g) { return 1.0f / (1.0f + expf(-g)); }
BODY_FN float body_swiglu(float g, float u) { return g * body_sigmoid(g) * u; }
BODY_FN void body_swiglu_bwd(float g, float u, float d_h, float *d_g, float *d_u)
{
    const float s = body_sigmoid(g);
    *d_u = d_h * g * s;
    *d_g = d_h * u * s * (1.0f + g * (1.0f - s));
}

/* Softmax in one pass: the largest value so far, the sum of exp(x - max), and the lowest id of the largest value.
 * max starts at -FLT_MAX, not -inf: inf - inf would be NaN. A NaN or +inf among the x makes the sum NaN, as it should.
 */
struct body_softmax {
    float max, sum;
    int32_t best;
};
BODY_FN struct body_softmax body_softmax_none(void)
{
    struct body_softmax a;
    a.max = -FLT_MAX;
    a.sum = 0.0f;
    a.best = INT32_MAX;
    return a;
}
/* Ids must come in rising order, so that the first of equals stays. */
BODY_FN void body_softmax_add(struct body_softmax *a, float x, int32_t id)
{
    if (x > a->max || a->best == INT32_MAX) {
        if (x > a->max) {
            a->sum *= expf(a->max - x);
            a->max = x;
        }
        a->best = id;
    }
    a->sum += expf(x - a->max);
}
BODY_FN struct body_softmax body_softmax_merge(struct body_softmax a, struct body_softmax b)
{
    struct body_softmax r;
    const int right = b.max > a.max || (b.max == a.max && b.best < a.best);
    r.max = right ? b.max : a.max;
    r.best = right ? b.best : a.best;
    r.sum = a.sum * expf(a.max - r.max) + b.sum * expf(b.max - r.max);
    return r;
}
BODY_FN float body_nll(struct body_softmax a, float label_logit) { return logf(a.sum) + a.max - label_logit; }
/* Gradient of gscale * nll by the logit x. */
BODY_FN float body_xent_grad(struct body_softmax a, float x, int is_label, float gscale)
{
    return gscale * (expf(x - a.max) / a.sum - (is_label ? 1.0f : 0.0f));
}

/* One AdamW step: what does not depend on the element. */
struct body_adamw {
    float decay; /* 1 - lr * weight_decay */
    float beta1, beta2, eps, grad_scale;
    float step_size; /* lr / bias1 */
    float sqrt_bc2;  /* sqrt(bias2) */
};
BODY_FN struct body_adamw body_adamw_of(const struct adamw *hp, const struct step_dev *d)
{
    struct body_adamw s;
    const float lr = d->lr * hp->rate;
    s.decay = (float)(1.0 - (double)lr * hp->weight_decay);
    s.beta1 = hp->beta1, s.beta2 = hp->beta2, s.eps = hp->eps, s.grad_scale = d->grad_scale;
    s.step_size = (float)((double)lr / d->bias1);
    s.sqrt_bc2 = (float)sqrt(d->bias2);
    return s;
}
BODY_FN void body_adamw(float *p, float *m, float *v, float g, const struct body_adamw *s)
{
    g *= s->grad_scale;
    *m += (g - *m) * (1.0f - s->beta1);
    *v = *v * s->beta2 + g * g * (1.0f - s->beta2);
    *p = *p * s->decay - s->step_size * (*m / (sqrtf(*v) / s->sqrt_bc2 + s->eps));
}

BODY_FN void body_step_clip(struct step_dev *s)
{
    const double norm = sqrt(s->sumsq), clip = s->max_norm > 0.0 ? s->max_norm / (norm + 1e-6) : 1.0;
    s->skip = !(fabs(norm) <= DBL_MAX && fabs(s->loss) <= DBL_MAX);
    s->grad_scale = clip < 1.0 ? (float)clip : 1.0f;
}
#endif
