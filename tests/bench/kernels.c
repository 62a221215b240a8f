/* kernels: speed of the CPU's matrix products on the shapes of SmolLM2-135M, in GFLOP/s and as a share of what multiply-adds
 * on registers alone reach in the same round (the machine may be shared: compare shares, not figures); and of the other
 * ops over a packed batch.
 * usage: kernels [THREADS [ROUNDS]] */
#include <stdio.h>
#include <time.h>
#include "tests/kernels/cases.h"

static volatile double sink;
static int threads, lanes = 4;

/* One thread is timed by its own clock, which neighbours on the core do not touch; more by the wall's. */
static double now(void)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#define PEAK(name, lanes, attribute)                                                   \
    attribute static double name(long n)                                               \
    {                                                                                  \
        typedef float vec __attribute__((vector_size(4 * lanes)));                     \
        vec a[12], x = {0}, y = {0};                                                   \
        for (int i = 0; i < 12; i++) a[i] = x + (float)i;                              \
        for (int i = 0; i < lanes; i++) x[i] = 0.999f, y[i] = 1e-3f;                   \
        for (long k = 0; k < n; k++) {                                                 \
            _Pragma("GCC unroll 12") for (int i = 0; i < 12; i++) a[i] = a[i] * x + y; \
            __asm__ volatile("" : "+x"(x), "+x"(y));                                   \
        }                                                                              \
        double s = 0;                                                                  \
        for (int i = 0; i < 12; i++) s += (double)a[i][0];                             \
        return s;                                                                      \
    }
PEAK(peak_generic, 4, )
#if defined(__x86_64__)
PEAK(peak_avx2, 8, __attribute__((target("avx2,fma"))))
PEAK(peak_avx512, 16, __attribute__((target("avx512f"))))
#endif

static double peak_gflops(void)
{
    const long n = 2000000;
    double t = now();
#pragma omp parallel num_threads(threads)
    {
        double s;
#if defined(__x86_64__)
        s = lanes == 16 ? peak_avx512(n) : lanes == 8 ? peak_avx2(n) : peak_generic(n);
#else
        s = peak_generic(n);
#endif
#pragma omp critical
        sink += s;
    }
    return 2.0 * 12 * lanes * (double)n * threads / (now() - t) * 1e-9;
}

static struct op_ctx cx;
static const struct ops *ops;
static int rounds = 5;

static int by_size(const void *a, const void *b)
{
    double d = *(const double *)a - *(const double *)b;
    return (d > 0) - (d < 0);
}

/* Median seconds of `call`, repeated to about 20 ms a round; *peak: median of the peaks around it. */
#define TIME(seconds, peak, call)                                    \
    do {                                                             \
        double took_[64], peaks_[64], t_ = now();                    \
        call;                                                        \
        t_ = now() - t_;                                             \
        long reps_ = t_ > 0.02 ? 1 : (long)(0.02 / (t_ + 1e-7)) + 1; \
        for (int r_ = 0; r_ < rounds; r_++) {                        \
            peaks_[r_] = peak_gflops();                              \
            t_ = now();                                              \
            for (long i_ = 0; i_ < reps_; i_++) call;                \
            took_[r_] = (now() - t_) / (double)reps_;                \
        }                                                            \
        qsort(took_, (size_t)rounds, sizeof *took_, by_size);        \
        qsort(peaks_, (size_t)rounds, sizeof *peaks_, by_size);      \
        (seconds) = took_[rounds / 2];                               \
        (peak) = peaks_[rounds / 2];                                 \
    } while (0)

static void gemms(long M, int K, int N, enum dtype t)
{
    struct case_mat w = case_mat(t, N, K, 0.1f);
    struct linear l = {.n = 1, .in = K, .out = N, .part = {{.w = w.m}}};
    float *x = case_floats(M * K, 1), *y = case_floats(M * N, 1), *d_x = case_floats(M * K, 1);
    free(cx.scratch);
    cx.scratch_bytes = op_linear_scratch(&cx, &l, M);
    cx.scratch = case_alloc(cx.scratch_bytes);
    double f, fp, b, bp, flops = 2.0 * (double)M * K * N * 1e-9;
    TIME(f, fp, ops->linear_fwd(&cx, y, NULL, x, NULL, &l, NULL, M));
    TIME(b, bp, ops->linear_bwd(&cx, d_x, 0, y, NULL, NULL, &l, NULL, M));
    printf("%4ld %5d->%-5d %-4s %s  fwd %6.1f GFLOP/s %3.0f %%   dX %6.1f GFLOP/s %3.0f %%   W fwd "
           "%5.1f GB/s\n",
           M, K, N, dtype_info[t].name, cx.prec == DT_BF16 ? "bf16" : "f32 ", flops / f,
           100 * flops / f / fp, flops / b, 100 * flops / b / bp,
           (double)dtype_row_bytes(t, K) * N / f * 1e-9);
    fflush(stdout);
    free(x), free(y), free(d_x);
    case_mat_free(&w);
}

