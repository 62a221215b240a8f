/* Every op of ops.def on the CPU: against naive f64 references, backward passes against central finite differences of
 * them, over odd shapes, every weight type, both precisions, every instruction set that this CPU has; and the
 * determinism that the contracts promise: the same bits with 1, 2, 3 threads, and for a row alone and in a batch. */
#include "tests/test.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/ref.h"
#include "tests/kernels/strides.h"

/* The 16-lane code of AVX-512 in whatever instructions this CPU has: its tiles, layouts and pairs of bf16 are tested
 * everywhere, only the few instructions behind vec.h's names are not. */
#define VW   16
#define SIMD lanes16
#include "kernels/device_internal.h"
#define GEMV_ALL
#include "kernels/gemm_body.h"
#include "kernels/simd_body.h"

static struct op_ctx cx;
static const struct ops *ops;

static void scratch(size_t bytes)
{
    free(cx.scratch);
    cx.scratch = case_alloc(bytes);
    cx.scratch_bytes = bytes;
    case_poison(cx.scratch, bytes);
}

/* Run `call` with 1, 2 and 3 threads on poisoned outputs: success, and the same bytes each time. */
#define SAME_BITS(out, bytes, prepare, call)                                           \
    do {                                                                               \
        void *first_ = case_alloc(bytes);                                              \
        for (int th_ = 3; th_ >= 1; th_--) {                                           \
            cpu_set_threads(th_);                                                      \
            if (cx.scratch_bytes) case_poison(cx.scratch, cx.scratch_bytes);           \
            case_poison(out, bytes);                                                   \
            prepare;                                                                   \
            CHECK_MSG((call) == 0, "%s", dev_message(cx.dev));                         \
            if (th_ == 3) memcpy(first_, out, bytes);                                  \
            CHECK_MSG(!memcmp(first_, out, bytes), "other bits with %d threads", th_); \
        }                                                                              \
        free(first_);                                                                  \
    } while (0)

static double *wide(const float *p, long n)
{
    double *d = case_alloc((size_t)n * sizeof *d);
    for (long i = 0; i < n; i++) d[i] = p[i];
    return d;
}
static double *zeros(long n) { return calloc((size_t)n + 1, sizeof(double)); }
static void near(const char *what, const float *got, const double *want, long n, double tol)
{
    double d = case_distance(got, want, n);
    CHECK_MSG(d <= tol, "%s: distance %.3g, at most %.3g", what, d, tol);
}

