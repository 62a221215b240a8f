/* cuda_bodies: the arithmetic that the CUDA kernels share (kernels/bodies.h), run on the host in plain loops against
 * the CPU twins: in every build, with or without CUDA. The kernels around it: gpu_*.c. */
#include "kernels/bodies.h"
#include <math.h>
#include "tests/test.h"

static struct device *cpu;
static struct op_ctx cx = {.act = DT_F32, .prec = DT_F32};
static uint64_t seed = 1;

static void fill(float *v, long n, float scale)
{
    for (long i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        v[i] = (float)((double)(int32_t)(seed >> 32) / 2147483648.0) * scale;
    }
}
static void near(const char *what, const float *got, const float *want, long n, double tol)
{
    double diff = 0, norm = 0;
    for (long i = 0; i < n; i++) diff += pow((double)got[i] - want[i], 2), norm += pow((double)want[i], 2);
    CHECK_MSG(sqrt(diff / norm) <= tol, "%s: distance %.3g, tolerance %.3g", what, sqrt(diff / norm), tol);
}

static void case_norm(void)
{
    enum { C = 577 };
    float x[C], w[C], d_y[C], got[C], want[C], rstd, y[C];
    fill(x, C, 2), fill(w, C, 1), fill(d_y, C, 1), fill(want, C, 1);
    memcpy(got, want, sizeof got);
    CHECK(ops_cpu.norm_fwd(&cx, y, C, &rstd, x, C, w, 1, C, 1e-5f) == DEV_OK);
    CHECK(ops_cpu.norm_bwd(&cx, want, C, NULL, d_y, C, x, C, w, &rstd, 1, C) == DEV_OK);
    float dot = 0;
    for (int i = 0; i < C; i++) dot += d_y[i] * w[i] * x[i];
    for (int i = 0; i < C; i++) got[i] += body_norm_bwd(d_y[i], w[i], x[i], rstd, rstd * rstd * (dot / C));
    near("norm_bwd", got, want, C, 1e-5);
}

static void case_rope(void)
{
    enum { D = 64 };
    float got[D], want[D], inv[D / 2];
    const int32_t pos = 1234;
    fill(want, D, 1);
    memcpy(got, want, sizeof got);
    for (int j = 0; j < D / 2; j++) inv[j] = powf(10000, -2.0f * (float)j / D);
    CHECK(ops_cpu.rope(&cx, want, D, &pos, inv, 1, 1, D, 1) == DEV_OK);
    for (int j = 0; j < D / 2; j++) {
        const float angle = (float)pos * inv[j];
        body_rope(&got[j], &got[j + D / 2], (float)cos((double)angle), (float)sin((double)angle));
    }
    near("rope", got, want, D, 2e-6);
}

static void case_swiglu(void)
{
    enum { F = 333 };
    float gu[2 * F], d_h[F], h[F], got[2 * F], want[2 * F];
    fill(gu, 2 * F, 9), fill(d_h, F, 1);
    gu[3] = -120; /* exp overflows */
    CHECK(ops_cpu.swiglu_fwd(&cx, h, F, gu, 2 * F, 1, F) == DEV_OK);
    for (int i = 0; i < F; i++) got[i] = body_swiglu(gu[i], gu[F + i]);
    near("swiglu_fwd", got, h, F, 2e-6);
    CHECK(ops_cpu.swiglu_bwd(&cx, want, 2 * F, d_h, F, gu, 2 * F, 1, F) == DEV_OK);
    for (int i = 0; i < F; i++) body_swiglu_bwd(gu[i], gu[F + i], d_h[i], &got[i], &got[F + i]);
    near("swiglu_bwd", got, want, 2 * F, 5e-6);
}

/* The running softmax in strides and merged pairwise, as a block's threads do it, against head_loss with the identity
 * as x. */