#define SHOW(name, call)                                                      \
    do {                                                                      \
        double s_, p_;                                                        \
        TIME(s_, p_, call);                                                   \
        printf("%-28s %8.3f ms   (peak %.0f GFLOP/s)\n", name, 1e3 * s_, p_); \
        fflush(stdout);                                                       \
    } while (0)

/* The ops of one layer of SmolLM2-135M with LoRA r 8 on q and v, over B packed sequences of S tokens. */
static void layer(int B, int S)
{
    enum { C = 576, H = 9, K = 3, D = 64, F = 1536 };
    const long T = (long)B * S, N = (H + 2 * K) * D;
    struct case_mat q = case_mat(DT_Q4_1, C, C, 0.1f), k = case_mat(DT_Q4_1, K * D, C, 0.1f),
                    g = case_mat(DT_Q4_1, F, C, 0.1f), down = case_mat(DT_Q4_1, C, F, 0.1f);
    uint64_t *uid = case_alloc((size_t)T * 8);
    int32_t *start = case_alloc((size_t)B * 4), *len = case_alloc((size_t)B * 4),
            *pos = case_alloc((size_t)T * 4);
    for (long t = 0; t < T; t++) uid[t] = (uint64_t)t, pos[t] = (int32_t)(t % S);
    for (int b = 0; b < B; b++) start[b] = b * S, len[b] = S;
    struct dropout drop = {0.05f, 1, 1, uid};
    struct linear qkv = {.n = 3, .in = C, .out = (int)N, .rank = 16};
    for (int i = 0; i < 3; i++) {
        int n = i ? K * D : C, r = i == 1 ? 0 : 8;
        qkv.part[i] = (struct lin_part){.w = i ? k.m : q.m,
                                        .r = r,
                                        .scale = 2,
                                        .a = case_floats(8 * C, 0.1f),
                                        .b = case_floats(8L * n, 0.1f),
                                        .d_a = case_floats(8 * C, 0.1f),
                                        .d_b = case_floats(8L * n, 0.1f),
                                        .module = (uint32_t)i};
    }
    struct linear o = {.n = 1, .in = C, .out = C, .part = {{.w = q.m}}},
                  gu = {.n = 2, .in = C, .out = 2 * F, .part = {{.w = g.m}, {.w = g.m}}},
                  dn = {.n = 1, .in = F, .out = C, .part = {{.w = down.m}}};
    struct attn a = {.B = B,
                     .H = H,
                     .K = K,
                     .D = D,
                     .scale = 0.125f,
                     .q_start = start,
                     .q_len = len,
                     .kv_start = start,
                     .kv_len = len,
                     .ldq = N,
                     .ldkv = N,
                     .ldo = C,
                     .max_q = S,
                     .max_kv = S};
    float *x = case_floats(T * C, 1), *x2 = case_floats(T * C, 1), *y = case_floats(T * N, 1),
          *dy = case_floats(T * N, 1), *w = case_floats(C, 1);
    float *wide = case_floats(T * 2 * F, 1), *mid = case_floats(T * F, 1),
          *rstd = case_floats(T, 1), *h = case_floats(T * 16, 1);
    float *lse = case_floats(T * H, 1), inv[D / 2];
    for (int j = 0; j < D / 2; j++) inv[j] = (float)pow(10000, -2.0 * j / D);
    free(cx.scratch);
    cx.scratch_bytes = op_linear_scratch(&cx, &qkv, T) + op_linear_scratch(&cx, &gu, T) +
                       op_linear_scratch(&cx, &dn, T) + op_attn_scratch(&cx, &a, T, 1);
    cx.scratch = case_alloc(cx.scratch_bytes);
    printf("\none layer, %d sequences of %d tokens, q4_1, LoRA r 8 on q and v\n", B, S);
    SHOW("norm_fwd", ops->norm_fwd(&cx, x2, rstd, x, w, T, C, 1e-5f));
    SHOW("linear_fwd qkv, dropout", ops->linear_fwd(&cx, y, NULL, x, h, &qkv, &drop, T));
    SHOW("linear_fwd qkv", ops->linear_fwd(&cx, y, NULL, x, h, &qkv, NULL, T));
    SHOW("rope", ops->rope(&cx, y, N, pos, inv, T, H + K, D, 1));
    SHOW("attn_fwd", ops->attn_fwd(&cx, x2, lse, y, y + C, y + C + K * D, &a));
    SHOW("linear_fwd o", ops->linear_fwd(&cx, x, x, x2, NULL, &o, NULL, T));
    SHOW("linear_fwd gate, up", ops->linear_fwd(&cx, wide, NULL, x, NULL, &gu, NULL, T));
    SHOW("swiglu_fwd", ops->swiglu_fwd(&cx, mid, wide, T, F));
    SHOW("linear_fwd down", ops->linear_fwd(&cx, x, x, mid, NULL, &dn, NULL, T));
    SHOW("linear_bwd down", ops->linear_bwd(&cx, mid, 0, x, NULL, NULL, &dn, NULL, T));
    SHOW("swiglu_bwd", ops->swiglu_bwd(&cx, wide, mid, wide, T, F));
    SHOW("linear_bwd gate, up", ops->linear_bwd(&cx, x2, 0, wide, NULL, NULL, &gu, NULL, T));
    SHOW("norm_bwd", ops->norm_bwd(&cx, x2, x, x2, w, rstd, T, C));
    SHOW("linear_bwd o", ops->linear_bwd(&cx, x2, 0, x, NULL, NULL, &o, NULL, T));
    ops->attn_fwd(&cx, x2, lse, y, y + C, y + C + K * D, &a);
    SHOW("attn_bwd",
         ops->attn_bwd(&cx, dy, dy + C, dy + C + K * D, x, y, y + C, y + C + K * D, x2, lse, &a));
    SHOW("linear_bwd qkv, dropout", ops->linear_bwd(&cx, x2, 0, dy, x, h, &qkv, &drop, T));
    SHOW("linear_bwd qkv", ops->linear_bwd(&cx, x2, 0, dy, x, h, &qkv, NULL, T));
}