static const long lengths[] = {1, 7, 33}, widths[] = {20, 64, 172, 576};
#define EACH(v, list) \
    for (size_t v##_i = 0, v; v##_i < sizeof list / sizeof *list && (v = (size_t)list[v##_i], 1); v##_i++)

static void test_embed_fwd(void)
{
    for (int t = 0; t < DT_COUNT; t++) EACH(C, widths)
        {
            if (C % (size_t)dtype_info[t].block) continue;
            struct case_mat w = case_mat(t, 50, (int)C, 1);
            int32_t ids[33];
            for (int i = 0; i < 33; i++) ids[i] = (int32_t)(case_u32() % 50);
            float *y = case_alloc(33 * C * 4);
            SAME_BITS(y, 33 * C * 4, , ops->embed_fwd(&cx, y, (long)C, ids, &w.m, 33));
            for (int i = 0; i < 33; i++) CHECK(!memcmp(y + (size_t)i * C, w.values + (size_t)ids[i] * C, C * 4));
            for (int i = 0; i < STRIDES; i++) {
                struct apart at = apart(NULL, 33, (long)C, beside_of(i, (long)C));
                CHECK(!ops->embed_fwd(&cx, at.at, at.ld, ids, &w.m, 33));
                apart_check("y", &at, y);
                apart_free(&at);
            }
            CHECK(ops->embed_fwd(&cx, y, (long)C - 1, ids, &w.m, 33) == DEV_FAILED);
            ids[32] = 50;
            CHECK(ops->embed_fwd(&cx, y, (long)C, ids, &w.m, 33) < 0);
            free(y);
            case_mat_free(&w);
        }
}

static void test_embed_bwd(void)
{
    enum { V = 23, T = 200 };
    EACH(C, widths)
    {
        const long n = (long)(V * C);
        float *base = case_floats(n, 1), *d_w = case_alloc((size_t)n * 4), *want = case_alloc((size_t)n * 4),
              *d_y = case_floats((long)(T * C), 1);
        int32_t ids[T];
        for (int i = 0; i < T; i++) ids[i] = i < 20 ? 7 : (int32_t)(case_u32() % (V - 1)); /* row V - 1: no token */
        memcpy(want, base, (size_t)n * 4);
        for (size_t t = 0; t < T; t++) /* in token order: the same bits */
            for (size_t c = 0; c < C; c++) want[(size_t)ids[t] * C + c] += d_y[t * C + c];
        SAME_BITS(d_w, (size_t)n * 4, memcpy(d_w, base, (size_t)n * 4),
                  ops->embed_bwd(&cx, d_w, (long)C, d_y, ids, T, (long)C));
        CHECK(!memcmp(d_w, want, (size_t)n * 4));
        struct apart at = apart(base, V, (long)C, 7);
        CHECK(!ops->embed_bwd(&cx, at.at, at.ld, d_y, ids, T, (long)C));
        apart_check("embed_bwd", &at, want);
        apart_free(&at);
        CHECK(ops->embed_bwd(&cx, d_w, (long)C - 1, d_y, ids, T, (long)C) == DEV_FAILED);
        free(base), free(d_w), free(want), free(d_y);
    }
}

static void test_rows_gather(void)
{
    float *x = case_floats(10 * 21, 1), y[4 * 23];
    const int32_t idx[4] = {9, 0, 3, 3};
    SAME_BITS(y, sizeof y, , ops->rows_gather(&cx, y, 23, x, 21, idx, 4, 20));
    for (int i = 0; i < 4; i++) CHECK(!memcmp(y + i * 23, x + idx[i] * 21, 80) && isnan(y[i * 23 + 20]));
    free(x);
}

static void test_rows_scatter(void)
{
    float *x = case_floats(3 * 21, 1), y[10 * 23];
    const int32_t idx[3] = {9, 0, 4};
    SAME_BITS(y, sizeof y, , ops->rows_scatter(&cx, y, 23, x, 21, idx, 3, 20));
    for (int i = 0; i < 3; i++) CHECK(!memcmp(y + idx[i] * 23, x + i * 21, 80) && isnan(y[idx[i] * 23 + 20]));
    CHECK(isnan(y[23]) && isnan(y[8 * 23 + 5]));
    free(x);
}

/* Packed x, y and rstd, once more with rows apart. */
static void norm_fwd_apart(const float *y, const float *rstd, const float *x, const float *w, long T, long C)
{
    float *again = case_alloc((size_t)T * 4);
    for (int i = 0; i < STRIDES; i++) {
        struct apart from = apart(x, T, C, beside_of(i, C)), to = apart(NULL, T, C, 2 * beside_of(i, C));
        cpu_set_threads(2);
        CHECK(!ops->norm_fwd(&cx, to.at, to.ld, again, from.at, from.ld, w, T, C, 1e-5f));
        apart_check("y", &to, y);
        CHECK(!memcmp(again, rstd, (size_t)T * 4));
        CHECK(!ops->norm_fwd(&cx, from.at, from.ld, NULL, from.at, from.ld, w, T, C, 1e-5f));
        apart_check("y in place", &from, y);
        CHECK(ops->norm_fwd(&cx, to.at, C - 1, NULL, from.at, from.ld, w, T, C, 1e-5f) == DEV_FAILED);
        CHECK(ops->norm_fwd(&cx, to.at, to.ld, NULL, from.at, C - 1, w, T, C, 1e-5f) == DEV_FAILED);
        CHECK(ops->norm_fwd(&cx, from.at, C, NULL, from.at, from.ld, w, T, C, 1e-5f) == DEV_FAILED);
        apart_free(&from), apart_free(&to);
    }
    free(again);
}

static void test_norm_fwd(void)
{
    EACH(T, lengths)
    EACH(C, widths)
    {
        long n = (long)(T * C);
        float *x = case_floats(n, 2), *w = case_floats((long)C, 1), *out = case_alloc((size_t)(n + (long)T) * 4),
              *one = case_alloc(C * 4);
        double *dx = wide(x, n), *want = zeros(n);
        SAME_BITS(out, (size_t)(n + (long)T) * 4, ,
                  ops->norm_fwd(&cx, out, (long)C, out + n, x, (long)C, w, (long)T, (long)C, 1e-5f));
        ref_norm(want, dx, w, (long)T, (long)C, 1e-5);
        near("y", out, want, n, 1e-6);
        for (size_t t = 0; t < T; t++) {
            CHECK(!ops->norm_fwd(&cx, one, (long)C, NULL, x + t * C, (long)C, w, 1, (long)C, 1e-5f));
            CHECK(!memcmp(one, out + t * C, C * 4));
        }
        norm_fwd_apart(out, out + n, x, w, (long)T, (long)C);
        CHECK(!ops->norm_fwd(&cx, x, (long)C, NULL, x, (long)C, w, (long)T, (long)C, 1e-5f) &&
              !memcmp(x, out, (size_t)n * 4)); /* in place */
        free(x), free(w), free(out), free(one), free(dx), free(want);
    }
}

/* d/dx[at] of the sum of d_y * f(x), by a central difference; CALL computes y from x in f64. */
#define DIFFERENCE(x, at, y, d_y, n, CALL)                           \
    ({                                                               \
        const double h_ = 1e-5, x_ = (x)[at];                        \
        double s_ = 0;                                               \
        (x)[at] = x_ + h_;                                           \
        CALL;                                                        \
        for (long i_ = 0; i_ < (n); i_++) s_ += (d_y)[i_] * (y)[i_]; \
        (x)[at] = x_ - h_;                                           \
        CALL;                                                        \
        for (long i_ = 0; i_ < (n); i_++) s_ -= (d_y)[i_] * (y)[i_]; \
        (x)[at] = x_;                                                \
        s_ / (2 * h_);                                               \
    })
#define SPOTS 10 /* elements of a gradient that are checked by differences */
#define NEAR1(got, want, size, tol)                                                                          \
    CHECK_MSG(fabs((got) - (want)) <= (tol) * (fabs(want) + (size)), "%g, by differences %g", (double)(got), \
              (double)(want))

/* d_x | d_w of a packed call from `base`, once more with rows apart. */
static void norm_bwd_apart(const float *d_x, const float *base, const float *d_y, const float *x, const float *w,
                           const float *rstd, long T, long C)
{
    float *d_w = case_alloc((size_t)C * 4);
    for (int i = 0; i < STRIDES; i++) {
        struct apart to = apart(base, T, C, beside_of(i, C)), dy = apart(d_y, T, C, 2 * beside_of(i, C)),
                     from = apart(x, T, C, 3);
        memcpy(d_w, base + T * C, (size_t)C * 4);
        cpu_set_threads(2);
        CHECK(!ops->norm_bwd(&cx, to.at, to.ld, d_w, dy.at, dy.ld, from.at, from.ld, w, rstd, T, C));
        apart_check("d_x", &to, d_x);
        CHECK(!memcmp(d_w, d_x + T * C, (size_t)C * 4));
        CHECK(ops->norm_bwd(&cx, to.at, C - 1, d_w, dy.at, dy.ld, from.at, from.ld, w, rstd, T, C) == DEV_FAILED);
        CHECK(ops->norm_bwd(&cx, to.at, to.ld, d_w, dy.at, C - 1, from.at, from.ld, w, rstd, T, C) == DEV_FAILED);
        CHECK(ops->norm_bwd(&cx, to.at, to.ld, d_w, dy.at, dy.ld, from.at, C - 1, w, rstd, T, C) == DEV_FAILED);
        apart_free(&to), apart_free(&dy), apart_free(&from);
    }
    free(d_w);
}

static void test_norm_bwd(void)
{
    EACH(T, lengths)
    EACH(C, widths)
    {
        const long n = (long)(T * C), all = n + (long)C;
        float *x = case_floats(n, 2), *w = case_floats((long)C, 1), *d_y = case_floats(n, 1),
              *d_x = case_alloc((size_t)all * 4), *d_w = d_x + n;
        float *base = case_floats(all, 1), *y = case_alloc((size_t)n * 4), *rstd = case_alloc(T * 4);
        double *xd = wide(x, n), *yd = zeros(n), *want = wide(base + n, (long)C);
        CHECK(!ops->norm_fwd(&cx, y, (long)C, rstd, x, (long)C, w, (long)T, (long)C, 1e-5f));
        SAME_BITS(d_x, (size_t)all * 4, memcpy(d_x, base, (size_t)all * 4),
                  ops->norm_bwd(&cx, d_x, (long)C, d_w, d_y, (long)C, x, (long)C, w, rstd, (long)T, (long)C));
        for (int s = 0; s < SPOTS; s++) {
            long at = (long)(case_u32() % (uint32_t)n);
            double want_x = DIFFERENCE(xd, at, yd, d_y, n, ref_norm(yd, xd, w, (long)T, (long)C, 1e-5)) + base[at];
            NEAR1(d_x[at], want_x, 1, 1e-5);
        }
        /* y is w times the normed x, so its slope by w is the normed x. */
        float *ones = case_alloc(C * 4);
        for (size_t c = 0; c < C; c++) ones[c] = 1;
        ref_norm(yd, xd, ones, (long)T, (long)C, 1e-5);
        for (long i = 0; i < n; i++) want[i % (long)C] += d_y[i] * yd[i];
        near("d_w", d_w, want, (long)C, 1e-6);
        norm_bwd_apart(d_x, base, d_y, x, w, rstd, (long)T, (long)C);
        /* The frozen weight: the same d_x. */
        memcpy(y, base, (size_t)n * 4);
        CHECK(!ops->norm_bwd(&cx, y, (long)C, NULL, d_y, (long)C, x, (long)C, w, rstd, (long)T, (long)C) &&
              !memcmp(y, d_x, (size_t)n * 4));
        free(x), free(w), free(d_y), free(d_x), free(base), free(y), free(rstd), free(xd), free(yd), free(want);
        free(ones);
    }
}

static void test_rope(void)
{
    const struct {
        int heads, D;
        long ld;
    } c[] = {{4, 16, 64}, {3, 64, 200}, {1, 10, 11}};
    for (int i = 0; i < 3; i++) EACH(T, lengths)
        {
            long n = (long)T * c[i].ld;
            float *x = case_floats(n, 1), *y = case_alloc((size_t)n * 4), inv[32];
            int32_t pos[33];
            for (int j = 0; j < c[i].D / 2; j++) inv[j] = (float)pow(10000.0, -2.0 * j / c[i].D);
            for (size_t t = 0; t < T; t++) pos[t] = t % 3 ? (int32_t)(case_u32() % 100000) : (int32_t)t;
            for (int dir = -1; dir <= 1; dir += 2) {
                double *want = wide(x, n);
                SAME_BITS(y, (size_t)n * 4, memcpy(y, x, (size_t)n * 4),
                          ops->rope(&cx, y, c[i].ld, pos, inv, (long)T, c[i].heads, c[i].D, dir));
                ref_rope(want, c[i].ld, pos, inv, (long)T, c[i].heads, c[i].D, dir);
                near("x", y, want, n, 3e-7);
                free(want);
            }
            free(x), free(y);
        }
}

static void test_swiglu_fwd(void)
{
    EACH(T, lengths)
    EACH(F, widths)
    {
        long n = (long)(T * F);
        float *gu = case_floats(2 * n, 4), *h = case_alloc((size_t)n * 4), *one = case_alloc(F * 4);
        double *want = zeros(n);
        SAME_BITS(h, (size_t)n * 4, , ops->swiglu_fwd(&cx, h, (long)F, gu, 2 * (long)F, (long)T, (long)F));
        for (size_t t = 0; t < T; t++)
            for (size_t f = 0; f < F; f++) want[t * F + f] = ref_silu(gu[t * 2 * F + f]) * gu[t * 2 * F + F + f];
        near("h", h, want, n, 5e-7);
        CHECK(!ops->swiglu_fwd(&cx, one, (long)F, gu + 2 * (T - 1) * F, 2 * (long)F, 1, (long)F) &&
              !memcmp(one, h + (T - 1) * F, F * 4));
        for (int i = 0; i < STRIDES; i++) {
            struct apart from = apart(gu, (long)T, 2 * (long)F, beside_of(i, 2 * (long)F)),
                         to = apart(NULL, (long)T, (long)F, beside_of(!i, (long)F));
            cpu_set_threads(2);
            CHECK(!ops->swiglu_fwd(&cx, to.at, to.ld, from.at, from.ld, (long)T, (long)F));
            apart_check("h", &to, h);
            CHECK(ops->swiglu_fwd(&cx, to.at, (long)F - 1, from.at, from.ld, (long)T, (long)F) == DEV_FAILED);
            CHECK(ops->swiglu_fwd(&cx, to.at, to.ld, from.at, 2 * (long)F - 1, (long)T, (long)F) == DEV_FAILED);
            apart_free(&from), apart_free(&to);
        }
        free(gu), free(h), free(one), free(want);
    }
}

static void test_swiglu_bwd(void)
{
    EACH(T, lengths)
    EACH(F, widths)
    {
        long n = (long)(T * F);
        float *gu = case_floats(2 * n, 4), *d_h = case_floats(n, 1), *d = case_alloc((size_t)n * 8);
        SAME_BITS(d, (size_t)n * 8, ,
                  ops->swiglu_bwd(&cx, d, 2 * (long)F, d_h, (long)F, gu, 2 * (long)F, (long)T, (long)F));
        for (int s = 0; s < SPOTS; s++) {
            size_t t = case_u32() % T, f = case_u32() % F;
            double g = gu[t * 2 * F + f], u = gu[t * 2 * F + F + f], y = d_h[t * F + f], e = 1e-5;
            NEAR1(d[t * 2 * F + f], y * u * (ref_silu(g + e) - ref_silu(g - e)) / (2 * e), 0.1, 1e-5);
            NEAR1(d[t * 2 * F + F + f], y * ref_silu(g), 0.1, 1e-6);
        }
        for (int i = 0; i < STRIDES; i++) {
            struct apart from = apart(gu, (long)T, 2 * (long)F, beside_of(i, 2 * (long)F)),
                         dh = apart(d_h, (long)T, (long)F, 2), to = apart(NULL, (long)T, 2 * (long)F, 9);
            const long wide = from.ld;
            cpu_set_threads(2);
            CHECK(!ops->swiglu_bwd(&cx, to.at, to.ld, dh.at, dh.ld, from.at, wide, (long)T, (long)F));
            apart_check("d_gu", &to, d);
            CHECK(!ops->swiglu_bwd(&cx, from.at, wide, dh.at, dh.ld, from.at, wide, (long)T, (long)F));
            apart_check("d_gu in place", &from, d);
            CHECK(ops->swiglu_bwd(&cx, from.at, wide - 1, dh.at, dh.ld, from.at, wide, (long)T, (long)F) == DEV_FAILED);
            CHECK(ops->swiglu_bwd(&cx, to.at, to.ld, dh.at, (long)F - 1, from.at, wide, (long)T, (long)F) ==
                  DEV_FAILED);
            apart_free(&from), apart_free(&dh), apart_free(&to);
        }
        CHECK(!ops->swiglu_bwd(&cx, gu, 2 * (long)F, d_h, (long)F, gu, 2 * (long)F, (long)T, (long)F) &&
              !memcmp(gu, d, (size_t)n * 8)); /* in place */
        free(gu), free(d_h), free(d);
    }
}

static const long act_sizes[] = {1, 7, 100, 30011};

static void test_act_fwd(void)
{
    for (int f = 0; f < ACT_COUNT; f++) EACH(n, act_sizes)
        {
            float *x = case_floats((long)n, 4), *y = case_alloc(n * 4);
            double *want = zeros((long)n);
            if (n > 7) x[0] = -100, x[1] = 100, x[2] = 0;
            for (size_t i = 0; i < n; i++) want[i] = ref_act((enum act)f, x[i]);
            SAME_BITS(y, n * 4, , ops->act_fwd(&cx, y, x, (long)n, (enum act)f));
            /* Not relative: 1 + erf and 1 + tanh cancel in the tail, as in torch. */
            for (size_t i = 0; i < n; i++) NEAR1(y[i], want[i], 1, 5e-7);
            CHECK(!ops->act_fwd(&cx, x, x, (long)n, (enum act)f) && !memcmp(x, y, n * 4)); /* in place */
            free(x), free(y), free(want);
        }
}

static void test_act_bwd(void)
{
    for (int f = 0; f < ACT_COUNT; f++) EACH(n, act_sizes)
        {
            float *x = case_floats((long)n, 4), *d_y = case_floats((long)n, 1), *d_x = case_alloc(n * 4);
            double *want = zeros((long)n);
            const double h = 1e-5;
            for (size_t i = 0; i < n; i++) {
                if (fabsf(x[i]) < 1e-3f) x[i] = 1; /* the kinks of relu and leaky_relu */
                if (n > 7 && i < 2) x[i] = i ? 100 : -100;
                want[i] = d_y[i] * (ref_act((enum act)f, x[i] + h) - ref_act((enum act)f, x[i] - h)) / (2 * h);
            }
            SAME_BITS(d_x, n * 4, , ops->act_bwd(&cx, d_x, d_y, x, (long)n, (enum act)f));
            for (size_t i = 0; i < n; i++) NEAR1(d_x[i], want[i], 1, 3e-6);
            CHECK(!ops->act_bwd(&cx, d_y, d_y, x, (long)n, (enum act)f) && !memcmp(d_x, d_y, n * 4)); /* in place */
            free(x), free(d_y), free(d_x), free(want);
        }
}

static void test_add_scaled(void)
{
    EACH(n, act_sizes)
    {
        float *a = case_floats((long)n, 1), *x = case_floats((long)n, 1), *y = case_alloc(n * 4),
              *s = case_alloc(n * 4);
        double *sum = zeros((long)n), *only = zeros((long)n);
        for (size_t i = 0; i < n; i++) only[i] = -1.75 * x[i], sum[i] = a[i] + only[i];
        SAME_BITS(s, n * 4, , ops->add_scaled(&cx, s, NULL, x, -1.75f, (long)n));
        near("s x", s, only, (long)n, 1e-7);
        SAME_BITS(y, n * 4, , ops->add_scaled(&cx, y, a, x, -1.75f, (long)n));
        near("a + s x", y, sum, (long)n, 1e-6);
        memcpy(s, a, n * 4);
        CHECK(!ops->add_scaled(&cx, s, s, x, -1.75f, (long)n) && !memcmp(s, y, n * 4)); /* y is a */
        CHECK(!ops->add_scaled(&cx, x, a, x, -1.75f, (long)n) && !memcmp(x, y, n * 4)); /* y is x */
        free(a), free(x), free(y), free(s), free(sum), free(only);
    }
}

/* The mask is that of a low-rank path with the same key; no dropout without uids or with p 0. */
static void test_dropout(void)
{
    EACH(C, widths)
    {
        enum { T = 9 };
        const long n = T * (long)C;
        float *x = case_floats(n, 1), *y = case_alloc((size_t)n * 4), *again = case_alloc((size_t)n * 4);
        double *mask = zeros((long)C), *want = zeros(n);
        uint64_t uid[T];
        const struct step_dev step = {.dropout_step = 5};
        const struct lin_rows rows = {.seed = 3, .step = &step, .uid = uid}, none = {0};
        const struct lowrank path = {.r = 1, .drop_p = 0.3f, .key = 0x123456789abcdefu, .span = -1};
        for (int t = 0; t < T; t++) uid[t] = ((uint64_t)case_u32() << 20) + (uint64_t)t;
        SAME_BITS(y, (size_t)n * 4, , ops->dropout(&cx, y, x, 0.3f, path.key, &rows, T, (long)C));
        int kept = 0;
        for (long t = 0; t < T; t++) {
            ref_mask(mask, &path, &rows, t, (long)C);
            for (long c = 0; c < (long)C; c++)
                want[t * (long)C + c] = x[t * (long)C + c] * mask[c], kept += mask[c] > 0;
        }
        near("y", y, want, n, 1e-7);
        CHECK(kept > n / 2 && kept < n * 9 / 10);
        memcpy(again, x, (size_t)n * 4);
        CHECK(!ops->dropout(&cx, again, again, 0.3f, path.key, &rows, T, (long)C) && !memcmp(again, y, (size_t)n * 4));
        CHECK(!ops->dropout(&cx, y, x, 0.3f, path.key, &none, T, (long)C) && !memcmp(x, y, (size_t)n * 4));
        CHECK(!ops->dropout(&cx, y, x, 0, path.key, &rows, T, (long)C) && !memcmp(x, y, (size_t)n * 4));
        free(x), free(y), free(again), free(mask), free(want);
    }
}

#include "tests/kernels/ops_linear.h"
#include "tests/kernels/ops_attention.h"

static void head_case(enum dtype wt, long n, long V, long C, int chunk)
{
    struct case_mat w = case_mat(wt, (int)V, (int)C, 1);
    float *x = case_floats(n * C, 1), *out = case_alloc((size_t)(n * (C + 2)) * 4), *nll = out + n * C,
          *one = case_alloc((size_t)C * 4);
    int32_t *best = (int32_t *)(void *)(nll + n), *label = case_alloc((size_t)n * 4),
            *want_best = case_alloc((size_t)n * 4), b1;
    double *xd = wide(x, n * C), *want = zeros(n), *d = zeros(n * C), *d_w = zeros(V * C);
    float *grad = case_alloc((size_t)(V * C) * 4), *gscale = case_floats(n, 0.5f);
    if (n > 2) gscale[1] = 0;
    for (long i = 0; i < n; i++) label[i] = (int32_t)(case_u32() % (uint32_t)V);
    const int bf16 = cx.prec == DT_BF16;
    const double tol = bf16 ? 2e-3 : 3e-6; /* bf16: a gradient or a logit near a tie of rounding may fall either way */
    scratch(op_head_scratch(&cx, &w.m, n, chunk));
    SAME_BITS(out, (size_t)(n * (C + 2)) * 4, ,
              ops->head_loss(&cx, nll, best, out, NULL, x, &w.m, label, n, gscale, chunk));
    ref_head(want, want_best, d, d_w, xd, w.values, label, n, V, C, bf16, gscale);
    near("nll", nll, want, n, 2e-6);
    near("d_x", out, d, n * C, tol);
    CHECK(!memcmp(best, want_best, (size_t)n * 4));
    const size_t all = (size_t)(n * (C + 2)) * 4;
    float nll1, *same = case_alloc(all);
    memset(grad, 0, (size_t)(V * C) * 4);
    CHECK(!ops->head_loss(&cx, same + n * C, (int32_t *)(void *)(same + n * (C + 1)), same, grad, x, &w.m, label, n,
                          gscale, chunk));
    near("d_w", grad, d_w, V * C, 3e-6);
    CHECK(!memcmp(same, out, all)); /* a trained weight changes nothing else */
    CHECK(!ops->head_loss(&cx, nll, best, NULL, grad, x, &w.m, label, n, gscale, chunk));
    for (long i = 0; i < V * C; i++) d_w[i] *= 2;
    near("d_w twice", grad, d_w, V * C, 3e-6); /* added to */
    CHECK(!ops->head_loss(&cx, &nll1, &b1, one, NULL, x + (n - 1) * C, &w.m, label + n - 1, 1, gscale + n - 1, 1));
    CHECK(nll1 == nll[n - 1] && b1 == best[n - 1] && !memcmp(one, out + (n - 1) * C, (size_t)C * 4));
    CHECK(!ops->head_loss(&cx, &nll1, NULL, NULL, NULL, x + (n - 1) * C, &w.m, label + n - 1, 1, NULL, 1) &&
          nll1 == nll[n - 1]);
    for (int s = 0; !bf16 && s < 4; s++) {
        long at = (long)(case_u32() % (uint32_t)(n * C));
        double h = 1e-5, keep = xd[at];
        xd[at] = keep + h;
        double up = ref_head(NULL, NULL, NULL, NULL, xd, w.values, label, n, V, C, 0, gscale);
        xd[at] = keep - h;
        double down = ref_head(NULL, NULL, NULL, NULL, xd, w.values, label, n, V, C, 0, gscale);
        xd[at] = keep;
        NEAR1(out[at], (up - down) / (2 * h), 0.1, 1e-5);
    }
    label[0] = (int32_t)V;
    CHECK(ops->head_loss(&cx, nll, best, out, NULL, x, &w.m, label, n, gscale, chunk) < 0);
    free(x), free(out), free(one), free(label), free(want_best), free(xd), free(want), free(d), free(gscale), free(d_w);
    free(grad), free(same);
    case_mat_free(&w);
}

static void test_head_loss(void)
{
    for (int bf16 = 0; bf16 < 2; bf16++) {
        cx.prec = bf16 ? DT_BF16 : DT_F32;
        head_case(DT_F32, 7, 257, 20, 3);
        head_case(DT_Q4_1, 33, 1100, 64, 16);
        head_case(DT_NF4, 33, 1100, 64, 16);
        head_case(DT_BF16, 1, 2100, 172, 8);
    }
    cx.prec = DT_F32;
    /* Ties: the lowest id. */
    float x[4] = {1, 0, 0, 0}, w[5 * 4] = {[4] = 2, [8] = 2, [16] = 1}, nll;
    struct mat m = {w, DT_F32, 5, 4};
    int32_t label = 0, best;
    scratch(op_head_scratch(&cx, &m, 1, 1));
    CHECK(!ops->head_loss(&cx, &nll, &best, NULL, NULL, x, &m, &label, 1, NULL, 1) && best == 1);
}

static void logits_case(enum dtype wt, long n, long V, long C)
{
    struct case_mat w = case_mat(wt, (int)V, (int)C, 1);
    struct linear l = {.n = 1, .in = (int)C, .out = (int)V, .part = {{.w = w.m}}};
    float *x = case_floats(n * C, 1), *z = case_alloc((size_t)(n * V) * 4), *same = case_alloc((size_t)(n * V) * 4);
    double *want = zeros(n * V);
    for (long i = 0; i < n; i++)
        for (long v = 0; v < V; v++)
            for (long c = 0; c < C; c++)
                want[i * V + v] += ref_round(x[i * C + c], cx.prec == DT_BF16) *
                                   ref_round(w.values[v * C + c], cx.prec == DT_BF16);
    scratch(op_logits_scratch(&cx, &w.m, n));
    SAME_BITS(z, (size_t)(n * V) * 4, , ops->head_logits(&cx, z, x, &w.m, n));
    near("logits", z, want, n * V, 1e-6);
    CHECK(!ops->head_logits(&cx, same, x + (n - 1) * C, &w.m, 1) && !memcmp(same, z + (n - 1) * V, (size_t)V * 4));
    scratch(op_linear_scratch(&cx, &l, n));
    CHECK(!ops->linear_fwd(&cx, same, V, NULL, 0, x, C, NULL, &l, NULL, n) && !memcmp(same, z, (size_t)(n * V) * 4));
    if (op_logits_scratch(&cx, &w.m, n)) {
        cx.scratch_bytes = op_logits_scratch(&cx, &w.m, n) - 1;
        CHECK(ops->head_logits(&cx, z, x, &w.m, n) < 0);
    }
    free(x), free(z), free(same), free(want);
    case_mat_free(&w);
}

static void test_head_logits(void)
{
    for (int bf16 = 0; bf16 < 2; bf16++) {
        cx.prec = bf16 ? DT_BF16 : DT_F32;
        logits_case(DT_F32, 7, 257, 20);
        logits_case(DT_Q4_1, 33, 1100, 64);
        logits_case(DT_NF4, 1, 1100, 64);
        logits_case(DT_BF16, 60, 300, 172);
    }
    cx.prec = DT_F32;
}

static void norms_case(enum dtype t, long N, long K, int r)
{
    struct case_mat w = case_mat(t, (int)N, (int)K, 1);
    float *a = case_floats(r * K + 1, 0.3f), *b = case_floats(N * r + 1, 0.3f), *norm = case_alloc((size_t)N * 4);
    const struct lowrank p = {.r = r, .scale = 0.75f, .a = a, .b = b};
    double *want = zeros(N);
    for (long n = 0; n < N; n++) {
        for (long k = 0; k < K; k++) {
            double x = w.values[n * K + k];
            for (long j = 0; j < r; j++) x += 0.75 * b[n * r + j] * a[j * K + k];
            want[n] += x * x;
        }
        want[n] = sqrt(want[n]);
    }
    SAME_BITS(norm, (size_t)N * 4, , ops->row_norms(&cx, norm, &w.m, &p));
    near("norm", norm, want, N, 3e-7);
    free(a), free(b), free(norm), free(want);
    case_mat_free(&w);
}

static void test_row_norms(void)
{
    norms_case(DT_F32, 7, 20, 3);
    norms_case(DT_BF16, 300, 1100, 8);
    norms_case(DT_Q4_1, 33, 576, 1);
    norms_case(DT_NF4, 33, 1600, 4);
    norms_case(DT_F16, 5, 1, 0);
}

static void test_loss_add(void)
{
    float *nll = case_floats(1001, 3);
    struct step_dev s;
    double want = 0.125;
    for (int i = 0; i < 1001; i++) want += nll[i];
    SAME_BITS(&s, sizeof s, s.loss = 0.125, ops->loss_add(&cx, &s, nll, 600) | ops->loss_add(&cx, &s, nll + 600, 401));
    CHECK(s.loss == want);
    CHECK(!ops->loss_add(&cx, &s, nll, 0) && s.loss == want);
    free(nll);
}

static void test_grad_add(void)
{
    const long n[] = {1, 9, 50001};
    for (int i = 0; i < 3; i++) {
        float *base = case_floats(n[i], 1), *x = case_floats(n[i], 1), *y = case_alloc((size_t)n[i] * 4);
        SAME_BITS(y, (size_t)n[i] * 4, memcpy(y, base, (size_t)n[i] * 4), ops->grad_add(&cx, y, x, n[i]));
        for (long j = 0; j < n[i]; j++) CHECK(y[j] == base[j] + x[j]);
        free(base), free(x), free(y);
    }
}

static void test_sumsq(void)
{
    const long n[] = {1, 8, 1023, 1024, 1025, 100003};
    for (int i = 0; i < 6; i++) {
        float *g = case_floats(n[i], 3);
        struct step_dev s;
        double want = 0;
        for (long j = 0; j < n[i]; j++) want += (double)g[j] * (double)g[j];
        SAME_BITS(&s, sizeof s, , ops->sumsq(&cx, &s, g, n[i]));
        CHECK(fabs(s.sumsq - want) <= 1e-12 * want);
        free(g);
    }
    struct step_dev s = {.sumsq = 3};
    CHECK(!ops->sumsq(&cx, &s, NULL, 0) && s.sumsq == 0);
}

static void test_step_clip(void)
{
    static const struct {
        double max, loss, sumsq;
        float scale;
        int skip;
    } c[] = {{0, 1, 1e10, 1, 0},
             {-1, 1, 1e10, 1, 0},
             {1, 1, 0.25, 1, 0},
             {1, 1, 16, (float)(1 / (4 + 1e-6)), 0},
             {2, 0, 9, (float)(2 / (3 + 1e-6)), 0},
             {1, 1, 1, (float)(1 / (1 + 1e-6)), 0},
             {1, 1, 0, 1, 0},
             {1, (double)NAN, 0.25, 1, 1},
             {1, (double)INFINITY, 0.25, 1, 1},
             {1, 1, (double)NAN, 0, 1},
             {1, 1, (double)INFINITY, 0, 1},
             {0, 1, (double)INFINITY, 0, 1},
             {0, (double)NAN, (double)NAN, 0, 1}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        struct step_dev s;
        SAME_BITS(&s, sizeof s,
                  s = ((struct step_dev){.max_norm = c[i].max, .loss = c[i].loss, .sumsq = c[i].sumsq, .skip = 7}),
                  ops->step_clip(&cx, &s));
        CHECK_MSG(s.skip == c[i].skip && (s.skip || s.grad_scale == c[i].scale), "case %zu: skip %d, scale %.9g", i,
                  s.skip, (double)s.grad_scale);
    }
}

static void test_adamw(void)
{
    const long sizes[] = {1, 7, 20000};
    for (int i = 0; i < 3; i++) {
        long n = sizes[i];
        const struct adamw hp = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 0.1f, .rate = 1};
        struct step_dev sd = {.grad_scale = 0.5f};
        float *start = case_floats(n, 1), *g = case_floats(3 * n, 1), *s = case_alloc((size_t)n * 12);
        double *p = wide(start, n), *m = zeros(n), *v = zeros(n);
        SAME_BITS(s, (size_t)n * 12, memset(s, 0, (size_t)n * 12);
                  memcpy(s, start, (size_t)n * 4), ({
                      int rc = 0;
                      for (int step = 1; step <= 3; step++) {
                          sd.lr = 1e-3f * (float)step;
                          sd.bias1 = 1 - pow(0.9, step), sd.bias2 = 1 - pow(0.999, step);
                          rc |= ops->adamw(&cx, s, s + n, s + 2 * n, g + (step - 1) * n, n, &hp, &sd);
                      }
                      rc;
                  }));
        for (int step = 1; step <= 3; step++)
            for (long j = 0; j < n; j++) {
                double gj = g[(step - 1) * n + j] * 0.5, lr = 1e-3 * step;
                m[j] = 0.9 * m[j] + 0.1 * gj;
                v[j] = 0.999 * v[j] + 0.001 * gj * gj;
                p[j] = p[j] * (1 - lr * 0.1) -
                       lr * (m[j] / (1 - pow(0.9, step))) / (sqrt(v[j] / (1 - pow(0.999, step))) + 1e-8);
            }
        near("p", s, p, n, 1e-6);
        near("m", s + n, m, n, 1e-6);
        near("v", s + 2 * n, v, n, 2e-5); /* 1 - beta2 of an f32 beta2 */
        float *keep = case_alloc((size_t)n * 12);
        memcpy(keep, s, (size_t)n * 12);
        sd.skip = 1;
        CHECK(!ops->adamw(&cx, s, s + n, s + 2 * n, g, n, &hp, &sd) && !memcmp(keep, s, (size_t)n * 12));
        free(start), free(g), free(s), free(p), free(m), free(v), free(keep);
    }
}

