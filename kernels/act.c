/* act: activations of bottlenecks and their slopes, element by element, and scaled sums.
 * Source: Hendrycks & Gimpel 2016 (GELU: exact, and the tanh form that BERT and GPT-2 use). */
#include <math.h>
#include <string.h>
#include "kernels/dropout.h"
#include "kernels/ops.h"
#include "kernels/parallel.h"

static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

#define GELU_K  0.7978845608028654f /* sqrt(2 / pi) */
#define GELU_C  0.044715f
#define LEAK    0.01f
#define SQRT1_2 0.7071067811865476f

static float value(enum act f, float x)
{
    switch (f) {
    case ACT_RELU:
        return x > 0 ? x : 0;
    case ACT_GELU:
        return 0.5f * x * (1.0f + erff(x * SQRT1_2));
    case ACT_GELU_TANH:
        return 0.5f * x * (1.0f + tanhf(GELU_K * (x + GELU_C * x * x * x)));
    case ACT_SILU:
        return x * sigmoid(x);
    case ACT_TANH:
        return tanhf(x);
    case ACT_SIGMOID:
        return sigmoid(x);
    case ACT_LEAKY_RELU:
        return x > 0 ? x : LEAK * x;
    default:
        return x;
    }
}

static float slope(enum act f, float x)
{
    float s;
    switch (f) {
    case ACT_RELU:
        return x > 0 ? 1.0f : 0.0f;
    case ACT_GELU:
        return 0.5f * (1.0f + erff(x * SQRT1_2)) + x * 0.3989422804014327f * expf(-0.5f * x * x);
    case ACT_GELU_TANH:
        s = tanhf(GELU_K * (x + GELU_C * x * x * x));
        return 0.5f * (1.0f + s) + 0.5f * x * (1.0f - s * s) * GELU_K * (1.0f + 3.0f * GELU_C * x * x);
    case ACT_SILU:
        s = sigmoid(x);
        return s * (1.0f + x * (1.0f - s));
    case ACT_TANH:
        s = tanhf(x);
        return 1.0f - s * s;
    case ACT_SIGMOID:
        s = sigmoid(x);
        return s * (1.0f - s);
    case ACT_LEAKY_RELU:
        return x > 0 ? 1.0f : LEAK;
    default:
        return 1.0f;
    }
}

struct job {
    float *y;
    const float *a, *x;
    float s;
    enum act f;
};

static void fwd(void *job, long first, long last)
{
    const struct job *j = job;
    for (long i = first; i < last; i++) j->y[i] = value(j->f, j->x[i]);
}

static void bwd(void *job, long first, long last)
{
    const struct job *j = job;
    for (long i = first; i < last; i++) j->y[i] = j->a[i] * slope(j->f, j->x[i]);
}

static void scaled(void *job, long first, long last)
{
    const struct job *j = job;
    for (long i = first; i < last; i++) j->y[i] = (j->a ? j->a[i] : 0) + j->s * j->x[i];
}

int cpu_act_fwd(const struct op_ctx *cx, void *y, const void *x, long n, enum act f)
{
    int rc = cpu_op_check(cx, "act_fwd");
    if (rc) return rc;
    struct job j = {.y = y, .x = x, .f = f};
    parallel_rows(parallel_threads(n, 16), n, fwd, &j);
    return DEV_OK;
}

int cpu_act_bwd(const struct op_ctx *cx, void *d_x, const void *d_y, const void *x, long n, enum act f)
{
    int rc = cpu_op_check(cx, "act_bwd");
    if (rc) return rc;
    struct job j = {.y = d_x, .a = d_y, .x = x, .f = f};
    parallel_rows(parallel_threads(n, 24), n, bwd, &j);
    return DEV_OK;
}

int cpu_add_scaled(const struct op_ctx *cx, void *y, const void *a, const void *x, float s, long n)
{
    int rc = cpu_op_check(cx, "add_scaled");
    if (rc) return rc;
    struct job j = {.y = y, .a = a, .x = x, .s = s};
    parallel_rows(parallel_threads(n, 2), n, scaled, &j);
    return DEV_OK;
}

struct drop_rows_job {
    float *y;
    const float *x;
    uint64_t key;
    uint32_t step, threshold;
    float keep;
    const uint64_t *uid;
    long C;
};

static void drop_rows(void *job, long first, long last)
{
    const struct drop_rows_job *j = job;
    for (long t = first; t < last; t++)
        for (long c = 0; c < j->C; c += 4) {
            float f[4];
            dropout_factors(j->key, j->step, j->uid[t], (uint32_t)(c / 4), j->threshold, j->keep, f);
            for (long k = c; k < c + 4 && k < j->C; k++) j->y[t * j->C + k] = j->x[t * j->C + k] * f[k - c];
        }
}

int cpu_dropout(const struct op_ctx *cx, void *y, const void *x, float p, uint64_t key, const struct lin_rows *rows,
                long T, long C)
{
    int rc = cpu_op_check(cx, "dropout");
    if (rc) return rc;
    if (!(p > 0) || !rows->uid) {
        if (y != x) memmove(y, x, (size_t)(T * C) * sizeof(float));
        return DEV_OK;
    }
    struct drop_rows_job j = {.y = y,
                              .x = x,
                              .key = dropout_key(rows->seed, key),
                              .step = rows->step ? rows->step->dropout_step : 0,
                              .threshold = dropout_threshold(p),
                              .keep = 1.0f / (1.0f - p),
                              .uid = rows->uid,
                              .C = C};
    parallel_rows(parallel_threads(T, 8 * C), T, drop_rows, &j);
    return DEV_OK;
}