static void case_softmax(void)
{
    enum { V = 301, LANES = 8 };
    static float w[V * 2], nll, d_x[2];
    float x[2] = {1, 0}, logits[V], grad[2] = {0, 0};
    const float gscale = 0.5f;
    int32_t best, label = 17;
    fill(w, V * 2, 30);
    w[2 * 44] = w[2 * 200] = 90; /* a tie for the largest, the lower id in a later lane (44 % 8 > 200 % 8) */
    const struct mat m = {w, DT_F32, V, 2};
    cx.scratch_bytes = op_head_scratch(&cx, &m, 1, 1);
    cx.scratch = dev_alloc(cpu, cx.scratch_bytes);
    CHECK(ops_cpu.head_loss(&cx, &nll, &best, d_x, NULL, x, &m, &label, 1, &gscale, 1) == DEV_OK);
    struct body_softmax lane[LANES];
    for (int i = 0; i < V; i++) logits[i] = w[2 * i];
    for (int l = 0; l < LANES; l++) {
        lane[l] = body_softmax_none();
        for (int i = l; i < V; i += LANES) body_softmax_add(&lane[l], logits[i], i);
    }
    for (int o = LANES / 2; o; o >>= 1)
        for (int l = 0; l < o; l++) lane[l] = body_softmax_merge(lane[l], lane[l + o]);
    const float got = body_nll(lane[0], logits[label]);
    near("nll", &got, &nll, 1, 1e-5);
    CHECK_MSG(lane[0].best == 44 && best == 44, "best %d, CPU %d, not 44", lane[0].best, best);
    for (int i = 0; i < V; i++)
        for (int c = 0; c < 2; c++) grad[c] += body_xent_grad(lane[0], logits[i], i == label, 0.5f) * w[2 * i + c];
    near("gradient", grad, d_x, 2, 1e-5);
    /* a lane without values changes nothing; a logit that is not finite is not hidden */
    const struct body_softmax same = body_softmax_merge(body_softmax_none(), lane[0]);
    CHECK(same.max == lane[0].max && same.sum == lane[0].sum && same.best == lane[0].best);
    struct body_softmax bad = lane[0];
    body_softmax_add(&bad, INFINITY, V);
    CHECK(!isfinite(body_nll(bad, 0)));
    bad = lane[0];
    body_softmax_add(&bad, NAN, V);
    CHECK(!isfinite(body_nll(bad, 0)));
    dev_free(cpu, cx.scratch);
}

static void case_adamw(void)
{
    enum { N = 99 };
    float p[N], m[N] = {0}, v[N] = {0}, g[N], p2[N], m2[N] = {0}, v2[N] = {0};
    fill(p, N, 1);
    memcpy(p2, p, sizeof p);
    static const struct adamw hp = {.beta1 = 0.9f, .beta2 = 0.98f, .eps = 1e-6f, .weight_decay = 0.05f, .rate = 1};
    for (int step = 1; step < 6; step++) {
        const struct step_dev d = {
            .lr = 3e-3f, .grad_scale = 0.7f, .bias1 = 1 - pow(0.9, step), .bias2 = 1 - pow(0.98, step)};
        const struct body_adamw s = body_adamw_of(&hp, &d);
        fill(g, N, 0.2f);
        CHECK(ops_cpu.adamw(&cx, p, m, v, g, N, &hp, &d) == DEV_OK);
        for (int i = 0; i < N; i++) body_adamw(&p2[i], &m2[i], &v2[i], g[i], &s);
    }
    near("p", p2, p, N, 2e-6), near("m", m2, m, N, 2e-6), near("v", v2, v, N, 2e-6);
}

static void case_clip(void)
{
    static const double values[] = {0, 0.25, 1, 16, 1e300, (double)INFINITY, -(double)INFINITY, (double)NAN};
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++)
            for (int k = -1; k < 3; k++) {
                struct step_dev want = {.max_norm = k, .loss = values[i], .sumsq = values[j], .skip = 9}, got = want;
                CHECK(ops_cpu.step_clip(&cx, &want) == DEV_OK);
                body_step_clip(&got);
                CHECK(!memcmp(&got, &want, sizeof got));
            }
}

int main(void)
{
    cx.dev = cpu = dev_open(DEVICE_CPU, 0, NULL);
    if (!cpu) return 1;
    RUN(case_norm, "bodies norm");
    RUN(case_rope, "bodies rope");
    RUN(case_swiglu, "bodies swiglu");
    RUN(case_softmax, "bodies softmax, cross entropy");
    RUN(case_adamw, "bodies adamw");
    RUN(case_clip, "bodies step_clip");
    dev_close(cpu);
    return test_failed;
}