int main(void)
{
    /* Naming every op here is what makes an op without a test fail to compile. */
    static const struct {
        const char *name;
        void (*run)(void);
    } all[] = {
#define OP(name, args)     {#name, test_##name},
#define OP_CPU(name, args) {#name, test_##name},
#include "kernels/ops.def"
    };
    static const char *const sets[] = {"generic", "avx2", "avx512", "avx512bf16", "amx", "tiles16", "lanes16"};
    for (int i = 0; i < (int)(sizeof sets / sizeof *sets); i++) {
#ifdef __SANITIZE_ADDRESS__ /* emulation takes minutes there, and tests/kernels/tiles.c goes over its memory */
        if (!strcmp(sets[i], "tiles16")) continue;
#endif
        char name[96], tag[32];
        setenv("PEFT_CPU_ISA", sets[i], 1);
        struct device *d = dev_open(DEVICE_CPU, 0, NULL);
        if (d && !strcmp(sets[i], simd_lanes16.name)) {
            d->simd = &simd_lanes16;
            snprintf(d->name, sizeof d->name, "CPU (%s)", sets[i]);
        }
        snprintf(tag, sizeof tag, "CPU (%s)", sets[i]);
        if (!d || strcmp(dev_name(d), tag) != 0) {
            snprintf(name, sizeof name, "kernels/%s", sets[i]);
            SKIP(name, "this CPU lacks it");
            dev_close(d);
            continue;
        }
        cx = (struct op_ctx){.dev = d, .act = DT_F32, .prec = DT_F32};
        ops = ops_of(d);
        for (size_t t = 0; t < sizeof all / sizeof *all; t++) {
            case_seed(t + 1);
            snprintf(name, sizeof name, "kernels/%s/%s", all[t].name, sets[i]);
            RUN(all[t].run, name);
        }
        free(cx.scratch);
        dev_close(d);
    }
    return test_failed;
}