static void head(long n, int chunk)
{
    struct case_mat w = case_mat(DT_Q8_0, 49152, 576, 0.1f);
    float *x = case_floats(n * 576, 1), *d_x = case_floats(n * 576, 1), *nll = case_floats(n, 1);
    int32_t *label = calloc((size_t)n, 4);
    free(cx.scratch);
    cx.scratch_bytes = op_head_scratch(&cx, &w.m, n, chunk);
    cx.scratch = case_alloc(cx.scratch_bytes);
    double s, p;
    TIME(s, p, ops->head_loss(&cx, nll, NULL, d_x, x, &w.m, label, n, 1, chunk));
    printf("head_loss %ld rows, chunk %d, q8_0: %.1f ms, %.1f GFLOP/s, %.0f %%\n", n, chunk,
           1e3 * s, 4e-9 * (double)n * 576 * 49152 / s, 4e-7 * (double)n * 576 * 49152 / s / p);
}

int main(int argc, char **argv)
{
    threads = argc > 1 ? atoi(argv[1]) : cpu_threads();
    if (argc > 2) rounds = atoi(argv[2]) < 64 ? atoi(argv[2]) : 63;
    cpu_set_threads(threads);
    cx = (struct op_ctx){.dev = dev_open(DEVICE_CPU, 0, NULL), .act = DT_F32, .prec = DT_F32};
    if (!cx.dev) return 1;
    ops = ops_of(cx.dev);
    lanes = strstr(dev_name(cx.dev), "avx512") ? 16 : strstr(dev_name(cx.dev), "avx2") ? 8 : 4;
    printf("%s, %d threads, register peak %.1f GFLOP/s\n", dev_name(cx.dev), threads,
           peak_gflops());
    static const struct {
        int K, N;
    } shape[] = {{576, 576}, {576, 192}, {576, 1536}, {1536, 576}, {576, 49152}};
    static const long M[] = {1, 16, 128, 512};
    static const enum dtype types[] = {DT_F32, DT_BF16, DT_Q4_1};
    for (int t = 0; t < 3; t++)
        for (int m = 0; m < 4; m++)
            for (int s = 0; s < 5; s++)
                if (!(getenv("ONLY_M") && atoi(getenv("ONLY_M")) != M[m]) &&
                    !(s == 4 && M[m] > 128))
                    gemms(M[m], shape[s].K, shape[s].N, types[t]);
    cx.prec = DT_BF16;
    gemms(512, 576, 576, DT_BF16);
    cx.prec = DT_F32;
    layer(32, 18);
    layer(2, 256);
    head(128, 128);
    dev_close(cx.dev);
    return 0;
}
